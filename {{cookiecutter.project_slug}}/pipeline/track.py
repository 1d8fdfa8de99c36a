"""Mirror the model and its run to MLflow: mlflow.db here, or the server that MLFLOW_TRACKING_URI names.

Git stays the registry. A run is found by the model's digest, so mirroring a model again changes nothing.
"""

import argparse
import json
import logging
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import params, places
from pipeline.params import BadInput, run_stage

MODEL = Path("model")
GRAPH = MODEL / "model.onnx"  # of the runtime `onnx`, which MLflow knows
METRICS = Path("metrics.json")
TRAINING = Path("reports/training.json")
REPORTS = Path("reports")  # with the plots, on the page that `make report` writes
EMBEDDED = "sqlite:///mlflow.db"
TAG = "model.digest"
MANIFEST = Path("deploy/production/manifest.json")
CANDIDATE, CHAMPION = "candidate", "champion"  # aliases: what release.yml proposes, what deploy.yml has recorded


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested blocks with dotted names: {"train": {"seed": 0}} gives ("train.seed", 0)."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def values(measured: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of the model and of each other family, without their intervals; those that have a value."""
    blocks = {"": measured["metrics"]} | {f"{name}.": block for name, block in measured["baselines"].items()}
    found = {prefix + name: metric for prefix, block in blocks.items() for name, metric in block.items()}
    return {name: metric["value"] for name, metric in found.items() if metric and metric["value"] is not None}


def fitted(training: Mapping[str, Any]) -> Iterator[tuple[dict[str, float], int | None]]:
    """Numbers of the fit, and the step that they are of: each epoch's, where the family has epochs; the others once."""
    for at, epoch in enumerate(training.get("epochs", ()), start=1):
        yield {key: value for key, value in numbers(epoch).items() if key != "epoch"}, epoch.get("epoch", at)
    yield {f"training.{name}": value for name, value in numbers(training).items()}, None


def numbers(block: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a block."""
    return {name: value for name, value in block.items() if type(value) in (int, float)}


def mirror(knobs: Mapping[str, Any], measured: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """Log the run to the experiment of this folder's name, unless the model is there; a sentence on what was done.

    Raises mlflow.exceptions.MlflowException where the server does not answer.
    """
    import mlflow

    digest, home = measured["model"]["digest"], experiment()
    found = mlflow.search_runs(
        [home.experiment_id],
        filter_string=f"tags.`{TAG}` = '{digest}' and attributes.status = 'FINISHED'",
        max_results=1,
        output_format="list",
    )
    if found:
        return f"{digest} is in MLflow already, run {found[0].info.run_id}"
    manifest = json.loads((MODEL / "manifest.json").read_text())
    about = {"model.family": manifest["family"], "model.problem": manifest["problem"]["name"]}
    with mlflow.start_run(tags={TAG: digest, **about}) as run:
        mlflow.log_params(dict(flat(knobs)))  # those of every family, as they are the baselines
        for block, step in fitted(training):
            mlflow.log_metrics(block, step=step)
        mlflow.log_metrics(values(measured))
        for file in (METRICS, REPORTS):
            log = mlflow.log_artifacts if file.is_dir() else mlflow.log_artifact
            log(str(file))
        number = registered(home.name) if manifest["runtime"] == "onnx" else kept(home.name, run)
    return f"{digest} is in MLflow as version {number} of {home.name}, run {run.info.run_id}"


def registered(name: str) -> str:
    """Register the graph, as a model that MLflow can load; the number of its version."""
    import mlflow
    import onnx

    model = mlflow.onnx.log_model(
        onnx.load(GRAPH),
        name="model",
        registered_model_name=name,
        pip_requirements=[f"{package}=={version(package)}" for package in ("onnx", "onnxruntime", "numpy")],
        save_as_external_data=False,  # mlflow would empty the graph
    )
    return str(model.registered_model_version)


def kept(name: str, run: Any) -> str:
    """Register the model directory as it is, of a runtime that MLflow does not know; the number of its version."""
    import mlflow

    mlflow.log_artifacts(str(MODEL), "model")
    client = mlflow.MlflowClient()
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    source = f"{run.info.artifact_uri}/model"
    return str(client.create_model_version(name, source, run_id=run.info.run_id).version)


def alias(name: str, digest: str, lineage: Mapping[str, Any]) -> str:
    """Give a mirrored model's version an alias, and its lineage as tags; a sentence on what was done."""
    import mlflow

    client, registered = mlflow.MlflowClient(), experiment().name
    runs = mlflow.search_runs([experiment().experiment_id], f"tags.`{TAG}` = '{digest}'", output_format="list")
    versions = [
        version
        for run in runs
        for version in client.search_model_versions(f"name = '{registered}' and run_id = '{run.info.run_id}'")
    ]
    if not versions:
        return f"{digest} was never mirrored to MLflow: it has no version that could be `{name}`"
    newest = str(max(int(version.version) for version in versions))
    client.set_registered_model_alias(registered, name, newest)
    for key, value in flat(lineage):
        client.set_model_version_tag(registered, newest, f"lineage.{key}", str(value))
    return f"{digest} is version {newest} of {registered}, alias `{name}`"


def production() -> Mapping[str, Any] | None:
    """The manifest of what is in production; None where that is nothing."""
    return json.loads(MANIFEST.read_text()) if MANIFEST.exists() else None


def experiment() -> Any:
    """The experiment of this folder's name, made where it is new; with it mlflow.db, which takes seconds, once."""
    import mlflow

    return mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or Path.cwd().name)


def main() -> None:
    """Mirror what the last run of the pipeline left; with `--store`, only make what it is mirrored to."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.track", description="Mirror the model to MLflow.")
    parser.add_argument("--store", action="store_true", help="make mlflow.db ready, while something else runs")
    parser.add_argument("--candidate", action="store_true", help="and make it the candidate, with LINEAGE (JSON)")
    parser.add_argument("--champion", action="store_true", help="make what is in production the champion instead")
    asked = parser.parse_args()
    uri = os.environ.setdefault("MLFLOW_TRACKING_URI", EMBEDDED)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a minute of silence otherwise
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        if asked.store:
            print(experiment().name)
        elif asked.champion:
            manifest = production()
            print(alias(CHAMPION, manifest["model"], manifest["lineage"]) if manifest else "Nothing is in production")
        else:
            measured, training = read(METRICS), read(TRAINING)
            print(mirror(params.load(), measured, training))
            if asked.candidate:
                print(alias(CANDIDATE, measured["model"]["digest"], json.loads(os.environ.get("LINEAGE") or "{}")))
    except ImportError as error:  # the server names the store, and its client writes there
        files = ", ".join(path.name for path in places.listing("mlflow-skinny") or places.listing("mlflow"))
        raise BadInput(
            f"MLflow at {uri} keeps its files where this environment cannot write ({error}): start the server with "
            f"--serve-artifacts, or add the package of its store to {files} and run `make lock`"
        ) from None
    except MlflowException as error:
        raise BadInput(f"MLflow at {uri} did not take the run: {error}; the model and its metrics are here") from None


def read(path: Path) -> Any:
    """What the pipeline measured. Raises BadInput where it is not there."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{error}; make what is to be tracked with `make model`") from None


if __name__ == "__main__":
    run_stage(main)
