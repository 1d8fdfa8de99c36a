"""The stage `encode`: learns the levels of the categories, so that every family sees numbers; and the same as a graph.

A category becomes a code: 0 where it is missing, 1 for any level that was not learned (*other*), 2 and on for those
that were, the most frequent first. Numbers stay double precision, NaN where missing; a boolean is 0 or 1. What
features.py has as `derived` follows from them, in training and in the graph alike, to the last bit (`Number`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, model, params, rows
from pipeline.contract import Column, Contract
from pipeline.families import Matrix, Var
from pipeline.model import MISSING, NUMBERS, TEXTS, BadModel, Input
from pipeline.params import BadInput, run_stage

ENCODING = Path("build/encoding.json")
LEAST = 10  # rows of the training days: a level with fewer is *other*, so that *other* is learned too
MOSTLY = 0.5  # share of a category's rows: where more are *other*, that is said
OTHER, FIRST = 1, 2  # codes; 0 is missing

Derive = Callable[[Mapping[str, Any]], Mapping[str, Any]]


# --- learning it ---


def main() -> None:
    """Write the inputs with the levels of their categories, and the names of what is derived from them."""
    ours, knobs = contract.load(), params.load()
    table = rows.between(*ours.days(knobs).fit, ours)
    inputs = tuple(learned(column, table[column.name]) for column in ours.inputs)
    derive = derivation(ours, knobs.get("features") or {})
    said = {"inputs": [asdict(column) for column in inputs], "derived": derived_names(derive, ours)}
    ENCODING.parent.mkdir(exist_ok=True)
    ENCODING.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    levels = {column.name: len(column.levels) for column in inputs if column.text}
    print(f"{ENCODING}: {len(inputs)} inputs, {len(levels)} of them categories, with {sum(levels.values())} levels")
    for column in (column for column in inputs if column.text):
        for sentence in unlearned(column, table[column.name], ours.computed is not None):
            print(sentence)


def learned(column: Column, values: pl.Series) -> Input:
    """An input, with the levels that its column has in the training rows."""
    return Input(
        name=column.name,
        type=column.type,
        minimum=column.minimum,
        maximum=column.maximum,
        missing=column.missing,
        categories=column.categories,
        levels=levels(values, column.most) if column.type == "category" else (),
        about=column.about,
    )


def levels(values: pl.Series, most: int) -> tuple[str, ...]:
    """The texts with at least LEAST rows, `most` of them: by how frequent they are, then by name."""
    known = counted(values).filter(pl.col("rows") >= LEAST)
    return tuple(known.sort("rows", "level", descending=[True, False])["level"].head(most))


def counted(values: pl.Series) -> pl.DataFrame:
    """The texts, `level`, each with how many `rows` have it."""
    counts = values.drop_nulls().alias("level").value_counts(name="rows")
    return counts.filter(~pl.col("level").is_in(["", MISSING]))


def unlearned(column: Input, values: pl.Series, computed: bool) -> Iterator[str]:
    """A sentence where most rows of a category are *other*, as few of its levels were learned, and what to do."""
    counts = counted(values)
    frequent = int((counts["rows"] >= LEAST).sum())
    lost = counts.filter(~pl.col("level").is_in(column.levels))
    other = int(lost["rows"].sum()) / max(int(counts["rows"].sum()), 1)
    if other <= MOSTLY:
        return
    found = f"{column.name}: {frequent:,} of its {len(counts):,} levels have {LEAST} training rows or more"
    cut = f", {len(column.levels):,} of which `categories` lets be learned" * (frequent > len(column.levels))
    more = "allow more `categories`, " * bool(cut)
    keep = "take it out of `inputs` in contract.yaml" if computed else "write `input: false` in contract.yaml"
    yield (
        f"{found}{cut}; {100 * other:.3g}% of the rows with a value are *other*, which are all the same to a model: "
        f"{more}group rare values, or {keep}"
    )


def derivation(ours: Contract, knobs: Mapping[str, Any]) -> Derive:
    """What pipeline/features.py derives from a row; nothing where the contract computes no inputs."""
    derived = getattr(rows.features(), "derived", None) if ours.computed is not None else None
    return (lambda row: derived(row, knobs)) if derived else lambda _: {}


def derived_names(derive: Derive, ours: Contract) -> list[str]:
    """The names of what is derived, tried on a row of ones. Raises BadInput for one that an input has."""
    names = list(derive({c.name: Number(np.ones(1), Numpy) for c in ours.inputs if c.type != "category"}))
    if taken := [name for name in names if name in {column.name for column in ours.inputs}]:
        raise BadInput(f"pipeline/features.py: `derived` gives `{taken[0]}`, which is an input; give it another name")
    return names


# --- using it ---


@dataclass(frozen=True)
class Encoding:
    """How the rows of a contract become numbers: those that are, then the categories, then what is derived."""

    inputs: tuple[Input, ...]
    derive: Derive  # takes and gives Numbers by name
    derived: tuple[str, ...] = ()  # the names of what it gives

    @property
    def ordered(self) -> tuple[Input, ...]:
        """The inputs, as the matrix has them."""
        return model.ordered(self.inputs)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the matrix's columns."""
        return (*(column.name for column in self.ordered), *self.derived)

    @property
    def categories(self) -> dict[int, int]:
        """Column of the matrix: number of its codes."""
        return {at: FIRST + len(column.levels) for at, column in enumerate(self.ordered) if column.text}

    def matrix(self, table: pl.DataFrame) -> Matrix:
        """The table's rows, as every family sees them."""
        columns = {column.name: encoded(column, table[column.name]) for column in self.ordered}
        with np.errstate(all="ignore"):  # of rows that are missing, or contradict themselves
            whole = [*columns.values(), *self.further(columns, Numpy, None)]
        values = np.empty((len(table), len(whole)))
        for at, column in enumerate(whole):
            values[:, at] = column
        return Matrix(values, self.names, self.categories)

    def graph(self, given: Mapping[str, Var]) -> Var:
        """The same as a graph: of what `asked` makes, a double tensor [rows, columns].

        A row alone pays for every node: numbers are taken apart for what is derived alone.
        """
        import spox.opset.ai.onnx.v18 as op

        numbers = [column.name for column in self.inputs if not column.text]
        texts = [column for column in self.inputs if column.text]
        below = [given[NUMBERS]] if numbers else []
        below += [coded(column, row) for column, row in zip(texts, apart(given, TEXTS), strict=True)]
        below += self.further(dict(zip(numbers, apart(given, NUMBERS), strict=True)), onnx_arithmetic(), {})
        return op.transpose(op.concat(below, axis=0) if len(below) > 1 else below[0], perm=[1, 0])

    def further(self, columns: Mapping[str, Any], arithmetic: Any, shared: dict[Any, Any] | None) -> list[Any]:
        """What is derived from the columns that are numbers."""
        numbers = {c.name: Number(columns[c.name], arithmetic, shared) for c in self.inputs if not c.text}
        derived = self.derive(numbers)
        if tuple(derived) != self.derived:
            raise BadInput("pipeline/features.py: `derived` gives other names than it did; run `make model`")
        return [as_number(name, derived[name], arithmetic) for name in self.derived]


def load() -> Encoding:
    """What the stage `encode` has learned. Raises BadInput where it is not there, or is not as that stage writes it."""
    try:
        said = json.loads(ENCODING.read_text())
        inputs, derived = tuple(model.input_of(column) for column in said["inputs"]), tuple(said["derived"])
    except (OSError, ValueError, KeyError, TypeError, BadModel) as error:
        raise BadInput(f"{ENCODING} is nothing of the stage `encode` ({error!r}); run `make model`") from None
    if not derived:
        return Encoding(inputs, lambda _: {})
    return Encoding(inputs, derivation(contract.load(), params.load().get("features") or {}), derived)


def asked(inputs: Sequence[Input]) -> dict[str, Var]:
    """What the graph of a model is asked with: NUMBERS double and TEXTS string, [columns, rows], those that it has."""
    from spox import Tensor, argument

    counts = {NUMBERS: (np.float64, False), TEXTS: (np.str_, True)}
    found = {name: (kind, sum(column.text == text for column in inputs)) for name, (kind, text) in counts.items()}
    return {name: argument(Tensor(kind, (count, "rows"))) for name, (kind, count) in found.items() if count}


def apart(given: Mapping[str, Var], name: str) -> Sequence[Var]:
    """The rows of an input of the graph, each [1, rows]; none where it has no such input."""
    import spox.opset.ai.onnx.v18 as op

    if name not in given:
        return []
    count = given[name].unwrap_tensor().shape[0]
    return op.split(given[name], num_outputs=count, axis=0) if count > 1 else [given[name]]


def encoded(column: Input, values: pl.Series) -> np.ndarray:
    """A column's numbers, float64 [rows]."""
    if not column.text:
        return values.cast(pl.Float64).to_numpy()
    codes = {level: float(code) for code, level in enumerate(column.levels, start=FIRST)}
    codes |= {"": 0.0, MISSING: 0.0}
    found = values.fill_null(MISSING).replace_strict(codes, default=float(OTHER), return_dtype=pl.Float64)
    return found.to_numpy()


def coded(column: Input, values: Var) -> Var:
    """The same of a category, as a graph's string tensor."""
    import spox.opset.ai.onnx.ml.v4 as ml

    return ml.label_encoder(
        values,
        keys_tensor=np.array([MISSING, "", *column.levels], dtype=object),
        values_tensor=np.array([0, 0, *range(FIRST, FIRST + len(column.levels))], dtype=np.float64),
        default_tensor=np.array([OTHER], dtype=np.float64),
    )


# --- what derived computes with ---


class Number:
    """A column of numbers, or of truths, that knows arithmetic and comparisons.

    One class for arrays and for graphs, so that both do the same: a truth counts as 0 or 1, and whatever is missing, as
    NaN, makes what follows from it missing and every comparison false. What numpy or ONNX alone can do, neither does.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any, arithmetic: Any, shared: dict[Any, Any] | None = None, truth: bool = False) -> None:
        self.value, self.truth = value, truth
        self.arithmetic = arithmetic
        self.shared = shared  # of a graph: what was computed already, by operation and operands

    def number(self) -> Any:
        """As doubles."""
        return self.once("as_double", self.value) if self.truth else self.value

    def once(self, operation: str, *operands: Any) -> Any:
        """The result of an operation; in a graph, a column that two others need is one node."""
        if self.shared is None:  # arrays would all stay in memory
            return getattr(self.arithmetic, operation)(*operands)
        key = (operation, *(value if isinstance(value, float) else id(value) for value in operands))
        if key not in self.shared:  # with its operands, as their ids may belong to others once they are gone
            self.shared[key] = (getattr(self.arithmetic, operation)(*operands), operands)
        return self.shared[key][0]

    def with_(self, operation: str, other: Any, turned: bool = False, truth: bool = False) -> "Number":
        """The result of an operation on two numbers."""
        if not isinstance(other, Number | int | float):
            return NotImplemented
        pair = (self.number(), other.number() if isinstance(other, Number) else float(other))
        return Number(self.once(operation, *(pair[::-1] if turned else pair)), self.arithmetic, self.shared, truth)

    def both(self, operation: str, other: Any) -> "Number":
        """The result of an operation on two truths."""
        if not (isinstance(other, Number) and self.truth and other.truth):
            return NotImplemented
        return Number(self.once(operation, self.value, other.value), self.arithmetic, self.shared, truth=True)

    def __add__(self, other: Any) -> "Number":
        return self.with_("add", other)

    def __sub__(self, other: Any) -> "Number":
        return self.with_("subtract", other)

    def __mul__(self, other: Any) -> "Number":
        return self.with_("multiply", other)

    def __truediv__(self, other: Any) -> "Number":
        return self.with_("divide", other)

    def __radd__(self, other: Any) -> "Number":
        return self.with_("add", other, turned=True)

    def __rsub__(self, other: Any) -> "Number":
        return self.with_("subtract", other, turned=True)

    def __rmul__(self, other: Any) -> "Number":
        return self.with_("multiply", other, turned=True)

    def __rtruediv__(self, other: Any) -> "Number":
        return self.with_("divide", other, turned=True)

    def __neg__(self) -> "Number":
        return Number(self.once("negative", self.number()), self.arithmetic, self.shared)

    def __abs__(self) -> "Number":
        return Number(self.once("absolute", self.number()), self.arithmetic, self.shared)

    def __gt__(self, other: Any) -> "Number":
        return self.with_("greater", other, truth=True)

    def __ge__(self, other: Any) -> "Number":
        return self.with_("greater_equal", other, truth=True)

    def __lt__(self, other: Any) -> "Number":
        return self.with_("less", other, truth=True)

    def __le__(self, other: Any) -> "Number":
        return self.with_("less_equal", other, truth=True)

    def __eq__(self, other: Any) -> "Number":  # type: ignore[override]
        return self.with_("equal", other, truth=True)

    def __ne__(self, other: Any) -> "Number":  # type: ignore[override]
        return ~self.with_("equal", other, truth=True)

    def __and__(self, other: Any) -> "Number":
        return self.both("logical_and", other)

    def __or__(self, other: Any) -> "Number":
        return self.both("logical_or", other)

    def __invert__(self) -> "Number":
        if not self.truth:
            raise TypeError("~ is for comparisons, such as ~(row['a'] > 0)")
        return Number(self.once("logical_not", self.value), self.arithmetic, self.shared, truth=True)

    def __bool__(self) -> bool:
        raise TypeError("a column is neither true nor false: multiply by the comparison, or join two by & and |")


class Numpy:
    """The arithmetic of arrays."""

    add, subtract, multiply, divide = np.add, np.subtract, np.multiply, np.divide
    negative, absolute = np.negative, np.absolute
    greater, greater_equal, less, less_equal, equal = np.greater, np.greater_equal, np.less, np.less_equal, np.equal
    logical_and, logical_or, logical_not = np.logical_and, np.logical_or, np.logical_not

    @staticmethod
    def as_double(truth: Any) -> Any:
        return np.asarray(truth, dtype=np.float64)


def onnx_arithmetic() -> Any:
    """The same arithmetic, of graphs."""
    import spox.opset.ai.onnx.v18 as op

    def constant(value: Any) -> Any:
        return op.const(np.float64(value)) if isinstance(value, float) else value

    nodes: dict[str, Callable[..., Any]] = {
        **{"add": op.add, "subtract": op.sub, "multiply": op.mul, "divide": op.div},
        **{"negative": op.neg, "absolute": op.abs, "as_double": partial(op.cast, to=np.float64)},
        **{"greater": op.greater, "greater_equal": op.greater_or_equal, "equal": op.equal},
        **{"less": op.less, "less_equal": op.less_or_equal},
        **{"logical_and": op.and_, "logical_or": op.or_, "logical_not": op.not_},
    }
    return SimpleNamespace(**{name: partial(node, make, constant) for name, make in nodes.items()})


def node(make: Callable[..., Any], constant: Callable[[Any], Any], *operands: Any) -> Any:
    """A node of these operands, of which one may be a number."""
    return make(*map(constant, operands))


def as_number(name: str, value: Any, arithmetic: Any) -> Any:
    """What `derived` gave under a name, as doubles. Raises BadInput for what does not follow from the row."""
    if not isinstance(value, Number):
        raise BadInput(
            f"pipeline/features.py: `derived` gives {type(value).__name__} as `{name}`; it has to follow from the row "
            "by + - * / and comparisons alone, which the model's graph knows too"
        )
    return value.number()


if __name__ == "__main__":
    run_stage(main)
