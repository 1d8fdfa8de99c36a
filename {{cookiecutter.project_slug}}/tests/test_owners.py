"""What judges, measures or writes belongs to the owners of the bars: CODEOWNERS, held against what is imported."""

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pathspec
import yaml

from pipeline.policy import JUDGES

ROOT = Path(__file__).parents[1]
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
).stdout.splitlines()
TRACKED = [path for path in TRACKED if (ROOT / path).exists()]  # what is taken out counts once it is committed
LINES = [line.partition("#")[0].split() for line in (ROOT / ".github/CODEOWNERS").read_text().splitlines()]
OWNED = [(pathspec.PathSpec.from_lines("gitignore", words[:1]), words[0], words[1:]) for words in LINES if words]
BAR_OWNERS = OWNED[0][2]
KNOBS = "params.yaml"  # is read as data; what measures has its own knobs, in policies/
RECIPE = re.compile(r"params\.yaml|pipeline/features\.py|pipeline/families/(network|trees)\.py")
"""The team's, judged and never judging: it is loaded by its name, in jobs that may write nothing."""
LOADERS = {
    *("pipeline/families/__init__.py", "pipeline/tasks/__init__.py"),
    *("pipeline/ingest.py", "pipeline/params.py", "pipeline/rows.py"),
}
"""They call `import_module`, or `deletable` of params.py, which does."""
DELETED = {"pipeline/features.py"}
"""What another problem may do without; messages name it."""


def owners(path: str) -> list[str]:
    """Who owns a path: the last match decides."""
    return next(who for spec, _, who in reversed(OWNED) if spec.match_file(path))


def others(paths: Iterable[str]) -> set[str]:
    """Those of the paths that somebody else owns."""
    return {path for path in paths if owners(path) != BAR_OWNERS}


@cache
def imports(module: str) -> frozenset[str]:
    """The repository's files that a module imports, in functions too, and so on; with itself."""
    seen: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        parents = [name.rsplit(".", at)[0] for at in range(1, name.count(".") + 1)]
        for path in (file for each in [name, *parents] if (file := file_of(each)) and file not in seen):
            seen.add(path)
            queue += imported(path)
    return frozenset(seen)


@cache
def imported(path: str) -> tuple[str, ...]:
    """What the import statements of a file name."""
    found = []
    for node in parsed(path):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


@cache
def parsed(path: str) -> list[ast.AST]:
    """All that a file's source is made of."""
    return [*ast.walk(ast.parse((ROOT / path).read_text()))]


def constants(path: str) -> Iterator[str]:
    """The texts in a source."""
    for node in parsed(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def file_of(module: str) -> str | None:
    """A module's file; of a package its __init__. None where it is not ours."""
    path = module.replace(".", "/")
    return next((file for file in (f"{path}.py", f"{path}/__init__.py") if file in TRACKED), None)


def module_of(path: str) -> str:
    """The name by which a file is imported."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def measuring() -> set[str]:
    """The modules that write what a judge reads, and all that `make` and the workflows start by themselves."""
    judged = {
        str(path) for judge in JUDGES.values() for path in (judge.measured, *(at for at, _ in judge.beside.values()))
    }
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    made = {
        f"pipeline.{name}"
        for name, stage in stages.items()
        if judged & {str(path) for path in (*stage.get("outs", []), *stage.get("metrics", []))}
    }
    commands = "".join((ROOT / path).read_text() for path in ("Makefile", *workflows()))
    return made | {name for name in re.findall(r"python -m (pipeline[\w.]*)", commands) if file_of(name)}


def workflows() -> list[str]:
    """The workflows and their actions."""
    return [path for path in TRACKED if re.fullmatch(r"\.github/(workflows|actions)/.*\.ya?ml", path)]


def judging() -> list[str]:
    """The modules of those who judge, measure and speak, and of the model's tests."""
    ours = [
        module_of(path) for path in TRACKED if re.match(r"(gitops|pipeline/(policy|tasks)|tests/model)/.*\.py$", path)
    ]
    return sorted({*ours, *measuring(), "tests.conftest"})


def test_the_modules_are_found() -> None:
    assert {"pipeline.validate", "pipeline.evaluate", "pipeline.compare", "pipeline.behaviour", "pipeline.monitor"} <= {
        *judging()
    }
    assert {"gitops/bars.py", "pipeline/policy/judges.py", "pipeline/params.py"} <= imports("gitops.bars")
    assert "pipeline/families/__init__.py" in imports("pipeline.export")


def test_the_recipe_is_loaded_by_its_name_alone_where_it_is_made() -> None:
    """An import of it would show above; a name does not."""
    sources = {path for path in TRACKED if re.match(r"(gitops|pipeline)/.*\.py$", path)}
    assert {
        path for path in sources if re.search(r"\b(import_module|deletable)\(", (ROOT / path).read_text())
    } == LOADERS


def test_what_judges_measures_or_speaks_imports_only_what_the_owners_of_the_bars_own() -> None:
    assert {module: found for module in judging() if (found := others(imports(module)))} == {}


def test_the_files_that_it_names_are_theirs() -> None:
    reading = set().union(*map(imports, judging()))
    named = {path: {*TRACKED} & set(constants(path)) - {KNOBS, *DELETED} for path in sorted(reading)}
    assert "policies/ruleset.json" in named["gitops/rulesets.py"]
    assert {path: found for path, names in named.items() if (found := others(names))} == {}


def test_what_the_workflows_name_is_theirs() -> None:
    """As what they check out for a job that writes, and the files that their commands name."""
    words = {
        word.strip("/")
        for path in workflows()
        for word in re.findall(r"[\w./-]+", re.sub(r"\s#.*", "", (ROOT / path).read_text()))
    }
    named = {
        path for path in TRACKED if path in words or any(path.startswith(f"{word}/") for word in words & folders())
    }
    assert others(named - {KNOBS}) == set()


def folders() -> set[str]:
    """The repository's folders, but for those whose name alone is a word, as in `make data`."""
    return {str(parent) for path in TRACKED for parent in Path(path).parents} - {".", "pipeline", "tests", "docs"}


def test_the_rest_is_theirs_but_for_a_short_list() -> None:
    kinds = re.compile(rf"[^/]+\.md|docs/.+|notebooks/.+|{RECIPE.pattern}|tests/(example/)?test_\w+\.py")
    assert {path for path in others(TRACKED) if not kinds.fullmatch(path)} == set()


ADDED = """
    requests.py sitecustomize.py GNUmakefile makefile .venv/bin/python .gitattributes uv.toml pytest.ini platform.yaml
    tests/conftest.py tests/onnxruntime.py tests/model/test_new.py pipeline/new.py pipeline/policy/notes.md
    docs/dvc.yaml docs/a/dvc.lock docs/__init__.py notebooks/data.dvc notebooks/.dvcignore notebooks/a/x.py
    SECURITY.md .github/PULL_REQUEST_TEMPLATE.md deploy/production/MODEL_CARD.md deploy/runners/job-started.sh
    policies/evaluation.yaml contract.yaml pipeline/families/new.py pipeline/train.py
    pipeline/tasks/new.py tests/example/model/test_new.py
"""


def test_whatever_is_added_beside_them_is_theirs() -> None:
    assert others(ADDED.split()) == set()


def test_every_line_has_something_to_match() -> None:
    """A path that was renamed would silently go to somebody else."""
    exact = [path for _, path, _ in OWNED if not re.search(r"\*|^[^/]|/$", path)]
    assert exact and {path.removeprefix("/") for path in exact} - DELETED <= {*TRACKED}
