"""One of two: a probability that the label is the positive one, and whether that is enough for an alert.

The threshold is settled on days that neither the fit nor the test has seen: it is the score that `evaluate.alerts` of
their rows reach. Rows of a group are ranked among each other (pipeline/tasks/ranking.py).
"""

from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.model import Outputs, Problem
from pipeline.tasks import (
    POINTS,
    Answered,
    Array,
    Constants,
    Judged,
    Metric,
    Values,
    Var,
    by_chunks,
    calibrated,
    calibration_error,
    codes,
    ranking,
    ratio,
    share,
)

if TYPE_CHECKING:
    import polars as pl

    from pipeline.contract import Contract
    from pipeline.families import Loss

SCORE, ALERT, THRESHOLD = "score", "alert", "threshold"

LOSS: "Loss" = "logistic"
OUTPUTS: Mapping[str, str] = {SCORE: "float", ALERT: "bool"}
WATCHED = SCORE
POINT = "score"
SPAN: float | None = 1.0
ENTITY_PRECISION = "entity_precision_100"
METRICS: Mapping[str, Metric] = {
    "average_precision": Metric(
        "Average precision", "Precision, averaged over the recall: the area under that curve", always=True
    ),
    "roc_auc": Metric(
        "ROC AUC", "Probability that a {positive} scores higher than another {row}", always=True, chance=0.5
    ),
    ENTITY_PRECISION: Metric(
        "Precision of each day's first 100",
        "Share of {entities} with a {positive} among a day's 100 highest",
        needs="entity",
    ),
    "recall_at_precision_90": Metric(
        "Recall at 90% precision", "Share of the {positives} found when 9 in 10 alarms are right"
    ),
    "accuracy": Metric("Accuracy", "Share of {rows} that an alert, or none, gets right"),
    "calibration_error": Metric(
        "Calibration error",
        "Mean distance of scores from probabilities; less is better",
        larger=False,
        always=True,
        raised=True,
    ),
    **ranking.METRICS,
}
HEADLINE = "average_precision"
SLICED: tuple[str, ...] = ("average_precision", "roc_auc")
ESTIMATED: tuple[str, ...] = ("average_precision", "accuracy")
CALIBRATION: str | None = "calibration_error"
KNOBS: tuple[str, ...] = ("known", "alerts")
SETTLES = True
SETTLED_BY: tuple[str, ...] = ("alerts",)
POSITIVE: float | None = 1.0
REST: str | None = "negative"

TOP = 100  # entities that are looked at a day
ENTITIES = 300  # of a day at least, for that: of all, its first 100 would be no choice
BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


# --- learning ---


def width(problem: Problem) -> int:
    """The log odds alone."""
    return 1


def target(problem: Problem) -> "pl.Expr":
    """1 for a positive, 0 for a negative, null for what is neither: float64."""
    return codes(problem)


def lacks(label: Array, problem: Problem) -> str:
    """What is lacking is one of both."""
    return "" if 0 < label.sum() < len(label) else f"one value of {problem.label} only"


unmeasurable = lacks


def alike(label: Array, weight: Array, problem: Problem) -> Array:
    """The log odds of the share of positives."""
    positive = np.average(label, weights=weight)
    return np.log([positive / (1 - positive)])


def settle(raw: Array, target: Array, weight: Array, problem: Problem, knobs: Mapping[str, Any]) -> Constants:
    """The threshold, between the scores that raise an alert and the next one: rounding moves no row across it.

    Where all scores are equal, none is the highest: none reaches it.
    """
    score, weight = probability(raw)[weight > 0], weight[weight > 0]
    order = np.argsort(-score, kind="stable")
    reached = np.cumsum(weight[order])
    number = max(int(np.searchsorted(reached, knobs["alerts"] * reached[-1], side="right")), 1)
    cut = score[order[number - 1]]
    below = score[score < cut]
    threshold = (cut + below.max()) / 2 if len(below) else np.nextafter(cut, 2)
    return {THRESHOLD: np.array(threshold)}


def decides(settled: Mapping[str, Any], rows: int) -> str:
    """The threshold."""
    return (
        f"An alert is a score of at least {settled[THRESHOLD]:.4g}, settled on {rows:,} rows that the fit has not seen."
    )


def probability(raw: Array) -> Array:
    """The sigmoid of log odds [rows, 1]: float64 [rows]."""
    return 1 / (1 + np.exp(-np.clip(raw[:, 0], -700, 700)))  # beyond, exp overflows


def outputs(raw: Array, constants: Constants, problem: Problem) -> Outputs:
    """A score float64 [rows] between 0 and 1, and an alert bool [rows]."""
    score = probability(raw)
    return {SCORE: score, ALERT: score >= constants[THRESHOLD]}


def head(raw: Var, constants: Constants, problem: Problem) -> dict[str, Var]:
    """The same in the graph."""
    import spox.opset.ai.onnx.v18 as op

    score = op.reshape(op.sigmoid(raw), op.const(np.array([-1])))
    return {SCORE: score, ALERT: op.greater_or_equal(score, op.const(constants[THRESHOLD]))}


def raw(out: Outputs) -> Array:
    """The log odds."""
    score = np.clip(out[SCORE], np.finfo(float).tiny, 1 - np.finfo(float).epsneg)
    return (np.log(score) - np.log1p(-score))[:, None]


def decided(label: Array, weight: Array, out: Outputs) -> float:
    """Those with an alert."""
    return float(np.average(out[ALERT], weights=weight))


def follows(out: Outputs, settled: Constants, problem: Problem) -> Array:
    """An alert is a score that reaches the threshold."""
    return np.asarray(out[ALERT] == (out[SCORE] >= settled[THRESHOLD]))


def gap(out: Outputs, right: Outputs) -> Array:
    """Between the scores; where the alerts differ, their scores lie on both sides of the threshold, or one is wrong."""
    distance = np.abs(out[SCORE] - right[SCORE])
    return np.where((out[ALERT] == right[ALERT]) | (distance > 0), distance, np.inf)


def sound(out: Outputs, problem: Problem) -> Array:
    """A probability."""
    return (out[SCORE] >= 0) & (out[SCORE] <= 1)


# --- measuring ---


def measure(test: Judged, out: Outputs, resamples: Array, only: Collection[str] | None = None) -> Values:
    """Metrics of the scores, and of the alerts."""
    lost = unmeasured(test)
    asked = [name for name in METRICS if (only is None or name in only) and name not in lost]
    if unmeasurable(test.label, NOBODY):
        return {name: np.full(len(resamples), np.nan) for name in asked}
    return by_chunks(partial(_measure, test, out, asked), resamples)


def _measure(test: Judged, out: Outputs, asked: Collection[str], resamples: Array) -> Values:
    score = out[SCORE]
    if not {"average_precision", "roc_auc", "recall_at_precision_90"}.isdisjoint(asked):
        positive, rows = counts(test, score, resamples)
    found = {
        "average_precision": lambda: average_precision(positive, rows),
        "roc_auc": lambda: roc_auc(positive, rows),
        ENTITY_PRECISION: lambda: entity_precision(test, score, resamples, TOP),
        "recall_at_precision_90": lambda: recall_at_precision(positive, rows, 0.9),
        "accuracy": lambda: share(test, out[ALERT] == test.label, resamples),
        "calibration_error": lambda: calibration_error(test, score, resamples),
        **ranking.measures(test, score, resamples),
    }
    return {name: found[name]() for name in asked}


def likely(out: Outputs) -> Array | None:
    """The score is the probability of a positive."""
    return np.stack([1 - out[SCORE], out[SCORE]], axis=1)


def unmeasured(test: Judged) -> dict[str, str]:
    """The first entities of a day say little where it has few; and without groups nothing is ranked within one."""
    lost = ranking.unmeasured(test)
    if not test.entities:
        return lost | {ENTITY_PRECISION: "the rows have no entity and no day to be looked at on"}
    if (number := units_a_day(test)) < ENTITIES:
        few = f"the test days have {number:,.0f} entities on average, and of fewer than {ENTITIES} the first {TOP}"
        lost |= {ENTITY_PRECISION: f"{few} say little"}
    return lost


def units_a_day(test: Judged) -> float:
    """How many units a day has, on average."""
    return len(np.unique(test.day * test.units + test.unit)) / max(len(np.unique(test.day)), 1)


def counts(test: Judged, score: Array, resamples: Array) -> tuple[Array, Array]:
    """Positives and rows at or above each distinct score, from the highest down: two [resamples, thresholds]."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # equal scores share a threshold
    weight = resamples[:, test.unit[order]]
    if test.weight is not None:
        weight = weight * test.weight[order]
    positive = np.cumsum(weight * test.label[order], axis=1)[:, last]
    return positive, np.cumsum(weight, axis=1)[:, last]


def average_precision(positive: Array, rows: Array) -> Array:
    """Mean of the precision over the positives (scikit-learn's average_precision_score); NaN where there are none."""
    gained = np.diff(positive, axis=1, prepend=0)
    return ratio((gained * ratio(positive, rows, 0)).sum(axis=1), positive[:, -1])


def roc_auc(positive: Array, rows: Array) -> Array:
    """Probability that a positive's score is above a negative's, equal ones counted half; NaN where it has none."""
    negative = rows - positive
    area = (np.diff(negative, axis=1, prepend=0) * (positive - np.diff(positive, axis=1, prepend=0) / 2)).sum(axis=1)
    return ratio(area, positive[:, -1] * negative[:, -1])


def recall_at_precision(positive: Array, rows: Array, precision: float) -> Array:
    """The largest share of the positives that a threshold finds with at least this precision; 0 where none does."""
    enough = positive >= precision * rows
    return ratio((positive * enough).max(axis=1), positive[:, -1])


def entity_precision(test: Judged, score: Array, resamples: Array, top: int) -> Array:
    """Share of entities with a positive among the `top` entities with a day's highest scores, mean over the days.

    Entities that were found leave the days after (as in the book of Le Borgne et al., 2022, chapter 4). One that a
    resample drew twice takes two of the places; of the places that are taken, each counts its entity's mean weight of
    the day.
    """
    left = resamples.astype(np.float64)
    found = []
    for day in np.unique(test.day):
        today = test.day == day
        entity, best, positive = _by_entity(test.unit[today], score[today], test.label[today])
        ranked = np.argsort(-best, kind="stable")
        order, positive = entity[ranked], positive[ranked]
        taken = np.diff(np.minimum(np.cumsum(left[:, order], axis=1), top), axis=1, prepend=0)
        if test.weight is None:
            found.append((taken * positive).sum(axis=1) / top)
        else:
            counted = taken * _mean_weight(test.unit[today], test.weight[today])[ranked]
            precision = ratio((counted * positive).sum(axis=1), counted.sum(axis=1), 0)
            found.append(precision * taken.sum(axis=1) / top)
        left[:, order] *= (taken == 0) | (positive == 0)
    return np.mean(found, axis=0)


def _by_entity(unit: Array, score: Array, label: Array) -> tuple[Array, Array, Array]:
    """Each entity of the rows, with its highest score and whether any row is positive."""
    entity, place = np.unique(unit, return_inverse=True)
    best, positive = np.full(len(entity), -np.inf), np.zeros(len(entity))
    np.maximum.at(best, place, score)
    np.maximum.at(positive, place, label)
    return entity, best, positive


def _mean_weight(unit: Array, weight: Array) -> Array:
    """Of each entity, in the order of `_by_entity`."""
    place = np.unique(unit, return_inverse=True)[1]
    return np.bincount(place, weight) / np.bincount(place)


# --- groups of people, slices, labels ---

FALSE_POSITIVES, RECALL = "false_positive_rate", "recall"


def rates(test: Judged, out: Outputs, problem: Problem) -> dict[str, tuple[Array, Array]]:
    """The alerts' false positive rate and recall.

    Equalized odds: Hardt et al., Equality of Opportunity in Supervised Learning (2016); fairlearn's
    false_positive_rate and true_positive_rate.
    """
    return {FALSE_POSITIVES: (out[ALERT], 1 - test.label), RECALL: (out[ALERT], test.label)}


def rate_names(problem: Problem) -> tuple[str, ...]:
    """Of alerts that bother the honest, and of positives that are found."""
    return FALSE_POSITIVES, RECALL


def rarest(label: Array, problem: Problem) -> int | None:
    """Positives or negatives: among the ones alone there is nothing to rank."""
    return int(min(label.sum(), len(label) - label.sum()))


def told(label: Array, problem: Problem, ours: "Contract") -> str:
    """How many are positive."""
    number = int(label.sum())
    return f"{number:,} {ours.positives.one if number == 1 else ours.positives.many}"


def parts(problem: Problem) -> dict[str, "pl.Expr"]:
    """The share of positives."""
    return {"positive": target(problem)}


# --- one number a row ---


def point(out: Outputs, about: Array | int | None = None) -> Array:
    """The score."""
    return out[SCORE]


def about(out: Outputs) -> Array | None:
    """The positive, of every row."""
    return None


def directions(problem: Problem, ours: "Contract", about: Any = None) -> tuple[str, str]:
    """More positives, or fewer."""
    return f"more {ours.positives.many}", f"fewer {ours.positives.many}"


def moved(before: Outputs, after: Outputs) -> Array:
    """By how much the score moved."""
    return np.abs(after[SCORE] - before[SCORE])


def error(label: Array, out: Outputs) -> Array:
    """The score's distance from 1 or 0."""
    return np.abs(label - out[SCORE])


# --- curves ---


def curves(test: Judged, outs: Mapping[str, Outputs], problem: Problem) -> list[dict[str, Any]]:
    """ROC, precision and recall, calibration, and a histogram of the model's scores."""
    curve, precise, honest = {}, {}, {}
    for name, out in outs.items():
        positive, rows = along(test, out[SCORE])
        curve[name] = roc(positive, rows)
        precise[name] = {"x": (positive / positive[-1]).tolist(), "y": ratio(positive, rows, 1).tolist()}
        honest[name] = calibrated(test, out[SCORE])
    edges = np.linspace(0, 1, 51)
    model = outs["model"][SCORE]
    histogram = {
        name: {"y": np.histogram(model[test.label == value], edges)[0].tolist()}
        for name, value in (("negative", 0), ("positive", 1))
    }
    return [
        {
            "kind": "line",
            "title": "Precision against recall",
            "about": "What share of the alarms is right, when so many of the {positives} are found",
            "x": "Recall",
            "y": "Precision",
            "series": precise,
        },
        {
            "kind": "line",
            "title": "ROC",
            "about": "The share of the {positives} that is found, when so much of the rest raises an alarm",
            "x": "False positive rate",
            "y": "True positive rate",
            "diagonal": True,
            "series": curve,
        },
        {
            "kind": "points",
            "title": "Calibration",
            "about": "On the dashed line, scores are the shares of {positives} that they promise",
            "x": "Mean score",
            "y": "Share of positives",
            "diagonal": True,
            "scale": "log",
            "series": honest,
        },
        {
            "kind": "histogram",
            "title": "Scores",
            "about": "How many {rows} got which score, on a logarithmic scale",
            "x": "Score",
            "y": "Rows",
            "scale": "log",
            "edges": edges.tolist(),
            "series": histogram,
        },
    ]


def along(test: Judged, score: Array) -> tuple[Array, Array]:
    """The `counts` of the rows themselves, at POINTS thresholds at most: [thresholds] each."""
    positive, rows = (values[0] for values in counts(test, score, np.ones((1, test.units))))
    ranks = np.unique(np.geomspace(1, len(rows), POINTS).astype(int)) - 1  # most is decided at the top
    return positive[ranks], rows[ranks]


def roc(positive: Array, rows: Array) -> dict[str, list[float]]:
    """The points of the curve, of what `along` counts."""
    false_alarms = (rows - positive) / (rows[-1] - positive[-1])
    return {"x": [0.0, *false_alarms.tolist()], "y": [0.0, *(positive / positive[-1]).tolist()]}


# --- champion and challenger ---


def common(theirs: Problem, ours: Problem, label: Array) -> tuple[Array, str]:
    """All of them: with another positive it would be another problem."""
    return np.ones(len(label), dtype=bool), ""


def translated(out: Outputs, theirs: Problem, ours: Problem) -> Outputs:
    """The same."""
    return out


# --- the service and its log ---


def answers(problem: Problem) -> dict[str, Answered]:
    """The score, and whether it reaches the threshold."""
    return {
        SCORE: Answered("number", f"Probability that {problem.label} is {problem.positive}"),
        ALERT: Answered("boolean", "Whether that is enough for an alert: the threshold was settled before the test"),
    }


def answer(out: Outputs, problem: Problem) -> dict[str, list[Any]]:
    """As plain numbers, and true or false."""
    return {SCORE: out[SCORE].tolist(), ALERT: out[ALERT].tolist()}


def logged(columns: Mapping[str, Array], problem: Problem) -> Outputs:
    """As they are."""
    return columns


def buckets(problem: Problem, settled: Mapping[str, Any]) -> tuple[float, ...]:
    """The narrower the lower, as most scores are near 0."""
    return BUCKETS


NOBODY = Problem("", "binary", "", "integer", None, "", 0)  # whose words are not asked for
