"""contract.yaml: what it says, and a sentence for each mistake that people make in it."""

from pathlib import Path

import pytest

from pipeline import contract, reading
from pipeline.params import BadInput
from tests.tables import ROOT, ours

TEXT = (ROOT / "tests/contract.yaml").read_text()
AMOUNT = "{type: number, range: [0, 100_000], about: What it cost}"
LABEL = 'label: {column: returned, positive: "Yes", negative: "No", delay: 2}'
INPUTS = "inputs:\n  amount: {type: number}\n"


def refusal(text: str) -> str:
    """What is said of a contract."""
    with pytest.raises(BadInput) as refused:
        contract.parse(text, "c", ROOT / contract.SCHEMA)
    return str(refused.value)


def changed(old: str, new: str) -> str:
    """The unit tests' contract with a change."""
    assert TEXT.count(old) == 1
    return TEXT.replace(old, new)


def test_it_says_what_a_row_is() -> None:
    found = ours()
    assert found.identity == ("binary", "returned", "Yes", None, "order_id")
    assert (found.row.many, found.entities.one, found.positives.many) == ("orders", "customer", "returns")
    assert [column.name for column in found.inputs] == [
        *("amount", "items", "express", "größe €", "model_config", "a.b", "born")
    ]
    assert found.column("größe €").most == 50 and found.column("model_config").categories == ("basic", "extra")
    assert (found.column("amount").minimum, found.column("amount").maximum) == (0, 100_000)


def test_computed_inputs_stand_in_the_place_of_the_columns() -> None:
    found = contract.parse(TEXT + INPUTS, schema=ROOT / contract.SCHEMA)
    assert [column.name for column in found.inputs] == ["amount"]


def test_the_repositorys_own_is_as_its_schema_says(owned: None) -> None:
    assert contract.check(ROOT / contract.CONTRACT, ROOT / contract.SCHEMA) == contract.load(ROOT / contract.CONTRACT)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('positive: "Yes"', "positive: Yes", 'label.positive is `Yes`, which is true to YAML; quote it: "Yes"'),
        ("[basic, extra]", "[YES, NO]", 'categories.1 is `NO`, which is false to YAML; quote it: "NO"'),
        ("[basic, extra]", "[2020-01-01, b]", "categories.0 is `2020-01-01`, which is a date to YAML; quote it"),
        ("[basic, extra]", "[007, b]", 'categories.0 is `007`, which is 7 to YAML; quote it: "007"'),
        ("[basic, extra]", "[1, 2]", 'categories.1 is 2; it has to be text; quote it: "2"'),
        ("[basic, extra]", "[true, b]", 'categories.0 is true; it has to be text; quote it: "true"'),
        ("[basic, extra]", "[null, b]", "categories.0 is empty; it has to be text"),
        ("[basic, extra]", "[b, b]", "columns.model_config.categories is ['b', 'b']; it may hold each value once"),
        ("[basic, extra]", "all", "categories is 'all'; it has to be a whole number or a list"),
        ("100_000]", "1e5]", "range.1 is `1e5`, which is text to YAML, and a number to DVC; write 100000.0"),
        ("100_000]", "inf]", "columns.amount.range.1 is 'inf'; it has to be a number or null"),
        ("100_000]", "1e999]", "columns.amount.range.1 is '1e999'; it has to be a number or null"),
        ("100_000]", ".nan]", "columns.amount: range has nan; write null where there is no limit"),
        ("100_000]", f"{'9' * 400}]", "9999...; write null where there is no limit"),
        ("100_000]", f"0x{'f' * 9000}]", "cannot be read (line 13, column 37: not what it looks like to YAML (Exceeds"),
        ("100_000]", "2020-13-01]", "cannot be read (line 13, column 37: not what it looks like to YAML (month must"),
        ("100_000]", ".inf]", "columns.amount: range has inf; write null where there is no limit"),
        ("[0, 100_000]", "[9, 1]", "columns.amount: range goes from 9 to 1; write the smaller one first"),
        ("  amount:", "  on:", 'columns: the name `on` is true or false to YAML; quote it: "on"'),
        ("  amount:", "  2024:", 'columns: the name `2024` is a number to YAML; quote it: "2024"'),
        ("  amount:", "  ~:", "columns: the name `~` is nothing to YAML; quote it"),
        ("  amount:", "  _age:", "columns: the name '_age' is not written as it has to be; write a column's name"),
        ("  amount:", "  items:", "cannot be read (line 14, column 3: `items` stands twice)"),
        (
            "  express: {type: boolean}",
            "  {express?: 1, sent at?}: 1",
            "but got '?'; put a name or a value with such characters in quotes)",
        ),
        ("  amount:", "  @amount:", "'@' that cannot start any token; put a name or a value with such"),
        ("  amount:", "  a: amount:", "mapping values are not allowed here; put a name or a value with such"),
        ("  amount:", "\tamount:", "'\\t' that cannot start any token)"),
        (f"amount: {AMOUNT}", "amount: number", "columns.amount is 'number'; it has to be a block of `name: value`"),
        (f"amount: {AMOUNT}", "amount: {type: float}", "boolean, category, text, time; did you mean `number`?"),
        (f"amount: {AMOUNT}", "amount: {tpye: text}", "tpye is nothing that a contract says; did you mean `type`"),
        (f"amount: {AMOUNT}", "amount: {}", "columns.amount.type is missing"),
        (f"amount: {AMOUNT}", 'amount: {type: number, about: "\\ud800"}', "column 33: half of a character)"),
        ("{type: boolean}", "{type: boolean, missing: yes}", "express.missing is `yes`, which is true to YAML"),
        ("{type: boolean}", "{type: boolean, range: [0, 1]}", "express: has a range, which only type integer or"),
        ("{type: boolean}", "{type: boolean, categories: 5}", "express: has categories, which only type category"),
        ("{type: boolean}", '{type: boolean, format: "%d.%m.%Y"}', "express: has a format, which only type time"),
        (
            "task: binary",
            "task: ranking",
            "task is 'ranking'; it has to be one of binary, multiclass, regression",
        ),
        ("task: binary", "task: multiclass", "label.positive is for task: binary; take it out"),
        (
            "task: binary",
            "task: multiclass",
            "label.classes is missing; write three or more, such as",
        ),
        ("task: binary", "task: regression", "label.interval is missing; write the share of labels"),
        ("task: binary", "task: regression", "label.negative is for task: binary; take it out"),
        ("delay: 2}", "delay: 2, unit: €}", "label.unit is for task: regression; take it out"),
        ("delay: 2}", "delay: 2, classes: [a, b, c]}", "label.classes is for task: multiclass; take it out"),
        ("entity: customer\n", "entity: customer\ngroup: page\n", "group is 'page', which is no column"),
        ("entity: customer\n", "entity: customer\ngroup: customer\n", "entity and group are both 'customer'"),
        ("time: ordered_at", "time: 7", "time is 7"),
        ("time: ordered_at\n", "", "time is missing"),
        ("time: ordered_at", "time: amount", "time is 'amount', of type number; it has to be of type time"),
        ("entity: customer\n", "entity: null\n", "entity is empty; leave the line out where rows belong to nobody"),
        ("entity: customer\n", "entity: custmer\n", "entity is 'custmer', which is no column; did you mean `customer`"),
        ("entity: customer\n", "entity: order_id\n", "id and entity are both 'order_id'; name another column"),
        ("entity: customer\n", "entiti: customer\n", "entiti is nothing that a contract says; did you mean `entity`?"),
        ("id: order_id", "id: order-id", "id is 'order-id', which is no column; did you mean `order_id`?"),
        ("order_id: {type: text}", "order_id: {type: text, missing: true}", "is true, but a row has to have its id"),
        ("column: returned,", "column: retruned,", "label.column is 'retruned', which is no column; did"),
        ("delay: 2", "delay: null", "label.delay is empty; write the days until a label is known, 0 for none"),
        ("delay: 2", "delay: 7.5", "label.delay is 7.5; it has to be a whole number"),
        ('positive: "Yes"', "positive: 1", "label.positive is 1, and returned is of type category; write quoted"),
        ('negative: "No"', 'negative: "Yes"', "label.positive and label.negative are both 'Yes'"),
        (LABEL, "label: returned", "label is 'returned'; it has to be a block of `name: value`; write {col"),
        (
            "category, missing",
            'category, categories: ["yes", "No"], missing',
            "is 'Yes', no category of its column; did you",
        ),
        (
            "[basic, extra]",
            f"[{'x' * 1001}, b]",
            "xxx...; it may have 1,000 characters at most",
        ),
        ("[basic, extra]", f"{[str(n) for n in range(10_001)]}", "it may hold 10,000 values at most"),
        ('positive: "Yes"', f"positive: {'y' * 201}", "it may have 200 characters at most"),
        (
            "  amount:",
            "".join(f"  c{n}: {{type: number}}\n" for n in range(500)) + "  amount:",
            "columns is a block of `name: value`; it may hold 500 lines at most",
        ),
        ("row: [order, orders]", "row: order", "words.row is 'order'; it has to be a list; write one and many"),
        (
            "problem: returned-orders",
            'problem: "returned-orders\\n"',
            "problem is 'returned-orders\\n'; it is not written as",
        ),
        ("row: [order, orders]", 'row: [order, "orders\\n"]', "words.row.1 is 'orders\\n'; it is not written as"),
        ("problem: returned-orders", "problem: Returned orders", "problem is 'Returned orders'; it is not written as"),
    ],
)
def test_a_mistake_is_named_and_what_to_do(old: str, new: str, words: str) -> None:
    said = refusal(changed(old, new))
    assert words in said and all(line.startswith("c: ") for line in said.splitlines())


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("  amount: {type: text}", "inputs.amount.type is text, which identifies; an input is integer, number"),
        ("  amount: {type: number, input: false}", "inputs.amount.input: stands in `columns` alone; take it out"),
        ("  customer: {type: integer}", "inputs.customer is entity, which a model learns nothing from"),
        ("  returned: {type: category}", "inputs.returned is label.column, which a model learns nothing from"),
    ],
)
def test_a_computed_input_that_cannot_be_is_named(inputs: str, words: str) -> None:
    assert words in refusal(f"{TEXT}inputs:\n{inputs}\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1",
        "text",
        "[" * 5000,
        "a: *b",
        "a: &b [1]\nc: *b",
        "a: [",
        "\x00",
        f"problem: {'9' * 5000}",
        "? [a]\n: 1",
    ],
)
def test_what_is_no_contract_at_all_is_said_in_a_line(text: str) -> None:
    """Also of a request that nobody trusts."""
    assert refusal(text).startswith("c: ") and "Traceback" not in refusal(text)


def test_all_mistakes_are_said_at_once() -> None:
    text = changed("time: ordered_at", "tiem: ordered_at").replace("delay: 2", "delay: -1")
    assert len(refusal(text).splitlines()) == 3


def test_a_file_that_is_not_there_or_no_text_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not there, and has to say what a row is"):
        contract.load(tmp_path / "contract.yaml")
    (tmp_path / "contract.yaml").write_bytes(b"\xff")
    with pytest.raises(BadInput, match="cannot be read"):
        contract.load(tmp_path / "contract.yaml")


def test_a_stage_that_reads_a_broken_one_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "contract.yaml").write_text(changed(LABEL, "label: returned"))
    with pytest.raises(BadInput, match="label is 'returned'; it has to be a block"):
        contract.load(tmp_path / "contract.yaml")


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("Amuont", ["items", "amount"], "did you mean `amount`?"),
        ("id", ["rate_marriage", "age"], "it may be rate_marriage, age"),
        ("id", [f"column {number:02}" for number in range(22)], "column 19 or 2 others"),
        ("id", [], "take it out"),
    ],
)
def test_a_name_is_suggested_only_where_it_is_near(word: str, known: list[str], said: str) -> None:
    assert reading.nearest(word, known).endswith(said)


# --- other tasks ---

SEVERAL = "task: multiclass", 'label: {column: returned, classes: ["Yes", "No", later], delay: 2}'
NUMBER = "task: regression", "label: {column: amount, unit: €, interval: 0.9, delay: 2}"


def of(task: str, label: str, more: str = "") -> str:
    """The unit tests' contract with another task."""
    return TEXT.replace("task: binary", task).replace(LABEL, label + more)


def test_several_classes_are_in_the_order_of_their_codes() -> None:
    label = contract.parse(of(*SEVERAL), schema=ROOT / contract.SCHEMA).label
    assert (label.values, label.positive, label.unit) == (("Yes", "No", "later"), None, None)


def test_a_number_has_a_unit_and_an_interval() -> None:
    found = contract.parse(of(*NUMBER), schema=ROOT / contract.SCHEMA)
    assert (found.label.values, found.label.unit, found.label.interval) == ((), "€", 0.9)
    assert found.identity == ("regression", "amount", None, "€", "order_id")
    assert "amount" not in [column.name for column in found.inputs]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            of(*SEVERAL).replace('"Yes", "No", later', "a, b"),
            "label.classes is ['a', 'b']; it has to hold 3 values at least; write three or more",
        ),
        (of(*SEVERAL).replace('"Yes", "No", later', "a, b, a"), "it may hold each value once"),
        (
            of(*SEVERAL).replace('"Yes", "No", later', "a, b, 7"),
            "classes.2 is 7, and returned is of type category",
        ),
        (
            of(*SEVERAL).replace("later", '"late\\n::error::r"'),
            "classes.2 is 'late\\n::error::r'; it is not written as it has to be; write a value in one line",
        ),
        (of(*SEVERAL, more="\ngroup: items"), "group is for task: binary or regression; take it out"),
        (of(*NUMBER).replace("column: amount", "column: returned"), "label.column is 'returned', of type category"),
        (of(*NUMBER).replace("interval: 0.9", "interval: 90"), "label.interval is 90"),
        (of(*NUMBER).replace(", unit: €", ""), "label.unit is missing"),
    ],
)
def test_a_mistake_in_another_task_is_named(text: str, words: str) -> None:
    assert words in refusal(text)
