"""A number, and an interval that covers a share of the labels (`interval` in contract.yaml).

The interval is settled on days that neither the fit nor the test has seen, in each tenth of the predictions: where
they err more, it is wider. It promises what held on those days, of a row whose errors are like theirs. Rows of a group
are ranked among each other (pipeline/tasks/ranking.py).
"""

from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.model import Outputs, Problem
from pipeline.tasks import (
    BINS,
    Answered,
    Array,
    Constants,
    Judged,
    Metric,
    Values,
    Var,
    bins,
    by_chunks,
    calibrated,
    means,
    ranking,
    ratio,
    share,
    total,
)

if TYPE_CHECKING:
    import polars as pl

    from pipeline.contract import Contract
    from pipeline.families import Loss

PREDICTION, LOW, HIGH = "prediction", "low", "high"
EDGES, BELOW, ABOVE = "edges", "below", "above"

LOSS: "Loss" = "squared"
OUTPUTS: Mapping[str, str] = {PREDICTION: "float", LOW: "float", HIGH: "float"}
WATCHED = PREDICTION
POINT = "prediction"
SPAN: float | None = None
METRICS: Mapping[str, Metric] = {
    "rmse": Metric("RMSE", "Root of the mean squared error, in {unit}; less is better", larger=False, always=True),
    "mae": Metric("MAE", "Mean absolute error, in {unit}; less is better", larger=False),
    "r2": Metric("R²", "Share of the labels' variance that predictions explain", always=True, chance=0.0),
    "bias": Metric(
        "Bias",
        "Distance of the mean prediction from the mean label, in {unit}; less is better",
        larger=False,
        raised=True,
    ),
    "coverage": Metric(
        "Coverage", "Share of labels that lie in their interval; {interval} are promised", always=True, ends=(0, 1)
    ),
    "coverage_lowest_tenth": Metric(
        "Coverage, lowest tenth",
        "Share of labels in their interval, of the tenth of the {rows} with the lowest predictions",
        ends=(0, 1),
    ),
    "coverage_highest_tenth": Metric(
        "Coverage, highest tenth",
        "Share of labels in their interval, of the tenth of the {rows} with the highest predictions",
        ends=(0, 1),
    ),
    "width": Metric("Width", "Mean width of the intervals, in {unit}; less is better", larger=False, always=True),
    **ranking.METRICS,
}
HEADLINE = "rmse"
SLICED: tuple[str, ...] = ("rmse", "mae")
ESTIMATED: tuple[str, ...] = ()
CALIBRATION: str | None = None
KNOBS: tuple[str, ...] = ()
SETTLES = True
SETTLED_BY: tuple[str, ...] = ()
POSITIVE: float | None = None
REST: str | None = None

COVERED = 0.9  # of the labels, where the contract says nothing
TENTHS = 10
LEAST = 30  # rows of a tenth
EQUAL = 1e-6  # of the largest prediction: what differs by less, as rounding makes it, is one prediction
ROUNDED = 1e-12


# --- learning ---


def width(problem: Problem) -> int:
    """The number alone."""
    return 1


def target(problem: Problem) -> "pl.Expr":
    """The number as float64, null where it is none."""
    import polars as pl

    value = pl.col(problem.label).cast(pl.Float64)
    return pl.when(value.is_finite()).then(value)


def lacks(label: Array, problem: Problem) -> str:
    """What is lacking is a second value."""
    return "" if len(np.unique(label)) > 1 else f"one value of {problem.label} only"


def unmeasurable(label: Array, problem: Problem) -> str:
    """One row is enough to be right or wrong about."""
    return "" if len(label) else "no row"


def alike(label: Array, weight: Array, problem: Problem) -> Array:
    """The mean, which has the least squared error."""
    return np.array([np.average(label, weights=weight)])


def settle(raw: Array, target: Array, weight: Array, problem: Problem, knobs: Mapping[str, Any]) -> Constants:
    """`edges` [tenths - 1] between the tenths of the predictions; how far intervals reach `below` and `above` [tenths].

    Split conformal prediction, in each tenth so that it covers there too (the Mondrian kind: Vovk, Gammerman and
    Shafer, Algorithmic Learning in a Random World, 2005, 4.5), with a quantile of the errors on each side.
    """
    there = weight > 0
    prediction, weight = limited(raw[there, 0], problem), weight[there]
    missed, inside = target[there] - prediction, (1 + covered(problem)) / 2
    edges = tenths(prediction, weight, inside)
    place = np.searchsorted(edges, prediction, side="right")
    each = [place == tenth for tenth in range(len(edges) + 1)]
    return {
        EDGES: edges,
        BELOW: np.array([farthest(-missed[rows], weight[rows], inside) for rows in each]),
        ABOVE: np.array([farthest(missed[rows], weight[rows], inside) for rows in each]),
    }


def decides(settled: Mapping[str, Any], rows: int) -> str:
    """That it was the intervals; and that so few rows say little of them."""
    few = ": they are few, and what the intervals cover is not sure" if rows < TENTHS * LEAST else ""
    return f"The intervals of the predictions are settled on {rows:,} rows that the fit has not seen{few}."


def tenths(prediction: Array, weight: Array, inside: float) -> Array:
    """Edges half-way between predictions, so that rounding moves no row across one, with as much weight between each.

    Fewer where one would have less than LEAST rows, or too few for a quantile `inside`; equal predictions share one.
    """
    order = np.argsort(prediction, kind="stable")
    ordered, reached = prediction[order], np.cumsum(weight[order])
    ends = 1 + np.flatnonzero(np.diff(ordered) > EQUAL * np.abs(ordered).max())  # rows up to where another one begins
    wanted = np.searchsorted(reached[ends - 1], reached[-1] * np.arange(1, TENTHS) / TENTHS)
    found: list[int] = []
    for end in ends[np.unique(wanted[wanted < len(ends)])].tolist():
        fewest = min(end - found[-1] if found else end, len(ordered) - end)
        if fewest >= LEAST and (fewest + 1) * (1 - inside) >= 1 - ROUNDED:
            found.append(end)
    after = np.array(found, dtype=np.int64)
    return (ordered[after - 1] + ordered[after]) / 2


def farthest(distance: Array, weight: Array, inside: float) -> float:
    """The distance within which a further row lies with this probability, which counts as one more that lies farther.

    Of n rows the (n + 1) inside-th: Lei et al., Distribution-Free Predictive Inference for Regression (2018). Between
    two rows it is interpolated: rounded up, an interval settled on few rows would cover more than it promises.
    The largest where they are too few, and 0 at least: an interval holds its prediction.
    """
    order, row = np.argsort(distance), weight.mean()
    return max(float(np.interp(inside * (weight.sum() + row), np.cumsum(weight[order]), distance[order])), 0.0)


def covered(problem: Problem) -> float:
    """The share of the labels that an interval has to cover."""
    return COVERED if problem.interval is None else problem.interval


def limited(values: Array, problem: Problem) -> Array:
    """Values within the label's range."""
    lowest = -np.inf if problem.lowest is None else problem.lowest
    return np.clip(values, lowest, np.inf if problem.highest is None else problem.highest)


def outputs(raw: Array, constants: Constants, problem: Problem) -> Outputs:
    """The prediction, and the interval's ends, which hold it: float64 [rows], within the label's range."""
    prediction = limited(raw[:, 0], problem)
    tenth = np.searchsorted(constants[EDGES], prediction, side="right")
    return {
        PREDICTION: prediction,
        LOW: limited(prediction - constants[BELOW][tenth], problem),
        HIGH: limited(prediction + constants[ABOVE][tenth], problem),
    }


def head(raw: Var, constants: Constants, problem: Problem) -> dict[str, Var]:
    """The same in the graph."""
    import spox.opset.ai.onnx.v18 as op

    lowest, highest = (None if end is None else op.const(float(end)) for end in (problem.lowest, problem.highest))
    prediction = op.clip(op.reshape(raw, op.const([-1])), lowest, highest)
    reached = op.greater_or_equal(op.unsqueeze(prediction, op.const([1])), op.const(constants[EDGES]))
    tenth = op.reduce_sum(op.cast(reached, to=np.int64), op.const([1]), keepdims=0)
    below, above = (op.gather(op.const(constants[name]), tenth) for name in (BELOW, ABOVE))
    return {
        PREDICTION: prediction,
        LOW: op.clip(op.sub(prediction, below), lowest, highest),
        HIGH: op.clip(op.add(prediction, above), lowest, highest),
    }


def raw(out: Outputs) -> Array:
    """The predictions."""
    return out[PREDICTION][:, None]


def decided(label: Array, weight: Array, out: Outputs) -> float:
    """Those whose label lies in its interval."""
    return float(np.average(held(label, out), weights=weight))


def follows(out: Outputs, settled: Constants, problem: Problem) -> Array:
    """The interval reaches as far as those of its tenth, and the prediction lies within the label's range."""
    return gap(out, outputs(out[PREDICTION][:, None], settled, problem)) <= EQUAL


def gap(out: Outputs, right: Outputs) -> Array:
    """The largest difference of a prediction and its interval's reach, relative to a row's numbers or a usual row's.

    An interval may reach as far as that of the next lower or higher prediction: rounding moves rows to another tenth.
    """
    rows, order = np.arange(len(right[PREDICTION])), np.argsort(right[PREDICTION], kind="stable")
    place = np.searchsorted(right[PREDICTION][order], out[PREDICTION])
    near = (rows, order[np.maximum(place - 1, 0)], order[np.minimum(place, len(order) - 1)])
    apart = [np.abs(out[PREDICTION] - right[PREDICTION])]
    for end in (LOW, HIGH):
        reach, known = out[end] - out[PREDICTION], right[end] - right[PREDICTION]
        apart.append(np.min([np.abs(reach - known[each]) for each in near], axis=0))
    distance, size = np.max(apart, axis=0), np.max([np.abs(right[name]) for name in OUTPUTS], axis=0)
    return np.where(distance == 0, 0, distance / np.maximum(np.maximum(size, np.median(size)), np.finfo(float).tiny))


def sound(out: Outputs, problem: Problem) -> Array:
    """Finite numbers, the interval around the prediction."""
    finite = np.isfinite([out[name] for name in OUTPUTS]).all(axis=0)
    return finite & (out[LOW] <= out[PREDICTION]) & (out[PREDICTION] <= out[HIGH])


# --- measuring ---


def measure(test: Judged, out: Outputs, resamples: Array, only: Collection[str] | None = None) -> Values:
    """Metrics of the predictions, and of the intervals."""
    lost = unmeasured(test)
    asked = [name for name in METRICS if (only is None or name in only) and name not in lost]
    if not len(test.label):
        return {name: np.full(len(resamples), np.nan) for name in asked}
    return by_chunks(partial(_measure, test, out, asked), resamples)


def _measure(test: Judged, out: Outputs, asked: Collection[str], resamples: Array) -> Values:
    resamples = resamples.astype(np.float64)
    missed, inside = out[PREDICTION] - test.label, held(test.label, out)
    found = {
        "rmse": lambda: np.sqrt(share(test, missed**2, resamples)),
        "mae": lambda: share(test, np.abs(missed), resamples),
        "r2": lambda: r2(test, missed, resamples),
        "bias": lambda: np.abs(share(test, missed, resamples)),
        "coverage": lambda: share(test, inside, resamples),
        "coverage_lowest_tenth": lambda: share(test, inside, resamples, outermost(test, out)[0]),
        "coverage_highest_tenth": lambda: share(test, inside, resamples, outermost(test, out)[1]),
        "width": lambda: share(test, out[HIGH] - out[LOW], resamples),
        **ranking.measures(test, out[PREDICTION], resamples),
    }
    return {name: found[name]() for name in asked}


def likely(out: Outputs) -> Array | None:
    """Nothing: a number and its interval say it of no label. What the interval covers is measured, of late labels."""
    return None


def unmeasured(test: Judged) -> dict[str, str]:
    """Without groups nothing is ranked within one."""
    return ranking.unmeasured(test)


def held(label: Array, out: Outputs) -> Array:
    """Whether each label lies in its interval: 1 or 0, float64 [rows]."""
    return ((out[LOW] <= label) & (label <= out[HIGH])).astype(np.float64)


def outermost(test: Judged, out: Outputs) -> tuple[Array, Array]:
    """The tenth of the rows with the lowest predictions, and that with the highest, and their equals: bool [rows]."""
    prediction, place = out[PREDICTION], bins(out[PREDICTION], test.weights, TENTHS)
    return prediction <= prediction[place == place.min()].max(), prediction >= prediction[place == place.max()].min()


def r2(test: Judged, missed: Array, resamples: Array) -> Array:
    """1 - the squared errors' share of the labels' own around their mean (scikit-learn's r2_score).

    NaN where labels are equal, and there is nothing to explain.
    """
    label = test.label - test.label.mean()  # so that few digits are lost
    mass, first, second = (total(test, values, resamples) for values in (np.ones(len(label)), label, label**2))
    varied = second - ratio(first**2, mass)
    return 1 - ratio(total(test, missed**2, resamples), np.where(varied > ROUNDED * second, varied, 0))


# --- groups of people, slices, labels ---


def rates(test: Judged, out: Outputs, problem: Problem) -> dict[str, tuple[Array, Array]]:
    """The errors' mean and size, and the coverage."""
    missed = out[PREDICTION] - test.label
    each = (missed, np.abs(missed), held(test.label, out))
    return {name: (values, np.ones(len(missed))) for name, values in zip(rate_names(problem), each, strict=True)}


def rate_names(problem: Problem) -> tuple[str, ...]:
    """Above 0, a mean error says that predictions are too high."""
    return "mean_error", "mean_absolute_error", "coverage"


def rarest(label: Array, problem: Problem) -> int | None:
    """None: there are no classes."""
    return None


def told(label: Array, problem: Problem, ours: "Contract") -> str:
    """Their mean."""
    return f"mean {' '.join(filter(None, (f'{label.mean():,.4g}', problem.unit)))}" if len(label) else ""


def parts(problem: Problem) -> dict[str, "pl.Expr"]:
    """The mean."""
    return {"mean": target(problem)}


# --- one number a row ---


def point(out: Outputs, about: Array | int | None = None) -> Array:
    """The prediction."""
    return out[PREDICTION]


def about(out: Outputs) -> Array | None:
    """There are no classes."""
    return None


def directions(problem: Problem, ours: "Contract", about: Any = None) -> tuple[str, str]:
    """A larger number, or a smaller one."""
    return f"a larger {problem.label}", f"a smaller {problem.label}"


def moved(before: Outputs, after: Outputs) -> Array:
    """By how much the prediction moved."""
    return np.abs(after[PREDICTION] - before[PREDICTION])


def error(label: Array, out: Outputs) -> Array:
    """The prediction's distance from the label."""
    return np.abs(label - out[PREDICTION])


# --- curves ---


def curves(test: Judged, outs: Mapping[str, Outputs], problem: Problem) -> list[dict[str, Any]]:
    """Labels by prediction, the model's errors and intervals. No point is a row: a label may be somebody's."""
    model, weight = outs["model"], test.weights
    missed = model[PREDICTION] - test.label
    place = bins(model[PREDICTION], weight, TENTHS)
    inside, wide = (means(v, place, weight).tolist() for v in (held(test.label, model), model[HIGH] - model[LOW]))
    numbers = np.arange(1, len(wide) + 1)
    edges = spread(missed)
    return [
        {
            "kind": "points",
            "title": "Labels by prediction",
            "about": "On the dashed line, predictions are the mean label of the {rows} that get them",
            "x": said("Mean prediction", problem),
            "y": said("Mean label", problem),
            "scale": "linear",
            "diagonal": True,
            "series": {name: calibrated(test, out[PREDICTION]) for name, out in outs.items()},
        },
        {
            "kind": "line",
            "title": "Intervals, and where labels lay",
            "about": "An end is right where it meets the quantile of the labels that it stands for",
            "x": said("Mean prediction", problem),
            "y": said("Label", problem),
            "scale": "linear",
            "series": around(test, model, covered(problem)),
        },
        {
            "kind": "histogram",
            "title": "Errors",
            "about": "How many {rows} were predicted too low or too high by so much; the ends hold what lies beyond",
            "x": said("Prediction less label", problem),
            "y": "Rows",
            "edges": edges.tolist(),
            "series": {"errors": {"y": np.histogram(np.clip(missed, edges[0], edges[-1]), edges)[0].tolist()}},
        },
        {
            "kind": "line",
            "title": "Coverage by tenth of the prediction",
            "about": "The share of labels that lie in their interval, and the share that is promised",
            "x": "Tenth, the lowest predictions first",
            "y": "Share of labels",
            "series": {
                "covered": {"x": numbers.tolist(), "y": inside},
                "promised": {"x": [1, len(wide)], "y": [covered(problem)] * 2},
            },
        },
        {
            "kind": "bars",
            "title": "Width by tenth of the prediction",
            "about": "The mean width of the intervals, the lowest predictions first",
            "x": "Tenth",
            "y": said("Width", problem),
            "labels": [str(number) for number in numbers],
            "series": {"width": {"y": wide}},
        },
    ]


def around(test: Judged, out: Outputs, inside: float) -> dict[str, dict[str, list[float]]]:
    """The intervals' mean ends by prediction, and the quantiles of the labels that they stand for."""
    place, weight = bins(out[PREDICTION], test.weights, BINS), test.weights
    x, low, high = (means(out[name], place, weight).tolist() for name in OUTPUTS)
    lines = {"low": low, "high": high}
    for part in ((1 - inside) / 2, (1 + inside) / 2):
        lines[f"{part:.4g} of the labels are lower"] = [
            float(np.quantile(test.label[rows], part, weights=weight[rows], method="inverted_cdf"))
            for rows in (place == each for each in np.unique(place[weight > 0]))
        ]
    return {name: {"x": x, "y": y} for name, y in lines.items()}


def spread(missed: Array) -> Array:
    """Edges of a histogram that rare errors do not stretch: float64 [51]."""
    largest = float(np.quantile(np.abs(missed), 0.995)) or 1.0
    return np.linspace(-largest, largest, 51)


def said(words: str, problem: Problem) -> str:
    """Words, and the unit."""
    return f"{words}, in {problem.unit}" if problem.unit else words


# --- champion and challenger ---


def common(theirs: Problem, ours: Problem, label: Array) -> tuple[Array, str]:
    """All of them: with another unit it would be another problem."""
    return np.ones(len(label), dtype=bool), ""


def translated(out: Outputs, theirs: Problem, ours: Problem) -> Outputs:
    """The same."""
    return out


# --- the service and its log ---


def answers(problem: Problem) -> dict[str, Answered]:
    """The prediction, and the interval's ends."""
    promised = f"{covered(problem):.4g} of the labels lay between such ends on days that neither fit nor test has seen"
    return {
        PREDICTION: Answered("number", said(f"What {problem.label} is predicted to be", problem)),
        LOW: Answered("number", said(f"The interval's lower end: {promised}", problem)),
        HIGH: Answered("number", said("The interval's upper end", problem)),
    }


def answer(out: Outputs, problem: Problem) -> dict[str, list[Any]]:
    """As plain numbers."""
    return {name: out[name].tolist() for name in OUTPUTS}


def logged(columns: Mapping[str, Array], problem: Problem) -> Outputs:
    """As they are."""
    return columns


def buckets(problem: Problem, settled: Mapping[str, Any]) -> tuple[float, ...]:
    """The tenths that the interval was settled on; where there is one alone, what is below 0, and what is not."""
    return tuple(settled[EDGES]) or (0.0,)
