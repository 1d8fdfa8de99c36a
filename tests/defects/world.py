"""A small bank with a model in production, from which a case starts: a pull request that is closed afterwards.

Cases of another task than the bank's start from a problem of tests/problems.
"""

import html
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import polars as pl
import yaml

from tests import baking, problems
from tests.rehearsal.driver import Run
from tests.rehearsal.project import OWNER, Project, rehearsal
from tests.rehearsal.small import commit, other, small, without

BANK = "bank"
UNTIL = date(2018, 8, 14)
FIRST, LAST = UNTIL - timedelta(days=60), UNTIL + timedelta(days=10)  # days that the bank has delivered
LATER = timedelta(days=3)  # that other problems deliver beyond their test week
WORKFLOWS = ("pull-request.yml", "train.yml", "release.yml", "deploy.yml", "drift.yml", "verify.yml")
PULL_REQUEST, DRIFT = "Pull request", "Drift"
STRANGER = "dave"  # of the team, and no owner of the bars

Files = Mapping[str, str | None]  # the text by the path; None removes one
Days = dict[date, pl.DataFrame]


@dataclass(frozen=True)
class Outcome:
    """What became of a case: the checks that are red, and all that was said."""

    red: tuple[str, ...]
    said: str
    run: Run | None = field(default=None, repr=False)


@dataclass
class World:
    """The repository on the forge, its daily files, and where their variants are put."""

    project: Project
    folder: Path
    cases: int = 0

    @property
    def days(self) -> Path:
        """The daily files."""
        return self.folder / "days"

    def read(self, name: str) -> str:
        """A file of main."""
        return self.project.read(name)

    def knobs(self, **blocks: Any) -> Files:
        """Those of params.yaml, policies/evaluation.yaml and contract.yaml with these blocks, with other values."""
        return dict(baking.with_knobs(self.read, blocks))

    def edit(self, name: str, *changes: tuple[str, str]) -> Files:
        """A file of main with words replaced, each of which is there."""
        text = self.read(name)
        for old, new in changes:
            assert old in text, f"{name} has no {old!r}"
            text = text.replace(old, new)
        return {name: text}

    def delivered(self, change: Callable[[Days], Days]) -> Files:
        """params.yaml with the source that a delivery has changed."""
        source = self.folder / f"days-{self.cases}"
        write(source, change(self.delivery()))
        return self.knobs(data={"source": str(source)})

    @property
    def until(self) -> date:
        """The last day that main reads."""
        return date.fromisoformat(yaml.safe_load(self.read("params.yaml"))["data"]["until"])

    def delivery(self) -> Days:
        """The files that main reads, as tables."""
        files, until = {date.fromisoformat(path.stem): path for path in sorted(self.days.iterdir())}, self.until
        return {day: pl.read_parquet(path) for day, path in files.items() if day <= until}

    # --- what is tried ---

    def pull_request(self, files: Files, branch: str = "") -> Outcome:
        """Propose the change, let its run end, close it."""
        number = self.propose(files, branch)
        run = self.newest(PULL_REQUEST)
        self.close(number)
        return outcome(run)

    def propose(self, files: Files, branch: str = "", login: str = "alice", base: str = "main") -> int:
        """Open a pull request of a change of main; its number. Its run goes on."""
        branch = self.branch(files, branch, login)
        return self.project.open(branch, "A change", login=login, base=base)

    def branch(self, files: Files, branch: str = "", login: str = "alice") -> str:
        """Push a branch that changes main; its name."""
        self.cases += 1
        branch = branch or f"case-{self.cases}"
        self.project.git("switch", "--quiet", "main")
        self.project.commit(branch, files, "A change", login=login)
        self.project.push(branch, login=login)
        return branch

    def without_owner(self, files: Files) -> Outcome:
        """Propose the change, have somebody approve it who owns no bars, and try to merge it."""
        number = self.propose(files)
        found = outcome(self.newest(PULL_REQUEST))
        self.project.approve(number, login=STRANGER)
        try:
            self.project.merge(number, login=STRANGER)
        except HTTPError as error:
            found = Outcome((*found.red, "owner"), found.said + f"\n{error.code} {error.read().decode()}", found.run)
            self.close(number)
        return found

    def drift(self, rows: str = "rows", kept: str = "logged") -> Outcome:
        """The drift check of a prediction log of the week after the model's test week.

        rows: what the bank saw and delivered that week, as an expression on its `rows`; those of the week are `new`.
        kept: what of its predictions came to the log, as an expression on `logged`.
        """
        self.cases += 1
        log = self.folder / f"log-{self.cases}"
        model = self.folder / "model.tar"
        if not model.exists():
            model.write_bytes(self.project.asset("model.tar"))
        command = ["-c", LOG.replace("ROWS", rows).replace("KEPT", kept), str(model), str(self.days), str(log)]
        with self.own_days(), self.project.platform(prediction_log=str(log)):
            subprocess.run([sys.executable, *command], cwd=self.project.folder, check=True)
            self.project.github.run_workflow("drift.yml")
            run = self.newest(DRIFT)
        said = [*self.project.call("GET", "pulls?state=open"), *self.project.call("GET", "issues?state=open")]
        found = outcome(run)
        red = (DRIFT.lower(),) if found.red else ()
        return Outcome(red, "\n".join([found.said, *(each["title"] for each in said)]), run)

    @contextmanager
    def own_days(self) -> Iterator[None]:
        """Meanwhile daily files may be written again."""
        before = self.folder / f"before-{self.cases}"
        shutil.copytree(self.days, before)
        try:
            yield
        finally:
            shutil.rmtree(self.days)
            before.rename(self.days)

    def close(self, number: int) -> None:
        """Close a pull request."""
        self.project.call("PATCH", f"pulls/{number}", {"state": "closed"})

    def newest(self, workflow: str) -> Run:
        """The newest run of a workflow, ended."""
        return self.project.newest(workflow)

    def artifact(self, run: Run, name: str) -> dict[str, bytes]:
        """The files of an artifact that a run left."""
        repo = self.project.github.forge.repositories[self.project.repository]
        (row,) = [row for row in repo.rows("artifacts", name=name) if row["workflow_run"]["id"] == run.id]
        with zipfile.ZipFile(io.BytesIO(repo.bytes[row["id"]])) as archive:
            return {member: archive.read(member) for member in archive.namelist()}

    @property
    def bare(self) -> Path:
        """The repository on the forge."""
        return self.project.github.forge.repositories[self.project.repository].git.path

    def clone(self) -> Path:
        """A fresh clone of main."""
        self.cases += 1
        folder = self.folder / f"clone-{self.cases}"
        subprocess.run(["git", "clone", "--quiet", "--branch=main", str(self.bare), str(folder)], check=True)
        return folder

    def python(
        self, *command: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Python in a fresh clone of main, or in a folder, as the repository's owner; what it printed is one text."""
        github = self.project.github
        asks = {
            **{"GITHUB_API_URL": github.forge.api_url, "GITHUB_SERVER_URL": github.forge.url},
            **{"GITHUB_REPOSITORY": self.project.repository, "GITHUB_TOKEN": github.forge.user(OWNER)},
        }
        return subprocess.run(
            [sys.executable, *command],
            cwd=folder or self.clone(),
            env={**os.environ, **asks, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


LOG = """
import sys, tarfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from pipeline import contract, log, model, params, personal, tasks, writer
from pipeline.rows import made

tar, days, into = map(Path, sys.argv[1:])
with tarfile.open(tar) as packed:
    packed.extractall(into.with_suffix(".model"), filter="data")
scorer, knobs, ours = model.load(into.with_suffix(".model") / "model"), params.load(), contract.load()
until = date.fromisoformat(knobs["data"]["until"])
files = sorted(path for path in days.iterdir() if path.stem > str(until - timedelta(days=20)))
rows = pl.concat(pl.read_parquet(path) for path in files)
new = pl.col(ours.time).dt.date() > until
rows = ROWS
for (day,), table in rows.filter(new).group_by(pl.col(ours.time).dt.date()):
    table.write_parquet(days / f"{day}.parquet")
table = made(rows, ours, knobs["features"]).filter(new)
table = table.filter(pl.col(ours.time).dt.date() <= until + timedelta(days=7))
answers = tasks.task(ours.task).answer(scorer.predict(table), scorer.problem)
logged = table.select(
    pl.col(ours.id).alias(log.ID),
    pl.col(ours.time).alias(log.TIME),
    *(column.name for column in scorer.inputs),
    *(pl.Series(log.kept(name), values) for name, values in answers.items()),
    pl.lit("0" * 32).alias(personal.REQUEST),
    pl.lit(datetime.now(UTC)).cast(log.ALWAYS[log.SCORED]).alias(log.SCORED),
)
for name, part in writer.parts(KEPT, scorer.digest, log.personal(log.policy(), ours.id)):
    log.Folder.at(str(into)).put(name, writer.encoded(part))
"""
"""Writes the days of the week, and the log as the service does. argv: the model, the bank's days, the log."""


def outcome(run: Run) -> Outcome:
    """The red jobs of a run, and what they and the report said."""
    red = tuple(name for name, job in run.jobs.items() if job.conclusion not in ("success", "skipped"))
    said = "\n".join([*(run.jobs[name].log for name in red), html.unescape(run.summary), run.error])
    return Outcome(tuple(name for name in red if name != "required"), said, run)


def between(first: date, last: date) -> list[date]:
    """The days from first to last."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def write(folder: Path, days: Days) -> None:
    """Daily files."""
    folder.mkdir(parents=True)
    for day, table in days.items():
        table.write_parquet(folder / f"{day}.parquet")


# --- how it began ---


@contextmanager
def worlds() -> Iterator[Callable[[str], World]]:
    """Gives a world by its name: each is made when it is first asked for, as that takes a release and a promotion."""
    with ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(world(name)))


@contextmanager
def world(name: str) -> Iterator[World]:
    """The small bank, or a problem of tests/problems, whose model has gone all the way into production."""
    with (
        tempfile.TemporaryDirectory(prefix="defects-") as folder,
        rehearsal() as github,
    ):
        bake = bank(Path(folder)) if name == BANK else table(Path(folder), name)
        project = Project.start(github, bake, protect=False)
        github.forge.team("acme/ml", "alice", "bob", STRANGER)
        github.forge.repositories[project.repository].roles[STRANGER] = "write"
        made = World(project, Path(folder))
        done = made.python("-m", "gitops", "setup", folder=bake)  # as `make setup-github` does
        assert done.returncode == 0, done.stdout
        assert made.newest("Release").conclusion == "success", made.newest("Release").log
        project.promote()
        yield made


def bank(folder: Path) -> Path:
    """A small bake that reads a bank's daily files."""
    template, days = baking.template(folder / "template"), folder / "days"
    (folder / "bake").mkdir()
    bake = small(template, folder / "bake", *WORKFLOWS)
    knobs = yaml.safe_load((bake / "params.yaml").read_text())
    knobs["data"]["source"] = str(days)
    knobs["simulate"]["seed"] = knobs["families"]["network"]["seed"] = 1  # whose model leaves something to better
    (bake / "params.yaml").write_text(yaml.safe_dump(knobs))
    subprocess.run([sys.executable, "-c", DELIVER, days, str(FIRST), str(LAST)], cwd=bake, check=True)
    policy = bake / "policies" / "model.yaml"
    policy.write_text(re.sub(r"each_class: \d+", "each_class: 20", policy.read_text()))
    git = ("git", "-c", "user.name=alice", "-c", "user.email=alice@example.org")
    subprocess.run([*git, "commit", "--quiet", "--all", "--message=Read our own days"], cwd=bake, check=True)
    return bake


def table(folder: Path, problem: str) -> Path:
    """A bake of a problem that reads its daily files, without the network, which takes longest, where it can do so."""
    template, days = baking.template(folder / "template"), folder / "days"
    (folder / "bake").mkdir()
    bake = other(template, folder / "bake", problem, days, *WORKFLOWS)
    if yaml.safe_load((bake / "params.yaml").read_text())["train"]["family"] != "network":
        without(bake / "params.yaml", "families", lambda family: family == "network")
        commit(bake)
    problems.deliver(problem, days, problems.FIRST, problems.until(problem) + LATER)
    return bake


DELIVER = """
import sys
from datetime import date, timedelta
from pathlib import Path

from pipeline import params, simulate

folder, first, last = Path(sys.argv[1]), *map(date.fromisoformat, sys.argv[2:])
folder.mkdir(parents=True)
knobs = params.load()["simulate"]
for number in range((last - first).days + 1):
    day = first + timedelta(days=number)
    simulate.day(day, knobs).write_parquet(folder / f"{day}.parquet")
"""
"""Writes the simulator's days as a bank's files. argv: the folder, the first day, the last."""


def timed(act: Callable[[], Outcome]) -> tuple[Outcome, float]:
    """What became of it, and the seconds that it took."""
    began = time.monotonic()
    return act(), time.monotonic() - began
