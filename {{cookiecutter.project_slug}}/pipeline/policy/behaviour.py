"""reports/behaviour.json against policies/behaviour.yaml."""

from collections.abc import Iterator

from pipeline.policy.bars import BEYOND, Bars, Measured, Violation, number, percent

FILE = "reports/behaviour.json"
ADVICE = {
    "functionality": "the training days lack such rows, or the model cannot tell them: look at these rows' inputs",
    "invariance": "the model reads something into what does not matter: more days, or drop the input",
    "direction": "look at the input in the source: is its meaning, its unit or its sign what it was?",
}


def judge_behaviour(measured: Measured, policy: Bars) -> list[Violation]:
    """The cases of policies/behaviour.yaml that the model does not do, and the inputs that it does not use."""
    return [*judge_cases(measured, policy), *judge_reliance(measured, policy)]


def judge_cases(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Cases on too few rows of which the model does as asked; one that was not tried as asked is a violation too."""
    for kind, case, tried in cases(measured, policy):
        rule = f"{kind}: {case['case']}"
        if tried is None:
            yield Violation(
                rule=rule,
                file=FILE,
                value="not tried",
                bar="every case of the policy is tried",
                next="run `python -m pipeline.behaviour` with this policy",
            )
            continue
        if few(tried, case, policy):
            continue
        if BEYOND["minimum"](number(tried["share"]), case["share"]):
            yield Violation(
                rule=rule,
                file=FILE,
                value=f"so on {percent(tried['share'])} of the rows",
                bar=f"at least {percent(case['share'])}: {words(kind, case)}",
                rows=tried["rows"],
                examples=tuple(
                    f"{row.get('id', 'a row')}: {row['before']:.3g} to {row['after']:.3g}" for row in tried["examples"]
                ),
                next=ADVICE[kind],
            )
        sign = -1 if case.get("answer") == "falls" else 1
        if "by" in case and BEYOND["minimum"](sign * number(tried["moved"]), case["by"]):
            yield Violation(
                rule=rule,
                file=FILE,
                value=f"the mean answer moves by {number(tried['moved']):.3g}",
                bar=f"it {case['answer']} by at least {case['by']:g}",
                rows=tried["rows"],
                next=ADVICE[kind],
            )


def judge_reliance(measured: Measured, policy: Bars) -> Iterator[Violation]:
    """Inputs that the model ignores, but for those that may be, and those that are the same in all rows."""
    least, spared = policy["reliance"]["by"], policy["reliance"].get("unused", [])
    for tried in relied(measured):
        if tried["values"] > 1 and tried["column"] not in spared and ignored(tried, policy):
            yield Violation(
                rule="reliance.by",
                file=FILE,
                value=f"{tried['column']}, shuffled, moves the answers by {number(tried['moved']):.3g}",
                bar=f"at least {least:g} on average: every input is used",
                rows=tried["rows"],
                next=f"find where the model loses {tried['column']} (of a category, `encode` says where few levels are "
                "learned); if it is of no use, take it out of the "
                "inputs in contract.yaml (`input: false`), or list it under reliance.unused in policies/behaviour.yaml",
            )


def unjudged_behaviour(measured: Measured, policy: Bars) -> list[str]:
    """Cases that too few rows fit, inputs that are the same in all rows, and those that may be ignored."""
    spared = policy["reliance"].get("unused", [])
    return (
        [
            f"{kind}: {case['case']}: {tried['rows']:,} rows are too few (rows is {policy['rows']:,})"
            for kind, case, tried in cases(measured, policy)
            if tried and few(tried, case, policy)
        ]
        + [
            f"reliance: {tried['column']} has one value in all {tried['rows']:,} rows, and shuffled is what it was"
            for tried in relied(measured)
            if tried["values"] < 2
        ]
        + [
            f"reliance: {tried['column']} may be ignored (reliance.unused)"
            + ("" if ignored(tried, policy) else ", and is used: take it off that list")
            for tried in relied(measured)
            if tried["values"] > 1 and tried["column"] in spared
        ]
    )


def cases(measured: Measured, policy: Bars) -> Iterator[tuple[str, Bars, Measured | None]]:
    """The kind and the words of each case of the policy, and what came of it; None where it was not tried like that."""
    for kind in ADVICE:
        for case in policy[kind]:
            yield kind, case, next((tried for tried in measured["cases"] if tried.get("asked") == case), None)


def relied(measured: Measured) -> list[Measured]:
    """What came of shuffling each input."""
    return [tried for tried in measured["cases"] if tried["kind"] == "reliance"]


def ignored(tried: Measured, policy: Bars) -> bool:
    """Whether an input, shuffled, moves the answers by too little; one that cannot be told is taken as ignored."""
    return BEYOND["minimum"](number(tried["moved"]), policy["reliance"]["by"])


def few(tried: Measured, case: Bars, policy: Bars) -> bool:
    """Whether too few rows fit a case; a row written by hand is enough."""
    return "row" not in case and tried["rows"] < policy["rows"]


def words(kind: str, case: Bars) -> str:
    """What is asked of a row, in words."""
    answer = f"probability of {case['of']}" if "of" in case else "answer"
    if kind == "functionality":
        answer = f"a{'n' * (answer == 'answer')} {answer}"
        return f"{answer} above {case['above']:g}" if "above" in case else f"{answer} below {case['below']:g}"
    if kind == "invariance":
        return f"the {answer} moves by {case['within']:g} at most"
    return f"the {answer} {case['answer']}, or goes the other way by {case['tolerance']:g} at most"
