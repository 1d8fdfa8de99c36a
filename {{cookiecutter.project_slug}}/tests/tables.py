"""The unit tests' problem, a small table of its rows, a model that nobody trained, and a folder for the stages.

The problem is tests/contract.yaml and the policies are tests/policies, whatever the repository's own are, so that these
tests hold for any. A test that is about the repository's own says so (`owned`, in conftest.py).
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import yaml
from onnx import TensorProto, helper

from pipeline import contract, model, params, personal, rows
from pipeline.contract import Contract
from pipeline.model import Input, Problem

ROOT = Path(params.__file__).parents[1]
OURS, POLICIES = ROOT / "tests" / "contract.yaml", ROOT / "tests" / "policies"
personal.POLICY = POLICIES / "log.yaml"  # for all that these tests call
FIRST, UNTIL = date(2020, 1, 1), date(2020, 1, 20)
SIZES, CONFIGS = ("groß", "klein", "NA"), ("basic", "extra")
KNOBS: dict[str, Any] = {
    "data": {"source": "orders", "until": str(UNTIL), "snapshot": None},
    "train": {"family": "linear"},
    "families": {
        "constant": {},
        "linear": {"penalty": 1.0},
        "trees": {"trees": 10, "leaves": 7, "learning_rate": 0.1, "rows_in_leaf": 20, "seed": 0},
        "network": {
            **{"seed": 0, "pieces": 8, "hidden": [8], "epochs": 2, "batch": 256},
            **{"learning_rate": 0.006, "weight_decay": 0.01},
        },
    },
    "explain": {"seed": 0, "repeats": 1, "rows": 2, "draws": 5, "reasons": 2},
    "split": {"train": 10, "calibrate": 2, "test": 3},
    "evaluate": {
        **{"known": 7, "resamples": 20, "confidence": 0.95, "seed": 0, "alerts": 0.05, "groups": {}},
        "slices": [{"column": "amount", "from": 50}],
    },
}


def ours(**changes: Any) -> Contract:
    """The unit tests' contract."""
    return replace(contract.parse(OURS.read_text(), "tests/contract.yaml", ROOT / contract.SCHEMA), **changes)


def source(number: int = 4000) -> pl.DataFrame:
    """The source's rows of twenty days, in time order: what cost above 220 is returned, or is large."""
    draw = np.random.default_rng(0)
    amount = draw.gamma(1.5, 60, number).round(2)
    size = draw.choice(np.array([*SIZES, None]), number, p=[0.1, 0.6, 0.2, 0.1])
    returned = (amount > 220) | ((size == "groß") & (draw.random(number) < 0.5))
    at = [datetime(2020, 1, 1) + timedelta(days=20) / number * row for row in range(number)]
    return pl.DataFrame(
        {
            "order_id": [f"order-{row:05}" for row in range(number)],
            "ordered_at": at,
            "customer": draw.integers(0, 150, number),
            "amount": amount,
            "items": draw.integers(1, 9, number),
            "express": draw.random(number) < 0.3,
            "größe €": size.tolist(),
            "model_config": draw.choice(CONFIGS, number),
            "a.b": [None if lost < 0.05 else value for lost, value in draw.random((number, 2)).tolist()],
            "born": [None if row % 50 == 0 else at[row] - timedelta(days=row % 9000) for row in range(number)],
            "shoe size": draw.integers(35, 47, number),
            "returned": np.where(returned, "Yes", "No"),
        },
        schema={column.name: rows.TYPES[column.type] for column in ours().columns},
    )


def daily(folder: Path, number: int = 400) -> Path:
    """The source's rows as daily parquet files in a folder, as `data.source` may name one."""
    folder.mkdir()
    table = source(number)
    for day in table["ordered_at"].dt.date().unique():
        table.filter(pl.col("ordered_at").dt.date() == day).write_parquet(folder / f"{day}.parquet")
    return folder


def feature_rows(number: int = 4000) -> pl.DataFrame:
    """What the stage `rows` makes of them."""
    return rows.made(source(number), ours(), {})


def inputs(levels: tuple[str, ...] = ("klein", "NA", "groß")) -> tuple[Input, ...]:
    """The model's inputs, with what `encode` would have learned."""
    learned = {"größe €": levels, "model_config": CONFIGS}
    return tuple(
        Input(
            **{name: getattr(column, name) for name in ("name", "type", "minimum", "maximum", "missing", "categories")},
            levels=learned.get(column.name, ()),
            about=column.about,
        )
        for column in ours().inputs
    )


def problem() -> Problem:
    """What the manifest says of the problem."""
    return Problem.of(ours())


def knobs(**changes: dict[str, Any]) -> dict[str, Any]:
    """Knobs for the unit tests' problem, which take a moment, and the `changes` by block."""
    return KNOBS | {block: {**KNOBS.get(block, {}), **values} for block, values in changes.items()}


def write_knobs(folder: Path, knobs: Mapping[str, Any]) -> None:
    """The contract; the knobs in params.yaml and policies/evaluation.yaml, where each has to stand; the schemas."""
    measures = {name: knobs[name] for name in params.MEASURES}
    written = {"params.yaml": {name: knobs[name] for name in knobs.keys() - measures.keys()}}
    for name, blocks in {**written, str(params.EVALUATION): measures}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(blocks))
    shutil.copyfile(OURS, folder / "contract.yaml")
    shutil.copytree(ROOT / "policies" / "schemas", folder / "policies" / "schemas", dirs_exist_ok=True)


def write_policies(folder: Path) -> None:
    """The unit tests' policies, and the schemas."""
    shutil.copytree(POLICIES, folder / "policies", dirs_exist_ok=True)
    shutil.copytree(ROOT / "policies" / "schemas", folder / "policies" / "schemas", dirs_exist_ok=True)


def write_model(directory: Path, columns: tuple[Input, ...] | None = None, large: float = 220) -> model.Model:
    """The directory of a model that suspects large amounts; made without torch, which only Train installs."""
    columns = inputs() if columns is None else columns
    numbers = [column.name for column in columns if not column.text]
    kinds = {model.NUMBERS: (TensorProto.DOUBLE, len(numbers)), model.TEXTS: (TensorProto.STRING, None)}
    kinds = {name: kind for name, kind in kinds.items() if name == model.NUMBERS or len(numbers) < len(columns)}
    asked = [helper.make_tensor_value_info(name, kind, [count, "rows"]) for name, (kind, count) in kinds.items()]
    constants = [
        helper.make_tensor(name, TensorProto.DOUBLE, [], [value]) for name, value in (("at", large), ("by", 20))
    ]
    constants.append(helper.make_tensor("amount", TensorProto.INT64, [], [numbers.index("amount")]))
    nodes = [
        helper.make_node("Gather", [model.NUMBERS, "amount"], ["value"]),
        helper.make_node("Sub", ["value", "at"], ["over"]),
        helper.make_node("Div", ["over", "by"], ["steps"]),
        helper.make_node("Sigmoid", ["steps"], ["score"]),
        helper.make_node("GreaterOrEqual", ["steps", "half"], ["alert"]),
    ]
    constants.append(helper.make_tensor("half", TensorProto.DOUBLE, [], [0]))
    kept = {"score": TensorProto.DOUBLE, "alert": TensorProto.BOOL}
    outputs = [helper.make_tensor_value_info(name, kind, ["rows"]) for name, kind in kept.items()]
    graph = helper.make_graph(nodes, "large", asked, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=onnx.IR_VERSION_2023_5_5)
    files = {"model.onnx": made.SerializeToString()}
    about: dict[str, Any] = {"problem": problem(), "family": "linear", "processor": "any", "inputs": columns}
    model.write(directory, **about, outputs=list(kept), settled={"threshold": 0.5}, files=files)
    return model.load(directory)


def by_name(score: Callable[[Any], np.ndarray], columns: tuple[Input, ...] | None = None) -> model.Scorer:
    """A scorer that sees arrays [rows] by the columns' names, and says what a score and an alert are."""
    names = [column.name for column in model.ordered(inputs() if columns is None else columns)]

    def scorer(given: Mapping[str, np.ndarray]) -> model.Outputs:
        return said(score(dict(zip(names, (row for whole in given.values() for row in whole), strict=True))))

    return scorer


def said(score: np.ndarray) -> model.Outputs:
    """What a model of this problem says: the score, and an alert from a half on."""
    return {"score": score.astype(float), "alert": score >= 0.5}


def workspace(folder: Path, **changes: dict[str, Any]) -> Path:
    """A folder with the code, small knobs and a table of feature rows."""
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    write_knobs(folder, knobs(**changes))
    (folder / "data").mkdir()
    feature_rows().write_parquet(folder / "data" / "features.parquet")
    return folder
