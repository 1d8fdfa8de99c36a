"""The forge behaves as GitHub does, in what the loop relies on."""

import base64
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from github3 import GitHub  # type: ignore[import-untyped]
from github3.session import GitHubSession  # type: ignore[import-untyped]
from githubkit_schemas.v2022_11_28 import models

from .forge import Actor, Event, Forge, Repo, environments
from .project import ENQUEUE, MERGE_QUEUE

NAME = "acme/fraud"
REVIEWS = {
    "required_approving_review_count": 0,
    "require_code_owner_review": False,
    "dismiss_stale_reviews_on_push": False,
    "require_last_push_approval": False,
    "required_review_thread_resolution": False,
}
CHECKS = {"required_status_checks": [{"context": "required"}], "strict_required_status_checks_policy": False}
RULESET = {
    "name": "main",
    "target": "branch",
    "enforcement": "active",
    "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
    "rules": [
        {"type": "pull_request", "parameters": REVIEWS},
        {"type": "required_status_checks", "parameters": CHECKS},
    ],
}


class Client:
    """A caller of the REST API: `client("GET", "/pulls")` is about the repository, `client.last` the response."""

    def __init__(self, forge: Forge, token: str = "") -> None:
        self.session, self.base = requests.Session(), forge.api_url
        self.session.headers.update({"Authorization": f"Bearer {token}"} if token else {})

    def __call__(self, method: str, path: str, status: int | None = None, **options: Any) -> Any:
        """path: of the repository; of the API without a leading slash; or a whole URL. status: any success if None."""
        place = f"repos/{NAME}{path}" if path[:1] in ("", "/") else path
        url = path if path.startswith("http") else f"{self.base}/{place}"
        self.last = self.session.request(method, url, **options)
        expected = self.last.ok if status is None else self.last.status_code == status
        assert expected, (self.last.status_code, self.last.text)
        json_answer = "json" in self.last.headers.get("content-type", "")
        return self.last.json() if json_answer and self.last.content else self.last.content


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    with Forge(tmp_path / "forge") as forge:
        forge.repository(NAME, roles={"alice": "admin", "bob": "write", "rita": "read"})
        for name in ("alice", "bob", "rita", "eve"):
            forge.user(name)
        commit(forge, "main", {"README.md": "hello\n", ".github/workflows/release.yml": "on: workflow_dispatch\n"})
        yield forge


@pytest.fixture
def repo(forge: Forge) -> Repo:
    return forge.repositories[NAME]


@pytest.fixture
def alice(forge: Forge) -> Client:
    return Client(forge, "ghp_alice")


def commit(forge: Forge, branch: str, files: Mapping[str, str], *, start: str = "main", message: str = "") -> str:
    """A commit on top of a branch, straight into the repository: nobody is told."""
    git = forge.repositories[NAME].git
    parent = git.resolve(f"refs/heads/{branch}") or git.resolve(f"refs/heads/{start}")
    changes = [{"path": path, "mode": "100644", "sha": git.blob(text.encode())} for path, text in files.items()]
    person = forge.identity("bob")
    tree, parents = git.tree_with(parent, changes), [parent] if parent else []
    sha = git.commit(tree, parents, message or f"Change {', '.join(files)}", person, person)
    git.update(f"refs/heads/{branch}", sha)
    return sha


def open_pull(client: Client, head: str, status: int | None = None, **fields: Any) -> Any:
    return client("POST", "/pulls", status, json={"title": f"Try {head}", "head": head, "base": "main", **fields})


def work_tree(forge: Forge, path: Path, token: str, name: str = NAME) -> Any:
    """A clone through HTTP; returns git(*arguments), which gives the finished process."""
    url = f"http://x-access-token:{token}@{forge.url.removeprefix('http://')}/{name}.git"
    subprocess.run(["git", "clone", "--quiet", url, str(path)], check=True)

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        names = ("-c", "user.name=bob", "-c", "user.email=bob@example.org")
        return subprocess.run(["git", *names, *arguments], cwd=path, capture_output=True, text=True)

    return git


def told(forge: Forge, name: str) -> list[Event]:
    return [event for event in forge.events if event.name == name]


def github3(forge: Forge, token: str) -> GitHub:
    session = GitHubSession()
    session.base_url = forge.api_url
    return GitHub(token=token, session=session)


# Merges


@pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
def test_a_merge_brings_the_change_to_the_base(forge: Forge, repo: Repo, alice: Client, method: str) -> None:
    commit(forge, "topic", {"a": "1"}, message="Add a")
    commit(forge, "topic", {"b": "2"}, message="Add b")
    main = commit(forge, "main", {"c": "3"})
    pull = open_pull(alice, "topic")
    assert (pull["mergeable"], pull["mergeable_state"], pull["commits"]) == (True, "clean", 2)
    sha = alice("PUT", "/pulls/1/merge", json={"merge_method": method})["sha"]
    log = repo.git.commits("main", "--first-parent")
    assert log[0]["sha"] == sha == repo.git.resolve("main")
    assert {entry["path"] for entry in repo.git.tree("main")} >= {"a", "b", "c"}
    subjects = [entry["message"].splitlines()[0] for entry in log]
    first = {
        "merge": ["Merge pull request #1 from acme/topic"],
        "squash": ["Try topic (#1)"],
        "rebase": ["Add b", "Add a"],
    }[method]
    assert subjects[: len(first)] == first and log[len(first)]["sha"] == main
    pull = alice("GET", "/pulls/1")
    assert (pull["state"], pull["merged"], pull["merge_commit_sha"]) == ("closed", True, sha)
    assert [found["number"] for found in alice("GET", f"/commits/{sha}/pulls")] == [1]
    assert told(forge, "pull_request")[-1].payload["pull_request"]["merged"] is True
    assert told(forge, "push")[-1].sha == sha


def test_a_conflict_cannot_be_merged(forge: Forge, alice: Client) -> None:
    commit(forge, "topic", {"README.md": "one\n"})
    commit(forge, "main", {"README.md": "two\n"})
    pull = open_pull(alice, "topic")
    assert (pull["mergeable"], pull["mergeable_state"]) == (False, "dirty")
    assert alice("PUT", "/pulls/1/merge", 405)["message"] == "Pull Request is not mergeable"
    assert told(forge, "pull_request")[-1].starts == "none"


def test_a_merge_of_an_older_head_is_refused(forge: Forge, alice: Client) -> None:
    old = commit(forge, "topic", {"a": "1"})
    open_pull(alice, "topic")
    alice("PUT", "/contents/b", json={"message": "b", "content": "", "branch": "topic"})
    refused = alice("PUT", "/pulls/1/merge", 409, json={"sha": old})
    assert refused["message"].startswith("Head branch was modified")


def test_what_a_push_to_main_contains_counts_as_merged(forge: Forge, alice: Client) -> None:
    head = commit(forge, "topic", {"a": "1"})
    open_pull(alice, "topic")
    alice("PATCH", "/git/refs/heads/main", json={"sha": head})
    assert alice("GET", "/pulls/1")["merged"] is True


# Auto-merge

ENABLE = """mutation($id: ID!, $method: PullRequestMergeMethod) {
  enablePullRequestAutoMerge(input: {pullRequestId: $id, mergeMethod: $method}) {
    pullRequest { number autoMergeRequest { mergeMethod enabledBy { login } } }
  }
}"""


def auto_merge(client: Client, pull: Mapping[str, Any], method: str = "SQUASH") -> Any:
    """The answer's data, or the kind and words of the error that GitHub gives with a status of 200."""
    asked = {"query": ENABLE, "variables": {"id": pull["node_id"], "method": method}}
    answer = client("POST", "graphql", 200, json=asked)
    if errors := answer.get("errors"):
        assert answer["data"] == {"enablePullRequestAutoMerge": None}
        return errors[0]["type"], errors[0]["message"]
    return answer["data"]["enablePullRequestAutoMerge"]["pullRequest"]


def test_auto_merge_waits_for_the_required_check(forge: Forge, repo: Repo, alice: Client) -> None:
    head = commit(forge, "topic", {"a": "1"})
    alice("POST", "/rulesets", json=RULESET)
    alice("PATCH", "", json={"allow_auto_merge": True})
    pull = open_pull(alice, "topic")
    permissions = {"contents": "write", "pull-requests": "write"}
    bot = Client(forge, forge.token(NAME, permissions))
    enabled = {"mergeMethod": "SQUASH", "enabledBy": {"login": "github-actions[bot]"}}
    assert auto_merge(bot, pull) == {"number": 1, "autoMergeRequest": enabled}
    models.PullRequest.model_validate(pull := alice("GET", "/pulls/1"))
    assert pull["auto_merge"]["merge_method"] == "squash" and not pull["merged"]
    where = {"path": ".github/workflows/ci.yml", "sha": head, "branch": "topic", "actor": "alice"}
    run = forge.start_run(NAME, event="pull_request", **where)
    forge.set_job(NAME, run["id"], "required", status="completed", conclusion="failure")
    assert not alice("GET", "/pulls/1")["merged"]
    forge.set_job(NAME, run["id"], "required", status="completed", conclusion="success")
    pull = alice("GET", "/pulls/1")
    assert pull["merged"] and pull["merged_by"]["login"] == "github-actions[bot]"
    assert repo.git.commits("main", "-1")[0]["message"].endswith("(#1)")
    assert (told(forge, "push")[-1].actor, told(forge, "push")[-1].starts) == ("github-actions[bot]", "none")


def test_auto_merge_waits_for_a_review_and_an_administrator_too(forge: Forge, alice: Client) -> None:
    by = [{"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}]
    asked = [{"type": "pull_request", "parameters": REVIEWS | {"required_approving_review_count": 1}}]
    alice("POST", "/rulesets", json=RULESET | {"rules": asked, "bypass_actors": by})
    alice("PATCH", "", json={"allow_auto_merge": True})
    commit(forge, "topic", {"a": "1"})
    auto_merge(alice, open_pull(alice, "topic"))
    assert not alice("GET", "/pulls/1")["merged"]
    Client(forge, "ghp_bob")("POST", "/pulls/1/reviews", json={"event": "APPROVE"})
    assert alice("GET", "/pulls/1")["merged"] and told(forge, "push")[-1].starts == "run"


def test_auto_merge_is_refused_in_githubs_words(forge: Forge, alice: Client) -> None:
    commit(forge, "topic", {"a": "1"})
    pull = open_pull(alice, "topic")
    assert auto_merge(alice, pull) == ("UNPROCESSABLE", "Auto merge is not allowed for this repository")
    alice("PATCH", "", json={"allow_auto_merge": True, "allow_rebase_merge": False})
    assert auto_merge(alice, pull) == ("UNPROCESSABLE", "Pull request is in clean status")
    alice("POST", "/rulesets", json=RULESET)
    assert auto_merge(alice, pull, "REBASE")[1] == "Rebase merges are not allowed on this repository."
    reader = Client(forge, forge.token(NAME, {"contents": "read", "pull-requests": "write"}))
    assert auto_merge(reader, pull) == ("FORBIDDEN", "Resource not accessible by integration")
    lost = ("NOT_FOUND", "Could not resolve to a node with the global id of 'PR_0'")
    assert auto_merge(alice, {"node_id": "PR_0"}) == auto_merge(Client(forge, "ghp_eve"), {"node_id": "PR_0"}) == lost
    alice("PATCH", "/pulls/1", json={"state": "closed"})
    assert auto_merge(alice, pull) == ("UNPROCESSABLE", "Can't enable auto-merge for this pull request")
    unknown = alice("POST", "graphql", 200, json={"query": "mutation { closeIssue }"})
    assert "Cannot query field" in unknown["errors"][0]["message"]


# A merge queue

STRICT = CHECKS | {"strict_required_status_checks_policy": True}
QUEUED = RULESET | {"rules": [{"type": "required_status_checks", "parameters": STRICT}, MERGE_QUEUE]}


def enqueue(client: Client, pull: Mapping[str, Any]) -> Any:
    """The place in the queue, or the error's words."""
    answer = client("POST", "graphql", 200, json={"query": ENQUEUE, "variables": {"id": pull["node_id"]}})
    if errors := answer.get("errors"):
        return errors[0]["message"]
    return answer["data"]["enqueuePullRequest"]["mergeQueueEntry"]["position"]


def check(forge: Forge, sha: str, conclusion: str, event: str = "merge_group") -> None:
    """The required check of a commit ends."""
    where = {"path": ".github/workflows/ci.yml", "sha": sha, "branch": "x", "actor": "alice"}
    run = forge.start_run(NAME, event=event, **where)
    forge.set_job(NAME, run["id"], "required", status="completed", conclusion=conclusion)


def queued(forge: Forge, client: Client, *branches: str) -> list[Any]:
    """Pull requests that passed their checks, each a commit behind main, in the queue of main."""
    forge.team("acme/team", "alice")
    heads = [commit(forge, branch, {branch: "1"}) for branch in branches]
    commit(forge, "main", {"c": "1"})
    client("POST", "/rulesets", json=QUEUED)
    pulls = [open_pull(client, branch) for branch in branches]
    assert 'Required status check "required" is expected.' in enqueue(client, pulls[0])
    for head in heads:
        check(forge, head, "success", "pull_request")
    assert [enqueue(client, pull) for pull in pulls] == [*range(1, len(pulls) + 1)]
    return pulls


def groups(forge: Forge) -> list[Mapping[str, str]]:
    return [event.payload["merge_group"] for event in told(forge, "merge_group")]


def test_a_queue_merges_its_groups_in_their_order(forge: Forge, repo: Repo, alice: Client) -> None:
    """The second is green first, and waits for the one that it is on top of."""
    pulls = queued(forge, alice, "one", "two")
    assert alice("PUT", "/pulls/1/merge", 405)["message"] == (
        "Repository rule violations found\n\nChanges must be made through the merge queue\n\n"
    )
    assert enqueue(alice, pulls[0]) == "Pull request is already in the queue"
    main, (first, second) = repo.git.resolve("main"), groups(forge)
    assert (first["base_sha"], first["base_ref"], second["base_sha"]) == (main, "refs/heads/main", first["head_sha"])
    assert first["head_ref"] == f"refs/heads/gh-readonly-queue/main/pr-1-{main}"
    assert {entry["path"] for entry in repo.git.tree(second["head_sha"])} >= {"one", "two", "c"}
    check(forge, second["head_sha"], "success")
    assert repo.git.resolve("main") == main
    check(forge, first["head_sha"], "success")
    assert repo.git.resolve("main") == second["head_sha"]
    pull = alice("GET", "/pulls/1")
    assert pull["merged"] and pull["merge_commit_sha"] == first["head_sha"] and alice("GET", "/pulls/2")["merged"]
    assert not repo.git.refs("refs/heads/gh-readonly-queue/")
    pushes = [event for event in told(forge, "push") if event.ref == "refs/heads/main"]
    assert [event.sha for event in pushes] == [first["head_sha"], second["head_sha"]]
    assert {(event.actor, event.starts) for event in pushes} == {("github-merge-queue[bot]", "run")}


def test_what_is_red_or_has_changed_leaves_the_queue(forge: Forge, repo: Repo, alice: Client) -> None:
    queued(forge, alice, "one", "two", "three")
    main, red = repo.git.resolve("main"), groups(forge)[0]
    check(forge, red["head_sha"], "failure")
    assert not alice("GET", "/pulls/1")["merged"]
    events = [(row["event"], row["actor"]["login"]) for row in alice("GET", "/issues/1/timeline")]
    assert events == [("added_to_merge_queue", "alice"), ("removed_from_merge_queue", "github-merge-queue[bot]")]
    assert told(forge, "pull_request")[-1].payload["reason"] == "CI_FAILURE"
    again = groups(forge)[3:]
    assert [group["base_sha"] for group in again] == [main, again[0]["head_sha"]]
    assert "one" not in {entry["path"] for entry in repo.git.tree(again[1]["head_sha"])}
    alice("PUT", "/contents/more", json={"message": "more", "content": "", "branch": "two"})
    assert told(forge, "pull_request")[-1].payload["reason"] == "MANUAL"
    check(forge, groups(forge)[-1]["head_sha"], "success")
    assert [alice("GET", f"/pulls/{number}")["merged"] for number in (1, 2, 3)] == [False, False, True]


def test_auto_merge_puts_it_in_the_queue(forge: Forge, alice: Client) -> None:
    queued(forge, alice, "one")
    head = commit(forge, "late", {"late": "1"})
    pull = open_pull(alice, "late")
    assert auto_merge(alice, pull)[1] == "Auto merge is not allowed for this repository"
    alice("PATCH", "", json={"allow_auto_merge": True})
    auto_merge(alice, pull)
    assert len(groups(forge)) == 1
    check(forge, head, "success", "pull_request")
    first, second = groups(forge)
    assert second["base_sha"] == first["head_sha"] and not alice("GET", "/pulls/2")["auto_merge"]


# Git over HTTP


def test_a_push_moves_the_head_of_the_pull_request(forge: Forge, repo: Repo, alice: Client, tmp_path: Path) -> None:
    before = commit(forge, "topic", {"a": "1"})
    open_pull(alice, "topic")
    git = work_tree(forge, tmp_path / "work", "ghp_bob")
    git("checkout", "-q", "topic")
    (tmp_path / "work/large").write_bytes(bytes(range(256)) * 8192)  # 2 MiB: git sends it in chunks
    git("add", ".")
    git("commit", "-qm", "More")
    assert git("push", "-q").returncode == 0
    head = git("rev-parse", "HEAD").stdout.strip()
    assert alice("GET", "/pulls/1")["head"]["sha"] == head == repo.git.resolve("refs/pull/1/head")
    event = told(forge, "pull_request")[-1]
    assert (event.action, event.payload["before"], event.payload["after"]) == ("synchronize", before, head)
    assert (event.actor, event.starts, event.ref) == ("bob", "run", "refs/pull/1/merge")
    assert repo.git.commits(event.sha, "-1")[0]["parents"] == [repo.git.resolve("main"), head]
    assert git("fetch", "-q", "origin", "refs/pull/1/merge").returncode == 0


def test_a_deleted_branch_closes_its_pull_request(forge: Forge, alice: Client) -> None:
    commit(forge, "topic", {"a": "1"})
    open_pull(alice, "topic")
    alice("DELETE", "/git/refs/heads/topic", 204)
    assert alice("GET", "/pulls/1")["state"] == "closed"
    assert "branch was deleted" in alice("PATCH", "/pulls/1", 422, json={"state": "open"})["errors"][0]["message"]


def test_git_asks_who_is_there(forge: Forge, tmp_path: Path) -> None:
    address = f"/{NAME}.git/info/refs?service=git-"
    assert requests.get(f"{forge.url}{address}upload-pack").status_code == 401
    assert requests.get(f"{forge.url}{address}upload-pack", auth=("x", "ghp_eve")).status_code == 404
    assert requests.get(f"{forge.url}{address}upload-pack", auth=("x", "ghp_rita")).status_code == 200
    assert requests.get(f"{forge.url}{address}receive-pack", auth=("x", "ghp_rita")).status_code == 403
    reading = forge.token(NAME, {"contents": "read"})
    git = work_tree(forge, tmp_path / "work", reading)
    refused = git("push", "origin", "HEAD:refs/heads/other")
    assert refused.returncode and "403" in refused.stderr


# Rules


def test_nobody_pushes_to_a_protected_branch(forge: Forge, repo: Repo, alice: Client, tmp_path: Path) -> None:
    alice("POST", "/rulesets", json=RULESET)
    git = work_tree(forge, tmp_path / "work", "ghp_alice")
    git("commit", "--allow-empty", "-qm", "Straight to main")
    refused = git("push", "origin", "main")
    assert refused.returncode and "Changes must be made through a pull request." in refused.stderr
    assert git("push", "-q", "origin", "HEAD:refs/heads/topic").returncode == 0
    alice("PUT", "/contents/a", 409, json={"message": "a", "content": ""})
    alice("PATCH", "/git/refs/heads/main", 422, json={"sha": repo.git.resolve("topic")})
    half = {"name": "half", "enforcement": "active", "rules": [{"type": "pull_request", "parameters": {}}]}
    assert "dismiss_stale" in alice("POST", "/rulesets", 422, json=half)["errors"][0]
    assert {rule["type"] for rule in alice("GET", "/rules/branches/main")} == {"pull_request", "required_status_checks"}
    assert alice("GET", "/rules/branches/topic") == []


def test_a_merge_waits_for_its_required_check(forge: Forge, alice: Client) -> None:
    head = commit(forge, "topic", {"a": "1"})
    alice("POST", "/rulesets", json=RULESET)
    assert open_pull(alice, "topic")["mergeable_state"] == "blocked"
    where = {"path": ".github/workflows/ci.yml", "sha": head, "branch": "topic", "actor": "alice"}
    dispatched = forge.start_run(NAME, event="workflow_dispatch", **where)
    forge.set_job(NAME, dispatched["id"], "required", status="completed", conclusion="success")
    message = alice("PUT", "/pulls/1/merge", 405)["message"]
    assert 'Required status check "required" is expected.' in message
    run = forge.start_run(NAME, event="pull_request", **where)
    forge.set_job(NAME, run["id"], "required", status="in_progress")
    assert "pending" in alice("PUT", "/pulls/1/merge", 405)["message"]
    forge.set_job(NAME, run["id"], "required", status="completed", conclusion="failure")
    assert "failing" in alice("PUT", "/pulls/1/merge", 405)["message"]
    alice("POST", "/actions/runs/{}/rerun".format(run["id"]), 403)
    forge.update_run(NAME, run["id"], status="completed", conclusion="failure")
    alice("POST", "/actions/runs/{}/rerun".format(run["id"]), 201)
    assert forge.events[-1].name == "run" and forge.events[-1].action == "rerun"
    forge.set_job(NAME, run["id"], "required", status="completed", conclusion="success")
    alice("PUT", "/pulls/1/merge")


def test_strict_checks_want_the_newest_base(forge: Forge, alice: Client) -> None:
    rule = {"required_status_checks": [], "strict_required_status_checks_policy": True}
    alice("POST", "/rulesets", json=RULESET | {"rules": [{"type": "required_status_checks", "parameters": rule}]})
    commit(forge, "topic", {"a": "1"})
    commit(forge, "main", {"b": "1"})
    assert open_pull(alice, "topic")["mergeable_state"] == "behind"
    alice("PUT", "/pulls/1/merge", 405)
    alice("PUT", "/pulls/1/update-branch", 202)
    assert told(forge, "pull_request")[-1].action == "synchronize"
    alice("PUT", "/pulls/1/merge", 200)


def test_approvals_of_code_owners(forge: Forge, alice: Client) -> None:
    owners = "* @acme/team\n/policies/ @alice  # the bars\n/policies/notes.md\n"
    commit(forge, "main", {".github/CODEOWNERS": owners})
    forge.team("acme/team", "bob", "alice")
    asked = REVIEWS | dict.fromkeys(("require_code_owner_review", "dismiss_stale_reviews_on_push"), True)
    asked |= {"required_approving_review_count": 1, "require_last_push_approval": True}
    alice("POST", "/rulesets", json=RULESET | {"rules": [{"type": "pull_request", "parameters": asked}]})
    commit(forge, "topic", {"policies/model.yaml": "1", "policies/notes.md": "x"})
    bot = Client(forge, forge.mint(Actor("loop[bot]", {"contents": "write", "pull_requests": "write"}, 7)))
    asked_people = open_pull(bot, "topic")
    assert [user["login"] for user in asked_people["requested_reviewers"]] == ["alice"]
    message = bot("PUT", "/pulls/1/merge", 405)["message"]
    assert "At least 1 approving review is required" in message and "code owner review from alice" in message
    bob, rita = Client(forge, "ghp_bob"), Client(forge, "ghp_rita")
    rita("POST", "/pulls/1/reviews", json={"event": "APPROVE"})
    assert "At least 1 approving" in bot("PUT", "/pulls/1/merge", 405)["message"]
    bob("POST", "/pulls/1/reviews", json={"event": "APPROVE"})
    message = bot("PUT", "/pulls/1/merge", 405)["message"]
    assert "At least 1" not in message and "Waiting on code owner review from alice." in message
    alice("POST", "/pulls/1/reviews", json={"event": "APPROVE"})
    assert bot("GET", "/pulls/1")["mergeable_state"] == "clean"
    bob("PUT", "/contents/policies/other.yaml", json={"message": "more", "content": "", "branch": "topic"})
    assert {review["state"] for review in alice("GET", "/pulls/1/reviews")} == {"DISMISSED"}
    bot("PUT", "/pulls/1/merge", 405)
    bob("POST", "/pulls/1/reviews", json={"event": "APPROVE"})
    assert "At least 1" in bot("PUT", "/pulls/1/merge", 405)["message"]  # who pushed last does not count
    alice("POST", "/pulls/1/reviews", json={"event": "APPROVE"})
    bot("PUT", "/pulls/1/merge", 200)


def test_owners_that_nobody_is(forge: Forge, alice: Client) -> None:
    alice("GET", "/codeowners/errors", 404)
    commit(
        forge,
        "main",
        {".github/CODEOWNERS": "* @acme/team @bob  # @nobody\n/a @rita @acme/gone\n/b team\n/c me@acme.org"},
    )
    forge.team("acme/team", "bob")
    found = [
        (error["line"], error["source"][error["column"] - 1 :].split()[0], error["kind"])
        for error in alice("GET", "/codeowners/errors")["errors"]
    ]
    unknown = [(2, "@rita", "Unknown owner"), (2, "@acme/gone", "Unknown owner")]
    assert found == [*unknown, (3, "team", "Invalid owner")]


def test_a_workflow_is_switched_off_and_on(repo: Repo, alice: Client) -> None:
    alice("PUT", "/actions/workflows/release.yml/disable", 204)
    (row,) = alice("GET", "/actions/workflows")["workflows"]
    assert (row["path"], row["state"]) == (".github/workflows/release.yml", "disabled_manually")
    alice("PUT", f"/actions/workflows/{row['id']}/enable", 204)
    assert alice("GET", "/actions/workflows/release.yml")["state"] == "active"
    alice("GET", "/actions/workflows/none.yml", 404)


def test_only_owners_see_what_an_organisation_has(forge: Forge, alice: Client) -> None:
    forge.team("acme/team", "alice")
    alice("POST", "/rulesets", json=RULESET)
    (row,) = alice("GET", "/rulesets")
    alice("GET", "orgs/acme/installations", 403)
    alice("GET", "orgs/alice/installations", 404)
    alice("GET", "user/installations", 403)
    assert "bypass_actors" in alice("GET", f"/rulesets/{row['id']}")
    assert "bypass_actors" not in Client(forge, "ghp_bob")("GET", f"/rulesets/{row['id']}")


def test_a_run_changes_no_workflow(forge: Forge, tmp_path: Path) -> None:
    token = forge.token(NAME, {"contents": "write"})
    git, path = work_tree(forge, tmp_path / "work", token), ".github/workflows/release.yml"
    (tmp_path / "work" / path).write_text("on: push\n")
    git("commit", "-qam", "Change a workflow")
    assert "`workflows` permission" in git("push", "origin", "HEAD:refs/heads/topic").stderr
    git("reset", "-q", "--hard", "HEAD~1")
    git("commit", "-q", "--allow-empty", "-m", "Change nothing of it")
    assert git("push", "origin", "HEAD:refs/heads/topic").returncode == 0
    Client(forge, token)("PUT", "/contents/.github/workflows/new.yml", 403, json={"message": "new", "content": ""})


def test_who_may_deploy_to_an_environment(forge: Forge, repo: Repo, alice: Client) -> None:
    """Custom patterns by kind; "protected branches" where no branch has classic protection; none at all."""
    refs = ["refs/heads/main", "refs/heads/release/1", "refs/heads/x", "refs/tags/main", "refs/pull/7/merge"]

    def admitted() -> list[str]:
        return [ref for ref in refs if environments.admits(repo.environments["production"], ref)]

    place = "/environments/Production"
    Client(forge, "ghp_bob")("PUT", place, 403, json={})
    alice("PUT", place, 200)
    assert admitted() == refs
    alice("POST", f"{place}/deployment-branch-policies", 404, json={"name": "main"})
    both = {"protected_branches": True, "custom_branch_policies": True}
    alice("PUT", place, 422, json={"deployment_branch_policy": both})
    alice("PUT", place, 200, json={"deployment_branch_policy": both | {"custom_branch_policies": False}})
    assert admitted() == refs
    alice("PUT", place, 200, json={"deployment_branch_policy": both | {"protected_branches": False}})
    assert admitted() == []
    made = [alice("POST", f"{place}/deployment-branch-policies", json={"name": name}) for name in ("main", "*/*")]
    assert admitted() == refs[:2]
    alice("DELETE", f"{place}/deployment-branch-policies/{made[1]['id']}", 204)
    tags = alice("POST", f"{place}/deployment-branch-policies", json={"name": "ma*", "type": "tag"})
    assert admitted() == ["refs/heads/main", "refs/tags/main"]
    assert alice("GET", f"{place}/deployment-branch-policies")["branch_policies"] == [made[0], tags]
    repo.environments["production"].secrets.add("KEY")
    assert [row["name"] for row in alice("GET", f"{place}/secrets")["secrets"]] == ["KEY"]
    Client(forge, "ghp_bob")("GET", f"{place}/secrets", 403)
    alice("DELETE", "/environments/production", 204)
    alice("GET", f"{place}/secrets", 404)


def test_a_bypass_of_a_ruleset(forge: Forge, alice: Client) -> None:
    app = forge.app("loop", {"contents": "write"})
    by = [{"actor_id": app.id, "actor_type": "Integration", "bypass_mode": "always"}]
    alice("POST", "/rulesets", json=RULESET | {"bypass_actors": by})
    bot = Client(forge, forge.mint(Actor("loop[bot]", {"contents": "write"}, app.id)))
    bot("PUT", "/contents/a", 201, json={"message": "a", "content": ""})
    alice("PUT", "/contents/b", 409, json={"message": "b", "content": ""})


def ruleset(name: str, target: str, pattern: str, *kinds: str, **more: Any) -> dict[str, Any]:
    """A ruleset of rules without parameters."""
    where = {"ref_name": {"include": [pattern], "exclude": []}}
    rules = [{"type": kind} for kind in kinds]
    return {"name": name, "target": target, "enforcement": "active", "conditions": where, "rules": rules, **more}


def test_tags_that_nobody_makes_and_tags_that_stay(forge: Forge, repo: Repo, alice: Client, tmp_path: Path) -> None:
    sha = commit(forge, "main", {"a": "1"})
    alice("POST", "/rulesets", json=ruleset("names", "tag", "refs/tags/main", "creation", "update", "deletion"))
    alice("POST", "/rulesets", json=ruleset("models", "tag", "refs/tags/model-*", "update", "deletion"))
    assert "Cannot create" in alice("POST", "/git/refs", 422, json={"ref": "refs/tags/main", "sha": sha})["message"]
    alice("POST", "/releases", 422, json={"tag_name": "main"})
    alice("POST", "/releases", 201, json={"tag_name": "model-1"})
    newer = commit(forge, "main", {"a": "2"})
    alice("PATCH", "/git/refs/tags/model-1", 422, json={"sha": newer, "force": True})
    alice("DELETE", "/git/refs/tags/model-1", 422)
    git = work_tree(forge, tmp_path / "work", "ghp_alice")
    assert "Cannot create" in git("push", "origin", "main:refs/tags/main").stderr
    assert "Cannot update" in git("push", "--force", "origin", "main:refs/tags/model-1").stderr
    assert "Cannot delete" in git("push", "origin", ":refs/tags/model-1").stderr
    assert git("push", "origin", "main:refs/tags/model-2").returncode == 0
    assert repo.git.resolve("refs/tags/model-1") == sha and repo.git.resolve("refs/tags/main") is None


def test_a_branch_that_an_app_alone_moves_and_nobody_takes_back(forge: Forge, alice: Client, tmp_path: Path) -> None:
    app = forge.app("loop", {"contents": "write"})
    bot = Client(forge, forge.mint(Actor("loop[bot]", {"contents": "write"}, app.id)))
    by = [{"actor_id": app.id, "actor_type": "Integration", "bypass_mode": "always"}]
    name, old, new = "refs/heads/production", *(commit(forge, "main", {"a": text}) for text in "12")
    alice("POST", "/rulesets", json=ruleset("line", "branch", name, "deletion", "non_fast_forward"))
    alice("POST", "/rulesets", json=ruleset("app", "branch", name, "creation", "update", bypass_actors=by))
    git = work_tree(forge, tmp_path / "work", "ghp_alice")
    assert "Cannot create" in git("push", "origin", f"{old}:{name}").stderr
    bot("POST", "/git/refs", 201, json={"ref": name, "sha": old})
    alice("PATCH", "/git/refs/heads/production", 422, json={"sha": new})
    assert "Cannot update" in git("push", "origin", f"{new}:{name}").stderr
    alice("PUT", "/contents/b", 409, json={"message": "b", "content": "", "branch": "production"})
    commit(forge, "topic", {"c": "1"}, start="production")
    open_pull(alice, "topic", base="production")
    assert "Cannot update" in alice("PUT", "/pulls/1/merge", 405)["message"]
    bot("PATCH", "/git/refs/heads/production", 200, json={"sha": new})
    assert "force-push" in bot("PATCH", "/git/refs/heads/production", 422, json={"sha": old, "force": True})["message"]
    bot("DELETE", "/git/refs/heads/production", 422)


def test_a_forced_push_of_new_commits_is_seen(forge: Forge, alice: Client, tmp_path: Path) -> None:
    alice("POST", "/rulesets", json=ruleset("line", "branch", "~DEFAULT_BRANCH", "non_fast_forward"))
    git = work_tree(forge, tmp_path / "work", "ghp_alice")
    git("commit", "-q", "--amend", "-m", "Another history")
    assert "force-push" in git("push", "--force", "origin", "main").stderr


def test_a_required_check_of_an_app_is_nobody_elses(forge: Forge, alice: Client) -> None:
    head, app = commit(forge, "topic", {"a": "1"}), forge.app("loop", {"checks": "write", "statuses": "write"})
    asked = CHECKS | {"required_status_checks": [{"context": "required", "integration_id": app.id}]}
    alice("POST", "/rulesets", json=RULESET | {"rules": [{"type": "required_status_checks", "parameters": asked}]})
    open_pull(alice, "topic")
    actions = Client(forge, forge.token(NAME, {"checks": "write", "statuses": "write"}))
    for other in (alice, actions):
        other("POST", f"/statuses/{head}", 201, json={"state": "success", "context": "required"})
    actions("POST", "/check-runs", 201, json={"name": "required", "head_sha": head, "conclusion": "success"})
    assert '"required" is expected' in alice("PUT", "/pulls/1/merge", 405)["message"]
    bot = Client(forge, forge.mint(Actor("loop[bot]", {"statuses": "write"}, app.id)))
    bot("POST", f"/statuses/{head}", 201, json={"state": "success", "context": "required"})
    alice("PUT", "/pulls/1/merge", 200)


def test_a_rule_says_how_to_merge(forge: Forge, alice: Client) -> None:
    asked = REVIEWS | {"allowed_merge_methods": ["merge", "squash"]}
    alice("POST", "/rulesets", json=RULESET | {"rules": [{"type": "pull_request", "parameters": asked}]})
    commit(forge, "topic", {"a": "1"})
    open_pull(alice, "topic")
    alice("PUT", "/pulls/1/merge", 405, json={"merge_method": "rebase"})
    alice("PUT", "/pulls/1/merge", 200, json={"merge_method": "squash"})


def test_a_runner_group_serves_whom_it_says(forge: Forge, repo: Repo) -> None:
    forge.team("acme/team", "alice")
    forge.user("acme")
    owner, group = Client(forge, "ghp_acme"), forge.runner_group("acme", "gpus")
    path = f"orgs/acme/actions/runner-groups/{group.info['id']}"

    def usable() -> int:
        listed = owner("GET", "orgs/acme/actions/runner-groups?visible_to_repository=fraud")
        return int(listed["total_count"])

    assert usable() == 1
    owner("PATCH", path, 200, json={"name": "gpus", "visibility": "selected", "restricted_to_workflows": True})
    assert usable() == 0
    owner("PUT", f"{path}/repositories", 204, json={"selected_repository_ids": [repo.info["id"]]})
    assert usable() == 1
    repo.info["private"] = False
    owner("PATCH", path, 200, json={"name": "gpus", "allows_public_repositories": False})
    assert usable() == 0
    Client(forge, "ghp_alice")("GET", "orgs/acme/actions/runner-groups", 403)


# Who may do what


def test_a_token_does_what_its_permissions_say(forge: Forge) -> None:
    commit(forge, "topic", {"a": "1"})
    bot = Client(forge, forge.token(NAME, {"contents": "read", "issues": "write"}))
    bot("GET", "/contents/README.md")
    assert bot("POST", "/issues", json={"title": "x"})["user"]["login"] == "github-actions[bot]"
    refused = bot("PUT", "/contents/a", 403, json={"message": "a", "content": ""})
    assert refused["message"] == "Resource not accessible by integration"
    bot("GET", "/pulls", 403)
    bot("GET", "/actions/permissions/workflow", 403)
    bot("POST", "/statuses/main", 403, json={"state": "success"})
    bot("GET", "user", 403)


def test_actions_create_no_pull_requests_unless_allowed(forge: Forge, alice: Client) -> None:
    commit(forge, "topic", {"a": "1"})
    bot = Client(forge, forge.token(NAME, {"contents": "write", "pull-requests": "write"}))
    assert alice("GET", "/actions/permissions/workflow")["can_approve_pull_request_reviews"] is False
    message = "GitHub Actions is not permitted to create or approve pull requests."
    assert open_pull(bot, "topic", 403)["message"] == message
    alice("PUT", "/actions/permissions/workflow", 204, json={"can_approve_pull_request_reviews": True})
    open_pull(bot, "topic")
    opened = told(forge, "pull_request")[-1]
    assert (opened.actor, opened.starts) == ("github-actions[bot]", "approval")


def test_what_a_run_does_starts_no_runs_but_a_dispatch(forge: Forge) -> None:
    permissions = {"contents": "write", "issues": "write", "actions": "write"}
    bot = Client(forge, forge.token(NAME, permissions))
    bot("PUT", "/contents/a", json={"message": "a", "content": ""})
    bot("POST", "/issues", json={"title": "x"})
    bot("POST", "/actions/workflows/release.yml/dispatches", 204, json={"ref": "main", "inputs": {"entry": "3"}})
    bot("POST", "/dispatches", 204, json={"event_type": "go", "client_payload": {"a": 1}})
    starts = {event.name: event.starts for event in forge.events}
    assert starts == {"push": "none", "issues": "none", "workflow_dispatch": "run", "repository_dispatch": "run"}
    assert told(forge, "workflow_dispatch")[0].payload["inputs"] == {"entry": "3"}
    bot("POST", "/actions/workflows/none.yml/dispatches", 404, json={"ref": "main"})
    bot("POST", "/actions/workflows/release.yml/dispatches", 422, json={"ref": "gone"})


def test_strangers_see_nothing_private(forge: Forge) -> None:
    Client(forge, "ghp_eve")("GET", "", 404)
    Client(forge)("GET", "", 404)
    assert Client(forge, "ghp_wrong")("GET", "", 401)["message"] == "Bad credentials"
    Client(forge, "ghp_rita")("PUT", "/contents/a", 403, json={"message": "a", "content": ""})
    Client(forge, "ghp_rita")("POST", "/issues", 201, json={"title": "a question"})


def test_an_installation_token_of_an_app(forge: Forge) -> None:
    app = forge.app("loop", {"contents": "write", "pull-requests": "write"})
    forge.repository("acme/other")
    now = int(time.time())

    def signed(key: str) -> Client:
        return Client(forge, jwt.encode({"iss": app.client_id, "iat": now - 60, "exp": now + 500}, key, "RS256"))

    root = signed(app.private_key)
    number = root("GET", "/installation")["id"]
    path = f"app/installations/{number}/access_tokens"
    asked = {"repositories": ["fraud"], "permissions": {"pull_requests": "write"}}
    answer = models.InstallationToken.model_validate(root("POST", path, 201, json=asked))
    commit(forge, "topic", {"a": "1"})
    bot = Client(forge, answer.token)
    assert open_pull(bot, "topic")["user"]["login"] == "loop[bot]"
    assert told(forge, "pull_request")[-1].starts == "run"
    bot("PUT", "/contents/a", 403, json={"message": "a", "content": ""})
    root("POST", path, 422, json={"permissions": {"administration": "write"}})
    root("POST", path, 422, json={"repositories": ["nowhere"]})
    signed(forge.app("stranger", {}).private_key)("GET", "/installation", 401)


# What GitHub refuses


def test_refusals_carry_githubs_words(forge: Forge, alice: Client) -> None:
    commit(forge, "topic", {"a": "1"})
    open_pull(alice, "topic")

    def complaint(refused: Mapping[str, Any]) -> str:
        return str(refused["errors"][0].get("message"))

    assert complaint(open_pull(alice, "topic", 422)) == "A pull request already exists for acme:topic."
    alice("POST", "/git/refs", json={"ref": "refs/heads/same", "sha": forge.repositories[NAME].git.resolve("main")})
    assert complaint(open_pull(alice, "same", 422)) == "No commits between main and same"
    assert open_pull(alice, "gone", 422)["errors"][0] == {"resource": "PullRequest", "field": "head", "code": "invalid"}
    ref = {"ref": "refs/heads/topic", "sha": forge.repositories[NAME].git.resolve("main")}
    assert alice("POST", "/git/refs", 422, json=ref)["message"] == "Reference already exists"
    stale = alice("PATCH", "/git/refs/heads/topic", 422, json={"sha": ref["sha"]})
    assert stale["message"] == "Update is not a fast forward"
    alice("POST", "/issues/1/comments", 201, json={"body": "x" * 65536})
    assert "65536" in complaint(alice("POST", "/issues/1/comments", 422, json={"body": "x" * 65537}))
    alice("PUT", "/contents/README.md", 422, json={"message": "a", "content": ""})
    alice("PUT", "/contents/README.md", 409, json={"message": "a", "content": "", "sha": "0" * 40})
    alice("POST", "/issues", 400, data="{")
    alice("GET", "/issues/99", 404)
    alice("GET", "/nothing", 404)
    own = alice("POST", "/pulls/1/reviews", 422, json={"event": "APPROVE"})
    assert own["errors"] == ["Can not approve your own pull request"]
    alice("POST", "/pulls/1/requested_reviewers", 422, json={"reviewers": ["eve"]})
    alice("POST", "/labels", 201, json={"name": "drift"})
    assert alice("POST", "/labels", 422, json={"name": "drift"})["errors"][0]["code"] == "already_exists"


def test_a_list_comes_in_pages(forge: Forge, alice: Client) -> None:
    for number in range(5):
        alice("POST", "/issues", json={"title": str(number), "labels": ["even"] if number % 2 == 0 else []})
    assert [issue["title"] for issue in alice("GET", "/issues?per_page=2")] == ["4", "3"]
    assert re.findall(r'rel="(\w+)"', alice.last.headers["Link"]) == ["next", "last"]
    second = alice("GET", alice.last.links["next"]["url"])
    assert [issue["title"] for issue in second] == ["2", "1"]
    assert [issue["title"] for issue in alice("GET", alice.last.links["last"]["url"])] == ["0"]
    assert "next" not in alice.last.links
    assert len(alice("GET", "/issues?labels=even&creator=alice")) == 3
    alice("PATCH", "/issues/1", json={"state": "closed"})
    assert [issue["number"] for issue in alice("GET", "/issues?state=closed")] == [1]


def test_pull_requests_are_found_by_branch(forge: Forge, alice: Client) -> None:
    for name in ("one", "two"):
        commit(forge, name, {name: "1"})
        open_pull(alice, name)
    assert [pull["number"] for pull in alice("GET", "/pulls?head=acme:one&base=main")] == [1]
    alice("PATCH", "/pulls/1", json={"state": "closed"})
    assert alice("GET", "/pulls?head=acme:one") == []
    assert len(alice("GET", "/pulls?state=all")) == 2
    open_pull(alice, "one")
    assert "already an open" in alice("PATCH", "/pulls/1", 422, json={"state": "open"})["errors"][0]["message"]


# Its base, its author, issues


def timeline(client: Client, number: int) -> list[str]:
    return [row["event"] for row in client("GET", f"/issues/{number}/timeline")]


def test_a_change_of_base_is_told_and_stays_in_the_timeline(forge: Forge, repo: Repo, alice: Client) -> None:
    first = commit(forge, "other", {"b": "1"})
    commit(forge, "topic", {"a": "1"})
    open_pull(alice, "topic", base="other")
    assert timeline(alice, 1) == []
    alice("PATCH", "/git/refs/heads/other", json={"sha": commit(forge, "next", {"c": "1"}, start="other")})
    assert timeline(alice, 1) == []
    alice("PATCH", "/git/refs/heads/other", json={"sha": first, "force": True})
    assert timeline(alice, 1) == ["base_ref_force_pushed"]
    alice("PATCH", "/pulls/1", json={"base": "main"})
    edited = told(forge, "pull_request")[-1]
    assert (edited.action, edited.payload["changes"]["base"]["ref"]) == ("edited", {"from": "other"})
    assert timeline(alice, 1) == ["base_ref_force_pushed", "base_ref_changed"]


def test_what_a_merged_and_deleted_branch_was_the_base_of_gets_its_base(forge: Forge, alice: Client) -> None:
    alice("PATCH", "", json={"delete_branch_on_merge": True})
    commit(forge, "lower", {"b": "1"})
    commit(forge, "upper", {"a": "1"}, start="lower")
    open_pull(alice, "lower")
    open_pull(alice, "upper", base="lower")
    alice("PUT", "/pulls/1/merge")
    pull = alice("GET", "/pulls/2")
    assert (pull["state"], pull["base"]["ref"]) == ("open", "main")
    assert timeline(alice, 2) == ["automatic_base_change_succeeded"]


def test_what_an_account_did_stays_when_it_is_deleted(forge: Forge, repo: Repo, alice: Client) -> None:
    head = commit(forge, "topic", {"a": "1"})
    bob = Client(forge, "ghp_bob")
    open_pull(bob, "topic")
    bob("POST", "/pulls/1/reviews", json={"event": "COMMENT", "body": "hm"})
    bob("POST", "/issues/1/comments", json={"body": "x"})
    bob("POST", "/deployments", json={"ref": "main"})
    forge.start_run(NAME, path=".github/workflows/ci.yml", sha=head, branch="topic", actor="bob", event="push")
    forge.forget("bob")
    assert alice("GET", "/pulls/1")["user"] is None
    gone = {"/pulls": "user", "/pulls/1/reviews": "user", "/issues/1/comments": "user", "/deployments": "creator"}
    assert all(alice("GET", path)[0][field] is None for path, field in gone.items())
    assert alice("GET", "/actions/runs")["workflow_runs"][0]["actor"] is None
    assert alice("GET", "/issues?creator=bob") == []
    alice("PUT", "/pulls/1/merge", 200)


def test_where_issues_are_off_pull_requests_still_have_comments_and_labels(forge: Forge, alice: Client) -> None:
    alice("POST", "/issues", json={"title": "x"})
    commit(forge, "topic", {"a": "1"})
    open_pull(alice, "topic")
    alice("PATCH", "", json={"has_issues": False})
    assert alice("POST", "/issues", 410, json={"title": "x"})["message"].startswith("Issues has been disabled")
    alice("GET", "/issues", 410)
    alice("POST", "/issues/1/comments", 410, json={"body": "x"})
    alice("POST", "/issues/2/comments", 201, json={"body": "x"})
    alice("POST", "/issues/2/labels", 200, json={"labels": ["promotion"]})
    alice("GET", "/issues/2/timeline", 200)
    assert alice("GET", "/issues/2")["number"] == 2


# A fork


def test_a_pull_request_from_a_fork(forge: Forge, repo: Repo, alice: Client, tmp_path: Path) -> None:
    repo.roles["eve"] = "read"
    eve = Client(forge, "ghp_eve")
    eve("POST", "/forks", 202)
    git = work_tree(forge, tmp_path / "work", "ghp_eve", "eve/fraud")
    git("checkout", "-qb", "idea")
    (tmp_path / "work/idea").write_text("1")
    git("add", ".")
    git("commit", "-qm", "An idea")
    assert git("push", "-q", "origin", "idea").returncode == 0
    pull = open_pull(eve, "eve:idea")
    assert pull["head"]["repo"]["full_name"] == "eve/fraud" and pull["head"]["repo"]["fork"]
    assert pull["base"]["repo"]["full_name"] == NAME and pull["mergeable"]
    git("commit", "--allow-empty", "-qm", "More")
    git("push", "-q", "origin", "idea")
    assert repo.git.resolve("refs/pull/1/head") == git("rev-parse", "HEAD").stdout.strip()
    assert [event.action for event in told(forge, "pull_request")] == ["opened", "synchronize"]
    assert alice("GET", "/compare/main...eve:idea")["ahead_by"] == 2
    eve("PUT", "/pulls/1/merge", 403)
    alice("PUT", "/pulls/1/merge", 200)


# Faults, records, events


def test_faults_happen_when_asked_for(forge: Forge, alice: Client) -> None:
    comment = {"body": "hello"}
    alice("POST", "/issues", json={"title": "x"})
    forge.fault("POST .*/comments", status=502, times=2)
    forge.fault("POST .*/comments", drop=True, effect=True, after=2)
    alice("POST", "/issues/1/comments", 502, json=comment)
    alice("POST", "/issues/1/comments", 502, json=comment)
    assert alice("GET", "/issues/1/comments") == []
    with pytest.raises(requests.ConnectionError):
        alice("POST", "/issues/1/comments", json=comment)
    assert len(alice("GET", "/issues/1/comments")) == 1
    alice("POST", "/issues/1/comments", 201, json=comment)
    forge.fault("GET .*", rate_limit=True)
    alice("GET", "", 403)
    assert alice.last.headers["X-RateLimit-Remaining"] == "0"
    forge.fault("GET .*", status=429, retry_after=3)
    alice("GET", "", 429)
    assert alice.last.headers["Retry-After"] == "3"
    forge.fault("GET .*/labels", status=200, body=[])
    alice("POST", "/labels", json={"name": "drift"})
    assert [len(alice("GET", "/labels")) for _ in range(2)] == [0, 1]
    assert int(alice("GET", "") and alice.last.headers["X-RateLimit-Remaining"]) > 0


def test_a_delay_and_a_hook(forge: Forge, alice: Client) -> None:
    seen: list[str] = []
    forge.fault("GET", delay=0.05, hook=lambda: seen.append("now"))
    start = time.monotonic()
    alice("GET", "", 200)
    assert seen == ["now"] and time.monotonic() - start >= 0.05


def test_of_many_who_ask_for_one_pull_request_one_gets_it(forge: Forge) -> None:
    commit(forge, "topic", {"a": "1"})
    body = {"title": "Try topic", "head": "topic", "base": "main"}
    with ThreadPoolExecutor() as pool:
        clients = [Client(forge, "ghp_bob") for _ in range(6)]
        url = f"{forge.api_url}/repos/{NAME}/pulls"
        answers = pool.map(lambda client: client.session.post(url, json=body).status_code, clients)
    assert sorted(answers) == [201] + [422] * 5


def test_calls_are_counted(forge: Forge, alice: Client) -> None:
    alice("GET", "/labels")
    alice("GET", "/issues/9", 404)
    made = [(call.method, call.path, call.status, call.actor) for call in forge.calls]
    assert made == [("GET", f"/repos/{NAME}/labels", 200, "alice"), ("GET", f"/repos/{NAME}/issues/9", 404, "alice")]


def test_subscribers_hear_events_in_order_and_may_call_back(forge: Forge, alice: Client) -> None:
    heard: list[str] = []

    def callback(event: Event) -> None:
        heard.append(f"{event.name} {event.action}".strip())
        if event.action == "opened":
            alice("POST", "/issues/1/comments", json={"body": "seen"})

    forge.subscribe(callback)
    commit(forge, "topic", {"a": "1"})
    open_pull(alice, "topic", draft=True)
    forge.settle()
    forge.ready_for_review(NAME, 1, "alice")
    alice("POST", "/issues/1/labels", json={"labels": ["retrain"]})
    forge.settle()
    assert heard == [
        "pull_request opened",
        "issue_comment created",
        "pull_request ready_for_review",
        "pull_request labeled",
    ]


def test_a_draft_is_not_merged(forge: Forge, alice: Client) -> None:
    commit(forge, "topic", {"a": "1"})
    assert open_pull(alice, "topic", draft=True)["mergeable_state"] == "draft"
    alice("PUT", "/pulls/1/merge", 405)
    alice("POST", "/pulls/1/requested_reviewers", json={"reviewers": ["bob"]})
    commit(forge, "other", {"b": "1"})
    assert open_pull(alice, "other", draft=True)["requested_reviewers"] == []


# The client that the loop uses


def test_github3_opens_comments_and_merges(forge: Forge) -> None:
    commit(forge, "topic", {"a": "1"})
    there = github3(forge, "ghp_alice").repository(*NAME.split("/"))
    pull = there.create_pull("Try it", "main", "topic", "because")
    assert pull.mergeable and [pull.number for pull in there.pull_requests(state="open", head="acme:topic")] == [1]
    issue = there.issue(1)
    comment = issue.create_comment("<!-- marker -->\nfirst")
    comment.edit("<!-- marker -->\nsecond")
    assert [(each.user.login, each.body_text[-6:]) for each in issue.comments()] == [("alice", "second")]
    assert [label.name for label in issue.add_labels("retrain")] == ["retrain"]
    assert [file.filename for file in pull.files()] == ["a"] and [commit.message for commit in pull.commits()]
    pull.create_review_requests(reviewers=["bob"])
    review = github3(forge, "ghp_bob").pull_request(*NAME.split("/"), 1).create_review("good", event="APPROVE")
    assert review.state == "APPROVED" and [each.user.login for each in pull.reviews()] == ["bob"]
    assert pull.update(title="Try it now") and pull.title == "Try it now"
    assert pull.merge(merge_method="squash", sha=pull.head.sha)
    assert there.pull_request(1).merged
    there.create_issue("A question", labels=["drift"]).close()
    assert [each.title for each in there.issues(state="closed", labels="drift")] == ["A question"]


def test_github3_commits_by_the_git_data_api(forge: Forge, repo: Repo) -> None:
    app = forge.app("loop", {"contents": "write"})
    there = GitHub(session=GitHubSession())
    there.session.base_url = forge.api_url
    there.login_as_app_installation(app.private_key.encode(), str(app.id), app.installation_id)
    there = there.repository(*NAME.split("/"))
    base = there.ref("heads/main").object.sha
    blob = there.create_blob(base64.b64encode(b"\x00bytes").decode(), "base64")
    changes = [{"path": "deploy/model", "mode": "100644", "type": "blob", "sha": blob}]
    tree = there.create_tree(changes, there.git_commit(base).tree.sha)
    made = there.create_commit("Promote", tree.sha, [base])
    assert made.verification["verified"] is True
    there.create_ref("refs/heads/promote", made.sha)
    assert there.ref("heads/promote").update(made.sha, force=True)
    found = repo.git.commits("promote", "-1")[0]
    assert (found["author"]["name"], found["committer"]["name"]) == ("loop[bot]", "GitHub")
    assert there.file_contents("deploy/model", "promote").decoded == b"\x00bytes"
    assert told(forge, "push")[-1].actor == "loop[bot]"


def test_github3_releases_and_deploys(forge: Forge, repo: Repo, tmp_path: Path) -> None:
    there = github3(forge, "ghp_alice").repository(*NAME.split("/"))
    release = there.create_release("model-1", target_commitish="main", name="Model 1", body="notes")
    asset = release.upload_asset("application/zip", "model.zip", b"PK bytes")
    release.upload_asset("application/json", "metrics.json", b"{}")
    assert [each.name for each in there.release_from_tag("model-1").assets()] == ["model.zip", "metrics.json"]
    asset.download(str(tmp_path / "model.zip"))
    assert (tmp_path / "model.zip").read_bytes() == b"PK bytes"
    assert repo.git.resolve("refs/tags/model-1") == repo.git.resolve("main")
    address = f"{repo.info['html_url']}/releases/download/model-1/model.zip"
    assert Client(forge, "ghp_rita")("GET", address) == b"PK bytes"
    assert [event.action for event in told(forge, "release")] == ["published", "released"]
    first = there.create_deployment("main", required_contexts=[], environment="production")
    first.create_status("success")
    second = there.create_deployment("main", environment="production", description="the next")
    second.create_status("success")
    assert [status.state for status in first.statuses()] == ["inactive", "success"]


def test_a_draft_has_no_tag_and_only_writers_see_it(forge: Forge, repo: Repo, alice: Client) -> None:
    readers = [Client(forge, "ghp_rita"), Client(forge, forge.token(NAME, {"contents": "read"}))]
    made = [alice("POST", "/releases", json={"tag_name": "v1", "draft": True}) for _ in range(2)]
    models.Release.model_validate(draft := made[0])
    alice("GET", "/releases/tags/v1", 404)
    assert repo.git.refs("refs/tags/") == {} and not told(forge, "release") and not draft["published_at"]
    assert {row["id"] for row in alice("GET", "/releases")} == {row["id"] for row in made}
    for reader in readers:
        assert reader("GET", "/releases") == []
        reader("GET", f"/releases/{draft['id']}", 404)
    alice("POST", draft["upload_url"].partition("{")[0] + "?name=a", data=b"bytes")
    assert "untagged-" in alice("GET", f"/releases/{draft['id']}")["assets"][0]["browser_download_url"]
    published = alice("PATCH", f"/releases/{draft['id']}", json={"draft": False})
    assert (published["immutable"], published["html_url"][-15:]) == (False, "releases/tag/v1")
    assert readers[0]("GET", "/releases/tags/v1")["assets"][0]["browser_download_url"].endswith("download/v1/a")
    assert repo.git.resolve("refs/tags/v1") == repo.git.resolve("main")
    refused = alice("PATCH", f"/releases/{made[1]['id']}", 422, json={"draft": False})
    assert refused["errors"][0]["code"] == "already_exists"
    alice("DELETE", f"/releases/{made[1]['id']}", 204)


def test_an_immutable_release_stays_as_it_was_published(forge: Forge, repo: Repo, alice: Client) -> None:
    Client(forge, "ghp_bob")("PUT", "/immutable-releases", 403)
    alice("GET", "/immutable-releases", 404)
    alice("PUT", "/immutable-releases", 204)
    draft = alice("POST", "/releases", json={"tag_name": "v1", "draft": True})
    place = draft["upload_url"].partition("{")[0]
    asset = alice("POST", f"{place}?name=a", data=b"bytes")
    assert alice("PATCH", f"/releases/{draft['id']}", json={"draft": False})["immutable"] is True
    words = "Cannot upload assets to an immutable release."
    assert alice("POST", f"{place}?name=b", 422, data=b"more")["message"] == words
    alice("DELETE", f"/releases/assets/{asset['id']}", 422)
    alice("PATCH", f"/releases/{draft['id']}", 422, json={"tag_name": "v2"})
    alice("DELETE", "/git/refs/tags/v1", 422)
    alice("PATCH", "/git/refs/tags/v1", 422, json={"sha": commit(forge, "topic", {"a": "1"})})
    assert alice("PATCH", f"/releases/{draft['id']}", json={"body": "words"})["body"] == "words"
    alice("DELETE", f"/releases/{draft['id']}", 204)
    spent = alice("POST", "/releases", 422, json={"tag_name": "v1"})
    assert spent["errors"][0]["message"] == "tag_name was used by an immutable release"
    alice("DELETE", "/immutable-releases", 204)
    assert alice("POST", "/releases", json={"tag_name": "v2"})["immutable"] is False


def test_artifacts_are_found_by_name_across_runs(forge: Forge, repo: Repo, alice: Client) -> None:
    sha = repo.git.resolve("main")
    where = {"path": ".github/workflows/ci.yml", "sha": sha, "branch": "main", "actor": "bob", "event": "push"}
    runs = [forge.start_run(NAME, **where)["id"] for _ in range(2)]
    job = Client(forge, forge.token(NAME, {}))
    for run in runs:
        job("PUT", f"/actions/runs/{run}/artifacts/model-key", 201, data=b"zip of %d" % run)
    job("PUT", f"/actions/runs/{runs[0]}/artifacts/model-key", 409, data=b"other")
    job("PUT", f"/actions/runs/{runs[0]}/artifacts/model-key?overwrite=true", 201, data=b"other")
    job("GET", "/actions/artifacts", 403)
    found = alice("GET", "/actions/artifacts?name=model-key")["artifacts"]
    contents = {artifact["workflow_run"]["id"]: alice("GET", artifact["archive_download_url"]) for artifact in found}
    assert contents == {runs[0]: b"other", runs[1]: b"zip of %d" % runs[1]}
    facts = {"id": runs[0], "repository_id": repo.info["id"], "head_repository_id": repo.info["id"]}
    assert found[0]["workflow_run"] == {**facts, "head_branch": "main", "head_sha": sha}
    assert alice("GET", "/actions/artifacts?name=other")["total_count"] == 0
    repo.tables["artifacts"][found[0]["id"]]["expired"] = True
    alice("GET", found[0]["archive_download_url"], 410)


# The answers are GitHub's


def test_every_kind_of_answer_parses_as_githubs(forge: Forge, repo: Repo, alice: Client) -> None:
    head = commit(forge, "topic", {"a": "1", "README.md": "changed\n", "CODEOWNERS": "* @nobody\n"})
    forge.app("loop", {"contents": "write"})
    forge.user("acme")
    forge.team("acme/team", "alice")
    repo.secrets.add("GITOPS_APP_PRIVATE_KEY")
    bot = Client(forge, forge.token(NAME, {"checks": "write", "statuses": "write", "deployments": "write"}))
    run = forge.start_run(NAME, path=".github/workflows/ci.yml", sha=head, branch="topic", actor="bob", event="push")
    job = forge.set_job(NAME, run["id"], "test", status="completed", conclusion="success")
    artifact = alice("PUT", f"/actions/runs/{run['id']}/artifacts/report", data=b"zip")
    check = bot("POST", "/check-runs", json={"name": "gate", "head_sha": head, "output": {"title": "t"}})
    bot("PATCH", f"/check-runs/{check['id']}", json={"conclusion": "failure"})
    bot("POST", f"/statuses/{head}", json={"state": "pending", "context": "old"})
    release = alice("POST", "/releases", json={"tag_name": "v1"})
    asset = alice("POST", release["upload_url"].partition("{")[0] + "?name=a.zip", data=b"zip")
    deployment = bot("POST", "/deployments", json={"ref": "main"})
    alice("POST", "/actions/variables", 201, json={"name": "GPU_RUNNER", "value": "gpu"})
    custom = {"protected_branches": False, "custom_branch_policies": True}
    environment = alice("PUT", "/environments/test", json={"deployment_branch_policy": custom})
    group = forge.runner_group("acme", "gpus")
    group.runners.append(forge.runner(repo, "gpu-2", "gpu"))
    forge.repository("acme/open", private=False)
    owner = Client(forge, "ghp_acme")
    forks = "/actions/permissions/fork-pr-workflows-private-repos"
    outsiders = "repos/acme/open/actions/permissions/fork-pr-contributor-approval"
    alice("PUT", "/immutable-releases", 204)
    answers = {
        "PullRequest": open_pull(alice, "topic"),
        "PullRequestSimple": alice("GET", "/pulls")[0],
        "DiffEntry": alice("GET", "/pulls/1/files")[0],
        "Commit": alice("GET", "/pulls/1/commits")[0],
        "PullRequestReview": alice("POST", "/pulls/1/reviews", json={"event": "COMMENT", "body": "hm"}),
        "PullRequestReviewRequest": alice("GET", "/pulls/1/requested_reviewers"),
        "Issue": alice("POST", "/issues", json={"title": "x", "labels": ["drift"], "assignees": ["bob"]}),
        "IssueComment": alice("POST", "/issues/1/comments", json={"body": "x"}),
        "Label": alice("GET", "/labels")[0],
        "FullRepository": alice("GET", ""),
        "BranchWithProtection": alice("GET", "/branches/main"),
        "ShortBranch": alice("GET", "/branches")[0],
        "GitRef": alice("GET", "/git/ref/heads/main"),
        "GitCommit": alice("GET", f"/git/commits/{head}"),
        "GitTree": alice("GET", f"/git/trees/{head}?recursive=1"),
        "CommitComparison": alice("GET", "/compare/main...topic"),
        "ContentFile": alice("GET", "/contents/README.md"),
        "FileCommit": alice("PUT", "/contents/new", json={"message": "new", "content": "", "branch": "topic"}),
        "CombinedCommitStatus": alice("GET", f"/commits/{head}/status"),
        "Status": alice("GET", f"/commits/{head}/statuses")[0],
        "CheckRun": alice("GET", f"/commits/{head}/check-runs")["check_runs"][0],
        "CheckSuite": alice("GET", f"/commits/{head}/check-suites")["check_suites"][0],
        "WorkflowRun": alice("GET", "/actions/runs?branch=topic")["workflow_runs"][0],
        "Job": alice("GET", f"/actions/runs/{run['id']}/jobs")["jobs"][0],
        "Artifact": alice("GET", f"/actions/artifacts/{artifact['id']}"),
        "ActionsVariable": alice("GET", "/actions/variables/GPU_RUNNER"),
        "ActionsGetDefaultWorkflowPermissions": alice("GET", "/actions/permissions/workflow"),
        "RepositoryRuleset": alice("POST", "/rulesets", json=RULESET),
        "Release": alice("GET", "/releases/latest"),
        "ReleaseAsset": asset,
        "Tag": alice("GET", "/tags")[0],
        "Deployment": deployment,
        "DeploymentStatus": bot("POST", f"/deployments/{deployment['id']}/statuses", json={"state": "success"}),
        "RepositoryCollaboratorPermission": alice("GET", "/collaborators/bob/permission"),
        "Collaborator": alice("GET", "/collaborators")[0],
        "PublicUser": alice("GET", "user"),
        "Workflow": alice("GET", "/actions/workflows")["workflows"][0],
        "CodeownersErrors": alice("GET", "/codeowners/errors?ref=topic"),
        "Runner": forge.runner(repo, "gpu-1", "gpu"),
        "ActionsSecret": alice("GET", "/actions/secrets/GITOPS_APP_PRIVATE_KEY"),
        "Environment": environment,
        "DeploymentBranchPolicy": alice("POST", "/environments/test/deployment-branch-policies", json={"name": "main"}),
        "RunnerGroupsOrg": owner("GET", "orgs/acme/actions/runner-groups")["runner_groups"][0],
        "ActionsForkPrWorkflowsPrivateRepos": alice("GET", forks),
        "ActionsForkPrContributorApproval": owner("GET", outsiders),
        "CheckImmutableReleases": alice("GET", "/immutable-releases"),
        "Installation": owner("GET", "orgs/acme/installations")["installations"][0],
    }
    for name, answer in answers.items():
        getattr(models, name).model_validate(answer)
    blob = alice("GET", f"/git/blobs/{answers['ContentFile']['sha']}")
    models.Blob.model_validate(blob)
    assert base64.b64decode(blob["content"]) == b"hello\n"
    assert job["conclusion"] == "success" and json.dumps(forge.events[-1].payload)


def test_a_request_that_lacks_a_field_is_told_which(alice: Client) -> None:
    assert alice("PUT", "/contents/a", 422, json={"message": "a"})["message"].endswith('"content" wasn\'t supplied.')
