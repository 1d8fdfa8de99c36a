"""Boosted trees: LightGBM, which finds thresholds of numbers, and sets of a category's levels, by itself.

Ke et al., LightGBM: A Highly Efficient Gradient Boosting Decision Tree (2017). The state is LightGBM's own text,
without its parameters; the graph is read from that text, so that it needs no LightGBM.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.families import AGAIN, Array, Fitted, Loss, Matrix, Var, columns_of, counted, moments, unread
from pipeline.params import BadInput

NEEDS = ("lightgbm",)

SMALL = 5_000_000  # values: with fewer one thread is as fast, and where the processors are busy ten times faster
CATEGORICAL, LEFT, MISSING_IS_NAN = 1, 2, 8  # bits of LightGBM's decision_type
AT_MOST, MEMBER = 0, 6  # modes of ONNX's TreeEnsemble
MANY = 50  # codes of a category: its sets are looked up beforehand
BITS = 4  # sets a looked-up number: onnxruntime tests a set within 1 to 30 at once, others a member at a time
HOLDING = [np.array([n for n in range(1 << BITS) if n >> bit & 1]) for bit in range(BITS)]  # numbers that have a bit
OBJECTIVES = {"logistic": "binary", "softmax": "multiclass", "squared": "regression"}
ZERO = float(np.float32(1e-35))  # LightGBM takes what is no further from 0 for 0


# --- fitting ---


def fit(rows: Matrix, target: Array, weight: Array, loss: Loss, width: int, knobs: Mapping[str, Any]) -> Fitted:
    """`trees` rounds, each of a tree a class for softmax. Raises BadInput for numbers that are too large.

    Row-wise histograms always: how they are made decides the last digits, and LightGBM would choose by the clock. For
    classes lambda_l2 is XGBoost's 1, of a row of the usual weight: the second derivatives of a class with one row in a
    thousand are next to nothing, so that without it a step leads far beyond all others, and the fit runs away.
    """
    lightgbm = library()
    rows, target, weight = counted(rows, target, weight)
    mean, deviation = moments(target, weight) if loss == "squared" else (0.0, 1.0)
    settings = {
        "objective": OBJECTIVES[loss],
        "num_class": width,
        "num_leaves": knobs["leaves"],
        "learning_rate": knobs["learning_rate"],
        "min_data_in_leaf": knobs["rows_in_leaf"],
        "lambda_l2": weight.mean() if loss == "softmax" else 0.0,
        "seed": knobs["seed"],
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1 if rows.values.size < SMALL else 0,
        "verbose": -1,
    }
    label = (target - mean) / deviation  # LightGBM keeps it in single precision, which has to be that of its spread
    table = lightgbm.Dataset(rows.values, label, weight=weight, categorical_feature=sorted(rows.categories))
    model = lightgbm.train(settings, table, knobs["trees"])
    if loss == "squared":
        unfold(model, mean, deviation)
    text, end, _ = model.model_to_string().partition("end of trees\n")
    state = (text + end).encode()
    return Fitted(state, {"trees": model.num_trees(), "leaves": sum(len(tree.leaves) for tree in trees(state))})


def unfold(model: Any, mean: float, deviation: float) -> None:
    """Turns leaves of a standardised label into those of the label itself.

    The last tree's have its mean: it is added once, to the sum of the others, and rounds no more than that.
    """
    found = trees(model.model_to_string().encode())
    for number, each in enumerate(found, 1):
        for leaf, value in enumerate(each.leaves.tolist()):
            model.set_leaf_output(number - 1, leaf, value * deviation + (mean if number == len(found) else 0))


def library() -> Any:
    """LightGBM. Raises BadInput where it cannot be loaded: it needs OpenMP of the machine, which no lock installs."""
    try:
        import lightgbm
    except OSError as error:
        raise BadInput(
            f"LightGBM cannot be loaded ({' '.join(str(error).split())[:200]}): install OpenMP, on Debian or Ubuntu "
            "by `apt-get install libgomp1`, on Fedora by `dnf install libgomp`, on macOS by `brew install libomp`; or "
            "take `trees` out of families in params.yaml"
        ) from None
    return lightgbm


def raw(state: bytes, rows: Matrix, loss: Loss, width: int) -> Array:
    """What the loss asks for, by LightGBM itself: float64 [rows, width]."""
    lightgbm = library()
    model = lightgbm.Booster(model_str=state.decode())
    return np.asarray(model.predict(rows.values, raw_score=True, num_threads=1)).reshape(-1, width)


# --- the graph ---


@dataclass(frozen=True)
class Tree:
    """A tree of LightGBM's text. A child is a node, or where negative the leaf ~child."""

    column: Array  # int64 [nodes]
    threshold: Array  # float64 [nodes]: a number up to it goes left
    levels: tuple[Array | None, ...]  # of a category: the codes that go left
    missing_left: Array  # bool [nodes]
    left: Array  # int64 [nodes]
    right: Array
    leaves: Array  # float64 [leaves]


def trees(state: bytes) -> list[Tree]:
    """The trees of LightGBM's text. Raises BadInput where it is none: it may come from elsewhere."""
    try:
        blocks = state.decode().split("\nTree=")[1:]
        found = [tree(dict(line.split("=", 1) for line in block.splitlines() if "=" in line)) for block in blocks]
    except (ValueError, IndexError, OverflowError) as error:
        raise BadInput(f"{unread('trees')} ({' '.join(str(error).split())[:200]}); {AGAIN}") from None
    if not found or not all(map(is_tree, found)):
        raise BadInput(f"{unread('trees')}: its text holds no trees, or what is no tree; {AGAIN}")
    return found


def is_tree(tree: Tree) -> bool:
    """Whether each node leads to later ones, or to leaves that are there. A threshold may be infinite."""
    nodes, leaves = len(tree.column), len(tree.leaves)
    sizes = {len(part) for part in (tree.threshold, tree.levels, tree.missing_left, tree.left, tree.right)}
    children, own = np.concatenate([tree.left, tree.right]), np.tile(np.arange(nodes), 2)
    inner = (children > own) & (children < nodes)
    outer = (children < 0) & (children >= -leaves)
    known = not np.isnan(tree.threshold).any() and np.isfinite(tree.leaves).all()
    return bool(leaves and sizes == {nodes} and known and (inner | outer).all() and (tree.column >= 0).all())


def tree(said: Mapping[str, str]) -> Tree:
    """A tree of its block. A number without missing values in training takes a missing one for 0, as LightGBM does."""
    kind, threshold = numbers(said, "decision_type", np.int64), numbers(said, "threshold")
    threshold = np.where(threshold == -ZERO, np.nextafter(-ZERO, -np.inf), threshold)  # below which its zero lies
    category = (kind & CATEGORICAL).astype(bool)
    left = np.where(kind & MISSING_IS_NAN, kind & LEFT, threshold >= 0).astype(bool) & ~category
    sets = sets_of(numbers(said, "cat_boundaries", np.int64), numbers(said, "cat_threshold", np.uint32))
    levels = tuple(sets[int(at)] if is_category else None for at, is_category in zip(threshold, category, strict=True))
    return Tree(
        column=numbers(said, "split_feature", np.int64),
        threshold=threshold,
        levels=levels,
        missing_left=left,
        left=numbers(said, "left_child", np.int64),
        right=numbers(said, "right_child", np.int64),
        leaves=numbers(said, "leaf_value"),
    )


def numbers(said: Mapping[str, str], name: str, kind: Any = np.float64) -> Array:
    """A line's numbers; none where it is not there, as in a tree of one leaf."""
    return np.array(said.get(name, "").split(), kind)


def sets_of(ends: Array, words: Array) -> list[Array]:
    """The codes of each set, which nodes share: a state of kilobytes must not become a table of nodes by codes.

    Raises ValueError where sets overlap.
    """
    if (np.diff(ends, prepend=0) < 0).any():
        raise ValueError("sets of levels overlap")
    return [members(words[start:end]) for start, end in pairwise(ends)]


def members(words: Array) -> Array:
    """The numbers of the bits that are set, 32 a word."""
    return np.flatnonzero(np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little"))


def graph(state: bytes, rows: Var, categories: Mapping[int, int], loss: Loss, width: int) -> Var:
    """The same, of a double tensor [rows, columns], exactly: one TreeEnsemble with sets of levels, double precision.

    A round has a tree for each of `width`. Raises BadInput for other trees, for those that look at columns that are not
    there, and for those that take a number for a category.
    """
    import spox.opset.ai.onnx.ml.v5 as ml

    found = trees(state)
    if len(found) % width:
        raise BadInput(f"{unread('trees')}: it has {len(found)} trees, which are no rounds of {width}; {AGAIN}")
    if not all(map(partial(fits, columns_of(rows), categories), found)):
        raise BadInput(f"{unread('trees')}: it does not fit the encoding of the rows; {AGAIN}")
    rows, found = looked_up(rows, categories, found)
    nodes = [list(together) for together in zip(*(node for each in found for node in nodes_of(each)), strict=True)]
    column, threshold, mode, missing, left, left_leaf, right, right_leaf = nodes
    inner = np.cumsum([0, *(max(len(each.column), 1) for each in found)])
    outer = np.cumsum([0, *(len(each.leaves) for each in found)])
    first = np.repeat(np.arange(len(found)), np.diff(inner))  # the tree of each node
    sets = [codes for each in found for codes in each.levels if codes is not None]
    return ml.tree_ensemble(
        rows,
        n_targets=width,
        leaf_targetids=np.repeat(np.arange(len(found)) % width, np.diff(outer)).tolist(),
        leaf_weights=np.concatenate([each.leaves for each in found]),
        membership_values=np.concatenate([[*codes, np.nan] for codes in sets]) if sets else None,
        nodes_featureids=column,
        nodes_splits=np.array(threshold, np.float64),
        nodes_modes=np.array(mode, np.uint8),
        nodes_missing_value_tracks_true=missing,
        nodes_truenodeids=(np.array(left) + np.where(left_leaf, outer[first], inner[first])).tolist(),
        nodes_trueleafs=left_leaf,
        nodes_falsenodeids=(np.array(right) + np.where(right_leaf, outer[first], inner[first])).tolist(),
        nodes_falseleafs=right_leaf,
        tree_roots=inner[:-1].tolist(),
    )


def looked_up(rows: Var, categories: Mapping[int, int], found: list[Tree]) -> tuple[Var, list[Tree]]:
    """The rows with further columns, and the trees that look at these for categories of many codes.

    Such a column packs BITS sets of a category, a bit each: whether the row's code is in them.
    """
    import spox.opset.ai.onnx.v18 as op

    sets: dict[int, dict[bytes, int]] = {at: {} for at, codes in sorted(categories.items()) if codes > MANY}
    for each in found:
        for column, codes in zip(each.column, each.levels, strict=True):
            if codes is not None and int(column) in sets:
                own = sets[int(column)]
                own.setdefault(codes.tobytes(), len(own))
    sets = {column: own for column, own in sets.items() if own}
    if not sets:
        return rows, found
    whole = op.cast(op.gather(rows, op.const(np.array(list(sets))), axis=1), to=np.int64)
    parts = [
        op.gather(op.const(packed(own, categories[column])), op.gather(whole, op.const(np.array(at)), axis=1), axis=0)
        for at, (column, own) in enumerate(sets.items())
    ]
    widths = [-(-len(own) // BITS) for own in sets.values()]
    starts = columns_of(rows) + np.cumsum([0, *widths[:-1]])
    first = dict(zip(sets, starts.tolist(), strict=True))
    wide = op.concat([rows, op.cast(op.concat(parts, axis=1), to=np.float64)], axis=1)
    return wide, [turned(each, sets, first) for each in found]


def packed(own: Mapping[bytes, int], codes: int) -> Array:
    """A category's table, uint8 [codes, columns]."""
    table = np.zeros((codes, -(-len(own) // BITS)), np.uint8)
    for members, number in own.items():
        table[np.frombuffer(members, np.int64), number // BITS] |= 1 << number % BITS
    return table


def turned(tree: Tree, sets: Mapping[int, Mapping[bytes, int]], first: Mapping[int, int]) -> Tree:
    """A tree that looks at the looked-up columns."""
    columns, levels = tree.column.copy(), list(tree.levels)
    for at, (column, codes) in enumerate(zip(tree.column.tolist(), tree.levels, strict=True)):
        if codes is not None and column in sets:
            number, bit = divmod(sets[column][codes.tobytes()], BITS)
            columns[at], levels[at] = first[column] + number, HOLDING[bit]
    return replace(tree, column=columns, levels=tuple(levels))


def fits(columns: int, categories: Mapping[int, int], tree: Tree) -> bool:
    """Whether a tree looks at the encoder's columns, sets of levels at categories alone, and at codes of these."""
    of_category = [codes is not None for codes in tree.levels]
    if (tree.column >= columns).any() or of_category != [int(at) in categories for at in tree.column]:
        return False
    sets = ((int(at), codes) for at, codes in zip(tree.column, tree.levels, strict=True) if codes is not None)
    return all(not len(codes) or codes[-1] < categories[at] for at, codes in sets)


def nodes_of(tree: Tree) -> Iterator[tuple[Any, ...]]:
    """Each node as TreeEnsemble has it; its children count from the tree's first node or leaf."""
    if not len(tree.column):  # a leaf alone: a node, both of whose branches lead to it
        yield 0, 0.0, AT_MOST, 0, 0, 1, 0, 1
    for at, codes in enumerate(tree.levels):
        children = [(int(~child), 1) if child < 0 else (int(child), 0) for child in (tree.left[at], tree.right[at])]
        mode, threshold = (AT_MOST, tree.threshold[at]) if codes is None else (MEMBER, 0.0)
        yield (int(tree.column[at]), threshold, mode, int(tree.missing_left[at]), *children[0], *children[1])


def edges(state: bytes) -> Mapping[int, Array]:
    """The thresholds of each number, but for infinity."""
    cuts: dict[int, list[float]] = {}
    for each in trees(state):
        for column, threshold, codes in zip(each.column, each.threshold, each.levels, strict=True):
            if codes is None and np.isfinite(threshold):
                cuts.setdefault(int(column), []).append(float(threshold))
    return {column: np.unique(values) for column, values in sorted(cuts.items())}
