"""What a column is taken for, of a CSV or of parquet; and what is odd about it, rather than read as something."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import ingest
from pipeline.adopt import profile as profiles
from pipeline.adopt.profile import Profile, of_column, profile
from pipeline.adopt.table import read
from pipeline.contract import Column
from pipeline.params import BadInput
from pipeline.rows import TYPES
from tests.spoiled import NOTHING, UNTOLD, good, lines

MOMENT = datetime(2024, 1, 13, 14, 5)
TEXTS: dict[str, tuple[Sequence[str | None], str, dict[str, Any]]] = {
    "numbers with blanks": (
        ["1.5", " ", "2.25 ", None],
        "number",
        {"markers": ("", " "), "missing": 80, "maximum": 2.25},
    ),
    "whole numbers": (["1", "-2", "+30", "NA"], "integer", {"markers": ("NA",), "minimum": -2, "maximum": 30}),
    "whole numbers of pandas": (["1.0", "2.0", None], "integer", {"top": ((1, 40), (2, 40))}),
    "exponents": (["1e5", "2.5E-3"], "number", {"maximum": 1e5, "unique": False}),
    "zeros and ones": (["0", "1"], "integer", {"words": None}),
    "moments of Unix": (["1704067200", "1704067201"], "integer", {}),
    "leading zeros": (["00123", "98765", "04567"], "category", {}),
    "leading zeros, signs and spaces": (["-05", "+7", " 08"], "category", {}),
    "20 digits": (["12345678901234567890", "12345678901234567891"], "category", {}),
    "yes and no": (["Yes", "no", "No"], "boolean", {"words": ("No", "Yes")}),
    "ja und nein": (["ja", "nein", None], "boolean", {"words": ("nein", "ja"), "missing": 40}),
    "oui et non": (["oui", "non"], "boolean", {"words": ("non", "oui")}),
    "Y and N": (["Y", "N", "?"], "boolean", {"words": ("N", "Y"), "markers": ("?",)}),
    "true and false": (["true", "FALSE"], "boolean", {"words": ("FALSE", "true")}),
    "yes, no and neither": (["Yes", "No", "No internet"], "category", {"words": None, "distinct": 3}),
    "a constant": (["x"], "category", {"distinct": 1}),
    "levels with spaces": ([" red", "green", ""], "category", {"distinct": 2, "missing": 40, "markers": ("",)}),
    "none, a level": (["none", "some"], "category", {"missing": 0}),
    "iso": (["2024-01-13", "2024-02-01"], "time", {"order": "iso", "format": "%Y-%m-%d"}),
    "moments of pandas": (["2024-01-13 14:05:00.000000", "2024-01-14 00:00:00.500000"], "time", {"minimum": MOMENT}),
    "fractions of two kinds": (["2024-01-13 14:05:00.000000", "2024-01-14 00:00:00.5"], "time", {"minimum": MOMENT}),
    "iso with a zone": (["2024-01-13T14:05:00Z", "2024-01-13T16:05:00.5+02:00"], "time", {"minimum": MOMENT}),
    "dmy": (["13/01/2024 14:05", "01/02/2024 00:00"], "time", {"order": "dmy", "minimum": MOMENT}),
    "mdy": (["01/13/2024 02:05 PM", "02/03/2024 01:00 AM"], "time", {"order": "mdy", "minimum": MOMENT}),
    "german": (["13.01.24", "01.02.24"], "time", {"order": "dmy", "format": "%d.%m.%y"}),
    "months in words": (["13 Jan 2024", "1 March 2024"], "time", {"order": "dmy"}),
    "compact": (["20240113", "20240214", " 20240301"], "time", {"format": "%Y%m%d", "minimum": datetime(2024, 1, 13)}),
    "eight digits": (["20240113", "20241301", "20240301"], "integer", {}),
    "day or month": (["03/04/2024", "05/06/2024"], "time", {"order": "unclear"}),
    "dates of three kinds": (["2024-01-15", "15/02/2024", "Jan 5, 2024"], "mixed", {"odd_rows": 120}),
    "thousands": (["1,234.5", "12.5", "-7", "NA"], "mixed", {"odd": ("1,234.5",), "odd_rows": 40}),
    "thousands, German": (["3.967,50 ", "12,5", "1.000"], "mixed", {}),
    "thousands, whole": (["1.234.567", "1.234", "12"], "mixed", {"odd": ("1.234.567",)}),
    "thousands, pence": (["1,967.00", "250.00"], "mixed", {}),
    "thousands, of both kinds": (["1,234.5", "1.234,5"], "mixed", {}),
    "thousands, or not": (["1,234", "5,678"], "mixed", {}),
    "thousands or decimals": (["1.512", "940", "0", "-"], "mixed", {"odd": ("1.512",)}),
    "decimals, a zero says": (["1.5120", "940"], "number", {"maximum": 940.0}),
    "decimals, one says": (["1.512", "940", "0.512"], "number", {"minimum": 0.512}),
    "decimals, or not": (["1.234", "5.678"], "number", {"maximum": 5.678}),
    "thousands, marked and not": (["1,234.5", "1234,5"], "mixed", {}),
    "codes in groups": (["123.456.789", "987.654.321"], "mixed", {}),
    "money": (["$5.00", "$7.50"], "mixed", {}),
    "euros": (["5.00 EUR", "7.50 EUR"], "mixed", {}),
    "per cent": (["5%", "10%"], "mixed", {}),
    "words among many numbers": ([*map(str, range(100)), *["twelve"] * 9], "mixed", {"odd_rows": 360}),
    "boats": ([*map(str, range(1, 17)), "A", "B", "13 15"], "category", {"distinct": 19, "odd_rows": 0}),
    "counts, the last of them open": (["0", "1", "2", "3+"], "category", {}),
    "ages": (["<18", "18", "19", "20", "21"], "category", {}),
    "mail addresses": ([f"a{i}@b.org" for i in range(9)], "category", {"personal": "mail addresses"}),
    "phone numbers": ([f"+49 30 12345{i:03}" for i in range(9)], "category", {"personal": "phone numbers"}),
    "nothing": (["", None, "NA"], "empty", {"missing": 120, "distinct": 0}),
}


def found(values: Sequence[Any], rows: int = 40) -> tuple[Profile, pl.Series]:
    """The profile of a column that holds these values so many times, and the column in its type."""
    series = pl.Series("x", list(values) * rows, strict=False)
    about = of_column(series)
    return about, series.to_frame().select(about.value()).to_series()


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_taken_for_what_they_are(name: str) -> None:
    values, kind, facts = TEXTS[name]
    about, typed = found(values)
    assert about.type == kind
    assert {fact: getattr(about, fact) for fact in facts} == facts
    accepted(about, typed)


def accepted(about: Profile, typed: pl.Series) -> None:
    """Holds that ingest reads the column that `value` makes, every value as it is."""
    if about.type in TYPES:
        assert typed.dtype == TYPES[about.type]
        column = Column("x", about.type, missing=True)
        assert ingest.typed(column, typed).equals(typed, null_equal=True)
        assert typed.null_count() == about.missing + about.odd_rows
        assert about.distinct == typed.drop_nulls().n_unique()


@pytest.mark.parametrize(
    ("values", "kind", "facts"),
    [
        ([1, 2, None], "integer", {"missing": 40, "maximum": 2}),
        ([1.0, float("nan")], "integer", {"missing": 40, "markers": ("NaN",)}),
        ([20240113, 20240214, 20240301, None], "time", {"maximum": datetime(2024, 3, 1), "missing": 40}),
        ([20240113.0, 20240214.0, 20240301.0, float("nan")], "time", {"format": "%Y%m%d"}),
        ([20240113, 20240232, 20240301], "integer", {}),
        ([1.5, float("inf")], "number", {"odd": ("inf",), "odd_rows": 40}),
        ([Decimal("1.50"), None], "number", {"maximum": 1.5}),
        ([True, None], "boolean", {"missing": 40}),
        ([date(2024, 1, 13)], "time", {"minimum": datetime(2024, 1, 13), "order": None}),
        ([MOMENT.replace(tzinfo=UTC)], "time", {"minimum": MOMENT}),
        ([None], "empty", {"missing": 40}),
        ([2**63 + 1], "mixed", {"odd_rows": 40}),
    ],
)
def test_types_of_parquet_are_kept(values: Sequence[Any], kind: str, facts: dict[str, Any]) -> None:
    about, typed = found(values)
    assert about.type == kind
    assert {fact: getattr(about, fact) for fact in facts} == facts
    accepted(about, typed)


def test_levels_of_parquet_are_read_as_text() -> None:
    about = of_column(pl.Series("x", ["a", "b", "a"], pl.Categorical))
    assert (about.type, about.top) == ("category", (("a", 2), ("b", 1)))
    assert of_column(pl.Series("x", ["1", "2", "1"], pl.Enum(["1", "2"]))).type == "integer"


def test_an_odd_value_in_the_last_row_is_found() -> None:
    about, typed = found([*map(str, range(20_000)), "?", "twelve"], rows=1)
    assert (about.type, about.odd, about.odd_rows, about.missing) == ("integer", ("twelve",), 1, 1)
    assert (about.maximum, about.unique, typed.null_count()) == (19_999, False, 2)


def test_a_fraction_in_the_last_row_makes_numbers_of_them_all() -> None:
    about, typed = found([*map(str, range(20_000)), "0.5"], rows=1)
    assert (about.type, typed[-1]) == ("number", 0.5)


def test_a_second_with_a_fraction_in_the_last_row_is_a_time() -> None:
    about, typed = found(
        [*(f"2024-01-13 14:{i // 60 % 60:02}:{i % 60:02}" for i in range(3_000)), "2024-01-13 14:05:00.5"], 1
    )
    assert (about.type, about.odd_rows, typed.null_count()) == ("time", 0, 0)


def test_what_has_many_values_identifies_or_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "DISTINCT", 100)
    about, _ = found([f"order {i}" for i in range(500)], rows=1)
    assert (about.type, about.unique, about.top, about.number) == ("text", True, (), "500")
    about, _ = found([f"order {i}" for i in range(500)], rows=2)
    assert (about.type, about.unique, about.repeated) == ("text", False, ())
    assert about.number == f"about {about.distinct}" and about.distinct == pytest.approx(500, rel=0.05)
    about, _ = found([f"it came late, said number {i}, and broken" for i in range(500)], rows=1)
    assert (about.type, round(about.about["words"])) == ("text", 8)


@pytest.mark.parametrize("most", [100, 10_000])
@pytest.mark.parametrize("kind", [pl.String, pl.Int64])
def test_values_that_come_again_are_counted_where_nearly_each_row_has_its_own(
    monkeypatch: pytest.MonkeyPatch, most: int, kind: Any
) -> None:
    monkeypatch.setattr(profiles, "DISTINCT", most)
    whole = pl.Series("x", [*range(100, 600), 103, 103, 107]).cast(pl.String)
    about = of_column((whole if kind == pl.Int64 else "no " + whole).cast(kind))
    assert (about.distinct, about.unique, about.exact) == (500, False, True)
    assert [(str(value).removeprefix("no "), rows) for value, rows in about.repeated] == [("103", 3), ("107", 2)]


PEOPLE = [f"Anna Li{'nda' * i}" for i in range(1, 60)]
LOWER = [name.lower() for name in PEOPLE]


@pytest.mark.parametrize(
    ("name", "values", "personal"),
    [
        ("x", PEOPLE, "names"),
        ("x", LOWER, None),
        ("x", ["New York", "San Francisco"] * 40, None),
        ("last_name", [name.split()[1] for name in PEOPLE] * 40, "names"),
        ("name", LOWER, "names"),
        ("first", [name.split()[1] for name in LOWER] * 40, "names"),
        ("customerName", LOWER * 10, "names"),
        ("Gast", LOWER * 10, "names"),
        ("Nachname", [name.split()[1] for name in PEOPLE] * 40, "names"),
        ("Name des Gastes", PEOPLE * 50, "names"),
        ("name", ["Order 1", "Order 2"] * 40, None),
        ("Division Name", ["General", "General Petite", "Intimates"] * 40, None),
        ("Class Name", PEOPLE[:20] * 40, None),
        ("city_name", PEOPLE * 40, None),
    ],
)
def test_names_are_many_and_told_by_their_looks_or_by_the_columns_name(
    name: str, values: Sequence[str], personal: str | None
) -> None:
    assert of_column(pl.Series(name, values)).personal == personal


def test_rare_marks_of_thousands_are_odd() -> None:
    about = of_column(pl.Series("x", [*(f"{each},25" for each in range(3_000)), "1.250,00"]), comma=True)
    assert (about.type, about.maximum, about.odd) == ("number", 2999.25, ("1.250,00",))


def test_decimal_commas_are_read_and_points_are_odd() -> None:
    about = of_column(pl.Series("x", ["1,5", "2,25", *["3"] * 100, "1.000"]), comma=True)
    assert (about.type, about.maximum, about.odd) == ("number", 3.0, ("1.000",))


def test_a_table_is_profiled_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "table.csv").write_bytes(lines(good()))
    table = read(str(tmp_path / "table.csv"))
    about = profile(table)
    assert {name: column.type for name, column in about.items()} == {
        "when": "time",
        "amount": "number",
        "kind": "category",
        "label": "integer",
    }
    typed = table.frame.select(column.value() for column in about.values()).collect()
    assert typed.null_count().row(0) == (0, 0, 0, 0) and typed.columns == list(about)
    assert capsys.readouterr() == ("", "")  # no terminal, no bar


@pytest.mark.parametrize("name", UNTOLD)
def test_what_cannot_be_told_is_not_guessed(tmp_path: Path, name: str) -> None:
    content, column = UNTOLD[name]
    (tmp_path / name).write_bytes(content)
    about = profile(read(str(tmp_path / name)), show=False)[column]
    assert about.type in ("mixed", "empty") or about.odd or about.order == "unclear"
    assert about.type == "empty" or about.order == "unclear" or (about.odd and about.odd_rows)


@pytest.mark.parametrize("name", NOTHING)
def test_a_table_without_a_value_is_refused(tmp_path: Path, name: str) -> None:
    content, word = NOTHING[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=word):
        profile(read(str(tmp_path / name)))
