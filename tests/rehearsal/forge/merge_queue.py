"""What merges by itself: auto-merge, and the queue of a branch whose rules ask for one.

A request in a queue has a group: a branch with main, the requests ahead of it, and itself. When the required checks of
the first group are green, main takes it; when they are red, the request leaves and those behind it get new groups.
"""

from contextlib import suppress

from . import pulls, rules
from .answers import Json
from .state import Actor, Entry, Refused, Repo, State, present

BOT = Actor("github-merge-queue[bot]")


def advance(state: State) -> None:
    """Merge, queue and drop what waits for nothing more; to be called after whatever may have changed that."""
    for repo in state.repositories.values():
        for number, actor in list(repo.auto_merges.items()):
            if pulls.merge_state(state, repo, repo.row("pulls", number)) in ("clean", "unstable"):
                with suppress(Refused):  # by git, where a rebase conflicts
                    merge_or_enqueue(state, repo, actor, number)
        for branch, queue in repo.queues.items():
            for entry in list(queue):
                if head_of(repo, entry) != entry.head or not rules.queue(repo, branch):
                    leave(state, repo, branch, entry, "MANUAL")
            if queue:
                regroup(state, repo, branch)
            while queue and (verdict := rules.verdict(repo, branch, queue[0].sha)) != "pending":
                if verdict == "success":
                    merge(state, repo, branch, queue[0])
                else:
                    leave(state, repo, branch, queue[0], "CI_FAILURE")
                regroup(state, repo, branch)


def head_of(repo: Repo, entry: Entry) -> str:
    """The head of a request as long as it is open."""
    closed = repo.row("issues", entry.number)["state"] == "closed"
    return "" if closed else str(repo.row("pulls", entry.number)["head"]["sha"])


def merge_or_enqueue(state: State, repo: Repo, actor: Actor, number: int) -> None:
    """What auto-merge does in the end; nobody's bypass is counted."""
    pull = repo.row("pulls", number)
    if rules.queue(repo, pull["base"]["ref"]):
        enqueue(state, repo, actor, number)
        repo.auto_merges.pop(number)
        pull["auto_merge"] = None
    else:
        pulls.merge(state, repo, actor, number, present(pull["auto_merge"], pull["auto_merge"]))


def enqueue(state: State, repo: Repo, actor: Actor, number: int, head: str | None = None) -> int:
    """Put a request at the end of the queue; its place. Raises Refused as GitHub does."""
    pull = repo.row("pulls", number)
    branch = pull["base"]["ref"]
    queue = repo.queues.setdefault(branch, [])
    refusals = {
        "The base branch has no merge queue": not rules.queue(repo, branch),
        "Head branch was modified. Review and try the merge again.": head not in (None, pull["head"]["sha"]),
        "Pull request is already in the queue": any(entry.number == number for entry in queue),
        "Pull request is not mergeable": pulls.merge_state(state, repo, pull) in ("unknown", "dirty", "draft"),
        **{f"Pull request {each}": True for each in rules.blockers(state, repo, pull, actor)},
    }
    if refusal := next((words for words, holds in refusals.items() if holds), ""):
        raise Refused(422, refusal)
    queue.append(Entry(number, pull["head"]["sha"], actor))
    tell(state, repo, pull, actor, "enqueued", "added_to_merge_queue")
    regroup(state, repo, branch)
    return len(queue)


def regroup(state: State, repo: Repo, branch: str) -> None:
    """A group for each entry that has none on top of the one ahead of it, or of the branch."""
    queue, rule, base = repo.queues[branch], rules.queue(repo, branch), repo.git.resolve(f"refs/heads/{branch}")
    assert rule and base
    for entry in list(queue):
        pull, issue = repo.row("pulls", entry.number), repo.row("issues", entry.number)
        if entry.base != base:
            method = {"merge_method": rule["parameters"]["merge_method"].lower()}
            sha = pulls.merged_commit(state, repo, pull, issue, entry.actor, method, base)
            if not sha:
                leave(state, repo, branch, entry, "MERGE_CONFLICT")
                continue
            with pulls.refs_moving(state, repo, BOT):
                remove_group(repo, entry)
                entry.base, entry.sha = base, sha
                entry.ref = f"refs/heads/gh-readonly-queue/{branch}/pr-{entry.number}-{base}"
                repo.git.update(entry.ref, sha)
            request_checks(state, repo, branch, entry)
        base = entry.sha


def request_checks(state: State, repo: Repo, branch: str, entry: Entry) -> None:
    (record,) = repo.git.commits(entry.sha, "-1")
    group = {
        **{"head_sha": entry.sha, "head_ref": entry.ref, "base_sha": entry.base, "base_ref": f"refs/heads/{branch}"},
        "head_commit": {"id": entry.sha, "tree_id": record["tree"], "message": record["message"]},
    }
    payload = {"action": "checks_requested", "merge_group": group}
    state.emit(repo, "merge_group", BOT, payload, ref=entry.ref, sha=entry.sha)


def merge(state: State, repo: Repo, branch: str, entry: Entry) -> None:
    """The branch takes the first group."""
    pull = repo.row("pulls", entry.number)
    repo.queues[branch].remove(entry)
    with pulls.refs_moving(state, repo, BOT):
        repo.git.update(f"refs/heads/{branch}", entry.sha)
        remove_group(repo, entry)
        pulls.finish_merge(state, repo, pull, BOT, entry.sha)


def leave(state: State, repo: Repo, branch: str, entry: Entry, reason: str) -> None:
    """The request is no longer in the queue, and its timeline says so."""
    repo.queues[branch].remove(entry)
    with pulls.refs_moving(state, repo, BOT):
        remove_group(repo, entry)
    tell(state, repo, repo.row("pulls", entry.number), BOT, "dequeued", "removed_from_merge_queue", reason=reason)


def remove_group(repo: Repo, entry: Entry) -> None:
    if entry.ref:
        repo.git.update(entry.ref, None)


def tell(state: State, repo: Repo, pull: Json, actor: Actor, action: str, event: str, **more: str) -> None:
    """The event that apps hear, and the line of the timeline that people read."""
    pulls.note(state, repo, pull, actor, event)
    pulls.tell(state, repo, pull, actor, action, **more)
