"""dvc.yaml names every module that decides what a stage makes: one that is not named may change, and nothing runs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline import params

ROOT = Path(params.__file__).parents[1]
STAGES = {
    name: stage.get("do", stage) for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}


def imported(path: Path) -> Iterator[Path]:
    """The modules of ours that a module imports as it is loaded, as paths in the repository."""
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pipeline":
            named = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
            for base in (Path(*str(name).split(".")) for name in named):
                found = (base.with_suffix(".py"), base / "__init__.py")
                yield from (each for each in found if (ROOT / each).is_file() and each.parent != each)


def needed(path: Path, seen: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """A module and all that it imports, and what these import."""
    seen |= {path}
    for other in imported(path):
        if other not in seen and other != Path("pipeline/__init__.py"):
            seen = needed(other, seen)
    return seen


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_names_what_it_imports(name: str) -> None:
    stage = STAGES[name]
    named = {Path(path) for path in stage["deps"]}
    module = next(word for word in stage["cmd"].split() if word.startswith("pipeline."))
    lost = {each for each in needed(Path(*module.split(".")).with_suffix(".py")) if not {each, *each.parents} & named}
    assert not lost, f"dvc.yaml, {name}: add {', '.join(map(str, sorted(lost)))} to deps"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_names_no_module_that_is_not_there(name: str) -> None:
    code = [path for path in STAGES[name]["deps"] if path.startswith("pipeline/") and "$" not in path]
    assert [path for path in code if not (ROOT / path).exists()] == []
