"""The service: right answers to good rows, a reason for bad ones, in process and as a Bento that was built."""

import asyncio
import importlib
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import onnx
import polars as pl
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from schemathesis import GenerationMode

from pipeline import log, model, monitor, request, tasks
from pipeline.model import Input
from tests import by_task, tables
from tests.browser import opened
from tests.tables import ROOT, write_policies

pytestmark = [  # what BentoML and Starlette have yet to mend
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Using `httpx`"),
]

PROBLEM, INPUTS = tables.problem(), tables.inputs()
ID, TIME = PROBLEM.id, str(PROBLEM.time)
GOOD: dict[str, Any] = {
    **{"amount": 12, "items": 1, "express": False, "größe €": "klein", "model_config": "basic", "a.b": 0.5},
    "born": "1980-01-01",
}


def row(identifier: str = "1", **changed: Any) -> dict[str, Any]:
    """A good row, with `changed` in place."""
    return {ID: identifier, **GOOD, **changed}


def body(*rows: Any) -> str:
    """The request of these rows, as JSON."""
    return json.dumps({"rows": rows})


def in_days(days: float) -> str:
    """A moment so many days from now, in UTC."""
    return str(datetime.now(UTC).replace(tzinfo=None) + timedelta(days=days))


def without(*names: str) -> dict[str, Any]:
    """A row that lacks columns."""
    return {key: value for key, value in row().items() if key not in names}


def named(name: str, value: Any) -> dict[str, Any]:
    """A row with a value in the column of that name, which need be no name in Python."""
    return {**row(), name: value}


# What is refused: the body, the row and the field that the refusal names, and a word of its reason.
BAD: dict[str, tuple[str | bytes, list[Any], str]] = {
    "missing": (body(row(), without("amount")), ["rows", 1, "amount"], "required"),
    "unknown": (body(row(colour=1)), ["rows", 0, "colour"], "not permitted; it may be order_id, amount, "),
    "misspelt": (body(row(amuont=1)), ["rows", 0, "amuont"], "not permitted; did you mean `amount`?"),
    "the entity": (body(row(customer=1)), ["rows", 0, "customer"], "not permitted; it may be order_id, amount, "),
    "a name without end": (body(row() | {"{said}" * 99_999: 1}), ["rows", 0, "{said}" * 99_999], "not permitted; it"),
    "names without end": (body(row() | {f"amount{at}": 1 for at in range(99_999)}), ["rows", 0, "amount0"], "`amount`"),
    "a name of ours": (body(row(c0=1)), ["rows", 0, "c0"], "not permitted"),
    "a string": (body(row(amount="12.5")), ["rows", 0, "amount"], "valid number"),
    "a boolean": (body(row(amount=True)), ["rows", 0, "amount"], "valid number"),
    "a boolean for an integer": (body(row(items=True)), ["rows", 0, "items"], "valid integer"),
    "a fraction for an integer": (body(row(items=1.5)), ["rows", 0, "items"], "integer"),
    "null": (body(row(amount=None)), ["rows", 0, "amount"], "valid number"),
    "not a number": (body(row(amount=float("nan"))), ["rows", 0, "amount"], "finite"),
    "not a number where it may be missing": (body(named("a.b", float("nan"))), ["rows", 0, "a.b"], "finite"),
    "infinite": (body(row(amount=float("inf"))), ["rows", 0, "amount"], "finite"),
    "infinite once read": (body(row(amount=7)).replace("7,", "1e999,", 1), ["rows", 0, "amount"], "finite"),
    "below its range": (body(row(), row(), row(amount=-0.01)), ["rows", 2, "amount"], "greater than or equal"),
    "above its range": (body(row(amount=100_000.5)), ["rows", 0, "amount"], "less than or equal to 100000"),
    "larger than any integer": (body(row(items=10**300)), ["rows", 0, "items"], "less than"),
    "a number for a boolean": (body(row(express=1)), ["rows", 0, "express"], "valid boolean"),
    "a text for a boolean": (body(row(express="yes")), ["rows", 0, "express"], "valid boolean"),
    "outside a closed list": (body(row(model_config="other")), ["rows", 0, "model_config"], "'basic' or 'extra'"),
    "null where the list is closed": (body(row(model_config=None)), ["rows", 0, "model_config"], "'basic' or"),
    "an empty text": (body(named("größe €", "")), ["rows", 0, "größe €"], "at least 1 character"),
    "what the graph takes for missing": (body(named("größe €", "\0")), ["rows", 0, "größe €"], "match pattern"),
    "a text that is too long": (body(named("größe €", "a" * 1_001)), ["rows", 0, "größe €"], "at most 1000"),
    "a number for a text": (body(named("größe €", 42)), ["rows", 0, "größe €"], "valid string"),
    "half a character": (body(row()).replace("klein", "\\ud800"), [], "Invalid JSON"),
    "no time": (body(row(born="last year")), ["rows", 0, "born"], "valid datetime"),
    "a time as a number": (body(row(born=1534204800)), ["rows", 0, "born"], "valid datetime"),
    "a time without a year in UTC": (body(row(born="0001-01-01T00:00+23:00")), ["rows", 0, "born"], "valid datetime"),
    "before the century": (body(named(TIME, "1999-12-31T23:59:59")), ["rows", 0, TIME], "from 2000-01-01"),
    "the day after tomorrow": (body(named(TIME, in_days(1.01))), ["rows", 0, TIME], "a day from now"),
    "the end of time": (body(named(TIME, "9999-12-31T23:59:59-23:00")), ["rows", 0, TIME], "valid datetime"),
    "the start of time": (body(named(TIME, "0001-01-01T00:00+23:00")), ["rows", 0, TIME], "valid datetime"),
    "no moment": (body(named(TIME, "yesterday")), ["rows", 0, TIME], "valid datetime"),
    "a moment as a number": (body(named(TIME, 1534204800)), ["rows", 0, TIME], "valid datetime"),
    "a moment that is null": (body(named(TIME, None)), ["rows", 0, TIME], "valid datetime"),
    "no identifier": (body(without(ID)), ["rows", 0, ID], "required"),
    "an empty identifier": (body(row("")), ["rows", 0, ID], "at least 1 character"),
    "a long identifier": (body(row("a" * 1_001)), ["rows", 0, ID], "at most 1000"),
    "an identifier of another type": (body({**row(), ID: 1}), ["rows", 0, ID], "valid string"),
    "no object": (body(3), ["rows", 0], "object"),
    "no rows": (body(), ["rows"], "at least 1"),
    "too many rows": (body(*[row()] * 1001), ["rows"], "at most 1000"),
    "rows that are no list": ('{"rows": {}}', ["rows"], "array"),
    "nothing": ("", [], "Invalid JSON"),
    "an unknown key": (json.dumps({"rows": [row()], "verbose": 1}), ["verbose"], "not permitted"),
    "no JSON": ("amount=1", [], "Invalid JSON"),
    "JSON without an end": ("[" * 100_000, [], "Invalid JSON"),
    "no text": (b"\xff\xfe\x00", [], "Invalid JSON"),
}


def assert_refused(answer: httpx.Response, where: list[Any], reason: str) -> None:
    """The answer is a 400 that names the place and the reason, and nothing else."""
    assert answer.status_code == 400, answer.text
    refusals = answer.json()["detail"]
    assert any(refusal["loc"] == where and reason in refusal["msg"] for refusal in refusals), refusals
    assert "Traceback" not in answer.text


OUTPUTS = {"score": TensorProto.DOUBLE, "alert": TensorProto.BOOL}


def write_tiny_model(directory: Path) -> None:
    """A model directory whose score is the sigmoid of a thousandth of the sum of its numbers, a missing one being 0."""
    kinds = {model.NUMBERS: TensorProto.DOUBLE, model.TEXTS: TensorProto.STRING}
    weight = helper.make_tensor("by", TensorProto.DOUBLE, [], [0.001])
    zero = helper.make_tensor("zero", TensorProto.DOUBLE, [], [0])
    columns = helper.make_tensor("columns", TensorProto.INT64, [1], [0])
    graph = helper.make_graph(
        [
            helper.make_node("IsNaN", [model.NUMBERS], ["missing"]),
            helper.make_node("Where", ["missing", "zero", model.NUMBERS], ["there"]),
            helper.make_node("ReduceSum", ["there", "columns"], ["total"], keepdims=0),
            helper.make_node("Mul", ["total", "by"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["score"]),
            helper.make_node("GreaterOrEqual", ["score", "half"], ["alert"]),
        ],
        "tiny",
        [helper.make_tensor_value_info(name, kind, ["columns", "rows"]) for name, kind in kinds.items()],
        [helper.make_tensor_value_info(name, kind, ["rows"]) for name, kind in OUTPUTS.items()],
        [weight, zero, columns, helper.make_tensor("half", TensorProto.DOUBLE, [], [0.5])],
    )
    graph_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(graph_model)
    files = {"model.onnx": graph_model.SerializeToString()}
    about: dict[str, Any] = {
        "problem": PROBLEM,
        "family": "linear",
        "processor": "any",
        "inputs": INPUTS,
        "settled": {},
    }
    model.write(directory, **about, outputs=list(OUTPUTS), files=files)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the tiny model."""
    directory = tmp_path_factory.mktemp("tiny") / "model"
    write_tiny_model(directory)
    return directory


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service in this process writes its log."""
    return tmp_path_factory.mktemp("predictions")


@pytest.fixture(scope="module")
def service(tiny: Path, logged: Path) -> Iterator[ModuleType]:
    """pipeline.service, imported with the tiny model; it writes its log several times a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL", str(tiny))
        patch.setenv("PREDICTION_LOG", str(logged))
        patch.setenv("PREDICTION_LOG_SECONDS", "0.2")
        patch.delitem(sys.modules, "pipeline.service", raising=False)
        yield importlib.import_module("pipeline.service")
        del sys.modules["pipeline.service"]


@pytest.fixture(scope="module")
def client(service: ModuleType) -> Iterator[httpx.Client]:
    """A client of the whole application, in this process."""
    from starlette.testclient import TestClient

    with TestClient(service.Scorer.to_asgi(), headers={"content-type": "application/json"}) as client:
        yield client


def fitted(tiny: Path, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    """What the service has to say of rows: with the days that a time lies before the row's own moment."""
    pairs = [(in_utc(row[TIME]), in_utc(row.get("born") or "")) for row in rows]
    days = [None if born is None or at is None else (at - born) / timedelta(days=1) for at, born in pairs]
    table = {column.name: [row.get(column.name) for row in rows] for column in INPUTS}
    out = model.load(tiny).predict(table | {"born": days})
    said = zip(rows, out["score"].tolist(), out["alert"].tolist(), strict=True)
    return [{ID: row[ID], "score": score, "alert": alert} for row, score, alert in said]


AT: dict[str, Any] = {TIME: "2020-01-02T03:04:05.678"}


def test_answers_come_back_with_their_identifiers(client: httpx.Client, tiny: Path) -> None:
    rows = [row("7", amount=100.5, **AT), row("ü 3", amount=2, **AT), row("7", express=True, **AT)]
    rows += [row("8", **AT) | {"a.b": -99_999.0}]
    answer = client.post("/predict", content=body(*rows)).json()
    assert answer == {"predictions": fitted(tiny, *rows), "model": model.load(tiny).digest}
    assert [prediction["alert"] for prediction in answer["predictions"]] == [True, True, True, False]


def test_what_may_be_missing_is_null_or_left_out(client: httpx.Client, tiny: Path) -> None:
    rows = [row(**AT, born=None) | {"a.b": None, "größe €": None}, {**without("born", "a.b", "größe €"), **AT}]
    assert client.post("/predict", content=body(*rows)).json()["predictions"] == fitted(tiny, *rows)


def test_a_category_without_a_closed_list_takes_any_text(client: httpx.Client, logged: Path) -> None:
    said = ["nobody's", "NaN", "None", " ", "a" * 1_000, "x\0", "日本 🚲"]
    headers = {"x-request-id": "any-text"}
    answer = client.post("/predict", content=body(*(named("größe €", text) for text in said)), headers=headers)
    assert answer.status_code == 200
    assert in_log(logged, "any-text", len(said))["größe €"].to_list() == said


def test_a_time_is_days_before_the_row_s_own(client: httpx.Client, logged: Path) -> None:
    times = ["2020-01-01T03:04:05.678", "2020-01-01", "2020-01-03T03:04:05.678Z", "2020-01-01T01:04:05.678-02:00", None]
    rows = [row(**AT, born=said) for said in times]
    assert client.post("/predict", content=body(*rows), headers={"x-request-id": "days"}).status_code == 200
    found = in_log(logged, "days", len(rows))["born"].to_list()
    assert found == [1, pytest.approx(1.1278435), -1, 1, None]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_told_where_and_why(client: httpx.Client, name: str, caplog: pytest.LogCaptureFixture) -> None:
    content, where, reason = BAD[name]
    assert_refused(client.post("/predict", content=content), where, reason)
    assert not caplog.records, "a client's mistake is not ours to log"


def test_a_fault_of_ours_is_logged(
    client: httpx.Client, service: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(service.model), "given", lambda *_: 1 / 0)
    answer = client.post("/predict", content=body(row()))
    assert answer.status_code == 500
    assert "ZeroDivisionError" in caplog.text


def test_the_edges_of_a_range_are_in_it(client: httpx.Client) -> None:
    ranged = [column for column in INPUTS if column.minimum is not None and column.maximum is not None]
    lowest: dict[str, Any] = {column.name: column.minimum for column in ranged}
    highest: dict[str, Any] = {column.name: column.maximum for column in ranged}
    assert client.post("/predict", content=body(row(**lowest), row(**highest))).status_code == 200
    largest: dict[str, Any] = {"items": 2**63 - 1, "a.b": 2**63 - 1}
    assert client.post("/predict", content=body(row(**largest))).json()["predictions"][0]["score"] == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "application/vnd.bentoml+pickle"}, 415),
        ({"content-length": str(2**40)}, 413),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_what_no_reader_should_touch_stops_at_the_door(
    client: httpx.Client, headers: dict[str, str], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.post("/predict", content=body(row()), headers=headers)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"].startswith("send ")
    assert not caplog.records


def test_a_body_of_unknown_length_stops_at_the_door(client: httpx.Client) -> None:
    assert client.post("/predict", content=iter([body(row()).encode()])).status_code == 411


def test_the_api_page_tells_each_column_under_its_own_name(client: httpx.Client) -> None:
    page = client.get("/docs.json").json()["components"]["schemas"]
    columns, asked = page["Row"]["properties"], page["Row"]["required"]
    assert list(columns) == [ID, *(column.name for column in INPUTS), TIME]
    assert asked == [ID, *(column.name for column in INPUTS if not column.missing)]
    assert list(page["Prediction"]["properties"]) == [ID, "score", "alert"]
    assert page["Prediction"]["properties"]["score"]["description"] == "Probability that returned is Yes"
    assert all(columns[name]["title"] == name for name in columns)
    assert columns["amount"]["description"] == "What it cost"
    assert (columns["amount"]["minimum"], columns["amount"]["maximum"]) == (0, 100_000)
    assert columns["model_config"]["enum"] == ["basic", "extra"]
    assert columns["born"]["anyOf"] == [{"type": "string", "format": "date-time"}, {"type": "null"}]


HARD = (
    "schema",
    "model_fields",
    "copy",
    "class",
    "__class__",
    "self",
    "rows",
    "identifier",
    "moment",
    "c1",
    "a-b",
    "$x",
)


def test_whatever_columns_are_called_they_are_asked_for_by_that_name() -> None:
    inputs = [Input(name, "integer") for name in HARD]
    whole = tables.problem()
    asked = request.request_model(whole, inputs)
    values = dict(zip(HARD, range(len(HARD)), strict=True))
    assert asked.model_validate_json(body({whole.id: "a", **values})).rows == [{whole.id: "a", **values, TIME: None}]
    for name in HARD:
        with pytest.raises(ValidationError, match="1 validation error") as caught:
            asked.model_validate_json(body({whole.id: "a", **values, name: "x"}))
        assert caught.value.errors()[0]["loc"] == ("rows", 0, name)


def test_a_row_without_a_time_of_its_own_says_none() -> None:
    asked = request.request_model(replace(tables.problem(), time=None), ())
    assert asked.model_validate_json(body({ID: "a"})).rows == [{ID: "a"}]
    for name in (TIME, "_time"):
        with pytest.raises(ValueError, match="Extra inputs are not permitted"):
            asked.model_validate_json(body({ID: "a", name: "2020-01-01T00:00:00"}))


def test_an_identifier_may_be_an_integer() -> None:
    whole = replace(tables.problem(), id_type="integer")
    asked = request.request_model(whole, ())
    rows = [{ID: -(2**63) + 1}, {ID: 2**63 - 1}]
    assert [row[ID] for row in asked.model_validate_json(body(*rows)).rows] == [row[ID] for row in rows]
    for wrong in ("1", 2**63, True, 1.5, None):
        with pytest.raises(ValueError, match="1 validation error"):
            asked.model_validate_json(body({ID: wrong}))


def test_a_level_longer_than_others_may_be_is_taken_where_it_was_learned() -> None:
    asked = request.request_model(tables.problem(), [Input("x", "category", levels=("a" * 2_000,))])
    assert asked.model_validate_json(body({ID: "a", "x": "a" * 2_000}))


@pytest.mark.parametrize("name", ["score", "alert"])
def test_an_identifier_that_is_called_as_a_part_of_the_answer_is_refused(service: ModuleType, name: str) -> None:
    with pytest.raises(SystemExit, match=f"contract.yaml: id is `{name}`"):
        request.answer_model(replace(tables.problem(), id=name))


def test_without_a_model_one_sentence_ends_the_process(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import pipeline.service"],
        env={**os.environ, "MODEL": str(tmp_path / "nowhere")},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "nowhere" in run.stderr
    assert len(run.stderr.splitlines()) == 1


# Rows that nobody thought of

DRIVEN = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), max_examples=200
)
ODD = ["", "\0", "a" * 1_000, "a" * 1_001, "2020-02-30", 2**63, 1e300]


def allowed(column: Input, value: Any) -> bool:
    """Whether the contract allows a value, as JSON decodes it."""
    kind = type(value)
    if value is None:
        return column.missing
    match column.type:
        case "boolean":
            return kind is bool
        case "integer" | "number":
            as_read = float if column.type == "number" else int
            lowest = -as_read(2**63 - 1) if column.minimum is None else column.minimum
            highest = as_read(2**63 - 1) if column.maximum is None else column.maximum
            number = kind is int or (kind is float and column.type == "number")
            return number and bool(lowest <= value <= highest)  # which NaN is not
        case "time":
            return kind is str and in_utc(value) is not None
        case _ if column.categories:
            return kind is str and value in column.categories
        case _:
            return kind is str and 0 < len(value) <= 1_000 and not value.startswith("\0")


def in_utc(said: str) -> datetime | None:
    """A time of ISO 8601 in UTC, without a zone; None for any other text."""
    try:
        found = datetime.fromisoformat(said)
        return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    except (ValueError, OverflowError):
        return None


def values(column: Input) -> st.SearchStrategy[Any]:
    """Any value that JSON knows, and more of those that lie at an end of what the column allows."""
    ends = [float(end) for end in (column.minimum, column.maximum) if end is not None]
    near = [(end, int(end), end - 1, int(end) + 1, math.nextafter(end, -1e9), math.nextafter(end, 1e9)) for end in ends]
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    times = st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat)
    plain = st.none() | st.booleans() | st.integers() | st.floats() | text | times
    known = st.sampled_from([*chain(*near), *(column.categories or ()), *column.levels, *ODD])
    return known | plain | st.lists(plain, max_size=2) | st.dictionaries(text, plain, max_size=2)


@pytest.mark.parametrize("column", INPUTS, ids=lambda column: column.type)
@settings(DRIVEN, max_examples=100)
@given(data=st.data())
def test_any_value_is_answered_as_the_model_does_or_told_where_it_is_wrong(
    client: httpx.Client, tiny: Path, column: Input, data: st.DataObject
) -> None:
    """One row of three holds it: the others are good, and are refused with it."""
    rows, value = [row(str(at), **AT) for at in range(3)], data.draw(values(column), "value")
    rows[at := data.draw(st.integers(0, 2), "row")][column.name] = value
    answer = client.post("/predict", content=body(*rows))
    if allowed(column, value):
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"] == fitted(tiny, *rows)
    else:
        assert answer.status_code == 400
        assert [refusal["loc"][:3] for refusal in answer.json()["detail"]][0] == ["rows", at, column.name]


# The prediction log


def in_log(logged: Path, name: str, count: int = 1) -> pl.DataFrame:
    """The rows of the request of that name, once so many are there."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        rows = log.read(str(logged), date(2000, 1, 1), date(2100, 1, 1))
        if not rows.is_empty() and len(found := rows.filter(_request_id=name)) >= count:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{name} is not in the log")


def test_what_was_asked_and_answered_is_logged(client: httpx.Client, logged: Path, tiny: Path) -> None:
    asked = [
        row("7", amount=100.5, **{TIME: "2018-08-14T23:59:59.5"}),
        row("3", express=True, **{TIME: "2018-08-14T23:00-02:00"}),
    ]
    answer = client.post("/predict", content=body(*asked), headers={"x-request-id": "two"}).json()
    found = in_log(logged, "two", 2).sort(log.TIME)
    parts = {ID: log.ID, **{name: log.kept(name) for name in OUTPUTS}}
    assert found.select(pl.col(name).alias(part) for part, name in parts.items()).to_dicts() == answer["predictions"]
    assert found[log.MODEL].to_list() == [model.load(tiny).digest] * 2
    assert found[log.TIME].to_list() == [datetime(2018, 8, 14, 23, 59, 59, 500_000), datetime(2018, 8, 15, 1)]
    for name in GOOD.keys() - {"born"}:
        assert found[name].to_list() == [row[name] for row in asked]
    assert {date(2018, 8, 14), date(2018, 8, 15)} <= set(log.days(str(logged)))


def test_a_row_that_does_not_say_when_happened_now(client: httpx.Client, logged: Path) -> None:
    before = datetime.now(UTC)
    client.post("/predict", content=body(row(), row()), headers={"x-request-id": "now"})
    moments = in_log(logged, "now", 2)[log.TIME].dt.replace_time_zone("UTC")
    assert moments.is_between(before, datetime.now(UTC)).all()


@pytest.mark.parametrize("said", ["a", "Root=1-67891233-abcdef012345678912345678", "a" * 128, "urn:x/1.2+3@b_c;d"])
def test_a_request_keeps_its_id(client: httpx.Client, said: str) -> None:
    for content in (body(row()), body()):  # an answer and a refusal
        assert client.post("/predict", content=content, headers={"x-request-id": said}).headers["x-request-id"] == said


@pytest.mark.parametrize(
    "said",
    [b"", b" ", b"a b", b"a" * 129, b"a\tb", b"$(reboot)", b"<script>", b"`a`", b"[a](b)", b"::error::a", b"\xff\xfe"],
)
def test_a_hostile_request_id_is_replaced(client: httpx.Client, logged: Path, said: bytes) -> None:
    headers = [(b"x-request-id", said), (b"content-type", b"application/json")]
    names = {client.post("/predict", content=body(row()), headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(names) == 2
    for name in names:
        assert re.fullmatch("[0-9a-f]{32}", name)
        in_log(logged, name)


def test_storage_that_fails_fails_no_request(
    client: httpx.Client, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = []

    def fail(*arguments: Any) -> None:
        failed.append(arguments)
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(log.Folder, "put", fail)
        while not failed:
            assert client.post("/predict", content=body(row()), headers={"x-request-id": "kept"}).status_code == 200
    in_log(logged, "kept")


@pytest.mark.parametrize(
    ("policy", "variables", "sentence"),
    [
        ("{personal: {amount: drop}, retention_days: 9}", {}, "personal.amount is 'drop'; write hash or omit"),
        (None, {"PREDICTION_LOG_SECONDS": "soon"}, "PREDICTION_LOG_SECONDS is 'soon'"),
        (None, {"PREDICTION_LOG": "nosuch://bucket"}, "PREDICTION_LOG is nosuch://bucket"),
    ],
)
def test_a_log_that_cannot_be_kept_ends_the_start_in_a_sentence(
    tiny: Path, tmp_path: Path, policy: str | None, variables: dict[str, str], sentence: str
) -> None:
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline")
    write_policies(tmp_path)
    if policy:
        (tmp_path / "policies/log.yaml").write_text(policy)
    run = subprocess.run(
        [sys.executable, "-c", "import pipeline.service"],
        env={**os.environ, "MODEL": str(tiny), **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert sentence in run.stderr
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", ["", json.dumps({"model": "sha256:ab", "columns": {}})])
def test_a_profile_that_is_not_the_model_s_ends_the_start_in_a_sentence(
    tiny: Path, tmp_path: Path, content: str
) -> None:
    shutil.copytree(tiny, tmp_path / "model")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/profile.json").write_text(content)
    variables = {**os.environ, "MODEL": str(tmp_path / "model"), "PREDICTION_LOG": str(tmp_path / "log")}
    run = subprocess.run(
        [sys.executable, "-c", "import pipeline.service"], env=variables, cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 1
    [sentence] = run.stderr.splitlines()
    assert f"{tmp_path}/reports/profile.json: is " in sentence and "make it again with `make model`" in sentence


# Other tasks


@dataclass(frozen=True)
class Other:
    """The service with a model of another task: its model, its log and its counters."""

    scorer: Any
    model: model.Model
    logged: Path
    counted: CollectorRegistry

    def ask(self, name: str) -> list[dict[str, Any]]:
        """What is predicted of a row of each of the AMOUNTS, in a request of that name, as a caller reads it."""
        asked = body(*(row(str(at), amount=amount) for at, amount in enumerate(AMOUNTS)))
        return list(json.loads(self.scorer.answer(asked.encode(), name))["predictions"])


@pytest.fixture
def other(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Other]:
    """The service of the task that a test is parametrized with, in this process, without BentoML before it."""
    made, registry = by_task.write_model(tmp_path / "model", request.param, INPUTS), CollectorRegistry()
    places = {"MODEL": tmp_path / "model", "PREDICTION_LOG": tmp_path / "log", "PREDICTION_LOG_SECONDS": "0.1"}
    for name, value in places.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delitem(sys.modules, "pipeline.service", raising=False)
    service = importlib.import_module("pipeline.service")
    scorer = service.Scorer.inner(registry)
    yield Other(scorer, made, tmp_path / "log", registry)
    scorer.close()


AMOUNTS = (12.5, 150, 400)
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "multiclass": [{"class": "No"}, {"class": "Late"}, {"class": "Yes"}],
    "regression": [
        {"prediction": 35.25, "low": 34.25, "high": 36.25},
        {"prediction": 38, "low": 36, "high": 42},
        {"prediction": 43, "low": 41, "high": 47},
    ],
}
COUNTED: dict[str, list[tuple[str, dict[str, str]]]] = {
    "multiclass": [("scorer_class_total", {"class": name}) for name in ("No", "Late", "Yes")],
    "regression": [("scorer_prediction_bucket", {"le": end}) for end in ("36.0", "+Inf")],
}


@pytest.mark.parametrize("other", ANSWERS, indirect=True)
def test_an_answer_is_what_the_task_says_and_counted_so(other: Other) -> None:
    problem = other.model.problem
    other.ask("first")
    answer = other.ask("second")
    assert [each.pop(ID) for each in answer] == ["0", "1", "2"]
    for said, right in zip(answer, ANSWERS[problem.task], strict=True):
        if problem.task == "multiclass":
            shares = said.pop("probabilities")
            assert list(shares) == list(problem.values) and sum(shares.values()) == pytest.approx(1)
            assert max(shares, key=lambda name: shares[name]) == right["class"]
        assert said == pytest.approx(right)
    other.scorer.meters.add()
    counted = [other.counted.get_sample_value(*each) for each in COUNTED[problem.task]]
    assert counted == ([2, 2, 2] if problem.task == "multiclass" else [2, 6])


@pytest.mark.parametrize("other", ANSWERS, indirect=True)
def test_a_row_that_is_tried_has_the_same_answer_and_leaves_nothing_behind(other: Other) -> None:
    (right, *_), before = other.ask("asked"), sum(1 for _ in other.logged.rglob("*.parquet"))
    said = json.loads(other.scorer.tried(body(row("0", amount=AMOUNTS[0])).encode()))
    shares = said["answer"].pop("probabilities", {}), right.pop("probabilities", {})
    assert shares[0] == pytest.approx(shares[1]) and {ID: "0"} | said["answer"] == right
    assert said["model"] == other.model.digest and said["usual"] is None, "there is no profile"
    assert (said["about"] is None) == (other.model.problem.task == "regression")
    with pytest.raises(ValidationError, match="at most 1 item"):
        other.scorer.tried(body(row("0"), row("1")).encode())
    other.scorer.meters.add()
    values = [other.counted.get_sample_value(f"scorer_{name}_total") for name in ("tried", "rows")]
    assert values == [1, len(AMOUNTS)] and len(other.scorer.log.rows) + before <= len(AMOUNTS)


@pytest.mark.parametrize("other", ANSWERS, indirect=True)
def test_what_is_logged_is_what_the_model_said(other: Other) -> None:
    other.ask("told")
    found = in_log(other.logged, "told", len(AMOUNTS)).sort(log.ID)
    kinds = log.answers(other.model.problem)
    assert {name: found.schema[name] for name in kinds} == kinds
    said = tasks.taken(monitor.answered(found, other.model.problem)[monitor.OUT])
    right = other.model.predict({name: found[name] for name in other.model.names})
    assert said.keys() == right.keys()
    for name, values in right.items():
        np.testing.assert_allclose(said[name], values, rtol=1e-12)


@pytest.mark.parametrize("other", ANSWERS, indirect=True)
def test_the_api_page_tells_the_parts_of_an_answer(other: Other) -> None:
    problem = other.model.problem
    page = request.answer_model(problem).model_json_schema()["$defs"]["Prediction"]["properties"]
    parts = tasks.task(problem.task).answers(problem)
    assert list(page) == [ID, *parts]
    assert all(page[name]["description"] == part.about for name, part in parts.items())
    if problem.task == "multiclass":
        assert page["class"]["enum"] == ["No", "Late", "Yes"]
        assert page["probabilities"]["additionalProperties"] == {"type": "number"}
    for name in parts:
        with pytest.raises(SystemExit, match=f"contract.yaml: id is `{name}`"):
            request.answer_model(replace(problem, id=name))


# As it ships: built into a Bento, served by BentoML


@pytest.fixture(scope="module")
def bento(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Bento that was built, with nothing but the tiny model and this code."""
    work = tmp_path_factory.mktemp("bento")
    write_policies(work)
    for name in ("pipeline", "bentofile.yaml", "requirements-service.txt"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, work / name)
    shutil.copytree(tiny, work / "model")
    bins = {"ends": [0.0, 1.0], "shares": [[0.25, 0.25, 0.5, 0.0]] * 7}
    (work / "reports").mkdir()
    (work / "reports/profile.json").write_text(
        json.dumps({"model": model.load(tiny).digest, "columns": {"amount": bins}})
    )
    subprocess.run([*BENTOML, "build", "--version", "tiny"], cwd=work, env=environment(work), check=True)
    for name in ("pipeline", "policies", "model", "reports"):  # what is served is what was built
        shutil.rmtree(work / name)
    return work


BENTOML = [sys.executable, "-m", "bentoml"]


def environment(work: Path) -> dict[str, str]:
    """The environment of BentoML's commands."""
    ours = ("MODEL", "PREDICTION_LOG", "PREDICTION_LOG_SECONDS")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "BENTOML_HOME": str(work / "build/bentoml"), "BENTOML_DO_NOT_TRACK": "True"}


@contextmanager
def serving(work: Path, *options: str, **variables: str) -> Iterator[str]:
    """The address of the served Bento; it is ended as Kubernetes and Ctrl-C end it, and has logged no traceback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    output = work / "log"
    command = [*BENTOML, "serve", "scorer:tiny", "--host", "127.0.0.1", "--port", str(port), *options]
    with output.open("w") as file:
        server = subprocess.Popen(
            command, cwd=work, env=environment(work) | variables, stdout=file, stderr=file, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200, server)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
    assert "Traceback" not in output.read_text(), output.read_text()


HOSTILE = (
    "<meta http-equiv=refresh content='0;url=/livez'><script>document.title = 'owned'</script>"
    "<img src=x onerror=\"document.title = 'owned'\">"
)


@pytest.fixture(scope="module")
def address(bento: Path, tiny: Path) -> Iterator[str]:
    """The address of the served Bento, whose model was promoted; somebody has found a way to spoil its card."""
    digest, card = model.load(tiny).digest, bento / "MODEL_CARD.md"
    card.write_text(f"# Model card\n\nModel <code>{digest}</code>, released.\n\n## Limits\n\n{HOSTILE}\n")
    with serving(bento, MODEL_CARD=str(card), PROMOTED_MODEL=digest) as url:
        yield url


def wait_until(ready: Callable[[], bool], server: subprocess.Popen[Any], seconds: float = 60) -> None:
    """Waits until the server answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        try:
            if ready():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"not ready after {seconds} s")


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
def test_what_is_made_of_the_api_s_own_words_ends_in_no_fault(address: str, mode: GenerationMode) -> None:
    described = schemathesis.openapi.from_dict(httpx.get(f"{address}/docs.json").json())
    asked: list[Any] = [operation.ok() for operation in described.get_all_operations()]  # type: ignore[union-attr]
    assert {"/predict", "/metrics", "/livez", "/readyz"} <= {operation.path for operation in asked}

    @DRIVEN
    @given(case=st.one_of([operation.as_strategy(generation_mode=mode) for operation in asked]))
    def drive(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url=address)
        content = json.dumps(sent["json"]) if "json" in sent else sent.get("data")
        answer = caller.request(sent["method"], sent["url"], content=content, headers=dict(sent["headers"]))
        assert answer.status_code < 500, answer.text

    with httpx.Client(timeout=30) as caller:
        drive()


@pytest.mark.slow
def test_two_hundred_at_once_each_get_their_own_answer(address: str, tiny: Path) -> None:
    digest = model.load(tiny).digest
    kinds = list(BAD)

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        if number % 2:
            content, where, reason = BAD[kinds[number // 2 % len(kinds)]]
            assert_refused(await patiently(client, content), where, reason)
            return
        asked = row(str(number), amount=float(number), **AT)
        answer = (await patiently(client, body(asked))).json()
        assert answer == {"predictions": fitted(tiny, asked), "model": digest}

    async def patiently(client: httpx.AsyncClient, content: str | bytes) -> httpx.Response:
        while (answer := await client.post("/predict", content=content)).status_code == 429:
            await asyncio.sleep(float(answer.headers["retry-after"]))
        return answer

    async def ask_all() -> None:
        limits = httpx.Limits(max_connections=200)
        headers = {"content-type": "application/json"}
        async with httpx.AsyncClient(base_url=address, limits=limits, headers=headers, timeout=60) as client:
            await asyncio.gather(*(ask(client, number) for number in range(200)))

    asyncio.run(ask_all())


@pytest.mark.slow
def test_it_says_that_it_lives_what_it_scored_and_with_which_model(address: str, tiny: Path) -> None:
    def counted() -> float:
        metrics = httpx.get(f"{address}/metrics").text
        return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("scorer_rows_total"))

    assert httpx.get(f"{address}/livez").status_code == 200
    assert httpx.get(f"{address}/readyz").status_code == 200
    before = counted()
    assert httpx.post(f"{address}/predict", json={"rows": [row(), row(), row()]}).status_code == 200
    assert counted() == before + 3
    metrics = httpx.get(f"{address}/metrics").text
    assert f'scorer_model_info{{model="{model.load(tiny).digest}",release="tiny"}} 1.0' in metrics
    assert "scorer_promoted_info{" in metrics
    assert "scorer_score_bucket" in metrics
    assert 'service_version="tiny"' in metrics


@pytest.mark.slow
@pytest.mark.parametrize("width", [1100, 390])
def test_a_browser_scores_a_row_on_the_page_and_is_told_a_mistake(address: str, width: int) -> None:
    with opened() as page:
        page.open(f"{address}/", width)
        page.until("document.querySelector('form [name=amount]')")
        words = str(page.run("document.body.innerText"))
        assert PROBLEM.name in words and "This is the model in production." in words and "Limits" in words
        assert page.run("document.querySelector('[name=amount]').value") == "1", "the usual one"
        page.type("[name=amount]", "-5")
        page.type("[name=items]", "many")
        page.click("form button")
        page.until("document.querySelector('[name=amount][aria-invalid]')")
        wrong = page.run("[...document.querySelectorAll('.wrong:not(:empty)')].map((each) => each.textContent)")
        assert [words.split(" or ")[0] for words in wrong][:2] == [
            "Input should be greater than",
            "Input should be a valid integer",
        ]
        assert page.run("document.querySelector('#answer').hidden")
        for name, value in {"amount": "900", "items": "2", "born": "1980-01-01"}.items():
            page.type(f"[name={name}]", value)
        for name, value in {"express": "false", "model_config": "basic"}.items():
            page.run(f"document.querySelector('[name={name}]').value = '{value}'")
        page.click("form button")
        page.until("!document.querySelector('#answer').hidden")
        answer = str(page.run("document.querySelector('#answer').innerText"))
        assert re.search(r"score\s+1\b", answer) and "Why" in answer and "amount" in answer, answer
        assert page.run("document.querySelector('.wrong:not(:empty)')") is None
        assert page.run("document.documentElement.scrollWidth") <= width, "nobody has to scroll sideways"
        assert {urlsplit(url).netloc for url in page.asked} == {urlsplit(address).netloc}
        assert page.run("document.title") == PROBLEM.name and not [
            each for each in page.failed if "violates" not in each and "Refused" not in each
        ]


@pytest.mark.slow
def test_made_up_paths_leave_nothing_in_the_metrics(address: str) -> None:
    for number in range(5):
        assert httpx.get(f"{address}/made-up/{number}").status_code == 404
    assert "made-up" not in httpx.get(f"{address}/metrics").text


@pytest.mark.slow
def test_two_workers_log_every_row_once_and_the_last_ones_at_the_end(bento: Path) -> None:
    with serving(bento, "--api-workers", "2", PREDICTION_LOG=str(bento / "two")) as url:
        for number in range(100):
            assert httpx.post(f"{url}/predict", json={"rows": [row(str(number))]}).status_code == 200  # each to either
        assert not (bento / "two").exists(), "nothing was due before the end"
    rows = log.read(str(bento / "two"), date(2000, 1, 1), date(2100, 1, 1))
    assert sorted(map(int, rows[log.ID])) == list(range(100))


@pytest.mark.slow
def test_two_workers_count_every_value_once_and_tell_what_they_expect_once(bento: Path) -> None:
    where = {"PREDICTION_LOG": str(bento / "counted"), "PREDICTION_LOG_SECONDS": "0.2", "PROMOTED_MODEL": "sha256:cd"}
    with serving(bento, "--api-workers", "2", **where) as url:

        def counted(name: str) -> dict[str, float]:
            lines = (line.rsplit(" ", 1) for line in httpx.get(f"{url}/metrics").text.splitlines())
            return {labels[len(name) :]: float(value) for labels, value in lines if labels.startswith(name)}

        for number in range(100):  # each to either
            asked = row(str(number), amount=number % 4)
            assert httpx.post(f"{url}/predict", json={"rows": [asked]}).status_code == 200
        wanted = {"<=0": 25.0, "<=1": 25.0, ">1": 50.0, "missing": 0.0}
        deadline = time.monotonic() + 20
        while sum((found := counted("scorer_values_total")).values()) < 100 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert found == {f'{{bin="{name}",column="amount"}}': value for name, value in wanted.items()}
        assert sum(counted("scorer_profile_share").values()) == 1
        assert counted("scorer_promoted_info") == {'{model="sha256:cd"}': 1}
        assert counted("scorer_log_held_rows") == {"": 0}
        assert counted("scorer_log_written_timestamp_seconds")[""] == pytest.approx(time.time(), abs=30)


@pytest.mark.slow
def test_a_service_whose_storage_is_gone_answers_and_ends_in_time(bento: Path) -> None:
    (bento / "file").touch()
    with serving(bento, PREDICTION_LOG=str(bento / "file/log"), PREDICTION_LOG_SECONDS="0.1") as url:
        for _ in range(20):
            assert httpx.post(f"{url}/predict", json={"rows": [row()]}).status_code == 200
            time.sleep(0.02)
        assert 'scorer_log_lost_rows_total{reason="storage"} 0.0' in httpx.get(f"{url}/metrics").text
    assert "loses a part" in (bento / "log").read_text()
