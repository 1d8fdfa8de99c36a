"""Edits of a YAML file that people wrote: single values, further lines; its comments and its order stay."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import Any

import yaml

from pipeline.params import BadInput
from pipeline.reading import SCHEMAS, parsed, printable, problems

TIGHTER = {"minimum": lambda new, old: new > old, "maximum": lambda new, old: new < old}

Place = tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """A bar, and what was measured."""

    place: Place
    value: float
    measured: str
    end: str = ""  # minimum or maximum: which way it is tighter; "" for that of the place's name
    instead: Place = ()  # where the bar stands that holds as long as there is none at `place`, if there is such a one

    @property
    def name(self) -> str:
        return ".".join(self.place)


@dataclass(frozen=True)
class Item:
    """A value of a list, as YAML in one line, and what was measured."""

    text: str
    measured: str


@dataclass
class Proposal:
    """What is proposed for a policy."""

    path: Path
    before: str
    policy: dict[str, Any]
    loosen: bool
    text: str = ""
    said: list[str] = field(default_factory=list)  # what would be loosened

    @classmethod
    def of(cls, path: Path, policy: dict[str, Any], loosen: bool) -> "Proposal":
        """That of a file, as it stands."""
        with path.open(newline="", encoding="utf-8") as file:
            before = file.read()
        return cls(path, before, policy, loosen, before)

    def bars(self, bars: Iterable[Bar]) -> None:
        """Add bars that are not there, tighten those that are."""
        for bar in bars:
            said = parsed(self.text)
            there = at(said, bar.place) is not None
            old = at(said, bar.place if there or not bar.instead else bar.instead)
            if old is None or TIGHTER[bar.end or bar.place[-1]](bar.value, old) or (self.loosen and bar.value != old):
                self.text = (with_value if there else with_key)(self.text, bar)
            elif bar.value != old:
                self.said.append(
                    f"{bar.name} is {old:g}, and would be loosened to {bar.value:g}; measured: {bar.measured}"
                )

    def add(self, place: Place, items: Sequence[Item]) -> None:
        """Add values to a list."""
        for item in items:
            self.text = with_item(self.text, place, item)

    def comment(self, place: Place, items: Sequence[Item], head: str) -> None:
        """Add values to a list that count for nothing until somebody takes their `#` away."""
        if fresh := [item for item in items if item.text not in self.text]:
            self.text = with_comments(self.text, place, fresh, head)

    def after(self) -> str:
        """The text with all that is proposed. Raises BadInput where it is no policy any more."""
        try:
            said = parsed(self.text)
            found = problems(said, SCHEMAS / f"{self.path.stem}.schema.json")
        except yaml.YAMLError as error:
            found = [" ".join(str(error).split())]
        if found:
            raise BadInput(
                f"{self.path}: is written in a way that `make bars` cannot edit ({found[0]}); write its blocks "
                "as lines of `name: value`"
            )
        return self.text


def at(said: Any, place: Place) -> Any:
    """What stands at a place; None where nothing does."""
    for name in place:
        said = said.get(name) if isinstance(said, Mapping) else None
    return said


# --- where it stands ---


def node(text: str, place: Place) -> Any:
    """The node of a place. Raises BadInput where it is not there."""
    found: Any = yaml.compose(text)
    for name in place:
        known = {key.value: value for key, value in found.value} if isinstance(found, yaml.MappingNode) else {}
        if name not in known:
            raise BadInput(f"{'.'.join(place)}: is not there; restore the policy from git")
        found = known[name]
    return found


def end_of(found: Any) -> int:
    """Where a node's own text ends: a block's mark is behind blank lines and comments."""
    if isinstance(found, yaml.ScalarNode) or found.flow_style or not found.value:
        return int(found.end_mark.index)
    last = found.value[-1]
    return end_of(last[1] if isinstance(last, tuple) else last)


def line_of(text: str, index: int) -> tuple[int, int]:
    """Where the line begins that an index is in, and where it ends, without its line end."""
    end = text.find("\n", index)
    end = len(text) if end < 0 else end - (text[end - 1] == "\r")
    return text.rfind("\n", 0, index) + 1, end


# --- edits ---


def with_value(text: str, bar: Bar) -> str:
    """With another value, and what was measured in the line's comment."""
    found = node(text, bar.place)
    written = plain(bar.value)
    text = text[: found.start_mark.index] + written + text[found.end_mark.index :]
    return noted(text, found.start_mark.index + len(written), bar)


def with_key(text: str, bar: Bar) -> str:
    """With a further line, or a further name in braces; in blocks of its own, where they are not there."""
    above, blocks = list(bar.place[:-1]), list[str]()
    while at(parsed(text), tuple(above)) is None:
        blocks.insert(0, flow(above.pop()))
    block, written = node(text, tuple(above)), f"{flow(bar.place[-1])}: {plain(bar.value)}"
    if block.flow_style or not block.value:
        made = "".join(f"{each}: {{" for each in blocks) + written + "}" * len(blocks)
        end = block.end_mark.index - 1
        return noted(text[:end] + ", " * bool(block.value) + made + text[end:], end, bar)
    if blocks:
        written = f"{blocks.pop()}: {{{written}}}"
    indent, made = " " * block.value[0][0].start_mark.column, ""
    for each in blocks:
        made, indent = f"{made}{newline(text)}{indent}{each}:", indent + "  "
    end = line_of(text, end_of(block) - 1)[1]
    made += f"{newline(text)}{indent}{written}"
    return noted(text[:end] + made + text[end:], end + len(made), bar)


def with_item(text: str, place: Place, item: Item) -> str:
    """With a further value of a list."""
    found = node(text, place)
    if found.flow_style and found.value:
        end = found.end_mark.index - 1
        return text[:end] + ", " + item.text + text[end:]
    start, indent = begin(text, place, found)
    made = f"{newline(text)}{indent}- {item.text} # measured: {in_one_line(item.measured)}"
    if not found.value:
        end = line_of(text, found.end_mark.index)[1]
        return text[: found.start_mark.index].rstrip(" ") + text[found.end_mark.index : end] + made + text[end:]
    return text[:start] + made + text[start:]


def with_comments(text: str, place: Place, items: Sequence[Item], head: str) -> str:
    """With further values of a list, as comments.

    An empty list becomes one in brackets over several lines, so that a value counts once its `#` is gone.
    """
    found, new = node(text, place), newline(text)
    empty = not found.value
    start, indent = begin(text, place, found)
    lines = [f"{indent}# {line}" for line in head.splitlines()]
    for item in items:
        lines += [
            f"{indent}# measured: {in_one_line(item.measured)}",
            f"{indent}#{'' if empty else '- '}{item.text}{',' * empty}",
        ]
    if empty:
        inside = text[found.start_mark.index + 1 : found.end_mark.index - 1].rstrip()
        made = f"[{inside}{new}{new.join(lines)}{new}{indent}]"
        return text[: found.start_mark.index] + made + text[found.end_mark.index :]
    return text[:start] + new + new.join(lines) + text[start:]


def begin(text: str, place: Place, found: Any) -> tuple[int, str]:
    """Where a list's further values go, and what they are indented by."""
    if found.value and not found.flow_style:
        start = line_of(text, end_of(found) - 1)[1]
        return start, " " * found.start_mark.column
    return found.end_mark.index, " " * (2 * len(place))


def noted(text: str, index: int, bar: Bar) -> str:
    """With what was measured in the comment of the line that an index is in, in the place of what was said before.

    Where several values stand in the line, each is called by its name.
    """
    start, end = line_of(text, index)
    line = text[start:end]
    comment = comment_of(line)
    code, said = line[: len(line) - len(comment)].rstrip(), comment.removeprefix("#").strip()
    own, _, before = said.partition("measured: ")
    several = code.count(": ") - code.count(": {") > 1
    notes = [in_one_line(bar.measured)]
    if several:
        notes = called([note for note in before.split("; ") if note], bar, key_of(code))
    own = own.strip().rstrip(";")
    return text[:start] + code + " # " + "; ".join([own] * bool(own) + [f"measured: {'; '.join(notes)}"]) + text[end:]


def called(notes: Sequence[str], bar: Bar, key: str) -> list[str]:
    """The notes of a line with another one, which has the bar's name, or its block's where both ends say the same.

    A bar is called by its place below the line's `key`.
    """
    within = bar.place[bar.place.index(key) + 1 :] if key in bar.place[:-1] else ()
    names = within if len(within) > 2 else bar.place[-2:]
    block, name = (in_one_line(".".join(names)) for names in (names[:-1], names))
    measured = in_one_line(bar.measured)
    other = [note for note in notes if note.startswith(f"{block}.") and note.endswith(f" {measured}")]
    alike = [note for note in notes if note == measured] + other  # without a name as long as it stood alone
    gone = {f"{name} ", f"{block} "}
    kept = [note for note in notes if note not in alike and not any(note.startswith(each) for each in gone)]
    return [*kept, f"{block if alike else name} {measured}"]


def key_of(code: str) -> str:
    """The key that a line begins with."""
    return code.strip().partition(":")[0].strip("\"'")


def in_one_line(text: str) -> str:
    """What a comment may hold: a level of a category may have a line break, and what follows would be YAML."""
    return printable(" ".join(text.split()))


def comment_of(line: str) -> str:
    """The comment of a line, with its `#`; empty where it has none."""
    try:
        ends = [token.end_mark.index for token in yaml.scan(line) if token.end_mark.index > token.start_mark.index]
    except yaml.YAMLError:
        return ""
    rest = line[max(ends, default=0) :].lstrip()
    return rest if rest.startswith("#") else ""


def flow(value: Any) -> str:
    """A value as YAML in one line, `to: 50` and not `to: 50.0`, and quotes where they are needed."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(name)}: {flow(each)}" for name, each in value.items()) + "}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    bare = isinstance(value, str) and BARE.fullmatch(value) and yaml.safe_load(value) == value
    if bare:
        return str(value)
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)  # YAML breaks lines at some of them


BARE = re.compile(r"[^\W\d](\w|[ .-](?=\w))*")
"""Text that is a name to every reader of YAML."""


def plain(value: float) -> str:
    """A number as people write it in a policy."""
    if isinstance(value, int):
        return f"{value:_}"
    return f"{value:.10f}".rstrip("0").rstrip(".")


def newline(text: str) -> str:
    """The file's line end."""
    return "\r\n" if "\r\n" in text else "\n"


def diff(path: Path, before: str, after: str) -> str:
    """A unified diff that `git apply` takes; empty where nothing changes."""
    one, other = (text.splitlines(keepends=True) for text in (before, after))
    said = unified_diff(one, other, f"a/{path.as_posix()}", f"b/{path.as_posix()}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in said)
