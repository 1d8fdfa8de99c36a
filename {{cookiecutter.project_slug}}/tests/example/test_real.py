"""The public data set, by the example's contract; for whoever has it: HANDBOOK names its folder of daily files."""

import os
from datetime import date
from pathlib import Path

import pytest

from pipeline import contract, ingest, validate
from pipeline.params import Days

HANDBOOK = os.environ.get("HANDBOOK", "")
OURS = contract.load(Path(contract.__file__).parents[1] / "contract.yaml")


@pytest.mark.skipif(not HANDBOOK, reason="HANDBOOK names no folder of the public data")
def test_real_data_is_read_with_nothing_changed_but_params() -> None:
    window = Days(date(2018, 6, 1), (date(2018, 6, 2), date(2018, 6, 3)), (date(2018, 6, 4), date(2018, 6, 7)))
    table = ingest.between({"data": {"source": HANDBOOK}}, window.since, window.test[1], OURS)
    assert table[OURS.time].dt.date().unique().to_list() == [date(2018, 6, day) for day in range(1, 8)]
    measured = validate.measure(table.lazy(), OURS, window)
    assert not any(found["rows"] for faults in measured["columns"].values() for found in faults.values())
    assert measured["duplicates"]["rows"] == 0 and measured["days"]["missing"] == []
    assert all(9_000 < rows < 10_000 for rows in measured["days"]["rows"].values())
    assert 0.006 < measured["label"]["parts"]["positive"]["value"] < 0.012
