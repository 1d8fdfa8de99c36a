"""What the run's jobs measured, checked against facts.schema.json before anything is said of it."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from gitops import ledger, platform
from gitops.content import PRODUCTION, git
from gitops.content import text as content_of

METRICS = f"{PRODUCTION}metrics.json"
JOBS = ("promotion", "checks", "data", "train", "test", "measure")
GOES_THROUGH = {"promotion": JOBS[:1], "words": ()}  # any other kind: all the others
MEASURED = ("metrics", "comparison", "explanations", "curves", "training", "service")
GATES = ("data", "model", "behaviour", "service")
OWN, MEASURED_BY_MAIN = "facts-train", ("facts-measure", "facts-service")
"""Artifacts: what a change says of itself, and what main's code finds."""


def gather(
    folder: Path, event: Mapping[str, Any], needs: Mapping[str, Any], jobs: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """All facts that the report speaks of, but for the champion's; what a file lacks is None.

    What is wrong with one is a problem.
    """
    problems: list[str] = []
    plan, runs_on = needs["plan"]["outputs"], platform.here()
    pull_request = event.get("pull_request")
    gates = {name: read(verdict(folder, name), "gate", problems) for name in ("promotion", *GATES)}
    return {
        "kind": plan.get("kind", "model"),
        "key": plan.get("key", ""),
        "restored": bool(plan.get("key")) and plan.get("key") == plan.get("bundle-key"),
        "replaces": plan.get("replaces") == "true",
        "own": read(folder / OWN / "metrics.json", "metrics", problems),
        "jobs": {"plan": needs["plan"]["result"]} | {name: needs[name]["result"] for name in shown(plan.get("kind"))},
        "gates": {name: gate for name, gate in gates.items() if gate},
        "champion": None,
        "timings": list(timings(jobs, runs_on["gpu_runner"])),
        "run": {
            "url": run_url(),
            "draft": bool(pull_request and pull_request.get("draft")),
            "fork": from_fork(pull_request),
            "gpu_price": float(runs_on["gpu_price"] or 0),
        },
        "problems": problems,
    } | {name: read(found(folder, f"{name}.json"), name, problems) for name in MEASURED}


def shown(kind: str | None) -> Iterator[str]:
    """The jobs that a kind of change goes through."""
    yield from GOES_THROUGH.get(kind or "", JOBS[1:])


def found(folder: Path, name: str) -> Path:
    """A file by its name, wherever an artifact put it; what main measured before what the change says of itself."""
    places = [*(folder / artifact for artifact in MEASURED_BY_MAIN), folder]
    return next((path for place in places for path in sorted(place.rglob(name))), folder / name)


def verdict(folder: Path, gate: str) -> Path:
    """What the change's own judge wrote of a gate; of one that it has none for, what main's did."""
    own = (path for path in sorted(folder.rglob(f"gate-{gate}.json")) if not {*MEASURED_BY_MAIN} & {*path.parts})
    return next(own, found(folder, f"gate-{gate}.json"))


def read(path: Path, form: str, problems: list[str]) -> Any:
    """A JSON file of the given form, or None; adds a sentence to `problems` where it is not of that form."""
    return checked(path.read_bytes(), path.name, form, problems) if path.is_file() else None


def checked(whole: bytes | str, name: str, form: str, problems: list[str]) -> Any:
    """What JSON says that has the given form, else None; adds a sentence to `problems` where it has not."""
    try:
        value = json.loads(whole)
    except (ValueError, RecursionError):
        problems.append(f"{name} is not JSON and is not shown")
        return None
    if problem := check(value, form):
        problems.append(f"{name} is not as facts.schema.json says, {problem}, and is not shown")
        return None
    return value


def champion(identity: Sequence[Any] | None, problems: list[str]) -> Any:
    """The metrics of what a problem's model is compared with, as its promotion left them; None where there is none."""
    entry = ledger.champion(ledger.entries(), identity)
    if entry is None or not git("ls-tree", entry.commit, "--", METRICS):
        return None
    return checked(content_of(entry.commit, METRICS), "metrics.json", "metrics", problems)


def run_url(run: int | None = None) -> str:
    """The page of a run, by default of this one."""
    page = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/".format(**os.environ)
    return page + (str(run) if run else os.environ["GITHUB_RUN_ID"])


def check(value: Any, form: str) -> str | None:
    """Where a value is not of the form that facts.schema.json gives it; None where it is."""
    schema = json.loads(Path(__file__).with_name("facts.schema.json").read_text())
    judge = Draft202012Validator({**schema, "$ref": f"#/$defs/{form}"}, format_checker=FormatChecker(["date"]))
    error = next(judge.iter_errors(value), None)
    return f"at {error.json_path}" if error else None


def from_fork(pull_request: Mapping[str, Any] | None) -> bool:
    """Whether there is a request, and its head is another repository's; a deleted fork is null."""
    if pull_request is None:
        return False
    head = pull_request["head"].get("repo")
    return head is None or head["full_name"] != pull_request["base"]["repo"]["full_name"]


def timings(jobs: Iterable[Mapping[str, Any]], gpu: str) -> Iterator[dict[str, Any]]:
    """Name, runner and seconds of each job that has ended; `gpu` is the label of the runner that trains."""
    for job in jobs:
        if job["started_at"] and job["completed_at"] and job["conclusion"] != "skipped":
            seconds = datetime.fromisoformat(job["completed_at"]) - datetime.fromisoformat(job["started_at"])
            labels = job["labels"]
            yield {
                "name": job["name"],
                "runner": ", ".join(labels),
                "seconds": max(seconds.total_seconds(), 0),
                "gpu": bool(gpu) and gpu in labels,
            }
