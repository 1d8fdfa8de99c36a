"""What is done about drift, and by the clock: each outcome asks for its one thing, and nothing quoted can do harm."""

import base64
import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops import markdown, pulls, report, retrain
from gitops.retrain import Blocked, Seen
from pipeline.policy.check import contradictions
from tests.tables import POLICIES, write_policies

NOTHING = Seen()
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
BARS = yaml.safe_load((POLICIES / "drift.yaml").read_text())["retrain"]
PARAMS = """data: # where it comes from
  source: simulate
  until: "2018-08-14" # the last day
  snapshot: null # pins it

split: {train: 7}
"""
HOSTILE = "$(touch pwned) `id` ::error::x\n## Heading <img src=x onerror=y> @everyone #1 | ``` <!-- gitops:retrain -->"


@pytest.fixture(autouse=True)
def a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"):
        monkeypatch.setenv(f"GITHUB_{name}", {"SERVER_URL": "https://forge", "REPOSITORY": "o/r", "RUN_ID": "7"}[name])


EXPECTED = {
    "unmeasured": None,
    "name": "average_precision",
    "labelled": {"days": ["2018-08-17", "2018-08-23"], "rows": 9_000, "metrics": {"average_precision": 0.61}},
    "before": {"days": ["2018-08-24", "2018-08-27"], "rows": 4_000, "metrics": {"average_precision": 0.57}},
    "days": [{"day": f"2018-08-{day}", "value": day / 100} for day in range(21, 28)],
}


def measured(**changed: Any) -> dict[str, Any]:
    """drift.json of a week in which amounts have grown."""
    days = [
        {
            **dict.fromkeys(("day", "until"), f"2018-08-{day}"),
            "rows": 9_000,
            "answer": 0.02 * (day - 20),
            "columns": {"amount": 0.05 * (day - 20), "V1": 0.01},
            "wider": {"columns": 2.6, "answer": 2.6},
            "headline": 0.6 if day < 24 else None,
        }
        for day in range(21, 28)
    ]
    return {
        "model": "sha256:" + "a" * 64,
        "configured": True,
        "problem": None,
        "problem_name": "returned-orders",
        "same_problem": True,
        "window": ["2018-08-21", "2018-08-27"],
        "rows": 63_000,
        "reference_rows": 58_000,
        "columns": [
            column("V1", 0.01),
            column("amount", 0.3) | {"out_of_range": 0.01},
            column("constant", None) | {"method": "none", "missing": None, "out_of_range": None},
        ],
        "answer": {"name": "score", "type": "number", "distance": 0.1, "chance": 0.02, "method": "wasserstein"},
        "live": {
            "days": ["2018-08-21", "2018-08-23"],
            "rows": 27_000,
            "unlabelled": 3,
            "unknown": 2,
            "metrics": {"average_precision": {"value": 0.41, "low": 0.38, "high": 0.44}, "roc_auc": None},
            "unmeasured": {"ndcg": HOSTILE},
            "smaller": ["calibration_error"],
        },
        "headline": "average_precision",
        "days": days,
        "retrain": {"until": "2018-08-23", "now": "2018-08-14", "snapshot": None},
        **changed,
    }


def column(name: str, distance: float | None) -> dict[str, Any]:
    about = {"type": "number", "method": "wasserstein", "missing_before": None, "rise": None, "unseen": None}
    return {"name": name, "distance": distance, "chance": 0.02, "missing": 0.0, "out_of_range": 0.0, **about}


def violation(**changed: Any) -> dict[str, Any]:
    said = {"rule": "columns.amount", "file": "reports/drift.json", "value": 0.3, "bar": "at most 0.1"}
    return {**said, "next": "retrain", "since": "2018-08-23", **changed}


def gate(outcome: str = "drifted", *violations: dict[str, Any], **changed: Any) -> dict[str, Any]:
    found = list(violations or ([violation()] if outcome == "drifted" else []))
    return {"outcome": outcome, "violations": found, "not_judged": [], **changed}


def gathered(folder: Path, job: str = "failure", **files: Any) -> dict[str, Any]:
    """The facts that the job that speaks reads."""
    for name, value in files.items():
        (folder / f"{name.replace('_', '-')}.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return retrain.gather(folder, job)


@pytest.fixture
def drifted(tmp_path: Path) -> dict[str, Any]:
    return gathered(tmp_path, drift=measured(), gate_drift=gate())


def ended(days: float, number: int = 1) -> dict[str, Any]:
    """A request that was opened and merged or closed so many days ago."""
    day = (NOW - timedelta(days=days)).isoformat()
    return {"number": number, "state": "closed", "created_at": day, "closed_at": day}


def opened(days: float) -> dict[str, Any]:
    return ended(days) | {"state": "open", "closed_at": None}


def act(told: dict[str, Any], seen: Seen = NOTHING, params: str = PARAMS, **bars: Any) -> retrain.Decision:
    return retrain.decide(told, seen, params, BARS | bars, NOW)


def body(told: dict[str, Any], app: bool = True, until: str = "2018-08-23", **bars: Any) -> str:
    """The request's, which moves main's day to that."""
    return retrain.request(told, {"until": until, "now": "2018-08-14", "snapshot": None}, BARS | bars, app)


# --- what was measured -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "job", "does"),
    [
        ("not_configured", "success", "nothing"),
        ("healthy", "success", "close"),
        ("drifted", "failure", "request"),
        ("unknown", "failure", "tell"),
        ("healthy", "failure", "tell"),  # something else in the job broke, such as what prunes the log
        ("not_configured", "failure", "tell"),
    ],
)
def test_each_outcome_asks_for_its_one_thing(tmp_path: Path, outcome: str, job: str, does: str) -> None:
    told = gathered(tmp_path, job, drift=measured(), gate_drift=gate(outcome))
    assert act(told).act == does


def test_a_job_that_left_no_facts_could_not_tell(tmp_path: Path) -> None:
    told = gathered(tmp_path / "nothing")
    assert told["outcome"] == "unknown" and "failure" in told["reasons"][0]
    assert "left no facts" in retrain.untold(told)


@pytest.mark.parametrize(
    "broken",
    [
        "{not json",
        "[]",
        measured(rows=-1),
        measured(window=["2018-08-21\n", "2018-08-27"]),
        measured(window=["2018-02-31", "2018-08-27"]),
        measured(columns=[column(HOSTILE, 1)]),
        measured(columns=[column("a\n", 1)]),
        measured(retrain={"until": HOSTILE, "now": "2018-08-14", "snapshot": None}),
        measured(retrain={"until": None, "now": "2018-08-14", "snapshot": "x"}),
        {name: value for name, value in measured().items() if name != "live"},
    ],
)
def test_facts_of_another_form_are_no_drift(tmp_path: Path, broken: Any) -> None:
    told = gathered(tmp_path, drift=broken, gate_drift=gate())
    assert told["outcome"] == "unknown"
    assert "drift.json" in told["reasons"][0]
    assert act(told).act == "tell"


def test_one_file_without_the_other_is_no_drift(tmp_path: Path) -> None:
    assert gathered(tmp_path, gate_drift=gate())["outcome"] == "unknown"


def test_drift_of_no_days_is_no_drift(tmp_path: Path) -> None:
    assert gathered(tmp_path, drift=measured(window=None), gate_drift=gate())["outcome"] == "unknown"


def test_an_outage_is_told_in_its_own_words(tmp_path: Path) -> None:
    told = gathered(tmp_path, drift=measured(problem="s3://log cannot be read"), gate_drift=gate("unknown"))
    assert told["reasons"] == ["s3://log cannot be read"]
    few = gathered(tmp_path, drift=measured(), gate_drift=gate("unknown", not_judged=["12 rows, 10,000 are needed"]))
    assert few["reasons"] == ["12 rows, 10,000 are needed"]
    doubts = gate("unknown", violation(rule="live.unlabelled", value="900 rows are not in data.source"))
    assert gathered(tmp_path, drift=measured(), gate_drift=doubts)["reasons"] == ["900 rows are not in data.source"]


# --- the decision ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requests", "does"),
    [
        ([], "request"),
        ([ended(1)], "rest"),
        ([ended(2.9)], "rest"),
        ([ended(3.1)], "request"),
        ([ended(4), ended(5)], "rest"),  # two within a week
        ([ended(4), ended(8)], "request"),
        ([opened(0.1)], "request"),  # is refreshed
        ([opened(0.1), ended(1), ended(2)], "request"),
    ],
)
def test_requests_are_seldom_and_an_open_one_is_refreshed(
    drifted: dict[str, Any], requests: list[dict[str, Any]], does: str
) -> None:
    decision = act(drifted, Seen(requests))
    assert decision.act == does
    assert ("policies/drift.yaml" in decision.why) == (does == "rest")


def test_the_cool_down_runs_from_the_end_of_a_request(drifted: dict[str, Any]) -> None:
    long_open = ended(10) | {"closed_at": (NOW - timedelta(days=1)).isoformat()}
    assert act(drifted, Seen([long_open])).act == "rest"


@pytest.mark.parametrize(("learned", "does"), [(None, "request"), ("2018-08-23", "request"), ("2018-08-24", "covered")])
def test_an_open_promotion_past_the_breach_covers_it(drifted: dict[str, Any], learned: str | None, does: str) -> None:
    assert act(drifted, Seen([], 4, learned)).act == does


def test_drift_began_with_the_first_breach(tmp_path: Path) -> None:
    """A bar that comes and goes, and came back last, makes it no younger."""
    first = violation()
    told = gathered(tmp_path, drift=measured(), gate_drift=gate("drifted", violation(since="2018-08-25"), first))
    assert retrain.began(told) == first["since"] < "2018-08-25"
    undated = gathered(tmp_path, drift=measured(), gate_drift=gate("drifted", violation(since=None)))
    assert retrain.began(undated) == "2018-08-21"


@pytest.mark.parametrize("until", [None, "2018-08-14", "2018-08-01"])
def test_without_newer_labels_there_is_no_request(tmp_path: Path, until: str | None) -> None:
    nothing_new = measured(retrain={"until": until, "now": "2018-08-14", "snapshot": None})
    decision = act(gathered(tmp_path, drift=nothing_new, gate_drift=gate()))
    assert decision.act == "blocked"
    assert "no newer labelled data" in decision.why


# --- by the clock ----------------------------------------------------------------------------------------------------


@pytest.fixture
def healthy(tmp_path: Path) -> dict[str, Any]:
    """No drift, main takes in data until 2018-08-14, and labels are there until 2018-08-23: nine days more."""
    return gathered(tmp_path, "success", drift=measured(), gate_drift=gate("healthy"))


@pytest.mark.parametrize(
    ("every", "production", "does"),
    [
        (None, "2018-08-14", "close"),
        (1, "2018-08-14", "request"),
        (9, "2018-08-14", "request"),
        (10, "2018-08-14", "close"),
        (9, "2018-08-01", "request"),  # a merged request waits for its promotion: main takes in more than production
        (9, "2018-08-15", "close"),  # main went back
        (9, None, "request"),
    ],
)
def test_a_model_is_due_after_so_many_days_of_labels(
    healthy: dict[str, Any], every: int | None, production: str | None, does: str
) -> None:
    decision = act(healthy, Seen(production=production), every=every)
    assert decision.act == does
    assert ('until: "2018-08-23"' in decision.params) == (does == "request")


@pytest.mark.parametrize(("outcome", "does"), [("not_configured", "nothing"), ("unknown", "tell")])
def test_what_is_not_known_to_be_healthy_gets_no_model_by_the_clock(
    healthy: dict[str, Any], outcome: str, does: str
) -> None:
    assert act(healthy | {"outcome": outcome}, every=1).act == does


def test_without_newer_labels_or_for_another_problem_none_is_due(healthy: dict[str, Any]) -> None:
    assert act(healthy, Seen(replaced_by="churn"), every=1).act == "close"
    healthy["measured"]["retrain"]["until"] = None
    assert act(healthy, every=1).act == "close"


@pytest.mark.parametrize(
    ("until", "moves_to"),
    [
        ("2018-08-23", "2018-08-23"),
        ("2018-08-21", "2018-08-21"),  # two days of labels have come: nothing is trained, nobody approves again
        ("2018-08-20", "2018-08-23"),
        ("2018-08-12", "2018-08-23"),  # main has overtaken it
        ("2018-08-25", "2018-08-23"),  # somebody has pushed a day that has no labels
    ],
)
def test_an_open_request_moves_when_the_next_one_is_due(healthy: dict[str, Any], until: str, moves_to: str) -> None:
    seen = Seen([opened(1)], held={"until": until, "snapshot": None})
    decision = act(healthy, seen, every=3)
    assert decision.act == "request" and decision.data["until"] == moves_to
    assert f'until: "{moves_to}"' in decision.params
    assert act(healthy | {"outcome": "drifted"}, seen, every=3).data["until"] == "2018-08-23"


def test_an_open_request_keeps_its_snapshot_where_the_source_is_pinned(healthy: dict[str, Any]) -> None:
    pins = [f"sha256:{digit * 64}" for digit in "012"]
    healthy["measured"]["retrain"]["snapshot"] = pins[2]
    for snapshot, kept in ((pins[1], ("2018-08-22", pins[1])), (None, ("2018-08-23", pins[2]))):
        seen = Seen([opened(1)], held={"until": "2018-08-22", "snapshot": snapshot})
        decision = act(healthy, seen, PARAMS.replace("null", pins[0]), every=3)
        assert (decision.data["until"], decision.data["snapshot"]) == kept
        assert all(f'"{value}"' in decision.params for value in kept)


def test_it_rests_as_after_drift_and_says_why(healthy: dict[str, Any]) -> None:
    decision = act(healthy, Seen([ended(1)]), every=7)
    assert decision.act == "close" and "cool-down" in decision.why and not decision.params
    assert act(healthy, Seen([ended(4), ended(5)]), every=7).act == "close"
    assert act(healthy, Seen([ended(3.1)]), every=7).act == "request"


def test_what_cannot_be_edited_is_told_by_the_clock_too(healthy: dict[str, Any]) -> None:
    aliased = "day: &day '2018-08-14'\n" + PARAMS.replace('"2018-08-14"', "*day")
    decision = act(healthy, params=aliased, every=7)
    assert decision.act == "blocked" and act(healthy, params=aliased).act == "close"
    said = retrain.blocked(healthy, decision.why)
    assert "A model is due by the clock, and no retrain request" in said and "The world has moved" not in said


def test_its_request_says_that_nothing_drifted(healthy: dict[str, Any], drifted: dict[str, Any]) -> None:
    said = body(healthy, every=7)
    for words in (
        *("by the clock", "No drift was found", "asks for a model every 7 days", "**2018-08-23**, the last day whose"),
        *("close it. For 3 days", "`every: null`", "7 more days", "63,000 rows", "Day by day"),
    ):
        assert words in said
    assert "The world has moved" not in said and "while the drift lasts" not in said
    assert "a model every day (" in (nightly := body(healthy, every=1, cool_down_days=0))
    assert "The next check may ask again" in nightly and "0 days" not in nightly
    assert "**2018-08-22**, the last day" not in body(healthy, until="2018-08-22", every=7), "a later one has"
    nothing = healthy | {"measured": healthy["measured"] | {"columns": []}}
    assert "Drift is not judged yet: " in body(nothing, every=7)
    assert "by the clock" not in body(drifted) and "unless a model is due by the clock" in body(drifted, every=7)


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_a_model_comes_in_time_where_the_policy_does_not_contradict_itself(every: int) -> None:
    """Days of checks that are never at the same minute, each request merged an hour after it was opened."""
    for cool, week in itertools.product((0, 1, 2, 6, 7), (1, 2, 3, 4, 6, 7)):
        bars = BARS | {"every": every, "cool_down_days": cool, "per_week": week}
        made: list[dict[str, Any]] = []
        late = 0
        for day in range(0, 30, every):
            now = NOW + timedelta(days=day, minutes=-7 * day % 25)
            late += bool(retrain.resting(made, bars, now))
            merged = (now + timedelta(hours=1)).isoformat()
            made.append({"state": "closed", "created_at": now.isoformat(), "closed_at": merged})
        assert bool(late) == bool(list(contradictions(bars))), (cool, week)


@pytest.mark.parametrize(
    ("text", "there"),
    [
        (PARAMS, {"until": "2018-08-14", "snapshot": None}),
        (PARAMS.replace("null", "sha256:" + "a" * 64), {"until": "2018-08-14", "snapshot": "sha256:" + "a" * 64}),
        (PARAMS.replace("null", HOSTILE.split("\n")[0].replace("#", "")), None),
        (PARAMS.replace("2018-08-14", "@everyone"), None),
        ("data: [" * 5_000, None),
        (None, None),
    ],
)
def test_what_people_push_to_the_branch_is_a_day_or_nothing(
    monkeypatch: pytest.MonkeyPatch, text: str | None, there: Any
) -> None:
    files = {("b" * 40, "params.yaml"): text}
    monkeypatch.setattr(pulls, "text_of", lambda here, sha, path: files[sha, path])
    listed = [ended(3) | {"head": {"sha": "a" * 40}}, opened(1) | {"head": {"sha": "b" * 40}}]
    assert retrain.held(None, listed) == there
    assert retrain.held(None, listed[:1]) is None


# --- params.yaml -----------------------------------------------------------------------------------------------------


def until(day: str | None = "2018-08-23", snapshot: str | None = None) -> dict[str, Any]:
    return {"until": day, "now": "2018-08-14", "snapshot": snapshot}


def test_only_the_day_changes() -> None:
    assert retrain.moved(PARAMS, until()) == PARAMS.replace("2018-08-14", "2018-08-23")


@pytest.mark.parametrize("written", ["'2018-08-14'", "2018-08-14"])
def test_a_day_may_be_written_in_any_way(written: str) -> None:
    assert retrain.moved(PARAMS.replace('"2018-08-14"', written), until()) == PARAMS.replace("08-14", "08-23")


def test_a_pinned_snapshot_moves_with_the_day() -> None:
    pins = [f"sha256:{digit * 64}" for digit in "01"]
    pinned = PARAMS.replace("null", pins[0])
    moved = retrain.moved(pinned, until(snapshot=pins[1]))
    assert moved == pinned.replace("2018-08-14", "2018-08-23").replace(pins[0], f'"{pins[1]}"')
    flow = f'data: {{source: days, until: "2018-08-14", snapshot: "{pins[0]}"}} # ours\n'
    moved = retrain.moved(flow, until(snapshot=pins[1]))
    assert moved == flow.replace("2018-08-14", "2018-08-23").replace(pins[0], pins[1]), (
        "in quotes, or DVC cannot read it"
    )
    with pytest.raises(Blocked, match="pinned"):
        retrain.moved(pinned, until())
    assert retrain.moved(PARAMS, until(snapshot=pins[1])) == PARAMS.replace("08-14", "08-23")


@pytest.mark.parametrize(
    "params",
    [
        PARAMS.replace("  until", "  until: 2018-08-13\n  until"),
        "day: &day '2018-08-14'\n" + PARAMS.replace('"2018-08-14"', "*day"),
        PARAMS.replace("until", "till"),
        PARAMS.replace("2018-08-14", "@everyone"),
        "data: [",
        "data:\n",
        "",
    ],
)
def test_what_cannot_be_edited_is_refused_with_a_sentence(params: str) -> None:
    with pytest.raises(Blocked, match=r"params\.yaml"):
        retrain.moved(params, until())


def test_drift_of_a_problem_that_main_holds_no_more_moves_no_day_of_the_new_one(drifted: dict[str, Any]) -> None:
    for seen in (Seen(replaced_by="churn"), Seen([opened(1)], 7, "2018-08-30", replaced_by="churn")):
        decision = act(drifted, seen)
        assert decision.act == "blocked" and not decision.params
        assert "another problem, churn" in decision.why and "merge its promotion" in retrain.blocked(
            drifted, decision.why
        )


# --- what is said ----------------------------------------------------------------------------------------------------


def texts(told: dict[str, Any]) -> list[str]:
    """All that can be said of drift."""
    return [
        body(told, app=False),
        body(told | {"outcome": "healthy"}, every=7),
        retrain.blocked(told, "a reason"),
        retrain.blocked(told | {"outcome": "healthy"}, "a reason"),
        retrain.covered(told, "2018-08-30"),
        retrain.untold(told | {"reasons": [HOSTILE]}),
        retrain.summary(told | {"reasons": [HOSTILE]}, "Done."),
    ]


def test_request_has_the_evidence_and_what_to_do(drifted: dict[str, Any]) -> None:
    said = body(drifted, app=False)
    row = f"| {markdown.text('columns.amount')} | {markdown.text(0.3)} | {markdown.text('at most 0.1')} | 2018-08-23 |"
    for words in (row, "**2018-08-23**", "What to do next", "0.410 (0.380 to 0.440)", "close it. For 3 days", "days/7"):
        assert words.replace("days/7", "runs/7") in said
    charts = re.findall(r'title "(.*)"\n.*x-axis "days since 2018-08-21" \[(.*)\]\n.*\n +line \[(.*)\]', said)
    assert [name for name, _, _ in charts] == [
        *("Live average precision", "Distance of the score", "Distance of amount")
    ]
    assert charts[0][1:] == ("0, 1, 2", "0.6, 0.6, 0.6")


def test_plots_show_what_the_task_measures_whatever_its_size(tmp_path: Path) -> None:
    days = [day | {"headline": 1_200.0 + at} for at, day in enumerate(measured()["days"])]
    answer = measured()["answer"] | {"name": "prediction"}
    told = gathered(tmp_path, drift=measured(days=days, headline="rmse", answer=answer), gate_drift=gate())
    said = body(told)
    assert all(title in said for title in ('title "Live rmse"', 'title "Distance of the prediction"'))
    assert "line [1200, 1201, 1202, 1203, 1204, 1205, 1206]" in said


def test_it_speaks_the_words_of_what_is_in_production(drifted: dict[str, Any]) -> None:
    called = {"row": ("order", "orders"), "entity": ("customer", "customers"), "positive": ("return", "returns")}
    for words, wanted in (({"words": called}, "63,000 orders"), ({}, "63,000 rows")):
        assert wanted in retrain.summary(drifted | words, "Done.")


def test_only_without_an_app_an_approval_is_asked_for(drifted: dict[str, Any]) -> None:
    assert "one approval" in body(drifted, app=False)
    assert "one approval" not in body(drifted)


def test_days_before_the_breach_are_no_remedy_and_the_request_says_so(tmp_path: Path) -> None:
    for since, early in (("2018-08-22", False), ("2018-08-23", True), ("2018-08-25", True)):
        told = gathered(tmp_path, drift=measured(), gate_drift=gate("drifted", violation(since=since)))
        assert ("has not seen it yet" in body(told)) == early
        whole = body(told | {"dated": False})
        assert "the day of the newest delivery" in whole and "matured" not in whole
        assert ("no delivery has come since" in whole) == early


def test_hostile_words_are_inert(tmp_path: Path) -> None:
    bad = violation(rule=HOSTILE, value=HOSTILE, bar=HOSTILE, next=HOSTILE)
    name = " ".join(HOSTILE.split()) + '"]'  # a column may be called so
    lines = [column("V1", 0.5) | {"method": HOSTILE}, column(name[:100], 0.4)]
    days = [day | {"columns": {name[:100]: 0.1}} for day in measured()["days"]]
    facts = measured(columns=lines, days=days, problem_name=HOSTILE)
    told = gathered(tmp_path, drift=facts, gate_drift=gate("drifted", bad, not_judged=[HOSTILE]))
    told["words"] = dict.fromkeys(("row", "entity", "positive"), (HOSTILE, HOSTILE))
    for said in texts(told):
        for harm in ("<img", "@everyone", "::error", "`id`", "$(touch", "\n## Heading", "x\n##"):
            assert harm not in said
        assert said.count(retrain.REQUEST) <= 1


def test_charts_hold_numbers_only(tmp_path: Path) -> None:
    """JSON as Python reads it has NaN, infinities and exponents; Mermaid does not."""
    days = measured()["days"]
    days[1]["answer"], days[2]["answer"] = float("nan"), float("inf")
    days[3]["answer"], days[4]["answer"] = 1e-7, 1e9
    said = body(gathered(tmp_path, drift=measured(days=days), gate_drift=gate()))
    numbers = re.findall(r'(?:line|x-axis ".*") \[(.*)\]|y-axis ".*" (.*)', said)
    assert numbers and all(re.fullmatch(r"[-\d., >]+", "".join(each)) for each in numbers)


def test_very_much_is_cut_to_what_github_takes(tmp_path: Path) -> None:
    many = gate("drifted", *[violation(rule=f"{index}" + "|" * 400, next="|" * 500) for index in range(400)])
    for said in texts(gathered(tmp_path, drift=measured(), gate_drift=many))[:-1]:
        assert len(said) <= report.LIMIT
        assert said.count("```") % 2 == 0
    assert "**What to do next**" in body(gathered(tmp_path))


def test_summary_says_each_outcome(tmp_path: Path) -> None:
    headings = {
        outcome: retrain.summary(gathered(tmp_path, job, drift=measured(), gate_drift=gate(outcome)), "Done.")
        for outcome, job in {"not_configured": "success", "healthy": "success", "drifted": "failure"}.items()
    }
    assert len({said.splitlines()[0] for said in headings.values()}) == 3
    assert all("Done." in said for said in headings.values())


def test_what_is_estimated_stands_beside_what_is_measured_and_days_before_labels_are_named(tmp_path: Path) -> None:
    def told(estimate: Any) -> str:
        facts = measured() | {"estimate": estimate}
        return retrain.summary(gathered(tmp_path, "success", drift=facts, gate_drift=gate("healthy")), "Done.")

    said = told(EXPECTED).replace("&#45;", "-").replace("&#46;", ".")
    assert "| 2018-08-23 | 0.600 | 0.230 |" in said and "| 2018-08-27 | before labels | 0.270 |" in said
    assert "(labelled) average precision 0.610" in said and "(before labels) average precision 0.570" in said
    why: dict[str, Any] = {"unmeasured": HOSTILE, "name": None, "labelled": None, "before": None, "days": []}
    assert "nothing is estimated" in (said := told(why)) and HOSTILE not in said


def test_nothing_measured_yet_can_be_said(tmp_path: Path) -> None:
    """Not configured: no window, no rows, no days."""
    none = dict.fromkeys(("model", "window", "answer", "live", "headline"))
    nothing = measured(**none, configured=False, rows=0, columns=[], days=[])
    assert "not configured" in retrain.summary(
        gathered(tmp_path, "success", drift=nothing, gate_drift=gate("not_configured")), "Done."
    )


# --- files of others -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifest", "day"),
    [
        ({"data": {"until": "2018-08-30"}}, "2018-08-30"),
        ({"data": {"until": "2018-08-30\n"}}, None),
        ({"data": {"until": HOSTILE}}, None),
        ({"data": {"until": 3}}, None),
        ({"data": None}, None),
        ([], None),
    ],
)
def test_a_manifest_of_another_form_covers_nothing(manifest: Any, day: str | None) -> None:
    content = base64.b64encode(json.dumps(manifest).encode()).decode()
    assert retrain.learned({"content": content}) == day
    assert retrain.learned(None) is retrain.learned({"content": "%"}) is None


def test_a_policy_of_another_form_is_refused_with_a_sentence(tmp_path: Path) -> None:
    write_policies(tmp_path)
    path = tmp_path / "policies" / "drift.yaml"
    assert retrain.policy(path) == BARS
    whole = yaml.safe_load(path.read_text())
    whole["retrain"]["per_weak"] = 1
    path.write_text(yaml.safe_dump(whole))
    with pytest.raises(SystemExit, match="per_weak"):
        retrain.policy(path)
    del whole["retrain"]["per_weak"]
    for every, good in ((None, True), (1, True), (0, False), (1.5, False), (True, False), ("1", False)):
        whole["retrain"]["every"] = every
        path.write_text(yaml.safe_dump(whole))
        if good:
            assert retrain.policy(path)["every"] == every
        else:
            with pytest.raises(SystemExit, match=r"\$\.retrain\.every"):
                retrain.policy(path)
