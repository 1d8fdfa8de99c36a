"""A day of the log in counts: the same however its rows are cut into parts, each row once, and never all in memory."""

import weakref
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import counts, log, logged
from pipeline.log import ALWAYS, ID, MODEL, SCORED, TIME
from pipeline.model import Input
from pipeline.params import BadInput
from pipeline.personal import pseudonym
from tests import tables

DAY, DIGEST, HASH = date(2018, 8, 14), "sha256:ab", log.hashed(ID)
INPUTS = (Input("amount", "number", maximum=500), Input("größe €", "category", missing=True, levels=("groß", "klein")))
COLUMNS = (counts.Number("amount", 80.0, maximum=500), counts.Text(INPUTS[1]))
WATCHED = logged.Watched(DIGEST, tables.problem(), INPUTS, COLUMNS, counts.Number("_score"))
MOMENT = datetime(2018, 8, 14, 12)


def table(number: int, **changes: Any) -> pl.DataFrame:
    """Rows of the day, as the log has them."""
    draw = np.random.default_rng(0)
    always = {TIME: MOMENT, MODEL: DIGEST, SCORED: datetime(2018, 8, 14, 13, tzinfo=UTC)}
    made = pl.DataFrame(
        {
            ID: [f"order {at}" for at in range(number)],
            "amount": draw.gamma(2, 40, number),
            "größe €": draw.choice(["groß", "klein", "riesig"], number),
            "_score": draw.random(number),
            "_alert": draw.random(number) < 0.5,
        }
    ).with_columns(pl.lit(value).cast(ALWAYS[name]).alias(name) for name, value in always.items())
    return made.with_columns(**changes)


class Parts:
    """A day of the log, in parts; remembers how many of them are in memory, and which columns were read how often."""

    def __init__(self, *parts: pl.DataFrame) -> None:
        self.parts, self.alive, self.most, self.asked = parts, 0, 0, list[Collection[str]]()

    def __call__(self, day: date, columns: Collection[str]) -> Iterator[pl.DataFrame]:
        self.asked.append(columns)
        for part in self.parts:
            rows = part.select(name for name in part.columns if name in ALWAYS or name in columns)
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(rows, self.gone)
            yield rows
            del rows

    def gone(self) -> None:
        self.alive -= 1


def cut(rows: pl.DataFrame, size: int) -> Parts:
    return Parts(*rows.iter_slices(size))


def told(day: logged.Day) -> dict[str, Any]:
    """A day's counts, to compare."""
    return {name: (of.bins.tolist(), of.rows.tolist(), of.beyond) for name, of in day.columns.items()}


def test_parts_count_as_the_whole_day_does_and_are_let_go() -> None:
    rows = table(1_000)
    whole, parts = cut(rows, 1_000), cut(rows, 30)
    one, other = (logged.of_day(DAY, each, WATCHED) for each in (whole, parts))
    assert told(one) == told(other) and one.rows == other.rows == other.logged == 1_000
    assert parts.most <= 2 and len(parts.asked) == 1


def test_other_models_and_other_days_rows_are_not_counted() -> None:
    theirs = table(200, **{MODEL: pl.lit("sha256:cd"), "amount": pl.lit("another problem's")}).drop("_score")
    elsewhere = table(50, **{TIME: pl.lit(datetime(2018, 8, 15)).cast(ALWAYS[TIME])})
    timeless = table(50, **{TIME: pl.lit(None, ALWAYS[TIME])})
    day = logged.of_day(DAY, Parts(theirs, table(300), elsewhere, timeless), WATCHED)
    assert (day.logged, day.answered, day.rows) == (500, 300, 300)
    assert told(day) == told(logged.of_day(DAY, Parts(table(300)), WATCHED))
    assert day.scored == datetime(2018, 8, 14, 13, tzinfo=UTC)
    nobody = logged.of_day(DAY, Parts(theirs), WATCHED)
    assert (nobody.logged, nobody.rows, dict(nobody.columns)) == (200, 0, {})


@pytest.mark.parametrize("share", [logged.SHARE, 100])
def test_of_rows_that_come_twice_the_last_counts(monkeypatch: pytest.MonkeyPatch, share: int) -> None:
    monkeypatch.setattr(logged, "SHARE", share)
    rows = table(300)
    first = rows.head(100).with_columns(amount=pl.lit(1e6))
    day = logged.of_day(DAY, cut(pl.concat([first, rows]), 70), WATCHED)
    assert (day.logged, day.answered, day.rows) == (400, 400, 300)
    assert told(day) == told(logged.of_day(DAY, cut(rows, 70), WATCHED))


@pytest.mark.parametrize("share", [logged.SHARE, 100])
def test_where_none_comes_twice_inputs_are_read_once(monkeypatch: pytest.MonkeyPatch, share: int) -> None:
    monkeypatch.setattr(logged, "SHARE", share)
    parts = cut(table(290), 70)
    assert logged.of_day(DAY, parts, WATCHED).rows == 290
    assert ["amount" in columns for columns in parts.asked].count(True) == 1


def test_hashed_identifiers_are_identifiers_and_without_any_each_row_counts() -> None:
    plain = table(100)
    hashed = plain.with_columns(pseudonym(plain[ID]).alias(HASH)).drop(ID)
    nameless = plain.drop(ID)
    for parts, number in (
        ((plain, hashed), 200),  # the policy has changed: nobody can tell
        ((hashed, hashed), 100),
        ((nameless, nameless), 200),
        ((plain, nameless, plain, hashed), 300),
        ((plain.with_columns(pl.lit(None, pl.String).alias(HASH)), plain), 100),
    ):
        assert logged.of_day(DAY, Parts(*parts), WATCHED).rows == number


def test_what_a_part_lacks_is_missing_there() -> None:
    whole, part = table(100), table(100, **{ID: pl.lit("b") + pl.col(ID)})
    day = logged.of_day(DAY, Parts(whole, part.drop("amount"), part.drop("größe €").drop(ID)), WATCHED)
    here = counts.Side(day.columns, day.rows)
    assert [counts.missing(column, here) for column in COLUMNS] == [1 / 3, 1 / 3] and not day.lacks
    assert logged.of_day(DAY, Parts(whole.drop("amount")), WATCHED).lacks == {"amount"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amount": pl.lit("much")}, "amount hold something else"),
        ({"größe €": pl.lit(7)}, "größe € hold something else"),
        ({"_score": pl.lit(1.5)}, "no model of the task"),
        ({"_alert": pl.lit(1)}, "no model of the task"),
    ],
)
def test_what_no_service_writes_is_a_sentence(change: dict[str, pl.Expr], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        logged.of_day(DAY, Parts(table(10), table(10, **change)), WATCHED)


def test_each_row_is_as_likely_to_be_shown() -> None:
    rows = table(2_000, amount=pl.int_range(2_000).cast(pl.Float64))
    shown = logged.of_day(DAY, cut(rows, 130), WATCHED, 500).some
    assert len(shown) == 500 and shown["amount"].n_unique() == 500
    assert shown["amount"].to_numpy().mean() == pytest.approx(1_000, abs=80)
    assert set(shown.columns) == {log.ID, log.TIME, logged.OUT, "amount", "größe €", "_score", logged.DRAWN}
    assert len(logged.of_day(DAY, cut(rows, 130), WATCHED, 5_000).some) == 2_000
    assert logged.of_day(DAY, cut(rows, 130), WATCHED).some.is_empty()
