"""A part of the cases at every `make test`, another one after each commit; `make defects` runs them all."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from tests import problems
from tests.baking import ROOT
from tests.defects.__main__ import BLOCKS, caught, named, tables
from tests.defects.attacks import ATTACKS, MANIFEST
from tests.defects.case import Case
from tests.defects.cases import CASES, CONTROLS, DEFECTS
from tests.defects.world import BANK, Days, Files, Outcome, World, worlds
from tests.rehearsal.small import small
from tests.turns import share, turn

PARTS = {BANK: 12, "products": 2, "maintenance": 2, "clicks": 2}
"""In how many parts a world's cases are shown: one part takes some three minutes, and a commit shows one."""


def parts() -> list[list[Case]]:
    """The cases in parts, each of one world."""
    by_world = {name: [case for case in CASES if case.world == name] for name in PARTS}
    return [share(cases, PARTS[name], at) for name, cases in by_world.items() for at in range(PARTS[name])]


@pytest.fixture(scope="module")
def made() -> Iterator[Callable[[str], World]]:
    """Worlds by their names, each with a model in production."""
    with worlds() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("case", turn(parts(), len(parts()))[0], ids=lambda case: str(case.name))
def test_case(case: Case, made: Callable[[str], World]) -> None:
    found = case.play(made(case.world))
    assert case.holds(found), found.said


def test_each_case_is_in_one_part() -> None:
    assert sorted(case.name for part in parts() for case in part) == sorted(case.name for case in CASES)


class Tried(Exception):
    """A change is put together, and goes no further."""


class Nowhere:
    """A repository that is on no GitHub."""

    def __getattr__(self, name: str) -> Any:
        raise Tried


class Desk(World):
    """The files of a world, with no GitHub and no deliveries: changes are put together, and not proposed."""

    def __init__(self, bake: Path, folder: Path) -> None:
        super().__init__(cast(Any, Nowhere()), folder)
        self.bake = bake

    def read(self, name: str) -> str:
        assert (self.bake / name).is_file(), f"there is no {name}"
        return (self.bake / name).read_text()

    def delivery(self) -> Days:
        return {}

    def delivered(self, change: Callable[[Days], Days]) -> Files:
        return {}


@pytest.fixture(scope="module")
def bakes(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What each world is baked of, by its name."""
    bank = small(template, tmp_path_factory.mktemp("bank"))
    (bank / MANIFEST).write_text("{}")  # as if something were in production
    made = {name: shutil.copytree(bank, tmp_path_factory.mktemp(name) / name) for name in PARTS if name != BANK}
    for name, bake in made.items():
        problems.put(bake, name, Path("days"))
    return {BANK: bank} | made


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.name))
def test_words_that_a_case_replaces_are_there(case: Case, bakes: dict[str, Path], tmp_path: Path) -> None:
    """Up to the first request: code moves, and a case that can no longer be put together is seen before its turn."""
    with suppress(Tried, FileNotFoundError):  # the latter of a day that nobody has delivered: `read` says so otherwise
        case.play(Desk(bakes[case.world], tmp_path))


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
