"""Every fault is measured: how many rows, their share, and three examples; and the file is always written."""

import json
import os
from datetime import date, datetime, timedelta
from math import inf, nan
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import ingest, validate
from pipeline.params import BadInput, Days, load
from pipeline.schema import ID, LABEL, SOURCE, TIME
from tests.tables import write_knobs

ROOT = Path(validate.__file__).parents[1]
SINCE, UNTIL = date(2020, 1, 1), date(2020, 1, 5)
WINDOW = Days(SINCE, (date(2020, 1, 2), date(2020, 1, 3)), (UNTIL, UNTIL))
A_DAY = 10


def sound() -> pl.DataFrame:
    """Ten transactions a day, one of them fraudulent, with identifiers 0 to 49."""
    rows = 5 * A_DAY
    first = datetime(2020, 1, 1)
    return pl.DataFrame(
        {
            ID: range(rows),
            TIME: [first + timedelta(hours=24 / A_DAY * row) for row in range(rows)],
            "customer_id": [row % 7 for row in range(rows)],
            "terminal_id": [row % 3 for row in range(rows)],
            "tx_amount": [row / 2 for row in range(rows)],
            LABEL: [int(row % A_DAY == 0) for row in range(rows)],
        },
        schema_overrides={TIME: pl.Datetime("us")},
    )


def measure(table: pl.DataFrame) -> dict[str, Any]:
    return validate.measure(table.lazy(), SOURCE, WINDOW)


def with_values(column: str, *values: object) -> pl.DataFrame:
    """The sound table with other values in the first rows of a column."""
    table = sound()
    changed = pl.Series(column, [*values, *table[column].to_list()[len(values) :]], table.schema[column])
    return table.with_columns(changed)


def test_a_sound_table_has_no_fault() -> None:
    measured = measure(sound())
    assert measured["rows"] == 50 and measured["schema"] == []
    assert set(measured["columns"]) == {column.name for column in SOURCE}
    assert all(found["rows"] == 0 for faults in measured["columns"].values() for found in faults.values())
    assert measured["duplicates"] == {"rows": 0, "examples": []}
    assert measured["days"] == {
        "since": SINCE,
        "until": UNTIL,
        "behind": 0,
        "missing": [],
        "outside": {"rows": 0, "examples": []},
        "rows": {f"2020-01-0{day}": A_DAY for day in range(1, 6)},
    }
    assert measured["label"] == {"share": 0.1, "days": {f"2020-01-0{day}": 0.1 for day in range(1, 6)}}


@pytest.mark.parametrize(
    ("column", "values", "fault", "shown"),
    [
        ("tx_amount", [None] * 5, "missing", [None, None, None]),
        ("tx_amount", [nan, nan], "nan", ["nan", "nan"]),
        ("tx_amount", [inf, -inf], "infinite", ["inf", "-inf"]),
        ("tx_amount", [-0.01, 1e9, 0, 100_000], "out_of_range", [-0.01, 1e9]),
        (LABEL, [2, -1, 0, 1], "out_of_range", [2, -1]),
        ("customer_id", [-1], "out_of_range", [-1]),
        (TIME, [None], "missing", [None]),
    ],
)
def test_a_fault_is_counted_once_and_shown(column: str, values: list[Any], fault: str, shown: list[Any]) -> None:
    columns = measure(with_values(column, *values))["columns"]
    number = len(shown) if fault != "missing" else len(values)
    found = columns[column][fault]
    assert (found["rows"], found["share"]) == (number, number / 50)
    assert [(example[ID], example[column]) for example in found["examples"]] == list(enumerate(shown))
    others = [
        other["rows"] for name in columns for kind, other in columns[name].items() if (name, kind) != (column, fault)
    ]
    assert not any(others)


def test_repeated_identifiers_are_counted_but_for_the_first() -> None:
    measured = measure(with_values(ID, 9, 9, 9, 7))
    assert measured["duplicates"] == {"rows": 4, "examples": [{ID: 7, "rows": 2}, {ID: 9, "rows": 4}]}


def test_missing_identifiers_are_no_duplicates() -> None:
    assert measure(with_values(ID, None, None))["duplicates"]["rows"] == 0


def test_days_without_rows_are_named_the_first_and_the_last_too() -> None:
    day = pl.col(TIME).dt.day()
    measured = measure(sound().filter(~day.is_in([1, 3, 5])))["days"]
    assert measured["missing"] == [date(2020, 1, 1), date(2020, 1, 3), date(2020, 1, 5)]
    assert measured["behind"] == 1


def test_rows_of_other_days_are_counted_apart() -> None:
    measured = measure(with_values(TIME, datetime(2019, 12, 31), datetime(2020, 1, 6), datetime(2020, 1, 6)))["days"]
    assert measured["outside"] == {"rows": 3, "examples": [date(2019, 12, 31), date(2020, 1, 6)]}
    assert measured["behind"] == 0 and measured["rows"]["2020-01-01"] == A_DAY - 3


def test_levels_are_means_of_the_values_that_are_there() -> None:
    measured = measure(with_values("tx_amount", None, nan, inf, 100.0))["levels"]
    assert set(measured) == {"tx_amount"} and set(measured["tx_amount"]) == {f"2020-01-0{day}" for day in range(1, 6)}
    rest = sound()["tx_amount"][4:A_DAY].sum()
    assert measured["tx_amount"]["2020-01-01"] == pytest.approx((100 + rest) / (A_DAY - 3))
    assert set(measure(with_values("tx_amount", *[nan] * A_DAY))["levels"]["tx_amount"]) == {
        f"2020-01-0{day}" for day in range(2, 6)
    }


def test_shares_of_labels_are_of_rows_that_have_one() -> None:
    measured = measure(with_values(LABEL, None, None, 1, 1))["label"]
    assert measured["days"]["2020-01-01"] == 2 / 8 and measured["share"] == 6 / 48


def test_a_table_that_breaks_the_contract_is_measured_as_far_as_it_goes() -> None:
    table = sound().drop(TIME).with_columns(pl.col("tx_amount").cast(pl.String))
    measured = measure(table)
    assert measured["schema"] == [
        {"column": TIME, "expected": "datetime", "found": "no column"},
        {"column": "tx_amount", "expected": "float64", "found": "String"},
    ]
    assert measured["days"] is measured["levels"] is measured["label"] is None
    assert measured["rows"] == 50 and "customer_id" in measured["columns"]


def test_no_rows_are_measured_too() -> None:
    measured = measure(sound().clear())
    assert measured["rows"] == 0 and measured["label"]["share"] is None
    assert len(measured["days"]["missing"]) == measured["days"]["behind"] == 5


@pytest.mark.parametrize(
    ("source", "snapshot", "pinned"), [("simulate", None, True), ("days", None, False), ("days", "sha256:0", True)]
)
def test_the_stage_writes_strict_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, snapshot: str | None, pinned: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    knobs = load(ROOT / "params.yaml") | {"data": {"source": source, "until": "2020-01-05", "snapshot": snapshot}}
    write_knobs(tmp_path, knobs)
    ingest.TRANSACTIONS.parent.mkdir()
    with_values("tx_amount", nan, inf, None).write_parquet(ingest.TRANSACTIONS)
    validate.main()
    written = json.loads(validate.VALIDATION.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (written["source"], written["pinned"], written["rows"]) == (source, pinned, 50)
    assert written["days"]["until"] == "2020-01-05"


@pytest.mark.parametrize("content", [None, b"", b"cut"])
def test_a_table_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    monkeypatch.chdir(tmp_path)
    write_knobs(tmp_path, load(ROOT / "params.yaml"))
    if content is not None:
        ingest.TRANSACTIONS.parent.mkdir()
        ingest.TRANSACTIONS.write_bytes(content)
    with pytest.raises(BadInput, match="^data/transactions.parquet: cannot be read .*`make data`$"):
        validate.main()
    assert not validate.VALIDATION.exists()


def test_real_data_has_no_fault() -> None:
    if not (handbook := os.environ.get("HANDBOOK")):
        pytest.skip("HANDBOOK does not name the folder of real daily files")
    window = Days(date(2018, 6, 1), (date(2018, 6, 2), date(2018, 6, 3)), (date(2018, 6, 4), date(2018, 6, 7)))
    read = ingest.every(ingest.read_and_record, ingest.files(handbook, window.since, window.test[1]))
    measured = validate.measure(pl.concat(table for _, table in read).lazy(), SOURCE, window)
    assert not any(found["rows"] for faults in measured["columns"].values() for found in faults.values())
    assert measured["duplicates"]["rows"] == 0 and measured["days"]["missing"] == []
    assert all(9_000 < rows < 10_000 for rows in measured["days"]["rows"].values())
    assert 0.006 < measured["label"]["share"] < 0.012
