"""Why the model says what it says, for the report and the model card: facts in, Markdown out."""

from collections.abc import Iterator, Mapping
from typing import Any

from gitops.markdown import details, interval, number, table, text

KINDS = {"suspicious": "Most suspicious rows", "wrong": "Most wrong rows"}


def lines(explanations: Mapping[str, Any] | None) -> Iterator[str]:
    """What the model relies on, then the reasons for single scores."""
    if explanations is None:
        return
    yield from details("What the model relies on", relied(explanations))
    for kind, heading in KINDS.items():
        yield from details(heading, reasons(explanations, kind))


def relied(explanations: Mapping[str, Any]) -> Iterator[str]:
    """The importance of each input, largest first."""
    yield "By how much average precision falls when an input is shuffled among the test rows. Inputs that say the same"
    yield "stand in for each other.\n"
    falls = explanations["importance"].items()
    yield from table(["input", "fall of average precision"], ([text(name), interval(fall)] for name, fall in falls))


def reasons(explanations: Mapping[str, Any], kind: str) -> Iterator[str]:
    """A row a line: its score, and what moved it there from an ordinary row's."""
    yield f"An ordinary row scores {number(explanations['base'])}; what an input adds to that is its Shapley value.\n"
    yield from table(
        ["row", "label", "score", "input, its value: what it adds"],
        (
            [who(row), str(row.get("label", "–")), number(row["score"]), ", ".join(map(reason, row["reasons"]))]
            for row in explanations[kind]
        ),
    )


def who(row: Mapping[str, Any]) -> str:
    """A row's identifier, or a dash: what is personal may have been left out."""
    return text(row["id"]) if "id" in row else "–"


def reason(why: Mapping[str, Any]) -> str:
    """An input, its value or pseudonym where it may be shown, and what it adds to the score."""
    value = why.get("value", "")
    shown = value if isinstance(value, str) else f"{value:,g}"
    return text(f"{why['column']} {shown}".rstrip() + f": {why['contribution']:+.3f}")
