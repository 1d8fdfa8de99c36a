"""Measure the model and the baselines on the test days, each metric with a bootstrap interval.

The published protocol: labels are late, so cards that are known to be compromised leave the test (*Reproducible
Machine Learning for Credit Card Fraud Detection*, Le Borgne et al., 2022, chapters 3 and 4). Policies judge elsewhere.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline import model, params, rows
from pipeline.params import BadInput, run_stage
from pipeline.policy.bars import load
from pipeline.schema import ENTITY, ID, LABEL, TIME

SOURCE = Path("data/transactions.parquet")
BASELINES = Path("build/baselines.parquet")
MODEL = Path("model")
METRICS = Path("metrics.json")
PREDICTIONS = Path("reports/predictions.parquet")
CURVES = Path("reports/curves.json")

CHUNK = 50  # resamples at a time: memory is CHUNK x rows
POINTS = 200  # of a curve, at most
BINS = 20  # of equal mass, for calibration


# Which rows are judged


def judged(table: pl.DataFrame, test: tuple[date, date], delay: int, known: int) -> pl.DataFrame:
    """The rows of the test days, less those of cards that are known to be compromised on their day.

    A card is known on day d once it had a fraud on day d - delay - 1 or before, counted from `known` days before
    the first test day's delay: `get_train_test_set` of the book (chapter 3) with a training period of `known` days.
    Without a schema.ENTITY every row is judged.
    """
    day = pl.col(TIME).dt.date()
    tested = table.filter(day.is_between(*test))
    if ENTITY is None:
        return tested
    first = test[0] - timedelta(days=delay + known)
    fraud = table.filter((day >= first) & (pl.col(LABEL) == 1)).group_by(ENTITY).agg(day.min().alias("first_fraud"))
    unknown = (pl.col("first_fraud") >= day - timedelta(days=delay)).fill_null(True)
    return tested.join(fraud, on=ENTITY, how="left", maintain_order="left").filter(unknown).drop("first_fraud")


# Metrics, of many resamples at once


@dataclass(frozen=True)
class Judged:
    """The judged rows as arrays [rows]; a unit is what a resample draws: a card, or a row where there are no cards."""

    label: np.ndarray  # float64, 0 or 1
    unit: np.ndarray  # int64, 0..units-1
    day: np.ndarray  # int64
    alerts: float = 0.01  # share of the rows that raise one

    def __post_init__(self) -> None:
        if not 0 < self.label.sum() < len(self.label):
            raise BadInput(
                f"the test days hold {len(self.label)} judged rows, {int(self.label.sum())} of them with {LABEL} 1: "
                "nothing can be measured; move data.until in params.yaml, or lengthen split.test in "
                f"{params.EVALUATION}"
            )

    @property
    def units(self) -> int:
        return int(self.unit.max()) + 1


def measure(test: Judged, score: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric of `score` [rows] for each resample: weights [resamples, units] -> name: float64 [resamples]."""
    parts = [_measure(test, score, weights[i : i + CHUNK]) for i in range(0, len(weights), CHUNK)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _measure(test: Judged, score: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    positive, total = counts(test, score, weights)
    metrics = {
        "average_precision": average_precision(positive, total),
        "roc_auc": roc_auc(positive, total),
        "recall_at_precision_90": recall_at_precision(positive, total, 0.9),
        "calibration_error": calibration_error(test, score, weights),
        "accuracy": share(test, raised(test, score) == test.label, weights),
    }
    if ENTITY is not None:
        metrics["card_precision_100"] = card_precision(test, score, weights, 100)
    return metrics


def counts(test: Judged, score: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and rows at or above each distinct score, from the highest down: two [resamples, thresholds]."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # equal scores share a threshold
    weight = weights[:, test.unit[order]]
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
    """Expected calibration error: mean distance of score and label share, over BINS bins with as many rows each.

    Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning (2015), with the bins of equal mass
    of Nixon et al., Measuring Calibration in Deep Learning (2019), since most scores lie near 0.
    """
    place = _bins(score)
    gap = np.zeros((test.units, BINS))
    np.add.at(gap, (test.unit, place), score - test.label)
    return _ratio(np.abs(weights @ gap).sum(axis=1), weights @ np.bincount(test.unit, minlength=test.units))


def raised(test: Judged, score: np.ndarray) -> np.ndarray:
    """Whether a row raises an alert: the `test.alerts` share with the highest scores, and their equals; bool [rows]."""
    number = max(int(test.alerts * len(score)), 1)
    return score >= np.partition(score, -number)[-number]


def share(test: Judged, true: np.ndarray, weights: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """The share of the rows, or of those `among` [rows], for which `true` [rows] holds; NaN where there are none."""
    among = np.ones(len(true)) if among is None else among
    number, hit = (np.bincount(test.unit, rows, minlength=test.units) for rows in (among, among * true))
    return _ratio(weights @ hit, weights @ number)


def card_precision(test: Judged, score: np.ndarray, weights: np.ndarray, top: int) -> np.ndarray:
    """Share of compromised cards among the `top` cards with a day's highest scores, mean over the days.

    Cards that were caught leave the days after (`card_precision_top_k` of the book, chapter 4). A card that a
    resample drew twice takes two of the places.
    """
    left = weights.astype(np.float64)
    found = []
    for day in np.unique(test.day):
        today = test.day == day
        card, best, compromised = _by_card(test.unit[today], score[today], test.label[today])
        order = card[np.argsort(-best, kind="stable")]
        compromised = compromised[np.argsort(-best, kind="stable")]
        taken = np.diff(np.minimum(np.cumsum(left[:, order], axis=1), top), axis=1, prepend=0)
        found.append((taken * compromised).sum(axis=1) / top)
        left[:, order] *= (taken == 0) | (compromised == 0)
    return np.mean(found, axis=0)


def _by_card(unit: np.ndarray, score: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each card of the rows, with its highest score and whether any row is positive."""
    card, place = np.unique(unit, return_inverse=True)
    best, compromised = np.full(len(card), -np.inf), np.zeros(len(card))
    np.maximum.at(best, place, score)
    np.maximum.at(compromised, place, label)
    return card, best, compromised


def _bins(score: np.ndarray) -> np.ndarray:
    """The bin 0..BINS-1 of each score, with as many rows in each."""
    rank = np.empty(len(score), dtype=np.int64)
    rank[np.argsort(score, kind="stable")] = np.arange(len(score))
    return rank * BINS // len(score)


def _ratio(above: np.ndarray, below: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    """above / below, and `otherwise` where below is 0."""
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, float(otherwise)), where=below > 0)


# Intervals


def resamples(units: int, number: int, seed: int) -> np.ndarray:
    """How often the sample, then `number` bootstrap resamples hold each unit: float32 [1 + number, units]."""
    draws = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=number)
    return np.concatenate([np.ones((1, units)), draws]).astype(np.float32)


def intervals(values: dict[str, np.ndarray], confidence: float) -> dict[str, dict[str, float]]:
    """{"value", "low", "high"} a metric, from the sample's value and its resamples' (the percentile bootstrap)."""
    edges = [(1 - confidence) / 2, (1 + confidence) / 2]
    result = {}
    for name, value in values.items():
        low, high = np.nanquantile(value[1:], edges)
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
        place = _bins(score)
        result["calibration"][name] = {
            "score": _means(score, place).tolist(),
            "share": _means(test.label, place).tolist(),
        }
    edges = np.linspace(0, 1, 51)
    result["histogram"] = {"edges": edges.tolist()} | {
        name: np.histogram(scores["model"][test.label == value], edges)[0].tolist()
        for name, value in (("negative", 0), ("positive", 1))
    }
    return result


def _means(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Mean of the values in each bin that has any."""
    number = np.bincount(place)
    return np.bincount(place, values)[number > 0] / number[number > 0]


# The stage


def slices(
    table: pl.DataFrame, wanted: Sequence[dict[str, Any]], knob: str = "slices"
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Each slice of `evaluate.slices` with its rows, bool [rows]. Raises BadInput for a column that is not there."""
    for part in wanted:
        name = part.get("column")
        if name not in table.columns:
            raise BadInput(
                f"{params.EVALUATION}: evaluate.{knob} names the column {name!r}; "
                f"it may be one of {', '.join(table.columns)}"
            )
        column = table[name].to_numpy()
        if "value" in part:
            yield {"column": name, "value": part["value"]}, column == part["value"]
        else:
            first, last = part.get("from"), part.get("to")
            above = column >= first if first is not None else np.full(len(column), True)
            below = column < last if last is not None else np.full(len(column), True)
            yield {"column": name, "from": first, "to": last}, above & below


def slice_values(test: Judged, score: np.ndarray, inside: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Average precision and ROC AUC of the rows `inside` for each resample; NaN where a label is not there."""
    names, label = ("average_precision", "roc_auc"), test.label[inside]
    if not 0 < label.sum() < len(label):
        return {name: np.full(len(weights), np.nan) for name in names}
    part = Judged(label, test.unit[inside], test.day[inside])
    values: list[tuple[np.ndarray, ...]] = []
    for i in range(0, len(weights), CHUNK):
        positive, total = counts(part, score[inside], weights[i : i + CHUNK])
        values.append((average_precision(positive, total), roc_auc(positive, total)))
    return dict(zip(names, map(np.concatenate, zip(*values, strict=True)), strict=True))


def size(test: Judged, inside: np.ndarray) -> dict[str, int]:
    """How many rows are inside, and how many of them positive."""
    return {"rows": int(inside.sum()), "positives": int(test.label[inside].sum())}


def as_test(table: pl.DataFrame, alerts: float = 0.01) -> Judged:
    """The judged rows as arrays. Raises BadInput where they hold one label only."""
    unit = table[ENTITY].rank("dense").to_numpy() - 1 if ENTITY else np.arange(len(table))
    return Judged(
        label=table[LABEL].cast(pl.Float64).to_numpy(),
        unit=unit.astype(np.int64),
        day=table[TIME].dt.date().cast(pl.Int64).to_numpy(),
        alerts=alerts,
    )


def with_groups(table: pl.DataFrame, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """The table with the columns that `evaluate.groups` names: the source has what the model is not to see."""
    names = {part.get("column") for parts in groups.values() for part in parts}
    source = pl.scan_parquet(SOURCE) if names - set(table.columns) else table.lazy()
    further = [name for name in source.collect_schema() if name in names - set(table.columns)]
    return table.join(source.select(ID, *further).collect(), on=ID, how="left", maintain_order="left")


def evaluate(table: pl.DataFrame, scores: dict[str, np.ndarray], knobs: dict[str, Any]) -> dict[str, Any]:
    """The blocks of metrics.json that are measured: `scores` holds "model" and the baselines."""
    test, confidence = as_test(table, knobs["alerts"]), knobs["confidence"]
    weights = resamples(test.units, knobs["resamples"], knobs["seed"])
    measured = {name: intervals(measure(test, score, weights), confidence) for name, score in scores.items()}
    return {
        "metrics": measured.pop("model"),
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


def main() -> None:
    knobs = params.load() | load("evaluation")
    days, delay = params.days(knobs), knobs["features"]["delay"]
    table = rows.between(days.train[0], days.test[1])
    tested = judged(table, days.test, delay, knobs["evaluate"]["known"])
    scorer = model.load(MODEL)
    fitted = tested.select(ID).join(pl.read_parquet(BASELINES), on=ID, how="left", maintain_order="left")
    scores = {"model": scorer.predict(tested)} | {
        name: fitted[name].to_numpy() for name in fitted.columns if name not in (ID, "model")
    }
    blocks = evaluate(with_groups(tested, knobs["evaluate"]["groups"]), scores, knobs["evaluate"])
    about = {
        "model": {"digest": scorer.digest, "bytes": sum(file.stat().st_size for file in MODEL.iterdir())},
        "data": {
            "source": knobs["data"]["source"],
            "snapshot": knobs["data"]["snapshot"],
            "train": [str(day) for day in days.train],
            "test": [str(day) for day in days.test],
            "train_rows": table.filter(pl.col(TIME).dt.date() <= days.train[1]).height,
            "test_rows": tested.height,
            "test_positives": int(tested[LABEL].sum()),
        },
    }
    PREDICTIONS.parent.mkdir(exist_ok=True)
    labels = tested.select(ID, pl.col(LABEL).alias("label"))
    labels.with_columns(pl.Series(name, score) for name, score in scores.items()).write_parquet(PREDICTIONS)
    CURVES.write_text(json.dumps(curves(as_test(tested), scores)) + "\n")
    METRICS.write_text(json.dumps(about | blocks, indent=2) + "\n")
    for name in blocks["metrics"]:
        beside = ", ".join(
            f"{baseline} {values[name]['value']:.3f}" for baseline, values in blocks["baselines"].items()
        )
        print("{0}: {value:.3f} ({low:.3f} to {high:.3f}); {1}".format(name, beside, **blocks["metrics"][name]))


if __name__ == "__main__":
    run_stage(main)
