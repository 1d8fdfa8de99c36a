"""The mirror: a run a model, with its parameters, its metrics and its very files, of any family and runtime."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from pipeline import model, track
from tests import tables
from tests.tables import workspace, write_model


def run(folder: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.track", *flags]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)


def test_flattens_blocks() -> None:
    tree = {"train": {"family": "network"}, "families": {"constant": {}, "network": {"hidden": [8]}}}
    assert dict(track.flat(tree)) == {"train.family": "network", "families.network.hidden": [8]}


def test_what_has_no_value_is_left_out() -> None:
    found = {"average_precision": {"value": 0.5, "low": 0.4, "high": 0.6}, "roc_auc": {"value": None}, "accuracy": None}
    measured = {"metrics": found, "baselines": {"linear": found}}
    assert track.values(measured) == {"average_precision": 0.5, "linear.average_precision": 0.5}


def test_a_family_need_have_no_epochs() -> None:
    assert list(track.fitted({"rows": 10, "device": "cpu", "trees": 3})) == [
        ({"training.rows": 10, "training.trees": 3}, None)
    ]
    epochs = [{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.5}]
    assert list(track.fitted({"epochs": epochs}))[:2] == [({"loss": 0.7}, 1), ({"loss": 0.5}, 2)]


def test_nothing_to_track_is_a_sentence(tmp_path: Path) -> None:
    done = run(workspace(tmp_path / "repo"))
    assert done.returncode == 1 and "make what is to be tracked with `make model`" in done.stderr
    assert "Traceback" not in done.stderr


def written(made: model.Model) -> None:
    """What the stages leave of a model."""
    metrics = {"average_precision": {"value": 0.5, "low": 0.4, "high": 0.6}}
    measured = {"model": {"digest": made.digest}, "metrics": metrics, "baselines": {"trees": metrics}}
    track.METRICS.write_text(json.dumps(measured))
    track.TRAINING.parent.mkdir(exist_ok=True)
    epochs = [{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.5}]
    track.TRAINING.write_text(json.dumps({"rows": 100, "device": "cpu", "epochs": epochs}))


@pytest.mark.slow
def test_a_model_is_mirrored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workspace(tmp_path / "a repository")
    monkeypatch.chdir(folder)
    written(write_model(Path("model")))
    Path("reports/index.html").write_text("the page with the plots")
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    first = run(folder, MLFLOW_TRACKING_URI=store)
    assert "as version 1 of" in first.stdout, first.stderr
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)

    def again(*flags: str) -> str:
        """The same command in this process, where MLflow is imported once: what it prints."""
        monkeypatch.setattr(sys, "argv", ["track", *flags])
        track.main()
        return capsys.readouterr().out

    assert "is in MLflow already" in again()

    import mlflow

    (found,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert found.data.params["families.network.hidden"] == "[8]" and found.data.params["train.family"] == "linear"
    assert (found.data.tags["model.family"], found.data.tags["model.problem"]) == ("linear", "returned-orders")
    assert {"average_precision", "trees.average_precision", "loss", "training.rows"} <= set(found.data.metrics)
    assert "index.html" in {artifact.path for artifact in mlflow.artifacts.list_artifacts(run_id=found.info.run_id)}
    graph = mlflow.onnx.load_model("models:/a repository/1").SerializeToString()
    asked = [value.name for value in onnxruntime.InferenceSession(graph).get_inputs()]
    assert asked == [model.NUMBERS, model.TEXTS]

    monkeypatch.setenv("LINEAGE", '{"key": "k", "run": 7}')
    assert "version 1 of a repository, alias `candidate`" in again("--candidate")
    track.MANIFEST.parent.mkdir(parents=True)
    promoted = {"model": json.loads(track.METRICS.read_text())["model"]["digest"], "lineage": {"commit": "c"}}
    track.MANIFEST.write_text(json.dumps(promoted))
    assert "version 1 of a repository, alias `champion`" in again("--champion")
    client = mlflow.MlflowClient()
    aliases = client.get_registered_model("a repository").aliases
    assert {name: str(number) for name, number in aliases.items()} == {"candidate": "1", "champion": "1"}
    tags = client.get_model_version("a repository", "1").tags
    assert (tags["lineage.run"], tags["lineage.commit"]) == ("7", "c")
    track.MANIFEST.write_text(json.dumps(promoted | {"model": "sha256:0"}))
    assert "never mirrored" in again("--champion")

    directory = Path("model")
    parts: dict[str, Any] = {
        "problem": tables.problem(),
        "family": "trees",
        "processor": "any",
        "inputs": tables.inputs(),
        "outputs": ["score", "alert"],
        "settled": {},
    }
    monkeypatch.setitem(model.RUNTIMES, "other", lambda files, outputs, threads: lambda columns: columns["amount"])
    model.write(directory, **parts, files={"trees.bin": b"trees"}, runtime="other")
    written(model.load(directory))
    assert "as version 2 of a repository" in again()
    (run_id,) = (
        found.info.run_id for found in mlflow.search_runs(search_all_experiments=True, output_format="list")[:1]
    )
    assert {"model/trees.bin", "model/manifest.json"} <= {
        artifact.path for artifact in mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path="model")
    }

    client.create_experiment("elsewhere", artifact_location="gs://bucket/mlflow")
    done = run(folder, MLFLOW_TRACKING_URI=store, MLFLOW_EXPERIMENT_NAME="elsewhere")
    assert done.returncode == 1 and "start the server with --serve-artifacts" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace(tmp_path / "repo")
    monkeypatch.chdir(folder)
    track.METRICS.write_text('{"model": {"digest": "sha256:0"}}')
    track.TRAINING.parent.mkdir()
    track.TRAINING.write_text("{}")
    done = run(folder, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1 and "MLflow at http://127.0.0.1:9 did not take the run" in done.stderr
    assert "Traceback" not in done.stderr
