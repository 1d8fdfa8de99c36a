"""The probe measures build/service.bento, that very file, wherever it was built."""

import json
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from pipeline import bento, probe
from pipeline.model import Input
from pipeline.params import BadInput
from tests import by_task, tables
from tests.tables import ROOT, feature_rows, workspace, write_model, write_policies


def member(name: str, **about: Any) -> tarfile.TarInfo:
    """A member of a tar, with whatever is said of it."""
    info = tarfile.TarInfo(name)
    for attribute, value in about.items():
        setattr(info, attribute, value)
    return info


HOSTILE = {
    "a link": member("model", type=tarfile.SYMTYPE, linkname="/etc"),
    "a link to a file": member("model", type=tarfile.LNKTYPE, linkname="bento.yaml"),
    "a device": member("null", type=tarfile.CHRTYPE),
    "a path above": member("src/../../Makefile"),
    "an absolute path": member("/tmp/probe"),
    "a file too large": member("src/zeros", size=probe.LARGEST + 1),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_bento_that_holds_more_than_files_below_its_folder_is_refused(what: str, tmp_path: Path) -> None:
    with (tmp_path / "service.bento").open("wb") as file:
        file.write(HOSTILE[what].tobuf() + bytes(2 * tarfile.BLOCKSIZE))
    with pytest.raises(BadInput, match="which is no plain file or folder in it|unpacks to more than"):
        probe.unpacked(tmp_path / "service.bento", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("content", [None, b"", b"no tar", b"\xfd7zXZ\x00 and no more"], ids=str)
def test_what_is_no_bento_is_a_sentence(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "service.bento").write_bytes(content)
    with pytest.raises(BadInput, match="service.bento cannot be unpacked .* `make service`"):
        probe.unpacked(tmp_path / "service.bento", tmp_path / "folder")


LOCKED = """\
bentoml==1.4.39 \\
    --hash=sha256:dd
numpy==2.4.1 \\
    --hash=sha256:aa
uvloop==0.22.1 ; sys_platform != 'win32' \\
    --hash=sha256:bb
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What uv is asked to do, where nothing is installed; the working directory has a lock."""
    monkeypatch.chdir(tmp_path)
    probe.WORK.mkdir(parents=True)
    probe.LOCK.write_text(LOCKED)
    found: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        found.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return found


def pinned(text: str) -> Path:
    """The folder of a Bento with these requirements."""
    lock = Path("unpacked") / probe.PINS
    lock.parent.mkdir(parents=True)
    lock.write_text(text + "\nbentoml==1.4.39\n")  # which BentoML adds, without a hash
    return Path("unpacked")


@pytest.mark.parametrize(
    "same", [LOCKED, "# words\n\n" + LOCKED.replace("aa", "cc").replace("numpy==", "NumPy==")], ids=["bytes", "pins"]
)
def test_the_same_versions_are_served_by_ours(same: str, asked: list[list[str]]) -> None:
    assert probe.interpreter(pinned(same)) == sys.executable and not asked


@pytest.mark.parametrize(
    "other", [LOCKED.replace("2.4.1", "2.4.2"), LOCKED + "six==1.17.0\n", LOCKED[: LOCKED.index("uvloop")]]
)
def test_other_versions_are_served_in_an_environment_of_their_own(other: str, asked: list[list[str]]) -> None:
    python = probe.interpreter(pinned(other))
    assert python == str(probe.WORK.resolve() / "venv/bin/python")
    assert asked[0][:2] == ["uv", "venv"] and asked[0][-2:] == [str(probe.WORK.resolve() / "venv"), "--no-config"]
    assert asked[1][:3] == ["uv", "pip", "sync"] and Path(asked[1][-2]).read_text().strip() == other.strip()
    assert {"--require-hashes", "--only-binary", ":all:", "--no-config", python} <= set(asked[1])


def test_versions_that_cannot_be_installed_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="pins cannot be installed"):
        probe.uv("pip", "sync", "--offline", "no such file")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a model and its Bento."""
    folder = workspace(tmp_path / "a repository")
    write_policies(folder)
    for name in ("bentofile.yaml", "requirements-service.txt"):
        shutil.copy(ROOT / name, folder / name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BENTOML_HOME", str(folder / "build/bentoml"))
    write_model(Path("model"))
    bento.build(bento.BENTO)
    return folder


@pytest.mark.slow
def test_a_bento_that_this_checkout_does_not_build_is_refused(folder: Path) -> None:
    bento.same()
    for name in ("src/pipeline/service.py", "env/docker/Dockerfile", "bento.yaml", "src/sitecustomize.py"):
        built = bento.BENTO.read_bytes()
        with tarfile.open(bento.BENTO) as tar:
            tar.extractall("unpacked", filter="data")
        with Path("unpacked", name).open("a") as file:
            file.write("# a line of somebody else\n")
        bento.BENTO.unlink()
        with tarfile.open(bento.BENTO, "w") as tar:
            tar.add("unpacked", ".")
        with pytest.raises(BadInput, match=f"service.bento is not what this checkout builds, as {name} tells"):
            bento.same()
        shutil.rmtree("unpacked")
        bento.BENTO.write_bytes(built)


@pytest.mark.slow
def test_what_is_measured_is_the_file_and_not_this_checkout(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.2)
    built = bento.BENTO.read_bytes()
    (folder / "pipeline/service.py").write_text("raise SystemExit('the code of this checkout')")
    (folder / "policies/log.yaml").unlink()
    shutil.rmtree("build/bentoml")
    monkeypatch.setenv("MODEL", "nowhere")
    assert measured(probe.main) == [] and bento.BENTO.read_bytes() == built
    assert json.loads(probe.SERVICE.read_text())["bento"] == sha256(built).hexdigest()
    write_model(Path("model"), large=100)  # another model than the one inside
    assert any(said.startswith("the service answers for") for said in measured(probe.main))


def measured(main: Callable[[], None]) -> list[str]:
    """What the probe finds broken."""
    main()
    return json.loads(probe.SERVICE.read_text())["broken"]


BROKEN: dict[str, list[dict[str, Any]]] = {
    "binary": [{"score": 0.99}, {"score": "0.5"}, {"score": True}, {"alert": None}, {"alert": 0}],
    "multiclass": [{"class": "Yes"}, {"probabilities": [1, 0, 0]}, {"probabilities": {"No": 1}}],
    "regression": [{"low": 0}, {"prediction": 36.3}],
}


@pytest.mark.parametrize("task", BROKEN)
def test_an_answer_has_to_be_the_model_s_part_by_part(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = by_task.write_model(tmp_path / "model", task, tables.inputs())
    table = feature_rows().head(3).with_columns(amount=pl.Series([12.5, 150, 400]))
    sample, right = probe.asked(served, table), probe.answered(served, table)
    near = {name: value + 1e-8 for name, value in right[0].items() if type(value) is float}

    pairs = list(zip(sample, right, strict=True))

    def said(**changed: Any) -> list[str]:
        first, *others = [{served.problem.id: row[served.problem.id], **told} for row, told in pairs]
        answer = {"predictions": [first | changed, *others], "model": served.digest}

        def ask(port: int, method: str, path: str, body: dict[str, Any], on: Any = None) -> tuple[int, Any]:
            its = [row for row in answer["predictions"] if len(body["rows"]) > 1 or row == by_id(body["rows"][0])]
            return 200, json.loads(json.dumps(answer | {"predictions": its}))

        def by_id(row: dict[str, Any]) -> Any:
            at = [each[served.problem.id] for each in sample].index(row[served.problem.id])
            return answer["predictions"][at]

        monkeypatch.setattr(probe, "ask", ask)
        return list(probe.answers(0, served, sample, right))

    assert said() == said(**near) == []
    wrong = "the service's answers are not those of the model that was tested"
    assert [said(**changed) for changed in BROKEN[task]] == [[wrong]] * len(BROKEN[task])
    assert said(more=1) == [wrong]
    assert said(**{served.problem.id: "another"}) == ["the answers do not carry the rows' order_id, in their order"]


def test_a_service_that_answers_with_what_it_said_first_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To all rows at once it may be right: of each alone, it is not; nor under load."""
    served = by_task.write_model(tmp_path / "model", "binary", tables.inputs())
    table = feature_rows().head(3).with_columns(amount=pl.Series([12.5, 150, 400]))
    sample, right, name = probe.asked(served, table), probe.answered(served, table), served.problem.id

    def ask(port: int, method: str, path: str, body: dict[str, Any], on: Any = None) -> tuple[int, Any]:
        ours = [{name: row[name], **of} for row, of in zip(body["rows"], right, strict=False)]  # of the first rows
        return 200, {"predictions": ours, "model": served.digest}

    monkeypatch.setattr(probe, "ask", ask)
    monkeypatch.setattr(probe, "SECONDS", 0.05)
    (said,) = probe.answers(0, served, sample, right)
    assert said.endswith("where it is asked row by row")
    found = probe.load_test(0, name, sample, right)
    assert found["errors"] == 0 and 0 < found["wrong"] < found["requests"]


NAMES = {column.name for column in tables.inputs()}


def test_each_column_is_tried_in_every_way_that_its_type_allows(tmp_path: Path) -> None:
    served = write_model(tmp_path / "model")
    (row,) = probe.asked(served, feature_rows().drop_nulls().head(1))
    assert set(row) == {served.problem.id, served.problem.time, *NAMES}
    wrong: dict[str, set[str]] = {}
    for name, word, sent in probe.bad(served, row):
        assert {**sent, name: row[name]} == row, "one column is wrong at a time"
        wrong.setdefault(name, set()).add(word)
    numbers = {"as text", "infinite", "true"}
    assert wrong == {
        "order_id": {"left out", "null", "as a number", "empty"},
        "amount": {"left out", "null", *numbers, "below its range", "above its range"},
        "items": {"left out", "null", *numbers, "with a fraction", "below its range"},
        "express": {"left out", "null", "as a number", "as another text"},
        "größe €": {"as a number", "empty"},
        "model_config": {"left out", "null", "as a number", "empty", "outside its list"},
        "a.b": numbers,
        "born": {"as a number", "as another text"},
    }
    right = [(name, word) for name, word, _ in probe.unusual(served, row)]
    missing = [(name, word) for name in ("größe €", "a.b", "born") for word in ("null", "left out")]
    assert sorted(right) == sorted([*missing, ("größe €", "with a level that nobody has seen")])


def test_rows_are_asked_as_if_they_happened_now_at_the_same_distance(tmp_path: Path) -> None:
    table = feature_rows().head(60)
    for sent, days in zip(probe.asked(write_model(tmp_path / "model"), table), table["born"], strict=True):
        assert (sent["born"] is None) is (days is None)
        if days is not None:
            moment, born = (datetime.fromisoformat(sent[name]) for name in ("ordered_at", "born"))
            assert (moment - born) / timedelta(days=1) == days
            assert abs(datetime.now(UTC).replace(tzinfo=None) - moment) < timedelta(minutes=5)


def test_who_serves_sees_how_to_ask_by_a_row_of_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workspace(tmp_path))
    shutil.copy(tables.OURS, "contract.yaml")
    with pytest.raises(BadInput, match="make it with `make model`"):
        probe.ask_for_one("3000")
    served = write_model(Path("model"))
    monkeypatch.setattr(probe, "rules", lambda: {"amount": "hash", "order_id": "omit", "größe €": "hash"})
    probe.ask_for_one("3000")
    command = shlex.split(capsys.readouterr().out.partition("\n\n")[2])
    assert command[:2] == ["curl", "-s"] and command[2] == "localhost:3000/predict" and command[-2] == "-d"
    (row,) = json.loads(command[-1])["rows"]
    assert set(row) == {served.problem.id, served.problem.time, *NAMES} and row["order_id"] == "made-up-1"
    assert (row["amount"], row["größe €"]) == (0, probe.UNSEEN)  # personal: nothing of the rows
    assert row["express"] is False and row["model_config"] in tables.CONFIGS
    assert isinstance(row["items"], int) and row["items"] in feature_rows()["items"]
    assert datetime.fromisoformat(row["born"]) < datetime.fromisoformat(row["ordered_at"])
    Path("data/features.parquet").unlink()
    probe.ask_for_one("3000")
    assert '"items": 1' in capsys.readouterr().out, "the model alone is enough: the contract's range begins at 1"


def test_the_first_value_beyond_a_range() -> None:
    assert probe.beyond(Input("a", "integer"), 3, 1) == 4 and probe.beyond(Input("a", "integer"), 2.5, -1) == 2
    assert probe.beyond(Input("a", "number"), 1e300, 1) > 1e300 and probe.beyond(Input("a", "number"), 0, -1) < 0


@pytest.mark.parametrize("name", ["größe €", "a.b", 'with "quotes"', "shoe size", "tab\\t"])
def test_a_name_is_looked_for_as_json_decodes_it(name: str) -> None:
    answer = json.loads(json.dumps({"detail": [{"loc": ["rows", 0, name], "msg": "bad"}]}))
    assert probe.says(answer, name) and not probe.says(answer, name[:-1])


def test_the_stage_depends_on_no_data() -> None:
    """Otherwise other rows would be another Bento, of the same model."""
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["bento"]
    assert "params" not in stage and not [path for path in stage["deps"] if path.startswith("data/")]
    included = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    held = {path.strip("/") for path in included} - {"pipeline/__init__.py"}
    assert held <= set(stage["deps"])
