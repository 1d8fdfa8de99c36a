"""What the columns of a table hold, over all of its rows: types, missing values, dates, what does not fit.

Two columns are in memory at a time. Of one with few values each value is looked at once, whatever the rows; of one with
many, the format is told from some of them, and held against all.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from pipeline.adopt.table import Table, temporary
from pipeline.params import BadInput
from pipeline.places import first_line

AT_ONCE = 2  # columns that are profiled side by side, in memory
DISTINCT = 10_000  # values that are counted, each; as many levels of a category are learned at most
TOP = 100  # as many classes as a label may have
FEW = 50  # values, at most, that are levels of a category though most are numbers
EXAMPLES = 5
SAMPLE = 2_000  # values from which a format is told
NEARLY = 0.95  # of the values have a type: it is the column's, and the rest is odd
CLOSE = 0.8  # of them have it: cannot tell
LONGEST = 1_000  # characters of a category: the service takes no more
EXACT = 2**53  # whole numbers beyond are not exact as decimals
HUGE = 2**63  # and these have no 64 bits


@dataclass(frozen=True)
class Profile:
    """What a column holds."""

    name: str
    type: str  # integer, number, boolean, category, text, time; "empty" (no value at all) or "mixed" (cannot tell)
    rows: int
    missing: int  # nulls, and texts that stand for none
    markers: tuple[str, ...]  # those texts, as they stand: "", "?", "NA", "NULL", ...
    distinct: int  # values that are there
    unique: bool  # whether every row has a value and no two the same; never of numbers with decimals
    value: Callable[[], pl.Expr]  # makes the column in its type (rows.TYPES) out of the frame's; what is odd is null
    minimum: Any = None  # of numbers and times
    maximum: Any = None
    top: tuple[tuple[Any, int], ...] = ()  # the most frequent values with their rows, where DISTINCT at most
    odd: tuple[str, ...] = ()  # examples of what does not fit the type that nearly all values have
    odd_rows: int = 0
    words: tuple[str, str] | None = None  # of a boolean in words: its false and its true, as they stand
    order: str | None = None  # of a date as text: iso, dmy, mdy, or unclear, where 03/04 could be either in every row
    format: str | None = None  # of a date as text, as polars' strptime takes it
    exact: bool = True  # whether `distinct` is; beyond DISTINCT values, it may be off by some percent
    repeated: tuple[
        tuple[Any, int], ...
    ] = ()  # where nearly each row has its own value: some that others share, and rows
    personal: str | None = None  # "names", "mail addresses", "phone numbers", ...
    about: Mapping[str, Any] = field(default_factory=dict)
    """dtype (of the frame); of text: length and words (means), spaces (rows with some around the value, which `value`
    strips), zeros (numbers with zeros before them: no numbers); decimals: whole numbers that are written 1.0."""

    @property
    def number(self) -> str:
        """How many values there are, for people."""
        return f"{'' if self.exact else 'about '}{self.distinct:,}"


def profile(table: Table, show: bool = True) -> dict[str, Profile]:
    """A profile a column, by name, over all rows. `show` draws a progress bar, where somebody watches stderr.

    Raises BadInput where the rows cannot be read, or hold nothing.
    """
    from tqdm import tqdm

    names = table.frame.collect_schema().names()
    bar = tqdm(total=len(names) + 1, desc="profile", unit="column", leave=False, disable=None if show else True)
    with bar:
        frame = stored(table)
        bar.update()

        def found(name: str) -> Profile:
            values = frame.select(name).collect(engine="streaming").to_series()
            if len(values) != table.rows:
                raise BadInput(
                    f"{table.where}: has {table.rows:,} lines, of which {len(values):,} rows are read: "
                    'quotes (") stand within fields; double those that are text ("")'
                )
            return of_column(values, table.decimal_comma)

        profiles = {}
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            for name, column in zip(names, pool.map(found, names), strict=True):
                profiles[name] = column
                bar.set_postfix_str(name[:30])
                bar.update()
    if all(column.type == "empty" for column in profiles.values()):
        raise BadInput(f"{table.where}: no column holds a value; name a table that does")
    return profiles


def stored(table: Table) -> pl.LazyFrame:
    """The frame, by columns: a CSV as parquet in a temporary folder, as a column of it costs as much as all."""
    if not table.kind.startswith("CSV"):
        return table.frame
    copy = temporary()
    try:
        table.frame.sink_parquet(copy, compression="uncompressed", statistics=False, engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise BadInput(
            f"{table.where}: cannot be read as CSV ({first_line(error)}); mend that line, or save it again"
        ) from None
    return pl.scan_parquet(copy, glob=False)


def of_column(values: pl.Series, comma: bool = False) -> Profile:
    """What a column holds; `comma` where numbers as text are written 1,5."""
    dtype, there = values.dtype, values.drop_nulls() if values.null_count() else values
    known = {"name": values.name, "rows": len(values), "about": {"dtype": str(dtype)}}
    if not len(there):
        return empty(values, known)
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return of_text(there.cast(pl.String), known, comma)
    if dtype == pl.Boolean:
        return of_boolean(there, known)
    return of_time(there, known) if dtype.is_temporal() else of_number(there, known)


def empty(values: pl.Series, known: dict[str, Any], markers: Sequence[str] = ()) -> Profile:
    """A column without a value."""
    name, blank = values.name, ("",) * (values.dtype == pl.String and values.null_count() > 0)
    return Profile(
        type="empty",
        missing=known["rows"],
        markers=(*blank, *sorted(set(markers) - {*blank})),
        distinct=0,
        unique=False,
        value=lambda: pl.when(pl.lit(False)).then(pl.col(name).cast(pl.String)).alias(name),
        **known,
    )


# --- of a type of its own ---


def of_boolean(there: pl.Series, known: dict[str, Any]) -> Profile:
    """True and false."""
    name = there.name
    return as_it_is("boolean", there, known, lambda: pl.col(name))


def of_time(there: pl.Series, known: dict[str, Any]) -> Profile:
    """Dates and moments; those of a time zone are converted to UTC."""
    name, zone = there.name, getattr(there.dtype, "time_zone", None)

    def value() -> pl.Expr:
        moment = pl.col(name)
        if zone:
            moment = moment.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return moment.cast(pl.Datetime("us"))

    moments = there.to_frame().select(value()).to_series()
    return as_it_is("time", moments, known, value, minimum=moments.min(), maximum=moments.max())


def of_number(there: pl.Series, known: dict[str, Any]) -> Profile:
    """Numbers; whole ones are integers, also where they are stored as decimals. NaN is missing, infinity odd."""
    name, infinite = there.name, 0
    markers: tuple[str, ...] = ()
    if there.dtype.is_float():
        infinite = int(there.is_infinite().sum())
        good = there.filter(there.is_finite()) if infinite or there.is_nan().any() else there
        markers = ("NaN",) if len(good) + infinite < len(there) else ()
    else:
        good = there
    if not len(good):
        return empty(there, known) if not infinite else mixed(there, known, ("inf",), infinite)
    whole = good.dtype.is_integer() or bool((good == good.round(0)).all())
    low: Any = good.min()
    high: Any = good.max()
    if good.dtype.is_integer() and not (low >= -HUGE and high < HUGE):
        return mixed(there, known, (str(high),), len(good.filter(good >= HUGE)))
    whole = whole and (good.dtype.is_integer() or (abs(float(low)) < EXACT and abs(float(high)) < EXACT))
    python: Callable[[Any], Any] = int if whole else float

    def value() -> pl.Expr:
        number = pl.col(name)
        if there.dtype.is_float():
            number = pl.when(number.is_finite()).then(number)
        return number.cast(pl.Int64 if whole else pl.Float64)

    if whole and low >= FIRST_DAY and high <= LAST_DAY and not infinite:
        days = good.to_frame().select(to_time(value().cast(pl.String), COMPACT)).to_series()
        if not days.null_count() and days.n_unique() >= FEW_DAYS:
            ends = {"minimum": days.min(), "maximum": days.max(), "order": "iso", "format": COMPACT}
            return as_it_is("time", days, known, lambda: to_time(value().cast(pl.String), COMPACT), **ends)
    counts = counted(good)

    about = known["about"] | ({"decimals": True} if whole and not good.dtype.is_integer() else {})
    return Profile(
        type="integer" if whole else "number",
        missing=known["rows"] - len(good) - infinite,
        markers=markers,
        **numbers(good, counts, known["rows"], identifies=whole),
        value=value,
        minimum=python(low),
        maximum=python(high),
        top=tuple((python(each), rows) for each, rows in top(counts)),
        odd=("inf",) if infinite else (),
        odd_rows=infinite,
        **(known | {"about": about}),
    )


def mixed(there: pl.Series, known: dict[str, Any], odd: tuple[str, ...], odd_rows: int) -> Profile:
    """A column of which nobody can tell what it is; as text it stays what it is."""
    name = there.name
    return as_it_is("mixed", there, known, lambda: pl.col(name).cast(pl.String), odd=odd, odd_rows=odd_rows)


def as_it_is(type: str, values: pl.Series, known: dict[str, Any], value: Callable[[], pl.Expr], **more: Any) -> Profile:
    """A column in which nothing but null stands for a missing value; `values` are those that are there."""
    counts = counted(values)
    return Profile(
        type=type,
        missing=known["rows"] - len(values),
        markers=(),
        **numbers(values, counts, known["rows"]),
        value=value,
        top=top(counts),
        **known,
        **more,
    )


# --- counting ---


def counted(values: pl.Series) -> pl.DataFrame | None:
    """The values (`value`) and their `rows`, the most frequent first; None where there are more than DISTINCT."""
    if values.head(10 * DISTINCT).n_unique() > DISTINCT or near_enough(values) > 1.1 * DISTINCT:
        return None
    frame = values.alias("value").to_frame().lazy().group_by("value").agg(rows=pl.len()).collect(engine="streaming")
    return frame.sort(["rows", "value"], descending=[True, False]) if frame.height <= DISTINCT else None


def numbers(values: pl.Series, counts: pl.DataFrame | None, rows: int, identifies: bool = True) -> dict[str, Any]:
    """How many values there are, whether each row has its own, and which come again where nearly each row has.

    Both are asked only of what may identify one of so many `rows`.
    """
    number, exact = distinct(values, counts), counts is not None
    if identifies and unique(values, rows):
        return {"distinct": rows, "unique": True}
    if not identifies or len(values) < rows or number < (NEARLY if exact else CLOSE) * rows:
        return {"distinct": number, "exact": exact, "unique": False}
    known = values.hash() if values.dtype == pl.String else values  # of text, as `unique` does it
    again = values.filter(known.is_duplicated())
    number = rows - len(again) + again.n_unique()
    counted_again = again.alias("value").value_counts(name="rows").sort(["rows", "value"], descending=[True, False])
    repeated = tuple(counted_again.head(EXAMPLES).iter_rows()) if number > NEARLY * rows else ()
    return {"distinct": number, "unique": False, "repeated": repeated}


def distinct(values: pl.Series, counts: pl.DataFrame | None) -> int:
    """How many values there are; where they are not counted, near enough."""
    return counts.height if counts is not None else min(near_enough(values), len(values))


def near_enough(values: pl.Series) -> int:
    """How many values there are, within some percent."""
    found: Any = values.approx_n_unique()
    return int(found)


def unique(values: pl.Series, rows: int) -> bool:
    """Whether each of so many rows has a value, and no two the same: of text by a hash of 64 bits."""
    head = values.head(10 * DISTINCT)
    if len(values) < rows or head.n_unique() < len(head):
        return False
    return (values.hash() if values.dtype == pl.String else values).n_unique() == rows


def top(counts: pl.DataFrame | None) -> tuple[tuple[Any, int], ...]:
    """The most frequent values, with their rows."""
    return () if counts is None else tuple((value, rows) for value, rows in counts.head(TOP).iter_rows())


# --- of text ---

MARKERS = ("", "?", "na", "n/a", "n.a.", "nan", "null", "<na>", "#n/a", "#na", "nat", "\\n")
ABSENT = (*MARKERS, "none", "nil", "-", "--", "---", ".", "..", "…", "–", "—", "missing", "unknown", "undefined")
"""Texts that stand for no value, in small letters: of a column of texts, and of one of numbers or dates."""
FALSE_TRUE = (
    *(("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("off", "on")),
    *(("nein", "ja"), ("falsch", "wahr"), ("n", "j")),
    *(("non", "oui"), ("faux", "vrai"), ("n", "o"), ("no", "si"), ("no", "sí"), ("não", "sim"), ("nee", "ja")),
)
ZEROS = r"^[+-]?0\d"
DIGITS = r"^[+-]?\d{1,19}$"
EITHER = r"^[+-]?[1-9]\d{0,2}([.,]\d{3})?$|^0$"
"""Numbers in which a mark may be one of thousands: so where some are as 1.512, the others as 940, and none as 1.5."""
GROUPED = r"(\d{1,3}([ .,'’\u00a0\u202f]\d{2,3})*[ .,'’\u00a0\u202f]\d{3}|\d+)([.,]\d*)?"
NUMBER_LIKE = rf"^[^\d\pL<>≤≥~]{{0,4}}{GROUPED}[^\d\pL+]{{0,4}}$|^[A-Z]{{3}} ?{GROUPED}$|^{GROUPED} ?[A-Z]{{3}}$"
"""Numbers with signs of money or per cent, or in groups of thousands; `<18`, `3+` and `13 15` are levels."""


def of_text(there: pl.Series, known: dict[str, Any], comma: bool) -> Profile:
    """Numbers, dates and booleans that are written as text; else categories, or text."""
    counts = counted(there)
    values = there.alias("value").to_frame().with_columns(rows=pl.lit(1, pl.UInt32)) if counts is None else counts
    column = Texts(there, values, counts, known, comma)
    return column.compact() or column.number() or column.time() or column.boolean() or column.close() or column.words()


def plain() -> pl.Expr:
    """A text without the spaces around it."""
    return pl.col("value").str.strip_chars()


def is_of(markers: Sequence[str], text: pl.Expr) -> pl.Expr:
    """Whether a text stands for no value; the longest of them has nine characters."""
    return text.str.to_lowercase().is_in(list(markers))


def to_number(text: pl.Expr, comma: bool) -> pl.Expr:
    """A finite number, null where the text is none; a point is none where the comma is."""
    if comma:
        text = pl.when(~text.str.contains(".", literal=True)).then(text.str.replace(",", ".", literal=True))
    number = text.cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def to_time(text: pl.Expr, form: str) -> pl.Expr:
    """A moment, of UTC where the text names its zone, null where the text is none."""
    if form.endswith("z"):
        moment = text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False).dt.replace_time_zone(None)
    else:
        moment = text.str.to_datetime(form, time_unit="us", strict=False)
    return pl.when(moment.dt.year() >= 1000).then(moment)  # of `24`, %Y makes the year 24


NONE = pl.DataFrame(schema={"value": pl.String, "rows": pl.UInt32})


class Held(NamedTuple):
    """What a type makes of a column's values."""

    good: pl.Series  # those that fit, in their type
    marks: pl.DataFrame  # those that stand for none, and their rows
    odd: pl.DataFrame  # the others
    share: float  # of the rows with a value, those that fit; 0 where there are too many others to tell

    def said(self) -> dict[str, Any]:
        """What is odd."""
        return {"odd": tuple(self.odd["value"].head(EXAMPLES)), "odd_rows": int(self.odd["rows"].sum())}


class Texts:
    """A column of text, by its values and the rows of each: once each where there are few, else as they stand."""

    def __init__(
        self, there: pl.Series, values: pl.DataFrame, counts: pl.DataFrame | None, known: dict[str, Any], comma: bool
    ) -> None:
        self.there, self.values, self.counts, self.known, self.comma = there, values, counts, known, comma
        step = max(1, len(values) // SAMPLE)
        some = pl.concat([values.head(SAMPLE), values.gather_every(step)]).unique("value", maintain_order=True)
        self.some = some.with_columns(plain()).filter(~is_of(ABSENT, pl.col("value")))
        self.sample = self.some["value"]

    def share(self, fits: pl.Expr) -> float:
        """Of the sample, those that fit."""
        rows = pl.col("rows")
        return self.some.select(rows.filter(fits.fill_null(False)).sum() / rows.sum()).item() or 0.0

    def weighed(self, fits: pl.Series) -> float:
        """The same, of what is known of each."""
        return float((fits * self.some["rows"]).sum()) / float(self.some["rows"].sum())

    def held(self, made: Callable[[pl.Expr], pl.Expr]) -> "Held":
        """What a type makes of all values, of each as it stands first: few have spaces around them."""
        good = self.values.lazy().select(made(pl.col("value"))).collect().to_series()  # lazy: nothing is made twice
        left, good = self.values.filter(good.is_null()), good.drop_nulls()
        if left.height > DISTINCT and left["value"].head(10 * DISTINCT).n_unique() > DISTINCT:
            return Held(good, NONE, NONE, 0.0)
        left = left.group_by("value").agg(pl.col("rows").sum()).with_columns(made=made(plain()))
        absent, none = is_of(ABSENT, plain()), pl.col("made").is_null()
        marks, odd = left.filter(none & absent), left.filter(none & ~absent)
        values = len(self.there) - int(marks["rows"].sum())
        return Held(
            pl.concat([good, left["made"].drop_nulls()]) if left.height else good,
            marks,
            odd.sort(["rows", "value"], descending=[True, False]),
            1 - int(odd["rows"].sum()) / values if values else 0.0,
        )

    def profile(self, type: str, made: Callable[[pl.Expr], pl.Expr], marks: pl.DataFrame, **more: Any) -> Profile:
        """A profile of a type whose values `made` makes of the stripped texts."""
        name, gone = self.there.name, [*marks["value"]]

        def value() -> pl.Expr:
            text = pl.col(name).cast(pl.String)
            kept = pl.when(~text.is_in(gone)).then(text) if gone else text
            return made(kept.str.strip_chars()).alias(name)

        nulls = self.known["rows"] - len(self.there)
        missing = nulls + int(marks["rows"].sum())
        counts = None
        if self.counts is not None:
            typed = self.counts.filter(~pl.col("value").is_in(gone)).with_columns(made(plain()).alias("value"))
            counts = typed.drop_nulls().group_by("value").agg(pl.col("rows").sum())
            counts = counts.sort(["rows", "value"], descending=[True, False])
        blank = ("",) if nulls and self.known["about"]["dtype"] == "String" else ()
        return Profile(
            **{
                "type": type,
                "missing": missing,
                "markers": (*blank, *sorted(mark for mark in gone if mark not in blank)),
                **numbers(self.there, counts, self.known["rows"], type != "number" and missing == 0),
                "value": value,
                "top": top(counts),
                **self.known,
                **more,
            }
        )

    # --- what it may be ---

    def compact(self) -> Profile | None:
        """Dates as 20240329: else whole numbers, of which each is a day, and some differ."""
        if not len(self.sample) or self.share(pl.col("value").str.contains(EIGHT_DIGITS)) < 1:
            return None
        found = self.held(lambda text: to_time(text, COMPACT))
        if found.share < 1 or found.good.n_unique() < FEW_DAYS:
            return None
        more = {"minimum": found.good.min(), "maximum": found.good.max(), "order": "iso", "format": COMPACT}
        return self.profile("time", lambda text: to_time(text, COMPACT), found.marks, **more)

    def number(self) -> Profile | None:
        """Numbers, but those with zeros before them, which are no numbers."""
        if not len(self.sample) or self.share(self.to_number(pl.col("value")).is_not_null()) < CLOSE / 2:
            return None
        if self.zeros():
            return None
        digits = self.share(pl.col("value").str.contains(DIGITS)) >= CLOSE
        found = self.held(self.integers(True)) if digits else None
        if found is None or found.share < 1:
            found, wholes = self.held(self.to_number), found
            digits = wholes is not None and len(wholes.good) == len(found.good)
        if found.share < NEARLY:
            return None
        if not digits and (odd := self.either()):
            return mixed(self.there, self.known, odd, len(self.there))
        whole = digits or bool((found.good == found.good.round(0)).all())
        low: Any = found.good.min()
        high: Any = found.good.max()
        if whole and not digits and max(abs(low), abs(high)) >= EXACT:
            whole = False
            if not self.share(pl.col("value").str.contains(r"[.,eE]")):
                return None  # more digits than 64 bits hold: an identifier
        python: Callable[[Any], Any] = int if whole else float
        return self.profile(
            "integer" if whole else "number",
            self.integers(digits) if whole else self.to_number,
            found.marks,
            minimum=python(low),
            maximum=python(high),
            **found.said(),
            about=self.known["about"] | ({"decimals": True} if whole and not digits else {}),
        )

    def to_number(self, text: pl.Expr) -> pl.Expr:
        """A number, as this column writes them."""
        return to_number(text, self.comma)

    def either(self) -> tuple[str, ...]:
        """Numbers whose mark may be one of thousands, where nothing in the column tells which it is."""
        value = pl.col("value")
        if self.share(value.str.contains(EITHER)) < 1:
            return ()
        kept = self.values.lazy().select(plain()).filter(~is_of(ABSENT, value)).unique(maintain_order=True).collect()
        marked = kept["value"].str.contains(r"[.,]")
        unsure = kept["value"].str.contains(EITHER).all() and marked.any() and not marked.all()
        return tuple(kept["value"].filter(marked).head(EXAMPLES)) if unsure else ()

    def zeros(self) -> bool:
        """Whether numbers have zeros before them."""
        value, zero = pl.col("value"), pl.lit(False)
        for sign in ("", "+", "-"):
            zero |= (value >= f"{sign}00") & (value < f"{sign}0:")  # a digit follows: far faster than a pattern
        spaced = value.filter((value >= " ") & (value < "!")).str.contains(r"^\s*[+-]?0\d").any()
        return bool(self.values.lazy().select(zero.any() | spaced).collect().item())

    def integers(self, digits: bool) -> Callable[[pl.Expr], pl.Expr]:
        """What makes whole numbers of text."""
        if digits:
            return lambda text: text.cast(pl.Int64, strict=False)
        return lambda text: self.to_number(text).cast(pl.Int64, strict=False)

    def time(self) -> Profile | None:
        """Dates and moments, of the one format that most rows have."""
        if not len(self.sample) or self.share(pl.col("value").str.contains(DATE_LIKE)) < CLOSE:
            return None
        fits = {
            form: self.some.select(to_time(pl.col("value"), form).is_not_null()).to_series() for form in self.formats()
        }
        shares = {form: self.weighed(fit) for form, fit in fits.items()}
        best = max(shares.values(), default=0)
        if not best:
            return None
        near = [form for form in shares if shares[form] >= min(best, NEARLY)]
        if best < NEARLY:
            return self.several(fits, shares)
        near += [with_fraction(form) for form in near if with_fraction(form) not in near]
        tried: dict[str, Held] = {}
        for form in near:
            tried[form] = self.held(lambda text, form=form: to_time(text, form))  # type: ignore[misc]
            if tried[form].share == 1 and not (order_of(form) != "iso" and swapped(form) in near):
                break
        form = max(tried, key=lambda form: tried[form].share)
        found = tried[form]
        if found.share < NEARLY:
            return self.several(fits, shares)
        other = tried.get(swapped(form)) if order_of(form) != "iso" else None
        return self.profile(
            "time",
            lambda text: to_time(text, form),
            found.marks,
            minimum=found.good.min(),
            maximum=found.good.max(),
            **found.said(),
            order="unclear" if other and other.share == found.share == 1 else order_of(form),
            format=form,
        )

    def formats(self) -> list[str]:
        """Those that fit one of the first values, and one of some others, at least: all would take a second."""
        few = pl.concat([self.some.head(20), self.some.gather_every(len(self.some) // 20 + 1)])
        return [form for form in FORMATS if few.select(to_time(pl.col("value"), form).is_not_null().any()).item()]

    def several(self, fits: Mapping[str, pl.Series], shares: Mapping[str, float]) -> Profile | None:
        """Dates of several formats, of which none is nearly all."""
        covered, odd = pl.repeat(False, len(self.sample), eager=True), []
        for form in sorted((form for form in shares if shares[form]), key=lambda form: -shares[form]):
            if (new := fits[form] & ~covered).any():
                odd.append(self.sample.filter(new)[0])
                covered |= new
        if self.weighed(covered) < NEARLY:
            return None
        return mixed(self.there, self.known, tuple(odd[:EXAMPLES]), len(self.there))

    def boolean(self) -> Profile | None:
        """True and false in words."""
        if self.counts is None:
            return None
        small = self.counts.with_columns(small=plain().str.to_lowercase())
        marks = small.filter(pl.col("small").is_in(MARKERS))
        kept = small.filter(~pl.col("small").is_in(MARKERS))
        said = set(kept["small"])
        pair = next(
            (
                pair
                for pair in FALSE_TRUE
                if said == set(pair) or (len(said) == 1 and said <= set(pair) and pair[0] == "false")
            ),
            None,
        )
        if pair is None:
            return None
        as_it_stands = {word: kept.filter(pl.col("small") == word)["value"] for word in pair}
        words = tuple(stands[0].strip() if len(stands) else word for word, stands in as_it_stands.items())
        made = lambda text: text.str.to_lowercase().replace_strict(  # noqa: E731
            {pair[0]: False, pair[1]: True}, default=None, return_dtype=pl.Boolean
        )
        return self.profile("boolean", made, marks, words=words)

    def close(self) -> Profile | None:
        """Numbers as nobody reads them unasked: with signs, in groups of thousands, or words among them."""
        if not len(self.sample):
            return None
        number = self.to_number(pl.col("value")).is_not_null()
        zeros = self.share(pl.col("value").str.contains(ZEROS))
        like = pl.col("value").str.contains(NUMBER_LIKE) & ~pl.col("value").str.contains(
            "|".join((DATE_LIKE, *PERSONAL.values()))
        )
        if zeros or (self.share(number | like) < NEARLY and (self.few() or self.share(number) < CLOSE)):
            return None
        if self.share(pl.col("value").str.contains(r"^[+-]?\d{17,}$")) > CLOSE:
            return None
        found = self.held(self.to_number)
        if found.share < CLOSE and self.share(number | like) < NEARLY:
            return None
        rows = self.known["rows"] - self.there.null_count()
        return mixed(self.there, self.known, **(found.said() if found.share else self.odd(number, rows)))

    def few(self) -> bool:
        """Whether so few values are levels, numbers among them or not."""
        return self.counts is not None and self.counts.height <= FEW

    def odd(self, fits: pl.Expr, rows: int) -> dict[str, Any]:
        """What does not fit, told from the sample, where there is too much of it to be counted."""
        return {"odd": tuple(self.sample.to_frame().filter(~fits)["value"].head(EXAMPLES)), "odd_rows": rows}

    def words(self) -> Profile:
        """Categories, or text that identifies or tells."""
        marks = self.values.filter(is_of(MARKERS, plain())) if self.counts is not None else self.marks()
        marks = marks.group_by("value").agg(pl.col("rows").sum())
        values = len(self.there) - int(marks["rows"].sum())
        if not values:
            return empty(self.there, self.known, marks["value"].to_list())
        text = (
            self.values.lazy()
            .select(
                length=(plain().str.len_chars() * pl.col("rows")).sum() / pl.col("rows").sum(),
                longest=pl.col("value").str.len_chars().max(),
                spaces=pl.col("rows").filter(plain().str.len_bytes() < pl.col("value").str.len_bytes()).sum(),
            )
            .collect()
            .row(0, named=True)
        )
        words = float(self.sample.str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]
        number = distinct(self.there, self.counts)
        many = self.counts is None or (number > MANY and number > values / 2)
        about = self.known["about"] | {"length": text["length"], "words": words}
        about |= {"spaces": int(text["spaces"])} if text["spaces"] else {}
        about |= {"zeros": True} if self.share(pl.col("value").str.contains(r"^0\d+$")) else {}
        return self.profile(
            "text" if many or text["longest"] > LONGEST else "category",
            lambda text: text,
            marks,
            about=about,
            personal=self.personal(number, values),
        )

    def marks(self) -> pl.DataFrame:
        """The markers, of many values: looked for among the short ones."""
        short = self.values.filter(pl.col("value").str.len_bytes() <= 12)
        return short.filter(is_of(MARKERS, plain()))

    def personal(self, number: int, values: int) -> str | None:
        """What leads to a person, by how most values look; names, which are many, also by what the column is called.

        So many values there are, in so many rows: names of what is no person, such as departments, come often.
        """
        for what, looks in PERSONAL.items():
            if self.share(pl.col("value").str.contains(looks)) >= CLOSE:
                return what
        many = number > MANY
        if many and (re.search(OF_PEOPLE, self.there.name, re.IGNORECASE) or of_people(self.there.name)):
            return "names" if self.share(pl.col("value").str.contains(NAME_OF_ANY)) >= CLOSE / 2 else None
        share = self.share(pl.col("value").str.contains(NAME))
        if many and number > values / OFTEN and re.search(NAMES, self.there.name, re.IGNORECASE):
            small = self.share(pl.col("value").str.contains(NAME_OF_ANY))
            return "names" if share >= CLOSE / 2 or small >= CLOSE else None
        return "names" if share >= CLOSE and number > values / 2 else None


PERSONAL = {
    "mail addresses": r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
    "phone numbers": r"^(\+|00)\d[\d ()/.-]{6,}$|^\(?0\d{1,5}\)?[ /-][\d /-]{4,}$|^\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}$",
    "account numbers": r"^[A-Z]{2}\d{2} ?([A-Z0-9]{4} ?){2,7}[A-Z0-9]{0,4}$",
    "network addresses": r"^\d{1,3}(\.\d{1,3}){3}$",
}
NAME = r"^\p{Lu}[\p{L}'.-]+(,? \p{Lu}[\p{L}'.()\"-]*)+$|^\p{Lu}[\p{L}'.-]+$"
NAME_OF_ANY = rf"(?i){NAME}"
"""A name of one word or more with capitals; and in any letters, where the column is called after names."""
OF_PEOPLE = (
    r"(sur|first|last|full|fore|given|family|vor|nach|zu|familien|user)[ _-]?names?$|^(first|last|nom|pr[eé]nom)$"
)
NAMES = r"(^|[^a-z]|[a-z](?-i:(?=N)))names?$|^nombre$"
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
PEOPLE = re.compile(
    r"patient|custom(er)|client|klient|kunde|kundin|user|member|person|people|employ|staff|passenger|student|pupil|"
    r"citizen|resident|tenant|subscriber|applicant|borrower|debtor|driver|guest|visitor|voter|worker|insured|"
    r"mitarbeit|mitglied|nutzer|mieter|schuldner|versichert|bewohner|abonn[eé]|salari[eé]|[eé]l[eè]ve|utilisat|"
    r"paciente|usuario|emplead|pasajero|dipendent|utente|pacjent|pracowni|gast(es)?$|g[aä]ste|hu[eé]sped|ospite|invit[eé]"
)
"""How words begin that say that somebody is meant."""


def of_people(name: str) -> bool:
    """Whether a name speaks of a person: PatientID, Kundennr, user_id."""
    return any(PEOPLE.match(word.lower()) for word in WORD.findall(name))


MANY = 20  # values: fewer are levels, not people
OFTEN = 20  # rows that one person has at most, on average

# --- dates ---

COMPACT, EIGHT_DIGITS = "%Y%m%d", r"^(19|20)\d{6}$"
FIRST_DAY, LAST_DAY = 19000101, 20991231  # that is written so
FEW_DAYS = 3  # different ones: a number may look like a day
DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d/%m/%y", "%d.%m.%y", "%d-%m-%y", "%d %B %Y", "%d-%B-%Y", "%d. %B %Y"),
    *("%m/%d/%Y", "%m.%d.%Y", "%m-%d-%Y", "%m/%d/%y", "%m.%d.%y", "%m-%d-%y", "%B %d, %Y", "%B %d %Y"),
)
MOMENTS = (
    *("", " %H:%M:%S", "T%H:%M:%S", " %H:%M", "T%H:%M", " %I:%M %p", " %I:%M:%S %p"),
    *(" %H:%M:%S.%6f", "T%H:%M:%S.%6f"),  # as pandas writes it: read three times as fast
    *(" %H:%M:%S%.f", "T%H:%M:%S%.f", " %H:%M:%S%.f%#z", "T%H:%M:%S%.f%#z"),
)
FORMATS = tuple(day + moment for day in DAYS for moment in MOMENTS)
DATE_LIKE = (
    r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(\D|$)|^\d{1,2}[-. ]+\pL{3,9}[-. ]+\d{2,4}(\D|$)|^\pL{3,9} \d{1,2},? \d{4}(\D|$)"
)


def order_of(form: str) -> str:
    """iso, dmy or mdy; a month in words is never unclear."""
    return {"Y": "iso", "d": "dmy"}.get(form[1], "mdy")


def swapped(form: str) -> str:
    """The same format with day and month the other way round."""
    return form.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")


def is_compact(whole: Profile) -> bool:
    """Whether whole numbers may be dates as 20240329."""
    return not whole.odd_rows and whole.minimum >= FIRST_DAY and whole.maximum <= LAST_DAY


def with_fraction(form: str) -> str:
    """The same format with fractions of a second, which may be there in later rows."""
    return form if "%.f" in form else form.replace(".%6f", "").replace("%S", "%S%.f")
