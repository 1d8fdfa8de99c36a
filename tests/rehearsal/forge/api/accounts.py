"""Users, Apps and their tokens, repositories, rulesets, settings of Actions."""

from .. import actions, answers, environments, rules
from ..answers import Json
from ..state import ROLES, Actor, Environment, Installed, Refused, Repo, RunnerGroup, underscored
from .routing import Answer, Call, counted, route


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
    return installation(call, call.app, call.repo.owner if call.repo else "github")


def installation(call: Call, app: Installed, owner: str) -> Json:
    account, times = call.state.account(owner), dict.fromkeys(("created_at", "updated_at"), call.state.now())
    return {
        "id": app.installation_id,
        "account": account,
        "repository_selection": "all",
        "access_tokens_url": f"{call.state.api_url}/app/installations/{app.installation_id}/access_tokens",
        "repositories_url": f"{call.state.api_url}/installation/repositories",
        "html_url": f"{call.state.url}/settings/installations/{app.installation_id}",
        **{"app_id": app.id, "client_id": app.client_id, "app_slug": app.slug},
        **{"target_id": account["id"], "target_type": account["type"]},
        "permissions": app.permissions,
        "events": [],
        **times,
        **dict.fromkeys(("single_file_name", "suspended_by", "suspended_at")),
    }


@route("GET /orgs/{org}/installations")
def list_installations(call: Call, org: str) -> Json:
    own_organization(call, org)
    return counted("installations", [installation(call, app, org) for app in call.state.apps.values()])


@route("GET /user/installations")
def list_user_installations(call: Call) -> Json:
    """For tokens that a person gave to an App; there are none here."""
    raise Refused(403, "You must authenticate with an access token authorized to a GitHub App")


@route("GET /orgs/{org}/actions/runners")
def list_organization_runners(call: Call, org: str) -> Json:
    own_organization(call, org)
    return counted("runners", [runner for group in call.state.runner_groups.values() for runner in group.runners])


GROUP = "/orgs/{org}/actions/runner-groups/{id}"


@route("GET /orgs/{org}/actions/runner-groups")
def list_runner_groups(call: Call, org: str) -> Json:
    """All, or those that a repository may use, where its name is given."""
    own_organization(call, org)
    wanted = call.state.repositories.get(f"{org}/{call.query.get('visible_to_repository')}")
    groups = call.state.runner_groups.values()
    return counted("runner_groups", [group.info for group in groups if not wanted or group.serves(wanted.info)])


@route(f"PATCH {GROUP}")
def update_runner_group(call: Call, org: str, id: int) -> Json:
    call.need("RunnerGroup", "name")
    return actions.updated(runner_group(call, org, id).info, call.body)


@route(f"GET {GROUP}/runners")
def list_group_runners(call: Call, org: str, id: int) -> Json:
    return counted("runners", runner_group(call, org, id).runners)


@route(f"GET {GROUP}/repositories")
def list_group_repositories(call: Call, org: str, id: int) -> Json:
    there = {repo.info["id"]: repo.info for repo in call.state.repositories.values()}
    return counted("repositories", [there[number] for number in runner_group(call, org, id).repositories])


@route(f"PUT {GROUP}/repositories")
def set_group_repositories(call: Call, org: str, id: int) -> None:
    runner_group(call, org, id).repositories = list(call.body["selected_repository_ids"])


def runner_group(call: Call, org: str, id: int) -> RunnerGroup:
    own_organization(call, org)
    if id not in call.state.runner_groups:
        raise Refused(404, "Not Found")
    return call.state.runner_groups[id]


def own_organization(call: Call, org: str) -> None:
    """Raises Refused unless the caller owns the organisation, whose account stands for its owner here."""
    if call.state.accounts.get(org, {}).get("type") != "Organization":
        raise Refused(404, "Not Found")
    if call.actor.login != org or call.actor.permissions is not None:
        raise Refused(403, "You must be an org owner or have the required permission.")


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


@route("DELETE /installation/token")
def revoke_installation_token(call: Call) -> None:
    if not call.actor.app:
        raise Refused(403, "Resource not accessible by personal access token")
    del call.state.tokens[call.headers["authorization"].partition(" ")[2]]


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
    """All, or those who may do what `permission` says."""
    at_least = ROLES.index({"pull": "read", "push": "write"}.get(call.query.get("permission", "pull"), "admin"))
    roles = {login: role for login, role in call.repo.roles.items() if ROLES.index(role) >= at_least}
    return [{**call.state.account(login), "role_name": role} for login, role in roles.items()]


@route("PUT /repos/{repo}/collaborators/{login}", grant="administration:write")
def add_collaborator(call: Call, login: str) -> None:
    """They have to accept on GitHub; here they do at once."""
    if login not in call.state.accounts:
        raise Refused(404, "Not Found")
    permission: str = call.body.get("permission", "push")
    call.repo.roles[login] = {"pull": "read", "push": "write"}.get(permission, permission)


@route("GET /repos/{repo}/collaborators/{login}/permission")
def get_permission(call: Call, login: str) -> Json:
    role = ROLES[call.state.level(call.repo, Actor(login))]
    legacy = {"triage": "read", "maintain": "write"}.get(role, role)
    return {"permission": legacy, "role_name": role, "user": {**call.state.account(login), "role_name": role}}


@route("GET /repos/{repo}/rulesets")
def list_rulesets(call: Call) -> list[Json]:
    hidden = ("rules", "conditions", "bypass_actors")
    return [{name: row[name] for name in row if name not in hidden} for row in call.repo.rows("rulesets")]


@route("GET /repos/{repo}/rulesets/{id}")
def get_ruleset(call: Call, id: int) -> Json:
    """Who may pass is shown to those who may change it."""
    row, shown = call.repo.row("rulesets", id), call.state.level(call.repo, call.actor) >= ROLES.index("admin")
    return row if shown else {name: row[name] for name in row if name != "bypass_actors"}


@route("DELETE /repos/{repo}/rulesets/{id}", grant="administration:write")
def delete_ruleset(call: Call, id: int) -> None:
    del call.repo.tables["rulesets"][call.repo.row("rulesets", id)["id"]]


@route("POST /repos/{repo}/rulesets", grant="administration:write")
def create_ruleset(call: Call) -> Json:
    body = call.need("Ruleset", "name", "enforcement")
    if call.repo.rows("rulesets", name=body["name"]):
        raise Refused(422, "Validation Failed", "Name must be unique")
    check_rules(call, body.get("rules", []), body.get("target") or "branch")
    defaults = {"target": "branch", "conditions": {"ref_name": {"include": [], "exclude": []}}, "rules": []}
    source = {"source_type": "Repository", "source": call.repo.name, "bypass_actors": []}
    return call.state.new(call.repo, "rulesets", "rulesets/{id}", defaults | source | body, "rules/{id}")


def check_rules(call: Call, rules: list[Json], target: str) -> None:
    """GitHub takes a rule with all of its required parameters only, and a merge queue only in an organisation."""
    for rule in rules:
        if target == "tag" and rule["type"] in ("pull_request", "merge_queue"):
            raise Refused(422, "Validation Failed", f"Invalid rule '{rule['type']}': ")
        if rule["type"] == "merge_queue" and call.state.account(call.repo.owner)["type"] != "Organization":
            raise Refused(422, "Validation Failed", "Invalid rule 'merge_queue': ")
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
    "merge_queue": {
        "check_response_timeout_minutes",
        "grouping_strategy",
        "max_entries_to_build",
        "max_entries_to_merge",
        "merge_method",
        "min_entries_to_merge",
        "min_entries_to_merge_wait_minutes",
    },
}


@route("PUT /repos/{repo}/rulesets/{id}", grant="administration:write")
def update_ruleset(call: Call, id: int) -> Json:
    row = call.repo.row("rulesets", id)
    check_rules(call, call.body.get("rules", []), call.body.get("target") or row["target"])
    row.update(call.body)
    return row


@route("GET /repos/{repo}/rules/branches/{branch*}")
def list_branch_rules(call: Call, branch: str) -> list[Json]:
    return rules.of_branch(call.repo, branch)


@route("GET /repos/{repo}/actions/permissions/workflow", grant="administration:read")
def get_workflow_permissions(call: Call) -> Json:
    return call.repo.workflow_permissions


@route("PUT /repos/{repo}/actions/permissions/workflow", grant="administration:write")
def set_workflow_permissions(call: Call) -> None:
    call.repo.workflow_permissions.update(call.body)


@route("GET /repos/{repo}/actions/permissions/fork-pr-contributor-approval", grant="administration:read")
def get_fork_approval(call: Call) -> Json:
    if call.repo.info["private"]:
        raise Refused(404, "Not Found")
    return call.repo.fork_approval


@route("PUT /repos/{repo}/actions/permissions/fork-pr-contributor-approval", grant="administration:write")
def set_fork_approval(call: Call) -> None:
    get_fork_approval(call).update(call.need("ForkApproval", "approval_policy"))


@route("GET /repos/{repo}/actions/permissions/fork-pr-workflows-private-repos", grant="administration:read")
def get_private_forks(call: Call) -> Json:
    if not call.repo.info["private"]:
        raise Refused(404, "Not Found")
    return call.repo.private_forks


@route("PUT /repos/{repo}/actions/permissions/fork-pr-workflows-private-repos", grant="administration:write")
def set_private_forks(call: Call) -> None:
    get_private_forks(call).update(call.body)


SETTING = "/repos/{repo}/immutable-releases"


@route(f"GET {SETTING}", grant="administration:read")
def get_immutable_releases(call: Call) -> Json:
    if not call.repo.immutable_releases:
        raise Refused(404, "Not Found")
    return {"enabled": True, "enforced_by_owner": False}


@route(f"PUT {SETTING}", f"DELETE {SETTING}", grant="administration:write")
def set_immutable_releases(call: Call) -> None:
    call.repo.immutable_releases = call.method == "PUT"


@route("GET /repos/{repo}/actions/runners", grant="administration:read")
def list_runners(call: Call) -> Json:
    return counted("runners", call.repo.rows("runners"))


@route("GET /repos/{repo}/codeowners/errors", grant="contents:read")
def list_codeowners_errors(call: Call) -> Json:
    found = rules.owners_file(call.repo, call.repo.commit(call.query.get("ref") or call.repo.info["default_branch"]))
    if not found:
        raise Refused(404, "Not Found")
    return {"errors": [*rules.owners_errors(call.state, call.repo, *found)]}


def holder(call: Call, environment: str) -> Repo | Environment:
    """Whose secrets and variables a call is about: the environment's that it names, else the repository's."""
    return found_environment(call, environment) if environment else call.repo


def found_environment(call: Call, name: str) -> Environment:
    found = call.repo.environments.get(name.lower())
    if not found:
        raise Refused(404, "Not Found")
    return found


@route("GET /repos/{repo}/actions/secrets", grant="secrets:read")
@route("GET /repos/{repo}/environments/{environment}/secrets", grant="environments:read")
def list_secrets(call: Call, environment: str = "") -> Json:
    times = {"created_at": call.state.now(), "updated_at": call.state.now()}
    return counted("secrets", [{"name": name, **times} for name in sorted(holder(call, environment).secrets)])


@route("GET /repos/{repo}/actions/secrets/{name}", grant="secrets:read")
def get_secret(call: Call, name: str) -> Json:
    for row in list_secrets(call)["secrets"]:
        if row["name"] == name:
            return dict(row)
    raise Refused(404, "Not Found")


@route("GET /repos/{repo}/actions/organization-secrets", grant="secrets:read")
def list_organization_secrets(call: Call) -> Json:
    times = {"created_at": call.state.now(), "updated_at": call.state.now()}
    return counted("secrets", [{"name": name, **times} for name in sorted(call.repo.organization_secrets)])


@route("GET /repos/{repo}/actions/organization-variables", grant="actions_variables:read")
def list_organization_variables(call: Call) -> Json:
    return counted("variables", [])


@route("GET /repos/{repo}/actions/variables", grant="actions_variables:read")
@route("GET /repos/{repo}/environments/{environment}/variables", grant="environments:read")
def list_variables(call: Call, environment: str = "") -> Json:
    return counted("variables", list(holder(call, environment).variables.values()))


@route("POST /repos/{repo}/actions/variables", grant="actions_variables:write")
@route("POST /repos/{repo}/environments/{environment}/variables", grant="environments:write")
def create_variable(call: Call, environment: str = "") -> Answer:
    body, there = call.need("Variable", "name", "value"), holder(call, environment)
    if body["name"] in there.variables:
        raise Refused(409, "Already exists - Variable already exists")
    actions.set_variable(call.state, there, body["name"], body["value"])
    return Answer(201, {})


@route("GET /repos/{repo}/actions/variables/{name}", grant="actions_variables:read")
def get_variable(call: Call, name: str) -> Json:
    if name not in call.repo.variables:
        raise Refused(404, "Not Found")
    return call.repo.variables[name]


@route("PATCH /repos/{repo}/actions/variables/{name}", grant="actions_variables:write")
def update_variable(call: Call, name: str) -> None:
    actions.set_variable(call.state, call.repo, name, call.body.get("value", get_variable(call, name)["value"]))


@route("GET /repos/{repo}/environments", grant="actions:read")
def list_environments(call: Call) -> Json:
    return counted("environments", call.repo.rows("environments"))


@route("GET /repos/{repo}/environments/{environment}", grant="actions:read")
def get_environment(call: Call, environment: str) -> Json:
    return found_environment(call, environment).info


@route("PUT /repos/{repo}/environments/{environment}", grant="administration:write")
def set_environment(call: Call, environment: str) -> Json:
    return environments.configure(call.state, call.repo, environment, call.body)


@route("DELETE /repos/{repo}/environments/{environment}", grant="administration:write")
def delete_environment(call: Call, environment: str) -> None:
    del call.repo.tables["environments"][found_environment(call, environment).info["id"]]
    del call.repo.environments[environment.lower()]


POLICIES = "/repos/{repo}/environments/{environment}/deployment-branch-policies"


@route(f"GET {POLICIES}", grant="actions:read")
def list_branch_policies(call: Call, environment: str) -> Json:
    return counted("branch_policies", list(found_environment(call, environment).policies.values()))


@route(f"POST {POLICIES}", grant="administration:write")
def add_branch_policy(call: Call, environment: str) -> Answer:
    there, body = found_environment(call, environment), call.need("DeploymentBranchPolicy", "name")
    return Answer(200, environments.add_policy(call.state, there, body))


@route(f"DELETE {POLICIES}/{{id}}", grant="administration:write")
def delete_branch_policy(call: Call, environment: str, id: int) -> None:
    if not found_environment(call, environment).policies.pop(id, None):
        raise Refused(404, "Not Found")
