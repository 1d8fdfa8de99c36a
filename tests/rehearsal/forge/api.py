"""GitHub's REST v3, as much as the loop uses: a table of routes, one small function each."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import jwt

from . import actions, answers, pulls
from .answers import BODY_LIMIT, Json
from .git import GitError
from .state import ROLES, Actor, Installed, Refused, Repo, State, invalid, present, underscored


@dataclass
class Call:
    """A request, who makes it, and the repository that it is about."""

    state: State
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    content: bytes
    actor: Actor = field(default_factory=lambda: Actor(""))
    app: Installed | None = None
    repo: Repo = None  # type: ignore[assignment]  # set before a handler of a route with {repo} runs

    @property
    def body(self) -> Json:
        try:
            body = json.loads(self.content or b"{}")
        except ValueError:
            raise Refused(400, "Problems parsing JSON") from None
        return body if isinstance(body, dict) else {"labels": body}

    @property
    def raw(self) -> bool:
        return "raw" in self.headers.get("accept", "")

    def user(self) -> Json:
        return self.state.account(self.actor.login)

    def emit(self, name: str, ref: str = "", sha: str = "", **payload: Any) -> None:
        self.state.emit(self.repo, name, self.actor, payload, ref=ref, sha=sha)

    def need(self, resource: str, *names: str) -> Json:
        """The body, with all named fields there and a text that is not too long."""
        body = self.body
        for name in names:
            if not body.get(name):
                raise invalid(resource, name, "missing_field")
        if len(body.get("body") or "") > BODY_LIMIT and resource != "Release":
            limit = f"body is too long (maximum is {BODY_LIMIT} characters)"
            raise invalid(resource, "body", "custom", limit)
        return body


@dataclass
class Answer:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[..., Any]
ROUTES: list[tuple[str, re.Pattern[str], str, Handler]] = []
SEGMENTS = {"repo": r"[\w.-]+/[\w.-]+", "number": r"\d+", "id": r"\d+"}


def route(*specs: str, grant: str = "metadata:read") -> Callable[[Handler], Handler]:
    """Serve "METHOD /path/{part}"; `{part*}` spans slashes. grant: permission:level, `join` for what readers may do."""

    def part(match: re.Match[str]) -> str:
        name, spans = match[1], match[2]
        return f"(?P<{name}>{'.+' if spans else SEGMENTS.get(name, '[^/]+')})"

    def register(handler: Handler) -> Handler:
        for spec in specs:
            method, path = spec.split(" ")
            ROUTES.append((method, re.compile(re.sub(r"\{(\w+)(\*?)\}", part, path)), grant, handler))
        return handler

    return register


def respond(call: Call) -> Answer:
    """Authenticate, find the route, check the grant, answer; errors as GitHub words them."""
    try:
        authenticate(call)
        for method, pattern, grant, handler in ROUTES:
            match = pattern.fullmatch(call.path)
            if match and method == call.method:
                parts: dict[str, Any] = {name: unquote(value) for name, value in match.groupdict().items()}
                parts |= {name: int(parts[name]) for name in ("id", "number") if name in parts}
                if "repo" in parts:
                    call.repo = visible(call, parts.pop("repo"))
                    allow(call, grant, parts.get("number", 0))
                elif grant == "jwt" and not call.app:
                    raise Refused(401, "A JSON web token could not be decoded")
                return finish(call, handler(call, **parts))
        raise Refused(404, "Not Found")
    except Refused as refused:
        documentation = {"documentation_url": "https://docs.github.com/rest", "status": str(refused.status)}
        errors = {"errors": refused.errors} if refused.errors else {}
        return Answer(refused.status, {"message": refused.message, **errors, **documentation})
    except KeyError as missing:
        return Answer(422, {"message": f"Invalid request.\n\n{missing} wasn't supplied.", "status": "422"})
    except GitError as error:
        return Answer(422, {"message": f"Unprocessable: {error}", "documentation_url": "", "status": "422"})


def authenticate(call: Call) -> None:
    """A token, `x-access-token:token` in Basic, or an App's JSON web token; none is anonymous."""
    scheme, _, secret = call.headers.get("authorization", "").partition(" ")
    if not scheme:
        return
    if scheme.lower() == "basic":
        secret = base64.b64decode(secret).decode().partition(":")[2]
    if secret in call.state.tokens:
        call.actor = call.state.tokens[secret]
        return
    try:
        issuer = jwt.decode(secret, options={"verify_signature": False}).get("iss")
        call.app = next(app for app in call.state.apps.values() if str(issuer) in (str(app.id), app.client_id))
        jwt.decode(secret, call.app.public_key, algorithms=["RS256"], options={"require": ["exp"]}, leeway=60)
    except (jwt.InvalidTokenError, StopIteration):
        raise Refused(401, "Bad credentials") from None


def visible(call: Call, name: str) -> Repo:
    """The repository, or 404 where the caller must not know of it."""
    repo = call.state.repositories.get(name)
    if not repo or not (call.app or reaches(call.state, repo, call.actor)):
        raise Refused(404, "Not Found")
    return repo


def reaches(state: State, repo: Repo, actor: Actor) -> bool:
    if not repo.info["private"]:
        return True
    if actor.permissions is None:
        return state.level(repo, actor) > 0
    return actor.repositories is None or repo.name in actor.repositories


def allow(call: Call, grant: str, number: int = 0) -> None:
    """Raise Refused unless the actor may: an integration by its permissions, a user by the role."""
    if grant == "jwt":
        if not call.app:
            raise Refused(401, "A JSON web token could not be decoded")
        return
    names, _, level = grant.partition(":")
    if number in call.repo.tables["pulls"] and names == "issues":
        names += "|pull_requests"
    actor, open_to_all = call.actor, names in ("administration", "secrets", "actions_variables")
    if level == "read" and not call.repo.info["private"] and not open_to_all:
        return
    if not actor.login:
        raise Refused(401, "Requires authentication")
    if actor.permissions is None:
        asked = "admin" if open_to_all else {"join": "read"}.get(level, level)
        if call.state.level(call.repo, actor) < ROLES.index(asked):
            raise Refused(403, "Resource not accessible by personal access token")
        return
    granted = {actor.permissions.get(name) for name in names.split("|")}
    inside = actor.repositories is None or call.repo.name in actor.repositories
    if names != "metadata" and not (inside and granted & {"write", "admin", *(["read"] if level == "read" else [])}):
        raise Refused(403, "Resource not accessible by integration")


def finish(call: Call, result: Any) -> Answer:
    """The usual status for the method, and one page of a list."""
    if isinstance(result, Answer):
        return result
    if result is None:
        return Answer(204)
    status = 201 if call.method == "POST" else 200
    listed = next((name for name, value in result.items() if isinstance(value, list)), "") if is_page(result) else ""
    if not listed and not isinstance(result, list):
        return Answer(status, result)
    rows = result[listed] if listed else result
    size = max(1, min(int(call.query.get("per_page", 30)), 100))
    page, last = int(call.query.get("page", 1)), max(1, -(-len(rows) // size))
    kept = rows[(page - 1) * size : page * size]
    wanted = {"prev": page - 1, "next": page + 1, "last": last if page < last else 0, "first": 1 if page > 1 else 0}
    query = {**call.query, "per_page": str(size)}
    link = ", ".join(
        f'<{call.state.api_url}{call.path}?{encoded(query | {"page": str(at)})}>; rel="{name}"'
        for name, at in wanted.items()
        if 0 < at <= last
    )
    return Answer(status, {**result, listed: kept} if listed else kept, {"Link": link} if link else {})


def is_page(result: Any) -> bool:
    return isinstance(result, dict) and "total_count" in result


def encoded(query: dict[str, str]) -> str:
    return "&".join(f"{name}={quote(value)}" for name, value in query.items())


def counted(name: str, rows: list[Json]) -> Json:
    return {"total_count": len(rows), name: rows}


# Accounts, Apps and limits


@route("GET /user")
def get_user(call: Call) -> Json:
    if not call.actor.login:
        raise Refused(401, "Requires authentication")
    if call.actor.permissions is not None:
        raise Refused(403, "Resource not accessible by integration")
    return full_account(call, call.actor.login)


@route("GET /users/{login}")
def full_account(call: Call, login: str) -> Json:
    if login not in call.state.accounts:
        raise Refused(404, "Not Found")
    times = {"created_at": call.state.now(), "updated_at": call.state.now(), "blog": ""}
    return {**call.state.account(login), **answers.ACCOUNT_BLANKS, **answers.ACCOUNT_COUNTS, **times}


@route("GET /rate_limit")
def get_rate_limit(call: Call) -> Json:
    core = {"limit": 5000, "used": 1, "remaining": 4999, "reset": int(call.state.clock().timestamp()) + 3600}
    return {"resources": dict.fromkeys(("core", "search", "graphql"), core), "rate": core}


@route("GET /app", grant="jwt")
def get_app(call: Call) -> Json:
    return call.state.app_answer(call.app.id if call.app else 0)


@route("GET /repos/{repo}/installation", "GET /app/installations/{id}", grant="jwt")
def get_installation(call: Call, id: int = 0) -> Json:
    assert call.app
    if id not in (0, call.app.installation_id):
        raise Refused(404, "Not Found")
    url = f"{call.state.api_url}/app/installations/{call.app.installation_id}"
    account = call.state.account(call.repo.owner if call.repo else "github")
    return {
        "id": call.app.installation_id,
        "account": account,
        "repository_selection": "all",
        "access_tokens_url": f"{url}/access_tokens",
        "repositories_url": f"{call.state.api_url}/installation/repositories",
        "html_url": f"{call.state.url}/settings/installations/{call.app.installation_id}",
        "app_id": call.app.id,
        "client_id": call.app.client_id,
        "app_slug": call.app.slug,
        "target_id": account["id"],
        "target_type": account["type"],
        "permissions": call.app.permissions,
        "events": [],
        **{"created_at": call.state.now(), "updated_at": call.state.now()},
        **dict.fromkeys(("single_file_name", "suspended_by", "suspended_at")),
    }


@route("POST /app/installations/{id}/access_tokens", grant="jwt")
def create_installation_token(call: Call, id: int) -> Json:
    assert call.app
    if id != call.app.installation_id:
        raise Refused(404, "Not Found")
    asked = underscored(call.body.get("permissions") or call.app.permissions)
    strength = ("read", "write", "admin")
    for name, level in asked.items():
        if name not in call.app.permissions or strength.index(call.app.permissions[name]) < strength.index(level):
            raise Refused(422, "The permissions requested are not granted to this installation.")
    names = call.body.get("repositories")
    known = [name for name in call.state.repositories if names is None or name.split("/")[1] in names]
    if names is not None and len(known) < len(names):
        raise Refused(422, "There is at least one repository that does not exist or is not accessible")
    actor = Actor(f"{call.app.slug}[bot]", asked, call.app.id, None if names is None else frozenset(known))
    selection = "all" if names is None else "selected"
    expires = actions.later(call.state, hours=1)
    token = call.state.mint(actor)
    return {"token": token, "expires_at": expires, "permissions": asked, "repository_selection": selection}


# Repositories and who may do what


@route("GET /repos/{repo}")
def get_repository(call: Call) -> Json:
    level = call.state.level(call.repo, call.actor)
    names = {"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain", "admin": "admin"}
    return {
        **call.repo.info,
        "permissions": {name: level >= ROLES.index(role) for name, role in names.items()},
        "open_issues_count": len(call.repo.rows("issues", state="open")),
    }


@route("PATCH /repos/{repo}", grant="administration:write")
def update_repository(call: Call) -> Json:
    call.repo.info.update({name: value for name, value in call.body.items() if name in call.repo.info})
    return call.repo.info


@route("POST /repos/{repo}/forks", grant="contents:read")
def create_fork(call: Call) -> Answer:
    name = f"{call.actor.login}/{call.repo.info['name']}"
    if name not in call.state.repositories:
        parents = {"parent": call.repo.info, "source": call.repo.info}
        fork = call.state.repository(name, private=call.repo.info["private"], fork=True, **parents)
        fork.git("fetch", "--quiet", str(call.repo.git.path.resolve()), "+refs/heads/*:refs/heads/*")
    return Answer(202, call.state.repositories[name].info)


@route("GET /repos/{repo}/collaborators")
def list_collaborators(call: Call) -> list[Json]:
    return [{**call.state.account(login), "role_name": role} for login, role in call.repo.roles.items()]


@route("GET /repos/{repo}/collaborators/{login}")
def is_collaborator(call: Call, login: str) -> None:
    if login not in call.repo.roles:
        raise Refused(404, "Not Found")


@route("PUT /repos/{repo}/collaborators/{login}", grant="administration:write")
def add_collaborator(call: Call, login: str) -> None:
    role = call.body.get("permission", "push")
    call.repo.roles[login] = {"pull": "read", "push": "write"}.get(role) or role


@route("GET /repos/{repo}/collaborators/{login}/permission")
def get_permission(call: Call, login: str) -> Json:
    role = ROLES[call.state.level(call.repo, Actor(login))]
    legacy = {"triage": "read", "maintain": "write"}.get(role, role)
    return {"permission": legacy, "role_name": role, "user": {**call.state.account(login), "role_name": role}}


@route("GET /repos/{repo}/rulesets")
def list_rulesets(call: Call) -> list[Json]:
    hidden = ("rules", "conditions", "bypass_actors")
    return [{name: row[name] for name in row if name not in hidden} for row in call.repo.rows("rulesets")]


@route("POST /repos/{repo}/rulesets", grant="administration:write")
def create_ruleset(call: Call) -> Json:
    body = call.need("Ruleset", "name", "enforcement")
    if call.repo.rows("rulesets", name=body["name"]):
        raise Refused(422, "Validation Failed", "Name must be unique")
    check_rules(body.get("rules", []))
    defaults = {"target": "branch", "conditions": {"ref_name": {"include": [], "exclude": []}}, "rules": []}
    source = {"source_type": "Repository", "source": call.repo.name, "bypass_actors": []}
    return call.state.new(call.repo, "rulesets", "rulesets/{id}", defaults | source | body, "rules/{id}")


def check_rules(rules: list[Json]) -> None:
    """GitHub takes a rule with all of its required parameters only."""
    for rule in rules:
        missing = RULE_PARAMETERS.get(rule["type"], set()) - rule.get("parameters", {}).keys()
        if missing:
            raise Refused(
                422, "Validation Failed", f"Invalid rule '{rule['type']}': {', '.join(sorted(missing))} missing"
            )


RULE_PARAMETERS = {
    "pull_request": {
        "dismiss_stale_reviews_on_push",
        "require_code_owner_review",
        "require_last_push_approval",
        "required_approving_review_count",
        "required_review_thread_resolution",
    },
    "required_status_checks": {"required_status_checks", "strict_required_status_checks_policy"},
}


@route("GET /repos/{repo}/rulesets/{id}")
def get_ruleset(call: Call, id: int) -> Json:
    return call.repo.row("rulesets", id)


@route("PUT /repos/{repo}/rulesets/{id}", grant="administration:write")
def update_ruleset(call: Call, id: int) -> Json:
    check_rules(call.body.get("rules", []))
    call.repo.row("rulesets", id).update(call.body)
    return call.repo.row("rulesets", id)


@route("DELETE /repos/{repo}/rulesets/{id}", grant="administration:write")
def delete_ruleset(call: Call, id: int) -> None:
    del call.repo.tables["rulesets"][call.repo.row("rulesets", id)["id"]]


@route("GET /repos/{repo}/rules/branches/{branch*}")
def list_branch_rules(call: Call, branch: str) -> list[Json]:
    return pulls.rules_of(call.repo, branch)


# Branches, commits, git objects


@route("GET /repos/{repo}/branches", grant="contents:read")
def list_branches(call: Call) -> list[Json]:
    return [short_branch(call, ref[11:], sha) for ref, sha in call.repo.git.refs("refs/heads/").items()]


def short_branch(call: Call, name: str, sha: str) -> Json:
    commit = {"sha": sha, "url": f"{call.repo.api}/commits/{sha}"}
    guarded = bool(pulls.rules_of(call.repo, name))
    url = f"{call.repo.api}/branches/{name}/protection"
    return {"name": name, "commit": commit, "protected": guarded, "protection_url": url}


@route("GET /repos/{repo}/branches/{branch*}/protection", grant="administration:read")
def get_protection(call: Call, branch: str) -> Json:
    raise Refused(404, "Branch not protected")  # rulesets are the only rules here


@route("GET /repos/{repo}/branches/{branch*}", grant="contents:read")
def get_branch(call: Call, branch: str) -> Json:
    sha = call.repo.git.resolve(f"refs/heads/{branch}")
    if not sha:
        raise Refused(404, "Branch not found")
    short = short_branch(call, branch, sha)
    links = {"self": f"{call.repo.api}/branches/{branch}", "html": f"{call.repo.info['html_url']}/tree/{branch}"}
    checks = {"enforcement_level": "off", "contexts": [], "checks": []}
    protection = {"enabled": short["protected"], "required_status_checks": checks}
    return {**short, "commit": one_commit(call, sha), "_links": links, "protection": protection}


def one_commit(call: Call, sha: str) -> Json:
    return call.state.commit_answer(call.repo, call.repo.git.commits(sha, "-1")[0])


@route("GET /repos/{repo}/tags", grant="contents:read")
def list_tags(call: Call) -> list[Json]:
    return [
        {
            "name": ref[10:],
            "commit": {"sha": sha, "url": f"{call.repo.api}/commits/{sha}"},
            **{f"{kind}_url": f"{call.repo.api}/{kind}/{ref}" for kind in ("zipball", "tarball")},
            "node_id": f"REF_{ref[10:]}",
        }
        for ref, sha in reversed(call.repo.git.refs("refs/tags/").items())
    ]


@route("GET /repos/{repo}/commits", grant="contents:read")
def list_commits(call: Call) -> list[Json]:
    start = call.query.get("sha") or call.repo.info["default_branch"]
    records = call.repo.git.commits(call.repo.commit(start))
    if "path" in call.query:
        shas = call.repo.git("rev-list", call.repo.commit(start), "--", call.query["path"]).split()
        records = [record for record in records if record["sha"] in shas]
    return [call.state.commit_answer(call.repo, record) for record in records]


@route("GET /repos/{repo}/commits/{ref*}/pulls", grant="pull_requests:read")
def list_pulls_of_commit(call: Call, ref: str) -> list[Json]:
    sha, found = call.repo.commit(ref), []
    for number, pull in call.repo.tables["pulls"].items():
        tip = pull["merge_commit_sha"] if pull["merged"] else pull["head"]["sha"]
        if sha in call.repo.git("rev-list", f"{pull['base']['sha']}..{tip}").split():
            found.append(pulls.view(call.state, call.repo, number))
    return found


@route("GET /repos/{repo}/commits/{ref*}/status", grant="statuses:read")
def get_combined_status(call: Call, ref: str) -> Json:
    sha = call.repo.commit(ref)
    newest = list({row["context"]: row for row in call.repo.rows("statuses", sha=sha)}.values())
    states = {row["state"] for row in newest}
    verdict = "failure" if states & {"failure", "error"} else "success" if states == {"success"} else "pending"
    url = f"{call.repo.api}/commits/{sha}"
    extra = {"state": verdict, "sha": sha, "repository": call.repo.info, "commit_url": url, "url": f"{url}/status"}
    return counted("statuses", newest) | extra


@route("GET /repos/{repo}/commits/{ref*}/statuses", grant="statuses:read")
def list_statuses(call: Call, ref: str) -> list[Json]:
    return call.repo.rows("statuses", sha=call.repo.commit(ref))[::-1]


@route("POST /repos/{repo}/statuses/{sha}", grant="statuses:write")
def create_status(call: Call, sha: str) -> Json:
    body, sha = call.need("Status", "state"), call.repo.commit(sha)
    if body["state"] not in ("error", "failure", "pending", "success"):
        raise invalid("Status", "state", "invalid")
    fields = {"context": "default", "description": None, "target_url": None, **body, "sha": sha}
    creator = {"creator": call.user(), "avatar_url": call.user()["avatar_url"]}
    return call.state.new(call.repo, "statuses", f"statuses/{sha}", fields | creator)


@route("GET /repos/{repo}/commits/{ref*}/check-runs", grant="checks:read")
def list_check_runs(call: Call, ref: str) -> Json:
    rows = call.repo.rows("check_runs", head_sha=call.repo.commit(ref))
    if name := call.query.get("check_name"):
        rows = [row for row in rows if row["name"] == name]
    if call.query.get("filter", "latest") == "latest":
        rows = list({(row["name"], row["app"]["id"], row["check_suite"]["id"]): row for row in rows}.values())
    return counted("check_runs", rows[::-1])


@route("GET /repos/{repo}/commits/{ref*}/check-suites", grant="checks:read")
def list_check_suites(call: Call, ref: str) -> Json:
    return counted("check_suites", call.repo.rows("check_suites", head_sha=call.repo.commit(ref)))


@route("POST /repos/{repo}/check-suites", grant="checks:write")
def create_check_suite(call: Call) -> Json:
    sha = call.repo.commit(call.need("CheckSuite", "head_sha")["head_sha"])
    return actions.check_suite(call.state, call.repo, call.actor.app, sha, None)


@route("GET /repos/{repo}/check-suites/{id}", grant="checks:read")
def get_check_suite(call: Call, id: int) -> Json:
    return call.repo.row("check_suites", id)


@route("GET /repos/{repo}/check-suites/{id}/check-runs", grant="checks:read")
def list_suite_check_runs(call: Call, id: int) -> Json:
    return counted("check_runs", call.repo.rows("check_runs", check_suite={"id": id}))


@route("POST /repos/{repo}/check-runs", grant="checks:write")
def create_check_run(call: Call) -> Json:
    if not call.actor.app:
        raise Refused(403, "You must authenticate via a GitHub App.")
    body = call.need("CheckRun", "name", "head_sha")
    body["head_sha"] = call.repo.commit(body["head_sha"])
    return actions.check_run(call.state, call.repo, call.actor.app, body)


@route("GET /repos/{repo}/check-runs/{id}", grant="checks:read")
def get_check_run(call: Call, id: int) -> Json:
    return call.repo.row("check_runs", id)


@route("PATCH /repos/{repo}/check-runs/{id}", grant="checks:write")
def update_check_run(call: Call, id: int) -> Json:
    check = call.repo.row("check_runs", id)
    if check["app"]["id"] != call.actor.app:
        raise Refused(403, "Invalid app_id `{}` - check run can only be modified by the GitHub App that created it.")
    return actions.update_check_run(call.state, check, call.body)


@route("GET /repos/{repo}/commits/{ref*}", grant="contents:read")
def get_commit(call: Call, ref: str) -> Json:
    record = call.repo.git.commits(call.repo.commit(ref), "-1")[0]
    empty = call.repo.git("hash-object", "-t", "tree", "--stdin")
    files = file_answers(call.repo, [record["parents"][0] if record["parents"] else empty, record["sha"]])
    added, deleted = (sum(file[kind] for file in files) for kind in ("additions", "deletions"))
    stats = {"total": added + deleted, "additions": added, "deletions": deleted}
    return {**call.state.commit_answer(call.repo, record), "stats": stats, "files": files}


def file_answers(repo: Repo, between: list[str]) -> list[Json]:
    page = repo.info["html_url"]
    return [
        {
            **file,
            "blob_url": f"{page}/blob/{between[1]}/{quote(file['filename'])}",
            "raw_url": f"{page}/raw/{between[1]}/{quote(file['filename'])}",
            "contents_url": f"{repo.api}/contents/{quote(file['filename'])}?ref={between[1]}",
        }
        for file in repo.git.files(*between)
    ]


@route("GET /repos/{repo}/compare/{spec*}", grant="contents:read")
def compare(call: Call, spec: str) -> Json:
    git = call.repo.git
    names = spec.split("...")
    repos = [pulls.fork_of(call.state, call.repo, name.rpartition(":")[0] or call.repo.owner) for name in names]
    shas = [repo.git.resolve(name.rpartition(":")[2]) for repo, name in zip(repos, names, strict=True) if repo]
    if len(shas) != 2 or not all(shas):
        raise Refused(404, "Not Found")
    base, head = map(str, shas)
    if repos[1] and repos[1] is not call.repo:
        git("fetch", "--quiet", str(repos[1].git.path.resolve()), head)
    fork_point = git("merge-base", base, head)
    ahead = git.commits(f"{base}..{head}")[::-1]
    behind = int(git("rev-list", "--count", f"{head}..{base}"))
    status = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}
    page = f"{call.repo.info['html_url']}/compare/{spec}"
    return {
        "url": f"{call.repo.api}/compare/{spec}",
        **{"html_url": page, "permalink_url": page, "diff_url": f"{page}.diff", "patch_url": f"{page}.patch"},
        "base_commit": one_commit(call, base),
        "merge_base_commit": one_commit(call, fork_point),
        "status": status.get((bool(ahead), bool(behind)), "diverged"),
        **{"ahead_by": len(ahead), "behind_by": behind, "total_commits": len(ahead)},
        "commits": [call.state.commit_answer(call.repo, record) for record in ahead],
        "files": file_answers(call.repo, [fork_point, head]),
    }


def ref_answer(call: Call, ref: str, sha: str) -> Json:
    kind = call.repo.git("cat-file", "-t", sha)
    target = {"type": kind, "sha": sha, "url": f"{call.repo.api}/git/{kind}s/{sha}"}
    return {"ref": ref, "node_id": f"REF_{ref}", "url": f"{call.repo.api}/git/{ref}", "object": target}


@route("GET /repos/{repo}/git/ref/{ref*}", grant="contents:read")
def get_ref(call: Call, ref: str) -> Json:
    found = call.repo.git.refs(f"refs/{ref}")
    if f"refs/{ref}" not in found:
        raise Refused(404, "Not Found")
    return ref_answer(call, f"refs/{ref}", found[f"refs/{ref}"])


@route("GET /repos/{repo}/git/matching-refs/{ref*}", grant="contents:read")
def list_matching_refs(call: Call, ref: str) -> list[Json]:
    found = call.repo.git.refs()
    return [ref_answer(call, name, sha) for name, sha in found.items() if name.startswith(f"refs/{ref}")]


def move(call: Call, ref: str, sha: str | None) -> None:
    """Point a ref elsewhere, unless a rule protects it."""
    if ref in pulls.protected(call.state, call.repo, call.actor):
        message = "Changes must be made through a pull request."
        raise Refused(422, f"Repository rule violations found\n\n{message}\n\n")
    with pulls.refs_moving(call.state, call.repo, call.actor):
        call.repo.git.update(ref, sha)


@route("POST /repos/{repo}/git/refs", grant="contents:write")
def create_ref(call: Call) -> Json:
    body = call.need("Reference", "ref", "sha")
    if not re.fullmatch(r"refs/[^/]+/.+", body["ref"]):
        raise Refused(422, "Reference name is not valid. It should start with 'refs/' and have at least two slashes.")
    if body["ref"] in call.repo.git.refs(body["ref"]):
        raise Refused(422, "Reference already exists")
    if not call.repo.git.resolve(body["sha"]):
        raise Refused(422, "Object does not exist")
    move(call, body["ref"], body["sha"])
    return ref_answer(call, body["ref"], body["sha"])


@route("PATCH /repos/{repo}/git/refs/{ref*}", grant="contents:write")
def update_ref(call: Call, ref: str) -> Json:
    body, name = call.need("Reference", "sha"), f"refs/{ref}"
    old = call.repo.git.resolve(name)
    if not old:
        raise Refused(422, "Reference does not exist")
    if not call.repo.git.resolve(body["sha"]):
        raise Refused(422, "Object does not exist")
    if not body.get("force") and not call.repo.git.is_ancestor(old, body["sha"]):
        raise Refused(422, "Update is not a fast forward")
    move(call, name, body["sha"])
    return ref_answer(call, name, body["sha"])


@route("DELETE /repos/{repo}/git/refs/{ref*}", grant="contents:write")
def delete_ref(call: Call, ref: str) -> None:
    if not call.repo.git.resolve(f"refs/{ref}"):
        raise Refused(422, "Reference does not exist")
    move(call, f"refs/{ref}", None)


@route("POST /repos/{repo}/git/blobs", grant="contents:write")
def create_blob(call: Call) -> Json:
    body = call.need("Blob")
    content = body.get("content", "")
    sha = call.repo.git.blob(base64.b64decode(content) if body.get("encoding") == "base64" else content.encode())
    return {"sha": sha, "url": f"{call.repo.api}/git/blobs/{sha}"}


@route("GET /repos/{repo}/git/blobs/{sha}", grant="contents:read")
def get_blob(call: Call, sha: str) -> Any:
    content = call.repo.git.read(sha)
    if call.raw:
        return Answer(200, content)
    shown = {"content": base64.encodebytes(content).decode(), "encoding": "base64", "size": len(content)}
    return {"sha": sha, "node_id": f"B_{sha}", "url": f"{call.repo.api}/git/blobs/{sha}", **shown}


@route("POST /repos/{repo}/git/trees", grant="contents:write")
def create_tree(call: Call) -> Json:
    body = call.need("Tree", "tree")
    git, base = call.repo.git, body.get("base_tree")
    changes = [
        {**entry, "sha": git.blob(entry["content"].encode()) if "content" in entry else entry["sha"]}
        for entry in body["tree"]
    ]
    return tree_answer(call, git.tree_with(base, changes))


@route("GET /repos/{repo}/git/trees/{sha*}", grant="contents:read")
def get_tree(call: Call, sha: str) -> Json:
    return tree_answer(call, sha, *(["-r", "-t"] if "recursive" in call.query else []))


def tree_answer(call: Call, name: str, *options: str) -> Json:
    url = f"{call.repo.api}/git"
    sha = call.repo.git("rev-parse", "--verify", "--end-of-options", f"{name}^{{tree}}")
    entries = [entry | {"url": f"{url}/{entry['type']}s/{entry['sha']}"} for entry in call.repo.git.tree(sha, *options)]
    return {"sha": sha, "url": f"{url}/trees/{sha}", "tree": entries, "truncated": False}


@route("POST /repos/{repo}/git/commits", grant="contents:write")
def create_commit(call: Call) -> Json:
    body = call.need("Commit", "message", "tree")
    sha = make_commit(call, body["tree"], body.get("parents", []), body)
    return get_git_commit(call, sha)


def make_commit(call: Call, tree: str, parents: list[str], body: Json) -> str:
    """A commit in the actor's name; where nobody else is named, GitHub is the committer and signs it."""
    own = call.state.identity(call.actor.login)
    author = body.get("author") or own
    committer = body.get("committer") or body.get("author") or call.state.committer
    return call.repo.git.commit(tree, parents, body["message"], author, committer)


@route("GET /repos/{repo}/git/commits/{sha}", grant="contents:read")
def get_git_commit(call: Call, sha: str) -> Json:
    return answers.git_commit(call.repo.info, call.repo.git.commits(call.repo.commit(sha), "-1")[0])


@route("GET /repos/{repo}/contents/{path*}", "GET /repos/{repo}/contents", grant="contents:read")
def get_contents(call: Call, path: str = "") -> Any:
    commit = call.repo.git.resolve(call.query.get("ref") or call.repo.info["default_branch"])
    found = find(call.repo, commit, path) if commit and path else {"type": "tree"}
    if not commit or not found:
        raise Refused(404, "Not Found")
    if found["type"] == "tree":
        inside = call.repo.git.tree(f"{commit}:{path}")
        return [content_answer(call, entry, f"{path}/{entry['path']}".lstrip("/"), commit) for entry in inside]
    content = call.repo.git.read(found["sha"])
    if call.raw:
        return Answer(200, content)
    encoded = {"encoding": "base64", "content": base64.encodebytes(content).decode()}
    return content_answer(call, found, path, commit) | encoded


def find(repo: Repo, commit: str, path: str) -> Json | None:
    return next(iter(repo.git.tree(commit, path=path.rstrip("/"))), None)


def content_answer(call: Call, entry: Json, path: str, commit: str) -> Json:
    page, place = call.repo.info["html_url"], f"{commit}/{quote(path)}"
    links = {
        "self": f"{call.repo.api}/contents/{quote(path)}?ref={commit}",
        "git": f"{call.repo.api}/git/{entry['type']}s/{entry['sha']}",
        "html": f"{page}/blob/{place}",
    }
    return {
        "type": {"tree": "dir", "blob": "file"}[entry["type"]],
        "size": entry.get("size", 0),
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": entry["sha"],
        **{"url": links["self"], "git_url": links["git"], "html_url": links["html"]},
        "download_url": f"{page}/raw/{place}",
        "_links": links,
    }


@route("PUT /repos/{repo}/contents/{path*}", "DELETE /repos/{repo}/contents/{path*}", grant="contents:write")
def change_contents(call: Call, path: str) -> Answer:
    body, git = call.need("Contents", "message"), call.repo.git
    branch = body.get("branch") or call.repo.info["default_branch"]
    tip = git.resolve(f"refs/heads/{branch}")
    if not tip:
        raise Refused(404, f"Branch {branch} not found")
    if f"refs/heads/{branch}" in pulls.protected(call.state, call.repo, call.actor):
        message = "Changes must be made through a pull request."
        raise Refused(409, f"Repository rule violations found\n\n{message}\n\n")
    old = find(call.repo, tip, path)
    if old and "sha" not in body:
        raise Refused(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    if "sha" in body and (not old or old["sha"] != body["sha"]):
        raise Refused(409, f"{path} does not match {body['sha']}")
    sha = git.blob(base64.b64decode(body["content"])) if call.method == "PUT" else None
    tree = git.tree_with(tip, [{"path": path, "mode": old["mode"] if old else "100644", "sha": sha}])
    commit = make_commit(call, tree, [tip], body)
    move(call, f"refs/heads/{branch}", commit)
    entry = find(call.repo, commit, path)
    shown = content_answer(call, entry, path, commit) if entry else None
    return Answer(200 if old else 201, {"content": shown, "commit": get_git_commit(call, commit)})


# Pull requests


@route("GET /repos/{repo}/pulls", grant="pull_requests:read")
def list_pulls(call: Call) -> list[Json]:
    query, found = call.query, []
    for number, pull in call.repo.tables["pulls"].items():
        same_state = query.get("state", "open") in ("all", call.repo.row("issues", number)["state"])
        same_head = query.get("head") in (None, "", pull["head"]["label"])
        if same_state and same_head and query.get("base") in (None, "", pull["base"]["ref"]):
            found.append(pulls.view(call.state, call.repo, number))
    return in_order(call, found)


def in_order(call: Call, rows: list[Json]) -> list[Json]:
    """By creation or by what `sort` names, newest first unless `direction` says otherwise."""
    key = "updated_at" if call.query.get("sort") == "updated" else "created_at"
    descending = call.query.get("direction", "desc") == "desc"
    return sorted(rows, key=lambda row: (row[key], row["id"]), reverse=descending)


@route("POST /repos/{repo}/pulls", grant="pull_requests:join")
def create_pull(call: Call) -> Json:
    return pulls.create(call.state, call.repo, call.actor, call.need("PullRequest", "title", "head", "base"))


@route("GET /repos/{repo}/pulls/{number}", grant="pull_requests:read")
def get_pull(call: Call, number: int) -> Json:
    return pulls.view(call.state, call.repo, number, full=True)


@route("PATCH /repos/{repo}/pulls/{number}", grant="pull_requests:write")
def update_pull(call: Call, number: int) -> Json:
    body, pull = call.need("PullRequest"), call.repo.row("pulls", number)
    if body.get("base") and body["base"] != pull["base"]["ref"]:
        sha = call.repo.git.resolve(f"refs/heads/{body['base']}")
        if not sha:
            raise invalid("PullRequest", "base", "invalid")
        pull["base"] = pulls.side(call.state, call.repo, body["base"], sha)
        pulls.judge(call.state, call.repo, pull)
    update_issue_row(call, number, body)
    return get_pull(call, number)


@route("PUT /repos/{repo}/pulls/{number}/merge", grant="contents:write")
def merge_pull(call: Call, number: int) -> Json:
    return pulls.merge(call.state, call.repo, call.actor, number, call.body)


@route("GET /repos/{repo}/pulls/{number}/merge", grant="pull_requests:read")
def is_merged(call: Call, number: int) -> None:
    if not call.repo.row("pulls", number)["merged"]:
        raise Refused(404, "Not Found")


@route("PUT /repos/{repo}/pulls/{number}/update-branch", grant="pull_requests:write")
def update_branch(call: Call, number: int) -> Answer:
    pull = call.repo.row("pulls", number)
    base, head = pull["base"], pull["head"]
    if call.body.get("expected_head_sha", head["sha"]) != head["sha"]:
        raise Refused(422, "expected head sha didn’t match current head ref.")
    head_repo = call.state.repositories[head["repo"]["full_name"]]
    tree = call.repo.git.merged_tree(head["sha"], base["sha"])
    if not tree:
        raise Refused(422, "merge conflict between base and head")
    message = f"Merge branch '{base['ref']}' into {head['ref']}"
    sha = make_commit(call, tree, [head["sha"], base["sha"]], {"message": message})
    if head_repo is not call.repo:
        call.repo.git.update(f"refs/pull/{number}/head", sha)
        head_repo.git("fetch", "--quiet", str(call.repo.git.path.resolve()), f"refs/pull/{number}/head")
    with pulls.refs_moving(call.state, head_repo, call.actor):
        head_repo.git.update(f"refs/heads/{head['ref']}", sha)
    return Answer(202, {"message": "Updating pull request branch.", "url": pull["html_url"]})


@route("GET /repos/{repo}/pulls/{number}/files", grant="pull_requests:read")
def list_pull_files(call: Call, number: int) -> list[Json]:
    return file_answers(call.repo, [*pulls.merge_base_and_head(call.repo, call.repo.row("pulls", number))])


@route("GET /repos/{repo}/pulls/{number}/commits", grant="pull_requests:read")
def list_pull_commits(call: Call, number: int) -> list[Json]:
    records = call.repo.git.commits(pulls.span(call.repo.row("pulls", number)))
    return [call.state.commit_answer(call.repo, record) for record in records[::-1]]


@route("GET /repos/{repo}/pulls/{number}/reviews", grant="pull_requests:read")
def list_reviews(call: Call, number: int) -> list[Json]:
    return call.repo.rows("reviews", pull_request_url=call.repo.row("pulls", number)["url"])


@route("POST /repos/{repo}/pulls/{number}/reviews", grant="pull_requests:join")
def create_review(call: Call, number: int) -> Answer:
    body, pull, issue = call.need("PullRequestReview"), call.repo.row("pulls", number), call.repo.row("issues", number)
    verdict = body.get("event", "PENDING")
    states = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
    if verdict == "APPROVE" and call.actor.is_actions and not actions_may_approve(call.repo):
        raise Refused(422, "Unprocessable Entity", "GitHub Actions is not permitted to approve pull requests.")
    if verdict != "COMMENT" and issue["user"]["login"] == call.actor.login:
        word = "approve" if verdict == "APPROVE" else "request changes on"
        raise Refused(422, "Unprocessable Entity", f"Can not {word} your own pull request")
    page = f"pull/{number}#pullrequestreview-{{id}}"
    fields = {
        "user": call.user(),
        "body": body.get("body") or "",
        **{"body_html": "", "body_text": body.get("body") or ""},
        "state": states.get(verdict, "PENDING"),
        "pull_request_url": pull["url"],
        "author_association": "MEMBER",
        "commit_id": body.get("commit_id") or pull["head"]["sha"],
        "submitted_at": call.state.now(),
    }
    review = call.state.new(call.repo, "reviews", f"pulls/{number}/reviews/{{id}}", fields, page)
    review["_links"] = {"html": {"href": review["html_url"]}, "pull_request": {"href": pull["url"]}}
    waiting = pull["requested_reviewers"]
    pull["requested_reviewers"] = [user for user in waiting if user["login"] != call.actor.login]
    shown = {"review": review, "pull_request": pulls.view(call.state, call.repo, number)}
    call.emit("pull_request_review", f"refs/pull/{number}/merge", pull["merge_commit_sha"], action="submitted", **shown)
    return Answer(200, review)


def actions_may_approve(repo: Repo) -> bool:
    return bool(repo.workflow_permissions["can_approve_pull_request_reviews"])


@route("PUT /repos/{repo}/pulls/{number}/reviews/{id}/dismissals", grant="pull_requests:write")
def dismiss_review(call: Call, number: int, id: int) -> Json:
    call.repo.row("reviews", id)["state"] = "DISMISSED"
    return call.repo.row("reviews", id)


REVIEWERS = ("reviewers", "team_reviewers")


@route("GET /repos/{repo}/pulls/{number}/requested_reviewers", grant="pull_requests:read")
def list_requested_reviewers(call: Call, number: int) -> Json:
    pull = call.repo.row("pulls", number)
    return {"users": pull["requested_reviewers"], "teams": pull["requested_teams"]}


@route("POST /repos/{repo}/pulls/{number}/requested_reviewers", grant="pull_requests:write")
def request_reviewers(call: Call, number: int) -> Json:
    pull, author = call.repo.row("pulls", number), call.repo.row("issues", number)["user"]["login"]
    people, teams = (call.body.get(key, []) for key in REVIEWERS)
    strangers = [login for login in people if login not in call.repo.roles]
    if strangers or any(f"{call.repo.owner}/{team}" not in call.state.teams for team in teams):
        who = "One or more of the users or teams you specified is not a collaborator of the"
        raise Refused(422, f"Reviews may only be requested from collaborators. {who} {call.repo.name} repository.")
    if author in people:
        raise Refused(422, "Review cannot be requested from pull request author.")
    asked = [user["login"] for user in pull["requested_reviewers"]]
    pull["requested_reviewers"] += [call.state.account(login) for login in people if login not in asked]
    known = [team["slug"] for team in pull["requested_teams"]]
    pull["requested_teams"] += [team_answer(call, team) for team in teams if team not in known]
    pulls.tell(call.state, call.repo, pull, call.actor, "review_requested")
    return pulls.view(call.state, call.repo, number)


@route("DELETE /repos/{repo}/pulls/{number}/requested_reviewers", grant="pull_requests:write")
def remove_requested_reviewers(call: Call, number: int) -> Json:
    pull, gone, teams = (call.repo.row("pulls", number), *(call.body.get(key, []) for key in REVIEWERS))
    pull["requested_reviewers"] = [user for user in pull["requested_reviewers"] if user["login"] not in gone]
    pull["requested_teams"] = [team for team in pull["requested_teams"] if team["slug"] not in teams]
    return pulls.view(call.state, call.repo, number)


def team_answer(call: Call, slug: str) -> Json:
    url, number = f"{call.state.api_url}/orgs/{call.repo.owner}/teams/{slug}", next(call.state.ids)
    return {
        **{"id": number, "node_id": f"T_{number}", "name": slug, "slug": slug, "description": "", "parent": None},
        **{"privacy": "closed", "notification_setting": "notifications_enabled", "permission": "push"},
        **{"url": url, "html_url": f"{call.state.url}/orgs/{call.repo.owner}/teams/{slug}"},
        **{"members_url": url + "/members{/member}", "repositories_url": f"{url}/repos", "type": "organization"},
        "organization_id": call.repo.info["owner"]["id"],
    }


# Issues, comments, labels


@route("GET /repos/{repo}/issues", grant="issues:read")
def list_issues(call: Call) -> list[Json]:
    query = call.query
    labels = set(filter(None, query.get("labels", "").split(",")))
    return in_order(
        call,
        [
            issue
            for issue in call.repo.rows("issues")
            if query.get("state", "open") in ("all", issue["state"])
            and labels <= {label["name"] for label in issue["labels"]}
            and query.get("creator") in (None, issue["user"]["login"])
            and issue["updated_at"] >= query.get("since", "")
        ],
    )


@route("POST /repos/{repo}/issues", grant="issues:join")
def create_issue(call: Call) -> Json:
    body, number = call.need("Issue", "title"), next(call.repo.numbers)
    issue = pulls.new_issue(call.state, call.repo, call.actor, number, body)
    issue["labels"] = [label_named(call, each) for each in body.get("labels", [])]
    assign(call, issue, body)
    tell(call, number, "opened")
    return issue


@route("GET /repos/{repo}/issues/{number}", grant="issues:read")
def get_issue(call: Call, number: int) -> Json:
    return call.repo.row("issues", number)


@route("PATCH /repos/{repo}/issues/{number}", grant="issues:write")
def update_issue(call: Call, number: int) -> Json:
    return update_issue_row(call, number, call.need("Issue"))


def update_issue_row(call: Call, number: int, body: Json) -> Json:
    """Title, body, labels, assignees and state, of an issue or a pull request, each change told."""
    issue, pull = call.repo.row("issues", number), call.repo.tables["pulls"].get(number)
    edits: Json = {name: body[name] for name in ("title", "body") if name in body and body[name] != issue[name]}
    if edits:
        changes = {name: {"from": issue[name]} for name in edits}
        issue |= edits
        tell(call, number, "edited", changes=changes)
    issue["updated_at"] = call.state.now()
    assign(call, issue, body)
    if "labels" in body:
        set_labels(call, number, [label_named(call, each) for each in body["labels"]])
    if body.get("state", issue["state"]) == issue["state"]:
        return issue
    if body["state"] == "open":
        reopen(call, issue, pull)
    elif pull:
        pulls.close(call.state, call.repo, pull, call.actor)
    else:
        pulls.mark_closed(call.state, issue, call.actor, body.get("state_reason", "completed"))
        tell(call, number, "closed")
    return issue


def reopen(call: Call, issue: Json, pull: Json | None) -> None:
    if pull:
        head_repo = call.state.repositories[pull["head"]["repo"]["full_name"]]
        if pull["merged"] or not head_repo.git.resolve(f"refs/heads/{pull['head']['ref']}"):
            raise invalid("PullRequest", "state", "custom", "state cannot be changed. The branch was deleted.")
        for other in call.repo.rows("pulls"):
            twin = other["head"]["label"] == pull["head"]["label"] and other["base"]["ref"] == pull["base"]["ref"]
            if twin and call.repo.row("issues", other["number"])["state"] == "open":
                message = f"state cannot be changed. There is already an open pull request for {pull['head']['label']}."
                raise invalid("PullRequest", "state", "custom", message)
    issue |= {"state": "open", "state_reason": "reopened", "closed_at": None, "closed_by": None}
    if pull:
        pulls.follow(call.state, call.repo, pull, call.actor)
    tell(call, issue["number"], "reopened")


def tell(call: Call, number: int, action: str, **more: Any) -> None:
    """An `issues` or a `pull_request` event."""
    if number in call.repo.tables["pulls"]:
        pulls.tell(call.state, call.repo, call.repo.row("pulls", number), call.actor, action, **more)
    else:
        call.emit("issues", action=action, issue=call.repo.row("issues", number), **more)


def assign(call: Call, issue: Json, body: Json) -> None:
    if "assignees" in body:
        issue["assignees"] = [call.state.account(login) for login in body["assignees"] if login in call.repo.roles]
        issue["assignee"] = next(iter(issue["assignees"]), None)


@route("GET /repos/{repo}/issues/{number}/comments", grant="issues:read")
def list_comments(call: Call, number: int) -> list[Json]:
    return call.repo.rows("comments", issue_url=call.repo.row("issues", number)["url"])


@route("POST /repos/{repo}/issues/{number}/comments", grant="issues:join")
def create_comment(call: Call, number: int) -> Json:
    body, issue = call.need("IssueComment", "body"), call.repo.row("issues", number)
    fields = {
        **{"body": body["body"], "body_html": "", "body_text": body["body"]},
        **{"user": call.user(), "issue_url": issue["url"], "author_association": "MEMBER"},
    }
    page = f"{issue['html_url'].removeprefix(call.repo.info['html_url'] + '/')}#issuecomment-{{id}}"
    comment = call.state.new(call.repo, "comments", "issues/comments/{id}", fields, page)
    issue["comments"] += 1
    call.emit("issue_comment", action="created", issue=issue, comment=comment)
    return comment


@route("GET /repos/{repo}/issues/comments/{id}", grant="issues|pull_requests:read")
def get_comment(call: Call, id: int) -> Json:
    return call.repo.row("comments", id)


def own_comment(call: Call, id: int) -> Json:
    """A comment that the actor may change: the author, or somebody with write access."""
    comment = call.repo.row("comments", id)
    strong = call.actor.permissions is not None or call.state.level(call.repo, call.actor) >= ROLES.index("write")
    if comment["user"]["login"] != call.actor.login and not strong:
        raise Refused(403, "Must have admin rights to Repository.")
    return comment


@route("PATCH /repos/{repo}/issues/comments/{id}", grant="issues|pull_requests:join")
def update_comment(call: Call, id: int) -> Json:
    comment, text = own_comment(call, id), call.need("IssueComment", "body")["body"]
    comment |= {"body": text, "body_text": text, "updated_at": call.state.now()}
    return comment


@route("DELETE /repos/{repo}/issues/comments/{id}", grant="issues|pull_requests:join")
def delete_comment(call: Call, id: int) -> None:
    comment = own_comment(call, id)
    call.repo.row("issues", int(comment["issue_url"].rpartition("/")[2]))["comments"] -= 1
    del call.repo.tables["comments"][id]


@route("GET /repos/{repo}/labels", grant="issues|pull_requests:read")
def list_labels(call: Call) -> list[Json]:
    return call.repo.rows("labels")


@route("POST /repos/{repo}/labels", grant="issues|pull_requests:write")
def create_label(call: Call) -> Json:
    body = call.need("Label", "name")
    if call.repo.rows("labels", name=body["name"]):
        raise invalid("Label", "name", "already_exists")
    return new_label(call, **present(body, ("name", "color", "description")))


def new_label(call: Call, **fields: Any) -> Json:
    defaults = {"color": "ededed", "description": None, "default": False, "archived_at": None, "archived_by": None}
    return call.state.new(call.repo, "labels", f"labels/{quote(fields['name'])}", defaults | fields)


def label_named(call: Call, label: str | Json) -> Json:
    name = label if isinstance(label, str) else label["name"]
    return next(iter(call.repo.rows("labels", name=name)), None) or new_label(call, name=name)


@route("GET /repos/{repo}/labels/{name*}", grant="issues|pull_requests:read")
def get_label(call: Call, name: str) -> Json:
    found = call.repo.rows("labels", name=name)
    if not found:
        raise Refused(404, "Not Found")
    return found[0]


@route("PATCH /repos/{repo}/labels/{name*}", grant="issues|pull_requests:write")
def update_label(call: Call, name: str) -> Json:
    label = get_label(call, name)
    return actions.updated(label, call.body | present({"name": call.body.get("new_name")}, ("name",)))


@route("DELETE /repos/{repo}/labels/{name*}", grant="issues|pull_requests:write")
def delete_label(call: Call, name: str) -> None:
    del call.repo.tables["labels"][get_label(call, name)["id"]]


@route("GET /repos/{repo}/issues/{number}/labels", grant="issues:read")
def list_issue_labels(call: Call, number: int) -> list[Json]:
    return list(call.repo.row("issues", number)["labels"])


@route("POST /repos/{repo}/issues/{number}/labels", grant="issues:write")
def add_labels(call: Call, number: int) -> Answer:
    had = call.repo.row("issues", number)["labels"]
    return Answer(200, set_labels(call, number, had + [label_named(call, each) for each in call.body["labels"]]))


@route("PUT /repos/{repo}/issues/{number}/labels", grant="issues:write")
def replace_labels(call: Call, number: int) -> list[Json]:
    return set_labels(call, number, [label_named(call, each) for each in call.body["labels"]])


@route("DELETE /repos/{repo}/issues/{number}/labels/{name*}", grant="issues:write")
def remove_label(call: Call, number: int, name: str) -> list[Json]:
    had = call.repo.row("issues", number)["labels"]
    kept = [label for label in had if label["name"] != name]
    if len(kept) == len(had):
        raise Refused(404, "Label does not exist")
    return set_labels(call, number, kept)


def set_labels(call: Call, number: int, labels: list[Json]) -> list[Json]:
    issue = call.repo.row("issues", number)
    before = {label["name"]: label for label in issue["labels"]}
    after = {label["name"]: label for label in labels}
    issue |= {"labels": list(after.values()), "updated_at": call.state.now()}
    for name in sorted({*before} ^ {*after}):
        action = "labeled" if name in after else "unlabeled"
        tell(call, number, action, label=after.get(name) or before[name])
    return list(after.values())


# Actions


@route("GET /repos/{repo}/actions/permissions/workflow", grant="administration:read")
def get_workflow_permissions(call: Call) -> Json:
    return call.repo.workflow_permissions


@route("PUT /repos/{repo}/actions/permissions/workflow", grant="administration:write")
def set_workflow_permissions(call: Call) -> None:
    call.repo.workflow_permissions.update(call.body)


@route("GET /repos/{repo}/actions/runners", grant="administration:read")
def list_runners(call: Call) -> Json:
    return counted("runners", call.repo.rows("runners"))


@route("GET /repos/{repo}/actions/secrets", grant="secrets:read")
def list_secrets(call: Call) -> Json:
    times = {"created_at": call.state.now(), "updated_at": call.state.now()}
    return counted("secrets", [{"name": name, **times} for name in sorted(call.repo.secrets)])


@route("GET /repos/{repo}/actions/variables", grant="actions_variables:read")
def list_variables(call: Call) -> Json:
    return counted("variables", list(call.repo.variables.values()))


@route("POST /repos/{repo}/actions/variables", grant="actions_variables:write")
def create_variable(call: Call) -> Answer:
    body = call.need("Variable", "name", "value")
    if body["name"] in call.repo.variables:
        raise Refused(409, "Already exists - Variable already exists")
    actions.set_variable(call.state, call.repo, body["name"], body["value"])
    return Answer(201, {})


@route("GET /repos/{repo}/actions/variables/{name}", grant="actions_variables:read")
def get_variable(call: Call, name: str) -> Json:
    if name not in call.repo.variables:
        raise Refused(404, "Not Found")
    return call.repo.variables[name]


@route("PATCH /repos/{repo}/actions/variables/{name}", grant="actions_variables:write")
def update_variable(call: Call, name: str) -> None:
    actions.set_variable(call.state, call.repo, name, call.body.get("value", get_variable(call, name)["value"]))


@route("DELETE /repos/{repo}/actions/variables/{name}", grant="actions_variables:write")
def delete_variable(call: Call, name: str) -> None:
    del call.repo.variables[get_variable(call, name)["name"]]


@route("POST /repos/{repo}/dispatches", grant="contents:write")
def dispatch_repository(call: Call) -> None:
    body = call.need("RepositoryDispatch", "event_type")
    payload = {"action": body["event_type"], "client_payload": body.get("client_payload", {})}
    call.emit("repository_dispatch", **payload)


@route("POST /repos/{repo}/actions/workflows/{workflow}/dispatches", grant="actions:write")
def dispatch_workflow(call: Call, workflow: str) -> None:
    """The file must be on the default branch and on the ref, where its `on:` is read."""
    body = call.need("WorkflowDispatch", "ref")
    name = body["ref"].removeprefix("refs/heads/").removeprefix("refs/tags/")
    kind = "heads" if call.repo.git.resolve(f"refs/heads/{name}") else "tags"
    sha = call.repo.git.resolve(f"refs/{kind}/{name}")
    if not sha:
        raise Refused(422, f"No ref found for: {body['ref']}")
    path = f".github/workflows/{workflow}"
    known = call.repo.git.resolve(call.repo.info["default_branch"])
    there, file = known and find(call.repo, known, path), find(call.repo, sha, path)
    if not there or not file:
        raise Refused(404, "Not Found")
    if b"workflow_dispatch" not in call.repo.git.read(file["sha"]):
        raise Refused(422, "Workflow does not have 'workflow_dispatch' trigger")
    payload = {"inputs": body.get("inputs", {}), "ref": f"refs/{kind}/{name}", "workflow": path}
    call.state.emit(call.repo, "workflow_dispatch", call.actor, payload, ref=f"refs/{kind}/{name}", sha=sha)


@route("GET /repos/{repo}/actions/runs", grant="actions:read")
def list_runs(call: Call) -> Json:
    query = call.query
    wanted = present(query, ("event", "head_sha")) | ({"head_branch": query["branch"]} if "branch" in query else {})
    runs = [
        run
        for run in call.repo.rows("runs", **wanted)
        if query.get("status") in (None, run["status"], run["conclusion"])
        and query.get("actor") in (None, run["actor"]["login"])
    ]
    return counted("workflow_runs", runs[::-1])


@route("GET /repos/{repo}/actions/workflows/{workflow}/runs", grant="actions:read")
def list_workflow_runs(call: Call, workflow: str) -> Json:
    runs = [run for run in list_runs(call)["workflow_runs"] if run["path"].rpartition("/")[2] == workflow]
    return counted("workflow_runs", runs)


@route("GET /repos/{repo}/actions/runs/{id}", grant="actions:read")
def get_run(call: Call, id: int) -> Json:
    return call.repo.row("runs", id)


@route("GET /repos/{repo}/actions/runs/{id}/jobs", grant="actions:read")
def list_jobs(call: Call, id: int) -> Json:
    jobs = call.repo.rows("jobs", run_id=call.repo.row("runs", id)["id"])
    if call.query.get("filter", "latest") == "latest":
        jobs = list({job["name"]: job for job in jobs}.values())
    return counted("jobs", jobs)


@route("GET /repos/{repo}/actions/jobs/{id}", grant="actions:read")
def get_job(call: Call, id: int) -> Json:
    return call.repo.row("jobs", id)


STEERING = ("approve", "cancel", "rerun", "rerun-failed-jobs")


@route(*(f"POST /repos/{{repo}}/actions/runs/{{id}}/{verb}" for verb in STEERING), grant="actions:write")
def steer_run(call: Call, id: int) -> Answer:
    """Tells the driver by an event `run` with the verb as its action."""
    run, verb = call.repo.row("runs", id), call.path.rpartition("/")[2]
    over = run["status"] == "completed"
    if (verb == "approve") != (run["conclusion"] == "action_required") and verb in ("approve", "rerun"):
        raise Refused(403, "This run is not from a fork pull request or does not wait for approval")
    if verb == "cancel" and over:
        raise Refused(409, "Cannot cancel a workflow run that is completed.")
    if verb.startswith("rerun") and not over:
        raise Refused(403, "This workflow run cannot be retried")
    if verb != "cancel":
        run |= {"status": "queued", "conclusion": None, "updated_at": call.state.now()}
        run["run_attempt"] += verb != "approve"
    call.emit("run", f"refs/heads/{run['head_branch']}", run["head_sha"], action=verb, workflow_run=run)
    return Answer(202 if verb == "cancel" else 201, {})


@route("GET /repos/{repo}/actions/artifacts", grant="actions:read")
def list_artifacts(call: Call) -> Json:
    wanted = present(call.query, ("name",))
    return counted("artifacts", call.repo.rows("artifacts", **wanted)[::-1])


@route("GET /repos/{repo}/actions/runs/{id}/artifacts", grant="actions:read")
def list_run_artifacts(call: Call, id: int) -> Json:
    rows = [row for row in list_artifacts(call)["artifacts"] if row["workflow_run"]["id"] == id]
    return counted("artifacts", rows)


@route("GET /repos/{repo}/actions/artifacts/{id}", grant="actions:read")
def get_artifact(call: Call, id: int) -> Json:
    return call.repo.row("artifacts", id)


@route("GET /repos/{repo}/actions/artifacts/{id}/zip", grant="actions:read")
def download_artifact(call: Call, id: int) -> Answer:
    if call.repo.row("artifacts", id)["expired"]:
        raise Refused(410, "Artifact has expired")
    secret = hashlib.sha256(call.repo.bytes[id]).hexdigest()
    return Answer(302, b"", {"Location": f"{call.state.url}/stored/{call.repo.name}/{id}/{secret}.zip"})


@route("GET /stored/{owner}/{name}/{id}/{secret}.zip")
def stored(call: Call, owner: str, name: str, id: int, secret: str) -> Answer:
    """Where a download is redirected to: no token, an address that cannot be guessed."""
    content = call.state.repositories[f"{owner}/{name}"].bytes.get(id, b"")
    if hashlib.sha256(content).hexdigest() != secret:
        raise Refused(404, "Not Found")
    return Answer(200, content, {"Content-Type": "application/zip"})


@route("DELETE /repos/{repo}/actions/artifacts/{id}", grant="actions:write")
def delete_artifact(call: Call, id: int) -> None:
    del call.repo.tables["artifacts"][call.repo.row("artifacts", id)["id"]]


@route("PUT /repos/{repo}/actions/runs/{id}/artifacts/{name}")
def upload_artifact(call: Call, id: int, name: str) -> Answer:
    """Not GitHub's: where the stand-in of actions/upload-artifact sends its zip; any token of the repository does."""
    return Answer(201, actions.upload_artifact(call.state, call.repo, id, name, call.content))


# Releases and deployments


@route("GET /repos/{repo}/releases", grant="contents:read")
def list_releases(call: Call) -> list[Json]:
    return call.repo.rows("releases")[::-1]


@route("POST /repos/{repo}/releases", grant="contents:write")
def create_release(call: Call) -> Json:
    body = call.need("Release", "tag_name")
    if call.repo.rows("releases", tag_name=body["tag_name"], draft=False):
        raise invalid("Release", "tag_name", "already_exists")
    target = body.get("target_commitish") or call.repo.info["default_branch"]
    if not call.repo.git.resolve(target):
        raise invalid("Release", "target_commitish", "invalid")
    fields: Json = {"name": None, "body": None, "draft": False, "prerelease": False, "immutable": False}
    fields |= {name: body[name] for name in (*fields, "tag_name") if name in body}
    fields |= {"target_commitish": target, "author": call.user(), "published_at": None, "assets": []}
    page = f"releases/tag/{quote(body['tag_name'])}"
    release = call.state.new(call.repo, "releases", "releases/{id}", fields, page)
    release |= {
        "assets_url": f"{release['url']}/assets",
        "upload_url": release["url"].replace("/api/v3/", "/api/uploads/") + "/assets{?name,label}",
        **{f"{kind}_url": f"{call.repo.api}/{kind}/{body['tag_name']}" for kind in ("zipball", "tarball")},
    }
    if not release["draft"]:
        publish(call, release)
    return release


def publish(call: Call, release: Json) -> None:
    ref = f"refs/tags/{release['tag_name']}"
    sha = call.repo.git.resolve(ref) or call.repo.commit(release["target_commitish"])
    if ref not in call.repo.git.refs(ref):
        move(call, ref, sha)
    release["published_at"] = call.state.now()
    for action in ("published", "released"):
        call.emit("release", ref, sha, action=action, release=release)


@route("GET /repos/{repo}/releases/latest", grant="contents:read")
def get_latest_release(call: Call) -> Json:
    found = call.repo.rows("releases", draft=False, prerelease=False)
    if not found:
        raise Refused(404, "Not Found")
    return found[-1]


@route("GET /repos/{repo}/releases/tags/{tag*}", grant="contents:read")
def get_release_by_tag(call: Call, tag: str) -> Json:
    found = call.repo.rows("releases", draft=False, tag_name=tag)
    if not found:
        raise Refused(404, "Not Found")
    return found[-1]


@route("GET /repos/{repo}/releases/{id}", grant="contents:read")
def get_release(call: Call, id: int) -> Json:
    return call.repo.row("releases", id)


@route("PATCH /repos/{repo}/releases/{id}", grant="contents:write")
def update_release(call: Call, id: int) -> Json:
    release = call.repo.row("releases", id)
    was_draft = release["draft"]
    actions.updated(release, call.body)
    if was_draft and not release["draft"]:
        publish(call, release)
    return release


@route("DELETE /repos/{repo}/releases/{id}", grant="contents:write")
def delete_release(call: Call, id: int) -> None:
    del call.repo.tables["releases"][call.repo.row("releases", id)["id"]]


@route("GET /repos/{repo}/releases/{id}/assets", grant="contents:read")
def list_assets(call: Call, id: int) -> list[Json]:
    return list(call.repo.row("releases", id)["assets"])


@route("POST /api/uploads/repos/{repo}/releases/{id}/assets", grant="contents:write")
def upload_asset(call: Call, id: int) -> Json:
    release, name = call.repo.row("releases", id), call.query.get("name", "")
    if not name:
        raise Refused(400, "Bad Request")
    if any(asset["name"] == name for asset in release["assets"]):
        raise invalid("ReleaseAsset", "name", "already_exists")
    page = f"{call.repo.info['html_url']}/releases/download/{release['tag_name']}/{quote(name)}"
    fields = {
        **{"name": name, "label": call.query.get("label"), "state": "uploaded", "uploader": call.user()},
        **{"content_type": call.headers.get("content-type", ""), "size": len(call.content), "download_count": 0},
        **{"browser_download_url": page, "digest": f"sha256:{hashlib.sha256(call.content).hexdigest()}"},
    }
    asset = call.state.new(call.repo, "assets", "releases/assets/{id}", fields)
    call.repo.bytes[asset["id"]] = call.content
    release["assets"].append(asset)
    return asset


@route("GET /repos/{repo}/releases/assets/{id}", grant="contents:read")
def get_asset(call: Call, id: int) -> Any:
    asset = call.repo.row("assets", id)
    if "octet-stream" not in call.headers.get("accept", ""):
        return asset
    asset["download_count"] += 1
    return Answer(200, call.repo.bytes[id], {"Content-Type": asset["content_type"]})


@route("DELETE /repos/{repo}/releases/assets/{id}", grant="contents:write")
def delete_asset(call: Call, id: int) -> None:
    asset = call.repo.row("assets", id)
    del call.repo.tables["assets"][id]
    for release in call.repo.rows("releases"):
        release["assets"] = [each for each in release["assets"] if each is not asset]


@route("GET /{repo}/releases/download/{tag}/{name}", grant="contents:read")
def download_asset(call: Call, tag: str, name: str) -> Answer:
    for asset in get_release_by_tag(call, tag)["assets"]:
        if asset["name"] == name:
            return Answer(200, call.repo.bytes[asset["id"]], {"Content-Type": asset["content_type"]})
    raise Refused(404, "Not Found")


@route("GET /repos/{repo}/deployments", grant="deployments:read")
def list_deployments(call: Call) -> list[Json]:
    wanted = present(call.query, ("environment", "ref", "sha", "task"))
    return call.repo.rows("deployments", **wanted)[::-1]


@route("POST /repos/{repo}/deployments", grant="deployments:write")
def create_deployment(call: Call) -> Json:
    """By default every check of the commit must have passed; `required_contexts: []` asks for none."""
    body = call.need("Deployment", "ref")
    sha, required = call.repo.commit(body["ref"]), body.get("required_contexts")
    states = pulls.check_states(call.repo, sha)
    bad = {name for name, _, verdict in states if verdict not in pulls.PASSED}
    wanted = {name for name, _, _ in states} if required is None else set(required)
    if wanted & bad or wanted - {name for name, _, _ in states}:
        raise Refused(409, f"Conflict: Commit status checks failed for {body['ref']}.")
    fields: Json = {"task": "deploy", "environment": "production", "description": None, "payload": {}}
    fields |= present(body, (*fields, "ref", "transient_environment", "production_environment")) | {"sha": sha}
    deployment = call.state.new(call.repo, "deployments", "deployments/{id}", fields | {"creator": call.user()})
    deployment |= {"statuses_url": f"{deployment['url']}/statuses", "repository_url": call.repo.api}
    deployment["original_environment"] = deployment["environment"]
    call.emit("deployment", sha=sha, action="created", deployment=deployment)
    return deployment


@route("GET /repos/{repo}/deployments/{id}", grant="deployments:read")
def get_deployment(call: Call, id: int) -> Json:
    return call.repo.row("deployments", id)


@route("GET /repos/{repo}/deployments/{id}/statuses", grant="deployments:read")
def list_deployment_statuses(call: Call, id: int) -> list[Json]:
    return call.repo.rows("deployment_statuses", deployment_url=get_deployment(call, id)["url"])[::-1]


@route("POST /repos/{repo}/deployments/{id}/statuses", grant="deployments:write")
def create_deployment_status(call: Call, id: int) -> Json:
    """A success makes the environment's earlier deployments inactive, as GitHub does unless auto_inactive is false."""
    body, deployment = call.need("DeploymentStatus", "state"), get_deployment(call, id)
    status = new_deployment_status(call, deployment, body)
    if body["state"] == "success" and body.get("auto_inactive", True):
        for other in call.repo.rows("deployments", environment=deployment["environment"]):
            if other["id"] < id:
                new_deployment_status(call, other, {"state": "inactive"})
    call.emit("deployment_status", sha=deployment["sha"], action="created", deployment_status=status)
    return status


def new_deployment_status(call: Call, deployment: Json, body: Json) -> Json:
    if body["state"] not in ("error", "failure", "inactive", "in_progress", "queued", "pending", "success"):
        raise invalid("DeploymentStatus", "state", "invalid")
    fields: Json = {"description": "", "environment": deployment["environment"], "target_url": ""}
    fields |= dict.fromkeys(("log_url", "environment_url"), "")
    fields |= present(body, (*fields, "state"))
    links = {"deployment_url": deployment["url"], "repository_url": call.repo.api, "creator": call.user()}
    path = f"deployments/{deployment['id']}/statuses/{{id}}"
    return call.state.new(call.repo, "deployment_statuses", path, fields | links)
