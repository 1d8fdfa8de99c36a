"""Release: what main holds becomes the one promotion pull request, or a rollback request puts an earlier model back."""

import hashlib
import json
import os
import sys
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gitops import belief, content, facts, kustomization, ledger, problem, promotion, pulls, verify
from gitops.content import PRODUCTION, git
from gitops.pulls import Repository

TOLD = ("metrics", "comparison", "service")  # what main measured

Json = Mapping[str, Any]


class Settled(NamedTuple):
    """Why there is nothing to release; `overtaken` where an open promotion is not main's any more."""

    why: str
    overtaken: bool = False


# --- what there is to do ---------------------------------------------------------------------------------------------


def plan(here: Repository, again: bool, train: bool, folder: Path) -> dict[str, str]:
    """What the release jobs have to do for the commit that is checked out; `folder` gets the fitted model to take."""
    key = content.key()
    outputs = {"key": key, "make": "false", "train": "false", "run": "", "sha256": "", "overtaken": "false"}
    if done := settled(here, key, again):
        return outputs | {"why": done.why, "overtaken": str(done.overtaken).lower()}
    if train:
        return outputs | {"make": "true", "train": "true", "why": "somebody asked for it"}
    found = belief.fitted(here, key, requests=policy().get("train") != "main")
    if not found.files:
        return outputs | {"make": "true", "train": "true", "why": found.why}
    folder.mkdir(parents=True, exist_ok=True)
    for name, whole in found.files.items():
        (folder / name).write_bytes(whole)
    return outputs | {"make": "true", "run": str(found.run), "sha256": found.sha256, "why": found.why}


def settled(here: Repository, key: str, again: bool) -> Settled | None:
    """Why a key need not be released; None where it has to be."""
    now = ledger.manifest()
    if now and now["key"] == key:
        return Settled("it is in production already", overtaken=True)
    if not again and key in ledger.withdrawn(ledger.entries()):
        return Settled("it was rolled back; run this workflow with `again` to propose it once more", overtaken=True)
    tip = pulls.ref(here, promotion.BRANCH)
    entry = standing(here, tip)
    if again or tip is None or entry.get("key") != key or entry.get("champion") != champion(entry):
        return None
    pull = pulls.newest(here, promotion.BRANCH)
    if pull and pull["state"] == "closed" and pull["head"]["sha"] == tip["object"]["sha"] and not pull["merged_at"]:
        by = pulls.ask(here, "GET", f"issues/{pull['number']}").get("closed_by")
        if by and by["type"] != "Bot":  # the App's name is not known here
            return Settled(f"people closed its promotion, #{pull['number']}; run this workflow with `again`")
    said = spoken(here, entry)
    return Settled(f"it is proposed already, in #{said['number']}") if said else None


def champion(entry: Json) -> str | None:
    """The digest of the model that a promotion's is compared with: the newest of its problem that was promoted."""
    found = ledger.champion(ledger.entries(), problem.identity(entry))
    return str(found.manifest["model"]) if found and found.manifest else None


def standing(here: Repository, tip: Json | None) -> Json:
    """The manifest that the branch proposes; empty where it proposes none."""
    text = pulls.text_of(here, tip["object"]["sha"], ledger.MANIFEST) if tip else None
    with suppress(ValueError):
        entry: Json = json.loads(text or "{}")
        return entry if facts.check(entry, "entry") is None else {}
    return {}  # somebody wrote there


def spoken(here: Repository, entry: Json) -> Json | None:
    """The open request, or the issue that asks people to open it, whose words are of this very entry.

    A run that ended between the branch and its words leaves those of an earlier one.
    """
    pull = pulls.newest(here, promotion.BRANCH, "open")
    run = facts.run_url(entry["lineage"]["released_by"]) + ")"
    said = [*([pull] if pull else []), *pulls.issues(here, pulls.opens(promotion.BRANCH))]
    return next((each for each in said if run in (each["body"] or "")), None)


# --- what is proposed ------------------------------------------------------------------------------------------------


def write(here: Repository, folder: Path, measured: Path, into: Path) -> None:
    """Writes the promotion of what a release run made (`folder`) and measured: production/, body.md.

    Exits where that is amiss.
    """
    problems: list[str] = []
    told = {name: facts.read(facts.found(measured, f"{name}.json"), name, problems) for name in TOLD}
    told |= {name: facts.read(folder / f"{name}.json", name, problems) for name in ("explanations", "fitted")}
    gates = [facts.read(facts.found(measured, f"gate-{name}.json"), "gate", problems) for name in facts.GATES]
    if problems or None in (told["metrics"], told["service"], told["fitted"], *gates):
        sys.exit("\n".join(problems) or f"{measured} lacks the metrics, the service's measurements or a gate's verdict")
    if broken := sum(len(gate["violations"]) for gate in gates):
        sys.exit(f"{broken} bars are not met: what failed its gates is not proposed")
    assets = {name: summed(folder / name) for name in promotion.ASSETS}
    if os.environ.get("TRAINED_BY") and not told["fitted"]["taken"]:
        told["disagreed"] = told["fitted"]["why"]
    made = verify.digest((folder / "model.tar").read_bytes()), assets["service.bento"]["sha256"]
    if made != (told["metrics"]["model"]["digest"], told["service"]["bento"]):
        sys.exit("What was measured is not what was made: start this run again")
    about = predicted((folder / "model.tar").read_bytes())
    manifest = promotion.entry(
        assets,
        told["metrics"],
        about,
        lineage(here, told["fitted"]["taken"]),
        content.key(),
        os.environ.get("IMAGE") or None,
        champion({"problem": about}),
    )
    if wrong := facts.check(manifest, "entry"):
        sys.exit(f"The manifest would not be as facts.schema.json says, {wrong}")
    told["champion"] = facts.champion(problem.identity(manifest), [])
    told["words"] = problem.words(texts(content.CONTRACT))
    (into / "production").mkdir(parents=True, exist_ok=True)
    lock, base = (folder / "dvc.lock").read_bytes().decode(), kustomization.base()
    for name, text in promotion.files(manifest, lock, told, policy(), base, here.html_url).items():
        (into / "production" / name).write_bytes(text.encode())
    (into / "body.md").write_text(promotion.body(manifest, told, ledger.manifest(), facts.run_url()))


def predicted(model: bytes) -> dict[str, Any]:
    """What a model predicts and asks for, by its own manifest. Exits where it does not, or not as main does."""
    try:
        about = problem.of_model(verify.model_manifest(model))
    except (ValueError, LookupError, TypeError, tarfile.TarError) as error:
        sys.exit(f"model.tar does not say what the model predicts ({error!r}): make it again")
    ours = problem.read_or_why(texts(content.CONTRACT))
    if isinstance(ours, str):
        sys.exit(ours)
    wanted = problem.of_contract(ours)
    if lies := [
        f"{name} is {about[name]!r}, and {content.CONTRACT} says {wanted[name]!r}"
        for name in wanted
        if repr(about[name]) != repr(wanted[name])
    ]:
        sys.exit(f"model.tar says what main does not: {'; '.join(lies)}. Find what has written the manifest so")
    return about


def texts(path: str) -> str | None:
    """A file of the checkout; None where it is not there."""
    return Path(path).read_text() if Path(path).is_file() else None


def summed(path: Path) -> dict[str, Any]:
    """The sha256 of a file, and how many bytes it has."""
    whole = path.read_bytes()
    return {"sha256": hashlib.sha256(whole).hexdigest(), "bytes": len(whole)}


def lineage(here: Repository, taken: bool) -> dict[str, Any]:
    """The commit, the pull request that brought these inputs, who approved it, and the runs."""
    commit = git("rev-parse", "HEAD")
    number, approvers = None, []
    if pull := brought(here):
        number, approvers = pull["number"], sorted(pulls.approvals(here, pull["number"]))
    ran = int(os.environ["GITHUB_RUN_ID"])
    trained_by = int(os.environ["TRAINED_BY"]) if taken else ran
    return {
        "commit": commit,
        "pull_request": number,
        "approved_by": approvers,
        "trained_by": trained_by,
        "released_by": ran,
    }


def brought(here: Repository) -> Json | None:
    """The merged pull request that gave main its content key."""
    key, first = content.key(), git("rev-parse", "HEAD")
    for commit in git("rev-list", "--first-parent", f"--max-count={belief.WALK}", "HEAD").split():
        if content.key(commit) != key:
            break
        first = commit
    return pulls.merged_from(here, first)


def policy() -> dict[str, Any]:
    """policies/promotion.yaml of the commit that is checked out; its schema is `make lint`'s to check."""
    read: dict[str, Any] = yaml.safe_load(Path("policies/promotion.yaml").read_text())
    return read


# --- proposing -------------------------------------------------------------------------------------------------------


def propose(here: Repository, written: Path | None, overtaken: str | None) -> str:
    """Opens or refreshes the promotion of what `write` wrote; without, closes an `overtaken` one. What was done.

    Nothing is written where main has moved on: the run of its new tip knows more. The branch's ref is read before.
    """
    head = pulls.ref(here, promotion.BRANCH)
    if moved(here):
        return gone_on(here, promotion.BRANCH)
    close_replaced(here, head)
    if written is None:
        if overtaken is None:
            return finished(here, head)
        if head:
            pulls.close(here, promotion.BRANCH, f"What main holds now is not to be promoted: {overtaken}.")
        return "Nothing to release"
    files = {PRODUCTION + path.name: path.read_bytes().decode() for path in sorted((written / "production").iterdir())}
    manifest, now = json.loads(files[ledger.MANIFEST]), ledger.manifest()
    if now and (now["model"], now["files"]) == (manifest["model"], manifest["files"]) and applied(now):
        same = "other inputs made the very bytes that are in production"
        pulls.close(here, promotion.BRANCH, f"What main holds now is not to be promoted: {same}.")
        return f"Nothing to release: {same}"
    body = (written / "body.md").read_text() + promotion.what_to_do(promotion.BRANCH, app())
    return proposed(here, promotion.BRANCH, head, files, promotion.title(manifest), body)


def close_replaced(here: Repository, head: Json | None) -> None:
    """Closes what bots have opened for a problem that main holds no more: its promotion, and its retrain request."""
    ours = problem.here()
    if ours is None:
        return
    why = f"Main holds another problem now, {ours.problem}: this was of the one that it has replaced."
    if problem.other(standing(here, head), ours):
        pulls.close(here, promotion.BRANCH, why)
    if (pull := pulls.newest(here, promotion.RETRAIN, "open")) is None:
        return
    theirs = problem.between(texts(content.CONTRACT), pulls.text_of(here, pull["head"]["sha"], content.CONTRACT))
    if theirs.replaces:
        pulls.close(here, promotion.RETRAIN, why)


def applied(now: Json) -> bool:
    """Whether production has what main's deploy/base makes of production's own manifest, file for file."""
    made = kustomization.files(now, kustomization.base())
    there = {path: file for path, file in content.tree("HEAD").items() if path.startswith(PRODUCTION)}
    return {path: file for path, file in there.items() if path.endswith(".yaml")} == {
        PRODUCTION + name: (content.FILE, pulls.blob(text.encode())) for name, text in made.items()
    }


def finished(here: Repository, head: Json | None) -> str:
    """What an earlier run has proposed, and may not have lived to finish: once more, with the same words."""
    entry = standing(here, head)
    if head is None or not entry or not (said := spoken(here, entry)):
        return "Nothing to release"
    tip = head["object"]["sha"]
    there = pulls.ask(here, "GET", f"contents/{PRODUCTION.rstrip('/')}", ref=tip)
    files = {file["path"]: pulls.text_of(here, tip, file["path"]) for file in there}
    body = promotion.MARKER + said["body"].partition(promotion.MARKER)[2]
    return proposed(here, promotion.BRANCH, head, files, promotion.title(entry), body)


def go_back(here: Repository, wanted: str) -> str:
    """Opens or refreshes the request that puts an earlier entry of the ledger back. Exits where there is none."""
    head = pulls.ref(here, promotion.BACK)
    past, now = ledger.entries(), ledger.manifest()
    entry = ledger.find(past, wanted)
    if entry is None or entry.manifest is None:
        known = "\n".join(f"  {ledger.tag(each.manifest)}  {each.manifest['model']}" for each in past if each.manifest)
        sys.exit(f"{wanted!r} was never in production; these were, newest first:\n{known or '  none'}")
    if entry.tree == ledger.folder("HEAD"):
        return f"{wanted} is in production now"
    if moved(here):
        return gone_on(here, promotion.BACK)
    files = {path: content.text(entry.commit, path) for path in listing(entry.commit)}
    body = promotion.rollback_body(entry.manifest, now) + promotion.what_to_do(promotion.BACK, app())
    return proposed(here, promotion.BACK, head, files, promotion.title(entry.manifest, back=True), body)


def listing(revision: str) -> list[str]:
    """The files of deploy/production."""
    return git("ls-tree", "-r", "-z", "--name-only", revision, "--", PRODUCTION).split("\0")[:-1]


def proposed(here: Repository, branch: str, head: Any, files: Mapping[str, str | None], title: str, body: str) -> str:
    """The branch with `files` alone in deploy/production, its request, and where the policy says so its merge."""
    asked = policy()
    files = {**dict.fromkeys(listing("HEAD")), **files}
    tip = pulls.commit(here, branch, files, title, head)
    made = pulls.propose(here, branch, title, body, promotion.LABELS, asked["reviewers"], asked["team_reviewers"])
    if made.number is None:
        return f"Actions may not open pull requests here; {made.url} asks people to open it"
    pulls.dismiss(here, made.number, tip, PRODUCTION, "This was of another model; the one proposed now is not that.")
    return merged(here, made, tip, files) if asked["mode"] == "on-merge" else f"Proposed: {made.url}"


def merged(here: Repository, made: pulls.Proposal, tip: str, files: Mapping[str, str | None]) -> str:
    """Verified, then merged by the bot: exactly what was verified. A rule that forbids it leaves it to people."""
    if wrong := list(verify.violations(here, content.tree_with(files), "HEAD")):
        sys.exit("\n".join(f"{each['rule']} in {each['file']}: {each['value']}, not {each['bar']}" for each in wrong))
    assert made.number is not None
    if forbidden := pulls.merge(here, made.number, tip):
        refused = pulls.auto_merge(here, made.number)
        return f"Proposed: {made.url}; {refused or 'it merges once its checks and rules allow'} ({forbidden})"
    start_deploy(here)
    return f"Merged: {made.url}"


def start_deploy(here: Repository) -> None:
    """What a workflow's own token merges starts no run; an App's merge does."""
    if not app():
        pulls.ask(here, "POST", "actions/workflows/deploy.yml/dispatches", {"ref": here.default_branch})


def gone_on(here: Repository, branch: str) -> str:
    """Nothing is proposed for a main that is history; where it was this run's own merge, its end is made up for."""
    pull = pulls.newest(here, branch)
    tip = pulls.ref(here, here.default_branch)
    if policy()["mode"] == "on-merge" and pull and tip and pull["merge_commit_sha"] == tip["object"]["sha"]:
        start_deploy(here)
        return f"Merged: {pull['html_url']}"
    return f"{here.default_branch} has moved on since this run began: the next run releases what it holds now"


def moved(here: Repository) -> bool:
    """Whether the default branch's tip is another commit than the one checked out here."""
    tip = pulls.ref(here, here.default_branch)
    return tip is None or tip["object"]["sha"] != git("rev-parse", "HEAD")


def app() -> bool:
    """Whether an App speaks, whose requests start their checks and whose merges start runs."""
    return bool(os.environ.get("GITOPS_BOT"))
