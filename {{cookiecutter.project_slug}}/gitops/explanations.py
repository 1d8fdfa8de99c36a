"""Why the model says what it says, for the report and the model card: facts in, Markdown out."""

from collections.abc import Iterator, Mapping
from typing import Any

from gitops.markdown import details, interval, number, table, text, value, word
from gitops.problem import NEUTRAL, Words

POSITIVE = {1: "yes", 0: "no"}
KINDS = {"highest": "{} with the highest scores", "wrong": "{} with the most wrong scores"}


def lines(explanations: Mapping[str, Any] | None, called: Words = NEUTRAL) -> Iterator[str]:
    """What the model relies on, then the reasons for single scores."""
    if explanations is None:
        return
    yield from details("What the model relies on", relied(explanations, called))
    for kind, heading in KINDS.items():
        many = word(called["row"][1])
        yield from details(heading.format(many[:1].upper() + many[1:]), reasons(explanations, kind, called))


def relied(explanations: Mapping[str, Any], called: Words) -> Iterator[str]:
    """The importance of each input, largest first."""
    many = word(called["row"][1])
    yield f"By how much average precision falls when an input is shuffled among the test {many}. Inputs"
    yield "that say the same stand in for each other.\n"
    falls = explanations["importance"].items()
    yield from table(["input", "fall of average precision"], ([text(name), interval(fall)] for name, fall in falls))


def reasons(explanations: Mapping[str, Any], kind: str, called: Words) -> Iterator[str]:
    """A row a line: its score, and what moved it there from an ordinary row's."""
    one = word(called["row"][0])
    yield f"An ordinary {one} scores {number(explanations['base'])}; what an input adds to that is its Shapley value.\n"
    yield from table(
        [one, word(called["positive"][0]), "score", "input, its value: what it adds"],
        (
            [
                who(row),
                POSITIVE.get(row.get("label"), "–"),
                number(row["score"]),
                ", ".join(map(reason, row["reasons"])),
            ]
            for row in explanations[kind]
        ),
    )


def who(row: Mapping[str, Any]) -> str:
    """A row's identifier, or a dash: what is personal may have been left out."""
    return text(row["id"]) if "id" in row else "–"


def reason(why: Mapping[str, Any]) -> str:
    """An input, its value or pseudonym where it may be shown, and what it adds to the score."""
    shown = f" {value(why['value'])}" if "value" in why else ""
    return text(f"{why['column']}{shown}: {why['contribution']:+.3f}")
