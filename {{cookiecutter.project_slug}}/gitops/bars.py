"""The base branch's judge and bars: what was measured is judged by them once more, and bars that change are found.

It runs on the base's tree. Of the change it reads nothing but what its jobs measured and its policies, as data.
"""

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gitops import facts, problem
from gitops.content import CONTRACT, Tree
from pipeline.params import BadInput
from pipeline.policy import JUDGES, Judge, load, read
from pipeline.policy.bars import POLICIES
from pipeline.reading import Aliased, knob, parsed

MEASURED_BY = "measure"  # the job in which the base's code measures
PARAMS = Path("params.yaml")
SPARED = "reliance.unused"  # inputs that a model may ignore
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


def plan(told: Mapping[str, Any], kind: str, replaces: bool, foreign: str | None) -> dict[str, Gate]:
    """A gate where the change's own plan said something else than the base finds: other jobs have run, or elsewhere.

    `kind`, and whether it replaces the problem, are what the base finds; `foreign` is what to say of another base than
    the default branch.
    """
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


def judge(folder: Path, results: Mapping[str, str], theirs: Mapping[str, str | None] | None = None) -> dict[str, Gate]:
    """What the base's judges say of what its code measured, by the gate's name; `results` of the jobs by their name.

    `theirs` has the texts of the change's policies where it replaces the problem: what it is judged by.
    """
    gates, passed = {}, results.get(MEASURED_BY) == "success"
    for name in facts.GATES:
        if passed or all(facts.found(folder, path.name).is_file() for path in handed_over(JUDGES[name])):
            gates[name] = judged(name, folder, theirs)
    return gates


def judged(name: str, folder: Path, theirs: Mapping[str, str | None] | None = None) -> Gate:
    """One gate. What cannot be judged has not passed: measured in a form that the base's judge does not read."""
    judge = JUDGES[name]
    try:
        policy = load(name) if theirs is None else problem.bars(name, theirs)
        measured = found(judge, folder)
        violations = [asdict(violation) for violation in judge.violations(measured, policy)]
        if theirs is not None and name == "model":
            violations += problem.judge_constant(measured)
        gate = json.loads(json.dumps({"violations": violations, "not_judged": judge.unjudged(measured, policy)}))
        return unreadable(judge, wrong) if (wrong := facts.check(gate, "gate")) else gate
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


def unreadable(judge: Judge, wrong: str) -> Gate:
    """The gate where there is nothing that the judge can read."""
    violation = {
        "rule": "measured",
        "file": str(judge.measured),
        "value": f"not there, or in a form that the judge of the base branch does not read ({short(wrong)})",
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
    """The base's policies, and where it says what a row is and where rows come from, which bars are held against."""
    return [*sorted(str(path) for path in POLICIES.glob("*.yaml")), CONTRACT, str(PARAMS)]


def changes(head: Mapping[str, str | None], replaces: bool = False) -> list[Change]:
    """The bars that differ, between the base's policies and what the change makes of these files (None removes one).

    Where it replaces the problem its contract is another in all that it says, and is not listed.
    """
    asked = {path: text for path, text in head.items() if not (replaces and path == CONTRACT)}
    return [change for path, text in asked.items() for change in between(path, Path(path).read_text(), text)]


def rulesets(base: Tree, head: Tree) -> Iterator[Change]:
    """The rulesets of GitHub that a change moves, by both trees: which of their rules, a person has to see."""
    for path in sorted(path for path in base.keys() | head.keys() if fnmatch(path, f"{POLICIES}/ruleset*.json")):
        if base.get(path) != head.get(path):
            yield Change(path, "all", "the base branch's", "another" if path in head else "–", "changed")


def between(file: str, before: str, after: str | None) -> Iterator[Change]:
    """The bars of one file that differ; words and comments are no bars."""
    old = flat(bars_of(file, yaml.safe_load(before)))
    try:
        new = {} if after is None else flat(bars_of(file, parsed(after)))
    except (yaml.YAMLError, RecursionError, KeyError, TypeError, ValueError) as error:
        yield Change(file, "all", "bars", str(error) if isinstance(error, Aliased) else "no YAML", "removed")
        return
    for key in old | new:
        if key not in new:
            yield Change(file, key, short(old[key]), "–", "removed")
        elif key not in old:
            allows = key == SPARED or file == CONTRACT and key.endswith(".missing") and new[key] is True
            yield Change(file, key, "–", short(new[key]), "looser" if allows else "added")
        elif old[key] != new[key] and not onward(file, key, old[key], new[key]):
            yield Change(file, key, *shown(file, key, old[key], new[key]), how(key, old[key], new[key]))


def bars_of(file: str, tree: Any) -> Any:
    """What of a file is bars: all of a policy; of the contract all but its words; of the knobs which rows there are,
    and the families that the model has to beat.

    Raises KeyError, TypeError, ValueError.
    """
    if file == CONTRACT:
        return said_of_rows(tree)
    if file != str(PARAMS):
        return tree
    data = tree["data"]
    rows = {"source": data["source"], "until": data.get("until"), "snapshot": data.get("snapshot") or None}
    trained, simulated = tree.get("families") or {}, tree.get("simulate") or {}  # real data needs no simulator
    beaten = {name: trained[name] or "as it comes" for name in to_beat() if name in trained}
    return {"data": rows, "simulate": simulated, "families": beaten}


def said_of_rows(tree: Any) -> Any:
    """A contract without its words: of the problem's name the report speaks by itself. Raises TypeError, ValueError."""
    kept = {key: value for key, value in dict(tree).items() if key not in ("problem", "words")}
    for block in ("columns", "inputs"):
        if block in kept:
            columns = dict(kept[block]).items()
            kept[block] = {name: {k: v for k, v in dict(said).items() if k != "about"} for name, said in columns}
    return kept


def to_beat() -> list[str]:
    """The families that the base's policy has the model beat."""
    block = yaml.safe_load((POLICIES / "model.yaml").read_text()).get("baselines") or {}
    named = block.get("beaten")
    return [str(name) for name in named] if isinstance(named, list) else []


def judge_beaten(moved: Sequence[Change], knobs: str | None) -> dict[str, Gate]:
    """A gate where a change moves the knobs of a family that the model has to beat: else it would set its own bar.

    A family that the change ships is the model, and judged as that. Whoever owns the bars moves such knobs in two
    steps, as the list of what is beaten stands in a file of theirs.
    """
    violations = [
        {
            "rule": each.key,
            "file": each.file,
            "value": each.after,
            "bar": f"{each.before}, as on the base branch: a model does not choose what it has to beat",
            "next": f"take it back; or have the owners of {POLICIES}/model.yaml take {name} out of baselines.beaten in "
            "a request of its own, and put it back with its new knobs in the next",
        }
        for each in moved
        if (name := beaten_in(each)) and name != knob(knobs, "train", "family")
    ]
    return {"baselines": {"violations": violations, "not_judged": []}} if violations else {}


def beaten_in(moved: Change) -> str:
    """The family whose knobs a bar of params.yaml is; empty where it is none."""
    block, _, rest = moved.key.partition(".")
    return rest.partition(".")[0] if moved.file == str(PARAMS) and block == "families" else ""


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


def onward(file: str, key: str, before: Any, after: Any) -> bool:
    """Whether it is the last day, moved to a later one: each retraining does, and an earlier one may be chosen."""
    if (file, key) != (str(PARAMS), "data.until"):
        return False
    try:
        return date.fromisoformat(str(after)) > date.fromisoformat(str(before))
    except ValueError:
        return False


def shown(file: str, key: str, before: Any, after: Any) -> tuple[str, str]:
    """A bar before and after in the cells of a table; of a snapshot no digits, which say nothing."""
    if (file, key) != (str(PARAMS), "data.snapshot"):
        return short(before), short(after)
    if before and after:
        return "pinned", "another sha256"
    return "pinned" if before else "not pinned", "pinned" if after else "not pinned"


def short(value: Any) -> str:
    """A leaf in a cell of a table."""
    return textwrap.shorten(str(value), 100)


def how(key: str, before: Any, after: Any) -> str:
    """Which way a bar moves, where its name tells."""
    last = key.rpartition(".")[2]
    if last == "range":
        return ranged(before, after)
    if key == SPARED and all(isinstance(names, list) for names in (before, after)):
        return "stricter" if set(map(str, after)) < set(map(str, before)) else "looser"
    up = {"minimum": "stricter", "maximum": "looser"}.get(last)
    if up is None or not all(isinstance(value, int | float) for value in (before, after)):
        return "changed"
    return up if after > before else {"stricter": "looser", "looser": "stricter"}[up]


def ranged(before: Any, after: Any) -> str:
    """Which way the values move that a column may hold, [lowest, highest], where None is no end."""
    try:
        (low, high), (lower, higher) = (
            (-math.inf if lowest is None else lowest, math.inf if highest is None else highest)
            for lowest, highest in (before, after)
        )
        return "looser" if lower < low or higher > high else "stricter"
    except (TypeError, ValueError):
        return "changed"
