"""Nothing outside of pipeline/tasks/ knows how many numbers a model gives, what they are called, or what they mean."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import params, tasks

ROOT = Path(params.__file__).parents[1]
SPARED = {
    *("pipeline/simulate.py", "pipeline/features.py"),  # of the one problem that they are for
    *("pipeline/adopt/label.py", "pipeline/adopt/starts.py"),  # tell a table's task, and what bars it begins with
}
MODULES = [
    path
    for folder in ("pipeline", "gitops")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.relative_to(ROOT).parts[1] != "tasks" and str(path.relative_to(ROOT)) not in SPARED
]
ENDS = {"low", "high"}  # of every metric's interval, too
FAMILIES = {"class", "width", "bias"}  # Python's, and what families call what they give, and their layers
WORDS = {name for of in map(tasks.task, tasks.NAMES) for name in (*of.METRICS, *of.OUTPUTS)} - ENDS - FAMILIES
"""What a model says and what is measured of it."""
LABELS = re.compile(r"LABEL[\])\s]*(==|!=|<|>)\s*-?[01]\b|\b1(\.0)? - \w*(label|target)\b")
"""A label that is held against 0 or 1."""


def said(path: Path) -> Iterator[tuple[int, str]]:
    """The names and the whole texts of a module, each with its line; no words of sentences."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.FunctionDef(name=name) | ast.keyword(arg=str(name)):
                yield getattr(node, "lineno", 0), name
            case ast.Constant(value=str(text)):
                yield node.lineno, text


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_names_an_output_or_a_metric_or_holds_a_label_against_a_number(path: Path) -> None:
    text = path.read_text()
    named = [f"line {line}: {name}" for line, name in said(path) if name in WORDS]
    held = [f"line {text[: found.start()].count(chr(10)) + 1}: {found[0]}" for found in LABELS.finditer(text)]
    assert not (named + held), f"{path.relative_to(ROOT)}: ask pipeline.tasks instead: {', '.join(named + held)}"


def test_every_task_is_as_the_others_are() -> None:
    asked = {name for name in dir(tasks.Task) if not name.startswith("_")} | set(tasks.Task.__annotations__)
    for of in map(tasks.task, tasks.NAMES):
        assert not (lost := [name for name in sorted(asked) if not hasattr(of, name)]), f"{of} lacks {lost}"
        assert of.HEADLINE in of.METRICS and of.WATCHED in of.OUTPUTS and {*of.SLICED, *of.ESTIMATED} <= set(of.METRICS)
