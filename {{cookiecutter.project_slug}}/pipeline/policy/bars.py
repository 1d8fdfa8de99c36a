"""What judging is made of: a policy, what was measured, and a Violation where the two do not agree."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import yaml

from pipeline.params import BadInput
from pipeline.reading import in_a_line, infinite, parsed, problems

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
        policy = parsed(path.read_text())
        found = problems(policy, folder / "schemas" / f"{name}.schema.json") or list(infinite(policy))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise BadInput(f"{path}: cannot be read ({in_a_line(error)}); mend it, or restore it from git") from None
    if found:
        raise BadInput("\n".join(f"{path}: {problem}" for problem in found))
    return dict(policy)


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
