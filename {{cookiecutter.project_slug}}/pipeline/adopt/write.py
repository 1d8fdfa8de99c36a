"""Puts what adopt has made in its place, all of it or nothing: files are made beside, checked, and moved at the end."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stdout, suppress
from hashlib import sha256
from io import BytesIO, StringIO
from pathlib import Path
from signal import SIGHUP, SIGTERM, signal
from tarfile import open as unpacked
from typing import Any

import yaml

from pipeline.params import PARAMS, BadInput, unwritable
from pipeline.reading import count
from pipeline.source import SHOWN, SIMULATE

BESIDE = Path("build/adopt")
BYTECODE = "__pycache__"  # Python's own, made anew: nothing is lost with it
BEFORE, ELSEWHERE = "before", "elsewhere"
"""In it: what was replaced in the repository, and elsewhere, each by its path, until all is in its place."""
ADOPTED = Path("build/adopted.json")  # git ignores it


@contextmanager
def beside() -> Iterator[Path]:
    """A folder on the same disk, which is gone again afterwards. Raises BadInput where nothing can be written there."""
    made = not BESIDE.parent.exists()
    restore()
    shutil.rmtree(BESIDE, ignore_errors=True)
    try:
        BESIDE.mkdir(parents=True)
        yield BESIDE
    except OSError as error:
        if said := unwritable(error):
            raise BadInput(said) from None
        raise
    finally:
        shutil.rmtree(BESIDE, ignore_errors=True)
        if made:
            with suppress(OSError):  # something else lies there by now
                BESIDE.parent.rmdir()


def restore() -> None:
    """Put back what a run that was killed had replaced in the repository. Raises BadInput for what lay elsewhere.

    A file that somebody brings along here must not choose a place outside of it.
    """
    before, elsewhere = BESIDE / BEFORE, BESIDE / ELSEWHERE
    if elsewhere.exists():
        raise BadInput(
            f"the run before was stopped on its way: what it had replaced lies in {elsewhere}, by its path; copy it "
            "back, remove that folder, then run this again"
        )
    if kept := sorted(path for path in before.rglob("*") if path.is_file()):
        for path in kept:
            move(path, path.relative_to(before))
        print(f"the run before was stopped on its way; {count(len(kept), 'file')} that it had replaced are back")


def check(folder: Path) -> None:
    """Hold contract, knobs and policies of a folder against their schemas and each other. Raises BadInput."""
    from pipeline.policy import check as policies

    with chdir(folder), redirect_stdout(StringIO()):
        policies.main()


# --- an adoption that no commit has ---


def note(table: str, written: Mapping[Path, str | None]) -> None:
    """Keep the digests of what an adoption wrote, so that it can be told from what somebody changed since."""
    said = {"table": str(Path(table).absolute()), "written": {str(path): each for path, each in written.items()}}
    ADOPTED.parent.mkdir(exist_ok=True)
    ADOPTED.write_text(json.dumps(said, indent=1))


def noted() -> dict[str, Any]:
    """The table of the last adoption, and the digests of what it wrote; empty where there was none."""
    try:
        said: dict[str, Any] = json.loads(ADOPTED.read_text())
    except (OSError, ValueError):
        return {"table": "", "written": {}}
    return said


def noted_as(files: Mapping[Path, Path]) -> set[Path]:
    """The files whose new content is what the last adoption wrote."""
    written = noted()["written"]
    return {path for path, new in files.items() if written.get(str(path)) == digest(new)}


def as_written() -> set[Path]:
    """The files that are as the last adoption wrote them."""
    return {Path(path) for path, said in noted()["written"].items() if digest(Path(path)) == said}


def digest(path: Path) -> str | None:
    """Of a file's content; None where there is none."""
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def fresh() -> bool:
    """Whether the adoption is in no commit: the last one has the example yet."""
    said = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True, text=True)
    with suppress(yaml.YAMLError, AttributeError):
        return bool(yaml.safe_load(said.stdout)["data"]["source"] == SIMULATE) if not said.returncode else False
    return False


def committed(folder: Path, *paths: Path) -> Path:
    """What the last commit has of these paths, in `folder`."""
    command = ["git", "archive", "--format=tar", "HEAD", "--", *map(str, paths)]
    said = subprocess.run(command, capture_output=True, check=True).stdout
    with unpacked(fileobj=BytesIO(said)) as archive:
        archive.extractall(folder, filter="data")
    return folder


# --- what would be lost ---


def uncommitted(files: Mapping[Path, Path], gone: Iterable[Path] = ()) -> list[str]:
    """The files that hold what no commit has, and no adoption wrote, and that would become others, or go.

    `files` says where the new content of each lies. Raises BadInput outside of git, where something would be lost.
    """
    there = [path for path, new in files.items() if path.exists() and path.read_bytes() != new.read_bytes()]
    there += [path for path in gone if path.exists()]
    known = as_written()
    there = [path for path in there if path not in known]
    if not there:
        return []
    inside = subprocess.run(["git", "rev-parse", "--is-inside-work-tree"], capture_output=True, text=True)
    if inside.returncode:
        raise BadInput(
            f"this folder is no git repository, and {count(len(there), 'file')} would be replaced for good, such as "
            f"{there[0]}; git init && git add --all && git commit --message Before, then run this again"
        )
    command = ["git", "status", "--porcelain", "-z", "--untracked-files=all", "--ignored=matching", "--no-renames"]
    said = subprocess.run([*command, "--", *map(str, there)], capture_output=True, text=True, check=True).stdout
    return sorted(line[3:] for line in said.split("\0") if line and BYTECODE not in Path(line[3:]).parts)


def refuse(lost: Sequence[str], rows: str = "", back: str = "") -> None:
    """Raises BadInput where something would be lost; `back` is the command that takes an adoption back.

    `rows` is the folder of the daily files: people's, so that nobody is told to commit them.
    """
    days = [path for path in lost if rows and path.startswith(f"{rows}/") and path.endswith(".parquet")]
    others = [path for path in lost if path not in days]
    if others and back:
        raise BadInput(
            f"{some(others)}: changed since this table was adopted, and in no commit; keep them by hand, or take the "
            f"adoption back, and these changes with it, then run this again: {back}"
        )
    says = []
    if others:
        says.append(f"{some(others)}: in no commit as they are, and would be replaced; commit, stash or remove them")
    if days:
        says.append(f"{some(days)}: other rows than these, and would be replaced; move the folder {rows} away")
    if says:
        raise BadInput("\n".join(f"{each}, then run this again" for each in says))


def some(paths: Sequence[str]) -> str:
    """The first of them."""
    return ", ".join(paths[:SHOWN]) + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")


def takes_back(made: Iterable[Path], gone: Iterable[Path], rows: str) -> str:
    """The command that takes an adoption back; .gitignore stays, as it keeps people's rows out of git."""
    paths = [str(path) for path in [*made, *gone] if path.parts[0] not in (rows, ".gitignore")]
    return f"git checkout HEAD -- {' '.join(paths)} && rm -r {rows}"


# --- all or nothing ---


def publish(files: Mapping[Path, Path], gone: Iterable[Path] = ()) -> None:
    """Move files to their places, and those that go out of theirs; where one fails, all is as it was.

    params.yaml comes last: it says that a table is adopted, and where a machine fails on the way, none is.
    """
    moved: list[tuple[Path, Path | None]] = []  # the place, and where that lies which was there
    made = [folder for folder in {path.parent for path in files} if not folder.exists()]
    try:
        with stoppable():
            for path in sorted([*files, *gone], key=lambda path: path == PARAMS):
                kept = aside(path) if path.exists() else None
                moved.append((path, kept))
                if kept:
                    move(path, kept)
                if path in files:
                    move(files[path], path)
    except BaseException:
        for path, kept in reversed(moved):
            if kept is None or kept.exists():
                remove(path)
            if kept and kept.exists():
                move(kept, path)
        for folder in made:
            remove(folder)
        raise


def aside(path: Path) -> Path:
    """Where a file waits that is replaced."""
    if path.is_absolute() or ".." in path.parts:
        return BESIDE / ELSEWHERE / str(path.absolute()).lstrip("/")
    return BESIDE / BEFORE / path


@contextmanager
def stoppable() -> Iterator[None]:
    """Has whoever ends this process, or closes its window, raise SystemExit, so that what is half done is undone."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {each: signal(each, stop) for each in (SIGTERM, SIGHUP)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal(each, handler)


def move(source: Path, target: Path) -> None:
    """Move a file or a folder, whose own folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


def remove(path: Path) -> None:
    """Remove a file or a folder, where it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
