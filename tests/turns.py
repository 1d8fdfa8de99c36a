"""Whose turn it is: what is too long for every run is shown in parts, another one after each commit."""

import subprocess
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from tests.baking import ROOT

Thing = TypeVar("Thing")


def turn(things: Sequence[Thing], parts: int) -> list[Thing]:
    """The things whose turn it is at this commit."""
    return share(things, parts, commits())


def share(things: Sequence[Thing], parts: int, count: int) -> list[Thing]:
    """Every `parts`-th thing, shifted by one with each commit: in `parts` commits each has its turn once."""
    return list(things[count % parts :: parts])


@cache
def commits() -> int:
    """How many commits led here; 0 outside of a clone."""
    command = ["git", "rev-list", "--count", "HEAD"]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout or 0)
