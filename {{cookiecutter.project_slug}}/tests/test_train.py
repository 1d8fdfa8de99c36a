"""The network: what it is cut into, that it learns, and that the same tree gives the same weights."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load, save

from pipeline import encode, export, families, model, params, rows, train
from pipeline.encode import Encoding
from pipeline.families import Array, Fitted, Matrix, network
from pipeline.model import Input
from pipeline.params import BadInput
from pipeline.tasks import binary
from tests import by_task
from tests.tables import feature_rows, inputs, knobs, problem, source, workspace

pytestmark = pytest.mark.torch
KNOBS = knobs()["families"]["network"]
ENCODING = Encoding(inputs(), lambda _: {})
SETTLED = {"threshold": np.array(0.5)}


def fitted(matrix: Matrix, target: Array, weight: Array | None = None, **changes: Any) -> Fitted:
    weight = np.ones(len(target)) if weight is None else weight
    return network.fit(matrix, target, weight, "logistic", 1, KNOBS | changes)


def scores(state: bytes, matrix: Matrix) -> Array:
    return binary.probability(network.raw(state, matrix, "logistic", 1))


def of(*columns: Any, **categories: int) -> Matrix:
    values = np.column_stack([np.asarray(column, dtype=float) for column in columns])
    return Matrix(values, tuple("abcdef"[: len(columns)]), {int(at[1:]): codes for at, codes in categories.items()})


def cut(matrix: Matrix, label: Array, pieces: int) -> dict[str, Array]:
    return network.cut(matrix, network.balanced(label, "logistic", 1), pieces)


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return feature_rows()


@pytest.fixture(scope="module")
def learned(table: pl.DataFrame) -> Fitted:
    return fitted(ENCODING.matrix(table), table[rows.LABEL].to_numpy(), epochs=8)


# --- pieces ---


def test_cuts_at_quantiles_of_both_labels() -> None:
    values, target = np.concatenate([np.arange(100.0), np.arange(1000.0, 1010.0)]), np.repeat([0.0, 1.0], [100, 10])
    for label in (target, 1 - target):
        pieces = cut(of(values), label, 4)
        assert pieces["column"].tolist() == [0, 0, 0, 0]
        np.testing.assert_allclose(pieces["lower"] * 1009, [0, 50, 1000, 1004], rtol=1e-6)  # of ten rows each
        np.testing.assert_allclose((pieces["lower"] + 1 / pieces["slope"]) * 1009, [50, 1000, 1004, 1009], rtol=1e-6)


def test_a_flag_is_one_piece_and_a_constant_none() -> None:
    pieces = cut(of([0.0, 1.0] * 50, [3.0] * 100), np.array([0.0, 0.0, 1.0, 1.0] * 25), 8)
    assert (pieces["column"].tolist(), pieces["lower"].tolist(), pieces["slope"].tolist()) == ([0], [0], [1])
    assert not len(pieces["flag"]) and pieces["fill"].tolist() == [0.5, 3]


def test_what_rounding_makes_of_equal_values_is_one_value() -> None:
    pieces = cut(of([0.0, 1e-7, 2e-7, 1.0] * 25), np.array([0.0, 1.0] * 50), 16)
    assert len(pieces["slope"]) == 1 and pieces["slope"].max() < 1.1
    assert network.edges_of(np.array([0, 1e-300, 2e-300]), 8).tolist() == [0]


def test_a_missing_number_has_a_piece_of_its_own_and_moves_no_cut() -> None:
    whole, some = np.arange(100.0), np.where(np.arange(100) % 10 == 0, np.nan, np.arange(100.0))
    pieces = cut(of(some, whole, [np.nan] * 100, [np.inf, 1, 2, 3] * 25), np.array([0.0, 1.0] * 50), 4)
    assert pieces["flag"].tolist() == [0]
    assert np.isfinite(np.concatenate([pieces[name] for name in ("lower", "slope", "fill", "first", "scale")])).all()
    assert np.bincount(pieces["column"], minlength=5).tolist() == [4, 4, 0, 2, 1]
    assert pieces["fill"].tolist() == [50, 49.5, 0, 2]


def test_where_nothing_varies_there_is_still_a_network() -> None:
    state = fitted(of([1.0] * 40), np.array([0.0, 1.0] * 20)).state
    np.testing.assert_allclose(scores(state, of([1.0, np.nan, 7.0])), 0.5, atol=0.2)


# --- learning ---


def test_learns_a_threshold(table: pl.DataFrame, learned: Fitted) -> None:
    epochs = learned.about["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == list(range(1, 9))
    assert epochs[-1]["loss"] < 0.7 * epochs[0]["loss"]
    usual = table.filter(pl.col("größe €") == "klein")[:1]
    low, high = (
        scores(learned.state, ENCODING.matrix(usual.with_columns(amount=pl.lit(amount))))[0]
        for amount in (100.0, 400.0)
    )
    assert low < 0.2 < 0.8 < high


def test_learns_a_level(table: pl.DataFrame, learned: Fitted) -> None:
    usual = table.filter(pl.col("amount").is_between(50, 100))[:1]
    large, small, unseen, none = (
        scores(learned.state, ENCODING.matrix(usual.with_columns(pl.lit(size).alias("größe €"))))[0]
        for size in ("groß", "klein", "never", None)
    )
    assert large > 0.3 > 0.1 > small and 0 < unseen < 1 and 0 < none < 1


def test_learns_what_is_missing() -> None:
    draw = np.random.default_rng(0)
    values = np.where(draw.random(2000) < 0.3, np.nan, draw.normal(size=2000))
    state = fitted(of(values), np.isnan(values).astype(float), epochs=16).state
    missing, middle = scores(state, of([np.nan, 0.0]))
    assert middle < 0.2 < 0.8 < missing


def test_starts_from_the_share_of_positives(table: pl.DataFrame) -> None:
    matrix, target = ENCODING.matrix(table), table[rows.LABEL].to_numpy()
    for weight in (np.ones(len(target)), 1 + 4 * target):
        state = fitted(matrix, target, weight, epochs=1, learning_rate=1e-9).state
        assert scores(state, matrix).mean() == pytest.approx(np.average(target, weights=weight), rel=0.3)


def test_a_row_counts_its_weight(table: pl.DataFrame) -> None:
    matrix, target = ENCODING.matrix(table), table[rows.LABEL].to_numpy()
    none = np.arange(len(target)) % 2
    without = Matrix(matrix.values[none > 0], matrix.names, matrix.categories)
    assert fitted(matrix, target, none * 3.0).state == fitted(without, target[none > 0]).state
    heavy = scores(fitted(matrix, target, 1 + 9 * target).state, matrix)
    assert heavy.mean() > 1.5 * scores(fitted(matrix, target).state, matrix).mean()


@pytest.mark.parametrize("number", [2, 10, 160, 300])
def test_a_small_table_is_fitted_in_batches_of_its_own(number: int) -> None:
    draw = np.random.default_rng(0)
    values = np.concatenate([[0, 300], draw.gamma(1.5, 60, number - 2)])
    fit = fitted(of(values), (values > 100).astype(float), batch=2048, epochs=1)
    assert np.isfinite(scores(fit.state, of(values))).all()
    if number == 300:
        state = fitted(of(values), (values > 100).astype(float), batch=2048, epochs=16).state
        assert np.mean((scores(state, of(values)) > 0.5) == (values > 100)) > 0.9


def test_no_row_is_without_a_score(learned: Fitted) -> None:
    draw = np.random.default_rng(0)
    strange = draw.choice([0, 1e300, -1e300, np.inf, -np.inf, np.nan, 1e-320], (500, 7))
    strange[:, [5, 6]] = draw.integers(0, 4, (500, 2))
    assert np.isfinite(scores(learned.state, Matrix(strange, ENCODING.names, ENCODING.categories))).all()


def test_a_row_alone_scores_as_in_a_batch(table: pl.DataFrame, learned: Fitted) -> None:
    matrix = ENCODING.matrix(table)
    alone = [scores(learned.state, Matrix(row[None], matrix.names, matrix.categories))[0] for row in matrix.values[:50]]
    np.testing.assert_allclose(scores(learned.state, matrix)[:50], alone, atol=1e-6)


# --- the graph ---


def held(encoding: Encoding, table: pl.DataFrame, state: bytes, folder: Path) -> None:
    """The graph of a network against the network, on these rows and on crafted ones."""
    about: dict[str, Any] = {"problem": problem(), "family": "network", "processor": "any", "inputs": encoding.inputs}
    about |= {"outputs": list(binary.OUTPUTS), "settled": {}}
    graph = export.joined(encoding, families.family("network"), state, SETTLED, problem())
    model.write(folder, files={"model.onnx": graph}, **about)
    for part in (table, train.crafted(encoding, table, network.edges(state))):
        raw = network.raw(state, encoding.matrix(part), "logistic", 1)
        export.check(model.load(folder), part, raw, SETTLED, 1e-6)


def test_the_graph_answers_as_the_network_does(table: pl.DataFrame, learned: Fitted, tmp_path: Path) -> None:
    held(ENCODING, table, learned.state, tmp_path / "model")


def test_the_graph_of_a_network_that_learned_nothing(tmp_path: Path) -> None:
    encoding = Encoding((Input("a", "number"),), lambda _: {})
    table = pl.DataFrame({"a": [1.0] * 40})
    held(encoding, table, fitted(encoding.matrix(table), np.array([0.0, 1.0] * 20)).state, tmp_path / "model")


# --- the state ---


def test_the_ends_of_pieces_are_its_edges(learned: Fitted) -> None:
    edges = network.edges(learned.state)
    assert edges.keys() == {0, 1, 2, 3, 4}
    assert edges[2].tolist() == [0, 1] and len(edges[0]) == 9 and (np.diff(edges[0]) > 0).all()


def changed(state: bytes, **tensors: Array | None) -> bytes:
    return save({name: value for name, value in (load(state) | tensors).items() if value is not None})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fill": None}, "holds other tensors"),
        ({"more": np.zeros(1)}, "holds other tensors"),
        ({"lower": np.zeros((2, 2))}, "holds other tensors"),
        ({"layers.0.bias": np.full(8, np.nan, dtype=np.float32)}, "holds other tensors"),
        ({"layers.0.bias": np.zeros(9, dtype=np.float32)}, "does not fit"),
        ({"layers.1.weight": np.zeros((1, 9), dtype=np.float32)}, "does not fit"),
        ({"embedding": np.zeros((2, 8), dtype=np.float32)}, "does not fit"),
        ({"flag": np.array([99])}, "does not fit"),
        ({"flag": np.array([1.0])}, "does not fit"),
        ({"category": np.array([0, 1])}, "does not fit"),
        ({"slope": np.zeros(1, dtype=np.float32)}, "does not fit"),
        ({"scale": np.zeros(7)}, "does not fit"),
    ],
)
def test_the_state_of_another_network_is_refused(learned: Fitted, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=f"the fitted family network cannot be read: it {sentence}"):
        export.joined(ENCODING, families.family("network"), changed(learned.state, **change), SETTLED, problem())


@pytest.mark.parametrize("state", [b"", b"no state", b"\xff" * 100])
def test_a_damaged_state_is_refused(state: bytes) -> None:
    with pytest.raises(BadInput, match="the fitted family network cannot be read"):
        network.edges(state)


# --- where ---


def test_refuses_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVICE", "tpu")
    with pytest.raises(BadInput, match="DEVICE is 'tpu', which is not on this machine"):
        network.device()


def test_takes_the_device_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVICE", "cpu")
    assert network.device() == torch.device("cpu")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": {"until": "2021-01-01"}}, "holds no row from"),
        ({"split": {"train": 2, "calibrate": 1}}, "one value of returned only"),
    ],
)
def test_says_what_the_data_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, dict], sentence: str
) -> None:
    folder = workspace(tmp_path / "repo")
    monkeypatch.chdir(folder)
    encode.main()
    (folder / "params.yaml").unlink()
    changed = workspace(tmp_path / "changed", **change)
    (changed / "params.yaml").rename(folder / "params.yaml")
    (changed / params.EVALUATION).rename(folder / params.EVALUATION)
    first, last = params.days(knobs(**change), 2).train
    inside = pl.col("ordered_at").dt.date().is_between(first, last)
    table = pl.read_parquet(rows.FEATURES)
    table.with_columns(pl.when(inside).then(0.0).otherwise(rows.LABEL).alias(rows.LABEL)).write_parquet(rows.FEATURES)
    with pytest.raises(BadInput, match=sentence):
        train.main("network")
    assert not train.FITTED.exists()


@pytest.mark.parametrize(("task", "held_back"), [("binary", 2), ("multiclass", 0)])
def test_days_are_held_back_from_a_fit_where_something_is_settled_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, held_back: int
) -> None:
    monkeypatch.chdir(workspace(tmp_path / "repo"))
    Path("contract.yaml").write_text(by_task.text(task))
    late = (task == "multiclass") & (pl.col("items") > 6)
    table = source(1000).with_columns(pl.when(late).then(pl.lit("Late")).otherwise("returned").alias("returned"))
    table = rows.made(table, by_task.ours(task), {})
    table.write_parquet(rows.FEATURES)
    encode.main()
    train.main("constant")
    first, last = params.days(knobs(), 2).train
    seen = table["ordered_at"].dt.date().is_between(first, last - timedelta(days=held_back))
    assert train.read("constant").about["rows"] == seen.sum() == 50 * (10 - held_back)


@pytest.mark.slow
def test_same_tree_same_model_from_any_folder(tmp_path: Path) -> None:
    made = []
    for name, threads in (("a", "1"), ("another folder", "2")):
        folder = workspace(tmp_path / name, train={"family": "network"})
        for stage in (["encode"], ["train", "network"], ["export"]):
            subprocess.run(
                [sys.executable, "-m", f"pipeline.{stage[0]}", *stage[1:]],
                cwd=folder,
                env=os.environ | {"DEVICE": "cpu", "OMP_NUM_THREADS": threads},
                check=True,
            )
        files = (train.place("network"), export.REPORT, "model/manifest.json")
        made.append([(folder / file).read_bytes() for file in files])
    assert made[0] == made[1]
    assert [epoch["epoch"] for epoch in json.loads(made[0][1])["epochs"]] == [1, 2]
