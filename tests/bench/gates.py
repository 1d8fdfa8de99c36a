"""How often the champion gate refuses: a model with nothing wrong, and one with a small real loss.

The real gate, policies/model.yaml with the knobs of a bake, in process: networks of the default recipe on a
smaller bank, compared on test weeks of further banks, which none has seen. Nothing is wrong where model and champion
are as good as each other by construction: for each card a coin says whose score the model gets, and the champion gets
the other's. Beside it, the same recipe with another seed. A loss is noise on a model's log odds; its size is the mean
fall of average precision over all weeks.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from itertools import combinations
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

BAKE = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}"
BANK = {"customers": 1500, "terminals": 3000, "radius": 5, "start": "2018-04-01"}
WINDOWS, DELAY, TRAIN, TEST = [1, 7], 7, 28, 7  # days
NETWORKS, WEEKS = 6, 20  # 15 pairs in each of 20 test weeks: 300 draws with nothing wrong
NOISES, DRAWS = (0.3, 0.5, 0.7, 1.0, 1.4), 3  # standard deviations in log odds; draws a week of each
RESAMPLES = 100  # fewer than policies/evaluation.yaml's: an interval that knows less of itself refuses more by chance


def rows() -> Iterator[dict[str, Any]]:
    """The share that is refused; of those with nothing wrong at most what the policy's confidence leaves."""
    found = apart(__name__)
    for what, refused in found["nothing wrong"].items():
        yield row(f"champion gate, nothing wrong, {what}", refused, found["stated"])
    for loss, refused in found["losses"]:
        yield row(f"champion gate, average precision {loss:.3f} lower", refused, None)


def apart(module: str) -> Any:
    """What a module's main prints, as JSON; run inside of the bake, with the bake's own code beside ours."""
    root = str(Path(__file__).parents[2])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([root, str(BAKE)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "TQDM_DISABLE": "1",
    }
    command = [sys.executable, "-m", module]
    done = subprocess.run(command, cwd=BAKE, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def row(what: str, refused: list[bool], stated: float | None) -> dict[str, Any]:
    """The share refused with its 95% interval, which has to lie within what the policy states."""
    low, high = wilson(sum(refused), len(refused))
    return {
        "what": f"{what}: {100 * low:.1f} to {100 * high:.1f}%",
        "ours": 100 * sum(refused) / len(refused),
        "theirs": None,
        "unit": f"% of {len(refused)}",
        "ratio": None,
        "bar": None if stated is None else f"<= {100 * stated:g}",
        "reached": stated is None or high <= stated,
    }


def wilson(hits: int, number: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share (Wilson, 1927)."""
    share, pull = hits / number, z * z / number
    middle, reach = share + pull / 2, z * sqrt(share * (1 - share) / number + pull / number / 4)
    return max((middle - reach) / (1 + pull), 0), (middle + reach) / (1 + pull)


# --- in the process of its own ---


def contract_of() -> Any:
    """The bake's contract, without the aggregates of windows that are not looked at here."""
    from pipeline import contract

    whole = contract.load()
    kept = tuple(c for c in whole.inputs if not (found := re.search(r"_(\d+)d$", c.name)) or int(found[1]) in WINDOWS)
    return replace(whole, computed=kept)


def table_of(first: date, last: date, world: dict[str, Any]) -> Any:
    """The rows of a simulated bank from a day on; those of the first days have no full windows."""
    from pipeline import simulate
    from pipeline.rows import made

    return made(simulate.days(first, last, world), contract_of(), {"windows": WINDOWS})


def bank(seed: int, train: int) -> Any:
    """The rows of a bank up to the end of its test week, which comes after `train` days and the label delay."""
    days = max(WINDOWS) + DELAY + train + DELAY + TEST
    first = date.fromisoformat(str(BANK["start"]))
    last = first + timedelta(days=days - 1)
    return table_of(first, last, BANK | {"seed": seed}), last


def fitted(seed: int) -> Any:
    """A network of the default recipe, on the first bank's training days."""
    import polars as pl

    table, last = bank(0, TRAIN)
    end = last - timedelta(days=TEST + DELAY)
    day = pl.col(contract_of().time).dt.date()
    return learned(table.filter(day.is_between(end - timedelta(days=TRAIN - 1), end)), seed)


@dataclass(frozen=True)
class Network:
    """A fitted network, which scores tables."""

    state: bytes

    def predict(self, table: Any) -> dict[str, np.ndarray]:
        """What it says of the rows."""
        from pipeline import families
        from pipeline.tasks import binary

        raw = families.family("network").raw(self.state, matrix(table), binary.LOSS, 1)
        return said(binary.probability(raw))


def said(score: np.ndarray) -> dict[str, np.ndarray]:
    """Scores [rows] as a model gives them, with an alert from a half on."""
    return {"score": score, "alert": score >= 0.5}


def matrix(table: Any) -> Any:
    """What a family sees of a table: there are no categories, whose levels would have to be learned."""
    from pipeline import encode

    ours = contract_of()
    derive = encode.derivation(ours, {"windows": WINDOWS})
    inputs = tuple(encode.learned(column, table[column.name]) for column in ours.inputs)
    return encode.Encoding(inputs, derive, tuple(encode.derived_names(derive, ours))).matrix(table)


def learned(table: Any, seed: int) -> Network:
    """A network of the default recipe, on these rows."""
    import torch
    from pipeline import families, params
    from pipeline.rows import LABEL
    from pipeline.tasks.binary import LOSS

    torch.set_num_threads(1)
    knobs = params.load()["families"]["network"] | {"seed": seed}
    weight = np.ones(len(table))
    with redirect_stdout(sys.stderr):  # how the loss falls
        fitted = families.family("network").fit(matrix(table), table[LABEL].to_numpy(), weight, LOSS, 1, knobs)
    return Network(fitted.state)


def judged(week: int, networks: list[Network]) -> dict[str, Any]:
    """Of every draw of a test week: whether the gate refuses it, and the difference in average precision."""
    import torch
    from pipeline import compare, evaluate, params, policy
    from pipeline.policy.champion import judge_champion

    torch.set_num_threads(1)
    ours, (table, last) = contract_of(), bank(1000 + week, DELAY)
    table = evaluate.judged(table, (last - timedelta(days=TEST - 1), last), ours, DELAY)
    knobs = params.load()["evaluate"] | {"resamples": RESAMPLES}
    test, bars, rng = evaluate.as_test(table, ours, knobs), policy.load("model"), np.random.default_rng(week)
    scores = [network.predict(table)["score"] for network in networks]

    def refused(model: np.ndarray, champion: np.ndarray) -> tuple[bool, float]:
        drawn = knobs | {"seed": int(rng.integers(2**31))}
        found = compare.compare(test, table, {"model": said(model), "champion": said(champion)}, ours, drawn)
        told = found | {"champion": {}, "problem": None, "rows": len(table), "compared": len(table)}
        return any(judge_champion(told, bars)), found["metrics"]["average_precision"]["difference"]["value"]

    def exchanged(one: np.ndarray, other: np.ndarray) -> tuple[bool, float]:
        coin = rng.random(test.units)[test.unit] < 0.5
        return refused(np.where(coin, one, other), np.where(coin, other, one))

    def worse(champion: np.ndarray, noise: float) -> tuple[bool, float]:
        odds = np.log(champion + 1e-9) - np.log1p(1e-9 - champion)
        return refused(1 / (1 + np.exp(-odds - rng.normal(0, noise, len(odds)))), champion)

    pairs = list(combinations(scores, 2))
    return {
        "cards exchanged": [exchanged(*pair) for pair in pairs],
        "another seed": [refused(*pair) for pair in pairs],
        "losses": [[worse(scores[draw], noise) for draw in range(DRAWS)] for noise in NOISES],
    }


def main() -> None:
    from pipeline import policy

    with ProcessPoolExecutor() as pool:
        networks = list(pool.map(fitted, range(NETWORKS)))
        weeks = list(pool.map(partial(judged, networks=networks), range(WEEKS)))
    nothing = {
        what: [refused for week in weeks for refused, _ in week[what]] for what in ("cards exchanged", "another seed")
    }
    losses = []
    for level in zip(*(week["losses"] for week in weeks), strict=True):
        draws = [draw for week in level for draw in week]
        losses.append((-float(np.mean([fall for _, fall in draws])), [refused for refused, _ in draws]))
    stated = 1 - policy.load("model")["champion"]["confidence"]
    print(json.dumps({"stated": round(stated, 9), "nothing wrong": nothing, "losses": losses}))


if __name__ == "__main__":
    main()
