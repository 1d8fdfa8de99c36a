"""Whether who asks computes the inputs as the model learned them: rows of the log, made again from the source.

A sample of the rows that the model in production answered is joined, by identifier, to what `rows` makes of the source
of their days, as training would. Training and serving that compute one input in two ways is what Breck et al., The ML
Test Score (2017), Monitor 3, ask to watch: no distance between distributions shows it for sure, and no retraining mends
it. Inputs that policies/log.yaml hashes or leaves out are not compared.
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl
import yaml

from pipeline import ingest, params, personal, rows
from pipeline.contract import Contract
from pipeline.counts import LEVELS
from pipeline.log import TIME
from pipeline.logged import DRAWN, ENOUGH, KEY, Day, identifiers, joined_by, joins
from pipeline.model import Input
from pipeline.params import BadInput
from pipeline.reading import in_a_line
from pipeline.reference import DAY

ROWS = 10_000  # that are made again, of all days together, as many of each
NEAR = 1e-3  # of a number, or of its column's mean size: float32 and values rounded to four digits are no other way
SECOND = 1 / 86_400  # days, which times are counted in: many write whole seconds
AT, ANY = "_at", "_any"  # a row of the sample; whether one of its columns differs
MADE, ODD = "_made_", "_odd_"  # how the columns begin that were made again, and those that say whether they differ

Facts = dict[str, Any]


def measured(
    logged: Sequence[Day],
    inputs: Sequence[Input],
    delivered: Sequence[date] | None,
    ours: Contract,
    knobs: Mapping[str, Any],
    learned: str | None,
) -> Facts:
    """How many of the rows differ, by day and by column; `unmeasured` says why where that cannot be told.

    logged: the days to compare, with rows in `some`.
    delivered: the days of the source's files, in order; None where it has any day.
    inputs: of the model in production, those that the log keeps as they are.
    learned: the commit that the model in production learned from, where it is known.
    """
    known = {column.name: column.type for column in ours.inputs}
    compared = [column for column in inputs if known.get(column.name) == column.type]
    private = [name for name in known if name in personal.rules()]
    left_out = [*private, *(column.name for column in inputs if column not in compared)]
    try:
        check_same(ours, knobs, learned)
        sample = sampled(logged)
        parts = list(spans(sample, delivered, ours, knobs))
        both = pl.concat(remade(sample, parts, compared, ours, knobs), how="vertical_relaxed")
        found = told(differing(both, compared), compared)
        looked_for = pl.concat([sample.clear(), *(asked for _, _, asked in parts)])[AT].n_unique()
    except BadInput as error:
        return {**nothing(), "left_out": left_out, "unmeasured": in_a_line(error)[:400]}
    return {**found, "lost": looked_for - found["rows"], "left_out": left_out, "unmeasured": None}


def nothing() -> Facts:
    """The facts where nothing was compared."""
    return {"rows": 0, "lost": 0, "share": None, "newest": None, "columns": [], "days": []}


def check_same(ours: Contract, knobs: Mapping[str, Any], learned: str | None) -> None:
    """Raises BadInput where inputs are computed in another way here than when the model in production learned."""
    if ours.computed is None or learned is None:
        return
    code, then = at_commit(learned, str(rows.FILE)), yaml.safe_load(at_commit(learned, str(params.PARAMS)) or "{}")
    now = rows.FILE.read_text() if rows.FILE.exists() else ""  # where it is gone, `rows` says so
    if code and now and (code != now or then.get("features") != knobs.get("features")):
        raise BadInput(
            f"{rows.FILE}, or `features` in {params.PARAMS}, is another one than the model in production learned by: "
            "it is compared again once a model of this code is in production"
        )


def at_commit(commit: str, path: str) -> str:
    """A file as a commit has it; nothing where git does not know."""
    done = subprocess.run(["git", "show", f"{commit}:./{path}"], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def sampled(logged: Sequence[Day]) -> pl.DataFrame:
    """The rows to compare, with KEY, DAY and AT. Raises BadInput where there are none, or nothing to join them by."""
    asked = [of for of in logged if len(of.some)]
    if not asked:
        raise BadInput("the log has no row of the model in production on the days that the source has delivered")
    parts = (of.some.bottom_k(ROWS // len(asked), by=DRAWN).with_columns(pl.lit(of.day).alias(DAY)) for of in asked)
    sample = pl.concat(parts, how="diagonal_relaxed")
    if not identifiers(sample):
        raise BadInput("the log has no identifiers to find its rows by: policies/log.yaml leaves them out")
    return sample.with_columns(joined_by(sample)).drop_nulls(KEY).with_row_index(AT)


# --- made again ---


Part = tuple[date, date, pl.DataFrame]
"""Days of the source to read at a time, and what of the sample may be in them."""


def remade(
    sample: pl.DataFrame, parts: Sequence[Part], inputs: Sequence[Input], ours: Contract, knobs: Mapping[str, Any]
) -> Iterator[pl.DataFrame]:
    """The sample's rows that the source has, with its inputs as MADE; once for each delivery that may have had them."""
    yield with_made(sample, None, inputs, ours, knobs)  # the columns, where no delivery has a row
    for first, last, asked in parts:
        source = ingest.between(knobs, first, last, ours) if ours.dated else ingest.delivery(knobs, last, ours)
        if ours.computed is None:
            source = source.filter(joins(source, ours.id, sample).is_in(asked[KEY].implode()))
        if len(source):
            yield with_made(asked, source, inputs, ours, knobs)


def spans(
    sample: pl.DataFrame, delivered: Sequence[date] | None, ours: Contract, knobs: Mapping[str, Any]
) -> Iterator[Part]:
    """The parts of the source that the sample is looked for in.

    Columns of the source are read day by day; what is computed of them looks back. A whole delivery is held against the
    rows since the one before it and until the next: values may have changed between two. Days are passed over whose
    file is not there, or which look back to before the first one.
    """
    known = delivered or ()
    if not ours.dated:
        for before, this, after in zip([None, *known], known, [*known[1:], None], strict=False):
            since = pl.col(DAY) >= before if before else pl.lit(True)
            asked = sample.filter(since & (pl.col(DAY) < after if after else pl.lit(True)))
            if len(asked):
                yield this, this, asked
        return
    back = timedelta(days=params.lookback(knobs, ours.label.delay) if ours.computed is not None else 0)
    days = [day for day in sorted(sample[DAY].unique()) if delivered is None or day in known and known[0] <= day - back]
    if ours.computed is None:
        yield from ((day, day, sample.filter(pl.col(DAY) == day)) for day in days)
    elif days:
        yield days[0] - back, days[-1], sample.filter(pl.col(DAY).is_in(days))


def with_made(
    asked: pl.DataFrame, source: pl.DataFrame | None, inputs: Sequence[Input], ours: Contract, knobs: Mapping[str, Any]
) -> pl.DataFrame:
    """Rows of the sample that the source has: the inputs as they were logged, and as MADE."""
    names = [column.name for column in inputs]
    if source is None:
        made = pl.DataFrame(schema={KEY: pl.String, **{c.name: rows.INPUTS[c.type] for c in inputs}})
    else:
        made = rows.made(source, ours, knobs.get("features") or {})
        made = made.with_columns(joins(made, ours.id, asked).alias(KEY)).unique(KEY, keep="last")
    made = made.select(KEY, pl.col(names).name.prefix(MADE))
    lacks = [pl.lit(None).alias(name) for name in names if name not in asked.columns]
    both = asked.with_columns(lacks).join(made, on=KEY, maintain_order="left")
    if not ours.dated and ours.computed is None and source is not None:  # days before the delivery, not before the row
        later = (pl.col(TIME) - source[ours.time][0]).dt.total_microseconds() / 86_400e6
        both = both.with_columns(pl.col(MADE + column.name) + later for column in inputs if column.type == "time")
    return both.select(AT, DAY, *(value(c, of) for c in inputs for of in (c.name, MADE + c.name)))


def value(column: Input, name: str) -> pl.Expr:
    """A column as it is compared: text, or a number, null for what is none."""
    if column.text:
        text = pl.col(name).cast(pl.String)
        return pl.when(text != "").then(text).alias(name)
    return pl.col(name).cast(pl.Float64).fill_nan(None)


# --- compared ---


def differing(both: pl.DataFrame, inputs: Sequence[Input]) -> pl.DataFrame:
    """Each row of the sample that the source has, once, with ODD columns; of two deliveries one has to agree."""
    flags = both.with_columns(differs(column, both).alias(ODD + column.name) for column in inputs)
    odd = [ODD + column.name for column in inputs]
    values = [name for name in both.columns if name != AT]
    return flags.group_by(AT, maintain_order=True).agg(pl.col(values).last(), pl.col(odd).all())


def differs(column: Input, both: pl.DataFrame) -> pl.Expr:
    """Whether a value is another than the one made again; nothing is as good as nothing."""
    said, made = pl.col(column.name), pl.col(MADE + column.name)
    if column.type in ("number", "time"):
        sizes = both[MADE + column.name].abs()
        usual: Any = sizes.filter(sizes.is_finite()).mean() or 0.0
        size = pl.when(made.is_finite()).then(made.abs()).otherwise(0.0)
        near = SECOND if column.type == "time" else NEAR * pl.max_horizontal(size, pl.lit(usual))
        other = (said != made) & ~((said - made).abs() <= near)  # infinity is near to nothing but itself
    else:
        other = said != made
    return pl.when(said.is_null() | made.is_null()).then(said.is_null() != made.is_null()).otherwise(other)


def told(compared: pl.DataFrame, inputs: Sequence[Input]) -> Facts:
    """The shares of rows that differ: of all, of the newest days, by day; each column that does, with an example."""
    odd = {column.name: ODD + column.name for column in inputs}
    compared = compared.with_columns(pl.any_horizontal(pl.lit(False), *odd.values()).alias(ANY)).sort(DAY)
    by_day = [day for _, day in compared.group_by(DAY, maintain_order=True)]
    newest = newest_of(by_day)
    strays = [column for column in inputs if compared[odd[column.name]].any()]
    return {
        "rows": len(compared),
        "share": compared[ANY].mean(),
        "newest": {"day": newest[DAY].min(), "until": newest[DAY].max(), "rows": len(newest)} if by_day else None,
        "columns": [
            {
                "name": column.name,
                "share": compared[odd[column.name]].mean(),
                "newest": newest[odd[column.name]].mean(),
                "example": example(column, compared.filter(pl.col(odd[column.name]))),
            }
            for column in strays
        ],
        "days": [
            {
                "day": day[DAY][0],
                "rows": len(day),
                "share": day[ANY].mean(),
                "columns": {column.name: day[odd[column.name]].mean() for column in strays},
            }
            for day in by_day
        ],
    }


def newest_of(days: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The rows of the newest day, with those before it where they are fewer than ENOUGH."""
    at = len(days) - 1
    while at > 0 and sum(map(len, days[at:])) < ENOUGH:
        at -= 1
    return pl.concat(days[at:]) if days else pl.DataFrame()


def example(column: Input, odd: pl.DataFrame) -> Facts:
    """What stood in the newest of such rows, and what was made again; of a text only what was learned is shown."""
    logged, made = odd.select(column.name, MADE + column.name).row(-1)
    return {"logged": shown(logged, column), "made": shown(made, column)}


def shown(value: Any, column: Input) -> str:
    """A value, for people: text of the log that was not learned is not shown."""
    if value is None:
        return "nothing"
    if column.text:
        return value if value in column.levels[:LEVELS] else "another level"
    return ("false", "true")[int(value)] if column.type == "boolean" and value in (0, 1) else f"{value:.6g}"
