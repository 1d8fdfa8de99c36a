"""What reports/validation.json says of a whole delivery beside the one before, against policies/data.yaml.

The bars are those of a day beside the others, `volume`, `level` and `daily`, and the same holds: what is found is
beyond its bar, and so rare that chance does it in at most the share `daily.chance` of whole checks.

The delivery before is the one that production learned from, else the newest older one. No snapshot pins it: whoever may
write to data.source, or move it, can choose what a delivery is held against, and so make this gate redder or less red;
what is learned from is pinned and judged by the other bars all the same.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.policy.bars import BEYOND, EXAMPLES, LEAST, Bars, Measured, Violation, percent
from pipeline.policy.daily import FILE, bar, beyond_chance, chance, excepted, of_level, rule, wider
from pipeline.reading import count


def judge_before(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """What no delivery is like that follows the one before."""
    found = measured.get("before")
    if found and found["rows"] and measured["rows"]:
        for judge in (judge_volume, judge_again, judge_levels, judge_constant, judge_lost, judge_categories):
            yield from judge(found, measured, policy)


def judge_volume(found: Measured, measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Far fewer or more rows."""
    bars, rows, usual = policy["volume"], measured["rows"], found["rows"]
    for end, beyond in BEYOND.items():
        if beyond(rows, bars[end] * usual):
            yield Violation(
                rule=f"volume.{end}",
                file=measured["file"],
                value=f"{count(rows, 'row')}; {before(found)} has {usual:,}",
                bar=f"at {LEAST[end]} {bars[end]:g} times that, {bars[end] * usual:,.0f} rows",
                rows=rows,
                next=f"look for a delivery that broke off or ran twice; if the world is so, move `volume` in {FILE}",
            )


def judge_again(found: Measured, measured: Measured, policy: Bars) -> Iterator[Violation]:
    """The delivery before under a new date, all of it or a part."""
    again, least = found["again"], policy["daily"]["repeated"]
    if found["lacks"]:  # of what both have, all may be alike
        return
    if again["distinct"] >= least and (again["renamed"] or not again["new"]):
        yield Violation(
            rule="daily.repeated",
            file=measured["file"],
            value=f"no row is new, and none has changed; each is one of {before(found)}"
            if not again["new"]
            else f"all rows are those of {before(found)}, under other identifiers",
            bar=f"some that differ, of deliveries with {least:,} different rows or more",
            rows=measured["rows"],
            next="the delivery before came again under a new date: deliver that of this day; where nothing changes for "
            f"so long, raise daily.repeated in {FILE}",
        )


def judge_levels(found: Measured, measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Columns of which both mean and median are a multiple of what they were, a violation for each."""
    for name, level in found["levels"].items():
        bars, place = of_level(policy, name)
        (mean, mean_before), (median, median_before) = level["mean"], level["median"]
        for end, beyond in BEYOND.items():
            both = beyond(mean, bars[end] * mean_before) and beyond(median, bars[end] * median_before)
            if both and level["rows"] >= policy["level"]["rows"]:
                yield Violation(
                    rule=f"{place}.{end}",
                    file=measured["file"],
                    value=f"{name} strays: of its values above zero the mean is {mean:,.4g} and the median "
                    f"{median:,.4g}; in {before(found)}, {mean_before:,.4g} and {median_before:,.4g}",
                    bar=f"at {LEAST[end]} {bars[end]:g} times that",
                    rows=measured["rows"],
                    next="look for another unit or currency; if the world is so, say "
                    + wider(name, bars, [mean / mean_before, median / median_before]),
                )


def judge_constant(found: Measured, measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Columns that have one value where they had several, a violation for each."""
    for name, column in found["constant"].items():
        often, special = bar(policy, name, "constant")
        others = often * (1 - column["share"])
        if (1 - others) ** (column["units"] - 1) * found["columns"] < chance(policy):  # the first may have any value
            yield Violation(
                rule=rule(name, "constant", special),
                file=measured["file"],
                value=f"{name} stands still: one value in {count(column['rows'], 'row')}; in {before(found)}, "
                f"{percent(1 - column['share'])} have another one than the most frequent",
                bar=f"other values: {beyond_chance(often, policy)}",
                rows=column["rows"],
                examples=(column["value"],),
                next=f"find out why the source stopped delivering {name}; if the world is so, say "
                + excepted(name, "constant: 0"),
            )


def judge_lost(found: Measured, measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Columns that miss values which they had, a violation for each."""
    for name, column in found["lost"].items():
        most, special = bar(policy, name, "lost")
        beyond = column["share"] - column["usual"] > most * (1 - column["usual"])
        if beyond and column["chance"] * found["columns"] < chance(policy):
            yield Violation(
                rule=rule(name, "lost", special),
                file=measured["file"],
                value=f"{name} lost values: {percent(column['share'])} are missing; in {before(found)}, "
                f"{percent(column['usual'])}",
                bar=f"at most {percent(most)} of the values that were there",
                rows=column["rows"],
                next=f"find out why the source stopped delivering {name}; if the world is so, say "
                + excepted(name, "lost: 1"),
            )


def judge_categories(found: Measured, measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Columns whose levels came or went, a violation for each."""
    for name, sides in found["categories"].items():
        most, special = bar(policy, name, "categories")
        odd = {
            side: moved
            for side, moved in sides.items()
            if moved["rows"] / moved["of"] - moved["usual"] > most
            and moved["chance"] * 2 * found["columns"] < chance(policy)
        }
        if odd:
            yield Violation(
                rule=rule(name, "categories", special),
                file=measured["file"],
                value=f"{name}: {' and '.join(words(side, moved, found) for side, moved in odd.items())}",
                bar=f"at most {percent(most)} of the rows beyond what is usual among so many levels",
                rows=odd["new"]["rows"] if "new" in odd else None,
                examples=tuple(dict.fromkeys(f"{each} is {side}" for side in odd for each in odd[side]["examples"]))[
                    :EXAMPLES
                ],
                next="was a level renamed? then have it delivered under its old name; if the world is so, say "
                + excepted(name, "categories: 1"),
            )


def words(side: str, moved: Mapping[str, Any], found: Measured) -> str:
    """Levels that came or went, in words."""
    share = percent(moved["rows"] / moved["of"])
    if side == "new":
        return f"{share} of the rows have a level that {before(found)} has not"
    return f"{share} of the rows of {before(found)} had a level that is gone"


def before(found: Measured) -> str:
    """The delivery before, in words."""
    return f"the delivery of {found['day']}"


def unjudged_before(measured: Measured) -> Iterator[str]:
    """What of a whole delivery could not be looked at, and why."""
    if measured["dated"]:
        return
    found = measured.get("before")
    if not found:
        yield (
            "what compares a delivery with the one before, as data.source holds none before it, or production has "
            "learned from this one"
        )
    elif not found["rows"]:
        yield f"what compares a delivery with the one before, as {before(found)} has no rows"
    elif lacks := found["lacks"]:
        some = ", ".join(lacks[:EXAMPLES]) + (f" and {len(lacks) - EXAMPLES} more" if lacks[EXAMPLES:] else "")
        yield f"{some} beside {before(found)}, which has no such column, or one of another type"
        yield f"whether {before(found)} has come again, for the same reason"
        if found["without"]:
            yield f"what chance could have done to whole {found['without']}, for the same reason: lost values, levels"
    yield "what is judged by day alone, as contract.yaml says `time: null`: a delivery is whole"
