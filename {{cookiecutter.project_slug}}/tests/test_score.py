"""`make score`: every row is answered once, as the service answers it, whatever ends a run; a bad file is named."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
from tqdm import tqdm

from pipeline import personal, score, tasks
from pipeline.log import ID, TIME
from pipeline.model import Input, Model, Problem
from pipeline.params import BadInput
from tests import by_task, tables
from tests.tables import ROOT

INPUTS = tables.inputs()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model that suspects large amounts."""
    directory = tmp_path_factory.mktemp("a model") / "model"
    tables.write_model(directory)
    return directory


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder of twenty daily files, as `data.source` may name one."""
    return tables.daily(tmp_path / "the rows")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "the answers"


def run(rows: Path | str, out: Path | str, served: Path) -> None:
    score.main(["--source", str(rows), "--out", str(out), "--model", str(served)])


def refusal(rows: Path | str, out: Path | str, served: Path) -> str:
    """What a run ends with that does not score all."""
    with pytest.raises(BadInput) as refused:
        run(rows, out, served)
    return str(refused.value)


def written(folder: Path) -> dict[str, pl.DataFrame]:
    """The files of answers, by name."""
    paths = sorted(folder.rglob("*.parquet"))
    return {str(path.relative_to(folder)): pl.read_parquet(path, glob=False) for path in paths}


def right(table: pl.DataFrame, served: Model) -> list[dict[str, Any]]:
    """What the service answers to the rows of a table, which are in the source's types."""
    inputs = table.with_columns(
        ((pl.col("ordered_at") - pl.col(column.name)).dt.total_microseconds() / 86_400e6).alias(column.name)
        for column in served.inputs
        if column.type == "time"
    )
    task = tasks.task(served.problem.task)
    parts = task.answer(served.predict(inputs), served.problem)
    return tasks.rowwise(parts, served.problem, tasks.shares(task.answers(served.problem)))


# --- the answers ---


@pytest.mark.parametrize("task", tasks.NAMES)
def test_every_task_s_answers_are_those_of_the_service(task: str, rows: Path, out: Path, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    served = by_task.write_model(directory, task, INPUTS)
    run(rows, out, directory)
    assert [*written(out)] == [path.name for path in sorted(rows.iterdir())]
    for name, answers in written(out).items():
        table = pl.read_parquet(rows / name)
        assert answers["order_id"].equals(table["order_id"]) and answers["ordered_at"].equals(table["ordered_at"])
        assert answers["model"].unique().to_list() == [served.digest]
        assert answers.drop("order_id", "ordered_at", "model").to_dicts() == right(table, served)


def test_a_row_may_be_what_rows_has_made_of_it_or_a_part_of_the_log(rows: Path, out: Path, served: Path) -> None:
    """The inputs as the model sees them, with days in the place of moments, are taken for what they are."""
    run(rows, out / "source's", served)
    made = rows.with_name("made")
    made.mkdir()
    table = tables.feature_rows(400)
    table.write_parquet(made / "features.parquet")
    table.rename({"order_id": ID, "ordered_at": TIME}).write_parquet(made / "log.parquet")
    run(made, out / "made", served)
    expected = pl.concat(written(out / "source's").values()).sort("order_id")
    for answers in written(out / "made").values():
        assert answers.sort("order_id").equals(expected)


def test_rows_without_a_time_are_of_now(out: Path, tmp_path: Path) -> None:
    """Days are counted up to the run, as the service counts them up to the request; a time is no column then."""
    problem = Problem(**{**vars(tables.problem()), "time": None})
    born = Input("amount", "time", missing=True)
    by_task.write_model(tmp_path / "model", "binary", [born], problem)
    table = pl.DataFrame({"order_id": ["a", "b", "c"], "amount": [datetime.now(UTC) - timedelta(days=220), None, None]})
    (tmp_path / "whole").mkdir()
    table.write_parquet(tmp_path / "whole" / "whole.parquet")
    run(tmp_path / "whole", out, tmp_path / "model")
    answers = written(out)["whole.parquet"]
    assert answers.columns == ["order_id", "score", "alert", "model"]
    assert answers["score"].to_list()[0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("values", [("a", "b", "c"), (1, 2, 3), (True, False, 7)])
def test_a_class_is_a_value_of_the_label(values: tuple[Any, ...]) -> None:
    """In its own type, and as text where there are several; the probabilities have a field for each."""
    problem = Problem("x", "multiclass", "id", "integer", None, "label", 0, values=values)
    schema = score.answered(problem)
    assert schema["class"] == {"a": pl.String(), "1": pl.Int64(), "True": pl.String()}[str(values[0])]
    parts = tasks.task("multiclass").answers(problem)
    said = score.series("probabilities", [[0.25, 0.5, 0.25]], parts["probabilities"], problem)
    assert said.to_list() == [dict(zip(map(str, values), [0.25, 0.5, 0.25], strict=True))]
    found = score.series("class", [values[1]], parts["class"], problem)
    assert found.to_list() == [values[1] if schema["class"] != pl.String() else str(values[1])]


def test_columns_have_names_of_their_own(rows: Path, out: Path, tmp_path: Path) -> None:
    problem = Problem(**{**vars(tables.problem()), "time": "score"})
    by_task.write_model(tmp_path / "model", "binary", INPUTS, problem)
    assert "`score` is a column of a row, and of its answer too; rename" in refusal(rows, out, tmp_path / "model")


# --- what ends a run ---


def many(folder: Path, number: int = 300) -> Path:
    """A folder of so many small files."""
    folder.mkdir()
    table = tables.source(10 * number)
    for at in range(number):
        table[10 * at : 10 * at + 10].write_parquet(folder / f"{at:03}.parquet")
    return folder


def begun(rows: Path, out: Path, served: Path) -> subprocess.Popen[str]:
    """A run that has written some more files of answers."""
    command = [sys.executable, "-m", "pipeline.score", *map(str, ("--source", rows, "--out", out, "--model", served))]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    there = len([*out.glob("*.parquet")])
    while running.poll() is None and len([*out.glob("*.parquet")]) < there + 20:
        time.sleep(0.001)
    return running


def test_what_was_killed_goes_on_where_it_was(tmp_path: Path, out: Path, served: Path) -> None:
    rows = many(tmp_path / "many")
    for _ in range(3):
        running = begun(rows, out, served)
        running.kill()
        running.communicate()
        assert running.returncode == -signal.SIGKILL
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert 60 <= len(before) < 300
    run(rows, out, served)
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert before.items() <= after.items()
    assert sorted(after) == sorted(path.name for path in rows.iterdir())
    found = pl.concat(written(out).values())["order_id"]
    assert found.to_list() == tables.source(3000)["order_id"].to_list()


def test_what_is_stopped_ends_at_once_with_whole_files(tmp_path: Path, out: Path, served: Path) -> None:
    running = begun(many(tmp_path / "many"), out, served)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=10)
    assert (running.returncode, said) == (1, "stopped\n")
    assert 20 <= len(written(out)) < 300
    assert all(len(table) == 10 for table in written(out).values())
    assert {path.suffix for path in out.iterdir()} == {".parquet"}


def test_what_cannot_be_written_ends_the_run_and_is_no_fault_of_the_rows(
    rows: Path, out: Path, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pl.LazyFrame, "sink_parquet", full)
        said = refusal(rows, out, served)
    assert "No space left on device; free some space there, then run this again" in said
    assert [*out.iterdir()] == []
    run(rows, out, served)
    assert len(written(out)) == 20


def test_two_runs_do_not_write_one_folder(rows: Path, out: Path, served: Path) -> None:
    with score.alone(score.Folder.at(str(out), "OUT")):
        assert "another run writes there; wait for its end" in refusal(rows, out, served)
    run(rows, out, served)


# --- what is scored anew ---


def test_what_is_scored_is_scored_once(
    rows: Path, out: Path, served: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(rows, out, served)
    monkeypatch.setattr(Model, "predict", None)  # nobody is asked
    capsys.readouterr()
    run(rows, out, served)
    assert capsys.readouterr().out == f"OUT {out}: 20 files of 20 scored already\n"


def test_another_model_or_other_rows_are_scored_anew(
    rows: Path, out: Path, served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(rows, out, served)
    changed = rows / "2020-01-03.parquet"
    pl.read_parquet(changed).with_columns(amount=pl.lit(1000.0)).write_parquet(changed)
    run(rows, out, served)
    assert "1 file of another model, or of rows that have changed: scored anew" in capsys.readouterr().out
    assert written(out)[changed.name]["alert"].all()
    other = tables.write_model(tmp_path / "other", large=100)
    run(rows, out, tmp_path / "other")
    assert "20 files of another model, or of rows that have changed: scored anew" in capsys.readouterr().out
    assert {digest for table in written(out).values() for digest in table["model"]} == {other.digest}


def test_answers_of_rows_that_are_gone_are_named(
    rows: Path, out: Path, served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(rows, out, served)
    (rows / "2020-01-03.parquet").unlink()
    run(rows, out, served)
    assert f"1 file of rows that SOURCE {rows} does not have: left as it is" in capsys.readouterr().out
    assert len(written(out)) == 20


def test_nothing_else_is_overwritten(rows: Path, out: Path, served: Path) -> None:
    out.mkdir()
    for content in (b"", b"no parquet", (rows / "2020-01-03.parquet").read_bytes()):
        (out / "2020-01-03.parquet").write_bytes(content)
        said = refusal(rows, out, served)
        assert "2020-01-03.parquet is no file of answers, and would be overwritten; move it away, or name" in said
        assert (out / "2020-01-03.parquet").read_bytes() == content


# --- what cannot be scored ---


def broken(rows: Path) -> Iterator[tuple[str, str]]:
    """Spoils files of rows; the name of each, and words of the reason."""
    table = pl.read_parquet(rows / "2020-01-02.parquet")
    whole = (rows / "2020-01-02.parquet").read_bytes()
    for name, content, words in (
        ("2020-01-02", b"", "has 0 bytes; expected a parquet file"),
        ("2020-01-03", whole[:-10], "is a parquet file whose end is damaged or missing: copy it again"),
        ("2020-01-04", b"order_id,amount\n1,2\n", "is text, not parquet; it begins with 'order_id,amount'"),
        ("2020-01-05", whole[:200] + bytes(200) + whole[400:], "copy it again"),
    ):
        (rows / f"{name}.parquet").write_bytes(content)
        yield f"{name}.parquet", words
    for name, columns, words in (
        ("2020-01-06", {"amount": pl.lit("12")}, "`amount` is String, expected numbers"),
        ("2020-01-07", {"amount": pl.lit(-1.5)}, "`amount` is below 0 in 20 rows, such as -1.5 of order_id order-"),
    ):
        table.with_columns(**columns).write_parquet(rows / f"{name}.parquet")
        yield f"{name}.parquet", words
    table.drop("items").write_parquet(rows / "2020-01-08.parquet")
    yield "2020-01-08.parquet", "has no column `items`, expected whole numbers; its columns are order_id, ordered_at"


def test_a_bad_file_is_named_and_the_others_are_scored(
    rows: Path, out: Path, served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {path.name: path.read_bytes() for path in rows.iterdir()}
    bad = dict(broken(rows))
    said = refusal(rows, out, served)
    assert f"SOURCE {rows}: 7 of 20 files cannot be scored; OUT {out} has what they are in rejects/, with" in said
    rejects, named = out / "rejects", capsys.readouterr().err
    for name, words in bad.items():
        assert re.search(rf"  {re.escape(name)}: .*{re.escape(words)}", said), said
        assert f"{name}: " in named
        assert (rejects / name).read_bytes() == (rows / name).read_bytes()
        assert words in json.loads((rejects / f"{name}.json").read_text())["why"]
    assert {path.name for path in rejects.iterdir()} == {f"{name}{end}" for name in bad for end in ("", ".json")}
    assert {path.name for path in out.glob("*.*")} == good.keys() - bad.keys()
    for name in [*bad][1:]:
        (rows / name).write_bytes(good[name])
    assert "1 of 20 files" in refusal(rows, out, served)
    assert {path.name for path in rejects.iterdir()} == {"2020-01-02.parquet", "2020-01-02.parquet.json"}
    (rows / "2020-01-02.parquet").write_bytes(good["2020-01-02.parquet"])
    run(rows, out, served)
    assert [*rejects.iterdir()] == [] and len(written(out)) == 20


def test_a_file_that_has_become_bad_leaves_no_answers(rows: Path, out: Path, served: Path) -> None:
    run(rows, out, served)
    (rows / "2020-01-03.parquet").write_bytes(b"")
    assert "1 of 20 files" in refusal(rows, out, served)
    assert not (out / "2020-01-03.parquet").exists() and len([*out.glob("*.parquet")]) == 19


def test_a_file_that_changes_while_it_is_read_is_refused(
    rows: Path, out: Path, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing, predict = rows / "2020-01-03.parquet", Model.predict

    def grow(self: Model, table: Any) -> Any:
        os.utime(growing, ns=(0, 0))
        return predict(self, table)

    monkeypatch.setattr(Model, "predict", grow)
    assert "2020-01-03.parquet: has changed while it was read; run this again" in refusal(rows, out, served)
    monkeypatch.setattr(Model, "predict", predict)
    run(rows, out, served)
    assert len(written(out)) == 20


def test_personal_values_are_not_shown(rows: Path, out: Path, served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "rules", lambda: {"order_id": "hash", "amount": "omit"})
    path = rows / "2020-01-07.parquet"
    pl.read_parquet(path).with_columns(amount=pl.lit(-1.5)).write_parquet(path)
    said = refusal(rows, out, served)
    assert "`amount` is below 0 in 20 rows, such as order_id " in said
    assert "-1.5" not in said and "order-" not in said


# --- where rows and answers lie ---


def test_folders_within_folders_keep_their_names(rows: Path, out: Path, served: Path) -> None:
    deep = rows / "day=2020-01-03" / "part [1].parquet"
    deep.parent.mkdir()
    (rows / "2020-01-03.parquet").rename(deep)
    run(rows, out, served)
    found = written(out)
    assert len(found["day=2020-01-03/part [1].parquet"]) == len(found) == 20


def test_what_is_left_out_is_said(rows: Path, out: Path, served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("_SUCCESS", "_temporary/0/part.parquet", ".part.parquet", "README.md"):
        (rows / name).parent.mkdir(parents=True, exist_ok=True)
        (rows / name).write_text("x")
    run(rows, out, served)
    assert "4 files that are not called *.parquet, or begin with . or _: left out" in capsys.readouterr().out
    assert len(written(out)) == 20


@pytest.mark.parametrize(
    ("source", "to", "words"),
    [
        ("", "out", "say where the rows are, and where their answers go: make score SOURCE=folder OUT=folder"),
        ("the rows", "", "say where the rows are"),
        ("nowhere", "out", "SOURCE nowhere: there is no file *.parquet in it, nor any other file; check the spelling"),
        ("words", "out", "SOURCE words: there is no file *.parquet in it, of 1 file; check the spelling"),
        ("words/README.md", "out", "SOURCE words/README.md: is a file; name the folder that it lies in"),
        ("the rows", "the rows", "OUT the rows and SOURCE the rows are one folder, or one is in the other"),
        ("the rows", "the rows/scored", "are one folder, or one is in the other"),
        ("the rows", "./the rows/../the rows/.", "are one folder, or one is in the other"),
        ("link", "the rows/scored", "are one folder, or one is in the other"),
        ("the rows", ".", "are one folder, or one is in the other"),
        ("the rows", "words/README.md", "OUT words/README.md: is no folder"),
        ("gs://bucket/rows", "out", "SOURCE is gs://bucket/rows: gs:// needs the package gcsfs"),
        ("the rows", "what://bucket", "OUT is what://bucket: what:// is none of s3"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    source: str, to: str, words: str, rows: Path, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("the rows")
    Path("words").mkdir()
    Path("words/README.md").write_text("words")
    before = sorted(tmp_path.rglob("*"))
    assert words in refusal(source, to, served)
    assert {*tmp_path.rglob("*")} - {*before} <= {tmp_path / "out"}


def test_a_folder_of_the_rejects_name_is_refused(rows: Path, out: Path, served: Path) -> None:
    (rows / "rejects").mkdir()
    (rows / "2020-01-03.parquet").rename(rows / "rejects" / "2020-01-03.parquet")
    assert "has a folder rejects/, as OUT will have for what cannot be scored; rename it" in refusal(rows, out, served)


def test_no_model_is_said(rows: Path, out: Path, tmp_path: Path) -> None:
    assert "manifest.json cannot be read" in refusal(rows, out, tmp_path / "no model")


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a folder in an S3, whose address and credentials are in the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    return "s3://bucket/a folder"


def test_a_bucket_is_as_good_as_a_folder(
    bucket: str, rows: Path, out: Path, served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(rows, out, served)
    s3 = fsspec.filesystem("s3")
    s3.put(str(rows), f"{bucket}/rows", recursive=True)
    s3.pipe_file(f"{bucket}/rows/2020-01-03.parquet", b"")
    said = refusal(f"{bucket}/rows", f"{bucket}/out", served)
    assert "2020-01-03.parquet: has 0 bytes" in said
    assert s3.exists(f"{bucket}/out/rejects/2020-01-03.parquet.json")
    s3.put_file(str(rows / "2020-01-03.parquet"), f"{bucket}/rows/2020-01-03.parquet")
    capsys.readouterr()
    run(f"{bucket}/rows", f"{bucket}/out", served)
    assert "19 files of 20 scored already" in capsys.readouterr().out
    assert not s3.exists(f"{bucket}/out/rejects/2020-01-03.parquet.json")
    s3.get(f"{bucket}/out", str(out / "s3"), recursive=True)
    found = written(out / "s3")
    assert len(found) == 20 and all(table.equals(pl.read_parquet(out / name)) for name, table in found.items())
    assert "are one folder" in refusal(f"{bucket}/rows", f"{bucket}/rows/out", served)


# --- the command ---


class Screen(io.StringIO):
    """What somebody watches."""

    def isatty(self) -> bool:
        return True


def test_whoever_watches_sees_a_bar_and_others_a_line_a_file(
    rows: Path, out: Path, served: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(rows, out, served)
    said = capsys.readouterr()
    assert said.err == "" and len(re.findall(r"^2020-01-\d\d\.parquet: 20 rows$", said.out, re.M)) == 20
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    monkeypatch.setattr("pipeline.score.tqdm", partial(tqdm, mininterval=0, ncols=80))
    run(rows, out.with_name("others"), served)
    assert re.search(r"rows: +5\d%\|.+/s\]", screen.getvalue())
    assert "2020-01-" not in capsys.readouterr().out


def test_make_hands_on_what_stands_on_its_command_line_alone(tmp_path: Path) -> None:
    for name in ("Makefile", "environment.mk"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    given = ['SOURCE=my "rows" of $5\'s', "OUT=s3://bucket/answers"]
    shown = ["make", "--no-print-directory", "--dry-run", "--old-file=setup", "score", *given]
    out = subprocess.run(shown, cwd=tmp_path, capture_output=True, text=True, env={**environment, "MODEL": "shell's"})
    given = ['--source=my "rows" of $5\'s', "--out=s3://bucket/answers"]
    assert shlex.split(out.stdout) == ["python", "-m", "pipeline.score", *given]
