"""The stage `baselines`: what the families that are not shipped say of the test rows."""

from pathlib import Path

import polars as pl

from pipeline import contract, families, params, rows, tasks, train
from pipeline.params import run_stage

TARGET = Path("build/baselines.parquet")


def main() -> None:
    """Write one column of outputs a family, for the test rows, beside their identifiers, which are `_id`."""
    knobs, ours = params.load(), contract.load()
    test = rows.between(*ours.days(knobs).test, ours)
    names = [name for name in families.NAMES if name in knobs["families"] and name != knobs["train"].get("family")]
    columns = []
    for name in names:
        trained = train.read(name)
        out = train.said(trained, train.settled(trained, ours, knobs), len(test), ours)
        columns.append(tasks.kept(name, out))
    TARGET.parent.mkdir(exist_ok=True)
    scored = test.select(pl.col(ours.id).alias(rows.ID))
    scored.with_columns(columns).write_parquet(TARGET)
    print(f"{TARGET}: {', '.join(names) or 'no family but the one that is shipped'}")


if __name__ == "__main__":
    run_stage(main)
