"""The encoder: what levels are learned, and that the graph makes the same numbers of a row, to the last bit."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
from spox import build

from pipeline import contract, encode, model, rows
from pipeline.encode import Encoding
from pipeline.model import MISSING, Input
from pipeline.params import BadInput
from tests.tables import feature_rows, inputs, ours, workspace

NUMBERS = tuple(Input(name, "number", missing=True) for name in "abc")


def in_graph(encoding: Encoding, table: pl.DataFrame) -> np.ndarray:
    """What the encoder's graph makes of the rows."""
    given = encode.asked(encoding.inputs)
    graph = build(given, {"_matrix": encoding.graph(given)}).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    packed = model.packed(encoding.ordered, [table[column.name] for column in encoding.ordered])
    return np.asarray(session.run(None, packed)[0])


def deriving(derive: Callable[[Mapping[str, Any]], dict[str, Any]], *names: str) -> Encoding:
    return Encoding(NUMBERS, derive, names)


def strange_numbers(seed: int = 0) -> pl.DataFrame:
    """Rows of three numbers, small and large, and what breaks arithmetic, in all pairs."""
    draw = np.random.default_rng(seed)
    edge = np.array([0.0, -0.0, 1.0, 1e-320, 1e300, -1e300, np.inf, -np.inf, np.nan])
    pairs = np.stack([part.ravel() for part in np.meshgrid(edge, edge)])
    ordinary = draw.normal(size=(3, 500)) * 10.0 ** draw.integers(-9, 9, (3, 500))
    return pl.DataFrame(np.concatenate([np.vstack([pairs, pairs[:1]]), ordinary], axis=1).T, schema=list("abc"))


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """NaN is NaN, whatever its payload; all else is held bit by bit, also a zero's sign."""
    number = ~np.isnan(one)
    equal = one[number].view(np.int64) == other[number].view(np.int64)
    return bool((np.isnan(one) == np.isnan(other)).all() and equal.all())


# --- levels ---


def test_levels_are_learned_by_how_frequent_they_are_then_by_name() -> None:
    values = pl.Series([*["b"] * 12, *["a"] * 12, *["z"] * 30, *["rare"] * 9, *[None, "", MISSING] * 20])
    assert encode.levels(values, 10_000) == ("z", "a", "b")
    assert encode.levels(values, 2) == ("z", "a")
    assert encode.levels(pl.Series([None] * 20, dtype=pl.String), 10) == ()


@pytest.mark.parametrize(
    ("values", "most", "sentence"),
    [
        (
            [*["a"] * 9, *["b"] * 3, None, ""],
            60,
            "size: 0 of its 2 levels have 10 training rows or more; 100% of the rows with a value are *other*, which "
            "are all the same to a model: group rare values, or write `input: false` in contract.yaml",
        ),
        ([*["a"] * 10, *["b"] * 9, *["c"] * 6], 60, "size: 1 of its 3 levels have 10 training rows or more; 60% of"),
        (
            [*["a"] * 10, *["b"] * 10, *["c"] * 10],
            1,
            "size: 3 of its 3 levels have 10 training rows or more, 1 of which `categories` lets be learned; 66.7% of "
            "the rows with a value are *other*, which are all the same to a model: allow more `categories`, group",
        ),
        ([*["a"] * 10, *["b"] * 9], 60, ""),
        ([None, None], 60, ""),
    ],
)
def test_a_category_most_of_whose_rows_are_other_is_said(values: list[str | None], most: int, sentence: str) -> None:
    column, series = contract.Column("size", "category", most=most), pl.Series(values, dtype=pl.String)
    said = list(encode.unlearned(encode.learned(column, series), series, computed=False))
    assert len(said) == bool(sentence) and all(each.startswith(sentence) for each in said)
    computed = list(encode.unlearned(encode.learned(column, series), series, computed=True))
    assert all(each.endswith("or take it out of `inputs` in contract.yaml") for each in computed)


def test_learns_from_the_labelled_rows_of_the_training_days_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace(tmp_path / "repo"))
    table = pl.read_parquet(rows.FEATURES)
    later, unknown = pl.col(ours().time).dt.day() > 15, pl.int_range(pl.len()).is_between(1500, 1800)
    size = pl.when(later).then(pl.lit("later")).when(unknown).then(pl.lit("unlabelled")).otherwise("größe €")
    label = pl.when(unknown).then(None).otherwise(rows.LABEL)
    table.with_columns(size.alias("größe €"), label.alias(rows.LABEL)).write_parquet(rows.FEATURES)
    encode.main()
    encoding = encode.load()
    assert [column.name for column in encoding.inputs] == [column.name for column in ours().inputs]
    assert encoding.inputs[3].levels == ("klein", "NA", "groß")
    assert encoding.inputs[4].categories == ("basic", "extra") and len(encoding.inputs[4].levels) == 2
    assert encoding.categories == {5: 5, 6: 4}  # after the numbers


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace(tmp_path / "repo"))
    encode.main()
    first = encode.ENCODING.read_bytes()
    pl.read_parquet(rows.FEATURES).sample(fraction=1, shuffle=True, seed=1).write_parquet(rows.FEATURES)
    encode.main()
    assert encode.ENCODING.read_bytes() == first
    assert "größe €" in first.decode()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"inputs": [{"name": "a"}], "derived": []}', "\x00"])
def test_refuses_what_is_no_encoding(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "ENCODING", tmp_path / "encoding.json")
    encode.ENCODING.write_text(content)
    with pytest.raises(BadInput, match="is nothing of the stage `encode`"):
        encode.load()


# --- codes ---


def test_a_text_becomes_a_code() -> None:
    column = Input("size", "category", levels=("m", "NA", "None"))
    values = pl.Series(["None", "m", "NA", "other", None, "", MISSING, "nan"])
    assert encode.encoded(column, values).tolist() == [4, 2, 3, 1, 0, 0, 0, 1]
    assert encode.encoded(column, pl.Series([None, None], dtype=pl.String)).tolist() == [0, 0]


def test_a_category_without_levels_is_other_or_missing() -> None:
    encoding = Encoding((Input("size", "category"),), lambda _: {})
    table = pl.DataFrame({"size": ["a", None, ""]})
    assert encoding.matrix(table).values.T.tolist() == [[1, 0, 0]]
    assert encoding.categories == {0: 2}
    assert in_graph(encoding, table).T.tolist() == [[1, 0, 0]]


def test_the_graph_makes_the_same_of_every_type() -> None:
    encoding = Encoding(inputs(), lambda _: {})
    table = feature_rows()
    matrix = encoding.matrix(table)
    assert matrix.names == ("amount", "items", "express", "a.b", "born", "größe €", "model_config")
    assert matrix.values.shape == (4000, 7) and np.isnan(matrix.values[:, [3, 4]]).any(axis=0).all()
    assert same_bits(matrix.values, in_graph(encoding, table))
    assert same_bits(matrix.values[:1], in_graph(encoding, table[:1]))
    assert in_graph(encoding, table[:0]).shape == matrix.values[:0].shape


def test_numbers_stay_double() -> None:
    encoding = Encoding(NUMBERS[:1], lambda _: {})
    table = pl.DataFrame({"a": [1e8 + 1, 0.1, 1 + 2**-52, 2.0**53 - 1, 1e300]})
    assert (
        encoding.matrix(table).values[:, 0].tolist() == in_graph(encoding, table)[:, 0].tolist() == table["a"].to_list()
    )


# --- derived ---


def everything(row: Mapping[str, Any]) -> dict[str, Any]:
    """All that Number can do."""
    a, b, c = row["a"], row["b"], row["c"]
    ratio = (a - b) * (a > b) / ((b - 1) * (b > 1) + 1)
    return {
        "sums": a + b + 1 + (2 + c),
        "differences": a - b - (3 - c),
        "products": 2 * a * b * 0.1,
        "quotients": a / b + 1 / c,
        "ratio": ratio,
        "ratio again": ratio / ((a - b) * (a > b) + 1),
        "signs": abs(a) + -b,
        "comparisons": (a >= b) + (a < b) * 2 + (a <= b) * 4 + (a == b) * 8 + (a != b) * 16 + (a > 0) * 32,
        "truths": ((a > 0) & ~(b > 0)) | (c == 0),
        "less a truth": 1 - (a > b),
    }


def test_what_is_derived_is_the_same_in_the_graph_to_the_last_bit() -> None:
    encoding = deriving(everything, *everything({name: encode.Number(np.ones(1), encode.Numpy) for name in "abc"}))
    table = strange_numbers()
    assert encoding.names == (*"abc", *encoding.derived)
    assert same_bits(encoding.matrix(table).values, in_graph(encoding, table))
    assert same_bits(encoding.matrix(table[:1]).values, in_graph(encoding, table[:1]))


def test_what_is_derived_is_what_numpy_would_derive() -> None:
    table = strange_numbers()
    a, b = table["a"].to_numpy(), table["b"].to_numpy()
    with np.errstate(all="ignore"):
        expected = (a - b) * (a > b) / ((b - 1) * (b > 1) + 1)
    encoding = deriving(lambda row: {"ratio": everything(row)["ratio"]}, "ratio")
    assert same_bits(encoding.matrix(table).values[:, 3], expected)


def test_what_two_columns_need_is_one_node() -> None:
    encoding = deriving(lambda row: {"x": row["a"] * row["b"] + 1, "y": row["a"] * row["b"] + 2}, "x", "y")
    given = encode.asked(encoding.inputs)
    graph = build(given, {"_matrix": encoding.graph(given)}).graph
    assert [node.op_type for node in graph.node].count("Mul") == 1


@pytest.mark.parametrize(
    ("derive", "error", "sentence"),
    [
        (lambda row: {"x": np.log(row["a"])}, TypeError, "no callable log method"),
        (lambda row: {"x": np.ones(3)}, BadInput, "gives ndarray as `x`; it has to follow from the row"),
        (lambda row: {"x": row["a"] if row["a"] > 0 else row["b"]}, TypeError, "neither true nor false"),
        (lambda row: {"x": row["a"] & row["b"]}, TypeError, "unsupported operand"),
        (lambda row: {"x": ~row["a"]}, TypeError, "is for comparisons"),
        (lambda row: {"x": row["a"] + "1"}, TypeError, "unsupported operand"),
        (lambda row: {"y": row["a"]}, BadInput, "gives other names than it did"),
    ],
)
def test_refuses_what_a_graph_cannot_do(derive: Any, error: type[BaseException], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        deriving(derive, "x").matrix(strange_numbers())


def test_derived_is_of_features_and_may_not_take_an_inputs_name(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = ours(computed=ours().inputs)
    derived = {"twice": lambda row, knobs: {"twice": row["amount"] * knobs["by"]}}
    monkeypatch.setattr(rows, "features", lambda: SimpleNamespace(derived=derived["twice"]))
    assert encode.derived_names(encode.derivation(computed, {"by": 2}), computed) == ["twice"]
    assert encode.derived_names(encode.derivation(ours(), {}), ours()) == []
    monkeypatch.setattr(rows, "features", lambda: SimpleNamespace(derived=lambda row, knobs: {"items": row["amount"]}))
    with pytest.raises(BadInput, match="`derived` gives `items`, which is an input"):
        encode.derived_names(encode.derivation(computed, {}), computed)
    monkeypatch.setattr(rows, "features", lambda: SimpleNamespace())
    assert encode.derived_names(encode.derivation(computed, {}), computed) == []


def test_says_nothing_but_what_it_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace(tmp_path / "repo"))
    encode.main()
    said = json.loads(encode.ENCODING.read_text())
    assert said.keys() == {"inputs", "derived"} and said["derived"] == []
    assert encode.load().inputs[0].maximum == 100_000
