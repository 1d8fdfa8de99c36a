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
KNOBS = ("params.yaml", "policies/evaluation.yaml")
VENV = Path(sys.prefix)
"""The one environment of the tests, and of every bake that they make."""


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


def with_knobs(read: Callable[[str], str], blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The new text of each file of knobs in which values of `blocks` change; `read` gives a file's text by its name."""
    found = {name: yaml.safe_load(read(name)) for name in KNOBS}
    assert set(blocks) <= set().union(*found.values()), f"no such block among {', '.join(blocks)}"
    return {
        name: yaml.safe_dump(knobs | {block: knobs[block] | blocks[block] for block in changed}, sort_keys=False)
        for name, knobs in found.items()
        if (changed := knobs.keys() & blocks.keys())
    }


def change_knobs(bake: Path, **blocks: Mapping[str, Any]) -> None:
    """Other values in blocks of the bake's knobs, in whichever file each stands."""
    for name, text in with_knobs(lambda name: (bake / name).read_text(), blocks).items():
        (bake / name).write_text(text)


def make(target: str, repository: Path, **environment: str) -> str:
    """What `make TARGET` printed in a bake, in the environment of the tests. AssertionError where it fails."""
    done = run("make", f"VENV={VENV}", "--old-file=setup", target, cwd=repository, **environment)
    assert done.returncode == 0, f"make {target} failed:\n{done.stdout[-10_000:]}"
    return done.stdout
