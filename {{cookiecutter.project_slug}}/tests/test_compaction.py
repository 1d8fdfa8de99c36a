"""Small parts of the log become few: no row is lost or doubled, wherever it is killed and whoever reads meanwhile."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import compaction, log, writer
from pipeline.log import ALWAYS, ID, MODEL, SCORED, TIME, Folder
from pipeline.params import BadInput

DAY, WRITTEN, TODAY = date(2018, 8, 14), date(2026, 5, 10), date(2026, 5, 12)
NEXT = WRITTEN + timedelta(days=1)


def rows(first: int, number: int = 3, **columns: Any) -> pl.DataFrame:
    """Rows of the day, with identifiers from `first` on."""
    always = {TIME: datetime(2018, 8, 14, 12), MODEL: "sha256:ab", SCORED: datetime(2026, 5, 10, 9, tzinfo=UTC)}
    return pl.DataFrame({ID: range(first, first + number)}).with_columns(
        *(pl.lit(value).cast(ALWAYS[name]).alias(name) for name, value in always.items()),
        **{name: pl.lit(value) for name, value in columns.items()},
    )


def put(folder: Folder, at: int, table: pl.DataFrame, written: date = WRITTEN) -> None:
    """A part, as the service writes it at a minute of a day."""
    folder.put(f"{DAY}/{written:%Y%m%d}T{at // 60:02}{at % 60:02}00-{at:032x}.parquet", writer.encoded(table))


def read(folder: Folder) -> list[int]:
    """The identifiers that a reader gets, in its order."""
    tables = [pl.DataFrame(schema={ID: pl.Int64}), *folder.tables(DAY, [ID])]
    return pl.concat([table.select(ID) for table in tables])[ID].to_list()


def names(folder: Folder) -> list[str]:
    return [log.name_of(path) for path in folder.files(DAY)]


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    folder = Folder.at(str(tmp_path) if request.param == "disk" else f"memory://log-{os.getpid()}")
    yield folder
    folder.system.rm(folder.root, recursive=True)


def test_a_day_s_parts_become_one_whose_rows_keep_their_order(folder: Folder) -> None:
    for at in range(20):
        put(folder, at, rows(3 * at))
    assert compaction.compact(folder, TODAY) == "20 parts merged into 1"
    (name,) = names(folder)
    assert name.startswith("20260510T000000-") and log.written(name, DAY) == WRITTEN
    assert read(folder) == list(range(60))


def test_twice_is_as_good_as_once_and_late_parts_come_into_a_part_of_their_own(folder: Folder) -> None:
    for at in range(5):
        put(folder, 2 * at, rows(3 * at))
    compaction.compact(folder, TODAY)
    before = names(folder)
    assert compaction.compact(folder, TODAY) == "0 parts merged into 0" and names(folder) == before
    put(folder, 3, rows(100))  # a service's storage did not answer at first
    assert compaction.compact(folder, TODAY) == "0 parts merged into 0"
    assert sorted(read(folder)) == [*range(15), 100, 101, 102]
    put(folder, 5, rows(103))
    compaction.compact(folder, TODAY)
    assert len(names(folder)) == 2 and set(before) < set(names(folder))
    assert sorted(read(folder)) == [*range(15), *range(100, 106)]


def test_parts_of_days_of_schemas_and_of_today_stay_apart(folder: Folder) -> None:
    """A row is as old as the day on which it was scored says, by which it is deleted."""
    for at in range(4):
        put(folder, at, rows(3 * at))
        put(folder, at, rows(100 + 3 * at), NEXT)
        put(folder, 10 + at, rows(200 + 3 * at, amount=0.5), NEXT)
        put(folder, at, rows(300 + 3 * at), TODAY)
    compaction.compact(folder, TODAY)
    assert sorted(name[:8] for name in names(folder)) == ["20260510", "20260511", "20260511"] + 4 * ["20260512"]
    assert sorted(read(folder)) == [first + at for first in (0, 100, 200, 300) for at in range(12)]
    log.prune(folder, NEXT)
    assert sorted(read(folder)) == [first + at for first in (100, 200, 300) for at in range(12)]


def test_no_part_is_larger_than_readers_hold(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(9):
        put(folder, at, rows(3 * at))
    size = folder.entries(f"{folder.root}/{DAY}")[0]["size"]
    put(folder, 9, rows(27, 10_000))
    monkeypatch.setattr(compaction, "SMALL", 2 * size)
    monkeypatch.setattr(compaction, "LARGE", int(4.5 * size))
    assert compaction.compact(folder, TODAY) == "8 parts merged into 2"
    assert len(names(folder)) == 4 and read(folder) == list(range(10_027))


class Killed(BaseException):
    """The process ends here."""


def test_wherever_it_is_killed_readers_have_every_row_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after each thing that it does to storage."""
    for at in range(6):
        put(folder, at, rows(3 * at))
    left = 0

    def mortal(does: Callable[..., Any]) -> Callable[..., Any]:
        def one(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return does(*arguments)

        return one

    def each(paths: list[str]) -> None:
        for path in paths:
            remove(path)

    remove, stored = mortal(folder.system.rm_file), mortal(folder.system.pipe_file)
    monkeypatch.setattr(folder.system, "rm", each)
    monkeypatch.setattr(Folder, "put", lambda self, name, content: stored(f"{self.root}/{name}", content))
    kills = 0
    for steps in range(20):
        left = steps
        try:
            compaction.compact(folder, TODAY)
        except Killed:
            kills += 1
        assert read(folder) == list(range(18))
    assert kills >= 3 and len(names(folder)) == 1


def test_what_storage_did_not_take_as_it_is_deletes_nothing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(3):
        put(folder, at, rows(3 * at))
    before, whole = names(folder), Folder.put
    fewer = writer.encoded(rows(0, 1))
    monkeypatch.setattr(Folder, "put", lambda self, name, content: whole(self, name, fewer))
    with pytest.raises(BadInput, match="is not what was written"):
        compaction.compact(folder, TODAY)
    assert set(before) < set(names(folder))


def test_a_damaged_part_is_left_and_named(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    for at in range(4):
        put(folder, at, rows(3 * at))
    path = folder.files(DAY)[1]
    folder.system.pipe_file(path, b"PAR1 and then nothing")
    assert compaction.compact(folder, TODAY) == "3 parts merged into 1"
    assert path in capsys.readouterr().out and path in folder.files(DAY)
    with pytest.raises(BadInput, match="is no part that can be read"):
        read(folder)


def test_the_workflow_s_command_says_what_it_did(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for at in range(4):
        put(folder, at, rows(3 * at))
    monkeypatch.setenv("PREDICTION_LOG", folder.system.unstrip_protocol(folder.root))
    log.main(["compact"])
    assert "4 parts merged into 1" in capsys.readouterr().out and read(folder) == list(range(12))
