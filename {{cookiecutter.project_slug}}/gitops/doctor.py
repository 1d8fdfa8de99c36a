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
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import yaml

from gitops import pulls
from gitops.pulls import ForbiddenError, NotFoundError, Repository, ask, found, pages
from pipeline import places

GOOD, OFF, BROKEN, HIDDEN = "✓", "·", "✗", "?"
LEGEND = f"{GOOD} as it should be   {OFF} an option, off   {BROKEN} to be mended   {HIDDEN} cannot be told from here"
MAIN = "main"  # as the workflows say
RULESET = Path("policies/ruleset.json")
PARAMS = Path("params.yaml")
WORKFLOWS = ("pull-request.yml", "release.yml", "deploy.yml", "drift.yml")
LABELS = {
    "promotion": ("0e8a16", "Ships a model, or rolls one back"),
    "retrain": ("fbca04", "Trains on newer data"),
    "drift": ("d93f0b", "Live data is not what the model learned from"),
    pulls.LABEL: ("ededed", "Kept by gitops"),
}
APP, APP_KEY = "GITOPS_APP_CLIENT_ID", "GITOPS_APP_PRIVATE_KEY"
APP_PERMISSIONS = {"contents": "write", "issues": "write", "pull_requests": "write", "actions": "read"}
HOSTED = re.compile(r"(ubuntu|windows|macos)-")  # labels of GitHub's own runners

Json = Mapping[str, Any]
T = TypeVar("T")


class Finding(NamedTuple):
    """One line: a mark, what is, and the commands that mend it."""

    mark: str
    says: str
    mends: tuple[str, ...] = ()


class Option(NamedTuple):
    """A variable that holds an address: an example, its form, what is so without it, and what can be wrong with it."""

    example: str
    form: str
    without: str
    problem: Callable[[str], str | None] = lambda value: None


def unopened(packages: Mapping[str, str], address: str) -> str | None:
    """Why the jobs cannot open an address, by what the locks hold; None where they can."""
    return places.problem(address, packages, lambda package: places.locked(package, packages["s3"]))


def databricks(address: str) -> str | None:
    """Why nothing can be mirrored to an address; None where it can."""
    wants = "needs DATABRICKS_HOST and DATABRICKS_TOKEN, which the workflows do not hand on"
    return f"{wants}: name a server by its https:// address" if address.startswith("databricks") else None


FOLDER = r"[a-z][a-z0-9+.-]*://\S+|/\S+"
OPTIONS = {
    "DVC_REMOTE": Option(
        "s3://bucket/dvc",
        FOLDER,
        "bytes travel as artifacts, which expire, and as release assets",
        partial(unopened, places.DVC),
    ),
    "CONTAINER_REGISTRY": Option(
        "ghcr.io/owner/name", r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+", "no image is pushed: the Bento alone is released"
    ),
    "PREDICTION_LOG": Option(
        "s3://bucket/predictions",
        FOLDER,
        "the drift check passes and says that it is off",
        partial(unopened, places.FSSPEC),
    ),
    "MLFLOW_TRACKING_URI": Option(
        "https://mlflow.example.org", r"https?://\S+|databricks\S*", "no server mirrors what git holds", databricks
    ),
}


def doctor() -> None:
    """Prints one line a check, with the commands that mend; exits 1 where something that the loop needs is broken."""
    here = repository()
    findings = patiently(lambda: list(examine(here)))
    for finding in findings:
        print("\n    ".join([f"{finding.mark} {finding.says}", *finding.mends]))
    print(f"\n{LEGEND}")
    sys.exit(any(finding.mark == BROKEN for finding in findings))


def setup() -> None:
    """Sets what the loop needs and is not set; exits 1 where this token may not."""
    here, refused = repository(), False
    for title, step in STEPS.items():
        try:
            print(f"{title}: {patiently(partial(step, here))}")
        except (ForbiddenError, NotFoundError) as error:  # GitHub hides what a token may not change
            refused = True
            print(f"{title}: this token may not ({error.msg}); ask an administrator to run `make setup-github`")
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
    name = os.environ.get("GITHUB_REPOSITORY") or origin()
    address = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    try:
        return pulls.repository({"GITHUB_API_URL": address, "GITHUB_TOKEN": token(), "GITHUB_REPOSITORY": name})
    except pulls.GitHubException as error:
        sys.exit(f"{name} cannot be seen at {address}: {error}; check `git remote get-url origin` and the token")


def origin() -> str:
    """owner/name of the remote `origin`."""
    done = subprocess.run(["git", "remote", "get-url", "origin"], capture_output=True, text=True)
    match = re.search(r"[/:]([\w.-]+/[\w.-]+?)(\.git)?/?$", done.stdout.strip())
    if not match:
        why = f" (git: {' '.join(done.stderr.split())})" if done.returncode else ""
        sys.exit(f"This clone has no remote `origin` on GitHub{why}: push it, or set GITHUB_REPOSITORY=owner/name")
    return match[1]


def token() -> str:
    """The person's token."""
    for name in ("GITHUB_TOKEN", "GH_TOKEN"):
        if os.environ.get(name):
            return os.environ[name]
    try:
        return subprocess.run(["gh", "auth", "token"], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        sys.exit("There is no token: set GITHUB_TOKEN, or log in with `gh auth login`")


def organisation(here: Repository, path: str, field: str) -> list[Json]:
    """A listing of the organisation that owns the repository; empty where a person owns it. Raises as `ask` does."""
    if here.owner.type != "Organization":
        return []
    url = here.session.build_url("orgs", here.owner.login, path)
    listed: list[Json] = pulls.said(here.session.get(url, params={"per_page": 100}))[field]
    return listed


# --- the checks ------------------------------------------------------------------------------------------------------


def examine(here: Repository) -> Iterator[Finding]:
    """Every check, those first that the loop cannot do without."""
    for title, check in CHECKS.items():
        yield from seen(title, check, here)
    yield from source()
    yield from seen("Variables, and so App, runner and addresses", configured, here)


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


def configured(here: Repository) -> Iterator[Finding]:
    """What the variables switch on."""
    known = variables(here)
    yield from seen("App", app, here, known.get(APP))
    yield from seen("Runner", runner, here, known.get("GPU_RUNNER"))
    for name, option in OPTIONS.items():
        yield address(here, name, option, known.get(name))


def branch(here: Repository) -> Iterator[Finding]:
    """Whether the default branch is the one that the workflows start on."""
    default, path = here.default_branch, f"repos/{here.full_name}"
    if default == MAIN:
        yield Finding(GOOD, f"Branch: {MAIN} is the default branch")
        return
    there = found(here, f"branches/{MAIN}")
    if there and there["name"] == MAIN:  # not what GitHub sends one to after a renaming
        mend = f"gh api -X PATCH {path} -f default_branch={MAIN}"
    else:
        mend = f"gh api -X POST {path}/branches/{default}/rename -f new_name={MAIN}"
    says = f"Branch: {default} is the default branch: release, deploy and drift only start on {MAIN}, so nothing ships"
    yield Finding(BROKEN, says, (mend,))


def ruleset(here: Repository) -> Iterator[Finding]:
    """Whether main is protected as policies/ruleset.json says, or more strictly."""
    branch, path = here.default_branch, f"repos/{here.full_name}/rulesets"
    try:
        lacking = differences(here)
    except ForbiddenError as error:
        if "Upgrade" not in str(error.msg):
            raise
        says = "Ruleset: GitHub enforces none on a private repository of a free plan: upgrade, or make it public"
        yield Finding(BROKEN, says, (f"open {here.html_url}/settings",))
        return
    if lacking:
        old = own_ruleset(here)
        command = f"gh api -X PUT {path}/{old}" if old else f"gh api -X POST {path}"
        says = f"Ruleset: {RULESET} is not in force on {branch}: {'; '.join(lacking)}"
        yield Finding(BROKEN, says, (f"{command} --input {RULESET}",))
    else:
        yield Finding(GOOD, f"Ruleset: {RULESET} is in force on {branch}")


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
    """Whether a workflow's own token may open pull requests."""
    if ask(here, "GET", "actions/permissions/workflow")["can_approve_pull_request_reviews"]:
        yield Finding(GOOD, "Actions: may create pull requests")
    else:
        path = f"repos/{here.full_name}/actions/permissions/workflow"
        says = "Actions: may not create pull requests: an issue carries the link that opens one"
        yield Finding(OFF, says, (f"gh api -X PUT {path} -F can_approve_pull_request_reviews=true",))


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


CHECKS: Mapping[str, Callable[[Repository], Iterator[Finding]]] = {
    "Branch": branch,
    "Ruleset": ruleset,
    "CODEOWNERS": owners,
    "Workflows": workflows,
    "Actions": actions,
    "Auto-merge": auto_merge,
    "Labels": labels,
}


def app(here: Repository, client: str | None) -> Iterator[Finding]:
    """Whether the App has its key and the permissions that gitops asks for, and no more power over workflows."""
    key = found(here, f"actions/secrets/{APP_KEY}") or any(
        row["name"] == APP_KEY for row in pages(here, "actions/organization-secrets", "secrets")
    )
    to_key = f"gh secret set {APP_KEY} --repo {here.full_name} < private-key.pem"
    to_client = f"gh variable set {APP} --repo {here.full_name} --body CLIENT_ID"
    if not client and not key:
        says = "App: none: the checks of what gitops proposes wait for one click"
        yield Finding(OFF, says, (to_client, to_key))
    elif not client:
        yield Finding(BROKEN, f"App: the secret {APP_KEY} is set and the variable {APP} is not", (to_client,))
    elif not key:
        yield Finding(BROKEN, f"App: the variable {APP} is set and the secret {APP_KEY} is not", (to_key,))
    elif here.owner.type != "Organization":
        yield Finding(HIDDEN, "App: set; its permissions are not visible to this token: see Settings, Applications")
    else:
        yield from installation(here, client)


def installation(here: Repository, client: str) -> Iterator[Finding]:
    """What the organisation lets the App do."""
    installed = organisation(here, "installations", "installations")
    mine = next((row for row in installed if row.get("client_id") == client), None)
    if mine is None:
        says = f"App: none with the client id {client} is installed in {here.owner.login}"
        yield Finding(BROKEN, says, (f"gh variable set {APP} --repo {here.full_name} --body CLIENT_ID",))
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


def runner(here: Repository, label: str | None) -> Iterator[Finding]:
    """Whether a machine waits for what GPU_RUNNER names."""
    unset = f"gh variable delete GPU_RUNNER --repo {here.full_name}"
    if not label:
        mend = f"gh variable set GPU_RUNNER --repo {here.full_name} --body LABEL"
        yield Finding(OFF, "Runner: GPU_RUNNER is not set: a hosted CPU trains", (mend,))
        return
    if HOSTED.match(label):
        yield Finding(GOOD, f"Runner: {label} is GitHub's")
        return
    states = labelled(pages(here, "actions/runners", "runners"), label)
    if "online" not in states.values():
        states |= labelled(organisation(here, "actions/runners", "runners"), label)
    online = [name for name, state in states.items() if state == "online"]
    if online:
        yield Finding(GOOD, f"Runner: {', '.join(online)} online for the label {label}")
    elif states:
        says = f"Runner: {', '.join(states)} with the label {label} offline: training waits for it"
        yield Finding(BROKEN, says, (unset,))
    else:
        says = f"Runner: none has the label {label}; an idle scale set or a larger runner of GitHub's shows none, else"
        yield Finding(HIDDEN, f"{says} training waits", (unset,))


def labelled(runners: Iterable[Json], label: str) -> dict[str, str]:
    """Name and status of the runners that carry a label."""
    return {row["name"]: row["status"] for row in runners if label in {each["name"] for each in row["labels"]}}


def address(here: Repository, name: str, option: Option, value: str | None) -> Finding:
    """Whether an address that a variable holds has the right form."""
    mend = (f"gh variable set {name} --repo {here.full_name} --body {option.example}",)
    if not value:
        return Finding(OFF, f"{name} is not set: {option.without}", mend)
    if "@" in urlsplit(value).netloc:
        return Finding(BROKEN, f"{name} holds a credential, and a variable is no secret: revoke it", mend)
    if not re.fullmatch(option.form, value):
        return Finding(BROKEN, f"{name} is {value!r}, which has not the form of {option.example}", mend)
    if problem := option.problem(value):
        return Finding(BROKEN, f"{name} is {value}: {problem}", mend)
    return Finding(GOOD, f"{name} is {value}")


def source() -> Iterator[Finding]:
    """Whether the jobs can open data.source of params.yaml; nothing where they can."""
    params = (yaml.safe_load(PARAMS.read_text()) or {}) if PARAMS.exists() else {}
    there = str((params.get("data") or {}).get("source"))
    if "://" in there and not there.startswith("http") and (problem := unopened(places.FSSPEC, there)):
        yield Finding(BROKEN, f"data.source is {there}: {problem}", ("${EDITOR:-vi} params.yaml",))


# --- what is there ---------------------------------------------------------------------------------------------------


def variables(here: Repository) -> dict[str, str]:
    """The repository's variables over its organisation's."""
    listings = ("organization-variables", "variables") if here.owner.type == "Organization" else ("variables",)
    rows = [row for listing in listings for row in pages(here, f"actions/{listing}", "variables")]
    return {row["name"]: row["value"] for row in rows}


def differences(here: Repository) -> list[str]:
    """What policies/ruleset.json asks for and main's rules, of whatever ruleset, do not."""
    wanted, branch = json.loads(RULESET.read_text()), here.default_branch
    in_force: dict[str, list[Json]] = defaultdict(list)
    for rule in pages(here, f"rules/branches/{branch}"):
        in_force[rule["type"]].append(rule)
    told = []
    for rule in wanted["rules"]:
        kind, asked, there = rule["type"], rule.get("parameters", {}), in_force[rule["type"]]
        gaps = [[*lacking(asked, each.get("parameters", {}))] for each in there]
        if not gaps:
            told.append(f"{kind} is missing")
        elif nearest := min(gaps, key=len):
            told.append(f"{kind} has {', '.join(nearest)}")
    rulesets = {rule["ruleset_id"] for rules in in_force.values() for rule in rules if "ruleset_id" in rule}
    return [*told, *passes(here, rulesets, wanted)]


def passes(here: Repository, rulesets: Iterable[int], wanted: Json) -> Iterator[str]:
    """Who may pass the rules and should not, as far as the token may see it."""
    for number in sorted(rulesets):
        there = found(here, f"rulesets/{number}") or {}
        for by in there.get("bypass_actors") or []:
            if by not in wanted["bypass_actors"]:
                yield f"{by['actor_type']} {by['actor_id']} may pass {there['name']!r}"


def lacking(asked: Any, given: Any, name: str = "") -> Iterator[str]:
    """Where `given` does not hold what is asked: each key, each item of a list, at least a number, else the same."""
    if isinstance(asked, Mapping):
        for key, value in asked.items():
            yield from lacking(value, (given or {}).get(key), key)
    elif name.startswith("allowed_"):  # a shorter list is stricter
        yield from (f"{name} with {json.dumps(item)}" for item in given or [] if item not in asked)
    elif isinstance(asked, list):
        for item in asked:
            if all([*lacking(item, other)] for other in given or []):
                yield f"{name} without {json.dumps(item)}"
    elif (given or 0) != asked and not (type(asked) is int and isinstance(given, int) and given >= asked):
        yield f"{name} {json.dumps(given)}, not {json.dumps(asked)}"


def own_ruleset(here: Repository) -> int | None:
    """The repository's ruleset of the name in policies/ruleset.json."""
    name = json.loads(RULESET.read_text())["name"]
    rows = pages(here, "rulesets", includes_parents="false")
    return next((row["id"] for row in rows if row["name"] == name), None)


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


def set_ruleset(here: Repository) -> str:
    """policies/ruleset.json, made or brought up to date, where main lacks something of it."""
    if not differences(here):
        return f"in force on {here.default_branch} already"
    wanted, old = json.loads(RULESET.read_text()), own_ruleset(here)
    if old:
        ask(here, "PUT", f"rulesets/{old}", wanted)
        return f"{wanted['name']!r} is as in {RULESET} again"
    ask(here, "POST", "rulesets", wanted)
    return f"{wanted['name']!r} protects {here.default_branch} now"


def set_actions(here: Repository) -> str:
    """Lets a workflow's own token open pull requests."""
    path = "actions/permissions/workflow"
    if ask(here, "GET", path)["can_approve_pull_request_reviews"]:
        return "may create pull requests already"
    ask(here, "PUT", path, {"can_approve_pull_request_reviews": True})
    return "may create pull requests now"


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
    "Ruleset": set_ruleset,
    "Actions": set_actions,
    "Labels": set_labels,
    "Auto-merge": set_auto_merge,
}
