"""How the repository is set up on GitHub: `make doctor` looks, `make setup-github` sets what the token may.

Run by a person, with a token of that person's: GITHUB_TOKEN, GH_TOKEN, or the one of GitHub's command line `gh`.
"""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode, urlsplit

import yaml

from gitops import platform, pulls, rulesets
from gitops.pulls import ForbiddenError, NotFoundError, Repository, ask, found, pages
from pipeline import places

GOOD, OFF, WEAK, BROKEN, HIDDEN = "✓", "·", "!", "✗", "?"
LEGEND = (
    f"{GOOD} as it should be   {OFF} an option, off   {WEAK} works, and could be safer   "
    f"{BROKEN} to be mended   {HIDDEN} cannot be told from here"
)
MAINS = ("main", "master", "trunk")  # default branches on which the workflows start at once, as they say
PARAMS, PROMOTION = Path("params.yaml"), Path("policies/promotion.yaml")
SETUP = "make setup-github"
EDIT = f"${{EDITOR:-vi}} {platform.FILE}"
WORKFLOWS = ("pull-request.yml", "release.yml", "deploy.yml", "drift.yml", "verify.yml")
LABELS = {
    "promotion": ("0e8a16", "Ships a model, or rolls one back"),
    "retrain": ("fbca04", "Trains on newer data"),
    "drift": ("d93f0b", "Live data is not what the model learned from"),
    pulls.LABEL: ("ededed", "Kept by gitops"),
}
APP_KEY = "GITOPS_APP_PRIVATE_KEY"
APP_PERMISSIONS = {
    **{"contents": "write", "issues": "write", "pull_requests": "write"},
    **{"actions": "read", "checks": "write", "deployments": "read"},
}
ENVIRONMENT = "main-only"  # whose secrets no other branch's workflow reads
CUSTOM = {"protected_branches": False, "custom_branch_policies": True}
SECRETS = (APP_KEY, "CONTAINER_REGISTRY_PASSWORD", "MLFLOW_TRACKING_TOKEN")
VARIABLES = {"GITOPS_APP_CLIENT_ID", *(name.upper() for name in platform.KEYS)}  # which the workflows once read
OUTSIDERS = "all_external_contributors"
FORKS = {
    **{"send_write_tokens_to_workflows": False, "send_secrets_and_variables": False},
    "require_approval_for_fork_pr_workflows": True,
}
HOSTED = re.compile(r"(ubuntu|windows|macos)-")  # labels of GitHub's own runners
TRAINING = ("train.yml", "release.yml")  # the workflows that a GPU runner is for
TEAMS = {
    1: {"required_approving_review_count": 0, "require_code_owner_review": False, "require_last_push_approval": False},
    2: {"required_approving_review_count": 1, "require_code_owner_review": True, "require_last_push_approval": True},
}

Json = Mapping[str, Any]
T = TypeVar("T")


class Finding(NamedTuple):
    """One line: a mark, what is, and the commands that mend it."""

    mark: str
    says: str
    mends: tuple[str, ...] = ()


def unopened(packages: Mapping[str, str], address: str) -> str | None:
    """Why the jobs cannot open an address, by what the locks hold; None where they can."""
    return places.problem(address, packages, lambda package: places.locked(package, packages["s3"]))


OPTIONS: Mapping[str, Callable[[str], str | None]] = {
    "dvc_remote": partial(unopened, places.DVC),
    "container_registry": lambda value: None,
    "prediction_log": partial(unopened, places.FSSPEC),
    "mlflow_tracking_uri": lambda value: None,
}
"""What has an address, and why the jobs cannot open it."""


def doctor() -> None:
    """Prints one line a check, with the commands that mend; exits 1 where something that the loop needs is broken."""
    here = repository()
    findings = patiently(lambda: list(examine(here)))
    for finding in findings:
        print("\n    ".join([f"{finding.mark} {finding.says}", *finding.mends]))
    print(f"\n{LEGEND}")
    if (name := host(here.session.base_url)) != "github.com" and any(finding.mends for finding in findings):
        print(f"\nThe commands are for {name}: export GH_HOST={name}")
    sys.exit(any(finding.mark == BROKEN for finding in findings))


def setup(team: int | None = None) -> None:
    """Sets what the loop needs and is not set; exits 1 where this token may not. team: 1, or 2 and more."""
    if team:
        print(f"Team: {set_team(team)}")
    platform.here()  # ends here where it is broken
    here, refused = repository(), False
    limited = patiently(partial(unprotected, here))
    if limited:
        print(f"Plan: {UNPROTECTED}")
    for title, step in STEPS.items():
        if limited and title in PAID:
            continue
        try:
            print(f"{title}: {patiently(partial(step, here))}")
        except (ForbiddenError, NotFoundError) as error:  # GitHub hides what a token may not change
            refused = True
            print(f"{title}: this token may not ({error.msg}); ask an administrator to run `{SETUP}`")
    sys.exit(refused)


def patiently(action: Callable[[], T]) -> T:
    """What the action gives: passing faults are waited for, a lasting one ends with a sentence, a refusal is raised."""
    try:
        return pulls.persist(action)
    except (ForbiddenError, NotFoundError):
        raise
    except (pulls.GitHubException, pulls.requests.RequestException) as error:
        sys.exit(f"GitHub: {error}")


# --- whom to ask -----------------------------------------------------------------------------------------------------


def repository() -> Repository:
    """The repository on GitHub that this clone came from. Ends with a sentence where there is none to be seen."""
    name, address = os.environ.get("GITHUB_REPOSITORY"), os.environ.get("GITHUB_API_URL")
    if not name or not address:
        there = origin()
        name, address = name or there.name, address or there.api
    try:
        asked = {"GITHUB_API_URL": address, "GITHUB_TOKEN": token(host(address)), "GITHUB_REPOSITORY": name}
        return pulls.repository(asked)
    except (pulls.GitHubException, pulls.requests.RequestException) as error:
        check = "check `git remote get-url origin` and the token, or set GITHUB_API_URL"
        sys.exit(f"{name} cannot be seen at {address}: {error}; {check}")


class Origin(NamedTuple):
    """Where a remote lies: the API's address of its GitHub, and owner/name there."""

    api: str
    name: str


def origin() -> Origin:
    """Of the remote `origin`. Ends with a sentence where there is none on a GitHub."""
    done = subprocess.run(["git", "remote", "get-url", "origin"], capture_output=True, text=True)
    match = ORIGIN.fullmatch(done.stdout.strip())
    if not match:
        why = f" (git: {' '.join(done.stderr.split())})" if done.returncode else ""
        sys.exit(f"This clone has no remote `origin` on GitHub{why}: push it, or set GITHUB_REPOSITORY=owner/name")
    plain = match["scheme"] in ("http", "https")
    place = match["host"] + (match["port"] or "") if plain else ssh_host(match["host"])
    return Origin(api(place.lower(), "http" if match["scheme"] == "http" else "https"), match["name"])


ORIGIN = re.compile(
    r"""
    (?: (?P<scheme> https? | ssh ) :// )?
    (?: [^@/]* @ )?
    (?P<host> [\w.-]{2,} ) (?P<port> :\d+ (?=/) )?
    (?(scheme) / | :/? ) (?P<name> [\w.-]+ / [\w.-]+? ) (?:\.git)? /?
    """,
    re.VERBOSE,
)
"""As git takes it: https://user@host:port/owner/name.git, ssh://git@host:22/owner/name.git, git@host:owner/name.git."""


def ssh_host(name: str) -> str:
    """The host that a name of ssh's configuration stands for: an alias, or GitHub's way around firewalls."""
    with suppress(OSError):
        told = subprocess.run(["ssh", "-G", "--", name], capture_output=True, text=True).stdout
        name = next((line.split()[1] for line in told.splitlines() if line.startswith("hostname ")), name)
    return name.removeprefix("ssh.") if name.startswith("ssh.github.") else name


def api(host: str, scheme: str = "https") -> str:
    """The address of the API of the GitHub at a host: GitHub's own, one of GHE.com's, or a server of somebody's."""
    if host in ("github.com", "www.github.com"):
        return "https://api.github.com"
    return f"https://api.{host}" if host.endswith(".ghe.com") else f"{scheme}://{host}/api/v3"


def host(address: str) -> str:
    """The host of an API's address, as the command line `gh` calls it."""
    netloc = urlsplit(address).netloc
    return netloc.removeprefix("api.") if netloc.endswith(("github.com", ".ghe.com")) else netloc


def token(hostname: str) -> str:
    """The person's token for a GitHub."""
    for name in ("GITHUB_TOKEN", "GH_TOKEN"):
        if os.environ.get(name):
            return os.environ[name]
    command = ["gh", "auth", "token", "--hostname", hostname]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        sys.exit(f"There is no token: set GITHUB_TOKEN, or log in with `gh auth login --hostname {hostname}`")


def organisation(here: Repository, path: str, field: str, **query: str) -> list[Json]:
    """A listing of the organisation that owns the repository; empty where a person owns it. Raises as `ask` does."""
    if here.owner.type != "Organization":
        return []
    url = here.session.build_url("orgs", here.owner.login, path)
    listed: list[Json] = pulls.said(here.session.get(url, params={"per_page": 100, **query}))[field]
    return listed


# --- the checks ------------------------------------------------------------------------------------------------------


def examine(here: Repository) -> Iterator[Finding]:
    """Every check, those first that the loop cannot do without."""
    limited = unprotected(here)
    if limited:
        yield Finding(BROKEN, f"Plan: {UNPROTECTED}", (f"open {here.html_url}/settings",))
    unread = [*unreadable()]
    yield from unread
    for title, check in CHECKS.items():
        if not (limited and title in PAID or unread and title in SWITCHED):
            yield from seen(title, check, here)
    yield from source()


def seen(title: str, check: Callable[..., Iterable[Finding]], *arguments: Any) -> Iterator[Finding]:
    """What a check finds, or that this token may not see it."""
    try:
        yield from check(*arguments)
    except (ForbiddenError, NotFoundError) as error:
        if pulls.pause(error, 0) is not None:  # a rate limit, no refusal
            raise
        yield Finding(HIDDEN, f"{title}: not visible to this token ({error.msg})")
    except pulls.BadAnswer as error:
        yield Finding(HIDDEN, f"{title}: {error}")


def unprotected(here: Repository) -> bool:
    """Whether the plan has no rules, as it has none for a private repository of a free one."""
    try:
        ask(here, "GET", f"rules/branches/{here.default_branch}")
    except ForbiddenError as error:
        return "Upgrade" in str(error.msg)
    except NotFoundError:
        pass
    return False


UNPROTECTED = (
    "GitHub enforces no rulesets, no environments and no required reviewers in a private repository of a free plan. "
    "Whoever may write may push to the default branch and to `production`, and reads each secret by a pushed workflow. "
    "What holds is that deploy.yml verifies a promotion before it moves `production`, and that an owner of the bars "
    "verifies one before merging it: make verify PR=N. Let those alone write whom you trust with production, keep no "
    "secret here that opens more than this, and upgrade, or make it public"
)
PAID = ("Rulesets", "App's rulesets", "Team", "Environment", "Secrets")  # the checks and steps that such a plan lacks


def unreadable() -> Iterator[Finding]:
    """What is wrong with platform.yaml."""
    try:
        platform.here()
    except SystemExit as error:
        yield from (Finding(BROKEN, line, (EDIT,)) for line in str(error).splitlines())


SWITCHED = ("App's rulesets", "Actions", "App", "Runner", platform.FILE)  # the checks that read platform.yaml


def branch(here: Repository) -> Iterator[Finding]:
    """Whether the default branch is one that the workflows start on when it is pushed to."""
    default, path = here.default_branch, f"repos/{here.full_name}"
    if default in MAINS:
        yield Finding(GOOD, f"Branch: {default} is the default branch")
        return
    known = ", ".join(MAINS)
    says = f"Branch: {default} is the default branch, and pushes start release and deploy on {known} alone: what is"
    says += " merged waits up to six hours for their schedule; rename it, or name it under `push` of both workflows"
    main = MAINS[0]
    there = found(here, f"branches/{main}")
    if there and there["name"] == main:  # not what GitHub sends one to after a renaming
        yield Finding(OFF, says, (f"gh api -X PATCH {path} -f default_branch={main}",))
    else:
        yield Finding(OFF, says, (f"gh api -X POST {path}/branches/{default}/rename -f new_name={main}",))


def ruleset(here: Repository) -> Iterator[Finding]:
    """Whether branches and tags are protected as policies/ruleset*.json say, or more strictly."""
    yield from in_force(here, rulesets.OF_ALL)


def app_rulesets(here: Repository) -> Iterator[Finding]:
    """Whether what the App alone may do is kept from everybody else; and from nobody where there is no App."""
    client = platform.here()["app_client_id"]
    if not client:
        waits = {rulesets.name(path): rulesets.own(here, rulesets.name(path)) for path in rulesets.OF_APP}
        for title, number in waits.items():
            if number:
                says = f"App's rulesets: {title!r} waits for an App, and {platform.FILE} names none"
                mend = f"gh api -X DELETE repos/{here.full_name}/rulesets/{number}"
                yield Finding(BROKEN, says, (mend,))
    elif app := app_id(here, client):
        yield from in_force(here, rulesets.OF_APP, app)
    elif here.owner.type != "Organization":  # else `installation` says that it is not installed
        says = "App's rulesets: they name the App's id, which no token of a person shows: it is on the App's page"
        yield Finding(HIDDEN, says, (f"{SETUP} APP_ID=123456", "make doctor APP_ID=123456"))


def in_force(here: Repository, paths: Iterable[Path], app: int = 0) -> Iterator[Finding]:
    """Whether rulesets are in force, or stricter ones are."""
    lacks = {path: rulesets.differences(here, rulesets.wanted(here, path, app)) for path in paths}
    mends = (SETUP if not os.environ.get("APP_ID") else f"{SETUP} APP_ID={app}",)
    for path, wrong in lacks.items():
        if wrong:
            yield Finding(BROKEN, f"Ruleset {path} is not in force: {'; '.join(wrong)}", mends)
    if not any(lacks.values()):
        yield Finding(GOOD, f"Rulesets: in force, {', '.join(path.name for path in lacks)}")


def team(here: Repository) -> Iterator[Finding]:
    """Whether the people who may write can merge at all by the rules of policies/."""
    rules = rulesets.wanted(here, rulesets.MAIN)["rules"]
    asked = next(rule["parameters"] for rule in rules if rule["type"] == "pull_request")
    alone = not asked["required_approving_review_count"]
    writers = {row["login"] for row in pages(here, "collaborators", permission="push")}
    if len(writers) == 1 and not alone:
        says = (
            f"Team: {', '.join(writers)} alone may write, and the rules ask for an approval that nobody else can give"
        )
        yield Finding(BROKEN, says, (f"{SETUP} TEAM=1",))
    elif alone and len(writers) > 1:
        says = f"Team: {len(writers)} may write by the rules of a team of one: each merges what nobody else has seen"
        yield Finding(WEAK, says, (f"{SETUP} TEAM=2",))
    elif alone:
        yield Finding(GOOD, f"Team: of one: {ALONE}")
    else:
        yield Finding(GOOD, f"Team: {TOGETHER}")


ALONE = "what you propose and what the bot proposes is merged once its checks are green, and nobody has to approve"
TOGETHER = "an owner approves what somebody else pushed last, and pressing Update branch is a push"


def environment(here: Repository) -> Iterator[Finding]:
    """Whether the environment that holds the secrets is the default branch's alone."""
    wrong, mends = [], []
    path = f"repos/{here.full_name}/environments/{ENVIRONMENT}"
    there = found(here, f"environments/{ENVIRONMENT}")
    if not there or (there["deployment_branch_policy"] or {}) != CUSTOM:
        policy = there and there["deployment_branch_policy"]
        wrong = ["not there" if not there else f"open to {'protected branches' if policy else 'every branch'}"]
        fields = " ".join(f"-F 'deployment_branch_policy[{name}]={json.dumps(on)}'" for name, on in CUSTOM.items())
        mends = [f"gh api -X PUT {path} {fields}"]
    named, others = branch_policies(here)
    if not named:
        wrong.append(f"not open to {here.default_branch}")
        mends.append(f"gh api -X POST {path}/deployment-branch-policies -f name={here.default_branch} -f type=branch")
    for row in others:
        wrong.append(f"open to {row.get('type', 'branch')} {row['name']}")
        mends.append(f"gh api -X DELETE {path}/deployment-branch-policies/{row['id']}")
    if wrong:
        yield Finding(BROKEN, f"Environment {ENVIRONMENT}: {', '.join(wrong)}", tuple(mends))
    else:
        yield Finding(GOOD, f"Environment {ENVIRONMENT}: open to {here.default_branch} alone")


def secrets(here: Repository) -> Iterator[Finding]:
    """Whether the secrets that the workflows use lie where only the default branch's workflows read them."""
    open_to_all = {
        name: home
        for home, listing in (("org", "organization-secrets"), ("repo", "secrets"))
        for name in names(here, f"actions/{listing}", "secrets")
    }
    for name, home in open_to_all.items():
        where = {"repo": f"--repo {here.full_name}", "org": f"--org {here.owner.login}"}[home]
        of = {"repo": "the repository", "org": "the organisation"}[home]
        take = f"gh secret delete {name} {where}"
        if name in SECRETS:
            says = f"Secret {name}: a secret of {of}, so any pushed workflow reads it"
            yield Finding(BROKEN, f"{says}: renew it, and keep it in {ENVIRONMENT}", (to_environment(here, name), take))
        elif home == "repo":
            says = f"Secret {name}: the loop uses it nowhere, and any pushed workflow reads it"
            yield Finding(WEAK, says, (take,))
    if not set(SECRETS) & set(open_to_all):
        ours = [name for name in kept(here) if name in SECRETS]
        yield Finding(GOOD, f"Secrets: {', '.join(ours) or 'none'} in {ENVIRONMENT}, and none outside of it")


def to_environment(here: Repository, name: str) -> str:
    """The command that keeps a secret where it belongs."""
    return f"gh secret set {name} --env {ENVIRONMENT} --repo {here.full_name}"


def names(here: Repository, path: str, field: str) -> list[str]:
    """The names in a listing."""
    return [row["name"] for row in pages(here, path, field)]


def kept(here: Repository) -> list[str]:
    """The secrets of the environment; none where it is not there."""
    try:
        return names(here, f"environments/{ENVIRONMENT}/secrets", "secrets")
    except NotFoundError:
        return []


def owners(here: Repository) -> Iterator[Finding]:
    """Whether GitHub knows everybody whom CODEOWNERS names: a line with an unknown owner protects nothing."""
    told = found(here, "codeowners/errors")
    if told is None:
        says = f"CODEOWNERS: there is none on {here.default_branch}: nobody in particular has to approve a bar"
        yield Finding(BROKEN, says, (f"echo '* @{here.owner.login}' > .github/CODEOWNERS",))
        return
    lines = defaultdict(list)
    for error in told["errors"]:
        words = error["source"][error["column"] - 1 :].split() or [error["source"]]
        lines[words[0]].append(str(error["line"]))
    for owner, where in lines.items():
        says = f"CODEOWNERS: {owner} is nobody who may write here, so these lines protect nothing: {', '.join(where)}"
        yield Finding(BROKEN, says, (admit(here, owner),))
    if not lines:
        yield Finding(GOOD, "CODEOWNERS: GitHub knows all owners")


def admit(here: Repository, owner: str) -> str:
    """The command that lets an owner write, or opens the file where it is no owner's name."""
    name = re.fullmatch(r"@(?:([\w-]+)/)?([\w-]+)", owner)
    if not name:
        return "${EDITOR:-vi} .github/CODEOWNERS"
    team = f"orgs/{name[1]}/teams/{name[2]}/repos/{here.full_name}"
    return f"gh api -X PUT {team if name[1] else f'repos/{here.full_name}/collaborators/{name[2]}'} -f permission=push"


def workflows(here: Repository) -> Iterator[Finding]:
    """Whether the loop's workflows are there and on: GitHub switches schedules off after 60 days of silence."""
    states = {Path(row["path"]).name: row["state"] for row in pages(here, "actions/workflows", "workflows")}
    for name in WORKFLOWS:
        if name not in states:
            mend = f"git push origin HEAD:{here.default_branch}"
            yield Finding(BROKEN, f"Workflow {name}: not on {here.default_branch} yet", (mend,))
        elif states[name] != "active":
            why = " after 60 days without activity" if states[name] == "disabled_inactivity" else ""
            mend = f"gh workflow enable {name} --repo {here.full_name}"
            yield Finding(BROKEN, f"Workflow {name}: switched off{why}", (mend,))
    if all(states.get(name) == "active" for name in WORKFLOWS):
        yield Finding(GOOD, f"Workflows: {', '.join(WORKFLOWS)} are on")


def actions(here: Repository) -> Iterator[Finding]:
    """What a workflow's own token may do."""
    path = f"repos/{here.full_name}/actions/permissions/workflow"
    has, app = ask(here, "GET", "actions/permissions/workflow"), platform.here()["app_client_id"]
    if has["default_workflow_permissions"] != "read":
        says = "Actions: a workflow that asks for nothing may write"
        yield Finding(BROKEN, says, (f"gh api -X PUT {path} -f default_workflow_permissions=read",))
    switch = f"gh api -X PUT {path} -F can_approve_pull_request_reviews"
    if has["can_approve_pull_request_reviews"] and app:
        says = "Actions: may create pull requests, which the App does, and so may approve them, which nobody needs"
        yield Finding(WEAK, says, (f"{switch}=false",))
    elif has["can_approve_pull_request_reviews"]:
        says = "Actions: may create pull requests; the same switch lets a workflow approve them: a code owner's review"
        yield Finding(GOOD, f"{says} still holds, and with an App the switch can be off")
    elif app:
        yield Finding(GOOD, "Actions: may neither create nor approve pull requests: the App creates them")
    else:
        says = "Actions: may not create pull requests: an issue carries the link that opens one"
        yield Finding(OFF, says, (f"{switch}=true", EDIT))


def forks(here: Repository) -> Iterator[Finding]:
    """Whether what an outsider sends waits for somebody before it runs."""
    if private(here):
        path = "actions/permissions/fork-pr-workflows-private-repos"
        has = ask(here, "GET", path)
        runs = has["run_workflows_from_fork_pull_requests"]
        wrong = [name for name, value in FORKS.items() if runs and has[name] != value]
        fields = " ".join(f"-F {name}={json.dumps(value)}" for name, value in FORKS.items())
        mend = f"gh api -X PUT repos/{here.full_name}/{path} -F run_workflows_from_fork_pull_requests=true {fields}"
        if wrong:
            shown = ", ".join(f"{name} {json.dumps(has[name])}" for name in wrong)
            yield Finding(BROKEN, f"Forks: their workflows run with {shown}", (mend,))
        else:
            yield Finding(GOOD, f"Forks: their workflows {'wait for an approval' if runs else 'run nowhere here'}")
        return
    path = "actions/permissions/fork-pr-contributor-approval"
    policy = ask(here, "GET", path)["approval_policy"]
    if policy == OUTSIDERS:
        yield Finding(GOOD, "Forks: what any outsider sends waits for an approval before it runs")
    else:
        says = f"Forks: approval is asked of {policy} only: whoever had one change merged runs what they like"
        yield Finding(BROKEN, says, (f"gh api -X PUT repos/{here.full_name}/{path} -f approval_policy={OUTSIDERS}",))


def private(here: Repository) -> bool:
    """Whether the repository is not public; with GitHub Enterprise, an internal one too."""
    return bool(pulls.said(here.session.get(here.url))["private"])


def releases(here: Repository) -> Iterator[Finding]:
    """Whether a release can be changed once it is published."""
    if immutable(here):
        yield Finding(GOOD, "Releases: immutable")
    else:
        says = "Releases: may be changed after they are published, which deploy.yml notices, and other readers do not"
        yield Finding(OFF, says, (f"gh api -X PUT repos/{here.full_name}/immutable-releases",))


def immutable(here: Repository) -> bool:
    """Whether releases are immutable; GitHub answers 404 where they are not."""
    return bool((found(here, "immutable-releases") or {}).get("enabled"))


def auto_merge(here: Repository) -> Iterator[Finding]:
    """Whether the repository allows what the policies ask for."""
    allowed, wanted = here.allow_auto_merge, wants_auto_merge()
    if allowed is None and wanted:
        yield Finding(HIDDEN, "Auto-merge: not visible to this token")
    elif wanted and not allowed:
        says = f"Auto-merge: {wanted} asks for it, and the repository does not allow it"
        yield Finding(BROKEN, says, (f"gh api -X PATCH repos/{here.full_name} -F allow_auto_merge=true",))
    else:
        yield Finding(GOOD, "Auto-merge: allowed, as asked for" if wanted else "Auto-merge: no policy asks for it")


def labels(here: Repository) -> Iterator[Finding]:
    """Whether the labels are there that gitops uses."""
    if missing := missing_labels(here):
        create = f"gh label create --repo {here.full_name}"
        mends = [f"{create} {name} --color {LABELS[name][0]} --description '{LABELS[name][1]}'" for name in missing]
        yield Finding(OFF, f"Labels: {', '.join(missing)} not there yet: made when first used, plain", tuple(mends))
    else:
        yield Finding(GOOD, f"Labels: {', '.join(LABELS)}")


def variables(here: Repository) -> Iterator[Finding]:
    """Whether repository variables are left that platform.yaml has taken the place of."""
    left = [name for name in names(here, "actions/variables", "variables") if name in VARIABLES]
    if left:
        says = f"Variables: {', '.join(left)}: read by nothing now; move each value to {platform.FILE}"
        yield Finding(WEAK, says, (EDIT, *(f"gh variable delete {name} --repo {here.full_name}" for name in left)))


def issues(here: Repository) -> Iterator[Finding]:
    """Whether there are issues, in which gitops says what needs people."""
    if here.has_issues:
        yield Finding(GOOD, "Issues: switched on")
    else:
        says = "Issues: switched off: what needs people is said in a run's summary alone, and nobody is told"
        yield Finding(OFF, says, (f"gh api -X PATCH repos/{here.full_name} -F has_issues=true",))


def options(here: Repository) -> Iterator[Finding]:
    """Whether the jobs can open the addresses of platform.yaml."""
    known = platform.here()
    for name, problem in OPTIONS.items():
        value = known[name]
        if not value:
            key = platform.KEYS[name]
            yield Finding(OFF, f"{name} is null: {key.without}", (f"{EDIT}  # {name}: {key.example}",))
        elif said := problem(value):
            yield Finding(BROKEN, f"{name} is {value}: {said}", (EDIT,))
        else:
            yield Finding(GOOD, f"{name} is {value}")


def app(here: Repository) -> Iterator[Finding]:
    """Whether the App has its key and the permissions that gitops asks for, and no more power over workflows."""
    client = platform.here()["app_client_id"]
    homes = ("actions/secrets", "actions/organization-secrets")
    key = APP_KEY in kept(here) or any(APP_KEY in names(here, home, "secrets") for home in homes)
    to_key = f"{to_environment(here, APP_KEY)} < private-key.pem"
    to_client = f"{EDIT}  # app_client_id: {platform.KEYS['app_client_id'].example}"
    if not client and not key:
        says = "App: none: the checks of what gitops proposes wait for one click, people verify a promotion before"
        mends = (f"open '{registration(here)}'", to_client, to_key)
        yield Finding(OFF, f"{says} it is merged, and whoever may write may move `production`", mends)
    elif not client:
        says = f"App: the secret {APP_KEY} is set, and {platform.FILE} names no app_client_id"
        yield Finding(BROKEN, says, (to_client,))
    elif not key:
        says = f"App: {platform.FILE} names {client}, and {ENVIRONMENT} has no secret {APP_KEY}"
        yield Finding(BROKEN, says, (to_key,))
    elif here.owner.type != "Organization":
        yield Finding(HIDDEN, "App: set; its permissions are not visible to this token: see Settings, Applications")
    else:
        yield from installation(here, client)


def registration(here: Repository) -> str:
    """The page that makes an App, its permissions filled in; the App's own page has client id, key and *Install*."""
    owner = f"organizations/{here.owner.login}/" if here.owner.type == "Organization" else ""
    page = f"{here.html_url.removesuffix(here.full_name)}{owner}settings/apps/new"
    asked = {"url": here.html_url, "public": "false", "webhook_active": "false", **APP_PERMISSIONS}
    return f"{page}?{urlencode(asked)}"


def installation(here: Repository, client: str) -> Iterator[Finding]:
    """What the organisation lets the App do."""
    mine = installed(here, client)
    if mine is None:
        says = f"App: none with the client id {client} is installed in {here.owner.login}"
        yield Finding(BROKEN, says, (EDIT,))
        return
    has = mine["permissions"]
    wrong = [
        f"{name} is not {level}" for name, level in APP_PERMISSIONS.items() if has.get(name) not in (level, "write")
    ]
    wrong += ["workflows is granted: it could change what checks it"] if "workflows" in has else []
    if wrong:
        says = f"App {mine['app_slug']}: {'; '.join(wrong)}; change it, then accept the change"
        yield Finding(BROKEN, says, (f"open {mine['html_url']}",))
    else:
        yield Finding(GOOD, f"App {mine['app_slug']}: may do what gitops asks for, and may not change workflows")


def installed(here: Repository, client: str) -> Json | None:
    """The installation of the App in the organisation; None where there is none, or no organisation."""
    rows = organisation(here, "installations", "installations")
    return next((row for row in rows if row.get("client_id") == client), None)


def app_id(here: Repository, client: str) -> int:
    """The App's id: APP_ID's, else that which the organisation knows by its client id; 0 where none is seen."""
    if said := os.environ.get("APP_ID"):
        return int(said)
    return int((installed(here, client) or {}).get("app_id", 0))


def runner(here: Repository) -> Iterator[Finding]:
    """Whether a machine waits for what gpu_runner names, and whether strangers' code may reach it."""
    label = platform.here()["gpu_runner"]
    if not label:
        key = platform.KEYS["gpu_runner"]
        yield Finding(OFF, f"Runner: gpu_runner is null: {key.without}", (f"{EDIT}  # gpu_runner: {key.example}",))
        return
    if HOSTED.match(label):
        yield Finding(GOOD, f"Runner: {label} is GitHub's")
        return
    own = labelled(pages(here, "actions/runners", "runners"), label)
    grouped: dict[str, Json] = {}
    for group in organisation(here, "actions/runner-groups", "runner_groups", visible_to_repository=name_of(here)):
        rows = organisation(here, f"actions/runner-groups/{group['id']:.0f}/runners", "runners")
        if there := labelled(rows, label):
            yield from restricted(here, group)
            grouped |= there
    if own and here.owner.type == "Organization":
        says = f"Runner {', '.join(own)}: the repository's own, so no group keeps a pushed workflow from it"
        where = f"{here.html_url.removesuffix(here.full_name)}organizations/{here.owner.login}/settings/actions"
        yield Finding(BROKEN, f"{says}: register it in a runner group", (f"open {where}/runner-groups",))
    yield from waiting(label, own | grouped)
    if here.owner.type != "Organization":
        says = "Runner's hook: a person's account has no runner groups, so the hook that refuses other workflows"
        yield Finding(HIDDEN, f"{says} (deploy/runners/) has to be on the machine, and cannot be seen from here")


def name_of(here: Repository) -> str:
    """The repository's name without its owner's."""
    return here.full_name.rpartition("/")[2]


def waiting(label: str, runners: Mapping[str, Json]) -> Iterator[Finding]:
    """Whether one of the runners is online, and whether each starts every job afresh."""
    online = [name for name, row in runners.items() if row["status"] == "online"]
    if online:
        yield Finding(GOOD, f"Runner: {', '.join(online)} online for the label {label}")
    elif runners:
        says = f"Runner: {', '.join(runners)} with the label {label} offline: training waits for it"
        yield Finding(BROKEN, says, (EDIT,))
    else:
        says = f"Runner: none has the label {label}; an idle scale set or a larger runner of GitHub's shows none, else"
        yield Finding(HIDDEN, f"{says} training waits", (EDIT,))
    if lasting := [name for name, row in runners.items() if not row.get("ephemeral")]:
        says = f"Runner {', '.join(lasting)}: not ephemeral: what one job leaves there, the next one meets"
        yield Finding(WEAK, says, ("./config.sh remove && ./config.sh --ephemeral  # on that machine",))


def restricted(here: Repository, group: Json) -> Iterator[Finding]:
    """Whether a runner group serves this repository's training alone."""
    path, wrong, mends = f"orgs/{here.owner.login}/actions/runner-groups/{group['id']:.0f}", [], []
    ours = private(here)
    workflows = [f"{here.full_name}/.github/workflows/{name}@refs/heads/{here.default_branch}" for name in TRAINING]
    if not group.get("restricted_to_workflows"):
        wrong.append("any workflow may use it")
    elif set(group.get("selected_workflows") or []) != set(workflows):
        wrong.append(f"its workflows are {', '.join(group.get('selected_workflows') or ['none'])}")
    if ours and group["allows_public_repositories"]:
        wrong.append("public repositories may use it")
    fields = [f"-f 'selected_workflows[]={each}'" for each in workflows]
    fields += ["-F restricted_to_workflows=true", f"-F allows_public_repositories={json.dumps(not ours)}"]
    if wrong or group["visibility"] != "selected":
        mends.append(f"gh api -X PATCH {path} -f name='{group['name']}' -f visibility=selected {' '.join(fields)}")
    if others(here, group):
        wrong.append("other repositories may use it")
        mends.append(f"gh api -X PUT {path}/repositories -F 'selected_repository_ids[]={here.id}'")
    title, purpose = f"Runner group {group['name']}", f"{' and '.join(TRAINING)} of {here.default_branch}"
    if wrong:
        yield Finding(BROKEN, f"{title}: {'; '.join(wrong)}; it should be for {purpose} alone", tuple(mends))
    else:
        yield Finding(GOOD, f"{title}: for {purpose} alone")


def others(here: Repository, group: Json) -> bool:
    """Whether a runner group serves other repositories too."""
    if group["visibility"] != "selected":
        return True
    rows = organisation(here, f"actions/runner-groups/{group['id']:.0f}/repositories", "repositories")
    return any(row["id"] != here.id for row in rows)


def labelled(runners: Iterable[Json], label: str) -> dict[str, Json]:
    """The runners that carry a label, by name."""
    return {row["name"]: row for row in runners if label in {each["name"] for each in row["labels"]}}


def source() -> Iterator[Finding]:
    """Whether the jobs can open data.source of params.yaml; nothing where they can."""
    params = (yaml.safe_load(PARAMS.read_text()) or {}) if PARAMS.exists() else {}
    there = str((params.get("data") or {}).get("source"))
    if "://" in there and not there.startswith("http") and (problem := unopened(places.FSSPEC, there)):
        yield Finding(BROKEN, f"data.source is {there}: {problem}", ("${EDITOR:-vi} params.yaml",))


CHECKS: Mapping[str, Callable[[Repository], Iterator[Finding]]] = {
    "Branch": branch,
    "Rulesets": ruleset,
    "App's rulesets": app_rulesets,
    "Team": team,
    "Environment": environment,
    "Secrets": secrets,
    "CODEOWNERS": owners,
    "Workflows": workflows,
    "Actions": actions,
    "Forks": forks,
    "Releases": releases,
    "Auto-merge": auto_merge,
    "Issues": issues,
    "Labels": labels,
    "Variables": variables,
    "App": app,
    "Runner": runner,
    platform.FILE: options,
}


# --- what is there ---------------------------------------------------------------------------------------------------


def branch_policies(here: Repository) -> tuple[list[Json], list[Json]]:
    """The environment's policies: that of the default branch, and all others."""
    rows: list[Json] = []
    with suppress(NotFoundError):
        rows += pages(here, f"environments/{ENVIRONMENT}/deployment-branch-policies", "branch_policies")
    ours = [row for row in rows if (row["name"], row.get("type", "branch")) == (here.default_branch, "branch")]
    return ours[:1], [row for row in rows if row not in ours[:1]]


def missing_labels(here: Repository) -> list[str]:
    """The labels that gitops uses and the repository lacks."""
    there = {row["name"] for row in pages(here, "labels")}
    return [name for name in LABELS if name not in there]


def wants_auto_merge() -> str:
    """The policy that asks for auto-merge; empty where none does."""

    def policy(name: str) -> Json:
        path = Path("policies", f"{name}.yaml")
        return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}

    if policy("promotion").get("mode") == "on-merge":
        return "policies/promotion.yaml"
    return "policies/drift.yaml" if policy("drift").get("retrain", {}).get("auto_merge") else ""


# --- setting it up ---------------------------------------------------------------------------------------------------


def set_team(size: int) -> str:
    """Writes into policies/ what a team of this size can work with."""
    ruleset, promotion = rulesets.MAIN.read_text(), PROMOTION.read_text()
    asked = TEAMS[min(size, 2)]
    for name, value in asked.items():
        ruleset = re.sub(rf'("{name}": )\w+', rf"\g<1>{json.dumps(value)}", ruleset)
    approvals = asked["required_approving_review_count"]
    promotion = re.sub(r"^(approvals: )\d+", rf"\g<1>{approvals}", promotion, flags=re.MULTILINE)
    rulesets.MAIN.write_text(ruleset)
    PROMOTION.write_text(promotion)
    return f"{ALONE if size == 1 else TOGETHER}; {rulesets.MAIN} and {PROMOTION} say so: propose both"


def set_rulesets(here: Repository) -> str:
    """Makes the rulesets of policies/, or brings them up to date, where something of one lacks."""
    return rulesets.make(here, rulesets.OF_ALL)


def set_app_rulesets(here: Repository) -> str:
    """Keeps for the App what it alone should do, where there is one."""
    client = platform.here()["app_client_id"]
    if not client:
        return f"{platform.FILE} names no App"
    if app := app_id(here, client):
        return rulesets.make(here, rulesets.OF_APP, app)
    return f"the App's id is not to be seen from here: {SETUP} APP_ID=123456, as the App's page has it"


def set_environment(here: Repository) -> str:
    """Makes the environment of the default branch alone."""
    path = f"environments/{ENVIRONMENT}"
    there = found(here, path)
    right = there and (there["deployment_branch_policy"] or {}) == CUSTOM
    if not right:
        ask(here, "PUT", path, {"deployment_branch_policy": CUSTOM})
    named, others = branch_policies(here)
    if not named:
        ask(here, "POST", f"{path}/deployment-branch-policies", {"name": here.default_branch, "type": "branch"})
    for row in others:
        ask(here, "DELETE", f"{path}/deployment-branch-policies/{row['id']}")
    already = right and named and not others
    return f"{ENVIRONMENT} is open to {here.default_branch} alone{' already' if already else ' now'}"


def set_actions(here: Repository) -> str:
    """Has a workflow's own token read unless it asks; lets it open pull requests where no App does."""
    path, app = "actions/permissions/workflow", platform.here()["app_client_id"]
    asked = {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": not app}
    says = "the App creates pull requests, Actions may not" if app else "may create pull requests"
    has = ask(here, "GET", path)
    if all(has[name] == value for name, value in asked.items()):
        return f"{says} already"
    ask(here, "PUT", path, asked)
    return f"{says} now"


def set_forks(here: Repository) -> str:
    """Has what outsiders send wait for an approval."""
    if private(here):
        path = "actions/permissions/fork-pr-workflows-private-repos"
        has = ask(here, "GET", path)
        if not has["run_workflows_from_fork_pull_requests"] or all(has[name] == FORKS[name] for name in FORKS):
            return "wait for an approval already, or run nowhere"
        ask(here, "PUT", path, {"run_workflows_from_fork_pull_requests": True, **FORKS})
        return "wait for an approval now, and see no secret"
    path = "actions/permissions/fork-pr-contributor-approval"
    if ask(here, "GET", path)["approval_policy"] == OUTSIDERS:
        return "wait for an approval already"
    ask(here, "PUT", path, {"approval_policy": OUTSIDERS})
    return "wait for an approval now, whoever sends them"


def set_releases(here: Repository) -> str:
    """Makes what is released immutable."""
    if immutable(here):
        return "immutable already"
    ask(here, "PUT", "immutable-releases")
    return "immutable from now on"


def set_labels(here: Repository) -> str:
    """Makes the labels that are missing."""
    missing = missing_labels(here)
    for name in missing:
        color, description = LABELS[name]
        ask(here, "POST", "labels", {"name": name, "color": color, "description": description})
    return f"made {', '.join(missing)}" if missing else "there already"


def set_auto_merge(here: Repository) -> str:
    """Allows auto-merge where a policy asks for it."""
    wanted = wants_auto_merge()
    if not wanted or here.allow_auto_merge:
        return "allowed already" if wanted else "no policy asks for it"
    pulls.checked(here.session.patch(here.url, json={"allow_auto_merge": True}))
    return f"allowed now, as {wanted} asks for it"


STEPS: Mapping[str, Callable[[Repository], str]] = {
    "Rulesets": set_rulesets,
    "App's rulesets": set_app_rulesets,
    "Environment": set_environment,
    "Actions": set_actions,
    "Forks": set_forks,
    "Releases": set_releases,
    "Labels": set_labels,
    "Auto-merge": set_auto_merge,
}
