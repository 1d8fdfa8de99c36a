"""Measure the model and the baselines on the test days, each metric with a bootstrap interval.

A published protocol: labels are late, so entities that are known to have a positive leave the test (the handbook of
Le Borgne et al., 2022, chapters 3 and 4). Policies judge elsewhere.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, model, params, rows
from pipeline.contract import Contract
from pipeline.params import BadInput, run_stage
from pipeline.policy.bars import ENTITIES, ENTITY_PRECISION, SLICED, load
from pipeline.reading import nearest
from pipeline.rows import ENTITY, FEATURES, ID, LABEL, SOURCE

BASELINES = Path("build/baselines.parquet")
MODEL = Path("model")
METRICS = Path("metrics.json")
PREDICTIONS = Path("reports/predictions.parquet")
"""`_id`, `_label`, and a score by `model` and by each family that is not shipped, of each judged row."""
CURVES = Path("reports/curves.json")

HEADLINE, CALIBRATION = "average_precision", "calibration_error"
TOP = 100  # entities that are looked at a day
CONSTANT = "constant"  # the one family whose scores are known without fitting it
CHUNK = 50  # resamples at a time: memory is CHUNK x rows
POINTS = 200  # of a curve, at most
BINS = 20  # of equal mass, for calibration


# Which rows are judged


def judged(table: pl.DataFrame, test: tuple[date, date], ours: Contract, known: int | None) -> pl.DataFrame:
    """The rows of the test days, less those of entities that are known to have a positive on their day.

    An entity is known on day d once it had a positive on day d - delay - 1 or before, counted from `known` days before
    the first test day's delay: `get_train_test_set` of the book, chapter 3, with a training period of `known` days.
    Every row is judged where `known` is None, or the contract names no entity.
    """
    day = pl.col(ours.time).dt.date()
    tested = table.filter(day.is_between(*test))
    if known is None or ours.entity is None:
        return tested
    delay = ours.label.delay
    first = test[0] - timedelta(days=delay + known)
    positive = table.filter((day >= first) & (pl.col(LABEL) == 1))
    positive = positive.group_by(ENTITY).agg(day.min().alias("_first"))
    unknown = (pl.col("_first") >= day - timedelta(days=delay)).fill_null(True)
    return tested.join(positive, on=ENTITY, how="left", maintain_order="left").filter(unknown).drop("_first")


# Metrics, of many resamples at once


@dataclass(frozen=True)
class Judged:
    """The judged rows as arrays [rows]; a unit is what a resample draws: an entity, or a row where there are none."""

    label: np.ndarray  # float64, 0 or 1
    unit: np.ndarray  # int64, 0..units-1
    day: np.ndarray  # int64
    alerts: float = 0.01  # share of the rows that raise one
    weight: np.ndarray | None = None  # float64, how much a row counts; None where all count alike
    entities: bool = True  # whether the units are entities that are looked at by day

    def __post_init__(self) -> None:
        if not 0 < self.label.sum() < len(self.label):
            raise BadInput(
                f"the test holds {len(self.label)} judged rows, {int(self.label.sum())} of them positive: nothing can "
                f"be measured; move data.until in params.yaml, or test more rows by `split` in {params.EVALUATION}"
            )

    @property
    def units(self) -> int:
        return int(self.unit.max()) + 1

    @cached_property
    def units_a_day(self) -> float:
        """How many units a day has, on average."""
        return len(np.unique(self.day * self.units + self.unit)) / len(np.unique(self.day))

    @property
    def weights(self) -> np.ndarray:
        """How much each row counts, float64 [rows]."""
        return np.ones(len(self.label)) if self.weight is None else self.weight


def measure(test: Judged, score: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric of `score` [rows] for each resample: weights [resamples, units] -> name: float64 [resamples].

    A row counts as often as its unit was drawn, times its own weight: scikit-learn's sample_weight.
    """
    parts = [_measure(test, score, weights[i : i + CHUNK]) for i in range(0, len(weights), CHUNK)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _measure(test: Judged, score: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    positive, total = counts(test, score, weights)
    metrics = {
        "average_precision": average_precision(positive, total),
        "roc_auc": roc_auc(positive, total),
        "recall_at_precision_90": recall_at_precision(positive, total, 0.9),
        CALIBRATION: calibration_error(test, score, weights),
        "accuracy": share(test, raised(test, score) == test.label, weights),
    }
    if test.entities and test.units_a_day >= ENTITIES:
        metrics[ENTITY_PRECISION] = entity_precision(test, score, weights, TOP)
    return metrics


def counts(test: Judged, score: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and rows at or above each distinct score, from the highest down: two [resamples, thresholds]."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # equal scores share a threshold
    weight = weights[:, test.unit[order]]
    if test.weight is not None:
        weight = weight * test.weight[order]
    positive = np.cumsum(weight * test.label[order], axis=1)[:, last]
    return positive, np.cumsum(weight, axis=1)[:, last]


def average_precision(positive: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Mean of the precision over the positives (scikit-learn's average_precision_score); NaN where there are none."""
    gained = np.diff(positive, axis=1, prepend=0)
    return _ratio((gained * _ratio(positive, total, 0)).sum(axis=1), positive[:, -1])


def roc_auc(positive: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Probability that a positive's score is above a negative's, equal ones counted half; NaN where it has none."""
    negative = total - positive
    area = (np.diff(negative, axis=1, prepend=0) * (positive - np.diff(positive, axis=1, prepend=0) / 2)).sum(axis=1)
    return _ratio(area, positive[:, -1] * negative[:, -1])


def recall_at_precision(positive: np.ndarray, total: np.ndarray, precision: float) -> np.ndarray:
    """The largest share of the positives that a threshold finds with at least this precision; 0 where none does."""
    enough = positive >= precision * total
    return _ratio((positive * enough).max(axis=1), positive[:, -1])


def calibration_error(test: Judged, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error: mean distance of score and label share, over BINS bins of as much weight each.

    Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning (2015), with the bins of equal mass
    of Nixon et al., Measuring Calibration in Deep Learning (2019), since most scores lie near 0.
    """
    gap = np.zeros((test.units, BINS))
    np.add.at(gap, (test.unit, _bins(score, test.weights)), test.weights * (score - test.label))
    mass = np.bincount(test.unit, test.weights, minlength=test.units)
    return _ratio(np.abs(weights @ gap).sum(axis=1), weights @ mass)


def raised(test: Judged, score: np.ndarray) -> np.ndarray:
    """Whether a row raises an alert: the `test.alerts` share with the highest scores, and their equals; bool [rows].

    The lowest score raises none: where all are equal, none is the highest.
    """
    if test.weight is None:
        number = max(int(test.alerts * len(score)), 1)
        cut = np.partition(score, -number)[-number]
    else:
        order = np.argsort(-score, kind="stable")
        reached = np.cumsum(test.weight[order])
        number = max(int(np.searchsorted(reached, test.alerts * reached[-1], side="right")), 1)
        cut = score[order[number - 1]]
    return (score >= cut) & (score > score.min())


def share(test: Judged, true: np.ndarray, weights: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """The share of the rows, or of those `among` [rows], for which `true` [rows] holds; NaN where there are none."""
    among = test.weights if among is None else among * test.weights
    number, hit = (np.bincount(test.unit, rows, minlength=test.units) for rows in (among, among * true))
    return _ratio(weights @ hit, weights @ number)


def entity_precision(test: Judged, score: np.ndarray, weights: np.ndarray, top: int) -> np.ndarray:
    """Share of entities with a positive among the `top` entities with a day's highest scores, mean over the days.

    Entities that were found leave the days after (as in the book, chapter 4). One that a resample
    drew twice takes two of the places; of the places that are taken, each counts its entity's mean weight of the day.
    """
    left = weights.astype(np.float64)
    found = []
    for day in np.unique(test.day):
        today = test.day == day
        entity, best, positive = _by_entity(test.unit[today], score[today], test.label[today])
        ranked = np.argsort(-best, kind="stable")
        order, positive = entity[ranked], positive[ranked]
        taken = np.diff(np.minimum(np.cumsum(left[:, order], axis=1), top), axis=1, prepend=0)
        if test.weight is None:
            found.append((taken * positive).sum(axis=1) / top)
        else:
            counted = taken * _mean_weight(test.unit[today], test.weight[today])[ranked]
            precision = _ratio((counted * positive).sum(axis=1), counted.sum(axis=1), 0)
            found.append(precision * taken.sum(axis=1) / top)
        left[:, order] *= (taken == 0) | (positive == 0)
    return np.mean(found, axis=0)


def _by_entity(unit: np.ndarray, score: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each entity of the rows, with its highest score and whether any row is positive."""
    entity, place = np.unique(unit, return_inverse=True)
    best, positive = np.full(len(entity), -np.inf), np.zeros(len(entity))
    np.maximum.at(best, place, score)
    np.maximum.at(positive, place, label)
    return entity, best, positive


def _mean_weight(unit: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of each entity, in the order of `_by_entity`."""
    place = np.unique(unit, return_inverse=True)[1]
    return np.bincount(place, weight) / np.bincount(place)


def _bins(score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The bin 0..BINS-1 of each score, with as much weight in each."""
    order = np.argsort(score, kind="stable")
    reached = np.cumsum(weight[order])
    before = np.empty(len(score))
    before[order] = reached - weight[order]
    return np.minimum((before * BINS / reached[-1]).astype(np.int64), BINS - 1)


def _ratio(above: np.ndarray, below: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    """above / below, and `otherwise` where below is 0."""
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, float(otherwise)), where=below > 0)


# Intervals


def resamples(units: int, number: int, seed: int) -> np.ndarray:
    """How often the sample, then `number` bootstrap resamples hold each unit: float32 [1 + number, units]."""
    draws = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=number)
    return np.concatenate([np.ones((1, units)), draws]).astype(np.float32)


def intervals(values: dict[str, np.ndarray], confidence: float) -> dict[str, dict[str, float]]:
    """{"value", "low", "high"} a metric, from the sample's value and its resamples' (the percentile bootstrap).

    A resample is less even than the sample, so that a calibration error rises with each: where all of an interval would
    lie above its value, its low end is that of the basic bootstrap, which takes the bias off; the high end, which bars
    are held against, stays (Davison and Hinkley, Bootstrap Methods and their Application, 1997, 5.2).
    """
    edges = [(1 - confidence) / 2, (1 + confidence) / 2]
    result = {}
    for name, value in values.items():
        low, high = np.nanquantile(value[1:], edges)
        if name == CALIBRATION and low > value[0] >= 0:
            low = max(2 * value[0] - high, 0)
        result[name] = {"value": float(value[0]), "low": float(low), "high": float(high)}
    return result


def known(values: dict[str, np.ndarray], confidence: float) -> dict[str, dict[str, float] | None]:
    """The intervals; None for what the sample itself has no value of."""
    there = intervals({name: value for name, value in values.items() if not np.isnan(value[0])}, confidence)
    return {name: there.get(name) for name in values}


# Groups of people


def fairness(
    test: Judged,
    score: np.ndarray,
    groups: Sequence[tuple[dict[str, Any], np.ndarray]],
    weights: np.ndarray,
    confidence: float,
) -> dict[str, Any]:
    """The alerts' false positive rate and recall in each group (its rows, bool [rows]), and each pair's differences.

    Equalized odds: Hardt et al., Equality of Opportunity in Supervised Learning (2016); fairlearn's
    false_positive_rate and true_positive_rate. A rate is None where a group has no row of its label.
    """
    alert, rates = raised(test, score), []
    for _, inside in groups:
        false_alarms = share(test, alert, weights, inside * (1 - test.label))
        rates.append({"false_positive_rate": false_alarms, "recall": share(test, alert, weights, inside * test.label)})
    return {
        "groups": [
            part | size(test, inside) | known(rate, confidence)
            for (part, inside), rate in zip(groups, rates, strict=True)
        ],
        "differences": [
            {"between": [a, b]} | known({name: rates[a][name] - rates[b][name] for name in rates[a]}, confidence)
            for a, b in combinations(range(len(groups)), 2)
        ],
    }


# Curves for the report page


def curves(test: Judged, scores: dict[str, np.ndarray]) -> dict[str, Any]:
    """Points of the ROC and precision-recall curves and of the calibration, by name of the score, and a histogram."""
    result: dict[str, Any] = {"roc": {}, "precision_recall": {}, "calibration": {}}
    everyone = np.ones((1, test.units))
    for name, score in scores.items():
        positive, total = (values[0] for values in counts(test, score, everyone))
        ranks = np.unique(np.geomspace(1, len(total), POINTS).astype(int)) - 1  # most is decided at the top
        positive, total = positive[ranks], total[ranks]
        recall = positive / positive[-1]
        false_alarms = (total - positive) / (total[-1] - positive[-1])
        result["roc"][name] = {
            "false_positive_rate": [0.0, *false_alarms.tolist()],
            "true_positive_rate": [0.0, *recall.tolist()],
        }
        result["precision_recall"][name] = {"recall": recall.tolist(), "precision": (positive / total).tolist()}
        place = _bins(score, test.weights)
        result["calibration"][name] = {
            "score": _means(score, place, test.weights).tolist(),
            "share": _means(test.label, place, test.weights).tolist(),
        }
    edges = np.linspace(0, 1, 51)
    result["histogram"] = {"edges": edges.tolist()} | {
        name: np.histogram(scores["model"][test.label == value], edges)[0].tolist()
        for name, value in (("negative", 0), ("positive", 1))
    }
    return result


def _means(values: np.ndarray, place: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean of the values in each bin that has any."""
    mass = np.bincount(place, weight)
    return np.bincount(place, weight * values)[mass > 0] / mass[mass > 0]


# Slices and groups


def slices(
    table: pl.DataFrame, wanted: Sequence[Mapping[str, Any]], knob: str = "slices"
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Each slice of `evaluate.slices` with its rows, bool [rows].

    Raises BadInput for a column that is not there, and for a value that its column cannot have.
    """
    for part in wanted:
        name, where = part.get("column"), f"{params.EVALUATION}: evaluate.{knob}"
        if name not in table.columns or str(name).startswith("_"):
            known = [column for column in table.columns if not column.startswith("_")]
            raise BadInput(
                f"{where} names the column {name!r}, which is none of the source or the inputs; {nearest(name, known)}"
            )
        column = table[name]
        if "value" in part:
            if said := misfit(column.dtype, part["value"]):
                raise BadInput(f"{where}: {name} is {said}; `value` is {part['value']!r}")
            about, inside = {"value": part["value"]}, equal(column, part["value"])
        else:
            if not column.dtype.is_numeric():
                raise BadInput(f"{where}: {name} is no number, and has no range; write `value:` for `from:` and `to:`")
            about = {"from": part.get("from"), "to": part.get("to")}
            inside = between(column, **about)
        yield {"column": name, **about}, inside.to_numpy()


def misfit(dtype: pl.DataType, value: Any) -> str:
    """What a column is, in words, where it can never have this value; else nothing."""
    if value is None:
        return ""
    if dtype == pl.Boolean:
        return "" if isinstance(value, bool) else "true or false"
    if dtype.is_numeric():
        return "" if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
    if dtype == pl.String:
        return "" if isinstance(value, str) else "text; quote the value"
    return "a time, which no slice can name"


def misspelt(table: pl.DataFrame, knobs: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each text that a slice or group names and no row has; what no test row has is not judged."""
    from pipeline.personal import rules  # for these sentences alone

    named = {"slices": knobs["slices"]} | {f"groups.{name}": parts for name, parts in knobs["groups"].items()}
    for where, parts in named.items():
        for part in parts:
            name, value = part.get("column"), part.get("value")
            column = table.get_column(name, default=pl.Series())  # `slices` names a column that is not there
            if isinstance(value, str) and column.dtype == pl.String and not equal(column, value).any():
                known = [] if rules().get(name) else column.drop_nulls().unique().sort().to_list()
                meant = nearest(value, known) if known else "correct it, or take it out"
                yield (
                    f"{params.EVALUATION}: evaluate.{where}: no row of the training and test days has {name} "
                    f"{value!r}; {meant}"
                )


def equal(column: pl.Series, value: Any) -> pl.Series:
    """Where a column has a value; None is a missing one. No null in the answer."""
    return column.is_null() if value is None else (column == value).fill_null(False)


def between(column: pl.Series, **ends: float | None) -> pl.Series:
    """Where a column is `from` (inclusive) `to` (exclusive), each of which may be left out; a missing value is not."""
    inside = column.is_not_null()
    if ends["from"] is not None:
        inside &= (column >= ends["from"]).fill_null(False)
    if ends["to"] is not None:
        inside &= (column < ends["to"]).fill_null(False)
    return inside


def slice_values(test: Judged, score: np.ndarray, inside: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Average precision and ROC AUC of the rows `inside` for each resample; NaN where a label is not there."""
    label = test.label[inside]
    if not 0 < label.sum() < len(label):
        return {name: np.full(len(weights), np.nan) for name in SLICED}
    weight = None if test.weight is None else test.weight[inside]
    part = Judged(label, test.unit[inside], test.day[inside], weight=weight)
    values: list[tuple[np.ndarray, ...]] = []
    for i in range(0, len(weights), CHUNK):
        positive, total = counts(part, score[inside], weights[i : i + CHUNK])
        values.append((average_precision(positive, total), roc_auc(positive, total)))
    return dict(zip(SLICED, map(np.concatenate, zip(*values, strict=True)), strict=True))


def size(test: Judged, inside: np.ndarray) -> dict[str, int]:
    """How many rows are inside, and how many of them positive."""
    return {"rows": int(inside.sum()), "positives": int(test.label[inside].sum())}


def named(knobs: Mapping[str, Any]) -> Iterable[Any]:
    """The columns that the slices and groups of `evaluate` name."""
    return {part.get("column") for parts in (knobs["slices"], *knobs["groups"].values()) for part in parts}


def with_columns(table: pl.DataFrame, knobs: Mapping[str, Any], ours: Contract) -> pl.DataFrame:
    """The table with what slices and groups name and it does not have: the source has what no model is to see."""
    lacking = set(named(knobs)) - set(table.columns)
    if not lacking:
        return table
    source = pl.scan_parquet(SOURCE)
    lost = [name for name in source.collect_schema() if name not in table.columns]
    further = [name for name in lost if name in lacking] or lost  # a name that is none is said beside all that are
    return table.join(source.select(ours.id, *further).collect(), on=ours.id, how="left", maintain_order="left")


# The stage


def as_test(table: pl.DataFrame, ours: Contract, alerts: float = 0.01) -> Judged:
    """The judged rows as arrays. Raises BadInput where they hold one label only, or one of some weight."""
    drawn = ENTITY if ours.entity else None if ours.dated else ours.id  # live, whoever has no time is there again
    unit = table[drawn].rank("dense").to_numpy() - 1 if drawn else np.arange(len(table))
    test = Judged(
        label=table[LABEL].cast(pl.Float64).to_numpy(),
        unit=unit.astype(np.int64),
        day=table[ours.time].dt.date().cast(pl.Int64).to_numpy(),
        alerts=alerts,
        weight=rows.weights(table) if ours.weight else None,
        entities=ours.entity is not None and ours.dated,  # a delivery has no days to look at entities on
    )
    if not rows.both(table):
        raise BadInput(
            f"{SOURCE}: {ours.weight} is 0 in all judged rows of the test days, or in all of one label, and a row of "
            "weight 0 counts for nothing; mend the source, or take `weight` out of contract.yaml"
        )
    return test


def evaluate(test: Judged, table: pl.DataFrame, scores: dict[str, np.ndarray], knobs: dict[str, Any]) -> dict[str, Any]:
    """The blocks of metrics.json that are measured: `scores` holds "model" and the baselines, float64 [rows] each."""
    confidence = knobs["confidence"]
    weights = resamples(test.units, knobs["resamples"], knobs["seed"])
    values = {name: measure(test, score, weights) for name, score in scores.items()}
    measured = {name: intervals(found, confidence) for name, found in values.items()}
    return {
        "metrics": measured.pop("model"),
        "headline": HEADLINE,
        "above_constant": intervals({HEADLINE: above_constant(test, scores["model"], weights)}, confidence)[HEADLINE],
        "baselines": measured,
        "slices": [
            part | size(test, inside) | known(slice_values(test, scores["model"], inside, weights), confidence)
            for part, inside in slices(table, knobs["slices"])
        ],
        "fairness": {
            name: fairness(test, scores["model"], list(slices(table, parts, f"groups.{name}")), weights, confidence)
            for name, parts in knobs["groups"].items()
        },
    }


def above_constant(test: Judged, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """By how much the headline lies above that of the same score for every row, each resample drawn once for both.

    Every row counts alike: weights are the problem's own, and could leave nothing but the rows that it gets right.
    """
    alike, everywhere = replace(test, weight=None), np.ones(len(score), dtype=bool)
    found, same = (slice_values(alike, each, everywhere, weights)[HEADLINE] for each in (score, np.zeros(len(score))))
    return found - same


def tested(ours: Contract, knobs: Mapping[str, Any]) -> pl.DataFrame:
    """The judged rows. Raises BadInput where there are none."""
    days = ours.days(knobs)
    return judged(rows.between(days.train[0], days.test[1], ours), days.test, ours, knobs["evaluate"]["known"])


def main() -> None:
    knobs, ours = params.load() | load("evaluation"), contract.load()
    days = ours.days(knobs)
    table = rows.between(days.train[0], days.test[1], ours)
    tested = judged(table, days.test, ours, knobs["evaluate"]["known"])
    test = as_test(tested, ours, knobs["evaluate"]["alerts"])
    if found := list(misspelt(with_columns(table, knobs["evaluate"], ours), knobs["evaluate"])):
        raise BadInput("\n".join(found))
    scorer = model.load(MODEL)
    scores = {"model": scorer.predict(tested), **baselines(tested, ours)}
    check_constant(scores.get(CONSTANT), table.filter(pl.col(ours.time).dt.date().is_between(*days.train)))
    blocks = evaluate(test, with_columns(tested, knobs["evaluate"], ours), scores, knobs["evaluate"])
    about = {
        "model": {
            "digest": scorer.digest,
            "family": scorer.family,
            "bytes": sum(file.stat().st_size for file in MODEL.iterdir()),
        },
        "data": {
            "source": knobs["data"]["source"],
            "snapshot": knobs["data"]["snapshot"],
            "train": [str(day) for day in days.train],
            "test": [str(day) for day in days.test],
            **({} if ours.dated else {"share": params.share(knobs)}),
            "train_rows": table.filter(pl.col(ours.time).dt.date() <= days.train[1]).height,
            "test_rows": tested.height,
            "test_positives": int(test.label.sum()),
            **({"entities_a_day": test.units_a_day} if test.entities else {}),
            **left(table, tested, days.test, ours),
        },
    }
    PREDICTIONS.parent.mkdir(exist_ok=True)
    labels = tested.select(pl.col(ours.id).alias(ID), LABEL)
    labels.with_columns(pl.Series(name, score) for name, score in scores.items()).write_parquet(PREDICTIONS)
    CURVES.write_text(json.dumps(curves(test, scores)) + "\n")
    METRICS.write_text(json.dumps(about | blocks, indent=2) + "\n")
    for name in blocks["metrics"]:
        beside = ", ".join(
            f"{baseline} {values[name]['value']:.3f}" for baseline, values in blocks["baselines"].items()
        )
        print("{0}: {value:.3f} ({low:.3f} to {high:.3f}); {1}".format(name, beside, **blocks["metrics"][name]))


def baselines(tested: pl.DataFrame, ours: Contract) -> dict[str, np.ndarray]:
    """What each family that is not shipped says of these rows, float64 [rows] by its name."""
    scores = pl.read_parquet(BASELINES)
    asked = tested.select(pl.col(ours.id).alias(ID))
    fitted = asked.join(scores, on=ID, how="left", maintain_order="left")
    return {name: fitted[name].to_numpy() for name in scores.columns if name not in (ID, "model")}


def check_constant(score: np.ndarray | None, trained: pl.DataFrame) -> None:
    """Raises BadInput where the baseline `constant` says anything but the share of positives that it was fitted to."""
    if score is None:  # it is shipped, or left out
        return
    share = float(np.average(trained[LABEL].to_numpy(), weights=rows.weights(trained)))
    if not (np.abs(score - share) <= 1e-9).all():
        raise BadInput(
            f"{BASELINES}: {CONSTANT} says something else than {share:.6g}, the share of positives of the training "
            "days; make it again with `make model`"
        )


def left(table: pl.DataFrame, tested: pl.DataFrame, days: tuple[date, date], ours: Contract) -> dict[str, int]:
    """How many rows of the test days were not judged: their label is not known yet, or their entity was known."""
    day = pl.col(ours.time).dt.date().is_between(*days)
    unknown = pl.scan_parquet(FEATURES).filter(day & pl.col(LABEL).is_null()).select(pl.len()).collect().item()
    return {"unlabelled": unknown, "left_out": table.filter(day).height - tested.height}


if __name__ == "__main__":
    run_stage(main)
