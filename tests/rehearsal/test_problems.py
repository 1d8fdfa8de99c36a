"""Problems without a line of Python, each through the whole loop by the real workflows: another one each commit.

From the first model to production; then the world changes, the service is asked about it, drift.yml sees it in the log
and asks for a new model, and that one meets every bar. Where the clock asks too, it does so before the world changes.
"""

import html
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tests import baking, problems, serving
from tests.problems import churn
from tests.turns import turn

from .driver import Run
from .project import Project, rehearsal
from .small import other

pytestmark = pytest.mark.slow
TRAFFIC = baking.ROOT / "tests" / "traffic.py"
WORKFLOWS = ("pull-request.yml", "train.yml", "release.yml", "deploy.yml", "drift.yml")
WEEK = timedelta(days=7)
EACH = (*problems.NAMES, problems.CHURN)


@pytest.mark.parametrize("problem", turn(EACH, len(EACH)))
def test_a_table_goes_through_the_whole_loop(problem: str, template: Path, tmp_path: Path) -> None:
    days = tmp_path / "days"
    if problem in problems.NAMES:
        problems.deliver(problem, days, problems.FIRST, problems.until(problem))
    with rehearsal() as github, tempfile.TemporaryDirectory(prefix="log-") as log:
        bake = other(template, tmp_path, problem, days, *WORKFLOWS)
        project = Project.start(github, bake, bots_may_open=True)
        assert project.newest("Release").conclusion == "success", project.newest("Release").log
        project.promote()

        if policy(project, "drift")["retrain"].get("every"):
            by_the_clock(project, problem, days, tmp_path)
        last = changed(project, problem, days)
        rows = asked(project, problem, last, tmp_path)
        with service(project, Path(log)) as address:
            serving.ask(address, rows)
        if problem == problems.CHURN:
            serving.date_back(Path(log), dict(moments(last).iter_rows()))
        logged_as_asked(Path(log), rows, project)
        drift = checked(project, log)
        assert drift.jobs["measure"].conclusion == "failure", drift.log
        request = project.opened("retrain/production")
        assert request["title"] == f"Retrain on data until {last}", drift.log

        project.newest("Pull request").approve()
        run = project.newest("Pull request")
        assert run.conclusion == "success", run.log
        (report,) = project.comments(request["number"])
        text = html.unescape(report["body"])
        assert "Ready to merge" in text
        assert ("without a label yet" in text) == unknown(problem)


def by_the_clock(project: Project, problem: str, days: Path, folder: Path) -> None:
    """A week as any other, whose labels are to be learned from: no drift, and a request, which drift will move on."""
    first = undelivered(days)
    last = first + WEEK - timedelta(days=1)
    problems.deliver(problem, days, first, last + timedelta(days=contract(project)["label"]["delay"]))
    with tempfile.TemporaryDirectory(prefix="log-") as log:
        with service(project, Path(log)) as address:
            serving.ask(address, asked(project, problem, last, folder))
        drift = checked(project, log)
    assert drift.conclusion == "success", drift.log
    request = project.opened("retrain/production")
    assert request["title"] == f"Retrain on data until {last}", drift.log
    assert "## A model is due by the clock" in request["body"]


def checked(project: Project, log: str) -> Run:
    """The run of drift.yml on a prediction log."""
    with project.platform(prediction_log=log):
        project.github.run_workflow("drift.yml")
        return project.newest("Drift")


def undelivered(days: Path) -> date:
    """The first day without a file."""
    return date.fromisoformat(max(days.iterdir()).stem) + timedelta(days=1)


def changed(project: Project, problem: str, days: Path) -> date:
    """The world changes, for as long as a whole training and its test take; the newest day whose labels are known.

    Of churn it is the next delivery, of changed customers alone, which is adopted as a person does.
    """
    if problem == problems.CHURN:
        last = churn.UNTIL + timedelta(days=churn.LATER + churn.WHOLE)
        churn.adopt(project.folder, last, change=churn.UNTIL)
        project.git("restore", "params.yaml")  # whose change drift.yml will ask for
        return last
    first = undelivered(days)
    split, delay = policy(project, "evaluation")["split"], timedelta(days=contract(project)["label"]["delay"])
    last = first + timedelta(days=split["train"] + split["test"]) + delay
    problems.deliver(problem, days, first, last + delay, changed=True)
    return last


def unknown(problem: str) -> bool:
    """Whether there are labels in a test week that nobody knows yet."""
    if problem == problems.CHURN:
        return False
    label = problems.contract(problem)["label"]["column"]
    week = [problems.until(problem) - timedelta(days=ago) for ago in range(WEEK.days)]
    return any(problems.rows(problem, day)[label].null_count() for day in week)


def asked(project: Project, problem: str, last: date, folder: Path) -> pl.DataFrame:
    """What the service is asked in the week up to a day; of churn, in the week whose labels came last."""
    whole = problem == problems.CHURN
    first, file = last if whole else last - WEEK + timedelta(days=1), folder / "asked.parquet"
    command = [sys.executable, str(TRAFFIC), "rows", str(first), str(last), str(file)]
    subprocess.run(command, cwd=project.folder, check=True)
    rows = pl.read_parquet(file)
    return rows.join(moments(last), on=churn.ID).sort(churn.MOMENT).drop(churn.MOMENT) if whole else rows


def moments(delivered: date) -> pl.DataFrame:
    """When the customers were looked at whom a delivery of churn told of last, a week of them."""
    last = delivered - timedelta(days=churn.LATER)
    return pl.concat(churn.moments(last - timedelta(days=ago)) for ago in reversed(range(7)))


@contextmanager
def service(project: Project, log: Path) -> Iterator[str]:
    """The address of the very Bento that is in production."""
    with tempfile.TemporaryDirectory(prefix="bento-") as folder:
        with tarfile.open(fileobj=io.BytesIO(project.asset("service.bento"))) as tar:
            tar.extractall(folder, filter="data")
        with serving.bento(Path(folder), log) as address:
            yield address


def logged_as_asked(log: Path, rows: pl.DataFrame, project: Project) -> None:
    """The log has each row once, with the values that were asked about: missing ones and levels never seen too."""
    ours = contract(project)
    kept = pl.concat(pl.read_parquet(path) for path in log.rglob("*.parquet")).sort("_time")
    assert kept["_id"].to_list() == rows[ours["id"]].to_list()
    plain = [name for name in rows.columns if ours["columns"][name]["type"] != "time" and name != ours["id"]]
    assert plain and kept.select(plain).equals(rows.select(plain))


def contract(project: Project) -> dict[str, Any]:
    """contract.yaml of main."""
    return dict(yaml.safe_load(project.read("contract.yaml")))


def policy(project: Project, name: str) -> dict[str, Any]:
    """A policy of main."""
    return dict(yaml.safe_load(project.read(f"policies/{name}.yaml")))
