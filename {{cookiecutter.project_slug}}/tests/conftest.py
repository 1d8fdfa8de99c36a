"""Fast tests first; threads that have nothing to do give way to those that have, set before torch is imported."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

MARK, LACKS = "mark.torch", "No module named 'torch'"
UNMARKED = "Only the job Train installs torch: put `pytestmark = pytest.mark.torch` into this file, and it runs there."
Report = TypeVar("Report", pytest.CollectReport, pytest.TestReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torch", choices=("only", "without"), help="only the files marked `torch`, or the others")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --torch, files of the other kind are not even read: a job may lack their packages. A mark is its file's."""
    asked = config.getoption("torch")
    if not asked or collection_path.suffix != ".py":
        return None
    return True if (MARK in collection_path.read_text(encoding="utf-8")) is (asked == "without") else None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return said((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return said((yield))


def said(report: Report) -> Report:
    """Says what to do where torch is missing; to skip is to fail, as no job would run the test."""
    if LACKS in str(report.longrepr):
        if report.skipped:
            report.outcome, report.longrepr = "failed", UNMARKED
        else:
            report.sections.append(("What to do", UNMARKED))
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
