"""metrics.json against policies/model.yaml."""

from collections.abc import Iterator

from pipeline.policy.bars import BEYOND, LEAST, OTHER, Bars, Measured, Violation, interval, nearest, point, worse


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
