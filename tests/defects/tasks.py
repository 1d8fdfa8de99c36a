"""Cases of the other tasks, each on a problem of tests/problems: of several classes, of a number, of a ranking.

What is seeded is what no other task can have: classes that are swapped or vanish, another unit of a label, an interval
that is too narrow or says nothing, a ranking that knows its own outcome.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl

from tests.defects.case import Case, change
from tests.defects.world import Files, World

PRODUCTS, MAINTENANCE, CLICKS = "products", "maintenance", "clicks"
CARD, LOAN, MORTGAGE = "credit card", "installment loan", "mortgage"

Spoil = Callable[[pl.DataFrame], pl.DataFrame]

EVERY, NEWEST, LAST = slice(None), slice(-7, None), slice(-3, None)  # of the days that are read; NEWEST: the test week
TRAINED, CALIBRATED = slice(30, 40), slice(35, 42)  # some of the training days, and of machines those that calibrate


def spoiled(days: slice, spoil: Spoil) -> Callable[[World], Files]:
    """The files of some days, in their order, are others."""

    return lambda world: world.delivered(lambda known: known | {day: spoil(known[day]) for day in sorted(known)[days]})


def knobs(**blocks: Any) -> Callable[[World], Files]:
    """Other values in params.yaml, policies/evaluation.yaml or contract.yaml."""
    return lambda world: world.knobs(**blocks)


def code(file: str, old: str, new: str) -> Callable[[World], Files]:
    """Words replaced in one file."""
    return lambda world: world.edit(file, (old, new))


def later(world: World) -> Files:
    """Three more days of the same world."""
    return world.knobs(data={"until": str(world.until + timedelta(days=3))})


# --- several classes ---


def swapped(one: str, other: str) -> Spoil:
    """One product is called the other, and the other way round."""
    return lambda table: table.with_columns(pl.col("product").replace({one: other, other: one}))


def booked(one: str, other: str) -> Spoil:
    """One product is called another, which stays what it is."""
    return lambda table: table.with_columns(pl.col("product").replace({one: other}))


CLASSES = [
    change(
        "Two classes swapped in the newest days",
        spoiled(NEWEST, swapped(CARD, LOAN)),
        "test",
        "metrics.balanced_accuracy.minimum",
        world=PRODUCTS,
    ),
    change(
        "Two classes swapped everywhere, which no metric sees",
        spoiled(EVERY, swapped(CARD, LOAN)),
        "test",
        "direction: Whoever owes much takes a loan sooner",
        world=PRODUCTS,
    ),
    change(
        "Two classes swapped in some training days",
        spoiled(TRAINED, swapped(LOAN, MORTGAGE)),
        "data",
        r"label\.parts\.mortgage\.day\.maximum.*on 10 days",
        world=PRODUCTS,
    ),
    change(
        "A class that vanished from the newest days",
        spoiled(LAST, booked(MORTGAGE, LOAN)),
        "data",
        r"label\.parts\.mortgage\.day\.minimum.*on 3 days",
        world=PRODUCTS,
    ),
    change(
        "A class that vanished",
        spoiled(EVERY, booked(MORTGAGE, LOAN)),
        "data",
        r"label\.parts\.mortgage\.minimum.*0% of the labels are mortgage",
        world=PRODUCTS,
    ),
]

# --- a number ---

DAYS = pl.col("days_left")
HOURS = (DAYS * 24).round(2)
CAPPED = HOURS.clip(upper_bound=30)  # as the source does with days: 30 are more
ONE_SITE = pl.when(pl.col("site") == "Turku").then(CAPPED).otherwise(DAYS)


def labelled(days: pl.Expr) -> Spoil:
    """Other labels."""
    return lambda table: table.with_columns(days_left=days)


REGRESSION = "pipeline/tasks/regression.py"
SIDES = ("target[there] - prediction, (1 + covered(problem)) / 2", "target[there] - prediction, covered(problem)")

NUMBER = [
    change(
        "Hours for days in the label",
        spoiled(NEWEST, labelled(HOURS)),
        "data",
        "values.out_of_range.*days_left is out of range",
        world=MAINTENANCE,
    ),
    change(
        "Hours for days in the label, within its range",
        spoiled(TRAINED, labelled(CAPPED)),
        "data",
        r"label\.day\.maximum.*too high a mean label on 10 days",
        world=MAINTENANCE,
    ),
    change(
        "Hours for days of one site, by which every metric is better",
        spoiled(EVERY, labelled(ONE_SITE)),
        "test",
        "invariance: A site that was not there before is like any",
        world=MAINTENANCE,
    ),
    change(
        "Hours for days of one site, on the days that settle the interval",
        spoiled(CALIBRATED, labelled(ONE_SITE)),
        "test",
        r"metrics\.width\.maximum",
        world=MAINTENANCE,
    ),
    change(
        "An interval that is too narrow",
        code(REGRESSION, *SIDES),
        "test",
        r"metrics\.coverage\.minimum",
        world=MAINTENANCE,
    ),
    change(
        "An honest interval that says nothing, around the mean",
        knobs(train={"family": "constant"}),
        "test",
        r"metrics\.width\.maximum",
        world=MAINTENANCE,
    ),
]

# --- a ranking ---


def read_on(world: World) -> Files:
    """A further input, which is known once a story was opened."""
    seconds = pl.when("clicked").then(20 * pl.col("minutes")).otherwise(0.0)
    about = {"type": "number", "range": [0, None], "about": "That it was read"}
    return {
        **spoiled(EVERY, lambda table: table.with_columns(seconds_read=seconds))(world),
        **world.knobs(columns={"seconds_read": about}),
    }


def alone(table: pl.DataFrame) -> pl.DataFrame:
    """Each story has a page of its own."""
    return table.with_columns(page_view="impression")


RANKING = [
    change(
        "A ranking that learns from its own places",
        knobs(columns={"slot": {"input": True}}),
        "test",
        "invariance: Where a story will stand is not known when a page is ranked",
        world=CLICKS,
    ),
    change(
        "A column that is known after the click",
        read_on,
        "test",
        r"direction: Readers open what they have opened before.*moves by (0|\S+e-0\d) ",
        world=CLICKS,
    ),
    change(
        "A group a row, in which every order is the best",
        spoiled(EVERY, alone),
        "train",
        r"evaluate\.headline is ndcg, which has no value on the judged rows",
        world=CLICKS,
    ),
]

# --- controls ---

HEALTHY: dict[str, tuple[Callable[[World], Files], dict[str, dict[str, float]]]] = {
    PRODUCTS: (code("pipeline/tasks/multiclass.py", "_by_class", "_in_class"), {"trees": {"trees": 100}}),
    MAINTENANCE: (code(REGRESSION, "farthest(", "furthest("), {"trees": {"trees": 300, "learning_rate": 0.03}}),
    CLICKS: (code("pipeline/tasks/ranking.py", "_placed(", "_ranked("), {"network": {"epochs": 20}}),
}


def controls(world: str, refactored: Callable[[World], Files], better: dict[str, dict[str, float]]) -> list[Case]:
    """What has to stay green, of any task."""
    return [
        change(f"{world.capitalize()}: a refactoring", refactored, world=world),
        change(f"{world.capitalize()}: more days from the same world", later, world=world),
        change(f"{world.capitalize()}: a better model", knobs(families=better), world=world),
    ]


TASKS = [*CLASSES, *NUMBER, *RANKING]
TASKS_HEALTHY = [case for world, healthy in HEALTHY.items() for case in controls(world, *healthy)]
