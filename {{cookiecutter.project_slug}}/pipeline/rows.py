"""The rows that features.py wrote, by the protocol's days."""

from datetime import date
from pathlib import Path

import polars as pl

from pipeline.params import BadInput
from pipeline.schema import TIME

FEATURES = Path("data/features.parquet")


def between(first: date, last: date) -> pl.DataFrame:
    """The rows of the days first..last, in time order. Raises BadInput where there are none."""
    try:
        rows = pl.read_parquet(FEATURES).filter(pl.col(TIME).dt.date().is_between(first, last))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadInput(f"{FEATURES}: {error}; make it with `dvc repro features`") from None
    if rows.is_empty():
        raise BadInput(f"{FEATURES} holds no row from {first} to {last}; check data.until and split in params.yaml")
    return rows
