"""A file's columns as the model takes them, held to what the service holds each row of a request to.

They are read as `ingest` reads the source's: whole numbers of any width, also as decimals; 1 and 0 for true and false;
whole numbers as categories; moments in UTC. A time may also be what `rows` makes of it, the days before the row's own.
Where identifier and time have the prediction log's names, they are taken by these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from threading import Lock
from typing import Any

import polars as pl

from pipeline import personal
from pipeline.ingest import WORDS
from pipeline.model import AHEAD, LARGEST, MISSING, SINCE, Input, Model
from pipeline.reading import count, nearest
from pipeline.rows import ID, TYPES

TIME = "_time"  # what the prediction log calls the time; ID is what it calls the identifier
DAY = 86_400e6  # microseconds

Faults = Mapping[str, pl.Expr]
"""What is wrong with a value, in words that follow its column's name, and which rows of the file have such a one."""
Read = tuple[pl.Expr, Faults]
"""A column as the model takes it, null where it is missing; and what is wrong with it."""


class Bad(Exception):
    """Why a file cannot be scored, in a sentence that follows its name."""


@dataclass(frozen=True)
class Reading:
    """How a column is read."""

    column: Input
    source: str  # its name in the file
    value: pl.Expr  # under the model's name for it
    faults: Faults


def readings(served: Model, schema: Mapping[str, pl.DataType], now: datetime) -> list[Reading]:
    """How a file is read: the identifier, the time where the problem has one, and the model's inputs, in this order.

    Days are counted to the row's own moment; where rows have none, to `now`, in UTC and without a zone. Raises Bad with
    all columns that are not there, or of another type.
    """
    found, problems, moment = [], [], pl.lit(now, TYPES["time"])
    logged = {served.problem.id: ID, served.problem.time: TIME}
    for at, column in enumerate((*identified(served), *served.inputs)):
        name = column.name if column.name in schema else logged.get(column.name, column.name)
        if name not in schema:
            said = nearest(name, schema, "its columns are") if schema else "it has none"
            problems.append(f"has no column `{column.name}`, expected {WORDS[column.type]}; {said}")
        elif made := read(column, name, schema[name], moment if at >= len(identified(served)) else None):
            value, faults = made
            moment = value if column.name == served.problem.time else moment
            faults = faults if column.missing else {"is missing": value.is_null(), **faults}
            found.append(Reading(column, name, value.alias(column.name), faults))
        else:
            problems.append(f"`{name}` is {schema[name]}, expected {WORDS[column.type]}")
    if problems:
        raise Bad("; ".join(problems))
    return found


def identified(served: Model) -> list[Input]:
    """What tells which row it is, and comes back with its answer: identifier, and time where the problem has one."""
    problem = served.problem
    return [Input(problem.id, problem.id_type), *([Input(problem.time, "time")] if problem.time else [])]


# --- a column ---


def read(column: Input, name: str, dtype: pl.DataType, moment: pl.Expr | None) -> Read | None:
    """A column of the file, an input's moments as the days that they lie before a row's own; None for another type."""
    value = pl.col(name)
    if dtype == pl.Null:  # no value at all is of any type
        dtype = TYPES[column.type]
        value = value.cast(dtype)
    if dtype.is_float() or dtype.is_decimal():
        value = value.cast(pl.Float64).fill_nan(None)
    match column.type:
        case "integer" | "number" if dtype.is_numeric():
            return number(column, value, dtype, moment is None)
        case "boolean" if dtype == pl.Boolean:
            return value, {}
        case "boolean" if dtype.is_numeric():
            return value, {"is neither true nor false": (value != 0) & (value != 1)}
        case "category" | "text":
            return text(column, value, dtype)
        case "time" if isinstance(dtype, pl.Date | pl.Datetime):
            return time(value, dtype, moment)
        case "time" if dtype.is_numeric() and moment is not None:
            return value, {"is infinite": value.cast(pl.Float64).is_infinite()}
    return None


def number(column: Input, value: pl.Expr, dtype: pl.DataType, identifies: bool) -> Read:
    """A number in its range; an identifier as an int64."""
    below = "is too small" if column.minimum is None else f"is below {column.minimum:,}"
    above = "is too large" if column.maximum is None else f"is above {column.maximum:,}"
    faults = {below: value < column.lowest, above: value > column.highest}
    if column.type == "integer" and not dtype.is_integer():
        faults["is no whole number"] = value != value.round(0)
    return value.cast(pl.Int64, strict=False) if identifies else value, faults


def text(column: Input, value: pl.Expr, dtype: pl.DataType) -> Read | None:
    """A text, missing where it is empty, and of a closed list one of it."""
    faults: dict[str, pl.Expr] = {}
    if column.type == "text" and dtype == pl.Binary:  # of a uuid
        faults["is no text"] = value.bin.size() != 16
        digits = value.bin.encode("hex")
        parts = [digits.str.slice(start, end - start) for start, end in pairwise((0, 8, 12, 16, 20, 32))]
        value = pl.concat_str(parts, separator="-")
    elif column.type == "category" and dtype.is_numeric() and not dtype.is_integer():
        faults["is no whole number"] = (value != value.round(0)) | (value.abs() >= LARGEST)
        value = value.cast(pl.Int64, strict=False)  # what pandas made decimals of, as one was missing
    elif not isinstance(dtype, pl.String | pl.Categorical | pl.Enum) and not (
        column.type == "category" and (dtype.is_integer() or dtype == pl.Boolean)
    ):
        return None
    value = value.cast(pl.String)
    if column.categories:
        faults[nearest("", column.categories, "is none of")] = ~value.is_in(column.categories) & (value != "")
    else:
        faults["begins with the character 0, which is no text"] = value.str.starts_with(MISSING)
        faults[f"has more than {column.longest:,} characters"] = value.str.len_chars() > column.longest
    return pl.when(value != "").then(value), faults


def time(value: pl.Expr, dtype: pl.DataType, moment: pl.Expr | None) -> Read:
    """A moment of UTC's own clock, or the days that it lies before another; a date is its midnight."""
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        value = value.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    value = value.cast(TYPES["time"])
    if moment is not None:
        return (moment - value).dt.total_microseconds() / DAY, {}
    first, last = (at.replace(tzinfo=None) for at in (SINCE, datetime.now(UTC) + AHEAD))
    return value, {
        f"is before {SINCE.date()}": value < first,
        "is more than a day from now": value > last,
    }


# --- the rows of a file ---


class Held:
    """Counts the values that no model may be given, over all batches of a file; batches come from several threads."""

    def __init__(self, found: Sequence[Reading]) -> None:
        self.identifier, self.lock = found[0], Lock()
        self.faults = [(reading, words, odd) for reading in found for words, odd in reading.faults.items()]
        self.counts = [0] * len(self.faults)
        self.first: dict[int, tuple[Any, Any]] = {}  # by fault: an identifier, and the value

    @property
    def sound(self) -> bool:
        """Whether there was none so far."""
        return not any(self.counts)

    def look(self, batch: pl.DataFrame) -> None:
        """Count those of some rows of the file, as they are."""
        counts = batch.select(odd.sum().alias(str(at)) for at, (_, _, odd) in enumerate(self.faults)).row(0)
        with self.lock:
            for at in (at for at, rows in enumerate(counts) if rows):
                self.counts[at] += counts[at]
                if at not in self.first:
                    reading, _, odd = self.faults[at]
                    whose = self.identifier.value.alias("whose"), pl.col(reading.source).alias("value")
                    self.first[at] = batch.filter(odd).head(1).select(*whose).row(0)

    def __str__(self) -> str:
        """What there was, in a sentence that may be read by whoever reads logs."""
        found = zip(self.faults, self.counts, strict=True)
        return "; ".join(
            f"`{reading.source}` {words} in {count(rows, 'row')}{self.example(at)}"
            for at, ((reading, words, _), rows) in enumerate(found)
            if rows
        )

    def example(self, at: int) -> str:
        """Such a value, and whose it is, as policies/log.yaml lets them be shown."""
        (reading, _, _), (who, value) = self.faults[at], self.first[at]
        value = str(value) if isinstance(value, date) else value
        shown = "" if value is None else personal.quoted(reading.column.name, value, otherwise="")
        row = "" if reading is self.identifier else personal.named(self.identifier.column.name, who)
        said = f"{shown} of {row}" if shown and row else shown or row
        return said and f", such as {said}"
