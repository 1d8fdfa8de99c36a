"""Measure what production is asked, and what it answers, against what its model learned from: reports/drift.json.

The rows are those of the prediction log that the model in production answered; of policies/drift.yaml only the window
is read, its bars judge elsewhere (`make drift` does both). How far chance alone goes is measured too. What cannot be
told ends as `problem`, a sentence: the log was written by whoever could reach the service, and a check that breaks over
it would be silent about drift.

What the columns are is said by the model's manifest, as production may hold another problem than this checkout: its
inputs and answers are watched all the same, its quality is not, and nothing is retrained for it.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import ceil, isfinite, nan, sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, evaluate, ingest, log, model, params, policy, source, tasks
from pipeline.contract import Contract
from pipeline.distance import ALARMS, JENSEN_SHANNON, WASSERSTEIN, Sample, apart, chances, spread
from pipeline.log import ID, MODEL, SCORED, TIME
from pipeline.model import Input, Outputs, Problem
from pipeline.params import BadInput, run_stage
from pipeline.personal import pseudonym
from pipeline.places import replacing
from pipeline.policy.drift import CATEGORY, misnamed, of_answer, of_columns
from pipeline.reading import count
from pipeline.reference import DAY, PART, TEST, TRAIN
from pipeline.rows import LABEL, identified, labels

PRODUCTION = Path("build/production")  # `python -m gitops fetch-production build/production` fills it
MANIFEST = "deploy/production/manifest.json"
DRIFT = Path("reports/drift.json")
PAGE = Path("reports/drift.html")

LIKE = "_like"  # how often a row of the reference counts
OUT = "_out"  # what the model said of a row: a column of its outputs
LEVELS = 100  # of a category, the most frequent, are told apart; the rarer ones that were learned count as one
ENOUGH = 100  # rows of a day, for it to say something by itself; where there are fewer, days are put together
WHOLE = 0.9  # of a day's rows, for it to be a day of one model: on the day of a promotion the morning is another's
HISTORY = 28  # days of the log, to say since when
PAGE_ROWS = 10_000  # a side: the page takes seconds, and its numbers are close to those of all rows
MISSING, RARER, OTHER = "missing", "rarer", "other"  # what the page calls them
RED, BLUE = "#ed0400", "#0b62c4"  # Evidently draws what is healthy in red too, and has no setting for it

Facts = dict[str, Any]
Span = tuple[date, date]  # first and last day, inclusive


@dataclass(frozen=True)
class Production:
    """The model in production, and the rows to compare with."""

    digest: str
    problem: Problem
    inputs: tuple[Input, ...]  # those that log and reference keep as they are
    reference: pl.DataFrame  # as reference.py wrote it

    @property
    def watched(self) -> str:
        """The column of the answers, numbers or codes of classes, whose drift is watched."""
        return log.kept(tasks.task(self.problem.task).WATCHED)

    def sides(self, days: Sequence[date]) -> tuple[Sample, Sample]:
        """What rows of such days are compared with: their inputs with TRAIN's, their answers with TEST's."""
        train, test = (self.sample(self.like(part, days)) for part in (TRAIN, TEST))
        inputs = {column.name: train.columns[column.name] for column in self.inputs}
        return Sample(inputs, train.weight), Sample({self.watched: test.columns[self.watched]}, test.weight)

    def sample(self, rows: pl.DataFrame) -> Sample:
        """Rows as distances are measured; by their LIKE, where they have one."""
        columns = {column.name: rows.select(measurable(column)).to_series().to_numpy() for column in self.inputs}
        columns[self.watched] = rows[self.watched].to_numpy()
        return Sample(columns, rows[LIKE].to_numpy() if LIKE in rows.columns else np.ones(len(rows)))

    def like(self, part: str, days: Sequence[date]) -> pl.DataFrame:
        """The reference's rows of a part, with a LIKE by which each day of the week counts as often as in `days`.

        Weekends are not like weekdays, and neither the log's days nor the training days need be whole weeks.
        """
        weekday, asked = pl.col(DAY).dt.weekday(), Counter(day.isoweekday() for day in days)
        rows = self.reference.filter(pl.col(PART) == part)
        held = dict(rows.group_by(weekday.alias("weekday")).agg(pl.col(DAY).n_unique()).iter_rows())
        weight = {number: asked[number] / held[number] for number in held}
        same = rows.with_columns(weekday.replace_strict(weight, return_dtype=pl.Float64).alias(LIKE))
        same = same.filter(pl.col(LIKE) > 0)
        return same if len(same) else rows.with_columns(pl.lit(1.0).alias(LIKE))


def main() -> None:
    """Write reports/drift.json, whatever there is to be read; reports/drift.html, where there is something in it."""
    knobs, now = params.load(), datetime.now(UTC)
    facts = nothing(knobs)
    PAGE.unlink(missing_ok=True)
    PAGE.parent.mkdir(exist_ok=True)
    try:
        bars = policy.load("drift")
        ours, production = contract.load(), in_production()
        if production:
            predicts = production.problem
            same = predicts.identity == ours.identity
            facts |= {"model": production.digest, "problem_name": predicts.name, "same_problem": same}
        if production and configured():
            facts["configured"] = True
            check_names(production, bars, ours)
            window = measure(facts, production, ours, knobs, bars, now)
            if window is not None:
                show(production, window, facts, bars)
    except (Exception, SystemExit, pl.exceptions.PanicException) as error:  # a hostile file fails in its own way
        facts["problem"] = sentence(error)
    with replacing(DRIFT) as temporary:
        temporary.write_text(json.dumps(facts, indent=2, default=str, allow_nan=False) + "\n")
    print("\n".join(summary(facts)))
    if facts["configured"]:
        beat(facts)


def beat(facts: Facts) -> None:
    """Leave word in the log's folder, where the service's metrics tell it; whoever may only read there, leaves none."""
    try:
        log.beat(log.Folder.at(), not facts["problem"], facts["newest"], facts["model"])
    except BadInput as error:
        print(error)


def nothing(knobs: Mapping[str, Any]) -> Facts:
    """The facts where nothing was measured."""
    return {
        "model": None,
        "problem_name": None,
        "same_problem": None,
        "configured": False,
        "problem": None,
        "newest": None,
        "window": None,
        "rows": 0,
        "reference_rows": 0,
        "columns": [],
        "answer": None,
        "live": None,
        "headline": None,
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
    reference, personal = pl.read_parquet(PRODUCTION / "reference.parquet"), log.policy().personal
    kept = (column for column in scorer.inputs if column.name in reference.columns and column.name not in personal)
    return Production(scorer.digest, scorer.problem, tuple(kept), reference)


def check_names(production: Production, bars: Mapping[str, Any], ours: Contract) -> None:
    """Raises BadInput where an exception is for no input: neither of this checkout, nor of the model in production."""
    known = {column.name: column.type == CATEGORY for column in ours.inputs}
    known |= {column.name: column.text for column in production.inputs if column.name not in known}
    numbers, categories = ([name for name, text in known.items() if text is kind] for kind in (False, True))
    if found := list(misnamed(bars, numbers, categories)):
        raise BadInput(f"policies/drift.yaml: {'; '.join(found)}")


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
    facts: Facts,
    production: Production,
    ours: Contract,
    knobs: dict[str, Any],
    policy: Mapping[str, Any],
    now: datetime,
) -> pl.DataFrame | None:
    """Fill in the facts, so that what was found before a problem stays; the rows of the window, if they are enough.

    Raises BadInput, and whatever a file that is no log makes polars raise.
    """
    bars = policy["window"]
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
    matured = newest_labels(knobs, ours, window[1]) if facts["same_problem"] else window[1]
    if facts["same_problem"]:  # also while it is early: by the clock, a model may be asked for all the same
        facts["retrain"] |= retrain(knobs, ours, matured)
    labelled = span(min(matured, window[1]), bars["days"])

    read = rows_of(min(span(window[1], HISTORY)[0], labelled[0]), window[1], production.digest)
    facts["newest"] = read[SCORED].max()
    check_written(read, now - timedelta(days=bars["silent_days"]))
    answered, days = of_production(read, production), whole_days(read, production.digest)
    looked_at = [day for day in days if day >= window[0]]
    if len(looked_at) < bars["minimum_days"]:
        if early:
            return None
        raise BadInput(
            f"the model in production answered on {count(len(looked_at), 'whole day')} from {window[0]} to "
            f"{window[1]}, {bars['minimum_days']} are needed: is it the one that is deployed?"
        )
    rows = answered.filter(pl.col(DAY).is_in(looked_at))
    facts["rows"] = len(rows)
    if len(rows) < bars["rows"]:
        raise BadInput(
            f"the log holds {count(len(rows), 'row')} of the model in production from {window[0]} to {window[1]}, "
            f"{bars['rows']:,} are needed: rows are lost, or window.rows in policies/drift.yaml is not for this service"
        )
    sides, here = production.sides(looked_at), production.sample(rows)
    chance = chances(sides, len(rows))
    facts["reference_rows"] = len(sides[0].weight)
    facts["columns"] = [column_facts(column, sides[0], rows, here, chance[0]) for column in production.inputs]
    facts["answer"] = answer_facts(production, sides[1], here, chance[1])
    wide = [spread(len(rows), side.size) for side in sides]
    for part in parts(days, window[0], len(rows), policy["evidence_days"]):
        facts["days"].append(part_facts(part, production, answered.filter(pl.col(DAY).is_in(part)), wide))
    if facts["same_problem"]:
        facts["headline"] = evaluate.headline(ours, knobs["evaluate"])
        facts["live"] = live(in_our_classes(answered, production, ours), labelled, ours, knobs, facts["days"])
    return rows


def span(last: date, days: int) -> Span:
    """So many days, up to `last`."""
    return last - timedelta(days=days - 1), last


def rows_of(first: date, last: date, digest: str) -> pl.DataFrame:
    """The log's rows of `first` to `last`, with their DAY; of other models' rows, what any log has."""
    rows = log.read(None, first, last, digest).with_columns(pl.col(TIME).dt.date().alias(DAY))
    return rows.filter(pl.col(DAY).is_between(first, last))


def check_written(rows: pl.DataFrame, since: datetime) -> None:
    """Raises BadInput where the newest row was scored before `since`."""
    written = rows[SCORED].max()
    if not isinstance(written, datetime) or written < since:
        when = f"since {written:%Y-%m-%d %H:%M}" if isinstance(written, datetime) else "in these days"
        raise BadInput(f"nothing was written to the prediction log {when}: the service, or its log, is down")


def of_production(rows: pl.DataFrame, production: Production) -> pl.DataFrame:
    """The rows that the model in production answered, each once. Raises BadInput where they make no sense."""
    ours = rows.filter(pl.col(MODEL) == production.digest)
    if key := identifiers(ours):
        again = [] if production.problem.time else [DAY]  # who has no time of their own is asked about on many days
        ours = ours.unique([*key, *again], keep="last", maintain_order=True)
    odd = [column.name for column in production.inputs if not fits(ours, column)] if len(ours) else []
    if odd:
        raise BadInput(
            f"the log's {', '.join(odd[:3])} hold something else than the model takes: the service does not log what "
            "it is asked"
        )
    return answered(ours, production.problem) if len(ours) else ours


def answered(rows: pl.DataFrame, problem: Problem) -> pl.DataFrame:
    """Rows of the log with what their answers say as OUT, and of it what is watched as the reference has it.

    Raises BadInput where they hold what no model of the task says.
    """
    task = tasks.task(problem.task)
    out = said(rows, problem)
    if out is None or not task.sound(out, problem).all():
        raise BadInput(
            f"the log holds answers that no model of the task {problem.task} gives: something else than the service "
            "writes to it"
        )
    return rows.with_columns(tasks.kept(OUT, out), pl.Series(log.kept(task.WATCHED), out[task.WATCHED]))


def said(rows: pl.DataFrame, problem: Problem) -> Outputs | None:
    """What the answers of the log's rows say; None where a part of one is not there, or of another type."""
    for name, kind in log.answers(problem).items():
        if rows.schema.get(name) != kind or rows[name].null_count():
            return None
    task = tasks.task(problem.task)
    parts = {name: rows[log.kept(name)] for name in task.answers(problem)}
    try:
        return task.logged({name: tasks.array(part) for name, part in parts.items()}, problem)
    except (ValueError, KeyError):  # shares of another number of classes, another class
        return None


def identifiers(rows: pl.DataFrame) -> list[str]:
    """The columns that identify a row: plain, or hashed, or either where the policy has changed."""
    return [name for name in (ID, log.hashed(ID)) if name in rows.columns]


def fits(rows: pl.DataFrame, column: Input) -> bool:
    """Whether an input is there, of a type that its values may have."""
    dtype = rows.schema.get(column.name, pl.Unknown())
    return dtype == log.TYPES[column.type] or (dtype.is_numeric() and not column.text)


def whole_days(rows: pl.DataFrame, digest: str) -> list[date]:
    """The days that are the model's: it answered nearly all of their rows."""
    share = rows.group_by(DAY).agg(pl.col(MODEL).eq_missing(digest).mean().alias("share"))
    return sorted(share.filter(pl.col("share") >= WHOLE)[DAY])


def column_facts(
    column: Input, reference: Sample, rows: pl.DataFrame, here: Sample, chance: Mapping[str, float]
) -> Facts:
    """A column's distance, and how far chance goes; the shares of rows that have no value, or one that is none."""
    there, outside = valued(column), beyond_range(column)
    learned = pl.col(column.name).is_in(column.levels)
    now, before = ((side.columns[column.name], side.weight) for side in (here, reference))
    missing, usual = (float(np.average(nothing_in(values), weights=weight)) for values, weight in (now, before))
    return {
        "name": column.name,
        "type": column.type,
        "distance": apart(reference, here, column.name),
        "chance": chance[column.name],
        "method": JENSEN_SHANNON if column.text else WASSERSTEIN,
        "missing": missing,
        "missing_before": usual,
        "rise": rise(missing, usual, len(rows), reference.size, len(reference.columns)),
        "out_of_range": rows.select((there & outside).mean().fill_null(0.0)).item(),
        # levels that were not learned
        "unseen": rows.select((there & ~learned).mean()).item() if column.text else None,
    }


def answer_facts(production: Production, reference: Sample, here: Sample, chance: Mapping[str, float]) -> Facts:
    """The distance of what is watched of the answers, and how far chance goes."""
    name = production.watched
    of_classes = here.columns[name].dtype.kind == "i"
    return {
        "name": tasks.task(production.problem.task).WATCHED,
        "type": CATEGORY if of_classes else "number",
        "distance": apart(reference, here, name),
        "chance": chance[name],
        "method": JENSEN_SHANNON if of_classes else WASSERSTEIN,
    }


def rise(missing: float, before: float, rows: int, reference: float, columns: int) -> float:
    """How far a share has risen at least, so that chance makes any of so many columns rise in ALARMS of the cases.

    Two samples of one share differ by their standard error, and of few rows askew, to which Cornish and Fisher's
    expansion corrects (*Moments and Cumulants in the Specification of Distributions*, 1938).
    """
    reach = NormalDist().inv_cdf(1 - ALARMS / columns)
    among = (missing * rows + before * reference) / (rows + reference)
    error = sqrt(among * (1 - among)) * spread(rows, reference)
    askew = (reach**2 - 1) / 6 * (1 - 2 * among) * (1 / rows - 1 / reference)
    return max(missing - before - reach * error - max(askew, 0), 0.0)


def valued(column: Input) -> pl.Expr:
    """Whether a row has a value: no null, NaN, infinity or empty text."""
    if column.text:
        return (pl.col(column.name) != "").fill_null(False)
    return pl.col(column.name).cast(pl.Float64).is_finite().fill_null(False)


def beyond_range(column: Input) -> pl.Expr:
    """Whether a value is one that the service refuses."""
    if column.text:
        return ~pl.col(column.name).is_in(column.categories) if column.categories else pl.lit(False)
    value = pl.col(column.name).cast(pl.Float64)
    below = value < column.minimum if column.minimum is not None else pl.lit(False)
    return below | (value > column.maximum if column.maximum is not None else pl.lit(False))


def parts(days: Sequence[date], first: date, rows: int, evidence: int) -> Iterator[Sequence[date]]:
    """The days, so many together that there are ENOUGH of the window's rows: where days are large, each by itself.

    The window, which begins on `first`, is divided into as many equal parts as `evidence` asks for at least, and the
    days before it into parts as long.
    """
    before, inside = ([day for day in days if (day >= first) is there] for there in (False, True))
    together = max(min(ceil(ENOUGH * len(inside) / rows), len(inside) // evidence), 1)
    for some in (before, inside):
        for part in np.array_split(np.arange(len(some)), max(len(some) // together, 1)):
            if len(part):
                yield some[part[0] : part[-1] + 1]


def part_facts(part: Sequence[date], production: Production, rows: pl.DataFrame, wide: Sequence[float]) -> Facts:
    """The distances of a day, or of days together; `live` adds their quality.

    `wider`: so many times as far as in the window, where its spread is `wide`, chance alone goes here.
    """
    sides, here = production.sides(part), production.sample(rows)
    inputs, answer = (spread(len(rows), side.size) / than for side, than in zip(sides, wide, strict=True))
    return {
        "day": part[0],
        "until": part[-1],
        "rows": len(rows),
        "answer": apart(sides[1], here, production.watched),
        "columns": {column.name: apart(sides[0], here, column.name) for column in production.inputs},
        "wider": {"columns": inputs, "answer": answer},
        "headline": None,
    }


def measurable(column: Input) -> pl.Expr:
    """A column as distances are measured: places of levels, or numbers, NaN for none; a boolean is 0 or 1."""
    if column.text:
        return coded(column)
    return pl.when(valued(column)).then(pl.col(column.name).cast(pl.Float64)).otherwise(float("nan"))


def nothing_in(values: np.ndarray) -> np.ndarray:
    """Whether there is no value, of those of a column as distances are measured; bool [rows]."""
    return np.isnan(values) if values.dtype.kind == "f" else values == LEVELS


def coded(column: Input) -> pl.Expr:
    """The place of a row's level among the LEVELS that are told apart; then missing, rarer and other ones."""
    missing, rarer, other = LEVELS, LEVELS + 1, LEVELS + 2
    places = {level: at if at < LEVELS else rarer for at, level in enumerate(column.levels)}
    code = pl.col(column.name).replace_strict(places, default=other, return_dtype=pl.Int64)
    return pl.when(valued(column)).then(code).otherwise(missing)


# --- labels ---


def newest_labels(knobs: Mapping[str, Any], ours: Contract, last: date) -> date:
    """The newest day whose labels are known; `last` is the log's. Raises BadInput where the source cannot be listed."""
    return (newest_day(knobs) or last) - timedelta(days=ours.label.delay)


def newest_day(knobs: Mapping[str, Any]) -> date | None:
    """The newest daily file of data.source; None for the simulator, which has any day. Raises BadInput."""
    return None if source.source_of(knobs) == source.SIMULATE else max(delivered(knobs))


def delivered(knobs: Mapping[str, Any]) -> list[date]:
    """The days of the daily files of data.source, a folder, but for days to come. Raises BadInput for none."""
    today = datetime.now(UTC).date()
    where = source.source_of(knobs)
    if not (found := [day for day in source.daily_files(where)[0] if day <= today]):
        raise BadInput(f"data.source {where}: holds no file named YYYY-MM-DD.parquet, of a day up to today")
    return found


def retrain(knobs: dict[str, Any], ours: Contract, matured: date) -> Facts:
    """What params.yaml would say to learn from the newest labels: `data.until`, and a snapshot where one is pinned."""
    newest = matured if ours.dated else matured + timedelta(days=ours.label.delay)  # a whole delivery is learned from
    if newest <= ours.days(knobs).test[1]:
        return {}
    until = str(newest)
    if knobs["data"].get("snapshot") is None:
        return {"until": until}
    window = ours.days({**knobs, "data": {**knobs["data"], "until": until}})
    files = source.files(source.source_of(knobs), window.since, window.test[1])
    return {"until": until, "snapshot": source.snapshot(source.every(source.listed, files))}


def in_our_classes(rows: pl.DataFrame, production: Production, ours: Contract) -> pl.DataFrame:
    """Rows whose OUT is by the codes of this checkout, whose classes may be other ones than production's."""
    if production.problem.values == ours.label.values:
        return rows
    out = tasks.task(ours.task).translated(tasks.taken(rows[OUT]), production.problem, Problem.of(ours))
    return rows.with_columns(tasks.kept(OUT, out))


def live(
    rows: pl.DataFrame, matured: Span, ours: Contract, knobs: dict[str, Any], days: Sequence[Facts]
) -> Facts | None:
    """Quality on the matured days, measured as evaluate measures the test week; each part's goes into `days`.

    None where the model in production has no row of these days, or the log no identifiers to join by. Rows whose label
    the source does not know yet are `unknown`, those that it does not know at all `unlabelled`.
    """
    rows = rows.filter(pl.col(DAY).is_between(*matured))
    if rows.is_empty() or not identifiers(rows):
        return None
    known = knobs["evaluate"].get("known") if ours.dated else None
    scored, lost = (labelled if ours.dated else delivered_later)(rows, matured, ours, knobs)
    judged = evaluate.judged(scored.drop_nulls(LABEL), matured, ours, known).drop_nulls(OUT)
    moment = pl.col(ours.time).dt.date()
    for day in days:
        day["headline"] = by_day(judged.filter(moment.is_between(day["day"], day["until"])), ours, knobs)
    return {
        "days": list(matured),
        "rows": len(judged),
        "unlabelled": lost,
        "unknown": len(scored.filter(moment.is_between(*matured) & pl.col(LABEL).is_null()).drop_nulls(OUT)),
        **metrics(judged, ours, knobs["evaluate"]),
    }


def labelled(rows: pl.DataFrame, matured: Span, ours: Contract, knobs: dict[str, Any]) -> tuple[pl.DataFrame, int]:
    """What the source says of the matured days' rows, and OUT of the log's, where it has one; how many rows it lacks.

    Days before them are there too, where a label on them makes an entity known.
    """
    known = knobs["evaluate"].get("known")
    before = 0 if known is None or ours.entity is None else ours.label.delay + known
    told = identified(ingest.between(knobs, matured[0] - timedelta(days=before), matured[1], ours), ours)
    keys, asked = keyed(told, ours.id, rows), rows.select(key(rows), OUT)
    scored = told.with_columns(keys.alias(KEY)).join(asked, on=KEY, how="left", maintain_order="left")
    return scored, len(rows) - int(asked[KEY].is_in(keys.implode()).sum())


def delivered_later(
    rows: pl.DataFrame, matured: Span, ours: Contract, knobs: dict[str, Any]
) -> tuple[pl.DataFrame, int]:
    """The log's rows with what the first delivery that knows their label says of them, the delay after they were asked.

    A row's time is when it was answered; its label is missing where it is in deliveries, and none of them knows it.
    Besides, the number of rows that are in none.
    """
    late, parts = timedelta(days=ours.label.delay), []
    waiting = rows.select(key(rows), OUT, pl.col(TIME).alias(ours.time), pl.col(DAY) + late).with_row_index(AT)
    for delivery in delivered(knobs):
        due = waiting.filter(pl.col(DAY) <= delivery)
        if due.is_empty():
            continue
        told = identified(whole(knobs, delivery, ours), ours).drop(ours.time)
        told = told.with_columns(keyed(told, ours.id, rows).alias(KEY))
        parts.append(told.join(due, on=KEY, maintain_order="left"))
        waiting = waiting.join(parts[-1].drop_nulls(LABEL), on=AT, how="anti")
    known_first = pl.concat(parts).sort(pl.col(LABEL).is_null(), maintain_order=True)
    scored = known_first.unique(AT, keep="first", maintain_order=True)
    return scored, len(rows) - len(scored)


def whole(knobs: dict[str, Any], day: date, ours: Contract) -> pl.DataFrame:
    """The delivery of a day."""
    return ingest.between(knobs, day, day, ours).with_columns(pl.lit(day).cast(pl.Datetime("us")).alias(ours.time))


KEY, AT = "_key", "_at"


def key(rows: pl.DataFrame) -> pl.Expr:
    """What the log's rows are joined by: a text, whatever the identifier's type; a hash, where the log has hashes."""
    plain, hashed = pl.col(ID).cast(pl.String), pl.col(log.hashed(ID))
    match identifiers(rows):
        case [only]:
            return (plain if only == ID else hashed).alias(KEY)
        case _:  # the policy has changed
            return hashed.fill_null(plain.map_batches(pseudonym, pl.String)).alias(KEY)


def keyed(told: pl.DataFrame, name: str, rows: pl.DataFrame) -> pl.Series:
    """The same of the source's rows."""
    return told[name].cast(pl.String) if identifiers(rows) == [ID] else pseudonym(told[name])


def metrics(judged: pl.DataFrame, ours: Contract, knobs: Mapping[str, Any]) -> Facts:
    """Each metric with its interval, or None; those that such rows have not, with the reason; of which less is better.

    All of them are None where nothing can be measured, as where the task needs two labels and finds one.
    """
    task = tasks.task(ours.task)
    smaller = evaluate.smaller(task)
    if not measured(judged, ours):
        return {"metrics": dict.fromkeys(task.METRICS), "unmeasured": {}, "smaller": smaller}
    test = evaluate.as_test(judged, ours, knobs)
    weights = evaluate.resamples(test.units, knobs["resamples"], knobs["seed"])
    values = task.measure(test, tasks.taken(judged[OUT]), weights)
    found = evaluate.known(values, knobs["confidence"], evaluate.raised(task))
    finite = {name: of if of and all(map(isfinite, of.values())) else None for name, of in found.items()}
    return {"metrics": finite, "unmeasured": task.unmeasured(test), "smaller": smaller}


def by_day(judged: pl.DataFrame, ours: Contract, knobs: Mapping[str, Any]) -> float | None:
    """The headline's value on such rows; None where they are too few, or have none."""
    if len(judged) < ENOUGH or not measured(judged, ours):
        return None
    name, test = evaluate.headline(ours, knobs["evaluate"]), evaluate.as_test(judged, ours, knobs["evaluate"])
    found = tasks.task(ours.task).measure(test, tasks.taken(judged[OUT]), np.ones((1, test.units)), (name,))
    value = float(found[name][0]) if name in found else nan
    return value if isfinite(value) else None


def measured(judged: pl.DataFrame, ours: Contract) -> bool:
    """Whether anything can be measured on such rows."""
    return len(judged) > 0 and not tasks.task(ours.task).unmeasurable(labels(judged), Problem.of(ours))


# --- speaking ---


def show(production: Production, rows: pl.DataFrame, facts: Facts, policy: Mapping[str, Any]) -> None:
    """Write the page, or say why there is none: it is for people, and no verdict hangs on it."""
    try:
        far = (*of_columns(facts, policy), of_answer(facts, policy))
        bars = {each.column or production.watched: each.most for each in far}
        page(production, rows, bars)
    except Exception as error:  # Evidently's own, over values that it did not expect
        print(f"{PAGE}: not written: {sentence(error)}")


def page(production: Production, rows: pl.DataFrame, bars: Mapping[str, float]) -> None:
    """Evidently's page of the same columns against the same bars, on a sample; it opens without a network."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    days = rows[DAY].unique().to_list()
    shown = [column for column in production.inputs if rows.select(valued(column).any()).item()]
    numbers, texts = [[c.name for c in shown if c.text is text] for text in (False, True)]
    of_classes = rows[production.watched].dtype.is_integer()
    (texts if of_classes else numbers).append(production.watched)
    # The answers stand beside inputs of other rows: Evidently looks at one column at a time.
    inputs, answers = (drawn(production.like(part, days), PAGE_ROWS) for part in (TRAIN, TEST))
    reference = inputs.with_columns(answers[production.watched])
    current = rows.sample(min(PAGE_ROWS, len(rows)), seed=0)
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    kinds = [spoken(column) for column in shown if column.text]
    if of_classes:
        classes = dict(enumerate(map(str, production.problem.values)))
        kinds.append(pl.col(production.watched).replace_strict(classes, return_dtype=pl.String))
    sides = [
        Dataset.from_pandas(
            table.select(pl.col(numbers).cast(pl.Float64), *kinds).to_pandas(), data_definition=definition
        )
        for table in (current, reference)
    ]
    preset = DataDriftPreset(
        columns=[*numbers, *texts],
        num_method="wasserstein",
        cat_method="jensenshannon",
        per_column_threshold=dict(bars),
        drift_share=1 / (len(numbers) + len(texts)),  # one column is drift enough; half of them is Evidently's default
    )
    html = Report([preset]).run(*sides).get_html_str(as_iframe=False)
    PAGE.write_text(html.replace(RED, BLUE), encoding="utf-8")


def spoken(column: Input) -> pl.Expr:
    """A category's levels as they are told apart: text of the log that was not learned is not shown."""
    words = [*column.levels[:LEVELS], *[""] * max(LEVELS - len(column.levels), 0), MISSING, RARER, OTHER]
    return coded(column).replace_strict(dict(enumerate(words)), return_dtype=pl.String).alias(column.name)


def drawn(rows: pl.DataFrame, number: int) -> pl.DataFrame:
    """So many of the rows, by their weight, some of them twice."""
    share = rows[LIKE].to_numpy() / rows[LIKE].sum()
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
        if not facts["same_problem"]:
            yield f"{DRIFT}: production still predicts {facts['problem_name']!r}: its inputs and answers are watched"
        yield f"{DRIFT}: {facts['rows']:,} rows, {first} to {last}, against {facts['reference_rows']:,} of training"
        far = sorted(facts["columns"], key=lambda column: -(column["distance"] or 0))
        yield "furthest: " + ", ".join(f"{c['name']} {c['distance'] or 0:.3f}" for c in far[:3])
        yield f"{facts['answer']['name']}: {facts['answer']['distance'] or 0:.3f}"
        if facts["live"]:
            yield (
                "live, {days[0]} to {days[1]}: {rows:,} labelled rows, {unknown:,} whose label is not known yet, "
                "{unlabelled:,} that the source does not know"
            ).format(**facts["live"])
            yield from (
                "{0} {value:.3f} ({low:.3f} to {high:.3f})".format(name, **metric)
                for name, metric in facts["live"]["metrics"].items()
                if metric
            )


if __name__ == "__main__":
    run_stage(main)
