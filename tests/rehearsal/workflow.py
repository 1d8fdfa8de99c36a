"""A workflow file as GitHub reads it: what starts it, what its jobs may do, and the copy of it that act runs."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

PROBE = "rehearsal-probe"
NEEDS = "REHEARSAL_NEEDS"
DEFAULT_TYPES = dict.fromkeys(("pull_request", "pull_request_target"), ["opened", "synchronize", "reopened"])
FILTERED = {"push", "pull_request", "pull_request_target", "merge_group"}
PLAIN = {"shell": "bash", "working-directory": "/"}  # a step that a workflow's `defaults:` do not reach
UNSUPPORTED = ("strategy", "services", "container", "continue-on-error", "concurrency")


class Refused(Exception):
    """A workflow that the rehearsal will not run; the message is a sentence for the person who wrote it."""


@dataclass(frozen=True)
class Event:
    """What happened: the payload that a workflow sees, and what `on:` filters look at."""

    name: str
    payload: dict[str, Any]
    ref: str  # github.ref: refs/heads/main, refs/pull/7/merge
    sha: str  # github.sha, and the commit that the workflow files are read from
    actor: str
    branch: str = ""  # what `branches:` is compared with: the pushed branch, or the base of a pull request
    paths: tuple[str, ...] = ()  # what changed

    @property
    def json(self) -> str:
        return json.dumps(self.payload)


@dataclass
class Result:
    """What a job that ended hands to the jobs that need it."""

    conclusion: str  # success, failure, cancelled, skipped
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Workflow:
    """One file of .github/workflows; every scalar is text, as in GitHub's own expressions."""

    path: str
    text: str

    @cached_property
    def tree(self) -> dict[str, Any]:
        # BaseLoader leaves `on`, `yes` and `3.10` the words that they are.
        return yaml.load(self.text, yaml.BaseLoader)

    @property
    def name(self) -> str:
        return self.tree.get("name") or self.path

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        return self.tree["jobs"]

    def check(self) -> None:
        """Raise Refused for what is valid on GitHub and not rehearsed: better than to leave it out in silence."""
        if any(isinstance(each, yaml.AliasEvent) for each in yaml.parse(self.text, yaml.BaseLoader)):
            raise Refused(
                f"{self.path}: the rehearsal replaces jobs in the text, so write out what the alias stands for"
            )
        if len({start for start, _ in self._spans.values()}) < len(self.jobs):
            raise Refused(f"{self.path}: the rehearsal replaces jobs in the text, so give each job lines of its own")
        for job, body in self.jobs.items():
            for key in UNSUPPORTED:
                if key in body:
                    raise Refused(f"{self.path}: the rehearsal does not know '{key}' of job {job}")

    def check_called(self) -> None:
        """The same for a workflow that a job calls: act runs all of it as that one job."""
        self.check()
        for job, body in self.jobs.items():
            for key in ("environment", "uses"):
                if key in body:
                    raise Refused(f"{self.path}: the rehearsal does not know '{key}' of job {job} of a called workflow")

    def permissions_called(self, granted: dict[str, str]) -> dict[str, str]:
        """What the token of a job that calls this workflow may do: what the jobs in here ask for of what is granted."""
        asked: dict[str, str] = {}
        for job, body in self.jobs.items():
            named = "permissions" in self.tree or "permissions" in body
            for scope, level in (self.permissions(job) if named else granted).items():
                if level not in (granted.get(scope), "read" if granted.get(scope) == "write" else ""):
                    only = f"but is only allowed '{scope}: {granted.get(scope, 'none')}'"
                    raise Refused(f"The nested job '{job}' is requesting '{scope}: {level}', {only}.")
                asked[scope] = max(level, asked.get(scope, ""))  # "write" is the larger word
        return asked

    def inputs(self, given: Mapping[str, str]) -> dict[str, str]:
        """The inputs of a dispatch, defaults filled in. Raises Refused for one that is unknown or missing."""
        known = _blocks(_blocks(self.tree["on"])["workflow_dispatch"].get("inputs"))
        if unknown := given.keys() - known.keys():
            raise Refused(f"{self.path}: Unexpected inputs provided: {sorted(unknown)}")
        missing = [name for name, spec in known.items() if spec.get("required") == "true" and "default" not in spec]
        if absent := [name for name in missing if name not in given]:
            raise Refused(f"{self.path}: Required input '{absent[0]}' not provided")
        return {name: given.get(name, spec.get("default", "")) for name, spec in known.items()}

    def needed(self, job: str, results: Mapping[str, Result]) -> str:
        """The `needs` context of a job, as JSON."""
        ended = {need: results[need] for need in self.needs(job)}
        return json.dumps({need: {"result": each.conclusion, "outputs": each.outputs} for need, each in ended.items()})

    def needs(self, job: str) -> list[str]:
        return _list(self.jobs[job].get("needs"))

    def dependents(self, jobs: Iterable[str]) -> set[str]:
        """These jobs and all that come after them."""
        found = set(jobs)
        while more := {job for job in self.jobs if job not in found and found & set(self.needs(job))}:
            found |= more
        return found

    def _ancestors(self, job: str) -> set[str]:
        return {found for need in self.needs(job) for found in (need, *self._ancestors(need))}

    def starts(self, event: Event) -> bool:
        """Whether the event starts this workflow, by the filters under `on:`."""
        triggers = _blocks(self.tree.get("on"))
        if event.name not in triggers:
            return False
        filters = triggers[event.name]
        if event.name not in FILTERED:
            return _typed(filters, event)
        kind = "tags" if event.ref.startswith("refs/tags/") else "branches"
        other = "branches" if kind == "tags" else "tags"
        if _names(filters, other) and not _names(filters, kind):
            return False
        changed = kind == "tags" or _passes(filters, "paths", event.paths)
        return _typed(filters, event) and _passes(filters, kind, [event.branch]) and changed

    def labels(self, job: str) -> str:
        """What `runs-on` says, a label a line; of a workflow that is called, what its input `runner` is given."""
        body = self.jobs[job]
        said = body.get("with", {}).get("runner", "") if "uses" in body else body.get("runs-on", "")
        return said if isinstance(said, str) else "\n".join(said)

    def permissions(self, job: str) -> dict[str, str]:
        """What the token of this job may do: the job's block, else the workflow's."""
        asked = self.jobs[job].get("permissions", self.tree.get("permissions"))
        if not isinstance(asked, dict):
            raise Refused(f"{self.path}: name each permission of job {job}, or permissions: {{}} for none")
        return {scope: level for scope, level in asked.items() if level != "none"}

    def copy(
        self, job: str, results: Mapping[str, Result], probe: dict[str, Any], cancelled: bool, step: str = ""
    ) -> str:
        """The file for act to run one job of: jobs that ended are replaced by their results, all else is verbatim.

        The probe is a job added in front, which needs the one job and writes down what became of it. With a step, the
        job runs that alone, and $ENVIRONMENT is the environment that the job names.
        """
        lines = self.text.split("\n")
        if step:
            self._replace(lines, job, self._reduced(job, step, cancelled))
        if cancelled or any(results[need].conclusion == "cancelled" for need in self.needs(job)):
            self._tell_of_cancellation(lines, job, cancelled)
        for name in self._ancestors(job):
            self._replace(lines, name, self._stub(name, results[name]))
        return self._with(lines, probe)

    def alone(self, probe: dict[str, Any]) -> str:
        """The file with the probe in front, for what depends on no job: names, groups, limits."""
        return self._with(self.text.split("\n"), probe)

    def _with(self, lines: list[str], probe: dict[str, Any]) -> str:
        first = min(start for start, _ in self._spans.values())
        return "\n".join([*lines[:first], self._entry(PROBE, probe), *lines[first:]])

    @cached_property
    def _nodes(self) -> list[tuple[yaml.Node, yaml.Node]]:
        root = yaml.compose(self.text, yaml.BaseLoader)
        assert isinstance(root, yaml.MappingNode)
        return next(value.value for key, value in root.value if key.value == "jobs")

    @cached_property
    def _spans(self) -> dict[str, tuple[int, int]]:
        """First and last line (exclusive) of each job."""
        return {
            key.value: (key.start_mark.line, max(value.end_mark.line, key.start_mark.line + 1))
            for key, value in self._nodes
        }

    def _entry(self, job: str, body: dict[str, Any]) -> str:
        indent = " " * self._nodes[0][0].start_mark.column
        return f"{indent}{job}: {json.dumps(body, ensure_ascii=False)}"

    def _replace(self, lines: list[str], job: str, body: dict[str, Any]) -> None:
        start, end = self._spans[job]
        lines[start:end] = [self._entry(job, body)] + [""] * (end - start - 1)

    def _stub(self, job: str, result: Result) -> dict[str, Any]:
        """A job that ends as the real one did; act has no word for cancelled, which like skipped is no success."""
        ran = result.conclusion in ("success", "failure")
        return {
            "if": "always()" if ran else "false",
            "needs": self.needs(job),
            "runs-on": "ubuntu-latest",
            "outputs": {name: literal(value) for name, value in result.outputs.items()},
            "steps": [{"run": f"exit {int(result.conclusion == 'failure')}", **PLAIN}],
        }

    def _reduced(self, job: str, step: str, cancelled: bool) -> dict[str, Any]:
        """The job's condition and environment, with one step."""
        body = self.jobs[job]
        named = body["environment"] if isinstance(body["environment"], str) else body["environment"]["name"]
        condition = body.get("if", "success()")
        return {
            "if": condition.replace("cancelled()", "true") if cancelled else condition,
            "needs": self.needs(job),
            "runs-on": "ubuntu-latest",
            "steps": [{"run": step, "env": {"ENVIRONMENT": named}, **PLAIN}],
        }

    def _tell_of_cancellation(self, lines: list[str], job: str, cancelled: bool) -> None:
        """Take `needs` and, in the job's condition, `cancelled()` from the driver: act never says cancelled there."""
        start, end = self._spans[job]
        for number in range(start, end):
            lines[number] = from_results(lines[number])
            if cancelled and self._is_condition(job, number):
                lines[number] = lines[number].replace("cancelled()", "true")

    def _is_condition(self, job: str, line: int) -> bool:
        body = next(value for key, value in self._nodes if key.value == job)
        return any(
            key.value == "if" and key.start_mark.line <= line <= value.end_mark.line for key, value in body.value
        )


def from_results(text: str) -> str:
    """Text whose expressions read what other jobs became from a variable of the driver."""
    return re.sub(r"\bneeds\b(?=\s*[.)\[])", f"fromJSON(vars.{NEEDS})", text)


def literal(text: str) -> str:
    """Text that means itself, although it may look like an expression."""
    return text.replace("${{", "${{ '${{' }}")


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) and value else list(value or [])


def _blocks(value: Any) -> dict[str, dict[str, Any]]:
    """Each name to its block, however short they are written: `push`, `[push]`, `push:`, `push: {...}`."""
    named = value if isinstance(value, dict) else dict.fromkeys(_list(value))
    return {name: block if isinstance(block, dict) else {} for name, block in named.items()}


def _typed(filters: dict[str, Any], event: Event) -> bool:
    types = _list(filters.get("types")) or DEFAULT_TYPES.get(event.name)
    return not types or event.payload.get("action") in types


def _names(filters: dict[str, Any], kind: str) -> bool:
    return kind in filters or f"{kind}-ignore" in filters


def _passes(filters: dict[str, Any], kind: str, names: Iterable[str]) -> bool:
    """Whether at least one name is wanted; with an -ignore filter, whether one is left that is not ignored."""
    if kind in filters:
        return any(_matches(_list(filters[kind]), name) for name in names)
    if f"{kind}-ignore" in filters:
        return not all(_matches(_list(filters[f"{kind}-ignore"]), name) for name in names)
    return True


def _matches(patterns: list[str], name: str) -> bool:
    """GitHub's filter patterns: the last one that fits decides, and `!` takes back."""
    wanted = False
    for pattern in patterns:
        if re.fullmatch(_regex(pattern.removeprefix("!")), name):
            wanted = not pattern.startswith("!")
    return wanted


def _regex(pattern: str) -> str:
    """`*` stops at a slash, `**` does not, `?` and `+` repeat what stands before them, as GitHub documents it."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", ".": r"\."}
    return re.sub(r"\*\*/|\*\*|\*|\.", lambda found: parts[found[0]], pattern)
