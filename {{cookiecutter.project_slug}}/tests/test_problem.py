"""What a request predicts is told by its contract, as data: whether that is another problem, and what judges it."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops import bars, ledger, problem, promotion
from gitops.content import CONTRACT
from gitops.markdown import word
from pipeline import contract
from pipeline.model import Problem
from pipeline.params import BadInput
from tests import tables
from tests.tables import OURS, write_policies

TEXT = OURS.read_text()
NAMED = TEXT.replace("problem: returned-orders", "problem: late-orders")
MOVED = TEXT.replace('positive: "Yes", negative: "No"', 'positive: "No", negative: "Yes"')
BOTH = NAMED.replace('positive: "Yes", negative: "No"', 'positive: "No", negative: "Yes"')


LABEL = 'label: {column: returned, positive: "Yes", negative: "No", delay: 2}'
CLASSES = NAMED.replace("task: binary", "task: multiclass").replace(
    LABEL, "label: {column: returned, classes: [Late, Never, Soon], delay: 2}"
)
NUMBER = (
    NAMED.replace("task: binary", "task: regression")
    .replace(LABEL, "label: {column: returned, unit: €, interval: 0.9, delay: 2}")
    .replace("returned: {type: category", "returned: {type: number, range: [0, 900]")
)


def rules(gates: Mapping[str, Any]) -> list[str]:
    return [violation["rule"] for gate in gates.values() for violation in gate["violations"]]


@pytest.mark.parametrize(
    ("after", "kind", "broken"),
    [
        (TEXT, "same", []),
        (TEXT.replace("[order, orders]", "[parcel, parcels]"), "same", []),
        (TEXT.replace("delay: 2", "delay: 9"), "same", []),
        (NAMED, "renamed", []),
        (MOVED, "mistaken", ["identity"]),
        (BOTH, "replaced", []),
        (NAMED.replace("order_id", "parcel"), "replaced", []),
        (CLASSES, "replaced", []),
        (NUMBER, "replaced", []),
        (None, "unreadable", ["contract"]),
        ("{", "unreadable", ["contract"]),
        ("problem: x\n", "unreadable", ["contract"]),
        (TEXT + "new: 1\n", "unreadable", ["contract"]),
        ("a: &a [1]\nb: *a\n", "unreadable", ["contract"]),
    ],
)
def test_a_new_name_alone_replaces_nothing_and_a_new_identity_needs_one(
    after: str | None, kind: str, broken: list[str]
) -> None:
    change = problem.between(TEXT, after)
    assert (change.kind, rules(change.gate()), change.replaces) == (kind, broken, kind == "replaced")


def test_the_sentences_say_what_changed_and_what_to_do() -> None:
    (violation,) = problem.between(TEXT, MOVED).gate()["problem"]["violations"]
    assert "label.positive 'Yes' becomes 'No'" in violation["value"] and "another name" in violation["next"]
    assert problem.between(TEXT, NAMED).told() == {
        "kind": "renamed",
        "before": "returned-orders",
        "after": "late-orders",
    }
    (violation,) = problem.between(NUMBER, NUMBER.replace("unit: €", "unit: $")).gate()["problem"]["violations"]
    assert "label.unit '€' becomes '$'" in violation["value"]
    classes = CLASSES.replace("[Late,", "[Early,")
    assert problem.between(CLASSES, classes).kind == "same", "which classes there are is no other problem"
    assert problem.between(TEXT, TEXT).told() is None
    assert "is not there" in problem.between(TEXT, None).why


# --- words ---


def test_words_are_the_contracts_and_neutral_where_there_is_none() -> None:
    assert problem.words(TEXT)["row"] == ("order", "orders") and problem.words(TEXT)["positive"][1] == "returns"
    grouped = TEXT.replace("positive: [return, returns]}", "group: [basket, baskets]}")
    assert problem.words(grouped)["group"] == ("basket", "baskets") and problem.words(TEXT)["group"][1] == "groups"
    assert problem.words("{") == problem.words(None) == problem.NEUTRAL


@pytest.mark.parametrize("harm", ["@team", "<b>x", "a|b", "www.evil.example", "#1", "[x](y)", "x" * 41, "", "`x`"])
def test_a_word_that_is_more_than_one_does_nothing(harm: str) -> None:
    assert word(harm).startswith("<code>") and word("Kfz-Verträge") == "Kfz-Verträge"


# --- what it is measured and judged by ---


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The base's contract, policies and an empty folder of facts."""
    write_policies(tmp_path)
    (tmp_path / CONTRACT).write_text(TEXT)
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "facts").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def request(**files: str | None) -> Callable[[str], str | None]:
    """The texts of a request that replaces the problem, some of them changed, by their path."""
    own = {problem.policy(name): f"# the request's {name}\n" for name in problem.OWN}
    own[problem.policy("evaluation")] = Path(problem.policy("evaluation")).read_text()
    known: dict[str, str | None] = {CONTRACT: BOTH, "params.yaml": "data: {source: days}\n", **own}
    return (known | files).get


def test_a_new_problem_is_measured_by_its_own_contract_and_policies(base: Path) -> None:
    problem.replace(request())
    assert Path(CONTRACT).read_text() == BOTH
    named = set(problem.OWN) - {"evaluation"}
    assert {name: Path(problem.policy(name)).read_text() for name in named} == {
        name: f"# the request's {name}\n" for name in named
    }
    assert "latency_ms" in Path("policies/service.yaml").read_text() and not Path(problem.SIMULATOR).exists()


def test_chance_is_what_the_base_takes_it_for(base: Path) -> None:
    """However a new problem is measured, a lucky draw is no knowledge."""
    path = problem.policy("evaluation")
    ours = yaml.safe_load(Path(path).read_text())
    lucky = {"confidence": 1e-9, "resamples": 1, "seed": 77}
    theirs = ours | {"evaluate": ours["evaluate"] | lucky | {"known": None, "alerts": 0.5}}
    problem.replace(request(**{path: yaml.safe_dump(theirs)}))
    expected = ours | {"evaluate": ours["evaluate"] | {"known": None, "alerts": 0.5}}
    assert yaml.safe_load(Path(path).read_text()) == expected


def test_a_simulator_comes_along_where_its_rows_are_simulated(base: Path) -> None:
    problem.replace(request(**{"params.yaml": "data: {source: simulate}\n", problem.SIMULATOR: "rows()\n"}))
    assert Path(problem.SIMULATOR).read_text() == "rows()\n"


@pytest.mark.parametrize(
    "files",
    [
        {CONTRACT: TEXT},
        {CONTRACT: MOVED},
        {CONTRACT: None},
        {"policies/data.yaml": None},
        {"policies/evaluation.yaml": "split: 7"},
    ],
)
def test_nothing_is_replaced_by_what_is_no_other_problem(base: Path, files: dict[str, str | None]) -> None:
    with pytest.raises(BadInput):
        problem.replace(request(**files))
    assert Path(CONTRACT).read_text() == TEXT


def policies(**model: Any) -> dict[str, str | None]:
    """The policies of the base, with other bars for the model."""
    texts: dict[str, str | None] = {str(path): path.read_text() for path in Path("policies").glob("*.yaml")}
    known = yaml.safe_load(texts["policies/model.yaml"] or "")
    return texts | {"policies/model.yaml": yaml.safe_dump(known | model)}


def test_bars_are_its_own_but_for_contamination_and_the_service(base: Path) -> None:
    theirs = policies(bytes=7, contamination=900) | {"policies/service.yaml": "errors: 900\n"}
    found = problem.bars("model", theirs)
    assert (found["bytes"], found["contamination"]) == (7, 0)
    assert problem.bars("service", theirs)["errors"] == 0
    with pytest.raises(BadInput, match=r"^policies/model\.yaml: "):
        problem.bars("model", policies(byte=7))
    with pytest.raises(BadInput, match=r"^policies/data\.yaml: "):
        problem.bars("data", policies() | {"policies/data.yaml": None})


INTERVAL = {"value": 0.4, "low": 0.1, "high": 0.6}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (INTERVAL, ""),
        (INTERVAL | {"low": 0.0}, "0.4 (0 to 0.6)"),
        (INTERVAL | {"low": None}, "nan"),
        (None, "not measured"),
    ],
)
def test_its_model_is_better_than_the_same_score_for_every_row(found: Any, said: str) -> None:
    violations = list(problem.judge_constant({"headline": "average_precision", "above_constant": found}))
    assert [violation["rule"] for violation in violations] == ["constant"] * bool(said)
    assert not said or said in violations[0]["value"]


def test_the_gate_of_a_new_problem_says_what_is_missing(base: Path) -> None:
    """What was measured in a form that the judge does not read is red, by whatever bars."""
    for name in ("metrics.json", "comparison.json"):
        Path("facts", name).write_text(json.dumps({}))
    assert rules(bars.judge(base / "facts", {}, policies())) == ["measured"]


def with_blocks(theirs: dict[str, str | None], **blocks: Mapping[str, Any]) -> dict[str, str | None]:
    """The policies, with other blocks in those of these names."""
    for name, block in blocks.items():
        known = yaml.safe_load(Path(problem.policy(name)).read_text())
        theirs = theirs | {problem.policy(name): yaml.safe_dump({**known, **block})}
    return theirs


def test_what_no_problem_moves_is_moved_in_a_request_of_its_own(base: Path) -> None:
    """What of these speaks of the problem goes with it: the card, and whose columns are personal."""
    spoken: dict[str, Mapping[str, Any]] = {
        "promotion": {"card": {"intended_use": "x", "limits": []}},
        "log": {"personal": {"a": "omit"}},
    }
    theirs = with_blocks(policies(bytes=7), **spoken)
    assert problem.judge_kept(bars.changes(theirs, replaces=True)) == {}
    theirs = with_blocks(theirs, promotion={"approvals": 0}, log={"retention_days": 900}, service={"errors": 9})
    moved = [*bars.changes(theirs, replaces=True), *bars.rulesets({"policies/ruleset.json": ("100644", "a")}, {})]
    found = rules(problem.judge_kept(moved))
    assert found == ["kept.retention_days", "kept.approvals", "kept.errors", "kept.all"]


# --- what production holds ---

PROBLEM: dict[str, Any] = {"name": "returned-orders", "task": "binary", "id": "order_id", "time": "ordered_at"}
PROBLEM |= {"label": "returned", "values": ["No", "Yes"], "positive": "Yes"}
PROBLEM |= dict.fromkeys(("unit", "lowest", "highest", "interval"))
ASKED = {"inputs": ["amount"], "outputs": ["score", "alert"]}


def entry(number: int, **said: Any) -> ledger.Entry:
    manifest = {"model": f"sha256:{number}"} | ({"problem": PROBLEM | ASKED | said} if said else {})
    return ledger.Entry(str(number), str(number), manifest)


def test_the_champion_is_the_newest_of_its_problem() -> None:
    ours = problem.between(TEXT, TEXT).after
    assert ours is not None
    past = [entry(5, label="late"), entry(4, label="late"), entry(3, name="before"), entry(2, name="x"), entry(1)]
    found = ledger.champion(past, ours.identity)
    assert found is not None and found.commit == "3"  # a new name is the same problem
    assert ledger.champion(past[:2], ours.identity) is None
    assert ledger.champion([entry(1)], ours.identity) is None
    newest = ledger.champion(past, None)
    assert newest is not None and newest.commit == "5"
    before = {name: said for name, said in PROBLEM.items() if name != "unit"}
    assert problem.identity({"problem": before}) == ours.identity, "as it was before there were units"
    assert problem.other(past[0].manifest, ours) and not problem.other(past[2].manifest, ours)
    assert not problem.other(past[4].manifest, ours) and not problem.other(None, ours)


def test_the_manifest_of_a_model_says_what_it_predicts_and_asks_for() -> None:
    said = {"problem": PROBLEM | {"id_type": "text", "delay": 2}, "inputs": [{"name": "größe €"}, {"name": "a.b"}]}
    asked = {"inputs": ["größe €", "a.b"], "outputs": ["score", "alert"]}
    assert problem.of_model(json.dumps(said | {"outputs": ["score", "alert"]}).encode()) == PROBLEM | asked
    ours = tables.ours()
    assert problem.of_contract(ours) == PROBLEM | {"inputs": [column.name for column in ours.inputs]}
    for broken in (b"{", b"{}", b"[]", b'{"problem": 1, "inputs": []}'):
        with pytest.raises((ValueError, LookupError, TypeError)):
            problem.of_model(broken)


@pytest.mark.parametrize("text", [TEXT, CLASSES, NUMBER])
def test_the_manifest_of_a_model_says_what_its_contract_says(text: str) -> None:
    ours = contract.parse(text)
    inputs = [asdict(each) for each in ours.inputs]
    manifest = {"problem": asdict(Problem.of(ours)), "inputs": inputs, "outputs": ["x"]}
    told = problem.of_model(json.dumps(manifest).encode())
    assert told == problem.of_contract(ours) | {"outputs": ["x"]}
    assert problem.identity({"problem": told}) == ours.identity


def said(lines: Iterable[str]) -> str:
    return "\n".join(lines).replace("&#95;", "_").replace("&#8364;", "€")


def test_the_promotion_says_which_fields_callers_have_to_change() -> None:
    before = {"problem": PROBLEM | ASKED | {"inputs": ["amount", "größe €"]}}
    assert said(promotion.callers(before, before)) == said(promotion.callers(before, None)) == ""
    after = {"problem": PROBLEM | ASKED | {"name": "churn", "id": "client", "label": "left"}}
    after["problem"] |= {"inputs": ["amount", "tenure"]}
    text = said(promotion.callers(after, before))
    assert "whether <code>left</code> is <code>Yes</code>, no longer whether <code>returned</code> is" in text
    assert "Another problem" in text and "Callers break" in text and "<code>amount</code>" not in text
    request, answer = (line for line in text.splitlines() if line.startswith(("| request", "| answer")))
    assert "order_id" in request and "größe €" in request and "tenure" in request and "client" in request
    assert "order_id" in answer and "client" in answer and "tenure" not in answer
    more = {"problem": PROBLEM | ASKED | {"inputs": ["amount", "größe €", "tenure"]}}
    assert "Callers break" in said(promotion.callers(more, before))
    assert "Another problem" not in said(promotion.callers(more, before))


def test_the_promotion_says_which_values_and_numbers_callers_have_to_read() -> None:
    several = {"positive": None, "values": ["NA", "big", 7], "outputs": ["class", "probabilities"]}
    before = {"problem": PROBLEM | ASKED | {"task": "multiclass"} | several}
    after = {"problem": before["problem"] | {"values": ["NA", "big", "small"]}}
    text = said(promotion.callers(after, before))
    assert "| label | <code>7</code> | <code>small</code> |" in text and "Another problem" not in text
    number = {
        "task": "regression",
        "name": "price",
        "values": [],
        "unit": "€",
        "outputs": ["prediction", "low", "high"],
    }
    text = said(promotion.callers({"problem": before["problem"] | number}, before))
    assert (
        "the number <code>returned</code> in <code>€</code>, no longer which of 3 values <code>returned</code> has"
        in text
    )
    assert "| answer | <code>class</code>, <code>probabilities</code> | <code>high</code>, <code>low</code>," in text


def test_hostile_names_do_nothing() -> None:
    evil = "</code>@team | [x](http://x)"
    lines = promotion.callers(
        {
            "problem": PROBLEM
            | ASKED
            | {"name": evil, "label": evil, "positive": evil, "values": [evil], "inputs": [evil]}
        },
        {"problem": PROBLEM | ASKED | {"positive": None, "values": [], "unit": evil}},
    )
    assert not any("@team" in line or "](http" in line for line in lines)
