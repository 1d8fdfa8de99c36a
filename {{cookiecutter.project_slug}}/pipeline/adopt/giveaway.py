"""Columns that give the label away: alone, and on rows that it has not learned from, one ranks them nearly perfectly.

Such a column is filled once the outcome is known, as a rule, and a model that learns from it knows nothing beforehand.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.adopt.decide import Choice, Label

LEAST = 0.999  # the lower bound of a ranking, from which a column is said to give the label away
STRONG = 0.9  # from which somebody should say whether it is known in time: good columns reach it too
EACH = 50  # rows of each value of the label, under which that cannot be told
AT_MOST = 50_000  # rows of each value that are looked at
FOLDS, BINS = 5, 64
NORMAL = 1.96  # standard errors of a 95% interval


def giveaways(
    typed: Path, made: Sequence[Choice], label: Label, rows: tuple[int, int]
) -> tuple[dict[str, float], dict[str, float]]:
    """The inputs that give the label away, and those that may: each with its ranking's lower bound.

    `typed` is the table in the contract's types, `rows` are the positive and the negative ones. The area under the ROC
    curve with DeLong's interval (1988).
    """
    if min(rows) < EACH:
        return {}, {}
    name = next(c.name for c in made if c.role == "label")
    inputs = [c for c in made if c.input]
    every = [max(number // AT_MOST, 1) for number in rows]
    at, positive, negative = pl.col("_at"), pl.col(name) == label.positive, pl.col(name) == label.negative
    table = (
        pl.scan_parquet(typed)
        .with_row_index("_at")
        .filter((positive & (at % every[0] == 0)) | (negative & (at % every[1] == 0)))
        .select(positive.alias("_label"), *(c.name for c in inputs))
        .collect(engine="streaming")
    )
    is_positive = table["_label"].to_numpy()
    found = {c.name: ranks(table[c.name], is_positive) for c in inputs}
    away = {column: bound for column, bound in found.items() if bound >= LEAST}
    return away, {column: bound for column, bound in found.items() if STRONG <= bound < LEAST}


def ranks(values: pl.Series, positive: np.ndarray) -> float:
    """The lower bound of how well a column alone ranks rows: by its order, or by shares learned on other folds."""
    bounds = [lower(shares(levels(values), positive), positive)]
    if values.dtype.is_numeric() or values.dtype.is_temporal():
        order = values.cast(pl.Float64) if values.dtype.is_numeric() else values.to_physical().cast(pl.Float64)
        filled = order.fill_nan(None).fill_null(-np.inf).to_numpy()
        bounds += [lower(filled, positive), lower(-filled, positive)]
    return max(bounds)


def levels(values: pl.Series) -> np.ndarray:
    """A number for each level of a column, int [rows]; many numbers or times are cut into BINS parts of equal size."""
    if values.dtype.is_numeric() or values.dtype.is_temporal():
        order = values.to_physical().rank("dense").cast(pl.Float64)
        if (order.max() or 0) > BINS:  # type: ignore[operator]
            order = (values.to_physical().rank("max") / len(values) * BINS).ceil()
        return order.fill_null(0).to_numpy().astype(np.int64)
    codes = values.cast(pl.String).rank("dense").fill_null(0)
    return codes.to_numpy().astype(np.int64)


def shares(level: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """For each row the share of positives of its level in the other folds, float64 [rows]."""
    fold = np.random.default_rng(0).permutation(len(level)) % FOLDS
    size = int(level.max(initial=0)) + 1
    rows = np.bincount(level, minlength=size)
    hits = np.bincount(level, positive, minlength=size)
    score = np.empty(len(level))
    for part in range(FOLDS):
        inside = fold == part
        others = rows - np.bincount(level[inside], minlength=size)
        known = hits - np.bincount(level[inside], positive[inside], minlength=size)
        score[inside] = ((known + positive.mean()) / (others + 1))[level[inside]]
    return score


def lower(score: np.ndarray, positive: np.ndarray) -> float:
    """The lower end of the interval of the area under the ROC curve."""
    every = rank(score)
    yes = (every[positive] - rank(score[positive])) / (~positive).sum()
    no = 1 - (every[~positive] - rank(score[~positive])) / positive.sum()
    error = np.sqrt(yes.var(ddof=1) / len(yes) + no.var(ddof=1) / len(no))
    return float(yes.mean() - NORMAL * error)


def rank(score: np.ndarray) -> np.ndarray:
    """Mean ranks, from 1."""
    return pl.Series(score).rank("average").to_numpy()
