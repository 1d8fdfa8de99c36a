"""reports/comparison.json against the blocks `champion` and `contamination` of policies/model.yaml."""

from collections.abc import Iterator
from statistics import NormalDist

from pipeline.policy.bars import BEYOND, LEAST, Bars, Measured, Violation, interval, number
from pipeline.policy.slices import few, where

COMPARISON = "reports/comparison.json"


def judge_seen(comparison: Measured, policy: Bars) -> Iterator[Violation]:
    """Test rows that a model was trained on: of those it knows the answer."""
    advice = {
        "model": "keep the label delay between training and test (split); look for rows that are delivered twice, "
        "maybe under other identifiers",
        "champion": "test no larger share than the champion was tested on (split.share in policies/evaluation.yaml)"
        if comparison.get("delivery")
        else "move data.until on, until the test days lie after what the champion was trained on",
    }
    for who, found in comparison["seen"].items():
        if found["rows"] > policy["contamination"]:
            yield Violation(
                rule="contamination",
                file=COMPARISON,
                value=f"{found['rows']:,} of {comparison['rows']:,} test rows are rows that the {who} was trained on",
                bar=f"at most {policy['contamination']:,}",
                rows=found["rows"],
                examples=tuple(f"row {example}" for example in found["examples"]),
                next=advice[who],
            )


def judge_delivery(comparison: Measured) -> Iterator[Violation]:
    """A whole delivery that is older than the one that the champion learned from: the world may have moved since."""
    champion, delivery = comparison["champion"], comparison.get("delivery")
    if champion and delivery and delivery < champion["until"]:
        yield Violation(
            rule="champion.until",
            file=COMPARISON,
            value=f"the delivery is that of {delivery}, and the champion learned from that of {champion['until']}",
            bar="a delivery as new",
            next="set data.until in params.yaml to a newer delivery; an earlier model comes back by a revert of its "
            "promotion",
        )


def by_days(comparison: Measured) -> bool:
    """Whether the champion came without hashes of its rows as they are hashed here: a copy in the test days is lost."""
    return not comparison["seen"].get("champion", {"hashed": True})["hashed"]


def judge_champion(comparison: Measured, policy: Bars) -> Iterator[Violation]:
    """Metrics, over all and by slice, that are worse than the champion's by more than the margin, beyond chance.

    The confidence is that of all comparisons together (Bonferroni): each alone is held to 1 - (1 - confidence) / n.
    """
    compared, asked = list(comparisons(comparison, policy)), policy["champion"]["confidence"]
    reach = NormalDist().inv_cdf(1 - (1 - asked) / max(len(compared), 1))  # standard errors
    for rule, place, found, bars in compared:
        difference = found["difference"] if found else {}
        for end, beyond in BEYOND.items():
            sign = 1 if end == "minimum" else -1
            best = number(difference.get("value")) + sign * reach * number(difference.get("error"))
            if end in bars and beyond(best, bars[end]):
                yield Violation(
                    rule=f"champion.{rule}.{end}",
                    file=COMPARISON,
                    value=f"{found['model']:.4g}{place}, the champion has {found['champion']:.4g}: "
                    f"a difference of {interval(difference)}"
                    if found
                    else f"not measured{place}",
                    bar=f"a difference of at {LEAST[end]} {bars[end]:g}; "
                    f"beyond chance at a confidence of {asked:g} over {len(compared)} comparisons",
                    rows=comparison["compared"],
                    next="find what this change takes away, in reports/predictions.parquet; or keep the champion",
                )


def comparisons(comparison: Measured, policy: Bars) -> Iterator[tuple[str, str, Measured | None, Bars]]:
    """What is held against the champion: the rule, the slice in words, what was measured and its bars."""
    if comparison["champion"] is None or comparison["problem"]:
        return
    for name, bars in policy["champion"]["metrics"].items():
        yield f"metrics.{name}", "", comparison["metrics"].get(name), bars
    for piece in comparison["slices"]:
        if not few(piece, policy["slices"]):
            for name, bars in policy["champion"]["slices"].items():
                yield f"slices.{name}", f" where {where(piece)}", piece.get(name), bars
