"""The ledger: what is and was in production, as main's history has it. Asks git alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gitops.content import PRODUCTION, git, text

MANIFEST = f"{PRODUCTION}manifest.json"


@dataclass(frozen=True)
class Entry:
    """What a commit of main put into production: the tree of deploy/production, and the manifest in it, if any."""

    commit: str
    tree: str  # git's name for the folder: equal trees are equal promotions
    manifest: Mapping[str, Any] | None


def entries(revision: str = "HEAD") -> list[Entry]:
    """Every state of production, newest first; a revert is a state of its own, with an earlier one's tree."""
    commits = git("log", "--first-parent", "--format=%H", revision, "--", MANIFEST).split()
    return [Entry(commit, folder(commit), manifest(commit)) for commit in commits]


def manifest(revision: str = "HEAD") -> Mapping[str, Any] | None:
    """The manifest of what a revision has in production; None where that is nothing."""
    if not git("ls-tree", revision, "--", MANIFEST):
        return None
    read: Mapping[str, Any] = json.loads(text(revision, MANIFEST))
    return read


def folder(revision: str) -> str:
    """Git's name for the tree of deploy/production; empty where there is none."""
    return git("ls-tree", "--format=%(objectname)", revision, "--", PRODUCTION.rstrip("/"))


def withdrawn(ledger: Sequence[Entry]) -> set[str]:
    """The content keys that were rolled back and have not been in production since: left for an earlier state."""
    left: set[str] = set()
    for index, (newer, older) in reversed(list(enumerate(pairwise(ledger)))):
        before = {entry.tree for entry in ledger[index + 2 :]}
        back = newer.manifest is None or newer.tree in before
        if older.manifest and back:
            left.add(older.manifest["key"])
        if newer.manifest:
            left.discard(newer.manifest["key"])
    return left


def find(ledger: Sequence[Entry], wanted: str) -> Entry | None:
    """The newest entry of a model's digest, or of a release's tag."""
    models = [entry for entry in ledger if entry.manifest]
    return next((entry for entry in models if wanted in (entry.manifest["model"], tag(entry.manifest))), None)  # type: ignore[index, arg-type]


def tag(manifest: Mapping[str, Any]) -> str:
    """The tag of what is promoted: the model's digest, and the Bento's, as a service can change around its model."""
    bento = manifest["files"]["service.bento"]["sha256"]
    return f"model-{manifest['model'].removeprefix('sha256:')[:12]}-{bento[:8]}"
