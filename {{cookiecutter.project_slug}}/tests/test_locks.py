"""A job imports only what its locks name: each job's modules, as its workflow calls them, with all else refused."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import families

ROOT = Path(__file__).parents[1]
ON_THE_MODEL = ("tests/model", "tests/example/model")
SETUP = "./.github/actions/setup"
REFUSING = """
import sys
from importlib import import_module
from importlib.machinery import PathFinder

refused, modules, find = set(sys.argv[1].split(",")), sys.argv[2:], PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name.partition(".")[0] in refused else find(name, *more)
for module in modules:
    import_module(module)
"""


def jobs() -> Iterator[tuple[str, list[str], set[str]]]:
    """Each job that sets an environment up: its workflow's file and its name, the locks it installs, what it starts."""
    for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
        workflow = yaml.safe_load(path.read_text())
        every = {name: called(job) for name, job in workflow["jobs"].items()}
        for name, job in every.items():
            # A workflow that others call has no environment of its own: its job is looked at as a part of theirs.
            if "env" in workflow and any(step.get("uses") == SETUP for step in job["steps"]):
                installed = (workflow["env"] | job.get("env", {}))["LOCK"].split()
                yield f"{path.name} {name}", installed, modules(job, every)


def called(job: dict[str, Any]) -> dict[str, Any]:
    """The job, or the one of the workflow that it calls, after the same jobs."""
    if "uses" not in job:
        return job
    (theirs,) = yaml.safe_load((ROOT / job["uses"]).read_text())["jobs"].values()
    return theirs | {"needs": job.get("needs", [])}


def modules(job: dict[str, Any], every: dict[str, Any]) -> set[str]:
    """The modules that a job starts; of the pipeline's stages those that no job before it has made."""
    names, targets = calls(job)
    made = {stage for name in before(job, every) for stage in upstream(calls(every[name])[1])}
    return {started(module) for module in names} | {f"pipeline.{stage}" for stage in upstream(targets) - made}


def started(module: str) -> str:
    """What `python -m` imports: of a package its __main__."""
    package = ROOT.joinpath(*module.split("."))
    return f"{module}.__main__" if package.is_dir() else module


def calls(job: dict[str, Any]) -> tuple[set[str], frozenset[str]]:
    """The modules that a job's commands name, and the stages that they ask DVC for; what `make` runs is looked up."""
    commands = "\n".join(run for step in job["steps"] if (run := step.get("run")))
    for targets in re.findall(r"^make ([a-z ]+?)(?: [A-Z]+=.*)?(?: #.*)?$", commands, re.MULTILINE):
        dry = ["make", "--dry-run", "--old-file=setup", *targets.split()]
        commands += "\n" + subprocess.run(dry, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    asked = re.findall(r"dvc repro (?:--pull)? *([a-z ]+)", commands)
    names = set(re.findall(r"python -m ([\w.]+)", commands))
    if "tests/model" in commands.replace("--ignore=tests/model", ""):
        tests = [path for folder in ON_THE_MODEL for path in (ROOT / folder).glob("*.py")]
        names |= {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in tests}
    return names, frozenset(" ".join(asked).split())


def before(job: dict[str, Any], every: dict[str, Any]) -> set[str]:
    """The jobs that end before a job begins."""
    needs = job.get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*(before(every[name], every) for name in direct))


FAMILY = re.compile(r"(?<=build/fitted)/.*")  # of one stage that is made for each


@cache
def upstream(stages: frozenset[str]) -> frozenset[str]:
    """These stages and all that they are made from."""
    stated = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    known = {stage: about.get("do", about) for stage, about in stated.items()}
    out = {
        FAMILY.sub("", path): stage
        for stage, about in known.items()
        for given in [*about.get("outs", []), *about.get("metrics", [])]
        for path in ([given] if isinstance(given, str) else given)  # with settings, it is their key
    }
    more = {out[path] for stage in stages for dep in known[stage]["deps"] if (path := FAMILY.sub("", dep)) in out}
    return stages | upstream(frozenset(more)) if more - stages else stages


def named(lock: str) -> set[str]:
    """The distributions that a lock names."""
    return {line.partition("==")[0] for line in (ROOT / f"requirements-{lock}.txt").read_text().splitlines()}


CALLED = list(jobs())


def test_the_jobs_are_found_with_their_modules() -> None:
    found = {name: starts for name, _, starts in CALLED}
    assert found["pull-request.yml data"] >= {"gitops.__main__", "pipeline.ingest", "pipeline.policy.__main__"}
    assert found["pull-request.yml train"] >= {"pipeline.train", "pipeline.evaluate", "pipeline.reference"}
    assert "pipeline.ingest" not in found["pull-request.yml train"]
    assert "pipeline.dvc" in found["pull-request.yml train"]
    for workflow in ("pull-request.yml", "release.yml"):
        assert found[f"{workflow} measure"] >= {"pipeline.candidate", "pipeline.evaluate", "pipeline.probe"}
        assert not found[f"{workflow} measure"] & {"pipeline.train", "pipeline.features"}
    assert found["pull-request.yml test"] >= {"pipeline.compare", "tests.model.conftest"}
    assert found["drift.yml measure"] >= {"pipeline.monitor", "pipeline.log"}


@pytest.mark.slow
@pytest.mark.parametrize("locks", sorted({" ".join(installed) for _, installed, _ in CALLED}))
def test_a_job_imports_what_its_locks_name_and_no_more(locks: str) -> None:
    starts = set().union(*(starts for _, installed, starts in CALLED if installed == locks.split()))
    inside = set().union(*map(named, locks.split()))
    refused = [
        module
        for module, owners in packages_distributions().items()
        if not inside & {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
    ]
    assert refused
    command = [sys.executable, "-c", REFUSING, ",".join(refused), *sorted(starts | lazily(starts))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}\nname it in requirements-{locks.split()[-1]}.in, then `make lock`"


def lazily(starts: set[str]) -> set[str]:
    """What the modules import only when they are asked to, less what is not here."""
    named = {module for start in starts for module in LAZILY.get(start, ())}
    return {module for module in named if module not in ABSENT or find_spec(module)}


ABSENT = {"pipeline.features", "pipeline.simulate", "torch"}
"""The example's own, which a user deletes; what Checks does without: Train itself shows that it imports."""


FAMILIES = tuple(f"pipeline.families.{name}" for name in families.NAMES)
LAZILY = {
    "gitops.__main__": (
        "gitops.bars",
        "gitops.deploy",
        "gitops.release",
        "gitops.report",
        "gitops.retrain",
        "gitops.verify",
    ),
    "pipeline.dvc": ("jsonschema", "pipeline.contract"),
    "pipeline.encode": ("pipeline.features", "spox"),
    "pipeline.export": (*FAMILIES, "onnx", "spox"),
    "pipeline.ingest": ("pipeline.simulate",),
    "pipeline.monitor": ("evidently", "onnxruntime", "pandas", "pyarrow"),
    "pipeline.rows": ("pipeline.features",),
    "pipeline.track": ("mlflow.onnx", "onnx", "onnxruntime"),
    "pipeline.train": (*FAMILIES, "lightgbm", "scipy", "sklearn", "spox", "threadpoolctl", "torch", "tqdm"),
}


def test_what_is_imported_inside_of_a_function_is_listed_above() -> None:
    """What no import of a module shows: add it to LAZILY of the modules that need it, or here, and say why not."""
    elsewhere = {
        "gitops/bytes.py": {"configobj"},  # not by the jobs of gitops alone: they restore nothing
        "pipeline/adopt/profile.py": {"tqdm"},  # on a laptop alone, by the dev lock: no job adopts
        "pipeline/encode.py": {"spox"},  # of Train, whose lock names what fits and what writes graphs
        "pipeline/export.py": {"onnx", "spox"},
        "pipeline/families/__init__.py": {"safetensors"},
        "pipeline/families/constant.py": {"spox"},
        "pipeline/families/linear.py": {"scipy", "sklearn", "spox", "threadpoolctl"},
        "pipeline/families/network.py": {"safetensors", "spox", "torch", "tqdm"},
        "pipeline/families/trees.py": {"lightgbm", "spox"},
        **{f"pipeline/tasks/{name}.py": {"polars", "spox"} for name in ("multiclass", "regression")},
        "pipeline/tasks/__init__.py": {"polars"},  # of every job that has tables
        "pipeline/tasks/binary.py": {"spox"},
        "pipeline/model.py": {"onnxruntime"},  # by every job that scores
        "pipeline/monitor.py": {"evidently"},
        "pipeline/places.py": {"fsspec"},
        "pipeline/reading.py": {"jsonschema"},  # by every job that DVC runs in, or that judges
        "pipeline/track.py": {"mlflow", "onnx"},
        "pipeline/train.py": {"safetensors", "threadpoolctl"},
    }
    found: dict[str, set[str]] = {}
    for path in [*(ROOT / "gitops").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")]:
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        for node in (node for function in functions for node in ast.walk(function)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            tops = {name.partition(".")[0] for name in names} - {"gitops", "pipeline", *sys.stdlib_module_names}
            if tops:
                found.setdefault(str(path.relative_to(ROOT)), set()).update(tops)
    assert found == elsewhere


def test_torch_is_installed_where_something_trains() -> None:
    assert {name for name, installed, _ in CALLED if any("torch" in named(lock) for lock in installed)} == {
        "pull-request.yml train",
        "release.yml make",
    }


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements-*.txt")), ids=lambda path: str(path.stem))
def test_versions_agree(path: Path) -> None:
    """Compiled together: what two locks name is one version with its hashes, so that a job tests what another runs."""
    shared = {version: hashes for version, hashes in pins(path).items() if not version.startswith("uv==")}
    assert shared.items() <= pins(ROOT / "requirements-dev.txt").items()


def pins(path: Path) -> dict[str, frozenset[str]]:
    """The hashes of each version that a lock names, wherever it is installed."""
    parts = re.split(r"\n(?=\S)", path.read_text())
    return {re.split(r"[ ;]", part)[0]: frozenset(re.findall(r"sha256:\w+", part)) for part in parts}
