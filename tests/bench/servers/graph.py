"""The model in the folder MODEL as any server would have it: onnxruntime, and pydantic types of its rows."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime import InferenceSession, SessionOptions
from pydantic import BaseModel, create_model

FOLDER = Path(os.environ["MODEL"])
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
ID = MANIFEST["problem"]["id"]
NAMES = [column["name"] for column in MANIFEST["inputs"]]
KINDS: dict[str, Any] = {"integer": int, "number": float, "boolean": bool}

options = SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
SESSION = InferenceSession(FOLDER / "model.onnx", options, providers=["CPUExecutionProvider"])

inputs: Any = {ID: (int, ...)} | {column["name"]: (KINDS[column["type"]], ...) for column in MANIFEST["inputs"]}
said: Any = {ID: (int, ...), "score": (float, ...), "alert": (bool, ...)}
Row = create_model("Row", **inputs)
Prediction = create_model("Prediction", **said)


class Request(BaseModel):
    rows: list[Row]  # type: ignore[valid-type]


class Answer(BaseModel):
    predictions: list[Prediction]  # type: ignore[valid-type]


def answer(rows: list[Any]) -> Answer:
    """The answer to rows."""
    numbers = np.array([[getattr(row, name) for name in NAMES] for row in rows], dtype=np.float64)
    score, alert = SESSION.run(None, {"_numbers": np.ascontiguousarray(numbers.T)})
    columns = zip(rows, score.tolist(), alert.tolist(), strict=True)
    return Answer(predictions=[Prediction(**{ID: getattr(r, ID)}, score=s, alert=a) for r, s, a in columns])
