"""How often the gate's look at a whole delivery beside the one before is red where nothing is wrong, and where it is.

The real measuring and judging, in process. Healthy pairs of deliveries: churn, a week and a month apart, and made-up
tables that are rougher: from 300 rows on, a part of the people gone and others there, all inputs moved on, heavy tails,
levels by the hundred that come and go, values that whole households miss. Each fault is then seeded into each pair.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from tests.bench.gates import apart, row

STATED = 0.01  # policies/data.yaml
SIZES, SEEDS, DELIVERIES = (300, 1000, 5000), 8, 13
WEEKS = 26
UNTIL = date(2024, 3, 31)
HEAD = """
problem: people
task: binary
words: {row: [person, people]}
id: id
time: null
ENTITY
label: {column: label, positive: 1, negative: 0, delay: 7}
columns:
"""
Fault = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]


def rows() -> Iterator[dict[str, Any]]:
    """The share of pairs that raise an alarm, by world and over all; of each fault the share that is found."""
    found = apart(__name__)
    for what, red in found["healthy"].items():
        yield row(f"deliveries of the data gate, nothing wrong, {what}", red, None)
    yield row("deliveries of the data gate, nothing wrong", sum(found["healthy"].values(), []), STATED)
    for what, red in found["faults"].items():
        yield row(f"deliveries of the data gate: {what}", red, None)


# --- in the process of its own ---


def people(task: tuple[int, int, bool]) -> list[pl.DataFrame]:
    """Deliveries of a made-up table, each of the people that are left and of new ones; `homes`: of households."""
    seed, number, homes = task
    rng = np.random.default_rng([seed, number, homes])
    gone, levels = rng.choice([0.02, 0.1, 0.3, 1]), int(rng.integers(30, 3000))

    def born(now: int, count: int) -> pl.DataFrame:
        sizes = np.minimum(rng.zipf(2, count), 40) if homes else np.ones(count, int)
        of = np.repeat(np.arange(count), sizes)[:count]
        home_city = rng.zipf(1.2, count).clip(max=levels)
        quiet, product = rng.random(count) < 0.3, rng.zipf(1.5, count).clip(max=200)
        rare = rng.random(count) < 0.01
        return pl.DataFrame(
            {
                "id": [f"p{now}.{each}" for each in range(count)],
                "home": 10**6 * now + of,
                "skewed": rng.lognormal(3, 2, count),
                "tail": rng.pareto(1.1, count) + 0.01,
                "seldom": np.where(rng.random(count) < 0.9, 0, rng.gamma(1, 50, count)),
                "humps": np.where(rng.random(count) < 0.5, 1, 1000) * rng.gamma(9, 1, count),
                "months": rng.geometric(0.05, count),
                "plan": np.array(["basic", "extra", "gold", "never"])[
                    np.searchsorted([0.6, 0.9, 0.99], rng.random(count))
                ],
                "city": [f"city {each}" for each in home_city[of]],
                "code": [f"{each:05}" for each in rng.integers(0, levels, count)],
                "product": [f"product {each}.{(now + 7 * each) // 20 * (each > 5)}" for each in product],
                "rare": np.where(rare, "yes", "no")[of],
                "size": pl.Series(np.where(rng.random(count) < 0.5, "M", "L")).zip_with(
                    pl.Series(~quiet[of]), pl.Series([None], dtype=pl.String)
                ),
                "flag": rng.random(count) < 0.02,
                "label": (rng.random(count) < 0.1).astype(int),
            }
        )

    table, made = born(0, number), []
    for now in range(1, DELIVERIES + 1):
        made.append(table if homes else table.drop("home"))
        left = table.filter(~pl.col("home").is_in(table["home"].unique().sample(fraction=gone, seed=now).implode()))
        new = born(now, max(int(number * rng.uniform(0.9, 1.1)) - len(left), 20))
        drawn = pl.Series(rng.lognormal(0, 0.3, len(left)))
        left = left.with_columns(pl.col("skewed", "tail", "seldom") * drawn, pl.col("months") + 1)
        table = pl.concat([left, new])
    return made


def churn(days: int) -> list[pl.DataFrame]:
    """Deliveries of churn, so many days apart."""
    from tests.problems import churn

    made = (churn.delivery(UNTIL + timedelta(days=days * number)) for number in range(WEEKS if days == 7 else 13))
    return [
        table.rename({churn.ID: "id", churn.LABEL: "label"}).with_columns(
            pl.col("TotalCharges").cast(pl.Float64, strict=False), (pl.col("label") == "Yes").cast(pl.Int64)
        )
        for table in made
    ]


def cents(column: str) -> Fault:
    return lambda now, _: now.with_columns(pl.col(column) * 100)


def still(column: str) -> Fault:
    return lambda now, _: now.with_columns(pl.col(column).mode().first())


def renamed(column: str) -> Fault:
    return lambda now, _: now.with_columns(pl.col(column).str.to_uppercase() + "!")


def faults(number: str, few: str, many: str) -> dict[str, Fault]:
    """What is seeded, into which columns."""
    return {
        "cents": cents(number),
        "a column stands still": still(few),
        "all levels renamed": renamed(many),
        "the last delivery again": lambda _, then: then,
        "half of the rows": lambda now, _: now.sample(fraction=0.5, seed=0),
        "each row twice": lambda now, _: pl.concat([now] * 2).with_columns(
            id=pl.col("id") + pl.int_range(pl.len()).cast(pl.String)
        ),
    }


def contract_of(table: pl.DataFrame) -> Any:
    """The contract that the table is as."""
    from pipeline import contract

    kinds = {pl.String: "category, missing: true", pl.Boolean: "boolean", pl.Int64: "integer, range: [0, null]"}
    said = {
        name: kinds.get(type(kind), "number, range: [0, null], missing: true") for name, kind in table.schema.items()
    }
    said |= {"id": "text"}
    lines = [f"  {name}: {{type: {kind}}}" for name, kind in said.items()]
    return contract.parse(HEAD.replace("ENTITY", "entity: home" * ("home" in table.columns)) + "\n".join(lines))


def checked(task: tuple[str, Any]) -> tuple[list[list[str]], dict[str, list[bool]]]:
    """Of each pair of deliveries the bars that are missed; and of each fault, by pair, whether one is."""
    from pipeline import policy, validate
    from pipeline.policy.before import judge_before

    kind, of = task
    made = churn(of) if kind == "churn" else people(of)
    bars = policy.load("data")
    bars["volume"], bars["level"] = {"minimum": 0.7, "maximum": 1.7}, {"rows": 100, "minimum": 0.5, "maximum": 2}
    own = contract_of(made[0])
    seeded = (
        faults("MonthlyCharges", "Contract", "PaymentMethod") if kind == "churn" else faults("skewed", "plan", "city")
    )

    def red(now: pl.DataFrame, then: pl.DataFrame) -> list[str]:
        days = own.days({"data": {"until": str(UNTIL)}, "split": {"share": 0.2, "calibrate": 0.1}})
        found = validate.measure(now.lazy(), own, days, ("2024-02-29", then.lazy()))
        measured = json.loads(json.dumps({"file": "", "pinned": True, **found}, default=str))
        return [f"{violation.rule}: {violation.value}" for violation in judge_before(measured, bars)]

    pairs = list(zip(made[1:], made[:-1], strict=True))
    healthy = [red(now, then) for now, then in pairs]
    return healthy, {what: [bool(red(spoil(now, then), then)) for now, then in pairs] for what, spoil in seeded.items()}


def main() -> None:
    worlds: dict[str, list[tuple[str, Any]]] = {
        "churn, a week and a month apart": [("churn", 7), ("churn", 30)],
        **{
            f"{number:,} {'people of households' if homes else 'people'}": [
                ("people", (seed, number, homes)) for seed in range(SEEDS)
            ]
            for number in SIZES
            for homes in (False, True)
        },
    }
    healthy: dict[str, list[bool]] = {}
    seeded: dict[str, list[bool]] = {}
    with ProcessPoolExecutor() as pool:
        for what, tasks in worlds.items():
            for found, faulty in pool.map(checked, tasks):
                healthy.setdefault(what, []).extend(map(bool, found))
                for fault, red in faulty.items():
                    seeded.setdefault(fault, []).extend(red)
    print(json.dumps({"healthy": healthy, "faults": seeded}))


if __name__ == "__main__":
    main()
