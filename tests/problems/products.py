"""Applications for credit, and which of three products each ends in; simulated. People come back with further ones.

All is pure: who there is follows from SEED alone, and a day's applications from the day, and from whether the world has
changed.
"""

from datetime import date
from functools import cache

import numpy as np
import polars as pl

DAILY, PEOPLE = 500, 20_000
SEED = 11
PRODUCTS = ("credit card", "installment loan", "mortgage")
CHANNELS = {"web": 0.42, "branch": 0.3, "broker": 0.16, "phone": 0.12, "app": 0.0}
"""By which channel people apply, as shares."""
LATER = (0.2, 0.22, 0.18, 0.1, 0.3)
"""The same, once the world has changed."""
BLANK = {"region": 0.02, "income_€": 0.06, "homeowner": 0.04}
"""Shares of the applications that do not say it."""
OPENS, CLOSES = 8 * 3600, 20 * 3600  # seconds of the day


@cache
def people() -> pl.DataFrame:
    """Everybody who may apply, a row each."""
    random = np.random.default_rng(SEED)
    age = 18 + 60 * random.beta(1.6, 2.4, PEOPLE)
    income = random.lognormal(10.1, 0.45, PEOPLE) * (0.5 + np.minimum(age, 50) / 50)
    owns = random.random(PEOPLE) < 1 / (1 + np.exp((44 - age) / 9 + (38_000 - income) / 25_000))
    return pl.DataFrame(
        {
            "applicant_id": np.arange(1, PEOPLE + 1),
            "region": [f"region {number:02}" for number in np.minimum(random.geometric(0.08, PEOPLE), 40)],
            "age": age.astype(np.int64),
            "income_€": income.round(-2),
            "months at address": random.gamma(1.2, 60, PEOPLE).astype(np.int64),
            "homeowner": owns,
        }
    )


def rows(day: date, changed: bool = False) -> pl.DataFrame:
    """A day's applications, as they come.

    Once the world has changed, interest is low: people owe more, whoever renovates takes a mortgage where it was a
    loan, and many apply for a loan by a new app.
    """
    random = np.random.default_rng([SEED, day.toordinal()])
    applicants = people()[random.choice(PEOPLE, DAILY, replace=False)]
    age, income, months, owner = (applicants[name].to_numpy() for name in applicants.columns[2:])
    channel = random.choice(list(CHANNELS), DAILY, p=LATER if changed else list(CHANNELS.values()))
    debt = random.gamma(2.5, 0.12, DAILY) * (1.4 if changed else 1)

    moves, renovates = months < 18, owner & (months > 90)
    buys = (owner & moves) | (~owner & (months > 24) & (months < 120))
    card = 0.6 * (age < 30) + 1.5 * (debt < 0.12) + 0.8 * (channel == "web") + 0.8 * ((income > 55_000) & owner)
    loan = 1.5 * moves + 3 * np.clip(debt, 0, 0.5) + 2 * (channel == "app") - 1.2
    mortgage = 2.8 * (income > 38_000 * (1 + debt)) + 1.9 * buys + 1.5 * (channel == "broker") - (age > 60) - 2.4
    (mortgage if changed else loan)[renovates] += 2.5
    wanted = 1.5 * np.stack([card, loan, mortgage]) + random.gumbel(size=(3, DAILY))

    moments = np.sort(random.integers(OPENS, CLOSES, DAILY)).astype("timedelta64[s]")
    identified = {
        "application_id": [f"{day:%y%m%d}-{number:04}" for number in range(DAILY)],
        "applied_at": np.datetime64(day, "us") + moments,
    }
    asked = {
        "channel": channel,
        "debt.to.income": debt.round(3),
        "product": np.array(PRODUCTS)[wanted.argmax(axis=0)],
    }
    known = {name: random.random(DAILY) >= share for name, share in BLANK.items()}
    table = pl.concat([pl.DataFrame(identified), applicants, pl.DataFrame(asked)], how="horizontal")
    return table.with_columns(pl.when(pl.Series(there)).then(name).alias(name) for name, there in known.items())
