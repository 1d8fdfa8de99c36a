"""What every family does, whatever it is: the checks of test_families.py and test_families_network.py.

After river's `checks`: one fit a family and loss, in this process, and each check is a function of what was fitted.
They look at a matrix that is as bad as the encoder's may be: integers near 1e8, three hundred levels, missing values, a
column in which training had none, one that is always missing, one that never changes, one that is there or not. One of
four classes is rare, and numbers to be predicted lie near 1e6.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
import spox
from scipy.special import logsumexp

from pipeline import counts, encode, export, monitor, reference, tasks, writer
from pipeline.contract import Label
from pipeline.encode import Encoding
from pipeline.families import Array, Family, Fitted, Loss, Matrix, family
from pipeline.model import Model, Outputs, Problem, load, write
from pipeline.rows import LABEL
from tests import tables

WIDTHS: Mapping[Loss, int] = {"logistic": 1, "softmax": 4, "squared": 1}
NEAR = {"network": 1e-5}  # its layers are single precision
NEARLY = 1e-12  # of log odds: between the graph and what was fitted, and between a row alone and in a batch
KNOBS = tables.KNOBS["families"] | {"network": tables.KNOBS["families"]["network"] | {"epochs": 6}}
ROUNDED = 1e-9  # of numbers near 1e6, which double precision has to 1e-10
ROWS, TRAINED = 3000, 2000
CATEGORIES = {3: 302, 4: 7, 6: 302}
NAMES = ("normal", "large", "gaps", "many", "few", "flag", "many more", "wide", "never", "always", "or not")
EXTREMES = (0.0, -0.0, 1e-36, -1e-35, 1e8, -1e300, 1e300, -np.inf, np.inf, np.nan)


@dataclass(frozen=True)
class Case:
    """A fitted family, and its graph."""

    name: str
    loss: Loss
    module: Family
    fitted: Fitted
    scores: Callable[[Array], Array]  # the graph, run: float64 [rows, columns] -> [rows, width]

    @property
    def width(self) -> int:
        return WIDTHS[self.loss]

    @property
    def near(self) -> float:
        """How far apart numbers may be that are meant to be the same."""
        least = ROUNDED if self.loss == "squared" else NEARLY
        return max(NEAR.get(self.name, 0) * spread(self.loss), least)

    def raw(self, values: Array) -> Array:
        """What the fitted model itself says."""
        return self.module.raw(self.fitted.state, replace(matrix(), values=values), self.loss, self.width)


@cache
def matrix() -> Matrix:
    """Rows, as bad as they may be."""
    draw = np.random.default_rng(0)
    columns = [
        draw.normal(size=ROWS),
        draw.integers(0, 5, ROWS) + 1e8,
        np.where(draw.random(ROWS) < 0.1, np.nan, draw.gamma(2, 3, ROWS)),
        draw.integers(0, 290, ROWS),  # some codes are seen by nobody
        draw.integers(0, 7, ROWS),
        draw.random(ROWS) < 0.3,
        draw.integers(0, 302, ROWS),
        draw.normal(size=ROWS) * 1e5,
        np.full(ROWS, np.nan),
        np.full(ROWS, 7.0),
        np.where(draw.random(ROWS) < 0.3, np.nan, 1.0),  # only missing values tell: trees split at infinity
    ]
    return Matrix(np.column_stack(columns).astype(np.float64), NAMES, CATEGORIES)


@cache
def target(loss: Loss) -> Array:
    """Their labels: 1 or 0; one of four codes, of which 1 is rare; or numbers near 1e6."""
    values = matrix().values
    odds = values[:, 0] + (values[:, 3] % 5) / 2 + np.isnan(values[:, 2]) + (values[:, 1] - 1e8) / 3 + values[:, 4] / 4
    odds += np.isnan(values[:, 10]) + np.random.default_rng(1).normal(size=ROWS)
    if loss == "squared":
        return 1e6 + 3 * odds
    if loss == "softmax":
        return np.array([2.0, 0.0, 3.0, 1.0])[np.digitize(odds, np.quantile(odds, [0.3, 0.7, 0.97]))]
    return (odds > 4).astype(np.float64)


@cache
def weights() -> Array:
    return np.random.default_rng(2).integers(1, 4, ROWS).astype(np.float64)


def spread(loss: Loss) -> float:
    """The unit of what is said."""
    return float(target(loss).std()) if loss == "squared" else 1.0


def fit(name: str, loss: Loss, chosen: Any = slice(TRAINED), weight: Array | None = None) -> Fitted:
    """A family, fitted to some of the rows."""
    rows = replace(matrix(), values=matrix().values[chosen])
    weight = weights()[chosen] if weight is None else weight
    return family(name).fit(rows, target(loss)[chosen], weight, loss, WIDTHS[loss], KNOBS[name])


def case(name: str, loss: Loss) -> Case:
    """A family, fitted once."""
    fitted = fit(name, loss)
    return Case(name, loss, family(name), fitted, run(family(name), fitted.state, loss))


def run(
    module: Family, state: bytes, loss: Loss, categories: Mapping[int, int] = CATEGORIES, columns: int = len(NAMES)
) -> Callable[[Array], Array]:
    """The family's graph in onnxruntime."""
    rows = spox.argument(spox.Tensor(np.float64, ("rows", columns)))
    graph = spox.build({"rows": rows}, {"raw": module.graph(state, rows, categories, loss, WIDTHS[loss])})
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda values: session.run(["raw"], {"rows": values})[0]


def risk(loss: Loss, raw: Array, label: Array) -> float:
    """The mean loss of rows."""
    if loss == "squared":
        return float(np.mean((raw[:, 0] - label) ** 2))
    logits = np.hstack([np.zeros_like(raw), raw]) if loss == "logistic" else raw
    return float(np.mean(logsumexp(logits, axis=1) - logits[np.arange(len(raw)), label.astype(int)]))


# --- the checks ---


def repeats(of: Case) -> None:
    """The same rows and the same seed give the same bytes."""
    assert fit(of.name, of.loss).state == of.fitted.state


def says_how_it_was_fitted(of: Case) -> None:
    """Finite numbers, and words, by name; `epochs` is a list of such."""
    epochs = of.fitted.about.get("epochs", [])
    for said in [{name: value for name, value in of.fitted.about.items() if name != "epochs"}, *epochs]:
        assert all(isinstance(value, str) or np.isfinite(value) for value in said.values())


def graph_is_what_was_fitted(of: Case) -> None:
    """On test rows, extremes, split points and their neighbours, every code, and rows of which nothing is known."""
    values = np.vstack([matrix().values[TRAINED:], *crafted(of.module.edges(of.fitted.state))])
    expected, found = of.raw(values), of.scores(values)
    assert found.dtype == expected.dtype == np.float64
    assert found.shape == expected.shape == (len(values), of.width)
    assert np.isfinite(expected).all()
    worst = np.abs(found - expected).max(axis=1).argmax()
    assert np.abs(found - expected).max() < of.near, dict(zip(NAMES, values[worst], strict=True))


def crafted(edges: Mapping[int, Array]) -> Iterator[Array]:
    """Rows with one value each that is hard to get right."""
    draw, values = np.random.default_rng(1), matrix().values
    for column in range(len(NAMES)):
        ends = edges.get(column, np.empty(0))
        numbers = [ends, np.nextafter(ends, np.inf), np.nextafter(ends, -np.inf), EXTREMES]
        hard = np.arange(CATEGORIES[column]) if column in CATEGORIES else np.concatenate(numbers)
        rows = values[draw.integers(0, ROWS, len(hard))].copy()
        rows[:, column] = hard
        yield rows
    nothing = values[:1].copy()
    nothing[:] = [[0 if column in CATEGORIES else np.nan for column in range(len(NAMES))]]
    yield nothing


def edges_are_finite_and_of_numbers(of: Case) -> None:
    """Export makes rows of them."""
    for column, values in of.module.edges(of.fitted.state).items():
        assert column not in CATEGORIES
        assert len(values)
        assert np.isfinite(values).all()


def a_row_alone_is_as_in_a_batch(of: Case) -> None:
    """Requests are of one row, test weeks of many."""
    values = matrix().values[TRAINED : TRAINED + 200]
    alone = np.vstack([of.scores(values[at : at + 1]) for at in range(len(values))])
    assert np.abs(alone - of.scores(values)).max() < of.near


def shuffled_rows_have_their_scores(of: Case) -> None:
    values = matrix().values[TRAINED:]
    order = np.random.default_rng(2).permutation(len(values))
    assert np.abs(of.scores(values[order]) - of.scores(values)[order]).max() < of.near


def no_rows_have_no_scores(of: Case) -> None:
    assert of.scores(np.empty((0, len(NAMES)))).shape == (0, of.width)


def it_learns(of: Case) -> None:
    """All but the constant are better than it on rows that they have not seen; it says the same of each."""
    values, label = matrix().values[TRAINED:], target(of.loss)[TRAINED:]
    found, always = of.scores(values), case("constant", of.loss).scores(values)
    assert (always == always[0]).all()
    assert of.name == "constant" or risk(of.loss, found, label) < 0.9 * risk(of.loss, always, label)


def a_weight_counts(of: Case) -> None:
    """Where positives, a rare class or large numbers count ten times as much, more is said of them."""
    label = target(of.loss)[:TRAINED]
    large = label > label.mean() if of.loss == "squared" else label == 1
    heavy = run(of.module, fit(of.name, of.loss, weight=np.where(large, 10.0, 1.0)).state, of.loss)
    values = matrix().values[TRAINED:]
    more = (heavy(values) - of.scores(values)).mean(axis=0)
    if of.loss == "softmax":
        assert more[1] > more[[0, 2, 3]].max() + 0.5
    else:
        assert more[0] > (1 if of.loss == "logistic" else spread(of.loss) / 10)


def rows_of_no_weight_are_absent(of: Case) -> None:
    """Whatever they hold."""
    weight = np.where(np.arange(TRAINED) % 3, weights()[:TRAINED], 0)
    rows, label = replace(matrix(), values=matrix().values[:TRAINED].copy()), target(of.loss)[:TRAINED].copy()
    rows.values[weight == 0, 0] = 1e12
    label[weight == 0] = 1 if of.loss != "squared" else 1e12
    with_them = of.module.fit(rows, label, weight, of.loss, of.width, KNOBS[of.name])
    there = np.flatnonzero(weight)
    assert with_them.state == fit(of.name, of.loss, there).state


def the_graph_needs_no_more_than_numpy_and_spox(of: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """`export` runs where the packages of `fit` are not installed."""
    module = f"pipeline.families.{of.name}"
    for package in {"torch", "lightgbm", "sklearn", "scipy", *of.module.NEEDS} - {"safetensors"}:
        monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    monkeypatch.delitem(sys.modules, module)
    again: Family = import_module(module)
    values = matrix().values[TRAINED : TRAINED + 10]
    assert np.array_equal(run(again, of.fitted.state, of.loss)(values), of.scores(values))
    assert again.edges(of.fitted.state).keys() == of.module.edges(of.fitted.state).keys()


# --- and behind the encoder, in a model directory ---


@dataclass(frozen=True)
class Served:
    """A family that was fitted to the unit tests' problem, and exported."""

    case: Case
    encoding: Encoding
    model: Model
    folder: Path
    test: pl.DataFrame  # rows as the stage `rows` writes them
    asked: pl.DataFrame  # and as the source has them
    task: tasks.Task
    settled: tasks.Constants

    def gap(self, out: Outputs, right: Outputs) -> float:
        """How far outputs are apart, at most."""
        return float(self.task.gap(out, right).max())


POSED: Mapping[str, Label] = {
    "binary": tables.ours().label,
    "multiclass": Label("returned", 2, ("No", "Yes", "later")),
    "regression": Label("returned", 2, unit="€", interval=0.9),
}
"""The unit tests' problem, as one of each task."""


def labels(task: str, table: pl.DataFrame) -> Array:
    """Labels of the task that follow from the same rows; float64 [rows]."""
    returned, amount = table[LABEL].to_numpy(), table["amount"].to_numpy()
    return {
        "binary": returned,
        "multiclass": np.where(amount < 30, 2, returned),
        "regression": 50 * returned + np.sqrt(amount),
    }[task]


def served(name: str, task: str, folder: Path) -> Served:
    """A family, fitted once for a task, as `export` writes it."""
    source, table = tables.source(ROWS), tables.feature_rows(ROWS)
    seen, ours, of = table[:TRAINED], tables.ours(task=task, label=POSED[task]), tasks.task(task)
    encoding = Encoding(tuple(encode.learned(c, seen[c.name]) for c in ours.inputs), lambda _: {})
    module, problem, label = family(name), Problem.of(ours), labels(task, seen)
    rows, width = encoding.matrix(seen), of.width(problem)
    fitted = module.fit(rows, label, np.ones(TRAINED), of.LOSS, width, KNOBS[name])
    raw = module.raw(fitted.state, rows, of.LOSS, width)
    settled = of.settle(raw, label, np.ones(TRAINED), problem, {"alerts": 0.1})
    files = {"model.onnx": export.joined(encoding, module, fitted.state, settled, problem)}
    said = {name: value.tolist() for name, value in settled.items()}
    write(
        folder,
        problem=problem,
        family=name,
        processor="any",
        inputs=encoding.inputs,
        outputs=list(of.OUTPUTS),
        settled=said,
        files=files,
    )
    case = Case(name, of.LOSS, module, fitted, lambda values: values)
    return Served(case, encoding, load(folder), folder, table[TRAINED:], source[TRAINED:], of, settled)


def a_model_answers_as_was_fitted(of: Served) -> None:
    rows, problem, out = of.encoding.matrix(of.test), of.model.problem, of.model.predict(of.test)
    raw = of.case.module.raw(of.case.fitted.state, rows, of.case.loss, of.task.width(problem))
    assert of.gap(out, of.task.outputs(raw, of.settled, problem)) < of.case.near
    assert (of.task.sound(out, problem) & of.task.follows(out, of.settled, problem)).all()


def a_request_is_as_a_row_of_a_table(of: Served) -> None:
    """One row, in lists, with None where nothing is known."""
    out = of.model.predict(of.test)
    for at in range(50):
        row = {name: [value] for name, value in of.test.row(at, named=True).items()}
        assert of.gap(of.model.predict(row), tasks.picked(out, np.array([at]))) < of.case.near


def missing_unseen_and_empty_texts_score(of: Served) -> None:
    """No text is an empty one, and one text that nobody has seen is like another."""
    texts = (None, "", "a size", "another \N{SNOWMAN}")
    missing, empty, unseen, other = (
        of.model.predict(of.test.with_columns(pl.lit(text, pl.String).alias("größe €"))) for text in texts
    )
    for out in (missing, unseen):
        assert of.task.sound(out, of.model.problem).all()
    for one, another in ((missing, empty), (unseen, other)):
        assert all(np.array_equal(one[name], another[name]) for name in of.task.OUTPUTS)


def what_may_be_missing_may_all_be(of: Served) -> None:
    names = [column.name for column in of.model.inputs if column.missing]
    nothing = of.test.with_columns(pl.lit(None, of.test.schema[name]).alias(name) for name in names)
    assert len(names) > 2
    assert of.task.sound(of.model.predict(nothing), of.model.problem).all()


def the_model_has_learned(of: Served) -> None:
    """What it says is no worse than the best answer that is the same for every row, and better but for `constant`."""
    label, problem = labels(of.model.problem.task, of.test), of.model.problem
    raw = np.tile(of.task.alike(label, np.ones(len(label)), problem), (len(label), 1))
    alike = of.task.outputs(raw, of.settled, problem)
    wrong, usual = (of.task.error(label, out).mean() for out in (of.model.predict(of.test), alike))
    assert wrong < (1.1 if of.case.name == "constant" else 0.9) * usual


def service_log_and_drift_take_what_the_model_says(of: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the source has is asked for, scored as `rows` would have it, logged, and looked at beside the reference."""
    monkeypatch.setenv("MODEL", str(of.folder))
    monkeypatch.delitem(sys.modules, "pipeline.service", raising=False)
    service: Any = import_module("pipeline.service")
    monkeypatch.delitem(sys.modules, "pipeline.service")
    problem, inputs = of.model.problem, of.model.inputs
    names = [problem.id, problem.time, *(column.name for column in inputs)]
    asked = of.asked.select(names).with_columns(pl.col(pl.Datetime).dt.strftime(ISO)).write_json()
    rows = service.ASKED.model_validate_json(f'{{"rows": {asked}}}').rows
    moments, given = service.happened(rows), of.model.given(rows)
    out, task = of.model.scorer(given), of.task
    assert of.gap(out, of.model.predict(of.test)) < of.case.near
    written = writer.Rows(of.model)
    written.take([row[problem.id] for row in rows], moments, given, task.answer(out, problem), "a", 0)
    logged = monitor.answered(written.table(), problem)
    kept = pl.concat(reference.part(part, of.test, of.model) for part in (reference.TRAIN, reference.TEST))
    production = monitor.Production(of.model.digest, problem, inputs, kept)
    before = production.side(reference.TRAIN, kept[reference.DAY].unique().to_list())
    now = counts.side(logged, [*production.counted.columns, production.counted.answer])
    for input_, column in zip(inputs, production.counted.columns, strict=True):
        facts = monitor.column_facts(input_, column, before, now, 0.0)
        assert facts["distance"] == pytest.approx(0, abs=0.01)
        assert facts["rise"] == pytest.approx(0)
        assert facts["out_of_range"] == 0


ISO = "%Y-%m-%dT%H:%M:%S%.6f"
CHECKS = (
    repeats,
    says_how_it_was_fitted,
    graph_is_what_was_fitted,
    edges_are_finite_and_of_numbers,
    a_row_alone_is_as_in_a_batch,
    shuffled_rows_have_their_scores,
    no_rows_have_no_scores,
    it_learns,
    a_weight_counts,
    rows_of_no_weight_are_absent,
)

SERVED = (
    a_model_answers_as_was_fitted,
    a_request_is_as_a_row_of_a_table,
    missing_unseen_and_empty_texts_score,
    what_may_be_missing_may_all_be,
    the_model_has_learned,
)
