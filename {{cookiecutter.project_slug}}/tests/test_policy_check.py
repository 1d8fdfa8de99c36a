"""Policies against the contract: a name that is no column would judge nothing, and be silent."""

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.contract import Contract
from pipeline.params import BadInput
from pipeline.policy import check, load
from pipeline.policy.bars import METRICS, SLICED
from tests.tables import ROOT, knobs, ours, write_knobs, write_policies

CASE = {"case": "It is so", "within": 0.1, "share": 1}
POLICIES: dict[str, Any] = {
    "data": {"columns": {"amount": {"missing": 0.1}, "returned": {}}},
    "drift": {
        "columns": {"maximum": 0.1, "exceptions": {"a.b": 0.2}},
        "categories": {"maximum": 0.1, "exceptions": {"größe €": 0.2}},
        "live": {"metrics": {"roc_auc": {"minimum": 0.7}}},
    },
    "log": {"personal": {"customer": "hash", "a.b": "omit", "request_id": "hash"}},
    "model": {
        **{"metrics": dict.fromkeys(METRICS, {"minimum": 0}), "slices": {"metrics": dict.fromkeys(SLICED, {})}},
        "baselines": {"beaten": ["constant"], "metrics": {"accuracy": 0}},
        "champion": {"metrics": dict.fromkeys(METRICS, {}), "slices": dict.fromkeys(SLICED, {})},
        "fairness": {"groups": {"size": {}}},
    },
    "evaluation": {
        "split": {"train": 10, "test": 3},
        "evaluate": {
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
            "data.yaml: columns.größe €.level: only numbers have one that the model sees, and whose range",
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


def test_a_metric_of_entities_needs_an_entity() -> None:
    found = said(contract=ours(entity=None))
    assert len(found) == 2 and all("is measured where contract.yaml names an `entity`" in each for each in found)


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
    with pytest.raises(BadInput) as refused:
        check.main()
    first, second = str(refused.value).splitlines()
    assert "'nothing' is no column" in first and "'nowhere' is no column" in second
