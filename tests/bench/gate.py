"""How often the gate's look at days is red where nothing is wrong: the real measuring and judging, in process.

Windows as a request's, week after week: of simulated banks, large and very small; of the problems of tests/problems,
each by its own contract, knobs and bars; and of shops that are rougher than any of them: whoever comes buys three
things in a row at their own hour, weekends and holidays are others, products come and go, days miss more or less.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from tests.bench.gates import apart, row

STATED = 0.01  # policies/data.yaml
BANKS, BANK_SIZES, WEEKS = 12, (2000, 50), 24
SHOPS, SHOP_ROWS, SHOP_DAYS = 8, (14, 150), 300
START = date(2018, 4, 1)


def rows() -> Iterator[dict[str, Any]]:
    """The share of windows that raise an alarm, by world and over all."""
    found = apart(__name__)
    for what, red in found.items():
        yield row(f"days of the data gate, nothing wrong, {what}", red, None)
    yield row("days of the data gate, nothing wrong", [each for red in found.values() for each in red], STATED)


# --- in the process of its own ---


def bank(task: tuple[int, int]) -> list[bool]:
    """Of each window of a bank whether it is red."""
    from pipeline import contract, params, policy, simulate

    seed, customers = task
    ours, knobs = contract.load(), params.load()
    world = knobs["simulate"] | {"seed": seed, "customers": customers, "terminals": 2 * customers}
    first = ours.days(knobs).since
    last = date.fromisoformat(knobs["data"]["until"]) + timedelta(weeks=WEEKS - 1)
    return checked(simulate.days(max(first, START), last, world), ours, knobs, policy.load("data"))


def problem(name: str) -> list[bool]:
    """Of each window of a problem whether it is red."""
    import polars as pl
    import yaml
    from pipeline import contract, params

    from tests import problems

    folder = problems.FOLDER / name
    ours, knobs = contract.load(folder / "contract.yaml"), params.load(folder / "params.yaml")
    first, last = ours.days(knobs).since, problems.until(name) + timedelta(weeks=4 * WEEKS - 1)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    table = pl.concat(problems.rows(name, day) for day in days)
    return checked(table, ours, knobs, yaml.safe_load((folder / "policies" / "data.yaml").read_text()))


SHOP = """
problem: shop
task: binary
words: {row: [item, items]}
id: item
time: at
entity: who
label: {column: returned, positive: 1, negative: 0, delay: 7}
columns:
  item: {type: integer}
  at: {type: time}
  who: {type: integer}
  price: {type: number, range: [0, null]}
  express: {type: boolean}
  channel: {type: category}
  product: {type: category}
  size: {type: category, missing: true}
  returned: {type: integer}
"""


def shop(task: tuple[int, int]) -> list[bool]:
    """Of each window of a shop whether it is red."""
    import polars as pl
    from pipeline import contract, params, policy

    seed, daily = task
    rng, people, goods = np.random.default_rng(seed), 3 * daily, 300
    hour, way, quiet = rng.normal(13, 3, people), rng.integers(0, 5, people), rng.random(people) < 0.1
    born = np.where(rng.random(goods) < 0.5, 0, rng.integers(0, SHOP_DAYS, goods))
    gone = np.where(rng.random(goods) < 0.5, SHOP_DAYS, born + rng.integers(10, SHOP_DAYS, goods))
    born[:5], gone[:5] = 0, SHOP_DAYS
    days = []
    for day in range(SHOP_DAYS):
        rests = day % 7 > 4 or rng.random() < 0.02
        number = rng.poisson(daily * (0.6 if rests else 1.1)) + 1
        who = rng.choice(rng.integers(0, people, number // 3 + 1), number)
        hours = np.clip(hour[who] + rests + rng.normal(0, 0.3) + rng.normal(0, 2, number), 0, 23.9)
        asked = (born <= day) * (day < gone) * np.exp(rng.normal(0, 0.3, goods)) / np.arange(1, goods + 1)
        lost = quiet[who] | (rng.random(number) < 0.05 * np.exp(rng.normal(0, 0.5)))
        begin = datetime(START.year, START.month, START.day) + timedelta(days=day)
        table = {
            "at": [begin + timedelta(hours=float(each)) for each in hours],
            "who": who,
            "price": rng.lognormal(3, 1, number).round(2),
            "express": rng.random(number) < 0.02 * np.exp(rng.normal(0, 0.5)),
            "channel": [f"channel {each}" for each in way[who]],
            "product": [f"product {each}" for each in rng.choice(goods, number, p=asked / asked.sum())],
            "size": [None if each else "ML"[int(at) % 2] for each, at in zip(lost, who, strict=True)],
            "returned": (rng.random(number) < 0.03 * np.exp(rng.normal(0, 0.4))).astype(int),
        }
        days.append(pl.DataFrame(table, schema_overrides={"at": pl.Datetime("us"), "size": pl.String}))
    knobs = params.load() | {"features": {"windows": []}}
    knobs["data"] |= {"until": str(START + timedelta(days=42 + 7 + 7 - 1))}
    whole = pl.concat(days).with_columns(pl.int_range(pl.len()).alias("item"))
    return checked(whole, contract.parse(SHOP), knobs, policy.load("data"))


def checked(table: Any, ours: Any, knobs: dict[str, Any], bars: Any) -> list[bool]:
    """Of each window of a table, a week after the other, whether a bar of `daily` or `level` is missed."""
    import polars as pl
    from pipeline import policy, validate

    red, until = [], date.fromisoformat(knobs["data"]["until"])
    day = pl.col(ours.time).dt.date()
    while until <= table.select(day.max()).item():
        window = ours.days(knobs | {"data": knobs["data"] | {"until": str(until)}})
        found = validate.measure(table.lazy().filter(day.is_between(window.since, until)), ours, window)
        measured = json.loads(json.dumps({"file": "", "pinned": True, **found}, default=str))
        said = [violation.rule for violation in policy.judge_data(measured, bars)]
        red.append(any(rule.startswith(("daily.", "level.")) for rule in said))
        until += timedelta(weeks=1)
    return red


def main() -> None:
    from tests import problems

    worlds: dict[str, tuple[Callable[[Any], list[bool]], list[Any]]] = {
        **{f"banks of {size:,}": (bank, [(seed, size) for seed in range(BANKS)]) for size in BANK_SIZES},
        **{f"shops of {daily:,} a day": (shop, [(seed, daily) for seed in range(SHOPS)]) for daily in SHOP_ROWS},
        **{name: (problem, [name]) for name in problems.NAMES},
    }
    with ProcessPoolExecutor() as pool:
        found = {what: pool.map(world, tasks) for what, (world, tasks) in worlds.items()}
        print(json.dumps({what: [each for red in parts for each in red] for what, parts in found.items()}))


if __name__ == "__main__":
    main()
