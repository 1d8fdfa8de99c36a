"""What a bake's customers do, and how well they were scored: told by the bake's own code, in a process in its folder.

`python traffic.py rows FIRST LAST FILE` writes what the service is asked on these days; `quality FIRST LAST` prints the
weeks from FIRST on, each measured as the drift check measures the newest one.
"""

import json
import sys
from datetime import date, timedelta
from typing import Any

WEEK = timedelta(days=7)


def rows(first: date, last: date, file: str) -> None:
    """The feature row of each transaction, with its id and its moment, in time order, as parquet."""
    import polars as pl
    from pipeline import features, params, schema

    from_bake = params.load()
    windows, delay = from_bake["features"]["windows"], from_bake["features"]["delay"]
    table = features.compute(source(first - timedelta(days=max(windows) + delay), last), windows, delay)
    names = [column.name for column in schema.feature_row(windows)]
    moment = pl.col(schema.TIME).dt.strftime("%Y-%m-%dT%H:%M:%S")
    asked = table.filter(pl.col(schema.TIME).dt.date() >= first).select(schema.ID, moment, *names)
    asked.write_parquet(file)


def quality(first: date, last: date) -> None:
    """A line of JSON a week: its first day, who answered, its average precision with the interval, and each day's."""
    import polars as pl
    from pipeline import log, monitor, params
    from pipeline.schema import TIME

    logged = log.read(None, first, last).with_columns(pl.col(TIME).dt.date().alias(monitor.DAY))
    while first + WEEK - timedelta(days=1) <= last:
        days: list[dict[str, Any]] = [{"day": first + timedelta(days=number)} for number in range(7)]
        of_week = logged.filter(pl.col(monitor.DAY).is_between(first, days[-1]["day"]))
        live = monitor.live(of_week, (first, days[-1]["day"]), params.load(), days)
        models = of_week[log.MODEL].unique().to_list()
        found = {"first": first, "models": models, "rows": len(of_week), "days": days}
        print(json.dumps(found | live["metrics"]["average_precision"], default=str))
        first += WEEK


def source(first: date, last: date) -> Any:
    """The transactions of these days, with their labels."""
    from pipeline import monitor, params

    return monitor.source(params.load(), first, last)


if __name__ == "__main__":
    sys.path.insert(0, ".")
    first, last = (date.fromisoformat(day) for day in sys.argv[2:4])
    if sys.argv[1] == "rows":
        rows(first, last, sys.argv[4])
    else:
        quality(first, last)
