"""The stage `source`: lists the source's files as they are now, and holds them against data.snapshot.

`data.source` is `simulate`, or a folder of daily files, YYYY-MM-DD.parquet: a path, or a URL that fsspec knows.
DVC runs it every time, and `ingest` reads again where the list is another one. With `--snapshot` it pins the files;
with SOURCE=listed it keeps the list that another job of the same run has made.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pipeline import contract
from pipeline.contract import Contract
from pipeline.params import EVALUATION, PARAMS, BadInput, Days, load, run_stage
from pipeline.places import day_of, opened, replacing, speaking
from pipeline.reading import count

FILES = Path("build/source.txt")
PINNED = Path("build/pinned.txt")
"""The files that agreed with data.snapshot last: no output of the stage, as DVC removes those before it runs."""
LISTED = "listed"  # in the variable SOURCE: the list that is there counts, as this job cannot reach the source
SIMULATE = "simulate"
BEFORE = "before"  # in the list, the line of a delivery that is only compared with: no snapshot pins it
MANIFEST = Path("deploy/production/manifest.json")
SUFFIX = ".parquet"  # of a daily file, behind its day
REWRITE = "restore or rewrite them"
PIECE = 4 * 2**20  # bytes of a file that are hashed at a time
SHOWN = 10  # problems that a message lists; the rest is counted

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write build/source.txt, or with `--snapshot` pin the source's files in params.yaml."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.source", description="List the source's files.")
    parser.add_argument("--snapshot", action="store_true", help="write data.snapshot into params.yaml instead")
    params = load()
    if parser.parse_args(arguments).snapshot:
        pin(params, contract.load())
        return
    if os.environ.get("SOURCE") == LISTED and FILES.is_file():
        print(f"{FILES}: as it was listed before")
        return
    source = source_of(params)
    if source == SIMULATE:
        lines = [f"{SIMULATE}\n"]  # a day depends on params.yaml and on the code, which DVC sees by itself
    else:
        ours = contract.load()
        window = ours.days(params)
        lines = taken(source, window)[1]
        check(params["data"].get("snapshot"), lines, source, (window.since, window.test[1]))
        if not ours.dated and (file := before(source, window.since, ours)):
            lines.append(f"{BEFORE} {listed(file)}")
    with replacing(FILES) as temporary:
        temporary.write_text("".join(lines))
    print(f"{FILES}: {source}, {count(len(lines), 'file')}")


def source_of(params: Mapping[str, Any]) -> str:
    """`data.source`. Raises BadInput where it is no text."""
    source = params["data"].get("source")
    if not isinstance(source, str) or not source.strip():
        raise BadInput(f"{PARAMS}: data.source is {source!r}; write `{SIMULATE}`, or a folder of daily parquet files")
    return source


# --- the files of a folder ---


@dataclass(frozen=True)
class File:
    """A daily file in the source's folder."""

    system: Any  # fsspec.AbstractFileSystem
    path: str

    @property
    def name(self) -> str:
        """YYYY-MM-DD.parquet"""
        return self.path.rsplit("/", 1)[-1]

    def read(self) -> bytes:
        """The file's bytes. Raises BadInput where they cannot be read."""
        with speaking(self.name):
            return bytes(self.system.cat_file(self.path))

    def pieces(self) -> Iterator[bytes]:
        """The same, PIECE by PIECE. Raises BadInput where they cannot be read."""
        with speaking(self.name), self.system.open(self.path, "rb", block_size=PIECE) as opened_:
            while piece := opened_.read(PIECE):
                yield piece


def files(source: str, first: date, last: date) -> list[File]:
    """The daily files of `first` to `last` that are there, in order. Raises BadInput where there are none."""
    held, of = daily_files(source)
    found = [of(day) for day in held if first <= day <= last]
    if not found:
        holds = f"it holds {held[0]} to {held[-1]}" if held else "it holds no file named YYYY-MM-DD.parquet"
        raise BadInput(
            f"data.source {source}: there is none of the daily files from {first} to {last} ({holds}); add them, or "
            f"move data.until and features in {PARAMS}, or split in {EVALUATION}, to days that are there"
        )
    return found


def before(source: str, day: date, ours: Contract) -> File | None:
    """What a whole delivery is held against: of those before it the one that production learned from, else the newest.

    A later one may have been refused, and would pass its fault on. None where there is none, or where production has
    learned from this one, so that it has been judged. Raises BadInput.
    """
    held, of = daily_files(source)
    older, learned = [each for each in held if each < day], learned_from(ours)
    if not older or (learned and learned >= day):
        return None
    return of(learned if learned in older else older[-1])


def learned_from(ours: Contract) -> date | None:
    """The last day of what the model in production learned from; None where there is none, or of another problem."""
    try:
        said = json.loads(MANIFEST.read_text())
        return date.fromisoformat(said["data"]["until"]) if said["problem"]["name"] == ours.problem else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"{MANIFEST}: cannot be read; restore it from git, as only promotions change it") from None


def daily_files(source: str) -> tuple[list[date], Callable[[date], File]]:
    """The days of the daily files that are there, in order, and what gives the file of a day. Raises BadInput."""
    with speaking(f"data.source {source}"):
        system, folder = opened(source, "data.source")
        names = [path for path in system.ls(folder, detail=False) if path.endswith(SUFFIX)]
    days = (day_of(name.removesuffix(SUFFIX)) for name in names)
    return sorted(day for day in days if day), lambda day: File(system, f"{folder.rstrip('/')}/{day}{SUFFIX}")


def span(first: date, last: date) -> list[date]:
    """The days from `first` to `last`, inclusive."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def every(work: Callable[[File], T], todo: Sequence[File], all_alike: str = REWRITE) -> list[T]:
    """`work` on every file, side by side, as a bucket answers slowly. Raises one BadInput with all that were raised.

    `all_alike` is what to do where every file has the very same problem.
    """
    done, problems = [], []
    with ThreadPoolExecutor(max_workers=16) as pool:
        for file, outcome in [(file, pool.submit(work, file)) for file in todo]:
            try:
                done.append(outcome.result())
            except BadInput as problem:
                problems.append((file.name, str(problem).removeprefix(f"{file.name}: ")))
    if len(problems) == len(todo) > 1 and len({said for _, said in problems}) == 1:
        raise BadInput(f"none of the {len(todo)} daily files can be read; {all_alike}; each: {problems[0][1]}")
    if problems:
        raise BadInput(
            listing(
                f"{len(problems)} of the {count(len(todo), 'daily file')} cannot be read; {REWRITE}",
                [f"{name}: {said}" for name, said in problems],
            )
        )
    return done


def listed(file: File) -> str:
    """The file's line of the snapshot. Raises BadInput where it is no parquet file but, say, a pointer to one.

    Constant memory, however large the file is.
    """
    begins, ends, size, digest = b"", b"", 0, sha256()
    for piece in file.pieces():
        begins, ends, size = begins or piece, (ends + piece)[-len(MAGIC) :], size + len(piece)
        digest.update(piece)
    if not (begins.startswith(MAGIC) and ends == MAGIC):
        raise BadInput(f"{file.name}: {instead(begins) or 'is no parquet file: copy it again'}")
    return record(file.name, size, digest.hexdigest())


def instead(content: bytes) -> str | None:
    """What a file that is no parquet is, and what to do about it; None where that cannot be told."""
    if not content:
        return "has 0 bytes; expected a parquet file: copy it again"
    for start, is_one in INSTEAD.items():
        if content.lstrip().startswith(start):
            return is_one
    from pipeline.personal import unless_personal

    first = content[:200].partition(b"\n")[0].decode(errors="replace").strip()
    begins = unless_personal(repr(first))
    return f"is text, not parquet; it begins with {begins}: write it as parquet" if first.isprintable() else None


MAGIC = b"PAR1"
INSTEAD = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`",
    b"outs:": "is a pointer of DVC, not the file itself: fetch that with `dvc pull`",
    b"<": "is a web page or an XML answer, such as an error's or a log-in's, not the file itself: download it again",
    b"\x1f\x8b": "is compressed as a whole (gzip): unpack it, as parquet compresses by itself",
    b"PK\x03\x04": "is a zip archive: unpack it",
    MAGIC: "is a parquet file whose end is damaged or missing: copy it again",
}
"""What lies where a parquet file should, by how it begins."""


# --- the snapshot ---


def pin(params: Mapping[str, Any], ours: Contract) -> None:
    """Write the snapshot of the source's files into params.yaml; nothing else there changes."""
    source, window = source_of(params), ours.days(params)
    if source == SIMULATE:
        print(f"data.source is `{SIMULATE}`, whose days follow from params.yaml alone: there is nothing to pin")
        return
    digest, records = taken(source, window)
    pinned = with_snapshot(PARAMS.read_bytes().decode(), digest)
    for path, text in {PARAMS: pinned, PINNED: "".join(records)}.items():
        with replacing(path) as temporary:
            temporary.write_bytes(text.encode())
    first, last = (line.split(" ", 1)[0] for line in (records[0], records[-1]))
    print(f"data.snapshot: {digest} ({count(len(records), 'file')}, {first} to {last}); commit {PARAMS}")


def taken(source: str, window: Days) -> tuple[str, list[str]]:
    """The snapshot of the files of a window of days, and their lines. Raises BadInput where one is no parquet file."""
    records = every(listed, files(source, window.since, window.test[1]))
    return snapshot(records), records


def record(name: str, size: int, digest: str) -> str:
    """A file's line of the snapshot: its name, size in bytes and sha256."""
    return f"{name} {size} {digest}\n"


def snapshot(records: Sequence[str]) -> str:
    """The digest, `sha256:…`, over the files' records in order of name."""
    return f"sha256:{sha256(''.join(sorted(records)).encode()).hexdigest()}"


def check(pinned: str | None, records: Sequence[str], source: str, span: tuple[date, date]) -> None:
    """Raises BadInput where the files of a span of days are not the pinned ones; says so where nothing is pinned."""
    if pinned is None:
        print(f"data.source {source} is not pinned: what changes there is read again; pin it with `make snapshot`")
        return
    if pinned != snapshot(records):
        raise BadInput(
            listing(
                f"{PARAMS}: data.snapshot is {pinned}, but the daily files in {source} give {snapshot(records)}: "
                "restore the files (and the days, if data.until, split, features or label.delay moved), or accept them "
                "as they are with `make snapshot`",
                changed(pinned, records, span),
            )
        )
    with replacing(PINNED) as temporary:
        temporary.write_text("".join(records))


def changed(pinned: str, records: Sequence[str], span: tuple[date, date]) -> list[str]:
    """Which files are others than the pinned ones, a line each; what can be told where these were not read here."""
    before = PINNED.read_text().splitlines(keepends=True) if PINNED.is_file() else []
    if snapshot(before) != pinned:
        files = count(len(records), "file")
        return [f"which of the {files} changed cannot be told, as the pinned ones were not read here"]
    was, now = ({line.split(" ", 1)[0]: line for line in lines} for lines in (before, records))
    first, last = map(str, span)

    def how(name: str) -> str:
        if name in now:
            return "has other bytes" if name in was else "is new"
        read = first <= name.removesuffix(".parquet") <= last
        return "is gone" if read else f"is not among the days that are read, {first} to {last}"

    return [f"{name} {how(name)}" for name in sorted(was | now) if was.get(name) != now.get(name)]


def with_snapshot(text: str, digest: str) -> str:
    """The text of params.yaml with `data.snapshot` set, every other character kept. Raises BadInput."""
    return with_data(text, "snapshot", digest)


def with_data(text: str, knob: str, value: str) -> str:
    """The text of params.yaml with a knob of `data` set, every other character kept. Raises BadInput."""
    node: yaml.Node | None = yaml.compose(text)
    for key in ("data", knob):
        values = {name.value: value for name, value in node.value} if isinstance(node, yaml.MappingNode) else {}
        node = values.get(key)
    if not isinstance(node, yaml.ScalarNode):
        raise BadInput(f"{PARAMS}: data.{knob} is not there to be written; add the line `{knob}: null` under `data:`")
    start, end = node.start_mark.index, node.end_mark.index
    space = " " if start == end else ""  # `snapshot:` with no value has no width
    written = f'{text[:start]}{space}"{value}"{text[end:]}'  # in quotes, as {flow} knows no bare `:` to all readers
    knobs = yaml.safe_load(text)
    try:
        good = yaml.safe_load(written) == knobs | {"data": knobs["data"] | {knob: value}}
    except yaml.YAMLError:
        good = False
    if not good:  # an alias, say: its value stands somewhere else
        raise BadInput(f"{PARAMS}: data.{knob} is written in a way that cannot be edited; write `{knob}: null`")
    return written


def listing(head: str, lines: Sequence[str]) -> str:
    """A sentence, then the first lines, then how many more there are."""
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join([f"{head}:", *(f"  {line}" for line in islice(lines, SHOWN)), *more])


if __name__ == "__main__":
    run_stage(main)
