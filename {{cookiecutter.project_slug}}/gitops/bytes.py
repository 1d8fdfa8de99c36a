"""How the pipeline's bytes travel between jobs: as a bundle that an artifact carries, with the DVC remote beside it.

The lock names every output by its hash and DVC's cache is laid out by the same hashes, so a bundle is the two. Where
there is a remote, the cache lies there and a bundle is the lock alone. Nothing is found in a remote by a name that
somebody could take, and nobody's run-cache is believed: it says which outputs a stage has, without running it.
DVC repeats whatever a lock does not fit: a stale one is safe. That objects are what they are named after, and stay
inside of their folders, pipeline/dvc.py sees to.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

LOCK = Path("dvc.lock")
CACHE = Path(".dvc/cache")
OBJECTS = CACHE / "files" / "md5"
ROWS = ("build/baselines.parquet", "data/", "reports/predictions.parquet")  # outputs that name rows, and so people
LOCAL = Path(".dvc/config.local")
BUNDLE = Path("build/bundle/pipeline.tar")
REMOTE = "storage"
PACKED = (
    *("build/service.bento", "reports/reference.parquet", "reports/trained.parquet", "dvc.lock"),
    *("reports/explanations.json", "reports/fitted.json"),
)


def restore() -> None:
    """Puts in place what an earlier job, or a release on main, handed over, where there is something; removes it.

    A bundle of the lock alone was handed over beside a remote: what the lock names and the remote lacks is an error
    then, never a silent training.
    """
    remote, brought = dvc_remote(), False
    if BUNDLE.exists():
        from pipeline.dvc import whole  # where nothing is restored, DVC need not be there

        with tarfile.open(BUNDLE) as tar:
            brought = any(member.isfile() and member.name != str(LOCK) for member in tar)
            tar.extractall(".", members=filter(carried, tar), filter="data")
        BUNDLE.unlink()
        whole(CACHE)
    if not LOCK.exists():
        print("Nothing to restore: the pipeline starts from its inputs")
        return
    if remote and not brought:
        name_remote(remote)
        dvc("pull")
    else:
        dvc("checkout", "--quiet", "--allow-missing")
    print(f"Restored what {LOCK} names")


def bundle(file: Path, rows: bool = True) -> None:
    """Hands over what the pipeline made; without its rows where it is kept for longer than the run.

    Where there is a remote, the cache goes there, and the lock alone into the bundle.
    """
    remote = dvc_remote()
    file.parent.mkdir(parents=True, exist_ok=True)
    if remote:
        name_remote(remote)
        dvc("push", "--quiet")
    with tarfile.open(file, "w") as tar:
        if LOCK.exists():
            tar.add(LOCK)
        for path in () if remote else objects(rows):
            tar.add(path)


def objects(rows: bool) -> Iterator[Path]:
    """The files of the cache; without `rows`, less what the lock names below ROWS."""
    left_out = set() if rows else set(row_hashes(yaml.safe_load(LOCK.read_text()) or {}))
    for path in sorted(OBJECTS.rglob("*")):
        if path.is_file() and path.parent.name + path.name not in left_out:
            yield path


def row_hashes(lock: dict[str, Any]) -> Iterator[str]:
    """The hashes of the outputs that hold rows."""
    for stage in (lock.get("stages") or {}).values():
        yield from (out["md5"] for out in stage.get("outs", ()) if out["path"].startswith(ROWS))


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
    """Whether a bundle may hold this: the lock, and objects of the cache. Never code, not even by a link."""
    path = PurePosixPath(member.name)
    if path.parts[: len(OBJECTS.parts)] == OBJECTS.parts and ".." not in path.parts:
        return member.isfile() or member.isdir()
    return member.isfile() and path == PurePosixPath(LOCK)


def pack(folder: Path) -> None:
    """Collects what a release proposes: the model as a tar of nothing but its bytes, and what else is promoted."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "model.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(Path("model").iterdir()):
            member = tarfile.TarInfo(f"model/{path.name}")  # no dates, no owners: the same model is the same tar
            member.size = path.stat().st_size
            tar.addfile(member, io.BytesIO(path.read_bytes()))
    for name in PACKED:
        shutil.copy(name, folder / Path(name).name)


def dvc(*arguments: str) -> None:
    """Runs DVC, guarded; ends with its exit code where it fails."""
    if code := subprocess.run([sys.executable, "-m", "pipeline.dvc", *arguments]).returncode:
        sys.exit(code)
