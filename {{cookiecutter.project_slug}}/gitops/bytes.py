"""How the pipeline's bytes travel between runs: through the DVC remote, or as a bundle that an artifact carries.

The lock names every output by its hash and DVC's cache is laid out by the same hashes, so a bundle is the two.
DVC checks the hashes when it puts outputs in place, and repeats whatever a lock does not fit: a stale one is safe.
"""

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

LOCK = Path("dvc.lock")
CACHE = Path(".dvc/cache")
BUNDLE = Path("build/bundle/pipeline.tar")
REMOTE = "storage"


def restore(keys: Iterable[str] = ()) -> str | None:
    """Puts in place what an earlier job or run handed over, where there is something; removes the bundle.

    From the remote it takes the first of the content keys that is there, and returns it.
    """
    found = None
    if remote := os.environ.get("DVC_REMOTE"):
        dvc("remote", "add", "--local", "--force", "--default", REMOTE, remote)
        dvc("config", "--local", f"remote.{REMOTE}.verify", "true")  # off by default for most remotes
        found = next((key for key in keys if key and fetch_lock(remote, key)), None)
        if found:
            dvc("pull")  # what the lock names and the remote lacks is an error: never a silent training
    if BUNDLE.exists():
        with tarfile.open(BUNDLE) as tar:
            tar.extractall(".", members=filter(carried, tar), filter="data")
        BUNDLE.unlink()
    if LOCK.exists():
        dvc("checkout", "--quiet", "--allow-missing")
        print(f"Restored what {LOCK} names")
    else:
        print("Nothing to restore: the pipeline starts from its inputs")
    return found


def bundle(key: str | None = None) -> None:
    """Hands over what the pipeline made: to the remote where there is one, and as a bundle."""
    BUNDLE.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(BUNDLE, "w") as tar:
        for path in (LOCK, CACHE):
            if path.exists():
                tar.add(path)
    if key and (remote := os.environ.get("DVC_REMOTE")):
        dvc("push")
        push_lock(remote, key)  # last: a lock in the remote says that all that it names is there


def carried(member: tarfile.TarInfo) -> bool:
    """Whether a bundle may hold this: the lock, and plain files of the cache. Never code, not even by a link."""
    path = PurePosixPath(member.name)
    if path.parts[:2] == CACHE.parts and ".." not in path.parts:
        return member.isfile() or member.isdir()
    return member.isfile() and path == PurePosixPath(LOCK)


def fetch_lock(remote: str, key: str) -> bool:
    """Copies the content key's lock from the remote; whether there is one."""
    filesystem, path = remote_lock(remote, key)
    if not filesystem.exists(path):
        return False
    filesystem.get_file(path, str(LOCK))
    return True


def push_lock(remote: str, key: str) -> None:
    """Copies the lock to the remote under the content key."""
    filesystem, path = remote_lock(remote, key)
    filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    filesystem.put_file(str(LOCK), path)


def remote_lock(remote: str, key: str) -> tuple[Any, str]:
    """Where the remote keeps a content key's lock: the file system, and the path on it."""
    import fsspec

    filesystem, path = fsspec.url_to_fs(f"{remote}/locks/{key}/{LOCK}")
    return filesystem, path


def dvc(*arguments: str) -> None:
    """Runs DVC; ends with its exit code where it fails."""
    if code := subprocess.run(["dvc", *arguments]).returncode:
        sys.exit(code)
