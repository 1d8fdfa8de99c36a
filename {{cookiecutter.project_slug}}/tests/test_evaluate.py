"""Metrics against scikit-learn and the book's own code, resampled or not; who is judged; what is written."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, true_positive_rate
from sklearn.metrics import accuracy_score, average_precision_score, precision_recall_curve, roc_auc_score

from pipeline import evaluate
from pipeline.evaluate import Judged
from pipeline.params import BadInput
from pipeline.schema import ID, LABEL, TIME
from tests.tables import UNTIL, feature_rows, knobs, write_knobs

DAYS, WEEK = 3, timedelta(days=7)
TEST = (UNTIL - timedelta(days=DAYS - 1), UNTIL)
KNOBS = {"resamples": 5, "seed": 0, "confidence": 0.9, "alerts": 0.1, "slices": [], "groups": {}}


def sample(ties: bool = False) -> tuple[Judged, np.ndarray]:
    """600 rows of 90 cards on three days, and scores that know something."""
    draw = np.random.default_rng(1)
    label = (draw.random(600) < 0.15).astype(float)
    score = np.clip(0.3 * label + 0.7 * draw.random(600), 0, 1)
    unit = np.concatenate([np.arange(90), draw.integers(0, 90, 510)])
    return Judged(label, unit, draw.integers(0, DAYS, 600)), score.round(1) if ties else score


def measured(test: Judged, score: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return evaluate.measure(test, score, weights)


@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_scikit_learn_on_every_resample(ties: bool) -> None:
    test, score = sample(ties)
    weights = evaluate.resamples(test.units, 5, seed=0)
    found = measured(test, score, weights)
    for number, weight in enumerate(weights):
        on = {"sample_weight": weight[test.unit]}
        assert found["average_precision"][number] == pytest.approx(average_precision_score(test.label, score, **on))
        assert found["roc_auc"][number] == pytest.approx(roc_auc_score(test.label, score, **on))
        precision, recall, _ = precision_recall_curve(test.label, score, **on)
        assert found["recall_at_precision_90"][number] == pytest.approx(recall[precision >= 0.9].max())


def test_a_resample_is_a_table_with_its_cards_repeated() -> None:
    test, score = sample()
    weights = evaluate.resamples(test.units, 1, seed=3)
    rows = np.concatenate([np.flatnonzero(test.unit == card) for card in np.repeat(range(90), weights[1].astype(int))])
    again = Judged(test.label[rows], test.unit[rows], test.day[rows])
    once = measured(again, score[rows], np.ones((1, test.units)))
    for name in ("average_precision", "roc_auc", "recall_at_precision_90"):
        assert measured(test, score, weights)[name][1] == pytest.approx(once[name][0])


def book_card_precision(test: Judged, score: np.ndarray, top: int) -> float:
    """`card_precision_top_k` of the book, chapter 4, in its own words."""
    caught: set[int] = set()
    precisions = []
    for day in sorted(set(test.day)):
        cards: dict[int, tuple[float, float]] = {}
        for row in np.flatnonzero(test.day == day):
            card, seen = test.unit[row], cards.get(test.unit[row], (0.0, 0.0))
            if card not in caught:
                cards[card] = max(seen[0], score[row]), max(seen[1], test.label[row])
        ranked = sorted(cards, key=lambda card: -cards[card][0])[:top]
        found = {card for card in ranked if cards[card][1]}
        precisions.append(len(found) / top)
        caught |= found
    return float(np.mean(precisions))


@pytest.mark.parametrize("top", [5, 20, 100])
def test_card_precision_is_the_published_one(top: int) -> None:
    test, score = sample()
    found = evaluate.card_precision(test, score, np.ones((1, test.units)), top)
    assert found[0] == pytest.approx(book_card_precision(test, score, top))


def test_a_card_drawn_twice_takes_two_places() -> None:
    test = Judged(np.array([1.0, 0, 1]), np.arange(3), np.zeros(3, dtype=np.int64))
    weights = np.array([[1.0, 1, 1], [2, 1, 0]])
    assert evaluate.card_precision(test, np.array([0.9, 0.8, 0.7]), weights, top=2).tolist() == [0.5, 1]


def test_calibration_error_of_scores_that_are_the_shares_is_small() -> None:
    draw = np.random.default_rng(0)
    score = draw.random(20_000)
    test = Judged((draw.random(20_000) < score).astype(float), np.arange(20_000), np.zeros(20_000, dtype=np.int64))
    exact, halved = (evaluate.calibration_error(test, s, np.ones((1, 20_000)))[0] for s in (score, score / 2))
    assert exact < 0.02 and halved == pytest.approx(0.25, abs=0.02)


def test_an_interval_holds_the_value_and_narrows_with_confidence() -> None:
    test, score = sample()
    values = measured(test, score, evaluate.resamples(test.units, 200, seed=0))
    wide, narrow = (evaluate.intervals(values, confidence)["roc_auc"] for confidence in (0.95, 0.5))
    assert wide["low"] < narrow["low"] < wide["value"] < narrow["high"] < wide["high"]
    assert wide["value"] == pytest.approx(roc_auc_score(test.label, score))


@pytest.mark.parametrize("alerts", [0.05, 0.5])
def test_alerts_are_the_highest_scores_and_accuracy_is_theirs(alerts: float) -> None:
    test, score = sample()
    test = replace(test, alerts=alerts)
    raised = evaluate.raised(test, score)
    assert raised.sum() == alerts * len(score) and score[raised].min() > score[~raised].max()
    weights = evaluate.resamples(test.units, 3, seed=0)
    for found, weight in zip(measured(test, score, weights)["accuracy"], weights, strict=True):
        assert found == pytest.approx(accuracy_score(test.label, raised, sample_weight=weight[test.unit]))


def test_equal_scores_raise_equal_alerts() -> None:
    test, _ = sample()
    assert evaluate.raised(test, np.ones(600)).all()


def test_rates_of_groups_are_fairlearns() -> None:
    test, score = sample()
    test = replace(test, alerts=0.2)
    group = np.random.default_rng(5).integers(0, 3, 600)
    parts = [({"column": "region", "value": value}, group == value) for value in range(3)]
    weights = evaluate.resamples(test.units, 50, seed=0)
    found = evaluate.fairness(test, score, parts, weights, 0.9)
    frame = MetricFrame(
        metrics={"false_positive_rate": false_positive_rate, "recall": true_positive_rate},
        y_true=test.label,
        y_pred=evaluate.raised(test, score),
        sensitive_features=group,
    )
    for name in ("false_positive_rate", "recall"):
        assert [part[name]["value"] for part in found["groups"]] == pytest.approx(frame.by_group[name].tolist())
        widest = max(abs(pair[name]["value"]) for pair in found["differences"])
        assert widest == pytest.approx(frame.difference(method="between_groups")[name])
        assert all(pair[name]["low"] < pair[name]["value"] < pair[name]["high"] for pair in found["differences"])
    assert [pair["between"] for pair in found["differences"]] == [[0, 1], [0, 2], [1, 2]]


def test_a_group_without_positives_has_no_recall() -> None:
    test, score = sample()
    parts = [({"column": "region", "value": value}, test.label == value) for value in (0, 1)]
    found = evaluate.fairness(test, score, parts, evaluate.resamples(test.units, 5, seed=0), 0.9)
    assert [part["recall"] is None for part in found["groups"]] == [True, False]
    assert found["differences"][0]["recall"] is None


def test_groups_may_be_of_a_column_that_the_model_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    table = feature_rows(100)
    table.select(ID, region=pl.col(ID) % 3)[::-1].write_parquet(evaluate.SOURCE)
    groups = {"region": [{"column": "region", "value": 1}], "night": [{"column": "tx_during_night", "value": 1}]}
    found = evaluate.with_groups(table, groups)
    assert found.drop("region").equals(table) and (found["region"] == found[ID] % 3).all()


def test_one_label_only_is_a_sentence() -> None:
    with pytest.raises(BadInput, match="5 judged rows, 0 of them with tx_fraud 1"):
        Judged(np.zeros(5), np.arange(5), np.zeros(5, dtype=np.int64))


def book_test_set(table: pl.DataFrame, start: date, train: int, delay: int, test: int) -> list[int]:
    """Ids of the test set of the book's `get_train_test_set`, chapter 3, in its own words."""
    rows = table.with_columns(number=(pl.col(TIME).dt.date() - start).dt.total_days())
    fraud = rows.filter(pl.col(LABEL) == 1)
    known = set(fraud.filter(pl.col("number").is_between(0, train - 1))["customer_id"])
    result: list[int] = []
    for day in range(test):
        known |= set(fraud.filter(pl.col("number") == train + day - 1)["customer_id"])
        today = rows.filter(pl.col("number") == train + delay + day)
        result += today.filter(~pl.col("customer_id").is_in(list(known)))[ID].to_list()
    return result


@pytest.mark.parametrize(("delay", "known", "days"), [(7, 7, 3), (3, 4, 7), (1, 1, 2)])
def test_judges_the_published_test_set(delay: int, known: int, days: int) -> None:
    table = feature_rows(1500)
    span = (UNTIL - timedelta(days=days - 1), UNTIL)
    start = span[0] - timedelta(days=delay + known)
    found = evaluate.judged(table, span, delay, known)[ID].to_list()
    assert found == book_test_set(table, start, known, delay, days)
    assert 0 < len(found) < table.filter(pl.col(TIME).dt.date().is_between(*span)).height


def test_without_an_entity_every_row_is_judged_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "ENTITY", None)
    table = feature_rows().drop("customer_id")
    tested = evaluate.judged(table, TEST, 7, 7)
    assert len(tested) == table.filter(pl.col(TIME).dt.date().is_between(*TEST)).height
    metrics = evaluate.evaluate(tested, {"model": tested["tx_amount"].to_numpy() / 1e4}, KNOBS)["metrics"]
    assert "roc_auc" in metrics and "card_precision_100" not in metrics


def test_slices_by_value_and_by_range() -> None:
    table = evaluate.judged(feature_rows(), TEST, 7, 7)
    wanted = [{"column": "tx_amount", "from": 50, "to": 220}, {"column": "tx_during_night", "value": 1}]
    knobs = KNOBS | {"slices": [*wanted, {"column": "tx_amount", "from": 220.01}]}
    score = table["tx_amount"].to_numpy() / 1e4
    band, night, large = evaluate.evaluate(table, {"model": score}, knobs)["slices"]
    inside = table.filter((pl.col("tx_amount") >= 50) & (pl.col("tx_amount") < 220))
    assert (band["rows"], band["positives"]) == (len(inside), inside[LABEL].sum())
    assert band["roc_auc"]["value"] == pytest.approx(roc_auc_score(inside[LABEL], inside["tx_amount"]))
    assert night["rows"] == table["tx_during_night"].sum()
    assert large["rows"] == large["positives"] > 0 and large["roc_auc"] is None


def test_a_slice_of_an_unknown_column_is_a_sentence() -> None:
    with pytest.raises(BadInput, match=r"evaluate\.slices names the column 'amount'"):
        list(evaluate.slices(feature_rows(10), [{"column": "amount", "value": 1}]))


def test_the_stage_names_a_typo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_knobs(tmp_path, knobs(evaluate={"resample": 20}))
    with pytest.raises(BadInput, match=r"^policies/evaluation.yaml: evaluate.resample is .* did you mean `resamples`"):
        evaluate.main()


def test_curves_begin_and_end_where_they_should() -> None:
    test, score = sample()
    found = evaluate.curves(test, {"model": score})
    roc = found["roc"]["model"]
    assert [roc[axis][0] for axis in roc] == [0, 0] and [roc[axis][-1] for axis in roc] == [1, 1]
    assert found["precision_recall"]["model"]["precision"][-1] == pytest.approx(test.label.mean())
    assert sum(found["histogram"]["positive"]) == test.label.sum()
    assert len(found["calibration"]["model"]["score"]) == evaluate.BINS
