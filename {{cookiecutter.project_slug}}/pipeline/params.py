"""The knobs of params.yaml, and the days that they imply."""

import errno
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml


class BadInput(SystemExit):
    """Ends a stage with one sentence that says what is wrong, where, and what to do.

    A SystemExit, so that every `python -m pipeline.STAGE` prints the sentence and no traceback.
    """


def run_stage(main: Callable[[], None]) -> None:
    """Runs a stage's `main`; where the machine does not let it write, a sentence ends it."""
    try:
        main()
    except Exception as error:
        if said := unwritable(error):
            raise BadInput(said) from None
        raise


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


def load(path: Path | str = "params.yaml") -> dict[str, Any]:
    """The parameters as a dictionary. Raises BadInput where the file cannot be read."""
    try:
        params = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(f"{path}: {error}") from None
    blocks = params if isinstance(params, dict) else {}
    if lost := [name for name in ("data", "features", "split") if not isinstance(blocks.get(name), dict)]:
        raise BadInput(f"{path}: there is no block `{lost[0]}:` with knobs in it; restore it from git")
    return blocks


def days(params: dict[str, Any]) -> Days:
    """The protocol's days: train, then the label delay, then test, the last on `data.until`."""
    until = day(params["data"]["until"], "data.until")
    delay = timedelta(days=params["features"]["delay"])
    test_first = until - timedelta(days=params["split"]["test"] - 1)
    train_last = test_first - delay - timedelta(days=1)
    train_first = train_last - timedelta(days=params["split"]["train"] - 1)
    since = train_first - timedelta(days=max(params["features"]["windows"], default=0)) - delay
    return Days(since, (train_first, train_last), (test_first, until))


def day(value: Any, knob: str) -> date:
    """A day written as YYYY-MM-DD. Raises BadInput with the knob's name."""
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise BadInput(f'params.yaml: {knob} is {value!r}; write a day such as "2018-08-14"') from None
