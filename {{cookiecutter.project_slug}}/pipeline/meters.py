"""What the service counts of itself, for Prometheus to read at /metrics: of all its workers together.

Requests leave what is to be counted in lists, and now and then all of it is added at once: each single addition to a
counter that several processes share costs a system call or two.
"""

import asyncio
import os
from collections import Counter as Occurrences
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import polars as pl
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from pipeline import tasks
from pipeline.log import heartbeat
from pipeline.model import Model, Value
from pipeline.profile import Profile
from pipeline.writer import Log

PERIOD = 0.5  # seconds between additions
BEAT = 60.0  # seconds between two looks at the heartbeat
STATUSES = (200, 400, 408, 411, 413, 415, 429, 500)
REASONS = ("busy", "fault", "gone", "length", "media_type", "slow")  # a caller's mistakes come as pydantic names them
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)  # seconds


class Meters:
    """Counters of a served model. Each is shown from the start: a counter that appears at 1 has no increase."""

    def __init__(
        self,
        served: Model,
        registry: CollectorRegistry = REGISTRY,
        release: str = "",
        promoted: str = "",  # the digest of the model that should answer, where it is known
        profile: Profile | None = None,
        personal: Collection[str] = (),  # columns whose values are not told
    ) -> None:
        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"scorer_{name}", about, labels, registry=registry)

        requests = counter("requests", "Requests to /predict, by the status of their answer", "status")
        self.requests = {status: requests.labels(status) for status in STATUSES}
        about = "Seconds from a request's headers to its answer, of those that were answered with 200"
        self.seconds = Many("scorer_request_seconds", about, buckets=LATENCY, registry=registry)
        self.rejected = counter("rejected", "Requests that were refused, by the reason", "reason")
        for reason in REASONS:
            self.rejected.labels(reason)
        self.rows = counter("rows", "Rows that were answered")
        self.tried = counter("tried", "Rows that people have tried on the service's page, which count nowhere else")
        self.watched = meter(served, registry)
        self.logged = counter("log_rows", "Rows that the prediction log has written")
        self.lost = counter("log_lost_rows", "Rows that the prediction log has lost, by the reason", "reason")
        info = gauge("model_info", "The model that answers, and its release", registry, "model", "release")
        info.labels(served.digest, release).set(1)
        if promoted:
            gauge("promoted_info", "The model that was promoted", registry, "model").labels(promoted).set(1)
        about = "Rows that the prediction log holds in memory"
        self.held = Gauge("scorer_log_held_rows", about, registry=registry, multiprocess_mode="livesum")
        self.moments = Moments(registry)
        self.expected = Expected(profile, personal, registry) if profile else None
        self.backlog, self.looked = 0, -BEAT
        self.waiting: asyncio.TimerHandle | None = None
        self.statuses, self.reasons = Occurrences[int](), Occurrences[str]()
        self.latencies, self.values = list[float](), list[Value]()

    def scored(self, watched: Sequence[Value], held: int) -> None:
        """Rows were scored, with these values of what is watched; the log now holds so many rows."""
        self.values.extend(watched)
        self.backlog = held

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
        self.held.set(self.backlog)

    # --- in the log's thread, as it takes its time ---

    def watch(self, table: pl.DataFrame) -> None:
        """Count the values of rows, as the log has them."""
        if self.expected:
            self.expected.count(table)

    def tick(self, kept: Log) -> None:
        """Tell how the log is, what today's rows should be like, and, once a BEAT, what the drift check has left."""
        self.backlog = kept.held
        self.held.set(self.backlog)
        if kept.newest:
            self.moments.set("log_written", kept.newest)
        if self.expected:
            self.expected.on(datetime.now(UTC).isoweekday())
        if not kept.away and monotonic() - self.looked >= BEAT:
            self.looked = monotonic()
            for name, moment in heartbeat(kept.folder).items():
                self.moments.set(f"drift_{name}", moment)


def forget_dead_workers() -> None:
    """Take away what workers held that were killed: it would be shown until the service ends."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for path in Path(folder).glob("gauge_live*_*.db") if folder else ():
        try:
            os.kill(int(path.stem.rpartition("_")[2]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)  # workers that start together all look
        except PermissionError:
            pass  # it lives, as somebody else's


def gauge(name: str, about: str, registry: CollectorRegistry, *labels: str) -> Gauge:
    """A number of which the workers' newest is shown, and not their sum."""
    return Gauge(f"scorer_{name}", about, labels, registry=registry, multiprocess_mode="mostrecent")


MOMENTS = {
    "log_written": "When the newest row that the prediction log has written was scored",
    "drift_checked": "When the drift check could last tell whether there is drift",
    "drift_newest": "When the newest row that the drift check saw was scored",
}


class Moments:
    """Points in time, each of which is shown from when there is one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry, self.known = registry, dict[str, Gauge]()

    def set(self, name: str, moment: datetime) -> None:
        """Show one of MOMENTS."""
        if name not in self.known:
            self.known[name] = gauge(f"{name}_timestamp_seconds", MOMENTS[name], self.registry)
        self.known[name].set(moment.timestamp())


class Expected:
    """Rows by the bins of a profile, beside the shares that it expects in them today."""

    def __init__(self, profile: Profile, personal: Collection[str], registry: CollectorRegistry) -> None:
        counter = Counter("scorer_values", "Rows, by the bin of a value", ["column", "bin"], registry=registry)
        about = "Share of the rows that is expected in a bin on this day of the week"
        share = gauge("profile_share", about, registry, "column", "bin")
        columns = {name: bins for name, bins in profile.columns.items() if name not in personal}
        self.columns = []
        for name, bins in columns.items():
            labels = [(shown(name, columns), each) for each in bins.names]
            self.columns.append(
                (name, bins, [counter.labels(*of) for of in labels], [share.labels(*of) for of in labels])
            )
        self.weekday = 0
        self.on(datetime.now(UTC).isoweekday())

    def on(self, weekday: int) -> None:
        """Expect what a day of the week brings, 1 for Monday."""
        if weekday != self.weekday:
            self.weekday = weekday
            for _, bins, _, shares in self.columns:
                for share, expected in zip(shares, bins.expected(weekday), strict=True):
                    share.set(expected)

    def count(self, table: pl.DataFrame) -> None:
        """Add rows, by the log's columns."""
        for name, bins, counters, _ in self.columns:
            for counter, number in zip(counters, bins.count(table[name]).tolist(), strict=True):
                if number:
                    counter.inc(number)


def shown(name: str, columns: Collection[str]) -> str:
    """What a column of the log is called: a part of an answer by its own name, unless an input has it."""
    bare = name.removeprefix("_")
    return name if bare in columns else bare


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
