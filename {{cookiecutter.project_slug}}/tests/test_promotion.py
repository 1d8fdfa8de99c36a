"""What a promotion is made of and what it says; what is packed is the same for the same bytes."""

import hashlib
import html
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from gitops import bytes as handover
from gitops import facts, promotion
from pipeline import about

HOSTILE = "$(touch pwned) ::error::x\n## Heading <img src=x> @everyone #1 | ``` <!-- gitops:closed -->"
HARM = ("<img", "@everyone", "::error", "$(touch", "\n## Heading", "<!-- gitops:closed")
INTERVAL = {"value": 0.7, "low": 0.6, "high": 0.8}
BASE = {path.name: path.read_text() for path in (Path(__file__).parent.parent / "deploy" / "base").iterdir()}
POLICY = {"card": {"intended_use": "Ranks orders.", "limits": ["Of one shop."]}}


PROBLEM = {
    **{"name": "returned-orders", "task": "binary", "id": "order_id", "time": "ordered_at", "label": "returned"},
    **{"values": ["No", "Yes"], "positive": "Yes", "inputs": ["amount", "größe €"], "outputs": ["score", "alert"]},
    **dict.fromkeys(("unit", "lowest", "highest", "interval")),
}
CLASSES = PROBLEM | {"task": "multiclass", "values": ["NA", 7, True], "positive": None}
CLASSES |= {"outputs": ["class", "probabilities"]}
NUMBER = PROBLEM | {"task": "regression", "values": [], "positive": None, "outputs": ["prediction", "low", "high"]}
NUMBER |= {"unit": "€", "lowest": 0, "highest": 1e6, "interval": 0.9}


def measured(**data: Any) -> dict[str, Any]:
    window: dict[str, Any] = {"source": "simulate", "snapshot": None, "train": ["2018-07-25", "2018-07-31"]}
    window |= {
        "test": ["2018-08-08", "2018-08-14"],
        "train_rows": 9,
        "calibration_rows": 2,
        "test_rows": 9,
        "test_labels": "1 return",
        "unlabelled": 0,
        "left_out": 0,
    }
    metrics = {"average_precision": INTERVAL}
    rows = [{"column": "amount", "from": 0, "to": 50, "rows": 9, "labels": "1 return", "average_precision": INTERVAL}]
    return {
        "model": {
            "digest": "sha256:" + "a" * 64,
            "family": "trees",
            "bytes": 1,
            "decides": "An alert is a score of 0.43.",
        },
        "headline": "average_precision",
        "smaller": [],
        **{"data": window | data, "metrics": metrics, "baselines": {"linear": metrics}, "slices": rows},
    }


def entry(
    image: str | None = None, champion: str | None = None, problem: dict[str, Any] = PROBLEM, **came: Any
) -> dict[str, Any]:
    files = {name: {"sha256": "b" * 64, "bytes": 1} for name in promotion.ASSETS}
    lineage = {"commit": "c" * 40, "pull_request": 7, "approved_by": ["alice"], "trained_by": 1, "released_by": 2}
    return dict(promotion.entry(files, measured(), problem, lineage | came, "d" * 32, image, champion))


def files(manifest: dict[str, Any], told: dict[str, Any], lock: str = "lock") -> dict[str, str]:
    return dict(promotion.files(manifest, lock, told, POLICY, BASE, "https://forge.example/acme/bank"))


def told(**data: Any) -> dict[str, Any]:
    return {"metrics": measured(**data), "champion": None, "comparison": None, "explanations": None}


def test_an_entry_is_of_its_form() -> None:
    made = entry(image=f"ghcr.io/acme/bank@sha256:{'e' * 64}", champion="sha256:" + "f" * 64)
    assert facts.check(made, "entry") is None
    assert made["data"]["until"] == "2018-08-14"
    for name in made:
        assert facts.check({key: made[key] for key in made if key != name}, "entry"), name
    assert facts.check(made | {"more": 1}, "entry")
    assert facts.check(made | {"image": "ghcr.io/acme/bank:latest"}, "entry"), "a tag can move"


@pytest.mark.parametrize("problem", [PROBLEM, CLASSES, NUMBER])
def test_the_problem_of_an_entry_is_of_its_form(problem: dict[str, Any]) -> None:
    assert facts.check(entry(problem=problem), "entry") is None
    for name in problem:
        assert facts.check(entry(problem={key: problem[key] for key in problem if key != name}), "entry"), name
    for wrong in (
        {"values": ["x" * 201]},
        {"positive": 0.5},
        {"unit": "x" * 201},
        {"interval": 90},
        {"outputs": ["a b"]},
    ):
        assert facts.check(entry(problem=problem | wrong), "entry"), wrong


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (PROBLEM, "It predicts whether returned is Yes."),
        (CLASSES, "It predicts which of 3 values returned has."),
        (NUMBER, "It predicts the number returned in €, with an interval that 90% of the labels lie in."),
    ],
)
def test_the_card_says_what_is_predicted(problem: dict[str, Any], said: str) -> None:
    card = html.unescape(re.sub("</?code>", "", files(entry(problem=problem), told())["MODEL_CARD.md"]))
    assert said in card and "An alert is a score of 0.43." in card


def test_the_files_are_a_pure_function_of_what_was_measured() -> None:
    made = files(entry(), told())
    assert set(made) == {"dvc.lock", "manifest.json", "metrics.json", "MODEL_CARD.md", *BASE}
    assert made == files(entry(), told())
    assert json.loads(made["manifest.json"]) == entry() and json.loads(made["metrics.json"]) == measured()
    assert yaml.safe_load(made["deployment.yaml"])["spec"]["replicas"] == 0
    image = f"ghcr.io/acme/bank@sha256:{'e' * 64}"
    pod = yaml.safe_load(files(entry(image), told())["deployment.yaml"])["spec"]["template"]
    assert [each["image"] for each in pod["spec"]["containers"]] == [image]


def test_the_card_says_what_a_reader_asks() -> None:
    card = files(entry(), told())["MODEL_CARD.md"]
    plain = re.sub(r"&#(\d+);", lambda match: chr(int(match[1])), card)
    for words in (
        *("Ranks orders.", "Of one shop.", "2018-07-25", "2018-08-14", "0.700", "0.600", "amount"),
        *("a" * 64, "[#7](https://forge.example/acme/bank/pull/7), approved by", "alice", "[run 1](", "[run 2]("),
        "no model of this problem was in production",
    ):
        assert words in plain, words
    asked = re.search(r"promoted by \[its pull request\]\((\S+)\)", card)
    assert asked and unquote(asked[1]).endswith(f'pulls?q=is:pr is:merged in:title "{promotion.title(entry())}"')
    pushed = files(entry(pull_request=None, approved_by=[]), told())["MODEL_CARD.md"]
    assert "without a pull request" in pushed


def test_the_service_s_page_draws_the_card_of_its_model(tmp_path: Path) -> None:
    path, made = tmp_path / "MODEL_CARD.md", entry()
    path.write_text(files(made, told())["MODEL_CARD.md"])
    page = about.drawn(path, made["model"]) or ""
    assert "<table>" in page and 'href="https://forge.example/acme/bank/pull/7"' in page
    assert about.drawn(path, entry()["model"].replace("a", "b")) is None


def test_the_body_says_what_changes_the_evidence_and_what_to_do() -> None:
    before = entry() | {"model": "sha256:" + "0" * 64}
    said = promotion.body(entry(champion=before["model"]), told(), before, "https://forge.example/runs/2")
    said += promotion.what_to_do(promotion.BRANCH, app=False)
    assert said.startswith(promotion.MARKER)
    for words in ("0" * 64, "a" * 64, "(https://forge.example/runs/2)", "MODEL_CARD.md", "one click"):
        assert words in said, words
    assert "one click" not in promotion.what_to_do(promotion.BRANCH, app=True)


def test_hostile_words_harm_nothing() -> None:
    harmful = NUMBER | {"label": HOSTILE, "unit": HOSTILE}
    hostile = entry(problem=harmful, approved_by=[HOSTILE]) | {"image": HOSTILE, "champion": HOSTILE}
    card = files(hostile, told(source=HOSTILE), HOSTILE)["MODEL_CARD.md"]
    body = promotion.body(hostile, told(source=HOSTILE), hostile, "https://forge.example/runs/2")
    back = promotion.rollback_body(hostile | {"model": HOSTILE}, hostile | {"model": HOSTILE})
    for said in (card, body, back):
        for harm in HARM:
            assert harm not in said, harm


# --- what is packed, and where a run's lock lies ---------------------------------------------------------------------


def pack(folder: Path, umask: int = 0o022) -> dict[str, str]:
    """The sha256 of each file that is packed, of a pipeline's outs made now."""
    for path in ("model/manifest.json", "model/model.onnx", *handover.PACKED):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)
        Path(path).chmod(0o666 & ~umask)
        os.utime(path, (umask, umask))
    handover.pack(folder)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_same_model_is_the_same_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the files' dates and rights are."""
    monkeypatch.chdir(tmp_path)
    first = pack(tmp_path / "first")
    assert pack(tmp_path / "second", umask=0o077) == first
    assert set(promotion.ASSETS) <= set(first) and {"dvc.lock", "fitted.json"} <= set(first)
    with tarfile.open(tmp_path / "first" / "model.tar") as tar:
        assert tar.getnames() == ["model/manifest.json", "model/model.onnx"]
    Path("model/manifest.json").write_text("other")
    handover.pack(tmp_path / "third")
    assert (tmp_path / "third" / "model.tar").read_bytes() != (tmp_path / "first" / "model.tar").read_bytes()
