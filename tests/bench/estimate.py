"""How far quality that is estimated before labels is from what labels say: banks' weeks, as in the demo's story.

A network of the default recipe; after some weeks payments are dearer and later, with a fraud that no model has seen. A
week's average precision is measured by its labels, and expected from the scores of the same rows alone. Beside it the
estimate that people would make without: that each week is as good as the test week.
"""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import numpy as np

from tests.bench.gates import DELAY, RESAMPLES, TEST, TRAIN, WINDOWS, apart, contract_of, learned, table_of

BANKS, WEEKS = 3, 4  # as many again of the changed world
START = date(2018, 4, 1)
METRIC = "average_precision"
DRIFT = {"amount": 1.2, "night": 0.2, "pattern": 0.01}


def rows() -> Iterator[dict[str, Any]]:
    """How far a week's value is off, of those that the check shows; theirs: by the test week's value."""
    for world, weeks in apart(__name__).items():
        shown = [week for week in weeks if week["shown"]]
        off = {by: [abs(week[by]) for week in shown] for by in ("estimate", "promise")}
        ours, theirs = (float(np.mean(values)) if shown else None for values in off.values())
        yield {
            "what": f"{METRIC} of a week before labels, {world}, off by",
            **{"ours": ours, "theirs": theirs, "unit": f"{len(shown)} of {len(weeks)}"},
            **{"ratio": ours / theirs if ours and theirs else None, "bar": None, "reached": True},
        }


# --- in the process of its own ---


def differences(seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each week of a bank, its world, whether an estimate is shown, and how far it is off."""
    import polars as pl
    from pipeline import evaluate, params, tasks

    ours, task, world = contract_of(), tasks.task("binary"), params.load()["simulate"] | {"seed": seed}
    begins = START + timedelta(days=max(WINDOWS) + DELAY)
    train = begins, begins + timedelta(days=TRAIN - 1)
    test = train[1] + timedelta(days=DELAY + 1), train[1] + timedelta(days=DELAY + TEST)
    changes = test[1] + timedelta(days=1, weeks=WEEKS)
    table = table_of(START, test[1] + timedelta(weeks=2 * WEEKS), world | {"drift": DRIFT | {"from": str(changes)}})
    network = learned(table.filter(pl.col(ours.time).dt.date().is_between(*train)), seed)

    def of(days: tuple[date, date]) -> tuple[Any, float]:
        judged = evaluate.judged(table, days, ours, DELAY)
        held, out = evaluate.as_test(judged, ours, {}), network.predict(judged)
        true = task.measure(held, out, evaluate.resamples(held.units, RESAMPLES, seed), (METRIC,))
        return evaluate.intervals(true, 0.95)[METRIC], tasks.expected(task, out, np.ones(len(judged)))[METRIC]

    (before, expected) = (promise, _) = of(test)
    for number in range(2 * WEEKS):
        shown = before["low"] <= expected <= before["high"]  # by the labelled week
        first = test[1] + timedelta(days=1, weeks=number)
        before, expected = of((first, first + timedelta(days=6)))
        off = {"estimate": expected - before["value"], "promise": promise["value"] - before["value"]}
        yield "nothing wrong" if first < changes else "the world changed", {"shown": bool(shown), **off}


def main() -> None:
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(BANKS):
        for world, week in differences(seed):
            found.setdefault(world, []).append(week)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
