"""metrics.json and reports/comparison.json against policies/model.yaml."""

from collections.abc import Collection, Iterator
from itertools import chain

from pipeline.policy.bars import (
    BEYOND,
    LEAST,
    OTHER,
    Bars,
    Measured,
    Violation,
    interval,
    point,
    worse,
)
from pipeline.policy.champion import by_days, judge_champion, judge_delivery, judge_seen
from pipeline.policy.slices import few, too_few, where
from pipeline.reading import nearest

BY_DAYS = (
    "what the champion was trained on is told by its days alone: no hashes of the columns hashed here came with it"
)
BY_NOTHING = "what the champion was trained on is not known: of what share of its delivery it was tested on is not said"
SMALLER = {"network": "fewer or narrower `hidden`, fewer `pieces` of", "trees": "fewer `trees`, fewer `leaves` of"}


def judge_model(measured: Measured, policy: Bars) -> list[Violation]:
    """The bars of policies/model.yaml that metrics.json, and reports/comparison.json beside it, do not meet."""
    comparison, policy = measured["comparison"], less(policy, measured["unmeasured"])
    return [
        *judge_size(measured, policy),
        *judge_metrics(measured, policy),
        *judge_baselines(measured, policy),
        *judge_slices(measured, policy),
        *judge_fairness(measured, policy),
        *judge_seen(comparison, policy),
        *judge_delivery(comparison),
        *judge_champion(comparison, policy),
    ]


def less(policy: Bars, names: Collection[str]) -> Bars:
    """The policy without its bars on these metrics."""
    bars = {"metrics": {name: bar for name, bar in policy["metrics"].items() if name not in names}}
    for block in ("baselines", "champion"):
        kept = {name: bar for name, bar in policy[block]["metrics"].items() if name not in names}
        bars[block] = {**policy[block], "metrics": kept}
    return {**policy, **bars}


def judge_size(metrics: Measured, policy: Bars) -> Iterator[Violation]:
    """A model directory that is too large to ship."""
    family = metrics["model"]["family"]
    if metrics["model"]["bytes"] > policy["bytes"]:
        yield Violation(
            rule="bytes",
            file="model",
            value=f"{metrics['model']['bytes']:,} bytes",
            bar=f"at most {policy['bytes']:,}",
            next=f"make the model smaller: {SMALLER.get(family, 'its knobs are')} families.{family} in params.yaml",
        )


def judge_metrics(metrics: Measured, policy: Bars) -> Iterator[Violation]:
    """Metrics whose worse end misses a bar, or that were not measured."""
    for name, bars in policy["metrics"].items():
        found = metrics["metrics"].get(name)
        for end, beyond in BEYOND.items():
            if end in bars and beyond(worse(found, end), bars[end]):
                yield Violation(
                    rule=f"metrics.{name}.{end}",
                    file="metrics.json",
                    value=interval(found),
                    bar=f"at {LEAST[end]} {bars[end]:g} at the interval's worse end",
                    rows=metrics["data"]["test_rows"],
                    next="look at the plots of reports/index.html: more rows to learn from, or another model"
                    if found
                    else NO_VALUE
                    if name in metrics["metrics"]
                    else f"correct the name in policies/model.yaml; {nearest(name, metrics['metrics'])}",
                )


def judge_baselines(metrics: Measured, policy: Bars) -> Iterator[Violation]:
    """Families that the model does not beat by more than the margin; one that was not measured is a violation too.

    The model has not to beat itself, where its family is one of them. The other families are shown, and bar nothing.
    """
    for name in policy["baselines"]["beaten"]:
        if name == metrics["model"]["family"]:
            continue
        theirs = metrics["baselines"].get(name)
        if theirs is None:
            yield Violation(
                rule=f"baselines.beaten.{name}",
                file="metrics.json",
                value="not measured",
                bar="every family of this list is measured, and beaten",
                next=f"put {name} back under families in params.yaml",
            )
            continue
        yield from not_beaten(metrics, name, theirs, policy["baselines"]["metrics"])


def not_beaten(metrics: Measured, baseline: str, theirs: Measured, margins: Bars) -> Iterator[Violation]:
    """Metrics that a family has as well as the model."""
    for name, margin in margins.items():
        ours = metrics["metrics"].get(name)
        below = name in metrics["smaller"]
        if not (-1 if below else 1) * (point(ours) - point(theirs.get(name))) > margin:
            yield Violation(
                rule=f"baselines.metrics.{name}",
                file="metrics.json",
                value=f"the model has {interval(ours)}, {baseline} has {interval(theirs.get(name))}",
                bar=f"more than {margin:g} {'below' if below else 'above'} {baseline}",
                rows=metrics["data"]["test_rows"],
                next=AS_GOOD if baseline == CONSTANT else f"improve the model, or ship {baseline} {SIMPLER}",
            )


NO_VALUE = "it has no value on these rows: look at their labels, and at those within a group"
CONSTANT = "constant"
SIMPLER = "(train.family in params.yaml): it is as good, and simpler"
AS_GOOD = "bring other inputs, or more rows: these say no more of the label than one answer for all"


def judge_slices(metrics: Measured, policy: Bars) -> Iterator[Violation]:
    """Slices large enough to judge, whose better end misses a bar."""
    for piece in metrics["slices"]:
        if few(piece, policy["slices"]):
            continue
        for name, bars in policy["slices"]["metrics"].items():
            for end, beyond in BEYOND.items():
                if end in bars and beyond(worse(piece.get(name), OTHER[end]), bars[end]):
                    yield Violation(
                        rule=f"slices.metrics.{name}.{end}",
                        file="metrics.json",
                        value=f"{name} {interval(piece.get(name))} where {where(piece)}",
                        bar=f"at {LEAST[end]} {bars[end]:g} at the interval's better end",
                        rows=piece["rows"],
                        next="look at this slice's rows in reports/predictions.parquet: the model serves them badly",
                    )


def judge_fairness(metrics: Measured, policy: Bars) -> Iterator[Violation]:
    """Pairs of groups, both large enough to judge, whose rates lie further apart than they may, beyond chance."""
    for name, bars in policy["fairness"]["groups"].items():
        if name not in metrics["fairness"]:
            yield Violation(
                rule=f"fairness.groups.{name}",
                file="metrics.json",
                value="not measured",
                bar="groups of people that are measured",
                next="name them under evaluate.groups in policies/evaluation.yaml, or correct the name in "
                f"policies/model.yaml; {nearest(name, metrics['fairness'])}",
            )
            continue
        groups, pairs = metrics["fairness"][name]["groups"], metrics["fairness"][name]["differences"]
        for pair, (rate, most) in ((pair, bar) for pair in pairs for bar in bars.items()):
            one, other = (groups[number] for number in pair["between"])
            if few(one, policy["fairness"]) or few(other, policy["fairness"]):
                continue
            if (gap := apart(pair[rate])) > most:
                yield Violation(
                    rule=f"fairness.groups.{name}.{rate}",
                    file="metrics.json",
                    value=f"{rate} is {interval(one[rate])} where {where(one)}, {interval(other[rate])} where "
                    f"{where(other)}: {gap:.4g} apart at least",
                    bar=f"at most {most:g} apart at the interval's better end",
                    rows=one["rows"] + other["rows"],
                    next="see in reports/explanations.json what moves the answers: does a column stand for the group?",
                )


def apart(difference: Measured | None) -> float:
    """How far two rates lie apart at least: the end of the difference's interval that is nearer to 0; 0 across it."""
    return max(worse(difference, "minimum"), -worse(difference, "maximum"), 0) if difference else 0


def unjudged_model(measured: Measured, policy: Bars) -> list[str]:
    """What no bar of policies/model.yaml could be held against, and why."""
    comparison = measured["comparison"]
    problem = (
        comparison["problem"]
        if comparison["champion"]
        else "nothing of this problem is in production yet to compare with"
    )
    barred = {name for block in (policy, policy["baselines"], policy["champion"]) for name in block["metrics"]}
    return [
        *(f"{name}: {why}" for name, why in measured["unmeasured"].items() if name in barred),
        *too_few("the slice", measured["slices"], "slices", policy["slices"]),
        *(
            []
            if measured["slices"]
            else ["slices: none were measured; `make bars` proposes some, and `make model` measures them"]
        ),
        *chain.from_iterable(
            too_few(f"the group of {name}", found["groups"], "fairness", policy["fairness"])
            for name, found in measured["fairness"].items()
        ),
        *unequalled(measured["fairness"], policy["fairness"]),
        *([f"champion: {problem}"] if problem else []),
        *([f"contamination: {BY_NOTHING if comparison.get('delivery') else BY_DAYS}"] if by_days(comparison) else []),
    ]


def unequalled(fairness: Measured, policy: Bars) -> Iterator[str]:
    """Bars on groups of which there is one alone, or of two that are large enough and one has no such rate."""
    for name, bars in policy["groups"].items():
        found = fairness.get(name, {"groups": [], "differences": []})
        if len(found["groups"]) == 1:
            yield f"fairness.groups.{name}: it is one group alone; name another in policies/evaluation.yaml"
        for pair, rate in ((pair, rate) for pair in found["differences"] for rate in bars):
            one, other = (found["groups"][number] for number in pair["between"])
            if not (few(one, policy) or few(other, policy)) and pair[rate] is None:
                place = f"where {where(one)}, or {where(other)}"
                yield f"fairness.groups.{name}.{rate}: {place}, there is no row that it counts"
