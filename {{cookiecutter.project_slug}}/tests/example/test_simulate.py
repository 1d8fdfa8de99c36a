"""The simulator follows the published design, and each day stands on its own."""

import os
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline import contract, ingest, simulate
from pipeline.params import BadInput
from pipeline.simulate import ID, LABEL, TIME
from tests.example import reference

OURS = contract.load(Path(contract.__file__).parents[1] / "contract.yaml")
HANDBOOK = os.environ.get("HANDBOOK", "")
START = date(2018, 4, 1)
PUBLISHED: dict[str, Any] = {"seed": 0, "start": str(START), "customers": 5000, "terminals": 10_000, "radius": 5}
SMALL = PUBLISHED | {"customers": 400, "terminals": 800, "radius": 10}
FEW = PUBLISHED | {"customers": 50, "terminals": 100, "radius": 20}


def after(days: int) -> date:
    return START + timedelta(days=days)


# --- each day on its own ---


def test_a_day_is_the_same_on_its_own_and_among_others() -> None:
    month = simulate.days(START, after(40), FEW)
    for number in (0, 13, 14, 27, 28, 40):
        alone = simulate.day(after(number), FEW)
        assert_frame_equal(alone, month.filter(pl.col(TIME).dt.date() == after(number)), check_exact=True)


def test_more_days_change_no_earlier_day() -> None:
    longer = simulate.days(START, after(40), FEW)
    assert_frame_equal(longer.filter(pl.col(TIME).dt.date() <= after(20)), simulate.days(START, after(20), FEW))


def test_nothing_made_before_changes_a_day() -> None:
    first = simulate.day(after(30), FEW)
    np.random.default_rng(1).normal(size=10)
    simulate.days(START, after(3), FEW | {"seed": 1})
    simulate.profiles.cache_clear()
    simulate.stolen_on.cache_clear()
    assert_frame_equal(simulate.day(after(30), FEW), first, check_exact=True)


@pytest.mark.parametrize("knob", [{"seed": 1}, {"customers": 51}, {"terminals": 101}, {"radius": 21}], ids=str)
def test_every_knob_changes_the_day(knob: dict[str, int]) -> None:
    assert not simulate.day(START, FEW | knob).equals(simulate.day(START, FEW))


# --- the rows ---


def test_rows_are_those_of_the_contract() -> None:
    table = simulate.days(START, after(40), FEW)
    assert ingest.read(table, "simulate", OURS).equals(table)
    assert {OURS.id, OURS.time, OURS.label.column} == {ID, TIME, LABEL}
    assert set(table[LABEL]) == {OURS.label.positive, OURS.label.values[0]}
    for column in OURS.columns:
        if column.minimum is not None:
            assert (table[column.name] >= column.minimum).all()
        if column.maximum is not None:
            assert (table[column.name] <= column.maximum).all()
    assert table.null_count().sum_horizontal().item() == 0
    assert table[ID].is_unique().all()
    assert table.select(TIME, ID).equals(table.select(TIME, ID).sort(TIME, ID))
    assert (table[TIME].dt.epoch("us") % 1_000_000 == 0).all()
    assert (table["tx_amount"] == table["tx_amount"].round(2)).all()
    assert table["customer_id"].is_between(0, 49).all()
    assert table["terminal_id"].is_between(0, 99).all()


def test_customers_use_the_terminals_around_them() -> None:
    """Only those: as many as a circle of the radius holds."""
    table, few = simulate.days(START, after(20), SMALL), simulate.profiles(simulate.check(SMALL))
    for customer in range(0, 400, 20):
        reach = few.terminal[few.first[customer] : few.first[customer] + few.number[customer]]
        used = set(table.filter(pl.col("customer_id") == customer)["terminal_id"])
        assert used <= set(reach)
    expected = 800 * np.pi * 10**2 / 100**2 * 0.9  # terminals in the circle; some of it lies outside the square
    assert abs(few.number.mean() / expected - 1) < 0.1


def test_a_customer_without_a_terminal_makes_no_transaction() -> None:
    lonely = FEW | {"radius": 4}
    number = simulate.profiles(simulate.check(lonely)).number
    table = simulate.days(START, after(20), lonely)
    assert 0 < (number == 0).sum() < 50
    assert set(table["customer_id"]) <= set(np.flatnonzero(number))


def test_the_patterns_of_fraud() -> None:
    """Large amounts and stolen terminals: every transaction; stolen cards: a third for each theft, times five."""
    knobs = simulate.check(SMALL)
    used, chance = [], []
    for day in range(45):
        customer, terminal, _, amount = simulate.genuine(day, knobs)
        final, fraud = simulate.defraud(day, knobs, customer, terminal, amount)
        always = (amount > 220) | (stolen(simulate.Draw.STOLEN_TERMINALS, day, 28, 2, 800)[terminal] > 0)
        thefts = stolen(simulate.Draw.STOLEN_CARDS, day, 14, 3, 400)[customer]
        assert (fraud == (always | (final != amount))).all()
        times = np.log(final[amount > 1] / amount[amount > 1]) / np.log(5)
        assert np.allclose(times, times.round(), atol=0.01)
        assert (times.round() <= thefts[amount > 1]).all()
        used.append(final != amount)
        chance.append(1 - (2 / 3) ** thefts)
    expected = np.concatenate(chance)
    deviation = np.sqrt((expected * (1 - expected)).sum())
    assert abs(np.concatenate(used).sum() - expected.sum()) < 4 * deviation < 0.1 * expected.sum()


def stolen(purpose: simulate.Draw, day: int, days: int, a_day: int, population: int) -> np.ndarray:
    """How often each was stolen in the last days, counted one by one."""
    count = np.zeros(population, int)
    for start in range(max(0, day - days + 1), day + 1):
        drawn = simulate.stolen_on(purpose, start, a_day, population, 0).tolist()
        assert len(set(drawn)) == a_day
        count[drawn] += 1
    return count


# --- drift ---

FROM = after(20)
CHANGES: list[dict[str, float]] = [{"amount": 1.5}, {"night": 0.3}, {"pattern": 0.02}]


def changed(**drift: float) -> dict[str, Any]:
    """The small world, in which these change from a day on."""
    return SMALL | {"drift": {"from": str(FROM), **drift}}


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_drift_changes_its_days_and_no_other(change: dict[str, float]) -> None:
    before, last = (simulate.days(START, after(30), knobs) for knobs in (SMALL, changed(**change)))
    early = pl.col(TIME).dt.date() < FROM
    assert_frame_equal(last.filter(early), before.filter(early), check_exact=True)
    for number in (20, 30):
        assert not simulate.day(after(number), changed(**change)).equals(simulate.day(after(number), SMALL))
        assert_frame_equal(
            simulate.day(after(number), changed(**change)),
            last.filter(pl.col(TIME).dt.date() == after(number)),
            check_exact=True,
        )
    assert last[ID].is_unique().all()
    assert last.select(TIME, ID).equals(last.select(TIME, ID).sort(TIME, ID))


def test_no_drift_is_the_world_as_it_was() -> None:
    plain = simulate.day(FROM, SMALL)
    assert simulate.day(FROM, SMALL | {"drift": None}).equals(plain)
    assert simulate.day(FROM, changed()).equals(plain)
    assert simulate.day(FROM, changed(amount=1, night=0, pattern=0)).equals(plain)


def test_what_drift_does_not_name_stays() -> None:
    """Every transaction is there again, but for what the knob is about."""
    key, rest = ["customer_id", "terminal_id"], ["tx_amount", LABEL]
    plain = simulate.days(FROM, after(30), SMALL)
    dearer = simulate.days(FROM, after(30), changed(amount=1.5))
    assert dearer.select(ID, TIME, *key, LABEL).equals(plain.select(ID, TIME, *key, LABEL))
    assert (dearer["tx_amount"] - 1.5 * plain["tx_amount"]).abs().max() < 0.006  # type: ignore[operator]
    later = simulate.days(FROM, after(30), changed(night=0.3))
    assert later.select(*key, *rest).sort(*key, *rest).equals(plain.select(*key, *rest).sort(*key, *rest))
    share, moved = (table.select((pl.col(TIME).dt.hour() < 7).mean()).item() for table in (plain, later))
    assert abs(moved - (0.7 * share + 0.3)) < 0.03


def test_the_new_fraud_is_a_burst_of_petty_payments_at_night() -> None:
    plain, tested = (simulate.days(FROM, after(50), knobs) for knobs in (SMALL, changed(pattern=0.02)))
    known = ["customer_id", "terminal_id", "tx_amount", TIME]
    new = tested.join(plain, on=known, how="anti")
    assert len(new) == len(tested) - len(plain)
    assert 0.01 < len(new) / len(plain) < 0.03
    assert (new[LABEL] == 1).all()
    assert new["tx_amount"].is_between(0.5, 3).all()
    assert (new[TIME].dt.hour() < 7).all()
    bursts = new.group_by("customer_id", pl.col(TIME).dt.date()).agg(pl.len(), span=pl.max(TIME) - pl.min(TIME))
    assert (bursts["len"] == 10).all()
    assert (bursts["span"] <= timedelta(hours=1)).all()
    few = simulate.profiles(simulate.check(SMALL))
    for customer, terminal in new.select("customer_id", "terminal_id").iter_rows():
        assert terminal in few.terminal[few.first[customer] : few.first[customer] + few.number[customer]]


def test_the_share_of_new_frauds_holds_in_a_small_world() -> None:
    """Less than one card a day, and not rounded away: within four deviations of the Poisson law's mean."""
    cards, expected = 0.0, 0.0
    for seed in range(8):
        plain, tested = (
            simulate.days(FROM, after(170), FEW | {"seed": seed, "drift": drift})
            for drift in (None, {"from": str(FROM), "pattern": 0.02})
        )
        cards += (len(tested) - len(plain)) / 10
        expected += 0.02 * len(plain) / 10
    assert abs(cards - expected) < 4 * np.sqrt(expected) < 0.3 * expected


# --- in law as published ---


def statistics(table: pl.DataFrame) -> dict[str, Any]:
    """What a reader of the design can tell from the transactions of the first 56 days."""
    table = table.filter(pl.col(TIME).dt.date() < after(56)).with_columns(day=pl.col(TIME).dt.date(), fraud=LABEL)
    volume = table.group_by("day").len()["len"]
    customers = table.group_by("customer_id").agg(n=pl.len(), shops=pl.n_unique("terminal_id"))
    genuine = table.filter(pl.col("fraud") == 0)
    spent = genuine.group_by("customer_id").agg(pl.mean("tx_amount").alias("mean"), pl.std("tx_amount").alias("sd"))
    seconds = table[TIME].dt.epoch("s") % 86_400
    found: dict[str, Any] = {
        "rows a day": volume.mean(),
        "deviation of rows a day": volume.std(),
        "active customers": len(customers),
    }
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        found[f"amount, quantile {share}"] = genuine["tx_amount"].quantile(share)
        found[f"second of the day, quantile {share}"] = seconds.quantile(share)
        found[f"transactions of a customer, quantile {share}"] = customers["n"].quantile(share)
    found["amount, quantile 0.99"] = genuine["tx_amount"].quantile(0.99)
    found["deviation of a customer's amounts over their mean"] = (spent["sd"] / spent["mean"]).median()
    found["terminals of a customer"] = customers["shops"].mean()
    for first, last in ((0, 6), (7, 13), (14, 20), (21, 27), (28, 55)):  # grows until 28 days' terminals are stolen
        days = table.filter(pl.col("day").is_between(after(first), after(last)))
        found[f"share of fraud, days {first} to {last}"] = days["fraud"].mean()
    found["share of amounts above 220 in fraud"] = (table.filter(pl.col("fraud") == 1)["tx_amount"] > 220).mean()
    return found


def assert_one_more_draw(table: pl.DataFrame, knobs: Mapping[str, Any], seeds: int = 12) -> None:
    """Every statistic of the table lies where one more seed of ours would lie.

    Between seeds a statistic scatters (customers and stolen cards are drawn anew), by s as measured on `seeds` of
    them; one draw more lies within t * s * sqrt(1 + 1 / seeds) of their mean, t = 4.4 for 1 in 1,000 (11 degrees).
    """
    theirs = statistics(table)
    draws = [statistics(simulate.days(START, after(55), {**knobs, "seed": seed})) for seed in range(1, seeds + 1)]
    for name, value in theirs.items():
        ours = np.array([draw[name] for draw in draws])
        allowed = 4.4 * ours.std(ddof=1) * np.sqrt(1 + 1 / seeds)
        print(f"{name}: {value:.4f}, ours {ours.mean():.4f} +- {allowed:.4f}")
        assert abs(value - ours.mean()) <= allowed, name


def test_statistics_are_those_of_the_published_computation() -> None:
    """The plain reference, one customer and one draw at a time, in a small world."""
    table = reference.simulate(START, 56, SMALL["customers"], SMALL["terminals"], SMALL["radius"], seed=0)
    assert_one_more_draw(pl.from_pandas(table), SMALL)


@pytest.mark.slow
@pytest.mark.skipif(not HANDBOOK, reason="HANDBOOK names no folder of the public data")
def test_statistics_are_those_of_the_real_data() -> None:
    files = [f"{HANDBOOK}/{after(number)}.parquet" for number in range(56)]
    assert_one_more_draw(pl.concat(map(pl.read_parquet, files)), PUBLISHED)


# --- bad input ---


def test_a_day_before_the_start_is_refused() -> None:
    with pytest.raises(BadInput, match="data.until is too early by 3 days: 2018-03-29"):
        simulate.days(after(-3), after(5), FEW)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"customers": 0}, "simulate.customers is 0; write a whole number, 1 or more"),
        ({"customers": "5000"}, "simulate.customers is '5000'"),
        ({"terminals": 1.5}, "simulate.terminals is 1.5"),
        ({"terminals": True}, "simulate.terminals is True"),
        ({"seed": -1}, "simulate.seed is -1; write a whole number, 0 or more"),
        ({"radius": 0}, "simulate.radius is 0; write a number above 0"),
        ({"radius": float("nan")}, "simulate.radius is nan"),
        ({"radius": None}, "simulate.radius is None"),
        ({"start": "April"}, "simulate.start is 'April'; write a day"),
        ({"drift": 1.2}, "simulate.drift is 1.2; write null, or a day as `from`"),
        ({"drift": {"amount": 2}}, "simulate.drift is {'amount': 2}; write null, or a day as `from`"),
        ({"drift": {"from": "2018-05-01", "nihgt": 0.1}}, "write null, or a day as `from` with any of amount, night"),
        ({"drift": {"from": "May"}}, "simulate.drift.from is 'May'; write a day"),
        ({"drift": {"from": "2018-05-01", "night": 1.1}}, "simulate.drift.night is 1.1; write a number from 0 to 1"),
        ({"drift": {"from": "2018-05-01", "amount": "2"}}, "simulate.drift.amount is '2'; write a number from 0 to"),
        ({"drift": {"from": "2018-05-01", "amount": -1}}, "simulate.drift.amount is -1"),
        ({"drift": {"from": "2018-05-01", "pattern": True}}, "simulate.drift.pattern is True"),
        ({"drift": {"from": "2018-05-01", "pattern": float("nan")}}, "simulate.drift.pattern is nan"),
        ({"custommers": 5}, "missing or unknown: custommers"),
        ({"radius": 1e-9}, "no customer has a terminal in reach"),
    ],
    ids=str,
)
def test_a_bad_knob_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        simulate.day(START, FEW | change)
    assert message in str(caught.value)
