"""Rows a second of the training on a CPU, beside the same network in a textbook DataLoader loop, same batch size."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

BAKE = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}"
DAYS, ROWS = 15, 100_000  # simulated, and kept of them
BAR = 5


def rows() -> Iterator[dict[str, Any]]:
    """The median of three turns each, of one epoch, in a process of its own: loading the data is not counted."""
    environment = os.environ | {
        "PYTHONPATH": str(BAKE),
        "OMP_WAIT_POLICY": "passive",
        "DEVICE": "cpu",
        "TQDM_DISABLE": "1",
    }
    done = subprocess.run([sys.executable, __file__], cwd=BAKE, env=environment, check=True, stdout=subprocess.PIPE)
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
    import numpy as np
    import torch
    from pipeline import contract, encode, params, simulate
    from pipeline.families import network
    from pipeline.rows import LABEL, made
    from torch.utils.data import DataLoader, TensorDataset

    ours, everything, cpu = contract.load(), params.load(), torch.device("cpu")
    knobs = everything["families"]["network"] | {"epochs": 1}
    first = date.fromisoformat(everything["simulate"]["start"])
    source = simulate.days(first, first + timedelta(days=DAYS - 1), everything["simulate"])
    table = made(source, ours, everything["features"]).head(ROWS)
    derive = encode.derivation(ours, everything["features"])
    inputs = tuple(encode.learned(column, table[column.name]) for column in ours.inputs)
    rows = encode.Encoding(inputs, derive, tuple(encode.derived_names(derive, ours))).matrix(table)
    target, weight = table[LABEL].to_numpy(), np.ones(len(table))
    network.repeatable()
    state = network.cut(rows, network.balanced(target, "logistic", 1), knobs["pieces"])
    guess = network.first_guess(target, weight, "logistic", 1)

    def fit() -> None:
        list(network.steps(state, learned, rows, target, weight, "logistic", knobs, cpu))

    def textbook() -> None:
        pieces = {name: torch.from_numpy(state[name]) for name in ("column", "lower", "slope")}
        nothing = torch.zeros(knobs["batch"], 0, dtype=torch.int64)  # categories
        optimizer = torch.optim.Adam([value for value in learned.values() if value.numel()], lr=knobs["learning_rate"])
        loss_of = torch.nn.BCELoss()
        narrow = torch.from_numpy(network.narrowed(state, rows.values))
        data = TensorDataset(narrow, torch.from_numpy(target).float())
        for x, y in DataLoader(data, batch_size=knobs["batch"], shuffle=True):
            optimizer.zero_grad()
            raw = network.forward(learned, network.reached(pieces, x), nothing[: len(x)])
            loss = loss_of(torch.sigmoid(raw.squeeze(1)), y)
            loss.backward()
            optimizer.step()

    speeds: dict[Any, list[float]] = {fit: [], textbook: []}
    for _ in range(3):
        for turn in speeds:
            torch.manual_seed(knobs["seed"])
            learned = network.drawn(state, rows, guess, knobs["hidden"], cpu)
            start = perf_counter()
            turn()
            speeds[turn].append(len(table) / (perf_counter() - start))
    return sorted(speeds[fit])[1], sorted(speeds[textbook])[1]


if __name__ == "__main__":
    print(json.dumps(measured()))
