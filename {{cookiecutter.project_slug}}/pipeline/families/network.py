"""The family `network`: a perceptron over piecewise linear encodings of the numbers and embeddings of the categories.

The state is a safetensors file, and says all that the graph needs; torch is needed to fit, and to score while training.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.families import (
    AGAIN,
    Array,
    Fitted,
    Loss,
    Matrix,
    Var,
    columns_of,
    counted,
    moments,
    read,
    shares,
    unread,
)
from pipeline.params import BadInput

if TYPE_CHECKING:
    import torch

NEEDS = ("torch", "safetensors", "tqdm")

EMBEDDING = 8  # numbers that stand for a level
STEPS = 16  # an epoch has at least so many: a table smaller than `batch` would hardly be learned from
CHUNK = 8192  # rows that are scored at once
# What rounding makes of equal values is one value, and a slope fits into float32.
APART, LEAST = 1e-5, 1e-30
LAYERS = "layers.{}.{}"
NUMBERS, PLACES, SINGLE = ("fill", "first", "scale"), ("column", "flag", "category", "offset"), ("lower", "slope")
SHAPES = dict.fromkeys((*NUMBERS, *PLACES, *SINGLE), 1) | {"embedding": 2}
"""The state's tensors, but for the layers, and their dimensions."""
LABEL = {"mean": 1, "deviation": 1}
"""Further tensors of a squared loss: the label's, [width]. The layers are fitted to a standardised label, so that their
single precision is that of its spread, however far from zero it lies."""
TYPES = dict.fromkeys((*NUMBERS, *LABEL), np.float64) | dict.fromkeys(PLACES, np.int64)
"""Of those that are not float32."""

Tensors = Mapping[str, Array]


# --- what the rows become ---


def cut(rows: Matrix, looked: Array, pieces: int) -> dict[str, Array]:
    """Cuts each number into pieces with about as many rows in each: the state's tensors but for what is learned.

    A piece's value is how far the number reaches into it, from 0 below it to 1 above it. So the first layer starts from
    steps and slopes where the rows are, whatever the number's scale: Gorishniy et al., On Embeddings for Numerical
    Features in Tabular Deep Learning (2022), section 3.2. Quantiles of the rows `looked` at, their numbers. Equal
    quantiles are one cut, so a flag has one piece and a constant none.
    A missing number has a piece of its own, where the training rows have some; elsewhere it counts as the median.
    """
    numbers = [at for at in range(rows.values.shape[1]) if at not in rows.categories]
    edges = {at: edges_of(rows.values[looked, at], pieces) for at in numbers}
    columns = rows.values.shape[1]
    fill, first, scale, flag = np.zeros(columns), np.zeros(columns), np.ones(columns), []
    parts = [(np.zeros(0), np.zeros(0), np.zeros(0))]
    for at, ends in edges.items():
        there = np.isfinite(rows.values[:, at])
        if there.any():
            fill[at] = np.median(rows.values[there, at])
            flag += [at] if np.isnan(rows.values[:, at]).any() else []
        if len(ends) > 1:
            first[at], scale[at] = ends[0], 1 / (ends[-1] - ends[0])
            unit = (ends - ends[0]) * scale[at]
            parts.append((np.full(len(ends) - 1, at), unit[:-1], 1 / np.diff(unit)))
    parts.append((columns + np.arange(len(flag)), np.zeros(len(flag)), np.ones(len(flag))))
    if not rows.categories and not sum(len(part[0]) for part in parts):  # nothing varies: one piece, of any column
        parts.append((np.zeros(1), np.zeros(1), np.ones(1)))
    column, lower, slope = (np.concatenate(part) for part in zip(*parts, strict=True))
    codes = list(rows.categories.values())
    return {
        "fill": fill,  # by column: what a missing number counts as
        "first": first,  # by column: where its pieces begin
        "scale": scale,  # by column: 1 / the length of them all, which is the unit of what follows
        "column": column.astype(np.int64),  # whose piece it is
        "lower": lower.astype(np.float32),  # where it begins
        "slope": slope.astype(np.float32),  # 1 / its length
        "flag": np.array(flag, dtype=np.int64),  # the columns whose missing numbers are a column more, of 0 and 1
        "category": np.array(list(rows.categories), dtype=np.int64),  # the columns that are codes
        "offset": np.cumsum([0, *codes])[:-1].astype(np.int64),  # where their embeddings begin
    }


def balanced(target: Array, loss: Loss, width: int) -> Array:
    """Numbers of rows, about as many of each label: as many cuts lie where a rare one is. All rows, if it is a number.

    Of a class with too few, some stand there more than once.
    """
    if loss == "squared":
        return np.arange(len(target))
    if loss == "softmax":
        share = -(-len(target) // width)
        each = (np.flatnonzero(target == code) for code in range(width))
        return np.concatenate([own[np.arange(share) * len(own) // share] for own in each])
    few, many = sorted((np.flatnonzero(target == 1), np.flatnonzero(target == 0)), key=len)
    return np.concatenate([few, many[:: max(len(many) // max(len(few), 1), 1)]])


def edges_of(values: Array, pieces: int) -> Array:
    """The ends of a number's pieces, one more than there are pieces; float64, none where no value is finite."""
    values = np.sort(values[np.isfinite(values)])
    if not len(values):
        return values
    edges = np.unique(values[np.rint(np.linspace(0, 1, pieces + 1) * (len(values) - 1)).astype(int)])
    apart = np.diff(edges) > max(APART * (edges[-1] - edges[0]), LEAST)
    return edges[np.concatenate([[True], apart])]


def width_of(state: Tensors) -> int:
    """What the first layer takes."""
    return len(state["column"]) + EMBEDDING * len(state["category"])


# --- fitting ---


def fit(rows: Matrix, target: Array, weight: Array, loss: Loss, width: int, knobs: Mapping[str, Any]) -> Fitted:
    """A network, fitted on the device that DEVICE names, else on what is there. Raises BadInput where it is not."""
    torch = repeatable()
    where = device()
    rows, target, weight = counted(rows, target, weight)
    weight = weight / weight.mean()
    state = cut(rows, balanced(target, loss, width), knobs["pieces"])
    if loss == "squared":
        mean, deviation = moments(target, weight)
        target = (target - mean) / deviation
        state |= {"mean": np.full(width, mean), "deviation": np.full(width, deviation)}
    torch.manual_seed(knobs["seed"])
    learned = drawn(state, rows, first_guess(target, weight, loss, width), knobs["hidden"], where)
    epochs = []
    for epoch in steps(state, learned, rows, target, weight, loss, knobs, where):
        print("epoch {epoch}: loss {loss:.5f}".format(**epoch), flush=True)
        epochs.append(epoch)
    from safetensors.numpy import save

    values = {name: np.ascontiguousarray(value.detach().cpu().numpy()) for name, value in learned.items()}
    about = {
        "device": where.type,
        "pieces": len(state["column"]),
        "parameters": sum(value.size for value in values.values()),
        "epochs": epochs,
    }
    return Fitted(save(state | values), about)


def repeatable() -> Any:
    """torch, told to give the same bits each time."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only so
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # and MKL only so on any number of threads
    import torch

    torch.use_deterministic_algorithms(True)
    return torch


def device() -> "torch.device":
    """Where to train: what DEVICE names, or cuda, mps or cpu, whatever is there. Raises BadInput for what is not."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = os.environ.get("DEVICE") or next(kind for kind, found in there.items() if found)
    if not there.get(name):
        found = ", ".join(kind for kind in there if there[kind])
        raise BadInput(f"DEVICE is {name!r}, which is not on this machine; unset it, or set one of: {found}")
    return torch.device(name)


def first_guess(target: Array, weight: Array, loss: Loss, width: int) -> Array:
    """What is said of any row before anything is learned, by the shares of the classes: float64 [width]."""
    if loss == "squared":
        return np.zeros(width)  # the mean of a standardised label
    if loss == "softmax":
        return np.log(shares(target, weight, width))
    share = float(np.average(target, weights=weight))
    return np.full(width, np.log(share / (1 - share)))


def drawn(
    state: Tensors, rows: Matrix, guess: Array, hidden: Sequence[int], where: "torch.device"
) -> "dict[str, torch.Tensor]":
    """What is learned, as it starts: from the first guess [width], and a level without rows counts 0."""
    import torch

    widths = [width_of(state), *hidden, len(guess)]
    learned: dict[str, torch.Tensor] = {}
    for number, (taken, given) in enumerate(zip(widths, widths[1:], strict=False)):
        layer = torch.nn.Linear(taken, given)
        learned |= {LAYERS.format(number, name): value for name, value in layer.state_dict().items()}
    learned[LAYERS.format(len(hidden), "bias")].copy_(torch.from_numpy(guess))
    embedding = (
        0.1 * torch.randn(sum(rows.categories.values()), EMBEDDING) if rows.categories else torch.zeros(0, EMBEDDING)
    )
    for column, offset in zip(state["category"], state["offset"], strict=True):
        codes = rows.categories[int(column)]
        there = np.bincount(rows.values[:, column].astype(int), minlength=codes) > 0
        embedding[offset : offset + codes][~torch.from_numpy(there)] = 0
    learned["embedding"] = embedding
    return {name: value.detach().to(where).requires_grad_() for name, value in learned.items()}


def steps(
    state: Tensors,
    learned: "Mapping[str, torch.Tensor]",
    rows: Matrix,
    target: Array,
    weight: Array,
    loss: Loss,
    knobs: Mapping[str, Any],
    where: "torch.device",
) -> Iterator[dict[str, float]]:
    """Fits what is learned in place; yields each epoch's number and mean loss as it ends.

    All rows stay on the device, shuffled at once, and a batch is a view of them. AdamW (Loshchilov and Hutter, 2019)
    with one cycle of the learning rate (Smith and Topin, 2018).
    """
    import torch
    from tqdm import tqdm

    table = torch.from_numpy(narrowed(state, rows.values)).to(where)
    codes = torch.from_numpy(rows.values[:, state["category"]].astype(np.int64) + state["offset"]).to(where)
    pieces = {name: torch.from_numpy(state[name]).to(where) for name in ("column", "lower", "slope")}
    both = torch.from_numpy(np.stack([target, weight], axis=1).astype(np.float32)).to(where)
    size, batch = len(target), min(knobs["batch"], max(len(target) // STEPS, 1))
    number = -(-size // batch) * knobs["epochs"]
    weights = [value for value in learned.values() if value.numel()]
    optimizer = torch.optim.AdamW(weights, weight_decay=knobs["weight_decay"], fused=True)
    # torch divides by zero where the first tenth is one step exactly.
    cycle = {"total_steps": max(number, STEPS), "pct_start": 0.1}
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, knobs["learning_rate"], **cycle)
    with tqdm(total=size * knobs["epochs"], unit=" rows", unit_scale=True, disable=None) as progress:
        for epoch in range(1, knobs["epochs"] + 1):
            total = torch.zeros((), device=where)
            order = torch.randperm(size).to(where)
            for x, c, y in zip(*(part[order].split(batch) for part in (table, codes, both)), strict=True):
                raw = forward(learned, reached(pieces, x), c)
                mean = LOSSES[loss](raw, y[:, 0], y[:, 1])
                optimizer.zero_grad()
                mean.backward()
                optimizer.step()
                schedule.step()
                total += mean.detach() * len(y)
                progress.update(len(y))
            yield {"epoch": epoch, "loss": total.item() / size}


def log_odds_loss(raw: "torch.Tensor", target: "torch.Tensor", weight: "torch.Tensor") -> "torch.Tensor":
    """The mean cross-entropy of log odds [rows, 1]."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(raw.squeeze(1), target, weight=weight)


def logits_loss(raw: "torch.Tensor", target: "torch.Tensor", weight: "torch.Tensor") -> "torch.Tensor":
    """The mean cross-entropy of logits [rows, width]."""
    from torch.nn.functional import cross_entropy

    return (weight * cross_entropy(raw, target.long(), reduction="none")).mean()


def squared_loss(raw: "torch.Tensor", target: "torch.Tensor", weight: "torch.Tensor") -> "torch.Tensor":
    """The mean squared error of what is expected [rows, 1]."""
    return (weight * (raw.squeeze(1) - target) ** 2).mean()


LOSSES = {"logistic": log_odds_loss, "softmax": logits_loss, "squared": squared_loss}


def narrowed(state: Tensors, values: Array) -> Array:
    """Each number in the unit of its pieces, and which of the flagged are missing: float32 [rows, columns + flags].

    Half the memory of the rows; from 0 to 1 where the pieces are.
    """
    columns = values.shape[1]
    narrow = np.empty((len(values), columns + len(state["flag"])), dtype=np.float32)
    with np.errstate(over="ignore"):  # what lies far beyond the pieces is infinite, and infinite is beyond them too
        for at in range(columns):  # one at a time: a second table of doubles would not be narrow
            filled = np.where(np.isnan(values[:, at]), state["fill"][at], values[:, at])
            narrow[:, at] = (filled - state["first"][at]) * state["scale"][at]
    narrow[:, columns:] = np.isnan(values[:, state["flag"]])
    return narrow


def reached(pieces: "Mapping[str, torch.Tensor]", narrow: "torch.Tensor") -> "torch.Tensor":
    """How far the numbers reach into the pieces: float32 [rows, pieces]."""
    return narrow.index_select(1, pieces["column"]).sub_(pieces["lower"]).mul_(pieces["slope"]).clamp_(0, 1)


def forward(learned: "Mapping[str, torch.Tensor]", pieces: "torch.Tensor", codes: "torch.Tensor") -> "torch.Tensor":
    """What the network says of pieces float32 [rows, pieces] and codes int64 [rows, categories]: [rows, width]."""
    import torch
    from torch.nn.functional import embedding, linear, silu

    if codes.shape[1]:
        pieces = torch.cat([pieces, embedding(codes, learned["embedding"]).flatten(1)], dim=1)
    layers = depth(learned)
    for number in range(layers):
        pieces = linear(pieces, learned[LAYERS.format(number, "weight")], learned[LAYERS.format(number, "bias")])
        pieces = silu(pieces) if number < layers - 1 else pieces
    return pieces


# --- scoring ---


def raw(state: bytes, rows: Matrix, loss: Loss, width: int) -> Array:
    """What the loss asks for, float64 [rows, width]."""
    torch = repeatable()
    known = loaded(state)
    tensors = {name: torch.from_numpy(value) for name, value in known.items()}
    parts = [np.empty((0, width))]
    with torch.no_grad():
        for start in range(0, len(rows.values), CHUNK):
            values = rows.values[start : start + CHUNK]
            codes = torch.from_numpy(values[:, known["category"]].astype(np.int64) + known["offset"])
            narrow = reached(tensors, torch.from_numpy(narrowed(known, values)))
            parts.append(forward(tensors, narrow, codes).double().numpy())
    found = np.concatenate(parts)
    return found * known["deviation"] + known["mean"] if loss == "squared" else found


def graph(state: bytes, rows: Var, categories: Mapping[int, int], loss: Loss, width: int) -> Var:
    """The same, of a double tensor [rows, columns]. Raises BadInput for the state of another network."""
    import spox.opset.ai.onnx.v18 as op

    known = checked(loaded(state), columns_of(rows), categories, loss, width)
    part = {name: op.const(known[name]) for name in SHAPES}
    filled = op.where(op.isnan(rows), part["fill"], rows)
    narrow = op.cast(op.mul(op.sub(filled, part["first"]), part["scale"]), to=np.float32)
    if len(known["flag"]):
        flags = op.cast(op.isnan(op.gather(rows, part["flag"], axis=1)), to=np.float32)
        narrow = op.concat([narrow, flags], axis=1)
    inside = op.mul(op.sub(op.gather(narrow, part["column"], axis=1), part["lower"]), part["slope"])
    parts = [op.clip(inside, op.const(np.float32(0)), op.const(np.float32(1)))]
    if len(known["category"]):
        codes = op.cast(op.gather(rows, part["category"], axis=1), to=np.int64)
        levels = op.gather(part["embedding"], op.add(codes, part["offset"]), axis=0)
        parts.append(op.flatten(levels, axis=1))
    found = op.concat(parts, axis=1) if len(parts) > 1 else parts[0]
    layers = depth(known)
    for number in range(layers):
        weight, bias = (op.const(known[LAYERS.format(number, name)]) for name in ("weight", "bias"))
        found = op.gemm(found, weight, bias, transB=1)
        found = op.mul(found, op.sigmoid(found)) if number < layers - 1 else found
    found = op.cast(found, to=np.float64)
    if loss == "squared":
        found = op.add(op.mul(found, op.const(known["deviation"])), op.const(known["mean"]))
    return found


def edges(state: bytes) -> Mapping[int, Array]:
    """Column: the ends of its pieces."""
    known = loaded(state)
    found = {}
    for at in (int(at) for at in np.unique(known["column"]) if at < len(known["scale"])):
        its = known["column"] == at
        unit = np.append(known["lower"][its].astype(np.float64), 1.0)
        found[at] = unit / known["scale"][at] + known["first"][at]
    return found


def loaded(state: bytes) -> dict[str, Array]:
    """The state's tensors. Raises BadInput where it is none of this family's: it may come from elsewhere."""
    tensors = read(state, "network")
    number = depth(tensors)
    named = {LAYERS.format(at, name): dim for at in range(number) for name, dim in (("weight", 2), ("bias", 1))}
    label = LABEL if LABEL.keys() <= tensors.keys() else {}
    dims = {name: value.ndim for name, value in tensors.items()}
    if number < 1 or dims != SHAPES | named | label or any(not np.isfinite(value).all() for value in tensors.values()):
        raise BadInput(f"{unread('network')}: it holds other tensors than the family writes; {AGAIN}")
    return tensors


def depth(known: Mapping[str, Any]) -> int:
    """How many layers there are."""
    return sum(name.endswith(".weight") for name in known)


def checked(
    known: dict[str, Array], columns: int, categories: Mapping[int, int], loss: Loss, width: int
) -> dict[str, Array]:
    """The tensors themselves. Raises BadInput where they do not fit one another, the encoding, or the loss."""
    codes = list(categories.values())
    weights = [known[LAYERS.format(at, "weight")] for at in range(depth(known))]
    biases = [known[LAYERS.format(at, "bias")] for at in range(len(weights))]
    widths = [width_of(known), *(len(weight) for weight in weights)]
    types = {name: TYPES.get(name, np.float32) for name in known}
    fits = (
        {name: value.dtype for name, value in known.items()} == types
        and len(known["fill"]) == len(known["first"]) == len(known["scale"]) == columns
        and len(known["column"]) == len(known["lower"]) == len(known["slope"])
        and (known["slope"] > 0).all()
        and (known["scale"] > 0).all()
        and within(known["flag"], columns)
        and within(known["column"], columns + len(known["flag"]))
        and known["category"].tolist() == list(categories)
        and known["offset"].tolist() == np.cumsum([0, *codes])[:-1].tolist()
        and known["embedding"].shape == (sum(codes), EMBEDDING)
        and [weight.shape[1] for weight in weights] == widths[:-1]
        and [len(bias) for bias in biases] == widths[1:]
        and widths[-1] == width
        and (LABEL.keys() <= known.keys()) is (loss == "squared")
        and all(len(known[name]) == width for name in LABEL if name in known)
    )
    if not fits:
        raise BadInput(f"{unread('network')}: it does not fit the encoding of the rows, or itself; {AGAIN}")
    return known


def within(places: Array, number: int) -> bool:
    """Whether they are places of so many."""
    return bool(((places >= 0) & (places < number)).all())
