"""A file's columns: read as `ingest` reads the source's, and held to what the service holds a request to."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import polars as pl
import pytest

from pipeline import ingest, personal, rows
from pipeline.columns import Bad, Held, Reading, readings
from pipeline.model import Model, Problem
from pipeline.rows import read as made
from tests import tables
from tests.tables import ours

PROBLEM, INPUTS, NOW = tables.problem(), tables.inputs(), datetime(2020, 3, 1)
SERVED = Model(PROBLEM, "linear", INPUTS, "sha256:ab", lambda columns: {})
TABLE = tables.source(100)


def found(table: pl.DataFrame, served: Model = SERVED) -> list[Reading]:
    return readings(served, table.schema, NOW)


def taken(table: pl.DataFrame, served: Model = SERVED) -> pl.DataFrame:
    """What the model is given of the rows of a file, in which nothing is wrong."""
    columns = found(table, served)
    held = Held(columns)
    held.look(table)
    assert held.sound, str(held)
    return table.select(column.value for column in columns)


def wrong(table: pl.DataFrame, served: Model = SERVED) -> str:
    """What is wrong with the rows of a file."""
    columns = found(table, served)
    held = Held(columns)
    held.look(table)
    assert not held.sound
    return str(held)


READ: Mapping[str, pl.Expr | pl.Series] = {
    "as the source has it": pl.col("items"),
    "decimals for whole numbers": pl.col("items").cast(pl.Float64),
    "a narrow number": pl.col("amount").cast(pl.Float32),
    "a decimal": pl.col("amount").cast(pl.Decimal(10, 2)),
    "1 and 0": pl.col("express").cast(pl.Int8),
    "1.0 and 0.0": pl.col("express").cast(pl.Float64),
    "NaN for missing": pl.col("a.b").fill_null(float("nan")),
    "no number at all": pl.lit(None).alias("a.b"),
    "no text at all": pl.lit(None).alias("größe €"),
    "no moment at all": pl.lit(None).alias("born"),
    "levels by their codes": pl.col("größe €").cast(pl.Categorical),
    "an empty text": pl.col("größe €").fill_null(""),
    "a level that nobody has seen": pl.lit("neu").alias("größe €"),
    "whole numbers for a category": pl.lit(42).alias("größe €"),
    "whole numbers, one of which is missing": pl.Series("größe €", [None, *[42.0] * 99]),
    "booleans for a category": pl.lit(True).alias("größe €"),
    "a zone": pl.col("ordered_at").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
    "milliseconds": pl.col("born").cast(pl.Datetime("ms")),
    "nanoseconds": pl.col("born").cast(pl.Datetime("ns")),
    "days": pl.col("born").cast(pl.Date),
    "a uuid": pl.Series("order_id", [UUID(int=at).bytes for at in range(100)]),
}


@pytest.mark.parametrize("said", READ)
def test_a_column_is_read_as_in_training(said: str) -> None:
    """By ingest and rows; a boolean may be 0 or 1 to the model."""
    table = TABLE.with_columns(READ[said])
    source = ingest.read(table, "a file", ours())
    trained = source.select("order_id", "ordered_at", *(made(column, ours()) for column in ours().inputs))
    given = taken(table)
    assert given.columns == trained.columns
    for name in trained.columns:
        assert given[name].cast(trained.schema[name]).equals(trained[name], null_equal=True), name


def test_further_columns_are_ignored_and_types_of_the_log_are_taken() -> None:
    days = tables.feature_rows(100)
    assert taken(days).equals(taken(TABLE).select(days.select(taken(TABLE).columns).columns))
    assert taken(days.rename({"order_id": rows.ID, "ordered_at": "_time"})).equals(taken(days))


def test_days_are_counted_to_now_where_rows_have_no_time() -> None:
    served = Model(Problem(**{**vars(PROBLEM), "time": None}), "linear", INPUTS, "sha256:ab", lambda columns: {})
    table = TABLE.drop("ordered_at").with_columns(born=pl.lit(NOW - timedelta(days=2, hours=12)))
    assert taken(table, served)["born"].unique().to_list() == [2.5]


def test_a_whole_number_identifies() -> None:
    served = Model(Problem(**{**vars(PROBLEM), "id_type": "integer"}), "linear", INPUTS, "", lambda columns: {})
    numbered = TABLE.with_columns(pl.Series("order_id", range(100), pl.UInt8))
    assert taken(numbered, served)["order_id"].equals(pl.Series("order_id", range(100)))
    large = TABLE.with_columns(pl.Series("order_id", [2**64 - 1] * 100, pl.UInt64))
    assert "`order_id` is too large in 100 rows" in wrong(large, served)
    with pytest.raises(Bad, match="`order_id` is String, expected whole numbers"):
        found(TABLE, served)


TYPES: Mapping[str, tuple[pl.Expr, str]] = {
    "text for a number": (pl.lit("12").alias("amount"), "`amount` is String, expected numbers"),
    "a boolean for a number": (pl.lit(True).alias("amount"), "`amount` is Boolean, expected numbers"),
    "a text for a boolean": (pl.lit("yes").alias("express"), "`express` is String, expected true or false"),
    "a moment for a category": (pl.col("born").alias("größe €"), "`größe €` is Datetime"),
    "a text for a moment": (pl.lit("1980-01-01").alias("born"), "`born` is String, expected a date, or a date with"),
    "an hour for a moment": (pl.col("born").dt.time().alias("born"), "`born` is Time, expected a date"),
    "days for the row's own": (pl.lit(1.5).alias("ordered_at"), "`ordered_at` is Float64, expected a date"),
    "a number for a text": (pl.lit(1).alias("order_id"), "`order_id` is Int32, expected text"),
    "a list": (pl.concat_list("amount").alias("amount"), "`amount` is List(Float64), expected numbers"),
}


@pytest.mark.parametrize("said", TYPES)
def test_another_type_is_refused(said: str) -> None:
    expression, words = TYPES[said]
    with pytest.raises(Bad) as refused:
        found(TABLE.with_columns(expression))
    assert str(refused.value).startswith(words)


def test_all_columns_that_are_not_there_are_named_with_what_is_like_them() -> None:
    with pytest.raises(Bad) as refused:
        found(TABLE.drop("ordered_at").rename({"amount": "Amount"}))
    assert str(refused.value).startswith(
        "has no column `ordered_at`, expected a date, or a date with time; its columns are order_id, customer, Amount, "
    )
    assert "; has no column `amount`, expected numbers; did you mean `Amount`?" in str(refused.value)


SOON = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1.01)
NONE = "order_id order-00010"
WRONG: Mapping[str, tuple[str, Any, str, str]] = {
    "missing": ("amount", pl.lit(None, pl.Float64), "is missing", NONE),
    "not a number": ("amount", float("nan"), "is missing", "nan of order_id"),
    "below its range": ("amount", -0.01, "is below 0", "-0.01 of order_id order-00010"),
    "above its range": ("amount", 100_000.5, "is above 100,000", "100000.5 of order_id"),
    "infinite": ("amount", float("inf"), "is above 100,000", "inf of order_id"),
    "infinite below": ("amount", float("-inf"), "is below 0", "-inf of order_id"),
    "infinite without a range": ("a.b", float("inf"), "is too large", "inf of order_id"),
    "larger than any integer": ("items", pl.lit(2**63, pl.UInt64), "is too large", "9223372036854775808 of"),
    "smaller than any integer": ("a.b", -1e300, "is too small", "-1e+300 of order_id"),
    "no whole number": ("items", 1.5, "is no whole number", "1.5 of order_id"),
    "no boolean": ("express", 2, "is neither true nor false", "2 of order_id"),
    "outside a closed list": ("model_config", "other", "is none of basic, extra", "'other' of order_id"),
    "empty where the list is closed": ("model_config", "", "is missing", "'' of order_id"),
    "what the graph takes for missing": ("größe €", "\0x", "begins with the character 0, which is no text", "'"),
    "a text that is too long": ("größe €", "a" * 1_001, "has more than 1,000 characters", "'aaa"),
    "a category with decimals": ("größe €", 1.5, "is no whole number", "1.5 of order_id"),
    "an empty identifier": ("order_id", "", "is missing", "''"),
    "a long identifier": ("order_id", "a" * 1_001, "has more than 1,000 characters", "'aaa"),
    "no moment": ("ordered_at", pl.lit(None, pl.Datetime), "is missing", NONE),
    "before the century": ("ordered_at", date(1999, 12, 31), "is before 2000-01-01", "'1999-12-31 00:00:00' of"),
    "the day after tomorrow": ("ordered_at", SOON, "is more than a day from now", "'20"),
    "infinite days": ("born", float("inf"), "is infinite", "inf of order_id"),
}


@pytest.mark.parametrize("said", WRONG)
@pytest.mark.parametrize(("last", "number"), [(10, "1 row"), (29, "20 rows")])
def test_a_value_that_the_service_would_refuse_is_counted(said: str, last: int, number: str) -> None:
    name, value, words, shown = WRONG[said]
    odd = TABLE.select(value if isinstance(value, pl.Expr) else pl.lit(value)).to_series()
    there = pl.int_range(pl.len()).is_between(10, last)
    rest = pl.col(name).cast(odd.dtype, strict=False).fill_null(1) if odd.dtype.is_numeric() else pl.col(name)
    table = TABLE.with_columns(pl.when(there).then(pl.lit(odd)).otherwise(rest).alias(name))
    assert f"`{name}` {words} in {number}, such as {shown}" in wrong(table)


def test_a_row_without_an_identifier_is_counted() -> None:
    assert wrong(TABLE.with_columns(order_id=pl.lit(None, pl.String))) == "`order_id` is missing in 100 rows"


def test_what_is_wrong_is_counted_over_batches_and_named_together() -> None:
    table = TABLE.with_columns(amount=pl.lit(-1.0), items=pl.lit(0))
    held = Held(found(table))
    for at in range(0, 100, 30):
        held.look(table[at : at + 30])
    first = "of order_id order-00000"
    assert (
        str(held)
        == f"`amount` is below 0 in 100 rows, such as -1.0 {first}; `items` is below 1 in 100 rows, such as 0 {first}"
    )


def test_personal_values_are_shown_as_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    table = TABLE.with_columns(amount=pl.lit(-1.0))
    for rule, words in (
        ({"amount": "omit"}, "such as order_id order-00000"),
        ({"order_id": "omit"}, "such as -1.0 of order_id not shown"),
        ({"order_id": "hash"}, f"such as -1.0 of order_id {personal.digest('order-00000')}"),
    ):
        monkeypatch.setattr(personal, "rules", lambda rule=rule: rule)
        assert wrong(table).endswith(words)
