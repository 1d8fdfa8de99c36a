"""The real pull-request.yml: the judge and the bars of the base branch decide, those of the change where stricter."""

import html
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from .driver import Rehearsal, Run
from .project import Project
from .small import small

pytestmark = pytest.mark.slow
NOTHING = "def test_nothing() -> None:\n    pass\n"


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A small bake on the forge."""
    # Not pytest's folder: act takes no space in a path.
    with (
        tempfile.TemporaryDirectory(prefix="rehearsal-") as folder,
        Rehearsal(Path(folder), Path(sys.prefix)) as github,
    ):
        yield Project.start(github, small(template, tmp_path_factory.mktemp("small")))


def judged(project: Project, name: str, files: Mapping[str, str | None]) -> tuple[Run, str]:
    """The run of a pull request, and what it reports."""
    project.propose(name, files, f"Change {name}")
    run = project.run()
    return run, html.unescape(run.jobs["report"].summary)


def results(run: Run) -> dict[str, str]:
    return {name: job.conclusion for name, job in run.jobs.items() if name not in ("plan", "promotion")}


GREEN = dict.fromkeys(("checks", "data", "train", "test", "service", "report", "required"), "success")


def test_bars_that_move_and_are_met_are_green_and_listed(project: Project) -> None:
    """One that is stricter and holds; a case of behaviour that goes, which is tried all the same."""
    bars = project.read("policies/model.yaml").replace("roc_auc: {minimum: 0.7}", "roc_auc: {minimum: 0.71}")
    cases = yaml.safe_load(project.read("policies/behaviour.yaml"))
    gone = cases["invariance"].pop()["case"]
    files = {"policies/model.yaml": bars, "policies/behaviour.yaml": yaml.safe_dump(cases)}
    run, text = judged(project, "stricter", files)
    assert results(run) == GREEN, run.log
    assert "🟢 Ready to merge" in text
    moved = text.partition("### Bars that change")[2]
    assert "metrics.roc_auc.minimum" in moved and "stricter" in moved
    assert gone in moved and "removed" in moved


def test_a_stricter_bar_that_does_not_hold_is_red(project: Project) -> None:
    bars = project.read("policies/model.yaml").replace("roc_auc: {minimum: 0.7}", "roc_auc: {minimum: 0.999}")
    run, text = judged(project, "too-strict", {"policies/model.yaml": bars})
    assert results(run)["test"] == results(run)["required"] == "failure", run.log
    assert results(run)["report"] == "success"  # the bars of the base are met
    assert "at least 0.999" in text


def test_a_loosened_bar_does_not_pass_the_model_it_is_for(project: Project) -> None:
    bars = project.read("policies/model.yaml").replace("bytes: 5_000_000", "bytes: 50_000_000")
    knobs = project.read("params.yaml").replace("hidden:\n  - 32\n", "hidden:\n  - 1500\n  - 1500\n")
    run, text = judged(project, "looser", {"policies/model.yaml": bars, "params.yaml": knobs})
    assert results(run) == GREEN | {"report": "failure", "required": "failure"}, run.log
    assert "1 bar is not met" in text
    assert "at most 5,000,000, by the judge and the bars of the base branch" in text
    assert "50000000" in text.partition("### Bars that change")[2]


def test_a_change_to_the_judge_does_not_judge_itself(project: Project) -> None:
    """All of its own jobs are green: the model learned nothing, the judge finds nothing, the tests ask nothing."""
    judge = project.read("pipeline/policy/judges.py").replace(
        "judge.violations(measured, policy),", "judge.violations(measured, policy)[:0],"
    )
    knobs = project.read("params.yaml").replace("learning_rate: 0.006", "learning_rate: 1.0e-9")
    files = {
        "pipeline/policy/judges.py": judge,
        "params.yaml": knobs,
        "tests/test_policy.py": NOTHING,
        "tests/model/test_behaviour.py": NOTHING,
    }
    run, text = judged(project, "gutted", files)
    assert results(run) == GREEN | {"report": "failure", "required": "failure"}, run.log
    assert "Not to be merged" in text
    assert "metrics.average_precision.minimum" in text and "base branch" in text
