"""Why the model says what it says: which inputs it relies on, and the reasons for single answers; on the graph.

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

from pipeline import contract, evaluate, model, params, tasks
from pipeline.contract import Contract
from pipeline.evaluate import MODEL
from pipeline.model import Model
from pipeline.params import run_stage
from pipeline.personal import columns, policy, shown
from pipeline.reasons import Table, contributions
from pipeline.rows import LABEL
from pipeline.tasks import Array, Judged, Task

EXPLANATIONS = Path("reports/explanations.json")


def importance(
    scorer: Model, task: Task, table: Table, test: Judged, name: str, repeats: int, rng: np.random.Generator
) -> dict[str, Any]:
    """By how much the metric `name` worsens when an input is shuffled among the rows, mean and spread of the repeats.

    Permutation importance: Breiman, Random Forests (2001), section 10; Fisher et al., All Models are Wrong, but Many
    are Useful (2019). Inputs that say the same stand in for each other, and each then looks less important.
    """
    everyone = np.ones((1, test.units))
    sign = 1 if task.METRICS[name].larger else -1

    def good(changed: Table) -> float:
        return sign * float(task.measure(test, scorer.predict(changed), everyone, (name,))[name][0])

    whole, found = good(table), {}
    for column, values in table.items():
        falls = [whole - good(table | {column: rng.permutation(values)}) for _ in range(repeats)]
        found[column] = {"value": float(np.mean(falls)), "low": min(falls), "high": max(falls)}
    return dict(sorted(found.items(), key=lambda item: -item[1]["value"]))


def explain(
    scorer: Model, table: pl.DataFrame, ours: Contract, knobs: Mapping[str, Any], evaluated: Mapping[str, Any]
) -> dict[str, Any]:
    """reports/explanations.json, of the judged rows: those with the highest points, those furthest from the label.

    `evaluated` are the knobs that the test is measured by.
    """
    rng, task = np.random.default_rng(knobs["seed"]), tasks.task(ours.task)
    inputs = {column.name: model.fed(column, table[column.name]) for column in scorer.inputs}
    out, label, test = scorer.predict(inputs), table[LABEL].to_numpy(), evaluate.as_test(table, ours, evaluated)
    headline = evaluate.headline(ours, evaluated)
    said: dict[str, Any] = {
        "model": scorer.digest,
        "base": float(task.point(out).mean()),
        "headline": headline,
        "point": task.POINT,
        "importance": importance(scorer, task, inputs, test, headline, knobs["repeats"], rng),
    }
    for name, order in (("highest", -task.point(out)), ("wrong", -task.error(label, out))):
        chosen = np.argsort(order, kind="stable")[: knobs["rows"]]
        picked = {column: values[chosen] for column, values in inputs.items()}
        added = contributions(scorer, task, picked, inputs, knobs["draws"], rng)
        said[name] = reasons(table[chosen], tasks.picked(out, chosen), added, list(inputs), ours, knobs["reasons"])
    return said


def reasons(
    table: pl.DataFrame, out: model.Outputs, added: Array, names: Sequence[str], ours: Contract, most: int
) -> list[dict[str, Any]]:
    """A row's point, of which class, its label, and the `most` inputs that moved its point furthest, with values."""
    found, times = [], {column.name for column in ours.inputs if column.type == "time"}
    task = tasks.task(ours.task)
    point, about = task.point(out), task.about(out)
    for at, row in enumerate(table.iter_rows(named=True)):
        known = shown({name: row[name] for name in names})
        who = shown({ours.id: row[ours.id], ours.label.column: value(row[LABEL], ours)})
        furthest = np.argsort(-np.abs(added[at]), kind="stable")[:most]
        found.append(
            {key: who[name] for key, name in (("id", ours.id), ("label", ours.label.column)) if name in who}
            | {"point": float(point[at])}
            | ({} if about is None else {"about": value(about[at], ours)})
            | {"reasons": [reason(known, names[i], added[at, i], times) for i in furthest]}
        )
    return found


def value(label: float, ours: Contract) -> str | float:
    """A label as people read it: a class as text, or a number."""
    return str(ours.label.values[int(label)]) if ours.label.values else float(label)


def reason(known: Mapping[str, Any], name: str, contribution: float, times: Container[str]) -> dict[str, Any]:
    """What an input adds to a point; and its value where that may be written: a number, a text, a boolean, None.

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
    said = explain(scorer, table, ours, knobs["explain"], knobs["evaluate"])
    EXPLANATIONS.parent.mkdir(exist_ok=True)
    EXPLANATIONS.write_text(json.dumps(said, indent=2) + "\n")
    first = ", ".join(f"{name} {fall['value']:.4g}" for name, fall in list(said["importance"].items())[:3])
    print(f"{EXPLANATIONS}: {said['headline'].replace('_', ' ')} worsens most without {first}")


if __name__ == "__main__":
    run_stage(main)
