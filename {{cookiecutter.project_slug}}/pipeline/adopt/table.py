"""Somebody's table, as it stands: CSV of any usual kind, parquet, a folder of either, or what a bucket holds.

Nothing is read into memory as a whole. Every byte of a CSV is looked at once, so that a row with a field too many, or
too few, is found wherever it stands; one that is compressed, or not in UTF-8, is copied into a temporary folder first.
"""

import bz2
import codecs
import csv
import gzip
import lzma
import re
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cache
from io import StringIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from pipeline.params import BadInput
from pipeline.places import first_line, opened, speaking
from pipeline.reading import count, nearest
from pipeline.source import MAGIC

SEPARATORS = {",": ",", ";": ";", "\t": "tab", "|": "|"}
NEWLINE = b"\n"
CHUNK = 1 << 24  # bytes that are looked at together
HEAD = 1 << 20  # bytes from which separator, header and decimal comma are told
MOST = 500  # columns, as the contract has them
LONGEST = 100  # characters of a name
EXAMPLES = 3
SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".parquet")


@dataclass(frozen=True)
class Table:
    """A table as it was found, not read yet."""

    where: str  # as it was asked for
    frame: pl.LazyFrame  # of CSV every column as text, an empty cell as null; of parquet its own types
    kind: str  # for people: "CSV, separated by ;, decimal commas, Windows-1252", "parquet, 3 files"
    rows: int
    decimal_comma: bool
    renamed: Mapping[str, str]  # a header that was none ("" in column 1, " a "): what it is called here
    delivered: str | None  # the column with the day that a file of a folder is named after, pl.Date; None for one file


def read(where: str) -> Table:
    """The table of a file, a folder or an address of a bucket. Raises BadInput, a sentence for what it cannot be."""
    system, path = opened(where, "TABLE")
    with speaking_of(where):
        if not system.exists(path):
            raise BadInput(f"{where}: is not there; {near(system, path)}")
        folder = system.isdir(path)
        there = sorted(system.ls(path, detail=False)) if folder else []
    if not folder:
        return of_file(local(system, path), where)
    files = [each for each in there if named(each).lower().endswith(SUFFIXES) and named(each)[0] not in "._"]
    if not files:
        raise BadInput(f"{where}: is a folder without a table; expected files that end with {', '.join(SUFFIXES)}")
    return of_folder(where, [(named(each), local(system, each)) for each in files])


# --- where it lies ---


@cache
def scratch() -> TemporaryDirectory[str]:
    """A folder that is gone when Python ends."""
    return TemporaryDirectory(prefix="adopt-")


def temporary() -> Path:
    """A new path in it."""
    folder = Path(scratch().name)
    return folder / str(len(list(folder.iterdir())))


def speaking_of(where: str) -> Any:
    """Turns what a bucket raises into a sentence; BadInput goes through, as it is no Exception."""
    return speaking(f"TABLE {where}")


def named(path: str) -> str:
    """The name of a file."""
    return path.rstrip("/").rsplit("/", 1)[-1]


def local(system: Any, path: str) -> Path:
    """A file on this machine: itself, or a copy of what lies in a bucket."""
    if "file" in system.protocol or system.protocol == "file":
        return Path(path)
    with speaking_of(named(path)):
        copy = temporary()
        system.get_file(path, str(copy))
        return copy


def near(system: Any, path: str) -> str:
    """What there is instead of a file that is not there."""
    folder = path.rstrip("/").rpartition("/")[0]
    try:
        there = sorted(map(named, system.ls(folder, detail=False))) if system.isdir(folder) else []
    except Exception:  # of each file system its own
        there = []
    return nearest(named(path), there, "beside it are") if there else "check the spelling"


def of_folder(where: str, files: Sequence[tuple[str, Path]]) -> Table:
    """One table of many files, which have the same columns; where files are named after days, their days."""
    tables = [of_file(path, f"{where.rstrip('/')}/{name}") for name, path in files]
    first, kinds = tables[0], {table.kind.partition(",")[0] for table in tables}
    if len(kinds) > 1:
        raise BadInput(f"{where}: holds CSV and parquet files; leave those of one kind, which are one table")
    names = first.frame.collect_schema().names()
    for table in tables[1:]:
        others = table.frame.collect_schema().names()
        if set(others) != set(names):
            odd = sorted(set(others) ^ set(names))
            raise BadInput(
                f"{table.where}: has not the same columns as {first.where}: {listed(odd)} "
                f"{'is' if len(odd) == 1 else 'are'} in one of them alone; write both with the same header, or move one"
            )
    days = [day_of(name) for name, _ in files]
    if any(days) and not all(days):
        odd_name = next(name for (name, _), day in zip(files, days, strict=True) if not day)
        raise BadInput(
            f"{where}: {odd_name} is not named after a day, as others are; name every file YYYY-MM-DD, or none"
        )
    called = delivered(names) if all(days) else None
    frames = [table.frame.select(names) for table in tables]
    if called:
        frames = [
            frame.with_columns(pl.lit(day, pl.Date).alias(called)) for frame, day in zip(frames, days, strict=True)
        ]
    try:
        frame = pl.concat(frames, how="vertical_relaxed")
        frame.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise BadInput(
            f"{where}: its files hold a column in types that do not go together ({first_line(error)})"
        ) from None
    return Table(
        where,
        frame,
        f"{' or '.join(dict.fromkeys(table.kind for table in tables))}, {count(len(files), 'file')}",
        sum(table.rows for table in tables),
        any(table.decimal_comma for table in tables),
        first.renamed,
        called,
    )


def day_of(name: str) -> date | None:
    """The day that a file is named after."""
    with suppress(ValueError):
        return date.fromisoformat(name[:10]) if re.fullmatch(r"\d{4}-\d\d-\d\d\.[a-z.]+", name.lower()) else None
    return None


def delivered(names: Iterable[str]) -> str:
    """What the column with the file's day is called."""
    taken = set(names)
    return next(name for name in BY_FILE if name not in taken)


BY_FILE = ("delivered", "delivered_on", "day of the file", "day of the file 2")


# --- a file ---


def of_file(path: Path, where: str) -> Table:
    """The table of one file, by what it holds, whatever it is called."""
    with unreadable(where), path.open("rb") as file:
        begins = file.read(512)
    if not begins:
        raise BadInput(f"{where}: has 0 bytes; expected a CSV with a header, or parquet: copy it again")
    if begins.startswith(MAGIC):
        return of_parquet(path, where)
    for magic, unpack in PACKED.items():
        if begins.startswith(magic):
            return of_file(unpacked(path, where, unpack), where)
    for start, is_one in INSTEAD.items():
        if begins.lstrip().startswith(start):
            raise BadInput(f"{where}: {is_one}")
    if begins[257:262] == b"ustar":
        raise BadInput(f"{where}: is a tar archive: unpack it, and name the table within")
    return of_csv(path, where)


CSV_OF_IT = "save the table as CSV (UTF-8), and name that"
INSTEAD = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the table itself: fetch that with `git lfs pull`",
    b"outs:": "is a pointer of DVC, not the table itself: fetch that with `dvc pull`",
    b"<": "is a web page or XML, such as an error's or a log-in's, not the table itself: download it again",
    b"{": f"is JSON, not CSV: {CSV_OF_IT}",
    b"[": f"is JSON, not CSV: {CSV_OF_IT}",
    b"PK\x03\x04": f"is an Excel workbook, or another zip archive: of a workbook, {CSV_OF_IT}; an archive, unpack",
    b"\xd0\xcf\x11\xe0": f"is an old Excel workbook: {CSV_OF_IT}",
    b"ARROW1": "is an Arrow (feather) file: write it as parquet, and name that",
    b"SQLite format 3": f"is a database of SQLite: {CSV_OF_IT}",
    b"\x89HDF": f"is an HDF5 file: {CSV_OF_IT}",
    b"%PDF": f"is a PDF: {CSV_OF_IT}",
    b"\x80\x04": f"is a pickle of Python, which may run anything when read: {CSV_OF_IT}",
    b"\x80\x05": f"is a pickle of Python, which may run anything when read: {CSV_OF_IT}",
    b"7z\xbc\xaf": "is an archive of 7-Zip: unpack it, and name the table within",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd): unpack it, and name what comes out",
}
"""What is no table, by how it begins."""
PACKED: Mapping[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


class unreadable:
    """Turns what a file's reading raises into a sentence."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, PermissionError):
            raise BadInput(f"{self.where}: may not be read by this user; give this user the right to it") from None
        if isinstance(error, (OSError, EOFError, lzma.LZMAError)):
            raise BadInput(f"{self.where}: cannot be read ({first_line(error)}); copy it again") from None


def unpacked(path: Path, where: str, unpack: Any) -> Path:
    """A copy of a compressed file, unpacked."""
    copy = temporary()
    with unreadable(where), unpack(path, "rb") as packed, copy.open("wb") as plain:
        shutil.copyfileobj(packed, plain, CHUNK)
    return copy


# --- parquet ---


def of_parquet(path: Path, where: str) -> Table:
    """A parquet file, whose types are what they are."""
    try:
        frame = pl.scan_parquet(path, glob=False)
        schema = frame.collect_schema()
        rows = frame.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise BadInput(f"{where}: is damaged ({first_line(error)}); copy it again") from None
    if not rows or not schema:
        raise BadInput(f"{where}: holds no {'row' if schema else 'column'}; name a table with rows")
    index = {name: "" for name in schema if re.fullmatch(r"__index_level_\d+__", name)}
    names, renamed = header([index.get(name, name) for name in schema], where)
    for name, dtype in zip(names, schema.values(), strict=True):
        if dtype.is_nested() or isinstance(dtype, NO_VALUES):
            raise BadInput(
                f"{where}: {name} holds {str(dtype).lower()}, which no column of a contract can; write it as numbers, "
                "text or a date, in a column each, or leave it out"
            )
    return Table(where, rename(frame, list(schema), names), "parquet", rows, False, renamed, None)


NO_VALUES = (pl.Binary, pl.Duration, pl.Time, pl.Object)


def rename(frame: pl.LazyFrame, old: Sequence[str], new: Sequence[str]) -> pl.LazyFrame:
    """The frame with other names, where there are any."""
    return frame if list(old) == list(new) else frame.rename(dict(zip(old, new, strict=True)))


# --- CSV ---


def of_csv(path: Path, where: str, encoding: str = "") -> Table:
    """A CSV, every column as text; `encoding` is what it was in. Raises BadInput with what is wrong with its lines."""
    with unreadable(where), path.open("rb") as file:
        begins = file.read(HEAD)
    if begins.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return of_csv(copied(path, where, "utf-16"), where, "UTF-16")
    if b"\0" in begins:
        raise BadInput(f"{where}: {ZERO}")
    if b"\n" not in begins and b"\r" in begins:
        return of_csv(copied(path, where, "utf-8" if is_utf8(path) else "cp1252"), where)
    text = begins.decode("utf-8", errors="ignore").removeprefix("\ufeff")
    if not text.strip():
        raise BadInput(f"{where}: holds nothing but blank lines; copy it again")
    if text.lstrip().startswith("#") and not text.startswith(("#,", "#;", "#\t", "#|")) and commented(text):
        raise BadInput(f"{where}: begins with a comment, {shortly(text)}; take the lines before the header out")
    separator, lines = separated(text, where, len(begins) < HEAD)
    quoted = any(f'{before}"' in text for before in (separator, "\n")) or text.startswith('"')
    names, renamed = of_header(lines, where, separator)
    try:
        with unreadable(where):
            rows = inspected(path, where, separator, quoted, len(names))
    except Foreign:
        return of_csv(copied(path, where, "cp1252"), where, "Windows-1252")
    except Zero:
        raise BadInput(f"{where}: {ZERO}") from None
    if not rows:
        raise BadInput(f"{where}: holds a header and no row; name a table with rows")
    comma = decimal_comma(lines[1:])
    frame = pl.scan_csv(
        path,
        has_header=False,  # polars would refuse a header that is renamed here
        skip_rows=1,
        schema=dict.fromkeys(names, pl.String),
        separator=separator,
        quote_char='"' if quoted else None,
        glob=False,
    ).head(rows)
    said = [f"CSV, separated by {SEPARATORS[separator]}", "decimal commas" * comma, encoding]
    return Table(where, frame, ", ".join(filter(None, said)), rows, comma, renamed, None)


ZERO = (
    "holds the character 0, which no text does: it is damaged, or in an encoding such as UTF-16 without its mark; "
    "save it as CSV (UTF-8)"
)


def commented(text: str) -> bool:
    """Whether the first line has other fields than the second: a header may begin with #, too."""
    first, second, *_ = [*text.splitlines()[:2], "", ""]
    return all(first.count(separator) != second.count(separator) or second.startswith("#") for separator in SEPARATORS)


def is_utf8(path: Path) -> bool:
    """Whether a file is in UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk, last in chunks(path):
            decoder.decode(chunk, last)
    except UnicodeDecodeError:
        return False
    return True


def chunks(path: Path) -> Iterator[tuple[bytes, bool]]:
    """The bytes of a file, and whether they are the last."""
    with path.open("rb") as file:
        chunk = file.read(CHUNK)
        while chunk:
            following = file.read(CHUNK)
            yield chunk, not following
            chunk = following


def copied(path: Path, where: str, encoding: str) -> Path:
    """A copy of a file in UTF-8. Windows' quotes and dashes are read as such, and what even that lacks as Latin-1."""
    codecs.register_error("latin", latin)
    copy = temporary()
    try:
        with (
            path.open(encoding=encoding, errors="latin" if encoding == "cp1252" else "strict") as file,
            copy.open("w", encoding="utf-8", newline="\n") as out,
        ):
            shutil.copyfileobj(file, out, CHUNK)
    except UnicodeError as error:
        raise BadInput(f"{where}: is not the UTF-16 that its mark says ({error}); save it as CSV (UTF-8)") from None
    return copy


def latin(error: UnicodeError) -> tuple[str, int]:
    """The bytes that an encoding lacks, as Latin-1."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


def separated(text: str, where: str, whole: bool) -> tuple[str, list[list[str]]]:
    """What separates the fields, told from the first lines, and the fields of these. Raises BadInput."""
    csv.field_size_limit(HEAD)
    found = {}
    for separator in SEPARATORS:
        with suppress(csv.Error):
            lines = list(islice(csv.reader(StringIO(text, newline=""), delimiter=separator), 5_000))
            lines = [line for line in (lines if whole else lines[:-1] or lines) if line]
            width, times = Counter(map(len, lines)).most_common(1)[0] if lines else (0, 0)
            found[separator] = (width > 1, times / max(len(lines), 1), width), lines
    best = max(found, key=lambda separator: found[separator][0], default=",")
    if not found or not found[best][0][0]:
        tried = ", ".join(SEPARATORS.values())
        raise BadInput(
            f"{where}: has one column, {shortly(text)}, whatever separates the fields of {tried}; "
            "save it with one of these between them"
        )
    return best, found[best][1]


def shortly(text: str) -> str:
    """The first line, shortly."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return repr(first if len(first) <= 60 else f"{first[:57]}...")


def of_header(lines: Sequence[Sequence[str]], where: str, separator: str) -> tuple[list[str], dict[str, str]]:
    """The names that the first line gives. Raises BadInput where it is no header, or two lines are."""
    first, *others = lines
    usual = Counter(map(len, others)).most_common(1)[0][0] if others else len(first)
    if len(first) != usual:
        known = SEPARATORS[separator]
        if len(first) == usual - 1 and all(not line[-1] for line in others if len(line) == usual):
            raise BadInput(
                f"{where}: every line but the header ends with a {known}; end the header with one too, or no line"
            )
        raise BadInput(
            f"{where}: its first line, {shortly(separator.join(first))}, has {count(len(first), 'field')}, the others "
            f"{usual}; the first line has to be the header: take out what stands before it, or name every column"
        )
    numbers = [cell for cell in first if number(cell)]
    years = all(re.fullmatch(r"(19|20)\d\d", cell.strip()) for cell in numbers)
    if len(numbers) == len([cell for cell in first if cell.strip()]) or (len(numbers) * 2 >= len(first) and not years):
        raise BadInput(
            f"{where}: has no header: the first line holds numbers, such as {numbers[0] if numbers else 'none'!r}; "
            "write the columns' names before it"
        )
    names, renamed = header(first, where)
    if len(others) >= 3 and twice(others):
        raise BadInput(
            f"{where}: has two header lines: line 2, {shortly(separator.join(others[0]))}, holds words where all "
            "that follow hold numbers; leave one line"
        )
    return names, renamed


def number(cell: str) -> bool:
    """Whether a cell holds a number, with a comma or a point."""
    return bool(re.fullmatch(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?", cell.strip()))


def twice(lines: Sequence[Sequence[str]]) -> bool:
    """Whether the first of these lines is of words alone, where two columns or more hold numbers in all that follow."""
    first, *others = lines
    if any(map(number, first)):
        return False
    width = len(first)
    columns = [[line[at] for line in others if len(line) == width and line[at].strip()] for at in range(width)]
    numeric = [at for at, cells in enumerate(columns) if cells and sum(map(number, cells)) >= 0.9 * len(cells)]
    return len([at for at in numeric if first[at].strip()]) == len(numeric) and len(numeric) >= 2


def header(cells: Sequence[str], where: str) -> tuple[list[str], dict[str, str]]:
    """The columns' names, and those that were given here. Raises BadInput where a contract cannot hold one."""
    if len(cells) > MOST:
        raise BadInput(
            f"{where}: has {len(cells):,} columns, and a contract holds {MOST} at most; leave out the others"
        )
    stripped, renamed, names = [cell.strip() for cell in cells], {}, []
    for place, (cell, name) in enumerate(zip(cells, stripped, strict=True), start=1):
        if not name:
            name = f"column {place}"
            while name in stripped:
                name += " (without a name)"
        if name != cell:
            renamed[cell or f"(column {place})"] = name
        names.append(name)
    if several := [name for name, times in Counter(names).items() if times > 1]:
        raise BadInput(f"{where}: more than once in the header: {listed(several)}; give each column its own name")
    for name in names:
        if name.startswith("_"):
            raise BadInput(f"{where}: the column `{name}` begins with _, as names of our own do; give it another name")
        if re.search(r"[\x00-\x1f\x7f]", name):
            raise BadInput(
                f"{where}: the column {name!r} has a line's end or another control character in its name; rename it"
            )
        if len(name) > LONGEST:
            raise BadInput(
                f"{where}: the column `{name[:40]}...` has a name of {len(name)} characters, and may have {LONGEST}; "
                "shorten it"
            )
    return names, renamed


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
    return ", ".join(f"`{name}`" for name in names[:EXAMPLES]) + more


def decimal_comma(lines: Sequence[Sequence[str]]) -> bool:
    """Whether numbers are written 1,5: some are, that cannot be thousands (1,234), and none is written 1.5.

    Beside these 1.234 is no decimal number, and is not read as one.
    """
    cells = [cell.strip() for line in lines for cell in line]
    commas, points = (
        any(
            re.fullmatch(rf"[+-]?(\d+|\d{{1,3}}({other}\d{{3}})+){mark}\d+", cell)
            and not re.fullmatch(rf"[+-]?\d{{1,3}}{mark}\d{{3}}", cell)
            for cell in cells
        )
        for mark, other in ((",", r"\."), (r"\.", ","))
    )
    return commas and not points


# --- its lines ---


class Lines(NamedTuple):
    """What is known of some lines of a file."""

    lines: int
    records: int  # a record may have many lines, in quotes
    wrong: list[tuple[int, int]]  # the first lines at which records of another width end, with their fields; 0: blank
    full: int  # the last line that is not blank
    rows: int  # the records up to it


class Foreign(Exception):
    """A file is not in UTF-8."""


class Zero(Exception):
    """A file holds the character 0."""


def inspected(path: Path, where: str, separator: str, quoted: bool, width: int) -> int:
    """The rows below the header. Raises Foreign, Zero, and BadInput where lines are not as wide as the header.

    A quote opens and closes wherever it stands, so that "" within quotes counts as nothing, and a separator or a line's
    end between quotes as text.
    """
    wrong: list[tuple[int, int]] = []
    lines = records = full = rows = 0
    for found in side_by_side(lambda block: taken(block, ord(separator), quoted, width), blocks(path, where, quoted)):
        wrong += [(lines + line, fields) for line, fields in found.wrong]
        if found.full:
            full, rows = lines + found.full, records + found.rows
        lines, records = lines + found.lines, records + found.records
    if ragged := [(line, fields) for line, fields in wrong if line <= full]:
        shown = ", ".join(
            f"line {line:,} {'is empty' if not fields else f'has {fields}'}" for line, fields in ragged[:EXAMPLES]
        )
        more = " and so on" if len(ragged) > EXAMPLES else ""
        raise BadInput(
            f"{where}: the header has {count(width, 'field')}, but {shown}{more}; give each line as many, and put text "
            f"that holds a {SEPARATORS[separator]} in quotes"
        )
    return rows - 1


def side_by_side(work: Callable[[bytes], Lines], todo: Iterator[bytes]) -> Iterator[Lines]:
    """`work` on each, in order; a few of them are in memory."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        running: deque[Future[Lines]] = deque()
        for block in todo:
            running.append(pool.submit(work, block))
            if len(running) > 3:
                yield running.popleft().result()
        yield from (each.result() for each in running)


def blocks(path: Path, where: str, quoted: bool) -> Iterator[bytes]:
    """The bytes of a file in blocks of whole records. Raises BadInput where a quote is never closed."""
    start = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            lines = [chunk, file.readline()]
            size, within = sum(map(len, lines)), quoted and sum(line.count(b'"') for line in lines) % 2
            while within:
                lines.append(file.readline())
                size, within = size + len(lines[-1]), (within + lines[-1].count(b'"')) % 2
                if within and (not lines[-1] or size > 4 * max(CHUNK, HEAD)):
                    line = line_at(path, start + opening(b"".join(lines)))
                    raise BadInput(
                        f'{where}: a quote (") that opens in line {line:,} is never closed; close it, or double a '
                        'quote that is text ("")'
                    )
            block = b"".join(lines)
            yield block if block.endswith(NEWLINE) else block + NEWLINE
            start += size


def line_at(path: Path, place: int) -> int:
    """The line in which a byte stands."""
    line = 1
    for chunk, _ in chunks(path):
        line, place = line + chunk.count(NEWLINE, 0, max(place, 0)), place - len(chunk)
    return line


def opening(text: bytes) -> int:
    """Where the last quote stands that opens a field, after a separator or a line's end; else the last quote."""
    found = [match.end() - 1 for match in re.finditer(rb'(?:^|[,;\t|\n])"(?!")', text)]
    return found[-1] if found else text.rfind(b'"')


def taken(block: bytes, separator: int, quoted: bool, width: int) -> Lines:
    """What is known of a block of whole records. Raises Foreign, and Zero."""
    if b"\0" in block:
        raise Zero
    if not block.isascii():
        try:
            block.decode("utf-8")
        except UnicodeDecodeError:
            raise Foreign from None
    if b'"' not in block or not quoted:  # as a rule, every record is as wide: the fastest way to see it
        record = bytes([separator]) * (width - 1) + NEWLINE
        marked = block.translate(None, bytes({*range(256)} - {*record}))
        if marked == record * (rows := len(marked) // width):
            return Lines(rows, rows, [], rows, rows)
    buffer = np.frombuffer(block, np.uint8)
    feeds = buffer == 10
    marks = feeds | (buffer == separator)
    if quoted and (quotes := buffer == 34).any():
        marks &= ~np.logical_xor.accumulate(quotes)
    at = np.flatnonzero(marks)
    ends = feeds[at]
    lines = int(feeds.sum())
    if len(at) % width == 0 and (rows := len(at) // width) == ends.sum() == ends[width - 1 :: width].sum():
        return Lines(lines, rows, [], lines, rows)
    fields = np.diff(np.flatnonzero(ends), prepend=-1)
    at = at[ends]
    lengths = np.diff(at, prepend=-1) - 1
    blank = (lengths == 0) | ((lengths == 1) & (buffer[at - 1] == 13))
    fields[blank] = 0
    full = np.flatnonzero(~blank)

    def line(record: int) -> int:
        return int(feeds[: at[record] + 1].sum())

    wrong = [(line(one), int(fields[one])) for one in np.flatnonzero(fields != width)[: EXAMPLES + 1]]
    return Lines(lines, len(at), wrong, line(full[-1]) if full.size else 0, int(full[-1]) + 1 if full.size else 0)
