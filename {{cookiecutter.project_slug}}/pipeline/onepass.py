"""One pass over a table of any length, a piece at a time: what is asked of its rows, day by day.

A piece is what a batch has of a day. Whoever asked puts the pieces together: as sums are, or ends, or means.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from pipeline.counts import Counts
from pipeline.places import ahead

DAY, LEN, LEVEL = "_day", "_rows", "_level"
GROUP = 125_000  # rows of a group in a file that is read in batches: no group is read twice
BATCH = 2 * GROUP  # rows that are looked at together
MANY = 500_000  # levels that are held before equal ones are put together

Count = Callable[[pl.DataFrame], np.ndarray]
"""Counts rows by bins: [bins + 1], as `counts.Column.count` does."""


@dataclass(frozen=True)
class Found:
    """What a pass found."""

    pieces: pl.DataFrame  # a row each: DAY, null where rows have none, LEN, and what was asked
    counts: Mapping[date, Mapping[str, Counts]]  # of each day of a span
    levels: Mapping[str, pl.DataFrame]  # of a category, in the days of a span: its LEVELs, _first and _last DAY, LEN


def over(
    table: pl.LazyFrame,
    day: pl.Expr,
    asked: Mapping[str, pl.Expr],
    counted: Mapping[str, Count] | None = None,
    categories: Collection[str] = (),
    span: tuple[date, date] = (date.min, date.max),
) -> Found:
    """What the rows say, by day: what is `asked`, a number each; of the days of a span what is `counted`, and levels.

    Constant memory: BATCH rows, and what is found. The rows of a day should stand together, as ingest leaves them.
    """
    pieces, counts = [], dict[date, dict[str, list[Counts]]]()
    levels: dict[str, list[pl.DataFrame]] = {name: [] for name in categories}
    for of, rows in by_piece(table, day):
        pieces.append(rows.select(pl.lit(of, pl.Date).alias(DAY), pl.len().alias(LEN), **asked))
        if of is None or not span[0] <= of <= span[1]:
            continue
        for name, count in (counted or {}).items():
            counts.setdefault(of, {}).setdefault(name, []).append(Counts.of(count(rows)))
        for name, parts in levels.items():
            found = rows[name].drop_nulls().alias(LEVEL).value_counts(name=LEN)
            parts.append(found.with_columns(pl.lit(of).alias("_first"), pl.lit(of).alias("_last")))
            if sum(map(len, parts)) > MANY + 2 * len(parts[0]):
                parts[:] = [together(parts)]
    nothing = table.clear().select(day.alias(DAY), pl.len().alias(LEN), **asked)  # the types, where there is no row
    return Found(
        pl.concat(pieces) if pieces else nothing.collect().clear(),
        {of: {name: Counts.sum(parts) for name, parts in each.items()} for of, each in counts.items()},
        {name: together(parts) for name, parts in levels.items()},
    )


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


def together(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Levels that are in several parts, as one."""
    empty = pl.DataFrame(schema={LEVEL: pl.String, LEN: pl.UInt32, "_first": pl.Date, "_last": pl.Date})
    each = pl.concat(parts or [empty]).group_by(LEVEL, maintain_order=True)
    return each.agg(pl.col("_first").min(), pl.col("_last").max(), pl.col(LEN).sum())
