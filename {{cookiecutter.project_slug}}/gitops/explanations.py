"""Why the model says what it says, for the report and the model card: facts in, Markdown out."""

from collections.abc import Iterator, Mapping
from typing import Any

from gitops.markdown import details, interval, number, table, text, value, word, words
from gitops.problem import NEUTRAL, Words

KINDS = {"highest": "{} with the highest {}", "wrong": "{} that are answered most wrongly"}


def lines(explanations: Mapping[str, Any] | None, called: Words = NEUTRAL) -> Iterator[str]:
    """What the model relies on, then the reasons for single answers."""
    if explanations is None:
        return
    yield from relies(explanations, called)
    for kind, heading in KINDS.items():
        many = word(called["row"][1])
        yield from details(
            heading.format(many[:1].upper() + many[1:], words(explanations["point"])),
            reasons(explanations, kind, called),
        )


def relies(explanations: Mapping[str, Any] | None, called: Words = NEUTRAL) -> Iterator[str]:
    """The importance of its inputs, as a section."""
    if explanations is not None:
        yield from details("What the model relies on", relied(explanations, called))


def relied(explanations: Mapping[str, Any], called: Words) -> Iterator[str]:
    """The importance of each input, largest first."""
    many, measure = word(called["row"][1]), words(explanations["headline"])
    yield f"By how much the {measure} worsens when an input is shuffled among the test {many}. Inputs"
    yield "that say the same stand in for each other.\n"
    falls = explanations["importance"].items()
    yield from table(["input", f"the {measure} worsens by"], ([text(name), interval(fall)] for name, fall in falls))


def reasons(explanations: Mapping[str, Any], kind: str, called: Words) -> Iterator[str]:
    """A row a line: what it is answered with, and what moved that there from an ordinary row's answer."""
    one, point, found = word(called["row"][0]), words(explanations["point"]), explanations[kind]
    if not any("about" in row for row in found):  # of several classes, each has a mean of its own
        yield f"The {point} of an ordinary {one} is {number(explanations['base'])}."
    yield f"What an input adds to the {point} of an ordinary {one} is its Shapley value.\n"
    yield from table(
        [one, "label", point, "input, its value: what it adds"],
        ([who(row), label(row), answer(row), ", ".join(map(reason, row["reasons"]))] for row in found),
    )


def who(row: Mapping[str, Any]) -> str:
    """A row's identifier, or a dash: what is personal may have been left out."""
    return text(row["id"]) if "id" in row else "–"


def label(row: Mapping[str, Any]) -> str:
    """A row's label: a class or a pseudonym, a number, or a dash."""
    return text(value(row["label"])) if row.get("label") is not None else "–"


def answer(row: Mapping[str, Any]) -> str:
    """A row's point, and the class that it is of where there are several."""
    return f"{text(row['about'])} {number(row['point'])}" if "about" in row else number(row["point"])


def reason(why: Mapping[str, Any]) -> str:
    """An input, its value or pseudonym where it may be shown, and what it adds to the answer."""
    shown = f" {value(why['value'])}" if "value" in why else ""
    return text(f"{why['column']}{shown}: {added(why['contribution'])}")


def added(contribution: float) -> str:
    """What is added, with its sign."""
    return f"{'+' if contribution >= 0 else ''}{number(contribution)}"
