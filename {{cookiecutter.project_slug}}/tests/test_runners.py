"""What a machine of ours lets in: the hook before each job, run as the runner does, by a parent that it may end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

RUNNERS = Path(__file__).parents[1] / "deploy/runners"
HOOK = RUNNERS / "job-started.sh"
OURS, FORK, MAIN = "acme/card-fraud", "eve/card-fraud", "refs/heads/main"
REPOSITORY = {"id": 1, "full_name": OURS, "default_branch": "main", "private": False, "fork": False}
REQUESTED, RELEASED = f"{OURS}/.github/workflows/pull-request.yml", f"{OURS}/.github/workflows/release.yml"
QUEUE = "refs/heads/gh-readonly-queue/main/pr-7-0123456789abcdef0123456789abcdef01234567"

Event = dict[str, Any]


def request(head: str | None = OURS, base: str = "main") -> Event:
    """A pull request's event, as GitHub sends it, but for what nobody asks of it."""
    repo = {**REPOSITORY, "full_name": head, "fork": head != OURS} if head else None
    return {
        "action": "synchronize",
        "number": 7,
        "pull_request": {
            "number": 7,
            "head": {"ref": "main", "label": "eve:main", "sha": "1" * 40, "repo": repo},
            "base": {"ref": base, "label": f"acme:{base}", "sha": "2" * 40, "repo": REPOSITORY},
        },
        "repository": REPOSITORY,
        "sender": {"login": "eve"},
    }


def queued(base: str = "main") -> Event:
    """A merge queue's event."""
    group = {"head_sha": "1" * 40, "head_ref": QUEUE, "base_sha": "2" * 40, "base_ref": f"refs/heads/{base}"}
    return {"action": "checks_requested", "merge_group": group, "repository": REPOSITORY}


def pushed(ref: str = MAIN) -> Event:
    """A push."""
    return {"ref": ref, "before": "1" * 40, "after": "2" * 40, "repository": REPOSITORY}


def hook(folder: Path, name: str, event: Any, workflow: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs it as the runner's worker does, which would then say that it goes on."""
    (folder / "event.json").write_text(event if isinstance(event, str) else json.dumps(event))
    told = {"GITHUB_REPOSITORY": OURS, "GITHUB_EVENT_NAME": name, "GITHUB_WORKFLOW_REF": workflow}
    told |= {"GITHUB_EVENT_PATH": str(folder / "event.json"), "ALLOWED_REPOSITORY": OURS, "LOG_SECONDS": "0"}
    environment = {"PATH": os.environ["PATH"], **told, **more}
    worker = "import subprocess, sys; print('goes on after', subprocess.run(['bash', '-e', sys.argv[1]]).returncode)"
    command = [sys.executable, "-c", worker, str(HOOK)]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("name", "event", "workflow"),
    [
        ("pull_request", request(), f"{REQUESTED}@refs/pull/7/merge"),
        ("pull_request", request("Acme/Card-Fraud"), f"{REQUESTED}@refs/pull/7/merge"),
        ("merge_group", queued(), f"{REQUESTED}@{QUEUE}"),
        ("push", pushed(), f"{RELEASED}@{MAIN}"),
        ("schedule", {"schedule": "23 */6 * * *", "repository": REPOSITORY}, f"{RELEASED}@{MAIN}"),
        ("workflow_dispatch", {"ref": MAIN, "inputs": {}, "repository": REPOSITORY}, f"{RELEASED}@{MAIN}"),
    ],
)
def test_jobs_of_ours_go_on(tmp_path: Path, name: str, event: Event, workflow: str) -> None:
    done = hook(tmp_path, name, event, workflow)
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on after 0\n", "")


REFUSED = [
    (
        "pull_request",
        request(FORK),
        f"{REQUESTED}@refs/pull/7/merge",
        "comes from eve/card-fraud: a fork's code does not",
    ),
    ("pull_request", request(None), f"{REQUESTED}@refs/pull/7/merge", "comes from a fork that is gone"),
    ("pull_request", request(base="evil-base"), f"{REQUESTED}@refs/pull/7/merge", "goes into evil-base, not into main"),
    ("pull_request", request(), f"{OURS}/.github/workflows/evil.yml@refs/pull/7/merge", "the workflow is"),
    ("pull_request", request(), f"{RELEASED}@refs/pull/7/merge", "only pull-request.yml of refs/pull/7/merge"),
    (
        "pull_request_target",
        request(),
        f"{OURS}/.github/workflows/verify.yml@{MAIN}",
        "the event is pull_request_target",
    ),
    ("issue_comment", pushed(), f"{RELEASED}@{MAIN}", "the event is issue_comment"),
    ("push", pushed("refs/heads/topic"), f"{RELEASED}@refs/heads/topic", "only release.yml of refs/heads/main"),
    ("push", pushed("refs/tags/main"), f"{RELEASED}@refs/tags/main", "only release.yml of refs/heads/main"),
    ("push", pushed(), f"{OURS}/.github/workflows/evil.yml@{MAIN}", "only release.yml of refs/heads/main"),
    ("merge_group", queued(), f"{OURS}/.github/workflows/evil.yml@{QUEUE}", "only pull-request.yml of"),
    ("push", "{", f"{RELEASED}@{MAIN}", "JSONDecodeError"),
    ("push", {}, f"{RELEASED}@{MAIN}", "KeyError: 'repository'"),
]


@pytest.mark.parametrize(("name", "event", "workflow", "words"), REFUSED)
def test_anything_else_ends_with_a_sentence_and_with_the_worker(
    tmp_path: Path, name: str, event: Any, workflow: str, words: str
) -> None:
    """A runner goes on after a failed hook, with steps that say `if: always()`."""
    done = hook(tmp_path, name, event, workflow)
    assert done.returncode == -9 and "goes on" not in done.stdout
    (line,) = done.stdout.splitlines()
    assert line.startswith("::error title=This machine refuses the job::") and words in line


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"GITHUB_REPOSITORY": "acme/other"}, "this machine is for acme/card-fraud, and the job is of acme/other"),
        ({"ALLOWED_REPOSITORY": ""}, "ALLOWED_REPOSITORY is not set on this machine"),
        ({"PATH": ""}, "python3"),  # cannot tell: refuses
    ],
)
def test_the_machine_is_for_one_repository(tmp_path: Path, more: dict[str, str], words: str) -> None:
    bash = {"PATH": str(tmp_path)} if "PATH" in more else {}
    if bash:
        for tool in ("bash", "sleep"):
            (tmp_path / tool).symlink_to(f"/bin/{tool}")
    done = hook(tmp_path, "push", pushed(), f"{RELEASED}@{MAIN}", **(more | bash))
    assert done.returncode == -9 and words in done.stdout and "goes on" not in done.stdout


def test_a_branch_cannot_speak_to_the_runner(tmp_path: Path) -> None:
    done = hook(tmp_path, "pull_request", request(base="x\n::set-env name=A::b"), f"{REQUESTED}@refs/pull/7/merge")
    assert len(done.stdout.splitlines()) == 1 and "goes into x?::set-env" in done.stdout


def test_the_scale_set_runs_the_hook_and_each_job_on_a_machine_of_its_own() -> None:
    values = yaml.safe_load((RUNNERS / "runner-scale-set.yaml").read_text())
    (runner,) = values["template"]["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in runner["env"]}
    (mount,) = runner["volumeMounts"]
    assert environment["ACTIONS_RUNNER_HOOK_JOB_STARTED"] == f"{mount['mountPath']}/{HOOK.name}" and mount["readOnly"]
    assert runner["name"] == "runner" and "@sha256:" in runner["image"]
    assert values["minRunners"] == 0 and "containerMode" not in values
