"""Propose bars from what was measured: `make bars` prints a diff of policies/*.yaml, and writes it to build/bars.diff.

Nothing in policies/ is touched: `git apply build/bars.diff` is a person's step. What is proposed passes by
construction, as it was measured on this very model and these very days. Bars are added and tightened; they are loosened
only where that is asked for (LOOSEN=1), and what would be loosened is said.

How far a bar is from what was measured:
- a metric: as far below the worse end of its interval as that is below the value. The worse end of another week
  scatters by half of that, so a model that is as good misses the bar in about one week of forty;
- a slice: its worse end, as the gate looks at the better one;
- days: a quarter beyond the worst that was seen, or that chance makes of so few rows;
- drift: half as far again as any week of the training days came from all of them. What chance alone does to so few rows
  as a service has is allowed anyway, on the day, so that no bar has to make room for it.
"""

import argparse
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10, sqrt
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import yaml

from pipeline import contract, evaluate, model, monitor, params, personal, policy, reference
from pipeline.behaviour import as_tried, changed, like
from pipeline.contract import Contract
from pipeline.distance import apart, chances
from pipeline.edits import Bar, Item, Proposal, diff
from pipeline.model import Model
from pipeline.params import BadInput, run_stage
from pipeline.places import replacing
from pipeline.policy.bars import BEYOND, OTHER, POLICIES, worse
from pipeline.policy.data import ratios
from pipeline.policy.slices import few, where
from pipeline.reading import count

DIFF = Path("build/bars.diff")
MEASURED = {
    "data": Path("reports/validation.json"),
    "model": Path("metrics.json"),
    "explanations": Path("reports/explanations.json"),
}
ALWAYS = ("average_precision", "roc_auc", "calibration_error")  # bars that every binary model should have
CHANCE = {"roc_auc": 0.5}  # what no model misses; of others nothing
WORST = {"calibration_error": "maximum"}  # of other metrics more is better
ROOM = 0.75  # beyond the worst day
ODDS = 2  # by which the share of positives may move
RARE = 4  # standard errors: what chance does to one day of thousands
LEAST = 0.1  # Evidently's default for a distance: what is nearer is no drift
SLICED_INPUTS, LEVELS = 3, 5  # inputs that are sliced, and levels of each, at most
CONSISTENT, STRONG = 0.98, 0.1  # a direction: the share of rows, and the move in deviations of the scores
TOLERANCE = 0.01
DIRECTIONS = 5

NOTHING = dict.fromkeys(("value", "low", "high"))
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
    data, model, evaluation, behaviour, drift = made = [
        Proposal.of(POLICIES / f"{name}.yaml", policy.load(name), loosen) for name in NAMES
    ]
    pieces = list(new_slices(known, evaluation.policy, model.policy))
    served = [piece for piece in pieces if not missed(piece, model.policy)]
    evaluation.said += [
        f"{where(piece)}: {ranked(piece)}: misses slices.metrics of model.yaml"
        for piece in pieces
        if piece not in served
    ]
    evaluation.add(("evaluate", "slices"), [Item(flow(named(piece)), ranked(piece)) for piece in served])
    data.bars(of_data(known, data.policy))
    model.bars(of_model(known, model.policy, served))
    drift.bars(of_drift(known, drift.policy))
    behaviour.comment(("direction",), directions(known), HEAD)
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
    if (label := found["label"]) and 0 < (label["share"] or 0) < 1:
        yield from of_shares(label["share"], count(found["rows"], "row"))
    if found["days"] and known.ours.dated:
        yield from of_days(found, bars)


def of_shares(share: float, among: str) -> Iterator[Bar]:
    """The share of positives: half its odds, and twice."""
    for end, times in (("minimum", 1 / ODDS), ("maximum", ODDS)):
        odds = times * share / (1 - share)
        yield Bar(("label", end), rounded(odds / (1 + odds), end), f"{share:.3g} of {among}")


def of_days(found: Measured, bars: Measured) -> Iterator[Bar]:
    """Bars of single days."""
    rows = found["days"]["rows"]
    usual = median(rows.values())
    chance = RARE / sqrt(max(usual, 1))
    yield from of_worst("volume", [number / usual for number in rows.values()], chance, "the median day")
    if levels := list(ratios(found, bars["level"]["rows"])):
        yield from of_worst("level", levels, 0, "the median day")
    asked = bars["label"]["day"]["rows"]
    shares = [share for day, share in found["label"]["days"].items() if share is not None and rows.get(day, 0) >= asked]
    if shares:
        share = found["label"]["share"]
        error = RARE * sqrt(share * (1 - share) / asked)
        seen = f"{min(shares):.3g} to {max(shares):.3g} on {count(len(shares), 'day')}"
        lowest, highest = min(ROOM * min(shares), share - error), max(max(shares) / ROOM, share + error)
        if lowest > 0:
            yield Bar(("label", "day", "minimum"), rounded(lowest, "minimum"), seen)
        if highest < 1:
            yield Bar(("label", "day", "maximum"), rounded(highest, "maximum"), seen)


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
    for name in dict.fromkeys((*bars["metrics"], *ALWAYS)):
        if (metric := found["metrics"].get(name)) and (bar := of_metric(("metrics", name), metric)):
            yield bar
    size = found["model"]["bytes"]
    yield Bar(("bytes",), whole(2 * size, "maximum"), f"{size:,}", "maximum")
    judged = [piece for piece in (*found["slices"], *pieces) if not few(piece, bars["slices"])]
    for name in bars["slices"]["metrics"]:
        overall = of_metric(("metrics", name), found["metrics"].get(name, NOTHING))
        lows = [(piece[name]["low"], piece) for piece in judged if piece.get(name)]
        low, piece = min(lows, key=lambda each: each[0], default=(0, {}))
        if overall and low > CHANCE.get(name, 0):
            said = f"{piece[name]['value']:.3g} ({low:.3g} to {piece[name]['high']:.3g}) where {where(piece)}"
            yield Bar(("slices", "metrics", name, "minimum"), min(rounded(low, "minimum"), overall.value), said)


def of_metric(place: tuple[str, ...], metric: Measured) -> Bar | None:
    """The bar on a metric; None where no model could miss it."""
    end = WORST.get(place[-1], "minimum")
    value, worse = metric["value"], metric["low" if end == "minimum" else "high"]
    if value is None or worse is None:
        return None
    bar = rounded(2 * worse - value, end)
    said = f"{value:.3g} ({metric['low']:.3g} to {metric['high']:.3g})"
    return Bar((*place, end), bar, said) if bar > CHANCE.get(place[-1], 0) else None


def new_slices(known: Known, evaluation: Measured, bars: Measured) -> Iterator[Measured]:
    """Slices of the inputs that count most and have none yet, as metrics.json has them; those large enough to judge."""
    sliced = {piece["column"] for piece in evaluation["evaluate"]["slices"]}
    importance = {
        name: of["value"] for name, of in known.found["explanations"]["importance"].items() if of["value"] > 0
    }
    test, score, knobs = (
        evaluate.as_test(known.table, known.ours),
        known.scorer.predict(known.table),
        known.knobs["evaluate"],
    )
    weights = evaluate.resamples(test.units, knobs["resamples"], knobs["seed"])
    for name in sorted(importance, key=lambda name: -importance[name])[:SLICED_INPUTS]:
        if name in sliced or name in known.hidden:
            continue
        for part, inside in evaluate.slices(known.table, list(pieces_of(name, known))):
            piece = part | evaluate.size(test, inside)
            if not few(piece, bars["slices"]):
                values = evaluate.slice_values(test, score, inside, weights)
                yield piece | evaluate.known(values, knobs["confidence"])


def named(piece: Measured) -> dict[str, Any]:
    """A slice as evaluation.yaml names it."""
    ends = {key: piece[key] for key in ("from", "to") if piece.get(key) is not None}
    return {"column": piece["column"], **({"value": piece["value"]} if "value" in piece else ends)}


def ranked(piece: Measured) -> str:
    """How large a slice is, and how well it is ranked."""
    low, value, high = (piece["roc_auc"][end] for end in ("low", "value", "high"))
    size = f"{count(piece['rows'], 'row')}, {piece['positives']:,} positive"
    return f"{size}, roc_auc {value:.3g} ({low:.3g} to {high:.3g})"


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
    for name in dict.fromkeys((*bars["live"]["metrics"], *ALWAYS[:2])):
        if (metric := known.found["model"]["metrics"].get(name)) and (
            bar := of_metric(("live", "metrics", name), metric)
        ):
            yield bar
    kept = pl.read_parquet(reference.REFERENCE)
    inputs = tuple(column for column in scorer.inputs if column.name in kept.columns)
    production = monitor.Production(scorer.digest, scorer.problem, inputs, kept)
    for block, (far, name) in astray(production, days).items():
        called = "the score" if name == monitor.SCORE else name
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
        there, here = production.sample(production.like(reference.TRAIN, part)), production.sample(rows)
        chance = chance or chances([there], len(rows))[0]
        for block, name in blocks(production):
            far = apart(there, here, name) or 0
            beyond = far if far > chance[name] else 0
            found[block] = max(found.get(block, (0, name)), (beyond, name))
    return found


def blocks(production: monitor.Production) -> Iterator[tuple[str, str]]:
    """The block of drift.yaml that each input is judged by, and the score."""
    for column in production.inputs:
        yield "categories" if column.text else "columns", column.name
    yield "score", monitor.SCORE


# --- behaviour.yaml ---


HEAD = """Proposed by `make bars`: what this model does, which need not be right. Take the # of what has to be so away:
that signs it."""


def directions(known: Known) -> list[Item]:
    """What moving an input does to the score, where it is strong and consistent; the strongest first."""
    scorer = known.scorer
    made = known.table.select(as_tried(column) for column in scorer.inputs)
    usual = float(np.std(scorer.predict(like(made, {}))))
    found = []
    for column in scorer.inputs:
        if column.text or column.name in known.hidden:
            continue
        for case in moves(column, made):
            rows = like(made, case["where"])
            if len(rows) < 30:
                continue
            moved = scorer.predict(changed(rows, case["change"])) - scorer.predict(rows)
            mean = float(moved.mean())
            sign = 1 if mean > 0 else -1
            share = float((sign * moved >= -TOLERANCE).mean())
            if abs(mean) >= STRONG * usual and share >= CONSISTENT and usual > 0:
                found.append((abs(mean), told(column.name, column.type, case, mean, share, len(rows), known.ours)))
    return [item for _, item in sorted(found, key=lambda each: -each[0])[:DIRECTIONS]]


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


def told(name: str, kind: str, case: Measured, mean: float, share: float, rows: int, ours: Contract) -> Item:
    """A direction as a case, in the problem's words."""
    many = ours.positives.many
    more = "more" if mean > 0 else "fewer"
    said = f"With {name}, {more} {many}" if kind == "boolean" else f"More {name}, {more} {many}"
    made = {
        "case": said,
        **case,
        "score": "rises" if mean > 0 else "falls",
        "tolerance": TOLERANCE,
        "by": rounded(abs(mean) / 2, "minimum"),
        "share": round(share - 0.05, 2),
    }
    return Item(
        flow(made), f"the mean score moves by {mean:.2g}, this way on {share:.1%} of {count(rows, ours.row.one)}"
    )


def flow(value: Any) -> str:
    """A value as YAML in one line, `to: 50` and not `to: 50.0`, and quotes where they are needed."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(name)}: {flow(each)}" for name, each in value.items()) + "}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    bare = isinstance(value, str) and BARE.fullmatch(value) and yaml.safe_load(value) == value
    if bare:
        return str(value)
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)  # YAML breaks lines at some of them


BARE = re.compile(r"[^\W\d](\w|[ .-](?=\w))*")
"""Text that is a name to every reader of YAML."""


if __name__ == "__main__":
    run_stage(main)
