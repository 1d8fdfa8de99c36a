"""A table without a time: a delivery is whole, and replaces the last; who is tested follows from who they are."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from pipeline import candidate, compare, contract, ingest, log, monitor, params, rows, source, validate
from pipeline.model import Problem
from pipeline.params import BadInput
from pipeline.policy.champion import judge_delivery
from pipeline.policy.data import judge_data, unjudged_data
from pipeline.rows import ID
from tests.tables import OURS, POLICIES, ROOT, knobs, write_knobs
from tests.tables import source as orders

SPLIT = {"share": 0.25, "calibrate": 0.1}
UNTIL = date(2020, 1, 20)
KNOBS = knobs() | {"split": SPLIT, "data": {"source": "orders", "until": str(UNTIL), "snapshot": None}}
WORDS = yaml.safe_load(OURS.read_text()) | {"time": None}
del WORDS["columns"]["ordered_at"]


def undated(**changes: Any) -> contract.Contract:
    """The unit tests' contract, without a time; each order is of its own."""
    said = {name: value for name, value in (WORDS | changes).items() if value is not ...}
    return contract.parse(yaml.safe_dump(said, allow_unicode=True), schema=ROOT / contract.SCHEMA)


ALONE = undated(entity=...)


def delivery(number: int = 400, **changes: Any) -> pl.DataFrame:
    """A whole delivery."""
    return orders(number).drop("ordered_at").with_columns(**changes)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two deliveries: in the later one, everybody has bought more, and nobody returns anything."""
    monkeypatch.chdir(tmp_path)
    write_knobs(tmp_path, KNOBS)
    (tmp_path / "contract.yaml").write_text(yaml.safe_dump(WORDS, allow_unicode=True))
    (tmp_path / "orders").mkdir()
    delivery().write_parquet("orders/2020-01-20.parquet")
    later = delivery(amount=pl.col("amount") + 1, returned=pl.lit("No"))
    later.write_parquet("orders/2020-02-20.parquet")
    return tmp_path


def test_the_delivery_of_the_day_is_all_that_is_read(folder: Path) -> None:
    source.main([])
    assert [line.split()[0] for line in source.FILES.read_text().splitlines()] == ["2020-01-20.parquet"]
    table = ingest.rows(KNOBS, undated())
    assert len(table) == 400 and undated().time not in table.columns
    with pytest.raises(BadInput, match=r"none of the daily files from 2020-01-21 .* 2020-01-20 to 2020"):
        ingest.rows(KNOBS | {"data": KNOBS["data"] | {"until": "2020-01-21"}}, undated())


@pytest.mark.parametrize(
    ("ours", "change", "words"),
    [
        (undated(), {"split": {"train": 10, "test": 3}}, "split.share is None; contract.yaml says `time: null`"),
        (undated(), {"split": {"share": 1}}, "split.share is 1;"),
        (undated(), {"data": KNOBS["data"] | {"until": "0001-01-01"}}, "no day lies before it"),
        (undated(), {"features": {"windows": [7]}}, "features.windows are days"),
        (undated(), {"data": KNOBS["data"] | {"source": "simulate"}}, "what is simulated has one"),
        (replace(undated(), time="born"), {}, "split.test is None; write whole days, 1 or more; a share is for"),
    ],
)
def test_knobs_of_another_kind_of_table_are_refused(
    ours: contract.Contract, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInput) as said:
        ingest.rows(KNOBS | change, ours)
    assert words in str(said.value)


@pytest.mark.parametrize("ours", [ALONE, undated()])
def test_who_is_tested_is_tested_for_ever(ours: contract.Contract) -> None:
    who = ours.entity or ours.id
    days = ours.days(KNOBS)
    first = rows.placed(delivery(4000), ours, KNOBS)
    later = rows.placed(
        delivery(4000).reverse()[:3000], ours, KNOBS | {"data": KNOBS["data"] | {"until": "2020-02-20"}}
    )
    tested = first.filter(pl.col(ours.time).dt.date() == days.test[0])
    assert tested[who].n_unique() / first[who].n_unique() == pytest.approx(0.25, abs=0.08)
    assert set(first[ours.time].dt.date()) == {days.fit[0], days.calibration[0], days.test[0]}
    settled = first.filter(pl.col(ours.time).dt.date() == days.calibration[0])
    assert settled[who].n_unique() / first[who].n_unique() == pytest.approx(0.1, abs=0.06)
    again = later.filter(pl.col(ours.time).dt.date() == date(2020, 2, 20))
    assert set(again[who]) == set(tested[who]) & set(later[who])
    assert not set(tested[who]) & set(first.join(tested, on=ours.id, how="anti")[who])
    assert rows.fraction("order-00001") == pytest.approx(0.4127270306, abs=1e-9)  # on every machine, in every version


def test_a_time_among_the_inputs_is_the_days_before_the_delivery_on_both_sides() -> None:
    born = datetime(2020, 1, 10)
    made = rows.made(rows.placed(delivery(born=pl.lit(born)), ALONE, KNOBS), ALONE, {})
    assert made["born"].unique().to_list() == [10.0]


def test_copies_of_test_rows_among_those_that_are_trained_on_are_found_and_rows_that_are_alike_are_not() -> None:
    made = rows.made(rows.placed(delivery(4000), ALONE, KNOBS), ALONE, {})
    day = pl.col(ALONE.time).dt.date()
    tested, trained = (made.filter(day == part[0]) for part in (ALONE.days(KNOBS).test, ALONE.days(KNOBS).train))
    assert compare.twins(tested, trained, ALONE)["rows"] == 0
    copied = pl.concat([trained, tested[:100].with_columns(pl.col("order_id") + " again")])
    assert compare.twins(tested, copied, ALONE)["rows"] >= 90
    coarse = {name: pl.lit(1) for name in ("amount", "items")} | {"born": pl.lit(2.0), "a.b": pl.lit(None, pl.Float64)}
    alike, others = (part.with_columns(**coarse) for part in (tested, trained))
    assert compare.twins(alike, others, ALONE)["rows"] == 0


def test_what_the_champion_was_trained_on_follows_from_the_share_that_it_was_tested_on() -> None:
    made = rows.made(rows.placed(delivery(), ALONE, KNOBS), ALONE, {})
    tested = made.filter(pl.col(ALONE.time).dt.date() == UNTIL)
    data = {"until": str(UNTIL), "train": ["2020-01-17", "2020-01-17"]}
    for share, seen in ((0.25, 0), (0.3, 0), (0.1, 1)):
        found = compare.seen_by(compare.Champion("sha256:1", data | {"share": share}, None, ""), tested, ALONE)
        assert found["hashed"] and (found["rows"] > len(tested) / 3) == seen
    unknown = compare.seen_by(compare.Champion("sha256:1", data, None, ""), tested, ALONE)
    assert (unknown["rows"], unknown["hashed"]) == (0, False)


def test_nobody_can_look_up_who_was_trained_on(folder: Path) -> None:
    made = rows.made(rows.placed(delivery(), ALONE, KNOBS), ALONE, {})
    rows.remember(made, ALONE.days(KNOBS).train, ALONE)
    assert pl.read_parquet(rows.TRAINED).is_empty()


def test_an_older_delivery_than_the_champions_is_a_violation() -> None:
    found = {"delivery": "2020-01-20", "champion": {"until": "2020-02-20"}}
    (violation,) = judge_delivery(found)
    assert "learned from that of 2020-02-20" in violation.value
    assert not list(judge_delivery(found | {"delivery": "2020-02-20"}))
    assert not list(judge_delivery({"champion": {"until": "2020-02-20"}}))


def test_nothing_is_judged_by_day_and_that_is_said(folder: Path) -> None:
    ours = undated()
    found = validate.measure(pl.LazyFrame(delivery()), ours, ours.days(KNOBS))
    measured = {"file": "x", "source": "orders", "pinned": True, **found}
    bars = yaml.safe_load((POLICIES / "data.yaml").read_text())
    bars |= {"rows": {"minimum": 100}}
    bars["label"] |= {"minimum": 0.01, "maximum": 0.5}
    assert not judge_data(measured, bars)
    assert any("`time: null`" in said for said in unjudged_data(measured, bars))


def test_a_candidate_tests_at_least_as_many(folder: Path) -> None:
    theirs = folder / "theirs.yaml"
    for share, words in ((0.5, ""), (0.1, "leaves 0.1 of the rows to its test, and 0.25 are tested here")):
        theirs.write_text(yaml.safe_dump({"split": {"share": share, "calibrate": 0.2}, "evaluate": {}}))
        if words:
            params.EVALUATION.write_text(yaml.safe_dump({name: KNOBS[name] for name in params.MEASURES}))
            with pytest.raises(BadInput, match=words):
                candidate.learned(theirs)
        else:
            candidate.learned(theirs)
            assert yaml.safe_load(params.EVALUATION.read_text())["split"] == {"share": 0.5, "calibrate": 0.2}


def logged(days: int) -> pl.DataFrame:
    """The log: each day everybody is asked about, and answered by what they were."""
    returned = pl.col("returned") == "Yes"
    answer = {"_score": returned.cast(float), "_alert": returned}
    made = delivery().select(pl.col("order_id").alias(ID), **answer)
    at = [datetime(2020, 1, 22) + timedelta(days=number, hours=1) for number in range(days)]
    table = pl.concat(made.with_columns(pl.lit(when).cast(pl.Datetime("us")).alias(log.TIME)) for when in at)
    table = table.with_columns(pl.col(log.TIME).dt.date().alias(monitor.DAY), pl.lit("m").alias(log.MODEL))
    return monitor.answered(table, Problem.of(undated()))


def test_live_quality_is_of_the_first_delivery_after_the_label_is_known(folder: Path) -> None:
    delivery().head(300).write_parquet("orders/2020-01-25.parquet")
    delivery(returned=pl.lit("No")).head(350).write_parquet("orders/2020-02-20.parquet")
    told = monitor.live(logged(3), (date(2020, 1, 22), date(2020, 1, 23)), undated(), KNOBS, [])
    assert told is not None
    assert (told["rows"], told["unlabelled"]) == (700, 100)  # of two days, and whom no delivery has
    assert told["metrics"]["roc_auc"]["value"] > 0.99  # of 50 a day, the later one says it
    delivery(returned=pl.lit("No")).write_parquet("orders/2020-02-20.parquet")
    all_no = monitor.live(logged(6), (date(2020, 1, 24), date(2020, 1, 27)), undated(), KNOBS, [])
    assert all_no is not None and all_no["rows"] == 1600 and not any(all_no["metrics"].values())


def test_a_label_that_comes_late_is_that_of_the_first_delivery_which_knows_it(folder: Path) -> None:
    late, span = pl.lit(None, pl.String), (date(2020, 1, 22), date(2020, 1, 23))
    delivery(returned=late).write_parquet("orders/2020-01-25.parquet")
    delivery().clear().write_parquet("orders/2020-01-26.parquet")
    there = pl.when(pl.int_range(400) < 300).then("returned")
    delivery(returned=there).write_parquet("orders/2020-01-27.parquet")
    delivery(returned=pl.when(pl.int_range(400) < 300).then(pl.lit("No"))).write_parquet("orders/2020-02-20.parquet")
    told = monitor.live(logged(3), span, undated(), KNOBS, [])
    assert told is not None
    assert (told["rows"], told["unknown"], told["unlabelled"]) == (600, 200, 0)
    assert told["metrics"]["roc_auc"]["value"] == 1


def test_retraining_asks_for_the_newest_delivery(folder: Path) -> None:
    matured = monitor.newest_labels(KNOBS, undated(), date(2020, 2, 1))
    assert matured == date(2020, 2, 18)
    assert monitor.retrain(KNOBS, undated(), matured) == {"until": "2020-02-20"}
    assert monitor.retrain(KNOBS | {"data": KNOBS["data"] | {"until": "2020-02-20"}}, undated(), matured) == {}
    delivery().write_parquet("orders/2999-01-01.parquet")
    assert monitor.newest_labels(KNOBS, undated(), date(2020, 2, 1)) == matured
    pinned = KNOBS | {"data": KNOBS["data"] | {"snapshot": "sha256:" + "0" * 64}}
    (line,) = source.taken("orders", undated().days(pinned | {"data": pinned["data"] | {"until": "2020-02-20"}}))[1]
    assert monitor.retrain(pinned, undated(), matured)["snapshot"] == source.snapshot([line])
