"""What the repository runs on: platform.yaml, read as a revision has it, so that a change counts from its merge.

In place of repository variables: anybody with write access may set those, and so send bytes and credentials elsewhere.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gitops import content
from pipeline import places
from pipeline.reading import Once, finite, in_a_line, nearest

FILE = "platform.yaml"


class Key(NamedTuple):
    """A key: an example, its form, what is so without it, and what else can be wrong with it."""

    example: str
    form: str
    without: str
    problem: Callable[[str], str | None] = lambda value: None


def unknown(packages: Mapping[str, str]) -> Callable[[str], str | None]:
    """Why nothing opens an address of that scheme; None where something may, once its package is locked."""
    return lambda address: places.problem(address, packages, lambda package: True)


def databricks(address: str) -> str | None:
    """Why nothing can be mirrored to an address; None where it can."""
    wants = "needs DATABRICKS_HOST and DATABRICKS_TOKEN, which the workflows do not hand on"
    return f"{wants}: name a server by its https:// address" if address.startswith("databricks") else None


ADDRESS = r'[!"$->@-~]+'  # visible, and no query, in which a credential could stand
FOLDER = rf"([a-z][a-z0-9+.-]*:/)?/{ADDRESS}"
KEYS = {
    "gpu_runner": Key("gpu-large", r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "a hosted CPU trains"),
    "gpu_price": Key("1.20", r"[0-9.e+-]+", "the report shows no cost"),
    "dvc_remote": Key(
        "s3://bucket/dvc",
        FOLDER,
        "artifacts, which expire, keep what main made",
        unknown(places.DVC),
    ),
    "container_registry": Key(
        "ghcr.io/owner/name",
        r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+",
        "no image is pushed: the Bento alone is released",
    ),
    "container_registry_user": Key(
        "robot", r"[A-Za-z0-9_][A-Za-z0-9_.$@+-]*", "whoever started the run logs in to the registry"
    ),
    "mlflow_tracking_uri": Key(
        "https://mlflow.example.org", rf"(https?|sqlite)://{ADDRESS}", "no server mirrors what git holds", databricks
    ),
    "prediction_log": Key(
        "s3://bucket/predictions",
        FOLDER,
        "the drift check passes and says that it is off",
        unknown(places.FSSPEC),
    ),
    "app_client_id": Key("Iv23liAbCdEf", r"Iv[A-Za-z0-9.]+", "the checks of what gitops proposes wait for one click"),
}
ACCOUNTS = ("ssh", "sftp", "abfs", "az")
"""Schemes whose addresses name a user or an account before the @, which opens nothing by itself."""


def at(revision: str) -> dict[str, str]:
    """The values of a revision, '' for what is off, as all is without the file. Raises SystemExit as `read` does."""
    listed = content.git("ls-tree", "-z", "--full-tree", revision, "--", FILE)
    if not listed:
        return read("")
    if not listed.startswith("100"):
        raise SystemExit(f"{FILE} is no plain file: replace it by one, or remove it to switch everything off")
    try:
        return read(content.text(revision, FILE))
    except UnicodeDecodeError:
        raise SystemExit(f"{FILE} is not UTF-8: write it again, or restore it from git") from None


def here() -> dict[str, str]:
    """The values of the working folder. Raises SystemExit as `read`."""
    path = Path(FILE)
    return read(path.read_text(errors="replace") if path.exists() else "")


def read(text: str) -> dict[str, str]:
    """Each key's value, '' for null. Raises SystemExit with a sentence for every key that is unknown or wrong."""
    try:
        known = yaml.load(text, Once)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SystemExit(f"{FILE}: no YAML ({in_a_line(error)}); mend it, or restore it from git") from None
    if known is None:
        known = {}
    if not isinstance(known, dict):
        raise SystemExit(f"{FILE} holds no keys: write lines such as `dvc_remote: {KEYS['dvc_remote'].example}`")
    if problems := [said for name, value in known.items() if (said := problem(name, value))]:
        raise SystemExit("\n".join(f"{FILE}: {said}" for said in problems))
    return {name: "" if known.get(name) is None else str(known[name]) for name in KEYS}


def problem(name: Any, value: Any) -> str | None:
    """What is wrong with a key and its value, and what to write instead; None where nothing is."""
    key = KEYS.get(name) if isinstance(name, str) else None
    if key is None:
        return f"{str(name)[:100]!r} is no key here; {nearest(name, KEYS)}"
    if value is None:
        return None
    write = f"write such as `{name}: {key.example}`, or null to switch it off"
    if not of_type(name, value):
        shown = "a list or a mapping" if isinstance(value, list | dict) else repr(value)[:100]
        return f"{name} is {shown}, {'no price' if name == 'gpu_price' else 'no text'}: {write}"
    if credential(str(value)):  # and is not repeated in a log
        return f"{name} holds a credential, which everybody can read here: revoke it, then {write}"
    if said := key.problem(str(value)):
        return f"{name} is {str(value)[:100]!r}: {said}"
    if not re.fullmatch(key.form, str(value)):
        return f"{name} is {str(value)[:100]!r}, which has not the form of {key.example}: {write}"
    return None


def of_type(name: str, value: Any) -> bool:
    """Whether a value is a price where one is asked for, else text."""
    if name != "gpu_price":
        return isinstance(value, str)
    return isinstance(value, int | float) and not isinstance(value, bool) and finite(value) and value >= 0


def credential(value: str) -> bool:
    """Whether an address names a user with a password, or a key, before its host, or has a query that could sign it."""
    scheme, _, rest = value.partition("://") if "://" in value else ("", "", value)
    who, at, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    return (bool(scheme) and "?" in rest) or (bool(at) and (":" in who or scheme not in ("", *ACCOUNTS)))
