"""What every family does, whatever it is: the checks of test_families.py and test_families_network.py.

After river's `checks`: one fit a family, in this process, and each check is a function of what was fitted. They look at
a matrix that is as bad as the encoder's may be: integers near 1e8, three hundred levels, missing values, a column in
which training had none, one that is always missing, one that never changes, one that is there or not.
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
from sklearn.metrics import roc_auc_score

from pipeline import encode, export, log, monitor, reference, train
from pipeline.encode import Encoding
from pipeline.families import Array, Family, Fitted, Matrix, family
from pipeline.model import Model, load, write
from pipeline.rows import LABEL
from tests import tables
from tests.tables import KNOBS

NEAR = {"network": 1e-5}  # its layers are single precision
NEARLY = 1e-12  # of log odds: between the graph and what was fitted, and between a row alone and in a batch
ROWS, TRAINED = 3000, 2000
CATEGORIES = {3: 302, 4: 7, 6: 302}
NAMES = ("normal", "large", "gaps", "many", "few", "flag", "many more", "wide", "never", "always", "or not")
EXTREMES = (0.0, -0.0, 1e-36, -1e-35, 1e8, -1e300, 1e300, -np.inf, np.inf, np.nan)


@dataclass(frozen=True)
class Case:
    """A fitted family, and its graph."""

    name: str
    module: Family
    fitted: Fitted
    scores: Callable[[Array], Array]  # the graph, run: float64 [rows, columns] -> [rows, 1]

    @property
    def near(self) -> float:
        """How far apart log odds may be that are meant to be the same."""
        return NEAR.get(self.name, NEARLY)

    def raw(self, values: Array) -> Array:
        """What the fitted model itself says."""
        return self.module.raw(self.fitted.state, replace(matrix()[0], values=values), "logistic", 1)


@cache
def matrix() -> tuple[Matrix, Array, Array]:
    """Rows, their labels 1 or 0, their weights."""
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
    values = np.column_stack(columns).astype(np.float64)
    odds = values[:, 0] + (values[:, 3] % 5) / 2 + np.isnan(values[:, 2]) + (values[:, 1] - 1e8) / 3 + values[:, 4] / 4
    odds += np.isnan(values[:, 10])
    label = (odds + draw.normal(size=ROWS) > 4).astype(np.float64)
    return Matrix(values, NAMES, CATEGORIES), label, draw.integers(1, 4, ROWS).astype(np.float64)


def fit(name: str, chosen: Any = slice(TRAINED), weight: Array | None = None) -> Fitted:
    """A family, fitted to some of the rows."""
    rows, label, weights = matrix()
    chosen_weight = weights[chosen] if weight is None else weight
    some = replace(rows, values=rows.values[chosen])
    return family(name).fit(some, label[chosen], chosen_weight, "logistic", 1, KNOBS["families"][name])


def case(name: str) -> Case:
    """A family, fitted once."""
    fitted = fit(name)
    return Case(name, family(name), fitted, run(family(name), fitted.state))


def run(module: Family, state: bytes) -> Callable[[Array], Array]:
    """The family's graph in onnxruntime."""
    rows = spox.argument(spox.Tensor(np.float64, ("rows", len(NAMES))))
    graph = spox.build({"rows": rows}, {"raw": module.graph(state, rows, CATEGORIES, "logistic", 1)})
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda values: session.run(["raw"], {"rows": values})[0]


# --- the checks ---


def repeats(of: Case) -> None:
    """The same rows and the same seed give the same bytes."""
    assert fit(of.name).state == of.fitted.state


def says_how_it_was_fitted(of: Case) -> None:
    """Finite numbers, and words, by name; `epochs` is a list of such."""
    epochs = of.fitted.about.get("epochs", [])
    for said in [{name: value for name, value in of.fitted.about.items() if name != "epochs"}, *epochs]:
        assert all(isinstance(value, str) or np.isfinite(value) for value in said.values())


def graph_is_what_was_fitted(of: Case) -> None:
    """On test rows, extremes, split points and their neighbours, every code, and rows of which nothing is known."""
    values = np.vstack([matrix()[0].values[TRAINED:], *crafted(of.module.edges(of.fitted.state))])
    expected, found = of.raw(values), of.scores(values)
    assert found.dtype == expected.dtype == np.float64
    assert found.shape == expected.shape == (len(values), 1)
    assert np.isfinite(expected).all()
    worst = np.abs(found - expected).max(axis=1).argmax()
    assert np.abs(found - expected).max() < of.near, dict(zip(NAMES, values[worst], strict=True))


def crafted(edges: Mapping[int, Array]) -> Iterator[Array]:
    """Rows with one value each that is hard to get right."""
    draw, values = np.random.default_rng(1), matrix()[0].values
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
    values = matrix()[0].values[TRAINED : TRAINED + 200]
    alone = np.vstack([of.scores(values[at : at + 1]) for at in range(len(values))])
    assert np.abs(alone - of.scores(values)).max() < of.near


def shuffled_rows_have_their_scores(of: Case) -> None:
    values = matrix()[0].values[TRAINED:]
    order = np.random.default_rng(2).permutation(len(values))
    assert np.abs(of.scores(values[order]) - of.scores(values)[order]).max() < of.near


def no_rows_have_no_scores(of: Case) -> None:
    assert of.scores(np.empty((0, len(NAMES)))).shape == (0, 1)


def it_learns(of: Case) -> None:
    """All but the constant rank rows that they have not seen."""
    area = roc_auc_score(matrix()[1][TRAINED:], of.scores(matrix()[0].values[TRAINED:])[:, 0])
    assert area > 0.75 if of.name != "constant" else area == 0.5


def a_weight_counts(of: Case) -> None:
    """Where positives count ten times as much, scores are higher."""
    label = matrix()[1][:TRAINED]
    heavy = run(of.module, fit(of.name, weight=np.where(label == 1, 10.0, 1.0)).state)
    values = matrix()[0].values[TRAINED:]
    assert heavy(values).mean() > of.scores(values).mean() + 1


def the_graph_needs_no_more_than_numpy_and_spox(of: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """`export` runs where the packages of `fit` are not installed."""
    module = f"pipeline.families.{of.name}"
    for package in {"torch", "lightgbm", "sklearn", "scipy", *of.module.NEEDS} - {"safetensors"}:
        monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    monkeypatch.delitem(sys.modules, module)
    again: Family = import_module(module)
    values = matrix()[0].values[TRAINED : TRAINED + 10]
    assert np.array_equal(run(again, of.fitted.state)(values), of.scores(values))
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


def served(name: str, folder: Path) -> Served:
    """A family, fitted once, as `export` writes it."""
    source, table = tables.source(ROWS), tables.feature_rows(ROWS)
    seen = table[:TRAINED]
    encoding = Encoding(tuple(encode.learned(c, seen[c.name]) for c in tables.ours().inputs), lambda _: {})
    module, knobs = family(name), KNOBS["families"][name]
    label = seen[LABEL].to_numpy()
    fitted = module.fit(encoding.matrix(seen), label, np.ones(TRAINED), "logistic", 1, knobs)
    graph = export.joined(encoding, module, fitted.state)
    files = {"model.onnx": graph}
    write(folder, problem=tables.problem(), family=name, processor="any", inputs=encoding.inputs, files=files)
    case = Case(name, module, fitted, lambda values: values)
    return Served(case, encoding, load(folder), folder, table[TRAINED:], source[TRAINED:])


def a_model_answers_as_was_fitted(of: Served) -> None:
    raw = of.case.module.raw(of.case.fitted.state, of.encoding.matrix(of.test), "logistic", 1)
    assert np.abs(of.model.predict(of.test) - train.probability(raw)).max() < of.case.near


def a_request_is_as_a_row_of_a_table(of: Served) -> None:
    """One row, in lists, with None where nothing is known."""
    scores = of.model.predict(of.test)
    for at in range(50):
        row = {name: [value] for name, value in of.test.row(at, named=True).items()}
        assert of.model.predict(row) == pytest.approx([scores[at]], abs=of.case.near)


def missing_unseen_and_empty_texts_score(of: Served) -> None:
    """No text is an empty one, and one text that nobody has seen is like another."""
    texts = (None, "", "a size", "another \N{SNOWMAN}")
    missing, empty, unseen, other = (
        of.model.predict(of.test.with_columns(pl.lit(text, pl.String).alias("größe €"))) for text in texts
    )
    assert np.isfinite(missing).all() and np.isfinite(unseen).all()
    assert np.array_equal(missing, empty)
    assert np.array_equal(unseen, other)


def what_may_be_missing_may_all_be(of: Served) -> None:
    names = [column.name for column in of.model.inputs if column.missing]
    nothing = of.test.with_columns(pl.lit(None, of.test.schema[name]).alias(name) for name in names)
    assert len(names) > 2
    assert np.isfinite(of.model.predict(nothing)).all()


def service_log_and_drift_take_what_the_model_says(of: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the source has is asked for, scored as `rows` would have it, logged, and looked at beside the reference."""
    monkeypatch.setenv("MODEL", str(of.folder))
    monkeypatch.delitem(sys.modules, "pipeline.service", raising=False)
    service: Any = import_module("pipeline.service")
    monkeypatch.delitem(sys.modules, "pipeline.service")
    problem, inputs = of.model.problem, of.model.inputs
    names = [problem.id, problem.time, *(column.name for column in inputs)]
    asked = of.asked.select(names).with_columns(pl.col(pl.Datetime).dt.strftime(ISO)).write_json()
    rows = service.request_model(problem, inputs).model_validate_json(f'{{"rows": {asked}}}').rows
    moments = [row.moment for row in rows]
    table = {
        name: service.before(field, rows, moments) if timed else [getattr(row, field) for row in rows]
        for field, name, timed in service.columns
    }
    scores = of.model.predict(table)
    assert np.abs(scores - of.model.predict(of.test)).max() < of.case.near
    types = {name: log.TYPES[kind] for name, kind in [(c.name, c.type) for c in inputs]}
    logged = pl.DataFrame(table, schema=types).with_columns(pl.Series(log.SCORE, scores))
    kept = reference.part(reference.TEST, of.test, of.model).with_columns(pl.lit(1.0).alias(monitor.LIKE))
    production = monitor.Production(of.model.digest, problem, inputs, kept)
    before, now = production.sample(kept), production.sample(logged)
    for column in inputs:
        facts = monitor.column_facts(column, before, logged, now, dict.fromkeys(before.columns, 0.0))
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
)

SERVED = (
    a_model_answers_as_was_fitted,
    a_request_is_as_a_row_of_a_table,
    missing_unseen_and_empty_texts_score,
    what_may_be_missing_may_all_be,
)
