"""What the service counts: each value in its bin, whatever becomes of its row; and what it is told by others."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from pipeline import log, meters, writer
from pipeline.log import Folder
from pipeline.meters import Meters
from pipeline.model import Model
from pipeline.personal import HASH, OMIT, Policy
from pipeline.profile import Profile
from tests import tables
from tests.waiting import wait_until

SERVED = Model(tables.problem(), "linear", tables.inputs(), "sha256:ab", lambda columns: {})
PROMOTED = "sha256:cd"
GOOD: dict[str, Any] = {
    **{"amount": 12.0, "items": 1, "express": False, "größe €": "klein", "model_config": "basic", "a.b": 0.5},
    "born": 7.5,
}


def numbers(*ends: float, days: int = 7) -> dict[str, Any]:
    """Bins of a number, of which another one is expected each day of the week."""
    bins = len(ends) + 2
    return {"ends": ends, "shares": [[float(at == day % bins) for at in range(bins)] for day in range(days)]}


def levels(*of: str) -> dict[str, Any]:
    """Bins of levels, of which the first is expected."""
    return {"levels": of, "shares": [[1.0] + [0.0] * (len(of) + 1)] * 7}


COLUMNS: dict[str, dict[str, Any]] = {
    "amount": numbers(10, 20),
    "items": numbers(1),
    "express": levels("false", "true"),
    "größe €": levels("klein", "NA"),
    "model_config": levels("basic"),
    "a.b": numbers(0),
    "born": numbers(7),
    "_score": numbers(0.25, 0.5),
}


def expected(columns: dict[str, dict[str, Any]]) -> Profile:
    return Profile.model_validate_json(json.dumps({"model": SERVED.digest, "columns": columns}))


class Counting:
    """A log whose rows are counted."""

    def __init__(self, folder: Folder, rules: Policy, served: Model, columns: dict[str, dict[str, Any]] | None) -> None:
        self.registry, self.served = CollectorRegistry(), served
        known = None if columns is None else expected(columns)
        self.meters = Meters(served, self.registry, "v1", PROMOTED, known, rules.personal)
        counters = self.meters.logged, self.meters.lost
        hooks = {"watch": self.meters.watch, "tick": self.meters.tick}
        self.log = writer.Log(folder, served, rules, *counters, 0.01, patience=0, **hooks)  # type: ignore[arg-type]

    def add(self, *rows: dict[str, Any], scores: Sequence[Any] = (0.25,)) -> None:
        """Rows as the service hands them over."""
        given = self.served.given(list(rows))
        now, said = time.time_ns() // 1_000, {"score": scores, "alert": [False] * len(rows)}
        self.log.add([str(at) for at in range(len(rows))], [now] * len(rows), given, said, "a")
        self.meters.scored(scores, self.log.held)
        self.meters.add()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"scorer_{name}", labels)

    def has_written(self, rows: int) -> bool:
        return self.value("log_rows_total") == rows

    def counted(self, column: str, metric: str = "scorer_values_total") -> dict[str, float]:
        """Of a column, by bin, where there is any."""
        samples = [sample for each in self.registry.collect() for sample in each.samples if sample.name == metric]
        return {s.labels["bin"]: s.value for s in samples if s.labels["column"] == column and s.value}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Counting]]:
    """Starts logs that count, in the test's folder unless another is named."""
    begun: list[Counting] = []

    def start(
        folder: Folder | None = None,
        personal: dict[str, str] | None = None,
        served: Model = SERVED,
        columns: dict[str, dict[str, Any]] | None = COLUMNS,
    ) -> Counting:
        folder = folder or Folder.at(str(tmp_path))
        begun.append(Counting(folder, Policy(personal or {}, 90), served, columns))
        return begun[-1]

    yield start
    for counting in begun:
        counting.log.close(1)


# --- values ---


def test_each_type_is_counted_with_what_is_missing_and_what_was_never_seen(start: Callable[..., Counting]) -> None:
    missing = {"größe €": None, "a.b": None, "born": None}
    unseen = {"amount": 99.0, "items": 9, "express": True, "größe €": "unseen", "a.b": -1.0, "born": 9.0}
    counting = start()
    counting.add(GOOD, GOOD | missing, GOOD | unseen, scores=[0.25, 0.3, 0.9])
    counting.log.close()
    assert {name.removeprefix("_"): counting.counted(name.removeprefix("_")) for name in COLUMNS} == {
        "amount": {"<=20": 2, ">20": 1},
        "items": {"<=1": 2, ">1": 1},
        "express": {"false": 2, "true": 1},
        "größe €": {"klein": 1, "other": 1, "missing": 1},
        "model_config": {"basic": 3},
        "a.b": {">0": 1, "<=0": 1, "missing": 1},
        "born": {">7": 2, "missing": 1},
        "score": {"<=0.25": 1, "<=0.5": 1, ">0.5": 1},
    }


def test_every_bin_is_there_from_the_start(start: Callable[..., Counting]) -> None:
    assert start().value("values_total", column="größe €", bin="NA") == 0


def test_what_is_personal_is_not_counted_whatever_the_profile_holds(start: Callable[..., Counting]) -> None:
    counting = start(personal={"amount": HASH, "größe €": OMIT})
    counting.add(GOOD)
    counting.log.close()
    assert counting.counted("express") == {"false": 1}
    assert counting.value("values_total", column="größe €", bin="klein") is None
    assert counting.value("profile_share", column="amount", bin="<=10") is None


def test_an_input_that_is_called_as_the_answer_is_told_from_it(start: Callable[..., Counting]) -> None:
    called = tuple(replace(column, name="score") if column.name == "a.b" else column for column in tables.inputs())
    columns = {"score": COLUMNS["a.b"], "_score": COLUMNS["_score"]}
    counting = start(served=replace(SERVED, inputs=called), columns=columns)
    counting.add({name: value for name, value in GOOD.items() if name != "a.b"} | {"score": -1.0}, scores=[0.9])
    counting.log.close()
    assert (counting.counted("score"), counting.counted("_score")) == ({"<=0": 1}, {">0.5": 1})


def test_without_a_profile_answers_are_counted_all_the_same(start: Callable[..., Counting]) -> None:
    counting = start(columns=None)
    counting.add(GOOD, GOOD, scores=[0.9, 0.9])
    counting.log.close()
    assert counting.value("score_bucket", le="+Inf") == 2 and counting.value("log_rows_total") == 2
    assert not [each.name for each in counting.registry.collect() if each.name in ("scorer_values", "scorer_profile")]


def test_rows_are_counted_though_storage_is_away(start: Callable[..., Counting], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    counting = start(Folder.at(str(tmp_path / "file")))
    counting.add(GOOD)
    wait_until(lambda: counting.value("log_lost_rows_total", reason="storage") == 1)
    assert counting.counted("amount") == {"<=20": 1}


def test_what_cannot_be_counted_costs_no_rows_and_is_said_once(
    start: Callable[..., Counting], caplog: pytest.LogCaptureFixture
) -> None:
    counting = start(columns={"größe €": numbers(1)})
    for written in (1, 2):
        counting.add(GOOD)
        wait_until(partial(counting.has_written, written))
    [record] = caplog.records
    assert "klein" in caplog.text and record.exc_info


def test_what_is_expected_is_of_the_day_of_the_week(start: Callable[..., Counting]) -> None:
    counting = start()
    for weekday, name in ((1, "<=10"), (2, "<=20"), (3, ">20"), (4, "missing"), (5, "<=10"), (7, ">20")):
        counting.meters.expected.on(weekday)  # type: ignore[union-attr]
        assert counting.counted("amount", "scorer_profile_share") == {name: 1}


def test_the_day_is_the_clock_s(start: Callable[..., Counting], monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        day = 1

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2024, 1, cls.day, 23, 59, tzinfo=tz)

    monkeypatch.setattr(meters, "datetime", Clock)
    counting = start()
    assert counting.counted("amount", "scorer_profile_share") == {"<=10": 1}, "a Monday"
    Clock.day = 2
    wait_until(lambda: counting.counted("amount", "scorer_profile_share") == {"<=20": 1})


# --- the model, the log, the drift check ---


def test_the_model_its_release_and_what_was_promoted_are_told(start: Callable[..., Counting]) -> None:
    counting = start()
    assert counting.value("model_info", model="sha256:ab", release="v1") == 1
    assert counting.value("promoted_info", model=PROMOTED) == 1
    registry = CollectorRegistry()
    Meters(SERVED, registry)
    assert "scorer_promoted_info" not in {each.name for each in registry.collect()}


class Away(Folder):
    """A folder that takes nothing while it is away, and counts how often it is asked for the heartbeat."""

    away, looks = True, 0

    def put(self, name: str, content: bytes) -> None:
        if Away.away:
            raise OSError("away")
        super().put(name, content)


def test_the_backlog_and_the_newest_row_that_was_written_are_told(
    start: Callable[..., Counting], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Away, "away", True)
    folder = Folder.at(str(tmp_path))
    counting = start(Away(folder.system, folder.root))
    counting.log.patience = 10
    assert counting.value("log_written_timestamp_seconds") is None, "nothing was written yet"
    before = time.time()
    counting.add(GOOD, GOOD, scores=[0.5, 0.5])
    assert counting.value("log_held_rows") == 2
    Away.away = False
    wait_until(lambda: counting.value("log_held_rows") == 0)
    assert before - 0.001 <= (counting.value("log_written_timestamp_seconds") or 0) <= time.time()


CHECKED, NEWEST = "drift_checked_timestamp_seconds", "drift_newest_timestamp_seconds"


def test_the_heartbeat_is_read_in_the_log_s_folder_and_seldom(
    start: Callable[..., Counting], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []

    def look(folder: Folder) -> dict[str, datetime]:
        found = log.heartbeat(folder)
        looked.append(folder)
        return found

    monkeypatch.setattr(meters, "heartbeat", look)
    counting = start()
    wait_until(lambda: len(looked) == 1)
    assert counting.value(CHECKED) is None and counting.value(NEWEST) is None, "no check has run"
    ahead = datetime.now(UTC) + timedelta(days=400)
    log.beat(Folder.at(str(tmp_path)), True, ahead)
    for written in range(1, 4):
        counting.add(GOOD)
        wait_until(partial(counting.has_written, written))
    assert len(looked) == 1 and counting.value(CHECKED) is None
    counting.meters.looked -= meters.BEAT
    wait_until(lambda: counting.value(NEWEST) is not None)
    assert counting.value(NEWEST) == pytest.approx(ahead.timestamp()), "as it is stamped, though it is yet to come"
    assert counting.value(CHECKED) == pytest.approx(time.time(), abs=10)


def test_a_heartbeat_that_is_damaged_ends_nothing(
    start: Callable[..., Counting], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / log.HEARTBEAT).write_text("{")
    counting = start()
    counting.add(GOOD)
    wait_until(lambda: counting.value("log_rows_total") == 1)
    assert "is no heartbeat" in caplog.text and counting.value(CHECKED) is None


# --- many at once ---


def test_many_values_are_observed_as_one_after_the_other() -> None:
    registry = CollectorRegistry()
    values = np.random.default_rng(0).exponential(0.1, 500).tolist()
    many = meters.Many("many", "at once", buckets=meters.LATENCY, registry=registry)
    many.observe_all(values)
    for value in values:
        many.observe(value)
    for end in (0.001, 0.1, 5):
        lower = sum(value <= end for value in values)
        assert registry.get_sample_value("many_bucket", {"le": str(float(end))}) == 2 * lower
    assert registry.get_sample_value("many_sum") == pytest.approx(2 * sum(values))


def test_what_a_killed_worker_held_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else can: it did not end."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    names = [f"gauge_livesum_{gone.pid}.db", f"gauge_livesum_{os.getpid()}.db", f"counter_{gone.pid}.db"]
    for name in names:
        (tmp_path / name).touch()
    meters.forget_dead_workers()
    assert {path.name for path in tmp_path.iterdir()} == {*names[1:]}, "what it has counted stays"
