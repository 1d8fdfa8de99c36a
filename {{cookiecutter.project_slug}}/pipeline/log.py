"""The prediction log: what the service answered, as daily parquet parts that the monitor reads.

    PREDICTION_LOG/2018-08-14/20180814T093000-<32 hex digits>.parquet

PREDICTION_LOG is a URL that fsspec knows, such as s3://bucket/predictions, or a folder: a relative one lies beside
pipeline/, in the repository or in the Bento, and `predictions` there is the default. `make serve` gives the
repository's to the Bento. A part lies in the folder of its rows' day, and its name says when it was written (UTC); no
two have one name, however many services write. `python -m pipeline.log prune` deletes what is older than
policies/log.yaml allows; `python -m pipeline.log compact` merges small parts (compaction.py).
"""

import argparse
import logging
import os
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, TypeVar
from uuid import uuid4

import fsspec
import polars as pl
from fsspec.implementations.local import LocalFileSystem
from prometheus_client import Counter

from pipeline import tasks
from pipeline.model import Model, Problem
from pipeline.params import BadInput, run_stage
from pipeline.personal import HASH, REQUEST, Policy, Rules, policy, pseudonym
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

MERGED = ".merged.parquet"  # how the name of a part ends that compaction.py has made of small ones
REPLACES = "replaces"  # where its metadata name them

ROOT = Path(__file__).absolute().parent.parent

AHEAD = 8  # parts that are read while others are looked at, as a bucket answers slowly
BATCH = 250_000  # rows that are looked at together

SECONDS = 60.0  # between two writes, unless PREDICTION_LOG_SECONDS says another: what a crash loses at most
PART = 20_000  # rows: so many are written at once, however early
MOST = 100_000  # rows in memory, some 70 MB, or 300 with a hundred classes: further ones are lost until storage answers
DAYS = 100  # in one write, a file each, besides today and its neighbours: rows of further days are lost
OPENED = 31  # of them, by one request
DAY = timedelta(days=1)
PATIENCE = 120.0  # seconds of failing storage, after which rows are given up
GOODBYE = 10.0  # seconds that a shutdown waits for storage

T = TypeVar("T")

logger = logging.getLogger(__name__)


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
        return ahead(lambda path: self.read(path, columns), self.current(day))


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


def ahead(read: Callable[[str], T], paths: Sequence[str]) -> Iterator[T]:
    """What `read` gives of each path, in order; AHEAD of them are read while one is looked at."""
    with ThreadPoolExecutor(AHEAD) as pool:
        coming: deque[Future[T]] = deque()
        for path in paths:
            coming.append(pool.submit(read, path))
            if len(coming) == AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


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


# --- writing ---


class Log:
    """Takes rows from requests, and writes them from a thread of its own: no request waits for it, none fails by it."""

    def __init__(
        self,
        folder: Folder,
        served: Model,
        rules: Policy,
        written: Counter,
        lost: Counter,  # by reason: full, days, storage, shutdown
        seconds: float,  # between two writes
        most: int = MOST,
        patience: float = PATIENCE,
    ) -> None:
        self.folder, self.model = folder, served.digest
        self.rules = personal(rules, served.problem.id)
        self.written, self.lost = written, lost
        self.seconds, self.most, self.patience = seconds, most, patience
        self.schema: dict[str, pl.DataType] = {
            ID: TYPES[served.problem.id_type],
            TIME: ALWAYS[TIME],
            **{column.name: TYPES[column.type] for column in served.inputs},
            **answers(served.problem),
            REQUEST: pl.String(),
            SCORED: ALWAYS[SCORED],
        }
        self.labels = [name for name, kind in answers(served.problem).items() if kind == KINDS["label"]]
        self.lock, self.wake, self.closing = Lock(), Event(), Event()
        self.held = 0  # rows in memory, those that are being written too
        self.rows, self.days = self.nothing()
        for reason in ("full", "days", "storage", "shutdown"):
            lost.labels(reason)  # shown from the start: a counter that appears at 1 has no increase
        self.thread = Thread(target=self.run, name="prediction-log", daemon=True)
        self.thread.start()

    def nothing(self) -> tuple[dict[str, list[Any]], set[date]]:
        """Room for rows, and for their days."""
        return {name: [] for name in self.schema}, set()

    def add(self, rows: Mapping[str, Sequence[Any]], request: str) -> None:
        """Take the rows of a request, their columns each of one length; rows that find no room are counted as lost."""
        days, now = [moment.date() for moment in rows[TIME]], datetime.now(UTC)
        with self.lock:
            if reason := self.refusal(len(days)):
                self.lost.labels(reason).inc(len(days))
                return
            rows = {**rows, REQUEST: [request] * len(days), SCORED: [now] * len(days)}
            asked = set(days)
            if (room := self.room(asked, now.date())) != asked:
                kept = [at for at, day in enumerate(days) if day in room]
                rows = {name: [values[at] for at in kept] for name, values in rows.items()}
                self.lost.labels("days").inc(len(days) - len(kept))
            for name, values in rows.items():
                self.rows[name].extend(values)
            self.held += len(rows[TIME])
        if len(self.rows[TIME]) >= PART:
            self.wake.set()

    def refusal(self, number: int) -> str | None:
        """Why there is no room for so many rows; None where there is."""
        if self.closing.is_set():
            return "shutdown"
        return "full" if self.held + number > self.most else None

    def room(self, days: set[date], today: date) -> set[date]:
        """Those of a request's days that there is room for, the newest first; today's rows find room whatever came.

        A caller chooses the days of its rows, so that without this one request could lose everybody's.
        """
        near = {today - DAY, today, today + DAY}  # times have no zone
        further = sorted(days - near - self.days, reverse=True)[: min(OPENED, DAYS - len(self.days))]
        self.days |= set(further)
        return days & (near | self.days)

    def close(self, seconds: float = GOODBYE) -> None:
        """Write what is left; what storage does not take in time is lost."""
        self.closing.set()
        self.wake.set()
        self.thread.join(seconds)
        if self.thread.is_alive():
            logger.warning("the prediction log loses %s rows: storage did not answer before the end", self.held)
            self.lost.labels("shutdown").inc(self.held)

    def run(self) -> None:
        """The thread: write now and then, and at the end."""
        while not self.closing.is_set():
            self.wake.wait(self.seconds)
            self.wake.clear()
            self.write()
        self.write()

    def write(self) -> None:
        """Write the rows that were taken, a part a day."""
        with self.lock:
            rows, (self.rows, self.days) = self.rows, self.nothing()
        rows |= {name: [str(value) for value in rows[name]] for name in self.labels}
        give_up = monotonic() + self.patience
        for name, table in parts(pl.DataFrame(rows, schema=self.schema), self.model, self.rules):
            stored = self.store(name, encoded(table), give_up)
            with self.lock:
                self.held -= len(table)
            (self.written if stored else self.lost.labels("storage")).inc(len(table))

    def store(self, name: str, content: bytes, give_up: float) -> bool:
        """Whether storage took a part; tried until `give_up` (monotonic), or once more where the end has come."""
        pause = 0.5
        while True:
            ending = self.closing.is_set()
            try:
                self.folder.put(name, content)
                return True
            except Exception as error:  # each of fsspec's file systems has errors of its own
                said = line(error)
            if ending or monotonic() + pause > give_up:
                logger.warning("the prediction log loses a part, %s: %s", name, said)
                return False
            self.closing.wait(pause)
            pause = min(2 * pause, 15)


def period() -> float:
    """PREDICTION_LOG_SECONDS, or SECONDS. Raises BadInput where it is no number above 0."""
    said = os.environ.get("PREDICTION_LOG_SECONDS") or str(SECONDS)
    if not re.fullmatch(r"\d{1,6}(\.\d+)?", said) or not float(said):
        raise BadInput(f"PREDICTION_LOG_SECONDS is {said!r}; write a number of seconds above 0")
    return float(said)


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


def parts(table: pl.DataFrame, model: str, rules: Rules) -> Iterator[tuple[str, pl.DataFrame]]:
    """The rows of each day, as the rules (`personal`) let them be kept, with a name that no other part has."""
    ours = {name: how for name, how in rules.items() if name in table.columns}
    hashes = [pseudonym(table[name]).alias(hashed(name)) for name, how in ours.items() if how == HASH]
    table = table.with_columns(*hashes, pl.lit(model).alias(MODEL)).drop(*ours)
    for (day,), rows in table.group_by(pl.col(TIME).dt.date().alias("_day"), maintain_order=True):
        yield f"{day}/{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex}.parquet", rows


def encoded(table: pl.DataFrame) -> bytes:
    """The table as the bytes of a parquet file."""
    content = BytesIO()
    table.write_parquet(content)
    return content.getvalue()


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
