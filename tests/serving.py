"""A bake's service, for as long as somebody asks it: its own `make serve`, or a Bento that was released."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl

from tests import baking

BATCH = 1_000  # rows, the most that a request may have


@contextmanager
def served(repository: Path) -> Iterator[str]:
    """The address of `make serve` in the repository, while it is ready."""
    with listening(lambda port: ["make", "serve", f"PORT={port}"], repository) as address:
        yield address


@contextmanager
def bento(folder: Path, predictions: Path) -> Iterator[str]:
    """The address of an unpacked Bento while it is ready; it logs its predictions at once.

    In a home of its own: `bentoml serve` empties the counters of whatever else is served from the same one.
    """
    command = [str(baking.VENV / "bin" / "bentoml"), "serve", str(folder), "--host", "127.0.0.1", "--port"]
    logging = {"PREDICTION_LOG": str(predictions), "PREDICTION_LOG_SECONDS": "0.2"}
    home = {"BENTOML_HOME": str(folder / "build" / "bentoml")}
    with listening(lambda port: [*command, str(port)], folder, **logging, **home) as address:
        yield address


@contextmanager
def listening(command: Callable[[int], Sequence[str]], folder: Path, **environment: str) -> Iterator[str]:
    """The address of what a command serves on a free port, while it is ready; the folder's build/ has its log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "build" / "serve.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as output:
        server = subprocess.Popen(
            command(port),
            cwd=folder,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait(server, f"{address}/readyz", log)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def wait(server: subprocess.Popen[bytes], ready: str, log: Path, seconds: int = 120) -> None:
    """Returns when the service is ready; ends with its log where it stops or does not come up."""
    until = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(ready, timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"The service did not start:\n{log.read_text()[-4000:]}")


def ask(address: str, rows: pl.DataFrame) -> None:
    """Sends the rows in requests of BATCH, and waits until each is in the prediction log.

    Raises RuntimeError where a request is refused, or a row is not logged within a minute.
    """
    before = logged(address)
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    for batch in rows.iter_slices(BATCH):
        body = f'{{"rows":{batch.write_json()}}}'.encode()
        connection.request("POST", "/predict", body, {"content-type": "application/json"})
        with connection.getresponse() as answer:
            said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the service answered {answer.status}: {said[:500].decode()}")
    until = time.monotonic() + 60
    while (found := logged(address) - before) != len(rows):
        if time.monotonic() > until:
            raise RuntimeError(f"of {len(rows):,} predictions {found:,} were logged")
        time.sleep(0.1)


def logged(address: str) -> int:
    """How many rows the service says that its prediction log has written."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
        found = re.search(r"^scorer_log_rows_total(?:\{.*\})? (\S+)$", answer.read().decode(), re.MULTILINE)
    return int(float(found[1])) if found else 0


def date_back(predictions: Path, moments: Mapping[str, datetime]) -> None:
    """Moves what a prediction log has of these identifiers to the day, and the moment, at which it was asked.

    Where a problem has no time, its service says when it answered, and a story of months is told in minutes.
    """
    for part in sorted(predictions.glob("*/*.parquet")):
        rows = pl.read_parquet(part)
        told = rows["_id"].replace_strict(moments, default=None, return_dtype=rows.schema["_time"]).alias("_time")
        if told.null_count() or told.equals(rows["_time"]):
            continue
        part.unlink()
        for (day,), some in rows.with_columns(told).group_by(told.dt.date().alias("_day")):
            (predictions / str(day)).mkdir(exist_ok=True)
            some.write_parquet(predictions / str(day) / part.name)
        if not any(part.parent.iterdir()):
            part.parent.rmdir()
