"""Why the model says what it says: which inputs it relies on, and the reasons for single scores. On the exported graph.

Reports and model cards show this, what policies/log.yaml calls personal hashed or left out; nothing is judged by it. An
explanation is of the model, not of the world.
"""

import json
from collections.abc import Container, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, evaluate, model, params
from pipeline.contract import Contract
from pipeline.evaluate import MODEL, Judged
from pipeline.model import Model
from pipeline.params import run_stage
from pipeline.personal import columns, policy, shown
from pipeline.rows import LABEL

EXPLANATIONS = Path("reports/explanations.json")

Table = dict[str, np.ndarray]  # the model's inputs [rows], as its graph takes them: float64, or objects of a category


def importance(scorer: Model, table: Table, test: Judged, repeats: int, rng: np.random.Generator) -> dict[str, Any]:
    """By how much average precision falls when an input is shuffled among the rows, mean and spread of the repeats.

    Permutation importance: Breiman, Random Forests (2001), section 10; Fisher et al., All Models are Wrong, but Many
    are Useful (2019). Inputs that say the same stand in for each other, and each then looks less important.
    """
    everyone = np.ones((1, test.units))

    def precise(changed: Table) -> float:
        return float(evaluate.average_precision(*evaluate.counts(test, scorer.predict(changed), everyone))[0])

    whole, found = precise(table), {}
    for name, values in table.items():
        falls = [whole - precise(table | {name: rng.permutation(values)}) for _ in range(repeats)]
        found[name] = {"value": float(np.mean(falls)), "low": min(falls), "high": max(falls)}
    return dict(sorted(found.items(), key=lambda item: -item[1]["value"]))


def contributions(scorer: Model, table: Table, background: Table, draws: int, rng: np.random.Generator) -> np.ndarray:
    """What each input adds to each row's score, from that of ordinary rows on; float64 [rows, inputs].

    Shapley values by sampling (Štrumbelj and Kononenko, Explaining prediction models and individual predictions with
    feature contributions, 2014): from a random background row to the row itself, one input after the other in a
    random order; what the score moves by is that input's. A row's sum is its score less the mean of where it began.
    """
    names, size = list(table), len(next(iter(table.values())))
    steps, total = np.arange(len(names) + 1)[:, None], np.zeros((size, len(names)))
    ordinary = len(background[names[0]])
    for _ in range(draws):
        order = rng.permutation(len(names))
        begin = rng.integers(ordinary, size=size)
        turn = np.argsort(order) + 1  # of each input: the step from which on it is the row's own
        mixed = {
            name: np.where(steps >= turn[at], table[name], background[name][begin]).ravel()  # [steps, rows]
            for at, name in enumerate(names)
        }
        scores = scorer.predict(mixed).reshape(len(names) + 1, size)
        total[:, order] += np.diff(scores, axis=0).T
    return total / draws


def explain(scorer: Model, table: pl.DataFrame, ours: Contract, knobs: dict[str, Any]) -> dict[str, Any]:
    """reports/explanations.json, of the judged rows: those with the highest scores, those furthest from the label."""
    rng = np.random.default_rng(knobs["seed"])
    inputs = {column.name: model.fed(column, table[column.name]) for column in scorer.inputs}
    score, label = scorer.predict(inputs), table[LABEL].to_numpy()
    said: dict[str, Any] = {
        "model": scorer.digest,
        "base": float(score.mean()),
        "importance": importance(scorer, inputs, evaluate.as_test(table, ours), knobs["repeats"], rng),
    }
    for name, order in (("highest", -score), ("wrong", -np.abs(label - score))):
        chosen = np.argsort(order, kind="stable")[: knobs["rows"]]
        picked = {column: values[chosen] for column, values in inputs.items()}
        added = contributions(scorer, picked, inputs, knobs["draws"], rng)
        said[name] = reasons(table[chosen], score[chosen], added, list(inputs), ours, knobs["reasons"])
    return said


def reasons(
    table: pl.DataFrame, score: np.ndarray, added: np.ndarray, names: Sequence[str], ours: Contract, most: int
) -> list[dict[str, Any]]:
    """A row's score and label, and the `most` inputs that moved its score furthest, with their values."""
    found, times = [], {column.name for column in ours.inputs if column.type == "time"}
    for at, row in enumerate(table.iter_rows(named=True)):
        known = shown({name: row[name] for name in names})
        who = shown({ours.id: row[ours.id], ours.label.column: int(row[LABEL])})
        furthest = np.argsort(-np.abs(added[at]), kind="stable")[:most]
        found.append(
            {key: who[name] for key, name in (("id", ours.id), ("label", ours.label.column)) if name in who}
            | {"score": float(score[at]), "reasons": [reason(known, names[i], added[at, i], times) for i in furthest]}
        )
    return found


def reason(known: Mapping[str, Any], name: str, contribution: float, times: Container[str]) -> dict[str, Any]:
    """What an input adds to a score; and its value where that may be written: a number, a text, a boolean, None.

    A time is a text with its unit, which nobody who reads it could know.
    """
    said: dict[str, Any] = {"column": name}
    if name in known:
        value = plain(known[name])
        said["value"] = f"{value:,.6g} days before" if name in times and isinstance(value, float) else value
    return said | {"contribution": float(contribution)}


def plain(value: Any) -> float | str | bool | None:
    """A value as JSON has it."""
    if value is None or isinstance(value, str | bool):
        return value
    return None if isnan(value) else float(value)


def main() -> None:
    knobs, ours = params.load(), contract.load()
    table = evaluate.tested(ours, knobs)
    scorer = model.load(MODEL, threads=0)
    policy(columns(ours))  # a name that is none of theirs would hide nothing
    said = explain(scorer, table, ours, knobs["explain"])
    EXPLANATIONS.parent.mkdir(exist_ok=True)
    EXPLANATIONS.write_text(json.dumps(said, indent=2) + "\n")
    first = ", ".join(f"{name} {fall['value']:.3f}" for name, fall in list(said["importance"].items())[:3])
    print(f"{EXPLANATIONS}: average precision falls most without {first}")


if __name__ == "__main__":
    run_stage(main)
