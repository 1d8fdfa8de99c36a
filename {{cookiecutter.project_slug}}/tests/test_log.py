"""The prediction log: every row is written once or counted as lost, and no reader sees half of a part."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import polars as pl
import pytest
import yaml
from jsonschema import Draft202012Validator
from prometheus_client import CollectorRegistry, Counter

from pipeline import log, personal, writer
from pipeline.log import ID, TIME, Folder
from pipeline.model import Model
from pipeline.params import BadInput
from pipeline.personal import HASH, OMIT, REQUEST, Policy
from pipeline.rows import INPUTS as FEATURE_TYPES
from tests import tables
from tests.tables import ROOT
from tests.waiting import wait_until

INPUTS = tables.inputs()
SERVED = Model(tables.problem(), "linear", INPUTS, "sha256:ab", lambda columns: {})
VALUES: dict[str, Any] = {"integer": 1, "number": 0.5, "boolean": True, "category": "klein", "time": 7.25}
SAID = {"_score": 0.25, "_alert": True}
KEEP_ALL = Policy({}, 90)
DAY = date(2018, 8, 14)
HEX = 32 * "0"
FOREVER = (date(2000, 1, 1), date(2100, 1, 1))


def rows(number: int, first: int = 0, day: date = DAY) -> dict[str, list[Any]]:
    """Rows of a day, by the log's columns."""
    moment = datetime(day.year, day.month, day.day, 12)
    inputs = {column.name: [VALUES[column.type]] * number for column in INPUTS}
    said = {name: [value] * number for name, value in SAID.items()}
    return {ID: [str(at) for at in range(first, first + number)], TIME: [moment] * number, **inputs, **said}


def numbers(table: pl.DataFrame) -> list[int]:
    """The identifiers of rows that came back."""
    return [int(identifier) for identifier in table[ID]]


class Running:
    """A log with counters of its own, which is closed at the end of a test."""

    def __init__(
        self, folder: Folder, rules: Policy = KEEP_ALL, seconds: float = 1000, served: Model = SERVED, **options: Any
    ) -> None:
        self.registry = CollectorRegistry()
        written = Counter("written", "Rows", registry=self.registry)
        lost = Counter("lost", "Rows", ["reason"], registry=self.registry)
        self.log = writer.Log(folder, served, rules, written, lost, seconds, **options)
        self.served = served

    def add(self, rows: dict[str, list[Any]], request: str) -> None:
        """Rows by the log's columns, handed over as the service does."""
        asked = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
        moments = [(row[TIME] - datetime(1970, 1, 1)) // timedelta(microseconds=1) for row in asked]
        said = {
            name.removeprefix("_"): values for name, values in rows.items() if name in log.answers(self.served.problem)
        }
        self.log.add(rows[ID], moments, self.served.given(asked), said, request)

    def written(self) -> float | None:
        return self.registry.get_sample_value("written_total")

    def lost(self) -> dict[str, float]:
        """Rows by reason, where there are any."""
        samples = [sample for metric in self.registry.collect() for sample in metric.samples]
        return {s.labels["reason"]: s.value for s in samples if s.name == "lost_total" and s.value}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts logs, in the test's folder unless another is named."""
    begun: list[Running] = []

    def start(folder: Folder | None = None, *arguments: Any, **options: Any) -> Running:
        begun.append(Running(folder or Folder.at(str(tmp_path)), *arguments, **options))
        return begun[-1]

    yield start
    for running in begun:
        running.log.close(seconds=1)


class Storage(Folder):
    """A folder that fails the first `failing` times, and does not answer while `answers` is clear."""

    failing = 0
    answers = Event()

    def put(self, name: str, content: bytes) -> None:
        assert self.answers.wait(10)
        if Storage.failing:
            Storage.failing -= 1
            raise OSError("no space left")
        super().put(name, content)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    folder = Folder.at(str(tmp_path))
    Storage.failing = 0
    Storage.answers.set()
    yield Storage(folder.system, folder.root)
    Storage.answers.set()


# --- what is written ---


def test_rows_come_back_as_they_went_in(tmp_path: Path, start: Callable[..., Running]) -> None:
    running, before = start(), datetime.now(UTC)
    running.add(rows(2), "first")
    running.add(rows(1, 7), "second")
    running.log.close()
    table = log.read(str(tmp_path), DAY, DAY)
    inputs = {column.name: FEATURE_TYPES[column.type] for column in INPUTS}
    assert table[ID].to_list() == ["0", "1", "7"]
    assert table[REQUEST].to_list() == ["first", "first", "second"]
    answers = {"_score": pl.Float64(), "_alert": pl.Boolean()}
    assert dict(table.schema) == {ID: pl.String(), **inputs, **answers, **log.ALWAYS, REQUEST: pl.String()}
    assert table.drop(ID, REQUEST, log.SCORED).unique().row(0, named=True) == {
        TIME: datetime(2018, 8, 14, 12),
        **{column.name: VALUES[column.type] for column in INPUTS},
        **SAID,
        log.MODEL: "sha256:ab",
    }
    assert table[log.SCORED].is_between(before, datetime.now(UTC)).all()
    assert (running.written(), running.lost()) == (3, {})


@pytest.mark.parametrize(
    ("task", "said", "kept"),
    [
        (
            {"task": "multiclass", "values": (3, 1, 2), "positive": None},
            {"_class": [1], "_probabilities": [[0.25, 0.5, 0.25]]},
            {"_class": "1", "_probabilities": [0.25, 0.5, 0.25]},
        ),
        (
            {"task": "regression", "values": (), "positive": None},
            {"_prediction": [2.5], "_low": [1], "_high": [3.5]},
            {"_prediction": 2.5, "_low": 1.0, "_high": 3.5},
        ),
    ],
)
def test_the_parts_of_another_task_s_answer_come_back(
    tmp_path: Path, start: Callable[..., Running], task: dict[str, Any], said: dict[str, Any], kept: dict[str, Any]
) -> None:
    problem = replace(SERVED.problem, **task)
    running = start(served=replace(SERVED, problem=problem))
    asked = {name: values for name, values in rows(1).items() if name not in SAID}
    running.add(asked | said, "a")
    running.log.close()
    table = log.read(str(tmp_path), DAY, DAY)
    assert not {*SAID} & {*table.columns}
    assert table.select(*kept).row(0, named=True) == kept
    assert {name: table.schema[name] for name in kept} == log.answers(problem)


def test_what_may_be_missing_is_null_and_what_was_learned_is_what_is_written(
    tmp_path: Path, start: Callable[..., Running]
) -> None:
    missing: dict[str, list[Any]] = {column.name: [None] for column in INPUTS if column.missing}
    running = start()
    running.add(rows(1) | missing, "a")
    running.log.close()
    table = log.read(str(tmp_path), DAY, DAY)
    features = tables.feature_rows(100)
    for column in INPUTS:
        assert table.schema[column.name] == features.schema[column.name], column.name
        assert table[column.name].to_list() == missing.get(column.name, [VALUES[column.type]])


def test_an_identifier_that_is_an_integer_stays_one(tmp_path: Path, start: Callable[..., Running]) -> None:
    running = start(served=replace(SERVED, problem=replace(SERVED.problem, id_type="integer")))
    running.add(rows(2) | {ID: [7, 2**63 - 1]}, "a")
    running.log.close()
    assert log.read(str(tmp_path), DAY, DAY)[ID].to_list() == [7, 2**63 - 1]


def test_each_day_has_a_folder(tmp_path: Path, start: Callable[..., Running]) -> None:
    running = start()
    late = {**rows(2), TIME: [datetime(2018, 8, 14, 23, 59, 59), datetime(2018, 8, 15)]}
    running.add(late, "over midnight")
    running.log.close()
    assert log.days(str(tmp_path)) == [DAY, DAY + timedelta(days=1)]
    assert numbers(log.read(str(tmp_path), DAY, DAY)) == [0]
    assert numbers(log.read(str(tmp_path), *FOREVER)) == [0, 1]
    assert log.read(str(tmp_path), date(2019, 1, 1), date(2020, 1, 1)).is_empty()


def test_time_and_many_rows_have_it_written(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    ticking = start(seconds=0.05)
    ticking.add(rows(1), "a")
    wait_until(lambda: ticking.written() == 1)
    monkeypatch.setattr(writer, "PART", 3)
    full = start()
    full.add(rows(2), "a")
    full.add(rows(2), "b")
    wait_until(lambda: full.written() == 4)


def test_two_writers_lose_nothing_to_each_other(tmp_path: Path, start: Callable[..., Running]) -> None:
    writers = [start(seconds=0.01) for _ in range(2)]
    for number in range(50):
        for place, each in enumerate(writers):
            each.add(rows(1, 2 * number + place), "a")
        time.sleep(0.002)
    for each in writers:
        each.log.close()
    assert sorted(numbers(log.read(str(tmp_path), DAY, DAY))) == list(range(100))


def test_a_part_is_seen_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder.at(str(tmp_path))
    seen = []

    def replace(half: Path, whole: Path) -> None:
        seen.append((half.read_bytes(), log.read(str(tmp_path), *FOREVER).height, whole.exists()))
        os.replace(half, whole)

    monkeypatch.setattr(Path, "replace", replace)
    [(name, table)] = writer.parts(pl.DataFrame({TIME: [datetime(2018, 8, 14)]}), "m", {})
    folder.put(name, b"content")
    assert seen == [(b"content", 0, False)]
    assert (tmp_path / name).read_bytes() == b"content"


# --- what is lost is counted ---


def test_overload_loses_rows_and_counts_them(storage: Storage, start: Callable[..., Running]) -> None:
    storage.answers.clear()
    running = start(storage, seconds=0.01, most=10)
    for number in range(8):  # while nothing is written
        running.add(rows(3, 3 * number), "a")
    assert running.lost() == {"full": 15}
    storage.answers.set()
    wait_until(lambda: running.written() == 9)
    running.add(rows(3, 100), "a")
    running.log.close()
    assert (running.written(), running.lost()) == (12, {"full": 15})


def test_storage_that_fails_for_a_while_loses_nothing(
    tmp_path: Path, storage: Storage, start: Callable[..., Running]
) -> None:
    Storage.failing = 1
    running = start(storage, seconds=0.01)
    running.add(rows(3), "a")
    wait_until(lambda: running.written() == 3)
    assert running.lost() == {}
    assert numbers(log.read(str(tmp_path), DAY, DAY)) == [0, 1, 2]


def test_storage_that_fails_for_long_loses_rows_and_counts_them(
    storage: Storage, start: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    Storage.failing = 1
    running = start(storage, seconds=0.01, patience=0)
    running.add(rows(3), "a")
    wait_until(lambda: running.lost() == {"storage": 3})
    [record] = caplog.records
    assert "no space left" in record.getMessage() and record.exc_info is None
    running.add(rows(2), "a")
    wait_until(lambda: running.written() == 2)


def test_days_without_number_are_refused(tmp_path: Path, start: Callable[..., Running]) -> None:
    running = start()
    for number in range(writer.DAYS + 5):
        running.add(rows(1, number, DAY + timedelta(days=number)), "a")
    running.add(rows(1), "a day that is open")
    running.log.close()
    assert len(log.days(str(tmp_path))) == writer.DAYS
    assert (running.written(), running.lost()) == (writer.DAYS + 1, {"days": 5})


def of_old_days(number: int, first: date = DAY) -> dict[str, list[Any]]:
    """A request whose every row is of another day."""
    moments = [datetime(first.year, first.month, first.day) + timedelta(days=at) for at in range(number)]
    return rows(number) | {TIME: moments}


@pytest.mark.parametrize("requests", [1, 20])
def test_requests_of_old_days_lose_no_row_of_today(
    tmp_path: Path, start: Callable[..., Running], requests: int
) -> None:
    running, today = start(), datetime.now(UTC).date()
    for number in range(requests):
        running.add(of_old_days(100, DAY + timedelta(days=100 * number)), "an attack")
    for number in range(50):
        running.add(rows(100, 100 * number, today), "honest")
    running.log.close()
    assert len(log.read(str(tmp_path), today, today)) == 5000
    assert len(log.days(str(tmp_path))) == min(requests * writer.OPENED, writer.DAYS) + 1
    assert running.lost() == {"days": requests * 100 - min(requests * writer.OPENED, writer.DAYS)}


def test_a_request_loses_the_oldest_of_too_many_days_and_keeps_its_rows_whole(
    tmp_path: Path, start: Callable[..., Running]
) -> None:
    running = start()
    running.add(of_old_days(100), "a long past")
    running.log.close()
    kept = log.read(str(tmp_path), *FOREVER)
    assert sorted(numbers(kept)) == list(range(100 - writer.OPENED, 100))
    assert [(moment.date() - DAY).days for moment in kept[TIME]] == numbers(kept)


def test_what_comes_after_the_end_is_lost(start: Callable[..., Running]) -> None:
    running = start()
    running.log.close()
    running.add(rows(2), "late")
    assert running.lost() == {"shutdown": 2}


def test_a_shutdown_does_not_wait_for_storage_that_hangs(storage: Storage, start: Callable[..., Running]) -> None:
    storage.answers.clear()
    running = start(storage)
    running.add(rows(2), "a")
    running.log.close(seconds=0.05)
    assert running.lost() == {"shutdown": 2}


# --- what is personal ---


@pytest.mark.parametrize("kind", ["integer", "text"])
def test_hashed_columns_still_join_and_omitted_ones_are_gone(
    tmp_path: Path, start: Callable[..., Running], kind: str
) -> None:
    served = replace(SERVED, problem=replace(SERVED.problem, id_type=kind))
    running = start(None, Policy({"order_id": HASH, "amount": OMIT, "größe €": HASH, REQUEST: OMIT}, 90), served=served)
    running.add(rows(3) | {ID: [0, 1, 2] if kind == "integer" else ["0", "1", "2"]}, "a")
    running.log.close()
    table = log.read(str(tmp_path), DAY, DAY)
    assert not {ID, "amount", "größe €", REQUEST} & set(table.columns)
    source = pl.DataFrame({"order_id": [2, 5, 0], "label": [1, 1, 0]})
    hashed = personal.pseudonym(source["order_id"]).alias(log.hashed(ID))
    assert sorted(table.join(source.with_columns(hashed), on=log.hashed(ID))["label"]) == [0, 1]
    assert table[log.hashed(ID)].str.contains("^[0-9a-f]{32}$").all()
    assert table[log.hashed("größe €")].unique().to_list() == [personal.digest("klein")]


def test_a_pseudonym_is_the_value_s_sha256() -> None:
    assert personal.pseudonym(pl.Series("a", [1, None])).to_list() == ["6b86b273ff34fce19d6b804eff5a3f57", None]


def test_the_policy_is_what_its_schema_describes(owned: None) -> None:
    schema, path = json.loads((ROOT / "policies/schemas/log.schema.json").read_text()), ROOT / "policies/log.yaml"
    Draft202012Validator(schema).validate(yaml.safe_load(path.read_text()))
    assert log.policy(path=path).retention_days > 0


@pytest.mark.parametrize(
    ("text", "sentence", "shape"),
    [
        ("personal: {}", "has to hold `personal` and `retention_days`", True),
        ("{personal: {}, retention_days: 9, x: 1}", "and nothing else", True),
        ("[]", "has to hold", True),
        ("{personal: {}, retention_days: 0}", "retention_days is 0; write a whole number of days", True),
        ("{personal: {}, retention_days: true}", "retention_days is True", True),
        ("{personal: [amount], retention_days: 9}", "personal is ['amount']", True),
        ("{personal: {amount: drop}, retention_days: 9}", "personal.amount is 'drop'; write hash or omit", True),
        ("{personal: {ammount: omit}, retention_days: 9}", "did you mean `amount`?", False),
        ("{personal: {größe: hash}, retention_days: 9}", "did you mean `größe €`?", False),
        ("{personal: {order: hash}, retention_days: 9}", "did you mean `order_id`?", False),
        ("{personal: {request_id: omit}, retention_days: 9}", "did you mean `_request_id`?", False),
        ("{personal: {_score: omit}, retention_days: 9}", "personal._score is no column that can be", False),
    ],
)
def test_a_bad_policy_is_told_in_a_sentence(tmp_path: Path, text: str, sentence: str, shape: bool) -> None:
    path = tmp_path / "log.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        log.policy(personal.columns(tables.ours()), path)
    assert sentence in str(caught.value) and str(path) in str(caught.value)
    schema = json.loads((ROOT / "policies/schemas/log.schema.json").read_text())
    assert Draft202012Validator(schema).is_valid(yaml.safe_load(text)) is not shape


# --- reading ---


def test_where_there_is_no_log_there_is_no_day(tmp_path: Path) -> None:
    assert log.days(str(tmp_path / "nowhere")) == []
    assert log.read(str(tmp_path / "nowhere"), *FOREVER).is_empty()


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing", None], ids=["empty", "damaged", "foreign"])
def test_a_part_that_cannot_be_read_is_named(
    tmp_path: Path, start: Callable[..., Running], content: bytes | None
) -> None:
    running = start()
    running.add(rows(1), "a")
    running.log.close()
    bad = tmp_path / str(DAY) / "bad.parquet"
    bad.write_bytes(writer.encoded(pl.DataFrame({log.MODEL: ["a"]})) if content is None else content)
    with pytest.raises(BadInput, match=re.escape(str(bad))):
        log.read(str(tmp_path), DAY, DAY)


def test_parts_of_different_policies_are_read_together(tmp_path: Path, start: Callable[..., Running]) -> None:
    for rules in (KEEP_ALL, Policy({"order_id": HASH, "amount": OMIT, "größe €": HASH}, 90)):
        running = start(None, rules)
        running.add(rows(1), "a")
        running.log.close()
    table = log.read(str(tmp_path), DAY, DAY).sort(ID, nulls_last=True)
    assert table["amount"].to_list() == [0.5, None] and table["größe €"].to_list() == ["klein", None]
    assert table[ID].to_list() == ["0", None] and table[log.hashed(ID)].to_list() == [None, personal.digest("0")]


def test_another_problem_s_columns_do_not_change_ours(tmp_path: Path, start: Callable[..., Running]) -> None:
    text = tuple(replace(column, type="category") for column in INPUTS)
    theirs = replace(SERVED, inputs=text, digest="sha256:cd")
    for served, value in ((SERVED, {}), (theirs, {column.name: ["ten"] for column in INPUTS})):
        running = start(served=served)
        running.add(rows(1) | value, "a")
        running.log.close()
    table = log.read(str(tmp_path), DAY, DAY, SERVED.digest).sort(log.MODEL)
    assert {column.name: table.schema[column.name] for column in INPUTS} == {
        column.name: log.TYPES[column.type] for column in INPUTS
    }
    assert table[log.MODEL].to_list() == ["sha256:ab", "sha256:cd"] and table["amount"].to_list() == [0.5, None]


def test_an_address_that_no_file_system_knows_is_refused() -> None:
    with pytest.raises(BadInput, match="PREDICTION_LOG is nosuch://bucket"):
        Folder.at("nosuch://bucket")


# --- the drift check's heartbeat ---


@pytest.mark.parametrize("address", ["folder", "memory://a-heartbeat"])
def test_a_heartbeat_comes_back(tmp_path: Path, address: str) -> None:
    folder = Folder.at(address if "://" in address else str(tmp_path / address))
    assert log.heartbeat(folder) == {}
    before, newest = datetime.now(UTC), datetime(2100, 1, 1, 12, 30, tzinfo=UTC)
    log.beat(folder, True, newest)
    beat = log.heartbeat(folder)
    assert beat["newest"] == newest and before <= beat["checked"] <= datetime.now(UTC)
    said = json.loads(folder.system.cat_file(f"{folder.root}/heartbeat.json"))
    assert said == {"checked": beat["checked"].isoformat(), "newest": newest.isoformat()}


def test_a_check_that_could_not_tell_leaves_when_one_could(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    log.beat(folder, False, None)
    assert log.heartbeat(folder) == {}
    log.beat(folder, True, None)
    once = log.heartbeat(folder)
    log.beat(folder, False, datetime(2100, 1, 1, tzinfo=UTC))
    assert log.heartbeat(folder) == once | {"newest": datetime(2100, 1, 1, tzinfo=UTC)}


def test_a_heartbeat_is_no_day_and_is_not_pruned(tmp_path: Path, start: Callable[..., Running]) -> None:
    running = start()
    running.add(rows(1), "a")
    running.log.close()
    folder = Folder.at(str(tmp_path))
    log.beat(folder, True, None)
    assert folder.days() == [DAY] and len(log.read(str(tmp_path), *FOREVER)) == 1
    assert len(log.prune(folder, date(2200, 1, 1))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["heartbeat.json"]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "{}", '{"checked": 7, "newest": null}', '{"checked": "soon", "newest": null}'),
        '{"checked": "2024-01-01T00:00:00", "newest": null}',
        " " * 2_000 + '{"checked": null, "newest": null}',
    ],
)
def test_what_is_no_heartbeat_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / log.HEARTBEAT).write_text(content)
    with pytest.raises(BadInput, match=r"heartbeat\.json: is no heartbeat \(.*\); remove it"):
        log.heartbeat(Folder.at(str(tmp_path)))


def test_a_heartbeat_that_cannot_be_left_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="no heartbeat can be left there"):
        log.beat(Folder.at(str(tmp_path / "file")), True, None)


# --- retention ---


def part(folder: Path, day: str, written: str) -> Path:
    """A part of a day that was written on another."""
    path = folder / day / f"{written}T120000-{HEX}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_prune_deletes_what_was_written_before_a_day_and_nothing_else(tmp_path: Path) -> None:
    kept = [
        part(tmp_path, "2026-05-10", "20260510"),
        part(tmp_path, "2018-08-14", "20260511"),  # of an old event, scored lately
        part(tmp_path, "2018-08-15", "20260511"),
        part(tmp_path, "notes", "20180101"),
        part(tmp_path, "2018-13-45", "20180101"),
        part(tmp_path, "2018-08-14.bak", "20180101"),
    ]
    gone = [
        part(tmp_path, "2026-05-09", "20260509"),
        part(tmp_path, "2018-08-15", "20260509"),
        part(tmp_path, "2018-08-16", "20260509").rename(tmp_path / "2018-08-16" / "unknown.parquet"),
        part(tmp_path, "2026-05-09", "20260508").rename(tmp_path / "2026-05-09" / f"20260509T000000-{HEX}.partial"),
    ]
    elsewhere = part(tmp_path / "elsewhere", "a", "20180101")
    (tmp_path / "2018-08-17").symlink_to(elsewhere.parent)
    (tmp_path / "2018-08-18").write_text("a file")
    log.prune(Folder.at(str(tmp_path)), date(2026, 5, 10))
    assert all(path.exists() for path in [*kept, elsewhere, tmp_path / "2018-08-18"])
    assert not any(path.exists() for path in gone)
    assert not (tmp_path / "2026-05-09").exists() and (tmp_path / "2018-08-15").exists()


def test_prune_goes_by_the_clock_and_by_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    today = datetime.now(UTC).date()
    keep = log.policy().retention_days
    old, new = (part(tmp_path, str(DAY), f"{today - timedelta(days=days):%Y%m%d}") for days in (keep + 1, keep))
    monkeypatch.setenv("PREDICTION_LOG", str(tmp_path))
    log.main(["prune"])
    assert f"1 file deleted, written more than {keep} days ago" in capsys.readouterr().out
    assert new.exists() and not old.exists()


# --- a bucket ---


def test_a_bucket_is_written_read_and_pruned(start: Callable[..., Running]) -> None:
    address = f"memory://predictions-{os.getpid()}"
    running = start(Folder.at(address))
    running.add(rows(3), "a")
    running.log.close()
    assert log.days(address) == [DAY]
    assert numbers(log.read(address, DAY, DAY)) == [0, 1, 2]
    assert log.prune(Folder.at(address), datetime.now(UTC).date()) == []
    assert len(log.prune(Folder.at(address), datetime.now(UTC).date() + timedelta(days=1))) == 1
    assert log.read(address, DAY, DAY).is_empty()
