"""The network is held against conformance.py."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from safetensors.numpy import load, save

from pipeline import tasks
from pipeline.families import Loss, family, network
from pipeline.params import BadInput
from tests import conformance
from tests.conformance import KNOBS, WIDTHS, Case, Served, matrix, run, weights

pytestmark = pytest.mark.torch

case = cache(conformance.case)
of_losses = pytest.mark.parametrize("loss", WIDTHS)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
@of_losses
def test_conforms(loss: Loss, check: Callable[[Case], None]) -> None:
    check(case("network", loss))


@of_losses
def test_graph_needs_no_more_than_numpy_and_spox(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    conformance.the_graph_needs_no_more_than_numpy_and_spox(case("network", loss), monkeypatch)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Served]:
    """The network, exported once."""
    return cache(lambda task: conformance.served("network", task, tmp_path_factory.mktemp("model") / "network"))


@pytest.mark.parametrize("check", conformance.SERVED, ids=lambda check: check.__name__)
@pytest.mark.parametrize("task", tasks.NAMES)
def test_serves(task: str, check: Callable[[Served], None], served: Callable[[str], Served]) -> None:
    check(served(task))


@pytest.mark.parametrize("task", tasks.NAMES)
def test_service_log_and_drift(task: str, served: Callable[[str], Served], monkeypatch: pytest.MonkeyPatch) -> None:
    conformance.service_log_and_drift_take_what_the_model_says(served(task), monkeypatch)


def test_label_that_never_changes_is_what_is_expected() -> None:
    label = np.full(len(matrix().values), 7e9 + 0.1)
    state = network.fit(matrix(), label, weights(), "squared", 1, KNOBS["network"]).state
    assert network.raw(state, matrix(), "squared", 1) == pytest.approx(7e9 + 0.1, abs=0.1)


def test_cuts_lie_where_each_class_is() -> None:
    """Five rows of a thousand lie apart: of four pieces, one has to end among them."""
    values, codes = np.arange(1000.0), np.repeat([0.0, 1.0, 2.0], [600, 395, 5])
    looked = network.balanced(codes, "softmax", 3)
    assert np.bincount(codes[looked].astype(int)).tolist() == [334, 334, 334]
    assert np.isin(np.arange(995, 1000), looked).all()
    assert (network.edges_of(values[looked], 4) >= 995).sum() == 2
    assert (network.edges_of(values[network.balanced(values, "squared", 1)], 4) >= 995).sum() == 1


@of_losses
def test_state_of_another_loss_is_refused(loss: Loss) -> None:
    parts = load(case("network", loss).fitted.state)
    last = max(name for name in parts if name.startswith("layers"))
    others = [(name, parts) for name in WIDTHS if name != loss]
    others += [(loss, {**parts, name: np.append(parts[name], 1)}) for name in network.LABEL if name in parts]
    others += [(loss, {**parts, last: np.vstack([parts[last], parts[last]])})]
    others += [(loss, {**parts, "fill": parts["fill"][1:]})]
    for asked, other in others:
        with pytest.raises(BadInput, match="network cannot be read: it (does not fit|holds other tensors)"):
            run(family("network"), save(other), asked)
