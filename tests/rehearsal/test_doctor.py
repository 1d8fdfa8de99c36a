"""What `make doctor` finds in a repository on GitHub, and what `make setup-github` does about it."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import yaml

from tests.baking import TEMPLATE

from .forge import Actor, Forge, Repo
from .forge.state import Environment, RunnerGroup

sys.path.append(str(TEMPLATE))
from gitops import doctor, platform, pulls, rulesets  # noqa: E402

NAME = "acme/card-fraud"
OPTIONS = {
    "dvc_remote": "s3://acme/dvc",
    "container_registry": "ghcr.io/acme/card-fraud",
    "prediction_log": "s3://acme/predictions",
    "mlflow_tracking_uri": "https://mlflow.example.org",
    "gpu_runner": "gpu",
}
RULESET = json.loads((TEMPLATE / rulesets.MAIN).read_text())
NAMES = [rulesets.name(TEMPLATE / path) for path in rulesets.OF_ALL]
OF_APP = [rulesets.name(TEMPLATE / path) for path in rulesets.OF_APP]
EDITOR = "${EDITOR:-vi}"


@dataclass
class Patient:
    """A repository on the forge, the folder of its clone, and the commands run there by its organisation's owner."""

    forge: Forge
    repo: Repo
    folder: Path
    output: Callable[[], str]
    code: int = 0  # doctor's, of the last `findings`

    def run(self, command: Callable[[], None]) -> tuple[int, str]:
        """The exit status of a command, and what it printed."""
        self.output()
        with pytest.raises(SystemExit) as ended:
            command()
        code = ended.value.code
        return (code, self.output()) if isinstance(code, int) else (1, str(code))

    def findings(self) -> dict[str, str]:
        """What doctor says, by the first word or two of each line, mends below it."""
        self.code, said = self.run(doctor.doctor)
        found: dict[str, str] = {}
        last = ""
        for line in said.partition("\n\n")[0].splitlines():
            if not line.startswith(" "):
                last = line[2:].partition(" is ")[0].partition(":")[0]
            found[last] = found.get(last, "") + line + "\n"
        return found

    def faults(self) -> list[str]:
        """What is neither good nor off."""
        return [text for text in self.findings().values() if text[0] not in (doctor.GOOD, doctor.OFF)]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(
            method, f"{self.forge.api_url}/{path}", json=body, headers={"Authorization": "Bearer ghp_acme"}
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def obey(self, finding: str) -> None:
        """Do as the commands below a finding say, as GitHub's own command line would."""
        for line in finding.splitlines():
            if line.startswith(" "):
                self.do(line)

    def do(self, line: str) -> None:
        command, options, fields = parse(shlex.split(line, comments=True))
        match command:
            case ["gh", "api", path]:
                self.call(options["-X"], path, fields or None)
            case ["gh", "variable", "delete", name]:
                del self.repo.variables[name]
            case ["gh", "secret", "set", name, *_]:
                self.repo.environments[options["--env"]].secrets.add(name)
            case ["gh", "secret", "delete", name]:
                (self.repo.organization_secrets if "--org" in options else self.repo.secrets).remove(name)
            case ["gh", "workflow", "enable", name]:
                self.call("PUT", f"repos/{options['--repo']}/actions/workflows/{name}/enable")
            case ["gh", "label", "create", name]:
                label = {key: options[f"--{key}"] for key in ("color", "description")}
                self.call("POST", f"repos/{options['--repo']}/labels", {"name": name, **label})
            case ["make", "setup-github", *given]:
                sizes = [int(each.removeprefix("TEAM=")) for each in given if each.startswith("TEAM=")]
                self.run(partial(doctor.setup, *sizes))
            case [editor, platform.FILE] if editor == EDITOR:  # what to write there, where it is said
                self.platform(**(yaml.safe_load(line.partition("#")[2]) or {}))
            case ["open", page] if "/settings/apps/new?" in page:  # for a person to press the button there
                asked = dict(parse_qsl(urlsplit(page).query))
                assert {name: asked.get(name) for name in doctor.APP_PERMISSIONS} == doctor.APP_PERMISSIONS
            case _:
                raise AssertionError(line)

    def platform(self, **changes: str | None) -> None:
        """Change keys of the clone's platform.yaml."""
        file = self.folder / platform.FILE
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))

    def ruleset(self, name: str = RULESET["name"]) -> dict[str, Any]:
        (row,) = self.repo.rows("rulesets", name=name)
        return row

    def parameters(self, kind: str) -> dict[str, Any]:
        """What a rule of main asks for."""
        rules = self.ruleset()["rules"]
        found: dict[str, dict[str, Any]] = {rule["type"]: rule.get("parameters", {}) for rule in rules}
        return found[kind]

    @property
    def environment(self) -> Environment:
        return self.repo.environments[doctor.ENVIRONMENT]

    @property
    def group(self) -> RunnerGroup:
        (group,) = self.forge.runner_groups.values()
        return group


def parse(words: list[str]) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    """A command's words, its options, and the fields that `gh api` sends."""
    plain: list[str] = []
    options: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if word in ("-f", "-F"):
            place, _, value = next(rest).partition("=")
            name, inner = re.fullmatch(r"(\w+)(?:\[(\w*)\])?", place).groups()  # type: ignore[union-attr]
            typed = json.loads(value) if word == "-F" else value
            if inner is None:
                fields[name] = typed
            elif inner:
                fields.setdefault(name, {})[inner] = typed
            else:
                fields.setdefault(name, []).append(typed)
        elif word.startswith("-"):
            options[word] = next(rest)
        else:
            plain.append(word)
    return plain, options, fields


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Patient]:
    """A repository as it was pushed, with GitHub's defaults."""
    clone = tmp_path / "clone"
    shutil.copytree(TEMPLATE / "policies", clone / "policies")
    for path in ("params.yaml", platform.FILE, *(lock.name for lock in TEMPLATE.glob("requirements*.txt"))):
        shutil.copy(TEMPLATE / path, clone)
    with Forge(tmp_path / "forge") as forge:
        repo = forge.repository(NAME, private=False, roles={"alice": "write"})
        for login in ("acme", "alice", "rita"):
            forge.user(login)
        forge.team("acme/ml", "alice")
        write(repo, {f".github/workflows/{name}": "on: push\n" for name in doctor.WORKFLOWS})
        write(repo, {".github/CODEOWNERS": "* @acme/ml\n/policies/ @alice\n"})
        for name, value in (("API_URL", forge.api_url), ("REPOSITORY", NAME), ("TOKEN", "ghp_acme")):
            monkeypatch.setenv(f"GITHUB_{name}", value)
        monkeypatch.chdir(clone)
        monkeypatch.setattr(pulls, "PAUSE", 0.01)
        yield Patient(forge, repo, clone, lambda: capsys.readouterr().out)


@pytest.fixture
def healthy(bare: Patient) -> Patient:
    """A repository with everything set up."""
    app = bare.forge.app("loop", doctor.APP_PERMISSIONS | {"metadata": "read"})
    bare.platform(**OPTIONS, app_client_id=app.client_id)
    group = bare.forge.runner_group("acme", "gpus")
    training = [f"{NAME}/.github/workflows/{name}@refs/heads/main" for name in doctor.TRAINING]
    group.info |= {"visibility": "selected", "restricted_to_workflows": True, "selected_workflows": training}
    group.repositories.append(bare.repo.info["id"])
    group.runners.append(bare.forge.runner(bare.repo, "gpu-1", "self-hosted", "gpu"))
    bare.repo.tables["runners"].clear()  # it is the group's
    assert bare.run(doctor.setup)[0] == 0
    bare.environment.secrets.add(doctor.APP_KEY)
    return bare


@pytest.fixture
def person(healthy: Patient) -> Patient:
    """The same, where a person owns it: without an organisation's groups, and what it shows of Apps."""
    healthy.forge.account("acme")["type"] = "User"
    healthy.forge.runner_groups.clear()
    healthy.forge.runner(healthy.repo, "gpu-1", "self-hosted", "gpu")
    return healthy


def write(repo: Repo, files: dict[str, str | None]) -> None:
    """Change files on main; None removes one."""
    changes = [
        {"path": path, "mode": "100644", "sha": None if text is None else repo.git.blob(text.encode())}
        for path, text in files.items()
    ]
    tip, person = repo.git.resolve("main"), {"name": "alice", "email": "alice@example.org"}
    tree = repo.git.tree_with(tip, changes)
    repo.git.update("refs/heads/main", repo.git.commit(tree, [tip] if tip else [], "Change", person, person))


# A whole repository


def test_a_bare_repository_is_open_and_the_rest_is_choice(bare: Patient) -> None:
    code, _ = bare.run(doctor.doctor)
    found = bare.findings()
    open_to_all = {*(f"Ruleset {path}" for path in rulesets.OF_ALL), f"Environment {doctor.ENVIRONMENT}", "Forks"}
    assert code == 1
    assert {name for name, text in found.items() if text[0] == doctor.BROKEN} == open_to_all
    assert "main without deletion, non_fast_forward" in found[f"Ruleset {rulesets.MAIN}"]
    assert {name for name, text in found.items() if text[0] == doctor.OFF} == {
        *("Actions", "Releases", "Labels", "App", "Runner", *doctor.OPTIONS)
    }


def test_after_the_setup_doctor_is_content(bare: Patient) -> None:
    assert bare.run(doctor.setup)[0] == 0
    assert bare.run(doctor.doctor)[0] == 0
    rules = bare.call("GET", f"repos/{NAME}/rules/branches/main")
    assert {rule["type"] for rule in rules} == {rule["type"] for rule in RULESET["rules"]}
    assert [row["name"] for row in bare.repo.rows("rulesets")] == NAMES
    assert bare.call("GET", f"repos/{NAME}/actions/permissions/workflow")["can_approve_pull_request_reviews"]
    policies = bare.call("GET", f"repos/{NAME}/environments/main-only/deployment-branch-policies")["branch_policies"]
    assert [(row["name"], row["type"]) for row in policies] == [("main", "branch")]


def test_the_setup_twice_changes_nothing(healthy: Patient) -> None:
    made = len(healthy.forge.calls)
    code, said = healthy.run(doctor.setup)
    assert code == 0 and "already" in said
    assert {call.method for call in healthy.forge.calls[made:]} == {"GET"}
    assert [row["name"] for row in healthy.repo.rows("rulesets")] == [*NAMES, *OF_APP]


def test_the_mends_of_a_bare_repository_do_what_the_setup_does(bare: Patient) -> None:
    for finding in sorted(bare.findings().values(), key=lambda text: SETUP in text):  # it makes what is still missing
        bare.obey(finding)
    found = bare.findings()
    assert {name for name, text in found.items() if text[0] in (doctor.BROKEN, doctor.OFF)} == {"App"}
    assert platform.KEYS["app_client_id"].example in found["App"]  # as the command said, for somebody to fill in


def test_a_repository_that_has_everything(healthy: Patient) -> None:
    code, said = healthy.run(doctor.doctor)
    assert code == 0
    assert [line for line in said.partition("\n\n")[0].splitlines() if not line.startswith(doctor.GOOD)] == []


# One thing wrong


def other_default(patient: Patient) -> None:
    rename(patient, "develop")


def rename(patient: Patient, name: str) -> None:
    patient.repo.git("branch", "--move", "main", name)
    patient.repo.info["default_branch"] = name


def default_beside_main(patient: Patient) -> None:
    patient.repo.git("branch", "develop", "main")
    patient.repo.info["default_branch"] = "develop"


def no_issues(patient: Patient) -> None:
    patient.repo.info["has_issues"] = False


def no_ruleset(patient: Patient) -> None:
    del patient.repo.tables["rulesets"][patient.ruleset()["id"]]


def weak_ruleset(patient: Patient) -> None:
    patient.parameters("pull_request")["required_approving_review_count"] = 0


def own_approval(patient: Patient) -> None:
    patient.parameters("pull_request")["require_last_push_approval"] = False


def rebases(patient: Patient) -> None:
    patient.parameters("pull_request")["allowed_merge_methods"].append("rebase")


def no_required_check(patient: Patient) -> None:
    patient.parameters("required_status_checks")["required_status_checks"] = [{"context": "Lint"}]


def anybodys_check(patient: Patient) -> None:
    patient.parameters("required_status_checks")["required_status_checks"] = [{"context": "Required"}]


def another_apps_check(patient: Patient) -> None:
    check = {"context": "Required", "integration_id": 99999}
    patient.parameters("required_status_checks")["required_status_checks"] = [check]


def disabled_ruleset(patient: Patient) -> None:
    patient.ruleset()["enforcement"] = "disabled"


def bypassed_ruleset(patient: Patient) -> None:
    patient.ruleset()["bypass_actors"] = [{"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}]


def forgotten_tag(patient: Patient) -> None:
    patient.ruleset("No tag named like a branch")["conditions"]["ref_name"]["include"].remove("refs/tags/main")


def exempted_tag(patient: Patient) -> None:
    patient.ruleset("Released models stay")["conditions"]["ref_name"]["exclude"].append("refs/tags/model-1*")


def production_taken_back(patient: Patient) -> None:
    del patient.ruleset("Production only moves on")["rules"][1]


def production_moved_by_all(patient: Patient) -> None:
    by = {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}
    patient.ruleset(OF_APP[1])["bypass_actors"].append(by)


def production_moved_by_none(patient: Patient) -> None:
    patient.ruleset(OF_APP[1])["bypass_actors"].clear()


def unverified(patient: Patient) -> None:
    (rule,) = patient.ruleset(OF_APP[0])["rules"]
    rule["parameters"]["required_status_checks"][0]["integration_id"] = 15368


def alone(patient: Patient) -> None:
    del patient.repo.roles["alice"]
    patient.repo.roles["acme/ml"] = "none"
    write(patient.repo, {".github/CODEOWNERS": "* @acme\n"})


def sprung_up(patient: Patient) -> None:
    """As an environment is that a job named before anybody made it."""
    patient.environment.info["deployment_branch_policy"] = None


def protected_branches(patient: Patient) -> None:
    policy = {"protected_branches": True, "custom_branch_policies": False}
    patient.environment.info["deployment_branch_policy"] = policy


def for_other_branches(patient: Patient) -> None:
    patient.call("POST", f"repos/{NAME}/environments/main-only/deployment-branch-policies", {"name": "ma*"})


def for_a_tag(patient: Patient) -> None:
    (policy,) = patient.environment.policies.values()
    policy["type"] = "tag"


def secret_of_the_repository(patient: Patient) -> None:
    patient.repo.secrets.add("MLFLOW_TRACKING_TOKEN")


def secret_of_the_organisation(patient: Patient) -> None:
    patient.repo.organization_secrets.add("CONTAINER_REGISTRY_PASSWORD")


def key_of_the_repository(patient: Patient) -> None:
    patient.environment.secrets.remove(doctor.APP_KEY)
    patient.repo.secrets.add(doctor.APP_KEY)


def spare_secret(patient: Patient) -> None:
    patient.repo.secrets.add("AWS_SECRET_ACCESS_KEY")


def old_variable(patient: Patient) -> None:
    for name in ("GPU_RUNNER", "GITOPS_APP_CLIENT_ID", "OURS"):
        patient.repo.variables[name] = {"name": name, "value": "x", "created_at": "", "updated_at": ""}


def writing_workflows(patient: Patient) -> None:
    patient.repo.workflow_permissions["default_workflow_permissions"] = "write"


def approving_workflows(patient: Patient) -> None:
    patient.repo.workflow_permissions["can_approve_pull_request_reviews"] = True


def outsiders(patient: Patient) -> None:
    patient.repo.fork_approval["approval_policy"] = "first_time_contributors_new_to_github"


def private_forks(patient: Patient) -> None:
    patient.repo.info["private"] = True
    patient.group.info["allows_public_repositories"] = False
    patient.repo.private_forks |= dict.fromkeys(patient.repo.private_forks, True)


def changeable_releases(patient: Patient) -> None:
    patient.repo.immutable_releases = False


def group_of_any_workflow(patient: Patient) -> None:
    patient.group.info["restricted_to_workflows"] = False


def group_of_other_workflows(patient: Patient) -> None:
    patient.group.info["selected_workflows"] = [f"{NAME}/.github/workflows/train.yml@refs/heads/try"]


def group_of_all(patient: Patient) -> None:
    patient.group.info["visibility"] = "all"


def group_of_others(patient: Patient) -> None:
    patient.group.repositories.append(patient.forge.repository("acme/other").info["id"])


def group_of_public_ones(patient: Patient) -> None:
    patient.repo.info["private"] = True


def runner_of_the_repository(patient: Patient) -> None:
    patient.group.runners.clear()
    patient.forge.runner(patient.repo, "gpu-1", "self-hosted", "gpu")


def lasting_runner(patient: Patient) -> None:
    patient.group.runners[0]["ephemeral"] = False


def no_owners(patient: Patient) -> None:
    write(patient.repo, {".github/CODEOWNERS": None})


def unknown_team(patient: Patient) -> None:
    write(patient.repo, {".github/CODEOWNERS": "* @acme/gone\n/policies/ @acme/gone @alice\n"})


def reader_as_owner(patient: Patient) -> None:
    write(patient.repo, {".github/CODEOWNERS": "* @rita\n"})


def no_owner(patient: Patient) -> None:
    write(patient.repo, {".github/CODEOWNERS": "* team$(id)\n"})


def no_drift(patient: Patient) -> None:
    write(patient.repo, {".github/workflows/drift.yml": None})


def silent_drift(patient: Patient) -> None:
    patient.repo.workflow_states[".github/workflows/drift.yml"] = "disabled_inactivity"


def disabled_release(patient: Patient) -> None:
    patient.repo.workflow_states[".github/workflows/release.yml"] = "disabled_manually"


def no_label(patient: Patient) -> None:
    del patient.repo.tables["labels"][patient.repo.rows("labels", name="retrain")[0]["id"]]


def no_key(patient: Patient) -> None:
    patient.environment.secrets.clear()


def no_client(patient: Patient) -> None:
    """The App's rulesets go with it, else they would wait for it."""
    patient.platform(app_client_id=None)
    approving_workflows(patient)
    for name in OF_APP:
        del patient.repo.tables["rulesets"][patient.ruleset(name)["id"]]


def rulesets_of_no_app(patient: Patient) -> None:
    patient.platform(app_client_id=None)
    patient.environment.secrets.clear()
    approving_workflows(patient)


def other_client(patient: Patient) -> None:
    patient.platform(app_client_id="Iv0")


def weak_app(patient: Patient) -> None:
    next(iter(patient.forge.apps.values())).permissions["issues"] = "read"


def blind_app(patient: Patient) -> None:
    del next(iter(patient.forge.apps.values())).permissions["actions"]


def strong_app(patient: Patient) -> None:
    next(iter(patient.forge.apps.values())).permissions["workflows"] = "write"


def offline_runner(patient: Patient) -> None:
    patient.group.runners[0]["status"] = "offline"


def other_runner(patient: Patient) -> None:
    patient.platform(gpu_runner="gpus")


def key(name: str, value: str) -> Callable[[Patient], None]:
    return lambda patient: patient.platform(**{name: value})


BROKEN, OFF, WEAK, HIDDEN = doctor.BROKEN, doctor.OFF, doctor.WEAK, doctor.HIDDEN
RULE, VERIFIED, PRODUCTION = (f"Ruleset {path}" for path in (rulesets.MAIN, *rulesets.OF_APP))
TAGS, MODELS, LINE = (f"Ruleset policies/ruleset-{name}.json" for name in ("names", "releases", "production"))
ENVIRONMENT, GROUP, SETUP = "Environment main-only", "Runner group gpus", "make setup-github"
FAULTS = [
    (no_issues, OFF, "Issues", "nobody is told", "has_issues=true"),
    (no_ruleset, BROKEN, RULE, "non_fast_forward, pull_request", SETUP),
    (weak_ruleset, BROKEN, RULE, "required_approving_review_count 0, not 1", SETUP),
    (own_approval, BROKEN, RULE, "require_last_push_approval false, not true", SETUP),
    (rebases, BROKEN, RULE, 'allowed_merge_methods with "rebase"', SETUP),
    (no_required_check, BROKEN, RULE, '{"context": "Required", "integration_id": 15368}', SETUP),
    (anybodys_check, BROKEN, RULE, '{"context": "Required", "integration_id": 15368}', SETUP),
    (another_apps_check, BROKEN, RULE, '{"context": "Required", "integration_id": 15368}', SETUP),
    (disabled_ruleset, BROKEN, RULE, "required_status_checks", SETUP),
    (bypassed_ruleset, BROKEN, RULE, "RepositoryRole 5 may pass", SETUP),
    (forgotten_tag, BROKEN, TAGS, "tags/main without creation", SETUP),
    (exempted_tag, BROKEN, MODELS, "tags/model-* without update", SETUP),
    (production_taken_back, BROKEN, LINE, "heads/production without non_fast_forward", SETUP),
    (production_moved_by_all, BROKEN, PRODUCTION, "RepositoryRole 5 may pass", SETUP),
    (production_moved_by_none, BROKEN, PRODUCTION, "may not pass", SETUP),
    (unverified, BROKEN, VERIFIED, '"Verified", "integration_id"', SETUP),
    (alone, BROKEN, "Team", "acme alone may write", f"{SETUP} TEAM=1"),
    (sprung_up, BROKEN, ENVIRONMENT, "open to every branch", "[custom_branch_policies]=true"),
    (protected_branches, BROKEN, ENVIRONMENT, "open to protected branches", "[protected_branches]=false"),
    (for_other_branches, BROKEN, ENVIRONMENT, "open to branch ma*", "gh api -X DELETE"),
    (for_a_tag, BROKEN, ENVIRONMENT, "open to tag main", "-f type=branch"),
    (
        secret_of_the_repository,
        BROKEN,
        "Secret MLFLOW_TRACKING_TOKEN",
        "any pushed workflow reads it",
        "--env main-only",
    ),
    (secret_of_the_organisation, BROKEN, "Secret CONTAINER_REGISTRY_PASSWORD", "of the organisation", "--org acme"),
    (key_of_the_repository, BROKEN, f"Secret {doctor.APP_KEY}", "any pushed workflow reads it", "gh secret delete"),
    (spare_secret, WEAK, "Secret AWS_SECRET_ACCESS_KEY", "any pushed workflow reads it", "gh secret delete"),
    (old_variable, WEAK, "Variables", "GPU_RUNNER, GITOPS_APP_CLIENT_ID: read by nothing", "gh variable delete"),
    (writing_workflows, BROKEN, "Actions", "asks for nothing may write", "default_workflow_permissions=read"),
    (approving_workflows, WEAK, "Actions", "may approve them", "can_approve_pull_request_reviews=false"),
    (outsiders, BROKEN, "Forks", "first_time_contributors_new_to_github only", "all_external_contributors"),
    (private_forks, BROKEN, "Forks", "send_secrets_and_variables true", "send_secrets_and_variables=false"),
    (changeable_releases, OFF, "Releases", "changed after they are published", "immutable-releases"),
    (group_of_any_workflow, BROKEN, GROUP, "any workflow may use it", "restricted_to_workflows=true"),
    (group_of_other_workflows, BROKEN, GROUP, "train.yml@refs/heads/try", "release.yml@refs/heads/main"),
    (group_of_all, BROKEN, GROUP, "other repositories may use it", "visibility=selected"),
    (group_of_others, BROKEN, GROUP, "other repositories may use it", "selected_repository_ids[]"),
    (group_of_public_ones, BROKEN, GROUP, "public repositories may use it", "allows_public_repositories=false"),
    (runner_of_the_repository, BROKEN, "Runner gpu-1", "no group keeps a pushed workflow from it", "/runner-groups"),
    (lasting_runner, WEAK, "Runner gpu-1", "not ephemeral", "--ephemeral"),
    (no_owners, BROKEN, "CODEOWNERS", "none on main", ".github/CODEOWNERS"),
    (unknown_team, BROKEN, "CODEOWNERS", "nothing: 1, 2", "orgs/acme/teams/gone/repos/acme/card-fraud"),
    (reader_as_owner, BROKEN, "CODEOWNERS", "@rita", "repos/acme/card-fraud/collaborators/rita"),
    (no_owner, BROKEN, "CODEOWNERS", "nothing: 1", "vi} .github/CODEOWNERS"),
    (no_drift, BROKEN, "Workflow drift.yml", "not on main", "git push"),
    (silent_drift, BROKEN, "Workflow drift.yml", "60 days", "gh workflow enable drift.yml"),
    (disabled_release, BROKEN, "Workflow release.yml", "switched off", "gh workflow enable release.yml"),
    (no_label, OFF, "Labels", "retrain not there", "gh label create"),
    (no_key, BROKEN, "App", f"main-only has no secret {doctor.APP_KEY}", f"gh secret set {doctor.APP_KEY} --env"),
    (no_client, BROKEN, "App", "platform.yaml names no app_client_id", "platform.yaml  # app_client_id: "),
    (other_client, BROKEN, "App", "Iv0 is installed", EDITOR),
    (weak_app, BROKEN, "App loop", "issues is not write", "/settings/installations/"),
    (blind_app, BROKEN, "App loop", "actions is not read", "/settings/installations/"),
    (strong_app, BROKEN, "App loop", "workflows is granted", "/settings/installations/"),
    (offline_runner, BROKEN, "Runner", "gpu-1 with the label gpu offline", EDITOR),
    (other_runner, HIDDEN, "Runner", "none has the label gpus", EDITOR),
    (key("dvc_remote", "bucket"), BROKEN, platform.FILE, "the form of s3://", EDITOR),
    (key("dvc_remote", "azure://acme/dvc"), BROKEN, "dvc_remote", "needs the package dvc-azure: add", EDITOR),
    (key("prediction_log", "gs://acme/log"), BROKEN, "prediction_log", "needs the package gcsfs: add", EDITOR),
    (key("gpu", "a100"), BROKEN, platform.FILE, "'gpu' is no key", EDITOR),
]


BY_HAND = (
    *(no_owners, unknown_team, no_owner, no_drift, no_client, weak_app, blind_app, strong_app),
    *(runner_of_the_repository, lasting_runner),
)


@pytest.mark.parametrize(("fault", "mark", "name", "says", "mend"), FAULTS)
def test_what_is_wrong_is_named_with_its_mend_which_mends(
    healthy: Patient, fault: Callable[[Patient], None], mark: str, name: str, says: str, mend: str
) -> None:
    fault(healthy)
    findings = healthy.findings()
    line, *commands = findings[name].splitlines()
    assert line.startswith(mark) and says in line
    assert any(mend in command for command in commands)
    assert [other for other, text in findings.items() if text[0] != doctor.GOOD] == [name]
    assert healthy.code == (mark == BROKEN)
    if fault not in BY_HAND and mend != EDITOR:
        healthy.obey(findings[name])
        assert [text for text in healthy.findings().values() if text[0] in (BROKEN, HIDDEN)] == []


@pytest.mark.parametrize(
    ("fault", "says", "mend"),
    [
        (other_default, "up to six hours for their schedule", "gh api -X POST"),
        (default_beside_main, "name it under `push`", "gh api -X PATCH"),
    ],
)
def test_a_default_branch_that_the_workflows_do_not_know(
    healthy: Patient, fault: Callable[[Patient], None], says: str, mend: str
) -> None:
    fault(healthy)
    ill = healthy.findings()["Branch"]
    assert ill.startswith(OFF) and says in ill and mend in ill
    healthy.obey(ill)
    assert healthy.faults() == []


def test_an_environment_that_is_gone_takes_its_secrets_along(healthy: Patient) -> None:
    healthy.call("DELETE", f"repos/{NAME}/environments/main-only")
    found = healthy.findings()
    assert "not there, not open to main" in found[ENVIRONMENT] and "has no secret" in found["App"]
    healthy.obey(found[ENVIRONMENT])
    healthy.obey(found["App"])
    assert healthy.faults() == []


@pytest.mark.parametrize("name", ["release", "deploy"])
def test_a_push_to_each_name_that_doctor_knows_starts_a_workflow(name: str) -> None:
    text = (TEMPLATE / f".github/workflows/{name}.yml").read_text()
    assert yaml.load(text, yaml.BaseLoader)["on"]["push"]["branches"] == list(doctor.MAINS)


@pytest.mark.parametrize("name", ["master", "trunk"])
def test_the_workflows_know_more_names_of_a_default_branch(bare: Patient, name: str) -> None:
    rename(bare, name)
    assert bare.run(doctor.setup)[0] == 0
    assert bare.findings()["Branch"] == f"{doctor.GOOD} Branch: {name} is the default branch\n"
    assert bare.faults() == []
    assert [row["name"] for row in bare.environment.policies.values()] == [name]
    for tag in ("main", name, "production"):
        with pytest.raises(requests.HTTPError, match="422"):
            sha = bare.repo.git.resolve(name)
            bare.call("POST", f"repos/{NAME}/git/refs", {"ref": f"refs/tags/{tag}", "sha": sha})


def test_the_setup_brings_a_weakened_ruleset_back(healthy: Patient) -> None:
    weak_ruleset(healthy)
    assert "again" in healthy.run(doctor.setup)[1]
    assert healthy.run(doctor.doctor)[0] == 0
    assert [row["name"] for row in healthy.repo.rows("rulesets")] == [*NAMES, *OF_APP]


def test_stricter_rules_from_elsewhere_will_do(bare: Patient) -> None:
    rules = json.loads(json.dumps(RULESET["rules"]))
    asked = next(rule["parameters"] for rule in rules if rule["type"] == "pull_request")
    asked |= {"required_approving_review_count": 2, "allowed_merge_methods": ["squash"]}
    bare.call("POST", f"repos/{NAME}/rulesets", RULESET | {"name": "Ours", "rules": rules})
    tags: dict[str, Any] = {"name": "Tags", "target": "tag", "enforcement": "active"}
    tags["conditions"] = {"ref_name": {"include": ["refs/tags/*"], "exclude": []}}
    tags["rules"] = [{"type": kind} for kind in ("creation", "update", "deletion")]
    bare.call("POST", f"repos/{NAME}/rulesets", tags)
    assert {name for name in bare.findings() if name.startswith("Ruleset")} == {LINE}
    bare.run(doctor.setup)
    assert [row["name"] for row in bare.repo.rows("rulesets")] == ["Ours", "Tags", "Production only moves on"]


@pytest.mark.parametrize("policy", ["promotion: {mode: on-merge}", "drift: {retrain: {auto_merge: true}}"])
def test_auto_merge_is_looked_at_where_a_policy_asks(healthy: Patient, policy: str) -> None:
    name, _, text = policy.partition(": ")
    (healthy.folder / "policies" / f"{name}.yaml").write_text(text)
    assert f"policies/{name}.yaml asks for it" in healthy.findings()["Auto-merge"]
    assert healthy.run(doctor.setup)[0] == 0
    assert healthy.findings()["Auto-merge"].startswith(doctor.GOOD)


def test_an_app_that_is_gone_leaves_no_rule_that_waits_for_it(healthy: Patient) -> None:
    rulesets_of_no_app(healthy)
    found = healthy.findings()["App's rulesets"]
    assert "waits for an App" in found and found.startswith(doctor.BROKEN)
    healthy.obey(found)
    assert [row["name"] for row in healthy.repo.rows("rulesets")] == NAMES


def test_no_token_of_a_person_shows_their_apps_id_so_it_is_given(
    person: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OF_APP:
        del person.repo.tables["rulesets"][person.ruleset(name)["id"]]
    assert person.findings()["App's rulesets"].startswith(doctor.HIDDEN)
    assert "APP_ID=" in person.run(doctor.setup)[1]
    (number,) = person.forge.apps
    monkeypatch.setenv("APP_ID", str(number))
    assert person.run(doctor.setup)[0] == 0
    assert person.ruleset(OF_APP[1])["bypass_actors"][0]["actor_id"] == number
    assert {name: text[0] for name, text in person.findings().items() if text[0] != doctor.GOOD} == {
        "App": doctor.HIDDEN,
        "Runner's hook": doctor.HIDDEN,
    }


# A team of one, and of two


def proposal(patient: Patient, files: dict[str, str], login: str) -> int:
    """A pull request of somebody, whose checks are green."""
    git, branch = patient.repo.git, f"try-{len(patient.repo.tables['pulls'])}"
    changes = [{"path": path, "mode": "100644", "sha": git.blob(text.encode())} for path, text in files.items()]
    main, who = git.resolve("main"), {"name": login, "email": f"{login}@example.org"}
    assert main
    git.update(f"refs/heads/{branch}", git.commit(git.tree_with(main, changes), [main], "Try", who, who))
    number = send(patient, "POST", "pulls", login, title="Try", head=branch, base="main").json()["number"]
    green(patient, number)
    return int(number)


def green(patient: Patient, number: int) -> None:
    """The checks of a pull request's head pass: what Actions runs, and what the App says."""
    head = patient.repo.tables["pulls"][number]["head"]
    where = {"path": ".github/workflows/pull-request.yml", "sha": head["sha"], "branch": head["ref"], "actor": "alice"}
    run = patient.forge.start_run(NAME, event="pull_request", **where)
    patient.forge.set_job(NAME, run["id"], "Required", status="completed", conclusion="success")
    send(patient, "POST", "check-runs", "loop[bot]", name="Verified", head_sha=head["sha"], conclusion="success")


def send(patient: Patient, method: str, path: str, login: str, **body: Any) -> requests.Response:
    """A call in somebody's name, the App's among them."""
    (app,) = patient.forge.apps.values()
    bot = login == "loop[bot]"
    token = patient.forge.mint(Actor(login, app.permissions, app.id)) if bot else patient.forge.user(login)
    url = f"{patient.forge.api_url}/repos/{NAME}/{path}"
    return requests.request(method, url, json=body, headers={"Authorization": f"Bearer {token}"})


def merged(patient: Patient, number: int, login: str, how: str = "squash") -> bool:
    return send(patient, "PUT", f"pulls/{number}/merge", login, merge_method=how).ok


def approve(patient: Patient, number: int, login: str) -> bool:
    return send(patient, "POST", f"pulls/{number}/reviews", login, event="APPROVE").ok


MODEL, PROMOTION = {"params.yaml": "train: {epochs: 9}\n"}, {"deploy/production/manifest.json": "{}\n"}


def test_a_team_of_one_merges_what_it_made_and_what_the_bot_proposes(healthy: Patient) -> None:
    alone(healthy)
    change = proposal(healthy, MODEL, "acme")
    assert not merged(healthy, change, "acme") and not approve(healthy, change, "acme")
    healthy.obey(healthy.findings()["Team"])
    assert healthy.run(doctor.doctor)[0] == 0
    assert 'required_approving_review_count": 0' in (healthy.folder / rulesets.MAIN).read_text()
    assert "\napprovals: 0 #" in (healthy.folder / doctor.PROMOTION).read_text()
    assert not merged(healthy, change, "acme", "rebase") and merged(healthy, change, "acme")
    assert merged(healthy, proposal(healthy, PROMOTION, "loop[bot]"), "acme", "merge")


def test_what_a_team_of_one_set_is_taken_back_for_two(healthy: Patient) -> None:
    before = {path: (healthy.folder / path).read_text() for path in (rulesets.MAIN, doctor.PROMOTION)}
    healthy.run(partial(doctor.setup, 1))
    found = healthy.findings()["Team"]
    assert found.startswith(doctor.WEAK) and "2 may write by the rules of a team of one" in found
    healthy.obey(found)
    assert healthy.faults() == []
    assert before == {path: (healthy.folder / path).read_text() for path in before}


def test_of_a_team_of_two_the_other_one_approves(healthy: Patient) -> None:
    write(healthy.repo, {".github/CODEOWNERS": "* @acme @alice\n"})
    for one, other in (("acme", "alice"), ("alice", "acme")):
        change = proposal(healthy, MODEL | {"by": one}, one)
        assert not merged(healthy, change, one)
        assert not approve(healthy, change, one) and approve(healthy, change, other)
        assert merged(healthy, change, one)
    promotion = proposal(healthy, PROMOTION, "loop[bot]")
    assert not merged(healthy, promotion, "alice") and approve(healthy, promotion, "alice")
    assert merged(healthy, promotion, "alice", "merge")


def test_who_pushed_last_is_not_who_approves(healthy: Patient) -> None:
    """Alice presses Update branch on a request of the bot, and approves what she made."""
    write(healthy.repo, {".github/CODEOWNERS": "* @acme @alice\n"})
    promotion, change = proposal(healthy, PROMOTION, "loop[bot]"), proposal(healthy, MODEL, "acme")
    assert approve(healthy, change, "alice") and merged(healthy, change, "alice")
    assert not (approve(healthy, promotion, "acme") and merged(healthy, promotion, "acme"))  # it is out of date
    assert send(healthy, "PUT", f"pulls/{promotion}/update-branch", "alice").ok
    green(healthy, promotion)
    assert approve(healthy, promotion, "alice") and not merged(healthy, promotion, "alice")
    assert approve(healthy, promotion, "acme") and merged(healthy, promotion, "alice")


def test_nobody_but_the_app_says_verified_or_moves_production(healthy: Patient) -> None:
    write(healthy.repo, {".github/CODEOWNERS": "* @acme @alice\n"})
    change = proposal(healthy, MODEL, "alice")
    approve(healthy, change, "acme")
    for check in [row["id"] for row in healthy.repo.rows("check_runs", name="Verified")]:
        del healthy.repo.tables["check_runs"][check]
    head = healthy.repo.tables["pulls"][change]["head"]["sha"]
    run = healthy.forge.token(NAME, {"checks": "write", "statuses": "write"})
    for path, body in (
        ("check-runs", {"name": "Verified", "head_sha": head, "conclusion": "success"}),
        (f"statuses/{head}", {"context": "Verified", "state": "success"}),
    ):
        url = f"{healthy.forge.api_url}/repos/{NAME}/{path}"
        assert requests.post(url, json=body, headers={"Authorization": f"Bearer {run}"}).ok
    assert not merged(healthy, change, "alice")
    production = {"ref": "refs/heads/production", "sha": healthy.repo.git.resolve("main")}
    assert not send(healthy, "POST", "git/refs", "acme", **production).ok
    assert send(healthy, "POST", "git/refs", "loop[bot]", **production).ok


# Who asks


def test_what_a_token_may_not_see_is_said_and_is_no_fault(healthy: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_alice")
    code, _ = healthy.run(doctor.doctor)
    findings = healthy.findings()
    assert code == 0
    hidden = {name for name, text in findings.items() if "not visible to this token" in text}
    assert hidden == {"App's rulesets", "Secrets", "Actions", "Forks", "Releases", "Variables", "App", "Runner"}
    assert findings["Rulesets"].startswith(doctor.GOOD)


def test_the_setup_says_what_a_token_may_not(bare: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_alice")
    code, said = bare.run(doctor.setup)
    assert code == 1 and "Rulesets: this token may not" in said and "Labels: made" in said
    assert not bare.repo.rows("rulesets")


def test_a_private_repository_of_a_free_plan_is_told_in_one_place_what_it_lacks(bare: Patient) -> None:
    bare.repo.info["private"] = True
    message = "Upgrade to GitHub Pro or make this repository public to enable this feature."
    bare.forge.fault("(rules/branches|/rulesets)", status=403, message=message, times=None)
    bare.forge.fault("/environments", status=404, message="Not Found", times=None)
    found = bare.findings()
    assert [name for name, text in found.items() if text[0] == doctor.BROKEN] == ["Plan"]
    assert "no rulesets, no environments and no required reviewers" in found["Plan"]
    assert "deploy.yml verifies a promotion before it moves `production`" in found["Plan"]
    assert "make verify PR=N" in found["Plan"]
    code, said = bare.run(doctor.setup)
    assert code == 0 and "Plan: GitHub enforces no rulesets" in said and "Labels: made" in said


def test_a_passing_fault_is_waited_for(healthy: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(pulls.time, "sleep", waited.append)
    healthy.forge.fault("GET .*/codeowners", status=403, message="You have exceeded a secondary rate limit.")
    healthy.forge.fault("GET .*/environments", retry_after=format_datetime(datetime.now(UTC) + timedelta(seconds=40)))
    healthy.forge.fault("GET .*/labels", status=502)
    healthy.forge.fault("GET .*/variables", retry_after=0)
    assert healthy.run(doctor.doctor)[0] == 0
    assert sum(wait > 0 for wait in waited) == 4 and waited.count(pulls.UNTOLD) == 1
    assert sum(30 < wait <= 40 for wait in waited) == 1, "until a date"


def test_a_lasting_fault_ends_with_a_sentence(healthy: Patient) -> None:
    healthy.forge.fault("GET .*/labels", status=500, times=None)
    assert "GitHub: 500" in healthy.run(doctor.doctor)[1]


def test_a_repository_that_nobody_sees(bare: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/gone")
    assert "acme/gone cannot be seen" in bare.run(doctor.doctor)[1]


def clone_of(address: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A clone in the folder, where commands run from now on."""
    patch.chdir(folder)
    for command in (["init", "--quiet"], ["remote", "add", "origin", address]):
        doctor.subprocess.run(["git", *command], check=True)


HUB, TENANT, SERVER = "https://api.github.com", "https://api.acme.ghe.com", "https://git.acme.org/api/v3"


@pytest.mark.parametrize(
    ("address", "api"),
    [
        ("git@github.com:acme/card-fraud.git", HUB),
        ("https://github.com/acme/card-fraud", HUB),
        ("http://GitHub.com/acme/card-fraud", HUB),
        ("ssh://git@github.com/acme/card-fraud.git", HUB),
        ("ssh://git@ssh.github.com:443/acme/card-fraud.git", HUB),
        ("https://x:token@github.com/acme/card-fraud.git/", HUB),
        ("https://acme.ghe.com/acme/card-fraud.git", TENANT),
        ("acme@acme.ghe.com:acme/card-fraud.git", TENANT),
        ("git@git.acme.org:acme/card-fraud.git", SERVER),
        ("git.acme.org:/acme/card-fraud.git", SERVER),
        ("ssh://git@git.acme.org:2222/acme/card-fraud.git", SERVER),
        ("https://me@git.acme.org/acme/card-fraud", SERVER),
        ("https://git.acme.org:8443/acme/card-fraud.git", "https://git.acme.org:8443/api/v3"),
    ],
)
def test_the_repository_is_the_one_that_was_cloned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, api: str
) -> None:
    clone_of(address, tmp_path, monkeypatch)
    assert doctor.origin() == (api, NAME)


@pytest.mark.parametrize("address", ["/srv/acme/card-fraud.git", "../acme/card-fraud", "file:///acme/card-fraud"])
def test_what_is_on_no_server_is_on_no_github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    clone_of(address, tmp_path, monkeypatch)
    with pytest.raises(SystemExit, match="no remote `origin` on GitHub"):
        doctor.origin()


def program(name: str, says: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A program of that name, ahead of all others."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{says}\n")
    (folder / name).chmod(0o755)
    patch.setenv("PATH", str(folder), prepend=":")


def test_a_name_of_sshs_configuration_is_the_host_that_it_stands_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(
        "ssh", '[ "$*" = "-G -- work" ] && echo "user git" && echo "hostname github.com"', tmp_path / "bin", monkeypatch
    )
    clone_of("work:acme/card-fraud.git", tmp_path, monkeypatch)
    assert doctor.origin() == (HUB, NAME)


def test_a_clone_is_all_that_it_needs(bare: Patient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a server of one's own: the API's address and the token are those of its host."""
    for name in ("API_URL", "REPOSITORY", "TOKEN"):
        monkeypatch.delenv(f"GITHUB_{name}")
    monkeypatch.delenv("GH_TOKEN", raising=False)
    host = bare.forge.url.removeprefix("http://")
    says = f'[ "$*" = "auth token --hostname {host}" ] && echo ghp_acme'
    program("gh", says, tmp_path / "bin", monkeypatch)
    clone_of(f"{bare.forge.url}/{NAME}.git", tmp_path, monkeypatch)
    here = doctor.repository()
    assert (here.full_name, here.session.base_url) == (NAME, bare.forge.api_url)
    monkeypatch.chdir(TEMPLATE)
    monkeypatch.setattr(doctor, "origin", lambda: doctor.Origin(bare.forge.api_url, NAME))
    assert f"export GH_HOST={host}" in bare.run(doctor.doctor)[1]


def test_a_host_that_is_not_there_is_named(bare: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9/api/v3")
    assert f"{NAME} cannot be seen at http://127.0.0.1:9/api/v3" in bare.run(doctor.doctor)[1]


@pytest.mark.parametrize(
    ("address", "host"),
    [(HUB, "github.com"), (TENANT, "acme.ghe.com"), ("https://api.acme.org/api/v3", "api.acme.org")],
)
def test_without_a_token_it_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, host: str
) -> None:
    for name in ("GITHUB_TOKEN", "GH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=f"gh auth login --hostname {host}`"):
        doctor.token(doctor.host(address))
