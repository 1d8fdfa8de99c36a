"""Columns in counts: how many rows have which value; what is asked of many rows follows from the sum of their counts.

A number counts by its distance from the median that a model has learned from, cut off after eight binary digits, as
bfloat16 has it: bins of relative width, as those of DDSketch (Masson, Rim and Lee, 2019, section 2). Whatever its
scale, none moves by more than 1/128 of that distance, so that Wasserstein's distance d of counts, in deviations, is
less than 0.01 + 0.02 d away from that of the rows. Texts count by level, classes by class, and what is missing or out
of range exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import polars as pl

from pipeline.distance import apart
from pipeline.model import Input, Problem

LEVELS = 100  # of a category, the most frequent, are told apart; the rarer ones that were learned count as one
FURTHEST = 3e38  # from the median: numbers beyond are taken for this, as bfloat16 has none
BIN, ROWS = "_bin", "_rows"


@dataclass(frozen=True)
class Counts:
    """How many rows are in which bin of a column, of those that have any; and in which a value is out of order."""

    bins: np.ndarray  # uint16
    rows: np.ndarray  # float64
    beyond: float = 0.0  # rows out of the range that the service takes
    unseen: float = 0.0  # rows of a level that was not learned

    @classmethod
    def of(cls, rows: np.ndarray, beyond: float = 0.0, unseen: float = 0.0) -> "Counts":
        """Of the rows of every bin, [bins]."""
        bins = np.flatnonzero(rows)
        return cls(bins.astype(np.uint16), rows[bins].astype(np.float64), beyond, unseen)

    @classmethod
    def sum(cls, parts: Sequence["Counts"], weights: np.ndarray | None = None) -> "Counts":
        """Those of all parts, each as often as its weight says."""
        each = np.ones(len(parts)) if weights is None else weights
        bins = np.concatenate([part.bins for part in parts])
        rows = np.concatenate([part.rows * weight for part, weight in zip(parts, each, strict=True)])
        beyond, unseen = each @ [part.beyond for part in parts], each @ [part.unseen for part in parts]
        return cls.of(np.bincount(bins, rows), float(beyond), float(unseen))


class Column(Protocol):
    """A column as it is counted."""

    @property
    def name(self) -> str: ...

    @property
    def values(self) -> np.ndarray:
        """What the bins stand for: float64 [bins], NaN for no value; int64 where it only counts which one it is."""

    def measured(self, values: pl.Series) -> np.ndarray:
        """Some of its values as distances are measured, [rows], of the same type."""

    def count(self, values: pl.Series) -> Counts:
        """How many of them are in which bin."""


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
        numbers = values.cast(pl.Float64).fill_null(np.nan).to_numpy()
        return np.where(np.isinf(numbers), np.nan, numbers) if np.isinf(numbers).any() else numbers

    def count(self, values: pl.Series) -> Counts:
        numbers = self.measured(values)
        with np.errstate(over="ignore"):
            away = np.clip(numbers - self.middle, -FURTHEST, FURTHEST).astype(np.float32)
        below = 0 if self.minimum is None else np.count_nonzero(numbers < self.minimum)
        above = 0 if self.maximum is None else np.count_nonzero(numbers > self.maximum)
        return Counts.of(np.bincount(away.view(np.uint32) >> 16), float(below + above))


@cache
def halves() -> np.ndarray:
    """The numbers of bfloat16, float64 [65,536]: the upper halves of a float32. NaN for what is none."""
    found = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
    return np.where(np.isfinite(found), found, np.float32(np.nan)).astype(np.float64)


@dataclass(frozen=True)
class Text:
    """A column of texts. Its bins are the LEVELS that are told apart; then missing, rarer and other ones."""

    input: Input

    @property
    def name(self) -> str:
        return self.input.name

    @property
    def values(self) -> np.ndarray:
        return np.arange(LEVELS + 3)

    def measured(self, values: pl.Series) -> np.ndarray:
        return values.alias(self.name).to_frame().select(coded(self.input)).to_series().to_numpy()

    def count(self, values: pl.Series) -> Counts:
        found = values.alias(self.name).value_counts(name=ROWS)
        bins = self.measured(found[self.name])
        there = found.filter(valued(self.input))
        beyond, unseen = (
            float(there.filter(~pl.col(self.name).is_in(known))[ROWS].sum()) if known is not None else 0.0
            for known in (self.input.categories, self.input.levels)
        )
        return Counts.of(np.bincount(bins, found[ROWS].to_numpy()), beyond, unseen)


def valued(column: Input) -> pl.Expr:
    """Whether a row has a value: no null, NaN, infinity or empty text."""
    if column.text:
        return (pl.col(column.name) != "").fill_null(False)
    return pl.col(column.name).cast(pl.Float64).is_finite().fill_null(False)


def coded(column: Input) -> pl.Expr:
    """The place of a row's level among the LEVELS that are told apart; then missing, rarer and other ones."""
    missing, rarer, other = LEVELS, LEVELS + 1, LEVELS + 2
    places = {level: at if at < LEVELS else rarer for at, level in enumerate(column.levels)}
    code = pl.col(column.name).replace_strict(places, default=other, return_dtype=pl.Int64)
    return pl.when(valued(column)).then(code).otherwise(missing)


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

    def count(self, values: pl.Series) -> Counts:
        return Counts.of(np.bincount(values.to_numpy()))


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
    nothing = np.isnan(values) if values.dtype.kind == "f" else values == LEVELS
    return float(counts.rows[nothing].sum() / counts.rows.sum())
