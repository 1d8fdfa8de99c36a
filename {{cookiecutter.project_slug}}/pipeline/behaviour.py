"""What the model does with rows that were changed, or written by hand, as policies/behaviour.yaml asks.

After Ribeiro et al., Beyond Accuracy: Behavioral Testing of NLP Models with CheckList (2020): minimum functionality,
invariance, direction; and reliance, the importance of an input without its label. Not a stage, as the cases are bars:
`make gates` runs it on the exported model.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, model, params, rows, tasks
from pipeline.contract import Contract
from pipeline.evaluate import MODEL
from pipeline.model import Input, Model, Outputs
from pipeline.params import BadInput, run_stage
from pipeline.personal import shown
from pipeline.policy import load
from pipeline.reading import nearest
from pipeline.tasks import Array

BEHAVIOUR = Path("reports/behaviour.json")
POLICY = "policies/behaviour.yaml"
PARTS = ("row", "where", "change")  # of a case, that name inputs
ROWS = 2000  # that a case is tried on, at most
EXAMPLES = 3
ID, BY_HAND = "_id", "by hand"

Case = Mapping[str, Any]
Points = tuple[Array, Array]  # float64 [rows] each: as the rows are, and changed
Behaviour = dict[str, Any]


def behave(scorer: Model, table: pl.DataFrame, ours: Contract, policy: Mapping[str, Any]) -> Iterator[Behaviour]:
    """Each case, on how many rows it was tried, and the share of them on which the model does as asked.

    An invariance may change a column of the contract that is no input: then it moves nothing, and it has to stay so.
    Raises BadInput for a case that names another column which is no input of the model, or a value that it cannot have.
    """
    inputs = {column.name: column for column in scorer.inputs}
    table = table.select(pl.col(ours.id).alias(ID), *(as_tried(column) for column in scorer.inputs))
    for kind, judge in KINDS.items():
        for case in policy[kind]:
            case_of_inputs = without(unseen(inputs, ours), case) if kind == "invariance" else case
            check(case_of_inputs, inputs)
            chosen = written(table, case["row"]) if "row" in case else like(table, case.get("where", {}))
            after = changed(chosen, case_of_inputs.get("change", {}))
            points = point(scorer.predict(chosen), case, ours), point(scorer.predict(after), case, ours)
            right = judge(points, case) if len(chosen) else np.array([], dtype=bool)
            yield {"kind": kind, "asked": case, "rows": len(chosen)} | found(chosen, points, right, ours)
    yield from relied(scorer, like(table, {}), list(inputs))


def point(out: Outputs, case: Case, ours: Contract) -> Array:
    """The number that a case is about, of each row. Raises BadInput where it is of a class, and names none."""
    task, classes = tasks.task(ours.task), ours.label.values
    if task.about(out) is None:
        return task.point(out)
    if case.get("of") not in classes:
        said, known = f'{POLICY}: the case "{case["case"]}"', [str(each) for each in classes]
        if "of" not in case:
            raise BadInput(f"{said} names no class; say which one it is about, such as `of: {classes[0]}`")
        raise BadInput(f"{said}: `of` is {case['of']}, no class; {nearest(str(case['of']), known)}")
    return task.point(out, classes.index(case["of"]))


def as_tried(column: Input) -> pl.Expr:
    """An input as a case writes it: text, true and false, or a number."""
    asked = pl.String() if column.text else pl.Boolean() if column.type == "boolean" else pl.Float64()
    return pl.col(column.name).cast(asked)


# --- what a case may say ---


def unseen(inputs: Mapping[str, Input], ours: Contract) -> set[str]:
    """The columns of the contract that the model does not see."""
    return {column.name for column in ours.columns} - inputs.keys()


def without(names: Collection[str], case: Case) -> Case:
    """A case that changes none of these columns."""
    return {**case, "change": {name: how for name, how in case["change"].items() if name not in names}}


def check(case: Case, inputs: Mapping[str, Input]) -> None:
    """Raises BadInput for a column that the model does not have, and for a value that the column cannot have."""
    for part in PARTS:
        for name, how in case.get(part, {}).items():
            place = f'{POLICY}: the case "{case["case"]}" names {name} under {part}'
            if name not in inputs:
                raise BadInput(
                    f"{place}, no input of the model; {nearest(name, inputs)} (a case of an input that "
                    "goes has to go first, by a request of its own: main's cases are tried on each model)"
                )
            ways = how if isinstance(how, Mapping) else {"is": how}
            for way, value in ways.items():
                if said := misfit(inputs[name], way, value, part):
                    raise BadInput(f"{place}: {said}")


def misfit(column: Input, way: str, value: Any, part: str) -> str:
    """What is wrong with a value of a case; nothing where it fits its column."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if way != "is":
        if column.text or column.type == "boolean":
            return f"`{way}` is for numbers, and it is of type {column.type}; write the value itself"
        return ""
    if value is None:
        return "" if column.missing or part == "where" else "it may not be missing; write a value for null"
    if column.text and not isinstance(value, str):
        return f"{value!r} is no text, and it is of type category; quote the value"
    if column.type == "boolean" and not isinstance(value, bool):
        return f"{value!r} is neither true nor false, and it is of type boolean"
    if not column.text and column.type != "boolean" and not number:
        return f"{value!r} is no number, and it is of type {column.type}"
    if column.categories is not None and value not in column.categories:
        return f"{value!r} is none of its categories; {nearest(value, column.categories)}"
    return ""


# --- the rows, and what a case makes of them ---


def like(table: pl.DataFrame, where: Mapping[str, Any]) -> pl.DataFrame:
    """The rows in which each column has the value, or is from (inclusive) to (exclusive) the values; ROWS at most."""
    for name, wanted in where.items():
        column, ends = pl.col(name), wanted if isinstance(wanted, Mapping) else {"is": wanted}
        tests = {"is": column.eq_missing, "from": column.__ge__, "to": column.__lt__}
        table = table.filter(tests[end](value) for end, value in ends.items())
    return table.sample(ROWS, seed=0) if len(table) > ROWS else table


def written(table: pl.DataFrame, row: Mapping[str, Any]) -> pl.DataFrame:
    """A row written by hand; what it leaves out is as in the middle of the test rows."""
    middle = {name: [middle_of(table[name])] for name in table.columns if name != ID}
    said = {
        name: [float(value) if table.schema[name] == pl.Float64 and value is not None else value]
        for name, value in row.items()
    }
    return pl.DataFrame({ID: [BY_HAND], **middle, **said}, schema={**table.schema, ID: pl.String()})


def middle_of(values: pl.Series) -> Any:
    """The median of numbers; the most frequent of other values, of several the first; None where all are missing."""
    if values.dtype == pl.Float64:
        return values.median()
    known = values.drop_nulls()
    return None if known.is_empty() else known.mode().sort()[0]


def changed(table: pl.DataFrame, change: Mapping[str, Any]) -> pl.DataFrame:
    """The rows with each column set to a value, which may be a missing one; or times one, or plus one."""
    result = []
    for name, how in change.items():
        column, ways = pl.col(name), how if isinstance(how, Mapping) else {"is": how}
        for way, value in ways.items():
            if way == "is":
                column = pl.lit(value, table.schema[name])
            else:
                column = column * value if way == "times" else column + value
        result.append(column.alias(name))
    return table.with_columns(result)


# --- the kinds: on which rows the model does as asked, bool [rows] ---


def functionality(points: Points, case: Case) -> Array:
    """The answer is above, or below, what is asked."""
    return points[1] > case["above"] if "above" in case else points[1] < case["below"]


def invariance(points: Points, case: Case) -> Array:
    """The answer stays within what is asked."""
    return np.abs(points[1] - points[0]) <= case["within"]


def direction(points: Points, case: Case) -> Array:
    """The answer does not move against the direction by more than the tolerance."""
    sign = 1 if case["answer"] == "rises" else -1
    return sign * (points[1] - points[0]) >= -case["tolerance"]


KINDS: dict[str, Callable[[Points, Case], Array]] = {
    "functionality": functionality,
    "invariance": invariance,
    "direction": direction,
}


def found(table: pl.DataFrame, points: Points, right: np.ndarray, ours: Contract) -> Behaviour:
    """The share of rows on which the model does as asked, by how much the mean answer moved, and rows that it fails."""
    if not len(right):
        return {"share": None, "moved": None, "examples": []}
    before, after = points
    return {
        "share": float(right.mean()),
        "moved": float((after - before).mean()),
        "examples": [
            {**who(table[ID][row], ours), "before": float(before[row]), "after": float(after[row])}
            for row in np.flatnonzero(~right)[:EXAMPLES].tolist()
        ],
    }


def who(identifier: Any, ours: Contract) -> dict[str, Any]:
    """A row's identifier, as it may be written; a row written by hand is nobody's."""
    known = {ours.id: identifier} if identifier == BY_HAND else shown({ours.id: identifier})
    return {"id": known[ours.id]} if ours.id in known else {}


def relied(scorer: Model, table: pl.DataFrame, inputs: list[str]) -> Iterator[Behaviour]:
    """By how much answers move, on average, when an input is shuffled among the rows: 0 for one that is ignored.

    `values` is how many it has, a missing one included: what is the same in all rows cannot be shuffled.
    """
    draw, before, task = np.random.default_rng(0), scorer.predict(table), tasks.task(scorer.problem.task)
    for name in inputs:
        after = scorer.predict(table.with_columns(table[name].gather(draw.permutation(len(table)))))
        yield {
            **{"kind": "reliance", "column": name, "rows": len(table), "values": table[name].n_unique()},
            "moved": float(task.moved(before, after).mean()),
        }


def main() -> None:
    knobs, ours = params.load(), contract.load()
    scorer, policy = model.load(MODEL, threads=0), load("behaviour")
    days = ours.days(knobs)
    cases = list(behave(scorer, rows.between(*days.test, ours), ours, policy))
    BEHAVIOUR.parent.mkdir(exist_ok=True)
    BEHAVIOUR.write_text(json.dumps({"model": scorer.digest, "cases": cases}, indent=2) + "\n")
    print(f"{BEHAVIOUR}: tried {len(cases)} cases; `python -m pipeline.policy behaviour` judges")


if __name__ == "__main__":
    run_stage(main)
