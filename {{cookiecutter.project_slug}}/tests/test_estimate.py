"""Quality is estimated before labels as far as answers can be believed: held against labels that came of them."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import estimate, log, tasks
from pipeline.logged import DRAWN, OUT, Day
from pipeline.model import Outputs, Problem
from pipeline.tasks import Judged
from tests import tables
from tests.by_task import ours as of_task

OURS = tables.ours()
ROWS = 20_000
DRAW = np.random.default_rng(0)
ODDS = DRAW.normal(-3, 2, ROWS)
SHARES = DRAW.dirichlet([0.3, 0.5, 1], ROWS)


def answers(task: str) -> Outputs:
    """What calibrated models say of many rows."""
    score = 1 / (1 + np.exp(-ODDS))
    return {
        "binary": lambda: {"score": score, "alert": score >= 0.5},
        "multiclass": lambda: {"class": SHARES.argmax(axis=1), "probabilities": SHARES},
        "regression": lambda: dict.fromkeys(tasks.task("regression").OUTPUTS, ODDS),
    }[task]()


@pytest.mark.parametrize("name", tasks.NAMES)
def test_what_is_expected_of_calibrated_answers_comes_true(name: str) -> None:
    task, out = tasks.task(name), answers(name)
    expected = tasks.expected(task, out, np.ones(ROWS))
    assert expected.keys() == set(task.ESTIMATED) and bool(expected) is (task.CALIBRATION is not None)
    if (likely := task.likely(out)) is None:
        return

    def true() -> dict[str, float]:
        label = (likely.cumsum(axis=1) < DRAW.random((ROWS, 1))).sum(axis=1).astype(float)
        test = Judged(label, np.arange(ROWS), np.zeros(ROWS, np.int64))
        return {of: value[0] for of, value in task.measure(test, out, np.ones((1, ROWS)), task.ESTIMATED).items()}

    draws = [true() for _ in range(20)]  # of labels: a single one strays by 0.01
    assert {of: np.mean([draw[of] for draw in draws]) for of in expected} == pytest.approx(expected, abs=0.007)


@pytest.mark.parametrize("name", ["binary", "multiclass"])
def test_a_row_that_stands_for_two_counts_twice(name: str) -> None:
    task = tasks.task(name)
    out = {of: values[:100] for of, values in answers(name).items()}
    twice = {of: np.concatenate([values, values[:50]]) for of, values in out.items()}
    weight = np.repeat([2.0, 1.0], 50)
    assert tasks.expected(task, out, weight) == pytest.approx(tasks.expected(task, twice, np.ones(150)))


GOOD = {"calibration_error": {"value": 0.01, "low": 0.005, "high": 0.02}}
BARS = {"calibration_error": {"maximum": 0.015}}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, ""),
        ({"live": {"calibration_error": None}}, ""),
        ({"ours": of_task("regression")}, "does not tell how likely each label is"),
        ({"theirs": Problem.of(of_task("multiclass"))}, "other classes"),
        ({"ours": replace(OURS, weight="amount")}, "rows count by amount"),
        ({"metrics": {}}, "does not say how large calibration_error may be"),
        ({"promoted": {}}, "is not known"),
        ({"promoted": {"calibration_error": GOOD["calibration_error"] | {"value": 0.02}}}, "at its promotion"),
        ({"live": {"calibration_error": {"value": 0.03, "low": 0.02, "high": 0.04}}}, "on the labelled days"),
        ({"kept": False}, "no row"),
    ],
)
def test_answers_that_are_not_calibrated_are_not_believed(changed: dict[str, Any], why: str) -> None:
    said = {"ours": OURS, "theirs": Problem.of(OURS), "promoted": GOOD, "live": GOOD, "metrics": BARS, "kept": True}
    found = estimate.withheld(**{**said, **changed})
    assert why in found and bool(found) is bool(why)


def test_an_estimate_that_is_not_true_of_the_labelled_days_is_not_believed() -> None:
    labelled = {"metrics": {"average_precision": 0.76, "accuracy": 0.99}}
    live = {"average_precision": {"value": 0.27, "low": 0.24, "high": 0.31}, "accuracy": None}
    assert "0.76 of average_precision, and 0.27" in estimate.untrue(labelled, live)["average_precision"]
    assert not estimate.untrue({"metrics": {"average_precision": 0.3}}, live)
    assert not estimate.untrue(labelled, None) and not estimate.untrue(None, live)


def test_labelled_days_are_told_from_those_before_labels_and_a_day_counts_by_its_rows() -> None:
    days = [date(2020, 1, 1) + timedelta(days=number) for number in range(3)]
    low, high = ({"score": np.full(10, score), "alert": np.full(10, True)} for score in (0.2, 0.8))

    def of(day: date, rows: int, out: Outputs) -> Day:
        some = pl.DataFrame({DRAWN: np.linspace(0, 1, 10)}).with_columns(tasks.kept(OUT, out))
        return Day(day, rows, rows, rows, None, {}, frozenset(), some)

    logged = [of(days[0], 100, low), of(days[1], 300, high), of(days[2], 10, low)]
    found = estimate.estimated(logged, days[1], OURS, tables.knobs(), "accuracy")
    assert found["name"] == "accuracy" and [day["value"] for day in found["days"]] == pytest.approx([0.2, 0.8, 0.2])
    assert found["labelled"]["days"] == days[:2] and found["labelled"]["rows"] == 400
    assert found["labelled"]["metrics"]["accuracy"] == pytest.approx(0.65)
    assert found["before"]["days"] == [days[2]] * 2 and found["before"]["metrics"]["accuracy"] == pytest.approx(0.2)


def test_entities_that_are_known_to_have_a_positive_are_left_out_as_they_are_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tables.daily(tmp_path / "orders", 4000)
    knobs = tables.knobs(data={"source": "orders"})
    last = tables.UNTIL
    source = tables.source()
    day = pl.col(OURS.time).dt.date()
    asked = source.filter(day == last).select(pl.col(OURS.id).alias(log.ID), day.alias("_day"))
    kept = estimate.unknown(asked, OURS, knobs)
    window = day.is_between(last - timedelta(days=OURS.label.delay + knobs["evaluate"]["known"]), last)
    first = source.filter(window & (pl.col("returned") == "Yes")).group_by("customer").agg(day.min().alias("first"))
    known = first.filter(pl.col("first") < last - timedelta(days=OURS.label.delay))["customer"]
    rest = source.filter((day == last) & ~pl.col("customer").is_in(known.implode()))
    assert 0 < len(kept) < len(asked) and set(kept[log.ID]) == set(rest[OURS.id])
