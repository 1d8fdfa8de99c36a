"""GitHub Actions on this machine: the forge's events start workflow runs, and act runs their jobs.

act evaluates expressions, runs steps and keeps the log. What it does not do is here: `on:` filters, a token for each
job with exactly its permissions, concurrency groups, time limits, cancelling, approval and re-runs. For these every
job is run alone: act gets a copy of the file in which the jobs that it needs are replaced by their results.
"""

import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from .forge import Actor, Forge, Repo
from .forge import Event as Happened
from .forge import Refused as Forbidden
from .forge.answers import ACTIONS
from .runner import Context, Job, Runner
from .workflow import Event, Refused, Result, Workflow

NOTHING = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git's empty tree
SIX_HOURS = "360"  # the limit of a job that names none, in minutes
SKIP = re.compile(r"\[(skip ci|ci skip|no ci|skip actions|actions skip)\]")  # in the head commit's message
HEEDS_CANCELLING = re.compile(r"\b(always|cancelled)\(\)")


@dataclass
class Run:
    """A workflow run: its jobs by id, and what became of it."""

    id: int
    repository: str
    workflow: Workflow
    event: Event
    files: dict[str, str]
    fork: bool
    number: int
    github: "Rehearsal" = field(repr=False)
    attempt: int = 1
    jobs: dict[str, Job] = field(default_factory=dict)
    conclusion: str = ""
    error: str = ""  # why it could not start
    group: str = ""
    replaces: bool = False  # cancel-in-progress
    cancelled: bool = False
    lock: Any = field(default_factory=threading.RLock, repr=False)

    @property
    def summary(self) -> str:
        """The step summaries of all jobs, as the page of the run shows them."""
        return "\n".join(job.summary for job in self.jobs.values() if job.summary)

    @property
    def log(self) -> str:
        return self.error + "\n".join(f"== {job.name} ({job.conclusion})\n{job.log}" for job in self.jobs.values())

    def cancel(self) -> None:
        self._steer("cancel")

    def approve(self) -> None:
        self._steer("approve")

    def rerun(self) -> None:
        self._steer("rerun")

    def rerun_failed(self) -> None:
        self._steer("rerun-failed-jobs")

    def _steer(self, verb: str) -> None:
        """What a person presses on the run's page."""
        self.github.call("POST", f"/repos/{self.repository}/actions/runs/{self.id}/{verb}")


class Rehearsal:
    """`with Rehearsal(folder, environment) as github:` is a forge whose events start workflow runs.

    environment: the virtual environment that setup actions put on the PATH of jobs. image: environment variables that
    the machine's image has set, such as the address of a package index. at_once: jobs run side by side.
    """

    def __init__(
        self, folder: Path, environment: Path, image: Mapping[str, str] | None = None, at_once: int = 2
    ) -> None:
        self.folder = folder.resolve()
        self.forge = Forge(self.folder / "forge")
        self.runner = Runner(self.folder, environment.absolute(), image or {})
        self.runs: list[Run] = []
        self.secrets: dict[tuple[str, str], dict[str, str]] = {}  # by repository and environment, if any
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._slots = threading.Semaphore(at_once)
        self._turn = threading.Condition()
        self._active: dict[tuple[str, str], Run] = {}
        self._pending: dict[tuple[str, str], Run] = {}

    def __enter__(self) -> Self:
        self.forge.__enter__()
        self.forge.subscribe(self._happened)
        return self

    def __exit__(self, *_: object) -> None:
        for run in self.runs:
            self._cancel(run)
        for thread in self._threads:
            thread.join()
        self.forge.__exit__()

    # What a person does

    def wait(self, minutes: float = 60) -> None:
        """Wait until all runs have ended, those started meanwhile too. Raises what broke the driver itself."""
        until = time.monotonic() + minutes * 60
        self.forge.settle()
        while alive := [thread for thread in self._threads if thread.is_alive()]:
            alive[0].join(max(0, until - time.monotonic()))
            if time.monotonic() > until:
                raise TimeoutError("\n".join(run.log for run in self.runs if not run.conclusion))
            self.forge.settle()
        if self._errors:
            raise self._errors.pop(0)

    def run_workflow(self, file: str, repository: str = "", ref: str = "main", **inputs: str) -> None:
        """Press "Run workflow" on a file of .github/workflows."""
        path = f"/repos/{self._repository(repository).name}/actions/workflows/{file}/dispatches"
        self.call("POST", path, {"ref": ref, "inputs": inputs})

    def schedule(self, file: str, repository: str = "") -> None:
        """Let the clock start a workflow of the default branch."""
        repo = self._repository(repository)
        with self.forge.lock:
            self.forge.emit(repo, "schedule", Actor(repo.owner), {"workflow": f".github/workflows/{file}"})

    def secret(self, name: str, value: str, repository: str = "", environment: str = "") -> None:
        """A secret of a repository, or of one of its environments."""
        repo, key = self._repository(repository), environment.lower()
        holder = repo.environments[key] if environment else repo
        holder.secrets.add(name)
        self.secrets.setdefault((repo.name, key), {})[name] = value

    def call(self, method: str, path: str, body: Any = None, login: str = "") -> Any:
        """Call the forge's API as a person, the owner of the first repository if none is named."""
        token = self.forge.user(login or self._repository("").owner)
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(
            self.forge.api_url + path, json.dumps(body or {}).encode(), headers, method=method
        )
        with urllib.request.urlopen(request) as answer:
            result = json.loads(answer.read() or b"null")
        self.forge.settle()
        return result

    @property
    def record(self) -> list[dict[str, Any]]:
        """What went out by actions of others: logins, pushed images, attestations."""
        file = self.folder / "record"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def _repository(self, name: str) -> Repo:
        return self.forge.repositories[name] if name else next(iter(self.forge.repositories.values()))

    # From an event to runs

    def _happened(self, happened: Happened) -> None:
        try:
            if happened.name == "run":
                self._steer(happened)
            elif happened.starts != "none":
                self._start_runs(happened)
            if target := self._target(happened):
                self._start_runs(target)
        except Exception as error:  # raised by wait(), where the test is
            self._errors.append(error)

    def _steer(self, happened: Happened) -> None:
        row = happened.payload["workflow_run"]
        run = next(run for run in self.runs if run.id == row["id"])
        if happened.action == "cancel":
            self._cancel(run)
            return
        failed = [job.id for job in run.jobs.values() if job.conclusion not in ("success", "skipped")]
        again = run.workflow.dependents(failed) if happened.action == "rerun-failed-jobs" else run.workflow.jobs
        run.attempt, run.conclusion, run.cancelled = row["run_attempt"], "", False
        self._begin(run, again)

    def _target(self, happened: Happened) -> Happened | None:
        """What a pull request is to `pull_request_target`: an event of the default branch, whatever it goes into.

        It starts at once for a fork, and where git cannot merge; what a workflow's own token does starts nothing.
        """
        if happened.name != "pull_request" or happened.actor == ACTIONS:
            return None
        repo = self.forge.repositories[happened.repository]
        ref = f"refs/heads/{repo.info['default_branch']}"
        tip = repo.git.resolve(ref)
        return replace(happened, name="pull_request_target", ref=ref, sha=tip, starts="run") if tip else None

    def _start_runs(self, happened: Happened) -> None:
        repo = self.forge.repositories[happened.repository]
        if happened.name in ("push", "pull_request") and SKIP.search(message(repo, happened)):
            return
        files = github_files(repo, happened.sha)
        event = seen(repo, happened)
        only = happened.payload.get("workflow") if happened.name in ("workflow_dispatch", "schedule") else None
        for path, text in files.items():
            if re.fullmatch(r"\.github/workflows/[^/]+\.ya?ml", path) and only in (None, path):
                workflow = Workflow(path, text)
                if workflow.starts(event):
                    self._start(repo, workflow, with_inputs(workflow, event), files, happened.starts == "approval")

    def _start(self, repo: Repo, workflow: Workflow, event: Event, files: dict[str, str], approval: bool) -> None:
        head = event.payload.get("pull_request", {}).get("head")
        bare = event.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")  # a tag too, as GitHub has it
        at = head or {"sha": event.sha, "ref": bare, "repo": repo.info}
        row = self.forge.start_run(
            repo.name,
            **{"path": workflow.path, "name": workflow.name, "event": event.name, "actor": event.actor},
            **{"sha": at["sha"], "branch": at["ref"]},
            **{"head_repository": at["repo"], "head_repository_id": at["repo"]["id"]},
        )
        fork = at["repo"]["full_name"] != repo.name and event.name != "pull_request_target"
        run = Run(row["id"], repo.name, workflow, event, files, fork, row["run_number"], self)
        self.runs.append(run)
        if approval:
            self._conclude(run, "action_required")
        else:
            self._begin(run, workflow.jobs)

    def _begin(self, run: Run, jobs: Iterable[str]) -> None:
        """Make the jobs of this attempt, take a place in the concurrency group, and let them run."""
        try:
            context = self._context(run)
            self._prepare(run, context, jobs)
        except Refused as refused:
            run.error = str(refused)
            self._conclude(run, "startup_failure")
            return
        for job in jobs:
            self._report(run, run.jobs[job], status="queued", conclusion=None, labels=run.jobs[job].labels)
        self._line_up(run)
        self._spawn(self._run, run, context, [run.jobs[job] for job in jobs])

    def _prepare(self, run: Run, context: Context, jobs: Iterable[str]) -> None:
        """The jobs' names, labels and limits, and the concurrency group: whatever depends on no result."""
        workflow = run.workflow
        workflow.check()
        for called in context.called.values():
            called.check_called()
        group = workflow.tree.get("concurrency") or {}
        group = {"group": group} if isinstance(group, str) else group
        texts = {"group": group.get("group", ""), "replaces": group.get("cancel-in-progress", "false")}
        for job in jobs:
            body = workflow.jobs[job]
            texts |= {
                f"name {job}": body.get("name", job),
                f"labels {job}": workflow.labels(job),
                f"minutes {job}": body.get("timeout-minutes", SIX_HOURS),
            }
        value = self.runner.evaluate(context, texts)
        run.group, run.replaces = value["group"], value["replaces"] == "true"
        for job in jobs:
            labels, minutes = value[f"labels {job}"].split("\n"), float(value[f"minutes {job}"])
            permissions = workflow.permissions(job)
            if uses := workflow.jobs[job].get("uses"):
                permissions = context.called[uses].permissions_called(permissions)
            if run.fork:
                permissions = dict.fromkeys(permissions, "read")
            run.jobs[job] = Job(job, value[f"name {job}"], labels, minutes, permissions)

    def _context(self, run: Run) -> Context:
        repo, event = self.forge.repositories[run.repository], run.event
        env = {
            **{"GITHUB_API_URL": self.forge.api_url, "GITHUB_SERVER_URL": self.forge.url},
            **{"GITHUB_GRAPHQL_URL": f"{self.forge.url}/api/graphql", "GITHUB_TRIGGERING_ACTOR": event.actor},
            **{"GITHUB_REPOSITORY": repo.name, "GITHUB_REPOSITORY_OWNER": repo.owner},
            **{"GITHUB_REPOSITORY_ID": str(repo.info["id"]), "GITHUB_REF": event.ref, "SHA_REF": event.sha},
            **{"GITHUB_RUN_ID": str(run.id), "GITHUB_RUN_NUMBER": str(run.number)},
            **{"GITHUB_RUN_ATTEMPT": str(run.attempt), "RUNNER_ENVIRONMENT": "github-hosted"},
            **{"GITHUB_WORKFLOW_REF": f"{repo.name}/{run.workflow.path}@{event.ref}", "GITHUB_WORKFLOW_SHA": event.sha},
            "ACTIONS_CACHE_URL": (self.folder / "caches" / repo.name).as_uri(),
            "ACTIONS_RESULTS_URL": (self.folder / "record").as_uri(),
            # GitHub's own actions store artifacts by a token of their own, whatever the job's may do.
            "ACTIONS_RUNTIME_TOKEN": self.forge.token(repo.name, {"actions": "read"}),
        }
        given = ({}, {}) if run.fork else self._given(repo)
        folder = self.folder / "runs" / f"{run.id}-{run.attempt}"
        called = {
            body["uses"]: self._called(run, body["uses"]) for body in run.workflow.jobs.values() if "uses" in body
        }
        return Context(folder, run.workflow, event, env, *given, files=run.files, called=called)

    def _called(self, run: Run, uses: str) -> Workflow:
        """A workflow of the same commit, or of another repository of the forge. Raises Refused as GitHub does."""
        if uses.removeprefix("./") in run.files:
            return Workflow(uses.removeprefix("./"), run.files[uses.removeprefix("./")])
        if there := re.fullmatch(r"([^/]+/[^/]+)/(\.github/workflows/[^/@]+)@(.+)", uses):
            name, path, ref = there.groups()
            other = self.forge.repositories.get(name)
            sha = other and other.git.resolve(ref)
            files = github_files(other, sha) if other and sha else {}
            # Repositories share private workflows only by a setting that is off, and that nothing here turns on.
            if other and path in files and (not other.info["private"] or name == run.repository):
                return Workflow(path, files[path])
        raise Refused(f'error parsing called workflow "{run.workflow.path}" -> "{uses}" : workflow was not found.')

    def _given(self, repo: Repo, environment: str = "") -> tuple[dict[str, str], dict[str, str]]:
        """The variables and secrets of a repository, or of one of its environments alone."""
        with self.forge.lock:
            holder = repo.environments[environment.lower()] if environment else repo
            variables = {name: row["value"] for name, row in holder.variables.items()}
            values = self.secrets.get((repo.name, environment.lower()), {})
            return variables, {name: value for name, value in values.items() if name in holder.secrets}

    # Concurrency groups: one run is active, one waits, and of several that want to wait only the newest may

    def _line_up(self, run: Run) -> None:
        key = (run.repository, run.group)
        if not run.group:
            return
        with self._turn:
            overtaken = [self._pending.get(key), self._active.get(key) if run.replaces else None]
            self._pending[key] = run
        for older in filter(None, overtaken):
            self._cancel(older)

    def _has_turn(self, run: Run) -> bool:
        """Wait until the group is free; False where the run was cancelled before that."""
        key = (run.repository, run.group)
        with self._turn:
            if run.group:
                self._turn.wait_for(lambda: run.cancelled or key not in self._active)
                if self._pending.get(key) is run:
                    del self._pending[key]
                if not run.cancelled:
                    self._active[key] = run
            return not run.cancelled

    def _leave(self, run: Run) -> None:
        with self._turn:
            if self._active.get((run.repository, run.group)) is run:
                del self._active[run.repository, run.group]
            self._turn.notify_all()

    def _cancel(self, run: Run) -> None:
        with run.lock:
            run.cancelled = True
            for job in run.jobs.values():
                job.interrupt()
        with self._turn:
            self._turn.notify_all()

    # A run and its jobs, each on a thread of its own

    def _run(self, run: Run, context: Context, jobs: list[Job]) -> None:
        if self._has_turn(run):
            self.forge.update_run(run.repository, run.id, status="in_progress")
            for thread in [self._spawn(self._job, run, context, job) for job in jobs]:
                thread.join()
        else:
            for job in jobs:
                job.conclusion = "cancelled"
                self._report(run, job, status="completed", conclusion="cancelled")
        self.forge.tokens.pop(context.env["ACTIONS_RUNTIME_TOKEN"], None)
        self._conclude(run, verdict(run))
        self._leave(run)

    def _job(self, run: Run, context: Context, job: Job) -> None:
        for need in run.workflow.needs(job.id):
            run.jobs[need].ended.wait()
        try:
            with self._slots:
                self._act(run, context, job)
            self._report(run, job, status="completed", conclusion=job.conclusion, steps=job.steps)
        except Exception:
            job.conclusion = "failure"
            raise
        finally:
            job.ended.set()

    def _act(self, run: Run, context: Context, job: Job) -> None:
        """Run the job; one that names an environment is a deployment to it, if the environment admits the run."""
        environment = ""
        if "environment" in run.workflow.jobs[job.id] and not self._too_late(run, job):
            environment = self.runner.environment_of(context, job, results(run), run.cancelled)
        if not environment:
            self._take_steps(run, context, job)
            return
        try:
            deployment = self.forge.start_deployment(run.repository, run.id, environment, run.event.ref)
        except Forbidden as refused:
            job.refuse(refused.message)
            return
        if not run.fork:
            variables, secrets = self._given(self.forge.repositories[run.repository], environment)
            variables, secrets = {**context.variables, **variables}, {**context.secrets, **secrets}
            context = replace(context, variables=variables, secrets=secrets)
        self._take_steps(run, context, job)
        state = "success" if job.conclusion == "success" else "failure"
        self.forge.end_deployment(run.repository, deployment, state)

    def _take_steps(self, run: Run, context: Context, job: Job) -> None:
        token = self.forge.token(run.repository, job.permissions)
        self.runner.label(context, job, results(run))
        with run.lock:
            if self._too_late(run, job):
                job.conclusion = "cancelled"
                return
            self._report(run, job, status="in_progress", labels=job.labels)
            self.runner.start(context, job, results(run), token, run.cancelled)
        self.runner.finish(context, job, token)
        self.forge.tokens.pop(token, None)

    def _too_late(self, run: Run, job: Job) -> bool:
        """Whether a job does not start, as the run was cancelled."""
        return run.cancelled and not HEEDS_CANCELLING.search(run.workflow.jobs[job.id].get("if", ""))

    def _report(self, run: Run, job: Job, **changes: Any) -> None:
        self.forge.set_job(run.repository, run.id, job.name, **changes)

    def _conclude(self, run: Run, conclusion: str) -> None:
        run.conclusion = conclusion
        self.forge.update_run(run.repository, run.id, status="completed", conclusion=conclusion)

    def _spawn(self, target: Any, *arguments: Any) -> threading.Thread:
        def guarded() -> None:
            try:
                target(*arguments)
            except Exception as error:  # raised by wait(), where the test is
                self._errors.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread


def results(run: Run) -> dict[str, Result]:
    return {job.id: job.result for job in run.jobs.values()}


def verdict(run: Run) -> str:
    conclusions = {job.conclusion for job in run.jobs.values()}
    if run.cancelled:
        return "cancelled"
    return next((word for word in ("failure", "cancelled", "success") if word in conclusions), "skipped")


def github_files(repo: Repo, sha: str) -> dict[str, str]:
    """.github of a commit: workflows, and the actions that they use."""
    found = repo.git.tree(sha, "-r")
    return {
        entry["path"]: repo.git.read(entry["sha"]).decode()
        for entry in found
        if entry["path"].startswith(".github/") and entry["path"].endswith((".yml", ".yaml"))
    }


def message(repo: Repo, happened: Happened) -> str:
    """What the commit says that a push or a pull request brings."""
    head = happened.payload["pull_request"]["head"]["sha"] if happened.name == "pull_request" else happened.sha
    return repo.git("show", "--no-patch", "--format=%B", head)


def seen(repo: Repo, happened: Happened) -> Event:
    """The event as workflows and their filters see it."""
    payload, branch = happened.payload, happened.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    paths: list[str] = []
    if happened.name in ("pull_request", "pull_request_target"):
        base, head = payload["pull_request"]["base"], payload["pull_request"]["head"]
        branch, paths = base["ref"], changed(repo, f"{base['sha']}...{head['sha']}")
    elif happened.name == "merge_group":
        branch = payload["merge_group"]["base_ref"].removeprefix("refs/heads/")
    elif happened.name == "push" and happened.ref.startswith("refs/heads/"):
        default = repo.info["default_branch"]
        first = f"{NOTHING}.." if branch == default else f"{default}..."
        since = first if payload["created"] else f"{payload['before']}.."
        paths = changed(repo, since + payload["after"])
    return Event(happened.name, payload, happened.ref, happened.sha, happened.actor, branch=branch, paths=tuple(paths))


def with_inputs(workflow: Workflow, event: Event) -> Event:
    if event.name != "workflow_dispatch":
        return event
    return replace(event, payload={**event.payload, "inputs": workflow.inputs(event.payload["inputs"])})


def changed(repo: Repo, span: str) -> list[str]:
    return repo.git("diff", "--name-only", "--no-renames", "-z", span).split("\0")[:-1]
