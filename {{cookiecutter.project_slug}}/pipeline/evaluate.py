"""Measure the model and the baselines on the test days, each metric with a bootstrap interval.

A published protocol: labels are late, so entities that are known to have a positive leave the test (the handbook of
Le Borgne et al., 2022, chapters 3 and 4). What is measured, the task says (pipeline/tasks/); policies judge elsewhere.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, model, params, rows, tasks
from pipeline.contract import Contract
from pipeline.model import Outputs, Problem
from pipeline.params import BadInput, run_stage
from pipeline.policy.bars import load
from pipeline.reading import count, nearest
from pipeline.rows import ENTITY, FEATURES, GROUP, ID, LABEL, SOURCE
from pipeline.tasks import Array, Judged, Task, Values

BASELINES = Path("build/baselines.parquet")
MODEL = Path("model")
METRICS = Path("metrics.json")
PREDICTIONS = Path("reports/predictions.parquet")
"""`_id`, `_label`, and the outputs of `model` and of each family that is not shipped, of each judged row."""
CURVES = Path("reports/curves.json")

NEAR = 1e-6  # how far rounding moves an answer, at most
CONSTANT = "constant"  # the one family whose answer is known without fitting it
SETTLED = 0.005  # of a share: how far rounding moves it


# Which rows are judged


def judged(table: pl.DataFrame, test: tuple[date, date], ours: Contract, known: int | None) -> pl.DataFrame:
    """The rows of the test days, less those of entities that are known to have a positive on their day.

    An entity is known on day d once it had a positive on day d - delay - 1 or before, counted from `known` days before
    the first test day's delay: `get_train_test_set` of the book, chapter 3, with a training period of `known` days.
    Every row is judged where `known` is None, or the contract names no entity.
    """
    day = pl.col(ours.time).dt.date()
    tested = table.filter(day.is_between(*test))
    positive = tasks.task(ours.task).POSITIVE
    if known is None or ours.entity is None or positive is None:
        return tested
    delay = ours.label.delay
    first = test[0] - timedelta(days=delay + known)
    found = table.filter((day >= first) & (pl.col(LABEL) == positive))
    found = found.group_by(ENTITY).agg(day.min().alias("_first"))
    unknown = (pl.col("_first") >= day - timedelta(days=delay)).fill_null(True)
    return tested.join(found, on=ENTITY, how="left", maintain_order="left").filter(unknown).drop("_first")


# Intervals


def resamples(units: int, number: int, seed: int) -> np.ndarray:
    """How often the sample, then `number` bootstrap resamples hold each unit: float32 [1 + number, units]."""
    draws = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=number)
    return np.concatenate([np.ones((1, units)), draws]).astype(np.float32)


def intervals(values: Values, confidence: float, raised: Iterable[str] = ()) -> dict[str, dict[str, float]]:
    """{"value", "low", "high"} a metric, from the sample's value and its resamples' (the percentile bootstrap).

    Of some metrics a resample, less even than the sample, has more (`raised`): where all of an interval would lie above
    its value, its low end is that of the basic bootstrap, which takes the bias off; the high end, which bars are held
    against, stays (Davison and Hinkley, Bootstrap Methods and their Application, 1997, 5.2).
    """
    edges = [(1 - confidence) / 2, (1 + confidence) / 2]
    result = {}
    for name, value in values.items():
        low, high = np.nanquantile(value[1:], edges)
        if name in raised and low > value[0] >= 0:
            low = max(2 * value[0] - high, 0)
        result[name] = {"value": float(value[0]), "low": float(low), "high": float(high)}
    return result


def known(values: Values, confidence: float, raised: Iterable[str] = ()) -> dict[str, dict[str, float] | None]:
    """The intervals; None for what the sample itself has no value of."""
    there = intervals({name: value for name, value in values.items() if not np.isnan(value[0])}, confidence, raised)
    return {name: there.get(name) for name in values}


def raised(task: Task) -> list[str]:
    """The metrics that a resample has more of than the sample."""
    return [name for name, metric in task.METRICS.items() if metric.raised]


def smaller(task: Task) -> list[str]:
    """The metrics of which less is better."""
    return [name for name, metric in task.METRICS.items() if not metric.larger]


# Groups of people


def fairness(
    test: Judged,
    out: Outputs,
    ours: Contract,
    groups: Sequence[tuple[dict[str, Any], Array]],
    weights: Array,
    confidence: float,
) -> dict[str, Any]:
    """The task's rates in each group (its rows, bool [rows]), and each pair's differences.

    A rate is None where a group has no row that it counts.
    """
    counted, found = tasks.task(ours.task).rates(test, out, Problem.of(ours)), []
    for _, inside in groups:
        rates = {name: tasks.share(test, true, weights, inside * among) for name, (true, among) in counted.items()}
        found.append(rates)
    return {
        "groups": [
            part | size(test, inside, ours) | known(rate, confidence)
            for (part, inside), rate in zip(groups, found, strict=True)
        ],
        "differences": [
            {"between": [a, b]} | known({name: found[a][name] - found[b][name] for name in found[a]}, confidence)
            for a, b in combinations(range(len(groups)), 2)
        ],
    }


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


def slice_values(task: Task, test: Judged, out: Outputs, inside: Array, weights: Array) -> Values:
    """The metrics of a slice, of the rows `inside`, for each resample; NaN where there is nothing to measure."""
    if not inside.any():
        return {name: np.full(len(weights), np.nan) for name in task.SLICED}
    return task.measure(test.some(inside), tasks.picked(out, inside), weights, task.SLICED)


def size(test: Judged, inside: Array, ours: Contract) -> dict[str, Any]:
    """How many rows are inside, what their labels are, and how many of the rarest class where each has to be there."""
    task, problem, label = tasks.task(ours.task), Problem.of(ours), test.label[inside]
    if not len(label):
        return {"rows": 0, "labels": "", "rarest": None}
    told, rarest = task.told(label, problem, ours), task.rarest(label, problem)
    return {"rows": len(label), "labels": told, "rarest": rarest}


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


def as_test(table: pl.DataFrame, ours: Contract, knobs: Mapping[str, Any]) -> Judged:
    """The judged rows as arrays. Raises BadInput where nothing can be measured on them, or on those of some weight."""
    task, problem = tasks.task(ours.task), Problem.of(ours)
    test = Judged(
        label=table[LABEL].cast(pl.Float64).to_numpy(),
        unit=coded(table, drawn(ours)),
        day=table[ours.time].dt.date().cast(pl.Int64).to_numpy(),
        weight=rows.weights(table) if ours.weight else None,
        group=coded(table, GROUP) if ours.group else None,
        entities=ours.entity is not None and ours.dated,  # a delivery has no days to look at entities on
        top=knobs.get("k", Judged.top),
    )
    if said := task.unmeasurable(test.label, problem):
        raise BadInput(
            f"the {len(table):,} judged rows of the test hold {said}: nothing can be measured; move data.until in "
            f"params.yaml, or test more rows by `split` in {params.EVALUATION}"
        )
    if said := task.unmeasurable(rows.labels(table), problem):
        raise BadInput(
            f"{SOURCE}: of the judged rows of the test, those whose {ours.weight} is not 0 hold {said}, and a row of "
            "weight 0 counts for nothing; mend the source, or take `weight` out of contract.yaml"
        )
    return test


def drawn(ours: Contract) -> str | None:
    """What a resample draws: entities, else groups, else rows. Whoever has no time may be there on several days."""
    if ours.entity or ours.group:
        return ENTITY if ours.entity else GROUP
    return None if ours.dated else ours.id


def coded(table: pl.DataFrame, name: str | None) -> Array:
    """Numbers from 0 on for the values of a column, int64 [rows]; one a row where it is None."""
    found = table[name].rank("dense").to_numpy() - 1 if name else np.arange(len(table))
    return found.astype(np.int64)


def evaluate(
    test: Judged, table: pl.DataFrame, outs: dict[str, Outputs], alike: Outputs, ours: Contract, knobs: dict[str, Any]
) -> dict[str, Any]:
    """The blocks of metrics.json that are measured: `outs` holds what "model" and the baselines say of the rows.

    `alike` is the same for every row.
    """
    confidence, task = knobs["confidence"], tasks.task(ours.task)
    weights = resamples(test.units, knobs["resamples"], knobs["seed"])
    values = {name: task.measure(test, out, weights) for name, out in outs.items()}
    measured = {name: known(found, confidence, raised(task)) for name, found in values.items()}
    return {
        "metrics": measured.pop("model"),
        "headline": headline(ours, knobs),
        "smaller": smaller(task),
        "unmeasured": task.unmeasured(test),
        "above_constant": intervals(above_constant(task, test, outs["model"], alike, weights), confidence)["above"],
        "baselines": measured,
        "slices": [
            part
            | size(test, inside, ours)
            | known(slice_values(task, test, outs["model"], inside, weights), confidence)
            for part, inside in slices(table, knobs["slices"])
        ],
        "fairness": {
            name: fairness(test, outs["model"], ours, list(slices(table, parts, f"groups.{name}")), weights, confidence)
            for name, parts in knobs["groups"].items()
        },
    }


def above_constant(task: Task, test: Judged, out: Outputs, alike: Outputs, weights: Array) -> Values:
    """By how much the task's headline is better than that of one answer for every row, each resample drawn for both.

    Every row counts alike: weights are the problem's own, and could leave nothing but the rows that it gets right.
    """
    evenly, name = replace(test, weight=None), task.HEADLINE
    found, same = (task.measure(evenly, each, weights, (name,))[name] for each in (out, alike))
    return {"above": found - same if task.METRICS[name].larger else same - found}


def headline(ours: Contract, knobs: Mapping[str, Any]) -> str:
    """The metric that people are told first, and that days and inputs are told by."""
    return str(knobs.get("headline", tasks.task(ours.task).HEADLINE))


def check_headline(test: Judged, ours: Contract, knobs: Mapping[str, Any]) -> None:
    """Raises BadInput where the headline is no metric of the task, or these rows have no value of it."""
    name, task = headline(ours, knobs), tasks.task(ours.task)
    lost = task.unmeasured(test)
    if name not in task.METRICS or name in lost:
        known = [each for each in task.METRICS if each not in lost and not task.METRICS[each].ends]
        why = lost.get(name, f"no metric of the task {ours.task}")
        raise BadInput(f"{params.EVALUATION}: evaluate.headline is {name}: {why}; write one of {', '.join(known)}")


def tested(ours: Contract, knobs: Mapping[str, Any]) -> pl.DataFrame:
    """The judged rows. Raises BadInput where there are none."""
    days = ours.days(knobs)
    return judged(rows.between(days.train[0], days.test[1], ours), days.test, ours, knobs["evaluate"].get("known"))


def main() -> None:
    knobs, ours = params.load() | load("evaluation"), contract.load()
    days, task = ours.days(knobs), tasks.task(ours.task)
    table = rows.between(days.train[0], days.test[1], ours)
    tested = judged(table, days.test, ours, knobs["evaluate"].get("known"))
    test = as_test(tested, ours, knobs["evaluate"])
    check_headline(test, ours, knobs["evaluate"])
    if found := list(misspelt(with_columns(table, knobs["evaluate"], ours), knobs["evaluate"])):
        raise BadInput("\n".join(found))
    scorer = model.load(MODEL)
    outs = {"model": scorer.predict(tested), **baselines(tested, ours)}
    check_answers(outs["model"], scorer, tested, ours)
    day = pl.col(ours.time).dt.date()
    fitted, calibration = (
        table.filter(day.is_between(*span)) for span in (tasks.fitted_to(task, days), days.calibration)
    )
    check_settled(scorer, calibration, knobs["evaluate"])
    alike = same_for_all(fitted, calibration, len(tested), ours, knobs["evaluate"])
    check_constant(outs.get(CONSTANT), alike, task)
    blocks = evaluate(test, with_columns(tested, knobs["evaluate"], ours), outs, alike, ours, knobs["evaluate"])
    if blocks["metrics"][blocks["headline"]] is None:
        raise BadInput(
            f"{params.EVALUATION}: evaluate.headline is {blocks['headline']}, which has no value on the judged rows: "
            "their labels, or those of each group, are all alike; mend the source, or name another"
        )
    about = {
        "model": {
            "digest": scorer.digest,
            "family": scorer.family,
            "bytes": sum(file.stat().st_size for file in MODEL.iterdir()),
            "decides": task.decides(scorer.settled, len(calibration)),
        },
        "data": {
            "source": knobs["data"]["source"],
            "snapshot": knobs["data"]["snapshot"],
            "train": [str(day) for day in days.train],
            "test": [str(day) for day in days.test],
            **({} if ours.dated else {"share": params.share(knobs)}),
            "train_rows": table.filter(day <= days.train[1]).height,
            "calibration_rows": len(calibration) * task.SETTLES,
            "test_rows": tested.height,
            "test_labels": size(test, np.full(len(tested), True), ours)["labels"],
            **left(table, tested, days.test, ours),
        },
    }
    PREDICTIONS.parent.mkdir(exist_ok=True)
    labels = tested.select(pl.col(ours.id).alias(ID), LABEL)
    labels.with_columns(tasks.kept(name, out) for name, out in outs.items()).write_parquet(PREDICTIONS)
    CURVES.write_text(json.dumps({"curves": task.curves(test, outs, Problem.of(ours))}) + "\n")
    METRICS.write_text(json.dumps(about | blocks, indent=2) + "\n")
    for name, metric in blocks["metrics"].items():
        beside = ", ".join(f"{each} {said(values[name])}" for each, values in blocks["baselines"].items())
        print(f"{name}: {said(metric, 'low', 'high')}; {beside}")


def said(metric: Mapping[str, float] | None, *ends: str) -> str:
    """A metric in words, with the ends of its interval where they are asked for."""
    if metric is None:
        return "none"
    low_to_high = f" ({' to '.join(f'{metric[end]:.4g}' for end in ends)})" if ends else ""
    return f"{metric['value']:.4g}{low_to_high}"


def baselines(tested: pl.DataFrame, ours: Contract) -> dict[str, Outputs]:
    """What each family that is not shipped says of these rows, by its name."""
    found = pl.read_parquet(BASELINES)
    asked = tested.select(pl.col(ours.id).alias(ID))
    fitted = asked.join(found, on=ID, how="left", maintain_order="left")
    return {name: tasks.taken(fitted[name]) for name in found.columns if name not in (ID, "model")}


def check_answers(out: Outputs, scorer: model.Model, tested: pl.DataFrame, ours: Contract) -> None:
    """Raises BadInput where a model says what none of its task may say, or decides by something else than it says.

    So it does where it answers a row otherwise among other rows: what was measured would not be what is served.
    """
    task, ids = tasks.task(scorer.problem.task), tested[ours.id]
    if out.keys() != task.OUTPUTS.keys():
        wanted = f"those of the task {scorer.problem.task} are {', '.join(task.OUTPUTS)}"
        raise BadInput(
            f"{MODEL / model.MANIFEST}: outputs are {', '.join(out)}, and {wanted}; export it as the task does"
        )
    alone = np.ones(len(ids), bool)
    for some in in_parts(len(ids)):
        alone[some] = task.gap(scorer.predict(tested[some]), tasks.picked(out, some)) <= NEAR
    try:
        follows = task.follows(out, {name: np.array(value) for name, value in scorer.settled.items()}, scorer.problem)
    except (KeyError, IndexError, ValueError, TypeError):
        follows = np.full(len(ids), False)
    for right, what in (
        (task.sound(out, scorer.problem), f"what no model of the task {scorer.problem.task} may say"),
        (follows, f"what does not follow from `settled` in {MODEL / model.MANIFEST}"),
        (alone, "something else where they stand among other rows"),
    ):
        if not right.all():
            from pipeline import personal  # for this sentence alone

            number, first = count(int((~right).sum()), "test row"), personal.named(ids.name, ids.filter(~right)[0])
            raise BadInput(f"{MODEL} says of {number} {what}, the first with {first}; export it as the task does")


def in_parts(rows: int) -> Iterator[Array]:
    """The places of all rows, as requests ask for them: in any order, and any number at once.

    They follow from no seed, so that no model can know them; one that is sound says the same in any.
    """
    draw = np.random.default_rng()
    order = draw.permutation(rows)
    while len(order):
        some = int(draw.integers(1, model.MAX_ROWS, endpoint=True))
        yield order[:some]
        order = order[some:]


def check_settled(scorer: model.Model, calibration: pl.DataFrame, knobs: Mapping[str, Any]) -> None:
    """Raises BadInput where a model's decisions are not those that these rows settle."""
    task, problem = tasks.task(scorer.problem.task), scorer.problem
    if not task.SETTLES:
        return
    label, weight, out = calibration[LABEL].to_numpy(), rows.weights(calibration), scorer.predict(calibration)
    raw = task.raw(out)
    again = task.outputs(raw, task.settle(raw, label, weight, problem, knobs), problem)
    found, wanted = (task.decided(label, weight, each) for each in (out, again))
    if abs(found - wanted) > max(2 / len(calibration), SETTLED * wanted):
        raise BadInput(
            f"{MODEL} decides otherwise than what is settled on the calibration rows, so of {found:.2%} of them for "
            f"{wanted:.2%}; make it again with `make model`, or have an administrator merge another way to settle it"
        )


def same_for_all(
    fitted: pl.DataFrame, calibration: pl.DataFrame, number: int, ours: Contract, knobs: Mapping[str, Any]
) -> Outputs:
    """What the family `constant`, fitted to such rows and settled on others, says of so many rows."""
    task, problem = tasks.task(ours.task), Problem.of(ours)
    raw = task.alike(fitted[LABEL].to_numpy(), rows.weights(fitted), problem)
    target, weight = calibration[LABEL].to_numpy(), rows.weights(calibration)
    constants = task.settle(np.tile(raw, (len(calibration), 1)), target, weight, problem, knobs)
    return task.outputs(np.tile(raw, (number, 1)), constants, problem)


def check_constant(found: Outputs | None, alike: Outputs, task: Task) -> None:
    """Raises BadInput where the baseline `constant` says anything but what follows from the training rows' labels."""
    if found is None:  # it is shipped, or left out
        return
    if not (task.gap(found, alike) <= 1e-9).all():
        raise BadInput(
            f"{BASELINES}: {CONSTANT} says something else than {task.point(alike)[0]:.6g}, which is what the labels of "
            "the training days come to; make it again with `make model`"
        )


def left(table: pl.DataFrame, tested: pl.DataFrame, days: tuple[date, date], ours: Contract) -> dict[str, int]:
    """How many rows of the test days were not judged: their label is not known yet, or their entity was known."""
    day = pl.col(ours.time).dt.date().is_between(*days)
    unknown = pl.scan_parquet(FEATURES).filter(day & pl.col(LABEL).is_null()).select(pl.len()).collect().item()
    return {"unlabelled": unknown, "left_out": table.filter(day).height - tested.height}


if __name__ == "__main__":
    run_stage(main)
