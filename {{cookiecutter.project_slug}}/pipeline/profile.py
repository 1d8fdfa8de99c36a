"""What values are like on each day of the week: the bins that the service counts in, and the share expected in each.

The stage `reference` makes it of the reference's rows, and it lies beside the model in the Bento, so that drift is seen
within the hour: by the population stability index (Siddiqi, Credit Risk Scorecards, 2006), which a rule of Prometheus
computes of what was counted and what was expected. The verdict is monitor.py's, of every row and without bins.

Columns have the names and the types of the prediction log; those that are personal are in neither.
"""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from pipeline import tasks
from pipeline.log import kept
from pipeline.model import Model
from pipeline.params import BadInput
from pipeline.reading import in_a_line

PROFILE = Path("reports/profile.json")
QUANTILES = (0.01, 0.05, *(at / 10 for at in range(1, 10)), 0.95, 0.99)  # of a number: the ends of its bins
LEVELS = 20  # of a category, the most frequent, are told apart
ENOUGH = 100  # rows of a weekday, for it to be told from the others
OTHER, MISSING = "other", "missing"
WEEKDAYS = range(1, 8)  # as ISO 8601 counts them, from Monday
MOST = 1_000  # bins of a column: classes may be many

Share = Annotated[float, Field(ge=0, le=1)]


class Bins(BaseModel):
    """The bins of a column."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    shares: Annotated[list[list[Share]], Field(min_length=7, max_length=7)]  # of each bin, by WEEKDAYS

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """The bins, in their order."""

    @abstractmethod
    def places(self, values: pl.Series) -> np.ndarray:
        """The bin of each value: int64 [rows]."""

    def count(self, values: pl.Series) -> np.ndarray:
        """How many values lie in each bin: int64 [bins]."""
        return np.bincount(self.places(values), minlength=len(self.names))

    def expected(self, weekday: int) -> Sequence[float]:
        """The share of the rows in each bin, on one of WEEKDAYS."""
        return self.shares[weekday - 1]

    @model_validator(mode="after")
    def fit(self) -> Self:
        """Every bin is one, and has a share."""
        if len(set(self.names)) < len(self.names) or any(len(day) != len(self.names) for day in self.shares):
            raise ValueError("shares and bins have to fit, and no bin may be there twice")
        return self


class Numbers(Bins):
    """Between ends: a bin holds its upper one, the first and the last are open."""

    ends: Annotated[list[FiniteFloat], Field(max_length=MOST)]

    @property
    def names(self) -> list[str]:
        last = f">{self.ends[-1]:.6g}" if self.ends else "any"
        return [*(f"<={end:.6g}" for end in self.ends), last, MISSING]

    def places(self, values: pl.Series) -> np.ndarray:
        return np.searchsorted([*self.ends, inf], values.cast(pl.Float64).to_numpy())  # NaN, a missing one, comes last

    @model_validator(mode="after")
    def in_order(self) -> Self:
        """The ends rise."""
        if any(low >= high for low, high in pairwise(self.ends)):
            raise ValueError("ends have to rise")
        return self


class Levels(Bins):
    """Texts, or true and false, each by itself; a level that is called as OTHER or MISSING counts as OTHER."""

    levels: Annotated[list[str], Field(max_length=MOST)]

    @property
    def names(self) -> list[str]:
        return [*self.levels, OTHER, MISSING]

    def places(self, values: pl.Series) -> np.ndarray:
        known = {level: place for place, level in enumerate(self.levels)}
        other = len(self.levels)
        found = values.cast(pl.String).replace_strict(known, default=other, return_dtype=pl.Int64)
        return found.set(values.is_null(), other + 1).to_numpy()


class Profile(BaseModel):
    """The bins of columns, and the digest of the model whose they are."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    model: str
    columns: dict[str, Numbers | Levels]


def load(path: Path, of: Model) -> Profile | None:
    """The profile of a model; None where there is none. Raises BadInput where it is none of this model."""
    try:
        found = Profile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise BadInput(f"{path}: is no profile ({in_a_line(error)}); make it again with `make model`") from None
    known = {column.name for column in of.inputs} | {kept(tasks.task(of.problem.task).WATCHED)}
    if found.model != of.digest or not found.columns.keys() <= known:
        raise BadInput(f"{path}: is of another model than {of.digest}; make it again with `make model`")
    return found


# --- making it ---


def of_numbers(values: pl.Series, weekdays: pl.Series) -> Bins:
    """Bins between QUANTILES, as far as values differ; ends have six digits, which people can read."""
    known = values.cast(pl.Float64).to_numpy()
    known = known[np.isfinite(known)]
    ends = np.quantile(known, QUANTILES, method="inverted_cdf") if len(known) else []
    return filled(Numbers.model_construct(ends=sorted({float(f"{end:.6g}") for end in ends})), values, weekdays)


def of_levels(values: pl.Series, weekdays: pl.Series, levels: Sequence[str] = ()) -> Bins:
    """Bins of the levels, or of the most frequent ones."""
    counted = values.cast(pl.String).drop_nulls().rename("level").value_counts()
    found = levels or counted.sort(["count", "level"], descending=[True, False])["level"].head(LEVELS)
    told = [level for level in found if level not in (OTHER, MISSING)]
    return filled(Levels.model_construct(levels=told), values, weekdays)


def filled(bins: Bins, values: pl.Series, weekdays: pl.Series) -> Bins:
    """Bins with the share of rows in each, by weekday; over all days, where a weekday has not ENOUGH rows."""
    days = [values.filter(weekdays == weekday) for weekday in WEEKDAYS]
    counts = [bins.count(day if len(day) >= ENOUGH else values) for day in days]
    shares = [(count / max(count.sum(), 1)).round(6).tolist() for count in counts]
    return bins.model_copy(update={"shares": shares})
