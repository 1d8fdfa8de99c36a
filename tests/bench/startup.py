"""The pipeline's start-up cost: imports, DVC and MLflow, with next to nothing to compute."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests import baking

TINY = {"simulate": {"customers": 200}, "split": {"train": 7}}
"""A bank so small, and a week so short, that what is left of a run is starting up."""


def rows() -> Iterator[dict]:
    """The stages and the mirror on a tiny data set from nothing, then again with nothing to do."""
    with tempfile.TemporaryDirectory(prefix="bench ") as folder:
        bake = tiny(Path(folder))
        stages = ("dvc", "repro", "--quiet", "validate", "evaluate")
        mirror = "python -m pipeline.track"
        first = seconds(bake, ("sh", "-c", f"{mirror} --store & {' '.join(stages)} && wait && {mirror}"))
        yield row("pipeline and MLflow mirror on a tiny data set", first, bar=15)
        yield row("dvc repro with nothing to do", min(seconds(bake, stages) for _ in range(3)), bar=1)


def tiny(folder: Path) -> Path:
    """A bake with a tiny simulation."""
    baking.cookiecutter(baking.template(folder / "template"), folder).check_returncode()
    bake = folder / "card-fraud"
    baking.change_knobs(bake, **TINY)
    return bake


def seconds(bake: Path, command: tuple[str, ...]) -> float:
    """How long a command takes in the bake. Raises CalledProcessError where it fails."""
    environment = os.environ | {"PATH": f"{baking.VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    start = time.perf_counter()
    subprocess.run(command, cwd=bake, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def row(what: str, ours: float, bar: float) -> dict:
    """A row with no other side: ours has to stay under the bar."""
    return {
        "what": what,
        "ours": ours,
        "theirs": None,
        "unit": "s",
        "ratio": None,
        "bar": f"< {bar}",
        "reached": ours < bar,
    }
