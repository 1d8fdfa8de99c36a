"""Keep a sample of what the model saw, to compare the live world with: reports/reference.parquet, for monitor.py; and
of the same rows the shares of bins by weekday, which the service counts in: reports/profile.json (profile.py).

Two parts, which the column `_part` tells apart:
- `train`, of the training days: what the inputs were like that the model learned from. Feature drift is measured
  against it, over several whole weeks.
- `test`, of the test days: what the model answers on rows that it has not seen. Drift of the answers is measured
  against it, since on the rows that it learned from a model is surer than it is in production.
Every row of a computed input has full windows behind it. `_day` is kept because weekends are not like weekdays:
the monitor compares days of the week with the same days of the week.

The sample travels with the model, so it has no identifier and no column but the model's inputs and the output that is
watched, a number such as `_score` or the code of a class; inputs that policies/log.yaml calls personal are left out, as
they are in the log.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import polars as pl

from pipeline import contract, log, model, params, personal, profile, rows, tasks
from pipeline.params import BadInput, run_stage

MODEL = Path("model")
REFERENCE = Path("reports/reference.parquet")
PART, DAY, TRAIN, TEST = "_part", "_day", "train", "test"
ROWS = 25_000  # of a part, at most: in 59 of 60 trials 20,000 gave the verdict that a million gave
SEED = 0


def sample(table: pl.DataFrame, number: int) -> pl.DataFrame:
    """At most `number` rows of the table, each as likely as any other, in their order."""
    if len(table) <= number:
        return table
    return table[np.sort(np.random.default_rng(SEED).choice(len(table), number, replace=False))]


def part(name: str, table: pl.DataFrame, scorer: model.Model, hidden: Collection[str] = ()) -> pl.DataFrame:
    """The reference's rows of one part, from data/features.parquet; without the columns that are `hidden`."""
    drawn, task = sample(table, ROWS), tasks.task(scorer.problem.task)
    return drawn.select(
        pl.lit(name).alias(PART),
        pl.col(scorer.problem.time or contract.UNDATED).dt.date().alias(DAY),
        *(column.name for column in scorer.inputs if column.name not in hidden),
        pl.Series(log.kept(task.WATCHED), scorer.predict(drawn)[task.WATCHED]),
    )


def loaded() -> model.Model:
    """The model. Raises BadInput where it cannot be loaded."""
    try:
        return model.load(MODEL)
    except model.BadModel as error:
        raise BadInput(str(error)) from None


def profiled(table: pl.DataFrame, scorer: model.Model) -> profile.Profile:
    """The profile of a sample of both parts: of inputs as in TRAIN, of answers as in TEST, by the log's columns."""
    problem, task = scorer.problem, tasks.task(scorer.problem.task)
    train, test = (table.filter(pl.col(PART) == name) for name in (TRAIN, TEST))
    learned, tested = (rows[DAY].dt.weekday() for rows in (train, test))
    columns = {
        column.name: (profile.of_levels if column.text or column.type == "boolean" else profile.of_numbers)(
            train[column.name], learned
        )
        for column in scorer.inputs
        if column.name in table.columns
    }
    watched = test[log.kept(task.WATCHED)]
    if task.answers(problem)[task.WATCHED].kind == "label":
        classes = list(map(str, problem.values))
        named = watched.replace_strict(dict(enumerate(classes)), return_dtype=pl.String)
        columns[watched.name] = profile.of_levels(named, tested, classes)
    else:
        columns[watched.name] = profile.of_numbers(watched, tested)
    return profile.Profile.model_validate({"model": scorer.digest, "columns": columns})


def main() -> None:
    """Write the sample, and its profile."""
    ours = contract.load()
    days, scorer = ours.days(params.load()), loaded()
    hidden = log.policy(personal.columns(ours)).personal
    parts = {TRAIN: days.train, TEST: days.test}
    table = pl.concat(part(name, rows.between(*span, ours), scorer, hidden) for name, span in parts.items())
    REFERENCE.parent.mkdir(exist_ok=True)
    table.write_parquet(REFERENCE)
    profile.PROFILE.write_text(profiled(table, scorer).model_dump_json(indent=1) + "\n")
    print(f"{REFERENCE}: {len(table):,} rows")


if __name__ == "__main__":
    run_stage(main)
