"""What differs by the task in the bars that a repository begins with, and in its words.

A bar that could be measured follows from the table, with room for chance; one that could not is wide: it asks for a
model that is better than none, and waits for `make bars`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.adopt.label import BINARY, MULTICLASS, REGRESSION, written
from pipeline.adopt.problem import Problem
from pipeline.adopt.text import above, below, flow, listed, scalar, to_step
from pipeline.reading import decimal

ENOUGH = 200  # rows of a class, of which a fifth is enough to say that a model ranks better than a coin
MEAN_OF = 100  # rows of a day, from which its mean says something
OFTEN = 0.05  # share of a class, from which a day of some hundred rows should have some
TOLD = 50  # rows of a class, from which its share says something
COVERED = 0.9  # of the labels, by an interval
WIDE = (
    5  # standard deviations of the labels: 0.9 of them lie within 3.3, as a rule, and few rows settle wider intervals
)


@dataclass(frozen=True)
class Start:
    """The parts of files that differ by the task: each a line of YAML, or some."""

    words: Mapping[str, str]  # of contract.yaml
    label: Mapping[str, str]  # of contract.yaml, beside its column and delay
    knobs: Sequence[str]  # of `evaluate` in evaluation.yaml
    labels: Sequence[str]  # `label` of data.yaml
    metrics: Sequence[str]  # the bars of model.yaml
    slices: str
    champion: str
    champion_slices: str
    live: Sequence[str]  # the bars of drift.yaml
    rates: str  # an example of bars between groups of people
    use: str  # what the model card says


def start(ours: Problem) -> Start:
    """What a problem begins with."""
    found = {BINARY: of_two, MULTICLASS: of_several, REGRESSION: of_number}[ours.label.task](ours)
    if not ours.ranked:
        return found
    first = "headline: ndcg # what people are told first: how good the order within a group is"
    order = bar("ndcg", "`make bars` proposes another", minimum=0)
    return replace(found, knobs=[*found.knobs, first], metrics=[*found.metrics, order])


def bar(metric: str, why: str = "", **ends: float) -> str:
    """A line with a bar."""
    return f"{metric}: {flow({end: decimal(value) for end, value in ends.items()})}" + f" # {why}" * bool(why)


FEW = "so few rows may rank badly by chance"


def of_two(ours: Problem) -> Start:
    """Ranks better than a coin."""
    found, label = ours.found, ours.label
    few = min(found.known) < ENOUGH or found.copies > 0
    (other, looked_for), (_, share) = label.values, found.shares  # in the order of their codes
    return Start(
        words={"positive": "[positive, positives]"},
        label={"positive": scalar(looked_for), "negative": scalar(other)},
        knobs=[
            "known: null # every row is judged",
            f"alerts: {decimal(above(min(share, 0.5), 1))} # choose: the share that you can look into; now the "
            "positives'",
        ],
        labels=list(of_positives(ours, share)),
        metrics=[bar("roc_auc", f"{FEW}; 0.5 is a coin's" if few else "", minimum=0 if few else 0.5)],
        slices=bar("roc_auc", minimum=0.5),
        champion=bar("roc_auc", minimum=-0.02),
        champion_slices=bar("roc_auc", minimum=-0.05),
        live=[bar("roc_auc", "`make bars` proposes others", minimum=0.5, drop=0.1)],
        rates="{false_positive_rate: 0.05, recall: 0.15}",
        use=f"Ranks {ours.row[1]} by how likely {label.source} is {written(looked_for)}.",
    )


def of_several(ours: Problem) -> Start:
    """Finds more of each class than one answer for all."""
    found, label = ours.found, ours.label
    few = sum(found.known) < 2 * ENOUGH or found.copies > 0
    alike = math.ceil(1000 / len(label.values)) / 1000
    constant = f"one answer for all rows has {decimal(alike)}"
    classes = f"{', '.join(map(written, label.values[:3]))}{', …' * (len(label.values) > 3)}"
    return Start(
        words={},
        label={"classes": listed(label.values)},
        knobs=[],
        labels=list(of_classes(ours)),
        metrics=[bar("balanced_accuracy", f"{FEW}; {constant}" if few else constant, minimum=0 if few else alike)],
        slices=bar("accuracy", minimum=alike),
        champion=bar("balanced_accuracy", minimum=-0.02),
        champion_slices=bar("accuracy", minimum=-0.05),
        live=[bar("balanced_accuracy", "`make bars` proposes others", minimum=alike, drop=0.1)],
        rates="{accuracy: 0.1}",
        use=f"Says which {label.source} a {ours.row[0]} has ({classes}), and how likely each is.",
    )


def of_number(ours: Problem) -> Start:
    """Is nearer than the mean, by intervals that cover what they promise, and no wider than none would have."""
    found, label = ours.found, ours.label
    few = sum(found.known) < 2 * ENOUGH or found.copies > 0
    mean = "so few rows may be missed by chance; the mean label has 0" if few else "the mean label has 0"
    return Start(
        words={},
        label={"unit": scalar(label.unit), "interval": str(COVERED)},
        knobs=[],
        labels=list(of_mean(ours)),
        metrics=[
            bar("r2", mean, minimum=-1 if few else 0),
            bar("coverage", f"{COVERED:g} are promised; with room for chance", **covering(*ours.parts)),
            bar(
                "width",
                f"{WIDE} standard deviations of the labels: without a model it would be some 3.3",
                maximum=above(found.deviation, WIDE),
            ),
        ],
        slices=bar("rmse", "twice the labels' standard deviation", maximum=above(found.deviation)),
        champion=bar("r2", minimum=-0.02),
        champion_slices=bar("rmse", "a tenth of their deviation", maximum=above(found.deviation, 0.1)),
        live=[
            bar("r2", "`make bars` proposes others", minimum=0, drop=0.2),
            bar("coverage", minimum=COVERED - 0.1),
        ],
        rates=flow({"mean_absolute_error": decimal(above(found.deviation, 0.1))}),
        use=f"Predicts {label.source} in {label.unit}, with an interval that {COVERED:.0%} of them lie in.",
    )


def covering(settled: float, tested: float) -> dict[str, float]:
    """Between what a coverage may lie by chance: three standard errors of what settles it, five of what it is told by.

    Two of these five are the interval's, whose worse end is judged.
    """
    spread = math.sqrt(COVERED * (1 - COVERED))
    room = max(0.05, 3 * spread / math.sqrt(max(settled, 1)) + 5 * spread / math.sqrt(max(tested, 1)))
    least = max(math.floor(100 * (COVERED - room)) / 100, 0)
    most = math.ceil(100 * (COVERED + room)) / 100
    return {"minimum": least} | ({"maximum": most} if most < 1 else {})


# --- the labels of a delivery, and of its days ---


def of_positives(ours: Problem, share: float) -> Iterator[str]:
    """The share of positives: half of it, and half of the others'."""
    rows = max(MEAN_OF, math.ceil(10 / min(share, 1 - share)))
    shares = [found[-1] for found in by_day(ours, rows)]
    least = min([below(share, 0.1), *map(below, shares)])
    most = max([1 - below(1 - share, 0.1), *(1 - below(1 - each) for each in shares)])
    yield from (
        f"label: # the share of positives, {share:.3g} so far",
        f"  minimum: {decimal(below(share))}",
        f"  maximum: {1 - below(1 - share):.4g}",
        "  day: # a single day strays further",
        f"    rows: {rows} # days with fewer are not judged",
        f"    minimum: {decimal(least)}",
        f"    maximum: {most:.4g}",
    )


def of_classes(ours: Problem) -> Iterator[str]:
    """The share of each class: half of it, and half of the others'; of one that is rare, what chance does to it."""
    shares = ours.found.shares
    rows = max(MEAN_OF, math.ceil(10 / min([share for share in shares if share >= OFTEN] or [max(shares)])))
    days = list(by_day(ours, rows))
    yield from (
        "label: # the share of each class",
        "  minimum: 0",
        "  maximum: 1",
        f"  day: {{rows: {rows}, minimum: 0, maximum: 1}} # days with fewer rows are not judged",
        "  parts:",
    )
    for at, (value, share, known) in enumerate(zip(ours.label.values, shares, ours.found.known, strict=True)):
        of_day = [found[at] for found in days]
        said = {"minimum": decimal(below(share) if known >= TOLD else 0), "maximum": f"{1 - below(1 - share):.4g}"}
        if ours.split:
            least = min([below(share, 0.1), *map(below, of_day)]) if share * rows >= 10 else 0
            most = max([1 - below(1 - share, 0.1), *(1 - below(1 - each) for each in of_day)])
            said["day"] = flow({"minimum": decimal(least), "maximum": f"{most:.4g}"})
        yield f"    {scalar(str(value))}: {flow(said)} # {share:.3g} so far"


def of_mean(ours: Problem) -> Iterator[str]:
    """The mean label, and half a standard deviation around it, and around that of each day."""
    found = ours.found
    days = [day.mean for day in ours.read if day.rows >= MEAN_OF and day.mean is not None]
    room = found.deviation / 2
    ends = [
        decimal(to_step(value, room or 1, way))
        for value, way in (
            (found.mean - room, math.floor),
            (found.mean + room, math.ceil),
            (min([found.mean, *days]) - room, math.floor),
            (max([found.mean, *days]) + room, math.ceil),
        )
    ]
    yield from (
        f"label: # the mean, {found.mean:.4g} {ours.label.unit} so far, and half a standard deviation around it",
        f"  minimum: {ends[0]}",
        f"  maximum: {ends[1]}",
        "  day: # a single day strays further",
        f"    rows: {MEAN_OF} # days with fewer are not judged",
        f"    minimum: {ends[2]}",
        f"    maximum: {ends[3]}",
    )


def by_day(ours: Problem, least: int) -> Iterator[tuple[float, ...]]:
    """The share of each value on days of so many rows."""
    for day in ours.read:
        if day.rows >= least and any(day.known):
            yield tuple(rows / sum(day.known) for rows in day.known)
