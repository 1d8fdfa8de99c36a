"""Machines that wear out, fail and are replaced, read once a day, and how many days each has left; simulated.

What is left counts up to CAP days, so that CAP days on it is known of every reading; but not of machines that were
taken away before: how long they would have lasted nobody ever knows.
All is pure: how long machines last follows from SEED alone, and a day's readings from the day, and from whether the
world has changed.
"""

from datetime import date
from functools import cache

import numpy as np
import polars as pl

PLACES = 800  # each has a machine, and the next one once that is gone
FIRST = date(2023, 1, 1)  # of the plant, where all machines are new
CAP = 30  # days
SHORTEST, LONGEST = 10, 45  # lives, days
TAKEN = 0.02  # share of the machines that are taken away in the second half of their life
HASTE = 1.5  # how much faster machines wear out once the world has changed
SEED = 13
MODELS = {"K2": 20, "K4": 24, "R1": 28, "R1-S": 32}
"""How many days a model's machines last, more or less."""
SITES = {"Essen": 0, "Gent": 1, "Lyon": 4, "Porto": 6, "Turku": -4}
"""How much warmer oil is at a site, °C."""
BLANK = {"site": 0.01, "vibration": 0.03, "oil_temperature": 0.05}
"""Shares of the readings that lack it."""


@cache
def places() -> tuple[np.ndarray, np.ndarray]:
    """Of each place the model of its machines, and the site: [PLACES]."""
    random = np.random.default_rng(SEED)
    return random.choice(list(MODELS), PLACES, p=[0.4, 0.3, 0.2, 0.1]), random.choice(list(SITES), PLACES)


@cache
def lives(number: int) -> np.ndarray:
    """How many days the machine of that number lasts at each place, and how many it stays: float64 [2, PLACES]."""
    random = np.random.default_rng([SEED, number])
    usual = np.array([MODELS[model] for model in places()[0]])
    life = np.clip(usual * random.gamma(16, 1 / 16, PLACES), SHORTEST, LONGEST)
    return np.stack([life, life * np.where(random.random(PLACES) < TAKEN, random.uniform(0.5, 1, PLACES), 1)])


def rows(day: date, changed: bool = False) -> pl.DataFrame:
    """A day's readings, one of each place.

    Once the world has changed, machines of a bad batch are there, which wear out HASTE times as fast.
    """
    random = np.random.default_rng([SEED, day.toordinal()])
    haste, moment = HASTE if changed else 1.0, np.arange(PLACES) / PLACES
    now = ((day - FIRST).days + moment) * haste  # in days of wear
    life, stay = np.stack([lives(number) for number in range(2 + int(2 * now[-1] / SHORTEST))], axis=1)
    ends = np.cumsum(stay, axis=0)
    number, place = (ends <= now).sum(axis=0), np.arange(PLACES)
    life, stay, left = life[number, place], stay[number, place], ends[number, place] - now
    age = stay - left
    wear, model, site = age / life, *places()

    load = random.beta(4, 2, PLACES)
    vibration = (1 + load + 6 * wear**3) * random.lognormal(0, 0.2, PLACES)
    oil = 45 + 20 * load + 12 * wear + [SITES[each] for each in site] + random.normal(0, 3, PLACES)
    readings = {
        "reading_id": (day - FIRST).days * PLACES + place,
        "read_at": np.datetime64(day, "us") + (moment * 86_400).astype("timedelta64[s]"),
        "machine_id": [f"{'B' if changed else 'A'}-{each:03}-{which:02}" for each, which in enumerate(number)],
        "model": model,
        "site": site,
        "days_running": (age / haste).astype(np.int64),
        "load": load.round(3),
        "vibration": vibration.round(2),
        "oil_temperature": oil.round(1),
        "oil_particles": random.poisson((5 + 60 * wear**2) * random.gamma(9, 1 / 9, PLACES)),
        "days_left": np.minimum(left / haste, CAP).round(2),
    }
    known = {name: random.random(PLACES) >= share for name, share in BLANK.items()}
    known["days_left"] = (stay == life) | (left / haste >= CAP)
    table = pl.DataFrame(readings)
    return table.with_columns(pl.when(pl.Series(there)).then(name).alias(name) for name, there in known.items())
