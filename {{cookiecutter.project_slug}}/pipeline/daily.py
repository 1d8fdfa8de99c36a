"""What the days of a table are like beside each other; `daily` of policies/data.yaml judges.

Every value may be right although a delivery is not: its clock is of another zone, an earlier day comes again under a
new date, a column stands still, levels are renamed, values are lost. Of each only the days that can tell are kept, so
that a table of 500 columns and 400 days is measured in some hundred kilobytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from datetime import time as moment
from functools import reduce
from itertools import groupby
from math import atan2, exp, hypot, log, pi, sqrt
from operator import xor
from statistics import median
from typing import Any, NamedTuple

import polars as pl

from pipeline import personal
from pipeline.contract import Column, Contract
from pipeline.params import Days

KEPT = 3  # runs of a column, days of missing values, levels that came or went: those that tell most
TIME, DAY, DIGEST = "_time_of", "_day", "_digest"


def daily(table: pl.LazyFrame, columns: Sequence[Column], ours: Contract, window: Days) -> dict[str, Any]:
    """What is judged by day, of the days of `window`; `columns` are those that are of their type, the time among them.

    Two passes over the table, one more for each category, and one for each column that stood still for a while.
    """
    time = pl.col(ours.time)
    begin, end = (datetime.combine(day, moment.min) for day in (window.since, window.test[1] + timedelta(days=1)))
    inside = table.filter((time >= begin) & (time < end)).with_columns(time.alias(TIME), time.dt.date().alias(DAY))
    roles = {ours.id, ours.time, ours.weight, ours.label.column}
    content = [column for column in columns if column.name not in roles]
    moving = [*content, *numbers(columns, ours)]
    entity = next((column.name for column in columns if column.name == ours.entity), None)  # if it is of its type
    days = collect(inside.group_by(DAY).agg(*sums(content, moving)).sort(DAY))
    return {
        "columns": len(moving),
        "clock": dict(clock(inside)),
        "untimed": untimed(inside),
        "repeated": repeated(inside, days, content),
        "constant": dict(constant(inside, days, moving)),
        "categories": categories(inside, days, content, window.train[1], entity),
        "lost": dict(lost(days, content)),
    }


def numbers(columns: Sequence[Column], ours: Contract) -> list[Column]:
    """The label, where it is a number: it stands still like any other."""
    return [column for column in columns if column.name == ours.label.column and not ours.label.values]


def sums(content: Sequence[Column], moving: Sequence[Column]) -> Iterator[pl.Expr]:
    """Of each day the rows and their digest; of each column the rows without a value, and the ends of its values."""
    yield pl.len().alias("_rows")
    if content:
        yield digest([column.name for column in content]).sum().alias(DIGEST)  # the order does not count; it wraps
    for at, column in enumerate(moving):
        yield from ends(column, at)


def digest(names: Sequence[str]) -> pl.Expr:
    """A number that follows from a row's values."""
    each = (pl.col(name).hash(seed) for seed, name in enumerate(names))
    return reduce(xor, each, pl.lit(0, pl.UInt64))


def ends(column: Column, at: int) -> Iterator[pl.Expr]:
    """Of the column of a place, the rows without a value, and the ends of its values."""
    value = pl.col(column.name)
    yield value.null_count().alias(f"_null{at}")
    if column.type in ("category", "text"):  # whether they are equal is all that is asked
        value = pl.when(value.is_not_null()).then(value.hash())
    if column.type == "time":  # Python knows no year 10,000
        value = value.to_physical()
    yield value.min().alias(f"_low{at}")
    yield value.max().alias(f"_high{at}")


# --- a clock of another zone ---


def clock(inside: pl.LazyFrame) -> Iterator[tuple[str, dict[str, float]]]:
    """Of each day the mean time of day and its spread, both in hours, and the rows that have one.

    The minute of midnight is no time of day, as a date is read as it. Mean and spread are circular; the spread divided
    by the root of the rows is the mean's standard error (Fisher, Statistical analysis of circular data, 1993, 4.4.4).
    """
    minute = (pl.col(TIME).dt.epoch("s") // 60).alias("_minute")
    minutes = collect(inside.group_by(minute).agg(pl.len().alias("_rows")))
    minutes = minutes.with_columns(pl.from_epoch(60 * pl.col("_minute")).dt.date().alias(DAY)).filter(
        pl.col("_minute") % A_DAY > 0
    )
    angle, rows = (pl.col("_minute") % A_DAY) * (2 * pi / A_DAY), pl.col("_rows")
    moments = {  # the first two trigonometric ones
        f"_{of}{times}": ((times * angle).cos() if of == "cos" else (times * angle).sin()).dot(rows) / rows.sum()
        for times in (1, 2)
        for of in ("cos", "sin")
    }
    for row in minutes.group_by(DAY).agg(rows.sum(), **moments).sort(DAY).iter_rows(named=True):
        length = hypot(row["_cos1"], row["_sin1"])
        if length > 0.01:  # else the rows lie all around the clock, and no hour is their mean
            hour = atan2(row["_sin1"], row["_cos1"]) * 12 / pi % 24
            spread = sqrt(max(1 - hypot(row["_cos2"], row["_sin2"]), 0) / 2) / length * 12 / pi
            yield str(row[DAY]), {"hour": round(hour, 4), "spread": round(spread, 4), "rows": row["_rows"]}


A_DAY = 24 * 60  # minutes


def untimed(inside: pl.LazyFrame) -> list[str]:
    """The days all of whose rows are of midnight: they have a date alone."""
    timed = (pl.col(TIME).dt.time() >= moment(0, 1)).any().alias("_timed")
    days = collect(inside.group_by(DAY).agg(timed)).filter(~pl.col("_timed"))
    return [str(day) for day in days[DAY].sort()]


# --- an earlier day again ---


def repeated(inside: pl.LazyFrame, days: pl.DataFrame, content: Sequence[Column]) -> list[dict[str, Any]]:
    """Days whose rows are those of an earlier one, in any order, but for identifier, time, label and weight."""
    if not content:
        return []
    again = days.select(DAY, "_rows", pl.col(DAY).first().over("_rows", DIGEST).alias("_of"))
    again = again.filter(pl.col(DAY) != pl.col("_of"))
    if again.is_empty():
        return []
    names = [column.name for column in content]
    there = inside.filter(pl.col(DAY).is_in(again["_of"].to_list()))
    distinct = dict(collect(there.unique([DAY, *names]).group_by(DAY).len("_rows")).iter_rows())
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
    for at, column in enumerate(content):
        seen = days.select(
            DAY,
            (pl.col("_rows") - pl.col(f"_null{at}")).alias("_there"),
            (pl.col(f"_low{at}") == pl.col(f"_high{at}")).alias("_still"),
            pl.col(f"_low{at}").alias("_value"),
        ).filter(pl.col("_there") > 0)
        still = seen.filter(pl.col("_still"))
        telling = seen.filter(pl.col("_there") > 1)
        if still.is_empty() or 2 * telling["_still"].sum() > len(telling):
            continue
        varied = inside.filter(pl.col(DAY).is_in(telling.filter(~pl.col("_still"))[DAY].to_list()))
        counts = varied.select(pl.col(column.name).alias("_value")).drop_nulls().group_by("_value").len("_rows")
        most, rows = collect(counts.select(pl.col("_rows").max().alias("_most"), pl.col("_rows").sum())).row(0)
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
    inside: pl.LazyFrame, days: pl.DataFrame, content: Sequence[Column], trained: date, entity: str | None
) -> dict[str, Any]:
    """Levels that came or went after the last training day, `trained`: a model would not know of it.

    A level of a closed list may come: who wrote it into the contract has accepted it. Many new levels, each of few
    rows, count as one. `tests` counts the levels, each as often as there are days on which it could have moved.
    """
    rows = dict(days.select(DAY, "_rows").iter_rows())
    tests, found = 0, dict[str, Any]()
    for column in (column for column in content if column.type == "category" and rows):
        level = pl.col(column.name).alias("_level")
        seen = [pl.col(DAY).min().alias("_first"), pl.col(DAY).max().alias("_last"), pl.len().alias("_rows")]
        seen.append((pl.col(DAY) <= trained).sum().alias("_then"))
        levels = collect(inside.select(level, DAY).drop_nulls().group_by("_level").agg(*seen))
        tests += len(levels) * sum(day > trained for day in rows)
        new = levels.filter(pl.col("_first") > trained) if column.categories is None else levels.clear()
        gone = levels.filter((pl.col("_last") >= trained) & (pl.col("_last") < max(rows)))
        sides = ((new, "since"), (gone, "until"))
        moved = [each for some, side in sides for each in moves(some, inside, rows, column.name, side, entity)]
        if len(new) > KEPT:
            moved = [*together(levels, rows, trained), *moved]
        if moved:
            found[column.name] = moved
    return {"tests": tests, "columns": found}


def together(levels: pl.DataFrame, rows: Mapping[date, int], trained: date) -> Iterator[dict[str, Any]]:
    """The new levels as one, where more than twice as many rows have one as in as many days before `trained`.

    There are always some where levels are many. `chance` is Chernoff's bound on two samples of one share.
    """
    new = levels.filter(pl.col("_first") > trained)
    first = min(new["_first"].to_list())
    after = [day for day in rows if day >= first]
    before = [day for day in rows if day <= trained][-len(after) :]
    if len(rows) < 3 * len(after):  # too few days before to know how many are usual
        return
    here, there = sum(rows[day] for day in after), sum(rows[day] for day in before)
    share = float(new["_rows"].sum()) / here
    usual = float(levels.filter(pl.col("_first").is_in(before))["_then"].sum()) / there
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
    most = levels.sort("_rows", "_level", descending=[True, False]).head(KEPT)
    if most.is_empty():
        return
    drawn = dict(most.select("_level", "_rows").iter_rows())
    if entity:
        there = inside.filter(pl.col(name).is_in(most["_level"].to_list()))
        there = there.select(pl.col(name).alias("_level"), DAY, pl.col(entity).alias("_entity")).unique()
        drawn = dict(collect(there.group_by("_level").len()).iter_rows())
    for level, first, last, number, _ in most.iter_rows():
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
    for at, column in enumerate(content):
        rows = days.select(DAY, "_rows", f"_null{at}").rows()
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
