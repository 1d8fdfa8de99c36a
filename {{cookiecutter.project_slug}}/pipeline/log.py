"""The prediction log: what the service answered, as daily parquet parts that the monitor reads.

    PREDICTION_LOG/2018-08-14/20180814T093000-<32 hex digits>.parquet

PREDICTION_LOG is a URL that fsspec knows, such as s3://bucket/predictions, or a folder: a relative one lies beside
pipeline/, in the repository or in the Bento, and `predictions` there is the default. `make serve` gives the
repository's to the Bento. A part lies in the folder of its rows' day, and its name says when it was written (UTC); no
two have one name, however many services write. `python -m pipeline.log prune` deletes what is older than
policies/log.yaml allows; `python -m pipeline.log compact` merges small parts (compaction.py).
"""

import argparse
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
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
from pipeline.places import ahead, day_of, opened
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

MERGED = ".merged.parquet"  # how the name of a part ends that compaction.py has made of small ones
REPLACES = "replaces"  # where its metadata name them
HEARTBEAT = "heartbeat.json"  # beside the days, from the drift check

ROOT = Path(__file__).absolute().parent.parent

AHEAD = 4  # parts that are read while others are looked at, as a bucket answers slowly
BATCH = 400_000  # rows that are looked at together


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

    def current(self, day: date) -> list[str]:
        """Paths of a day's parts in order, but for those whose rows a merged one has. Raises BadInput."""
        paths = self.files(day, ".parquet")
        merged = [path for path in paths if path.endswith(MERGED)]
        gone = {name for path in merged for name in self.replaces(path)} if len(merged) < len(paths) else ()
        return [path for path in paths if name_of(path) not in gone]

    def replaces(self, path: str) -> list[str]:
        """The names of the parts whose rows a merged one has: whoever sees both counts these once. Raises BadInput."""
        with naming(path), self.system.open(path) as file:
            return pl.read_parquet_metadata(file).get(REPLACES, "").split()

    def read(self, path: str, columns: Collection[str] | None = None) -> pl.DataFrame:
        """A part's rows: what parts have ALWAYS, and those of the columns, or all, that it has.

        Raises BadInput naming it where it is damaged, or no part of a log.
        """
        with naming(path):
            content = path if isinstance(self.system, LocalFileSystem) else self.system.cat_file(path)
            part = pl.scan_parquet(content, glob=False, hive_partitioning=False)
            names = part.collect_schema().names()
            table = part.select(n for n in names if columns is None or n in ALWAYS or n in columns).collect()
        if odd := [name for name, dtype in ALWAYS.items() if table.schema.get(name) != dtype]:
            raise BadInput(f"{path}: is no part of a prediction log: see {', '.join(odd)}; move it away")
        return table

    def tables(self, day: date, columns: Collection[str] | None = None) -> Iterator[pl.DataFrame]:
        """The rows of a day's parts, in their order. Raises BadInput."""
        return ahead(lambda path: self.read(path, columns), self.current(day), AHEAD)


def name_of(path: str) -> str:
    """A file's name."""
    return path.rsplit("/", 1)[-1]


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Raises BadInput naming a part that cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise BadInput(
            f"{path}: was there a moment ago; parts were merged or deleted meanwhile: run it again"
        ) from None
    except (Exception, pl.exceptions.PanicException) as error:  # each of fsspec's file systems has errors of its own
        raise BadInput(f"{path}: is no part that can be read ({line(error)}); restore it or move it away") from None


def line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


# --- reading ---


def days(address: str | None = None) -> list[date]:
    """The days that the log has rows of, in order; none where there is no log yet. Raises BadInput."""
    return Folder.at(address).days()


def batches(day: date, columns: Collection[str], address: str | None = None) -> Iterator[pl.DataFrame]:
    """The rows of a day: what parts have ALWAYS, and those of `columns` that they have, as each part has them.

    Small parts come together, so that no more than BATCH rows, or one part, are in memory at a time, and as many that
    are read ahead. Raises BadInput naming the part that cannot be read.
    """
    together: list[pl.DataFrame] = []
    for table in Folder.at(address).tables(day, columns):
        if together and (table.schema != together[0].schema or sum(map(len, together)) + len(table) > BATCH):
            yield pl.concat(together)
            together = []
        together.append(table)
    if together:
        yield pl.concat(together)


def read(
    address: str | None,
    first: date,
    last: date,
    model: str | None = None,
    columns: Collection[str] | None = None,
) -> pl.DataFrame:
    """The rows of `first` to `last`, inclusive: ID, TIME, the model's inputs, its answers, MODEL, REQUEST and SCORED.

    Of `columns`, where they are named, beside what parts have ALWAYS. A column that only some parts have is null in the
    others; what was hashed has a column of its own (`hashed`). With a `model`, its digest, rows that others answered
    have what parts ALWAYS have, and no more: they may be of another problem, with columns of the same names and of
    other types. Raises BadInput naming the part that cannot be read.
    """
    folder = Folder.at(address)
    tables = [table for day in folder.days() if first <= day <= last for table in folder.tables(day, columns)]
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


def beat(folder: Folder, told: bool, newest: datetime | None) -> None:
    """Leave word of a check: when one could last tell, and the newest row that it saw. Raises BadInput."""
    try:
        moments = {"checked": datetime.now(UTC)} if told else heartbeat(folder)
        said = {"checked": moments.get("checked"), "newest": newest}
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
    said = stamp(path)
    return datetime.strptime(said[:8], "%Y%m%d").date() if said else day


def stamp(path: str) -> str:
    """The moment in a file's name; nothing where its name has none."""
    found = re.fullmatch(r"(\d{8}T\d{6})-[0-9a-f]{32}(\.merged)?\.(parquet|partial)", name_of(path))
    return found[1] if found else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Delete what is older than retention_days, by the clock; or merge the small parts of days that are over."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.log", description="Keep the prediction log in bounds.")
    does = "prune: delete what is older than policies/log.yaml allows; compact: merge the small parts of past days"
    parser.add_argument("command", choices=["prune", "compact"], help=does)
    folder, today = Folder.at(), datetime.now(UTC).date()
    if parser.parse_args(arguments).command == "compact":
        from pipeline import compaction  # which reads the log by this module

        print(f"{folder.root}: {compaction.compact(folder, today)}")
        return
    keep = policy().retention_days
    deleted = prune(folder, today - timedelta(days=keep))
    print(f"{folder.root}: {count(len(deleted), 'file')} deleted, written more than {count(keep, 'day')} ago")


if __name__ == "__main__":
    run_stage(main)
