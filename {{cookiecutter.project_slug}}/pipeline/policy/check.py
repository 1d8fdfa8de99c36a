"""Check contract, knobs and policies against their schemas, and each other, without judging anything by them.

A policy that names a column that is not there would judge nothing, and be silent; one whose bars keep each other from
being met would never do what it says.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any

from pipeline import contract, params, tasks
from pipeline.contract import CONTRACT, Column, Contract, leveled
from pipeline.model import Problem
from pipeline.params import PARAMS, BadInput, run_stage
from pipeline.policy.bars import BEYOND, POLICIES, Bars, load
from pipeline.reading import nearest, shown
from pipeline.tasks import Task


def main() -> None:
    """Raises BadInput for the first file that is not as its schema says, for all names that are no column, and more."""
    params.check()
    ours = contract.check()
    print(f"{CONTRACT} and {PARAMS}: as their schemas say")
    policies = {path.stem: load(path.stem) for path in sorted(POLICIES.glob("*.yaml"))}
    found = [*strangers(policies, ours, params.load()["families"]), *contradictions(policies["drift"]["retrain"])]
    if found:
        raise BadInput("\n".join(found))
    for name in policies:
        print(f"{POLICIES / name}.yaml: as its schema says, and the contract")


def strangers(policies: Mapping[str, Bars], ours: Contract, families: Iterable[str]) -> Iterator[str]:
    """What policies name that is not there, or not what they take it for, a sentence each."""
    source, inputs = ours.columns, ours.inputs
    parts = policies["evaluation"]["evaluate"]
    groups = parts["groups"]
    if ("share" in policies["evaluation"]["split"]) == ours.dated:
        split = "days, such as {train: 28, calibrate: 2, test: 7}"
        split = split if ours.dated else "shares of the rows, such as {share: 0.2, calibrate: 0.1}"
        time = ours.time if ours.dated else "null"
        where = f"{POLICIES}/evaluation.yaml: split"
        yield f"{where} is not for the rows of {CONTRACT}, whose time is {time}; write {split}"
    if said := tasks.mistakable(Problem.of(ours)):
        yield f"{CONTRACT}: {said}"
    yield from unknown("data", "columns", policies["data"]["columns"], source, ours)
    for column in source:
        if "level" in policies["data"]["columns"].get(column.name, {}) and not leveled(column, ours):
            yield (
                f"{POLICIES}/data.yaml: columns.{column.name}.level: only numbers have one that the model sees or "
                f"predicts, and whose range in {CONTRACT} begins at 0 or above; take it out"
            )
    yield from labelled(policies["data"]["label"], ours)
    for block in ("columns", "categories"):
        exceptions = policies["drift"][block]["exceptions"]
        yield from unknown("drift", f"{block}.exceptions", exceptions, inputs, ours)
        yield from misplaced(block, exceptions, inputs)
    yield from unknown("drift", "skew.exceptions", policies["drift"]["skew"]["exceptions"], inputs, ours)
    logged = [column for column in (*source, *inputs) if column.name != ours.time]
    yield from unknown("log", "personal", policies["log"]["personal"], logged, ours, "request_id")
    yield from knobs(parts, ours)
    for policy, place, names, known in measured_by(policies, tasks.task(ours.task)):
        yield from unmeasured(f"{POLICIES}/{policy}.yaml: {place}", names, known, ours)
    for name in policies["model"]["baselines"]["beaten"]:
        if name not in families:
            yield (
                f"{POLICIES}/model.yaml: baselines.beaten: {name} is not among the families of {PARAMS}, which are "
                f"{', '.join(families)}; put it there, or take it out"
            )
    yield from sliced("evaluate.slices", parts["slices"], ours)
    for name, pieces in groups.items():
        yield from sliced(f"evaluate.groups.{name}", pieces, ours)
    for name in policies["model"]["fairness"]["groups"]:
        rates = tasks.task(ours.task).rate_names(Problem.of(ours))
        for rate in (rate for rate in policies["model"]["fairness"]["groups"][name] if rate not in rates):
            where = f"{POLICIES}/model.yaml: fairness.groups.{name}.{rate}"
            yield f"{where} is no rate of the task {ours.task}; {nearest(rate, rates)}"
        if name not in groups:
            near = nearest(name, groups) if groups else "name it there, or take it out"
            yield f"{POLICIES}/model.yaml: fairness.groups.{name} is no group of evaluation.yaml; {near}"
    yield from unknown(
        "behaviour", "reliance.unused", policies["behaviour"]["reliance"].get("unused", []), inputs, ours
    )
    for kind in ("functionality", "invariance", "direction"):
        for at, case in enumerate(policies["behaviour"][kind]):
            yield from behaves(kind, at, case, ours)


def labelled(bars: Bars, ours: Contract) -> Iterator[str]:
    """Bars of the label for what is no part of it, and shares that are none."""
    parts, own = tasks.task(ours.task).parts(Problem.of(ours)), bars.get("parts", {})
    where = f"{POLICIES}/data.yaml: label"
    for name in (name for name in own if name not in parts):
        advice = f'quote it: "{name}"' if str(name) in parts else nearest(name, parts)
        yield f"{where}.parts.{name} is no part of the label; {advice}"
    blocks = {"": bars, **{f".parts.{name}": part for name, part in own.items()}}
    blocks |= {f"{place}.day": block["day"] for place, block in blocks.items() if "day" in block}
    for place, end in ((place, end) for place in blocks for end in BEYOND if ours.label.values):
        if not 0 <= (bar := blocks[place].get(end, 0)) <= 1:
            yield f"{where}{place}.{end} is {bar:g}, and the share of a class lies between 0 and 1; write 0.05 for 5%"


def unknown(
    policy: str, place: str, names: Iterable[str], known: Sequence[Column], ours: Contract, *more: str
) -> Iterator[str]:
    """Names that are none of the `known` columns."""
    allowed = [*dict.fromkeys(column.name for column in known), *more]
    for name in (name for name in names if name not in allowed):
        yield f"{POLICIES}/{policy}.yaml: {place}.{name} is {other(name, ours) or stranger('no column', name, allowed)}"


def stranger(what: str, name: str, allowed: Iterable[str]) -> str:
    """What is said of a name that is nowhere."""
    return f"{what}; {nearest(name, list(allowed))}"


def other(name: str, ours: Contract) -> str:
    """What is said of a column of the source that is not what a policy may name; nothing where it is no column."""
    if name == ours.time:
        return "the time of a row, which is no input and no personal value; take it out"
    return "a column, but no input of the model; take it out" if name in (c.name for c in ours.columns) else ""


def misplaced(block: str, exceptions: Iterable[str], inputs: Sequence[Column]) -> Iterator[str]:
    """Exceptions of drift.yaml for inputs of the other kind, whose distance is another."""
    for column in (column for column in inputs if column.name in exceptions):
        right = "categories" if column.type == "category" else "columns"
        if right != block:
            where = f"{POLICIES}/drift.yaml: {block}.exceptions.{column.name}"
            yield f"{where} is of type {column.type}; move it to {right}.exceptions"


def knobs(evaluate: Bars, ours: Contract) -> Iterator[str]:
    """Knobs of `evaluate` that another task has, and those that this one lacks."""
    where, task = f"{POLICIES}/evaluation.yaml: evaluate", tasks.task(ours.task)
    asked = {*task.KNOBS, *(["k"] if ours.group else [])}
    known = {"k", *(knob for name in tasks.NAMES for knob in tasks.task(name).KNOBS)}
    for name in sorted(known & evaluate.keys() - asked):
        why = "names no `group`, and nothing is ranked" if name == "k" else f"says task: {ours.task}, which has none"
        yield f"{where}.{name}: {CONTRACT} {why}; take it out"
    for name in sorted(asked - evaluate.keys()):
        yield f"{where}.{name} is missing, which {CONTRACT} asks for: {KNOBS[name]}"
    if "headline" in evaluate:
        yield from unmeasured(f"{where}.headline", [evaluate["headline"]], best_of(task), ours)


KNOBS = {
    "known": "days whose positives make an entity known, or null",
    "alerts": "the share of rows that raise an alert, such as 0.01",
    "k": "the first places of a group that are looked at, such as 5",
}
"""What to write."""


def contradictions(retrain: Bars) -> Iterator[str]:
    """What of drift.yaml keeps the model of `retrain.every` from being asked for in time, a sentence each.

    A request is merged some time after it was opened, so that many days of cool-down end after as many of `every`.
    """
    if not (every := retrain.get("every")):
        return
    asks, cool, week = f"{POLICIES}/drift.yaml: retrain.every: {every}", retrain["cool_down_days"], retrain["per_week"]
    if cool >= every:
        yield (
            f"{asks} asks for a model while cool_down_days: {cool} of the last one still run; write "
            f"cool_down_days: {every - 1}, or every: {cool + 1}"
        )
    if week < (most := ceil(7 / every)):
        yield (
            f"{asks} asks for {most} models in some seven days, and per_week allows {week}; write "
            f"per_week: {most}, or every: {ceil(7 / week)}"
        )


def measured_by(policies: Mapping[str, Bars], task: Task) -> Iterator[tuple[str, str, Iterable[str], Collection[str]]]:
    """Where policies name metrics: the policy, the place, the names, and those that are measured there."""
    model = policies["model"]
    yield "model", "metrics", model["metrics"], task.METRICS
    yield "model", "baselines.metrics", model["baselines"]["metrics"], best_of(task)
    yield "model", "slices.metrics", model["slices"]["metrics"], task.SLICED
    yield "model", "champion.metrics", model["champion"]["metrics"], task.METRICS
    yield "model", "champion.slices", model["champion"]["slices"], task.SLICED
    yield "drift", "live.metrics", policies["drift"]["live"]["metrics"], task.METRICS


def best_of(task: Task) -> list[str]:
    """The metrics of which more, or less, is better: of those between two ends, neither is."""
    return [name for name, metric in task.METRICS.items() if not metric.ends]


def unmeasured(place: str, names: Iterable[str], known: Collection[str], ours: Contract) -> Iterator[str]:
    """Metrics that nothing measures there."""
    for name in names:
        if name not in known:
            yield f"{place}.{name} is {stranger('no metric that is measured there', name, known)}"
        elif (needs := tasks.task(ours.task).METRICS[name].needs) and getattr(ours, needs) is None:
            yield f"{place}.{name} is measured where {CONTRACT} names one as `{needs}`; name one, or take it out"


def sliced(place: str, pieces: Sequence[Mapping[str, Any]], ours: Contract) -> Iterator[str]:
    """Slices of a column that is not there, or whose values are of another type."""
    known = {column.name: column for column in (*ours.columns, *ours.inputs)}  # an input is what a slice means
    for at, piece in enumerate(pieces):
        where = f"{POLICIES}/evaluation.yaml: {place}.{at}"
        column = known.get(piece["column"])
        if column is None:
            yield f"{where}: {piece['column']!r} is no column; {nearest(piece['column'], known)}"
        elif {"from", "to"} & piece.keys() and column.type not in NUMBERS:
            yield f"{where}: {column.name} is of type {column.type}, which has no order; name a `value`"
        elif "value" in piece and (wrong := misfit(piece["value"], column)):
            yield f"{where}: {wrong}"


def behaves(kind: str, at: int, case: Mapping[str, Any], ours: Contract) -> Iterator[str]:
    """Columns of a case of behaviour that are no inputs, and values that a column cannot have.

    What an invariance changes may be any column: one that is no input moves nothing, and the case keeps it so.
    """
    place, classes = f"{kind}.{at}", ours.label.values
    several = ours.label.positive is None and bool(classes)
    if several and case.get("of") not in classes:
        asked = ", ".join(map(str, classes))
        yield f"{POLICIES}/behaviour.yaml: {place}.of: say which class the case is about: {asked}"
    elif "of" in case and not several:
        yield f"{POLICIES}/behaviour.yaml: {place}.of is for several classes; take it out"
    for block in ("row", "where", "change"):
        any_column = kind == "invariance" and block == "change"
        known = {column.name: column for column in ((*ours.columns, *ours.inputs) if any_column else ours.inputs)}
        for name, value in case.get(block, {}).items():
            where = f"{POLICIES}/behaviour.yaml: {place}.{block}.{name}"
            column = known.get(name)
            if column is None:
                yield f"{where} is {other(name, ours) or stranger('no input of the model', name, known)}"
            elif isinstance(value, dict):
                if column.type not in NUMBERS:
                    yield f"{where}: is of type {column.type}, to which nothing can be added; write a value"
            elif wrong := misfit(value, column) or (beyond(value, column) if block != "where" else ""):
                yield f"{where}: {wrong}"


def beyond(value: Any, column: Column) -> str:
    """Why the service would refuse a value that a row is given; empty where it would not."""
    lowest, highest = column.minimum, column.maximum
    if value is None or (lowest is None or value >= lowest) and (highest is None or value <= highest):
        return ""
    ends = " ".join(f"{word} {end:,.12g}" for word, end in (("from", lowest), ("to", highest)) if end is not None)
    return f"{shown(value)} is out of the range of {column.name}, {ends}, by {CONTRACT}; write a value within"


NUMBERS = ("integer", "number", "time")
"""Types whose values have an order. An input of type time is the days before its row."""


def misfit(value: Any, column: Column) -> str:
    """Why a column cannot have a value; empty where it can."""
    if value is None:
        return "" if column.missing else f"{column.name} may not be missing, by {CONTRACT}; write a value"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not {"boolean": isinstance(value, bool), "category": isinstance(value, str), "text": isinstance(value, str)}.get(
        column.type, number
    ):
        return f"{shown(value)} is no {column.type}, which {column.name} is; write {LIKE[column.type]}"
    if column.categories is not None and value not in column.categories:
        near = nearest(value, column.categories)
        return f"{shown(value)} is none of the categories of {column.name}; {near}"
    return ""


LIKE = {
    **dict.fromkeys(NUMBERS, "a number"),
    "boolean": "true or false",
    "category": "one of its levels, quoted",
    "text": "text, quoted",
}


if __name__ == "__main__":
    run_stage(main)
