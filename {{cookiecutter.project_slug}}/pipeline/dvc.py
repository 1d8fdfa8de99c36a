"""DVC's own command line, that believes no object for its name: `python -m pipeline.dvc pull`.

DVC keeps a folder as an object, <md5>.dir, that lists its files by their paths inside of it, and believes each path.
From a cache or a remote that others may write to, one such as ../Makefile would be written over the code. Nor does it
compare the bytes that a remote hands over, or that lie in the cache, with the hash that they are named after.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import file_digest, md5
from pathlib import Path
from typing import Any

import yaml
from dvc.cli import main
from dvc.data_cloud import Remote
from dvc_data.hashfile.tree import Tree

from pipeline import params
from pipeline.params import BadInput

ALONE = {"cache", "completion", "config", "doctor", "help", "init", "install", "remote", "version"}
"""Commands that do not look at stages."""
STAGES = Path("dvc.yaml")
NEXT = "remove it from the cache and from the remote, find out who put it there, and make again what it held"


def guard() -> None:
    """Has DVC refuse, wherever it reads a folder, what reaches outside of it; and compare what a remote hands over."""
    load, from_list, opened = Tree.load, Tree.from_list, Remote.__init__

    def checked(odb: Any, hash_info: Any, hash_name: str | None = None) -> Tree:
        found = odb.get(hash_info.value)
        judge(found.path, found.fs.cat_file(found.path), hash_info.value)
        return load(odb, hash_info, hash_name)

    def listed(entries: Iterable[Mapping[str, Any]], hash_name: str | None = None) -> Tree:
        entries = list(entries)
        inside("a list of files in dvc.lock or in a .dvc file", entries)
        return from_list(entries, hash_name)

    def verified(self: Remote, *arguments: Any, **config: Any) -> None:
        opened(self, *arguments, **config | {"verify": True})

    for name, instead in (("load", checked), ("from_list", listed)):
        setattr(Tree, name, staticmethod(instead))
    Remote.__init__ = verified


def whole(cache: Path) -> None:
    """Raises BadInput for the first object of a cache from elsewhere that holds other bytes than it is named after."""
    for path in sorted(cache.glob("files/md5/??/*")):
        with path.open("rb") as content:
            named(str(path), file_digest(content, "md5").hexdigest(), path.parent.name + path.name)


def judge(path: str, content: bytes, name: str) -> None:
    """Raises BadInput where a folder's object is not what its name says, or reaches outside of the folder."""
    named(path, md5(content, usedforsecurity=False).hexdigest(), name)
    with suppress(ValueError):  # no JSON: DVC says so
        inside(path, json.loads(content))


def named(path: str, found: str, name: str) -> None:
    """Raises BadInput where an object's hash is not its name."""
    if found != name.removesuffix(".dir"):
        raise BadInput(f"{path}: other bytes than it is named after, their md5 is {found}; {NEXT}")


def inside(where: str, entries: Any) -> None:
    """Raises BadInput for the first path that is not one inside of the folder, as DVC writes them."""
    for entry in entries if isinstance(entries, list) else []:
        path = entry.get(Tree.PARAM_RELPATH) if isinstance(entry, dict) else None
        if not isinstance(path, str) or "\\" in path or {"", ".", ".."} & set(path.split("/")):
            raise BadInput(f"{where}: the path {path!r} is none inside of the folder, and nothing is written; {NEXT}")


# --- what the stages follow ---


def check() -> None:
    """Hold contract.yaml and params.yaml, which dvc.yaml names, against their schemas: DVC would say it in a traceback.

    Raises BadInput with all that is wrong with them. A folder without the schemas is no whole checkout: there DVC alone
    speaks.
    """
    if params.SCHEMA.exists():
        from pipeline import contract

        params.check()
        contract.check()
        if STAGES.exists():
            lost(yaml.safe_load(STAGES.read_text())["stages"], params.load())


def lost(stages: Mapping[str, Any], knobs: Mapping[str, Any]) -> None:
    """Raises BadInput where stages name a block that params.yaml lacks, of which DVC would say that parameters miss."""
    parts = [stage.get("do", stage).get("params", []) for stage in stages.values()]
    named = dict.fromkeys(str(knob).split(".")[0] for part in parts for knob in part if isinstance(knob, str))
    if gone := [block for block in named if block not in knobs]:
        raise BadInput(
            f"{STAGES}: stages follow `{gone[0]}`, a block that {params.PARAMS} lacks; write it there, if only as "
            f"`{gone[0]}: {{}}`, or take it out of the stages too, as README.md does where it takes the example out"
        )


if __name__ == "__main__":
    if not ALONE & set(sys.argv[1:2]):
        check()
    guard()
    sys.exit(main(sys.argv[1:]))
