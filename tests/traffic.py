"""What a bake's callers ask, and how well it was scored: told by the bake's own code, in a process in its folder.

`python traffic.py rows FIRST LAST FILE` writes what the service is asked on these days, or of the deliveries of these
days where rows have no time; `quality FIRST LAST METRIC` prints the weeks from FIRST on, each measured as the drift
check measures the newest one.
"""

import json
import sys
from datetime import date, timedelta
from typing import Any

WEEK = timedelta(days=7)
MOMENT = "%Y-%m-%dT%H:%M:%S%.f"


def rows(first: date, last: date, file: str) -> None:
    """What the service is asked of each row, with its identifier and its moment, in time order, as parquet."""
    import polars as pl
    from pipeline import contract, ingest, params
    from pipeline.rows import made

    ours, knobs = contract.load(), params.load()
    if not ours.dated:
        delivered = ingest.between(knobs, first, last, ours)
        delivered.select(ours.id, *(column.name for column in ours.inputs)).write_parquet(file)
        return
    features = knobs.get("features") or {}
    history = max(features.get("windows", [0])) + ours.label.delay
    source = ingest.between(knobs, first - timedelta(days=history), last, ours)
    table = made(source, ours, features).filter(pl.col(ours.time).dt.date() >= first)
    times = [] if ours.computed else [column.name for column in ours.inputs if column.type == "time"]
    said = source.select(ours.id, *times)  # a caller says when it was, a model learns how long ago
    asked = table.drop(times).join(said, on=ours.id, how="left", maintain_order="left")
    asked = asked.with_columns(pl.col(name).dt.strftime(MOMENT) for name in (ours.time, *times))
    asked.select(ours.id, ours.time, *(column.name for column in ours.inputs)).write_parquet(file)


def quality(first: date, last: date, metric: str) -> None:
    """A line of JSON a week: its first day, who answered, the metric with its interval, and by day if it is."""
    import polars as pl
    from pipeline import contract, evaluate, log, monitor, params
    from pipeline.model import Problem

    ours, knobs = contract.load(), params.load()
    logged = log.read(None, first, last).with_columns(pl.col(log.TIME).dt.date().alias(monitor.DAY))
    logged = monitor.answered(logged, Problem.of(ours))
    by_day = evaluate.headline(ours, knobs["evaluate"]) == metric
    while first + WEEK - timedelta(days=1) <= last:
        days: list[dict[str, Any]] = [
            dict.fromkeys(("day", "until"), first + timedelta(days=number)) for number in range(7)
        ]
        of_week = logged.filter(pl.col(monitor.DAY).is_between(first, days[-1]["day"]))
        live = monitor.live(of_week, (first, days[-1]["day"]), ours, knobs, days)
        models = of_week[log.MODEL].unique().to_list()
        told = [{"day": day["day"], "value": day["headline"] if by_day else None} for day in days]
        found = {"first": first, "models": models, "rows": len(of_week), "days": told}
        of_metric = live["metrics"][metric] or dict.fromkeys(("value", "low", "high"))
        print(json.dumps(found | of_metric, default=str))
        first += WEEK


if __name__ == "__main__":
    sys.path.insert(0, ".")
    first, last = (date.fromisoformat(day) for day in sys.argv[2:4])
    if sys.argv[1] == "rows":
        rows(first, last, sys.argv[4])
    else:
        quality(first, last, sys.argv[4])
