"""The real release.yml and deploy.yml, on a small bake: what was tested is what is shipped, and what comes back.

One story for all: every test starts from what the one before it left, as on GitHub.
"""

import hashlib
import html
import io
import json
import re
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.turns import turn

from .project import OWNER, Project, rehearsal
from .small import small

pytestmark = pytest.mark.slow
PROMOTE = "promote/production"
NOTHING = "def test_nothing() -> None:\n    pass\n"
newest, promote = Project.newest, Project.promote
TRAINS = "Running stage 'train@network'"


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A small bake on the forge, where Actions may open pull requests, after the first push's runs."""
    with rehearsal() as github:
        workflows = ("pull-request.yml", "train.yml", "release.yml", "deploy.yml")
        bake = small(template, tmp_path_factory.mktemp("small"), *workflows)
        project = Project.start(github, bake, bots_may_open=True)
        github.wait()
        yield project


def manifest(project: Project, revision: str = "main") -> dict[str, Any]:
    """What is in production."""
    return dict(json.loads(project.git("show", f"{revision}:deploy/production/manifest.json")))


def report(project: Project, number: int) -> str:
    (comment,) = project.comments(number)
    return html.unescape(comment["body"])


def change(project: Project, epochs: int, how: str) -> str:
    """A change of the model, trained by its pull request and merged; the digest that the pull request tested."""
    knobs = re.sub(r"epochs: \d+", f"epochs: {epochs}", project.read("params.yaml"))
    number = project.propose(f"train-{epochs}", {"params.yaml": knobs}, f"Train for {epochs} epochs")
    run = newest(project, "Pull request")
    assert run.conclusion == "success", run.log
    assert TRAINS in run.jobs["train"].log
    project.approve(number)
    project.merge(number, how)
    (digest,) = set(re.findall(r"^Model <code>(sha256:\w+)", report(project, number), re.MULTILINE))
    return str(digest)


def rewrite(project: Project, run: int, name: str, file: str, change: Callable[[bytes], bytes]) -> None:
    """Another content in a run's artifact, as a job of that run could have left it."""
    repo = project.github.forge.repositories[project.repository]
    (row,) = [row for row in repo.rows("artifacts", name=name) if row["workflow_run"]["id"] == run]
    with zipfile.ZipFile(io.BytesIO(repo.bytes[row["id"]])) as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for each, content in files.items():
            archive.writestr(each, change(content) if each == file else content)
    repo.bytes[row["id"]] = whole.getvalue()


def deployments(project: Project) -> list[str]:
    """The models that were deployed, newest first."""
    return [made["payload"]["model"] for made in project.call("GET", "deployments?environment=production")]


def test_first_model_goes_the_same_way(project: Project) -> None:
    run = newest(project, "Release")
    assert run.conclusion == "success", run.log
    assert "Main trains" in run.jobs["plan"].log and TRAINS in run.jobs["make"].log
    assert newest(project, "Deploy").conclusion == "success"
    assert "Nothing is in production yet" in newest(project, "Deploy").log
    pull = project.opened(PROMOTE)
    names = {file["filename"] for file in project.call("GET", f"pulls/{pull['number']}/files")}
    base = project.git("ls-tree", "--name-only", "main:deploy/base").split()
    assert names == {
        f"deploy/production/{name}" for name in ("MODEL_CARD.md", "dvc.lock", "manifest.json", "metrics.json", *base)
    }
    promoted = promote(project)
    assert manifest(project)["model"] in html.unescape(promoted["body"])
    assert manifest(project)["champion"] is None
    assert deployments(project) == [manifest(project)["model"]]


def test_only_the_jobs_that_speak_may_write(project: Project) -> None:
    allowed = {"propose", "record", "report", "image"}
    for run in project.github.runs:
        for name, job in run.jobs.items():
            assert name in allowed or "write" not in job.permissions.values(), (run.workflow.name, name)


def test_what_is_shipped_is_what_was_tested(project: Project) -> None:
    """The Release holds the very bytes of the manifest, and the model in them has the digest that was tested."""
    (release,) = project.call("GET", "releases")
    said = manifest(project)
    for asset in release["assets"]:
        token = {"Authorization": f"Bearer {project.github.forge.user('alice')}"}
        with urllib.request.urlopen(urllib.request.Request(asset["browser_download_url"], headers=token)) as answer:
            content = answer.read()
        assert hashlib.sha256(content).hexdigest() == said["files"][asset["name"]]["sha256"]
        if asset["name"] == "model.tar":
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                inside = tar.extractfile("model/manifest.json")
                assert inside is not None
                assert "sha256:" + hashlib.sha256(inside.read()).hexdigest() == said["model"]
    assert {asset["name"] for asset in release["assets"]} == set(said["files"])


def test_push_with_nothing_to_release_is_green_and_says_so(project: Project) -> None:
    run = newest(project, "Release")  # started by the promotion's merge
    assert run.conclusion == "success"
    assert run.jobs["make"].conclusion == run.jobs["measure"].conclusion == "skipped"
    assert "in production already" in html.unescape(run.summary)


@pytest.mark.parametrize("how", turn(["squash", "merge"], 2))
def test_merge_ships_what_the_pull_request_trained(project: Project, how: str) -> None:
    """Main fits nothing again and makes all else; the model in the one promotion is the pull request's."""
    before = manifest(project)["model"]
    tested = change(project, 8, how)
    run = newest(project, "Release")
    assert run.conclusion == "success", run.log
    assert "Main takes the fitted model" in run.jobs["plan"].log
    stages = set(re.findall(r"Running stage '([\w@]+)'", run.jobs["make"].log))
    assert stages >= {"ingest", "validate", "rows", "train@linear", "baselines", "export", "evaluate", "bento"}
    assert "train@network" not in stages
    assert "policies/model.yaml: well done" in run.jobs["measure"].log
    pull = project.opened(PROMOTE)
    proposed = project.call("GET", f"contents/deploy/production/manifest.json?ref={pull['head']['sha']}")
    assert tested in html.unescape(pull["body"]) and before in html.unescape(pull["body"])
    assert proposed["type"] == "file"


def test_promotion_with_a_registry_pins_the_image_and_mirrors_the_model(project: Project, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with project.platform(container_registry="ghcr.io/acme/card-fraud", mlflow_tracking_uri=store):
        tested = change(project, 7, "squash")
        run = newest(project, "Release")
        assert run.conclusion == "success", run.log
        promote(project)
        assert "alias `candidate`" in run.jobs["mirror"].log
        assert "alias `champion`" in newest(project, "Deploy").jobs["mirror"].log
    said = manifest(project)
    assert said["model"] == tested
    assert re.fullmatch(r"ghcr\.io/acme/card-fraud@sha256:[0-9a-f]{64}", said["image"])
    assert f"image: {said['image']}\n" in project.read("deploy/production/deployment.yaml")
    card = html.unescape(project.read("deploy/production/MODEL_CARD.md"))
    for words in ("Intended use", "Limits", "Trained on", "approved by <code>bob</code>", tested, said["champion"]):
        assert words in card


def test_revert_puts_the_previous_bytes_back_without_training(project: Project) -> None:
    ledger = deployments(project)
    project.git("switch", "--quiet", "--create", "revert")
    promoted = project.git("rev-list", "--first-parent", "--max-count=1", "main", "--", "deploy/production")
    project.git("revert", "--no-edit", "--mainline=1", promoted)
    project.push("revert")
    number = project.open("revert", "Revert the promotion")
    run = newest(project, "Pull request")
    assert run.conclusion == "success", run.log
    assert "verified" in report(project, number) and run.jobs["train"].conclusion == "skipped"
    project.approve(number)
    project.merge(number)
    assert newest(project, "Deploy").conclusion == "success", newest(project, "Deploy").log
    assert deployments(project) == [ledger[1], *ledger]


def test_what_was_rolled_back_is_not_proposed_until_somebody_asks(project: Project) -> None:
    run = newest(project, "Release")
    assert run.conclusion == "success", run.log
    assert "rolled back" in html.unescape(run.summary)
    assert not project.call("GET", f"pulls?head={OWNER}:{PROMOTE}&state=open")
    project.github.run_workflow("release.yml", again="true")
    run = newest(project, "Release")
    assert run.conclusion == "success", run.log
    assert TRAINS not in run.jobs["make"].log
    promote(project)


def test_dispatch_puts_an_earlier_model_back(project: Project) -> None:
    first = deployments(project)[-1]
    project.github.run_workflow("release.yml", model=first)
    run = newest(project, "Release")
    assert run.conclusion == "success", run.log
    assert run.jobs["make"].conclusion == "skipped"
    pull = project.opened("rollback/production")
    newest(project, "Pull request").approve()
    assert newest(project, "Pull request").conclusion == "success"
    project.approve(pull["number"])
    project.merge(pull["number"])
    newest(project, "Deploy")
    assert deployments(project)[0] == manifest(project)["model"] == first


def test_a_request_starts_from_what_main_put_into_the_remote(project: Project, tmp_path: Path) -> None:
    """The lock is main's artifact; the remote has the bytes that it names, and one that is lost is an error."""
    remote = tmp_path / "remote"
    with project.platform(dvc_remote=str(remote)):
        change(project, 11, "squash")
        run = newest(project, "Release")
        assert run.conclusion == "success", run.log
        project.propose("again", {"tests/test_nothing.py": NOTHING}, "Test nothing")
        run = newest(project, "Pull request")
        assert run.conclusion == "success", run.log
        ran = re.findall(r"Running stage '(\S+)'", run.jobs["data"].log + run.jobs["train"].log)
        assert set(ran) == {"source"}  # which is listed each time
        for path in remote.glob("files/md5/*/*"):
            path.unlink()
        project.propose("lost", {"tests/test_nothing.py": NOTHING + NOTHING}, "Test nothing twice")
        run = newest(project, "Pull request")
    assert run.jobs["data"].conclusion == "failure" and run.jobs["train"].conclusion == "skipped"


def test_main_trains_where_the_fitted_model_is_not_what_was_reported(project: Project) -> None:
    """No writer can stop releases: main says what disagrees, and fits the model itself."""
    knobs = re.sub(r"epochs: \d+", "epochs: 9", project.read("params.yaml"))
    number = project.propose("misreported", {"params.yaml": knobs}, "Train for 9 epochs")
    run = newest(project, "Pull request")
    assert run.conclusion == "success", run.log
    name = f"fitted-{run.jobs['plan'].outputs['key']}"
    rewrite(project, run.id, name, "metrics.json", lambda told: told.replace(b'"value": 0.', b'"value": 0.0'))
    project.approve(number)
    project.merge(number, "squash")
    run = newest(project, "Release")
    assert run.conclusion == "success", run.log
    assert "Main takes the fitted model" in run.jobs["plan"].log and TRAINS in run.jobs["make"].log
    assert "Main trained it itself" in html.unescape(project.opened(PROMOTE)["body"])
