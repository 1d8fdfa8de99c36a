"""What judging is made of: a policy, what was measured, and a Violation where the two do not agree."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import nan
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from pipeline.params import BadInput, Once, in_a_line

POLICIES = Path("policies")
EXAMPLES = 3

Bars = Mapping[str, Any]
Measured = Mapping[str, Any]


@dataclass(frozen=True)
class Violation:
    """A bar that is not met."""

    rule: str  # the bar's place in the policy, such as label.day.minimum
    file: str  # what was judged
    value: str  # what was measured, in words
    bar: str  # what it had to be, in words
    next: str  # what to do
    rows: int | None = None  # how many rows are concerned, where rows are
    examples: tuple[str, ...] = ()  # the first three

    def __str__(self) -> str:
        """A block of lines, those left out that have nothing to say."""
        rows = None if self.rows is None else f"{self.rows:,}"
        lines = {"found": self.value, "bar": self.bar, "rows": rows, "such as": "; ".join(self.examples)}
        said = [f"    {name:<8} {text}" for name, text in {**lines, "next": self.next}.items() if text]
        return "\n".join([f"{self.rule} ({self.file})", *said])


# --- reading ---


def load(name: str, folder: Path = POLICIES) -> dict[str, Any]:
    """The policy folder/NAME.yaml. Raises BadInput with all that its schema, folder/schemas/NAME.schema.json, finds."""
    path = folder / f"{name}.yaml"
    try:
        schema = json.loads((folder / "schemas" / f"{name}.schema.json").read_text())
        policy = parsed(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(f"{path}: cannot be read ({in_a_line(error)}); mend it, or restore it from git") from None
    found = sorted(Draft202012Validator(schema).iter_errors(policy), key=lambda error: error.json_path)
    if problems := [f"{path}: {problem}" for error in found for problem in problems_of(error)]:
        raise BadInput("\n".join(problems))
    return dict(policy)


class Aliased(yaml.YAMLError):
    """A file names a part of itself."""


class Plain(Once):
    """YAML without aliases: ten lines of them stand for more than fits into memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Raises Aliased."""
        if self.check_event(yaml.AliasEvent):
            alias, line = self.peek_event().anchor, self.peek_event().start_mark.line + 1
            raise Aliased(f"the alias *{alias}, in line {line}: write out what it stands for")
        return super().compose_node(parent, index)


def parsed(text: str) -> Any:
    """What a policy's text says. Raises YAMLError."""
    return yaml.load(text, Loader=Plain)


def problems_of(error: ValidationError) -> Iterator[str]:
    """What the schema finds, in words; an unknown key with the known one that is nearest."""
    place = ".".join(str(step) for step in error.absolute_path)
    if error.validator != "additionalProperties":
        yield f"{place + ': ' if place else ''}{error.message}"
        return
    schema: Any = error.schema
    instance: Any = error.instance
    known = schema["properties"]
    for key in instance:
        if key not in known:
            yield f"{f'{place}.' if place else ''}{key} is no bar here; did you mean {nearest(key, known)}?"


def nearest(word: object, words: Sequence[str] | Mapping[str, Any]) -> str:
    """The one of `words` that is most like `word`, in backquotes."""
    return f"`{get_close_matches(str(word), list(words), n=1, cutoff=0)[0]}`" if words else "none"


def read(path: Path, make: str) -> dict[str, Any]:
    """What was measured. Raises BadInput where it was not."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); make it with `{make}`") from None


# --- values and bars ---

# A value that is not there, or NaN, is beyond every bar.
BEYOND: dict[str, Callable[[float, float], bool]] = {
    "minimum": lambda value, bar: not value >= bar,
    "maximum": lambda value, bar: not value <= bar,
}
LEAST = {"minimum": "least", "maximum": "most"}
OTHER = {"minimum": "maximum", "maximum": "minimum"}


def worse(metric: Measured | None, end: str) -> float:
    """The end of a metric's interval that is nearer to missing a `minimum` or a `maximum`; NaN where there is none."""
    return number((metric or {}).get("low" if end == "minimum" else "high"))


def point(metric: Measured | None) -> float:
    """A metric's value; NaN where there is none."""
    return number((metric or {}).get("value"))


def number(value: float | None) -> float:
    """The value, NaN for none."""
    return nan if value is None else value


def interval(metric: Measured | None) -> str:
    """A metric's value and interval in words."""
    if not metric:
        return "not measured"
    value, low, high = (f"{number(metric.get(key)):.4g}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def percent(share: float | None) -> str:
    """A share in words."""
    return "none" if share is None else f"{100 * share:.3g}%"
