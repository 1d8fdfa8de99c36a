"""How a whole delivery is like the one before it; policies/data.yaml judges, by the bars of a day beside the others.

Every value may be right although a delivery is not: it is the last one under a new date, a column is in cents or stands
still, levels are renamed, values are lost. Rows of one entity are like each other: where chance could have done it, it
is reckoned with as many rows as there are entities.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from math import exp, isfinite
from typing import Any

import polars as pl

from pipeline import personal, tasks
from pipeline.contract import Column, Contract, leveled
from pipeline.daily import both, collect, digest, divergence, numbers
from pipeline.model import Problem

KEPT = 2  # levels of each side that are shown
SEVERAL = 10  # rows, whose mean tells nobody's value

Pair = tuple[pl.LazyFrame, pl.LazyFrame]
"""This delivery and the one before."""
Sums = dict[str, Any]
"""What `sums` makes of one, in all."""


def beside(
    table: pl.LazyFrame, day: str, last: pl.LazyFrame, columns: Sequence[Column], ours: Contract
) -> dict[str, Any]:
    """What is judged of `table` beside `last`, the delivery of `day`, in those of `columns` that both have.

    Two passes over each, and two more for each category.
    """
    there = last.collect_schema()
    both = [column for column in columns if column.name in there]
    roles = {ours.id, ours.weight, ours.label.column}
    seen = [column for column in both if column.name not in roles and column.input]
    label = [column for column in both if column.name == ours.label.column]
    entity = next((column.name for column in both if column.name == ours.entity), None)
    known = seen if entity or not ours.entity else []  # without entities chance cannot be told
    units = pl.col(entity).n_unique() if entity else pl.len()
    pair = table, last
    asked = [*sums([*seen, *label], ours), units.alias("_units")]
    now, then = (collect(each.select(asked)).row(0, named=True) for each in pair)
    return {
        "day": day,
        "rows": then["_rows"],
        "columns": len(seen) + len(label),
        "lacks": [column.name for column in columns if column not in both],
        "without": None if entity else ours.entity,
        "again": again(pair, both, ours),
        "levels": dict(levels(now, then, [*seen, *label])),
        "constant": dict(constant(pair, now, then, [*known, *numbers(label, ours)] if known else [], entity)),
        "lost": dict(lost(now, then, [*known, *label] if known else [])),
        "categories": dict(categories(pair, [*known, *classes(label, ours)] if known else [], entity)),
    }


def classes(label: Sequence[Column], ours: Contract) -> list[Column]:
    """The label as a closed list, where it has several parts; of one alone, its share says as much, or its level."""
    if len(tasks.task(ours.task).parts(Problem.of(ours))) < 2:
        return []
    return [replace(column, type="category", categories=tuple(map(str, ours.label.values))) for column in label]


def sums(content: Sequence[Column], ours: Contract) -> Iterator[pl.Expr]:
    """The rows; of each column the rows without a value, the ends of its values, and its level."""
    yield pl.len().alias("_rows")
    for at, column in enumerate(content):
        low, high = both(column)
        yield pl.col(column.name).null_count().alias(f"_null{at}")
        yield from (low.alias(f"_low{at}"), high.alias(f"_high{at}"))
        if leveled(column, ours):
            value = pl.col(column.name)
            some = pl.when(value.is_finite() & (value > 0)).then(value)
            means = {"mean": some.mean(), "median": some.median(), "n": some.count()}
            yield from (each.alias(f"_{what}{at}") for what, each in means.items())


# --- the same delivery again ---


def again(pair: Pair, columns: Sequence[Column], ours: Contract) -> dict[str, int]:
    """The rows that were not there before as they are, and whether all are there but for their identifiers.

    Of the delivery before, how many different rows it has.
    """
    names = [column.name for column in columns]
    digests = {"whole": digest(names), "alike": digest([name for name in names if name != ours.id])}
    now, then = (collect(each.select(**digests)) for each in pair)
    new = now.join(then.unique("whole"), on="whole", how="anti").height
    renamed = now["alike"].sort().equals(then["alike"].sort())
    return {"new": new, "renamed": int(renamed), "distinct": then["alike"].n_unique()}


# --- another unit ---


def levels(now: Sums, then: Sums, content: Sequence[Column]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Mean and median of the values above zero, in both deliveries, and the fewer of their rows.

    A few large values move the mean, and two humps the median; another unit moves both. The mean of a few rows would
    tell what stands in one.
    """
    for at, column in enumerate(content):
        rows = min(now.get(f"_n{at}", 0), then.get(f"_n{at}", 0))
        if rows >= SEVERAL:
            both = {what: [each[f"_{what}{at}"] for each in (now, then)] for what in ("mean", "median")}
            if all(map(isfinite, chain(*both.values()))):
                yield column.name, {"rows": rows, **both}


# --- a column that stands still ---


def constant(
    pair: Pair, now: Sums, then: Sums, content: Sequence[Column], entity: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Columns that have one value now and had several; `share` is that of the most frequent one before."""
    for at, column in enumerate(content):
        rows = now["_rows"] - now[f"_null{at}"]
        still = [each[f"_low{at}"] == each[f"_high{at}"] for each in (now, then)]
        if rows and still == [True, False]:
            counts = counted(pair[1], column.name, entity)
            first = pl.col(column.name).drop_nulls().first()
            value = collect(pair[0].select(first.cast(pl.String) if column.type == "time" else first)).item()
            yield (
                column.name,
                {
                    **{"rows": rows, "units": min(rows, now["_units"]), "value": personal.quoted(column.name, value)},
                    "share": int(counts["_units"].to_numpy().max()) / total(counts, "_units"),
                },
            )


def counted(table: pl.LazyFrame, name: str, entity: str | None) -> pl.DataFrame:
    """Of each value the rows that have it, and whose they are."""
    units = pl.col(entity).n_unique() if entity and entity != name else pl.len()
    there = table.drop_nulls(name).group_by(pl.col(name).alias("_level"))
    return collect(there.agg(pl.len().alias("_rows"), units.alias("_units")))


# --- values that are lost ---


def lost(now: Sums, then: Sums, content: Sequence[Column]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Columns that miss more values than before, with the chance that two samples of one share differ as much.

    As many rows count as there are entities, as those of one may miss the same.
    """
    for at, column in enumerate(content):
        share, usual = (each[f"_null{at}"] / max(each["_rows"], 1) for each in (now, then))
        if share > usual:
            chance = differ([share, usual], [max(each["_units"], 1) for each in (now, then)])
            yield column.name, {"rows": now[f"_null{at}"], "share": share, "usual": usual, "chance": chance}


def differ(shares: Sequence[float], numbers: Sequence[int]) -> float:
    """Chernoff's bound on the chance that of two samples of one share the first has so much more than the second."""
    here, there = shares
    there = max(there, 1 / numbers[1])
    if here <= there or there >= 1:
        return 1
    return exp(-numbers[0] * numbers[1] / sum(numbers) * divergence(here, there))


# --- levels that come or go ---


def categories(pair: Pair, content: Sequence[Column], entity: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each category the rows whose levels are new, and those before whose levels are gone.

    `usual` is a share that is no surprise. By chance there is that of the other delivery's rows whose level only one of
    its entities has (Good, 1953), and levels come and go: twice as many, at most half of all others too. A level of a
    closed list may come: who wrote it into the contract has accepted it.
    """
    for column in (each for each in content if each.type == "category"):
        now, then = (counted(each, column.name, entity) for each in pair)
        sides = {"new": (now, then), "gone": (then, now)}
        if column.categories is not None:
            del sides["new"]
        found = {side: moved(here, there, column.name) for side, (here, there) in sides.items() if len(there)}
        if kept := {side: each for side, each in found.items() if each["rows"]}:
            yield column.name, kept


def moved(here: pl.DataFrame, there: pl.DataFrame, name: str) -> dict[str, Any]:
    """The rows of one delivery whose levels the other has none of."""
    odd = here.join(there, on="_level", how="anti").sort("_rows", "_level", descending=[True, False])
    single = there.filter(pl.col("_units") == 1)
    units = total(here, "_units"), total(there, "_units")
    shares = total(odd, "_units") / max(units[0], 1), wider(len(single) / units[1])
    return {
        **{"rows": total(odd, "_rows"), "of": total(here, "_rows"), "levels": len(odd)},
        **{"usual": wider(total(single, "_rows") / total(there, "_rows")), "chance": differ(shares, units)},
        "examples": [personal.quoted(name, level) for level in odd["_level"].head(KEPT)],
    }


def wider(share: float) -> float:
    """Twice a share, at most half of what is left too."""
    return min(2 * share, (1 + share) / 2)


def total(counts: pl.DataFrame, what: str) -> int:
    """The sum of a column of counts."""
    return int(counts[what].sum())
