"""Is a change of deploy/production what it says? The bytes exist, the digests agree, and nobody has touched them.

Nothing of the change is run, checked out or believed for its name: git's objects and GitHub's answers are compared.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

from gitops import content, kustomization, ledger, pulls
from gitops import problem as problems
from gitops.content import FILE, PRODUCTION
from gitops.facts import check
from gitops.pulls import RELEASE, Repository

ENVIRONMENT = "production"
TOLD = ("dvc.lock", "manifest.json", "metrics.json", "MODEL_CARD.md")
"""What lies in deploy/production beside the manifests that an agent applies."""

Json = Mapping[str, Any]
Bytes = Mapping[str, bytes]


def verify(here: Repository, proposed: str = "HEAD", base: str = "HEAD^1") -> dict[str, Any]:
    """What is wrong with production at `proposed`, which comes after `base`, as a gate of the report."""
    return {"violations": list(violations(here, proposed, base)), "not_judged": []}


def violations(here: Repository, proposed: str, base: str) -> Iterator[Json]:
    """Each thing that is wrong. Going back to what was recorded before needs no run: git and its Release have it."""
    if odd := list(irregular(proposed)):
        yield from odd
        return
    manifest, before = ledger.manifest(proposed), earlier(here, proposed, base)
    if before:
        yield from missing(manifest, assets(here, manifest)) if manifest else ()
    elif (found := problem(proposed)) or manifest is None:
        found = found or "not of a release: it names no run"
        yield violation("manifest", "manifest.json", found, "an entry as facts.schema.json says", AGAIN)
    else:
        yield from fresh(here, manifest, proposed, base)


def irregular(proposed: str) -> Iterator[Json]:
    """Links, programs and submodules: what an agent reads there is not what git shows."""
    for name, about in ledger.files(proposed).items():
        if not name or not about.startswith(f"{FILE} blob "):
            found = "no plain file in a folder" if not name else f"git's mode {about.partition(' ')[0]}"
            yield violation("file", PRODUCTION + name, found, "a plain file", f"remove it, or {AGAIN}")


def earlier(here: Repository, proposed: str, base: str) -> ledger.Entry | None:
    """The recorded entry that production goes back to, or the state before the first model; None where it is neither.

    That a state was on main once says nothing: somebody may have merged it past the checks.
    """
    tree, past = ledger.folder(proposed), ledger.entries(base)
    same = [entry for entry in past if tree and entry.tree == tree]
    if same and same[-1] is past[-1] and same[-1].manifest is None:
        return same[-1]
    return next((entry for entry in same if entry.manifest and recorded(here, entry)), None)


def recorded(here: Repository, entry: ledger.Entry) -> bool:
    """Whether deploy.yml has recorded an entry: a success by gitops, of its own deployment of the commit."""
    return any(
        status["state"] == "success" and pulls.ours(status)
        for made in deployments(here, entry)
        for status in pulls.pages(here, f"deployments/{made['id']}/statuses")
    )


def deployments(here: Repository, entry: ledger.Entry) -> list[Json]:
    """The deployments of an entry's commit that gitops made: anybody with write access can make others."""
    listed = pulls.pages(here, "deployments", sha=entry.commit, environment=ENVIRONMENT)
    return [made for made in listed if pulls.ours(made)]


AGAIN = "run the Release workflow with `again`: it writes deploy/production/, and nobody else does"


def problem(proposed: str) -> str | None:
    """Why a manifest is none; None where it is one."""
    if "manifest.json" not in ledger.files(proposed):
        return "missing"
    try:
        return check(json.loads(content.text(proposed, ledger.MANIFEST)), "entry")
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}"


def fresh(here: Repository, manifest: Json, proposed: str, base: str) -> Iterator[Json]:
    """A model that was never in production: a release of main has to have proposed exactly this."""
    came = manifest["lineage"]
    if found := stranger(here, came, pulls.found(here, f"actions/runs/{came['released_by']}")):
        yield violation("lineage", "manifest.json", found, f"a run of {RELEASE} on {here.default_branch}", AGAIN)
        return
    if content.key(came["commit"]) != manifest["key"]:
        yield violation("key", "manifest.json", manifest["key"], content.key(came["commit"]), AGAIN)
    champion = ledger.champion(ledger.entries(base), problems.identity(manifest))
    now = champion.manifest["model"] if champion and champion.manifest else None
    if now != manifest["champion"]:
        found = f"compared with {manifest['champion'] or 'nothing'}"
        yield violation("champion", "manifest.json", found, f"the champion, {now or 'nothing'}", AGAIN)
    written = pulls.unpacked(here, came["released_by"], f"promotion-{manifest['key']}")
    if written is None:
        yield violation("proposal", PRODUCTION, "what the release wrote is gone", "kept until it is merged", AGAIN)
    else:
        yield from differences(written, proposed)
    yield from rendered(manifest, proposed)
    yield from missing(manifest, assets(here, manifest))


def stranger(here: Repository, came: Json, run: dict[str, Any] | None) -> str | None:
    """What the run that wrote a promotion is instead of a release of main; None where it is one."""
    if run is None:
        return f"run {came['released_by']}, which is not there"
    path, _, ref = run["path"].partition("@")  # GitHub adds the ref at times
    of, at = run.get("head_branch") or "no branch", str(run.get("head_sha"))
    found = f"run {came['released_by']} of {path} on {of} at {at[:12]}, by {run.get('event')}"
    if path != RELEASE or ref.startswith("refs/tags/") or not pulls.of_main(here, run):
        return found
    return found if at != came["commit"] else None


def differences(written: Bytes, proposed: str) -> Iterator[Json]:
    """Files that are not, byte for byte, what the release wrote."""
    there = ledger.files(proposed)
    for name in sorted({*there, *written}):
        theirs, path = written.get(name), PRODUCTION + name
        if theirs is None:
            yield violation("proposal", path, "the release did not write it", "not there", f"remove it, or {AGAIN}")
        elif there.get(name) != f"{FILE} blob {pulls.blob(theirs)}":
            found = "other bytes than the release wrote" if name in there else "missing"
            yield violation("proposal", path, found, "untouched", f"take the change back, or {AGAIN}")


def rendered(manifest: Json, proposed: str) -> Iterator[Json]:
    """Files that are not what the manifest makes of deploy/base, as it was in the commit that was released."""
    try:
        made = kustomization.files(manifest, kustomization.base(manifest["lineage"]["commit"]))
    except SystemExit as refused:  # what it refuses there, it says
        yield violation("rendered", "deploy/base/", str(refused), "manifests that a promotion can show", AGAIN)
        return
    there = ledger.files(proposed)
    for name in sorted({*there, *made} - {*TOLD}):
        if name not in made:
            found, bar = "nothing makes it", "not there"
        elif there.get(name) == f"{FILE} blob {pulls.blob(made[name].encode())}":
            continue
        else:
            found, bar = "other bytes" if name in there else "missing", "what manifest.json makes of deploy/base"
        yield violation("rendered", PRODUCTION + name, found, bar, AGAIN)


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
        return f"sha256:{hashlib.sha256(model_manifest(model)).hexdigest()}"
    except (tarfile.TarError, KeyError) as error:
        return f"unreadable: {error}"


def model_manifest(model: bytes) -> bytes:
    """The manifest of the model in a tar. Raises TarError, KeyError."""
    with tarfile.open(fileobj=io.BytesIO(model)) as tar:
        member = tar.extractfile("model/manifest.json")
        if member is None:
            raise KeyError("model/manifest.json is no file")
        return member.read()


def assets(here: Repository, manifest: Json) -> dict[str, bytes]:
    """The bytes of a promotion: the assets of its GitHub Release, else what its release run handed over."""
    release = pulls.found(here, f"releases/tags/{ledger.tag(manifest)}")
    have = {
        asset["name"]: pulls.download(here, asset)
        for asset in (release or {}).get("assets", [])
        if asset["name"] in manifest["files"] and asset["state"] == "uploaded"
    }
    if set(have) != set(manifest["files"]):
        have = pulls.unpacked(here, manifest["lineage"]["released_by"], f"release-{manifest['key']}") or {}
    return {name: content for name, content in have.items() if name in manifest["files"]}


def violation(rule: str, file: str, value: str, bar: str, next_: str) -> Json:
    """A violation as the judge writes them."""
    return {"rule": f"promotion.{rule}", "file": file, "value": value, "bar": bar, "next": next_}


# --- after the merge -------------------------------------------------------------------------------------------------


def approved(here: Repository, entry: ledger.Entry, policy: Json) -> Iterator[Json]:
    """Whether people approved what a merge put into production: that digest, not an earlier one of the same request."""
    found = [list(unapproved(here, pull, entry, policy)) for pull in pulls.merged_by(here, entry.commit)]
    if not found:
        yield violation("approvals", entry.commit, "no pull request", "a pull request", REVERT)
    elif all(found):
        yield from found[0]


def unapproved(here: Repository, pull: Json, entry: ledger.Entry, policy: Json) -> Iterator[Json]:
    """What is wrong with a request that was merged as an entry."""
    if pulls.tree_of(here, pull["head"]["sha"], PRODUCTION) != entry.tree:  # as a rebase of a refreshed request may
        found = "the merge left another state than that of its head"
        yield violation("merge", f"#{pull['number']}", found, "what was verified and approved", REVERT)
    if policy["mode"] == "on-merge" and (pull["user"] or {}).get("type") == "Bot":  # the App's name is not known here
        return
    seen = pulls.approvals(here, pull["number"])
    fit = {login for login, head in seen.items() if pulls.tree_of(here, head, PRODUCTION) == entry.tree}
    if len(fit) < policy["approvals"]:
        found = f"{len(fit)} approvals of it, {len(seen)} of this request in all"
        yield violation("approvals", f"#{pull['number']}", found, f"{policy['approvals']} approvals of it", REVERT)


REVERT = "press Revert on the pull request that did this; or lower `approvals` in policies/promotion.yaml"
