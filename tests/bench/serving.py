"""The service under load, beside stock BentoML, `mlflow models serve` and FastAPI with onnxruntime.

One machine, one run, one model, the same JSON row, one worker each. Each server is started and driven for WARM seconds,
which are not counted; then ours and theirs are measured by turns, so that what else the machine does meets both. The
load is that of h2load (Debian's nghttp2-client), which says how long each single request took; both pay for it.
"""

import http.client
import os
import resource
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from tests import baking
from tests.bench.startup import tiny

SERVERS = Path(__file__).parent / "servers"
CONNECTIONS, WARM, TURNS, SECONDS = 32, 60, 3, 10
RATE = 2_000  # requests a second, offered
STEADY = 5 * 60  # seconds
TIMES = 1.2  # the async FastAPI service's requests a second
OFFERED = 2  # times the peak
IDLE = 10_000  # connections

PYTHON = str(baking.VENV / "bin" / "python")
THEIRS = "tests.bench.servers"
QUIET = ("--no-access-log", "--log-level", "warning", "--port")
UVICORN = (PYTHON, "-m", "uvicorn", f"{THEIRS}.fastapi_app:app", *QUIET)


@dataclass(frozen=True)
class Server:
    """How a server is started, and what it is asked."""

    command: Sequence[str]  # the port comes last
    folder: Path
    variables: Mapping[str, str]
    path: str = "/predict"
    body: str = "one"


@dataclass(frozen=True)
class Load:
    """What came of a load: the status of each request, and its milliseconds, both [requests]; by when it was sent."""

    status: np.ndarray
    ms: np.ndarray
    sent: np.ndarray  # seconds since the first
    seconds: float

    @property
    def rate(self) -> float:
        """Answers with 200 a second."""
        return int((self.status == 200).sum()) / self.seconds

    def p99(self, status: int = 200) -> float:
        """Of the answers with a status."""
        of = self.ms[self.status == status]
        return float(np.percentile(of, 99)) if of.size else 0.0

    def between(self, first: float, last: float) -> "Load":
        """What was sent between two seconds."""
        some = (self.sent >= first) & (self.sent < last)
        return Load(self.status[some], self.ms[some], self.sent[some], last - first)


def rows() -> Iterator[dict[str, Any]]:
    """Throughput beside the others, latency at a rate, what log costs, steadiness, overload, connections."""
    needed("h2load", "nghttp2-client")
    with tempfile.TemporaryDirectory(prefix="bench ") as name:
        folder = Path(name)
        ours, others = made(folder)
        yield from beside(ours, others, folder)
        yield from alone(ours, folder)


def needed(command: str, package: str) -> None:
    """Ends in a sentence where a command is not there."""
    if not shutil.which(command):
        raise SystemExit(f"{command} is needed for this benchmark: apt-get install {package}")


def made(folder: Path) -> tuple[Server, dict[str, Server]]:
    """Our service, as a bake builds it, and the others with the same model."""
    bake = tiny(folder)
    environment = {"PATH": f"{baking.VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(("dvc", "repro", "--quiet", "bento"), cwd=bake, env=os.environ | environment, check=True)
    subprocess.run([PYTHON, SERVERS / "row.py", folder], cwd=bake, env=os.environ | environment, check=True)
    with tarfile.open(bake / "build/service.bento") as bento:
        bento.extractall(folder / "bento", filter="data")
    model = {"MODEL": str(bake / "model"), "BENTOML_HOME": str(folder / "home"), "PATH": environment["PATH"]}
    ours = Server(
        (PYTHON, "-m", "bentoml", "serve", ".", "--port"),
        folder / "bento",
        {"BENTOML_HOME": str(folder / "ours"), "PREDICTION_LOG": str(folder / "log"), "PREDICTION_LOG_SECONDS": "5"},
    )
    logged = folder / "mlflow"
    variables = os.environ | model | {"TO": str(logged)}
    subprocess.run(
        [PYTHON, "-m", f"{THEIRS}.mlflow_model"], cwd=baking.ROOT, env=variables, check=True, capture_output=True
    )
    mlflow = [str(baking.VENV / "bin/mlflow"), "models", "serve", "--env-manager", "local"]
    mlflow += ["--model-uri", str(logged), "--workers", "1", "--port"]
    more = {"PYTHONPATH": str(baking.ROOT)}
    stock = (PYTHON, "-m", "bentoml", "serve", f"{THEIRS}.stock:Stock", "--port")
    return ours, {
        "FastAPI, async": Server(UVICORN, baking.ROOT, model | {"ASYNC": "1"}),
        "FastAPI, plain": Server(UVICORN, baking.ROOT, model),
        "stock BentoML": Server(stock, baking.ROOT, model),
        "mlflow models serve": Server(mlflow, folder, model | more, "/invocations", "mlflow"),
    }


def beside(ours: Server, others: Mapping[str, Server], folder: Path) -> Iterator[dict[str, Any]]:
    """What each answers a second, and at what p99; then at one rate."""
    with serving(ours, folder) as mine:
        mine.loaded(WARM)
        for name, server in others.items():
            with serving(server, folder) as theirs:
                theirs.loaded(WARM)
                us, them = by_turns(mine.loaded, theirs.loaded)
                bar = f">= {TIMES}" if name == "FastAPI, async" else ">= 1"
                yield compared(f"requests a second, beside {name}", us.rate, them.rate, "req/s", bar)
                yield compared(f"p99 at {CONNECTIONS} connections, beside {name}", us.p99(), them.p99(), "ms")
                yield compared(f"megabytes, beside {name}", mine.megabytes(), theirs.megabytes(), "MB")
                if name == "FastAPI, async":
                    us, them = by_turns(partial(mine.at, RATE), partial(theirs.at, RATE))
                    what = f"p99 at {RATE:,} requests a second offered, beside {name}"
                    yield compared(what, us.p99(), them.p99(), "ms", "<= 1")
        many = replace(mine, server=replace(ours, body="many"))
        us, them = by_turns(many.loaded, mine.loaded)
        yield compared("rows a second, 64 in a request, beside one", 64 * us.rate, them.rate, "rows/s")


def alone(ours: Server, folder: Path) -> Iterator[dict[str, Any]]:
    """What log and counters cost; whether it stays as it is over minutes; what it does where too much is asked."""
    with serving(silent(ours, folder), folder) as quiet, serving(ours, folder) as mine:
        for each in (quiet, mine):
            each.loaded(SECONDS)
        us, them = by_turns(mine.loaded, quiet.loaded)
        what = "requests a second, log and live drift on, beside both off"
        yield compared(what, us.rate, them.rate, "req/s", ">= 0.9")
        began = mine.megabytes()
        whole = mine.loaded(STEADY)
        second, last = (whole.between(60 * minute, 60 * minute + 60) for minute in (1, STEADY // 60 - 1))
        yield compared("p99 of the last of 5 minutes, beside the second", last.p99(), second.p99(), "ms", "<= 1.2")
        yield compared("megabytes after 5 minutes, beside before", mine.megabytes(), began, "MB", "<= 1.1")
        offered = mine.at(OFFERED * us.rate, connections=200)
        yield row(f"p99 of what is answered, {OFFERED} times the peak offered", offered.p99(), "ms", "<= 100")
        told = set(np.unique(offered.status).tolist())
        yield row("and the rest: statuses other than 200 and 429", len(told - {200, 429}), "", "<= 0")
        yield row("answered of them", 100 * float((offered.status == 200).mean()), "%", None)
        with idle(mine.port):
            crowd = mine.at(RATE)
        usual = mine.at(RATE)
        yield row(
            f"failed at {RATE:,} a second, beside {IDLE:,} connections", int((crowd.status != 200).sum()), "", "<= 0"
        )
        what = f"p99 at {RATE:,} a second, beside {IDLE:,} connections and without"
        yield compared(what, crowd.p99(), usual.p99(), "ms", "<= 2")


def by_turns(*sides: Callable[[], Load]) -> list[Load]:
    """What the sides do in TURNS turns each, one after the other."""
    turns = [[side() for side in sides] for _ in range(TURNS)]
    return [together(side) for side in zip(*turns, strict=True)]


def together(loads: Sequence[Load]) -> Load:
    """Several loads as one."""
    status, ms, sent = (np.concatenate([getattr(load, name) for load in loads]) for name in ("status", "ms", "sent"))
    return Load(status, ms, sent, sum(load.seconds for load in loads))


def silent(ours: Server, folder: Path) -> Server:
    """The same service without its log and what is counted of each row: of a copy, as no switch turns them off."""
    copy = folder / "silent"
    shutil.copytree(ours.folder, copy)
    writer = next(copy.rglob("pipeline/writer.py"))
    text = writer.read_text()
    taken = "        now, number = time_ns() // 1_000, len(identifiers)\n"
    assert taken in text
    writer.write_text(text.replace(taken, "        return\n" + taken))
    return replace(ours, folder=copy)


# --- servers ---


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    server: Server
    folder: Path
    port: int
    process: psutil.Process
    log: Path

    def loaded(self, seconds: int = SECONDS) -> Load:
        """As much as CONNECTIONS callers can ask, each for the next answer once it has one."""
        return h2load(self, CONNECTIONS, seconds)

    def at(self, rate: float, connections: int = CONNECTIONS) -> Load:
        """So many requests a second, whether they are answered or not."""
        return h2load(self, connections, SECONDS, f"--rps={rate / connections}")

    def megabytes(self) -> float:
        """Of its process that uses most."""
        return float(max(each.memory_info().rss for each in (self.process, *self.process.children(True)))) / 1e6


@contextmanager
def serving(server: Server, folder: Path, port: int | None = None) -> Iterator[Served]:
    """A server, on a free port or the one that is named, once it answers what it will be asked."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = port or int(free.getsockname()[1])
    log = folder / f"server-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            (*server.command, str(port)),
            cwd=server.folder,
            env=os.environ | server.variables,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 120
        while not answers(port, server, folder):
            assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.2)
        yield Served(server, folder, port, psutil.Process(process.pid), log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def answers(port: int, server: Server, folder: Path) -> bool:
    """Whether it answers."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        headers = {"content-type": "application/json"}
        connection.request("POST", server.path, (folder / f"{server.body}.json").read_bytes(), headers)
        return connection.getresponse().status == 200
    except OSError:
        return False


BEGUN = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"


@contextmanager
def idle(port: int) -> Iterator[None]:
    """Many connections that are open, of which every second has begun a request and does not go on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, IDLE + 1_000), hard))
    with ExitStack() as stack:
        for number in range(IDLE):
            held = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            if number % 2:
                held.sendall(BEGUN)
        yield


# --- load ---


def h2load(on: Served, connections: int, seconds: int, *more: str) -> Load:
    """What h2load measures; raises RuntimeError with its words where it measures nothing."""
    log = on.folder / "requests.log"
    log.unlink(missing_ok=True)
    command = ("h2load", "--h1", "-t1", f"-c{connections}", f"-D{seconds}", f"--log-file={log}", *more)
    about = ("-d", str(on.folder / f"{on.server.body}.json"), "-H", "content-type: application/json")
    done = baking.run(*command, *about, f"http://127.0.0.1:{on.port}{on.server.path}", cwd=on.folder)
    if done.returncode or not log.exists() or not log.stat().st_size:
        raise RuntimeError(done.stdout)
    sent, status, took = np.loadtxt(log, dtype=np.int64, ndmin=2).T
    return Load(status, took / 1000, (sent - sent.min()) / 1e6, seconds)


# --- rows of the table ---


def compared(what: str, ours: float, theirs: float, unit: str, bar: str | None = None) -> dict[str, Any]:
    """Ours beside theirs; the bar is the ratio's."""
    ratio = ours / theirs if theirs else None
    return {**row(what, ours, unit, bar), "theirs": theirs, "ratio": ratio, "reached": reached(ratio, bar)}


def row(what: str, ours: float, unit: str, bar: str | None) -> dict[str, Any]:
    """A row with no other side; the bar is its own."""
    return {
        "what": what,
        "ours": ours,
        "theirs": None,
        "unit": unit,
        "ratio": None,
        "bar": bar,
        "reached": reached(ours, bar),
    }


def reached(value: float | None, bar: str | None) -> bool:
    """Whether a value keeps to a bar."""
    if bar is None:
        return True
    sign, number = bar.split()
    return value is not None and (value >= float(number) if sign == ">=" else value <= float(number))
