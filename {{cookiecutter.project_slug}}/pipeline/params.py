"""The knobs of params.yaml and policies/evaluation.yaml, and the days that they imply."""

import argparse
import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from pipeline.reading import SCHEMAS, Once, held, in_a_line, infinite, nearest, printable


class BadInput(SystemExit):
    """Ends a stage with one sentence that says what is wrong, where, and what to do.

    A SystemExit, so that every `python -m pipeline.STAGE` prints the sentence and no traceback. What it quotes may hold
    what moves a screen's cursor: that is shown, and not done.
    """

    def __init__(self, said: object) -> None:
        super().__init__(printable(str(said)))


def run_stage(main: Callable[[], None]) -> None:
    """Runs a stage's `main`; where it is stopped, or the machine does not let it write, a sentence ends it."""
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None
    except Exception as error:
        if said := unwritable(error):
            raise BadInput(said) from None
        raise


def variable(name: str, usual: float, whole: bool = False) -> float:
    """What a variable of the environment says, a number above 0, or the usual one. Raises BadInput for other words."""
    said = os.environ.get(name) or str(usual)
    if not re.fullmatch(r"\d{1,6}" if whole else r"\d{1,6}(\.\d+)?", said) or not float(said):
        raise BadInput(f"{name} is {said!r}; write a {'whole ' * whole}number above 0, such as {usual}")
    return int(said) if whole else float(said)


def deletable(module: str, gone: str) -> Any:
    """A module that its users may delete. Raises BadInput, which says `gone`, where they have."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise BadInput(gone) from None


def unwritable(error: BaseException, path: Path | str | None = None) -> str | None:
    """What to say where the machine does not let us write, and which path; None where that is not what failed."""
    number = getattr(error, "errno", None)
    if number is None and (found := re.search(r"\(os error (\d+)\)", str(error))):  # of Rust: polars, safetensors
        number = int(found[1])
    if number not in UNWRITABLE:
        return None
    where = path or getattr(error, "filename", None) or f"{Path.cwd()}, or {tempfile.gettempdir()}"
    return f"{where}: {os.strerror(number)}; {UNWRITABLE[number]}, then run this again"


UNWRITABLE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or have the quota raised",
    errno.EFBIG: "raise the limit, see `ulimit -f`",
    errno.EACCES: "give this user the right to it",
    errno.EPERM: "give this user the right to it",
    errno.EROFS: "work where this user can write",
}


@dataclass(frozen=True)
class Days:
    """First and last days, inclusive, all derived from `data.until`."""

    since: date  # the first day read: the longest window of the first training row is full
    train: tuple[date, date]
    test: tuple[date, date]  # ends on `data.until`; the label delay lies between train and test
    calibrated: int = 1  # the last of the training days, so many: what a model decides by is settled on them

    @property
    def fit(self) -> tuple[date, date]:
        """The training days that a family is fitted to."""
        return self.train[0], self.train[1] - timedelta(days=self.calibrated)

    @property
    def calibration(self) -> tuple[date, date]:
        """Those that it is not."""
        return self.train[1] - timedelta(days=self.calibrated - 1), self.train[1]


EVALUATION = Path("policies/evaluation.yaml")
"""Beside params.yaml. The owners of the bars own it, as what measures a model is no experiment's knob."""
MEASURES = ("split", "evaluate")
"""Its blocks."""


PARAMS = Path("params.yaml")
SCHEMA = SCHEMAS / "params.schema.json"


def load(path: Path | str = PARAMS) -> dict[str, Any]:
    """The blocks of params.yaml and those of policies/evaluation.yaml beside it, not held against their schemas.

    Raises BadInput where one of the files cannot be read, or a block is not where it has to stand.
    """
    evaluation = Path(path).parent / EVALUATION
    knobs, measures = blocks(Path(path), "data", "families", "train"), blocks(evaluation, *MEASURES)
    for file, strays, other in (
        (path, [name for name in knobs if name in MEASURES], evaluation),
        (evaluation, [name for name in measures if name not in MEASURES], path),
    ):
        if strays:
            raise BadInput(f"{file}: `{strays[0]}:` has to stand in {other} alone; move it there")
    return knobs | measures


def check(path: Path | str = PARAMS, schema: Path = SCHEMA) -> None:
    """Hold params.yaml against its schema. Raises BadInput with all that is wrong with it, a line each.

    No stage does: `python -m pipeline.dvc` does it before one runs, and `make lint`.
    """
    try:
        said, found = held(Path(path).read_text(encoding="utf-8"), schema, "is a knob that nobody reads")
    except FileNotFoundError:
        raise BadInput(f"{path}: is not there, and has to hold the knobs; restore it from git") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise BadInput(f"{path}: cannot be read ({in_a_line(error)}); mend it, or restore it from git") from None
    if found := [elsewhere(problem) for problem in found] or list(contradictions(said)):
        raise BadInput("\n".join(f"{path}: {problem}" for problem in found))


def elsewhere(problem: str) -> str:
    """What the schema finds, with the place where an older knob stands now."""
    return next((words for old, words in MOVED.items() if re.match(rf"{re.escape(old)}\b", problem)), problem)


MOVED = {
    "features.delay": "features.delay stands in contract.yaml now, as label.delay; move it there",
    "baselines": "`baselines:` are families now: each has a line in `families:`, and train.family is shipped",
    **{
        f"train.{knob}": f"train.{knob} is a knob of the network; move it to families.network"
        for knob in ("seed", "pieces", "hidden", "epochs", "batch", "learning_rate", "weight_decay")
    },
    **{f"{block} is": f"`{block}:` has to stand in {EVALUATION} alone; move it there" for block in MEASURES},
}


def contradictions(said: Mapping[str, Any]) -> Iterator[str]:
    """What no schema can say."""
    yield from infinite(said)
    try:
        date.fromisoformat(said["data"]["until"])
    except ValueError:
        yield f'data.until is {said["data"]["until"]!r}, which is no day; write one such as "2018-08-14"'
    family, families = said["train"]["family"], said["families"]
    if family not in families:
        yield f"train.family is {family!r}, which is not among families; {nearest(family, families)}"
    if "delay" in said.get("features", {}):
        yield MOVED["features.delay"]


def blocks(path: Path, *needed: str) -> dict[str, Any]:
    """The blocks of a file of knobs. Raises BadInput where it cannot be read, or lacks one that is needed."""
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Once)
    except FileNotFoundError:
        listed = " and ".join(f"`{name}:`" for name in needed)
        raise BadInput(f"{path}: is not there, and {listed} have to stand in it; restore it from git") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: no UTF-8
        raise BadInput(f"{path}: cannot be read ({in_a_line(error)}); mend it, or restore it from git") from None
    known = found if isinstance(found, dict) else {}
    if lost := [name for name in needed if not isinstance(known.get(name), dict)]:
        raise BadInput(f"{path}: there is no block `{lost[0]}:` with knobs in it; restore it from git")
    return known


def days(params: Mapping[str, Any], delay: int) -> Days:
    """The protocol's days: train, then the label's delay (days), then test, the last on `data.until`."""
    until = day(params["data"]["until"], "data.until")
    test, train, calibrate = (count(params, part) for part in ("test", "train", "calibrate"))
    if calibrate >= train:
        raise BadInput(
            f"{EVALUATION}: split.calibrate is {calibrate} of {train} training days, and nothing is left to fit to; "
            "lower it, or raise split.train"
        )
    try:
        test_first = until - timedelta(days=test - 1)
        train_last = test_first - timedelta(days=delay + 1)
        train_first = train_last - timedelta(days=train - 1)
        since = train_first - timedelta(days=lookback(params, delay))
    except OverflowError:
        raise BadInput(
            f"params.yaml: of data.until, {until}, the days before it begin before the year 1; mend it, or split in "
            f"{EVALUATION}, label.delay in contract.yaml or features.windows"
        ) from None
    return Days(since, (train_first, train_last), (test_first, until), calibrate)


def delivery(params: Mapping[str, Any], delay: int) -> Days:
    """The days of a table without a time, whose delivery of `data.until` is all that is read.

    Its test rows get the delivery's own day, the others the two days before the label's delay: the first those that are
    fitted to, the second those that calibrate (`rows.placed`).
    Raises BadInput where the knobs ask for days that such a table does not have.
    """
    until = day(params["data"]["until"], "data.until")
    share(params), calibrated(params)
    if windows(params.get("features") or {}):
        raise BadInput(
            "params.yaml: features.windows are days, and contract.yaml says `time: null`; take them out, or name the "
            "column that says when a row happened"
        )
    try:
        before = until - timedelta(days=delay + 1)
        first = before - timedelta(days=1)
    except OverflowError:
        raise BadInput(f"params.yaml: data.until is {until}, and no day lies before it; mend it") from None
    return Days(until, (first, before), (until, until), 1)


def share(params: Mapping[str, Any]) -> float:
    """The share of a delivery's rows that are tested. Raises BadInput."""
    return part_of(params, "share", "test")


def calibrated(params: Mapping[str, Any]) -> float:
    """The share of a delivery's rows that calibrate. Raises BadInput where that, and the test, leave none."""
    value, tested = part_of(params, "calibrate", "settle on what a model decides by"), share(params)
    if value + tested >= 1:
        raise BadInput(
            f"{EVALUATION}: split.share and split.calibrate are {tested:g} and {value:g} of the rows, and nothing is "
            "left to fit to; lower one of them"
        )
    return value


def part_of(params: Mapping[str, Any], part: str, what: str) -> float:
    """A share of a delivery's rows. Raises BadInput."""
    value = params["split"].get(part)
    if type(value) is not float or not 0 < value < 1:
        raise BadInput(
            f"{EVALUATION}: split.{part} is {value!r}; contract.yaml says `time: null`: write the share of rows to "
            f"{what}, such as split: {{share: 0.2, calibrate: 0.1}}"
        )
    return value


def day(value: Any, knob: str) -> date:
    """A day written as YYYY-MM-DD. Raises BadInput with the knob's name."""
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise BadInput(f'params.yaml: {knob} is {value!r}; write a day such as "2018-08-14"') from None


def windows(features: Mapping[str, Any]) -> list[int]:
    """The days that the features look back. Raises BadInput."""
    value = features.get("windows", [])
    if not isinstance(value, list) or not all(type(each) is int and each > 0 for each in value):
        raise BadInput(f"params.yaml: features.windows is {value!r}; write a list of whole days such as [1, 7], or []")
    return value


def lookback(params: Mapping[str, Any], delay: int) -> int:
    """The days before a row that its features need: a window of labels ends the label's delay earlier."""
    history = max(windows(params.get("features") or {}), default=0)
    return history + delay * (history > 0)


def count(params: Mapping[str, Any], part: str) -> int:
    """How many days a part of the split has. Raises BadInput with its name."""
    value = params["split"].get(part)
    if type(value) is not int or value < 1:
        without = "; a share is for a table without a time" if "share" in params["split"] else ""
        raise BadInput(f"{EVALUATION}: split.{part} is {value!r}; write whole days, 1 or more{without}")
    return value


def main() -> None:
    """Print the family that is shipped, for the Makefile."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.params", description="What the knobs say.")
    parser.add_argument("what", choices=["family"])
    parser.parse_args()
    print(load()["train"]["family"])


if __name__ == "__main__":
    run_stage(main)
