"""Simulating and computing all features, beside the same computation in plain pandas, in time and memory.

The plain version is the bake's tests/example/reference.py, which does as the published notebooks do: a loop over
customers and draws, and pandas' rolling windows customer by customer and terminal by terminal. It takes minutes, so it
runs on a tenth of the customers and of the terminals, and its time is multiplied; with BENCH_FULL=1 it runs on all.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

BAKE = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}"
START, DAYS, MONTH = date(2018, 4, 1), 183, 30
CUSTOMERS, TERMINALS, RADIUS = 5_000, 10_000, 5.0
WINDOWS, DELAY = [1, 7, 30], 7


def rows() -> Iterator[dict[str, Any]]:
    """Times are of processes of their own, without imports: ours the best of three, the plain version's only one."""
    share = 1 if os.environ.get("BENCH_FULL") else 10
    ours = [measured("ours", CUSTOMERS, TERMINALS, RADIUS, DAYS) for _ in range(3)]
    plain = measured("plain", CUSTOMERS // share, TERMINALS // share, RADIUS * share**0.5, DAYS)
    times = "" if share == 1 else f", plain on 1/{share} times {share}"
    both = 0.0, 0.0
    for stage in ("simulate", "features"):
        fast, slow = min(run[stage] for run in ours), plain[stage] * share
        both = both[0] + fast, both[1] + slow
        yield row(f"{stage} {DAYS} days{times}", fast, slow, "s", slow / fast, None)
    yield row(f"both, {ours[0]['rows']:,} rows", *both, "s", both[1] / both[0], (">=", 50))
    peak = max(run["peak"] for run in ours)
    yield row("peak memory of both", peak, None, "GiB", peak, ("<=", 4))

    once, tenfold = (
        min(measured("ours", CUSTOMERS * times, TERMINALS, RADIUS, MONTH)["processor"] for _ in range(3))
        for times in (1, 10)
    )
    text = f"{MONTH} days of {CUSTOMERS * 10:,} customers, ours at {CUSTOMERS:,} beside it"
    yield row(text, tenfold, once, "CPU s", tenfold / once, ("<=", 15))  # ten, and what no longer fits the caches


def row(
    what: str, ours: float, theirs: float | None, unit: str, ratio: float, bar: tuple[str, float] | None
) -> dict[str, Any]:
    """A row of the table; a row without a bar reaches it."""
    reached = bar is None or (ratio >= bar[1] if bar[0] == ">=" else ratio <= bar[1])
    text = f"{bar[0]} {bar[1]}" if bar else None
    return {"what": what, "ours": ours, "theirs": theirs, "unit": unit, "ratio": ratio, "bar": text, "reached": reached}


def measured(version: str, *size: float) -> dict[str, float]:
    """One version in a process of its own: seconds of each stage and of all processors, rows, peak memory (GiB)."""
    command = [sys.executable, __file__, version, json.dumps(size)]
    modules = os.pathsep.join(map(str, (BAKE, BAKE / "tests" / "example")))
    environment = os.environ | {"PYTHONPATH": modules, "PYTHONDONTWRITEBYTECODE": "1"}
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


# --- in the process of its own ---


def ours(customers: int, terminals: int, radius: float, days: int) -> tuple[Callable, Callable]:
    """Our simulate and features, imported."""
    from pipeline import features, simulate

    knobs = {"seed": 0, "start": str(START), "customers": customers, "terminals": terminals, "radius": radius}
    last = START + timedelta(days=days - 1)
    return lambda: simulate.days(START, last, knobs), lambda table: features.compute(table, {"windows": WINDOWS}, DELAY)


def plain(customers: int, terminals: int, radius: float, days: int) -> tuple[Callable, Callable]:
    """The plain simulate and features, imported."""
    import reference  # type: ignore[import-not-found] # of the bake

    return (
        lambda: reference.simulate(START, days, customers, terminals, radius, seed=0),
        lambda table: reference.features(table, WINDOWS, DELAY),
    )


def run(simulate: Callable, features: Callable) -> dict[str, float]:
    """Both stages, timed."""
    start, processor = perf_counter(), process_time()
    table = simulate()
    between = perf_counter()
    features(table)
    end, processor = perf_counter(), process_time() - processor
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    seconds = {"simulate": between - start, "features": end - between, "processor": processor}
    return {**seconds, "rows": len(table), "peak": peak}


if __name__ == "__main__":
    print(json.dumps(run(*{"ours": ours, "plain": plain}[sys.argv[1]](*json.loads(sys.argv[2])))))
