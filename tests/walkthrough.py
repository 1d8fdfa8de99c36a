"""The blocks of a README, and its walk-through "Bring your own problem", as whoever follows it has them."""

import re
import textwrap

BLOCK = re.compile(r"^( *)```(\w*) ?([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(readme: str) -> list[tuple[str, str, str]]:
    """Language, the words after it, and the dedented text of each fenced block."""
    return [(language, title.strip(), textwrap.dedent(body)) for _, language, title, body in BLOCK.findall(readme)]


def steps(readme: str) -> list[tuple[str, str, str]]:
    """The blocks of the walk-through, in their order: a file has its path as its title."""
    return blocks(readme[readme.index("## Bring your own problem") :])


def commands(readme: str) -> list[str]:
    """What the walk-through has one type, a command each; a request with its rows is one."""
    bodies = (body for language, _, body in steps(readme) if language == "sh")
    return [line for body in bodies for line in ([body] if "curl" in body else body.strip().split("\n"))]
