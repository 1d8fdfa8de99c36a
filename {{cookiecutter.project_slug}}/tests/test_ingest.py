"""Reading days from a folder: what is read, what is refused and in which words, and what is pinned."""

import gzip
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import ingest
from pipeline.params import BadInput, load
from pipeline.schema import ID, LABEL, SOURCE, TIME
from tests.tables import write_knobs

ROOT = Path(ingest.__file__).parents[1]
FIRST, LAST = date(2020, 1, 1), date(2020, 1, 5)
PARAMS: dict[str, Any] = {
    "data": {"source": "days", "until": "2020-01-05", "snapshot": None},
    "features": {"windows": [1], "delay": 1},
    "split": {"train": 1, "test": 1},
    "evaluate": {},
}


def rows(day: date, number: int = 4) -> pl.DataFrame:
    """A day's transactions, the latest first."""
    first = datetime.combine(day, datetime.min.time())
    return pl.DataFrame(
        {
            ID: [day.toordinal() * 100 + n for n in range(number)],
            TIME: [first + timedelta(hours=number - n) for n in range(number)],
            "customer_id": list(range(number)),
            "terminal_id": list(range(number)),
            "tx_amount": [n + 0.5 for n in range(number)],
            LABEL: [n % 2 for n in range(number)],
        },
        schema_overrides={TIME: pl.Datetime("us"), LABEL: pl.Int8, "customer_id": pl.UInt32},
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with params.yaml and five daily files in `days`; the working directory."""
    monkeypatch.chdir(tmp_path)
    days = tmp_path / "days"
    days.mkdir()
    for offset in range(5):
        day = FIRST + timedelta(days=offset)
        rows(day).write_parquet(days / f"{day}.parquet")
    write_knobs(tmp_path, PARAMS)
    return days


def refusal(params: dict[str, Any] = PARAMS) -> str:
    """The sentence that ingest ends with."""
    with pytest.raises(BadInput) as refused:
        ingest.transactions(params)
    return str(refused.value)


def with_data(**knobs: object) -> dict[str, Any]:
    """PARAMS with other values under `data`."""
    return {**PARAMS, "data": {**PARAMS["data"], **knobs}}


# --- what is read ---


def test_days_are_cast_to_the_contract_and_sorted(folder: Path) -> None:
    table = ingest.transactions(PARAMS)
    assert table.columns == [column.name for column in SOURCE]
    assert table.dtypes == [pl.Int64, pl.Datetime("us"), pl.Int64, pl.Int64, pl.Float64, pl.Int64]
    assert table.height == 20
    assert table.equals(table.sort(TIME, ID))


def test_only_the_days_that_are_needed_are_read(folder: Path) -> None:
    (folder / "2019-12-31.parquet").write_bytes(b"not read")
    (folder / "2020-01-06.parquet").write_bytes(b"not read")
    (folder / "README").write_text("not read")
    table = ingest.transactions(PARAMS)
    assert (table[TIME].dt.date().min(), table[TIME].dt.date().max()) == (FIRST, LAST)


@pytest.mark.parametrize("name", ["a folder, 100% [x] *", "~/days", "./days/", "file://{}"])
def test_a_folder_may_be_named_in_many_ways(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    if name.startswith("a folder"):
        folder.rename(name)
    assert ingest.transactions(with_data(source=name.format(folder))).height == 20


def test_a_url_is_read_through_fsspec(folder: Path) -> None:
    bucket = fsspec.filesystem("memory")
    for file in folder.iterdir():
        bucket.pipe_file(f"/bucket/a folder/{file.name}", file.read_bytes())
    try:
        there = ingest.transactions(with_data(source="memory://bucket/a folder"))
    finally:
        bucket.rm("/bucket", recursive=True)
    assert there.equals(ingest.transactions(PARAMS))


def test_any_width_of_a_number_and_further_columns_are_read(folder: Path) -> None:
    table = rows(LAST).with_columns(
        pl.col("tx_amount").cast(pl.Float32), pl.col(TIME).cast(pl.Datetime("ns")), pl.lit("x").alias("note")
    )
    table.write_parquet(folder / f"{LAST}.parquet")
    assert ingest.transactions(PARAMS)["tx_amount"].to_list()[-4:] == [3.5, 2.5, 1.5, 0.5]


def test_what_the_contract_does_not_name_is_not_looked_at(folder: Path) -> None:
    """Such as a type that polars cannot read."""
    file = folder / f"{LAST}.parquet"
    before, table = ingest.transactions(PARAMS), pq.read_table(file)
    pq.write_table(table.append_column("wide", pa.array([Decimal(1)] * len(table), pa.decimal256(50, 2))), file)
    assert ingest.transactions(PARAMS).equals(before)


def test_utc_is_read_as_its_own_clock(folder: Path) -> None:
    before = ingest.transactions(PARAMS)
    rows(LAST).with_columns(pl.col(TIME).dt.replace_time_zone("UTC")).write_parquet(folder / f"{LAST}.parquet")
    assert ingest.transactions(PARAMS).equals(before)


def test_values_are_read_as_they_are(folder: Path) -> None:
    rows(LAST).with_columns(pl.lit(-1.0).alias("tx_amount"), pl.lit(None, pl.Int8).alias(LABEL)).write_parquet(
        folder / f"{LAST}.parquet"
    )
    table = ingest.transactions(PARAMS)
    assert (table["tx_amount"].min(), table[LABEL].null_count()) == (-1.0, 4)


# --- what is refused ---


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def zero_bytes(file: Path) -> None:
    file.write_bytes(b"")


def other_format(file: Path) -> None:
    file.write_text("transaction_id,tx_amount\n1,2\n")


def folder_instead(file: Path) -> None:
    file.unlink()
    file.mkdir()


def zero_rows(file: Path) -> None:
    pl.read_parquet(file).clear().write_parquet(file)


def text_amount(file: Path) -> None:
    pl.read_parquet(file).with_columns(pl.col("tx_amount").cast(pl.String)).write_parquet(file)


def real_identifier(file: Path) -> None:
    pl.read_parquet(file).with_columns(pl.col(ID).cast(pl.Float64)).write_parquet(file)


def zoned_time(file: Path) -> None:
    pl.read_parquet(file).with_columns(pl.col(TIME).dt.replace_time_zone("Europe/Berlin")).write_parquet(file)


def two_of_one_name(file: Path) -> None:
    table = pq.read_table(file)
    pq.write_table(pa.Table.from_arrays([*table.columns, table[ID]], names=[*table.column_names, ID]), file)


def wide_decimal(file: Path) -> None:
    table = pq.read_table(file)
    amounts = pa.array([Decimal(1)] * len(table), pa.decimal256(50, 2))
    pq.write_table(table.set_column(table.column_names.index("tx_amount"), "tx_amount", amounts), file)


def holds(content: bytes) -> Callable[[Path], None]:
    """Something else under the name of the file."""

    def damage(file: Path) -> None:
        file.write_bytes(content)

    return damage


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
DVC = b"outs:\n- md5: a304afb9\n  size: 37\n  path: 2020-01-03.parquet\n"
PAGE = b"\n<!DOCTYPE html><title>Log in</title>"


def no_label(file: Path) -> None:
    pl.read_parquet(file).drop(LABEL).write_parquet(file)


def huge_identifier(file: Path) -> None:
    pl.read_parquet(file).with_columns(pl.lit(2**63, pl.UInt64).alias(ID)).write_parquet(file)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "whose end is damaged or missing: copy it again"),
        (zero_bytes, "has 0 bytes"),
        (other_format, "is text, not parquet; it begins with 'transaction_id,tx_amount': write it as parquet"),
        (holds(LFS), "is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`"),
        (holds(DVC), "is a pointer of DVC, not the file itself: fetch that with `dvc pull`"),
        (holds(PAGE), "is a web page"),
        (holds(b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"), "is a web page or an XML answer"),
        (holds(gzip.compress(b"a")), "(gzip): unpack it"),
        (holds(bytes(100)), "is damaged ("),
        (two_of_one_name, "'transaction_id' has more than one occurrence; write the file again with each column once"),
        (wide_decimal, "`tx_amount` is Decimal(precision=50, scale=2), expected numbers"),
        (folder_instead, "cannot be read"),
        (zero_rows, "has 0 rows"),
        (text_amount, "`tx_amount` is String, expected numbers"),
        (real_identifier, "`transaction_id` is Float64, expected whole numbers"),
        (zoned_time, "expected a date with time, in UTC or without time zone: convert it to UTC"),
        (no_label, "has no column `tx_fraud`"),
        (huge_identifier, "has a number too large"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(folder: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(folder / "2020-01-03.parquet")
    said = refusal()
    assert words in said
    assert set(re.findall(r"2020-01-0\d", said)) == {"2020-01-03"}


def test_all_bad_files_are_named_at_once(folder: Path) -> None:
    cut(folder / "2020-01-01.parquet")
    no_label(folder / "2020-01-03.parquet")
    zero_bytes(folder / "2020-01-04.parquet")
    lines = refusal().splitlines()
    assert lines[0].startswith("3 of the 5 daily files cannot be read")
    assert [line.split(":")[0].strip() for line in lines[1:]] == [f"2020-01-0{day}.parquet" for day in (1, 3, 4)]


def test_missing_files_are_named_with_what_the_folder_holds(folder: Path) -> None:
    (folder / "2020-01-02.parquet").unlink()
    (folder / "2020-01-05.parquet").unlink()
    said = refusal()
    assert "2 of the 5 daily files" in said and "it holds 2020-01-01.parquet to 2020-01-04.parquet" in said
    assert [line.strip() for line in said.splitlines()[1:]] == ["2020-01-02.parquet", "2020-01-05.parquet"]


def test_a_long_list_is_counted(folder: Path) -> None:
    said = refusal({**PARAMS, "split": {"train": 100, "test": 1}})
    assert "99 of the 104" in said and "and 89 more" in said and len(said.splitlines()) == 1 + ingest.SHOWN + 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "data.source nowhere: is not there"),
        ("memory://nothing/here", "data.source memory://nothing/here: is not there"),
        ("odd://bucket", "data.source is odd://bucket: odd:// is none of s3, gs, "),
        ("gs://bucket", "data.source is gs://bucket: gs:// needs the package gcsfs: add it to requirements"),
        ("params.yaml", "it holds no file named YYYY-MM-DD.parquet"),
        (None, "data.source is None; write `simulate`"),
        ("", "data.source is ''; write `simulate`"),
    ],
)
def test_a_source_that_is_no_folder_is_named(folder: Path, source: str | None, words: str) -> None:
    assert words in refusal(with_data(source=source))


def test_the_simulator_that_was_deleted_is_not_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "SIMULATOR", "pipeline.deleted")
    assert "pipeline/simulate.py is gone" in refusal(with_data(source="simulate"))


class Bucket(fsspec.AbstractFileSystem):
    """A bucket without credentials."""

    protocol = "closed"

    def ls(self, path: str, detail: bool = True, **_: object) -> list[str]:
        raise RuntimeError("Unable to locate credentials\nmore")


def test_an_error_of_a_bucket_is_one_sentence(folder: Path) -> None:
    fsspec.register_implementation("closed", Bucket, clobber=True)
    said = refusal(with_data(source="closed://bucket"))
    assert said.startswith("data.source closed://bucket: cannot be read (Unable to locate credentials)")
    assert "\n" not in said


def test_the_stage_prints_the_sentence_and_leaves_what_was_made(folder: Path) -> None:
    ingest.main([])
    before = ingest.TRANSACTIONS.read_bytes()
    cut(folder / "2020-01-03.parquet")
    run = subprocess.run(
        [sys.executable, "-m", "pipeline.ingest"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "2020-01-03.parquet" in run.stderr and "Traceback" not in run.stderr
    assert ingest.TRANSACTIONS.read_bytes() == before
    assert [file.name for file in Path("data").iterdir()] == [ingest.TRANSACTIONS.name]


def test_a_write_that_fails_leaves_what_was_made(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    with pytest.raises(OSError, match="disk full"), ingest.replacing(file) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "before")]


# --- the snapshot ---


def test_a_snapshot_pins_names_and_bytes(folder: Path) -> None:
    ingest.main(["--snapshot"])
    pinned = load()
    assert re.fullmatch("sha256:[0-9a-f]{64}", pinned["data"]["snapshot"])
    assert ingest.transactions(pinned).height == 20

    rows(LAST, number=5).write_parquet(folder / f"{LAST}.parquet")
    said = refusal(pinned)
    assert "restore the files" in said and "`make snapshot`" in said

    ingest.main(["--snapshot"])
    again = load()
    assert again["data"]["snapshot"] != pinned["data"]["snapshot"]
    assert ingest.transactions(again).height == 21


def test_swapped_days_are_another_snapshot(folder: Path) -> None:
    before = ingest.snapshot(ingest.record(file.name, file.read_bytes()) for file in sorted(folder.iterdir()))
    (folder / "2020-01-01.parquet").rename(folder / "x")
    (folder / "2020-01-02.parquet").rename(folder / "2020-01-01.parquet")
    (folder / "x").rename(folder / "2020-01-02.parquet")
    after = ingest.snapshot(ingest.record(file.name, file.read_bytes()) for file in sorted(folder.iterdir()))
    assert before != after


@pytest.mark.parametrize(
    "text",
    [
        'data:\n  source: days # where\n  snapshot: null # pins\n  until: "2020-01-05"\n\n# end\nsplit: {train: 1}\n',
        "data:\r\n  snapshot: sha256:0 # ü\r\nother:\r\n  snapshot: null\r\n",
        "data: {source: days, snapshot: null, until: 2020-01-05}\n",
        "data:\n  snapshot:\n  source: days\n",
        "data:\n  source: days\n  snapshot:",
    ],
)
def test_pinning_changes_one_value_and_nothing_else(text: str) -> None:
    pinned = ingest.with_snapshot(text, "sha256:1")
    expected = yaml.safe_load(text)
    expected["data"]["snapshot"] = "sha256:1"
    assert yaml.safe_load(pinned) == expected
    assert re.sub(r" ?sha256:1", "", pinned) == re.sub(r"(snapshot:) ?(null|sha256:0)?", r"\1", text, count=1)


def test_a_missing_knob_is_named() -> None:
    with pytest.raises(BadInput, match="add the line `snapshot: null`"):
        ingest.with_snapshot("data:\n  source: days\n", "sha256:1")


def test_what_is_not_pinned_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ingest.transactions(PARAMS)
    assert capsys.readouterr().out.count("is not pinned") == 1


def test_the_simulator_needs_no_pin(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_knobs(Path(), with_data(source="simulate"))
    before = Path("params.yaml").read_text()
    ingest.main(["--snapshot"])
    assert "nothing to pin" in capsys.readouterr().out
    assert Path("params.yaml").read_text() == before


# --- real data, and DVC ---


def test_real_data_is_read_with_nothing_changed_but_params() -> None:
    if not (handbook := os.environ.get("HANDBOOK")):
        pytest.skip("HANDBOOK does not name the folder of real daily files")
    table = ingest.transactions(with_data(source=handbook, until="2018-06-20"))
    assert table[TIME].dt.date().unique().to_list() == [date(2018, 6, day) for day in range(16, 21)]
    assert table.null_count().sum_horizontal().item() == 0


@pytest.mark.slow
def test_dvc_gives_back_what_a_failed_run_removed(folder: Path) -> None:
    """DVC removes a stage's outputs before it runs. `persist: true` would leave them, but out of the run-cache."""
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["ingest"]
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"ingest": stage}}))
    write_knobs(Path(), {**PARAMS, "simulate": {}})
    shutil.copytree(ROOT / "pipeline", "pipeline")
    assert subprocess.run(["git", "init", "--quiet"]).returncode == dvc("init").returncode == 0
    assert dvc("repro").returncode == 0
    before, good = ingest.TRANSACTIONS.read_bytes(), Path("params.yaml").read_text()

    Path("params.yaml").write_text(good.replace("source: days", "source: nowhere"))
    failed = dvc("repro")
    assert failed.returncode != 0 and "data.source nowhere: is not there" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert dvc("checkout").returncode == 0
    assert ingest.TRANSACTIONS.read_bytes() == before

    ingest.TRANSACTIONS.unlink()
    Path("params.yaml").write_text(good)
    assert "> python -m pipeline.ingest" not in dvc("repro").stdout
    assert ingest.TRANSACTIONS.read_bytes() == before


def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run DVC in the working directory, with this environment's `python` first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(["dvc", *arguments], capture_output=True, text=True, env={**os.environ, "PATH": path})
