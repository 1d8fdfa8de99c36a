"""What every trained model has to do, whatever the problem."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl

from pipeline import contract
from pipeline.model import Model, Problem


def test_the_digest_is_the_manifests(model: Model) -> None:
    assert model.digest == f"sha256:{hashlib.sha256(Path('model/manifest.json').read_bytes()).hexdigest()}"


def test_the_manifest_says_the_contract(model: Model) -> None:
    ours = contract.load()
    assert [column.name for column in model.inputs] == [column.name for column in ours.inputs]
    assert model.problem == Problem.of(ours)


def test_scores_are_probabilities(model: Model, rows: pl.DataFrame) -> None:
    scores = model.predict(rows)
    assert np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1
    assert len(np.unique(scores)) > 1


def test_who_and_when_do_not_matter(model: Model, rows: pl.DataFrame) -> None:
    inputs = [column.name for column in model.inputs]
    np.testing.assert_array_equal(model.predict(rows), model.predict(rows.select(inputs)))


def test_neither_order_nor_company_matters(model: Model, rows: pl.DataFrame) -> None:
    scores = model.predict(rows)
    np.testing.assert_allclose(model.predict(rows[::-1])[::-1], scores, atol=1e-6)
    np.testing.assert_allclose(model.predict(rows[:100]), scores[:100], atol=1e-6)


def test_a_row_alone_has_the_score_it_has_in_a_batch(model: Model, rows: pl.DataFrame) -> None:
    alone = [model.predict(row)[0] for row in rows[:100].iter_slices(1)]
    np.testing.assert_allclose(alone, model.predict(rows[:100]), atol=1e-6)


def test_what_is_missing_or_was_never_seen_has_a_score(model: Model, rows: pl.DataFrame) -> None:
    for column in model.inputs:
        strange = [None] * column.missing + ["\N{SNOWMAN} never seen"] * (column.text and column.categories is None)
        for value in strange:
            other = rows.with_columns(pl.lit(value, rows.schema[column.name]).alias(column.name))
            scores = model.predict(other)
            assert np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1, (column.name, value)
