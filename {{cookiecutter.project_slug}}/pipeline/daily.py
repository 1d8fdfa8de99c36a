"""What the days of a table are like beside each other; `daily` of policies/data.yaml judges.

Every value may be right although a delivery is not: its clock is of another zone, an earlier day comes again under a
new date, a column stands still, levels are renamed, values are lost. Of each only the days that can tell are kept, so
that a table of 500 columns and 400 days is measured in some hundred kilobytes.
"""

from cmath import phase
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from datetime import time as moment
from functools import reduce
from itertools import groupby
from math import exp, log, pi, sqrt
from operator import xor
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from pipeline import personal
from pipeline.contract import Column, Contract
from pipeline.onepass import DAY, FIRST, LAST, LEN, LEVEL, Found
from pipeline.params import Days

KEPT = 3  # runs of a column, days of missing values, levels that came or went: those that tell most
DIGEST = "_digest"
MINUTES = "minutes"  # where a pass has counted them


def daily(table: pl.LazyFrame, found: Found, columns: Sequence[Column], ours: Contract, window: Days) -> dict[str, Any]:
    """What is judged by day, of the days of `window`; `columns` are those that are of their type, the time among them.

    `found` is what a pass over the table has told: `ends` of what is `moving`, the `minutes`, the levels of categories.
    What looks odd is looked at again, of the days that matter.
    """
    time = pl.col(ours.time)
    begin, end = (datetime.combine(day, moment.min) for day in (window.since, window.test[1] + timedelta(days=1)))
    inside = table.filter((time >= begin) & (time < end)).with_columns(time.dt.date().alias(DAY))
    days = by_day(found.pieces.filter(pl.col(DAY).is_between(window.since, window.test[1])), moving(columns, ours))
    hours = {day: of[MINUTES] for day, of in found.days.items()}
    entity = next((column.name for column in columns if column.name == ours.entity), None)  # if it is of its type
    return {
        "columns": len(moving(columns, ours)),
        "clock": dict(clock(hours)),
        "untimed": [str(day) for day, of in hours.items() if not of[1:].any()],
        "repeated": repeated(inside, days, content(columns, ours)),
        "constant": dict(constant(inside, days, moving(columns, ours))),
        "categories": categories(inside, days, found.levels, content(columns, ours), window.train[1], entity),
        "lost": dict(lost(days, content(columns, ours))),
    }


def content(columns: Sequence[Column], ours: Contract) -> list[Column]:
    """The columns that say what a row is like."""
    roles = {ours.id, ours.time, ours.weight, ours.label.column}
    return [column for column in columns if column.name not in roles]


def moving(columns: Sequence[Column], ours: Contract) -> list[Column]:
    """Those that do not stand still, the label among them where it is a number."""
    return [*content(columns, ours), *numbers(columns, ours)]


def numbers(columns: Sequence[Column], ours: Contract) -> list[Column]:
    """The label, where it is a number: it stands still like any other."""
    return [column for column in columns if column.name == ours.label.column and not ours.label.values]


def ends(columns: Sequence[Column]) -> dict[str, pl.Expr]:
    """Of each column the ends of its values."""
    return {f"{end} {c.name}": of for c in columns for end, of in zip(("low", "high"), both(c), strict=True)}


def both(column: Column) -> tuple[pl.Expr, pl.Expr]:
    """The ends of a column's values; of texts, of their hashes."""
    value = pl.col(column.name)
    if column.type in ("category", "text"):  # whether they are equal is all that is asked
        value = pl.when(value.is_not_null()).then(value.hash())
    if column.type == "time":  # Python knows no year 10,000
        value = value.to_physical()
    return value.min(), value.max()


def by_day(pieces: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """Of each day, in order, the rows; of each column the rows without a value, and the ends of its values."""
    ends = {"null": pl.Expr.sum, "low": pl.Expr.min, "high": pl.Expr.max}
    each = (of(pl.col(f"{what} {column.name}")) for column in columns for what, of in ends.items())
    return pieces.group_by(DAY).agg(pl.col(LEN).sum(), *each).sort(DAY)


def digest(names: Sequence[str]) -> pl.Expr:
    """A number that follows from a row's values."""
    each = (pl.col(name).hash(seed) for seed, name in enumerate(names))
    return reduce(xor, each, pl.lit(0, pl.UInt64))


# --- a clock of another zone ---


def clock(hours: Mapping[date, np.ndarray]) -> Iterator[tuple[str, dict[str, float]]]:
    """Of each day the mean time of day and its spread, both in hours, and the rows that have one.

    The minute of midnight is no time of day, as a date is read as it. Mean and spread are circular; the spread divided
    by the root of the rows is the mean's standard error (Fisher, Statistical analysis of circular data, 1993, 4.4.4).
    """
    for day, of in hours.items():
        minute = 1 + np.flatnonzero(of[1:])
        if not len(minute):
            continue
        angle, rows = minute * (2 * np.pi / A_DAY), of[minute]
        first, second = (complex(rows @ np.exp(1j * times * angle)) / rows.sum() for times in (1, 2))
        if abs(first) > 0.01:  # else the rows lie all around the clock, and no hour is their mean
            spread = sqrt(max(1 - abs(second), 0) / 2) / abs(first) * 12 / pi
            hour = phase(first) * 12 / pi % 24
            yield str(day), {"hour": round(hour, 4), "spread": round(spread, 4), "rows": int(rows.sum())}


A_DAY = 24 * 60  # minutes


class Minutes:
    """How many rows of a day are of each of its minutes."""

    def __init__(self, time: str) -> None:
        self.minute = pl.col(time).dt.timestamp("us") // 60_000_000 % A_DAY
        self.rows = np.zeros(A_DAY, np.int64)

    def add(self, rows: pl.DataFrame) -> None:
        self.rows += np.bincount(rows.select(self.minute).to_series(), minlength=A_DAY)

    def told(self) -> np.ndarray:
        return self.rows


# --- an earlier day again ---


def repeated(inside: pl.LazyFrame, days: pl.DataFrame, content: Sequence[Column]) -> list[dict[str, Any]]:
    """Days whose rows are those of an earlier one, in any order, but for identifier, time, label and weight.

    Only of days that have as many rows, and the same ends, are the rows compared.
    """
    names = [column.name for column in content]
    same = [LEN, *(f"{what} {name}" for name in names for what in ("null", "low", "high"))]
    alike = days.filter(pl.struct(same).is_duplicated())[DAY].to_list() if names else []
    if not alike:
        return []
    some = inside.filter(pl.col(DAY).is_in(alike)).group_by(DAY)
    sums = collect(some.agg(pl.len().alias(LEN), digest(names).sum().alias(DIGEST)).sort(DAY))  # in any order; it wraps
    again = sums.select(DAY, LEN, pl.col(DAY).first().over(LEN, DIGEST).alias("_of")).filter(
        pl.col(DAY) != pl.col("_of")
    )
    if again.is_empty():
        return []
    there = inside.filter(pl.col(DAY).is_in(again["_of"].to_list()))
    distinct = dict(collect(there.unique([DAY, *names]).group_by(DAY).len(LEN)).iter_rows())
    return [
        {"day": str(day), "of": str(of), "rows": rows, "distinct": distinct[of]} for day, rows, of in again.iter_rows()
    ]


# --- a column that stands still ---


class Run(NamedTuple):
    """Days in a row on which a column has one value."""

    first: date
    last: date
    rows: int  # that have it


def constant(
    inside: pl.LazyFrame, days: pl.DataFrame, content: Sequence[Column]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Columns that have one value for a while, though they have several on most days that could show it.

    `share` is that of the most frequent value on the days that show several.
    """
    for column in content:
        null, low, high = (pl.col(f"{what} {column.name}") for what in ("null", "low", "high"))
        seen = days.select(
            DAY,
            (pl.col(LEN) - null).alias("_there"),
            (low == high).alias("_still"),
            low.alias("_value"),
        ).filter(pl.col("_there") > 0)
        still = seen.filter(pl.col("_still"))
        telling = seen.filter(pl.col("_there") > 1)
        if still.is_empty() or 2 * telling["_still"].sum() > len(telling):
            continue
        varied = inside.filter(pl.col(DAY).is_in(telling.filter(~pl.col("_still"))[DAY].to_list()))
        counts = varied.select(pl.col(column.name).alias("_value")).drop_nulls().group_by("_value").len(LEN)
        most, rows = collect(counts.select(pl.col(LEN).max().alias("_most"), pl.col(LEN).sum())).row(0)
        if rows:
            runs = sorted(still_runs(seen), key=lambda run: -run.rows)[:KEPT]
            yield column.name, {"share": most / rows, "runs": [told(run, inside, column.name) for run in runs]}


def still_runs(seen: pl.DataFrame) -> Iterator[Run]:
    """Runs of days with one and the same value."""
    rows = seen.iter_rows(named=True)
    for (still, _), group in groupby(rows, key=lambda row: (row["_still"], row["_still"] and row["_value"])):
        if still:
            found = list(group)
            yield Run(found[0][DAY], found[-1][DAY], sum(row["_there"] for row in found))


def told(run: Run, inside: pl.LazyFrame, name: str) -> dict[str, Any]:
    """A run, and its value as it may be shown."""
    value = collect(inside.filter(pl.col(DAY) == run.first).select(pl.col(name).drop_nulls().first())).item()
    return {"first": str(run.first), "last": str(run.last), "rows": run.rows, "value": personal.quoted(name, value)}


# --- levels that come or go ---


def categories(
    inside: pl.LazyFrame,
    days: pl.DataFrame,
    seen: Mapping[str, pl.DataFrame],
    content: Sequence[Column],
    trained: date,
    entity: str | None,
) -> dict[str, Any]:
    """Levels that came or went after the last training day, `trained`: a model would not know of it.

    A level of a closed list may come: who wrote it into the contract has accepted it. Many new levels, each of few
    rows, count as one. `tests` counts the levels, each as often as there are days on which it could have moved.
    """
    rows: dict[date, int] = dict(days.select(DAY, LEN).iter_rows())
    tests, found = 0, dict[str, Any]()
    for column in (column for column in content if column.type == "category" and rows):
        levels = seen[column.name]
        tests += len(levels) * sum(day > trained for day in rows)
        new = levels.filter(pl.col(FIRST) > trained) if column.categories is None else levels.clear()
        gone = levels.filter((pl.col(LAST) >= trained) & (pl.col(LAST) < max(rows)))
        sides = ((new, "since"), (gone, "until"))
        moved = [each for some, side in sides for each in moves(some, inside, rows, column.name, side, entity)]
        if len(new) > KEPT:
            moved = [*together(inside, levels, rows, column.name, trained), *moved]
        if moved:
            found[column.name] = moved
    return {"tests": tests, "columns": found}


def together(
    inside: pl.LazyFrame, levels: pl.DataFrame, rows: Mapping[date, int], name: str, trained: date
) -> Iterator[dict[str, Any]]:
    """The new levels as one, where more than twice as many rows have one as in as many days before `trained`.

    There are always some where levels are many. `chance` is Chernoff's bound on two samples of one share.
    """
    new = levels.filter(pl.col(FIRST) > trained)
    first = min(new[FIRST].to_list())
    after = [day for day in rows if day >= first]
    before = [day for day in rows if day <= trained][-len(after) :]
    if len(rows) < 3 * len(after):  # too few days before to know how many are usual
        return
    here, there = sum(rows[day] for day in after), sum(rows[day] for day in before)
    share = float(new[LEN].sum()) / here
    fresh = levels.filter(pl.col(FIRST).is_in(before)).lazy().select(pl.col(LEVEL).alias(name))
    then = inside.filter(pl.col(DAY).is_in(before)).join(fresh, on=name, how="semi")
    usual = float(collect(then.select(pl.len())).item()) / there
    if share > 2 * usual:
        chance = exp(-here * there / (here + there) * divergence(share, max(usual, 1 / there)))
        yield {
            **{"level": f"a group of {len(new):,} levels", "since": str(after[0])},
            **{"rows": int(here * (share - 2 * usual)), "of": here, "chance": chance},
        }


def moves(
    levels: pl.DataFrame, inside: pl.LazyFrame, rows: Mapping[date, int], name: str, side: str, entity: str | None
) -> Iterator[dict[str, Any]]:
    """Of the levels that most rows have: the day `since` or `until` which there are any, and the rows of these days.

    `chance` is that of all the level's rows to lie on these days, were they strewn over all; rows of one entity on one
    day count as one.
    """
    most = levels.sort(LEN, LEVEL, descending=[True, False]).head(KEPT)
    if most.is_empty():
        return
    drawn = dict(most.select(LEVEL, LEN).iter_rows())
    if entity:
        there = inside.filter(pl.col(name).is_in(most[LEVEL].to_list()))
        there = there.select(pl.col(name).alias(LEVEL), DAY, pl.col(entity).alias("_entity")).unique()
        drawn = dict(collect(there.group_by(LEVEL).len()).iter_rows())
    for level, first, last, number in most.select(LEVEL, FIRST, LAST, LEN).iter_rows():
        day = first if side == "since" else last
        of = sum(n for each, n in rows.items() if (each >= day if side == "since" else each <= day))
        chance = (of / sum(rows.values())) ** drawn[level]
        shown = personal.quoted(name, level)
        yield {"level": shown, side: str(day), "rows": number, "of": of, "chance": chance}


# --- values that are lost ---


def lost(days: pl.DataFrame, content: Sequence[Column]) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each column that misses values: the share that the median day misses, and the days that stand out most.

    `chance` is that of one day to miss as many, were it like the others: Chernoff's bound (1952). The others get one
    row without a value more, as what was never missing may be so once. Where most days differ more than rows drawn one
    by one would, as rows of one entity miss the same, so many fewer rows are counted (McCullagh and Nelder, 1989, 4.5).
    """
    for column in content:
        rows = days.select(DAY, LEN, f"null {column.name}").rows()
        total, missing = sum(number for _, number, _ in rows), sum(null for _, _, null in rows)
        if not 0 < missing < total:
            continue
        usual = median(null / number for _, number, null in rows)
        middle = min(max(usual, 1 / total), 1 - 1 / total)  # of most days: a week of losses does not make them differ
        squares = [(null - number * middle) ** 2 / (number * middle * (1 - middle)) for _, number, null in rows]
        dispersion = max(1, median(squares) / MEDIAN_SQUARE)
        found = []
        for day, number, null in rows:
            share, others = null / number, (missing - null + 1) / (total - number + 1)
            if null and share > others:
                chance = exp(-number / dispersion * divergence(share, others))
                found.append({"day": str(day), "rows": number, "missing": null, "chance": chance})
        most = sorted(found, key=lambda each: (each["chance"], -each["missing"] / each["rows"]))
        yield column.name, {"usual": usual, "days": most[:KEPT]}


MEDIAN_SQUARE = 0.455  # of a normal variable


def divergence(share: float, usual: float) -> float:
    """Kullback and Leibler's, of two shares, the second one between 0 and 1."""
    return sum(here * log(here / there) for here, there in ((share, usual), (1 - share, 1 - usual)) if here)


def collect(table: pl.LazyFrame) -> pl.DataFrame:
    """The result, computed in batches, so that the table need not fit into memory."""
    return table.collect(engine="streaming")
