"""reports/validation.json against policies/data.yaml."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import inf, log
from statistics import median
from typing import Any

from pipeline.policy.bars import BEYOND, EXAMPLES, LEAST, Bars, Measured, Violation, number, percent
from pipeline.policy.before import judge_before, unjudged_before
from pipeline.policy.daily import (
    judge_categories,
    judge_clock,
    judge_constant,
    judge_lost,
    judge_midnight,
    judge_repeated,
    judge_stopped,
    of_level,
    of_part,
    own_part,
    unjudged_daily,
    wider,
)
from pipeline.reading import count, nearest

SHOWN = 10  # levels of a closed list


def judge_data(measured: Measured, policy: Bars) -> list[Violation]:
    """The bars of policies/data.yaml that reports/validation.json does not meet."""
    return [
        *judge_schema(measured),
        *judge_rows(measured, policy),
        *judge_values(measured, policy),
        *judge_days(measured, policy),
        *judge_levels(measured, policy),
        *judge_labels(measured, policy),
        *judge_clock(measured, policy),
        *judge_midnight(measured, policy),
        *judge_repeated(measured, policy),
        *judge_constant(measured, policy),
        *judge_stopped(measured, policy),
        *judge_categories(measured, policy),
        *judge_lost(measured, policy),
        *judge_before(measured, policy),
        *judge_pin(measured, policy),
    ]


def judge_schema(measured: Measured) -> Iterator[Violation]:
    """Columns that are missing or mistyped; no bar loosens this."""
    for column in measured["schema"]:
        yield Violation(
            rule="schema",
            file=measured["file"],
            value=f"{column['column']} is {column['found']}",
            bar=f"{column['expected']}, by contract.yaml",
            next="make the source deliver the column in this type, or change contract.yaml",
        )


def judge_rows(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Too few rows, or repeated identifiers."""
    rows, least = measured["rows"], policy["rows"]["minimum"]
    if rows < least:
        yield Violation(
            rule="rows.minimum",
            file=measured["file"],
            value=count(rows, "row"),
            bar=f"at least {least:,}",
            next="read more days (split.train in policies/evaluation.yaml), or find out why the source delivers so few"
            if measured["dated"]
            else "find out why the source delivers so few",
        )
    duplicates = measured["duplicates"]
    if duplicates and duplicates["rows"] > policy["duplicates"] * rows:
        yield Violation(
            rule="duplicates",
            file=measured["file"],
            value=f"{duplicates['rows']:,} rows ({percent(duplicates['rows'] / rows)}) repeat an identifier",
            bar=f"at most {percent(policy['duplicates'])} of the rows",
            rows=duplicates["rows"],
            examples=tuple(
                f"{measured['id']} {example.get(measured['id'], 'not shown')} in {example['_rows']} rows"
                for example in duplicates["examples"]
            ),
            next="find the delivery that was loaded twice, and remove the repeated rows from the source",
        )


def judge_values(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Missing, NaN, infinite and out-of-range values, a violation for each column and fault."""
    columns = measured["columns"]
    for name in policy["columns"]:
        if name not in columns:
            yield Violation(
                rule=f"columns.{name}",
                file=measured["file"],
                value="no such column",
                bar="a column that is measured",
                next=f"correct the name in policies/data.yaml; {nearest(name, columns)}",
            )
    for name, faults in columns.items():
        for fault, found in faults.items():
            special = fault in policy["columns"].get(name, {})
            most = policy["columns"][name][fault] if special else policy["values"][fault]
            if found["share"] > most:
                yield Violation(
                    rule=f"columns.{name}.{fault}" if special else f"values.{fault}",
                    file=measured["file"],
                    value=f"{name} is {fault.replace('_', ' ')} in {percent(found['share'])} of the rows",
                    bar=f"at most {percent(most)}{allowed(found)}",
                    rows=found["rows"],
                    examples=tuple(
                        ", ".join(f"{key} {value}" for key, value in row.items()) for row in found["examples"] if row
                    ),
                    next=mend(fault, name, found),
                )


def mend(fault: str, name: str, found: Measured) -> str:
    """What to do about values: of who, when and how much, nothing may be missing."""
    if fault in ("missing", "nan") and (role := found.get("role")):
        return f"correct these rows in the source, or drop them there: a row has to have its {role}"
    return f"correct these rows in the source; if they are right, {loosen(fault, name, found)}"


def loosen(fault: str, name: str, found: Measured) -> str:
    """Where to say that values are right as they are."""
    if fault in ("missing", "nan") or fault == "infinite" and found.get("label"):
        null = "write null in the source, and " * (fault != "missing")
        then = (
            "they are labels that are not known yet"
            if found.get("label")
            else "a model learns from rows without a value"
        )
        return f"{null}say `missing: true` of {name} in contract.yaml: then {then}"
    if fault == "out_of_range":
        return f"widen the `range` of {name} in contract.yaml"
    if fault == "unknown" and found.get("label"):
        return "mend `label` in contract.yaml; a label that is not known yet is missing"
    if fault == "unknown":
        return f"add them to the `categories` of {name} in contract.yaml"
    return "allow a share for this column under `columns` in policies/data.yaml; no model is trained on infinite inputs"


def allowed(found: Measured) -> str:
    """The range that values are out of, or what they should be one of, in words; nothing for other faults."""
    if known := found.get("known"):
        return f"; it may be {', '.join(map(repr, known[:SHOWN]))}{', …' * (len(known) > SHOWN)}"
    ends = [
        f"{word} {found[end]:g}" for word, end in (("from", "minimum"), ("to", "maximum")) if found.get(end) is not None
    ]
    return f"; the range is {' '.join(ends)}" if ends else ""


def judge_days(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Days without rows, a stale or overlong end, days with unusually few or many rows."""
    days, bars = measured["days"], policy["days"]
    if days is None:
        return
    span = f"{days['since']} to {days['until']}"
    if len(days["missing"]) > bars["missing"]:
        yield Violation(
            rule="days.missing",
            file=measured["file"],
            value=f"no row on {count(len(days['missing']), 'day')} of {span}",
            bar=f"at most {bars['missing']}",
            examples=tuple(days["missing"][:EXAMPLES]),
            next="deliver the days to data.source, move data.until or features in params.yaml, or allow the days on "
            "which the source rests in policies/data.yaml",
        )
    if days["behind"] > bars["behind"]:
        yield Violation(
            rule="days.behind",
            file=measured["file"],
            value=f"the last row is {count(days['behind'], 'day')} before data.until, {days['until']}",
            bar=f"at most {bars['behind']}",
            next="wait for the delivery, or set data.until in params.yaml to the last day that is whole",
        )
    if days["outside"]["rows"] > bars["outside"]:
        yield Violation(
            rule="days.outside",
            file=measured["file"],
            value=f"rows of days that are not in {span}",
            bar=f"at most {count(bars['outside'], 'row')}",
            rows=days["outside"]["rows"],
            examples=tuple(days["outside"]["examples"]),
            next="each file has to hold the day that it is named after: is the time zone shifted?",
        )
    yield from judge_volume(measured, policy)


def judge_volume(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Days with unusually few or many rows, one violation for each end."""
    rows, bars = measured["days"]["rows"], policy["volume"]
    for end, usual, odd in astray(rows, bars):
        words = "fewer" if end == "minimum" else "more"
        yield Violation(
            rule=f"volume.{end}",
            file=measured["file"],
            value=f"{words} rows than there may be on {len(odd)} of {count(len(rows), 'day')}; "
            f"the median is {usual:,.0f}",
            bar=f"at {LEAST[end]} {bars[end]:g} of the median, {bars[end] * usual:,.0f} rows",
            rows=sum(rows[day] for day in odd),
            examples=tuple(f"{day}: {count(rows[day], 'row')}" for day in odd[:EXAMPLES]),
            next="look for a delivery of these days that broke off or ran twice, and load them again",
        )


def judge_levels(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Days on which a column is a multiple of what it usually is, one violation for each column and end."""
    if not (measured["days"] and measured["levels"]):
        return
    rows = measured["days"]["rows"]
    for name in measured["levels"]:
        bars, place = of_level(policy, name)
        parts, judged, medians = in_parts(measured, name, policy["level"]["rows"])
        beyond = {end: odd for end, _, odd in astray(medians, bars)}  # a few large values move the mean alone
        for end, middle, strays in astray(judged, bars):
            odd = [part for part in parts if part[0] in strays and part[0] in beyond.get(end, ())]
            if days := list(chain(*odd)):
                yield Violation(
                    rule=f"{place}.{end}",
                    file=measured["file"],
                    value=f"{name} strays on {len(days)} of {count(sum(map(len, parts)), 'day')}; "
                    f"the usual mean is {middle:,.4g}",
                    bar=f"at {LEAST[end]} {bars[end]:g} times that, and of the median",
                    rows=sum(rows[day] for day in days),
                    examples=tuple(f"{of_days(part)}: {judged[part[0]]:,.4g}" for part in odd[:EXAMPLES]),
                    next="look for another unit or currency in the deliveries of these days; if the world is so, say "
                    + wider(name, bars, [judged[part[0]] / middle for part in odd] if middle else []),
                )


def ratios(measured: Measured, least: int) -> Iterator[float]:
    """What columns have on days, together of so many rows at least, as a share of what they usually have.

    By the mean or by the median, whichever strays less: so they are judged.
    """
    for name in measured.get("levels") or ():
        _, *sides = in_parts(measured, name, least)
        middles = [median(side.values()) if side else 0 for side in sides]
        for part in sides[1] if all(middles) else ():
            both = (side[part] / middle for side, middle in zip(sides, middles, strict=True))
            yield min(both, key=lambda ratio: abs(log(ratio)) if ratio > 0 else inf)


def in_parts(measured: Measured, name: str, least: int) -> tuple[list[list[str]], dict[str, float], dict[str, float]]:
    """The days, together of so many rows at least; a column's mean in them, and its median."""
    rows, means = measured["days"]["rows"], measured["levels"][name]
    parts = list(together(means, rows, least))
    medians = (measured.get("medians") or {}).get(name, means)
    return parts, by_part(parts, means, rows), by_part(parts, medians, rows)


def together(means: Mapping[str, float], rows: Mapping[str, int], least: int) -> Iterator[list[str]]:
    """The days, each with so many rows by itself, else with those before it that have too few; the last may have."""
    part: list[str] = []
    for day in sorted(means):
        part.append(day)
        if sum(rows.get(each, 0) for each in part) >= least:
            yield part
            part = []


def by_part(parts: Sequence[Sequence[str]], of: Mapping[str, float], rows: Mapping[str, int]) -> dict[str, float]:
    """What days have, as that of parts of them: their mean, by the rows, under the first day's name."""
    found = {}
    for part in parts:
        weights = {day: rows.get(day, 0) for day in part if day in of}
        if any(weights.values()):
            found[part[0]] = sum(of[day] * weight for day, weight in weights.items()) / sum(weights.values())
    return found


def of_days(part: Sequence[str]) -> str:
    """Days, as they are shown."""
    return part[0] if len(part) == 1 else f"{part[0]} to {part[-1]}"


def astray(days: Mapping[str, float], bars: Bars) -> Iterator[tuple[str, float, list[str]]]:
    """Each end of the bars with the median of all days, and the days beyond that end, if there are some."""
    usual = median(days.values()) if days else 0
    for end, beyond in BEYOND.items():
        if odd := [day for day, value in days.items() if beyond(value, bars[end] * usual)]:
            yield end, usual, odd


def judge_labels(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Too small or too large a share of a class, or mean of the labels, overall and by day."""
    label = measured["label"]
    if label is None:
        return
    if all(part["value"] is None for part in label["parts"].values()):
        yield Violation(
            rule="label",
            file=measured["file"],
            value="no label is known",
            bar="labels to learn from and to be tested by",
            next="check that labels have arrived, and that `label` in contract.yaml names their column",
        )
        return
    days = judged_days(measured, policy)
    if unknown := [day for day in days if not label["known"][day]]:
        yield Violation(
            rule="label.day",
            file=measured["file"],
            value=f"{len(unknown)} days have no label that is known",
            bar="labels on every day",
            rows=sum(measured["days"]["rows"][day] for day in unknown),
            examples=tuple(unknown[:EXAMPLES]),
            next="check that the labels of these days were loaded; while they are not known yet, move data.until in "
            "params.yaml to a day whose labels are, or raise label.delay in contract.yaml",
        )
    for name, part in label["parts"].items():
        yield from labels_of(name, part, days, measured, policy)


def labels_of(name: str, part: Measured, days: Sequence[str], measured: Measured, policy: Bars) -> Iterator[Violation]:
    """What judge_labels finds of one part of the labels."""
    label, bars = measured["label"], of_part(policy, name)
    share = label["kind"] == "share"
    for end, beyond in BEYOND.items():
        if beyond(number(part["value"]), bars[end]):
            said = amount(part["value"], label)
            yield Violation(
                rule=place_of(policy, name, end),
                file=measured["file"],
                value=f"{said} of the labels are {name}" if share else f"the mean label is {said}",
                bar=f"at {LEAST[end]} {amount(bars[end], label)}",
                next="check that labels have arrived, and that their definition has not changed"
                + ("" if share else ", nor their unit"),
            )
        values = {day: part["days"][day] for day in days if part["days"][day] is not None}
        if odd := {day: value for day, value in values.items() if beyond(value, bars["day"][end])}:
            least = amount(bars["day"][end], label)
            yield Violation(
                rule=place_of(policy, name, "day", end),
                file=measured["file"],
                value=f"too {'low' if end == 'minimum' else 'high'} a "
                f"{f'share of {name} labels' if share else 'mean label'} on {count(len(odd), 'day')}",
                bar=f"at {LEAST[end]} {least}" + " of a day's labels" * share,
                rows=sum(measured["days"]["rows"][day] for day in odd),
                examples=tuple(f"{day}: {amount(value, label)}" for day, value in list(odd.items())[:EXAMPLES]),
                next="check that the labels of these days were loaded, and loaded once"
                + ("" if share else ", in the unit of the others"),
            )


def place_of(policy: Bars, name: str, *steps: str) -> str:
    """Where a bar stands that a part of the labels is held against."""
    own: Any = own_part(policy, name)
    for step in steps:
        own = own.get(step, {})
    return ".".join(["label", *(() if own == {} else ("parts", name)), *steps])


def amount(value: float, label: Measured) -> str:
    """A share, or a mean in its unit, in words."""
    if label["kind"] == "share":
        return percent(value)
    return f"{value:,.4g}" + (f" {label['unit']}" if label["unit"] else "")


def judged_days(measured: Measured, policy: Bars) -> list[str]:
    """The days of the window that have enough rows for their labels to be judged; none where rows have no day."""
    rows = (measured["days"] or {}).get("rows", {})
    return [day for day, number in rows.items() if number >= policy["label"]["day"]["rows"]]


def judge_pin(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """A source that may change although the repository does not."""
    if policy["pinned"] and not measured["pinned"]:
        yield Violation(
            rule="pinned",
            file="params.yaml",
            value=f"data.snapshot is null for {measured['source']}",
            bar="a snapshot",
            next="run `make snapshot` and commit params.yaml",
        )


def unjudged_data(measured: Measured, policy: Bars) -> list[str]:
    """What no bar of policies/data.yaml could be held against, and why."""
    by_day = () if measured["dated"] else ("days", "levels")
    sentences = [
        f"{what}, as their columns are missing or mistyped (see schema)"
        for what in ("duplicates", "days", "levels", "label")
        if measured[what] is None and what not in by_day
    ]
    sentences += unjudged_before(measured)
    if measured["label"] and (unknown := measured["label"]["unknown"]):
        sentences.append(
            f"{unknown:,} labels, which are not known yet: no {measured['label']['kind']} counts them, and no model "
            "learns from them"
        )
    if measured["days"] and measured["label"]:
        least = policy["label"]["day"]["rows"]
        if small := sorted(set(measured["days"]["rows"]) - set(judged_days(measured, policy))):
            sentences.append(
                f"the label's {measured['label']['kind']} on {count(len(small), 'day')} with fewer than {least:,} rows "
                f"(label.day.rows): {', '.join(small[:EXAMPLES])}{', …' * (len(small) > EXAMPLES)}"
            )
    rows, least = sum((measured["days"] or {}).get("rows", {}).values()), policy["level"]["rows"]
    if measured["days"] and measured["levels"] and rows < least:
        sentences.append(f"the level of columns, of {count(rows, 'row')}; {least:,} are needed (level.rows)")
    return [*sentences, *unjudged_daily(measured)]
