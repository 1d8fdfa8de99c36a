"""reports/drift.json against policies/drift.yaml."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from pipeline.policy.bars import (
    BEYOND,
    LEAST,
    OTHER,
    Bars,
    Measured,
    Violation,
    interval,
    number,
    percent,
    worse,
)
from pipeline.reading import count, nearest

FILE = "reports/drift.json"
PROBLEM, UNLABELLED = "problem", "live.unlabelled"
DOUBTS = {PROBLEM, UNLABELLED}  # rules that say that nothing can be told, not that something drifted
SKEW = "skew."  # how the rules begin whose fault is the caller's
PROMOTED = Path("deploy/production/metrics.json")
CATEGORY = "category"
OTHERS = {"columns": "categories", "categories": "columns"}
ENOUGH = 100  # rows of the newest days that were made again, for their share to say something
SHOWN = 5  # names in a sentence
JUDGED = {"missing": "rise", "out_of_range": "out_of_range"}  # by a bar of `quality`: what it is held against

Missed = Callable[[Measured], bool | None]
"""Whether a part of the log, a day or days together, misses a bar; None where it does not say."""


@dataclass(frozen=True)
class Drift(Violation):
    """A bar that is not met, and since when."""

    since: str | None = None  # the first of the last days, all of which miss it


@dataclass(frozen=True)
class Distance:
    """A distance from the reference, and its bar."""

    rule: str
    bar: float
    found: Measured  # its distance, how far chance alone goes, and how both are measured
    column: str | None = None  # None for the answers

    @property
    def most(self) -> float:
        """The bar, or how far chance alone goes in so few rows, where that is further."""
        return max(self.bar, float(self.found["chance"]))

    @property
    def since(self) -> str:
        """What it is the distance from."""
        return "its test days" if self.column is None else "what the model learned from"

    @property
    def missed(self) -> bool:
        """Whether it is too far. One that there is no value for is a matter of `quality`."""
        return number(self.found["distance"]) > self.most

    def missed_in(self, part: Measured) -> bool | None:
        """Whether it is too far in a part of the log, a day or days together; None where the part does not say."""
        value = part["answer"] if self.column is None else part["columns"].get(self.column)
        wider = part["wider"]["answer" if self.column is None else "columns"]
        return None if value is None else value > max(self.bar, self.found["chance"] * wider)

    def __str__(self) -> str:
        return f"the {self.found['name']}" if self.column is None else self.column


def judge_drift(measured: Measured, policy: Bars) -> list[Violation]:
    """The bars of policies/drift.yaml that reports/drift.json does not meet; a problem stands for all of them."""
    if measured["problem"]:
        return [
            Drift(
                rule=PROBLEM,
                file=FILE,
                value=measured["problem"],
                bar="a prediction log that can be read, with rows enough to tell",
                next="this is no drift: mend what is named, and run the check again",
            )
        ]
    skewed = list(judge_skew(measured, policy))
    if not measured["columns"]:
        return skewed
    return [
        *skewed,
        *judge_columns(measured, policy),
        *judge_answer(measured, policy),
        *judge_quality(measured, policy),
        *judge_labels(measured, policy),
        *judge_live(measured, policy),
    ]


def judge_columns(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Columns that are too far from the reference."""
    for column in of_columns(measured, policy):
        yield from judge_distance(column, measured, policy)


def judge_answer(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Answers that are too far from those of the test week."""
    yield from judge_distance(of_answer(measured, policy), measured, policy)


def judge_distance(far: Distance, measured: Measured, policy: Bars) -> Iterator[Violation]:
    """A distance above its bar, in enough parts of the window too."""
    if far.missed and len(days(measured, far.missed_in)) >= policy["evidence_days"]:
        since, words = began(measured, far.missed_in)
        method, distance = far.found["method"], far.found["distance"]
        unit = " deviations" * method.startswith("Wasserstein")
        few = f": chance alone takes {measured['rows']:,} rows as far" * (far.most > far.bar)
        yield Drift(
            rule=far.rule,
            file=FILE,
            value=f"{far} is {distance:.3g}{unit} away from {far.since}{words}",
            bar=f"at most {far.most:.3g} ({method}){few}",
            rows=measured["rows"],
            next="look at reports/drift.html: a fault of the source is mended there, a change of the world is learned",
            since=since,
        )


def of_columns(measured: Measured, policy: Bars) -> Iterator[Distance]:
    """The columns' distances."""
    for column in measured["columns"]:
        yield Distance(*column_bar(column, policy), column, column["name"])


def of_answer(measured: Measured, policy: Bars) -> Distance:
    """The answers' distance."""
    return Distance("answer.maximum", policy["answer"]["maximum"], measured["answer"])


def column_bar(column: Measured, policy: Bars) -> tuple[str, float]:
    """A column's rule and bar: its own, or that of its kind. A category's distance is another than a number's."""
    block, name = "categories" if column["type"] == CATEGORY else "columns", column["name"]
    own = policy[block]["exceptions"]
    return (f"{block}.exceptions.{name}", own[name]) if name in own else (f"{block}.maximum", policy[block]["maximum"])


def misnamed(policy: Bars, numbers: Sequence[str], categories: Sequence[str]) -> Iterator[str]:
    """Exceptions for what is no input, or one of the other kind: a sentence each. They would be no bar at all."""
    for block, names, others in (("columns", numbers, categories), ("categories", categories, numbers)):
        for name in policy[block]["exceptions"]:
            place = f"{block}.exceptions.{name}"
            if name in others:
                yield f"{place} belongs in {OTHERS[block]}.exceptions; move it there"
            elif name not in names:
                yield f"{place} is no input; {nearest(name, [*names, *others])}"
    for name in policy["skew"]["exceptions"]:
        if name not in (known := [*numbers, *categories]):
            yield f"skew.exceptions.{name} is no input; {nearest(name, known)}"


def judge_quality(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Columns with too many values that are out of range, or missing where they were not when the model learned."""
    for fault, most in policy["quality"].items():
        for column in measured["columns"]:
            if BEYOND["maximum"](number(column[JUDGED[fault]]), most):
                before = number(column["missing_before"])
                was = f", was in {percent(before)}" if fault == "missing" and before > 0 else ""
                yield Drift(
                    rule=f"quality.{fault}",
                    file=FILE,
                    value=f"{column['name']} is {fault.replace('_', ' ')} in {percent(column[fault])} of the rows{was}",
                    bar=f"at most {percent(most)}{' more than the model learned from' if fault == 'missing' else ''}",
                    rows=round(measured["rows"] * number(column[fault])),
                    next="find out what fills this column, before a model learns from it",
                )


def judge_labels(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Rows that the source does not know: what is measured on the others is not the quality of all."""
    live, most = measured["live"], policy["live"]["unlabelled"]
    if live and live["unlabelled"] > most * (live["rows"] + live["unlabelled"]):
        yield Drift(
            rule=UNLABELLED,
            file=FILE,
            value=f"of {live['days'][0]} to {live['days'][1]}, {count(live['unlabelled'], 'row')} cannot be found in "
            f"data.source, {live['rows']:,} can",
            bar=f"at most {percent(most)}",
            rows=live["unlabelled"],
            next="see that the service is given the source's identifiers (`id` in contract.yaml), and that data.source "
            "is whole",
        )


def judge_live(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Metrics of the live rows whose better end misses a bar."""
    if not can_tell(measured, policy):
        return
    live, promoted = measured["live"], at_promotion(measured)
    for name, bars in policy["live"]["metrics"].items():
        if name in live["unmeasured"]:
            continue
        for rule, end, bar, words in live_bars(bars, promoted.get(name), name in live["smaller"]):
            if not BEYOND[end](worse(live["metrics"].get(name), OTHER[end]), bar):
                continue
            odd = beyond(end, bar)
            since, when = began(measured, odd) if name == measured["headline"] else (None, "")
            yield Drift(
                rule=f"live.metrics.{name}.{rule}",
                file=FILE,
                value=f"{name} is {interval(live['metrics'].get(name))}{when}",
                bar=f"at {LEAST[end]} {bar:.4g} at the interval's better end{words}",
                rows=live["rows"],
                next="train on newer days, which the request to retrain proposes"
                if name in live["metrics"]
                else f"correct the name in policies/drift.yaml; {nearest(name, live['metrics'])}",
                since=since,
            )


def live_bars(
    bars: Mapping[str, float], promoted: Measured | None, smaller: bool
) -> Iterator[tuple[str, str, float, str]]:
    """Each bar on a metric, which is better where it is larger, or `smaller`: its rule, its end, its value, and why."""
    for rule, bar in bars.items():
        if rule in BEYOND:
            yield rule, rule, bar, ""
        elif promoted:
            # Its week was lucky or not, as this one is: two values that chance moved lie further apart than one.
            end, sign, way = ("maximum", 1, "above") if smaller else ("minimum", -1, "below")
            was = worse(promoted, end)
            yield rule, end, was + sign * bar, f": {bar:g} {way} {was:.4g}, the worse end at its promotion"


# --- what callers compute ---


def judge_skew(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Inputs that are other ones, in too many rows of the newest day that the source has delivered, than it gives.

    The newest alone: a caller's mistake shows once the source of its first day is there, and is gone as soon.
    """
    if why_not_compared(measured):
        return
    skew, bars = measured["skew"], policy["skew"]
    for column in skew["columns"]:
        name, most = column["name"], bars["exceptions"].get(column["name"], bars["maximum"])
        if column["newest"] > most:
            since, words = began(skew, strays(name, most))
            newest = skew["newest"]
            odd = "{logged} where the source gives {made}".format(**column["example"])
            yield Drift(
                rule=f"{SKEW}exceptions.{name}" if name in bars["exceptions"] else f"{SKEW}maximum",
                file=FILE,
                value=f"{name} is not what the source gives in {percent(column['newest'])} of {newest['rows']:,} rows "
                f"of {when(newest)}{words}, such as {odd}",
                bar=f"at most {percent(most)} of a sample",
                rows=round(newest["rows"] * column["newest"]),
                next="mend whoever asks: it has to send what the source holds, or compute it as pipeline/features.py "
                "does; another model does not help",
                since=since,
            )


def strays(name: str, most: float) -> Missed:
    """Whether a column differs in too many rows of a day."""
    return lambda day: number(day["columns"][name]) > most


def why_not_compared(measured: Measured) -> str:
    """Why the log was not compared with what the source gives; nothing where it was."""
    skew = measured.get("skew")
    if not measured.get("same_problem") or not skew:
        return "production predicts another problem than the one whose source is here"
    if skew["unmeasured"]:
        return str(skew["unmeasured"])
    if not skew["newest"] or skew["newest"]["rows"] < ENOUGH:
        lost = f", and cannot find {skew['lost']:,}" * bool(skew["lost"])
        return f"the source has {count(skew['rows'], 'row')} of the sample{lost}; {ENOUGH} are needed"
    return ""


def not_compared(measured: Measured) -> Iterator[str]:
    """What of the inputs was not held against the source."""
    if why := why_not_compared(measured):
        yield f"skew: {why}"
    elif left := measured["skew"]["left_out"]:
        names = ", ".join(left[:SHOWN]) + f" and {len(left) - SHOWN} more" * (len(left) > SHOWN)
        yield f"skew of {names}: the log does not keep them as they are, or production takes others"


# --- since when ---


def beyond(end: str, bar: float) -> Missed:
    """Whether a part's headline misses a bar on it; None where the part does not say."""

    def misses(part: Measured) -> bool | None:
        value = part["headline"]
        return None if value is None else BEYOND[end](value, bar)

    return misses


def days(measured: Measured, odd: Missed) -> list[str]:
    """The parts of the window that miss a bar, by their days."""
    first, last = measured["window"]
    inside = (part for part in measured["days"] if first <= part["day"] and part["until"] <= last)
    return [when(part) for part in inside if odd(part)]


def when(part: Measured) -> str:
    """The days of a part."""
    return str(part["day"]) if part["day"] == part["until"] else f"{part['day']} to {part['until']}"


def began(measured: Measured, odd: Missed) -> tuple[str | None, str]:
    """The first day of the last parts, all of which miss a bar, also in words; one that does not say is passed over."""
    said = [(part["day"], missed) for part in measured["days"] if (missed := odd(part)) is not None]
    run = list(takewhile(lambda each: each[1], reversed(said)))
    if not run:
        return None, ""
    since = run[-1][0]
    return since, f", since {since}{' or before' if len(run) == len(said) else ''}"


# --- what cannot be judged ---


def unjudged_drift(measured: Measured, policy: Bars) -> list[str]:
    """What no bar of policies/drift.yaml could be held against, and why."""
    if measured["problem"]:
        return []
    if not measured["configured"]:
        lacks = "PREDICTION_LOG names no log" if measured["model"] else "nothing is in production"
        return [f"anything: {lacks} yet, so there is nothing to compare"]
    if not measured["columns"]:
        least, grace = policy["window"]["minimum_days"], policy["window"]["grace_days"]
        yet = f"has not answered for {count(least, 'whole day')} yet; it has {count(grace, 'day')} to"
        return [f"anything: the model in production {yet}"]
    return [*single_days(measured, policy), *unjudged_live(measured, policy), *not_compared(measured)]


def single_days(measured: Measured, policy: Bars) -> Iterator[str]:
    """Distances above their bar that too few parts of the window show."""
    for far in (*of_columns(measured, policy), of_answer(measured, policy)):
        if far.missed and len(odd := days(measured, far.missed_in)) < policy["evidence_days"]:
            there = ", ".join(odd) or "no single day"
            yield f"{far}: {far.found['distance']:.3g} away, above {far.most:.3g}, but only on {there} (evidence_days)"


def unjudged_live(measured: Measured, policy: Bars) -> Iterator[str]:
    """Live quality, where there is none to judge."""
    if not measured["same_problem"]:
        yield (
            f"live quality: production predicts {measured['problem_name']!r}, and the labels here are of another "
            "problem, whose model is not promoted yet"
        )
        return
    if not can_tell(measured, policy):
        live = measured["live"] or {"rows": 0, "unknown": 0}
        yield (
            f"live quality: {live['rows']:,} rows of the model in production have a matured label, "
            f"{policy['live']['rows']:,} are needed (live.rows)"
            + (f"; of {live['unknown']:,} it is not known yet" if live["unknown"] else "")
        )
        return
    yield from not_measured(measured["live"]["unmeasured"], at_promotion(measured), policy["live"]["metrics"])


def not_measured(unmeasured: Mapping[str, str], promoted: Mapping[str, Any], bars: Bars) -> Iterator[str]:
    """Bars on metrics that were not measured, of the live rows or when the model was promoted."""
    yield from (f"live.metrics.{name}: {unmeasured[name]}" for name in bars if name in unmeasured)
    lost = [name for name, of in bars.items() if "drop" in of and name not in unmeasured and not promoted.get(name)]
    if promoted:
        yield from (f"live.metrics.{name}.drop: it was not measured when the model was promoted" for name in lost)
    elif lost:
        yield f"live.metrics: what was lost since the promotion, as {PROMOTED} is not of the model in production"


def can_tell(measured: Measured, policy: Bars) -> bool:
    """Whether live quality was measured, and on enough of the rows."""
    live = measured["live"]
    if not live or live["rows"] < policy["live"]["rows"] or any(judge_labels(measured, policy)):
        return False
    return any(live["metrics"].values())


def at_promotion(measured: Measured) -> Mapping[str, Any]:
    """The metrics that the model in production had when it was promoted; none where they are another model's."""
    try:
        found = json.loads(PROMOTED.read_text())
        return dict(found["metrics"]) if found["model"]["digest"] == measured["model"] else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def outcome(measured: Measured, policy: Bars, violations: Sequence[Violation]) -> Mapping[str, Any]:
    """The gate's outcome: not_configured, healthy, drifted, skewed or unknown.

    Where callers send other inputs than the source gives, the log does not show what has become of the world.
    """
    if not measured["configured"] and not measured["problem"]:
        return {"outcome": "not_configured"}
    if not violations:
        return {"outcome": "healthy"}
    if any(violation.rule.startswith(SKEW) for violation in violations):
        return {"outcome": "skewed"}
    return {"outcome": "unknown" if {violation.rule for violation in violations} <= DOUBTS else "drifted"}
