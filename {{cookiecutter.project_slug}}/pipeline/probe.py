"""Measure the service that `bentoml build` made: does it start, keep its contract, answer in time?

policies/service.yaml judges what is measured.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import model, rows, schema
from pipeline.params import BadInput, days, load, run_stage

SERVICE = Path("reports/service.json")
LOG = Path("build/probe.log")
BENTO = Path("build/service.bento")  # what was measured is what is released
ROWS = 64  # of the test week, scored by the service and by the model
CONNECTIONS = 4
SECONDS = 3.0  # of load
READY = 60.0  # seconds until a service that does not come up is given up

Row = dict[str, Any]


def main() -> None:
    """Build the Bento, start it, measure it, stop it."""
    served = model.load("model")
    table = rows.between(*days(load()).test).head(ROWS)
    columns = [schema.ID, *(column.name for column in served.inputs)]
    sample, scores = table.select(columns).to_dicts(), served.predict(table)
    tag = build()
    with serving(tag) as (port, ready_seconds):
        broken = [said for check in (answers, refuses, operates) for said in check(port, served, sample, scores)]
        measured = {
            "model": served.digest,
            "ready_seconds": round(ready_seconds, 2),
            "contract": 4 + 4 * len(served.inputs),
            "broken": broken,
            **load_test(port, sample),
        }
    target = str(BENTO.resolve())  # a relative path is taken below /
    subprocess.run(["bentoml", "export", tag, target], check=True, stdout=subprocess.DEVNULL)
    SERVICE.parent.mkdir(exist_ok=True)
    SERVICE.write_text(json.dumps(measured, indent=2) + "\n")
    print(f"{SERVICE}: ready in {ready_seconds:.1f} s, {measured['requests']:,} requests, {measured['latency_ms']} ms")


def build() -> str:
    """The tag of a new Bento. Raises BadInput with the last words of `bentoml build` where it fails."""
    os.environ.setdefault("BENTOML_HOME", str(Path("build/bentoml").resolve()))
    done = subprocess.run(["bentoml", "build", "--output", "tag", "."], capture_output=True, text=True)
    if done.returncode:
        raise BadInput(f"`bentoml build` failed: {' | '.join(done.stderr.strip().splitlines()[-3:])}")
    return done.stdout.strip().removeprefix("__tag__:")


@contextmanager
def serving(tag: str) -> Iterator[tuple[int, float]]:
    """The port of `bentoml serve TAG` while it is ready, and the seconds that took. BadInput has its last words."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    LOG.parent.mkdir(exist_ok=True)
    environment = {**os.environ, "PREDICTION_LOG": str(Path("build/predictions").resolve())}  # not production's
    began = time.monotonic()
    with LOG.open("w") as log:
        command = ["bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        while not ready(port):
            if server.poll() is not None or time.monotonic() - began > READY:
                end = " | ".join(LOG.read_text(errors="replace").split("\n")[-6:]).strip(" |")
                raise BadInput(f"{tag} did not start within {READY:.0f} s; its last words, in {LOG}: {end}")
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


def answers(port: int, served: model.Model, sample: Sequence[Row], scores: np.ndarray) -> Iterator[str]:
    """Good rows get the scores of the model that was tested, with its digest."""
    status, answer = ask(port, "POST", "/predict", {"rows": sample})
    if status != 200 or set(answer) != {"predictions", "model"}:
        yield f"{len(sample)} good rows got {status}: {str(answer)[:200]}"
        return
    got = [prediction.get("score") for prediction in answer["predictions"]]
    if [prediction.get(schema.ID) for prediction in answer["predictions"]] != [row[schema.ID] for row in sample]:
        yield f"the answers do not carry the rows' {schema.ID}, in their order"
    elif None in got or not np.allclose(got, scores, atol=1e-6):
        yield "the service's scores are not those of the model that was tested"
    if answer["model"] != served.digest:
        yield f"the service answers for {answer['model']}, tested was {served.digest}"


def refuses(port: int, served: model.Model, sample: Sequence[Row], scores: np.ndarray) -> Iterator[str]:
    """Bad rows get 400 or 422, and the field's name."""
    status, answer = ask(port, "POST", "/predict", {"rows": []})
    if status not in (400, 422):
        yield f"an empty list got {status}"
    for column in served.inputs:
        lacking = {name: value for name, value in sample[0].items() if name != column.name}
        bad = {"missing": lacking} | {
            word: {**sample[0], column.name: value}
            for word, value in (("null", None), ("text", "12"), ("infinite", 1e999))
        }
        for word, row in bad.items():
            status, answer = ask(port, "POST", "/predict", {"rows": [row]})
            if status not in (400, 422) or column.name not in json.dumps(answer):
                yield f"{column.name} {word} got {status}: {str(answer)[:200]}"


def operates(port: int, served: model.Model, sample: Sequence[Row], scores: np.ndarray) -> Iterator[str]:
    """What Kubernetes and Prometheus ask for is there."""
    for path in ("/livez", "/metrics"):
        status, _ = ask(port, "GET", path)
        if status != 200:
            yield f"GET {path} got {status}"


# --- the load ---


def load_test(port: int, sample: Sequence[Row]) -> dict[str, Any]:
    """One-row requests over a few connections: how many, how many errors, and the latency's percentiles in ms."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        results = list(pool.map(lambda start: requests(port, sample, start), range(CONNECTIONS)))
    seconds = np.array([latency for latencies, _ in results for latency in latencies])
    if not seconds.size:
        raise BadInput(f"The service answered nothing under load; see {LOG}")
    percentiles = dict(
        zip(("p50", "p95", "p99"), np.percentile(1000 * seconds, (50, 95, 99)).round(2).tolist(), strict=True)
    )
    errors = sum(failed for _, failed in results)
    return {"requests": seconds.size, "connections": CONNECTIONS, "errors": errors, "latency_ms": percentiles}


def requests(port: int, sample: Sequence[Row], start: int) -> tuple[list[float], int]:
    """The seconds of each answer on one connection, and the number of errors."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    latencies, errors, until = [], 0, time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < until:
        start += 1
        try:
            status, _ = ask(port, "POST", "/predict", {"rows": [sample[start % len(sample)]]}, connection)
            errors += status != 200
        except (OSError, http.client.HTTPException):
            errors += 1
            connection.close()
        latencies.append(time.perf_counter() - began)
    return latencies, errors


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
    run_stage(main)
