"""The arguments of `make adopt`, and what they leave open: a sentence each, and commands that would answer them all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from shlex import quote
from typing import Any

from pipeline.adopt.profile import Profile
from pipeline.params import BadInput
from pipeline.reading import nearest

NONE = "none"  # TIME=none: no column says when a row happened; ID=none: none identifies it
ORDERS = ("dmy", "mdy")
"""What DATE may say beside a day, or instead of one: which of 03/04 is the day, where no row tells."""


@dataclass(frozen=True)
class Asked:
    """The arguments of `make adopt`, empty where they were not given."""

    table: str
    label: str = ""
    task: str = ""
    id: str = ""
    time: str = ""
    entity: str = ""
    group: str = ""
    positive: str = ""
    unit: str = ""
    date: str = ""
    delay: str = ""
    source: str = ""
    dry: bool = False

    def command(self, **more: str) -> str:
        """The command with these arguments and more, to be typed as it stands."""
        given = {each.name: str(getattr(self, each.name)) for each in fields(self) if each.name != "dry"} | more
        said = (f"{name.upper()}={quote(value)}" for name, value in given.items() if value)
        return f"make adopt {' '.join(said)}{' DRY=1' * self.dry}"


def day(asked: Asked) -> date | None:
    """The day that DATE says, None where it says none. Raises BadInput."""
    days = [part for part in asked.date.split(",") if part not in ORDERS]
    if not asked.date or not days:
        return None
    try:
        (said,) = map(date.fromisoformat, days)
    except ValueError:
        raise BadInput(
            f"DATE={asked.date}: is no day; write one such as 2024-01-31, or 2024-01-31,dmy where dates of the table "
            "could be read in two ways"
        ) from None
    if said > datetime.now(UTC).date() + timedelta(days=1):  # a zone may be ahead
        raise BadInput(f"DATE={asked.date}: is a day to come, and data.until would never go back; write the right one")
    return said


def order(asked: Asked) -> str:
    """Which of two numbers is the day, as DATE says; empty where it does not."""
    return next((part for part in asked.date.split(",") if part in ORDERS), "")


# --- what is open ---


class Question(Exception):
    """What cannot be told or taken, in a sentence, and arguments that would say it: of several answers, each."""

    def __init__(self, says: str, *others: Mapping[str, str], **such: str) -> None:
        super().__init__(says)
        self.says = says
        self.answers = ([such] if such else []) + [dict(other) for other in others]


def in_words(problems: Sequence[Question], asked: Asked) -> str:
    """A line each, and the commands that would answer them all."""
    known = [problem.answers for problem in problems if problem.answers]
    number = max(map(len, known), default=0)
    first = "such as" if len(known) == len(problems) else "then, such as"
    commands = []
    for at in range(number):
        answer = {name: value for each in known for name, value in each[min(at, len(each) - 1)].items()}
        commands.append(f"{'or' if at else first}: {asked.command(**answer)}")
    return "\n".join([*(problem.says for problem in problems), *commands])


def told(ask: Any, problems: list[Question]) -> Any:
    """What a question gives; where it cannot be told, one more problem."""
    try:
        return ask()
    except Question as problem:
        problems.append(problem)


def known(profiles: Mapping[str, Profile], name: str, argument: str) -> Profile:
    """The column that an argument names. Raises Question."""
    if name not in profiles:
        alike = [each for each in profiles if each.lower() == name.lower()]
        near = alike or get_close_matches(name, profiles, 1)
        such = {argument.lower(): near[0] if near else "COLUMN"}
        says = f"{argument}={name}: the table has no such column; {nearest(name, profiles, 'its columns are')}"
        raise Question(says, **such)
    return profiles[name]
