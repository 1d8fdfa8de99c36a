"""The published computation in plain pandas, one customer and one terminal at a time: slow, and easy to trust.

Source: *Reproducible Machine Learning for Credit Card Fraud Detection* (Le Borgne et al., 2022), chapter 3.
Names of columns are ours; the steps and their order are the notebooks'.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd


def simulate(start: date, days: int, customers: int, terminals: int, radius: float, seed: int) -> pd.DataFrame:
    """What `pipeline.simulate.days` gives, in law, generated as published: one customer and one draw at a time."""
    rng = np.random.default_rng(seed)
    shops = rng.uniform(0, 100, (terminals, 2))
    tables = [customer_transactions(customer, shops, days, radius, rng) for customer in range(customers)]
    table = pd.concat(tables).sort_values("second", ignore_index=True)
    table = add_frauds(table, days, customers, terminals, rng)
    table.insert(0, "transaction_id", table.index)
    table.insert(1, "tx_datetime", pd.Timestamp(start) + pd.to_timedelta(table["second"], unit="s"))
    return table.drop(columns=["second", "day"])


def customer_transactions(
    customer: int, shops: np.ndarray, days: int, radius: float, rng: np.random.Generator
) -> pd.DataFrame:
    """A customer's profile and then all of its transactions."""
    home = rng.uniform(0, 100, 2)
    mean, rate = rng.uniform(5, 100), rng.uniform(0, 4)
    near = np.flatnonzero(np.sqrt(((shops - home) ** 2).sum(axis=1)) < radius)
    rows = []
    for day in range(days):
        for _ in range(rng.poisson(rate)):
            second = int(rng.normal(86400 / 2, 20000))
            if 0 < second < 86400:
                amount = rng.normal(mean, mean / 2)
                if amount < 0:
                    amount = rng.uniform(0, mean * 2)
                if len(near) > 0:
                    rows.append((second + day * 86400, day, customer, near[rng.integers(len(near))], round(amount, 2)))
    return pd.DataFrame(rows, columns=["second", "day", "customer_id", "terminal_id", "tx_amount"])


def add_frauds(
    table: pd.DataFrame, days: int, customers: int, terminals: int, rng: np.random.Generator
) -> pd.DataFrame:
    """The three scenarios, in the published order."""
    table["tx_fraud"] = 0
    table.loc[table["tx_amount"] > 220, "tx_fraud"] = 1
    for day in range(days):
        stolen = rng.choice(terminals, 2, replace=False)
        later = (table["day"] >= day) & (table["day"] < day + 28)
        table.loc[later & table["terminal_id"].isin(stolen), "tx_fraud"] = 1
    for day in range(days):
        stolen = rng.choice(customers, 3, replace=False)
        later = (table["day"] >= day) & (table["day"] < day + 14)
        theirs = table.index[later & table["customer_id"].isin(stolen)]
        used = rng.choice(theirs, len(theirs) // 3, replace=False)
        table.loc[used, "tx_amount"] *= 5
        table.loc[used, "tx_fraud"] = 1
    return table


def features(transactions: pd.DataFrame, windows: Sequence[int], delay: int) -> pd.DataFrame:
    """What `pipeline.features.compute` gives, computed as published."""
    table = transactions.sort_values(["tx_datetime", "transaction_id"])
    table["tx_during_weekend"] = table["tx_datetime"].apply(lambda moment: int(moment.weekday() >= 5))
    table["tx_during_night"] = table["tx_datetime"].apply(lambda moment: int(moment.hour <= 6))
    by_customer = [customer_features(rows, windows) for _, rows in table.groupby("customer_id")]
    table = pd.concat(by_customer).sort_values(["tx_datetime", "transaction_id"])
    by_terminal = [terminal_features(rows, windows, delay) for _, rows in table.groupby("terminal_id")]
    return pd.concat(by_terminal).sort_values(["tx_datetime", "transaction_id"]).reset_index(drop=True)


def customer_features(rows: pd.DataFrame, windows: Sequence[int]) -> pd.DataFrame:
    """One customer's rows, in time order, with `get_customer_spending_behaviour_features`."""
    amounts = rows.set_index("tx_datetime")["tx_amount"]
    rows = rows.copy()
    for days in windows:
        rolling = amounts.rolling(f"{days}D")
        rows[f"customer_nb_tx_{days}d"] = rolling.count().to_numpy()
        rows[f"customer_avg_amount_{days}d"] = (rolling.sum() / rolling.count()).to_numpy()
    return rows


def terminal_features(rows: pd.DataFrame, windows: Sequence[int], delay: int) -> pd.DataFrame:
    """One terminal's rows, in time order, with `get_count_risk_rolling_window`."""
    frauds = rows.set_index("tx_datetime")["tx_fraud"]
    rows = rows.copy()
    recent = frauds.rolling(f"{delay}D")
    for days in windows:
        longer = frauds.rolling(f"{delay + days}D")
        number = (longer.count() - recent.count()).to_numpy()
        rows[f"terminal_nb_tx_{days}d"] = number
        rows[f"terminal_risk_{days}d"] = (longer.sum() - recent.sum()).to_numpy() / np.where(number, number, np.nan)
    return rows.fillna(0)
