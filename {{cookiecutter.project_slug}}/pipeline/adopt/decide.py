"""What each column of a table is, and why: out of its profile and the arguments of `make adopt`, and of no row.

What follows from a column is said; what does not is no guess but a sentence with the argument that says it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from shlex import quote
from statistics import median
from typing import Any, NamedTuple

import polars as pl

from pipeline.adopt.asked import NONE, ORDERS, Asked, Question, in_words, known, order, told
from pipeline.adopt.label import MULTICLASS, REGRESSION, Label, of_label, shown, written
from pipeline.adopt.profile import COMPACT, WORD, Profile, of_people, order_of, swapped, to_time
from pipeline.params import BadInput
from pipeline.reading import count
from pipeline.tasks import task as task_of

EMPTY: Mapping[str, str] = {}
ROW, COPIES = "row", "content"
"""The columns that are made here: a hash of a row, and the same for all its copies."""
FEWEST, OF_A_CLASS = 100, 20  # rows with a label, and of one of two values, without which nothing could be measured
CALIBRATED = 300  # rows from which the interval of a number is settled, where there are so many
SHOWN = 5
FEW, SMALL = 1_000, 2_000  # rows: under the first, intervals are wide; from the second on, trees are shipped
SELDOM = 0.02  # share of a class that is said to be rare
BORN = r"^dob$|birth|^born|^geburt|^naissance"  # what a column with the day of a birth is called
LEVELS = 1_000  # of a category, learned at most
COLUMNS, NAME = 500, 100  # of a contract, and characters of a name
OF_A_DAY, ENOUGH_DAYS = 20, 7  # rows and days from which a day of under half the median day's rows is no chance
UNCLEAR = "unclear"  # the order of dates that could be read in two ways


def ordered(profiles: Mapping[str, Profile], asked: Asked, written: Mapping[str, str] = EMPTY) -> dict[str, Profile]:
    """The profiles, with the dates that could be read in two ways read as DATE says, or as a format `written` before.

    Raises BadInput where there are such dates, and nothing says.
    """
    told = {p.name: order_of(written[p.name]) if p.name in written else order(asked) for p in profiles.values()}
    if problems := list(unclear([p for p in profiles.values() if not told[p.name]], asked)):
        raise BadInput(in_words(problems, asked))
    return {name: read_as(p, told[p.name]) if p.order == UNCLEAR else p for name, p in profiles.items()}


def unclear(profiles: Iterable[Profile], asked: Asked) -> Iterator[Question]:
    """What to say where dates could be read in two ways, and DATE does not say in which."""
    if order(asked) or not (some := [p for p in profiles if p.order == UNCLEAR]):
        return
    such = f" such as {some[0].top[0][0].strftime(str(some[0].format))}" if some[0].top else ""
    hold = f"`{some[0].name}` holds" if len(some) == 1 else f"{', '.join(f'`{p.name}`' for p in some)} hold"
    day = f"{asked.date}," if asked.date else ""
    yield Question(
        f"DATE: {hold} dates{such}, and no row tells which of their numbers is the day; DATE={day}dmy where it comes "
        f"first, DATE={day}mdy where the month does",
        {"date": f"{day}mdy"},
        date=f"{day}dmy",
    )


def read_as(found: Profile, order: str) -> Profile:
    """A column of dates, read in an order."""
    form = str(found.format)
    form = form if order_of(form) == order else swapped(form)
    return replace(
        found,
        order=order,
        format=form,
        value=lambda: to_time(pl.col(found.name).cast(pl.String).str.strip_chars(), form),
    )


@dataclass(frozen=True)
class Choice:
    """What a column is."""

    name: str  # in contract.yaml
    source: str | None  # in the table; None: made here
    type: str
    why: str  # what it was taken for, and why, for people
    role: str = ""  # id, time, entity, group or label
    aside: str = ""  # why the model does not see it, where it could
    least: bool = False  # whether 0 is its lower end
    levels: int | None = None  # of a category, learned at most
    missing: bool = False
    personal: str = ""  # hash or omit
    format: str | None = None  # of dates whose day and month could be taken for each other

    @property
    def input(self) -> bool:
        """Whether the model sees it."""
        return not self.role and not self.aside and self.type != "text"


@dataclass(frozen=True)
class Roles:
    """The columns, by their names in the table, that say who, when and what."""

    label: Label
    id: str | None  # None: a hash of the row
    time: str | None
    entity: str | None
    group: str | None = None
    by_file: bool = False  # whether the time is the day of a row's file
    why: Mapping[str, str] = field(default_factory=dict)  # by role


# --- who, when and what ---


def roles(profiles: Mapping[str, Profile], asked: Asked, delivered: str | None = None) -> Roles:
    """The label, identifier, time, entity and group of a table.

    Raises BadInput with a sentence for each that cannot be told, and the command that says it; and, so that one reading
    is enough, for all else that the table or its dates cannot be taken for.
    """
    problems = [*unclear(profiles.values(), asked)]
    delay = told(lambda: delayed(asked), problems)
    label = told(lambda: of_label(profiles, asked, delay or 0), problems)
    taken = {asked.label, asked.id, asked.time, asked.entity, asked.group}
    identifier = told(lambda: of_id(profiles, asked, taken), problems)
    time = told(lambda: of_time(profiles, asked, delivered), problems)
    entity = told(lambda: of_entity(profiles, asked), problems)
    group = told(lambda: of_group(profiles, asked, label), problems)
    if not problems:
        named = {"label": asked.label, "id": identifier[0], "time": time[0], "entity": entity[0], "group": group[0]}
        problems += twice({role: name for role, name in named.items() if name})
    problems += [Question(says) for p in profiles.values() for says in untaken(p)]
    if problems:
        raise BadInput(in_words(problems, asked))
    why = {"id": identifier[1], "time": time[1], "entity": entity[1], "group": group[1]}
    by_file = time[0] is not None and time[0] == delivered
    return Roles(label, identifier[0], time[0], entity[0], group[0], by_file, why)


def twice(named: Mapping[str, str]) -> Iterator[Question]:
    """Columns that were named for two things."""
    for role, name in named.items():
        if other := next((each for each in named if named[each] == name and each != role), None):
            yield Question(f"`{name}` cannot be both {role} and {other}; name another column in one of them")
            return


# --- the delay ---


def delayed(asked: Asked) -> int:
    """The days until a label is known. Raises Question."""
    if not re.fullmatch(r"\d{0,4}", asked.delay) or int(asked.delay or 0) > 3650:
        raise Question(f"DELAY={asked.delay}: write the days until a label is known, 0 to 3650", delay="30")
    return int(asked.delay or 0)


# --- the identifier, the time, the entity ---

IDENTIFIER = {
    "id",
    "ids",
    "key",
    "uuid",
    "guid",
    "number",
    "no",
    "nr",
    "num",
    "identifier",
    "ref",
    "reference",
    "nummer",
}


def identifies(name: str) -> bool:
    """Whether a name looks like an identifier's: customerID, order_no, id_user."""
    words = [word.lower() for word in WORD.findall(name)]
    glued = bool(words) and len(words) == 1 and re.fullmatch(r"\w{4,}(id|uuid|guid)", words[0]) is not None
    return bool(words) and (words[-1] in IDENTIFIER or words[0] in ("id", "uuid", "guid") or glued)


def of_id(profiles: Mapping[str, Profile], asked: Asked, taken: set[str]) -> tuple[str | None, str]:
    """The column that identifies a row, None for a hash of it; and why. Raises Question."""
    if asked.id.lower() == NONE:
        return None, "a hash of the row, as ID says"
    if asked.id:
        found = known(profiles, asked.id, "ID")
        if found.missing:
            raise Question(f"ID={found.name}: is missing in {count(found.missing, 'row')}; a row has to have one")
        if found.repeated:
            raise shared(found, asked)
        if not found.unique:
            raise Question(
                f"ID={found.name}: has {found.number} values in {found.rows:,} rows, and identifies none; leave it "
                f"out, or say ENTITY={quote(found.name)} where rows of one value belong together",
                id="",
            )
        if found.type not in ("integer", "text", "category"):
            raise Question(f"ID={found.name}: is of type {found.type}; an identifier is a whole number or a text")
        return found.name, "as ID says"
    unique = [p.name for p in profiles.values() if p.unique and p.type in ("integer", "text") and p.name not in taken]
    named = [name for name in unique if identifies(name)]
    if len(named) == 1:
        return named[0], "unique, and its name says so"
    if len(named) > 1:
        return None, f"{', '.join(f'`{name}`' for name in named)} are all unique: a hash of the row; ID names one"
    codes = [name for name in unique if is_code(profiles[name])]
    if not named and len(codes) == 1:
        return codes[0], "a code, another one in each row; ID says otherwise"
    nearly = [p for p in profiles.values() if p.repeated and p.type in ("integer", "text") and p.name not in taken]
    if almost := next((p for p in nearly if identifies(p.name)), None) or next(filter(is_code, nearly), None):
        raise shared(almost, asked)
    if unique := sorted(unique, key=lambda name: profiles[name].type != "text"):
        return None, f"no name says that it is one: a hash of the row; ID={quote(unique[0])} takes `{unique[0]}`"
    return None, "no column is unique: a hash of the row"


def is_code(found: Profile) -> bool:
    """Whether a column's values look like identifiers: texts of one word that lead to nobody."""
    return found.type == "text" and not found.personal and found.about.get("words", 9) < 2


def shared(found: Profile, asked: Asked) -> Question:
    """What to do where a column identifies all rows but a few."""
    some = ", ".join(f"{value!r} stands in {count(rows, 'row')}" for value, rows in found.repeated[:3])
    return Question(
        f"ID: `{found.name}` identifies all but {found.rows - found.distinct:,} of {count(found.rows, 'row')}: {some}; "
        f"remove the repeats from the table; or say ENTITY={quote(found.name)} where rows of one value belong "
        f"together, ID={NONE} where a hash of the row is to identify it",
    )


def of_time(profiles: Mapping[str, Profile], asked: Asked, delivered: str | None) -> tuple[str | None, str]:
    """The column that says when a row happened, None for none; and why. Raises Question."""
    if asked.time.lower() == NONE:
        return None, "TIME=none: a delivery is whole and replaces the last"
    if asked.time:
        found = known(profiles, asked.time, "TIME")
        return fit_for_time(found, asked), "as TIME says"
    times = [p for p in profiles.values() if p.type == "time" and p.name != asked.label]
    if others := [p.name for p in times if p.name != delivered and not p.missing and p.minimum != p.maximum]:
        likely = [name for name in others if not re.search(BORN, name, re.I)]
        first = (likely or others)[0]
        many = f"{', '.join(f'`{name}`' for name in others)} {'is a date' if len(others) == 1 else 'are dates'}"
        by_file = f", TIME={delivered} where the day of its file does" if delivered else ""
        raise Question(
            f"TIME: {many}, and whether that is when a row happened cannot be told; TIME={quote(first)} where it is"
            f"{by_file}, TIME={NONE} where nothing says it",
            time=first if likely else NONE,
        )
    if delivered:
        return delivered, "the day of its file, as no column says when a row happened"
    return None, "no column says when a row happened: a delivery is whole and replaces the last"


def fit_for_time(found: Profile, asked: Asked) -> str:
    """The name of a column that can say when a row happened. Raises Question."""
    if found.type != "time":
        raise Question(
            f"TIME={found.name}: is of type {found.type}; a time is a date such as 2024-01-31, with or without hours: "
            f"convert it where the table is made, or say TIME={NONE}"
        )
    if found.missing:
        raise Question(
            f"TIME={found.name}: is missing in {count(found.missing, 'row')}, and a row has to have one; mend them, or "
            f"say TIME={NONE}: then a delivery replaces the last",
        )
    return found.name


def of_entity(profiles: Mapping[str, Profile], asked: Asked) -> tuple[str | None, str]:
    """The column that says whose a row is, None for nobody's; and why. Raises Question."""
    if not asked.entity:
        return None, ""
    return shared_by(profiles, asked.entity, "ENTITY"), "as ENTITY says: whose rows belong together"


def of_group(profiles: Mapping[str, Profile], asked: Asked, label: Label | None) -> tuple[str | None, str]:
    """The column that says among which rows one is ranked, None for none; and why. Raises Question."""
    if not asked.group:
        return None, ""
    if label and label.task == MULTICLASS:
        raise Question(f"GROUP={asked.group}: classes have no order to rank rows by; leave it out", group="")
    if (found := known(profiles, asked.group, "GROUP")).unique:
        raise Question(
            f"GROUP={found.name}: has another value in each row, so that nothing is ranked within it", group=""
        )
    return shared_by(profiles, asked.group, "GROUP"), "as GROUP says: rows that are ranked among each other"


def shared_by(profiles: Mapping[str, Profile], name: str, argument: str) -> str:
    """The name of a column whose values rows share. Raises Question."""
    found = known(profiles, name, argument)
    if found.missing:
        raise Question(f"{argument}={name}: is missing in {count(found.missing, 'row')}; a row has to have one")
    if found.type not in ("integer", "text", "category"):
        raise Question(f"{argument}={name}: is of type {found.type}; it has to be a whole number or a text")
    return found.name


# --- every column ---


def choices(profiles: Mapping[str, Profile], roles: Roles) -> list[Choice]:
    """What each column is, in the table's order. Raises BadInput where a contract could not hold them."""
    names = named(profiles)
    made = [choice(p, names[p.name], roles) for p in profiles.values()]
    if roles.id is None:
        about = f"identifier: {roles.why['id']}"
        made.insert(0, Choice(free(ROW, names), None, "text", about, "id"))
    return made


def named(profiles: Mapping[str, Profile]) -> dict[str, str]:
    """What each column is called in the contract. Raises BadInput where a contract could not hold them."""
    if len(profiles) > COLUMNS:
        raise BadInput(f"the table has {len(profiles):,} columns; a contract holds {COLUMNS} at most: leave some out")
    names = {name: " ".join(re.sub(r"[\x00-\x1f\x7f]+", " ", name).split()).lstrip("_") for name in profiles}
    names = {name: clean or free("column", names.values()) for name, clean in names.items()}
    if long := [name for name, clean in names.items() if len(clean) > NAME]:
        raise BadInput(f"`{long[0][:40]}…`: a column's name has {NAME} characters at most; shorten it in the table")
    seen = sorted(names.values())
    if same := [one for one, other in zip(seen, seen[1:], strict=False) if one == other]:
        raise BadInput(f"`{same[0]}`: several columns have this name, but for _ or spaces; rename them in the table")
    return names


def free(name: str, taken: Any) -> str:
    """A name that no column has."""
    while name in taken:
        name += " of adopt"
    return name


GROUPS = re.compile(
    r"([+-]?\d{1,3})((?P<mark>[ .,'’\u00a0\u202f])\d{3}(?:(?P=mark)\d{3})*)(?:(?!(?P=mark))[.,](\d*))?", re.ASCII
)
"""A number with marks of thousands: what stands before the first, the groups, and what stands behind a decimal mark."""


def thousands(found: Profile) -> str:
    """A sentence where values that are not read have marks of thousands, or may have; else empty."""
    match = next(filter(None, map(GROUPS.fullmatch, found.odd)), None)
    if match is None:
        return ""
    first, groups, mark, decimals = match.groups()
    whole = first + groups.replace(mark, "")
    if decimals is None and mark in ".," and groups.count(mark) == 1:
        return (
            f"`{found.name}` holds numbers such as {match[0]!r}, which may be {whole} or a decimal number: write "
            f"{whole}, or, with one more zero, {first}.{groups[1:]}0 (or {first},{groups[1:]}0)"
        )
    plain = f"{whole}.{decimals} (or {whole},{decimals})" if decimals else whole
    return f"`{found.name}` is written with marks of thousands, such as {match[0]!r}: write {plain}, without them"


def untaken(found: Profile) -> Iterator[str]:
    """Why a column cannot be taken as it is, a sentence."""
    some = ", ".join(map(repr, found.odd[:3]))
    if says := thousands(found):
        yield says
    elif found.type == "mixed":
        yield (
            f"`{found.name}` cannot be read, such as {some}: write numbers as 1234.5, without marks or signs, and "
            "dates as 2024-01-31, all in one way; or leave the column out"
        )
    elif found.odd_rows and found.type in ("integer", "number", "boolean", "time"):
        yield (
            f"`{found.name}` is of type {found.type}, but for {count(found.odd_rows, 'row')}, such as {some}; mend "
            "them in the table, or leave them empty where they stand for no value"
        )


def choice(found: Profile, name: str, roles: Roles) -> Choice:
    """What a column is."""
    if found.name == roles.label.source:
        return of_the_label(found, name, roles.label)
    if found.name in (roles.id, roles.time, roles.entity, roles.group):
        role = next(role for role in ("id", "time", "entity", "group") if getattr(roles, role) == found.name)
        kind = "text" if role != "time" and found.type == "category" else found.type
        says = {"id": "identifier", "time": "when a row happened"}.get(role, role)
        least = kind == "integer" and found.minimum >= 0
        personal = "hash" if found.personal else ""
        about = [f"{says}: {roles.why[role]}"]
        if role == "time":
            about += [f"{short(found.minimum)} to {short(found.maximum)}", *read_so(found)]
        form = found.format if found.order in ORDERS else None
        return Choice(name, found.name, kind, ", ".join(about), role, least=least, personal=personal, format=form)
    kind = "category" if found.type == "empty" else found.type
    least = kind in ("integer", "number") and found.minimum is not None and found.minimum >= 0
    levels = enough(found.distinct) if kind == "category" else None
    aside, personal = aside_for(found)
    why = "; ".join([seen(found, kind), *([aside] if aside else [])])
    form = found.format if kind == "time" and found.order in ORDERS else None
    return Choice(name, found.name, kind, why, "", aside, least, levels, bool(found.missing), personal, form)


def of_the_label(found: Profile, name: str, label: Label) -> Choice:
    """The label's column."""
    missing, number = bool(found.missing or label.delay), label.task == REGRESSION
    why = f"label: {says(found, label)}"
    if found.missing:
        why += f"; {found.missing:,} not known yet"
    return Choice(name, found.name, label.type, why, "label", least=number and found.minimum >= 0, missing=missing)


def says(found: Profile, label: Label) -> str:
    """What a label is, in words."""
    if label.task == REGRESSION:
        return f"a number in {label.unit} ({label.why}), {short(found.minimum)} to {short(found.maximum)}"
    if label.positive is None:
        why = f" ({label.why})" if label.why else ""
        return f"one of {len(label.values)} classes{why}, sorted: {', '.join(shown(found))}"
    negative = next(value for value in label.values if value != label.positive)
    return f"{written(label.positive)} is positive ({label.why}), {written(negative)} negative"


def enough(distinct: int) -> int:
    """How many levels of a category may be learned: twice those that are there, of a long tail the most frequent."""
    return min(max(20, 2 * distinct), LEVELS)


def aside_for(found: Profile) -> tuple[str, str]:
    """Why a column that is none of who, when and what is no input, empty where it is one; and how it is personal."""
    if found.personal:
        return f"{found.personal}: personal", "omit"
    if found.type == "empty":
        return "no value at all", ""
    if found.distinct == 1 and not found.missing:
        return "one value", ""
    if found.type == "text":
        return "", ""  # no model sees text
    if found.unique and found.type in ("integer", "category"):
        return "another value in each row: it identifies", ""
    if identifies(found.name) and found.type in ("integer", "category") and found.distinct > max(50, found.rows / 50):
        return "named like an identifier, and of many values", ""
    return "", ""


def seen(found: Profile, kind: str) -> str:
    """What a column holds."""
    said = {
        "integer": lambda: f"whole numbers, {short(found.minimum)} to {short(found.maximum)}",
        "number": lambda: f"numbers, {short(found.minimum)} to {short(found.maximum)}",
        "boolean": lambda: f"{found.words[1]} is true, {found.words[0]} false" if found.words else "true or false",
        "category": lambda: (
            f"{'' if found.exact else 'about '}{count(found.distinct, 'level')}" if found.distinct else "empty"
        ),
        "text": lambda: f"text, {found.number} different: no input",
        "time": lambda: f"dates, {short(found.minimum)} to {short(found.maximum)}",
    }[kind]()
    parts = [said]
    if kind == "category" and found.distinct > LEVELS:
        parts.append(f"the {LEVELS:,} most frequent are learned, others are *other*")
    if kind == "time":
        parts.append("as days before the row")
        parts += read_so(found)
    if found.missing:
        markers = ", ".join(repr(marker) for marker in found.markers if marker)
        parts.append(f"{found.missing:,} missing" + (f" (written {markers})" if markers else ""))
    return ", ".join(parts)


def read_so(found: Profile) -> list[str]:
    """How dates were read, where that is not plain."""
    plain = found.order not in ORDERS and found.format != COMPACT
    return [] if plain else [f"read as {found.format or found.order}"]


def short(value: Any) -> str:
    """A number or a day in a sentence."""
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value).removesuffix(" 00:00:00")


# --- what was noticed ---


class Day(NamedTuple):
    """The rows of a day."""

    rows: int
    known: tuple[int, ...]  # rows of each value of the label; of a number, those that have one
    mean: float | None = None  # of a number


@dataclass(frozen=True)
class Found:
    """What the rows say, once it is known which columns are which."""

    rows: int
    known: tuple[int, ...]  # as of a day
    days: Mapping[date, Day]  # empty without a time
    mean: float = 0.0  # of a number, as the others
    deviation: float = 0.0
    giveaways: Mapping[str, float] = field(default_factory=dict)  # by the contract's name, how well it ranks at least
    strong: Mapping[str, float] = field(default_factory=dict)  # the same of columns that rank well, and stay inputs
    copies: int = 0  # rows that repeat another, where a hash identifies

    @property
    def shares(self) -> tuple[float, ...]:
        """Of each value, among the known labels."""
        return tuple(rows / sum(self.known) for rows in self.known)


def without(made: Sequence[Choice], giveaways: Mapping[str, float], label: str) -> list[Choice]:
    """The columns, with those that give the label away no longer among the inputs."""
    return [
        replace(
            c, aside=f"gives {label} away", why=f"{c.why}; gives {label} away: alone it ranks {giveaways[c.name]:.4f}"
        )
        if c.name in giveaways
        else c
        for c in made
    ]


def together(made: Sequence[Choice]) -> list[Choice]:
    """The columns and one that the copies of a row share, so that they are on the same side of the test."""
    if any(c.role == "entity" for c in made):
        return list(made)
    about = "entity: the hash without its ending, so that the copies of a row stay on one side"
    return [made[0], Choice(free(COPIES, [c.name for c in made]), None, "text", about, "entity"), *made[1:]]


def refuse(found: Found, label: Label) -> None:
    """Raises BadInput where there is too little to measure anything by."""
    if found.rows < FEWEST:
        raise BadInput(f"the table has {count(found.rows, 'row')}; under {FEWEST} nothing can be measured: bring more")
    if sum(found.known) < FEWEST:
        raise BadInput(
            f"{label.source} is known in {count(sum(found.known), 'row')}; under {FEWEST} nothing can be measured: "
            "bring more"
        )
    for value, rows in zip(label.values, found.known, strict=False):  # of a number there are none
        if rows < OF_A_CLASS and label.positive is not None:
            raise BadInput(
                f"{label.source} is {written(value)} in {count(rows, 'row')}; under {OF_A_CLASS} of a class nothing "
                "can be measured: bring more, or predict something that is less rare"
            )


def noticed(
    made: Sequence[Choice], profiles: Mapping[str, Profile], found: Found, roles: Roles, asked: Asked
) -> Iterator[str]:
    """What whoever adopts a table should know of it, a sentence each."""
    yield from balance(found, roles.label, [repr(text) for text in profiles[roles.label.source].markers if text])
    if roles.group and roles.label.task == REGRESSION and profiles[roles.label.source].minimum < 0:
        yield "labels below 0 are worth less than nothing: how good the order within a group is, is not measured"
    if found.rows < FEW:
        yield f"{found.rows:,} rows are few: intervals are wide, and small differences cannot be told"
    for c in made:
        if c.name in found.giveaways:
            yield (
                f"`{c.name}` gives {roles.label.source} away (alone it ranks {found.giveaways[c.name]:.4f}): it is no "
                "input; take `input: false` off its line in contract.yaml if it is known when a row is scored"
            )
    if strong := sorted(found.strong, key=lambda name: -found.strong[name]):
        others = f" (so do{'es' * (len(strong) == 2)} {count(len(strong) - 1, 'other')})" if strong[1:] else ""
        least = min(found.strong[strong[0]], 0.99)
        yield (
            f"`{strong[0]}` alone ranks the rows at {least:.2f} or better{others}; where it is filled"
            " in with the outcome, not known when a row is scored, write `input: false` on its line in contract.yaml"
        )
    if people := [f"`{c.name}` ({profiles[c.source].personal})" for c in made if c.personal and c.source]:
        yield f"{', '.join(people)}: of people, so no input, and not written into the log (policies/log.yaml)"
    if born := [
        f"`{c.name}`" for c in made if c.type == "time" and not c.role and re.search(BORN, c.source or "", re.I)
    ]:
        yield (
            f"{', '.join(born)}: when somebody was born, an input, and in the log; if that tells who it is, write "
            "`input: false` in contract.yaml and `omit` in policies/log.yaml"
        )
    for p in profiles.values():
        if p.name not in (roles.id, roles.entity, roles.label.source) and repeats(p):
            yield (
                f"`{p.name}` repeats ({p.number} values in {p.rows:,} rows); where rows of one value belong "
                f"together, keep them together: {asked.command(entity=p.name)}"
                + ("; where each file replaces the last, adopt the newest alone" if roles.by_file else "")
            )
    if roles.id is None:
        yield (
            "no identifier: a hash of the row stands for one, which no caller knows: live quality cannot be measured, "
            "nor told which rows of the next delivery a model has learned from; ID=column names one"
        )
    if found.copies:
        yield f"{count(found.copies, 'row')} repeat{'s' * (found.copies == 1)} another, in all that the model sees"
    if not asked.delay:
        yield "a label is taken to be known on the same day (delay: 0); DELAY=30 says that it takes 30"


def balance(found: Found, label: Label, unread: Sequence[str]) -> Iterator[str]:
    """What the known labels are, and which texts are read as none."""
    if unread:
        yield f"`{label.source}` is not known where it is {' or '.join(unread)}"
    if label.task == REGRESSION:
        yield (
            f"the known labels are {short(found.mean)} {label.unit} on average, with a standard deviation of "
            f"{short(found.deviation)}"
        )
        return
    shares = dict(zip(label.values, found.shares, strict=True))
    if label.positive is not None:
        share = shares[label.positive]
        few = ": few, so that average precision says more than accuracy" * (min(share, 1 - share) < SELDOM)
        yield f"{share:.3g} of the known labels are {written(label.positive)}{few}"
        return
    often = sorted(shares, key=lambda value: -shares[value])
    some = ", ".join(f"{written(value)} {100 * shares[value]:.3g}%" for value in often[:SHOWN])
    yield f"the classes of the known labels: {some}{', …' * (len(often) > SHOWN)}"
    rows = dict(zip(label.values, found.known, strict=True))
    if few_of := [value for value in often if rows[value] < OF_A_CLASS]:
        named = ", ".join(f"{written(value)} ({count(rows[value], 'row')})" for value in few_of[-SHOWN:])
        yield (
            f"under {OF_A_CLASS} rows are {named}: what is measured of such a class is chance, and the recall of the "
            "worst class with it"
        )


def repeats(found: Profile) -> bool:
    """Whether a column may say whose a row is."""
    some = 2 <= found.distinct < 0.9 * found.rows and found.distinct > 20
    named = identifies(found.name) or of_people(found.name) or re.search(THINGS, found.name, re.I)
    return bool(some and not found.missing and found.type in ("integer", "text", "category") and named)


THINGS = (
    r"(nr|nummer|number)$|^(machine|maschine|device|ger[aä]t|store|shop|filiale|branch|vehicle|fahrzeug|account|konto)"
)
"""What a column is called whose values have rows of their own, beside those of people."""


# --- the problem's words ---

GENERIC = {"label", "target", "y", "class", "outcome", "result", "response", "output", "flag", "is", "has"}
GENERIC |= {"data", "table", "train", "training", "dataset", "file", "export", "sample", "test", "csv", "input", "rows"}


def slug(name: str) -> str:
    """A name of small letters, digits and single dashes; empty where nothing is left."""
    import unicodedata

    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return "-".join(word.lower() for word in WORD.findall(plain))[:40].strip("-")


def problem(label: str, stem: str, example: str) -> str:
    """The problem's name: the label's, or the file's where that says nothing; never the example's."""
    ours, file = slug(label), slug(stem)
    says = [name for name in (ours, file) if name and not set(name.split("-")) <= GENERIC]
    name = says[0] if says else "-".join(filter(None, (file, ours))) or "own-problem"
    return name if name != example else f"{name[:36]}-own"


def noun(stem: str) -> tuple[str, str]:
    """What a row is called, one and many: the file's name where it is a plural, such as loans."""
    plain = re.fullmatch(r"[a-z]{3,}[^siu]s", stem) and stem not in GENERIC
    return (re.sub("ies$", "y", stem) if stem.endswith("ies") else stem[:-1], stem) if plain else ("row", "rows")


# --- the days ---


@dataclass(frozen=True)
class Split:
    """The last day of the test, and how many days are learned from and tested on."""

    until: date
    train: int
    calibrate: int  # the last of these, so many: what a model decides by is settled on them
    test: int
    cut: tuple[date, ...] = ()  # the first and the last day of the table, where they are parts of days

    @property
    def tested(self) -> tuple[date, date]:
        """The first and the last day of the test."""
        return self.until - timedelta(days=self.test - 1), self.until

    def learned(self, delay: int) -> tuple[date, date]:
        """The same of the days that are learned from; the label's delay lies between."""
        last = self.tested[0] - timedelta(days=delay + 1)
        return last - timedelta(days=self.train - 1), last

    def calibrated(self, delay: int) -> tuple[date, date]:
        """The same of those of them that calibrate."""
        last = self.learned(delay)[1]
        return last - timedelta(days=self.calibrate - 1), last


def split(days: Mapping[date, Day], label: Label) -> Split:
    """Of the days with labels the last fifth is tested on: more, up to half, where a class has under 20 rows there.

    Of those before, less the label's delay, the last sixth calibrates: of a number more, up to half, where they have
    under 300 rows. A first or last day that is cut off is none of them. Raises BadInput where nothing is left to learn
    from.
    """
    delay, cut = label.delay, cut_off({day: each.rows for day, each in days.items()})
    days = {day: each for day, each in days.items() if day not in cut}
    labelled = sorted(day for day, each in days.items() if sum(each.known))
    first, until = labelled[0], labelled[-1]
    span, every = (until - first).days + 1, of_each(days, first, until)
    test = max(round(span / 5), 1, back(days, until, [min(OF_A_CLASS, rows // 2) for rows in every]))
    test = min(test, max(round(span / 5), (span - delay) // 2, 1))
    train, last = span - delay - test, until - timedelta(days=test + delay)
    calibrate, settles = max(round(train / 6), 1), task_of(label.task).SETTLES
    if label.task == REGRESSION and train > 1:
        calibrate = max(calibrate, min(back(days, last, [CALIBRATED]), train // 2))
    fit = of_each(days, first, last - timedelta(days=calibrate * settles))
    lost = [at for at, (rows, whole) in enumerate(zip(fit, every, strict=True)) if rows < 1 <= whole]
    settled_on = sum(of_each(days, last - timedelta(days=calibrate - 1), last))
    if train <= calibrate or lost or not settled_on:
        less = f", and {count(calibrate, 'day')} to calibrate on" if settles else ""
        said = "nothing is left to learn from"
        if lost and label.values and train > calibrate:
            said = f"no row is left to learn from whose {label.source} is {written(label.values[lost[0]])}"
        elif train > calibrate and not settled_on:
            said = "those to calibrate on have no label"
        raise BadInput(
            f"TIME: the labels are of {first} to {until}; less the last {count(test, 'day')}, to test on, the delay of "
            f"{count(delay, 'day')}{less}, {said}; bring more days, or say TIME={NONE}"
        )
    return Split(until, train, calibrate, test, cut)


def cut_off(days: Mapping[date, int]) -> tuple[date, ...]:
    """The first and the last day, where they have so few rows that a table seems to begin or to end within them."""
    usual = median(days.values()) if days else 0
    edges = dict.fromkeys((min(days), max(days))) if usual >= OF_A_DAY and len(days) >= ENOUGH_DAYS else ()
    return tuple(day for day in edges if days[day] < usual / 2)


def in_part(cut: Sequence[date], days: Mapping[date, int]) -> str:
    """A sentence on days that are cut off."""
    shown = [f"{day}, of {count(days[day], 'row') if at == 0 else days[day]}," for at, day in enumerate(cut)]
    are = "is taken for a part of a day" if len(cut) == 1 else "are taken for parts of days"
    return (
        f"{' and '.join(shown)} {are}: the median day has {median(days.values()):,.0f}; "
        f"{'it is' if len(cut) == 1 else 'they are'} not learned from or tested on, but the rows are kept"
    )


def back(days: Mapping[date, Day], until: date, enough: Sequence[int]) -> int:
    """So many days back from `until` have enough rows of each value."""
    found = [0] * len(enough)
    for day in sorted((day for day in days if day <= until), reverse=True):
        found = [rows + more for rows, more in zip(found, days[day].known, strict=True)]
        if all(rows >= least for rows, least in zip(found, enough, strict=True)):
            return (until - day).days + 1
    return (until - min(days)).days + 1


def of_each(days: Mapping[date, Day], first: date, last: date) -> list[int]:
    """Rows of each value, of the days from `first` to `last`."""
    inside = (each.known for day, each in days.items() if first <= day <= last)
    none = [0] * len(next(iter(days.values())).known)
    return [sum(rows) for rows in zip(none, *inside, strict=True)]
