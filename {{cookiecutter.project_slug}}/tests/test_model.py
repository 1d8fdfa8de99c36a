"""The model directory: what was written is what is loaded, and nothing that was altered."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import polars as pl
import pytest
from onnx import TensorProto, helper

from pipeline import model
from pipeline.model import BadModel, Input
from tests.tables import feature_rows, problem, write_model

INPUTS = (Input("a", "number", about="left"), Input("b", "integer", 0, 1, missing=True, about="right"))
TABLE = {"a": [0.5, -1.0, 2.0], "b": [0, 1, 1]}
ABOUT: dict[str, Any] = {"problem": problem(), "family": "linear", "processor": "any"}
ABOUT |= {"outputs": ["score"], "settled": {"threshold": 0.5}}


def graph() -> bytes:
    """score = sigmoid(a + b)"""
    given, output = (
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)
        for name, shape in ((model.NUMBERS, [2, "rows"]), ("score", ["rows"]))
    )
    nodes = [
        helper.make_node("ReduceSum", [model.NUMBERS, "columns"], ["sum"], keepdims=0),
        helper.make_node("Sigmoid", ["sum"], ["score"]),
    ]
    columns = helper.make_tensor("columns", TensorProto.INT64, [1], [0])
    made = helper.make_graph(nodes, "g", [given], [output], [columns])
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 18)], ir_version=onnx.IR_VERSION_2023_5_5
    ).SerializeToString()


def write(directory: Path, **changes: Any) -> str:
    return model.write(directory, **{**ABOUT, "inputs": INPUTS, "files": {"model.onnx": graph()}, **changes})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("kind", [dict, pl.DataFrame, pd.DataFrame])
def test_scores_any_table(directory: Path, kind: Any) -> None:
    scores = model.load(directory).predict(kind(TABLE | {"further": [1, 2, 3]}))["score"]
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-np.array([0.5, 0, 3]))), rtol=1e-15)


def test_scores_no_rows(directory: Path) -> None:
    assert model.load(directory).predict({"a": [], "b": []})["score"].shape == (0,)


@pytest.mark.parametrize("kind", [dict, pl.DataFrame, pd.DataFrame])
def test_scores_many_rows_a_part_at_a_time(directory: Path, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"a": [0.5, -1.0, 2.0, None, 7.0], "b": [0, 1, 1, 0, 1]}
    loaded = model.load(directory)
    expected = loaded.predict(table)["score"]
    for rows in (1, 2, 4, 5):
        monkeypatch.setattr(model, "ROWS", rows)
        np.testing.assert_array_equal(loaded.predict(kind(table))["score"], expected)


def test_columns_are_of_the_same_length(directory: Path) -> None:
    with pytest.raises(BadModel, match="a has 3 rows and b 1; give every column as many"):
        model.load(directory).predict(TABLE | {"b": [1]})


def test_carries_what_service_and_log_need_of_a_row(tmp_path: Path) -> None:
    levels = tuple(f"größe {number} €" for number in range(3))
    inputs = (
        *INPUTS,
        Input("c", "category", categories=("x", "y"), levels=("y",)),
        Input("d", "category", levels=levels),
    )
    write(tmp_path / "model", inputs=inputs)
    loaded = model.load(tmp_path / "model")
    assert loaded.inputs == inputs and loaded.problem == problem() and loaded.family == "linear"
    assert levels[0] in (tmp_path / "model" / model.MANIFEST).read_text()


# --- what the graph is given ---

TEXT, NUMBER = Input("größe €", "category"), Input("a", "number")


@pytest.mark.parametrize(
    "values",
    [
        ["x", None, "", "NA"],
        pl.Series(["x", None, "", "NA"]),
        pd.Series(["x", None, "", "NA"]),
        pd.Series(["x", float("nan"), "", "NA"], dtype=object),
        pd.Series(["x", pd.NA, "", "NA"], dtype="string"),
        pd.Series(["x", None, "", "NA"], dtype="category"),
        np.array(["x", None, "", "NA"], dtype=object),
    ],
)
def test_a_missing_text_is_told_from_any_other(values: Any) -> None:
    fed = model.fed(TEXT, values)
    assert fed.dtype == object and fed.tolist() == ["x", model.MISSING, "", "NA"]
    assert {type(value) for value in fed} == {str}


@pytest.mark.parametrize(
    "values",
    [
        [1, None, True],
        [1.0, float("nan"), 1],
        pl.Series([1, None, 1]),
        pl.Series([True, None, True]),
        pl.Series([1.0, None, 1.0]),
        pd.Series([1, None, 1]),
        pd.Series([1, None, 1], dtype="Int64"),
        pd.Series([True, None, True], dtype=object),
        pd.Series([True, None, True], dtype="boolean"),
        np.array([1, np.nan, 1]),
    ],
)
def test_a_missing_number_is_not_one(values: Any) -> None:
    np.testing.assert_array_equal(model.fed(NUMBER, values), np.array([1, np.nan, 1]))
    assert model.fed(NUMBER, values).dtype == np.float64


@pytest.mark.parametrize("values", [[], pl.Series([], dtype=pl.Int64), pl.Series([None, None]), [None, None]])
def test_a_column_may_hold_nothing(values: Any) -> None:
    assert np.isnan(model.fed(NUMBER, values)).all() and len(model.fed(NUMBER, values)) == len(values)


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        (NUMBER, ["1"], "a holds what is no number: '1' is no number"),
        (NUMBER, [1, "2"], "a holds what is no number"),
        (NUMBER, pl.Series(["1"]), "a holds what is no number: it is of type String"),
        (NUMBER, pd.Series(["1"]), "a holds what is no number"),
        (NUMBER, [[1]], "a holds what is no number"),
        (NUMBER, [{}], "a holds what is no number"),
        (TEXT, [1.5], "größe € holds what is no category: 1.5 is no text"),
        (TEXT, pl.Series([True]), "größe € holds what is no category: True is no text"),
        (TEXT, 5, "größe € holds what is no category"),
    ],
)
def test_says_which_column_holds_something_else(column: Input, values: Any, sentence: str) -> None:
    with pytest.raises(BadModel, match=sentence):
        model.fed(column, values)


def test_columns_are_packed_as_each_alone() -> None:
    """Lists as a request has them go another way, with the same result and the same refusals."""
    columns = model.ordered((TEXT, NUMBER, Input("b", "boolean"), Input("c", "category")))
    assert [column.name for column in columns] == ["a", "b", "größe €", "c"]
    for size in (1, 3):
        lists = [[1.5] * size, [True] * size, ["x"] * size, ["abc"] * size]
        for nothing in (None, 0, 1, 2, 3):
            given = [[None] * size if at == nothing else values for at, values in enumerate(lists)]
            alone = [model.fed(column, values).tolist() for column, values in zip(columns, given, strict=True)]
            whole = model.packed(columns, given)
            assert whole[model.NUMBERS].dtype == np.float64 and whole[model.TEXTS].dtype == object
            assert repr([*whole[model.NUMBERS].tolist(), *whole[model.TEXTS].tolist()]) == repr(alone)
        for at, sentence in (
            (1, "b holds what is no boolean: '1' is no number"),
            (3, "c holds what is no category: 1"),
        ):
            wrong = [["1"] * size if of == at == 1 else [1] * size if of == at else lists[of] for of in range(4)]
            with pytest.raises(BadModel, match=sentence):
                model.packed(columns, wrong)


def test_scores_rows_of_every_type(tmp_path: Path) -> None:
    scorer, table = write_model(tmp_path / "model"), feature_rows(50)
    said = scorer.predict(table)
    scores = said["score"]
    assert said["alert"].tolist() == (scores >= 0.5).tolist() == (table["amount"] >= 220).to_list()
    one = {name: [value] for name, value in table.row(0, named=True).items()}
    assert scorer.predict(one)["score"].tolist() == scores[:1].tolist()
    assert scorer.predict(table.to_pandas())["score"].tolist() == scores.tolist()


# --- the directory ---


def test_names_missing_columns(directory: Path) -> None:
    with pytest.raises(BadModel, match="lacks b;"):
        model.load(directory).predict({"a": [1.0]})


def test_same_content_has_the_same_digest_in_any_folder(directory: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    digest = write(elsewhere)
    assert digest == model.load(elsewhere).digest == model.load(directory).digest


def test_whatever_is_other_has_another_digest(directory: Path, tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"inputs": INPUTS[:1]},
        {"files": {"model.onnx": graph() + b" "}},
        {"family": "trees"},
        {"processor": "another"},
        {"problem": replace(problem(), delay=3)},
    ]
    others = [write(tmp_path / "other", **change) for change in changes]
    assert len({model.load(directory).digest, *others}) == 6


def test_replaces_what_was_there(directory: Path) -> None:
    (directory / "left over").write_text("x")
    write(directory)
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
    write(directory, files={"model.onnx": b"no graph"})
    with pytest.raises(BadModel, match=r"model\.onnx cannot be loaded"):
        model.load(directory)


def test_refuses_a_graph_that_reads_a_file_of_where_it_runs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would answer another thing where that file is another: what was tested would not be what is served."""
    monkeypatch.chdir(directory)
    Path("beside").write_bytes(bytes(8))
    made = onnx.load_from_string(graph())
    bias = TensorProto(name="bias", data_type=TensorProto.DOUBLE, dims=[1], data_location=TensorProto.EXTERNAL)
    bias.external_data.add(key="location", value="beside")
    made.graph.node[1].input[0] = "moved"
    made.graph.node.insert(1, helper.make_node("Add", ["sum", "bias"], ["moved"]))
    made.graph.initializer.append(bias)
    onnxruntime.InferenceSession(made.SerializeToString())  # onnxruntime's own way is to read it
    for attribute in (False, True):
        if attribute:
            made.graph.initializer.pop()
            made.graph.node.insert(0, helper.make_node("Constant", [], ["bias"], value=bias))
        write(directory, files={"model.onnx": made.SerializeToString()})
        with pytest.raises(BadModel, match=r"model\.onnx cannot be loaded: .*External data path"):
            model.load(directory)


def test_refuses_a_graph_that_takes_something_else(directory: Path) -> None:
    write(directory, files={"model.onnx": graph().replace(b"_numbers", b"_strange")})
    with pytest.raises(BadModel, match=r"model\.onnx takes _strange, not _numbers and _texts; run the export stage"):
        model.load(directory)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"runtime": "pickle"}, "asks for format 3, runtime 'pickle'"),
        ({"format": 1}, "asks for format 1"),
        ({"files": {"../model.onnx": "0"}}, "files lie beside its manifest"),
        ({"files": {}}, "lacks model.onnx"),
        ({"inputs": [{"name": "a"}]}, "is no manifest"),
        ({"inputs": None}, "is no manifest"),
        ({"problem": {"name": "x"}}, "is no manifest"),
        ({"family": None, "problem": None}, "is no manifest"),
    ],
)
def test_refuses_a_manifest(directory: Path, change: dict[str, Any], sentence: str) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(BadModel, match=sentence):
        model.load(directory)


def test_no_manifest_is_written_that_nobody_takes(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "LARGEST_MANIFEST", 5_000)
    wide = [*INPUTS, Input("shop", "category", levels=("x" * 5_000,))]
    with pytest.raises(BadModel, match=r"learn fewer levels, or shorter ones: those of shop take most"):
        write(directory, inputs=wide)
    assert model.load(directory).inputs == tuple(INPUTS)


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00"])
def test_refuses_what_is_no_manifest(directory: Path, text: str) -> None:
    (directory / "manifest.json").write_text(text)
    with pytest.raises(BadModel, match="is no manifest"):
        model.load(directory)


def test_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"manifest\.json cannot be read"):
        model.load(tmp_path / "nowhere")
