"""The model directory: what training hands over, and what evaluation, service and monitor load.

    manifest.json   the runtime, the input columns, the sha256 of each file
    model.onnx      the files of that runtime

The digest of a model is the sha256 of its manifest, which covers every other byte. No pickle is ever loaded.
Another runtime is another function in RUNTIMES.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.schema import Column

MANIFEST = "manifest.json"
FORMAT = 1
OUTPUT = "score"  # the probability that the label is 1

Scorer = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Takes one float32 array [rows] a column, returns float scores [rows]."""


class BadModel(ValueError):
    """A sentence that says what is wrong with a model, or with a table that it was given."""


@dataclass(frozen=True)
class Model:
    """A loaded model."""

    inputs: tuple[Column, ...]
    digest: str  # "sha256:..."
    scorer: Scorer

    def predict(self, table: Any) -> np.ndarray:
        """Scores of the rows of `table`, a mapping of column name to values: a polars or pandas frame, or a dict.

        Returns float64 [rows], between 0 and 1; further columns are ignored. Raises BadModel for a missing column.
        """
        missing = [column.name for column in self.inputs if column.name not in table]
        if missing:
            raise BadModel(f"the table lacks {', '.join(missing)}; the model's inputs are its manifest's `inputs`")
        columns = {column.name: np.asarray(table[column.name], dtype=np.float32) for column in self.inputs}
        return self.scorer(columns).astype(np.float64)


def write(directory: Path | str, *, runtime: str, inputs: Sequence[Column], files: Mapping[str, bytes]) -> str:
    """Write a model directory in the place of what was there, and return its digest.

    The new directory is made beside the old one and renamed: nobody sees half of it.
    """
    directory = Path(directory)
    manifest = {
        "format": FORMAT,
        "runtime": runtime,
        "inputs": [asdict(column) for column in inputs],
        "output": OUTPUT,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    text = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    temporary.chmod(0o755)
    for name, content in {**files, MANIFEST: text}.items():
        (temporary / name).write_bytes(content)
    shutil.rmtree(directory, ignore_errors=True)
    os.replace(temporary, directory)
    return _digest(text)


def load(directory: Path | str, threads: int = 1) -> Model:
    """Load a model, after every byte was checked against its manifest.

    `threads` is for one call of predict: one suits a service of small requests, more suit a large table.
    Raises BadModel where a file is missing or altered, or the runtime is unknown.
    """
    directory = Path(directory)
    text = _read(directory / MANIFEST)
    try:
        manifest = json.loads(text)
        version, runtime, hashes = manifest["format"], manifest["runtime"], manifest["files"].items()
        inputs = tuple(Column(**column) for column in manifest["inputs"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadModel(f"{directory / MANIFEST} is no manifest of a model ({error!r}); run the export stage") from None
    if version != FORMAT or runtime not in RUNTIMES:
        raise BadModel(
            f"{directory / MANIFEST} asks for format {version!r}, runtime {runtime!r}; "
            f"this code reads format {FORMAT}, runtimes {', '.join(RUNTIMES)}"
        )
    files = {name: _checked(directory, name, expected) for name, expected in hashes}
    return Model(inputs, _digest(text), RUNTIMES[runtime](files, threads))


def onnx(files: Mapping[str, bytes], threads: int) -> Scorer:
    """A graph with one float32 input [batch] a column and the output `score` [batch], run by onnxruntime."""
    import onnxruntime

    if "model.onnx" not in files:
        raise BadModel("the manifest lacks model.onnx, the file of the runtime 'onnx'; run the export stage")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(files["model.onnx"], options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base but this one
        raise BadModel(f"model.onnx cannot be loaded: {error!r}") from None
    return lambda columns: session.run([OUTPUT], columns)[0]


RUNTIMES: dict[str, Callable[[Mapping[str, bytes], int], Scorer]] = {"onnx": onnx}


def _checked(directory: Path, name: str, expected: str) -> bytes:
    """A file of the model. Raises BadModel where it is not what the manifest says."""
    if Path(name).name != name:
        raise BadModel(f"{directory / MANIFEST} names {name!r}; a model's files lie beside its manifest")
    content = _read(directory / name)
    if hashlib.sha256(content).hexdigest() != expected:
        raise BadModel(f"{directory / name} is not the file that the manifest describes; restore or export the model")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadModel(f"{path} cannot be read ({error.strerror}); make it with `make model`") from None


def _digest(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"
