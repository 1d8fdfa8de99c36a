"""The model's own page, at /: what runs and where it came from, and a form that scores a row, with the reasons.

about.html calls nobody but this service. A row that is tried there is not logged, and counted apart from requests.
"""

import base64
import hashlib
import html
import logging
import re
from collections.abc import Collection, Mapping
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
ORDINARY, DRAWS = 500, 100  # rows that a row's reasons are told from, and orders of the inputs that are tried
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
        card: Path | None = None,
    ) -> None:
        self.served, self.task = served, tasks.task(served.problem.task)
        self.ordinary: Table = {}
        if profile:
            told = [column for column in served.inputs if column.name not in personal]
            drawn = profile.rows(told, ORDINARY, np.random.default_rng(0))
            self.ordinary = {column.name: fed(column, drawn[column.name]) for column in told if column.name in drawn}
        self.page = PAGE.read_bytes()
        self.headers = headers(self.page)
        fields = [field(column, profile, column.name in personal) for column in served.inputs]
        self.json = to_json(
            {
                "problem": {name: getattr(served.problem, name) for name in ("name", "id", "id_type", "time", "unit")},
                "answers": {name: part.about for name, part in self.task.answers(served.problem).items()},
                "model": served.digest,
                "family": served.family,
                "release": release,
                "promoted": promoted,
                "card": drawn_card(card, served.digest),
                "inputs": fields,
            }
        )

    def reasons(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row's point, that of ordinary rows, and what each input adds on the way, the largest first.

        `row` has a value for every input, None where it is missing. None of `ordinary` and `reasons` where nothing is
        known of ordinary rows; an input that nothing is known of is as it is in the row, and no reason.
        """
        table = {column.name: fed(column, [row[column.name]]) for column in self.served.inputs}
        out = self.served.predict(table)
        point, about = float(self.task.point(out)[0]), self.task.about(out)
        said = {
            "point": self.task.POINT,
            "value": point,
            "about": None if about is None else self.served.problem.values[int(about[0])],
        }
        if not self.ordinary:
            return {**said, "ordinary": None, "reasons": []}
        kept = {name: np.repeat(values, ORDINARY) for name, values in table.items()} | self.ordinary
        added = contributions(self.served, self.task, table, kept, DRAWS, np.random.default_rng(0))[0]
        whole = [
            {"column": name, "contribution": float(by)}
            for name, by in zip(table, added, strict=True)
            if name in self.ordinary
        ]
        ordered = sorted(whole, key=lambda each: -abs(each["contribution"]))
        return {**said, "ordinary": point - float(added.sum()), "reasons": ordered}


def field(column: Input, profile: Profile | None, personal: bool) -> dict[str, Any]:
    """An input as the form asks for it."""
    said = {"name": column.name, "type": column.type, "about": column.about, "missing": column.missing}
    closed = column.categories is not None
    return said | {
        "minimum": column.minimum,
        "maximum": column.maximum,
        "closed": closed,
        "options": column.categories if closed else [] if personal else column.levels[:OPTIONS],
        "example": None if personal or profile is None else profile.usual(column),
    }


def drawn_card(path: Path | None, digest: str) -> str | None:
    """The model's card as HTML; None where there is none of this model. It comes with a promotion, which wrote it."""
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
