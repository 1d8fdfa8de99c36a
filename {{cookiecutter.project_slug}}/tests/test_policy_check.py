"""Policies against the contract: a name that is no column would judge nothing, and be silent."""

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import tasks
from pipeline.contract import Contract, Label
from pipeline.params import BadInput
from pipeline.policy import check, load
from tests.tables import ROOT, knobs, ours, write_knobs, write_policies

BINARY = tasks.task("binary")
METRICS = [name for name, metric in BINARY.METRICS.items() if metric.needs != "group"]
CASE = {"case": "It is so", "within": 0.1, "share": 1}
POLICIES: dict[str, Any] = {
    "data": {
        "columns": {"amount": {"missing": 0.1}, "returned": {}},
        "label": {"minimum": 0.01, "maximum": 0.5, "day": {"rows": 10, "minimum": 0, "maximum": 1}},
    },
    "drift": {
        "skew": {"exceptions": {}},
        "columns": {"maximum": 0.1, "exceptions": {"a.b": 0.2}},
        "categories": {"maximum": 0.1, "exceptions": {"größe €": 0.2}},
        "live": {"metrics": {"roc_auc": {"minimum": 0.7}}},
    },
    "log": {"personal": {"customer": "hash", "a.b": "omit", "request_id": "hash"}},
    "model": {
        **{"metrics": dict.fromkeys(METRICS, {"minimum": 0}), "slices": {"metrics": dict.fromkeys(BINARY.SLICED, {})}},
        "baselines": {"beaten": ["constant"], "metrics": {"accuracy": 0}},
        "champion": {"metrics": dict.fromkeys(METRICS, {}), "slices": dict.fromkeys(BINARY.SLICED, {})},
        "fairness": {"groups": {"size": {}}},
    },
    "evaluation": {
        "split": {"train": 10, "calibrate": 2, "test": 3},
        "evaluate": {
            **{"known": 7, "alerts": 0.05},
            "slices": [
                *({"column": "amount", "from": 10}, {"column": "express", "value": True}, {"column": "born", "to": 9}),
                *({"column": "größe €", "value": "any"}, {"column": "model_config", "value": "basic"}),
            ],
            "groups": {"size": [{"column": "shoe size", "from": 40}]},
        },
    },
    "behaviour": {
        "functionality": [{"row": {"amount": 1, "express": False, "größe €": None, "a.b": None}}],
        "invariance": [{"where": {"model_config": "basic", "born": {"from": 30}}, "change": {"items": {"plus": 1}}}],
        "direction": [],
        "reliance": {"by": 0, "unused": ["a.b"]},
    },
}

Change = Callable[[dict[str, Any]], object]


def said(change: Change = lambda policies: None, contract: Contract | None = None) -> list[str]:
    """What is said of the policies after a change."""
    policies, contract = deepcopy(POLICIES), contract or ours()
    change(policies)
    return [
        sentence.removeprefix("policies/") for sentence in check.strangers(policies, contract, ("constant", "linear"))
    ]


def test_names_of_columns_inputs_and_groups_pass() -> None:
    assert said() == []


def sliced(**piece: Any) -> Change:
    return lambda policies: policies["evaluation"]["evaluate"]["slices"].insert(0, piece)


def barred(policy: str, name: str, *blocks: str) -> Change:
    """A bar of that name, in a block of a policy."""
    return lambda policies: reduce(getitem, blocks, policies[policy]).update({name: {"minimum": 0.5}})


def changed(**change: Any) -> Change:
    return lambda policies: policies["behaviour"]["direction"].append({"change": change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda policies: policies["data"]["columns"].update(amuont={}),
            "data.yaml: columns.amuont is no column; did you mean `amount`?",
        ),
        (
            lambda policies: policies["data"]["columns"].update({"größe €": {"level": {"minimum": 0, "maximum": 9}}}),
            "data.yaml: columns.größe €.level: only numbers have one that the model sees or predicts, and",
        ),
        (
            lambda policies: policies["drift"]["skew"]["exceptions"].update({"große €": 1}),
            "drift.yaml: skew.exceptions.große € is no column; did you mean `größe €`?",
        ),
        (
            lambda policies: policies["drift"]["columns"]["exceptions"].update({"große €": 1}),
            "drift.yaml: columns.exceptions.große € is no column; did you mean `größe €`?",
        ),
        (
            lambda policies: policies["drift"]["columns"]["exceptions"].update({"größe €": 1}),
            "drift.yaml: columns.exceptions.größe € is of type category; move it to categories.exceptions",
        ),
        (
            lambda policies: policies["drift"]["categories"]["exceptions"].update(amount=1),
            "drift.yaml: categories.exceptions.amount is of type number; move it to columns.exceptions",
        ),
        (
            lambda policies: policies["drift"]["categories"]["exceptions"].update({"shoe size": 1}),
            "drift.yaml: categories.exceptions.shoe size is a column, but no input of the model; take it out",
        ),
        (
            lambda policies: policies["drift"]["columns"]["exceptions"].update(customer=1),
            "drift.yaml: columns.exceptions.customer is a column, but no input of the model; take it out",
        ),
        (
            lambda policies: policies["log"]["personal"].update(ordered_at="hash"),
            "log.yaml: personal.ordered_at is the time of a row, which is no input and no personal value; take it out",
        ),
        *(
            (
                barred(policy, "rocauc", *blocks),
                f"{policy}.yaml: {'.'.join(blocks)}.rocauc is no metric that is "
                "measured there; did you mean `roc_auc`?",
            )
            for policy, *blocks in (
                *(("model", "metrics"), ("model", "baselines", "metrics"), ("model", "slices", "metrics")),
                *(("model", "champion", "metrics"), ("model", "champion", "slices"), ("drift", "live", "metrics")),
            )
        ),
        (barred("model", "accuracy", "slices", "metrics"), "slices.metrics.accuracy is no metric that is measured"),
        (
            lambda policies: policies["model"]["baselines"]["beaten"].append("network"),
            "model.yaml: baselines.beaten: network is not among the families of params.yaml, which are constant, "
            "linear; put it there, or take it out",
        ),
        (
            lambda policies: policies["log"]["personal"].update(custom="hash"),
            "log.yaml: personal.custom is no column; did you mean `customer`?",
        ),
        (
            lambda policies: policies["model"]["fairness"]["groups"].update(sise={}),
            "model.yaml: fairness.groups.sise is no group of evaluation.yaml; did you mean `size`?",
        ),
        (
            lambda policies: policies["evaluation"]["evaluate"]["groups"]["size"].append(
                {"column": "shoesize", "to": 1}
            ),
            "evaluation.yaml: evaluate.groups.size.1: 'shoesize' is no column; did you mean `shoe size`?",
        ),
        (sliced(column="amout", to=3), "evaluate.slices.0: 'amout' is no column; did you mean `amount`?"),
        (sliced(column="größe €", to=3), "größe € is of type category, which has no order; name a `value`"),
        (sliced(column="express", value=1), "1 is no boolean, which express is; write true or false"),
        (
            sliced(column="model_config", value="Basic"),
            "'Basic' is none of the categories of model_config; did you mean",
        ),
        (
            changed(amuont=1),
            "behaviour.yaml: direction.0.change.amuont is no input of the model; did you mean `amount`?",
        ),
        (
            lambda policies: policies["behaviour"]["reliance"]["unused"].append("a_b"),
            "behaviour.yaml: reliance.unused.a_b is no column; did you mean `a.b`?",
        ),
        (changed(customer=1), "direction.0.change.customer is a column, but no input of the model; take it out"),
        (changed(amount=100_001), "100001 is out of the range of amount, from 0 to 100,000, by contract.yaml; write a"),
        (changed(items=0), "change.items: 0 is out of the range of items, from 1, by contract.yaml; write a value"),
        (changed(amount="much"), "'much' is no number, which amount is; write a number"),
        (changed(amount=True), "true is no number, which amount is; write a number"),
        (changed(amount=None), "amount may not be missing, by contract.yaml; write a value"),
        (changed(express={"times": 2}), "express: is of type boolean, to which nothing can be added; write a value"),
        (changed(**{"größe €": 3}), "3 is no category, which größe € is; write one of its levels, quoted"),
    ],
)
def test_a_name_that_is_no_column_and_a_value_that_cannot_be_are_named(change: Change, words: str) -> None:
    (sentence,) = said(change)
    assert words in sentence


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("shoe size", 42, ()),
        ("shoe size", 7, ("invariance.1.change.shoe size: 7 is out of the range of shoe size, from 20 to 60",)),
        ("shoesize", 42, ("invariance.1.change.shoesize is no input of the model; did you mean `shoe size`?",)),
    ],
)
def test_what_should_move_nothing_may_be_no_input(name: str, value: int, words: tuple[str, ...]) -> None:
    case = {"case": "Feet are nothing", "change": {name: value}, "within": 0.01, "share": 1}
    found = said(lambda policies: policies["behaviour"]["invariance"].append(case))
    assert len(found) == len(words) and all(map(str.__contains__, found, words))


def test_a_metric_of_entities_needs_an_entity() -> None:
    found = said(contract=ours(entity=None))
    assert len(found) == 2 and all("measured where contract.yaml names one as `entity`" in each for each in found)


# --- what another task asks for ---

NUMBERS = ours(task="regression", label=Label("amount", 2, unit="euros"))
CODES = ours(task="multiclass", label=Label("shoe size", 2, (1, 2, 3)))


def evaluated(*gone: str, **knobs: Any) -> Change:
    """Other knobs of `evaluate`."""

    def change(policies: dict[str, Any]) -> None:
        evaluate = policies["evaluation"]["evaluate"]
        evaluate.update(knobs)
        for name in gone:
            del evaluate[name]

    return change


def of(**case: Any) -> Change:
    """A case of behaviour about a class, or about none."""
    return lambda policies: policies["behaviour"]["direction"].append({"change": {"items": 3}, **case})


def rate(name: str) -> Change:
    return lambda policies: policies["model"]["fairness"]["groups"]["size"].update({name: 0.1})


@pytest.mark.parametrize(
    ("change", "contract", "words"),
    [
        (evaluated(), CODES, "evaluate.alerts: contract.yaml says task: multiclass, which has none; take it"),
        (evaluated("alerts"), ours(), "evaluate.alerts is missing, which contract.yaml asks for: the share of rows"),
        (evaluated(k=5), ours(), "evaluate.k: contract.yaml names no `group`, and nothing is ranked; take"),
        (evaluated(), ours(group="shoe size"), "evaluate.k is missing, which contract.yaml asks for: the first places"),
        (evaluated(headline="rmse"), ours(), "evaluate.headline.rmse is no metric that is measured there; it may be"),
        (evaluated(), NUMBERS, "model.yaml: metrics.average_precision is no metric that is measured there; it may be"),
        (rate("recal"), ours(), "fairness.groups.size.recal is no rate of the task binary; did you mean `recall`?"),
        (
            rate("recall"),
            CODES,
            "fairness.groups.size.recall is no rate of the task multiclass; did you mean `recall_",
        ),
        (of(), CODES, "behaviour.yaml: direction.0.of: say which class the case is about: 1, 2, 3"),
        (of(of=4), CODES, "behaviour.yaml: direction.0.of: say which class the case is about: 1, 2, 3"),
        (of(of="Yes"), ours(), "behaviour.yaml: direction.0.of is for several classes; take it out"),
    ],
)
def test_what_another_task_has_is_named(change: Change, contract: Contract, words: str) -> None:
    assert [sentence for sentence in said(change, contract) if words in sentence]


# --- the label's bars ---


def bars(**changes: Any) -> dict[str, Any]:
    """Bars of the label."""
    return {"minimum": 0.01, "maximum": 0.5, "day": {"rows": 10, "minimum": 0, "maximum": 1}} | changes


@pytest.mark.parametrize(
    ("asked", "contract", "words"),
    [
        (bars(parts={"1": {"minimum": 0}, "3": {"day": {"maximum": 0.9}}}), CODES, []),
        (bars(parts={"positive": {"day": {"minimum": 0.001}}}), ours(), []),
        (bars(minimum=-40, maximum=300), NUMBERS, []),
        (bars(parts={"4": {}}), CODES, ["label.parts.4 is no part of the label; it may be 1, 2, 3"]),
        (bars(parts={3: {}}), CODES, ['label.parts.3 is no part of the label; quote it: "3"']),
        (
            bars(parts={"positiv": {}}),
            ours(),
            ["label.parts.positiv is no part of the label; did you mean `positive`?"],
        ),
        (
            bars(maximum=3),
            ours(),
            ["label.maximum is 3, and the share of a class lies between 0 and 1; write 0.05 for"],
        ),
        (bars(parts={"1": {"day": {"minimum": -1}}}), CODES, ["label.parts.1.day.minimum is -1, and the share of a"]),
    ],
)
def test_bars_of_the_label_are_of_its_parts_and_shares_of_classes(
    asked: dict[str, Any], contract: Contract, words: list[str]
) -> None:
    found = [each.removeprefix("policies/data.yaml: ") for each in check.labelled(asked, contract)]
    assert len(found) == len(words) and all(map(str.startswith, found, words))


def test_bars_of_the_labels_parts_are_some_that_the_schema_knows(tmp_path: Path) -> None:
    write_policies(tmp_path)
    policy = tmp_path / "policies" / "data.yaml"
    text = policy.read_text()
    own = 'parts: {"a b": {minimum: 0.05, maximum: 2, day: {minimum: 0.01}, labels: 0}, c: {}}'
    policy.write_text(text.replace("label: {", f"label: {{{own}, "))
    assert load("data", policy.parent)["label"]["parts"]["a b"]["day"] == {"minimum": 0.01}
    policy.write_text(text.replace("label: {", "label: {parts: {a: {minimun: 0.05}}, "))
    with pytest.raises(BadInput, match=r"label.parts.a.minimun is no bar here; did you mean `minimum`?"):
        load("data", policy.parent)


def test_a_numbers_level_may_be_excepted_and_a_classs_has_none() -> None:
    def own(name: str) -> Change:
        return lambda policies: policies["data"]["columns"].update({name: {"level": {"minimum": 0, "maximum": 9}}})

    assert not [each for each in said(own("amount"), NUMBERS) if "level" in each]
    assert not [
        each for each in said(own("shoe size"), replace(NUMBERS, label=Label("shoe size", 2))) if "level" in each
    ]
    assert [
        each for each in said(own("shoe size"), CODES) if "level: only numbers have one that the model sees or" in each
    ]


@pytest.mark.parametrize(
    ("every", "cool_down_days", "per_week", "words"),
    [
        (None, 99, 1, []),
        (1, 0, 7, []),
        (4, 3, 2, []),
        (30, 29, 1, []),
        (
            1,
            0,
            2,
            ["every: 1 asks for 7 models in some seven days, and per_week allows 2"],
        ),
        (1, 0, 2, ["write per_week: 7, or every: 4"]),
        (
            3,
            3,
            3,
            ["asks for a model while cool_down_days: 3 of the last one still run"],
        ),
        (3, 3, 3, ["write cool_down_days: 2, or every: 4"]),
        (1, 3, 2, ["drift.yaml: retrain.every: 1 asks for a model while", "drift.yaml: retrain.every: 1 asks for 7"]),
    ],
)
def test_bars_that_keep_a_model_from_coming_in_time_are_named(
    every: int | None, cool_down_days: int, per_week: int, words: list[str]
) -> None:
    bars = {"every": every, "cool_down_days": cool_down_days, "per_week": per_week}
    found = list(check.contradictions(bars))
    assert len(found) == len(words) and all(part in each for part, each in zip(words, found, strict=True))


def test_no_pattern_lets_a_last_line_end_pass() -> None:
    """Python's `$` does; `\\Z`, which does not, is none of JSON Schema's."""
    schemas = [*(ROOT / "policies/schemas").glob("*.json"), *ROOT.glob("gitops/*.json")]
    found = [each for path in schemas for each in patterns(json.loads(path.read_text()))]
    assert len(found) > 15 and [each for each in found if not re.fullmatch(r"\^.*\(\?!\\n\)\$", each)] == []


def patterns(schema: Any) -> Iterator[str]:
    """All patterns of a schema."""
    if isinstance(schema, dict) and isinstance(schema.get("pattern"), str):
        yield schema["pattern"]
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from patterns(part)


@pytest.mark.parametrize("number", [".nan", ".inf", "9" * 400, "9" * 5000, f"0x{'f' * 9000}"])
def test_a_number_that_nothing_can_be_reckoned_with_is_a_sentence(tmp_path: Path, number: str) -> None:
    write_policies(tmp_path)
    policy = tmp_path / "policies" / "service.yaml"
    policy.write_text(re.sub("p99: [0-9.]+", f"p99: {number}", policy.read_text()))
    with pytest.raises(
        BadInput, match=r"service.yaml: .*(reckoned with; write a finite|not what it looks like to YAML)"
    ):
        load("service", policy.parent)


def test_the_command_says_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make lint` runs it."""
    write_knobs(tmp_path, knobs())
    write_policies(tmp_path)
    monkeypatch.chdir(tmp_path)
    evaluation = yaml.safe_load(Path("policies/evaluation.yaml").read_text())
    evaluation["evaluate"]["slices"] += [{"column": "nothing", "from": 1}, {"column": "nowhere", "from": 1}]
    Path("policies/evaluation.yaml").write_text(yaml.safe_dump(evaluation))
    drift = yaml.safe_load(Path("policies/drift.yaml").read_text())
    drift["retrain"]["every"] = 3
    Path("policies/drift.yaml").write_text(yaml.safe_dump(drift))
    with pytest.raises(BadInput) as refused:
        check.main()
    first, second, *others = str(refused.value).splitlines()
    assert "'nothing' is no column" in first and "'nowhere' is no column" in second
    assert len(others) == 2 and all("policies/drift.yaml: retrain.every: 3" in each for each in others)
