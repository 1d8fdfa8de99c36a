"""Fit the network: a perceptron over piecewise linear encodings of the feature row and of what follows from it.

The transformation is a part of the network, so whoever runs the exported graph gives it raw feature rows.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from pipeline import params, rows
from pipeline.params import BadInput, run_stage
from pipeline.schema import LABEL, derived, feature_row

NETWORK = Path("build/network.safetensors")
TRAINING = "training"  # in the file's metadata: how the loss fell, as JSON

Knobs = Mapping[str, Any]  # the block `train` of params.yaml


class Network(nn.Module):
    """Gives the probability that the label is 1.

    Each column, given or derived, is cut into pieces with about as many rows in each; a piece's value is how far the
    column's reaches into it, from 0 below it to 1 above it. So the first layer starts from steps and slopes where the
    rows are, whatever the column's scale: Gorishniy et al., On Embeddings for Numerical Features in Tabular Deep
    Learning (2022), section 3.2.
    """

    def __init__(self, inputs: Sequence[str], windows: Sequence[int], pieces: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.inputs, self.windows = tuple(inputs), tuple(windows)
        self.register_buffer("column", torch.zeros(pieces, dtype=torch.int64))  # whose piece it is
        self.register_buffer("lower", torch.zeros(pieces))  # where it begins
        self.register_buffer("slope", torch.ones(pieces))  # 1 / its length
        widths = [pieces, *hidden]
        layers = [layer for i, o in zip(widths, hidden, strict=False) for layer in (nn.Linear(i, o), nn.SiLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, *columns: Tensor) -> Tensor:
        """Probabilities [batch] of the raw columns, float32 [batch] each, in the order of `inputs`."""
        return torch.sigmoid(self.logits(widen(columns, self.inputs, self.windows)))

    def logits(self, table: Tensor) -> Tensor:
        """Log odds [batch]."""
        pieces = table.index_select(1, self.column).sub_(self.lower).mul_(self.slope).clamp_(0, 1)
        return self.layers(pieces).squeeze(1)


def widen(columns: Sequence[Tensor], inputs: Sequence[str], windows: Sequence[int]) -> Tensor:
    """The raw columns and what `schema.derived` makes of them: [rows, all columns]."""
    row = {name: column.unsqueeze(1) for name, column in zip(inputs, columns, strict=True)}
    return torch.cat([*row.values(), *derived(row, windows).values()], dim=1)


def cut(table: Tensor, label: Tensor, pieces: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut each column [rows, columns] at quantiles: the pieces' columns, lower ends and slopes, [all pieces] each.

    Quantiles of as many negative rows as there are positive ones: half of the cuts lie where the positives are.
    Equal quantiles are one cut, so a flag has one piece and a constant none.
    """
    positive, negative = table[label == 1], table[label == 0]
    balanced = torch.cat([positive, negative[:: max(len(negative) // len(positive), 1)]])
    share = torch.linspace(0, 1, pieces + 1, device=table.device)
    parts = []
    for number, values in enumerate(balanced.T):
        edges = torch.unique(values.sort().values[(share * (len(values) - 1)).round().long()])
        apart = edges.diff() > 1e-5 * (edges[-1] - edges[0])  # what rounding makes of equal values is one value
        edges = torch.cat([edges[:1], edges[1:][apart]])
        parts.append((torch.full_like(edges[1:], number, dtype=torch.int64), edges[:-1], 1 / edges.diff()))
    column, lower, slope = (torch.cat(part) for part in zip(*parts, strict=True))
    return column, lower, slope


def build(
    columns: Sequence[Tensor], label: Tensor, inputs: Sequence[str], windows: Sequence[int], knobs: Knobs
) -> Network:
    """A network with its pieces cut and its weights drawn, on the device of the columns, float32 [rows] each."""
    torch.manual_seed(knobs["seed"])
    pieces = cut(widen(columns, inputs, windows), label, knobs["pieces"])
    network = Network(inputs, windows, len(pieces[0]), knobs["hidden"])
    with torch.no_grad():
        network.layers[-1].bias.fill_(torch.logit(label.mean()))  # the first guess: the share of positives
    network.to(label.device)
    network.column, network.lower, network.slope = pieces
    return network


def fit(network: Network, columns: Sequence[Tensor], label: Tensor, knobs: Knobs) -> Iterator[dict[str, float]]:
    """Fit the network in place; yields each epoch's number and mean loss as it ends.

    All rows stay on the device, shuffled at once, and a batch is a view of them. AdamW (Loshchilov and Hutter, 2019)
    with one cycle of the learning rate (Smith and Topin, 2018).
    """
    table, size = widen(columns, network.inputs, network.windows), len(label)
    steps = -(-size // knobs["batch"]) * knobs["epochs"]
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=knobs["weight_decay"], fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, knobs["learning_rate"], total_steps=steps, pct_start=0.1)
    with tqdm(total=size * knobs["epochs"], unit=" rows", unit_scale=True, disable=None) as progress:
        for epoch in range(1, knobs["epochs"] + 1):
            total = torch.zeros((), device=label.device)
            order = torch.randperm(size).to(label.device)
            for x, y in zip(table[order].split(knobs["batch"]), label[order].split(knobs["batch"]), strict=True):
                loss = binary_cross_entropy_with_logits(network.logits(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.detach() * len(y)
                progress.update(len(y))
            yield {"epoch": epoch, "loss": total.item() / size}


def device() -> torch.device:
    """Where to train: what DEVICE names, or cuda, mps or cpu, whatever is there. Raises BadInput for what is not."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = os.environ.get("DEVICE") or next(kind for kind, found in there.items() if found)
    if not there.get(name):
        found = ", ".join(kind for kind in there if there[kind])
        raise BadInput(f"DEVICE is {name!r}, which is not on this machine; unset it, or set one of: {found}")
    return torch.device(name)


def tensors(table: pl.DataFrame, names: Sequence[str], where: torch.device) -> tuple[Tensor, ...]:
    """The named columns as float32 [rows] each."""
    return tuple(torch.from_numpy(table[name].cast(pl.Float32).to_numpy(writable=True)).to(where) for name in names)


def main() -> None:
    """Write the fitted weights, and with them how the loss fell."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only so
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # and MKL only so on any number of threads
    torch.use_deterministic_algorithms(True)
    knobs = params.load()
    windows, where = knobs["features"]["windows"], device()
    names = [column.name for column in feature_row(windows)]
    table = rows.between(*params.days(knobs).train)
    (label,) = tensors(table, [LABEL], where)
    if not 0 < label.sum() < len(label):
        raise BadInput(f"the training days hold one value of {LABEL} only; move data.until or lengthen split.train")
    columns = tensors(table, names, where)
    network = build(columns, label, names, windows, knobs["train"])
    epochs = []
    for epoch in fit(network, columns, label, knobs["train"]):
        print("epoch {epoch}: loss {loss:.5f}".format(**epoch), flush=True)
        epochs.append(epoch)
    about = {
        "device": where.type,
        "rows": len(label),
        "pieces": len(network.column),
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "epochs": epochs,
    }
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    NETWORK.parent.mkdir(exist_ok=True)
    NETWORK.write_bytes(save(weights, {TRAINING: json.dumps(about)}))  # one key: several come in a random order


if __name__ == "__main__":
    run_stage(main)
