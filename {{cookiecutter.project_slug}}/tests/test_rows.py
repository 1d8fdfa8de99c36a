"""What a model learns from: the source's rows by the contract, with nothing in them that it does not allow."""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from math import inf, nan
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline import params, rows
from pipeline.contract import Column, Contract
from pipeline.params import BadInput
from tests.tables import KNOBS, ours, source, write_knobs

INPUTS = ["amount", "items", "express", "größe €", "model_config", "a.b", "born"]


def refusal(table: pl.DataFrame, contract: Contract | None = None) -> str:
    with pytest.raises(BadInput) as refused:
        rows.made(table, contract or ours(), {})
    return str(refused.value)


def some(column: str, *values: object) -> pl.DataFrame:
    """A hundred rows, with other values in the first ones of a column."""
    table = source(100)
    changed = pl.Series(column, [*values, *table[column].to_list()[len(values) :]], table.schema[column])
    return table.with_columns(changed)


# --- of the source's columns ---


def test_the_inputs_are_the_columns_that_tell_nothing_of_who_or_when() -> None:
    table, before = rows.made(source(100).reverse(), ours(), {}), source(100)
    assert table.columns == ["order_id", "ordered_at", "_entity", "_label", *INPUTS]
    assert table["order_id"].equals(before["order_id"])  # in time order again
    assert table["_label"].to_list() == [float(value == "Yes") for value in before["returned"]]
    assert table["_entity"].to_list() == before["customer"].to_list()
    for name in INPUTS[:-1]:
        assert table[name].equals(before[name])


def test_a_time_is_the_days_before_the_rows_own() -> None:
    moment = datetime(2020, 1, 1)  # of the first row
    table = rows.made(some("born", moment - timedelta(days=2, hours=12), None, moment + timedelta(days=9)), ours(), {})
    assert table["born"].dtype == pl.Float64
    assert table["born"][:2].to_list() == [2.5, None] and table["born"][2] < 0


def test_a_label_that_is_not_known_yet_is_missing_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = rows.made(some("returned", None, None, "No"), ours(), {})
    assert table["_label"][:3].to_list() == [None, None, 0.0]
    rows.FEATURES.parent.mkdir()
    table.write_parquet(rows.FEATURES)
    assert len(rows.between(date(2020, 1, 1), date(2020, 1, 20), ours())) == 98
    rows.remember(table, (date(2020, 1, 1), date(2020, 1, 20)), ours())
    assert len(pl.read_parquet(rows.TRAINED)) == 98
    table.with_columns(pl.lit(None, pl.Float64).alias("_label")).write_parquet(rows.FEATURES)
    with pytest.raises(
        BadInput, match="no row from 2020-01-01 to 2020-01-20, but for 100 whose label is not known yet"
    ):
        rows.between(date(2020, 1, 1), date(2020, 1, 20), ours())


def test_a_repeated_identifier_multiplies_nothing() -> None:
    """Whether it may be repeated is the gate's."""
    assert len(rows.made(some("order_id", "x", "x", "x"), ours(), {})) == 100


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("amount", [None, 1.0, None], "data/rows.parquet: amount is missing in 2 rows, such as order_id order-00000, "),
        (
            "amount",
            [nan],
            "amount is NaN in 1 row, such as order_id order-00000; mend the source, or say `missing: true` of ",
        ),
        ("amount", [inf], "amount is infinite in 1 row, such as order_id order-00000; mend the source"),
        ("a.b", [-inf], "a.b is infinite in 1 row"),
        ("express", [None], "express is missing in 1 row"),
        ("model_config", [None], "model_config is missing in 1 row"),
        (
            "returned",
            ["yes", "Y", "No"],
            "returned is 'yes' in 2 rows, such as order_id order-00000, order_id order-00001; ",
        ),
        (
            "returned",
            ["yes"],
            "contract.yaml knows 'No' and 'Yes', and a missing one for a label that is not known yet",
        ),
        ("order_id", [None], "order_id is missing in 1 row; mend the source, or drop such rows"),
        (
            "ordered_at",
            [None],
            "ordered_at is missing in 1 row, such as order_id order-00000; mend the source, or drop",
        ),
        ("customer", [None, None], "customer is missing in 2 rows"),
    ],
    ids=str,
)
def test_what_is_not_allowed_does_not_reach_training(column: str, values: list[Any], words: str) -> None:
    assert words in refusal(some(column, *values))


def test_all_columns_that_are_wrong_are_said_at_once() -> None:
    said = refusal(some("amount", None).with_columns(items=pl.lit(None, pl.Int64)))
    assert [line.split(": ")[1].split()[0] for line in said.splitlines()] == ["amount", "items"]
    assert "in 100 rows" in said


def test_no_row_at_all_makes_none() -> None:
    assert rows.made(source(100).clear(), ours(), {}).is_empty()


@pytest.mark.parametrize("entity", ["customer", "model_config", "order_id"])
def test_an_entity_may_be_a_number_or_a_text(entity: str) -> None:
    contract = ours(entity=entity)
    table = rows.made(source(100), contract, {})
    assert table["_entity"].to_list() == source(100)[entity].to_list()
    assert len(set(rows.hashes(table, contract))) == 100


def test_without_an_entity_there_is_no_column_of_it() -> None:
    assert "_entity" not in rows.made(source(100), ours(entity=None), {}).columns


def test_weights_are_those_that_the_contract_names() -> None:
    contract = ours(weight="amount")
    table = rows.made(some("amount", 0, 2.5), contract, {})
    assert rows.weights(table)[:2].tolist() == [0, 2.5] and "amount" not in table.columns
    assert rows.weights(rows.made(source(100), ours(), {})).tolist() == [1.0] * 100
    for value in (-1, nan, inf, None):
        assert refusal(some("amount", value), contract).startswith(
            "data/rows.parquet: amount is no weight in 1 row, such as"
        )


def test_who_a_row_is_does_not_depend_on_its_identifier_or_label() -> None:
    before, after = (
        rows.hashes(rows.made(table, ours(), {}), ours()).tolist()
        for table in (
            source(100),
            source(100).with_columns(pl.lit("No").alias("returned"), order_id=pl.col("order_id") + "x"),
        )
    )
    assert before == after and len(set(before)) == 100
    other = rows.hashes(rows.made(some("größe €", "winzig"), ours(), {}), ours()).tolist()
    assert [was == now for was, now in zip(before, other, strict=True)] == [False] + [True] * 99


# --- of what features.py makes ---

COMPUTED = (
    Column("total", "number"),
    Column("number", "integer", missing=True),
    Column("ratio", "number", missing=True),
    Column("kind", "category", missing=True),
    Column("age", "time", missing=True),
)


def computed(monkeypatch: pytest.MonkeyPatch, how: Callable[[pl.DataFrame], Any]) -> Contract:
    """A contract whose inputs are computed so."""
    module = ModuleType("ours")
    vars(module)["compute"] = lambda table, knobs, delay: how(sound(table, knobs, delay))
    monkeypatch.setitem(sys.modules, "tests.ours", module)
    monkeypatch.setattr(rows, "OURS", "tests.ours")
    return replace(ours(), computed=COMPUTED)


def sound(table: pl.DataFrame, knobs: dict[str, Any], delay: int) -> pl.DataFrame:
    """What a features.py makes that has understood."""
    assert (knobs, delay) == ({}, 2)
    return table.select(
        "order_id",
        total=pl.col("amount"),
        number=pl.col("items"),
        ratio=pl.col("amount") / 2,
        kind=pl.col("model_config"),
        age=pl.lit(1.5),
    )


def test_computed_inputs_are_joined_in_any_order_and_width(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = rows.made(source(100), computed(monkeypatch, lambda table: table), {})
    assert plain.columns == ["order_id", "ordered_at", "_entity", "_label", *(column.name for column in COMPUTED)]
    assert plain["total"].equals(source(100)["amount"].alias("total"))

    def other(table: pl.DataFrame) -> pl.DataFrame:
        narrow = pl.col("number").cast(pl.UInt16), pl.col("kind").cast(pl.Categorical)
        return table.with_columns(narrow, extra=0).reverse().select(reversed(table.columns))

    assert_frame_equal(rows.made(source(100), computed(monkeypatch, other), {}), plain)


def test_not_a_number_and_empty_text_are_missing_where_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    how = computed(monkeypatch, lambda t: t.with_columns(ratio=pl.lit(nan), kind=pl.lit(""), number=pl.lit(None)))
    table = rows.made(source(100), how, {})
    assert table.select("ratio", "kind", "number").null_count().row(0) == (100, 100, 100)
    assert table.schema["number"] == pl.Int64


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda t: None, "compute returned NoneType; return a polars DataFrame"),
        (
            lambda t: t.drop("total", "order_id"),
            "`total` is not there, and `inputs` in contract.yaml says number; `order_id` is",
        ),
        (
            lambda t: t.with_columns(number=pl.col("total")),
            "`number` is Float64, and `inputs` in contract.yaml says integer",
        ),
        (
            lambda t: t.with_columns(age=pl.lit(date(2020, 1, 1))),
            "says time: a number, the days that it lies before the row's",
        ),
        (lambda t: t.with_columns(order_id=pl.int_range(pl.len())), "`order_id` is Int64, and the source's is String"),
        (
            lambda t: t[3:],
            "compute lost 3 rows, such as order_id order-00000, order_id order-00001, order_id order-00002; r",
        ),
        (
            lambda t: t.with_columns(order_id=pl.col("order_id").replace("order-00005", "new")),
            "compute lost 1 row, such as o",
        ),
        (
            lambda t: pl.concat([t, t[:1].with_columns(order_id=pl.lit("new"))]),
            "compute added 1 row, such as order_id new; r",
        ),
        (
            lambda t: pl.concat([t, t[:2], t[:2]]),
            "2 rows more than once, such as order_id order-00000, order_id order-00001",
        ),
        (
            lambda t: t.with_columns(total=pl.lit(nan)),
            "total is NaN in 100 rows, such as order_id order-00000, order_id order-",
        ),
        (lambda t: t.with_columns(total=pl.lit(None)), "total is missing in 100 rows"),
        (lambda t: t.with_columns(ratio=pl.lit(inf)), "ratio is infinite in 100 rows"),
    ],
)
def test_what_features_py_does_wrong_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, how: Callable[[pl.DataFrame], Any], words: str
) -> None:
    said = refusal(source(100), computed(monkeypatch, how))
    assert said.startswith("pipeline/features.py: ") and words in said


def test_the_source_that_repeats_an_identifier_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = computed(monkeypatch, lambda table: table.unique("order_id", maintain_order=True))
    said = refusal(some("order_id", "order-00007", "order-00007"), contract)
    assert said.startswith("data/rows.parquet: 1 row more than once, such as order_id order-00007; find the delivery")


def test_a_features_py_that_was_deleted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = computed(monkeypatch, lambda table: table)
    monkeypatch.setattr(rows, "OURS", "pipeline.deleted")
    assert "`inputs` are what pipeline/features.py makes, and it is gone" in refusal(source(100), contract)


# --- the stage ---


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_knobs(tmp_path, KNOBS)
    rows.SOURCE.parent.mkdir()
    source().write_parquet(rows.SOURCE)
    return tmp_path


def test_the_stage_keeps_train_gap_and_test(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows.main()
    table, days = pl.read_parquet(rows.FEATURES), params.days(KNOBS, ours().label.delay)
    seen = table["ordered_at"].dt.date()
    assert (seen.min(), seen.max(), seen.n_unique()) == (days.train[0], days.test[1], 15)
    trained = table.filter(seen.is_between(*days.train))
    assert pl.read_parquet(rows.TRAINED)["hash"].to_list() == sorted(rows.hashes(trained, ours()).tolist())
    assert capsys.readouterr().out == "data/features.parquet: 3,000 rows, 7 inputs; 0 labels are not known yet\n"
    assert [path.name for path in sorted(Path("data").iterdir())] == ["features.parquet", "rows.parquet"]


@pytest.mark.parametrize(
    ("part", "zero", "words"),
    [
        ("train", pl.lit(True), "every row of the training days"),
        ("calibration", pl.lit(True), "every row of the calibration days"),
        ("test", pl.lit(True), "every row of the test days"),
        ("train", pl.col("returned") == "Yes", "every row whose returned is 'Yes' of the training days"),
        ("test", pl.col("returned") == "No", "every row whose returned is 'No' of the test days"),
    ],
    ids=str,
)
def test_weights_that_leave_nothing_to_count_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, part: str, zero: pl.Expr, words: str
) -> None:
    span = getattr(params.days(KNOBS, ours().label.delay), part)
    concerned = pl.col("ordered_at").dt.date().is_between(*span) & zero
    changed = pl.when(concerned).then(0).otherwise(pl.col("items")).alias("items")
    source().with_columns(changed).write_parquet(rows.SOURCE)
    monkeypatch.setattr(rows.contract, "load", lambda: ours(weight="items"))
    with pytest.raises(BadInput, match=f"items is 0 in {words}, {span[0]} to {span[1]}, and .* mend the source"):
        rows.main()
    assert not rows.FEATURES.exists()


def test_a_damaged_input_leaves_the_output_alone(folder: Path) -> None:
    rows.main()
    before = rows.FEATURES.read_bytes()
    rows.SOURCE.write_bytes(b"PAR1, and then nothing")
    with pytest.raises(BadInput, match=r"data/rows\.parquet.*make data"):
        rows.main()
    assert rows.FEATURES.read_bytes() == before
