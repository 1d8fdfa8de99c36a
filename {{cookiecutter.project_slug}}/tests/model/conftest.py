"""The trained model, and rows that it has not seen; `make pipeline` makes both."""

from pathlib import Path

import polars as pl
import pytest

from pipeline import params
from pipeline.model import Model, load
from pipeline.schema import TIME

MODEL, FEATURES = Path("model"), Path("data/features.parquet")
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
    first, last = params.days(params.load()).test
    table = pl.read_parquet(FEATURES).filter(pl.col(TIME).dt.date().is_between(first, last))
    return table.sample(min(ROWS, len(table)), seed=0)
