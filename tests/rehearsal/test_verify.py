"""The real verify.yml and deploy.yml on the files of a bake: main's own file judges, and the agent follows its verdict.

One story: each test starts from what the one before it left. What releases leave is put there as in test_promotion.py.
"""

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.baking import TEMPLATE

from .driver import Rehearsal, Run
from .project import OWNER, rehearsal
from .test_promotion import MAY, NUMBERS, World, ledger, promotion, pulls

WORKFLOWS = ("verify.yml", "deploy.yml")
MANIFEST, PLATFORM = ledger.MANIFEST, "platform.yaml"
BLIND = 'def verify(*_):\n    return {"violations": [], "not_judged": []}\n\n\nviolations = approved = lambda *_: []\n'


def steps(name: str, job: str) -> list[dict[str, Any]]:
    """The steps of a job of the template's workflows."""
    read = yaml.safe_load((TEMPLATE / ".github" / "workflows" / name).read_text())
    return list(read["jobs"][job]["steps"])


def places(name: str, job: str) -> list[str]:
    """What a job checks out."""
    listed: str = steps(name, job)[0]["with"]["sparse-checkout"]
    return listed.split()


JOBS = (
    *(("verify.yml", "verify"), ("deploy.yml", "record"), ("deploy.yml", "mirror"), ("drift.yml", "speak")),
    *(("pull-request.yml", "report"), ("release.yml", "plan"), ("release.yml", "mirror"), ("release.yml", "propose")),
)
IMPORTS = """
import importlib, pathlib, sys
for path in pathlib.Path("gitops").glob("%s.py"):
    importlib.import_module(f"gitops.{path.stem}")
import %s
print(*(module.__file__ for name, module in sys.modules.items() if name.split(".")[0] in ("gitops", "pipeline")))
"""


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_that_writes_has_the_files_of_main_that_it_needs_and_no_others(
    bake: Path, tmp_path: Path, name: str, job: str
) -> None:
    """Of the root none that could be imported, or run in place of another."""
    checkout, clone = steps(name, job)[0]["with"], tmp_path / "base"
    tip = "${{ github.event.repository.default_branch }}"  # of a release what was pushed there
    assert checkout.get("ref", tip if name == "release.yml" else "") == tip and checkout["path"] == "base"
    assert checkout["sparse-checkout-cone-mode"] is False and checkout["persist-credentials"] is False
    for command in (
        ["clone", "--quiet", "--no-checkout", str(bake), str(clone)],
        ["-C", str(clone), "sparse-checkout", "set", "--no-cone", *places(name, job)],
        ["-C", str(clone), "checkout", "--quiet", "main"],
    ):
        subprocess.run(["git", *command], check=True, capture_output=True)
    there = {str(path.relative_to(clone)) for path in clone.rglob("*") if path.is_file()}
    assert [place for place in places(name, job) if not any(fnmatch(f"/{path}", f"{place}*") for path in there)] == []
    assert [path for path in there if "/" not in path and path.endswith((".py", ".pth", ".cfg", ".toml"))] == []
    safe = {**os.environ, "PYTHONPATH": str(clone), "PYTHONSAFEPATH": "1"}
    speaks, mirrors = ("[a-z]*", "pipeline.policy"), ("bytes", "pipeline.track")
    if "/pipeline/dvc.py" in places(name, job):
        mirrors = ("bytes", "pipeline.dvc, pipeline.track")
    asked = [sys.executable, "-c", IMPORTS % (mirrors if job == "mirror" else speaks)]
    done = subprocess.run(asked, cwd=clone, env=safe, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    used = {str(Path(path).relative_to(clone)) for path in done.stdout.split()}
    assert {path for path in there if re.fullmatch(r"pipeline/\w+\.py", path)} <= used


def test_only_one_file_runs_for_requests_with_mains_rights_and_it_never_checks_one_out() -> None:
    for path in (TEMPLATE / ".github" / "workflows").iterdir():
        text = path.read_text()
        read = yaml.safe_load(text)
        triggers = read[True]  # `on` is a boolean to YAML
        assert ("pull_request_target" in triggers) is (path.name == "verify.yml") and "workflow_run" not in triggers
    text = (TEMPLATE / ".github" / "workflows" / "verify.yml").read_text()
    assert "pull_request.head" not in text and "refs/pull" not in text and "github.head_ref" not in text
    assert re.search(r"^on: # zizmor: ignore\[dangerous-triggers\] \w", text, re.MULTILINE)


# --- the story -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def github() -> Iterator[Rehearsal]:
    with rehearsal() as github:
        yield github


@pytest.fixture(scope="module")
def world(github: Rehearsal, bake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A bake's files on main, where a first model is proposed, and the environment that main alone may use."""
    roles = {OWNER: "admin", "alice": "admin", "bob": "write"}
    repo = github.forge.repository(f"{OWNER}/bank", private=False, roles=roles)
    for name in (*roles, "eve"):
        github.forge.user(name)
    repo.workflow_permissions["can_approve_pull_request_reviews"] = True
    place = f"/repos/{repo.name}/environments/main-only"
    policy = {"protected_branches": False, "custom_branch_policies": True}
    github.call("PUT", place, {"deployment_branch_policy": policy})
    github.call("POST", f"{place}/deployment-branch-policies", {"name": "main"})
    files = subprocess.run(["git", "ls-files", "-z"], cwd=bake, check=True, capture_output=True, text=True).stdout
    kept = [name for name in files.split("\0")[:-1] if not name.startswith(("tests/", "notebooks/"))]
    kept = [name for name in kept if "/workflows/" not in name or name.endswith(WORKFLOWS)]
    with pytest.MonkeyPatch.context() as patch:
        environment = {
            **{"GITHUB_API_URL": github.forge.api_url, "GITHUB_SERVER_URL": github.forge.url, "GITHUB_RUN_ID": "7"},
            **{"GITHUB_GRAPHQL_URL": f"{github.forge.url}/api/graphql", "GITHUB_REPOSITORY": repo.name},
            **{"GITHUB_TOKEN": github.forge.token(repo.name, MAY), "GITOPS_BOT": "", "IMAGE": "", "TRAINED_BY": ""},
        }
        for variable, value in environment.items():
            patch.setenv(variable, value)
        patch.setattr(pulls, "time", SimpleNamespace(sleep=lambda seconds: None))
        world = World(github.forge, repo, tmp_path_factory.mktemp("bank") / "clone", patch)
        world.commit("main", {name: (bake / name).read_text() for name in kept})
        patch.chdir(world.clone)
        world.change("one")
        world.release("one")
        github.wait()
        yield world


def newest(github: Rehearsal, name: str) -> Run:
    """The newest run of a workflow, ended."""
    github.wait()
    return next(run for run in reversed(github.runs) if run.workflow.name == name)


def edited(github: Rehearsal, world: World, number: int, **change: str) -> Run:
    """The run that verifies a request after somebody has edited it."""
    world.call("PATCH", f"pulls/{number}", change or {"title": f"Title {next(NUMBERS)}"})
    return newest(github, "Verify")


def checks(world: World, number: int) -> list[tuple[str, str]]:
    """Who says what of a request's head as `Verified`."""
    head = world.call("GET", f"pulls/{number}")["head"]["sha"]
    listed = world.call("GET", f"commits/{head}/check-runs?check_name=Verified")["check_runs"]
    return [(each["app"]["slug"], each["conclusion"]) for each in listed]


@pytest.mark.slow
def test_without_an_app_the_run_itself_says_what_main_finds(github: Rehearsal, world: World) -> None:
    number = world.promotion["number"]
    run = edited(github, world, number)
    assert run.conclusion == "success", run.log
    assert "🟢 Every byte is there, and is what was released" in run.summary and "No App is set up" in run.summary
    assert checks(world, number) == []
    world.commit("words", {"README.md": "hello\n"})
    world.request("words")
    run = newest(github, "Verify")
    assert run.conclusion == "success" and "🟢 Nothing of production changes" in run.summary, run.log
    assert "ghs_" not in run.log and set(run.jobs["verify"].permissions.values()) == {"read"}


@pytest.mark.slow
def test_an_app_posts_it_as_a_check_of_the_commit(github: Rehearsal, world: World) -> None:
    app = github.forge.app("acme-gitops", {"checks": "write", "contents": "write"})
    platform = world.text("main", PLATFORM) or ""
    world.commit("main", {PLATFORM: re.sub(r"app_client_id: null", f"app_client_id: {app.client_id}", platform)})
    github.secret("GITOPS_APP_PRIVATE_KEY", app.private_key, world.repo.name, environment="main-only")
    number = world.promotion["number"]
    run = edited(github, world, number)
    assert run.conclusion == "success" and "No App" not in run.summary, run.log
    assert checks(world, number) == [("acme-gitops", "success")]
    world.commit(promotion.BRANCH, {"deploy/production/dvc.lock": "x\n"})
    run = newest(github, "Verify")
    assert run.conclusion == "failure" and "promotion&#46;proposal" in run.summary, run.log
    assert checks(world, number) == [("acme-gitops", "failure")]
    tip = world.repo.git(*f"rev-parse {promotion.BRANCH}^".split())
    world.call("PATCH", f"git/refs/heads/{promotion.BRANCH}", {"sha": tip, "force": True})
    assert newest(github, "Verify").conclusion == "success"


@pytest.mark.slow
def test_another_base_and_the_heads_own_judge_change_nothing(github: Rehearsal, world: World) -> None:
    """A request into a branch whose judge is blind gets no check, and main's verdict once it is retargeted."""
    world.commit("evil-base", {"gitops/verify.py": BLIND, "gitops/verified.py": "def request(number):\n    pass\n"})
    evil = world.repo.git(*["rev-parse", "evil-base"])
    world.call("POST", "git/refs", {"ref": "refs/heads/evil", "sha": evil})
    world.commit("evil", {MANIFEST: "{}", "gitops.py": "raise SystemExit(0)\n"})
    number = int(world.call("POST", "pulls", {"title": "x", "head": "evil", "base": "evil-base"})["number"])
    run = newest(github, "Verify")
    assert run.conclusion == "failure" and "another branch" in html.unescape(run.summary), run.log
    assert checks(world, number) == []
    run = edited(github, world, number, base="main")
    assert run.conclusion == "failure" and checks(world, number) == [("acme-gitops", "failure")], run.log
    assert "promotion.mixed" in html.unescape(run.summary)


@pytest.mark.slow
def test_what_is_verified_is_what_the_agent_follows(github: Rehearsal, world: World) -> None:
    number = world.promotion["number"]
    world.approve(number)
    world.merge(number)
    run = newest(github, "Deploy")
    assert run.conclusion == "success" and "Recorded model-" in run.log, run.log
    assert world.followed == world.repo.git.resolve("main")
    moved = [call for call in world.forge.calls if call.method == "POST" and call.path.endswith("/git/refs")]
    assert moved[-1].actor == "acme-gitops[bot]"


@pytest.mark.slow
def test_a_promotion_by_hand_that_was_merged_past_all_checks_stays_where_it_is(github: Rehearsal, world: World) -> None:
    good = world.followed
    manifest = (world.text("main", MANIFEST) or "").replace('"image": null', f'"image": "evil.io/x@sha256:{"0" * 64}"')
    world.commit("by-hand", {MANIFEST: manifest})
    number = world.request("by-hand", "bob")
    assert newest(github, "Verify").conclusion == "failure"
    world.approve(number, "alice")
    world.merge(number)
    run = newest(github, "Deploy")
    assert run.conclusion == "failure" and world.followed == good, run.log
    (issue,) = world.issues
    assert "still runs the last verified state" in issue["body"]
    back = world.revert(number)
    assert newest(github, "Verify").conclusion == "success" and checks(world, back) == [("acme-gitops", "success")]
