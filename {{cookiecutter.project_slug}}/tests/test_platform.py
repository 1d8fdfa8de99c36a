"""What the repository runs on: read from a revision, refused in a sentence where a line is wrong."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from gitops import __main__ as command
from gitops import platform

ROOT = Path(__file__).parents[1]
OFF = dict.fromkeys(platform.KEYS, "")
SCHEMA = json.loads((ROOT / "policies/schemas/platform.schema.json").read_text())

GOOD: dict[str, list[object]] = {
    "gpu_runner": ["gpu-large", "gpu_2.x"],
    "gpu_price": [1.2, 0, 3],
    "dvc_remote": ["s3://bucket/dvc", "azure://container/dvc", "ssh://dvc@host/srv/dvc", "/srv/dvc", "file:///srv/dvc"],
    "container_registry": ["ghcr.io/owner/name", "registry.example.org:5000/team/scorer"],
    "container_registry_user": ["robot", "robot$scorer", "_json_key", "me@example.org"],
    "mlflow_tracking_uri": ["https://mlflow.example.org", "http://mlflow:5000/base"],
    "prediction_log": ["s3://bucket/predictions", "abfs://logs@account.dfs.core.windows.net/scorer", "/srv/log"],
    "app_client_id": ["Iv23liAbCdEf", "Iv1.0123456789abcdef"],
}
WRONG = [
    ("gpu_runner", "[self-hosted, gpu]", "a list or a mapping, no text: write such as `gpu_runner: gpu-large`"),
    ("gpu_runner", '"[self-hosted]"', "has not the form of gpu-large"),
    ("gpu_runner", "gpu large", "has not the form of gpu-large"),
    ("gpu_runner", "12", "is 12, no text"),
    ("gpu_runner", '"gpu\\nprice=1"', "has not the form of gpu-large"),
    ("gpu_runner", '"gpu\\n"', "has not the form of gpu-large"),
    ("gpu_runner", '""', "has not the form of gpu-large"),
    ("gpu_price", '"1,20"', "no price: write such as `gpu_price: 1.20`"),
    ("gpu_price", "-1", "no price"),
    ("gpu_price", ".inf", "no price"),
    ("gpu_price", ".nan", "no price"),
    ("gpu_price", "yes", "no price"),
    ("dvc_remote", "bucket/dvc", "has not the form of s3://bucket/dvc"),
    (
        "dvc_remote",
        "https://example.org/dvc",
        "https:// is none of s3, gs, azure, oss, ssh: name a folder, or a bucket",
    ),
    ("dvc_remote", "s3://bucket/d vc", "has not the form of s3://bucket/dvc"),
    ("dvc_remote", '"s3://bucket/\\u2028dvc"', "has not the form of s3://bucket/dvc"),
    ("container_registry", "ghcr.io/owner/name:latest", "has not the form of ghcr.io/owner/name"),
    ("container_registry", "https://ghcr.io/owner/name", "has not the form of ghcr.io/owner/name"),
    ("container_registry_user", "two words", "has not the form of robot"),
    ("mlflow_tracking_uri", "databricks", "needs DATABRICKS_HOST and DATABRICKS_TOKEN"),
    ("mlflow_tracking_uri", "mlflow.example.org", "has not the form of https://mlflow.example.org"),
    ("prediction_log", "ftp://host/log", "ftp:// is none of s3, gs"),
    ("app_client_id", '"123456"', "has not the form of Iv23liAbCdEf"),
    ("app_client_id", "123456", "is 123456, no text"),
]
CREDENTIALS = [
    ("dvc_remote", "s3://AKIASECRET@bucket/dvc"),
    ("dvc_remote", "ssh://me:SECRET@host/srv"),
    ("dvc_remote", "azure://container/dvc?sig=SECRET"),
    ("container_registry", "me:SECRET@ghcr.io/owner/name"),
    ("container_registry_user", "robot:SECRET@registry.example.org"),
    ("mlflow_tracking_uri", "https://SECRET@mlflow.example.org"),
    ("mlflow_tracking_uri", "https://me:SECRET@mlflow.example.org"),
    ("prediction_log", "abfs://me:SECRET@account.dfs.core.windows.net/log"),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_a_good_value_is_read_as_it_stands(name: str, value: object) -> None:
    assert platform.read(yaml.safe_dump({name: value})) == OFF | {name: str(value)}
    Draft202012Validator(SCHEMA).validate({name: value})


@pytest.mark.parametrize(("name", "written", "words"), WRONG)
def test_a_wrong_value_is_refused_in_a_sentence(name: str, written: str, words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        platform.read(f"{name}: {written}\n")
    said = str(ended.value)
    assert said.startswith(f"platform.yaml: {name} is ") and words in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(("name", "value"), CREDENTIALS)
def test_a_credential_is_refused_and_not_repeated(name: str, value: str) -> None:
    with pytest.raises(SystemExit, match=f"platform.yaml: {name} holds a credential.*: revoke it, then write") as ended:
        platform.read(yaml.safe_dump({name: value}))
    assert "SECRET" not in str(ended.value)


def test_the_schema_and_the_code_know_the_same_keys_and_forms() -> None:
    assert [*SCHEMA["properties"]] == [*platform.KEYS]
    for name, about in SCHEMA["properties"].items():
        assert about["type"][1:] == ["null"]
        assert name == "gpu_price" or about["pattern"] == f"^{platform.KEYS[name].form}(?!\\n)$"


def test_every_problem_is_told_and_an_unknown_key_with_the_nearest() -> None:
    with pytest.raises(SystemExit) as ended:
        platform.read("gpu_runer: gpu\ndvc_remote: 1\n7: null\nDVC_REMOTE: null\n")
    first, second, third, old = str(ended.value).splitlines()
    assert first == "platform.yaml: 'gpu_runer' is no key here; did you mean `gpu_runner`?"
    assert "dvc_remote" in second and "'7' is no key here" in third
    assert old == "platform.yaml: 'DVC_REMOTE' is no key here; did you mean `dvc_remote`?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "holds no keys"),
        ("a: [", "no YAML"),
        ("a: 2024-99-99", "no YAML"),
        ("gpu_runner: gpu\ngpu_runner: null\n", "line 2, column 1: `gpu_runner` stands twice"),
    ],
)
def test_what_is_no_mapping_is_refused(text: str, words: str) -> None:
    with pytest.raises(SystemExit, match=words):
        platform.read(text)


@pytest.mark.parametrize("text", ["", "# nothing\n", "gpu_runner: null\n", "gpu_runner:\n"])
def test_what_is_left_out_is_off(text: str) -> None:
    assert platform.read(text) == OFF


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit, and the working folder."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    commit("as it begins")
    return tmp_path


def git(*arguments: str) -> None:
    """Git, as somebody."""
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments], check=True)


def commit(message: str) -> None:
    """Everything that lies there."""
    git("add", "--all")
    git("commit", "--quiet", "--allow-empty", "--message", message)


def test_a_revision_has_its_own_whatever_lies_in_the_working_folder(repository: Path) -> None:
    file = repository / "platform.yaml"
    assert platform.at("HEAD") == platform.here() == OFF
    file.write_text("gpu_runner: ours\n")
    commit("ours")
    file.write_text("gpu_runner: theirs\n")
    assert platform.at("HEAD")["gpu_runner"] == "ours" and platform.at("HEAD^") == OFF
    assert platform.here()["gpu_runner"] == "theirs"
    with pytest.raises(subprocess.CalledProcessError):  # not: everything is off
        platform.at("nowhere")


def test_what_a_revision_cannot_say_is_refused(repository: Path) -> None:
    file = repository / "platform.yaml"
    file.write_bytes(b"gpu_runner: \xff\n")
    commit("latin")
    with pytest.raises(SystemExit, match="platform.yaml is not UTF-8"):
        platform.at("HEAD")
    file.unlink()
    file.symlink_to("/etc/hostname")
    commit("a link")
    with pytest.raises(SystemExit, match="platform.yaml is no plain file"):
        platform.at("HEAD")


def test_steps_take_the_values_with_dashes(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "platform.yaml").write_text("gpu_price: 1.20\ndvc_remote: /srv/dvc\n")
    commit("on")
    (repository / "platform.yaml").write_text("gpu_price: 9\n")
    monkeypatch.setenv("GITHUB_OUTPUT", str(repository / "outputs"))
    command.show_platform("HEAD")
    written = dict(line.split("=", 1) for line in (repository / "outputs").read_text().splitlines())
    assert written == {name.replace("_", "-"): "" for name in OFF} | {"gpu-price": "1.2", "dvc-remote": "/srv/dvc"}


def test_a_laptop_sees_what_lies_there(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_OUTPUT", raising=False)
    (repository / "platform.yaml").write_text("gpu_runner: ours\n")
    command.show_platform(None)
    assert "gpu_runner: ours\ngpu_price: off\n" in capsys.readouterr().out
