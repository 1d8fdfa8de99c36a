"""Measure data/rows.parquet into reports/validation.json; policies/data.yaml judges what is measured.

Everything is measured, whatever is found, so that all that is wrong is known at once.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from math import isfinite
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import contract, personal, tasks
from pipeline.before import beside
from pipeline.contract import Column, Contract, leveled
from pipeline.daily import daily
from pipeline.ingest import BEFORE, DELIVERED, ROWS
from pipeline.model import Problem
from pipeline.params import BadInput, Days, load, run_stage
from pipeline.places import first_line, replacing
from pipeline.rows import TYPES, label
from pipeline.source import SIMULATE, source_of

VALIDATION = Path("reports/validation.json")
EXAMPLES = 3

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
    Runs in constant memory but for the identifiers. A column that is missing or mistyped is named under `schema`,
    and what depends on it is null or left out.
    """
    schema = table.collect_schema()
    known = [column for column in ours.columns if schema.get(column.name) == TYPES[column.type]]
    names = {column.name for column in known}
    dated = ours.time in names  # a delivery is whole without
    return {
        "id": ours.id,
        "dated": ours.dated,
        "rows": collect(table.select(pl.len())).item(),
        "schema": [
            {"column": column.name, "expected": column.type, "found": str(schema.get(column.name, "no column"))}
            for column in ours.columns
            if column not in known
        ],
        "columns": faults(table, known, ours),
        "missing": missing(table, known),
        "duplicates": duplicates(table, ours.id) if ours.id in names else None,
        "days": by_day(table, ours.time, window) if dated else None,
        "levels": levels(table, known, ours, window, pl.Expr.mean) if dated else None,
        "medians": levels(table, known, ours, window, usual) if dated else None,
        "label": labels(table, ours) if ours.label.column in names and (dated or not ours.dated) else None,
        "daily": daily(table, known, ours, window) if dated else None,
        "before": beside(table, *last, known, ours) if last else None,
    }


def faults(table: pl.LazyFrame, columns: Sequence[Column], ours: Contract) -> dict[str, dict[str, Any]]:
    """For each column and each kind of fault: how many rows have it, their share, and the first of them."""
    todo = [(column, fault, faulty) for column in columns for fault, faulty in kinds(column, ours)]
    counts = collect(table.select(pl.len(), *(faulty.sum().alias(str(at)) for at, (_, _, faulty) in enumerate(todo))))
    rows, *found = counts.row(0)
    measured: dict[str, dict[str, Any]] = {column.name: {} for column in columns}
    roles = {getattr(ours, role): role for role in ("id", "time", "entity", "group", "weight")}
    for (column, fault, faulty), count in zip(todo, found, strict=True):
        measured[column.name][fault] = {
            "rows": count,
            "share": count / max(rows, 1),
            "examples": examples(table.filter(faulty), column.name, ours) if count else [],
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


def missing(table: pl.LazyFrame, columns: Sequence[Column]) -> dict[str, float]:
    """For each column the share of rows that have no value, whether the contract allows it or not."""
    if not columns:
        return {}
    counts = collect(table.select(pl.len().alias("_rows"), *(pl.col(c.name).null_count() for c in columns)))
    rows, *found = counts.row(0)
    return {column.name: count / max(rows, 1) for column, count in zip(columns, found, strict=True)}


def examples(faulty: pl.LazyFrame, name: str, ours: Contract) -> list[dict[str, Any]]:
    """Identifier and value of the first faulty rows."""
    keys = [key for key in dict.fromkeys((ours.id, name)) if key in faulty.collect_schema()]
    rows = collect(faulty.select(keys).head(EXAMPLES)).to_dicts()
    return [{key: jsonable(value) for key, value in personal.shown(row).items()} for row in rows]


def jsonable(value: Any) -> Any:
    """NaN and the infinities as text, as JSON has none."""
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def duplicates(table: pl.LazyFrame, name: str) -> dict[str, Any]:
    """How many rows repeat the identifier of another, and the first identifiers that are repeated."""
    identifiers = pl.col(name).sort()
    rows = collect(table.select((identifiers == identifiers.shift()).sum())).item()
    repeated = table.drop_nulls(name).group_by(name).agg(pl.len().alias("_rows")).filter(pl.col("_rows") > 1)
    first = collect(repeated.bottom_k(EXAMPLES, by=name)).iter_rows() if rows else []
    return {"rows": rows, "examples": [{**personal.shown({name: value}), "_rows": number} for value, number in first]}


def by_day(table: pl.LazyFrame, time: str, window: Days) -> dict[str, Any]:
    """Rows by day, the days of the window without any, and the rows outside of it.

    `behind` says how many days the last day with rows lies before `data.until`, never: before today.
    """
    since, until = window.since, window.test[1]
    found = dict(collect(per_day(table, time, pl.len())).iter_rows())
    inside = {day: rows for day, rows in found.items() if since <= day <= until}
    outside = {day: rows for day, rows in found.items() if day not in inside}
    span = [since + timedelta(days=offset) for offset in range((until - since).days + 1)]
    return {
        "since": since,
        "until": until,
        "behind": (until - max(inside)).days if inside else len(span),
        "missing": [day for day in span if day not in inside],
        "outside": {"rows": sum(outside.values()), "examples": list(outside)[:EXAMPLES]},
        "rows": {str(day): rows for day, rows in inside.items()},
    }


def levels(
    table: pl.LazyFrame, columns: Sequence[Column], ours: Contract, window: Days, value: Callable[[pl.Expr], pl.Expr]
) -> dict[str, dict[str, float]]:
    """A `value` of each column of numbers that has a zero to measure from, by day; days without one are left out."""
    names = [column.name for column in columns if leveled(column, ours)]
    if not names:
        return {}
    finite = [value(pl.col(name).filter(pl.col(name).is_finite())) for name in names]
    days = collect(per_day(table, ours.time, pl.struct(finite))).unnest("_value")
    inside = days.filter(pl.col("_day").is_between(window.since, window.test[1])).with_columns(pl.col("_day").cast(str))
    return {name: dict(inside.select("_day", name).drop_nulls().iter_rows()) for name in names}


def usual(values: pl.Expr) -> pl.Expr:
    """The median of what is above zero: most may be 0."""
    return values.filter(values > 0).median()


def labels(table: pl.LazyFrame, ours: Contract) -> dict[str, Any]:
    """Of the labels that are known, the share of each class, or the mean of a number: the task's `parts`.

    Of each part its value overall and by day, null where no label is known, and the labels' deviation from it. `rest`
    is what labels are called that are of no part. `known` is how many are known, by day; `unknown` is how many rows
    have no label yet.
    """
    task, problem = tasks.task(ours.task), Problem.of(ours)
    parts = task.parts(problem)
    values = [of.mean().alias(f"_value{at}") for at, of in enumerate(parts.values())]
    deviations = [of.cast(pl.Float64).std(ddof=0).alias(f"_deviation{at}") for at, of in enumerate(parts.values())]
    unknown = pl.col(ours.label.column).null_count().alias("_unknown")
    overall = collect(table.select(*values, *deviations, unknown)).row(0, named=True)
    found: dict[str, Any] = {
        "kind": "share" if problem.values else "mean",
        "unit": problem.unit,
        "rest": task.REST,
        "parts": {
            name: {"value": overall[f"_value{at}"], "deviation": overall[f"_deviation{at}"], "days": {}}
            for at, name in enumerate(parts)
        },
        "known": {},
        "unknown": overall["_unknown"],
    }
    if ours.dated:
        days = collect(per_day(table, ours.time, pl.struct(*values, label(ours).count().alias("_known"))))
        for day, *by_part, known in days.unnest("_value").iter_rows():
            found["known"][str(day)] = known
            for part, value in zip(found["parts"].values(), by_part, strict=True):
                part["days"][str(day)] = value
    return found


def per_day(table: pl.LazyFrame, time: str, value: pl.Expr) -> pl.LazyFrame:
    """`value` of each day that has rows, in order; under names that no contract may have."""
    day = pl.col(time).dt.date().alias("_day")
    return table.drop_nulls(time).group_by(day).agg(value.alias("_value")).sort("_day")


def collect(table: pl.LazyFrame) -> pl.DataFrame:
    """The result, computed in batches, so that the table need not fit into memory."""
    return table.collect(engine="streaming")


if __name__ == "__main__":
    run_stage(main)
