"""Read the days that the protocol needs into data/rows.parquet: the contract's columns, in its types.

What cannot be read as the contract says ends here, a line for each file; values, such as an amount below zero, are read
as they are: `validate` measures them and policies/data.yaml judges. Nothing is guessed: a text is no number.
A whole delivery is compared with the one before, which lies in data/before.parquet; it is empty where there is none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import contract, personal
from pipeline.contract import Column, Contract
from pipeline.params import PARAMS, BadInput, deletable, load, run_stage
from pipeline.places import first_line, replacing
from pipeline.reading import nearest
from pipeline.rows import TYPES
from pipeline.source import (
    REWRITE,
    SIMULATE,
    File,
    check,
    every,
    files,
    instead,
    record,
    source_of,
    span,
)
from pipeline.source import before as yardstick

ROWS, BEFORE = Path("data/rows.parquet"), Path("data/before.parquet")
GROUP = 125_000  # rows of a group of ROWS: who reads whole groups reads nothing twice
DELIVERED = "delivered"  # where the metadata of BEFORE say of which day it is
SIMULATOR = "pipeline.simulate"
EXAMPLES = 3
LONGEST = 1_000  # characters of a category: the service takes no more
NUL = "\0"  # alone, it stands for a missing text in the model's graph


def main() -> None:
    """Write data/rows.parquet and data/before.parquet."""
    params, ours = load(), contract.load()
    table, (day, last) = rows(params, ours), before(params, ours)
    with replacing(ROWS) as temporary:
        table.write_parquet(temporary, row_group_size=GROUP)
    with replacing(BEFORE) as temporary:
        last.write_parquet(temporary, metadata={DELIVERED: day})
    print(f"{ROWS}: {table.height:,} rows")


def rows(params: Mapping[str, Any], ours: Contract) -> pl.DataFrame:
    """The days `since` to `until`: the contract's columns in TYPES, sorted by time and identifier.

    Raises BadInput with a line for each file that cannot be read, and where the files are not those of `data.snapshot`.
    """
    window = ours.days(params)
    return between(params, window.since, window.test[1], ours, params["data"].get("snapshot"))


def between(
    params: Mapping[str, Any], first: date, last: date, ours: Contract, pinned: str | None = None
) -> pl.DataFrame:
    """The rows of the days `first` to `last`, as `rows` gives them; a day without a file is a day without rows."""
    source = source_of(params)
    if source == SIMULATE:
        if not ours.dated:
            raise BadInput(f"{contract.CONTRACT}: time is null, and what is simulated has one; name it")
        table = read(simulator().days(first, last, params.get("simulate")), SIMULATE, ours)
        return table.sort(ours.time, ours.id)
    todo = files(source, first, last)
    found = every(lambda file: read_and_record(file, ours), todo, f"correct {contract.CONTRACT}, or {REWRITE}")
    if pinned is not None:
        check(pinned, [line for line, _, _ in found], source, (first, last))
    held = {file.name for file, (_, table, _) in zip(todo, found, strict=True) if len(table)}
    say_empty(source, [day for day in span(first, last) if f"{day}.parquet" not in held])
    for said in dict.fromkeys(sentence for _, _, sentences in found for sentence in sentences):
        print(said)
    return pl.concat(table for _, table, _ in found).sort([ours.time, ours.id] if ours.dated else ours.id)


def delivery(params: Mapping[str, Any], day: date, ours: Contract) -> pl.DataFrame:
    """The rows of a whole delivery, as `between`, each with its day as the time that it has not."""
    return between(params, day, day, ours).with_columns(pl.lit(day).cast(pl.Datetime("us")).alias(ours.time))


def before(params: Mapping[str, Any], ours: Contract) -> tuple[str, pl.DataFrame]:
    """The day and the rows of the delivery before, "" and none where there is none, or where rows have a time.

    No snapshot pins it, as no model learns from it. Columns that it lacks, or has in another type, are left out:
    contract.yaml may have changed since.
    """
    source = source_of(params)
    file = None if ours.dated or source == SIMULATE else yardstick(source, ours.days(params).since, ours)
    if file is None:
        return "", pl.DataFrame(schema={column.name: TYPES[column.type] for column in ours.columns})
    return file.name.removesuffix(".parquet"), as_far(file.read(), file.name, ours)


def as_far(content: bytes, name: str, ours: Contract) -> pl.DataFrame:
    """The contract's columns that a file has, each of which can be read. Raises BadInput where there is none."""
    try:
        return parse(content, name, ours)[0]
    except BadInput:
        found = []
        for column in ours.columns:
            with suppress(BadInput):
                found.append(parse(content, name, replace(ours, columns=(column,)))[0])
        if not found:
            raise
        return pl.concat(found, how="horizontal")


def say_empty(source: str, without: Sequence[date]) -> None:
    """Says which days have no rows: whether there may be some is the policy's."""
    if without:
        shown = ", ".join(map(str, without[:EXAMPLES])) + ", …" * (len(without) > EXAMPLES)
        found = f"data.source {source}: no rows on {len(without)} of the days ({shown})"
        print(f"{found}; days.missing of policies/data.yaml judges")


def simulator() -> Any:
    """pipeline/simulate.py, by its name: whoever has real data deletes it. Raises BadInput where it is gone."""
    return deletable(
        SIMULATOR,
        f"{PARAMS}: data.source is `{SIMULATE}`, but pipeline/simulate.py is gone; name a folder of daily files",
    )


def read_and_record(file: File, ours: Contract) -> tuple[str, pl.DataFrame, list[str]]:
    """The file's line of the snapshot, its rows, and what was made of them, from one reading."""
    content = file.read()
    table, said = parse(content, file.name, ours)
    return record(file.name, len(content), sha256(content).hexdigest()), table, said


def parse(content: bytes, name: str, ours: Contract) -> tuple[pl.DataFrame, list[str]]:
    """The contract's columns of a parquet file, which may hold others. Raises BadInput naming what is wrong with it."""
    try:
        schema = pl.read_parquet_schema(BytesIO(content))
        there = [column.name for column in ours.columns if column.name in schema and held(schema[column.name])]
        table = pl.read_parquet(content, columns=there)
    except pl.exceptions.DuplicateError as error:
        raise BadInput(
            f"{name}: {first_line(error)}; write the file again with each column once, or without this one"
        ) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise BadInput(f"{name}: {instead(content) or f'is damaged ({first_line(error)})'}") from None
    if there and table.is_empty():  # whatever types nothing has
        return pl.DataFrame(schema={column.name: TYPES[column.type] for column in ours.columns}), []
    return read(table, name, ours, schema), zones(schema, ours)


def held(dtype: pl.DataType) -> bool:
    """Whether polars can hold its values: decimals of so many digits."""
    return not isinstance(dtype, pl.Decimal) or (dtype.precision or 0) <= 38


def zones(schema: Mapping[str, pl.DataType], ours: Contract) -> list[str]:
    """Which columns are of a time zone that is not UTC, and what was made of them."""
    return [
        f"{column.name} is in the time zone {dtype.time_zone}: converted to UTC, and a row's day is the day in UTC"
        for column in ours.columns
        if column.type == "time"
        and isinstance(dtype := schema.get(column.name), pl.Datetime)
        and dtype.time_zone not in (None, "UTC", "Etc/UTC")
    ]


# --- the contract's types ---


class Unreadable(Exception):
    """What is wrong with a column, and what to do; its name stands before it."""


def read(
    table: pl.DataFrame, name: str, ours: Contract, schema: Mapping[str, pl.DataType] | None = None
) -> pl.DataFrame:
    """The contract's columns of `table`, in TYPES. Raises BadInput with all that is missing or cannot be read.

    `schema` is that of the whole file; of it, `table` holds what the contract names and polars can hold.
    """
    schema = table.schema if schema is None else schema
    columns, problems = [], []
    for column in ours.columns:
        expected = WORDS[column.type]
        if column.name not in schema:
            near = nearest(column.name, schema, "its columns are") if schema else "it has none"
            problems.append(f"has no column `{column.name}`, expected {expected}; {near}")
            continue
        if column.name not in table.columns:
            problems.append(f"`{column.name}` is {schema[column.name]}, expected {expected}, of 38 digits at most")
            continue
        try:
            columns.append(typed(column, table[column.name]))
        except Unreadable as error:
            problems.append(f"`{column.name}` {error}")
        except pl.exceptions.PanicException as error:  # polars', over times that are none
            problems.append(f"`{column.name}` cannot be read as {expected} ({first_line(error)})")
    if problems:
        raise BadInput(f"{name}: {'; '.join(problems)}")
    return pl.DataFrame(columns)


def typed(column: Column, values: pl.Series) -> pl.Series:
    """A column in its type; no value at all is of any type. Raises Unreadable."""
    if values.dtype == pl.Null:
        return values.cast(TYPES[column.type])
    return READ[column.type](column, values)


def integers(column: Column, values: pl.Series) -> pl.Series:
    """Whole numbers of any width, also those that pandas made decimals of, as one was missing: NaN is missing."""
    if not values.dtype.is_numeric():
        raise Unreadable(no_number(column, values))
    values, odd = whole(values)
    if len(odd):
        raise Unreadable(
            f"holds {such(column, odd)} in {count(odd)}, expected whole numbers; mend the source, or declare "
            "`type: number` in contract.yaml"
        )
    return exact(column, values, pl.Int64())


def numbers(column: Column, values: pl.Series) -> pl.Series:
    """Numbers of any width; NaN is missing, where values may be missing, else `validate` counts it."""
    if not values.dtype.is_numeric():
        raise Unreadable(no_number(column, values))
    wide = values.cast(pl.Float64)
    return wide.fill_nan(None) if column.missing else wide


def booleans(column: Column, values: pl.Series) -> pl.Series:
    """True and false, or the whole numbers 1 and 0."""
    if values.dtype == pl.Boolean:
        return values
    if not values.dtype.is_numeric():
        raise Unreadable(
            f"is {kind(values)}, such as {such(column, values)}, expected true or false; write it as booleans, or "
            "declare `type: category` in contract.yaml"
        )
    values = values.fill_nan(None) if values.dtype.is_float() else values
    odd = values.filter((values != 0) & (values != 1))
    if len(odd):
        raise Unreadable(
            f"holds {such(column, odd)} in {count(odd)}, expected true or false, or 1 and 0; mend the source, or "
            f"declare `type: {'number' if values.dtype.is_float() else 'integer'}` in contract.yaml"
        )
    return values == 1


def categories(column: Column, values: pl.Series) -> pl.Series:
    """Text; whole numbers and booleans as their text. Empty text is missing."""
    if values.dtype.is_float() or values.dtype.is_decimal():
        values, odd = whole(values)
        if len(odd):
            raise Unreadable(
                f"holds numbers such as {such(column, odd)} in {count(odd)}, expected categories; write them as text, "
                "or declare `type: number` in contract.yaml"
            )
        values = exact(column, values, pl.Int64())
    if not (text_like(values) or values.dtype.is_integer() or values.dtype == pl.Boolean):
        raise Unreadable(f"is {kind(values)}, expected categories; write it as text")
    values = values.cast(pl.String)
    if len(odd := values.filter(values.str.starts_with(NUL))):
        raise Unreadable(f"begins with the character 0 in {count(odd)}, which is no text; write null for it")
    if len(odd := values.filter(values.str.len_chars() > LONGEST)):
        raise Unreadable(
            f"has more than {LONGEST:,} characters in {count(odd)}, which no category has; shorten it in the source, "
            "or declare `type: text` in contract.yaml, which no model sees"
        )
    return filled(values)


def texts(column: Column, values: pl.Series) -> pl.Series:
    """Text, and the 16 bytes of a uuid as its text. Empty text is missing."""
    if values.dtype == pl.Binary and values.bin.size().drop_nulls().eq(16).all():
        digits = values.bin.encode("hex")
        parts = [digits.str.slice(start, end - start) for start, end in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))]
        joined = pl.select(pl.concat_str(parts, separator="-")).to_series()  # missing where a part is
        return joined.alias(column.name)
    if not text_like(values):
        declare = " or declare `type: integer` in contract.yaml" if values.dtype.is_integer() else ""
        raise Unreadable(f"is {kind(values)}, expected text; write it as text,{declare}".rstrip(","))
    return filled(values.cast(pl.String))


def times(column: Column, values: pl.Series) -> pl.Series:
    """Moments of UTC's own clock, in microseconds; of another time zone they are converted, and a date is midnight."""
    dtype = values.dtype
    if dtype == pl.Date:
        return values.cast(TYPES["time"])
    if not isinstance(dtype, pl.Datetime):
        raise Unreadable(
            f"is {kind(values)}, such as {such(column, values)}, expected a date, or a date with time; convert it "
            "where you write the file, such as by pandas.to_datetime, whose `format` says which number is the day"
        )
    if dtype.time_zone is not None:
        values = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return values.cast(TYPES["time"])


READ: Mapping[str, Callable[[Column, pl.Series], pl.Series]] = {
    "integer": integers,
    "number": numbers,
    "boolean": booleans,
    "category": categories,
    "text": texts,
    "time": times,
}
WORDS = {
    "integer": "whole numbers",
    "number": "numbers",
    "boolean": "true or false",
    "category": "categories, as text",
    "text": "text",
    "time": "a date, or a date with time",
}


def no_number(column: Column, values: pl.Series) -> str:
    """What is wrong with a column that should hold numbers, and how to mend it."""
    if not text_like(values):
        declare = "; declare `type: boolean` in contract.yaml" if values.dtype == pl.Boolean else ""
        return f"is {kind(values)}, expected {WORDS[column.type]}{declare}"
    text = values.cast(pl.String)
    odd = text.filter(text.is_not_null() & text.str.strip_chars().cast(pl.Float64, strict=False).is_null())
    found = (
        f"{count(odd)} without a number, such as {such(column, odd)}" if len(odd) else f"such as {such(column, text)}"
    )
    return (
        f"is text, expected {WORDS[column.type]}; {found}: write it as numbers, and what is not known as null, or "
        "declare `type: category` in contract.yaml"
    )


def whole(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Numbers, missing where they are NaN; and those of them that are not whole."""
    if values.dtype.is_float():
        values = values.fill_nan(None)
        return values, values.filter((values != values.round(0)) | ~values.is_finite())
    return values, values.filter(values != values.round(0)) if values.dtype.is_decimal() else values.clear()


def exact(column: Column, values: pl.Series, dtype: pl.DataType) -> pl.Series:
    """The same values in another type. Raises Unreadable where it cannot hold one."""
    try:
        return values.cast(dtype)
    except pl.exceptions.PolarsError:
        raise Unreadable(f"has a number too large for {WORDS[column.type]} of 64 bits; write it as text") from None


def text_like(values: pl.Series) -> bool:
    """Whether a column holds text, also where it numbers its levels."""
    return isinstance(values.dtype, pl.String | pl.Categorical | pl.Enum)


def filled(values: pl.Series) -> pl.Series:
    """Text, missing where it is empty."""
    return pl.select(pl.when(values != "").then(values).alias(values.name)).to_series()


def kind(values: pl.Series) -> str:
    """A column's type, for people."""
    return "text" if text_like(values) else "bytes" if values.dtype == pl.Binary else str(values.dtype)


def such(column: Column, values: pl.Series) -> str:
    """The first values, each once, where they may be shown."""
    first: Iterable[Any] = values.drop_nulls().unique(maintain_order=True).head(EXAMPLES)
    return ", ".join(dict.fromkeys(personal.quoted(column.name, value) for value in first)) or "no value"


def count(values: pl.Series) -> str:
    """How many rows these are."""
    return f"{len(values):,} row{'s' * (len(values) != 1)}"


if __name__ == "__main__":
    run_stage(main)
