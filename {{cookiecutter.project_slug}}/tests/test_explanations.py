"""What is said of the champion, of groups of people and of single scores; no fact can break its Markdown."""

import json
from collections.abc import Iterable
from copy import deepcopy
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
    "positives": 40,
    "seen": {"model": {"rows": 0, "examples": []}},
    "metrics": {"average_precision": COMPARED},
    "slices": [
        {"column": "amount", "from": 50, "to": None, "rows": 90, "positives": 90, "roc_auc": None},
        {"column": "amount", "from": None, "to": 50, "rows": 3000, "positives": 9, "roc_auc": COMPARED},
    ],
}
ROW = {"id": 7, "label": 1, "score": 0.98}
EXPLANATIONS: dict[str, Any] = {
    "base": 0.01,
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
GROUP = {"column": "region", "value": "north", "rows": 3000, "positives": 20, "recall": None}
METRICS = {"fairness": {"region": {"groups": [GROUP | {"false_positive_rate": INTERVAL}], "differences": []}}}


def said(lines: Iterable[str]) -> str:
    return "\n".join(lines).replace("&#46;", ".").replace("&#95;", "_").replace("&#58;", ":").replace("&#43;", "+")


def test_the_champion_stands_beside_the_model_with_the_difference() -> None:
    text = said(comparison.lines(COMPARISON))
    assert "| average precision | 0.710 | 0.700 | **0.010 (-0.020 to 0.030)** |" in text
    assert "cd" * 32 in text and "4,000 test rows" in text
    assert "amount up to 50" in text and "amount from 50" not in text


def test_without_a_champion_nothing_is_said_and_a_problem_is() -> None:
    assert said(comparison.lines(None)) == said(comparison.lines(COMPARISON | {"champion": None})) == ""
    text = said(comparison.lines(COMPARISON | {"problem": "it lacks x"}))
    assert "Not compared" in text and "it lacks x" in text


def test_groups_and_reasons_are_tables() -> None:
    assert "region north" in said(comparison.groups(METRICS)) and said(comparison.groups({})) == ""
    text = said(explanations.lines(EXPLANATIONS))
    assert all(reason in text for reason in ("size missing: +0.100", "express true: -0.100", ">hidden: +0.200"))
    assert "<code>7</code> | yes | 0.980" in text
    assert "amount 556.75: +0.800" in text and "0.400 (-0.020 to 0.030)" in text
    assert said(explanations.lines(None)) == ""


def test_values_are_inert() -> None:
    evil = deepcopy(EXPLANATIONS)
    evil["highest"][0] |= {"id": "</table>@team | [x](http://x)"}
    lines = list(explanations.lines(evil))
    assert not any("</table>" in line or "@team" in line or "](http" in line for line in lines)


@pytest.mark.parametrize(("form", "facts"), [("comparison", COMPARISON), ("explanations", EXPLANATIONS)])
def test_facts_are_checked_by_their_schema(tmp_path: Path, form: str, facts: dict[str, Any]) -> None:
    path, problems = tmp_path / f"{form}.json", list[str]()
    path.write_text(json.dumps(facts))
    assert read(path, form, problems) == facts and problems == []
    first = next(iter(facts))
    path.write_text(json.dumps(facts | {first: ["x"]}))
    assert read(path, form, problems) is None and len(problems) == 1
