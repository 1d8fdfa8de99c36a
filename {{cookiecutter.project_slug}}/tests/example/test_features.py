"""Features equal the published computation, and those of a replay, one transaction at a time, bit for bit."""

import os
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline import contract, features, params, rows, simulate
from pipeline.features import CUSTOMER, ID, LABEL, TIME
from pipeline.params import BadInput
from tests.example import reference

ROOT = Path(contract.__file__).parents[1]
OURS = contract.load(ROOT / "contract.yaml")
HANDBOOK = os.environ.get("HANDBOOK", "")
real = pytest.mark.skipif(not HANDBOOK, reason="HANDBOOK names no folder of the public data")
WINDOWS, DELAY = [1, 7, 30], 7
SMALL = {"seed": 0, "start": "2018-04-01", "customers": 100, "terminals": 200, "radius": 20}


@pytest.fixture(scope="module")
def simulated() -> pl.DataFrame:
    return simulate.days(date(2018, 4, 1), date(2018, 5, 31), SMALL)


def crowded(seed: int, rows: int = 600) -> pl.DataFrame:
    """Few customers and terminals, every six hours: ties, and rows exactly on the edges of the windows."""
    rng = np.random.default_rng(seed)
    table = pl.DataFrame(
        {
            ID: np.arange(rows),
            TIME: np.datetime64("2018-04-01", "us") + rng.integers(0, 4 * 50, rows) * np.timedelta64(6, "h"),
            "customer_id": rng.integers(0, 8, rows),
            "terminal_id": rng.integers(0, 8, rows),
            "tx_amount": rng.uniform(0, 300, rows).round(2),
            LABEL: rng.integers(0, 2, rows),
        }
    )
    alone = table.tail(1).with_columns(pl.col(ID) + 1, pl.col("customer_id", "terminal_id") + 90)
    return pl.concat([table, alone])


def handbook(moment: date) -> pl.DataFrame:
    """A day of the public data, with the days before it that its windows reach."""
    reach = [moment - timedelta(days=back) for back in range(max(WINDOWS) + DELAY + 1)]
    return pl.concat(pl.read_parquet(f"{HANDBOOK}/{when}.parquet") for when in reversed(reach))


def computed(table: pl.DataFrame, windows: Sequence[int] = (1, 7, 30), delay: int = DELAY) -> pl.DataFrame:
    """The features of a table's rows, with their time and their customer."""
    made = features.compute(table, {"windows": list(windows)}, delay)
    return table.select(ID, TIME, CUSTOMER).join(made, on=ID, maintain_order="right")


def assert_as_published(ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
    """Numbers are equal; means and shares are equal but for the rounding of the rolling sums in pandas."""
    assert_frame_equal(
        ours, theirs.select(ours.columns), check_dtypes=False, check_exact=False, rel_tol=1e-9, abs_tol=1e-9
    )


# --- as published ---


@pytest.mark.parametrize(
    ("windows", "delay"), [([1, 7, 30], 7), ([2], 1), ([11, 3, 1], 5), ([45], 10), ([1, 2], 30), ([], 7)], ids=str
)
def test_features_equal_the_published_ones(windows: list[int], delay: int) -> None:
    table = crowded(seed=len(windows) + delay)
    theirs = pl.from_pandas(reference.features(table.to_pandas(), windows, delay))
    assert_as_published(computed(table, windows, delay), theirs)


def test_a_microsecond_decides_on_the_edge_of_a_window() -> None:
    table = crowded(seed=3).with_columns(pl.col(TIME) + pl.duration(microseconds=pl.col(ID) % 3))
    theirs = pl.from_pandas(reference.features(table.to_pandas(), WINDOWS, DELAY))
    assert_as_published(computed(table), theirs)


@real
@pytest.mark.slow
def test_features_equal_the_published_ones_on_a_real_day() -> None:
    moment = date(2018, 5, 20)
    table = handbook(moment)
    ours = computed(table).filter(pl.col(TIME).dt.date() == moment).gather_every(40)
    customers = table.filter(pl.col("customer_id").is_in(ours["customer_id"].implode())).to_pandas()
    by_customer = [reference.customer_features(rows, WINDOWS) for _, rows in customers.groupby("customer_id")]
    published = pl.concat(pl.from_pandas(rows) for rows in by_customer).filter(pl.col(ID).is_in(ours[ID].implode()))
    assert_as_published(ours.select(ID, "^customer_.*$"), published.sort(TIME, ID))

    terminals = table.join(published.select("terminal_id"), on="terminal_id", how="semi").to_pandas()
    by_terminal = [reference.terminal_features(rows, WINDOWS, DELAY) for _, rows in terminals.groupby("terminal_id")]
    published = pl.concat(pl.from_pandas(rows) for rows in by_terminal).filter(pl.col(ID).is_in(ours[ID].implode()))
    assert_as_published(ours.select(ID, "^terminal_.*$"), published.sort(TIME, ID))
    assert len(published) == len(ours) > 200


def test_what_is_made_is_what_the_contract_says(simulated: pl.DataFrame) -> None:
    """For the windows in params.yaml: its `inputs`, in their order, types and ranges."""
    knobs = params.load(ROOT / "params.yaml")["features"]
    table = features.compute(simulated, knobs, OURS.label.delay)
    assert table.columns == [OURS.id, *(column.name for column in OURS.inputs)]
    for column in OURS.inputs:
        values = table[column.name]
        assert values.dtype == rows.INPUTS[column.type]
        assert column.minimum is not None and (values >= column.minimum).all()
        assert column.maximum is None or (values <= column.maximum).all()
    made = rows.made(simulated, OURS, knobs)
    assert made.select(table.columns).equals(table) and made["_label"].sum() == simulated[LABEL].sum()


def test_what_follows_from_a_row_is_finite_for_any_row() -> None:
    """Also for one that contradicts itself, as a caller may send."""
    knobs = params.load(ROOT / "params.yaml")["features"]
    odd = {column.name: np.array([0.0, 1.0, 100_000.0]) for column in OURS.inputs}
    odd |= {name: values[::-1] for name, values in odd.items() if "nb_tx" in name}
    for values in features.derived(odd, knobs).values():
        assert np.isfinite(values).all()


def test_order_of_the_rows_does_not_matter(simulated: pl.DataFrame) -> None:
    shuffled = simulated.sample(fraction=1, shuffle=True, seed=1)
    assert_frame_equal(computed(shuffled), computed(simulated))


# --- replay ---


class Online:
    """The state that a service would keep: it sees one transaction at a time, and a label only once it is known."""

    def __init__(self, windows: Sequence[int], delay: int) -> None:
        self.windows, self.delay = windows, timedelta(days=delay)
        self.spent: dict[int, list[tuple[datetime, int]]] = defaultdict(list)  # moment and millionths, by customer
        self.known: dict[int, list[tuple[datetime, int]]] = defaultdict(list)  # moment and label, by terminal
        self.pending: deque[dict] = deque()  # in time order; the label is not known yet

    def add(self, transaction: dict) -> None:
        """A transaction, no earlier than those before it."""
        now = transaction[TIME]
        while self.pending and self.pending[0][TIME] <= now - self.delay:
            matured = self.pending.popleft()
            self.known[matured["terminal_id"]].append((matured[TIME], matured[LABEL]))
        self.pending.append(transaction)
        self.spent[transaction["customer_id"]].append((now, round(transaction["tx_amount"] * 1_000_000)))

    def row(self, transaction: dict) -> dict:
        """The feature row of the transaction that was added last."""
        now = transaction[TIME]
        customer, terminal = self.spent[transaction["customer_id"]], self.known[transaction["terminal_id"]]
        row = {name: transaction[name] for name in (ID, TIME, CUSTOMER, "tx_amount")}
        row |= {"tx_during_weekend": int(now.weekday() >= 5), "tx_during_night": int(now.hour <= 6)}
        for days in self.windows:
            amounts = list(recent(customer, now - timedelta(days=days)))
            row[f"customer_nb_tx_{days}d"] = len(amounts)
            row[f"customer_avg_amount_{days}d"] = sum(amounts) / (len(amounts) * 1_000_000)
        for days in self.windows:
            labels = list(recent(terminal, now - self.delay - timedelta(days=days)))
            row[f"terminal_nb_tx_{days}d"] = len(labels)
            row[f"terminal_risk_{days}d"] = sum(labels) / len(labels) if labels else 0.0
        return row


def recent(events: list[tuple[datetime, int]], after: datetime) -> Iterator[int]:
    """The values later than `after`, newest first."""
    for moment, value in reversed(events):
        if moment <= after:
            return
        yield value


def assert_replayed(table: pl.DataFrame, moment: date) -> None:
    """A replay from the first row on gives the day's rows of the batch, bit for bit."""
    state, rows = Online(WINDOWS, DELAY), []
    for transaction in table.sort(TIME, ID).iter_rows(named=True):
        state.add(transaction)
        if transaction[TIME].date() == moment:
            rows.append(state.row(transaction))
    batch = computed(table).filter(pl.col(TIME).dt.date() == moment)
    assert len(rows) == len(batch) > 0
    assert_frame_equal(pl.DataFrame(rows, schema=batch.schema), batch, check_exact=True)


def test_replay_gives_the_rows_of_the_batch(simulated: pl.DataFrame) -> None:
    assert_replayed(simulated, date(2018, 5, 31))


def test_replay_gives_the_rows_of_the_batch_where_moments_tie() -> None:
    assert_replayed(crowded(seed=5), date(2018, 5, 19))


@real
@pytest.mark.slow
def test_replay_gives_the_rows_of_the_batch_on_a_real_day() -> None:
    assert_replayed(handbook(date(2018, 5, 20)), date(2018, 5, 20))


def test_a_row_is_the_last_of_its_past(simulated: pl.DataFrame) -> None:
    """What comes later, ties among it, changes no row: the batch itself can serve."""
    table = crowded(seed=7).sort(TIME, ID)
    batch = computed(table)
    for row in range(500, len(table)):
        past = computed(table.head(row + 1))
        assert_frame_equal(past.tail(1), batch[row], check_exact=True)


def test_history_before_the_windows_changes_no_bit(simulated: pl.DataFrame) -> None:
    moment = datetime(2018, 5, 31)
    since = moment - timedelta(days=max(WINDOWS) + DELAY)
    full, recent = (
        computed(table).filter(pl.col(TIME) >= moment) for table in (simulated, simulated.filter(pl.col(TIME) >= since))
    )
    assert_frame_equal(full, recent, check_exact=True)


def test_labels_enter_only_after_the_delay(simulated: pl.DataFrame) -> None:
    """Of any row, the labels of its last DELAY days: that they are wrong changes nothing."""
    moment = simulated[TIME].max()
    assert isinstance(moment, datetime)

    def last_row(since: datetime) -> pl.DataFrame:
        wrong = pl.when(pl.col(TIME) > since).then(1 - pl.col(LABEL)).otherwise(pl.col(LABEL)).alias(LABEL)
        return computed(simulated.with_columns(wrong)).tail(1)

    truth = last_row(moment)
    assert last_row(moment - timedelta(days=DELAY)).equals(truth)
    assert not last_row(moment - timedelta(days=DELAY + max(WINDOWS))).equals(truth)


def test_sums_of_amounts_are_exact() -> None:
    """Ten times 0.1 is 1; finer than a millionth is rounded."""
    table = crowded(seed=0).with_columns(tx_amount=pl.lit(0.1))
    assert set(computed(table, [50])["customer_avg_amount_50d"]) == {0.1}
    table = table.with_columns(tx_amount=pl.lit(0.1000004999))
    assert set(computed(table, [50])["customer_avg_amount_50d"]) == {0.1}


# --- bad input ---


@pytest.mark.parametrize(("windows", "delay"), [([1, 0], 7), (["7"], 7), ([1.5], 7), ([7], 0), ([7], True)], ids=str)
def test_a_bad_knob_is_named(windows: list[int], delay: int) -> None:
    with pytest.raises(BadInput, match=r"(features\.windows|label\.delay) holds .*; write whole days"):
        computed(crowded(seed=0), windows, delay)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_missing_amount_is_counted(value: float | None) -> None:
    table = crowded(seed=0).with_columns(tx_amount=pl.when(pl.col(ID) < 3).then(pl.lit(value)).otherwise("tx_amount"))
    with pytest.raises(BadInput, match="tx_amount is missing or not finite in 3 rows"):
        computed(table)
