"""reports/service.json against policies/service.yaml."""

from pipeline.policy.bars import BEYOND, EXAMPLES, Bars, Measured, Violation, number


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
