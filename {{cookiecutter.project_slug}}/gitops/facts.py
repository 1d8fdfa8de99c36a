"""What the run's jobs measured, checked against facts.schema.json before anything is said of it."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

JOBS = ("promotion", "checks", "data", "train", "test", "service")
GOES_THROUGH = {"promotion": JOBS[:1], "words": ()}  # any other kind: all the others
MEASURED = ("metrics", "comparison", "explanations", "curves", "training", "service")
GATES = ("data", "model", "behaviour", "service")
CHAMPION = Path("deploy/production/metrics.json")  # of the base branch: the report runs on its tree


def gather(
    folder: Path, event: Mapping[str, Any], needs: Mapping[str, Any], jobs: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """All facts that the report speaks of; what a file lacks is None, what is wrong with it is a problem."""
    problems: list[str] = []
    plan = needs["plan"]["outputs"]
    pull_request = event.get("pull_request") or {}
    gates = {name: read(found(folder, f"gate-{name}.json"), "gate", problems) for name in ("promotion", *GATES)}
    return {
        "kind": plan.get("kind", "model"),
        "key": plan.get("key", ""),
        "restored": bool(plan.get("key")) and plan.get("key") == needs["data"]["outputs"].get("restored-key"),
        "jobs": {"plan": needs["plan"]["result"]} | {name: needs[name]["result"] for name in shown(plan.get("kind"))},
        "gates": {name: gate for name, gate in gates.items() if gate},
        "champion": read(CHAMPION, "metrics", problems),
        "timings": list(timings(jobs)),
        "run": {
            "url": run_url(),
            "draft": bool(pull_request.get("draft")),
            "fork": bool(pull_request) and from_fork(pull_request),
            "gpu_price": price(os.environ.get("GPU_PRICE", ""), problems),
        },
        "problems": problems,
    } | {name: read(found(folder, f"{name}.json"), name, problems) for name in MEASURED}


def shown(kind: str | None) -> Iterator[str]:
    """The jobs that a kind of change goes through."""
    yield from GOES_THROUGH.get(kind or "", JOBS[1:])


def found(folder: Path, name: str) -> Path:
    """A file by its name, wherever an artifact of several files put it."""
    return next(folder.rglob(name), folder / name)


def read(path: Path, form: str, problems: list[str]) -> Any:
    """A JSON file of the given form, or None; adds a sentence to `problems` where it is not of that form."""
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text())
    except ValueError:
        problems.append(f"{path.name} is not JSON and is not shown")
        return None
    if problem := check(value, form):
        problems.append(f"{path.name} is not as facts.schema.json says, {problem}, and is not shown")
        return None
    return value


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


def from_fork(pull_request: Mapping[str, Any]) -> bool:
    """Whether the head is another repository's; a deleted fork is null."""
    head = pull_request["head"].get("repo")
    return head is None or head["full_name"] != pull_request["base"]["repo"]["full_name"]


def timings(jobs: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Name, runner and seconds of each job that has ended."""
    gpu = os.environ.get("GPU_RUNNER")
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


def price(variable: str, problems: list[str]) -> float | None:
    """The repository variable GPU_PRICE, money an hour; None where it is not set or no number."""
    try:
        return float(variable) if variable else None
    except ValueError:
        problems.append("The variable GPU_PRICE is no number: write the price of an hour, such as 1.20")
        return None
