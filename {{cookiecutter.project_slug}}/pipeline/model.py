"""The model directory: what training hands over, and what evaluation, service and monitor load.

    manifest.json   the problem, the runtime, the inputs with their levels, the sha256 of each file
    model.onnx      the files of that runtime

The manifest says all that service, log, drift and explanations need of a row: production may hold another problem than
the tree does. The digest of a model is the sha256 of its manifest, which covers every other byte. No pickle is ever
loaded. Another runtime is another function in RUNTIMES.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

MANIFEST = "manifest.json"
LARGEST_MANIFEST = 64 * 2**20  # bytes: hundreds of categories of thousands of levels
FORMAT = 3
NUMBERS, TEXTS = "_numbers", "_texts"  # of the graph: its inputs, as one a column would cost more than the model
MISSING = "\0"  # what stands for a missing text in the graph: onnxruntime takes None for the text "None"
MAX_ROWS = 1_000  # of a request: a few milliseconds, in which nobody else is answered
LARGEST = 2**63 - 1  # for a column that names no range: an int64, and far from where sums become infinite
LONGEST = 1_000  # characters of a text, unless the model has learned a longer one
SINCE = datetime(2000, 1, 1, tzinfo=UTC)  # an event before it has a clock that is wrong
AHEAD = timedelta(days=1)  # that an event's clock may be: time zones, and no more
ROWS = 10_000  # scored at once: what a graph needs on its way grows with them

Outputs = Mapping[str, np.ndarray]
"""What a model says of rows, by the graph's outputs, which its task names: [rows], or [rows, classes]."""
Scorer = Callable[[Mapping[str, np.ndarray]], Outputs]
"""Takes NUMBERS float64 [columns, rows] and TEXTS objects [columns, rows], each where there are such inputs, in their
order."""


Value = str | int | bool
"""One that a label may have."""


class BadModel(ValueError):
    """A sentence that says what is wrong with a model, or with a table that it was given."""


@dataclass(frozen=True)
class Input:
    """An input: what the service asks for, and what the log and the reference hold of it."""

    name: str
    type: str  # integer, number, boolean, category or time
    minimum: float | None = None  # inclusive, as is the maximum
    maximum: float | None = None
    missing: bool = False  # whether it may be
    categories: tuple[str, ...] | None = None  # of a category: the closed list; None where any text is taken
    levels: tuple[str, ...] = ()  # of a category: those that it has learned, in the order of their codes, from 2 on
    about: str = ""

    @property
    def text(self) -> bool:
        """Whether its values are texts; else they are numbers: a boolean 0 or 1, a time the days before the row's."""
        return self.type == "category"

    @property
    def lowest(self) -> float:
        """The least that a number may be."""
        return -LARGEST if self.minimum is None else self.minimum

    @property
    def highest(self) -> float:
        """The most."""
        return LARGEST if self.maximum is None else self.maximum

    @property
    def longest(self) -> int:
        """The characters that a text may have."""
        return max([LONGEST, *map(len, self.levels)])


@dataclass(frozen=True)
class Problem:
    """What the model predicts, and of which rows: what of the contract goes with it."""

    name: str
    task: str
    id: str
    id_type: str  # integer or text
    time: str | None  # None where a row has none of its own
    label: str  # its column
    delay: int  # days until a label is known
    values: tuple[Value, ...] = ()  # that the label may have, in the order of their codes; none where it is a number
    positive: Value | None = None  # the one of them that is looked for, where there is such a one
    unit: str | None = None  # of a number
    lowest: float | None = None  # a number's range, inclusive
    highest: float | None = None
    interval: float | None = None  # the share of labels that an interval has to cover

    @classmethod
    def of(cls, ours: Any) -> "Problem":
        """That of a contract, which nothing here imports, as no service has one."""
        label = ours.label
        return cls(
            name=ours.problem,
            task=ours.task,
            id=ours.id,
            id_type=ours.column(ours.id).type,
            time=ours.time if ours.dated else None,
            label=label.column,
            delay=label.delay,
            values=label.values,
            positive=label.positive,
            unit=label.unit,
            lowest=ours.column(label.column).minimum,
            highest=ours.column(label.column).maximum,
            interval=label.interval,
        )

    @classmethod
    def said(cls, manifest: Mapping[str, Any]) -> "Problem":
        """That of a manifest. Raises TypeError and KeyError where it is none."""
        return cls(**{**manifest, "values": tuple(manifest["values"])})

    @property
    def identity(self) -> tuple[Any, ...]:
        """What makes the problem this one, as `Contract.identity`."""
        return self.task, self.label, self.positive, self.unit, self.id


@dataclass(frozen=True)
class Model:
    """A loaded model."""

    problem: Problem
    family: str
    inputs: tuple[Input, ...]
    digest: str  # "sha256:..."
    scorer: Scorer
    settled: Mapping[str, Any] = field(default_factory=dict)  # what it decides by, in numbers, for people

    def predict(self, table: Any) -> Outputs:
        """What it says of the rows of `table`, a mapping of column name to values: a polars or pandas frame, or a dict.

        Further columns are ignored. Raises BadModel for a missing column, and for values of another type.
        """
        missing = [column.name for column in self.inputs if column.name not in table]
        if missing:
            raise BadModel(f"the table lacks {', '.join(missing)}; the model's inputs are its manifest's `inputs`")
        columns = [table[name] for name in self.names]
        rows = height(self.ordered, columns)
        if rows <= ROWS:
            return self.scorer(packed(self.ordered, columns))
        parts = [self.scorer(packed(self.ordered, cut(columns, at))) for at in range(0, rows, ROWS)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def given(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Rows whose values are of their inputs' types, None where missing, as the graph takes them.

        Of a request, whose types were checked: what `predict` makes of any table, for a tenth of the time.
        """
        numbers, texts = self.by_kind
        whole = {}
        if numbers:
            values = np.array([[row[name] for name in numbers] for row in rows], dtype=np.float64)  # None becomes NaN
            whole[NUMBERS] = np.ascontiguousarray(values.T)
        if texts:
            words = [[MISSING if row[name] is None else row[name] for name in texts] for row in rows]
            whole[TEXTS] = np.ascontiguousarray(np.array(words, dtype=np.object_).T)
        return whole

    @cached_property
    def ordered(self) -> tuple[Input, ...]:
        """The inputs in the graph's order."""
        return ordered(self.inputs)

    @cached_property
    def by_kind(self) -> tuple[Sequence[str], Sequence[str]]:
        """The names of the numbers, and of the texts."""
        count = sum(not column.text for column in self.inputs)
        return self.names[:count], self.names[count:]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(column.name for column in self.ordered)


# --- what the graph is given ---


def ordered(inputs: Sequence[Input]) -> tuple[Input, ...]:
    """The numbers, then the texts, each in the order of the manifest: so the graph takes them, and every family."""
    return tuple(sorted(inputs, key=lambda column: column.text))


def height(inputs: Sequence[Input], columns: Sequence[Any]) -> int:
    """The number of rows. Raises BadModel where columns differ in it."""
    try:
        lengths = list(map(len, columns))
    except TypeError:  # of what is no column, which `fed` says
        lengths = [len(fed(column, values)) for column, values in zip(inputs, columns, strict=True)]
    if len(set(lengths)) > 1:
        at = next(at for at, length in enumerate(lengths) if length != lengths[0])
        raise BadModel(
            f"{inputs[0].name} has {lengths[0]} rows and {inputs[at].name} {lengths[at]}; give every column as many"
        )
    return lengths[0]


def cut(columns: Sequence[Any], at: int) -> list[Any]:
    """ROWS rows of each column, from one on."""
    return [getattr(values, "iloc", values)[at : at + ROWS] for values in columns]


def packed(inputs: Sequence[Input], columns: Sequence[Any]) -> dict[str, np.ndarray]:
    """Columns in the graph's order as it takes them, NaN and MISSING where missing. Raises BadModel, as `fed`."""
    count = sum(not column.text for column in inputs)
    whole = {}
    if count:
        whole[NUMBERS] = stacked(inputs[:count], columns[:count], PLAIN, np.float64)
    if count < len(inputs):
        whole[TEXTS] = stacked(inputs[count:], columns[count:], PLAIN_TEXT, np.object_)
    return whole


def stacked(inputs: Sequence[Input], columns: Sequence[Any], plain: frozenset[type], kind: Any) -> np.ndarray:
    """Columns of one kind, [columns, rows]: where they are lists of nothing but `plain`, as in a request, at once."""
    if ONLY_LISTS.issuperset(map(type, columns)) and plain.issuperset(map(type, chain.from_iterable(columns))):
        if len(columns[0]) == 1:  # numpy is slow to look into lists of lists
            return np.array([value for (value,) in columns], dtype=kind)[:, None]
        return np.array(columns, dtype=kind)  # None becomes NaN
    return np.stack([fed(column, values) for column, values in zip(inputs, columns, strict=True)])


ONLY_LISTS = {list}
PLAIN: frozenset[type] = frozenset({float, int, bool, type(None)})
PLAIN_TEXT: frozenset[type] = frozenset({str})


def fed(column: Input, values: Any) -> np.ndarray:
    """A column as the graph takes it: float64 [rows], NaN where missing; of a category objects, MISSING where missing.

    Raises BadModel where it holds something else.
    """
    try:
        return texts(values) if column.text else numbers(values)
    except (TypeError, ValueError) as error:
        raise BadModel(f"{column.name} holds what is no {column.type}: {error}") from None


def texts(values: Any) -> np.ndarray:
    """Texts as objects. Raises TypeError."""
    if str(getattr(values, "dtype", "")) == "String":  # of polars, whose own loop takes half as long
        return np.asarray(values.fill_null(MISSING).to_numpy(), dtype=object)
    return np.array([value if type(value) is str else _text(value) for value in values], dtype=object)


def _text(value: Any) -> str:
    """MISSING for None and for what pandas has in its place."""
    if isinstance(value, str):
        return str(value)
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return MISSING
    raise TypeError(f"{value!r} is no text")


def numbers(values: Any) -> np.ndarray:
    """Numbers and booleans as float64. Raises TypeError, also for texts that could be read as numbers."""
    if type(values) is list and PLAIN.issuperset(map(type, values)):
        return np.array(values, dtype=np.float64)  # None becomes NaN
    if hasattr(values, "null_count"):  # of polars, where casting would read texts
        if values.dtype.is_numeric() or str(values.dtype) in ("Boolean", "Null"):
            return values.cast(float).to_numpy()  # null becomes NaN
        raise TypeError(f"it is of type {values.dtype}")
    if hasattr(values, "iloc"):  # of pandas, whose NA is no number to numpy
        values = values.to_numpy(dtype=object, na_value=None) if values.hasnans else values.to_numpy()
    array = np.asarray(values)
    known = int | float | np.number | None
    strange = [] if array.dtype.kind in "fiub" else [value for value in array.tolist() if not isinstance(value, known)]
    if strange or array.ndim != 1:
        raise TypeError(f"{(strange or [values])[0]!r} is no number")
    return array.astype(np.float64, copy=False)


# --- the directory ---


def write(
    directory: Path | str,
    *,
    problem: Problem,
    family: str,
    processor: str,
    inputs: Sequence[Input],
    outputs: Sequence[str],
    settled: Mapping[str, Any],
    files: Mapping[str, bytes],
    runtime: str = "onnx",
) -> str:
    """Write a model directory in the place of what was there, and return its digest.

    `processor` is the family of processors that it was fitted on: others fit other last digits to the same rows.
    `settled` says people what the graph decides by: numbers, and lists of them, by name.
    The new directory is made beside the old one and renamed: nobody sees half of it. Raises BadModel where the inputs
    say more than anybody takes.
    """
    directory = Path(directory)
    manifest = {
        "format": FORMAT,
        "runtime": runtime,
        "family": family,
        "processor": processor,
        "problem": asdict(problem),
        "inputs": [asdict(column) for column in inputs],
        "outputs": list(outputs),
        "settled": dict(settled),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    text = (json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    if len(text) > LARGEST_MANIFEST:
        widest = max(inputs, key=lambda column: len(str((column.categories, column.levels))))
        raise BadModel(
            f"{directory / MANIFEST} would have {len(text):,} bytes, and {LARGEST_MANIFEST:,} are taken; learn fewer "
            f"levels, or shorter ones: those of {widest.name} take most (its `categories` in contract.yaml)"
        )
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
        version, runtime = manifest["format"], manifest["runtime"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadModel(f"{directory / MANIFEST} is no manifest of a model ({error!r}); run the export stage") from None
    if version != FORMAT or runtime not in RUNTIMES:
        raise BadModel(
            f"{directory / MANIFEST} asks for format {version!r}, runtime {runtime!r}; "
            f"this code reads format {FORMAT}, runtimes {', '.join(RUNTIMES)}"
        )
    try:
        hashes, family = manifest["files"].items(), str(manifest["family"])
        problem, outputs = Problem.said(manifest["problem"]), tuple(map(str, manifest["outputs"]))
        inputs, settled = tuple(input_of(column) for column in manifest["inputs"]), dict(manifest["settled"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadModel(f"{directory / MANIFEST} is no manifest of a model ({error!r}); run the export stage") from None
    files = {name: _checked(directory, name, expected) for name, expected in hashes}
    return Model(problem, family, inputs, _digest(text), RUNTIMES[runtime](files, outputs, threads), settled)


def input_of(said: Mapping[str, Any]) -> Input:
    """An input, as a manifest says it. Raises TypeError and KeyError where it is none."""
    lists = {name: said[name] and tuple(said[name]) for name in ("categories", "levels")}
    return Input(**{**said, **lists, "levels": lists["levels"] or ()})


FURTHER_FILES = "session.model_external_initializers_file_folder_path"


def onnx(files: Mapping[str, bytes], outputs: Sequence[str], threads: int) -> Scorer:
    """A graph that takes what a Scorer does, double and string, and gives these outputs, run by onnxruntime."""
    import onnxruntime

    if "model.onnx" not in files:
        raise BadModel("the manifest lacks model.onnx, the file of the runtime 'onnx'; run the export stage")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    options.add_session_config_entry(FURTHER_FILES, os.devnull)  # what a graph reads besides, no digest covers
    try:
        session = onnxruntime.InferenceSession(files["model.onnx"], options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base but this one
        raise BadModel(f"model.onnx cannot be loaded: {error!r}") from None
    if other := {value.name for value in session.get_inputs()} - {NUMBERS, TEXTS}:
        raise BadModel(f"model.onnx takes {min(other)}, not {NUMBERS} and {TEXTS}; run the export stage")
    if lost := set(outputs) - {value.name for value in session.get_outputs()}:
        raise BadModel(f"model.onnx gives no {min(lost)}, which its manifest names; run the export stage")
    return lambda given: dict(zip(outputs, session.run(outputs, given), strict=True))


RUNTIMES: dict[str, Callable[[Mapping[str, bytes], Sequence[str], int], Scorer]] = {"onnx": onnx}


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
