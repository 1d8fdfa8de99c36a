"""The champion and the model meet on the same rows and draws; rows that either has seen are found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import compare, evaluate, model, rows
from pipeline.model import Input, Problem
from pipeline.params import BadInput
from pipeline.rows import LABEL
from tests.tables import feature_rows, ours, problem
from tests.test_evaluate import ID, KNOBS, TEST, TIME, judged, said

INPUTS = (Input("amount", "number"), Input("größe €", "category", missing=True, levels=("groß",)))
DATA = {"train": ["2020-01-01", "2020-01-05"], "until": "2020-01-15"}


class Stub:
    """A model that scores by one number, in the place of the built-in runtime."""

    def __init__(self, files: Any, outputs: Sequence[str], threads: int) -> None:
        self.at = int(files["at"])

    def __call__(self, given: Mapping[str, np.ndarray]) -> model.Outputs:
        return said(given[model.NUMBERS][self.at] / 1e4)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """Judged rows, and a repository in which other rows were trained on; the working directory."""
    monkeypatch.setitem(model.RUNTIMES, "stub", Stub)
    monkeypatch.chdir(tmp_path)
    found = feature_rows()
    Path("reports").mkdir()
    remember(found.filter(pl.col(TIME) < TEST[0]), rows.TRAINED)
    write(compare.MODEL, "amount")
    return evaluate.judged(found, TEST, ours(), 7)


def remember(trained: pl.DataFrame, path: Path) -> None:
    rows.write_hashes(trained, ours(), path)


def write(directory: Path, column: str, asked: tuple[Input, ...] = INPUTS, of: Problem | None = None) -> None:
    inputs = asked if column in [each.name for each in asked] else (*asked, Input(column, "number"))
    at = [each.name for each in inputs if not each.text].index(column)
    about: dict[str, Any] = {"family": "linear", "processor": "any", "runtime": "stub"}
    about |= {"outputs": ["score", "alert"], "settled": {}, "files": {"at": str(at).encode()}}
    model.write(directory, problem=of or problem(), inputs=inputs, **about)


def promote(column: str, asked: tuple[Input, ...] = INPUTS, of: Problem | None = None, **data: Any) -> None:
    """Put a model that scores by `column` into production."""
    write(compare.PRODUCTION / "model", column, asked, of)
    (compare.PRODUCTION / "manifest.json").write_text(json.dumps({"data": DATA | data}))


def measured(table: pl.DataFrame) -> dict[str, Any]:
    knobs = KNOBS | {"resamples": 40, "slices": [{"column": "amount", "from": 50}]}
    return compare.measured(table, table[:0], model.load(compare.MODEL), ours(), knobs)


def test_without_a_champion_nothing_is_compared(table: pl.DataFrame) -> None:
    found = measured(table)
    assert found["champion"] is None and found["metrics"] == {} and found["rows"] == len(table)
    assert found["seen"] == {"model": {"rows": 0, "examples": []}}


def test_a_model_is_as_good_as_itself_on_every_draw(table: pl.DataFrame) -> None:
    promote("amount")
    found = measured(table)
    assert found["champion"]["digest"] == found["model"]
    for block in (found["metrics"], *([found["slices"][0][name]] for name in ("average_precision", "roc_auc"))):
        for metric in block.values() if isinstance(block, dict) else block:
            assert metric["difference"] == {"value": 0, "low": 0, "high": 0, "error": 0}


def test_the_differences_are_those_of_the_two_models(table: pl.DataFrame) -> None:
    promote("items")
    found, alone = measured(table), {}
    for name in ("amount", "items"):
        alone[name] = judged(table, table[name].to_numpy() / 1e4)["metrics"]
    for name, metric in found["metrics"].items():
        ours, theirs = (block[name]["value"] for block in alone.values())
        assert (metric["model"], metric["champion"]) == pytest.approx((ours, theirs), abs=1e-6)
        assert metric["difference"]["value"] == pytest.approx(ours - theirs, abs=1e-6)
        assert metric["difference"]["low"] <= metric["difference"]["value"] <= metric["difference"]["high"]
    assert found["metrics"]["roc_auc"]["difference"]["low"] > 0.1
    assert found["metrics"]["roc_auc"]["difference"]["error"] > 0


def test_drawing_for_both_at_once_is_sharper_than_for_each_alone(table: pl.DataFrame) -> None:
    test, draw = evaluate.as_test(table, ours(), {}), np.random.default_rng(0)
    score = table["amount"].to_numpy() / 1e4
    outs = {"model": said(score), "champion": said(score + 1e-4 * draw.random(len(score)))}
    knobs = KNOBS | {"resamples": 100}
    pair = compare.compare(test, table, outs, ours(), knobs)["metrics"]["average_precision"]["difference"]
    alone = judged(table, score, resamples=100)["metrics"]["average_precision"]
    assert pair["high"] - pair["low"] < (alone["high"] - alone["low"]) / 3


def test_a_champion_of_other_inputs_is_a_sentence(table: pl.DataFrame) -> None:
    promote("a_column_of_old")
    found = measured(table)
    assert found["metrics"] == {} and "a_column_of_old" in found["problem"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Input("größe €", "number"), "it takes größe € for a number, and here it is String"),
        (Input("express", "category"), "it takes express for a category, and here it is Boolean"),
    ],
)
def test_a_champion_that_takes_a_column_for_another_type_is_a_sentence(
    table: pl.DataFrame, other: Input, words: str
) -> None:
    promote("amount", (INPUTS[0], other))
    found = measured(table)
    assert found["metrics"] == {} and found["problem"] == f"the champion cannot score these rows: {words}"


def test_a_champion_that_asks_for_what_the_model_asks_for_has_to_score(table: pl.DataFrame) -> None:
    promote("amount")
    with pytest.raises(BadInput, match=r"features\.parquet: the champion cannot score.*größe € for a category"):
        measured(table.with_columns(pl.col("größe €").cast(pl.Categorical)))


def test_a_champion_of_another_format_is_a_sentence_and_is_known_by_its_days(table: pl.DataFrame) -> None:
    promote("amount", train=["2020-01-01", str(TEST[0])])
    remember(table[-2:], compare.PRODUCTION / "trained.parquet")
    path = compare.PRODUCTION / "model" / "manifest.json"
    path.write_text(json.dumps({"format": 1, "runtime": "onnx", "features": [], "files": {}}))
    found = measured(table)
    assert found["problem"] == "the champion is of format 1, and this code runs format 3 alone"
    assert found["metrics"] == {} and found["champion"]["digest"].startswith("sha256:")
    assert found["seen"]["champion"]["rows"] > 2 and found["seen"]["champion"]["hashed"]


def test_a_champion_of_another_task_is_a_sentence(table: pl.DataFrame) -> None:
    promote("amount", of=replace(problem(), task="regression"))
    found = measured(table)
    assert found["problem"] == (
        "the champion is of the task regression, and contract.yaml says binary: give the problem another name"
    )
    assert found["metrics"] == {} and found["champion"]


def test_the_champion_of_another_problem_is_none(table: pl.DataFrame) -> None:
    promote("amount", of=replace(problem(), name="late-orders", label="late"), train=["2020-01-01", str(TEST[1])])
    found = measured(table)
    assert found["champion"] is None and found["problem"] is None and found["seen"].keys() == {"model"}


@pytest.mark.parametrize("change", [{"name": "late-orders"}, {"label": "late"}])
def test_a_new_name_alone_or_a_new_identity_alone_escapes_no_champion(
    table: pl.DataFrame, change: dict[str, Any]
) -> None:
    write(compare.MODEL, "amount", of=replace(problem(), name="a-lie", label="none"))  # the contract says who it is
    promote("items", of=replace(problem(), **change))
    assert measured(table)["metrics"]["roc_auc"]["difference"]["low"] > 0.1


def test_a_damaged_champion_is_a_sentence(table: pl.DataFrame) -> None:
    promote("amount")
    (compare.PRODUCTION / "model" / "at").write_text("1")
    with pytest.raises(BadInput, match="fetch-production"):
        measured(table)


# Contamination


def test_rows_that_the_model_was_trained_on_are_found(table: pl.DataFrame) -> None:
    remember(table[3:8], rows.TRAINED)
    found = measured(table)["seen"]["model"]
    assert found["rows"] == 5 and found["examples"] == table[ID][3:6].to_list()


def test_rows_of_the_champions_training_days_or_hashes_are_found(table: pl.DataFrame) -> None:
    promote("amount")
    assert measured(table)["seen"]["champion"] == {"rows": 0, "examples": [], "hashed": False}
    promote("amount", train=["2020-01-01", str(TEST[0])])
    first_day = (table[TIME].dt.date() == TEST[0]).sum()
    assert measured(table)["seen"]["champion"]["rows"] == first_day > 0
    promote("amount")
    remember(table[-2:], compare.PRODUCTION / "trained.parquet")
    found = measured(table)["seen"]["champion"]
    assert found["rows"] == 2 and found["hashed"]
    pl.read_parquet(compare.PRODUCTION / "trained.parquet").write_parquet(compare.PRODUCTION / "trained.parquet")
    assert measured(table)["seen"]["champion"] == found | {"hashed": False}, "of columns that nobody knows"
    fewer = ours(columns=tuple(column for column in ours().columns if column.name != "a.b"))
    rows.write_hashes(table[-2:], fewer, compare.PRODUCTION / "trained.parquet")
    assert measured(table)["seen"]["champion"] == {"rows": 0, "examples": [], "hashed": False}


def test_a_row_is_known_by_what_the_source_says_of_it() -> None:
    table = feature_rows(50)
    known = rows.hashes(table, ours())
    assert len(set(known.tolist())) == 50
    same = table.with_columns(pl.col(ID) + "again", 1 - pl.col(LABEL), computed=pl.lit(0.3))
    assert (rows.hashes(same, ours()) == known).all()
    moved = pl.col(TIME).dt.offset_by("1s")
    for other in (pl.col("amount") + 0.01, pl.col("_entity") + 1, moved, pl.lit("groß?").alias("größe €")):
        assert not np.isin(rows.hashes(table.with_columns(other), ours()), known).any()
    further = table.with_columns(returned=pl.lit("No"), customer=pl.lit(1), **{"shoe size": pl.lit(7)})
    assert (rows.hashes(further, ours()) == known).all(), "columns that the contract has for no input move no hash"
    with pytest.raises(BadInput, match=r"features\.parquet: a\.b is not there, by which a row is known again"):
        rows.hashes(table.drop("a.b"), ours())


def test_no_hashes_are_a_sentence(table: pl.DataFrame) -> None:
    rows.TRAINED.unlink()
    with pytest.raises(BadInput, match="make model"):
        measured(table)
