"""The simulated problems hold together from row to row and from day to day, and change as they say."""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl

from tests.problems import clicks, maintenance, products

DAY = date(2024, 3, 1)
DAYS = 28


def weeks(rows: Callable[[date, bool], pl.DataFrame], changed: bool = False) -> pl.DataFrame:
    """The rows of some weeks."""
    return pl.concat(rows(DAY + timedelta(days=number), changed) for number in range(DAYS))


def mean(table: pl.DataFrame, name: str) -> float:
    """Of the values that are known."""
    return float(np.nanmean(table[name].cast(pl.Float64).to_numpy()))


def test_an_applicant_who_comes_back_is_the_same() -> None:
    table = weeks(products.rows)
    lasting = ["age", "income_€", "months at address", "homeowner", "region"]
    again = table.group_by("applicant_id").agg(pl.len(), pl.col(lasting).drop_nulls().n_unique())
    assert len(again.filter(pl.col("len") > 1)) > 1000
    assert again[lasting].max().row(0) == (1,) * len(lasting)


def test_an_application_says_more_than_its_channel() -> None:
    """No product is rare, and none has a channel of its own; with the world the channels change, and the products."""
    before, after = (products.rows(DAY, changed) for changed in (False, True))
    assert set(before["channel"]) == {"branch", "broker", "phone", "web"}
    assert len(before.unique(["channel", "product"])) == 4 * len(products.PRODUCTS)
    assert len(after.filter(channel="app")) > 100
    loans = [len(some.filter(product="installment loan")) for some in (before, after)]
    assert loans[1] > 1.2 * loans[0]


def test_a_machine_comes_nearer_to_its_end_by_a_day_a_day_and_is_replaced() -> None:
    """Another machine is at its place on the day after its last reading, and has run for less than a day."""
    today, next_day = (place(maintenance.rows(DAY + timedelta(days=number))) for number in range(2))
    both = today.join(next_day, on="place", suffix="_next").drop_nulls(["days_left", "days_left_next"])
    stays = pl.col("machine_id") == pl.col("machine_id_next")
    near = both.filter(stays, pl.col("days_left") < maintenance.CAP)
    assert len(near) > 500
    assert np.allclose(near["days_left"] - near["days_left_next"], 1, atol=0.011)
    assert (near["days_running_next"] == near["days_running"] + 1).all()
    gone = both.filter(~stays)
    assert len(gone) > 10
    assert (gone["days_left"] <= 1).all() and (gone["days_running_next"] == 0).all()


def test_what_a_machine_had_left_that_was_taken_away_is_not_known() -> None:
    table = maintenance.rows(DAY)
    assert 0 < table["days_left"].null_count() < 0.05 * len(table)


def test_machines_of_a_bad_batch_last_two_thirds_as_long_and_look_alike() -> None:
    before, after = (weeks(maintenance.rows, changed) for changed in (False, True))
    for lasts in ("days_left", "days_running"):
        assert abs(mean(after, lasts) / mean(before, lasts) - 2 / 3) < 0.05
    for looks in ("vibration", "oil_temperature", "oil_particles"):
        assert abs(mean(after, looks) / mean(before, looks) - 1) < 0.05


def place(table: pl.DataFrame) -> pl.DataFrame:
    """With the place of each machine."""
    return table.with_columns(place=pl.col("machine_id").str.split("-").list.get(1))


def test_a_page_is_of_one_reader_at_one_moment_and_has_each_slot_once() -> None:
    pages = clicks.rows(DAY).group_by("page_view").agg(pl.col("reader", "shown_at", "device").n_unique(), "slot")
    assert len(pages) == clicks.PAGES
    assert pages["reader", "shown_at", "device"].max().row(0) == (1, 1, 1)
    assert pages["slot"].list.sort().unique().to_list() == [list(range(clicks.SLOTS))]


def test_the_first_slots_are_opened_most() -> None:
    table = weeks(clicks.rows)
    assert 0.03 < mean(table, "clicked") < 0.1
    assert mean(table.filter(slot=0), "clicked") > 2 * mean(table.filter(slot=clicks.SLOTS - 1), "clicked")


def test_likings_move_and_a_phone_is_what_most_read_on_once_the_world_has_changed() -> None:
    now, soon, later = (clicks.liked(DAY + timedelta(days=days))[0] for days in (0, 1, 60))
    assert abs(soon - now).max() < 0.1 < 0.5 < abs(later - now).max()
    phones = [len(clicks.rows(DAY, changed).filter(device="phone")) for changed in (False, True)]
    assert phones[1] > 1.2 * phones[0]
