"""Write the model directory: the fitted network as an ONNX graph that takes raw feature rows; and how it was fitted."""

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline import model, params, rows
from pipeline.params import BadInput, run_stage
from pipeline.schema import Column, feature_row
from pipeline.train import NETWORK, TRAINING, Network, tensors

MODEL = Path("model")
REPORT = Path("reports/training.json")
EPOCHS = 1000  # of which a report says something, at most
TOLERANCE = 1e-5  # between the probabilities of the graph and of the network


def fitted() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights, and how they were fitted. Raises BadInput for a damaged file: it may come from elsewhere."""
    try:
        with safe_open(NETWORK, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
            about = json.loads((file.metadata() or {})[TRAINING])
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise BadInput(f"{NETWORK} is no network of the stage `train` ({said}); run `make model`") from None
    if not is_training(about):
        raise BadInput(
            f"{NETWORK}: what its metadata says of the training is not as the stage `train` writes it: 1 to {EPOCHS} "
            "epochs with their number and loss; run `make model`"
        )
    return weights, about


def is_training(about: Any) -> bool:
    """Whether it is what the stage `train` says of itself: finite numbers by epoch, and words of a sane length."""
    if not isinstance(about, dict) or not isinstance(epochs := about.get("epochs"), list):
        return False
    said = [value for name, value in about.items() if name not in ("epochs", "device")]
    fitted_by_epoch = 0 < len(epochs) <= EPOCHS and all(
        isinstance(epoch, dict) and {"epoch", "loss"} <= epoch.keys() and all(map(is_number, epoch.values()))
        for epoch in epochs
    )
    return fitted_by_epoch and all(map(is_number, said)) and str(about.get("device", "cpu")).isidentifier()


def is_number(value: Any) -> bool:
    """Whether it is a number, which is what JSON's NaN and the infinities are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def rebuilt(weights: Mapping[str, Tensor], inputs: Sequence[Column], knobs: Mapping[str, Any]) -> Network:
    """The network of these weights. Raises BadInput where they are those of another one."""
    try:
        names, pieces = [column.name for column in inputs], len(weights["column"])
        network = Network(names, knobs["features"]["windows"], pieces, knobs["train"]["hidden"])
        network.load_state_dict(dict(weights))
    except (KeyError, TypeError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise BadInput(f"{NETWORK} does not fit params.yaml ({said}); run `make model`") from None
    return network.eval()


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
    """Write model/, check it on the test rows and on extreme ones, and write how the network was fitted."""
    knobs = params.load()
    inputs = feature_row(knobs["features"]["windows"])
    weights, about = fitted()
    network = rebuilt(weights, inputs, knobs)
    digest = model.write(MODEL, runtime="onnx", inputs=inputs, files={"model.onnx": graph(network)})
    scorer = model.load(MODEL)
    for table in (rows.between(*params.days(knobs).test), extremes(inputs)):
        check(scorer, network, table)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(about, indent=2) + "\n")
    print(f"{MODEL}: {digest}")


if __name__ == "__main__":
    run_stage(main)
