"""The next delivery of a table that is adopted: its days, and the knobs that follow them. The contract wins.

A day that is there stays as it is, but for labels that were not known yet; one with other rows is refused.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import contract, ingest, validate
from pipeline.adopt import daily, decide, say, write
from pipeline.adopt.decide import NO, NONE, YES, Asked
from pipeline.adopt.files import IGNORING_ROWS
from pipeline.adopt.profile import Profile, profile
from pipeline.adopt.table import Table, read
from pipeline.contract import Column, Contract
from pipeline.params import PARAMS, BadInput, Days
from pipeline.places import opened, speaking
from pipeline.reading import count, nearest
from pipeline.rows import TYPES, label
from pipeline.source import File, listed, listing, snapshot, source_of, span, with_data

DAYS = "days"  # the folder of what was made, beside
COPY = Path("build/deliveries")  # where files wait that could not be written to where they belong


def deliver(asked: Asked, knobs: Mapping[str, Any]) -> None:
    """Write the days of a table that are new, and move `data.until` and `data.snapshot`. Raises BadInput."""
    ours, day, place = contract.load(), decide.day(asked), Place.of(source_of(knobs))
    agreed(asked, ours)
    table = read(asked.table)
    profiles = decide.ordered(profile(table, show=sys.stderr.isatty()), asked)
    until = date.fromisoformat(knobs["data"]["until"])
    with write.beside() as folder:
        rows = converted(table, profiles, ours, folder, day)
        held(rows, ours)
        days = daily.write(rows, folder / DAYS, ours, day or until)
        new = [Delivered.of(folder / DAYS / f"{each}.parquet", place, ours) for each in days]
        refuse(new, place, asked, ours)
        until = moved(until, rows, ours, day)
        text = knobs_of(until, new, place, knobs, ours)
        changed = [each for each in new if each.state != SAME]
        if not changed and text == PARAMS.read_bytes().decode():
            print(f"nothing changes: {place.name} has all of these rows, and data.until is {until}")
            return
        says = say.block(say.WOULD if asked.dry else "Delivered", told(changed, until, place))
        if not asked.dry:
            put(changed, text, place, folder)
        print(says)
        if not asked.dry:
            print(say.block("Next", ["make pipeline, then a pull request with params.yaml, like any other"]))


def agreed(asked: Asked, ours: Contract) -> None:
    """Raises BadInput for an argument that the contract contradicts."""
    if says := contradiction(asked, ours):
        raise BadInput(says)


def contradiction(asked: Asked, ours: Contract) -> str | None:
    """A sentence for the first argument that the contract contradicts."""
    said = {
        "label": ours.label.column,
        "id": ours.id,
        "time": ours.time if ours.dated else NONE,
        "entity": ours.entity or NONE,
        "positive": decide.written(ours.label.positive),
        "delay": str(ours.label.delay),
    }
    for name, value in said.items():
        if (given := getattr(asked, name)) and given.lower() != value.lower():
            return (
                f"{name.upper()}={given}: contract.yaml says {value}, and it wins, as this repository is adopted "
                "already; change it there. An adoption that no commit has is taken anew by the whole command, LABEL "
                "and all"
            )
    return None


# --- the contract's types ---


def converted(table: Table, profiles: Mapping[str, Profile], ours: Contract, folder: Path, day: date | None) -> Path:
    """The table as the contract has it, a file in `folder`. Raises BadInput with all columns that cannot be."""
    there = {name: profiles[source] for source, name in decide.named(profiles).items()}
    made = {ours.id: None, ours.entity: None, ours.time: None}  # adopt makes them, where the table has them not
    columns, problems = [], []
    for column in ours.columns:
        if column.name in there:
            try:
                columns.append(fitted(there[column.name], column, ours).alias(column.name))
            except decide.Problem as problem:
                problems.append(problem.says)
        elif column.name == ours.time and day:
            columns.append(pl.lit(day).cast(TYPES["time"]).alias(column.name))
        elif column.name == ours.time:
            problems.append(f"DATE: which day is this delivery of? `{ours.time}` in contract.yaml is the day of a file")
        elif column.name not in made:
            problems.append(
                f"the table has no column `{column.name}`; {nearest(column.name, there, 'its columns are')}"
            )
    if problems:
        raise BadInput("\n".join(f"{table.where}: {each}" for each in problems))
    known = {column.name for column in ours.columns} | {table.delivered}
    if strange := [name for name in there if name not in known]:
        print(f"left out, as contract.yaml has no such column: {', '.join(strange)}")
    typed = folder / "typed.parquet"
    table.frame.select(columns).sink_parquet(typed)
    return identified(typed, ours, there, folder)


def identified(typed: Path, ours: Contract, there: Mapping[str, Any], folder: Path) -> Path:
    """The rows with the identifier that is a hash of them, where the contract has one that the table lacks."""
    if ours.id in there:
        return typed
    seen = {column.name for column in ours.inputs} | {ours.time}
    names = [column.name for column in ours.columns if column.name in seen]
    lacks = [ours.id, *([ours.entity] if ours.entity and ours.entity not in there else [])]
    daily.name_rows(typed, daily.hashes(typed, names), lacks, folder / "rows.parquet")
    return folder / "rows.parquet"


def fitted(found: Profile, column: Column, ours: Contract) -> pl.Expr:
    """A column of the table in its type of the contract. Raises Problem where its values are of another."""
    if found.type == "empty":
        return pl.lit(None).cast(TYPES[column.type])
    if column.type in ("category", "text"):
        if found.type == "boolean":
            no, yes = found.words or ("false", "true")
            return pl.when(found.value()).then(pl.lit(yes)).when(~found.value()).then(pl.lit(no))
        if found.type in ("category", "text", "integer"):
            return found.value().cast(pl.String)
    if column.type == "boolean" and found.type == "category" and found.distinct == 1:
        only = str(found.top[0][0]).strip().lower()
        if only in YES | NO:
            return pl.when(found.value().is_not_null()).then(pl.lit(only in YES))
    if column.type == "boolean" and found.type == "integer" and {found.minimum, found.maximum} <= {0, 1}:
        return found.value() == 1
    if found.type in FITS[column.type] and not found.odd_rows:
        return found.value().cast(TYPES[column.type])
    some = (
        f", such as {', '.join(map(repr, found.odd[:3]))} in {count(found.odd_rows, 'row')}" if found.odd_rows else ""
    )
    raise decide.Problem(
        f"`{column.name}` is of type {found.type} here{some}, and contract.yaml says {column.type}; mend the table"
    )


FITS = {
    "integer": ("integer", "boolean"),
    "number": ("integer", "number", "boolean"),
    "boolean": ("boolean",),
    "category": ("category", "text"),
    "text": ("category", "text"),
    "time": ("time",),
}


def held(rows: Path, ours: Contract) -> None:
    """Raises BadInput with all values that the contract does not allow, and identifiers that are there twice."""
    table = pl.scan_parquet(rows)
    problems = [
        f"`{name}` is {fault.replace('_', ' ')} in {count(found['rows'], 'row')}{such(found, name)}"
        for name, faults in validate.faults(table, ours.columns, ours).items()
        for fault, found in faults.items()
        if found["rows"]
    ]
    if repeated := validate.duplicates(table, ours.id)["rows"]:
        problems.append(f"`{ours.id}` identifies a row, and {count(repeated, 'row')} repeat another's")
    if problems:
        raise BadInput(listing("contract.yaml does not allow what is here; mend the table, or the contract", problems))


def such(found: Mapping[str, Any], name: str) -> str:
    """The first values that are wrong, where they may be shown."""
    values = [str(row[name]) for row in found["examples"] if row.get(name) is not None]
    return f", such as {', '.join(dict.fromkeys(values))}" if values else ""


# --- where the days are ---


@dataclass(frozen=True)
class Place:
    """The folder of data.source."""

    name: str
    system: Any  # fsspec.AbstractFileSystem
    folder: str

    @classmethod
    def of(cls, source: str) -> "Place":
        """Raises BadInput where no installed package knows it."""
        system, folder = opened(source, "data.source")
        return cls(source, system, folder.rstrip("/"))

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine, named by its path."""
        return "://" not in self.name

    def file(self, name: str) -> File | None:
        """A daily file; None where it is not there."""
        path = f"{self.folder}/{name}"
        with speaking(f"data.source {self.name}"):
            return File(self.system, path) if self.system.exists(path) else None


SAME, NEW, MORE, KNOWN, OTHER = "same", "new", "more", "labels", "other"


@dataclass(frozen=True)
class Delivered:
    """A day of the table, and how it is to the one that is there."""

    path: Path
    state: str
    rows: int
    before: int = 0  # rows that are there
    filled: int = 0  # of KNOWN: labels that were not known before

    @classmethod
    def of(cls, path: Path, place: Place, ours: Contract) -> "Delivered":
        """Compares a day's file with the one that is there."""
        there = place.file(path.name)
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
        if there is None:
            return cls(path, NEW, rows)
        content = there.read()
        if content == path.read_bytes():
            return cls(path, SAME, rows, rows)
        before, now = (in_order(each, path.name, ours) for each in (content, path.read_bytes()))
        if before.equals(now):
            return cls(path, SAME, rows, rows)
        if ours.dated and not now[ours.id].is_in(before[ours.id].implode()).any():  # a day that two deliveries share
            pl.concat([before, now]).sort(ours.time, ours.id).write_parquet(path)
            return cls(path, MORE, rows, len(before))
        filled = later(before, now, ours)
        return cls(path, KNOWN if filled is not None else OTHER, rows, len(before), filled or 0)


def in_order(content: bytes, name: str, ours: Contract) -> pl.DataFrame:
    """The rows of a daily file, by identifier."""
    return ingest.parse(content, name, ours)[0].sort(ours.id)


def later(before: pl.DataFrame, now: pl.DataFrame, ours: Contract) -> int | None:
    """How many labels are known by now, where that is all that changed; None where something else did.

    What no model sees may come with the label, such as the reason of a cancellation.
    """
    if len(before) != len(now):
        return None
    inputs = {column.name for column in ours.inputs}
    for name in before.columns:
        settled = pl.lit(True) if name in inputs else before[name].is_not_null()
        same = before[name].eq_missing(now[name])
        if not pl.select(same | ~settled).to_series().all():
            return None
    return int((before[ours.label.column].is_null() & now[ours.label.column].is_not_null()).sum())


def refuse(new: Sequence[Delivered], place: Place, asked: Asked, ours: Contract) -> None:
    """Raises BadInput where days are there with other rows, or nobody said which day a delivery is of."""
    other = [each for each in new if each.state == OTHER]
    if other and not ours.dated and not asked.date:
        raise BadInput(
            f"DATE: which day is this delivery of? It holds other rows than {place.name}/{other[0].path.name}; "
            f"such as: {asked.command(date=date.today().isoformat())}"
        )
    if other:
        lines = [f"{each.path.name}: {each.before:,} rows there, {each.rows:,} here" for each in other]
        raise BadInput(
            listing(
                f"{count(len(other), 'day')} of {place.name} would change, and what a model may have learned from "
                "stays; where the table is right, and holds all rows of these days, remove the files there, then run "
                "this again",
                lines,
            )
        )


# --- the knobs, and writing it all ---


def moved(until: date, rows: Path, ours: Contract, day: date | None) -> date:
    """The last day of the test from now on: DATE, or the last day with labels that are known. Raises BadInput."""
    if not ours.dated or day:
        if day and day < until:
            raise BadInput(f"DATE={day}: data.until is {until} already, and goes on only; name a later day")
        return day or until
    known = pl.scan_parquet(rows).filter(label(ours).is_not_null()).select(pl.col(ours.time).dt.date().max())
    return max(until, known.collect(engine="streaming").item() or until)


def knobs_of(until: date, new: Sequence[Delivered], place: Place, knobs: Mapping[str, Any], ours: Contract) -> str:
    """params.yaml with the new last day and, where the files are pinned, their snapshot; every other character kept."""
    text = with_data(PARAMS.read_bytes().decode(), "until", str(until))
    if knobs["data"]["snapshot"] is None:
        return text
    window = ours.days({**knobs, "data": {**knobs["data"], "until": str(until)}})
    return with_data(text, "snapshot", snapshot(list(records(window, new, place))))


def records(window: Days, new: Sequence[Delivered], place: Place) -> Iterator[str]:
    """The lines of the snapshot of a window's files, as they will lie there."""
    local = opened(".", "the folder")[0]
    changed = {each.path.name: File(local, str(each.path)) for each in new if each.state != SAME}
    for name in (f"{day}.parquet" for day in span(window.since, window.test[1])):
        if file := changed.get(name) or place.file(name):
            yield listed(file)


def told(changed: Sequence[Delivered], until: date, place: Place) -> Iterator[str]:
    """What is written, a sentence each."""
    new = [each for each in changed if each.state == NEW]
    if new:
        rows = sum(each.rows for each in new)
        span = f"{new[0].path.stem} to {new[-1].path.stem}" if len(new) > 1 else new[0].path.stem
        yield f"{count(len(new), 'day')} in {place.name}, {span}: {count(rows, 'row')}"
    for each in (each for each in changed if each.state == MORE):
        yield f"{each.path.stem} is there: {count(each.rows, 'row')} more, beside {each.before:,}"
    if known := [each for each in changed if each.state == KNOWN]:
        filled = sum(each.filled for each in known)
        yield f"{count(filled, 'label')} of {count(len(known), 'day')} that were not known before"
    yield f"data.until is {until}"


def put(changed: Sequence[Delivered], text: str, place: Place, folder: Path) -> None:
    """Write the days and the knobs. Raises BadInput, and then params.yaml is as it was."""
    (folder / PARAMS).write_bytes(text.encode())
    write.refuse(write.uncommitted({PARAMS: folder / PARAMS}))
    if place.local:
        days = {Path(place.folder) / each.path.name: each.path for each in changed}
        if not Path(place.folder).exists():  # nobody has taken its rows into git
            (folder / "ignored").write_text(IGNORING_ROWS)
            days[Path(place.folder) / ".gitignore"] = folder / "ignored"
        write.publish({**days, PARAMS: folder / PARAMS})
        return
    try:
        for each in changed:
            place.system.put_file(str(each.path), f"{place.folder}/{each.path.name}")
    except Exception as error:  # each of fsspec's file systems has errors of its own
        shutil.rmtree(COPY, ignore_errors=True)
        shutil.copytree(folder / DAYS, COPY)
        raise BadInput(
            f"data.source {place.name}: cannot be written to ({' '.join(str(error).split())[:200]}); copy what lies in "
            f"{COPY} there, then run this again: params.yaml is as it was"
        ) from None
    write.publish({PARAMS: folder / PARAMS})
