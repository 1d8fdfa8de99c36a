"""Fast tests first; threads that have nothing to do give way to those that have, set before torch is imported."""

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
for outer in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # of a `make -C FOLDER test`: what a test runs is no part of it
    os.environ.pop(outer, None)

MARK, LACKS = "mark.torch", "No module named 'torch'"
UNMARKED = "Only the job Train installs torch: put `pytestmark = pytest.mark.torch` into this file, and it runs there."
ROOT = Path(__file__).parents[1]
THEIRS = {str(ROOT / name) for name in ("contract.yaml", "params.yaml", "platform.yaml")}
THEIRS |= {str(path) for path in (ROOT / "policies").glob("*.yaml")}
"""What those who use this repository change: no test that it came with may depend on what stands there."""
APART = "TESTS_APART"  # in the environment where that is to be held; your own tests may read what they like
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


guarded = False


def guard(event: str, arguments: tuple[object, ...]) -> None:
    """Python's audit hook: a test that reads a file of THEIRS fails, wherever it does so in this process."""
    if (
        event == "open"
        and guarded
        and str(arguments[0]).endswith(".yaml")
        and os.path.abspath(str(arguments[0])) in THEIRS
    ):
        raise AssertionError(f"{arguments[0]} is its users' to change: take the unit tests' own, see tests/tables.py")


sys.addaudithook(guard)


def pytest_runtest_logstart(nodeid: str) -> None:
    """The tests of the code are guarded, where that is asked for; those of the model and of the example not."""
    global guarded
    guarded = APART in os.environ and Path(nodeid.partition("::")[0]).parent.name == "tests"


@pytest.fixture
def owned() -> None:
    """For a test of whether the repository's own files are valid."""
    global guarded
    guarded = False


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 with the bucket `bucket`; its credentials are in the environment."""
    import fsspec
    import httpx
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        address = f"http://{host}:{port}"
        httpx.post(f"{address}/moto-api/reset").raise_for_status()  # all servers of a process share their buckets
        fsspec.filesystem("s3", endpoint_url=address).mkdir("bucket")
        yield address
    server.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
