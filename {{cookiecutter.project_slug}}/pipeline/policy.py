"""Judge what was measured against the bars in policies/: `python -m pipeline.policy data|model|service`.

The stages measure, this judges, and whoever called it speaks: a Violation is data. All violations are found at once,
and what could not be judged is said, as silence would read as consent.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from math import nan
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from pipeline.params import BadInput
from pipeline.schema import ID

POLICIES = Path("policies")
GATE = Path("reports/gate-{}.json")
EXAMPLES = 3

Bars = Mapping[str, Any]
Measured = Mapping[str, Any]


@dataclass(frozen=True)
class Violation:
    """A bar that is not met."""

    rule: str  # the bar's place in the policy, such as label.day.minimum
    file: str  # what was judged
    value: str  # what was measured, in words
    bar: str  # what it had to be, in words
    next: str  # what to do
    rows: int | None = None  # how many rows are concerned, where rows are
    examples: tuple[str, ...] = ()  # the first three

    def __str__(self) -> str:
        """A block of lines, those left out that have nothing to say."""
        rows = None if self.rows is None else f"{self.rows:,}"
        lines = {"found": self.value, "bar": self.bar, "rows": rows, "such as": "; ".join(self.examples)}
        said = [f"    {name:<8} {text}" for name, text in {**lines, "next": self.next}.items() if text]
        return "\n".join([f"{self.rule} ({self.file})", *said])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all violations of a policy, and what was not judged; keep both for the report. Exits 1 if there is one."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.policy", description="Judge what was measured.")
    parser.add_argument("name", choices=JUDGES)
    name = parser.parse_args(arguments).name
    judge = JUDGES[name]
    policy, measured = load(name), read(judge.measured, judge.make)
    violations, unjudged = judge.violations(measured, policy), judge.unjudged(measured, policy)
    GATE.parent.mkdir(exist_ok=True)
    said = {"violations": [asdict(violation) for violation in violations], "not_judged": unjudged}
    Path(str(GATE).format(name)).write_text(json.dumps(said, indent=2) + "\n")
    for violation in violations:
        print(f"{violation}\n")
    for sentence in unjudged:
        print(f"not judged: {sentence}")
    if violations:
        sys.exit(f"{POLICIES / name}.yaml: {len(violations)} bar{'s' * (len(violations) > 1)} not met, see above")
    print(f"{POLICIES / name}.yaml: well done, every bar is met")


# --- reading ---


def load(name: str, folder: Path = POLICIES) -> dict[str, Any]:
    """The policy folder/NAME.yaml. Raises BadInput with all that its schema, folder/schemas/NAME.schema.json, finds."""
    path = folder / f"{name}.yaml"
    schema = json.loads((folder / "schemas" / f"{name}.schema.json").read_text())
    try:
        policy = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise BadInput(
            f"{path}: cannot be read ({' '.join(str(error).split())}); mend it, or restore it from git"
        ) from None
    found = sorted(Draft202012Validator(schema).iter_errors(policy), key=lambda error: error.json_path)
    if problems := [f"{path}: {problem}" for error in found for problem in problems_of(error)]:
        raise BadInput("\n".join(problems))
    return dict(policy)


def problems_of(error: ValidationError) -> Iterator[str]:
    """What the schema finds, in words; an unknown key with the known one that is nearest."""
    place = ".".join(str(step) for step in error.absolute_path)
    if error.validator != "additionalProperties":
        yield f"{place + ': ' if place else ''}{error.message}"
        return
    schema: Any = error.schema
    instance: Any = error.instance
    known = schema["properties"]
    for key in instance:
        if key not in known:
            yield f"{f'{place}.' if place else ''}{key} is no bar here; did you mean {nearest(key, known)}?"


def nearest(word: object, words: Sequence[str] | Mapping[str, Any]) -> str:
    """The one of `words` that is most like `word`, in backquotes."""
    return f"`{get_close_matches(str(word), list(words), n=1, cutoff=0)[0]}`" if words else "none"


def read(path: Path, make: str) -> dict[str, Any]:
    """What was measured. Raises BadInput where it was not."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); make it with `{make}`") from None


# --- data ---


def judge_data(measured: Measured, policy: Bars) -> list[Violation]:
    """The bars of policies/data.yaml that reports/validation.json does not meet."""
    return [
        *judge_schema(measured),
        *judge_rows(measured, policy),
        *judge_values(measured, policy),
        *judge_days(measured, policy),
        *judge_labels(measured, policy),
        *judge_pin(measured, policy),
    ]


def judge_schema(measured: Measured) -> Iterator[Violation]:
    """Columns that are missing or mistyped; no bar loosens this."""
    for column in measured["schema"]:
        yield Violation(
            rule="schema",
            file=measured["file"],
            value=f"{column['column']} is {column['found']}",
            bar=f"{column['expected']}, by pipeline/schema.py",
            next="make the source deliver the column in this type, or change the contract",
        )


def judge_rows(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Too few rows, or repeated identifiers."""
    rows, least = measured["rows"], policy["rows"]["minimum"]
    if rows < least:
        yield Violation(
            rule="rows.minimum",
            file=measured["file"],
            value=f"{rows:,} rows",
            bar=f"at least {least:,}",
            next="read more days (split.train in params.yaml), or find out why the source delivers so few",
        )
    duplicates = measured["duplicates"]
    if duplicates and duplicates["rows"] > policy["duplicates"] * rows:
        yield Violation(
            rule="duplicates",
            file=measured["file"],
            value=f"{duplicates['rows']:,} rows ({percent(duplicates['rows'] / rows)}) repeat an identifier",
            bar=f"at most {percent(policy['duplicates'])} of the rows",
            rows=duplicates["rows"],
            examples=tuple(f"{ID} {example[ID]} in {example['rows']} rows" for example in duplicates["examples"]),
            next="find the delivery that was loaded twice, and remove the repeated rows from the source",
        )


def judge_values(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Missing, NaN, infinite and out-of-range values, a violation for each column and fault."""
    columns = measured["columns"]
    for name in policy["columns"]:
        if name not in columns:
            yield Violation(
                rule=f"columns.{name}",
                file=measured["file"],
                value="no such column",
                bar="a column that is measured",
                next=f"correct the name in policies/data.yaml; did you mean {nearest(name, columns)}?",
            )
    for name, faults in columns.items():
        for fault, found in faults.items():
            special = fault in policy["columns"].get(name, {})
            most = policy["columns"][name][fault] if special else policy["values"][fault]
            if found["share"] > most:
                yield Violation(
                    rule=f"columns.{name}.{fault}" if special else f"values.{fault}",
                    file=measured["file"],
                    value=f"{name} is {fault.replace('_', ' ')} in {percent(found['share'])} of the rows",
                    bar=f"at most {percent(most)}{range_of(found)}",
                    rows=found["rows"],
                    examples=tuple(
                        ", ".join(f"{key} {value}" for key, value in example.items()) for example in found["examples"]
                    ),
                    next=f"correct these rows in the source; if they are right, {LOOSEN[fault]}",
                )


LOOSEN = {
    "missing": "allow a share for this column under `columns` in policies/data.yaml, and fill them in features.py",
    "nan": "allow a share for this column under `columns` in policies/data.yaml, and fill them in features.py",
    "infinite": "allow a share for this column under `columns` in policies/data.yaml, and bound them in features.py",
    "out_of_range": "widen the column's range in pipeline/schema.py",
}


def range_of(found: Measured) -> str:
    """The range that values are out of, in words; nothing for other faults."""
    ends = [
        f"{word} {found[end]:g}" for word, end in (("from", "minimum"), ("to", "maximum")) if found.get(end) is not None
    ]
    return f"; the range is {' '.join(ends)}" if ends else ""


def judge_days(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Days without rows, a stale or overlong end, days with unusually few or many rows."""
    days, bars = measured["days"], policy["days"]
    if days is None:
        return
    span = f"{days['since']} to {days['until']}"
    if len(days["missing"]) > bars["missing"]:
        yield Violation(
            rule="days.missing",
            file=measured["file"],
            value=f"{len(days['missing'])} days of {span} have no row",
            bar=f"at most {bars['missing']}",
            examples=tuple(days["missing"][:EXAMPLES]),
            next="deliver the days to data.source, or move data.until, split and features in params.yaml",
        )
    if days["behind"] > bars["behind"]:
        yield Violation(
            rule="days.behind",
            file=measured["file"],
            value=f"the last row is {days['behind']} days before data.until, {days['until']}",
            bar=f"at most {bars['behind']}",
            next="wait for the delivery, or set data.until in params.yaml to the last day that is whole",
        )
    if days["outside"]["rows"] > bars["outside"]:
        yield Violation(
            rule="days.outside",
            file=measured["file"],
            value=f"rows of days that are not in {span}",
            bar=f"at most {bars['outside']:,} rows",
            rows=days["outside"]["rows"],
            examples=tuple(days["outside"]["examples"]),
            next="each file has to hold the day that it is named after: is the time zone shifted?",
        )
    yield from judge_volume(measured, policy)


def judge_volume(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Days with unusually few or many rows, one violation for each end."""
    rows, bars = measured["days"]["rows"], policy["volume"]
    usual = median(rows.values()) if rows else 0
    for end, words, odd in (
        ("minimum", "fewer", {day: n for day, n in rows.items() if n < bars["minimum"] * usual}),
        ("maximum", "more", {day: n for day, n in rows.items() if n > bars["maximum"] * usual}),
    ):
        if odd:
            yield Violation(
                rule=f"volume.{end}",
                file=measured["file"],
                value=f"{len(odd)} of {len(rows)} days have {words} rows than they may; the median is {usual:,.0f}",
                bar=f"at {LEAST[end]} {bars[end]:g} of the median, {bars[end] * usual:,.0f} rows",
                rows=sum(odd.values()),
                examples=tuple(f"{day}: {n:,} rows" for day, n in list(odd.items())[:EXAMPLES]),
                next="look for a delivery of these days that broke off or ran twice, and load them again",
            )


def judge_labels(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Too few or too many positives, overall and by day."""
    label, bars = measured["label"], policy["label"]
    if label is None:
        return
    for end, beyond in BEYOND.items():
        if beyond(number(label["share"]), bars[end]):
            yield Violation(
                rule=f"label.{end}",
                file=measured["file"],
                value=f"{percent(label['share'])} of the labels are 1",
                bar=f"at {LEAST[end]} {percent(bars[end])}",
                next="check that labels have arrived, and that their definition has not changed",
            )
        odd = {day: n for day, n in judged_days(measured, policy).items() if beyond(number(n), bars["day"][end])}
        if odd:
            yield Violation(
                rule=f"label.day.{end}",
                file=measured["file"],
                value=f"{len(odd)} days have a share of labels that is too {'low' if end == 'minimum' else 'high'}",
                bar=f"at {LEAST[end]} {percent(bars['day'][end])} of a day's rows",
                rows=sum(measured["days"]["rows"][day] for day in odd),
                examples=tuple(f"{day}: {percent(share)}" for day, share in list(odd.items())[:EXAMPLES]),
                next="check that the labels of these days were loaded, and loaded once",
            )


def judged_days(measured: Measured, policy: Bars) -> dict[str, float | None]:
    """The label's share on the days of the window that have enough rows."""
    rows, shares = measured["days"]["rows"], measured["label"]["days"]
    return {day: shares[day] for day, n in rows.items() if n >= policy["label"]["day"]["rows"]}


def judge_pin(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """A source that may change although the repository does not."""
    if policy["pinned"] and not measured["pinned"]:
        yield Violation(
            rule="pinned",
            file="params.yaml",
            value=f"data.snapshot is null for {measured['source']}",
            bar="a snapshot",
            next="run `make snapshot` and commit params.yaml",
        )


def unjudged_data(measured: Measured, policy: Bars) -> list[str]:
    """What no bar of policies/data.yaml could be held against, and why."""
    sentences = [
        f"{what}, as their columns are missing or mistyped (see schema)"
        for what in ("duplicates", "days", "label")
        if measured[what] is None
    ]
    if measured["days"] and measured["label"]:
        least = policy["label"]["day"]["rows"]
        if small := sorted(set(measured["days"]["rows"]) - set(judged_days(measured, policy))):
            sentences.append(
                f"the label's share on {len(small)} days with fewer than {least:,} rows (label.day.rows): "
                f"{', '.join(small[:EXAMPLES])}{', …' * (len(small) > EXAMPLES)}"
            )
    return sentences


# --- model ---


def judge_model(metrics: Measured, policy: Bars) -> list[Violation]:
    """The bars of policies/model.yaml that metrics.json does not meet."""
    return [*judge_metrics(metrics, policy), *judge_baselines(metrics, policy), *judge_slices(metrics, policy)]


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
                    next="compare reports/curves.json with the last model's; more days to learn from, or another model"
                    if found
                    else f"correct the name in policies/model.yaml; did you mean {nearest(name, metrics['metrics'])}?",
                )


def judge_baselines(metrics: Measured, policy: Bars) -> Iterator[Violation]:
    """Baselines that the model does not beat by more than the margin; to have none to beat is a violation too."""
    if not metrics["baselines"]:
        yield Violation(
            rule="baselines",
            file="metrics.json",
            value="no baseline was measured",
            bar="at least one to beat",
            next="restore the stage `baselines` in dvc.yaml",
        )
    for name, margin in policy["baselines"].items():
        ours = metrics["metrics"].get(name)
        for baseline, theirs in metrics["baselines"].items():
            if not point(ours) - point(theirs.get(name)) > margin:
                yield Violation(
                    rule=f"baselines.{name}",
                    file="metrics.json",
                    value=f"the model has {interval(ours)}, {baseline} has {interval(theirs.get(name))}",
                    bar=f"more than {margin:g} above every baseline",
                    rows=metrics["data"]["test_rows"],
                    next=f"improve the model, or ship {baseline}: it is as good, and simpler",
                )


def judge_slices(metrics: Measured, policy: Bars) -> Iterator[Violation]:
    """Slices large enough to judge, whose better end misses a bar."""
    for piece in metrics["slices"]:
        if too_small(piece, policy):
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


def unjudged_model(metrics: Measured, policy: Bars) -> list[str]:
    """What no bar of policies/model.yaml could be held against, and why."""
    bars = policy["slices"]
    return [
        f"the slice where {where(piece)}: {piece['rows']:,} rows, {piece['positives']:,} of them positive, are too few "
        f"(slices.rows is {bars['rows']:,}, slices.each_class {bars['each_class']:,})"
        for piece in metrics["slices"]
        if too_small(piece, policy)
    ] + ([] if metrics["slices"] else ["slices: metrics.json has none"])


def too_small(piece: Measured, policy: Bars) -> bool:
    """Whether a slice has too few rows, positives or negatives for its metrics to mean something."""
    bars, negatives = policy["slices"], piece["rows"] - piece["positives"]
    return bool(piece["rows"] < bars["rows"] or min(piece["positives"], negatives) < bars["each_class"])


def where(piece: Measured) -> str:
    """A slice in words."""
    if "value" in piece:
        return f"{piece['column']} is {piece['value']}"
    ends = [f"{end} {piece[end]:g}" for end in ("from", "to") if piece.get(end) is not None]
    return f"{piece['column']} is {' '.join(ends)}"


# --- service ---


def judge_service(measured: Measured, policy: Bars) -> list[Violation]:
    """The bars of policies/service.yaml that reports/service.json does not meet."""
    faults = {
        "broken": (
            len(measured["broken"]),
            "checks of the contract failed",
            "mend pipeline/service.py: see the examples",
        ),
        "errors": (measured["errors"], "requests under load failed", "look into build/probe.log for what went wrong"),
        "ready_seconds": (
            measured["ready_seconds"],
            "seconds until it was ready",
            "import and load less when it starts",
        ),
    } | {
        f"latency_ms.{name}": (
            measured["latency_ms"].get(name),
            f"ms at {name}",
            "profile predict, or make the model smaller",
        )
        for name in policy["latency_ms"]
    }
    bars = {**policy, **{f"latency_ms.{name}": bar for name, bar in policy["latency_ms"].items()}}
    return [
        Violation(
            rule=rule,
            file="reports/service.json",
            value=f"{'not measured' if value is None else value} {what}",
            bar=f"at most {bars[rule]:g}",
            next=next_,
            examples=tuple(measured["broken"][:EXAMPLES]) if rule == "broken" else (),
        )
        for rule, (value, what, next_) in faults.items()
        if BEYOND["maximum"](number(value), bars[rule])
    ]


# --- values and bars ---

# A value that is not there, or NaN, is beyond every bar.
BEYOND: dict[str, Callable[[float, float], bool]] = {
    "minimum": lambda value, bar: not value >= bar,
    "maximum": lambda value, bar: not value <= bar,
}
LEAST = {"minimum": "least", "maximum": "most"}
OTHER = {"minimum": "maximum", "maximum": "minimum"}


def worse(metric: Measured | None, end: str) -> float:
    """The end of a metric's interval that is nearer to missing a `minimum` or a `maximum`; NaN where there is none."""
    return number((metric or {}).get("low" if end == "minimum" else "high"))


def point(metric: Measured | None) -> float:
    """A metric's value; NaN where there is none."""
    return number((metric or {}).get("value"))


def number(value: float | None) -> float:
    """The value, NaN for none."""
    return nan if value is None else value


def interval(metric: Measured | None) -> str:
    """A metric's value and interval in words."""
    if not metric:
        return "not measured"
    value, low, high = (f"{number(metric.get(key)):.4g}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def percent(share: float | None) -> str:
    """A share in words."""
    return "none" if share is None else f"{100 * share:.3g}%"


@dataclass(frozen=True)
class Judge:
    """What is judged, what measures it, and by whom."""

    measured: Path
    make: str  # the command that measures
    violations: Callable[[Measured, Bars], list[Violation]]
    unjudged: Callable[[Measured, Bars], list[str]]


JUDGES = {
    "data": Judge(Path("reports/validation.json"), "dvc repro validate", judge_data, unjudged_data),
    "model": Judge(Path("metrics.json"), "dvc repro evaluate", judge_model, unjudged_model),
    "service": Judge(Path("reports/service.json"), "make probe", judge_service, lambda measured, policy: []),
}

if __name__ == "__main__":
    main()
