"""The driver against tiny workflows of its own: each test is something that GitHub does and act alone does not."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from tests.rehearsal.driver import Rehearsal, Run
from tests.rehearsal.project import ENQUEUE, MERGE_QUEUE, Project
from tests.rehearsal.runner import ACT
from tests.rehearsal.workflow import Event, Refused, Workflow

pytestmark = pytest.mark.skipif(not ACT.exists(), reason="act is not installed beside this Python")

CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"
UPLOAD = "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a"
DOWNLOAD = "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c"
CACHE = "actions/cache@55cc8345863c7cc4c66a329aec7e433d2d1c52a9"
APP_TOKEN = "actions/create-github-app-token@bcd2ba49218906704ab6c1aa796996da409d3eb1"
SETUP = "actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97"


def job(*script: str, **more: Any) -> dict[str, Any]:
    """A job of one step that runs the lines."""
    return {"runs-on": "ubuntu-latest", "steps": [{"run": "\n".join(script), "id": "s"}], **more}


def flow(on: Any, permissions: dict[str, str] | None = None, jobs: dict[str, Any] | None = None, **more: Any) -> str:
    """The text of a workflow of these jobs; with none, of one that says hello."""
    jobs = json.loads(json.dumps(jobs or {"a": job("echo hello")}))  # so that YAML sees nothing twice
    return yaml.safe_dump({"on": on, "permissions": permissions or {}, **more, "jobs": jobs}, sort_keys=False)


def ask(path: str, body: str) -> str:
    """A line that posts to the repository's API with the job's token, and says the status."""
    url = "${{ github.api_url }}/repos/${{ github.repository }}" + path
    head = "-H 'Authorization: Bearer ${{ github.token }}'"
    return f"curl -s -o /dev/null -w '%{{http_code}}\\n' {head} {url} -d '{body}'"


ISSUE, LABEL = ask("/issues", '{"title": "x"}'), ask("/labels", '{"name": "n"}')
VARIABLE = ask("/actions/variables", '{"name": "n", "value": "x"}')


@dataclass
class Clone:
    """A person's clone of o/r, of a fork, or of another repository."""

    github: Rehearsal
    folder: Path
    login: str = "o"
    name: str = "r"

    def git(self, *arguments: str) -> str:
        who = ("-c", f"user.name={self.login}", "-c", f"user.email={self.login}@example.org")
        done = subprocess.run(["git", *who, *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def push(self, files: dict[str, str], branch: str = "main") -> None:
        """Commit the files on the branch, push it, and wait for what that starts."""
        self.folder.mkdir(exist_ok=True)
        self.commit(files, branch)
        self.send(branch)

    def commit(self, files: dict[str, str], branch: str = "main") -> None:
        """Commit the files, workflows by their name alone, on the branch."""
        self.git("init", "--quiet")
        self.git("checkout", "--quiet", "-B", branch)
        for name, text in files.items():
            path = self.folder / (f".github/workflows/{name}" if name.endswith(".yml") and "/" not in name else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "Change")

    def send(self, branch: str, wait: bool = True) -> None:
        address = self.github.forge.url.replace("//", f"//{self.login}:{self.github.forge.user(self.login)}@")
        self.git("push", "--quiet", f"{address}/{self.login}/{self.name}.git", f"HEAD:{branch}")
        if wait:
            self.github.wait()

    def open(self, branch: str, **more: object) -> Run:
        """Open a pull request and wait for the one run that it starts."""
        body = {"title": branch, "head": f"{self.login}:{branch}", "base": "main", **more}
        self.github.call("POST", "/repos/o/r/pulls", body, login=self.login)
        self.github.wait()
        return self.github.runs[-1]


@pytest.fixture
def github(tmp_path: Path) -> Iterator[Rehearsal]:
    with Rehearsal(tmp_path, Path(sys.prefix)) as github:
        github.forge.repository("o/r", private=False)
        yield github


@pytest.fixture
def clone(github: Rehearsal, tmp_path: Path) -> Clone:
    return Clone(github, tmp_path / "clone")


def eventually(github: Rehearsal, what: str, count: int = 1) -> Run:
    """The newest run, once a job of it says a word in its log."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if len(github.runs) >= count and what in github.runs[count - 1].log:
            return github.runs[count - 1]
        time.sleep(0.02)
    raise AssertionError(f"no run {count} that says {what!r}")


# What starts a workflow


def event(name: str, action: str = "opened", ref: str = "refs/heads/main", **seen: object) -> Event:
    return Event(name, {"action": action}, ref, "0" * 40, "o", **seen)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("on", "happened", "starts"),
    [
        ("on: push", event("push", branch="x"), True),
        ("on: [push, pull_request]", event("pull_request"), True),
        ("on: pull_request", event("pull_request", "labeled"), False),
        ("on: {pull_request: {types: [labeled]}}", event("pull_request", "labeled"), True),
        ("on: {pull_request: {branches: [main]}}", event("pull_request", branch="release/1"), False),
        ("on: {push: {branches: ['release/*']}}", event("push", branch="release/1"), True),
        ("on: {push: {branches: ['release/*']}}", event("push", branch="release/1/a"), False),
        ("on: {push: {branches: ['release/**', '!release/**-rc']}}", event("push", branch="release/1-rc"), False),
        ("on: {push: {branches-ignore: [main]}}", event("push", branch="main"), False),
        ("on: {push: {tags: ['v*']}}", event("push", branch="main"), False),
        ("on: {push: {tags: ['v*']}}", event("push", ref="refs/tags/v1", branch="v1"), True),
        ("on: {push: {paths: ['docs/**']}}", event("push", branch="main", paths=("docs/a/b.md", "x")), True),
        ("on: {push: {paths: ['**.md']}}", event("push", branch="main", paths=("x.py",)), False),
        ("on: {push: {paths-ignore: ['docs/**']}}", event("push", branch="main", paths=("docs/a", "docs/b")), False),
        ("on: {push: {paths-ignore: ['docs/**']}}", event("push", branch="main", paths=("docs/a", "x")), True),
        ("on: {schedule: [{cron: '0 0 * * *'}]}", event("schedule"), True),
        ("on: {workflow_dispatch: }", event("workflow_dispatch"), True),
        ("on: {issues: {types: [closed]}}", event("issues", "opened"), False),
        ("on: workflow_call", event("push"), False),
    ],
)
def test_on_filters_as_github_reads_them(on: str, happened: Event, starts: bool) -> None:
    assert Workflow("w.yml", on).starts(happened) is starts


def test_a_push_and_a_pull_request_start_what_names_them(clone: Clone) -> None:
    jobs = {"a": job("echo $GITHUB_SHA $GITHUB_REF $GITHUB_BASE_REF")}
    clone.push({"push.yml": flow({"push": {"branches": ["main"]}}), "pr.yml": flow("pull_request", jobs=jobs)})
    assert [run.workflow.path for run in clone.github.runs] == [".github/workflows/push.yml"]
    clone.push({"file": "1"}, "topic")
    run = clone.open("topic")
    assert [run.event.name for run in clone.github.runs] == ["push", "pull_request"]
    merge = clone.github.call("GET", "/repos/o/r/pulls/1")["merge_commit_sha"]
    assert f"{merge} refs/pull/1/merge main" in run.log
    head = clone.git("rev-parse", "HEAD")
    checks = clone.github.call("GET", f"/repos/o/r/commits/{head}/check-runs")["check_runs"]
    assert [(check["name"], check["status"], check["conclusion"]) for check in checks] == [
        ("a", "completed", "success")
    ]


def test_a_target_run_is_the_default_branchs_own_for_a_fork_too(clone: Clone, tmp_path: Path) -> None:
    """Its file, its secrets and its token, whatever the request changes, and as often as it is edited."""
    github, types = clone.github, ["opened", "edited"]
    says = "echo; echo \"$(git rev-parse HEAD) ${{ github.ref }} <${{ secrets.KEY && 'known' }}>\""
    jobs = {"a": job(steps=[{"uses": CHECKOUT}, {"run": says}], environment="main-only")}
    clone.push({"a.yml": flow({"pull_request_target": {"types": types}}, {"contents": "write"}, jobs)})
    environment(github, "main", name="main-only")
    github.secret("KEY", "x", environment="main-only")
    tip = clone.git("rev-parse", "HEAD")
    clone.push({"a.yml": flow("push")}, "other-base")
    github.call("POST", "/repos/o/r/forks", login="eve")
    fork = Clone(github, tmp_path / "fork", "eve")
    shutil.copytree(clone.folder, fork.folder)
    fork.push({"a.yml": flow("pull_request")}, "theirs")
    fork.open("theirs")
    github.call("PATCH", "/repos/o/r/pulls/1", {"title": "Another"})
    github.wait()
    runs = [run for run in github.runs if run.event.name == "pull_request_target"]
    assert [run.event.payload["action"] for run in runs] == types
    assert all(f"\n{tip} refs/heads/main <known>\n" in run.log for run in runs)
    assert all(run.jobs["a"].permissions == {"contents": "write"} for run in runs)


def test_the_clock_and_a_person_start_a_workflow_of_the_default_branch(clone: Clone) -> None:
    inputs = {"day": {"default": "monday"}, "force": {"type": "boolean"}, "note": None}
    on = {"schedule": [{"cron": "0 0 * * *"}], "workflow_dispatch": {"inputs": inputs}}
    jobs = {"a": job("echo ${{ github.event_name }} ${{ inputs.day }} ${{ inputs.force }}.")}
    clone.push({"drift.yml": flow(on, jobs=jobs)})
    assert not clone.github.runs
    clone.github.schedule("drift.yml")
    clone.github.run_workflow("drift.yml", force="true")
    clone.github.wait()
    first, second = clone.github.runs
    assert "\nschedule ." in first.log and "\nworkflow_dispatch monday true." in second.log
    clone.github.run_workflow("drift.yml", dya="friday")
    with pytest.raises(Refused, match="Unexpected inputs"):
        clone.github.wait()


def test_a_dispatch_by_a_job_starts_a_run_and_a_push_by_a_job_does_not(clone: Clone) -> None:
    dispatch = ask("/actions/workflows/second.yml/dispatches", '{"ref": "main"}')
    steps = [{"uses": CHECKOUT}, {"run": f"git push --quiet origin HEAD:refs/heads/by-a-job\n{dispatch}"}]
    may = {"actions": "write", "contents": "write"}
    first = flow({"push": {"branches": ["main"]}}, may, {"a": job(steps=steps)})
    clone.push({"first.yml": first, "second.yml": flow(["workflow_dispatch", "push"])})
    runs = sorted((run.workflow.path[18:], run.event.name, run.conclusion) for run in clone.github.runs)
    assert runs == [
        ("first.yml", "push", "success"),
        ("second.yml", "push", "success"),
        ("second.yml", "workflow_dispatch", "success"),
    ]
    assert clone.github.forge.repositories["o/r"].git.resolve("by-a-job")


# Tokens, forks and secrets


def test_each_job_has_exactly_the_permissions_that_it_asks_for(clone: Clone) -> None:
    jobs = {
        "none": job(ISSUE, LABEL),
        "reads": job(ISSUE, LABEL, permissions={"issues": "read"}),
        "writes": job(ISSUE, LABEL, permissions={"issues": "write"}),
    }
    clone.push({"a.yml": flow("push", jobs=jobs)})
    said = {name: job.log for name, job in clone.github.runs[0].jobs.items()}
    assert "403\n403\n" in said["none"] and "403\n403\n" in said["reads"] and "201\n201\n" in said["writes"]


def test_a_token_ends_with_its_job(clone: Clone) -> None:
    clone.push({"a.yml": flow("push", {"contents": "read"}, {"a": job("echo ${{ github.token }} | rev")})})
    backwards = next(line for line in clone.github.runs[0].log.splitlines() if line.endswith("_shg"))
    assert backwards[::-1] not in clone.github.forge.tokens


def test_a_fork_gets_no_secret_no_variable_and_a_token_that_only_reads(clone: Clone, tmp_path: Path) -> None:
    github = clone.github
    github.secret("KEY", "hush-hush")
    github.call("POST", "/repos/o/r/actions/variables", {"name": "RUNNER", "value": "gpu"})
    says = job("echo \"<${{ secrets.KEY && 'known' }}> <${{ vars.RUNNER }}>\"", ISSUE)
    says |= {"runs-on": "${{ vars.RUNNER || 'ubuntu-latest' }}", "permissions": {"issues": "write"}}
    clone.push({"a.yml": flow("pull_request", jobs={"a": says})})
    clone.push({"file": "1"}, "own")
    own = clone.open("own")
    assert "<known> <gpu>\n201\n" in own.log and own.jobs["a"].labels == ["gpu"]
    github.call("POST", "/repos/o/r/forks", login="eve")
    fork = Clone(github, tmp_path / "fork", "eve")
    shutil.copytree(clone.folder, fork.folder)
    fork.push({"file": "2"}, "theirs")
    run = fork.open("theirs")
    assert "<> <>\n403\n" in run.log and run.jobs["a"].labels == ["ubuntu-latest"]


def test_runs_of_outsiders_wait_where_the_owner_asks_for_it(clone: Clone, tmp_path: Path) -> None:
    github, asked = clone.github, "/repos/o/r/actions/permissions/fork-pr-contributor-approval"
    clone.push({"a.yml": flow("pull_request", jobs={"a": job("true")})})
    github.call("PUT", asked, {"approval_policy": "all_external_contributors"})
    clone.push({"file": "1"}, "own")
    assert clone.open("own").conclusion == "success"
    github.call("POST", "/repos/o/r/forks", login="eve")
    fork = Clone(github, tmp_path / "fork", "eve")
    shutil.copytree(clone.folder, fork.folder)
    fork.push({"file": "2"}, "theirs")
    run = fork.open("theirs")
    assert run.conclusion == "action_required" and not run.jobs
    run.approve()
    github.wait()
    assert run.conclusion == "success"


def test_a_commit_that_says_so_starts_nothing(clone: Clone) -> None:
    clone.push({"a.yml": flow("[push, pull_request]", jobs={"a": job("true")})})
    clone.commit({"file": "1"}, "quiet")
    clone.git("commit", "--quiet", "--amend", "--message", "Words [skip ci]")
    before = len(clone.github.runs)
    clone.send("quiet")
    clone.github.call("POST", "/repos/o/r/pulls", {"title": "Quiet", "head": "quiet", "base": "main"})
    clone.github.wait()
    assert len(clone.github.runs) == before


def test_an_output_with_a_secret_in_it_is_dropped(clone: Clone) -> None:
    clone.github.secret("KEY", "hush-hush")
    outputs = {name: f"${{{{ steps.s.outputs.{name} }}}}" for name in ("kept", "lost")}
    script = "printf 'kept=yes\\nlost=it is ${{ secrets.KEY }}\\n' >> $GITHUB_OUTPUT"
    clone.push({"a.yml": flow("push", jobs={"a": job(script, outputs=outputs)})})
    a = clone.github.runs[0].jobs["a"]
    assert a.outputs == {"kept": "yes"} and "'lost'" in a.annotations[0]["message"]


def environment(github: Rehearsal, *patterns: str, name: str = "production") -> None:
    """An environment that only branches of these names may deploy to, with a secret and a variable of its own."""
    place = f"/repos/o/r/environments/{name}"
    custom = {"protected_branches": False, "custom_branch_policies": True}
    github.call("PUT", place, {"deployment_branch_policy": custom})
    for pattern in patterns:
        github.call("POST", f"{place}/deployment-branch-policies", {"name": pattern})
    github.call("POST", f"{place}/variables", {"name": "WHERE", "value": "there"})
    github.secret("KEY", "of-the-environment", environment=name)


def test_an_environment_admits_its_branch_and_nobody_else(clone: Clone) -> None:
    """A branch, a pull request and a tag of the branch's name; what is skipped is not refused."""
    github = clone.github
    environment(github, "main")
    github.secret("KEY", "of-the-repository")
    github.call("POST", "/repos/o/r/actions/variables", {"name": "WHERE", "value": "here"})
    says = 'test "$KEY" = of-the-environment && echo env || echo repo; echo $WHERE'
    shown = {"env": {"KEY": "${{ secrets.KEY }}", "WHERE": "${{ vars.WHERE }}"}}
    only = {"if": "github.ref == 'refs/heads/other'", "needs": "ships"}
    ships = {"environment": {"name": "${{ needs.first.outputs.where }}", "url": "https://example.org"}}
    jobs = {
        "first": job("echo where=Production >> $GITHUB_OUTPUT", outputs={"where": "${{ steps.s.outputs.where }}"}),
        "ships": job(says, needs="first", **ships, **shown),
        "plain": job(says, **shown),
        "skipped": job("exit 1", environment="production", **only),
    }
    clone.push({"a.yml": flow(["push", "pull_request"], jobs=jobs)})
    run = github.runs[-1]
    assert "\nenv\nthere\n" in run.jobs["ships"].log and "\nrepo\nhere\n" in run.jobs["plain"].log
    assert run.jobs["skipped"].conclusion == "skipped"
    (deployment,) = github.call("GET", "/repos/o/r/deployments?environment=production")
    assert (deployment["sha"], deployment["ref"]) == (clone.git("rev-parse", "HEAD"), "main")
    statuses = github.call("GET", f"/repos/o/r/deployments/{deployment['id']}/statuses")
    assert [status["state"] for status in statuses] == ["success", "in_progress"]
    clone.push({"file": "1"}, "topic")
    clone.open("topic")
    clone.git("tag", "main")
    clone.git("push", "--quiet", f"{github.forge.url.replace('//', '//o:ghp_o@')}/o/r.git", "refs/tags/main")
    github.wait()
    assert github.call("GET", f"/repos/o/r/actions/runs/{github.runs[-1].id}")["head_branch"] == "main"
    shut = [run.jobs["ships"] for run in github.runs[-3:]]
    who = ['Branch "topic"', 'Branch "refs/pull/1/merge"', 'Tag "main"']
    sentence = "is not allowed to deploy to production due to environment protection rules."
    assert [job.annotations[0]["message"] for job in shut] == [f"{each} {sentence}" for each in who]
    assert all((job.conclusion, job.steps) == ("failure", []) for job in shut)
    assert len(github.call("GET", "/repos/o/r/deployments")) == 1


def test_an_environment_that_nobody_made_is_open_and_a_fork_gets_nothing_of_one(clone: Clone, tmp_path: Path) -> None:
    github = clone.github
    environment(github, "main", "refs/pull/*/merge", name="preview")
    says = "echo \"<${{ secrets.KEY && 'known' }}> <${{ vars.WHERE }}>\""
    jobs = {"new": job("echo; exit 1", environment="staging"), "preview": job(says, environment="preview")}
    clone.push({"a.yml": flow("pull_request", jobs=jobs)})
    github.call("POST", "/repos/o/r/forks", login="eve")
    fork = Clone(github, tmp_path / "fork", "eve")
    shutil.copytree(clone.folder, fork.folder)
    fork.push({"file": "1"}, "theirs")
    run = fork.open("theirs")
    assert "\n<> <>\n" in run.jobs["preview"].log and run.jobs["new"].conclusion == "failure"
    assert github.call("GET", "/repos/o/r/environments/staging")["protection_rules"] == []
    states = {
        each["environment"]: github.call("GET", f"/repos/o/r/deployments/{each['id']}/statuses")[0]["state"]
        for each in github.call("GET", "/repos/o/r/deployments")
    }
    assert states == {"staging": "failure", "preview": "success"}


def test_an_apps_token_does_what_was_asked_for_and_ends_with_the_job(clone: Clone) -> None:
    app = clone.github.forge.app("gitops", {"issues": "write", "contents": "write"})
    clone.github.secret("KEY", app.private_key)
    given = {"client-id": app.client_id, "private-key": "${{ secrets.KEY }}", "permission-issues": "write"}
    asks = "\n".join(line.replace("github.token", "steps.app.outputs.token") for line in (ISSUE, VARIABLE))
    steps = [{"uses": APP_TOKEN, "id": "app", "with": given}, {"run": asks}]
    before = set(clone.github.forge.tokens)
    clone.push({"a.yml": flow("push", jobs={"a": job(steps=steps)})})
    run = clone.github.runs[0]
    assert run.conclusion == "success" and "201\n403\n" in run.log and "Post" in run.log
    minted = set(clone.github.forge.tokens) - before
    assert not any(clone.github.forge.tokens[token].login == "gitops[bot]" for token in minted)


def test_a_pull_request_by_a_workflow_waits_for_approval(clone: Clone) -> None:
    github = clone.github
    github.forge.repositories["o/r"].workflow_permissions["can_approve_pull_request_reviews"] = True
    opens = {"a": job(ask("/pulls", '{"title": "x", "head": "bot", "base": "main"}'))}
    clone.push(
        {"pr.yml": flow("pull_request"), "opens.yml": flow("workflow_dispatch", {"pull-requests": "write"}, opens)}
    )
    clone.push({"file": "1"}, "bot")
    github.run_workflow("opens.yml")
    github.wait()
    run = github.runs[-1]
    assert (run.event.name, run.conclusion, run.jobs) == ("pull_request", "action_required", {})
    run.approve()
    github.wait()
    assert run.conclusion == "success" and "hello" in run.log


# Two repositories


@pytest.fixture
def tools(github: Rehearsal, clone: Clone, tmp_path: Path) -> Clone:
    """A private repository of the same owner."""
    github.forge.repository("o/tools", private=True)
    return Clone(github, tmp_path / "tools", name="tools")


def of(github: Rehearsal, repository: str) -> list[Run]:
    return [run for run in github.runs if run.repository == repository]


def test_two_repositories_share_no_secret_variable_cache_or_artifact(clone: Clone, tools: Clone) -> None:
    keep = {"uses": CACHE, "with": {"path": "kept", "key": "k"}}
    script = 'cat kept/a || echo empty; mkdir -p kept; echo "$GITHUB_REPOSITORY ${{ vars.V }}" > kept/a'
    says = {"run": f"{script}; echo \"<${{{{ secrets.KEY && 'known' }}}}>\""}
    upload = {"uses": UPLOAD, "with": {"name": "thing", "path": "kept"}}
    text = flow("push", jobs={"a": job(steps=[keep, says, upload])}, concurrency="one")
    clone.github.secret("KEY", "hush-hush")
    clone.github.call("POST", "/repos/o/tools/actions/variables", {"name": "V", "value": "there"})
    for each in (clone, tools, clone, tools):
        each.push({"a.yml": text})
    logs = [run.log for name in ("o/r", "o/tools") for run in of(clone.github, name)]
    kept = ["empty", "o/r", "empty", "o/tools there"]
    assert [re.findall(r"^(empty|o/.*?) *$", log, re.M)[0] for log in logs] == kept
    assert ["<known>" in log for log in logs] == [True, True, False, False]
    for name in ("o/r", "o/tools"):
        assert clone.github.call("GET", f"/repos/{name}/actions/artifacts")["total_count"] == 2


def test_two_projects_stand_on_one_forge(github: Rehearsal, tmp_path: Path) -> None:
    said = []
    for name in ("acme/one", "beta/two"):
        clone = Clone(github, tmp_path / name.partition("/")[2], *name.split("/"))
        clone.folder.mkdir()
        clone.commit({"a.yml": flow("pull_request", jobs={"a": job("echo $GITHUB_REPOSITORY")})})
        project = Project.start(github, clone.folder, protect=False, repository=name)
        number = project.propose("topic", {"file": "1"}, "Change")
        assert project.opened("topic")["number"] == number
        said.append(project)
    assert [f"\n{each.repository}\n" in each.run().log for each in said] == [True, True]


def test_a_workflow_commits_to_another_repository_with_a_token_that_may(clone: Clone, tools: Clone) -> None:
    """A private one is not to be found for the job's own token, nor for an App's that names only the first."""
    github = clone.github
    app = github.forge.app("gitops", {"contents": "write"})
    github.secret("KEY", app.private_key)
    github.secret("MINE", github.forge.user("o"))
    tools.push({"b.yml": flow("push"), "file": "1"})
    given = {"client-id": app.client_id, "private-key": "${{ secrets.KEY }}"}
    writes = "cd tools; git -c user.name=x -c user.email=x@y commit --allow-empty -qm x; git push -q origin HEAD:main"

    def commits(token: str, *before: dict[str, Any]) -> dict[str, Any]:
        there = {"repository": "o/tools", "token": token, "path": "tools"}
        return job(steps=[*before, {"uses": CHECKOUT, "with": there}, {"run": writes}])

    both = {"uses": APP_TOKEN, "id": "app", "with": given | {"repositories": "r, tools"}}
    jobs = {
        "own": commits("${{ github.token }}"),
        "narrow": commits("${{ steps.app.outputs.token }}", {"uses": APP_TOKEN, "id": "app", "with": given}),
        "app": commits("${{ steps.app.outputs.token }}", both) | {"needs": ["own", "narrow"], "if": "always()"},
        "person": commits("${{ secrets.MINE }}") | {"needs": "app", "if": "always()"},
    }
    clone.push({"a.yml": flow("push", {"contents": "write"}, jobs)})
    ended = {each.id: each.conclusion for each in github.runs[1].jobs.values()}
    assert ended == {"own": "failure", "narrow": "failure", "app": "success", "person": "success"}
    assert "epository not found" in github.runs[1].jobs["own"].log
    assert [run.event.actor for run in of(github, "o/tools")] == ["o", "gitops[bot]", "o"]


def test_a_workflow_of_another_repository_is_called(clone: Clone, tools: Clone) -> None:
    """Public, it runs with what the caller gives and grants; private, it is not found."""
    github = clone.github
    github.secret("KEY", "hush-hush")
    here = "echo \"word=${{ inputs.word }} ${{ github.repository }} ${{ secrets.KEY && 'known' }}\" >> $GITHUB_OUTPUT"
    out = {"outputs": {"word": "${{ steps.s.outputs.word }}"}, "permissions": {"issues": "read"}}
    call = {"inputs": {"word": {"type": "string"}}, "outputs": {"word": {"value": "${{ jobs.x.outputs.word }}"}}}
    tools.push({"x.yml": flow({"workflow_call": call}, jobs={"x": job(here, ISSUE, **out)})})
    calls = {"uses": "o/tools/.github/workflows/x.yml@main", "with": {"word": "hi"}}
    may = {"permissions": {"issues": "write"}}
    jobs = {"a": calls | may | {"secrets": "inherit"}, "b": job("echo ${{ needs.a.outputs.word }}.", needs="a")}
    clone.push({"a.yml": flow("push", jobs=jobs)})
    missing = '".github/workflows/a.yml" -> "o/tools/.github/workflows/x.yml@main" : workflow was not found.'
    assert missing in github.runs[-1].error
    github.forge.repositories["o/tools"].info["private"] = False
    clone.push({"a.yml": flow("push", jobs=jobs)})
    run = github.runs[-1]
    assert "\nhi o/r known.\n" in run.log and "\n403\n" in run.jobs["a"].log, run.log
    clone.push({"a.yml": flow("push", jobs={"a": calls})})
    nested = "The nested job 'x' is requesting 'issues: read', but is only allowed 'issues: none'."
    assert (github.runs[-1].conclusion, github.runs[-1].error) == ("startup_failure", nested)


# A merge queue


def test_a_merge_group_runs_what_listens_to_it_and_is_merged(clone: Clone) -> None:
    github = clone.github
    github.forge.team("o/team", "o")
    jobs = {"a": job("echo $GITHUB_EVENT_NAME $GITHUB_REF $GITHUB_SHA '${{ github.event.merge_group.base_sha }}'")}
    on = {"pull_request": None, "merge_group": {"branches": ["main"]}}
    clone.push({"a.yml": flow(on, jobs=jobs), "b.yml": flow({"merge_group": {"branches": ["other"]}})})
    checks = {"required_status_checks": [{"context": "a"}], "strict_required_status_checks_policy": False}
    rules = [{"type": "required_status_checks", "parameters": checks}, MERGE_QUEUE]
    where = {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}}
    github.call(
        "POST", "/repos/o/r/rulesets", {"name": "m", "enforcement": "active", "conditions": where, "rules": rules}
    )
    clone.push({"file": "1"}, "topic")
    clone.open("topic")
    main = github.forge.repositories["o/r"].git.resolve("main")
    node = github.call("GET", "/repos/o/r/pulls/1")["node_id"]
    github.call("POST", "/graphql", {"query": ENQUEUE, "variables": {"id": node}})
    github.wait()
    pull, run = github.call("GET", "/repos/o/r/pulls/1"), github.runs[-1]
    assert [each.event.name for each in github.runs] == ["pull_request", "merge_group"]
    head = f"refs/heads/gh-readonly-queue/main/pr-1-{main}"
    assert f"\nmerge_group {head} {pull['merge_commit_sha']} {main}\n" in run.log and pull["merged"]


# Jobs, and what passes between them


def test_needs_results_outputs_and_summaries(clone: Clone) -> None:
    text = 'it\'s ${{ github.token }} "quoted"'
    makes = job(
        'echo "text=$TEXT" >> $GITHUB_OUTPUT',
        'echo "## Made" >> $GITHUB_STEP_SUMMARY',
        "echo '::warning file=a.py,line=3::Look here'",
        outputs={"text": "${{ steps.s.outputs.text }}"},
    )
    makes["steps"][0]["env"] = {"TEXT": text.replace("${{", "${{ '${{' }}")}
    reads = job(
        "echo $MAKES $FAILS $SKIPPED",
        'echo "<$TEXT>"; echo Said >> $GITHUB_STEP_SUMMARY',
        **{"name": "Required", "if": "always()", "needs": ["makes", "fails", "skipped"]},
        env={name.upper(): f"${{{{ needs.{name}.result }}}}" for name in ("makes", "fails", "skipped")},
    )
    reads["steps"][0]["env"] = {"TEXT": "${{ needs.makes.outputs.text }}"}
    jobs = {"makes": makes, "fails": job("exit 1"), "skipped": job("echo", needs="fails"), "last": reads}
    clone.push({"a.yml": flow("push", jobs=jobs)})
    run = clone.github.runs[0]
    results = {job.id: job.conclusion for job in run.jobs.values()}
    assert results == {"makes": "success", "fails": "failure", "skipped": "skipped", "last": "success"}
    assert f"\nsuccess failure skipped\n<{text}>\n" in run.jobs["last"].log
    assert run.summary == "## Made\n\nSaid\n" and run.conclusion == "failure"
    assert run.jobs["makes"].annotations == [{"level": "warning", "message": "Look here", "file": "a.py", "line": "3"}]
    rows = clone.github.call("GET", f"/repos/o/r/actions/runs/{run.id}/jobs")["jobs"]
    assert {row["name"]: row["conclusion"] for row in rows}["Required"] == "success"


def test_a_job_is_skipped_where_something_before_its_needs_failed(clone: Clone) -> None:
    jobs = {
        "one": job("exit 1"),
        "two": job("echo", needs="one", **{"if": "always()"}),
        "three": job("echo", needs="two"),
    }
    clone.push({"a.yml": flow("push", jobs=jobs)})
    assert [job.conclusion for job in clone.github.runs[0].jobs.values()] == ["failure", "success", "skipped"]


def test_defaults_of_a_workflow_do_not_reach_what_the_driver_adds(clone: Clone) -> None:
    here = {"defaults": {"run": {"working-directory": ".", "shell": "bash"}}}
    jobs = {"one": job("echo", **here), "two": job("echo", needs="one", **here)}
    defaults = {"run": {"working-directory": "nowhere", "shell": "python"}}
    clone.push({"a.yml": flow("push", jobs=jobs, defaults=defaults)})
    assert clone.github.runs[0].conclusion == "success"


def test_a_workflow_calls_another_and_gets_its_outputs(clone: Clone) -> None:
    called = flow(
        {"workflow_call": {"outputs": {"word": {"value": "${{ jobs.x.outputs.word }}"}}}},
        jobs={"x": job("echo word=hi >> $GITHUB_OUTPUT", outputs={"word": "${{ steps.s.outputs.word }}"})},
    )
    calls = {"a": {"uses": "./.github/workflows/called.yml"}, "b": job("echo ${{ needs.a.outputs.word }}.", needs="a")}
    clone.push({"called.yml": called, "a.yml": flow("push", jobs=calls)})
    run = clone.github.runs[0]
    assert len(clone.github.runs) == 1 and "\nhi.\n" in run.log


def test_artifacts_pass_between_jobs_and_runs_and_are_never_replaced(clone: Clone) -> None:
    upload: list[dict[str, Any]] = [{"run": "mkdir -p out/.hid/den; echo 1 > out/a; echo 2 > out/.hid/den/b"}]
    upload += [{"uses": UPLOAD, "with": {"name": "thing", "path": "out"}}]
    here = job(
        needs="up", steps=[{"uses": DOWNLOAD, "with": {"name": "thing", "path": "in"}}, {"run": "find in -type f"}]
    )
    again = job(needs="up", steps=upload)
    clone.push(
        {"up.yml": flow({"push": {"branches": ["main"]}}, jobs={"up": job(steps=upload), "here": here, "again": again})}
    )
    first = clone.github.runs[0]
    assert "\nin/a\n" in first.jobs["here"].log and ".hid" not in first.jobs["here"].log
    assert first.jobs["again"].conclusion == "failure" and "already exists" in first.jobs["again"].log
    artifact = clone.github.call("GET", "/repos/o/r/actions/artifacts?name=thing")["artifacts"][0]
    assert artifact["workflow_run"]["head_sha"] == clone.git("rev-parse", "HEAD")
    given: dict[str, str] = {"name": "thing", "run-id": str(first.id), "github-token": "${{ github.token }}"}
    there: list[dict[str, Any]] = [{"uses": DOWNLOAD, "with": given}, {"run": "cat a"}]
    jobs = {"may": job(steps=there, permissions={"actions": "read"}), "may-not": job(steps=there)}
    clone.github.forge.repositories["o/r"].info["private"] = True
    clone.push({"down.yml": flow("push", jobs=jobs)}, "other")
    second = clone.github.runs[-1]
    assert "\n1\n" in second.jobs["may"].log
    assert second.jobs["may-not"].conclusion == "failure" and "403" in second.jobs["may-not"].log


def test_a_cache_of_a_pull_request_is_its_own_and_that_of_main_is_everybodys(clone: Clone) -> None:
    keep = {"uses": CACHE, "with": {"path": "kept\n~/.kept", "key": "k-${{ github.sha }}", "restore-keys": "k-"}}
    script = "cat kept/* ~/.kept/* || echo empty; mkdir -p kept ~/.kept; echo $GITHUB_REF | tee kept/a > ~/.kept/b"
    jobs = {"a": job(steps=[keep, {"run": script}])}
    clone.push({"a.yml": flow({"pull_request": None, "push": {"branches": ["main"]}}, jobs=jobs)})
    clone.push({"x": "1"}, "x")
    clone.open("x")
    clone.git("checkout", "--quiet", "main")
    clone.push({"y": "1"}, "y")
    clone.open("y")
    on_main, of_x, of_y = clone.github.runs
    assert "\nempty\n" in on_main.log
    assert "\nrefs/heads/main\nrefs/heads/main\n" in of_x.log and "\nrefs/heads/main\n" in of_y.log
    clone.git("checkout", "--quiet", "x")
    clone.push({"x": "2"}, "x")
    assert "\nrefs/pull/1/merge\n" in clone.github.runs[-1].log


def test_a_checkout_is_shallow_and_leaves_a_token_only_where_asked(clone: Clone) -> None:
    def checks(**given: str) -> dict[str, Any]:
        script = "git log --format=%s | wc -l; grep extraheader .git/config | wc -l; ls"
        return job(steps=[{"uses": CHECKOUT, "with": given}, {"run": script}])

    jobs = {"plain": checks(), "deep": checks(**{"fetch-depth": "0", "persist-credentials": "false"})}
    clone.push({"file": "1"})
    clone.push({"a.yml": flow("push", {"contents": "read"}, jobs)})
    jobs_of = clone.github.runs[0].jobs
    assert "\n1\n1\nfile\n" in jobs_of["plain"].log and "\n2\n0\nfile\n" in jobs_of["deep"].log


def test_a_sparse_checkout_keeps_the_root_and_folders_or_what_patterns_name(clone: Clone) -> None:
    def shows(**given: str) -> dict[str, Any]:
        have = {"persist-credentials": "false", "fetch-depth": "0", **given}
        return job(steps=[{"uses": CHECKOUT, "with": have}, {"run": "find . -path ./.git -prune -o -type f -print"}])

    folders, patterns = {"sparse-checkout": "a\nb/c"}, {"sparse-checkout": "/a/*.md\n!/a/2.md"}
    jobs = {"cone": shows(**folders), "not": shows(**patterns, **{"sparse-checkout-cone-mode": "false"})}
    clone.push(dict.fromkeys(("root", "a/1.md", "a/2.md", "a/d/3.md", "b/4", "b/c/5", "e/6"), "x"))
    clone.push({"a.yml": flow("push", {"contents": "read"}, jobs)})
    has = {name: re.findall(r"^\./(.*)$", job.log, re.M) for name, job in clone.github.runs[0].jobs.items()}
    assert sorted(has["cone"]) == ["a/1.md", "a/2.md", "a/d/3.md", "b/4", "b/c/5", "root"]
    assert has["not"] == ["a/1.md"]


def test_a_job_sees_nothing_of_our_environment(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "leaked")
    jobs = {name: job("env; ls -A ~; touch ~/.left") for name in ("a", "b")}
    clone.push({"a.yml": flow("push", jobs=jobs)})
    log = clone.github.runs[0].log
    assert "HOME=" in log and "leaked" not in log and ".left" not in log.replace("touch ~/.left", "")


def test_setup_puts_the_prepared_environment_on_the_path(clone: Clone) -> None:
    action = {"name": "setup", "description": "-", "runs": {"using": "composite", "steps": [{"uses": SETUP}]}}
    jobs = {
        "a": job(
            steps=[{"uses": CHECKOUT}, {"uses": "./.github/actions/setup"}, {"run": "command -v python; echo $VENV"}]
        )
    }
    clone.push(
        {".github/actions/setup/action.yml": yaml.safe_dump(action), "a.yml": flow("push", {"contents": "read"}, jobs)}
    )
    assert f"\n{sys.prefix}/bin/python\n{sys.prefix}\n" in clone.github.runs[0].log


def test_what_goes_out_by_others_actions_is_recorded(clone: Clone) -> None:
    pin = "@" + "0" * 40
    tags = "type=raw,value=v1\ntype=sha"
    push = {"push": True, "tags": "${{ steps.names.outputs.tags }}"}
    image = {"subject-name": "ghcr.io/o/r", "subject-digest": "${{ steps.push.outputs.digest }}"}
    steps = [
        {"uses": CHECKOUT},
        {"uses": f"docker/setup-buildx-action{pin}"},
        {"uses": f"docker/login-action{pin}", "with": {"registry": "ghcr.io", "username": "o", "password": "x"}},
        {"uses": f"docker/metadata-action{pin}", "id": "names", "with": {"images": "ghcr.io/o/r", "tags": tags}},
        {"uses": f"docker/build-push-action{pin}", "id": "push", "with": push},
        {"uses": f"anchore/sbom-action{pin}", "with": {"path": ".", "output-file": "sbom.json"}},
        {"uses": f"actions/attest{pin}", "with": {**image, "sbom-path": "sbom.json"}},
        {"run": "cat sbom.json"},
    ]
    clone.push({"a.yml": flow("push", {"contents": "read"}, {"a": job(steps=steps)}), "Dockerfile": "FROM scratch"})
    run = clone.github.runs[0]
    assert run.conclusion == "success", run.log
    login, pushed, attested = clone.github.record
    assert login["registry"] == "ghcr.io" and attested["subjects"] == {"ghcr.io/o/r": pushed["digest"][7:]}
    assert pushed["tags"] == ["ghcr.io/o/r:v1", f"ghcr.io/o/r:sha-{clone.git('rev-parse', 'HEAD')[:7]}"]


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({"uses": "evil/checkout@" + "0" * 40}, "nothing stands in for evil/checkout"),
        ({"uses": "actions/checkout@v7"}, "actions/checkout@v7 is not pinned"),
    ],
)
def test_an_action_that_nothing_stands_in_for_is_refused(clone: Clone, step: dict[str, str], sentence: str) -> None:
    clone.push({"a.yml": flow("push", jobs={"a": job(steps=[step])})})
    run = clone.github.runs[0]
    assert run.conclusion == "startup_failure" and sentence in run.error


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (flow("push", jobs={"a": job("echo", services={"db": {"image": "postgres"}})}), "'services' of job a"),
        (flow("push", jobs={"a": job("echo", permissions="write-all")}), "name each permission"),
        ("on: push\njobs:\n  a: {runs-on: x, steps: [{run: echo}]}\n", "permissions: {} for none"),
        ("on: push\njobs: {a: &a {runs-on: x}, b: *a}\n", "alias"),
        ("on: push\njobs: {a: {runs-on: x}, b: {runs-on: x}}\n", "lines of its own"),
        ("on: push\njobs:\n  a: {runs-on: x, stepps: []}\n", "stepps"),
    ],
)
def test_what_is_not_rehearsed_is_refused(clone: Clone, text: str, sentence: str) -> None:
    clone.push({"a.yml": text})
    run = clone.github.runs[0]
    assert run.conclusion == "startup_failure" and sentence in run.error


# Limits, cancelling, concurrency and re-runs


def test_a_job_ends_at_its_time_limit(clone: Clone) -> None:
    steps = [{"run": "sleep 60 & sleep 50"}, {"if": "cancelled()", "run": "echo tidied"}, {"run": "echo never"}]
    jobs = {
        "slow": job(steps=steps, **{"timeout-minutes": 0.01}),
        "needs": job("echo", needs="slow"),
        "last": job("echo 'was ${{ needs.slow.result }}'", needs=["slow"], **{"if": "always()"}),
    }
    clone.push({"a.yml": flow("push", jobs=jobs)})
    run = clone.github.runs[0]
    assert [job.conclusion for job in run.jobs.values()] == ["cancelled", "skipped", "success"]
    slow = run.jobs["slow"]
    assert "tidied" in slow.log and "echo never" not in slow.log and slow.seconds < 10
    assert "maximum execution time of 0.01 minutes" in slow.annotations[-1]["message"]
    assert "\nwas cancelled\n" in run.log and run.conclusion == "cancelled"


def test_cancelling_a_run_runs_what_heeds_it(clone: Clone) -> None:
    jobs = {
        "slow": job("echo begun", "sleep 50"),
        "after": job("echo", needs="slow"),
        "kept": job(
            "echo '${{ needs.slow.result }} and ${{ toJSON(needs.after) }}'",
            needs=["slow", "after"],
            **{"if": "always()"},
        ),
        "not": job("echo", needs="slow", **{"if": "${{ !cancelled() }}"}),
    }
    clone.push({"a.yml": flow({"workflow_dispatch": None}, jobs=jobs)})
    clone.github.run_workflow("a.yml")
    run = eventually(clone.github, "\nbegun\n")
    run.cancel()
    clone.github.wait()
    assert run.conclusion == "cancelled"
    assert [job.conclusion for job in run.jobs.values()] == ["cancelled", "cancelled", "success", "skipped"]
    assert "\ncancelled and {" in run.log
    with pytest.raises(HTTPError, match="409"):
        run.cancel()


def test_a_newer_run_of_the_group_cancels_the_older(clone: Clone) -> None:
    group = {"group": "${{ github.workflow }}-${{ github.event.pull_request.number || github.ref }}"}
    jobs = {"a": job("echo begun", "test $GITHUB_RUN_NUMBER = 2 || sleep 50")}
    text = flow("pull_request", jobs=jobs, concurrency={**group, "cancel-in-progress": True})
    clone.push({"a.yml": text, "file": "0"})
    clone.push({"file": "1"}, "topic")
    body = {"title": "x", "head": "topic", "base": "main"}
    clone.github.call("POST", "/repos/o/r/pulls", body)
    eventually(clone.github, "\nbegun\n")
    clone.push({"file": "2"}, "topic")
    assert [run.conclusion for run in clone.github.runs] == ["cancelled", "success"]


def test_of_several_that_wait_in_a_group_only_the_newest_is_kept(clone: Clone) -> None:
    jobs = {"a": job("echo begun", "sleep 1")}
    clone.push({"a.yml": flow({"workflow_dispatch": None}, jobs=jobs, concurrency="deploy")})
    for _ in range(4):
        clone.github.run_workflow("a.yml")
    clone.github.wait()
    assert [run.conclusion for run in clone.github.runs] == ["success", "cancelled", "cancelled", "success"]


def test_a_rerun_of_failed_jobs_keeps_what_passed(clone: Clone) -> None:
    flaky = job("echo attempt $GITHUB_RUN_ATTEMPT", "cat in/a", "test $GITHUB_RUN_ATTEMPT = 2", needs="up")
    flaky["steps"].insert(0, {"uses": DOWNLOAD, "with": {"name": "thing", "path": "in"}})
    up = job("echo kept > a; echo v=1 >> $GITHUB_OUTPUT", outputs={"v": "${{ steps.s.outputs.v }}"})
    up["steps"].append({"uses": UPLOAD, "with": {"name": "thing", "path": "a"}})
    jobs = {"up": up, "flaky": flaky, "last": job("echo v${{ needs.up.outputs.v }}", needs=["up", "flaky"])}
    clone.push({"a.yml": flow("push", jobs=jobs)})
    run = clone.github.runs[0]
    assert [job.conclusion for job in run.jobs.values()] == ["success", "failure", "skipped"]
    kept = run.jobs["up"]
    run.rerun_failed()
    clone.github.wait()
    assert len(clone.github.runs) == 1 and run.attempt == 2 and run.conclusion == "success"
    assert run.jobs["up"] is kept and "\nattempt 2\nkept\n" in run.log and "\nv1\n" in run.log
    assert clone.github.call("GET", f"/repos/o/r/actions/runs/{run.id}")["run_attempt"] == 2


def test_what_a_job_leaves_running_ends_with_it(clone: Clone) -> None:
    clone.push({"a.yml": flow("push", jobs={"a": job("setsid sleep 600 > /dev/null 2>&1 & sleep 0.2")})})
    mark = str(clone.github.folder).encode()
    environments = (path for path in Path("/proc").glob("[0-9]*/environ") if path.parent.name != "self")
    for environment in environments:
        try:
            assert b"RUNNER_TRACKING_ID=" + mark not in environment.read_bytes()
        except OSError:
            continue
