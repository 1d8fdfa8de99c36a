"""How far two samples of a column lie apart; and how far by chance alone, which for few rows is further than most bars.

Samples are weights, float64 [draws, rows]: how often each row counts, as one sample and as the other; a bin of
counts.py is a row that counts often. So what is drawn a thousand times to learn about chance is measured by the very
lines that measure the prediction log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, log2, sqrt

import numpy as np

WASSERSTEIN = "Wasserstein distance (normed)"  # as Evidently calls it, and computes it
JENSEN_SHANNON = "Jensen-Shannon distance"
NATS = sqrt(log(2))  # times as large it is to Evidently, whose logarithms are natural: ours is between 0 and 1
NARROW = 0.001  # the least deviation that a distance is measured in, as Evidently has it
FAR = 1e6  # deviations: as good as infinite, which JSON has no word for
HUGE = 1e150  # values beyond are taken for this, whose square is a number

ALARMS = 0.01  # the share of checks in which chance goes further than `chances` says
DRAWS = 500
ROWS = 1_000  # of a side, that are drawn: what chance does falls with the root of the rows
CHUNK = 50  # draws at a time: memory is CHUNK x ROWS
SEED = 0


@dataclass(frozen=True)
class Sample:
    """Rows, each of which counts as often as its weight says.

    A column is float64 [rows] where it holds numbers, NaN for none, and int64 [rows], places of levels, where texts.
    """

    columns: Mapping[str, np.ndarray]
    weight: np.ndarray  # float64 [rows]

    @property
    def size(self) -> float:
        """How many rows would tell as much, if each counted once."""
        return float(effective(self.weight[None], self.weight)[0])

    def some(self, rows: np.ndarray) -> "Sample":
        """These rows of it."""
        return Sample({name: values[rows] for name, values in self.columns.items()}, self.weight[rows])


def effective(weights: np.ndarray, once: np.ndarray) -> np.ndarray:
    """Kish's effective size of weights [draws, rows], of rows that weigh so much, [rows], each time they are drawn."""
    below = weights @ once
    return np.divide(weights.sum(axis=1) ** 2, below, out=np.zeros(len(weights)), where=below > 0)


def apart(values: Sequence[np.ndarray], weights: Sequence[np.ndarray], sizes: Sequence[float]) -> float | None:
    """How far the second of two sides of a column lies from the first; None where one of both has no value.

    Of each side its values [rows], how often each counts, and its effective size.
    """
    one = np.concatenate([weights[0], np.zeros(len(weights[1]))])[None]
    other = np.concatenate([np.zeros(len(weights[0])), weights[1]])[None]
    m, n = (np.array([size]) for size in sizes)
    found = float(measure(np.concatenate(values), one[0])(one, other, m, n)[0])
    return None if np.isnan(found) else found


# --- two distances ---


class Numbers:
    """Mean shift of a column's sorted values, in deviations of the reference: Wasserstein's distance, normed.

    Of all of the reference, also where it is drawn from: a draw without its rare large values would have a small one.
    """

    def __init__(self, values: np.ndarray, reference: np.ndarray) -> None:
        """The values [rows], and how often each counts in the reference, [rows]."""
        self.rows = np.argsort(values, kind="stable")[: np.isfinite(values).sum()]
        self.values = np.clip(values[self.rows], -HUGE, HUGE)
        self.width = np.diff(self.values)
        weight = reference[self.rows]
        mean = np.average(self.values, weights=weight) if weight.any() else 0.0
        squares = (weight * (self.values - mean) ** 2).sum() / max(weight.sum(), 1e-300)
        self.deviation = max(float(np.sqrt(squares)), NARROW)

    def __call__(self, before: np.ndarray, now: np.ndarray, *_: np.ndarray) -> np.ndarray:
        """Distances [draws]; NaN where one of both has no value."""
        before, now = before[:, self.rows], now[:, self.rows]
        with np.errstate(invalid="ignore"):
            before, now = (side / side.sum(axis=1, keepdims=True) for side in (before, now))
            shift = np.abs(np.cumsum(before - now, axis=1))[:, :-1] @ self.width
            return np.minimum(shift / self.deviation, FAR)


class Levels:
    """Jensen-Shannon distance of a category's levels, 0 to 1.

    Less what chance makes of two samples of one distribution, (levels - 1) / 8 (1/n + 1/m) nats (*Analysis of symbolic
    sequences using the Jensen-Shannon divergence*, Grosse et al., 2002): else many levels would look like drift.
    """

    def __init__(self, places: np.ndarray) -> None:
        known, place = np.unique(places, return_inverse=True)
        self.each = (place[:, None] == np.arange(len(known))).astype(np.float64)  # [rows, levels]

    def __call__(self, before: np.ndarray, now: np.ndarray, m: np.ndarray, n: np.ndarray) -> np.ndarray:
        """Distances [draws] of samples of the effective sizes m and n, [draws]."""
        before, now = before @ self.each, now @ self.each
        with np.errstate(divide="ignore", invalid="ignore"):
            before, now = (side / side.sum(axis=1, keepdims=True) for side in (before, now))
            middle = (before + now) / 2
            bits = sum(np.nansum(side * np.log2(side / middle), axis=1) for side in (before, now)) / 2
            chance = ((middle > 0).sum(axis=1) - 1) / 8 * (1 / m + 1 / n) * log2(np.e)
        return np.sqrt(np.maximum(bits - chance, 0))


def measure(values: np.ndarray, reference: np.ndarray) -> Numbers | Levels:
    """The distance of a column's values; `reference` is how often each counts in the reference."""
    return Levels(values) if values.dtype.kind == "i" else Numbers(values, reference)


# --- chance ---


def spread(rows: float, reference: float) -> float:
    """What the distances of two samples of one world are proportional to."""
    return sqrt(1 / rows + 1 / reference)


def chances(references: Sequence[Sample], rows: int) -> list[dict[str, float]]:
    """How far from its reference so many rows of the same world come by chance, by column.

    Both are drawn from the reference (a two-sample bootstrap; Efron and Tibshirani, An Introduction to the Bootstrap,
    1993). A row is drawn with all its columns, and each is allowed as many deviations of its own as the furthest of all
    columns, of all references, keeps to in all draws but ALARMS of them (Westfall and Young, Resampling-Based Multiple
    Testing, 1993): that is how often chance alone takes any column further.
    """
    draw, furthest = np.random.default_rng(SEED), np.zeros(DRAWS)
    told: list[dict[str, tuple[float, float]]] = []
    for reference in references:
        some = reference.some(np.sort(draw.permutation(len(reference.weight))[:ROWS]))
        scale = spread(rows, reference.size) / spread(min(rows, ROWS), some.size)
        told.append({})
        for name, far in redrawn(some, min(rows, ROWS), draw).items():
            there = far[~np.isnan(far)]
            mean, deviation = (float(there.mean()), float(there.std())) if len(there) else (0.0, 0.0)
            told[-1][name] = mean * scale, deviation * scale
            if deviation > 0:
                furthest = np.fmax(furthest, (far - mean) / deviation)
    reach = float(np.quantile(furthest, 1 - ALARMS, method="higher"))
    return [{name: mean + reach * deviation for name, (mean, deviation) in each.items()} for each in told]


def redrawn(reference: Sample, rows: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Distances [DRAWS], by column, of draws of so many rows from draws of the reference itself."""
    number, once = len(reference.weight), reference.weight
    measures = {name: measure(values, once) for name, values in reference.columns.items()}
    found: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    for _ in range(DRAWS // CHUNK):
        before = draw.multinomial(number, np.full(number, 1 / number), CHUNK) * once
        now = draw.multinomial(rows, once / once.sum(), CHUNK).astype(np.float64)
        sizes = effective(before, once), np.full(CHUNK, float(rows))
        for name, far in measures.items():
            found[name].append(far(before, now, *sizes))
    return {name: np.concatenate(parts) for name, parts in found.items()}
