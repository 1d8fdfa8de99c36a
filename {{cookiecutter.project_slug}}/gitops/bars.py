"""The base branch's judge and bars: what was measured is judged by them once more, and bars that change are found.

It runs on the base's tree. Of the change it reads nothing but what its jobs measured and its policies, as data.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gitops import facts
from pipeline.params import BadInput
from pipeline.policy import JUDGES, Judge, load, read
from pipeline.policy.bars import POLICIES, Aliased, parsed

MEASURED_BY = "measure"  # the job in which the base's code measures
PARAMS = Path("params.yaml")
OF_BASE = "{}, by the judge and the bars of the base branch"

Gate = dict[str, Any]


class Change(NamedTuple):
    """A bar that a change moves."""

    file: str
    key: str  # its place, such as metrics.roc_auc.minimum
    before: str
    after: str
    how: str  # looser, stricter, changed, removed or added


# --- judged again ----------------------------------------------------------------------------------------------------


def plan(told: Mapping[str, Any], kind: str, problems: Sequence[str], foreign: str | None) -> dict[str, Gate]:
    """A gate where the change's own plan said something else than the base finds: other jobs have run, or elsewhere.

    `kind` and the names of the `problems`, before and after, are what the base finds; `foreign` is what to say of
    another base than the default branch.
    """
    replaces = len(set(problems)) > 1
    found = [("kind", f"for a change of kind {told['kind']}", kind)] if told["kind"] != kind else []
    if told["kind"] == kind == "model" and told["replaces"] != replaces:
        found += [("problem", f"to {'replace' if told['replaces'] else 'keep'} the problem", "the other")]
    violations = [
        {
            "rule": rule,
            "file": ".github/workflows/pull-request.yml",
            "value": f"Plan took it {said}",
            "bar": f"{bar}, as the base branch finds",
            "next": "take back what this changes in gitops/ or in the workflow, or update the branch and push again",
        }
        for rule, said, bar in found
    ]
    if foreign:
        wanted = {"bar": "the default branch", "next": "change the base of this pull request"}
        violations.append({"rule": "base", "file": "the pull request", "value": foreign, **wanted})
    return {"plan": {"violations": violations, "not_judged": []}} if violations else {}


def replaced(needs: Mapping[str, Any], kept: Mapping[str, str | None]) -> dict[str, Gate]:
    """A gate where an artifact is not the one that Measure has left: every job of a run may put another in its place.

    `kept` has the digest of each as GitHub lists it.
    """
    job = needs.get(MEASURED_BY) or {}
    said = (job.get("outputs") or {}) if job.get("result") in ("success", "failure") else {}
    violations = [
        {
            "rule": "measured",
            "file": name,
            "value": "another artifact than the job Measure has left",
            "bar": "what main's code measured",
            "next": "look at what the other jobs of this run did, and start them all again",
        }
        for name, digest in kept.items()
        if said.get(name) and digest != f"sha256:{said[name]}"
    ]
    return {"measure": {"violations": violations, "not_judged": []}} if violations else {}


def judge(folder: Path, results: Mapping[str, str]) -> dict[str, Gate]:
    """What the base's judges say of what its code measured, by the gate's name; `results` of the jobs by their name."""
    gates, passed = {}, results.get(MEASURED_BY) == "success"
    for name in facts.GATES:
        if passed or all(facts.found(folder, path.name).is_file() for path in handed_over(JUDGES[name])):
            gates[name] = judged(name, folder)
    return gates


def judged(name: str, folder: Path) -> Gate:
    """One gate. What cannot be judged has not passed: measured in a form that the base's judge does not read."""
    judge = JUDGES[name]
    try:
        policy, measured = load(name), found(judge, folder)
        violations = [asdict(violation) for violation in judge.violations(measured, policy)]
        gate = json.loads(json.dumps({"violations": violations, "not_judged": judge.unjudged(measured, policy)}))
        return unreadable(judge, problem) if (problem := facts.check(gate, "gate")) else gate
    except (Exception, BadInput) as error:  # whatever stands in those files, it ends in a sentence
        return unreadable(judge, str(error) if isinstance(error, BadInput) else repr(error))


def handed_over(judge: Judge) -> Iterator[Path]:
    """The files that a judge reads."""
    yield judge.measured
    yield from (path for path, _ in judge.beside.values())


def found(judge: Judge, folder: Path) -> dict[str, Any]:
    """What a judge reads, wherever an artifact put it. Raises BadInput where it is not there."""
    beside = {key: read(facts.found(folder, path.name), make) for key, (path, make) in judge.beside.items()}
    return read(facts.found(folder, judge.measured.name), judge.make) | beside


def unreadable(judge: Judge, problem: str) -> Gate:
    """The gate where there is nothing that the judge can read."""
    violation = {
        "rule": "measured",
        "file": str(judge.measured),
        "value": f"not there, or in a form that the judge of the base branch does not read ({short(problem)})",
        "bar": "what that judge reads",
        "next": "change measure and judge in two steps: first the judge, so that it reads both, then what is measured",
    }
    return {"violations": [violation], "not_judged": []}


def together(head: Mapping[str, Gate], base: Mapping[str, Gate]) -> dict[str, Gate]:
    """The gates of both; what both find is said once, and of what the base alone finds that it does."""
    gates = {name: dict(gate) for name, gate in head.items()}
    for name, gate in base.items():
        shown = gates.setdefault(name, {"violations": [], "not_judged": []})
        said = [{**violation, "next": ""} for violation in shown["violations"]]
        alone = [each for each in gate["violations"] if {**each, "next": ""} not in said]
        shown["violations"] = shown["violations"] + [{**each, "bar": OF_BASE.format(each["bar"])} for each in alone]
        shown["not_judged"] = list(dict.fromkeys([*shown["not_judged"], *gate["not_judged"]]))
    return gates


# --- bars that change ------------------------------------------------------------------------------------------------


def files() -> list[str]:
    """The base's policies, and where it says where the rows come from that the bars are held against."""
    return [*sorted(str(path) for path in POLICIES.glob("*.yaml")), str(PARAMS)]


def changes(head: Mapping[str, str | None]) -> list[Change]:
    """The bars that differ, between the base's policies and what the change makes of these files (None removes one)."""
    return [change for path, text in head.items() for change in between(path, Path(path).read_text(), text)]


def between(file: str, before: str, after: str | None) -> Iterator[Change]:
    """The bars of one file that differ; words and comments are no bars."""
    old = flat(bars_of(file, yaml.safe_load(before)))
    try:
        new = {} if after is None else flat(bars_of(file, parsed(after)))
    except (yaml.YAMLError, RecursionError, KeyError, TypeError) as error:
        yield Change(file, "all", "bars", str(error) if isinstance(error, Aliased) else "no YAML", "removed")
        return
    for key in old | new:
        if key not in new:
            yield Change(file, key, short(old[key]), "–", "removed")
        elif key not in old:
            yield Change(file, key, "–", short(new[key]), "added")
        elif old[key] != new[key]:
            yield Change(file, key, short(old[key]), short(new[key]), how(key, old[key], new[key]))


def bars_of(file: str, tree: Any) -> Any:
    """What of a file is bars: all of a policy; of the knobs where the rows come from, when a label is known, and what
    the model has to beat.

    Raises KeyError, TypeError.
    """
    if file != str(PARAMS):
        return tree
    source, pinned = tree["data"]["source"], tree["data"].get("snapshot")
    rows = {"source": source, "snapshot": "pinned" if pinned else "not pinned"}
    known = {"delay": tree.get("features", {}).get("delay")}
    beaten, simulated = tree.get("baselines") or {}, tree.get("simulate") or {}  # real data needs no simulator
    return {"data": rows, "features": known, "simulate": simulated, "baselines": beaten}


def flat(tree: Any, place: str = "") -> dict[str, Any]:
    """Every leaf by its place; a case of policies/behaviour.yaml by its sentence, a slice by what is in it."""
    if isinstance(tree, Mapping):
        branches = {f"{place}.{key}" if place else str(key): value for key, value in tree.items()}
    elif isinstance(tree, list) and all(isinstance(each, Mapping) and "case" in each for each in tree):
        branches = {f"{place} “{each['case']}”": {k: v for k, v in each.items() if k != "case"} for each in tree}
    elif isinstance(tree, list) and tree and all(isinstance(each, Mapping) for each in tree):
        branches = {f"{place} ({', '.join(f'{key} {each[key]}' for key in each)})": "measured" for each in tree}
    else:
        return {place: tree}
    return {key: leaf for branch, value in branches.items() for key, leaf in flat(value, branch).items()}


def short(value: Any) -> str:
    """A leaf in a cell of a table."""
    return textwrap.shorten(str(value), 100)


def how(key: str, before: Any, after: Any) -> str:
    """Which way a bar moves, where its name tells."""
    up = {"minimum": "stricter", "maximum": "looser"}.get(key.rpartition(".")[2])
    if up is None or not all(isinstance(value, int | float) for value in (before, after)):
        return "changed"
    return up if after > before else {"stricter": "looser", "looser": "stricter"}[up]
