"""The content key follows what the pipeline reads and nothing else; bytes travel in a bundle."""

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from gitops import __main__ as commands
from gitops import bytes as handover
from gitops import content, release

ROOT = Path(__file__).parents[1]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with what the pipeline reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    git("init", "--quiet", "--initial-branch=main")
    git("config", "user.name", "n")
    git("config", "user.email", "e@localhost")
    commit(**{"params.yaml": "a: 1\n", "pipeline/train.py": "x = 1\n", "README.md": "hello\n"})
    return tmp_path


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(**files: str) -> str:
    """Commits the files; the new commit."""
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    git("add", "--all")
    git("commit", "--quiet", "--message=change")
    return git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("files", "same"),
    [
        ({"README.md": "other\n"}, True),
        ({"tests/test_x.py": "assert True\n"}, True),
        ({"params.yaml": "a: 2\n"}, False),
        ({"contract.yaml": "problem: another\n"}, False),
        ({"policies/evaluation.yaml": "a: 2\n"}, False),
        ({"policies/model.yaml": "a: 2\n"}, True),
        ({"pipeline/train.py": "x = 2\n"}, False),
        ({"pipeline/new.py": "x = 2\n"}, False),
        ({"requirements-train.txt": "torch==2\n"}, False),
        ({"größe.md": "a name that git quotes\n"}, True),
        ({"pipeline/größe.py": "x = 2\n"}, False),
        ({"dvc.yaml": "stages: {}\n"}, False),
        ({"deploy/base/service.yaml": "{}\n"}, False),
        ({"deploy/ROLLBACK.md": "x\n", "deploy/production/service.yaml": "{}\n"}, True),
    ],
)
def test_key_follows_what_the_pipeline_reads(repository: Path, files: dict[str, str], same: bool) -> None:
    before = content.key()
    commit(**files)
    assert (content.key() == before) is same


@pytest.mark.parametrize("name", ["übung.py", "a\ttab.py"])
def test_any_path_has_one_key_and_one_kind_whatever_git_is_configured_to(
    repository: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    base = commit(**{f"{content.PRODUCTION}{name}": "x = 1\n"})
    commit(**{f"pipeline/{name}": "x = 1\n", f"{content.PRODUCTION}{name}": "x = 2\n"})
    found = set()
    for quoted in ("true", "false"):
        configured = {"core.quotePath": quoted, "color.ui": "always", "diff.noprefix": "true", "log.decorate": "full"}
        monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(configured)))
        for number, (key, value) in enumerate(configured.items()):
            monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
            monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
        kind = content.kind(content.tree(base), content.tree("HEAD"))
        found.add((content.key(), kind, tuple(release.listing("HEAD"))))
    ((_, kind, listing),) = found
    assert (kind, listing) == ("mixed", (f"{content.PRODUCTION}{name}",))


@pytest.mark.parametrize("how", [("merge", "--no-ff", "--no-edit"), ("merge", "--squash"), ("rebase",)])
def test_key_is_the_same_after_any_merge(repository: Path, how: tuple[str, ...]) -> None:
    git("switch", "--quiet", "--create=better")
    commit(**{"params.yaml": "a: 2\n"})
    commit(**{"pipeline/train.py": "x = 3\n"})
    proposed = content.key()
    git("switch", "--quiet", "main")
    commit(**{"README.md": "meanwhile\n"})
    git(*how, "better")
    if "--squash" in how:
        git("commit", "--quiet", "--message=squash")
    assert content.key() == proposed


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"tests/test_x.py": "assert True\n"}, "model"),
        ({"README.md": "other\n", "docs/a plan.svg": "x\n", "docs/größe.md": "x\n", "LICENSE": "x\n"}, "words"),
        ({"README.md": "other\n", "params.yaml": "a: 2\n"}, "model"),
        ({"deploy/ROLLBACK.md": "x\n"}, "model"),
        ({"deploy/production/manifest.json": "{}\n"}, "promotion"),
        ({"deploy/production/manifest.json": "{}\n", "README.md": "other\n"}, "mixed"),
        ({"deploy/base/service.yaml": "{}\n"}, "model"),
    ],
)
def test_kind_is_told_by_the_paths_that_changed(repository: Path, files: dict[str, str], kind: str) -> None:
    base = git("rev-parse", "HEAD")
    commit(**files)
    assert content.kind(content.tree(base), content.tree("HEAD")) == kind


def test_what_was_moved_out_of_production_still_counts(repository: Path) -> None:
    base = commit(**{"deploy/production/manifest.json": "{}\n"})
    git("mv", "deploy/production/manifest.json", "elsewhere.json")
    git("commit", "--quiet", "--message=move")
    assert content.kind(content.tree(base), content.tree("HEAD")) == "mixed"


@pytest.mark.parametrize(
    "path",
    [
        *("docs/dvc.yaml", "LICENSE.dvc", "docs/conf.py", "docs/x.so", "docs/Makefile", "docs/days/2018-04-01.parquet"),
        *("LICENSE/run.sh", "NOTICE.so", "docs/a.py\n", "docs/a\n.md", "README.md\n", "x/LICENSE"),
        *(".github/workflows/x.md", "tests/expected.md", "notebooks/x.md", "pipeline/prompt.md", "deploy/ROLLBACK.md"),
        *("docs.md/x", "policies/log.yaml", "dvc.yaml", "readme.MD"),
    ],
)
def test_what_something_may_read_is_no_words(path: str) -> None:
    assert not content.is_words(path, (content.FILE, "0"))
    assert content.kind({}, {path: (content.FILE, "0")}) == "model"


def test_words_are_plain_files_and_removed_ones_are_words_too(repository: Path) -> None:
    base = content.tree("HEAD")
    Path("README.md").unlink()
    commit()
    assert content.kind(base, content.tree("HEAD")) == "words"
    Path("README.md").symlink_to("params.yaml")
    commit()
    assert content.kind(base, content.tree("HEAD")) == "model"
    Path("README.md").write_text("#!/bin/sh\n")
    Path("README.md").chmod(0o755)
    commit()
    assert content.kind(base, content.tree("HEAD")) == "model"


def test_no_change_is_words_where_a_link_could_make_them_code(repository: Path) -> None:
    Path("pipeline/run.py").symlink_to("../docs/run.txt")
    commit(**{"docs/run.txt": "x = 1\n"})
    base = content.tree("HEAD")
    commit(**{"docs/run.txt": "x = 2\n"})
    assert content.kind(base, content.tree("HEAD")) == "model"


def test_no_change_is_of_the_model() -> None:
    """A base that moved on meanwhile, or a tree too large for GitHub to list: everything runs."""
    assert content.kind({}, {}) == "model"


@pytest.mark.parametrize(
    ("name", "kind", "taken"),
    [
        ("dvc.lock", tarfile.REGTYPE, True),
        (".dvc/cache/files/md5/ab", tarfile.DIRTYPE, True),
        (".dvc/cache/runs/ab/cd/ef", tarfile.REGTYPE, False),
        (".dvc/cache/files/md5/ab/cd", tarfile.REGTYPE, True),
        ("pipeline/train.py", tarfile.REGTYPE, False),
        (".dvc/config.local", tarfile.REGTYPE, False),
        (".dvc/cache/../../pipeline/train.py", tarfile.REGTYPE, False),
        (".dvc/cache/files", tarfile.SYMTYPE, False),
        ("dvc.lock", tarfile.SYMTYPE, False),
    ],
)
def test_bundle_brings_bytes_and_never_code(name: str, kind: bytes, taken: bool) -> None:
    member = tarfile.TarInfo(name)
    member.type = kind
    assert handover.carried(member) is taken


def test_a_git_that_fails_ends_with_a_sentence(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "event").write_text(json.dumps({"merge_group": {"base_sha": git("rev-parse", "HEAD")}}))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event"))
    monkeypatch.setattr("sys.argv", ["gitops", "plan"])
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(SystemExit, match=r"^`git .*` failed, for the reason that it gives above$"):
        commands.main()


PIPELINE = """
stages:
  rows: {cmd: echo rows > data/rows, outs: [data/rows]}
  make: {cmd: echo ran >> ran; echo made > out, deps: [params.yaml, data/rows], outs: [out]}
"""
DVC = {"dvc.yaml": PIPELINE, ".dvc/config": "[core]\n    no_scm = true\n", "data/.gitignore": "/rows\n"}


@pytest.mark.slow
@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("rows", [False, True])
def test_bytes_travel_to_another_clone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: bool, rows: bool
) -> None:
    """In a bundle, or the lock in one and the cache in a DVC remote; what is made of rows is not made again."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("DVC_REMOTE", raising=False)
    if remote:
        monkeypatch.setenv("DVC_REMOTE", str(tmp_path / "a remote"))
    commit(**DVC, **{".gitignore": "/out\n/build\n"})
    there = tmp_path / "another clone"
    git("clone", "--quiet", ".", str(there))
    handover.restore()  # nothing yet
    handover.dvc("repro")
    handover.bundle(there / handover.BUNDLE, rows=rows)
    with tarfile.open(there / handover.BUNDLE) as tar:
        assert len(tar.getnames()) == (1 if remote else 2 + rows)
    monkeypatch.chdir(there)
    handover.restore()
    assert Path("data/rows").exists() is (rows or remote)
    handover.dvc("repro")
    assert Path("out").read_text() == "made\n"
    assert not Path("ran").exists()
    assert not handover.BUNDLE.exists()


@pytest.mark.slow
def test_a_bundle_of_a_time_without_a_remote_needs_none(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it leaves out is made again, and looked for nowhere."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("DVC_REMOTE", raising=False)
    commit(**DVC)
    handover.dvc("repro")
    handover.bundle(handover.BUNDLE, rows=False)
    subprocess.run(["rm", "-rf", ".dvc/cache", "out", "data/rows", "dvc.lock"], check=True)
    monkeypatch.setenv("DVC_REMOTE", str(tmp_path / "remote"))
    handover.restore()
    assert Path("out").exists() and not Path("data/rows").exists()


@pytest.mark.slow
def test_object_that_the_remote_lost_is_an_error(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a silent training."""
    remote = tmp_path / "remote"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DVC_REMOTE", str(remote))
    commit(**DVC)
    handover.dvc("repro")
    handover.bundle(handover.BUNDLE)
    subprocess.run(["rm", "-rf", remote / "files", ".dvc/cache", "out", "dvc.lock"], check=True)
    with pytest.raises(SystemExit):
        handover.restore()


def test_ground_is_all_but_words_and_production(repository: Path) -> None:
    before = content.ground(content.tree("HEAD"))
    commit(**{"README.md": "other\n", "docs/a.md": "x\n", "deploy/production/manifest.json": "{}\n", "LICENSE": "x\n"})
    assert content.ground(content.tree("HEAD")) == before
    for path in ("Makefile", "tests/test_x.py", ".github/workflows/x.yml", "requests.py", "deploy/base/service.yaml"):
        commit(**{path: "x\n"})
        after = content.ground(content.tree("HEAD"))
        assert after not in (before, None)
        before = after


def test_a_tree_with_a_link_or_that_is_not_told_has_no_ground() -> None:
    for mode in (content.LINK, content.COMMIT):
        assert content.ground({"docs/a.md": (mode, "0")}) is None
    assert content.ground({}) is None


OURS = (ROOT / "tests/contract.yaml").read_text()


def test_the_contract_of_a_revision(repository: Path) -> None:
    commit(**{"contract.yaml": OURS})
    assert content.contract("HEAD") == OURS and content.contract("HEAD^") is None
