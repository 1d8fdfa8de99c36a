"""The stage `export`: joins encoder, fitted family and head to one ONNX graph that takes raw rows, and checks it.

The graph is held against what `train` scored, so that nothing here needs what the family was fitted with.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl

from pipeline import contract, encode, families, model, params, rows, tasks, train
from pipeline.encode import Encoding
from pipeline.families import Array, Family
from pipeline.model import Problem
from pipeline.params import BadInput, run_stage
from pipeline.tasks import Constants

MODEL = Path("model")
REPORT = Path("reports/training.json")
TOLERANCES = {"network": 1e-5}  # its layers are single precision
TOLERANCE = 1e-9  # between the outputs of the graph and of the fitted family


def main() -> None:
    """Write model/, check it on the test rows and on crafted ones, and write how the family was fitted."""
    knobs, ours, encoding = params.load(), contract.load(), encode.load()
    name = knobs["train"].get("family")
    family, task, trained = families.family(name), tasks.task(ours.task), train.read(name)
    problem, constants = Problem.of(ours), train.settled(trained, ours, knobs)
    try:
        digest = model.write(
            MODEL,
            problem=problem,
            family=name,
            processor=str(trained.about["processor"]),
            inputs=encoding.inputs,
            outputs=list(task.OUTPUTS),
            settled={part: value.tolist() for part, value in constants.items()},
            files={"model.onnx": joined(encoding, family, trained.state, constants, problem)},
        )
    except model.BadModel as error:
        raise BadInput(str(error)) from None
    days = ours.days(knobs)
    calibration, test = rows.between(*days.calibration, ours), rows.between(*days.test, ours)
    strange = train.crafted(encoding, test, family.edges(trained.state))
    scorer, tolerance = model.load(MODEL), TOLERANCES.get(name, TOLERANCE)
    for table, raw in ((calibration, trained.calibration), (test, trained.test), (strange, trained.parity)):
        check(scorer, table, raw, constants, tolerance)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"family": name, **trained.about}, indent=2) + "\n")
    print(f"{MODEL}: {digest}")


def joined(encoding: Encoding, family: Family, state: bytes, constants: Constants, problem: Problem) -> bytes:
    """The graph: the inputs NUMBERS and TEXTS of the manifest's columns, as a Scorer takes them; the task's outputs.

    The same state gives the same bytes in every folder: nothing is noted of where the code lies.
    """
    import onnx
    from spox import build

    given, task = encode.asked(encoding.inputs), tasks.task(problem.task)
    raw = family.graph(state, encoding.graph(given), encoding.categories, task.LOSS, task.width(problem))
    made = build(given, task.head(raw, constants, problem))
    made.ir_version = onnx.IR_VERSION_2023_5_5  # what runtimes of that year and later read
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString(deterministic=True)


def check(scorer: model.Model, table: pl.DataFrame, raw: Array, constants: Constants, tolerance: float) -> None:
    """Raises BadInput where the graph does not answer as the fitted family does, on many rows at once or on one."""
    task = tasks.task(scorer.problem.task)
    if raw.shape != (len(table), task.width(scorer.problem)):
        raise BadInput(
            f"{train.FITTED} holds scores of {len(raw):,} rows, where {len(table):,} are compared; run `make model`"
        )
    expected = task.outputs(raw, constants, scorer.problem)
    last = np.arange(len(table))[-1:]
    for part, right in ((table, expected), (table[-1:], tasks.picked(expected, last))):
        gap = task.gap(scorer.predict(part), right)
        if not gap.max(initial=0) <= tolerance:  # NaN too
            from pipeline.personal import shown

            worst = part[int(np.nan_to_num(gap, nan=np.inf).argmax())].select(c.name for c in scorer.inputs)
            raise BadInput(
                f"{MODEL}: the exported graph differs from the fitted {scorer.family} by {gap.max():.2g} (at most "
                f"{tolerance:g} is allowed), most on {shown(worst.row(0, named=True)) or 'a row that is not shown'}"
                "; `graph` has to do what `raw` does"
            )


if __name__ == "__main__":
    run_stage(main)
