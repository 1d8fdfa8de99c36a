"""The loop: API requests from drift to an open request, starting from main's bytes, a slow remote, the whole demo."""

import json
import logging
import os
import re
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]

from tests import baking
from tests.bench.startup import tiny

COUNTING = "tests/rehearsal/test_drift.py::test_from_the_verdict_to_an_open_request_is_at_most_12_calls"
FACTS = baking.ROOT / "demo" / "demo.json"
PAST, OUTPUTS = 200, 12  # runs whose outputs lie in the remote, and outputs of each
LATENCY = 0.025  # seconds, of each request to the remote
BUCKET = "bucket"
BUNDLE = "build/bundle/pipeline.tar"


def rows() -> Iterator[dict[str, Any]]:
    """One row for each thing that the loop has to reach."""
    yield row("API requests from the drift verdict to an open request", requests(), None, "", 12)
    with tempfile.TemporaryDirectory(prefix="bench ") as folder:
        baking.cookiecutter(baking.template(Path(folder) / "template"), Path(folder)).check_returncode()
        trained, restored = handed_over(Path(folder) / "card-fraud", Path(folder) / "clone")
        yield row("starting from what main's release made, beside making it", restored, trained, "s", 0.1)
    with tempfile.TemporaryDirectory(prefix="bench ") as folder:
        bake = tiny(Path(folder))
        what = f"restoring with {PAST} past runs, {LATENCY * 1000:.0f} ms a request to S3"
        yield row(what, from_s3(bake, Path(folder) / "clone"), None, "s", 5)
    if os.environ.get("BENCH_DEMO"):
        subprocess.run(["make", "demo"], cwd=baking.ROOT, check=True, stdout=subprocess.DEVNULL)
    if FACTS.exists() and (told := json.loads(FACTS.read_text()))["problem"] == "card-fraud":
        yield row("the whole demo", told["seconds"], None, "s", 300)
    else:
        print("the demo was not told here: run `make demo`, or this with BENCH_DEMO=1")


def row(what: str, ours: float, theirs: float | None, unit: str, bar: float) -> dict[str, Any]:
    """Ours, or where there is something beside it their ratio, has to be at most the bar."""
    ratio = None if theirs is None else ours / theirs
    reached = (ours if ratio is None else ratio) <= bar
    return {
        **{"what": what, "ours": ours, "theirs": theirs, "unit": unit},
        **{"ratio": ratio, "bar": f"<= {bar}", "reached": reached},
    }


def requests() -> int:
    """As the rehearsal counts them, on a fresh forge."""
    done = baking.run("python", "-m", "pytest", "-q", "-s", COUNTING, cwd=baking.ROOT)
    if not (found := re.search(r"(\d+) calls to the open request", done.stdout)):
        raise RuntimeError(done.stdout)
    return int(found[1])


def handed_over(bake: Path, clone: Path) -> tuple[float, float]:
    """Seconds of a cold `make data model`, and of a restore and the same two in a clone that has trained nothing.

    What main's release keeps holds no rows: they are made again.
    """
    commit(bake)
    stages = ("make", "--old-file=setup", "data", "model")
    trained = seconds(bake, stages, CI="true")
    run(bake, "python", "-m", "gitops", "bundle", BUNDLE, "--without-rows")
    run(bake, "git", "clone", "--quiet", str(bake), str(clone))
    (clone / "build").mkdir(exist_ok=True)
    (bake / "build" / "bundle").rename(clone / "build" / "bundle")
    restored = seconds(clone, ("python", "-m", "gitops", "restore"))
    return trained, restored + seconds(clone, stages, CI="true")


def from_s3(bake: Path, clone: Path) -> float:
    """Seconds of `gitops restore` in a clone, from a bucket with many other runs' bytes."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    remote = {
        **{"DVC_REMOTE": f"s3://{BUCKET}/models", "AWS_DEFAULT_REGION": "us-east-1"},
        **{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
    }
    near = remote | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    try:
        commit(bake)
        run(bake, "dvc", "repro", "--quiet")
        fill(near["AWS_ENDPOINT_URL"])
        with slow(host, port) as address:
            run(bake, "python", "-m", "gitops", "bundle", BUNDLE, **near)
            run(bake, "git", "clone", "--quiet", str(bake), str(clone))
            (clone / "build").mkdir()
            (bake / "build" / "bundle").rename(clone / "build" / "bundle")
            far = remote | {"AWS_ENDPOINT_URL": address}
            took = seconds(clone, ("python", "-m", "gitops", "restore"), **far)
        if not (clone / "model" / "manifest.json").exists():
            raise RuntimeError("nothing was restored")
        return took
    finally:
        server.stop()


def fill(address: str) -> None:
    """Other runs' outputs."""
    bucket = fsspec.filesystem("s3", endpoint_url=address, key="test", secret="test")
    bucket.mkdir(BUCKET)
    hashes = (f"{number * 2654435761 % 2**32:08x}{number:024x}" for number in range(PAST * OUTPUTS))
    bucket.pipe({f"{BUCKET}/models/files/md5/{name[:2]}/{name[2:]}": b"an output" for name in hashes})


@contextmanager
def slow(host: str, port: int) -> Iterator[str]:
    """The address of a proxy that lets each request wait."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((host, port)) as server:
                threading.Thread(target=self.back, args=(server,), daemon=True).start()
                self.answered = True
                while part := self.request.recv(65536):
                    if self.answered:  # the first part of a request
                        time.sleep(LATENCY)
                        self.answered = False
                    server.sendall(part)

        def back(self, server: socket.socket) -> None:
            while part := server.recv(65536):
                self.answered = True
                self.request.sendall(part)

    class Proxy(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    with Proxy(("127.0.0.1", 0), Handler) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
        proxy.shutdown()


def commit(bake: Path) -> None:
    """What is not committed yet: the tiny bake's knobs."""
    run(bake, "git", "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qam", "x", "--allow-empty")


def seconds(folder: Path, command: tuple[str, ...], **environment: str) -> float:
    """How long a command takes."""
    began = time.perf_counter()
    run(folder, *command, **environment)
    return time.perf_counter() - began


def run(folder: Path, *command: str, **environment: str) -> None:
    """A command of the environment. Raises RuntimeError with what it said where it fails."""
    path = f"{baking.VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = baking.run(*command, cwd=folder, PATH=path, **baking.MAKES, **environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-5000:]}")
