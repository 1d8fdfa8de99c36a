"""Files that people write: YAML without its traps, held against a JSON Schema, and what is wrong in a sentence each."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from jsonschema import ValidationError

SCHEMAS = Path("policies/schemas")
UNKNOWN = "is no bar here"
"""What is said of a key that a policy's schema does not know."""

# --- YAML ---


class Once(yaml.SafeLoader):
    """YAML whose keys stand once in their block: of two, one would count unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Raises ConstructorError."""
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                twice, there = f"`{key.value}` stands twice", key.start_mark
                raise yaml.constructor.ConstructorError(problem=twice, problem_mark=there)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Raises ConstructorError for what PyYAML stumbles over: a date that is none, numbers of too many digits."""
        try:
            made = super().construct_object(node, deep)
            if isinstance(made, int):
                str(made)  # a hexadecimal one may have more digits than Python writes
            return made
        except (ValueError, ArithmeticError, LookupError, AttributeError) as error:
            said = f"not what it looks like to YAML ({in_a_line(error)[:100]}); quote it"
            raise yaml.constructor.ConstructorError(problem=said, problem_mark=node.start_mark) from None


class Aliased(yaml.YAMLError):
    """A file names a part of itself."""


class Plain(Once):
    """YAML without aliases, ten lines of which stand for more than fits into memory, and halves of characters."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Raises Aliased."""
        if self.check_event(yaml.AliasEvent):
            alias, line = self.peek_event().anchor, self.peek_event().start_mark.line + 1
            raise Aliased(f"the alias *{alias}, in line {line}: write out what it stands for")
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Raises ConstructorError for half of a character, such as "\\ud800", which nothing could print."""
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if HALF.search(node.value):
            raise yaml.constructor.ConstructorError(problem="half of a character", problem_mark=node.start_mark)
        return node


HALF = re.compile("[\ud800-\udfff]")


def parsed(text: str) -> Any:
    """What a file's text says. Raises YAMLError, and RecursionError."""
    return yaml.load(text, Loader=Plain)


def knob(text: str | None, block: str, name: str) -> Any:
    """A value of a params.yaml that nobody has checked; None where it cannot be read, or does not say."""
    try:
        return parsed(text or "")[block][name]
    except (yaml.YAMLError, RecursionError, LookupError, TypeError, ValueError):
        return None


def printable(text: str) -> str:
    """The text, with what no screen shows, such as the start of an escape sequence, as Python writes it."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def in_a_line(error: BaseException) -> str:
    """What is wrong with a file; where it is no YAML, the place too."""
    if isinstance(error, RecursionError):
        return "blocks within blocks without end"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and (mark := error.problem_mark):
        quotes = "; put a name or a value with such characters in quotes" * bool(GRAMMAR.match(error.problem))
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}{quotes}"
    return " ".join(str(error).split())


GRAMMAR = re.compile(r"expected ',' or .+ but got '[^<]'|found character '[^\\]'|mapping values are not allowed")
"""YAML's own words where it may take a character of a name for its grammar's."""


# --- what YAML takes for something else ---


def traps(text: str) -> list[str]:
    """What YAML reads as something else than it looks like, or than DVC reads it as, a sentence each."""
    node = yaml.compose(text, Loader=Plain)
    return [] if node is None else list(trapped(node, ""))


def trapped(node: yaml.Node, place: str) -> Iterator[str]:
    """The traps of a node: keys that are no text, and values that are not what they look like."""
    if isinstance(node, yaml.ScalarNode):
        if node.style is None and (trap := taken(node)):
            yield f"{place} is `{node.value}`, {trap}"
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            yield from trapped(value, inside(place, at))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag != TEXT:
                said = f"{place}: the name `{key.value}`" if place else f"the name `{key.value}`"
                yield f'{said} is {KINDS.get(key.tag, "no text")} to YAML; quote it: "{key.value}"'
            yield from trapped(value, inside(place, key.value))


TEXT = "tag:yaml.org,2002:str"
KINDS = {
    f"tag:yaml.org,2002:{tag}": kind
    for tag, kind in {
        **{"bool": "true or false", "int": "a number", "float": "a number", "null": "nothing"},
        **{"timestamp": "a date", "seq": "a list", "map": "a block"},
    }.items()
}
POWER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def taken(node: yaml.ScalarNode) -> str | None:
    """What YAML takes an unquoted value for, where that is not what it looks like, and what to write; else None."""
    kind, value = node.tag.rpartition(":")[2], node.value
    if kind == "bool" and value.lower() not in ("true", "false"):
        meant = str(value.lower() in ("yes", "on")).lower()
        return f'which is {meant} to YAML; quote it: "{value}", or write {meant}'
    if kind == "timestamp":
        return f'which is a date to YAML; quote it: "{value}"'
    if kind == "str" and POWER.fullmatch(value) and finite(float(value)):
        return f"which is text to YAML, and a number to DVC; write {decimal(float(value))}"
    if kind in ("int", "float") and (":" in value or re.match(r"[-+]?0[\d_]", value)):
        return f'which is {yaml.safe_load(value)} to YAML; quote it: "{value}", or write the number as YAML has it'
    return None


def decimal(number: float) -> str:
    """A number as both YAML and DVC read it."""
    mantissa, _, power = repr(number).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{power}" if power else mantissa


# --- schemas ---


def number(value: float | None) -> str:
    """Three decimals, fewer of what is large, three digits of what is tiny; a dash where there is no number."""
    if value is None or not isfinite(value):
        return "–"
    size = abs(value)
    if 0 < size < 0.00995:
        return f"{value:.3g}"
    decimals = next((kept for below, kept in ((10, 3), (100, 2), (1000, 1)) if size < below), 0)
    return f"{value:,.{decimals}f}"


def held(text: str, schema: Path, unknown: str = UNKNOWN) -> tuple[Any, list[str]]:
    """What a file's text says, and all that YAML's traps and its schema have against it, a sentence each.

    Raises YAMLError, ValueError or RecursionError where it is no YAML.
    """
    said = parsed(text)
    return said, traps(text) or problems(said, schema, unknown)


def finite(number: float) -> bool:
    """Whether a number is one that can be reckoned with: no infinity, no NaN, nor a whole one beyond all decimals."""
    try:
        return isfinite(number)
    except OverflowError:
        return False


def infinite(said: Any, place: str = "") -> Iterator[str]:
    """The numbers of a file that cannot be reckoned with, a sentence each: no schema knows them."""
    branches: Iterable[tuple[Any, Any]] = ()
    if isinstance(said, Mapping):
        branches = said.items()
    elif isinstance(said, list):
        branches = enumerate(said)
    elif isinstance(said, (int, float)) and not finite(said):
        yield f"{place} is {shown(said)}, which nothing can be reckoned with; write a finite number"
    for step, value in branches:
        yield from infinite(value, inside(place, step))


def problems(said: Any, schema: Path, unknown: str = UNKNOWN) -> list[str]:
    """All that a schema finds wrong with what a file says, a sentence each."""
    from jsonschema import Draft202012Validator  # a quarter of a second, which only those who check pay

    if not isinstance(said, dict):
        return ["has to be lines of `name: value`; restore it from git"]
    found = Draft202012Validator(json.loads(schema.read_text())).iter_errors(said)
    sentences = (problem for error in sorted(found, key=by_place) for problem in problems_of(error, unknown))
    return list(dict.fromkeys(sentences))


def by_place(error: "ValidationError") -> list[str]:
    """Where an error is, to sort by; names of columns may be anything."""
    return [str(step) for step in error.absolute_path]


def problems_of(error: "ValidationError", unknown: str) -> Iterator[str]:
    """What the schema finds, in words; an unknown key with the known one that is nearest."""
    place, rule = "", str(error.validator)
    value: Any = error.instance
    bar: Any = error.validator_value
    schema: Any = error.schema
    for step in error.absolute_path:
        place = inside(place, step)
    if rule == "additionalProperties":
        known = schema.get("properties", {})
        for key in (key for key in value if key not in known):
            yield f"{inside(place, key)} {unknown}; {nearest(key, known)}"
    elif rule == "required":
        for key in (key for key in bar if key not in value):
            yield f"{inside(place, key)} is missing{meant(schema.get('properties', {}).get(key))}"
    elif rule == "not":
        yield f"{place} {schema.get('description', 'does not go with the rest')}; take it out"
    elif rule in ("anyOf", "oneOf") and error.context:
        yield from branch(error, unknown, place)
    elif "propertyNames" in error.absolute_schema_path:
        yield f"{place}: the name {shown(value)} {DEMANDS[rule](bar)}{meant(schema)}"
    elif rule in DEMANDS:
        yield f"{place} is {shown(value)}; it {DEMANDS[rule](bar)}{meant(schema) or quotes(value, many(bar))}"
    else:
        yield f"{place + ': ' if place else ''}{error.message}"


def branch(error: "ValidationError", unknown: str, place: str) -> Iterator[str]:
    """Of several things that a value may be: what is wrong with it as the one whose type it has, or what it may be."""
    context: Iterable[ValidationError] = error.context or ()
    depth = len(error.absolute_path)
    here = [e for e in context if len(e.absolute_path) == depth]
    mistyped = {e.schema_path[0] for e in here if e.validator in ("type", "required")}
    near = [e for e in context if e.schema_path[0] not in mistyped]
    if near:
        for each in (e for e in near if e.schema_path[0] == near[0].schema_path[0]):
            yield from problems_of(each, unknown)
        return
    types = [named for e in context if e.validator == "type" for named in many(e.validator_value)]
    needed = [f"`{key}`" for e in context if e.validator == "required" for key in many(e.validator_value)]
    if types:
        yield f"{place} is {shown(error.instance)}; it has to be {' or '.join(dict.fromkeys(map(typed, types)))}"
    elif needed:
        yield f"{place} has to hold one of {', '.join(dict.fromkeys(needed))}"
    else:
        yield f"{place}: {error.message}"


TYPED = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a block of `name: value`",
    "null": "null",
}


def typed(name: str) -> str:
    """A type of JSON Schema in words."""
    return TYPED[name]


def many(value: Any) -> list[Any]:
    """A list, of one where it is none."""
    return value if isinstance(value, list) else [value]


def count(number: int, of: str) -> str:
    """So many of something."""
    return f"{number:,} {of}{'s' * (number != 1)}"


DEMANDS: Mapping[str, Any] = {
    "type": lambda bar: f"has to be {' or '.join(map(typed, many(bar)))}",
    "enum": lambda bar: f"has to be {'one of ' * (len(bar) > 1)}{', '.join(map(str, bar))}",
    "const": lambda bar: f"has to be {bar}",
    "minimum": lambda bar: f"has to be {bar:,} or more",
    "maximum": lambda bar: f"has to be {bar:,} or less",
    "exclusiveMinimum": lambda bar: f"has to be more than {bar:,}",
    "exclusiveMaximum": lambda bar: f"has to be less than {bar:,}",
    "minLength": lambda bar: "may not be empty" if bar == 1 else f"has to have {count(bar, 'character')} at least",
    "maxLength": lambda bar: f"may have {count(bar, 'character')} at most",
    "minItems": lambda bar: f"has to hold {count(bar, 'value')} at least",
    "maxItems": lambda bar: f"may hold {count(bar, 'value')} at most",
    "uniqueItems": lambda _: "may hold each value once",
    "minProperties": lambda bar: f"has to hold {count(bar, 'line')} at least",
    "maxProperties": lambda bar: f"may hold {count(bar, 'line')} at most",
    "pattern": lambda bar: "is not written as it has to be",
}


def meant(schema: Any) -> str:
    """What a schema's `examples` show, to end a sentence with."""
    examples = schema.get("examples", ()) if isinstance(schema, dict) else ()
    return f"; write {examples[0]}" if examples else ""


def quotes(value: Any, types: Sequence[Any]) -> str:
    """What to do where quotes alone make a value another type."""
    if isinstance(value, (bool, int, float)) and "string" in types:
        return f'; quote it: "{shown(value)}"'
    number = isinstance(value, str) and {"number", "integer"} & {*map(str, types)}
    return "; take the quotes away" if number and re.fullmatch(r"-?\d+(\.\d+)?", value) else ""


def shown(value: Any) -> str:
    """A value in a sentence."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return f"the date {value}"
    if isinstance(value, dict):
        return "a block of `name: value`" if value else "{}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def inside(place: str, step: object) -> str:
    """The place of a key in a block, or of a value in a list."""
    return f"{place}.{step}" if place else str(step)


NAMED = 20  # known words that a sentence lists; the rest is counted


def nearest(word: object, known: Iterable[str], those: str = "it may be") -> str:
    """What to do with a word that is not known: the known one that is like it, capitals or not, else what there is."""
    words = [str(each) for each in known]
    if not words:
        return "take it out"
    small = {each.lower(): each for each in words}
    if near := get_close_matches(str(word).lower(), small, n=1):
        return f"did you mean `{small[near[0]]}`?"
    return f"{those} {', '.join(words[:NAMED])}{f' or {len(words) - NAMED} others' * (len(words) > NAMED)}"
