"""The stage `train@FAMILY`: fits a family, and has it score the rows that its graph will be held against.

All of it is one file, so that nothing else needs what the family is fitted with: the fitted state; what it says of the
calibration rows, by which its task settles what it decides by; of the test rows, which is what a baseline is measured
by; of crafted rows; and how it was fitted.
"""

import argparse
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from re import fullmatch
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, encode, families, params, rows, tasks
from pipeline.contract import Contract
from pipeline.encode import Encoding
from pipeline.families import Array
from pipeline.model import MISSING, Outputs, Problem
from pipeline.params import BadInput, run_stage
from pipeline.places import replacing

FITTED = Path("build/fitted")
TRAINING = "training"  # in the file's metadata: how it was fitted, as JSON
EPOCHS = 1000  # of which a report says something, at most
SAID = ("calibration", "test", "parity")  # rows that a family has scored
WORDS = ("device", "processor")
CRAFTED = 100  # split points of a column, and levels of a category, at most


@dataclass(frozen=True)
class Trained:
    """What the stage has made of a family."""

    state: bytes
    calibration: Array  # float64 [calibration rows, width]: what it says of these, in their order
    test: Array  # float64 [test rows, width]: of the test rows
    parity: Array  # float64 [crafted rows, width]: and of the crafted ones
    about: Mapping[str, Any]  # how it was fitted


def main(name: str) -> None:
    """Write build/fitted/NAME.safetensors."""
    knobs, ours = params.load(), contract.load()
    family, days = families.family(name), ours.days(knobs)
    if name not in knobs["families"]:
        raise BadInput(f"params.yaml: families names no {name}; add it there, or take another")
    encoding, task, problem = encode.load(), tasks.task(ours.task), Problem.of(ours)
    spans = tasks.fitted_to(task, days), days.calibration, days.test
    table, calibration, test = (rows.between(*span, ours) for span in spans)
    if said := task.lacks(rows.labels(table), problem):
        more = "move data.until or lengthen split.train" if ours.dated else "bring more rows, or lower split.share"
        raise BadInput(f"what is trained on holds {said}; {more}")
    matrix, width = encoding.matrix(table), task.width(problem)
    target, weight = table[rows.LABEL].to_numpy(), rows.weights(table)
    fitted = family.fit(matrix, target, weight, task.LOSS, width, knobs["families"][name] or {})

    def raw(scored: pl.DataFrame) -> Array:
        return family.raw(fitted.state, encoding.matrix(scored), task.LOSS, width)

    about = {"rows": len(table), "device": "cpu", "processor": processor(), **fitted.about}
    strange = crafted(encoding, test, family.edges(fitted.state))
    write(name, Trained(fitted.state, raw(calibration), raw(test), raw(strange), about))
    print(f"{place(name)}: fitted to {len(table):,} rows")


def place(name: str) -> Path:
    """Of a family's file."""
    return FITTED / f"{name}.safetensors"


def processor() -> str:
    """The family of processors: on another, the same rows are fitted to other last digits."""
    from threadpoolctl import threadpool_info

    kernels = [str(library["architecture"]) for library in threadpool_info() if library.get("architecture")]
    return " ".join([platform.machine(), *kernels[:1]])


def crafted(encoding: Encoding, test: pl.DataFrame, edges: Mapping[int, Array]) -> pl.DataFrame:
    """Rows where a graph may go wrong, made from the test rows: numbers as float64, texts as strings.

    The ends of every column's range, one at a time and all at once; from the first row on, one column at a time:
    split points and their float neighbours, the largest numbers, levels, an unseen and an empty text, and missing.
    """
    ends = {column.name: ends_of(column) for column in encoding.inputs}
    lowest, highest = ({name: ends[name][end] for name in ends} for end in (0, 1))
    made = [lowest, highest, dict.fromkeys(ends)]
    made += [low | {name: high[name]} for low, high in ((lowest, highest), (highest, lowest)) for name in ends]
    kinds = {column.name: pl.String() if column.text else pl.Float64() for column in encoding.inputs}
    ordinary = test.select(pl.col(name).cast(kind) for name, kind in kinds.items()).row(0, named=True)
    for at, column in enumerate(encoding.ordered):  # as the matrix, whose columns `edges` counts
        some = levels(column.levels) if column.text else numbers(edges.get(at, np.empty(0)))
        made += [ordinary | {column.name: value} for value in some]
    return pl.DataFrame(made, schema=kinds)


def ends_of(column: encode.Input) -> tuple[Any, Any]:
    """The ends of an input's range; of a category, an unseen level and the last one."""
    if column.text:
        return "\x01 no level", column.levels[-1] if column.levels else None
    return -1e6 if column.minimum is None else column.minimum, 1e6 if column.maximum is None else column.maximum


def levels(known: tuple[str, ...]) -> list[str | None]:
    """Levels of a category, and what is none."""
    return [*known[:CRAFTED], *known[CRAFTED:][-1:], "\x01 no level", "", MISSING, None]


def numbers(edges: Array) -> list[float | None]:
    """Split points with their neighbours, and what is far away or missing."""
    some = edges[:: max(-(-len(edges) // CRAFTED), 1)]
    near = np.concatenate([some, np.nextafter(some, -np.inf), np.nextafter(some, np.inf)])
    return [*near.tolist(), 0.0, -1e15, 1e15, None]


# --- its file ---


def write(name: str, trained: Trained) -> None:
    """Write a family's file: the same bytes for the same content."""
    from safetensors.numpy import save

    state = np.frombuffer(trained.state, dtype=np.uint8)
    about = json.dumps(trained.about, allow_nan=False)
    # One key of metadata: several come in a random order.
    content = save({"state": state, **{part: getattr(trained, part) for part in SAID}}, {TRAINING: about})
    with replacing(place(name)) as temporary:
        temporary.write_bytes(content)


def read(name: str) -> Trained:
    """What the stage has made of a family. Raises BadInput for a damaged file: it may come from elsewhere."""
    from safetensors import SafetensorError, safe_open

    path = place(name)
    try:
        with safe_open(path, "np") as file:
            found = {part: file.get_tensor(part) for part in ("state", *SAID)}
            about = json.loads((file.metadata() or {})[TRAINING])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise BadInput(f"{path} is nothing of the stage `train` ({said}); run `make model`") from None
    kinds = {part: (value.dtype, value.ndim) for part, value in found.items()}
    raw = (np.dtype(np.float64), 2)
    if kinds != {"state": (np.dtype(np.uint8), 1)} | dict.fromkeys(SAID, raw):
        raise BadInput(f"{path} holds other tensors than the stage `train` writes; run `make model`")
    if not is_training(about):
        raise BadInput(
            f"{path}: what its metadata says of the training is not as the stage `train` writes it: finite numbers, "
            f"and of epochs at most {EPOCHS} with their number and loss; run `make model`"
        )
    return Trained(found.pop("state").tobytes(), **found, about=about)


def is_training(about: Any) -> bool:
    """Whether it is what the stage says of itself: finite numbers, by epoch too, and words of a sane length."""
    if not isinstance(about, dict) or not isinstance(epochs := about.get("epochs", []), list):
        return False
    said = [value for name, value in about.items() if name not in ("epochs", *WORDS)]
    by_epoch = len(epochs) <= EPOCHS and all(
        isinstance(epoch, dict) and {"epoch", "loss"} <= epoch.keys() and all(map(is_number, epoch.values()))
        for epoch in epochs
    )
    named = all(isinstance(about.get(name), str) and fullmatch(r"[\w. -]{1,60}", about[name]) for name in WORDS)
    return (
        by_epoch
        and named
        and "rows" in about
        and all(map(is_number, said))
        and all(fullmatch(r"\w{1,60}", n) for n in about)
    )


def is_number(value: Any) -> bool:
    """Whether it is a number, which is what JSON's NaN and the infinities are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


# --- what a task makes of it ---


def settled(trained: Trained, ours: Contract, knobs: Mapping[str, Any]) -> tasks.Constants:
    """What a family decides by, settled on the calibration rows. Raises BadInput where it scored others."""
    table = rows.between(*ours.days(knobs).calibration, ours)
    matching(trained.calibration, len(table), "calibration rows", ours)
    target, weight = table[rows.LABEL].to_numpy(), rows.weights(table)
    return tasks.task(ours.task).settle(trained.calibration, target, weight, Problem.of(ours), knobs["evaluate"])


def said(trained: Trained, constants: tasks.Constants, number: int, ours: Contract) -> Outputs:
    """What it says of the test rows, so many. Raises BadInput where it scored others."""
    matching(trained.test, number, "test rows", ours)
    return tasks.task(ours.task).outputs(trained.test, constants, Problem.of(ours))


def matching(raw: Array, number: int, what: str, ours: Contract) -> None:
    """Raises BadInput where other rows were scored than there are, or by another number of scores."""
    if raw.shape != (number, tasks.task(ours.task).width(Problem.of(ours))):
        raise BadInput(f"{FITTED} is of other {what} than {rows.FEATURES} holds; run `make model`")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pipeline.train", description="Fit a family of models.")
    parser.add_argument("family", choices=families.NAMES)
    asked = parser.parse_args()
    run_stage(lambda: main(asked.family))
