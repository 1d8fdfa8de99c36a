"""What every trained model has to do, whatever the problem."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.model import Model
from pipeline.schema import ENTITY, ID, LABEL, TIME


def test_the_digest_is_the_manifests(model: Model) -> None:
    assert model.digest == f"sha256:{hashlib.sha256(Path('model/manifest.json').read_bytes()).hexdigest()}"


def test_scores_are_probabilities(model: Model, rows: pl.DataFrame) -> None:
    scores = model.predict(rows)
    assert np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1
    assert len(np.unique(scores)) > 1


def test_who_and_when_do_not_matter(model: Model, rows: pl.DataFrame) -> None:
    names = [name for name in (ID, TIME, ENTITY, LABEL) if name]
    np.testing.assert_array_equal(model.predict(rows), model.predict(rows.drop(names)))


def test_neither_order_nor_company_matters(model: Model, rows: pl.DataFrame) -> None:
    scores = model.predict(rows)
    np.testing.assert_allclose(model.predict(rows[::-1])[::-1], scores, atol=1e-6)
    np.testing.assert_allclose(model.predict(rows[:100]), scores[:100], atol=1e-6)


def test_a_row_alone_has_the_score_it_has_in_a_batch(model: Model, rows: pl.DataFrame) -> None:
    alone = [model.predict(row)[0] for row in rows[:100].iter_slices(1)]
    np.testing.assert_allclose(alone, model.predict(rows[:100]), atol=1e-6)
