"""What another checkout has made is data: known files alone are taken, and of rows the source has the last word."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from pipeline import behaviour, candidate, compare, evaluate, ingest, model, params, rows, validate
from pipeline.params import BadInput
from pipeline.schema import ID, LABEL, SOURCE, TIME, Column, feature_row
from tests.tables import FIRST, ROOT, UNTIL, feature_rows, knobs, workspace, write_model

FURTHER = Column("customer_age_days", "int64", 0, None, "A feature that only the candidate knows")


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a checkout handed over, and with another one, `here`, in which nothing was made."""
    folder = tmp_path_factory.mktemp("checkouts")
    data = {"until": str(UNTIL), "source": str(source(folder / "days"))}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace(folder / "there", data=data))
        table = feature_rows().with_columns(pl.lit(7).alias(FURTHER.name))
        table.write_parquet(rows.FEATURES)
        write_model(Path("model"), (*feature_row((1, 7, 30)), FURTHER))
        Path("build").mkdir()
        scored = table.filter(pl.col(TIME).dt.date().is_between(*params.days(params.load()).test))
        scored.select(ID, random_forest=pl.col("tx_amount") / 1e5).write_parquet(candidate.BASELINES)
        candidate.BENTO.write_bytes(b"the service")
        candidate.hand_over(folder / "candidate")
    here = workspace(folder / "here", train={"hidden": [4]})
    for name in ("data", "pipeline"):
        shutil.rmtree(here / name)
    for name in ("behaviour.yaml", "schemas/behaviour.schema.json"):
        (here / "policies" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "policies" / name, here / "policies" / name)
    return folder


@pytest.fixture
def handed(checkouts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a checkout handed over; the working directory is another one, in which nothing was made."""
    for name in ("candidate", "here"):
        shutil.copytree(checkouts / name, tmp_path / name)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "candidate"


def source(folder: Path) -> Path:
    """A folder of daily files with the feature rows' transactions, and a row on each day of history before them."""
    folder.mkdir()
    table = feature_rows().with_columns(terminal_id=pl.lit(1)).select(column.name for column in SOURCE)
    for number in range((FIRST - params.days(knobs()).since).days):
        moment = pl.lit(FIRST - timedelta(days=number + 1)).cast(table.schema[TIME]).alias(TIME)
        early = table[:1].with_columns(pl.lit(10**6 + number, table.schema[ID]).alias(ID), moment)
        table = pl.concat([table, early])
    for (day,), part in table.group_by(pl.col(TIME).dt.date()):
        part.write_parquet(folder / f"{day}.parquet")
    return folder


def change(path: Path, how: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    how(pl.read_parquet(path)).write_parquet(path)


# --- what is taken ---


def test_the_files_arrive_as_they_are_and_the_knobs_are_theirs(handed: Path) -> None:
    candidate.take(handed)
    names = {str(path.relative_to(handed)) for path in handed.rglob("*") if path.is_file()}
    assert names == {
        *(
            "params.yaml",
            "policies/evaluation.yaml",
            "data/features.parquet",
            "build/baselines.parquet",
            "build/service.bento",
        ),
        *("model/manifest.json", "model/model.onnx"),
    }
    assert all(Path(name).read_bytes() == (handed / name).read_bytes() for name in names - {str(params.EVALUATION)})
    assert params.load()["train"]["hidden"] == [8]


def test_how_long_it_learned_is_the_candidates_to_say_and_how_it_is_tested_is_not(handed: Path) -> None:
    theirs, before = yaml.safe_load((handed / params.EVALUATION).read_text()), params.load()
    asked = before["split"]["test"]
    theirs |= {"split": {"train": 3, "test": asked + 2}, "evaluate": {"slices": []}}
    (handed / params.EVALUATION).write_text(yaml.safe_dump(theirs))
    candidate.take(handed)
    assert params.load()["split"] == {"train": 3, "test": asked}
    assert params.load()["evaluate"] == before["evaluate"]
    theirs["split"]["test"] = asked - 1
    (handed / params.EVALUATION).write_text(yaml.safe_dump(theirs))
    with pytest.raises(BadInput, match=f"leaves {asked - 1} days to its test, and {asked} are tested here"):
        candidate.take(handed)


def test_rows_that_the_source_does_not_have_go(taken: None) -> None:
    before = len(pl.read_parquet(rows.FEATURES))
    strange = pl.lit(-5, pl.Int64).alias(ID)
    change(rows.FEATURES, lambda table: pl.concat([table, table[-1:].with_columns(strange)]))
    candidate.join()
    assert len(pl.read_parquet(rows.FEATURES)) == before


def a_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


def a_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/hostname")


def a_folder(path: Path) -> None:
    path.unlink()
    a_file(path / "inside")


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("pipeline/evaluate.py", a_file, "pipeline/evaluate.py is no part of it"),
        ("requests.py", a_file, "requests.py is no part of it"),
        ("model/__init__.py", a_file, "model/__init__.py is no part of it"),
        ("model/inside/model.onnx", a_file, "model/inside/model.onnx is no part of it"),
        ("metrics.json", a_file, "metrics.json is no part of it"),
        ("params.yaml", a_link, "candidate/params.yaml is a link"),
        ("model/more", a_link, "candidate/model/more is a link"),
        ("pipe", os.mkfifo, "candidate/pipe is a link or no plain file"),
        ("build/service.bento", a_folder, "build/service.bento is missing"),
        ("data/features.parquet", Path.unlink, "data/features.parquet is missing"),
        ("model/manifest.json", Path.unlink, "model/manifest.json is no manifest of a model"),
        ("model/manifest.json", a_file, "model/manifest.json is no manifest of a model"),
        ("model/model.onnx", Path.unlink, "model/model.onnx is missing"),
    ],
)
def test_anything_else_is_refused_and_nothing_taken(
    handed: Path, name: str, make: Callable[[Path], None], sentence: str
) -> None:
    make(handed / name)
    before = Path("params.yaml").read_bytes()
    with pytest.raises(BadInput, match=sentence):
        candidate.take(handed)
    assert Path("params.yaml").read_bytes() == before and not Path("model").exists()


@pytest.mark.parametrize("name", ["../pipeline/model.py", "/etc/hostname", ".."])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(handed: Path, name: str) -> None:
    (handed / "model/manifest.json").write_text(json.dumps({"files": {name: "0"}}))
    with pytest.raises(BadInput, match="is no manifest of a model|is no candidate"):
        candidate.take(handed)


def test_a_file_too_large_is_refused(handed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(candidate.LARGEST, candidate.BENTO, 10)
    with pytest.raises(BadInput, match="build/service.bento has 11 bytes; at most 10 are taken"):
        candidate.take(handed)


@pytest.mark.parametrize("folder", ["nowhere", "params.yaml", "link"])
def test_what_is_no_folder_is_refused(handed: Path, folder: str) -> None:
    Path("link").symlink_to(handed)
    with pytest.raises(
        BadInput, match=f"{folder} is no folder; name the one that `python -m pipeline.candidate hand-over"
    ):
        candidate.take(Path(folder))


# --- who the rows are ---


def measured() -> dict[str, Any]:
    """What `make measure` measures in a checkout in which nothing was made before, but of the service."""
    ingest.main([])
    for main in (validate.main, candidate.join, evaluate.main, compare.main, behaviour.main):
        main()
    return json.loads(evaluate.METRICS.read_text())


@pytest.fixture
def taken(handed: Path) -> None:
    candidate.take(handed)
    ingest.main([])


@pytest.mark.slow
def test_a_candidate_with_a_further_feature_is_measured_and_its_word_on_labels_is_not_taken(handed: Path) -> None:
    candidate.take(handed)
    honest = measured()
    assert honest["model"]["digest"] == model.load("model").digest and len(honest["baselines"]) == 1
    cases = json.loads(behaviour.BEHAVIOUR.read_text())["cases"]
    assert FURTHER.name in {case.get("column") for case in cases}
    hashes = pl.read_parquet(rows.TRAINED)["hash"]
    assert hashes.equals(pl.Series("hash", sorted(hashes))) and len(hashes) == honest["data"]["train_rows"]
    flattering = pl.when(pl.col("tx_amount") > 220).then(1).otherwise(0).alias(LABEL)
    change(handed / rows.FEATURES, lambda table: table.with_columns(flattering, customer_id=pl.lit(1)))
    change(handed / rows.FEATURES, lambda table: table.with_columns(pl.col(TIME).dt.offset_by("-1y")).reverse())
    candidate.take(handed)
    assert measured() == honest


def day(number: int) -> pl.Expr:
    """The rows of a day of January."""
    return pl.col(TIME).dt.day() == number


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (lambda table: table.filter(~day(19)), "rows of 2020-01-01 to 2020-01-20 are missing, the first with"),
        (lambda table: table.filter(~day(5)), "are missing"),
        (lambda table: table.filter(~day(14)), "are missing"),  # between training and test: it makes cards known
        (lambda table: table[:-1], "1 rows of .* are missing"),
        (lambda table: pl.concat([table, table[-1:]]), "1 rows are there more than once"),
        (lambda table: table.with_columns(pl.col(ID).cast(pl.String)), "transaction_id is String, and Int64 in"),
        (lambda table: table.drop(ID), "transaction_id is not there"),
    ],
)
def test_no_row_is_left_out_of_its_own_exam(how: Callable[[pl.DataFrame], pl.DataFrame], sentence: str) -> None:
    change(rows.FEATURES, how)
    with pytest.raises(BadInput, match=f"data/features.parquet: .*{sentence}"):
        candidate.join()
    assert not rows.TRAINED.exists()


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (lambda table: table.with_columns(model=pl.col("random_forest")), "'model' is no column of a baseline's"),
        (lambda table: table.with_columns(label=pl.col("random_forest")), "'label' is no column of a baseline's"),
        (lambda table: table.with_columns(random_forest=pl.lit("0.5")), "'random_forest' is no column of a baseline's"),
        (lambda table: table[:-2], "2 test rows have no score"),
        (lambda table: table.with_columns(random_forest=pl.lit(float("nan"))), "test rows have no score"),
        (lambda table: pl.concat([table, table[:1]]), "has to be there once"),
    ],
)
def test_baselines_score_each_row_and_stand_in_for_nothing(
    how: Callable[[pl.DataFrame], pl.DataFrame], sentence: str
) -> None:
    change(candidate.BASELINES, how)
    with pytest.raises(BadInput, match=f"build/baselines.parquet: .*{sentence}"):
        candidate.join()


@pytest.mark.usefixtures("taken")
def test_a_column_of_the_source_is_the_sources_where_the_model_does_not_ask_for_it() -> None:
    """So that no group of people is another one."""
    change(rows.FEATURES, lambda table: table.with_columns(terminal_id=pl.lit("7"), tx_amount=pl.col("tx_amount") / 2))
    write_model(Path("model"), (*feature_row((1, 7, 30)), Column("customer_id", "int64", 0, None, "")))
    change(rows.FEATURES, lambda table: table.with_columns(customer_id=pl.int_range(pl.len())))  # who it is, always
    before = pl.read_parquet(rows.FEATURES)["tx_amount"].sum()
    candidate.join()
    table = pl.read_parquet(rows.FEATURES)
    assert set(table["terminal_id"]) == {1} and table["customer_id"].n_unique() == 150
    assert table["tx_amount"].sum() == pytest.approx(before)


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("name", [ID, LABEL])
def test_a_model_that_asks_for_what_nobody_knows_is_refused(name: str) -> None:
    write_model(Path("model"), (*feature_row((1, 7, 30)), Column(name, "int64", 0, 1, "")))
    with pytest.raises(BadInput, match=f"model asks for {name}, which is not known"):
        candidate.join()


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("path", [rows.FEATURES, candidate.BASELINES], ids=str)
def test_a_damaged_table_is_a_sentence(path: Path) -> None:
    path.write_bytes(b"PAR1" + path.read_bytes()[4:-40] + b"PAR1")
    with pytest.raises(BadInput, match=f"{path} cannot be read"):
        candidate.join()


def test_only_what_is_there_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace(tmp_path / "repo"))
    write_model(Path("model"))
    with pytest.raises(BadInput, match="build/baselines.parquet is not there to be handed over"):
        candidate.hand_over(tmp_path / "candidate")


@pytest.mark.usefixtures("taken")
def test_the_knobs_are_data() -> None:
    Path("params.yaml").write_text("data: !!python/object/apply:os.system [touch run]")
    with pytest.raises(BadInput, match="^params.yaml: cannot be read .*could not determine a constructor"):
        candidate.join()
    assert not Path("run").exists()


@pytest.mark.parametrize("gates", ["data model behaviour service", "data model behaviour", "service"])
def test_everything_is_measured_before_anything_is_judged(gates: str) -> None:
    dry = ["make", "--dry-run", "--old-file=setup", "measure", f"GATES={gates}"]
    done = subprocess.run(dry, cwd=ROOT, check=True, capture_output=True, text=True)
    *measures, judges = re.findall(r"^python -m pipeline\.(.*)", done.stdout, re.MULTILINE)
    assert judges == f"policy {gates}" and not any(each.startswith("policy") for each in measures)
    assert ("probe" in measures) is ("service" in gates), "the Bento is code, and may be kept apart"
    assert ("candidate join" in measures) is ("model" in gates)
