"""Write the model directory: the fitted network as an ONNX graph that takes raw feature rows."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import torch
from safetensors.torch import load_file

from pipeline import model, params, rows
from pipeline.params import BadInput, run_stage
from pipeline.schema import Column, feature_row
from pipeline.train import NETWORK, Network, tensors

MODEL = Path("model")
TOLERANCE = 1e-5  # between the probabilities of the graph and of the network


def graph(network: Network) -> bytes:
    """The network as ONNX: a float32 input [batch] a column, the output `score` [batch].

    The same weights give the same bytes in every folder: nothing is noted of where the code lies.
    """
    names = list(network.inputs)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that traces: 0.2 s, where the one by torch.export takes 5 s; torch is pinned, `check` compares.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            tuple(torch.zeros(2) for _ in names),
            file,
            dynamo=False,
            opset_version=18,
            input_names=names,
            output_names=[model.OUTPUT],
            dynamic_axes={name: {0: "batch"} for name in (*names, model.OUTPUT)},
        )
    onnx.checker.check_model(onnx.load_from_string(file.getvalue()), full_check=True)
    return file.getvalue()


def extremes(inputs: Sequence[Column]) -> pl.DataFrame:
    """Rows at the ends of every column's range, and all columns at an end at once: [2 + 2 * columns]."""
    lowest = {column.name: -1e6 if column.minimum is None else column.minimum for column in inputs}
    highest = {column.name: 1e6 if column.maximum is None else column.maximum for column in inputs}
    single = [lowest | {name: highest[name]} for name in highest] + [highest | {name: lowest[name]} for name in lowest]
    return pl.DataFrame([lowest, highest, *single], schema={column.name: pl.Float64 for column in inputs})


def check(scorer: model.Model, network: Network, table: pl.DataFrame) -> None:
    """Raises BadInput where the graph does not answer as the network does, on many rows at once or on one."""
    with torch.no_grad():
        expected = network(*tensors(table, network.inputs, torch.device("cpu"))).numpy()
    for part, right in ((table, expected), (table[-1:], expected[-1:])):
        gap = np.abs(scorer.predict(part) - right)
        if not gap.max() < TOLERANCE:  # NaN too
            worst = part[int(np.nan_to_num(gap, nan=np.inf).argmax())].select(network.inputs).row(0, named=True)
            raise BadInput(
                f"{MODEL}: the exported graph differs from the fitted network by {gap.max():.2g} "
                f"(at most {TOLERANCE:g} is allowed), most on {worst}; the network's forward has to be traceable"
            )


def main() -> None:
    """Write model/, and check it on the test rows and on extreme ones."""
    knobs = params.load()
    windows = knobs["features"]["windows"]
    inputs = feature_row(windows)
    weights = load_file(NETWORK)
    network = Network([column.name for column in inputs], windows, len(weights["column"]), knobs["train"]["hidden"])
    network.load_state_dict(weights)
    digest = model.write(MODEL, runtime="onnx", inputs=inputs, files={"model.onnx": graph(network.eval())})
    scorer = model.load(MODEL)
    for table in (rows.between(*params.days(knobs).test), extremes(inputs)):
        check(scorer, network, table)
    print(f"{MODEL}: {digest}")


if __name__ == "__main__":
    run_stage(main)
