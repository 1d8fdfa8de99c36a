"""The judge and the bars of the base branch decide, whatever the change makes of its own."""

import html
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops import bars, report
from tests.tables import KNOBS, OURS, write_knobs, write_policies

PASSED = dict.fromkeys(("checks", "data", "train", "test", "measure"), "success")
MODEL = {"bytes": 100, "contamination": 0, "baselines": {"beaten": ["constant", "linear"], "metrics": {}}}
NIGHT = {"column": "express", "value": True}
MEASURES = {"evaluate": {"slices": [{"column": "amount", "from": 50}, NIGHT]}}
SERVICE = {"broken": [], "errors": 0, "ready_seconds": 1.5, "latency_ms": {"p50": 1.0, "p99": 3.0}}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The base's tree, as far as it is judged by, and an empty folder of facts."""
    write_policies(tmp_path)
    write_knobs(tmp_path, KNOBS)
    (tmp_path / "policies" / "model.yaml").write_text(yaml.safe_dump(MODEL))
    (tmp_path / "policies" / "evaluation.yaml").write_text(yaml.safe_dump(MEASURES))
    (tmp_path / "facts").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def judged(base: Path, measured: Any, **results: str) -> dict[str, Any]:
    """The gate of the service, of which `measured` was handed over; no other job has passed."""
    (base / "facts" / "service.json").write_text(measured if isinstance(measured, str) else json.dumps(measured))
    return bars.judge(base / "facts", dict.fromkeys(PASSED, "skipped") | results)["service"]


def test_what_meets_the_bars_of_the_base_passes(base: Path) -> None:
    assert judged(base, SERVICE, measure="success") == {"violations": [], "not_judged": []}


def test_what_was_measured_is_held_against_the_bars_of_the_base(base: Path) -> None:
    (violation,) = judged(base, {**SERVICE, "errors": 3}, measure="success")["violations"]
    assert violation["rule"] == "errors"


def test_what_a_failed_job_measured_is_judged_too(base: Path) -> None:
    (violation,) = judged(base, {**SERVICE, "errors": 3}, measure="failure")["violations"]
    assert violation["rule"] == "errors"


@pytest.mark.parametrize(
    "measured",
    [
        "{",
        "[]",
        "{}",
        '{"broken": 7}',
        json.dumps(SERVICE | {"latency_ms": [1]}),
        json.dumps(SERVICE | {"errors": "no"}),
    ],
)
def test_what_the_judge_of_the_base_cannot_read_is_red_with_a_sentence(base: Path, measured: str) -> None:
    (violation,) = judged(base, measured, measure="success")["violations"]
    assert violation["rule"] == "measured"
    assert "does not read" in violation["value"] and "two steps" in violation["next"]


def test_a_violation_that_is_not_as_agreed_is_red_and_not_shown(base: Path) -> None:
    measured = {**SERVICE, "broken": ["x" * 501], "latency_ms": {"p50": "9" * 9, "p99": 1}}
    (violation,) = judged(base, measured, measure="success")["violations"]
    assert violation["rule"] == "measured"


def test_a_job_that_passed_has_handed_over_what_it_measured(base: Path) -> None:
    gates = bars.judge(base / "facts", PASSED)
    assert {gate["violations"][0]["rule"] for gate in gates.values()} == {"measured"}
    assert set(gates) == {"data", "model", "behaviour", "service"}


def test_what_was_not_measured_as_a_job_failed_is_not_judged(base: Path) -> None:
    assert bars.judge(base / "facts", dict.fromkeys(PASSED, "failure")) == {}


def test_what_main_measured_counts_and_not_what_the_change_says_of_itself(base: Path) -> None:
    for folder, errors in (("facts-test", 0), ("facts-measure", 3)):
        (base / "facts" / folder / "reports").mkdir(parents=True)
        (base / "facts" / folder / "reports" / "service.json").write_text(json.dumps(SERVICE | {"errors": errors}))
    (violation,) = bars.judge(base / "facts", PASSED)["service"]["violations"]
    assert violation["rule"] == "errors"


def plan(kind: str = "model", said: bool = False, found: bool = False, foreign: str | None = None) -> list[str]:
    """The rules that a plan has broken which `said` whether a model replaces the problem, as was `found`, or not."""
    gates = bars.plan({"kind": kind, "replaces": said}, "model", found, foreign)
    return [violation["rule"] for gate in gates.values() for violation in gate["violations"]]


def test_what_plan_said_is_held_against_what_the_base_finds() -> None:
    assert plan() == plan(said=True, found=True) == []
    assert plan(kind="words") == ["kind"]
    assert plan(said=True) == plan(found=True) == ["problem"]
    assert plan(foreign="into another branch") == ["base"]


def violation(rule: str, bar: str = "at least 2") -> dict[str, Any]:
    said: dict[str, Any] = {"rule": rule, "file": "metrics.json", "value": "1", "bar": bar, "rows": None}
    return {**said, "examples": [], "next": "make it larger"}


def gate(*violations: dict[str, Any], not_judged: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"violations": list(violations), "not_judged": list(not_judged)}


def test_what_both_find_is_said_once_and_the_bar_of_the_base_is_named() -> None:
    head = {"model": gate(violation("both"), not_judged=("few",))}
    base = {"model": gate(violation("both"), violation("loosened"), not_judged=("few", "fewer")), "data": gate()}
    shown = bars.together(head, base)
    assert [each["rule"] for each in shown["model"]["violations"]] == ["both", "loosened"]
    assert shown["model"]["violations"][0]["bar"] == "at least 2"
    assert "base branch" in shown["model"]["violations"][1]["bar"]
    assert shown["model"]["not_judged"] == ["few", "fewer"]
    assert shown["data"] == gate()
    assert len(head["model"]["violations"]) == 1


def test_an_artifact_that_another_job_put_in_the_place_of_what_was_measured_is_red() -> None:
    job = {"result": "success", "outputs": {"facts-measure": "a" * 64, "facts-service": ""}}
    needs = {"measure": job}
    kept = {"facts-measure": "sha256:" + "a" * 64, "facts-service": None}
    assert bars.replaced(needs, kept) == bars.replaced({}, kept) == {}
    assert bars.replaced({"measure": job | {"result": "skipped"}}, dict.fromkeys(kept)) == {}
    for digest in ("sha256:" + "b" * 64, None):
        (violation,) = bars.replaced(needs, kept | {"facts-measure": digest})["measure"]["violations"]
        assert violation["file"] == "facts-measure"


# --- bars that change ---

POLICY = """
metrics: # words
  roc_auc: {minimum: 0.7}
  calibration_error: {maximum: 0.01}
bytes: 100
functionality:
  - {case: A payment of 400, share: 0.9}
"""


def moved(change: dict[str, Any] | str | None) -> list[tuple[str, str, str, str]]:
    """What is found where `change` is merged into the policy's blocks, or stands in its place."""
    after = yaml.safe_dump(yaml.safe_load(POLICY) | change) if isinstance(change, dict) else change
    return [each[1:] for each in bars.between("policies/x.yaml", POLICY, after)]


CALIBRATION = {"calibration_error": {"maximum": 0.01}}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        (POLICY.replace("# words", "# other words"), []),
        ({"bytes": 200}, [("bytes", "100", "200", "changed")]),
        ({"rows": 3}, [("rows", "–", "3", "added")]),
        (
            {"metrics": {"roc_auc": {"minimum": 0.6}, **CALIBRATION}},
            [("metrics.roc_auc.minimum", "0.7", "0.6", "looser")],
        ),
        (
            {"metrics": {"roc_auc": {"minimum": 0.8}, "calibration_error": {"maximum": 0.02}}},
            [
                ("metrics.roc_auc.minimum", "0.7", "0.8", "stricter"),
                ("metrics.calibration_error.maximum", "0.01", "0.02", "looser"),
            ],
        ),
        ({"metrics": CALIBRATION}, [("metrics.roc_auc.minimum", "0.7", "–", "removed")]),
        (
            {"metrics": {"roc_auc": {"minimum": None}, **CALIBRATION}},
            [("metrics.roc_auc.minimum", "0.7", "None", "changed")],
        ),
        (
            {"functionality": [{"case": "A payment of 400", "share": 0.8}]},
            [("functionality “A payment of 400”.share", "0.9", "0.8", "changed")],
        ),
        ({"reliance": {"unused": ["born"]}}, [("reliance.unused", "–", "['born']", "looser")]),
        ({"functionality": []}, [("functionality “A payment of 400”.share", "0.9", "–", "removed")]),
        ("{", [("all", "bars", "no YAML", "removed")]),
    ],
)
def test_bars_that_change_are_found_and_words_are_not(
    change: dict[str, Any] | str | None, found: list[tuple[str, str, str, str]]
) -> None:
    assert moved(change) == found


def test_aliases_are_refused_before_they_grow() -> None:
    """Ten lines that stand for some 10 ** 9 bars."""
    ten = "{a: *x, b: *x, c: *x, d: *x, e: *x, f: *x, g: *x, h: *x, i: *x, j: *x}"
    levels = [f"l{level}: &l{level} {ten.replace('*x', f'*l{level - 1}')}\n" for level in range(1, 10)]
    laughs = "l0: &l0 {minimum: 1}\n" + "".join(levels)
    began = time.monotonic()
    assert moved(laughs) == [("all", "bars", "the alias *l0, in line 2: write out what it stands for", "removed")]
    assert time.monotonic() - began < 1


def test_a_policy_that_is_removed_takes_every_bar_with_it() -> None:
    assert {each[3] for each in moved(None)} == {"removed"}
    assert len(moved(None)) == 4


def without_the_night() -> str:
    """policies/evaluation.yaml with one slice less."""
    return yaml.safe_dump({"evaluate": {"slices": [each for each in MEASURES["evaluate"]["slices"] if each != NIGHT]}})


def test_a_slice_that_is_measured_no_more_is_a_bar_that_is_gone(base: Path) -> None:
    before = Path("policies/evaluation.yaml").read_text()
    (change,) = bars.between("policies/evaluation.yaml", before, without_the_night())
    assert change[1:] == ("evaluate.slices (column express, value True)", "measured", "–", "removed")


PARAMS = """\
data: {source: simulate, until: "2018-08-14", snapshot: null}
simulate: {seed: 0, drift: null}
families: {constant: {}, linear: {penalty: 1.0}, trees: {leaves: 31}, network: {epochs: 3}}
train: {family: trees}
"""


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("epochs: 3", "epochs: 4", []),
        (", trees: {leaves: 31}", "", []),
        ("family: trees", "family: network", []),
        ("2018-08-14", "2018-08-21", []),
        ("2018-08-14", "2018-08-07", [("data.until", "2018-08-14", "2018-08-07", "changed")]),
        ("2018-08-14", "any day", [("data.until", "2018-08-14", "any day", "changed")]),
        ("source: simulate", "source: days", [("data.source", "simulate", "days", "changed")]),
        ("snapshot: null", "snapshot: 'sha256:0'", [("data.snapshot", "not pinned", "pinned", "changed")]),
        ("seed: 0", "seed: 1", [("simulate.seed", "0", "1", "changed")]),
        ("linear: {penalty: 1.0}, ", "", [("families.linear.penalty", "1.0", "–", "removed")]),
        ("constant: {}, ", "", [("families.constant", "as it comes", "–", "removed")]),
        ("penalty: 1.0", "penalty: 900", [("families.linear.penalty", "1.0", "900", "changed")]),
        (
            "simulate: {seed: 0, drift: null}\n",
            "",
            [("simulate.seed", "0", "–", "removed"), ("simulate.drift", "None", "–", "removed")],
        ),
    ],
)
def test_of_the_knobs_it_counts_where_the_rows_come_from_and_what_is_to_be_beaten(
    base: Path, old: str, new: str, found: list[tuple[str, str, str, str]]
) -> None:
    assert [each[1:] for each in bars.between("params.yaml", PARAMS, PARAMS.replace(old, new))] == found


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"penalty: 1.0": "penalty: 900"}, ["families.linear.penalty"]),
        ({"linear: {penalty: 1.0}, ": "", "constant: {}, ": ""}, ["families.constant", "families.linear.penalty"]),
        ({"penalty: 1.0": "penalty: 900", "family: trees": "family: linear"}, []),
        ({"penalty: 1.0": "penalty: 900", "train: {family: trees}": ""}, ["families.linear.penalty"]),
        ({"leaves: 31": "leaves: 7", "seed: 0": "seed: 1"}, []),
    ],
    ids=str,
)
def test_a_model_does_not_choose_what_it_has_to_beat(base: Path, changes: dict[str, str], found: list[str]) -> None:
    """But for the family that is shipped, which is the model; its owners take one off the list, and put it back."""
    knobs = PARAMS
    for old, new in changes.items():
        assert old in knobs
        knobs = knobs.replace(old, new)
    moved = list(bars.between("params.yaml", PARAMS, knobs))
    violations = bars.judge_beaten(moved, knobs).get("baselines", {"violations": []})["violations"]
    assert [each["rule"] for each in violations] == found
    assert all("out of baselines.beaten in a request of its own" in each["next"] for each in violations)


def test_other_files_under_the_same_name_are_shown(base: Path) -> None:
    before, after = (PARAMS.replace("snapshot: null", f"snapshot: 'sha256:{number}'") for number in range(2))
    (change,) = bars.between("params.yaml", before, after)
    assert change[1:] == ("data.snapshot", "pinned", "another sha256", "changed")
    assert not list(bars.between("params.yaml", before, before))


@pytest.mark.parametrize("broken", ["train: {}", "data: []", "data: simulate", "[]", "{", ""])
def test_knobs_that_name_no_source_are_shown(base: Path, broken: str) -> None:
    assert [each.how for each in bars.between("params.yaml", PARAMS, broken)] == ["removed"]


def test_the_report_lists_bars_that_change_and_who_approves(base: Path) -> None:
    texts: dict[str, str | None] = {name: Path(name).read_text() for name in bars.files()}
    assert bars.changes(texts) == []
    texts["policies/service.yaml"] = Path("policies/service.yaml").read_text().replace("p99: 250", "p99: 9999")
    (change,) = bars.changes(texts)
    text = html.unescape("\n".join(report.bars({"bars": [change._replace(after="| <b>9999")]})))
    assert "policies/service.yaml" in text and "latency_ms.p99" in text and "CODEOWNERS" in text
    assert "| <b>" not in "\n".join(report.bars({"bars": [change._replace(after="| <b>9999")]}))
    assert "no longer" not in text
    texts["policies/evaluation.yaml"] = without_the_night()
    assert "no longer measures" in "\n".join(report.bars({"bars": bars.changes(texts)}))
    knobs = yaml.safe_load(Path("params.yaml").read_text())
    texts["params.yaml"] = yaml.safe_dump(knobs | {"data": {"source": "elsewhere"}})
    assert "no longer those of the base" in "\n".join(report.bars({"bars": bars.changes(texts)}))
    texts["params.yaml"] = yaml.safe_dump(knobs | {"families": {}})
    text = "\n".join(report.bars({"bars": bars.changes(texts)}))
    assert "no longer has to beat" in text and "no longer those of the base" not in text
    said = yaml.safe_load(Path("contract.yaml").read_text())
    said["label"]["delay"] += 1
    texts["contract.yaml"] = yaml.safe_dump(said)
    assert "What a row is changes" in "\n".join(report.bars({"bars": bars.changes(texts)}))
    assert "What a row is changes" not in "\n".join(report.bars({"bars": bars.changes(texts, replaces=True)}))
    assert list(report.bars({"bars": []})) == list(report.bars({})) == []


def test_rulesets_that_change_are_shown() -> None:
    base = {"policies/ruleset.json": ("100644", "a"), "policies/ruleset-names.json": ("100644", "b"), "x": ("", "")}
    head = base | {"policies/ruleset.json": ("100644", "c"), "x": ("", "y")}
    (change,) = bars.rulesets(base, head)
    assert change.file == "policies/ruleset.json" and list(bars.rulesets(base, base)) == []
    assert [each.after for each in bars.rulesets(base, {})] == ["–", "–"]


CONTRACT = OURS.read_text()


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("row: [order, orders]", "row: [parcel, parcels]", []),
        (", about: What it cost", "", []),
        ("problem: returned-orders", "problem: other", []),
        ("range: [0, 100_000]", "range: [0, null]", [("columns.amount.range", "[0, 100000]", "[0, None]", "looser")]),
        ("range: [20, 60]", "range: [30, 60]", [("columns.shoe size.range", "[20, 60]", "[30, 60]", "stricter")]),
        ("{type: boolean}", "{type: boolean, missing: true}", [("columns.express.missing", "–", "True", "looser")]),
        ("delay: 2", "delay: 3", [("label.delay", "2", "3", "changed")]),
        (", input: false", "", [("columns.shoe size.input", "False", "–", "removed")]),
        (
            "[basic, extra]",
            "[basic, extra, more]",
            [("columns.model_config.categories", "['basic', 'extra']", "['basic', 'extra', 'more']", "changed")],
        ),
    ],
)
def test_of_the_contract_all_counts_but_its_words(old: str, new: str, found: list[tuple[str, str, str, str]]) -> None:
    assert old in CONTRACT
    assert [each[1:] for each in bars.between("contract.yaml", CONTRACT, CONTRACT.replace(old, new))] == found


@pytest.mark.parametrize("broken", ["[]", "columns: [1]", "columns: {a: 1}", "7", "", None])
def test_a_contract_that_is_none_is_shown(broken: str | None) -> None:
    assert {each.how for each in bars.between("contract.yaml", CONTRACT, broken)} == {"removed"}


def test_inputs_that_may_be_ignored_are_fewer_or_more() -> None:
    assert bars.how("reliance.unused", ["a", "b"], ["b"]) == "stricter"
    assert bars.how("reliance.unused", ["a"], ["b"]) == bars.how("reliance.unused", ["a"], ["a", "b"]) == "looser"
