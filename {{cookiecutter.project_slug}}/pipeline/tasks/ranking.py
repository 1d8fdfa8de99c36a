"""Rows of a group that are ranked among each other, such as those of a page: how good their order is.

A resample draws units, and a group is of one unit: a metric is a mean over groups, each counting as often as its unit
was drawn, times the mean weight of its rows. Groups whose rows are all worth the same say nothing of an order, and are
left out. Rows of one score share their places.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from pipeline.tasks import Array, Judged, Metric, ratio

NDCG, PRECISION = "ndcg", "precision_at_k"
METRICS = {
    NDCG: Metric("NDCG", "Discounted gain of each group's order, as a share of that of its best order", needs="group"),
    PRECISION: Metric(
        "Precision at k", "Share of a group's first places (evaluate.k) that have one of its best {rows}", needs="group"
    ),
}


def unmeasured(test: Judged) -> dict[str, str]:
    """Both, where no group is named, or a label is worth less than nothing."""
    if test.group is None:
        return dict.fromkeys(METRICS, "contract.yaml names no group")
    return dict.fromkeys(METRICS, "labels below 0 are no gain") if (test.label < 0).any() else {}


def measures(test: Judged, score: Array, resamples: Array) -> dict[str, Callable[[], Array]]:
    """The metrics of an order by `score` [rows], whose labels say what each row is worth."""
    return {name: partial(_mean, test, of, score, resamples) for name, of in ((NDCG, ndcg), (PRECISION, precision))}


def _mean(test: Judged, of: Callable[[Judged, Array], Array], score: Array, resamples: Array) -> Array:
    """The mean over the groups that have a value, float64 [resamples]."""
    _, first, group = np.unique(test.groups, return_index=True, return_inverse=True)
    values, weight = of(test, score), np.bincount(group, test.weights) / np.bincount(group)
    lowest, highest = np.full(len(first), np.inf), np.full(len(first), -np.inf)
    np.minimum.at(lowest, group, test.label)
    np.maximum.at(highest, group, test.label)
    there = ~np.isnan(values) & (lowest < highest)
    unit, weight, values = test.unit[first][there], weight[there], values[there]
    gained, whole = (np.bincount(unit, part, minlength=resamples.shape[1]) for part in (weight * values, weight))
    return ratio(resamples @ gained, resamples @ whole)


def ndcg(test: Judged, score: Array) -> Array:
    """Normalized discounted cumulative gain of each group: float64 [groups], NaN where nothing is worth anything.

    Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques (2002); scikit-learn's ndcg_score.
    """
    gained, most = (_gained(test, test.label, by, lambda at: 1 / np.log2(at + 2)) for by in (score, test.label))
    return ratio(gained, most)


def precision(test: Judged, score: Array) -> Array:
    """The share of a group's first `top` places that is worth them: float64 [groups], NaN where nothing is, or all are.

    Worth a place is what is worth something, and no less than the last of its group's best `top`.
    """
    group, order, place = _placed(test, test.label)
    last = np.full(group[-1] + 1, np.inf)
    np.minimum.at(last, group[place < test.top], test.label[order][place < test.top])
    worth = np.empty(len(group))
    worth[order] = (test.label[order] > 0) & (test.label[order] >= last[group])
    hits = _gained(test, worth, score, lambda place: (place < test.top) * 1.0)
    some = (np.bincount(group, worth[order]) > 0) & (np.bincount(group) > test.top)  # of fewer rows all are among them
    return np.where(some, hits / test.top, np.nan)


def _gained(test: Judged, worth: Array, by: Array, counts: Callable[[Array], Array]) -> Array:
    """What the rows of each group are worth in the order of `by`, the largest first, where a place `counts` so much."""
    group, order, place = _placed(test, by)
    tied = np.cumsum((np.diff(group, prepend=-1) != 0) | (np.diff(by[order], prepend=np.nan) != 0)) - 1
    shared = np.bincount(tied, counts(place)) / np.bincount(tied)
    return np.bincount(group, shared[tied] * worth[order])


def _placed(test: Judged, by: Array) -> tuple[Array, Array, Array]:
    """The rows, group by group in the order of `by`, the largest first: each one's group, row, and place from 0 on."""
    group = np.unique(test.groups, return_inverse=True)[1]
    order = np.lexsort((-by, group))
    size = np.bincount(group)
    return group[order], order, np.arange(len(group)) - np.repeat(np.cumsum(size) - size, size)
