"""The rows that GitHub Actions and checks leave: runs, jobs, check suites and runs, artifacts, variables."""

import hashlib
import re
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import quote

from . import answers
from .answers import ACTIONS_APP, Json
from .state import Environment, Refused, Repo, State, snapshot


def later(state: State, **ahead: float) -> str:
    return (state.clock().astimezone(UTC) + timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


def updated(row: Json, body: Json) -> Json:
    """The row, with the fields of the body that it has."""
    row.update({name: value for name, value in body.items() if name in row})
    return row


def start_run(
    state: State, repo: Repo, *, path: str, event: str, sha: str, branch: str, actor: str, **more: Any
) -> Json:
    """A workflow run with its check suite; more: name, display_title, status ("waiting", "completed"), conclusion..."""
    suite = check_suite(state, repo, ACTIONS_APP, sha, branch)
    number = len(repo.rows("runs", path=path)) + 1
    record = repo.git.commits(sha, "-1")[0]
    head_commit = {"id": sha, "tree_id": record["tree"], "message": record["message"]}
    people = {role: {name: record[role][name] for name in ("name", "email")} for role in ("author", "committer")}
    head_commit |= {"timestamp": record["committer"]["date"], **people}
    workflow = workflow_id(path)
    fields = {
        **snapshot(answers.RUN_DEFAULTS),
        **{"name": path, "path": path, "event": event, "head_sha": sha, "head_branch": branch, "run_number": number},
        **{"workflow_id": workflow, "workflow_url": f"{repo.api}/actions/workflows/{workflow}"},
        **{"display_title": record["message"].partition("\n")[0], "head_commit": head_commit},
        **{"check_suite_id": suite["id"], "check_suite_url": suite["url"], "run_started_at": state.now()},
        **{"actor": state.account(actor), "triggering_actor": state.account(actor)},
        **{"repository": repo.info, "head_repository": repo.info, "head_repository_id": repo.info["id"], **more},
    }
    run = state.new(repo, "runs", "actions/runs/{id}", fields, "actions/runs/{id}")
    run |= {f"{name}_url": f"{run['url']}/{name}" for name in ("jobs", "logs", "artifacts", "cancel", "rerun")}
    return run


def workflow_id(path: str) -> int:
    return int(hashlib.sha256(path.encode()).hexdigest()[:6], 16)


def workflows(repo: Repo) -> list[Json]:
    """The workflows of the default branch, and whether they are active."""
    tip = repo.git.resolve(repo.info["default_branch"])
    files = repo.git.tree(tip, "-r", path=".github/workflows") if tip else []
    found = {file["path"]: repo.git.read(file["sha"]).decode() for file in files}
    return [workflow(repo, path, text) for path, text in found.items() if path.endswith((".yml", ".yaml"))]


def workflow(repo: Repo, path: str, text: str) -> Json:
    number, named = workflow_id(path), re.search(r"^name: *(.+)$", text, re.MULTILINE)
    page, times = repo.info["html_url"], dict.fromkeys(("created_at", "updated_at"), repo.info["created_at"])
    return {
        **{"id": number, "node_id": f"W_{number}", "name": named[1] if named else path, "path": path, **times},
        "state": repo.workflow_states.get(path, "active"),
        "url": f"{repo.api}/actions/workflows/{number}",
        "html_url": f"{page}/blob/{repo.info['default_branch']}/{path}",
        "badge_url": f"{page}/workflows/{quote(named[1] if named else path)}/badge.svg",
    }


def update_run(state: State, repo: Repo, run: int, **changes: Any) -> Json:
    """status and conclusion, of the run and of its suite."""
    row = repo.row("runs", run)
    row |= {**changes, "updated_at": state.now()}
    updated(repo.row("check_suites", row["check_suite_id"]), changes)
    return row


def set_job(state: State, repo: Repo, run: int, name: str, **changes: Any) -> Json:
    """A job of the run's current attempt, made where it is new, with its check run; changes: status, conclusion..."""
    parent = repo.row("runs", run)
    suite, attempt = parent["check_suite_id"], parent["run_attempt"]
    found = repo.rows("jobs", run_id=run, run_attempt=attempt, name=name)
    if not found:
        body = {"name": name, "head_sha": parent["head_sha"]}
        check = check_run(state, repo, ACTIONS_APP, body, suite)
        fields = {
            **{"run_id": run, "run_url": parent["url"], "run_attempt": attempt, "name": name},
            **{"head_sha": parent["head_sha"], "head_branch": parent["head_branch"], "workflow_name": parent["name"]},
            "check_run_url": check["url"],
        }
        page = f"actions/runs/{run}/job/{{id}}"
        found = [state.new(repo, "jobs", "actions/jobs/{id}", snapshot(answers.JOB_DEFAULTS) | fields, page)]
        check["details_url"] = check["html_url"] = found[0]["html_url"]
    job = found[0]
    job |= changes
    times = {"in_progress": "started_at", "completed": "completed_at"}
    if job["status"] in times:
        job[times[job["status"]]] = state.now()
        job["started_at"] = job["started_at"] or state.now()
    update_check_run(state, repo.row("check_runs", int(job["check_run_url"].rpartition("/")[2])), changes)
    return job


def check_suite(state: State, repo: Repo, app: int, sha: str, branch: str | None) -> Json:
    fields: Json = {"head_branch": branch, "head_sha": sha, "before": None, "after": None, "latest_check_runs_count": 0}
    fields |= {"status": "queued", "conclusion": None, "pull_requests": [], "repository": repo.info}
    record = repo.git.commits(sha, "-1")[0]
    head_commit = {"id": sha, "tree_id": record["tree"], "message": record["message"]}
    head_commit |= {"timestamp": record["committer"]["date"], "author": None, "committer": None}
    fields |= {"head_commit": head_commit, "app": state.app_answer(app)}
    suite = state.new(repo, "check_suites", "check-suites/{id}", fields)
    suite["check_runs_url"] = f"{suite['url']}/check-runs"
    return suite


def check_run(state: State, repo: Repo, app: int, body: Json, suite: int = 0) -> Json:
    """A check run of an App; it joins the App's suite of that commit where none is named."""
    if not suite:
        suites = [row for row in repo.rows("check_suites", head_sha=body["head_sha"]) if row["app"]["id"] == app]
        suite = (suites or [check_suite(state, repo, app, body["head_sha"], None)])[0]["id"]
    fields = {**snapshot(answers.CHECK_DEFAULTS), "check_suite": {"id": suite}, "app": state.app_answer(app)}
    fields |= {"name": body["name"], "head_sha": body["head_sha"]}
    check = state.new(repo, "check_runs", "check-runs/{id}", fields, "runs/{id}")
    url = f"{check['url']}/annotations"
    check["output"] = {"title": None, "summary": None, "text": None, "annotations_count": 0, "annotations_url": url}
    return update_check_run(state, check, body)


def update_check_run(state: State, check: Json, body: Json) -> Json:
    if body.get("conclusion"):
        check |= {"status": "completed", "completed_at": state.now()}
    if body.get("status", "queued") != "queued" or body.get("conclusion"):
        check["started_at"] = check["started_at"] or state.now()
    check["output"] |= body.get("output") or {}
    return updated(check, {name: value for name, value in body.items() if name not in ("output", "name")})


def upload_artifact(
    state: State, repo: Repo, run: int, name: str, content: bytes, *, overwrite: bool = False, days: int = 90
) -> Json:
    """A zip under a name that is new in this attempt of the run, or 409, as actions/upload-artifact leaves it."""
    parent = repo.row("runs", run)
    key = (run, parent["run_attempt"], name)
    if overwrite:
        for row in repo.rows("artifacts", name=name):
            if (row["workflow_run"] or {}).get("id") == run:
                del repo.tables["artifacts"][row["id"]]
    elif key in repo.uploaded:
        raise Refused(409, "Conflict: an artifact with this name already exists on the workflow run")
    repo.uploaded.add(key)
    of = {"id": run, "repository_id": repo.info["id"], "head_repository_id": parent["head_repository_id"]}
    fields = {
        **{"name": name, "size_in_bytes": len(content), "expired": False, "expires_at": later(state, days=days)},
        "workflow_run": {**of, "head_branch": parent["head_branch"], "head_sha": parent["head_sha"]},
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
    }
    artifact = state.new(repo, "artifacts", "actions/artifacts/{id}", fields)
    artifact["archive_download_url"] = f"{artifact['url']}/zip"
    repo.bytes[artifact["id"]] = content
    return artifact


def set_variable(state: State, holder: Repo | Environment, name: str, value: str) -> Json:
    created = holder.variables.get(name, {}).get("created_at", state.now())
    holder.variables[name] = {"name": name, "value": value, "created_at": created, "updated_at": state.now()}
    return holder.variables[name]
