"""Whether an interval that promises 90% of the labels holds so many: over all, and of the lowest and highest tenth.

The machines of tests/problems/maintenance, in worlds of several seeds: a model a week, tested on a week in which
nothing has changed. And tables of numbers that packages ship, as `make adopt` takes them, each split many times into
what is fitted to, what the interval is settled on and what is tested, each time by another hash. Fitted is the shipped
family.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from tests import baking, problems
from tests.bench import families
from tests.rehearsal.project import ANSWERS

SEEDS, WEEKS, SPLITS = 6, 4, 20
WHOLE = {  # deliveries: of all, the interval is settled on 300 rows or more
    name: replace(families.ADOPTED[name], asked={**families.ADOPTED[name].asked, "TIME": "none"})
    for name in ("cars", "wages", "bicycles", "houses")
}
BARS = {"coverage": (88, 92), "coverage_lowest_tenth": (85, 95), "coverage_highest_tenth": (85, 95)}


def rows() -> Iterator[dict[str, Any]]:
    """Three rows a world: the mean over its weeks or splits, which has to lie between the ends of BARS."""
    with tempfile.TemporaryDirectory(prefix="bench ") as name:
        folder = Path(name)
        baking.cookiecutter(baking.template(folder / "template"), folder, **ANSWERS).check_returncode()
        for table in ("maintenance", *WHOLE):
            bake = folder / table
            shutil.copytree(folder / "card-fraud", bake, symlinks=True)
            if table in WHOLE:
                families.adopt(WHOLE[table], bake)
                families.run(bake, "source", "ingest")
            else:
                problems.put(bake, table, "days")
            yield from covered(table, families.in_the_bake(table, bake, __file__))
            shutil.rmtree(bake)


def covered(table: str, found: list[dict[str, float]]) -> Iterator[dict[str, Any]]:
    """A row a metric, with the least and the most that a single week or split had."""
    for metric, (least, most) in BARS.items():
        shares = [100 * each[metric] for each in found]
        yield {
            "what": f"{metric.replace('_', ' ')} of 90% intervals, {table}: {min(shares):.1f} to {max(shares):.1f}%",
            **{"ours": mean(shares), "theirs": None, "unit": f"% of {len(shares)}", "ratio": None},
            **{"bar": f"{least} to {most}", "reached": least <= mean(shares) <= most},
        }


# --- in a process of its own, in the bake ---


def week(asked: tuple[int, int]) -> dict[str, float]:
    """The coverage of a week of a world: `asked` are the seed, and how many weeks after the first model."""
    import polars as pl
    from pipeline import contract, params, rows

    from tests.problems import maintenance

    maintenance.SEED = asked[0]
    maintenance.places.cache_clear()
    maintenance.lives.cache_clear()
    ours, knobs = contract.load(), params.load()
    until = problems.until("maintenance") + timedelta(weeks=asked[1])
    days = ours.days(knobs | {"data": {"until": str(until)}})
    source = [maintenance.rows(days.since + timedelta(days=at)) for at in range((until - days.since).days + 1)]
    return coverage(rows.made(pl.concat(source), ours, {}), days, ours, knobs)


def split(number: int) -> dict[str, float]:
    """The coverage of a split of a table."""
    import polars as pl
    from pipeline import contract, params, rows

    ours, knobs, fraction = contract.load(), params.load(), rows.fraction
    rows.fraction = lambda who: fraction(f"{number}, {who}")
    try:
        table = rows.placed(pl.read_parquet(rows.SOURCE), ours, knobs)
    finally:
        rows.fraction = fraction
    return coverage(rows.made(table, ours, {}), ours.days(knobs), ours, knobs)


def coverage(table: Any, days: Any, ours: Any, knobs: dict[str, Any]) -> dict[str, float]:
    """What the intervals of the shipped family hold of the test rows, fitted and settled as the stages do."""
    import polars as pl
    from pipeline import encode, evaluate, families, rows, tasks
    from pipeline.model import Problem

    day, task, problem = pl.col(ours.time).dt.date(), tasks.task(ours.task), Problem.of(ours)
    known = table.drop_nulls(rows.LABEL)
    train, fit, settle, test = (
        known.filter(day.is_between(*span)) for span in (days.train, days.fit, days.calibration, days.test)
    )
    encoding = encode.Encoding(
        tuple(encode.learned(column, train[column.name]) for column in ours.inputs), lambda _: {}
    )
    name, width = knobs["train"]["family"], task.width(problem)
    family, label = families.family(name), fit[rows.LABEL].to_numpy()
    learned = family.fit(encoding.matrix(fit), label, rows.weights(fit), task.LOSS, width, knobs["families"][name])
    raw = [family.raw(learned.state, encoding.matrix(part), task.LOSS, width) for part in (settle, test)]
    constants = task.settle(raw[0], settle[rows.LABEL].to_numpy(), rows.weights(settle), problem, knobs["evaluate"])
    judged = evaluate.as_test(test, ours, knobs["evaluate"])
    found = task.measure(judged, task.outputs(raw[1], constants, problem), np.ones((1, judged.units)), tuple(BARS))
    return {metric: float(values[0]) for metric, values in found.items()}


def main(table: str) -> None:
    with ProcessPoolExecutor() as pool:
        found = (
            pool.map(split, range(SPLITS)) if table in WHOLE else pool.map(week, product(range(SEEDS), range(WEEKS)))
        )
        print(json.dumps(list(found)))


if __name__ == "__main__":
    main(sys.argv[1])
