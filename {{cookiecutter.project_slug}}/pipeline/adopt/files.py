"""What adopt writes into contract.yaml, params.yaml and policies/*.yaml: text for people, with the why in comments.

A bar that could be measured follows from the table, with room for chance; one that could not is wide, and waits for
`make bars`. What a team has settled already, such as who approves, stays as it was.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from pipeline import tasks
from pipeline.adopt.decide import SMALL, Choice
from pipeline.adopt.label import REGRESSION
from pipeline.adopt.problem import TESTED, Problem
from pipeline.adopt.starts import MEAN_OF, start
from pipeline.adopt.text import above, aside, below, flow, listed, scalar
from pipeline.policy.data import ratios
from pipeline.reading import decimal

FOLDER = "deliveries"
SHOWN = "card"  # of a model, in promotion.yaml
MANY, MANY_NUMBERS = 20_000, 5_000  # rows of classes and of numbers, from which trees gain by more leaves
CHANCE = 0.001  # of a false alarm of each kind
FAR = 0.2  # a distance from which the world has moved, until `make bars` says more
Measured = Mapping[str, Any]


# --- contract.yaml ---


def contract(ours: Problem) -> str:
    """contract.yaml."""
    label, identifier, time = (ours.of(role) for role in ("label", "id", "time"))
    assert label and identifier
    whose = {role: c for role in ("entity", "group") if (c := ours.of(role))}
    words = {"row": listed(ours.row), **{role: listed(CALLED[role]) for role in whose}, **start(ours).words}
    said = {"column": scalar(label.name), **start(ours).label, "delay": str(ours.label.delay)}
    classes = "; the order of classes is that of their codes: a new one comes last" * ("classes" in said)
    lines = [
        "# yaml-language-server: $schema=policies/schemas/contract.schema.json",
        f"# What a row is, and nothing else. `make adopt` took it from {aside(ours.table)}; now it is yours to change.",
        "",
        f"problem: {scalar(ours.name)} # another name is another problem",
        f"task: {ours.label.task}",
        "words: # what people call them: one, and many",
        *(f"  {name}: {value}" for name, value in words.items()),
        "",
        f"id: {scalar(identifier.name)} # {aside(identifier.why)}",
        f"time: {scalar(time.name)} # {aside(time.why)}"
        if time
        else "time: null # a delivery is whole and replaces the last; its day is its file's name",
        *(f"{role}: {scalar(c.name)} # {aside(c.why)}" for role, c in whose.items()),
        f"label: {flow(said)} # delay: days until it is known; missing: not known yet{classes}",
        "",
        "columns: # a model learns the levels of a category and never sees text; `input: false` hides a column",
        *(f"  {scalar(c.name)}: {column(c)} # {aside(c.why)}" for c in ours.choices),
    ]
    return "\n".join(lines) + "\n"


CALLED = {"entity": ("entity", "entities"), "group": ("group", "groups")}


def column(c: Choice) -> str:
    """A column's block."""
    said = {"type": c.type}
    if c.least:
        said["range"] = "[0, null]"
    if c.levels:
        said["categories"] = str(c.levels)
    if c.missing:
        said["missing"] = "true"
    if c.aside:
        said["input"] = "false"
    if c.format:
        said["format"] = scalar(c.format)
    return flow(said)


# --- params.yaml ---


def params(ours: Problem, snapshot: str) -> str:
    """params.yaml."""
    small, number = ours.family == "linear", ours.label.task == REGRESSION
    many = ours.found.rows >= (MANY_NUMBERS if number else MANY)
    trees, leaves, least = (100, 7, 10) if small else (200, 31, 20) if many else (300 if number else 200, 15, 20)
    last = "the last day of the test; every other day follows from it"
    why = f"under {SMALL:,} rows" if small else f"from {SMALL:,} rows on"
    return f"""# yaml-language-server: $schema=policies/schemas/params.schema.json
data:
  source: {FOLDER} # daily parquet files, YYYY-MM-DD.parquet: a folder, or a URL such as s3://bucket/folder
  until: "{ours.until}" # {last if ours.split else "the delivery that counts"}
  snapshot: "{snapshot}" # pins the files; written by `make snapshot`

train:
  family: {ours.family} # which of the families is shipped, {why}; the others are baselines

families: # each is fitted on its own, and its knobs run it alone again; `network` is one more, and needs torch
  constant: {{}}
  linear: {{penalty: 1.0}}
  trees: {{trees: {trees}, leaves: {leaves}, learning_rate: 0.05, rows_in_leaf: {least}, seed: 0}}

explain:
  seed: 0
  repeats: 3 # shuffles of an input
  rows: 10 # with the highest answers, and the most wrong
  draws: 200 # of an order of the inputs and an ordinary row, for a row's reasons
  reasons: 4 # a row, those that count most
"""


# --- policies ---


def evaluation(ours: Problem) -> str:
    """policies/evaluation.yaml."""
    why = "{}, " + (SETTLES if tasks.task(ours.label.task).SETTLES else SETTLES_NOTHING)
    split = (
        f"""split: # days; between train and test lies the label's delay
  train: {ours.split.train}
  calibrate: {ours.split.calibrate} # {why.format("the last of them")}
  test: {ours.split.test}"""
        if ours.split
        else f"""split:
  share: {TESTED} # of the rows to test on, by a hash of whose they are: on the same side for ever
  calibrate: {ours.settled} # {why.format("of the rows")}"""
    )
    places = ["k: 5 # choose: the first places of a group that are looked at"] if ours.of("group") else []
    knobs = "".join(f"  {knob}\n" for knob in (*start(ours).knobs, *places))
    example = next((c for c in ours.choices if c.input and c.type in ("category", "boolean")), None)
    shown = f"{{column: {scalar(example.name)}, value: …}}" if example else "{column: …, from: 0, to: 10}"
    return f"""# yaml-language-server: $schema=schemas/evaluation.schema.json
# How a model is measured: on which rows, by which slices and groups.

{split}

evaluate:
  resamples: 200 # of the bootstrap
  confidence: 0.95 # of its intervals
  seed: 0
{knobs}  slices: [] # choose: parts that have to be served well too, such as {aside(shown)}
  groups: {{}} # choose: people whom the model has to treat alike, by a column with `input: false`
"""


SETTLES = "which the fit does not see: what the model decides by is settled on them"
SETTLES_NOTHING = "which the fit sees too: with several classes nothing is settled on them"


UNDATED = """
# Rows have no time: `volume`, `level` and `daily` hold a delivery against the one that production learned from, else
# the newest older file. No snapshot pins that one. What else is by day is not judged."""


def data(ours: Problem, measured: Measured) -> str:
    """policies/data.yaml: bars that the table meets, with room."""
    undated = "" if ours.split else UNDATED
    rows, low, high = day_shares(measured)
    lost = len((measured.get("days") or {}).get("missing", ()))
    without = f"{lost} of them have no row, as it is" if lost else "each of them has rows"
    levels = [1.0, *ratios(measured, MEAN_OF)]
    return f"""# yaml-language-server: $schema=schemas/data.schema.json
# What the data has to be before a model learns from it. The bars are those of the table that was adopted, with room;
# `make bars` tightens them.{undated}

rows:
  minimum: {int(below(measured["rows"])):_} # fewer, and a delivery broke off

days: # of the days that are read
  missing: {math.ceil(1.25 * lost) + 1 if lost else 0} # {without}
  behind: 0
  outside: 0

volume: # a day's rows, as a share of the median day's{f": {low:.2g} to {high:.2g} so far" if rows else ""}
  minimum: {decimal(min(0.5, below(low)) if ours.split else 0.7)}
  maximum: {decimal(max(2, above(high)) if ours.split else 1.7)}

level: # the mean of a column of numbers on a day, as a share of the median day's
  rows: {MEAN_OF} # days with fewer count together: chance alone moves them
  minimum: {decimal(min(0.2, below(min(levels))) if ours.split else 0.5)}
  maximum: {decimal(max(5, above(max(levels))) if ours.split else 2)}

duplicates: 0 # share of rows that repeat an identifier

values: {{missing: 0, nan: 0, infinite: 0, out_of_range: 0, unknown: 0}} # the largest share of rows, in any column

columns: {{}} # exceptions to `values`, `level` and `daily`, by column

{in_lines(start(ours).labels, 0)}

daily: # a day beside the others, beyond what chance does in {CHANCE} of whole checks
  chance: {CHANCE}
  clock: 1.5 # hours between a day's mean time and that of the others: another zone
  repeated: 30 # a day with so many different rows is no copy of an earlier one by chance
  constant: 0.5 # a column stands still where chance would not do it, came its other values half as often as usual
  labels: 0.5 # the same of days without a label of some class
  categories: 0.05 # share of the rows with a level that came or went since the last training day
  lost: 0.3 # of a column's values that the median day has, the share that a day lacks

pinned: true # data.snapshot has to pin the files
"""


def day_shares(measured: Measured) -> tuple[dict[str, int], float, float]:
    """Rows by day, and the least and the most of a day as a share of the median day's."""
    rows = {str(day): number for day, number in ((measured.get("days") or {}).get("rows") or {}).items()}
    if not rows:
        return {}, 1, 1
    middle = median(rows.values())
    return rows, min(rows.values()) / middle, max(rows.values()) / middle


def model(ours: Problem) -> str:
    """policies/model.yaml."""
    tested = ours.found.rows / 5
    rows = 50 if tested < 5_000 else 200
    begins, headline = start(ours), tasks.task(ours.label.task).HEADLINE
    return f"""# yaml-language-server: $schema=schemas/model.schema.json
# What a model has to be before it may be merged. Nothing is measured yet, so that these bars ask for little: a model
# that is better than chance, and than a constant. `make bars` proposes others, from what the first model reaches.

metrics: # the interval's worse end
  {in_lines(begins.metrics)}

bytes: 5_000_000 # of the model directory

baselines: # by how much it has to be better than they are
  beaten: [constant] # add the other family once the shipped one is better
  metrics: {{{headline}: 0}}

slices: # of evaluation.yaml, at the better end of their interval
  rows: {rows} # smaller ones are not judged
  each_class: 10
  metrics:
    {begins.slices}

champion: # against what is in production, on the same rows
  confidence: 0.95
  metrics:
    {begins.champion}
  slices:
    {begins.champion_slices}

fairness: # of the groups of evaluation.yaml
  rows: {rows}
  each_class: 10
  groups: {{}} # choose: such as {{age: {begins.rates}}}

contamination: 0 # test rows that this model or the champion was trained on
"""


def in_lines(lines: Iterable[str], indented: int = 2) -> str:
    """Lines of a block."""
    return f"\n{' ' * indented}".join(lines)


BEHAVIOUR = """# yaml-language-server: $schema=schemas/behaviour.schema.json
# What the model has to do, whatever its metrics: sentences that somebody who knows the problem writes. `make bars`
# proposes some, from the model's own directions.

rows: 30 # a case with fewer rows is reported as not judged

# Choose: rows whose answer has to lie above or below; changes that hardly move it; changes that raise or lower it.
functionality: []
invariance: []
direction: []

reliance:
  by: 0 # how much an input, shuffled, has to move the answers; above 0 each input has to be used
"""
"""policies/behaviour.yaml."""


def log(ours: Problem) -> str:
    """policies/log.yaml."""
    personal = {c.name: c.personal for c in ours.choices if c.personal}
    return f"""# yaml-language-server: $schema=schemas/log.schema.json
# What is kept of a person, and for how long: in the prediction log, and wherever a value of a single row is written,
# such as explanations and examples of faulty rows. hash puts a pseudonym in a value's place, omit leaves it out.

# Choose: the columns that lead to a person, or say what is private. adopt knows them by their looks alone.
personal: {flow(personal)}

retention_days: 90 # choose: rows of the prediction log are deleted so many days after they were scored
"""


def drift(ours: Problem, before: Measured) -> str:
    """policies/drift.yaml; who is asked to retrain stays as it was `before`."""
    a_day = ours.a_day or 14
    week = 7 * a_day
    known = f"{a_day:,.0f} {ours.row[1]} a day" if ours.a_day else "how many rows a day will come is not known: choose"
    rows = max(int(below(week)), 20)
    return f"""# yaml-language-server: $schema=schemas/drift.schema.json
# When the world has moved away from the one that the model in production learned from.

window: # {known}
  days: 7
  minimum_days: 3
  rows: {rows} # of a week; with fewer the check fails
  grace_days: 7
  silent_days: 3

evidence_days: 2 # single days that have to miss a bar too; where they are small, equal parts of the window

columns: # standard deviations; what chance does to so few rows is allowed for
  maximum: {FAR}
  exceptions: {{}}

categories: # Jensen-Shannon's distance, 0 to 1
  maximum: {FAR}
  exceptions: {{}}

answer: # of what the model says: numbers in standard deviations, classes Jensen-Shannon's
  maximum: {FAR}

quality: # the largest share of rows, in any column
  missing: 0.01
  out_of_range: 0.01

skew: # the largest share of rows in which an input is not what the source gives
  maximum: 0.02
  exceptions: {{}}

live: # on the newest days whose labels are known
  rows: {max(rows, 50)}
  unlabelled: 0.05
  metrics:
    {in_lines(start(ours).live, 4)}

retrain: {settled(before["retrain"])}
"""


def promotion(ours: Problem, before: Measured) -> str:
    """policies/promotion.yaml; who approves stays as it was `before`."""
    kept = "\n".join(f"{name}: {settled(value)}" for name, value in before.items() if name != SHOWN)
    use = f"{start(ours).use} Say here for whom, and who decides."
    limit = f"It knows the {ours.row[1]} of {ours.table}; others are other data."
    return f"""# yaml-language-server: $schema=schemas/promotion.schema.json
# How a released model gets into production, and what its model card says.

{kept}

{SHOWN}:
  intended_use: {json.dumps(aside(use), ensure_ascii=False)} # choose
  limits: # choose
    - {json.dumps(aside(limit), ensure_ascii=False)}
"""


def settled(value: Any) -> str:
    """A value that was there, in one line."""
    return json.dumps(value, ensure_ascii=False)


# --- what else mentions the example ---


def without_example(stages: str) -> str:
    """dvc.yaml without the simulator and the example's features, as the README takes them out."""
    return re.sub(r" (pipeline/)?(simulate|features)(\.py)?,", "", stages)


IGNORING_ROWS = """# Git keeps for ever what it is given: remove this file where the rows are few, and nobody's.
*
"""
""".gitignore in the folder of the daily files."""


def ignoring(text: str, *paths: str) -> str:
    """.gitignore with the table in it, where that lies in the repository."""
    lines = ["/" + re.sub(r"[\\*?\[\]!# ]", r"\\\g<0>", path) for path in paths]
    new = [line for line in lines if line not in text.splitlines()]
    if not new:
        return text
    why = (
        "# Rows of the table that was adopted: git keeps for ever what it is given. Without this line it is given them."
    )
    return "\n".join([*text.splitlines(), why, *new]) + "\n"
