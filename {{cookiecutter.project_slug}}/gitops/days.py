"""The daily files that a request's tree holds: main, which measures the request, does not have its new days yet.

They are data, and belong to the owners of the bars wherever they lie (CODEOWNERS). Nothing else of that tree is read.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.reading import knob

REQUEST = Path("build/request")
"""Where the workflow checks out the request's daily files."""
DAY = re.compile(r"\d{4}-\d{2}-\d{2}\.parquet")


def take(knobs: str, request: Path = REQUEST) -> str:
    """Put the request's days in the place of ours, where `data.source` of its knobs is a folder of its tree.

    Returns a sentence, or "" where its tree holds none of them.
    """
    folder = source(knobs)
    theirs = list(days(request, folder)) if folder else []
    if folder is None or not theirs:
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    for path in days(Path(), folder):
        path.unlink()
    for path in theirs:
        shutil.copyfile(path, folder / path.name)
    return f"{folder}: its {len(theirs):,} daily files are those of the request"


def source(knobs: str) -> Path | None:
    """`data.source`, where it may be a folder of the tree; None where it is elsewhere, or nobody can read it."""
    said = knob(knobs, "data", "source")
    if not isinstance(said, str) or "://" in said or said.startswith(("/", "~")) or ".." in Path(said).parts:
        return None
    return Path(said)


def days(tree: Path, folder: Path) -> Iterator[Path]:
    """The daily files of a folder of a tree, by name; no link is followed."""
    within = [tree / part for part in (folder, *folder.parents)]
    if any(part.is_symlink() for part in within) or not (tree / folder).is_dir():
        return
    for path in sorted((tree / folder).iterdir()):
        if DAY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            yield path
