"""The stage `baselines`: what the families that are not shipped say of the test rows."""

from pathlib import Path

import polars as pl

from pipeline import contract, families, params, rows, train
from pipeline.params import BadInput, run_stage

TARGET = Path("build/baselines.parquet")


def main() -> None:
    """Write one column of probabilities a family, for the test rows, beside their identifiers, which are `_id`."""
    knobs, ours = params.load(), contract.load()
    test = rows.between(*ours.days(knobs).test, ours)
    names = [name for name in families.NAMES if name in knobs["families"] and name != knobs["train"].get("family")]
    scores = {name: train.probability(train.read(name).test) for name in names}
    if other := [name for name in names if len(scores[name]) != len(test)]:
        raise BadInput(f"{train.place(other[0])} is of other test rows than {rows.FEATURES} holds; run `make model`")
    TARGET.parent.mkdir(exist_ok=True)
    scored = test.select(pl.col(ours.id).alias(rows.ID))
    scored.with_columns(pl.Series(name, scores[name]) for name in names).write_parquet(TARGET)
    print(f"{TARGET}: {', '.join(names) or 'no family but the one that is shipped'}")


if __name__ == "__main__":
    run_stage(main)
