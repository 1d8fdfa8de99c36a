"""What the forge knows: accounts, tokens, repositories and their rows; and the events that changes cause."""

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from . import answers
from .answers import ACTIONS, ACTIONS_APP, Json
from .git import NOBODY, Git

PEOPLE = ("user", "actor", "triggering_actor", "creator", "author", "uploader", "closed_by", "merged_by")
ROLES = ("none", "read", "triage", "write", "maintain", "admin")


class Refused(Exception):
    """An answer that is an error: status, message and, with 422, errors."""

    def __init__(self, status: int, message: str, *errors: Json | str) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, list(errors)


def invalid(resource: str, field: str, code: str, message: str = "") -> Refused:
    """GitHub's 422 about one field."""
    error = {"resource": resource, "field": field, "code": code}
    return Refused(422, "Validation Failed", error | ({"message": message} if message else {}))


@dataclass(frozen=True)
class Actor:
    """Who calls: a user (permissions None: the roles decide), an App's installation, or a run's GITHUB_TOKEN."""

    login: str
    permissions: Mapping[str, str] | None = None
    app: int = 0
    repositories: frozenset[str] | None = None

    @property
    def is_actions(self) -> bool:
        return self.app == ACTIONS_APP

    @property
    def writes_workflows(self) -> bool:
        """A run's token never does; an App where it has the permission."""
        return self.permissions is None or self.permissions.get("workflows") == "write"


@dataclass
class Entry:
    """A pull request in a merge queue, with its head as it was queued; and its group, once there is one."""

    number: int
    head: str
    actor: Actor
    base: str = ""
    sha: str = ""
    ref: str = ""


@dataclass
class Environment:
    """An environment: its answer (`info`), the patterns of what may deploy to it, and what its jobs alone see."""

    info: Json
    policies: dict[int, Json] = field(default_factory=dict)
    variables: dict[str, Json] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)


@dataclass
class Repo:
    """A repository: its git side, its answer (`info`), and tables of rows that are answers too, by id or number."""

    info: Json
    git: Git
    roles: dict[str, str]
    tables: defaultdict[str, dict[int, Json]] = field(default_factory=lambda: defaultdict(dict))
    bytes: dict[int, bytes] = field(default_factory=dict)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    pushers: dict[int, str] = field(default_factory=dict)  # who pushed last to a pull request
    auto_merges: dict[int, Actor] = field(default_factory=dict)  # who asked for it, by pull request
    queues: dict[str, list[Entry]] = field(default_factory=dict)  # by base branch
    uploaded: set[tuple[int, int, str]] = field(default_factory=set)  # run, attempt, name of each artifact
    variables: dict[str, Json] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    organization_secrets: set[str] = field(default_factory=set)  # those that it may use
    environments: dict[str, Environment] = field(default_factory=dict)  # by name in lower case
    immutable_releases: bool = False  # whether what is published from now on changes no more
    spent_tags: set[str] = field(default_factory=set)  # of immutable releases that were deleted
    status_apps: dict[int, int] = field(default_factory=dict)  # who posted a status, where it was an App
    workflow_states: dict[str, str] = field(default_factory=dict)  # by path, where it is not active
    workflow_permissions: Json = field(
        default_factory=lambda: {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": False}
    )
    fork_approval: Json = field(default_factory=lambda: {"approval_policy": "first_time_contributors"})
    private_forks: Json = field(default_factory=lambda: dict.fromkeys(answers.PRIVATE_FORKS, False))

    @property
    def name(self) -> str:
        return str(self.info["full_name"])

    @property
    def owner(self) -> str:
        return self.name.split("/")[0]

    @property
    def api(self) -> str:
        return str(self.info["url"])

    def row(self, table: str, key: int) -> Json:
        if key not in self.tables[table]:
            raise Refused(404, "Not Found")
        return self.tables[table][key]

    def rows(self, table: str, **equal: Any) -> list[Json]:
        """The rows whose fields are all equal to those given, oldest first."""
        return [row for row in self.tables[table].values() if all(row.get(name) == equal[name] for name in equal)]

    def commit(self, name: str) -> str:
        """The sha of a branch, tag or sha; 422 where there is none."""
        sha = self.git.resolve(name)
        if not sha:
            raise Refused(422, f"No commit found for SHA: {name}")
        return sha


@dataclass(frozen=True)
class Event:
    """What happened, as GitHub tells a workflow, and whether workflows start from it: at once, after a click, never."""

    name: str
    action: str
    repository: str
    actor: str
    ref: str
    sha: str
    starts: Literal["run", "approval", "none"]
    payload: Json


@dataclass
class Installed:
    """A GitHub App and its one installation."""

    id: int
    installation_id: int
    slug: str
    client_id: str
    private_key: str
    public_key: rsa.RSAPublicKey
    permissions: dict[str, str]


@dataclass
class RunnerGroup:
    """A runner group of an organisation: its answer, its runners, and the ids of the repositories that are selected."""

    info: Json
    runners: list[Json] = field(default_factory=list)
    repositories: list[int] = field(default_factory=list)

    def serves(self, repository: Json) -> bool:
        """Whether a repository may use it."""
        selected = self.info["visibility"] == "all" or repository["id"] in self.repositories
        return selected and (repository["private"] or self.info["allows_public_repositories"])


class State:
    """Accounts, tokens, repositories and events. Everything here happens under `lock`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url, self.api_url = folder, url, f"{url}/api/v3"
        self.lock = threading.RLock()
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.ids = itertools.count(1001)
        self.accounts: dict[str, Json] = {}
        self.repositories: dict[str, Repo] = {}
        self.teams: dict[str, set[str]] = {}
        self.tokens: dict[str, Actor] = {}
        self.apps: dict[int, Installed] = {}
        self.runner_groups: dict[int, RunnerGroup] = {}
        self.events: list[Event] = []
        self.account(ACTIONS)["id"] = 41898282

    def now(self) -> str:
        return self.clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def account(self, login: str) -> Json:
        """The account of that name, made where it is new."""
        if login not in self.accounts:
            self.accounts[login] = answers.account(self.api_url, self.url, login, next(self.ids))
        return self.accounts[login]

    def user(self, login: str) -> str:
        """A person; returns the person's token."""
        self.account(login)
        self.tokens[f"ghp_{login}"] = Actor(login)
        return f"ghp_{login}"

    def forget(self, login: str) -> None:
        """An account is deleted: what it did stays, and is nobody's."""
        self.tokens = {token: actor for token, actor in self.tokens.items() if actor.login != login}
        del self.accounts[login]
        for repo in self.repositories.values():
            repo.roles.pop(login, None)
            for row in [row for rows in repo.tables.values() for row in rows.values()]:
                row |= {field: None for field in PEOPLE if (row.get(field) or {}).get("login") == login}

    def team(self, name: str, *members: str) -> None:
        """name: org/team, as CODEOWNERS spells it."""
        self.account(name.split("/")[0])["type"] = "Organization"
        self.teams[name] = set(members)

    def repository(
        self, full_name: str, *, private: bool = True, roles: Mapping[str, str] | None = None, **info: Any
    ) -> Repo:
        """A new, empty repository; roles: login to read, triage, write, maintain or admin; the owner is an admin."""
        owner = self.account(full_name.split("/")[0])
        number = next(self.ids)
        answer = answers.repository(
            self.api_url, self.url, full_name, owner, number, self.now(), private=private, **{"fork": False, **info}
        )
        repo = Repo(answer, Git(self.folder / f"{full_name}.git"), {owner["login"]: "admin", **(roles or {})})
        self.repositories[full_name] = repo
        return repo

    def token(self, full_name: str, permissions: Mapping[str, str]) -> str:
        """A run's GITHUB_TOKEN; permissions as a workflow spells them (contents: read, pull-requests: write)."""
        return self.mint(Actor(ACTIONS, underscored(permissions), ACTIONS_APP, frozenset([full_name])))

    def mint(self, actor: Actor) -> str:
        token = f"ghs_{next(self.ids):036d}"
        self.tokens[token] = actor
        return token

    def app(self, slug: str, permissions: Mapping[str, str]) -> Installed:
        """An App with a key of its own, installed on every repository."""
        key = private_key(slug)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        number = next(self.ids)
        app = Installed(
            number, next(self.ids), slug, f"Iv23{number}", pem.decode(), key.public_key(), underscored(permissions)
        )
        self.account(f"{slug}[bot]")
        self.apps[number] = app
        return app

    def runner(self, repo: Repo, name: str, *labels: str, status: str = "online") -> Json:
        """A self-hosted runner of a repository."""
        shown = [{"id": next(self.ids), "name": label, "type": "custom"} for label in labels]
        fields = {"name": name, "os": "linux", "status": status, "busy": False, "ephemeral": True, "labels": shown}
        return self.new(repo, "runners", "actions/runners/{id}", fields)

    def runner_group(self, organization: str, name: str) -> RunnerGroup:
        """A new runner group of an organisation: for all of its repositories, and any workflow."""
        number = next(self.ids)
        url = f"{self.api_url}/orgs/{organization}/actions/runner-groups/{number}"
        info: Json = {"id": number, "name": name, "visibility": "all", "default": False, "inherited": False}
        info |= {"allows_public_repositories": True, "restricted_to_workflows": False, "selected_workflows": []}
        info |= {"runners_url": f"{url}/runners", "workflow_restrictions_read_only": False}
        self.runner_groups[number] = RunnerGroup(info)
        return self.runner_groups[number]

    def app_answer(self, number: int) -> Json:
        app = self.apps.get(number)
        slug, permissions = (app.slug, app.permissions) if app else ("github-actions", {"metadata": "read"})
        return answers.application(self.url, number, slug, self.account("github"), permissions, self.now())

    def identity(self, login: str) -> Json:
        """Name and email that GitHub writes into commits made for an account."""
        account = self.account(login)
        return {"name": login, "email": f"{account['id']}+{login}@users.noreply.github.com"}

    @property
    def committer(self) -> Json:
        return {"name": "GitHub", "email": "noreply@github.com"}

    def commit_answer(self, repo: Repo, record: Json) -> Json:
        people = (self.by_email(record[role]["email"]) for role in ("author", "committer"))
        return answers.commit(repo.info, record, *people)

    def by_email(self, email: str) -> Json | None:
        login = email.removesuffix("@users.noreply.github.com").partition("+")[2]
        return self.accounts.get(login)

    def level(self, repo: Repo, actor: Actor | None) -> int:
        """The place of the actor's role among ROLES."""
        role = repo.roles.get(actor.login, "none") if actor else "none"
        return max(ROLES.index(role), 0 if repo.info["private"] else 1)

    def new(self, repo: Repo, table: str, path: str, fields: Json, page: str = "") -> Json:
        """A new row: id, addresses and times, then the fields; `{id}` in path and page is the row's."""
        number = next(self.ids)
        repo.tables[table][number] = row = {
            "id": number,
            "node_id": f"{table}_{number}",
            "url": f"{repo.api}/{path.format(id=number)}",
            "html_url": f"{repo.info['html_url']}/{page.format(id=number)}",
            **{"created_at": self.now(), "updated_at": self.now()},
            **fields,
        }
        return row

    def emit(self, repo: Repo, name: str, actor: Actor, payload: Json, *, ref: str = "", sha: str = "") -> None:
        """Tell of an event; ref and sha default to the default branch and its tip."""
        ref = ref or f"refs/heads/{repo.info['default_branch']}"
        sha = sha or repo.git.resolve(ref) or NOBODY
        action = payload.get("action", "")
        starts: Literal["run", "approval", "none"] = "run"
        if actor.is_actions and name not in ("workflow_dispatch", "repository_dispatch", "run"):
            # https://docs.github.com/actions/concepts/security/github_token
            asks = name == "pull_request" and action in ("opened", "synchronize", "reopened")
            starts = "approval" if asks else "none"
        if name == "pull_request" and self.outside(repo, actor, payload["pull_request"]["head"]["repo"]):
            starts = "approval"
        if name == "pull_request" and action != "closed" and payload["pull_request"]["mergeable"] is False:
            starts = "none"
        common = {"repository": repo.info, "sender": self.account(actor.login)}
        self.events.append(Event(name, action, repo.name, actor.login, ref, sha, starts, snapshot(payload | common)))

    def outside(self, repo: Repo, actor: Actor, head: Json | None) -> bool:
        """Whether the runs of a fork's pull request wait for an approval; who has had something merged is not asked."""
        may_write = repo.roles.get(actor.login, "read") in ("write", "maintain", "admin")
        strict = repo.fork_approval["approval_policy"] == "all_external_contributors"
        return strict and not may_write and head is not None and head["full_name"] != repo.name


@cache
def private_key(slug: str) -> rsa.RSAPrivateKey:
    """An App's key: to make one takes longer than all else that a forge does."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def underscored(permissions: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): level for name, level in permissions.items()}


def login_of(account: Json | None) -> str:
    """The name of an account; empty where it is gone."""
    return str(account["login"]) if account else ""


def snapshot(value: Any) -> Any:
    """A copy that later changes do not reach."""
    if isinstance(value, dict):
        return {key: snapshot(each) for key, each in value.items()}
    return [snapshot(each) for each in value] if isinstance(value, list) else value


def present(source: Mapping[str, Any], names: Iterable[str]) -> Json:
    """The named entries that are there and not null."""
    return {name: source[name] for name in names if source.get(name) is not None}
