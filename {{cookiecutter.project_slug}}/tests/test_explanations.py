"""What is said of the champion, of groups of people and of single scores; no fact can break its Markdown."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gitops import comparison, explanations
from gitops.facts import read

INTERVAL = {"value": 0.01, "low": -0.02, "high": 0.03}
COMPARED = {"model": 0.71, "champion": 0.7, "difference": INTERVAL | {"error": 0.01}}
COMPARISON: dict[str, Any] = {
    "model": "sha256:" + "ab" * 32,
    "champion": {"digest": "sha256:" + "cd" * 32, "train": ["2018-07-01", "2018-07-07"], "until": "2018-07-21"},
    "problem": None,
    "rows": 4000,
    "labels": "40 returns",
    "rarest": 40,
    "compared": 4000,
    "excepted": "",
    "seen": {"model": {"rows": 0, "examples": []}},
    "metrics": {"average_precision": COMPARED},
    "slices": [
        {"column": "amount", "from": 50, "to": None, "rows": 90, "labels": "90 returns", "roc_auc": None},
        {"column": "amount", "from": None, "to": 50, "rows": 3000, "labels": "9 returns", "roc_auc": COMPARED},
    ],
}
ROW = {"id": 7, "label": "Yes", "point": 0.98}
EXPLANATIONS: dict[str, Any] = {
    "base": 0.01,
    "headline": "average_precision",
    "point": "score",
    "importance": {"amount": INTERVAL | {"value": 0.4}},
    "highest": [
        ROW
        | {
            "reasons": [
                {"column": "amount", "value": 556.75, "contribution": 0.8},
                {"column": "size", "value": None, "contribution": 0.1},
                {"column": "express", "value": True, "contribution": -0.1},
                {"column": "hidden", "contribution": 0.2},
            ]
        }
    ],
    "wrong": [],
}
GROUP = {"column": "region", "value": "north", "rows": 3000, "labels": "20 returns", "recall": None}
METRICS = {"fairness": {"region": {"groups": [GROUP | {"false_positive_rate": INTERVAL}], "differences": []}}}


def said(lines: Iterable[str]) -> str:
    return "\n".join(lines).replace("&#46;", ".").replace("&#95;", "_").replace("&#58;", ":").replace("&#43;", "+")


def test_the_champion_stands_beside_the_model_with_the_difference() -> None:
    text = said(comparison.lines(COMPARISON))
    assert "| average precision | 0.710 | 0.700 | **0.010 (-0.020 to 0.030)** |" in text
    assert "cd" * 32 in text and "4,000 test rows" in text
    assert "<code>amount up to 50</code> | 3,000 | 9 returns | roc auc | 0.710" in text and "amount from 50" not in text


def test_what_is_not_compared_is_counted_and_less_may_be_better() -> None:
    told = COMPARISON | {"metrics": {"log_loss": COMPARED, "roc_auc": None}, "labels": "", "slices": []}
    text = said(
        comparison.lines(told | {"compared": 3900, "excepted": "the champion does not know NA"}, smaller=["log_loss"])
    )
    assert "3,900 of 4,000 test rows (<code>the champion does not know NA</code>)" in text
    assert "| log loss (less is better) | 0.710 |" in text and "roc auc" not in text
    long = said(comparison.lines(told | {"compared": 0, "excepted": "x, " * 9999}))
    assert "0 of 4,000 test rows" in long and len(long) < 5000


def test_without_a_champion_nothing_is_said_and_a_problem_is() -> None:
    assert said(comparison.lines(None)) == said(comparison.lines(COMPARISON | {"champion": None})) == ""
    text = said(comparison.lines(COMPARISON | {"problem": "it lacks x"}))
    assert "Not compared" in text and "it lacks x" in text


def test_groups_and_reasons_are_tables() -> None:
    assert "region north" in said(comparison.groups(METRICS)) and said(comparison.groups({})) == ""
    text = said(explanations.lines(EXPLANATIONS))
    assert all(reason in text for reason in ("size missing: +0.100", "express true: -0.100", ">hidden: +0.200"))
    assert "<code>7</code> | <code>Yes</code> | 0.980" in text and "average precision worsens" in text
    assert "Rows with the highest score" in text and "The score of an ordinary row is 0.010." in text
    assert "amount 556.75: +0.800" in text and "0.400 (-0.020 to 0.030)" in text
    assert said(explanations.lines(None)) == ""


def explained(called: str, **row: Any) -> dict[str, Any]:
    """reports/explanations.json of one row."""
    return EXPLANATIONS | {"point": called, "highest": [], "wrong": [ROW | {"reasons": []} | row]}


def test_a_class_and_a_number_are_explained() -> None:
    text = said(explanations.lines(explained("probability", about="NA", label="groß")))
    assert "| label | probability |" in text and "<code>7</code> | <code>groß</code> | <code>NA</code> 0.980" in text
    assert "is 0.010" not in text.partition("answered most wrongly")[2], "each class has a mean of its own"
    text = said(explanations.lines(explained("prediction", label=1234.5, point=12_345.678)))
    assert "<code>7</code> | <code>1&#44;234.5</code> | 12,346 |" in text and "with the highest prediction" in text


def test_values_are_inert() -> None:
    evil = "</table>@team | [x](http://x)"
    for lines in (
        explanations.lines(explained("probability", id=evil, label=evil, about=evil)),
        comparison.lines(COMPARISON | {"compared": 1, "excepted": evil}),
        comparison.lines(COMPARISON | {"slices": [COMPARISON["slices"][1] | {"labels": evil}]}),
        comparison.groups({"fairness": {"x": {"groups": [GROUP | {"labels": evil, evil: INTERVAL}]}}}),
    ):
        assert not any("</table>" in line or "@team" in line or "](http" in line for line in lines)


@pytest.mark.parametrize(
    ("form", "facts"),
    [
        *(("comparison", COMPARISON), ("explanations", EXPLANATIONS)),
        ("explanations", explained("probability", about="NA", label="groß")),
        ("explanations", explained("prediction", label=1234.5)),
    ],
)
def test_facts_are_checked_by_their_schema(tmp_path: Path, form: str, facts: dict[str, Any]) -> None:
    path, problems = tmp_path / f"{form}.json", list[str]()
    path.write_text(json.dumps(facts))
    assert read(path, form, problems) == facts and problems == []
    first = next(iter(facts))
    path.write_text(json.dumps(facts | {first: ["x"]}))
    assert read(path, form, problems) is None and len(problems) == 1
