"""The problems are what their contracts say, and a bake that one is put into holds nothing of the example's."""

import sys
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests import baking, problems

TYPES = {
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "category": pl.String(),
    "text": pl.String(),
    "time": pl.Datetime("us"),
}


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("name", problems.WORLDS)
def test_days_are_what_the_contract_says(name: str, tmp_path: Path) -> None:
    contract = read(problems.FOLDER / name / "contract.yaml")
    last = problems.until(name)
    problems.deliver(name, tmp_path, last - timedelta(days=1), last)
    problems.deliver(name, tmp_path, last + timedelta(days=1), last + timedelta(days=2), changed=True)
    files = sorted(tmp_path.iterdir())
    assert [file.stem for file in files] == [str(last + timedelta(days=offset)) for offset in (-1, 0, 1, 2)]
    days = [pl.read_parquet(file) for file in files]
    for file, day in zip(files, days, strict=True):
        assert day[contract["time"]].is_sorted()
        assert set(day[contract["time"]].dt.date()) == {date.fromisoformat(file.stem)}
    table = pl.concat(days)
    assert table.schema == {name: TYPES[column["type"]] for name, column in contract["columns"].items()}
    missing = {column.name for column in table if column.null_count()}
    assert missing <= {name for name, column in contract["columns"].items() if column.get("missing")}
    assert table[contract["id"]].is_unique().all()
    label = contract["label"]
    if contract["task"] != "regression":
        values = label.get("classes") or [label["positive"], label["negative"]]
        assert set(table[label["column"]].drop_nulls()) == set(values)
    for name, column in contract["columns"].items():
        lowest, highest = column.get("range", (None, None))
        assert lowest is None or table[name].min() >= lowest
        assert highest is None or table[name].max() <= highest


@pytest.mark.parametrize("name", problems.WORLDS)
def test_days_are_the_same_each_time_until_the_world_changes(name: str) -> None:
    """Whatever was asked for in between."""
    day = problems.until(name)
    told = problems.rows(name, day)
    problems.rows(name, day + timedelta(days=400))
    assert problems.rows(name, day).equals(told)
    assert not problems.rows(name, day).equals(problems.rows(name, day, changed=True))


@pytest.mark.parametrize("name", problems.WORLDS)
def test_first_model_learns_from_the_first_day_on(name: str) -> None:
    split, label = read(problems.FOLDER / name / "policies" / "evaluation.yaml")["split"], label_of(name)
    assert problems.until(name) == problems.FIRST + timedelta(days=split["train"] + label["delay"] + split["test"] - 1)


@pytest.mark.parametrize("name", problems.TABLES)
def test_model_learns_within_the_first_turn_of_the_table(name: str) -> None:
    """No row of the test week is one that was trained on."""
    days = (problems.until(name) - problems.FIRST).days + 1
    assert days * problems.TABLES[name].daily <= len(problems.TABLES[name].whole)


def label_of(name: str) -> dict:
    return read(problems.FOLDER / name / "contract.yaml")["label"]


def bake(folder: Path, problem: str) -> None:
    """What of a bake is a problem's, with this one in it."""
    for name in baking.tracked(baking.TEMPLATE):
        if name.split("/")[0] in ("pipeline", "policies", "contract.yaml", "params.yaml", "dvc.yaml"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((baking.TEMPLATE / name).read_bytes())
    problems.put(folder, problem, "../some days")


@pytest.mark.parametrize("name", problems.NAMES)
def test_contract_knobs_and_policies_are_as_the_bake_wants_them(name: str, tmp_path: Path) -> None:
    bake(tmp_path, name)
    done = baking.run(sys.executable, "-m", "pipeline.policy.check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_problem_takes_the_place_of_the_example(tmp_path: Path) -> None:
    bake(tmp_path, "loans")
    assert read(tmp_path / "params.yaml")["data"]["source"] == "../some days"
    assert read(tmp_path / "contract.yaml")["problem"] == "car-loans"
    assert not [gone for gone in ("simulate", "features") if (tmp_path / "pipeline" / f"{gone}.py").exists()]
    for stage in read(tmp_path / "dvc.yaml")["stages"].values():
        said = stage.get("do", stage)
        assert not {"pipeline/simulate.py", "pipeline/features.py"} & set(said["deps"])
        assert not {"simulate", "features"} & {each for each in said.get("params", []) if isinstance(each, str)}
