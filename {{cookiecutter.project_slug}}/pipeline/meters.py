"""What the service counts of itself, for Prometheus to read at /metrics: of all its workers together."""

from collections import Counter as Occurrences
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from pipeline import tasks
from pipeline.model import Model, Value
from pipeline.writer import REASONS

STATUSES = (200, 400, 408, 411, 413, 415, 429, 500)
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)  # seconds


class Meters:
    """Counters of a served model. Each is shown from the start: a counter that appears at 1 has no increase."""

    def __init__(self, served: Model, registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"scorer_{name}", about, labels, registry=registry)

        requests = counter("requests", "Requests to /predict, by the status of their answer", "status")
        self.requests = {status: requests.labels(status) for status in STATUSES}
        self.seconds = Histogram(
            "scorer_request_seconds",
            "Seconds from a request's first byte to its answer, of those answered with 200",
            buckets=LATENCY,
            registry=registry,
        )
        self.rejected = counter("rejected", "Requests that were refused, by the reason", "reason")
        self.rows = counter("rows", "Rows that were answered")
        self.watched = meter(served, registry)
        self.logged = counter("log_rows", "Rows that the prediction log has written")
        self.lost = counter("log_lost_rows", "Rows that the prediction log has lost, by the reason", "reason")
        for reason in REASONS:
            self.lost.labels(reason)
        info = Gauge(
            "scorer_model_info", "The model that answers", ["model"], registry=registry, multiprocess_mode="max"
        )
        info.labels(served.digest).set(1)

    def scored(self, watched: Sequence[Value]) -> None:
        """Rows were answered, with these values of what is watched."""
        self.rows.inc(len(watched))
        self.watched(watched)

    def answered(self, status: int, seconds: float) -> None:
        """A request got its answer."""
        self.requests[status].inc()
        if status == 200:
            self.seconds.observe(seconds)

    def refused(self, reason: str) -> None:
        """A request was refused, or its caller has hung up."""
        self.rejected.labels(reason).inc()


def meter(served: Model, registry: CollectorRegistry) -> Callable[[Sequence[Value]], None]:
    """Counts what is WATCHED of the answers: numbers in a histogram, classes each by itself."""
    task, problem = tasks.task(served.problem.task), served.problem
    name = f"scorer_{task.WATCHED}"
    if buckets := task.buckets(problem, served.settled):
        observe = Histogram(name, "What was answered", buckets=buckets, registry=registry).observe

        def spread(values: Sequence[Any]) -> None:
            for value in values:
                observe(value)

        return spread
    counter = Counter(name, "Rows, by what was answered", [task.WATCHED], registry=registry)
    for value in problem.values:
        counter.labels(value)

    def count(values: Sequence[Value]) -> None:
        for value, number in Occurrences(values).items():
            counter.labels(value).inc(number)

    return count
