"""What one clone trained, a fresh clone has back from the remote: the same bytes, and no stage runs again.

Of the unit tests' problem, by families that need no torch: which it is, is nothing to DVC.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
import yaml
from dvc.utils.serialize import dump_yaml, load_yaml

from pipeline import ingest, params
from pipeline.params import BadInput
from tests.tables import KNOBS, daily, ours, write_knobs

ROOT = Path(__file__).parents[1]
FAMILIES = {name: KNOBS["families"][name] for name in ("constant", "linear")}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A machine without settings, on which `python` writes down what it is asked to run; the file with the runs."""
    home = tmp_path_factory.mktemp("a home")
    runs, python = home / "runs", home / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$*" >> "{runs}"\nexec "{sys.executable}" "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
            patch.setenv(name, str(home))
        patch.setenv(
            "PATH", os.pathsep.join([str(python.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
        )
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield runs


TARGETS = ("validate", "evaluate", "reference", "explain")
EXAMPLE = re.compile(r" (pipeline/)?(simulate|features)(\.py)?,")  # as the README's walk-through takes it out


@pytest.fixture(scope="module")
def trained(machine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository, one commit, with a few orders in daily files; its pipeline has run."""
    repository = tmp_path_factory.mktemp("work") / "the repository"
    gone = shutil.ignore_patterns("__pycache__", "simulate.py", "features.py")
    shutil.copytree(ROOT / "pipeline", repository / "pipeline", ignore=gone)
    for name in (".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore", "Makefile", "environment.mk"):
        (repository / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, repository / name)
    (repository / "dvc.yaml").write_text(EXAMPLE.sub("", (ROOT / "dvc.yaml").read_text()))
    write_knobs(repository, KNOBS | {"families": FAMILIES})
    (repository / "policies/log.yaml").write_text("personal: {}\nretention_days: 90\n")
    daily(repository / "orders")
    run(repository, "git", "init", "--quiet")
    commit(repository)
    run(repository, "dvc", "repro", "--quiet", *TARGETS)
    return repository


def run(repository: Path, *command: str) -> None:
    """Run a command in the repository; it has to succeed."""
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def commit(repository: Path) -> None:
    """Commit what git does not ignore; it ignores dvc.lock."""
    run(repository, "git", "add", "--all")
    run(repository, "git", "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--quiet", "--message", "x")


def digests(repository: Path) -> dict[str, str]:
    """The sha256 of everything that the pipeline makes."""
    folders = [repository / name for name in ("data", "build", "model", "reports")]
    made = [repository / "metrics.json", *(path for folder in folders for path in folder.rglob("*") if path.is_file())]
    return {str(path.relative_to(repository)): sha256(path.read_bytes()).hexdigest() for path in made}


def restored(trained: Path, clone: Path, machine: Path) -> dict[str, str]:
    """What a fresh clone of the trained repository has after `dvc repro --pull`; files are listed, no more."""
    commit(trained)
    run(trained, "dvc", "push", "--quiet", "--run-cache")
    run(trained, "git", "clone", "--quiet", str(trained), str(clone))
    assert not (clone / "dvc.lock").exists() and not (clone / "model").exists()
    machine.unlink(missing_ok=True)
    run(clone, "dvc", "repro", "--pull", *TARGETS)
    assert machine.read_text() == "-m pipeline.source\n"
    return digests(clone)


def test_the_stages_of_the_trained_repository_ran(trained: Path, machine: Path) -> None:
    """Otherwise that none ran in a clone would say nothing."""
    stages = set(yaml.safe_load((trained / "dvc.yaml").read_text())["stages"]) - {"bento", "train"}
    expected = [*stages, *(f"train {family}" for family in FAMILIES)]
    assert sorted(machine.read_text().split("\n")[:-1]) == sorted(f"-m pipeline.{stage}" for stage in expected)


def test_a_folder_gives_a_fresh_clone_the_same_bytes(trained: Path, machine: Path, tmp_path: Path) -> None:
    run(trained, "dvc", "remote", "add", "--force", "--default", "storage", str(tmp_path / "a remote"))
    run(trained, "dvc", "remote", "modify", "storage", "verify", "true")
    made = digests(trained)
    assert {"model/manifest.json", "model/model.onnx", "metrics.json"} <= set(made)
    assert restored(trained, tmp_path / "clone", machine) == made


def test_s3_gives_a_fresh_clone_the_same_bytes(trained: Path, machine: Path, tmp_path: Path, s3: str) -> None:
    run(trained, "dvc", "remote", "add", "--force", "--default", "storage", "s3://bucket/a remote")
    run(trained, "dvc", "remote", "modify", "storage", "endpointurl", s3)
    run(trained, "dvc", "remote", "modify", "storage", "verify", "true")
    assert restored(trained, tmp_path / "clone", machine) == digests(trained)


def test_another_knob_trains_again(trained: Path, machine: Path, tmp_path: Path) -> None:
    """Otherwise a clone could be given a model that its tree does not describe."""
    clone = tmp_path / "clone"
    run(trained, "git", "clone", "--quiet", str(trained), str(clone))
    shutil.copytree(trained / ".dvc" / "cache", clone / ".dvc" / "cache")
    knob(clone)
    machine.unlink(missing_ok=True)
    run(clone, "dvc", "repro", *TARGETS)
    ran = machine.read_text().split("\n")[:-1]
    expected = ("baselines", "evaluate", "explain", "export", "reference", "source", "train linear")
    assert sorted(ran) == [f"-m pipeline.{stage}" for stage in expected]
    assert digests(clone)["model/manifest.json"] != digests(trained)["model/manifest.json"]


def knob(repository: Path) -> None:
    """Turn one that the model follows from."""
    knobs = yaml.safe_load((repository / "params.yaml").read_text())
    knobs["families"]["linear"]["penalty"] = 2.0
    (repository / "params.yaml").write_text(yaml.safe_dump(knobs))


def make_model(repository: Path, machine: Path, fitted: Path) -> dict[str, Any]:
    """`make model` with what was handed over; what is said of it, with the stages that ran."""
    machine.unlink(missing_ok=True)
    run(repository, "make", "--old-file=setup", "model", f"FITTED={fitted}", f"VENV={machine.parent}", "CI=true")
    ran = machine.read_text().split("\n")[:-1]
    said = json.loads((repository / "reports/fitted.json").read_text())
    return said | {"ran": [command.removeprefix("-m pipeline.") for command in ran]}


def test_a_fitted_model_that_was_handed_over_is_taken_where_it_agrees_and_else_trained(
    trained: Path, machine: Path, tmp_path: Path
) -> None:
    clone, fitted, made = tmp_path / "clone", tmp_path / "what was fitted", digests(trained)
    run(trained, "git", "clone", "--quiet", str(trained), str(clone))
    run(trained, "python", "-m", "pipeline.fitted", "hand-over", str(fitted))
    shutil.copytree(trained / ".dvc/cache/files", clone / ".dvc/cache/files")
    lock = load_yaml(trained / "dvc.lock")  # by DVC itself, to whom Yes is a text
    made_again = ("train@linear", "export", "evaluate", "reference", "explain")
    kept = {stage: said for stage, said in lock["stages"].items() if stage not in made_again}
    dump_yaml(clone / "dvc.lock", lock | {"stages": kept})
    run(clone, "dvc", "checkout", "--quiet", "--allow-missing")
    said = make_model(clone, machine, fitted)
    stages = [stage for stage in said["ran"] if not stage.startswith(("fitted", "dvc", "params", "source"))]
    assert said["taken"], said
    assert sorted(stages) == ["evaluate", "explain", "export", "reference"]
    assert digests(clone).items() >= made.items()

    other = shutil.copytree(trained, tmp_path / "other")
    knob(other)
    run(other, "python", "-m", "pipeline.train", "linear")
    shutil.copy(other / "build/fitted/linear.safetensors", fitted / "fitted.safetensors")
    said = make_model(clone, machine, fitted)
    assert (
        not said["taken"]
        and "what is said of a row differs by" in said["why"]
        and said["ran"].count("train linear") == 1
    )
    assert digests(clone)["model/manifest.json"] == made["model/manifest.json"]
    (clone / "dvc.lock").unlink()
    run(clone, "dvc", "repro", "--quiet", "export")
    assert digests(clone)["model/manifest.json"] == made["model/manifest.json"], "the run-cache believed it"

    (fitted / "fitted.safetensors").write_text("nothing that was fitted")
    said = make_model(clone, machine, fitted)
    assert not said["taken"] and "could not be made" in said["why"] and said["ran"].count("train linear") == 1
    assert digests(clone)["model/manifest.json"] == made["model/manifest.json"]


def test_ci_takes_no_result_from_the_remote_and_a_laptop_does(trained: Path, tmp_path: Path) -> None:
    run(trained, "dvc", "remote", "add", "--force", "--default", "storage", str(tmp_path / "a remote"))
    dry = ["make", "--dry-run", "--old-file=setup", "model"]
    for ci, pulls in (("", True), ("true", False)):
        done = subprocess.run(dry, cwd=trained, env=os.environ | {"CI": ci}, capture_output=True, text=True)
        assert ("dvc repro --pull" in done.stdout) is pulls


def test_a_column_that_becomes_personal_is_written_nowhere_and_nothing_trains(
    trained: Path, machine: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    run(trained, "git", "clone", "--quiet", str(trained), str(clone))
    shutil.copytree(trained / ".dvc" / "cache", clone / ".dvc" / "cache")
    policy = clone / "policies" / "log.yaml"
    policy.write_text(policy.read_text().replace("personal: {}", "personal: {order_id: hash, amount: omit}"))
    machine.unlink(missing_ok=True)
    run(clone, "dvc", "repro", *TARGETS)
    assert set(machine.read_text().split("\n")[:-1]) == {
        f"-m pipeline.{stage}" for stage in ("source", "validate", "explain", "reference")
    }
    explained = json.loads((clone / "reports" / "explanations.json").read_text())
    for row in explained["highest"] + explained["wrong"]:
        assert len(row["id"]) == 32
        assert not [why for why in row["reasons"] if why["column"] == "amount" and "value" in why]


def test_a_bucket_is_a_source(trained: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    fsspec.filesystem("s3").clear_instance_cache()
    bucket = fsspec.filesystem("s3", endpoint_url=s3)
    knobs = params.load(trained / "params.yaml")
    for path in (trained / "orders").iterdir():
        bucket.put_file(path, f"bucket/some days/{path.name}")
    knobs["data"]["source"] = "s3://bucket/some days"
    assert ingest.rows(knobs, ours()).equals(pl.read_parquet(trained / ingest.ROWS))

    for source in ("s3://bucket/nothing", "s3://no-such-bucket/days"):
        knobs["data"]["source"] = source
        with pytest.raises(BadInput, match=f"data.source {source}: "):
            ingest.rows(knobs, ours())
