"""The same of every row, whatever it says: what any model has to be better than.

That is the share of positives, or of each class, or the mean.
"""

from collections.abc import Mapping
from math import fsum, log
from typing import Any

import numpy as np
from safetensors.numpy import save

from pipeline.families import AGAIN, Array, Fitted, Loss, Matrix, Var, moments, shares, tensors, unread
from pipeline.params import BadInput

NEEDS = ()


def fit(rows: Matrix, target: Array, weight: Array, loss: Loss, width: int, knobs: Mapping[str, Any]) -> Fitted:
    """Exact sums, so that neither the order of the rows nor a row written twice for a weight of two changes a bit.

    Raises BadInput for numbers that are too large.
    """
    raw, about = SAYS[loss](target, weight, width)
    return Fitted(save({"raw": raw}), about)


def odds(target: Array, weight: Array, width: int) -> tuple[Array, Mapping[str, float]]:
    """Log odds of the share of positives."""
    positive, whole = fsum(weight * target), fsum(weight)
    return np.full(width, log(positive / (whole - positive))), {"positive": positive / whole}


def classes(target: Array, weight: Array, width: int) -> tuple[Array, Mapping[str, float]]:
    """The logarithms of the classes' shares."""
    each = shares(target, weight, width)
    return np.log(each), {"classes": width, "commonest": float(each.max()), "rarest": float(each.min())}


def mean(target: Array, weight: Array, width: int) -> tuple[Array, Mapping[str, float]]:
    """The mean, which has the least squared error."""
    middle, deviation = moments(target, weight)
    return np.full(width, middle), {"mean": middle, "deviation": deviation}


SAYS = {"logistic": odds, "softmax": classes, "squared": mean}


def raw(state: bytes, rows: Matrix, loss: Loss, width: int) -> Array:
    """What the loss asks for, the same in each row: float64 [rows, width]."""
    return np.tile(known(state, width), (len(rows.values), 1))


def graph(state: bytes, rows: Var, categories: Mapping[int, int], loss: Loss, width: int) -> Var:
    """The same, of a double tensor [rows, columns]. Raises BadInput for a state that is none of this family."""
    import spox.opset.ai.onnx.v18 as op

    count = op.shape(rows, start=0, end=1)
    return op.expand(op.const(known(state, width)), op.concat([count, op.const([width], np.int64)], axis=0))


def edges(state: bytes) -> Mapping[int, Array]:
    """None: no column is looked at."""
    return {}


def known(state: bytes, width: int) -> Array:
    """What it says of any row: float64 [width]. Raises BadInput."""
    found = tensors(state, "constant", {"raw": ("f", 1)})["raw"]
    if found.shape != (width,):
        raise BadInput(f"{unread('constant')}: it says {len(found)} numbers of a row, not {width}; {AGAIN}")
    return found
