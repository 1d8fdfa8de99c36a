"""The READMEs tell the truth: their trees, their commands, their walk-through."""

import json
import re
import shlex
import shutil
import urllib.request
from collections.abc import Iterator
from datetime import date, timedelta
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pytest

from tests import baking
from tests.serving import served
from tests.turns import turn
from tests.walkthrough import as_tested, blocks, short, steps


def tree(readme: str) -> list[str]:
    """The paths of the block that shows the tree: two spaces a level, a folder's name ends with a slash."""
    body = next(body for _, title, body in blocks(readme) if title == "tree")
    paths: list[str] = []
    folders: list[str] = []
    for line in body.splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()  # type: ignore[union-attr]
        folders = folders[: len(indent) // 2] + [name]
        paths.append("".join(folders))
    return paths


def unlisted(tracked: list[str], listed: list[str]) -> list[str]:
    """Tracked files that neither they nor a folder shown closed stands for."""
    opened = {str(PurePosixPath(path).parent) + "/" for path in listed}
    closed = [path for path in listed if path.endswith("/") and path not in opened]
    return [
        name
        for name in tracked
        if not any(fnmatch(name, path) and name.count("/") == path.count("/") for path in listed)
        and not any(name.startswith(path) for path in closed)
        and not PurePosixPath(name).parts[0].startswith((".git", ".dvc", ".cookiecutter"))
    ]


@pytest.fixture(params=["template", "bake"])
def repository(request: pytest.FixtureRequest) -> Path:
    """The template itself, and what it bakes."""
    return baking.ROOT if request.param == "template" else request.getfixturevalue("bake")


def test_tree_is_what_git_tracks(repository: Path) -> None:
    listed, tracked = tree((repository / "README.md").read_text()), baking.tracked(repository)
    assert not unlisted(tracked, listed)
    absent = [path for path in listed if not any(fnmatch(name, path) or name.startswith(path) for name in tracked)]
    assert not absent


def test_commands_are_targets(repository: Path, bake: Path) -> None:
    """Those that the template's README names may be a bake's."""
    readme = (repository / "README.md").read_text()
    makefile = "".join((folder / "Makefile").read_text() for folder in {repository, bake})
    named = set(
        re.findall(r"\bmake ([a-z][a-z-]*)\b(?=[`\s])", "\n".join(re.findall(r"`[^`\n]+`|^make .*", readme, re.M)))
    )
    assert named
    assert named <= set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))


def test_commands_of_the_environment_are_found_without_one(bake: Path) -> None:
    """As `.venv/bin/dvc`, or by make: a terminal has no environment of ours."""
    commands = [body for language, _, body in blocks((bake / "README.md").read_text()) if language == "sh"]
    assert ".venv/bin/dvc" in "".join(commands)
    assert re.findall(r"(?:^|&& |\| )((?:python|dvc|bentoml|mlflow|pytest|uv)\b.*)", "\n".join(commands), re.M) == []


def test_links_lead_somewhere(repository: Path) -> None:
    """Those of every page to files beside it."""
    pages = [repository / name for name in baking.tracked(repository) if name.endswith(".md")]
    links = {page: re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()) for page in pages}
    assert any(links.values())
    assert [link for page in pages for link in links[page] if not (page.parent / unquote(link)).exists()] == []


@pytest.fixture
def repository_with_github(bake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bake, whose main is pushed to a repository beside it."""
    repository = tmp_path / "our own problem"
    shutil.copytree(bake, repository, symlinks=True)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "alice")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "alice@example.org")
    baking.run("git", "init", "--quiet", "--bare", tmp_path / "github", cwd=tmp_path)
    baking.run("git", "remote", "add", "origin", tmp_path / "github", cwd=repository)
    baking.run("git", "push", "--quiet", "origin", "main", cwd=repository)
    return repository


def changed(repository: Path, branch: str) -> dict[str, set[str]]:
    """The files that a pushed branch adds (A), changes (M) and removes (D)."""
    asked = ("git", "diff", "--no-renames", "--name-status", "main", branch)
    said = baking.run(*asked, cwd=repository.parent / "github").stdout.splitlines()
    return {how: {line[2:] for line in said if line.startswith(f"{how}\t")} for how in "AMD"}


@pytest.mark.slow
def test_bring_your_own_problem(repository_with_github: Path) -> None:
    """The short way, command by command, with a CSV of few rows: a contract, a model that meets every bar, a branch."""
    repository = repository_with_github
    table, ways = repository.parent / "customers.csv", short((repository / "README.md").read_text())
    write_customers(table)
    assert ways[:3] == ["make adopt TABLE=../customers.csv LABEL=churned", "make pipeline", "make bars"]
    assert ways[-1] == "gh pr create --fill"
    for command in ways:
        follow(command, repository)
    found = changed(repository, "adopt")
    assert {"contract.yaml", "params.yaml", "policies/data.yaml", "policies/model.yaml"} <= found["M"]
    assert {"pipeline/simulate.py", "pipeline/features.py"} <= found["D"]
    assert not [name for name in found["A"] if name.endswith(".parquet")]
    assert baking.run("git", "status", "--porcelain", cwd=repository).stdout == ""


def write_customers(path: Path) -> None:
    """A table as somebody has it: an index without a name, Yes and No, blanks among numbers."""
    lines = [",customer,plan,months,total,churned"]
    for row in range(1000):
        months, plan = row * 7 % 60, ("monthly", "yearly")[row % 3 == 0]
        churned = ("No", "Yes")[months < (30 if plan == "monthly" else 10) or row % 13 == 0]
        lines.append(f"{row},C-{row:04},{plan},{months},{months * 9.5 if months else ' '},{churned}")
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_bring_your_own_problem_by_hand(repository_with_github: Path) -> None:
    """The walk-through, block by block: files are written, commands run, a request is scored, all checks pass.

    Of the unit tests some files run at each commit: all run beside the example, in test_jobs.py. It ends where GitHub
    begins: what the request then goes through is rehearsed in rehearsal/test_problem.py.
    """
    repository = repository_with_github
    walk = steps((repository / "README.md").read_text())
    assert any("make lint test pipeline service probe\n" in body for language, _, body in walk if language == "sh")
    assert [title for language, title, _ in walk if language == "python"] == ["../make_table.py"]
    for language, title, body in walk:
        if title:
            (repository / title).write_text(body)
        elif language == "sh":
            for command in body.strip().split("\n") if "curl" not in body else [body]:
                follow(command, repository)
    found, written = changed(repository, "tumours"), {title for _, title, _ in walk if title} - {"../make_table.py"}
    assert found["M"] == written | {"dvc.yaml"}
    assert found["A"] == {f"tumours/{day}.parquet" for day in days()}


def days() -> Iterator[date]:
    """Those of the walk-through's table."""
    return (date(2024, 1, 1) + timedelta(days=day) for day in range(40))


def of_turn(repository: Path) -> str:
    """Has pytest leave out the files of unit tests whose turn it is not."""
    files = sorted(f"tests/{path.name}" for path in (repository / "tests").glob("test_*.py"))
    return " ".join(f"--ignore={name}" for name in files if name not in turn(files, 4))


def follow(command: str, repository: Path) -> None:
    """Runs a command of the README, in the environment of the tests; `make serve` waits for its request."""
    if command.startswith("curl"):
        with served(repository) as address:
            *_, data = shlex.split(command)
            request = urllib.request.Request(f"{address}/predict", data.encode(), {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                (prediction,) = json.load(answer)["predictions"]
        assert prediction["sample"] == "sample-999"
        assert prediction["score"] > 0.9  # a malignant one
    elif not command.startswith(("gh ", "make serve")):  # there is no account
        environment = {**baking.MAKES, "PYTEST_ADDOPTS": of_turn(repository)}
        done = baking.run("sh", "-c", as_tested(command), cwd=repository, **environment)
        assert done.returncode == 0, f"{command}:\n{done.stdout[-10_000:]}"
