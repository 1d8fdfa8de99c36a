"""The rulesets of policies/: what each asks for, whether GitHub's rules are at least as strict, and making them.

A ruleset may name the default branch, as the tag `refs/tags/DEFAULT_BRANCH`, and the App, as the number "APP_ID".
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gitops.pulls import Repository, ask, found, pages

Json = Mapping[str, Any]
DEFAULT = "~DEFAULT_BRANCH"
MAIN = Path("policies/ruleset.json")
OF_ALL = (
    MAIN,
    Path("policies/ruleset-releases.json"),
    Path("policies/ruleset-names.json"),
    Path("policies/ruleset-production.json"),
)
OF_APP = (Path("policies/ruleset-app-verified.json"), Path("policies/ruleset-app-production.json"))


def make(here: Repository, paths: Iterable[Path], app: int = 0) -> str:
    """Makes rulesets, or brings them up to date, where something of one lacks."""
    done = []
    for ruleset in (wanted(here, path, app) for path in paths):
        if differences(here, ruleset):
            old = own(here, ruleset["name"])
            ask(here, "PUT" if old else "POST", f"rulesets/{old}" if old else "rulesets", ruleset)
            done.append(f"{ruleset['name']!r} {'again' if old else 'now'}")
    return f"in force: {', '.join(done)}" if done else "in force already"


def wanted(here: Repository, path: Path, app: int = 0) -> dict[str, Any]:
    """A ruleset of policies/, for this repository's default branch and App."""
    text = path.read_text().replace("refs/tags/DEFAULT_BRANCH", f"refs/tags/{here.default_branch}")
    ruleset: dict[str, Any] = json.loads(text.replace('"APP_ID"', str(app)))
    names = ruleset["conditions"]["ref_name"]
    names["include"] = [*dict.fromkeys(names["include"])]
    return ruleset


def name(path: Path) -> str:
    """What a ruleset of policies/ is called on GitHub."""
    return str(json.loads(path.read_text())["name"])


def differences(here: Repository, wanted: Json) -> list[str]:
    """What a ruleset asks for and the rules of its branches or tags, of whatever ruleset, do not."""
    told = []
    for ref in wanted["conditions"]["ref_name"]["include"]:
        there, missing = rules_of(here, wanted["target"], ref), []
        passed = {number: [*passes(here, number, wanted)] for number in {rule["ruleset_id"] for rule in there}}
        for rule in wanted["rules"]:
            kind, asked = rule["type"], rule.get("parameters", {})
            gaps = [
                ([*lacking(asked, each.get("parameters", {}))], passed[each["ruleset_id"]])
                for each in there
                if each["type"] == kind
            ]
            weaker, by = min(gaps, key=lambda gap: len(gap[0]) + len(gap[1]), default=([], []))
            missing += [] if gaps else [kind]
            told += [f"{kind} has {', '.join(weaker)}", *by] if weaker else by
        if missing:
            name = here.default_branch if ref == DEFAULT else ref.removeprefix("refs/")
            told.append(f"{name} without {', '.join(missing)}")
    return [*dict.fromkeys(told)]


def rules_of(here: Repository, target: str, ref: str) -> list[Json]:
    """The active rules of a branch, or of the tags of a pattern, which GitHub lists by ruleset only."""
    if target == "branch":
        branch = here.default_branch if ref == DEFAULT else ref.removeprefix("refs/heads/")
        return [*pages(here, f"rules/branches/{branch}")]
    rows = [row for row in pages(here, "rulesets") if row["target"] == "tag" and row["enforcement"] == "active"]
    rulesets = [ask(here, "GET", f"rulesets/{row['id']}") for row in rows]
    return [
        rule | {"ruleset_id": ruleset["id"]}
        for ruleset in rulesets
        if covers(ruleset["conditions"]["ref_name"], ref)
        for rule in ruleset["rules"]
    ]


def covers(names: Json, pattern: str) -> bool:
    """Whether a ruleset's conditions hold for all tags of a pattern."""
    outside = any(fnmatchcase(each, pattern) or fnmatchcase(pattern, each) for each in names["exclude"])
    return not outside and any(each == "~ALL" or fnmatchcase(pattern, each) for each in names["include"])


def passes(here: Repository, number: int, wanted: Json) -> Iterator[str]:
    """Who may pass a ruleset and should not, or should and may not, as far as the token may see it."""
    there = found(here, f"rulesets/{number}") or {}
    if there.get("bypass_actors") is None:
        return
    for word, some, others in (
        ("may", there["bypass_actors"], wanted["bypass_actors"]),
        ("may not", wanted["bypass_actors"], there["bypass_actors"]),
    ):
        yield from (
            f"{by['actor_type']} {by['actor_id']} {word} pass {there['name']!r}" for by in some if by not in others
        )


def lacking(asked: Any, given: Any, name: str = "") -> Iterator[str]:
    """Where `given` does not hold what is asked: each key, each item of a list, at least a number, else the same."""
    if isinstance(asked, Mapping):
        for key, value in asked.items():
            yield from lacking(value, (given or {}).get(key), key)
    elif name.startswith("allowed_"):  # a shorter list is stricter, and none is no limit
        yield from (f"{name} with {json.dumps(item)}" for item in given or ["all"] if item not in asked)
    elif isinstance(asked, list):
        for item in asked:
            if all([*lacking(item, other)] for other in given or []):
                yield f"{name} without {json.dumps(item)}"
    elif (given or 0) != asked and not (counts(name, asked) and isinstance(given, int) and given >= asked):
        yield f"{name} {json.dumps(given)}, not {json.dumps(asked)}"


def counts(name: str, asked: Any) -> bool:
    """Whether a value is a number of which more is stricter: an App's id is none."""
    return type(asked) is int and not name.endswith("_id")


def own(here: Repository, name: str) -> int | None:
    """The repository's ruleset of a name."""
    rows = pages(here, "rulesets", includes_parents="false")
    return next((row["id"] for row in rows if row["name"] == name), None)
