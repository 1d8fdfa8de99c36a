"""Columns in counts: how many rows have which value; what is asked of many rows follows from the sum of their counts.

A number counts by its distance from the median that a model has learned from, cut off after eight binary digits, as
bfloat16 has it: bins of relative width, as those of DDSketch (Masson, Rim and Lee, 2019, section 2). Whatever its
scale, none moves by more than 1/128 of that distance, so that Wasserstein's distance d of counts, in deviations, is
less than 0.01 + 0.02 d away from that of the rows. Texts count by level, classes by class, and what is missing or out
of range exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Protocol

import numpy as np
import polars as pl

from pipeline.distance import apart
from pipeline.model import Input, Problem

LEVELS = 100  # of a category, the most frequent, are told apart; the rarer ones that were learned count as one
MISSING, RARER, OTHER = LEVELS, LEVELS + 1, LEVELS + 2  # the places behind them; of OTHER none was learned
SLOTS = 2**16  # for the hashes of texts that are known, at most


@dataclass(frozen=True)
class Counts:
    """How many rows are in which bin of a column, of those that have any; and in how many its value is out of range."""

    bins: np.ndarray  # uint16
    rows: np.ndarray  # float64
    beyond: float = 0.0  # of the range that the service takes

    @classmethod
    def of(cls, rows: np.ndarray) -> "Counts":
        """Of what `Column.count` gives."""
        bins = np.flatnonzero(rows[:-1] != 0)  # three times as fast as of numbers
        return cls(bins.astype(np.uint16), rows[bins].astype(np.float64), float(rows[-1]))

    @classmethod
    def sum(cls, parts: Sequence["Counts"], weights: np.ndarray | None = None) -> "Counts":
        """Those of all parts, each as often as its weight says."""
        each = np.ones(len(parts)) if weights is None else weights
        if len(parts) == 1:
            return cls(parts[0].bins, parts[0].rows * each[0], parts[0].beyond * float(each[0]))
        bins = np.concatenate([part.bins for part in parts])
        rows = np.concatenate([part.rows * weight for part, weight in zip(parts, each, strict=True)])
        return cls.of(np.append(np.bincount(bins, rows), each @ [part.beyond for part in parts]))


class Column(Protocol):
    """A column as it is counted."""

    @property
    def name(self) -> str: ...

    @property
    def values(self) -> np.ndarray:
        """What the bins stand for: float64 [bins], NaN for no value; int64 where it only counts which one it is."""

    def measured(self, values: pl.Series) -> np.ndarray:
        """Some of its values as distances are measured, [rows], of the type of `values`."""

    def count(self, values: pl.Series) -> np.ndarray:
        """How many of them are in each bin; and last, how many are out of range: [bins + 1]."""


@dataclass(frozen=True)
class Number:
    """A column of numbers; a boolean is 0 or 1. Its bins are the numbers of bfloat16."""

    name: str
    middle: float = 0.0  # what their distance is from: bins are narrowest there
    minimum: float | None = None  # inclusive, as is the maximum
    maximum: float | None = None

    @property
    def values(self) -> np.ndarray:
        return halves()

    def measured(self, values: pl.Series) -> np.ndarray:
        numbers = values.cast(pl.Float64).to_numpy()
        return np.where(np.isinf(numbers), np.nan, numbers)

    def count(self, values: pl.Series) -> np.ndarray:
        if values.dtype == pl.Boolean:  # two values are counted by themselves, a hundred times as fast
            yes, none = int(values.sum()), values.null_count()
            each = np.array([len(values) - yes - none, yes, none])
            return np.bincount(self.bins(np.array([0.0, 1.0, np.nan])), each, len(halves()) + 1)
        numbers = values.drop_nulls().cast(pl.Float64).to_numpy()
        found = np.bincount(self.bins(numbers), minlength=len(halves()) + 1)
        if found[INFINITE].any():  # or so far away
            numbers = numbers[~np.isinf(numbers)]
            found = np.bincount(self.bins(numbers), minlength=len(halves()) + 1)
        found[NOTHING] += len(values) - len(numbers)
        if self.minimum is not None:
            found[-1] += np.count_nonzero(numbers < self.minimum)
        if self.maximum is not None:
            found[-1] += np.count_nonzero(numbers > self.maximum)
        return found

    def bins(self, numbers: np.ndarray) -> np.ndarray:
        """The bins of numbers, [rows]."""
        away = np.empty(len(numbers), np.float32)
        with np.errstate(over="ignore"):
            np.subtract(numbers, self.middle, out=away, casting="same_kind")  # by blocks that stay near the processor
        found: np.ndarray = away.view(np.uint32) >> 16
        return found


INFINITE, NOTHING = [0x7F80, 0xFF80], 0x7FC0  # bins of infinities, and of what is none


@cache
def halves() -> np.ndarray:
    """The numbers of bfloat16, float64 [65,536]: the upper halves of a float32; for its infinities, the ends."""
    return np.nan_to_num((np.arange(2**16, dtype=np.uint32) << 16).view(np.float32), nan=np.nan).astype(np.float64)


@dataclass(frozen=True)
class Text:
    """A column of texts, which their hashes stand for. Its bins are the LEVELS; then missing, rarer and other ones."""

    input: Input

    @property
    def name(self) -> str:
        return self.input.name

    @property
    def values(self) -> np.ndarray:
        return np.arange(OTHER + 1)

    def measured(self, values: pl.Series) -> np.ndarray:
        return values.alias(self.name).to_frame().select(coded(self.input)).to_series().to_numpy()

    def count(self, values: pl.Series) -> np.ndarray:
        keys, (known, bins, odd) = values.hash().to_numpy(), self.table
        slots = (keys & np.uint64(len(known) - 1)).astype(np.intp)
        strange = known[slots] != keys
        rows = np.bincount(slots, minlength=len(known)) - np.bincount(slots[strange], minlength=len(known))
        found = np.append(np.bincount(bins, rows, OTHER + 1), rows @ odd)
        for key, number in pl.Series(keys[strange]).value_counts().iter_rows():
            place, beyond = self.known.get(key, (OTHER, self.input.categories is not None))
            found[place] += number
            found[-1] += number * beyond
        return found

    @cached_property
    def known(self) -> dict[int, tuple[int, bool]]:
        """By the hash of each text that is known, its bin, and whether it is out of range."""
        allowed = self.input.categories
        found: dict[str | None, tuple[int, bool]] = dict.fromkeys(allowed or (), (OTHER, False))
        for text, place in places(self.input).items():
            found[text] = place, allowed is not None and text not in allowed
        found |= dict.fromkeys((None, ""), (MISSING, False))
        return dict(zip(pl.Series(list(found), dtype=pl.String).hash(), found.values(), strict=True))

    @cached_property
    def table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same as arrays, in the slot that a hash's last bits name; of two in one slot, one of them.

        Four times as fast as to group the texts; what is not in its slot is looked up by itself.
        """
        size = min(2 ** (16 * len(self.known)).bit_length(), SLOTS)
        keys, bins, odd = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size)
        for key, (place, beyond) in self.known.items():
            keys[key % size], bins[key % size], odd[key % size] = key, place, beyond
        return keys, bins, odd


def places(column: Input) -> dict[str, int]:
    """The places of the levels that were learned, the most frequent first."""
    return {level: at if at < LEVELS else RARER for at, level in enumerate(column.levels)}


def valued(column: Input) -> pl.Expr:
    """Whether a row has a value: no null, NaN, infinity or empty text."""
    if column.text:
        return (pl.col(column.name) != "").fill_null(False)
    return pl.col(column.name).cast(pl.Float64).is_finite().fill_null(False)


def coded(column: Input) -> pl.Expr:
    """The place of a row's level among the LEVELS that are told apart; then missing, rarer and other ones."""
    code = pl.col(column.name).replace_strict(places(column), default=OTHER, return_dtype=pl.Int64)
    return pl.when(valued(column)).then(code).otherwise(MISSING)


@dataclass(frozen=True)
class Class:
    """The class of an answer, by its code."""

    name: str
    classes: int

    @property
    def values(self) -> np.ndarray:
        return np.arange(self.classes)

    def measured(self, values: pl.Series) -> np.ndarray:
        return values.to_numpy()

    def count(self, values: pl.Series) -> np.ndarray:
        return np.bincount(values.to_numpy(), minlength=self.classes + 1)  # all are in range


def of_input(column: Input, learned: pl.Series) -> Column:
    """How an input is counted, of which a model has learned such values."""
    return Text(column) if column.text else Number(column.name, middle(learned), column.minimum, column.maximum)


def of_answer(name: str, learned: pl.Series, problem: Problem) -> Column:
    """The same of what is watched of its answers."""
    return Class(name, len(problem.values)) if learned.dtype.is_integer() else Number(name, middle(learned))


def middle(learned: pl.Series) -> float:
    """The median of a column's numbers; 0 where it has none."""
    numbers = Number("").measured(learned)
    return float(np.median(numbers[~np.isnan(numbers)])) if not np.isnan(numbers).all() else 0.0


def count(rows: pl.DataFrame, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """The counts of columns of rows, as `Column.count` gives them."""
    return {column.name: column.count(rows[column.name]) for column in columns}


def side(rows: pl.DataFrame, columns: Sequence[Column]) -> "Side":
    """Columns of rows, each of which counts once."""
    return Side({name: Counts.of(each) for name, each in count(rows, columns).items()}, len(rows))


def measured(rows: pl.DataFrame, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """Columns of rows, as distances are measured."""
    return {column.name: column.measured(rows[column.name]) for column in columns}


# --- two sides ---


@dataclass(frozen=True)
class Side:
    """Rows that are held against others, in counts."""

    columns: Mapping[str, Counts]
    size: float  # how many rows would tell as much, if each counted once


def moved(column: Column, before: Side, now: Side) -> float | None:
    """How far a column lies from where it was before; None where one of both has no value."""
    one, other = before.columns[column.name], now.columns[column.name]
    values = [column.values[side.bins] for side in (one, other)]
    return apart(values, [one.rows, other.rows], [before.size, now.size])


def missing(column: Column, side: Side) -> float:
    """The share of rows in which an input has no value."""
    counts = side.columns[column.name]
    values = column.values[counts.bins]
    return share(counts, np.isnan(values) if values.dtype.kind == "f" else values == MISSING)


def unseen(column: Column, side: Side) -> float:
    """The share of rows in which a text is of no level that was learned."""
    counts = side.columns[column.name]
    return share(counts, counts.bins == OTHER)


def share(counts: Counts, inside: np.ndarray) -> float:
    """The share of rows that are in some of the bins."""
    return float(counts.rows[inside].sum() / counts.rows.sum())
