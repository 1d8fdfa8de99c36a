"""The model against what is in production, and on slices and groups of people: facts in, Markdown out."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from textwrap import shorten
from typing import Any

from gitops.markdown import details, interval, metric, number, part, table, text, word
from gitops.problem import NEUTRAL, Words
from pipeline.policy.slices import PIECE

LONGEST = 500  # characters of a reason that names classes

Piece = Mapping[str, Any]


def lines(
    comparison: Mapping[str, Any] | None, called: Words = NEUTRAL, smaller: Collection[str] = ()
) -> Iterator[str]:
    """Each metric of both on the same rows, with the interval of their difference; the slices at a click."""
    if comparison is None or comparison["champion"] is None:
        return
    champion = comparison["champion"]
    yield "\n### Against production\n"
    if comparison["problem"]:
        yield f"Not compared: {text(shorten(comparison['problem'], LONGEST))}"
        return
    first, last = champion["train"]
    learned = f"{first} to {last}" if first != last else f"data until {champion['until']}"
    yield f"Both on the same {compared(comparison, called)}, which neither was trained on; the champion is"
    yield f"{text(champion['digest'])}, trained on {learned}.\n"
    header = ["", "this model", "champion", "difference"]
    yield from table(header, rows(comparison["metrics"], smaller))
    yield from details("Against production, by slice", sliced(comparison["slices"], called, smaller))


def compared(comparison: Mapping[str, Any], called: Words) -> str:
    """How many rows both were measured on, and why not all."""
    many = f"test {word(called['row'][1])}"
    if comparison["compared"] == comparison["rows"]:
        return f"{comparison['rows']:,} {many}"
    why = f" ({text(shorten(comparison['excepted'], LONGEST))})" if comparison["excepted"] else ""
    return f"{comparison['compared']:,} of {comparison['rows']:,} {many}{why}"


def rows(metrics: Mapping[str, Any], smaller: Collection[str]) -> Iterator[list[str]]:
    """A line a metric that both have."""
    for name, found in metrics.items():
        if found:
            difference = f"**{interval(found['difference'])}**"
            yield [metric(name, smaller), number(found["model"]), number(found["champion"]), difference]


def sliced(slices: Sequence[Piece], called: Words, smaller: Collection[str]) -> Iterator[str]:
    """A line a slice and metric."""
    yield from table(
        [*header("slice", slices, called), "", "this model", "champion", "difference"],
        (
            [*which(piece, slices), *row]
            for piece in slices
            for row in rows({name: piece.get(name) for name in measured(slices)}, smaller)
        ),
    )


def groups(metrics: Mapping[str, Any] | None, called: Words = NEUTRAL) -> Iterator[str]:
    """The rates of each group of people."""
    if not metrics or not metrics.get("fairness"):
        return
    found = [group for groups in metrics["fairness"].values() for group in groups["groups"]]
    yield from details("Groups of people", pieces("group", found, called))


def pieces(what: str, found: Sequence[Piece], called: Words, smaller: Collection[str] = ()) -> Iterator[str]:
    """A line a slice or group, with all that was measured of them."""
    names = measured(found)
    yield from table(
        [*header(what, found, called), *(metric(name, smaller) for name in names)],
        ([*which(piece, found), *(interval(piece.get(name)) for name in names)] for piece in found),
    )


def measured(found: Sequence[Piece]) -> list[str]:
    """What was measured of some slices or groups, by name."""
    return list(dict.fromkeys(name for piece in found for name in piece if name not in PIECE))


def header(what: str, found: Sequence[Piece], called: Words) -> list[str]:
    """Of what `which` says; what the labels are where that is said of any."""
    return [what, word(called["row"][1]), *["labels"] * labelled(found)]


def which(piece: Piece, among: Sequence[Piece]) -> list[str]:
    """Which slice or group it is, how many rows it has, and what their labels are."""
    labels = [word(piece["labels"]) if piece["labels"] else "–"] * labelled(among)
    return [text(part(piece)), f"{piece['rows']:,}", *labels]


def labelled(found: Sequence[Piece]) -> bool:
    """Whether it is said of any what its labels are."""
    return any(piece["labels"] for piece in found)
