"""What the trained model has to do, where policies/behaviour.yaml lacks the words for it: columns that go together."""

import numpy as np
import polars as pl
import pytest

from pipeline import params
from pipeline.model import Model

WINDOWS = params.load()["features"]["windows"]
RISKS = [f"terminal_risk_{days}d" for days in WINDOWS]
SEEN = [f"terminal_nb_tx_{days}d" for days in WINDOWS]
MEANS = [f"customer_avg_amount_{days}d" for days in WINDOWS]


@pytest.fixture(scope="module")
def ordinary(rows: pl.DataFrame) -> pl.DataFrame:
    """Ordinary payments: about as large as the customer's mean, at terminals without a known fraud."""
    usual = pl.all_horizontal(pl.col("tx_amount") < 1.5 * pl.col(mean) for mean in MEANS)
    table = rows.filter(usual & (pl.col("tx_amount") < 100) & pl.all_horizontal(pl.col(risk) == 0 for risk in RISKS))
    if table.is_empty():
        pytest.skip("the test days hold no ordinary payment")
    return table


def scores(model: Model, table: pl.DataFrame) -> np.ndarray:
    """What the model gives the rows: float64 [rows]."""
    return model.predict(table)["score"]


# Direction


def test_a_risky_terminal_raises_the_score(model: Model, ordinary: pl.DataFrame) -> None:
    """All of a week's transactions were frauds and none before: a terminal that was compromised and still is."""
    seen = [pl.max_horizontal(name, pl.lit(days)).alias(name) for name, days in zip(SEEN, WINDOWS, strict=True)]
    quiet = ordinary.with_columns(seen)
    risky = quiet.with_columns(pl.lit(min(1, 7 / days)).alias(risk) for risk, days in zip(RISKS, WINDOWS, strict=True))
    assert scores(model, risky).mean() > 10 * scores(model, quiet).mean()


def test_far_above_the_customers_mean_raises_the_score(model: Model, ordinary: pl.DataFrame) -> None:
    modest = ordinary.with_columns(pl.lit(20.0).alias(mean) for mean in MEANS).with_columns(tx_amount=pl.lit(20.0))
    large = modest.with_columns(tx_amount=pl.lit(150.0))
    assert scores(model, large).mean() > 2 * scores(model, modest).mean()


# Minimum functionality


def test_leaves_ordinary_payments_alone(model: Model, ordinary: pl.DataFrame) -> None:
    assert np.quantile(scores(model, ordinary), 0.95) < 0.05
