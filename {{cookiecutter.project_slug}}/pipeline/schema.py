"""The row contract: what the source, the model and the service agree on.

Bring your own problem: this file and `features.py` are what you replace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# What this repository predicts. Another name is another problem, which is judged by its own code and bars.
PROBLEM = "card fraud"

ID = "transaction_id"  # identifies a row, in the source, in a request and in the prediction log
TIME = "tx_datetime"  # when the event happened; its day names the source's file
LABEL = "tx_fraud"  # 0 or 1, known `features.delay` days later
ENTITY: str | None = "customer_id"  # whose rows belong together (the card), or None


@dataclass(frozen=True)
class Column:
    """A column: its name, its type, the values it may hold (inclusive) and what it means."""

    name: str
    dtype: str  # "int64", "float64", "datetime" or "string"
    minimum: float | None
    maximum: float | None
    description: str


SOURCE = (
    Column(ID, "int64", 0, None, "Identifier of the transaction"),
    Column(TIME, "datetime", None, None, "Moment of the transaction"),
    Column("customer_id", "int64", 0, None, "Identifier of the customer (one card each)"),
    Column("terminal_id", "int64", 0, None, "Identifier of the merchant's terminal"),
    Column("tx_amount", "float64", 0, 100_000, "Amount of the transaction"),
    Column(LABEL, "int64", 0, 1, "1 where the transaction turned out to be fraudulent"),
)
"""What a daily parquet file holds."""


def feature_row(windows: Sequence[int]) -> tuple[Column, ...]:
    """The model's inputs, in order, for aggregates over `windows` (days)."""
    transaction = (
        Column("tx_amount", "float64", 0, 100_000, "Amount of the transaction"),
        Column("tx_during_weekend", "int64", 0, 1, "1 on Saturday and Sunday"),
        Column("tx_during_night", "int64", 0, 1, "1 from midnight to 6:59"),
    )
    customer = tuple(
        column
        for days in windows
        for column in (
            Column(f"customer_nb_tx_{days}d", "int64", 1, None, f"The customer's transactions of the last {days} days"),
            Column(f"customer_avg_amount_{days}d", "float64", 0, 100_000, f"Their mean amount, {days} days"),
        )
    )
    terminal = tuple(
        column
        for days in windows
        for column in (
            Column(
                f"terminal_nb_tx_{days}d",
                "int64",
                0,
                None,
                f"The terminal's transactions of {days} days, before the label delay",
            ),
            Column(f"terminal_risk_{days}d", "float64", 0, 1, f"The share of them that was fraudulent, {days} days"),
        )
    )
    return transaction + customer + terminal


def derived(row: Mapping[str, Any], windows: Sequence[int]) -> dict[str, Any]:
    """What the network computes from a feature row before it looks at it; `{}` is a fine answer for another problem.

    `row` maps a column's name to an array of any kind that knows arithmetic: this is a part of the exported graph.
    """
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
