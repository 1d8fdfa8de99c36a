"""Merge the many small parts of the prediction log into few: `python -m pipeline.log compact`, by the drift workflow.

    PREDICTION_LOG/2018-08-14/20180814T093000-<32 hex digits>.merged.parquet

Parts are merged that were written on one day, so that the name still says how old the rows are, and have one schema;
their rows keep their order. The merged part is written whole, and its metadata name those that it replaces, which from
then on no reader counts; they are deleted last. So it may be killed at any point, and run again: nothing is lost, and
nothing doubled. What is written meanwhile has names of its own. No merged part is merged again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from hashlib import sha256
from io import BytesIO
from itertools import groupby

import polars as pl

from pipeline.log import AHEAD, MERGED, REPLACES, Folder, name_of, stamp, written
from pipeline.params import BadInput
from pipeline.places import ahead
from pipeline.reading import count

SMALL = 8 * 2**20  # bytes: parts below are merged
LARGE = 16 * 2**20  # into parts of about so many: what whoever reads them has in memory

Part = tuple[str, pl.DataFrame]
"""The path of a part, and its rows."""


def compact(folder: Folder, today: date) -> str:
    """Merge what was written before `today`; returns what was done, in words. Raises BadInput."""
    merged = made = 0
    for day in folder.days():
        if replaced := set(folder.files(day, ".parquet")) - set(folder.current(day)):
            delete(folder, sorted(replaced))  # a run before was killed
        sizes = {path: size for path, size in small(folder, day).items() if written(path, day) < today}
        for _, paths in groupby(sizes, key=lambda path: written(path, day)):
            for parts in runs(folder, list(paths), sizes):
                merge(folder, day, parts)
                merged, made = merged + len(parts), made + 1
    return f"{count(merged, 'part')} merged into {made:,}"


def small(folder: Folder, day: date) -> dict[str, int]:
    """A day's small parts that say when they were written, in that order, and the bytes of each."""
    sizes = {entry["name"]: entry["size"] for entry in folder.entries(f"{folder.root}/{day}")}
    paths = [path for path in folder.current(day) if stamp(path) and not path.endswith(MERGED)]
    return {path: sizes[path] for path in paths if sizes.get(path, LARGE) < SMALL}


def runs(folder: Folder, paths: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[Part]]:
    """Parts of one schema, several, of LARGE bytes together at most or where they end.

    A part that cannot be read is left as it is, and named; where it matters, the drift check ends over it.
    """

    def attempt(path: str) -> Part | None:
        try:
            return path, folder.read(path)
        except BadInput as error:
            print(f"not merged: {error}")
            return None

    waiting: dict[object, list[Part]] = {}
    for part in filter(None, ahead(attempt, paths, AHEAD)):
        schema = tuple(part[1].schema.items())
        run = waiting.setdefault(schema, [])
        if sum(sizes[path] for path, _ in run) + sizes[part[0]] > LARGE:
            yield waiting.pop(schema)
            waiting[schema] = run = []
        run.append(part)
    yield from (run for run in waiting.values() if len(run) > 1)


def merge(folder: Folder, day: date, parts: Sequence[Part]) -> None:
    """Write the rows of parts as one, and delete these. Raises BadInput where storage has not taken it as it is."""
    names, rows = [name_of(path) for path, _ in parts], pl.concat([table for _, table in parts])
    content = BytesIO()
    rows.write_parquet(content, metadata={REPLACES: " ".join(names)})
    name = f"{stamp(names[0])}-{sha256(' '.join(names).encode()).hexdigest()[:32]}{MERGED}"
    folder.put(f"{day}/{name}", content.getvalue())
    path = f"{folder.root}/{day}/{name}"
    if len(folder.read(path, ())) != len(rows) or folder.replaces(path) != names:
        raise BadInput(f"{path}: is not what was written; delete it, as the parts that it was made of are still there")
    delete(folder, [path for path, _ in parts])


def delete(folder: Folder, paths: Sequence[str]) -> None:
    """Delete files. One may be gone: the others are left to the next run then."""
    with suppress(FileNotFoundError):
        folder.system.rm(paths)
