"""The table of churn is as people know it, changes on the day that is said, and is adopted as what it is."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests import baking, problems
from tests.problems import churn

DAY = date(2024, 3, 31)
CHANGE = date(2024, 6, 1)
LATER = CHANGE + timedelta(days=churn.LATER + churn.WHOLE)


def test_delivery_is_whole_and_the_same_each_time() -> None:
    table = churn.delivery(DAY)
    assert table.equals(churn.delivery(DAY, CHANGE))
    assert len(table) == churn.DAILY * churn.WHOLE
    assert table[churn.ID].is_unique().all()
    assert table[churn.ID].str.contains(r"^\d{4}-[A-Z]{5}$").all()


def test_text_of_numbers_is_blank_where_there_is_nothing_to_add_up() -> None:
    blank = churn.delivery(DAY).filter(pl.col("TotalCharges") == " ")
    assert 0 < len(blank) < 30
    assert (blank["tenure"] == 0).all()


def test_deliveries_follow_each_other_without_a_gap() -> None:
    """Whoever is looked at on a day is in the first delivery LATER days on, and in no other."""
    asked = churn.customers(DAY)
    days = [DAY + timedelta(days=churn.LATER + later) for later in (-1, 0, churn.WHOLE - 1, churn.WHOLE)]
    held = [churn.delivery(day).join(asked, on=asked.columns).height for day in days]
    assert held == [0, len(asked), len(asked), 0]


def test_who_leaves_changes_and_how_many_do_not() -> None:
    before, after = churn.delivery(LATER), churn.delivery(LATER, CHANGE)
    left = [table.filter(pl.col(churn.LABEL) == "Yes") for table in (before, after)]
    assert all(0.2 < len(some) / len(before) < 0.3 for some in left)
    monthly = [len(some.filter(Contract="Month-to-month")) / len(some) for some in left]
    fibre = [len(some.filter(InternetService="Fiber optic")) / len(some) for some in left]
    assert monthly[0] - monthly[1] > 0.2
    assert fibre[1] - fibre[0] > 0.2


@pytest.mark.slow
def test_adopted_without_a_word_of_python(template: Path, tmp_path: Path) -> None:
    """Blanks are missing numbers, Yes is true, and a delivery is whole; the next one becomes the one that counts."""
    days = tmp_path / "some days"
    assert baking.cookiecutter(template, tmp_path).returncode == 0
    problems.put(bake := tmp_path / "card-fraud", problems.CHURN, days)
    contract = yaml.safe_load((bake / "contract.yaml").read_text())
    assert (contract["id"], contract["time"]) == (churn.ID, None)
    assert contract["label"] == {"column": churn.LABEL, "positive": "Yes", "negative": "No", "delay": churn.LATER}
    columns = contract["columns"]
    assert columns["TotalCharges"] == {"type": "number", "range": [0, None], "missing": True}
    assert columns["Partner"]["type"] == "boolean" and columns["Contract"]["type"] == "category"
    told = pl.read_parquet(days / f"{churn.UNTIL}.parquet")
    table = churn.delivery(churn.UNTIL)
    assert told.columns == table.columns
    assert told["TotalCharges"].null_count() == len(table.filter(TotalCharges=" "))
    assert told["Partner"].sum() == len(table.filter(Partner="Yes"))

    later = churn.UNTIL + timedelta(days=churn.WHOLE)
    for words in (("add", "--all"), ("-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "Adopt")):
        assert baking.run("git", *words, cwd=bake).returncode == 0
    churn.adopt(bake, later)
    assert (days / f"{later}.parquet").exists()
    knobs = yaml.safe_load((bake / "params.yaml").read_text())
    assert knobs["data"]["until"] == str(later)
