"""Read the days that the protocol needs into data/transactions.parquet.

`data.source` is `simulate`, or a folder of daily files, YYYY-MM-DD.parquet: a path, or a URL that fsspec knows.
What cannot be read as the row contract's columns and types ends here, a line for each file; values, such as
an amount below zero, are read as they are: `validate` measures them and policies/data.yaml judges.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from importlib import import_module
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import polars as pl
import yaml

from pipeline.params import EVALUATION, BadInput, days, load, run_stage, unwritable
from pipeline.places import opened
from pipeline.schema import ID, SOURCE, TIME

PARAMS = Path("params.yaml")
TRANSACTIONS = Path("data/transactions.parquet")
SIMULATE = "simulate"
SIMULATOR = "pipeline.simulate"
SHOWN = 10  # problems that a message lists; the rest is counted

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write data/transactions.parquet, or with `--snapshot` pin the source's files in params.yaml."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.ingest", description="Read the source's days.")
    parser.add_argument("--snapshot", action="store_true", help="write data.snapshot into params.yaml instead")
    if parser.parse_args(arguments).snapshot:
        pin()
    else:
        table = transactions(load(PARAMS))
        with replacing(TRANSACTIONS) as temporary:
            table.write_parquet(temporary)
        print(f"{TRANSACTIONS}: {table.height:,} rows")


def transactions(params: dict[str, Any]) -> pl.DataFrame:
    """The days `since` to `until`: SOURCE's columns in the contract's types, sorted by time and identifier.

    Raises BadInput with a line for each file that cannot be read, and where the files are not those of `data.snapshot`.
    """
    source, window = source_of(params), days(params)
    if source == SIMULATE:
        table = simulator().days(window.since, window.test[1], params.get("simulate"))
        return contract(table, SIMULATE).sort(TIME, ID)
    read = every(read_and_record, files(source, window.since, window.test[1]))
    check_snapshot(params["data"].get("snapshot"), snapshot(record for record, _ in read), source)
    return pl.concat(table for _, table in read).sort(TIME, ID)


def simulator() -> Any:
    """pipeline/simulate.py, by its name: whoever has real data deletes it. Raises BadInput where it is gone."""
    try:
        return import_module(SIMULATOR)
    except ModuleNotFoundError as error:
        if error.name != SIMULATOR:
            raise
        raise BadInput(
            f"{PARAMS}: data.source is `{SIMULATE}`, but pipeline/simulate.py is gone; name a folder of daily files"
        ) from None


def source_of(params: dict[str, Any]) -> str:
    """`data.source`. Raises BadInput where it is no text."""
    source = params["data"].get("source")
    if not isinstance(source, str) or not source.strip():
        raise BadInput(f"{PARAMS}: data.source is {source!r}; write `{SIMULATE}`, or a folder of daily parquet files")
    return source


# --- the files of a folder ---


@dataclass(frozen=True)
class File:
    """A daily file in the source's folder."""

    system: fsspec.AbstractFileSystem
    path: str

    @property
    def name(self) -> str:
        """YYYY-MM-DD.parquet"""
        return self.path.rsplit("/", 1)[-1]

    def read(self) -> bytes:
        """The file's bytes. Raises BadInput where they cannot be read."""
        with speaking(self.name):
            return bytes(self.system.cat_file(self.path))


def files(source: str, first: date, last: date) -> list[File]:
    """The daily files of `first` to `last`, in order. Raises BadInput naming the folder or the missing files."""
    with speaking(f"data.source {source}"):
        system, folder = opened(source, "data.source")
        there = {path.rsplit("/", 1)[-1] for path in system.ls(folder, detail=False)}
    expected = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
    if missing := [day for day in expected if f"{day}.parquet" not in there]:
        raise BadInput(missing_files(source, missing, expected, there))
    return [File(system, f"{folder.rstrip('/')}/{day}.parquet") for day in expected]


def missing_files(source: str, missing: Sequence[date], expected: Sequence[date], there: set[str]) -> str:
    """Says which daily files are missing, what the folder holds instead, and what to do."""
    held = sorted(name for name in there if len(name) == len("YYYY-MM-DD.parquet") and name.endswith(".parquet"))
    holds = f"it holds {held[0]} to {held[-1]}" if held else "it holds no file named YYYY-MM-DD.parquet"
    return listing(
        f"data.source {source}: {len(missing)} of the {len(expected)} daily files from {expected[0]} to {expected[-1]} "
        f"are missing ({holds}); add them, or move data.until and features in {PARAMS}, or split in {EVALUATION}, "
        "to days that are there",
        [f"{day}.parquet" for day in missing],
    )


def every(work: Callable[[File], T], todo: Sequence[File]) -> list[T]:
    """`work` on every file, side by side, as a bucket answers slowly. Raises one BadInput with all that were raised."""
    done, problems = [], []
    with ThreadPoolExecutor(max_workers=16) as pool:
        for outcome in [pool.submit(work, file) for file in todo]:
            try:
                done.append(outcome.result())
            except BadInput as problem:
                problems.append(str(problem))
    if problems:
        raise BadInput(
            listing(f"{len(problems)} of the {len(todo)} daily files cannot be read; restore or rewrite them", problems)
        )
    return done


def read_and_record(file: File) -> tuple[str, pl.DataFrame]:
    """The file's line of the snapshot and its rows, from one reading."""
    content = file.read()
    return record(file.name, content), parse(content, file.name)


def parse(content: bytes, name: str) -> pl.DataFrame:
    """The contract's columns of a parquet file, which may hold others. Raises BadInput naming what is wrong with it."""
    try:
        schema = pl.read_parquet_schema(BytesIO(content))
        check_columns(schema, name)
        table = pl.read_parquet(content, columns=[column.name for column in SOURCE])
    except pl.exceptions.DuplicateError as error:
        raise BadInput(
            f"{name}: {first_line(error)}; write the file again with each column once, or without this one"
        ) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise BadInput(f"{name}: {instead(content) or f'is damaged ({first_line(error)})'}") from None
    if table.is_empty():
        raise BadInput(f"{name}: has 0 rows; expected a day of transactions")
    return contract(table, name)


def instead(content: bytes) -> str | None:
    """What a file that is no parquet is, and what to do about it; None where that cannot be told."""
    if not content:
        return "has 0 bytes; expected a parquet file: copy it again"
    for start, is_one in INSTEAD.items():
        if content.lstrip().startswith(start):
            return is_one
    first = content[:200].partition(b"\n")[0].decode(errors="replace").strip()
    return f"is text, not parquet; it begins with {first!r}: write it as parquet" if first.isprintable() else None


INSTEAD = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`",
    b"outs:": "is a pointer of DVC, not the file itself: fetch that with `dvc pull`",
    b"<": "is a web page or an XML answer, such as an error's or a log-in's, not the file itself: download it again",
    b"\x1f\x8b": "is compressed as a whole (gzip): unpack it, as parquet compresses by itself",
    b"PK\x03\x04": "is a zip archive: unpack it",
    b"PAR1": "is a parquet file whose end is damaged or missing: copy it again",
}
"""What lies where a parquet file should, by how it begins."""


# --- the row contract ---


def contract(table: pl.DataFrame, name: str) -> pl.DataFrame:
    """SOURCE's columns of `table` in the contract's types. Raises BadInput with all that is missing or mistyped."""
    check_columns(table.schema, name)
    try:
        return table.select(pl.col(column.name).cast(READABLE[column.dtype].dtype) for column in SOURCE)
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{name}: has a number too large for the contract's type ({first_line(error)})") from None


def check_columns(schema: Mapping[str, pl.DataType], name: str) -> None:
    """Raises BadInput with all of SOURCE's columns that are missing or mistyped."""
    problems = [
        f"`{column.name}` is {schema[column.name]}, expected {READABLE[column.dtype].words}"
        if column.name in schema
        else f"has no column `{column.name}`, expected {READABLE[column.dtype].words}"
        for column in SOURCE
        if column.name not in schema or not READABLE[column.dtype].accepts(schema[column.name])
    ]
    if problems:
        raise BadInput(f"{name}: {'; '.join(problems)}")


@dataclass(frozen=True)
class Readable:
    """What is read as one of the contract's types: any width of it, but never text for a number."""

    words: str
    dtype: pl.DataType
    accepts: Callable[[pl.DataType], bool]


def fits(dtype: pl.DataType) -> bool:
    """Whether polars reads decimals of that many digits."""
    return not isinstance(dtype, pl.Decimal) or (dtype.precision or 0) <= 38


READABLE = {
    "int64": Readable("whole numbers", pl.Int64(), lambda dtype: dtype.is_integer()),
    "float64": Readable(
        "numbers, of 38 digits at most", pl.Float64(), lambda dtype: dtype.is_numeric() and fits(dtype)
    ),
    "datetime": Readable(
        "a date with time, in UTC or without time zone: convert it to UTC",
        pl.Datetime("us"),  # UTC's own clock, where it was in UTC
        lambda dtype: isinstance(dtype, pl.Datetime) and dtype.time_zone in (None, "UTC", "Etc/UTC"),
    ),
    "string": Readable("text", pl.String(), lambda dtype: isinstance(dtype, pl.String | pl.Categorical | pl.Enum)),
}


# --- the snapshot ---


def pin() -> None:
    """Write the snapshot of the source's files into params.yaml; nothing else there changes."""
    params = load(PARAMS)
    source, window = source_of(params), days(params)
    if source == SIMULATE:
        print(f"data.source is `{SIMULATE}`, whose days follow from params.yaml alone: there is nothing to pin")
        return
    todo = files(source, window.since, window.test[1])
    digest = snapshot(every(lambda file: record(file.name, file.read()), todo))
    pinned = with_snapshot(PARAMS.read_bytes().decode(), digest)
    with replacing(PARAMS) as temporary:
        temporary.write_bytes(pinned.encode())
    print(f"data.snapshot: {digest} ({len(todo)} files, {todo[0].name} to {todo[-1].name}); commit {PARAMS}")


def record(name: str, content: bytes) -> str:
    """A file's line of the snapshot: its name, size in bytes and sha256."""
    return f"{name} {len(content)} {sha256(content).hexdigest()}\n"


def snapshot(records: Iterator[str] | Sequence[str]) -> str:
    """The digest, `sha256:…`, over the files' records in order of name."""
    return f"sha256:{sha256(''.join(sorted(records)).encode()).hexdigest()}"


def check_snapshot(pinned: str | None, found: str, source: str) -> None:
    """Raises BadInput where the files are not the pinned ones; says so where nothing is pinned."""
    if pinned is None:
        print(f"data.source {source} is not pinned: a changed file there goes unnoticed; pin it with `make snapshot`")
    elif pinned != found:
        raise BadInput(
            f"{PARAMS}: data.snapshot is {pinned}, but the daily files in {source} give {found}: restore the files "
            "(and the days, if data.until, split or features moved), or accept them as they are with `make snapshot`"
        )


def with_snapshot(text: str, digest: str) -> str:
    """The text of params.yaml with `data.snapshot` set, every other character kept."""
    node: yaml.Node | None = yaml.compose(text)
    for key in ("data", "snapshot"):
        values = {name.value: value for name, value in node.value} if isinstance(node, yaml.MappingNode) else {}
        node = values.get(key)
    if not isinstance(node, yaml.ScalarNode):
        raise BadInput(
            f"{PARAMS}: data.snapshot is not there to be written; add the line `snapshot: null` under `data:`"
        )
    start, end = node.start_mark.index, node.end_mark.index
    return text[:start] + (" " if start == end else "") + digest + text[end:]  # `snapshot:` with no value has no width


# --- writing and speaking ---


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of `path` once it is whole; until then `path` stays as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except Exception as error:
        if said := unwritable(error, path):
            raise BadInput(said) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def speaking(what: str) -> Iterator[None]:
    """Turns a file system's error into BadInput naming `what`."""
    try:
        yield
    except FileNotFoundError:
        raise BadInput(f"{what}: is not there; expected daily files, YYYY-MM-DD.parquet: check the spelling") from None
    except Exception as error:  # each of fsspec's file systems has errors of its own, so there is no narrower base
        raise BadInput(
            f"{what}: cannot be read ({first_line(error)}); check the address, the permissions or credentials, "
            "and the network"
        ) from None


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def listing(head: str, lines: Sequence[str]) -> str:
    """A sentence, then the first lines, then how many more there are."""
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join([f"{head}:", *(f"  {line}" for line in islice(lines, SHOWN)), *more])


if __name__ == "__main__":
    run_stage(main)
