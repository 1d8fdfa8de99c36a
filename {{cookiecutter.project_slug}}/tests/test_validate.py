"""Every fault is measured: how many rows, their share, and three examples; and the file is always written."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import date, datetime, timedelta
from math import inf, nan
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import ingest, onepass, personal, policy, validate
from pipeline.contract import Column, Contract, Label
from pipeline.params import BadInput, Days
from tests.tables import KNOBS, SIZES, knobs, ours, write_knobs, write_policies
from tests.tables import source as orders

SINCE, UNTIL = date(2020, 1, 1), date(2020, 1, 5)
WINDOW = Days(SINCE, (date(2020, 1, 2), date(2020, 1, 3)), (UNTIL, UNTIL), 1)
A_DAY = 10
DAYS = [f"2020-01-0{day}" for day in range(1, 6)]
CLASSES = ours(task="multiclass", label=Label("größe €", 2, SIZES))
NUMBERS = ours(task="regression", label=Label("amount", 2, unit="euros"))


def sound() -> pl.DataFrame:
    """Ten rows a day for five days, one of them positive."""
    rows = 5 * A_DAY
    return orders(rows).with_columns(
        ordered_at=pl.Series([datetime(2020, 1, 1) + timedelta(hours=24 / A_DAY * row) for row in range(rows)]),
        returned=pl.Series(["Yes" if row % A_DAY == 0 else "No" for row in range(rows)]),
        amount=pl.Series([row / 2 for row in range(rows)]),
    )


def measure(table: pl.DataFrame, contract: Contract | None = None) -> dict[str, Any]:
    return validate.measure(table.lazy(), contract or ours(), WINDOW)


def with_values(column: str, *values: object) -> pl.DataFrame:
    """The sound table with other values in the first rows of a column."""
    table = sound()
    changed = pl.Series(column, [*values, *table[column].to_list()[len(values) :]], table.schema[column])
    return table.with_columns(changed)


def part(measured: dict[str, Any]) -> dict[str, Any]:
    """What was measured of the first part of the labels."""
    first, *_ = measured["label"]["parts"].values()
    return dict(first)


def test_a_sound_table_has_no_fault() -> None:
    measured = measure(sound())
    assert measured["rows"] == 50 and measured["schema"] == [] and measured["id"] == "order_id"
    assert set(measured["columns"]) == {column.name for column in ours().columns}
    assert all(found["rows"] == 0 for faults in measured["columns"].values() for found in faults.values())
    assert measured["duplicates"] == {"rows": 0, "examples": []}
    assert measured["days"] == {
        "since": SINCE,
        "until": UNTIL,
        "behind": 0,
        "missing": [],
        "outside": {"rows": 0, "examples": []},
        "rows": dict.fromkeys(DAYS, A_DAY),
    }
    assert measured["label"] == {
        **{"kind": "share", "unit": None, "rest": "negative"},
        "parts": {"positive": {"value": 0.1, "deviation": pytest.approx(0.3), "days": dict.fromkeys(DAYS, 0.1)}},
        **{"known": dict.fromkeys(DAYS, A_DAY), "unknown": 0},
    }


@pytest.mark.parametrize(
    ("column", "values", "fault", "shown"),
    [
        ("amount", [None] * 5, "missing", [None, None, None]),
        ("express", [None], "missing", [None]),
        ("ordered_at", [None], "missing", [None]),
        ("amount", [nan, nan], "nan", ["nan", "nan"]),
        ("amount", [inf, -inf], "infinite", ["inf", "-inf"]),
        ("a.b", [inf, None], "infinite", ["inf"]),
        ("amount", [-0.01, 1e9, 0, 100_000], "out_of_range", [-0.01, 1e9]),
        ("items", [0, 1], "out_of_range", [0]),
        ("shoe size", [19, 61, 20], "out_of_range", [19, 61]),
        ("model_config", ["Basic", "basic", " extra"], "unknown", ["Basic", " extra"]),
        ("returned", ["yes", "Yes", "1", None], "unknown", ["yes", "1"]),
    ],
    ids=str,
)
def test_a_fault_is_counted_once_and_shown(column: str, values: list[Any], fault: str, shown: list[Any]) -> None:
    table = with_values(column, *values)
    columns = measure(table)["columns"]
    number = len(shown) if fault != "missing" else len(values)
    found = columns[column][fault]
    assert (found["rows"], found["share"]) == (number, number / 50)
    assert [example[column] for example in found["examples"]] == shown
    assert all(example["order_id"].startswith("order-0000") for example in found["examples"])
    others = [
        other["rows"] for name in columns for kind, other in columns[name].items() if (name, kind) != (column, fault)
    ]
    assert not any(others)


def test_what_may_be_missing_is_no_fault_and_shown_all_the_same() -> None:
    measured = measure(with_values("born", *[None] * 20).with_columns(pl.lit(None, pl.String).alias("größe €")))
    assert "missing" not in measured["columns"]["born"] and "missing" not in measured["columns"]["größe €"]
    assert measured["missing"]["größe €"] == 1.0 and measured["missing"]["born"] >= 20 / 50
    assert measured["missing"]["amount"] == 0.0


def test_a_list_that_is_learned_knows_any_level() -> None:
    assert "unknown" not in measure(with_values("größe €", "never seen"))["columns"]["größe €"]


@pytest.mark.parametrize(
    ("kind", "positive", "negative", "values", "strange"),
    [("integer", 1, 0, [1, 0, 2, None], 2), ("boolean", True, False, [True, False, False, None], None)],
)
def test_labels_of_other_types(kind: str, positive: Any, negative: Any, values: list[Any], strange: Any) -> None:
    label = Label("returned", 2, (negative, positive), positive)
    columns = tuple(Column("returned", kind, missing=True) if c.name == "returned" else c for c in ours().columns)
    table = sound()[:4].with_columns(returned=pl.Series(values))
    measured = measure(table, replace(ours(), label=label, columns=columns))
    found = measured["columns"]["returned"]["unknown"]
    assert [example["returned"] for example in found["examples"]] == [strange] * (strange is not None)
    assert found["known"] == [negative, positive] and measured["label"]["unknown"] == 1
    assert part(measured)["value"] == pytest.approx(1 / 2 if strange else 1 / 3)


def test_repeated_identifiers_are_counted_but_for_the_first() -> None:
    measured = measure(with_values("order_id", *["order-00009"] * 3, "order-00007"))
    twice = [{"order_id": "order-00007", "_rows": 2}, {"order_id": "order-00009", "_rows": 4}]
    assert measured["duplicates"] == {"rows": 4, "examples": twice}


@pytest.mark.parametrize("contract", [ours(), CLASSES, NUMBERS], ids=["binary", "multiclass", "regression"])
def test_a_table_of_any_length_is_measured_by_batches(contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which cut days, and identifiers that are compared a share at a time; large days are looked at by themselves."""
    table = with_values("amount", -1.0, nan, inf, None, 7.0)
    table = table.with_columns(order_id=pl.Series([f"order {row % 45}" for row in range(5 * A_DAY)]))
    whole = measure(table, contract)
    assert whole["duplicates"]["rows"] == 5
    for batch, large, few in ((7, 1, 40_000), (1, 100, 3), (50, 1, 0)):
        monkeypatch.setattr(onepass, "BATCH", batch)
        monkeypatch.setattr(onepass, "LARGE", large)
        monkeypatch.setattr(onepass, "MANY", 0)
        monkeypatch.setattr(validate, "SHARE", batch)
        monkeypatch.setattr(validate, "FEW", few)
        assert dict(leaves(measure(table, contract))) == {path: near(path, leaf) for path, leaf in leaves(whole)}


def test_a_median_of_many_rows_is_near_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = measure(sound())["medians"]["amount"]
    assert exact == dict(zip(DAYS, (2.5, 7.25, 12.25, 17.25, 22.25), strict=True))  # zero is left out
    monkeypatch.setattr(validate, "FEW", 0)
    binned = measure(sound())["medians"]["amount"]
    assert all(value * 127 / 128 <= binned[day] <= value for day, value in exact.items())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a report, by their paths."""
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, f"{path}/{key}")
    else:
        yield path, value


def near(path: str, leaf: Any) -> Any:
    """A number is as near as sums of other parts are, or medians of bins."""
    return pytest.approx(leaf, rel=1 / 128 if "/medians/" in path else 1e-9) if isinstance(leaf, float) else leaf


def test_missing_identifiers_are_no_duplicates() -> None:
    assert measure(with_values("order_id", None, None))["duplicates"]["rows"] == 0


def test_days_without_rows_are_named_the_first_and_the_last_too() -> None:
    measured = measure(sound().filter(~pl.col("ordered_at").dt.day().is_in([1, 3, 5])))["days"]
    assert measured["missing"] == [date(2020, 1, 1), date(2020, 1, 3), date(2020, 1, 5)]
    assert measured["behind"] == 1


def test_rows_of_other_days_are_counted_apart() -> None:
    table = with_values("ordered_at", datetime(2019, 12, 31), datetime(2020, 1, 6), datetime(2020, 1, 6))
    measured = measure(table)["days"]
    assert measured["outside"] == {"rows": 3, "examples": [date(2019, 12, 31), date(2020, 1, 6)]}
    assert measured["behind"] == 0 and measured["rows"]["2020-01-01"] == A_DAY - 3


def test_levels_are_means_of_the_values_that_are_there() -> None:
    measured = measure(with_values("amount", None, nan, inf, 100.0))["levels"]
    assert set(measured) == {"amount", "items"} and list(measured["amount"]) == DAYS  # a.b has no zero to measure from
    rest = sound()["amount"][4:A_DAY].sum()
    assert measured["amount"]["2020-01-01"] == pytest.approx((100 + rest) / (A_DAY - 3))
    assert list(measure(with_values("amount", *[nan] * A_DAY))["levels"]["amount"]) == DAYS[1:]


@pytest.mark.parametrize("name", ["day", "value", "rows", "len", "share", "0"])
def test_no_name_of_a_column_is_taken(name: str) -> None:
    def renamed(column: str) -> tuple[Column, ...]:
        return tuple(replace(c, name=name) if c.name == column else c for c in ours().columns)

    measured = measure(sound().rename({"amount": name}), replace(ours(), columns=renamed("amount")))
    assert list(measured["levels"][name]) == DAYS and measured["missing"][name] == 0
    measured = measure(sound().rename({"order_id": name}), replace(ours(), id=name, columns=renamed("order_id")))
    assert measured["duplicates"]["rows"] == 0


def test_shares_of_labels_are_of_rows_that_have_one() -> None:
    measured = measure(with_values("returned", None, None, "Yes", "Yes"))
    assert part(measured)["days"]["2020-01-01"] == 2 / 8 and part(measured)["value"] == 6 / 48
    assert measured["label"]["unknown"] == 2


def test_a_day_whose_labels_nobody_knows_has_no_share() -> None:
    measured = measure(with_values("returned", *[None] * A_DAY))
    assert part(measured)["days"]["2020-01-01"] is None and measured["label"]["known"]["2020-01-01"] == 0
    assert part(measured)["value"] == 0.1 and measured["label"]["unknown"] == A_DAY


def test_each_class_has_its_share() -> None:
    sizes = ["groß", "klein", "klein", "NA", None, *["klein"] * 5]
    measured = measure(sound().with_columns(pl.Series("größe €", [*sizes, *["groß", "klein"] * 20])), CLASSES)
    label = measured["label"]
    assert (label["kind"], label["unit"], label["rest"], label["unknown"]) == ("share", None, None, 1)
    assert list(label["parts"]) == list(SIZES) and label["known"]["2020-01-01"] == A_DAY - 1
    shares = {name: part["days"]["2020-01-01"] for name, part in label["parts"].items()}
    assert shares == pytest.approx({"groß": 1 / 9, "klein": 7 / 9, "NA": 1 / 9})
    assert label["parts"]["groß"]["value"] == pytest.approx(21 / 49)
    assert measured["columns"]["größe €"]["unknown"]["known"] == list(SIZES)
    strange = measure(with_values("größe €", "Groß"), CLASSES)
    assert [each["größe €"] for each in strange["columns"]["größe €"]["unknown"]["examples"]] == ["Groß"]


def test_a_number_has_its_mean_and_the_faults_of_a_number() -> None:
    measured = measure(with_values("amount", nan, inf, None, 100_001.0, *[20.0] * 3, *[40.0] * 3), NUMBERS)
    label, found = measured["label"], measured["columns"]["amount"]
    assert (label["kind"], label["unit"], label["rest"], label["unknown"]) == ("mean", "euros", None, 1)
    assert part(measured)["days"]["2020-01-01"] == pytest.approx((100_001 + 60 + 120) / 7)
    assert label["known"]["2020-01-01"] == 7 and part(measured)["deviation"] > 10_000
    assert {fault: of["rows"] for fault, of in found.items()} == dict.fromkeys(
        ("missing", "nan", "infinite", "out_of_range"), 1
    )
    said = {v.rule: v.next for v in policy.judge_data({"file": "f", "source": "x", "pinned": True, **measured}, BARS)}
    for fault in ("missing", "nan", "infinite"):
        assert "then they are labels that are not known yet" in said[f"values.{fault}"]


@pytest.mark.parametrize("name", ["amount", "items", "shoe size"])
def test_a_number_that_is_predicted_has_a_level_whatever_its_type(name: str) -> None:
    measured = measure(sound(), replace(NUMBERS, label=Label(name, 2)))
    assert list(measured["levels"][name]) == list(measured["medians"][name]) == DAYS


def test_a_class_and_a_group_are_numbers_without_a_level() -> None:
    coded = ours(task="multiclass", label=Label("items", 2, tuple(range(1, 9))), group="shoe size")
    columns = tuple(replace(c, input=True) for c in coded.columns)
    assert set(measure(sound(), replace(coded, columns=columns))["levels"]) == {"amount"}


def test_a_table_that_breaks_the_contract_is_measured_as_far_as_it_goes() -> None:
    measured = measure(sound().drop("ordered_at").with_columns(pl.col("amount").cast(pl.String)))
    assert measured["schema"] == [
        {"column": "ordered_at", "expected": "time", "found": "no column"},
        {"column": "amount", "expected": "number", "found": "String"},
    ]
    assert measured["days"] is measured["levels"] is measured["label"] is None
    assert measured["rows"] == 50 and "customer" in measured["columns"]


def test_no_rows_are_measured_too() -> None:
    measured = measure(sound().clear())
    assert measured["rows"] == 0 and part(measured)["value"] is None
    assert len(measured["days"]["missing"]) == measured["days"]["behind"] == 5


def test_personal_values_are_pseudonyms_or_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "rules", lambda: {"order_id": personal.HASH, "amount": personal.OMIT})
    measured = measure(with_values("amount", -1.0).with_columns(order_id=pl.lit("x")))
    assert measured["columns"]["amount"]["out_of_range"]["examples"] == [{"order_id": personal.digest("x")}]
    assert measured["duplicates"]["examples"] == [{"order_id": personal.digest("x"), "_rows": 50}]


# --- the stage ---


@pytest.mark.parametrize(
    ("source", "snapshot", "pinned"), [("simulate", None, True), ("days", None, False), ("days", "sha256:0", True)]
)
def test_the_stage_writes_strict_json(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    snapshot: str | None,
    pinned: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_knobs(tmp_path, knobs(data={"source": source, "until": "2020-01-05", "snapshot": snapshot}))
    ingest.ROWS.parent.mkdir()
    with_values("amount", nan, inf, None).write_parquet(ingest.ROWS)
    validate.main()
    written = json.loads(validate.VALIDATION.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (written["source"], written["pinned"], written["rows"]) == (source, pinned, 50)
    assert written["days"]["until"] == "2020-01-05"
    assert "missing, as contract.yaml allows: größe € " in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"", b"cut"])
def test_a_table_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    monkeypatch.chdir(tmp_path)
    write_knobs(tmp_path, KNOBS)
    if content is not None:
        ingest.ROWS.parent.mkdir()
        ingest.ROWS.write_bytes(content)
    with pytest.raises(BadInput, match="^data/rows.parquet: cannot be read .*`make data`$"):
        validate.main()
    assert not validate.VALIDATION.exists()


# --- how it is judged ---

BARS: dict[str, Any] = {
    "rows": {"minimum": 10},
    "days": {"missing": 0, "behind": 0, "outside": 0},
    "volume": {"minimum": 0.5, "maximum": 2.0},
    "level": {"rows": 100, "minimum": 0.2, "maximum": 5},
    "duplicates": 0,
    "values": {"missing": 0, "nan": 0, "infinite": 0, "out_of_range": 0, "unknown": 0},
    "columns": {},
    "label": {"minimum": 0.01, "maximum": 0.5, "day": {"rows": 1, "minimum": 0, "maximum": 1}},
    "daily": {
        **{"chance": 0.001, "clock": 1.5, "repeated": 30, "constant": 0.5, "labels": 0.5},
        **{"categories": 0.05, "lost": 0.3},
    },
    "pinned": False,
}


def judged(table: pl.DataFrame, change: Callable[[dict[str, Any]], object] = dict) -> list[policy.Violation]:
    """The violations of a table, by bars with a change."""
    bars = deepcopy(BARS)
    change(bars)
    return policy.judge_data({"file": "data/rows.parquet", "source": "x", "pinned": True, **measure(table)}, bars)


def test_sound_data_meets_every_bar() -> None:
    assert judged(sound()) == []


@pytest.mark.parametrize(
    ("column", "value", "rule", "words", "bar"),
    [
        ("items", None, "values.missing", "say `missing: true` of items in contract.yaml", "at most 0%"),
        (
            "amount",
            nan,
            "values.nan",
            "write null in the source, and say `missing: true` of amount in contract",
            "at mo",
        ),
        ("amount", inf, "values.infinite", "no model is trained on infinite inputs", "at most 0%"),
        (
            "shoe size",
            19,
            "values.out_of_range",
            "widen the `range` of shoe size in contract.yaml",
            "range is from 20 to",
        ),
        (
            "model_config",
            "x",
            "values.unknown",
            "to the `categories` of model_config in",
            "; it may be 'basic', 'extra'",
        ),
        ("returned", "x", "values.unknown", "mend `label` in contract.yaml", "at most 0%; it may be 'No', 'Yes'"),
    ],
)
def test_a_fault_misses_its_bar_and_names_what_to_do(column: str, value: Any, rule: str, words: str, bar: str) -> None:
    (violation,) = judged(with_values(column, value))
    assert violation.rule == rule and violation.rows == 1
    assert words in violation.next and bar in violation.bar and "order_id order-00000" in violation.examples[0]


@pytest.mark.parametrize(
    ("column", "value", "role"),
    [
        *(("order_id", None, "id"), ("ordered_at", None, "time"), ("customer", None, "entity")),
        *(("amount", None, "weight"), ("amount", nan, "weight"), ("items", None, "group")),
    ],
)
def test_a_row_has_to_have_what_the_contract_lets_no_row_miss(column: str, value: Any, role: str) -> None:
    """The contract refuses `missing: true` of these."""
    measured = measure(with_values(column, value), ours(weight="amount", group="items"))
    found = policy.judge_data({"file": "f", "source": "x", "pinned": True, **measured}, BARS)
    violation = next(each for each in found if each.rule in ("values.missing", "values.nan"))
    assert violation.next == f"correct these rows in the source, or drop them there: a row has to have its {role}"


def test_a_column_may_have_a_bar_of_its_own() -> None:
    table = with_values("model_config", "x")
    assert judged(table, lambda bars: bars["columns"].update(model_config={"unknown": 0.02})) == []
    (violation,) = judged(table, lambda bars: bars["columns"].update({"größe": {"unknown": 1}}))[:1]
    assert "did you mean `größe €`?" in violation.next


def test_whether_a_day_may_be_without_rows_is_the_policys() -> None:
    table = sound().filter(pl.col("ordered_at").dt.day() != 3)
    assert [violation.rule for violation in judged(table)] == ["days.missing"]
    assert judged(table, lambda bars: bars["days"].update(missing=1)) == []


def test_a_number_as_label_is_a_fault_and_no_share() -> None:
    """Such as a price: each of its values is one that a label does not have."""
    label = Label("items", 2, (0, 1), 1)
    contract = replace(ours(), label=label)
    measured = {
        "file": "f",
        "source": "x",
        "pinned": True,
        **measure(sound().with_columns(items=pl.lit(4790, pl.Int64)), contract),
    }
    found = {violation.rule: violation for violation in policy.judge_data(measured, BARS)}
    assert "items is unknown in 100% of the rows" in found["values.unknown"].value
    assert found["label"].value == "no label is known"


def test_repeated_identifiers_are_named() -> None:
    (violation,) = judged(with_values("order_id", "x", "x"))
    assert violation.examples == ("order_id x in 2 rows",)


def test_labels_that_are_not_known_yet_are_said_not_to_be_judged() -> None:
    table = with_values("returned", None, None)
    assert judged(table) == []
    said, *_ = policy.unjudged_data(measure(table), BARS)
    assert said.startswith("2 labels, which are not known yet")


def test_a_label_that_the_contract_has_known_says_how_to_wait_for_it() -> None:
    columns = tuple(replace(each, missing=False) if each.name == "returned" else each for each in ours().columns)
    about = {"file": "f", "source": "x", "pinned": True}
    measured = about | measure(with_values("returned", None), replace(ours(), columns=columns))
    (violation,) = policy.judge_data(measured, BARS)
    assert violation.rule == "values.missing" and "then they are labels that are not known yet" in violation.next


def test_the_bars_of_these_tests_are_all_there_are(tmp_path: Path) -> None:
    write_policies(tmp_path)
    assert set(policy.load("data", tmp_path / "policies")) == set(BARS)
