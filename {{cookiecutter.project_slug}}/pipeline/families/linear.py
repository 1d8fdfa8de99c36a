"""Logistic regression: numbers are standardised, and each says whether it is missing; a category has a weight a level.

What is missing counts as the mean of its column, beside the weight of being missing. A number beyond what the training
rows held counts as their last: a straight line says nothing of what lies beyond them, and nothing overflows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save

from pipeline.families import AGAIN, Array, Fitted, Loss, Matrix, Var, columns_of, tensors, unread
from pipeline.params import BadInput

NEEDS = ("sklearn",)

NEWTON = 1000  # columns

NUMBERS = ("lowest", "highest", "mean", "scale", "slope", "missing")
KINDS = {"column": ("i", 1), "place": ("i", 1), "first": ("i", 1), "level": ("f", 1), "intercept": ("f", 1)}
KINDS |= dict.fromkeys(NUMBERS, ("f", 1))

Parts = Mapping[str, Array]
"""A fitted model. Of each number: its `column`, `lowest`, `highest`, `mean`, `scale`, `slope`, and `missing`, the
weight of being missing. Of each category: its `place`, the column, and `first`, where its codes begin in `level`, the
weights of all codes. And the `intercept` [width]."""


def fit(rows: Matrix, target: Array, weight: Array, loss: Loss, width: int, knobs: Mapping[str, Any]) -> Fitted:
    """`penalty` is that of scikit-learn's LogisticRegression, 1 / C.

    One thread, far more steps than the scores need, and coefficients as float32: the last digits of a fit depend on how
    many threads add, and on the kernel that BLAS chose for the processor. Newton's steps are exact; with thousands of
    levels their matrix is too large.
    """
    from scipy.sparse import hstack
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    scales = scaled(rows, weight)
    numbers, absent = standard(scales, rows.values)
    levels = one_hot(scales, rows)
    some = np.flatnonzero(absent.any(axis=0))
    parts = [numbers, absent[:, some], levels]
    design = hstack(parts, format="csr") if levels.shape[1] else np.hstack(parts[:2])
    with threadpool_limits(1):
        solver = "newton-cholesky" if design.shape[1] <= NEWTON else "lbfgs"
        model = LogisticRegression(C=1 / knobs["penalty"], solver=solver, tol=1e-9, max_iter=1000)
        model.fit(design, target, sample_weight=weight)
    coefficients = model.coef_[0].astype(np.float32).astype(np.float64)
    slope, missing, level = np.split(coefficients, np.cumsum([part.shape[1] for part in parts[:2]]))
    fitted = {
        "slope": slope,
        "missing": np.bincount(some, missing, absent.shape[1]).astype(np.float64),
        "level": level,
        "intercept": model.intercept_.astype(np.float32).astype(np.float64),
    }
    about = {"parameters": design.shape[1] + 1, "iterations": int(model.n_iter_[0])}
    return Fitted(save({**scales, **fitted}), about)


def scaled(rows: Matrix, weight: Array) -> dict[str, Array]:
    """Where the columns lie: all of Parts that is no weight. A column of one value, or of none, moves nothing."""
    places = np.array(sorted(rows.categories), np.int64)
    column = np.setdiff1d(np.arange(rows.values.shape[1]), places)
    values = rows.values[:, column]
    there = np.isfinite(values)
    share = np.where(there, weight[:, None], 0)
    whole = np.maximum(share.sum(axis=0), np.finfo(float).tiny)
    lowest = np.where(there, values, np.inf).min(axis=0)
    highest = np.where(there, values, -np.inf).max(axis=0)
    empty = ~there.any(axis=0)
    mean = (share * np.where(there, values, 0)).sum(axis=0) / whole
    scale = np.sqrt((share * np.where(there, values - mean, 0) ** 2).sum(axis=0) / whole)
    sizes = np.array([rows.categories[place] for place in places], np.int64)
    return {
        "column": column,
        "lowest": np.where(empty, 0, lowest),
        "highest": np.where(empty, 0, highest),
        "mean": mean,
        "scale": np.where(scale > 1e-12 * np.abs(mean), scale, 1),
        "place": places,
        "first": np.cumsum([0, *sizes])[:-1].astype(np.int64),
    }


def standard(parts: Parts, values: Array) -> tuple[Array, Array]:
    """The numbers in standard deviations, 0 where missing, and 1 where they are: float64 [rows, numbers] each."""
    taken = values[:, parts["column"]]
    absent = np.isnan(taken)
    steps = (np.clip(taken, parts["lowest"], parts["highest"]) - parts["mean"]) / parts["scale"]
    return np.where(absent, 0, steps), absent.astype(np.float64)


def one_hot(parts: Parts, rows: Matrix) -> Any:
    """A column a code, sparse: a category may have thousands."""
    from scipy.sparse import csr_array

    codes = rows.values[:, parts["place"]].astype(np.int64) + parts["first"]
    count, width = len(codes), sum(rows.categories.values())
    ends = np.arange(count + 1) * codes.shape[1]
    return csr_array((np.ones(codes.size), codes.ravel(), ends), shape=(count, width))


def raw(state: bytes, rows: Matrix, loss: Loss, width: int) -> Array:
    """Log odds, float64 [rows, width]."""
    parts = tensors(state, "linear", KINDS)
    numbers, absent = standard(parts, rows.values)
    codes = rows.values[:, parts["place"]].astype(np.int64) + parts["first"]
    sums = numbers @ parts["slope"] + absent @ parts["missing"] + parts["level"][codes].sum(axis=1)
    return sums[:, None] + parts["intercept"]


def graph(state: bytes, rows: Var, categories: Mapping[int, int], loss: Loss, width: int) -> Var:
    """The same, of a double tensor [rows, columns]. Raises BadInput for a state that does not fit them."""
    import spox.opset.ai.onnx.v18 as op

    known = checked(tensors(state, "linear", KINDS), columns_of(rows), categories, width)
    parts = {name: op.const(value) for name, value in known.items()}
    sums = parts["intercept"]
    if categories:
        codes = op.cast(op.gather(rows, parts["place"], axis=1), to=np.int64)
        weights = op.gather(parts["level"], op.add(codes, parts["first"]))
        sums = op.add(sums, op.reduce_sum(weights, op.const([1], np.int64), keepdims=1))
    if len(known["column"]):
        taken = op.gather(rows, parts["column"], axis=1)
        absent = op.isnan(taken)
        within = op.max([op.min([taken, parts["highest"]]), parts["lowest"]])
        steps = op.div(op.sub(within, parts["mean"]), parts["scale"])
        given = op.mul(steps, parts["slope"])
        counted = op.where(absent, parts["missing"], given)
        sums = op.add(sums, op.reduce_sum(counted, op.const([1], np.int64), keepdims=1))
    return sums


def checked(parts: dict[str, Array], columns: int, categories: Mapping[int, int], width: int) -> dict[str, Array]:
    """The parts themselves. Raises BadInput where they do not fit one another, or the encoding."""
    places = sorted(categories)
    sizes = [categories[place] for place in places]
    fits = (
        parts["place"].tolist() == places
        and parts["column"].tolist() == [at for at in range(columns) if at not in categories]
        and parts["first"].tolist() == np.cumsum([0, *sizes])[:-1].tolist()
        and len(parts["level"]) == sum(sizes)
        and all(len(parts[name]) == len(parts["column"]) for name in NUMBERS)
        and (parts["scale"] != 0).all()
        and len(parts["intercept"]) == width
    )
    if not fits:
        raise BadInput(f"{unread('linear')}: it does not fit the encoding of the rows, or itself; {AGAIN}")
    return parts


def edges(state: bytes) -> Mapping[int, Array]:
    """The ends of what training held of each number: beyond them it counts as the end."""
    parts = tensors(state, "linear", KINDS)
    ends = zip(parts["column"], parts["lowest"], parts["highest"], strict=True)
    return {int(column): np.unique([lowest, highest]) for column, lowest, highest in ends}
