"""Pull requests: they follow their branches, and merge when git and the rules allow."""

from collections.abc import Iterator
from contextlib import contextmanager

from . import answers, rules
from .answers import Json
from .git import NOBODY
from .state import Actor, Refused, Repo, State, invalid, snapshot

SHARED = "title body body_html body_text state locked active_lock_reason user labels milestone assignee assignees"
SHARED_FIELDS = (*SHARED.split(), "created_at", "updated_at", "closed_at", "author_association")


def view(state: State, repo: Repo, number: int, *, full: bool = False) -> Json:
    """The answer about a pull request; full with what only a single one carries."""
    pull, issue = repo.row("pulls", number), repo.row("issues", number)
    seen = {**{name: issue[name] for name in SHARED_FIELDS}, **pull, "mergeable_state": merge_state(state, repo, pull)}
    if full:
        files = repo.git.files(*rules.compared(repo, pull))
        seen |= {
            "comments": issue["comments"],
            "commits": len(repo.git.commits(span(pull))),
            "additions": sum(file["additions"] for file in files),
            "deletions": sum(file["deletions"] for file in files),
            "changed_files": len(files),
        }
    return seen


def span(pull: Json) -> str:
    return f"{pull['base']['sha']}..{pull['head']['sha']}"


def create(state: State, repo: Repo, actor: Actor, body: Json) -> Json:
    """Open a pull request. Raises Refused as GitHub does."""
    if actor.is_actions and not repo.workflow_permissions["can_approve_pull_request_reviews"]:
        raise Refused(403, "GitHub Actions is not permitted to create or approve pull requests.")
    owner, _, branch = body["head"].rpartition(":")
    head_repo = fork_of(state, repo, owner) if owner else repo
    head = head_repo and head_repo.git.resolve(f"refs/heads/{branch}")
    base = repo.git.resolve(f"refs/heads/{body['base']}")
    for name, sha in (("head", head), ("base", base)):
        if not sha:
            raise invalid("PullRequest", name, "invalid")
    assert head_repo and head and base
    label = f"{head_repo.owner}:{branch}"
    for other in repo.rows("pulls"):
        same = (other["head"]["label"], other["base"]["ref"]) == (label, body["base"])
        if same and repo.row("issues", other["number"])["state"] == "open":
            raise refused_pull(f"A pull request already exists for {label}.")
    repo.git("fetch", "--quiet", str(head_repo.git.path.resolve()), head)
    if repo.git.is_ancestor(head, base):
        raise refused_pull(f"No commits between {body['base']} and {branch}")
    number, identity = next(repo.numbers), next(state.ids)
    bring_head(repo, head_repo, number, branch)
    links = answers.pull_links(repo.info, number)
    issue = new_issue(state, repo, actor, number, body)
    issue["pull_request"] = {name: links[name] for name in ("url", "html_url", "diff_url", "patch_url")}
    issue["pull_request"]["merged_at"] = None
    issue["html_url"] = links["html_url"]
    repo.tables["pulls"][number] = pull = {
        "id": identity,
        "node_id": f"PR_{identity}",
        "number": number,
        **links,
        **snapshot(answers.PULL_DEFAULTS),
        "draft": bool(body.get("draft")),
        "maintainer_can_modify": bool(body.get("maintainer_can_modify", head_repo is not repo)),
        "head": side(state, head_repo, branch, head),
        "base": side(state, repo, body["base"], base),
    }
    repo.pushers[number] = actor.login
    judge(state, repo, pull)
    if not pull["draft"]:
        ask_owners(state, repo, pull, actor)
    tell(state, repo, pull, actor, "opened")
    return view(state, repo, number, full=True)


def ask_owners(state: State, repo: Repo, pull: Json, author: Actor) -> None:
    """Ask the code owners of what it changes for a review."""
    owners = sorted({owner for each in rules.code_owners(repo, pull) for owner in each} - {author.login})
    pull["requested_reviewers"] = [state.account(owner) for owner in owners if owner in repo.roles]
    pull["requested_teams"] = [team(state, repo, owner.split("/")[1]) for owner in owners if owner in state.teams]


def team(state: State, repo: Repo, slug: str) -> Json:
    url, number = f"{state.api_url}/orgs/{repo.owner}/teams/{slug}", next(state.ids)
    return {
        **{"id": number, "node_id": f"T_{number}", "name": slug, "slug": slug, "description": "", "parent": None},
        **{"privacy": "closed", "notification_setting": "notifications_enabled", "permission": "push"},
        **{"url": url, "html_url": f"{state.url}/orgs/{repo.owner}/teams/{slug}"},
        **{"members_url": url + "/members{/member}", "repositories_url": f"{url}/repos", "type": "organization"},
        "organization_id": repo.info["owner"]["id"],
    }


def refused_pull(message: str) -> Refused:
    return Refused(422, "Validation Failed", {"resource": "PullRequest", "code": "custom", "message": message})


def fork_of(state: State, repo: Repo, owner: str) -> Repo | None:
    """The owner's repository in the network of this one."""
    network = [each for each in state.repositories.values() if each is repo or each.info.get("parent") is repo.info]
    return next((each for each in network if each.owner == owner), None)


def side(state: State, repo: Repo, branch: str, sha: str) -> Json:
    user = state.account(repo.owner)
    return {"label": f"{repo.owner}:{branch}", "ref": branch, "sha": sha, "user": user, "repo": repo.info}


def new_issue(state: State, repo: Repo, actor: Actor, number: int, body: Json) -> Json:
    """The row that an issue is and that a pull request shares."""
    url = f"{repo.api}/issues/{number}"
    repo.tables["issues"][number] = issue = {
        "id": next(state.ids),
        "node_id": f"I_{number}",
        "number": number,
        "url": url,
        "repository_url": repo.api,
        "labels_url": url + "/labels{/name}",
        **{f"{name}_url": f"{url}/{name}" for name in ("comments", "events")},
        "html_url": f"{repo.info['html_url']}/issues/{number}",
        **snapshot(answers.ISSUE_DEFAULTS),
        **{"user": state.account(actor.login), "created_at": state.now(), "updated_at": state.now()},
        **{"title": body["title"], "body": body.get("body")},
    }
    return issue


def tell(state: State, repo: Repo, pull: Json, actor: Actor, action: str, **more: object) -> None:
    number = pull["number"]
    merged = {"ref": f"refs/heads/{pull['base']['ref']}", "sha": pull["merge_commit_sha"]}
    where = merged if pull["merged"] else {"ref": f"refs/pull/{number}/merge", "sha": pull["merge_commit_sha"]}
    shown = {"number": number, "pull_request": view(state, repo, number, full=True)}
    state.emit(repo, "pull_request", actor, {"action": action, **shown, **more}, **where)


def bring_head(repo: Repo, head_repo: Repo, number: int, branch: str) -> None:
    """refs/pull/N/head, with its commits where they lie in a fork."""
    refs = f"+refs/heads/{branch}:refs/pull/{number}/head"
    repo.git("fetch", "--quiet", "--no-tags", str(head_repo.git.path.resolve()), refs)


def judge(state: State, repo: Repo, pull: Json) -> None:
    """Whether git can merge it, and refs/pull/N/merge."""
    base, head, number = pull["base"], pull["head"], pull["number"]
    tree = repo.git.merged_tree(base["sha"], head["sha"])
    pull["mergeable"] = pull["rebaseable"] = tree is not None
    pull["merge_commit_sha"] = None
    if tree:
        message, github = f"Merge {head['sha']} into {base['sha']}", state.committer
        merge = repo.git.commit(tree, [base["sha"], head["sha"]], message, github, github)
        repo.git.update(f"refs/pull/{number}/merge", merge)
        pull["merge_commit_sha"] = merge


@contextmanager
def refs_moving(state: State, repo: Repo, actor: Actor) -> Iterator[None]:
    """Around whatever changes refs: afterwards tells of it, and brings the pull requests in line."""
    before = repo.git.refs()
    yield
    after = repo.git.refs()
    changed = [ref for ref in sorted({*before, *after}) if before.get(ref) != after.get(ref)]
    refs = [ref for ref in changed if not ref.startswith("refs/pull/")]
    for ref in refs:
        tell_push(state, repo, actor, ref, before.get(ref, NOBODY), after.get(ref, NOBODY))
    for base_repo in state.repositories.values():
        for number, pull in list(base_repo.tables["pulls"].items()):
            sides = [f"refs/heads/{pull[side]['ref']}" for side in ("head", "base") if pull[side]["repo"] is repo.info]
            if base_repo.row("issues", number)["state"] == "open" and set(sides) & set(refs):
                follow(state, base_repo, pull, actor)


def tell_push(state: State, repo: Repo, actor: Actor, ref: str, before: str, after: str) -> None:
    repo.info["pushed_at"] = state.now()
    kind, name = ("tag", ref[10:]) if ref.startswith("refs/tags/") else ("branch", ref[11:])
    if after == NOBODY:
        state.emit(repo, "delete", actor, {"ref": name, "ref_type": kind})
        return
    new = before == NOBODY
    commits = [] if kind == "tag" else repo.git.commits(after if new else f"{before}..{after}", "-20")
    pushed = [{"id": each["sha"], "tree_id": each["tree"], "message": each["message"]} for each in reversed(commits)]
    payload = {
        "ref": ref,
        "before": before,
        "after": after,
        "created": new,
        "deleted": False,
        "forced": not new and kind == "branch" and not repo.git.is_ancestor(before, after),
        "commits": pushed,
        "head_commit": pushed[-1] if pushed else None,
        "pusher": {"name": actor.login},
    }
    state.emit(repo, "push", actor, payload, ref=ref, sha=repo.git.resolve(ref) or after)
    if new:
        state.emit(repo, "create", actor, {"ref": name, "ref_type": kind}, ref=ref, sha=after)


def follow(state: State, repo: Repo, pull: Json, actor: Actor) -> None:
    """Bring an open pull request in line with its two branches."""
    head_repo = state.repositories[pull["head"]["repo"]["full_name"]]
    head = head_repo.git.resolve(f"refs/heads/{pull['head']['ref']}")
    base = repo.git.resolve(f"refs/heads/{pull['base']['ref']}")
    if not head or not base:
        close(state, repo, pull, actor)
        return
    if not repo.git.is_ancestor(pull["base"]["sha"], base):
        note(state, repo, pull, actor, "base_ref_force_pushed")
    before, pull["head"]["sha"], pull["base"]["sha"] = pull["head"]["sha"], head, base
    bring_head(repo, head_repo, pull["number"], pull["head"]["ref"])
    if repo.git.is_ancestor(head, base):
        close(state, repo, pull, actor, merged=base if head == before else "")
        return
    judge(state, repo, pull)
    if head != before:
        repo.pushers[pull["number"]] = actor.login
        repo.row("issues", pull["number"])["updated_at"] = state.now()
        dismiss_stale(repo, pull)
        tell(state, repo, pull, actor, "synchronize", before=before, after=head)


def retarget(state: State, repo: Repo, pull: Json, actor: Actor, branch: str, event: str) -> None:
    """Give a pull request another base, as people do, or as GitHub does where that was merged and deleted."""
    old, sha = pull["base"], repo.git.resolve(f"refs/heads/{branch}")
    assert sha
    pull["base"] = side(state, repo, branch, sha)
    judge(state, repo, pull)
    note(state, repo, pull, actor, event)
    changes = {"base": {name: {"from": old[name]} for name in ("ref", "sha")}}
    tell(state, repo, pull, actor, "edited", changes=changes)


def note(state: State, repo: Repo, pull: Json, actor: Actor, event: str) -> None:
    """A line of the timeline that people read."""
    said = {"event": event, "actor": state.account(actor.login), "commit_id": None, "commit_url": None}
    state.new(repo, "timeline", "issues/events/{id}", said | {"issue_url": repo.row("issues", pull["number"])["url"]})


def dismiss_stale(repo: Repo, pull: Json) -> None:
    asked = [rule["parameters"] for rule in rules.of_branch(repo, pull["base"]["ref"], "pull_request")]
    if any(each["dismiss_stale_reviews_on_push"] for each in asked):
        for review in repo.rows("reviews", pull_request_url=pull["url"], state="APPROVED"):
            review["state"] = "DISMISSED"


def close(state: State, repo: Repo, pull: Json, actor: Actor, merged: str = "") -> None:
    """Close it; merged: the commit by which its base took it."""
    issue = repo.row("issues", pull["number"])
    mark_closed(state, issue, actor)
    repo.auto_merges.pop(pull["number"], None)
    if merged:
        by = state.account(actor.login)
        pull |= {"merged": True, "merged_at": state.now(), "merged_by": by, "merge_commit_sha": merged}
        pull["mergeable"] = None
        issue["pull_request"]["merged_at"] = pull["merged_at"]
    tell(state, repo, pull, actor, "closed")


def mark_closed(state: State, issue: Json, actor: Actor, reason: str | None = None) -> None:
    now = state.now()
    issue |= {"state": "closed", "state_reason": reason, "closed_at": now, "updated_at": now}
    issue["closed_by"] = state.account(actor.login)


def merge(state: State, repo: Repo, actor: Actor, number: int, body: Json) -> Json:
    """Merge as asked, or raise Refused: 405 where git or a rule forbids it, 409 where the head has moved."""
    pull, issue = repo.row("pulls", number), repo.row("issues", number)
    method = body.get("merge_method", "merge")
    head, base = pull["head"], pull["base"]
    if refusal := method_refusal(repo, method, base["ref"]):
        raise Refused(405, refusal)
    if issue["state"] == "closed" or pull["draft"] or not pull["mergeable"]:
        raise Refused(405, "Pull Request is not mergeable")
    if body.get("sha", head["sha"]) != head["sha"]:
        raise Refused(409, "Head branch was modified. Review and try the merge again.")
    refusals = [*rules.blockers(state, repo, pull, actor)]
    if (queue := rules.queue(repo, base["ref"])) and not rules.bypasses(state, repo, queue, actor):
        refusals.insert(0, "Changes must be made through the merge queue")
    if refusals:
        raise Refused(405, "Repository rule violations found\n\n" + "".join(f"{each}\n\n" for each in refusals))
    sha = merged_commit(state, repo, pull, issue, actor, body)
    if not sha:
        raise Refused(405, "This branch can't be rebased")
    with refs_moving(state, repo, actor):
        repo.git.update(f"refs/heads/{base['ref']}", sha)
        finish_merge(state, repo, pull, actor, sha)
    return {"sha": sha, "merged": True, "message": "Pull Request successfully merged"}


def finish_merge(state: State, repo: Repo, pull: Json, actor: Actor, sha: str) -> None:
    close(state, repo, pull, actor, merged=sha)
    if repo.info["delete_branch_on_merge"] and pull["head"]["repo"] is repo.info:
        for other in repo.rows("pulls"):
            is_open = repo.row("issues", other["number"])["state"] == "open"
            if is_open and other["base"]["ref"] == pull["head"]["ref"]:
                retarget(state, repo, other, actor, pull["base"]["ref"], "automatic_base_change_succeeded")
        repo.git.update(f"refs/heads/{pull['head']['ref']}", None)


def method_refusal(repo: Repo, method: str, branch: str) -> str:
    """Why the repository, or a rule of the branch, takes no merges of this method; empty where both do."""
    kind = {"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}[method]
    if not repo.info[{"merge": "allow_merge_commit"}.get(method, f"allow_{method}_merge")]:
        return f"{kind} are not allowed on this repository."
    return "" if method in rules.methods(repo, branch) else f"{kind} are not allowed on this branch."


def enable_auto_merge(state: State, repo: Repo, actor: Actor, number: int, body: Json) -> Json:
    """Merge or queue it in the actor's name as soon as the rules allow. Raises Refused as GitHub does."""
    pull, method = repo.row("pulls", number), body["merge_method"]
    refusals = {
        "Auto merge is not allowed for this repository": not repo.info["allow_auto_merge"],
        "Can't enable auto-merge for this pull request": repo.row("issues", number)["state"] == "closed",
        (refused := method_refusal(repo, method, pull["base"]["ref"])): refused,
        "Head branch was modified. Review and try the merge again.": body["sha"] not in (None, pull["head"]["sha"]),
    }
    status, queue = merge_state(state, repo, pull), rules.queue(repo, pull["base"]["ref"])
    refusals[f"Pull request is in {status} status"] = status in ("draft", *(() if queue else ("clean", "unstable")))
    if refusal := next((words for words, holds in refusals.items() if holds), ""):
        raise Refused(422, refusal)
    repo.auto_merges[number] = actor
    wishes = {name: body[name] for name in ("merge_method", "commit_title", "commit_message")}
    pull["auto_merge"] = {"enabled_by": state.account(actor.login), **wishes}
    tell(state, repo, pull, actor, "auto_merge_enabled")
    return pull


def merged_commit(
    state: State, repo: Repo, pull: Json, issue: Json, actor: Actor, body: Json, onto: str = ""
) -> str | None:
    """The commit that the base, or what it is put onto, will point at, with GitHub's messages. None on a conflict."""
    git, method, number = repo.git, body.get("merge_method", "merge"), pull["number"]
    base, head = onto or pull["base"]["sha"], pull["head"]["sha"]
    person = state.identity(actor.login)
    if method == "rebase":
        return git.rebased(base, head, person)
    tree = git.merged_tree(base, head)
    if not tree:
        return None
    title, text = issue["title"], ""
    if method == "squash":
        commits = [commit["message"] for commit in reversed(git.commits(f"{base}..{head}", "--no-merges"))]
        if len(commits) == 1:
            title, _, text = commits[0].partition("\n\n")
        else:
            text = "\n\n".join(f"* {message}" for message in commits)
        title, person = f"{title} (#{number})", state.identity(issue["user"]["login"])
    else:
        title, text = f"Merge pull request #{number} from {pull['head']['label'].replace(':', '/', 1)}", title
    title, text = body.get("commit_title") or title, body.get("commit_message", text)
    parents = [base] if method == "squash" else [base, head]
    return git.commit(tree, parents, f"{title}\n\n{text}".strip(), person, state.committer)


def merge_state(state: State, repo: Repo, pull: Json) -> str:
    """GitHub's mergeable_state; nobody's bypass is counted."""
    if pull["merged"] or repo.row("issues", pull["number"])["state"] == "closed":
        return "unknown"
    if not pull["mergeable"]:
        return "dirty"
    if pull["draft"]:
        return "draft"
    found = [*rules.blockers(state, repo, pull, None)]
    if found:
        return "behind" if found == [rules.OUT_OF_DATE] else "blocked"
    checks = rules.check_states(repo, pull["head"]["sha"])
    return "clean" if all(verdict in rules.PASSED for _, _, verdict in checks) else "unstable"
