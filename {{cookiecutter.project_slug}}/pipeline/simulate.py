"""The synthetic source: card transactions with three patterns of fraud, each day from its own seed.

Source: *Reproducible Machine Learning for Credit Card Fraud Detection* (Le Borgne et al., 2022), chapter 3,
transaction data simulator. A day depends on its date and on the knobs alone: it can be made on its own, and the days
made beside it change nothing. The knob `drift` changes the world from a day on.
Bring your own problem: name a folder in data.source, and delete this file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from enum import IntEnum, auto
from functools import lru_cache
from math import inf
from typing import Any

import numpy as np
import polars as pl
from scipy.spatial import cKDTree

from pipeline import params
from pipeline.params import BadInput

ID, TIME, LABEL = "transaction_id", "tx_datetime", "tx_fraud"  # as contract.yaml names them

SIDE = 100  # of the square in which customers and terminals lie
AMOUNTS, RATES = (5, 100), (0, 4)  # a customer's mean amount, and mean number of transactions a day
NOON, SPREAD, MIDNIGHT = 43_200, 20_000, 86_400  # time of day, seconds

SUSPICIOUS = 220  # fraud 1: every larger amount
TERMINALS, TERMINAL_DAYS = 2, 28  # fraud 2: so many terminals a day, all of their transactions for so many days
CARDS, CARD_DAYS, SHARE, FACTOR = 3, 14, 1 / 3, 5.0  # fraud 3: so many cards a day, a share of theirs, times FACTOR

NIGHT = 7 * 3600  # seconds: drift moves customers there, and cards are tested there
TESTS, HOUR, PETTY = 10, 3600, (0.5, 3)  # fraud 4, of drift: so many payments of a card in an hour, and their amounts

STRIDE = 1_000_000_000  # day n numbers its transactions from n * STRIDE on, whatever other days hold


class Draw(IntEnum):
    """What random numbers are for: each has a generator of its own, so that one drawn more shifts no other."""

    CUSTOMERS = auto()
    TERMINALS = auto()
    TRANSACTIONS = auto()
    STOLEN_TERMINALS = auto()
    STOLEN_CARDS = auto()
    FRAUDS = auto()
    NIGHTS = auto()
    TESTED_CARDS = auto()


@dataclass(frozen=True)
class Drift:
    """The block `simulate.drift`, checked: how the world changes, from a day on."""

    since: date
    amount: float  # every amount, times this: prices rise, and with them what is suspicious
    night: float  # share of the customers' transactions that move to the night
    pattern: float  # new frauds, as a share of the day's transactions


@dataclass(frozen=True)
class Knobs:
    """The block `simulate` of params.yaml, checked."""

    seed: int
    start: date
    customers: int
    terminals: int
    radius: float
    drift: Drift | None = None


@dataclass(frozen=True)
class Rows:
    """Transactions, each array [rows]."""

    customer: np.ndarray  # int64
    terminal: np.ndarray  # int64
    second: np.ndarray  # int64, of the day
    amount: np.ndarray  # float64
    fraud: np.ndarray  # bool


@dataclass(frozen=True)
class Profiles:
    """The customers; customer c uses the terminals `terminal[first[c] : first[c] + number[c]]`."""

    amount: np.ndarray  # float64 [customers], mean amount
    rate: np.ndarray  # float64 [customers], mean transactions a day; 0 where no terminal is within the radius
    first: np.ndarray  # int64 [customers]
    number: np.ndarray  # int64 [customers]
    terminal: np.ndarray  # int64 [pairs of a customer and a terminal within the radius]


def days(first: date, last: date, knobs: Mapping[str, Any]) -> pl.DataFrame:
    """The transactions of `first` to `last`, inclusive, in time order: the columns of contract.yaml.

    Raises BadInput for bad knobs, and where `first` lies before `simulate.start`.
    """
    checked = check(knobs)
    if (early := (checked.start - first).days) > 0:
        raise BadInput(
            f"params.yaml: data.until is too early by {early} day{'s' * (early != 1)}: {first} is the first day that "
            f"is needed, and simulate.start is {checked.start}; move one of them"
        )
    numbers = range((first - checked.start).days, (last - checked.start).days + 1)
    return pl.concat(transactions(number, checked) for number in numbers)


def day(when: date, knobs: Mapping[str, Any]) -> pl.DataFrame:
    """The transactions of one day, as `days` gives them."""
    return days(when, when, knobs)


def check(knobs: Mapping[str, Any]) -> Knobs:
    """The knobs, checked. Raises BadInput naming one that is missing, unknown, or no number of its kind."""
    names = [field.name for field in fields(Knobs)]
    if odd := sorted(set(names) ^ {*knobs, "drift"}):
        raise BadInput(f"params.yaml: simulate takes {', '.join(names)}; missing or unknown: {', '.join(odd)}")
    for name, least in (("seed", 0), ("customers", 1), ("terminals", 1)):
        if type(knobs[name]) is not int or knobs[name] < least:
            raise BadInput(f"params.yaml: simulate.{name} is {knobs[name]!r}; write a whole number, {least} or more")
    if type(knobs["radius"]) not in (int, float) or not 0 < knobs["radius"] < inf:
        raise BadInput(f"params.yaml: simulate.radius is {knobs['radius']!r}; write a number above 0")
    start = params.day(knobs["start"], "simulate.start")
    return Knobs(**{**knobs, "start": start, "drift": check_drift(knobs.get("drift"))})


def check_drift(drift: Any) -> Drift | None:
    """The block `drift`, checked; what it leaves out stays as it was. Raises BadInput naming what is wrong."""
    if drift is None:
        return None
    most = {"amount": 100.0, "night": 1.0, "pattern": 1.0}
    if not isinstance(drift, dict) or "from" not in drift or not set(drift) <= {"from", *most}:
        raise BadInput(
            f"params.yaml: simulate.drift is {drift!r}; write null, or a day as `from` with any of {', '.join(most)}"
        )
    values = {"amount": 1.0, "night": 0.0, "pattern": 0.0} | {name: drift[name] for name in most if name in drift}
    for name, value in values.items():
        if type(value) not in (int, float) or not 0 <= value <= most[name]:
            raise BadInput(f"params.yaml: simulate.drift.{name} is {value!r}; write a number from 0 to {most[name]:g}")
    return Drift(params.day(drift["from"], "simulate.drift.from"), **values)


def transactions(number: int, knobs: Knobs) -> pl.DataFrame:
    """Day `number` (0 is `simulate.start`), in time order."""
    customer, terminal, second, amount = genuine(number, knobs)
    rows = Rows(customer, terminal, second, *defraud(number, knobs, customer, terminal, amount))
    today = knobs.start + timedelta(days=number)
    if knobs.drift and today >= knobs.drift.since:
        rows = drifted(number, knobs, knobs.drift, rows)
    return pl.DataFrame(
        {
            ID: number * STRIDE + np.arange(len(rows.second)),
            TIME: np.datetime64(today, "us") + rows.second.astype("timedelta64[s]"),
            "customer_id": rows.customer,
            "terminal_id": rows.terminal,
            "tx_amount": rows.amount,
            LABEL: rows.fraud.astype(np.int64),
        }
    )


def genuine(number: int, knobs: Knobs) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What customers do on a day: customer, terminal, second of the day and amount, each [transactions]."""
    customers, rng = profiles(knobs), generator(Draw.TRANSACTIONS, number, knobs)
    customer = np.repeat(np.arange(knobs.customers), rng.poisson(customers.rate))
    second = rng.normal(NOON, SPREAD, len(customer)).astype(np.int64)
    order = np.argsort(second, kind="stable")
    order = order[(second[order] > 0) & (second[order] < MIDNIGHT)]
    customer, second = customer[order], second[order]
    mean = customers.amount[customer]
    amount = rng.normal(mean, mean / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean), amount).round(2)
    terminal = customers.terminal[customers.first[customer] + rng.integers(customers.number[customer])]
    return customer, terminal, second, amount


def defraud(
    number: int, knobs: Knobs, customer: np.ndarray, terminal: np.ndarray, amount: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Amounts after fraud, and whether a transaction is fraudulent, each [transactions].

    The published scenario 3 picks exactly a third of a card's transactions; here each has the chance of a third,
    as a day cannot know how many there will be on the days to come.
    """
    stolen = thefts(Draw.STOLEN_TERMINALS, number, TERMINAL_DAYS, TERMINALS, knobs.terminals, knobs.seed)[terminal]
    cards = thefts(Draw.STOLEN_CARDS, number, CARD_DAYS, CARDS, knobs.customers, knobs.seed)[customer]
    used = generator(Draw.FRAUDS, number, knobs).binomial(cards, SHARE)  # a card stolen twice may be used twice
    fraud = (amount > SUSPICIOUS) | (stolen > 0) | (used > 0)
    return (amount * FACTOR**used).round(2), fraud


def drifted(number: int, knobs: Knobs, drift: Drift, rows: Rows) -> Rows:
    """The day in the changed world: the same customers at the same terminals, dearer and later, and fraud 4 beside."""
    rng = generator(Draw.NIGHTS, number, knobs)
    late = rng.uniform(size=len(rows.second)) < drift.night
    second = np.where(late, rng.integers(1, NIGHT, len(rows.second)), rows.second)
    moved = replace(rows, second=second, amount=(rows.amount * drift.amount).round(2))
    tests = tested(number, knobs, drift.pattern * len(second) / TESTS)
    both = [np.concatenate([getattr(part, field.name) for part in (moved, tests)]) for field in fields(Rows)]
    order = np.argsort(np.concatenate([moved.second, tests.second]), kind="stable")
    return Rows(*(column[order] for column in both))


def tested(number: int, knobs: Knobs, cards: float) -> Rows:
    """Fraud 4: whoever has a list of cards tries which of them work, some `cards` a day, by petty payments at night."""
    customers, rng = profiles(knobs), generator(Draw.TESTED_CARDS, number, knobs)
    usable = np.flatnonzero(customers.number)
    tried = rng.choice(usable, min(rng.poisson(cards), len(usable)), replace=False)
    customer = np.repeat(tried, TESTS)
    start = np.repeat(rng.integers(1, NIGHT - HOUR, len(tried)), TESTS)
    second = start + rng.integers(HOUR, size=len(customer))
    terminal = customers.terminal[customers.first[customer] + rng.integers(customers.number[customer])]
    amount = rng.uniform(*PETTY, len(customer)).round(2)
    return Rows(customer, terminal, second, amount, np.ones(len(customer), bool))


def thefts(purpose: Draw, number: int, days: int, a_day: int, population: int, seed: int) -> np.ndarray:
    """How often each of the population was stolen in the `days` up to day `number`; int64 [population]."""
    starts = range(max(0, number - days + 1), number + 1)
    drawn = [stolen_on(purpose, start, a_day, population, seed) for start in starts]
    return np.bincount(np.concatenate(drawn), minlength=population)


@lru_cache(maxsize=1024)
def stolen_on(purpose: Draw, start: int, a_day: int, population: int, seed: int) -> np.ndarray:
    """Which of the population are stolen on day `start`, a draw of that day alone; int64 [a_day]."""
    rng = np.random.default_rng(np.random.SeedSequence([purpose, start, seed]))
    return rng.choice(population, min(a_day, population), replace=False)


@lru_cache(maxsize=2)
def profiles(knobs: Knobs) -> Profiles:
    """The customers and the terminals that they use. Raises BadInput where nobody has a terminal in reach."""
    rng = generator(Draw.CUSTOMERS, 0, knobs)
    homes = rng.uniform(0, SIDE, (knobs.customers, 2))
    amount = rng.uniform(*AMOUNTS, knobs.customers)
    rate = rng.uniform(*RATES, knobs.customers)
    shops = generator(Draw.TERMINALS, 0, knobs).uniform(0, SIDE, (knobs.terminals, 2))
    pairs = cKDTree(homes).sparse_distance_matrix(cKDTree(shops), knobs.radius, output_type="ndarray")
    if not len(pairs):
        raise BadInput("params.yaml: no customer has a terminal in reach; raise simulate.radius or simulate.terminals")
    number = np.bincount(pairs["i"], minlength=knobs.customers)
    terminal = pairs["j"][np.lexsort((pairs["j"], pairs["i"]))]
    return Profiles(amount, np.where(number > 0, rate, 0), np.cumsum(number) - number, number, terminal)


def generator(purpose: Draw, number: int, knobs: Knobs) -> np.random.Generator:
    """The random numbers of one purpose on one day."""
    return np.random.default_rng(np.random.SeedSequence([purpose, number, knobs.seed]))
