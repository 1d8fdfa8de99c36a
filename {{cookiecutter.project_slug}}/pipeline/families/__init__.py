"""Families of models, a module each: what is fitted to an encoded table, and its ONNX graph.

A family knows no strings, no label's meaning and no task: `encode` stands before it, the head after it. Any of them is
the model (`train.family` in params.yaml) or a baseline. A further one is a module here, a branch of
policies/schemas/params.schema.json, and a line of `families:`; the conformance suite runs over it by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from math import fsum, sqrt
from typing import Any, Literal, Protocol

import numpy as np

from pipeline.params import BadInput

Array = np.ndarray
Var = Any  # spox.Var
Loss = Literal["logistic", "softmax", "squared"]
"""What `target` holds and `raw` is. logistic: 0 or 1, and log odds, of width 1. softmax: codes 0 to width - 1, each of
which some row has, and logits, whose softmax are the probabilities. squared: numbers, and what is expected, of width 1.
"""

NAMES = ("constant", "linear", "trees", "network")


@dataclass(frozen=True)
class Matrix:
    """What every family sees; the encoder made it, and its graph makes the same."""

    values: Array  # float64 [rows, columns]: numbers, NaN where missing; categories as 0 missing, 1 other, 2 and on
    names: tuple[str, ...]  # of the columns, for messages
    categories: Mapping[int, int] = field(default_factory=dict)  # column: number of its codes


@dataclass(frozen=True)
class Fitted:
    """A fitted model."""

    state: bytes  # no pickle; the same bytes for the same rows, on the same family of processors
    about: Mapping[str, Any]  # how it was fitted, for people: finite numbers by name, and `epochs` where there are some


class Family(Protocol):
    """What a module of this package has to be (PEP 544)."""

    NEEDS: tuple[str, ...]  # import names of `fit`; `graph` and `edges` need numpy and spox alone

    def fit(
        self, rows: Matrix, target: Array, weight: Array, loss: Loss, width: int, knobs: Mapping[str, Any]
    ) -> Fitted:
        """Fit to `target` float64 [rows], which the loss reads; each row counts `weight` float64 [rows], 0 or more."""

    def raw(self, state: bytes, rows: Matrix, loss: Loss, width: int) -> Array:
        """What the head takes, by the loss: float64 [rows, width]."""

    def graph(self, state: bytes, rows: Var, categories: Mapping[int, int], loss: Loss, width: int) -> Var:
        """The same, of a double tensor [rows, columns]."""

    def edges(self, state: bytes) -> Mapping[int, Array]:
        """Column: the values at which what it makes of a number breaks or bends, float64; {} where it does not."""


def family(name: str) -> Family:
    """The module of a family. Raises BadInput for a name that is none."""
    if name not in NAMES:
        raise BadInput(f"params.yaml: train.family is {name!r}; it may be one of {', '.join(NAMES)}")
    found: Any = import_module(f"pipeline.families.{name}")
    return found


# --- what several families do ---


def counted(rows: Matrix, target: Array, weight: Array) -> tuple[Matrix, Array, Array]:
    """Without the rows that count nothing: what they hold is not to be seen by cuts, ranges and leaves either."""
    if (some := weight > 0).all():
        return rows, target, weight
    return replace(rows, values=rows.values[some]), target[some], weight[some]


def shares(target: Array, weight: Array, width: int) -> Array:
    """Of each class in the weight of all rows: float64 [width]. Exact sums, whatever the order of the rows."""
    order = np.argsort(target, kind="stable")
    starts = np.searchsorted(target[order], np.arange(1, width))
    return np.array([fsum(part) for part in np.split(weight[order], starts)]) / fsum(weight)


def moments(target: Array, weight: Array) -> tuple[float, float]:
    """The mean and the standard deviation of numbers, the latter 1 where they do not vary. Exact sums, too.

    Raises BadInput for numbers whose squares are beyond floats.
    """
    if (largest := np.abs(target).max()) > LARGEST:
        raise BadInput(f"the label holds a number as large as {largest:.2g}; up to {LARGEST:g} can be fitted to")
    whole = fsum(weight)
    mean = fsum(weight * target) / whole
    deviation = sqrt(fsum(weight * (target - mean) ** 2) / whole)
    return mean, deviation if deviation > VARIES * abs(mean) else 1.0


LARGEST = 1e100
VARIES = 1e-14  # times the mean: a smaller deviation is what rounding makes of equal numbers


def tensors(state: bytes, name: str, kinds: Mapping[str, tuple[str, int]]) -> dict[str, Array]:
    """A state's tensors, float64 ("f") or int64 ("i"), of known dimensions; they may come from elsewhere.

    Raises BadInput for others, and for what is not finite.
    """
    found = read(state, name)
    wide = all(value.dtype.itemsize == 8 for value in found.values())
    if not wide or {part: (value.dtype.kind, value.ndim) for part, value in found.items()} != dict(kinds):
        raise BadInput(f"{unread(name)}: it holds other tensors than the family writes; {AGAIN}")
    if not all(np.isfinite(value).all() for value in found.values()):
        raise BadInput(f"{unread(name)}: it holds what is not finite; {AGAIN}")
    return found


def read(state: bytes, name: str) -> dict[str, Array]:
    """A state's tensors, whatever they are. Raises BadInput where it holds none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found: dict[str, Array] = load(state)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{unread(name)} ({' '.join(str(error).split())[:200]}); {AGAIN}") from None
    return found


AGAIN = "run `make model`"


def unread(name: str) -> str:
    """The beginning of what is said of a family's state that is none."""
    return f"the fitted family {name} cannot be read"


def columns_of(rows: Var) -> int:
    """How many columns a graph's tensor [rows, columns] has: what looks at further ones is refused, not run."""
    count = rows.unwrap_tensor().shape[1]
    if not isinstance(count, int):
        raise TypeError("the encoder's graph has to say how many columns it makes")
    return count
