"""Measure the service that the stage `bento` built: does it start, keep its contract, answer in time?

Not a stage, as what is measured differs from run to run: `make probe` takes build/service.bento as it is, whoever built
it, and serves what is inside. policies/service.yaml judges.
"""

import http.client
import json
import lzma
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from math import floor, inf, nextafter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, model, params, rows, tasks
from pipeline.bento import BENTO
from pipeline.params import BadInput, run_stage
from pipeline.personal import rules
from pipeline.places import first_line

SERVICE = Path("reports/service.json")
LOG = Path("build/probe.log")
WORK = Path("build/probe")
LOCK = Path("requirements-service.txt")
PINS = Path("env/python/requirements.txt")  # in the Bento
LARGEST = 2 * 2**30  # bytes that a Bento may unpack to
REBUILD = "build it again with `make service`"
ROWS = 64  # of the test week, answered by the service and by the model
CONNECTIONS = 4
SECONDS = 3.0  # of load
READY = 60.0  # seconds until a service that does not come up is given up

Row = dict[str, Any]


def main() -> None:
    """Unpack the Bento, start it, measure it, stop it."""
    try:
        served = model.load("model")
    except model.BadModel as error:
        raise BadInput(str(error)) from None
    ours = contract.load()
    table = rows.between(*ours.days(params.load()).test, ours).head(ROWS)
    sample, right = asked(served, table), answered(served, table)
    shutil.rmtree(WORK, ignore_errors=True)
    folder = unpacked(BENTO, WORK / "bento")
    digest = sha256(BENTO.read_bytes()).hexdigest()  # before its code runs
    with serving(folder, interpreter(folder)) as (port, ready_seconds):
        broken = [said for check in CHECKS for said in check(port, served, sample, right)]
        measured = {
            "model": served.digest,
            "bento": digest,  # so that no other is released for it
            "ready_seconds": round(ready_seconds, 2),
            "contract": OTHERS + sum(1 for kind in (unusual, bad) for _ in kind(served, sample[0])),
            "broken": broken,
            **load_test(port, served.problem.id, sample, right),
        }
        measured["broken"] += [f"{OTHERS_ANSWERS}, under load"] * (measured["wrong"] > 0)
    SERVICE.parent.mkdir(exist_ok=True)
    SERVICE.write_text(json.dumps(measured, indent=2) + "\n")
    print(f"{SERVICE}: ready in {ready_seconds:.1f} s, {measured['requests']:,} requests, {measured['latency_ms']} ms")


def asked(served: model.Model, table: pl.DataFrame) -> list[Row]:
    """The rows as a caller sends them, as if they happened now: the service may refuse a moment that is long past."""
    now, times = datetime.now(UTC).replace(tzinfo=None), [c.name for c in served.inputs if c.type == "time"]
    sample = table.select(served.problem.id, *(column.name for column in served.inputs)).to_dicts()
    for row in sample if times else ():
        row |= {served.problem.time: str(now)} if served.problem.time else {}
        row |= {name: None if row[name] is None else str(now - timedelta(days=row[name])) for name in times}
    return sample


def answered(served: model.Model, table: pl.DataFrame) -> list[Row]:
    """What the service has to answer, as JSON decodes it."""
    task = tasks.task(served.problem.task)
    parts = task.answer(served.predict(table), served.problem)
    made = tasks.rowwise(parts, served.problem, tasks.shares(task.answers(served.problem)))
    return [dict(row) for row in json.loads(json.dumps(made))]


def ask_for_one(port: str) -> None:
    """Print a command that asks the service for an answer. Raises BadInput where there is no model."""
    try:
        served = model.load(os.environ.get("MODEL") or "model")
    except model.BadModel as error:
        raise BadInput(str(error)) from None
    ours = contract.load()
    try:
        table = rows.between(*ours.days(params.load()).test, ours)
    except BadInput:  # a model is served without the rows that it learned from
        table = pl.DataFrame()
    row = usual(served, table)
    said = json.dumps({"rows": [row]}, ensure_ascii=False).replace("'", "\\u0027")  # of the shell
    print(f"Ask it, while it runs:\n\ncurl -s localhost:{port}/predict -H 'content-type: application/json' \\")
    print(f"  -d '{said}'\n", flush=True)


def usual(served: model.Model, table: pl.DataFrame) -> Row:
    """A row as a caller sends it, and nobody's: of each input the median or the most frequent value, under no one's id.

    Of personal columns nothing is looked at: their values are made up.
    """
    hidden = rules()
    row: Row = {served.problem.id: 1 if served.problem.id_type == "integer" else "made-up-1"}
    if served.problem.time:
        row[served.problem.time] = str(datetime.now(UTC).replace(tzinfo=None, microsecond=0))
    for column in served.inputs:
        known = column.name in table.columns and column.name not in hidden
        row[column.name] = middle(column, table[column.name]) if known else made_up(column)
    return row


def middle(column: model.Input, values: pl.Series) -> Any:
    """The median of a number or time, the most frequent of other values, as a caller sends it; None for no value."""
    there = values.drop_nulls()
    there = there.drop_nans() if there.dtype.is_float() else there
    if there.is_empty():
        return None if column.missing else made_up(column)
    if column.type in ("category", "boolean"):
        most = there.mode().sort()[0]
        return bool(most) if column.type == "boolean" else most
    median = float(there.sort()[len(there) // 2])
    if column.type == "time":
        return moment(median)
    return int(median) if column.type == "integer" else float(f"{median:.6g}")


def made_up(column: model.Input) -> Any:
    """A value that the contract allows, of nobody."""
    match column.type:
        case "category":
            return column.categories[0] if column.categories else UNSEEN
        case "boolean":
            return False
        case "time":
            return moment(0)
    value = next((end for end in (column.minimum, column.maximum) if end is not None), 0)
    return int(value) if column.type == "integer" else value


def moment(days: float) -> str:
    """So many days ago, to the second."""
    return str((datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None, microsecond=0))


def unpacked(bento: Path, folder: Path) -> Path:
    """The folder, with what the Bento's file holds. Raises BadInput where that is more than files below the folder."""
    try:
        with tarfile.open(bento) as tar:
            size = 0
            for member in tar:
                path = PurePosixPath(member.name)
                if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
                    raise BadInput(f"{bento} holds {member.name!r}, which is no plain file or folder in it; {REBUILD}")
                size += member.size
                if size > LARGEST:
                    raise BadInput(f"{bento} unpacks to more than {LARGEST:,} bytes; {REBUILD}")
            tar.extractall(folder, filter="data")
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise BadInput(f"{bento} cannot be unpacked ({first_line(error)}); {REBUILD}") from None
    return folder


def interpreter(folder: Path) -> str:
    """The Python to serve the Bento with: ours where it pins our versions, else one of an environment of its own."""
    ours, theirs = pins(LOCK), pins(folder / PINS)
    if ours == theirs:
        return sys.executable
    different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    print(f"the Bento pins its own {', '.join(different)}: it is served in an environment of its own", flush=True)
    environment, lock = (WORK / "venv").resolve(), (WORK / "requirements.txt").resolve()
    python, hashed = str(environment / "bin" / "python"), ("--require-hashes", "--only-binary", ":all:")
    # BentoML adds a line with its own version, and without a hash.
    lock.write_text(re.sub(r"^bentoml==\S+\s*\Z", "", (folder / PINS).read_text(), flags=re.MULTILINE))
    uv("venv", "--quiet", "--python", sys.executable, str(environment))
    uv("pip", "sync", "--quiet", "--compile-bytecode", *hashed, "--python", python, str(lock))  # as its image does
    return python


def uv(*arguments: str) -> None:
    """Run uv, whatever is configured here. Raises BadInput with its last words where it fails."""
    done = subprocess.run(["uv", *arguments, "--no-config"], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        said = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise BadInput(f"what {BENTO} pins cannot be installed ({said}); compile {LOCK} again with `make lock`")


def pins(lock: Path) -> dict[str, str]:
    """The versions that a lock names, by package. Raises BadInput where it cannot be read."""
    try:
        text = lock.read_text()
    except (OSError, ValueError) as error:
        raise BadInput(f"{lock} cannot be read ({error}); {REBUILD}") from None
    found = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


@contextmanager
def serving(folder: Path, python: str) -> Iterator[tuple[int, float]]:
    """The port of the unpacked Bento while it is ready, and the seconds that took. BadInput has its last words."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    LOG.parent.mkdir(exist_ok=True)
    ours = {"BENTOML_HOME": "home", "PREDICTION_LOG": "predictions"}  # no store but the file, no log of production
    theirs = {name: value for name, value in os.environ.items() if name not in ("MODEL", "PYTHONPATH")}
    environment = theirs | {name: str((WORK / place).resolve()) for name, place in ours.items()}
    began = time.monotonic()
    with LOG.open("w") as log:
        # In the Bento's folder: this checkout has a `pipeline` too.
        command = [python, "-m", "bentoml", "serve", ".", "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        while not ready(port):
            if server.poll() is not None or time.monotonic() - began > READY:
                end = " | ".join(LOG.read_text(errors="replace").split("\n")[-6:]).strip(" |")
                raise BadInput(f"{BENTO} did not start within {READY:.0f} s; its last words, in {LOG}: {end}")
            time.sleep(0.05)
        yield port, time.monotonic() - began
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)


def ready(port: int) -> bool:
    """Whether the service says that it is ready."""
    try:
        return ask(port, "GET", "/readyz")[0] == 200
    except OSError:
        return False


# --- the contract: each check yields a sentence for what is broken ---


def answers(port: int, served: model.Model, sample: Sequence[Row], right: Sequence[Row]) -> Iterator[str]:
    """Good rows get the answers of the model that was tested, with its digest."""
    status, answer = ask(port, "POST", "/predict", {"rows": sample})
    pairs = list(zip(sample, right, strict=True))
    if status != 200 or set(answer) != {"predictions", "model"}:
        yield f"{len(sample)} good rows got {status}: {quoted(answer)}"
        return
    got, name = answer["predictions"], served.problem.id
    if [found.get(name) for found in got] != [row[name] for row in sample]:
        yield f"the answers do not carry the rows' {name}, in their order"
    elif not all(same(without(found, name), row) for found, row in zip(got, right, strict=True)):
        yield OTHERS_ANSWERS
    elif not all(is_right(ask(port, "POST", "/predict", {"rows": [row]})[1], row, of, name) for row, of in pairs):
        yield f"{OTHERS_ANSWERS}, where it is asked row by row"
    if answer["model"] != served.digest:
        yield f"the service answers for {answer['model']}, tested was {served.digest}"


OTHERS_ANSWERS = "the service's answers are not those of the model that was tested"


def is_right(answer: Any, row: Row, right: Row, name: str) -> bool:
    """Whether a row that was asked alone got its own answer; the identifier is called `name`."""
    try:
        (found,) = answer["predictions"]
    except (TypeError, KeyError, ValueError):
        return False
    return same(found, {name: row[name], **right})


def same(found: Any, right: Any) -> bool:
    """Whether a decoded answer, or a part of it, is the right one: numbers up to what another machine rounds."""
    if isinstance(right, dict):
        return isinstance(found, dict) and found.keys() == right.keys() and all(same(found[k], right[k]) for k in right)
    if isinstance(right, float):
        return type(found) in (int, float) and bool(np.isclose(found, right, atol=1e-6))
    return type(found) is type(right) and found == right


def quoted(answer: object) -> str:
    """What was answered; not where it may quote a row with personal columns."""
    return "an answer that is not shown, as policies/log.yaml has personal columns" if rules() else str(answer)[:200]


def takes(port: int, served: model.Model, sample: Sequence[Row], right: Sequence[Row]) -> Iterator[str]:
    """What may be missing may be null or left out, and a category that is no closed list may be any text."""
    for name, word, row in unusual(served, sample[0]):
        status, answer = ask(port, "POST", "/predict", {"rows": [row]})
        if status != 200:
            yield f"{name} {word} got {status}: {quoted(answer)}"


def unusual(served: model.Model, row: Row) -> Iterator[tuple[str, str, Row]]:
    """Good rows, with the column that is unusual in each, and how."""
    for column in served.inputs:
        if column.missing:
            yield column.name, "null", {**row, column.name: None}
            yield column.name, "left out", without(row, column.name)
        if column.text and not column.categories:
            yield column.name, "with a level that nobody has seen", {**row, column.name: UNSEEN}


def refuses(port: int, served: model.Model, sample: Sequence[Row], right: Sequence[Row]) -> Iterator[str]:
    """Bad rows get 400 or 422, and the field's name."""
    status, answer = ask(port, "POST", "/predict", {"rows": []})
    if status not in (400, 422):
        yield f"an empty list got {status}"
    for name, word, row in bad(served, sample[0]):
        status, answer = ask(port, "POST", "/predict", {"rows": [row]})
        if status not in (400, 422) or not says(answer, name):
            yield f"{name} {word} got {status}: {quoted(answer)}"


def bad(served: model.Model, row: Row) -> Iterator[tuple[str, str, Row]]:
    """Bad rows, with the column that is bad in each, and how."""
    identifier = model.Input(served.problem.id, served.problem.id_type)
    for column in (identifier, *served.inputs):
        values = {word: value for kinds, word, value in WRONG if column.type in kinds}
        if not column.missing:
            values["null"] = None
            yield column.name, "left out", without(row, column.name)
        if column.categories:
            values["outside its list"] = UNSEEN
        if column.minimum is not None:
            values["below its range"] = beyond(column, column.minimum, -1)
        if column.maximum is not None:
            values["above its range"] = beyond(column, column.maximum, 1)
        for word, value in values.items():
            yield column.name, word, {**row, column.name: value}


def beyond(column: model.Input, end: float, way: int) -> float:
    """The first value beyond an end of a column's range."""
    return floor(end * way) * way + way if column.type == "integer" else nextafter(end, way * inf)


NUMBERS, TEXTS = ("integer", "number"), ("category", "text")
WRONG: tuple[tuple[Sequence[str], str, Any], ...] = (
    (NUMBERS, "as text", "12"),
    (NUMBERS, "infinite", 1e999),
    (NUMBERS, "true", True),
    (("integer",), "with a fraction", 0.5),
    (("boolean",), "as a number", 1),
    (("boolean", "time"), "as another text", "yes"),
    (TEXTS, "as a number", 12),
    (TEXTS, "empty", ""),
    (("time",), "as a number", 1534204800),
)
"""Types, what is wrong, and a value that is it."""
UNSEEN = "a level that nobody has seen"


def without(row: Row, name: str) -> Row:
    """The row, less a column."""
    return {key: value for key, value in row.items() if key != name}


def says(answer: Any, name: str) -> bool:
    """Whether an answer, as JSON decodes it, names a column anywhere."""
    if isinstance(answer, dict):
        return any(says(value, name) for value in answer.values())
    return any(says(value, name) for value in answer) if isinstance(answer, list) else bool(answer == name)


def operates(port: int, served: model.Model, sample: Sequence[Row], right: Sequence[Row]) -> Iterator[str]:
    """What Kubernetes and Prometheus ask for is there."""
    for path in ("/livez", "/metrics"):
        status, _ = ask(port, "GET", path)
        if status != 200:
            yield f"GET {path} got {status}"


CHECKS = (answers, takes, refuses, operates)
OTHERS = 6  # checks that belong to no column: the answers, their identifiers, the digest, no rows, and two paths


# --- the load ---


def load_test(port: int, name: str, sample: Sequence[Row], right: Sequence[Row]) -> dict[str, Any]:
    """One-row requests over a few connections: how many, how many failed, how many got another row's answer, or none of
    the model's, and the latency's percentiles in ms.
    """
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        results = list(pool.map(lambda start: requests(port, name, sample, right, start), range(CONNECTIONS)))
    seconds = np.array([latency for latencies, *_ in results for latency in latencies])
    if not seconds.size:
        raise BadInput(f"The service answered nothing under load; see {LOG}")
    percentiles = dict(
        zip(("p50", "p95", "p99"), np.percentile(1000 * seconds, (50, 95, 99)).round(2).tolist(), strict=True)
    )
    errors, wrong = (sum(counts) for counts in list(zip(*results, strict=True))[1:])
    counted = {"requests": seconds.size, "connections": CONNECTIONS, "errors": errors, "wrong": wrong}
    return counted | {"latency_ms": percentiles}


def requests(
    port: int, name: str, sample: Sequence[Row], right: Sequence[Row], start: int
) -> tuple[list[float], int, int]:
    """The seconds of each answer on one connection, the number of errors, and that of wrong answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    latencies, errors, wrong, until = [], 0, 0, time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < until:
        start += 1
        row, of = (rows[start % len(rows)] for rows in (sample, right))
        try:
            status, answer = ask(port, "POST", "/predict", {"rows": [row]}, connection)
        except (OSError, http.client.HTTPException):
            status, answer = 0, None
            connection.close()
        latencies.append(time.perf_counter() - began)
        errors += status != 200
        wrong += status == 200 and not is_right(answer, row, of, name)
    return latencies, errors, wrong


def ask(
    port: int,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    on: http.client.HTTPConnection | None = None,
) -> tuple[int, Any]:
    """Status and body, read as JSON where it is JSON."""
    connection = on or http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, json.dumps(body) if body else None, {"content-type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if on is None:
        connection.close()
    try:
        return answer.status, json.loads(content)
    except ValueError:
        return answer.status, content.decode(errors="replace")


if __name__ == "__main__":
    run_stage(partial(ask_for_one, sys.argv[2]) if sys.argv[1:2] == ["--ask"] else main)
