"""Bars judge what was measured: each is met by a sound measurement and missed by the fault it is for."""

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from math import nan
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import policy
from pipeline.params import BadInput

ROOT = Path(policy.__file__).parents[2]
NO_SLICES = "slices: none were measured; `make bars` proposes some, and `make model` measures them"
POLICIES = ROOT / "policies"
# Bars of our own: whoever moves one in policies/ breaks no test of the judge.
BARS: dict[str, dict[str, Any]] = {
    "data": {
        "rows": {"minimum": 10_000},
        "days": {"missing": 0, "behind": 0, "outside": 0},
        "volume": {"minimum": 0.5, "maximum": 2.0},
        "level": {"rows": 100, "minimum": 0.2, "maximum": 5},
        "duplicates": 0,
        "values": {"missing": 0, "nan": 0, "infinite": 0, "out_of_range": 0, "unknown": 0},
        "columns": {},
        "label": {
            "minimum": 0.001,
            "maximum": 0.03,
            "day": {"rows": 5_000, "minimum": 0.0001, "maximum": 0.05},
        },
        "daily": {
            **{"chance": 0.001, "clock": 1.5, "repeated": 30, "constant": 0.5, "labels": 0.5},
            **{"categories": 0.05, "lost": 0.3},
        },
        "pinned": False,
    },
    "model": {
        "metrics": {
            "average_precision": {"minimum": 0.5},
            "roc_auc": {"minimum": 0.75},
            "entity_precision_100": {"minimum": 0.15},
            "calibration_error": {"maximum": 0.01},
        },
        "bytes": 1_000,
        "baselines": {"beaten": ["constant", "linear"], "metrics": {"average_precision": 0}},
        "slices": {"rows": 1_000, "each_class": 30, "metrics": {"roc_auc": {"minimum": 0.75}}},
        "champion": {
            "confidence": 0.95,
            "metrics": {"average_precision": {"minimum": -0.01}, "calibration_error": {"maximum": 0.002}},
            "slices": {"roc_auc": {"minimum": -0.02}},
        },
        "fairness": {"rows": 1_000, "each_class": 30, "groups": {"region": {"recall": 0.1}}},
        "contamination": 0,
    },
    "service": {"ready_seconds": 30, "broken": 0, "errors": 0, "latency_ms": {"p50": 50, "p99": 250}},
    "evaluation": {
        "split": {"train": 42, "test": 7},
        "evaluate": {
            "known": 7,
            "resamples": 200,
            "confidence": 0.95,
            "seed": 0,
            "alerts": 0.01,
            "slices": [{"column": "amount", "from": 0, "to": 50}, {"column": "size", "value": None}],
            "groups": {"use": [{"column": "orders_7d", "to": 15}]},
        },
    },
}
DAYS = [f"2018-08-{day:02}" for day in range(1, 15)]

Change = Callable[[dict[str, Any]], object]


def sound_data() -> dict[str, Any]:
    """What `validate` measures where nothing is wrong."""
    none = {"rows": 0, "share": 0.0, "examples": []}
    return {
        "file": "data/rows.parquet",
        "source": "simulate",
        "pinned": True,
        "id": "order_id",
        "dated": True,
        "rows": 140_000,
        "schema": [],
        "columns": {
            "customer": {"missing": none, "out_of_range": {**none, "minimum": 0, "maximum": None}},
            "amount": {
                "missing": none,
                "nan": none,
                "infinite": none,
                "out_of_range": {**none, "minimum": 0, "maximum": 100_000},
            },
        },
        "duplicates": {"rows": 0, "examples": []},
        "days": {
            "since": DAYS[0],
            "until": DAYS[-1],
            "behind": 0,
            "missing": [],
            "outside": {"rows": 0, "examples": []},
            "rows": dict.fromkeys(DAYS, 10_000),
        },
        "levels": {"amount": dict.fromkeys(DAYS, 50.0)},
        "label": {
            **{"kind": "share", "unit": None, "rest": "negative"},
            "parts": {"positive": {"value": 0.008, "deviation": 0.089, "days": dict.fromkeys(DAYS, 0.008)}},
            "known": dict.fromkeys(DAYS, 10_000),
            "unknown": 0,
        },
        "daily": {
            "columns": 2,
            "clock": {day: {"hour": 12 + (day > DAYS[6]) / 4, "spread": 5.0, "rows": 10_000} for day in DAYS},
            "repeated": [],
            "constant": {},
            "categories": {"tests": 0, "columns": {}},
            "lost": {"amount": {"usual": 0.05, "days": []}},
        },
    }


def positive(measured: dict[str, Any]) -> dict[str, Any]:
    """What was measured of the positive labels."""
    found: dict[str, Any] = measured["label"]["parts"]["positive"]
    return found


def metric(value: float, spread: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value - spread, "high": value + spread}


def sound_metrics() -> dict[str, Any]:
    """What `evaluate` measures of a good model."""
    return {
        "model": {"digest": "sha256:0", "family": "network", "bytes": 1},
        "data": {"test_rows": 60_000, "test_labels": "400 returns"},
        "metrics": {
            "average_precision": metric(0.70),
            "roc_auc": metric(0.88),
            "entity_precision_100": metric(0.30),
            "calibration_error": metric(0.002, 0.001),
        },
        **{"headline": "average_precision", "smaller": ["calibration_error"], "unmeasured": {}},
        "baselines": {
            "constant": {"average_precision": metric(0.01)},
            "linear": {"average_precision": metric(0.69)},
            "trees": {"average_precision": metric(0.75)},  # shown, and no bar
        },
        "slices": [
            {
                "column": "amount",
                "from": 0,
                "to": 50,
                "rows": 30_000,
                "labels": "90 returns",
                "rarest": 90,
                "roc_auc": metric(0.75),
            },
            {
                "column": "express",
                "value": True,
                "rows": 4_000,
                "labels": "60 returns",
                "rarest": 60,
                "roc_auc": metric(0.85),
            },
        ],
        "fairness": {
            "region": {
                "groups": [
                    {
                        "column": "region",
                        "value": value,
                        "rows": 30_000,
                        "labels": "200 returns",
                        "rarest": 200,
                        "recall": metric(0.7),
                    }
                    for value in (0, 1)
                ],
                "differences": [{"between": [0, 1], "recall": metric(0.0, 0.08)}],
            }
        },
        "comparison": sound_comparison(),
    }


def against(difference: float, error: float = 0.004) -> dict[str, Any]:
    return {"model": 0.7 + difference, "champion": 0.7, "difference": metric(difference, 2 * error) | {"error": error}}


def sound_comparison() -> dict[str, Any]:
    """What `compare` measures of a model that is as good as the champion."""
    return {
        "champion": {"digest": "sha256:1"},
        "problem": None,
        **{"rows": 60_000, "compared": 60_000, "excepted": "", "labels": "400 returns", "rarest": 400},
        "seen": {"model": {"rows": 0, "examples": []}, "champion": {"rows": 0, "examples": [], "hashed": True}},
        "metrics": {"average_precision": against(-0.004), "calibration_error": against(0.001, 0.0005)},
        "slices": [
            {
                "column": "amount",
                "to": 50,
                "rows": 30_000,
                "labels": "90 returns",
                "rarest": 90,
                "roc_auc": against(-0.01, 0.01),
            },
            {"column": "amount", "from": 50, "rows": 90, "labels": "90 returns", "rarest": 90, "roc_auc": None},
        ],
    }


def judge_data(change: Change, bars: Change = lambda policy: None) -> list[policy.Violation]:
    """The violations of a sound measurement with a change, by our policy with a change."""
    measured, rules = sound_data(), deepcopy(BARS["data"])
    change(measured), bars(rules)
    return policy.judge_data(measured, rules)


def judge_model(change: Change, bars: Change = lambda policy: None) -> list[policy.Violation]:
    metrics, rules = sound_metrics(), deepcopy(BARS["model"])
    change(metrics), bars(rules)
    return policy.judge_model(metrics, rules)


def fault(rows: int, *examples: dict[str, Any]) -> dict[str, Any]:
    return {"rows": rows, "share": rows / 140_000, "examples": list(examples)}


def nothing(_: dict[str, Any]) -> None:
    """No change."""


# --- data ---


def test_sound_data_meets_every_bar() -> None:
    assert judge_data(nothing) == []


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("schema", lambda m: m["schema"].append({"column": "x", "expected": "integer", "found": "no column"})),
        ("rows.minimum", lambda m: m.update(rows=9_999)),
        ("duplicates", lambda m: m.update(duplicates={"rows": 1, "examples": [{"order_id": 5, "_rows": 2}]})),
        ("values.missing", lambda m: m["columns"]["customer"].update(missing=fault(1))),
        ("values.nan", lambda m: m["columns"]["amount"].update(nan=fault(1))),
        ("values.infinite", lambda m: m["columns"]["amount"].update(infinite=fault(1))),
        ("values.out_of_range", lambda m: m["columns"]["amount"].update(out_of_range=fault(1))),
        ("values.unknown", lambda m: m["columns"]["customer"].update(unknown=fault(1))),
        ("days.missing", lambda m: m["days"].update(missing=["2018-08-03"])),
        ("days.behind", lambda m: m["days"].update(behind=1)),
        ("days.outside", lambda m: m["days"].update(outside={"rows": 1, "examples": ["2018-08-15"]})),
        ("volume.minimum", lambda m: m["days"]["rows"].update({"2018-08-03": 4_999})),
        ("volume.maximum", lambda m: m["days"]["rows"].update({"2018-08-03": 20_001})),
        ("level.minimum", lambda m: m["levels"]["amount"].update({"2018-08-03": 9.9})),
        ("level.maximum", lambda m: m["levels"]["amount"].update({"2018-08-03": 5_000.0})),
        ("label.minimum", lambda m: positive(m).update(value=0.0009)),
        ("label.maximum", lambda m: positive(m).update(value=0.04)),
        ("label.day.minimum", lambda m: positive(m)["days"].update({"2018-08-03": 0.0})),
        ("label.day.maximum", lambda m: positive(m)["days"].update({"2018-08-03": 0.06})),
    ],
)
def test_each_fault_misses_its_bar(rule: str, change: Change) -> None:
    assert {violation.rule for violation in judge_data(change)} == {rule}


def test_no_label_at_all_is_one_violation() -> None:
    def unknown(measured: dict[str, Any]) -> None:
        positive(measured).update(value=None, days=dict.fromkeys(DAYS))
        measured["label"]["known"] = dict.fromkeys(DAYS, 0)

    (violation,) = judge_data(unknown)
    assert (violation.rule, violation.value) == ("label", "no label is known")


def test_a_day_whose_labels_nobody_knows_is_one_violation() -> None:
    def unknown(measured: dict[str, Any]) -> None:
        positive(measured)["days"]["2018-08-03"], measured["label"]["known"]["2018-08-03"] = None, 0

    (violation,) = judge_data(unknown)
    assert violation.rule == "label.day" and violation.examples == ("2018-08-03",) and violation.rows == 10_000


def test_bars_are_inclusive() -> None:
    def at_the_bars(measured: dict[str, Any]) -> None:
        measured["rows"] = 10_000
        measured["days"]["rows"] |= {"2018-08-03": 5_000, "2018-08-04": 20_000}
        measured["levels"]["amount"] |= {"2018-08-03": 10.0, "2018-08-04": 250.0}
        positive(measured)["value"] = 0.001
        positive(measured)["days"] |= {"2018-08-03": 0.0001, "2018-08-04": 0.05}

    assert judge_data(at_the_bars) == []


def test_a_columns_own_level_takes_the_place_of_the_others() -> None:
    def own(maximum: float) -> Any:
        return lambda rules: rules.update(columns={"amount": {"level": {"minimum": 0, "maximum": maximum}}})

    def hundredfold(measured: dict[str, Any]) -> None:
        measured["levels"]["amount"]["2018-08-03"] = 5_000.0

    (usual,), (narrow,) = judge_data(hundredfold), judge_data(hundredfold, own(99))
    assert (usual.rule, narrow.rule) == ("level.maximum", "columns.amount.level.maximum")
    assert judge_data(hundredfold, own(100)) == []
    said = yaml.safe_load(usual.next.partition("say ")[2].removesuffix(" in policies/data.yaml"))
    assert judge_data(hundredfold, lambda rules: rules.update(said)) == [], "what it says to write is enough"


@pytest.mark.parametrize("far", [1e-7, 1e7])
def test_a_level_that_is_proposed_is_a_number_to_yaml(far: float) -> None:
    def strays(measured: dict[str, Any]) -> None:
        measured["levels"]["amount"]["2018-08-03"] *= far

    (violation,) = judge_data(strays)
    said = yaml.safe_load(violation.next.partition("say ")[2].removesuffix(" in policies/data.yaml"))
    assert judge_data(strays, lambda rules: rules.update(said)) == []


def test_all_violations_are_found_at_once() -> None:
    def several(measured: dict[str, Any]) -> None:
        measured["days"]["missing"] = ["2018-08-03"]
        measured["columns"]["amount"] = {"missing": fault(2), "nan": fault(3)}
        measured["columns"]["customer"] = {"missing": fault(2)}

    assert [violation.rule for violation in judge_data(several)] == ["values.missing"] * 2 + [
        "values.nan",
        "days.missing",
    ]


def test_a_violation_says_what_where_how_many_such_as_and_what_next() -> None:
    examples = [{"order_id": n, "amount": -n} for n in (7, 8, 9)]
    found = {**fault(1_400, *examples), "minimum": 0, "maximum": 100_000}
    (violation,) = judge_data(lambda measured: measured["columns"]["amount"].update(out_of_range=found))
    assert str(violation).splitlines() == [
        "values.out_of_range (data/rows.parquet)",
        "    found    amount is out of range in 1% of the rows",
        "    bar      at most 0%; the range is from 0 to 100000",
        "    rows     1,400",
        "    such as  order_id 7, amount -7; order_id 8, amount -8; order_id 9, amount -9",
        "    next     correct these rows in the source; if they are right, "
        "widen the `range` of amount in contract.yaml",
    ]


def test_a_column_may_have_a_bar_of_its_own() -> None:
    def allow(rules: dict[str, Any]) -> None:
        rules["columns"] = {"amount": {"missing": 0.01}}

    def missing(rows: int) -> Change:
        return lambda measured: measured["columns"]["amount"].update(missing=fault(rows))

    assert judge_data(missing(1_400), allow) == []
    assert [violation.rule for violation in judge_data(missing(1_401), allow)] == ["columns.amount.missing"]


def test_a_bar_for_no_column_is_a_violation() -> None:
    (violation,) = judge_data(nothing, lambda rules: rules.update(columns={"amonut": {"missing": 1}}))
    assert violation.rule == "columns.amonut" and "`amount`" in violation.next


def test_a_pin_is_asked_for_where_the_policy_says_so() -> None:
    def unpin(measured: dict[str, Any]) -> None:
        measured.update(pinned=False, source="days")

    assert judge_data(unpin) == []
    (violation,) = judge_data(unpin, lambda rules: rules.update(pinned=True))
    assert violation.rule == "pinned" and "make snapshot" in violation.next
    assert judge_data(nothing, lambda rules: rules.update(pinned=True)) == []


def of_classes(measured: dict[str, Any]) -> None:
    """Labels of three classes, one in a hundred of the rarest."""
    shares = {"home": 0.9, "car": 0.09, "boat": 0.01}
    parts = {name: {"value": share, "days": dict.fromkeys(DAYS, share)} for name, share in shares.items()}
    measured["label"] |= {"rest": None, "parts": parts}


def of_numbers(measured: dict[str, Any]) -> None:
    """Labels that are hours, 12 on average."""
    parts = {"delay": {"value": 12.0, "days": dict.fromkeys(DAYS, 12.0)}}
    measured["label"] |= {"kind": "mean", "unit": "hours", "rest": None, "parts": parts}


def bars_on_labels(minimum: float, maximum: float, **parts: Any) -> Change:
    """The same bars for a day and for all, and those of single classes."""
    day = {"rows": 5_000, "minimum": minimum, "maximum": maximum}
    return lambda rules: rules.update(label={"minimum": minimum, "maximum": maximum, "day": day, "parts": parts})


@pytest.mark.parametrize(
    ("change", "bars", "rule", "value", "bar"),
    [
        (of_classes, {"minimum": 0.05}, "label.minimum", "1% of the labels are boat", "at least 5%"),
        (of_classes, {"maximum": 0.5}, "label.maximum", "90% of the labels are home", "at most 50%"),
        (of_classes, {"car": {"minimum": 0.1}}, "label.parts.car.minimum", "9% of the labels are car", "at least 10%"),
        (
            of_classes,
            {"boat": {"day": {"maximum": 0.001}}},
            "label.parts.boat.day.maximum",
            "too high a share of boat labels on 14 days",
            "at most 0.1% of a day's labels",
        ),
        (
            of_numbers,
            {"minimum": 13, "maximum": 20},
            "label.minimum",
            "the mean label is 12 hours",
            "at least 13 hours",
        ),
        (of_numbers, {"minimum": -5, "maximum": 11.5}, "label.maximum", "the mean label is 12 h", "at most 11.5 hours"),
    ],
)
def test_each_class_and_a_number_have_their_bars(
    change: Change, bars: dict[str, Any], rule: str, value: str, bar: str
) -> None:
    ends = {"minimum": 0, "maximum": 1}
    found = {violation.rule: violation for violation in judge_data(change, bars_on_labels(**ends | bars))}
    assert set(found) <= {rule, rule.replace("label.", "label.day.")}
    assert value in found[rule].value and found[rule].bar == bar


def test_a_class_may_have_bars_of_its_own_in_the_place_of_all() -> None:
    everywhere = bars_on_labels(0.05, 1)
    assert {violation.rule for violation in judge_data(of_classes, everywhere)} == {
        "label.minimum",
        "label.day.minimum",
    }
    assert judge_data(of_classes, bars_on_labels(0.05, 1, boat={"minimum": 0, "day": {"minimum": 0}})) == []


def test_hours_for_days_are_found_by_the_day() -> None:
    def in_days(measured: dict[str, Any]) -> None:
        of_numbers(measured)
        measured["label"]["parts"]["delay"]["days"]["2018-08-03"] = 0.5

    (violation,) = judge_data(in_days, bars_on_labels(6, 24))
    assert (violation.rule, violation.examples) == ("label.day.minimum", ("2018-08-03: 0.5 hours",))
    assert "in the unit of the others" in violation.next


def test_classes_that_are_swapped_from_a_day_on_are_found_where_their_shares_differ() -> None:
    def swapped(measured: dict[str, Any]) -> None:
        of_classes(measured)
        home, car = (measured["label"]["parts"][name]["days"] for name in ("home", "car"))
        for day in DAYS[10:]:
            home[day], car[day] = car[day], home[day]

    bars = bars_on_labels(0, 1, home={"day": {"minimum": 0.8}}, car={"day": {"maximum": 0.2}})
    found = judge_data(swapped, bars)
    assert [violation.rule for violation in found] == ["label.parts.home.day.minimum", "label.parts.car.day.maximum"]
    assert all(violation.examples[0].startswith(DAYS[10]) for violation in found)


def test_small_days_and_unreadable_columns_are_said_not_to_be_judged() -> None:
    rules, measured = deepcopy(BARS["data"]), sound_data()
    assert policy.unjudged_data(measured, rules) == []

    measured["days"]["rows"] = dict.fromkeys(DAYS, 100)
    positive(measured)["days"] = dict.fromkeys(DAYS, 0.0)
    assert policy.judge_data(measured, rules) == []
    (sentence,) = policy.unjudged_data(measured, rules)
    assert "14 days with fewer than 5,000 rows" in sentence and "2018-08-01, 2018-08-02, 2018-08-03, …" in sentence

    measured.update(days=None, label=None, duplicates=None, daily=None)
    assert policy.judge_data(measured, rules) == []
    assert len(policy.unjudged_data(measured, rules)) == 3


# --- model ---


def test_a_good_model_meets_every_bar() -> None:
    assert judge_model(nothing) == []


@pytest.mark.parametrize("name", ["average_precision", "roc_auc", "entity_precision_100", "calibration_error"])
def test_the_worse_end_of_the_interval_has_to_meet_the_bar(name: str) -> None:
    bars = deepcopy(BARS["model"])["metrics"][name]
    (end, bar), sign = next(iter(bars.items())), -1 if "minimum" in bars else 1
    near = {"value": bar - sign * 1e-3, "low": bar - 2e-3, "high": bar + 2e-3}
    met = {"value": bar - sign * 3e-3, "low": bar - sign * 3e-3 - 1e-3, "high": bar - sign * 3e-3 + 1e-3}

    def change(found: dict[str, float]) -> Change:
        def to(metrics: dict[str, Any]) -> None:
            metrics["baselines"] = dict.fromkeys(("constant", "linear"), {"average_precision": metric(0)})
            metrics["metrics"][name] = found

        return to

    assert judge_model(change(met)) == []
    assert [violation.rule for violation in judge_model(change(near))] == [f"metrics.{name}.{end}"]


@pytest.mark.parametrize("nought", [None, nan])
def test_a_metric_that_is_no_number_meets_no_bar(nought: float | None) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["metrics"]["average_precision"] = {"value": nought, "low": nought, "high": nought}

    assert {violation.rule for violation in judge_model(change)} == {
        "metrics.average_precision.minimum",
        "baselines.metrics.average_precision",
    }


def test_a_metric_that_was_not_measured_is_a_violation_that_names_the_nearest() -> None:
    def typo(rules: dict[str, Any]) -> None:
        rules["metrics"] = {"rok_auc": {"minimum": 0}}

    (violation,) = judge_model(nothing, typo)
    assert violation.value == "not measured" and "`roc_auc`" in violation.next


@pytest.mark.parametrize(("theirs", "margin", "beaten"), [(0.69, 0, True), (0.70, 0, False), (0.69, 0.02, False)])
def test_each_simple_family_has_to_be_beaten_by_the_margin(theirs: float, margin: float, beaten: bool) -> None:
    violations = judge_model(
        lambda metrics: metrics["baselines"]["linear"].update(average_precision=metric(theirs)),
        lambda rules: rules["baselines"]["metrics"].update(average_precision=margin),
    )
    assert ["linear" in violation.value for violation in violations] == [True] * (not beaten)


@pytest.mark.parametrize("lost", ["constant", "linear"])
def test_a_simple_family_that_was_not_measured_is_a_violation(lost: str) -> None:
    (violation,) = judge_model(lambda metrics: metrics["baselines"].pop(lost))
    assert violation.rule == f"baselines.beaten.{lost}" and f"put {lost} back under families" in violation.next


def test_no_family_has_to_beat_itself() -> None:
    def linear(metrics: dict[str, Any]) -> None:
        metrics["model"]["family"] = "linear"
        metrics["baselines"].pop("linear")

    assert judge_model(linear) == []

    def no_better(metrics: dict[str, Any]) -> None:
        linear(metrics)
        metrics["baselines"]["constant"].update(average_precision=metric(1))

    (violation,) = judge_model(no_better)
    assert violation.rule == "baselines.metrics.average_precision" and "constant has" in violation.value


@pytest.mark.parametrize(
    ("value", "words"), [(None, "is missing"), (True, "is true"), ("groß", "is groß"), (0.5, "is 0.5"), (0, "is 0")]
)
def test_a_slice_is_named_whatever_its_value(value: Any, words: str) -> None:
    assert policy.where({"column": "größe €", "value": value}) == f"größe € {words}"


def test_a_slice_fails_where_its_better_end_misses_the_bar() -> None:
    def express(found: dict[str, float]) -> Change:
        return lambda metrics: metrics["slices"][1].update(roc_auc=found)

    assert judge_model(express({"value": 0.7, "low": 0.6, "high": 0.76})) == []
    (violation,) = judge_model(express({"value": 0.7, "low": 0.6, "high": 0.74}))
    assert violation.rows == 4_000 and "express is true" in violation.value


@pytest.mark.parametrize("small", [{"rows": 999}, {"rarest": 29}])
def test_a_small_slice_is_said_not_to_be_judged(small: dict[str, int]) -> None:
    metrics, rules = sound_metrics(), deepcopy(BARS["model"])
    assert policy.unjudged_model(metrics, rules) == []
    metrics["slices"][0] |= {"roc_auc": metric(0.1)} | small
    assert policy.judge_model(metrics, rules) == []
    (sentence,) = policy.unjudged_model(metrics, rules)
    assert "amount is from 0 to 50" in sentence and "rows, 90 returns, are too few" in sentence


def test_a_slice_of_numbers_is_judged_by_its_rows_alone() -> None:
    metrics, rules = sound_metrics(), deepcopy(BARS["model"])
    metrics["slices"][0] |= {"labels": "mean 12 euros", "rarest": None, "roc_auc": metric(0.1)}
    assert len(policy.judge_model(metrics, rules)) == 1
    metrics["slices"][0]["rows"] = 999
    (sentence,) = policy.unjudged_model(metrics, rules)
    assert sentence.endswith("999 rows, mean 12 euros, are too few (slices.rows is 1,000)")


def test_no_slices_are_said_not_to_be_judged() -> None:
    metrics = sound_metrics() | {"slices": []}
    assert policy.unjudged_model(metrics, deepcopy(BARS["model"])) == [NO_SLICES]


# --- fairness, the champion, contamination ---


def test_a_model_too_large_to_ship_is_a_violation() -> None:
    (violation,) = judge_model(lambda metrics: metrics["model"].update(bytes=1_001))
    assert violation.rule == "bytes" and "1,001" in violation.value
    assert "families.network in params.yaml" in violation.next


@pytest.mark.parametrize(("found", "fair"), [((0.3, 0.09), True), ((0.3, 0.11), False), ((-0.3, 0.11), False)])
def test_groups_may_lie_apart_by_chance(found: tuple[float, float], fair: bool) -> None:
    value, nearer = found
    low, high = sorted((nearer if value > 0 else -nearer, 2 * value))

    def change(metrics: dict[str, Any]) -> None:
        metrics["fairness"]["region"]["differences"][0]["recall"] = {"value": value, "low": low, "high": high}

    violations = judge_model(change)
    assert [violation.rule for violation in violations] == ["fairness.groups.region.recall"] * (not fair)
    assert all("region is 0" in v.value and "region is 1" in v.value and v.rows == 60_000 for v in violations)


def test_a_small_group_is_said_not_to_be_judged() -> None:
    metrics = sound_metrics()
    metrics["fairness"]["region"]["groups"][1]["rarest"] = 29
    metrics["fairness"]["region"]["differences"][0]["recall"] = metric(0.9)
    assert policy.judge_model(metrics, BARS["model"]) == []
    (sentence,) = policy.unjudged_model(metrics, BARS["model"])
    assert "group of region where region is 1" in sentence


def without_bars_on_size() -> dict[str, Any]:
    rules = deepcopy(BARS["model"])
    for block in ("slices", "fairness"):
        rules[block] |= {"rows": 0, "each_class": 0}
    return rules


def test_a_slice_or_group_without_a_row_is_never_silent() -> None:
    metrics, empty = sound_metrics(), {"rows": 0, "labels": "0 returns", "rarest": 0}
    metrics["fairness"]["region"]["groups"][1] |= {**empty, "recall": None}
    metrics["fairness"]["region"]["differences"][0]["recall"] = None
    for slices in (metrics["slices"], metrics["comparison"]["slices"]):
        slices[1] |= {**empty, "roc_auc": None}
    assert policy.judge_model(metrics, without_bars_on_size()) == []
    assert policy.unjudged_model(metrics, without_bars_on_size()) == [
        f"{what}: no judged row is of it; is it written as it has to be?"
        for what in ("the slice where express is true", "the group of region where region is 1")
    ]


def test_a_group_without_a_rate_is_never_silent() -> None:
    metrics = sound_metrics()
    metrics["fairness"]["region"]["differences"][0]["recall"] = None
    (sentence,) = policy.unjudged_model(metrics, without_bars_on_size())
    assert sentence.startswith(
        "fairness.groups.region.recall: where region is 0, or region is 1, there is no row that it"
    )


def test_a_group_alone_is_said_not_to_be_judged() -> None:
    metrics = sound_metrics()
    metrics["fairness"]["region"] = {"groups": metrics["fairness"]["region"]["groups"][:1], "differences": []}
    assert policy.judge_model(metrics, BARS["model"]) == []
    (sentence,) = policy.unjudged_model(metrics, BARS["model"])
    assert sentence.startswith("fairness.groups.region: it is one group alone")


@pytest.mark.parametrize("judged", [True, False])
def test_a_metric_that_the_rows_have_not_is_said(judged: bool) -> None:
    metrics, rules, name = sound_metrics(), deepcopy(BARS["model"]), "entity_precision_100"
    rules["champion"]["metrics"][name] = {"minimum": 0}
    rules["baselines"]["metrics"][name] = 0
    metrics["metrics"].pop(name)
    metrics["unmeasured"] = {} if judged else {name: "few entities say little"}
    violations, said = policy.judge_model(metrics, rules), policy.unjudged_model(metrics, rules)
    assert [name in violation.rule for violation in violations] == [True] * 4 * judged
    assert said == [f"{name}: few entities say little"] * (not judged)


def test_less_is_better_where_the_task_says_so() -> None:
    def found(theirs: float) -> list[str]:
        def change(metrics: dict[str, Any]) -> None:
            metrics["baselines"]["linear"]["calibration_error"] = metric(theirs, 0)
            metrics["baselines"]["constant"]["calibration_error"] = metric(1)

        violations = judge_model(change, lambda rules: rules["baselines"]["metrics"].update(calibration_error=0))
        return [violation.bar for violation in violations]

    assert found(0.1) == [] and found(0.001) == ["more than 0 below linear"]


def test_groups_that_were_not_measured_are_a_violation() -> None:
    (violation,) = judge_model(lambda metrics: metrics.update(fairness={"regions": {"groups": [], "differences": []}}))
    assert violation.rule == "fairness.groups.region" and "`regions`" in violation.next


@pytest.mark.parametrize(
    ("place", "name", "difference", "error", "passes"),
    [
        ("metrics", "average_precision", -0.05, 0.004, False),
        ("metrics", "average_precision", -0.05, 0.020, True),  # chance alone
        ("metrics", "average_precision", -0.0099, 0.0, True),  # the margin
        ("metrics", "average_precision", 0.05, 0.004, True),
        ("metrics", "calibration_error", 0.05, 0.004, False),
        ("slices", "roc_auc", -0.09, 0.01, False),
        ("slices", "roc_auc", -0.09, 0.04, True),
    ],
)
def test_worse_than_the_champion_beyond_chance_is_a_violation(
    place: str, name: str, difference: float, error: float, passes: bool
) -> None:
    def change(metrics: dict[str, Any]) -> None:
        found = metrics["comparison"][place]
        (found if place == "metrics" else found[0])[name] = against(difference, error)

    violations = judge_model(change)
    assert [violation.rule.startswith(f"champion.{place}.{name}") for violation in violations] == [True] * (not passes)


def test_the_confidence_is_shared_by_all_comparisons() -> None:
    """Two standard errors below the margin refuse one comparison of three, and not one of thirty."""

    def change(metrics: dict[str, Any], slices: int) -> None:
        metrics["comparison"]["metrics"]["average_precision"] = against(-0.01 - 0.0088, 0.004)
        metrics["comparison"]["slices"] = [metrics["comparison"]["slices"][0]] * slices

    assert len(judge_model(lambda metrics: change(metrics, 1))) == 1
    assert judge_model(lambda metrics: change(metrics, 30)) == []


def test_what_was_not_compared_is_a_violation_and_no_champion_is_said() -> None:
    (violation,) = judge_model(lambda metrics: metrics["comparison"]["metrics"].pop("average_precision"))
    assert violation.value == "not measured"
    metrics = sound_metrics()
    metrics["comparison"] |= {"champion": None, "metrics": {}, "slices": []}
    assert policy.judge_model(metrics, BARS["model"]) == []
    assert policy.unjudged_model(metrics, BARS["model"]) == [
        "champion: nothing of this problem is in production yet to compare with"
    ]
    metrics["comparison"] |= {"champion": {"digest": "sha256:1"}, "problem": "it lacks x"}
    assert policy.judge_model(metrics, BARS["model"]) == []
    assert policy.unjudged_model(metrics, BARS["model"]) == ["champion: it lacks x"]


def test_a_champion_without_hashes_is_said() -> None:
    metrics = sound_metrics()
    metrics["comparison"]["seen"]["champion"]["hashed"] = False
    (sentence,) = policy.unjudged_model(metrics, BARS["model"])
    assert "by its days alone" in sentence


@pytest.mark.parametrize("who", ["model", "champion"])
def test_a_test_row_that_was_trained_on_is_a_violation(who: str) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["comparison"]["seen"][who] |= {"rows": 1, "examples": [7]}

    (violation,) = judge_model(change)
    assert violation.rule == "contamination" and who in violation.value and violation.examples == ("row 7",)


# --- policy files ---


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with our policies; the working directory."""
    shutil.copytree(POLICIES / "schemas", tmp_path / "policies" / "schemas")
    for name, bars in BARS.items():
        (tmp_path / "policies" / f"{name}.yaml").write_text(yaml.safe_dump(bars))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rewrite(name: str, change: Change) -> None:
    path = Path(f"policies/{name}.yaml")
    rules = yaml.safe_load(path.read_text())
    change(rules)
    path.write_text(yaml.safe_dump(rules))


def refusal(name: str) -> str:
    with pytest.raises(BadInput) as refused:
        policy.load(name)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("data", lambda rules: rules.update(duplicate=0), "duplicate is no bar here; did you mean `duplicates`?"),
        (
            "data",
            lambda rules: rules["label"]["day"].update(minimun=0),
            "label.day.minimun is no bar here; did you mean",
        ),
        ("data", lambda rules: rules["values"].update(null=0), "values.null is no bar here"),
        ("data", lambda rules: rules["label"].update(minimum="low"), "label.minimum is 'low'; it has to be a number"),
        ("data", lambda rules: rules.pop("days"), "data.yaml: days is missing"),
        ("model", lambda rules: rules["metrics"]["roc_auc"].update(min=1), "did you mean `minimum`?"),
        ("model", lambda rules: rules.update(slice={}), "did you mean `slices`?"),
        ("model", lambda rules: rules["baselines"].update(beaten=["linaer"]), "it has to be one of constant, linear"),
        ("model", lambda rules: rules.update(metrics={}), "metrics is {}; it has to hold 1 line at least"),
        (
            "model",
            lambda rules: rules["baselines"].update(beaten=["linaer"]),
            "beaten.0 is 'linaer'; it has to be one of constant, linear",
        ),
        ("evaluation", lambda rules: rules.update(splt={}), "splt is no bar here; did you mean `split`?"),
        ("evaluation", lambda rules: rules["split"].update(test=0), "split.test is 0; it has to be 1 or more"),
        ("evaluation", lambda rules: rules["evaluate"].pop("seed"), "evaluate.seed is missing"),
        (
            "evaluation",
            lambda rules: rules["evaluate"]["slices"][1].update(valeu=1),
            "evaluate.slices.1.valeu is no bar here; did you mean `value`?",
        ),
        (
            "evaluation",
            lambda rules: rules["evaluate"]["groups"].update({"Age group": [{"column": "age", "to": 9}]}),
            "groups: the name 'Age group' is not written as it has to be; write small letters, digits and _",
        ),
        (
            "evaluation",
            lambda rules: rules["evaluate"]["slices"].append({"column": "a", "value": "x" * 201}),
            "xxx...; it may have 200 characters at most",
        ),
        (
            "evaluation",
            lambda rules: rules["evaluate"]["slices"][0].update(value=1),
            "slices.0 is a block of `name: value`; it may hold 2 lines at most",
        ),
        (
            "evaluation",
            lambda rules: rules["evaluate"]["groups"]["use"][0].pop("to"),
            "evaluate.groups.use.0 is a block of `name: value`; it has to hold 2 lines at least",
        ),
    ],
)
def test_a_mistake_in_a_policy_is_named(folder: Path, name: str, change: Change, words: str) -> None:
    rewrite(name, change)
    said = refusal(name)
    assert said.startswith(f"policies/{name}.yaml: ") and words in said


def test_all_mistakes_are_named_at_once(folder: Path) -> None:
    rewrite("data", lambda rules: rules.update(rowz=1, pinnd=True, duplicates=2))
    said = refusal("data").splitlines()
    assert len(said) == 3 and all(line.startswith("policies/data.yaml: ") for line in said)


@pytest.mark.parametrize("text", ["rows: [", "", "- 1"])
def test_a_broken_policy_is_a_sentence(folder: Path, text: str) -> None:
    Path("policies/data.yaml").write_text(text)
    assert refusal("data").startswith("policies/data.yaml: ")


@pytest.mark.parametrize("name", ["data", "model"])
def test_every_bar_is_described_and_no_other_is_allowed(name: str) -> None:
    def visit(schema: dict[str, Any]) -> None:
        if schema.get("type") == "object":
            assert "additionalProperties" in schema
        for key, bar in schema.get("properties", {}).items():
            assert bar.get("description", "").endswith("."), key
            visit(bar)
        for definition in schema.get("$defs", {}).values():
            visit(definition)

    visit(json.loads((POLICIES / "schemas" / f"{name}.schema.json").read_text()))


# --- the command ---


def keep(metrics: dict[str, Any]) -> None:
    """What the stages write."""
    Path("reports").mkdir()
    Path("reports/comparison.json").write_text(json.dumps(metrics["comparison"]))
    Path("metrics.json").write_text(json.dumps({name: metrics[name] for name in metrics if name != "comparison"}))


def test_the_command_praises_and_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(sound_metrics())
    policy.main(["model"])
    assert capsys.readouterr().out == "policies/model.yaml: well done, every bar is met\n"


def test_the_command_says_everything_and_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = deepcopy(sound_data())
    measured["days"] |= {"behind": 2, "missing": DAYS[-2:], "rows": dict.fromkeys(DAYS[:-2], 100)}
    Path("reports").mkdir()
    Path("reports/validation.json").write_text(json.dumps(measured))
    with pytest.raises(SystemExit, match="policies/data.yaml: 2 bars not met"):
        policy.main(["data"])
    said = capsys.readouterr().out
    assert "days.missing (data/rows.parquet)" in said and "days.behind" in said and "not judged: " in said


@pytest.mark.parametrize("name", ["data", "model"])
def test_the_command_names_the_target_that_has_not_measured(folder: Path, name: str) -> None:
    with pytest.raises(BadInput, match=f"make it with `make {name}`"):
        policy.main([name])


# --- service ---


def sound_service() -> dict[str, Any]:
    """What `probe` measures of a good service."""
    latency = {"p50": 2.0, "p95": 5.0, "p99": 9.0}
    return {"ready_seconds": 2.0, "broken": [], "errors": 0, "requests": 9_000, "latency_ms": latency}


@pytest.mark.parametrize(
    ("rule", "changed", "words"),
    [
        ("broken", {"broken": ["tx_amount null got 200"]}, "tx_amount null got 200"),
        ("errors", {"errors": 3}, "3 requests"),
        ("ready_seconds", {"ready_seconds": 90}, "90 seconds"),
        ("latency_ms.p99", {"latency_ms": {"p50": 2.0, "p95": 5.0, "p99": 900.0}}, "900.0 ms at p99"),
        ("latency_ms.p50", {"latency_ms": {"p99": 9.0}}, "not measured"),
    ],
)
def test_each_fault_of_the_service_misses_its_bar(rule: str, changed: dict[str, Any], words: str) -> None:
    bars = deepcopy(BARS["service"])
    assert policy.judge_service(sound_service(), bars) == []
    (violation,) = policy.judge_service(sound_service() | changed, bars)
    assert violation.rule == rule
    assert words in str(violation)


def test_what_was_judged_is_kept_for_the_report(folder: Path) -> None:
    keep(sound_metrics() | {"slices": []})
    policy.main(["model"])
    kept = json.loads(Path("reports/gate-model.json").read_text())
    assert kept == {"violations": [], "not_judged": [NO_SLICES]}


@pytest.mark.parametrize("name", sorted(path.stem for path in POLICIES.glob("*.yaml")))
def test_the_policies_of_this_repository_are_as_their_schema_says(owned: None, name: str) -> None:
    assert policy.load(name, POLICIES)
