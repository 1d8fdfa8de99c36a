"""The unit tests' problem as each task has it, and models of it that nobody trained: what is large is another class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import spox
import spox.opset.ai.onnx.v18 as op
import yaml

from pipeline import contract, encode, model, tasks
from pipeline.contract import Contract
from pipeline.model import Input, Model, Problem
from pipeline.tasks import Array
from tests.tables import OURS, ROOT

LABELS: Mapping[str, Mapping[str, Any]] = {
    "binary": {"column": "returned", "positive": "Yes", "negative": "No", "delay": 2},
    "multiclass": {"column": "returned", "classes": ["No", "Late", "Yes"], "delay": 2},
    "regression": {"column": "shoe size", "unit": "cm", "interval": 0.9, "delay": 2},
}
RAW: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {
    "binary": ([0.05], [-11]),
    "multiclass": ([0, 0.1, 0.2], [0, -10, -32]),
    "regression": ([0.02], [35]),
}
"""Of each task, what an amount counts, and what is added: raw."""
SETTLED: Mapping[str, Mapping[str, Array]] = {
    "binary": {"threshold": np.array(0.5)},
    "multiclass": {},
    "regression": {"edges": np.array([36.0, 38.0]), "below": np.array([1.0, 1, 2]), "above": np.array([1.0, 2, 4])},
}


def text(task: str) -> str:
    """contract.yaml, as the task has it."""
    said = yaml.safe_load(OURS.read_text()) | {"task": task, "label": LABELS[task]}
    if task != "binary":
        del said["words"]["positive"]
    if task == "regression":
        said["columns"]["returned"]["input"] = False
    return str(yaml.safe_dump(said, allow_unicode=True, sort_keys=False))


def ours(task: str) -> Contract:
    """The contract."""
    return contract.parse(text(task), "contract.yaml", ROOT / contract.SCHEMA)


def write_model(directory: Path, task: str, inputs: Sequence[Input], problem: Problem | None = None) -> Model:
    """The directory of a model that looks at amounts, in a graph with the task's own head; and the model."""
    problem, of = problem or Problem.of(ours(task)), tasks.task(task)
    place = [column.name for column in model.ordered(inputs)].index("amount")
    given = encode.asked(inputs)
    amount = op.unsqueeze(op.gather(given[model.NUMBERS], op.const(place)), op.const([1]))
    by, plus = (op.const(np.array(each, np.float64)) for each in RAW[task])
    made = spox.build(given, of.head(op.add(op.mul(amount, by), plus), SETTLED[task], problem))
    model.write(
        directory,
        problem=problem,
        family="linear",
        processor="any",
        inputs=inputs,
        outputs=list(of.OUTPUTS),
        settled={name: value.tolist() for name, value in SETTLED[task].items()},
        files={"model.onnx": made.SerializeToString()},
    )
    return model.load(directory)
