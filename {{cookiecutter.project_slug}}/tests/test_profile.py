"""The profile: each value has a bin, each day of the week its shares, and what is no profile is a sentence."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import profile
from pipeline.model import Model
from pipeline.params import BadInput
from pipeline.profile import Bins, Profile
from tests import tables

SERVED = Model(tables.problem(), "linear", tables.inputs(), "sha256:ab", lambda columns: {})
MONDAY = date(2024, 1, 1)


def weekdays(number: int, days: int = 7) -> pl.Series:
    """The weekdays of rows that are as many on each of so many days, from a Monday on."""
    return pl.Series([(MONDAY + timedelta(days=row % days)).isoweekday() for row in range(number)], dtype=pl.Int8)


def counted(bins: Bins, values: pl.Series) -> dict[str, int]:
    """The bins that have any of the values."""
    return {name: int(number) for name, number in zip(bins.names, bins.count(values), strict=True) if number}


def whole(**columns: Bins) -> Profile:
    return Profile.model_validate({"model": SERVED.digest, "columns": columns})


def test_a_number_lies_between_the_ends() -> None:
    bins = profile.of_numbers(pl.Series(np.arange(1.0, 1001)), weekdays(1000))
    assert len(bins.names) == len(profile.QUANTILES) + 2
    asked = pl.Series([-1e300, 10, 10.5, 990, 991, 1e300, None, float("nan"), float("inf")])
    assert counted(bins, asked) == {"<=10": 2, "<=50": 1, "<=990": 1, ">990": 3, "missing": 2}


@pytest.mark.parametrize(("values", "names"), [([3.0] * 9, ["<=3", ">3"]), ([None] * 9, ["any"]), ([], ["any"])])
def test_a_number_that_stands_still_or_is_not_there_has_bins(values: list[Any], names: list[str]) -> None:
    bins = profile.of_numbers(pl.Series(values, dtype=pl.Float64), weekdays(len(values)))
    assert bins.names == [*names, "missing"]
    assert counted(bins, pl.Series([2, 4])) == ({"any": 2} if names == ["any"] else {"<=3": 1, ">3": 1})


def test_integers_and_true_and_false_are_counted_as_they_are_logged() -> None:
    assert counted(profile.of_numbers(pl.Series([1, 2, 2]), weekdays(3)), pl.Series([0, 1, 2, None])) == {
        **{"<=1": 2, "<=2": 1, "missing": 1}
    }
    bins = profile.of_levels(pl.Series([True, False, False]), weekdays(3))
    assert counted(bins, pl.Series([True, None, False])) == {"false": 1, "true": 1, "missing": 1}


def test_a_level_is_told_apart_where_it_is_frequent() -> None:
    known = [f"level {at:02}" for at in range(30) for _ in range(40 - at)] + [None]
    bins = profile.of_levels(pl.Series(known), weekdays(len(known)))
    assert bins.names == [*(f"level {at:02}" for at in range(profile.LEVELS)), "other", "missing"]
    assert counted(bins, pl.Series(["level 00", "level 29", "unseen", "", None])) == {
        **{"level 00": 1, "other": 3, "missing": 1}
    }


def test_a_level_that_is_called_as_a_bin_of_ours_is_another_one() -> None:
    bins = profile.of_levels(pl.Series(["other", "missing", "a"]), weekdays(3))
    assert bins.names == ["a", "other", "missing"]
    assert counted(bins, pl.Series(["other", "missing", None])) == {"other": 2, "missing": 1}


def test_all_classes_have_a_bin_also_those_without_rows() -> None:
    classes = [f"class {at}" for at in range(50)]
    bins = profile.of_levels(pl.Series(["class 3", "class 4"]), weekdays(2), classes)
    assert bins.names == [*classes, "other", "missing"]


def test_a_day_of_the_week_has_its_own_share_if_it_has_rows_enough() -> None:
    monday, tuesday = [0.0] * 100 + [1.0] * 300, [1.0] * 99
    values, days = pl.Series(monday + tuesday), pl.Series([1] * len(monday) + [2] * len(tuesday))
    bins = profile.of_numbers(values, days)
    assert bins.names == ["<=0", "<=1", ">1", "missing"]
    over_all = [round(100 / 499, 6), round(399 / 499, 6), 0, 0]
    assert bins.expected(1) == [0.25, 0.75, 0, 0]
    assert [bins.expected(day) for day in range(2, 8)] == [over_all] * 6


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    levels = profile.of_levels(pl.Series(["klein"]), weekdays(1))
    made = whole(amount=profile.of_numbers(pl.Series([0.1, 2]), weekdays(2)), **{"größe €": levels})
    path = tmp_path / "profile.json"
    path.write_text(made.model_dump_json())
    assert profile.load(path, SERVED) == made
    assert profile.load(tmp_path / "other.json", SERVED) is None


ENDS: dict[str, Any] = {"ends": [1.0, 2.0], "shares": [[0.25, 0.25, 0.25, 0.25]] * 7}


@pytest.mark.parametrize(
    "column",
    [
        ENDS | {"ends": [2.0, 1.0]},
        ENDS | {"ends": [1.0, 1.0]},
        ENDS | {"ends": [1.0, "2"]},
        ENDS | {"ends": [1.0]},
        ENDS | {"ends": list(map(float, range(2_000)))},
        ENDS | {"shares": ENDS["shares"][:6]},
        ENDS | {"shares": [[2, 0, 0, 0]] * 7},
        ENDS | {"levels": ["a", "b"]},
        {"levels": ["a", "a"], "shares": ENDS["shares"]},
        {"levels": ["a", "missing"], "shares": ENDS["shares"]},
        {"shares": ENDS["shares"]},
    ],
)
def test_what_is_no_profile_is_a_sentence(tmp_path: Path, column: dict[str, Any]) -> None:
    path = tmp_path / "profile.json"
    path.write_text(dumped(amount=column))
    with pytest.raises(BadInput, match=r"profile\.json: is no profile \(.*; make it again with `make model`"):
        profile.load(path, SERVED)


def dumped(model: str = SERVED.digest, **columns: Any) -> str:
    """The text of a profile."""
    return json.dumps({"model": model, "columns": columns})


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_a_file_that_is_damaged_is_a_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(BadInput, match="is no profile"):
        profile.load(path, SERVED)


@pytest.mark.parametrize("content", [dumped("sha256:cd", amount=ENDS), dumped(elsewhere=ENDS)])
def test_the_profile_of_another_model_is_a_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(BadInput, match="is of another model than sha256:ab"):
        profile.load(path, SERVED)
