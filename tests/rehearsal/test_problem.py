"""From a pushed fraud bake to another problem in production, and back, by the real workflows.

One story: each test starts from what the one before it left. The other problem is that of the bake's README, by the
files and the commands of its walk-through.
"""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import baking
from tests.walkthrough import as_tested, commands, steps

from .project import OWNER, Project, rehearsal
from .small import small

pytestmark = pytest.mark.slow
WORKFLOWS = ("pull-request.yml", "train.yml", "release.yml", "deploy.yml")
OTHER, BRANCH = "tumours", "replace"
PROMOTE, RETRAIN, BACK = "promote/production", "retrain/production", "rollback/production"


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A small bake whose first model is in production, and whose drift has a request open."""
    with rehearsal() as github:
        bake = small(template, tmp_path_factory.mktemp("small"), *WORKFLOWS)
        project = Project.start(github, bake, bots_may_open=True)
        assert project.newest("Release").conclusion == "success", project.newest("Release").log
        project.promote()
        project.commit(RETRAIN, {"README.md": "as the drift check would\n"}, "Retrain")
        project.push(RETRAIN)
        project.open(RETRAIN, "Retrain")
        project.newest("Pull request")
        yield project


def said(text: str) -> str:
    return re.sub("</?code>", "", html.unescape(text))


def report(project: Project, number: int) -> str:
    """The one comment on a request, as text."""
    (comment,) = project.comments(number)
    return said(comment["body"])


def manifest(project: Project) -> dict[str, Any]:
    """What main has in production."""
    return dict(json.loads(project.read("deploy/production/manifest.json")))


def merged(project: Project, number: int) -> dict[str, Any]:
    """A request, approved and merged, and the promotion that release.yml opens for it."""
    project.approve(number)
    project.merge(number)
    run = project.newest("Release")
    assert run.conclusion == "success", run.log
    return project.opened(PROMOTE)


def bring(repository: Path) -> None:
    """Makes the problem of the README's walk-through out of a bake, up to the first `make` that trains."""
    readme = (repository / "README.md").read_text()
    for _, title, body in steps(readme):
        if title:
            (repository / title).write_text(body)
    for command in commands(readme):
        if command == "make pipeline":
            return
        done = baking.run("sh", "-c", as_tested(command), cwd=repository, **baking.MAKES)
        assert done.returncode == 0, done.stdout


def test_another_problem_under_the_old_name_is_refused_with_a_sentence(project: Project) -> None:
    project.git("switch", "--quiet", "--create", BRANCH, "main")
    bring(project.folder)
    contract = (project.folder / "contract.yaml").read_text()
    project.commit(
        BRANCH, {"contract.yaml": contract.replace(f"problem: {OTHER}", "problem: card-fraud")}, "Find tumours"
    )
    project.push(BRANCH)
    number = project.open(BRANCH, "Find tumours")
    run = project.newest("Pull request")
    assert run.jobs["report"].conclusion == "failure", run.log
    text = report(project, number)
    assert "the problem is still called card-fraud, and is another" in text and "give it another name" in text


def test_by_another_name_it_meets_its_own_bars_by_mains_code(project: Project) -> None:
    contract = (project.folder / "contract.yaml").read_text()
    files = {"contract.yaml": contract.replace("problem: card-fraud", f"problem: {OTHER}")}
    project.commit(BRANCH, files, "Call it by its name")
    project.push(BRANCH)
    run = project.newest("Pull request")
    assert run.conclusion == "success", run.log
    assert "Measured as the request says: contract.yaml" in run.jobs["measure"].log
    (pull,) = project.call("GET", f"pulls?head={OWNER}:{BRANCH}&state=open")
    text = report(project, pull["number"])
    assert "Ready to merge" in text and "This replaces the problem: card-fraud becomes tumours" in text.replace(
        "**", ""
    )
    assert "Against production" not in text and "tumours" in text.partition("### Data")[2]


def test_what_promotes_it_says_that_callers_break_and_what_was_open_is_closed(project: Project) -> None:
    before = manifest(project)
    (pull,) = project.call("GET", f"pulls?head={OWNER}:{BRANCH}&state=open")
    text = said(merged(project, pull["number"])["body"])
    assert "Callers break" in text and "card-fraud becomes tumours" in text
    request = next(line for line in text.splitlines() if line.startswith("| request"))
    assert all(field in request for field in ("tx_datetime", "tx_amount", "taken at", "mean concave points"))
    assert before["model"] in text and "no model of this problem was in production" in text
    (retrain,) = project.call("GET", f"pulls?head={OWNER}:{RETRAIN}&state=all")
    assert retrain["state"] == "closed"
    assert "another problem now, tumours" in project.comments(retrain["number"])[-1]["body"]
    project.promote()
    assert manifest(project)["problem"]["name"] == OTHER and manifest(project)["champion"] is None


def test_a_request_that_returns_is_compared_with_the_champion_of_its_problem(project: Project) -> None:
    """The simulator, which main has no more, comes along to measure it."""
    first = json.loads(project.git("show", f"{promoted(project)[-1]}:deploy/production/manifest.json"))
    replaced = project.git("log", "--first-parent", "--merges", "--format=%H", "main", "--", "contract.yaml").split()[0]
    project.git("switch", "--quiet", "--create", "return", "main")
    project.git("revert", "--no-edit", "--mainline=1", replaced)
    knobs = (project.folder / "params.yaml").read_text()
    project.commit("return", {"params.yaml": re.sub(r"epochs: \d+", "epochs: 7", knobs)}, "Train for longer")
    project.push("return")
    number = project.open("return", "Find fraud again")
    run = project.newest("Pull request")
    assert run.conclusion == "success", run.log
    assert "pipeline/simulate.py" in run.jobs["measure"].log
    text = report(project, number)
    assert "tumours becomes card-fraud" in text and first["model"] in text.partition("### Against production")[2]
    assert f"Compared with {first['model']}" in said(merged(project, number)["body"])
    project.promote()
    assert manifest(project)["problem"]["name"] == "card-fraud" and manifest(project)["champion"] == first["model"]


def promoted(project: Project) -> list[str]:
    """The commits of main that put a model into production, newest first."""
    return project.git("log", "--first-parent", "--format=%H", "main", "--", "deploy/production/manifest.json").split()


def test_production_goes_back_to_the_other_problem_by_its_bytes(project: Project) -> None:
    tumours = json.loads(project.git("show", f"{promoted(project)[1]}:deploy/production/manifest.json"))
    project.github.run_workflow("release.yml", model=tumours["model"])
    assert project.newest("Release").conclusion == "success", project.newest("Release").log
    pull = project.opened(BACK)
    assert "Callers break" in pull["body"]
    project.newest("Pull request").approve()
    assert project.newest("Pull request").conclusion == "success", project.newest("Pull request").log
    project.approve(pull["number"])
    project.merge(pull["number"])
    assert project.newest("Deploy").conclusion == "success", project.newest("Deploy").log
    assert manifest(project) == tumours
