"""Baking: what is asked, what is refused, what arrives."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests import baking
from tests.baking import cookiecutter, make, run, tracked

RENDERED = {".cookiecutter.json", ".github/CODEOWNERS", "LICENSE", "README.md"}
"""The only files of the template that hold Jinja."""

REPOSITORY = "the name of a GitHub repository"
REFUSED = [
    ("project_slug", "a/b", REPOSITORY),
    ("project_slug", "../x", REPOSITORY),
    ("project_slug", "/tmp/x", REPOSITORY),
    ("project_slug", "two words", REPOSITORY),
    ("project_slug", "", REPOSITORY),
    ("project_slug", ".", REPOSITORY),
    ("project_slug", "..", REPOSITORY),
    ("project_slug", "-rf", REPOSITORY),
    ("project_slug", "fraud.git", REPOSITORY),
    ("project_slug", "fraud\n", REPOSITORY),
    ("project_slug", "x" * 101, REPOSITORY),
    ("project_slug", "übung", REPOSITORY),
    ("project_name", "", "one line"),
    ("project_name", "  ", "one line"),
    ("project_name", "two\nlines", "one line"),
    ("description", "two\nlines", "one line"),
    ("description", "x" * 351, "one line"),
    ("github_owner", "", "a GitHub user or organisation"),
    ("github_owner", "my org", "a GitHub user or organisation"),
    ("github_owner", "-org", "a GitHub user or organisation"),
    ("github_owner", "my/org", "a GitHub user or organisation"),
    ("team", "octocat", "a GitHub user or team"),
    ("team", "@a/b/c", "a GitHub user or team"),
    ("bar_owners", "", "a GitHub user or team"),
    ("bar_owners", "@octocat\n* @mallory", "a GitHub user or team"),
]

ADA = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.com"))
}

HOSTILE = [
    'Bob\'s "best" model',
    "`touch pwned` $(touch pwned); touch pwned",
    "Übung für Anfänger 信用卡 🃏",
    "</title><script>alert(1)</script> & <!--",
    "back\\slash \\n %s {0} # * _ |",
]


def test_bakes_exactly_the_files_of_the_template(bake: Path) -> None:
    assert tracked(bake) == tracked(baking.TEMPLATE)


@pytest.mark.parametrize(
    "copied",
    [
        "git archive --format=zip --prefix=template/ --output={to}.zip HEAD",
        "git clone --quiet --config core.symlinks=false --config core.autocrlf=true . {to}",
    ],
    ids=["a zip", "a clone as Windows makes it"],
)
def test_bakes_the_same_from_a_copy_without_links(template: Path, bake: Path, tmp_path: Path, copied: str) -> None:
    source = shutil.copytree(template, tmp_path / "source", symlinks=True)
    to = tmp_path / "copy"
    committed = "git init --quiet && git add --all && git -c user.name=a -c user.email=a@localhost commit --quiet -m x"
    done = run("sh", "-c", f"{committed} && {copied.format(to=shlex.quote(str(to)))}", cwd=source)
    assert done.returncode == 0, done.stdout
    (copy,) = tmp_path.glob("copy*")
    done = cookiecutter(copy, tmp_path)
    assert done.returncode == 0, done.stdout
    trees = [run("git", "ls-tree", "-r", "HEAD", cwd=baked).stdout for baked in (bake, tmp_path / "card-fraud")]
    assert trees[0] == trees[1] != ""


def test_renders_a_few_files_and_copies_the_rest_byte_for_byte(bake: Path) -> None:
    source = {name: (baking.TEMPLATE / name).read_bytes() for name in tracked(bake)}
    rendered = {name for name, content in source.items() if content != (bake / name).read_bytes()}
    assert rendered == RENDERED & source.keys()
    for name in rendered:
        text = (bake / name).read_text()
        assert not any(mark in text.replace("${{", "") for mark in ("{{ cookiecutter", "{{cookiecutter", "{%"))


def test_nothing_has_to_be_set_and_each_line_of_the_platform_has_an_example(bake: Path) -> None:
    text = (bake / "platform.yaml").read_text()
    schema = json.loads((bake / "policies/schemas/platform.schema.json").read_text())
    assert yaml.safe_load(text) == dict.fromkeys(schema["properties"])
    for name in schema["properties"]:
        (line,) = (line for line in text.splitlines() if line.startswith(f"{name}:"))
        assert "# such as " in line and "; without it " in line


def test_first_commit_holds_everything(bake: Path) -> None:
    assert run("git", "status", "--porcelain", cwd=bake).stdout == ""
    assert run("git", "log", "--format=%s", "main", cwd=bake).stdout == "Bake from cookiecutter-gitops-ml\n"


def test_first_commit_holds_what_a_global_configuration_would_keep_out(
    template: Path, bake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not what the bake itself ignores: leftovers in the template's folder."""
    source = shutil.copytree(template, tmp_path / "source", symlinks=True)
    leftover = source / baking.TEMPLATE.name / "pipeline" / "__pycache__" / "x.pyc"
    leftover.parent.mkdir()
    leftover.touch()
    (tmp_path / "git" / "info").mkdir(parents=True)
    (tmp_path / "git" / "info" / "exclude").write_text("*.md\n")
    (tmp_path / "ignored").write_text("deploy/\n*.ipynb\n/policies\n")
    (tmp_path / "config").write_text(
        f"[core]\n excludesFile = {tmp_path}/ignored\n autocrlf = true\n safecrlf = true\n"
        f"[init]\n templateDir = {tmp_path}/git\n defaultBranch = trunk\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    done = cookiecutter(source, tmp_path)
    assert done.returncode == 0 and "The first commit is left to you" not in done.stdout, done.stdout
    trees = [run("git", "ls-tree", "-r", "main", cwd=baked).stdout for baked in (bake, tmp_path / "card-fraud")]
    assert trees[0] == trees[1] != ""


def test_every_clone_has_the_same_bytes(bake: Path, tmp_path: Path) -> None:
    assert run("git", "clone", "--quiet", "--config", "core.autocrlf=true", bake, "clone", cwd=tmp_path).stdout == ""
    assert [
        name for name in tracked(bake) if (bake / name).read_bytes() != (tmp_path / "clone" / name).read_bytes()
    ] == []


def test_records_the_version_and_the_answers(bake: Path) -> None:
    recorded = json.loads((bake / ".cookiecutter.json").read_text())
    asked = json.loads((baking.ROOT / "cookiecutter.json").read_text())
    project = tomllib.loads((baking.ROOT / "pyproject.toml").read_text())["project"]
    assert (recorded["template"], recorded["version"]) == (project["name"], project["version"])
    assert asked["_version"] == project["version"]
    assert recorded["answers"].keys() == {question for question in asked if not question.startswith("_")}
    assert recorded["answers"].keys() == asked["__prompts__"].keys()


def test_asks_and_takes_what_is_typed(template: Path, tmp_path: Path) -> None:
    typed = "\n".join(["Churn", "", "Who leaves?", "octocat", "@octo/ml", "@octo/risk", ""])
    done = run(baking.VENV / "bin" / "cookiecutter", template, "--default-config", cwd=tmp_path, stdin=typed)
    assert done.returncode == 0, done.stdout
    answers = json.loads((tmp_path / "churn" / ".cookiecutter.json").read_text())["answers"]
    assert list(answers.values()) == ["Churn", "churn", "Who leaves?", "octocat", "@octo/ml", "@octo/risk"]
    commands = (
        "cd",
        "make adopt TABLE=",
        "make pipeline",
        "make bars",
        "git add --all",
        "gh repo create octocat/churn",
    )
    places = [done.stdout.find(f"\n  {command}") for command in commands]
    assert -1 not in places and places == sorted(places)
    assert "Adopt before the first push: " in done.stdout


@pytest.mark.parametrize(("question", "answer", "allowed"), REFUSED)
def test_refuses_a_bad_answer_in_one_sentence(
    template: Path, tmp_path: Path, question: str, answer: str, allowed: str
) -> None:
    into = tmp_path / "a" / "b"
    into.mkdir(parents=True)
    done = cookiecutter(template, into, **{question: answer})
    assert done.returncode == 1
    assert done.stdout.startswith(f"{question} is {answer!r}, and has to be {allowed}")
    assert done.stdout.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", into]


@pytest.mark.parametrize("kept", ["all", "the answers"])
def test_refuses_a_bad_answer_of_a_replay(template: Path, tmp_path: Path, kept: str) -> None:
    """Of a file as cookiecutter writes it, and of one that somebody wrote."""
    asked = json.loads((template / "cookiecutter.json").read_text())
    answers = {**asked, "project_slug": "../evil", "team": "@octocat", "bar_owners": "@octocat"}
    known = answers if kept == "all" else {question: answers[question] for question in asked["__prompts__"]}
    (tmp_path / "replay.json").write_text(json.dumps({"cookiecutter": known}))
    into = tmp_path / "into"
    into.mkdir()
    command = (baking.VENV / "bin" / "cookiecutter", template, "--default-config", "--replay-file")
    done = run(*command, tmp_path / "replay.json", cwd=into)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stdout.startswith(f"project_slug is '../evil', and has to be {REPOSITORY}")
    assert sorted(os.listdir(tmp_path)) == ["into", "replay.json"] and os.listdir(into) == []


def test_refuses_a_bad_answer_of_a_configuration(template: Path, tmp_path: Path) -> None:
    """One that is no text included."""
    configuration = {"default_context": {"project_slug": {"a": "b"}}, "replay_dir": str(tmp_path / "replay")}
    (tmp_path / "config.json").write_text(json.dumps(configuration))  # which is YAML too
    (tmp_path / "into").mkdir()
    command = (baking.VENV / "bin" / "cookiecutter", template, "--no-input", "--config-file")
    done = run(*command, tmp_path / "config.json", cwd=tmp_path / "into")
    assert (done.returncode, done.stdout.count("\n")) == (1, 1) and done.stdout.startswith("project_slug is {")
    assert os.listdir(tmp_path / "into") == []


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_are_text(template: Path, tmp_path: Path, name: str) -> None:
    done = cookiecutter(template, tmp_path, project_name=name, project_slug="hostile", description=name)
    assert done.returncode == 0, done.stdout
    bake = tmp_path / "hostile"
    answers = json.loads((bake / ".cookiecutter.json").read_text())["answers"]
    assert (answers["project_name"], answers["description"]) == (name, name)
    assert os.listdir(tmp_path) == ["hostile"] and not list(bake.rglob("pwned"))
    assert run("git", "status", "--porcelain", cwd=bake).stdout == ""


def test_leaves_an_existing_target_alone(template: Path, tmp_path: Path) -> None:
    mine = tmp_path / "card-fraud" / "mine"
    mine.parent.mkdir()
    mine.write_text("precious")
    done = cookiecutter(template, tmp_path)
    assert (done.returncode, done.stdout) == (1, f'Error: "{mine.parent.name}" directory already exists\n')
    assert [(path.name, path.read_text()) for path in mine.parent.iterdir()] == [("mine", "precious")]


def test_says_that_git_is_needed_before_it_asks(template: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    command = (baking.VENV / "bin" / "python", "-m", "cookiecutter", template)
    done = run(*command, cwd=tmp_path, PATH=str(tmp_path / "bin"))
    assert done.returncode == 1
    assert done.stdout == "git is needed to bake a repository and was not found: install it, then bake again.\n"
    assert os.listdir(tmp_path) == ["bin"]


@pytest.mark.parametrize(
    ("identity", "author"),
    [
        ({}, "cookiecutter-gitops-ml <cookiecutter-gitops-ml@localhost>"),
        (ADA, "Ada <ada@example.com>"),
    ],
)
def test_commits_with_and_without_an_identity(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: dict[str, str], author: str
) -> None:
    for variable in [name for name in os.environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER", "EMAIL"))]:
        monkeypatch.delenv(variable)
    for variable, value in {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **identity}.items():
        monkeypatch.setenv(variable, value)
    assert cookiecutter(template, tmp_path).returncode == 0
    bake = tmp_path / "card-fraud"
    assert run("git", "log", "--format=%an <%ae>", cwd=bake).stdout.strip() == author
    assert "user" not in (bake / ".git" / "config").read_text()


def test_keeps_the_bake_when_git_refuses_the_commit(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gitconfig").write_text("[commit]\n gpgsign = true\n[gpg]\n program = false\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    done = cookiecutter(template, tmp_path)
    assert done.returncode == 0
    assert "The first commit is left to you, as git said: " in done.stdout and "Traceback" not in done.stdout
    assert (tmp_path / "card-fraud" / "README.md").exists()


def test_bakes_inside_another_repository(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("git", "init", "--quiet", cwd=tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as git sets it for a hook
    assert cookiecutter(template, tmp_path).returncode == 0
    monkeypatch.delenv("GIT_DIR")
    assert run("git", "rev-parse", "--verify", "HEAD", cwd=tmp_path).returncode != 0
    assert run("git", "ls-files", cwd=tmp_path).stdout == ""
    assert run("git", "rev-list", "--count", "main", cwd=tmp_path / "card-fraud").stdout == "1\n"


@pytest.mark.slow
def test_cruft_brings_what_the_template_changes(template: Path, tmp_path: Path) -> None:
    """And keeps what the project has changed itself."""
    source, bake = shutil.copytree(template, tmp_path / "source", symlinks=True), tmp_path / "card-fraud"
    name = "-c user.name=a -c user.email=a@localhost"

    def sh(command: str, cwd: Path) -> None:
        done = run("sh", "-ec", command, cwd=cwd, PATH=f"{baking.VENV / 'bin'}:{os.environ['PATH']}")
        assert done.returncode == 0, done.stdout

    committed = f"git init --quiet --initial-branch=main && git add --all && git {name} commit --quiet --message=Bake"
    sh(committed, cwd=source)
    sh("cruft create source --no-input --default-config", cwd=tmp_path)
    assert not (bake / ".git").exists()
    sh(f"{committed}; echo '# ours' >> params.yaml; git {name} commit --quiet -am Ours", cwd=bake)
    theirs = "echo '# theirs' >> dvc.yaml; git rm --quiet LICENSE; echo new > NEW.md; git add NEW.md"
    sh(f"{theirs}; git {name} commit --quiet -am Theirs", cwd=source / baking.TEMPLATE.name)
    sh("cruft update --skip-apply-ask && cruft check", cwd=bake)
    assert (bake / "params.yaml").read_text().endswith("# ours\n")
    changed = run("git", "status", "--porcelain", cwd=bake).stdout
    assert sorted(changed.split("\n")) == ["", " M .cruft.json", "A  NEW.md", "D  LICENSE", "M  dvc.yaml"]


def test_make_lists_its_targets(bake: Path) -> None:
    listed = {line.split()[1] for line in make("help", bake).splitlines()}
    assert listed >= {"setup", "pipeline", "test", "lint", "serve", "report", "ui", "snapshot", "lock"}


def test_setup_says_which_python_it_needs(bake: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = run("make", "setup", f"PYTHON={old}", f"VENV={tmp_path}/no venv", cwd=bake)
    assert done.returncode == 2
    assert done.stdout.startswith("Python 3.11.4 or newer is needed")


@pytest.mark.parametrize(
    ("machine", "taken"),
    [
        ({"system": "Linux", "machine": "aarch64", "libc_ver": ("glibc", "2.28")}, True),
        ({"system": "Linux", "machine": "x86_64", "libc_ver": ("glibc", "2.27")}, False),
        ({"system": "Linux", "machine": "x86_64", "libc_ver": ("", "")}, False),  # musl
        ({"system": "Darwin", "machine": "arm64", "mac_ver": ("14.0", ("", "", ""), "arm64")}, True),
        ({"system": "Darwin", "machine": "arm64", "mac_ver": ("13.7", ("", "", ""), "arm64")}, False),
        ({"system": "Darwin", "machine": "x86_64", "mac_ver": ("15.1", ("", "", ""), "x86_64")}, False),
        ({"system": "Windows", "machine": "AMD64"}, False),
    ],
)
def test_setup_says_which_machines_the_locks_are_for(
    bake: Path, tmp_path: Path, machine: dict[str, object], taken: bool
) -> None:
    python = tmp_path / "python3"
    faked = f"import platform; vars(platform).update({{name: lambda it=it: it for name, it in {machine!r}.items()}})"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{faked}\n$2"\n')
    python.chmod(0o755)
    done = run("make", "supported", f"PYTHON={python}", cwd=bake)
    assert (done.returncode == 0) is taken, done.stdout
    assert done.stdout.startswith("" if taken else "The locks have no wheels for this machine")


@pytest.mark.parametrize(
    ("image", "brings", "made"), [({}, "", "VENV=/temporary/venv\n"), ({"VENV": "/opt/venv"}, "/opt/venv", "")]
)
def test_the_image_that_brings_its_environment_needs_no_python_of_github(
    bake: Path, tmp_path: Path, image: dict[str, str], brings: str, made: str
) -> None:
    """Without one it is made outside of the checkout.

    And a user without a name, and without a home, gets both for the steps to come.
    """
    first, python, *_ = yaml.safe_load((bake / ".github/actions/setup/action.yml").read_text())["runs"]["steps"]
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_ENV")}
    bare = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "RUNNER_TEMP": "/temporary"} | files | image
    ran = subprocess.run(["bash", "-euc", first["run"]], env=bare, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == f"venv={brings}\n"
    assert (tmp_path / "GITHUB_ENV").read_text() == f"{made}USER=runner\nHOME=/tmp\n"
    assert python["uses"].startswith("actions/setup-python@") and python["if"] == "steps.image.outputs.venv == ''"


@pytest.mark.parametrize("repository", [baking.ROOT, baking.TEMPLATE], ids=["template", "bake"])
def test_make_gives_its_commands_an_environment_of_their_own(repository: Path, tmp_path: Path) -> None:
    """In a container of an unknown user, and with what somebody has set for other environments."""
    shown = tmp_path / "Makefile"
    shown.write_text("include Makefile\nshown:\n\t@env\n")
    theirs = {"USER": "", "LOGNAME": "", "HOME": "/nowhere", "PYTHONPATH": "/x", "PYTHONHOME": "/x", "PIP_USER": "1"}
    printed = run("make", "-f", shown, "shown", f"CURDIR={tmp_path}", cwd=repository, PIP_TARGET="/x", **theirs).stdout
    seen = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    assert seen["USER"] and os.access(seen["HOME"], os.W_OK) and tmp_path in Path(seen["HOME"]).parents
    assert (seen["PIP_USER"], seen["PIP_TARGET"]) == ("0", "")
    assert not {"PYTHONHOME", "PYTHONPATH"} & seen.keys()


@pytest.mark.slow
def test_setup_installs_into_the_environment_whatever_pip_is_told_elsewhere(bake: Path, tmp_path: Path) -> None:
    venv, elsewhere, shadow = (tmp_path / name for name in ("an environment", "elsewhere", "shadow"))
    shadow.mkdir()
    (shadow / "typing.py").write_text("raise SystemExit('a module of somebody else')")
    told = {
        "PIP_USER": "1",
        "PIP_TARGET": str(elsewhere),
        "PIP_PREFIX": str(elsewhere),
        "PIP_PYTHON": "/nowhere/python",
    }
    told |= {"PYTHONPATH": str(shadow), "UV_SYSTEM_PYTHON": "1", "VIRTUAL_ENV": "/nowhere"}
    done = run("make", "setup", "LOCK=uv", f"VENV={venv}", cwd=bake, **told)
    assert done.returncode == 0, done.stdout
    assert (venv / "bin" / "uv").exists() and not elsewhere.exists()


@pytest.mark.slow
@pytest.mark.skipif("HANDBOOK" not in os.environ, reason="there is no folder of real data (HANDBOOK)")
def test_bake_runs_its_pipeline_on_real_data(bake: Path, tmp_path: Path) -> None:
    """With nothing changed but the knobs: the source, its days, and the pin that `make snapshot` writes."""
    repository = shutil.copytree(bake, tmp_path / "a copy")
    params = repository / "params.yaml"
    text = params.read_text().replace("source: simulate", f"source: {json.dumps(os.environ['HANDBOOK'])}")
    for knob in (('until: "2018-08-14"', 'until: "2018-07-17"'), ("trees: {trees: 200,", "trees: {trees: 50,")):
        assert knob[0] in text
        text = text.replace(*knob)
    params.write_text(text)
    baking.change_knobs(repository, split={"train": 14})
    make("snapshot", repository)
    printed = make("pipeline", repository)
    assert printed.count("every bar is met") == 3 and " passed" in printed
    measured = json.loads((repository / "metrics.json").read_text())
    assert measured["data"]["snapshot"].startswith("sha256:")
    best = max(baseline["average_precision"]["value"] for baseline in measured["baselines"].values())
    assert measured["metrics"]["average_precision"]["value"] > best
    assert run("git", "status", "--porcelain", cwd=repository).stdout == " M params.yaml\n M policies/evaluation.yaml\n"
