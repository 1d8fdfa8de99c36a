"""How often the drift check is red in a world that has not moved: the real check, in process, over weeks of many banks.

For each bank, as large as that of params.yaml, a network of the default recipe and its reference, as a promotion has
them; then week after week of the same world, held against policies/drift.yaml with labels that come in a week late.
Size matters: of 432 weeks of banks with 1,500 customers 14% are red, for the risk of terminals, of which few are
compromised at a time; bars for a small bank are wider.

Small services: few of each bank's rows a day, and tables of 34 columns of every kind. Beside what is red where nothing
is wrong: what is found within four weeks of one column that moves by two deviations.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from time import perf_counter
from typing import Any

import numpy as np

from tests.bench.gates import (
    DELAY,
    RESAMPLES,
    TEST,
    TRAIN,
    WINDOWS,
    Network,
    apart,
    contract_of,
    learned,
    row,
    said,
    table_of,
)

STATED = 0.01  # policies/drift.yaml: at most 1 of 100 checks
BANKS, WEEKS = 12, 36
START = date(2018, 4, 1)
SMALL = (14, 50, 100, 1000)  # rows a day
COLUMNS, TABLES, DAYS = 34, 12, 42  # of the tables: each with a reference of so many days
FOUND = 4  # weeks


def rows() -> Iterator[dict[str, Any]]:
    """The share of checks that are red; where a column has moved, the share of services in which it is found."""
    found = apart(__name__)
    yield row("drift check, nothing wrong", found["whole"], STATED)
    for a_day in map(str, SMALL):
        services = found["small"][a_day]
        of: dict[str, list[Any]] = {
            what: [value for each in services for value in each[what]] for what in ("red", "found", "seconds")
        }
        yield row(f"drift check, nothing wrong, {a_day} rows a day", of["red"], STATED)
        yield seen(f"drift check, a column two deviations away, {a_day} rows a day", of["found"])
        yield took(f"drift check of {COLUMNS} columns, {a_day} rows a day", of["seconds"])


def seen(what: str, found: list[bool]) -> dict[str, Any]:
    """The share of the services in which it is found."""
    share = 100 * sum(found) / len(found)
    told = {"what": f"{what}: found within {FOUND} weeks", "ours": share, "theirs": None, "unit": f"% of {len(found)}"}
    return told | {"ratio": None, "bar": ">= 99", "reached": share >= 99}


def took(what: str, seconds: list[float]) -> dict[str, Any]:
    """The seconds of a check."""
    median = float(np.median(seconds))
    return {"what": what, "ours": median, "theirs": None, "unit": "s", "ratio": None, "bar": None, "reached": True}


# --- in the process of its own ---


class Scorer:
    """A network as the monitor knows a model."""

    digest = "sha256:0"

    def __init__(self, network: Network, table: Any) -> None:
        from pipeline import encode, model

        ours = contract_of()
        self.predict, self.problem = network.predict, model.Problem.of(ours)
        self.inputs = tuple(encode.learned(column, table[column.name]) for column in ours.inputs)


def checked(seed: int) -> dict[str, Any]:
    """Whether the check of each of a bank's weeks is red; and the same of small services, by their rows a day."""
    import polars as pl
    from pipeline import evaluate, log, monitor, params, policy, reference, tasks
    from pipeline.policy import drift

    begins = START + timedelta(days=max(WINDOWS) + DELAY)
    train = begins, begins + timedelta(days=TRAIN - 1)
    test = train[1] + timedelta(days=DELAY + 1), train[1] + timedelta(days=DELAY + TEST)
    end = test[1] + timedelta(weeks=WEEKS)
    ours, knobs = contract_of(), params.load()
    day = pl.col(ours.time).dt.date()
    world = knobs["simulate"] | {"seed": seed}
    table = table_of(START, end, world)
    scorer = Scorer(learned(table.filter(day.is_between(*train)), seed), table)

    def known(table: Any) -> Any:
        return pl.concat(
            reference.part(name, table.filter(day.is_between(*days)), scorer)
            for name, days in ((reference.TRAIN, train), (reference.TEST, test))
        )

    def production(kept: Any) -> Any:
        return monitor.Production(scorer.digest, scorer.problem, scorer.inputs, kept)

    knobs |= {"simulate": world}
    knobs["features"] |= {"windows": WINDOWS}
    knobs["evaluate"] |= {"resamples": RESAMPLES}
    judged = evaluate.judged(table.filter(day <= test[1]), test, ours, knobs["evaluate"]["known"])
    scored = judged.with_columns(tasks.kept(monitor.OUT, scorer.predict(judged)))
    promised = monitor.metrics(scored, ours, knobs["evaluate"])["metrics"]
    drift.at_promotion = lambda measured: promised

    live = table.filter(day > test[1])
    logged = live.select(
        *(pl.col(ours.id).alias(log.ID), pl.col(ours.time).alias(log.TIME)),
        *(column.name for column in scorer.inputs),
        *(pl.Series(log.kept(name), values) for name, values in scorer.predict(live).items()),
    )
    whole = [
        red for red, _ in weeks(production(known(table)), logged, test[1], ours, knobs, policy.load("drift"), WEEKS)
    ]
    small = {}
    for a_day in SMALL:
        draw = np.random.default_rng(seed)
        part = draw.random(len(table)) < a_day * ((end - START).days + 1) / len(table)
        kept = known(table.filter(pl.Series(part)))
        few = logged.filter(pl.Series(draw.random(len(logged)) < a_day * WEEKS * 7 / len(logged)))
        moved = scorer.inputs[seed % len(scorer.inputs)].name
        small[a_day] = service(production(kept), few, test[1], ours, knobs, moved)
    return {"whole": whole, "small": small}


def service(production: Any, logged: Any, last: date, ours: Any, knobs: Any, moved: str) -> dict[str, Any]:
    """A small service's weeks: whether each is red; and whether one is where a column has moved, from the first on."""
    import polars as pl
    from pipeline import policy, reference

    bars = policy.load("drift")
    bars |= {"window": bars["window"] | {"rows": 1}}
    bars |= {name: {**bars[name], "maximum": 1e-9, "exceptions": {}} for name in ("columns", "categories")}
    bars |= {"answer": {"maximum": 1e-9}}  # what chance does decides alone
    healthy = list(weeks(production, logged, last, ours, knobs, bars, WEEKS, labels=False))
    known = production.reference.filter(pl.col(reference.PART) == reference.TRAIN)[moved]
    away = logged.with_columns(pl.col(moved).cast(pl.Float64) + 2 * known.cast(pl.Float64).std())
    found = any(red for red, _ in weeks(production, away, last, ours, knobs, bars, FOUND, labels=False))
    return {"red": [red for red, _ in healthy], "found": [found], "seconds": [seconds for _, seconds in healthy]}


def weeks(
    production: Any, logged: Any, last: date, ours: Any, knobs: Any, bars: Any, number: int, labels: bool = True
) -> Iterator[tuple[bool, float]]:
    """Whether the check of each week after a day is red, and the seconds that it took to measure."""
    import polars as pl
    from pipeline import log, monitor
    from pipeline.policy import drift

    monitor.HISTORY = 7  # days: it serves to say since when
    monitor.promoted = lambda: datetime.fromtimestamp(0, UTC)
    same = {log.MODEL: pl.lit(production.digest), log.SCORED: pl.lit(datetime.now(UTC)).cast(log.ALWAYS[log.SCORED])}
    logged, moment = logged.with_columns(**same), pl.col(log.TIME).dt.date()
    parts = {day: part for (day,), part in logged.group_by(moment)}
    log.batches = lambda day, columns: [parts[day]] if day in parts else []
    log.read = lambda address, first, last, model, columns: logged.filter(moment.is_between(first, last))
    for week in range(1, number + 1):
        known = [last + timedelta(days=day + 1) for day in range(7 * week)]
        log.days = lambda known=known: known
        facts = monitor.nothing(knobs) | {"model": production.digest, "configured": True, "same_problem": labels}
        facts["problem_name"], began = production.problem.name, perf_counter()
        monitor.measure(facts, production, ours, knobs, bars, datetime.now(UTC))
        seconds = perf_counter() - began
        yield bool(drift.judge_drift(json.loads(json.dumps(facts, default=str)), bars)), seconds


def tables(seed: int) -> dict[int, Any]:
    """The same of small services whose tables have COLUMNS columns of every kind."""
    import polars as pl
    from pipeline import log, model, monitor, params, reference

    ours, found = contract_of(), {}
    inputs = tuple(map(input_of, range(COLUMNS)))
    for a_day in SMALL:
        draw, days = np.random.default_rng([seed, a_day]), DAYS + TEST + 7 * WEEKS
        number = draw.poisson(a_day, days)
        made = mixed(draw, int(number.sum())).with_columns(
            pl.Series("at", [START + timedelta(days=at) for at in np.repeat(np.arange(days), number).tolist()])
        )
        last = START + timedelta(days=DAYS + TEST - 1)
        part = pl.when(pl.col("at") < START + timedelta(days=DAYS)).then(pl.lit(reference.TRAIN))
        kept = made.filter(pl.col("at") <= last).select(
            part.otherwise(pl.lit(reference.TEST)).alias(reference.PART),
            pl.col("at").alias(reference.DAY),
            pl.exclude("at"),
        )
        kept = kept.group_by(reference.PART, maintain_order=True).head(reference.ROWS)
        logged = made.filter(pl.col("at") > last).with_columns(
            pl.int_range(pl.len()).alias(log.ID), pl.col("at").cast(pl.Datetime("us")).alias(log.TIME)
        )
        production = monitor.Production("sha256:0", model.Problem.of(ours), inputs, kept)
        moved = next(input_ for input_ in inputs[seed:] if input_.type == "number").name
        found[a_day] = service(production, logged.drop("at"), last, ours, params.load(), moved)
    return found


KINDS = ("number", "number", "integer", "boolean", "category")
LEVELS = tuple(f"level {at}" for at in range(30))


def input_of(at: int) -> Any:
    """One of the columns of such a table."""
    from pipeline.model import Input

    kind = KINDS[at % len(KINDS)]
    return Input(f"column {at}", kind, missing=True, levels=LEVELS if kind == "category" else ())


def mixed(draw: np.random.Generator, number: int) -> Any:
    """Rows of such a table: long tails, rare events, seldom levels, and one value in twenty missing."""
    import polars as pl
    from pipeline import log

    seldom, score = 1 / (1 + np.arange(len(LEVELS))), draw.beta(1, 6, number)
    made = {log.kept(name): pl.Series(values) for name, values in said(score).items()}
    for at in range(COLUMNS):
        kind = KINDS[at % len(KINDS)]
        if kind == "number":
            values: Any = draw.lognormal(0, 1, number) if at % 2 else draw.normal(size=number)
        elif kind == "integer":
            values = draw.poisson(2, number)
        elif kind == "boolean":
            values = draw.random(number) < (0.02, 0.1, 0.3)[at % 3]
        else:
            values = draw.choice(LEVELS, number, p=seldom / seldom.sum())
        made[f"column {at}"] = pl.Series(values).set(pl.Series(draw.random(number) < 0.05), None)
    return pl.DataFrame(made)


def main() -> None:
    with ProcessPoolExecutor() as pool:
        found, mixed = list(pool.map(checked, range(BANKS))), list(pool.map(tables, range(TABLES)))
    small = {a_day: [each["small"][a_day] for each in found] + [each[a_day] for each in mixed] for a_day in SMALL}
    print(json.dumps({"whole": [red for bank in found for red in bank["whole"]], "small": small}))


if __name__ == "__main__":
    main()
