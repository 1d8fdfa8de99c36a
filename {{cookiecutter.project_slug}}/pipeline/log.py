"""The prediction log: what the service answered, as daily parquet parts that the monitor reads.

    PREDICTION_LOG/2018-08-14/20180814T093000-<32 hex digits>.parquet

PREDICTION_LOG is a URL that fsspec knows, such as s3://bucket/predictions, or a folder: a relative one lies beside
pipeline/, in the repository or in the Bento, and `predictions` there is the default. `make serve` gives the
repository's to the Bento. A part lies in the folder of its rows' day, and its name says when it was written (UTC); no
two have one name, however many services write. `python -m pipeline.log prune` deletes what is older than
policies/log.yaml allows.
"""

import argparse
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
from fsspec.implementations.local import LocalFileSystem

from pipeline import tasks
from pipeline.model import Problem
from pipeline.params import BadInput, run_stage
from pipeline.personal import Policy, Rules, policy
from pipeline.places import day_of, opened
from pipeline.reading import count

ID, TIME, MODEL, SCORED = "_id", "_time", "_model", "_scored_at"
ALWAYS: dict[str, pl.DataType] = {
    TIME: pl.Datetime("us"),
    MODEL: pl.String(),
    SCORED: pl.Datetime("us", "UTC"),
}
"""What each part has, whatever the policy leaves out, and whatever the problem is."""
TYPES: dict[str, pl.DataType] = {
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "category": pl.String(),
    "time": pl.Float64(),
    "text": pl.String(),
}
"""What inputs and identifiers are written as. A time is the days that it lies before the row's own, as in training."""
KINDS: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "label": pl.String(),
    "shares": pl.List(pl.Float64()),
}
"""What the parts of an answer are written as; shares are in the order of the manifest's classes."""

HEARTBEAT = "heartbeat.json"  # beside the days, from the drift check

ROOT = Path(__file__).absolute().parent.parent


# --- where it lies ---


@dataclass(frozen=True)
class Folder:
    """The log's folder, on disk or in a bucket."""

    system: fsspec.AbstractFileSystem
    root: str

    @classmethod
    def at(cls, address: str | None = None) -> "Folder":
        """The folder that `address` names, or PREDICTION_LOG. Raises BadInput where no file system knows it."""
        address = address or os.environ.get("PREDICTION_LOG") or "predictions"
        path = address if "://" in address else str(ROOT / Path(address).expanduser())
        system, root = opened(path, "PREDICTION_LOG")
        return cls(system, root.rstrip("/"))

    def put(self, name: str, content: bytes) -> None:
        """Write a part: nobody sees half of it. Raises whatever the file system does."""
        path = f"{self.root}/{name}"
        if isinstance(self.system, LocalFileSystem):
            whole = Path(path)
            whole.parent.mkdir(parents=True, exist_ok=True)
            half = whole.with_suffix(".partial")
            try:
                half.write_bytes(content)
                half.replace(whole)
            finally:
                half.unlink(missing_ok=True)  # where the disk is full, it would keep it so
        else:
            self.system.pipe_file(path, content)  # a bucket shows an object once it is whole

    def days(self) -> list[date]:
        """The days that have a folder, in order; none where there is no log yet. Raises BadInput."""
        return sorted(
            day
            for entry in self.entries(self.root)
            if entry["type"] == "directory" and not entry.get("islink") and (day := day_of(entry["name"]))
        )

    def files(self, day: date, suffix: str = "") -> list[str]:
        """Paths of a day's files, in the order in which they were written. Raises BadInput."""
        entries = self.entries(f"{self.root}/{day}")
        return sorted(entry["name"] for entry in entries if entry["type"] == "file" and entry["name"].endswith(suffix))

    def entries(self, path: str) -> list[dict[str, Any]]:
        """What lies in a folder; nothing where it is not there. Raises BadInput where it cannot be looked at."""
        try:
            self.system.invalidate_cache()
            return list(self.system.ls(path, detail=True))
        except FileNotFoundError:
            return []
        except Exception as error:  # each of fsspec's file systems has errors of its own
            raise BadInput(
                f"{path}: the prediction log cannot be listed ({line(error)}); check PREDICTION_LOG and its credentials"
            ) from None

    def read(self, path: str) -> pl.DataFrame:
        """A part's rows. Raises BadInput naming it where it is damaged, or no part of a log."""
        try:
            table = pl.read_parquet(self.system.cat_file(path))
        except (Exception, pl.exceptions.PanicException) as error:
            raise BadInput(f"{path}: is no part that can be read ({line(error)}); restore it or move it away") from None
        if odd := [name for name, dtype in ALWAYS.items() if table.schema.get(name) != dtype]:
            raise BadInput(f"{path}: is no part of a prediction log: see {', '.join(odd)}; move it away")
        return table


def line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


# --- reading ---


def days(address: str | None = None) -> list[date]:
    """The days that the log has rows of, in order; none where there is no log yet. Raises BadInput."""
    return Folder.at(address).days()


def read(address: str | None, first: date, last: date, model: str | None = None) -> pl.DataFrame:
    """The rows of `first` to `last`, inclusive: ID, TIME, the model's inputs, its answers, MODEL, REQUEST and SCORED.

    A column that only some parts have is null in the others; what was hashed has a column of its own (`hashed`). With a
    `model`, its digest, rows that others answered have what parts ALWAYS have, and no more: they may be of another
    problem, with columns of the same names and of other types. Raises BadInput naming the part that cannot be read.
    """
    folder = Folder.at(address)
    paths = [path for day in folder.days() if first <= day <= last for path in folder.files(day, ".parquet")]
    with ThreadPoolExecutor(max_workers=16) as pool:  # a bucket answers slowly
        tables = list(pool.map(folder.read, paths))
    if model is not None:
        theirs = pl.col(MODEL).ne_missing(model)
        tables = [part for table in tables for part in (table.filter(~theirs), table.filter(theirs).select(*ALWAYS))]
        tables = [table for table in tables if len(table)]
    return pl.concat(tables or [pl.DataFrame(schema=ALWAYS)], how="diagonal_relaxed")


# --- its columns ---


def kept(name: str) -> str:
    """The column of a part of an answer."""
    return f"_{name}"


def answers(problem: Problem) -> dict[str, pl.DataType]:
    """The columns of the parts of an answer, and their types."""
    parts = tasks.task(problem.task).answers(problem)
    return {kept(name): KINDS[part.kind] for name, part in parts.items()}


def personal(rules: Policy, identifier: str) -> Rules:
    """The rules by the log's columns: the identifier, whatever the contract calls it, is ID here."""
    return {ID if name == identifier else name: how for name, how in rules.personal.items()}


def hashed(name: str) -> str:
    """The column that holds the hashes of another: a text that was hashed is not taken for one that was not."""
    return f"{name}_hash" if name.startswith("_") else f"_hash_{name}"


# --- the drift check's heartbeat ---


def beat(folder: Folder, told: bool, newest: datetime | None, model: str) -> None:
    """Leave word of a check: when one could last tell, the newest row that it saw, and the model. Raises BadInput."""
    try:
        moments = {"checked": datetime.now(UTC)} if told else heartbeat(folder)
        said = {"checked": moments.get("checked"), "newest": newest, "model": model}
        folder.put(HEARTBEAT, json.dumps(said, default=datetime.isoformat).encode())
    except Exception as error:  # each of fsspec's file systems has errors of its own
        raise BadInput(f"{folder.root}: no heartbeat can be left there ({line(error)})") from None


def heartbeat(folder: Folder) -> dict[str, datetime]:
    """`checked` and `newest`, as far as `beat` knew them; nothing where it left none. Raises BadInput."""
    path = f"{folder.root}/{HEARTBEAT}"
    try:
        said = json.loads(folder.system.cat_file(path, end=1_000))
        moments = {name: datetime.fromisoformat(said[name]) for name in ("checked", "newest") if said[name]}
        if naive := [name for name, moment in moments.items() if moment.tzinfo is None]:
            raise ValueError(f"{naive[0]} has no time zone")
        return moments
    except FileNotFoundError:
        return {}
    except Exception as error:  # a hostile file fails in its own way
        raise BadInput(f"{path}: is no heartbeat ({line(error)}); remove it, the next drift check leaves one") from None


# --- retention ---


def prune(folder: Folder, before: date) -> list[str]:
    """Delete the files that were written before a day, and the days that they leave empty; returns the files.

    A row's age counts from when it was scored: rows of old events, scored today, are as new as any. A file that does
    not say when it was written is as old as its day. Nothing outside of the days' folders is touched.
    """
    old = [path for day in folder.days() for path in folder.files(day) if written(path, day) < before]
    if old:
        folder.system.rm(old)
    if isinstance(folder.system, LocalFileSystem):  # a bucket has no empty folders
        for path in {Path(part).parent for part in old}:
            if not any(path.iterdir()):
                path.rmdir()
    return old


def written(path: str, day: date) -> date:
    """The day on which a file was written, by its name; else the day of its rows."""
    stamp = re.fullmatch(r"(\d{8})T\d{6}-[0-9a-f]{32}\.(parquet|partial)", path.rsplit("/", 1)[-1])
    return datetime.strptime(stamp[1], "%Y%m%d").date() if stamp else day


def main(arguments: Sequence[str] | None = None) -> None:
    """Delete what is older than retention_days, by the clock."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.log", description="Keep the prediction log in bounds.")
    parser.add_argument("command", choices=["prune"], help="delete what is older than policies/log.yaml allows")
    parser.parse_args(arguments)
    folder, keep = Folder.at(), policy().retention_days
    deleted = prune(folder, datetime.now(UTC).date() - timedelta(days=keep))
    print(f"{folder.root}: {count(len(deleted), 'file')} deleted, written more than {count(keep, 'day')} ago")


if __name__ == "__main__":
    run_stage(main)
