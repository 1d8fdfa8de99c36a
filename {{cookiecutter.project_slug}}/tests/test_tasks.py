"""Each task: its metrics against scikit-learn, its head against its twin, what it settles, and what people are told."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
from sklearn import metrics as sklearn
from spox import Tensor, argument, build

from pipeline.model import Outputs, Problem
from pipeline.params import BadInput
from pipeline.tasks import (
    NAMES,
    Array,
    Judged,
    Task,
    binary,
    kept,
    multiclass,
    picked,
    ranking,
    regression,
    taken,
    task,
)
from tests.tables import ours

MODULES: dict[str, Task] = {"binary": binary, "multiclass": multiclass, "regression": regression}
CLASSES = ("cat", "dog", "owl", "yak")
ROWS, UNITS, GROUPS = 600, 90, 120
GENERATOR = np.random.default_rng


def problem(name: str, **other: Any) -> Problem:
    """One of each task."""
    said: dict[str, dict[str, Any]] = {
        "binary": {"values": (0, 1), "positive": 1},
        "multiclass": {"values": CLASSES},
        "regression": {"unit": "s", "lowest": 0, "interval": 0.9},
    }
    return Problem("pets", name, "id", "integer", None, "kind", 0, **{**said[name], **other})


def sample(name: str, *, ties: bool = False, weighted: bool = False) -> tuple[Judged, Array]:
    """Rows of units and groups, and a raw answer that knows something."""
    draw = GENERATOR(1)
    group = np.concatenate([np.arange(GROUPS), draw.integers(0, GROUPS, ROWS - GROUPS)])
    if name == "regression":
        true = draw.gamma(2, 3, ROWS)
        raw = true[:, None] + draw.normal(0, 1 + true / 5)[:, None]
    else:
        width = len(CLASSES) if name == "multiclass" else 1
        true = draw.integers(0, max(width, 2), ROWS).astype(float)
        raw = draw.normal(size=(ROWS, width)) + (true[:, None] == (range(width) if width > 1 else 1))
    weight = np.where(draw.random(ROWS) < 0.1, 0, draw.gamma(1, 3, ROWS)) if weighted else None
    judged = Judged(true, group % UNITS, draw.integers(0, 3, ROWS), weight=weight, group=group, top=2)
    return judged, raw.round(1 if ties else 15)


def answered(name: str, test: Judged, raw: Array) -> Outputs:
    """What the task makes of it, of what was settled on the same rows."""
    constants = MODULES[name].settle(raw, test.label, test.weights, problem(name), {"alerts": 0.3})
    return MODULES[name].outputs(raw, constants, problem(name))


def resamples(units: int, number: int = 4) -> Array:
    """The sample itself, then draws of its units."""
    draws = GENERATOR(2).multinomial(units, np.full(units, 1 / units), size=number)
    return np.concatenate([np.ones((1, units)), draws]).astype(np.float32)


# --- metrics ---


def of_binary(true: Array, out: Outputs, weight: Array) -> dict[str, float]:
    score, on = out["score"], {"sample_weight": weight}
    precision, recall, _ = sklearn.precision_recall_curve(true, score, **on)
    return {
        "average_precision": sklearn.average_precision_score(true, score, **on),
        "roc_auc": sklearn.roc_auc_score(true, score, **on),
        "recall_at_precision_90": recall[precision >= 0.9].max(),
        "accuracy": sklearn.accuracy_score(true, out["alert"], **on),
    }


def of_classes(true: Array, out: Outputs, weight: Array) -> dict[str, float]:
    code, shares, on = out["class"], out["probabilities"], {"sample_weight": weight}
    there = np.unique(true)
    areas = [sklearn.roc_auc_score(true == each, shares[:, int(each)], **on) for each in there]
    return {
        "balanced_accuracy": sklearn.balanced_accuracy_score(true, code, **on),
        "accuracy": sklearn.accuracy_score(true, code, **on),
        "macro_f1": sklearn.f1_score(true, code, average="macro", **on),
        "least_recall": sklearn.recall_score(true, code, average=None, labels=there, **on).min(),
        "log_loss": sklearn.log_loss(true, shares, labels=range(len(CLASSES)), **on),
        "roc_auc": np.mean(areas),
    }


def of_numbers(true: Array, out: Outputs, weight: Array) -> dict[str, float]:
    said, on = out["prediction"], {"sample_weight": weight}
    return {
        "rmse": sklearn.root_mean_squared_error(true, said, **on),
        "mae": sklearn.mean_absolute_error(true, said, **on),
        "r2": sklearn.r2_score(true, said, **on),
        "bias": abs(np.average(said, weights=weight) - np.average(true, weights=weight)),
        "coverage": np.average((true >= out["low"]) & (true <= out["high"]), weights=weight),
        "width": np.average(out["high"] - out["low"], weights=weight),
    }


EXPECTED: dict[str, Callable[[Array, Outputs, Array], dict[str, float]]] = {
    "binary": of_binary,
    "multiclass": of_classes,
    "regression": of_numbers,
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_scikit_learn_on_every_resample(name: str, ties: bool, weighted: bool) -> None:
    test, raw = sample(name, ties=ties, weighted=weighted)
    out, drawn = answered(name, test, raw), resamples(test.units)
    found = MODULES[name].measure(test, out, drawn)
    assert list(found) == [each for each in MODULES[name].METRICS if each not in MODULES[name].unmeasured(test)]
    for number, counts in enumerate(drawn):
        weight = counts[test.unit] * test.weights
        there = weight > 0
        expected = EXPECTED[name](test.label[there], picked(out, there), weight[there])
        got = {metric: found[metric][number] for metric in expected}
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)


BINNED = {"calibration_error", "coverage_lowest_tenth", "coverage_highest_tenth", "ndcg", "precision_at_k"}
"""Bins are those of the sample, and groups that are repeated would be one."""


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_twice_is_there_twice(name: str) -> None:
    test, raw = sample(name)
    out, drawn = answered(name, test, raw), resamples(test.units, 1)
    again = np.repeat(np.arange(ROWS), drawn[1].astype(int)[test.unit])
    found = MODULES[name].measure(test, out, drawn)
    once = MODULES[name].measure(test.some(again), picked(out, again), np.ones((1, test.units)))
    for metric in found.keys() - BINNED:
        assert found[metric][1] == pytest.approx(once[metric][0], rel=1e-9), metric


@pytest.mark.parametrize("name", NAMES)
def test_a_slice_measures_its_own_metrics_alone(name: str) -> None:
    test, raw = sample(name, weighted=True)
    out, inside = answered(name, test, raw), test.day == 1
    drawn = resamples(test.units)
    found = MODULES[name].measure(test.some(inside), picked(out, inside), drawn, MODULES[name].SLICED)
    assert tuple(found) == MODULES[name].SLICED
    there = inside & (test.weights > 0)
    expected = EXPECTED[name](test.label[there], picked(out, there), test.weights[there])
    assert {metric: values[0] for metric, values in found.items()} == pytest.approx(
        {metric: expected[metric] for metric in found}, rel=1e-9
    )


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_a_class_that_a_resample_does_not_hold_is_no_part_of_a_mean() -> None:
    test, raw = sample("multiclass")
    test = replace(test, unit=np.where(test.label == 2, 0, 1 + test.unit), group=None)
    out = answered("multiclass", test, raw)
    drawn = np.ones((2, test.units))
    drawn[1, 0] = 0
    found = multiclass.measure(test, out, drawn)
    there = test.label != 2
    expected = of_classes(test.label[there], picked(out, there), np.ones(there.sum()))
    assert {metric: found[metric][1] for metric in expected} == pytest.approx(expected, rel=1e-9)
    assert found["balanced_accuracy"][0] != found["balanced_accuracy"][1]


def test_a_right_class_without_probability_is_a_surprise_that_ends() -> None:
    shares = np.array([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])
    out = {"class": np.array([0, 0]), "probabilities": shares}
    test = Judged(np.array([3.0, 1]), np.arange(2), np.zeros(2, dtype=np.int64))
    found = multiclass.measure(test, out, np.ones((1, 2)), ["log_loss"])["log_loss"]
    assert found == pytest.approx(sklearn.log_loss(test.label, shares, labels=range(4)))


def test_one_class_is_right_or_wrong_and_ranks_nothing() -> None:
    test, raw = sample("multiclass", weighted=True)
    one = replace(test, label=np.full(ROWS, 3.0))
    found = {
        metric: values[0]
        for metric, values in multiclass.measure(one, answered("multiclass", test, raw), np.ones((1, UNITS))).items()
    }
    assert np.isnan(found.pop("roc_auc")) and np.isfinite(list(found.values())).all()
    assert found["balanced_accuracy"] == found["least_recall"] == pytest.approx(found["accuracy"])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_has_no_value(name: str) -> None:
    test, raw = sample(name)
    nobody = np.zeros((2, UNITS))
    found = MODULES[name].measure(test, answered(name, test, raw), nobody)
    zero = {"recall_at_precision_90"} if name == "binary" else set()
    assert {metric for metric, values in found.items() if not np.isnan(values).all()} <= zero
    assert MODULES[name].unmeasurable(test.label[:0], problem(name))
    nothing = picked(answered(name, test, raw), np.arange(0))
    empty = MODULES[name].measure(test.some(np.arange(0)), nothing, nobody)
    assert all(np.isnan(values).all() and values.shape == (2,) for values in empty.values())


def test_metrics_without_a_name_in_scikit_learn() -> None:
    """Calibration, of classes; and the tenths of the rows, with rows that are predicted alike."""
    test, raw = sample("multiclass", weighted=True)
    out = answered("multiclass", test, raw)
    everyone = np.ones((1, UNITS))
    binary_of_it = replace(test, label=(out["class"] == test.label).astype(float))
    right = {"score": out["probabilities"].max(axis=1), "alert": binary_of_it.label > 0}
    assert (
        multiclass.measure(test, out, everyone)["calibration_error"]
        == binary.measure(binary_of_it, right, everyone)["calibration_error"]
    )
    label = np.arange(100.0)
    numbers = Judged(label, np.arange(100), np.zeros(100, dtype=np.int64))
    middle = np.clip(label, 15, 80)
    said = {"prediction": middle, "low": middle - 1, "high": middle + 5}
    found = regression.measure(numbers, said, np.ones((1, 100)))
    assert found["coverage_lowest_tenth"] == 2 / 16  # 14 and 15, of 0 to 15 that 15 is said of
    assert found["coverage_highest_tenth"] == 6 / 20  # 80 to 85, of 80 to 99 that 80 is said of
    assert (found["coverage"], found["width"]) == (0.72, 6)


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 7, 1e8 + 0.1])
def test_labels_that_are_equal_have_no_variance_to_explain(value: float) -> None:
    label = np.concatenate([np.full(5, value), [1.0]])
    test = Judged(label, np.arange(6), np.zeros(6, dtype=np.int64))
    out = dict.fromkeys(regression.OUTPUTS, label - 1)
    found = regression.measure(test, out, np.array([[1.0, 1, 1, 1, 1, 1], [2, 1, 3, 1, 0, 0]]))
    assert np.isfinite(found["r2"][0]) and np.isnan(found["r2"][1])
    assert found["rmse"] == pytest.approx([1, 1]) and found["bias"] == pytest.approx([1, 1])


# --- order within groups ---


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["binary", "regression"])
def test_ndcg_is_scikit_learns_mean_over_the_groups_that_have_an_order(name: str, weighted: bool) -> None:
    test, raw = sample(name, ties=True, weighted=weighted)
    out, drawn = answered(name, test, raw), resamples(UNITS)
    found, score = MODULES[name].measure(test, out, drawn, ["ndcg"])["ndcg"], MODULES[name].point(out)
    expected, counts = [], []
    for group in range(GROUPS):
        rows = test.groups == group
        if np.ptp(test.label[rows]) > 0:
            expected.append(sklearn.ndcg_score(test.label[rows][None], score[rows][None]))
            counts.append(drawn[:, test.unit[rows][0]] * test.weights[rows].mean())
    for number, weight in enumerate(np.transpose(counts)):
        assert found[number] == pytest.approx(np.average(expected, weights=weight), rel=1e-9)


def test_precision_counts_the_first_places_that_are_worth_it() -> None:
    def of(label: list[float], score: list[float]) -> float:
        test = Judged(
            np.array(label),
            np.zeros(len(label), int),
            np.zeros(len(label), int),
            group=np.zeros(len(label), int),
            top=2,
        )
        return float(ranking.precision(test, np.array(score))[0])

    assert of([3, 2, 1, 0], [4, 3, 2, 1]) == 1
    assert of([3, 2, 1, 0], [4, 1, 3, 2]) == 0.5
    assert of([3, 2, 1, 0], [1, 1, 1, 1]) == 0.5, "rows of one score share their places"
    assert of([1, 0, 0, 0], [2, 1, 0, 0]) == 0.5, "nothing else was worth the second place"
    assert np.isnan(of([1, 0], [1, 0])), "each row of so small a group is among the first"
    assert np.isnan(of([0, 0, 0], [1, 2, 3]))


def test_without_groups_or_gains_nothing_is_ranked() -> None:
    test, _ = sample("regression")
    assert not regression.unmeasured(test)
    assert regression.unmeasured(replace(test, group=None)).keys() == {"ndcg", "precision_at_k"}
    assert regression.unmeasured(replace(test, label=test.label - 100)).keys() == {"ndcg", "precision_at_k"}


# --- the head ---


def run(name: str, raw: Array, constants: dict[str, Array], of: Problem) -> Outputs:
    """What the head says in a graph."""
    given = argument(Tensor(np.float64, ("rows", raw.shape[1])))
    made = build({"raw": given}, MODULES[name].head(given, constants, of)).SerializeToString()
    session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
    names = list(MODULES[name].OUTPUTS)
    return dict(zip(names, session.run(names, {"raw": raw}), strict=True))


KINDS = {"float": ("float64", 1), "bool": ("bool", 1), "code": ("int64", 1), "floats": ("float64", 2)}


@pytest.mark.parametrize("other", [{}, {"lowest": None}, {"lowest": -1.5, "highest": 4}])
@pytest.mark.parametrize("name", NAMES)
def test_the_graph_says_what_its_twin_says(name: str, other: dict[str, Any]) -> None:
    test, settled_on = sample(name)
    of = problem(name, **other)
    constants = dict(MODULES[name].settle(settled_on, test.label, test.weights, of, {"alerts": 0.3}))
    width = MODULES[name].width(of)
    draw = GENERATOR(3)
    far = np.where(draw.random((2000, width)) < 0.2, 1e3, 5) * draw.normal(size=(2000, width))
    raw = np.concatenate([settled_on, far, far.round(), np.zeros((2, width))])
    out, right = run(name, raw, constants, of), MODULES[name].outputs(raw, constants, of)
    assert MODULES[name].gap(out, right).max() <= 1e-12
    assert MODULES[name].sound(out, of).all() and MODULES[name].sound(right, of).all()
    for each, kind in MODULES[name].OUTPUTS.items():
        assert (out[each].dtype.name, out[each].ndim) == (right[each].dtype.name, right[each].ndim) == KINDS[kind]
    for each in {"alert", "class"} & out.keys():
        assert (out[each] == right[each]).all()


def test_a_graph_without_tenths_says_the_same() -> None:
    of, raw = problem("regression"), np.array([[1.0], [-2.0], [7.0]])
    constants = dict(regression.settle(np.ones((1, 1)), np.array([4.0]), np.ones(1), of, {}))
    assert constants["edges"].shape == (0,) and constants["above"] == [3]
    assert regression.gap(run("regression", raw, constants, of), regression.outputs(raw, constants, of)).max() == 0


def test_a_tie_of_classes_is_no_gap_and_a_wrong_class_is() -> None:
    right = multiclass.outputs(np.array([[2.0, 2 - 1e-13, 0, 0], [2, 1, 0, 0]]), {}, problem("multiclass"))
    other = {**right, "class": np.array([1, 1])}
    assert (multiclass.gap(other, right) < [1e-12, 1]).all() and multiclass.gap(other, right)[1] > 0.2
    assert multiclass.sound(right, problem("multiclass")).all()
    assert multiclass.sound(other, problem("multiclass")).tolist() == [True, False]
    for code in (-1, 4):
        assert (multiclass.gap({**right, "class": np.array([code, code])}, right) == np.inf).all()
        assert not multiclass.sound({**right, "class": np.array([code, code])}, problem("multiclass")).any()


def test_a_gap_is_relative_to_the_numbers_of_a_row_or_of_most() -> None:
    right = {name: np.array([1e6, 1e6, 1e6, 0]) for name in regression.OUTPUTS}
    off = {name: values + [1, 0, 0, 1] for name, values in right.items()}
    assert regression.gap(off, right) == pytest.approx([1e-6, 0, 0, 1e-6])


def test_a_row_that_rounding_moves_to_another_tenth_is_no_gap_and_a_wrong_tenth_is() -> None:
    of, draw = problem("regression", lowest=None), GENERATOR(0)
    raw, label = uneven(draw, 2000)
    constants = regression.settle(raw, label, np.ones(2000), of, {})
    raw[5] = constants["edges"][3] + 1e-9
    right = regression.outputs(raw, constants, of)
    moved = regression.outputs(raw - 2e-9, constants, of)
    assert abs(moved["high"] - right["high"])[5] > 0.1 and regression.gap(moved, right).max() < 1e-8
    shifted = regression.outputs(raw, {**constants, "above": np.roll(constants["above"], 1)}, of)
    assert (regression.gap(shifted, right) > 1e-3).mean() > 0.98


def test_a_decision_follows_from_what_was_settled() -> None:
    for name in NAMES:
        test, raw = sample(name)
        constants = MODULES[name].settle(raw, test.label, test.weights, problem(name), {"alerts": 0.3})
        out = MODULES[name].outputs(raw, constants, problem(name))
        assert MODULES[name].follows(out, constants, problem(name)).all()
    flipped = {**out, "low": out["prediction"] - 1e3}
    assert name == "regression" and not regression.follows(flipped, constants, problem(name)).any()
    beyond = {part: np.where(np.arange(ROWS) == 7, -5.0, values) for part, values in out.items()}
    assert np.flatnonzero(~regression.follows(beyond, constants, problem(name))).tolist() == [7], "below label's range"
    alerted = {"score": np.array([0.2, 0.9]), "alert": np.array([True, True])}
    assert binary.follows(alerted, {"threshold": np.array(0.5)}, problem("binary")).tolist() == [False, True]


def test_equal_scores_share_a_bin() -> None:
    """Else the rows of one score would be told apart by their order, and a right share called wrong."""
    label = np.repeat([1.0, 0.0], [30, 70])
    test = Judged(label, np.arange(100), np.zeros(100, int))
    out = {"score": np.full(100, 0.3), "alert": np.zeros(100, bool)}
    assert binary.measure(test, out, np.ones((1, 100)))["calibration_error"] == pytest.approx([0])


def test_rows_without_weight_settle_no_threshold() -> None:
    raw, weight = np.array([[0.0], [1], [2], [3]]), np.array([1.0, 1, 1, 0])
    for threshold in (
        binary.settle(raw, np.zeros(4), weight, problem("binary"), {"alerts": 0.34})["threshold"],
        binary.settle(raw[:3], np.zeros(3), np.ones(3), problem("binary"), {"alerts": 0.34})["threshold"],
    ):
        assert (binary.probability(raw)[[2, 1]] > threshold).tolist() == [True, False]


def test_the_first_row_of_a_precision_curve_may_have_no_weight() -> None:
    test, raw = sample("binary")
    first = replace(test, weight=np.where(raw[:, 0] == raw.max(), 0.0, 1.0))
    json.dumps(binary.curves(first, {"model": answered("binary", test, raw)}, problem("binary")), allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_number_is_neither_near_nor_sound(name: str) -> None:
    test, raw = sample(name)
    right = answered(name, test, raw)
    for each, values in right.items():
        if values.dtype == np.float64:
            broken = {**right, each: np.full_like(values, np.nan)}
            assert not (MODULES[name].gap(broken, right) <= 1e9).any()
            assert not MODULES[name].sound(broken, problem(name)).any()


# --- what is settled ---


def uneven(draw: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Predictions, and labels around them: ten times as far where they are large."""
    raw = draw.uniform(0, 10, rows)
    return raw[:, None], raw + draw.standard_t(4, rows) * (1 + raw)


def test_what_was_settled_is_a_sentence() -> None:
    threshold = {"threshold": 0.43}
    assert "at least 0.43, settled on 1,900 rows that" in binary.decides(threshold, 1900)
    assert multiclass.decides({}, 5) == ""
    assert "they are few" in regression.decides({}, 299) and "they are few" not in regression.decides({}, 300)


@pytest.mark.parametrize(("rows", "most"), [(300, 0.925), (3000, 0.92)])  # rounded up, 300 would cover 0.94
def test_intervals_cover_what_they_promise_at_both_ends(rows: int, most: float) -> None:
    of, found = problem("regression", lowest=None), []
    for seed in range(20):
        draw = GENERATOR(seed)
        raw, label = uneven(draw, rows)
        constants = regression.settle(raw, label, np.ones(rows), of, {})
        raw, label = uneven(draw, 3000)
        test = Judged(label, np.arange(3000), np.zeros(3000, dtype=np.int64))
        values = regression.measure(test, regression.outputs(raw, constants, of), np.ones((1, 3000)))
        found.append([values[f"coverage{tenth}"][0] for tenth in ("", "_lowest_tenth", "_highest_tenth")])
    overall, lowest, highest = np.mean(found, axis=0)
    assert 0.88 < overall < most and 0.85 < lowest < 0.95 and 0.85 < highest < 0.95


@pytest.mark.parametrize("interval", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("rows", [1, 20, 59, 60, 150, 1000])
def test_tenths_have_the_rows_that_their_quantiles_need(rows: int, interval: float) -> None:
    raw, label = uneven(GENERATOR(rows), rows)
    constants = regression.settle(raw, label, np.ones(rows), problem("regression", interval=interval), {})
    many = np.bincount(np.searchsorted(constants["edges"], raw[:, 0], side="right"))
    assert len(many) == len(constants["below"]) == len(constants["above"]) <= 10
    assert len(many) == 1 or many.min() >= max(30, 2 / (1 - interval) - 1)
    assert rows < 1000 or interval > 0.9 or len(many) == 10
    json.dumps({name: values.tolist() for name, values in constants.items()}, allow_nan=False)


@pytest.mark.parametrize(("rows", "above"), [(10, 10), (19, 19), (20, 19.95), (39, 38), (59, 57)])
def test_a_further_row_counts_as_one_that_lies_farther(rows: int, above: int) -> None:
    error = GENERATOR(0).permutation(np.arange(1.0, rows + 1))
    constants = regression.settle(
        np.arange(rows)[:, None] * 1.0, np.arange(rows) + error, np.ones(rows), problem("regression"), {}
    )
    assert constants["above"] == pytest.approx([above]) and constants["below"] == [0]


def test_equal_predictions_share_a_tenth_whatever_their_last_digit() -> None:
    draw = GENERATOR(5)
    raw = np.concatenate([np.zeros(700), draw.uniform(1, 2, 300)]) + 1e-14 * draw.random(1000)
    constants = regression.settle(raw[:, None], raw + draw.normal(size=1000), np.ones(1000), problem("regression"), {})
    assert (constants["edges"] > 0.4).all() and len(constants["edges"]) > 1
    alike = regression.settle(np.ones((50, 1)), np.ones(50), np.ones(50), problem("regression"), {})
    assert [values.tolist() for values in alike.values()] == [[], [0], [0]]


def test_an_interval_counts_weights_and_holds_its_prediction() -> None:
    of, draw = problem("regression", lowest=None), GENERATOR(6)
    raw, label = uneven(draw, 500)
    plain, four = (regression.settle(raw, label, np.full(500, size), of, {}) for size in (1.0, 4.0))
    for name, values in plain.items():
        np.testing.assert_allclose(four[name], values, rtol=1e-12)
    silent = (np.append(raw, raw, axis=0), np.append(label, label + 1e6), np.append(np.ones(500), np.zeros(500)))
    for name, values in regression.settle(*silent, of, {}).items():
        np.testing.assert_array_equal(values, plain[name])
    loud = regression.settle(
        raw, np.where(np.arange(500) < 20, raw[:, 0] + 1e3, raw[:, 0]), np.where(np.arange(500) < 20, 500.0, 1), of, {}
    )
    assert loud["above"].max() == pytest.approx(1e3) and (loud["below"] == 0).all()
    out = regression.outputs(raw, plain, of)
    assert (out["low"] <= out["prediction"]).all() and (out["prediction"] <= out["high"]).all()


def test_a_threshold_is_reached_by_as_many_alerts_as_are_asked_for() -> None:
    test, raw = sample("binary")
    for weight in (np.ones(ROWS), GENERATOR(0).gamma(1, 3, ROWS)):
        for alerts in (0.05, 0.5):
            constants = binary.settle(raw, test.label, weight, problem("binary"), {"alerts": alerts})
            out = binary.outputs(raw, constants, problem("binary"))
            reached = weight[out["alert"]].sum() / weight.sum()
            assert alerts - weight.max() / weight.sum() < reached <= alerts
            assert out["score"][out["alert"]].min() > constants["threshold"] > out["score"][~out["alert"]].max()


@pytest.mark.parametrize("weight", [np.ones(600), GENERATOR(0).gamma(1, 3, 600)])
def test_equal_scores_raise_equal_alerts_and_the_lowest_none(weight: Array) -> None:
    of = problem("binary")

    def alerts(score: Array, asked: float) -> int:
        constants = binary.settle(score[:, None], np.zeros(600), weight, of, {"alerts": asked})
        return int(binary.outputs(score[:, None], constants, of)["alert"].sum())

    assert alerts(np.ones(600), 0.1) == 0
    score = np.repeat([0.9, 0.5, 0.1], [4, 296, 300])
    assert [alerts(score, asked) for asked in (0.001, 0.1, 0.9)] == [4, 300, 300]


# --- labels ---


@pytest.mark.parametrize(
    ("name", "other", "column", "expected"),
    [
        ("binary", {"values": ("no", "yes")}, ["yes", "no", "maybe", None], [1, 0, None, None]),
        ("binary", {"values": (False, True)}, [True, False, None], [1, 0, None]),
        ("multiclass", {}, ["yak", "cat", "eel", None], [3, 0, None, None]),
        ("multiclass", {"values": (7, 5, 1)}, [1, 5, 7, 0, None], [2, 1, 0, None, None]),
        ("regression", {}, [1.5, float("inf"), float("nan"), None], [1.5, None, None, None]),
        ("regression", {}, [3, None], [3, None]),
    ],
)
def test_a_target_is_a_code_or_a_number(
    name: str, other: dict[str, Any], column: list[Any], expected: list[Any]
) -> None:
    of, table = problem(name, **other), pl.DataFrame({"kind": column})
    target = table.select(MODULES[name].target(of)).to_series()
    assert target.dtype == pl.Float64 and target.to_list() == expected
    found = table.select(**MODULES[name].parts(of)).mean().row(0, named=True)
    known = [value for value in expected if value is not None]
    shares = {str(value): known.count(code) / len(known) for code, value in enumerate(of.values)}
    mean = sum(known) / len(known)
    assert found == pytest.approx(
        {"binary": {"positive": mean}, "multiclass": shares, "regression": {"mean": mean}}[name]
    )


@pytest.mark.parametrize("name", NAMES)
def test_one_value_alone_teaches_nothing(name: str) -> None:
    found = MODULES[name].lacks(np.ones(5), problem(name))
    assert found == ("no row whose kind is cat or owl or yak" if name == "multiclass" else "one value of kind only")
    assert MODULES[name].lacks(np.array([0.0, 1, 2, 3] if name == "multiclass" else [0.0, 1]), problem(name)) == ""
    assert (MODULES[name].unmeasurable(np.ones(5), problem(name)) == "") == (name != "binary")


def test_labels_are_told_in_a_few_words() -> None:
    assert multiclass.told(np.array([1.0, 1, 3]), problem("multiclass"), ours()) == "67% dog, no cat or owl"
    assert regression.told(np.array([1.0, 2]), problem("regression"), ours()) == "mean 1.5 s"
    assert regression.told(np.array([1.0, 2]), problem("regression", unit=None), ours()) == "mean 1.5"
    assert (
        multiclass.told(np.array([]), problem("multiclass"), ours())
        == regression.told(np.array([]), problem("regression"), ours())
        == ""
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_consistent_with_itself(name: str) -> None:
    found, of = task(name), problem(name)
    test, raw = sample(name)
    out = answered(name, test, raw)
    assert found is MODULES[name]
    assert {found.HEADLINE, *found.SLICED} <= found.METRICS.keys() and found.WATCHED in found.OUTPUTS
    assert any(metric.always for metric in found.METRICS.values())
    assert list(out) == list(found.OUTPUTS) == list(found.answers(of)) == list(found.answer(out, of))
    assert tuple(found.rates(test, out, of)) == found.rate_names(of)
    words = dict.fromkeys(("row", "rows", "positive", "positives", "entities", "unit", "interval"), "pets")
    assert all("{" not in metric.meaning.format(**words) for metric in found.METRICS.values())
    for values, among in found.rates(test, out, of).values():
        assert values.shape == among.shape == (ROWS,)
    assert (found.moved(out, out) == 0).all() and found.moved(out, picked(out, np.arange(ROWS)[::-1])).max() > 0
    assert found.error(test.label, out).mean() < found.error(test.label[::-1], out).mean()
    assert all((part == out[each]).all() for each, part in taken(kept("said", out)).items())


def test_rates_are_recalls_and_errors() -> None:
    test, raw = sample("multiclass", weighted=True)
    out = answered("multiclass", test, raw)
    rates = {
        name: np.average(values, weights=among * test.weights)
        for name, (values, among) in multiclass.rates(test, out, problem("multiclass")).items()
    }
    on = {"sample_weight": test.weights}
    recalls = sklearn.recall_score(test.label, out["class"], average=None, **on)
    expected = {f"recall_{name}": recall for name, recall in zip(CLASSES, recalls, strict=True)}
    assert rates == pytest.approx({"accuracy": sklearn.accuracy_score(test.label, out["class"], **on), **expected})


def test_a_point_is_of_a_class_or_of_the_answer() -> None:
    out = multiclass.outputs(np.log([[0.1, 0.6, 0.1, 0.2], [0.7, 0.1, 0.1, 0.1]]), {}, problem("multiclass"))
    assert multiclass.point(out) == pytest.approx([0.6, 0.7])
    assert multiclass.point(out, 3) == pytest.approx([0.2, 0.1])
    assert multiclass.point(out, np.array([0, 1])) == pytest.approx([0.1, 0.1])
    assert multiclass.error(np.array([1.0, 3]), out) == pytest.approx([0.4, 0.9])
    assert multiclass.moved(picked(out, np.array([0])), picked(out, np.array([1]))) == pytest.approx([0.6])


# --- champion and challenger ---


def test_another_models_classes_are_read_in_our_order() -> None:
    theirs, ours = problem("multiclass", values=("owl", "eel", "cat")), problem("multiclass")
    out = multiclass.outputs(np.log([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1]]), {}, theirs)
    found = multiclass.translated(out, theirs, ours)
    assert found["class"].tolist() == [2, -1]
    assert found["probabilities"] == pytest.approx(np.array([[0.3, 0, 0.5, 0], [0.1, 0, 0.1, 0]]))
    assert multiclass.point(found) == pytest.approx([0.5, 0.8])
    inside, why = multiclass.common(theirs, ours, np.array([0.0, 1, 2, 3]))
    assert inside.tolist() == [True, False, True, False] and why.endswith("kind dog, yak")
    assert multiclass.common(theirs, ours, np.array([0.0, 2]))[1] == ""
    assert multiclass.translated(out, theirs, theirs) is out


def test_a_class_that_only_they_know_is_always_wrong() -> None:
    theirs, ours = problem("multiclass", values=(*CLASSES, "eel")), problem("multiclass")
    raw = np.array([[9.0, 0, 0, 0, 0], [0, 0, 0, 0, 9], [0, 0, 0, 9, 0]])
    test = Judged(np.array([0.0, 3, 3]), np.arange(3), np.zeros(3, dtype=np.int64))
    found = multiclass.measure(
        test, multiclass.translated(multiclass.outputs(raw, {}, theirs), theirs, ours), np.ones((1, 3))
    )
    assert {
        name: found[name][0] for name in ("accuracy", "balanced_accuracy", "macro_f1", "least_recall")
    } == pytest.approx(
        {"accuracy": 2 / 3, "balanced_accuracy": 3 / 4, "macro_f1": (1 + 2 / 3) / 2, "least_recall": 1 / 2}
    )
    assert all(np.isfinite(values).all() for values in found.values())


@pytest.mark.parametrize("name", ["binary", "regression"])
def test_without_classes_of_their_own_all_rows_are_common(name: str) -> None:
    test, raw = sample(name)
    out, of = answered(name, test, raw), problem(name)
    inside, why = MODULES[name].common(of, of, test.label)
    assert inside.all() and inside.shape == (ROWS,) and why == "" and MODULES[name].translated(out, of, of) is out


# --- the service and its log ---


@pytest.mark.parametrize("values", [CLASSES, (4, 3, 2, 1), None])
@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_plain_and_read_again_from_the_log(name: str, values: tuple[Any, ...] | None) -> None:
    of = problem(name, **({"values": values} if values and name == "multiclass" else {}))
    test, raw = sample(name)
    out = answered(name, test, raw)
    said = MODULES[name].answer(out, of)
    assert {type(value) for part in said.values() for value in part} <= {float, bool, str, int, list}
    log = {
        each: np.array(list(map(str, said[each])) if part.kind == "label" else said[each])
        for each, part in MODULES[name].answers(of).items()
    }
    again = MODULES[name].logged(log, of)
    assert json.loads(json.dumps(said)) == said
    assert again.keys() == out.keys() and all((again[each] == out[each]).all() for each in out)


def test_a_class_of_the_log_that_is_none_of_the_models_is_told_apart() -> None:
    columns = {"class": np.array(["dog", "eel"], dtype=object), "probabilities": np.full((2, 4), 0.25)}
    assert multiclass.logged(columns, problem("multiclass"))["class"].tolist() == [1, -1]


# --- curves ---


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_curves_are_small_finite_and_of_kinds_that_a_page_draws(name: str, weighted: bool) -> None:
    test, raw = sample(name, weighted=weighted)
    outs = {"model": answered(name, test, raw), "constant": answered(name, test, np.zeros_like(raw) + raw.mean())}
    found = MODULES[name].curves(test, outs, problem(name))
    check(json.loads(json.dumps(found, allow_nan=False)))
    calibration = next(curve for curve in found if curve["kind"] == "points")
    assert calibration["series"].keys() == outs.keys() and calibration["diagonal"]


def check(curves: list[dict[str, Any]]) -> None:
    """What a page takes for granted."""
    for curve in curves:
        assert {"kind", "title", "about", "x", "y", "series"} <= curve.keys()
        assert "{" not in curve["about"].format(rows="pets", positives="cats", unit="s")
        for series in curve["series"].values():
            assert 1 <= len(series["y"]) <= 201 and len(series.get("x", series["y"])) == len(series["y"])
            if curve["kind"] == "histogram":
                assert len(series["y"]) == len(curve["edges"]) - 1
            elif curve["kind"] == "bars":
                assert len(series["y"]) == len(curve["labels"])
            else:
                assert curve["kind"] in ("line", "points") and "x" in series
        if curve["kind"] == "heat":
            assert {len(curve["labels"])} == {len(curve["values"]), *map(len, curve["values"])}


def test_the_confusion_of_many_classes_counts_the_rarest_as_one() -> None:
    draw, names = GENERATOR(0), tuple(f"class {number}" for number in range(40))
    label = np.repeat(np.arange(39.0), 4 * np.arange(39, 0, -1))  # the last class has no row
    raw = draw.normal(size=(len(label), 40)) + 3 * (label[:, None] == np.arange(40))
    out = multiclass.outputs(raw, {}, problem("multiclass", values=names))
    test = Judged(label, np.arange(len(label)), np.zeros(len(label), dtype=np.int64))
    found = multiclass.curves(test, {"model": out}, problem("multiclass", values=names))
    check(found)
    confusion, _, roc, _ = found
    assert confusion["labels"] == [*names[:19], "all others"]
    assert np.sum(confusion["values"], axis=1) == pytest.approx(np.ones(20))
    row = label == 4
    assert confusion["values"][4][4] == pytest.approx((out["class"][row] == 4).mean())
    assert len(roc["series"]) == 10 and "class 0" in roc["series"]


def test_curves_of_one_row_or_of_equal_ones_are_drawn() -> None:
    for rows in (1, 40):
        test = Judged(np.full(rows, 2.0), np.arange(rows), np.zeros(rows, dtype=np.int64))
        same = {name: np.full(rows, 2.0) for name in regression.OUTPUTS}
        check(json.loads(json.dumps(regression.curves(test, {"model": same}, problem("regression")), allow_nan=False)))
        one = multiclass.outputs(np.tile([0.0, 1, 2, 3], (rows, 1)), {}, problem("multiclass"))
        check(json.loads(json.dumps(multiclass.curves(test, {"model": one}, problem("multiclass")), allow_nan=False)))


@pytest.mark.parametrize("name", ["ranking", "../families", "families.network", ""])
def test_what_is_no_task_is_not_loaded(name: str) -> None:
    with pytest.raises(BadInput, match="it may be one of binary, multiclass, regression"):
        task(name)
