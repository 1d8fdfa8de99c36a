"""Live quality before labels are there: what a calibrated model's answers say of themselves (tasks.expected).

Held beside what is measured on the days whose labels have matured, and no reason to retrain: where labels follow from
inputs in another way than they did, the answers know nothing of it. So it is withheld where the model was promoted, or
by the labelled days now is, less calibrated than `metrics` of policies/model.yaml ask of one that is promoted. It is
withheld too where it is not true of the labelled days.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl

from pipeline import evaluate, ingest, tasks
from pipeline.contract import Contract
from pipeline.logged import DRAWN, KEY, OUT, Day, identifiers, joined_by, joins
from pipeline.model import Problem
from pipeline.params import BadInput
from pipeline.reference import DAY
from pipeline.rows import LABEL, identified

CELLS = 20_000_000  # of what is looked at together, [rows, labels, labels]: so many classes take fewer rows
COUNTS = "_counts"  # how many rows of the log a row of the sample stands for

Facts = dict[str, Any]
Bars = Mapping[str, Any]


def withheld(
    ours: Contract, theirs: Problem, promoted: Bars, live: Bars | None, metrics: Mapping[str, Bars], kept: bool
) -> str:
    """Why nothing is estimated; nothing where it is.

    promoted: the metrics that the model had when it was promoted; live: those of the labelled days, if there are any.
    metrics: the bars of policies/model.yaml. kept: whether the log has rows to estimate from.
    """
    task = tasks.task(ours.task)
    if task.CALIBRATION is None:
        return f"what a model of the task {ours.task} says does not tell how likely each label is"
    if theirs.values != ours.label.values:
        return "production knows other classes than contract.yaml"
    if ours.weight:
        return f"rows count by {ours.weight}, which the log does not say"
    bar = metrics.get(task.CALIBRATION, {}).get("maximum")
    if bar is None:
        return f"policies/model.yaml does not say how large {task.CALIBRATION} may be"
    if not (then := promoted.get(task.CALIBRATION)):
        return f"{task.CALIBRATION} of the model in production is not known"
    if then["value"] > bar:
        return f"{task.CALIBRATION} was {then['value']:.3g} at its promotion, above {bar:g} of policies/model.yaml"
    now = (live or {}).get(task.CALIBRATION)
    if now and now["low"] > bar:
        return f"{task.CALIBRATION} is {now['value']:.3g} on the labelled days, above {bar:g} of policies/model.yaml"
    return "" if kept else "the log has no row of the days since labels matured"


def estimated(logged: Sequence[Day], matured: date, ours: Contract, knobs: Mapping[str, Any], of_day: str) -> Facts:
    """The metrics of the labelled days, up to `matured`, and of those before labels; by day the metric `of_day`.

    logged: the days, with rows in `some`, of which each stands for as many as its day has more. Raises BadInput.
    """
    rows = unknown(sample(logged), ours, knobs)
    task = tasks.task(ours.task)
    name = of_day if of_day in task.ESTIMATED else task.ESTIMATED[0]
    days = {day: part for (day,), part in rows.group_by(DAY, maintain_order=True)}
    return {
        "name": name,
        "labelled": over(rows.filter(pl.col(DAY) <= matured), ours),
        "before": over(rows.filter(pl.col(DAY) > matured), ours),
        "days": [{"day": day, "value": expected(part, ours).get(name)} for day, part in days.items()],
    }


def untrue(labelled: Facts | None, live: Bars | None) -> dict[str, str]:
    """The metrics whose estimate of the labelled days lies outside the interval of what was measured there, and why."""
    return {
        name: f"on the labelled days the answers let expect {value:.3g} of {name}, and "
        f"{found['value']:.3g} ({found['low']:.3g} to {found['high']:.3g}) is measured"
        for name, value in (labelled["metrics"] if labelled else {}).items()
        if (found := (live or {}).get(name)) and not found["low"] <= value <= found["high"]
    }


def over(rows: pl.DataFrame, ours: Contract) -> Facts | None:
    """The metrics of rows of several days; None where there are none."""
    if rows.is_empty():
        return None
    days = [rows[DAY].min(), rows[DAY].max()]
    return {"days": days, "rows": round(rows[COUNTS].sum()), "metrics": expected(rows, ours)}


def expected(rows: pl.DataFrame, ours: Contract) -> Mapping[str, float]:
    """The metrics that such rows are to have."""
    labels = max(len(ours.label.values), 1)
    some = rows.bottom_k(CELLS // labels**2, by=DRAWN)
    return tasks.expected(tasks.task(ours.task), tasks.taken(some[OUT]), some[COUNTS].to_numpy())


def sample(logged: Sequence[Day]) -> pl.DataFrame:
    """Rows of the days, with DAY and COUNTS."""
    parts = [
        of.some.with_columns(pl.lit(of.day).alias(DAY), pl.lit(of.rows / len(of.some)).alias(COUNTS))
        for of in logged
        if len(of.some)
    ]
    return pl.concat(parts, how="diagonal_relaxed").sort(DAY, maintain_order=True)


def unknown(rows: pl.DataFrame, ours: Contract, knobs: Mapping[str, Any]) -> pl.DataFrame:
    """The rows but for those of entities that are known to have a positive: they are not judged (evaluate.judged)."""
    known = knobs["evaluate"].get("known") if ours.dated else None
    if known is None or ours.entity is None or not identifiers(rows):
        return rows
    days: list[date] = rows[DAY].unique().sort().to_list()
    first, last = days[0], days[-1]
    rows = rows.with_columns(joined_by(rows))
    positive, told = tasks.task(ours.task).POSITIVE, []
    for number in range((last - first).days + 1 + ours.label.delay + known):
        day = last - timedelta(days=number)
        try:
            source = identified(ingest.between(knobs, day, day, ours), ours)
        except BadInput:  # no file of that day, or not yet: what else is wrong with it, `live` says
            continue
        source = source.with_columns(joins(source, ours.id, rows).alias(KEY))
        told.append(source.filter((pl.col(LABEL) == positive) | pl.col(KEY).is_in(rows[KEY].implode())))
    if not told:
        return rows
    there = pl.concat(told)
    judged = evaluate.judged(there, (first, last), ours, known)
    gone = there.filter(pl.col(ours.time).dt.date() >= first).join(judged, on=KEY, how="anti")
    return rows.join(gone.select(KEY), on=KEY, how="anti", maintain_order="left")
