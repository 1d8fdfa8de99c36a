"""A case of policies/behaviour.yaml is tried on the rows that it names, and judged by its own bars."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from pipeline import behaviour, policy
from pipeline.model import Model
from pipeline.params import BadInput
from pipeline.schema import ID, Column
from tests.tables import feature_rows

INPUTS = ("tx_amount", "terminal_risk_7d", "tx_during_night")
NIGHTLY: dict[str, Any] = {"case": "Night is nothing", "change": {"tx_during_night": 1}, "within": 0.01, "share": 1}
LARGE: dict[str, Any] = {"case": "Large is bad", "where": {"tx_amount": {"to": 100}}, "change": {"tx_amount": 900}}
LARGE |= {"above": 0.8, "share": 0.9}
MORE: dict[str, Any] = {"case": "More is worse", "change": {"tx_amount": {"times": 2}}, "score": "rises"}
MORE |= {"tolerance": 0.01, "by": 0.01, "share": 0.95}


def scorer(**slopes: float) -> Model:
    """A model whose score is a sum of slopes times the inputs, between 0 and 1."""

    def score(columns: Any) -> np.ndarray:
        return np.clip(sum(slope * columns[name] for name, slope in slopes.items()), 0, 1)

    return Model(tuple(Column(name, "float64", None, None, "") for name in INPUTS), "sha256:0", score)


def rules(**kinds: list[dict[str, Any]]) -> dict[str, Any]:
    """A policy of these cases."""
    return {"rows": 30, "functionality": [], "invariance": [], "direction": [], "reliance": {"by": 0.0}} | kinds


def tried(model: Model, asked: dict[str, Any], table: pl.DataFrame | None = None) -> dict[str, Any]:
    """reports/behaviour.json of this model."""
    return {"cases": list(behaviour.behave(model, feature_rows() if table is None else table, asked))}


def judged(model: Model, **kinds: list[dict[str, Any]]) -> list[policy.Violation]:
    asked = rules(**kinds)
    return policy.judge_behaviour(tried(model, asked), asked)


GOOD = scorer(tx_amount=1e-3, terminal_risk_7d=0.2, tx_during_night=1e-4)


def test_a_model_that_does_as_asked_meets_every_bar() -> None:
    assert judged(GOOD, functionality=[LARGE], invariance=[NIGHTLY], direction=[MORE]) == []


@pytest.mark.parametrize(
    ("kind", "case", "model", "words"),
    [
        ("functionality", LARGE, scorer(tx_amount=5e-4), "a score above 0.8"),
        ("invariance", NIGHTLY, scorer(tx_during_night=0.2), "moves by 0.01 at most"),
        ("direction", MORE, scorer(tx_amount=-1e-3, terminal_risk_7d=1), "the score rises"),
        ("direction", MORE, scorer(tx_amount=1e-6), "it rises by at least 0.01"),
        ("direction", MORE | {"score": "falls"}, GOOD, "the score falls"),
    ],
)
def test_a_case_that_fails_is_named_with_its_bar_and_rows(
    kind: str, case: dict[str, Any], model: Model, words: str
) -> None:
    violations = judged(model, **{kind: [case]})
    assert violations and all(violation.rule == f"{kind}: {case['case']}" for violation in violations)
    assert any(words in violation.bar for violation in violations)
    assert all(violation.rows and violation.next for violation in violations)


def test_examples_are_rows_that_fail() -> None:
    table = feature_rows()
    asked = rules(invariance=[NIGHTLY])
    (case, *_) = tried(scorer(tx_during_night=0.2), asked, table)["cases"]
    daily = set(table.filter(pl.col("tx_during_night") == 0)[ID])
    assert len(case["examples"]) == 3 and {row["id"] for row in case["examples"]} <= daily
    assert case["examples"][0] | {"id": 0} == pytest.approx({"id": 0, "before": 0, "after": 0.2})
    assert case["share"] == pytest.approx(0.5, abs=0.05)


def test_rows_are_those_that_the_case_names() -> None:
    table = feature_rows()
    where = {"tx_amount": {"from": 50, "to": 60}, "tx_during_night": 1}
    chosen = behaviour.like(table, where)
    assert chosen["tx_amount"].is_between(50, 60, closed="left").all() and (chosen["tx_during_night"] == 1).all()
    assert len(chosen) == table.filter(pl.col("tx_amount") >= 50, pl.col("tx_amount") < 60, tx_during_night=1).height
    assert len(behaviour.like(table, {})) == behaviour.ROWS


def test_a_row_by_hand_is_ordinary_but_for_what_it_says() -> None:
    table = feature_rows().select(ID, *INPUTS)
    (row,) = behaviour.written(table, {"tx_amount": 400}).to_dicts()
    assert row["tx_amount"] == 400 and row["terminal_risk_7d"] == table["terminal_risk_7d"].median()
    asked = [{"case": "400", "row": {"tx_amount": 400}, "above": 0.3, "share": 1}]
    assert judged(GOOD, functionality=asked) == []
    (violation,) = judged(scorer(tx_amount=1e-4), functionality=asked)
    assert violation.examples == ("by hand: 0.04 to 0.04",)


@pytest.mark.parametrize(("how", "after"), [(3, 3), ({"times": 2}, 20), ({"plus": 1}, 11)])
def test_columns_are_set_multiplied_or_added_to(how: Any, after: float) -> None:
    table = pl.DataFrame({"tx_amount": [10.0], "other": [1.0]})
    assert behaviour.changed(table, {"tx_amount": how}).rows() == [(after, 1.0)]


def test_an_input_that_is_ignored_is_named() -> None:
    asked = rules(reliance={"by": 1e-6})  # type: ignore[arg-type]
    assert policy.judge_behaviour(tried(GOOD, asked), asked) == []
    blind = scorer(tx_amount=1e-3, terminal_risk_7d=0.2)
    (violation,) = policy.judge_behaviour(tried(blind, asked), asked)
    assert violation.rule == "reliance.by" and violation.value.startswith("tx_during_night")


def test_a_case_that_few_rows_fit_is_said_not_to_be_judged() -> None:
    for where in ({"tx_amount": {"from": 1e6}}, {"tx_amount": {"from": 100, "to": 100.5}}):
        asked = rules(functionality=[LARGE | {"where": where, "above": 1.0}])
        found = tried(GOOD, asked)
        assert policy.judge_behaviour(found, asked) == []
        (sentence,) = policy.unjudged_behaviour(found, asked)
        assert "Large is bad" in sentence and "too few" in sentence


def test_a_case_that_was_tried_by_other_words_is_a_violation() -> None:
    loose, strict = rules(invariance=[NIGHTLY | {"within": 1}]), rules(invariance=[NIGHTLY])
    (violation,) = policy.judge_behaviour(tried(GOOD, loose), strict)
    assert violation.value == "not tried"


@pytest.mark.parametrize("part", ["where", "change", "row"])
def test_a_column_that_the_model_lacks_is_a_sentence(part: str) -> None:
    case = {"case": "Typo", part: {"tx_amonut": 1}, "above": 0, "share": 0}
    with pytest.raises(
        BadInput, match=f'"Typo" names tx_amonut under {part}.*did you mean `tx_amount`.*has to go first'
    ):
        tried(GOOD, rules(functionality=[case]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rules: rules["direction"][0].update(tolerence=0), "did you mean `tolerance`?"),
        (lambda rules: rules["direction"][0].update(score="up"), "'up' is not one of"),
        (lambda rules: rules["functionality"][0].pop("above"), "functionality.0"),
        (lambda rules: rules.update(invariants=[]), "did you mean `invariance`?"),
    ],
)
def test_a_mistake_in_a_case_is_named(tmp_path: Path, change: Any, words: str) -> None:
    ours = Path(policy.__file__).parents[2] / "policies"
    asked = deepcopy(rules(functionality=[LARGE], direction=[MORE]))
    change(asked)
    (tmp_path / "behaviour.yaml").write_text(yaml.safe_dump(asked))
    (tmp_path / "schemas").symlink_to(ours / "schemas")
    with pytest.raises(BadInput) as refused:
        policy.load("behaviour", tmp_path)
    assert words in str(refused.value)


def test_what_was_tried_survives_json() -> None:
    asked = yaml.safe_load(yaml.safe_dump(rules(functionality=[LARGE], invariance=[NIGHTLY], direction=[MORE])))
    assert policy.judge_behaviour(json.loads(json.dumps(tried(GOOD, asked))), asked) == []
