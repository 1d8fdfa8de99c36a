"""Importance finds the inputs that matter, whatever their type, and reasons add up to the score."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from gitops import facts
from pipeline import evaluate, explain
from pipeline.model import MISSING, Input, Model
from pipeline.rows import LABEL
from pipeline.tasks import binary
from tests import tables
from tests.tables import by_name, feature_rows, inputs, ours, problem
from tests.test_evaluate import ID, TEST

KNOBS = {"seed": 0, "repeats": 3, "rows": 10, "draws": 50, "reasons": 4}


def score(columns: Any) -> np.ndarray:
    """Amount above all, size too and more so at large amounts, a missing a.b a little, and nothing else."""
    amount, large = columns["amount"] / 1000, columns["größe €"] == "groß"
    return np.clip(0.6 * amount + 0.2 * large + 0.3 * amount * large + 0.05 * np.isnan(columns["a.b"]), 0, 1)


SCORER = Model(problem(), "linear", inputs(), "sha256:0", by_name(score))


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return evaluate.judged(feature_rows(), TEST, ours(), None)


@pytest.fixture(scope="module")
def said(table: pl.DataFrame) -> dict[str, Any]:
    return explain.explain(SCORER, table, ours(), KNOBS, {})


def test_importance_is_what_average_precision_loses(said: dict[str, Any]) -> None:
    falls = said["importance"]
    assert set(list(falls)[:2]) == {"amount", "größe €"} and falls.keys() == {column.name for column in inputs()}
    assert falls["amount"]["value"] > 0.2 and falls["größe €"]["value"] > 0.1
    assert falls["express"] == falls["born"] == {"value": 0, "low": 0, "high": 0}
    assert falls["amount"]["low"] <= falls["amount"]["value"] <= falls["amount"]["high"]


def test_importance_is_of_the_headline_that_is_named(said: dict[str, Any], table: pl.DataFrame) -> None:
    """The same rows are shuffled, and another metric worsens."""
    named = explain.explain(SCORER, table, ours(), KNOBS | {"rows": 1, "draws": 1}, {"headline": "roc_auc"})
    assert (said["headline"], named["headline"]) == ("average_precision", "roc_auc")
    falls, others = (each["importance"]["amount"] for each in (said, named))
    assert others["value"] > 0.1 and others != falls


def test_the_highest_and_the_most_wrong_rows_are_explained(said: dict[str, Any], table: pl.DataFrame) -> None:
    scores = SCORER.predict(table)["score"]
    assert [row["point"] for row in said["highest"]] == sorted(scores, reverse=True)[:10]
    wrong = np.abs(table[LABEL].to_numpy() - scores)
    found = [abs((row["label"] == "Yes") - row["point"]) for row in said["wrong"]]
    assert found == sorted(wrong, reverse=True)[:10]
    assert {row["label"] for row in said["highest"]} <= {"Yes", "No"} and "about" not in said["highest"][0]


def test_values_are_the_rows_as_json_has_them(said: dict[str, Any], table: pl.DataFrame) -> None:
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    for found in (*said["highest"], *said["wrong"]):
        (row,) = table.filter(pl.col(ID) == found["id"]).to_dicts()
        assert {why["column"]: why["value"] for why in found["reasons"]} == {
            why["column"]: f"{row['born']:,.6g} days before" if why["column"] == "born" else row[why["column"]]
            for why in found["reasons"]
        }


def test_a_missing_value_a_category_a_boolean_and_a_time_are_reasons() -> None:
    row = feature_rows(1).with_columns(pl.lit(None, pl.Float64).alias("a.b"), pl.lit("groß").alias("größe €"))
    names = [column.name for column in inputs()]
    added = np.zeros((1, len(names)))
    for at, name in enumerate(("a.b", "größe €", "express", "amount", "born")):
        added[0, names.index(name)] = 5 - at
    row = row.with_columns(born=pl.lit(1234.5))
    (found,) = explain.reasons(row, tables.said(np.array([0.5])), added, names, ours(), 5)
    amount, express = row["amount"][0], row["express"][0]
    assert [why["value"] for why in found["reasons"]] == [None, "groß", express, amount, "1,234.5 days before"]
    assert type(express) is bool
    assert explain.plain(float("nan")) is None


def test_a_long_text_is_shown_as_the_report_takes_it() -> None:
    row = feature_rows(1).with_columns(pl.lit("x" * 1_000).alias("größe €"), pl.lit("i" * 1_000).alias(ID))
    added = np.array([[float(column.name == "größe €") for column in inputs()]])
    names = [column.name for column in inputs()]
    (found,) = explain.reasons(row, tables.said(np.array([0.5])), added, names, ours(), 1)
    assert found["reasons"][0]["value"] == "x" * 199 + "…" and found["id"] == "i" * 199 + "…"
    assert facts.check([found], "reasons") is None


def test_reasons_are_shapley_values() -> None:
    """Against the average over every order, from one background row; with many draws from many, sums add up."""
    row: dict[str, np.ndarray] = {"amount": np.array([800.0]), "größe €": np.array(["groß"], object)}
    origin: dict[str, np.ndarray] = {"amount": np.zeros(1), "größe €": np.array([MISSING], object)}
    for part in (row, origin):
        part["a.b"] = np.zeros(1)
    asked = tuple(column for column in inputs() if column.name in row)
    scorer = Model(problem(), "linear", asked, "sha256:0", by_name(score, asked))
    (added,) = explain.contributions(scorer, binary, row, origin, 400, np.random.default_rng(0))
    both = 0.3 * 0.8  # what amount and size do together, shared equally
    assert added == pytest.approx([0.6 * 0.8 + both / 2, 0.2 + both / 2, 0], abs=0.02)
    assert added.sum() == pytest.approx(score(row)[0])


def test_what_is_shuffled_is_fed_as_it_is() -> None:
    """Texts stay texts and a missing value stays missing: no draw holds anything that the rows do not."""
    seen: dict[str, set[Any]] = {"größe €": set(), "amount": set()}

    def watch(columns: Any) -> np.ndarray:
        for name, values in seen.items():
            values.update(columns[name].tolist())
        return columns["amount"] / 1e4

    table = feature_rows(300)
    watched = Model(problem(), "linear", inputs(), "sha256:0", by_name(watch))
    explain.explain(watched, table, ours(), KNOBS | {"draws": 5}, {})
    assert seen["größe €"] == {*table["größe €"].drop_nulls(), MISSING} and seen["amount"] == set(table["amount"])


def test_the_same_model_is_explained_the_same(said: dict[str, Any], table: pl.DataFrame) -> None:
    assert explain.explain(SCORER, table, ours(), KNOBS, {}) == said


def test_a_model_of_one_input_is_explained() -> None:
    asked = (Input("amount", "number"),)
    scorer = Model(problem(), "constant", asked, "sha256:0", by_name(lambda row: row["amount"] / 1e4, asked))
    found = explain.explain(scorer, feature_rows(300), ours(), KNOBS, {})
    assert all(len(row["reasons"]) == 1 for row in found["highest"])
