"""The network is held against conformance.py."""

from collections.abc import Callable
from functools import cache

import pytest

from tests import conformance
from tests.conformance import Case, Served

pytestmark = pytest.mark.torch

case = cache(conformance.case)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_conforms(check: Callable[[Case], None]) -> None:
    check(case("network"))


def test_graph_needs_no_more_than_numpy_and_spox(monkeypatch: pytest.MonkeyPatch) -> None:
    conformance.the_graph_needs_no_more_than_numpy_and_spox(case("network"), monkeypatch)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The network, exported once."""
    return conformance.served("network", tmp_path_factory.mktemp("model") / "network")


@pytest.mark.parametrize("check", conformance.SERVED, ids=lambda check: check.__name__)
def test_serves(check: Callable[[Served], None], served: Served) -> None:
    check(served)


def test_service_log_and_drift(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    conformance.service_log_and_drift_take_what_the_model_says(served, monkeypatch)
