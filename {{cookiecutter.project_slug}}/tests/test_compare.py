"""The champion and the model meet on the same rows and draws; rows that either has seen are found."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import compare, evaluate, model, rows
from pipeline.params import BadInput
from pipeline.schema import ID, LABEL, TIME, Column
from tests.tables import feature_rows
from tests.test_evaluate import KNOBS, TEST

INPUTS = ("tx_amount", "terminal_risk_7d")
MANIFEST = {"data": {"train": ["2020-01-01", "2020-01-05"], "until": "2020-01-15"}}


class Stub:
    """A model that scores by one column, in the place of the built-in runtime."""

    def __init__(self, files: Any, threads: int) -> None:
        self.column = files["column"].decode()

    def __call__(self, columns: Any) -> np.ndarray:
        return columns[self.column] / 1e4


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """Judged rows, and a repository in which other rows were trained on; the working directory."""
    monkeypatch.setitem(model.RUNTIMES, "stub", Stub)
    monkeypatch.chdir(tmp_path)
    found = feature_rows()
    Path("reports").mkdir()
    remember(found.filter(pl.col(TIME) < TEST[0]), rows.TRAINED)
    write(compare.MODEL, "tx_amount")
    return evaluate.judged(found, TEST, 7, 7)


def remember(trained: pl.DataFrame, path: Path) -> None:
    pl.DataFrame({"hash": rows.hashes(trained)}).write_parquet(path)


def write(directory: Path, column: str) -> None:
    inputs = [Column(name, "float64", None, None, "") for name in (*INPUTS, column)]
    model.write(directory, runtime="stub", inputs=inputs, files={"column": column.encode()})


def promote(column: str, **data: Any) -> None:
    """Put a model that scores by `column` into production."""
    write(compare.PRODUCTION / "model", column)
    (compare.PRODUCTION / "manifest.json").write_text(json.dumps({"data": MANIFEST["data"] | data}))


def measured(table: pl.DataFrame) -> dict[str, Any]:
    knobs = KNOBS | {"resamples": 40, "slices": [{"column": "tx_amount", "from": 50}]}
    return compare.measured(table, model.load(compare.MODEL), knobs)


def test_without_a_champion_nothing_is_compared(table: pl.DataFrame) -> None:
    found = measured(table)
    assert found["champion"] is None and found["metrics"] == {} and found["rows"] == len(table)
    assert found["seen"] == {"model": {"rows": 0, "examples": []}}


def test_a_model_is_as_good_as_itself_on_every_draw(table: pl.DataFrame) -> None:
    promote("tx_amount")
    found = measured(table)
    assert found["champion"]["digest"] == found["model"]
    for block in (found["metrics"], *([found["slices"][0][name]] for name in ("average_precision", "roc_auc"))):
        for metric in block.values() if isinstance(block, dict) else block:
            assert metric["difference"] == {"value": 0, "low": 0, "high": 0, "error": 0}


def test_the_differences_are_those_of_the_two_models(table: pl.DataFrame) -> None:
    promote("customer_avg_amount_7d")
    found, alone = measured(table), {}
    for name in ("tx_amount", "customer_avg_amount_7d"):
        alone[name] = evaluate.evaluate(table, {"model": table[name].to_numpy() / 1e4}, KNOBS)["metrics"]
    for name, metric in found["metrics"].items():
        ours, theirs = (block[name]["value"] for block in alone.values())
        assert (metric["model"], metric["champion"]) == pytest.approx((ours, theirs), abs=1e-6)
        assert metric["difference"]["value"] == pytest.approx(ours - theirs, abs=1e-6)
        assert metric["difference"]["low"] <= metric["difference"]["value"] <= metric["difference"]["high"]
    assert found["metrics"]["roc_auc"]["difference"]["low"] > 0.1
    assert found["metrics"]["roc_auc"]["difference"]["error"] > 0


def test_drawing_for_both_at_once_is_sharper_than_for_each_alone(table: pl.DataFrame) -> None:
    test, draw = evaluate.as_test(table), np.random.default_rng(0)
    score = table["tx_amount"].to_numpy() / 1e4
    scores = {"model": score, "champion": score + 1e-4 * draw.random(len(score))}
    knobs = KNOBS | {"resamples": 100}
    pair = compare.compare(test, table, scores, knobs)["metrics"]["average_precision"]["difference"]
    alone = evaluate.evaluate(table, {"model": score}, knobs)["metrics"]["average_precision"]
    assert pair["high"] - pair["low"] < (alone["high"] - alone["low"]) / 3


def test_a_champion_of_other_inputs_is_a_sentence(table: pl.DataFrame) -> None:
    promote("a_column_of_old")
    found = measured(table)
    assert found["metrics"] == {} and "a_column_of_old" in found["problem"]


def test_a_damaged_champion_is_a_sentence(table: pl.DataFrame) -> None:
    promote("tx_amount")
    (compare.PRODUCTION / "model" / "column").write_text("tx_during_night")
    with pytest.raises(BadInput, match="fetch-production"):
        measured(table)


# Contamination


def test_rows_that_the_model_was_trained_on_are_found(table: pl.DataFrame) -> None:
    remember(table[3:8], rows.TRAINED)
    found = measured(table)["seen"]["model"]
    assert found["rows"] == 5 and found["examples"] == table[ID][3:6].to_list()


def test_rows_of_the_champions_training_days_or_hashes_are_found(table: pl.DataFrame) -> None:
    promote("tx_amount")
    assert measured(table)["seen"]["champion"] == {"rows": 0, "examples": [], "hashed": False}
    promote("tx_amount", train=["2020-01-01", str(TEST[0])])
    first_day = (table[TIME].dt.date() == TEST[0]).sum()
    assert measured(table)["seen"]["champion"]["rows"] == first_day > 0
    promote("tx_amount")
    remember(table[-2:], compare.PRODUCTION / "trained.parquet")
    found = measured(table)["seen"]["champion"]
    assert found["rows"] == 2 and found["hashed"]


def test_a_row_is_known_by_what_the_source_says_of_it() -> None:
    table = feature_rows(50)
    known = rows.hashes(table)
    assert len(set(known.tolist())) == 50
    same = table.with_columns(pl.col(ID) + 1000, 1 - pl.col(LABEL), terminal_risk_7d=pl.lit(0.3))
    assert (rows.hashes(same) == known).all()
    assert (rows.hashes(same.with_columns(pl.col(TIME).cast(pl.Datetime("ns")))) == known).all()
    for other in (pl.col("tx_amount") + 0.01, pl.col("customer_id") + 1, pl.col(TIME).dt.offset_by("1s")):
        assert not np.isin(rows.hashes(table.with_columns(other)), known).any()


def test_hashes_are_the_same_on_every_machine() -> None:
    row = {ID: 1, TIME: [date(2020, 1, 1)], "customer_id": 7, "tx_amount": 12.5, LABEL: 0}
    assert rows.hashes(pl.DataFrame(row)).tolist() == [9471255043682247127]


def test_no_hashes_are_a_sentence(table: pl.DataFrame) -> None:
    rows.TRAINED.unlink()
    with pytest.raises(BadInput, match="make model"):
        measured(table)
