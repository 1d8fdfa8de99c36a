"""What policies/log.yaml says of columns that lead to a person, for all that is written of single rows.

The prediction log obeys it, and so do explanations and examples, which end up in comments, model cards and releases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from pipeline.params import BadInput, Once, in_a_line
from pipeline.schema import SOURCE, TIME, Column

POLICY = Path(__file__).absolute().parent.parent / "policies" / "log.yaml"
HASH, OMIT = "hash", "omit"
REQUEST = "request_id"

Rules = Mapping[str, str]  # column: HASH or OMIT


@dataclass(frozen=True)
class Policy:
    """policies/log.yaml, checked."""

    personal: Rules
    retention_days: int


def policy(inputs: Sequence[Column] | None = None, path: Path = POLICY) -> Policy:
    """The log's policy, read with nothing but YAML: the service has no JSON Schema.

    Raises BadInput where it is malformed, and where it names a column that is none of the source's or the `inputs`.
    """
    try:
        found = yaml.load(path.read_text(), Once)
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(f"{path}: cannot be read ({in_a_line(error)}); restore it from git") from None
    if not isinstance(found, dict) or set(found) != {"personal", "retention_days"}:
        raise BadInput(f"{path}: has to hold `personal` and `retention_days`, and nothing else")
    personal, retention = found["personal"], found["retention_days"]
    if type(retention) is not int or retention < 1:
        raise BadInput(f"{path}: retention_days is {retention!r}; write a whole number of days, 1 or more")
    if not isinstance(personal, dict):
        raise BadInput(f"{path}: personal is {personal!r}; write column: {HASH} or column: {OMIT}, or {{}} for none")
    for name, how in personal.items():
        if how not in (HASH, OMIT):
            raise BadInput(f"{path}: personal.{name} is {how!r}; write {HASH} or {OMIT}")
        known = [column.name for column in (*SOURCE, *(inputs or ())) if column.name != TIME]
        if inputs is not None and name not in [*known, REQUEST]:
            near = get_close_matches(str(name), [*known, REQUEST], n=1, cutoff=0)[0]
            raise BadInput(
                f"{path}: personal.{name} is no column that can be hashed or left out; did you mean `{near}`?"
            )
    return Policy(personal, retention)


@cache
def rules() -> Rules:
    """Which columns are personal, here. Raises BadInput."""
    return policy().personal


def shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a row, by column, as they may be written: some are pseudonyms, some are not there."""
    personal = rules()
    return {
        name: digest(value) if personal.get(name) == HASH else value
        for name, value in values.items()
        if personal.get(name) != OMIT
    }


def named(name: str, value: Any) -> str:
    """A column's name and its value in a message, as they may be written."""
    return f"{name} {shown({name: value}).get(name, 'not shown')}"


def pseudonym(column: pl.Series) -> pl.Series:
    """The column as `hash` writes it, so that hashed columns still join."""
    return pl.Series(column.name, map(digest, column), pl.String)


def digest(value: Any) -> str | None:
    """32 hex digits of a value's SHA-256; None for none.

    Whoever knows the values that there may be can hash them all: this is a pseudonym, and does not make anonymous.
    """
    return None if value is None else sha256(str(value).encode()).hexdigest()[:32]
