"""What a revision predicts, whether a change replaces it, and what people call its rows: by contract.yaml, as data.

Another name and another identity (task, label, positive value or unit, identifier) are another problem. It brings its
own bars for data, model, behaviour and drift; a new name alone escapes none, and a new identity under the old name is
refused.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gitops.content import CONTRACT
from pipeline import contract
from pipeline.contract import Contract
from pipeline.params import BadInput
from pipeline.policy.bars import POLICIES, interval, load, worse
from pipeline.reading import knob

PARAMS, SIMULATOR = "params.yaml", "pipeline/simulate.py"
OWN = ("behaviour", "data", "evaluation", "log", "model")
"""Policies that are a new problem's own while it is measured. Of the log that is what is personal: its columns."""
KEPT = ("log", "promotion", "service")
"""Policies that no new problem moves: a request of its own does, judged as any other."""
SPEAKS = {"log": ("personal",), "promotion": ("card", "reviewers", "team_reviewers")}
"""But for these blocks of them, which speak of the problem."""
PRECISION = ("resamples", "confidence", "seed")
"""What of evaluation.yaml makes an interval: the base's, however a new problem is measured."""
NEUTRAL: "Words" = {
    "row": ("row", "rows"),
    "entity": ("entity", "entities"),
    "positive": ("positive", "positives"),
    "group": ("group", "groups"),
}

Json = Mapping[str, Any]
Words = Mapping[str, tuple[str, str]]
"""What people call a row, an entity, a positive and a group: one, and many."""


class Change(NamedTuple):
    """The contracts before and after a change; where one cannot be read, why, in a sentence."""

    before: Contract | None
    after: Contract | None
    why: str = ""

    @property
    def kind(self) -> str:
        """`same`, `renamed`, `mistaken` (another identity under the old name), `replaced` or `unreadable`."""
        if self.before is None or self.after is None:
            return "unreadable"
        renamed = self.before.problem != self.after.problem
        if self.before.identity == self.after.identity:
            return "renamed" if renamed else "same"
        return "replaced" if renamed else "mistaken"

    @property
    def replaces(self) -> bool:
        """Whether it is another problem, with bars of its own."""
        return self.kind == "replaced"

    def told(self) -> dict[str, Any] | None:
        """What the report says of it; None where the problem is the same."""
        if self.before is None or self.after is None or self.kind in ("same", "mistaken"):
            return None
        return {"kind": self.kind, "before": self.before.problem, "after": self.after.problem}

    def gate(self) -> dict[str, Any]:
        """A gate where a contract cannot be read, or says of another problem that it is this one."""
        if not (violations := list(self._violations())):
            return {}
        return {"problem": {"violations": violations, "not_judged": []}}

    def _violations(self) -> Iterator[dict[str, Any]]:
        if self.before is None or self.after is None:
            wanted = {"bar": "a contract that the base branch reads", "next": FIRST}
            yield {"rule": "contract", "file": CONTRACT, "value": self.why, **wanted}
        elif self.kind == "mistaken":
            changed = "; ".join(f"{place} {old!r} becomes {new!r}" for place, old, new in self._differences())
            yield {
                "rule": "identity",
                "file": CONTRACT,
                "value": f"the problem is still called {self.before.problem}, and is another: {changed}",
                "bar": "what makes a problem this one is as it was, or it has another name",
                "next": f"give it another name (`problem:` in {CONTRACT}), or take back what makes it another problem",
            }

    def _differences(self) -> Iterator[tuple[str, Any, Any]]:
        assert self.before and self.after
        pairs = zip(IDENTITY, self.before.identity, self.after.identity, strict=True)
        yield from ((place, old, new) for place, old, new in pairs if old != new)


FIRST = "mend it; where the base branch does not know what it says, have the code that does merged first, in a request"
IDENTITY = ("task", "label.column", "label.positive", "label.unit", "id")
"""The places of Contract.identity."""


# --- reading ---------------------------------------------------------------------------------------------------------


def between(before: str | None, after: str | None) -> Change:
    """The change from one text of contract.yaml to another; None where there is no such file."""
    found: list[Contract | None] = []
    why = ""
    for where, text in ((f"{CONTRACT} of the base branch", before), (CONTRACT, after)):
        read = read_or_why(text, where)
        found.append(None if isinstance(read, str) else read)
        why = why or (read if isinstance(read, str) else "")
    return Change(found[0], found[1], why)


def read_or_why(text: str | None, where: str = CONTRACT) -> Contract | str:
    """The contract that a text says, by the schema of the checkout; else a sentence."""
    if text is None:
        return f"{where}: is not there"
    try:
        return contract.parse(text, where)
    except BadInput as error:
        return str(error)


def here() -> Contract | None:
    """The contract of the checkout; None where it cannot be read."""
    path = Path(CONTRACT)
    read = read_or_why(path.read_text() if path.is_file() else None)
    return None if isinstance(read, str) else read


def words(text: str | None) -> Words:
    """The words of a contract, which are to be shown by `markdown.word`; neutral where it cannot be read."""
    read = read_or_why(text)
    if isinstance(read, str):
        return NEUTRAL
    return {
        name: (noun.one, noun.many)
        for name, noun in zip(NEUTRAL, (read.row, read.entities, read.positives, read.groups), strict=True)
    }


# --- what production holds -------------------------------------------------------------------------------------------


def of_model(manifest: bytes) -> dict[str, Any]:
    """The block `problem` of a promotion, by the manifest of its model. Raises ValueError, LookupError, TypeError."""
    said = json.loads(manifest)
    known = {name: said["problem"][name] for name in PREDICTED}
    return {**known, "inputs": [column["name"] for column in said["inputs"]], "outputs": said["outputs"]}


def of_contract(ours: Contract) -> dict[str, Any]:
    """The block as a model of this contract has it, but for its outputs, which its task names."""
    label, column = ours.label, ours.column(ours.label.column)
    known = (
        *(ours.problem, ours.task, ours.id, ours.time if ours.dated else None),
        *(label.column, list(label.values), label.positive, label.unit, column.minimum, column.maximum, label.interval),
    )
    inputs = [column.name for column in ours.inputs]
    return {**dict(zip(PREDICTED, known, strict=True)), "inputs": inputs}


PREDICTED = (
    *("name", "task", "id", "time"),
    *("label", "values", "positive", "unit", "lowest", "highest", "interval"),
)
"""What of a model's problem goes with its promotion, as pipeline.model.Problem has it."""


def identity(promoted: Json | None) -> tuple[Any, ...] | None:
    """That of what was promoted, by its manifest, as Contract.identity; None where it does not say."""
    said = (promoted or {}).get("problem")
    return (said["task"], said["label"], said["positive"], said.get("unit"), said["id"]) if said else None


def other(promoted: Json | None, ours: Contract | None) -> bool:
    """Whether what was promoted is surely of another problem than a contract."""
    theirs = identity(promoted)
    return theirs is not None and ours is not None and theirs != ours.identity


# --- what it is measured and judged by -------------------------------------------------------------------------------


def replace(text_of: Callable[[str], str | None]) -> str:
    """Puts what a request's new problem is measured by in place, as data: its contract and its policies.

    Where its rows are simulated, the simulator too: whoever invents the rows could not be stopped by what reads them.
    `text_of` gives a file of the request. Raises BadInput where its contract is of no other problem, or a file is not
    there.
    """
    change = between(Path(CONTRACT).read_text(), text_of(CONTRACT))
    if not change.replaces:
        raise BadInput(change.why or f"{CONTRACT}: the request is of no other problem, and nothing is replaced")
    simulated = knob(text_of(PARAMS), "data", "source") == "simulate"
    paths = [CONTRACT, *map(policy, OWN), *([SIMULATOR] if simulated else [])]
    texts = {path: text_of(path) for path in paths}
    if lost := [path for path, text in texts.items() if text is None]:
        raise BadInput(f"{lost[0]}: the request has none, and its problem is measured by it; add it")
    texts[policy("evaluation")] = as_precisely(texts)
    for path, text in texts.items():
        Path(path).write_bytes((text or "").encode())
    return f"Measured as the request says: {', '.join(texts)}"


def as_precisely(theirs: Mapping[str, str | None]) -> str:
    """The request's evaluation.yaml, but for what makes an interval, which is the base's.

    Else chance could pass for knowledge, see `judge_constant`. Raises BadInput where it is not as the base's schema
    says.
    """
    said = bars("evaluation", theirs)
    said["evaluate"] |= {key: load("evaluation")["evaluate"][key] for key in PRECISION}
    return yaml.safe_dump(said, sort_keys=False)


def policy(name: str) -> str:
    """The path of a policy."""
    return f"{POLICIES}/{name}.yaml"


def bars(name: str, theirs: Mapping[str, str | None]) -> dict[str, Any]:
    """The policy that a request's new problem is judged by: its own, but for contamination, which is the base's.

    `theirs` has the texts of the request's policies. Raises BadInput where it is not as the base's schema says.
    """
    if name not in OWN:
        return load(name)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copytree(POLICIES / "schemas", folder / "schemas")
        (folder / f"{name}.yaml").write_text(theirs.get(policy(name)) or "")
        try:
            read = load(name, folder)
        except BadInput as error:
            raise BadInput(str(error).replace(place, str(POLICIES))) from None
    return read | {key: load(name)[key] for key in ("contamination",) if key in read}


def judge_constant(metrics: Json) -> Iterator[dict[str, Any]]:
    """A violation where a new problem's model is not better than the same answer to every row, beyond chance.

    By what the base's code measured: the difference of the task's headline, each resample drawn for both, has to lie
    above 0.
    """
    found = metrics.get("above_constant")
    if worse(found, "minimum") > 0:
        return
    yield {
        "rule": "constant",
        "file": "metrics.json",
        "value": f"a difference of {interval(found)}" if found else "not measured",
        "bar": "better than the same answer to every row, beyond chance",
        "next": "find inputs that tell the label, or more rows to learn from: as it is, the model knows nothing of it",
    }


def judge_kept(moved: Sequence[Any]) -> dict[str, Any]:
    """A gate where a change moves bars that a new problem leaves as they are; `moved` are gitops.bars.Change."""
    violations = [
        {
            "rule": f"kept.{each.key}",
            "file": each.file,
            "value": each.after,
            "bar": f"{each.before}, as on the base branch: another problem moves no bar of {each.file}",
            "next": "move this bar in a request of its own",
        }
        for each in moved
        if kept(Path(each.file), each.key.partition(".")[0])
    ]
    return {"problem": {"violations": violations, "not_judged": []}} if violations else {}


def kept(file: Path, block: str) -> bool:
    """Whether a block of a file is the base's, whatever the problem is."""
    known = file.stem in KEPT or file.stem.startswith("ruleset")
    return file.parent == POLICIES and known and block not in SPEAKS.get(file.stem, ())
