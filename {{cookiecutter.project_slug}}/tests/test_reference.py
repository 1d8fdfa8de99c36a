"""The reference: a sample of what the model saw, the same bytes each time, and nobody in it."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline import log, model, params, reference, rows
from pipeline.schema import ID, LABEL, TIME, feature_row
from tests.tables import knobs, workspace

INPUTS = feature_row((1, 7, 30))
DAYS = params.days(knobs())


class Scorer:
    """Stands for the exported model."""

    inputs = INPUTS

    def predict(self, table: pl.DataFrame) -> np.ndarray:
        return table["tx_amount"].to_numpy() / 1e4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workspace(tmp_path))
    monkeypatch.setattr(model, "load", lambda directory: Scorer())
    return tmp_path


def test_each_part_is_of_its_days(folder: Path) -> None:
    reference.main()
    table = pl.read_parquet(reference.REFERENCE)
    for part, span in ((reference.TRAIN, DAYS.train), (reference.TEST, DAYS.test)):
        of_part = table.filter(pl.col("part") == part)
        assert len(of_part) == len(rows.between(*span))
        assert (of_part["day"].min(), of_part["day"].max()) == span


def test_inputs_and_score_belong_together_and_nobody_is_in_it(folder: Path) -> None:
    reference.main()
    table = pl.read_parquet(reference.REFERENCE)
    assert table.columns == ["part", "day", *(column.name for column in INPUTS), "score"]
    assert not {ID, TIME, LABEL, "customer_id", "terminal_id"} & set(table.columns)
    assert table["score"].to_numpy() == pytest.approx(table["tx_amount"].to_numpy() / 1e4)


def test_what_the_log_leaves_out_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    personal = log.Policy({"tx_amount": log.HASH, "tx_during_night": log.OMIT}, 90)
    monkeypatch.setattr(log, "policy", lambda inputs: personal)
    reference.main()
    assert not {"tx_amount", "tx_during_night"} & set(pl.read_parquet(reference.REFERENCE).columns)


def test_twice_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "ROWS", 100)
    reference.main()
    once = reference.REFERENCE.read_bytes()
    reference.main()
    assert reference.REFERENCE.read_bytes() == once
    assert pl.read_parquet(reference.REFERENCE)["part"].value_counts().sort("part").rows() == [
        ("test", 100),
        ("train", 100),
    ]


def test_the_sample_is_uniform_and_in_order() -> None:
    table = pl.DataFrame({"row": np.arange(10_000)})
    drawn = reference.sample(table, 1_000)["row"]
    assert drawn.is_sorted() and drawn.n_unique() == 1_000
    each_tenth = np.bincount(drawn.to_numpy() // 1_000, minlength=10)
    assert ((each_tenth > 60) & (each_tenth < 140)).all()
    assert reference.sample(table, 10_000) is table


def test_the_delay_s_days_belong_to_no_part(folder: Path) -> None:
    reference.main()
    gap = DAYS.train[1] + timedelta(days=1)
    assert len(rows.between(gap, gap)) and gap not in pl.read_parquet(reference.REFERENCE)["day"].to_list()
