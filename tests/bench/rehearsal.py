"""The pull request's workflow, on a bake as it comes: what is restored, and what rehearsing costs."""

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests import baking
from tests.rehearsal.driver import Rehearsal, Run
from tests.rehearsal.project import ANSWERS, Project

MODEL_JOBS = ("data", "train", "test", "service")
STEP = re.compile(r"Main (?:make|python) .* \[([\dhmsµn.]+)\]$", re.MULTILINE)  # as act says how long a step took
UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


def rows() -> Iterator[dict]:
    """A cold pull request and one that the model does not follow from; their jobs in a row, for clean times."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:  # act takes no space in a path
        folder = Path(name)
        baking.cookiecutter(baking.template(folder / "template"), folder, **ANSWERS).check_returncode()
        with Rehearsal(folder / "github", baking.VENV, at_once=1) as github:
            project = Project.start(github, quicker(folder / "card-fraud"))
            began = time.perf_counter()
            cold = run(project, "cold", "NOTES.txt")
            wall = time.perf_counter() - began
            other = run(project, "other", "OTHER.txt")
    trained, restored = model_seconds(cold), model_seconds(other)
    yield row("model jobs of a change that no model follows from, beside a cold run's", restored, trained, 0.25)
    yield row("a rehearsed run, less its own commands", wall - commands(cold), wall, 0.05)


def quicker(bake: Path) -> Path:
    """The bake with its fast tests alone: its slow ones would hide what rehearsing costs."""
    config = bake / "pyproject.toml"
    config.write_text(config.read_text().replace('addopts = "', "addopts = \"-m 'not slow' "))
    baking.run("git", "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qam", "Be quick", cwd=bake)
    return bake


def run(project: Project, branch: str, file: str) -> Run:
    """A pull request that changes a file, to its end. Raises RuntimeError where it is not green."""
    project.propose(branch, {file: f"{branch}\n"}, branch)
    done = project.run()
    if done.conclusion != "success":
        raise RuntimeError(done.log[-5000:])
    return done


def model_seconds(done: Run) -> float:
    """What the jobs that make and test the model took."""
    return sum(done.jobs[job].seconds for job in MODEL_JOBS)


def commands(done: Run) -> float:
    """What the repository's own commands took, in all jobs."""
    return sum(seconds(said) for job in done.jobs.values() for said in STEP.findall(job.log))


def seconds(duration: str) -> float:
    """Go's `1m2.5s` in seconds."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|µs|ns|h|m|s)", duration))


def row(what: str, ours: float, theirs: float, bar: float) -> dict:
    """A share that has to stay under the bar."""
    share = ours / theirs
    return {
        "what": what,
        "ours": ours,
        "theirs": theirs,
        "unit": "s",
        "ratio": share,
        "bar": f"< {bar}",
        "reached": share < bar,
    }
