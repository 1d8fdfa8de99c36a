"""Measure what production is asked, and what it answers, against what its model learned from: reports/drift.json.

The rows are those of the prediction log that the model in production answered; of policies/drift.yaml only the window
is read, its bars judge elsewhere (`make drift` does both). What cannot be told ends as `problem`, a sentence: the log
was written by whoever could reach the service, and a check that breaks over it would be silent about drift.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import wasserstein_distance

from pipeline import evaluate, ingest, log, model, params, policy
from pipeline.log import MODEL, SCORE, SCORED
from pipeline.params import BadInput, run_stage
from pipeline.places import opened
from pipeline.reference import DAY, PART, TEST, TRAIN
from pipeline.schema import ID, LABEL, TIME, Column

PRODUCTION = Path("build/production")  # `python -m gitops fetch-production build/production` fills it
MANIFEST = "deploy/production/manifest.json"
DRIFT = Path("reports/drift.json")
PAGE = Path("reports/drift.html")

WEIGHT = "weight"
METHOD = "Wasserstein distance (normed)"  # as Evidently calls it, and computes it
NARROW = 0.001  # the least deviation that a distance is measured in, as Evidently has it
FAR = 1e6  # deviations: as good as infinite, which JSON has no word for
WHOLE = 0.9  # of a day's rows, for it to be a day of one model: on the day of a promotion the morning is another's
HISTORY = 28  # days of the log, to say since when
FEW = 100  # rows: a day with fewer has no distance of its own
PAGE_ROWS = 10_000  # a side: the page takes seconds, and its numbers are close to those of all rows
RED, BLUE = "#ed0400", "#0b62c4"  # Evidently draws what is healthy in red too, and has no setting for it

Facts = dict[str, Any]
Span = tuple[date, date]  # first and last day, inclusive


@dataclass(frozen=True)
class Production:
    """The model in production, and the rows to compare with."""

    digest: str
    inputs: tuple[Column, ...]  # those that the log keeps as they are
    reference: pl.DataFrame  # as reference.py wrote it

    def like(self, part: str, days: Sequence[date]) -> pl.DataFrame:
        """The reference's rows of a part, with a WEIGHT by which each day of the week counts as often as in `days`.

        Weekends are not like weekdays, and neither the log's days nor the training days need be whole weeks.
        """
        weekday, asked = pl.col(DAY).dt.weekday(), Counter(day.isoweekday() for day in days)
        rows = self.reference.filter(pl.col(PART) == part)
        held = dict(rows.group_by(weekday.alias("weekday")).agg(pl.col(DAY).n_unique()).iter_rows())
        weight = {number: asked[number] / held[number] for number in held}
        same = rows.with_columns(weekday.replace_strict(weight, return_dtype=pl.Float64).alias(WEIGHT))
        same = same.filter(pl.col(WEIGHT) > 0)
        return same if len(same) else rows.with_columns(pl.lit(1.0).alias(WEIGHT))


def main() -> None:
    """Write reports/drift.json, whatever there is to be read; reports/drift.html, where there is something in it."""
    knobs, now = params.load(), datetime.now(UTC)
    facts = nothing(knobs)
    PAGE.unlink(missing_ok=True)
    PAGE.parent.mkdir(exist_ok=True)
    try:
        bars = policy.load("drift")
        production = in_production()
        if production and configured():
            facts |= {"model": production.digest, "configured": True}
            window = measure(facts, production, knobs, bars["window"], now)
            if window is not None:
                show(production, window, bars)
        elif production:
            facts["model"] = production.digest
    except (Exception, SystemExit, pl.exceptions.PanicException) as error:  # a hostile file fails in its own way
        facts["problem"] = sentence(error)
    with ingest.replacing(DRIFT) as temporary:
        temporary.write_text(json.dumps(facts, indent=2, default=str, allow_nan=False) + "\n")
    print("\n".join(summary(facts)))


def nothing(knobs: Mapping[str, Any]) -> Facts:
    """The facts where nothing was measured."""
    return {
        "model": None,
        "configured": False,
        "problem": None,
        "window": None,
        "rows": 0,
        "reference_rows": 0,
        "columns": [],
        "score": None,
        "live": None,
        "days": [],
        "retrain": {"until": None, "now": str(knobs["data"].get("until")), "snapshot": None},
    }


def sentence(error: BaseException) -> str:
    """What an error says, in one printable line of fair length."""
    said = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    known = isinstance(error, SystemExit | model.BadModel)
    return (said if known else f"{type(error).__name__}, which nobody expected: {said}")[:400]


# --- what is there ---


def in_production() -> Production | None:
    """What `fetch-production` brought; None where nothing is in production yet. Raises BadInput, BadModel."""
    if not (PRODUCTION / "manifest.json").exists():
        return None
    scorer = model.load(PRODUCTION / "model")
    personal = log.policy(scorer.inputs).personal
    inputs = tuple(column for column in scorer.inputs if column.name not in personal)
    reference = pl.read_parquet(PRODUCTION / "reference.parquet")
    return Production(scorer.digest, inputs, reference)


def configured() -> bool:
    """Whether there is a prediction log to look for."""
    return bool(os.environ.get("PREDICTION_LOG")) or Path(log.Folder.at().root).is_dir()


def promoted() -> datetime:
    """When production last changed, by git; long ago where no commit has it. Raises BadInput where git fails."""
    command = ["git", "rev-list", "--max-count=1", "--timestamp", "HEAD", "--", MANIFEST]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except OSError:
        raise BadInput("git is needed to tell since when the model is in production: install it") from None
    except subprocess.CalledProcessError as error:
        raise BadInput(f"git does not tell since when the model is in production: {error.stderr}") from None
    return datetime.fromtimestamp(int(said.partition(" ")[0] or 0), UTC)


# --- measuring ---


def measure(
    facts: Facts, production: Production, knobs: dict[str, Any], bars: Mapping[str, int], now: datetime
) -> pl.DataFrame | None:
    """Fill in the facts, so that what was found before a problem stays; the rows of the window, if they are enough.

    Raises BadInput, and whatever a file that is no log makes polars raise.
    """
    known = [day for day in log.days() if day < now.date()]  # today is not over
    early = now - promoted() < timedelta(days=bars["grace_days"]) or 0 < len(known) < bars["grace_days"]
    if not known:
        if early:
            return None
        raise BadInput(
            "the prediction log holds no day: the service does not log, or PREDICTION_LOG names another place"
        )
    window = span(known[-1], bars["days"])
    facts["window"] = list(window)
    matured = (newest_day(knobs) or window[1]) - timedelta(days=knobs["features"]["delay"])
    labelled = span(min(matured, window[1]), bars["days"])

    read = rows_of(min(span(window[1], HISTORY)[0], labelled[0]), window[1])
    check_written(read, now - timedelta(days=bars["silent_days"]))
    ours, days = of_production(read, production), whole_days(read, production.digest)
    looked_at = [day for day in days if day >= window[0]]
    if len(looked_at) < bars["minimum_days"]:
        if early:
            return None
        raise BadInput(
            f"the model in production answered on {len(looked_at)} whole days from {window[0]} to {window[1]}, "
            f"{bars['minimum_days']} are needed: is it the one that is deployed?"
        )
    rows = ours.filter(pl.col(DAY).is_in(looked_at))
    facts["rows"] = len(rows)
    if len(rows) < bars["rows"]:
        raise BadInput(
            f"the log holds {len(rows):,} rows of the model in production from {window[0]} to {window[1]}, "
            f"{bars['rows']:,} are needed: rows are lost, or window.rows in policies/drift.yaml is not for this service"
        )
    reference = production.like(TRAIN, looked_at)
    facts["reference_rows"] = len(reference)
    facts["columns"] = [column_facts(column, reference, rows) for column in production.inputs]
    facts["score"] = {"distance": distance(production.like(TEST, looked_at), rows, SCORE), "method": METHOD}
    facts["days"] = [day_facts(day, production, ours.filter(pl.col(DAY) == day)) for day in days]
    facts["live"] = live(ours, labelled, knobs, facts["days"])
    facts["retrain"] |= retrain(knobs, matured)
    return rows


def span(last: date, days: int) -> Span:
    """So many days, up to `last`."""
    return last - timedelta(days=days - 1), last


def rows_of(first: date, last: date) -> pl.DataFrame:
    """The log's rows of `first` to `last`, with their DAY."""
    rows = log.read(None, first, last).with_columns(pl.col(TIME).dt.date().alias(DAY))
    return rows.filter(pl.col(DAY).is_between(first, last))


def check_written(rows: pl.DataFrame, since: datetime) -> None:
    """Raises BadInput where the newest row was scored before `since`."""
    written = rows[SCORED].max()
    if not isinstance(written, datetime) or written < since:
        when = f"since {written:%Y-%m-%d %H:%M}" if isinstance(written, datetime) else "in these days"
        raise BadInput(f"nothing was written to the prediction log {when}: the service, or its log, is down")


def of_production(rows: pl.DataFrame, production: Production) -> pl.DataFrame:
    """The rows that the model in production answered, one a transaction. Raises BadInput where they make no sense."""
    ours = rows.filter(pl.col(MODEL) == production.digest)
    if ID in ours.columns:
        ours = ours.unique(ID, keep="last", maintain_order=True)
    odd = [column.name for column in production.inputs if not numeric(ours, column.name)] if len(ours) else []
    if odd:
        raise BadInput(f"the log's {', '.join(odd[:3])} hold no numbers: the service does not log what it is asked")
    if not ours[SCORE].is_between(0, 1).fill_null(False).all():
        raise BadInput("the log holds scores that are no probabilities: something else than the service writes to it")
    return ours


def numeric(rows: pl.DataFrame, name: str) -> bool:
    """Whether a column is there and holds numbers."""
    return name in rows.columns and rows.schema[name].is_numeric()


def whole_days(rows: pl.DataFrame, digest: str) -> list[date]:
    """The days that are the model's: it answered nearly all of their rows."""
    share = rows.group_by(DAY).agg(pl.col(MODEL).eq_missing(digest).mean().alias("share"))
    return sorted(share.filter(pl.col("share") >= WHOLE)[DAY])


def column_facts(column: Column, reference: pl.DataFrame, rows: pl.DataFrame) -> Facts:
    """A column's distance from the reference, and the shares of its rows that have no value or one out of range."""
    value = pl.col(column.name).cast(pl.Float64)
    outside = (value < column.minimum if column.minimum is not None else pl.lit(False)) | (
        value > column.maximum if column.maximum is not None else pl.lit(False)
    )
    there = value.is_finite().fill_null(False)
    missing, out = rows.select((~there).mean(), (there & outside).mean().fill_null(0.0).alias("out")).row(0)
    return {
        "name": column.name,
        "distance": distance(reference, rows, column.name),
        "method": METHOD,
        "missing": missing,
        "out_of_range": out,
    }


def day_facts(day: date, production: Production, rows: pl.DataFrame) -> Facts:
    """A single day's distances; `live` adds its quality."""
    train, test = production.like(TRAIN, [day]), production.like(TEST, [day])
    enough = len(rows) >= FEW
    return {
        "day": day,
        "rows": len(rows),
        "score": distance(test, rows, SCORE) if enough else None,
        "columns": {c.name: distance(train, rows, c.name) if enough else None for c in production.inputs},
        "average_precision": None,
    }


def distance(reference: pl.DataFrame, rows: pl.DataFrame, name: str) -> float | None:
    """Mean shift of a column's sorted values, in deviations of the reference; None where one of both has no value."""
    value = pl.col(name).cast(pl.Float64)
    before, weight = (
        reference.filter(value.is_finite()).select(value, WEIGHT)[column].to_numpy() for column in (name, WEIGHT)
    )
    now = rows.filter(value.is_finite())[name].cast(pl.Float64).to_numpy()
    if not (len(before) and len(now)):
        return None
    deviation = np.sqrt(np.cov(before, aweights=weight, ddof=0))
    with np.errstate(over="ignore"):
        return float(min(wasserstein_distance(before, now, weight) / max(deviation, NARROW), FAR))


# --- labels ---


def newest_day(knobs: Mapping[str, Any]) -> date | None:
    """The newest daily file of data.source; None for the simulator, which has any day. Raises BadInput."""
    source = ingest.source_of(dict(knobs))
    if source == ingest.SIMULATE:
        return None
    with ingest.speaking(f"data.source {source}"):
        system, folder = opened(source, "data.source")
        days = [log.day_of(path.removesuffix(".parquet")) for path in system.ls(folder, detail=False)]
    if not (found := [day for day in days if day]):
        raise BadInput(f"data.source {source}: holds no file named YYYY-MM-DD.parquet")
    return max(found)


def retrain(knobs: dict[str, Any], matured: date) -> Facts:
    """What params.yaml would say to learn from the newest labels: `data.until`, and a snapshot where one is pinned."""
    if matured <= params.days(knobs).test[1]:
        return {}
    until = str(matured)
    if knobs["data"].get("snapshot") is None:
        return {"until": until}
    days = params.days({**knobs, "data": {**knobs["data"], "until": until}})
    files = ingest.files(ingest.source_of(knobs), days.since, days.test[1])
    records = ingest.every(lambda file: ingest.record(file.name, file.read()), files)
    return {"until": until, "snapshot": ingest.snapshot(records)}


def source(knobs: dict[str, Any], first: date, last: date) -> pl.DataFrame:
    """The source's rows of the days `first` to `last`. Raises BadInput where they cannot be read."""
    where = ingest.source_of(knobs)
    if where == ingest.SIMULATE:
        return ingest.contract(ingest.simulator().days(first, last, knobs.get("simulate")), where)
    return pl.concat(table for _, table in ingest.every(ingest.read_and_record, ingest.files(where, first, last)))


def live(rows: pl.DataFrame, matured: Span, knobs: dict[str, Any], days: Sequence[Facts]) -> Facts | None:
    """Quality on the matured days, measured as evaluate measures the test week; each day's goes into `days`.

    None where the model in production has no row of these days, or the log no identifiers to join by.
    """
    rows = rows.filter(pl.col(DAY).is_between(*matured))
    if rows.is_empty() or ID not in rows.columns:
        return None
    delay, known = knobs["features"]["delay"], knobs["evaluate"]["known"]
    labels = source(knobs, matured[0] - timedelta(days=delay + known), matured[1])
    keys = labels[ID] if rows.schema[ID].is_integer() else log.pseudonym(labels[ID])
    labelled = labels.with_columns(keys.alias("key")).join(
        rows.select(pl.col(ID).alias("key"), SCORE), on="key", how="left", maintain_order="left"
    )
    judged = evaluate.judged(labelled, matured, delay, known).drop_nulls(SCORE)
    for day in days:
        day["average_precision"] = average_precision(judged.filter(pl.col(TIME).dt.date() == day["day"]))
    return {
        "days": list(matured),
        "rows": len(judged),
        "unlabelled": len(rows) - rows[ID].is_in(keys.implode()).sum(),
        "metrics": metrics(judged, knobs["evaluate"]),
    }


def metrics(judged: pl.DataFrame, knobs: Mapping[str, Any]) -> Facts:
    """Each metric with its interval, None for what has no value: all of them, where the rows have one label only."""
    if judged[LABEL].n_unique() < 2:
        return {"average_precision": dict.fromkeys(("value", "low", "high"))}
    test = evaluate.as_test(judged, knobs["alerts"])
    weights = evaluate.resamples(test.units, knobs["resamples"], knobs["seed"])
    found = evaluate.intervals(evaluate.measure(test, judged[SCORE].to_numpy(), weights), knobs["confidence"])
    return {name: {end: value if isfinite(value) else None for end, value in of.items()} for name, of in found.items()}


def average_precision(judged: pl.DataFrame) -> float | None:
    """The average precision; None where the rows are few, or have one label only."""
    if len(judged) < FEW or judged[LABEL].n_unique() < 2:
        return None
    test = evaluate.as_test(judged)
    counts = evaluate.counts(test, judged[SCORE].to_numpy(), np.ones((1, test.units)))
    return float(evaluate.average_precision(*counts)[0])


# --- speaking ---


def show(production: Production, rows: pl.DataFrame, bars: Mapping[str, Any]) -> None:
    """Write the page, or say why there is none: it is for people, and no verdict hangs on it."""
    try:
        page(production, rows, bars)
    except Exception as error:  # Evidently's own, over values that it did not expect
        print(f"{PAGE}: not written: {sentence(error)}")


def page(production: Production, rows: pl.DataFrame, bars: Mapping[str, Any]) -> None:
    """Evidently's page of the same columns against the same bars, on a sample; it opens without a network."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    days = rows[DAY].unique().to_list()
    names = [*(column.name for column in production.inputs if rows[column.name].count()), SCORE]
    # The scores stand beside inputs of other rows: Evidently looks at one column at a time.
    inputs, scores = (drawn(production.like(part, days), PAGE_ROWS) for part in (TRAIN, TEST))
    reference = inputs.with_columns(scores[SCORE])
    current = rows.sample(min(PAGE_ROWS, len(rows)), seed=0)
    definition = DataDefinition(numerical_columns=names)
    sides = [
        Dataset.from_pandas(table.select(pl.col(names).cast(pl.Float64)).to_pandas(), data_definition=definition)
        for table in (current, reference)
    ]
    preset = DataDriftPreset(
        columns=names,
        num_method="wasserstein",
        num_threshold=bars["columns"]["maximum"],
        per_column_threshold={**bars["columns"]["exceptions"], SCORE: bars["score"]["maximum"]},
        drift_share=1 / len(names),  # one column is drift enough; half of them is Evidently's default
    )
    html = Report([preset]).run(*sides).get_html_str(as_iframe=False)
    PAGE.write_text(html.replace(RED, BLUE), encoding="utf-8")


def drawn(rows: pl.DataFrame, number: int) -> pl.DataFrame:
    """So many of the rows, by their weight, some of them twice."""
    share = rows[WEIGHT].to_numpy() / rows[WEIGHT].sum()
    return rows[np.random.default_rng(0).choice(len(rows), number, p=share)]


def summary(facts: Facts) -> Iterator[str]:
    """What was measured, for a person; nothing of it is text from the log."""
    if facts["problem"]:
        yield f"{DRIFT}: could not tell: {facts['problem']}"
    elif not facts["configured"]:
        lacks = "PREDICTION_LOG names no log" if facts["model"] else "nothing is in production"
        yield f"{DRIFT}: not configured: {lacks} yet"
    elif not facts["columns"]:
        yield f"{DRIFT}: the model in production has not answered for long enough yet"
    else:
        first, last = facts["window"]
        yield f"{DRIFT}: {facts['rows']:,} rows, {first} to {last}, against {facts['reference_rows']:,} of training"
        far = sorted(facts["columns"], key=lambda column: -(column["distance"] or 0))
        yield "furthest: " + ", ".join(f"{c['name']} {c['distance'] or 0:.3f}" for c in far[:3])
        yield f"scores: {facts['score']['distance']:.3f}"
        if facts["live"]:
            yield "live, {days[0]} to {days[1]}: {rows:,} labelled rows, {unlabelled:,} not labelled".format(
                **facts["live"]
            )
            yield from (
                "{0} {value:.3f} ({low:.3f} to {high:.3f})".format(name, **metric)
                for name, metric in facts["live"]["metrics"].items()
                if metric["value"] is not None
            )


if __name__ == "__main__":
    run_stage(main)
