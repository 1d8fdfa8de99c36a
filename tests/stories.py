"""What the demo can be about: card fraud, which a bake comes with; churn, a CSV that is adopted; and worked problems.

All are told in the same steps. Each is its words, its days and its metric, and three things that it does in its own
way: how the bake becomes its own, what the service is asked, and when labels come in.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tests import baking, problems, serving
from tests.baking import Words
from tests.problems import churn

TRAFFIC = Path(__file__).with_name("traffic.py")
TESTS = '["test_policy.py", "test_report.py", "model/test_*.py"]'
QUICK = {
    'files = ["."]': 'files = ["pipeline/policy"]',
    'testpaths = ["tests"]': f'testpaths = ["tests"]\npython_files = {TESTS}',
}
"""Of the code's checks a part: types are checked of the judge alone, and tests run of the judge, the report and the
trained model. Else every request would spend most of its time on code that no story changes."""

Command = Callable[..., str]
"""Runs a command in a repository: its folder, the words, variables of the environment. What it printed."""
Say = Callable[[str], None]


class Weeks(NamedTuple):
    """How long the service is asked before the clock starts drift.yml, each time."""

    healthy: int
    changed: int
    learning: int  # until labels of the changed world fill what is learned from
    recovered: int
    reverted: int


@dataclass(frozen=True)
class Story:
    """What is told, of a world that is the same for all who ask; `beside` is a folder for what lies outside of git."""

    project: str
    rows: str
    metric: str
    called: str  # the metric, in a sentence
    lowest: float  # of the metric, on the chart
    family: str
    start: date  # the first day after the first model's data
    change: date  # when the world changes
    changes: str
    weeks: Weeks
    small: Words
    quicker: str  # the title of a request for a model that is worse
    quick: Words
    clock: bool = False  # whether a model is asked for by the clock, too

    @property
    def slug(self) -> str:
        """The repository's name."""
        return self.project.lower().replace(" ", "-")

    @property
    def last(self) -> date:
        """The last day of traffic."""
        return self.start + timedelta(weeks=sum(self.weeks), days=-1)

    def adopt(self, repository: Path, beside: Path, command: Command, say: Say) -> Words:
        """Makes the bake the story's, and says how; which words have to change besides."""
        return {}

    def traffic(self, repository: Path, beside: Path, command: Command) -> None:
        """Writes what the service is asked, all weeks of it."""
        file = beside / "traffic.parquet"
        command(repository, "python", str(TRAFFIC), "rows", str(self.start), str(self.last), str(file))

    def asked(self, beside: Path, first: date, until: date) -> pl.DataFrame:
        """What the service is asked from a day on until another, exclusive; times are text, as it takes them."""
        rows = pl.read_parquet(beside / "traffic.parquet")
        moment = pl.col(rows.columns[1])  # as traffic.py writes them, after the identifier
        return rows.filter(moment >= str(first), moment < str(until))

    def logged(self, beside: Path) -> None:
        """After the service was asked."""

    def deliver(self, beside: Path, until: date) -> None:
        """Puts what has been delivered until a day, exclusive, where data.source names it."""


@dataclass(frozen=True)
class Worked(Story):
    """A problem of tests/problems, put in the place of the bake's own by hand; its days come in as they end."""

    problem: str = ""

    def adopt(self, repository: Path, beside: Path, command: Command, say: Say) -> Words:
        problems.put(repository, self.problem, beside / "bucket")
        problems.deliver(self.problem, beside / "bucket", problems.FIRST, self.start - timedelta(days=1))
        name = problems.contract(self.problem)["problem"]
        say(f"alice puts contract, knobs and bars of {name} in the example's place")
        say("what computes the example's inputs goes, and no line of Python comes")
        commit(repository, "Another problem", command)
        return {}

    def traffic(self, repository: Path, beside: Path, command: Command) -> None:
        """All days are known in a clone; those that have not ended yet nowhere else."""
        clone, world = beside / "clone", beside / "world"
        command(beside, "git", "clone", "--quiet", str(repository), str(clone))
        for name, text in baking.changed(clone, {"params.yaml": {str(beside / "bucket"): str(world)}}).items():
            (clone / name).write_text(text)
        self.come(world, self.start, self.last)
        super().traffic(clone, beside, command)

    def deliver(self, beside: Path, until: date) -> None:
        bucket = beside / "bucket"
        known = date.fromisoformat(max(bucket.iterdir()).stem)
        late = timedelta(days=problems.contract(self.problem)["label"]["delay"])
        self.come(bucket, known + timedelta(days=1), min(until - timedelta(days=1), self.last + late))

    def come(self, folder: Path, first: date, last: date) -> None:
        """Writes the days' files, of either world."""
        eve = self.change - timedelta(days=1)
        problems.deliver(self.problem, folder, first, min(last, eve))
        problems.deliver(self.problem, folder, max(first, self.change), last, changed=True)


class Churn(Story):
    """A CSV that is whole each time, and has no time: `make adopt` makes the contract, and each delivery.

    The service says when it was asked, which here is now; so the log is dated back to the days of the story.
    """

    def adopt(self, repository: Path, beside: Path, command: Command, say: Say) -> Words:
        day = self.start - timedelta(days=1)
        table = command(repository, *self.delivery(day, beside), *churn.SAID).splitlines()
        say(f"make adopt TABLE=churn.csv DATE={day} {' '.join(churn.SAID)}")
        for line in table:
            if line.startswith(("  Partner ", "  Contract ", "  TotalCharges ", "  Churn ")):
                say(f"  {line.strip()}")
        command(repository, "make", "data", "model")
        command(repository, "make", "bars")
        command(repository, "git", "apply", "build/bars.diff")
        for name, text in baking.changed(repository, churn.OWN).items():
            (repository / name).write_text(text)
        say(f"make bars proposes what was measured; alice takes it, and asks for {churn.BAR:.0%} live accuracy")
        commit(repository, "Adopt churn.csv", command)
        command(beside, "git", "clone", "--quiet", str(repository), "clone")
        shutil.copytree(repository / "deliveries", beside / "clone" / "deliveries")
        shutil.move(repository / "deliveries", beside / "bucket")
        return {"params.yaml": {"source: deliveries": f"source: {beside / 'bucket'}"}}

    def delivery(self, day: date, beside: Path) -> tuple[str, ...]:
        """The command that adopts the delivery of a day."""
        table = churn.write(beside / "churn.csv", day, self.change)
        return "make", "adopt", f"TABLE={table}", f"DATE={day}"

    def traffic(self, repository: Path, beside: Path, command: Command) -> None:
        """Each delivery is adopted in a clone; the service has been asked about its rows, a day's on each day."""
        clone, file, day = beside / "clone", beside / "traffic.parquet", self.start - timedelta(days=1)
        while day < self.last + timedelta(days=churn.LATER):
            day += timedelta(days=churn.WHOLE)
            command(clone, *self.delivery(day, beside))
            commit(clone, f"Adopt the delivery of {day}", command)
        command(clone, "python", str(TRAFFIC), "rows", str(self.start), str(day), str(file))
        moments = [churn.moments(self.start + timedelta(days=number)) for number in range(7 * sum(self.weeks))]
        rows = pl.read_parquet(file).join(pl.concat(moments), on=churn.ID)
        rows.sort(churn.MOMENT).write_parquet(file)

    def asked(self, beside: Path, first: date, until: date) -> pl.DataFrame:
        rows, moment = pl.read_parquet(beside / "traffic.parquet"), pl.col(churn.MOMENT)
        return rows.filter(moment >= first, moment < until).drop(churn.MOMENT)

    def logged(self, beside: Path) -> None:
        asked = pl.read_parquet(beside / "traffic.parquet", columns=[churn.ID, churn.MOMENT])
        serving.date_back(beside / "predictions", dict(asked.iter_rows()))

    def deliver(self, beside: Path, until: date) -> None:
        for file in (beside / "clone" / "deliveries").glob("*.parquet"):
            if date.fromisoformat(file.stem) < until:
                shutil.copy2(file, beside / "bucket")


def commit(repository: Path, message: str, command: Command) -> None:
    """All that has changed, by alice."""
    command(repository, "git", "add", "--all")
    who = ("-c", "user.name=alice", "-c", "user.email=alice@example.org")
    command(repository, "git", *who, "commit", "--quiet", f"--message={message}")


STORIES: Mapping[str, Story] = {
    "card-fraud": Story(
        project="Card Fraud",
        rows="payments",
        metric="average_precision",
        called="average precision",
        lowest=0,
        family="network",
        start=date(2018, 8, 15),
        change=date(2018, 8, 29),
        changes="dearer, later, and with a fraud that no model has seen",
        weeks=Weeks(healthy=2, changed=1, learning=9, recovered=2, reverted=1),
        small={
            "params.yaml": {
                "customers: 5000": "customers: 3000",
                "trees: {trees: 200,": "trees: {trees: 30,",
                # dearer, a fifth of the payments at night, and cards that are tried out by petty payments
                "drift: null": 'drift: {from: "2018-08-29", amount: 1.2, night: 0.2, pattern: 0.01}',
                "repeats: 3": "repeats: 1",
                "rows: 10 ": "rows: 5 ",
                "draws: 200": "draws: 50",
            },
            "policies/evaluation.yaml": {"train: 42": "train: 14", "resamples: 200": "resamples: 100"},
            "pyproject.toml": QUICK,
        },
        quicker="One epoch will do",
        quick={"params.yaml": {"epochs: 16": "epochs: 1"}},
    ),
    "churn": Churn(
        project="Telecom Churn",
        rows="customers",
        metric="accuracy",
        called="accuracy",
        lowest=0.6,
        family="trees",
        start=date(2024, 4, 1),
        change=date(2024, 5, 27),
        changes="a rival's fibre draws away who was bound and paid much",
        weeks=Weeks(healthy=8, changed=1, learning=7, recovered=8, reverted=1),
        small={"pyproject.toml": QUICK},
        quicker="One tree will do",
        quick={"params.yaml": {"trees: 200": "trees: 1"}},
    ),
    "products": Worked(
        problem="products",
        project="Credit Products",
        rows="applications",
        metric="balanced_accuracy",
        called="balanced accuracy",
        lowest=0.3,
        family="trees",
        start=date(2024, 3, 4),
        change=date(2024, 4, 1),
        changes="people owe more, take mortgages where they took loans, and apply by a new app",
        weeks=Weeks(healthy=4, changed=1, learning=10, recovered=4, reverted=1),
        small={"pyproject.toml": QUICK},
        quicker="One tree will do",
        quick={"params.yaml": {"trees: 200": "trees: 1"}},
    ),
    "maintenance": Worked(
        problem="maintenance",
        project="Machine Maintenance",
        rows="readings",
        metric="r2",
        called="R²",
        lowest=-0.2,
        family="trees",
        start=date(2024, 3, 20),
        change=date(2024, 5, 1),
        changes="a bad batch of machines wears out in two thirds of the time",
        weeks=Weeks(healthy=6, changed=1, learning=15, recovered=6, reverted=1),
        small={"pyproject.toml": QUICK},
        quicker="One tree will do",
        quick={"params.yaml": {"trees: 200": "trees: 1"}},
    ),
    "clicks": Worked(
        problem="clicks",
        project="Story Clicks",
        rows="impressions",
        metric="roc_auc",
        called="ROC AUC",
        lowest=0.5,
        family="network",
        start=date(2024, 2, 6),
        change=date(2024, 2, 13),
        changes="most is read on a phone by now, where people take their time",
        weeks=Weeks(healthy=1, changed=1, learning=5, recovered=2, reverted=1),
        small={"pyproject.toml": QUICK},
        quicker="One epoch will do",
        quick={"params.yaml": {"epochs: 16": "epochs: 1"}},
        clock=True,
    ),
}
