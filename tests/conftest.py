"""One bake for all tests of a process; fast files first, then the longest; in CI a missing tool is a failure."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests import baking


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the template, in a folder with a space in its name."""
    return baking.template(tmp_path_factory.mktemp("the template"))


@pytest.fixture(scope="session")
def bake(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bake of the defaults, to be read; tests that write in it make a copy or their own."""
    into = tmp_path_factory.mktemp("a bake")
    done = baking.cookiecutter(template, into)
    assert done.returncode == 0, done.stdout
    return into / "card-fraud"


LONGEST_FIRST = (
    *("test_pull_request", "test_release", "test_jobs", "test_defects", "test_bake"),
    *("test_drift", "test_promotion", "test_problems", "test_problem", "test_readme", "test_verify"),
)
"""Files that take more than half a minute. The others come before them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes take file after file: the longest come early, so that both end together."""

    def place(item: pytest.Item) -> tuple[int, Path, bool]:
        name = item.path.stem
        rank = LONGEST_FIRST.index(name) if name in LONGEST_FIRST else -1
        return rank, item.path, item.get_closest_marker("slow") is not None

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skip for "needs ..." fails: .ci/run installs what the tests need."""
    report = yield
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    if os.environ.get("CI") and "needs " in reason:
        report.outcome, report.longrepr = "failed", f"{item.nodeid}: {reason}"
    return report
