"""What `make doctor` finds in a repository on GitHub, and what `make setup-github` does about it."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.baking import TEMPLATE

from .forge import Forge, Repo

sys.path.append(str(TEMPLATE))
from gitops import doctor, pulls  # noqa: E402

NAME = "acme/card-fraud"
OPTIONS = {
    "DVC_REMOTE": "s3://acme/dvc",
    "CONTAINER_REGISTRY": "ghcr.io/acme/card-fraud",
    "PREDICTION_LOG": "s3://acme/predictions",
    "MLFLOW_TRACKING_URI": "https://mlflow.example.org",
    "GPU_RUNNER": "gpu",
}
RULESET = json.loads((TEMPLATE / "policies" / "ruleset.json").read_text())


@dataclass
class Patient:
    """A repository on the forge, and the commands run on it by its organisation's owner."""

    forge: Forge
    repo: Repo
    output: Callable[[], str]

    def run(self, command: Callable[[], None]) -> tuple[int, str]:
        """The exit status of a command, and what it printed."""
        self.output()
        with pytest.raises(SystemExit) as ended:
            command()
        code = ended.value.code
        return (code, self.output()) if isinstance(code, int) else (1, str(code))

    def findings(self) -> dict[str, str]:
        """What doctor says, by the first word or two of each line, mends below it."""
        _, said = self.run(doctor.doctor)
        found: dict[str, str] = {}
        last = ""
        for line in said.partition("\n\n")[0].splitlines():
            if not line.startswith(" "):
                last = line[2:].partition(" is ")[0].partition(":")[0]
                last = last.partition(" holds")[0]
            found[last] = found.get(last, "") + line + "\n"
        return found

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(
            method, f"{self.forge.api_url}/{path}", json=body, headers={"Authorization": "Bearer ghp_acme"}
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def obey(self, finding: str) -> None:
        """Do as the commands below a finding say, as GitHub's own command line would."""
        for line in finding.splitlines()[1:]:
            command, options = parse(shlex.split(line))
            match command:
                case ["gh", "api", path]:
                    body = json.loads((TEMPLATE / options["--input"]).read_text()) if "--input" in options else None
                    fields = options.get("-F") or options.get("-f")
                    self.call(options["-X"], path, body or fields and dict([typed(fields)]))
                case ["gh", "variable", "set", name]:
                    self.variable(name, options["--body"])
                case ["gh", "variable", "delete", name]:
                    del self.repo.variables[name]
                case ["gh", "secret", "set", name, "<", _]:
                    self.repo.secrets.add(name)
                case ["gh", "workflow", "enable", name]:
                    self.call("PUT", f"repos/{options['--repo']}/actions/workflows/{name}/enable")
                case ["gh", "label", "create", name]:
                    fields = {key: options[f"--{key}"] for key in ("color", "description")}
                    self.call("POST", f"repos/{options['--repo']}/labels", {"name": name, **fields})
                case _:
                    raise AssertionError(line)

    def variable(self, name: str, value: str) -> None:
        self.repo.variables[name] = {"name": name, "value": value, "created_at": "", "updated_at": ""}


def parse(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """A command's words, and its options."""
    plain, options, rest = [], {}, iter(words)
    for word in rest:
        if word.startswith("-"):
            options[word] = next(rest)
        else:
            plain.append(word)
    return plain, options


def typed(field: str) -> tuple[str, Any]:
    name, _, value = field.partition("=")
    return name, {"true": True, "false": False}.get(value, value)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Patient]:
    """A repository as it was pushed, with GitHub's defaults."""
    with Forge(tmp_path / "forge") as forge:
        repo = forge.repository(NAME, private=False, roles={"alice": "write"})
        for login in ("acme", "alice", "rita"):
            forge.user(login)
        forge.team("acme/ml", "alice")
        write(repo, {f".github/workflows/{name}": "on: push\n" for name in doctor.WORKFLOWS})
        write(repo, {".github/CODEOWNERS": "* @acme/ml\n/policies/ @alice\n"})
        for name, value in (("API_URL", forge.api_url), ("REPOSITORY", NAME), ("TOKEN", "ghp_acme")):
            monkeypatch.setenv(f"GITHUB_{name}", value)
        monkeypatch.chdir(TEMPLATE)
        monkeypatch.setattr(pulls, "PAUSE", 0.01)
        yield Patient(forge, repo, lambda: capsys.readouterr().out)


@pytest.fixture
def healthy(bare: Patient) -> Patient:
    """A repository with everything set up."""
    bare.run(doctor.setup)
    app = bare.forge.app("loop", doctor.APP_PERMISSIONS | {"metadata": "read"})
    for name, value in {**OPTIONS, "GITOPS_APP_CLIENT_ID": app.client_id}.items():
        bare.variable(name, value)
    bare.repo.secrets.add("GITOPS_APP_PRIVATE_KEY")
    bare.forge.runner(bare.repo, "gpu-1", "self-hosted", "gpu")
    return bare


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


def test_a_bare_repository_needs_its_ruleset_and_the_rest_is_choice(bare: Patient) -> None:
    code, said = bare.run(doctor.doctor)
    broken = [line for line in said.partition("\n\n")[0].splitlines() if line.startswith(doctor.BROKEN)]
    assert code == 1 and len(broken) == 1 and "deletion is missing" in broken[0]
    assert {name for name, line in bare.findings().items() if line[0] == doctor.OFF} == {
        *("Actions", "Labels", "App", "Runner", "DVC_REMOTE", "CONTAINER_REGISTRY", "PREDICTION_LOG"),
        "MLFLOW_TRACKING_URI",
    }


def test_after_the_setup_doctor_is_content(bare: Patient) -> None:
    assert bare.run(doctor.setup)[0] == 0
    assert bare.run(doctor.doctor)[0] == 0
    rules = bare.call("GET", f"repos/{NAME}/rules/branches/main")
    assert {rule["type"] for rule in rules} == {rule["type"] for rule in RULESET["rules"]}
    assert bare.call("GET", f"repos/{NAME}/actions/permissions/workflow")["can_approve_pull_request_reviews"]


def test_the_setup_twice_changes_nothing(bare: Patient) -> None:
    bare.run(doctor.setup)
    made = len(bare.forge.calls)
    code, said = bare.run(doctor.setup)
    assert code == 0 and "already" in said
    assert {call.method for call in bare.forge.calls[made:]} == {"GET"}
    assert len(bare.call("GET", f"repos/{NAME}/rulesets")) == 1


def test_the_mends_of_a_bare_repository_do_what_the_setup_does(bare: Patient) -> None:
    for finding in bare.findings().values():
        bare.obey(finding)
    found = bare.findings()
    assert {name for name, line in found.items() if line[0] in (doctor.BROKEN, doctor.OFF)} == {"App"}
    assert "CLIENT_ID" in found["App"]  # as the command said, for somebody to fill in


def test_a_repository_that_has_everything(healthy: Patient) -> None:
    code, said = healthy.run(doctor.doctor)
    assert code == 0
    assert [line for line in said.partition("\n\n")[0].splitlines() if not line.startswith(doctor.GOOD)] == []


# One thing wrong


def other_default(patient: Patient) -> None:
    patient.repo.git("branch", "--move", "main", "trunk")
    patient.repo.info["default_branch"] = "trunk"


def default_beside_main(patient: Patient) -> None:
    patient.repo.git("branch", "trunk", "main")
    patient.repo.info["default_branch"] = "trunk"


def no_ruleset(patient: Patient) -> None:
    patient.repo.tables["rulesets"].clear()


def weak_ruleset(patient: Patient) -> None:
    (row,) = patient.repo.rows("rulesets")
    rule = next(rule for rule in row["rules"] if rule["type"] == "pull_request")
    rule["parameters"]["required_approving_review_count"] = 0


def no_required_check(patient: Patient) -> None:
    (row,) = patient.repo.rows("rulesets")
    rule = next(rule for rule in row["rules"] if rule["type"] == "required_status_checks")
    rule["parameters"]["required_status_checks"] = [{"context": "Lint"}]


def disabled_ruleset(patient: Patient) -> None:
    patient.repo.rows("rulesets")[0]["enforcement"] = "disabled"


def bypassed_ruleset(patient: Patient) -> None:
    by = {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}
    patient.repo.rows("rulesets")[0]["bypass_actors"] = [by]


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


def no_pull_requests_by_actions(patient: Patient) -> None:
    patient.repo.workflow_permissions["can_approve_pull_request_reviews"] = False


def no_label(patient: Patient) -> None:
    del patient.repo.tables["labels"][patient.repo.rows("labels", name="retrain")[0]["id"]]


def no_key(patient: Patient) -> None:
    patient.repo.secrets.clear()


def no_client(patient: Patient) -> None:
    del patient.repo.variables["GITOPS_APP_CLIENT_ID"]


def other_client(patient: Patient) -> None:
    patient.variable("GITOPS_APP_CLIENT_ID", "Iv0")


def weak_app(patient: Patient) -> None:
    next(iter(patient.forge.apps.values())).permissions["issues"] = "read"


def blind_app(patient: Patient) -> None:
    del next(iter(patient.forge.apps.values())).permissions["actions"]


def strong_app(patient: Patient) -> None:
    next(iter(patient.forge.apps.values())).permissions["workflows"] = "write"


def offline_runner(patient: Patient) -> None:
    patient.repo.rows("runners")[0]["status"] = "offline"


def other_runner(patient: Patient) -> None:
    patient.variable("GPU_RUNNER", "gpus")


def variable(name: str, value: str) -> Callable[[Patient], None]:
    return lambda patient: patient.variable(name, value)


BROKEN, OFF, HIDDEN = doctor.BROKEN, doctor.OFF, doctor.HIDDEN
FAULTS = [
    (other_default, BROKEN, "Branch", "only start on main", "gh api -X POST"),
    (default_beside_main, BROKEN, "Branch", "only start on main", "gh api -X PATCH"),
    (no_ruleset, BROKEN, "Ruleset", "pull_request is missing", "-X POST repos/acme/card-fraud/rulesets"),
    (weak_ruleset, BROKEN, "Ruleset", "required_approving_review_count 0, not 1", "-X PUT"),
    (no_required_check, BROKEN, "Ruleset", '{"context": "Required"}', "--input policies/ruleset.json"),
    (disabled_ruleset, BROKEN, "Ruleset", "required_status_checks is missing", "-X PUT"),
    (bypassed_ruleset, BROKEN, "Ruleset", "RepositoryRole 5 may pass", "-X PUT"),
    (no_owners, BROKEN, "CODEOWNERS", "none on main", ".github/CODEOWNERS"),
    (unknown_team, BROKEN, "CODEOWNERS", "nothing: 1, 2", "orgs/acme/teams/gone/repos/acme/card-fraud"),
    (reader_as_owner, BROKEN, "CODEOWNERS", "@rita", "repos/acme/card-fraud/collaborators/rita"),
    (no_owner, BROKEN, "CODEOWNERS", "nothing: 1", "vi} .github/CODEOWNERS"),
    (no_drift, BROKEN, "Workflow drift.yml", "not on main", "git push"),
    (silent_drift, BROKEN, "Workflow drift.yml", "60 days", "gh workflow enable drift.yml"),
    (disabled_release, BROKEN, "Workflow release.yml", "switched off", "gh workflow enable release.yml"),
    (no_pull_requests_by_actions, OFF, "Actions", "may not create", "can_approve_pull_request_reviews=true"),
    (no_label, OFF, "Labels", "retrain not there", "gh label create"),
    (no_key, BROKEN, "App", "GITOPS_APP_PRIVATE_KEY is not", "gh secret set GITOPS_APP_PRIVATE_KEY"),
    (no_client, BROKEN, "App", "GITOPS_APP_CLIENT_ID is not", "gh variable set GITOPS_APP_CLIENT_ID"),
    (other_client, BROKEN, "App", "Iv0 is installed", "gh variable set GITOPS_APP_CLIENT_ID"),
    (weak_app, BROKEN, "App loop", "issues is not write", "/settings/installations/"),
    (blind_app, BROKEN, "App loop", "actions is not read", "/settings/installations/"),
    (strong_app, BROKEN, "App loop", "workflows is granted", "/settings/installations/"),
    (offline_runner, BROKEN, "Runner", "gpu-1 with the label gpu offline", "gh variable delete GPU_RUNNER"),
    (other_runner, HIDDEN, "Runner", "none has the label gpus", "gh variable delete GPU_RUNNER"),
    (variable("DVC_REMOTE", "bucket"), BROKEN, "DVC_REMOTE", "the form of s3://", "gh variable set DVC_REMOTE"),
    (variable("CONTAINER_REGISTRY", "https://ghcr.io"), BROKEN, "CONTAINER_REGISTRY", "form", "--body ghcr.io/"),
    (variable("DVC_REMOTE", "azure://acme/dvc"), BROKEN, "DVC_REMOTE", "needs the package dvc-azure: add", "s3://"),
    (variable("PREDICTION_LOG", "gs://acme/log"), BROKEN, "PREDICTION_LOG", "needs the package gcsfs: add", "s3://"),
    (variable("MLFLOW_TRACKING_URI", "databricks"), BROKEN, "MLFLOW_TRACKING_URI", "DATABRICKS_TOKEN", "--body https"),
    (variable("PREDICTION_LOG", "s3://a b"), BROKEN, "PREDICTION_LOG", "form", "--body s3://"),
    (
        variable("MLFLOW_TRACKING_URI", "https://me:pw@host"),
        BROKEN,
        "MLFLOW_TRACKING_URI",
        "credential",
        "--body https",
    ),
]


@pytest.mark.parametrize(("fault", "mark", "name", "says", "mend"), FAULTS)
def test_what_is_wrong_is_named_with_its_mend(
    healthy: Patient, fault: Callable[[Patient], None], mark: str, name: str, says: str, mend: str
) -> None:
    fault(healthy)
    code, _ = healthy.run(doctor.doctor)
    findings = healthy.findings()
    line, *commands = findings[name].splitlines()
    assert line.startswith(mark) and says in line
    assert any(mend in command for command in commands)
    assert [other for other, text in findings.items() if text[0] != doctor.GOOD] == [name]
    assert code == (mark == BROKEN)


BY_HAND = (no_owners, unknown_team, no_owner, no_drift, no_client, other_client, weak_app, blind_app, strong_app)


@pytest.mark.parametrize("fault", [fault[0] for fault in FAULTS if fault[0] not in BY_HAND])
def test_the_mend_mends(healthy: Patient, fault: Callable[[Patient], None]) -> None:
    fault(healthy)
    (ill,) = [text for text in healthy.findings().values() if text[0] != doctor.GOOD]
    healthy.obey(ill)
    assert [text for text in healthy.findings().values() if text[0] in (doctor.BROKEN, doctor.HIDDEN)] == []


def test_the_setup_brings_a_weakened_ruleset_back(healthy: Patient) -> None:
    weak_ruleset(healthy)
    assert "again" in healthy.run(doctor.setup)[1]
    assert healthy.run(doctor.doctor)[0] == 0
    assert len(healthy.repo.rows("rulesets")) == 1


def test_stricter_rules_from_elsewhere_will_do(bare: Patient) -> None:
    rules = json.loads(json.dumps(RULESET["rules"]))
    asked = next(rule["parameters"] for rule in rules if rule["type"] == "pull_request")
    asked |= {"required_approving_review_count": 2, "allowed_merge_methods": ["squash"]}
    bare.call("POST", f"repos/{NAME}/rulesets", RULESET | {"name": "Ours", "rules": rules})
    assert bare.findings()["Ruleset"].startswith(doctor.GOOD)
    bare.run(doctor.setup)
    assert [row["name"] for row in bare.repo.rows("rulesets")] == ["Ours"]


@pytest.mark.parametrize("policy", ["promotion: {mode: on-merge}", "drift: {retrain: {auto_merge: true}}"])
def test_auto_merge_is_looked_at_where_a_policy_asks(
    healthy: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    name, _, text = policy.partition(": ")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / f"{name}.yaml").write_text(text)
    (tmp_path / "policies" / "ruleset.json").write_text(json.dumps(RULESET))
    monkeypatch.chdir(tmp_path)
    assert f"policies/{name}.yaml asks for it" in healthy.findings()["Auto-merge"]
    assert healthy.run(doctor.setup)[0] == 0
    assert healthy.findings()["Auto-merge"].startswith(doctor.GOOD)


# Who asks


def test_what_a_token_may_not_see_is_said_and_is_no_fault(healthy: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_alice")
    code, _ = healthy.run(doctor.doctor)
    findings = healthy.findings()
    assert code == 0
    hidden = {name for name, text in findings.items() if "not visible to this token" in text}
    assert hidden == {"Actions", "Variables, and so App, runner and addresses"}
    assert findings["Ruleset"].startswith(doctor.GOOD)


def test_the_setup_says_what_a_token_may_not(bare: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_alice")
    code, said = bare.run(doctor.setup)
    assert code == 1 and "Ruleset: this token may not" in said and "Labels: made" in said
    assert not bare.repo.rows("rulesets")


def test_a_private_repository_of_a_free_plan_is_told_that_no_rule_holds(bare: Patient) -> None:
    message = "Upgrade to GitHub Pro or make this repository public to enable this feature."
    bare.forge.fault("GET .*/rules/branches", status=403, message=message, times=None)
    assert "enforces none" in bare.findings()["Ruleset"]


def test_a_passing_fault_is_waited_for(healthy: Patient) -> None:
    healthy.forge.fault("GET .*/labels", status=502)
    healthy.forge.fault("GET .*/variables", retry_after=0)
    assert healthy.run(doctor.doctor)[0] == 0


def test_a_lasting_fault_ends_with_a_sentence(healthy: Patient) -> None:
    healthy.forge.fault("GET .*/labels", status=500, times=None)
    assert "GitHub: 500" in healthy.run(doctor.doctor)[1]


def test_a_repository_that_nobody_sees(bare: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/gone")
    assert "acme/gone cannot be seen" in bare.run(doctor.doctor)[1]


@pytest.mark.parametrize(
    "address",
    [
        "git@github.com:acme/card-fraud.git",
        "https://github.com/acme/card-fraud",
        "ssh://git@github.com/acme/card-fraud.git",
        "https://x:token@github.com/acme/card-fraud.git/",
    ],
)
def test_the_repository_is_the_one_that_was_cloned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["init", "--quiet"], ["remote", "add", "origin", address]):
        doctor.subprocess.run(["git", *command], check=True)
    assert doctor.origin() == NAME


def test_without_a_token_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GITHUB_TOKEN", "GH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="gh auth login"):
        doctor.token()
