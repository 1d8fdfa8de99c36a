"""The service: right answers to good rows, a reason for bad ones, in process and as a Bento that was built."""

import asyncio
import importlib
import json
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
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from pipeline import log, model, schema

pytestmark = [  # what BentoML and Starlette have yet to mend
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Using `httpx`"),
]

INPUTS = schema.feature_row((1, 7, 30))
ROOT = Path(__file__).parent.parent


def row(identifier: int = 1, **changed: Any) -> dict[str, Any]:
    """A good row, with `changed` in place."""
    values = {column.name: int(column.minimum or 0) for column in INPUTS}
    return {schema.ID: identifier, **values, **changed}


def body(*rows: Any) -> str:
    """The request of these rows, as JSON."""
    return json.dumps({"rows": rows})


def in_days(days: float) -> str:
    """A moment so many days from now, in UTC."""
    return str(datetime.now(UTC).replace(tzinfo=None) + timedelta(days=days))


def without(name: str) -> dict[str, Any]:
    """A row that lacks a column."""
    return {key: value for key, value in row().items() if key != name}


# What is refused: the body, the row and the field that the refusal names, and a word of its reason.
BAD: dict[str, tuple[str | bytes, list[Any], str]] = {
    "missing": (body(row(), without("tx_amount")), ["rows", 1, "tx_amount"], "required"),
    "unknown": (body(row(colour=1)), ["rows", 0, "colour"], "not permitted"),
    "a string": (body(row(tx_amount="12.5")), ["rows", 0, "tx_amount"], "valid number"),
    "a boolean": (body(row(tx_amount=True)), ["rows", 0, "tx_amount"], "valid number"),
    "a boolean for an integer": (body(row(tx_during_night=True)), ["rows", 0, "tx_during_night"], "valid integer"),
    "a fraction for an integer": (body(row(tx_during_night=0.5)), ["rows", 0, "tx_during_night"], "integer"),
    "null": (body(row(tx_amount=None)), ["rows", 0, "tx_amount"], "valid number"),
    "not a number": (body(row(tx_amount=float("nan"))), ["rows", 0, "tx_amount"], "finite"),
    "infinite": (body(row(tx_amount=float("inf"))), ["rows", 0, "tx_amount"], "finite"),
    "infinite once read": (body(row(tx_amount=7)).replace("7,", "1e999,", 1), ["rows", 0, "tx_amount"], "finite"),
    "below its range": (body(row(), row(), row(tx_amount=-0.01)), ["rows", 2, "tx_amount"], "greater than or equal"),
    "above its range": (body(row(terminal_risk_7d=1.5)), ["rows", 0, "terminal_risk_7d"], "less than or equal to 1"),
    "larger than any integer": (body(row(customer_nb_tx_1d=10**300)), ["rows", 0, "customer_nb_tx_1d"], "less than"),
    "before the century": (body(row(tx_datetime="1999-12-31T23:59:59")), ["rows", 0, schema.TIME], "from 2000-01-01"),
    "the day after tomorrow": (body(row(tx_datetime=in_days(1.01))), ["rows", 0, schema.TIME], "a day from now"),
    "the end of time": (body(row(tx_datetime="9999-12-31T23:59:59-23:00")), ["rows", 0, schema.TIME], "a day from now"),
    "the start of time": (body(row(tx_datetime="0001-01-01T00:00+23:00")), ["rows", 0, schema.TIME], "from 2000"),
    "no moment": (body(row(tx_datetime="yesterday")), ["rows", 0, schema.TIME], "valid datetime"),
    "a moment as a number": (body(row(tx_datetime=1534204800)), ["rows", 0, schema.TIME], "valid datetime"),
    "a moment that is null": (body(row(tx_datetime=None)), ["rows", 0, schema.TIME], "valid datetime"),
    "no identifier": (body(without(schema.ID)), ["rows", 0, schema.ID], "required"),
    "no object": (body(3), ["rows", 0], "object"),
    "no rows": (body(), ["rows"], "at least 1"),
    "too many rows": (body(*[row()] * 1001), ["rows"], "at most 1000"),
    "rows that are no list": ('{"rows": {}}', ["rows"], "array"),
    "nothing": ("", ["rows"], "required"),
    "an unknown key": (json.dumps({"rows": [row()], "verbose": 1}), ["verbose"], "not permitted"),
    "no JSON": ("tx_amount=1", [], "Invalid JSON"),
    "JSON without an end": ("[" * 100_000, [], "Invalid JSON"),
    "no text": (b"\xff\xfe\x00", [], "Invalid JSON"),
}


def assert_refused(answer: httpx.Response, where: list[Any], reason: str) -> None:
    """The answer is a 400 that names the place and the reason, and nothing else."""
    assert answer.status_code == 400, answer.text
    refusals = answer.json()["detail"]
    assert any(refusal["loc"] == where and reason in refusal["msg"] for refusal in refusals), refusals
    assert "Traceback" not in answer.text


def write_tiny_model(directory: Path) -> None:
    """A model directory whose score is the sigmoid of a thousandth of the sum of its inputs."""
    names = [column.name for column in INPUTS]
    graph = helper.make_graph(
        [
            helper.make_node("Sum", names, ["total"]),
            helper.make_node("Mul", ["total", "weight"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["score"]),
        ],
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in names],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("weight", TensorProto.FLOAT, [], [0.001])],
    )
    graph_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(graph_model)
    model.write(directory, runtime="onnx", inputs=INPUTS, files={"model.onnx": graph_model.SerializeToString()})


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


def test_scores_come_back_with_their_identifiers(client: httpx.Client, tiny: Path) -> None:
    rows = [row(7, tx_amount=100.5), row(3, tx_amount=2), row(7)]
    answer = client.post("/predict", content=body(*rows)).json()
    fitted = model.load(tiny)
    expected = fitted.predict({column.name: [row[column.name] for row in rows] for column in INPUTS})
    assert answer["model"] == fitted.digest
    assert [prediction[schema.ID] for prediction in answer["predictions"]] == [7, 3, 7]
    assert [prediction["score"] for prediction in answer["predictions"]] == list(expected)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_told_where_and_why(client: httpx.Client, name: str, caplog: pytest.LogCaptureFixture) -> None:
    content, where, reason = BAD[name]
    assert_refused(client.post("/predict", content=content), where, reason)
    assert not caplog.records, "a client's mistake is not ours to log"


def test_a_fault_of_ours_is_logged(
    client: httpx.Client, service: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(service.model), "predict", lambda *_: 1 / 0)
    answer = client.post("/predict", content=body(row()))
    assert answer.status_code == 500
    assert "ZeroDivisionError" in caplog.text


def test_the_edges_of_a_range_are_in_it(client: httpx.Client) -> None:
    ranged = [column for column in INPUTS if column.minimum is not None and column.maximum is not None]
    lowest: dict[str, Any] = {column.name: column.minimum for column in ranged}
    highest: dict[str, Any] = {column.name: column.maximum for column in ranged}
    assert client.post("/predict", content=body(row(**lowest), row(**highest))).status_code == 200
    largest: dict[str, Any] = {column.name: 2**63 - 1 for column in INPUTS if column.maximum is None}
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


def test_the_api_page_tells_each_column(client: httpx.Client) -> None:
    columns = client.get("/docs.json").json()["components"]["schemas"]["Row"]["properties"]
    assert list(columns) == [schema.ID, *(column.name for column in INPUTS), schema.TIME]
    for column in INPUTS:
        assert columns[column.name]["description"] == column.description
        assert columns[column.name]["minimum"] == column.minimum
        assert column.maximum is None or columns[column.name]["maximum"] == column.maximum


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


# The prediction log


def in_log(logged: Path, name: str, count: int = 1) -> pl.DataFrame:
    """The rows of the request of that name, once so many are there."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        rows = log.read(str(logged), date(2000, 1, 1), date(2100, 1, 1))
        if not rows.is_empty() and len(found := rows.filter(request_id=name)) >= count:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{name} is not in the log")


def test_what_was_asked_and_answered_is_logged(client: httpx.Client, logged: Path, tiny: Path) -> None:
    asked = [row(7, tx_amount=100.5, tx_datetime="2018-08-14T23:59:59.5"), row(3, tx_datetime="2018-08-14T23:00-02:00")]
    answer = client.post("/predict", content=body(*asked), headers={"x-request-id": "two"}).json()
    found = in_log(logged, "two", 2).sort(schema.TIME)
    assert found.select(schema.ID, "score").to_dicts() == answer["predictions"]
    assert found["model"].to_list() == [model.load(tiny).digest] * 2
    assert found[schema.TIME].to_list() == [datetime(2018, 8, 14, 23, 59, 59, 500_000), datetime(2018, 8, 15, 1)]
    for column in INPUTS:
        assert found[column.name].to_list() == [row[column.name] for row in asked]
    assert {date(2018, 8, 14), date(2018, 8, 15)} <= set(log.days(str(logged)))


def test_a_row_that_does_not_say_when_happened_now(client: httpx.Client, logged: Path) -> None:
    before = datetime.now(UTC)
    client.post("/predict", content=body(row(), row()), headers={"x-request-id": "now"})
    moments = in_log(logged, "now", 2)[schema.TIME].dt.replace_time_zone("UTC")
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
        ("{personal: {tx_ammount: hash}, retention_days: 9}", {}, "did you mean `tx_amount`?"),
        (None, {"PREDICTION_LOG_SECONDS": "soon"}, "PREDICTION_LOG_SECONDS is 'soon'"),
        (None, {"PREDICTION_LOG": "nosuch://bucket"}, "PREDICTION_LOG is nosuch://bucket"),
    ],
)
def test_a_log_that_cannot_be_kept_ends_the_start_in_a_sentence(
    tiny: Path, tmp_path: Path, policy: str | None, variables: dict[str, str], sentence: str
) -> None:
    for name in ("pipeline", "policies"):
        shutil.copytree(ROOT / name, tmp_path / name)
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


# As it ships: built into a Bento, served by BentoML


@pytest.fixture(scope="module")
def bento(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Bento that was built, with nothing but the tiny model and this code."""
    work = tmp_path_factory.mktemp("bento")
    for name in ("pipeline", "policies", "bentofile.yaml", "requirements-service.txt"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, work / name)
    shutil.copytree(tiny, work / "model")
    subprocess.run([*BENTOML, "build", "--version", "tiny"], cwd=work, env=environment(work), check=True)
    for name in ("pipeline", "policies", "model"):  # what is served is what was built
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


@pytest.fixture(scope="module")
def address(bento: Path) -> Iterator[str]:
    """The address of the served Bento."""
    with serving(bento) as url:
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
def test_two_hundred_at_once_each_get_their_own_answer(address: str, tiny: Path) -> None:
    fitted = model.load(tiny)
    kinds = list(BAD)

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        if number % 2:
            content, where, reason = BAD[kinds[number // 2 % len(kinds)]]
            assert_refused(await client.post("/predict", content=content), where, reason)
            return
        asked = row(number, tx_amount=float(number))
        answer = (await client.post("/predict", content=body(asked))).json()
        expected = fitted.predict({column.name: [asked[column.name]] for column in INPUTS})[0]
        assert answer == {"predictions": [{schema.ID: number, "score": expected}], "model": fitted.digest}

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
    assert f'scorer_model_info{{model="{model.load(tiny).digest}"}} 1.0' in metrics
    assert "scorer_score_bucket" in metrics
    assert 'service_version="tiny"' in metrics


@pytest.mark.slow
def test_made_up_paths_leave_nothing_in_the_metrics(address: str) -> None:
    for number in range(5):
        assert httpx.get(f"{address}/made-up/{number}").status_code == 404
    assert "made-up" not in httpx.get(f"{address}/metrics").text


@pytest.mark.slow
def test_two_workers_log_every_row_once_and_the_last_ones_at_the_end(bento: Path) -> None:
    with serving(bento, "--api-workers", "2", PREDICTION_LOG=str(bento / "two")) as url:
        for number in range(100):
            assert httpx.post(f"{url}/predict", json={"rows": [row(number)]}).status_code == 200  # each to either
        assert not (bento / "two").exists(), "nothing was due before the end"
    rows = log.read(str(bento / "two"), date(2000, 1, 1), date(2100, 1, 1))
    assert sorted(rows[schema.ID]) == list(range(100))


@pytest.mark.slow
def test_a_service_whose_storage_is_gone_answers_and_ends_in_time(bento: Path) -> None:
    (bento / "file").touch()
    with serving(bento, PREDICTION_LOG=str(bento / "file/log"), PREDICTION_LOG_SECONDS="0.1") as url:
        for _ in range(20):
            assert httpx.post(f"{url}/predict", json={"rows": [row()]}).status_code == 200
            time.sleep(0.02)
        assert 'scorer_log_lost_rows_total{reason="storage"} 0.0' in httpx.get(f"{url}/metrics").text
    assert "loses a part" in (bento / "log").read_text()
