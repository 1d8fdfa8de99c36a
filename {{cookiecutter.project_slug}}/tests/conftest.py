"""Fast tests first; threads that have nothing to do give way to those that have, set before torch is imported."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

UNMARKED = "Only the job Train installs torch: put `pytestmark = pytest.mark.torch` into this file, and it runs there."


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m torch` or `-m "not torch"`, files of the other kind are not even read: their packages may be missing."""
    asked = config.option.markexpr
    if collection_path.suffix != ".py" or asked not in ("torch", "not torch"):
        return None
    marked = "pytestmark = pytest.mark.torch" in collection_path.read_text()
    return True if marked is (asked == "not torch") else None


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Says what to do where a test needs torch and does not say so."""
    if report.failed and "No module named 'torch'" in report.longreprtext:
        report.sections.append(("What to do", UNMARKED))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
