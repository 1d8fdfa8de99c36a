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
from pipeline.model import MISSING, Model
from pipeline.params import BadInput
from tests.tables import ROOT, by_name, feature_rows, inputs, ours, problem
from tests.test_evaluate import ID

EXPRESS: dict[str, Any] = {"case": "Express is nothing", "change": {"express": True}, "within": 0.01, "share": 1}
LARGE: dict[str, Any] = {"case": "Large is bad", "where": {"amount": {"to": 100}}, "change": {"amount": 900}}
LARGE |= {"above": 0.8, "share": 0.9}
MORE: dict[str, Any] = {"case": "More is worse", "change": {"amount": {"times": 2}}, "answer": "rises"}
MORE |= {"tolerance": 0.01, "by": 0.01, "share": 0.95}


def value(name: str, columns: Any) -> np.ndarray:
    """An input as a number, 0 where missing; of a text, one that its first letter gives."""
    if columns[name].dtype != object:
        return np.nan_to_num(columns[name])
    return np.array([0 if text == MISSING else 1 + ord(text[0]) % 7 for text in columns[name]])


def scorer(**slopes: float) -> Model:
    """A model whose score is a sum of slopes times the inputs, between 0 and 1."""

    def score(columns: Any) -> np.ndarray:
        return np.clip(sum(slope * value(name, columns) for name, slope in slopes.items()), 0, 1)

    return Model(problem(), "linear", inputs(), "sha256:0", by_name(score))


def rules(**kinds: list[dict[str, Any]]) -> dict[str, Any]:
    """A policy of these cases."""
    return {"rows": 30, "functionality": [], "invariance": [], "direction": [], "reliance": {"by": 0.0}} | kinds


def tried(model: Model, asked: dict[str, Any], table: pl.DataFrame | None = None) -> dict[str, Any]:
    """reports/behaviour.json of this model."""
    return {"cases": list(behaviour.behave(model, feature_rows() if table is None else table, ours(), asked))}


def judged(model: Model, **kinds: list[dict[str, Any]]) -> list[policy.Violation]:
    asked = rules(**kinds)
    return policy.judge_behaviour(tried(model, asked), asked)


GOOD = scorer(**{"amount": 1e-3, "größe €": 0.02, "express": 1e-4})


def test_a_model_that_does_as_asked_meets_every_bar() -> None:
    assert judged(GOOD, functionality=[LARGE], invariance=[EXPRESS], direction=[MORE]) == []


@pytest.mark.parametrize(
    ("kind", "case", "model", "words"),
    [
        ("functionality", LARGE, scorer(amount=5e-4), "an answer above 0.8"),
        ("invariance", EXPRESS, scorer(express=0.2), "moves by 0.01 at most"),
        ("direction", MORE, scorer(amount=-1e-3, items=1), "the answer rises"),
        ("direction", MORE, scorer(amount=1e-6), "it rises by at least 0.01"),
        ("direction", MORE | {"answer": "falls"}, GOOD, "the answer falls"),
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
    asked = rules(invariance=[EXPRESS])
    (case, *_) = tried(scorer(express=0.2), asked, table)["cases"]
    others = set(table.filter(~pl.col("express"))[ID])
    assert len(case["examples"]) == 3 and {row["id"] for row in case["examples"]} <= others
    assert case["examples"][0] | {"id": 0} == pytest.approx({"id": 0, "before": 0, "after": 0.2})
    assert case["share"] == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("where", "inside"),
    [
        ({"amount": {"from": 50, "to": 60}}, (pl.col("amount") >= 50) & (pl.col("amount") < 60)),
        ({"express": True, "items": 3}, pl.col("express") & (pl.col("items") == 3)),
        ({"größe €": "groß"}, pl.col("größe €") == "groß"),
        ({"größe €": None}, pl.col("größe €").is_null()),
        ({"a.b": None}, pl.col("a.b").is_null()),
        ({"a.b": {"to": 0.2}}, pl.col("a.b") < 0.2),
    ],
    ids=str,
)
def test_rows_are_those_that_the_case_names(where: dict[str, Any], inside: pl.Expr) -> None:
    table = feature_rows()
    chosen = table.filter(inside)
    assert 0 < len(chosen) < behaviour.ROWS and behaviour.like(table, where).equals(chosen)


def test_many_rows_are_drawn_from() -> None:
    assert len(behaviour.like(feature_rows(), {})) == behaviour.ROWS


def cast() -> pl.DataFrame:
    """The rows as cases are tried on them."""
    return feature_rows().select(pl.col(ID).alias("_id"), *map(behaviour.as_tried, inputs()))


def test_a_row_by_hand_is_ordinary_but_for_what_it_says() -> None:
    table = cast()
    (row,) = behaviour.written(table, {"amount": 400, "a.b": None}).to_dicts()
    assert row["amount"] == 400 and row["a.b"] is None and row["_id"] == "by hand"
    assert row["items"] == table["items"].median() and row["born"] == table["born"].median()
    assert row["größe €"] == "klein" and row["express"] is False  # the most frequent
    asked = [{"case": "400", "row": {"amount": 400}, "above": 0.3, "share": 1}]
    assert judged(GOOD, functionality=asked) == []
    (violation,) = judged(scorer(amount=1e-4), functionality=asked)
    assert violation.examples == ("by hand: 0.04 to 0.04",)


def test_a_row_by_hand_of_a_column_that_is_always_missing_lacks_it() -> None:
    table = cast().with_columns(pl.lit(None, pl.Float64).alias("a.b"), pl.lit(None, pl.String).alias("größe €"))
    (row,) = behaviour.written(table, {"amount": 400}).to_dicts()
    assert row["a.b"] is None and row["größe €"] is None


@pytest.mark.parametrize(
    ("name", "how", "after"),
    [
        ("amount", 3, 3.0),
        ("amount", {"times": 2}, 20.0),
        ("amount", {"plus": 1}, 11.0),
        ("a.b", None, None),
        ("größe €", "klein", "klein"),
        ("größe €", None, None),
        ("express", False, False),
    ],
)
def test_columns_are_set_multiplied_or_added_to(name: str, how: Any, after: Any) -> None:
    table = pl.DataFrame({"amount": [10.0], "a.b": [1.0], "größe €": ["groß"], "express": [True]})
    assert behaviour.changed(table, {name: how}).to_dicts() == [{**table.to_dicts()[0], name: after}]


def test_a_missing_value_may_become_a_level() -> None:
    case = {"case": "To know more", "where": {"größe €": None}, "change": {"größe €": "groß"}, "answer": "rises"}
    assert judged(scorer(**{"größe €": 0.1}), direction=[case | {"tolerance": 0, "by": 0.3, "share": 1}]) == []
    assert judged(scorer(amount=1e-3), direction=[case | {"tolerance": 0, "by": 0.3, "share": 1}])


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("change", {"größe €": {"times": 2}}, "`times` is for numbers, and it is of type category"),
        ("change", {"express": {"plus": 1}}, "`plus` is for numbers, and it is of type boolean"),
        ("where", {"größe €": {"from": 1}}, "`from` is for numbers"),
        ("where", {"größe €": False}, "False is no text, and it is of type category; quote the value"),
        ("change", {"express": 1}, "1 is neither true nor false"),
        ("row", {"amount": "400"}, "'400' is no number"),
        ("row", {"amount": True}, "True is no number"),
        ("change", {"amount": None}, "it may not be missing"),
        ("change", {"model_config": "bsic"}, "'bsic' is none of its categories; did you mean `basic`"),
    ],
    ids=str,
)
def test_a_value_that_a_column_cannot_have_is_a_sentence(part: str, value: Any, words: str) -> None:
    case = {"case": "Typo", part: value, "above": 0, "share": 0}
    with pytest.raises(BadInput, match=f'policies/behaviour.yaml: the case "Typo" names .* under {part}: .*{words}'):
        tried(GOOD, rules(functionality=[case]))


def test_an_input_that_is_ignored_is_named_whatever_its_type() -> None:
    asked = rules(reliance={"by": 1e-6})  # type: ignore[arg-type]
    slopes = {column.name: 1e-5 if column.name == "born" else 1e-3 for column in inputs()}
    assert policy.judge_behaviour(tried(scorer(**slopes), asked), asked) == []
    for name in ("amount", "größe €", "express", "born"):
        blind = {column: slope for column, slope in slopes.items() if column != name}
        (violation,) = policy.judge_behaviour(tried(scorer(**blind), asked), asked)
        assert violation.rule == "reliance.by" and violation.value.startswith(name)


def test_an_input_that_may_be_ignored_is_said() -> None:
    asked = rules(reliance={"by": 1e-6, "unused": ["born", "amount"]})  # type: ignore[arg-type]
    found = tried(scorer(**{column.name: 1e-3 for column in inputs() if column.name != "born"}), asked)
    assert policy.judge_behaviour(found, asked) == []
    assert policy.unjudged_behaviour(found, asked) == [
        "reliance: amount may be ignored (reliance.unused), and is used: take it off that list",
        "reliance: born may be ignored (reliance.unused)",
    ]


def test_an_input_that_is_the_same_in_all_rows_is_said_not_to_be_judged() -> None:
    asked, table = rules(reliance={"by": 1e-6}), feature_rows()  # type: ignore[arg-type]
    empty = table.with_columns(pl.lit(None, pl.Float64).alias("a.b"))
    found = tried(scorer(**{column.name: 1e-5 for column in inputs()}), asked, empty)
    assert policy.judge_behaviour(found, asked) == []
    (sentence,) = policy.unjudged_behaviour(found, asked)
    assert sentence.startswith("reliance: a.b has one value in all 2,000 rows")


def test_a_case_that_few_rows_fit_is_said_not_to_be_judged() -> None:
    for where in ({"amount": {"from": 1e6}}, {"amount": {"from": 100, "to": 100.2}}, {"größe €": "gross"}):
        asked = rules(functionality=[LARGE | {"where": where, "above": 1.0}])
        found = tried(GOOD, asked)
        assert policy.judge_behaviour(found, asked) == []
        (sentence,) = policy.unjudged_behaviour(found, asked)
        assert "Large is bad" in sentence and "too few" in sentence


def test_a_case_that_was_tried_by_other_words_is_a_violation() -> None:
    loose, strict = rules(invariance=[EXPRESS | {"within": 1}]), rules(invariance=[EXPRESS])
    (violation,) = policy.judge_behaviour(tried(GOOD, loose), strict)
    assert violation.value == "not tried"


@pytest.mark.parametrize("part", ["where", "change", "row"])
def test_a_column_that_the_model_lacks_is_a_sentence(part: str) -> None:
    case = {"case": "Typo", part: {"amonut": 1}, "above": 0, "share": 0}
    with pytest.raises(BadInput, match=f'"Typo" names amonut under {part}.*did you mean `amount`.*has to go first'):
        tried(GOOD, rules(functionality=[case]))


def test_a_column_that_is_no_input_moves_nothing_until_somebody_makes_it_one() -> None:
    less = tuple(column for column in inputs() if column.name != "express")
    blind = Model(problem(), "linear", less, "sha256:0", by_name(lambda columns: columns["amount"] / 1000, less))
    (found, *_) = tried(blind, rules(invariance=[EXPRESS]))["cases"]
    assert (found["rows"], found["share"], found["moved"]) == (behaviour.ROWS, 1, 0)
    assert judged(blind, invariance=[EXPRESS]) == [] and judged(scorer(express=0.2), invariance=[EXPRESS])
    with pytest.raises(BadInput, match="names express under change, no input of the model"):
        tried(blind, rules(direction=[MORE | {"change": {"express": True}}]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rules: rules["direction"][0].update(tolerence=0), "did you mean `tolerance`?"),
        (lambda rules: rules["direction"][0].update(score="up"), "direction.0.score"),
        (lambda rules: rules["functionality"][0].pop("above"), "functionality.0"),
        (lambda rules: rules.update(invariants=[]), "did you mean `invariance`?"),
    ],
)
def test_a_mistake_in_a_case_is_named(tmp_path: Path, change: Any, words: str) -> None:
    asked = deepcopy(rules(functionality=[LARGE], direction=[MORE]))
    change(asked)
    (tmp_path / "behaviour.yaml").write_text(yaml.safe_dump(asked))
    (tmp_path / "schemas").symlink_to(ROOT / "policies" / "schemas")
    with pytest.raises(BadInput) as refused:
        policy.load("behaviour", tmp_path)
    assert words in str(refused.value)


def test_what_was_tried_survives_json() -> None:
    asked = yaml.safe_load(yaml.safe_dump(rules(functionality=[LARGE], invariance=[EXPRESS], direction=[MORE])))
    assert policy.judge_behaviour(json.loads(json.dumps(tried(GOOD, asked))), asked) == []
