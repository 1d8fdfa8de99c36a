"""Every family on three problems, beside LightGBM by hand; and what a row costs where columns are of every kind.

By hand is what a data scientist would do first: a pandas table of the same rows, whose text columns are categories, and
LGBMClassifier as it comes. The stages are the bake's own, the problems those of tests/problems.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import yaml

from tests import baking, problems

BAKE = baking.TEMPLATE
STAGES = ("source", "ingest", "rows", "encode")
DRAWS, SEED = 300, 0  # of the paired bootstrap
TREES, COLUMNS, BAR = 200, 20, 60  # microseconds
TURNS, REQUESTS = 200, 50  # short ones, so that some are undisturbed


def rows() -> Iterator[dict[str, Any]]:
    """A row a problem, family and metric: the shipped family has to be as good, or better, within the interval."""
    for name in problems.NAMES:
        with tempfile.TemporaryDirectory(prefix="bench ") as folder:
            yield from compared(name, fitted(name, Path(folder)))
    microseconds = in_the_bake("speed")
    what = f"a row of {COLUMNS} mixed columns, {TREES} trees, in process"
    yield {
        **{"what": what, "ours": microseconds, "theirs": None, "unit": "µs", "ratio": microseconds / BAR},
        **{"bar": f"<= {BAR} µs", "reached": microseconds <= BAR},
    }


def fitted(name: str, bake: Path) -> dict[str, Any]:
    """The test rows' labels, and each family's scores and those by hand."""
    for part in ("pipeline", "policies"):
        shutil.copytree(BAKE / part, bake / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("contract.yaml", "params.yaml", "dvc.yaml"):
        shutil.copy(BAKE / part, bake)
    problems.deliver(name, bake / "days", problems.FIRST, problems.until(name))
    problems.put(bake, name, "days")
    knobs = yaml.safe_load((bake / "params.yaml").read_text())
    for command in (*STAGES, *(f"train {family}" for family in knobs["families"])):
        subprocess.run(
            [sys.executable, "-m", *f"pipeline.{command}".split()],
            cwd=bake,
            env=os.environ | {"OMP_WAIT_POLICY": "passive", "TQDM_DISABLE": "1"},
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return in_the_bake("scores", bake) | {"shipped": knobs["train"]["family"]}


def compared(name: str, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row a metric and family, with the interval of the difference on the same rows."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    label, hand = np.array(found["label"]), np.array(found["hand"])
    draw = np.random.default_rng(SEED)
    samples = [draw.integers(0, len(label), len(label)) for _ in range(DRAWS)]
    metrics: dict[str, Callable[..., float]] = {"average_precision": average_precision_score, "roc_auc": roc_auc_score}
    for metric, measure in metrics.items():
        by_hand = [measure(label[picked], hand[picked]) for picked in samples]
        for family, scores in found["families"].items():
            ours, theirs = measure(label, scores), measure(label, hand)
            values = np.array(scores)
            gaps = [measure(label[picked], values[picked]) - b for picked, b in zip(samples, by_hand, strict=True)]
            low, high = np.quantile(gaps, [0.025, 0.975])
            shipped = family == found["shipped"]
            yield {
                "what": f"{metric}, {name}, {family}{', shipped' if shipped else ''}: [{low:+.4f}, {high:+.4f}]",
                **{"ours": ours, "theirs": theirs, "unit": "", "ratio": ours / theirs},
                "bar": "reaches 0" if shipped else None,
                "reached": bool(high >= 0 or not shipped),
            }


def in_the_bake(what: str, folder: Path = BAKE) -> Any:
    """What a function below returns, in a process of its own with the bake's code."""
    environment = os.environ | {
        "PYTHONPATH": f"{baking.ROOT}{os.pathsep}{folder}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, what]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


# --- in the process of its own ---


def scores() -> dict[str, Any]:
    """Labels of the test rows, their scores by hand, and by each family."""
    from pipeline import contract, params, rows, train

    ours, knobs = contract.load(), params.load()
    days = ours.days(knobs)
    test = rows.between(*days.test, ours)
    families = {name: train.probability(train.read(name).test).tolist() for name in knobs["families"]}
    hand = by_hand(rows.between(*days.train, ours), test, ours).tolist()
    return {"label": test[rows.LABEL].to_list(), "families": families, "hand": hand}


def by_hand(train: Any, test: Any, ours: Any) -> np.ndarray:
    """What LightGBM says of the test rows, with pandas' categories."""
    from lightgbm import LGBMClassifier
    from pipeline.rows import LABEL

    seen, judged = (part.select(column.name for column in ours.inputs).to_pandas() for part in (train, test))
    for column in ours.inputs:
        if column.type == "category":
            seen[column.name] = seen[column.name].astype("category")
            judged[column.name] = judged[column.name].astype(seen[column.name].dtype)
    model = LGBMClassifier(random_state=0, verbose=-1).fit(seen, train[LABEL].to_numpy())
    return np.asarray(model.predict_proba(judged))[:, 1]


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
    problem = model.Problem("mixed", "binary", "id", "integer", "at", "label", 1, 0, 0)
    files = {"model.onnx": export.joined(encoding, trees, state)}
    model.write(folder, problem=problem, family="trees", processor="any", inputs=encoding.inputs, files=files)
    return table


if __name__ == "__main__":
    print(json.dumps({"scores": scores, "speed": speed}[sys.argv[1]]()))
