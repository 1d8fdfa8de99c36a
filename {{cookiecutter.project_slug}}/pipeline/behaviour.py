"""What the model does with rows that were changed, or written by hand, as policies/behaviour.yaml asks.

After Ribeiro et al., Beyond Accuracy: Behavioral Testing of NLP Models with CheckList (2020): minimum functionality,
invariance, direction; and reliance, the importance of an input without its label. Not a stage, as the cases are bars:
`make gates` runs it on the exported model.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline import model, params, rows
from pipeline.evaluate import MODEL
from pipeline.model import Model
from pipeline.params import BadInput, run_stage
from pipeline.personal import shown
from pipeline.policy import load
from pipeline.policy.bars import nearest
from pipeline.schema import ID

BEHAVIOUR = Path("reports/behaviour.json")
PARTS = ("row", "where", "change")  # of a case, that name inputs
ROWS = 2000  # that a case is tried on, at most
EXAMPLES = 3
BY_HAND = "by hand"

Case = Mapping[str, Any]
Scores = tuple[np.ndarray, np.ndarray]  # float64 [rows] each: as the rows are, and changed
Behaviour = dict[str, Any]


def behave(scorer: Model, table: pl.DataFrame, policy: Mapping[str, Any]) -> Iterator[Behaviour]:
    """Each case, on how many rows it was tried, and the share of them on which the model does as asked.

    Raises BadInput for a case that names a column which is no input of the model.
    """
    inputs = [column.name for column in scorer.inputs]
    table = table.select(ID, pl.col(inputs).cast(pl.Float64))
    for kind, judge in KINDS.items():
        for case in policy[kind]:
            for part in PARTS:
                known(case, part, inputs)
            chosen = written(table, case["row"]) if "row" in case else like(table, case.get("where", {}))
            after = changed(chosen, case.get("change", {}))
            scores = scorer.predict(chosen), scorer.predict(after)
            right = judge(scores, case) if len(chosen) else np.array([], dtype=bool)
            yield {"kind": kind, "asked": case, "rows": len(chosen)} | found(chosen, scores, right)
    yield from relied(scorer, like(table, {}), inputs)


def known(case: Case, part: str, inputs: list[str]) -> None:
    """Raises BadInput for a column that the model does not have."""
    for name in case.get(part, {}):
        if name not in inputs:
            raise BadInput(
                f'policies/behaviour.yaml: the case "{case["case"]}" names {name} under {part}, no input of the model; '
                f"did you mean {nearest(name, inputs)}? A case of an input that goes has to go first, by a request of "
                "its own: main's cases are tried on each model"
            )


def like(table: pl.DataFrame, where: Mapping[str, Any]) -> pl.DataFrame:
    """The rows in which each column has the value, or is from (inclusive) to (exclusive) the values; ROWS at most."""
    for name, wanted in where.items():
        column, ends = pl.col(name), wanted if isinstance(wanted, Mapping) else {"is": wanted}
        tests = {"is": column.__eq__, "from": column.__ge__, "to": column.__lt__}
        table = table.filter(tests[end](value) for end, value in ends.items())
    return table.sample(ROWS, seed=0) if len(table) > ROWS else table


def written(table: pl.DataFrame, row: Mapping[str, float]) -> pl.DataFrame:
    """A row written by hand; what it leaves out is as in the middle of the test rows, by the median."""
    middle = table.drop(ID).median().with_columns(pl.lit(BY_HAND).alias(ID))
    return middle.with_columns(pl.lit(float(value)).alias(name) for name, value in row.items())


def changed(table: pl.DataFrame, change: Mapping[str, Any]) -> pl.DataFrame:
    """The rows with each column set to a value, times one, or plus one."""
    result = []
    for name, how in change.items():
        column, ways = pl.col(name), how if isinstance(how, Mapping) else {"is": how}
        done = {"is": lambda _, value: pl.lit(float(value)), "times": lambda c, v: c * v, "plus": lambda c, v: c + v}
        for way, value in ways.items():
            column = done[way](column, value)
        result.append(column.alias(name))
    return table.with_columns(result)


# --- the kinds: on which rows the model does as asked, bool [rows] ---


def functionality(scores: Scores, case: Case) -> np.ndarray:
    """The score is above, or below, what is asked."""
    return scores[1] > case["above"] if "above" in case else scores[1] < case["below"]


def invariance(scores: Scores, case: Case) -> np.ndarray:
    """The score stays within what is asked."""
    return np.abs(scores[1] - scores[0]) <= case["within"]


def direction(scores: Scores, case: Case) -> np.ndarray:
    """The score does not move against the direction by more than the tolerance."""
    sign = 1 if case["score"] == "rises" else -1
    return sign * (scores[1] - scores[0]) >= -case["tolerance"]


KINDS: dict[str, Callable[[Scores, Case], np.ndarray]] = {
    "functionality": functionality,
    "invariance": invariance,
    "direction": direction,
}


def found(table: pl.DataFrame, scores: Scores, right: np.ndarray) -> Behaviour:
    """The share of rows on which the model does as asked, by how much the mean score moved, and rows that it fails."""
    if not len(right):
        return {"share": None, "moved": None, "examples": []}
    before, after = scores
    return {
        "share": float(right.mean()),
        "moved": float((after - before).mean()),
        "examples": [
            {**who(table[ID][row]), "before": float(before[row]), "after": float(after[row])}
            for row in np.flatnonzero(~right)[:EXAMPLES].tolist()
        ],
    }


def who(identifier: Any) -> dict[str, Any]:
    """A row's identifier, as it may be written; a row written by hand is nobody's."""
    known = {ID: identifier} if identifier == BY_HAND else shown({ID: identifier})
    return {"id": known[ID]} if ID in known else {}


def relied(scorer: Model, table: pl.DataFrame, inputs: list[str]) -> Iterator[Behaviour]:
    """By how much scores move, on average, when an input is shuffled among the rows: 0 for one that is ignored."""
    draw, before = np.random.default_rng(0), scorer.predict(table)
    for name in inputs:
        after = scorer.predict(table.with_columns(pl.Series(name, draw.permutation(table[name].to_numpy()))))
        yield {"kind": "reliance", "column": name, "rows": len(table), "moved": float(np.abs(after - before).mean())}


def main() -> None:
    knobs, scorer, policy = params.load(), model.load(MODEL, threads=0), load("behaviour")
    cases = list(behave(scorer, rows.between(*params.days(knobs).test), policy))
    BEHAVIOUR.parent.mkdir(exist_ok=True)
    BEHAVIOUR.write_text(json.dumps({"model": scorer.digest, "cases": cases}, indent=2) + "\n")
    print(f"{BEHAVIOUR}: tried {len(cases)} cases; `python -m pipeline.policy behaviour` judges")


if __name__ == "__main__":
    run_stage(main)
