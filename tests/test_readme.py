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
from tests.walkthrough import blocks, steps


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


@pytest.mark.slow
def test_bring_your_own_problem(bake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk-through, block by block: files are written, commands run, a request is scored, all checks pass.

    Of the unit tests some files run at each commit: all run beside the example, in test_jobs.py. It ends where GitHub
    begins: what the request then goes through is rehearsed in rehearsal/test_problem.py.
    """
    repository = tmp_path / "our own problem"
    shutil.copytree(bake, repository, symlinks=True)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "alice")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "alice@example.org")
    baking.run("git", "init", "--quiet", "--bare", tmp_path / "github", cwd=tmp_path)
    baking.run("git", "remote", "add", "origin", tmp_path / "github", cwd=repository)
    baking.run("git", "push", "--quiet", "origin", "main", cwd=repository)
    walk = steps((repository / "README.md").read_text())
    *_, checks, request = (body for language, _, body in walk if language == "sh")
    assert checks == "make lint test pipeline service probe\n" and request.endswith("\ngh pr create --fill\n")
    assert [title for language, title, _ in walk if language == "python"] == ["../make_table.py"]
    for language, title, body in walk:
        if title:
            (repository / title).write_text(body)
        elif language == "sh":
            for command in body.strip().split("\n") if "curl" not in body else [body]:
                follow(command, repository)
    changed = baking.run(
        "git", "diff", "--no-renames", "--name-status", "main", "tumours", cwd=tmp_path / "github"
    ).stdout.split("\n")
    written = {title for _, title, _ in walk if title} - {"../make_table.py"} | {"dvc.yaml"}
    assert {line[2:] for line in changed if line.startswith("M\t")} == written
    assert {line[2:] for line in changed if line.startswith("A\t")} == {f"tumours/{day}.parquet" for day in days()}


def days() -> Iterator[date]:
    """Those of the walk-through's table."""
    return (date(2024, 1, 1) + timedelta(days=day) for day in range(40))


def of_turn(repository: Path) -> str:
    """Has pytest leave out the files of unit tests whose turn it is not."""
    files = sorted(f"tests/{path.name}" for path in (repository / "tests").glob("test_*.py"))
    return " ".join(f"--ignore={name}" for name in files if name not in turn(files, 4))


def follow(command: str, repository: Path) -> None:
    """Runs a command of the walk-through, in the environment of the tests; `make serve` waits for its request."""
    if command.startswith("curl"):
        with served(repository) as address:
            *_, data = shlex.split(command)
            request = urllib.request.Request(f"{address}/predict", data.encode(), {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                (prediction,) = json.load(answer)["predictions"]
        assert prediction["sample"] == "sample-999"
        assert prediction["score"] > 0.9  # a malignant one
    elif command.startswith("make "):
        for target in command.split()[1:] if command != "make serve" else ():
            baking.make(target, repository, **{"PYTEST_ADDOPTS": of_turn(repository)} if target == "test" else {})
    elif not command.startswith("gh "):  # there is no account
        command = command.replace(".venv/bin/", f"{shlex.quote(str(baking.VENV / 'bin'))}/")
        done = baking.run("sh", "-c", command, cwd=repository)
        assert done.returncode == 0, done.stdout
