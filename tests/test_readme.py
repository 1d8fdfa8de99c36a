"""The READMEs tell the truth: their trees, their commands, their walk-through."""

import json
import re
import shlex
import shutil
import textwrap
import urllib.request
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pytest

from tests import baking
from tests.serving import served

BLOCK = re.compile(r"^( *)```(\w*) ?([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(readme: str) -> list[tuple[str, str, str]]:
    """Language, the words after it, and the dedented text of each fenced block."""
    return [(language, title.strip(), textwrap.dedent(body)) for _, language, title, body in BLOCK.findall(readme)]


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
def test_bring_your_own_problem(bake: Path, tmp_path: Path) -> None:
    """The walk-through, block by block: files are written, commands are run, the last one gets its score."""
    repository = tmp_path / "our own problem"
    shutil.copytree(bake, repository, symlinks=True)
    readme = (repository / "README.md").read_text()
    for language, title, body in blocks(readme[readme.index("## Bring your own problem") :]):
        if title:
            (repository / title).write_text(body)
        elif language == "sh":
            for command in body.replace("\\\n", " ").strip().split("\n") if "curl" not in body else [body]:
                follow(command, repository)
    baking.make("lint", repository)


def follow(command: str, repository: Path) -> None:
    """Runs a command of the walk-through, in the environment of the tests; `make serve` waits for its request."""
    if command.startswith("curl"):
        with served(repository) as address:
            *_, data = shlex.split(command)
            request = urllib.request.Request(f"{address}/predict", data.encode(), {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                (prediction,) = json.load(answer)["predictions"]
        assert prediction["sample_id"] == 1
        assert prediction["score"] > 0.9  # a malignant one
    elif command.startswith("make "):
        if command != "make serve":
            baking.make(command.removeprefix("make "), repository)
    else:
        command = command.replace(".venv/bin/", f"{shlex.quote(str(baking.VENV / 'bin'))}/")
        done = baking.run("sh", "-c", command, cwd=repository)
        assert done.returncode == 0, done.stdout
