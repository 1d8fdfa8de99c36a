"""The exported graph answers as the network does, on any number of rows, and takes raw rows by name."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from pipeline import baselines, evaluate, export, model, train
from pipeline.params import BadInput
from pipeline.schema import LABEL, feature_row
from tests.tables import feature_rows, workspace

pytestmark = pytest.mark.torch
WINDOWS = (1, 7, 30)
INPUTS = feature_row(WINDOWS)
NAMES = [column.name for column in INPUTS]


@pytest.fixture(scope="module")
def network() -> train.Network:
    torch.manual_seed(0)
    table = feature_rows()
    columns, (label,) = (train.tensors(table, names, torch.device("cpu")) for names in (NAMES, [LABEL]))
    knobs = {"seed": 0, "pieces": 8, "hidden": [8, 4]}
    return train.build(columns, label, NAMES, WINDOWS, knobs).eval()


@pytest.fixture(scope="module")
def graph(network: train.Network) -> bytes:
    return export.graph(network)


def test_takes_a_named_float_a_column(graph: bytes) -> None:
    inputs = onnx.load_from_string(graph).graph.input
    assert [value.name for value in inputs] == NAMES
    assert {value.type.tensor_type.elem_type for value in inputs} == {onnx.TensorProto.FLOAT}
    assert {len(value.type.tensor_type.shape.dim) for value in inputs} == {1}


def test_says_nothing_of_the_folder_it_was_made_in(graph: bytes) -> None:
    assert str(Path(train.__file__).parent).encode() not in graph and b".py" not in graph


def test_answers_as_the_network_does(network: train.Network, graph: bytes, tmp_path: Path) -> None:
    model.write(tmp_path / "model", runtime="onnx", inputs=INPUTS, files={"model.onnx": graph})
    scorer = model.load(tmp_path / "model")
    for table in (feature_rows(), feature_rows(1), export.extremes(INPUTS)):
        export.check(scorer, network, table)


def test_refuses_a_graph_that_answers_otherwise(network: train.Network, graph: bytes, tmp_path: Path) -> None:
    model.write(tmp_path / "model", runtime="onnx", inputs=INPUTS, files={"model.onnx": graph})
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        network.layers[0].bias += 0.1
    with pytest.raises(BadInput, match="the exported graph differs from the fitted network by"):
        export.check(model.load(tmp_path / "model"), network, feature_rows())
    network.load_state_dict(weights)


TOLD = {"device": "cpu", "rows": 7, "epochs": [{"epoch": 1, "loss": 0.5}]}


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (None, "is no network of the stage `train`"),
        ("{", "is no network of the stage `train`"),
        ("[" * 100_000, "is no network of the stage `train`"),
        ("[]", "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"epochs": []}), "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"epochs": [{"epoch": 1}]}), "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"epochs": TOLD["epochs"] * 1001}), "not as the stage `train` writes it"),  # type: ignore[operator]
        (json.dumps(TOLD | {"epochs": [{"epoch": 1, "loss": float("nan")}]}), "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"rows": "<script>"}), "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"device": "cpu, and more"}), "not as the stage `train` writes it"),
    ],
)
def test_a_file_that_says_its_training_otherwise_is_refused(
    told: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "NETWORK", tmp_path / "network.safetensors")
    save_file({"column": torch.zeros(1)}, export.NETWORK, None if told is None else {train.TRAINING: told})
    with pytest.raises(BadInput, match=sentence):
        export.fitted()
    save_file({"column": torch.zeros(1)}, export.NETWORK, {train.TRAINING: json.dumps(TOLD)})
    assert export.fitted()[1] == TOLD


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "NETWORK", tmp_path / "network.safetensors")
    for content in (b"", b"no weights", b"\xff" * 100):
        export.NETWORK.write_bytes(content)
        with pytest.raises(BadInput, match="is no network of the stage `train`"):
            export.fitted()


def test_the_weights_of_another_network_are_refused(network: train.Network) -> None:
    knobs = {"features": {"windows": WINDOWS}, "train": {"hidden": [8, 5]}}
    with pytest.raises(BadInput, match="does not fit params.yaml"):
        export.rebuilt(network.state_dict(), INPUTS, knobs)


def test_extremes_hold_every_end_of_every_range() -> None:
    table = export.extremes(INPUTS)
    for column in INPUTS:
        assert table[column.name].min() == column.minimum
        assert table[column.name].max() == (1e6 if column.maximum is None else column.maximum)


@pytest.mark.slow
def test_the_stages_from_features_to_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace(tmp_path / "a repository"))
    for stage in (baselines, train, export, evaluate):
        stage.main()
    measured = json.loads(evaluate.METRICS.read_text())
    assert measured["model"]["digest"] == model.load("model").digest
    assert set(measured["baselines"]) == {"logistic_regression", "random_forest", "boosted_trees"}
    for metric in measured["metrics"].values():
        assert metric["low"] <= metric["high"] and np.isfinite(metric["value"])
    assert measured["data"]["train"] == ["2020-01-01", "2020-01-10"]
    assert measured["data"]["test"] == ["2020-01-18", "2020-01-20"]
