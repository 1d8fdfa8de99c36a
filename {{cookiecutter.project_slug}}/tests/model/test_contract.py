"""What every trained model has to do, whatever the problem."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl

from pipeline import contract, tasks
from pipeline.model import Model, Outputs, Problem
from pipeline.tasks import Task


def test_the_digest_is_the_manifests(model: Model) -> None:
    assert model.digest == f"sha256:{hashlib.sha256(Path('model/manifest.json').read_bytes()).hexdigest()}"


def test_the_manifest_says_the_contract(model: Model) -> None:
    ours = contract.load()
    assert [column.name for column in model.inputs] == [column.name for column in ours.inputs]
    assert model.problem == Problem.of(ours)


NEAR = 1e-6  # relative to what is said: layers of a network are single precision


def task_of(model: Model) -> Task:
    """The module of its task."""
    return tasks.task(model.problem.task)


def alike(model: Model, said: Outputs, right: Outputs) -> bool:
    """Whether each row's outputs are the right ones."""
    return bool((task_of(model).gap(said, right) <= NEAR).all())


def test_answers_are_sound_and_not_all_the_same(model: Model, rows: pl.DataFrame) -> None:
    said = model.predict(rows)
    assert task_of(model).sound(said, model.problem).all()
    assert len(np.unique(task_of(model).point(said))) > 1


def test_who_and_when_do_not_matter(model: Model, rows: pl.DataFrame) -> None:
    said, right = model.predict(rows.select(column.name for column in model.inputs)), model.predict(rows)
    for name, values in right.items():
        np.testing.assert_array_equal(said[name], values)


def test_neither_order_nor_company_matters(model: Model, rows: pl.DataFrame) -> None:
    right = model.predict(rows)
    assert alike(model, model.predict(rows[::-1]), tasks.picked(right, np.arange(len(rows))[::-1]))
    assert alike(model, model.predict(rows[:100]), tasks.picked(right, np.arange(len(rows))[:100]))


def test_a_row_alone_has_the_answer_it_has_in_a_batch(model: Model, rows: pl.DataFrame) -> None:
    alone = [model.predict(row) for row in rows[:100].iter_slices(1)]
    together = {name: np.concatenate([said[name] for said in alone]) for name in alone[0]}
    assert alike(model, together, model.predict(rows[:100]))


def test_what_is_missing_or_was_never_seen_has_an_answer(model: Model, rows: pl.DataFrame) -> None:
    for column in model.inputs:
        strange = [None] * column.missing + ["\N{SNOWMAN} never seen"] * (column.text and column.categories is None)
        for value in strange:
            other = rows.with_columns(pl.lit(value, rows.schema[column.name]).alias(column.name))
            assert task_of(model).sound(model.predict(other), model.problem).all(), (column.name, value)
