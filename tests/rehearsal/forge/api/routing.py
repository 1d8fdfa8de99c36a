"""Requests: who calls, which route serves it, whether it may, and how an answer or a refusal is put."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

import jwt

from ..answers import BODY_LIMIT, Json
from ..git import GitError
from ..state import ROLES, Actor, Installed, Refused, Repo, State, invalid


class Body(Json):
    """A JSON object of a request: what it lacks is the caller's mistake."""

    def __missing__(self, name: str) -> Any:
        raise Refused(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')


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
            body = json.loads(self.content or b"{}", object_hook=Body)
        except ValueError:
            raise Refused(400, "Problems parsing JSON") from None
        return body if isinstance(body, dict) else Body(labels=body)  # only labels may come as a bare list

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


def serve_rows(path: str, table: str, permission: str, *, removed_by: str = "") -> None:
    """GET a row of a table by its id; DELETE it, with the permission that `removed_by` names."""

    @route(f"GET /repos/{{repo}}/{path}/{{id}}", grant=f"{permission}:read")
    def get_row(call: Call, id: int) -> Json:
        return call.repo.row(table, id)

    if removed_by:

        @route(f"DELETE /repos/{{repo}}/{path}/{{id}}", grant=f"{removed_by}:write")
        def delete_row(call: Call, id: int) -> None:
            del call.repo.tables[table][call.repo.row(table, id)["id"]]


def respond(call: Call) -> Answer:
    """Authenticate, find the route, check the grant, answer; errors as GitHub words them."""
    try:
        authenticate(call)
        routes = [route for route in ROUTES if route[0] == call.method and route[1].fullmatch(call.path)]
        if not routes:
            raise Refused(404, "Not Found")
        _, pattern, grant, handler = max(routes, key=lambda route: len(route[1].pattern))  # the most particular
        match = pattern.fullmatch(call.path)
        parts: dict[str, Any] = {name: unquote(value) for name, value in match.groupdict().items()} if match else {}
        parts |= {name: int(parts[name]) for name in ("id", "number") if name in parts}
        if grant == "jwt" and not call.app:
            raise Refused(401, "A JSON web token could not be decoded")
        if "repo" in parts:
            call.repo = visible(call, parts.pop("repo"))
            allow(call, grant, parts.get("number", 0))
        return finish(call, handler(call, **parts))
    except Refused as refused:
        documentation = {"documentation_url": "https://docs.github.com/rest", "status": str(refused.status)}
        errors = {"errors": refused.errors} if refused.errors else {}
        return Answer(refused.status, {"message": refused.message, **errors, **documentation})
    except GitError as error:
        return Answer(422, {"message": f"Unprocessable: {error}", "documentation_url": "", "status": "422"})


def authenticate(call: Call) -> None:
    """A token, `x-access-token:token` in Basic, or an App's JSON web token; none is anonymous."""
    scheme, _, secret = call.headers.get("authorization", "").partition(" ")
    if not scheme:
        return
    if scheme.lower() == "basic":
        secret = base64.b64decode(secret).decode(errors="replace").partition(":")[2]
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
        return
    names, _, level = grant.partition(":")
    if number in call.repo.tables["pulls"] and names == "issues":
        names += "|pull_requests"
    if names == "issues" and not call.repo.info["has_issues"]:
        raise Refused(410, "Issues has been disabled in this repository.")
    actor = call.actor
    admins_only = names in ("administration", "secrets", "actions_variables", "environments")
    if level == "read" and not call.repo.info["private"] and not admins_only:
        return
    if not actor.login:
        raise Refused(401, "Requires authentication")
    if actor.permissions is None:
        asked = "admin" if admins_only else {"join": "read"}.get(level, level)
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
    counts = isinstance(result, dict) and "total_count" in result
    listed = next((name for name in result if isinstance(result[name], list)), "") if counts else ""
    if not listed and not isinstance(result, list):
        return Answer(status, result)
    rows = result[listed] if listed else result
    size = max(1, min(int(call.query.get("per_page", 30)), 100))
    page, last = int(call.query.get("page", 1)), max(1, -(-len(rows) // size))
    kept = rows[(page - 1) * size : page * size]
    wanted = {"prev": page - 1, "next": page + 1, "last": last if page < last else 0, "first": 1 if page > 1 else 0}
    query = {**call.query, "per_page": str(size)}
    link = ", ".join(
        f'<{call.state.api_url}{call.path}?{urlencode(query | {"page": str(at)})}>; rel="{name}"'
        for name, at in wanted.items()
        if 0 < at <= last
    )
    return Answer(status, {**result, listed: kept} if listed else kept, {"Link": link} if link else {})


def in_order(call: Call, rows: list[Json]) -> list[Json]:
    """By creation or by what `sort` names, newest first unless `direction` says otherwise."""
    key = "updated_at" if call.query.get("sort") == "updated" else "created_at"
    descending = call.query.get("direction", "desc") == "desc"
    return sorted(rows, key=lambda row: (row[key], row["id"]), reverse=descending)


def counted(name: str, rows: list[Json]) -> Json:
    return {"total_count": len(rows), name: rows}
