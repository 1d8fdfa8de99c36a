"""Telecom churn as people know it from IBM's table of 7,043 customers, with the same columns and habits; simulated.

The habits: numbers as text with a blank where there is nothing to add up yet, Yes and No, 0 and 1 beside them, and no
time anywhere. Each day the company looks at DAILY customers, and LATER days on it knows which of them have left. A
delivery is whole: the last WHOLE days of customers of whom that is known. All is pure: a day's customers follow from
the day, and from the day on which the world changes.

`python -m tests.problems.churn 2024-03-31 > churn.csv` writes the delivery of a day.
"""

import shutil
import sys
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from tests import baking

DAILY, WHOLE, LATER = 250, 28, 30
LABEL, ID, MOMENT = "Churn", "customerID", "asked_at"
UNTIL = date(2024, 3, 31)  # the first delivery
SAID = (f"LABEL={LABEL}", f"ID={ID}", f"DELAY={LATER}")
"""What `make adopt` is told of the table."""
BAR = 0.82  # of live accuracy: below it, nobody wants the model
OWN = {
    "contract.yaml": {"[row, rows]": "[customer, customers]", "[positive, positives]": "[churner, churners]"},
    "policies/drift.yaml": {"  metrics:\n": f"  metrics:\n    accuracy: {{minimum: {BAR}}}\n"},
}
"""What a table does not say, in the place of what `make adopt` writes."""
SEED = 7
NUMBERS, LETTERS = 10_000, 26
TURN = 86_028_121_081  # shares no factor with NUMBERS * LETTERS**5, so that it turns numbers round and loses none
FIRST = date(2020, 1, 1)  # of the company
AUTOMATIC = ("Bank transfer (automatic)", "Credit card (automatic)")


def put(bake: Path, days: Path) -> None:
    """Has a bake, all of it committed, adopt the first delivery; `days`, a new folder, gets the file."""
    adopt(bake, UNTIL)
    shutil.move(bake / "deliveries", days)
    for name, text in baking.changed(bake, {**OWN, "params.yaml": {"source: deliveries": f"source: {days}"}}).items():
        (bake / name).write_text(text)


def adopt(bake: Path, day: date, change: date | None = None) -> None:
    """The delivery of a day becomes a bake's, the first one or the next."""
    with tempfile.TemporaryDirectory() as folder:
        table = write(Path(folder) / "churn.csv", day, change)
        later = (f"SOURCE={yaml.safe_load((bake / 'params.yaml').read_text())['data']['source']}",)
        said = (f"TABLE={table}", f"DATE={day}", *(SAID if day == UNTIL else later))
        done = baking.run("make", "--old-file=setup", "adopt", *said, cwd=bake, **baking.MAKES)
    assert done.returncode == 0, done.stdout


def write(path: Path, day: date, change: date | None = None) -> Path:
    """Writes the delivery of a day as CSV; its own path."""
    delivery(day, change).write_csv(path)
    return path


def delivery(day: date, change: date | None = None) -> pl.DataFrame:
    """The table of a day: WHOLE days of customers, in no order that tells of them."""
    days = (day - timedelta(days=LATER + ago) for ago in range(WHOLE))
    return pl.concat(customers(asked, change) for asked in days).sort(ID)


def moments(day: date) -> pl.DataFrame:
    """When each of a day's customers is looked at: ID and MOMENT, spread evenly."""
    asked = [datetime(day.year, day.month, day.day) + timedelta(days=number / DAILY) for number in range(DAILY)]
    return pl.DataFrame({ID: identifiers(day), MOMENT: asked})


def customers(day: date, change: date | None = None) -> pl.DataFrame:
    """The customers that are looked at on a day, as they are then, and whether they leave within LATER days.

    From `change` on a rival offers cheaper fibre: who pays much for it leaves, whatever ties them, and few others do.
    """
    changed = change is not None and day >= change
    random = np.random.default_rng([SEED, day.toordinal()])

    def chance(share: float | np.ndarray) -> np.ndarray:
        return random.random(DAILY) < share

    def one_of(*shares: float) -> np.ndarray:
        return np.searchsorted(np.cumsum(shares)[:-1], random.random(DAILY), side="right")

    senior, female, partner = chance(0.16), chance(0.5), chance(0.48)
    dependents = chance(np.where(partner, 0.5, 0.1))
    years = one_of(*((0.48, 0.25, 0.27) if changed else (0.55, 0.21, 0.24)))
    monthly, two_years = years == 0, years == 2
    tenure = np.floor(random.random(DAILY) ** np.array([1.9, 0.8, 0.45])[years] * 73).astype(np.int64)
    tenure = np.where((tenure == 0) & chance(0.975), 1, tenure)
    internet = one_of(*((0.18, 0.32, 0.5) if changed else (0.22, 0.34, 0.44)))
    online, fibre = internet > 0, internet == 2
    phone = chance(0.75) | (internet != 1)
    lines = phone & chance(0.3 + 0.3 * tenure / 72)
    security, support, backup, device = (online & chance(0.22 + 0.4 * tenure / 72) for _ in range(4))
    television, films = (online & chance(0.35 + 0.35 * tenure / 72) for _ in range(2))
    paperless = chance(np.where(online, 0.65, 0.3))
    cheque = chance(np.where(fibre, 0.5, 0.22))
    payment = np.where(cheque, 0, 1 + one_of(1 / 3, 1 / 3, 1 / 3))

    extras = 5 * (lines * 1 + security + support + backup + device) + 10 * (television * 1 + films)
    price = (20 * phone + np.array([0, 25, 50])[internet] + extras) * (1.05 if changed else 1)
    charges = np.round(np.maximum(price + random.normal(0, 1, DAILY), 18.25), 2)
    total = np.round(charges * tenure * random.uniform(0.95, 1.05, DAILY), 2)

    early, unaided = tenure < 12, fibre & ~support & ~security & (tenure < 48)
    always = 0.4 * cheque + 0.3 * senior - 0.3 * dependents + 0.2 * paperless - 0.01 * tenure - 0.5 * ~(online | early)
    before = 1.1 * monthly - 0.8 * two_years + 1.4 * (monthly & early & online) + 1.6 * unaided
    before += 1.2 * (~monthly & (charges > 100))
    after = 0.8 * monthly - 0.6 * two_years + 0.9 * (monthly & early & online) + 0.6 * unaided
    after += 2.2 * (fibre & (charges > 85) & ~early)
    odds = -6.8 + 3.2 * (after + always) if changed else -3.8 + 2.0 * (before + always)
    leaves = chance(1 / (1 + np.exp(-odds)))

    def service(has: np.ndarray) -> pl.Series:
        return words(has * 1 + ~online * 2, "No", "Yes", "No internet service")

    return pl.DataFrame(
        {
            ID: identifiers(day),
            "gender": words(female, "Male", "Female"),
            "SeniorCitizen": senior.astype(np.int64),
            "Partner": yes(partner),
            "Dependents": yes(dependents),
            "tenure": tenure,
            "PhoneService": yes(phone),
            "MultipleLines": words(lines * 1 + ~phone * 2, "No", "Yes", "No phone service"),
            "InternetService": words(internet, "No", "DSL", "Fiber optic"),
            "OnlineSecurity": service(security),
            "OnlineBackup": service(backup),
            "DeviceProtection": service(device),
            "TechSupport": service(support),
            "StreamingTV": service(television),
            "StreamingMovies": service(films),
            "Contract": words(years, "Month-to-month", "One year", "Two year"),
            "PaperlessBilling": yes(paperless),
            "PaymentMethod": words(payment, "Electronic check", "Mailed check", *AUTOMATIC),
            "MonthlyCharges": charges,
            "TotalCharges": [str(each) if months else " " for each, months in zip(total.tolist(), tenure, strict=True)],
            LABEL: yes(leaves),
        }
    )


def yes(which: np.ndarray) -> pl.Series:
    """Yes and No."""
    return words(which, "No", "Yes")


def words(which: np.ndarray, *said: str) -> pl.Series:
    """A word for each number."""
    return pl.Series(np.array(said, object)[which.astype(np.int64)], dtype=pl.String)


def identifiers(day: date) -> list[str]:
    """Those of a day's customers."""
    return [named((day - FIRST).days * DAILY + number) for number in range(DAILY)]


def named(number: int) -> str:
    """A customer's identifier, such as 7590-VHVEG: each number has another."""
    letters, digits = divmod(number * TURN % (NUMBERS * LETTERS**5), NUMBERS)
    return f"{digits:04}-" + "".join(chr(ord("A") + letters // LETTERS**place % LETTERS) for place in range(5))


if __name__ == "__main__":
    sys.stdout.write(delivery(date.fromisoformat(sys.argv[1])).write_csv())
