"""What another checkout has made is data: known files alone are taken, and of rows the source has the last word."""

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from pipeline import (
    behaviour,
    candidate,
    compare,
    contract,
    evaluate,
    ingest,
    model,
    params,
    profile,
    rows,
    tasks,
    validate,
)
from pipeline import source as listing
from pipeline.contract import Column
from pipeline.model import Input
from pipeline.params import BadInput
from pipeline.rows import ENTITY, LABEL
from tests import tables
from tests.tables import ROOT, UNTIL, feature_rows, inputs, ours, source, workspace, write_model

FURTHER = Input("age in days", "integer", minimum=0)  # that only the candidate knows
ID, TIME = ours().id, ours().time


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a checkout handed over, and with another one, `here`, in which nothing was made."""
    folder = tmp_path_factory.mktemp("checkouts")
    data = {"until": str(UNTIL), "source": str(daily(folder / "days"))}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace(folder / "there", data=data, evaluate={"alerts": 0.082}))
        table = feature_rows().with_columns(pl.lit(7).alias(FURTHER.name))
        table.write_parquet(rows.FEATURES)
        further("contract.yaml")
        write_model(Path("model"), (*inputs(), FURTHER))
        Path("build").mkdir()
        scored = table.filter(pl.col(TIME).dt.date().is_between(*params.days(params.load(), 2).test))
        trees = tasks.kept("trees", tables.said(scored["amount"].to_numpy() / 1e5))
        scored.select(pl.col(ID).alias(rows.ID)).with_columns(trees).write_parquet(candidate.BASELINES)
        candidate.BENTO.write_bytes(b"the service")
        told = {"model": model.load(Path("model")).digest, "columns": {}}
        profile.PROFILE.parent.mkdir(exist_ok=True)
        profile.PROFILE.write_text(json.dumps(told))
        candidate.hand_over(folder / "candidate")
    here = workspace(folder / "here", train={"family": "constant"})
    for name in ("data", "pipeline"):
        shutil.rmtree(here / name)
    (here / "policies" / "behaviour.yaml").write_text(yaml.safe_dump(CASES))
    return folder


def further(path: str | Path) -> None:
    """A contract that has the column, as the request's."""
    said = yaml.safe_load(Path(path).read_text())
    said["columns"][FURTHER.name] = {"type": "integer", "range": [0, None]}
    Path(path).write_text(yaml.safe_dump(said, sort_keys=False, allow_unicode=True))


CASES = {
    "rows": 30,
    "functionality": [{"case": "A large one", "row": {"amount": 400}, "above": 0.5, "share": 1}],
    "invariance": [],
    "direction": [],
    "reliance": {"by": 0},
}


@pytest.fixture
def handed(checkouts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a checkout handed over; the working directory is another one, in which nothing was made."""
    for name in ("candidate", "here"):
        shutil.copytree(checkouts / name, tmp_path / name)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "candidate"


def daily(folder: Path) -> Path:
    """A folder of daily files with the source's rows."""
    folder.mkdir()
    for (day,), part in source().group_by(pl.col(TIME).dt.date()):
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
            "contract.yaml",
            "data/features.parquet",
            "build/baselines.parquet",
            "build/service.bento",
            "reports/profile.json",
        ),
        *("model/manifest.json", "model/model.onnx"),
    }
    ours = {str(params.EVALUATION), "contract.yaml"}
    assert all(Path(name).read_bytes() == (handed / name).read_bytes() for name in names - ours)
    assert FURTHER.name not in Path("contract.yaml").read_text(), "the contract that measures is this checkout's"
    assert params.load()["train"]["family"] == "linear"


def test_how_long_it_learned_is_the_candidates_to_say_and_how_it_is_tested_is_not(handed: Path) -> None:
    theirs, before = yaml.safe_load((handed / params.EVALUATION).read_text()), params.load()
    asked = before["split"]["test"]
    theirs |= {"split": {"train": 3, "calibrate": 1, "test": asked + 2}, "evaluate": {"slices": [], "alerts": 0.3}}
    (handed / params.EVALUATION).write_text(yaml.safe_dump(theirs))
    candidate.take(handed)
    assert params.load()["split"] == {"train": 3, "calibrate": 1, "test": asked}
    assert params.load()["evaluate"] == before["evaluate"] | {"alerts": 0.3}
    theirs["split"]["test"] = asked - 1
    (handed / params.EVALUATION).write_text(yaml.safe_dump(theirs))
    with pytest.raises(BadInput, match=f"leaves {asked - 1} days to its test, and {asked} are tested here"):
        candidate.take(handed)


def test_which_classes_there_are_is_the_requests_contract_to_say(handed: Path) -> None:
    whole = yaml.safe_load(Path("contract.yaml").read_text())

    def several(path: Path, *classes: str) -> None:
        label = {"column": "returned", "classes": list(classes), "delay": 2}
        path.write_text(yaml.safe_dump(whole | {"task": "multiclass", "label": label}, sort_keys=False))

    several(Path("contract.yaml"), "Yes", "No", "Late")
    for classes in (("Late", "No", "Yes"), ("Yes", "No", "Late", "Never")):
        several(handed / "contract.yaml", *classes)
        candidate.classes(handed / "contract.yaml")
        assert contract.load().label.values == classes and contract.load().columns == ours().columns
    Path("contract.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    candidate.classes(handed / "contract.yaml")
    assert contract.load().task == "binary", "another task is another problem"


def test_rows_that_the_source_does_not_have_go(taken: None) -> None:
    candidate.join()
    before = len(pl.read_parquet(rows.FEATURES))
    strange = pl.lit("nobody").alias(ID)
    change(rows.FEATURES, lambda table: pl.concat([table, table[-1:].with_columns(strange)]))
    candidate.join()
    assert len(pl.read_parquet(rows.FEATURES)) == before > 0


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
        ("reports/profile.json", Path.unlink, "reports/profile.json is missing"),
        ("reports/profile.json", a_file, "reports/profile.json: is no profile"),
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"problem": {"name": "late"}}, "problem.name is 'late', and contract.yaml says 'returned-orders'; export"),
        ({"problem": {"label": "late"}}, "problem.label is 'late', and contract.yaml says 'returned'"),
        ({"problem": {"positive": True}}, "problem.positive is true, and contract.yaml says 'Yes'"),
        ({"problem": {"delay": 2.0}}, "problem.delay is 2.0, and contract.yaml says 2"),
        ({"family": "trees"}, "family is 'trees', and params.yaml says 'linear'"),
        (
            {"inputs": {"amount": {"type": "integer"}}},
            "inputs.amount.type is 'integer', and contract.yaml says 'number'",
        ),
        ({"inputs": {"amount": {"missing": True}}}, "inputs.amount.missing is true, and contract.yaml says false"),
        ({"inputs": {"amount": {"maximum": None}}}, "inputs.amount.maximum is empty, and contract.yaml says 100000"),
        (
            {"inputs": {"model_config": {"categories": None}}},
            "inputs.model_config.categories is empty, and contract",
        ),
        (
            {"inputs": {"age in days": {"name": "amount"}}},
            "inputs.age in days is 'no input', and contract.yaml says 'an in",
        ),
        (
            {"inputs": {"age in days": {"name": "shoe size"}}},
            "inputs.shoe size is 'an input', and contract.yaml says 'no",
        ),
        (
            {"inputs": {"amount": {"name": "items"}, "items": {"name": "amount"}}},
            "the order of inputs is 'items, amount",
        ),
    ],
)
def test_a_model_says_what_its_contract_says(handed: Path, change: dict[str, Any], words: str) -> None:
    said = json.loads((handed / "model/manifest.json").read_text())
    changed = [column | change.get("inputs", {}).get(column["name"], {}) for column in said["inputs"]]
    whole = {name: said[name] | value if name == "problem" else value for name, value in change.items()}
    (handed / "model/manifest.json").write_text(json.dumps(said | whole | {"inputs": changed}))
    with pytest.raises(BadInput, match=rf"model/manifest\.json: {re.escape(words)}"):
        candidate.take(handed)
    assert not Path("model").exists()


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
    listing.main([])
    for main in (ingest.main, validate.main, candidate.join, evaluate.main, compare.main, behaviour.main):
        main()
    return json.loads(evaluate.METRICS.read_text())


@pytest.fixture
def taken(handed: Path) -> None:
    candidate.take(handed)
    listing.main([])
    ingest.main()


@pytest.mark.slow
def test_a_candidate_with_a_further_feature_is_measured_and_its_word_on_labels_is_not_taken(handed: Path) -> None:
    candidate.take(handed)
    honest = measured()
    assert honest["model"]["digest"] == model.load("model").digest and len(honest["baselines"]) == 1
    cases = json.loads(behaviour.BEHAVIOUR.read_text())["cases"]
    assert FURTHER.name in {case.get("column") for case in cases}
    hashes = pl.read_parquet(rows.TRAINED)["hash"]
    assert hashes.equals(pl.Series("hash", sorted(hashes))) and len(hashes) == honest["data"]["train_rows"]
    flattering = pl.when(pl.col("amount") > 220).then(1.0).otherwise(0.0).alias(LABEL)
    nobody = {ENTITY: pl.lit(1), "_weight": pl.lit(9.0), "_first": pl.lit(UNTIL)}
    change(handed / rows.FEATURES, lambda table: table.with_columns(flattering, **nobody))
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
        (lambda table: table.filter(~day(19)), "rows of 2020-01-06 to 2020-01-20 are missing, the first with"),
        (lambda table: table.filter(~day(6)), "are missing"),
        (lambda table: table.filter(~day(16)), "are missing"),  # between training and test: it makes entities known
        (lambda table: table[:-1], "1 rows of .* are missing"),
        (lambda table: pl.concat([table, table[-1:]]), "1 rows are there more than once"),
        (lambda table: table.with_columns(pl.col(ID).cast(pl.Categorical)), "order_id is Categorical, and String in"),
        (lambda table: table.drop(ID), "order_id is not there"),
    ],
)
def test_no_row_is_left_out_of_its_own_exam(how: Callable[[pl.DataFrame], pl.DataFrame], sentence: str) -> None:
    change(rows.FEATURES, how)
    with pytest.raises(BadInput, match=f"data/features.parquet: .*{sentence}"):
        candidate.join()
    assert not rows.TRAINED.exists()


NOBODY = "trees says what no model of the task binary may say"


def said(table: pl.DataFrame, score: float) -> pl.Series:
    """What trees say that say the same of every row."""
    return tasks.kept("trees", tables.said(np.full(len(table), score)))


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (lambda table: table.with_columns(model=pl.col("trees")), "'model' is no column of a baseline's"),
        (
            lambda table: table.with_columns(pl.col("trees").alias("approved by acme")),
            "'approved by acme' is no column",
        ),
        (lambda table: table.with_columns(_label=pl.col("trees")), "'_label' is no column of a baseline's"),
        (lambda table: table.with_columns(trees=pl.lit("0.5")), NOBODY),
        (lambda table: table[:-2], "nothing is said of 2 test rows"),
        (
            lambda table: table.with_columns(said(table, math.nan)),
            NOBODY,
        ),
        (lambda table: table.with_columns(said(table, 1.1)), NOBODY),
        (lambda table: table.with_columns(trees=None), NOBODY),
        (lambda table: pl.concat([table, table[:1]]), "has to be there once"),
    ],
)
def test_baselines_score_each_row_and_stand_in_for_nothing(
    how: Callable[[pl.DataFrame], pl.DataFrame], sentence: str
) -> None:
    change(candidate.BASELINES, how)
    with pytest.raises(BadInput, match=f"build/baselines.parquet: .*{sentence}"):
        candidate.join()


def test_an_identifier_may_be_called_as_a_family_is() -> None:
    tested = pl.DataFrame({rows.ID: ["a"]})
    columns = (*ours().columns, Column("trees", "text"))
    scores, named = tested.with_columns(said(tested, 0.5)), ours(id="trees", columns=columns)
    candidate.check_baselines(scores, tested, named)
    with pytest.raises(BadInput, match="each trees has to be there once, as _id"):
        candidate.check_baselines(scores.rename({rows.ID: "order"}), tested, named)


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("computed", [False, True])
def test_a_column_of_the_source_is_the_sources_where_it_is_not_computed(
    monkeypatch: pytest.MonkeyPatch, computed: bool
) -> None:
    """So that no group of people is another one, and no input says the label."""
    if computed:
        contract = ours(computed=ours().inputs)
        monkeypatch.setattr(candidate.contract, "load", lambda: contract)
    false = {"shoe size": pl.lit("7"), "amount": pl.col("amount") / 2, ENTITY: pl.int_range(pl.len())}
    change(rows.FEATURES, lambda table: table.with_columns(**false))
    candidate.join()
    table = pl.read_parquet(rows.FEATURES)
    expected = source().select(ID, "shoe size", "customer")
    expected = table.select(ID).join(expected, on=ID, how="left", maintain_order="left")
    assert table["shoe size"].equals(expected["shoe size"]) and table[ENTITY].equals(expected["customer"].alias(ENTITY))
    span = table[TIME].dt.date()
    assert span.min() == params.days(params.load(), 2).train[0]
    truth = table.select(ID).join(feature_rows(), on=ID, how="left", maintain_order="left").rename({"amount": "true"})
    assert table["amount"].equals(truth["true"].alias("amount") / (2 if computed else 1))
    assert all(table[name].equals(truth[name]) for name in ("born", "größe €", "a.b"))
    assert computed or pl.read_parquet(rows.TRAINED)["hash"].to_list() == sorted(
        rows.hashes(truth.rename({"true": "amount"}).filter(span <= params.days(params.load(), 2).train[1]), ours())
    )


@pytest.mark.usefixtures("taken")
def test_a_candidate_that_does_without_a_column_of_the_source_is_joined() -> None:
    """By a contract of its own; the champion asks for it, and a row is known by it."""
    change(rows.FEATURES, lambda table: table.drop("items", "born"))
    write_model(Path("model"), tuple(column for column in inputs() if column.name not in ("items", "born")))
    candidate.join()
    table = pl.read_parquet(rows.FEATURES)
    truth = table.select(ID).join(feature_rows(), on=ID, how="left", maintain_order="left")
    assert table["items"].equals(truth["items"]) and table["born"].equals(truth["born"])


@pytest.mark.usefixtures("taken")
def test_the_contract_is_this_checkouts() -> None:
    """Weights, entities and what is positive are no candidate's to say; unknown labels stay unknown."""
    said = yaml.safe_load(Path("contract.yaml").read_text())
    said["weight"] = "items"
    del said["entity"]
    Path("contract.yaml").write_text(yaml.safe_dump(said))
    change(rows.SOURCE, lambda table: table.with_columns(returned=pl.when(pl.col("customer") != 3).then("returned")))
    candidate.join()
    table = pl.read_parquet(rows.FEATURES)
    assert ENTITY not in table.columns and table["_weight"].to_list() == table["items"].cast(pl.Float64).to_list()
    unknown = source().filter(pl.col("customer") == 3).join(table, on=ID, how="semi")[ID]
    assert table.filter(pl.col(LABEL).is_null())[ID].equals(unknown) and len(unknown) > 0


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("name", [ID, "returned", LABEL, ENTITY, "_first"])
def test_a_model_that_asks_for_what_nobody_knows_is_refused(name: str) -> None:
    write_model(Path("model"), (*inputs(), Input(name, "integer")))
    with pytest.raises(BadInput, match=f"model asks for {name}, which is not known"):
        candidate.join()


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("path", [rows.FEATURES, candidate.BASELINES], ids=str)
def test_a_damaged_table_is_a_sentence(path: Path) -> None:
    path.write_bytes(b"PAR1" + path.read_bytes()[4:-40] + b"PAR1")
    with pytest.raises(BadInput, match=f"{path} cannot be read"):
        candidate.join()


def test_nothing_is_handed_over_in_the_place_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace(tmp_path / "repo"))
    with pytest.raises(BadInput, match="holds .*, which is nobody's to remove; name an empty folder"):
        candidate.hand_over(Path())
    assert Path("params.yaml").exists()


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
