"""The ledger: what is and was in production, as main's history has it. Asks git alone."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gitops import problem
from gitops.content import PRODUCTION, git, text

MANIFEST = f"{PRODUCTION}manifest.json"


@dataclass(frozen=True)
class Entry:
    """What a commit of main put into production: the tree of deploy/production, and the manifest in it, if any."""

    commit: str
    tree: str  # git's name for the folder: equal trees are equal promotions
    manifest: Mapping[str, Any] | None


def entries(revision: str = "HEAD") -> list[Entry]:
    """Every state of production, newest first, that before the first model included; none where no model ever was.

    A revert is a state of its own, with an earlier one's tree; so is what somebody pushed past the pull requests.
    """
    if not git("rev-list", "--first-parent", "--max-count=1", revision, "--", MANIFEST):
        return []
    commits = git("rev-list", "--first-parent", revision, "--", PRODUCTION).split()
    return [Entry(commit, folder(commit), manifest(commit)) for commit in commits]


def manifest(revision: str = "HEAD") -> Mapping[str, Any] | None:
    """The manifest of what a revision has in production; None where that is nothing, or nothing that we wrote.

    History keeps what was once pushed past the pull requests: it must not stop everything that comes later.
    """
    if not git("ls-tree", revision, "--", MANIFEST):
        return None
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        read: Mapping[str, Any] = json.loads(text(revision, MANIFEST))
        if tag(read) and read["key"] and read["lineage"]["released_by"]:
            return read
    return None


def files(revision: str) -> dict[str, str]:
    """Mode, type and name of each thing below deploy/production, links and submodules among them, by its path there.

    Where the folder itself is none, that one thing, by an empty path.
    """
    listed = git("ls-tree", "-r", "-z", "--full-tree", revision, "--", PRODUCTION.rstrip("/")).split("\0")[:-1]
    pairs = (line.partition("\t") for line in listed)
    return {path.removeprefix(PRODUCTION.rstrip("/")).removeprefix("/"): about for about, _, path in pairs}


def folder(revision: str) -> str:
    """Git's name for the tree of deploy/production; empty where there is none."""
    listed = git("ls-tree", revision, "--", PRODUCTION.rstrip("/"))
    return listed.partition("\t")[0].rpartition(" ")[2]


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
    """The entry of a release's tag, or of the newest with a model's digest: its first, whatever was pushed since."""
    known = [(entry.manifest["model"], tag(entry.manifest), entry) for entry in ledger if entry.manifest]
    newest = next((release for model, release, _ in known if wanted in (model, release)), None)
    return next((entry for _, release, entry in reversed(known) if release == newest), None)


def champion(ledger: Sequence[Entry], identity: Sequence[Any] | None) -> Entry | None:
    """The newest entry of a problem: what its next model is compared with, whatever is in production since; or None.

    `identity` is the contract's; without, that of what is in production. Whoever said no problem counts for none.
    """
    known = [entry for entry in ledger if entry.manifest]
    if identity is None:
        return ledger[0] if ledger and ledger[0].manifest else None
    return next((entry for entry in known if problem.identity(entry.manifest) == tuple(identity)), None)


def tag(manifest: Mapping[str, Any]) -> str:
    """The tag of what is promoted: the model's digest, and the Bento's, as a service can change around its model."""
    bento = manifest["files"]["service.bento"]["sha256"]
    return f"model-{manifest['model'].removeprefix('sha256:')[:12]}-{bento[:8]}"
