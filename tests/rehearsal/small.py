"""A bake made small: a smaller bank, fewer epochs, one file of unit tests, types of one folder. A run takes seconds.

What is left out runs for real elsewhere: test_bake.py has a whole bake pass its own tests and train as it comes, and
test_lint.py its own linters.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests import baking

from .project import ANSWERS

KNOBS: dict[str, dict[str, Any]] = {
    "simulate": {"customers": 1000},
    "features": {"windows": [1, 7]},
    "split": {"train": 7, "test": 7},
    "train": {"hidden": [32], "epochs": 6, "batch": 256},
    "evaluate": {"resamples": 50},
    "explain": {"repeats": 1, "rows": 2, "draws": 20},
}
BARS = {"average_precision": 0.25, "roc_auc": 0.7, "recall_at_precision_90": 0.02, "card_precision_100": 0.02}
BYTES = 80_000
TESTS = ("conftest.py", "test_report.py", "model")
BEHAVIOUR = '''"""Behaviour of the trained model."""

import polars as pl

from pipeline.model import load


def test_large_amounts_raise_the_score() -> None:
    rows = pl.read_parquet("data/features.parquet")
    model = load("model")
    assert model.predict(rows.with_columns(tx_amount=pl.lit(400.0))).mean() > model.predict(rows).mean() + 0.2
'''


def small(template: Path, into: Path, *workflows: str) -> Path:
    """A small bake, committed on main; with only these workflows, where some are named."""
    done = baking.cookiecutter(template, into, **ANSWERS)
    assert done.returncode == 0, done.stdout
    repository = into / "card-fraud"
    baking.change_knobs(repository, **KNOBS)
    knobs = yaml.safe_load((repository / "params.yaml").read_text())
    knobs["baselines"] = {"logistic_regression": knobs["baselines"]["logistic_regression"]}
    (repository / "params.yaml").write_text(yaml.safe_dump(knobs, sort_keys=False))
    bars = (repository / "policies" / "model.yaml").read_text()
    for name, bar in BARS.items():
        bars = re.sub(rf"({name}: {{minimum: )[0-9.]+", rf"\g<1>{bar}", bars)
    bars = bars.replace("bytes: 5_000_000", f"bytes: {BYTES}")  # so that a model too large need not be a slow one
    (repository / "policies" / "model.yaml").write_text(bars)
    probe = (repository / "pipeline" / "probe.py").read_text()
    (repository / "pipeline" / "probe.py").write_text(probe.replace("SECONDS = 3.0", "SECONDS = 0.5"))  # of load
    for path in (repository / "tests").iterdir():
        if path.name not in TESTS:
            path.unlink()
    (repository / "tests" / "model" / "test_behaviour.py").write_text(BEHAVIOUR)
    project = (repository / "pyproject.toml").read_text()
    (repository / "pyproject.toml").write_text(project.replace('files = ["."]', 'files = ["pipeline/policy"]'))
    for path in (repository / ".github" / "workflows").iterdir():
        if workflows and path.name not in workflows:
            path.unlink()
    git = ("git", "-c", "user.name=alice", "-c", "user.email=alice@example.org")
    subprocess.run([*git, "commit", "--quiet", "--all", "--message=Make it small"], cwd=repository, check=True)
    return repository
