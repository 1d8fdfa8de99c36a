"""Ten minutes under load behind nginx, with a rolling restart and a log store that is away for two of them.

Two copies of the service share the load. Each in turn is taken out by nginx, ended by SIGTERM and started again, as a
rollout does. Nobody may notice, and every row that was answered has to be in the prediction log, or counted as lost.
"""

import json
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import urlopen

import numpy as np
import polars as pl
import psutil  # type: ignore[import-untyped]

from tests.bench.serving import Load, Served, Server, h2load, made, needed, row, serving

MINUTES = 10
SHARE = 0.7  # of the peak
CONNECTIONS = 32
AWAY = 120  # seconds
MARK, MARKED = "transaction_id", 424_242  # of the rows that are counted

NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream both {{ server 127.0.0.1:{first}; server 127.0.0.1:{second}; keepalive 64; }}
  upstream first {{ server 127.0.0.1:{first}; keepalive 64; }}
  upstream second {{ server 127.0.0.1:{second}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    set $copies both;
    if (-f {folder}/out-0) {{ set $copies second; }}
    if (-f {folder}/out-1) {{ set $copies first; }}
    location / {{
      proxy_pass http://$copies;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_next_upstream off;
    }}
  }}
}}
"""
"""A copy is taken out by a file, as a load balancer does by its readiness; nothing is asked a second time."""


Lost = dict[str, int]


def rows() -> Iterator[dict[str, Any]]:
    """What the callers saw, and what became of the rows."""
    needed("nginx", "nginx-light")
    with tempfile.TemporaryDirectory(prefix="soak-") as name:  # nginx takes no space in a path
        folder = Path(name)
        ours, _ = made(folder)
        one = json.loads((folder / "one.json").read_text())
        one["rows"][0] |= {MARK: MARKED}
        (folder / "soak.json").write_text(json.dumps(one))
        log = folder / "store" / "log"
        soak = Soak(replace(ours, variables={**ours.variables, "PREDICTION_LOG": str(log)}), folder)
        seen = soak.run()
        held = pl.scan_parquet(log / "*/*.parquet").filter(pl.col("_id") == MARKED)
        logged, once = held.select(pl.len(), pl.col("_request_id").n_unique()).collect().row(0)
    answered, lost = int((seen.status == 200).sum()), sum(soak.lost.values())
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in soak.lost.items() if number) or "none"
    yield row(f"soak of {MINUTES} minutes at {100 * SHARE:.0f}% of the peak: requests", len(seen.status), "", None)
    others = {int(status): int((seen.status == status).sum()) for status in np.unique(seen.status) if status != 200}
    yield row(f"answered otherwise than with 200: {others or 'none'}", sum(others.values()), "", "<= 0")
    yield row("p99", seen.p99(), "ms", None)
    yield row("rows in the log", logged, "", None)
    yield row(f"rows that are counted as lost: {reasons}", lost, "", None)
    # What h2load does not wait for at its end may be in the log all the same.
    yield row("rows that are neither in the log nor counted", max(answered - logged - lost, 0), "", "<= 0")
    yield row("rows twice in the log", logged - once, "", "<= 0")


class Soak:
    """Two copies behind nginx, and what happens to them."""

    def __init__(self, ours: Server, folder: Path) -> None:
        self.ours, self.folder = ours, folder
        self.copies: dict[int, tuple[ExitStack, Served]] = {}
        self.lost: Lost = {}

    def run(self) -> Load:
        """What the callers saw."""
        try:
            for number in range(2):
                self.start(number)
            with self.proxied() as front:
                peak = h2load(front, CONNECTIONS, 15).rate
                events = Thread(target=self.happen)
                events.start()
                marked = replace(front, server=replace(front.server, body="soak"))
                seen = h2load(marked, CONNECTIONS, 60 * MINUTES, f"--rps={SHARE * peak / CONNECTIONS}")
                events.join()
        finally:
            for number in list(self.copies):
                self.end(number)
        return seen

    def happen(self) -> None:
        """A rollout after a fifth of the time; the store goes away after half of it, and comes back."""
        began, whole = time.monotonic(), 60 * MINUTES
        sleep_until(began + 0.2 * whole)
        for number in range(2):
            out = self.folder / f"out-{number}"
            out.touch()
            time.sleep(5)  # until nothing is in flight
            port = self.end(number)
            self.start(number, port)
            out.unlink()
            time.sleep(5)
        sleep_until(began + 0.5 * whole)
        store = self.folder / "store"
        store.rename(self.folder / "away")
        store.touch()  # no folder can be made there
        time.sleep(AWAY)
        store.unlink()
        (self.folder / "away").rename(store)

    def start(self, number: int, port: int | None = None) -> None:
        """Start a copy."""
        stack = ExitStack()
        home = self.folder / f"home-{number}"  # of its own: counters of another's would be emptied
        server = replace(self.ours, variables={**self.ours.variables, "BENTOML_HOME": str(home)})
        self.copies[number] = stack, stack.enter_context(serving(server, self.folder, port))

    def end(self, number: int) -> int:
        """End a copy by SIGTERM, once it was asked what it has lost; its port."""
        stack, copy = self.copies.pop(number)
        with urlopen(f"http://127.0.0.1:{copy.port}/metrics", timeout=30) as answer:
            found = re.findall(r'^scorer_log_lost_rows_total\{reason="(\w+)"\} (\S+)$', answer.read().decode(), re.M)
        stack.close()
        found += [("shutdown", said) for said in re.findall(r"log loses (\d+) rows", copy.log.read_text())]
        for reason, count in found:
            self.lost[reason] = self.lost.get(reason, 0) + int(float(count))
        return copy.port

    @contextmanager
    def proxied(self) -> Iterator[Served]:
        """nginx before both."""
        first, second = (copy.port for _, copy in self.copies.values())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder, first=first, second=second, port=port))
        process = subprocess.Popen(("nginx", "-c", str(config), "-e", str(self.folder / "nginx.log")))
        try:
            time.sleep(1)
            server = Server((), self.folder, {})
            yield Served(server, self.folder, port, psutil.Process(process.pid), self.folder / "nginx.log")
        finally:
            process.terminate()
            process.wait(timeout=30)


def sleep_until(moment: float) -> None:
    """Sleep until a moment of the monotonic clock."""
    time.sleep(max(moment - time.monotonic(), 0))
