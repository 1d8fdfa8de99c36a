"""The model's own page: what it tells, what it keeps to itself, and reasons that add up."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import model
from pipeline.about import PAGE, About
from pipeline.model import Model
from pipeline.profile import Profile
from tests import tables

INPUTS = tables.inputs()
WEEK = 7
SHARES = {"ends": [10.0, 50.0], "shares": [[0.25, 0.5, 0.25, 0.0]] * WEEK}
LEVELS = {"levels": ["klein", "groß"], "shares": [[0.5, 0.25, 0.25, 0.0]] * WEEK}
USUAL = {"amount": 50.0, "größe €": "klein", "express": False}
ROW: dict[str, Any] = {column.name: None for column in INPUTS} | USUAL | {"items": 2, "born": 9000.0}


def scored(packed: Any) -> model.Outputs:
    """The score rises with the sum of the numbers, and with a large size."""
    total = np.nansum(packed[model.NUMBERS], axis=0) / 10_000 + 0.3 * (packed[model.TEXTS] == "groß").any(axis=0)
    return tables.said(total)


SERVED = Model(tables.problem(), "linear", INPUTS, "sha256:ab", scored)
PROFILE = Profile.model_validate(
    {
        "model": "sha256:ab",
        "columns": {
            "amount": SHARES,
            "größe €": LEVELS,
            "express": {"levels": ["false", "true"], "shares": [[0.75, 0.25, 0.0, 0.0]] * WEEK},
        },
    }
)


def told(about: About) -> dict[str, dict[str, Any]]:
    """The inputs as the form asks for them, by name."""
    return {each["name"]: each for each in json.loads(about.json)["inputs"]}


def test_the_form_begins_with_the_usual_row() -> None:
    fields = told(About(SERVED, profile=PROFILE))
    assert list(fields) == [column.name for column in INPUTS]
    assert {name: each["example"] for name, each in fields.items() if each["example"] is not None} == USUAL
    assert fields["model_config"]["options"] == ["basic", "extra"] and fields["model_config"]["closed"]
    assert "groß" in fields["größe €"]["options"] and not fields["größe €"]["closed"]


def test_reasons_lead_from_the_usual_row_to_this_one() -> None:
    about = About(SERVED, profile=PROFILE)
    said = about.reasons(ROW | {"amount": 1050.0, "größe €": "groß", "items": 9})
    assert [each["column"] for each in said["reasons"]] == ["größe €", "amount"], "items are usual as they are"
    assert [each["contribution"] for each in said["reasons"]] == pytest.approx([0.3, 0.1])
    assert said["value"] - said["usual"] == pytest.approx(0.4) and said["about"] is None
    assert about.reasons(ROW)["reasons"] == []
    assert about.reasons(ROW | {"amount": 50.0 + 1e-9})["reasons"] == [], "rounding is no reason"


def test_without_a_profile_nothing_is_usual() -> None:
    said = About(SERVED).reasons(ROW)
    assert said["usual"] is None and said["reasons"] == [] and said["value"] > 0


def test_of_what_is_personal_the_name_alone_is_told() -> None:
    about = About(SERVED, profile=PROFILE, personal={"größe €"})
    field = told(about)["größe €"]
    assert field["example"] is None and field["options"] == []
    said = about.reasons(ROW | {"größe €": "groß", "amount": 1050.0})
    assert [each["column"] for each in said["reasons"]] == ["amount"]


CARD = "# Model card\n\nModel <code>sha256&#58;{}</code>, released as it is.\n\n| a |\n| --- |\n| <code>b</code> |\n"


def test_the_card_of_this_model_is_drawn_and_no_other(tmp_path: Path) -> None:
    def card(text: str | bytes) -> str | None:
        path = tmp_path / "MODEL_CARD.md"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        found: str | None = json.loads(About(SERVED, model_card=path).json)["model_card"]
        return found

    assert "<td><code>b</code></td>" in (card(CARD.format("ab")) or "")
    assert card(CARD.format("cd")) is None
    assert card(CARD.format("cd") + "- Compared with <code>sha256&#58;ab</code>") is None, "it is another's card"
    assert card(b"\xff") is None
    assert json.loads(About(SERVED, model_card=tmp_path / "none").json)["model_card"] is None


def test_the_page_calls_nobody_but_this_service() -> None:
    assert not re.search(r"https?:|//[a-z]", re.sub(r"^\s*//.*|\s// .*", "", PAGE.read_text(), flags=re.MULTILINE))
    policy = dict(About(SERVED).headers)[b"content-security-policy"].decode()
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe-eval" not in policy
    (script,) = re.findall(r"script-src ([^;]+)", policy)
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", script)
