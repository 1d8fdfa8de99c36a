"""Cases of a table without a time: a delivery is whole, and replaces the one before.

The bank's rows have a time, so the stages that read, measure and judge run in a clone of main, with a contract and a
table of its own, and no forge.
"""

from collections.abc import Callable

import numpy as np
import polars as pl
import yaml

from tests.defects.case import Case
from tests.defects.world import Outcome, World

UNTIL, BEFORE = "2024-03-31", "2024-02-29"
ROWS = 2000
CONTRACT = """\
problem: members
task: binary
words: {row: [member, members]}
id: member
time: null
label: {column: left, positive: 1, negative: 0, delay: 30}
columns:
  member: {type: integer}
  charge: {type: number, range: [0, null]}
  months: {type: integer, range: [0, null]}
  plan: {type: category, categories: 20}
  city: {type: category, categories: 100}
  left: {type: integer}
"""
BLOCKS = {
    "params.yaml": {"data": {"source": "deliveries", "until": UNTIL, "snapshot": None}, "features": {}},
    "policies/evaluation.yaml": {"split": {"share": 0.2, "calibrate": 0.1}},
    "policies/data.yaml": {
        "rows": {"minimum": 100},
        "volume": {"minimum": 0.7, "maximum": 1.7},  # as `make adopt` writes it, and `level`
        "level": {"rows": 100, "minimum": 0.5, "maximum": 2},
        "label": {"minimum": 0.01, "maximum": 0.5, "day": {"rows": 5_000, "minimum": 0, "maximum": 1}},
        "pinned": False,
    },
    "policies/log.yaml": {"personal": {}},
}
STAGES = ("pipeline.source", "pipeline.ingest", "pipeline.validate", "pipeline.policy data")

Spoil = Callable[[pl.DataFrame], pl.DataFrame]


def whole(name: str, spoil: Spoil, words: str = "") -> Case:
    """A case that is another delivery than the one that is due; without words, a control."""
    return Case(name, lambda world: judged(world, spoil), "data" if words else "", words)


def judged(world: World, spoil: Spoil) -> Outcome:
    """What the data gate of a clone says of a delivery that follows the first."""
    clone = world.clone()
    (clone / "contract.yaml").write_text(CONTRACT)
    for name, blocks in BLOCKS.items():
        known = yaml.safe_load((clone / name).read_text())
        (clone / name).write_text(yaml.safe_dump(known | blocks))
    (clone / "deliveries").mkdir()
    for day, table in ((BEFORE, FIRST), (UNTIL, spoil(DUE))):
        table.write_parquet(clone / "deliveries" / f"{day}.parquet")
    said = []
    for stage in STAGES:
        done = world.python("-m", *stage.split(), folder=clone)
        said.append(done.stdout)
        if done.returncode:
            return Outcome(("data",), "\n".join(said))
    return Outcome((), "\n".join(said))


def members(first: int, number: int) -> pl.DataFrame:
    """So many new members."""
    draw = np.random.default_rng(first)
    return pl.DataFrame(
        {
            "member": np.arange(first, first + number),
            "charge": draw.lognormal(3, 1, number).round(2),
            "months": draw.geometric(0.05, number),
            "plan": draw.choice(["basic", "extra", "gold"], number, p=[0.6, 0.3, 0.1]),
            "city": [f"city {each}" for each in draw.zipf(1.3, number).clip(max=60)],
            "left": (draw.random(number) < 0.1).astype(int),
        }
    )


def a_month_on(table: pl.DataFrame) -> pl.DataFrame:
    """The next delivery: a tenth are gone, as many are new, and all others stayed a month longer."""
    kept = table.filter(pl.col("member") % 10 > 0).with_columns(pl.col("months") + 1)
    return pl.concat([kept, members(len(table), len(table) - len(kept))])


FIRST = members(0, ROWS)
DUE = a_month_on(FIRST)


def on(**columns: pl.Expr) -> Spoil:
    """Other values in some columns."""
    return lambda table: table.with_columns(**columns)


def some(column: str, value: str, share: int) -> pl.Expr:
    """Every so manieth row has one value."""
    return pl.when(pl.col("member") % share == 3).then(pl.lit(value)).otherwise(column)


def times(number: int) -> Spoil:
    """Each row so many times, under numbers of their own."""
    return lambda table: pl.concat([table] * number).with_columns(member=pl.int_range(pl.len()))


WHOLE = [
    whole("A whole delivery in cents", on(charge=pl.col("charge") * 100), "level.maximum.*charge strays"),
    whole("A whole delivery with a column that stands still", on(months=pl.lit(12, pl.Int64)), "months stands still"),
    whole(
        "A whole delivery with all levels renamed",
        on(city=pl.col("city").str.to_uppercase()),
        "daily.categories.*100% of the rows have a level that the delivery of 2024-02-29 has not",
    ),
    whole("The last whole delivery under a new date", lambda _: FIRST, "daily.repeated.*no row is new"),
    whole("A whole delivery of half of the rows", lambda table: table.head(ROWS // 2 + 1), "volume.minimum"),
    whole("A whole delivery with each row twice", times(2), "volume.maximum"),
]
HEALTHY = [
    whole("A whole delivery with dearer prices", on(charge=pl.col("charge") * 1.5)),
    whole("A whole delivery with a column that nearly stands still", on(plan=some("plan", "basic", 2))),
    whole("A whole delivery with a level that few rows have", on(city=some("city", "a new city", 50))),
    whole("A whole delivery of a month later", lambda table: table),
    whole("A whole delivery with a fifth fewer rows", lambda table: table.head(ROWS * 4 // 5)),
    whole(
        "A whole delivery with half as many rows more", lambda table: pl.concat([table, members(10 * ROWS, ROWS // 2)])
    ),
]
