"""The daily files of a table: its columns in the contract's types, one parquet file a day, without holding all rows.

A row is identified, where nothing else does, by a hash of what the model sees of it and of its time, so that it has the
same name in the next delivery; `-2` ends the name of the first copy of another row.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import tasks
from pipeline.adopt.decide import Choice, Day, Found
from pipeline.adopt.label import Label
from pipeline.adopt.profile import Profile
from pipeline.adopt.table import Table
from pipeline.contract import Contract
from pipeline.model import Problem
from pipeline.params import BadInput, Days
from pipeline.reading import count
from pipeline.rows import LABEL, TYPES, label, placed

AT_ONCE = 500_000  # rows in memory
ENOUGH = 100  # values of which each part has some
HASHED = 100_000  # rows of which it is looked at where each one falls
DAY = "_day"  # no contract has such a name


# --- the contract's types ---


def typed(table: Table, profiles: Mapping[str, Profile], made: Sequence[Choice], label: Label) -> pl.LazyFrame:
    """The table's columns as the contract has them; those that are made here are not there yet."""
    return table.frame.select(
        (in_words(profiles[c.source], label) if c.role == "label" else value(profiles[c.source], c)).alias(c.name)
        for c in made
        if c.source
    )


def value(found: Profile, choice: Choice) -> pl.Expr:
    """A column in its type of the contract."""
    return (pl.lit(None) if found.type == "empty" else found.value()).cast(TYPES[choice.type])


def in_words(found: Profile, label: Label) -> pl.Expr:
    """The label: a boolean that is written in words or digits stays as it is written."""
    if found.type == "boolean" and label.type != "boolean":
        no, yes = found.words or ("false", "true")
        kind = TYPES[label.type]
        return pl.when(found.value()).then(pl.lit(yes)).when(~found.value()).then(pl.lit(no)).cast(kind)
    return found.value().cast(TYPES[label.type])


# --- what the rows say ---


def measured(typed: Path, made: Sequence[Choice], label: Label) -> Found:
    """Rows, labels and days of a table in the contract's types."""
    table, of = pl.scan_parquet(typed), {c.role: c.name for c in made if c.role}
    value = pl.col(of["label"])
    known = [(value == each).sum() for each in label.values] or [value.count()]
    number = [] if label.values else [value.mean(), value.std()]
    counts = [count.alias(str(at)) for at, count in enumerate((pl.len(), *known, *number))]

    def parts(row: Sequence[Any]) -> tuple[int, tuple[int, ...], list[Any]]:
        return row[0], tuple(row[1 : len(known) + 1]), list(row[len(known) + 1 :])

    days = {}
    if "time" in of:
        by_day = table.group_by(pl.col(of["time"]).dt.date().alias(DAY)).agg(counts).collect(engine="streaming")
        for day, *row in by_day.sort(DAY).iter_rows():
            rows, labels, about = parts(row)
            days[day] = Day(rows, labels, *about[:1])
    rows, labels, about = parts(table.select(counts).collect(engine="streaming").row(0))
    return Found(rows, labels, days, *about)


def owned(typed: Path, made: Sequence[Choice]) -> None:
    """Raises BadInput where the rows of a group belong to several entities, as a test row's group would be learned."""
    of = {c.role: c.name for c in made if c.role}
    if not {"group", "entity"} <= of.keys():
        return
    entities = pl.scan_parquet(typed).group_by(of["group"]).agg(pl.col(of["entity"]).n_unique().alias(DAY))
    if many := entities.filter(pl.col(DAY) > 1).select(pl.len()).collect(engine="streaming").item():
        raise BadInput(
            f"GROUP={of['group']}: {count(many, 'group')} have rows of several values of `{of['entity']}`, the "
            "entity; the rows of a group belong to one entity: leave one of both out"
        )


# --- a name for rows that have none ---


def hashes(typed: Path, names: Sequence[str]) -> pl.DataFrame:
    """Sixteen hex digits of what these columns say of each row, `_hash`, and which of its copies it is, `_copy`."""
    text = pl.concat_str([pl.col(name).cast(pl.String).fill_null("\0") for name in names], separator="\x1f")
    parts = [
        pl.Series("_hash", [digest(row) for row in part.select(text).to_series()], pl.String)
        for part in slices(typed, names)
    ]
    hashed = pl.concat(parts).to_frame()
    return hashed.with_columns((pl.int_range(pl.len()).over("_hash") + 1).alias("_copy"))


def digest(row: str) -> str:
    """64 bits of a row: of ten million others, one shares them by chance in a million tables."""
    return blake2b(row.encode(), digest_size=8).hexdigest()


def slices(typed: Path, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows, so many at once, in their order."""
    table = pl.scan_parquet(typed).select(names)
    for start in range(0, table.select(pl.len()).collect().item(), AT_ONCE):
        yield table.slice(start, AT_ONCE).collect()


def name_rows(typed: Path, hashed: pl.DataFrame, names: Sequence[str], named: Path) -> None:
    """Write the table with an identifier, the hash and -2 and on for copies; and, where asked for, the hash alone."""
    ending = pl.when(pl.col("_copy") > 1).then(pl.format("-{}", "_copy")).otherwise(pl.lit(""))
    made = zip(names, (pl.concat_str("_hash", ending), pl.col("_hash")), strict=False)
    columns = hashed.lazy().select(column.alias(name) for name, column in made)
    pl.concat([columns, pl.scan_parquet(typed)], how="horizontal").sink_parquet(named)


# --- a file a day ---


def write(rows: Path, folder: Path, ours: Contract, until: date) -> list[date]:
    """Write the daily files, sorted by time and identifier, or the one of the day `until`; the days written."""
    table = pl.scan_parquet(rows).select(column.name for column in ours.columns)
    folder.mkdir(parents=True)
    if not ours.dated:
        table.sink_parquet(folder / f"{until}.parquet")
        return [until]
    day = pl.col(ours.time).dt.date().alias(DAY)
    sizes = dict(table.group_by(day).len().collect(engine="streaming").sort(DAY).iter_rows())
    for days in chunks(sizes):
        some = table.with_columns(day).filter(pl.col(DAY).is_between(days[0], days[-1])).collect(engine="streaming")
        for (name,), part in some.partition_by(DAY, as_dict=True, include_key=False).items():
            part.sort(ours.time, ours.id).write_parquet(folder / f"{name}.parquet")
    return list(sizes)


def chunks(sizes: Mapping[date, int]) -> Iterator[list[date]]:
    """The days, in order, in parts that fit into memory."""
    part: list[date] = []
    rows = 0
    for day, number in sizes.items():
        if part and rows + number > AT_ONCE:
            yield part
            part, rows = [], 0
        part, rows = [*part, day], rows + number
    if part:
        yield part


def parted(rows: Path, ours: Contract, knobs: Mapping[str, Any]) -> None:
    """Raises BadInput where a table without a time has too little in one of the parts that a hash makes of it.

    Of more than HASHED rows chance leaves no part without any.
    """
    table = pl.scan_parquet(rows)
    if ours.dated or table.select(pl.len()).collect().item() > HASHED:
        return
    who, task, days = ours.entity or ours.group or ours.id, tasks.task(ours.task), ours.days(knobs)
    known = table.select(*dict.fromkeys((who, ours.label.column))).with_columns(label(ours).alias(LABEL))
    of_part = placed(known.drop_nulls(LABEL).collect(), ours, knobs)
    for what, span, lacking in (
        ("learned from", tasks.fitted_to(task, days), task.lacks),
        ("calibrated on", days.calibration, lambda labels, _: "" if len(labels) else "no row"),
        ("tested on", days.test, task.unmeasurable),
    ):
        labels = of_part.filter(pl.col(ours.time).dt.date().is_between(*span))[LABEL].to_numpy()
        if said := lacking(labels, Problem.of(ours)):
            number, more = of_part[who].n_unique(), "join rare classes to others in the table, or bring more rows"
            few = f"it has {count(number, 'value')}: name a column of more values, or leave it out"
            raise BadInput(
                f"a hash of `{who}` says which rows are learned from, calibrated on and tested on, and what is {what} "
                f"holds {said}; {few if number < ENOUGH and who != ours.id else more}"
            )


def within(rows: Path, ours: Contract, window: Days) -> pl.LazyFrame:
    """The rows of the days that are read."""
    table = pl.scan_parquet(rows).select(column.name for column in ours.columns)
    if not ours.dated:
        return table
    return table.filter(pl.col(ours.time).dt.date().is_between(window.since, window.test[1]))
