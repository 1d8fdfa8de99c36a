"""What `make adopt` takes columns for, and what it asks: out of profiles, without a table."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from pipeline.adopt import asked as arguments
from pipeline.adopt import decide, profile
from pipeline.adopt.asked import Asked
from pipeline.adopt.decide import Choice, Day, Found, Roles, Split
from pipeline.adopt.label import Label, unit_of
from pipeline.adopt.profile import Profile
from pipeline.params import BadInput

ROWS = 1000
TABLE = "my table.csv"


def column(name: str, kind: str = "number", **about: Any) -> Profile:
    """A profile, of a number unless it says otherwise."""
    kinds: dict[str, dict[str, Any]] = {
        "number": {"distinct": 700, "minimum": 0.5, "maximum": 9.5},
        "integer": {"distinct": 40, "minimum": 0, "maximum": 39},
        "boolean": {"distinct": 2, "words": ("No", "Yes")},
        "category": {"distinct": 4},
        "text": {"distinct": 900},
        "time": {"distinct": 90, "minimum": datetime(2024, 1, 1), "maximum": datetime(2024, 3, 30)},
    }
    usual = kinds.get(kind, {"distinct": 0})
    counts: dict[str, Any] = {"rows": ROWS, "missing": 0, "markers": (), "unique": about.get("distinct") == ROWS}
    return Profile(**{"name": name, "type": kind, "value": lambda: pl.col(name), **counts, **usual, **about})


def two(name: str, first: Any, second: Any, kind: str = "category", **about: Any) -> Profile:
    """A column of two values."""
    return column(name, kind, distinct=2, top=((first, 700), (second, 300)), **about)


def profiles(*columns: Profile) -> dict[str, Profile]:
    return {each.name: each for each in (*columns, column("size"))}


CHURN = two("churn", "No", "Yes", "boolean", words=("No", "Yes"))
ORDER = column("order_id", "text", distinct=ROWS)


def asked(**more: Any) -> Asked:
    return Asked(**{"table": TABLE, "label": "churn", **more})


def roles(*columns: Profile, delivered: str | None = None, **more: str) -> Roles:
    return decide.roles(profiles(*columns), asked(**more), delivered)


def refused(*columns: Profile, delivered: str | None = None, **more: str) -> str:
    with pytest.raises(BadInput) as raised:
        roles(*columns, delivered=delivered, **more)
    return str(raised.value)


# --- the label ---


@pytest.mark.parametrize(
    "label, kind, positive, negative",
    [
        (CHURN, "category", "Yes", "No"),
        (two("churn", False, True, "boolean", words=None), "boolean", True, False),
        (two("churn", False, True, "boolean", words=("False", "True")), "boolean", True, False),
        (two("churn", False, True, "boolean", words=("0", "1")), "integer", 1, 0),
        (two("churn", 0, 1, "integer"), "integer", 1, 0),
        (two("churn", 1, -1, "integer"), "integer", 1, -1),
        (two("churn", "nein", "JA"), "category", "JA", "nein"),
    ],
)
def test_a_plain_label_is_taken(label: Profile, kind: str, positive: Any, negative: Any) -> None:
    found = roles(label).label
    assert (found.task, found.type, found.values, found.positive) == ("binary", kind, (negative, positive), positive)


def test_positive_turns_a_plain_label_round() -> None:
    assert roles(CHURN, positive="no").label.positive == "No"


@pytest.mark.parametrize(
    "label, more, says",
    [
        (two("churn", "left", "stayed"), {}, "POSITIVE=left or POSITIVE=stayed"),
        (two("churn", 1, 2, "integer"), {}, "POSITIVE=1 or POSITIVE=2"),
        (two("churn", "left", "stayed"), {"positive": "gone"}, "`churn` holds left and stayed"),
        (two("churn", "nein", "ja"), {"positive": "yes"}, "POSITIVE=ja"),
        (CHURN, {"label": "churned"}, "did you mean `churn`?"),
        (CHURN, {"label": "churned"}, "TABLE='my table.csv' LABEL=churn"),
        (CHURN, {"label": ""}, "LABEL: which column is predicted?"),
        (column("churn", "category", distinct=1, top=(("a", 9),)), {}, "every row is a"),
        (column("churn", "empty"), {}, "no row has a value"),
        (column("churn", "time"), {}, "90 different moments"),
        (two("churn", 0.5, 1.5, "number"), {}, "write two whole numbers or words"),
        (CHURN, {"delay": "soon"}, "DELAY=soon: write the days"),
    ],
)
def test_a_label_that_cannot_be_told_is_a_sentence(label: Profile, more: dict[str, str], says: str) -> None:
    assert says in refused(label, **more)


# --- which task ---


def few(name: str, *values: Any, kind: str = "integer", rows: int = 100) -> Profile:
    """A column of these values, so many rows each."""
    about = {"minimum": min(values), "maximum": max(values)} if kind == "integer" else {}
    return column(name, kind, distinct=len(values), top=tuple((value, rows) for value in values), **about)


SIZES = few("churn", "small", "large", "middle", kind="category")
STARS = few("churn", 3, 1, 2, 5, 4)


@pytest.mark.parametrize(
    "label, more, task, values",
    [
        (SIZES, {}, "multiclass", ("large", "middle", "small")),
        (replace(STARS, name="room type"), {"label": "room type"}, "multiclass", (1, 2, 3, 4, 5)),
        (STARS, {"task": "multiclass"}, "multiclass", (1, 2, 3, 4, 5)),
        (STARS, {"task": "regression", "unit": "stars"}, "regression", ()),
        (STARS, {"unit": "stars"}, "regression", ()),
        (replace(STARS, name="age_years"), {"label": "age_years"}, "regression", ()),
        (column("churn"), {"unit": "€"}, "regression", ()),
        (column("churn", "integer"), {"unit": "pieces"}, "regression", ()),
        (few("churn", *range(40), rows=9), {"task": "multiclass"}, "multiclass", tuple(range(40))),
        (two("churn", 0, 1, "integer"), {"unit": "pieces"}, "regression", ()),
    ],
)
def test_the_task_follows_from_the_label_and_from_what_is_said(
    label: Profile, more: dict[str, str], task: str, values: tuple[Any, ...]
) -> None:
    found = roles(label, **more).label
    assert (found.task, found.values, found.positive) == (task, values, None)


@pytest.mark.parametrize(
    "label, more, says",
    [
        (STARS, {}, "TASK: `churn` holds 5 whole numbers (1, 2, 3, 4, 5), and whether these are classes or a number"),
        (few("churn", 1, 2, 3, rows=9), {}, "(1, 2, 3; 3 have under 10 rows (1 in 9 rows"),
        (
            few("churn", "a", "b", "c", kind="category", rows=9),
            {},
            "join them to others in the table, or say TASK=multiclass",
        ),
        (column("churn"), {}, "UNIT: what is `churn` measured in?"),
        (column("churn", "integer", distinct=40), {}, "where its values are classes, TASK=multiclass"),
        (column("churn"), {"unit": "€" * 21}, "has 20 printable characters at most"),
        (two("churn", 0.5, 1.5, "number"), {}, "TASK=regression UNIT='€'"),
        (two("churn", 0.5, 1.5, "number"), {"task": "binary"}, "write two whole numbers or words"),
        (
            SIZES,
            {"positive": "small"},
            "POSITIVE=small: is for one of two values, and `churn` is one of several classes",
        ),
        (SIZES, {"unit": "€"}, "UNIT=€: is for a number, and `churn` is one of several classes; leave it out"),
        (CHURN, {"unit": "€"}, "UNIT=€: is for a number, and `churn` is one of two values"),
        (
            column("churn"),
            {"unit": "€", "positive": "1"},
            "POSITIVE=1: is for one of two values, and `churn` is a number",
        ),
        (SIZES, {"task": "binary"}, "TASK=binary: `churn` holds 3 values, not two"),
        (SIZES, {"task": "regression"}, "TASK=regression: `churn` holds no numbers"),
        (CHURN, {"task": "multiclass"}, "TASK=multiclass: `churn` holds two values, which is TASK=binary"),
        (column("churn"), {"task": "multiclass"}, "numbers with decimals, which are no classes"),
        (column("churn", "integer", distinct=101), {"task": "multiclass"}, "100 classes are told apart at most"),
        (column("churn", "category", distinct=101), {}, "100 classes are told apart at most"),
        (column("churn", "text"), {}, "holds 900 different texts: free text is not predicted here"),
        (SIZES, {"task": "classes"}, "TASK=classes: it may be binary, multiclass, regression"),
        (few("churn", "a" * 201, "b", "c", kind="category"), {}, "is longer than the 200 characters of a class"),
        (column("churn", "mixed", distinct=9, odd=("1.234 EUR",)), {}, "what it holds cannot be told"),
    ],
)
def test_where_it_may_be_another_task_or_none_that_is_asked(label: Profile, more: dict[str, str], says: str) -> None:
    assert says in refused(label, **more)


def test_as_many_classes_as_a_contract_has_are_found() -> None:
    for number in (100, 101):
        found = profile.of_column(pl.Series("churn", [f"kind {row % number}" for row in range(20 * number)]))
        if number == 100:
            assert len(roles(found).label.values) == number
        else:
            assert "100 classes are told apart at most" in refused(found)


def test_each_answer_has_its_command_with_all_other_questions_answered() -> None:
    commands = refused(STARS, column("at", "time")).splitlines()[-2:]
    table = "make adopt TABLE='my table.csv' LABEL=churn"
    assert commands == [
        f"such as: {table} TASK=multiclass TIME=at",
        f"or: {table} TASK=regression TIME=at UNIT='€'",
    ]
    unclear = column("born", "time", order="unclear", format="%d/%m/%Y", missing=3)
    commands = refused(STARS, unclear).splitlines()[-2:]
    assert [command.split()[-1] for command in commands] == ["DATE=dmy", "DATE=mdy"]


@pytest.mark.parametrize(
    "name, unit",
    [
        *{
            "price_eur": "EUR",
            "Price (EUR)": "EUR",
            "weight (kg)": "kg",
            "sepal length [cm]": "cm",
            "mpg": "mpg",
        }.items(),
        *{"Preis in €": "€", "area_m2": "m2", "weightKg": "Kg", "open.days": "days", "speed (km/h)": "km/h"}.items(),
        *{"width (m)": "m", "share %": "%", "temperature (in °C)": "°C"}.items(),
        *{"price (net)": "", "temp_min": "", "m": "", "price": "", "walked in": "", "n_bar": "", "": ""}.items(),
    ],
)
def test_a_unit_is_what_a_name_ends_with(name: str, unit: str) -> None:
    assert unit_of(name) == unit


# --- the identifier, the time, the entity, the group ---


def test_rows_are_ranked_among_those_of_a_group() -> None:
    search = column("search", "text", distinct=90)
    found = roles(CHURN, search, group="search")
    assert found.group == "search" and roles(CHURN, search).group is None
    made = {c.name: c for c in decide.choices(profiles(CHURN, search), found)}
    assert made["search"].role == "group" and not made["search"].input
    price = roles(column("churn"), search, group="search", unit="€")
    assert price.group == "search"


@pytest.mark.parametrize(
    "label, group, says",
    [
        (CHURN, column("search", "text", distinct=90, missing=3), "GROUP=search: is missing in 3 rows"),
        (CHURN, column("search", "number"), "GROUP=search: is of type number"),
        (CHURN, column("search", "text", distinct=ROWS), "GROUP=search: has another value in each row"),
        (SIZES, column("search", "text", distinct=90), "GROUP=search: classes have no order to rank rows by"),
        (CHURN, column("shop", "text", distinct=90), "GROUP=search: the table has no such column"),
    ],
)
def test_what_can_be_no_group_is_refused(label: Profile, group: Profile, says: str) -> None:
    assert says in refused(label, group, group="search")


def test_the_one_unique_column_that_is_named_so_identifies() -> None:
    assert roles(CHURN, ORDER, column("code", "text", distinct=ROWS)).id == "order_id"


def test_where_no_name_says_so_the_one_code_does() -> None:
    code = column("who", "text", distinct=ROWS, about={"words": 1.0})
    assert roles(CHURN, code, column("row", "integer", distinct=ROWS)).id == "who"
    said = roles(CHURN, code, column("why", "text", distinct=ROWS, about={"words": 1.0}))
    assert said.id is None and "ID=who takes `who`" in said.why["id"]


@pytest.mark.parametrize(
    "others, says",
    [
        ([ORDER, column("customerKey", "integer", distinct=ROWS)], "`order_id`, `customerKey` are all unique"),
        ([column("review", "text", distinct=ROWS, about={"words": 30.0})], "ID=review takes `review`"),
        ([column("weight_id", "number", distinct=ROWS)], "no column is unique"),
    ],
)
def test_else_a_hash_of_the_row_does_and_that_is_said(others: list[Profile], says: str) -> None:
    found = roles(CHURN, *others)
    assert found.id is None
    assert says in found.why["id"]


NEARLY: dict[str, Any] = {"distinct": ROWS - 1, "repeated": (("RET-5", 2),)}
SAYS = "identifies all but 1 of 1,000 rows: 'RET-5' stands in 2 rows; remove the repeats from the table"


@pytest.mark.parametrize(
    "name, more",
    [
        ("order_id", {}),
        ("parcel", {"about": {"words": 1.0}}),
        ("order_id", {"type": "integer"}),
    ],
)
def test_one_doubled_line_does_not_cost_the_identifier_in_silence(name: str, more: dict[str, Any]) -> None:
    found = replace(column(name, "text"), **NEARLY, **more)
    said = refused(CHURN, found, column("weight", "integer"))
    assert said.startswith(f"ID: `{name}` {SAYS}")
    assert said.endswith("ID=none where a hash of the row is to identify it")
    assert SAYS in refused(CHURN, found, id=name)
    assert roles(CHURN, found, entity=name).entity == name
    assert roles(CHURN, found, id="none").id is None
    assert roles(CHURN, found, replace(ORDER, name="row key")).id == "row key"


@pytest.mark.parametrize(
    "name, more",
    [("order_no", {"distinct": 400}), ("weight", {"type": "integer", **NEARLY}), ("mail", {**NEARLY, "personal": "x"})],
)
def test_what_merely_repeats_is_no_such_identifier(name: str, more: dict[str, Any]) -> None:
    assert roles(CHURN, replace(column(name, "text", about={"words": 1.0}), **more)).id is None


@pytest.mark.parametrize(
    "more, says",
    [
        ({"id": "gone"}, "ID=gone: the table has no such column"),
        ({"id": "buyer_id"}, "ENTITY=buyer_id where rows of one value belong together"),
        ({"id": "size"}, "ID=size: has 700 values"),
        ({"entity": "size"}, "ENTITY=size: is of type number"),
        ({"id": "order_id", "entity": "order_id"}, "cannot be both id and entity"),
    ],
)
def test_columns_that_can_be_neither_are_refused(more: dict[str, str], says: str) -> None:
    assert says in refused(CHURN, ORDER, column("buyer_id", "integer", distinct=200), **more)


@pytest.mark.parametrize("name", ["id", "customerID", "order_no", "id_user", "userid", "UUID", "row key"])
def test_names_that_identify(name: str) -> None:
    assert decide.identifies(name)


@pytest.mark.parametrize("name", ["paid", "number_of_items", "valid", "amount", "key_rate", "", "€"])
def test_names_that_do_not(name: str) -> None:
    assert not decide.identifies(name)


@pytest.mark.parametrize("name", ["PatientID", "Patient", "customer_no", "Kundennr", "USER_ID", "Mitarbeiter-Nr"])
def test_names_that_speak_of_people(name: str) -> None:
    assert profile.of_people(name)


@pytest.mark.parametrize("name", ["order_id", "browser_id", "Clothing ID", "number", "impatient", "€"])
def test_names_that_speak_of_none(name: str) -> None:
    assert not profile.of_people(name)


def test_a_date_is_not_taken_for_the_time_of_a_row_unless_somebody_says_so() -> None:
    born = column("born", "time")
    said = refused(CHURN, born)
    assert "TIME=born where it is, TIME=none where nothing says it" in said
    assert said.endswith("such as: make adopt TABLE='my table.csv' LABEL=churn TIME=none")
    assert refused(CHURN, born, column("at", "time")).endswith("TIME=at"), "nobody's birth is when a row happened"
    assert roles(CHURN, born, time="born").time == "born"
    assert roles(CHURN, born, time="none").time is None
    assert "TIME=size: is of type number" in refused(CHURN, born, time="size")
    assert "is missing in 3 rows" in refused(CHURN, column("born", "time", missing=3), time="born")


def test_without_a_date_that_every_row_has_a_delivery_is_whole() -> None:
    assert roles(CHURN, column("left_at", "time", missing=700)).time is None


def test_the_days_of_files_are_the_time_where_nothing_else_is() -> None:
    file = column("delivered", "time")
    assert roles(CHURN, file, delivered="delivered").time == "delivered"
    assert "TIME=delivered where the day of its file does" in refused(
        CHURN, file, column("at", "time"), delivered="delivered"
    )


def test_all_that_cannot_be_told_is_asked_at_once() -> None:
    said = refused(two("churn", "left", "stayed"), column("at", "time"))
    assert said.splitlines()[-1] == "such as: make adopt TABLE='my table.csv' LABEL=churn TIME=at POSITIVE=left"


def test_a_name_that_nearly_is_a_columns_is_put_right_in_the_command() -> None:
    for given, meant in {"Churn": "churn", "chrun": "churn", "zz": "COLUMN"}.items():
        said = refused(CHURN, column("at", "time"), label=given)
        assert said.endswith(f"such as: make adopt TABLE='my table.csv' LABEL={meant} TIME=at")


def test_a_label_whose_values_differ_in_case_is_taken_as_it_is_written() -> None:
    for value in ("a", "A"):
        assert roles(two("churn", "a", "A"), positive=value).label.positive == value


def test_what_a_command_cannot_answer_alone_is_said_first() -> None:
    said = refused(two("churn", "left", "stayed"), column("paid", "mixed", odd=("1.234 EUR",)), delay="soon")
    assert [line.split(":")[0].split("=")[0] for line in said.splitlines()] == [
        "DELAY",
        "POSITIVE",
        "`paid` cannot be read, such as '1.234 EUR'",
        "then, such as",
    ]
    assert said.endswith("DELAY=30")


@pytest.mark.parametrize("name", ["user_id", "Kundennr", "Patient", "machine", "store", "AccountNumber"])
def test_who_a_row_may_be_of_is_pointed_out(name: str) -> None:
    assert decide.repeats(column(name, "integer", distinct=200))
    assert not decide.repeats(column("tenure", "integer", distinct=200))


def test_a_command_can_be_typed_as_it_stands() -> None:
    assert asked(label="it's $5", id="a b").command() == (
        "make adopt TABLE='my table.csv' LABEL='it'\"'\"'s $5' ID='a b'"
    )


# --- every column ---


def chosen(*columns: Profile, **more: str) -> dict[str, Choice]:
    known = profiles(CHURN, ORDER, *columns)
    return {c.name: c for c in decide.choices(known, decide.roles(known, asked(**more)))}


@pytest.mark.parametrize(
    "found, aside",
    [
        (column("x", "category", distinct=1), "one value"),
        (column("x", "empty"), "no value at all"),
        (column("x", "category", personal="names"), "names: personal"),
        (column("x", "integer", distinct=ROWS), "another value in each row: it identifies"),
        (column("card_no", "integer", distinct=400), "named like an identifier, and of many values"),
        (column("x", "category", distinct=1, missing=10), ""),
        (column("x", "integer", distinct=400), ""),
    ],
)
def test_what_is_no_input_says_why(found: Profile, aside: str) -> None:
    made = chosen(found)[found.name]
    assert (made.aside, made.input) == (aside, not aside)
    assert aside in made.why


def test_inputs_say_what_they_hold() -> None:
    made = chosen(
        column("tenure", "integer", missing=11, markers=(" ", "?")),
        column("change", minimum=-3.5),
        column("partner", "boolean"),
        column("city", "category", distinct=4000),
        column("note", "text"),
        column("born", "time", order="dmy", format="%d/%m/%Y"),
        time="none",
    )
    assert made["tenure"].least and made["tenure"].missing and not made["change"].least
    assert "11 missing (written ' ', '?')" in made["tenure"].why
    assert made["partner"].why == "Yes is true, No false"
    assert made["city"].levels == 1000 and "others are *other*" in made["city"].why
    assert not made["note"].input and "no input" in made["note"].why
    assert made["born"].why == "dates, 2024-01-01 to 2024-03-30, as days before the row, read as %d/%m/%Y"
    assert made["order_id"].role == "id" and not made["order_id"].input


def test_people_are_not_logged() -> None:
    assert chosen(column("mail", "text", personal="mail addresses"))["mail"].personal == "omit"


def test_a_hash_stands_first_where_nothing_identifies() -> None:
    known = profiles(CHURN, column("row", "category"))
    made = decide.choices(known, decide.roles(known, asked()))
    assert (made[0].name, made[0].source, made[0].role) == ("row of adopt", None, "id")
    assert [c.role for c in decide.together(made)[:3]] == ["id", "entity", "label"]


def test_names_are_as_a_contract_has_them() -> None:
    assert list(chosen(column("_score"), column("two\nlines"))) == ["churn", "order_id", "score", "two lines", "size"]


@pytest.mark.parametrize(
    "columns, says",
    [
        ([column(f"x{at}") for at in range(500)], "contract holds 500 at most"),
        ([column("x"), column("_x")], "`x`: several columns have this name"),
        ([column("x" * 101)], "a column's name has 100 characters at most"),
        (
            [column("x", "mixed", odd=("$1,200", "5%"))],
            "`x` cannot be read, such as '$1,200', '5%': write numbers as 1234.5, without marks or signs",
        ),
        ([column("x", odd=("abc",), odd_rows=3)], "`x` is of type number, but for 3 rows, such as 'abc'"),
        (
            [column("x", "mixed", odd=("3.967,00",))],
            "`x` is written with marks of thousands, such as '3.967,00': write 3967.00 (or 3967,00), without them",
        ),
        ([column("x", odd=("-1’234’567",), odd_rows=3)], "such as '-1’234’567': write -1234567, without them"),
        (
            [column("x", "mixed", odd=("1.714",))],
            "which may be 1714 or a decimal number: write 1714, or, with one more zero, 1.7140 (or 1,7140)",
        ),
    ],
)
def test_columns_that_no_contract_can_have_are_refused(columns: list[Profile], says: str) -> None:
    with pytest.raises(BadInput) as raised:
        chosen(*columns)
    assert says in str(raised.value)


def test_a_column_that_gives_the_label_away_is_no_input() -> None:
    made = decide.without(list(chosen(column("reason", "category")).values()), {"reason": 0.9999}, "churn")
    assert {c.name: c.aside for c in made if c.aside} == {"reason": "gives churn away"}


# --- what is noticed, and refused ---

LABEL = Label("churn", "binary", "category", 0, "plain", ("No", "Yes"), "Yes")


@pytest.mark.parametrize("rows, positives, says", [(99, 50, "99 rows"), (200, 19, "churn is Yes in 19 rows")])
def test_too_little_to_measure_by_is_refused(rows: int, positives: int, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        decide.refuse(Found(rows, (rows - positives, positives), {}), LABEL)
    decide.refuse(Found(100, (80, 20), {}), LABEL)


def test_what_is_noticed() -> None:
    known = profiles(
        CHURN, column("buyer_id", "integer", distinct=200), column("mail", "text", personal="mail addresses")
    )
    who = decide.roles(known, asked())
    found = Found(ROWS - 1, (ROWS - 11, 10), {}, giveaways={"size": 0.9995}, copies=2)
    said = "\n".join(decide.noticed(decide.choices(known, who), known, found, who, asked()))
    for each in (
        "0.01 of the known labels are Yes: few",
        "999 rows are few",
        "`size` gives churn away",
        "`mail` (mail addresses): of people",
        "make adopt TABLE='my table.csv' LABEL=churn ENTITY=buyer_id",
        "no identifier",
        "2 rows repeat another",
        "DELAY=30",
    ):
        assert each in said


def test_what_is_noticed_of_classes_and_of_a_number() -> None:
    who = decide.roles(profiles(SIZES), asked())
    said = "\n".join(decide.noticed([], profiles(SIZES), Found(ROWS, (690, 300, 10), {}), who, asked()))
    assert "the classes of the known labels: large 69%, middle 30%, small 1%" in said
    assert "under 20 rows are small (10 rows)" in said
    who = decide.roles(profiles(column("churn")), asked(unit="€"))
    unread = replace(column("churn"), markers=("", "NA"), minimum=-1.0)
    found = Found(ROWS, (ROWS,), {}, mean=40.5, deviation=7.25)
    said = "\n".join(decide.noticed([], profiles(unread), found, replace(who, group="x"), asked()))
    assert "`churn` is not known where it is 'NA'" in said and "labels below 0 are worth less than nothing" in said
    assert "the known labels are 40.5 € on average, with a standard deviation of 7.25" in said


def test_a_number_needs_labels_and_a_class_only_where_it_is_one_of_two() -> None:
    number = replace(LABEL, task="regression", values=(), positive=None)
    with pytest.raises(BadInput, match="churn is known in 99 rows"):
        decide.refuse(Found(200, (99,), {}), number)
    decide.refuse(Found(200, (100,), {}), number)
    decide.refuse(Found(200, (100, 97, 3), {}), replace(LABEL, task="multiclass", values=(1, 2, 3), positive=None))


# --- names and days ---


@pytest.mark.parametrize(
    "label, stem, name",
    [
        ("Churn", "table", "churn"),
        ("target", "car loans 2024", "car-loans-2024"),
        ("is_fraud", "x", "is-fraud"),
        ("y", "data", "data-y"),
        ("größe", "x", "grosse"),
        ("card fraud", "x", "card-fraud-own"),
        ("€", "$", "own-problem"),
    ],
)
def test_a_problem_is_named_after_its_label_or_its_file(label: str, stem: str, name: str) -> None:
    assert decide.problem(label, stem, "card-fraud") == name


@pytest.mark.parametrize("stem, one", [("loans", "loan"), ("deliveries", "delivery"), ("iris", "row"), ("data", "row")])
def test_rows_are_called_as_the_file_is_where_that_is_plain(stem: str, one: str) -> None:
    assert decide.noun(stem)[0] == one


def days(number: int, *known: int) -> dict[date, Day]:
    """So many days of ten rows each, `known` of each value."""
    return {date(2024, 1, 1) + timedelta(days=at): Day(10, known or (5, 5)) for at in range(number)}


def delayed(delay: int, task: str = "binary") -> Label:
    return replace(LABEL, delay=delay, task=task)


def test_the_last_fifth_is_tested_on_and_the_last_sixth_before_it_calibrates() -> None:
    assert decide.split(days(100), LABEL) == Split(date(2024, 4, 9), 80, 13, 20)
    assert decide.split(days(100), delayed(30)) == Split(date(2024, 4, 9), 50, 8, 20)


def test_more_are_where_a_class_is_rare_and_no_more_than_half() -> None:
    assert decide.split(days(50, 5, 1), LABEL).test == 20
    assert decide.split(days(30, 5, 1), LABEL).test == 15
    rare = days(50, 5, 5, 0) | {date(2024, 1, 1): Day(10, (1, 1, 8))}
    assert decide.split(rare, delayed(0, "multiclass")).test == 25


def test_a_number_has_three_hundred_labels_to_settle_its_interval_on_where_there_are_so_many() -> None:
    assert decide.split(days(100, 10), delayed(0, "regression")).calibrate == 30
    assert decide.split(days(50, 10), delayed(0, "regression")).calibrate == 20, "half of those that are learned from"
    assert decide.split(days(100, 100), delayed(0, "regression")).calibrate == 13


def test_days_whose_labels_are_not_known_yet_are_not_tested_on() -> None:
    assert decide.split(days(50) | {date(2024, 3, 1): Day(9, (0, 0))}, LABEL).until == date(2024, 2, 19)


@pytest.mark.parametrize("number, delay", [(1, 0), (2, 0), (10, 9), (10, 30)])
def test_too_few_days_to_learn_from_are_refused(number: int, delay: int) -> None:
    with pytest.raises(BadInput, match="left to learn from"):
        decide.split(days(number), delayed(delay))


@pytest.mark.parametrize(("said", "words"), [("2024-02-30", "is no day"), ("2162-01-01", "is a day to come")])
def test_a_day_that_cannot_be_is_refused(said: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        arguments.day(Asked("table.csv", date=said))
