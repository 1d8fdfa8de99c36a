"""A part of the cases at every `make test`, another one after each commit; `make defects` runs them all."""

import re
from collections.abc import Iterator

import pytest

from tests.baking import ROOT
from tests.defects.__main__ import NAMES, table
from tests.defects.cases import CASES, CONTROLS, DEFECTS, Case
from tests.defects.world import Outcome, World, world
from tests.turns import turn

PARTS = 8  # an eighth of the cases takes some three minutes


@pytest.fixture(scope="module")
def bank() -> Iterator[World]:
    """A small bank with a model in production."""
    with world() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("case", turn(CASES, PARTS), ids=lambda case: str(case.name))
def test_case(case: Case, bank: World) -> None:
    found = case.play(bank)
    assert case.holds(found), found.said


def test_no_two_cases_have_the_same_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_case_holds_where_the_right_check_says_the_right_words() -> None:
    defect = Case("x", lambda world: Outcome((), ""), by="data", words="values.missing in")
    assert defect.holds(Outcome(("data", "report"), "… values.missing\n  in"))
    assert not defect.holds(Outcome(("test",), "values.missing in"))
    assert not defect.holds(Outcome(("data",), "something else"))
    assert not defect.holds(Outcome((), "values.missing in"))
    control = Case("y", lambda world: Outcome((), ""))
    assert control.holds(Outcome((), "")) and not control.holds(Outcome(("checks",), ""))


def test_every_defect_names_a_check_and_words_and_no_control_does() -> None:
    assert all(case.by and case.words for case in DEFECTS)
    assert not any(case.by for case in CONTROLS)


def test_the_table_is_markdown() -> None:
    row = {"case": "Nulls", "caught": "yes", "by": "Data", "seconds": 12.3}
    assert re.fullmatch(r"\| Nulls \| yes \| Data \| 12 \|", list(table([row]))[-1])


def test_the_readme_has_these_cases_and_the_checks_that_are_to_catch_them() -> None:
    shown = re.findall(r"^\| ([^|]+) \| (yes|green) \| ([^|]+) \| \d+ \|$", (ROOT / "README.md").read_text(), re.M)
    checks = [NAMES.get(case.by, case.by.capitalize()) or "–" for case in CASES]
    assert shown == [(case.name, "yes" if case.by else "green", by) for case, by in zip(CASES, checks, strict=True)]
