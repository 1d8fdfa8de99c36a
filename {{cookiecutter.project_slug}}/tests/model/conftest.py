"""The trained model, and rows that it has not seen; `make pipeline` makes both."""

import polars as pl
import pytest

from pipeline import contract, params
from pipeline.evaluate import MODEL
from pipeline.model import Model, load
from pipeline.rows import FEATURES, between

ROWS = 2000


@pytest.fixture(scope="session")
def model() -> Model:
    if not MODEL.exists():
        pytest.skip("there is no trained model here; make one with `make pipeline`")
    return load(MODEL)


@pytest.fixture(scope="session")
def rows() -> pl.DataFrame:
    """Test rows: never seen in training."""
    if not FEATURES.exists():
        pytest.skip(f"there is no {FEATURES} here; make it with `make pipeline`")
    ours = contract.load()
    found = between(*ours.days(params.load()).test, ours)
    return found.sample(min(ROWS, len(found)), seed=0)
