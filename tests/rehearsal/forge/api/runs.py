"""Commit statuses, checks, workflow runs, artifacts and dispatches."""

import hashlib

from .. import actions
from ..answers import Json
from ..state import Refused, invalid, login_of, present
from .objects import find
from .routing import Answer, Call, counted, route, serve_rows

serve_rows("check-suites", "check_suites", "checks")
serve_rows("check-runs", "check_runs", "checks")
serve_rows("actions/runs", "runs", "actions")
serve_rows("actions/jobs", "jobs", "actions")
serve_rows("actions/artifacts", "artifacts", "actions", removed_by="actions")


@route("GET /repos/{repo}/commits/{ref*}/status", grant="statuses:read")
def get_combined_status(call: Call, ref: str) -> Json:
    sha = call.repo.commit(ref)
    newest = list({row["context"]: row for row in call.repo.rows("statuses", sha=sha)}.values())
    states = {row["state"] for row in newest}
    verdict = "failure" if states & {"failure", "error"} else "success" if states == {"success"} else "pending"
    url = f"{call.repo.api}/commits/{sha}"
    extra = {"state": verdict, "sha": sha, "repository": call.repo.info, "commit_url": url, "url": f"{url}/status"}
    return counted("statuses", newest) | extra


@route("GET /repos/{repo}/commits/{ref*}/statuses", grant="statuses:read")
def list_statuses(call: Call, ref: str) -> list[Json]:
    return call.repo.rows("statuses", sha=call.repo.commit(ref))[::-1]


@route("POST /repos/{repo}/statuses/{sha}", grant="statuses:write")
def create_status(call: Call, sha: str) -> Json:
    body, sha = call.need("Status", "state"), call.repo.commit(sha)
    if body["state"] not in ("error", "failure", "pending", "success"):
        raise invalid("Status", "state", "invalid")
    fields = {"context": "default", "description": None, "target_url": None, **body, "sha": sha}
    creator = {"creator": call.user(), "avatar_url": call.user()["avatar_url"]}
    status = call.state.new(call.repo, "statuses", f"statuses/{sha}", fields | creator)
    if call.actor.app:
        call.repo.status_apps[status["id"]] = call.actor.app
    return status


@route("GET /repos/{repo}/commits/{ref*}/check-runs", grant="checks:read")
def list_check_runs(call: Call, ref: str) -> Json:
    rows = call.repo.rows("check_runs", head_sha=call.repo.commit(ref))
    if name := call.query.get("check_name"):
        rows = [row for row in rows if row["name"] == name]
    if call.query.get("filter", "latest") == "latest":
        rows = list({(row["name"], row["app"]["id"], row["check_suite"]["id"]): row for row in rows}.values())
    return counted("check_runs", rows[::-1])


@route("GET /repos/{repo}/commits/{ref*}/check-suites", grant="checks:read")
def list_check_suites(call: Call, ref: str) -> Json:
    return counted("check_suites", call.repo.rows("check_suites", head_sha=call.repo.commit(ref)))


@route("POST /repos/{repo}/check-suites", grant="checks:write")
def create_check_suite(call: Call) -> Json:
    sha = call.repo.commit(call.need("CheckSuite", "head_sha")["head_sha"])
    return actions.check_suite(call.state, call.repo, call.actor.app, sha, None)


@route("GET /repos/{repo}/check-suites/{id}/check-runs", grant="checks:read")
def list_suite_check_runs(call: Call, id: int) -> Json:
    return counted("check_runs", call.repo.rows("check_runs", check_suite={"id": id}))


@route("POST /repos/{repo}/check-runs", grant="checks:write")
def create_check_run(call: Call) -> Json:
    if not call.actor.app:
        raise Refused(403, "You must authenticate via a GitHub App.")
    body = call.need("CheckRun", "name", "head_sha")
    body["head_sha"] = call.repo.commit(body["head_sha"])
    return actions.check_run(call.state, call.repo, call.actor.app, body)


@route("PATCH /repos/{repo}/check-runs/{id}", grant="checks:write")
def update_check_run(call: Call, id: int) -> Json:
    check = call.repo.row("check_runs", id)
    if check["app"]["id"] != call.actor.app:
        message = (
            f"Invalid app_id `{call.actor.app}` - check run can only be modified by the GitHub App that created it."
        )
        raise Refused(403, message)
    return actions.update_check_run(call.state, check, call.body)


@route("POST /repos/{repo}/dispatches", grant="contents:write")
def dispatch_repository(call: Call) -> None:
    body = call.need("RepositoryDispatch", "event_type")
    payload = {"action": body["event_type"], "client_payload": body.get("client_payload", {})}
    call.emit("repository_dispatch", **payload)


@route("POST /repos/{repo}/actions/workflows/{workflow}/dispatches", grant="actions:write")
def dispatch_workflow(call: Call, workflow: str) -> None:
    """The file must be on the default branch and on the ref, where its `on:` is read."""
    body = call.need("WorkflowDispatch", "ref")
    name = body["ref"].removeprefix("refs/heads/").removeprefix("refs/tags/")
    kind = "heads" if call.repo.git.resolve(f"refs/heads/{name}") else "tags"
    sha = call.repo.git.resolve(f"refs/{kind}/{name}")
    if not sha:
        raise Refused(422, f"No ref found for: {body['ref']}")
    path = f".github/workflows/{workflow}"
    known = call.repo.git.resolve(call.repo.info["default_branch"])
    there, file = known and find(call.repo, known, path), find(call.repo, sha, path)
    if not there or not file:
        raise Refused(404, "Not Found")
    if b"workflow_dispatch" not in call.repo.git.read(file["sha"]):
        raise Refused(422, "Workflow does not have 'workflow_dispatch' trigger")
    payload = {"inputs": body.get("inputs", {}), "ref": f"refs/{kind}/{name}", "workflow": path}
    call.state.emit(call.repo, "workflow_dispatch", call.actor, payload, ref=f"refs/{kind}/{name}", sha=sha)


@route("GET /repos/{repo}/actions/workflows", grant="actions:read")
def list_workflows(call: Call) -> Json:
    return counted("workflows", actions.workflows(call.repo))


@route("GET /repos/{repo}/actions/workflows/{workflow}", grant="actions:read")
def get_workflow(call: Call, workflow: str) -> Json:
    """By its id or its file's name."""
    for row in actions.workflows(call.repo):
        if workflow in (str(row["id"]), row["path"].rpartition("/")[2]):
            return row
    raise Refused(404, "Not Found")


@route("PUT /repos/{repo}/actions/workflows/{workflow}/enable", grant="actions:write")
def enable_workflow(call: Call, workflow: str) -> None:
    call.repo.workflow_states.pop(get_workflow(call, workflow)["path"], None)


@route("PUT /repos/{repo}/actions/workflows/{workflow}/disable", grant="actions:write")
def disable_workflow(call: Call, workflow: str) -> None:
    call.repo.workflow_states[get_workflow(call, workflow)["path"]] = "disabled_manually"


@route("GET /repos/{repo}/actions/runs", grant="actions:read")
def list_runs(call: Call) -> Json:
    query = call.query
    wanted = present(query, ("event", "head_sha")) | ({"head_branch": query["branch"]} if "branch" in query else {})
    runs = [
        run
        for run in call.repo.rows("runs", **wanted)
        if query.get("status") in (None, run["status"], run["conclusion"])
        and query.get("actor") in (None, login_of(run["actor"]))
    ]
    return counted("workflow_runs", runs[::-1])


@route("GET /repos/{repo}/actions/workflows/{workflow}/runs", grant="actions:read")
def list_workflow_runs(call: Call, workflow: str) -> Json:
    """By the workflow's id or its file's name."""
    runs = list_runs(call)["workflow_runs"]
    runs = [run for run in runs if workflow in (str(run["workflow_id"]), run["path"].rpartition("/")[2])]
    return counted("workflow_runs", runs)


@route("GET /repos/{repo}/actions/runs/{id}/jobs", grant="actions:read")
def list_jobs(call: Call, id: int) -> Json:
    jobs = call.repo.rows("jobs", run_id=call.repo.row("runs", id)["id"])
    if call.query.get("filter", "latest") == "latest":
        jobs = list({job["name"]: job for job in jobs}.values())
    return counted("jobs", jobs)


STEERING = ("approve", "cancel", "rerun", "rerun-failed-jobs")


@route(*(f"POST /repos/{{repo}}/actions/runs/{{id}}/{verb}" for verb in STEERING), grant="actions:write")
def steer_run(call: Call, id: int) -> Answer:
    """Tells the driver by an event `run` with the verb as its action."""
    run, verb = call.repo.row("runs", id), call.path.rpartition("/")[2]
    over, waits = run["status"] == "completed", run["conclusion"] == "action_required"
    if verb == "approve" and not waits:
        raise Refused(403, "This run is not from a fork pull request or does not wait for approval")
    if verb == "cancel" and over:
        raise Refused(409, "Cannot cancel a workflow run that is completed.")
    if verb.startswith("rerun") and (waits or not over):
        raise Refused(403, "This workflow run cannot be retried")
    if verb != "cancel":
        run |= {"status": "queued", "conclusion": None, "updated_at": call.state.now()}
        run["run_attempt"] += verb != "approve"
    call.emit("run", f"refs/heads/{run['head_branch']}", run["head_sha"], action=verb, workflow_run=run)
    return Answer(202 if verb == "cancel" else 201, {})


@route("GET /repos/{repo}/actions/artifacts", grant="actions:read")
def list_artifacts(call: Call) -> Json:
    wanted = present(call.query, ("name",))
    return counted("artifacts", call.repo.rows("artifacts", **wanted)[::-1])


@route("GET /repos/{repo}/actions/runs/{id}/artifacts", grant="actions:read")
def list_run_artifacts(call: Call, id: int) -> Json:
    rows = [row for row in list_artifacts(call)["artifacts"] if (row["workflow_run"] or {}).get("id") == id]
    return counted("artifacts", rows)


@route("GET /repos/{repo}/actions/artifacts/{id}/zip", grant="actions:read")
def download_artifact(call: Call, id: int) -> Answer:
    if call.repo.row("artifacts", id)["expired"]:
        raise Refused(410, "Artifact has expired")
    secret = hashlib.sha256(call.repo.bytes[id]).hexdigest()
    return Answer(302, b"", {"Location": f"{call.state.url}/stored/{call.repo.name}/{id}/{secret}.zip"})


@route("GET /stored/{owner}/{name}/{id}/{secret}.zip")
def stored(call: Call, owner: str, name: str, id: int, secret: str) -> Answer:
    """Where a download is redirected to: no token, an address that cannot be guessed."""
    content = call.state.repositories[f"{owner}/{name}"].bytes.get(id, b"")
    if hashlib.sha256(content).hexdigest() != secret:
        raise Refused(404, "Not Found")
    return Answer(200, content, {"Content-Type": "application/zip"})


@route("PUT /repos/{repo}/actions/runs/{id}/artifacts/{name}")
def upload_artifact(call: Call, id: int, name: str) -> Answer:
    """Not GitHub's: where the stand-in of actions/upload-artifact sends its zip; any token of the repository does."""
    overwrite = call.query.get("overwrite") == "true"
    days = int(call.query.get("retention_days") or 90)
    about = (call.state, call.repo, id, name, call.content)
    return Answer(201, actions.upload_artifact(*about, overwrite=overwrite, days=days))
