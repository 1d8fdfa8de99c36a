"""Who judges what: `python -m pipeline.policy NAME ...` holds what was measured against policies/NAME.yaml."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.policy.bars import POLICIES, Bars, Measured, Violation, load, read
from pipeline.policy.behaviour import judge_behaviour, unjudged_behaviour
from pipeline.policy.data import judge_data, unjudged_data
from pipeline.policy.drift import judge_drift, outcome, unjudged_drift
from pipeline.policy.model import judge_model, unjudged_model
from pipeline.policy.service import judge_service

GATE = Path("reports/gate-{}.json")


def nothing(measured: Measured, policy: Bars) -> list[str]:
    """Of a judge that can always judge."""
    return []


def no_more(measured: Measured, policy: Bars, violations: Sequence[Violation]) -> Mapping[str, Any]:
    """Of a judge whose gate file says no more than violations and not_judged."""
    return {}


@dataclass(frozen=True)
class Judge:
    """What is judged, what measures it, and by whom."""

    measured: Path
    make: str  # the command that measures
    violations: Callable[[Measured, Bars], list[Violation]]
    unjudged: Callable[[Measured, Bars], list[str]] = nothing
    more: Callable[[Measured, Bars, Sequence[Violation]], Mapping[str, Any]] = no_more  # keys of the gate's file
    beside: Mapping[str, tuple[Path, str]] = field(default_factory=dict)  # further files and commands, by their key

    def read(self) -> Measured:
        """All that was measured. Raises BadInput where something was not."""
        return read(self.measured, self.make) | {name: read(path, make) for name, (path, make) in self.beside.items()}


JUDGES = {
    "data": Judge(Path("reports/validation.json"), "make data", judge_data, unjudged_data),
    "model": Judge(
        Path("metrics.json"),
        "make model",
        judge_model,
        unjudged_model,
        beside={"comparison": (Path("reports/comparison.json"), "python -m pipeline.compare")},
    ),
    "behaviour": Judge(
        Path("reports/behaviour.json"), "python -m pipeline.behaviour", judge_behaviour, unjudged_behaviour
    ),
    "service": Judge(Path("reports/service.json"), "make probe", judge_service),
    "drift": Judge(Path("reports/drift.json"), "make drift", judge_drift, unjudged_drift, outcome),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all violations, and what was not judged; keep both for the report. Exits 1 if there is a violation."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.policy", description="Judge what was measured.")
    parser.add_argument("names", nargs="+", choices=JUDGES, metavar="|".join(JUDGES))
    if failed := [said for name in parser.parse_args(arguments).names if (said := judge(name))]:
        sys.exit("\n".join(failed))


def judge(name: str) -> str:
    """Judge by one policy, print and keep what was found; the sentence to fail with, empty where every bar is met."""
    judge = JUDGES[name]
    policy, measured = load(name), judge.read()
    violations, unjudged = judge.violations(measured, policy), judge.unjudged(measured, policy)
    gate = {"violations": [asdict(violation) for violation in violations], "not_judged": unjudged}
    GATE.parent.mkdir(exist_ok=True)
    more = judge.more(measured, policy, violations)
    Path(str(GATE).format(name)).write_text(json.dumps({**more, **gate}, indent=2) + "\n")
    for violation in violations:
        print(f"{violation}\n")
    for sentence in unjudged:
        print(f"not judged: {sentence}")
    if violations:
        return f"{POLICIES / name}.yaml: {len(violations)} bar{'s' * (len(violations) > 1)} not met, see above"
    print(f"{POLICIES / name}.yaml: well done, every bar is met{', as far as it could be judged' * bool(unjudged)}")
    return ""
