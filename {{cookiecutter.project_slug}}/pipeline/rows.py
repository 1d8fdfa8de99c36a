"""The rows that features.py wrote, by the protocol's days; and who they are, whatever their identifier."""

from datetime import date
from hashlib import blake2b
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.params import EVALUATION, BadInput
from pipeline.schema import ID, LABEL, SOURCE, TIME

FEATURES = Path("data/features.parquet")
TRAINED = Path("reports/trained.parquet")
"""The hashes of the rows of the training days, so that no model is judged by what it has seen."""


def between(first: date, last: date) -> pl.DataFrame:
    """The rows of the days first..last, in time order. Raises BadInput where there are none."""
    try:
        rows = pl.read_parquet(FEATURES).filter(pl.col(TIME).dt.date().is_between(first, last))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadInput(f"{FEATURES}: {error}; make it with `make model`") from None
    if rows.is_empty():
        raise BadInput(
            f"{FEATURES} holds no row from {first} to {last}; "
            f"check data.until in params.yaml, and split in {EVALUATION}"
        )
    return rows


def remember(table: pl.DataFrame, days: tuple[date, date]) -> None:
    """Write the hashes of the table's rows of these days, the training days, in no order that tells of them."""
    trained = table.filter(pl.col(TIME).dt.date().is_between(*days))
    TRAINED.parent.mkdir(exist_ok=True)
    pl.DataFrame({"hash": np.sort(hashes(trained))}).write_parquet(TRAINED)


def hashes(table: pl.DataFrame) -> np.ndarray:
    """A hash of what the source says of each row, less its identifier and its label; uint64 [rows].

    A copy under another identifier has the same hash, and so has a row whose label or aggregates have changed since.
    Of 60,000 rows and 400,000 others, a hash is shared by chance once in a billion times.
    """
    names = [column.name for column in SOURCE if column.name in table.columns and column.name not in (ID, LABEL)]
    text = table.with_columns(pl.col(TIME).cast(pl.Datetime("us"))).select(
        pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in names], separator="\0")
    )
    digests = b"".join(blake2b(row.encode(), digest_size=8).digest() for row in text.to_series())
    return np.frombuffer(digests, dtype="<u8")
