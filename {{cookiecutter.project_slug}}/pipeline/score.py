"""Score files of rows, without a service: `make score SOURCE=FOLDER OUT=FOLDER`.

Each parquet file below SOURCE, a folder or a bucket, becomes one of the same name below OUT: the identifier, the time
where rows have one, the parts of the answer as the service names them, and the model's digest. Rows are streamed, so
that a file may be larger than memory, and held to what the service holds a request to (`columns`). Nothing of them goes
into the prediction log.

A file of answers appears once it is whole, and says by which model it was made, of which version of its rows. Whatever
ends a run, `kill -9` too, the same command goes on where it was: no row is lost, and none is there twice. A file that
cannot be scored is named, and lies in OUT/rejects with the reason beside it; the others are scored, and the exit status
is 1.
"""

import argparse
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock
from typing import Any

import polars as pl
from fsspec.implementations.local import LocalFileSystem
from tqdm import tqdm

from pipeline import model, tasks
from pipeline.columns import Bad, Held, Reading, identified, readings
from pipeline.model import BadModel, Model, Problem
from pipeline.params import BadInput, run_stage, unwritable
from pipeline.places import first_line, opened, replacing, speaking
from pipeline.reading import count
from pipeline.rows import TYPES
from pipeline.source import SUFFIX, instead, listing
from pipeline.tasks import Answered

REJECTS = "rejects"  # the folder of OUT
NOTE = ".json"  # behind the name of a file that is there: why
SCORED = "scored"  # where the metadata of a file of answers say what of, by whom and when
MODEL = "model"  # the column of the digest
HIDDEN = (".", "_")  # what is not finished, or no data, begins with, by the custom of Spark and Hive
STAMPS = ("ETag", "etag", "mtime", "last_modified", "created")
"""By which of these a file system tells another version of a file: the first that it has."""
AT_ONCE = 4  # files: a bucket answers slowly, and a small file keeps no processor busy
HEAD = 4096  # bytes of a file's start, by which what is no parquet is known
TAIL = 2**16  # of its end, which describes it

Abouts = dict[str, Mapping[str, Any]]
"""What a file system says of files, by name: `size`, and some of STAMPS."""
Said = dict[str, str]
"""What a file of answers says of itself: by which `model`, of which version of `rows`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Score what is not scored yet. Raises BadInput where a file cannot be, at the end, or nothing can."""
    parser = argparse.ArgumentParser(prog="make score", description="Score a folder or bucket of parquet files.")
    for name, about in ABOUT.items():
        parser.add_argument(f"--{name}", help=about)
    asked = parser.parse_args(arguments)
    if not (asked.source and asked.out):
        raise BadInput("say where the rows are, and where their answers go: make score SOURCE=folder OUT=folder")
    source, out = Folder.at(asked.source, "SOURCE"), Folder.at(asked.out, "OUT")
    apart(source, out)
    try:
        served = model.load(asked.model or "model")
    except BadModel as error:
        raise BadInput(str(error)) from None
    with alone(out):
        Run(served, source, out).all()


ABOUT = {
    "source": "the folder or bucket of the rows, such as s3://bucket/rows",
    "out": "the one of the answers",
    "model": "the model's directory, if it is not model/",
}


# --- where rows and answers lie ---


@dataclass(frozen=True)
class Folder:
    """A folder, on disk or in a bucket."""

    system: Any  # fsspec.AbstractFileSystem
    root: str
    where: str

    def __str__(self) -> str:
        return self.where

    @classmethod
    def at(cls, address: str, what: str) -> "Folder":
        """Raises BadInput where no file system knows the address."""
        system, root = opened(address, what)
        root = os.path.realpath(root) if isinstance(system, LocalFileSystem) else root
        return cls(system, root.rstrip("/"), f"{what} {address}")

    @property
    def local(self) -> bool:
        return isinstance(self.system, LocalFileSystem)

    def path(self, name: str) -> str:
        """A file's, on the file system."""
        return f"{self.root}/{name}"

    def files(self) -> Abouts:
        """What the file system says of each file below, by name; nothing where there is no such folder."""
        with speaking(str(self)):
            self.system.invalidate_cache()
            try:
                found = self.system.find(self.root, detail=True)
            except FileNotFoundError:
                found = {}
        return {path[len(self.root) + 1 :]: about for path, about in found.items()}

    def version(self, name: str) -> str:
        """The file's, as it is now; '' where it is gone."""
        self.system.invalidate_cache()
        try:
            return version(self.system.info(self.path(name)))
        except FileNotFoundError:
            return ""

    @contextmanager
    def here(self, name: str) -> Iterator[Path]:
        """The file on this machine, for as long as it is needed: of a bucket a copy. Raises Bad."""
        with TemporaryDirectory(prefix="score-") as folder:
            path = Path(self.path(name)) if self.local else Path(folder, "rows")
            try:
                if not self.local:
                    self.system.get_file(self.path(name), str(path))
                path.open("rb").close()
            except Exception as error:  # each of fsspec's file systems has errors of its own
                if not self.local and (said := unwritable(error)):
                    raise BadInput(said) from None
                raise Bad(f"cannot be read ({first_line(error)}); check the permissions, and the network") from None
            yield path

    @contextmanager
    def making(self, name: str) -> Iterator[Path]:
        """A temporary path, whose file is there under its name once it is whole. Raises BadInput where it cannot be."""
        if self.local:
            with replacing(Path(self.path(name))) as temporary:
                yield temporary
            return
        with TemporaryDirectory(prefix="score-") as folder:
            temporary = Path(folder, "answers")
            yield temporary
            try:
                self.system.put_file(str(temporary), self.path(name))  # a bucket shows an object once it is whole
            except Exception as error:
                raise BadInput(
                    f"{self}: {name} cannot be written ({first_line(error)}); check the address, the credentials "
                    "and the network, then run this again: it goes on where it was"
                ) from None

    def end(self, name: str) -> bytes:
        """The end of a parquet file, from its description on; any bytes of what is none."""
        tail = bytes(self.system.tail(self.path(name), TAIL))
        described = int.from_bytes(tail[-8:-4], "little") + 8
        return tail if described <= len(tail) else bytes(self.system.tail(self.path(name), described))

    def remove(self, name: str) -> None:
        self.system.rm_file(self.path(name))


def version(about: Mapping[str, Any]) -> str:
    """By which another version of a file is known: its size, and when it was written or a hash."""
    return f"{about['size']} {next((about[stamp] for stamp in STAMPS if about.get(stamp)), '')}"


def apart(source: Folder, out: Folder) -> None:
    """Raises BadInput where one of both is in the other: answers would be taken for rows."""
    rows, answers = (f"{folder.system.unstrip_protocol(folder.root).rstrip('/')}/" for folder in (source, out))
    if rows.startswith(answers) or answers.startswith(rows):
        raise BadInput(
            f"{out} and {source} are one folder, or one is in the other: a later run would take answers "
            "for rows; name an OUT beside it"
        )


@contextmanager
def alone(out: Folder) -> Iterator[None]:
    """Keeps a second run out of a folder, for as long as this process lives; of buckets it needs none."""
    if not out.local:
        yield
        return
    try:
        os.makedirs(out.root, exist_ok=True)
        folder = os.open(out.root, os.O_RDONLY)
    except OSError as error:
        raise BadInput(unwritable(error, out.root) or f"{out}: is no folder ({error.strerror})") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BadInput(f"{out}: another run writes there; wait for its end, or name another folder") from None
    finally:
        os.close(folder)


# --- a run over all files ---


class Run:
    """Scores the files of a folder that are not scored yet."""

    def __init__(self, served: Model, source: Folder, out: Folder) -> None:
        """Raises BadInput where there is nothing to score."""
        self.served, self.source, self.out = served, source, out
        self.task, self.schema = tasks.task(served.problem.task), answered(served.problem)
        self.nothing = pl.DataFrame(schema=self.schema)
        self.now = datetime.now(UTC).replace(tzinfo=None)
        self.files, self.there = rows_of(source), out.files()
        self.stopped, self.lock = Event(), Lock()

    def all(self) -> None:
        """Score them. Raises BadInput, at the end, where some cannot be."""
        todo, rows, bad = self.todo(), 0, {}
        size = sum(self.files[name]["size"] for name in todo)
        self.bar = tqdm(total=size, desc="rows", unit="B", unit_scale=True, disable=None, leave=False)
        with self.bar, ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                running = {pool.submit(self.one, name): name for name in todo}
                for done in as_completed(running):
                    name = running[done]
                    try:
                        number = done.result()
                    except Bad as error:
                        bad[name] = str(error)
                        tqdm.write(f"{name}: {error}", file=sys.stderr)
                        continue
                    rows += number
                    if self.bar.disable:  # nobody watches it
                        print(f"{name}: {count(number, 'row')}", flush=True)
            except BaseException:
                self.stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
        if made := len(todo) - len(bad):
            print(f"{self.out}: {count(rows, 'row')} of {count(made, 'file')} scored by {self.served.digest}")
        if bad:
            raise BadInput(
                listing(
                    f"{self.source}: {len(bad):,} of {count(len(self.files), 'file')} cannot be scored; {self.out} has "
                    f"what they are in {REJECTS}/, with the reasons; mend them in SOURCE, and run this again",
                    [f"{name}: {why}" for name, why in sorted(bad.items())],
                )
            )

    def todo(self) -> list[str]:
        """The files that are not scored yet, or no longer. Raises BadInput where OUT holds what is none of ours."""
        both = [name for name in self.files if name in self.there]
        with ThreadPoolExecutor(max_workers=16) as pool:  # a bucket answers slowly
            known = dict(zip(both, pool.map(self.known, both), strict=True))
        done = {name for name, said in known.items() if said == self.of(name)}
        for name in done:
            self.clear(name)
        if done:
            print(f"{self.out}: {count(len(done), 'file')} of {len(self.files):,} scored already")
        if others := len(known) - len(done):
            print(f"{self.out}: {count(others, 'file')} of another model, or of rows that have changed: scored anew")
        ours = {f"{folder}{name}" for name in self.files for folder in ("", f"{REJECTS}/")}
        if gone := sum(name.endswith(SUFFIX) and name not in ours for name in self.there):
            print(f"{self.out}: {count(gone, 'file')} of rows that {self.source} does not have: left as it is")
        return [name for name in self.files if name not in done]

    def known(self, name: str) -> Said:
        """What a file in OUT says of itself. Raises BadInput where it is no file of answers."""
        with speaking(f"{self.out}: {name}"):
            end = self.out.end(name)
        try:
            said = json.loads(pl.read_parquet_metadata(BytesIO(end))[SCORED])
            return {part: said[part] for part in ("model", "rows")}
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, KeyError):
            raise BadInput(
                f"{self.out}: {name} is no file of answers, and would be overwritten; move it away, or name another OUT"
            ) from None

    def of(self, name: str) -> Said:
        """What the answers to a file's rows say of themselves."""
        return {"model": self.served.digest, "rows": version(self.files[name])}

    def one(self, name: str) -> int:
        """Score a file, and return its number of rows. Raises Bad where it cannot be, once it lies in REJECTS."""
        try:
            with self.source.here(name) as path:
                try:
                    number = self.scored(name, path)
                except Bad:
                    if path.is_file():
                        with self.out.making(f"{REJECTS}/{name}") as copy:
                            shutil.copyfile(path, copy)
                    raise
        except Bad as error:
            with self.out.making(f"{REJECTS}/{name}{NOTE}") as note:
                note.write_text(json.dumps({"file": name, "why": str(error), **self.of(name)}, indent=2) + "\n")
            if name in self.there:  # the answers of what it was before
                self.out.remove(name)
            raise
        self.clear(name)
        return number

    def clear(self, name: str) -> None:
        """Take a file out of REJECTS, as it is scored."""
        for each in (f"{REJECTS}/{name}", f"{REJECTS}/{name}{NOTE}"):
            if each in self.there:
                self.out.remove(each)

    def scored(self, name: str, path: Path) -> int:
        """Write the answers to the rows of a file, and return how many there are. Raises Bad."""
        with reading(path):
            frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
            columns = readings(self.served, frame.collect_schema(), self.now)
            number = int(frame.select(pl.len()).collect().item())
        held, said = Held(columns), {**self.of(name), "at": str(self.now)}
        step = self.files[name]["size"] / max(number, 1)

        def answers(batch: pl.DataFrame) -> pl.DataFrame:
            held.look(batch)
            with self.lock:
                self.bar.update(step * len(batch))
            return self.answers(batch, columns) if held.sound and not self.stopped.is_set() else self.nothing

        with self.out.making(name) as temporary:
            with reading(path):
                frame.select({column.source for column in columns}).map_batches(
                    answers, schema=self.schema, streamable=True
                ).sink_parquet(temporary, metadata={SCORED: json.dumps(said)}, engine="streaming")
            if self.stopped.is_set():
                raise CancelledError  # half of it is answered: nobody may see that
            if not held.sound:
                raise Bad(str(held))
            if self.source.version(name) != version(self.files[name]):
                raise Bad("has changed while it was read; run this again once it is written")
        return number

    def answers(self, batch: pl.DataFrame, columns: Sequence[Reading]) -> pl.DataFrame:
        """The rows of OUT for some of a file's."""
        problem, rows = self.served.problem, batch.select(column.value for column in columns)
        said = self.task.answer(self.served.predict(rows), problem)
        parts = [series(name, said[name], part, problem) for name, part in self.task.answers(problem).items()]
        who = [rows[column.name] for column in identified(self.served)]
        return pl.DataFrame([*who, *parts]).with_columns(pl.lit(self.served.digest).alias(MODEL))


def rows_of(source: Folder) -> Abouts:
    """The files of rows. Raises BadInput where there is none."""
    found = source.files()
    hidden = {name for name in found if any(part.startswith(HIDDEN) for part in name.split("/"))}
    rows = {name: about for name, about in found.items() if name.endswith(SUFFIX) and name not in hidden}
    if "" in found:
        raise BadInput(f"{source}: is a file; name the folder that it lies in")
    if not rows:
        others = f", of {count(len(found), 'file')}" if found else ", nor any other file"
        raise BadInput(f"{source}: there is no file *{SUFFIX} in it{others}; check the spelling")
    if any(name.startswith(f"{REJECTS}/") for name in rows):
        raise BadInput(f"{source}: has a folder {REJECTS}/, as OUT will have for what cannot be scored; rename it")
    if left := len(found) - len(rows):
        begin = " or ".join(HIDDEN)
        print(f"{source}: {count(left, 'file')} that are not called *{SUFFIX}, or begin with {begin}: left out")
    return dict(sorted(rows.items()))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what polars has against a file into Bad."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        if unwritable(error):  # what is read could be opened: it is the answers that cannot be written
            raise
        with path.open("rb") as file:
            start = file.read(HEAD)
        raise Bad(instead(start) or f"is damaged ({first_line(error)}): copy it again") from None


# --- what an answer is, in columns ---


def answered(problem: Problem) -> dict[str, pl.DataType]:
    """The columns of a file of answers, and their types. Raises BadInput where two would have one name."""
    parts = tasks.task(problem.task).answers(problem)
    who = {problem.id: TYPES[problem.id_type], **({problem.time: TYPES["time"]} if problem.time else {})}
    if both := sorted(who.keys() & {*parts, MODEL}):
        raise BadInput(f"contract.yaml: `{both[0]}` is a column of a row, and of its answer too; rename that column")
    return {**who, **{name: typed(part, problem) for name, part in parts.items()}, MODEL: pl.String()}


def typed(part: Answered, problem: Problem) -> pl.DataType:
    """The type of a part of an answer: of shares a field a class."""
    kinds = {type(value) for value in problem.values}
    label = LABELS[kinds.pop()] if len(kinds) == 1 else pl.String()
    shares = pl.Struct({str(value): pl.Float64() for value in problem.values})
    return {"number": pl.Float64(), "boolean": pl.Boolean(), "label": label, "shares": shares}[part.kind]


LABELS: Mapping[type, pl.DataType] = {str: pl.String(), int: pl.Int64(), bool: pl.Boolean()}


def series(name: str, values: Sequence[Any], part: Answered, problem: Problem) -> pl.Series:
    """A part of the answers as a column."""
    dtype = typed(part, problem)
    if isinstance(dtype, pl.Struct):
        fields = [field.name for field in dtype.fields]
        return pl.Series(name, values, pl.Array(pl.Float64, len(fields))).arr.to_struct(fields)
    if part.kind == "label" and dtype == pl.String:
        values = [str(value) for value in values]
    return pl.Series(name, values, dtype)


if __name__ == "__main__":
    run_stage(main)
