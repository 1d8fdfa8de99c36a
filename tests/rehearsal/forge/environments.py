"""Environments: which refs may deploy to one, what only its jobs see, and the deployments that are made to it."""

from fnmatch import fnmatchcase

from .answers import Json
from .state import Actor, Environment, Refused, Repo, State, invalid, present

STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")


def named(state: State, repo: Repo, name: str) -> Environment:
    """The environment of that name, however it is spelled; one that nobody made springs up unprotected."""
    if name.lower() not in repo.environments:
        rules: Json = {"protection_rules": [], "deployment_branch_policy": None}
        info = state.new(repo, "environments", f"environments/{name}", {"name": name, **rules}, "settings/environments")
        repo.environments[name.lower()] = Environment(info)
    return repo.environments[name.lower()]


def admits(environment: Environment, ref: str) -> bool:
    """Whether a run of this ref may deploy.

    `protected_branches` keeps nobody out where no branch has classic protection, and none has it here.
    """
    policy = environment.info["deployment_branch_policy"]
    if not policy or policy["protected_branches"]:
        return True
    kind, name = kind_and_name(ref)
    return any(row["type"] == kind and fits(row["name"], name) for row in environment.policies.values())


def kind_and_name(ref: str) -> tuple[str, str]:
    """refs/pull/7/merge keeps its whole name, and counts as a branch."""
    tag = ref.startswith("refs/tags/")
    return ("tag", ref.removeprefix("refs/tags/")) if tag else ("branch", ref.removeprefix("refs/heads/"))


def fits(pattern: str, name: str) -> bool:
    """Ruby's File.fnmatch with FNM_PATHNAME, as GitHub says: no wildcard spans a slash."""
    patterns, parts = pattern.split("/"), name.split("/")
    return len(patterns) == len(parts) and all(map(fnmatchcase, parts, patterns))


def begin(state: State, repo: Repo, run: Json, name: str, ref: str) -> Json:
    """The deployment of a job that names an environment. Raises Refused where that does not admit the ref."""
    environment = named(state, repo, name)
    if not admits(environment, ref):
        kind, short = kind_and_name(ref)
        sentence = f'{kind.capitalize()} "{short}" is not allowed to deploy to {environment.info["name"]}'
        raise Refused(403, f"{sentence} due to environment protection rules.")
    actor, of = Actor(run["actor"]["login"]), {"environment": environment.info["name"], "ref": run["head_branch"]}
    deployment = deploy(state, repo, actor, run["head_sha"], of)
    report(state, repo, actor, deployment, {"state": "in_progress"})
    return deployment


def deploy(state: State, repo: Repo, actor: Actor, sha: str, body: Json) -> Json:
    """A new deployment of a commit."""
    fields: Json = {"task": "deploy", "environment": "production", "description": None, "payload": {}}
    fields |= present(body, (*fields, "ref", "transient_environment", "production_environment")) | {"sha": sha}
    named(state, repo, fields["environment"])
    fields |= {"creator": state.account(actor.login), "repository_url": repo.api}
    deployment = state.new(repo, "deployments", "deployments/{id}", fields)
    deployment |= {"statuses_url": f"{deployment['url']}/statuses", "original_environment": deployment["environment"]}
    return deployment


def report(state: State, repo: Repo, actor: Actor, deployment: Json, body: Json) -> Json:
    """A new status; success makes the environment's earlier deployments inactive, unless auto_inactive is false."""
    if body["state"] not in STATES:
        raise invalid("DeploymentStatus", "state", "invalid")
    fields: Json = {"description": "", "environment": deployment["environment"], "target_url": ""}
    fields |= dict.fromkeys(("log_url", "environment_url"), "") | {"creator": state.account(actor.login)}
    fields |= present(body, (*fields, "state"))
    links = {"deployment_url": deployment["url"], "repository_url": repo.api}
    path = f"deployments/{deployment['id']}/statuses/{{id}}"
    status = state.new(repo, "deployment_statuses", path, fields | links)
    if body["state"] == "success" and body.get("auto_inactive", True):
        for other in repo.rows("deployments", environment=deployment["environment"]):
            if other["id"] < deployment["id"]:
                report(state, repo, actor, other, {"state": "inactive"})
    return status


def configure(state: State, repo: Repo, name: str, body: Json) -> Json:
    """Set the environment's branch policy. Raises Refused for a pair that GitHub refuses, and for what is not here."""
    policy = body.get("deployment_branch_policy")
    if body.get("reviewers") or body.get("wait_timer"):
        raise Refused(422, "The rehearsal knows no reviewers and no wait timer of an environment")
    if policy and policy["protected_branches"] == policy["custom_branch_policies"]:
        raise Refused(422, "protected_branches and custom_branch_policies cannot have the same value")
    info = named(state, repo, name).info
    rule = {"id": next(state.ids), "node_id": "GA", "type": "branch_policy"}
    info |= {"deployment_branch_policy": policy, "protection_rules": [rule] if policy else []}
    info["updated_at"] = state.now()
    return info


def add_policy(state: State, environment: Environment, body: Json) -> Json:
    """A name pattern that may deploy; only where custom policies are on."""
    if not (environment.info["deployment_branch_policy"] or {}).get("custom_branch_policies"):
        raise Refused(404, "Not Found")
    number = next(state.ids)
    row = {"id": number, "node_id": f"GBP_{number}", "name": body["name"], "type": body.get("type", "branch")}
    environment.policies[number] = row
    return row
