"""The network: what it is cut into, that it learns, and that the same tree gives the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from pipeline import export, params, train
from pipeline.params import BadInput
from pipeline.schema import LABEL, feature_row
from tests.tables import feature_rows, knobs, workspace

pytestmark = pytest.mark.torch
WINDOWS = (1, 7, 30)
NAMES = [column.name for column in feature_row(WINDOWS)]
CPU = torch.device("cpu")


def built(table: pl.DataFrame) -> train.Network:
    columns, (label,) = train.tensors(table, NAMES, CPU), train.tensors(table, [LABEL], CPU)
    return train.build(columns, label, NAMES, WINDOWS, knobs()["train"])


def fitted(table: pl.DataFrame, epochs: int) -> tuple[train.Network, list[dict[str, float]]]:
    network = built(table)
    columns, (label,) = train.tensors(table, NAMES, CPU), train.tensors(table, [LABEL], CPU)
    return network, list(train.fit(network, columns, label, knobs()["train"] | {"epochs": epochs}))


def scores(network: train.Network, table: pl.DataFrame) -> np.ndarray:
    with torch.no_grad():
        return network(*train.tensors(table, NAMES, CPU)).numpy()


def test_cuts_at_quantiles_of_both_labels() -> None:
    values = torch.cat([torch.arange(100.0), torch.arange(1000.0, 1010.0)]).unsqueeze(1)
    label = torch.cat([torch.zeros(100), torch.ones(10)])
    column, lower, slope = train.cut(values, label, pieces=4)
    assert column.tolist() == [0, 0, 0, 0]
    assert lower.tolist() == [0, 50, 1000, 1004]  # of ten rows each
    torch.testing.assert_close(lower + 1 / slope, torch.tensor([50.0, 1000.0, 1004.0, 1009.0]))


def test_a_flag_is_one_piece_and_a_constant_none() -> None:
    table = torch.stack([torch.tensor([0.0, 1.0] * 50), torch.full((100,), 3.0)], dim=1)
    column, lower, slope = train.cut(table, torch.tensor([0.0, 0.0, 1.0, 1.0] * 25), pieces=8)
    assert (column.tolist(), lower.tolist(), slope.tolist()) == ([0], [0], [1])


def test_what_rounding_makes_of_equal_values_is_one_value() -> None:
    values = torch.tensor([0.0, 1e-7, 2e-7, 1.0] * 25).unsqueeze(1)
    _, _, slope = train.cut(values, torch.tensor([0.0, 1.0] * 50), pieces=16)
    assert len(slope) == 1 and slope.max() < 1.1


def test_learns_a_threshold() -> None:
    table = feature_rows()
    network, epochs = fitted(table, epochs=8)
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    common = table[:1].with_columns(pl.lit(0.0).alias(f"terminal_risk_{window}d") for window in WINDOWS)
    low, high = (scores(network, common.with_columns(tx_amount=pl.lit(amount)))[0] for amount in (100.0, 400.0))
    assert low < 0.2 < 0.8 < high


def test_starts_from_the_share_of_positives() -> None:
    table = feature_rows()
    assert scores(built(table), table).mean() == pytest.approx(table[LABEL].mean(), rel=0.3)


def test_rows_that_contradict_themselves_have_a_score() -> None:
    draw = np.random.default_rng(0)
    small = {name: draw.integers(0, 3, 3000).astype(float) for name in NAMES}
    assert np.isfinite(scores(built(feature_rows()), pl.DataFrame(small))).all()


@pytest.mark.parametrize("windows", [[3], [30, 2]])
def test_takes_any_windows(windows: list[int]) -> None:
    names = [column.name for column in feature_row(windows)]
    network = train.Network(names, windows, 1, [4])
    row = [torch.ones(2)] * len(names)
    assert train.widen(row, names, windows).isfinite().all() and network(*row).shape == (2,)


def test_refuses_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVICE", "tpu")
    with pytest.raises(BadInput, match="DEVICE is 'tpu', which is not on this machine"):
        train.device()


def test_takes_the_device_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVICE", "cpu")
    assert train.device() == CPU


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"data": {"until": "2021-01-01"}}, "holds no row from"), ({"split": {"train": 1}}, "one value of tx_fraud only")],
)
def test_says_what_the_data_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, dict], sentence: str
) -> None:
    folder = workspace(tmp_path / "repo", **change)
    first, last = params.days(knobs(**change)).train
    table = pl.read_parquet(folder / "data" / "features.parquet")
    inside = pl.col("tx_datetime").dt.date().is_between(first, last)
    table.with_columns(pl.when(inside).then(0).otherwise(LABEL).alias(LABEL)).write_parquet(
        folder / "data" / "features.parquet"
    )
    monkeypatch.chdir(folder)
    with pytest.raises(BadInput, match=sentence):
        train.main()
    assert not (folder / "build").exists()


@pytest.mark.slow
def test_same_tree_same_model_from_any_folder(tmp_path: Path) -> None:
    made = []
    for name, threads in (("a", "1"), ("another folder", "2")):
        folder = workspace(tmp_path / name)
        for stage in ("train", "export"):
            subprocess.run(
                [sys.executable, "-m", f"pipeline.{stage}"],
                cwd=folder,
                env=os.environ | {"DEVICE": "cpu", "OMP_NUM_THREADS": threads},
                check=True,
            )
        made.append([(folder / file).read_bytes() for file in (train.NETWORK, export.REPORT, "model/manifest.json")])
    assert made[0] == made[1]
    assert [epoch["epoch"] for epoch in json.loads(made[0][1])["epochs"]] == [1, 2]
