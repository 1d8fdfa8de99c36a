"""Tasks, a module each: what a model says of a row, how that is measured, and what people are told of it.

A task knows no family and no table: `families` stand before it, what they say of a row is its `raw`. Nothing outside of
this package knows how many numbers a model gives, or what they mean. A further task is a module here, its name in
NAMES, a branch of policies/schemas/contract.schema.json, and a worked problem; the conformance suite runs over it by
itself.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from pipeline.model import Outputs, Problem
from pipeline.params import BadInput

if TYPE_CHECKING:
    import polars as pl

    from pipeline.contract import Contract
    from pipeline.families import Loss
    from pipeline.params import Days

NAMES = ("binary", "multiclass", "regression")

Array = np.ndarray
Var = Any  # spox.Var

Values = dict[str, Array]
"""By the metric's name, float64 [resamples], of which the first is the sample itself."""
Constants = Mapping[str, Array]
"""What was settled on rows that the fit has not seen, by name: it stands in the manifest, and in the graph's head."""

CHUNK = 50  # resamples at a time: memory is CHUNK x rows
BINS = 20  # of equal mass, for calibration
POINTS = 200  # of a curve, at most


@dataclass(frozen=True)
class Metric:
    """What is measured, for people and for bars."""

    title: str
    meaning: str  # in the problem's words: {row}, {rows}, {positive}, {positives}, {entities}, {unit}, {interval}
    larger: bool = True  # is better
    always: bool = False  # every model of this task should have a bar on it
    chance: float | None = None  # what no model misses
    raised: bool = False  # a resample, less even than the sample, has more of it
    needs: Literal["entity", "group"] | None = None  # what the contract has to name for it to be measured
    ends: tuple[float, float] | None = None  # between which it lies, where too much of it is as wrong as too little


@dataclass(frozen=True)
class Answered:
    """A part of an answer: what stands in it, in the log's column of that name with `_` before it, and in its type."""

    kind: str  # of a row's value: number, boolean, label (a value of the label's column), or shares (a number a class)
    about: str  # what it says, in the problem's words


@dataclass(frozen=True)
class Judged:
    """The judged rows as arrays [rows]; a unit is what a resample draws: an entity, else a group, else a row."""

    label: Array  # float64: codes of the label's values, or numbers
    unit: Array  # int64, 0..units-1
    day: Array  # int64
    weight: Array | None = None  # float64, how much a row counts; None where all count alike
    group: Array | None = None  # int64, 0..groups-1: rows that are ranked among each other
    entities: bool = True  # whether the units are entities that are looked at by day
    top: int = 5  # places of a group that are looked at

    @property
    def units(self) -> int:
        return int(self.unit.max(initial=-1)) + 1

    @property
    def groups(self) -> Array:
        """The group of each row, int64 [rows]; all of one where none is named."""
        return np.zeros(len(self.label), np.int64) if self.group is None else self.group

    @property
    def weights(self) -> Array:
        """How much each row counts, float64 [rows]."""
        return np.ones(len(self.label)) if self.weight is None else self.weight

    def some(self, inside: Array) -> "Judged":
        """These rows of it, bool [rows] or their places; units keep theirs."""
        weight, group = (None if part is None else part[inside] for part in (self.weight, self.group))
        label, unit, day = (part[inside] for part in (self.label, self.unit, self.day))
        return replace(self, label=label, unit=unit, day=day, weight=weight, group=group)


class Task(Protocol):
    """What a module of this package has to be (PEP 544). `out` is what a model says of rows: Outputs."""

    LOSS: "Loss"
    OUTPUTS: Mapping[str, str]  # of the graph, by name: "float", "bool" or "code" [rows], or "floats" [rows, classes]
    WATCHED: str  # the output whose drift is watched, by class or by value
    POINT: str  # what people call the one number that behaviour, reasons and distances look at
    SPAN: float | None  # of that number, from the least that it can be to the most; None where it has no ends
    METRICS: Mapping[str, Metric]  # in the order in which people read them
    HEADLINE: str  # evaluate.headline in policies/evaluation.yaml may name another
    SLICED: tuple[str, ...]  # the metrics of a slice
    ESTIMATED: tuple[str, ...]  # the metrics that `likely` lets expect; none where it says nothing
    CALIBRATION: str | None  # the metric that says how far to believe `likely`
    KNOBS: tuple[str, ...]  # of `evaluate` in policies/evaluation.yaml, that no other task has
    SETTLES: bool  # something on the calibration days, which the fit must not have seen then
    SETTLED_BY: tuple[str, ...]  # those of KNOBS that say what
    POSITIVE: float | None  # the label that makes an entity known, where there is such a one
    REST: str | None  # what labels are called that are of none of `parts`, where there are such

    def width(self, problem: Problem) -> int:
        """How many numbers a family gives for a row."""

    def target(self, problem: Problem) -> "pl.Expr":
        """The label's column as float64; null for a label that is missing, or none."""

    def lacks(self, label: Array, problem: Problem) -> str:
        """Why nothing can be learned from such labels, float64 [rows of some weight], in words; '' where it can."""

    def unmeasurable(self, label: Array, problem: Problem) -> str:
        """Why nothing can be measured on them; '' where it can."""

    def alike(self, label: Array, weight: Array, problem: Problem) -> Array:
        """The raw of the best answer that is the same for every row: float64 [width]."""

    def settle(self, raw: Array, target: Array, weight: Array, problem: Problem, knobs: Mapping[str, Any]) -> Constants:
        """Constants, of rows of split.calibrate; `knobs` are those of `evaluate`."""

    def decides(self, settled: Mapping[str, Any], rows: int) -> str:
        """What was settled on so many rows, in a sentence for people; '' for nothing. `settled` are a manifest's."""

    def outputs(self, raw: Array, constants: Constants, problem: Problem) -> Outputs:
        """What the head makes of `raw` float64 [rows, width]."""

    def head(self, raw: Var, constants: Constants, problem: Problem) -> dict[str, Var]:
        """The same in the graph, by the names of OUTPUTS."""

    def raw(self, out: Outputs) -> Array:
        """A raw that such outputs follow from; float64 [rows, width]."""

    def decided(self, label: Array, weight: Array, out: Outputs) -> float:
        """The share of the rows that a decision is settled by: those with an alert, or in their interval."""

    def follows(self, out: Outputs, settled: Constants, problem: Problem) -> Array:
        """Whether each row's decision follows from what was settled; bool [rows]."""

    def gap(self, out: Outputs, right: Outputs) -> Array:
        """How far each row's outputs are from what is right, relative to the size of what is said; float64 [rows]."""

    def sound(self, out: Outputs, problem: Problem) -> Array:
        """Whether each row's outputs are some that a model may give; bool [rows]."""

    def measure(self, test: Judged, out: Outputs, resamples: Array, only: Collection[str] | None = None) -> Values:
        """Metrics, those in `only` or all, for each resample: how often it holds each unit, [resamples, units].

        A row counts as often as its unit was drawn, times its own weight: scikit-learn's sample_weight. NaN for what
        has no value.
        """

    def likely(self, out: Outputs) -> Array | None:
        """How likely each label is, by what the model says: float64 [rows, labels by code]; None where it says nothing.

        To be believed as far as the model is calibrated.
        """

    def unmeasured(self, test: Judged) -> dict[str, str]:
        """The metrics that such rows have not, each with the reason."""

    def rates(self, test: Judged, out: Outputs, problem: Problem) -> dict[str, tuple[Array, Array]]:
        """What groups of people are compared by: of each row what is summed, and how much it counts."""

    def rate_names(self, problem: Problem) -> tuple[str, ...]:
        """Their names."""

    def rarest(self, label: Array, problem: Problem) -> int | None:
        """Rows of the rarest class, where a slice has to have each; None where not."""

    def told(self, label: Array, problem: Problem, ours: "Contract") -> str:
        """What these labels are, in a few words of the problem; '' where there is nothing to say."""

    def parts(self, problem: Problem) -> dict[str, "pl.Expr"]:
        """What of `target` a day has more or less of, by name: its mean is a class's share, or the mean label."""

    def point(self, out: Outputs, about: Array | int | None = None) -> Array:
        """The one number, of the class `about` where there are several: its code, or that of each row; float64."""

    def about(self, out: Outputs) -> Array | None:
        """The class that each row's point is of, int64 [rows], where there are several."""

    def directions(self, problem: Problem, ours: "Contract", about: Any = None) -> tuple[str, str]:
        """What there is when the number rises, and when it falls, in the problem's words; of the class `about`."""

    def moved(self, before: Outputs, after: Outputs) -> Array:
        """By how much each row's answer moved; float64 [rows], 0 for not at all."""

    def error(self, label: Array, out: Outputs) -> Array:
        """How wrong each row's answer is; float64 [rows]."""

    def curves(self, test: Judged, outs: Mapping[str, Outputs], problem: Problem) -> list[dict[str, Any]]:
        """Plots for a page that knows no task: `kind`, `title`, `x`, `y`, `series` (see pipeline/page.py)."""

    def common(self, theirs: Problem, ours: Problem, label: Array) -> tuple[Array, str]:
        """Rows whose label both models know, bool [rows], and why not the others."""

    def translated(self, out: Outputs, theirs: Problem, ours: Problem) -> Outputs:
        """What another model of this problem says, in our codes of classes."""

    def answers(self, problem: Problem) -> dict[str, Answered]:
        """The parts of an answer, in their order."""

    def answer(self, out: Outputs, problem: Problem) -> dict[str, list[Any]]:
        """Each part, as a list of a value a row: `shares` as lists in the order of the classes."""

    def logged(self, columns: Mapping[str, Array], problem: Problem) -> Outputs:
        """Outputs again, of an answer's parts as the log's columns hold them, by their names."""

    def buckets(self, problem: Problem, settled: Mapping[str, Any]) -> tuple[float, ...]:
        """Upper ends of a histogram of what is WATCHED, of a model's manifest; none where that is a class."""


def task(name: str) -> Task:
    """The module of a task. Raises BadInput for a name that is none."""
    if name not in NAMES:
        raise BadInput(f"contract.yaml: task is {name!r}; it may be one of {', '.join(NAMES)}")
    found: Any = import_module(f"pipeline.tasks.{name}")
    return found


def fitted_to(of: Task, days: "Days") -> tuple[date, date]:
    """The training days that a family is fitted to: all of them where nothing is settled on the last ones."""
    return days.fit if of.SETTLES else days.train


def expected(of: Task, out: Outputs, weight: Array) -> Mapping[str, float]:
    """The metrics of ESTIMATED that rows have if labels come as likely as the model says; each counts `weight` [rows].

    Each row counts as one of every label, as much as that is likely: confidence-based performance estimation (Białek et
    al., Estimating Model Performance Under Covariate Shift Without Labels, 2024; NannyML's CBPE). It assumes a
    calibrated model, inputs like those that it knows, and labels that follow from inputs as they did.
    """
    if (likely := of.likely(out)) is None:
        return {}
    rows, labels = likely.shape
    row = np.tile(np.arange(rows), labels)
    counts = Judged(
        label=np.repeat(np.arange(labels, dtype=np.float64), rows),
        unit=row,
        day=np.zeros(len(row), np.int64),
        weight=likely.T.ravel() * weight[row],
    )
    found = of.measure(counts, picked(out, row), np.ones((1, rows)), of.ESTIMATED)
    return {name: float(values[0]) for name, values in found.items() if np.isfinite(values[0])}


# --- what tasks share ---


def by_chunks(measure: Callable[[Array], Values], resamples: Array) -> Values:
    """What `measure` makes of resamples [resamples, units], CHUNK of them at a time."""
    parts = [measure(resamples[at : at + CHUNK]) for at in range(0, len(resamples), CHUNK)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def total(test: Judged, values: Array, resamples: Array) -> Array:
    """The sum of `values` [rows], each counting its weight, in each resample: float64 [resamples]."""
    return resamples @ np.bincount(test.unit, test.weights * values, minlength=resamples.shape[1])


def share(test: Judged, true: Array, resamples: Array, among: Array | None = None) -> Array:
    """The mean of `true` [rows], each row counting as much as `among` [rows]; NaN where there are none."""
    among = np.ones(len(test.label)) if among is None else among
    return ratio(total(test, among * true, resamples), total(test, among, resamples))


def ratio(above: Array, below: Array, otherwise: float = np.nan) -> Array:
    """above / below, and `otherwise` where below is 0."""
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, float(otherwise)), where=below > 0)


def bins(values: Array, weight: Array, number: int) -> Array:
    """The bin 0..number-1 of each value, with as much weight in each; the first holds the smallest.

    Equal values share one: else a bin would be of whichever rows come first.
    """
    _, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place, weight)
    before = (np.cumsum(mass) - mass)[place]
    return np.minimum((before * number / mass.sum()).astype(np.int64), number - 1)


def means(values: Array, place: Array, weight: Array) -> Array:
    """Mean of the values in each bin that has any."""
    mass = np.bincount(place, weight)
    return np.bincount(place, weight * values)[mass > 0] / mass[mass > 0]


def calibration_error(test: Judged, score: Array, resamples: Array) -> Array:
    """Expected calibration error: mean distance of score and label share, over BINS bins of as much weight each.

    Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning (2015), with the bins of equal mass
    of Nixon et al., Measuring Calibration in Deep Learning (2019), since most scores lie near one end.
    """
    gap = np.zeros((resamples.shape[1], BINS))
    np.add.at(gap, (test.unit, bins(score, test.weights, BINS)), test.weights * (score - test.label))
    return ratio(np.abs(resamples @ gap).sum(axis=1), total(test, np.ones(len(score)), resamples))


def calibrated(test: Judged, said: Array) -> dict[str, list[float]]:
    """Points of a plot: what is said, and the label that came of it, as means of BINS bins of as much weight each."""
    place = bins(said, test.weights, BINS)
    return {name: means(of, place, test.weights).tolist() for name, of in (("x", said), ("y", test.label))}


def codes(problem: Problem) -> "pl.Expr":
    """The label's place among the values that it may have: float64, null for none of them."""
    import polars as pl

    value, found = pl.col(problem.label), pl.lit(None, pl.Float64)
    for code, each in enumerate(problem.values):
        found = pl.when(value == each).then(float(code)).otherwise(found)
    return found


def picked(out: Outputs, inside: Array) -> Outputs:
    """The outputs of some rows: bool [rows], or their places."""
    return {name: values[inside] for name, values in out.items()}


def mistakable(problem: Problem) -> str:
    """Why the parts of an answer cannot be told from its row's identifier; '' where they can."""
    if problem.id not in task(problem.task).answers(problem):
        return ""
    return f"id is `{problem.id}`, and so is a part of every answer; rename that column"


# --- in JSON ---


def rowwise(parts: Mapping[str, list[Any]], problem: Problem, shares: Collection[str]) -> list[dict[str, Any]]:
    """Parts of answers, by their names, as JSON has them: an object a row, in which `shares` are objects by class."""
    by_class = {name: [dict(zip(problem.values, row, strict=True)) for row in parts[name]] for name in shares}
    rows: list[dict[str, Any]] = [{} for _ in next(iter(parts.values()))]
    for name, values in {**parts, **by_class}.items():
        for row, value in zip(rows, values, strict=True):  # three times as fast as a dict(zip(...)) a row
            row[name] = value
    return rows


def shares(parts: Mapping[str, Answered]) -> list[str]:
    """The names of those that are a number a class."""
    return [name for name, part in parts.items() if part.kind == "shares"]


# --- in tables: a column of outputs is a struct, so that one column is one model, whatever its task ---


def kept(name: str, out: Outputs) -> "pl.Series":
    """Outputs as a column."""
    import polars as pl

    parts = {part: pl.Series(values).arr.to_list() if values.ndim > 1 else values for part, values in out.items()}
    return pl.DataFrame(parts).to_struct(name)


def taken(column: "pl.Series") -> Outputs:
    """The outputs of a column that `kept` made."""
    parts = {part: column.struct.field(part) for part in column.struct.fields}
    return {name: array(part) for name, part in parts.items()}


def array(part: "pl.Series") -> Array:
    """An output of a column: [rows], or [rows, classes]. Raises ValueError where rows have several widths."""
    import polars as pl

    if not isinstance(part.dtype, pl.List):
        return part.to_numpy()
    if (widths := part.list.len().unique()).len() > 1:
        raise ValueError(f"{part.name} has rows of {widths[0]} and of {widths[1]} values")
    return part.list.to_array(widths[0]).to_numpy() if len(part) else np.empty((0, 0))


def sound(column: "pl.Series", of: Task, problem: Problem) -> bool:
    """Whether a column, which may come from elsewhere, holds outputs that a model of the task may give."""
    import polars as pl

    kinds = {"float": pl.Float64(), "bool": pl.Boolean(), "code": pl.Int64(), "floats": pl.List(pl.Float64())}
    if column.dtype != pl.Struct({name: kinds[kind] for name, kind in of.OUTPUTS.items()}):
        return False
    if any(column.struct.field(name).null_count() for name in of.OUTPUTS):
        return False
    try:
        return bool(of.sound(taken(column), problem).all())
    except (ValueError, TypeError):
        return False
