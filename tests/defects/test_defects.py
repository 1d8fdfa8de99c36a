"""A part of the cases at every `make test`, another one after each commit; `make defects` runs them all."""

import re
from collections.abc import Iterator

import pytest

from tests.baking import ROOT
from tests.defects.__main__ import BLOCKS, caught, named, tables
from tests.defects.attacks import ATTACKS
from tests.defects.case import Case
from tests.defects.cases import CASES, CONTROLS, DEFECTS
from tests.defects.world import Outcome, World, world
from tests.turns import turn

PARTS = 12  # a twelfth of the cases takes some three minutes


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


def test_every_defect_and_attack_names_what_stops_it_and_words_and_no_control_does() -> None:
    assert all(case.by and case.words for case in (*DEFECTS, *ATTACKS))
    assert not any(case.by for case in CONTROLS)


def test_what_nothing_has_stopped_has_reached_what_it_wanted() -> None:
    assert caught("attacks", Outcome((), ""), holds=False) == "REACHED"
    assert caught("attacks", Outcome(("checks",), ""), holds=False) == "NO"
    assert caught("attacks", Outcome(("deploy",), ""), holds=True) == "yes"


def test_the_tables_are_markdown_and_one_a_block() -> None:
    row = {"case": "Nulls", "block": "defects", "caught": "yes", "by": "Data", "seconds": 12.3}
    lines = list(tables([row, {**row, "case": "A tag", "block": "attacks"}]))
    assert re.fullmatch(r"\| Nulls \| yes \| Data \| 12 \|", lines[2])
    assert [line.split(" ")[1] for line in lines if "seconds" in line] == ["defects", "attacks"]


def test_the_readme_has_these_cases_and_what_is_to_stop_them() -> None:
    shown = re.findall(r"^\| ([^|]+) \| (yes|green) \| ([^|]+) \| \d+ \|$", (ROOT / "README.md").read_text(), re.M)
    wanted = [
        (case.name, "green" if block == "controls" else "yes", named(case.by) or "–")
        for block, cases in BLOCKS.items()
        for case in cases
    ]
    assert shown == wanted
