"""The model directory: what was written is what is loaded, and nothing that was altered."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import polars as pl
import pytest
from onnx import TensorProto, helper

from pipeline import model
from pipeline.model import BadModel
from pipeline.schema import Column

INPUTS = (Column("a", "float64", None, None, "left"), Column("b", "int64", 0, 1, "right"))
TABLE = {"a": [0.5, -1.0, 2.0], "b": [0, 1, 1]}


def graph() -> bytes:
    """score = sigmoid(a + b)"""
    rows = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in ("a", "b", "score")}
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sigmoid", ["sum"], ["score"])]
    made = helper.make_graph(nodes, "g", [rows["a"], rows["b"]], [rows["score"]])
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 18)], ir_version=onnx.IR_VERSION_2023_5_5
    ).SerializeToString()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    model.write(tmp_path / "model", runtime="onnx", inputs=INPUTS, files={"model.onnx": graph()})
    return tmp_path / "model"


@pytest.mark.parametrize("kind", [dict, pl.DataFrame, pd.DataFrame])
def test_scores_any_table(directory: Path, kind: Any) -> None:
    scores = model.load(directory).predict(kind(TABLE | {"further": [1, 2, 3]}))
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-np.array([0.5, 0, 3]))), rtol=1e-6)


def test_scores_no_rows(directory: Path) -> None:
    assert model.load(directory).predict({"a": [], "b": []}).shape == (0,)


def test_carries_its_inputs(directory: Path) -> None:
    assert model.load(directory).inputs == INPUTS


def test_names_missing_columns(directory: Path) -> None:
    with pytest.raises(BadModel, match="lacks b;"):
        model.load(directory).predict({"a": [1.0]})


def test_same_content_has_the_same_digest_in_any_folder(directory: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    digest = model.write(elsewhere, runtime="onnx", inputs=INPUTS, files={"model.onnx": graph()})
    assert digest == model.load(elsewhere).digest == model.load(directory).digest


def test_other_bytes_or_inputs_have_another_digest(directory: Path, tmp_path: Path) -> None:
    others = [
        model.write(tmp_path / "other", runtime="onnx", inputs=INPUTS[:1], files={"model.onnx": graph()}),
        model.write(tmp_path / "other", runtime="onnx", inputs=INPUTS, files={"model.onnx": graph() + b" "}),
    ]
    assert len({model.load(directory).digest, *others}) == 3


def test_replaces_what_was_there(directory: Path) -> None:
    (directory / "left over").write_text("x")
    model.write(directory, runtime="onnx", inputs=INPUTS, files={"model.onnx": graph()})
    assert sorted(path.name for path in directory.iterdir()) == ["manifest.json", "model.onnx"]
    assert [path.name for path in directory.parent.iterdir()] == ["model"]


def test_refuses_an_altered_file(directory: Path) -> None:
    file = directory / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(BadModel, match=r"model\.onnx is not the file that the manifest describes"):
        model.load(directory)


def test_refuses_a_missing_file(directory: Path) -> None:
    (directory / "model.onnx").unlink()
    with pytest.raises(BadModel, match=r"model\.onnx cannot be read"):
        model.load(directory)


def test_refuses_what_is_no_graph(directory: Path) -> None:
    model.write(directory, runtime="onnx", inputs=INPUTS, files={"model.onnx": b"no graph"})
    with pytest.raises(BadModel, match=r"model\.onnx cannot be loaded"):
        model.load(directory)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"runtime": "pickle"}, "asks for format 1, runtime 'pickle'"),
        ({"format": 2}, "asks for format 2"),
        ({"files": {"../model.onnx": "0"}}, "files lie beside its manifest"),
        ({"files": {}}, "lacks model.onnx"),
        ({"inputs": [{"name": "a"}]}, "is no manifest"),
        ({"inputs": None}, "is no manifest"),
    ],
)
def test_refuses_a_manifest(directory: Path, change: dict[str, Any], sentence: str) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(BadModel, match=sentence):
        model.load(directory)


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00"])
def test_refuses_what_is_no_manifest(directory: Path, text: str) -> None:
    (directory / "manifest.json").write_text(text)
    with pytest.raises(BadModel, match="is no manifest"):
        model.load(directory)


def test_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"manifest\.json cannot be read"):
        model.load(tmp_path / "nowhere")
