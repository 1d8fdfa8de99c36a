"""Bakes the template as a user does, and runs make in what was baked."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
KNOBS = ("params.yaml", "policies/evaluation.yaml", "contract.yaml")
"""Files of blocks, of which each stands in one of them alone."""
VENV = Path(sys.prefix)
"""The one environment of the tests, and of every bake that they make."""
Words = Mapping[str, Mapping[str, str]]
"""By file, words and what stands in their place."""
MAKES = {
    "VENV": str(VENV),
    "PYTHON": "echo 'The tests install nothing: this has other locks than their environment'; exit 1; :",
}
"""Variables for every make in it. Where locks differ setup would install, but asks PYTHON first: inner makes' too."""


def run(*command: str | Path, cwd: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The finished process, stdout and stderr together; `environment` is added to ours, less an outer make's."""
    ours = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        command,
        cwd=cwd,
        env=ours | environment,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def tracked(folder: Path) -> list[str]:
    """The files under `folder` that git tracks, or would after `git add`, relative to it."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=folder)
    if listed.returncode:
        raise RuntimeError(listed.stdout)
    return sorted({name for name in listed.stdout.split("\0") if name and os.path.lexists(folder / name)})


def template(to: Path) -> Path:
    """A copy of the template with what git tracks and no more: cookiecutter bakes whatever lies in the folder."""
    for name in tracked(ROOT):
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return to


def cookiecutter(template: Path, into: Path, **answers: str) -> subprocess.CompletedProcess[str]:
    """Runs `cookiecutter` on the command line, without questions, in the folder `into`."""
    pairs = [f"{question}={answer}" for question, answer in answers.items()]
    return run(VENV / "bin" / "cookiecutter", template, "--no-input", "--default-config", *pairs, cwd=into)


def with_knobs(read: Callable[[str], str], blocks: Mapping[str, Any]) -> dict[str, str]:
    """The new text of each file in which values of `blocks` change; `read` gives a file's text by its name.

    A block within a block, such as a family's, keeps what is not named: `families={"network": {"epochs": 1}}`.
    """
    found = {name: yaml.safe_load(read(name)) for name in KNOBS}
    assert set(blocks) <= set().union(*found.values()), f"no such block among {', '.join(blocks)}"
    return {
        name: yaml.safe_dump(merged(knobs, changed), sort_keys=False, allow_unicode=True)
        for name, knobs in found.items()
        if (changed := {block: blocks[block] for block in knobs if block in blocks})
    }


def merged(known: Any, changed: Any) -> Any:
    """`known` with the values of `changed` in it, block by block."""
    if not (isinstance(known, dict) and isinstance(changed, Mapping)):
        return changed
    return known | {name: merged(known.get(name), value) for name, value in changed.items()}


def change_knobs(bake: Path, **blocks: Any) -> None:
    """Other values in blocks of the bake's knobs and of its contract, in whichever file each stands."""
    for name, text in with_knobs(lambda name: (bake / name).read_text(), blocks).items():
        (bake / name).write_text(text)


def changed(repository: Path, replacements: Words) -> dict[str, str]:
    """Files with words replaced. Raises ValueError where the words are not there, once."""
    texts = {}
    for name, words in replacements.items():
        text = (repository / name).read_text()
        for old, new in words.items():
            if text.count(old) != 1:
                raise ValueError(f"{name} has {old!r} {text.count(old)} times, not once")
            text = text.replace(old, new)
        texts[name] = text
    return texts


def make(target: str, repository: Path, **environment: str) -> str:
    """What `make TARGET` printed in a bake, in the environment of the tests. AssertionError where it fails."""
    done = run("make", "--old-file=setup", target, cwd=repository, **MAKES, **environment)
    assert done.returncode == 0, f"make {target} failed:\n{done.stdout[-10_000:]}"
    return done.stdout
