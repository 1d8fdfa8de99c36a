"""Watch a service on this machine as it is watched in production: `make monitor`, beside `make serve`.

It starts the real Prometheus and Alertmanager with the rules that lie here, and serves a page that draws the panels of
dashboard.json from Prometheus' API, as Grafana would. What they keep goes when it ends.
"""

import argparse
import json
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit

import yaml

from pipeline.params import BadInput, run_stage

HERE = Path(__file__).parent
RULES = ("objectives.yaml", "rules.yaml")
PROMETHEUS, ALERTMANAGER = ("prometheus",), ("prometheus-alertmanager", "alertmanager")  # Debian's name, its maker's
SCRAPE = 2  # seconds between two looks at the service, and two evaluations of the rules
START = 30  # seconds until a program has to be ready
ASKED = re.compile(r"/prometheus(/api/v1/(query|query_range|alerts))")
LINE = re.compile(r"^### (\w+)\n\n(.+?)(?=\n\n|\n*\Z)", re.MULTILINE | re.DOTALL)
FILES = {"/": ("page.html", "text/html"), "/dashboard.json": ("dashboard.json", "application/json")}
FILES |= {"/README.md": ("README.md", "text/plain")}
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"


class Watch(NamedTuple):
    """The addresses of those that watch."""

    prometheus: str
    alertmanager: str


def main() -> None:
    """Watch the service until Ctrl-C. Raises BadInput where a program is missing or does not start."""
    parser = argparse.ArgumentParser(prog="make monitor", description=__doc__)
    parser.add_argument("--port", type=int, default=3000, help="of the service")
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with watching(f"127.0.0.1:{port}") as watch, served(watch, port + 1) as page:
        print(f"{page} draws the dashboard.\nPrometheus: {watch.prometheus}; Alertmanager: {watch.alertmanager}")
        if not listens(port):
            print(f"Nothing answers on port {port} yet: `make serve` starts the service; PORT says another port")
        print("Ctrl-C ends it.", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


def program(names: Sequence[str]) -> str:
    """Where the first of these programs is. Raises BadInput where there is none of them."""
    if found := next(filter(None, map(shutil.which, names)), None):
        return found
    raise BadInput(
        f"`make monitor` needs {names[0]}, and there is none on the PATH: on Debian and Ubuntu `sudo apt-get install "
        f"{PROMETHEUS[0]} {ALERTMANAGER[0]}`; elsewhere see https://prometheus.io/download"
    )


# --- those that watch ---


@contextmanager
def watching(target: str, scrape: int = SCRAPE) -> Iterator[Watch]:
    """Prometheus and Alertmanager, which watch the target HOST:PORT, until the end. Raises BadInput."""
    prometheus, alertmanager = program(PROMETHEUS), program(ALERTMANAGER)
    with tempfile.TemporaryDirectory(prefix="monitor-") as folder, ExitStack() as stack:
        place, ports = Path(folder), [free_port(), free_port()]
        watch = Watch(*(f"http://127.0.0.1:{port}" for port in ports))
        for name, said in files(target, urlsplit(watch.alertmanager).netloc, scrape).items():
            (place / name).write_text(yaml.safe_dump(said))
        commands = (
            [
                *(prometheus, "--config.file=prometheus.yaml", "--storage.tsdb.path=prometheus"),
                *(f"--web.listen-address=127.0.0.1:{ports[0]}", "--log.level=warn"),
            ],
            [
                *(alertmanager, "--config.file=alertmanager.yaml", "--storage.path=alertmanager"),
                *(f"--web.listen-address=127.0.0.1:{ports[1]}", "--cluster.listen-address=", "--log.level=warn"),
            ],
        )
        for command, address in zip(commands, watch, strict=True):
            stack.enter_context(running(command, address, place))
        yield watch


def files(target: str, alertmanager: str, scrape: int = SCRAPE) -> dict[str, Any]:
    """What the two read, by the name of its file: the rules are those that lie here, but looked at more often."""
    often = f"{scrape}s"
    jobs = [
        {
            "job_name": "scorer",
            "static_configs": [{"targets": [target], "labels": {"namespace": "local", "pod": "local"}}],
        }
    ]
    return {
        "alertmanager.yaml": {"route": {"receiver": "nobody", "group_wait": "0s"}, "receivers": [{"name": "nobody"}]},
        "prometheus.yaml": {
            "global": {"scrape_interval": often, "scrape_timeout": often, "evaluation_interval": often},
            "rule_files": list(RULES),
            "scrape_configs": jobs,
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        },
        **{name: groups((HERE / name).read_text()) for name in RULES},
    }


def groups(manifest: str) -> dict[str, Any]:
    """The groups of a PrometheusRule as Prometheus itself reads them, each to be evaluated as often as all others."""
    found = yaml.safe_load(manifest)["spec"]["groups"]
    return {"groups": [{key: value for key, value in group.items() if key != "interval"} for group in found]}


@contextmanager
def running(command: Sequence[str], address: str, folder: Path) -> Iterator[None]:
    """A program while it runs, from when it is ready. Raises BadInput with its last line where it does not start."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        until = time.monotonic() + START
        while not answers(f"{address}/-/ready"):
            if process.poll() is not None or time.monotonic() > until:
                said = (log.read_text().splitlines() or ["it said nothing"])[-1]
                raise BadInput(f"{command[0]} did not start: {said}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(timeout=START)


def answers(url: str) -> bool:
    """Whether a program is ready."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def listens(port: int) -> bool:
    """Whether somebody does on this port."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# --- the page ---


@contextmanager
def served(watch: Watch, port: int = 0) -> Iterator[str]:
    """The address of the page, on this port, or on another where it is taken."""

    class Page(BaseHTTPRequestHandler):
        """Files that lie here, and what Prometheus answers."""

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path in FILES:
                name, kind = FILES[path]
                self.answer(200, (HERE / name).read_bytes(), kind)
            elif path == "/runbook.json":
                self.answer(200, json.dumps(runbook()).encode())
            elif ASKED.fullmatch(path):
                self.answer(*asked(watch.prometheus + self.path.removeprefix("/prometheus")))
            else:
                self.answer(404, b"{}")

        def answer(self, status: int, content: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            headers = {"content-type": f"{kind}; charset=utf-8", "content-length": str(len(content))}
            for name, value in {**headers, "content-security-policy": POLICY, "cache-control": "no-store"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Page)
    except OSError:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    with server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def asked(url: str) -> tuple[int, bytes]:
    """What Prometheus answers, with its status: a query that is wrong is told in JSON as well."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return 200, answer.read()
    except HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        return 502, json.dumps({"status": "error", "error": f"Prometheus does not answer ({error})"}).encode()


def runbook() -> Mapping[str, str]:
    """What README.md says of each alert, by its name."""
    return {name: " ".join(said.split()) for name, said in LINE.findall((HERE / "README.md").read_text())}


if __name__ == "__main__":
    run_stage(main)
