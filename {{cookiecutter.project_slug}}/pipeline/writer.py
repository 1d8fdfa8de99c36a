"""Writes the prediction log: takes rows from requests, and lets a thread of its own write them.

Until they are written, rows lie side by side in flat arrays: to make a table of a list of Python's objects takes time
in which nobody is answered.
"""

import logging
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from itertools import chain
from threading import Event, Lock, Thread
from time import monotonic, time_ns
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import polars as pl
from prometheus_client import Counter

from pipeline import tasks
from pipeline.log import ALWAYS, ID, KINDS, MODEL, SCORED, TIME, TYPES, Folder, hashed, kept, line, personal
from pipeline.model import MISSING, NUMBERS, TEXTS, Input, Model
from pipeline.params import BadInput
from pipeline.personal import HASH, REQUEST, Policy, Rules, pseudonym

SECONDS = 60.0  # between two writes, unless PREDICTION_LOG_SECONDS says another: what a crash loses at most
PART = 20_000  # rows: so many are written at once, however early
MOST = 100_000  # rows in memory, some 30 MB: further ones are lost until storage answers
DAYS = 100  # in one write, a file each, besides today and its neighbours: rows of further days are lost
OPENED = 31  # of them, by one request
PATIENCE = 120.0  # seconds of failing storage, after which rows are given up
GOODBYE = 10.0  # seconds that a shutdown waits for storage
REASONS = ("full", "days", "storage", "shutdown")  # why rows are lost

A_DAY = 24 * 3600 * 1_000_000  # microseconds
SAFE = 2.0**63 - 1024  # the largest float64 that is an int64

T = TypeVar("T")

logger = logging.getLogger(__name__)

Given = Mapping[str, np.ndarray]
"""NUMBERS float64 [columns, rows] and TEXTS objects [columns, rows], as the graph takes them."""


class Rows:
    """Rows in memory."""

    def __init__(self, served: Model) -> None:
        self.served = served
        self.numbers, self.texts = ([c for c in served.ordered if c.text is text] for text in (False, True))
        self.parts = tasks.task(served.problem.task).answers(served.problem)
        self.identifiers: list[Any] = []
        self.moments, self.floats, self.words = array("q"), bytearray(), list[str]()
        self.said: dict[str, Any] = {name: FLAT[part.kind]() for name, part in self.parts.items()}
        self.requests, self.sizes, self.scored = list[str](), array("q"), array("q")

    def __len__(self) -> int:
        return len(self.identifiers)

    def take(
        self,
        identifiers: Sequence[Any],
        moments: Sequence[int],
        given: Given,
        said: Mapping[str, Sequence[Any]],
        request: str,
        now: int,
    ) -> None:
        """Add the rows of a request; moments are microseconds since the epoch, in UTC."""
        self.identifiers.extend(identifiers)
        self.moments.extend(moments)
        if self.numbers:
            self.floats += given[NUMBERS].T.tobytes()
        if self.texts:
            self.words.extend(given[TEXTS].T.flat)
        for name, part in self.parts.items():
            self.said[name].extend(chain.from_iterable(said[name]) if part.kind == SHARES else said[name])
        self.requests.append(request)
        self.sizes.append(len(identifiers))
        self.scored.append(now)

    def table(self) -> pl.DataFrame:
        """All of them: ID, TIME, the inputs in the manifest's order, the parts of answers, REQUEST and SCORED."""
        floats = np.frombuffer(self.floats).reshape(len(self), -1)
        inputs = {column.name: number(column, floats[:, at]) for at, column in enumerate(self.numbers)}
        inputs |= {column.name: text(column, self.words[at :: len(self.texts)]) for at, column in enumerate(self.texts)}
        request = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return pl.DataFrame(
            [
                pl.Series(ID, self.identifiers, TYPES[self.served.problem.id_type]),
                times(TIME, self.moments),
                *(inputs[column.name] for column in self.served.inputs),
                *(self.part(name) for name in self.parts),
                pl.Series(REQUEST, self.requests, pl.String()).gather(request),
                times(SCORED, self.scored).gather(request),
            ]
        )

    def part(self, name: str) -> pl.Series:
        """A part of the answers, as the log has it."""
        kind, said = self.parts[name].kind, self.said[name]
        if kind == "label":
            return pl.Series(kept(name), [str(value) for value in said], KINDS[kind])
        values = np.frombuffer(said, said.typecode)
        if kind == SHARES:
            classes = len(self.served.problem.values)
            return pl.Series(kept(name), values.reshape(-1, classes)).arr.to_list().cast(KINDS[kind])
        return pl.Series(kept(name), values).cast(KINDS[kind])


SHARES = "shares"
FLAT: Mapping[str, Callable[[], Any]] = {
    "number": partial(array, "d"),
    "boolean": partial(array, "b"),
    "label": list,
    SHARES: partial(array, "d"),
}
"""What holds a part of answers, by its kind."""


def number(column: Input, values: np.ndarray) -> pl.Series:
    """An input as the log has it, of float64 [rows], in which NaN is a missing one."""
    whole = pl.Series(column.name, values).fill_nan(None)
    return (whole.clip(-SAFE, SAFE) if column.type == "integer" else whole).cast(TYPES[column.type])


def text(column: Input, words: Sequence[str]) -> pl.Series:
    """The same of texts, in which MISSING is a missing one."""
    return pl.Series(column.name, [None if word == MISSING else word for word in words], TYPES[column.type])


def times(name: str, moments: "array[int]") -> pl.Series:
    """Microseconds since the epoch as times, in the type that the log ALWAYS has."""
    return pl.Series(name, np.frombuffer(moments, np.int64)).cast(ALWAYS[name])


class Log:
    """The prediction log, as the service has it: no request waits for it, none fails by it."""

    def __init__(
        self,
        folder: Folder,
        served: Model,
        rules: Policy,
        written: Counter,
        lost: Counter,  # by reason: REASONS
        seconds: float,  # between two writes
        most: int = MOST,
        patience: float = PATIENCE,
        watch: Callable[[pl.DataFrame], None] = lambda table: None,  # is shown all rows before they are written
        tick: "Callable[[Log], None]" = lambda kept: None,  # is called at the start, and after each look for rows
    ) -> None:
        self.folder, self.served = folder, served
        self.rules = personal(rules, served.problem.id)
        self.written, self.lost = written, lost
        self.watch, self.tick = harmless(watch), harmless(tick)
        self.seconds, self.most, self.patience = seconds, most, patience
        self.lock, self.wake, self.closing = Lock(), Event(), Event()
        self.held = 0  # rows in memory, those that are being written too
        self.newest: datetime | None = None  # when the newest row that was written was scored
        self.away = False  # whether storage took nothing, the last time
        self.rows, self.days = Rows(served), set[int]()
        for reason in REASONS:
            lost.labels(reason)  # shown from the start: a counter that appears at 1 has no increase
        self.thread = Thread(target=self.run, name="prediction-log", daemon=True)
        self.thread.start()

    def add(
        self,
        identifiers: Sequence[Any],
        moments: Sequence[int],
        given: Given,
        said: Mapping[str, Sequence[Any]],
        request: str,
    ) -> None:
        """Take the rows of a request; those that find no room are counted as lost.

        `moments` are microseconds since the epoch, in UTC; `said` are the parts of answers.
        """
        now, number = time_ns() // 1_000, len(identifiers)
        with self.lock:
            if reason := self.refusal(number):
                self.lost.labels(reason).inc(number)
                return
            asked = {moment // A_DAY for moment in moments}
            if (open_to := self.room(asked, now // A_DAY)) != asked:
                some = [at for at, moment in enumerate(moments) if moment // A_DAY in open_to]
                self.lost.labels("days").inc(number - len(some))
                identifiers, moments = ([of[at] for at in some] for of in (identifiers, moments))
                given = {name: columns[:, some] for name, columns in given.items()}
                said = {name: [values[at] for at in some] for name, values in said.items()}
            self.rows.take(identifiers, moments, given, said, request, now)
            self.held += len(identifiers)
        if len(self.rows) >= PART:
            self.wake.set()

    def refusal(self, number: int) -> str | None:
        """Why there is no room for so many rows; None where there is."""
        if self.closing.is_set():
            return "shutdown"
        return "full" if self.held + number > self.most else None

    def room(self, days: set[int], today: int) -> set[int]:
        """Those of a request's days, counted from the epoch, that there is room for, the newest first; today's always.

        A caller chooses the days of its rows, so that without this one request could lose everybody's.
        """
        near = {today - 1, today, today + 1}  # times have no zone
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
        self.tick(self)
        while not self.closing.is_set():
            self.wake.wait(self.seconds)
            self.wake.clear()
            self.write()
            self.tick(self)
        self.write()

    def write(self) -> None:
        """Write the rows that were taken, a part a day."""
        with self.lock:
            rows, self.rows, self.days = self.rows, Rows(self.served), set()
        if not len(rows):
            return
        table, give_up = rows.table(), monotonic() + self.patience
        self.watch(table)
        for name, part in parts(table, self.served.digest, self.rules):
            stored = self.store(name, encoded(part), give_up)
            with self.lock:
                self.held -= len(part)
            (self.written if stored else self.lost.labels("storage")).inc(len(part))
            self.away = not stored
            if stored:
                self.newest = part[SCORED][-1]  # they lie as they were scored

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


def harmless(call: Callable[[T], None]) -> Callable[[T], None]:
    """The call, whose failure ends no thread and costs no rows; it is logged, unless it is the same again."""
    told = ""

    def called(value: T) -> None:
        nonlocal told
        try:
            call(value)
        except (Exception, SystemExit, pl.exceptions.PanicException) as error:
            if (said := line(error)) != told:
                logger.warning(
                    "the service's metrics are not whole: %s", said, exc_info=not isinstance(error, BadInput)
                )
            told = said

    return called


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
