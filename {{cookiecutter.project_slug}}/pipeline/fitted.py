"""The fitted model of another run, taken instead of training where all that is measured of it agrees with that run.

    python -m pipeline.fitted hand-over FOLDER    there: the model, its metrics and its scores, without identifiers
    python -m pipeline.fitted take FOLDER         here: puts the model in place
    python -m pipeline.fitted check FOLDER        here: once it was measured, whether that agrees
    python -m pipeline.fitted none                here: says that nothing was handed over

`make model FITTED=FOLDER` does all of it, and trains where something is wrong. What became of it is in
reports/fitted.json. Nothing in the folder can stop a run: what cannot be read disagrees.
"""

import argparse
import json
import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import contract, tasks
from pipeline.candidate import clear, plain_files
from pipeline.contract import Contract
from pipeline.evaluate import ID, METRICS, PREDICTIONS
from pipeline.families import NAMES as FAMILIES
from pipeline.model import Problem
from pipeline.params import PARAMS, BadInput, blocks, run_stage
from pipeline.places import first_line, replacing

BUILT = Path("build/fitted")
FITTED = Path("reports/fitted.json")
MODEL, SCORES = "fitted.safetensors", "scores.parquet"
NAMES = {MODEL, METRICS.name, SCORES}
LARGEST = 100_000_000  # bytes of each
TOLERANCE = 1e-5  # between scores; what rounds elsewhere otherwise moves them by less


def hand_over(folder: Path) -> None:
    """Write the three files into the folder, in the place of earlier ones. Raises BadInput where one is not made."""
    clear(folder, lambda path: str(path) in NAMES)
    folder.mkdir(parents=True)
    try:
        shutil.copyfile(place(), folder / MODEL)
        shutil.copyfile(METRICS, folder / METRICS.name)
        pl.DataFrame(said()).write_parquet(folder / SCORES)
    except FileNotFoundError as error:
        raise BadInput(f"{error.filename} is not there to be handed over; make it with `make model`") from None
    print(f"{folder}: {', '.join(sorted(NAMES))}")


def place() -> Path:
    """Where the family that is shipped is kept once it is fitted. Raises BadInput where params.yaml names none."""
    name = blocks(PARAMS, "train")["train"].get("family")
    if name not in FAMILIES:
        raise BadInput(f"{PARAMS}: train.family is {name!r}; it may be one of {', '.join(FAMILIES)}")
    return BUILT / f"{name}.safetensors"


def said() -> pl.Series:
    """What the model says of the judged rows, in the order of their identifiers."""
    return pl.read_parquet(PREDICTIONS).sort(ID)["model"]


def take(folder: Path) -> None:
    """Put the fitted model in place. Raises BadInput where the folder is not what was handed over."""
    found = {str(path) for path in plain_files(folder, "pipeline.fitted")}
    if strange := found ^ NAMES:
        wrong = "is no part of it" if min(strange) in found else "is missing"
        raise BadInput(f"{folder} is nothing that was handed over: {min(strange)} {wrong}")
    for name in sorted(NAMES):
        if (size := (folder / name).stat().st_size) > LARGEST:
            raise BadInput(f"{folder / name} has {size:,} bytes; at most {LARGEST:,} are taken")
    content, expected = (folder / MODEL).read_bytes(), os.environ.get("FITTED_SHA256")
    if expected and sha256(content).hexdigest() != expected.lower():
        raise BadInput(f"{folder / MODEL} has another sha256 than FITTED_SHA256 says")
    with replacing(place()) as temporary:
        temporary.write_bytes(content)
    print(f"{place()}: taken from {folder}")


def check(folder: Path) -> None:
    """Raises BadInput where what was reported of the model disagrees with what was measured here, or is unreadable.

    Of latency nothing is said: it is the machine's.
    """
    ours, here = json.loads(METRICS.read_text())["metrics"], said()
    try:
        wrong = disagreement(ours, json.loads((folder / METRICS.name).read_text())["metrics"])
        wrong = wrong or differing(here, folder / SCORES, contract.load())
    except (Exception, pl.exceptions.PanicException) as error:  # a hostile file fails in its own way
        wrong = f"what was reported cannot be read ({type(error).__name__}: {first_line(error)[:200]})"
    if wrong:
        raise BadInput(f"{folder} disagrees with what was measured here: {wrong}")


def disagreement(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """The first metric whose reported value lies outside of ours' interval, the bootstrap's error; '' for none.

    The interval reaches to the value itself: a metric's resamples may all lie above it, as those of an error do.
    """
    if lost := sorted(ours.keys() - theirs.keys()):
        return f"{lost[0]} was not reported"
    if more := theirs.keys() - ours.keys():
        return f"{len(more)} metrics were reported that are not measured here"
    for name, metric in ours.items():
        if metric is None:
            continue
        low, high = min(metric["low"], metric["value"]), max(metric["high"], metric["value"])
        value, room = float(theirs[name]["value"]), TOLERANCE * max(1, abs(metric["value"]))
        if not low - room <= value <= high + room:  # NaN too
            return f"{name} was reported as {value:.4g}, and is {metric['value']:.4g} ({low:.4g} to {high:.4g})"
    return ""


def differing(here: pl.Series, path: Path, ours: Contract) -> str:
    """By how much what a file says of the rows differs from what is said here; '' where they agree."""
    columns, rows = dict(pl.read_parquet_schema(path)), pl.scan_parquet(path).select(pl.len()).collect().item()
    if columns != {here.name: here.dtype}:
        return f"{SCORES} holds more or other than one column `{here.name}` of what a model of this task says"
    if rows != len(here):
        return f"{rows:,} rows were scored, and {len(here):,} are here"
    task, theirs = tasks.task(ours.task), pl.read_parquet(path)[here.name]
    if not tasks.sound(theirs, task, Problem.of(ours)):
        return f"{SCORES} says what no model of this task may say"
    gap = task.gap(tasks.taken(theirs), tasks.taken(here))
    if not gap.max() <= TOLERANCE:  # NaN too
        return f"what is said of a row differs by {gap.max():.2g}, and at most {TOLERANCE:g} is allowed"
    return ""


def note(taken: bool, why: str) -> None:
    """Write down what became of the model, for the release to say."""
    FITTED.parent.mkdir(exist_ok=True)
    FITTED.write_text(json.dumps({"taken": taken, "why": why}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline.fitted", description="The fitted model of another run.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("hand-over", "take", "check"):
        commands.add_parser(name).add_argument("folder", type=Path)
    commands.add_parser("none")
    asked = parser.parse_args()
    if asked.command == "hand-over":
        return hand_over(asked.folder)
    if asked.command == "none":
        return note(False, "nothing was handed over")
    try:
        if asked.command == "take":
            take(asked.folder)
            note(False, "what follows from the model that was handed over could not be made")  # until it is checked
        else:
            check(asked.folder)
            note(True, "its metrics and scores agree with those that were reported")
    except BadInput as error:
        note(False, str(error))
        raise


if __name__ == "__main__":
    run_stage(main)
