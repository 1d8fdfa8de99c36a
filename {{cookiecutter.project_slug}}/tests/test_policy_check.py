"""Policies against the contract: a name that is no column would judge nothing, and be silent."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.params import BadInput
from pipeline.policy import check
from tests.tables import ROOT, knobs, ours, write_knobs

CASE = {"case": "It is so", "within": 0.1, "share": 1}
POLICIES: dict[str, Any] = {
    "data": {"columns": {"amount": {"missing": 0.1}, "returned": {}}},
    "drift": {"columns": {"maximum": 0.1, "exceptions": {"größe €": 0.2}}},
    "log": {"personal": {"customer": "hash", "a.b": "omit", "request_id": "hash"}},
    "model": {"fairness": {"groups": {"size": {}}}},
    "evaluation": {
        "evaluate": {
            "slices": [
                *({"column": "amount", "from": 10}, {"column": "express", "value": True}, {"column": "born", "to": 9}),
                *({"column": "größe €", "value": "any"}, {"column": "model_config", "value": "basic"}),
            ],
            "groups": {"size": [{"column": "shoe size", "from": 40}]},
        }
    },
    "behaviour": {
        "functionality": [{"row": {"amount": 1, "express": False, "größe €": None, "a.b": None}}],
        "invariance": [{"where": {"model_config": "basic", "born": {"from": 30}}, "change": {"items": {"plus": 1}}}],
        "direction": [],
        "reliance": {"by": 0, "unused": ["a.b"]},
    },
}

Change = Callable[[dict[str, Any]], object]


def said(change: Change = lambda policies: None) -> list[str]:
    """What is said of the policies after a change."""
    policies = yaml.safe_load(yaml.safe_dump(POLICIES))
    change(policies)
    return [sentence.removeprefix("policies/") for sentence in check.strangers(policies, ours())]


def test_names_of_columns_inputs_and_groups_pass() -> None:
    assert said() == []


def sliced(**piece: Any) -> Change:
    return lambda policies: policies["evaluation"]["evaluate"]["slices"].insert(0, piece)


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
            lambda policies: policies["drift"]["columns"]["exceptions"].update({"große €": 1}),
            "drift.yaml: columns.exceptions.große € is no column; did you mean `größe €`?",
        ),
        (
            lambda policies: policies["drift"]["columns"]["exceptions"].update(customer=1),
            "drift.yaml: columns.exceptions.customer is no column; did you mean",
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
        (changed(customer=1), "direction.0.change.customer is no input of the model; did you mean"),
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


def test_the_command_says_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make lint` runs it: here, of the repository's own policies, which are for another contract."""
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    write_knobs(tmp_path, knobs())
    monkeypatch.chdir(tmp_path)
    evaluation = yaml.safe_load(Path("policies/evaluation.yaml").read_text())
    evaluation["evaluate"]["slices"] += [{"column": "nothing", "from": 1}, {"column": "nowhere", "from": 1}]
    Path("policies/evaluation.yaml").write_text(yaml.safe_dump(evaluation))
    with pytest.raises(BadInput) as refused:
        check.main()
    found = str(refused.value).splitlines()
    assert len([line for line in found if "'nothing' is no column" in line or "'nowhere' is no column" in line]) == 2
