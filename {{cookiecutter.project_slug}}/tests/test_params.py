"""The knobs are read from the two files that hold them, each in the one where it has to stand."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops import content
from pipeline import params
from pipeline.params import BadInput

ROOT = Path(params.__file__).parents[1]
KNOBS: dict[str, Any] = {
    "data": {"until": "2020-01-20"},
    "features": {"windows": [1], "delay": 2},
    "train": {"seed": 0},
}
MEASURES: dict[str, Any] = {"split": {"train": 6, "test": 3}, "evaluate": {"known": 7}}


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
        ({"knobs": None}, "params.yaml: is not there, and `data:` and `features:` have to stand in it"),
        ({"measures": {"split": MEASURES["split"]}}, "policies/evaluation.yaml: there is no block `evaluate:`"),
        ({"measures": "split"}, "policies/evaluation.yaml: there is no block `split:`"),
        ({"knobs": {"data": {}}}, "params.yaml: there is no block `features:`"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, files: dict[str, Any], words: str) -> None:
    assert refusal(tmp_path, **files).startswith(words)


@pytest.mark.parametrize("split", [{"train": 6}, {"train": 6, "test": 0}, {"train": 6, "test": "7"}])
def test_a_split_without_days_is_named(split: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"^policies/evaluation.yaml: split.test is .*; write whole days, 1 or more$"):
        params.days(KNOBS | {"split": split})


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"delay": "none", "windows": []}, "features.delay is 'none'; write whole days, 0 for none"),
        ({"windows": [1]}, "features.delay is None; write"),
        ({"delay": 0, "windows": 7}, "features.windows is 7; write a list of whole days such as [1, 7], or []"),
        ({"delay": 0}, "features.windows is None; write"),
    ],
)
def test_features_without_days_are_named(features: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as refused:
        params.days(KNOBS | MEASURES | {"features": features})
    assert str(refused.value).startswith(f"params.yaml: {words}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {}\nfeatures: {}\ndata: {}\n", "line 3, column 1: `data` stands twice"),
        ("data:\n  until: 2024-02-30\n", "day "),
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


def test_every_stage_that_reads_knobs_follows_both_files() -> None:
    """Otherwise DVC would keep what was made with another split."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name, listed in ((name, stage["params"]) for name, stage in stages.items() if "params" in stage):
        (measures,) = (each[str(params.EVALUATION)] for each in listed if isinstance(each, dict))
        knobs = {each.partition(".")[0] for each in listed if isinstance(each, str)}
        assert "split" in measures and not knobs & set(params.MEASURES), name
    assert str(params.EVALUATION) in content.READ
