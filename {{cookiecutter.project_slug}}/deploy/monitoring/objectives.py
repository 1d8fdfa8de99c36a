"""Write objectives.yaml: the alerts that follow from `objectives` in policies/service.yaml. `make objectives` runs it.

An objective leaves a budget of requests that may miss it in 30 days; a burn rate of 1 uses it up in exactly these. An
alert asks for a high rate over a long window, so that it matters, and over a twelfth of it, so that it goes on: the
Site Reliability Workbook (Google, 2018), chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.utils import floatToGoString

from pipeline.params import BadInput, run_stage
from pipeline.policy.bars import load

PLACE = Path(__file__).with_name("objectives.yaml")
HEAD = (
    "# Written by `make objectives` from policies/service.yaml: how many requests have to be answered, and how soon.\n"
)
MONTH = 30 * 24  # hours
ALERTS = {  # by severity: the share of a month's budget that is gone, in how many hours; and the shorter window
    "page": ((0.02, 1, "5m"), (0.05, 6, "30m")),
    "ticket": ((0.10, 24, "2h"),),
}
LEAST = 10  # requests that have missed: where few ask, a single one would burn a month's budget
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "24h")

NOT_SERVED, JUDGED = 'status=~"429|5.."', 'status=~"200|429|5.."'
"""Answers by their status: told to come again, or a fault of ours; and these beside what was served. Mistakes of a
caller's own (other 4xx) count nowhere."""
SUMMARIES = {
    "Availability": "Requests go unanswered (500, or 429 under overload)",
    "Latency": "Answers come late",
}
BURNS = "the month's budget burns {{ $value | humanize }} times too fast."


def main() -> None:
    """Write the rules, or with --check only compare. Raises BadInput where they are not what the policy asks for."""
    asked = HEAD + manifest(load("service")["objectives"])
    if "--check" not in sys.argv[1:]:
        PLACE.write_text(asked)
    elif PLACE.read_text() != asked:
        where = "deploy/monitoring/objectives.yaml"
        raise BadInput(f"{where}: is not what policies/service.yaml asks for; write it again with `make objectives`")


def manifest(objectives: Mapping[str, Any]) -> str:
    """The PrometheusRule of these objectives, as YAML."""
    made = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "scorer-objectives", "labels": {"app.kubernetes.io/name": "scorer"}},
        "spec": {"groups": [{"name": "scorer-objectives", "rules": [*burns(objectives), *alerts(objectives)]}]},
    }
    return str(yaml.safe_dump(made, sort_keys=False, width=110))


def missed(objectives: Mapping[str, Any], how: str, window: str) -> dict[str, tuple[str, str, float]]:
    """By objective: requests that missed it in a window, all that are judged by it, and the share that may miss it."""

    def counted(metric: str) -> str:
        return f"sum by (namespace) ({how}({metric}[{window}]))"

    soon = f'scorer_request_seconds_bucket{{le="{floatToGoString(objectives["latency"]["seconds"])}"}}'
    answered = counted("scorer_request_seconds_count")
    return {
        "Availability": (
            counted(f"scorer_requests_total{{{NOT_SERVED}}}"),
            counted(f"scorer_requests_total{{{JUDGED}}}"),
            may_miss(objectives["availability"]),
        ),
        "Latency": (f"({answered} - {counted(soon)})", answered, may_miss(objectives["latency"]["share"])),
    }


def may_miss(percent: float) -> float:
    """The share of requests that may miss an objective of so many percent."""
    return round(1 - percent / 100, 9)


def burns(objectives: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The burn rate of each objective over each window."""
    for window in WINDOWS:
        for name, (bad, judged, share) in missed(objectives, "rate", window).items():
            yield {"record": rate(name, window), "expr": f"{bad} / {judged} / {share:g}"}


def rate(name: str, window: str) -> str:
    """The name of a burn rate."""
    return f"scorer:{name.lower()}:burn_rate{window}"


def burning(name: str, bar: float, hours: int, short: str) -> str:
    """That a burn rate is above a bar over hours, and over the shorter window too."""
    return f"{rate(name, f'{hours}h')} > {bar:g} and {rate(name, short)} > {bar:g}"


def alerts(objectives: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A page and a ticket for each objective."""
    for severity, windows in ALERTS.items():
        for name, (bad, *_) in missed(objectives, "increase", f"{windows[-1][1]}h").items():
            fast = " or ".join(burning(name, MONTH * share / hours, hours, short) for share, hours, short in windows)
            alert = f"Scorer{name}{severity.title()}"
            yield {
                "alert": alert,
                "expr": f"({fast}) and {bad} >= {LEAST}",
                "labels": {"severity": severity},
                "annotations": {
                    "summary": f"{SUMMARIES[name]}: {BURNS}",
                    "runbook": f"deploy/monitoring/README.md#{alert.lower()}",
                },
            }


if __name__ == "__main__":
    run_stage(main)
