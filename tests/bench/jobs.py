"""What a pull request costs: the megabytes and seconds of each job's environment, and what GitHub keeps of a run.

An environment is made as the job makes it, by `make setup LOCK=...`: first with an empty cache of packages, as a hosted
runner has it, then with what the first one has left there, as a runner of one's own may. Megabytes are those of the
environment's files.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

import yaml

from tests import baking
from tests.bench import peers
from tests.bench.rehearsal import OLDER, newest, quicker, released, run
from tests.rehearsal.driver import Rehearsal, Run
from tests.rehearsal.project import ANSWERS, Project

WORKFLOWS = [f".github/workflows/{name}.yml" for name in ("pull-request", "train", "verify")]
SETUP = re.compile(r"\./(base/)?\.github/actions/setup")
ALLOWED = {"Train": 7_000, "Checks": 2_500}  # megabytes; any other job 1,000
ALL, WITHOUT_TRAINING = 10_500, 4_000  # megabytes: 30% of what it was when each job installed everything


def rows() -> Iterator[dict[str, Any]]:
    """Each job of a change of the model, all of them, all but training; then what the run took and left."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:  # act takes no space in a path
        folder = Path(name)
        baking.cookiecutter(baking.template(folder / "template"), folder, **ANSWERS).check_returncode()
        bake = folder / "card-fraud"
        measured = {job: environment(bake, locks, folder) for job, locks in jobs(bake).items()}
        for job, (megabytes, cold, warm) in measured.items():
            yield row(f"{job}: megabytes installed", megabytes, "MB", ALLOWED.get(job, 1_000))
            yield row(f"{job}: installing with a warm cache, beside a cold one", warm, "s", None, cold)
        total = sum(megabytes for megabytes, _, _ in measured.values())
        yield row("a pull request: megabytes installed", total, "MB", ALL)
        yield row("with a runner that has Train's environment", total - measured["Train"][0], "MB", WITHOUT_TRAINING)
        with Rehearsal(folder / "github", baking.VENV, at_once=1) as github:
            project = Project.start(github, quicker(bake))
            released(project)
            path, old, new = OLDER
            first = run(project, "first", {path: project.read(path).replace(old, new)})
            ran = {job.name: job.seconds for job in (first.jobs | newest(project, "verify.yml").jobs).values()}
            kept = artifacts(project, first)
            words = run(project, "words", {"README.md": "Other words.\n"})
        seconds = {name: ran[name] + cold for name, (_, cold, _) in measured.items()}
        for name, megabytes, days in kept:
            yield row(f"a pull request leaves {name}, for {days} day{'s' * (days > 1)}", megabytes, "MB", None)
        after = sum(megabytes for _, megabytes, days in kept if days > 1)
        yield row("a pull request leaves after a day", after, "MB", None)
        yield from peers.beside(
            {
                "minutes": sum(ceil(each / 60) for each in seconds.values()) + 1,  # Required installs nothing
                "installed": total,
                "kept": sum(megabytes for _, megabytes, _ in kept),
            }
        )
        yield row("a request of words: seconds of all jobs", sum(job.seconds for job in words.jobs.values()), "s", 30)


def artifacts(project: Project, done: Run) -> list[tuple[str, float, int]]:
    """What a run has left: an artifact's name without the content key, its megabytes, and for how many days."""
    found = []
    for each in project.call("GET", f"actions/runs/{done.id}/artifacts")["artifacts"]:
        began, ends = (datetime.fromisoformat(each[at]) for at in ("created_at", "expires_at"))
        name = each["name"].removesuffix(f"-{done.jobs['plan'].outputs['key']}")
        found.append((name, each["size_in_bytes"] / 1e6, (ends - began).days))
    return sorted(found, key=lambda artifact: (artifact[2], -artifact[1]))


def jobs(bake: Path) -> dict[str, str]:
    """The locks of each job that a change of the model goes through, by the job's name; a called workflow's too."""
    found: dict[str, str] = {}
    for path in WORKFLOWS:
        workflow = yaml.safe_load((bake / path).read_text())
        for job in workflow["jobs"].values():
            if "steps" in job and SETUP.search(str(job["steps"])) and "'promotion'" not in job.get("if", ""):
                found[job["name"]] = {**workflow.get("env", {}), **job.get("env", {})}["LOCK"]
    return found


def environment(bake: Path, locks: str, folder: Path) -> tuple[float, float, float]:
    """Megabytes of an environment, and the seconds that it takes with a cold and with a warm cache of packages."""
    venv, cache = folder / "venv", folder / "cache"
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        command = ("make", "setup", f"LOCK={locks}", f"VENV={venv}")
        done = baking.run(*command, cwd=bake, CI="true", UV_CACHE_DIR=str(cache), PIP_NO_CACHE_DIR="1")
        seconds.append(time.perf_counter() - began)
        if done.returncode:
            raise RuntimeError(done.stdout[-5000:])
        megabytes = size(venv) / 1e6
        shutil.rmtree(venv)
    shutil.rmtree(cache)
    return megabytes, seconds[0], seconds[1]


def size(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(os.lstat(Path(path, name)).st_size for path, _, names in os.walk(folder) for name in names)


def row(what: str, ours: float, unit: str, bar: float | None, theirs: float | None = None) -> dict[str, Any]:
    """Ours has to be under the bar, where there is one."""
    return {
        **{"what": what, "ours": ours, "theirs": theirs, "unit": unit, "ratio": theirs and ours / theirs},
        **{"bar": "" if bar is None else f"< {bar:,}", "reached": bar is None or ours < bar},
    }
