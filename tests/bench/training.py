"""Rows a second of the training on a CPU, beside the same network in a textbook DataLoader loop, same batch size."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml

BAKE = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}"
ROWS = 100_000
BAR = 5


def rows() -> Iterator[dict[str, Any]]:
    """The median of three turns each, of one epoch, in a process of its own: loading the data is not counted."""
    environment = os.environ | {
        "PYTHONPATH": f"{BAKE}{os.pathsep}{BAKE / 'tests'}",
        "OMP_WAIT_POLICY": "passive",
        "DEVICE": "cpu",
        "TQDM_DISABLE": "1",
    }
    done = subprocess.run([sys.executable, __file__], env=environment, check=True, stdout=subprocess.PIPE)
    ours, theirs = json.loads(done.stdout)
    yield {
        "what": "training, beside a textbook DataLoader loop",
        "ours": ours,
        "theirs": theirs,
        "unit": "rows/s",
        "ratio": ours / theirs,
        "bar": f">= {BAR}",
        "reached": ours >= BAR * theirs,
    }


# --- in the process of its own ---


def measured() -> tuple[float, float]:
    """Rows a second: ours, and the textbook's."""
    import torch
    from pipeline import train
    from pipeline.schema import LABEL, feature_row
    from tables import feature_rows  # type: ignore[import-not-found]
    from torch.utils.data import DataLoader, TensorDataset

    params = yaml.safe_load((BAKE / "params.yaml").read_text())
    windows, knobs = params["features"]["windows"], params["train"] | {"epochs": 1}
    names = [column.name for column in feature_row(windows)]
    table, cpu = feature_rows(ROWS), torch.device("cpu")
    columns, (label,) = train.tensors(table, names, cpu), train.tensors(table, [LABEL], cpu)

    def ours() -> None:
        list(train.fit(network, columns, label, knobs))

    def textbook() -> None:
        optimizer = torch.optim.Adam(network.parameters(), lr=knobs["learning_rate"])
        loss_of = torch.nn.BCELoss()
        data = TensorDataset(torch.stack(columns, dim=1), label)
        for x, y in DataLoader(data, batch_size=knobs["batch"], shuffle=True):
            optimizer.zero_grad()
            loss = loss_of(network(*x.T), y)
            loss.backward()
            optimizer.step()

    speeds: dict[Any, list[float]] = {ours: [], textbook: []}
    for _ in range(3):
        for turn in speeds:
            network = train.build(columns, label, names, windows, knobs)
            start = perf_counter()
            turn()
            speeds[turn].append(ROWS / (perf_counter() - start))
    return sorted(speeds[ours])[1], sorted(speeds[textbook])[1]


if __name__ == "__main__":
    print(json.dumps(measured()))
