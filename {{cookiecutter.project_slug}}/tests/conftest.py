"""Fast tests first; threads that have nothing to do give way to those that have, set before torch is imported."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

UNMARKED = "Only the job Train installs torch: put `pytestmark = pytest.mark.torch` into this file, and it runs there."


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torch", choices=("only", "without"), help="only the files marked `torch`, or the others")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --torch, files of the other kind are not even read: a job may lack their packages."""
    asked = config.getoption("torch")
    if not asked or collection_path.suffix != ".py":
        return None
    marked = "pytestmark = pytest.mark.torch" in collection_path.read_text()
    return True if marked is (asked == "without") else None


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Says what to do where a test needs torch and does not say so."""
    if report.failed and "No module named 'torch'" in report.longreprtext:
        report.sections.append(("What to do", UNMARKED))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
