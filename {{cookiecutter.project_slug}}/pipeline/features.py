"""The published features: one row a transaction, with its customer's and its terminal's aggregates.

Source: *Reproducible Machine Learning for Credit Card Fraud Detection* (Le Borgne et al., 2022), chapter 3,
baseline feature transformation. Bring your own problem: replace `compute` and `schema.feature_row`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipeline import params as knobs
from pipeline.params import BadInput
from pipeline.schema import ID, LABEL, TIME, feature_row

SOURCE = Path("data/transactions.parquet")
TARGET = Path("data/features.parquet")
CUSTOMER, TERMINAL, AMOUNT = "customer_id", "terminal_id", "tx_amount"
DAY = 86_400_000_000  # microseconds

# Amounts are summed as whole millionths, and frauds as whole numbers: an integer sum does not depend on what was
# summed before it, so a replay from any point gives the same bits. Cents and tenths of cents are exact; finer
# amounts are rounded to a millionth. A window may hold up to 9.2e12.
UNIT = 1_000_000


@dataclass(frozen=True)
class Groups:
    """The rows of a table in time order, seen group by group (a group: one customer's or one terminal's rows)."""

    order: np.ndarray  # int64 [rows], the table's row numbers, sorted by group, then as in the table
    code: np.ndarray  # int64 [rows], number of the group, in that order

    def before(self, rows: np.ndarray) -> np.ndarray:
        """Where a group's rows below the table's row `rows[i]` end, for each row i in group order; int64 [rows]."""
        size = len(self.order)
        return np.searchsorted(self.code * size + self.order, self.code * size + rows[self.order])

    def running(self, values: np.ndarray) -> np.ndarray:
        """Sums of int64 `values` before each place in group order: [b] - [a] is the sum over a..b-1; [rows + 1]."""
        return np.concatenate(([0], np.cumsum(values[self.order])))

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """Values in group order, back in the table's order."""
        result = np.empty_like(values)
        result[self.order] = values
        return result


def compute(transactions: pl.DataFrame, windows: Sequence[int], delay: int) -> pl.DataFrame:
    """Features of every transaction, in time order (ties by id).

    Takes the columns of `schema.SOURCE`; returns ID, TIME, the customer, LABEL and `schema.feature_row(windows)`.
    With t the row's moment and w a window, both in days, the aggregates are over
    the customer's rows in (t - w, t], with the row itself and the rows before it, and
    the terminal's rows in (t - delay - w, t - delay]: a label enters once it is known, `delay` days later.
    Time and memory grow linearly with the rows. Raises BadInput for bad knobs and for missing values.
    """
    _check(transactions, windows, delay)
    rows = transactions.sort(TIME, ID)
    moment = rows[TIME].dt.epoch("us").to_numpy()
    known = {days: _rows_until(moment, days) for days in {*windows, delay, *(delay + w for w in windows)}}
    return rows.select(
        ID,
        TIME,
        CUSTOMER,
        LABEL,
        pl.col(AMOUNT).cast(pl.Float64),
        (pl.col(TIME).dt.weekday() >= 6).cast(pl.Int64).alias("tx_during_weekend"),
        (pl.col(TIME).dt.hour() <= 6).cast(pl.Int64).alias("tx_during_night"),
        *_customer(rows, windows, known),
        *_terminal(rows, windows, delay, known),
    )


def _customer(rows: pl.DataFrame, windows: Sequence[int], known: dict[int, np.ndarray]) -> list[pl.Series]:
    """Number and mean amount of the customer's transactions in each window."""
    groups = _groups(rows[CUSTOMER])
    spent = groups.running((rows[AMOUNT] * UNIT).round().cast(pl.Int64).to_numpy())
    end = np.arange(1, len(rows) + 1)  # up to the row itself
    result = []
    for days in windows:
        first = groups.before(known[days])
        number = groups.scatter(end - first)
        mean = groups.scatter(spent[end] - spent[first]) / (number * UNIT)
        result += [pl.Series(f"customer_nb_tx_{days}d", number), pl.Series(f"customer_avg_amount_{days}d", mean)]
    return result


def _terminal(rows: pl.DataFrame, windows: Sequence[int], delay: int, known: dict[int, np.ndarray]) -> list[pl.Series]:
    """Number and share of fraud of the terminal's transactions in each window, which ends `delay` days earlier."""
    groups = _groups(rows[TERMINAL])
    frauds = groups.running(rows[LABEL].cast(pl.Int64).to_numpy())
    end = groups.before(known[delay])
    result = []
    for days in windows:
        first = groups.before(known[delay + days])
        number = groups.scatter(end - first)
        risk = groups.scatter(frauds[end] - frauds[first]) / np.maximum(number, 1)  # 0 where there is none
        result += [pl.Series(f"terminal_nb_tx_{days}d", number), pl.Series(f"terminal_risk_{days}d", risk)]
    return result


def _rows_until(moment: np.ndarray, days: int) -> np.ndarray:
    """How many rows of the table lie `days` or more before each row's moment; int64 [rows]."""
    return np.searchsorted(moment, moment - days * DAY, side="right")


def _groups(column: pl.Series) -> Groups:
    """The groups of rows that share a value of `column`."""
    order = column.to_frame().with_row_index("row").sort(column.name, maintain_order=True)
    code = order[column.name].rle_id()
    return Groups(order["row"].cast(pl.Int64).to_numpy(), code.cast(pl.Int64).to_numpy())


def _check(transactions: pl.DataFrame, windows: Sequence[int], delay: int) -> None:
    """Refuse what would give wrong features or none."""
    for knob, days in (("features.delay", delay), *(("features.windows", days) for days in windows)):
        if not isinstance(days, int) or isinstance(days, bool) or days < 1:
            raise BadInput(f"params.yaml: {knob} holds {days!r}; write whole days, 1 or more")
    for name in (ID, TIME, CUSTOMER, TERMINAL, AMOUNT, LABEL):
        column = transactions[name]
        missing = int((~column.is_finite()).fill_null(True).sum() if column.dtype.is_float() else column.null_count())
        if missing:
            raise BadInput(
                f"{SOURCE}: {name} is missing or not finite in {missing} rows; "
                "mend the source (python -m pipeline.policy data shows the rows)"
            )


def main() -> None:
    """Write the features of the rows from the first training day on; the days before are history."""
    params = knobs.load()
    days, blocks = knobs.days(params), params["features"]
    try:
        transactions = pl.read_parquet(SOURCE)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadInput(f"{SOURCE}: {error}; make it with `dvc repro ingest`") from None
    table = compute(transactions, blocks["windows"], blocks["delay"])
    table = table.filter(pl.col(TIME).dt.date().is_between(days.train[0], days.test[1]))
    temporary = TARGET.with_suffix(".partial")
    table.write_parquet(temporary)
    temporary.replace(TARGET)
    print(f"{TARGET}: {len(table)} rows, {len(feature_row(blocks['windows']))} features")


if __name__ == "__main__":
    main()
