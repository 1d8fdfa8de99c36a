"""Reading days by the contract: what is read as which type, what is refused and in which words."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import ingest, personal, rows
from pipeline.contract import Column
from pipeline.params import BadInput
from tests.tables import KNOBS, ROOT, daily, knobs, ours, source, write_knobs

DAY = "2020-01-11.parquet"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, a repository with twenty daily files in `orders`, of which the knobs need fifteen."""
    monkeypatch.chdir(tmp_path)
    write_knobs(tmp_path, KNOBS)
    return daily(tmp_path / "orders")


def refusal(**data: object) -> str:
    """The sentence that ingest ends with."""
    with pytest.raises(BadInput) as refused:
        ingest.rows(knobs(data=data), ours())
    return str(refused.value)


def rewrite(file: Path, *columns: pl.Expr | pl.Series) -> None:
    pl.read_parquet(file).with_columns(*columns).write_parquet(file)


# --- what is read ---


def test_days_are_read_in_the_contracts_types_and_sorted(folder: Path) -> None:
    table = ingest.rows(KNOBS, ours())
    assert table.schema == pl.Schema({column.name: rows.TYPES[column.type] for column in ours().columns})
    assert table.equals(source(400).filter(pl.col("ordered_at") >= datetime(2020, 1, 6)))
    assert table.equals(table.sort("ordered_at", "order_id"))


def test_only_the_days_that_are_needed_are_read(folder: Path) -> None:
    for name in ("2020-01-05.parquet", "2020-01-21.parquet", "README"):
        (folder / name).write_bytes(b"not read")
    days = ingest.rows(KNOBS, ours())["ordered_at"].dt.date()
    assert (days.min(), days.max()) == (date(2020, 1, 6), date(2020, 1, 20))


@pytest.mark.parametrize("name", ["a folder, 100% [x] *", "~/orders", "./orders/", "file://{}"])
def test_a_folder_may_be_named_in_many_ways(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    if name.startswith("a folder"):
        folder.rename(name)
    assert ingest.rows(knobs(data={"source": name.format(folder)}), ours()).height == 300


def test_a_url_is_read_through_fsspec(folder: Path) -> None:
    bucket = fsspec.filesystem("memory")
    for file in folder.iterdir():
        bucket.pipe_file(f"/bucket/a folder/{file.name}", file.read_bytes())
    try:
        there = ingest.rows(knobs(data={"source": "memory://bucket/a folder"}), ours())
    finally:
        bucket.rm("/bucket", recursive=True)
    assert there.equals(ingest.rows(KNOBS, ours()))


def test_what_the_contract_does_not_name_is_not_looked_at(folder: Path) -> None:
    """Such as a type that polars cannot read."""
    before, table = ingest.rows(KNOBS, ours()), pq.read_table(folder / DAY)
    wide = pa.array([Decimal(1)] * len(table), pa.decimal256(50, 2))
    pq.write_table(table.append_column("wide", wide), folder / DAY)
    assert ingest.rows(KNOBS, ours()).equals(before)


@pytest.mark.parametrize("how", ["no file", "no rows", "no types"])
def test_a_day_without_rows_is_said_and_left_to_the_gate(
    folder: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if how == "no file":
        (folder / DAY).unlink()
    elif how == "no rows":
        pl.read_parquet(folder / DAY).clear().write_parquet(folder / DAY)
    else:  # as pandas writes a table that never had a row
        pl.DataFrame(schema=dict.fromkeys(pl.read_parquet(folder / DAY).columns, pl.Null)).write_parquet(folder / DAY)
    assert ingest.rows(KNOBS, ours()).height == 280
    assert "no rows on 1 of the days (2020-01-11); days.missing of policies/data.yaml judges" in capsys.readouterr().out


def test_a_folder_with_none_of_the_days_is_refused(folder: Path) -> None:
    assert "none of the daily files from 2021-01-06 to 2021-01-20 (it holds" in refusal(until="2021-01-20")


def test_another_time_zone_is_converted_and_said_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = ingest.rows(KNOBS, ours())
    for file in folder.iterdir():
        moment = pl.col("ordered_at").dt.replace_time_zone("UTC")
        rewrite(file, moment if file.name == DAY else moment.dt.convert_time_zone("Asia/Tokyo"))
    capsys.readouterr()
    assert ingest.rows(KNOBS, ours()).equals(before)
    said = capsys.readouterr().out
    assert said.count("ordered_at is in the time zone Asia/Tokyo: converted to UTC") == 1 and "Etc" not in said


# --- by type ---

MOMENT = datetime(2020, 1, 11, 23, 30)
ID = UUID("12345678-1234-5678-1234-567812345678")


def read(kind: str, values: pl.Series, **about: Any) -> pl.Series:
    """A column of a type, as ingest reads these values."""
    return ingest.typed(Column("größe €", kind, **about), values.alias("größe €"))


@pytest.mark.parametrize(
    ("kind", "values", "found"),
    [
        ("integer", pl.Series([1, None], dtype=pl.UInt8), [1, None]),
        ("integer", pl.Series([2.0, float("nan"), None]), [2, None, None]),  # as pandas has integers with a hole
        ("integer", pl.Series([Decimal("3.00"), None]), [3, None]),
        ("integer", pl.Series([None, None]), [None, None]),
        ("number", pl.Series([1.5], dtype=pl.Float32), [1.5]),
        ("number", pl.Series([7], dtype=pl.UInt64), [7.0]),
        ("number", pl.Series([Decimal("1.25")]), [1.25]),
        ("boolean", pl.Series([True, None]), [True, None]),
        ("boolean", pl.Series([1, 0, None], dtype=pl.Int8), [True, False, None]),
        ("boolean", pl.Series([1.0, float("nan")]), [True, None]),
        ("category", pl.Series(["a", "", " ", None]), ["a", None, " ", None]),
        ("category", pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
        ("category", pl.Series(["b"], dtype=pl.Enum(["a", "b"])), ["b"]),
        ("category", pl.Series([7, None]), ["7", None]),
        ("category", pl.Series([7.0, float("nan")]), ["7", None]),
        ("category", pl.Series([True, False]), ["true", "false"]),
        ("text", pl.Series(["x", ""]), ["x", None]),
        ("text", pl.Series([ID.bytes, None]), [str(ID), None]),
        ("time", pl.Series([MOMENT], dtype=pl.Datetime("ms")), [MOMENT]),
        ("time", pl.Series([MOMENT], dtype=pl.Datetime("ns")), [MOMENT]),
        ("time", pl.Series([MOMENT.replace(tzinfo=UTC)]), [MOMENT]),
        ("time", pl.Series([MOMENT.date(), None]), [datetime(2020, 1, 11), None]),
        ("text", pl.Series([None], dtype=pl.Null), [None]),
        ("time", pl.Series([None], dtype=pl.Null), [None]),
    ],
    ids=str,
)
def test_values_are_read_as_the_type_says(kind: str, values: pl.Series, found: list[Any]) -> None:
    series = read(kind, values)
    assert series.to_list() == found
    assert series.dtype == rows.TYPES[kind] and series.name == "größe €"


def test_not_a_number_is_missing_only_where_values_may_be() -> None:
    """Where they may not, the gate counts it under its name."""
    values = pl.Series([1.0, float("nan"), float("inf")])
    assert read("number", values, missing=True).to_list() == [1.0, None, float("inf")]
    assert read("number", values).is_nan().to_list() == [False, True, False]


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (
            "integer",
            pl.Series([1.0, 1.5, 2.5]),
            "holds 1.5, 2.5 in 2 rows, expected whole numbers; mend the source, or ",
        ),
        ("integer", pl.Series([float("inf")]), "holds inf in 1 row, expected whole numbers"),
        ("integer", pl.Series([2**63], dtype=pl.UInt64), "has a number too large for whole numbers of 64 bits"),
        ("integer", pl.Series(["1", "2"]), "is text, expected whole numbers; such as '1', '2': write it as numbers"),
        ("integer", pl.Series([True]), "is Boolean, expected whole numbers; declare `type: boolean` in contract.yaml"),
        (
            "number",
            pl.Series(["29.85", " ", "n/a", " ", None]),
            "is text, expected numbers; 3 rows without a number, such as ' ', 'n/a': write it as numbers, and what is "
            "not known as null, or declare `type: category` in contract.yaml",
        ),
        ("number", pl.Series(["a"], dtype=pl.Categorical), "is text, expected numbers; 1 row without"),
        ("number", pl.Series([MOMENT]), "is Datetime(time_unit='us', time_zone=None), expected numbers"),
        (
            "boolean",
            pl.Series([0, 1, 2]),
            "holds 2 in 1 row, expected true or false, or 1 and 0; mend the source, or decl",
        ),
        (
            "boolean",
            pl.Series(["Yes"]),
            "is text, such as 'Yes', expected true or false; write it as booleans, or decl",
        ),
        (
            "category",
            pl.Series([0.5]),
            "holds numbers such as 0.5 in 1 row, expected categories; write them as text, or ",
        ),
        (
            "category",
            pl.Series(["a", "\0"]),
            "begins with the character 0 in 1 row, which is no text; write null for it",
        ),
        (
            "category",
            pl.Series("x", ["b" * 1_000, "a" * 1_001, "a" * 2_000, None]),
            "has more than 1,000 characters in 2 rows, which no category has; shorten it in the source, or declare",
        ),
        ("category", pl.Series([b"abc"]), "is bytes, expected categories; write it as text"),
        (
            "text",
            pl.Series([5]),
            "is Int64, expected text; write it as text, or declare `type: integer` in contract.yaml",
        ),
        ("text", pl.Series([b"abc"]), "is bytes, expected text; write it as text"),
        (
            "time",
            pl.Series(["03/04/2020"]),
            "is text, such as '03/04/2020', expected a date, or a date with time; conv",
        ),
        ("time", pl.Series([1578700000]), "is Int64, such as 1578700000, expected a date, or a date with time"),
    ],
    ids=str,
)
def test_what_is_not_of_the_type_is_a_sentence(kind: str, values: pl.Series, words: str) -> None:
    with pytest.raises(ingest.Unreadable) as refused:
        read(kind, values)
    assert str(refused.value).startswith(words)


def test_a_personal_value_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "rules", lambda: {"größe €": personal.OMIT})
    with pytest.raises(ingest.Unreadable, match="1 row without a number, such as not shown"):
        read("number", pl.Series(["Mary"]))


def test_a_uuid_of_arrow_is_read_as_its_text(folder: Path) -> None:
    table = pq.read_table(folder / DAY)
    names = [UUID(int=number) for number in range(len(table))]
    wanted = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([name.bytes for name in names], pa.binary(16)))
    pq.write_table(table.set_column(table.column_names.index("order_id"), "order_id", wanted), folder / DAY)
    found = ingest.rows(KNOBS, ours()).filter(pl.col("ordered_at").dt.date() == date(2020, 1, 11))
    assert sorted(found["order_id"]) == sorted(map(str, names))


def test_a_label_that_nobody_knows_yet_is_a_column_of_nulls(folder: Path) -> None:
    for file in folder.iterdir():
        rewrite(file, pl.lit(None).alias("returned"), pl.lit(None).alias("a.b"))
    table = ingest.rows(KNOBS, ours())
    assert table["returned"].null_count() == table["a.b"].null_count() == len(table) == 300
    assert table.schema["returned"] == pl.String


# --- what is refused ---


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def zero_bytes(file: Path) -> None:
    file.write_bytes(b"")


def pointer(file: Path) -> None:
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n")


def folder_instead(file: Path) -> None:
    file.unlink()
    file.mkdir()


def text_amount(file: Path) -> None:
    rewrite(file, pl.col("amount").cast(pl.String))


def two_of_one_name(file: Path) -> None:
    table = pq.read_table(file)
    pq.write_table(pa.Table.from_arrays([*table.columns, table["items"]], names=[*table.column_names, "items"]), file)


def wide_decimal(file: Path) -> None:
    table = pq.read_table(file)
    amounts = pa.array([Decimal(1)] * len(table), pa.decimal256(50, 2))
    pq.write_table(table.set_column(table.column_names.index("amount"), "amount", amounts), file)


def no_label(file: Path) -> None:
    pl.read_parquet(file).rename({"returned": "Returned "}).write_parquet(file)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "whose end is damaged or missing: copy it again"),
        (zero_bytes, "has 0 bytes"),
        (pointer, "is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`"),
        (two_of_one_name, "'items' has more than one occurrence; write the file again with each column once"),
        (wide_decimal, "`amount` is Decimal(precision=50, scale=2), expected numbers, of 38 digits at most"),
        (folder_instead, "cannot be read"),
        (text_amount, "`amount` is text, expected numbers"),
        (no_label, "has no column `returned`, expected categories, as text; did you mean `Returned `?"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(folder: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(folder / DAY)
    said = refusal()
    assert words in said
    assert set(re.findall(r"2020-01-\d\d\.parquet", said)) == {DAY}


def test_all_that_is_wrong_with_all_files_is_said_at_once(folder: Path) -> None:
    cut(folder / "2020-01-06.parquet")
    no_label(folder / DAY)
    text_amount(folder / DAY)
    zero_bytes(folder / "2020-01-12.parquet")
    lines = refusal().splitlines()
    assert lines[0].startswith("3 of the 15 daily files cannot be read")
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        f"2020-01-{day}.parquet" for day in ("06", "11", "12")
    ]
    assert "`amount` is text" in lines[2] and "no column `returned`" in lines[2]


def test_a_long_list_is_counted(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_text(file.name)
    said = refusal()
    assert "15 of the 15" in said and "and 5 more" in said and len(said.splitlines()) == 1 + 10 + 1


def test_what_is_wrong_with_every_file_alike_is_said_once_and_may_be_the_contract(folder: Path) -> None:
    for file in folder.iterdir():
        no_label(file)
    (said,) = refusal().splitlines()
    assert said.startswith(
        "none of the 15 daily files can be read; correct contract.yaml, or restore or rewrite them; "
    )
    assert "each: has no column `returned`, expected categories, as text; did you mean `Returned `?" in said


def test_the_simulator_that_was_deleted_is_not_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "SIMULATOR", "pipeline.deleted")
    assert "pipeline/simulate.py is gone" in refusal(source="simulate")


def test_the_stage_prints_the_sentence_and_leaves_what_was_made(folder: Path) -> None:
    ingest.main()
    before = ingest.ROWS.read_bytes()
    cut(folder / DAY)
    run = subprocess.run(
        [sys.executable, "-m", "pipeline.ingest"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert DAY in run.stderr and "Traceback" not in run.stderr
    assert ingest.ROWS.read_bytes() == before
    assert {file.name for file in Path("data").iterdir()} == {ingest.ROWS.name, ingest.BEFORE.name}
