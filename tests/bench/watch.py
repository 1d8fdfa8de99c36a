"""What it costs to watch a month: the drift check and the validation of ten million rows beside a bare scan of them.

Both are measured in a process of their own, by turns with polars' streamed sums of the same columns of the same files,
and the medians count; the memory is the most that such a process holds. Live quality, a join, is apart. Evidently is
given as many of the same rows as it can hold in the same memory. Its verdicts, of columns of every kind, are ours over
SEEDS of nothing, a small drift and a clear one.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from tests.bench.drift import COLUMNS, KINDS, input_of, mixed
from tests.bench.gates import apart, contract_of

ROWS, DAYS, PARTS = 10_000_000, 28, 4  # of the log; files a day
TURNS, BAR, MEMORY = 3, 3.0, 2.0  # GB
THEIRS = 1_000_000  # rows: more than these Evidently does not hold in MEMORY
REFERENCE = 50_000
FIRST = date(2026, 1, 1)
MODEL = "sha256:" + "a" * 64
SEEDS, SIDE, SIZES = 20, 100_000, (0.0, 0.12, 0.5)  # rows a side; deviations
THRESHOLD = 0.1
NAMES = [f"column {at}" for at in range(COLUMNS - 4)]  # of the table that is validated


def rows() -> Iterator[dict[str, Any]]:
    """Seconds, memory, and the verdicts that differ."""
    found = apart(__name__)
    for what in ("drift check", "validation"):
        name, of = f"{what} of {ROWS / 1e6:.0f} million rows by {COLUMNS} columns", found[what]
        ours, bare = of["ours"], of["bare"]
        yield row(f"{name}; a bare scan", ours, bare, "s", ours / bare, f"<= {BAR:.0f} x", ours / bare <= BAR)
        yield row(f"{name}: memory", of["memory"], None, "GB", None, f"<= {MEMORY:g}", of["memory"] <= MEMORY)
    ours, theirs = ROWS / found["drift check"]["ours"], THEIRS / found["evidently"]["ours"]
    yield row(
        f"drift check; Evidently, of {THEIRS / 1e6:.0f} million", ours, theirs, "rows/s", ours / theirs, None, True
    )
    yield row("Evidently's memory", found["evidently"]["memory"], None, "GB", None, None, True)
    differ, of = found["verdicts"]["differ"], found["verdicts"]["of"]
    name = f"verdicts other than Evidently's, {SEEDS} seeds of {len(SIZES)} drifts"
    yield row(name, differ, None, f"of {of}", None, "0", differ == 0)


def row(what: str, ours: float, theirs: Any, unit: str, ratio: Any, bar: Any, reached: bool) -> dict[str, Any]:
    """A row of the table."""
    return {"what": what, "ours": ours, "theirs": theirs, "unit": unit, "ratio": ratio, "bar": bar, "reached": reached}


# --- in a process of its own, with the bake's code ---


def main() -> None:
    """Print what was measured, as JSON."""
    with tempfile.TemporaryDirectory(prefix="bench ") as name:
        folder, alone = Path(name), get_context("spawn")
        with ProcessPoolExecutor(mp_context=alone) as pool:
            list(pool.map(written, [folder] * DAYS, range(DAYS)))
        with ProcessPoolExecutor(1, mp_context=alone) as pool:
            pool.submit(ingested, folder).result()
        found = {}
        for what, measured in {
            "drift check": drift_check,
            "evidently": evidently,
            "validation": validation,
            "verdicts": verdicts,
        }.items():
            with ProcessPoolExecutor(1, mp_context=alone) as pool:
                found[what] = pool.submit(measured, folder).result()
    print(json.dumps(found))


def drawn(day: int, part: int) -> Any:
    """Some rows of a day."""
    import polars as pl

    number = ROWS // DAYS // PARTS
    first = (day * PARTS + part) * number
    at = pl.int_range(number) * (86_400_000_000 // PARTS // number) + part * (86_400_000_000 // PARTS)
    begin = datetime.combine(FIRST + timedelta(days=day), datetime.min.time())
    return mixed(np.random.default_rng([day, part]), number).with_columns(
        row=first + pl.int_range(number), at=(pl.lit(begin) + pl.duration(microseconds=at)).cast(pl.Datetime("us"))
    )


def written(folder: Path, day: int) -> None:
    """Write a day of the log, as the service does."""
    from pipeline import log

    of = FIRST + timedelta(days=day)
    place = folder / "log" / str(of)
    place.mkdir(parents=True)
    for part in range(PARTS):
        logged = drawn(day, part).rename({"row": log.ID, "at": log.TIME})
        logged.with_columns(**stamps()).write_parquet(place / f"{of:%Y%m%d}T{part:02}0000-{part:032x}.parquet")


def stamps() -> dict[str, Any]:
    """What the service says of each row."""
    import polars as pl
    from pipeline import log

    scored = pl.lit(datetime.combine(FIRST + timedelta(days=DAYS), datetime.min.time(), UTC))
    return {
        log.ID: pl.col(log.ID).cast(pl.String),
        log.MODEL: pl.lit(MODEL),
        log.SCORED: scored.cast(log.ALWAYS[log.SCORED]),
    }


def beside(ours: Callable[[], Any], files: str | Path, names: list[str]) -> dict[str, float]:
    """Seconds of ours and of a bare scan, the medians of TURNS, and the most memory in GB."""
    import polars as pl

    def bare() -> None:
        table = pl.scan_parquet(files).select(names)
        kinds = table.collect_schema()
        table.select(total(name, kind) for name, kind in kinds.items()).collect(engine="streaming")

    def total(name: str, kind: Any) -> pl.Expr:
        value = pl.col(name)
        return (value.str.len_bytes() if kind == pl.String else value.to_physical()).sum()

    turns = [(seconds(ours), seconds(bare)) for _ in range(TURNS)]
    one, other = (median(each) for each in zip(*turns, strict=True))
    return {"ours": one, "bare": other, "memory": memory()}


def seconds(work: Callable[[], Any]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def memory() -> float:
    """The most that this process has held, in GB."""
    return getrusage(RUSAGE_SELF).ru_maxrss / 2**20


def learned() -> Any:
    """The rows that a model in production has learned from."""
    import polars as pl
    from pipeline import reference

    days = [FIRST - timedelta(days=42 - 42 * at // REFERENCE) for at in range(REFERENCE)]
    train = pl.int_range(REFERENCE) < REFERENCE // 2
    part = pl.when(train).then(pl.lit(reference.TRAIN)).otherwise(pl.lit(reference.TEST))
    rows = mixed(np.random.default_rng(DAYS), REFERENCE)
    return rows.with_columns(part.alias(reference.PART), pl.Series(reference.DAY, days))


def drift_check(folder: Path) -> dict[str, float]:
    """The check as it runs, but for live quality."""
    from pipeline import model, monitor, params, policy

    os.environ["PREDICTION_LOG"] = str(folder / "log")
    monitor.promoted = lambda: datetime.fromtimestamp(0, UTC)
    now = datetime.combine(FIRST + timedelta(days=DAYS), datetime.min.time(), UTC) + timedelta(hours=6)
    bars, knobs = policy.load("drift"), params.load()
    what = MODEL, model.Problem.of(contract_of()), tuple(map(input_of, range(COLUMNS))), learned()

    def check() -> None:
        facts = monitor.nothing(knobs) | {"same_problem": False}
        monitor.measure(facts, monitor.Production(*what), contract_of(), knobs, bars, now)
        assert sum(day["rows"] for day in facts["days"]) == ROWS // DAYS // PARTS * PARTS * DAYS

    return beside(check, folder / "log" / "*" / "*.parquet", [f"column {at}" for at in range(COLUMNS)])


def evidently(folder: Path) -> dict[str, float]:
    """Evidently on as many of the same rows as it holds, with the methods and the reference of our check."""
    import polars as pl

    numbers, texts = ([f"column {at}" for at in range(COLUMNS) if input_of(at).text is kind] for kind in (False, True))
    now = pl.scan_parquet(folder / "log" / "*" / "*.parquet").head(THEIRS).select(numbers + texts).collect()
    one, other = (each.with_columns(pl.col(pl.Boolean).cast(int)) for each in (now, learned()))
    took = seconds(lambda: distances(one, other, numbers, texts))
    return {"ours": took, "memory": memory()}


def distances(now: Any, before: Any, numbers: list[str], texts: list[str]) -> dict[str, float]:
    """Evidently's distances; of texts in bits, as ours are."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from pipeline.distance import NATS

    methods = dict.fromkeys(numbers, ("wasserstein", 1.0)) | dict.fromkeys(texts, ("jensenshannon", NATS))
    metrics = [ValueDrift(column=n, method=how, threshold=THRESHOLD * unit) for n, (how, unit) in methods.items()]
    known = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    tables = [each.select(list(methods)).to_pandas() for each in (now, before)]
    sides = [Dataset.from_pandas(table, data_definition=known) for table in tables]
    found = Report(metrics).run(*sides).dict()["metrics"]
    return {name: each["value"] / methods[name][1] for name, each in zip(methods, found, strict=True)}


def ingested(folder: Path) -> None:
    """Write the same rows as ingest would leave them, with an entity and a label in place of columns."""
    import polars as pl
    from pipeline import ingest, log

    parts = pl.scan_parquet(folder / "log" / "*" / "*.parquet")
    whose = (pl.col(log.TIME).dt.epoch("us") // 7 % 200_000).alias("who")
    late = (pl.col(log.kept("score")) > 0.3).alias("late")
    parts = parts.select(pl.col(log.ID).cast(pl.Int64).alias("row"), pl.col(log.TIME).alias("at"), whose, *NAMES, late)
    parts.collect().write_parquet(folder / ingest.ROWS.name, row_group_size=ingest.GROUP)


def validation(folder: Path) -> dict[str, float]:
    """The stage `validate` on these rows."""
    import polars as pl
    from pipeline import contract, ingest, validate

    file = folder / ingest.ROWS.name
    columns: dict[str, Any] = {"row": {"type": "integer"}, "at": {"type": "time"}, "who": {"type": "integer"}}
    for at, name in enumerate(NAMES):
        ranges = {"number": [0, None] if at % 2 else None, "integer": [0, 100]}
        kind = KINDS[at % len(KINDS)]
        columns[name] = {"type": kind, "missing": True} | ({"range": range_} if (range_ := ranges.get(kind)) else {})
    ours = contract.of(
        {
            **{"problem": "months", "task": "binary", "id": "row", "time": "at", "entity": "who"},
            "words": {"row": ["row", "rows"], "entity": ["owner", "owners"], "positive": ["late one", "late ones"]},
            "label": {"column": "late", "positive": True, "negative": False, "delay": 1},
            "columns": {**columns, "late": {"type": "boolean"}},
        }
    )
    until = FIRST + timedelta(days=DAYS - 1)
    split = {"train": 19, "test": 7, "calibrate": 3}
    window = ours.days({"data": {"until": str(until)}, "split": split, "features": {}})

    def check() -> None:
        found = validate.measure(pl.scan_parquet(file), ours, window)
        assert found["rows"] == ROWS // DAYS // PARTS * PARTS * DAYS and not found["duplicates"]["rows"]

    return beside(check, file, [column.name for column in ours.columns])


def verdicts(folder: Path) -> dict[str, int]:
    """How many of the columns' verdicts are not Evidently's."""
    from pipeline import counts
    from pipeline.model import Input

    kinds = {"even": "number", "tailed": "number", "rare": "boolean", "whole": "integer", "level": "category"}
    differ = of = 0
    for seed in range(SEEDS):
        for size in SIZES:
            draw = np.random.default_rng([seed, SIZES.index(size)])
            before, now = (moved(draw, away) for away in (0, size))
            one, other = (each.cast({"rare": int}) for each in (now, before))
            theirs = distances(one, other, [name for name in kinds if name != "level"], ["level"])
            for name, kind in kinds.items():
                column = counts.of_input(Input(name, kind, levels=tuple("abcdefgh")), before[name])
                ours = counts.moved(column, counts.side(before, [column]), counts.side(now, [column])) or 0.0
                differ, of = differ + int((ours > THRESHOLD) != (theirs[name] > THRESHOLD)), of + 1
    return {"differ": differ, "of": of}


def moved(draw: np.random.Generator, away: float) -> Any:
    """Columns of every kind, about so many deviations away."""
    import polars as pl

    share = np.arange(8, 0, -1) + 18 * away * (np.arange(8) == 7)
    return pl.DataFrame(
        {
            "even": draw.normal(size=SIDE) + away,
            "tailed": draw.lognormal(0, 1, SIDE) * (1 + 1.3 * away),
            "whole": draw.poisson(2 + 1.4 * away, SIDE),
            "rare": draw.random(SIDE) < 0.05 + 0.22 * away,
            "level": draw.choice(list("abcdefgh"), SIDE, p=share / share.sum()),
        }
    )


if __name__ == "__main__":
    main()
