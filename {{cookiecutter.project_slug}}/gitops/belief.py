"""Whose fitted model main may take: told by facts that nobody but GitHub writes, never by an artifact's name.

Everybody who may push can give an artifact any name, and a run any branch. What a run is believed for is the tree that
it ran on, where that is the tree of main in all that could run, measure or be learned from.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gitops import content, pulls
from gitops.content import git
from gitops.pulls import Repository

WALK = 50  # commits of main with the same inputs, of which one was merged from the request that trained
PULL_REQUEST = "pull-request.yml"
FITTED = "fitted.safetensors"
FILES = {FITTED, "metrics.json", "scores.parquet"}

Json = Mapping[str, Any]


class Found(NamedTuple):
    """The files of a fitted model and the run that made them; without files, why main has to train."""

    why: str
    run: int | None = None
    files: Mapping[str, bytes] = {}

    @property
    def sha256(self) -> str:
        """That of the fitted model."""
        return hashlib.sha256(self.files[FITTED]).hexdigest()


def fitted(here: Repository, key: str, requests: bool = True) -> Found:
    """The fitted model of a content key: of main's own runs, else of the merged request's where `requests` may."""
    name = f"fitted-{key}"
    if run := pulls.released(here, "fitted", key):
        return taken(here, name, [run], f"run {run} of main trained it")
    if not requests:
        return Found("policies/promotion.yaml says that main trains")
    kept = {artifact["workflow_run"]["id"] for artifact in pulls.artifacts(here, name)}
    believed: dict[int, int] = {}  # the request of each run
    doubts = []
    for commit in commits(key):
        for pull in pulls.merged_by(here, commit):
            if why := doubt(here, pull, commit):
                doubts.append(why)
                continue
            believed |= {run: pull["number"] for run in pulls.runs_of(here, pull, PULL_REQUEST) if run in kept}
    if not believed:
        return Found("; ".join(doubts) or "no run of a merged pull request left the fitted model of these inputs")
    newest = max(believed)
    return taken(here, name, sorted(believed, reverse=True), f"run {newest} of #{believed[newest]} trained it")


def commits(key: str) -> Iterator[str]:
    """Main's newest commits, while their inputs are those of the key."""
    for commit in git("rev-list", "--first-parent", f"--max-count={WALK}", "HEAD").split():
        if content.key(commit) != key:
            return
        yield commit


def doubt(here: Repository, pull: Json, commit: str) -> str | None:
    """Why the runs of a request that was merged as `commit` are not believed for this checkout; None if they are."""
    number, head = f"#{pull['number']}", pull["head"]
    if (head["repo"] or {}).get("id") != here.id:
        return f"{number} came from a fork, whose bytes are never taken"
    if not pulls.alone(here, pull):
        return f"the branch of {number} had a request into another base, and a run does not say whose it was"
    if pulls.base_changed(here, pull["number"]):
        return f"{number} has had another base, whose judges are not main's"
    if not pulls.contains(here, git("rev-parse", f"{commit}^1"), head["sha"]):
        return f"{number} was merged onto a main that its runs have not seen"
    ours = content.ground(content.tree("HEAD"))
    if ours is None:
        return "a link or a submodule in the tree could hide what a run has run"
    if content.ground(pulls.files(here, head["sha"])) != ours:
        return f"main holds more than words that the runs of {number} have not run on"
    return None


def taken(here: Repository, name: str, runs: list[int], why: str) -> Found:
    """The one result of these runs, the newest first."""
    try:
        results = [pulls.unpacked(here, run, name) or {} for run in runs]
    except pulls.BadAnswer as error:  # what a run's jobs have uploaded stops no release
        return Found(str(error))
    if any(set(files) != FILES for files in results):
        return Found(f"{name} of run {runs[0]} holds other files than {', '.join(sorted(FILES))}")
    if len({files[FITTED] for files in results}) > 1:
        return Found(f"runs {', '.join(map(str, runs))} made different models of the same inputs")
    return Found(why, runs[0], results[0])
