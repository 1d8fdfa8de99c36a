"""A linear model: numbers are standardised, and each says whether it is missing; a category has a weight a level.

It is logistic regression, multinomial for softmax, or ridge regression for squares. What is missing counts as the mean
of its column, beside the weight of being missing. A number beyond what the training rows held counts as their last: a
straight line says nothing of what lies beyond them, and nothing overflows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save

from pipeline.families import AGAIN, Array, Fitted, Loss, Matrix, Var, columns_of, counted, moments, tensors, unread
from pipeline.params import BadInput

NEEDS = ("sklearn",)

NEWTON = 1000  # columns

NUMBERS, WEIGHTS = ("lowest", "highest", "mean", "scale"), ("slope", "missing", "level")
KINDS = {"column": ("i", 1), "place": ("i", 1), "first": ("i", 1), "intercept": ("f", 1)}
KINDS |= dict.fromkeys(NUMBERS, ("f", 1)) | dict.fromkeys(WEIGHTS, ("f", 2))

Parts = Mapping[str, Array]
"""A fitted model. Of each number: its `column`, `lowest`, `highest`, `mean`, `scale`, and the weights [numbers, width]
`slope` and `missing`, that of being missing. Of each category: its `place`, the column, and `first`, where its codes
begin in `level`, the weights of all codes [codes, width]. And the `intercept` [width]."""


def fit(rows: Matrix, target: Array, weight: Array, loss: Loss, width: int, knobs: Mapping[str, Any]) -> Fitted:
    """`penalty` is that of scikit-learn's LogisticRegression, 1 / C, and of its Ridge, alpha.

    One thread, far more steps than the scores need, and coefficients as float32: the last digits of a fit depend on how
    many threads add, and on the kernel that BLAS chose for the processor. Raises BadInput for numbers that are too
    large.
    """
    from scipy.sparse import hstack
    from threadpoolctl import threadpool_limits

    rows, target, weight = counted(rows, target, weight)
    scales = scaled(rows, weight)
    numbers, absent = standard(scales, rows.values)
    levels = one_hot(scales, rows)
    some = np.flatnonzero(absent.any(axis=0))
    parts = [numbers, absent[:, some], levels]
    design = hstack(parts, format="csr") if levels.shape[1] else np.hstack(parts[:2])
    solve = ridge if loss == "squared" else logistic
    with threadpool_limits(1):
        weights, intercept, about = solve(design, target, weight, width, knobs["penalty"])
    slope, seen, level = np.split(weights, np.cumsum([part.shape[1] for part in parts[:2]]))
    missing = np.zeros_like(slope)
    missing[some] = seen
    fitted = {"slope": slope, "missing": missing, "level": level, "intercept": intercept}
    about = {"parameters": weights.size + intercept.size, **about}
    return Fitted(save({**scales, **{name: np.ascontiguousarray(value) for name, value in fitted.items()}}), about)


Solved = tuple[Array, Array, Mapping[str, float]]
"""Weights float64 [columns, width], intercept float64 [width], and what is to be said of it."""


def logistic(design: Any, target: Array, weight: Array, width: int, penalty: float) -> Solved:
    """Newton's steps are exact; with thousands of columns, or with several classes, their matrix is too large.

    Two classes share their weights, half for the one and half against the other: their odds are those of one label.
    """
    from sklearn.linear_model import LogisticRegression

    alone = "newton-cholesky" if design.shape[1] <= NEWTON else "lbfgs"
    solver, tolerance = (alone, 1e-9) if width <= 2 else ("newton-cg", 1e-12)
    model = LogisticRegression(C=1 / penalty if penalty else np.inf, solver=solver, tol=tolerance, max_iter=1000)
    model.fit(design, target, sample_weight=weight)
    weights, intercept = single(model.coef_.T), single(model.intercept_)
    if width == 2:
        weights, intercept = np.hstack([-weights, weights]) / 2, np.hstack([-intercept, intercept]) / 2
    return weights, intercept, {"iterations": int(model.n_iter_[0])}


def ridge(design: Any, target: Array, weight: Array, width: int, penalty: float) -> Solved:
    """Of a standardised label, whose mean and deviation stay float64: single precision is then that of its spread."""
    from scipy.sparse import issparse
    from sklearn.linear_model import Ridge

    mean, deviation = moments(target, weight)
    solver = "sparse_cg" if issparse(design) else "cholesky"
    model = Ridge(alpha=penalty, solver=solver, tol=1e-12)
    model.fit(design, (target - mean) / deviation, sample_weight=weight)
    weights, intercept = single(model.coef_).reshape(-1, width), single(np.full(width, model.intercept_))
    return weights * deviation, intercept * deviation + mean, {}


def single(values: Array) -> Array:
    """Rounded to single precision; float64."""
    return values.astype(np.float32).astype(np.float64)


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
    """What the loss asks for, float64 [rows, width]."""
    parts = tensors(state, "linear", KINDS)
    numbers, absent = standard(parts, rows.values)
    found = numbers @ parts["slope"] + absent @ parts["missing"] + parts["intercept"]
    for place, first in zip(parts["place"], parts["first"], strict=True):
        found += parts["level"][rows.values[:, place].astype(np.int64) + first]
    return found


def graph(state: bytes, rows: Var, categories: Mapping[int, int], loss: Loss, width: int) -> Var:
    """The same, of a double tensor [rows, columns]. Raises BadInput for a state that does not fit them."""
    import spox.opset.ai.onnx.v18 as op

    known = checked(tensors(state, "linear", KINDS), columns_of(rows), categories, width)
    parts = {name: op.const(value) for name, value in known.items()}
    found = parts["intercept"]
    if len(known["column"]):
        taken = op.gather(rows, parts["column"], axis=1)
        absent = op.isnan(taken)
        within = op.max([op.min([taken, parts["highest"]]), parts["lowest"]])
        steps = op.div(op.sub(within, parts["mean"]), parts["scale"])
        told = op.concat([op.where(absent, op.const(0.0), steps), op.cast(absent, to=np.float64)], axis=1)
        found = op.gemm(told, op.const(np.concatenate([known["slope"], known["missing"]])), found)
    if categories:
        codes = op.cast(op.gather(rows, parts["place"], axis=1), to=np.int64)
        alone = width == 1  # a further dimension of one would make the sum twice as dear
        level = op.const(known["level"][:, 0] if alone else known["level"])
        weights = op.gather(level, op.add(codes, parts["first"]))
        found = op.add(found, op.reduce_sum(weights, op.const([1], np.int64), keepdims=int(alone)))
    return found


def checked(parts: dict[str, Array], columns: int, categories: Mapping[int, int], width: int) -> dict[str, Array]:
    """The parts themselves. Raises BadInput where they do not fit one another, or the encoding."""
    places = sorted(categories)
    sizes = [categories[place] for place in places]
    fits = (
        parts["place"].tolist() == places
        and parts["column"].tolist() == [at for at in range(columns) if at not in categories]
        and parts["first"].tolist() == np.cumsum([0, *sizes])[:-1].tolist()
        and parts["level"].shape == (sum(sizes), width)
        and all(len(parts[name]) == len(parts["column"]) for name in NUMBERS)
        and parts["slope"].shape == parts["missing"].shape == (len(parts["column"]), width)
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
