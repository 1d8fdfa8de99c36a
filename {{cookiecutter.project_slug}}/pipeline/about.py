"""The model's own page, at /: what runs and where it came from, and a form that scores a row, with the reasons.

about.html calls nobody but this service. A row that is tried there is not logged, and counted apart from requests.
"""

import base64
import hashlib
import html
import logging
import re
from collections.abc import Collection, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from markdown_it import MarkdownIt
from pydantic_core import to_json

from pipeline import tasks
from pipeline.model import Input, Model, fed
from pipeline.profile import Profile
from pipeline.reasons import Table, contributions

PAGE = Path(__file__).with_suffix(".html")
DRAWS = 200  # orders of the inputs, of which reasons are the mean; fewer of many inputs:
MIXED = 4_000  # rows are scored for them, at most
NOTHING = 1e-9  # of what is said: less is rounding, and no reason
OPTIONS = 100  # levels of a category that are proposed

logger = logging.getLogger(__name__)


class About:
    """What the page shows, and the reasons for an answer."""

    def __init__(
        self,
        served: Model,
        release: str = "",
        promoted: str = "",  # the digest of the model that should answer, where it is known
        profile: Profile | None = None,
        personal: Collection[str] = (),  # inputs of which nothing is told but their names
        model_card: Path | None = None,
    ) -> None:
        self.served, self.task = served, tasks.task(served.problem.task)
        told = [column for column in served.inputs if profile and column.name not in personal]
        known = {c.name: within(c, profile.usual(c)) for c in told if profile and c.name in profile.columns}
        self.usual: Table = {column.name: fed(column, [known[column.name]]) for column in told if column.name in known}
        self.page = PAGE.read_bytes()
        self.headers = headers(self.page)
        fields = [field(column, known.get(column.name), column.name in personal) for column in served.inputs]
        self.json = to_json(
            {
                "problem": {name: getattr(served.problem, name) for name in ("name", "id", "id_type")},
                "answers": {name: part.about for name, part in self.task.answers(served.problem).items()},
                "model": served.digest,
                "family": served.family,
                "release": release,
                "promoted": promoted,
                "model_card": drawn(model_card, served.digest),
                "inputs": fields,
            }
        )

    def reasons(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row's point, that of the usual row, and what each input adds on the way, the largest first.

        Baseline Shapley values (Sundararajan and Najmi, The Many Shapley Values for Model Explanation, 2020): ordinary
        rows would be better to begin from, but no Bento carries rows. `row` has a value for every input, None where it
        is missing; one of which nothing usual is known is no reason, and `usual` is None where that is so of all.
        """
        table = {column.name: fed(column, [row[column.name]]) for column in self.served.inputs}
        out = self.served.predict(table)
        point, about = float(self.task.point(out)[0]), self.task.about(out)
        moved = [name for name, usual in self.usual.items() if not same(usual, table[name])]
        draws = min(DRAWS, ceil(MIXED / (len(moved) + 1))) if len(moved) > 1 else 1
        rng, kept = np.random.default_rng(0), table | self.usual
        added = contributions(self.served, self.task, table, kept, draws, rng, moved)[0] if moved else np.zeros(0)
        least = NOTHING * max(1.0, abs(point))
        told = [(name, float(by)) for name, by in zip(moved, added, strict=True) if abs(by) > least]
        return {
            "point": self.task.POINT,
            "about": None if about is None else self.served.problem.values[int(about[0])],
            "value": point,
            "usual": point - float(added.sum()) if self.usual else None,
            "reasons": [
                {"column": name, "contribution": by} for name, by in sorted(told, key=lambda each: -abs(each[1]))
            ],
        }


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two values are alike: NaN is."""
    return bool(one[0] == other[0] or (one[0] != one[0] and other[0] != other[0]))


def field(column: Input, usual: Any, personal: bool) -> dict[str, Any]:
    """An input as the form asks for it."""
    said = {"name": column.name, "type": column.type, "about": column.about, "missing": column.missing}
    closed = column.categories is not None
    return said | {
        "minimum": column.minimum,
        "maximum": column.maximum,
        "closed": closed,
        "options": column.categories if closed else [] if personal else column.levels[:OPTIONS],
        "example": usual,
    }


def within(column: Input, usual: Any) -> Any:
    """A value in the input's range: a profile's have six digits."""
    number = column.type in ("integer", "number") and usual is not None
    return min(max(usual, column.lowest), column.highest) if number else usual


def drawn(path: Path | None, digest: str) -> str | None:
    """The model card as HTML; None where there is none of this model. It comes with a promotion, which wrote it."""
    try:
        text = path.read_text() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        logger.info("no model card is shown: %s", error)
        return None
    if f"Model <code>{digest}</code>, " not in html.unescape(text):
        return None
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    return str(markdown.render(text))


def headers(page: bytes) -> list[tuple[bytes, bytes]]:
    """What the page is sent with: it may run its own script, and call nobody but this service."""
    script = re.search(rb"<script>(.*)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[1] if script else b"").digest()).decode()
    rules = {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest}'",
        "style-src": "'unsafe-inline'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    policy = "; ".join(f"{name} {value}" for name, value in rules.items())
    return [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
    ]
