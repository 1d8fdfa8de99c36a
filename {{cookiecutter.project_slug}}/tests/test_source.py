"""The source's files: which are found and listed, what is pinned, and what changed under a pin."""

import gzip
import os
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path

import fsspec
import polars as pl
import pytest
import yaml
from fsspec.implementations.local import LocalFileSystem
from ruamel.yaml import YAML

from pipeline import ingest, personal, source
from pipeline.params import BadInput, Days, load
from tests.tables import KNOBS, ROOT, UNTIL, daily, knobs, ours, write_knobs

FIRST, LAST = "2020-01-06", str(UNTIL)
PARQUET = b"PAR1 so it seems PAR1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, a repository with twenty daily files in `orders`, of which the knobs need fifteen."""
    monkeypatch.chdir(tmp_path)
    write_knobs(tmp_path, KNOBS)
    return daily(tmp_path / "orders")


def refusal(*arguments: str) -> str:
    """The sentence that the stage ends with."""
    with pytest.raises(BadInput) as refused:
        source.main(arguments)
    return str(refused.value)


# --- the list ---


def test_the_days_that_are_needed_are_listed_as_they_are(folder: Path) -> None:
    for name in ("2020-01-05.parquet", "2020-01-21.parquet", "README"):
        (folder / name).write_text("not looked at")
    source.main([])
    lines = source.FILES.read_text().splitlines()
    assert [line.split()[0] for line in lines] == [f"2020-01-{day:02}.parquet" for day in range(6, 21)]
    assert all(re.fullmatch(r"\S+ [0-9]+ [0-9a-f]{64}", line) for line in lines)


def test_of_the_simulator_there_is_nothing_to_list(folder: Path) -> None:
    write_knobs(Path(), knobs(data={"source": "simulate"}))
    source.main([])
    assert source.FILES.read_text() == "simulate\n"


def test_a_job_without_a_way_to_the_source_keeps_the_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source.main([])
    before = source.FILES.read_text()
    shutil.rmtree(folder)
    monkeypatch.setenv("SOURCE", source.LISTED)
    source.main([])
    assert source.FILES.read_text() == before
    source.FILES.unlink()
    assert "is not there" in refusal()  # no list to keep


def test_a_day_without_a_file_is_left_out_and_the_gate_judges(folder: Path) -> None:
    (folder / "2020-01-11.parquet").unlink()
    source.main([])
    assert len(source.FILES.read_text().splitlines()) == 14


def test_a_folder_with_none_of_the_days_is_refused(folder: Path) -> None:
    write_knobs(Path(), knobs(data={"until": "2021-01-20"}))
    said = refusal()
    assert "none of the daily files from 2021-01-06 to 2021-01-20 (it holds 2020-01-01 to " in said


@pytest.mark.parametrize(
    ("name", "words"),
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
def test_a_source_that_is_no_folder_is_named(folder: Path, name: str | None, words: str) -> None:
    write_knobs(Path(), knobs(data={"source": name}))
    assert words in refusal()


class Bucket(fsspec.AbstractFileSystem):
    """A bucket without credentials."""

    protocol = "closed"

    def ls(self, path: str, detail: bool = True, **_: object) -> list[str]:
        raise RuntimeError("Unable to locate credentials\nmore")


def test_an_error_of_a_bucket_is_one_sentence(folder: Path) -> None:
    fsspec.register_implementation("closed", Bucket, clobber=True)
    write_knobs(Path(), knobs(data={"source": "closed://bucket"}))
    said = refusal()
    assert said.startswith("data.source closed://bucket: cannot be read (Unable to locate credentials)")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", "fetch that with `git lfs pull`"),
        (b"outs:\n- md5: a304afb9\n  size: 37\n  path: x.parquet\n", "fetch that with `dvc pull`"),
        (b"\n<!DOCTYPE html><title>Log in</title>", "is a web page"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "is a web page or an XML answer"),
        (gzip.compress(b"a", mtime=0), "(gzip): unpack it"),
        (b"order_id,amount\n1,2\n", "is text, not parquet; it begins with 'order_id,amount': write it as parquet"),
        (b"PAR1 and then nothing", "whose end is damaged or missing: copy it again"),
        (b"", "has 0 bytes"),
        (bytes(100), "is no parquet file: copy it again"),
    ],
)
@pytest.mark.parametrize("arguments", [(), ("--snapshot",)], ids=["listed", "pinned"])
def test_what_is_no_parquet_is_neither_listed_nor_pinned(
    folder: Path, content: bytes, words: str, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal, "rules", lambda: {})
    before = Path("params.yaml").read_text()
    (folder / "2020-01-11.parquet").write_bytes(content)
    said = refusal(*arguments)
    assert words in said and "1 of the 15 daily files" in said and "2020-01-11.parquet: " in said
    assert Path("params.yaml").read_text() == before and not source.FILES.exists()


# --- the snapshot ---


def test_other_files_under_a_pin_are_refused_each_time_and_named(folder: Path) -> None:
    source.main(["--snapshot"])
    source.main([])
    (folder / "2020-01-07.parquet").write_bytes(PARQUET)
    (folder / "2020-01-11.parquet").unlink()
    for _ in range(2):
        said = refusal()
        assert "restore the files" in said and "`make snapshot`" in said
        assert said.splitlines()[1:] == ["  2020-01-07.parquet has other bytes", "  2020-01-11.parquet is gone"]
    with pytest.raises(BadInput, match="2020-01-07.parquet"):
        ingest.rows(load(), ours())


def test_a_day_that_is_no_longer_read_is_not_called_gone(folder: Path) -> None:
    source.main(["--snapshot"])
    source.main([])
    write_knobs(Path(), load() | {"data": load()["data"] | {"until": str(UNTIL - timedelta(days=1))}})
    said = refusal().splitlines()
    assert f"  {UNTIL}.parquet is not among the days that are read, 2020-01-05 to 2020-01-19" in said
    with pytest.raises(BadInput, match="is not among the days that are read"):
        ingest.rows(load(), ours())


def test_on_another_machine_it_is_said_that_the_file_cannot_be_told(folder: Path) -> None:
    source.main(["--snapshot"])
    (folder / "2020-01-07.parquet").write_bytes(PARQUET)
    source.PINNED.unlink()
    assert "which of the 15 files changed cannot be told" in refusal()
    source.PINNED.write_text("2020-01-07.parquet 1 0\n")  # of another pin
    assert "which of the 15 files changed cannot be told" in refusal()


def test_a_day_that_comes_later_is_another_snapshot(folder: Path) -> None:
    late = (folder / "2020-01-11.parquet").rename("late")
    source.main(["--snapshot"])
    shutil.copy(late, folder / "2020-01-11.parquet")
    assert "2020-01-11.parquet is new" in refusal()


def test_a_new_pin_takes_the_files_as_they_are(folder: Path) -> None:
    source.main(["--snapshot"])
    pinned = load()["data"]["snapshot"]
    assert re.fullmatch("sha256:[0-9a-f]{64}", pinned)
    (folder / "2020-01-11.parquet").unlink()
    source.main(["--snapshot"])
    assert load()["data"]["snapshot"] not in (None, pinned)
    source.main([])


def test_swapped_days_are_another_snapshot(folder: Path) -> None:
    days = date(2020, 1, 1), date(2020, 1, 11)
    window = Days(days[0], days, days)
    before, _ = source.taken(str(folder), window)
    (folder / "2020-01-01.parquet").rename(folder / "x")
    (folder / "2020-01-02.parquet").rename(folder / "2020-01-01.parquet")
    (folder / "x").rename(folder / "2020-01-02.parquet")
    after, _ = source.taken(str(folder), window)
    assert before != after


def test_a_file_is_hashed_in_pieces(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = source.File(LocalFileSystem(), str(folder / "2020-01-01.parquet"))
    content = file.read()
    for size in (4, 1000, len(content) - 1, len(content) + 1):
        monkeypatch.setattr(source, "PIECE", size)
        assert max(map(len, file.pieces())) <= size
        assert source.listed(file) == f"{file.name} {len(content)} {sha256(content).hexdigest()}\n"


@pytest.mark.parametrize(
    "text",
    [
        'data:\n  source: days # where\n  snapshot: null # pins\n  until: "2020-01-05"\n\n# end\nsplit: {train: 1}\n',
        "data:\r\n  snapshot: sha256:0 # ü\r\nother:\r\n  snapshot: null\r\n",
        "data: {source: days, snapshot: null, until: 2020-01-05}\n",
        "data: {until: 2020-01-05, snapshot: sha256:0}\n",
        "data: {snapshot: }\n",
        "{data: {snapshot: 'sha256:0'}}\n",
        "data:\n  snapshot:\n  source: days\n",
        "data:\n  source: days\n  snapshot:",
    ],
)
def test_pinning_changes_one_value_and_nothing_else(text: str) -> None:
    pinned = source.with_snapshot(text, "sha256:1")
    expected = yaml.safe_load(text)
    expected["data"]["snapshot"] = "sha256:1"
    assert yaml.safe_load(pinned) == expected
    assert YAML(typ="safe").load(pinned)["data"]["snapshot"] == "sha256:1", "as DVC reads it"
    assert re.sub(r' ?"sha256:1"', "", pinned) == re.sub(r"(snapshot:)( ?null| ?'?sha256:0'?)?", r"\1", text, count=1)


def test_a_missing_knob_is_named() -> None:
    with pytest.raises(BadInput, match="add the line `snapshot: null`"):
        source.with_snapshot("data:\n  source: days\n", "sha256:1")


@pytest.mark.parametrize(
    "text", ["day: &none null\ndata: {snapshot: *none}\n", "data: {snapshot: &none null}\nday: *none\n"]
)
def test_a_knob_that_cannot_be_edited_is_named(text: str) -> None:
    with pytest.raises(BadInput, match="cannot be edited; write `snapshot: null`"):
        source.with_snapshot(text, "sha256:1")


def test_what_is_not_pinned_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.main([])
    ingest.rows(KNOBS, ours())
    assert capsys.readouterr().out.count("is not pinned") == 1


def test_the_simulator_needs_no_pin(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_knobs(Path(), knobs(data={"source": "simulate"}))
    before = Path("params.yaml").read_text()
    source.main(["--snapshot"])
    assert "nothing to pin" in capsys.readouterr().out
    assert Path("params.yaml").read_text() == before


# --- through DVC ---


@pytest.mark.slow
def test_what_changes_in_the_source_is_read_again(folder: Path) -> None:
    """A mended day in a folder that nothing pins; and, where a pin says other, no result of DVC's stands in for it."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    kept = {name: stages[name] for name in ("source", "ingest")}
    kept["ingest"]["params"][0:] = [each for each in kept["ingest"]["params"] if each not in ("simulate", "features")]
    kept["source"]["params"][0:] = [each for each in kept["source"]["params"] if each != "features"]
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
    shutil.copytree(ROOT / "pipeline", "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in {dep for stage in kept.values() for dep in stage["deps"] if dep.startswith("pipeline/")}:
        Path(name).touch()  # whoever has deleted the example's simulator
    assert subprocess.run(["git", "init", "--quiet"]).returncode == dvc("init").returncode == 0
    READ = "Running stage 'ingest'"
    assert READ in dvc("repro", "ingest").stdout
    before = pl.read_parquet(ingest.ROWS)

    assert READ not in dvc("repro", "ingest").stdout
    mended = folder / "2020-01-11.parquet"
    first = mended.read_bytes()
    pl.read_parquet(mended).with_columns(amount=pl.lit(1.5)).write_parquet(mended)
    assert READ in dvc("repro", "ingest").stdout
    after = pl.read_parquet(ingest.ROWS)
    assert after.height == before.height and not after.equals(before)

    mended.write_bytes(first)
    source.main(["--snapshot"])
    assert dvc("repro", "ingest").returncode == 0
    pl.read_parquet(mended).with_columns(amount=pl.lit(2.5)).write_parquet(mended)
    for _ in range(2):
        refused = dvc("repro", "ingest")
        assert refused.returncode != 0 and "2020-01-11.parquet has other bytes" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert dvc("checkout").returncode == 0
    assert pl.read_parquet(ingest.ROWS).equals(before)

    mended.write_bytes(first)
    assert READ not in dvc("repro", "ingest").stdout
    assert pl.read_parquet(ingest.ROWS).equals(before)


def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    """DVC as `make` runs it, in the working directory, with this environment's `python` first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "pipeline.dvc", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
