"""The ledger is main's history: whatever the merges, the reverts, and what was pushed past them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gitops import ledger
from gitops.content import PRODUCTION

KUSTOMIZATION = f"{PRODUCTION}kustomization.yaml"


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository in which nothing was promoted yet."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet", "--initial-branch=main")
    git("config", "user.name", "n")
    git("config", "user.email", "e@localhost")
    commit({KUSTOMIZATION: "replicas: []\n", "params.yaml": "a: 1\n"})


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(files: dict[str, str]) -> str:
    """Commits the files; the new commit."""
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    git("add", "--all")
    git("commit", "--quiet", "--message=change")
    return git("rev-parse", "HEAD")


def manifest(name: str, bento: str = "b") -> dict[str, Any]:
    """The parts of an entry that the ledger reads, of a model of that name."""
    files = {"service.bento": {"sha256": bento * 64, "bytes": 1}}
    return {"model": f"sha256:{name * 64}", "key": name * 32, "files": files, "lineage": {"released_by": 1}}


def promote(name: str, how: str = "merge", bento: str = "b") -> str:
    """Promotes a model by a pull request; main's tip."""
    git("switch", "--quiet", "--force-create", "promote/production")
    commit({ledger.MANIFEST: json.dumps(manifest(name, bento)), KUSTOMIZATION: f"images: [{name}{bento}]\n"})
    git("switch", "--quiet", "main")
    commit({"README.md": git("rev-parse", "HEAD")})
    if how == "merge":
        git("merge", "--quiet", "--no-ff", "--no-edit", "promote/production")
    elif how == "squash":
        git("merge", "--quiet", "--squash", "promote/production")
        git("commit", "--quiet", "--message=squashed")
    else:
        git("cherry-pick", "promote/production")
    return git("rev-parse", "HEAD")


def revert(commit: str) -> None:
    parents = git("rev-list", "--parents", "--max-count=1", commit).split()[1:]
    git("revert", "--no-edit", *(["--mainline", "1"] if len(parents) > 1 else []), commit)


def models() -> list[str | None]:
    """The model of each entry, by its letter, newest first; None where production was empty."""
    return [entry.manifest["model"][-1] if entry.manifest else None for entry in ledger.entries()]


def withdrawn() -> set[str]:
    return {key[0] for key in ledger.withdrawn(ledger.entries())}


def test_before_the_first_promotion_there_is_no_entry() -> None:
    commit({KUSTOMIZATION: "replicas: [1]\n"})
    assert ledger.entries() == [] and ledger.manifest() is None


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
def test_each_way_of_merging_is_one_entry(how: str) -> None:
    tips = [promote(name, how) for name in "12"]
    entries = ledger.entries()
    assert models() == ["2", "1", None]
    assert [entry.commit for entry in entries[:2]] == tips[::-1]
    assert [entry.tree for entry in entries[:2]] == [git("rev-parse", f"{tip}:{PRODUCTION}") for tip in tips[::-1]]
    assert withdrawn() == set()


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
def test_a_revert_is_an_entry_with_the_earlier_tree(how: str) -> None:
    promote("1", how)
    revert(promote("2", how))
    entries = ledger.entries()
    assert models() == ["1", "2", "1", None]
    assert entries[0].tree == entries[2].tree != entries[1].tree
    assert withdrawn() == {"2"}


def test_the_first_promotion_reverted_leaves_nothing_in_production() -> None:
    revert(promote("1"))
    entries = ledger.entries()
    assert models() == [None, "1", None] and entries[0].tree == entries[2].tree
    assert withdrawn() == {"1"}


def test_what_is_promoted_again_is_not_withdrawn() -> None:
    promote("1")
    revert(promote("2"))
    promote("2", bento="c")
    assert models()[0] == "2" and withdrawn() == set()


def test_a_revert_of_a_revert_withdraws_nothing_but_what_it_left() -> None:
    promote("1")
    revert(promote("2"))
    revert(git("rev-parse", "HEAD"))
    assert models()[:2] == ["2", "1"] and withdrawn() == {"1"}


def test_another_service_around_the_same_model_rolled_back_does_not_withdraw_the_model() -> None:
    promote("1", bento="a")
    revert(promote("1", bento="b"))
    assert withdrawn() == set()


@pytest.mark.parametrize("text", ["no JSON", "[1]", "{}", '{"model": 1, "files": {}}', "null"])
def test_what_was_pushed_past_the_requests_is_an_entry_without_a_model(text: str) -> None:
    promote("1")
    commit({ledger.MANIFEST: text})
    assert models() == [None, "1", None] and ledger.manifest() is None
    promote("2")
    assert models()[0] == "2"


def test_a_change_beside_the_manifest_is_an_entry() -> None:
    promote("1")
    commit({KUSTOMIZATION: "images: [evil]\n"})
    assert models() == ["1", "1", None]


def test_found_by_digest_and_by_tag() -> None:
    promote("1", bento="a")
    promote("1", bento="b")
    promote("2")
    entries = ledger.entries()
    digest = f"sha256:{'1' * 64}"
    assert ledger.tag(manifest("1", "a")) == f"model-{'1' * 12}-{'a' * 8}"
    assert ledger.find(entries, digest) == entries[1], "the newest of that model"
    assert ledger.find(entries, f"model-{'1' * 12}-{'a' * 8}") == entries[2]
    for unknown in ("", "1", "sha256:", digest[:-1]):
        assert ledger.find(entries, unknown) is None


def test_what_a_hand_changed_since_is_not_found() -> None:
    promote("1")
    commit({KUSTOMIZATION: "images: [evil]\n"})
    entries = ledger.entries()
    assert ledger.find(entries, f"sha256:{'1' * 64}") == entries[1]
