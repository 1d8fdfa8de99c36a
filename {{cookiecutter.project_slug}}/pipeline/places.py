"""Where data, bytes and predictions may lie: a folder, or a bucket of a kind whose package is installed."""

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from pipeline.params import BadInput, unwritable

A = TypeVar("A")
T = TypeVar("T")

ROOT = Path(__file__).absolute().parent.parent
FSSPEC = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
    "oss": "ossfs",
    "sftp": "sshfs",
    "ssh": "sshfs",
}
"""The package that opens an address, by its scheme: for data.source and PREDICTION_LOG."""
DVC = {"s3": "dvc-s3", "gs": "dvc-gs", "azure": "dvc-azure", "oss": "dvc-oss", "ssh": "dvc-ssh"}
"""The same for DVC_REMOTE; each of them brings the package of FSSPEC too."""


def opened(address: str, what: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path on it. Raises BadInput where no installed package knows it."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(address if "://" in address else str(Path(address).expanduser()))
    except (ValueError, ImportError) as error:
        raise BadInput(f"{what} is {address}: {problem(address, FSSPEC) or ' '.join(str(error).split())}") from None
    return system, path


def ahead(read: Callable[[A], T], todo: Iterable[A], number: int) -> Iterator[T]:
    """What `read` gives of each, in order; so many are read while one is looked at."""
    with ThreadPoolExecutor(number) as pool:
        coming: deque[Future[T]] = deque()
        for each in todo:
            coming.append(pool.submit(read, each))
            if len(coming) > number:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def day_of(path: str) -> date | None:
    """The day that a file or folder is named after, if it is one."""
    name = path.rstrip("/").rsplit("/", 1)[-1]
    try:
        return date.fromisoformat(name) if re.fullmatch(r"\d{4}-\d\d-\d\d", name) else None
    except ValueError:
        return None


def installed(package: str) -> bool:
    """Whether a package can be imported here."""
    return find_spec(package.replace("-", "_")) is not None


def problem(address: str, packages: Mapping[str, str], has: Callable[[str], bool] = installed) -> str | None:
    """Why an address cannot be opened, and what to do; None where it can."""
    scheme, remote, _ = address.partition("://")
    if not remote or scheme == "file":
        return None
    if scheme not in packages:
        return f"{scheme}:// is none of {', '.join(packages)}: name a folder, or a bucket such as s3://bucket/folder"
    if has(packages[scheme]):
        return None
    s3 = packages["s3"]
    files = ", ".join(path.name for path in listing(s3)) or "the .in file of its lock"
    return f"{scheme}:// needs the package {packages[scheme]}: add it to {files}, beside {s3}, and run `make lock`"


def locked(package: str, beside: str) -> bool:
    """Whether a package is in each lock that is made of a file which lists another."""
    locks = [path.with_suffix(".txt").read_text() for path in listing(beside)]
    return all(re.search(rf"^{re.escape(package)}==", lock, re.MULTILINE) for lock in locks)


def listing(package: str) -> list[Path]:
    """The requirements*.in files that list a package."""
    line = re.compile(rf"^{re.escape(package)}\b(?!-)", re.MULTILINE)
    return [path for path in sorted(ROOT.glob("requirements*.in")) if line.search(path.read_text())]


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
