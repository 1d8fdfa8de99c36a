"""The Markdown that GitHub draws. Whatever is quoted goes through `text`."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.reading import number


def text(value: object) -> str:
    """Any value as inert Markdown: no markup, no mention, no link, no line of its own.

    Inside <code> GitHub makes no mention and no reference, but Markdown is still read: entities are not markup. What
    is not seen, such as a change of the writing's direction, could show other words than are there.
    """
    seen = (c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(str(value).split()))
    return f"<code>{''.join(c if c.isalnum() or c in ' -' else f'&#{ord(c)};' for c in seen)}</code>"


def word(said: object) -> str:
    """What people call a thing, as it stands in a sentence; where it could be more than words, as `text`."""
    whole = " ".join(str(said).split())
    return whole if whole and len(whole) <= 40 and all(c.isalnum() or c in " ,%-" for c in whole) else text(whole)


def part(row: Mapping[str, Any]) -> str:
    """A slice's name: `amount 50 to 100`, `express true`, `size missing`."""
    if "value" in row:
        return f"{row['column']} {value(row['value'])}"
    low, high = (None if row.get(end) is None else f"{row[end]:,.12g}" for end in ("from", "to"))
    return f"{row['column']} " + (
        f"from {low}" if high is None else f"up to {high}" if low is None else f"{low} to {high}"
    )


def value(said: object) -> str:
    """A column's value as people say it: a missing one, yes or no, a number, a text."""
    if said is None:
        return "missing"
    if isinstance(said, bool):
        return str(said).lower()
    return f"{said:,.6g}" if isinstance(said, int | float) else str(said)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table; every cell is already Markdown."""
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def details(summary: str, lines: Iterable[str]) -> Iterator[str]:
    """A section that opens at a click."""
    yield f"\n### {summary}\n\n<details><summary>show</summary>\n"
    yield from lines
    yield "\n</details>"


def chart(
    title: str, x: str, xs: Iterable[float], y: str, lines: Sequence[Sequence[float]], span: tuple[float, float]
) -> Iterator[str]:
    """A Mermaid chart that GitHub draws."""
    yield f"\n```mermaid\n{BLUE}\nxychart-beta"
    yield f'    title "{bare(title)}"'
    yield f'    x-axis "{bare(x)}" [{", ".join(map(plain, xs))}]'
    yield f'    y-axis "{bare(y)}" {plain(span[0])} --> {plain(span[1])}'
    for line in lines:
        yield f"    line [{', '.join(map(plain, line))}]"
    yield "```"


def bare(said: str) -> str:
    """A text of which Mermaid reads nothing as its own."""
    return " ".join("".join(c if c.isalnum() or c in " ,-€£¥" else " " for c in said).split())


def plain(value: float) -> str:
    """Four digits, and no exponent, which Mermaid cannot read."""
    return f"{float(f'{value:.4g}'):.10f}".rstrip("0").rstrip(".")


BLUE = '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "#1f7ae0"}}}}%%'
"""Mermaid's own first colour is nearly white; this one is seen on light and on dark."""


def words(name: str) -> str:
    """`average_precision` as people say it."""
    return name.replace("_", " ")


def metric(name: str, smaller: Collection[str] = ()) -> str:
    """A metric as people say it, and its direction where less is better."""
    return word(words(name)) + (" (less is better)" if name in smaller else "")


def interval(metric: Mapping[str, Any] | None) -> str:
    """A value with its interval: `0.712 (0.690 to 0.731)`."""
    if metric is None or metric["value"] is None:
        return "–"
    return f"{number(metric['value'])} ({number(metric['low'])} to {number(metric['high'])})"


def minutes(seconds: float) -> str:
    """`1 min 20 s`, `12 s`."""
    whole, rest = divmod(round(seconds), 60)
    return f"{whole} min {rest} s" if whole else f"{rest} s"
