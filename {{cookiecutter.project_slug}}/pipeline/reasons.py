"""The reasons for single answers: what each input adds to a row's point. On the graph, of any task and family.

An explanation is of the model, not of the world.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.model import Model
from pipeline.tasks import Array, Task

Table = dict[str, np.ndarray]  # the model's inputs [rows], as its graph takes them: float64, or objects of a category


def contributions(
    scorer: Model,
    task: Task,
    table: Table,
    background: Table,
    draws: int,
    rng: np.random.Generator,
    inputs: Sequence[str] | None = None,
) -> Array:
    """What each input adds to each row's point, from that of ordinary rows on; float64 [rows, inputs].

    Where there are several classes, it is the point of the class that the row is answered with. Only `inputs` are told,
    where they are given: the others are as they are in the row.

    Shapley values by sampling (Štrumbelj and Kononenko, Explaining prediction models and individual predictions with
    feature contributions, 2014): from a random background row to the row itself, one input after the other in a
    random order; what the score moves by is that input's. A row's sum is its score less the mean of where it began.
    """
    names, size = list(table if inputs is None else inputs), len(next(iter(table.values())))
    steps, total = np.arange(len(names) + 1)[:, None], np.zeros((size, len(names)))
    ordinary, about = len(next(iter(background.values()))), task.about(scorer.predict(table))
    every = None if about is None else np.tile(about, len(names) + 1)
    for _ in range(draws):
        order = rng.permutation(len(names))
        begin = rng.integers(ordinary, size=size)
        turn = np.argsort(order) + 1  # of each input: the step from which on it is the row's own
        kept = {name: np.tile(values, len(names) + 1) for name, values in table.items() if name not in names}
        mixed = kept | {
            name: np.where(steps >= turn[at], table[name], background[name][begin]).ravel()  # [steps, rows]
            for at, name in enumerate(names)
        }
        points = task.point(scorer.predict(mixed), every).reshape(len(names) + 1, size)
        total[:, order] += np.diff(points, axis=0).T
    return total / draws
