"""Runs the cases: `python -m tests.defects [WORD ...]` prints a table a block, and writes build/defects.{json,md}.

Words choose the cases whose names hold one of them. Ends with status 1 where a defect is not caught by the check that
is meant to, with the words that it has to say, where a control is not green, or where an attack is not stopped so.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.defects.attacks import ATTACKS
from tests.defects.case import Case
from tests.defects.cases import CONTROLS, DEFECTS
from tests.defects.world import Outcome, World, timed, worlds

RESULT = Path("build/defects.json")
TABLE = Path("build/defects.md")
LINE = "{:<48} {:<8} {:<24} {:>8}"
BLOCKS = {"defects": DEFECTS, "controls": CONTROLS, "attacks": ATTACKS}
HEADS = {"defects": ("caught", "by which check"), "controls": ("is", ""), "attacks": ("stopped", "by what")}
NAMES = {
    "owner": "owner's review",
    "settings": "GitHub's settings",
    "dvc": "what guards DVC",
    "checkout": "sparse checkout",
    "hook": "the machine's hook",
    "limits": "what is unpacked at most",
    "markdown": "quoting",
    "log": "the log's own limits",
}
"""What stops a case and is no job of a workflow."""


def main() -> None:
    """The command line."""
    words, rows = sys.argv[1:], list[dict[str, Any]]()
    with worlds() as made:
        for block, cases in BLOCKS.items():
            chosen = [case for case in cases if not words or any(word in case.name for word in words)]
            if chosen:
                print(LINE.format(block, *HEADS[block], "seconds"), flush=True)
            for row in played(made, block, chosen):
                print(LINE.format(row["case"], row["caught"], row["by"], f"{row['seconds']:.0f}"), flush=True)
                rows.append(row)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(rows, indent=2) + "\n")
    TABLE.write_text("\n".join(tables(rows)) + "\n")
    sys.exit(not all(row["holds"] for row in rows))


def played(made: Callable[[str], World], block: str, cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """A row a case, as they are done."""
    for case in cases:
        there = made(case.world)
        found, seconds = timed(lambda: case.play(there))  # noqa: B023, called at once
        holds = case.holds(found)
        if not holds:
            print(found.said[-20_000:], file=sys.stderr)
        yield {
            "case": case.name,
            "block": block,
            "holds": holds,
            "caught": caught(block, found, holds),
            "by": " ".join(named(name) for name in ([case.by] if holds else found.red) if name),
            "seconds": round(seconds, 1),
        }


def named(by: str) -> str:
    """What stops a case, as people call it."""
    return NAMES.get(by, by.capitalize())


def caught(block: str, found: Outcome, holds: bool) -> str:
    """A cell. An attack that nothing has stopped is one that reached what it wanted."""
    if block == "controls":
        return "green" if holds else "RED"
    return "yes" if holds else "REACHED" if block == "attacks" and not found.red else "NO"


def tables(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The tables in Markdown, one a block."""
    kept = list(rows)
    for block in BLOCKS:
        if there := [row for row in kept if row["block"] == block]:
            first, second = HEADS[block]
            yield from (f"| {block} | {first} | {second} | seconds |", "| --- | --- | --- | ---: |")
            yield from (
                f"| {row['case']} | {row['caught']} | {row['by'] or '–'} | {row['seconds']:.0f} |" for row in there
            )
            yield ""


if __name__ == "__main__":
    main()
