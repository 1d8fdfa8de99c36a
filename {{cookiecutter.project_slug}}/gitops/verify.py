"""Is a change of deploy/production what it says? The bytes exist, the digests agree, and nobody has touched them."""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

from gitops import content, ledger, promotion, pulls
from gitops.content import PRODUCTION, git
from gitops.facts import check
from gitops.pulls import Repository

RELEASE = ".github/workflows/release.yml"
WHOLE = ("dvc.lock", "manifest.json", "metrics.json", "MODEL_CARD.md", "kustomization.yaml")

Json = Mapping[str, Any]
Bytes = Mapping[str, bytes]


def verify(here: Repository, proposed: str = "HEAD", base: str = "HEAD^1") -> dict[str, Any]:
    """What is wrong with production at `proposed`, which comes after `base`, as a gate of the report."""
    return {"violations": list(violations(here, proposed, base)), "not_judged": []}


def violations(here: Repository, proposed: str, base: str) -> Iterator[Json]:
    """Each thing that is wrong. Going back to a state that production was in before needs no run: git has it."""
    history = {entry.tree for entry in ledger.entries(base)} | {ledger.folder(started(base))}
    try:
        manifest = ledger.manifest(proposed)
        problem = None if manifest is None else check(manifest, "entry")
    except ValueError as error:
        problem = f"it is not JSON: {error}"
    if problem:
        yield violation("manifest", "manifest.json", problem, "an entry as facts.schema.json says", AGAIN)
    elif ledger.folder(proposed) in history:
        yield from missing(manifest, assets(here, manifest)) if manifest else ()
    elif manifest is None:
        yield violation("manifest", "manifest.json", "missing", "the manifest of a model", AGAIN)
    else:
        yield from fresh(here, manifest, proposed, base)


AGAIN = "run the Release workflow again: it writes deploy/production/, and nobody else does"


def started(revision: str) -> str:
    """The commit before the first promotion, when nothing was in production."""
    commits = git("log", "--first-parent", "--format=%H", "--reverse", revision, "--", ledger.MANIFEST).split()
    return f"{commits[0]}^1" if commits else revision


def fresh(here: Repository, manifest: Json, proposed: str, base: str) -> Iterator[Json]:
    """A model that was never in production: a release of main has to have proposed exactly this."""
    came = manifest["lineage"]
    run = pulls.found(here, f"actions/runs/{came['released_by']}") or {}
    by = (run.get("path"), run.get("head_branch"), run.get("head_sha"), (run.get("head_repository") or {}).get("id"))
    if by != (RELEASE, here.default_branch, came["commit"], here.id) or not pulls.in_history(came["commit"]):
        found = (
            f"run {came['released_by']} of {run.get('path', 'no workflow')} on {run.get('head_branch', 'no branch')}"
        )
        yield violation("lineage", "manifest.json", found, f"a run of {RELEASE} on {here.default_branch}", AGAIN)
        return
    if content.key(came["commit"]) != manifest["key"]:
        yield violation("key", "manifest.json", manifest["key"], content.key(came["commit"]), AGAIN)
    champion = ledger.manifest(base)
    if (now := champion["model"] if champion else None) != manifest["champion"]:
        found = f"compared with {manifest['champion'] or 'nothing'}"
        yield violation("champion", "manifest.json", found, f"the champion, {now or 'nothing'}", AGAIN)
    written = pulls.unpacked(here, came["released_by"], f"promotion-{manifest['key']}")
    if written is None:
        yield violation("proposal", PRODUCTION, "what the release wrote is gone", "kept until it is merged", AGAIN)
    else:
        yield from differences(written, proposed)
    yield from missing(manifest, assets(here, manifest))


def differences(written: Bytes, proposed: str) -> Iterator[Json]:
    """Files that are not, byte for byte, what the release wrote."""
    there = git("ls-tree", "-r", "--name-only", proposed, "--", PRODUCTION).splitlines()
    for name in sorted({path.removeprefix(PRODUCTION) for path in there} | set(written)):
        theirs, path = written.get(name), PRODUCTION + name
        if theirs is None:
            yield violation("proposal", path, "the release did not write it", "not there", f"remove it, or {AGAIN}")
        elif path not in there or pulls.blob(theirs) != git("rev-parse", f"{proposed}:{path}"):
            found = "missing" if path not in there else "other bytes than the release wrote"
            yield violation("proposal", path, found, "untouched", f"take the change back, or {AGAIN}")


def missing(manifest: Json, have: Bytes) -> Iterator[Json]:
    """Bytes that are gone or not those of the manifest, and a model that is not the one it names."""
    for name, expected in manifest["files"].items():
        found = "gone" if name not in have else "sha256 " + hashlib.sha256(have[name]).hexdigest()
        if found != "sha256 " + expected["sha256"]:
            yield violation("bytes", name, found, f"sha256 {expected['sha256']}", AGAIN)
    if "model.tar" in have and (found := digest(have["model.tar"])) != manifest["model"]:
        yield violation("digest", "model.tar", found, manifest["model"], AGAIN)


def digest(model: bytes) -> str:
    """The digest of the model in a tar: the sha256 of its manifest."""
    try:
        with tarfile.open(fileobj=io.BytesIO(model)) as tar:
            member = tar.extractfile("model/manifest.json")
            return f"sha256:{hashlib.sha256(member.read()).hexdigest()}" if member else "no file"
    except (tarfile.TarError, KeyError) as error:
        return f"unreadable: {error}"


def assets(here: Repository, manifest: Json) -> dict[str, bytes]:
    """The bytes of a promotion: the assets of its GitHub Release, else what its release run handed over."""
    release = pulls.found(here, f"releases/tags/{ledger.tag(manifest)}")
    have = {
        asset["name"]: pulls.download(here, asset)
        for asset in (release or {}).get("assets", [])
        if asset["name"] in promotion.ASSETS and asset["state"] == "uploaded"
    }
    if set(have) != set(promotion.ASSETS):
        have = pulls.unpacked(here, manifest["lineage"]["released_by"], f"release-{manifest['key']}") or {}
    return {name: content for name, content in have.items() if name in promotion.ASSETS}


def violation(rule: str, file: str, value: str, bar: str, next_: str) -> Json:
    """A violation as the judge writes them."""
    return {"rule": f"promotion.{rule}", "file": file, "value": value, "bar": bar, "next": next_}


# --- after the merge -------------------------------------------------------------------------------------------------


def approved(here: Repository, entry: ledger.Entry, policy: Json) -> Iterator[Json]:
    """Whether people approved what a merge put into production: that digest, not an earlier one of the same request."""
    pull = pulls.merged_from(here, entry.commit)
    if pull is None:
        yield violation("approvals", entry.commit, "no pull request", "a pull request", REVERT)
        return
    if policy["mode"] == "on-merge" and pull["user"]["login"] in pulls.bots():
        return
    seen = pulls.approvals(here, pull["number"])
    fit = {login for login, head in seen.items() if pulls.tree_of(here, head, PRODUCTION) == entry.tree}
    if len(fit) < policy["approvals"]:
        found = f"{len(fit)} approvals of it, {len(seen)} of this request in all"
        yield violation("approvals", f"#{pull['number']}", found, f"{policy['approvals']} approvals of it", REVERT)


REVERT = "press Revert on the pull request that did this; or lower `approvals` in policies/promotion.yaml"
