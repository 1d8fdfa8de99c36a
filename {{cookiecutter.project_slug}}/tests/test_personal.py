"""What policies/log.yaml calls personal is hashed or left out wherever a value of a single row is written."""

import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from gitops import explanations, facts
from pipeline import behaviour, candidate, compare, evaluate, explain, log, page, personal, probe, validate
from pipeline.model import Model
from pipeline.params import BadInput
from pipeline.personal import HASH, OMIT
from pipeline.policy import judge_behaviour, judge_data
from pipeline.policy.bars import load
from pipeline.policy.champion import judge_seen
from pipeline.schema import ID, LABEL, SOURCE, TIME, Column
from tests.tables import feature_rows
from tests.test_behave import rules as cases
from tests.test_evaluate import TEST
from tests.test_validate import WINDOW, sound

INPUTS = tuple(
    Column(name, dtype, None, None, "") for name, dtype in (("tx_amount", "float64"), ("tx_during_night", "int64"))
)
SCORER = Model(INPUTS, "sha256:" + "a" * 64, lambda row: np.clip(row["tx_amount"] / 1000, 0, 1))
KNOBS = {"seed": 0, "repeats": 1, "rows": 4, "draws": 5, "reasons": 2}
FIRST = 10**12  # identifiers that are found wherever they are written

Hide = Callable[..., None]


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Hide:
    """Has the policy call columns personal."""

    def hide(**columns: str) -> None:
        monkeypatch.setattr(personal, "rules", lambda: columns)
        monkeypatch.setattr(probe, "rules", lambda: columns)

    return hide


def rows() -> pl.DataFrame:
    """Feature rows with identifiers that nothing else looks like."""
    return feature_rows().with_columns(pl.col(ID) + FIRST)


def logged(table: pl.DataFrame, rules: Mapping[str, str]) -> pl.DataFrame:
    """The rows as the prediction log writes them under these rules."""
    kept = table.with_columns(pl.lit(0.5).alias(log.SCORE)).select(
        ID, TIME, *(column.name for column in INPUTS), "score"
    )
    return pl.concat(part for _, part in log.parts(kept, "m", log.Policy(rules, 90)))


def explained(table: pl.DataFrame) -> dict[str, Any]:
    said = explain.explain(SCORER, evaluate.judged(table, TEST, 7, 7), KNOBS)
    assert facts.check(json.loads(json.dumps(said)), "explanations") is None
    return said


def drawn(said: dict[str, Any]) -> str:
    """All that is shown of explanations: the report's and the card's Markdown, and what the page has."""
    return "\n".join(explanations.lines(said)) + json.dumps(page.explained(said))


# --- explanations -----------------------------------------------------------------------------------------------------


def test_explanations_hash_as_the_log_does(hide: Hide) -> None:
    rules = {ID: HASH, "tx_amount": HASH, "tx_during_night": HASH, LABEL: HASH}
    table = rows()
    plain = explained(table)
    hide(**rules)
    said = explained(table)
    written = logged(table, rules)
    for kind in ("suspicious", "wrong"):
        for before, after in zip(plain[kind], said[kind], strict=True):
            row = written.row(before["id"] - FIRST, named=True)
            assert after["id"] == row[ID] != str(before["id"])
            assert {why["column"]: why["value"] for why in after["reasons"]} == {
                "tx_amount": row["tx_amount"],
                "tx_during_night": row["tx_during_night"],
            }
            assert after["label"] == personal.digest(before["label"])
            assert after["score"] == before["score"]
    assert str(FIRST)[:9] not in json.dumps(said) + drawn(said)
    assert said["suspicious"][0]["id"] in drawn(said)


def test_explanations_leave_out_what_is_omitted(hide: Hide) -> None:
    table = rows()
    plain = explained(table)
    hide(**{ID: OMIT, LABEL: OMIT, "tx_amount": OMIT})
    said = explained(table)
    for before, after in zip(plain["wrong"], said["wrong"], strict=True):
        assert set(after) == {"score", "reasons"}
        (amount,) = (why for why in after["reasons"] if why["column"] == "tx_amount")
        assert set(amount) == {"column", "contribution"}
        (amount,) = (why for why in before["reasons"] if why["column"] == "tx_amount")
        assert str(amount["value"]) not in json.dumps(said) and f"{amount['value']:,g}" not in drawn(said)
    assert "| – | – | 0" in drawn(said)
    assert "tx&#95;amount&#58; " in drawn(said) and "tx_amount: " in drawn(said)


def test_by_default_nobody_is_hidden() -> None:
    assert personal.rules() == {}
    row = {ID: 1, "tx_amount": 2.5, LABEL: None}
    assert personal.shown(row) == row
    assert personal.named(ID, 7) == f"{ID} 7"


# --- examples ---------------------------------------------------------------------------------------------------------


def validated() -> tuple[str, str]:
    """reports/validation.json of rows with every kind of fault in them, and what the judge says."""
    table = sound().with_columns(pl.col(ID) + FIRST, pl.col("customer_id") + 777_000)
    odd = pl.col(ID) == FIRST
    table = table.with_columns(
        tx_amount=pl.when(odd).then(-123.25).otherwise("tx_amount"),
        terminal_id=pl.when(odd).then(-1).otherwise("terminal_id"),
    )
    table = pl.concat([table, table[:1]])
    found = validate.measure(table.lazy(), SOURCE, WINDOW)
    measured = json.dumps({**found, "file": "x", "source": "s", "pinned": True}, default=str)
    return measured, "\n".join(map(str, judge_data(json.loads(measured), load("data"))))


def test_examples_of_faults_are_hidden(hide: Hide) -> None:
    for said in validated():
        assert str(FIRST) in said and "-123.25" in said
    hide(**{ID: HASH, "tx_amount": OMIT, "terminal_id": HASH})
    for said in validated():
        assert str(FIRST) not in said and "-123.25" not in said
        assert str(personal.digest(FIRST)) in said and str(personal.digest(-1)) in said
    hide(**{ID: OMIT, "tx_amount": OMIT, "terminal_id": OMIT})
    measured, judged = validated()
    assert str(FIRST) not in measured + judged and "-123.25" not in measured + judged
    assert f"{ID} not shown in 2 rows" in judged


def contaminated() -> str:
    """What is measured and said of test rows that were trained on."""
    table = rows()[:3]
    seen = {"model": compare.seen(table, compare.rows.hashes(table))}
    judged = judge_seen({"seen": seen, "rows": 3}, {"contamination": 0})
    return json.dumps(seen) + "".join(map(str, judged))


def test_examples_of_contamination_are_hidden(hide: Hide) -> None:
    assert str(FIRST) in contaminated()
    hide(**{ID: HASH})
    assert str(FIRST) not in contaminated() and str(personal.digest(FIRST)) in contaminated()
    hide(**{ID: OMIT})
    assert '"rows": 3' in contaminated() and '"examples": []' in contaminated()


def behaved(**kinds: list[dict[str, Any]]) -> str:
    """What is measured and said of a model that does not do what is asked."""
    asked = cases(**kinds)
    measured = {"cases": list(behaviour.behave(SCORER, rows(), asked))}
    return json.dumps(measured) + "".join(map(str, judge_behaviour(measured, asked)))


SMALL = {"case": "Small", "where": {"tx_amount": {"to": 900}}, "above": 0.99, "share": 1}
WRITTEN = {"case": "Written", "row": {"tx_amount": 1}, "above": 0.99, "share": 1}


def test_examples_of_behaviour_are_hidden_but_for_rows_that_nobody_is(hide: Hide) -> None:
    assert str(FIRST)[:9] in behaved(functionality=[SMALL])
    hide(**{ID: HASH})
    assert str(FIRST)[:9] not in behaved(functionality=[SMALL])
    assert "by hand" in behaved(functionality=[WRITTEN])
    hide(**{ID: OMIT})
    assert '"id"' not in behaved(functionality=[SMALL]) and "such as  a row: " in behaved(functionality=[SMALL])


def test_an_answer_of_the_service_is_not_quoted_where_it_may_name_somebody(hide: Hide) -> None:
    assert probe.quoted({ID: FIRST}) == f"{{'{ID}': {FIRST}}}"
    hide(**{"customer_id": OMIT})
    assert str(FIRST) not in probe.quoted({ID: FIRST})


def test_messages_do_not_name_rows(hide: Hide) -> None:
    table = rows()[:3]
    for how, word in ((HASH, str(personal.digest(FIRST))), (OMIT, "not shown")):
        hide(**{ID: how})
        with pytest.raises(BadInput, match=f"the first with {ID} {word};"):
            candidate.joined(table[1:], table.select(ID, *candidate.IDENTITY), (date(2020, 1, 1), date(2020, 1, 20)))


# --- the policy -------------------------------------------------------------------------------------------------------


def test_columns_of_the_source_may_be_personal_too(tmp_path: Path) -> None:
    """The log never holds them; examples do."""
    (tmp_path / "log.yaml").write_text("{personal: {customer_id: hash, tx_fraud: omit}, retention_days: 9}")
    rules = personal.policy(INPUTS, tmp_path / "log.yaml").personal
    assert logged(rows()[:2], rules).columns == logged(rows()[:2], {}).columns
    (tmp_path / "log.yaml").write_text("{personal: {tx_datetime: omit}, retention_days: 9}")
    with pytest.raises(BadInput, match=r"personal\.tx_datetime is no column that can be hashed or left out"):
        personal.policy(INPUTS, tmp_path / "log.yaml")
