"""The stage `rows`: what a model learns from and is tested on, data/features.parquet; and who its rows are.

One row a row of the source, in time order: its identifier and its moment under the contract's names; the model's
inputs; `_label`, a number or the code of a class, null where it is not known yet; `_entity`, `_group` and `_weight`,
where the contract names them. Names of our own begin with `_`, and a contract's may not.
Inputs are columns of the source; where the contract has a block `inputs`, pipeline/features.py makes them.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, params, tasks
from pipeline.contract import Column, Contract
from pipeline.model import Problem
from pipeline.params import EVALUATION, BadInput, deletable, run_stage
from pipeline.places import replacing

SOURCE = Path("data/rows.parquet")
FEATURES = Path("data/features.parquet")
TRAINED = Path("reports/trained.parquet")
"""The hashes of the rows of the training days, so that no model is judged by what it has seen."""
HASHED = "hashed"  # where that file's metadata say of which columns its hashes are

ID, ENTITY, GROUP, LABEL, WEIGHT = (
    "_id",
    "_entity",
    "_group",
    "_label",
    "_weight",
)
"""ID: where what is said of rows stands beside it, by family."""
OURS, FILE = "pipeline.features", Path("pipeline/features.py")  # whoever computes no inputs deletes it
TYPES: Mapping[str, pl.DataType] = {
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "category": pl.String(),
    "text": pl.String(),
    "time": pl.Datetime("us"),
}
"""What the source's columns are read as."""
INPUTS = {**TYPES, "time": pl.Float64()}
"""What an input is; a time has become the days that it lies before the row's own."""
EXAMPLES = 3


# --- making them ---


def main() -> None:
    """Write the rows from the first training day on, and which of them are trained on; the days before are history."""
    ours, knobs = contract.load(), params.load()
    days = ours.days(knobs)
    try:
        source = pl.read_parquet(SOURCE)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadInput(f"{SOURCE}: {error}; make it with `make data`") from None
    table = made(placed(source, ours, knobs), ours, knobs.get("features") or {})
    table = table.filter(pl.col(ours.time).dt.date().is_between(days.train[0], days.test[1]))
    if ours.weight:
        weighed(table, days, ours)
    with replacing(FEATURES) as temporary:
        table.write_parquet(temporary)
    remember(table, days.train, ours)
    unknown = table[LABEL].null_count()
    print(f"{FEATURES}: {len(table):,} rows, {len(ours.inputs)} inputs; {unknown:,} labels are not known yet")


def made(source: pl.DataFrame, ours: Contract, knobs: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of a source's table, with their inputs. Raises BadInput for what must not reach training."""
    source = source if ordered(source, ours) else source.sort(ours.time, ours.id)
    known = identified(source, ours)
    if ours.computed is None:
        inputs = source.select(ours.id, *(read(column, ours) for column in ours.inputs))
        refuse(inputs, ours, SOURCE)
        return pl.concat([known, inputs.drop(ours.id)], how="horizontal")
    inputs = typed(features().compute(source, knobs, ours.label.delay), ours)
    refuse(inputs, ours, FILE)
    if inputs[ours.id].equals(source[ours.id]):  # as a rule; a join takes as long as all the rest
        return pl.concat([known, inputs.drop(ours.id)], how="horizontal")
    same(source, inputs, ours)
    return known.join(inputs, on=ours.id, maintain_order="left")


def placed(source: pl.DataFrame, ours: Contract, knobs: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of a whole delivery on the protocol's days: a share to test, one to calibrate, the others to fit to.

    Which, follows from a hash of the entity, else the group, else the identifier: they are on the same side in every
    delivery, and a group is ranked whole. Rows that have a time stay as they are.
    """
    if ours.dated:
        return source
    days, tested = ours.days(knobs), params.share(knobs)
    place = pl.Series([fraction(who) for who in source[ours.entity or ours.group or ours.id]], dtype=pl.Float64)
    fitted = pl.lit(days.fit[0])
    day = pl.when(place < tested + params.calibrated(knobs)).then(pl.lit(days.calibration[0])).otherwise(fitted)
    day = pl.when(place < tested).then(pl.lit(days.test[0])).otherwise(day)
    return source.with_columns(day.cast(TYPES["time"]).alias(ours.time))


def fraction(who: Any) -> float:
    """A number in [0, 1) that follows from a value, the same on every machine and in every version."""
    return int.from_bytes(blake2b(str(who).encode(), digest_size=8).digest()) / 2**64


def ordered(source: pl.DataFrame, ours: Contract) -> bool:
    """Whether the rows are in the order of time and identifier already, as `ingest` leaves them."""
    time, identifier = pl.col(ours.time), pl.col(ours.id)
    behind = (time < time.shift()) | ((time == time.shift()) & (identifier < identifier.shift()))
    return not source.select(behind.any()).item() and not source[ours.time].null_count()


def identified(source: pl.DataFrame, ours: Contract) -> pl.DataFrame:
    """Who and when each row is, its label and its weight: the columns that no features.py makes."""
    for name in filter(None, (ours.id, ours.time, ours.entity, ours.group)):
        if source[name].null_count():
            wrong = source.filter(pl.col(name).is_null())
            shown = "" if name == ours.id else such_as(wrong, ours.id)
            raise BadInput(f"{SOURCE}: {name} is missing in {count(wrong)}{shown}; mend the source, or drop such rows")
    roles = {ENTITY: ours.entity, GROUP: ours.group}
    named = [pl.col(name).alias(role) for role, name in roles.items() if name]
    weight = [pl.col(ours.weight).cast(pl.Float64).alias(WEIGHT)] if ours.weight else []
    table = source.select(ours.id, ours.time, *named, label(ours).alias(LABEL), *weight)
    strange = source.filter(label(ours).is_null() & pl.col(ours.label.column).is_not_null())
    if len(strange):
        from pipeline.personal import quoted

        said = quoted(ours.label.column, strange[ours.label.column][0], otherwise="another value")
        known = f"contract.yaml knows {' and '.join(map(repr, ours.label.values))}" if ours.label.values else ""
        raise BadInput(
            f"{SOURCE}: {ours.label.column} is {said} in {count(strange)}"
            f"{such_as(strange, ours.id)}; {known or 'it has to be a number'}, "
            "and a missing one for a label that is not known yet"
        )
    if ours.group and ours.entity:
        of_many = table.group_by(GROUP, maintain_order=True).agg(pl.col(ENTITY).n_unique()).filter(pl.col(ENTITY) > 1)
        if len(of_many):
            wrong = source.filter(pl.col(ours.group).is_in(of_many[GROUP].implode()))
            raise BadInput(
                f"{SOURCE}: {len(of_many):,} {ours.groups.many} have rows of several {ours.entities.many}"
                f"{such_as(wrong, ours.id)}; a `group` of contract.yaml belongs to one `entity`: mend the source, "
                "or take one of both out"
            )
    if ours.weight:
        wrong = table.filter(~(pl.col(WEIGHT).is_finite() & (pl.col(WEIGHT) >= 0)).fill_null(False))
        if len(wrong):
            raise BadInput(
                f"{SOURCE}: {ours.weight} is no weight in {count(wrong)}{such_as(wrong, ours.id)}; it has to be a "
                "number, 0 or more: mend the source"
            )
    return table


def label(ours: Contract) -> pl.Expr:
    """The label as float64: a number, or the code of a class; null for what is none."""
    return tasks.task(ours.task).target(Problem.of(ours))


def read(column: Column, ours: Contract) -> pl.Expr:
    """A column of the source as an input."""
    value, moment = pl.col(column.name), pl.col(ours.time)
    if column.type == "time":
        moment = moment if ours.dated else moment.max()  # the delivery's day: what is trained on lies before it
        return ((moment - value).dt.total_microseconds() / 86_400e6).alias(column.name)
    return value


# --- what features.py makes ---


def features() -> Any:
    """pipeline/features.py, by its name: whoever computes no inputs deletes it. Raises BadInput where it is gone."""
    return deletable(
        OURS,
        "contract.yaml: `inputs` are what pipeline/features.py makes, and it is gone; restore it, or take the block "
        "out: then the source's columns are the inputs",
    )


def typed(made: Any, ours: Contract) -> pl.DataFrame:
    """What features.py made, in the contract's types and order, any width of them; NaN is missing, where that may be.

    Raises BadInput naming all that is not there, or of another type.
    """
    if not isinstance(made, pl.DataFrame):
        raise BadInput(f"{FILE}: compute returned {type(made).__name__}; return a polars DataFrame")
    wrong = [
        f"`{column.name}` is {made.schema.get(column.name, 'not there')}, and `inputs` in contract.yaml says "
        + (column.type if column.type != "time" else "time: a number, the days that it lies before the row's own")
        for column in ours.inputs
        if column.name not in made.columns or not fits(made.schema[column.name], column)
    ]
    identifier = TYPES[ours.column(ours.id).type]
    if ours.id not in made.columns:
        wrong.append(f"`{ours.id}` is not there, by which the rows are found")
    elif made.schema[ours.id] != identifier:
        wrong.append(f"`{ours.id}` is {made.schema[ours.id]}, and the source's is {identifier}")
    if wrong:
        raise BadInput(f"{FILE}: {'; '.join(wrong)}")
    try:
        return made.select(ours.id, *(cast(column) for column in ours.inputs))
    except pl.exceptions.PolarsError as error:
        from pipeline.personal import unless_personal

        why = unless_personal(str(error))
        raise BadInput(f"{FILE}: what compute returned cannot be read as contract.yaml says: {why}") from None


def fits(dtype: pl.DataType, column: Column) -> bool:
    """Whether values of a type can be read as an input's, each as it is."""
    wanted = INPUTS[column.type]
    if dtype == pl.Null or dtype == wanted:
        return True
    if wanted.is_float():
        return dtype.is_numeric()
    return dtype.is_integer() if wanted.is_integer() else wanted == pl.String and dtype in (pl.Categorical, pl.Enum)


def cast(column: Column) -> pl.Expr:
    """An input of features.py in its type."""
    value = pl.col(column.name).cast(INPUTS[column.type])
    if INPUTS[column.type].is_float() and column.missing:
        return value.fill_nan(None)
    return pl.when(value != "").then(value).alias(column.name) if column.type == "category" else value


def same(source: pl.DataFrame, inputs: pl.DataFrame, ours: Contract) -> None:
    """Raises BadInput where features.py lost rows, added some, or has one twice; and where the source has."""
    for table, where, do in (
        (source, SOURCE, "find the delivery that was loaded twice, and remove the repeated rows from the source"),
        (inputs, FILE, "return one row a row of the source; does a join multiply them?"),
    ):
        twice = table.filter(pl.col(ours.id).is_duplicated()).unique(ours.id, maintain_order=True)
        if len(twice):
            raise BadInput(f"{where}: {count(twice)} more than once{such_as(twice, ours.id)}; {do}")
    for table, other, what in ((source, inputs, "lost"), (inputs, source, "added")):
        odd = table.join(other.select(ours.id), on=ours.id, how="anti", maintain_order="left")
        if len(odd):
            raise BadInput(
                f"{FILE}: compute {what} {count(odd)}{such_as(odd, ours.id)}; return one row a row of the source, "
                "also where there is nothing to say of it"
            )


# --- what must not reach training ---


def refuse(inputs: pl.DataFrame, ours: Contract, where: Path) -> None:
    """Raises BadInput with all columns that hold a missing or infinite value that the contract does not allow."""
    todo = [(column, fault, faulty) for column in ours.inputs for fault, faulty in faults(column)]
    counts = inputs.select(faulty.sum().alias(str(at)) for at, (_, _, faulty) in enumerate(todo)) if todo else inputs
    problems = []
    for (column, fault, faulty), number in zip(todo, counts.row(0) if todo and len(inputs) else (), strict=False):
        if number:
            wrong = inputs.filter(faulty)
            allow = "" if fault == "infinite" else f", or say `missing: true` of {column.name} in contract.yaml"
            found = f"{column.name} is {fault} in {count(wrong)}{such_as(wrong, ours.id)}"
            problems.append(f"{where}: {found}; mend {'the source' if where == SOURCE else 'compute'}{allow}")
    if problems:
        raise BadInput("\n".join(problems))


def faults(column: Column) -> Iterator[tuple[str, pl.Expr]]:
    """What a value of an input must not be, and which values are."""
    value = pl.col(column.name)
    if not column.missing:
        yield "missing", value.is_null()
    if INPUTS[column.type].is_float():
        yield "infinite", value.is_infinite()
        if not column.missing:
            yield "NaN", value.is_nan()


def weighed(table: pl.DataFrame, days: params.Days, ours: Contract) -> None:
    """Raises BadInput where all rows of the training or the test days, or all of a label's value, have the weight 0.

    So it does where all rows that something is settled on have.
    """
    day, settles = pl.col(ours.time).dt.date(), tasks.task(ours.task).SETTLES
    for part, span in (("training", days.train), ("calibration", days.calibration), ("test", days.test)):
        if part == "calibration" and not settles:
            continue
        known = table.filter(day.is_between(*span)).drop_nulls(LABEL)
        labelled = {
            f"row whose {ours.label.column} is {value!r}": known.filter(pl.col(LABEL) == code)
            for code, value in enumerate(ours.label.values if part != "calibration" else ())
        }
        for what, some in {"row": known, **labelled}.items():
            if len(some) and not weights(some).any():
                raise BadInput(
                    f"{SOURCE}: {ours.weight} is 0 in every {what} of the {part} days, {span[0]} to {span[1]}, and a "
                    "row of weight 0 counts for nothing; mend the source, or take `weight` out of contract.yaml"
                )


def such_as(wrong: pl.DataFrame, name: str) -> str:
    """The first of these rows, where they may be named."""
    from pipeline.personal import named

    return f", such as {', '.join(named(name, value) for value in wrong[name].head(EXAMPLES))}"


def count(rows: pl.DataFrame) -> str:
    """How many rows these are."""
    return f"{len(rows):,} row{'s' * (len(rows) != 1)}"


# --- reading them ---


def between(first: date, last: date, ours: Contract) -> pl.DataFrame:
    """The rows of the days first..last whose label is known, in time order. Raises BadInput where there are none."""
    try:
        rows = pl.read_parquet(FEATURES).filter(pl.col(ours.time).dt.date().is_between(first, last))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadInput(f"{FEATURES}: {error}; make it with `make model`") from None
    known = rows.drop_nulls(LABEL)
    if known.is_empty():
        unknown = f", but for {len(rows):,} whose label is not known yet" if len(rows) else ""
        if not ours.dated:
            who = ours.entity or ours.group or ours.id
            raise BadInput(
                f"{FEATURES}: one of the parts that `split` in {EVALUATION} makes holds no row{unknown}: a hash of "
                f"{who} says who is in which, and it has too few values to be in each"
            )
        raise BadInput(
            f"{FEATURES} holds no row from {first} to {last}{unknown}; "
            f"check data.until in params.yaml, and split in {EVALUATION}"
        )
    return known


def weights(table: pl.DataFrame) -> np.ndarray:
    """How much each row counts; float64 [rows], ones where the contract names no weight."""
    return table[WEIGHT].to_numpy() if WEIGHT in table.columns else np.ones(len(table))


def labels(table: pl.DataFrame) -> np.ndarray:
    """The labels of the rows that count: float64, of those that have some weight."""
    known: np.ndarray = table[LABEL].to_numpy()
    return known[weights(table) > 0]


# --- who they are ---


def remember(table: pl.DataFrame, days: tuple[date, date], ours: Contract) -> None:
    """Write the hashes of the table's rows of these days, the training days, in no order that tells of them."""
    trained = table.filter(pl.col(ours.time).dt.date().is_between(*days)).drop_nulls(LABEL)
    trained = trained if ours.dated else trained.clear()  # who they are tells on which side they are, and was
    TRAINED.parent.mkdir(exist_ok=True)
    write_hashes(trained, ours, TRAINED)


def write_hashes(trained: pl.DataFrame, ours: Contract, path: Path) -> None:
    """Write the hashes of rows, and beside them of what they are: those of other columns are no rows' of these."""
    made = pl.DataFrame({"hash": np.sort(hashes(trained, ours))})
    made.write_parquet(path, metadata={HASHED: hashed_as(trained, ours)})


def hashed_as(table: pl.DataFrame, ours: Contract) -> str:
    """The columns that are hashed, and their types, as the file of the hashes says them."""
    return json.dumps([(name, str(table.schema[name])) for name in hashed(ours)], ensure_ascii=False)


def hashed(ours: Contract) -> list[str]:
    """The columns that are hashed. They follow from the contract alone: whatever else a table holds moves no hash."""
    kept = {ours.time, *(column.name for column in ours.inputs)}
    return [*([ENTITY] if ours.entity else []), *(column.name for column in ours.columns if column.name in kept)]


def hashes(table: pl.DataFrame, ours: Contract) -> np.ndarray:
    """A hash of what the source says of each row, less its identifier and its label; uint64 [rows].

    A copy under another identifier has the same hash, and so has a row whose label or aggregates have changed since.
    Of 60,000 rows and 400,000 others, a hash is shared by chance once in a billion times. Raises BadInput where a
    column is not there.
    """
    names = hashed(ours)
    if lost := [name for name in names if name not in table.columns]:
        raise BadInput(
            f"{FEATURES}: {', '.join(lost)} {'is' if len(lost) == 1 else 'are'} not there, by which a row is known "
            "again; make it again with `make model`"
        )
    text = table.select(pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in names], separator="\0"))
    digests: Iterator[bytes] = (blake2b(row.encode(), digest_size=8).digest() for row in text.to_series())
    return np.frombuffer(b"".join(digests), dtype="<u8")


if __name__ == "__main__":
    run_stage(main)
