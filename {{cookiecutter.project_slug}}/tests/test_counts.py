"""Counts say what rows say: exactly what is missing, and how far columns lie apart as far as any bar tells apart."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest
from scipy.stats import wasserstein_distance

from pipeline import counts
from pipeline.counts import Column, Counts, Number, Text
from pipeline.distance import FAR, NATS
from pipeline.model import Input

ROWS = 20_000
Shape = Callable[[np.random.Generator, int], np.ndarray]
SHAPES: dict[str, Shape] = {
    "normal": lambda draw, n: draw.normal(size=n),
    "far from zero": lambda draw, n: 1e6 + draw.normal(size=n),
    "tiny": lambda draw, n: draw.normal(size=n) / 100,
    "lognormal": lambda draw, n: draw.lognormal(0, 1.5, n),
    "without a mean": lambda draw, n: draw.pareto(0.9, n),
    "both tails": lambda draw, n: draw.standard_t(1.5, n),
    "mostly nothing": lambda draw, n: np.where(draw.random(n) < 0.95, 0, draw.lognormal(3, 1, n)),
    "two humps": lambda draw, n: draw.normal(size=n) + 1e4 * (draw.random(n) < 0.4),
    "a rare event": lambda draw, n: (draw.random(n) < 0.01).astype(float),
    "small counts": lambda draw, n: draw.poisson(2, n).astype(float),
    "large counts": lambda draw, n: draw.poisson(5_000, n).astype(float),
    "hundredths": lambda draw, n: draw.gamma(2, 40, n).round(2),
    "one outlier": lambda draw, n: np.append(draw.normal(size=n - 1), 1e9),
}
MOVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda values: values,
    "a little": lambda values: values + 0.1 * values.std(),
    "wider": lambda values: values * 1.2,
    "far": lambda values: 5 * values + 3 * values.std(),
}


def side(column: Column, *rows: Sequence[object] | np.ndarray | pl.Series) -> counts.Side:
    """Rows of a column, which come in several parts."""
    parts = [counts.side(pl.DataFrame({column.name: values}), [column]) for values in rows]
    of_all = Counts.sum([part.columns[column.name] for part in parts])
    return counts.Side({column.name: of_all}, sum(part.size for part in parts))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("move", MOVES)
def test_a_distance_of_counts_is_that_of_the_rows(shape: str, move: str) -> None:
    draw = np.random.default_rng(0)
    before, now = SHAPES[shape](draw, ROWS), MOVES[move](SHAPES[shape](draw, ROWS))
    exact = min(wasserstein_distance(before, now) / max(before.std(), 0.001), FAR)
    column = counts.of_input(Input("x", "number"), pl.Series("x", before))
    found = counts.moved(column, side(column, before), side(column, *np.array_split(now, 7)))
    assert found is not None and abs(found - exact) < 0.01 + 0.02 * exact
    assert abs(found - exact) < 0.005 or exact > 0.15, "where bars are, and nobody contrives the values"


def test_small_whole_numbers_are_told_apart_exactly() -> None:
    draw = np.random.default_rng(0)
    before, now = draw.integers(-90, 90, ROWS), draw.integers(-80, 99, ROWS)
    column = counts.of_input(Input("x", "integer"), pl.Series("x", before))
    exact = wasserstein_distance(before, now) / before.std()
    assert counts.moved(column, side(column, before), side(column, now)) == pytest.approx(exact, rel=1e-9)


def test_what_is_no_number_is_missing_and_what_is_huge_is_not() -> None:
    column = Number("x", 1.0, minimum=0, maximum=10)
    there = side(column, [1.0, None, float("nan"), float("inf"), float("-inf"), 1.7e308, -1.7e308, 10, 10.1])
    assert counts.missing(column, there) == 4 / 9
    assert there.columns["x"].beyond == 3  # an infinity is none
    huge, usual = side(column, [1.7e308] * 99), side(column, [1.0, 2.0] * 50)
    assert counts.moved(column, usual, huge) == counts.moved(column, usual, side(column, [1e300])) == FAR
    assert counts.moved(column, usual, side(column, [None, float("inf")])) is None


def test_a_boolean_is_a_number() -> None:
    values, column = [True, False, None, True, True], Number("x", 1.0)
    of, same = (side(column, rows).columns["x"] for rows in (values, [1.0, 0.0, None, 1.0, 1.0]))
    assert of.bins.tolist() == same.bins.tolist() and of.rows.tolist() == same.rows.tolist() == [3, 1, 1]
    assert column.measured(pl.Series(values[:2])).tolist() == [1, 0]


def test_texts_count_by_level() -> None:
    levels = tuple(f"level {at}" for at in range(counts.LEVELS + 5))
    column = Text(Input("größe €", "category", levels=levels, categories=(*levels, "allowed")))
    texts = [levels[0], levels[0], levels[7], levels[-1], None, "", "allowed", "neither", "neither"]
    there = side(column, texts[:4], texts[4:])
    of = there.columns["größe €"]
    bins = [0, 7, counts.MISSING, counts.RARER, counts.OTHER]
    assert (of.bins.tolist(), of.rows.tolist()) == (bins, [2, 1, 2, 1, 3])
    assert counts.missing(column, there) == 2 / 9 and counts.unseen(column, there) == 3 / 9 and of.beyond == 2
    asked = pl.DataFrame({"größe €": texts})
    assert column.measured(asked["größe €"]).tolist() == asked.select(counts.coded(column.input)).to_series().to_list()


def test_weights_are_of_all_rows_of_a_part() -> None:
    column = Number("x")
    parts = [side(column, [0.0, 1.0]).columns["x"], side(column, [1.0, None]).columns["x"]]
    of = Counts.sum(parts, np.array([2.0, 0.5]))
    rows = dict(zip(column.values[of.bins].tolist(), of.rows.tolist(), strict=True))
    assert rows.pop(0.0) == 2 and rows.pop(1.0) == 2.5 and list(rows.values()) == [0.5]


LEVELS = tuple("abcdefgh")
KINDS = {"even": "number", "tailed": "number", "counts": "integer", "seldom": "boolean", "level": "category"}


def drawn(draw: np.random.Generator, drift: float) -> pl.DataFrame:
    """Rows of KINDS, that are about so many deviations away."""
    share = np.arange(8, 0, -1) + 18 * drift * (np.arange(8) == 7)
    return pl.DataFrame(
        {
            "even": draw.normal(size=ROWS) + drift,
            "tailed": draw.lognormal(0, 1, ROWS) * (1 + 1.3 * drift),
            "counts": draw.poisson(2 + 1.4 * drift, ROWS),
            "seldom": draw.random(ROWS) < 0.05 + 0.22 * drift,
            "level": draw.choice(LEVELS, ROWS, p=share / share.sum()),
        }
    )


@pytest.mark.slow
def test_the_verdict_is_evidently_s() -> None:
    """Where nothing is wrong, at the bar, and clearly beyond it; `make bench` has 20 seeds of 100,000 rows."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    numbers, draw, seen = [name for name in KINDS if name != "level"], np.random.default_rng(0), set()
    report = Report(
        [ValueDrift(column=name, method="wasserstein", threshold=0.1) for name in numbers]
        + [ValueDrift(column="level", method="jensenshannon", threshold=0.1 * NATS)]
    )
    known = DataDefinition(numerical_columns=numbers, categorical_columns=["level"])
    for drift in (0, 0.1, 0.5, 0, 0.1, 0.5):
        before, now = drawn(draw, 0), drawn(draw, drift)
        sides = [
            Dataset.from_pandas(rows.cast({"seldom": int}).to_pandas(), data_definition=known) for rows in (now, before)
        ]
        for name, metric in zip(KINDS, report.run(*sides).dict()["metrics"], strict=True):
            column = counts.of_input(Input(name, KINDS[name], levels=LEVELS), before[name])
            ours = counts.moved(column, side(column, before[name]), side(column, now[name])) or 0.0
            theirs = metric["value"] / (NATS if name == "level" else 1)
            near = 0.01 if name == "level" else 0.005  # of levels, what chance makes is subtracted
            assert ours == pytest.approx(theirs, abs=near, rel=0.02), (name, drift)
            assert (ours > 0.1) == (theirs > 0.1), (name, drift)
            seen.add((drift, theirs > 0.1))
    assert seen == {(0, False), (0.1, False), (0.1, True), (0.5, True)}
