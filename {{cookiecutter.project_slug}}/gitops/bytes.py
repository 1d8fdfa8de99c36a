"""How the pipeline's bytes travel between runs: through the DVC remote, or as a bundle that an artifact carries.

The lock names every output by its hash and DVC's cache is laid out by the same hashes, so a bundle is the two.
DVC checks the hashes when it puts outputs in place, and repeats whatever a lock does not fit: a stale one is safe.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

LOCK = Path("dvc.lock")
CACHE = Path(".dvc/cache")
LOCAL = Path(".dvc/config.local")
BUNDLE = Path("build/bundle/pipeline.tar")
REMOTE = "storage"
PACKED = (
    *("build/service.bento", "reports/reference.parquet", "reports/trained.parquet", "dvc.lock", "metrics.json"),
    *("reports/comparison.json", "reports/explanations.json"),
    *(f"reports/gate-{name}.json" for name in ("data", "model", "behaviour", "service")),
)


def restore(places: Iterable[str] = ()) -> str | None:
    """Puts in place what an earlier job or run handed over, where there is something; removes the bundle.

    From the remote it takes the first of the places that is there, a content key's newest run (KEY) or a certain one
    (KEY/RUN), and returns its key.
    """
    found = None
    if remote := dvc_remote():
        name_remote(remote)
        found = next((place.partition("/")[0] for place in places if place and fetch_lock(remote, place)), None)
        if found:
            dvc("pull")  # what the lock names and the remote lacks is an error: never a silent training
    if BUNDLE.exists():
        with tarfile.open(BUNDLE) as tar:
            tar.extractall(".", members=filter(carried, tar), filter="data")
        BUNDLE.unlink()
        if LOCK.exists():
            dvc("checkout", "--quiet", "--allow-missing")
    print(f"Restored what {LOCK} names" if LOCK.exists() else "Nothing to restore: the pipeline starts from its inputs")
    return found


def bundle(key: str | None = None) -> None:
    """Hands over what the pipeline made: to the remote where there is one, and as a bundle."""
    remote = dvc_remote() if key else None
    BUNDLE.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(BUNDLE, "w") as tar:
        for path in (LOCK, CACHE):
            if path.exists():
                tar.add(path)
    if remote:
        dvc("push")
        push_lock(remote, f"{key}/{os.environ['GITHUB_RUN_ID']}")  # last: it says that all that it names is there


def dvc_remote() -> str | None:
    """DVC_REMOTE, where it is set. Exits where no installed package can open it."""
    from pipeline import places

    remote = os.environ.get("DVC_REMOTE")
    if remote and (problem := places.problem(remote, places.DVC)):
        sys.exit(f"DVC_REMOTE is {remote}: {problem}")
    return remote


def name_remote(address: str) -> None:
    """Makes the address DVC's default remote, here alone; without the second that each `dvc remote` takes to start."""
    from configobj import ConfigObj

    config = ConfigObj(str(LOCAL))
    config.setdefault("core", {})["remote"] = REMOTE
    url = address if "://" in address else str(Path(address).absolute())
    config[f'remote "{REMOTE}"'] = {"url": url, "verify": "true"}  # verify is off by default for most remotes
    config.write()


def carried(member: tarfile.TarInfo) -> bool:
    """Whether a bundle may hold this: the lock, and plain files of the cache. Never code, not even by a link."""
    path = PurePosixPath(member.name)
    if path.parts[:2] == CACHE.parts and ".." not in path.parts:
        return member.isfile() or member.isdir()
    return member.isfile() and path == PurePosixPath(LOCK)


def fetch_lock(remote: str, place: str) -> bool:
    """Copies a lock from the remote: a certain run's, or the key's newest; whether there is one."""
    filesystem, path = locks(remote, place)
    if "/" not in place:
        kept = filesystem.glob(f"{path}/*/{LOCK}")
        lock = max(kept, key=lambda lock: int(lock.rsplit("/", 2)[-2]), default="")
    else:
        lock = f"{path}/{LOCK}"
    if not lock or not filesystem.exists(lock):
        return False
    filesystem.get_file(lock, str(LOCK))
    return True


def has_lock(remote: str, place: str) -> bool:
    """Whether the remote has the lock of a run (KEY/RUN)."""
    filesystem, path = locks(remote, place)
    return bool(filesystem.exists(f"{path}/{LOCK}"))


def push_lock(remote: str, place: str) -> None:
    """Copies the lock to the remote, under the content key and the run."""
    filesystem, path = locks(remote, place)
    filesystem.makedirs(path, exist_ok=True)
    filesystem.put_file(str(LOCK), f"{path}/{LOCK}")


def locks(remote: str, place: str) -> tuple[Any, str]:
    """Where the remote keeps the locks of a content key, or of one run: the file system, and the folder on it."""
    from pipeline import places

    address = re.sub("^azure://", "az://", remote)  # as fsspec calls what DVC calls azure
    return places.opened(f"{address}/locks/{place}", "DVC_REMOTE")


def pack(folder: Path) -> None:
    """Collects what a release proposes: the model as a tar of nothing but its bytes, the Bento, what was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "model.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(Path("model").iterdir()):
            member = tarfile.TarInfo(f"model/{path.name}")  # no dates, no owners: the same model is the same tar
            member.size = path.stat().st_size
            tar.addfile(member, io.BytesIO(path.read_bytes()))
    for name in PACKED:
        shutil.copy(name, folder / Path(name).name)


def dvc(*arguments: str) -> None:
    """Runs DVC; ends with its exit code where it fails."""
    if code := subprocess.run(["dvc", *arguments]).returncode:
        sys.exit(code)
