"""Measure what production is asked, and what it answers, against what its model learned from: reports/drift.json.

The rows are those of the prediction log that the model in production answered; of policies/drift.yaml only the window
is read, its bars judge elsewhere (`make drift` does both). How far chance alone goes is measured too. What cannot be
told ends as `problem`, a sentence: the log was written by whoever could reach the service, and a check that breaks over
it would be silent about drift.

What the columns are is said by the model's manifest, as production may hold another problem than this checkout: its
inputs and answers are watched all the same, its quality is not, and nothing is retrained for it.
"""

import html
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from math import ceil, isfinite, nan, sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, counts, estimate, evaluate, ingest, log, model, params, policy, skew, source, tasks
from pipeline.contract import Contract
from pipeline.counts import LEVELS, Column, Counts, Side, coded, missing, moved, unseen, valued
from pipeline.distance import ALARMS, JENSEN_SHANNON, NATS, WASSERSTEIN, Sample, chances, spread
from pipeline.log import MODEL, TIME
from pipeline.logged import (
    DRAWN,
    ENOUGH,
    IDENTIFIERS,
    KEY,
    OUT,
    Day,
    Watched,
    answered,
    identifiers,
    joined_by,
    joins,
    not_asked,
    of_day,
)
from pipeline.model import Input, Problem
from pipeline.params import BadInput, run_stage
from pipeline.places import replacing
from pipeline.policy.drift import CATEGORY, at_promotion, misnamed, of_answer, of_columns
from pipeline.reading import count
from pipeline.reference import DAY, PART, TEST, TRAIN
from pipeline.rows import LABEL, identified, labels

PRODUCTION = Path("build/production")  # `python -m gitops fetch-production build/production` fills it
MANIFEST = "deploy/production/manifest.json"
DRIFT = Path("reports/drift.json")
PAGE = Path("reports/drift.html")

LIKE = "_like"  # how often a row of the reference counts
WHOLE = 0.9  # of a day's rows, for it to be a day of one model: on the day of a promotion the morning is another's
HISTORY = 28  # days of the log, to say since when
SIDE_BY_SIDE = 3  # days that are counted: one is read while others are looked at
AHEAD = timedelta(hours=1)  # that the clock of a service may be
PAGE_ROWS = 10_000  # a side: the page takes seconds, and its numbers are close to those of all rows
MISSING, RARER, OTHER = "missing", "rarer", "other"  # what the page calls them
RED, BLUE = "#ed0400", "#0b62c4"  # Evidently draws what is healthy in red too, and has no setting for it

Facts = dict[str, Any]
Span = tuple[date, date]  # first and last day, inclusive


@dataclass(frozen=True)
class Weekday:
    """The reference's rows of a day of the week."""

    days: int  # that there are such rows of
    side: Side


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

    @cached_property
    def counted(self) -> Watched:
        """What of the log is counted, and how."""
        train, test = (self.reference.filter(pl.col(PART) == part) for part in (TRAIN, TEST))
        columns = (counts.of_input(column, train[column.name]) for column in self.inputs)
        answer = counts.of_answer(self.watched, test[self.watched], self.problem)
        return Watched(self.digest, self.problem, self.inputs, tuple(columns), answer)

    @cached_property
    def weekdays(self) -> dict[str, dict[int, Weekday]]:
        """Of each part of the reference, what is compared with it, by the number of the day of the week."""
        watched, found = self.counted, dict[str, dict[int, Weekday]]()
        every = {TRAIN: (*watched.columns, watched.answer), TEST: (watched.answer,)}
        for (part, number), rows in self.reference.group_by(PART, pl.col(DAY).dt.weekday(), maintain_order=True):
            found.setdefault(part, {})[number] = Weekday(rows[DAY].n_unique(), counts.side(rows, every[part]))
        return found

    def weights(self, part: str, days: Sequence[date]) -> dict[int, float]:
        """How often a row of a part counts, by its day of the week, so that each of these is as often as in `days`.

        Weekends are not like weekdays, and neither the log's days nor the training days need be whole weeks.
        """
        asked, held = Counter(day.isoweekday() for day in days), self.weekdays[part]
        same = {number: asked[number] / held[number].days for number in held if asked[number]}
        return same or dict.fromkeys(held, 1.0)

    def side(self, part: str, days: Sequence[date]) -> Side:
        """The reference's part, to hold rows of such days against."""
        weights = self.weights(part, days)
        each, often = [self.weekdays[part][number].side for number in weights], np.array(list(weights.values()))
        rows = np.array([of.size for of in each])
        columns = {name: Counts.sum([of.columns[name] for of in each], often) for name in each[0].columns}
        return Side(columns, float((often @ rows) ** 2 / (often**2 @ rows)))  # Kish's effective size

    def sides(self, days: Sequence[date]) -> tuple[Side, Side]:
        """What rows of such days are compared with: their inputs with TRAIN's, their answers with TEST's."""
        return self.side(TRAIN, days), self.side(TEST, days)

    def like(self, part: str, days: Sequence[date]) -> pl.DataFrame:
        """The rows of a side, with how often each counts as LIKE."""
        weights = self.weights(part, days)
        like = pl.col(DAY).dt.weekday().replace_strict(weights, default=0.0, return_dtype=pl.Float64)
        return self.reference.filter(pl.col(PART) == part).with_columns(like.alias(LIKE)).filter(pl.col(LIKE) > 0)

    def sample(self, part: str, days: Sequence[date], columns: Sequence[Column]) -> Sample:
        """The same as distances are measured."""
        rows = self.like(part, days)
        return Sample(counts.measured(rows, columns), rows[LIKE].to_numpy())


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
        log.beat(log.Folder.at(), not facts["problem"], facts["newest"])
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
        "skew": None,
        "estimate": None,
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
    asked = span(delivered_until(knobs, window[1]), bars["days"]) if facts["same_problem"] else window

    logged = counted(
        production, [day for day in known if day >= span(window[1], HISTORY)[0]], min(window, asked, labelled)[0]
    )
    facts["newest"] = max((of.scored for of in logged if of.scored), default=None)
    check_written(logged, now, timedelta(days=bars["silent_days"]))
    check_columns(logged)
    if facts["same_problem"]:  # also while it is early: it is the caller's, whatever model answers
        facts["skew"] = skewed(logged, asked, production, ours, knobs)
    whole = [of for of in logged if of.logged and of.answered >= WHOLE * of.logged]  # but for other models' days
    inside = [of for of in whole if of.day >= window[0]]
    if len(inside) < bars["minimum_days"]:
        if early:
            return None
        raise BadInput(
            f"the model in production answered on {count(len(inside), 'whole day')} from {window[0]} to {window[1]}, "
            f"{bars['minimum_days']} are needed: is it the one that is deployed?"
        )
    facts["rows"] = sum(of.rows for of in inside)
    if facts["rows"] < bars["rows"]:
        raise BadInput(
            f"the log holds {count(facts['rows'], 'row')} of the model in production from {window[0]} to {window[1]}, "
            f"{bars['rows']:,} are needed: rows are lost, or window.rows in policies/drift.yaml is not for this service"
        )
    facts |= compared(production, whole, window[0], policy["evidence_days"])
    if facts["same_problem"]:
        facts["headline"] = evaluate.headline(ours, knobs["evaluate"])
        rows = in_our_classes(scored(labelled, production), production, ours)
        facts["live"] = live(rows, labelled, ours, knobs, facts["days"])
        facts["estimate"] = before_labels(facts, production, labelled, logged, ours, knobs)
    some = [of.some.with_columns(pl.lit(of.day).alias(DAY)) for of in inside]
    return pl.concat(some, how="diagonal_relaxed").bottom_k(PAGE_ROWS, by=DRAWN)


def span(last: date, days: int) -> Span:
    """So many days, up to `last`."""
    return last - timedelta(days=days - 1), last


def counted(production: Production, days: Sequence[date], first: date) -> list[Day]:
    """The log's days, in counts; of those from `first` on, rows are kept for the page. Raises BadInput."""
    watched = production.counted

    def told(day: date) -> Day:
        return of_day(day, log.batches, watched, PAGE_ROWS if day >= first else 0)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return list(pool.map(told, days))


def check_written(days: Sequence[Day], now: datetime, silent: timedelta) -> None:
    """Raises BadInput where nothing was scored for so long, and where rows are of the future, which would hide that."""
    written = {of.scored: of.day for of in days if of.scored}
    newest = max(written, default=None)
    if newest is None or newest < now - silent:
        when = f"since {newest:%Y-%m-%d %H:%M}" if newest else "in these days"
        raise BadInput(f"nothing was written to the prediction log {when}: the service, or its log, is down")
    if newest > now + AHEAD:
        raise BadInput(
            f"the prediction log has rows of {written[newest]} that were scored at {newest:%Y-%m-%d %H:%M}, which is "
            "yet to come, so that nobody would see it if nothing were written any more: set the clock of the service, "
            "and move the parts away whose names begin with such a time"
        )


def check_columns(days: Sequence[Day]) -> None:
    """Raises BadInput for inputs that no day has."""
    lacks = [of.lacks for of in days if of.rows]
    if lacks and (odd := sorted(frozenset.intersection(*lacks))):
        raise BadInput(not_asked(odd))


def compared(production: Production, days: Sequence[Day], first: date, evidence: int) -> Facts:
    """How far the days from `first` on, the window, are from the reference; and parts of the window, and those before.

    `evidence` is the number of parts that the window has at least.
    """
    inside = [of for of in days if of.day >= first]
    asked, here, watched = [of.day for of in inside], together(inside), production.counted
    train, test = production.sides(asked)
    samples = production.sample(TRAIN, asked, watched.columns), production.sample(TEST, asked, [watched.answer])
    chance, answers = chances(samples, int(here.size))
    wide = [spread(here.size, side.size) for side in (train, test)]
    return {
        "reference_rows": len(samples[0].weight),
        "columns": [
            column_facts(input_, column, train, here, chance[column.name])
            for input_, column in zip(production.inputs, watched.columns, strict=True)
        ],
        "answer": answer_facts(production, test, here, answers[watched.answer.name]),
        "days": [part_facts(part, production, wide) for part in parts(days, first, evidence)],
    }


def together(days: Sequence[Day]) -> Side:
    """The rows of such days, to hold against the reference."""
    names = dict.fromkeys(name for of in days for name in of.columns)
    columns = {name: Counts.sum([of.columns[name] for of in days if of.columns]) for name in names}
    return Side(columns, float(sum(of.rows for of in days)))


def column_facts(input_: Input, column: Column, before: Side, now: Side, chance: float) -> Facts:
    """An input's distance, and how far chance goes; the shares of rows that have no value, or one that is none."""
    here, usual = missing(column, now), missing(column, before)
    return {
        "name": input_.name,
        "type": input_.type,
        "distance": moved(column, before, now),
        "chance": chance,
        "method": JENSEN_SHANNON if input_.text else WASSERSTEIN,
        "missing": here,
        "missing_before": usual,
        "rise": rise(here, usual, now.size, before.size, len(now.columns) - 1),  # all but the answers
        "out_of_range": now.columns[column.name].beyond / now.size,
        "unseen": unseen(column, now) if input_.text else None,
    }


def answer_facts(production: Production, before: Side, now: Side, chance: float) -> Facts:
    """The distance of what is watched of the answers, and how far chance goes."""
    answer = production.counted.answer
    of_classes = answer.values.dtype.kind == "i"
    return {
        "name": tasks.task(production.problem.task).WATCHED,
        "type": CATEGORY if of_classes else "number",
        "distance": moved(answer, before, now),
        "chance": chance,
        "method": JENSEN_SHANNON if of_classes else WASSERSTEIN,
    }


def rise(missing: float, before: float, rows: float, reference: float, columns: int) -> float:
    """How far a share has risen at least, so that chance makes any of so many columns rise in ALARMS of the cases.

    Two samples of one share differ by their standard error, and of few rows askew, to which Cornish and Fisher's
    expansion corrects (*Moments and Cumulants in the Specification of Distributions*, 1938).
    """
    reach = NormalDist().inv_cdf(1 - ALARMS / columns)
    among = (missing * rows + before * reference) / (rows + reference)
    error = sqrt(among * (1 - among)) * spread(rows, reference)
    askew = (reach**2 - 1) / 6 * (1 - 2 * among) * (1 / rows - 1 / reference)
    return max(missing - before - reach * error - max(askew, 0), 0.0)


def parts(days: Sequence[Day], first: date, evidence: int) -> Iterator[Sequence[Day]]:
    """The days, so many together that there are ENOUGH of the window's rows: where days are large, each by itself.

    The window, which begins on `first`, is divided into as many equal parts as `evidence` asks for at least, and the
    days before it into parts as long.
    """
    before, inside = ([of for of in days if (of.day >= first) is there] for there in (False, True))
    rows = sum(of.rows for of in inside)
    together = max(min(ceil(ENOUGH * len(inside) / rows), len(inside) // evidence), 1)
    for some in (before, inside):
        for part in np.array_split(np.arange(len(some)), max(len(some) // together, 1)):
            if len(part):
                yield some[part[0] : part[-1] + 1]


def part_facts(part: Sequence[Day], production: Production, wide: Sequence[float]) -> Facts:
    """The distances of a day, or of days together; `live` adds their quality.

    `wider`: so many times as far as in the window, where its spread is `wide`, chance alone goes here.
    """
    (train, test), here, watched = production.sides([of.day for of in part]), together(part), production.counted
    inputs, answer = (spread(here.size, side.size) / than for side, than in zip((train, test), wide, strict=True))
    return {
        "day": part[0].day,
        "until": part[-1].day,
        "rows": int(here.size),
        "answer": moved(watched.answer, test, here),
        "columns": {column.name: moved(column, train, here) for column in watched.columns},
        "wider": {"columns": inputs, "answer": answer},
        "headline": None,
    }


# --- labels ---


def scored(days: Span, production: Production) -> pl.DataFrame:
    """The rows of such days that the model in production answered, each once, with OUT; of their inputs none."""
    asked = [*IDENTIFIERS, *log.answers(production.problem)]
    rows = log.read(None, *days, production.digest, asked).with_columns(pl.col(TIME).dt.date().alias(DAY))
    ours = rows.filter(pl.col(DAY).is_between(*days) & (pl.col(MODEL) == production.digest))
    if key := identifiers(ours):
        again = [] if production.problem.time else [DAY]  # who has no time of their own is asked about on many days
        ours = ours.unique([*key, *again], keep="last", maintain_order=True)
    return answered(ours, production.problem) if len(ours) else ours


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


def delivered_until(knobs: Mapping[str, Any], last: date) -> date:
    """The newest day of the log, up to `last`, that the source has delivered. Raises BadInput."""
    return min(newest_day(knobs) or last, last)


def before_labels(
    facts: Facts,
    production: Production,
    labelled: Span,
    logged: Sequence[Day],
    ours: Contract,
    knobs: Mapping[str, Any],
) -> Facts:
    """Quality as the answers alone let expect it, on labelled days and on those before labels; or why there is none."""
    promoted, bars = at_promotion(facts), policy.load("model")["metrics"]
    live = facts["live"]["metrics"] if facts["live"] else None
    found = [of for of in logged if len(of.some) and of.day >= labelled[0]]
    why = estimate.withheld(ours, production.problem, promoted, live, bars, bool(found))
    if not why:
        said = estimate.estimated(found, labelled[1], ours, knobs, facts["headline"])
        untrue = estimate.untrue(said["labelled"], live)
        why = untrue.get(said["name"], "")
        if live and labelled[0] < (first := span(facts["window"][1], HISTORY)[0]):
            why = f"labels come so late that those of {labelled[0]} on cannot be held against answers from {first} on"
        for part in filter(None, (said["labelled"], said["before"])):
            part["metrics"] = {name: value for name, value in part["metrics"].items() if name not in untrue}
    nothing: Facts = {"name": None, "labelled": None, "before": None, "days": []}
    return {"unmeasured": why, **nothing} if why else {"unmeasured": None, **said}


def skewed(
    logged: Sequence[Day], asked: Span, production: Production, ours: Contract, knobs: Mapping[str, Any]
) -> Facts:
    """How far the inputs of such days are what the source gives. Raises BadInput where that cannot be listed."""
    days = [of for of in logged if asked[0] <= of.day <= asked[1]]
    there = None if source.source_of(knobs) == source.SIMULATE else delivered(knobs)
    return skew.measured(days, production.inputs, there, ours, knobs, learned_from())


def learned_from() -> str | None:
    """The commit that the model in production learned from; None where its manifest does not say."""
    try:
        return str(json.loads((PRODUCTION / "manifest.json").read_text())["lineage"]["commit"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
    keys, asked = joins(told, ours.id, rows), rows.select(joined_by(rows), OUT)
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
    waiting = rows.select(joined_by(rows), OUT, pl.col(TIME).alias(ours.time), pl.col(DAY) + late).with_row_index(AT)
    for delivery in delivered(knobs):
        due = waiting.filter(pl.col(DAY) <= delivery)
        if due.is_empty():
            continue
        told = identified(ingest.delivery(knobs, delivery, ours), ours).drop(ours.time)
        told = told.with_columns(joins(told, ours.id, rows).alias(KEY))
        parts.append(told.join(due, on=KEY, maintain_order="left"))
        waiting = waiting.join(parts[-1].drop_nulls(LABEL), on=AT, how="anti")
    known_first = pl.concat(parts).sort(pl.col(LABEL).is_null(), maintain_order=True)
    scored = known_first.unique(AT, keep="first", maintain_order=True)
    return scored, len(rows) - len(scored)


AT = "_at"


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
        told = html.escape("\n".join(summary(facts)))
        PAGE.write_text(PAGE.read_text("utf-8").replace("<body>", f"<body><pre>{told}</pre>", 1), "utf-8")
    except Exception as error:  # Evidently's own, over values that it did not expect
        print(f"{PAGE}: not written: {sentence(error)}")


def page(production: Production, rows: pl.DataFrame, bars: Mapping[str, float]) -> None:
    """Evidently's page of the same columns against the same bars, on a sample; it opens without a network."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    days = rows[DAY].unique().to_list()
    there = (column for column in production.inputs if column.name in rows.columns)
    shown = [column for column in there if rows.select(valued(column).any()).item()]
    numbers, texts = [[c.name for c in shown if c.text is text] for text in (False, True)]
    of_classes = rows[production.watched].dtype.is_integer()
    (texts if of_classes else numbers).append(production.watched)
    # The answers stand beside inputs of other rows: Evidently looks at one column at a time.
    inputs, answers = (drawn(production.like(part, days), PAGE_ROWS) for part in (TRAIN, TEST))
    reference = inputs.with_columns(answers[production.watched])
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    kinds = [spoken(column) for column in shown if column.text]
    if of_classes:
        classes = dict(enumerate(map(str, production.problem.values)))
        kinds.append(pl.col(production.watched).replace_strict(classes, return_dtype=pl.String))
    sides = [
        Dataset.from_pandas(
            table.select(pl.col(numbers).cast(pl.Float64), *kinds).to_pandas(), data_definition=definition
        )
        for table in (rows, reference)
    ]
    preset = DataDriftPreset(
        columns=[*numbers, *texts],
        num_method="wasserstein",
        cat_method="jensenshannon",
        per_column_threshold={name: bar * (NATS if name in texts else 1) for name, bar in bars.items()},
        drift_share=1 / (len(numbers) + len(texts)),  # one column is drift enough; half of them is Evidently's default
    )
    drawn_up = Report([preset]).run(*sides).get_html_str(as_iframe=False)
    PAGE.write_text(drawn_up.replace(RED, BLUE), encoding="utf-8")


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
        if facts["skew"] and facts["skew"]["rows"]:
            yield "of {rows:,} rows made again from the source, which lacks {lost:,} more, {share:.2%} differ".format(
                **facts["skew"]
            )
            odd = (f"{column['name']} in {column['newest']:.2%}" for column in facts["skew"]["columns"])
            if said := ", ".join(odd):
                yield f"of the newest of them: {said}"
        yield from before_they_come(facts["estimate"])
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


def before_they_come(estimate: Facts | None) -> Iterator[str]:
    """What is estimated of the days before labels."""
    if estimate and estimate["before"]:
        said = ", ".join(f"{name} {value:.3f}" for name, value in estimate["before"]["metrics"].items())
        yield "estimated by the answers alone, {0} to {1}, before labels: {said}".format(
            *estimate["before"]["days"], said=said
        )
        by_day = (f"{day['day']} {day['value']:.3f}" for day in estimate["days"] if day["value"] is not None)
        yield f"{estimate['name']}, so estimated: {', '.join(by_day)}"
    elif estimate and estimate["unmeasured"]:
        yield f"before labels nothing is estimated: {estimate['unmeasured']}"


if __name__ == "__main__":
    run_stage(main)
