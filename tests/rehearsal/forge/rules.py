"""The rules of a branch or a tag: who may move it, and what a merge still waits for."""

import fnmatch
import re
from collections.abc import Iterator

import pathspec

from .answers import Json
from .state import ROLES, Actor, Repo, State, login_of

ADMIN_ROLE = 5  # the id of the repository role "admin" in a ruleset's bypass_actors
BY_REQUEST_ONLY = ("pull_request", "required_status_checks", "merge_queue")
REQUEST_IT = "Changes must be made through a pull request."
NO_UPDATE = "Cannot update this protected ref."
NO_FORCE = "Cannot force-push to this branch"
PASSED = ("success", "neutral", "skipped")
NO_OWNER = "make sure it is a user, a team or an email address"
OUT_OF_DATE = "Head branch is out of date. Review and try the merge again."


def compared(repo: Repo, pull: Json) -> tuple[str, str]:
    """The two commits whose difference a pull request shows: the merge base and the head."""
    return repo.git("merge-base", pull["base"]["sha"], pull["head"]["sha"]), pull["head"]["sha"]


def blockers(state: State, repo: Repo, pull: Json, actor: Actor | None) -> Iterator[str]:
    """What the rules of the base branch still ask for."""
    for rule in of_branch(repo, pull["base"]["ref"]):
        asked = rule.get("parameters", {})
        if bypasses(state, repo, rule, actor):
            continue
        if rule["type"] == "update":
            yield NO_UPDATE
        if rule["type"] == "pull_request":
            yield from missing_reviews(state, repo, pull, asked)
        if rule["type"] == "required_status_checks":
            for name, word in unmet_checks(repo, pull["head"]["sha"], asked):
                yield f'Required status check "{name}" is {word}.'
            if asked.get("strict_required_status_checks_policy") and is_behind(repo, pull):
                yield OUT_OF_DATE


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
    author = login_of(repo.row("issues", pull["number"])["user"])
    given = [(login_of(row["user"]), row["state"]) for row in repo.rows("reviews", pull_request_url=pull["url"])]
    return {
        login: verdict
        for login, verdict in given
        if verdict not in ("COMMENTED", "PENDING")
        and login != author
        and state.level(repo, Actor(login)) >= ROLES.index("write")
    }


def code_owners(repo: Repo, pull: Json) -> set[frozenset[str]]:
    """The owners of each changed file, after the base's CODEOWNERS, where the last matching line wins."""
    _, text = owners_file(repo, pull["base"]["sha"]) or ("", "")
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    owned = [(pathspec.PathSpec.from_lines("gitignore", words[:1]), words[1:]) for words in lines if words]
    changed = {file["filename"] for file in repo.git.files(*compared(repo, pull))}
    last = [next((owners for spec, owners in reversed(owned) if spec.match_file(name)), []) for name in changed]
    return {frozenset(owner.removeprefix("@") for owner in owners) for owners in last if owners}


def owners_file(repo: Repo, sha: str) -> tuple[str, str] | None:
    """Path and text of the CODEOWNERS that counts in a commit."""
    files = {file["path"]: file["sha"] for file in repo.git.tree(sha, "-r")}
    places = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
    return next(((path, repo.git.read(files[path]).decode()) for path in places if path in files), None)


def owners_errors(state: State, repo: Repo, path: str, text: str) -> Iterator[Json]:
    """What is wrong with the owners that a CODEOWNERS names, as GitHub says it."""
    for number, line in enumerate(text.splitlines(), 1):
        for owner in [*re.finditer(r"\S+", line.partition("#")[0])][1:]:
            if advice := owner_advice(state, repo, owner[0]):
                kind = "Invalid owner" if advice == NO_OWNER else "Unknown owner"
                message = f"{kind} on line {number}: {advice}\n\n  {line}\n  {' ' * owner.start()}^"
                where = {"line": number, "column": owner.start() + 1, "source": line, "path": path}
                yield where | {"kind": kind, "suggestion": advice, "message": message}


def owner_advice(state: State, repo: Repo, owner: str) -> str:
    """What to do about an owner; empty where it is one."""
    name = owner.removeprefix("@")
    if re.fullmatch(r"[^@\s]+@[^@\s]+", owner) or name in state.teams:
        return ""
    if not re.fullmatch(r"@[\w-]+(/[\w-]+)?", owner):
        return NO_OWNER
    if "/" in name:
        return f"make sure the team {owner} exists, is publicly visible, and has write access to the repository"
    writes = state.level(repo, Actor(name)) >= ROLES.index("write")
    return "" if writes else f"make sure {owner} exists and has write access to the repository"


def unmet_checks(repo: Repo, sha: str, asked: Json) -> Iterator[tuple[str, str]]:
    """Each required check that the commit has not passed: expected, pending or failing."""
    states = check_states(repo, sha)
    for check in asked["required_status_checks"]:
        name, app = check["context"], check.get("integration_id")
        verdicts = [verdict for context, by, verdict in states if context == name and app in (None, by)]
        if not verdicts:
            yield name, "expected"
        elif any(verdict not in PASSED for verdict in verdicts):
            yield name, "pending" if "pending" in verdicts else "failing"


def verdict(repo: Repo, branch: str, sha: str) -> str:
    """Whether a commit passes all required checks of a branch: success, pending or failure."""
    asked = [rule["parameters"] for rule in of_branch(repo, branch, "required_status_checks")]
    words = {word for each in asked for _, word in unmet_checks(repo, sha, each)}
    return "failure" if "failing" in words else "pending" if words else "success"


def is_behind(repo: Repo, pull: Json) -> bool:
    """Whether it lacks commits of its base; where there is a queue nobody asks, as groups are on top of the base."""
    branch = pull["base"]["ref"]
    tip = repo.git.resolve(f"refs/heads/{branch}")
    return tip is not None and not queue(repo, branch) and not repo.git.is_ancestor(tip, pull["head"]["sha"])


def queue(repo: Repo, branch: str) -> Json | None:
    """The rule that asks for a merge queue."""
    return next(iter(of_branch(repo, branch, "merge_queue")), None)


def check_states(repo: Repo, sha: str) -> set[tuple[str, int | None, str]]:
    """(name, App's id, verdict) of a commit's newest check runs and statuses, those of dispatched runs left out."""
    dispatched = {run["check_suite_id"] for run in repo.rows("runs", event="workflow_dispatch")}
    newest: dict[tuple[str, int | None], str] = {}
    for check in repo.rows("check_runs", head_sha=sha):
        if check["check_suite"]["id"] not in dispatched:
            newest[check["name"], check["app"]["id"]] = check["conclusion"] or "pending"
    for status in repo.rows("statuses", sha=sha):
        newest[status["context"], repo.status_apps.get(status["id"])] = status["state"]
    return {(name, app, verdict) for (name, app), verdict in newest.items()}


def of_branch(repo: Repo, branch: str, kind: str = "") -> list[Json]:
    """The rules of a branch, all or those of a kind."""
    return of_ref(repo, f"refs/heads/{branch}", kind)


def of_ref(repo: Repo, ref: str, kind: str = "") -> list[Json]:
    """The rules, all or those of a kind, of the active rulesets that name a branch or a tag."""

    def named(patterns: list[str]) -> bool:
        default = f"refs/heads/{repo.info['default_branch']}"
        short = {"~ALL"} | ({"~DEFAULT_BRANCH"} if ref == default else set())
        return any(pattern in short or fnmatch.fnmatchcase(ref, pattern) for pattern in patterns)

    target = "tag" if ref.startswith("refs/tags/") else "branch"
    return [
        rule | {"ruleset_source_type": "Repository", "ruleset_source": repo.name, "ruleset_id": ruleset["id"]}
        for ruleset in repo.rows("rulesets", enforcement="active", target=target)
        if named(ruleset["conditions"]["ref_name"]["include"])
        and not named(ruleset["conditions"]["ref_name"].get("exclude", []))
        for rule in ruleset["rules"]
        if kind in ("", rule["type"])
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


def refusal(state: State, repo: Repo, actor: Actor, ref: str, new: str | None) -> str:
    """Why the actor may not point a ref at a commit, or remove it (None); empty where they may.

    A push brings the commit along: one that is not here yet is not asked whether the old one is behind it.
    """
    old = repo.git.refs(ref).get(ref)
    if ref in (f"refs/tags/{release['tag_name']}" for release in repo.rows("releases", immutable=True)):
        return "Cannot change the tag of an immutable release."
    kinds = {"deletion": "Cannot delete this protected ref."} if not new else {"creation": "Cannot create this ref."}
    if old and new:
        kinds = {"update": NO_UPDATE}
        if repo.git.resolve(new) and not repo.git.is_ancestor(old, new):
            kinds["non_fast_forward"] = NO_FORCE
    if old:
        kinds |= dict.fromkeys(BY_REQUEST_ONLY, REQUEST_IT)
    asked = [rule for rule in of_ref(repo, ref) if rule["type"] in kinds and not bypasses(state, repo, rule, actor)]
    return next((kinds[rule["type"]] for rule in asked), "")


def fast_forward_only(state: State, repo: Repo, actor: Actor) -> list[str]:
    """The refs that the actor may not force."""
    return [
        ref
        for ref in repo.git.refs()
        if any(not bypasses(state, repo, rule, actor) for rule in of_ref(repo, ref, "non_fast_forward"))
    ]


def methods(repo: Repo, branch: str) -> set[str]:
    """The merge methods that every rule of a branch allows."""
    allowed = {"merge", "squash", "rebase"}
    for rule in of_branch(repo, branch, "pull_request"):
        allowed &= set(rule["parameters"].get("allowed_merge_methods") or allowed)
    return allowed
