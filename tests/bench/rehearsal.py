"""A pull request and its merge, on a bake as it comes: what is not made again, and what rehearsing costs."""

import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests import baking
from tests.rehearsal.driver import Rehearsal, Run
from tests.rehearsal.project import ANSWERS, Project

MAKES = ("data", "train", "test")  # jobs; Measure measures again whatever was made, and has a row of its own
OLDER = ("params.yaml", 'until: "2018-08-14"', 'until: "2018-08-13"')  # all of the pipeline's inputs are others
CLOCK = "date +'training ${key} at %s.%N'"  # a family
TRAINING = re.compile(r"^training network at ([\d.]+)", re.MULTILINE)
LONG = 600  # seconds of a training that is worth not to be repeated
STEP = re.compile(r"Main (?:make|python) .* \[([\dhmsµn.]+)\]$", re.MULTILINE)  # as act says how long a step took
UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


def rows() -> Iterator[dict]:
    """A request of other data, one of the same inputs, and a merge beside one that trains: one job after the other."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:  # act takes no space in a path
        folder = Path(name)
        baking.cookiecutter(baking.template(folder / "template"), folder, **ANSWERS).check_returncode()
        with Rehearsal(folder / "github", baking.VENV, at_once=1) as github:
            project = Project.start(github, timed(quicker(folder / "card-fraud")))
            released(project)
            other = run(project, "other", {"OTHER.txt": "other\n"})
            path, old, new = OLDER
            began = time.perf_counter()
            cold = run(project, "cold", {path: project.read(path).replace(old, new)})
            wall = time.perf_counter() - began
            number = project.opened("cold")["number"]
            project.approve(number)
            project.merge(number)
            taken = released(project)
            github.run_workflow("release.yml", train="true", again="true")
            trained = released(project)
    makes = "jobs that make the model: a change that it does not follow from, beside a cold run"
    yield row(makes, seconds_of(other, MAKES), seconds_of(cold, MAKES), 0.25)
    yield row("Measure, which every request goes through", seconds_of(other, ("measure",)), None, None)
    yield row("a rehearsed run, less its own commands", wall - commands(cold), wall, 0.05)
    yield from merges(taken, trained)


def merges(taken: Run, trained: Run) -> Iterator[dict]:
    """Release's jobs after a merge, with the request's network and with one of its own; then for a longer training.

    Raises RuntimeError where the one has trained, or the other has not.
    """
    if TRAINING.search(taken.log):
        raise RuntimeError(taken.log[-5000:])
    began, ended = map(float, TRAINING.findall(trained.log))
    ours, theirs = seconds_of(taken), seconds_of(trained)
    yield row("a merge, train: request beside train: main", ours, theirs, 1)
    longer = f"the same, its {ended - began:.0f} s of training counted as {LONG} s"
    yield row(longer, ours, theirs - (ended - began) + LONG, 0.25)


def released(project: Project) -> Run:
    """Release's newest run, to its end. Raises RuntimeError where it is not green."""
    return newest(project, "release.yml")


def newest(project: Project, file: str) -> Run:
    """A workflow's newest run, to its end. Raises RuntimeError where it is not green."""
    project.github.wait()
    done = next(each for each in reversed(project.github.runs) if each.workflow.path.endswith(f"/{file}"))
    if done.conclusion != "success":
        raise RuntimeError(done.log[-5000:])
    return done


def quicker(bake: Path) -> Path:
    """The bake with its fast tests alone: its slow ones would hide what rehearsing costs."""
    return changed(bake, "pyproject.toml", 'addopts = "', "addopts = \"-m 'not slow' ")


def timed(bake: Path) -> Path:
    """The bake whose training says when it begins and ends, family by family."""
    command = "OMP_WAIT_POLICY=passive python -m pipeline.train ${key}"
    return changed(bake, "dvc.yaml", command, f"{CLOCK} && {command} && {CLOCK}")


def changed(bake: Path, path: str, old: str, new: str) -> Path:
    """The bake with words replaced, committed."""
    text = (bake / path).read_text()
    assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    (bake / path).write_text(text.replace(old, new))
    baking.run("git", "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qam", "Measure", cwd=bake)
    return bake


def run(project: Project, branch: str, files: Mapping[str, str]) -> Run:
    """A pull request that changes files, to its end. Raises RuntimeError where it is not green."""
    project.propose(branch, files, branch)
    return newest(project, "pull-request.yml")


def seconds_of(done: Run, jobs: Iterable[str] = ()) -> float:
    """What these jobs took, or all of them."""
    return sum((done.jobs[job].seconds for job in tuple(jobs) or tuple(done.jobs)), 0.0)


def commands(done: Run) -> float:
    """What the repository's own commands took, in all jobs."""
    return sum(seconds(said) for job in done.jobs.values() for said in STEP.findall(job.log))


def seconds(duration: str) -> float:
    """Go's `1m2.5s` in seconds."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|µs|ns|h|m|s)", duration))


def row(what: str, ours: float, theirs: float | None, bar: float | None) -> dict:
    """A share that has to stay under the bar, where there is one."""
    share = None if theirs is None else ours / theirs
    return {
        **{"what": what, "ours": ours, "theirs": theirs, "unit": "s", "ratio": share},
        **{"bar": f"< {bar}" if bar else "", "reached": not (bar and share) or share < bar},
    }
