"""What `make adopt` prints: what each column was taken for, what it noticed, what it wrote, and what is next."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline import tasks
from pipeline.adopt.decide import CALIBRATED, Choice, in_part
from pipeline.adopt.files import FOLDER
from pipeline.adopt.label import REGRESSION
from pipeline.adopt.problem import TESTED, Problem
from pipeline.adopt.profile import of_people
from pipeline.adopt.table import Table
from pipeline.adopt.text import flow
from pipeline.reading import count

LONGEST = 40  # characters of a name in the list of columns
WOULD = "It would write, without DRY=1"
DOES_NOT = (
    "free text, several labels at once, and forecasting are not done here; what is computed of a row's past is Python: "
    "README.md, Inputs that are computed"
)


def columns(made: Sequence[Choice], table: Table) -> str:
    """A line a column: its name, its type, whether the model sees it, and why."""
    names = [cut(c.name) for c in made]
    width = max(map(len, names))
    head = (
        f"{table.where}: {table.kind}; {count(table.rows, 'row')}, {count(len(table.frame.collect_schema()), 'column')}"
    )
    lines = [
        f"  {name:<{width}}  {c.type:<8}  {'input' if c.input else c.role or '-':<6}  {c.why}"
        for name, c in zip(names, made, strict=True)
    ]
    return "\n".join([head, "", *lines])


def cut(name: str) -> str:
    """A name, of a long one its beginning."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def block(head: str, lines: Iterable[str]) -> str:
    """Sentences under a word; nothing where there are none."""
    listed = "\n".join(f"  {line}" for line in lines)
    return f"\n{head}\n{listed}" if listed else ""


def problem(ours: Problem) -> Iterable[str]:
    """What the problem is called, how it is split and what is shipped."""
    yield f"problem: {ours.name}; people call a row a {ours.row[0]!r}: `problem` and `words` in contract.yaml say so"
    settles = tasks.task(ours.label.task).SETTLES
    if ours.split:
        train, settle, test = ours.split.train, ours.split.calibrate, ours.split.test
        delay = count(ours.label.delay, "day")
        between = f", with the delay of {delay} between them" if ours.label.delay else ""
        last = f", the last {settle} of which settle what it decides by," if settles else ""
        yield (
            f"it learns from {count(train, 'day')}{last} and is "
            f"tested on {count(test, 'day')}, up to {ours.until}{between}; policies/evaluation.yaml says so"
        )
        if ours.split.cut:
            yield in_part(ours.split.cut, {day: each.rows for day, each in ours.found.days.items()})
        yield "a day is one in UTC, where times have a zone"
    else:
        some = f", and {ours.settled:.0%} settle what it decides by" if settles else ""
        yield (
            f"{TESTED:.0%} of the rows are tested on{some}; this is the delivery of {ours.until}, DATE=YYYY-MM-DD says "
            "otherwise"
        )
    if ours.label.task == REGRESSION and (rows := ours.parts[0]) < CALIBRATED:
        yield f"about {rows:,.0f} labels settle the interval: under {CALIBRATED} it tells few predictions' errors apart"
    others = " and ".join(name for name in ("constant", "linear", "trees") if name != ours.family)
    yield f"{ours.family}: the family that is shipped, beside {others}; train.family in params.yaml says so"


def people(ours: Problem) -> Iterable[str]:
    """Whoever is named in log and reports as the table names them, and what would hide them."""
    made = [c for c in (ours.of("id"), ours.of("entity")) if c and c.source and not c.personal]
    for c in made:
        if c.role == "entity" or of_people(c.name):
            hashed = flow({each.name: each.personal for each in ours.choices if each.personal} | {c.name: "hash"})
            yield (
                f"`{c.name}`: the log and the reports keep it as it stands; if it leads to a person, write "
                f"`personal: {hashed}` in policies/log.yaml: a hash stands there then: labels are still "
                "found by it, but you can look nobody up, and whoever can guess the values still finds the person"
            )


def listed(paths: Iterable[Path], gone: Sequence[Path]) -> Iterable[str]:
    """The files that are written, daily ones as one line, and those that go."""
    paths = list(paths)
    days = sorted(path for path in paths if path.parent == Path(FOLDER) and path.suffix == ".parquet")
    yield ", ".join(str(path) for path in paths if path not in days)
    yield f"{days[0]}" + f" to {days[-1].name}, {count(len(days), 'file')}" * (len(days) > 1)
    if gone:
        yield f"{', '.join(map(str, gone))}: taken out, as the example's"


def belongs(table: str) -> Iterable[str]:
    """Where the daily files may lie, for CI to read them too; and `table`, where it lies in the repository."""
    yield f"{FOLDER}/ is not in git, as git keeps for ever what it is given, and CI has to read the files too:"
    yield "  in a bucket: copy them there, and name it as data.source in params.yaml, such as s3://bucket/folder"
    yield f"  in git, where they are small and nobody's: remove {FOLDER}/.gitignore"
    yield f"  with DVC (dvc add {FOLDER}) people share them; CI pulls none, and needs one of the other two"
    if table:
        yield f"{table} lies in this repository: its line in .gitignore keeps it out of git"


def following() -> Iterable[str]:
    """What to do now."""
    yield "make pipeline    # data, training, the model's tests; the page is reports/index.html"
    yield "make bars        # proposes bars from what was measured"
    yield "make lint test service probe    # what the pull request will run"
    yield "then README.md, Bring your own problem: write its first page anew, and open the pull request"
