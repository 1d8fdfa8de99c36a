"""Deploy: what main has in production is verified, recorded, then followed; and what is in production is fetched.

The GitOps agent follows a branch that nothing but this moves: what was merged past the checks never reaches it.
"""

import hashlib
import io
import os
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gitops import content, facts, ledger, problem, promotion, pulls, verify
from gitops.content import PRODUCTION
from gitops.markdown import text
from gitops.pulls import Repository
from gitops.release import policy

FOLLOWED = "production"  # the branch that the agent follows
WRONG = "<!-- gitops:production -->"

Json = Mapping[str, Any]


def deploy(here: Repository) -> str:
    """Verifies and records the newest state of the ledger, then has the agent follow it; what was done.

    Run again it adds only what is missing. Where production is not what was verified and approved, the agent is left
    where it is; one issue says so, and this exits.
    """
    past = ledger.entries()
    if not past:
        return "Nothing is in production yet"
    entry, at = past[0], pulls.ref(here, FOLLOWED)
    done, now = "Production was emptied: nothing is deployed", "Production is empty again, as before the first model."
    if entry.manifest:
        tag, now = ledger.tag(entry.manifest), f"Production is {text(entry.manifest['model'])} now, verified."
        done = f"{tag} is recorded already"
    if not (entry.manifest and follows(at, entry) and verify.recorded(here, entry)):
        refuse(here, entry, at, past)
        if entry.manifest:
            release(here, entry, verify.assets(here, entry.manifest))
            record(here, entry)
            done = f"Recorded {tag}"
        follow(at, entry)
    pulls.close_issue(here, WRONG, now)
    return done


def refuse(here: Repository, entry: ledger.Entry, at: Json | None, past: list[ledger.Entry]) -> None:
    """Exits where something is wrong with an entry, after an issue that says what."""
    wrong = [*verify.violations(here, entry.commit, f"{entry.commit}^1"), *verify.approved(here, entry, policy())]
    if wrong := [*wrong, *stray(at, past)]:
        pulls.issue(here, WRONG, "Production is not what was verified and approved", alarm(entry, at, wrong))
        sys.exit("\n".join(f"{each['rule']} in {each['file']}: {each['value']}, not {each['bar']}" for each in wrong))


def follows(at: Json | None, entry: ledger.Entry) -> bool:
    """Whether the branch that the agent follows is at an entry."""
    return at is not None and at["object"]["sha"] == entry.commit


def stray(at: Json | None, past: list[ledger.Entry]) -> Iterator[Json]:
    """A violation where the branch is at no state that main had in production: somebody else has moved it."""
    if at is None or at["object"]["sha"] in {entry.commit for entry in past}:
        return
    mend = (
        "have an administrator delete the branch, see who may push there (`make doctor`), and run the Deploy workflow"
    )
    yield verify.violation("followed", f"branch {FOLLOWED}", f"at {at['object']['sha']}", "a state that main had", mend)


def follow(at: Json | None, entry: ledger.Entry) -> None:
    """Moves the branch that the agent follows to what was verified, ever forward; as the App where there is one."""
    token = os.environ.get("FOLLOWED_TOKEN") or os.environ["GITHUB_TOKEN"]
    here = pulls.repository(os.environ | {"GITHUB_TOKEN": token})
    if at is None:
        pulls.ask(here, "POST", "git/refs", {"ref": f"refs/heads/{FOLLOWED}", "sha": entry.commit})
    elif not follows(at, entry):
        pulls.ask(here, "PATCH", f"git/refs/heads/{FOLLOWED}", {"sha": entry.commit, "force": False})


def alarm(entry: ledger.Entry, at: Json | None, wrong: list[Json]) -> str:
    """What is wrong with production, what runs meanwhile, and what to do about it now."""
    lines = [f"Commit {text(entry.commit)} changed `{PRODUCTION}`, and is not recorded:\n"]
    for each in wrong:
        rule, file, value, bar, next_ = (text(each[key]) for key in ("rule", "file", "value", "bar", "next"))
        lines.append(f"- {rule} in {file}: {value}, expected {bar}. What to do: {next_}")
    where = f"the last verified state, commit {text(at['object']['sha'])}" if at else "nothing: none was verified yet"
    if not any(each["rule"] == "promotion.followed" for each in wrong):
        lines.append(f"\nThe GitOps agent follows the branch `{FOLLOWED}`, which did not move: it still runs {where}.")
    return "\n".join([*lines, f"\n[The run]({facts.run_url()})"])


def release(here: Repository, entry: ledger.Entry, assets: Mapping[str, bytes]) -> None:
    """The GitHub Release of a model, with its bytes, which do not expire; the tag is on the commit that promoted it.

    A draft is filled and published last: a repository may make what is published immutable, its assets and its tag.
    """
    assert entry.manifest is not None
    about = {
        "tag_name": ledger.tag(entry.manifest),
        "target_commitish": entry.commit,
        "name": promotion.title(entry.manifest),
        "body": content.text(entry.commit, f"{PRODUCTION}MODEL_CARD.md"),
    }
    kept = drafted(here, about)
    fill(here, kept, assets)
    if kept["draft"]:
        pulls.ask(here, "PATCH", f"releases/{kept['id']}", {**about, "draft": False})


def drafted(here: Repository, about: dict[str, str]) -> Json:
    """The release of a tag, or the one draft of it, which an earlier run may have left."""
    if not (ours := named(here, about["tag_name"])):
        made = pulls.ask(here, "POST", "releases", {**about, "draft": True})
        ours = named(here, about["tag_name"]) or [made]  # another run may have been as quick, and the listing slow
    kept, *spare = ours
    for draft in spare:
        with suppress(pulls.NotFoundError):  # the other run took it away
            pulls.ask(here, "DELETE", f"releases/{draft['id']}")
    return kept


def named(here: Repository, tag: str) -> list[Json]:
    """What is released or drafted by the name of a tag, the release first; nothing but the listing shows drafts."""
    ours = [each for each in pulls.pages(here, "releases") if each["tag_name"] == tag]
    return sorted(ours, key=lambda each: (each["draft"], each["id"]))


def fill(here: Repository, kept: Json, assets: Mapping[str, bytes]) -> None:
    """Gives a release its assets: what broke off, or is not ours, makes way. Exits where it cannot change any more."""
    right = {each["name"] for each in kept["assets"] if intact(each, assets)}
    lacking = [name for name in assets if name not in right]
    if lacking and kept.get("immutable"):
        tag = kept["tag_name"]
        sys.exit(f"Release {tag} is immutable and was published without {', '.join(lacking)}: {SPENT}")
    for each in kept["assets"]:
        if each["name"] not in right and (kept["draft"] or each["name"] in assets):
            pulls.ask(here, "DELETE", f"releases/assets/{each['id']}")
    for name in lacking:
        pulls.upload(here, kept["upload_url"], name, assets[name])


SPENT = "its tag can never be released again, so change the model or the service, and promote that"


def intact(asset: Json, assets: Mapping[str, bytes]) -> bool:
    """Whether an asset is there as a whole, with the bytes that it should have."""
    whole = assets.get(asset["name"])
    if whole is None or asset["state"] != "uploaded":
        return False
    return bool(asset.get("digest") == f"sha256:{hashlib.sha256(whole).hexdigest()}")


def record(here: Repository, entry: ledger.Entry) -> None:
    """The deployment of the commit and its success, which GitHub shows beside it."""
    assert entry.manifest is not None
    if verify.recorded(here, entry):
        return
    tag = ledger.tag(entry.manifest)
    listed = verify.deployments(here, entry)
    if not listed:
        about = {"ref": entry.commit, "environment": verify.ENVIRONMENT, "auto_merge": False, "required_contexts": []}
        pulls.ask(
            here,
            "POST",
            "deployments",
            {**about, "description": tag, "payload": {"model": entry.manifest["model"], "release": tag}},
        )
        listed = verify.deployments(here, entry)
    made = min(listed, key=lambda deployment: deployment["id"])
    said = {"state": "success", "description": tag, "environment_url": f"{here.html_url}/releases/tag/{tag}"}
    pulls.ask(here, "POST", f"deployments/{made['id']}/statuses", {**said, "log_url": facts.run_url()})


def fetch_production(here: Repository, folder: Path) -> str:
    """Puts what is in production into `folder`, see `fetched`; what was done."""
    manifest = ledger.manifest()
    return "Nothing is in production yet" if manifest is None else fetched(here, manifest, "HEAD", folder)


def fetch_champion(here: Repository, folder: Path) -> str:
    """Puts what the checkout's model is compared with into `folder`, see `fetched`; what was done.

    That is the newest promotion of its problem: production may hold another one.
    """
    ours = problem.here()
    entry = ledger.champion(ledger.entries(), ours.identity if ours else None)
    if entry is None or entry.manifest is None:
        return "Nothing of this problem was in production yet"
    return fetched(here, entry.manifest, entry.commit, folder)


def fetched(here: Repository, manifest: Json, revision: str, folder: Path) -> str:
    """Puts what was promoted into `folder`: its model/, what it is measured against, and
    its manifest.json and metrics.json. What was done.

    Exits where bytes are gone or are not those of the manifest.
    """
    assets = verify.assets(here, manifest)
    if wrong := list(verify.missing(manifest, assets)):
        sys.exit("\n".join(f"{each['file']}: {each['value']}, not {each['bar']}" for each in wrong))
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(assets["model.tar"])) as tar:
        tar.extractall(folder, filter="data")
    for name in ("reference.parquet", "trained.parquet"):
        (folder / name).write_bytes(assets[name])
    for name in ("manifest.json", "metrics.json"):
        (folder / name).write_bytes(content.text(revision, PRODUCTION + name).encode())
    return f"{folder} holds {ledger.tag(manifest)}"
