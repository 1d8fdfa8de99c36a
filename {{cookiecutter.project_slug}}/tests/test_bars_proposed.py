"""`make bars` proposes bars from what was measured: a diff that git takes, and bars that pass, once it is applied."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline import bars, model, personal, policy, rows
from pipeline.contract import Contract, Label
from pipeline.edits import Bar, Item, Proposal, comment_of, flow, with_comments, with_item, with_key, with_value
from pipeline.model import Problem
from pipeline.params import BadInput
from pipeline.policy import check
from tests import tables

STAGES = (
    *("source", "ingest", "validate", "rows", "encode", "train constant", "train linear", "baselines", "export"),
    *("evaluate", "reference", "explain", "compare", "behaviour"),
)
LENIENT = "calibration_error: {maximum: 1}"


def run(stages: tuple[str, ...]) -> None:
    """Runs stages in process."""
    for stage in stages:
        name, *arguments = stage.split()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", [name, *arguments])
            main = import_module(f"pipeline.{name}").main
            main(*arguments)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which everything was measured, with lenient bars."""
    folder = tmp_path_factory.mktemp("built")
    tables.daily(folder / "orders", 4000)
    families = {name: tables.KNOBS["families"][name] for name in ("constant", "linear")}
    tables.write_knobs(folder, tables.KNOBS | {"families": families})
    tables.write_policies(folder)
    lenient = (folder / "policies/model.yaml").read_text().replace("calibration_error: {maximum: 0.01}", LENIENT)
    (folder / "policies/model.yaml").write_text(lenient)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(STAGES)
    return folder


class Here:
    """A copy of it, in git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def propose(self, *arguments: str) -> str:
        """What is proposed, with the file as git reads it."""
        bars.main(arguments)
        return bars.DIFF.read_text()

    def apply(self) -> None:
        subprocess.run(["git", "apply", str(bars.DIFF)], check=True)

    def judge(self) -> None:
        """Measure again what the bars name, and judge: raises SystemExit where one is not met."""
        run(("evaluate", "behaviour"))
        policy.main(["data", "model", "behaviour"])


@pytest.fixture
def here(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    return Here(tmp_path)


def texts() -> dict[str, str]:
    """The policies as they stand."""
    return {path.name: path.read_text() for path in sorted(Path("policies").glob("*.yaml"))}


def rewrite(name: str, change: Callable[[str], str]) -> None:
    path = Path(f"policies/{name}.yaml")
    path.write_text(change(path.read_text()))


def test_what_is_proposed_passes_and_is_then_nothing_more(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    before = texts()
    said = here.propose()
    assert texts() == before, "nothing is touched by itself"
    assert said and said in capsys.readouterr().out
    added = [line for line in said.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert all("measured: " in line or line.lstrip("+ ").startswith(("#", "direction: [", "]")) for line in added)
    here.apply()
    check.main()
    here.judge()
    assert here.propose() == "" and "nothing to propose" in capsys.readouterr().out


def test_bars_are_loosened_only_when_told(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite("model", lambda text: text.replace("bytes: 1_000_000", "bytes: 10 # as small as it gets"))
    assert "-bytes" not in here.propose()
    assert "bytes is 10, and would be loosened to" in capsys.readouterr().out
    said = here.propose("--loosen")
    assert re.search(r"^\+bytes: [\d_]+ # as small as it gets; measured: [\d,]+$", said, re.MULTILINE)
    here.apply()
    here.judge()
    assert here.propose("--loosen") == ""


def test_a_direction_is_signed_by_taking_the_hash_away(here: Here) -> None:
    here.propose()
    here.apply()
    assert policy.load("behaviour")["direction"] == []
    assert "More amount, more returns" in Path("policies/behaviour.yaml").read_text()
    rewrite("behaviour", lambda text: re.sub(r"^( *)#([-{])", r"\1\2", text, flags=re.MULTILINE))
    (case,) = policy.load("behaviour")["direction"]
    assert case["answer"] == "rises" and case["change"] == {"amount": {"plus": 95}}
    run(("behaviour",))
    policy.main(["behaviour"])
    assert "direction" not in here.propose(), "it is not proposed twice"


def test_inputs_that_count_are_sliced_and_those_slices_pass(here: Here) -> None:
    rewrite("evaluation", lambda text: text.replace("slices: [{column: amount, from: 50}]", "slices: []"))
    rewrite(
        "model", lambda text: text.replace("rows: 100, each_class: 30, metrics", "rows: 40, each_class: 6, metrics")
    )
    run(("evaluate",))
    here.propose()
    here.apply()
    pieces = policy.load("evaluation")["evaluate"]["slices"]
    assert {"column": "größe €", "value": "klein"} in pieces and {"column": "amount", "from": 139} in pieces
    run(("evaluate",))
    policy.main(["model"])
    assert "slices" not in here.propose()


def test_a_slice_that_is_served_badly_is_said_and_not_proposed(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite("evaluation", lambda text: text.replace("slices: [{column: amount, from: 50}]", "slices: []"))
    rewrite(
        "model", lambda text: text.replace("rows: 100, each_class: 30, metrics", "rows: 40, each_class: 6, metrics")
    )
    rewrite("model", lambda text: text.replace("roc_auc: {minimum: 0.75}", "roc_auc: {minimum: 1.1}"))
    assert "evaluation" not in here.propose()
    assert "amount is 139 or more: 47 rows, 17 returns, roc_auc " in capsys.readouterr().out


def test_personal_inputs_are_neither_sliced_nor_moved(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "POLICY", Path("policies/log.yaml"))
    rewrite("log", lambda text: text.replace("personal: {}", "personal: {amount: hash}"))
    rewrite("evaluation", lambda text: text.replace("slices: [{column: amount, from: 50}]", "slices: []"))
    assert "amount" not in "".join(line for line in here.propose().splitlines() if line.startswith("+"))


def test_what_was_not_measured_is_a_sentence(here: Here) -> None:
    found = json.loads(Path("metrics.json").read_text())
    Path("metrics.json").write_text(json.dumps(found | {"model": found["model"] | {"digest": "sha256:0"}}))
    with pytest.raises(BadInput, match="metrics.json: is of another model than model; run `make pipeline`"):
        bars.main([])
    Path("metrics.json").unlink()
    with pytest.raises(BadInput, match="metrics.json: cannot be read .* make it with `make pipeline`"):
        bars.main([])
    assert not bars.DIFF.exists()


# --- other tasks than the one that was built ---

CLASSES = tables.ours(task="multiclass", label=Label("größe €", 2, tables.SIZES))
NUMBERS = tables.ours(task="regression", label=Label("amount", 2, unit="euros", interval=0.9))
DAYS = [f"2020-01-{day:02}" for day in range(1, 16)]


def known(contract: Contract, scorer: model.Scorer = dict, **found: Any) -> bars.Known:
    """What is there to propose from."""
    inputs = tuple(column for column in tables.inputs() if column.name != contract.label.column)
    of = model.Model(Problem.of(contract), "linear", inputs, "sha256:0", scorer)
    table = rows.made(tables.source(400), contract, {}).drop_nulls(rows.LABEL)
    return bars.Known(contract, tables.KNOBS, found, (), of, table)


def labelled(kind: str, **parts: tuple[float, float, float, float]) -> dict[str, Any]:
    """What validate says of 15 days of 400 rows: of each part its value, its deviation, and the ends of its days."""
    by_name = {
        name: {"value": value, "deviation": deviation, "days": dict.fromkeys(DAYS, low) | {DAYS[3]: high}}
        for name, (value, deviation, low, high) in parts.items()
    }
    days = {"rows": dict.fromkeys(DAYS, 400)}
    return {"rows": 6000, "levels": None, "days": days, "label": {"kind": kind, "parts": by_name}}


def proposed(folder: Path, contract: Contract, measured: dict[str, Any], **label: Any) -> Proposal:
    """Bars of data.yaml, where it has others of the label."""
    tables.write_policies(folder)
    policy_of = yaml.safe_load((folder / "policies/data.yaml").read_text())
    policy_of["label"] |= label
    path = folder / "policies" / "data.yaml"
    path.write_text(yaml.safe_dump(policy_of, allow_unicode=True))
    proposal = Proposal.of(path, policy_of, loosen=False)
    proposal.bars(bars.of_data(known(contract, data=measured), policy_of))
    return proposal


def test_each_class_gets_bars_of_its_own(tmp_path: Path) -> None:
    measured = labelled("share", groß=(0.2, 0.4, 0.15, 0.25), klein=(0.79, 0.41, 0.7, 0.85), NA=(0.01, 0.1, 0, 0.02))
    proposal = proposed(tmp_path, CLASSES, measured)
    label = yaml.safe_load(proposal.text)["label"]
    assert label["parts"] == {
        "groß": {"minimum": 0.11, "maximum": 0.34, "day": {"minimum": 0.04, "maximum": 0.36}},
        "klein": {"minimum": 0.65, "day": {"minimum": 0.52}},
        "NA": {"maximum": 0.02, "day": {"maximum": 0.05}},
    }
    assert {name: label[name] for name in ("minimum", "maximum")} == {"minimum": 0.01, "maximum": 0.5}
    (line,) = (line.strip() for line in proposal.text.splitlines() if line.strip().startswith("groß: "))
    assert line.endswith("# measured: groß 0.2 of 6,000 rows; day 0.15 to 0.25 on 15 days")
    loosened = [said.partition(";")[0] for said in proposal.said]
    assert loosened == [
        "label.parts.klein.maximum is 0.5, and would be loosened to 0.89",
        "label.parts.NA.minimum is 0.01, and would be loosened to 0.005",
    ]


@pytest.mark.parametrize(
    ("lowest", "part", "ends", "of_day"),
    [
        (0, (50.0, 10.0, 40.0, 60.0), {"minimum": 45, "maximum": 55}, {"minimum": 37.5, "maximum": 62.5}),
        (0, (50.0, 120.0, 40.0, 60.0), {"maximum": 110}, {"minimum": 2, "maximum": 98}),
        (None, (-1.0, 10.0, -3.0, 1.0), {"minimum": -6, "maximum": 4}, {"minimum": -5.5, "maximum": 3.5}),
        (None, (1015.5, 8.0, 1014.0, 1016.0), {"minimum": 1010, "maximum": 1020}, {"minimum": 1010, "maximum": 1020}),
    ],
)
def test_a_number_may_move_by_half_a_deviation(
    tmp_path: Path, lowest: int | None, part: Any, ends: dict[str, float], of_day: dict[str, float]
) -> None:
    columns = tuple(replace(c, minimum=lowest) if c.name == "amount" else c for c in NUMBERS.columns)
    anything = {"minimum": -1e9, "maximum": 1e9}
    bars_of = anything | {"day": {"rows": 100, **anything}}
    proposal = proposed(tmp_path, replace(NUMBERS, columns=columns), labelled("mean", mean=part), **bars_of)
    assert yaml.safe_load(proposal.text)["label"] == anything | ends | {"day": {"rows": 100, **anything, **of_day}}
    assert f"{part[0]:.3g} over 6,000 rows" in proposal.text


def test_a_metric_has_its_bar_on_the_side_that_is_worse_and_a_coverage_on_both() -> None:
    metrics = {
        "rmse": {"value": 5.0, "low": 4.8, "high": 5.3},
        "r2": {"value": 0.2, "low": 0.05, "high": 0.3},
        "coverage": {"value": 0.92, "low": 0.9, "high": 0.93},
        "width": {"value": 17.0, "low": 16.9, "high": 17.2},
        "mae": {"value": 4.0, "low": 3.0, "high": 5.0},
    }
    piece = {"column": "items", "from": 3, "to": None, "rows": 300, "rarest": None, "labels": ""}
    slices = [
        piece | {"rmse": {"value": 6, "low": 5, "high": 7.5}},
        piece | {"rmse": {"value": 9, "low": 8.4, "high": 9.9}, "rows": 3},
    ]
    there = known(NUMBERS, model={"metrics": metrics, "model": {"bytes": 1000}, "slices": slices})
    asked = {"metrics": {}, "slices": {"rows": 100, "each_class": 30, "metrics": {"rmse": {"maximum": 100}}}}
    found = {bar.name: bar.value for bar in bars.of_model(there, asked, [])}
    assert found == {
        **{"metrics.rmse.maximum": 5.6, "metrics.coverage.minimum": 0.88, "metrics.coverage.maximum": 0.94},
        **{"metrics.width.maximum": 18, "bytes": 2000, "slices.metrics.rmse.maximum": 7.5},
    }, "and of a share of the variance that chance may reach, none"
    metrics["coverage"] = {"value": 0.95, "low": 0.9, "high": 1.0}
    assert "metrics.coverage.maximum" not in {bar.name for bar in bars.of_model(there, asked, [])}


def test_a_direction_of_classes_is_that_of_the_most_frequent_one() -> None:
    def scorer(given: Any) -> model.Outputs:
        amount = given[model.NUMBERS][0]
        small = 1 / (1 + np.exp((amount - 80) / 40))
        probabilities = np.stack([1 - small, 0.9 * small, 0.1 * small], axis=1)
        return {"class": probabilities.argmax(axis=1), "probabilities": probabilities}

    (item,) = bars.directions(known(CLASSES, scorer))
    case = yaml.safe_load(item.text)
    assert (case["case"], case["of"], case["answer"]) == ("More amount, klein less often", "klein", "falls")
    assert case["tolerance"] == bars.TOLERANCE and "the mean probability moves by -0." in item.measured


def test_a_direction_of_numbers_is_measured_in_their_deviations() -> None:
    def scorer(given: Any) -> model.Outputs:
        prediction = 1e6 * given[model.NUMBERS][0]
        return {"prediction": prediction, "low": prediction, "high": prediction}

    contract = replace(NUMBERS, label=Label("shoe size", 2))
    (item,) = bars.directions(known(contract, scorer))
    case = yaml.safe_load(item.text)
    assert (case["case"], case["answer"]) == ("More amount, a larger shoe size", "rises") and "of" not in case
    assert 1e5 < case["tolerance"] < 1e6 < case["by"]


# --- edits ---

BLOCK = """# head
metrics:
  roc_auc: {minimum: 0.5} # "a" # and b
  # of the last
  accuracy: {minimum: 0.1}

# tail
slices: # which
  - {column: a, to: 5}
"""
BAR = Bar(("metrics", "roc_auc", "minimum"), 0.75, "0.8 (0.77 to 0.9)")


def test_a_value_is_replaced_and_nothing_else() -> None:
    said = with_value(BLOCK, BAR)
    line = '  roc_auc: {minimum: 0.75} # "a" # and b; measured: 0.8 (0.77 to 0.9)'
    assert said == BLOCK.replace('  roc_auc: {minimum: 0.5} # "a" # and b', line)
    assert with_value(said, Bar(BAR.place, 0.8, "0.9")) == BLOCK.replace(
        '0.5} # "a" # and b', '0.8} # "a" # and b; measured: 0.9'
    )


def test_a_line_is_added_at_the_end_of_its_block() -> None:
    said = with_key(BLOCK, Bar(("metrics", "average_precision", "minimum"), 0.5, "0.6"))
    assert said == BLOCK.replace(
        "{minimum: 0.1}\n", "{minimum: 0.1}\n  average_precision: {minimum: 0.5} # measured: 0.6\n"
    )
    said = with_key("a: {b: 1} # c\n", Bar(("a", "d"), 2, "3"))
    assert said == "a: {b: 1, d: 2} # c; measured: a.d 3\n"
    assert with_value(said, Bar(("a", "b"), 3, "3")) == "a: {b: 3, d: 2} # c; measured: a 3\n"
    assert with_value(said, Bar(("a", "b"), 3, "4")) == "a: {b: 3, d: 2} # c; measured: a.d 3; a.b 4\n"
    two = "label: {parts: {a: {day: {minimum: 0.1}}, b: {day: {minimum: 0.1}}}}\n"
    for name in "ab":
        two = with_value(two, Bar(("label", "parts", name, "day", "minimum"), 0.2, f"0.3 {name}"))
    assert two.endswith(" # measured: parts.a.day.minimum 0.3 a; parts.b.day.minimum 0.3 b\n")
    assert with_key("a: {}\r\n", Bar(("a", "d"), 0.25, "3")) == "a: {d: 0.25} # measured: 3\r\n"


def test_a_bar_in_blocks_that_are_not_there_brings_them() -> None:
    own = Bar(("label", "parts", "no: 1", "day", "minimum"), 0.5, "0.6")
    lines = 'label:\n  maximum: 1\n  parts:\n    "no: 1":\n      day: {minimum: 0.5} # measured: 0.6\n'
    assert with_key("label:\n  maximum: 1\n", own) == lines
    braces = 'label: {maximum: 1, parts: {"no: 1": {day: {minimum: 0.5}}}} # measured: 0.6\n'
    assert yaml.safe_load(with_key("label: {maximum: 1}\n", own)) == yaml.safe_load(braces)
    further = with_key(lines, Bar((*own.place[:-1], "maximum"), 0.7, "0.6"))
    assert further == lines.replace(
        "{minimum: 0.5} # measured: 0.6", "{minimum: 0.5, maximum: 0.7} # measured: day 0.6"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BLOCK, BLOCK + "  - {column: b} # measured: 5\n"),
        ("slices: [] # c\n", "slices: # c\n  - {column: b} # measured: 5\n"),
        ("slices: [{column: a}]\n", "slices: [{column: a}, {column: b}]\n"),
    ],
)
def test_a_value_is_added_to_a_list(before: str, after: str) -> None:
    assert with_item(before, ("slices",), Item("{column: b}", "5")) == after


@pytest.mark.parametrize("before", ["a: 1\nslices: []\n", BLOCK])
def test_a_value_that_is_commented_out_counts_once_its_hash_is_gone(before: str) -> None:
    said = with_comments(before, ("slices",), [Item("{column: b}", "5"), Item("{column: c}", "5")], "why\nso")
    assert yaml.safe_load(said) == yaml.safe_load(before)
    signed = yaml.safe_load(re.sub(r"^( *)#([-{])", r"\1\2", said, flags=re.MULTILINE))
    assert signed["slices"][-2:] == [{"column": "b"}, {"column": "c"}]


def test_a_line_break_in_what_was_measured_is_no_further_bar() -> None:
    said = with_item(BLOCK, ("slices",), Item("{column: b}", "where city is a\n  - {column: evil}\u2028b"))
    assert yaml.safe_load(said)["slices"][-1] == {"column": "b"}
    for value in ("a\nb", "a\u2028b", "a\x85b", "a\U000e0001b"):
        assert yaml.safe_load(flow({"value": value})) == {"value": value} and flow(value).isprintable()


@pytest.mark.parametrize(
    ("line", "comment"),
    [("a: 1 # b", "# b"), ("a: 1", ""), ('a: "x # y"', ""), ("- {a: 'b # c'} # d # e", "# d # e"), ("", "")],
)
def test_a_comment_is_told_from_text(line: str, comment: str) -> None:
    assert comment_of(line) == comment


def test_what_cannot_be_edited_is_a_sentence(here: Here) -> None:
    proposal = Proposal.of(Path("policies/model.yaml"), policy.load("model"), False)
    proposal.text = proposal.text.replace("metrics:", "metrix:", 1)
    with pytest.raises(BadInput, match="cannot edit"):
        proposal.after()
