"""Measure data/rows.parquet into reports/validation.json; policies/data.yaml judges what is measured.

Everything is measured, whatever is found, so that all that is wrong is known at once.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from math import ceil, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, personal, tasks
from pipeline.before import beside
from pipeline.contract import Column, Contract, leveled
from pipeline.counts import Number, count, halves
from pipeline.daily import MINUTES, Minutes, content, daily, ends, moving
from pipeline.ingest import BEFORE, DELIVERED, ROWS
from pipeline.model import Problem
from pipeline.onepass import DAY, LEN, Found, Tally, over
from pipeline.params import BadInput, Days, load, run_stage
from pipeline.places import first_line, replacing
from pipeline.rows import TYPES, label
from pipeline.source import SIMULATE, source_of

VALIDATION = Path("reports/validation.json")
EXAMPLES = 3
SHARE = 16_000_000  # rows whose identifiers are compared at a time
MIDDLES = "middles"
FEW = 40_000  # rows of a day, whose median is exact
ABOVE = slice(1, 0x7F80)  # the bins of the finite numbers above zero, in order

Measured = Mapping[str, Any]


def main() -> None:
    """Write reports/validation.json. Raises BadInput where data/rows.parquet cannot be read."""
    params, ours = load(), contract.load()
    personal.policy(personal.columns(ours))  # a name that is no column would hide nothing
    source, snapshot = source_of(params), params["data"].get("snapshot")
    try:
        last = None if ours.dated else before()
        found = measure(pl.scan_parquet(ROWS), ours, ours.days(params), last)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput(f"{ROWS}: cannot be read ({first_line(error)}); make it with `make data`") from None
    measured = {
        "file": str(ROWS),
        "source": source,
        "pinned": source == SIMULATE or snapshot is not None,
        **found,
    }
    with replacing(VALIDATION) as temporary:
        temporary.write_text(json.dumps(measured, indent=2, default=str) + "\n")
    if allowed := [f"{name} {100 * share:.3g}%" for name, share in missing_as_allowed(found, ours)]:
        print(f"missing, as contract.yaml allows: {', '.join(allowed)}")
    print(f"{VALIDATION}: measured {measured['rows']:,} rows; `python -m pipeline.policy data` judges")


def before() -> tuple[str, pl.LazyFrame] | None:
    """The delivery before a whole one, and its day; None where there is none."""
    day = pl.read_parquet_metadata(BEFORE).get(DELIVERED)
    return (day, pl.scan_parquet(BEFORE)) if day else None


def missing_as_allowed(found: Measured, ours: Contract) -> Iterator[tuple[str, float]]:
    """The columns that miss values and may, each with the share of rows."""
    for column in ours.columns:
        if column.missing and (share := found["missing"].get(column.name)):
            yield column.name, share


def measure(
    table: pl.LazyFrame, ours: Contract, window: Days, last: tuple[str, pl.LazyFrame] | None = None
) -> dict[str, Any]:
    """What is in `table`, which should be as the contract says and fill the days of `window`.

    `last` is the delivery before a whole one, and its day.
    One pass, and one more for the identifiers and for each fault that there is, in constant memory. A column that is
    missing or mistyped is named under `schema`, and what depends on it is null or left out.
    """
    schema = table.collect_schema()
    known = [column for column in ours.columns if schema.get(column.name) == TYPES[column.type]]
    names = {column.name for column in known}
    dated = ours.time in names  # a delivery is whole without
    told = ours.label.column in names and (dated or not ours.dated)
    found = passed(table, known, ours, window, dated, told)
    return {
        "id": ours.id,
        "dated": ours.dated,
        "rows": int(found.pieces[LEN].sum()),
        "schema": [
            {"column": column.name, "expected": column.type, "found": str(schema.get(column.name, "no column"))}
            for column in ours.columns
            if column not in known
        ],
        "columns": faults(table, known, ours, found),
        "missing": missing(found, known),
        "duplicates": duplicates(table, ours.id) if ours.id in names else None,
        "days": by_day(found, window) if dated else None,
        "levels": levels(found, known, ours, window) if dated else None,
        "medians": medians(found, known, ours) if dated else None,
        "label": labels(found, ours) if told else None,
        "daily": daily(table, found, known, ours, window) if dated else None,
        "before": beside(table, *last, known, ours) if last else None,
    }


def passed(
    table: pl.LazyFrame, known: Sequence[Column], ours: Contract, window: Days, dated: bool, told: bool
) -> Found:
    """What one pass finds of the columns that are of their type; `dated` where rows have a day, `told` where labels."""
    asked = {**fault_sums(known, ours), **nulls(known)}
    day, tallies, categories = pl.lit(None, pl.Date), dict[str, Callable[[], Tally]](), list[str]()
    if dated:
        leveled_ = [column.name for column in known if leveled(column, ours)]
        asked |= level_sums(leveled_) | ends(moving(known, ours))
        tallies = {MINUTES: partial(Minutes, ours.time)} | ({MIDDLES: partial(Middles, leveled_)} if leveled_ else {})
        day, categories = pl.col(ours.time).dt.date(), [c.name for c in content(known, ours) if c.type == "category"]
    if told:
        asked |= label_sums(ours)
    return over(table, day, asked, tallies, categories, (window.since, window.test[1]))


def nulls(columns: Sequence[Column]) -> dict[str, pl.Expr]:
    """Of each column the rows that have no value."""
    return {f"null {column.name}": pl.col(column.name).null_count() for column in columns}


def fault_sums(columns: Sequence[Column], ours: Contract) -> dict[str, pl.Expr]:
    """Of each column and each kind of fault the rows that have it."""
    return {f"{kind} {c.name}": faulty.sum() for c in columns for kind, faulty in kinds(c, ours)}


def faults(
    table: pl.LazyFrame, columns: Sequence[Column], ours: Contract, found: Found | None = None
) -> dict[str, dict[str, dict[str, Any]]]:
    """For each column and each kind of fault: how many rows have it, their share, and the first of them.

    `found` has what `fault_sums` asks, where a pass has told it already.
    """
    found = found or over(table, pl.lit(None, pl.Date), fault_sums(columns, ours))
    rows, measured = int(found.pieces[LEN].sum()), dict[str, dict[str, dict[str, Any]]]()
    roles = {getattr(ours, role): role for role in ("id", "time", "entity", "group", "weight")}
    for column in columns:
        measured[column.name] = {}
        for fault, faulty in kinds(column, ours):
            number = int(found.pieces[f"{fault} {column.name}"].sum())
            measured[column.name][fault] = {
                "rows": number,
                "share": number / max(rows, 1),
                "examples": examples(table.filter(faulty), column.name, ours) if number else [],
            }
            if fault == "out_of_range":
                measured[column.name][fault] |= {"minimum": column.minimum, "maximum": column.maximum}
            if fault == "unknown":
                measured[column.name][fault] |= {"known": allowed(column, ours)}
            if column.name == ours.label.column:
                measured[column.name][fault] |= {"label": True}
            if column.name in roles:
                measured[column.name][fault] |= {"role": roles[column.name]}
    return measured


def kinds(column: Column, ours: Contract) -> Iterator[tuple[str, pl.Expr]]:
    """What can be wrong with a value of the column, and which values are; no value is wrong in two ways."""
    value = pl.col(column.name)
    if not column.missing:
        yield "missing", value.is_null()
    finite = pl.lit(True)
    if column.type == "number":
        yield "nan", value.is_nan()
        yield "infinite", value.is_infinite()
        finite = value.is_finite()  # in polars NaN is larger than every number
    if column.name == ours.label.column and ours.label.values:
        yield "unknown", value.is_not_null() & label(ours).is_null()
        return
    if column.categories is not None:
        yield "unknown", ~value.is_in(list(column.categories))
    beyond = []
    if column.minimum is not None:
        beyond.append(value < column.minimum)
    if column.maximum is not None:
        beyond.append(value > column.maximum)
    if beyond:
        yield "out_of_range", finite & pl.any_horizontal(beyond)


def allowed(column: Column, ours: Contract) -> list[Any]:
    """The values that a closed list lets pass, or that a label has."""
    if column.name == ours.label.column:
        return list(ours.label.values)
    return list(column.categories or ())


def missing(found: Found, columns: Sequence[Column]) -> dict[str, float]:
    """For each column the share of rows that have no value, whether the contract allows it or not."""
    rows = max(int(found.pieces[LEN].sum()), 1)
    return {column.name: int(found.pieces[f"null {column.name}"].sum()) / rows for column in columns}


def examples(faulty: pl.LazyFrame, name: str, ours: Contract) -> list[dict[str, Any]]:
    """Identifier and value of the first faulty rows."""
    keys = [key for key in dict.fromkeys((ours.id, name)) if key in faulty.collect_schema()]
    rows = collect(faulty.select(keys).head(EXAMPLES)).to_dicts()
    return [{key: jsonable(value) for key, value in personal.shown(row).items()} for row in rows]


def jsonable(value: Any) -> Any:
    """NaN and the infinities as text, as JSON has none."""
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def duplicates(table: pl.LazyFrame, name: str) -> dict[str, Any]:
    """How many rows repeat the identifier of another, and the first identifiers that are repeated.

    Hashes tell whether there are any; of more rows than SHARE, a part of the identifiers at a time.
    """
    known, key = table.select(name).drop_nulls(), pl.col(name).hash()
    shares = ceil(collect(table.select(pl.len())).item() / SHARE)
    rows, first = 0, list[tuple[Any, int]]()
    for share in range(shares):
        some = known.filter(key % shares == share) if shares > 1 else known
        if collect(some.select((key.sort() == key.sort().shift()).any())).item():
            repeated = collect(some.group_by(name).agg(pl.len().alias(LEN)).filter(pl.col(LEN) > 1))
            rows += int((repeated[LEN] - 1).sum())
            first += repeated.bottom_k(EXAMPLES, by=name).rows()
    examples = [{**personal.shown({name: value}), "_rows": number} for value, number in sorted(first)[:EXAMPLES]]
    return {"rows": rows, "examples": examples}


def by_day(found: Found, window: Days) -> dict[str, Any]:
    """Rows by day, the days of the window without any, and the rows outside of it.

    `behind` says how many days the last day with rows lies before `data.until`, never: before today.
    """
    since, until = window.since, window.test[1]
    days = found.pieces.drop_nulls(DAY).group_by(DAY).agg(pl.col(LEN).sum()).sort(DAY)
    rows: dict[date, int] = dict(days.iter_rows())
    inside = {day: number for day, number in rows.items() if since <= day <= until}
    outside = {day: number for day, number in rows.items() if day not in inside}
    span = [since + timedelta(days=offset) for offset in range((until - since).days + 1)]
    return {
        "since": since,
        "until": until,
        "behind": (until - max(inside)).days if inside else len(span),
        "missing": [day for day in span if day not in inside],
        "outside": {"rows": sum(outside.values()), "examples": list(outside)[:EXAMPLES]},
        "rows": {str(day): number for day, number in inside.items()},
    }


def level_sums(names: Sequence[str]) -> dict[str, pl.Expr]:
    """Of each column the sum of its finite values, and how many there are."""
    finite = {name: pl.col(name).filter(pl.col(name).is_finite()) for name in names}
    sums = {f"sum {name}": values.cast(pl.Float64).sum() for name, values in finite.items()}
    return sums | {f"number {name}": values.count() for name, values in finite.items()}


def levels(found: Found, columns: Sequence[Column], ours: Contract, window: Days) -> dict[str, dict[str, float]]:
    """The mean of each column of numbers that has a zero to measure from, by day; days without one are left out."""
    inside = within(found, window).group_by(DAY, maintain_order=True)
    names = [column.name for column in columns if leveled(column, ours)]
    days = inside.agg(pl.col(f"{what} {name}").sum() for name in names for what in ("sum", "number"))
    sums = {name: days.select(DAY, f"sum {name}", f"number {name}").iter_rows() for name in names}
    return {name: {str(day): total / number for day, total, number in of if number} for name, of in sums.items()}


def within(found: Found, window: Days) -> pl.DataFrame:
    """The pieces of the window's days, in their order."""
    return found.pieces.filter(pl.col(DAY).is_between(window.since, window.test[1])).sort(DAY, maintain_order=True)


class Middles:
    """Medians of what is above zero in a day, as most may be 0: of few rows exact, of more at most 1/128 below."""

    def __init__(self, names: Sequence[str]) -> None:
        self.columns = [Number(name) for name in names]
        self.few, self.rows, self.counts = list[pl.DataFrame](), 0, dict[str, np.ndarray]()

    def add(self, rows: pl.DataFrame) -> None:
        self.few.append(rows.select(column.name for column in self.columns))
        self.rows += len(rows)
        if self.rows > FEW:
            for part in self.few:
                for name, counts in count(part, self.columns).items():
                    self.counts[name] = self.counts[name] + counts if name in self.counts else counts
            self.few = []

    def told(self) -> dict[str, float | None]:
        """None where there is none."""
        if self.rows > FEW:
            return {name: middle(counts) for name, counts in self.counts.items()}
        values = pl.col([column.name for column in self.columns])
        return pl.concat(self.few).select(values.filter((values > 0) & values.is_finite()).median()).row(0, named=True)


def middle(counts: np.ndarray) -> float | None:
    """The median of the values above zero, of which each bin has so many; None where there is none."""
    upto = np.cumsum(counts[ABOVE])
    if not upto[-1]:
        return None
    both = np.searchsorted(upto, [(upto[-1] - 1) // 2, upto[-1] // 2], side="right")
    return float(halves()[ABOVE][both].mean())


def medians(found: Found, columns: Sequence[Column], ours: Contract) -> dict[str, dict[str, float]]:
    """The `Middles` of the same columns and days, but for those without."""
    names, days = [column.name for column in columns if leveled(column, ours)], found.days.items()
    of_all = {name: {str(day): of[MIDDLES][name] for day, of in days} for name in names}
    return {name: {day: value for day, value in of.items() if value is not None} for name, of in of_all.items()}


def label_sums(ours: Contract) -> dict[str, pl.Expr]:
    """Of each part of the labels that are known the sum and the variance; their number, and that of the others."""
    parts = tasks.task(ours.task).parts(Problem.of(ours))
    asked = {f"total {name}": of.cast(pl.Float64).sum() for name, of in parts.items()}
    asked |= {f"variance {name}": of.cast(pl.Float64).var(ddof=0) for name, of in parts.items()}
    return asked | {"known": label(ours).count(), "unknown": pl.col(ours.label.column).null_count()}


def labels(found: Found, ours: Contract) -> dict[str, Any]:
    """Of the labels that are known, the share of each class, or the mean of a number: the task's `parts`.

    Of each part its value overall and by day, null where no label is known, and the labels' deviation from it. `rest`
    is what labels are called that are of no part. `known` is how many are known, by day; `unknown` is how many rows
    have no label yet.
    """
    task, problem = tasks.task(ours.task), Problem.of(ours)
    days = found.pieces.drop_nulls(DAY).sort(DAY, maintain_order=True).partition_by(DAY, maintain_order=True)
    days = days if ours.dated else []
    return {
        "kind": "share" if problem.values else "mean",
        "unit": problem.unit,
        "rest": task.REST,
        "parts": {
            name: {
                **dict(zip(("value", "deviation"), pooled(found.pieces, name), strict=True)),
                "days": {str(day[DAY][0]): pooled(day, name)[0] for day in days},
            }
            for name in task.parts(problem)
        },
        "known": {str(day[DAY][0]): int(day["known"].sum()) for day in days},
        "unknown": int(found.pieces["unknown"].sum()),
    }


def pooled(pieces: pl.DataFrame, name: str) -> tuple[float | None, float | None]:
    """Mean and deviation of a part of the labels in pieces, however large the mean; None where no label is known.

    Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances (1979).
    """
    some = pieces.filter(pl.col("known") > 0)
    if some.is_empty():
        return None, None
    number, total, variance = (some[what].to_numpy() for what in ("known", f"total {name}", f"variance {name}"))
    mean = total.sum() / number.sum()
    return float(mean), float(np.sqrt(np.average(variance + (total / number - mean) ** 2, weights=number)))


def collect(table: pl.LazyFrame) -> pl.DataFrame:
    """The result, computed in batches, so that the table need not fit into memory."""
    return table.collect(engine="streaming")


if __name__ == "__main__":
    run_stage(main)
