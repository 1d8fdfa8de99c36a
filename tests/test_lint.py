"""The template and what it bakes, linted, and what no committed file may hold."""

import re
from pathlib import Path

import pytest
import yaml

from tests.baking import ROOT, TEMPLATE, VENV, make, run, tracked

TABLES = ROOT / "tests" / "problems"
"""Where packages are locked for their tables alone: no code of theirs runs, and a newer one would be other data."""
LOCKS = [ROOT / "requirements.txt", TABLES / "requirements.txt", *TEMPLATE.glob("requirements*.txt")]
FORBIDDEN = re.compile(
    r"""
    pypi\.org | pythonhosted\.org | npmjs\.(org|com) | deb\.debian\.org | archive\.ubuntu | --(extra-)?index-url
    | /(work|root)/ | /(home|Users)/\w+/
    """,
    re.VERBOSE,
)
"""Hosts of package registries, and paths of the machine that a file was written on."""

NEWER_GIT = re.compile(
    r"""
    ls-tree.*--(format|object-only) | merge-tree | --(batch-command|remerge-diff|update-refs|since-as-filter|ref-format)
    | %\((is-base|ahead-behind|describe) | for-each-ref.*--exclude | fetch.*--porcelain | rev-parse.*--show-ref-format
    | stash.*--staged | worktree.*--orphan | cat-file.*["\ ]-z\b
    | \bgit",?\ "?(replay|refs\ (list|verify|migrate)|survey|last-modified)\b
    | \bconfig",?\ "?(get|set|list|unset)\b
    """,
    re.VERBOSE,
)
"""What git 2.34, which Ubuntu 22.04 has, does not know."""


def lint(*command: str | Path, cwd: Path = ROOT) -> None:
    """Runs a linter of the tests' environment. AssertionError with what it said."""
    done = run(VENV / "bin" / command[0], *command[1:], cwd=cwd)
    assert done.returncode == 0, done.stdout


def test_ruff() -> None:
    lint("ruff", "check", ".")
    lint("ruff", "format", "--check", ".")


@pytest.mark.slow
def test_mypy() -> None:
    lint("mypy")


@pytest.mark.slow
def test_bake_passes_its_own_lint(bake: Path) -> None:
    """What stands in the template too: a bake has the same files, but for a few words that no linter reads."""
    make("lint", bake)


def test_workflows_are_right_and_safe() -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    lint("check-jsonschema", "--builtin-schema", "vendor.dependabot", ROOT / ".github" / "dependabot.yml")
    lint("actionlint", *workflows)
    lint("zizmor", "--quiet", "--offline", "--persona", "auditor", ".github")


@pytest.mark.parametrize("folder", [ROOT, TEMPLATE], ids=["template", "bake"])
def test_dependabot_looks_wherever_an_action_or_a_lock_is_pinned(folder: Path) -> None:
    """Of `/` it reads .github/workflows, of any other folder the files in it: .github/actions/setup has to be named."""
    asked = yaml.safe_load((folder / ".github" / "dependabot.yml").read_text())["updates"]
    looks = {each["package-ecosystem"]: {*each.get("directories", [each.get("directory")])} for each in asked}
    ours = [name for name in tracked(folder) if re.search(r"(^|/)\.github/.*\.yml$", name)]
    places = {f"/{Path(name).parent}" for name in ours if "uses: actions/" in (folder / name).read_text()}
    assert {"/.github/workflows" if place == "/" else place for place in looks["github-actions"]} == places
    locks = {path.parent for path in map(Path, tracked(folder)) if path.name.startswith("requirements")}
    locks -= {TABLES.relative_to(ROOT)}
    assert looks["pip"] == {"/" if path == Path() else f"/{path}" for path in locks}


def requirements(lock: Path) -> list[str]:
    """A lock's requirements, each with its hashes."""
    return re.split(r"\n(?=\S)", lock.read_text().strip())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_every_line_of_a_lock_is_pinned_and_hashed(lock: Path) -> None:
    requirement = re.compile(r"[\w.-]+(\[[\w,-]+\])?==\S+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+")
    assert [line for line in requirements(lock) if not requirement.fullmatch(line)] == []


def test_what_a_bake_locks_is_locked_here_too() -> None:
    """`make setup` here is the proof that the largest lock of a bake can be installed."""
    theirs, ours = requirements(TEMPLATE / "requirements-dev.txt"), requirements(ROOT / "requirements.txt")
    marker = re.compile(r" ; .*(?= \\\n)")  # ours may need a package on more systems
    assert {marker.sub("", each) for each in theirs} - {marker.sub("", each) for each in ours} == set()


def test_every_dependency_states_its_reason() -> None:
    for source in [ROOT / "requirements.in", TABLES / "requirements.in", *TEMPLATE.glob("requirements*.in")]:
        lines = source.read_text().splitlines()
        assert [line for line in lines if not line.startswith(("#", "-")) and " # " not in line] == []


def test_no_command_needs_a_newer_git_than_the_readmes_say() -> None:
    found = {}
    for name in tracked(ROOT):
        path = ROOT / name
        readable = path.suffix in (".py", ".yml", ".md", "") and path.is_file() and path != Path(__file__)
        if readable and (match := NEWER_GIT.search(path.read_text(errors="replace"))):
            found[name] = match[0]
    assert found == {}
    assert all("git 2.34 or newer" in (folder / "README.md").read_text() for folder in (ROOT, TEMPLATE))


def test_no_committed_file_names_a_registry_or_a_machine() -> None:
    found = {}
    for name in tracked(ROOT):
        path = ROOT / name
        if path.is_file() and not path.is_symlink() and (match := FORBIDDEN.search(path.read_text(errors="replace"))):
            found[name] = match[0]
    assert found == {}
