"""The reference: a sample of what the model saw, the same bytes each time, and nobody in it."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline import log, profile, reference, rows
from pipeline.model import load
from pipeline.params import BadInput
from pipeline.personal import HASH, Policy
from tests import by_task
from tests.tables import inputs, knobs, ours, workspace, write_model

INPUTS, OURS = inputs(), ours()
DAYS = OURS.days(knobs())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workspace(tmp_path))
    monkeypatch.setattr(log, "policy", lambda names: Policy({}, 90))
    write_model(Path("model"))
    return tmp_path


def test_each_part_is_of_its_days(folder: Path) -> None:
    reference.main()
    table = pl.read_parquet(reference.REFERENCE)
    for part, span in ((reference.TRAIN, DAYS.train), (reference.TEST, DAYS.test)):
        of_part = table.filter(pl.col("_part") == part)
        assert len(of_part) == len(rows.between(*span, OURS))
        assert (of_part["_day"].min(), of_part["_day"].max()) == span


def test_inputs_and_score_belong_together_and_nobody_is_in_it(folder: Path) -> None:
    reference.main()
    table = pl.read_parquet(reference.REFERENCE)
    assert table.columns == ["_part", "_day", *(column.name for column in INPUTS), "_score"]
    assert not {OURS.id, OURS.time, OURS.label.column, OURS.entity, rows.ENTITY, rows.LABEL} & set(table.columns)
    assert table["_score"].to_numpy() == pytest.approx(1 / (1 + np.exp((220 - table["amount"].to_numpy()) / 20)))


def test_of_a_class_it_has_the_code(folder: Path) -> None:
    scorer, table = by_task.write_model(Path("model"), "multiclass", INPUTS), rows.between(*DAYS.test, OURS)
    part = reference.part(reference.TEST, table, scorer)
    assert part.schema["_class"] == pl.Int64() and not {"_score", "_probabilities"} & {*part.columns}
    assert part["_class"].to_list() == ((table["amount"] > 100).cast(int) + (table["amount"] > 220)).to_list()


def test_it_has_each_input_as_the_log_writes_it_with_what_is_missing(folder: Path) -> None:
    reference.main()
    table = pl.read_parquet(reference.REFERENCE)
    assert {column.name: table.schema[column.name] for column in INPUTS} == {
        column.name: log.TYPES[column.type] for column in INPUTS
    }
    for column in INPUTS:
        assert bool(table[column.name].null_count()) == column.missing


def test_what_the_log_leaves_out_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    personal = Policy({"amount": HASH, "größe €": "omit"}, 90)
    monkeypatch.setattr(log, "policy", lambda names: personal)
    reference.main()
    assert not {"amount", "größe €"} & set(pl.read_parquet(reference.REFERENCE).columns)
    assert "amount" not in profile.PROFILE.read_text() and "klein" not in profile.PROFILE.read_text()


# --- its profile ---


def shares(bins: profile.Bins, weekday: int) -> dict[str, float]:
    """What is expected in each bin."""
    return dict(zip(bins.names, bins.expected(weekday), strict=True))


def test_each_input_and_the_answer_have_bins_whose_shares_are_those_of_the_weekday(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "ENOUGH", 1)
    reference.main()
    found = profile.load(profile.PROFILE, load(Path("model")))
    assert found and list(found.columns) == [*(column.name for column in INPUTS), "_score"]
    train = rows.between(*DAYS.train, OURS)
    on = train[OURS.time].dt.weekday()
    for weekday in profile.WEEKDAYS:
        day = train.filter(on == weekday)
        for name, bins in found.columns.items():
            assert sum(bins.expected(weekday)) == pytest.approx(1, abs=1e-4), name
        assert shares(found.columns["größe €"], weekday) == pytest.approx(
            {level: (day["größe €"] == level).sum() / len(day) for level in ("klein", "NA", "groß")}
            | {"other": 0, "missing": day["größe €"].null_count() / len(day)},
            abs=1e-5,
        )
        assert shares(found.columns["express"], weekday)["true"] == pytest.approx(day["express"].mean(), abs=1e-5)
        assert shares(found.columns["a.b"], weekday)["missing"] == pytest.approx(
            day["a.b"].null_count() / len(day), abs=1e-5
        )


def test_answers_are_expected_as_on_the_test_days(folder: Path) -> None:
    reference.main()
    scores = pl.read_parquet(reference.REFERENCE).filter(pl.col("_part") == reference.TEST)["_score"]
    found = profile.load(profile.PROFILE, load(Path("model")))
    assert found
    highest = float(found.columns["_score"].names[-3].removeprefix("<="))
    assert (scores > highest).mean() == pytest.approx(0.01, abs=0.005)


def test_classes_have_their_names(folder: Path) -> None:
    scorer, table = by_task.write_model(Path("model"), "multiclass", INPUTS), rows.between(*DAYS.test, OURS)
    sample = pl.concat(reference.part(name, table, scorer) for name in (reference.TRAIN, reference.TEST))
    assert shares(reference.profiled(sample, scorer).columns["_class"], 1) == pytest.approx(
        {
            "No": (table["amount"] <= 100).mean(),
            "Late": table["amount"].is_between(100, 220, closed="right").mean(),
            "Yes": (table["amount"] > 220).mean(),
            **{"other": 0, "missing": 0},
        },
        abs=0.05,
    )


def test_a_model_that_is_not_there_is_a_sentence(folder: Path) -> None:
    Path("model/model.onnx").unlink()
    with pytest.raises(BadInput, match="make it with `make model`"):
        reference.main()


def test_twice_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "ROWS", 100)
    reference.main()
    once = reference.REFERENCE.read_bytes(), profile.PROFILE.read_bytes()
    reference.main()
    assert (reference.REFERENCE.read_bytes(), profile.PROFILE.read_bytes()) == once
    assert pl.read_parquet(reference.REFERENCE)["_part"].value_counts().sort("_part").rows() == [
        ("test", 100),
        ("train", 100),
    ]


def test_the_sample_is_uniform_and_in_order() -> None:
    table = pl.DataFrame({"row": np.arange(10_000)})
    drawn = reference.sample(table, 1_000)["row"]
    assert drawn.is_sorted() and drawn.n_unique() == 1_000
    each_tenth = np.bincount(drawn.to_numpy() // 1_000, minlength=10)
    assert ((each_tenth > 60) & (each_tenth < 140)).all()
    assert reference.sample(table, 10_000) is table


def test_the_delay_s_days_belong_to_no_part(folder: Path) -> None:
    reference.main()
    gap = DAYS.train[1] + timedelta(days=1)
    assert len(rows.between(gap, gap, OURS)) and gap not in pl.read_parquet(reference.REFERENCE)["_day"].to_list()
