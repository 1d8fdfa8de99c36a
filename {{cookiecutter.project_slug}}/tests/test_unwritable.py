"""Where the machine does not let us write, each command ends with a sentence: what, where, and what to do."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import log, params
from pipeline.params import BadInput
from tests.tables import KNOBS, daily, write_knobs

ROOT = Path(params.__file__).parents[1]


def failing(number: int, path: str | None) -> Callable[[], None]:
    """A stage that the operating system refuses something."""

    def stage() -> None:
        raise OSError(number, os.strerror(number), *([path] if path else []))

    return stage


@pytest.mark.parametrize("number", params.UNWRITABLE)
@pytest.mark.parametrize("path", ["model/model.onnx", None])
def test_a_stage_says_what_and_where(number: int, path: str | None) -> None:
    with pytest.raises(BadInput) as ended:
        params.run_stage(failing(number, path))
    assert str(ended.value).startswith(f"{path or Path.cwd()}")
    assert f": {os.strerror(number)}; {params.UNWRITABLE[number]}" in str(ended.value)


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(IsADirectoryError):
        params.run_stage(failing(errno.EISDIR, "model"))


def test_every_stage_is_run_so() -> None:
    """But for DVC's own command line, which says so itself."""
    for module in {*ROOT.glob("pipeline/*.py"), *ROOT.glob("pipeline/*/*.py")} - {ROOT / "pipeline" / "dvc.py"}:
        _, main, end = module.read_text().partition('if __name__ == "__main__":\n')
        assert not main or "    run_stage(" in end.splitlines()[-1], module


def test_a_part_of_the_log_that_finds_no_room_takes_none(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            log.Folder.at(str(tmp_path)).put("2020-01-01/a.parquet", bytes(20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


BUNDLE = "gitops bundle build/bundle/pipeline.tar"


@pytest.mark.parametrize("command", ["pipeline.ingest", BUNDLE, "gitops restore"])
def test_a_command_ends_with_a_sentence(tmp_path: Path, command: str) -> None:
    """Files of a kilobyte at most, which root is held to as well; polars and tarfile each have words of their own."""
    write_knobs(tmp_path, KNOBS)
    daily(tmp_path / "orders")
    (tmp_path / "dvc.lock").write_text("x" * 20_000)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GITHUB_OUTPUT": str(tmp_path / "output")}
    if command == "gitops restore":
        subprocess.run([sys.executable, "-m", *BUNDLE.split()], cwd=tmp_path, env=environment, check=True)
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=tmp_path,
        env=environment | {"DVC_REMOTE": ""},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)),
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "File too large; raise the limit" in done.stderr.splitlines()[-1]
