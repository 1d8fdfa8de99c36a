"""What the trained model has to do, whatever its metrics, where policies/behaviour.yaml lacks the words for it.

A change of single columns is a case there, without Python; here are the model itself, and rows whose columns go
together. These tests read model/ and data/features.parquet; `make pipeline` makes both.
"""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline import params
from pipeline.model import Model, load
from pipeline.schema import ENTITY, ID, LABEL, TIME

MODEL, FEATURES = Path("model"), Path("data/features.parquet")
ROWS = 2000
WINDOWS = params.load()["features"]["windows"]
RISKS = [f"terminal_risk_{days}d" for days in WINDOWS]
SEEN = [f"terminal_nb_tx_{days}d" for days in WINDOWS]
MEANS = [f"customer_avg_amount_{days}d" for days in WINDOWS]


@pytest.fixture(scope="module")
def model() -> Model:
    if not MODEL.exists():
        pytest.skip("there is no trained model here; make one with `make pipeline`")
    return load(MODEL)


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Test rows: never seen in training."""
    if not FEATURES.exists():
        pytest.skip(f"there is no {FEATURES} here; make it with `make pipeline`")
    first, last = params.days(params.load()).test
    table = pl.read_parquet(FEATURES).filter(pl.col(TIME).dt.date().is_between(first, last))
    return table.sample(min(ROWS, len(table)), seed=0)


@pytest.fixture(scope="module")
def ordinary(rows: pl.DataFrame) -> pl.DataFrame:
    """Ordinary payments: about as large as the customer's mean, at terminals without a known fraud."""
    usual = pl.all_horizontal(pl.col("tx_amount") < 1.5 * pl.col(mean) for mean in MEANS)
    table = rows.filter(usual & (pl.col("tx_amount") < 100) & pl.all_horizontal(pl.col(risk) == 0 for risk in RISKS))
    if table.is_empty():
        pytest.skip("the test days hold no ordinary payment")
    return table


# The model itself


def test_the_digest_is_the_manifests(model: Model) -> None:
    assert model.digest == f"sha256:{hashlib.sha256((MODEL / 'manifest.json').read_bytes()).hexdigest()}"


def test_scores_are_probabilities(model: Model, rows: pl.DataFrame) -> None:
    scores = model.predict(rows)
    assert np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1
    assert len(np.unique(scores)) > 1


# Invariance


def test_who_and_when_do_not_matter(model: Model, rows: pl.DataFrame) -> None:
    names = [name for name in (ID, TIME, ENTITY, LABEL) if name]
    np.testing.assert_array_equal(model.predict(rows), model.predict(rows.drop(names)))


def test_neither_order_nor_company_matters(model: Model, rows: pl.DataFrame) -> None:
    scores = model.predict(rows)
    np.testing.assert_allclose(model.predict(rows[::-1])[::-1], scores, atol=1e-6)
    np.testing.assert_allclose(model.predict(rows[:100]), scores[:100], atol=1e-6)


def test_a_row_alone_has_the_score_it_has_in_a_batch(model: Model, rows: pl.DataFrame) -> None:
    alone = [model.predict(row)[0] for row in rows[:100].iter_slices(1)]
    np.testing.assert_allclose(alone, model.predict(rows[:100]), atol=1e-6)


# Direction


def test_a_risky_terminal_raises_the_score(model: Model, ordinary: pl.DataFrame) -> None:
    """All of a week's transactions were frauds and none before: a terminal that was compromised and still is."""
    seen = [pl.max_horizontal(name, pl.lit(days)).alias(name) for name, days in zip(SEEN, WINDOWS, strict=True)]
    quiet = ordinary.with_columns(seen)
    risky = quiet.with_columns(pl.lit(min(1, 7 / days)).alias(risk) for risk, days in zip(RISKS, WINDOWS, strict=True))
    assert model.predict(risky).mean() > 10 * model.predict(quiet).mean()


def test_far_above_the_customers_mean_raises_the_score(model: Model, ordinary: pl.DataFrame) -> None:
    modest = ordinary.with_columns(pl.lit(20.0).alias(mean) for mean in MEANS).with_columns(tx_amount=pl.lit(20.0))
    large = modest.with_columns(tx_amount=pl.lit(150.0))
    assert model.predict(large).mean() > 2 * model.predict(modest).mean()


# Minimum functionality


def test_leaves_ordinary_payments_alone(model: Model, ordinary: pl.DataFrame) -> None:
    assert np.quantile(model.predict(ordinary), 0.95) < 0.05
