"""The share of positives, whatever the row says: what any model has to be better than."""

from collections.abc import Mapping
from math import fsum, log
from typing import Any

import numpy as np
from safetensors.numpy import save

from pipeline.families import AGAIN, Array, Fitted, Loss, Matrix, Var, tensors, unread
from pipeline.params import BadInput

NEEDS = ()


def fit(rows: Matrix, target: Array, weight: Array, loss: Loss, width: int, knobs: Mapping[str, Any]) -> Fitted:
    """Exact sums, so that neither the order of the rows nor a row written twice for a weight of two changes a bit."""
    positive, whole = fsum(weight * target), fsum(weight)
    raw = np.full(width, log(positive / (whole - positive)))
    return Fitted(save({"raw": raw}), {"positive": positive / whole})


def raw(state: bytes, rows: Matrix, loss: Loss, width: int) -> Array:
    """Log odds, the same in each row: float64 [rows, width]."""
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
