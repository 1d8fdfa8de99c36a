"""contract.yaml: what a row is. Source, gate, features, training and page read it here, and nothing else says it.

What is asked of the service stands in the model's manifest, which `export` writes from it (`pipeline/model.py`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipeline import params
from pipeline.params import BadInput, Days
from pipeline.reading import SCHEMAS, finite, held, in_a_line, nearest, parsed, shown

CONTRACT = Path("contract.yaml")
SCHEMA = SCHEMAS / "contract.schema.json"
INPUTS = ("integer", "number", "boolean", "category", "time")
"""Types that a model may see: text identifies."""
UNDATED = "_time"
"""The time's name where the table has none: a delivery is whole, and replaces the last."""

Value = str | int | float | bool


class Noun(NamedTuple):
    """What people call a thing."""

    one: str
    many: str


@dataclass(frozen=True)
class Column:
    """A column of the source, or an input of the model."""

    name: str
    type: str  # integer, number, boolean, category, text or time
    minimum: float | None = None  # inclusive, as is the maximum
    maximum: float | None = None
    categories: tuple[str, ...] | None = None  # of a category: the closed list; None where levels are learned
    most: int = 10_000  # of a category: so many levels are learned, at most
    missing: bool = False  # whether a value may be missing
    input: bool = True  # whether the model sees it, where the contract has no `inputs`
    about: str = ""
    format: str | None = None  # of dates, how the table writes them that was adopted


@dataclass(frozen=True)
class Label:
    """What is predicted."""

    column: str
    delay: int  # days until it is known
    values: tuple[Value, ...] = ()  # that it may have, in the order of their codes; none where it is a number
    positive: Value | None = None  # the one of them that is looked for, where there is such a one
    unit: str | None = None  # of a number
    interval: float | None = None  # the share of labels that the interval of a number has to cover

    @classmethod
    def said(cls, said: Mapping[str, Any]) -> "Label":
        """The label of a block of contract.yaml."""
        ends = (said["negative"], said["positive"]) if "positive" in said else ()
        named = {name: said.get(name) for name in ("positive", "unit", "interval")}
        return cls(said["column"], said["delay"], tuple(said.get("classes", ends)), **named)


@dataclass(frozen=True)
class Contract:
    """contract.yaml, checked."""

    problem: str
    task: str
    row: Noun
    entities: Noun
    positives: Noun
    groups: Noun
    id: str
    time: str  # UNDATED where the table has none
    entity: str | None
    group: str | None  # whose rows are ranked among each other
    weight: str | None
    label: Label
    columns: tuple[Column, ...]  # of the source
    computed: tuple[Column, ...] | None  # the block `inputs`: what features.py makes

    @cached_property
    def inputs(self) -> tuple[Column, ...]:
        """The model's inputs, in order: what is computed, else the columns that say not who, when or what."""
        roles = {self.id, self.time, self.entity, self.group, self.weight, self.label.column}
        asked = (c for c in self.columns if c.name not in roles and c.input and c.type != "text")
        return self.computed if self.computed is not None else tuple(asked)

    @property
    def dated(self) -> bool:
        """Whether a row has its own time; else a delivery is whole, its day is its file's, and it replaces the last."""
        return self.time != UNDATED

    def days(self, knobs: Mapping[str, Any]) -> Days:
        """The protocol's days. Raises BadInput where the knobs are not those of such a table."""
        return (params.days if self.dated else params.delivery)(knobs, self.label.delay)

    def column(self, name: str) -> Column:
        """A column of the source."""
        return next(column for column in self.columns if column.name == name)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What makes a problem this one: with another identity it has to have another name."""
        return self.task, self.label.column, self.label.positive, self.label.unit, self.id


def leveled(column: Column, ours: Contract) -> bool:
    """Whether another unit of it would show: its values have a zero to measure from, and are nobody's number."""
    known = {ours.id, ours.entity, ours.group, *([ours.label.column] if ours.label.values else [])}
    counts = column.name not in known and (column.input or column.name == ours.label.column)
    kinds = ("number", "integer") if counts else ("number",)
    return column.type in kinds and column.minimum is not None and column.minimum >= 0


def load(path: Path | str = CONTRACT) -> Contract:
    """The contract, not held against its schema, which `python -m pipeline.dvc` and `make lint` do before a stage runs.

    Raises BadInput where it cannot be read.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        return of(parsed(text))
    except FileNotFoundError:
        raise BadInput(f"{path}: is not there, and has to say what a row is; restore it from git") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read ({in_a_line(error)}); mend it, or restore it from git") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return parse(text, str(path))  # says what is wrong


def check(path: Path | str = CONTRACT, schema: Path = SCHEMA) -> Contract:
    """The contract, held against its schema. Raises BadInput with all that is wrong with it, a line each."""
    path = Path(path)
    load(path)  # says where it cannot be read
    return parse(path.read_text(encoding="utf-8"), str(path), schema)


def parse(text: str, where: str = str(CONTRACT), schema: Path = SCHEMA) -> Contract:
    """The contract that a text says. Raises BadInput with all that is wrong with it, a line each."""
    try:
        said, found = held(text, schema, UNKNOWN)
        found = [in_words(problem) for problem in found] or list(contradictions(said))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{where}: cannot be read ({in_a_line(error)}); mend it, or restore it from git") from None
    if found:
        raise BadInput("\n".join(f"{where}: {problem}" for problem in found))
    return of(said)


UNKNOWN = "is nothing that a contract says"


def in_words(problem: str) -> str:
    """What the schema finds, with what to do, where a schema has no words for it."""
    if (typed := re.match(r"(?:columns|inputs)\..+\.type is '(\w+)'", problem)) and typed[1] in MEANT:
        return f"{problem}; did you mean `{MEANT[typed[1]]}`?"
    for begin, words in ADVICE.items():
        if problem.startswith(begin):
            return f"{problem.partition(';')[0] if ' is empty;' in problem else problem}; {words}"
    return problem


MEANT = {
    **dict.fromkeys(("int", "int64", "int32", "long"), "integer"),
    **dict.fromkeys(("float", "float64", "float32", "double", "decimal", "numeric"), "number"),
    **dict.fromkeys(("bool",), "boolean"),
    **dict.fromkeys(("categorical", "enum", "factor", "string", "str", "object"), "category"),
    **dict.fromkeys(("date", "datetime", "timestamp"), "time"),
    **dict.fromkeys(("uuid", "varchar"), "text"),
}
"""What other tools call the types."""


ADVICE = {
    "task is ": "write binary for one of two, multiclass for one of several, regression for a number",
    "time is ": "name the column that says when a row happened, or write null where a delivery replaces the last",
    "group is empty": "leave the line out where no rows are ranked among each other",
    "entity is empty": "leave the line out where rows belong to nobody",
    "weight is empty": "leave the line out where rows count the same",
    "label.delay is ": "write the days until a label is known, 0 for none",
}


def of(said: Mapping[str, Any]) -> Contract:
    """The contract of a file that its schema lets pass."""
    words = said["words"]
    return Contract(
        problem=said["problem"],
        task=said["task"],
        row=Noun(*words["row"]),
        entities=Noun(*words.get("entity", ("entity", "entities"))),
        positives=Noun(*words.get("positive", ("positive", "positives"))),
        groups=Noun(*words.get("group", ("group", "groups"))),
        id=said["id"],
        time=said["time"] or UNDATED,
        entity=said.get("entity"),
        group=said.get("group"),
        weight=said.get("weight"),
        label=Label.said(said["label"]),
        columns=columns(said["columns"]),
        computed=columns(said["inputs"]) if "inputs" in said else None,
    )


def columns(block: Mapping[str, Mapping[str, Any]]) -> tuple[Column, ...]:
    """The columns of a block, in its order."""
    return tuple(column(name, about) for name, about in block.items())


def column(name: str, said: Mapping[str, Any]) -> Column:
    """A column, as its block says it."""
    lowest, highest = said.get("range", (None, None))
    levels = said.get("categories", 10_000)
    return Column(
        name=name,
        type=said["type"],
        minimum=lowest,
        maximum=highest,
        categories=tuple(levels) if isinstance(levels, list) else None,
        most=len(levels) if isinstance(levels, list) else levels,
        missing=said.get("missing", False),
        input=said.get("input", True),
        about=said.get("about", ""),
        format=said.get("format"),
    )


def contradictions(said: Mapping[str, Any]) -> Iterator[str]:
    """What no schema can say: names that have to be columns, and values that have to be of their column's type."""
    known, label = said["columns"], said["label"]
    roles = {"id": said["id"], "time": said["time"], "label.column": label["column"]}
    roles = {role: name for role, name in roles.items() if name is not None}  # there may be no time
    roles |= {role: said[role] for role in ("entity", "group", "weight") if role in said}
    for role, name in roles.items():
        if name not in known:
            yield f"{role} is {name!r}, which is no column; {nearest(name, known)}"
    for first, second in combinations(roles, 2):
        if roles[first] == roles[second]:
            yield f"{first} and {second} are both {roles[first]!r}; name another column in one of them"
    if any(name not in known for name in roles.values()):
        return
    for role, types in {**TYPES, "label.column": CODED if coded(label) else NUMBERS}.items():
        if role in roles and (kind := known[roles[role]]["type"]) not in types:
            yield f"{role} is {roles[role]!r}, of type {kind}; it has to be of type {' or '.join(types)}"
    for role in ("id", "time", "entity", "group", "weight"):
        if role in roles and known[roles[role]].get("missing"):
            yield (
                f"columns.{roles[role]}.missing is true, but a row has to have its {role}; drop rows without, "
                "and take it out"
            )
    yield from of_label(label, known[label["column"]])
    for place in ("columns", "inputs"):
        for name, about in said.get(place, {}).items():
            yield from of_column(f"{place}.{name}", about)
    for name, about in said.get("inputs", {}).items():
        yield from of_input(name, about, {name: role for role, name in roles.items()})
    if not of(said).inputs:
        yield "there is nothing that a model could learn from; add columns, or take `input: false` from one"


CODED, NUMBERS = ("integer", "boolean", "category"), ("number", "integer")
TYPES = {
    "id": ("integer", "text"),
    "time": ("time",),
    "entity": ("integer", "text", "category"),
    "group": ("integer", "text", "category"),
    "weight": NUMBERS,
}


def coded(label: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a label may have, by their place in its block; none where it is a number."""
    classes = {f"label.classes.{at}": value for at, value in enumerate(label.get("classes", ()))}
    return classes | {f"label.{end}": label[end] for end in ("positive", "negative") if end in label}


def of_label(label: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[str]:
    """Values of the label that its column cannot hold."""
    kind, closed, values = about["type"], about.get("categories"), coded(label)
    python = {"integer": int, "boolean": bool, "category": str}.get(kind)
    for place, value in values.items():
        if python is not None and type(value) is not python:
            yield (
                f"{place} is {shown(value)}, and {label['column']} is of type {kind}; write {LIKE[kind]}, "
                "as the column holds it"
            )
        elif isinstance(closed, list) and value not in closed:
            yield f"{place} is {value!r}, no category of its column; {nearest(value, closed)}"
    for (first, value), (second, other) in combinations(values.items(), 2):
        if value == other:
            yield f"{first} and {second} are both {shown(value)}; change one of them"


LIKE = {"integer": "a whole number such as 1", "boolean": "true or false", "category": 'quoted text such as "Yes"'}


def of_column(place: str, about: Mapping[str, Any]) -> Iterator[str]:
    """What of a column does not go with its type."""
    kind = about["type"]
    if "range" in about and kind not in ("integer", "number"):
        yield f"{place}: has a range, which only type integer or number may have; take it out"
    if "categories" in about and kind != "category":
        yield f"{place}: has categories, which only type category may have; take them out"
    if "format" in about and kind != "time":
        yield f"{place}: has a format, which only type time may have; take it out"
    lowest, highest = about.get("range", (None, None))
    for end in (end for end in (lowest, highest) if end is not None and not finite(end)):
        yield f"{place}: range has {shown(end)}; write null where there is no limit"
    if lowest is not None and highest is not None and lowest > highest:
        yield f"{place}: range goes from {shown(lowest)} to {shown(highest)}; write the smaller one first"


def of_input(name: str, about: Mapping[str, Any], roles: Mapping[str, str]) -> Iterator[str]:
    """What of a computed input cannot be."""
    if about["type"] not in INPUTS:
        yield f"inputs.{name}.type is {about['type']}, which identifies; an input is {', '.join(INPUTS)}"
    if "input" in about:
        yield f"inputs.{name}.input: stands in `columns` alone; take it out"
    if name in roles:
        yield f"inputs.{name} is {roles[name]}, which a model learns nothing from, or may not know; take it out"
