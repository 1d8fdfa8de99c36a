"""A whole delivery beside the one before: each fault is measured, judged and named, and what is like it passes."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import ingest, personal, policy, source, validate
from pipeline.contract import Label
from pipeline.policy.before import unjudged_before
from tests.tables import SIZES, write_knobs
from tests.test_policy import BARS
from tests.test_undated import ALONE, KNOBS, delivery, undated

OURS = replace(
    ALONE,
    columns=tuple(
        replace(column, categories=None) if column.name == "model_config" else column for column in ALONE.columns
    ),
)
ROWS = 800
DATA = {**BARS["data"], "rows": {"minimum": 1}, "label": {**BARS["data"]["label"], "maximum": 1}}
DATA["volume"] = {"minimum": 0.7, "maximum": 2}
FIRST = delivery(ROWS)
Spoil = Callable[[pl.DataFrame], pl.DataFrame]


def next_one(seed: int = 1) -> pl.DataFrame:
    """The next delivery: a tenth are gone, and as many new; amounts and labels have moved on, and a level is rare."""
    draw = np.random.default_rng(seed)
    kept = FIRST.filter(pl.Series(draw.random(ROWS) > 0.1))
    new = FIRST.sample(ROWS // 10, seed=seed, with_replacement=True).with_columns(
        order_id=pl.format("new-{}", pl.int_range(pl.len())),
        model_config=pl.when(pl.int_range(pl.len()) < 3).then(pl.lit("rare")).otherwise("model_config"),
    )
    moved = pl.Series(draw.gamma(1.5, 1, len(kept) + len(new)))
    return pl.concat([kept, new]).with_columns(amount=pl.col("amount") + moved, items=pl.col("items") + 1)


NEXT = next_one()


def found(now: pl.DataFrame, then: pl.DataFrame = FIRST, ours: Any = OURS, bars: Any = DATA) -> list[policy.Violation]:
    """The violations of a delivery that follows another."""
    return policy.judge_data(measured(now, then, ours), bars)


def measured(now: pl.DataFrame, then: pl.DataFrame, ours: Any = OURS) -> dict[str, Any]:
    """What reports/validation.json says."""
    made = validate.measure(now.lazy(), ours, ours.days(KNOBS), ("2020-01-13", then.lazy()))
    return dict(json.loads(json.dumps({"file": "x", "pinned": True, **made}, default=str)))


def change(**columns: Any) -> Spoil:
    """Other values in some columns."""
    return lambda table: table.with_columns(**columns)


def again_by_other_names(table: pl.DataFrame) -> pl.DataFrame:
    """The delivery before, under other identifiers and in another order."""
    return FIRST.sample(fraction=1, shuffle=True, seed=0).with_columns(order_id=pl.format("b-{}", pl.int_range(ROWS)))


def thrice(table: pl.DataFrame) -> pl.DataFrame:
    """Each row three times, under identifiers of their own."""
    return pl.concat(table.with_columns(order_id=pl.col("order_id") + f"/{time}") for time in range(3))


FAULTS: dict[str, tuple[Spoil, str, str]] = {
    "cents": (change(amount=pl.col("amount") * 100), "level.maximum", "amount strays"),
    "cents of whole numbers": (change(items=pl.col("items") * 100), "level.maximum", "items strays"),
    "thousands": (change(amount=pl.col("amount") / 1000), "level.minimum", "amount strays"),
    "standing still": (change(items=pl.lit(3, pl.Int64)), "daily.constant", "items stands still"),
    "renamed": (change(model_config=pl.col("model_config").str.to_uppercase()), "daily.categories", "model_config"),
    "a level gone": (change(**{"größe €": pl.lit("klein")}), "daily.categories", "is gone"),
    "lost": (change(**{"a.b": pl.lit(None, pl.Float64)}), "daily.lost", "a.b lost values"),
    "again": (lambda table: FIRST, "daily.repeated", "no row is new"),
    "a part again": (lambda table: FIRST.head(700), "daily.repeated", "no row is new"),
    "again under other identifiers": (again_by_other_names, "daily.repeated", "under other identifiers"),
    "half": (lambda table: table.head(ROWS // 2), "volume.minimum", "400 rows; the delivery of 2020-01-13 has 800"),
    "three times": (thrice, "volume.maximum", "the delivery of 2020-01-13 has 800"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    spoil, rule, words = FAULTS[fault]
    said = {violation.rule: str(violation) for violation in found(spoil(NEXT))}
    assert rule in said and words in said[rule], said
    assert set(said) <= {rule, "daily.constant"}


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_delivery_passes(seed: int) -> None:
    assert not found(next_one(seed))


def test_labels_alone_that_arrive_are_no_repetition() -> None:
    unknown = FIRST.with_columns(returned=pl.when(pl.int_range(ROWS) % 3 > 0).then("returned"))
    assert not found(FIRST, unknown)


def test_of_few_different_rows_all_may_come_again() -> None:
    few = FIRST.with_columns(pl.exclude("order_id", "returned").first())
    assert not found(few, few)


def test_a_few_large_values_and_two_humps_are_no_other_unit() -> None:
    heavy = change(amount=pl.when(pl.int_range(pl.len()) == 0).then(99_999.0).otherwise("amount"))
    assert not found(heavy(NEXT))
    humps = [change(amount=pl.when(pl.int_range(pl.len()) < most).then(1.0).otherwise(100.0)) for most in (390, 410)]
    assert not found(humps[0](NEXT), humps[1](FIRST))


def test_values_that_are_lost_are_seen_where_most_entities_missed_some_before() -> None:
    ours = replace(undated(), columns=OURS.columns)
    few = pl.when(pl.int_range(pl.len()) % 20 > 0).then("a.b").alias("a.b")
    of_ten = (pl.int_range(pl.len()) % 10).cast(pl.Int64).alias("customer")
    before = FIRST.with_columns(of_ten).with_columns(few)
    lost = NEXT.with_columns(of_ten, pl.lit(None, pl.Float64).alias("a.b"))
    assert "daily.lost" in {violation.rule for violation in found(lost, before, ours)}


def test_labels_that_are_left_blank_are_lost_values() -> None:
    ours = replace(OURS, columns=tuple(replace(c, missing=True) if c.name == "returned" else c for c in OURS.columns))
    blank = NEXT.with_columns(returned=pl.when(pl.int_range(pl.len()) < 80).then("returned"))
    assert [violation.rule for violation in found(blank, ours=ours)] == ["daily.lost"]


NUMBERS = replace(OURS, task="regression", label=Label("amount", 2, unit="euros"))
CLASSES = replace(OURS, task="multiclass", label=Label("größe €", 2, SIZES))
EVERY = DATA | {"label": {"minimum": 0, "maximum": 1e6, "day": {"rows": 1, "minimum": 0, "maximum": 1e6}}}


@pytest.mark.parametrize(
    ("fault", "ours", "rule"),
    [
        ("cents", NUMBERS, "level.maximum"),
        ("thousands", NUMBERS, "level.minimum"),
        ("cents of whole numbers", replace(NUMBERS, label=Label("items", 2)), "level.maximum"),
        ("standing still", replace(NUMBERS, label=Label("items", 2)), "daily.constant"),
        ("a level gone", CLASSES, "daily.categories"),
    ],
)
def test_a_fault_of_the_label_is_found(fault: str, ours: Any, rule: str) -> None:
    assert not found(NEXT, ours=ours, bars=EVERY)
    (violation,) = found(FAULTS[fault][0](NEXT), ours=ours, bars=EVERY)
    assert violation.rule == rule and violation.value.startswith(ours.label.column)
    assert f"columns: {{{ours.label.column}: " in violation.next


def test_a_new_class_is_one_that_the_contract_has_accepted() -> None:
    then = FIRST.with_columns(pl.col("größe €").replace("groß", None))
    assert not found(NEXT, then, CLASSES, EVERY)


def test_what_the_model_does_not_see_may_change() -> None:
    aside = replace(
        OURS, columns=tuple(replace(c, input=False) if c.name == "model_config" else c for c in OURS.columns)
    )
    assert not found(FAULTS["renamed"][0](NEXT), ours=aside)


def test_times_that_python_does_not_know_are_compared() -> None:
    far = pl.lit(253_402_300_800_000_000 + 10**9, pl.Int64).cast(pl.Datetime("us")).alias("born")
    assert "daily.constant" in {violation.rule for violation in found(NEXT.with_columns(far))}


def test_rows_of_one_entity_count_once() -> None:
    ours = replace(undated(), columns=OURS.columns)  # with an entity
    own = change(model_config=pl.when(pl.col("customer") < 3).then(pl.lit("b")).otherwise(pl.lit("a")))
    still = change(model_config=pl.lit("a"))
    assert not found(still(NEXT), own(FIRST), ours)


@pytest.mark.parametrize(
    ("name", "fault", "exception"),
    [
        ("amount", "cents", {"level": {"minimum": 0, "maximum": 150}}),
        ("items", "standing still", {"constant": 0}),
        ("a.b", "lost", {"lost": 1}),
        ("größe €", "a level gone", {"categories": 1, "constant": 0}),
    ],
)
def test_a_column_may_be_excepted(name: str, fault: str, exception: dict[str, Any]) -> None:
    bars = deepcopy(DATA) | {"columns": {name: exception}}
    assert not found(FAULTS[fault][0](NEXT), bars=bars)


def test_many_levels_come_and_go_and_a_closed_list_may_grow() -> None:
    draw = np.random.default_rng(0)
    many = [pl.Series("model_config", [str(each) for each in draw.zipf(1.3, ROWS)]) for _ in range(2)]
    assert not found(NEXT.head(ROWS - 60).with_columns(many[0].head(ROWS - 60)), FIRST.with_columns(many[1]))
    codes = [pl.Series("model_config", [f"{sign}{each}" for each in draw.integers(0, 60, ROWS)]) for sign in "ab"]
    said = found(NEXT.head(ROWS - 60).with_columns(codes[0].head(ROWS - 60)), FIRST.with_columns(codes[1]))
    assert [violation.rule for violation in said] == ["daily.categories"] and len(said[0].examples) == 3
    grown = NEXT.with_columns(
        model_config=pl.when(pl.int_range(pl.len()) % 3 > 0).then(pl.lit("basic")).otherwise(pl.lit("extra"))
    )
    assert not found(grown, FIRST.with_columns(model_config=pl.lit("basic")), ALONE)


# --- from the source to what is said ---


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the delivery that counts, and a later one."""
    monkeypatch.chdir(tmp_path)
    write_knobs(tmp_path, KNOBS)
    (tmp_path / "orders").mkdir()
    NEXT.write_parquet("orders/2020-01-20.parquet")
    FIRST.write_parquet("orders/2020-02-20.parquet")
    monkeypatch.setattr(source.contract, "load", lambda: OURS)
    return tmp_path


def test_the_newest_file_before_is_listed_outside_of_the_snapshot(folder: Path) -> None:
    source.main([])
    (line,) = source.FILES.read_text().splitlines(keepends=True)
    for name in ("2020-01-01", "2020-01-13", "2020-01-13x"):
        FIRST.write_parquet(f"orders/{name}.parquet")
    source.main([])
    same, before = source.FILES.read_text().splitlines(keepends=True)
    assert same == line and before.startswith("before 2020-01-13.parquet ")
    assert source.taken("orders", ALONE.days(KNOBS))[1] == [line]


def test_what_was_refused_is_no_measure_of_the_next_where_production_has_learned(folder: Path) -> None:
    for day in ("2020-01-05", "2020-01-13"):
        FIRST.write_parquet(f"orders/{day}.parquet")
    source.MANIFEST.parent.mkdir(parents=True)
    for until, problem, day in (
        ("2020-01-05", ALONE.problem, "2020-01-05"),
        ("2020-01-05", "another", "2020-01-13"),
        ("2020-01-04", ALONE.problem, "2020-01-13"),  # whose file is gone
        ("2020-01-20", ALONE.problem, ""),
    ):
        source.MANIFEST.write_text(json.dumps({"data": {"until": until}, "problem": {"name": problem}}))
        assert ingest.before(KNOBS, ALONE)[0] == day
    source.MANIFEST.write_text("{}")
    with pytest.raises(ingest.BadInput, match="restore it from git"):
        ingest.before(KNOBS, ALONE)


def test_it_is_read_as_far_as_the_contract_still_says(folder: Path) -> None:
    assert ingest.before(KNOBS, ALONE)[0] == ""
    FIRST.drop("items").cast({"amount": pl.String}).write_parquet("orders/2020-01-13.parquet")
    day, table = ingest.before(KNOBS, ALONE)
    assert day == "2020-01-13" and {"items", "amount"} == set(NEXT.columns) - set(table.columns)
    assert table["order_id"].equals(FIRST["order_id"])
    Path("orders/2020-01-13.parquet").write_bytes(b"PAR1 PAR1")
    with pytest.raises(ingest.BadInput, match=r"2020-01-13.parquet: "):
        ingest.before(KNOBS, ALONE)


def test_the_stages_judge_it(folder: Path) -> None:
    for then in (False, True):
        if then:
            NEXT.write_parquet("orders/2020-01-13.parquet")
        ingest.main()
        validate.main()
        told = json.loads(validate.VALIDATION.read_text())
        said = [violation.rule for violation in policy.judge_data(told, DATA)]
        assert said == (["daily.repeated"] if then else [])


def test_what_cannot_be_compared_is_said() -> None:
    told = measured(NEXT, FIRST.drop("items"))
    assert "items beside the delivery of 2020-01-13, which has no such column" in " ".join(unjudged_before(told))
    assert "data.source holds none before it" in " ".join(unjudged_before(told | {"before": None}))
    assert "has no rows" in " ".join(unjudged_before(measured(NEXT, FIRST.clear())))
    assert not [said for said in found(NEXT.clear(), FIRST) if "2020-01-13" in str(said)]


def test_what_is_handed_on_says_no_more_than_three_examples_and_no_personal_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(personal, "rules", lambda: {"model_config": "omit"})
    code = pl.format("{}{}", pl.lit("secret "), pl.int_range(pl.len()) % 40)
    (said,) = found(NEXT.with_columns(model_config=code), FIRST.with_columns(model_config=code.str.to_uppercase()))
    assert said.rule == "daily.categories" and "secret" not in str(said).lower()
