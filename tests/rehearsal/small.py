"""A bake made small: a smaller bank, no trees, fewer epochs and tests, types of one folder. A run takes seconds.

What is left out runs for real elsewhere: test_bake.py has a whole bake pass its own tests and train as it comes, and
test_lint.py its own linters.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests import baking, problems

from .project import ANSWERS

KNOBS: dict[str, dict[str, Any]] = {
    "simulate": {"customers": 1000},
    "features": {"windows": [1, 7]},
    "split": {"train": 7, "calibrate": 1, "test": 7},
    "families": {"network": {"hidden": [32], "epochs": 6, "batch": 256}},
    "evaluate": {"resamples": 50},
    "explain": {"repeats": 1, "rows": 2, "draws": 20},
}
BARS = {"average_precision": 0.25, "roc_auc": 0.7, "recall_at_precision_90": 0.02, "entity_precision_100": 0.02}
LEFT_OUT = "trees"  # of the families: two others are left to beat
BYTES = 80_000
TESTS = ("conftest.py", "contract.yaml", "tables.py", "test_report.py", "model", "example")
EXAMPLE = ("model",)  # of the tests of the example
BEHAVIOUR = '''"""Behaviour of the trained model."""

import polars as pl

from pipeline.model import load


def test_large_amounts_raise_the_score() -> None:
    rows = pl.read_parquet("data/features.parquet")
    model = load("model")
    large = rows.with_columns(tx_amount=pl.lit(400.0))
    assert model.predict(large)["score"].mean() > model.predict(rows)["score"].mean() + 0.2
'''


def small(template: Path, into: Path, *workflows: str) -> Path:
    """A small bake, committed on main; with only these workflows, where some are named."""
    repository = baked(template, into)
    baking.change_knobs(repository, **KNOBS)
    without(repository / "params.yaml", "families", lambda family: family == LEFT_OUT)
    without(repository / "contract.yaml", "inputs", lambda column: column.endswith("_30d"))
    bars = (repository / "policies" / "model.yaml").read_text()
    for name, bar in BARS.items():
        bars = re.sub(rf"({name}: {{minimum: )[0-9.]+", rf"\g<1>{bar}", bars)
    bars = bars.replace("bytes: 5_000_000", f"bytes: {BYTES}")  # so that a model too large need not be a slow one
    (repository / "policies" / "model.yaml").write_text(bars)
    quicker(repository, *workflows)
    (repository / "tests" / "example" / "model" / "test_behaviour.py").write_text(BEHAVIOUR)
    commit(repository)
    return repository


def other(template: Path, into: Path, problem: str, days: Path, *workflows: str) -> Path:
    """A bake of another problem, whose daily files lie in `days`, committed on main; with only these workflows."""
    repository = baked(template, into)
    problems.put(repository, problem, days)
    quicker(repository, *workflows)
    commit(repository)
    return repository


def baked(template: Path, into: Path) -> Path:
    """A bake of the defaults."""
    done = baking.cookiecutter(template, into, **ANSWERS)
    assert done.returncode == 0, done.stdout
    return into / "card-fraud"


def quicker(repository: Path, *workflows: str) -> None:
    """Fewer unit tests, types of one folder, a shorter load of the service; only these workflows, if some are named."""
    probe = (repository / "pipeline" / "probe.py").read_text()
    (repository / "pipeline" / "probe.py").write_text(probe.replace("SECONDS = 3.0", "SECONDS = 0.5"))  # of load
    for folder, kept in (("", TESTS), ("example", EXAMPLE)):
        for path in (repository / "tests" / folder).glob("*"):
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path)
            elif path.name not in kept:
                path.unlink()
    project = (repository / "pyproject.toml").read_text()
    (repository / "pyproject.toml").write_text(project.replace('files = ["."]', 'files = ["pipeline/policy"]'))
    for path in (repository / ".github" / "workflows").iterdir():
        if workflows and path.name not in workflows:
            path.unlink()


def commit(repository: Path) -> None:
    """What was made small."""
    git = ("git", "-c", "user.name=alice", "-c", "user.email=alice@example.org")
    subprocess.run([*git, "add", "--all"], cwd=repository, check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=Make it small"], cwd=repository, check=True)


def without(path: Path, block: str, named: Callable[[str], bool]) -> None:
    """Takes those of a block's names out that are `named`."""
    said = yaml.safe_load(path.read_text())
    assert any(map(named, said[block])), f"{path}: nothing of {block} is named so"
    said[block] = {name: value for name, value in said[block].items() if not named(name)}
    path.write_text(yaml.safe_dump(said, sort_keys=False, allow_unicode=True))
