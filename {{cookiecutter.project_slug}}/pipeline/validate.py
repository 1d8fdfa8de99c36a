"""Measure data/transactions.parquet into reports/validation.json; policies/data.yaml judges what is measured.

Everything is measured, whatever is found, so that all that is wrong is known at once.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from math import isfinite
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.ingest import SIMULATE, TRANSACTIONS, first_line, replacing, source_of
from pipeline.params import BadInput, Days, days, load, run_stage
from pipeline.personal import policy, shown
from pipeline.schema import ID, LABEL, SOURCE, TIME, Column, feature_row

VALIDATION = Path("reports/validation.json")
EXAMPLES = 3
DTYPES = {"int64": pl.Int64(), "float64": pl.Float64(), "datetime": pl.Datetime("us"), "string": pl.String()}


def main() -> None:
    """Write reports/validation.json. Raises BadInput where data/transactions.parquet cannot be read."""
    params = load()
    policy(feature_row(params["features"]["windows"]))  # a name that is no column would hide nothing
    source, snapshot = source_of(params), params["data"].get("snapshot")
    try:
        found = measure(pl.scan_parquet(TRANSACTIONS), SOURCE, days(params))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput(f"{TRANSACTIONS}: cannot be read ({first_line(error)}); make it with `make data`") from None
    measured = {
        "file": str(TRANSACTIONS),
        "source": source,
        "pinned": source == SIMULATE or snapshot is not None,
        **found,
    }
    with replacing(VALIDATION) as temporary:
        temporary.write_text(json.dumps(measured, indent=2, default=str) + "\n")
    print(f"{VALIDATION}: measured {measured['rows']:,} rows; `python -m pipeline.policy data` judges")


def measure(table: pl.LazyFrame, columns: Sequence[Column], window: Days) -> dict[str, Any]:
    """What is in `table`, which `columns` describe and which should fill the days of `window`.

    Runs in constant memory but for the identifiers. A column that is missing or mistyped is named under `schema`,
    and what depends on it is null or left out.
    """
    schema = table.collect_schema()
    known = [column for column in columns if schema.get(column.name) == DTYPES[column.dtype]]
    names = {column.name for column in known}
    return {
        "rows": collect(table.select(pl.len())).item(),
        "schema": [
            {"column": column.name, "expected": column.dtype, "found": str(schema.get(column.name, "no column"))}
            for column in columns
            if column not in known
        ],
        "columns": faults(table, known),
        "duplicates": duplicates(table) if ID in names else None,
        "days": by_day(table, window) if TIME in names else None,
        "levels": levels(table, known, window) if TIME in names else None,
        "label": labels(table) if {TIME, LABEL} <= names else None,
    }


def faults(table: pl.LazyFrame, columns: Sequence[Column]) -> dict[str, dict[str, Any]]:
    """For each column and each kind of fault: how many rows have it, their share, and the first of them."""
    todo = [(column, fault, faulty) for column in columns for fault, faulty in kinds(column)]
    counts = collect(table.select(pl.len(), *(faulty.sum().alias(str(at)) for at, (_, _, faulty) in enumerate(todo))))
    rows, *found = counts.row(0)
    measured: dict[str, dict[str, Any]] = {column.name: {} for column in columns}
    for (column, fault, faulty), count in zip(todo, found, strict=True):
        measured[column.name][fault] = {
            "rows": count,
            "share": count / max(rows, 1),
            "examples": examples(table.filter(faulty), column.name) if count else [],
        }
        if fault == "out_of_range":
            measured[column.name][fault] |= {"minimum": column.minimum, "maximum": column.maximum}
    return measured


def kinds(column: Column) -> Iterator[tuple[str, pl.Expr]]:
    """What can be wrong with a value of the column, and which values are; no value is wrong in two ways."""
    value = pl.col(column.name)
    yield "missing", value.is_null()
    finite = pl.lit(True)
    if column.dtype == "float64":
        yield "nan", value.is_nan()
        yield "infinite", value.is_infinite()
        finite = value.is_finite()  # in polars NaN is larger than every number
    beyond = []
    if column.minimum is not None:
        beyond.append(value < column.minimum)
    if column.maximum is not None:
        beyond.append(value > column.maximum)
    if beyond:
        yield "out_of_range", finite & pl.any_horizontal(beyond)


def examples(faulty: pl.LazyFrame, name: str) -> list[dict[str, Any]]:
    """Identifier and value of the first faulty rows."""
    keys = [key for key in dict.fromkeys((ID, name)) if key in faulty.collect_schema()]
    rows = collect(faulty.select(keys).head(EXAMPLES)).to_dicts()
    return [{key: jsonable(value) for key, value in shown(row).items()} for row in rows]


def jsonable(value: Any) -> Any:
    """NaN and the infinities as text, as JSON has none."""
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def duplicates(table: pl.LazyFrame) -> dict[str, Any]:
    """How many rows repeat the identifier of another, and the first identifiers that are repeated."""
    identifiers = pl.col(ID).sort()
    rows = collect(table.select((identifiers == identifiers.shift()).sum())).item()
    repeated = table.drop_nulls(ID).group_by(ID).agg(pl.len().alias("rows")).filter(pl.col("rows") > 1)
    first = collect(repeated.bottom_k(EXAMPLES, by=ID)).to_dicts() if rows else []
    return {"rows": rows, "examples": [shown(each) for each in first]}


def by_day(table: pl.LazyFrame, window: Days) -> dict[str, Any]:
    """Rows by day, the days of the window without any, and the rows outside of it.

    `behind` says how many days the last day with rows lies before `data.until`, never: before today.
    """
    since, until = window.since, window.test[1]
    found = dict(collect(per_day(table, pl.len())).iter_rows())
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


def levels(table: pl.LazyFrame, columns: Sequence[Column], window: Days) -> dict[str, dict[str, float]]:
    """The mean of each column of floats that has a zero to measure from, by day; days without a value are left out."""
    names = [c.name for c in columns if c.dtype == "float64" and c.minimum is not None and c.minimum >= 0]
    if not names:
        return {}
    finite = [pl.col(name).filter(pl.col(name).is_finite()).mean() for name in names]
    days = collect(per_day(table, pl.struct(finite))).unnest("value")
    inside = days.filter(pl.col("day").is_between(window.since, window.test[1])).with_columns(pl.col("day").cast(str))
    return {name: dict(inside.select("day", name).drop_nulls().iter_rows()) for name in names}


def labels(table: pl.LazyFrame) -> dict[str, Any]:
    """The share of rows whose label is 1, overall and by day; null where no row has a label."""
    return {
        "share": collect(table.select(pl.col(LABEL).mean())).item(),
        "days": {str(day): share for day, share in collect(per_day(table, pl.col(LABEL).mean())).iter_rows()},
    }


def per_day(table: pl.LazyFrame, value: pl.Expr) -> pl.LazyFrame:
    """`value` of each day that has rows, in order."""
    day = pl.col(TIME).dt.date().alias("day")
    return table.drop_nulls(TIME).group_by(day).agg(value.alias("value")).sort("day")


def collect(table: pl.LazyFrame) -> pl.DataFrame:
    """The result, computed in batches, so that the table need not fit into memory."""
    return table.collect(engine="streaming")


if __name__ == "__main__":
    run_stage(main)
