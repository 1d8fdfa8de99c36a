"""A case: what is tried in the world, and what has to come of it."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.defects.world import BANK, Files, Outcome, World


@dataclass(frozen=True)
class Case:
    """What is tried, and what has to come of it."""

    name: str
    play: Callable[[World], Outcome]
    by: str = ""  # what stops it: the job that turns red, the owner's review, a setting; nothing for a control
    words: str = ""  # that its message holds, as a regular expression
    given: str = ""  # what has to be said for the case to be what its name says, where chance has a hand in it
    world: str = BANK  # where it is tried

    def holds(self, found: Outcome) -> bool:
        """Whether it was caught, in the right place and with the right words; a control: whether all was green."""
        right = self.by in found.red if self.by else not found.red
        return right and self.so(found) and said(self.words, found)

    def so(self, found: Outcome) -> bool:
        """Whether the case was what its name says."""
        return said(self.given, found)


def said(words: str, found: Outcome) -> bool:
    """Whether the words stand in what was said, however it is broken into lines."""
    return bool(re.search(words, " ".join(found.said.split())))


def change(
    name: str, files: Callable[[World], Files], by: str = "", words: str = "", branch: str = "", world: str = BANK
) -> Case:
    """A case that is a pull request."""
    return Case(name, lambda there: there.pull_request(files(there), branch), by, words, world=world)
