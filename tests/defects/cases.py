"""The cases: each is one small change on a good repository, and the check that has to turn red; controls stay green.

The attacks, which are more than one change, have a module of their own; so have the cases of other tasks.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from tests.defects.attacks import ATTACKS, gutted, main_with
from tests.defects.case import Case, change
from tests.defects.tasks import TASKS, TASKS_HEALTHY
from tests.defects.whole import HEALTHY, WHOLE
from tests.defects.world import UNTIL, Days, Files, Outcome, World


def edit(name: str, file: str, *changes: tuple[str, str], by: str = "", words: str = "") -> Case:
    """A case that is words replaced in one file."""
    return change(name, lambda world: world.edit(file, *changes), by, words)


def delivery(name: str, spoil: Callable[[Days], Days], by: str = "data", words: str = "") -> Case:
    """A case that is other daily files."""
    return change(name, lambda world: world.delivered(spoil), by, words)


def knobs(name: str, by: str = "", words: str = "", **blocks: Any) -> Case:
    """A case that is other values in params.yaml or policies/evaluation.yaml."""
    return change(name, lambda world: world.knobs(**blocks), by, words)


# --- what a delivery can be spoiled by ---


def on(day: int, spoil: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Days], Days]:
    """Spoils the file of one day, counted back from the last."""
    when = UNTIL - timedelta(days=day)
    return lambda days: {**days, when: spoil(days[when])}


def since(day: int, spoil: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Days], Days]:
    """Spoils the files from a day on."""
    return lambda days: {
        when: spoil(table) if when > UNTIL - timedelta(days=day) else table for when, table in days.items()
    }


def first_rows(number: int, value: float | None) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Another amount in the first rows."""
    amount = pl.when(pl.int_range(pl.len()) < number).then(value).otherwise("tx_amount").cast(pl.Float64)
    return lambda table: table.with_columns(tx_amount=amount)


def labels_of_the_day_before(days: Days) -> Days:
    """Every day's labels are those of the day before, in their order."""
    shifted = {}
    for day, table in days.items():
        labels = days.get(day - timedelta(days=1), table)["tx_fraud"]
        times = -(-len(table) // len(labels))
        shifted[day] = table.with_columns(tx_fraud=pl.concat([labels] * times).head(len(table)))
    return shifted


def without(day: int) -> Callable[[Days], Days]:
    """A day's file is lost."""
    lost = UNTIL - timedelta(days=day)
    return lambda days: {when: table for when, table in days.items() if when != lost}


def channels(days: Days) -> Days:
    """Every row says by which channel it came, and 20 of them by one that nobody has named."""
    named = {day: table.with_columns(channel=pl.lit("chip")) for day, table in days.items()}
    strange = pl.when(pl.int_range(pl.len()) < 20).then(pl.lit("fax")).otherwise("channel")
    return on(3, lambda table: table.with_columns(channel=strange))(named)


def closed_list(world: World) -> Files:
    """A further column of the source, whose levels the contract lists."""
    about = {"type": "category", "categories": ["chip", "online"], "input": False}
    return {**world.delivered(channels), **world.knobs(columns={"channel": about})}


def under_a_pin(world: World) -> Files:
    """A file that somebody has put in the place of another one, after all of them were pinned."""
    clone, files = world.clone(), world.delivered(lambda days: days)
    (clone / "params.yaml").write_text(files["params.yaml"] or "")
    done = world.python("-m", "pipeline.source", "--snapshot", folder=clone)
    assert done.returncode == 0, done.stdout
    pinned = (clone / "params.yaml").read_text()
    day = Path(yaml.safe_load(pinned)["data"]["source"]) / f"{UNTIL}.parquet"
    first_rows(20, 5.0)(pl.read_parquet(day)).write_parquet(day)
    return {"params.yaml": pinned}


def yesterday_again(days: Days) -> Days:
    """The newest file is the one of the day before, under the new name."""
    return {**days, UNTIL: days[UNTIL - timedelta(days=1)]}


def later(hours: int) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """By the clock of another zone."""
    return lambda table: table.with_columns(pl.col("tx_datetime") + pl.duration(hours=hours))


def week_ago(more: float) -> Callable[[Days], Days]:
    """A day's file is that of a week before, with new identifiers and times; and with amounts that are `more`."""
    when, week = UNTIL - timedelta(days=9), timedelta(days=7)
    moved = (pl.col("transaction_id") + 10**15, pl.col("tx_datetime") + week, pl.col("tx_amount") + more)
    return lambda days: {**days, when: days[when - week].with_columns(moved)}


def every(amount: float, share: int = 1) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Every so manieth row has one amount."""
    still = pl.when(pl.int_range(pl.len()) % share == 0).then(amount).otherwise("tx_amount")
    return lambda table: table.with_columns(tx_amount=still)


def honest(table: pl.DataFrame) -> pl.DataFrame:
    """Nobody has reported a fraud."""
    return table.with_columns(tx_fraud=pl.lit(0, pl.Int64))


def seldom(table: pl.DataFrame) -> pl.DataFrame:
    """Three frauds are reported, of some thirty."""
    first = pl.col("tx_fraud").cum_sum() <= 3
    return table.with_columns(tx_fraud=pl.when(first).then("tx_fraud").otherwise(0))


def by_channel(spoil: Callable[[Days], Days]) -> Callable[[World], Files]:
    """A further column of the source, whose levels are learned, and which some rows miss."""
    number, channel = pl.int_range(pl.len()), pl.when(pl.col("customer_id") % 10 < 3).then(pl.lit("online"))
    told = pl.when(number % 20 > 0).then(channel.otherwise(pl.lit("chip"))).alias("channel")
    about = {"type": "category", "categories": 20, "missing": True, "input": False}

    def files(world: World) -> Files:
        def named(days: Days) -> Days:
            return spoil({day: table.with_columns(told) for day, table in days.items()})

        return {**world.delivered(named), **world.knobs(columns={"channel": about})}

    return files


def called(name: str, share: int = 1) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Every so manieth row that came online came by another channel, or by one that goes by another name."""
    there = (pl.col("channel") == "online") & (pl.int_range(pl.len()) % share == 0)
    return lambda table: table.with_columns(channel=pl.when(there).then(pl.lit(name)).otherwise("channel"))


def silent(share: int) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Every so manieth row does not say by which channel it came."""
    return lambda table: table.with_columns(channel=pl.when(pl.int_range(pl.len()) % share > 0).then("channel"))


CENTS = pl.col("tx_amount") * 100

DATA = [
    delivery(
        "A renamed column",
        on(0, lambda table: table.rename({"tx_amount": "amount"})),
        words="has no column `tx_amount`",
    ),
    delivery(
        "A wrong type",
        on(0, lambda table: table.cast({"tx_amount": pl.String})),
        words="`tx_amount` is text,",
    ),
    delivery("Nulls", on(3, first_rows(20, None)), words="values.missing"),
    delivery("Duplicated ids", on(3, lambda table: pl.concat([table, table.head(50)])), words="repeat an identifier"),
    delivery("Values out of range", on(3, first_rows(20, -5.0)), words="values.out_of_range"),
    delivery("Cents for euros", since(10, lambda t: t.with_columns(tx_amount=CENTS)), words="level.maximum"),
    delivery("A stale file", yesterday_again, words="days.behind"),
    delivery("A missing day", without(12), words="days.missing"),
    delivery("Labels shifted by a day", labels_of_the_day_before, by="test", words="metrics.roc_auc.minimum"),
    delivery("A batch that lost most of its rows", on(9, lambda table: table.head(500)), words="volume.minimum"),
    change("A level that a closed list lacks", closed_list, "data", "values.unknown"),
    change("Another file under a pin", under_a_pin, "data", "data.snapshot is sha256"),
    delivery("A clock of another zone", on(9, later(6)), words=r"daily.clock.*1 of 35 days have other hours"),
    delivery("An earlier day under a new date", week_ago(0), words="daily.repeated.*: the rows of 2018-07-29"),
    delivery("A column that stands still", on(9, every(50.0)), words="daily.constant.*tx_amount stands still"),
    delivery("Labels that stopped coming", since(10, honest), words="daily.labels.*no positive label"),
    change("A renamed level", by_channel(since(3, called("Online"))), "data", "daily.categories.*'Online' is new"),
    change("A jump of missing values", by_channel(on(9, silent(2))), "data", "daily.lost.*channel lost values"),
    *WHOLE,
]

# --- what code can do to a model ---

NETWORK = "pipeline/families/network.py"
RAW = ("found = np.concatenate(parts)\n", "found = answer(np.concatenate(parts), rows.values)\n")
GRAPH = ("found = op.cast(found, to=np.float64)\n", "found = answered(op.cast(found, to=np.float64), rows, op)\n")
END = "def edges(state: bytes)"


def network(world: World, array: str, graph: str) -> Files:
    """The network with other answers than it was trained for, in its graph too: of `raw` and of the columns `rows`."""
    lines = (
        *("def answer(raw: Array, rows: Array) -> Array:", f"    return {array}", "", ""),
        *("def answered(raw: Var, rows: Var, op: Any) -> Var:", f"    return {graph}", "", "", END),
    )
    return world.edit(NETWORK, RAW, GRAPH, (END, "\n".join(lines)))


def answers(name: str, array: str, graph: str, words: str) -> Case:
    """A case in which the network answers otherwise."""
    return change(name, lambda world: network(world, array, graph), "test", words)


OFTEN, NIGHT = 5, 2  # places of customer_nb_tx_7d and tx_during_night among the inputs of the small bake
COLUMN = "op.gather(rows, op.const(np.array([{}])), axis=1)"

BETTER = r"--- \| \| average precision \| [\d.]+ \| [\d.]+ \| \*\*0\."  # than the champion, in the report's first row


def better_and_worse(world: World) -> Files:
    """A larger network that learns from more days, and that at night has what it is not sure of upside down."""
    down = "op.sub(op.const(-9.0), op.mul(op.const(0.1), raw))"
    night, doubt = f"op.greater({COLUMN.format(NIGHT)}, op.const(0.0))", "op.less(raw, op.const(2.2))"
    return {
        **network(
            world,
            f"np.where((rows[:, [{NIGHT}]] > 0) & (raw < 2.2), -9 - 0.1 * raw, raw)",
            f"op.where(op.and_({night}, {doubt}), {down}, raw)",
        ),
        **world.knobs(families={"network": {"epochs": 12, "hidden": [64, 32]}}, split={"train": 24, "test": 14}),
    }


CHECKED = "    known = checked(loaded(state), columns_of(rows), categories, loss, width)\n"
HALVED = f"""{CHECKED}\
    known |= {{name: known[name].astype(np.float16).astype(np.float32) for name in known if name.startswith("layers")}}
"""

MODEL = [
    edit(
        "A label leaked into a feature",
        "pipeline/features.py",
        ("(pl.col(TIME).dt.hour() <= 6).cast(pl.Int64)", "pl.col(LABEL).cast(pl.Int64)"),
        by="test",
        words="look at the input in",
    ),
    edit(
        "Train and test overlapping",
        "pipeline/params.py",
        ("train_last = test_first - timedelta(days=delay + 1)", "train_last = test_first + timedelta(days=2)"),
        by="test",
        words="contamination",
    ),
    knobs(
        "A worse model",
        "test",
        "champion.metrics.average_precision",
        families={"network": {"epochs": 1, "learning_rate": 1e-4}},
    ),
    Case(
        "Better over all, worse on a slice",
        lambda world: world.pull_request(better_and_worse(world)),
        "test",
        r"champion\.slices\S* \(\S+\) found \S+ where tx_during_night is 1",
        given=BETTER,
    ),
    answers(
        "An unfair model",
        f"np.where(rows[:, [{OFTEN}]] < 23, -raw, raw)",
        f"op.where(op.less({COLUMN.format(OFTEN)}, op.const(23.0)), op.neg(raw), raw)",
        words="fairness.groups.use",
    ),
    answers(
        "A mis-calibrated model",
        "raw + 3",
        "op.add(raw, op.const(3.0))",
        words="metrics.calibration_error.maximum",
    ),
    edit(
        "A network that ignores an input",
        NETWORK,
        (
            "    state = cut(rows, ",
            f"    seen = np.arange(rows.values.shape[1]) != {NIGHT}\n"
            "    state = cut(Matrix(rows.values * seen, rows.names, rows.categories), ",
        ),
        by="test",
        words="tx_during_night, shuffled",
    ),
    edit(
        "An export that differs from what was trained",
        NETWORK,
        (CHECKED, HALVED),
        by="train",
        words="the exported graph differs from the fitted network",
    ),
]

SERVICE = [
    edit(
        "A service that does not start",
        "pipeline/service.py",
        (
            "        self.meters = meters = Meters(",
            '        os.environ["LICENSE"]\n        self.meters = meters = Meters(',
        ),
        by="measure",
        words="did not start within",
    ),
    edit(
        "A service that answers slowly",
        "pipeline/service.py",
        ("        said = task.answer(", "        time.sleep(0.3)\n        said = task.answer("),
        ("import os\n", "import os\nimport time\n"),
        by="measure",
        words="latency_ms.p99",
    ),
    edit(
        "A service that changed its contract",
        "pipeline/service.py",
        ("identifiers, **said}", 'identifiers, "probability": said["score"]}'),
        by="measure",
        words="the service's answers are not those of the model that was tested",
    ),
]

# --- what hands can do to the rules ---

NIGHTLY = """\
name: Nightly

on:
  workflow_dispatch:

permissions: {}

concurrency:
  group: nightly
  cancel-in-progress: false

jobs:
  nightly:
    name: Nightly
    runs-on: ubuntu-latest
    timeout-minutes: 5
    permissions:
      contents: read # to check out
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false
"""


def workflow(name: str, old: str, new: str, words: str) -> Case:
    """A case that is a new workflow, good but for one thing."""
    return change(name, lambda world: {".github/workflows/nightly.yml": NIGHTLY.replace(old, new)}, "checks", words)


def policy(world: World, file: str, pattern: str, to: str) -> Files:
    """A policy with something else in the place of a pattern."""
    text, found = re.subn(pattern, to, world.read(f"policies/{file}.yaml"), count=1)
    assert found, pattern
    return {f"policies/{file}.yaml": text}


RULES = [
    Case(
        "A loosened policy without its owner",
        lambda world: world.without_owner(
            policy(world, "model", r"roc_auc: {minimum: [0-9.]+", "roc_auc: {minimum: 0")
        ),
        "owner",
        "An owner of `policies/`",
    ),
    change(
        "A policy with a typo",
        lambda world: policy(world, "model", "roc_auc: {minimum", "roc_auc: {minimun"),
        "test",
        "minimun is no bar here; did you mean `minimum`",
    ),
    change("A change to the judge itself", gutted, "report", "by the judge and the bars of the base branch"),
    workflow(
        "An unpinned action",
        "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
        "@v7",
        words="unpinned-uses",
    ),
    workflow(
        "A workflow that gives itself write permission",
        "permissions: {}",
        "permissions: write-all",
        "excessive-permiss",
    ),
]

OTHERS = (
    "(pl.col('customer_nb_tx_7d') * pl.col('customer_avg_amount_7d') - pl.col('tx_amount'))"
    " / (pl.col('customer_nb_tx_7d') - 1).clip(lower_bound=1)"
)
"""A customer's mean amount before the row, which training takes with it."""

WORLD = [
    Case(
        "A drifted batch",
        lambda world: world.drift('rows.with_columns(tx_amount=pl.col("tx_amount") * (1 + new.cast(pl.Float64)))'),
        "drift",
        "tx_amount is",
    ),
    Case(
        "A prediction log that lost half of its rows",
        lambda world: world.drift(kept="logged.gather_every(2)"),
        "drift",
        "could not tell: the log holds",
    ),
    Case(
        "A caller that averages without the row itself",
        lambda world: world.drift(kept=f"logged.with_columns(customer_avg_amount_7d={OTHERS})"),
        "drift",
        "customer_avg_amount_7d is not what the source gives .* Skew: not what the source gives",
    ),
]

DEFECTS = [*DATA, *MODEL, *SERVICE, *RULES, *WORLD, *TASKS]

# --- controls ---


def refactored(world: World) -> Files:
    """A function by another name."""
    return world.edit("pipeline/features.py", ("_ratio(", "_mean("))


def unknown_labels(world: World) -> Outcome:
    """The newest rows' labels are not known yet, as main's contract allows; whatever they are, they teach nothing."""
    late = pl.when(pl.int_range(pl.len()) % 4 > 0).then("tx_fraud")
    with main_with(world, world.knobs(columns={"tx_fraud": {"missing": True}})):
        found = world.pull_request(world.delivered(since(2, lambda table: table.with_columns(tx_fraud=late))))
    return heard(found, "train")


def mended(world: World) -> Outcome:
    """A day that main has read already is mended where it lies; nothing of the tree says so."""
    day = world.days / f"{UNTIL - timedelta(days=3)}.parquet"
    before = day.read_bytes()
    first_rows(20, 5.0)(pl.read_parquet(day)).write_parquet(day)
    try:
        found = world.pull_request({"tests/test_columns.py": UNIT_TEST})
    finally:
        day.write_bytes(before)
    return heard(found, "data")


def heard(found: Outcome, job: str) -> Outcome:
    """With what a job said that is not red."""
    return Outcome(found.red, found.said + found.run.jobs[job].log, found.run) if found.run else found


def bumped(world: World) -> Files:
    """Locks that another resolver wrote: hashes in another order. The environment of the tests is not touched."""
    return {
        name: "\n".join([*lines, ""])
        for name in ("requirements-service.txt", "requirements-train.txt")
        if (lines := reordered(world.read(name).rstrip("\n").split("\n")))
    }


def reordered(lines: list[str]) -> list[str]:
    """A lock whose last package has its first two hashes exchanged."""
    last = max(at for at, line in enumerate(lines) if line.endswith("\\") and "--hash" not in line)
    one, other = lines[last + 1 : last + 3]
    ends = " \\" if other.endswith("\\") else ""
    return [*lines[: last + 1], other.removesuffix(" \\") + " \\", one.removesuffix(" \\") + ends, *lines[last + 3 :]]


def sliced(world: World) -> Files:
    """One more slice is measured."""
    slices = yaml.safe_load(world.read("policies/evaluation.yaml"))["evaluate"]["slices"]
    return world.knobs(evaluate={"slices": [*slices, {"column": "customer_nb_tx_7d", "to": 5}]})


UNIT_TEST = """\
from pipeline import contract


def test_what_is_predicted_is_no_input() -> None:
    ours = contract.load()
    assert ours.label.column not in [column.name for column in ours.inputs]
"""

CONTROLS = [
    change("Documentation", lambda world: {"README.md": "Other words.\n"}),
    change("A refactoring", refactored),
    change("A new unit test", lambda world: {"tests/test_columns.py": UNIT_TEST}),
    knobs("More data from the same world", data={"until": str(UNTIL + timedelta(days=3))}),
    knobs("A better model", families={"network": {"epochs": 10}}),
    change(
        "A stricter policy that holds",
        lambda world: policy(world, "model", r"roc_auc: {minimum: 0.70?}", "roc_auc: {minimum: 0.71}"),
    ),
    change("A renamed branch", lambda world: {"tests/test_columns.py": UNIT_TEST}, branch="feature/other-name"),
    change("A dependency bump", bumped),
    change("A new slice", sliced),
    Case(
        "Labels that are not known yet",
        unknown_labels,
        words=r"; [1-9][\d,]* labels are not known yet",
    ),
    delivery("A clock set to summer time", on(9, later(1)), by=""),
    delivery("A day that is like an earlier one", week_ago(0.01), by=""),
    delivery("An amount that half of a day's rows have", on(9, every(50.0, 2)), by=""),
    delivery("A day with few frauds", on(9, seldom), by=""),
    change("A new level that few rows have", by_channel(since(3, called("fax", 10)))),
    change("A day that misses some more values", by_channel(on(9, silent(5)))),
    *HEALTHY,
    Case("A mended day", mended, words="Running stage 'ingest'"),
    knobs("A longer window", split={"train": 9}),
    Case(
        "A batch that only has fewer rows",
        lambda world: world.drift(kept="logged.filter(pl.int_range(pl.len()) % 5 > 0)"),
    ),
    Case(
        "A caller that rounds its averages",
        lambda world: world.drift(kept="logged.with_columns(pl.col('^customer_avg.*$').round(2))"),
    ),
    *TASKS_HEALTHY,
]

CASES = [*DEFECTS, *CONTROLS, *ATTACKS]
