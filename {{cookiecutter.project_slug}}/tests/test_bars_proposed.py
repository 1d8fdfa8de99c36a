"""`make bars` proposes bars from what was measured: a diff that git takes, and bars that pass, once it is applied."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from pipeline import bars, personal, policy
from pipeline.bars import flow
from pipeline.edits import Bar, Item, Proposal, comment_of, with_comments, with_item, with_key, with_value
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
    assert case["score"] == "rises" and case["change"] == {"amount": {"plus": 95}}
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
    assert "amount is 139 or more: 47 rows, 17 positive, roc_auc " in capsys.readouterr().out


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
    assert with_key("a: {}\r\n", Bar(("a", "d"), 0.25, "3")) == "a: {d: 0.25} # measured: 3\r\n"


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
