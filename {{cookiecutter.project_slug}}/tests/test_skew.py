"""Rows of the log are made again from the source, whatever a contract says of it, and held against it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from pipeline import log, rows, skew
from pipeline.contract import UNDATED, Column, Contract
from pipeline.logged import DRAWN, Day
from pipeline.model import Input
from tests import tables

OURS = tables.ours()
LAST = tables.UNTIL
DAYS = [LAST - timedelta(days=number) for number in reversed(range(7))]
KNOBS = tables.knobs(data={"source": "orders", "until": str(LAST)})
DELIVERED = [date(2020, 1, 1) + timedelta(days=number) for number in range(20)]
Change = Callable[[pl.DataFrame], pl.DataFrame]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tables.daily(tmp_path / "orders", 4000)


def as_logged(made: pl.DataFrame, ours: Contract, time: str | None = None) -> list[Day]:
    """The days of a log that was sent these rows."""
    rows = made.rename({ours.id: log.ID, time or ours.time: log.TIME}).with_columns(pl.lit(0.5).alias(DRAWN))
    day = pl.col(log.TIME).dt.date()
    return [Day(of, 0, 0, 0, None, {}, frozenset(), rows.filter(day == of)) for of in DAYS]


def measured(
    change: Change = lambda rows: rows, inputs: tuple[Input, ...] = tables.inputs(), **how: Any
) -> dict[str, Any]:
    """What is measured where callers send what the source gives, but for a change."""
    made = change(rows.made(tables.source(), OURS, {}))
    return skew.measured(as_logged(made, OURS), inputs, DELIVERED, OURS, KNOBS, None, **how)


def shares(found: dict[str, Any]) -> dict[str, float]:
    """The newest day's share of each column."""
    return {column["name"]: column["newest"] for column in found["columns"]}


def test_what_the_source_gives_is_the_same_whatever_its_type() -> None:
    found = measured()
    assert found["columns"] == [] and found["share"] == found["lost"] == 0 and found["unmeasured"] is None
    assert found["rows"] == 1400 and [day["day"] for day in found["days"]] == DAYS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", pl.col("amount").cast(pl.Float32).cast(pl.Float64)),
        ("amount", pl.col("amount") * 1.0005),
        ("a.b", pl.col("a.b").fill_null(float("nan"))),
        ("born", pl.col("born") + 0.5 / 86_400),
        ("größe €", pl.col("größe €").fill_null("")),
    ],
)
def test_what_is_written_in_another_way_is_the_same(name: str, value: pl.Expr) -> None:
    assert measured(lambda rows: rows.with_columns(value.alias(name)))["columns"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", pl.col("amount") * 1.002),
        ("items", pl.col("items") + 1),
        ("express", ~pl.col("express")),
        ("a.b", pl.col("a.b").fill_null(0.0)),
        ("amount", pl.lit(float("inf"))),
        ("born", pl.col("born") + 1 / 24),
        ("größe €", pl.lit("<b>")),
        ("model_config", pl.lit(None, pl.String)),
    ],
)
def test_what_is_another_value_is_counted(name: str, value: pl.Expr) -> None:
    found = measured(lambda rows: rows.with_columns(value.alias(name)))
    assert list(shares(found)) == [name] and found["columns"][0]["share"] > 0.01
    assert "<b>" not in str(found)


def test_one_infinity_that_is_made_blinds_no_column() -> None:
    infinite = float("inf")
    both = pl.DataFrame({"amount": [1.0, 5.0, infinite, infinite], f"{skew.MADE}amount": [1.0, 9.0, infinite, 2.0]})
    found = both.select(skew.differs(Input("amount", "number"), both).alias("odd"))["odd"].to_list()
    assert found == [False, True, False, True]


def test_few_rows_of_the_newest_day_are_looked_at_with_those_before() -> None:
    found = measured(lambda rows: rows.filter((pl.col(OURS.time).dt.date() < LAST) | (pl.col("items") == 1)))
    assert found["newest"]["day"] == LAST - timedelta(days=1) and found["newest"]["until"] == LAST


# --- computed inputs ---

MEAN = Column("mean", "number")
COMPUTED = tables.ours(computed=(MEAN,))


def running(source: pl.DataFrame, knobs: Any, delay: int) -> pl.DataFrame:
    """A customer's mean amount of three days, which earlier days have a part in."""
    mean = pl.col("amount").rolling_mean_by(OURS.time, window_size="3d").over("customer")
    return source.sort(OURS.time).select(OURS.id, mean.alias("mean"))


def of_window(change: Change, delivered: list[date] = DELIVERED) -> dict[str, Any]:
    """What is measured of a computed input, which callers send but for a change."""
    source = tables.source()
    knobs = KNOBS | {"features": {"windows": [3]}}
    made = change(running(source, {}, 0).join(source.select(OURS.id, OURS.time, "customer", "amount"), on=OURS.id))
    inputs = (Input("mean", "number"),)
    return skew.measured(as_logged(made, COMPUTED), inputs, delivered, COMPUTED, knobs, None)


def test_what_features_py_computes_is_made_again_with_the_days_that_it_looks_back_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "features", lambda: SimpleNamespace(compute=running))
    assert of_window(lambda rows: rows)["share"] == 0
    ever = pl.col("amount").cum_sum().over("customer") / pl.col("amount").cum_count().over("customer")
    found = of_window(lambda rows: rows.sort(OURS.time).with_columns(ever.alias("mean")))
    assert shares(found)["mean"] > 0.9 and found["columns"][0]["example"].keys() == {"logged", "made"}
    lacking = of_window(lambda rows: rows, [day for day in DELIVERED if day > DAYS[0]])
    assert lacking["rows"] == 200 and lacking["lost"] == 0, "without the days before, nobody is blamed"
    assert lacking["share"] == 0


def test_where_main_computes_in_another_way_than_production_learned_nobody_is_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("pipeline").mkdir()
    Path(rows.FILE).write_text("new")
    monkeypatch.setattr(skew, "at_commit", lambda _, path: "old" if path == str(rows.FILE) else "features: {}")
    made = rows.made(tables.source(), OURS, {})
    found = skew.measured(as_logged(made, OURS), tables.inputs(), DELIVERED, COMPUTED, KNOBS, "0" * 40)
    assert found["rows"] == 0 and "another one than the model in production learned by" in found["unmeasured"]


# --- a whole delivery ---


def test_a_row_is_held_against_the_deliveries_around_it() -> None:
    ours = replace(OURS, time=UNDATED, columns=tuple(c for c in OURS.columns if c.name != OURS.time))
    people = tables.source(200).drop(OURS.time)
    for path in Path("orders").iterdir():
        path.unlink()
    before, after = DAYS[1], DAYS[4]
    people.write_parquet(f"orders/{before}.parquet")
    people.with_columns(pl.col("items") + 1).write_parquet(f"orders/{after}.parquet")

    def asked(day: date, **columns: pl.Expr) -> pl.DataFrame:
        moment = datetime(day.year, day.month, day.day, 12)
        made = rows.made(people.with_columns(pl.lit(moment).cast(pl.Datetime("us")).alias(UNDATED)), ours, {})
        return made.with_columns(**columns)

    knobs = KNOBS | {"split": {"share": 0.2, "calibrate": 0.1}}

    def share(*sent: pl.DataFrame) -> dict[str, float]:
        logged = as_logged(pl.concat(sent), ours)
        return shares(skew.measured(logged, tables.inputs(), [before, after], ours, knobs, None))

    assert share(asked(DAYS[2])) == {}
    assert share(asked(DAYS[2], items=pl.col("items") + 1)) == {}, "it may have changed since"
    assert share(asked(DAYS[2], items=pl.col("items") + 2)) == {"items": 1}
    assert share(asked(DAYS[0])) == {} and share(asked(DAYS[4])) == {"items": 1}
    assert share(asked(DAYS[3], amount=pl.col("amount") * 2)) == {"amount": 1}
