"""The mirror: a run a model, with its parameters, its metrics and the very graph."""

import json
import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from pipeline import baselines, evaluate, track
from tests.tables import workspace, write_model


def run(folder: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.track", *flags]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)


def test_flattens_blocks() -> None:
    tree = {"train": {"seed": 0, "hidden": [8]}, "baselines": {"random_forest": {"n": 1}}}
    assert dict(track.flat(tree)) == {"train.seed": 0, "train.hidden": [8], "baselines.random_forest.n": 1}


def test_nothing_to_track_is_a_sentence(tmp_path: Path) -> None:
    done = run(workspace(tmp_path / "repo"))
    assert done.returncode == 1 and "make what is to be tracked with `make model`" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_model_is_mirrored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workspace(tmp_path / "a repository")
    monkeypatch.chdir(folder)
    write_model(Path("model"))
    for stage in (baselines, evaluate):
        stage.main()
    track.TRAINING.write_text(json.dumps({"epochs": [{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.5}]}))
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
    assert found.data.params["train.hidden"] == "[8]"
    assert {"average_precision", "random_forest.average_precision", "loss"} <= set(found.data.metrics)
    assert "index.html" in {artifact.path for artifact in mlflow.artifacts.list_artifacts(run_id=found.info.run_id)}
    graph = mlflow.onnx.load_model("models:/a repository/1").SerializeToString()
    assert len(onnxruntime.InferenceSession(graph).get_inputs()) == 15

    monkeypatch.setenv("LINEAGE", '{"key": "k", "run": 7}')
    assert "version 1 of a repository, alias `candidate`" in again("--candidate")
    track.MANIFEST.parent.mkdir(parents=True)
    promoted = {"model": json.loads(evaluate.METRICS.read_text())["model"]["digest"], "lineage": {"commit": "c"}}
    track.MANIFEST.write_text(json.dumps(promoted))
    assert "version 1 of a repository, alias `champion`" in again("--champion")
    client = mlflow.MlflowClient()
    aliases = client.get_registered_model("a repository").aliases
    assert {name: str(number) for name, number in aliases.items()} == {"candidate": "1", "champion": "1"}
    tags = client.get_model_version("a repository", "1").tags
    assert (tags["lineage.run"], tags["lineage.commit"]) == ("7", "c")
    track.MANIFEST.write_text(json.dumps(promoted | {"model": "sha256:0"}))
    assert "never mirrored" in again("--champion")

    client.create_experiment("elsewhere", artifact_location="gs://bucket/mlflow")
    done = run(folder, MLFLOW_TRACKING_URI=store, MLFLOW_EXPERIMENT_NAME="elsewhere")
    assert done.returncode == 1 and "start the server with --serve-artifacts" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace(tmp_path / "repo")
    monkeypatch.chdir(folder)
    evaluate.METRICS.write_text('{"model": {"digest": "sha256:0"}}')
    track.TRAINING.parent.mkdir()
    track.TRAINING.write_text("{}")
    done = run(folder, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1 and "MLflow at http://127.0.0.1:9 did not take the run" in done.stderr
    assert "Traceback" not in done.stderr
