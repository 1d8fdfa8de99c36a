"""Values as YAML has them, and numbers with room, for the files that people read."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from pipeline.contract import Value

PLAIN = re.compile(r"[^\W\d_]([\w .%/€$+-]*[\w%/€$+])?")


def scalar(value: Value | None) -> str:
    """A value as YAML has it: in quotes where it could be taken for something else, such as Yes."""
    if isinstance(value, str) and PLAIN.fullmatch(value) and len(value) > 1 and yaml.safe_load(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def flow(pairs: Mapping[str, str]) -> str:
    """A block in a line, of values that are written already."""
    return f"{{{', '.join(f'{scalar(name)}: {value}' for name, value in pairs.items())}}}"


def listed(values: Iterable[Value]) -> str:
    """A list in a line."""
    return f"[{', '.join(map(scalar, values))}]"


def aside(text: str) -> str:
    """What stands behind #, in one line."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).split())


# --- numbers with room ---


def below(value: float, part: float = 0.5) -> float:
    """A part of a value, two digits of it, rounded down."""
    return rounded(value * part, math.floor)


def above(value: float, times: float = 2) -> float:
    """A multiple of a value, two digits of it, rounded up."""
    return rounded(value * times, math.ceil)


def rounded(value: float, way: Any) -> float:
    """Two digits of a number; 0 of what is none above 0."""
    return to_step(value, value, way) if value > 0 else 0


def to_step(value: float, size: float, way: Any) -> float:
    """A number with as many digits as two of `size` have."""
    power = math.floor(math.log10(size)) - 1
    made = round(way(round(value / 10**power, 6)) * 10.0**power, max(-power, 0))
    return int(made) if made == int(made) else made
