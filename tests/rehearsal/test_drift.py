"""What drift and the clock ask for, on the forge: one request, issue or comment, whatever fails, however often.

The fast tests call `gitops` here; the slow ones run the real drift.yml.
"""

import hashlib
import itertools
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import yaml

from tests.baking import KNOBS, TEMPLATE
from tests.turns import turn

from .driver import Run
from .forge import Forge, Repo
from .project import OWNER, Project, rehearsal
from .small import small

sys.path.insert(0, str(TEMPLATE))
from gitops import promotion, pulls, retrain  # noqa: E402

NUMBERS = itertools.count(1)
MAY = {"contents": "write", "pull-requests": "write", "issues": "write"}
SCHEMAS = ("policies/schemas/contract.schema.json", "policies/schemas/drift.schema.json")
FILES = ("contract.yaml", "params.yaml", "policies/drift.yaml", *SCHEMAS)
DUE = "A model is due by the clock"
HOSTILE = "$(touch pwned) ::error::x\n## Heading <img src=x> @everyone #1 | ``` <!-- gitops:retrain -->"
UNTIL = "2018-08-23"
OF_DAY = {
    **{"rows": 9_000, "answer": 0.2, "columns": {"tx_amount": 0.3}, "headline": 0.4},
    "wider": {"columns": 2.6, "answer": 2.6},
}
COLUMN = {
    "type": "number",
    "chance": 0.02,
    "missing": 0.0,
    "missing_before": 0.0,
    "rise": 0.0,
    "unseen": None,
    "out_of_range": 0.0,
}
ANSWER = {"name": "score", "type": "number", "distance": 0.2, "chance": 0.02, "method": "wasserstein"}


def measured(**changed: Any) -> dict[str, Any]:
    """drift.json of a week in which amounts have grown."""
    days = [{**dict.fromkeys(("day", "until"), f"2018-08-{day}"), **OF_DAY} for day in range(21, 28)]
    facts = {
        **{"model": "sha256:" + "a" * 64, "configured": True, "problem": None, "days": days},
        **{"problem_name": "card-fraud", "same_problem": True},
        **{"window": ["2018-08-21", "2018-08-27"], "rows": 63_000, "reference_rows": 58_000, "live": None},
        "skew": None,
        "columns": [COLUMN | {"name": "tx_amount", "distance": 0.3, "method": HOSTILE}],
        "answer": ANSWER,
        "headline": "average_precision",
        "retrain": {"until": UNTIL, "now": "2018-08-14", "snapshot": None},
    }
    assert changed.keys() <= facts.keys()
    return facts | changed


def gate(outcome: str, not_judged: Sequence[str] = ()) -> dict[str, Any]:
    said = {"rule": "columns.maximum", "file": "reports/drift.json", "value": HOSTILE, "bar": "at most 0.1"}
    found = [{**said, "next": HOSTILE, "since": "2018-08-23"}] if outcome in ("drifted", "skewed") else []
    return {"outcome": outcome, "violations": found, "not_judged": [*not_judged]}


@dataclass
class World:
    """A repository on the forge, a clone of its main that the commands run in, and what they ask of the forge."""

    forge: Forge
    repo: Repo
    clone: Path
    monkeypatch: pytest.MonkeyPatch

    def check(
        self,
        outcome: str = "drifted",
        job: str = "",
        facts: bool = True,
        not_judged: Sequence[str] = (),
        **changed: Any,
    ) -> str:
        """What the job that speaks does about a check's outcome; its summary."""
        folder = self.clone.parent / f"facts-{next(NUMBERS)}"
        folder.mkdir()
        if facts:
            (folder / "drift.json").write_text(json.dumps(measured(**changed)))
            (folder / "gate-drift.json").write_text(json.dumps(gate(outcome, not_judged)))
        ended = job or ("success" if outcome in ("healthy", "not_configured") else "failure")
        self.monkeypatch.setenv("NEEDS", json.dumps({"measure": {"result": ended, "outputs": {}}}))
        (self.clone.parent / "summary.md").write_text("")
        retrain.drift(folder)
        return (self.clone.parent / "summary.md").read_text()

    def commit(self, branch: str, files: dict[str, str], start: str = "main") -> None:
        """A commit on a branch, straight into the repository."""
        git, person = self.repo.git, self.forge.identity("alice")
        parent = git.resolve(f"refs/heads/{branch}") or git.resolve(f"refs/heads/{start}")
        changes = [{"path": path, "mode": "100644", "sha": git.blob(text.encode())} for path, text in files.items()]
        tree = git.tree_with(parent, changes)
        git.update(f"refs/heads/{branch}", git.commit(tree, [parent] if parent else [], "Change", person, person))

    def promotion(self, until: object) -> int:
        """An open promotion whose model has learned up to a day."""
        manifest = {"data": {"until": until}}
        self.commit("promote/production", {"deploy/production/manifest.json": json.dumps(manifest)})
        return int(
            self.call("POST", "pulls", {"title": "Promote", "head": "promote/production", "base": "main"})["number"]
        )

    def call(self, method: str, path: str, body: Any = None, login: str = "alice") -> Any:
        address = f"{self.forge.api_url}/repos/{self.repo.name}/{path}"
        answer = requests.request(method, address, json=body, headers={"Authorization": f"Bearer ghp_{login}"})
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The open retrain requests."""
        return list(self.call("GET", "pulls?head=acme:retrain/production&state=open"))

    @property
    def issues(self) -> list[dict[str, Any]]:
        """The open issues, oldest first."""
        return [each for each in self.call("GET", "issues?direction=asc") if "pull_request" not in each]

    def comments(self, number: int) -> list[str]:
        return [each["body"] for each in self.call("GET", f"issues/{number}/comments")]

    def diff(self) -> list[str]:
        """The lines that the request's branch changes."""
        lines = self.repo.git("diff", "main...retrain/production").splitlines()
        return [line for line in lines if re.match(r"[-+](?![-+])", line)]

    def state(self) -> Any:
        """All that people see, without times."""
        seen = [
            (
                {name: issue[name] for name in ("number", "title", "body", "state")},
                sorted(label["name"] for label in issue["labels"]),
                self.comments(issue["number"]),
            )
            for issue in self.call("GET", "issues?state=all&direction=asc")
        ]
        branches = {
            ref: self.repo.git("rev-parse", f"{ref}^{{tree}}") for ref in self.repo.git.refs() if "heads" in ref
        }
        return json.loads(json.dumps([seen, branches]).replace(self.repo.name, "the/bank"))


Start = Callable[..., World]


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with Forge(tmp_path_factory.mktemp("forge")) as forge:
        for name in ("alice", "bob"):
            forge.user(name)
        forge.team("acme/risk", "bob")
        yield forge


@pytest.fixture
def start(forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Makes a fresh repository of that name, and has the commands run in it with a workflow's token."""

    def fresh(actions_may_create: bool = True, **bars: Any) -> World:
        forge.faults.clear()
        name = f"acme/bank-{next(NUMBERS)}"
        repo = forge.repository(name, private=False, roles={"alice": "admin", "bob": "write"})
        repo.workflow_permissions["can_approve_pull_request_reviews"] = actions_may_create
        folder = tmp_path / name
        folder.mkdir(parents=True)
        world = World(forge, repo, folder / "clone", monkeypatch)
        world.commit("main", {name: (TEMPLATE / name).read_text() for name in FILES} | policy(**bars))
        subprocess.run(["git", "clone", "--quiet", f"{forge.url}/{name}.git", world.clone], check=True)
        environment = {
            **{"GITHUB_API_URL": forge.api_url, "GITHUB_SERVER_URL": forge.url, "GITHUB_RUN_ID": "7"},
            **{"GITHUB_GRAPHQL_URL": f"{forge.url}/api/graphql", "GITHUB_REPOSITORY": name},
            **{"GITHUB_TOKEN": forge.token(name, MAY), "GITHUB_STEP_SUMMARY": str(folder / "summary.md")},
            **{"GITOPS_BOT": ""},
        }
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.chdir(world.clone)
        monkeypatch.setattr(pulls, "PAUSE", 0.01)
        return world

    return fresh


def policy(**bars: Any) -> dict[str, str]:
    """The policy with some of its bars on requests changed."""
    whole = yaml.safe_load((TEMPLATE / "policies" / "drift.yaml").read_text())
    return {"policies/drift.yaml": yaml.safe_dump(whole | {"retrain": whole["retrain"] | bars})}


# --- each outcome ----------------------------------------------------------------------------------------------------


def test_not_configured_asks_nothing_of_github(start: Start) -> None:
    world = start()
    before = len(world.forge.calls)
    assert "not configured" in world.check("not_configured")
    assert len(world.forge.calls) == before


def test_drift_opens_the_one_request(start: Start) -> None:
    world = start(reviewers=["bob"], team_reviewers=["risk"])
    said = world.check()
    (request,) = world.requests
    assert request["html_url"] in said
    assert request["title"] == f"Retrain on data until {UNTIL}"
    assert [label["name"] for label in request["labels"]] == ["retrain"]
    assert [user["login"] for user in request["requested_reviewers"]] == ["bob"]
    assert [team["slug"] for team in request["requested_teams"]] == ["risk"]
    assert len(world.diff()) == 2 and f'"{UNTIL}"' in world.diff()[1] and "#" in world.diff()[1]
    for words in ("columns&#46;maximum", "2018-08-23", "xychart-beta", "one approval", "actions/runs/7"):
        assert words in request["body"]
    assert world.issues == []


def test_where_issues_are_off_the_summary_says_all(start: Start) -> None:
    world = start(actions_may_create=False)
    world.repo.info["has_issues"] = False
    for outcome, heading in (("unknown", "## Drift: could not tell"), ("drifted", "## Retrain on data until")):
        said = world.check(outcome, problem="no such bucket")
        assert heading in said and "actions/runs/7" in said and said.count(heading) == 1
    assert "compare/main...retrain/production" in said and world.repo.git.resolve("refs/heads/retrain/production")
    assert "Every bar is met" in world.check("healthy")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_line_changes_whatever_line_ends_git_and_the_checkout_have(start: Start, end: str) -> None:
    world = start()
    params = "# committed\n" + (TEMPLATE / "params.yaml").read_text()
    world.commit("main", {"params.yaml": params.replace("\n", end)})
    for command in ("config core.autocrlf true", "pull --quiet"):
        subprocess.run(["git", *command.split()], check=True)
    assert Path("params.yaml").read_bytes().count(b"\r\n") == params.count("\n")
    world.check()
    assert len(world.diff()) == 2
    assert world.repo.git("show", "retrain/production:params.yaml").count("\r") == (end == "\r\n") * params.count("\n")


def test_from_the_verdict_to_an_open_request_is_at_most_12_calls(start: Start) -> None:
    world = start(reviewers=["bob"])
    before = len(world.forge.calls)
    world.check()
    made = world.forge.calls[before:]
    opened = next(
        index
        for index, call in enumerate(made, 1)
        if (call.method, call.status) == ("POST", 201) and "/pulls" in call.path
    )
    print(f"{opened} calls to the open request, {len(made)} in all")
    assert opened <= 12


def test_the_same_drift_again_changes_nothing(start: Start) -> None:
    world = start()
    world.check()
    before, sha = world.state(), world.repo.git.resolve("retrain/production")
    world.check()
    assert (world.state(), world.repo.git.resolve("retrain/production")) == (before, sha)


def test_more_drift_refreshes_the_request(start: Start) -> None:
    world = start()
    world.check()
    (first,) = world.requests
    world.check(retrain={"until": "2018-08-24", "now": "2018-08-14", "snapshot": None})
    (second,) = world.requests
    assert second["number"] == first["number"]
    assert "2018-08-24" in second["title"] and "2018-08-24" in second["body"] and '"2018-08-24"' in world.diff()[1]


def test_what_people_pushed_to_the_request_is_not_overwritten_in_silence(start: Start) -> None:
    """A refresh is a commit on top: the branch's history keeps theirs, and nothing is forced."""
    world = start()
    world.check()
    world.commit("retrain/production", {"NOTES.md": "mine"})
    mine = world.repo.git.resolve("retrain/production")
    world.check(retrain={"until": "2018-08-24", "now": "2018-08-14", "snapshot": None})
    assert mine and world.repo.git.is_ancestor(mine, "retrain/production")


def test_drift_of_a_problem_that_main_holds_no_more_is_told_and_moves_nothing(start: Start) -> None:
    world = start()
    problem = {"name": "churn", "task": "binary", "id": "client", "time": "at", "label": "left", "positive": "Yes"}
    files = {"service.bento": {"sha256": "b" * 64}}
    manifest = {"model": "sha256:" + "a" * 64, "key": "0" * 32, "files": files, "lineage": {"released_by": 1}}
    text = json.dumps(manifest | {"problem": problem | {"inputs": []}})
    world.commit("main", {"deploy/production/manifest.json": text})
    subprocess.run(["git", "pull", "--quiet"], cwd=world.clone, check=True)
    world.check(same_problem=False)
    (issue,) = world.issues
    assert "main holds another problem, card-fraud" in issue["body"] and "columns&#46;maximum" in issue["body"]
    assert world.requests == [] and world.repo.git.resolve("refs/heads/retrain/production") is None
    world.check("healthy")
    assert world.issues == []


def test_a_pinned_snapshot_moves_too(start: Start) -> None:
    pins = [f"sha256:{digit * 64}" for digit in "01"]
    world = start()
    params = (TEMPLATE / "params.yaml").read_text().replace("snapshot: null", f"snapshot: {pins[0]}")
    world.commit("main", {"params.yaml": params})
    subprocess.run(["git", "pull", "--quiet"], cwd=world.clone, check=True)
    world.check(retrain={"until": UNTIL, "now": "2018-08-14", "snapshot": pins[1]})
    assert len(world.diff()) == 4 and pins[1] in "".join(world.diff())


def test_could_not_tell_keeps_one_issue_and_never_asks_to_retrain(start: Start) -> None:
    world = start()
    for _ in range(2):
        world.check("unknown", problem=f"the log cannot be read: {HOSTILE}")
    (issue,) = world.issues
    assert "the log cannot be read" in issue["body"]
    assert world.requests == []


def test_a_job_without_facts_could_not_tell(start: Start) -> None:
    world = start()
    assert "could not tell" in world.check(facts=False)
    (issue,) = world.issues
    assert "left no facts" in issue["body"]
    assert world.requests == []


def test_healthy_again_closes_both_with_a_comment(start: Start) -> None:
    world = start()
    world.check()
    world.check("unknown")
    (request,), (issue,) = world.requests, world.issues
    world.check("healthy")
    assert world.requests == world.issues == []
    for number in (request["number"], issue["number"]):
        (comment,) = world.comments(number)
        assert "finds no drift" in comment


def test_drift_closes_the_issue_that_nothing_could_be_told(start: Start) -> None:
    world = start()
    world.check("unknown")
    (issue,) = world.issues
    world.check()
    assert world.issues == [] and len(world.requests) == 1
    assert world.requests[0]["html_url"] in world.comments(issue["number"])[0]


def test_without_newer_labels_an_issue_says_so(start: Start) -> None:
    world = start()
    for _ in range(2):
        world.check(retrain={"until": None, "now": "2018-08-14", "snapshot": None})
    (issue,) = world.issues
    assert "no newer labelled data" in issue["body"]
    assert world.requests == []
    world.check()
    assert world.issues == [] and len(world.requests) == 1


@pytest.mark.parametrize("until", ["2018-08-23", None, {"a": 1}, HOSTILE])
def test_an_open_promotion_that_ends_before_the_breach_covers_nothing(start: Start, until: object) -> None:
    world = start()
    number = world.promotion(until)
    world.check()
    assert len(world.requests) == 1 and world.comments(number) == []


def test_an_open_promotion_that_covers_the_breach_gets_the_one_comment(start: Start) -> None:
    world = start()
    number = world.promotion("2018-08-24")
    for rows in (63_000, 64_000):
        assert f"#{number}" in world.check(rows=rows)
    (comment,) = world.comments(number)
    assert "64,000 transactions" in comment and "merge this" in comment
    assert world.requests == world.issues == []


def ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def test_requests_are_no_more_frequent_than_the_policy_says(start: Start) -> None:
    world = start(cool_down_days=3, per_week=2)
    for days in (8, 4, 0):  # ago
        world.forge.clock = partial(ago, days)
        world.check(retrain={"until": f"2018-08-{25 - days}", "now": "2018-08-14", "snapshot": None})
        (request,) = world.requests
        world.call("PATCH", f"pulls/{request['number']}", {"state": "closed"})
    assert "cool-down" in world.check()
    world.forge.clock = partial(ago, 0)
    assert world.requests == []


def test_merged_by_github_where_the_policy_says_so(start: Start) -> None:
    world = start(auto_merge=True)
    world.repo.info["allow_auto_merge"] = True
    world.call("POST", "rulesets", json.loads((TEMPLATE / "policies" / "ruleset.json").read_text()))
    for _ in range(2):
        assert "will not merge" not in world.check()
    (request,) = world.requests
    assert request["auto_merge"]


def test_a_refused_auto_merge_is_said_and_nothing_else(start: Start) -> None:
    world = start(auto_merge=True)
    assert "will not merge it by itself" in world.check()
    assert len(world.requests) == 1 and not world.requests[0]["auto_merge"]


def test_where_actions_may_not_create_one_issue_has_the_link(start: Start) -> None:
    world = start(actions_may_create=False)
    for _ in range(2):
        world.check()
    (issue,) = world.issues
    assert "compare/main...retrain/production" in issue["body"] and "columns&#46;maximum" in issue["body"]
    assert world.requests == []
    fields = {"title": "Retrain", "head": "retrain/production", "base": "main"}
    world.call("POST", "pulls", fields)
    world.check()
    assert world.issues == [] and world.requests[0]["title"] == f"Retrain on data until {UNTIL}"


def test_inputs_that_are_not_what_the_source_gives_are_an_issue_and_no_model(start: Start) -> None:
    world = start()
    world.check("unknown")
    assert "could not tell" in world.issues[0]["title"]
    assert "Skew" in world.check("skewed", skew=SKEW)
    (issue,) = world.issues
    assert issue["title"].startswith("Skew") and "amount" in issue["body"] and world.requests == []
    assert HOSTILE not in issue["body"] and "1,000" in issue["body"] and "25.00%" in issue["body"]
    world.check("healthy", not_judged=["skew: the source has 3 rows of the sample; 100 are needed"])
    assert len(world.issues) == 1, "nobody has looked"
    world.check("drifted")
    assert world.issues == [] and len(world.requests) == 1


SKEW = {
    **{"rows": 1_000, "lost": 2, "share": 0.25, "left_out": [], "unmeasured": None},
    "newest": {"day": "2018-08-23", "until": "2018-08-23", "rows": 200},
    "columns": [{"name": "amount", "share": 0.25, "newest": 1, "example": {"logged": HOSTILE, "made": "1"}}],
    "days": [{"day": "2018-08-23", "rows": 200, "share": 1, "columns": {"amount": 1}}],
}


def test_hostile_words_harm_nothing(start: Start) -> None:
    world = start()
    said = world.check() + world.requests[0]["body"]
    for harm in ("<img", "@everyone", "::error", "$(touch", "\n## Heading"):
        assert harm not in said
    assert not list(world.clone.rglob("pwned"))


# --- by the clock ----------------------------------------------------------------------------------------------------


def labels(until: str | None) -> dict[str, Any]:
    """Labels until a day, where main takes in data until 2018-08-14."""
    return {"retrain": {"until": until, "now": "2018-08-14", "snapshot": None}}


def test_the_clock_keeps_the_one_request_through_drift_that_comes_and_goes(start: Start) -> None:
    world = start(every=3)
    assert "Every bar is met" in world.check("healthy", **labels("2018-08-16")) and world.requests == []
    assert "request by the clock: " in (said := world.check("healthy", **labels("2018-08-17")))
    (request,) = world.requests
    assert request["html_url"] in said and request["title"] == "Retrain on data until 2018-08-17"
    assert "No drift was found" in request["body"] and [label["name"] for label in request["labels"]] == ["retrain"]
    before, sha = world.state(), world.repo.git.resolve("retrain/production")

    def stands(until: str, drift: bool) -> None:
        (still,) = world.requests
        assert still["number"] == request["number"] and f'"{until}"' in world.diff()[1]
        assert ("The world has moved" in still["body"]) == drift and (DUE in still["body"]) != drift

    world.check("healthy", **labels("2018-08-17"))
    assert world.state() == before
    world.check("healthy", **labels("2018-08-19"))
    assert world.repo.git.resolve("retrain/production") == sha, "no training, and what was approved stays so"
    stands("2018-08-17", drift=False)
    world.check("drifted", **labels("2018-08-19"))
    stands("2018-08-19", drift=True)
    world.check("healthy", **labels("2018-08-20"))
    stands("2018-08-19", drift=False)
    world.check("healthy", **labels("2018-08-22"))
    stands("2018-08-22", drift=False)
    world.check("unknown")
    stands("2018-08-22", drift=False)
    world.check("healthy", **labels("2018-08-22"))
    assert world.issues == []
    world.call("PATCH", f"pulls/{request['number']}", {"state": "closed"})
    assert "No request by the clock: the last request ended" in world.check("healthy", **labels("2018-08-23"))
    assert world.requests == []


def test_the_clock_counts_from_what_was_merged(start: Start) -> None:
    world = start(every=3, cool_down_days=0)
    world.check("healthy", **labels("2018-08-17"))
    (request,) = world.requests
    world.call("PUT", f"pulls/{request['number']}/merge", {})
    subprocess.run(["git", "pull", "--quiet"], cwd=world.clone, check=True)
    for until, titles in (("2018-08-19", []), ("2018-08-20", ["Retrain on data until 2018-08-20"])):
        world.check("healthy", retrain={"until": until, "now": "2018-08-17", "snapshot": None})
        assert [each["title"] for each in world.requests] == titles
    world.commit("main", policy(every=None))
    subprocess.run(["git", "pull", "--quiet"], cwd=world.clone, check=True)
    world.check("healthy", **labels("2018-08-20"))
    assert world.requests == [], "nobody asks for it any more"


# --- whatever fails --------------------------------------------------------------------------------------------------


def both_open(world: World) -> None:
    world.check()
    world.check("unknown")


def due_again(world: World) -> None:
    world.commit("main", policy(every=3, reviewers=["bob"]))
    subprocess.run(["git", "pull", "--quiet"], cwd=world.clone, check=True)
    world.check("healthy", **labels("2018-08-17"))


SCENARIOS: dict[str, tuple[Callable[[World], object], Callable[[World], object]]] = {
    "drift": (lambda world: None, lambda world: world.check()),
    "drift after doubt": (lambda world: world.check("unknown"), lambda world: world.check()),
    "more drift": (
        lambda world: world.check(),
        lambda world: world.check(retrain={"until": "2018-08-24", "now": "2018-08-14", "snapshot": None}),
    ),
    "due again": (due_again, lambda world: world.check("healthy", **labels("2018-08-20"))),
    "could not tell": (lambda world: None, lambda world: world.check("unknown")),
    "healthy again": (both_open, lambda world: world.check("healthy")),
    "covered": (lambda world: world.promotion("2018-08-30"), lambda world: world.check()),
    "nothing newer": (
        lambda world: None,
        lambda world: world.check(retrain={"until": None, "now": "2018-08-14", "snapshot": None}),
    ),
    "no right": (
        lambda world: world.repo.workflow_permissions.update(can_approve_pull_request_reviews=False),
        lambda world: world.check(),
    ),
}
FAULTS: dict[str, dict[str, Any]] = {
    "5xx": {"status": 502},
    "5xx that took effect": {"status": 500, "effect": True},
    "cut off": {"drop": True, "effect": True},
    "slow": {"delay": 2.0},
    "secondary limit": {"status": 403, "retry_after": 3},
    "429": {"status": 429, "retry_after": 3},
    "primary limit": {"rate_limit": True, "retry_after": 5},
    "409": {"status": 409},
    "422": {"status": 422},
}


def after(start: Start, scenario: str, broken: Callable[[World], object] = lambda world: None) -> Any:
    """What people see at the end of a scenario, `broken` somehow before its last check."""
    world = start(reviewers=["bob"])
    prepare, check = SCENARIOS[scenario]
    prepare(world)
    broken(world)
    check(world)
    return world.state()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_passing_fault_changes_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch, fault: str, method: str
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(pulls, "time", SimpleNamespace(sleep=waits.append))
    monkeypatch.setattr(pulls, "GitHubSession", lambda make=pulls.GitHubSession: make(default_read_timeout=1.0))
    wanted = after(start, "drift")
    assert after(start, "drift", lambda world: world.forge.fault(f"^{method}", after=3, **FAULTS[fault])) == wanted
    assert waits[0] >= FAULTS[fault].get("retry_after", 0) - 1


def length(start: Start, scenario: str) -> int:
    """How many calls the scenario's last check makes."""
    prepare, check = SCENARIOS[scenario]
    prepare(world := start(reviewers=["bob"]))
    before = len(world.forge.calls)
    check(world)
    return len(world.forge.calls) - before


def die(scenario: str, call: int, effect: bool, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Have the scenario's check killed at a call: with one try its first fault is its end."""
    fault = world.forge.fault("", drop=True, effect=effect, after=call)
    with monkeypatch.context() as patch, pytest.raises((requests.RequestException, pulls.GitHubException)):
        patch.setattr(pulls, "TRIES", 1)
        SCENARIOS[scenario][1](world)
    assert fault.hits == call + 1


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_anywhere_and_started_again_it_ends_the_same(
    start: Start, monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    """At the calls whose turn it is, each of which takes effect or does not."""
    wanted = after(start, scenario)
    for call, effect in turn([*itertools.product(range(length(start, scenario)), (True, False))], 9):
        ended = after(start, scenario, partial(die, scenario, call, effect, monkeypatch))
        assert ended == wanted, (call, effect)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_at_once_leave_one(start: Start, scenario: str) -> None:
    world = start()
    prepare, check = SCENARIOS[scenario]
    prepare(world)
    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(check, world) for _ in range(2)]:
            each.result()
    markers = [re.findall(r"<!-- gitops:\S+.*? -->", each["body"] or "")[0] for each in world.issues + world.requests]
    assert len(markers) == len(set(markers))
    for number in world.repo.tables["issues"]:
        said = [re.findall(r"<!-- gitops:\S+ -->", body)[0] for body in world.comments(number)]
        assert len(said) == len(set(said))
    alone = start()
    prepare(alone)
    check(alone)
    assert [each["title"] for each in alone.issues + alone.requests] == [
        each["title"] for each in world.issues + world.requests
    ]


# --- the real drift.yml ----------------------------------------------------------------------------------------------

MONITOR = """import os
import shutil

os.makedirs("reports", exist_ok=True)
shutil.copy(os.environ["PREDICTION_LOG"] + "/drift.json", "reports/drift.json")
"""
CHECKS = """name: Pull request
on: pull_request
permissions: {}
jobs:
  required:
    name: Required
    runs-on: ubuntu-latest
    steps:
      - run: "true"
"""
FAR, NEAR = measured()["columns"], [measured()["columns"][0] | {"distance": 0.01}]
OUTCOMES: dict[str, dict[str, Any]] = {
    "not configured": measured(configured=False, columns=[], window=None),
    "healthy": measured(columns=NEAR, answer=ANSWER | {"distance": 0.01}),
    "drifted": measured(columns=FAR),
    "could not tell": measured(problem=f"the log cannot be read: {HOSTILE}"),
}


@dataclass
class Drifting:
    """A bake whose monitor is told what to find; all else is real: the workflow, the judge, gitops."""

    project: Project
    found: Path

    def check(self, outcome: str = "drifted") -> Run:
        """A run of drift.yml, started by the clock; an outcome that is none of OUTCOMES leaves no facts."""
        (self.found / "drift.json").unlink(missing_ok=True)
        if outcome in OUTCOMES:
            (self.found / "drift.json").write_text(json.dumps(OUTCOMES[outcome]))
        github = self.project.github
        with self.project.platform(prediction_log=str(self.found)):
            github.schedule("drift.yml")
            github.wait()
        return next(run for run in reversed(github.runs) if run.workflow.path.endswith("drift.yml"))

    def open(self) -> list[dict[str, Any]]:
        """The open issues and pull requests, oldest first."""
        return list(self.project.call("GET", "issues?direction=asc"))

    def may_create(self, may: bool) -> None:
        repo = self.project.github.forge.repositories[self.project.repository]
        repo.workflow_permissions["can_approve_pull_request_reviews"] = may


@pytest.fixture(scope="module")
def drifting(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drifting]:
    bake = small(template, tmp_path_factory.mktemp("small"))
    for path in (bake / ".github" / "workflows").iterdir():
        if path.name != "drift.yml":
            path.unlink()
    (bake / ".github" / "workflows" / "pull-request.yml").write_text(CHECKS)
    (bake / "pipeline" / "monitor.py").write_text(MONITOR)
    (bake / "policies" / "drift.yaml").write_text(policy(cool_down_days=0, per_week=99)["policies/drift.yaml"])
    with rehearsal() as github:
        project = Project(github, bake)
        project.git("add", "--all")
        project.git("commit", "--quiet", "--message=Say what the monitor finds")
        yield Drifting(Project.start(github, bake), tmp_path_factory.mktemp("log"))


@pytest.fixture
def bank(drifting: Drifting) -> Drifting:
    """With nothing open, and the right to open."""
    drifting.may_create(True)
    for each in drifting.open():
        drifting.project.call("PATCH", f"issues/{each['number']}", {"state": "closed"})
    return drifting


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcome", "measure", "titles"),
    [
        ("not configured", "success", []),
        ("healthy", "success", []),
        ("drifted", "failure", [f"Retrain on data until {UNTIL}"]),
        ("could not tell", "failure", ["Drift: could not tell"]),
        ("no facts", "failure", ["Drift: could not tell"]),
    ],
)
def test_run_ends_as_the_outcome_says(bank: Drifting, outcome: str, measure: str, titles: list[str]) -> None:
    run = bank.check(outcome)
    assert {name: job.conclusion for name, job in run.jobs.items()} == {"measure": measure, "speak": "success"}, run.log
    assert run.conclusion == measure
    assert [each["title"] for each in bank.open()] == titles
    assert run.jobs["speak"].summary.startswith("## ")
    assert not list(bank.project.github.folder.rglob("pwned"))
    bank.check(outcome)
    assert [each["title"] for each in bank.open()] == titles


@pytest.mark.slow
def test_drift_comes_and_goes(bank: Drifting) -> None:
    bank.check("could not tell")
    bank.check("drifted")
    (request,) = bank.open()
    assert "pull_request" in request
    bank.check("healthy")
    assert bank.open() == []
    assert "finds no drift" in bank.project.comments(request["number"])[-1]["body"]


@pytest.mark.slow
def test_only_the_job_that_speaks_can_write(bank: Drifting) -> None:
    run = bank.check("healthy")
    assert set(run.jobs["measure"].permissions.values()) == {"read"}
    assert set(run.jobs["speak"].permissions.values()) == {"write"}
    text = run.files[".github/workflows/drift.yml"]
    assert "secrets." not in text.partition("  speak:")[0]


@pytest.mark.slow
def test_with_no_app_one_approval_starts_its_checks(bank: Drifting) -> None:
    bank.check("drifted")
    (request,) = bank.open()
    assert "one approval" in request["body"]
    checks = bank.project.github.runs[-1]
    assert (checks.workflow.name, checks.conclusion) == ("Pull request", "action_required")
    checks.approve()
    bank.project.github.wait()
    assert checks.conclusion == "success"


@pytest.mark.slow
def test_with_an_app_they_start_at_once(bank: Drifting) -> None:
    github = bank.project.github
    app = github.forge.app("acme-gitops", {name.replace("-", "_"): level for name, level in MAY.items()})
    github.secret("GITOPS_APP_PRIVATE_KEY", app.private_key)
    with bank.project.platform(app_client_id=app.client_id):
        for _ in range(2):
            run = bank.check("drifted")
            assert run.jobs["speak"].conclusion == "success", run.log
    (request,) = bank.open()
    assert request["user"]["login"] == "acme-gitops[bot]" and "one approval" not in request["body"]
    checks = github.runs[-1] if github.runs[-1].workflow.name == "Pull request" else github.runs[-2]
    assert (checks.workflow.name, checks.conclusion) == ("Pull request", "success")


@pytest.mark.slow
def test_where_actions_may_not_create_the_branch_is_pushed_and_one_issue_says_so(bank: Drifting) -> None:
    bank.may_create(False)
    for _ in range(2):
        run = bank.check("drifted")
        assert run.jobs["speak"].conclusion == "success", run.log
    (issue,) = bank.open()
    assert "pull_request" not in issue and "compare/main...retrain/production" in issue["body"]
    bank.may_create(True)
    bank.check("drifted")
    (request,) = bank.open()
    assert "pull_request" in request


# --- the real monitor too --------------------------------------------------------------------------------------------

BANK = """
import shutil
from pathlib import Path

import polars as pl

from pipeline import log, params, reference
from tests import test_monitor as monitored
from tests.tables import ROOT, knobs, write_knobs, write_model
from tests.test_monitor import BEGAN, DAY, UNTIL

log.ROOT = Path.cwd()
shutil.copytree(ROOT / "policies", "policies")
made, days = monitored.features(monitored.world()), params.days(knobs(), monitored.DELAY)
scorer = write_model(Path("model"), monitored.INPUTS)
parts = {reference.TRAIN: days.train, reference.TEST: days.test}
kept = [reference.part(name, made.filter(DAY.is_between(*span)), scorer) for name, span in parts.items()]
pl.concat(kept).write_parquet("reference.parquet")
Path("source").mkdir()
doubled = monitored.from_day("amount", pl.col("amount") * 2)
for (day,), table in monitored.world().group_by(DAY.alias("day")):
    monitored.as_source(doubled(table)).write_parquet(f"source/{day}.parquet")
write_knobs(Path(), knobs(data={"until": str(UNTIL), "source": str(Path("source").absolute())}))
monitored.write_log(doubled(made.filter(DAY >= BEGAN)), scorer)
"""


def promoted(project: Project, folder: Path) -> None:
    """Put the folder's model into production, as release.yml and deploy.yml would."""
    with tarfile.open(folder / "model.tar", "w") as tar:
        tar.add(folder / "model", "model")
    there = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    content = {name: there.get(name, b"not looked at") for name in promotion.ASSETS}
    sums = {name: hashlib.sha256(each).hexdigest() for name, each in content.items()}
    digest = hashlib.sha256((folder / "model" / "manifest.json").read_bytes()).hexdigest()
    manifest = {
        "model": f"sha256:{digest}",
        "key": "0" * 32,
        "files": {name: {"sha256": sums[name], "bytes": len(content[name])} for name in content},
        "lineage": {"released_by": 1},
    }
    tag = f"model-{digest[:12]}-{sums['service.bento'][:8]}"
    release = project.call("POST", "releases", {"tag_name": tag})
    for name, each in content.items():
        url = release["upload_url"].partition("{")[0] + f"?name={name}"
        headers = {"Authorization": "Bearer ghp_alice", "Content-Type": "application/octet-stream"}
        requests.post(url, data=each, headers=headers).raise_for_status()
    files = {name: (folder / name).read_text() for name in KNOBS} | {"deploy/production/metrics.json": "{}\n"}
    project.commit("main", files | {"deploy/production/manifest.json": json.dumps(manifest)}, "Promote")
    project.push("main", login=OWNER)


@pytest.mark.slow
def test_from_the_log_to_the_request(template: Path, tmp_path: Path) -> None:
    """A model in production, its log, and a world in which amounts double: all jobs, with nothing put in between."""
    bake = small(template, tmp_path)
    for path in (bake / ".github" / "workflows").iterdir():
        if path.name != "drift.yml":
            path.unlink()
    bars = yaml.safe_load((bake / "policies" / "drift.yaml").read_text())
    bars["window"]["rows"] = bars["live"]["rows"] = 2_000
    (bake / "policies" / "drift.yaml").write_text(yaml.safe_dump(bars))
    folder = tmp_path / "production"
    folder.mkdir()
    python = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(TEMPLATE), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", BANK], cwd=folder, env=python, check=True)
    with rehearsal() as github:
        project = Project(github, bake)
        project.git("commit", "--quiet", "--all", "--message=A smaller bank")
        drifting = Drifting(Project.start(github, bake, protect=False), folder / "predictions")
        drifting.may_create(True)
        promoted(project, folder)
        run = drifting.check("")
        assert {name: job.conclusion for name, job in run.jobs.items()} == {"measure": "failure", "speak": "success"}
        (request,) = drifting.open()
        assert request["title"] == "Retrain on data until 2020-02-23"  # labels take two days
        assert "2020-02-21" in request["body"] and "xychart-beta" in request["body"], run.log
        names = {each["name"] for each in project.call("GET", "actions/artifacts")["artifacts"]}
        assert names == {"facts-drift", "drift"}
