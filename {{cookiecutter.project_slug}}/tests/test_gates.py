"""Each gate is needed: without it, the defect that it is for goes by. So no gate can be removed and not be missed."""

from collections.abc import Callable
from copy import deepcopy
from inspect import getmembers, isfunction
from types import ModuleType
from typing import Any

import pytest

from pipeline.policy import before, behaviour, data, drift, model
from pipeline.policy.bars import Violation
from tests.test_policy import BARS, against, fault, metric, positive, sound_data, sound_metrics

Facts = dict[str, Any]
Change = Callable[[Facts], object]

CASE = {"case": "An order of 400 comes back", "row": {"amount": 400}, "above": 0.5, "share": 1}
TRIED = {"kind": "functionality", "asked": CASE, "rows": 1, "share": 1.0, "moved": 0.0, "examples": []}
CASES = {"rows": 30, "functionality": [CASE], "invariance": [], "direction": [], "reliance": {"by": 1e-6}}


def sound_behaviour() -> Facts:
    """What `behaviour` measures of a model that does as it is asked, and uses its input."""
    relied = {"kind": "reliance", "column": "express", "rows": 2000, "values": 2, "moved": 0.01}
    return {"cases": [dict(TRIED), relied]}


DAYS = ["2018-08-15", "2018-08-16", "2018-08-17"]
DRIFT: Facts = {
    "evidence_days": 2,
    "columns": {"maximum": 0.1, "exceptions": {}},
    "categories": {"maximum": 0.1, "exceptions": {}},
    "answer": {"maximum": 0.1},
    "quality": {"missing": 0.01, "out_of_range": 0.01},
    "skew": {"maximum": 0.02, "exceptions": {}},
    "live": {"rows": 5_000, "unlabelled": 0.05, "metrics": {"average_precision": {"minimum": 0.45}}},
}

WORSE = {"average_precision": metric(0.3)}


def column(name: str, kind: str) -> Facts:
    """An input that is as it was, of which one in ten was missing before and is missing now."""
    shares = {"missing": 0.1, "missing_before": 0.1, "rise": 0.0, "out_of_range": 0.0}
    return {"name": name, "type": kind, "distance": 0.02, "chance": 0.01, "method": "normed", **shares}


FAR = {"columns": {"amount": 1, "größe €": 1}, "answer": 1}


def sound_drift() -> Facts:
    """What `monitor` measures where the world is as it was; of single days every one is far off."""
    return {
        "model": "sha256:0",
        "same_problem": True,
        "configured": True,
        "problem": None,
        "window": [DAYS[0], DAYS[-1]],
        "rows": 20_000,
        "columns": [column("amount", "number"), column("größe €", "category")],
        "answer": {"name": "score", "type": "number", "distance": 0.02, "chance": 0.01, "method": "normed"},
        "headline": "average_precision",
        "live": {
            **{"days": DAYS[:2], "rows": 9_000, "unlabelled": 0, "metrics": {"average_precision": metric(0.7)}},
            **{"unmeasured": {}, "smaller": ["calibration_error"]},
        },
        "skew": {
            **{"rows": 7_000, "lost": 3, "share": 0.01, "left_out": [], "unmeasured": None},
            "newest": {"day": DAYS[-1], "until": DAYS[-1], "rows": 1_000},
            "columns": [{"name": "amount", "share": 0.01, "newest": 0.01, "example": {"logged": "9.9", "made": "9.8"}}],
            "days": [{"day": day, "rows": 1_000, "share": 0.01, "columns": {"amount": 0.01}} for day in DAYS],
        },
        "days": [
            {**{"day": day, "until": day, "wider": {"columns": 2, "answer": 2}, "headline": 0.1}, **FAR} for day in DAYS
        ],
    }


WHOLE = {
    **{"day": "2018-07-31", "rows": 900, "columns": 2, "lacks": []},
    "again": {"new": 300, "renamed": 0, "distinct": 900},
    "levels": {"amount": {"rows": 900, "mean": [52.0, 50.0], "median": [21.0, 20.0]}},
    **{"constant": {}, "lost": {}, "categories": {}},
}


def sound_whole() -> Facts:
    """What `validate` measures of a whole delivery that is like the one before it."""
    return {"file": "data/rows.parquet", "rows": 1000, "before": deepcopy(WHOLE)}


def judge_whole(measured: Facts, bars: Facts) -> list[Violation]:
    """What the data gate says of a whole delivery beside the one before."""
    return list(before.judge_before(measured, bars))


JUDGES: dict[str, tuple[ModuleType, Callable[..., list[Violation]], Callable[[], Facts], Facts]] = {
    "data": (data, data.judge_data, sound_data, {**BARS["data"], "pinned": True}),
    "before": (before, judge_whole, sound_whole, BARS["data"]),
    "model": (model, model.judge_model, sound_metrics, BARS["model"]),
    "behaviour": (behaviour, behaviour.judge_behaviour, sound_behaviour, CASES),
    "drift": (drift, drift.judge_drift, sound_drift, DRIFT),
}
"""Of each policy its module and judge, what is measured where nothing is wrong, and bars of our own."""

REPEATED = {"day": "2018-08-14", "of": "2018-08-13", "rows": 10_000, "distinct": 9_000}
CONSTANT = {"share": 0.01, "runs": [{"first": "2018-08-05", "last": "2018-08-05", "rows": 900, "value": "9.9"}]}
RENAMED = {
    "tests": 10,
    "columns": {
        "channel": [
            {"level": "'Web'", "since": DAYS[-2], "rows": 5_000, "of": 20_000, "chance": 0.0},
            {"level": "'web'", "until": DAYS[-3], "rows": 30_000, "of": 120_000, "chance": 0.0},
        ]
    },
}
LOST = {"day": "2018-08-05", "rows": 10_000, "missing": 5_000, "chance": 0.0}


def stop(rows: dict[str, int], label: Facts) -> None:
    """Days too small to be judged by themselves, and the last of them without a label of the first class."""
    rows.update(dict.fromkeys(rows, 2_000)), label["known"].update(rows)
    first, *_ = label["parts"].values()
    first["days"].update(dict.fromkeys([*rows][-2:], 0.0))


def stop_a_class(measured: Facts) -> None:
    """Labels of two classes, one of which stops."""
    label, car = measured["label"], {"value": 0.02, "days": dict.fromkeys(measured["label"]["known"], 0.02)}
    label.update(rest=None, parts={"boat": positive(measured), "car": car})
    stop(measured["days"]["rows"], label)


DEFECTS: dict[str, dict[str, Change]] = {
    "data.judge_schema": {
        "a renamed column": lambda m: m["schema"].append({"column": "x", "expected": "int64", "found": "no column"})
    },
    "data.judge_rows": {
        "duplicated ids": lambda m: m.update(duplicates={"rows": 1, "examples": []}),
        "too few rows": lambda m: m.update(rows=9_999),
    },
    "data.judge_values": {
        "nulls": lambda m: m["columns"]["amount"].update(missing=fault(20)),
        "a level that nobody knows": lambda m: m["columns"]["amount"].update(unknown=fault(20)),
        "values out of range": lambda m: m["columns"]["amount"].update(out_of_range=fault(20)),
    },
    "data.judge_days": {
        "a stale file": lambda m: m["days"].update(behind=1),
        "a missing day": lambda m: m["days"].update(missing=["2018-08-03"]),
    },
    "data.judge_levels": {"cents for euros": lambda m: m["levels"]["amount"].update({"2018-08-05": 5_000.0})},
    "data.judge_volume": {"a batch that lost its rows": lambda m: m["days"]["rows"].update({"2018-08-05": 500})},
    "data.judge_labels": {"labels that have not arrived": lambda m: positive(m).update(value=0.0)},
    "data.judge_clock": {
        "a clock of another zone": lambda m: m["daily"]["clock"]["2018-08-05"].update(hour=14.2),
    },
    "data.judge_midnight": {"days without hours": lambda m: m["daily"].update(untimed=["2018-08-05"])},
    "data.judge_repeated": {"yesterday again": lambda m: m["daily"]["repeated"].append(REPEATED)},
    "data.judge_constant": {"a column that stands still": lambda m: m["daily"]["constant"].update(amount=CONSTANT)},
    "data.judge_stopped": {
        "labels that stopped coming": lambda m: stop(m["days"]["rows"], m["label"]),
        "a class that stopped coming": stop_a_class,
    },
    "data.judge_categories": {"a renamed level": lambda m: m["daily"]["categories"].update(RENAMED)},
    "data.judge_lost": {
        "values that are lost": lambda m: m["daily"]["lost"]["amount"]["days"].append(LOST),
    },
    "data.judge_pin": {"a source that is not pinned": lambda m: m.update(pinned=False)},
    "model.judge_size": {"a model too large": lambda m: m["model"].update(bytes=1_001)},
    "model.judge_metrics": {
        "labels shifted by a day": lambda m: m["metrics"].update(roc_auc=metric(0.5)),
        "a mis-calibrated model": lambda m: m["metrics"].update(calibration_error=metric(0.3)),
    },
    "model.judge_baselines": {
        "no better than a simple model": lambda m: m["baselines"]["linear"].update(average_precision=metric(1)),
        "a simple model that is gone": lambda m: m["baselines"].pop("constant"),
    },
    "model.judge_slices": {"a model that fails on a slice": lambda m: m["slices"][1].update(roc_auc=metric(0.5))},
    "model.judge_fairness": {
        "an unfair model": lambda m: m["fairness"]["region"]["differences"][0].update(recall=metric(0.3, 0.1)),
    },
    "model.judge_seen": {
        "train and test overlapping": lambda m: m["comparison"]["seen"]["model"].update(rows=7),
    },
    "model.judge_delivery": {
        "an older delivery": lambda m: m["comparison"].update(
            delivery="2000-01-01", champion=m["comparison"]["champion"] | {"until": "2000-02-01"}
        ),
    },
    "before.judge_volume": {"half of the rows": lambda m: m.update(rows=400)},
    "before.judge_again": {
        "the delivery before": lambda m: m["before"]["again"].update(new=0),
        "under other identifiers": lambda m: m["before"]["again"].update(renamed=1),
    },
    "before.judge_levels": {
        "cents": lambda m: m["before"]["levels"]["amount"].update(mean=[5000, 50], median=[2000, 20])
    },
    "before.judge_constant": {
        "a column that stands still": lambda m: m["before"]["constant"].update(
            amount={"rows": 1000, "units": 1000, "share": 0.5, "value": "1"}
        )
    },
    "before.judge_lost": {
        "values that are lost": lambda m: m["before"]["lost"].update(
            amount={"rows": 500, "share": 0.5, "usual": 0.0, "chance": 1e-9}
        )
    },
    "before.judge_categories": {
        "renamed levels": lambda m: m["before"]["categories"].update(
            country={"gone": {"rows": 900, "of": 900, "levels": 2, "usual": 0.0, "chance": 1e-9, "examples": ["x"]}}
        )
    },
    "model.judge_champion": {
        "a worse model": lambda m: m["comparison"]["metrics"].update(average_precision=against(-0.1)),
        "worse on a slice": lambda m: m["comparison"]["slices"][0].update(roc_auc=against(-0.2)),
    },
    "behaviour.judge_cases": {"a label leaked into a feature": lambda m: m["cases"][0].update(share=0.0)},
    "behaviour.judge_reliance": {"a model that ignores an input": lambda m: m["cases"][1].update(moved=0.0)},
    "drift.judge_columns": {
        "a drifted batch": lambda m: m["columns"][0].update(distance=0.5),
        "levels that nobody knew": lambda m: m["columns"][1].update(distance=0.5),
    },
    "drift.judge_answer": {"answers that drifted": lambda m: m["answer"].update(distance=0.5)},
    "drift.judge_quality": {"nulls in the log": lambda m: m["columns"][0].update(missing=0.6, rise=0.5)},
    "drift.judge_skew": {"a caller that averages in another way": lambda m: m["skew"]["columns"][0].update(newest=0.9)},
    "drift.judge_labels": {"a log that the source does not know": lambda m: m["live"].update(unlabelled=9_000)},
    "drift.judge_live": {"a model that got worse": lambda m: m["live"].update(metrics=WORSE)},
}
"""By the gate: what only it finds."""

SEEDS = [(gate, defect) for gate, defects in DEFECTS.items() for defect in defects]


def judged(policy: str, change: Change) -> list[Violation]:
    """The violations of a sound measurement with a change."""
    _, judge, sound, bars = JUDGES[policy]
    measured = sound()
    change(measured)
    return judge(measured, deepcopy(bars))


@pytest.mark.parametrize(("gate", "defect"), SEEDS)
def test_a_defect_is_caught_by_its_gate_alone(gate: str, defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, _, name = gate.partition(".")
    assert judged(policy, DEFECTS[gate][defect])
    monkeypatch.setattr(JUDGES[policy][0], name, lambda *_: iter(()))
    assert judged(policy, DEFECTS[gate][defect]) == []


@pytest.mark.parametrize("policy", JUDGES)
def test_where_nothing_is_wrong_no_gate_is_red(policy: str) -> None:
    assert judged(policy, lambda _: None) == []


def test_every_gate_has_a_defect_that_it_is_for() -> None:
    """A gate that is added is seeded too; that of the service is one function: test_policy.py goes through its bars."""
    own = {f"{name}.judge_{name}" for name in JUDGES}
    own |= {"drift.judge_distance", "data.judge_before"}  # which two gates share; and which is gone through here
    gates = {
        f"{policy}.{name}"
        for policy, (module, *_) in JUDGES.items()
        for name, _ in getmembers(module, isfunction)
        if name.startswith("judge_")
    }
    assert gates - own == set(DEFECTS)


def test_a_metric_that_live_rows_have_not_is_said_not_to_be_judged() -> None:
    bars, measured = deepcopy(DRIFT), sound_drift() | {"same_problem": True}
    bars["live"]["metrics"] = {"entity_precision_100": {"minimum": 0.2}}
    measured["live"]["unmeasured"] = {"entity_precision_100": "few entities say little"}
    assert drift.judge_drift(measured, bars) == []
    assert list(drift.unjudged_live(measured, bars)) == ["live.metrics.entity_precision_100: few entities say little"]
    measured["live"]["unmeasured"] = {}
    measured["live"]["metrics"]["entity_precision_100"] = metric(0.1)
    assert len(drift.judge_drift(measured, bars)) == 1 and not list(drift.unjudged_live(measured, bars))
