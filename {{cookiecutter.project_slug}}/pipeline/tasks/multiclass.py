"""One of several: a probability for each class, and the class that has the largest.

Each metric looks at the classes that the rows hold, macro F1 also at those that are answered, as scikit-learn does: a
resample without a class says nothing of it. A class that only another model knows has the code -1 here, and is never
right.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.model import Outputs, Problem
from pipeline.tasks import (
    Answered,
    Array,
    Constants,
    Judged,
    Metric,
    Values,
    Var,
    binary,
    by_chunks,
    calibrated,
    calibration_error,
    codes,
    ratio,
    share,
)

if TYPE_CHECKING:
    import polars as pl

    from pipeline.contract import Contract
    from pipeline.families import Loss

CLASS, PROBABILITIES = "class", "probabilities"

LOSS: "Loss" = "softmax"
OUTPUTS: Mapping[str, str] = {CLASS: "code", PROBABILITIES: "floats"}
WATCHED = CLASS
POINT = "probability"
SPAN: float | None = 1.0
ROC_AUC = "roc_auc"
METRICS: Mapping[str, Metric] = {
    "balanced_accuracy": Metric(
        "Balanced accuracy", "Share of a class's {rows} that is found, mean over the classes", always=True
    ),
    "accuracy": Metric("Accuracy", "Share of {rows} that get their class"),
    "macro_f1": Metric("Macro F1", "Harmonic mean of a class's precision and recall, mean over the classes"),
    "least_recall": Metric("Least recall", "Share found of the class that is found least", always=True),
    "log_loss": Metric(
        "Log loss", "Mean of -log of the right class's probability; less is better", larger=False, always=True
    ),
    ROC_AUC: Metric(
        "ROC AUC",
        "Probability that a {row} of a class has more of its probability than another, mean over the classes",
        chance=0.5,
    ),
    "calibration_error": Metric(
        "Calibration error",
        "Mean distance of the answered class's probability from the share that is right; less is better",
        larger=False,
        raised=True,
    ),
}
HEADLINE = "balanced_accuracy"
SLICED: tuple[str, ...] = ("accuracy", "log_loss")
ESTIMATED: tuple[str, ...] = ("balanced_accuracy", "accuracy", "log_loss")
CALIBRATION: str | None = "calibration_error"
KNOBS: tuple[str, ...] = ()
SETTLES = False
SETTLED_BY: tuple[str, ...] = ()
POSITIVE: float | None = None
REST: str | None = None

ROUNDED = 1e-6  # by so much probabilities may be off
DRAWN = 10  # classes of a plot, at most, with a line each
FEW = 3  # classes that are named where they are not there
SHOWN = 20  # classes of a table or a bar plot, at most: the rarest count as one


# --- learning ---


def width(problem: Problem) -> int:
    """A number a class."""
    return len(problem.values)


def target(problem: Problem) -> "pl.Expr":
    """The class's code: float64, null for what is no class."""
    return codes(problem)


def lacks(label: Array, problem: Problem) -> str:
    """What is lacking is a class."""
    there = np.bincount(label.astype(np.int64), minlength=width(problem))
    lost = [name for name, rows in zip(texts(problem), there, strict=True) if not rows]
    return f"no row whose {problem.label} is {' or '.join(lost)}" if lost else ""


def unmeasurable(label: Array, problem: Problem) -> str:
    """One class is enough to be right or wrong about."""
    return "" if len(label) else "no row"


def alike(label: Array, weight: Array, problem: Problem) -> Array:
    """The logs of the classes' shares."""
    shares = np.bincount(label.astype(np.int64), weight, minlength=width(problem))
    return np.log(shares / shares.sum())


def settle(raw: Array, target: Array, weight: Array, problem: Problem, knobs: Mapping[str, Any]) -> Constants:
    """Nothing."""
    return {}


def decides(settled: Mapping[str, Any], rows: int) -> str:
    """Nothing: the class with the largest probability is answered."""
    return ""


def outputs(raw: Array, constants: Constants, problem: Problem) -> Outputs:
    """The class int64 [rows], of equal ones the first, and the softmax of logits, float64 [rows, classes]."""
    grown = np.exp(raw - raw.max(axis=1, keepdims=True))
    return {CLASS: raw.argmax(axis=1), PROBABILITIES: grown / grown.sum(axis=1, keepdims=True)}


def head(raw: Var, constants: Constants, problem: Problem) -> dict[str, Var]:
    """The same in the graph."""
    import spox.opset.ai.onnx.v18 as op

    return {CLASS: op.arg_max(raw, axis=1, keepdims=0), PROBABILITIES: op.softmax(raw, axis=1)}


def raw(out: Outputs) -> Array:
    """The logs of the probabilities."""
    return np.log(np.maximum(out[PROBABILITIES], np.finfo(float).tiny))


def decided(label: Array, weight: Array, out: Outputs) -> float:
    """All of them: nothing is settled."""
    return 1.0


def follows(out: Outputs, settled: Constants, problem: Problem) -> Array:
    """Nothing is settled: `sound` holds the class against the probabilities."""
    return np.full(len(out[CLASS]), not settled)


def gap(out: Outputs, right: Outputs) -> Array:
    """The probabilities' largest difference; where the classes differ, also how much less likely the wrong one is."""
    rows, code, places = np.arange(len(out[CLASS])), out[CLASS], right[PROBABILITIES].shape[1]
    likely = right[PROBABILITIES][rows, np.clip(code, 0, places - 1)]
    less = right[PROBABILITIES][rows, right[CLASS]] - likely
    wrong = np.where((code >= 0) & (code < places), less, np.inf)
    distance = np.abs(out[PROBABILITIES] - right[PROBABILITIES]).max(axis=1)
    return np.maximum(distance, np.where(code == right[CLASS], 0, wrong))


def sound(out: Outputs, problem: Problem) -> Array:
    """Probabilities of so many classes that sum to 1, and the class that has the largest."""
    probabilities, code = out[PROBABILITIES], out[CLASS]
    if probabilities.shape != (len(code), width(problem)):
        return np.zeros(len(code), dtype=bool)
    rows, places = probabilities.shape
    largest = probabilities[np.arange(rows), np.clip(code, 0, places - 1)] >= probabilities.max(axis=1) - ROUNDED
    whole = np.abs(probabilities.sum(axis=1) - 1) <= ROUNDED
    return (probabilities >= 0).all(axis=1) & whole & largest & (code >= 0) & (code < places)


# --- measuring ---


def measure(test: Judged, out: Outputs, resamples: Array, only: Collection[str] | None = None) -> Values:
    """Metrics of the classes, and of the probabilities."""
    asked = [name for name in METRICS if only is None or name in only]
    if not len(test.label):
        return {name: np.full(len(resamples), np.nan) for name in asked}
    areas = one_against_rest(test, out[PROBABILITIES]) if ROC_AUC in asked else []
    return by_chunks(partial(_measure, test, out, asked, areas), resamples)


def _measure(
    test: Judged, out: Outputs, asked: Collection[str], areas: Sequence[Callable[[Array], Array]], resamples: Array
) -> Values:
    resamples = resamples.astype(np.float64)
    label, code, said = test.label.astype(np.int64), out[CLASS], answered(out)
    by_class = partial(_by_class, test, out[PROBABILITIES].shape[1], resamples)
    held, given, found = by_class(label), by_class(np.maximum(code, 0), code >= 0), by_class(label, code == label)
    recall = ratio(found, held)
    made = {
        "balanced_accuracy": lambda: mean(recall),
        "accuracy": lambda: share(test, code == label, resamples),
        "macro_f1": lambda: mean(ratio(2 * found, held + given)),
        "least_recall": lambda: np.fmin.reduce(recall, axis=1),  # which leaves NaN out
        "log_loss": lambda: share(test, surprise(label, out), resamples),
        ROC_AUC: lambda: roc_auc(test, areas, resamples),
        "calibration_error": lambda: calibration_error(as_right(test, out), said, resamples),
    }
    return {name: made[name]() for name in asked}


def likely(out: Outputs) -> Array | None:
    """The probabilities of the classes."""
    said: Array = out[PROBABILITIES]
    return said


def unmeasured(test: Judged) -> dict[str, str]:
    """None: classes are not ranked within a group."""
    return {}


def _by_class(test: Judged, classes: int, resamples: Array, code: Array, among: Array | None = None) -> Array:
    """The weight of the rows of each class, those `among` bool [rows] or all: [resamples, classes]."""
    weight = test.weights if among is None else test.weights * among
    units = resamples.shape[1]
    return resamples @ np.bincount(test.unit * classes + code, weight, units * classes).reshape(units, classes)


def mean(values: Array) -> Array:
    """The mean over the classes that have a value: [resamples, classes] -> [resamples]; NaN where none has."""
    there = ~np.isnan(values)
    return ratio(np.where(there, values, 0).sum(axis=1), there.sum(axis=1))


def answered(out: Outputs) -> Array:
    """The probability of each row's class; of one that is not ours, all that ours are not given."""
    code, probabilities = out[CLASS], out[PROBABILITIES]
    return np.where(code < 0, 1 - probabilities.sum(axis=1), probabilities[np.arange(len(code)), code])


def as_right(test: Judged, out: Outputs) -> Judged:
    """The rows with another label: whether the answered class is right."""
    return replace(test, label=(out[CLASS] == test.label).astype(np.float64))


def surprise(label: Array, out: Outputs) -> Array:
    """-log of the right class's probability, which is cut off where doubles end (scikit-learn's log_loss)."""
    step = np.finfo(np.float64).eps
    return -np.log(np.clip(out[PROBABILITIES][np.arange(len(label)), label], step, 1 - step))


def roc_auc(test: Judged, areas: Sequence[Callable[[Array], Array]], resamples: Array) -> Array:
    """One against the rest, mean over the classes that the rows hold; NaN where there are not two of them.

    scikit-learn's roc_auc_score with `ovr`, which takes rows of all classes alone.
    """
    counted = np.take(resamples, test.unit, axis=1)
    counted *= test.weights
    return mean(np.stack([area(counted) for area in areas], axis=1))


def one_against_rest(test: Judged, probabilities: Array) -> list[Callable[[Array], Array]]:
    """For each class the ROC AUC against the rest, of how much each row counts: [resamples, rows] -> [resamples]."""
    return [_area(test.label == code, score) for code, score in enumerate(probabilities.T)]


def _area(positive: Array, score: Array) -> Callable[[Array], Array]:
    """Mann and Whitney's U, of `positive` bool [rows] and `score` [rows].

    Of each other row the weight of the positives below it is asked for, an equal one counting half. Rows between the
    same two positives share it, so that positives alone are added up, and nothing is sorted for a resample.
    """
    places = np.flatnonzero(positive)
    places = places[np.argsort(score[places], kind="stable")]
    ends = (np.searchsorted(score[places], score, side=side) for side in ("left", "right"))
    first, last = (np.where(positive, 0, end) for end in ends)  # a positive has none below it that it is held against
    cell, place = np.unique(first * (len(places) + 1) + last, return_inverse=True)
    first, last = np.divmod(cell, len(places) + 1)

    def area(counted: Array) -> Array:
        reached = np.zeros((len(counted), len(places) + 1))
        np.cumsum(np.take(counted, places, axis=1), axis=1, out=reached[:, 1:])
        between = (np.take(reached, first, axis=1) + np.take(reached, last, axis=1)) / 2
        below = np.take(between, place, axis=1)  # which is far faster than an index
        return 1 - ratio(np.einsum("ij,ij->i", counted, below), reached[:, -1] * (counted @ ~positive))

    return area


# --- groups of people, slices, labels ---


def rates(test: Judged, out: Outputs, problem: Problem) -> dict[str, tuple[Array, Array]]:
    """The accuracy, and each class's recall."""
    right = (out[CLASS] == test.label).astype(np.float64)
    among = [np.ones(len(right)), *((test.label == code).astype(np.float64) for code in range(width(problem)))]
    return {name: (right, each) for name, each in zip(rate_names(problem), among, strict=True)}


def rate_names(problem: Problem) -> tuple[str, ...]:
    """Of rows that get their class, and of each class's that are found."""
    return "accuracy", *(f"recall_{name}" for name in texts(problem))


def rarest(label: Array, problem: Problem) -> int | None:
    """None: the metrics of a slice have a value whichever classes it holds."""
    return None


def told(label: Array, problem: Problem, ours: "Contract") -> str:
    """The most frequent class, its share, and which classes are not there."""
    if not len(label):
        return ""
    many, names = np.bincount(label.astype(np.int64), minlength=width(problem)), texts(problem)
    lost = [name for name, rows in zip(names, many, strict=True) if not rows]
    without = f", no {' or '.join(lost)}" if len(lost) <= FEW else f", {len(lost)} classes are not among them"
    return f"{many.max() / len(label):.0%} {names[many.argmax()]}{without * bool(lost)}"


def parts(problem: Problem) -> dict[str, "pl.Expr"]:
    """The share of each class."""
    import polars as pl

    value = pl.col(problem.label)
    known = pl.when(value.is_in(problem.values))
    return {name: known.then(value == each) for name, each in zip(texts(problem), problem.values, strict=True)}


def texts(problem: Problem) -> tuple[str, ...]:
    """The classes' names."""
    return tuple(map(str, problem.values))


# --- one number a row ---


def point(out: Outputs, about: Array | int | None = None) -> Array:
    """The probability of the class `about`, or of the one that is answered."""
    if about is None:
        return answered(out)
    return out[PROBABILITIES][np.arange(len(out[CLASS])), about]


def about(out: Outputs) -> Array | None:
    """The class that is answered."""
    return out[CLASS]


def directions(problem: Problem, ours: "Contract", about: Any = None) -> tuple[str, str]:
    """The class more often, or less often."""
    return f"{about} more often", f"{about} less often"


def moved(before: Outputs, after: Outputs) -> Array:
    """How much probability moved to other classes: the total variation, 0 to 1."""
    return np.abs(after[PROBABILITIES] - before[PROBABILITIES]).sum(axis=1) / 2


def error(label: Array, out: Outputs) -> Array:
    """What the right class's probability lacks of 1."""
    return 1 - point(out, label.astype(np.int64))


# --- curves ---


def curves(test: Judged, outs: Mapping[str, Outputs], problem: Problem) -> list[dict[str, Any]]:
    """Confusion and shares of the model's classes, ROC of each against the rest, and calibration."""
    model, label, names = outs["model"], test.label.astype(np.int64), texts(problem)
    mass = np.bincount(label, test.weights, minlength=len(names))
    frequent = np.argsort(-mass, kind="stable")
    labels, place = shown(names, frequent)
    table = np.zeros((len(labels), len(labels)))
    np.add.at(table, (place[label], place[model[CLASS]]), test.weights)
    held, given = table.sum(axis=1), table.sum(axis=0)
    return [
        {
            "kind": "heat",
            "title": "Confusion",
            "about": "Of the {rows} of each class, a line each, the share that got each answer",
            "x": "Answer",
            "y": "Label",
            "labels": labels,
            "values": ratio(table, held[:, None], 0).tolist(),
            "series": {},
        },
        {
            "kind": "bars",
            "title": "Classes",
            "about": "The share of the {rows} that each class has, and that it is answered for",
            "x": "Class",
            "y": "Share",
            "labels": labels,
            "series": {"labels": {"y": (held / held.sum()).tolist()}, "answers": {"y": (given / given.sum()).tolist()}},
        },
        {
            "kind": "line",
            "title": "ROC of each class against the rest",
            "about": "The share of a class that is found, when so much of the rest is taken for it",
            "x": "False positive rate",
            "y": "True positive rate",
            "diagonal": True,
            "series": {
                names[code]: binary.roc(*binary.along(against(test, code), model[PROBABILITIES][:, code]))
                for code in frequent[:DRAWN]
                if 0 < mass[code] < mass.sum()
            },
        },
        {
            "kind": "points",
            "title": "Calibration",
            "about": "On the dashed line, the answered class is right as often as its probability promises",
            "x": "Mean probability of the answered class",
            "y": "Share that is right",
            "diagonal": True,
            "series": {name: calibrated(as_right(test, out), answered(out)) for name, out in outs.items()},
        },
    ]


def shown(names: Sequence[str], frequent: Array) -> tuple[list[str], Array]:
    """Names of at most SHOWN places, and the place of each class's code: beyond the `frequent` ones, the last."""
    if len(names) <= SHOWN:
        return list(names), np.arange(len(names))
    kept = np.sort(frequent[: SHOWN - 1])
    place = np.full(len(names), SHOWN - 1)
    place[kept] = np.arange(SHOWN - 1)
    return [*(names[code] for code in kept), "all others"], place


def against(test: Judged, code: int) -> Judged:
    """The rows with another label: whether theirs is this class."""
    return replace(test, label=(test.label == code).astype(np.float64))


# --- champion and challenger ---


def common(theirs: Problem, ours: Problem, label: Array) -> tuple[Array, str]:
    """Rows of classes that they know too; of the others, what they are."""
    known = np.array([value in theirs.values for value in ours.values])
    inside = known[label.astype(np.int64)]
    others = [texts(ours)[code] for code in np.unique(label[~inside]).astype(np.int64)]
    return inside, f"the champion does not know the {ours.label} {', '.join(others)}" if others else ""


def translated(out: Outputs, theirs: Problem, ours: Problem) -> Outputs:
    """Their probabilities in the order of our classes, 0 for those that they do not know; -1 for a class of theirs."""
    if theirs.values == ours.values:
        return out
    place = np.array([ours.values.index(value) if value in ours.values else -1 for value in theirs.values])
    probabilities = np.zeros((len(out[CLASS]), len(ours.values)))
    probabilities[:, place[place >= 0]] = out[PROBABILITIES][:, place >= 0]
    return {CLASS: place[out[CLASS]], PROBABILITIES: probabilities}


# --- the service and its log ---


def answers(problem: Problem) -> dict[str, Answered]:
    """The class, and what each has of probability."""
    return {
        CLASS: Answered("label", f"The value of {problem.label} that has the largest probability"),
        PROBABILITIES: Answered("shares", f"The probability of each value of {problem.label}"),
    }


def answer(out: Outputs, problem: Problem) -> dict[str, list[Any]]:
    """The class as a value of the label's column, the probabilities as lists of numbers."""
    return {
        CLASS: [problem.values[code] for code in out[CLASS].tolist()],
        PROBABILITIES: out[PROBABILITIES].tolist(),
    }


def logged(columns: Mapping[str, Array], problem: Problem) -> Outputs:
    """The log has the class as text: -1 where it is none of the model's."""
    known = {name: code for code, name in enumerate(texts(problem))}
    code = np.array([known.get(text, -1) for text in columns[CLASS].tolist()], dtype=np.int64)
    return {CLASS: code, PROBABILITIES: columns[PROBABILITIES]}


def buckets(problem: Problem, settled: Mapping[str, Any]) -> tuple[float, ...]:
    """None: classes are counted."""
    return ()
