"""One pass over a table of any length, a piece at a time: what is asked of its rows, day by day.

A piece is what a batch has of a day. Whoever asked puts the pieces together: as sums are, or ends, or means.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import Any, Protocol

import polars as pl

from pipeline.ingest import GROUP
from pipeline.places import ahead

DAY, LEN, LEVEL = "_day", "_rows", "_level"
BATCH = 2 * GROUP  # rows that are looked at together
MANY = 500_000  # levels that are held before equal ones are put together


class Tally(Protocol):
    """What is made of the rows of one day, as they come."""

    def add(self, rows: pl.DataFrame) -> None:
        """Take in some of them."""

    def told(self) -> Any:
        """What they say."""


@dataclass
class Levels:
    """The levels of a category: LEVEL, its _first and _last DAY, LEN."""

    column: str
    parts: list[pl.DataFrame] = field(default_factory=list)
    held: int = 0

    def add(self, day: date, rows: pl.DataFrame) -> None:
        """Take in the rows of a day."""
        found = rows[self.column].drop_nulls().alias(LEVEL).value_counts(name=LEN)
        self.parts.append(found.with_columns(_first=pl.lit(day), _last=pl.lit(day)))
        self.held += len(found)
        if self.held > MANY:
            self.parts = [self.table()]
            self.held = len(self.parts[0]) // 2  # so that many different ones are not put together again and again

    def table(self) -> pl.DataFrame:
        """One row a level."""
        empty = pl.DataFrame(schema={LEVEL: pl.String, LEN: pl.UInt32, "_first": pl.Date, "_last": pl.Date})
        each = pl.concat(self.parts or [empty]).group_by(LEVEL, maintain_order=True)
        return each.agg(pl.col("_first").min(), pl.col("_last").max(), pl.col(LEN).sum())


@dataclass(frozen=True)
class Found:
    """What a pass found."""

    pieces: pl.DataFrame  # a row each: DAY, null where rows have none, LEN, and what was asked
    days: Mapping[date, Mapping[str, Any]]  # of a span, in order: what is told of each
    levels: Mapping[str, pl.DataFrame]  # of each category, in the days of a span


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
    nothing = table.clear().select(day.alias(DAY), pl.len().alias(LEN), **asked).collect().clear()
    pieces, days, levels = [nothing], dict[date, dict[str, Any]](), [Levels(name) for name in categories]
    for of, parts in groupby(by_piece(table, day), lambda piece: piece[0]):
        today = {name: tally() for name, tally in (tallies or {}).items()}
        for _, rows in parts:
            pieces.append(rows.select(pl.lit(of, pl.Date).alias(DAY), pl.len().alias(LEN), **asked))
            if of is None or not span[0] <= of <= span[1]:
                continue
            for each in today.values():
                each.add(rows)
            for category in levels:
                category.add(of, rows)
            days[of] = {}
        if of in days:
            days[of] = {name: each.told() for name, each in today.items()}
    return Found(pl.concat(pieces), dict(sorted(days.items())), {each.column: each.table() for each in levels})


def by_piece(table: pl.LazyFrame, day: pl.Expr) -> Iterator[tuple[date | None, pl.DataFrame]]:
    """The rows of each day in a batch, batch by batch."""
    rows = table.with_columns(day.alias(DAY))
    number = table.select(pl.len()).collect(engine="streaming").item()
    # polars' own collect_batches holds a dozen of them ready
    for batch in ahead(lambda at: rows.slice(at, BATCH).collect(), range(0, number, BATCH), 1):
        if not batch[DAY].is_sorted():
            batch = batch.sort(DAY, maintain_order=True)
        first = 0
        for length, of in batch[DAY].rle().struct.unnest().iter_rows():
            yield of, batch.slice(first, length)
            first += length
