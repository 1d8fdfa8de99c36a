"""What the days are like beside each other: each fault is measured, judged and named, and what is like it passes."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from pipeline import personal, policy, validate
from pipeline.contract import UNDATED, Contract, Label
from pipeline.params import Days
from tests.tables import SIZES, ours, source
from tests.test_policy import BARS
from tests.test_validate import CLASSES, NUMBERS

SINCE, UNTIL = date(2020, 1, 1), date(2020, 2, 11)  # six weeks
TRAINED = date(2020, 1, 31)
WINDOW = Days(SINCE, (SINCE, TRAINED), (date(2020, 2, 5), UNTIL), 7)
A_DAY = 200
DATA = {**BARS["data"], "rows": {"minimum": 1}, "label": {**BARS["data"]["label"], "maximum": 1}}
DATA["label"]["day"] = {"rows": 5_000, "minimum": 0, "maximum": 1}
ANY = {"minimum": 0, "maximum": 1e6, "day": {"rows": 1, "minimum": 0, "maximum": 1e6}}  # of the label
Spoil = Callable[[pl.DataFrame], pl.DataFrame]
day = pl.col("ordered_at").dt.date()


def sound(seed: int = 0) -> pl.DataFrame:
    """Six weeks of orders, from eight to eight, and an hour later at weekends."""
    rows = 42 * A_DAY
    draw = np.random.default_rng(seed)
    days = np.arange(rows) // A_DAY
    hours = draw.uniform(8, 20, rows) + (days % 7 > 4)
    at = [datetime(2020, 1, 1) + timedelta(days=int(day), hours=hour) for day, hour in zip(days, hours, strict=True)]
    return source(rows).with_columns(
        pl.all().exclude("order_id", "ordered_at").shuffle(seed), ordered_at=pl.Series(at, dtype=pl.Datetime("us"))
    )


SOUND = sound()


def on(first: int, last: int, *changes: pl.Expr) -> Spoil:
    """Other values in the rows of some days, counted back from the last, 0."""
    there = day.is_between(pl.lit(UNTIL - timedelta(days=first)), pl.lit(UNTIL - timedelta(days=last)))
    return lambda table: table.with_columns(
        pl.when(there).then(change).otherwise(change.meta.output_name()).alias(change.meta.output_name())
        for change in changes
    )


def hours(number: int) -> pl.Expr:
    """The clock of another zone; the rows stay on their day."""
    moved = pl.col("ordered_at") + pl.duration(hours=number)
    return pl.col("ordered_at").dt.date().dt.combine(moved.dt.time())


def few(spoil: Spoil) -> Spoil:
    """The same of twenty rows a day."""
    return lambda table: spoil(table.gather_every(10))


def again(table: pl.DataFrame) -> pl.DataFrame:
    """The last day is a day of the week before, in another order and with other labels."""
    copied = table.filter(day == UNTIL - timedelta(days=9)).sample(fraction=1, shuffle=True, seed=0)
    new = table.filter(day == UNTIL)
    kept = new.select("order_id", "ordered_at", "returned")
    return pl.concat([table.filter(day < UNTIL), new.with_columns(copied.drop(kept.columns))])


def renamed(share: float, first: int) -> Spoil:
    """A level goes by another name from a day on."""
    lucky = pl.Series(np.random.default_rng(1).random(len(SOUND)) < share)
    there = day >= UNTIL - timedelta(days=first)
    old, new = pl.lit("weit"), pl.lit("Weit")
    size = pl.when(lucky).then(pl.when(there).then(new).otherwise(old)).otherwise("größe €")
    return lambda table: table.with_columns(size.alias("größe €"))


def coded(of: int, first: int) -> Spoil:
    """A category of many levels, so many rows each; all of them go by another name from a day on."""
    code = (pl.int_range(pl.len()) // of % 40).cast(pl.String)
    name = pl.when(day >= UNTIL - timedelta(days=first)).then("neu " + code).otherwise("alt " + code)
    return lambda table: table.with_columns(name.alias("größe €"))


def new_ones(table: pl.DataFrame) -> pl.DataFrame:
    """A category whose levels are in use for an hour or so, as the numbers of batches are."""
    return table.with_columns(("batch " + (pl.int_range(pl.len()) // 7).cast(pl.String)).alias("größe €"))


def found(spoil: Spoil, contract: Contract | None = None, **bars: Any) -> list[policy.Violation]:
    """What is found of the days of the sound table, spoiled."""
    measured = {"file": "f", "source": "s", "pinned": True}
    measured |= validate.measure(spoil(SOUND).lazy(), contract or ours(), WINDOW)
    rules = deepcopy(DATA) | bars
    judged = policy.judge_data(json.loads(json.dumps(measured, default=str)), rules)
    return [violation for violation in judged if ".day." not in violation.rule or violation.rule.startswith("daily")]


NONE = pl.lit("No").alias("returned")


@pytest.mark.parametrize(
    ("rule", "spoil", "value", "example"),
    [
        ("clock", on(3, 2, hours(3).alias("ordered_at")), "2 of 42 days have other hours", "2020-02-08: 1"),
        ("clock", on(0, 0, hours(-9).alias("ordered_at")), "a usual day's mean is 13:5", "2020-02-11: "),
        ("clock", on(3, 2, pl.col("ordered_at").dt.truncate("1d")), "2 of 42 days have no time of day", "2020-02-08"),
        ("clock", few(on(13, 4, hours(6).alias("ordered_at"))), "10 of 42 days have other hours", "2020-01-29: "),
        ("repeated", again, "1 day with the rows of an earlier day", "2020-02-11: the rows of 2020-02-02"),
        (
            "constant",
            on(5, 5, pl.lit(90.5).alias("amount")),
            "amount stands still: one value in 200",
            "2020-02-06: 90.5",
        ),
        ("constant", on(5, 5, pl.lit("extra").alias("model_config")), "model_config stands still", ": 'extra'"),
        ("constant", on(5, 4, pl.lit(False).alias("express")), "2020-02-06 to 2020-02-07", ": False"),
        ("labels", on(9, 0, NONE), "no positive label in 2,000 rows of 2020-02-02 to 2020-02-11", "2,000 labels"),
        ("labels", on(20, 18, NONE), "no positive label in 600 rows", "2020-01-22 to 2020-01-24"),
        ("labels", on(0, 0, pl.lit("Yes").alias("returned")), "no negative label in 200 rows of 2020-02-11", "200"),
        ("categories", renamed(0.2, 2), "größe € has levels that came or went", "'Weit' is new: "),
        ("categories", coded(1, 2), "größe € has levels that came or went", "a group of 40 levels is new: 100%"),
        ("lost", on(6, 0, pl.lit(None, pl.Float64).alias("a.b")), "a.b lost values; the median day", "100% missing"),
        ("lost", on(4, 4, pl.lit(None, pl.Float64).alias("a.b")), "a.b lost values; the median day", "100% missing"),
    ],
)
def test_a_day_unlike_the_others_is_found(rule: str, spoil: Spoil, value: str, example: str) -> None:
    (violation,) = found(spoil)
    assert violation.rule == f"daily.{rule}"
    assert value in violation.value and example in violation.examples[0]
    assert "policies/data.yaml" in violation.next


def test_a_renamed_level_is_one_that_came_and_one_that_went() -> None:
    (violation,) = found(renamed(0.2, 2))
    new, gone = violation.examples
    assert new.startswith("'Weit' is new: ") and new.endswith("since 2020-02-09")
    assert gone.startswith("'weit' is gone: ") and gone.endswith("until 2020-02-08, and none since")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: table,
        on(6, 0, hours(1).alias("ordered_at")),  # summer time
        on(90, 40, hours(3).alias("ordered_at")),  # the world has changed since
        on(90, 0, pl.col("ordered_at").dt.truncate("1d")),  # dates
        on(90, 0, pl.lit(90.5).alias("amount")),  # it never varies
        on(5, 5, pl.when(pl.int_range(pl.len()) % 20 == 0).then("express").otherwise(False).alias("express")),
        on(5, 5, pl.when(pl.int_range(pl.len()) % 5 > 0).then("a.b").alias("a.b")),  # a fifth is lost
        renamed(0.02, 2),
        new_ones,
        renamed(0.2, 30),  # the model knows of it
        on(0, 0, pl.when(pl.int_range(pl.len()) % 4 > 0).then(NONE).otherwise("returned").alias("returned")),
    ],
)
def test_what_is_like_it_and_sound_passes(spoil: Spoil) -> None:
    assert found(spoil) == []


def sized(old: str, new: str) -> pl.Expr:
    """Labels of a class are taken for another's."""
    return pl.col("größe €").replace(old, new)


def test_a_class_that_stops_is_found_and_may_be_excepted() -> None:
    stopped = on(3, 0, sized("groß", "klein"))
    (violation,) = found(stopped, CLASSES)
    assert violation.rule == "daily.labels" and violation.value.startswith("no groß label in ")
    assert "of 2020-02-08 to 2020-02-11; of the others " in violation.value
    said = yaml.safe_load(violation.next.partition("say ")[2].removesuffix(" in policies/data.yaml"))
    assert found(stopped, CLASSES, label=DATA["label"] | said["label"]) == []
    (own,) = found(stopped, CLASSES, label=DATA["label"] | {"parts": {"groß": {"labels": 0.4}, "NA": {"labels": 0}}})
    assert own.rule == "label.parts.groß.labels" and "lower label.parts.groß.labels" in own.next


def test_of_as_many_classes_as_there_are_none_stops_by_chance() -> None:
    codes = tuple(range(1, 9))
    many = replace(CLASSES, label=Label("items", 2, codes))
    assert found(lambda table: table, many) == found(few(lambda table: table), many) == []
    (violation,) = found(on(2, 0, pl.col("items").replace(8, 7)), many)
    assert violation.value.startswith("no 8 label in ")


def test_a_handful_of_labels_of_a_rare_class_may_lie_together_by_chance() -> None:
    """Four rows of two customers, on two days of the last week."""
    at = pl.int_range(pl.len())
    last = pl.when(at.is_in([len(SOUND) - 800, len(SOUND) - 799, len(SOUND) - 20, len(SOUND) - 19])).then(
        pl.lit("groß")
    )
    rare = last.otherwise(pl.lit("klein")).alias("größe €")
    contract = replace(CLASSES, label=Label("größe €", 2, SIZES[:2]))
    assert found(lambda table: table.with_columns(rare), contract, label=ANY) == []


def test_classes_that_are_swapped_from_a_day_on_are_found_by_the_bars_of_a_day() -> None:
    swap = pl.col("größe €").replace({"groß": "klein", "klein": "groß"})
    measured = {"file": "f", "source": "s", "pinned": True}
    measured |= json.loads(json.dumps(validate.measure(on(3, 0, swap)(SOUND).lazy(), CLASSES, WINDOW), default=str))
    day = {"rows": A_DAY, "minimum": 0, "maximum": 1}
    parts = {"groß": {"day": {"maximum": 0.3}}, "klein": {"day": {"minimum": 0.4}}}
    said = policy.judge_data(measured, DATA | {"label": DATA["label"] | {"day": day, "parts": parts}})
    assert [violation.rule for violation in said] == ["label.parts.groß.day.maximum", "label.parts.klein.day.minimum"]
    assert {len(violation.examples) for violation in said} == {3} and "on 4 days" in said[0].value


@pytest.mark.parametrize(
    ("spoil", "rule", "example"),
    [
        (on(3, 2, (pl.col("amount") * 24).alias("amount")), "level.maximum", "2020-02-08: "),
        (on(3, 0, (pl.col("amount") / 1000).alias("amount")), "level.minimum", "2020-02-08: "),
        (on(5, 5, pl.lit(90.5).alias("amount")), "daily.constant", "2020-02-06: 90.5"),
        (few(on(13, 0, (pl.col("amount") * 24).alias("amount"))), "level.maximum", " to "),
    ],
)
def test_a_number_in_another_unit_or_that_stands_still_is_found(spoil: Spoil, rule: str, example: str) -> None:
    (violation,) = found(spoil, NUMBERS, label=ANY)
    assert violation.rule == rule and example in violation.examples[0] and violation.value.startswith("amount st")


def test_whole_numbers_in_another_unit_are_found_too() -> None:
    whole = replace(NUMBERS, label=Label("items", 2))
    assert found(lambda table: table, NUMBERS, label=ANY) == found(lambda table: table, whole, label=ANY) == []
    (violation,) = found(on(3, 2, (pl.col("items") * 24).alias("items")), whole, label=ANY)
    assert violation.rule == "level.maximum" and "items strays on 2 of 42 days" in violation.value


def test_small_days_count_together() -> None:
    """Fourteen labels a day: a day without a positive says nothing, ten say something."""

    def small(table: pl.DataFrame) -> pl.DataFrame:
        few = table.filter(pl.int_range(pl.len()).over(day) < 14)
        return few.with_columns(returned=pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("Yes")).otherwise(NONE))

    def stopped(days: int) -> list[str]:
        return [violation.rule for violation in found(lambda table: on(days - 1, 0, NONE)(small(table)))]

    assert stopped(2) == [] and stopped(10) == ["daily.labels"]


@pytest.mark.parametrize(
    ("spoil", "column", "own"),
    [
        (on(5, 5, pl.lit(90.5).alias("amount")), "amount", {"constant": 0}),
        (renamed(0.2, 2), "größe €", {"categories": 1}),
        (on(4, 4, pl.lit(None, pl.Float64).alias("a.b")), "a.b", {"lost": 1}),
    ],
)
def test_a_column_may_have_a_bar_of_its_own(spoil: Spoil, column: str, own: dict[str, float]) -> None:
    (kind,) = own
    assert f"columns: {{{column}: {{{kind}: {own[kind]}}}}}" in found(spoil)[0].next
    assert found(spoil, columns={column: own}) == []


def test_a_closed_list_says_what_may_come_and_not_what_may_go() -> None:
    columns = tuple(
        replace(each, categories=("basic", "extra", "new")) if each.name == "model_config" else each
        for each in ours().columns
    )
    contract, new = replace(ours(), columns=columns), pl.lit("new").alias("model_config")
    half = pl.when(pl.int_range(pl.len()) % 2 == 0).then(new).otherwise("model_config").alias("model_config")
    assert found(on(3, 0, half), contract) == []
    only = pl.when(pl.col("model_config") == "basic").then(new).otherwise("model_config").alias("model_config")
    (violation,) = found(on(3, 0, only), contract)
    assert violation.examples[0].startswith("'basic' is gone")


def test_a_day_of_few_different_rows_is_no_copy() -> None:
    """Two columns alone, of four kinds of rows: days are alike by chance."""
    few = tuple(
        each
        for each in ours().columns
        if each.name in ("order_id", "ordered_at", "returned", "express", "model_config")
    )
    contract = replace(ours(), columns=few, entity=None)
    spoiled = found(lambda table: again(table).select(each.name for each in few), contract)
    assert spoiled == []
    (violation,) = found(
        lambda table: again(table).select(each.name for each in few),
        contract,
        daily={**DATA["daily"], "repeated": 4},
    )
    assert violation.examples[0].endswith("the rows of 2020-02-02")


def test_values_that_are_personal_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "rules", lambda: {"größe €": personal.HASH, "amount": personal.OMIT})
    (violation,) = found(renamed(0.2, 2))
    assert str(personal.digest("Weit")) in violation.examples[0] and "Weit" not in str(violation)
    (violation,) = found(on(5, 5, pl.lit(90.5).alias("amount")))
    assert violation.examples == ("2020-02-06: not shown",)


def test_dates_have_no_hours_and_that_is_said() -> None:
    measured = validate.measure(on(90, 0, pl.col("ordered_at").dt.truncate("1d"))(SOUND).lazy(), ours(), WINDOW)
    assert measured["daily"]["clock"] == {}
    assert [said for said in policy.unjudged_data(measured, DATA) if said.startswith("the hours of the days")]


def test_a_wide_and_long_table_is_measured_in_few_words() -> None:
    """No column says more than its oddest days."""
    lost = [f"c{at}" for at in range(40)]
    draw = np.random.default_rng(0)
    values = {name: pl.when(pl.Series(draw.random(len(SOUND)) > 0.3)).then(1.0) for name in lost}
    columns = (*ours().columns, *(replace(ours().column("a.b"), name=name) for name in lost))
    measured = validate.measure(SOUND.with_columns(**values).lazy(), replace(ours(), columns=columns), WINDOW)
    said = {name: len(json.dumps(part, default=str)) for name, part in measured["daily"].items()}
    assert said["lost"] < 500 * (len(lost) + 10) and sum(said.values()) - said["lost"] < 10_000


def test_days_whose_rows_lie_all_around_the_clock_have_their_hours() -> None:
    minute = pl.int_range(pl.len()) % 20 * 72 + 30
    around = pl.col("ordered_at").dt.date().dt.combine(pl.time(minute // 60, minute % 60))
    few_around = on(9, 9, around.alias("ordered_at"))
    assert not [said for said in found(few_around) if "no time of day" in said.value]


def test_of_few_rows_a_day_several_days_have_one_level() -> None:
    bars: dict[str, Any] = {"level": {"rows": 100, "minimum": 0.2, "maximum": 5}, "rows": {"minimum": 1}}
    assert not found(few(lambda table: table), **bars)
    (said,) = found(few(on(13, 4, (pl.col("amount") * 100).alias("amount"))), **bars)
    assert said.rule == "level.maximum" and " to 2020-" in said.examples[0]


def test_a_delivery_that_is_whole_has_no_days() -> None:
    whole = SOUND.with_columns(pl.lit(UNTIL).cast(pl.Datetime("us")).alias(UNDATED))
    measured = validate.measure(whole.lazy(), ours(time=UNDATED), WINDOW)
    assert measured["daily"] is None
    judged = policy.judge_data({"file": "f", "source": "s", "pinned": True, **measured}, DATA)
    assert not [violation for violation in judged if violation.rule.startswith("daily")]
    assert any("what is judged by day alone" in said for said in policy.unjudged_data(measured, DATA))
