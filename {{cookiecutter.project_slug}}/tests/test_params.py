"""The knobs: read from the two files that hold them, each in the one where it has to stand; and each mistake named."""

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops import content
from pipeline import params
from pipeline.params import BadInput
from tests.tables import knobs, write_knobs

ROOT = Path(params.__file__).parents[1]
KNOBS: dict[str, Any] = {
    "data": {"until": "2020-01-20"},
    "features": {"windows": [1]},
    "train": {"family": "linear"},
    "families": {"linear": {}},
}
MEASURES: dict[str, Any] = {"split": {"train": 6, "calibrate": 2, "test": 3}, "evaluate": {"known": 7}}


def loaded(folder: Path, knobs: Any = KNOBS, measures: Any = MEASURES) -> dict[str, Any]:
    """What is read where the two files hold these blocks; None writes none."""
    (folder / "policies").mkdir()
    for name, blocks in (("params.yaml", knobs), ("policies/evaluation.yaml", measures)):
        if blocks is not None:
            (folder / name).write_text(yaml.safe_dump(blocks))
    return params.load(folder / "params.yaml")


def refusal(folder: Path, **files: Any) -> str:
    """The sentence that reading ends with, its paths from the folder on."""
    with pytest.raises(BadInput) as refused:
        loaded(folder, **files)
    return str(refused.value).replace(f"{folder}/", "")


def test_the_blocks_of_both_files_are_read(tmp_path: Path) -> None:
    assert loaded(tmp_path) == KNOBS | MEASURES


@pytest.mark.parametrize("measures", [MEASURES, MEASURES | {"train": {}}, {"split": {"train": 1}, "evaluate": {}}])
@pytest.mark.parametrize("block", params.MEASURES)
def test_what_measures_does_not_stand_among_the_knobs(tmp_path: Path, block: str, measures: dict[str, Any]) -> None:
    said = refusal(tmp_path, knobs=KNOBS | {block: MEASURES[block]}, measures=measures)
    assert said == f"params.yaml: `{block}:` has to stand in policies/evaluation.yaml alone; move it there"


@pytest.mark.parametrize("block", ["train", "explain"])
def test_knobs_do_not_stand_in_what_measures(tmp_path: Path, block: str) -> None:
    said = refusal(tmp_path, measures=MEASURES | {block: {}})
    assert said == f"policies/evaluation.yaml: `{block}:` has to stand in params.yaml alone; move it there"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"measures": None},
            "policies/evaluation.yaml: is not there, and `split:` and `evaluate:` have to stand in it",
        ),
        ({"knobs": KNOBS | MEASURES, "measures": None}, "policies/evaluation.yaml: is not there, and `split:`"),
        ({"knobs": None}, "params.yaml: is not there, and `data:` and `families:` and `train:` have to stand in it"),
        ({"measures": {"split": MEASURES["split"]}}, "policies/evaluation.yaml: there is no block `evaluate:`"),
        ({"measures": "split"}, "policies/evaluation.yaml: there is no block `split:`"),
        ({"knobs": {"data": {}}}, "params.yaml: there is no block `families:`"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, files: dict[str, Any], words: str) -> None:
    assert refusal(tmp_path, **files).startswith(words)


@pytest.mark.parametrize("split", [{"train": 6}, {"train": 6, "test": 0}, {"train": 6, "test": "7"}])
def test_a_split_without_days_is_named(split: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"^policies/evaluation.yaml: split.test is .*; write whole days, 1 or more$"):
        params.days(KNOBS | {"split": split}, 2)


def test_days_before_the_year_1_are_named() -> None:
    for split in ({"train": 10**400, "calibrate": 1, "test": 3}, {"train": 10**6, "calibrate": 1, "test": 3}):
        with pytest.raises(BadInput, match=r"^params.yaml: of data.until, 2020-01-20, the days before it begin before"):
            params.days(KNOBS | {"split": split}, 2)


def test_where_all_training_days_calibrate_that_is_said() -> None:
    split = {"train": 6, "calibrate": 6, "test": 3}
    with pytest.raises(BadInput, match=r"split.calibrate is 6 of 6 training days, and nothing is left to fit to"):
        params.days(KNOBS | {"split": split}, 2)
    share = {"share": 0.7, "calibrate": 0.3}
    with pytest.raises(BadInput, match=r"are 0.7 and 0.3 of the rows, and nothing is left to fit to; lower one"):
        params.delivery(KNOBS | {"split": share, "features": {}}, 2)


def test_windows_that_are_no_days_are_named() -> None:
    with pytest.raises(BadInput, match=r"^params.yaml: features.windows is 7; write a list of whole days such as"):
        params.days(KNOBS | MEASURES | {"features": {"windows": 7}}, 2)


@pytest.mark.parametrize(
    ("features", "since"), [({"windows": [1, 4]}, 4 + 2), ({"windows": []}, 0), ({}, 0), (None, 0)]
)
def test_the_days_follow_from_the_last_one(features: Any, since: int) -> None:
    """Where features look back, they do so before the delay."""
    found = params.days(KNOBS | MEASURES | {"features": features}, 2)
    assert found.test == (date(2020, 1, 18), date(2020, 1, 20))
    assert found.train == (date(2020, 1, 10), date(2020, 1, 15))
    assert found.fit == (date(2020, 1, 10), date(2020, 1, 13))
    assert found.calibration == (date(2020, 1, 14), date(2020, 1, 15))
    assert found.since == found.train[0] - timedelta(days=since)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {}\nfeatures: {}\ndata: {}\n", "line 3, column 1: `data` stands twice"),
        ("data:\n  until: 2024-02-30\n", "line 2, column 10: not what it looks like to YAML (day "),
        (f"data: 1{':59' * 400}.5\n", "line 1, column 7: not what it looks like to YAML (int too large"),
        ("data:\n\tuntil: 1\n", "line 2, column 1: found character"),
        ("[a]: 1\n[b]: 1\n", "line 1, column 1: found unhashable key"),
    ],
)
def test_what_is_no_yaml_is_said_in_a_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(BadInput) as refused:
        params.blocks(file, "data")
    said = str(refused.value)
    assert said.startswith(f"{file}: cannot be read ({words}") and said.endswith("; mend it, or restore it from git")
    assert len(said.splitlines()) == 1


# --- each mistake ---

TEXT = """
data: {source: orders, until: "2020-01-20", snapshot: null}
features: {windows: [1, 7]}
train: {family: network}
families:
  constant: {}
  linear: {penalty: 1.0}
  network: {seed: 0, pieces: 8, hidden: [8], epochs: 2, batch: 256, learning_rate: 0.006, weight_decay: 0.01}
explain: {seed: 0, repeats: 1, rows: 2, draws: 5, reasons: 2}
"""


def mistaken(folder: Path, text: str) -> str:
    """What is said of a params.yaml."""
    path = folder / "params.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        params.check(path, ROOT / params.SCHEMA)
    said = str(refused.value)
    assert all(line.startswith(f"{path}: ") for line in said.splitlines())
    return said.replace(f"{path}: ", "")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epochs:", "epoch:", "families.network.epoch is a knob that nobody reads; did you mean `epochs`?"),
        ("pieces: 8", "pieces: 8, dropout: 1", "network.dropout is a knob that nobody reads; it may be seed, pieces, "),
        ("epochs: 2, ", "", "families.network.epochs is missing"),
        ("epochs: 2", "epochs: 0", "families.network.epochs is 0; it has to be 1 or more"),
        ("epochs: 2", "epochs: two", "families.network.epochs is 'two'; it has to be a whole number"),
        ("0.006", "1e-3", "learning_rate is `1e-3`, which is text to YAML, and a number to DVC; write 0.001"),
        ("0.006", "1e-7", "learning_rate is `1e-7`, which is text to YAML, and a number to DVC; write 1.0e-07"),
        ("0.006", '"0.006"', "learning_rate is '0.006'; it has to be a number; take the quotes away"),
        ("seed: 0, pieces", "seed: yes, pieces", 'network.seed is `yes`, which is true to YAML; quote it: "yes", or'),
        ('"2020-01-20"', "2020-01-20", 'data.until is `2020-01-20`, which is a date to YAML; quote it: "2020-01-20"'),
        ('"2020-01-20"', '"2020-02-30"', "data.until is '2020-02-30', which is no day; write one such as"),
        (
            "penalty: 1.0",
            "penalty: .nan",
            "families.linear.penalty is nan, which nothing can be reckoned with; write a f",
        ),
        ("penalty: 1.0", f"penalty: 1{'0' * 400}", "0000..., which nothing can be reckoned with; write a finite"),
        ('"2020-01-20"', '"2020-01-20\\n"', "data.until is '2020-01-20\\n'; it is not written as it has to be"),
        ('"2020-01-20"', '"20.01.2020"', "data.until is '20.01.2020'; it is not written as it has to be; write a day"),
        ('"2020-01-20"', "null", "data.until is empty; it has to be text"),
        ("snapshot: null", "snapshot: 12", 'data.snapshot is 12; it has to be text or null; quote it: "12"'),
        ("{windows: [1, 7]}", "{windows: 7}", "features.windows is 7; it has to be a list; write a list of whole days"),
        ("{windows: [1, 7]}", "{delay: null}", "features.delay stands in contract.yaml now, as label.delay; move it"),
        ("family: network", "family: forest", "train.family is 'forest'; it has to be one of constant, linear, trees"),
        (
            "family: network",
            "family: trees",
            "which is not among families; it may be constant, linear, network",
        ),
        (
            "family: network",
            "family: network, epochs: 2",
            "train.epochs is a knob of the network; move it to families.net",
        ),
        (
            "  constant: {}",
            "  constant:",
            "families.constant is empty; it has to be a block of `name: value`; write {}",
        ),
        ("  linear:", "  liner:", "families.liner is a knob that nobody reads; did you mean `linear`?"),
        (
            "explain:",
            "baselines: {forest: {}}\nexplain:",
            "`baselines:` are families now: each has a line in `families:`",
        ),
        ("explain:", "split: {train: 1}\nexplain:", "`split:` has to stand in policies/evaluation.yaml alone; move it"),
        ("reasons: 2", "reasons: 21", "explain.reasons is 21; it has to be 20 or less"),
        ("explain:", "explian:", "explain is missing"),
        ("explain:", "\texplain:", "cannot be read (line 9, column 1: found character"),
    ],
)
def test_a_mistake_is_named_and_what_to_do(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in TEXT
    assert words in mistaken(tmp_path, TEXT.replace(old, new))


@pytest.mark.parametrize("text", ["", "- 1", "data", "a: *b"])
def test_what_is_no_file_of_knobs_is_said_in_a_line(tmp_path: Path, text: str) -> None:
    assert len(mistaken(tmp_path, text).splitlines()) == 1


def test_the_repositorys_own_are_as_their_schema_says(owned: None) -> None:
    params.check(ROOT / params.PARAMS, ROOT / params.SCHEMA)


def test_knobs_of_ones_own_features_are_free(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(TEXT.replace("[1, 7]", "[1, 7], decay: 0.5"))
    params.check(tmp_path / "params.yaml", ROOT / params.SCHEMA)


def test_dvc_says_it_before_a_stage_is_looked_at(tmp_path: Path) -> None:
    """Its own words for a params.yaml that is none are a traceback."""
    write_knobs(tmp_path, knobs())
    (tmp_path / "params.yaml").write_text(TEXT.replace('"2020-01-20"', "2020-01-20"))
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "pipeline.dvc", "repro"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ('params.yaml: data.until is `2020-01-20`, which is a date to YAML; quote it: "2020-01-20"\n')


def test_every_stage_that_reads_knobs_follows_both_files() -> None:
    """Otherwise DVC would keep what was made with another split."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name, listed in ((name, stage["params"]) for name, stage in stages.items() if "params" in stage):
        (measures,) = (each[str(params.EVALUATION)] for each in listed if isinstance(each, dict))
        knobs = {each.partition(".")[0] for each in listed if isinstance(each, str)}
        assert "split" in measures and not knobs & set(params.MEASURES), name
    assert str(params.EVALUATION) in content.READ


def test_a_variable_is_a_number_above_0_or_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert params.variable("PREDICT_WAIT", 0.5) == 0.5
    for said, whole in (("0", False), ("-1", False), ("soon", False), ("nan", False), ("inf", False), ("1.5", True)):
        monkeypatch.setenv("PREDICT_WAIT", said)
        with pytest.raises(BadInput, match=f"PREDICT_WAIT is '{said}'; write a "):
            params.variable("PREDICT_WAIT", 1, whole)
    monkeypatch.setenv("PREDICT_WAIT", "2.5")
    assert params.variable("PREDICT_WAIT", 1) == 2.5
