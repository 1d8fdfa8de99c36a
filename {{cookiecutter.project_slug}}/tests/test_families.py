"""Every family but the network is held against conformance.py; and what some families promise beyond it."""

import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import spox
from safetensors.numpy import load, save

from pipeline import families
from pipeline.families import trees
from pipeline.params import BadInput
from tests import conformance
from tests.conformance import NAMES, TRAINED, Case, Served, fit, matrix, run

HERE = [name for name in families.NAMES if name != "network"]  # whose packages only the job Train installs

case = cache(conformance.case)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", HERE)
def test_conforms(name: str, check: Callable[[Case], None]) -> None:
    check(case(name))


@pytest.mark.parametrize("name", HERE)
def test_graph_needs_no_more_than_numpy_and_spox(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conformance.the_graph_needs_no_more_than_numpy_and_spox(case(name), monkeypatch)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Served]:
    """Each family, exported once."""
    return cache(lambda name: conformance.served(name, tmp_path_factory.mktemp("model") / name))


@pytest.mark.parametrize("check", conformance.SERVED, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", HERE)
def test_serves(name: str, check: Callable[[Served], None], served: Callable[[str], Served]) -> None:
    check(served(name))


@pytest.mark.parametrize("name", HERE)
def test_service_log_and_drift(name: str, served: Callable[[str], Served], monkeypatch: pytest.MonkeyPatch) -> None:
    conformance.service_log_and_drift_take_what_the_model_says(served(name), monkeypatch)


@pytest.mark.parametrize("name", ["constant", "linear"])
def test_weight_of_two_is_a_row_twice(name: str) -> None:
    weights = matrix()[2][:TRAINED].astype(int)
    twice = np.repeat(np.arange(TRAINED), weights)
    values = matrix()[0].values[TRAINED:]
    found = run(families.family(name), fit(name, twice, np.ones(len(twice))).state)(values)
    assert np.abs(found - case(name).scores(values)).max() < 1e-6


@pytest.mark.parametrize("name", ["constant", "linear"])
def test_order_of_training_rows_changes_nothing(name: str) -> None:
    order = np.random.default_rng(3).permutation(TRAINED)
    values = matrix()[0].values[TRAINED:]
    found = run(families.family(name), fit(name, order).state)(values)
    assert np.abs(found - case(name).scores(values)).max() < 1e-6


def test_a_library_that_the_machine_lacks_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lightgbm.py").write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lightgbm", raising=False)
    with pytest.raises(BadInput, match=r"^LightGBM cannot be loaded \(libgomp.so.1: .*`apt-get install libgomp1`"):
        fit("trees")


def test_trees_of_one_leaf() -> None:
    """Fewer rows than a leaf has to have: nothing is split."""
    few = fit("trees", slice(30))
    values = matrix()[0].values[:5]
    found = run(families.family("trees"), few.state)(values)
    assert len(set(found.ravel())) == 1
    assert families.family("trees").edges(few.state) == {}


@pytest.mark.parametrize("name", HERE)
def test_columns_of_one_kind_alone(name: str) -> None:
    """Numbers without a category or a missing value, and categories without a number."""
    rows, label, weight = matrix()
    module = families.family(name)
    for columns, kinds in (([0, 1, 7], {}), ([4], {0: 7})):
        some = families.Matrix(rows.values[:, columns], tuple(NAMES[at] for at in columns), kinds)
        state = module.fit(some, label, weight, "logistic", 1, conformance.KNOBS["families"][name]).state
        argument = spox.argument(spox.Tensor(np.float64, ("rows", len(columns))))
        graph = spox.build({"rows": argument}, {"raw": module.graph(state, argument, kinds, "logistic", 1)})
        found = onnxruntime.InferenceSession(graph.SerializeToString()).run(["raw"], {"rows": some.values})[0]
        assert np.abs(found - module.raw(state, some, "logistic", 1)).max() < conformance.NEARLY


def test_family_that_is_none() -> None:
    with pytest.raises(BadInput, match="train.family is 'forest'; it may be one of constant, linear"):
        families.family("forest")


@pytest.mark.parametrize("name", HERE)
def test_state_from_elsewhere_is_refused(name: str) -> None:
    """`export` takes a fitted family from a request: what is none of this encoding's ends in a sentence."""
    state = case(name).fitted.state
    module = families.family(name)
    for other in (b"", b"no model", state[: len(state) // 3], b"\xff" + state[1:]):
        with pytest.raises(BadInput, match=f"the fitted family {name} cannot be read"):
            run(module, other)


def test_trees_that_lead_nowhere_are_refused() -> None:
    """onnxruntime would follow them out of its memory, or for ever."""
    text = case("trees").fitted.state.decode()
    for name, value in (("left_child", 0), ("left_child", 9999), ("right_child", -9999), ("split_feature", len(NAMES))):
        other = re.sub(rf"\n{name}=\S+", f"\n{name}={value}", text, count=1)
        with pytest.raises(BadInput, match="the fitted family trees cannot be read"):
            run(families.family("trees"), other.encode())


MANY_NODES = 200
HUGE = f"""tree

Tree=0
split_feature={"0 " * MANY_NODES}
threshold={"0 " * MANY_NODES}
decision_type={"1 " * MANY_NODES}
left_child={" ".join(str(~at) for at in range(MANY_NODES))}
right_child={" ".join(str(at + 1) for at in range(MANY_NODES - 1))} {~MANY_NODES}
leaf_value={"0.1 " * (MANY_NODES + 1)}
cat_boundaries=0 1000
cat_threshold={"4294967295 " * 1000}
"""


def test_sets_of_levels_take_no_more_memory_than_their_text() -> None:
    """Nodes that name one set share it; sets that overlap, or hold codes that the encoder has not, are refused."""
    (found,) = trees.trees(HUGE.encode())
    kept = {id(codes): codes.nbytes for codes in found.levels if codes is not None}
    assert sum(kept.values()) < 30 * len(HUGE)
    assert not trees.fits(1, {0: 31_999}, found) and trees.fits(1, {0: 32_000}, found)
    for ends in ("0 1000 0 1000", "-1000 0"):
        with pytest.raises(BadInput, match="sets of levels overlap"):
            trees.trees(HUGE.replace("=0 1000\n", f"={ends}\n").encode())


def test_linear_family_of_other_columns_is_refused() -> None:
    """Its weights would be gathered from beyond the table."""
    parts = load(case("linear").fitted.state)
    for name, value in {
        "column": parts["column"] + 1,
        "first": parts["first"] + 9,
        "scale": parts["scale"] * 0,
    }.items():
        with pytest.raises(BadInput, match="does not fit the encoding"):
            run(families.family("linear"), save({**parts, name: value}))
