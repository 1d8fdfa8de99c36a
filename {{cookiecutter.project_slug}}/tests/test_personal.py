"""What policies/log.yaml calls personal is hashed or left out wherever a value of a single row is written."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from gitops import explanations, facts
from pipeline import (
    behaviour,
    candidate,
    compare,
    explain,
    export,
    ingest,
    log,
    page,
    personal,
    probe,
    source,
    validate,
    writer,
)
from pipeline import rows as stage
from pipeline.model import Model
from pipeline.params import BadInput
from pipeline.personal import HASH, Policy
from pipeline.policy import judge_behaviour, judge_data
from pipeline.policy.champion import judge_seen
from tests import tables
from tests.tables import feature_rows, ours
from tests.test_behave import rules as cases
from tests.test_validate import BARS, WINDOW, sound

OMIT = "omit"
OURS = ours()
ID, TIME, LABEL = OURS.id, OURS.time, OURS.label.column
INPUTS = tuple(column for column in tables.inputs() if column.name in ("amount", "größe €"))
SCORE = tables.by_name(lambda row: np.clip(row["amount"] / 1000, 0, 1), INPUTS)
SCORER = Model(tables.problem(), "linear", INPUTS, "sha256:" + "a" * 64, SCORE)
KNOBS = {"seed": 0, "repeats": 1, "rows": 4, "draws": 5, "reasons": 2}
FIRST = "Ada Lovelace"  # identifiers begin with what is found wherever they are written

Hide = Callable[..., None]


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Hide:
    """Has the policy call columns personal; none, before it is called."""

    def hide(**columns: str) -> None:
        monkeypatch.setattr(personal, "rules", lambda: columns)
        monkeypatch.setattr(probe, "rules", lambda: columns)

    hide()
    return hide


def rows() -> pl.DataFrame:
    """Feature rows with identifiers that nothing else looks like."""
    return feature_rows().with_columns((pl.lit(FIRST) + pl.col(ID).str.slice(5)).alias(ID))


def logged(table: pl.DataFrame, rules: Mapping[str, str]) -> pl.DataFrame:
    """The rows as the prediction log writes them under these rules."""
    kept = table.select(pl.col(ID).alias(log.ID), pl.col(TIME).alias(log.TIME), *(column.name for column in INPUTS))
    return pl.concat(part for _, part in writer.parts(kept, "m", log.personal(Policy(rules, 90), ID)))


def explained(table: pl.DataFrame) -> dict[str, Any]:
    said = explain.explain(SCORER, table, OURS, KNOBS, {})
    assert facts.check(json.loads(json.dumps(said)), "explanations") is None
    return said


def drawn(said: dict[str, Any]) -> str:
    """All that is shown of explanations: the report's and the card's Markdown, and what the page has."""
    return "\n".join(explanations.lines(said)) + json.dumps(page.explained(said))


# --- explanations -----------------------------------------------------------------------------------------------------


def test_explanations_hash_as_the_log_does(hide: Hide) -> None:
    rules = {ID: HASH, "amount": HASH, "größe €": HASH, LABEL: HASH}
    table = rows()
    plain = explained(table)
    hide(**rules)
    said = explained(table)
    written = logged(table, rules)
    for kind in ("highest", "wrong"):
        for before, after in zip(plain[kind], said[kind], strict=True):
            (row,) = written.filter(pl.Series(table[ID] == before["id"])).to_dicts()
            assert after["id"] == row[log.hashed(log.ID)] != before["id"]
            assert {why["column"]: why["value"] for why in after["reasons"]} == {
                name: row[log.hashed(name)] for name in ("amount", "größe €")
            }
            assert after["label"] == personal.digest(before["label"])
            assert after["point"] == before["point"]
    assert FIRST not in json.dumps(said) + drawn(said)
    assert said["highest"][0]["id"] in drawn(said)


def test_explanations_leave_out_what_is_omitted(hide: Hide) -> None:
    table = rows()
    plain = explained(table)
    hide(**{ID: OMIT, LABEL: OMIT, "amount": OMIT})
    said = explained(table)
    for before, after in zip(plain["wrong"], said["wrong"], strict=True):
        assert set(after) == {"point", "reasons"}
        (amount,) = (why for why in after["reasons"] if why["column"] == "amount")
        assert set(amount) == {"column", "contribution"}
        (amount,) = (why for why in before["reasons"] if why["column"] == "amount")
        assert str(amount["value"]) not in json.dumps(said) and f"{amount['value']:,g}" not in drawn(said)
    assert "| – | – | 0" in drawn(said)


@pytest.mark.usefixtures("hide")
def test_nobody_is_hidden_where_nothing_is_personal() -> None:
    row = {ID: 1, "amount": 2.5, LABEL: None}
    assert personal.shown(row) == row
    assert personal.named(ID, 7) == f"{ID} 7"


# --- examples ---------------------------------------------------------------------------------------------------------


def validated() -> tuple[str, str]:
    """reports/validation.json of rows with every kind of fault in them, and what the judge says."""
    table = sound().with_columns((pl.lit(FIRST) + pl.col(ID)).alias(ID))
    odd = pl.int_range(pl.len()) == 0
    table = table.with_columns(
        pl.when(odd).then(-123.25).otherwise("amount").alias("amount"),
        pl.when(odd).then(pl.lit("Ada's own")).otherwise("model_config").alias("model_config"),
    )
    table = pl.concat([table, table[:1]])
    found = validate.measure(table.lazy(), OURS, WINDOW)
    measured = json.dumps({**found, "file": "x", "source": "s", "pinned": True}, default=str)
    return measured, "\n".join(map(str, judge_data(json.loads(measured), BARS)))


def test_examples_of_faults_are_hidden(hide: Hide) -> None:
    first = sound().with_columns((pl.lit(FIRST) + pl.col(ID)).alias(ID))[ID][0]
    for said in validated():
        assert FIRST in said and "-123.25" in said and "Ada's own" in said
    hide(**{ID: HASH, "amount": OMIT, "model_config": HASH})
    for said in validated():
        assert FIRST not in said and "-123.25" not in said and "Ada's own" not in said
        assert str(personal.digest(first)) in said and str(personal.digest("Ada's own")) in said
    hide(**{ID: OMIT, "amount": OMIT, "model_config": OMIT})
    measured, judged = validated()
    assert FIRST not in measured + judged and "-123.25" not in measured + judged
    assert f"{ID} not shown in 2 rows" in judged


def contaminated() -> str:
    """What is measured and said of test rows that were trained on."""
    table = rows()[:3]
    seen = {"model": compare.seen(table, OURS, stage.hashes(table, OURS))}
    judged = judge_seen({"seen": seen, "rows": 3}, {"contamination": 0})
    return json.dumps(seen) + "".join(map(str, judged))


def test_examples_of_contamination_are_hidden(hide: Hide) -> None:
    assert FIRST in contaminated()
    hide(**{ID: HASH})
    assert FIRST not in contaminated() and str(personal.digest(rows()[ID][0])) in contaminated()
    hide(**{ID: OMIT})
    assert '"rows": 3' in contaminated() and '"examples": []' in contaminated()


def behaved(**kinds: list[dict[str, Any]]) -> str:
    """What is measured and said of a model that does not do what is asked."""
    asked = cases(**kinds)
    measured = {"cases": list(behaviour.behave(SCORER, rows(), OURS, asked))}
    return json.dumps(measured) + "".join(map(str, judge_behaviour(measured, asked)))


SMALL = {"case": "Small", "where": {"amount": {"to": 900}}, "above": 0.99, "share": 1}
WRITTEN = {"case": "Written", "row": {"amount": 1}, "above": 0.99, "share": 1}


def test_examples_of_behaviour_are_hidden_but_for_rows_that_nobody_is(hide: Hide) -> None:
    assert FIRST in behaved(functionality=[SMALL])
    hide(**{ID: HASH})
    assert FIRST not in behaved(functionality=[SMALL])
    assert "by hand" in behaved(functionality=[WRITTEN])
    hide(**{ID: OMIT})
    assert '"id"' not in behaved(functionality=[SMALL]) and "such as  a row: " in behaved(functionality=[SMALL])


def test_an_answer_of_the_service_is_not_quoted_where_it_may_name_somebody(hide: Hide) -> None:
    assert probe.quoted({ID: FIRST}) == f"{{'{ID}': '{FIRST}'}}"
    hide(customer=OMIT)
    assert FIRST not in probe.quoted({ID: FIRST})


def test_messages_do_not_name_rows(hide: Hide) -> None:
    table = rows()[:3]
    theirs = tables.source(3).with_columns((pl.lit(FIRST) + pl.col(ID).str.slice(5)).alias(ID))
    for how, word in ((HASH, str(personal.digest(table[ID][0]))), (OMIT, "not shown")):
        hide(**{ID: how})
        with pytest.raises(BadInput, match=f"the first with {ID} {word};"):
            candidate.joined(table[1:], theirs, (date(2020, 1, 1), date(2020, 1, 20)), OURS)


# --- sentences that end a stage ---

SECRETS = (FIRST, "Ada's own", "271828")  # 271828 also ends numbers


def with_secrets(**values: Any) -> pl.DataFrame:
    """Three rows of the source with identifiers that are secret, the first with these values."""
    table = tables.source(3).with_columns((pl.lit(FIRST) + pl.col(ID)).alias(ID))
    first = pl.int_range(pl.len()) == 0
    return table.with_columns(
        pl.when(first).then(pl.lit(value)).otherwise(name).alias(name) for name, value in values.items()
    )


def made_of(compute: Callable[[pl.DataFrame], pl.DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that a features.py makes."""
    monkeypatch.setattr(stage, "features", lambda: SimpleNamespace(compute=lambda source, *_: compute(source)))
    stage.made(with_secrets(), replace(OURS, computed=(OURS.column("items"),)), {})


def exported() -> None:
    """A graph that answers otherwise than the fitted family, of a row of secrets alone."""
    table = rows()[:1].with_columns(pl.lit(271828.0).alias("amount"))
    export.check(SCORER, table, np.zeros((1, 1)), {"threshold": np.array(0.5)}, 1e-9)


def read_as(kind: str, *values: Any) -> None:
    """A delivery whose column `amount` is to be of another type."""
    columns = tuple(replace(each, type=kind) if each.name == "amount" else each for each in OURS.columns)
    table = with_secrets().with_columns(pl.Series("amount", values, strict=False))
    ingest.read(table, "2020-01-01.parquet", replace(OURS, columns=columns))


UNSIGNED = pl.lit(9_900_000_000_000_271_828, pl.UInt64).alias("items")
SENTENCES: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "a label that is none": lambda _: stage.identified(with_secrets(returned="Ada's own"), OURS),
    "no moment": lambda _: stage.identified(with_secrets(ordered_at=None), OURS),
    "no weight": lambda _: stage.identified(with_secrets(amount=-271828.0), replace(OURS, weight="amount")),
    "an infinite input": lambda _: stage.made(with_secrets(amount=float("inf")), OURS, {}),
    "a number too large": lambda patch: made_of(lambda source: source.with_columns(UNSIGNED), patch),
    "a row lost": lambda patch: made_of(lambda source: source[1:], patch),
    "a row twice": lambda patch: made_of(lambda source: pl.concat([source, source[:1]]), patch),
    "a graph that differs": lambda _: exported(),
    "no whole number": lambda _: read_as("integer", 271828.5, 1, 2),
    "neither true nor false": lambda _: read_as("boolean", 271828, 1, 0),
    "no category": lambda _: read_as("category", 271828.5, 1, 2),
    "no number": lambda _: read_as("number", "Ada's own", "1", "2"),
    "no time": lambda _: read_as("time", "Ada's own", "1", "2"),
    "no parquet": lambda _: source.listed(
        cast(source.File, SimpleNamespace(name="x", pieces=lambda: [b"Ada's own\n"]))
    ),
}


@pytest.mark.parametrize("fault", SENTENCES)
def test_no_sentence_says_what_is_personal(fault: str, hide: Hide, monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> str:
        with pytest.raises(BadInput) as refused:
            SENTENCES[fault](monkeypatch)
        return str(refused.value)

    assert any(secret in said() for secret in SECRETS), "it says so where nothing is personal"
    hide(**dict.fromkeys(personal.columns(OURS), OMIT))
    assert not [secret for secret in SECRETS if secret in said()]


# --- the policy -------------------------------------------------------------------------------------------------------


def test_columns_of_the_source_may_be_personal_too(tmp_path: Path) -> None:
    """The log never holds them; examples do."""
    known = personal.columns(OURS)
    (tmp_path / "log.yaml").write_text(
        "{personal: {customer: hash, shoe size: hash, returned: omit}, retention_days: 9}"
    )
    rules = personal.policy(known, tmp_path / "log.yaml").personal
    assert logged(rows()[:2], rules).columns == logged(rows()[:2], {}).columns
    (tmp_path / "log.yaml").write_text("{personal: {ordered_at: omit}, retention_days: 9}")
    with pytest.raises(BadInput, match=r"personal\.ordered_at is no column that can be hashed or left out"):
        personal.policy(known, tmp_path / "log.yaml")
    assert personal.policy(path=tmp_path / "log.yaml"), "a service knows no more than its inputs"
