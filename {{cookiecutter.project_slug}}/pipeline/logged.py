"""What a day of the prediction log says of the model in production, in counts; made part by part, in constant memory.

The log was written by whoever could reach the service: what no service writes is a sentence here, and no count.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce
from math import ceil
from operator import xor
from typing import Any

import numpy as np
import polars as pl

from pipeline import log, tasks
from pipeline.counts import Column, Counts, count
from pipeline.log import ID, MODEL, SCORED, TIME
from pipeline.model import Input, Outputs, Problem
from pipeline.params import BadInput
from pipeline.personal import pseudonym

OUT = "_out"  # what the model said of a row: a column of its outputs
SHARE = 1_000_000  # rows of a day whose identifiers are compared at a time
ENOUGH = 100  # rows of a day, for it to say something by itself; where there are fewer, days are put together
KEY, DRAWN = "_key", "_drawn"

Read = Callable[[date, Collection[str]], Iterable[pl.DataFrame]]
"""Gives a day's rows, of any model, some at a time: what any log has, and those of the columns that there are."""


@dataclass(frozen=True)
class Watched:
    """What of the log is counted: of the rows that a model answered, its inputs, and a part of what it says."""

    model: str  # its digest
    problem: Problem
    inputs: tuple[Input, ...]
    columns: tuple[Column, ...]  # the inputs, as they are counted
    answer: Column

    @property
    def read(self) -> list[str]:
        """The columns of the log that are looked at."""
        return [*IDENTIFIERS, *(column.name for column in self.inputs), *log.answers(self.problem)]


@dataclass(frozen=True)
class Day:
    """A day of the log."""

    day: date
    logged: int  # rows of any model
    answered: int  # of them the model's
    rows: int  # of these each once: they are counted
    scored: datetime | None  # when the newest was, of `logged`
    columns: Mapping[str, Counts]
    lacks: frozenset[str]  # inputs that no part has
    some: pl.DataFrame  # of the rows, for people to look at; those of the smallest numbers DRAWN


def of_day(day: date, read: Read, watched: Watched, shown: int = 0) -> Day:
    """The counts of a day, of whose rows so many at most are kept in `some`. Raises BadInput.

    Of rows with the same identifier the last counts. As a rule there are none, as their hashes tell. Where there are,
    or too many rows to compare, the day is read again, a share of the identifiers at a time.
    """
    tally, logged, scored, keys = Tally(watched, shown), 0, list[Any](), list[pl.Series]()
    for rows in of_its_own(day, read, watched.read):
        ours = rows.filter(pl.col(MODEL) == watched.model)
        logged += len(rows)
        scored.append(rows[SCORED].max())
        tally.add(ours)
        keys = [*keys, keyed(ours)] if tally.rows <= SHARE else []
    answered, shares = tally.rows, ceil(tally.rows / SHARE)
    if repeat(keys) if shares == 1 else any(repeat(hashes) for hashes in by_share(day, read, watched, shares)):
        tally = Tally(watched, shown)
        for rows in once(day, read, watched, shares):
            tally.add(rows)
    newest = max(filter(None, scored), default=None)
    return Day(day, logged, answered, tally.rows, newest, tally.counts(), frozenset(tally.lacks), tally.some)


def of_its_own(day: date, read: Read, columns: Collection[str]) -> Iterator[pl.DataFrame]:
    """The rows of a day's parts that are of this day."""
    return (rows.filter(pl.col(TIME).dt.date() == day) for rows in read(day, columns))


class Tally:
    """Counts rows as they come."""

    def __init__(self, watched: Watched, shown: int) -> None:
        self.watched, self.shown = watched, shown
        self.rows = 0
        self.sums: dict[str, np.ndarray] = {}
        self.lacks = {column.name for column in watched.inputs}
        self.some, self.least, self.draw = pl.DataFrame(), 1.0, np.random.default_rng(0)

    def add(self, rows: pl.DataFrame) -> None:
        """Count rows that the model answered. Raises BadInput where they hold what it does not take, or say."""
        if rows.is_empty():
            return
        schema = rows.schema
        types = {column.name: schema.get(column.name, pl.Null()) for column in self.watched.inputs}
        if odd := [column.name for column in self.watched.inputs if not fits(types[column.name], column)]:
            raise BadInput(not_asked(odd))
        out = said(rows, self.watched.problem)
        answers = out[tasks.task(self.watched.problem.task).WATCHED]
        lacks = {name for name, dtype in types.items() if dtype == pl.Null}
        rows = rows.with_columns(pl.Series(self.watched.answer.name, answers), *(pl.lit(None).alias(n) for n in lacks))
        for name, counts in count(rows, (*self.watched.columns, self.watched.answer)).items():
            if name in self.sums:
                self.sums[name] += counts
            else:
                self.sums[name] = counts
        self.rows += len(rows)
        self.lacks &= lacks
        self.show(rows.select(TIME, *identifiers(rows), *self.sums), out)

    def show(self, rows: pl.DataFrame, out: Outputs) -> None:
        """Keep the rows of the smallest of as many random numbers, so that each is as likely to be kept; with OUT."""
        if not self.shown:
            return
        drawn = self.draw.random(len(rows))
        near = np.flatnonzero(drawn < self.least)
        if len(near) > self.shown:
            near = near[np.argpartition(drawn[near], self.shown)[: self.shown]]
        fresh = rows[near].with_columns(pl.Series(DRAWN, drawn[near]), tasks.kept(OUT, tasks.picked(out, near)))
        self.some = pl.concat([self.some, fresh], how="diagonal_relaxed").bottom_k(self.shown, by=DRAWN)
        if len(self.some) == self.shown:
            self.least = float(self.some[DRAWN].to_numpy().max())

    def counts(self) -> dict[str, Counts]:
        """By column; none where there was no row."""
        return {name: Counts.of(rows) for name, rows in self.sums.items()}


# --- what a row says ---


IDENTIFIERS = (ID, log.hashed(ID))
"""What a row is identified by: plain, or hashed, or either where the policy has changed."""


def identifiers(rows: pl.DataFrame) -> list[str]:
    """Those of IDENTIFIERS that the rows have."""
    return [name for name in IDENTIFIERS if name in rows.columns]


def fits(dtype: pl.DataType, column: Input) -> bool:
    """Whether an input's values may be of a type; Null is that of a column which is not there."""
    return dtype in (pl.Null, log.TYPES[column.type]) or (dtype.is_numeric() and not column.text)


def not_asked(names: Sequence[str]) -> str:
    """What is wrong with columns that do not fit."""
    return (
        f"the log's {', '.join(names[:3])} hold something else than the model takes: the service does not log what it "
        "is asked"
    )


def answered(rows: pl.DataFrame, problem: Problem) -> pl.DataFrame:
    """Rows of the log with what their answers say as OUT, and of it what is watched as the reference has it.

    Raises BadInput where they hold what no model of the task says.
    """
    out, watched = said(rows, problem), tasks.task(problem.task).WATCHED
    return rows.with_columns(tasks.kept(OUT, out), pl.Series(log.kept(watched), out[watched]))


def said(rows: pl.DataFrame, problem: Problem) -> Outputs:
    """What the answers of the log's rows say. Raises BadInput where no model of the task says so."""
    task = tasks.task(problem.task)
    parts = {name: rows[log.kept(name)] for name in task.answers(problem) if log.kept(name) in rows.columns}
    kinds = {name: log.answers(problem)[log.kept(name)] for name in task.answers(problem)}
    if {name: part.dtype for name, part in parts.items()} == kinds and not any(p.null_count() for p in parts.values()):
        try:
            out = task.logged({name: tasks.array(part) for name, part in parts.items()}, problem)
            if task.sound(out, problem).all():
                return out
        except (ValueError, KeyError):  # shares of another number of classes, another class
            pass
    raise BadInput(
        f"the log holds answers that no model of the task {problem.task} gives: something else than the service writes "
        "to it"
    )


# --- rows that the source has too ---


def joined_by(rows: pl.DataFrame) -> pl.Expr:
    """What the log's rows are joined by: a text, whatever the identifier's type; a hash, where the log has hashes."""
    plain, hashed = pl.col(ID).cast(pl.String), pl.col(log.hashed(ID))
    match identifiers(rows):
        case [only]:
            return (plain if only == ID else hashed).alias(KEY)
        case _:  # the policy has changed
            return hashed.fill_null(plain.map_batches(pseudonym, pl.String)).alias(KEY)


def joins(told: pl.DataFrame, name: str, rows: pl.DataFrame) -> pl.Series:
    """The same of the source's rows, whose identifier has such a name."""
    return told[name].cast(pl.String) if identifiers(rows) == [ID] else pseudonym(told[name])


# --- rows that come twice ---


def keyed(rows: pl.DataFrame) -> pl.Series:
    """A hash of each row's identifier; null where it has none."""
    parts = [pl.col(name) if name in rows.columns else pl.lit(None, pl.String) for name in IDENTIFIERS]
    hashed = reduce(xor, (part.hash(seed) for seed, part in enumerate(parts)))
    known = pl.any_horizontal(part.is_not_null() for part in parts)
    return rows.with_columns(pl.when(known).then(hashed).alias(KEY))[KEY]


def repeat(keys: Sequence[pl.Series]) -> bool:
    """Whether two rows have one identifier."""
    known = pl.concat(keys).drop_nulls()
    return known.n_unique() < len(known)


def by_share(day: date, read: Read, watched: Watched, shares: int) -> Iterator[list[pl.Series]]:
    """The hashes of a day's identifiers, a share of them at a time."""
    for share in range(shares):
        hashes = (keyed(rows.filter(pl.col(MODEL) == watched.model)) for rows in of_its_own(day, read, IDENTIFIERS))
        yield [each.filter(each % shares == share) for each in hashes]


def once(day: date, read: Read, watched: Watched, shares: int) -> Iterator[pl.DataFrame]:
    """The model's rows of a day, the last of each identifier and all that have none, a share at a time."""
    for share in range(shares):
        parts = []
        for rows in of_its_own(day, read, watched.read):
            ours = rows.filter(pl.col(MODEL) == watched.model)
            parts.append(ours.filter((keyed(ours) % shares == share).fill_null(share == 0)))
        table = pl.concat(parts, how="diagonal_relaxed")
        names = identifiers(table)
        yield table.filter(pl.struct(names).is_last_distinct() | pl.all_horizontal(pl.col(names).is_null()))
