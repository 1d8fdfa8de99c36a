"""Metrics against scikit-learn and the book's own code, resampled, weighted or not; who is judged; what is written."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from fairlearn.metrics import MetricFrame, false_positive_rate, true_positive_rate
from sklearn.metrics import accuracy_score, average_precision_score, precision_recall_curve, roc_auc_score

from pipeline import contract, evaluate, model, params, rows, tasks
from pipeline.model import Outputs
from pipeline.params import EVALUATION, BadInput
from pipeline.rows import ENTITY, LABEL, WEIGHT
from pipeline.tasks import Array, Judged, binary
from tests.tables import FIRST, UNTIL, feature_rows, knobs, ours, problem, source, workspace, write_knobs, write_model

DAYS = 3
TEST = (UNTIL - timedelta(days=DAYS - 1), UNTIL)
EVALUATED = {"alerts": 0.082, "groups": {"shoes": [{"column": "shoe size", "to": 40}]}}  # as the model has settled
KNOBS: dict[str, Any] = {"resamples": 5, "seed": 0, "confidence": 0.9, "slices": [], "groups": {}}
ID, TIME = ours().id, ours().time


def sample(ties: bool = False, weighted: bool = False) -> tuple[Judged, Array]:
    """600 rows of 90 entities on three days, and scores that know something."""
    draw = np.random.default_rng(1)
    label = (draw.random(600) < 0.15).astype(float)
    score = np.clip(0.3 * label + 0.7 * draw.random(600), 0, 1)
    unit = np.concatenate([np.arange(90), draw.integers(0, 90, 510)])
    test = Judged(label, unit, draw.integers(0, DAYS, 600))
    weight = np.where(draw.random(600) < 0.1, 0, draw.gamma(1, 3, 600))
    return replace(test, weight=weight) if weighted else test, score.round(1) if ties else score


def judged(table: pl.DataFrame, score: np.ndarray | None = None, **asked: Any) -> dict[str, Any]:
    """The blocks of metrics.json of a table's rows; the score is the amount."""
    knobs = KNOBS | asked
    test, alike = evaluate.as_test(table, ours(), knobs), said(np.zeros(len(table)))
    out = said(table["amount"].to_numpy() / 1e4 if score is None else score)
    return evaluate.evaluate(test, table, {"model": out}, alike, ours(), knobs)


def said(score: Array, alerts: float = 0.1) -> Outputs:
    """What a model says that gives such scores, whose threshold is settled on these very rows."""
    raw = np.log(score.clip(1e-9, 1 - 1e-9) / (1 - score.clip(1e-9, 1 - 1e-9)))[:, None]
    return {"score": score, "alert": binary.outputs(raw, settled(raw, alerts), problem())["alert"]}


def settled(raw: Array, alerts: float, weight: Array | None = None) -> tasks.Constants:
    weight = np.ones(len(raw)) if weight is None else weight
    return binary.settle(raw, np.zeros(len(raw)), weight, problem(), {"alerts": alerts})


def measured(test: Judged, score: Array, weights: Array) -> tasks.Values:
    return binary.measure(test, said(score), weights)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_scikit_learn_on_every_resample(ties: bool, weighted: bool) -> None:
    test, score = sample(ties, weighted)
    weights = evaluate.resamples(test.units, 5, seed=0)
    found = measured(test, score, weights)
    for number, weight in enumerate(weights):
        on = {"sample_weight": weight[test.unit].astype(float) * test.weights}
        assert found["average_precision"][number] == pytest.approx(
            average_precision_score(test.label, score, **on), rel=1e-9
        )
        assert found["roc_auc"][number] == pytest.approx(roc_auc_score(test.label, score, **on), rel=1e-9)
        precision, recall, _ = precision_recall_curve(test.label, score, **on)
        assert found["recall_at_precision_90"][number] == pytest.approx(recall[precision >= 0.9].max(), rel=1e-9)
        alert = said(score)["alert"]
        assert found["accuracy"][number] == pytest.approx(accuracy_score(test.label, alert, **on), rel=1e-9)


def test_weights_of_one_and_of_one_size_change_nothing() -> None:
    test, score = sample()
    weights = evaluate.resamples(test.units, 5, seed=0)
    plain = measured(test, score, weights)
    for size in (1.0, 4.0):
        found = measured(replace(test, weight=np.full(600, size)), score, weights)
        for name, values in plain.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-12, err_msg=name)


def test_knowledge_beyond_a_constant_is_of_rows_that_count_alike() -> None:
    test, score = sample(weighted=True)
    weights = evaluate.resamples(test.units, 5, seed=0)
    right = np.where((score > 0.5) == (test.label > 0.5), 1.0, 1e-12)
    sides = said(score), said(np.zeros(600)), weights
    above = evaluate.above_constant(binary, test, *sides)["above"]
    assert (evaluate.above_constant(binary, replace(test, weight=right), *sides)["above"] == above).all()
    expected = average_precision_score(test.label, score) - test.label.mean()
    assert above[0] == pytest.approx(expected, rel=1e-6)


def test_a_row_without_weight_is_not_there() -> None:
    test, score = sample(weighted=True)
    there = test.weights > 0
    without = Judged(test.label[there], test.unit[there], test.day[there], weight=test.weights[there])
    assert without.units == test.units
    weights = evaluate.resamples(test.units, 3, seed=0)
    out = said(score)
    whole = binary.measure(test, out, weights)
    part = binary.measure(without, tasks.picked(out, there), weights)
    for name in whole.keys() - {"entity_precision_100"}:  # of which each entity has a place
        np.testing.assert_allclose(whole[name], part[name], rtol=1e-9, err_msg=name)


def test_a_slice_and_a_group_count_weights_too() -> None:
    test, score = sample(weighted=True)
    inside = np.random.default_rng(2).random(600) < 0.5
    on = {"sample_weight": test.weights[inside]}
    everyone = np.ones((1, test.units))
    out = said(score)
    found = evaluate.slice_values(binary, test, out, inside, everyone)
    assert found["roc_auc"][0] == pytest.approx(roc_auc_score(test.label[inside], score[inside], **on), rel=1e-9)
    resamples = evaluate.resamples(test.units, 5, 0)
    (group,) = evaluate.fairness(test, out, ours(), [({}, inside)], resamples, 0.9)["groups"]
    expected = true_positive_rate(test.label[inside], out["alert"][inside], sample_weight=on["sample_weight"])
    assert group["recall"]["value"] == pytest.approx(expected, rel=1e-9)


def test_a_resample_is_a_table_with_its_entities_repeated() -> None:
    test, score = sample()
    weights = evaluate.resamples(test.units, 1, seed=3)
    drawn = np.repeat(range(90), weights[1].astype(int))
    at = np.concatenate([np.flatnonzero(test.unit == entity) for entity in drawn])
    again = Judged(test.label[at], test.unit[at], test.day[at])
    once = measured(again, score[at], np.ones((1, test.units)))
    for name in ("average_precision", "roc_auc", "recall_at_precision_90"):
        assert measured(test, score, weights)[name][1] == pytest.approx(once[name][0])


def book_precision(test: Judged, score: np.ndarray, top: int) -> float:
    """The precision top-k of the book, chapter 4, in its own words."""
    caught: set[int] = set()
    precisions = []
    for day in sorted(set(test.day)):
        entities: dict[int, tuple[float, float]] = {}
        for row in np.flatnonzero(test.day == day):
            entity, seen = test.unit[row], entities.get(test.unit[row], (0.0, 0.0))
            if entity not in caught:
                entities[entity] = max(seen[0], score[row]), max(seen[1], test.label[row])
        ranked = sorted(entities, key=lambda entity: -entities[entity][0])[:top]
        found = {entity for entity in ranked if entities[entity][1]}
        precisions.append(len(found) / top)
        caught |= found
    return float(np.mean(precisions))


@pytest.mark.parametrize("top", [5, 20, 100])
def test_entity_precision_is_the_published_one(top: int) -> None:
    test, score = sample()
    found = binary.entity_precision(test, score, np.ones((1, test.units)), top)
    assert found[0] == pytest.approx(book_precision(test, score, top))


def test_an_entity_drawn_twice_takes_two_places() -> None:
    test = Judged(np.array([1.0, 0, 1]), np.arange(3), np.zeros(3, dtype=np.int64))
    weights, score = np.array([[1.0, 1, 1], [2, 1, 0]]), np.array([0.9, 0.8, 0.7])
    assert binary.entity_precision(test, score, weights, top=2).tolist() == [0.5, 1]
    heavy = replace(test, weight=np.array([3.0, 1, 1]))
    assert binary.entity_precision(heavy, score, weights, top=2).tolist() == [0.75, 1]


def test_calibration_error_of_scores_that_are_the_shares_is_small() -> None:
    draw = np.random.default_rng(0)
    score = draw.random(20_000)
    test = Judged((draw.random(20_000) < score).astype(float), np.arange(20_000), np.zeros(20_000, dtype=np.int64))
    exact, halved = (binary.calibration_error(test, s, np.ones((1, 20_000)))[0] for s in (score, score / 2))
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
    out = said(score, alerts)
    raised = out["alert"]
    assert raised.sum() == alerts * len(score) and score[raised].min() > score[~raised].max()
    weights = evaluate.resamples(test.units, 3, seed=0)
    for found, weight in zip(binary.measure(test, out, weights)["accuracy"], weights, strict=True):
        assert found == pytest.approx(accuracy_score(test.label, raised, sample_weight=weight[test.unit]))


@pytest.mark.parametrize("weighted", [False, True])
def test_equal_scores_raise_equal_alerts_and_the_lowest_none(weighted: bool) -> None:
    weight = sample(weighted=weighted)[0].weights + 0.1
    score = np.repeat([2.0, 0, -2.0], [4, 296, 300])[:, None]
    for alerts, many in ((0.001, 4), (0.2, 300), (0.999, 300)):
        found = binary.outputs(score, settled(score, alerts, weight), problem())
        assert found["alert"].sum() == many
    same = np.ones((600, 1))
    assert not binary.outputs(same, settled(same, 0.1, weight), problem())["alert"].any()


def test_the_interval_of_a_calibration_error_holds_it_and_its_high_end_is_the_resamples() -> None:
    draw = np.random.default_rng(7)
    score = draw.random(600)
    test = Judged((draw.random(600) < score).astype(float), np.arange(600), np.zeros(600, dtype=np.int64))
    values = measured(test, score, evaluate.resamples(test.units, 200, seed=0))
    found, drawn = (
        evaluate.intervals(values, 0.5, evaluate.raised(binary))["calibration_error"],
        values["calibration_error"][1:],
    )
    assert np.quantile(drawn, 0.25) > found["value"], "resampling raises it"
    assert 0 <= found["low"] < found["value"] < found["high"] == pytest.approx(np.quantile(drawn, 0.75))


def test_rates_of_groups_are_fairlearns() -> None:
    test, score = sample()
    out = said(score, 0.2)
    group = np.random.default_rng(5).integers(0, 3, 600)
    parts = [({"column": "region", "value": value}, group == value) for value in range(3)]
    weights = evaluate.resamples(test.units, 50, seed=0)
    found = evaluate.fairness(test, out, ours(), parts, weights, 0.9)
    frame = MetricFrame(
        metrics={"false_positive_rate": false_positive_rate, "recall": true_positive_rate},
        y_true=test.label,
        y_pred=out["alert"],
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
    found = evaluate.fairness(test, said(score), ours(), parts, evaluate.resamples(test.units, 5, seed=0), 0.9)
    assert [part["recall"] is None for part in found["groups"]] == [True, False]
    assert found["differences"][0]["recall"] is None


def test_slices_and_groups_may_be_of_a_column_that_the_model_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    table = feature_rows(100)
    source(100)[::-1].write_parquet(evaluate.SOURCE)
    knobs = KNOBS | {
        "groups": {"size": [{"column": "shoe size", "to": 40}]},
        "slices": [{"column": "customer", "to": 9}],
    }
    found = evaluate.with_columns(table, knobs, ours())
    assert found.drop("shoe size", "customer").equals(table)
    assert found["shoe size"].equals(source(100)["shoe size"]) and found["customer"].equals(
        table[ENTITY].alias("customer")
    )
    assert evaluate.with_columns(table, KNOBS, ours()).equals(table)
    wrong = KNOBS | {"slices": [{"column": "shoe sise", "to": 40}]}
    with pytest.raises(BadInput, match="'shoe sise', which is none of .*did you mean `shoe size`"):
        list(evaluate.slices(evaluate.with_columns(table, wrong, ours()), wrong["slices"]))


def test_one_label_only_is_a_sentence() -> None:
    table = feature_rows(500).filter(pl.col(LABEL) == 0)
    with pytest.raises(BadInput, match=r"the \d+ judged rows of the test hold one value of returned only: nothing"):
        evaluate.as_test(table, ours(), {})


@pytest.mark.parametrize("label", [0, 1, None])
def test_weights_that_leave_nothing_to_count_are_a_sentence(label: int | None) -> None:
    nought = pl.lit(True) if label is None else pl.col(LABEL) == label
    table = feature_rows(500).with_columns(pl.when(nought).then(0.0).otherwise(2.0).alias(WEIGHT))
    with pytest.raises(BadInput, match="those whose items is not 0 hold one value of returned only, and a row"):
        evaluate.as_test(table, ours(weight="items"), {})


@pytest.mark.parametrize(("entities", "measured"), [(300, True), (299, False)])
def test_the_first_100_of_few_entities_are_not_measured(entities: int, measured: bool) -> None:
    unit = np.tile(np.arange(entities), 4)
    test = Judged((unit % 7 == 0).astype(float), unit, np.repeat([5, 9], 2 * entities))
    assert binary.units_a_day(test) == entities
    found = binary.measure(test, said(unit / entities), np.ones((1, test.units)))
    assert ("entity_precision_100" in found) is measured is ("entity_precision_100" not in binary.unmeasured(test))


def book_test_set(table: pl.DataFrame, start: date, train: int, delay: int, test: int) -> list[str]:
    """Ids of the test set of the book's `get_train_test_set`, chapter 3, in its own words."""
    rows = table.with_columns(number=(pl.col(TIME).dt.date() - start).dt.total_days())
    positive = rows.filter(pl.col(LABEL) == 1)
    known = set(positive.filter(pl.col("number").is_between(0, train - 1))[ENTITY])
    result: list[str] = []
    for day in range(test):
        known |= set(positive.filter(pl.col("number") == train + day - 1)[ENTITY])
        today = rows.filter(pl.col("number") == train + delay + day)
        result += today.filter(~pl.col(ENTITY).is_in(list(known)))[ID].to_list()
    return result


def late(delay: int) -> contract.Contract:
    """The contract, with another delay of the label."""
    return ours(label=replace(ours().label, delay=delay))


@pytest.mark.parametrize(("delay", "known", "days"), [(7, 7, 3), (3, 4, 7), (1, 1, 2)])
def test_judges_the_published_test_set(delay: int, known: int, days: int) -> None:
    table = feature_rows(1500)
    span = (UNTIL - timedelta(days=days - 1), UNTIL)
    start = span[0] - timedelta(days=delay + known)
    found = evaluate.judged(table, span, late(delay), known)[ID].to_list()
    assert found == book_test_set(table, start, known, delay, days)
    assert 0 < len(found) < table.filter(pl.col(TIME).dt.date().is_between(*span)).height


def test_every_row_is_judged_without_an_entity_or_where_none_is_known() -> None:
    table = feature_rows()
    whole = table.filter(pl.col(TIME).dt.date().is_between(*TEST))
    assert evaluate.judged(table, TEST, ours(), None).equals(whole)
    nobody = ours(entity=None)
    tested = evaluate.judged(table.drop(ENTITY), TEST, nobody, 7)
    assert tested.equals(whole.drop(ENTITY))
    test = evaluate.as_test(tested, nobody, {})
    assert test.units == len(tested)
    found = binary.measure(test, said(tested["amount"].to_numpy() / 1e4), np.ones((1, test.units)))
    assert {*found, *binary.unmeasured(test)} == set(binary.METRICS)
    assert binary.unmeasured(test).keys() == {"entity_precision_100", "ndcg", "precision_at_k"}


def test_entities_and_weights_are_the_contracts() -> None:
    table = feature_rows(500).with_columns(pl.lit(2.0).alias(WEIGHT))
    assert evaluate.as_test(table, ours(), {}).weight is None
    test = evaluate.as_test(table, ours(weight="items"), {})
    assert test.weights.tolist() == [2.0] * 500 and test.units == table[ENTITY].n_unique()
    named = table.with_columns(pl.format("customer {}", ENTITY).alias(ENTITY))  # a text
    assert evaluate.as_test(named, ours(), {}).units == test.units


@pytest.mark.parametrize(
    ("part", "inside"),
    [
        ({"column": "amount", "from": 50, "to": 220}, (pl.col("amount") >= 50) & (pl.col("amount") < 220)),
        ({"column": "items", "value": 3}, pl.col("items") == 3),
        ({"column": "a.b", "to": 0.2}, pl.col("a.b") < 0.2),
        ({"column": "a.b", "value": None}, pl.col("a.b").is_null()),
        ({"column": "born", "from": 2000}, pl.col("born") >= 2000),
        ({"column": "express", "value": True}, pl.col("express")),
        ({"column": "größe €", "value": "NA"}, pl.col("größe €") == "NA"),
        ({"column": "größe €", "value": None}, pl.col("größe €").is_null()),
    ],
    ids=str,
)
def test_a_slice_is_of_a_column_of_any_type(part: dict[str, Any], inside: pl.Expr) -> None:
    table = feature_rows()
    chosen = table.filter(inside)
    (found,) = judged(table, slices=[part])["slices"]
    returns = int(chosen[LABEL].sum())
    assert (found["rows"], found["rarest"]) == (len(chosen), min(returns, len(chosen) - returns))
    assert found["labels"] == f"{returns:,} returns" and 0 < len(chosen) < len(table)
    assert found.items() >= part.items()
    assert found["roc_auc"]["value"] == pytest.approx(roc_auc_score(chosen[LABEL], chosen["amount"]))


def test_a_slice_of_one_label_has_no_metrics() -> None:
    (large,) = judged(feature_rows(), slices=[{"column": "amount", "from": 220.01}])["slices"]
    assert large["rows"] > 0 and large["rarest"] == 0 and large["roc_auc"] is None


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"column": "amonut", "value": 1}, "evaluate.slices names the column 'amonut', .* did you mean `amount`"),
        ({"column": "_label", "value": 1}, "names the column '_label'"),
        ({"column": "größe €", "from": 1}, "größe € is no number, and has no range; write `value:`"),
        ({"column": "größe €", "value": False}, "größe € is text; quote the value; `value` is False"),
        ({"column": "amount", "value": "50"}, "amount is a number; `value` is '50'"),
        ({"column": "express", "value": 1}, "express is true or false; `value` is 1"),
        ({"column": "ordered_at", "value": "2020-01-01"}, "ordered_at is a time, which no slice can name"),
    ],
    ids=str,
)
def test_a_slice_that_cannot_be_is_a_sentence(part: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=f"^policies/evaluation.yaml: .*{words}"):
        judged(feature_rows(500), slices=[part])


def test_the_stage_names_a_typo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_knobs(tmp_path, knobs(evaluate={"resample": 20}))
    with pytest.raises(BadInput, match=r"^policies/evaluation.yaml: evaluate.resample is .* did you mean `resamples`"):
        evaluate.main()


SHARE = 176 / 1568
"""Of positives, among the days of `measured_folder` that are fitted to."""


def test_a_text_that_no_row_has_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*parts: dict[str, Any]) -> list[str]:
        return list(evaluate.misspelt(feature_rows(500), {"slices": [], "groups": {"size": parts}}))

    unseen = {"column": "größe €", "value": "kleim"}
    assert said(unseen) == [
        "policies/evaluation.yaml: evaluate.groups.size: no row of the training and test days has größe € 'kleim'; "
        "did you mean `klein`?"
    ]
    others = [{"column": "größe €", "value": value} for value in ("klein", None)]
    assert said(*others, {"column": "items", "value": 99}, {"column": "lost", "value": "x"}, {"column": "items"}) == []
    monkeypatch.setattr("pipeline.personal.rules", lambda: {"größe €": "hash"})
    assert said(unseen)[0].endswith("has größe € 'kleim'; correct it, or take it out")


@pytest.fixture
def measured_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """The feature rows, some of whose labels are not known yet; what the stages before wrote is there."""
    table = feature_rows()
    table = table.with_columns(pl.when(pl.int_range(pl.len()) % 50 == 7).then(None).otherwise(LABEL).alias(LABEL))
    monkeypatch.chdir(workspace(tmp_path / "work", evaluate=EVALUATED))
    table.write_parquet(rows.FEATURES)
    source().write_parquet(rows.SOURCE)
    write_model(Path("model"))
    Path("build").mkdir()
    scored = table.filter(pl.col(TIME).dt.date().is_between(*TEST))
    columns = {"constant": np.full(len(scored), SHARE), "trees": scored["amount"].to_numpy() / 1e3}
    kept = (tasks.kept(name, said(score)) for name, score in columns.items())
    scored.select(pl.col(ID).alias(rows.ID)).with_columns(kept).write_parquet(evaluate.BASELINES)
    return table


def test_what_a_constant_says_is_known(measured_folder: pl.DataFrame) -> None:
    scores = pl.read_parquet(evaluate.BASELINES)
    scores.with_columns(tasks.kept("constant", said(np.zeros(len(scores))))).write_parquet(evaluate.BASELINES)
    with pytest.raises(BadInput, match=f"^build/baselines.parquet: constant says something else than {SHARE:.6g}"):
        evaluate.main()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ndcg", "evaluate.headline is ndcg: contract.yaml names no group; write one of average_precision, roc_auc"),
        ("rmse", "evaluate.headline is rmse: no metric of the task binary; write one of"),
    ],
)
def test_a_headline_that_no_row_has_is_a_sentence(measured_folder: pl.DataFrame, name: str, sentence: str) -> None:
    said = yaml.safe_load(EVALUATION.read_text())
    said["evaluate"]["headline"] = name
    EVALUATION.write_text(yaml.safe_dump(said))
    with pytest.raises(BadInput, match=sentence):
        evaluate.main()


def test_a_headline_without_a_value_is_a_sentence(
    measured_folder: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary, "average_precision", lambda positive, rows: np.full(len(rows), np.nan))
    with pytest.raises(BadInput, match="headline is average_precision, which has no value on the judged rows"):
        evaluate.main()


@pytest.mark.parametrize("settled", [{"threshold": 0.99}, {}, {"threshold": [1, 2]}, {"threshold": "no"}])
def test_alerts_that_are_settled_otherwise_than_is_said_are_refused(
    measured_folder: pl.DataFrame, settled: dict[str, Any]
) -> None:
    manifest = Path("model/manifest.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"settled": settled}))
    with pytest.raises(BadInput, match=r"what does not follow from `settled` in model/manifest\.json, the first with"):
        evaluate.main()


def test_a_model_that_settled_something_else_is_refused(measured_folder: pl.DataFrame) -> None:
    said = yaml.safe_load(EVALUATION.read_text())
    said["evaluate"]["alerts"] = 0.05
    EVALUATION.write_text(yaml.safe_dump(said))
    with pytest.raises(BadInput, match=r"decides otherwise than what is settled .* so of 8\.16% of them for 4\.85%"):
        evaluate.main()


def test_a_manifest_with_other_outputs_is_refused(measured_folder: pl.DataFrame) -> None:
    manifest = Path("model/manifest.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"outputs": ["score"]}))
    with pytest.raises(BadInput, match="outputs are score, and those of the task binary are score, alert; export"):
        evaluate.main()


def test_a_model_that_looks_at_the_rows_beside_one_is_refused(
    measured_folder: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could keep the test's labels, and use them where it is asked about as many rows as the test has."""
    predict, whole = model.Model.predict, 0.1

    def remembering(self: model.Model, table: pl.DataFrame) -> Outputs:
        out = predict(self, table)
        return said(np.full(len(table), whole)) if len(table) > model.MAX_ROWS else out

    tested = evaluate.tested(ours(), params.load())
    monkeypatch.setattr(model, "MAX_ROWS", len(tested) - 1)
    monkeypatch.setattr(model.Model, "predict", remembering)
    with pytest.raises(BadInput, match="something else where they stand among other rows"):
        evaluate.main()


def test_what_is_written(measured_folder: pl.DataFrame) -> None:
    evaluate.main()
    told = json.loads(evaluate.METRICS.read_text())
    assert told["model"]["family"] == "linear" and told["headline"] in told["metrics"]
    assert list(told["baselines"]) == ["constant", "trees"]
    assert told["baselines"]["constant"]["roc_auc"]["value"] == 0.5
    tested = measured_folder.filter(pl.col(TIME).dt.date().is_between(*TEST))
    assert told["data"]["unlabelled"] == tested[LABEL].null_count() == 12
    assert told["data"]["test_rows"] + told["data"]["left_out"] + told["data"]["unlabelled"] == len(tested)
    span = (FIRST + timedelta(days=5), FIRST + timedelta(days=14))
    trained = measured_folder.filter(pl.col(TIME).dt.date().is_between(*span)).drop_nulls(LABEL)
    assert told["data"]["train_rows"] == len(trained) and told["data"]["train"] == [str(day) for day in span]
    assert told["fairness"]["shoes"]["groups"][0]["rows"] > 0
    predictions = pl.read_parquet(evaluate.PREDICTIONS)
    assert predictions.columns == ["_id", "_label", "model", "constant", "trees"]
    assert predictions["model"].struct.fields == ["score", "alert"]
    assert len(predictions) == told["data"]["test_rows"] and predictions["_label"].null_count() == 0


def test_the_stage_names_a_value_that_is_misspelt(measured_folder: pl.DataFrame) -> None:
    write_knobs(Path(), knobs(evaluate={"slices": [{"column": "größe €", "value": "kleim"}]}))
    with pytest.raises(BadInput, match=r"evaluate.slices: no row of .* did you mean `klein`"):
        evaluate.main()
    assert not evaluate.METRICS.exists()


def test_curves_begin_and_end_where_they_should() -> None:
    test, score = sample()
    precise, roc, calibrated, scores = binary.curves(test, {"model": said(score)}, problem())
    assert [roc["series"]["model"][axis][0] for axis in "xy"] == [0, 0]
    assert [roc["series"]["model"][axis][-1] for axis in "xy"] == [1, 1]
    assert precise["series"]["model"]["y"][-1] == pytest.approx(test.label.mean())
    assert sum(scores["series"]["positive"]["y"]) == test.label.sum()
    assert len(calibrated["series"]["model"]["x"]) == tasks.BINS
