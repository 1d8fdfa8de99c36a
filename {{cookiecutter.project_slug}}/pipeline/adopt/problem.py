"""What is settled of a problem, before its files are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

from pipeline.adopt.decide import CALIBRATED, SMALL, Choice, Day, Found, Split, of_each
from pipeline.adopt.label import REGRESSION, Label

TESTED, SETTLED, MOST_SETTLED = 0.2, 0.1, 0.2  # shares of the rows of a table without a time


@dataclass(frozen=True)
class Problem:
    """What is settled."""

    table: str  # for people: the file's name
    name: str
    row: tuple[str, str]
    label: Label
    choices: Sequence[Choice]
    found: Found
    until: date
    split: Split | None  # None without a time

    def of(self, role: str) -> Choice | None:
        """The column of a role."""
        return next((c for c in self.choices if c.role == role), None)

    @property
    def family(self) -> str:
        """Which family is shipped; trees need rows."""
        return "linear" if self.found.rows < SMALL else "trees"

    @property
    def a_day(self) -> float | None:
        """Rows of the median day; None without a time."""
        return median(day.rows for day in self.found.days.values()) if self.split else None

    @property
    def settled(self) -> float:
        """The share of rows without a time that calibrate: of a number more, where CALIBRATED rows need it."""
        wanted = CALIBRATED / sum(self.found.known) if self.label.task == REGRESSION else 0
        return round(min(max(SETTLED, wanted), MOST_SETTLED), 2)

    @property
    def ranked(self) -> bool:
        """Whether the order of rows within their group is measured: by labels that are worth nothing, or something."""
        label = self.of("label")
        return bool(self.of("group") and label and (self.label.positive is not None or label.least))

    @property
    def parts(self) -> tuple[float, float]:
        """About how many labels what it decides by is settled on, and how many it is tested on."""
        if self.split is None:
            return sum(self.found.known) * self.settled, sum(self.found.known) * TESTED
        calibrated, tested = self.split.calibrated(self.label.delay), self.split.tested
        return sum(of_each(self.found.days, *calibrated)), sum(of_each(self.found.days, *tested))

    @property
    def read(self) -> list[Day]:
        """The days that are learned from and tested on; none without a time."""
        if self.split is None:
            return []
        first, last = self.split.learned(self.label.delay)[0], self.split.until
        return [each for day, each in self.found.days.items() if first <= day <= last]
