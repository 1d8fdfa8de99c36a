"""The published features: one row a transaction, with its customer's and its terminal's aggregates.

Source: *Reproducible Machine Learning for Credit Card Fraud Detection* (Le Borgne et al., 2022), chapter 3,
baseline feature transformation. Bring your own problem: replace `compute` and `derived`, and the block `inputs` of
contract.yaml, which says what `compute` makes; where the source's columns are the inputs, delete this file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from pipeline.params import BadInput

SOURCE = "data/rows.parquet"
ID, TIME, LABEL = "transaction_id", "tx_datetime", "tx_fraud"  # as contract.yaml names them
CUSTOMER, TERMINAL, AMOUNT = "customer_id", "terminal_id", "tx_amount"
DAY = 86_400_000_000  # microseconds

# Amounts are summed as whole millionths, and frauds as whole numbers: an integer sum does not depend on what was
# summed before it, so a replay from any point gives the same bits. Cents and tenths of cents are exact; finer
# amounts are rounded to a millionth. A window may hold up to 9.2e12.
UNIT = 1_000_000


@dataclass(frozen=True)
class Groups:
    """A table in time order, seen group by group (one customer's rows, or one terminal's), each in time order."""

    order: np.ndarray  # int64 [rows], the table's row at each place
    key: np.ndarray  # int64 [rows], ascending: the moment at each place, a group's moments beyond those of the last
    day: int  # in the key's unit

    def until(self, days: int) -> np.ndarray:
        """The place after the group's rows that lie `days` or more before the row at each place; int64 [rows]."""
        return np.searchsorted(self.key, self.key - days * self.day, side="right")

    def running(self, values: np.ndarray) -> np.ndarray:
        """Sums of int64 `values` before each place: [b] - [a] is the sum over places a to b - 1; [rows + 1]."""
        return np.concatenate(([0], np.cumsum(values[self.order])))

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """Values at the places, back in the table's order."""
        result = np.empty_like(values)
        result[self.order] = values
        return result


def compute(source: pl.DataFrame, knobs: Mapping[str, Any], delay: int) -> pl.DataFrame:
    """Features of every transaction, in time order (ties by id).

    Takes the source's columns, the block `features` of params.yaml and the label's delay in days; returns ID and the
    contract's `inputs`. With t the row's moment and w a window, both in days, the aggregates are over
    the customer's rows in (t - w, t], with the row itself and the rows before it, and
    the terminal's rows in (t - delay - w, t - delay]: a label enters once it is known, `delay` days later.
    Time and memory grow linearly with the rows. Raises BadInput for bad knobs and for missing values.
    """
    windows = knobs["windows"]
    _check(source, windows, delay)
    rows = source.sort(TIME, ID)
    reach = delay + max(windows, default=0)
    return rows.select(
        ID,
        pl.col(AMOUNT).cast(pl.Float64),
        (pl.col(TIME).dt.weekday() >= 6).cast(pl.Int64).alias("tx_during_weekend"),
        (pl.col(TIME).dt.hour() <= 6).cast(pl.Int64).alias("tx_during_night"),
        *_customer(rows, groups(rows, CUSTOMER, reach), windows),
        *_terminal(rows, groups(rows, TERMINAL, reach), windows, delay),
    )


def _customer(rows: pl.DataFrame, by: Groups, windows: Sequence[int]) -> Iterator[pl.Series]:
    """Number and mean amount of the customer's transactions in each window."""
    spent = by.running((rows[AMOUNT] * UNIT).round().cast(pl.Int64).to_numpy())
    end = np.arange(1, len(rows) + 1)  # after the row itself
    for days in windows:
        first = by.until(days)
        number = end - first
        yield pl.Series(f"customer_nb_tx_{days}d", by.scatter(number))
        yield pl.Series(f"customer_avg_amount_{days}d", by.scatter((spent[end] - spent[first]) / (number * UNIT)))


def _terminal(rows: pl.DataFrame, by: Groups, windows: Sequence[int], delay: int) -> Iterator[pl.Series]:
    """Number and share of fraud of the terminal's transactions in each window, which ends `delay` days earlier."""
    frauds = by.running(rows[LABEL].cast(pl.Int64).fill_null(0).to_numpy())
    known = by.running(rows[LABEL].is_not_null().cast(pl.Int64).to_numpy())  # some labels take longer
    end = by.until(delay)
    for days in windows:
        first = by.until(delay + days)
        risk = (frauds[end] - frauds[first]) / np.maximum(known[end] - known[first], 1)  # 0 where there is none
        yield pl.Series(f"terminal_nb_tx_{days}d", by.scatter(end - first))
        yield pl.Series(f"terminal_risk_{days}d", by.scatter(risk))


def groups(rows: pl.DataFrame, name: str, reach: int) -> Groups:
    """The groups of `rows` (in time order) that share a value of column `name`, to look back `reach` days at most.

    Raises BadInput where groups times moments do not fit 63 bits: beyond a million groups at microseconds.
    """
    places = rows.select(pl.col(name), pl.col(TIME).dt.epoch("us").alias("moment")).with_row_index("row")
    places = places.sort(name, maintain_order=True)
    group = places[name].rle_id().cast(pl.Int64).to_numpy()
    moment = places["moment"].to_numpy() - (rows[TIME].dt.epoch("us").min() or 0)
    unit = int(np.gcd.reduce(moment, initial=DAY))  # whole seconds as a rule; exact whatever it is
    span = int(moment.max(initial=0)) // unit + reach * DAY // unit + 1  # no group looks back into another
    if (int(group.max(initial=0)) + 1) * span >= 2**63:
        raise BadInput(f"{SOURCE}: too many values of {name} for {TIME} this fine; round the source's to whole seconds")
    return Groups(places["row"].cast(pl.Int64).to_numpy(), group * span + moment // unit, DAY // unit)


def _check(transactions: pl.DataFrame, windows: Sequence[int], delay: int) -> None:
    """Refuse what would give wrong features or none."""
    for knob, days in (("label.delay", delay), *(("features.windows", days) for days in windows)):
        if not isinstance(days, int) or isinstance(days, bool) or days < 1:
            file = "contract.yaml" if knob == "label.delay" else "params.yaml"
            raise BadInput(f"{file}: {knob} holds {days!r}; write whole days, 1 or more")
    for name in (ID, TIME, CUSTOMER, TERMINAL, AMOUNT):
        column = transactions[name]
        missing = int((~column.is_finite()).fill_null(True).sum() if column.dtype.is_float() else column.null_count())
        if missing:
            raise BadInput(
                f"{SOURCE}: {name} is missing or not finite in {missing} rows; "
                "mend the source (python -m pipeline.policy data shows the rows)"
            )


# --- in the model's graph ---


def derived(row: Mapping[str, Any], knobs: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from a row's inputs alone, and a model sees beside them; `{}` is a fine answer for another problem.

    `row` maps an input's name to an array of any kind that knows arithmetic: this is a part of the exported graph.
    """
    windows = knobs["windows"]
    amount = row["tx_amount"]
    number = {w: row[f"customer_nb_tx_{w}d"] for w in windows}
    spent = {w: number[w] * row[f"customer_avg_amount_{w}d"] for w in windows}
    seen = {w: row[f"terminal_nb_tx_{w}d"] for w in windows}
    frauds = {w: seen[w] * row[f"terminal_risk_{w}d"] for w in windows}
    result = {}
    for w in windows:
        before = _ratio(spent[w] - amount, number[w] - 1)
        result[f"amount_to_avg_{w}d"] = amount / (row[f"customer_avg_amount_{w}d"] + 1)
        result[f"avg_before_{w}d"] = before  # the customer's mean amount without this transaction
        result[f"amount_to_avg_before_{w}d"] = amount / (before + 1)
        result[f"terminal_frauds_{w}d"] = frauds[w]
    for short, long in pairwise(sorted(windows)):  # the longer window's older part
        older = _ratio(spent[long] - spent[short], number[long] - number[short])
        result[f"number_{short}d_{long}d"] = number[long] - number[short]
        result[f"avg_{short}d_{long}d"] = older
        result[f"amount_to_avg_{short}d_{long}d"] = amount / (older + 1)
        result[f"terminal_nb_{short}d_{long}d"] = seen[long] - seen[short]
        result[f"terminal_frauds_{short}d_{long}d"] = frauds[long] - frauds[short]
        result[f"terminal_risk_{short}d_{long}d"] = _ratio(frauds[long] - frauds[short], seen[long] - seen[short])
    return result


def _ratio(total: Any, number: Any) -> Any:
    """The mean of `number` things that sum to `total`: never negative, finite for rows that contradict themselves."""
    return total * (total > 0) / ((number - 1) * (number > 1) + 1)
