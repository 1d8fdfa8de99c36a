"""What policies/log.yaml says of columns that lead to a person, for all that is written of single rows.

The prediction log obeys it, and so do explanations and examples, which end up in comments, model cards and releases.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from pipeline.params import BadInput
from pipeline.reading import Once, in_a_line, nearest

if TYPE_CHECKING:
    from pipeline.contract import Contract

POLICY = Path(__file__).absolute().parent.parent / "policies" / "log.yaml"
HASH, OMIT = "hash", "omit"
REQUEST = "_request_id"
LONGEST = 200  # characters of a text of a single row, wherever it is shown

Rules = Mapping[str, str]  # column: HASH or OMIT


@dataclass(frozen=True)
class Policy:
    """policies/log.yaml, checked."""

    personal: Rules
    retention_days: int


def columns(ours: "Contract") -> list[str]:
    """What may be personal: the source's columns and the inputs, but for the time, by whose day the log is kept."""
    names = dict.fromkeys(column.name for column in (*ours.columns, *ours.inputs) if column.name != ours.time)
    return [*names, REQUEST]


def policy(known: Collection[str] | None = None, path: Path | None = None) -> Policy:
    """The log's policy, read with nothing but YAML: the service has no JSON Schema.

    Raises BadInput where it is malformed, and where it names what is none of the `known` names. Whoever has the
    contract knows them all (`columns`); a model's manifest does not, so that the service takes what was checked.
    """
    path = path or POLICY
    try:
        found = yaml.load(path.read_text(), Once)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
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
        if known is not None and name not in known:
            raise BadInput(
                f"{path}: personal.{name} is no column that can be hashed or left out; {nearest(name, known)}"
            )
    return Policy(personal, retention)


@cache
def rules() -> Rules:
    """Which columns are personal, here. Raises BadInput."""
    return policy().personal


def shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a row, by column, as they may be written: some are pseudonyms, some are cut or not there."""
    personal = rules()
    return {
        name: digest(value) if personal.get(name) == HASH else cut(value)
        for name, value in values.items()
        if personal.get(name) != OMIT
    }


def quoted(name: str, value: Any, otherwise: str = "not shown") -> str:
    """A column's value in a message, as it may be written; `otherwise` where it may not."""
    known = shown({name: value})
    return repr(known[name]) if name in known else otherwise


def cut(value: Any) -> Any:
    """A value, of a long text its beginning: it ends up in tables, and schemas of what is handed over bound texts."""
    return f"{value[: LONGEST - 1]}…" if isinstance(value, str) and len(value) > LONGEST else value


def named(name: str, value: Any) -> str:
    """A column's name and its value in a message, as they may be written."""
    return f"{name} {shown({name: value}).get(name, 'not shown')}"


def unless_personal(said: object) -> str:
    """What others say of rows, values and all; not where it may quote personal columns."""
    return "what is not shown, as policies/log.yaml has personal columns" if rules() else str(said)


def pseudonym(column: pl.Series) -> pl.Series:
    """The column as `hash` writes it, so that hashed columns still join."""
    return pl.Series(column.name, map(digest, column), pl.String)


def digest(value: Any) -> str | None:
    """32 hex digits of a value's SHA-256; None for none.

    Whoever knows the values that there may be can hash them all: this is a pseudonym, and does not make anonymous.
    """
    return None if value is None else sha256(str(value).encode()).hexdigest()[:32]
