"""Runs the cases: `python -m tests.defects [WORD ...]` prints a table, and writes build/defects.{json,md}.

Words choose the cases whose names hold one of them. Ends with status 1 where a defect is not caught by the check that
is meant to, with the words that it has to say, or where a control is not green.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.defects.cases import CASES, CONTROLS, Case
from tests.defects.world import World, timed, world

RESULT = Path("build/defects.json")
TABLE = Path("build/defects.md")
LINE = "{:<48} {:<8} {:<10} {:>8}"
NAMES = {"owner": "owner's review", "measure": "Drift"}
"""Checks that are no jobs of the pull request's workflow."""


def main() -> None:
    """The command line."""
    chosen = [case for case in CASES if not sys.argv[1:] or any(word in case.name for word in sys.argv[1:])]
    rows: list[dict[str, Any]] = []
    print(LINE.format("case", "caught", "by", "seconds"))
    with world() as made:
        for row in played(made, chosen):
            print(LINE.format(row["case"], row["caught"], row["by"], f"{row['seconds']:.0f}"), flush=True)
            rows.append(row)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(rows, indent=2) + "\n")
    TABLE.write_text("\n".join(table(rows)) + "\n")
    sys.exit(not all(row["holds"] for row in rows))


def played(made: World, cases: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """A row a case, as they are done."""
    for case in cases:
        found, seconds = timed(lambda: case.play(made))  # noqa: B023, called at once
        holds = case.holds(found)
        if not holds:
            print(found.said[-20_000:], file=sys.stderr)
        yield {
            "case": case.name,
            "control": case in CONTROLS,
            "holds": holds,
            "caught": caught(case, holds),
            "by": " ".join(NAMES.get(name, name.capitalize()) for name in ([case.by] if holds else found.red) if name),
            "seconds": round(seconds, 1),
        }


def caught(case: Case, holds: bool) -> str:
    """A cell."""
    return ("yes" if holds else "NO") if case.by else ("green" if holds else "RED")


def table(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The table in Markdown."""
    yield "| | caught | by which check | seconds |"
    yield "| --- | --- | --- | ---: |"
    for row in rows:
        yield f"| {row['case']} | {row['caught']} | {row['by'] or '–'} | {row['seconds']:.0f} |"


if __name__ == "__main__":
    main()
