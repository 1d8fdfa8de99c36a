"""The fitted model of another run is taken where all that was reported of it is what is measured here."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import fitted, tasks
from pipeline.params import BadInput
from tests import tables

TREES = Path("build/fitted/trees.safetensors")
METRICS = {
    "roc_auc": {"value": 0.9, "low": 0.88, "high": 0.93},
    "calibration_error": {"value": 0.01, "low": 0.012, "high": 0.02},  # of which each resample has more
}


def said(name: str, scores: list[float]) -> pl.Series:
    """What a model says, as a column."""
    return tasks.kept(name, tables.said(np.array(scores)))


@pytest.fixture
def handed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a run handed over, in a folder; the working directory is where the same was measured."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("train: {family: trees}")
    shutil.copyfile(tables.OURS, "contract.yaml")
    for path in (TREES, fitted.PREDICTIONS):
        path.parent.mkdir(parents=True)
    TREES.write_bytes(b"the weights")
    fitted.METRICS.write_text(json.dumps({"metrics": METRICS, "model": {"digest": "sha256:0"}}))
    rows = pl.DataFrame({"_id": ["c", "a", "b"], "_label": [0, 1, 0]})
    rows.with_columns(said("model", [0.3, 0.1, 0.2]), said("linear", [0.0] * 3)).write_parquet(fitted.PREDICTIONS)
    fitted.hand_over(Path("fitted"))
    TREES.unlink()
    return Path("fitted")


def run(monkeypatch: pytest.MonkeyPatch, *command: str) -> dict[str, Any]:
    """What the command leaves in reports/fitted.json."""
    monkeypatch.setattr("sys.argv", ["fitted", *command])
    fitted.main()
    return json.loads(fitted.FITTED.read_text())


def test_scores_travel_without_identifiers_by_their_order(handed: Path) -> None:
    assert sorted(path.name for path in handed.iterdir()) == sorted(fitted.NAMES)
    table = pl.read_parquet(handed / "scores.parquet")
    assert table.equals(said("model", [0.1, 0.2, 0.3]).to_frame())


def test_what_agrees_is_taken(handed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FITTED_SHA256", sha256(b"the weights").hexdigest().upper())
    assert not run(monkeypatch, "take", "fitted")["taken"]  # not yet
    assert TREES.read_bytes() == b"the weights"
    assert run(monkeypatch, "check", "fitted")["taken"]
    assert run(monkeypatch, "none") == {"taken": False, "why": "nothing was handed over"}


def test_nothing_is_handed_over_in_the_place_of_somebody_elses_files(handed: Path) -> None:
    TREES.write_bytes(b"the weights")
    fitted.hand_over(handed)  # its own it replaces
    for folder in (Path(), TREES.parent):
        with pytest.raises(BadInput, match="which is nobody's to remove; name an empty folder"):
            fitted.hand_over(folder)
        assert TREES.read_bytes() == b"the weights"


def test_what_was_not_made_cannot_be_handed_over(handed: Path) -> None:
    with pytest.raises(BadInput, match="build/fitted/trees.safetensors is not there to be handed over"):
        fitted.hand_over(Path("another"))


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("pipeline.py", Path.touch, "pipeline.py is no part of it"),
        ("metrics.json", Path.unlink, "metrics.json is missing"),
        ("more", lambda path: path.symlink_to("/etc"), "more is a link"),
        ("more", Path.mkdir, None),
        ("fitted.safetensors", lambda path: path.write_bytes(b"other weights"), "another sha256 than FITTED_SHA256"),
        ("fitted.safetensors", lambda path: path.open("wb").truncate(10**8 + 1), "at most 100,000,000 are taken"),
        ("scores.parquet", lambda path: path.open("wb").truncate(10**8 + 1), "at most 100,000,000 are taken"),
    ],
)
def test_anything_else_is_refused(
    handed: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Path], Any], sentence: str | None
) -> None:
    monkeypatch.setenv("FITTED_SHA256", sha256(b"the weights").hexdigest())
    make(handed / name)
    if sentence is None:  # an empty folder holds nothing to be refused
        return fitted.take(handed)
    with pytest.raises(BadInput, match=sentence):
        run(monkeypatch, "take", "fitted")
    assert not TREES.exists()
    said = json.loads(fitted.FITTED.read_text())
    assert not said["taken"] and sentence.split()[0] in said["why"]


@pytest.mark.parametrize("family", ["forest", "../trees", None])
def test_a_family_that_is_none_is_a_sentence(handed: Path, family: str | None) -> None:
    Path("params.yaml").write_text(json.dumps({"train": {"family": family}}))
    with pytest.raises(BadInput, match="params.yaml: train.family is .*; it may be one of constant, linear"):
        fitted.take(handed)


def reported(**values: Any) -> str:
    """metrics.json, with these values of metrics."""
    return json.dumps({"metrics": {name: {"value": value} for name, value in values.items()}})


GOOD = {"roc_auc": 0.9, "calibration_error": 0.01}


@pytest.mark.parametrize("values", [{}, {"roc_auc": 0.88}, {"roc_auc": 0.93}, {"calibration_error": 0.02}], ids=str)
def test_a_metric_within_the_bootstraps_error_agrees(handed: Path, values: dict[str, float]) -> None:
    (handed / "metrics.json").write_text(reported(**GOOD | values))
    fitted.check(handed)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (reported(**GOOD | {"roc_auc": 0.95}), r"roc_auc was reported as 0.95, and is 0.9 \(0.88 to 0.93\)"),
        (reported(**GOOD | {"calibration_error": 0.005}), "calibration_error was reported as 0.005, and is 0.01"),
        (reported(**GOOD | {"roc_auc": float("nan")}), "roc_auc was reported as nan"),
        (reported(roc_auc=0.9), "calibration_error was not reported"),
        (reported(**GOOD | {"<script>": 1}), "1 metrics were reported that are not measured here"),
        (reported(**GOOD | {"roc_auc": None}), "cannot be read"),
        (reported(**GOOD | {"roc_auc": []}), "cannot be read"),
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 200_000, "cannot be read"),
        ('{"metrics": {"roc_auc": 3}}', "was not reported|cannot be read"),
        ("\0", "cannot be read"),
    ],
)
def test_other_metrics_disagree(handed: Path, text: str, sentence: str) -> None:
    (handed / "metrics.json").write_text(text)
    with pytest.raises(BadInput, match=f"^fitted disagrees with what was measured here: .*{sentence}"):
        fitted.check(handed)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ([said("model", [0.1, 0.2, 0.3 + 9e-6])], ""),
        ([said("model", [0.1, 0.2, 0.3 + 2e-5])], "what is said of a row differs by 2e-05, and at most 1e-05 is"),
        ([said("model", [0.3, 0.2, 0.1])], "what is said of a row differs by 0.2"),
        ([tasks.kept("model", {"score": np.array([0.1, 0.2, 0.3]), "alert": np.ones(3, bool)})], "differs by inf"),
        ([said("model", [0.1, 0.2, np.nan])], "says what no model of this task may say"),
        ([said("model", [0.1, 0.2, 1.3])], "says what no model of this task may say"),
        ([said("model", [0.1, 0.2])], "2 rows were scored, and 3 are here"),
        ([said("model", [])], "holds more or other|0 rows were scored"),
        ([pl.Series("model", [0.1, 0.2, 0.3])], "holds more or other than one column `model`"),
        ([said("model", [0.1, 0.2, 0.3]), pl.Series("_id", [1, 2, 3])], "holds more or other than one column `model`"),
    ],
)
def test_other_scores_disagree(handed: Path, table: list[pl.Series], sentence: str) -> None:
    pl.DataFrame(table).write_parquet(handed / "scores.parquet")
    if not sentence:
        return fitted.check(handed)
    with pytest.raises(BadInput, match=f"^fitted disagrees with what was measured here: .*{sentence}"):
        fitted.check(handed)


def test_a_damaged_file_disagrees_wherever_it_is_damaged(handed: Path) -> None:
    whole = (handed / "scores.parquet").read_bytes()
    for place in range(4, len(whole) - 8, 7):
        (handed / "scores.parquet").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            fitted.check(handed)
        except BadInput as error:
            assert "disagrees with what was measured here" in str(error)
    (handed / "scores.parquet").write_bytes(whole[:-40])
    with pytest.raises(BadInput, match="cannot be read"):
        fitted.check(handed)
