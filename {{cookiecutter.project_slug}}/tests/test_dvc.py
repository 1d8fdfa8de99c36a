"""DVC, guarded: no object is believed for its name, and none reaches outside of its folder."""

import json
import subprocess
import sys
from hashlib import md5
from pathlib import Path

import pytest
import yaml

from gitops import bytes as handover
from pipeline import dvc
from pipeline.params import BadInput

ROOT = Path(__file__).parents[1]
OBJECTS = Path(".dvc/cache/files/md5")
STAGE = {"cmd": "mkdir -p model && echo fitted > model/weights && echo ran >> ran", "outs": ["model"]}
EVIL = b"print('planted')\n"
MINE = Path("gitops/__init__.py")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository without git and with one stage, on a machine without settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("DVC_REMOTE", raising=False)
    remote = f'[core]\n    no_scm = true\n    remote = storage\n[remote "storage"]\n    url = {tmp_path}/remote\n'
    stages = yaml.safe_dump({"stages": {"export": STAGE}})
    for path, text in {".dvc/config": remote, "dvc.yaml": stages, str(MINE): "mine\n"}.items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)
    return tmp_path


def guarded(*arguments: str) -> subprocess.CompletedProcess[str]:
    """DVC, as `make` and the workflows run it."""
    return subprocess.run([sys.executable, "-m", "pipeline.dvc", *arguments], capture_output=True, text=True)


def put(content: bytes, suffix: str = "", name: str = "") -> str:
    """Puts an object into the cache, under its hash unless a name is given; the name."""
    name = name or md5(content).hexdigest() + suffix
    path = OBJECTS / name[:2] / name[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name


def lock(name: str) -> None:
    """Has the lock say that the stage made this folder, or these files."""
    out = {"path": "model", "hash": "md5", "md5": name, "size": len(EVIL), "nfiles": 1}
    Path("dvc.lock").write_text(
        yaml.safe_dump({"schema": "2.0", "stages": {"export": {"cmd": STAGE["cmd"], "outs": [out]}}})
    )


def planted() -> str:
    """A folder whose one file lies in the code; the name of its object."""
    listed = [{"md5": put(EVIL), "relpath": f"../{MINE}"}]
    lock(name := put(json.dumps(listed).encode(), ".dir"))
    return name


# --- what is in the cache, or comes in a bundle -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("command", ["checkout", "checkout --quiet --allow-missing", "repro", "status"])
def test_a_folder_in_the_cache_that_reaches_outside_is_refused(repository: Path, command: str) -> None:
    name = planted()
    done = guarded(*command.split())
    assert done.returncode == 1
    assert f"{name[2:]}: the path '../gitops/__init__.py' is none inside of the folder" in done.stderr
    assert MINE.read_text() == "mine\n"


def packed() -> None:
    """Hands the cache and the lock over, and removes what a fresh checkout lacks."""
    handover.bundle(handover.BUNDLE)
    subprocess.run(["rm", "-rf", ".dvc/cache", "dvc.lock", "model"], check=True)


@pytest.mark.slow
def test_a_bundle_that_reaches_outside_is_refused(repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    planted()
    packed()
    with pytest.raises(SystemExit):
        handover.restore()
    assert "the path '../gitops/__init__.py' is none" in capfd.readouterr().err
    assert MINE.read_text() == "mine\n"


@pytest.mark.slow
@pytest.mark.parametrize("read_only", [False, True])
def test_a_bundle_with_other_bytes_than_its_names_is_refused(repository: Path, read_only: bool) -> None:
    assert guarded("repro").returncode == 0
    name = md5(b"fitted\n").hexdigest()
    path = OBJECTS / name[:2] / name[2:]
    path.chmod(0o644)
    path.write_bytes(EVIL)
    path.chmod(0o444 if read_only else 0o644)  # DVC takes its own word for what is read-only
    packed()
    with pytest.raises(BadInput, match=rf"{name[2:]}: other bytes than it is named after, .*{md5(EVIL).hexdigest()}"):
        handover.restore()
    assert not Path("model").exists()


@pytest.mark.slow
def test_an_honest_bundle_is_taken(repository: Path) -> None:
    assert guarded("repro").returncode == 0
    packed()
    handover.restore()
    assert Path("model/weights").read_text() == "fitted\n"
    assert guarded("repro").returncode == 0
    assert Path("ran").read_text() == "ran\n"


# --- what a remote holds ----------------------------------------------------------------------------------------------


def pushed() -> None:
    """The cache as a remote that somebody else wrote, and nothing here but the lock."""
    Path("remote/files").mkdir(parents=True)
    OBJECTS.rename("remote/files/md5")
    subprocess.run(["rm", "-rf", ".dvc/cache", "model", "home"], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["pull", "fetch", "repro --pull"])
def test_a_folder_of_a_remote_that_reaches_outside_is_refused(repository: Path, command: str) -> None:
    name = planted()
    pushed()
    done = guarded(*command.split())
    assert done.returncode == 1
    assert f"{name[2:]}: the path '../gitops/__init__.py' is none inside of the folder" in done.stderr
    assert MINE.read_text() == "mine\n"


@pytest.mark.slow
def test_other_bytes_of_a_remote_than_their_name_are_not_taken(repository: Path) -> None:
    listed = [{"md5": put(EVIL, name=md5(b"fitted\n").hexdigest()), "relpath": "weights"}]
    lock(put(json.dumps(listed).encode(), ".dir"))
    pushed()
    assert guarded("pull").returncode != 0
    assert not Path("model/weights").exists()


# --- what the stages follow ---


def test_a_block_of_knobs_that_stages_follow_and_that_is_gone_is_named() -> None:
    stages = {
        "ingest": {"params": ["data.until", {"contract.yaml": ["id"]}]},
        "train": {"do": {"params": ["features"]}},
    }
    dvc.lost(stages, {"data": {}, "features": {}})
    with pytest.raises(BadInput, match="^dvc.yaml: stages follow `features`, a block that params.yaml lacks; write it"):
        dvc.lost(stages, {"data": {}})


# --- the judge of a folder --------------------------------------------------------------------------------------------


def named(content: bytes) -> str:
    return md5(content).hexdigest() + ".dir"


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "..", "/etc/passwd", "a//b", "./a", ".", "", "a/", "a\\b", "..\\x", "C:\\x", None, 1, ["a"]],
)
def test_paths_that_are_none_inside_are_refused(path: object) -> None:
    content = json.dumps([{"md5": "x", "relpath": "weights"}, {"md5": "x", "relpath": path}]).encode()
    with pytest.raises(BadInput, match=r"^ab/cd\.dir: the path .* is none inside of the folder"):
        dvc.judge("ab/cd.dir", content, named(content))


@pytest.mark.parametrize("path", ["weights", "a/b/weights", "..a/b..", ".hidden", "größe/ä b", "a:b"])
def test_paths_inside_are_taken(path: str) -> None:
    content = json.dumps([{"md5": "x", "relpath": path}]).encode()
    dvc.judge("ab/cd.dir", content, named(content))


@pytest.mark.parametrize("content", [b"", b"{}", b"no JSON", b"3"])
def test_what_is_no_folder_is_left_to_dvc(content: bytes) -> None:
    dvc.judge("ab/cd.dir", content, named(content))


def test_a_folder_that_is_not_what_its_name_says_is_refused() -> None:
    with pytest.raises(BadInput, match=r"^ab/cd\.dir: other bytes than it is named after"):
        dvc.judge("ab/cd.dir", b"[]", named(b"[ ]"))


@pytest.mark.slow
def test_files_that_a_lock_lists_stay_inside_too(repository: Path) -> None:
    put(EVIL)
    out = {"path": "model", "hash": "md5", "files": [{"md5": md5(EVIL).hexdigest(), "relpath": f"../{MINE}"}]}
    Path("dvc.lock").write_text(
        yaml.safe_dump({"schema": "2.0", "stages": {"export": {"cmd": STAGE["cmd"], "outs": [out]}}})
    )
    done = guarded("checkout")
    assert done.returncode != 0
    assert "the path '../gitops/__init__.py' is none" in done.stderr
    assert MINE.read_text() == "mine\n"
