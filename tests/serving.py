"""A bake's `make serve`, for as long as somebody asks it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def served(repository: Path) -> Iterator[str]:
    """The address of `make serve` in the repository, while it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = repository / "build" / "serve.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as output:
        command = ["make", "serve", f"PORT={port}"]
        server = subprocess.Popen(command, cwd=repository, stdout=output, stderr=output, start_new_session=True)
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
