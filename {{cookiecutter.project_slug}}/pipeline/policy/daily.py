"""What reports/validation.json says of the days, beside each other, against `daily` of policies/data.yaml.

A day counts where it is beyond its bar, and where chance would raise an alarm of this kind in at most the share
`daily.chance` of whole checks: the chance of what is found, times the number of days and columns that were looked at
(Bonferroni).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import dropwhile, groupby
from math import atan2, cos, log, pi, sin, sqrt
from statistics import median
from typing import Any

from pipeline.policy.bars import EXAMPLES, Bars, Measured, Violation, percent
from pipeline.reading import count, decimal

WEEKS = 3  # days of each weekday, from which on it has an hour of its own
MEDIAN = 0.6745  # of the distance of a normal variable from its mean, in standard deviations
HALF = 12  # hours: no mean is further away
A_MINUTE = 1 / 60  # hours, to which times of day are measured
FILE = "policies/data.yaml"


def judge_clock(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Days whose mean time of day is not that of the others."""
    if not (days := (measured.get("daily") or {}).get("clock")):
        return
    hours, bars = offsets({day: found["hour"] for day, found in days.items()}), policy["daily"]
    medians = usual(hours)
    lowest, highest = min(medians.values()), max(medians.values())
    spread = max(median(found["spread"] for found in days.values()), A_MINUTE)
    # Rows of one entity come together, so that days differ more than their rows would, drawn one by one.
    apart = median(abs(hours[day] - medians[day]) * sqrt(found["rows"]) for day, found in days.items()) / MEDIAN
    fewer = max(1, apart / spread) ** 2
    rare = -log(chance(policy) / (2 * len(days) ** 2))

    def beyond(some: Sequence[str]) -> tuple[str, ...]:
        """The days in a row whose mean is furthest beyond what it may be; none where no mean is.

        Few rows a day say little, many days more. Bernstein's bound on the chance of a mean, 12 hours at most; of all
        such rows of days.
        """
        most, found = 1.0, tuple[str, ...]()
        for at in range(len(some)):
            rows = total = 0.0
            for end, day in enumerate(some[at:], at + 1):
                rows, total = rows + days[day]["rows"] / fewer, total + hours[day] * days[day]["rows"] / fewer
                by_chance = (4 * rare + sqrt(16 * rare**2 + 2 * rare * spread**2 * rows)) / rows
                off = max(lowest - total / rows, total / rows - highest) / max(bars["clock"], by_chance)
                if off > most:
                    most, found = off, tuple(some[at:end])
        return found

    # A holiday may be like any weekday. The first days may be of a world that has changed since: no later one is.
    left = list(days)
    while (odd := beyond(left)) and odd[0] == left[0]:
        left = left[len(odd) :]
    if odd:
        ends = [clock(days[next(iter(days))]["hour"] - hours[next(iter(days))] + end) for end in (lowest, highest)]
        yield Violation(
            rule="daily.clock",
            file=measured["file"],
            value=f"{len(odd)} of {count(len(days), 'day')} have other hours than the rest; a usual day's mean is "
            f"{' to '.join(dict.fromkeys(ends))}",
            bar=f"at most {count(bars['clock'], 'hour')} from that",
            rows=sum(days[day]["rows"] for day in odd),
            examples=tuple(f"{day}: {clock(days[day]['hour'])}" for day in odd[:EXAMPLES]),
            next="look for a clock of another time zone, or of twelve hours, in the deliveries of these days; if the "
            f"world is so, raise daily.clock in {FILE}",
        )


def judge_midnight(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Days without a time of day, where most have one; those of a world that has changed since come first."""
    daily = measured.get("daily") or {}
    days = daily.get("clock") or {}
    rows = {day: number for day, number in measured["days"]["rows"].items() if number} if days else {}
    without, timed = set(daily.get("untimed", ())), rows.keys() & days.keys()
    if 2 * len(timed) <= len(rows) or policy["daily"]["clock"] >= HALF:
        return
    at_midnight = 1 - sum(days[day]["rows"] for day in timed) / sum(rows[day] for day in timed)

    def beyond(day: str) -> bool:
        return day in without and at_midnight ** rows[day] * len(rows) < chance(policy)

    if odd := [day for day in dropwhile(beyond, rows) if beyond(day)]:
        yield Violation(
            rule="daily.clock",
            file=measured["file"],
            value=f"{len(odd)} of {count(len(rows), 'day')} have no time of day: all of their rows are of midnight; on "
            f"the others {percent(1 - at_midnight)} are not",
            bar=f"a time of day, as others have one, where chance does not lose it ({FILE}, daily.chance)",
            rows=sum(rows[day] for day in odd),
            examples=tuple(odd[:EXAMPLES]),
            next="deliver the rows of these days with their time, not the date alone; if the world is so, say "
            f"daily.clock: {HALF} in {FILE}, which judges no clock",
        )


def offsets(hours: Mapping[str, float]) -> dict[str, float]:
    """Hours by day as the distances from their mean on the clock, -12 to 12."""
    angles = [hour * pi / 12 for hour in hours.values()]
    middle = atan2(sum(map(sin, angles)), sum(map(cos, angles))) * 12 / pi
    return {day: (hour - middle + 12) % 24 - 12 for day, hour in hours.items()}


def usual(hours: Mapping[str, float]) -> dict[str, float]:
    """For each day the median of its weekday; of few weeks, that of all days."""
    weekdays: dict[int, list[float]] = {}
    for day, hour in hours.items():
        weekdays.setdefault(weekday(day), []).append(hour)
    if min(map(len, weekdays.values())) < WEEKS:
        return dict.fromkeys(hours, median(hours.values()))
    return {day: median(weekdays[weekday(day)]) for day in hours}


def weekday(day: str) -> int:
    """Monday is 0."""
    return date.fromisoformat(day).weekday()


def clock(hour: float) -> str:
    """A time of day in words."""
    minutes = round(hour * 60) % (24 * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def judge_repeated(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Days that hold the rows of an earlier one."""
    least = policy["daily"]["repeated"]
    again = [each for each in (measured.get("daily") or {}).get("repeated", ()) if each["distinct"] >= least]
    if again:
        yield Violation(
            rule="daily.repeated",
            file=measured["file"],
            value=f"{count(len(again), 'day')} with the rows of an earlier day, under other identifiers and times",
            bar=f"none, of days with {least:,} different rows or more",
            rows=sum(each["rows"] for each in again),
            examples=tuple(f"{each['day']}: the rows of {each['of']}" for each in again[:EXAMPLES]),
            next="an earlier day came again under a new date: deliver the rows of these days; where days may be alike, "
            f"raise daily.repeated in {FILE}",
        )


def judge_constant(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Columns that have one value for so long that chance would not do it, a violation for each column."""
    found = measured.get("daily") or {}
    for name, column in found.get("constant", {}).items():
        often, special = bar(policy, name, "constant")
        others = often * (1 - column["share"])
        tests = found["columns"] * len(measured["days"]["rows"])
        # The first of its rows may have any value.
        if odd := [run for run in column["runs"] if (1 - others) ** (run["rows"] - 1) * tests < chance(policy)]:
            yield Violation(
                rule=rule(name, "constant", special),
                file=measured["file"],
                value=f"{name} stands still: one value in {count(odd[0]['rows'], 'row')} of {span(odd[0])}; on other "
                f"days {percent(1 - column['share'])} of the rows have another one than the most frequent",
                bar=f"other values: {beyond_chance(often, policy)}",
                rows=sum(run["rows"] for run in odd),
                examples=tuple(f"{span(run)}: {run['value']}" for run in odd),
                next=f"find out why the source stopped delivering {name}; if the world is so, say "
                + excepted(name, "constant: 0"),
            )


def judge_stopped(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Days in a row without a label of some class that are too many for chance."""
    labels, days = measured["label"], measured["days"]
    if not (measured.get("daily") and labels and days and labels["kind"] == "share"):
        return
    known = {day: number for day in days["rows"] if (number := labels["known"].get(day))}
    least = policy["label"]["day"]["rows"]
    said = {day for day in known if days["rows"][day] >= least}  # by label.day, each by itself, where that asks for any
    classes = by_class(labels, known)
    for name, found in classes.items():
        often, place, loosen = stops(policy, name, labels)
        odd = [
            run
            for run in without(found, known)
            if luck(run, often, len(labels["parts"]) > 1) * len(classes) * len(known) < chance(policy)
            and not (asked(policy, name, labels) and said.issuperset(run["days"]))
        ]
        if odd:
            yield Violation(
                rule=place,
                file=measured["file"],
                value=f"no {name} label in {count(odd[0]['rows'], 'row')} of {span(odd[0])}; "
                f"of the others {percent(odd[0]['usual'])} are {name}",
                bar=f"some: {beyond_chance(often, policy)}",
                rows=sum(run["rows"] for run in odd),
                examples=tuple(f"{span(run)}: {count(run['rows'], 'label')}" for run in odd[:EXAMPLES]),
                next="check that the labels of these days were loaded; while they are not known yet, they have to be "
                f"missing; if the world is so, {loosen}",
            )


def by_class(labels: Measured, known: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """How many labels of each class the days have, those that are of no part among them."""
    found = {
        name: {day: round(part["days"][day] * number) for day, number in known.items()}
        for name, part in labels["parts"].items()
    }
    rest = {day: number - sum(of[day] for of in found.values()) for day, number in known.items()}
    return found | ({labels["rest"]: rest} if labels["rest"] else {})


def asked(policy: Bars, name: str, labels: Measured) -> bool:
    """Whether the bars of a single day ask for labels of a class."""
    days = {part: of_part(policy, part)["day"] for part in labels["parts"]}
    return bool(days[name]["minimum"] > 0 if name in days else sum(day["maximum"] for day in days.values()) < 1)


def stops(policy: Bars, name: str, labels: Measured) -> tuple[float, str, str]:
    """How rarely labels of a class may come, the bar's place, and what to say where they stop by nature."""
    own = of_part(policy, name)
    if "labels" in own:
        return own["labels"], f"label.parts.{name}.labels", f"lower label.parts.{name}.labels in {FILE}"
    loosen = f"lower daily.labels in {FILE}"
    if len(labels["parts"]) > 1:
        loosen = f"say label: {{parts: {{{json.dumps(name, ensure_ascii=False)}: {{labels: 0}}}}}} in {FILE}"
    return policy["daily"]["labels"], "daily.labels", loosen


def without(found: Mapping[str, int], known: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Runs of days on which none is found of what `usual` is the share on the other days, `of` so many in all."""
    total, rows = sum(found.values()), sum(known.values())
    for none, group in groupby(known, key=lambda day: found[day] == 0):
        if none:
            run = list(group)
            here = sum(known[day] for day in run)
            said = {"first": run[0], "last": run[-1], "days": run, "rows": here}
            yield {**said, "usual": total / max(rows - here, 1), "share": here / rows, "of": total}


def luck(run: Mapping[str, Any], often: float, several: bool) -> float:
    """The chance that none is found in a run, came they `often` times as often as on the other days.

    One of several classes may be so rare that the other days are few and say little: then also that of all its labels
    to lie there, were they strewn over all days.
    """
    none = (1 - often * run["usual"]) ** run["rows"]
    return float(max(none, (1 - run["share"]) ** run["of"]) if several else none)


def judge_categories(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Levels that came or went after the last training day, a violation for each column."""
    found = (measured.get("daily") or {}).get("categories", {"columns": {}})
    for name, moves in found["columns"].items():
        most, special = bar(policy, name, "categories")
        odd = [each for each in moves if each["rows"] > most * each["of"]]
        odd = [each for each in odd if each["chance"] * found["tests"] < chance(policy)]
        if odd:
            yield Violation(
                rule=rule(name, "categories", special),
                file=measured["file"],
                value=f"{name} has levels that came or went after the last training day: a model would not know of it",
                bar=f"no level that more than {percent(most)} of the rows have",
                rows=sum(each["rows"] for each in odd if "since" in each) or None,
                examples=tuple(map(moved, odd[:EXAMPLES])),
                next="was a level renamed? then have it delivered under its old name, or all days under the new one; "
                f"if the world is so, say {excepted(name, 'categories: 1')}",
            )


def moved(found: Mapping[str, Any]) -> str:
    """A level that came or went, in words."""
    share = percent(found["rows"] / found["of"])
    if "since" in found:
        return f"{found['level']} is new: {share} of the rows since {found['since']}"
    return f"{found['level']} is gone: {share} of the rows until {found['until']}, and none since"


def judge_lost(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Days that miss values of a column which the others have, a violation for each column."""
    found = measured.get("daily") or {}
    for name, column in found.get("lost", {}).items():
        most, special = bar(policy, name, "lost")
        there = 1 - column["usual"]
        tests = found["columns"] * len(measured["days"]["rows"])
        odd = [
            day
            for day in column["days"]
            if there - (1 - day["missing"] / day["rows"]) > most * there and day["chance"] * tests < chance(policy)
        ]
        if odd:
            yield Violation(
                rule=rule(name, "lost", special),
                file=measured["file"],
                value=f"{name} lost values; the median day misses {percent(column['usual'])}",
                bar=f"at most {percent(most)} of the values that the median day has",
                rows=sum(day["missing"] for day in odd),
                examples=tuple(f"{day['day']}: {percent(day['missing'] / day['rows'])} missing" for day in odd),
                next=f"find out why the source stopped delivering {name}; if the world is so, say "
                + excepted(name, "lost: 1"),
            )


# --- what they share ---


def chance(policy: Bars) -> float:
    """The share of whole checks that chance alone may turn red, by one kind of fault."""
    return float(policy["daily"]["chance"])


def bar(policy: Bars, name: str, kind: str) -> tuple[float, bool]:
    """A column's bar, and whether it is its own."""
    own = policy["columns"].get(name, {})
    return float(own.get(kind, policy["daily"][kind])), kind in own


def of_level(policy: Bars, name: str) -> tuple[Bars, str]:
    """The ends of a column's level, and their place in the policy."""
    own = policy["columns"].get(name, {}).get("level")
    return (own, f"columns.{name}.level") if own else (policy["level"], "level")


def of_part(policy: Bars, name: str) -> dict[str, Any]:
    """The bars of a part of the labels: those of all, and its own in their place."""
    bars, own = policy["label"], own_part(policy, name)
    return {**bars, **own, "day": {**bars["day"], **own.get("day", {})}}


def own_part(policy: Bars, name: str) -> Bars:
    """Those that are its own."""
    found: Bars = policy["label"].get("parts", {}).get(name, {})
    return found


def wider(name: str, bars: Bars, found: Sequence[float]) -> str:
    """A level of its own that holds what was found, with as much room again."""
    ends = min([bars["minimum"], *(each / 2 for each in found)]), max([bars["maximum"], *(each * 2 for each in found)])
    lowest, highest = (decimal(float(f"{end:.2g}")) for end in ends)
    return excepted(name, f"level: {{minimum: {lowest}, maximum: {highest}}}")


def excepted(name: str, own: str) -> str:
    """What to write for a bar of a column's own."""
    return f"columns: {{{name}: {{{own}}}}} in {FILE}"


def rule(name: str, kind: str, special: bool) -> str:
    """The bar's place in the policy."""
    return f"columns.{name}.{kind}" if special else f"daily.{kind}"


def beyond_chance(often: float, policy: Bars) -> str:
    """The bar of what has to come at all, in words."""
    rarely = f"chance leaves them out in less than {percent(chance(policy))} of checks"
    return f"{rarely}, even where they come {often:g} times as often as usual"


def span(run: Mapping[str, Any]) -> str:
    """Days in a row, in words."""
    return str(run["first"]) if run["first"] == run["last"] else f"{run['first']} to {run['last']}"


def unjudged_daily(measured: Measured) -> Iterator[str]:
    """What of the days could not be looked at, and why."""
    found = measured.get("daily")
    if found and not found["clock"]:
        yield "the hours of the days: their times have none, or lie evenly around the clock"
