"""The next delivery of a table that is adopted: its days, and the knobs that follow them. The contract wins.

A day that is there keeps its rows: rows that are new come beside them, and labels that were not known yet.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import contract, ingest, personal, tasks, validate
from pipeline.adopt import daily, decide, say, write
from pipeline.adopt.asked import NONE, Asked, Question, order
from pipeline.adopt.asked import day as of_day
from pipeline.adopt.files import IGNORING_ROWS
from pipeline.adopt.label import NO, YES, written
from pipeline.adopt.profile import COMPACT, Profile, is_compact, order_of, profile, to_time
from pipeline.adopt.table import BY_FILE, Table, read
from pipeline.contract import Column, Contract
from pipeline.model import Problem
from pipeline.params import PARAMS, BadInput, Days
from pipeline.places import opened, speaking
from pipeline.reading import count, nearest
from pipeline.rows import TYPES, label
from pipeline.source import File, listed, listing, snapshot, source_of, span, with_data

DAYS = "days"  # the folder of what was made, beside
SHOWN = 3  # levels
COPY = Path("build/deliveries")  # where files wait that could not be written to where they belong


def deliver(asked: Asked, knobs: Mapping[str, Any]) -> None:
    """Write the days of a table that are new, and move `data.until` and `data.snapshot`. Raises BadInput."""
    ours, day, place = contract.load(), of_day(asked), Place.of(source_of(knobs))
    agreed(asked, ours)
    meant(place, asked)
    table = read(asked.table)
    profiles = as_before(profile(table, show=sys.stderr.isatty()), asked, ours)
    until = date.fromisoformat(knobs["data"]["until"])
    with write.beside() as folder:
        rows = converted(table, profiles, ours, folder, day)
        held(rows, ours)
        something_new(rows, ours, place, until, day)
        days = daily.write(rows, folder / DAYS, ours, day or until)
        hashed = ours.id not in decide.named(profiles).values()
        new = [Delivered.of(folder / DAYS / f"{each}.parquet", place, ours, hashed) for each in days]
        refuse(new, place, asked, ours)
        noticed = [*strange(rows, ours, place, ours.days(knobs))]
        by_day = days_of(rows, ours) if ours.dated else {}
        until = moved(until, by_day, ours, day)
        noticed += waits(until, by_day)
        text = knobs_of(until, new, place, knobs, ours)
        changed = [each for each in new if each.state != SAME]
        if not changed and text == PARAMS.read_bytes().decode():
            print(f"nothing changes: {place.name} has all of these rows, and data.until is {until}")
            return
        says = say.block(say.WOULD if asked.dry else "Delivered", told(changed, until, place, ours))
        if not asked.dry:
            put(changed, text, place, folder)
        print(says)
        if noticed:
            print(say.block("Noticed", noticed))
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
        "task": ours.task,
        "id": ours.id,
        "time": ours.time if ours.dated else NONE,
        "entity": ours.entity or NONE,
        "group": ours.group or NONE,
        "positive": NONE if ours.label.positive is None else written(ours.label.positive),
        "unit": ours.label.unit or NONE,
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


def as_before(profiles: Mapping[str, Profile], asked: Asked, ours: Contract) -> dict[str, Profile]:
    """The profiles, with dates read as contract.yaml says that the adopted table wrote them, else as DATE says.

    Raises BadInput where the two contradict each other, or nothing says.
    """
    columns, names = {column.name: column for column in ours.columns}, decide.named(profiles)
    known = {source: found for source, found in profiles.items() if names[source] in columns}
    formats = {source: form for source in known if (form := columns[names[source]].format)}
    said = order(asked)
    if said and (other := [source for source, form in formats.items() if order_of(form) != said]):
        raise BadInput(
            f"DATE={asked.date}: contract.yaml says that `{other[0]}` is written {formats[other[0]]}, and it wins; "
            f"leave {said} out"
        )
    return {**profiles, **decide.ordered(known, asked, formats)}


def converted(table: Table, profiles: Mapping[str, Profile], ours: Contract, folder: Path, day: date | None) -> Path:
    """The table as the contract has it, a file in `folder`. Raises BadInput with all columns that cannot be."""
    there = {name: profiles[source] for source, name in decide.named(profiles).items()}
    wanted = {column.name for column in ours.columns}
    made = {ours.id, ours.entity}  # adopt makes them, where the table has them not
    by_file = ours.time in BY_FILE
    columns, problems = [], []
    for column in ours.columns:
        if column.name in there:
            try:
                columns.append(fitted(there[column.name], column, ours).alias(column.name))
            except Question as problem:
                problems.append(problem.says)
        elif column.name == ours.time and by_file and day:
            columns.append(pl.lit(day).cast(TYPES["time"]).alias(column.name))
        elif column.name == ours.time and by_file:
            problems.append(f"DATE: which day is this delivery of? `{ours.time}` in contract.yaml is the day of a file")
        elif column.name not in made:
            near = get_close_matches(column.name, [name for name in there if name not in wanted], 1)
            which = f"it has `{near[0]}`: rename it" if near else nearest(column.name, there, "its columns are")
            problems.append(f"the table has no column `{column.name}`, which contract.yaml names; {which}")
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
    """A column of the table in its type of the contract. Raises Question where its values are of another."""
    if found.type == "empty":
        return pl.lit(None).cast(TYPES[column.type])
    if column.type == "time" and found.type == "integer" and is_compact(found):  # so few days are taken for numbers
        return to_time(found.value().cast(pl.String), COMPACT)
    if column.type not in ("time", "boolean") and found.format == COMPACT:
        return found.value().dt.strftime(COMPACT).cast(TYPES[column.type])
    if column.type in ("category", "text"):
        if found.type == "boolean":
            no, yes = found.words or ("false", "true")
            return pl.when(found.value()).then(pl.lit(yes)).when(~found.value()).then(pl.lit(no))
        if found.type == "integer" and found.odd_rows:  # levels, most of which are numbers
            text = pl.col(found.name).cast(pl.String).str.strip_chars()
            return pl.when(~text.is_in([marker.strip() for marker in found.markers])).then(text)
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
    for says in decide.untaken(found):
        raise Question(says)
    raise Question(
        f"`{column.name}` is of type {found.type} here, and contract.yaml says {column.type}; mend the table"
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
    table, lets = pl.scan_parquet(rows), {"missing": "; `missing: true` in its line lets labels come later"}
    if ours.label.positive is None:
        lets["unknown"] = "; a class that is new has to be added to `classes` in the line of `label`, as its last"
    problems = [
        f"`{name}` is {fault.replace('_', ' ')} in {count(found['rows'], 'row')}{such(found, name)}"
        + (lets.get(fault, "") if name == ours.label.column else "")
        for name, faults in validate.faults(table, ours.columns, ours).items()
        for fault, found in faults.items()
        if found["rows"]
    ]
    if repeated := validate.duplicates(table, ours.id)["rows"]:
        problems.append(
            f"`{ours.id}` identifies a row, and {count(repeated, 'row')} repeat{'s' * (repeated == 1)} another's"
        )
    if problems:
        raise BadInput(listing("contract.yaml does not allow what is here; mend the table, or the contract", problems))


def something_new(rows: Path, ours: Contract, place: "Place", until: date, day: date | None) -> None:
    """Raises BadInput where a delivery that replaces the last has nothing to learn from, or the last one's rows."""
    if ours.dated or day in (None, until):
        return
    known = pl.scan_parquet(rows).select(label(ours)).collect().to_series().drop_nulls()
    lacks = tasks.task(ours.task).lacks(known.to_numpy(), Problem.of(ours))
    if known.is_empty() or lacks:
        says = "no label is known yet" if known.is_empty() else f"the labels that are known hold {lacks}"
        raise BadInput(
            f"`{ours.label.column}`: {says}, and this delivery would replace that of {until}, so that no model could "
            "learn; deliver it once more labels are known"
        )
    last = place.file(f"{until}.parquet")
    if last and in_order(last.read(), last.name, ours).equals(in_order(rows.read_bytes(), str(rows), ours)):
        raise BadInput(
            f"DATE={day}: these are the rows of {until} again, all alike, of which a model has learned already; name "
            "the table that is new"
        )


def strange(rows: Path, ours: Contract, place: "Place", window: Days) -> Iterator[str]:
    """Levels that a category has here, and had on no day of the window, a sentence a column."""
    names = [column.name for column in ours.columns if column.type == "category" and column.categories is None]
    names = [name for name in names if name != ours.label.column and ours.column(name).input]
    files = (place.file(f"{day}.parquet") for day in span(window.since, window.test[1]) if names)
    parts = (ingest.as_far(file.read(), file.name, ours) for file in files if file)
    there = [part.select(name for name in names if name in part.columns) for part in parts]
    for name in (name for name in names if any(name in part.columns for part in there)):
        known = pl.concat(part[name] for part in there if name in part.columns).unique()
        now = pl.scan_parquet(rows).select(name).drop_nulls().collect().to_series()
        new = now.filter(~now.is_in(known.implode())).alias("level").value_counts(sort=True, name="rows")
        if len(new):
            shown = [f"{personal.quoted(name, level)} ({count(number, 'row')})" for level, number in new.rows()[:SHOWN]]
            more = f" and {len(new) - SHOWN:,} more" * (len(new) > SHOWN)
            yield (
                f"`{name}` has {count(len(new), 'level')} that no day before had: {', '.join(shown)}{more}; a model "
                "that has not learned them takes them for *other*"
            )


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


def meant(place: Place, asked: Asked) -> None:
    """Raises BadInput where rows would leave this repository, and the command does not name the place they go to."""
    inside = place.local and Path(place.folder).resolve().is_relative_to(Path.cwd().resolve())
    if not inside and asked.source != place.name:
        raise BadInput(
            f"SOURCE: data.source in params.yaml is {place.name}, outside of this repository, and these rows would be "
            f"written there; if they belong there, name it: {asked.command(source=place.name)}"
        )


SAME, NEW, MORE, KNOWN, OTHER = "same", "new", "more", "known", "other"


@dataclass(frozen=True)
class Delivered:
    """A day of the table, and how it is to the one that is there."""

    path: Path
    state: str
    rows: int  # of the table
    before: int = 0  # rows that are there
    more: int = 0  # of MORE: rows that are not there
    filled: int = 0  # labels that were not known before

    @classmethod
    def of(cls, path: Path, place: Place, ours: Contract, hashed: bool = False) -> "Delivered":
        """Compares a day's file with the one that is there; `hashed` where no column of the table identifies a row."""
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
        if ours.id not in before.columns:
            return cls(path, OTHER, rows, len(before))
        again = now.filter(pl.col(ours.id).is_in(before[ours.id].implode()))
        shared = ours.dated and again.is_empty() and before.columns == now.columns  # a day of two deliveries
        if shared and not (hashed and interleaved(before[ours.time], now[ours.time])):
            pl.concat([before, now]).sort(ours.time, ours.id).write_parquet(path)
            return cls(path, MORE, rows, len(before), rows)
        filled = later(before, again, ours)
        if filled is None or (len(again) < rows and not ours.dated):
            return cls(path, OTHER, rows, len(before))
        return cls(path, MORE if len(again) < rows else KNOWN, rows, len(before), rows - len(again), filled)


def interleaved(before: pl.Series, now: pl.Series) -> bool:
    """Whether rows lie between others in time, so that they may be the same ones with other values."""
    first, last, begins, ends = (pl.select(end).item() for end in (before.min(), before.max(), now.min(), now.max()))
    return bool(first <= ends and begins <= last)


def in_order(content: bytes, name: str, ours: Contract) -> pl.DataFrame:
    """The rows of a daily file, by identifier, with the columns of contract.yaml that it has."""
    rows = ingest.as_far(content, name, ours)
    return rows.sort(ours.id) if ours.id in rows.columns else rows


def later(before: pl.DataFrame, now: pl.DataFrame, ours: Contract) -> int | None:
    """How many labels are known by now, where that is all that changed; None where something else did.

    What no model sees may come with the label, such as the reason of a cancellation. Columns that were not there
    before are not compared.
    """
    if len(before) != len(now):
        return None
    inputs = {column.name for column in ours.inputs}
    for name in before.columns:
        settled = pl.lit(True) if name in inputs else before[name].is_not_null()
        same = before[name].eq_missing(now[name])
        if not pl.select(same | ~settled).to_series().all():
            return None
    name = ours.label.column
    return now[name].count() - (before[name].count() if name in before.columns else 0)


def refuse(new: Sequence[Delivered], place: Place, asked: Asked, ours: Contract) -> None:
    """Raises BadInput where days are there with other rows, or nobody said which day a delivery is of."""
    other = [each for each in new if each.state == OTHER]
    if other and not ours.dated and not of_day(asked):
        raise BadInput(
            f"DATE: which day is this delivery of? It holds other rows than {place.name}/{other[0].path.name}; "
            f"of today: {asked.command(date=','.join(filter(None, [date.today().isoformat(), order(asked)])))}"
        )
    if other:
        lines = [f"{each.path.name}: {each.before:,} rows there, {each.rows:,} here" for each in other]
        raise BadInput(
            listing(
                f"this table lacks rows of {count(len(other), 'day')} in {place.name}, or has other values in them, "
                "though a model may have learned from these; if the table is right, and holds all rows of "
                f"{'that day, remove the file' if len(other) == 1 else 'those days, remove the files'} there, and run "
                "this again",
                lines,
            )
        )


# --- the knobs, and writing it all ---


def moved(until: date, by_day: Mapping[date, tuple[int, int]], ours: Contract, day: date | None) -> date:
    """The last day of the test from now on: DATE, or the last day with labels that are known. Raises BadInput."""
    if not ours.dated or day:
        if day and day < until:
            raise BadInput(f"DATE={day}: data.until is {until} already, and goes on only; name a later day")
        return day or until
    cut = decide.cut_off({day: number for day, (number, _) in by_day.items()})
    return max([until, *(day for day, (_, known) in by_day.items() if known and day not in cut)])


def days_of(rows: Path, ours: Contract) -> dict[date, tuple[int, int]]:
    """Rows and known labels by day."""
    day = pl.col(ours.time).dt.date().alias("day")
    found = pl.scan_parquet(rows).group_by(day).agg(pl.len().alias("rows"), label(ours).count().alias("known"))
    return {day: (number, known) for day, number, known in found.collect(engine="streaming").iter_rows()}


def waits(until: date, by_day: Mapping[date, tuple[int, int]]) -> Iterator[str]:
    """A sentence where the last day is cut off, and data.until lies before it."""
    rows = {day: number for day, (number, _) in by_day.items()}
    if cut := [day for day in decide.cut_off(rows) if day > until]:
        yield decide.in_part(cut, rows)


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


def told(changed: Sequence[Delivered], until: date, place: Place, ours: Contract) -> Iterator[str]:
    """What is written, a sentence each."""
    new = [each for each in changed if each.state == NEW]
    if new:
        rows = sum(each.rows for each in new)
        span = f"{new[0].path.stem} to {new[-1].path.stem}" if len(new) > 1 else new[0].path.stem
        yield f"{count(len(new), 'day')} in {place.name}, {span}: {count(rows, 'row')}"
    for each in (each for each in changed if each.state == MORE):
        yield f"{each.path.stem} is there: {count(each.more, 'row')} more, beside {each.before:,}"
    if filled := [each for each in changed if each.filled]:
        labels = sum(each.filled for each in filled)
        yield f"{count(labels, 'label')} of {count(len(filled), 'day')} that were not known before"
    if others := [each for each in changed if each.state == KNOWN and not each.filled]:
        yield f"{count(len(others), 'day')} with values that were not there before"
    later = [each for each in changed if ours.dated and each.path.stem > str(until)]
    waiting = f"; {count(len(later), 'day')} after it count once their labels, and all of their rows, are here"
    yield f"data.until is {until}{waiting * bool(later)}"


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
