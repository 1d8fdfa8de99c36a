"""Deploy: what main has in production is verified, then recorded; and what is in production is fetched."""

import io
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gitops import content, facts, ledger, promotion, pulls, verify
from gitops.content import PRODUCTION
from gitops.markdown import text
from gitops.pulls import Repository
from gitops.release import policy

ENVIRONMENT = "production"
WRONG = "<!-- gitops:production -->"

Json = Mapping[str, Any]


def deploy(here: Repository) -> str:
    """Verifies and records the newest state of the ledger; what was done. Run again it adds only what is missing.

    Where production is not what was verified and approved, it keeps one issue and exits.
    """
    past = ledger.entries()
    if not past:
        return "Nothing is in production yet"
    entry = past[0]
    if entry.manifest and recorded(here, entry):
        return f"{ledger.tag(entry.manifest)} is recorded already"
    wrong = [*verify.violations(here, entry.commit, f"{entry.commit}^1"), *verify.approved(here, entry, policy())]
    if wrong:
        pulls.issue(here, WRONG, "Production is not what was verified and approved", alarm(entry, wrong))
        sys.exit("\n".join(f"{each['rule']} in {each['file']}: {each['value']}, not {each['bar']}" for each in wrong))
    if entry.manifest is None:
        pulls.close_issue(here, WRONG, "Production is empty again, as it was before the first model.")
        return "Production was emptied: nothing is deployed"
    release(here, entry, verify.assets(here, entry.manifest))
    pulls.close_issue(here, WRONG, f"Production is {text(entry.manifest['model'])} now, verified.")
    record(here, entry)  # last: what is recorded is done
    return f"Recorded {ledger.tag(entry.manifest)}"


def alarm(entry: ledger.Entry, wrong: list[Json]) -> str:
    """What is wrong with production, and what to do about it now."""
    lines = [f"Commit {text(entry.commit)} changed `{PRODUCTION}`, and is not recorded:\n"]
    for each in wrong:
        rule, file, value, bar, next_ = (text(each[key]) for key in ("rule", "file", "value", "bar", "next"))
        lines.append(f"- {rule} in {file}: {value}, expected {bar}. What to do: {next_}")
    return "\n".join([*lines, f"\n[The run]({facts.run_url()})"])


def release(here: Repository, entry: ledger.Entry, assets: Mapping[str, bytes]) -> None:
    """The GitHub Release of a model, with its bytes, which do not expire; the tag is on the commit that promoted it."""
    assert entry.manifest is not None
    tag = ledger.tag(entry.manifest)
    kept = pulls.found(here, f"releases/tags/{tag}")
    if kept is None:
        said = {"tag_name": tag, "target_commitish": entry.commit, "name": promotion.title(entry.manifest)}
        body = content.text(entry.commit, f"{PRODUCTION}MODEL_CARD.md")
        kept = pulls.ask(here, "POST", "releases", {**said, "body": body})
    there = {asset["name"]: asset for asset in kept["assets"]}
    for name, whole in assets.items():
        if name in there and there[name]["state"] != "uploaded":  # an upload that broke off
            pulls.ask(here, "DELETE", f"releases/assets/{there.pop(name)['id']}")
        if name not in there:
            pulls.upload(here, kept["upload_url"], name, whole)


def recorded(here: Repository, entry: ledger.Entry) -> bool:
    """Whether a deployment of the commit has succeeded."""
    return any(
        status["state"] == "success"
        for made in pulls.ask(here, "GET", "deployments", sha=entry.commit, environment=ENVIRONMENT)
        for status in pulls.ask(here, "GET", f"deployments/{made['id']}/statuses")
    )


def record(here: Repository, entry: ledger.Entry) -> None:
    """The deployment of the commit and its success, which GitHub shows beside it."""
    assert entry.manifest is not None
    tag = ledger.tag(entry.manifest)
    listed = pulls.ask(here, "GET", "deployments", sha=entry.commit, environment=ENVIRONMENT)
    if not listed:
        about = {"ref": entry.commit, "environment": ENVIRONMENT, "auto_merge": False, "required_contexts": []}
        pulls.ask(
            here,
            "POST",
            "deployments",
            {**about, "description": tag, "payload": {"model": entry.manifest["model"], "release": tag}},
        )
        listed = pulls.ask(here, "GET", "deployments", sha=entry.commit, environment=ENVIRONMENT)
    made = min(listed, key=lambda deployment: deployment["id"])
    said = {"state": "success", "description": tag, "environment_url": f"{here.html_url}/releases/tag/{tag}"}
    pulls.ask(here, "POST", f"deployments/{made['id']}/statuses", {**said, "log_url": facts.run_url()})


def fetch_production(here: Repository, folder: Path) -> str:
    """Puts what is in production into `folder`: its model/, what it is measured against, and
    its manifest.json and metrics.json. What was done.

    Exits where bytes are gone or are not those of the manifest.
    """
    manifest = ledger.manifest()
    if manifest is None:
        return "Nothing is in production yet"
    assets = verify.assets(here, manifest)
    if wrong := list(verify.missing(manifest, assets)):
        sys.exit("\n".join(f"{each['file']}: {each['value']}, not {each['bar']}" for each in wrong))
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(assets["model.tar"])) as tar:
        tar.extractall(folder, filter="data")
    for name in ("reference.parquet", "trained.parquet"):
        (folder / name).write_bytes(assets[name])
    for name in ("manifest.json", "metrics.json"):
        (folder / name).write_bytes(content.text("HEAD", PRODUCTION + name).encode())
    return f"{folder} holds {ledger.tag(manifest)}"
