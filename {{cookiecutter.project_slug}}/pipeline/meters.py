"""What the service counts of itself, for Prometheus to read at /metrics: of all its workers together.

Requests leave what is to be counted in lists, and now and then all of it is added at once: each single addition to a
counter that several processes share costs a system call or two.
"""

import asyncio
from collections import Counter as Occurrences
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from pipeline import tasks
from pipeline.model import Model, Value

PERIOD = 0.5  # seconds between additions
STATUSES = (200, 400, 408, 411, 413, 415, 429, 500)
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)  # seconds


class Meters:
    """Counters of a served model. Each is shown from the start: a counter that appears at 1 has no increase."""

    def __init__(self, served: Model, registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"scorer_{name}", about, labels, registry=registry)

        requests = counter("requests", "Requests to /predict, by the status of their answer", "status")
        self.requests = {status: requests.labels(status) for status in STATUSES}
        about = "Seconds from a request's headers to its answer, of those that were answered with 200"
        self.seconds = Many("scorer_request_seconds", about, buckets=LATENCY, registry=registry)
        self.rejected = counter("rejected", "Requests that were refused, by the reason", "reason")
        self.rows = counter("rows", "Rows that were answered")
        self.watched = meter(served, registry)
        self.logged = counter("log_rows", "Rows that the prediction log has written")
        self.lost = counter("log_lost_rows", "Rows that the prediction log has lost, by the reason", "reason")
        info = Gauge(
            "scorer_model_info", "The model that answers", ["model"], registry=registry, multiprocess_mode="max"
        )
        info.labels(served.digest).set(1)
        self.waiting: asyncio.TimerHandle | None = None
        self.statuses, self.reasons = Occurrences[int](), Occurrences[str]()
        self.latencies, self.values = list[float](), list[Value]()

    def scored(self, watched: Sequence[Value]) -> None:
        """Rows were scored, with these values of what is watched."""
        self.values.extend(watched)

    def answered(self, status: int, seconds: float) -> None:
        """A request got its answer."""
        self.statuses[status] += 1
        if status == 200:
            self.latencies.append(seconds)
        self.soon()

    def refused(self, reason: str) -> None:
        """A request was refused, or its caller has hung up."""
        self.reasons[reason] += 1
        self.soon()

    def soon(self) -> None:
        """Have it added within PERIOD."""
        if not self.waiting:
            self.waiting = asyncio.get_running_loop().call_later(PERIOD, self.add)

    def add(self) -> None:
        """Add all that was left to the counters."""
        self.waiting = None
        statuses, self.statuses = self.statuses, Occurrences()
        reasons, self.reasons = self.reasons, Occurrences()
        latencies, self.latencies = self.latencies, []
        values, self.values = self.values, []
        for status, number in statuses.items():
            self.requests[status].inc(number)
        for reason, number in reasons.items():
            self.rejected.labels(reason).inc(number)
        self.seconds.observe_all(latencies)
        self.rows.inc(len(values))
        self.watched(values)


class Many(Histogram):
    """A histogram that takes many values at once, which prometheus_client's own does not."""

    def observe_all(self, values: Sequence[float]) -> None:
        """As `observe` for each of them."""
        if not values:
            return
        places = np.searchsorted(self._upper_bounds, values)  # a bucket holds its upper end
        for place, number in enumerate(np.bincount(places).tolist()):
            if number:
                self._buckets[place].inc(number)
        self._sum.inc(float(np.sum(values)))


def meter(served: Model, registry: CollectorRegistry) -> Callable[[Sequence[Any]], None]:
    """Counts what is WATCHED of the answers: numbers in a histogram, classes each by itself."""
    task, problem = tasks.task(served.problem.task), served.problem
    name = f"scorer_{task.WATCHED}"
    if buckets := task.buckets(problem, served.settled):
        return Many(name, "What was answered", buckets=buckets, registry=registry).observe_all
    counter = Counter(name, "Rows, by what was answered", [task.WATCHED], registry=registry)
    for value in problem.values:
        counter.labels(value)

    def count(values: Sequence[Value]) -> None:
        for value, number in Occurrences(values).items():
            counter.labels(value).inc(number)

    return count
