"""The blocks of a README, and what it says under "Bring your own problem", as whoever follows it has them."""

import re
import shlex
import textwrap

from tests import baking

BLOCK = re.compile(r"^( *)```(\w*) ?([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
OWN, BY_HAND = "\n## Bring your own problem\n", "\n### By hand\n"


def blocks(readme: str) -> list[tuple[str, str, str]]:
    """Language, the words after it, and the dedented text of each fenced block."""
    return [(language, title.strip(), textwrap.dedent(body)) for _, language, title, body in BLOCK.findall(readme)]


def short(readme: str) -> list[str]:
    """The commands of the short way, up to the first part with a heading of its own."""
    said = readme.partition(OWN)[2].partition("\n### ")[0]
    return [line for language, _, body in blocks(said) if language == "sh" for line in body.strip().split("\n")]


def steps(readme: str) -> list[tuple[str, str, str]]:
    """The blocks of the walk-through by hand, in their order: a file has its path as its title."""
    return blocks(readme[readme.index(BY_HAND) :])


def commands(readme: str) -> list[str]:
    """What the walk-through has one type, a command each; a request with its rows is one."""
    bodies = (body for language, _, body in steps(readme) if language == "sh")
    return [line for body in bodies for line in ([body] if "curl" in body else body.strip().split("\n"))]


def as_tested(command: str) -> str:
    """A command in the environment of the tests."""
    command = re.sub("^make ", "make --old-file=setup ", command)
    return command.replace(".venv/bin/", f"{shlex.quote(str(baking.VENV / 'bin'))}/")
