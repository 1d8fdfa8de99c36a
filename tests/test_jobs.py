"""A bake as its CI runs it: each job in the environment of the locks that it names, really installed."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests import baking
from tests.baking import make, run
from tests.turns import turn

pytestmark = pytest.mark.slow


OURS = re.compile(r"make |python -m pipeline|python -m gitops (restore|bundle|pack)\b")
"""Commands that run without GitHub."""


def jobs() -> dict[str, list[str]]:
    """What the workflows' jobs run of the pipeline, by the locks that they install; a called workflow has its own."""
    found: dict[str, list[str]] = {}
    for path in sorted((baking.TEMPLATE / ".github" / "workflows").glob("*.yml")):
        workflow = yaml.safe_load(path.read_text())
        for job in workflow["jobs"].values():
            if "steps" in job:
                locks = {**workflow.get("env", {}), **job.get("env", {})}["LOCK"]
                found.setdefault(locks, []).extend(
                    run for step in job["steps"] if OURS.match(run := step.get("run", ""))
                )
    return found


JOBS = jobs()


@pytest.fixture(scope="module")
def trained(bake: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the bake whose pipeline has run, and what that printed; what jobs hand over is there."""
    repository = shutil.copytree(bake, tmp_path_factory.mktemp("trained") / "a copy")
    printed = make("pipeline", repository) + make("service", repository)
    for what, folder in (("candidate", "build/candidate"), ("fitted", "build/handed")):
        python = str(baking.VENV / "bin" / "python")
        done = run(python, "-m", f"pipeline.{what}", "hand-over", folder, cwd=repository)
        assert done.returncode == 0, done.stdout
    return repository, printed


def environment(bake: Path, venv: Path, locks: str) -> Mapping[str, str]:
    """Installs what a job's locks name, as CI does; the variables that a job then has: nothing of our environment."""
    ours = {"VENV": str(venv), "LOCK": locks, "CI": "true"}
    done = run("make", "setup", cwd=bake, **ours)
    assert done.returncode == 0, done.stdout
    assert run("make", "setup", cwd=bake, **ours).stdout == ""  # nothing to do
    others = [folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != baking.VENV / "bin"]
    return ours | {"PATH": os.pathsep.join([str(venv / "bin"), *others])}


def test_bake_runs_its_pipeline_as_it_comes(trained: tuple[Path, str]) -> None:
    repository, printed = trained
    assert printed.count("every bar is met") == 3 and " passed" in printed
    measured = json.loads((repository / "metrics.json").read_text())
    assert measured["model"]["digest"].startswith("sha256:")
    assert run("git", "status", "--porcelain", cwd=repository).stdout == ""


@pytest.mark.parametrize("locks", turn(sorted(set(JOBS) - {"checks"}), len(JOBS) - 1))
def test_a_job_runs_in_the_environment_of_its_locks(trained: tuple[Path, str], tmp_path: Path, locks: str) -> None:
    """One kind of job after the other, a kind each commit; what the pipeline has made already is not made again."""
    repository = shutil.copytree(trained[0], tmp_path / "a copy")
    handed_over = {"FITTED": "build/handed"}
    store = {"MLFLOW_TRACKING_URI": (tmp_path / "store").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
    job = environment(repository, tmp_path / "an environment", locks)
    for command in JOBS[locks] or ["python -m gitops --help"]:
        done = run("bash", "-ec", command, cwd=repository, **handed_over, **store, **job)
        assert done.returncode == 0, f"{command}\n{done.stdout[-5000:]}"
        again = set(re.findall(r"Running stage '(\S+)'", done.stdout)) - {"source"}  # which is listed each time
        assert not again, f"{command}\n{done.stdout[-5000:]}"
    for made in tmp_path.iterdir():
        shutil.rmtree(made)


def test_bake_passes_its_own_tests(bake: Path, tmp_path: Path) -> None:
    """As in CI: those that train where torch is, the others where it is not; and none reads what its users change."""
    venv = tmp_path / "an environment"
    done = run("make", "test", "TORCH=without", cwd=bake, TESTS_APART="1", **environment(bake, venv, "checks"))
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-10_000:]
    lacking = re.findall(r"^SKIPPED .*needs .*", done.stdout, re.MULTILINE)
    assert not (os.environ.get("CI") and lacking), lacking  # .ci/run installs what the tests need
    shutil.rmtree(venv)
    assert " passed" in make("test", bake, TORCH="only", TESTS_APART="1")
