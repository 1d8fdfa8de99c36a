"""Pull requests: they follow their branches, and merge when git and the rules allow."""

import fnmatch
from collections.abc import Iterator
from contextlib import contextmanager

import pathspec

from . import answers
from .answers import Json
from .git import NOBODY
from .state import ROLES, Actor, Refused, Repo, State, invalid

SHARED = "title body body_html body_text state locked active_lock_reason user labels milestone assignee assignees"
SHARED_FIELDS = (*SHARED.split(), "created_at", "updated_at", "closed_at", "author_association")
ADMIN_ROLE = 5  # the id of the repository role "admin" in a ruleset's bypass_actors
PASSED = ("success", "neutral", "skipped")


def view(state: State, repo: Repo, number: int, *, full: bool = False) -> Json:
    """The answer about a pull request; full with what only a single one carries."""
    pull, issue = repo.row("pulls", number), repo.row("issues", number)
    seen = {**{name: issue[name] for name in SHARED_FIELDS}, **pull, "mergeable_state": merge_state(state, repo, pull)}
    if full:
        files = repo.git.files(*merge_base_and_head(repo, pull))
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


def merge_base_and_head(repo: Repo, pull: Json) -> tuple[str, str]:
    return repo.git("merge-base", pull["base"]["sha"], pull["head"]["sha"]), pull["head"]["sha"]


def create(state: State, repo: Repo, actor: Actor, body: Json) -> Json:
    """Open a pull request. Raises Refused as GitHub does."""
    may = repo.workflow_permissions["can_approve_pull_request_reviews"]
    if actor.is_actions and not may:
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
    number = next(repo.numbers)
    bring_head(repo, head_repo, number, branch)
    if repo.git.is_ancestor(head, base):
        raise refused_pull(f"No commits between {body['base']} and {branch}")
    links = answers.pull_links(repo.info, number)
    issue = new_issue(state, repo, actor, number, body)
    issue["pull_request"] = {name: links[name] for name in ("url", "html_url", "diff_url", "patch_url")}
    issue["pull_request"]["merged_at"] = None
    issue["html_url"] = links["html_url"]
    repo.tables["pulls"][number] = pull = {
        "id": next(state.ids),
        "node_id": f"PR_{number}",
        "number": number,
        **links,
        **answers.PULL_DEFAULTS,
        "draft": bool(body.get("draft")),
        "maintainer_can_modify": bool(body.get("maintainer_can_modify", head_repo is not repo)),
        "head": side(state, head_repo, branch, head),
        "base": side(state, repo, body["base"], base),
    }
    repo.pushers[number] = actor.login
    judge(state, repo, pull)
    tell(state, repo, pull, actor, "opened")
    return view(state, repo, number, full=True)


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
    """The row that an issue is and a pull request shares; labels that do not exist yet are made."""
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
        **answers.ISSUE_DEFAULTS,
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
    if tree:
        message = f"Merge {head['sha']} into {base['sha']}"
        committer = state.committer
        merge = repo.git.commit(tree, [base["sha"], head["sha"]], message, committer, committer)
        repo.git.update(f"refs/pull/{number}/merge", merge)
        pull["merge_commit_sha"] = merge
    else:
        pull["merge_commit_sha"] = None


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


def dismiss_stale(repo: Repo, pull: Json) -> None:
    if any(rule["parameters"].get("dismiss_stale_reviews_on_push") for rule in rules(repo, pull, "pull_request")):
        for review in repo.rows("reviews", pull_request_url=pull["url"], state="APPROVED"):
            review["state"] = "DISMISSED"


def close(state: State, repo: Repo, pull: Json, actor: Actor, merged: str = "") -> None:
    """Close it; merged: the commit by which its base took it."""
    issue = repo.row("issues", pull["number"])
    mark_closed(state, issue, actor)
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
    if not repo.info[{"merge": "allow_merge_commit"}.get(method, f"allow_{method}_merge")]:
        kind = {"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}[method]
        raise Refused(405, f"{kind} are not allowed on this repository.")
    if issue["state"] == "closed" or pull["draft"] or not pull["mergeable"]:
        raise Refused(405, "Pull Request is not mergeable")
    if body.get("sha", head["sha"]) != head["sha"]:
        raise Refused(409, "Head branch was modified. Review and try the merge again.")
    refusals = [*blockers(state, repo, pull, actor)]
    if refusals:
        raise Refused(405, "Repository rule violations found\n\n" + "".join(f"{each}\n\n" for each in refusals))
    sha = merged_commit(state, repo, pull, issue, actor, body)
    if not sha:
        raise Refused(405, "This branch can't be rebased")
    with refs_moving(state, repo, actor):
        repo.git.update(f"refs/heads/{base['ref']}", sha)
        close(state, repo, pull, actor, merged=sha)
        if repo.info["delete_branch_on_merge"] and head["repo"] is repo.info:
            repo.git.update(f"refs/heads/{head['ref']}", None)
    return {"sha": sha, "merged": True, "message": "Pull Request successfully merged"}


def merged_commit(state: State, repo: Repo, pull: Json, issue: Json, actor: Actor, body: Json) -> str | None:
    """The commit that the base will point at, with GitHub's default messages. None where a rebase conflicts."""
    git, method, number = repo.git, body.get("merge_method", "merge"), pull["number"]
    base, head = pull["base"]["sha"], pull["head"]["sha"]
    person = state.identity(actor.login)
    if method == "rebase":
        return git.rebased(base, head, person)
    tree = git.merged_tree(base, head)
    assert tree
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
    found = [*blockers(state, repo, pull, None)]
    if found:
        return "behind" if found == [OUT_OF_DATE] else "blocked"
    checks = check_states(repo, pull["head"]["sha"])
    return "clean" if all(verdict in PASSED for _, _, verdict in checks) else "unstable"


OUT_OF_DATE = "Head branch is out of date. Review and try the merge again."


def blockers(state: State, repo: Repo, pull: Json, actor: Actor | None) -> Iterator[str]:
    """What the rules of the base branch still ask for."""
    for rule in rules(repo, pull):
        asked = rule.get("parameters", {})
        if bypasses(state, repo, rule, actor):
            continue
        if rule["type"] == "pull_request":
            yield from missing_reviews(state, repo, pull, asked)
        if rule["type"] == "required_status_checks":
            yield from missing_checks(repo, pull, asked)


def missing_reviews(state: State, repo: Repo, pull: Json, asked: Json) -> Iterator[str]:
    verdicts = review_verdicts(state, repo, pull)
    approvers = {login for login, verdict in verdicts.items() if verdict == "APPROVED"}
    if asked.get("require_last_push_approval"):
        approvers.discard(repo.pushers[pull["number"]])
    count = asked.get("required_approving_review_count", 0)
    if count and "CHANGES_REQUESTED" in verdicts.values():
        yield "Changes were requested by a reviewer with write access."
    if len(approvers) < count:
        word = f"{count} approving review{'s are' if count > 1 else ' is'}"
        yield f"At least {word} required by reviewers with write access."
    if asked.get("require_code_owner_review"):
        for owners in sorted(code_owners(repo, pull), key=sorted):
            members = {member for owner in owners for member in state.teams.get(owner, {owner})}
            if not members & approvers:
                yield f"Waiting on code owner review from {', '.join(sorted(owners))}."


def review_verdicts(state: State, repo: Repo, pull: Json) -> dict[str, str]:
    """The newest verdict of each reviewer with write access; the author's own does not count."""
    author = repo.row("issues", pull["number"])["user"]["login"]
    return {
        review["user"]["login"]: review["state"]
        for review in repo.rows("reviews", pull_request_url=pull["url"])
        if review["state"] not in ("COMMENTED", "PENDING")
        and review["user"]["login"] != author
        and state.level(repo, Actor(review["user"]["login"])) >= ROLES.index("write")
    }


def code_owners(repo: Repo, pull: Json) -> set[frozenset[str]]:
    """The owners of each changed file, after the base's CODEOWNERS, where the last matching line wins."""
    files = repo.git.tree(pull["base"]["sha"], "-r")
    places = [".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"]
    found = sorted((places.index(file["path"]), file["sha"]) for file in files if file["path"] in places)
    if not found:
        return set()
    lines = [line.partition("#")[0].split() for line in repo.git.read(found[0][1]).decode().splitlines()]
    owned = [(pathspec.PathSpec.from_lines("gitignore", words[:1]), words[1:]) for words in lines if words]
    changed = {file["filename"] for file in repo.git.files(*merge_base_and_head(repo, pull))}
    last = [next((owners for spec, owners in reversed(owned) if spec.match_file(name)), []) for name in changed]
    return {frozenset(owner.removeprefix("@") for owner in owners) for owners in last if owners}


def missing_checks(repo: Repo, pull: Json, asked: Json) -> Iterator[str]:
    states = check_states(repo, pull["head"]["sha"])
    for check in asked["required_status_checks"]:
        name, app = check["context"], check.get("integration_id")
        verdicts = [verdict for context, by, verdict in states if context == name and app in (None, by)]
        if not verdicts:
            yield f'Required status check "{name}" is expected.'
        elif any(verdict not in PASSED for verdict in verdicts):
            yield f'Required status check "{name}" is {"pending" if "pending" in verdicts else "failing"}.'
    tip = repo.git.resolve(f"refs/heads/{pull['base']['ref']}")
    strict = asked.get("strict_required_status_checks_policy")
    if strict and tip and not repo.git.is_ancestor(tip, pull["head"]["sha"]):
        yield OUT_OF_DATE


def check_states(repo: Repo, sha: str) -> set[tuple[str, int | None, str]]:
    """(name, App's id, verdict) of a commit's newest check runs and statuses, those of dispatched runs left out."""
    dispatched = {run["check_suite_id"] for run in repo.rows("runs", event="workflow_dispatch")}
    newest: dict[tuple[str, int | None], str] = {}
    for check in repo.rows("check_runs", head_sha=sha):
        if check["check_suite"]["id"] not in dispatched:
            newest[check["name"], check["app"]["id"]] = check["conclusion"] or "pending"
    for status in repo.rows("statuses", sha=sha):
        newest[status["context"], None] = status["state"]
    return {(name, app, verdict) for (name, app), verdict in newest.items()}


def rules(repo: Repo, pull: Json, kind: str = "") -> list[Json]:
    found = rules_of(repo, pull["base"]["ref"])
    return [rule for rule in found if rule["type"] == kind] if kind else found


def rules_of(repo: Repo, branch: str) -> list[Json]:
    """The rules of the active rulesets that name a branch."""

    def named(patterns: list[str]) -> bool:
        short = {"~ALL"} | ({"~DEFAULT_BRANCH"} if branch == repo.info["default_branch"] else set())
        return any(pattern in short or fnmatch.fnmatch(f"refs/heads/{branch}", pattern) for pattern in patterns)

    return [
        rule | {"ruleset_source_type": "Repository", "ruleset_source": repo.name, "ruleset_id": ruleset["id"]}
        for ruleset in repo.rows("rulesets", enforcement="active", target="branch")
        if named(ruleset["conditions"]["ref_name"]["include"])
        and not named(ruleset["conditions"]["ref_name"].get("exclude", []))
        for rule in ruleset["rules"]
    ]


def bypasses(state: State, repo: Repo, rule: Json, actor: Actor | None) -> bool:
    """Whether a ruleset lets the actor pass."""
    if actor is None:
        return False
    ruleset = repo.row("rulesets", rule["ruleset_id"])
    admin = actor.permissions is None and repo.roles.get(actor.login) == "admin"
    return any(
        (by["actor_type"] == "Integration" and by["actor_id"] == actor.app)
        or (by["actor_type"] == "RepositoryRole" and by["actor_id"] == ADMIN_ROLE and admin)
        or (by["actor_type"] == "OrganizationAdmin" and actor.login == repo.owner)
        for by in ruleset.get("bypass_actors", [])
    )


def protected(state: State, repo: Repo, actor: Actor) -> list[str]:
    """The branches that the actor may change by a pull request only."""
    return [
        ref
        for ref in repo.git.refs("refs/heads/")
        if any(
            rule["type"] in ("pull_request", "required_status_checks") and not bypasses(state, repo, rule, actor)
            for rule in rules_of(repo, ref.removeprefix("refs/heads/"))
        )
    ]
