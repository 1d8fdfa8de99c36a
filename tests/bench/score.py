"""Batch scoring beside onnxruntime alone: rows a second from files to files, and of the same rows packed in memory.

Ours is `make score` as its process runs it, start and all: it reads parquet files, holds every row to the contract,
scores, and writes files of answers. Theirs is nothing but onnxruntime on the arrays that the graph takes, on all
processors, in the way that is fastest: with its own threads, or called from several, in batches of some size. Both are
measured by turns, and the medians count.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from tests import baking
from tests.bench.families import in_the_bake, mixed, run
from tests.rehearsal.project import ANSWERS

MIXED = "mixed"
FILES, TURNS, BAR = 20, 3, 2.0
BATCHES = (1_000, 10_000, 100_000)  # rows of a call of onnxruntime
ROWS = {"network": 2_000_000, "trees": 1_000_000, MIXED: 400_000}
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
    """Rows a second of both, the median of TURNS."""
    from pipeline import model

    table, directory = written(family)
    served = {threads: model.load(directory, threads=threads) for threads in {1, os.cpu_count() or 1}}
    packed = model.packed(served[1].ordered, [table[name] for name in served[1].names])
    ways = [partial(alone, each, packed, size, max(served) // own) for own, each in served.items() for size in BATCHES]
    fastest = min(ways, key=lambda way: way())
    turns = [(scored(family), fastest()) for _ in range(TURNS)]
    ours, theirs = (len(table) / median(seconds) for seconds in zip(*turns, strict=True))
    return {"ours": ours, "theirs": theirs}


def written(family: str) -> tuple[Any, Path]:
    """The rows, which then lie in FILES files of a folder of that name; and the model's directory."""
    import polars as pl

    directory = Path(f"{family} model" if family == MIXED else "model")
    some = mixed(directory) if family == MIXED else pl.read_parquet("data/features.parquet")
    table = pl.concat([some] * (ROWS[family] // len(some) + 1)).head(ROWS[family])
    if family == MIXED:
        numbers = pl.int_range(pl.len())
        table = table.with_columns(id=numbers, at=pl.lit(datetime(2024, 1, 1)) + pl.duration(seconds=numbers))
    Path(family).mkdir()
    for at, part in enumerate(table.iter_slices(-(-len(table) // FILES))):
        part.write_parquet(f"{family}/{at:02}.parquet")
    return table, directory


def scored(family: str) -> float:
    """Seconds of `make score`'s process over the files."""
    directory = f"{family} model" if family == MIXED else "model"
    command = [sys.executable, "-m", "pipeline.score", "--source", family, "--out", "answers", "--model", directory]
    began = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    took = perf_counter() - began
    shutil.rmtree("answers")
    return took


def alone(served: Any, packed: Mapping[str, np.ndarray], size: int, at_once: int) -> float:
    """Seconds of onnxruntime over arrays that are cut beforehand, so many calls at once."""
    rows = next(iter(packed.values())).shape[1]
    cuts = range(0, rows, size)
    batches = [{name: np.ascontiguousarray(part[:, at : at + size]) for name, part in packed.items()} for at in cuts]
    with ThreadPoolExecutor(at_once) as pool:
        began = perf_counter()
        for _ in pool.map(served.scorer, batches):
            pass
        return perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1])))
