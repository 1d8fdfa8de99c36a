"""The stage `export`: joins encoder, fitted family and head to one ONNX graph that takes raw rows, and checks it.

The graph is held against what `train` scored, so that nothing here needs what the family was fitted with.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl

from pipeline import contract, encode, families, model, params, rows, train
from pipeline.encode import Encoding
from pipeline.families import Family
from pipeline.model import Problem
from pipeline.params import BadInput, run_stage
from pipeline.train import LOSS, WIDTH, Trained

MODEL = Path("model")
REPORT = Path("reports/training.json")
TOLERANCES = {"network": 1e-5}  # its layers are single precision
TOLERANCE = 1e-9  # between the probabilities of the graph and of the fitted family


def main() -> None:
    """Write model/, check it on the test rows and on crafted ones, and write how the family was fitted."""
    knobs, ours, encoding = params.load(), contract.load(), encode.load()
    name = knobs["train"].get("family")
    family, trained = families.family(name), train.read(name)
    try:
        digest = model.write(
            MODEL,
            problem=Problem.of(ours),
            family=name,
            processor=str(trained.about["processor"]),
            inputs=encoding.inputs,
            files={"model.onnx": joined(encoding, family, trained.state)},
        )
    except model.BadModel as error:
        raise BadInput(str(error)) from None
    test = rows.between(*ours.days(knobs).test, ours)
    check(model.load(MODEL), encoding, family, trained, test, TOLERANCES.get(name, TOLERANCE))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"family": name, **trained.about}, indent=2) + "\n")
    print(f"{MODEL}: {digest}")


def joined(encoding: Encoding, family: Family, state: bytes) -> bytes:
    """The graph: the inputs NUMBERS and TEXTS of the manifest's columns, as a Scorer takes them; the output OUTPUT.

    The same state gives the same bytes in every folder: nothing is noted of where the code lies.
    """
    import onnx
    import spox.opset.ai.onnx.v18 as op
    from spox import build

    given = encode.asked(encoding.inputs)
    raw = family.graph(state, encoding.graph(given), encoding.categories, LOSS, WIDTH)
    score = op.reshape(op.sigmoid(raw), op.const(np.array([-1])))
    made = build(given, {model.OUTPUT: score})
    made.ir_version = onnx.IR_VERSION_2023_5_5  # what runtimes of that year and later read
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString(deterministic=True)


def check(
    scorer: model.Model, encoding: Encoding, family: Family, trained: Trained, test: pl.DataFrame, tolerance: float
) -> None:
    """Raises BadInput where the graph does not answer as the fitted family does, on many rows at once or on one."""
    crafted = train.crafted(encoding, test, family.edges(trained.state))
    for table, raw in ((test, trained.test), (crafted, trained.parity)):
        if raw.shape != (len(table), WIDTH):
            raise BadInput(
                f"{train.FITTED} holds scores of {len(raw):,} rows, where {len(table):,} are compared; run `make model`"
            )
        expected = train.probability(raw)
        for part, right in ((table, expected), (table[-1:], expected[-1:])):
            gap = np.abs(scorer.predict(part) - right)
            if not gap.max() <= tolerance:  # NaN too
                from pipeline.personal import shown

                worst = part[int(np.nan_to_num(gap, nan=np.inf).argmax())].select(c.name for c in scorer.inputs)
                raise BadInput(
                    f"{MODEL}: the exported graph differs from the fitted {scorer.family} by {gap.max():.2g} (at most "
                    f"{tolerance:g} is allowed), most on {shown(worst.row(0, named=True)) or 'a row that is not shown'}"
                    "; `graph` has to do what `raw` does"
                )


if __name__ == "__main__":
    run_stage(main)
