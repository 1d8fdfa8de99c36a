"""What is predicted, out of the label's column and the arguments: one of two values, one of several, or a number.

Whole numbers may be either, such as those of a rating: then that is a question. So is the unit of a number that its
column's name does not end with.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

from pipeline.adopt.asked import Asked, Question, known
from pipeline.adopt.profile import WORD, Profile
from pipeline.contract import Value
from pipeline.reading import count, nearest

BINARY, MULTICLASS, REGRESSION = "binary", "multiclass", "regression"
TASKS = {BINARY: "one of two values", MULTICLASS: "one of several classes", REGRESSION: "a number"}
CLASSES = 100  # of a contract, at most
LONGEST = 200  # characters of one
FEW = 30  # different whole numbers, beyond which they are a quantity
RARE = 10  # rows of a class, under which somebody has to say that it is one
SHOWN = 5
UNIT = "€"  # an example


@dataclass(frozen=True)
class Label:
    """What is predicted."""

    source: str
    task: str
    type: str
    delay: int
    why: str
    values: tuple[Value, ...] = ()  # that it may have, in the order of their codes; none of a number
    positive: Value | None = None  # of two, the one that is looked for
    unit: str = ""  # of a number


def of_label(profiles: Mapping[str, Profile], asked: Asked, delay: int) -> Label:
    """What is predicted. Raises Question."""
    if not asked.label:
        raise Question(f"LABEL: which column is predicted? {nearest('', profiles, 'the columns are')}", label="COLUMN")
    found = known(profiles, asked.label, "LABEL")
    differing(found)
    task, why = task_of(found, asked)
    for name, of in (("positive", BINARY), ("unit", REGRESSION)):
        if (given := getattr(asked, name)) and task != of:
            raise Question(
                f"{name.upper()}={given}: is for {TASKS[of]}, and `{found.name}` is {TASKS[task]}; leave it out",
                **{name: ""},
            )
    return {BINARY: of_two, MULTICLASS: of_several, REGRESSION: of_number}[task](found, asked, delay, why)


def differing(found: Profile) -> None:
    """Raises Question for a column that says nothing of a row, or what no task predicts."""
    name = found.name
    if found.distinct == 0:
        raise Question(f"LABEL={name}: no row has a value; name another column, or a table whose labels are known")
    if found.distinct == 1:
        only = written(found.top[0][0]) if found.top else "one value"
        raise Question(
            f"LABEL={name}: every row is {only}, so that there is nothing to tell apart; name another column"
        )
    if found.type == "time":
        raise Question(
            f"LABEL={name}: holds {found.number} different moments; a number can be predicted, such as the days until "
            "then: make a column of it"
        )
    if found.type == "mixed":
        raise Question(f"LABEL={name}: what it holds cannot be told")


# --- which task ---

NAMES = {"class", "category", "kind", "type", "species", "segment", "cluster", "group", "code", "id"}
NAMES |= {"klasse", "kategorie", "art", "typ", "gruppe", "classe", "clase", "categoria"}
"""What columns are called whose whole numbers stand for something, and count nothing: by the last word."""

DECIMALS = "LABEL={}: holds {} and {}; write two whole numbers or words, such as 0 and 1"


def task_of(found: Profile, asked: Asked) -> tuple[str, str]:
    """The task of a label, and why, where that is not plain. Raises Question where it may be another."""
    number = found.type == "number"
    if asked.task:
        fits(found, asked)
        return asked.task, "as TASK says"
    if asked.unit and found.type in ("integer", "number"):
        return REGRESSION, ""
    if number and found.distinct == 2:
        says = f"{DECIMALS.format(found.name, *shown(found))}; or say TASK={REGRESSION}"
        raise Question(says, task=REGRESSION, **unit_asked(found))
    if number or found.distinct == 2:
        return REGRESSION if number else BINARY, ""
    if found.type == "integer":
        return of_whole(found)
    several(found)
    frequent(found)
    return MULTICLASS, ""


def of_whole(found: Profile) -> tuple[str, str]:
    """The task of whole numbers: of many a number, of few what the column's name says. Raises Question."""
    if found.distinct > FEW or unit_of(found.name):
        return REGRESSION, f"TASK={MULTICLASS} says otherwise" * (found.distinct <= CLASSES)
    if named_so(found.name):
        frequent(found)
        return MULTICLASS, f"as its name says; TASK={REGRESSION} says otherwise"
    few = f"; {rare(found)}" if rare(found) else ""
    raise Question(
        f"TASK: `{found.name}` holds {found.number} whole numbers ({', '.join(shown(found))}{few}), and whether these "
        f"are classes or a number cannot be told; TASK={MULTICLASS} or TASK={REGRESSION}, then with its UNIT",
        {"task": REGRESSION, **unit_asked(found)},
        task=MULTICLASS,
        group="",  # classes have no order to rank rows by
    )


def frequent(found: Profile) -> None:
    """Raises Question where classes are so rare that somebody should want them."""
    if few := rare(found):
        raise Question(
            f"TASK: of the {found.number} classes of `{found.name}` {few}: hardly anything can be learned or measured "
            f"of such; join them to others in the table, or say TASK={MULTICLASS} to have them all",
            task=MULTICLASS,
        )


def fits(found: Profile, asked: Asked) -> None:
    """Raises Question where a label cannot be what TASK says."""
    says, name = f"TASK={asked.task}: ", found.name
    if asked.task not in TASKS:
        raise Question(
            f"{says}{nearest(asked.task, TASKS)}: {', '.join(f'{task} is {what}' for task, what in TASKS.items())}",
            *({"task": task} for task in (MULTICLASS, REGRESSION)),
            task=BINARY,
        )
    if asked.task == REGRESSION and found.type not in ("integer", "number"):
        raise Question(f"{says}`{name}` holds no numbers; leave it out, or name another column as LABEL", task="")
    if asked.task == BINARY and found.distinct != 2:
        raise Question(f"{says}`{name}` holds {found.number} values, not two; leave it out", task="")
    if asked.task == BINARY and found.type == "number":
        raise Question(DECIMALS.format(name, *shown(found)), task="")
    if asked.task == MULTICLASS and found.distinct == 2:
        raise Question(f"{says}`{name}` holds two values, which is TASK={BINARY}", task=BINARY)
    if asked.task == MULTICLASS:
        several(found)


def several(found: Profile) -> None:
    """Raises Question where values are no classes."""
    says = f"LABEL={found.name}: holds {found.number} different"
    if found.type == "number":
        raise Question(f"{says} numbers with decimals, which are no classes; say TASK={REGRESSION}", task=REGRESSION)
    if found.type == "text":
        raise Question(f"{says} texts: free text is not predicted here; name another column")
    if found.distinct > CLASSES:
        such = "numbers" if found.type == "integer" else "values"
        raise Question(f"{says} {such}, and {CLASSES} classes are told apart at most; join some of them in the table")


def rare(found: Profile) -> str:
    """The values of few rows, in words; empty where there are none."""
    few = [(value, rows) for value, rows in found.top if rows < RARE]
    if not few:
        return ""
    some = ", ".join(f"{written(value)} in {count(rows, 'row')}" for value, rows in few[-SHOWN:])
    more = ", …" * (len(few) > SHOWN)
    return f"{len(few)} {'has' if len(few) == 1 else 'have'} under {RARE} rows ({some}{more})"


def named_so(name: str) -> bool:
    """Whether a name says that whole numbers stand for classes."""
    words = WORD.findall(name)
    return bool(words) and words[-1].lower() in NAMES


# --- one of two ---

YES = {"1", "true", "t", "yes", "y", "ja", "j", "oui", "o", "si", "sí", "sì", "s", "sim", "tak", "positive", "pos"}
NO = {"0", "-1", "false", "f", "no", "n", "nein", "non", "não", "nao", "nie", "negative", "neg"}
"""What everybody takes for positive and for negative, where a label has one of each."""


def of_two(found: Profile, asked: Asked, delay: int, why: str) -> Label:
    """A label of two values, and which of them is the positive one. Raises Question."""
    kind, values = values_of(found)
    texts = list(map(written, values))
    negative = plainly(texts)
    if asked.positive:
        pairs = list(zip(values, texts, strict=True))
        same = [value for value, text in pairs if text == asked.positive]
        same = same or [value for value, text in pairs if text.lower() == asked.positive.lower()]
        if not same:
            raise Question(
                f"POSITIVE={asked.positive}: `{found.name}` holds {' and '.join(texts)}; name one of these",
                positive=texts[1 - texts.index(negative)] if negative else texts[0],
            )
        positive, why = same[0], "as POSITIVE says"
    elif negative is None:
        raise Question(
            f"POSITIVE: `{found.name}` holds {' and '.join(texts)}, and which of them is to be found cannot be told; "
            + " or ".join(f"POSITIVE={quote(text)}" for text in texts),
            positive=texts[0],
        )
    else:
        positive, why = values[1 - texts.index(negative)], "plain; POSITIVE says otherwise"
    other = next(value for value in values if value != positive)
    return Label(found.name, BINARY, kind, delay, why, (other, positive), positive)


def values_of(found: Profile) -> tuple[str, list[Any]]:
    """The type of a label, and its values in that type; booleans in words stay words."""
    if found.type == "boolean":
        words = found.words or ("false", "true")
        if tuple(word.lower() for word in words) == ("false", "true"):
            return "boolean", [False, True][: found.distinct]
        if all(re.fullmatch(r"-?\d+", word) for word in words):
            return "integer", [int(word) for word in words]
        return "category", list(words)
    values = [value for value, _ in found.top]
    return ("integer", values) if found.type == "integer" else ("category", [str(value) for value in values])


def plainly(texts: Sequence[str]) -> str | None:
    """The value that is plainly negative, None where that is not plain."""
    said = {text.strip().lower(): text for text in texts}
    yes, no = said.keys() & YES, said.keys() & NO
    return said[no.pop()] if len(yes) == len(no) == 1 else None


def written(value: Value) -> str:
    """A value in a sentence."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(found: Profile) -> list[str]:
    """The first of a column's values, in their order."""
    values = sorted(value for value, _ in found.top)
    return [*map(written, values[:SHOWN]), *["…"] * (found.distinct > SHOWN)]


# --- one of several ---


def of_several(found: Profile, asked: Asked, delay: int, why: str) -> Label:
    """A label of classes, sorted: a table of the same classes gives the same codes. Raises Question."""
    kind, values = values_of(found)
    if long := [value for value in values if isinstance(value, str) and len(value) > LONGEST]:
        raise Question(f"LABEL={found.name}: {long[0][:40]}… is longer than the {LONGEST} characters of a class")
    return Label(found.name, MULTICLASS, kind, delay, why, tuple(sorted(values)))


# --- a number ---

MONEY = r"eur|usd|gbp|chf|jpy|cny|aud|cad|sek|nok|dkk|pln|czk"  # in capitals, as it is shown
UNITS = (
    rf"{MONEY}|euros?|dollars?|cents?|[€$£¥%]|pct|percent|prozent|mm|cm|km|inch(es)?|ft|feet|miles?|mg|kg|grams?|lbs?|oz"
    r"|tons|tonnes|m2|m²|sqm|sqft|ha|ml|lit(er|re)s?|m3|m³|ms|sec|seconds|minutes|hours|days|weeks|months|years"
    r"|sekunden|minuten|stunden|tage|wochen|monate|jahre|°[cf]|celsius|fahrenheit|kelvin|kw|mw|[kmg]wh|watts?|hp|mph|kmh"
    r"|km/h|m/s|mpg|ppm|hpa|kpa|mmhg"
)
SHORT = r"[mgshltwvackfjn]|in|min|mi|bar|ps|db|hz|pa"
"""What a name ends with that says what a number is measured in; the short ones in brackets alone."""
IN_BRACKETS = re.compile(r"[(\[]\s*(?:in )?([^()\[\]]+?)\s*[)\]]\s*$")


def of_number(found: Profile, asked: Asked, delay: int, why: str) -> Label:
    """A number, and what it is measured in. Raises Question."""
    unit, said = asked.unit or unit_of(found.name), "as UNIT says" if asked.unit else "as its name says"
    if not unit:
        otherwise = f"; where its values are classes, TASK={MULTICLASS}" if 2 < found.distinct <= CLASSES else ""
        otherwise = otherwise if found.type == "integer" and not asked.task else ""
        raise Question(
            f"UNIT: what is `{found.name}` measured in? It stands beside what people read of it: UNIT=€, "
            f"UNIT=kg, or UNIT=points where it has none{otherwise}",
            unit=UNIT,
        )
    if len(unit) > 20 or not unit.isprintable():
        raise Question(f"UNIT={unit[:40]}: has 20 printable characters at most; shorten it", unit=UNIT)
    return Label(found.name, REGRESSION, found.type, delay, "; ".join(filter(None, (said, why))), unit=unit)


def unit_of(name: str) -> str:
    """The unit that a name ends with, as in price_eur, weight (kg) or mpg; empty where none is known."""
    if found := IN_BRACKETS.search(name):
        return found[1] if re.fullmatch(f"{UNITS}|{SHORT}", found[1], re.IGNORECASE) else ""
    ends = (re.split(r"[\s_.-]+", name.strip())[-1], *WORD.findall(name)[-1:])
    unit = next((end for end in ends if re.fullmatch(UNITS, end, re.IGNORECASE)), "")
    return unit.upper() if re.fullmatch(MONEY, unit) else unit


def unit_asked(found: Profile) -> dict[str, str]:
    """What a command says of the unit, where the name does not."""
    return {} if unit_of(found.name) else {"unit": UNIT}
