"""Importance finds the inputs that matter, and reasons add up to the score."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import evaluate, explain
from pipeline.model import Model
from pipeline.schema import ID, LABEL, Column
from tests.tables import feature_rows
from tests.test_evaluate import TEST

INPUTS = ("tx_amount", "terminal_risk_7d", "tx_during_night")
KNOBS = {"seed": 0, "repeats": 3, "rows": 10, "draws": 50, "reasons": 2}


def score(columns: Any) -> np.ndarray:
    """Amount above all, risk too and more so at large amounts, night never."""
    amount, risk = columns["tx_amount"] / 1000, columns["terminal_risk_7d"]
    return np.clip(0.7 * amount + 0.1 * risk + 0.3 * amount * risk, 0, 1)


SCORER = Model(tuple(Column(name, "float64", None, None, "") for name in INPUTS), "sha256:0", score)


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return evaluate.judged(feature_rows(), TEST, 7, 7)


@pytest.fixture(scope="module")
def said(table: pl.DataFrame) -> dict[str, Any]:
    return explain.explain(SCORER, table, KNOBS)


def test_importance_is_what_average_precision_loses(said: dict[str, Any]) -> None:
    falls = said["importance"]
    assert list(falls) == ["tx_amount", "terminal_risk_7d", "tx_during_night"]
    assert falls["tx_amount"]["value"] > 0.2 and falls["terminal_risk_7d"]["value"] > 0.01
    assert falls["tx_during_night"] == {"value": 0, "low": 0, "high": 0}
    assert falls["tx_amount"]["low"] <= falls["tx_amount"]["value"] <= falls["tx_amount"]["high"]


def test_the_most_suspicious_and_the_most_wrong_rows_are_explained(said: dict[str, Any], table: pl.DataFrame) -> None:
    scores = SCORER.predict(table)
    assert [row["score"] for row in said["suspicious"]] == sorted(scores, reverse=True)[:10]
    wrong = np.abs(table[LABEL].to_numpy() - scores)
    assert [abs(row["label"] - row["score"]) for row in said["wrong"]] == sorted(wrong, reverse=True)[:10]
    first = said["suspicious"][0]
    assert first["reasons"][0]["column"] == "tx_amount"
    assert first["reasons"][0]["value"] == table.filter(pl.col(ID) == first["id"])["tx_amount"].item()


def test_reasons_are_shapley_values() -> None:
    """Against the average over every order, from one background row; with many draws from many, sums add up."""
    columns = {"tx_amount": np.array([800.0]), "terminal_risk_7d": np.array([1.0]), "tx_during_night": np.array([1.0])}
    origin = {name: np.zeros(1) for name in columns}
    (added,) = explain.contributions(SCORER, columns, origin, 400, np.random.default_rng(0))
    both = 0.3 * 0.8  # what amount and risk do together, shared equally
    assert added == pytest.approx([0.7 * 0.8 + both / 2, 0.1 + both / 2, 0], abs=0.02)
    assert added.sum() == pytest.approx(score(columns)[0])


def test_the_same_model_is_explained_the_same(said: dict[str, Any], table: pl.DataFrame) -> None:
    assert explain.explain(SCORER, table, KNOBS) == said
