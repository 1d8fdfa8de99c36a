"""What a merge would leave is told from git's objects alone: nothing is checked out, and no command shows a token."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gitops import content, objects

Git = Callable[..., str]
BEFORE = {"a.txt": "a\n" * 9, "b.txt": "b\n", "deploy/production/manifest.json": "{}\n", "pipeline/x.py": "x = 1\n"}


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A repository with one commit on main, and what git prints there."""
    monkeypatch.chdir(tmp_path)

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    commit(git, "main", BEFORE)
    return git


def commit(git: Git, branch: str, files: Mapping[str, str | None]) -> str:
    """A commit on a branch, made where it is new; HEAD is main afterwards."""
    there = git("branch", "--list", branch)
    git("symbolic-ref", "HEAD", f"refs/heads/{branch}") if not there else git("switch", "--quiet", branch)
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).unlink() if text is None else Path(name).write_text(text)
    git("add", "--all")
    git("commit", "--quiet", "--message=x")
    made = git("rev-parse", "HEAD")
    git("switch", "--quiet", "main")
    return made


def topic(git: Git, files: Mapping[str, str | None]) -> str:
    """A commit of a branch from main's first one."""
    git("branch", "topic", "main")
    return commit(git, "topic", files)


def test_a_merge_leaves_what_git_would_leave_and_touches_nothing(git: Git) -> None:
    head = topic(git, {"deploy/production/manifest.json": None, "deploy/production/new.yaml": "y\n", "b.txt": "B\n"})
    commit(git, "main", {"a.txt": "A\n", "docs/way.md": "way\n"})
    before = git("for-each-ref"), git("status", "--porcelain", "--ignored"), git("ls-files", "--stage")
    found = objects.merged("HEAD", head)
    assert (git("for-each-ref"), git("status", "--porcelain", "--ignored"), git("ls-files", "--stage")) == before
    git("merge", "--quiet", "--no-edit", "topic")
    assert found == (git("rev-parse", "HEAD^{tree}"), [])


def test_a_sparse_checkout_hides_nothing_from_it(git: Git) -> None:
    head = topic(git, {"pipeline/x.py": "x = 2\n"})
    git("sparse-checkout", "set", "--no-cone", "/b.txt")
    assert not Path("pipeline").exists()
    assert objects.merged("HEAD", head) == (git("rev-parse", f"{head}^{{tree}}"), [])


def test_what_both_sides_changed_is_named_even_where_git_would_mend_it(git: Git) -> None:
    """Half of each would be a production that nobody has seen."""
    head = topic(git, {"a.txt": "A\n" + "a\n" * 8, "b.txt": None, "deploy/production/manifest.json": "theirs\n"})
    commit(git, "main", {"a.txt": "a\n" * 8 + "A\n", "b.txt": "B\n", "deploy/production/manifest.json": "ours\n"})
    found = objects.merged("HEAD", head)
    assert found.conflicts == ["a.txt", "b.txt", "deploy/production/manifest.json"]
    assert content.kind(content.tree("HEAD"), content.tree(found.tree)) == "mixed"
    assert content.text(found.tree, "deploy/production/manifest.json") == "theirs\n"
    assert "b.txt" not in content.tree(found.tree)


def test_a_head_that_holds_main_is_what_a_merge_leaves(git: Git) -> None:
    head = topic(git, {"b.txt": "B\n"})
    assert objects.merged("HEAD", head) == (git("rev-parse", f"{head}^{{tree}}"), [])


def test_the_token_goes_to_its_server_alone_and_stands_in_no_file(git: Git) -> None:
    environment = {"GITHUB_TOKEN": "secret", "GITHUB_SERVER_URL": "https://github.example.org"}
    objects.sign(environment)
    assert "secret" not in "".join(value for name, value in environment.items() if name != "GITHUB_TOKEN")

    def header(url: str) -> str:
        command = ["git", "config", "--get-urlmatch", "http.extraheader", url]
        return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True).stdout.strip()

    assert header("https://github.example.org/acme/bank") == "AUTHORIZATION: basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0"
    assert header("https://elsewhere.example.org/acme/bank") == ""
    assert "extraheader" not in Path(".git/config").read_text()
