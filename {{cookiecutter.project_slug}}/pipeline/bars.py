"""Propose bars from what was measured: `make bars` prints a diff of policies/*.yaml, and writes it to build/bars.diff.

Nothing in policies/ is touched: `git apply build/bars.diff` is a person's step. What is proposed passes by
construction, as it was measured on this very model and these very days. Bars are added and tightened; they are loosened
only where that is asked for (LOOSEN=1), and what would be loosened is said.

How far a bar is from what was measured:
- a metric: as far beyond the worse end of its interval as that is from the value. The worse end of another week
  scatters by half of that, so a model that is as good misses the bar in about one week of forty;
- a slice: its worse end, as the gate looks at the better one;
- the label: half the odds of a class, or twice; half a deviation of a number less, or more;
- days: a quarter beyond the worst that was seen, of a number's mean a quarter of its deviation, or what chance makes of
  so few rows;
- drift: half as far again as any week of the training days came from all of them. What chance alone does to so few rows
  as a service has is allowed anyway, on the day, so that no bar has to make room for it.
"""

import argparse
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, log10, sqrt
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from pipeline import behaviour, contract, evaluate, model, monitor, params, personal, policy, reference, tasks
from pipeline.behaviour import as_tried, changed, like
from pipeline.contract import Contract, leveled
from pipeline.counts import moved, side
from pipeline.distance import chances
from pipeline.edits import Bar, Item, Place, Proposal, diff, flow
from pipeline.model import Model, Problem
from pipeline.params import BadInput, run_stage
from pipeline.places import replacing
from pipeline.policy.bars import BEYOND, OTHER, POLICIES, point, worse
from pipeline.policy.data import ratios
from pipeline.policy.slices import few, where
from pipeline.reading import count
from pipeline.rows import LABEL
from pipeline.tasks import Metric, Task

DIFF = Path("build/bars.diff")
MEASURED = {
    "data": Path("reports/validation.json"),
    "model": Path("metrics.json"),
    "explanations": Path("reports/explanations.json"),
}
ROOM = 0.75  # beyond the worst day
ODDS = 2  # by which the share of a class may move
RARE = 4  # standard errors: what chance does to one day of thousands
LEAST = 0.1  # Evidently's default for a distance: what is nearer is no drift
SLICED_INPUTS, LEVELS = 3, 5  # inputs that are sliced, and levels of each, at most
CONSISTENT, STRONG = 0.98, 0.1  # a direction: the share of rows, and the move in deviations of the answers
TOLERANCE = 0.01  # of the span of an answer, or of its deviation where it has none
DIRECTIONS = 5

NAMES = ("data", "model", "evaluation", "behaviour", "drift")

Measured = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write build/bars.diff and print it. Raises BadInput where something was not measured."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bars", description="Propose bars from what was measured.")
    parser.add_argument("--loosen", action="store_true", help="propose bars that are wider than those there are, too")
    loosen = parser.parse_args(arguments).loosen
    made, said = proposals(loosen), []
    text = "".join(diff(POLICIES / f"{name}.yaml", of.before, of.after()) for name, of in made.items())
    with replacing(DIFF) as temporary:
        temporary.write_bytes(text.encode())
    print(text, end="")
    for name, of in made.items():
        said += [f"{POLICIES / name}.yaml: {sentence}" for sentence in of.said]
    print("\n".join([*said, *verdict(text, made, loosen)]))


def verdict(text: str, made: Mapping[str, Proposal], loosen: bool) -> Iterator[str]:
    """What comes of it, and what to do."""
    if text:
        yield (
            f"{DIFF}: these bars are new, and what they judge passes by construction: it is what they were made of. "
            f"They are there for the next change. Read them, then: git apply {DIFF}"
        )
    else:
        yield f"{DIFF}: nothing to propose: every bar is as tight as what was measured allows"
    if not loosen and any(of.said for of in made.values()):
        yield "Bars that are tighter than what is proposed stay as they are; with LOOSEN=1 they are widened too"


@dataclass(frozen=True)
class Known:
    """What is there to propose from."""

    ours: Contract
    knobs: Mapping[str, Any]
    found: Mapping[str, Measured]  # by the names of MEASURED
    hidden: Collection[str]  # columns that are personal: no value of theirs goes into a policy
    scorer: Model
    table: pl.DataFrame  # the judged rows

    @property
    def task(self) -> Task:
        return tasks.task(self.ours.task)

    @property
    def always(self) -> list[str]:
        """The metrics that every model of this task should have a bar on."""
        return [name for name, metric in self.task.METRICS.items() if metric.always]

    @classmethod
    def here(cls) -> "Known":
        """Raises BadInput where something was not measured, or of another model."""
        found = {name: policy.read(path, "make pipeline") for name, path in MEASURED.items()}
        ours, knobs, scorer = contract.load(), params.load(), reference.loaded()
        if scorer.digest != found["model"]["model"]["digest"]:
            raise BadInput(f"{MEASURED['model']}: is of another model than {reference.MODEL}; run `make pipeline`")
        hidden = personal.policy(personal.columns(ours)).personal
        return cls(ours, knobs, found, hidden, scorer, evaluate.tested(ours, knobs))


def proposals(loosen: bool) -> dict[str, Proposal]:
    """What is proposed for each policy, by its name. Raises BadInput."""
    known = Known.here()
    data, model, evaluation, behave, drift = made = [
        Proposal.of(POLICIES / f"{name}.yaml", policy.load(name), loosen) for name in NAMES
    ]
    pieces = list(new_slices(known, evaluation.policy, model.policy))
    served = [piece for piece in pieces if not missed(piece, model.policy)]
    shown = next(name for name in (*model.policy["slices"]["metrics"], *known.task.SLICED) if name in known.task.SLICED)
    evaluation.said += [
        f"{where(piece)}: {told(piece, shown)}: misses slices.metrics of model.yaml"
        for piece in pieces
        if piece not in served
    ]
    evaluation.add(("evaluate", "slices"), [Item(flow(named(piece)), told(piece, shown)) for piece in served])
    data.bars(of_data(known, data.policy))
    model.bars(of_model(known, model.policy, served))
    drift.bars(of_drift(known, drift.policy))
    behave.comment(("direction",), directions(known), HEAD)
    return dict(zip(NAMES, made, strict=True))


# --- numbers ---


def rounded(value: float, end: str, digits: int = 2) -> float:
    """A number with so few digits, rounded to the side on which a bar is wider."""
    if value == 0:
        return 0.0
    scale = 10.0 ** (digits - 1 - floor(log10(abs(value))))
    made = (floor if end == "minimum" else ceil)(round(value * scale, 6)) / scale
    return float(f"{made:.10g}")


def whole(value: float, end: str) -> int:
    """The same of a number of things."""
    return int(rounded(value, end))


# --- data.yaml ---


def of_data(known: Known, bars: Measured) -> Iterator[Bar]:
    """Bars of policies/data.yaml."""
    found = known.found["data"]
    yield Bar(("rows", "minimum"), whole(ROOM * found["rows"], "minimum"), count(found["rows"], "row"))
    if found["label"]:
        yield from of_label(known, bars)
    if found["days"] and known.ours.dated:
        yield from of_days(found, bars)


def of_label(known: Known, bars: Measured) -> Iterator[Bar]:
    """Bars of the label, over all days and on each; of several classes, each has its own."""
    label, column = known.found["data"]["label"], known.ours.column(known.ours.label.column)
    share = label["kind"] == "share"
    lowest, highest = (0 if share or leveled(column, known.ours) else -inf), (1 if share else inf)
    for name, part in label["parts"].items():
        if part["value"] is None or not lowest < part["value"] < highest:
            continue
        own = ("label", "parts", name) if len(label["parts"]) > 1 else ("label",)
        for place, ends, said in of_part(known, part, share, bars["label"]["day"]["rows"]):
            for end, bar in zip(("minimum", "maximum"), ends, strict=True):
                if lowest < bar < highest:
                    value = rounded(bar, end, 2 if share else 3)  # far from 0, two digits say little
                    yield Bar((*own, *place, end), value, said, instead=("label", *place, end))


def of_part(known: Known, part: Measured, share: bool, least: int) -> Iterator[tuple[Place, Sequence[float], str]]:
    """Where bars of a part of the labels stand, their ends, and what was measured; a day has so many rows at least."""
    found, value = known.found["data"], part["value"]
    yield (), over_all(part, share), f"{value:.3g} {'of' if share else 'over'} {count(found['rows'], 'row')}"
    rows = (found["days"] or {}).get("rows", {})
    if days := [each for day, each in part["days"].items() if each is not None and rows.get(day, 0) >= least]:
        room, error = (1 - ROOM) * part["deviation"], RARE * part["deviation"] / sqrt(max(least, 1))
        low, high = (ROOM * min(days), max(days) / ROOM) if share else (min(days) - room, max(days) + room)
        seen = f"{min(days):.3g} to {max(days):.3g} on {count(len(days), 'day')}"
        yield ("day",), (min(low, value - error), max(high, value + error)), seen


def over_all(part: Measured, share: bool) -> Sequence[float]:
    """Half the odds of a share, and twice; a mean less half a deviation, and more."""
    value, half = part["value"], part["deviation"] / 2
    if not share:
        return value - half, value + half
    odds = [times * value / (1 - value) for times in (1 / ODDS, ODDS)]
    return [each / (1 + each) for each in odds]


def of_days(found: Measured, bars: Measured) -> Iterator[Bar]:
    """Bars of single days."""
    rows = found["days"]["rows"]
    usual = median(rows.values())
    chance = RARE / sqrt(max(usual, 1))
    yield from of_worst("volume", [number / usual for number in rows.values()], chance, "the median day")
    if levels := list(ratios(found, bars["level"]["rows"])):
        yield from of_worst("level", levels, 0, "the median day")


def of_worst(block: str, shares: Sequence[float], chance: float, than: str) -> Iterator[Bar]:
    """The least and the most that a day may have, as a share of another."""
    seen = f"{min(shares):.2f} to {max(shares):.2f} times {than}"
    lowest, highest = ROOM * min(*shares, 1 - chance), max(*shares, 1 + chance) / ROOM
    if lowest > 0:
        yield Bar((block, "minimum"), rounded(lowest, "minimum"), seen)
    yield Bar((block, "maximum"), rounded(highest, "maximum"), seen)


# --- model.yaml, evaluation.yaml ---


def of_model(known: Known, bars: Measured, pieces: Sequence[Measured]) -> Iterator[Bar]:
    """Bars of policies/model.yaml; `pieces` are slices that are proposed."""
    found = known.found["model"]
    for name in dict.fromkeys((*bars["metrics"], *known.always)):
        yield from of_metric(("metrics", name), known)
    size = found["model"]["bytes"]
    yield Bar(("bytes",), whole(2 * size, "maximum"), f"{size:,}", "maximum")
    judged = [piece for piece in (*found["slices"], *pieces) if not few(piece, bars["slices"])]
    for name in bars["slices"]["metrics"]:
        yield from of_slices(name, judged, known)


def of_metric(place: Place, known: Known) -> Iterator[Bar]:
    """The bars on a metric that was measured; none that no model could miss."""
    if not (metric := known.found["model"]["metrics"].get(place[-1])):
        return
    about = known.task.METRICS[place[-1]]
    for end in ends_of(about):
        if isfinite(edge := worse(metric, end)):
            bar = rounded(2 * edge - point(metric) - unseen(metric, end, known), end)
            if missable(bar, end, about):
                yield Bar((*place, end), bar, interval(metric))


def unseen(metric: Measured, end: str, known: Known) -> float:
    """How much less than 1 a share may be that is 1 in each resample: three of so many rows, with 95% (rule of three).

    Hanley and Lippman-Hand, If Nothing Goes Wrong, Is Everything All Right? (1983); of classes, the rarest one's rows.
    """
    if end != "minimum" or not worse(metric, end) == point(metric) == 1:
        return 0
    label = known.table[LABEL].to_numpy()
    return 3 / max(known.task.rarest(label, Problem.of(known.ours)) or len(label), 4)


def ends_of(about: Metric) -> Sequence[str]:
    """The ends that a metric has a bar at: on the side that is worse, or on both."""
    if about.ends:
        return "minimum", "maximum"
    return ("minimum",) if about.larger else ("maximum",)


def missable(bar: float, end: str, about: Metric) -> bool:
    """Whether there are models that miss a bar."""
    lowest, highest = about.ends or (about.chance or 0, inf)
    return bar < highest if end == "maximum" else bar > lowest


def of_slices(name: str, judged: Sequence[Measured], known: Known) -> Iterator[Bar]:
    """The bar on a metric of slices: what the worst of them has, and no tighter than that over all."""
    over_all = next(of_metric(("slices", "metrics", name), known), None)
    pieces = [piece for piece in judged if piece.get(name)]
    if over_all is None or not pieces:
        return
    end, about = over_all.place[-1], known.task.METRICS[name]
    wider = min if end == "minimum" else max
    piece = wider(pieces, key=lambda piece: worse(piece[name], end))
    if missable(edge := worse(piece[name], end), end, about):
        bar = wider(rounded(edge, end), over_all.value)
        yield Bar(over_all.place, bar, f"{interval(piece[name])} where {where(piece)}")


def interval(metric: Measured) -> str:
    """A metric's value and interval in words."""
    return "{value:.3g} ({low:.3g} to {high:.3g})".format(**metric)


def new_slices(known: Known, evaluation: Measured, bars: Measured) -> Iterator[Measured]:
    """Slices of the inputs that count most and have none yet, as metrics.json has them; those large enough to judge."""
    sliced = {piece["column"] for piece in evaluation["evaluate"]["slices"]}
    importance = {
        name: of["value"] for name, of in known.found["explanations"]["importance"].items() if of["value"] > 0
    }
    knobs, out = known.knobs["evaluate"], known.scorer.predict(known.table)
    test = evaluate.as_test(known.table, known.ours, knobs)
    weights = evaluate.resamples(test.units, knobs["resamples"], knobs["seed"])
    for name in sorted(importance, key=lambda name: -importance[name])[:SLICED_INPUTS]:
        if name in sliced or name in known.hidden:
            continue
        for part, inside in evaluate.slices(known.table, list(pieces_of(name, known))):
            piece = part | evaluate.size(test, inside, known.ours)
            if not few(piece, bars["slices"]):
                values = evaluate.slice_values(known.task, test, out, inside, weights)
                yield piece | evaluate.known(values, knobs["confidence"])


def named(piece: Measured) -> dict[str, Any]:
    """A slice as evaluation.yaml names it."""
    ends = {key: piece[key] for key in ("from", "to") if piece.get(key) is not None}
    return {"column": piece["column"], **({"value": piece["value"]} if "value" in piece else ends)}


def told(piece: Measured, name: str) -> str:
    """How large a slice is, and how well it is served."""
    size = [count(piece["rows"], "row"), *filter(None, [piece["labels"]])]
    return f"{', '.join(size)}, {name} {interval(piece[name]) if piece[name] else 'not measured'}"


def missed(piece: Measured, bars: Measured) -> bool:
    """Whether a slice, measured from now on, would miss a bar that there is."""
    return any(
        BEYOND[end](worse(piece.get(name), OTHER[end]), bar)
        for name, ends in bars["slices"]["metrics"].items()
        for end, bar in ends.items()
    )


def pieces_of(name: str, known: Known) -> Iterator[dict[str, Any]]:
    """The levels of an input, the most frequent first; of numbers, its quarters."""
    column = next(column for column in known.ours.inputs if column.name == name)
    values = known.table[name].drop_nulls()
    if column.type in ("boolean", "category"):
        for value in values.value_counts(sort=True)[name].head(LEVELS):
            yield {"column": name, "value": value}
        return
    values = values.cast(pl.Float64)
    lowest = float(values.to_numpy().min(initial=np.inf))
    quarters = (
        [rounded(value, "minimum", 3) for value in np.quantile(values.to_numpy(), (0.25, 0.5, 0.75))]
        if len(values)
        else []
    )
    edges = sorted({edge for edge in quarters if lowest < edge})
    for low, high in zip([None, *edges], [*edges, None], strict=True):
        if edges:
            yield {"column": name, **({} if low is None else {"from": low}), **({} if high is None else {"to": high})}


# --- drift.yaml ---


def of_drift(known: Known, bars: Measured) -> Iterator[Bar]:
    """Bars of policies/drift.yaml, for a service that is asked as many rows as the source has."""
    days, scorer = bars["window"]["days"], known.scorer
    rows = known.found["data"]["days"]["rows"] if known.found["data"]["days"] else {}
    if rows and known.ours.dated:
        a_window = median(rows.values()) * days
        half = max(whole(a_window / 2, "minimum"), 1)
        said = f"{a_window:,.0f} rows in {days} days"
        yield Bar(("window", "rows"), half, said, "minimum")
        if bars["live"]["rows"] > a_window:
            yield Bar(("live", "rows"), half, said, "maximum")
    always = [name for name in known.always if name in known.task.SLICED]
    for name in dict.fromkeys((*bars["live"]["metrics"], *always)):
        yield from of_metric(("live", "metrics", name), known)
    kept = pl.read_parquet(reference.REFERENCE)
    inputs = tuple(column for column in scorer.inputs if column.name in kept.columns)
    production = monitor.Production(scorer.digest, scorer.problem, inputs, kept)
    for block, (far, name) in astray(production, days).items():
        called = f"the {known.task.WATCHED}" if name == production.watched else name
        seen = f"{called} lies {far:.2g} away" if far else "none lies further away than chance takes it"
        said = f"{seen} in any {days} training days"
        yield Bar((block, "maximum"), rounded(max(LEAST, far / ROOM), "maximum"), said)


def astray(production: monitor.Production, days: int) -> dict[str, tuple[float, str]]:
    """By block of drift.yaml, how far a column was at most in one window of the training days, from all; and which.

    What is no further than chance goes is 0: chance is allowed on the day.
    """
    train = production.reference.filter(pl.col(reference.PART) == reference.TRAIN)
    first = train.select(pl.col(reference.DAY).min()).item()
    found: dict[str, tuple[float, str]] = {}
    chance: dict[str, float] = {}
    for _, rows in train.group_by((pl.col(reference.DAY) - first).dt.total_days() // days, maintain_order=True):
        part = rows[reference.DAY].unique().to_list()
        if len(part) < days:
            continue
        columns = [*production.counted.columns, production.counted.answer]
        there, here = production.side(reference.TRAIN, part), side(rows, columns)
        chance = chance or chances([production.sample(reference.TRAIN, part, columns)], len(rows))[0]
        for block, column in zip(blocks(production), columns, strict=True):
            away = moved(column, there, here) or 0
            beyond = away if away > chance[column.name] else 0
            found[block] = max(found.get(block, (0, column.name)), (beyond, column.name))
    return found


def blocks(production: monitor.Production) -> Iterator[str]:
    """The blocks of drift.yaml that the inputs are judged by, and what is watched of the answers."""
    yield from ("categories" if column.text else "columns" for column in production.inputs)
    yield "answer"


# --- behaviour.yaml ---


HEAD = """Proposed by `make bars`: what this model does, which need not be right. Take the # of what has to be so away:
that signs it."""


def directions(known: Known) -> list[Item]:
    """What moving an input does to the answer, where it is strong and consistent; the strongest first."""
    scorer, about = known.scorer, asked_of(known)
    made = known.table.select(as_tried(column) for column in scorer.inputs)

    def answers(table: pl.DataFrame) -> tasks.Array:
        return behaviour.point(scorer.predict(table), {"case": "", **about}, known.ours)

    usual = float(np.std(answers(like(made, {}))))
    tolerance = TOLERANCE * known.task.SPAN if known.task.SPAN else rounded(TOLERANCE * usual, "maximum")
    found = []
    for column in scorer.inputs:
        if column.text or column.name in known.hidden:
            continue
        for case in moves(column, made):
            rows = like(made, case["where"])
            if len(rows) < 30:
                continue
            moved = answers(changed(rows, case["change"])) - answers(rows)
            mean = float(moved.mean())
            sign = 1 if mean > 0 else -1
            share = float((sign * moved >= -tolerance).mean())
            if abs(mean) >= STRONG * usual and share >= CONSISTENT and usual > 0:
                asked = {**about, **case, "answer": "rises" if mean > 0 else "falls", "tolerance": tolerance}
                found.append((abs(mean), direction(column, asked, mean, share, len(rows), known)))
    return [item for _, item in sorted(found, key=lambda each: -each[0])[:DIRECTIONS]]


def asked_of(known: Known) -> dict[str, Any]:
    """The class that answers are looked at for, where there are several: the most frequent one."""
    if known.task.about(known.scorer.predict(known.table.head(1))) is None:
        return {}
    return {"of": known.ours.label.values[int(known.table[LABEL].mode().sort()[0])]}


def moves(column: model.Input, table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """An input goes up: false becomes true; the lower half of numbers rises by the middle half's width."""
    name = column.name
    if column.type == "boolean":
        yield {"where": {name: False}, "change": {name: True}}
        return
    values = table[name].drop_nulls()
    values = values.filter(values.is_finite())
    if values.is_empty():
        return
    quarter, half, three = (float(value) for value in np.quantile(values.to_numpy(), (0.25, 0.5, 0.75)))
    step, top = rounded(three - quarter, "minimum"), rounded(half, "maximum")
    if column.type == "integer":
        step = float(max(round(step), 1))
    if step > 0 and (column.maximum is None or top + step <= column.maximum):
        yield {"where": {name: {"to": top}}, "change": {name: {"plus": step}}}


def direction(column: model.Input, asked: Measured, mean: float, share: float, rows: int, known: Known) -> Item:
    """A direction as a case, in the problem's words."""
    rises, falls = known.task.directions(Problem.of(known.ours), known.ours, asked.get("of"))
    said = f"{'With' if column.type == 'boolean' else 'More'} {column.name}, {rises if mean > 0 else falls}"
    made = {"case": said, **asked, "by": rounded(abs(mean) / 2, "minimum"), "share": round(share - 0.05, 2)}
    moved = f"the mean {known.task.POINT} moves by {mean:.2g}"
    return Item(flow(made), f"{moved}, this way on {share:.1%} of {count(rows, known.ours.row.one)}")


if __name__ == "__main__":
    run_stage(main)
