"""The first promise: from `cookiecutter` to a green request on the rehearsed GitHub, with a stranger's CSV.

20,000 rows and 20 columns of every kind, as spreadsheets write them: an identifier in text, days, numbers with blanks
and a decimal comma, Yes and No. No Python, one `make adopt`, the commands of the README; the environment is installed.
"""

import csv
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tests import baking
from tests.rehearsal.driver import Rehearsal
from tests.rehearsal.project import ANSWERS, Project

ROWS, DAYS, MINUTES = 20_000, 400, 10
ASKED = {"LABEL": "Churned", "ID": "Contract No.", "TIME": "Signed"}


def rows() -> Iterator[dict[str, Any]]:
    """The minutes to each of its steps, and to the end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:  # act takes no space in a path
        folder = Path(name)
        template, table = baking.template(folder / "template"), folder / "contracts.csv"
        write(table)
        began = perf_counter()
        for step in steps(template, table, folder):
            took = (perf_counter() - began) / 60
            yield row(f"a stranger's CSV of {ROWS:,} rows, from cookiecutter to: {step}", took)


def steps(template: Path, table: Path, folder: Path) -> Iterator[str]:
    """What is done, as it is done. Raises CalledProcessError or RuntimeError where a step is not green."""
    baking.cookiecutter(template, folder, **ANSWERS).check_returncode()
    bake = folder / "card-fraud"
    yield "a bake"
    make(bake, "adopt", TABLE=str(table), **ASKED)
    yield "a contract"
    (bake / "deliveries/.gitignore").unlink()  # the daily files are small, and nobody's
    git(bake, "add", "--all")
    git(bake, "commit", "--quiet", "--amend", "--no-edit")
    make(bake, "pipeline")
    yield "a model that meets every bar"
    with Rehearsal(folder / "github", baking.VENV) as github:
        project = Project.start(github, bake)
        git(bake, "switch", "--quiet", "--create", "bars")
        make(bake, "bars")
        git(bake, "apply", "build/bars.diff")
        git(bake, "commit", "--quiet", "--all", "--message=Tighten the bars")
        project.push("bars")
        project.open("bars", "Tighten the bars")
        github.wait()
        for workflow in ("Release", "Pull request"):
            run = project.newest(workflow)
            if run.conclusion != "success":
                raise RuntimeError(run.log[-5000:])
    yield "a green request"


def make(bake: Path, target: str, **asked: str) -> None:
    """Raises CalledProcessError where it fails."""
    pairs = [f"{name}={value}" for name, value in asked.items()]
    done = baking.run("make", "--old-file=setup", target, *pairs, cwd=bake, **baking.MAKES)
    if done.returncode:
        print(done.stdout[-5000:], flush=True)
    done.check_returncode()


def git(bake: Path, *arguments: str) -> None:
    """Raises CalledProcessError where it fails."""
    who = ("-c", "user.name=alice", "-c", "user.email=alice@example.org")
    subprocess.run(["git", *who, *arguments], cwd=bake, check=True)


def row(what: str, took: float) -> dict[str, Any]:
    """Minutes, beside those of the promise."""
    return {
        **{"what": what, "ours": took, "theirs": None, "unit": "min", "ratio": took / MINUTES},
        **{"bar": f"< {MINUTES}", "reached": took < MINUTES},
    }


def write(path: Path) -> None:
    """The stranger's CSV, in Latin-1, separated by semicolons."""
    columns = dict(stranger(np.random.default_rng(0)))
    assert len(columns) == 20
    with path.open("w", encoding="latin-1", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def stranger(draw: np.random.Generator) -> Mapping[str, list[str]]:
    """Columns by their names, each a text a row. Who has been there for long, pays little and complains never stays."""
    months, price = draw.integers(0, 72, ROWS), draw.gamma(4, 12, ROWS)
    calls, plan = draw.poisson(1.2, ROWS), draw.choice(["monthly", "one year", "two years"], ROWS, p=[0.5, 0.3, 0.2])
    odds = 0.6 * calls + 0.02 * price - 0.05 * months + 1.2 * (plan == "monthly") - 1.6
    return {
        "Contract No.": [f"C-{number:06}" for number in range(ROWS)],
        "Signed": [f"{date(2023, 1, 1) + timedelta(days=at * DAYS // ROWS)}" for at in range(ROWS)],
        "City": draw.choice(["Köln", "München", "Zürich", "Graz", "Ulm"], ROWS, p=[0.4, 0.3, 0.15, 0.1, 0.05]).tolist(),
        "Postcode": [f"{number:05}" for number in draw.integers(1000, 1400, ROWS)],
        "Months": months.astype(str).tolist(),
        "Price (EUR)": comma(price),
        "Total": blanks(comma(price * months), months == 0),
        "Plan": plan.tolist(),
        "Calls": calls.astype(str).tolist(),
        "Paperless": words(draw.random(ROWS) < 0.6),
        "Phone": words(draw.random(ROWS) < 0.9),
        "Fibre": blanks(words(draw.random(ROWS) < 0.4), draw.random(ROWS) < 0.03),
        "Router": draw.choice([f"R{number}" for number in range(40)], ROWS).tolist(),
        "Speed": draw.choice(["16", "50", "100", "250"], ROWS).tolist(),
        "Used": comma(draw.lognormal(3, 1, ROWS)),
        "Age": blanks(draw.integers(18, 90, ROWS).astype(str).tolist(), draw.random(ROWS) < 0.1, "n/a"),
        "Payment": draw.choice(["bank", "card", "invoice"], ROWS).tolist(),
        "Discount": comma(draw.choice([0, 5, 10, 12.5], ROWS)),
        "Source": ["CRM"] * ROWS,
        "Churned": words(draw.random(ROWS) < 1 / (1 + np.exp(-odds))),
    }


def comma(values: np.ndarray) -> list[str]:
    """Numbers with a decimal comma."""
    return [f"{value:.2f}".replace(".", ",") for value in values.tolist()]


def words(values: np.ndarray) -> list[str]:
    """Yes and No."""
    return np.where(values, "Yes", "No").tolist()


def blanks(texts: list[str], gone: np.ndarray, blank: str = " ") -> list[str]:
    """Texts, some of which are not there."""
    return [blank if lost else text for text, lost in zip(texts, gone.tolist(), strict=True)]


if __name__ == "__main__":
    write(Path("contracts.csv"))
