"""Columns that give the label away: alone, and on rows that it has not learned from, one tells it nearly perfectly.

Such a column is filled once the outcome is known, as a rule, and a model that learns from it knows nothing beforehand.
Each class is ranked against the others: the area under the ROC curve, with DeLong's interval (1988). The rows of a
number are all ranked: Spearman's correlation, which no other unit changes, with the interval of Fieller, Hartley and
Pearson (1957).
"""

from collections.abc import Callable, Sequence
from math import atanh, inf, sqrt, tanh
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.adopt.decide import Choice
from pipeline.adopt.label import Label
from pipeline.contract import Value

LEAST = 0.999  # the lower bound of a ranking, from which a column is said to give the label away
"""In tables that packages ship, what is honest comes to 0.964 of classes (tumours), and of a number to 0.997 (a river's
flow of six hours before) and 0.998 (a share's highest price of the day); copies in other words, such as a logarithm or
an area beside its radius, to 0.9995 and more."""
STRONG = 0.9  # from which somebody should say whether it is known in time: good columns reach it too
EACH = 50  # rows of a class and of the others, or of a number, under which that cannot be told
AT_MOST = 100_000  # rows that are looked at
FOLDS, BINS = 5, 64
NORMAL = 1.96  # standard errors of a 95% interval


def giveaways(
    typed: Path, made: Sequence[Choice], label: Label, known: Sequence[int]
) -> tuple[dict[str, float], dict[str, float]]:
    """The inputs that give the label away, and those that may: each with its ranking's lower bound.

    `typed` is the table in the contract's types; `known` are its rows of each of the label's values, or those that have
    a number.
    """
    judged = [at for at, rows in enumerate(known) if rows >= EACH and (not label.values or sum(known) - rows >= EACH)]
    if not judged:
        return {}, {}
    name = next(c.name for c in made if c.role == "label")
    inputs = [c.name for c in made if c.input]
    table = some(typed, [name, *inputs], name, label, known)
    tells = of_number(table[name]) if not label.values else of_classes(table[name], [label.values[at] for at in judged])
    found = {column: tells(table[column]) for column in inputs}
    away = {column: bound for column, bound in found.items() if bound >= LEAST}
    return away, {column: bound for column, bound in found.items() if STRONG <= bound < LEAST}


def some(typed: Path, names: Sequence[str], of: str, label: Label, known: Sequence[int]) -> pl.DataFrame:
    """AT_MOST rows, evenly taken of each class, or of all that have a number."""
    value, at = pl.col(of), pl.col("_at")
    every = [max(rows * len(known) // AT_MOST, 1) for rows in known]
    taken = [(value == each) & (at % step == 0) for each, step in zip(label.values, every, strict=False)]
    inside = pl.any_horizontal(taken) if taken else value.is_not_null() & (at % every[0] == 0)
    return pl.scan_parquet(typed).with_row_index("_at").filter(inside).select(names).collect(engine="streaming")


Tells = Callable[[pl.Series], float]
"""The lower bound of how well a column alone ranks rows by the label."""


def of_classes(label: pl.Series, values: Sequence[Value]) -> Tells:
    """How well it tells the class that it tells worst; one that tells some class badly is not looked at further."""
    classes = [(label == value).to_numpy() for value in (values[-1:] if label.n_unique() == 2 else values)]

    def tells(column: pl.Series) -> float:
        worst = inf
        for inside in classes:
            worst = min(worst, ranks(column, inside))
            if worst < STRONG:
                break
        return worst

    return tells


def ranks(values: pl.Series, positive: np.ndarray) -> float:
    """How well a column ranks rows of a class above others: by its order, or by shares learned on other folds."""
    rows, sums = others(levels(values), positive)
    bounds = [above((sums + positive.mean()) / (rows + 1), positive)]
    if (order := ordered(values)) is not None:
        bounds += [above(order, positive), above(-order, positive)]
    return max(bounds)


def of_number(label: pl.Series) -> Tells:
    """How well it ranks rows as the number does: by its order, or by mean ranks learned on other folds.

    Rows whose level no other fold has are not judged by it, where they are less than half.
    """
    truth = rank(label.cast(pl.Float64).to_numpy())

    def tells(column: pl.Series) -> float:
        rows, sums = others(levels(column), truth)
        seen, bounds = rows > 0, [0.0]
        if seen.mean() > 1 / 2:
            bounds.append(lower(alike(sums[seen] / rows[seen], truth[seen]), seen.sum()))
        if (order := ordered(column)) is not None:
            bounds.append(lower(abs(alike(rank(order), truth)), len(truth)))
        return max(bounds)

    return tells


# --- out of a column alone ---


def ordered(values: pl.Series) -> np.ndarray | None:
    """A column's values, float64 [rows], missing ones first; None where they have no order."""
    if not (values.dtype.is_numeric() or values.dtype.is_temporal()):
        return None
    order = values.cast(pl.Float64) if values.dtype.is_numeric() else values.to_physical().cast(pl.Float64)
    return order.fill_nan(None).fill_null(-np.inf).to_numpy()


def levels(values: pl.Series) -> np.ndarray:
    """A number for each level of a column, int [rows]; many numbers or times are cut into BINS parts of equal size."""
    if values.dtype.is_numeric() or values.dtype.is_temporal():
        order = values.to_physical().rank("dense").cast(pl.Float64)
        if (order.max() or 0) > BINS:  # type: ignore[operator]
            order = (values.to_physical().rank("max") / len(values) * BINS).ceil()
        return order.fill_null(0).to_numpy().astype(np.int64)
    codes = values.cast(pl.String).rank("dense").fill_null(0)
    return codes.to_numpy().astype(np.int64)


def others(level: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row, of its level in the other folds: how many rows there are, and the sum of their targets."""
    fold = np.random.default_rng(0).permutation(len(level)) % FOLDS
    size = int(level.max(initial=0)) + 1
    of_level = np.bincount(level, minlength=size), np.bincount(level, target, minlength=size)
    rows, sums = np.empty(len(level)), np.empty(len(level))
    for part in range(FOLDS):
        at = level[fold == part]
        rows[fold == part] = (of_level[0] - np.bincount(at, minlength=size))[at]
        sums[fold == part] = (of_level[1] - np.bincount(at, target[fold == part], minlength=size))[at]
    return rows, sums


# --- how well ---


def above(values: np.ndarray, positive: np.ndarray) -> float:
    """The lower end of the interval of the area under the ROC curve."""
    every = rank(values)
    yes = (every[positive] - rank(values[positive])) / (~positive).sum()
    no = 1 - (every[~positive] - rank(values[~positive])) / positive.sum()
    error = np.sqrt(yes.var(ddof=1) / len(yes) + no.var(ddof=1) / len(no))
    return float(yes.mean() - NORMAL * error)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of two arrays [rows]; 0 where one of them does not move."""
    return float(np.corrcoef(one, other)[0, 1]) if one.std() and other.std() else 0.0


def lower(correlation: float, rows: float) -> float:
    """The lower end of the interval of a correlation of ranks."""
    return tanh(atanh(min(max(correlation, 0), 1 - 1e-12)) - NORMAL * sqrt(1.06 / (rows - 3)))


def rank(values: np.ndarray) -> np.ndarray:
    """Mean ranks, from 1."""
    return pl.Series(values).rank("average").to_numpy()
