"""The exported graph answers as the family does that was fitted, on any number of rows, and takes raw rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from safetensors.numpy import save_file

from pipeline import baselines, encode, export, families, model, rows, tasks, train
from pipeline.encode import Encoding
from pipeline.params import BadInput
from pipeline.tasks import binary
from pipeline.train import Trained
from tests.tables import feature_rows, inputs, ours, problem, workspace

ENCODING = Encoding(inputs(), lambda _: {})
NAMES = [column.name for column in ours().inputs]
LINEAR = families.family("linear")
SETTLED = {"threshold": np.array(0.5)}
ABOUT: dict[str, Any] = {
    **{"problem": problem(), "family": "linear", "processor": "any"},
    **{"outputs": list(binary.OUTPUTS), "settled": {"threshold": 0.5}},
}


@pytest.fixture(scope="module")
def test() -> pl.DataFrame:
    return feature_rows().tail(600)


@pytest.fixture(scope="module")
def trained(test: pl.DataFrame) -> Trained:
    table = feature_rows()
    matrix, target = ENCODING.matrix(table), table[rows.LABEL].to_numpy()
    state = LINEAR.fit(matrix, target, np.ones(len(target)), "logistic", 1, {"penalty": 1.0}).state
    crafted = train.crafted(ENCODING, test, LINEAR.edges(state))
    raw = [LINEAR.raw(state, ENCODING.matrix(part), "logistic", 1) for part in (test[:50], test, crafted)]
    return Trained(state, raw[0], raw[1], raw[2], {"rows": 4000, "device": "cpu", "processor": "any"})


@pytest.fixture(scope="module")
def graph(trained: Trained) -> bytes:
    return export.joined(ENCODING, LINEAR, trained.state, SETTLED, problem())


@pytest.fixture
def scorer(graph: bytes, tmp_path: Path) -> model.Model:
    model.write(tmp_path / "model", files={"model.onnx": graph}, inputs=ENCODING.inputs, **ABOUT)
    return model.load(tmp_path / "model")


# --- the graph ---


def test_takes_numbers_and_texts(graph: bytes) -> None:
    made = onnx.load_from_string(graph).graph
    types = {value.name: value.type.tensor_type for value in (*made.input, *made.output)}
    text, double, truth = onnx.TensorProto.STRING, onnx.TensorProto.DOUBLE, onnx.TensorProto.BOOL
    kinds = {name: kind.elem_type for name, kind in types.items()}
    assert kinds == {model.NUMBERS: double, model.TEXTS: text, "score": double, "alert": truth}
    assert [types[name].shape.dim[0].dim_value for name in (model.NUMBERS, model.TEXTS)] == [5, 2]


@pytest.mark.parametrize(("text", "given"), [(False, model.NUMBERS), (True, model.TEXTS)])
def test_takes_no_more_than_there_is(text: bool, given: str) -> None:
    columns = tuple(column for column in ENCODING.inputs if column.text is text)
    constant = families.family("constant")
    matrix = Encoding(columns, lambda _: {}).matrix(feature_rows(50))
    state = constant.fit(matrix, np.arange(50) % 2.0, np.ones(50), "logistic", 1, {}).state
    graph = export.joined(Encoding(columns, lambda _: {}), constant, state, SETTLED, problem())
    made = onnx.load_from_string(graph).graph
    assert [value.name for value in made.input] == [given]


def test_says_nothing_of_the_folder_it_was_made_in(graph: bytes, trained: Trained) -> None:
    assert str(Path(train.__file__).parent).encode() not in graph and b".py" not in graph
    assert export.joined(ENCODING, LINEAR, trained.state, SETTLED, problem()) == graph


def test_answers_as_the_fitted_family_does(scorer: model.Model, trained: Trained, test: pl.DataFrame) -> None:
    crafted = train.crafted(ENCODING, test, LINEAR.edges(trained.state))
    for table, raw in ((test, trained.test), (crafted, trained.parity)):
        export.check(scorer, table, raw, SETTLED, 1e-9)
    assert [values.shape for values in scorer.predict(test[:0]).values()] == [(0,), (0,)]


def test_an_input_may_have_any_name(trained: Trained, test: pl.DataFrame, tmp_path: Path) -> None:
    renamed = dict(zip(NAMES, ("score", "Concat_0_concat_result", "batch", "c0", "ß\n", " ", "a/b:0"), strict=True))
    columns = tuple(model.Input(**{**vars(column), "name": renamed[column.name]}) for column in ENCODING.inputs)
    graph = export.joined(Encoding(columns, lambda _: {}), LINEAR, trained.state, SETTLED, problem())
    model.write(tmp_path / "model", files={"model.onnx": graph}, inputs=columns, **ABOUT)
    scores = model.load(tmp_path / "model").predict(test.rename(renamed))["score"]
    np.testing.assert_allclose(scores, binary.probability(trained.test), atol=1e-9)


def test_refuses_a_graph_that_answers_otherwise(scorer: model.Model, trained: Trained, test: pl.DataFrame) -> None:
    raw = trained.test.copy()
    raw[len(raw) // 2] += 1e-6
    with pytest.raises(BadInput, match=r"the exported graph differs from the fitted linear by .* most on \{'amount': "):
        export.check(scorer, test, raw, SETTLED, 1e-9)
    for odd in (raw * np.nan, np.where(np.arange(len(raw))[:, None] == 7, np.nan, trained.test)):
        with pytest.raises(BadInput, match="the exported graph differs"):
            export.check(scorer, test, odd, SETTLED, 1e-9)


def test_refuses_a_graph_that_decides_otherwise(scorer: model.Model, trained: Trained, test: pl.DataFrame) -> None:
    """The scores are the same, and an alert is of another threshold."""
    with pytest.raises(BadInput, match="the exported graph differs from the fitted linear by inf"):
        export.check(scorer, test, trained.test, {"threshold": np.array(0.25)}, 1e-9)


def test_refuses_the_scores_of_other_rows(scorer: model.Model, trained: Trained, test: pl.DataFrame) -> None:
    with pytest.raises(BadInput, match="holds scores of 600 rows, where 500 are compared"):
        export.check(scorer, test[:500], trained.test, SETTLED, 1e-9)


# --- crafted rows ---


def test_crafted_rows_hold_what_a_graph_may_get_wrong(test: pl.DataFrame) -> None:
    edges = {0: np.array([10.0, 220.0]), 99: np.array([1.0])}
    table = train.crafted(ENCODING, test, edges)
    for column in ENCODING.inputs:
        values = set(table[column.name].to_list())
        assert None in values
        if column.text:
            assert {*column.levels, "", model.MISSING, "\x01 no level"} <= values
        else:
            assert {end for end in (column.minimum, column.maximum) if end is not None} <= values
            assert {-1e15, 1e15} <= values
    near = [
        side(edge) for edge in (10.0, 220.0) for side in (lambda e: np.nextafter(e, 0), lambda e: np.nextafter(e, 1e9))
    ]
    assert {10.0, 220.0, *near} <= set(table["amount"].to_list())
    assert table.equals(train.crafted(ENCODING, test, edges))


def test_many_split_points_are_thinned_out(test: pl.DataFrame) -> None:
    assert len(train.crafted(ENCODING, test, {0: np.arange(100_000.0)})) < 500


# --- the file of a family ---

TOLD = {"device": "cpu", "processor": "x86_64 SkylakeX", "rows": 7, "epochs": [{"epoch": 1, "loss": 0.5}]}
PARTS = {"state": np.zeros(3, dtype=np.uint8), **{name: np.zeros((2, 1)) for name in train.SAID}}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(train, "FITTED", tmp_path / "fitted")
    train.FITTED.mkdir()
    return train.place("linear")


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (None, "is nothing of the stage `train`"),
        ("{", "is nothing of the stage `train`"),
        ("[" * 100_000, "is nothing of the stage `train`"),
        ("[]", "not as the stage `train` writes it"),
        ("{}", "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"epochs": None}), "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"epochs": [{"epoch": 1}]}), "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"epochs": TOLD["epochs"] * 1001}), "not as the stage `train` writes it"),  # type: ignore[operator]
        (json.dumps(TOLD | {"epochs": [{"epoch": 1, "loss": float("nan")}]}), "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"rows": "<script>"}), "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"<script>": 1}), "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"device": "cpu, and more"}), "not as the stage `train` writes it"),
        (json.dumps(TOLD | {"processor": "x" * 100}), "not as the stage `train` writes it"),
    ],
)
def test_a_file_that_says_its_training_otherwise_is_refused(told: str | None, sentence: str, file: Path) -> None:
    save_file(PARTS, file, None if told is None else {train.TRAINING: told})
    with pytest.raises(BadInput, match=sentence):
        train.read("linear")
    save_file(PARTS, file, {train.TRAINING: json.dumps(TOLD)})
    assert train.read("linear").about == TOLD


@pytest.mark.parametrize(
    "change", [{"state": np.zeros(3)}, {"test": np.zeros(2)}, {"parity": np.zeros((1, 1), dtype=np.float32)}]
)
def test_a_file_of_other_tensors_is_refused(change: dict[str, Any], file: Path) -> None:
    save_file(PARTS | change, file, {train.TRAINING: json.dumps(TOLD)})
    with pytest.raises(BadInput, match="holds other tensors than the stage `train` writes"):
        train.read("linear")


@pytest.mark.parametrize("content", [None, b"", b"no weights", b"\xff" * 100])
def test_a_damaged_file_is_refused(content: bytes | None, file: Path) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadInput, match="is nothing of the stage `train`"):
        train.read("linear")


def test_what_is_written_is_what_is_read(file: Path, trained: Trained) -> None:
    train.write("linear", trained)
    first, found = file.read_bytes(), train.read("linear")
    assert found.state == trained.state and found.about == trained.about
    assert all((getattr(found, part) == getattr(trained, part)).all() for part in train.SAID)
    train.write("linear", found)
    assert file.read_bytes() == first


# --- the stages ---


def test_a_family_that_params_does_not_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace(tmp_path / "repo", train={"family": "forest"}))
    encode.main()
    with pytest.raises(BadInput, match="train.family is 'forest'; it may be one of constant, linear, trees, network"):
        export.main()
    with pytest.raises(BadInput, match="train.family is 'forest'"):
        train.main("forest")


@pytest.mark.parametrize("shipped", ["constant", "linear", "trees"])
def test_the_stages_from_rows_to_scores(shipped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace(tmp_path / "a repository", train={"family": shipped}))
    others = [name for name in ("constant", "linear", "trees") if name != shipped]
    names = f"families: {{constant: {{}}, linear: {{penalty: 1.0}}, trees: {TREES}}}"
    knobs = Path("params.yaml").read_text().split("families:")
    Path("params.yaml").write_text(knobs[0] + names + "\n" + knobs[1][knobs[1].index("\ntrain:") :])
    encode.main()
    for name in (shipped, *others):
        train.main(name)
    baselines.main()
    export.main()
    loaded, table = model.load("model"), pl.read_parquet(baselines.TARGET)
    test = pl.read_parquet(rows.FEATURES).filter(pl.col(ours().time).dt.day() >= 18)
    assert table.columns == [rows.ID, *others] and table[rows.ID].to_list() == test["order_id"].to_list()
    assert all(tasks.sound(table[name], binary, problem()) for name in others)
    assert loaded.family == shipped and loaded.problem == problem()
    assert [column.name for column in loaded.inputs] == NAMES
    said = loaded.predict(test)
    assert said["score"].mean() == pytest.approx(test[rows.LABEL].mean(), rel=0.5)
    manifest = json.loads((Path("model") / model.MANIFEST).read_text())
    assert (said["alert"] == (said["score"] >= manifest["settled"]["threshold"])).all()
    told = json.loads(export.REPORT.read_text())
    assert told["family"] == shipped and told["rows"] == 1600 and told["device"] == "cpu"


TREES = "{trees: 10, leaves: 7, learning_rate: 0.1, rows_in_leaf: 20, seed: 0}"
