"""How often the drift check is red in a world that has not moved: the real check, in process, over weeks of many banks.

For each bank, as large as that of params.yaml, a network of the default recipe and its reference, as a promotion has
them; then week after week of the same world, held against policies/drift.yaml with labels that come in a week late.
Size matters: of 432 weeks of banks with 1,500 customers 14% are red, for the risk of terminals, of which few are
compromised at a time; bars for a small bank are wider.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

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
    table_of,
)

STATED = 0.01  # policies/drift.yaml: at most 1 of 100 checks
BANKS, WEEKS = 12, 36
START = date(2018, 4, 1)


def rows() -> Iterator[dict[str, Any]]:
    """The share of checks that are red."""
    yield row("drift check, nothing wrong", apart(__name__), STATED)


# --- in the process of its own ---


class Scorer:
    """A network as the monitor knows a model."""

    digest = "sha256:0"

    def __init__(self, network: Network, table: Any) -> None:
        from pipeline import encode, model

        ours = contract_of()
        self.predict, self.problem = network.predict, model.Problem.of(ours)
        self.inputs = tuple(encode.learned(column, table[column.name]) for column in ours.inputs)


def checked(seed: int) -> list[bool]:
    """Whether the check of each of a bank's weeks is red."""
    import polars as pl
    from pipeline import evaluate, log, monitor, params, policy, reference
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
    kept = pl.concat(
        reference.part(name, table.filter(day.is_between(*days)), scorer)
        for name, days in ((reference.TRAIN, train), (reference.TEST, test))
    )
    production = monitor.Production(scorer.digest, scorer.problem, scorer.inputs, kept)
    knobs |= {"simulate": world}
    knobs["features"] |= {"windows": WINDOWS}
    knobs["evaluate"] |= {"resamples": RESAMPLES}
    judged = evaluate.judged(table.filter(day <= test[1]), test, ours, knobs["evaluate"]["known"])
    scored = judged.with_columns(pl.Series(log.SCORE, scorer.predict(judged)))
    promised = monitor.metrics(scored, ours, knobs["evaluate"])
    drift.at_promotion = lambda measured: promised
    monitor.HISTORY = 7  # days: it serves to say since when
    monitor.promoted = lambda: datetime.fromtimestamp(0, UTC)

    live = table.filter(day > test[1])
    logged = live.select(
        *(pl.col(ours.id).alias(log.ID), pl.col(ours.time).alias(log.TIME)),
        *(column.name for column in scorer.inputs),
        pl.Series(log.SCORE, scorer.predict(live)),
        pl.lit(scorer.digest).alias(log.MODEL),
        pl.lit(datetime.now(UTC)).cast(log.ALWAYS[log.SCORED]).alias(log.SCORED),
    )
    bars, red, moment = policy.load("drift"), [], pl.col(log.TIME).dt.date()
    log.read = lambda address, first, last, model=None: logged.filter(moment.is_between(first, last))
    for week in range(1, WEEKS + 1):
        known = [test[1] + timedelta(days=number + 1) for number in range(7 * week)]
        log.days = lambda known=known: known
        facts = monitor.nothing(knobs) | {"model": scorer.digest, "configured": True, "same_problem": True}
        monitor.measure(facts, production, ours, knobs, bars["window"], datetime.now(UTC))
        red.append(bool(drift.judge_drift(json.loads(json.dumps(facts, default=str)), bars)))
    return red


def main() -> None:
    with ProcessPoolExecutor() as pool:
        print(json.dumps([red for bank in pool.map(checked, range(BANKS)) for red in bank]))


if __name__ == "__main__":
    main()
