"""Batch scoring beside onnxruntime alone: rows a second from files to files, and of the same rows packed in memory.

Ours is `make score` as its process runs it, start and all: it reads parquet files, holds every row to the contract,
scores, and writes files of answers. Theirs is nothing but onnxruntime on the arrays that the graph takes, with a thread
for each processor, in batches; the best of several sizes. Both are measured in turn, and the best of each counts.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tests import baking
from tests.bench.families import in_the_bake, mixed, run
from tests.rehearsal.project import ANSWERS

MIXED = "mixed"
FILES, TURNS, BAR = 20, 3, 2.0
BATCHES = (1_000, 10_000, 100_000)  # rows of a call of onnxruntime
ROWS = {"network": 2_000_000, "trees": 500_000, MIXED: 400_000}
KNOBS = {"simulate": {"customers": 1000}, "families": {"network": {"epochs": 1}}}
"""A small bank, and a short training: the graph is as large as the shipped one."""


def rows() -> Iterator[dict[str, Any]]:
    """The example's network and its trees, and trees of a table of all kinds of columns, five of them text."""
    with tempfile.TemporaryDirectory(prefix="bench ") as name:
        folder = Path(name)
        baking.cookiecutter(baking.template(folder / "template"), folder, **ANSWERS).check_returncode()
        bake = folder / "card-fraud"
        baking.change_knobs(bake, **KNOBS)
        run(bake, "source", "ingest", "rows", "encode", "train network", "train trees")
        for family, what in {
            "network": "the example's network",
            "trees": "the example's trees",
            MIXED: "trees of 20 mixed columns",
        }.items():
            if family != MIXED:
                baking.change_knobs(bake, train={"family": family})
                run(bake, "export")
            yield row(what, **in_the_bake(family, bake, __file__))


def row(what: str, ours: float, theirs: float) -> dict[str, Any]:
    """Rows a second of both; the ratio is that of their seconds."""
    return {
        **{"what": f"make score, files to files: {what}; onnxruntime alone, in memory", "ours": ours, "theirs": theirs},
        **{"unit": "rows/s", "ratio": theirs / ours, "bar": f"<= {BAR:.0f} x", "reached": theirs / ours <= BAR},
    }


# --- in a process of its own, with the bake's code ---


def measured(family: str) -> dict[str, float]:
    """Rows a second of both, the best of TURNS."""
    from pipeline import model

    table, served = written(family)
    packed = model.packed(served.ordered, [table[name] for name in served.names])
    ours, theirs = np.inf, np.inf
    for _ in range(TURNS):
        ours = min(ours, scored(family))
        theirs = min(theirs, *(alone(served, packed, size) for size in BATCHES))
    return {"ours": len(table) / ours, "theirs": len(table) / theirs}


def written(family: str) -> Any:
    """The rows, which then lie in FILES files of a folder of that name; and the model, loaded for one large table."""
    import polars as pl
    from pipeline import model

    directory = Path(f"{family} model" if family == MIXED else "model")
    some = mixed(directory) if family == MIXED else pl.read_parquet("data/features.parquet")
    table = pl.concat([some] * (ROWS[family] // len(some) + 1)).head(ROWS[family])
    if family == MIXED:
        numbers = pl.int_range(pl.len())
        table = table.with_columns(id=numbers, at=pl.lit(datetime(2024, 1, 1)) + pl.duration(seconds=numbers))
    Path(family).mkdir()
    for at, part in enumerate(table.iter_slices(-(-len(table) // FILES))):
        part.write_parquet(f"{family}/{at:02}.parquet")
    return table, model.load(directory, threads=os.cpu_count() or 1)


def scored(family: str) -> float:
    """Seconds of `make score`'s process over the files."""
    directory = f"{family} model" if family == MIXED else "model"
    command = [sys.executable, "-m", "pipeline.score", "--source", family, "--out", "answers", "--model", directory]
    began = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    took = perf_counter() - began
    shutil.rmtree("answers")
    return took


def alone(served: Any, packed: Mapping[str, np.ndarray], size: int) -> float:
    """Seconds of onnxruntime over arrays that are cut beforehand."""
    rows = next(iter(packed.values())).shape[1]
    cuts = range(0, rows, size)
    batches = [{name: np.ascontiguousarray(part[:, at : at + size]) for name, part in packed.items()} for at in cuts]
    began = perf_counter()
    for batch in batches:
        served.scorer(batch)
    return perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1])))
