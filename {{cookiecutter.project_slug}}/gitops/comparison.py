"""The model against what is in production, and what alerts do to groups of people: facts in, Markdown out."""

from collections.abc import Iterator, Mapping
from typing import Any

from gitops.markdown import details, interval, number, part, table, text, word, words
from gitops.problem import NEUTRAL, Words

RATES = ("false_positive_rate", "recall")


def lines(comparison: Mapping[str, Any] | None, called: Words = NEUTRAL) -> Iterator[str]:
    """Each metric of both on the same rows, with the interval of their difference; the slices at a click."""
    if comparison is None or comparison["champion"] is None:
        return
    champion = comparison["champion"]
    yield "\n### Against production\n"
    if comparison["problem"]:
        yield f"Not compared: {text(comparison['problem'])}"
        return
    many = word(called["row"][1])
    yield f"Both on the same {comparison['rows']:,} test {many}, which neither was trained on; the champion is"
    first, last = champion["train"]
    learned = f"{first} to {last}" if first != last else f"data until {champion['until']}"
    yield f"{text(champion['digest'])}, trained on {learned}.\n"
    yield from table(["", "this model", "champion", "difference"], rows(comparison["metrics"], words))
    yield from details("Against production, by slice", table(header(called), sliced(comparison)))


def header(called: Words) -> list[str]:
    """Of the table of slices."""
    return ["slice", word(called["row"][1]), word(called["positive"][1]), "", "this model", "champion", "difference"]


def rows(metrics: Mapping[str, Any], name: Any) -> Iterator[list[str]]:
    """A line a metric."""
    for metric, found in metrics.items():
        yield [name(metric), number(found["model"]), number(found["champion"]), f"**{interval(found['difference'])}**"]


def sliced(comparison: Mapping[str, Any]) -> Iterator[list[str]]:
    """A line a slice and metric."""
    for piece in comparison["slices"]:
        measured = {name: piece[name] for name in ("average_precision", "roc_auc") if piece.get(name)}
        for row in rows(measured, words):
            yield [text(part(piece)), f"{piece['rows']:,}", f"{piece['positives']:,}", *row]


def groups(metrics: Mapping[str, Any] | None, called: Words = NEUTRAL) -> Iterator[str]:
    """The rates of each group of people."""
    if not metrics or not metrics.get("fairness"):
        return
    yield from details(
        "Groups of people",
        table(
            ["group", word(called["row"][1]), word(called["positive"][1]), *map(words, RATES)],
            (
                [
                    text(part(group)),
                    f"{group['rows']:,}",
                    f"{group['positives']:,}",
                    *(interval(group[r]) for r in RATES),
                ]
                for found in metrics["fairness"].values()
                for group in found["groups"]
            ),
        ),
    )
