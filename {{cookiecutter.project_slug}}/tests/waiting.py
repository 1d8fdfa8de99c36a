"""Waiting for what another thread does."""

import time
from collections.abc import Callable


def wait_until(done: Callable[[], bool]) -> None:
    """Waits until it is done."""
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline, "not done in time"
        time.sleep(0.01)
