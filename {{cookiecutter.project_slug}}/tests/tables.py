"""A small table of feature rows, a model that nobody trained, and a folder for the stages after `features`."""

import shutil
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import yaml
from onnx import TensorProto, helper

from pipeline import model, params, schema

ROOT = Path(params.__file__).parents[1]
FIRST, UNTIL = date(2020, 1, 1), date(2020, 1, 20)


def feature_rows(number: int = 4000) -> pl.DataFrame:
    """Feature rows of twenty days in time order; a fraud is an amount above 220, or most rows of a risky terminal."""
    draw = np.random.default_rng(0)
    amount, risk = draw.gamma(1.5, 60, number).round(2), draw.choice([0, 0.5, 1], number, p=[0.9, 0.05, 0.05])
    columns: dict[str, Any] = {
        schema.ID: np.arange(number),
        schema.TIME: [datetime(2020, 1, 1) + timedelta(days=20) / number * row for row in range(number)],
        "customer_id": draw.integers(0, 150, number),
        schema.LABEL: ((amount > 220) | (draw.random(number) < 0.8 * risk)).astype(np.int64),
        "tx_amount": amount,
        "tx_during_weekend": draw.integers(0, 2, number),
        "tx_during_night": draw.integers(0, 2, number),
    }
    for window in (1, 7, 30):
        columns |= {
            f"customer_nb_tx_{window}d": draw.poisson(2 * window, number) + 1,
            f"customer_avg_amount_{window}d": draw.gamma(2, 40, number),
            f"terminal_nb_tx_{window}d": draw.poisson(window, number),
            f"terminal_risk_{window}d": risk,
        }
    return pl.DataFrame(columns)


def knobs(**changes: dict[str, Any]) -> dict[str, Any]:
    """The repository's knobs, with a network and a bootstrap that take a moment, and the `changes` by block."""
    small: dict[str, dict[str, Any]] = {
        "data": {"until": str(UNTIL)},
        "split": {"train": 10, "test": 3},
        "train": {"hidden": [8], "epochs": 2, "batch": 256},
        "baselines": {"random_forest": {"n_estimators": 3}},
        "evaluate": {"resamples": 20, "slices": [{"column": "tx_amount", "from": 50}]},
    }
    blocks = params.load(ROOT / "params.yaml")
    for change in (small, changes):
        for block, values in change.items():
            blocks[block] = blocks[block] | values
    return blocks


def write_knobs(folder: Path, knobs: Mapping[str, Any]) -> None:
    """The knobs in params.yaml and policies/evaluation.yaml, where each has to stand, and the latter's schema."""
    measures = {name: knobs[name] for name in params.MEASURES}
    written = {"params.yaml": {name: knobs[name] for name in knobs.keys() - measures.keys()}}
    for name, blocks in {**written, str(params.EVALUATION): measures}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(blocks))
    shutil.copytree(ROOT / "policies" / "schemas", folder / "policies" / "schemas", dirs_exist_ok=True)


def write_model(
    directory: Path, inputs: Iterable[schema.Column] = schema.feature_row((1, 7, 30)), large: float = 220
) -> model.Model:
    """The directory of a model that suspects large amounts; made without torch, which only Train installs."""
    inputs = tuple(inputs)
    columns = [helper.make_tensor_value_info(column.name, TensorProto.FLOAT, ["batch"]) for column in inputs]
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("at", large), ("by", 20))
    ]
    nodes = [
        helper.make_node("Sub", ["tx_amount", "at"], ["over"]),
        helper.make_node("Div", ["over", "by"], ["steps"]),
        helper.make_node("Sigmoid", ["steps"], [model.OUTPUT]),
    ]
    output = helper.make_tensor_value_info(model.OUTPUT, TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph(nodes, "large", columns, [output], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=onnx.IR_VERSION_2023_5_5)
    model.write(directory, runtime="onnx", inputs=inputs, files={"model.onnx": made.SerializeToString()})
    return model.load(directory)


def workspace(folder: Path, **changes: dict[str, Any]) -> Path:
    """A folder with the code, small knobs and a table of feature rows."""
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    write_knobs(folder, knobs(**changes))
    (folder / "data").mkdir()
    feature_rows().write_parquet(folder / "data" / "features.parquet")
    return folder
