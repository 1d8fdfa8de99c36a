"""One pass over a table of any length, a batch at a time: what is asked of its rows, day by day.

A piece is what a batch has of a day. Whoever asked puts the pieces together: as sums are, or ends, or means.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import polars as pl

from pipeline.ingest import GROUP
from pipeline.places import ahead

DAY, LEN, LEVEL = "_day", "_rows", "_level"
FIRST, LAST = "_first", "_last"
BATCH = 2 * GROUP  # rows that are looked at together
SIDE_BY_SIDE = 2  # batches that are; polars' own collect_batches holds a dozen ready
LARGE = 10_000  # rows of a day
MANY = 500_000  # levels that are held before equal ones are put together


class Tally(Protocol):
    """What is made of the rows of one day, as they come."""

    def add(self, rows: pl.DataFrame) -> None:
        """Take in some of them."""

    def told(self) -> Any:
        """What they say."""


@dataclass(frozen=True)
class Found:
    """What a pass found."""

    pieces: pl.DataFrame  # a row each: DAY, null where rows have none, LEN, and what was asked
    days: Mapping[date, Mapping[str, Any]]  # of a span: what is told of each
    levels: Mapping[str, pl.DataFrame]  # of each category, in the days of a span: LEVEL, FIRST and LAST day, LEN


def over(
    table: pl.LazyFrame,
    day: pl.Expr,
    asked: Mapping[str, pl.Expr],
    tallies: Mapping[str, Callable[[], Tally]] | None = None,
    categories: Collection[str] = (),
    span: tuple[date, date] = (date.min, date.max),
) -> Found:
    """What the rows say, by day: what is `asked`, a number each; of the days of a span what `tallies` tell, and levels.

    The rows of a day stand together, as ingest leaves them. Constant memory: BATCH rows, and what is found.
    """
    rows = table.with_columns(day.alias(DAY))
    number = rows.select(pl.len()).collect(engine="streaming").item()

    def looked(at: int) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, pl.DataFrame]]:
        batch = rows.slice(at, BATCH).collect()
        batch = batch.set_sorted(DAY) if batch[DAY].is_sorted() else batch.sort(DAY, maintain_order=True)
        inside = batch.filter(pl.col(DAY).is_between(*span))
        return inside, piecewise(batch, asked), {name: seen(inside, name) for name in categories}

    pieces, levels = [piecewise(rows.clear().collect(), asked)], {name: list[pl.DataFrame]() for name in categories}
    days, today = dict[date, dict[str, Any]](), dict[date, dict[str, Tally]]()
    for inside, piece, some in ahead(looked, range(0, number, BATCH), SIDE_BY_SIDE):
        pieces.append(piece)
        for name, parts in levels.items():
            parts.append(some[name])
            if sum(map(len, parts)) > MANY + 2 * len(parts[0]):
                parts[:] = [together(parts)]
        for of, part in by_day(inside) if tallies else ():
            if of not in today:
                days |= told(today)
                today = {of: {name: tally() for name, tally in (tallies or {}).items()}}
            for tally in today[of].values():
                tally.add(part)
    return Found(pl.concat(pieces), days | told(today), {name: together(parts) for name, parts in levels.items()})


def piecewise(batch: pl.DataFrame, asked: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """The pieces of a batch. Large days are looked at each by itself, which is three times as fast there."""
    if len(batch) >= LARGE * max(batch[DAY].n_unique(), 1):
        return pl.concat(part.select(pl.first(DAY), pl.len().alias(LEN), **asked) for _, part in by_day(batch))
    return batch.group_by(DAY, maintain_order=True).agg(pl.len().alias(LEN), **asked)


def by_day(batch: pl.DataFrame) -> Iterator[tuple[date, pl.DataFrame]]:
    """The rows of each day."""
    first = 0
    for length, day in batch[DAY].rle().struct.unnest().iter_rows():
        yield day, batch.slice(first, length)
        first += length


def told(days: Mapping[date, Mapping[str, Tally]]) -> dict[date, dict[str, Any]]:
    """What the tallies of days that are over say."""
    return {day: {name: tally.told() for name, tally in of.items()} for day, of in days.items()}


def seen(batch: pl.DataFrame, name: str) -> pl.DataFrame:
    """The levels of a category in a batch."""
    there = batch.select(pl.col(name).alias(LEVEL), DAY).drop_nulls().group_by(LEVEL)
    return there.agg(pl.col(DAY).min().alias(FIRST), pl.col(DAY).max().alias(LAST), pl.len().alias(LEN))


def together(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Levels that are in several batches, as one."""
    empty = pl.DataFrame(schema={LEVEL: pl.String, FIRST: pl.Date, LAST: pl.Date, LEN: pl.UInt32})
    each = pl.concat([empty, *parts], how="vertical_relaxed").group_by(LEVEL)
    return each.agg(pl.col(FIRST).min(), pl.col(LAST).max(), pl.col(LEN).sum())
