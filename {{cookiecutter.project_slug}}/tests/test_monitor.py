"""Production is measured and judged: each kind of drift is named and dated; what cannot be told is a sentence."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from gitops import facts
from pipeline import ingest, log, model, monitor, params, policy, reference, schema
from pipeline.schema import ID, LABEL, TIME
from tests.tables import ROOT, knobs, write_knobs, write_model

INPUTS = tuple(c for c in schema.feature_row((1,)) if c.name in ("tx_amount", "tx_during_weekend", "tx_during_night"))
NAMES = [column.name for column in INPUTS]
FIRST, UNTIL, BEGAN, LAST = date(2019, 12, 20), date(2020, 1, 20), date(2020, 1, 29), date(2020, 2, 25)
MATURED = LAST - timedelta(days=7)
CHANGED = date(2020, 2, 21)  # the world, where a test changes it
PAGE = monitor.page
DAY = pl.col(TIME).dt.date()
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")

Change = Callable[[pl.DataFrame], pl.DataFrame]


@cache
def world() -> pl.DataFrame:
    """The source's days with the model's inputs beside them: a large amount is a fraud, and so is 1 row of 100."""
    draw = np.random.default_rng(0)
    number = 1_000 * ((LAST - FIRST).days + 1)
    amount = draw.gamma(2, 40, number).round(2)
    seconds = np.sort(draw.integers(0, 86_400 * ((LAST - FIRST).days + 1), number))
    rows = pl.DataFrame(
        {
            ID: np.arange(number),
            TIME: np.datetime64(FIRST, "us") + seconds.astype("timedelta64[s]"),
            "customer_id": draw.integers(0, 20_000, number),
            "terminal_id": draw.integers(0, 100, number),
            "tx_amount": amount,
            LABEL: ((amount > 220) | (draw.random(number) < 0.01)).astype(np.int64),
        }
    )
    weekend, night = pl.col(TIME).dt.weekday() >= 6, pl.col(TIME).dt.hour() <= 6
    return rows.with_columns(
        weekend.cast(pl.Int64).alias("tx_during_weekend"), night.cast(pl.Int64).alias("tx_during_night")
    )


def write_log(rows: pl.DataFrame, scorer: Any, digest: str | None = None, ago: float = 0) -> None:
    """Log the rows as the service does, scored so many days ago."""
    logged = rows.select(
        ID,
        pl.col(TIME).cast(pl.Datetime("us")),
        *NAMES,
        pl.Series(log.SCORE, scorer.predict(rows)),
        pl.lit("0" * 32).alias(log.REQUEST),
        pl.lit(datetime.now(UTC) - timedelta(days=ago)).cast(log.ALWAYS[log.SCORED]).alias(log.SCORED),
    )
    for name, part in log.parts(logged, digest or scorer.digest, log.policy()):
        log.Folder.at("predictions").put(name, log.encoded(part))


class SameScores:
    """Answers as the model did before a test spoiled its inputs."""

    def __init__(self, digest: str, scores: np.ndarray) -> None:
        self.digest, self.scores = digest, scores

    def predict(self, rows: pl.DataFrame) -> np.ndarray:
        return self.scores


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a model in production, a source of daily files, and no log."""
    folder = tmp_path_factory.mktemp("healthy")
    rows, days = world(), params.days(knobs())
    scorer = write_model(folder / "build/production/model", INPUTS)
    parts = {reference.TRAIN: days.train, reference.TEST: days.test}
    pl.concat(
        reference.part(name, rows.filter(DAY.is_between(*span)), scorer) for name, span in parts.items()
    ).write_parquet(folder / "build/production/reference.parquet")
    (folder / "build/production/manifest.json").write_text("{}")
    for command in (["init", "-q"], ["commit", "-qm", "Start", "--allow-empty"]):
        subprocess.run([*GIT, *command], cwd=folder, check=True)
    (folder / "source").mkdir()
    for (day,), table in rows.group_by(DAY):
        table.select(column.name for column in schema.SOURCE).write_parquet(folder / "source" / f"{day}.parquet")
    shutil.copytree(ROOT / "policies", folder / "policies")
    write_knobs(folder, knobs(data={"until": str(UNTIL), "source": "source"}))
    bars = yaml.safe_load((folder / "policies/drift.yaml").read_text())
    bars |= {
        "window": {"days": 7, "minimum_days": 3, "rows": 2_000, "grace_days": 7, "silent_days": 3},
        "evidence_days": 2,
        "columns": {"maximum": 0.15, "exceptions": {}},
        "score": {"maximum": 0.2},
        "quality": {"missing": 0.01, "out_of_range": 0.01},
        "live": {"rows": 2_000, "unlabelled": 0.05, "metrics": {"average_precision": {"minimum": 0.2, "drop": 0.15}}},
    }
    (folder / "policies/drift.yaml").write_text(yaml.safe_dump(bars))
    (folder / "deploy/production").mkdir(parents=True)
    at_promotion = {"model": {"digest": scorer.digest}, "metrics": {"average_precision": {"value": 0.4, "low": 0.36}}}
    (folder / "deploy/production/metrics.json").write_text(json.dumps(at_promotion))
    return folder


class Here:
    """A repository to check: what the log is filled with, and what comes of it."""

    def __init__(self) -> None:
        self.rows = world().filter(DAY >= BEGAN)
        self.scorer: Any = model.load("build/production/model")

    def fill(self, change: Change = lambda rows: rows, **how: Any) -> None:
        write_log(change(self.rows), self.scorer, **how)

    def change(self, block: str, file: str = "policies/drift.yaml", **values: Any) -> None:
        found = yaml.safe_load(Path(file).read_text())
        found[block] = found[block] | values
        Path(file).write_text(yaml.safe_dump(found))

    def check(self, outcome: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What was measured, of the form that gitops takes; and the gate's file, of the outcome that is expected."""
        monitor.main()
        problems: list[str] = []
        measured = facts.read(monitor.DRIFT, "drift", problems)
        try:
            policy.main(["drift"])
            failed = False
        except SystemExit:
            failed = True
        gate = facts.read(Path("reports/gate-drift.json"), "drift_gate", problems)
        assert not problems
        assert (gate["outcome"], failed) == (outcome, outcome in ("drifted", "unknown")), (gate, measured["problem"])
        return measured, gate


@pytest.fixture
def here(healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    shutil.copytree(healthy, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("PREDICTION_LOG", raising=False)
    monkeypatch.setattr(monitor, "page", lambda *_: None)
    monkeypatch.setattr(log, "ROOT", tmp_path)
    return Here()


def from_day(column: str, value: pl.Expr, day: date = CHANGED) -> Change:
    """A change of a column from a day on."""
    return lambda rows: rows.with_columns(pl.when(day <= DAY).then(value).otherwise(pl.col(column)).alias(column))


def found(gate: dict[str, Any]) -> set[tuple[str, str | None]]:
    """Rule and first day of each violation."""
    return {(violation["rule"], violation["since"]) for violation in gate["violations"]}


# --- not configured, healthy ---


def test_nothing_in_production_passes_and_says_so(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    here.fill()
    shutil.rmtree("build/production")
    measured, gate = here.check("not_configured")
    assert not measured["configured"] and measured["model"] is None
    assert "nothing is in production" in gate["not_judged"][0] and "nothing is in production" in capsys.readouterr().out


def test_no_log_passes_and_says_so(here: Here) -> None:
    measured, gate = here.check("not_configured")
    assert measured["model"] == here.scorer.digest and "PREDICTION_LOG" in gate["not_judged"][0]


def test_the_same_world_is_healthy(here: Here) -> None:
    here.fill()
    measured, gate = here.check("healthy")
    assert gate["violations"] == gate["not_judged"] == []
    assert measured["window"] == [str(LAST - timedelta(days=6)), str(LAST)]
    assert measured["rows"] == here.rows.filter(LAST - timedelta(days=7) < DAY).height
    assert [column["name"] for column in measured["columns"]] == NAMES
    assert [day["day"] for day in measured["days"]] == [str(BEGAN + timedelta(days=n)) for n in range(28)]


def test_another_address_is_read(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.fill()
    Path("predictions").rename("elsewhere")
    monkeypatch.setenv("PREDICTION_LOG", "elsewhere")
    here.check("healthy")


def test_days_are_compared_with_the_same_days_of_the_week(here: Here) -> None:
    here.fill(lambda rows: rows.filter(pl.col("tx_during_weekend") == 0))
    measured, _ = here.check("healthy")
    assert {column["name"]: column["distance"] for column in measured["columns"]}["tx_during_weekend"] == 0


def test_today_is_not_over_and_not_looked_at(here: Here) -> None:
    here.fill()
    today = here.rows.head(50).with_columns(pl.lit(datetime.now(UTC).replace(tzinfo=None)).alias(TIME))
    write_log(today, here.scorer)
    assert here.check("healthy")[0]["window"][1] == str(LAST)


# --- drift ---


@pytest.mark.parametrize(
    ("column", "value", "rules"),
    [
        ("tx_amount", pl.col("tx_amount") * 1.5, {"columns.maximum", "score.maximum"}),
        ("tx_during_night", pl.lit(1), {"columns.maximum"}),
    ],
)
def test_a_changed_column_is_named_and_dated(here: Here, column: str, value: pl.Expr, rules: set[str]) -> None:
    here.fill(from_day(column, value))
    _, gate = here.check("drifted")
    assert found(gate) == {(rule, str(CHANGED)) for rule in rules}
    said = [violation["value"] for violation in gate["violations"] if violation["rule"] == "columns.maximum"]
    assert len(said) == 1 and said[0].startswith(f"{column} is ") and said[0].endswith(f"since {CHANGED}")


def test_drift_older_than_the_days_looked_at_is_since_then_or_before(here: Here) -> None:
    here.fill(from_day("tx_during_night", pl.lit(1), BEGAN))
    _, gate = here.check("drifted")
    assert found(gate) == {("columns.maximum", str(BEGAN))}
    assert gate["violations"][0]["value"].endswith("or before")


def test_one_odd_day_is_no_drift_and_is_said(here: Here) -> None:
    here.fill(from_day("tx_during_night", pl.lit(1), LAST))
    here.change("columns", exceptions={"tx_during_night": 0.1})
    _, gate = here.check("healthy")
    assert [said for said in gate["not_judged"] if said.startswith("tx_during_night") and str(LAST) in said]


def test_a_column_may_have_a_bar_of_its_own(here: Here) -> None:
    here.fill(from_day("tx_during_night", pl.lit(1)))
    here.change("columns", exceptions={"tx_during_night": 10})
    here.check("healthy")


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_missing_values_are_counted(here: Here, nothing: float | None) -> None:
    half = pl.when(pl.col(ID) % 2 == 0).then(pl.lit(nothing, pl.Float64)).otherwise(pl.col("tx_amount"))
    here.scorer = SameScores(here.scorer.digest, here.scorer.predict(here.rows))
    here.fill(from_day("tx_amount", half, LAST - timedelta(days=6)))
    measured, gate = here.check("drifted")
    assert measured["columns"][0]["missing"] == pytest.approx(0.5, abs=0.05)
    assert "quality.missing" in {violation["rule"] for violation in gate["violations"]}
    assert "tx_amount is missing" in gate["violations"][-1]["value"]


def test_an_empty_column_is_a_fault_of_quality_and_has_no_distance(here: Here) -> None:
    here.scorer = SameScores(here.scorer.digest, here.scorer.predict(here.rows))
    here.fill(lambda rows: rows.with_columns(pl.lit(None, pl.Int64).alias("tx_during_night")))
    measured, gate = here.check("drifted")
    assert measured["columns"][2]["distance"] is None and measured["columns"][2]["missing"] == 1
    assert found(gate) == {("quality.missing", None)}


def test_values_out_of_range_are_counted(here: Here) -> None:
    here.fill(from_day("tx_during_night", pl.lit(7)))
    _, gate = here.check("drifted")
    assert {rule for rule, _ in found(gate)} == {"columns.maximum", "quality.out_of_range"}


# --- live quality ---


def test_quality_is_measured_on_matured_days_only(here: Here) -> None:
    for day in range(7):  # these labels are not to be believed yet
        path = Path(f"source/{LAST - timedelta(days=day)}.parquet")
        pl.read_parquet(path).with_columns(pl.lit(0, pl.Int64).alias(LABEL)).write_parquet(path)
    here.fill()
    live = here.check("healthy")[0]["live"]
    assert live["days"] == [str(MATURED - timedelta(days=6)), str(MATURED)]
    assert live["unlabelled"] == 0 and 6_000 < live["rows"] <= 7_100


def test_a_model_that_ranks_worse_is_found(here: Here) -> None:
    worse = MATURED - timedelta(days=4)
    for path in Path("source").iterdir():
        if path.stem >= str(worse):
            other = (pl.col(ID) % 50 == 0).cast(pl.Int64).alias(LABEL)
            pl.read_parquet(path).with_columns(other).write_parquet(path)
    here.fill()
    measured, gate = here.check("drifted")
    assert {rule for rule, _ in found(gate)} == {
        f"live.metrics.average_precision.{rule}" for rule in ("minimum", "drop")
    }
    assert {since for _, since in found(gate)} == {str(worse)}
    assert measured["live"]["metrics"]["average_precision"]["high"] < 0.2


def test_pseudonyms_join(here: Here) -> None:
    here.fill()
    plain = here.check("healthy")[0]["live"]
    shutil.rmtree("predictions")
    hashed = log.Policy({ID: log.HASH}, 90)
    rows = here.rows.with_columns(log.pseudonym(here.rows[ID]).alias("hashed"))
    assert rows["hashed"].n_unique() == len(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "policy", lambda *_: hashed)
        here.fill()
    assert here.check("healthy")[0]["live"] == plain


def test_without_identifiers_quality_is_not_judged(here: Here) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "policy", lambda *_: log.Policy({ID: log.OMIT}, 90))
        here.fill()
    measured, gate = here.check("healthy")
    assert measured["live"] is None and gate["not_judged"][0].startswith("live quality: 0 rows")


def test_rows_that_the_source_does_not_know_are_counted_and_no_drift(here: Here) -> None:
    here.fill(lambda rows: rows.with_columns(pl.col(ID) + pl.col(ID) % 2 * 10**9))
    measured, gate = here.check("unknown")
    assert measured["live"]["unlabelled"] == pytest.approx(3_500, rel=0.1)
    assert found(gate) == {("live.unlabelled", None)}


def test_what_was_lost_since_the_promotion_needs_that_promotion(here: Here) -> None:
    here.fill()
    Path("deploy/production/metrics.json").write_text(json.dumps({"model": {"digest": "sha256:0"}, "metrics": {}}))
    _, gate = here.check("healthy")
    assert "deploy/production/metrics.json" in gate["not_judged"][0]


# --- to retrain on ---


def test_newer_labels_are_offered(here: Here) -> None:
    here.fill()
    assert here.check("healthy")[0]["retrain"] == {"until": str(MATURED), "now": str(UNTIL), "snapshot": None}


def test_no_newer_labels_are_not(here: Here) -> None:
    here.change("data", "params.yaml", until=str(MATURED))
    here.fill()
    assert here.check("healthy")[0]["retrain"]["until"] is None


def test_a_pinned_source_gets_the_snapshot_that_ingest_would_take(here: Here) -> None:
    here.change("data", "params.yaml", snapshot="sha256:" + "0" * 64)
    here.fill()
    told = here.check("healthy")[0]["retrain"]
    here.change("data", "params.yaml", until=told["until"])
    ingest.pin()
    assert params.load()["data"]["snapshot"] == told["snapshot"]


def test_the_simulator_has_labels_up_to_the_log(here: Here) -> None:
    start = {"start": str(FIRST), "customers": 50, "terminals": 50, "radius": 20}
    here.change("data", "params.yaml", source="simulate")
    here.change("simulate", "params.yaml", **start)
    here.change("live", unlabelled=1)
    here.fill()
    measured = here.check("healthy")[0]
    assert measured["retrain"]["until"] == str(MATURED) and measured["live"]["unlabelled"] > 0


# --- models that come and go ---


def test_a_fresh_promotion_is_waited_for(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.fill(digest="sha256:" + "1" * 64)
    monkeypatch.setattr(monitor, "promoted", lambda: datetime.now(UTC) - timedelta(days=1))
    measured, gate = here.check("healthy")
    assert measured["columns"] == [] and "3 whole days" in gate["not_judged"][0]


def test_a_model_that_never_came_is_a_problem(here: Here) -> None:
    here.fill(digest="sha256:" + "1" * 64)
    measured, _ = here.check("unknown")
    assert "answered on 0 whole days" in measured["problem"]


def test_days_of_another_model_are_left_out(here: Here) -> None:
    rows, promoted = here.rows, LAST - timedelta(days=3)
    here.rows = rows.filter(promoted >= DAY)
    here.fill(from_day("tx_amount", pl.col("tx_amount") * 3, BEGAN), digest="sha256:" + "1" * 64)
    here.rows = rows.filter(promoted <= DAY).filter((promoted < DAY) | (pl.col("tx_during_night") == 0))
    here.fill()
    measured, _ = here.check("healthy")
    assert [day["day"] for day in measured["days"]] == [str(promoted + timedelta(days=n)) for n in (1, 2, 3)]
    assert measured["live"] is None


def test_git_says_when_production_changed(here: Here) -> None:
    assert monitor.promoted() < datetime(1971, 1, 1, tzinfo=UTC)
    Path(monitor.MANIFEST).write_text("{}")
    for command in (["add", "deploy"], ["commit", "-qm", "Promote"]):
        subprocess.run([*GIT, *command], check=True)
    assert datetime.now(UTC) - monitor.promoted() < timedelta(minutes=5)


def test_a_git_that_refuses_is_no_verdict_and_says_what_to_do(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does in another owner's checkout."""
    here.fill()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    measured, _ = here.check("unknown")
    assert "git config --global --add safe.directory" in measured["problem"]
    monkeypatch.setenv("PATH", "/nowhere")
    assert "git is needed" in here.check("unknown")[0]["problem"]


# --- could not tell ---


def test_a_young_log_is_waited_for(here: Here) -> None:
    here.rows = here.rows.filter(LAST - timedelta(days=2) < DAY)
    here.fill()
    assert here.check("healthy")[0]["columns"] == []


def test_too_few_rows_are_no_verdict(here: Here) -> None:
    here.fill(lambda rows: from_day("tx_amount", pl.lit(9e4), BEGAN)(rows.filter(pl.col(ID) % 10 == 0)))
    measured, gate = here.check("unknown")
    assert "are needed" in measured["problem"] and found(gate) == {("problem", None)}


def test_a_log_that_has_gone_silent_is_an_outage(here: Here) -> None:
    here.fill(ago=10)
    assert "nothing was written" in here.check("unknown")[0]["problem"]


def test_an_empty_log_is_no_verdict(here: Here) -> None:
    Path("predictions").mkdir()
    assert "holds no day" in here.check("unknown")[0]["problem"]


def test_a_source_that_is_gone_is_an_outage(here: Here) -> None:
    here.fill()
    shutil.rmtree("source")
    assert "data.source" in here.check("unknown")[0]["problem"]


def test_a_damaged_model_is_no_verdict(here: Here) -> None:
    here.fill()
    Path("build/production/model/model.onnx").write_bytes(b"")
    assert "model.onnx" in here.check("unknown")[0]["problem"]


def spoiled(change: Change) -> Callable[[], None]:
    """Rewrites one of the log's parts."""

    def spoil() -> None:
        path = next(Path(f"predictions/{LAST}").iterdir())
        change(pl.read_parquet(path)).write_parquet(path)

    return spoil


def noise() -> None:
    Path(f"predictions/{LAST}/noise\n::error::x.parquet").write_bytes(b"PAR1" + bytes(range(256)) * 10 + b"PAR1")


@pytest.mark.parametrize(
    "spoil",
    [
        noise,
        spoiled(lambda rows: rows.drop(log.MODEL)),
        spoiled(lambda rows: rows.with_columns(pl.lit("<script>").alias("tx_amount"))),
        spoiled(lambda rows: rows.with_columns(pl.lit([1, 2]).alias("tx_amount"))),
        spoiled(lambda rows: rows.with_columns(pl.lit("high").alias(log.SCORE))),
        spoiled(lambda rows: rows.with_columns(pl.lit(float("nan")).alias(log.SCORE))),
        spoiled(lambda rows: rows.with_columns(pl.lit(1e300).alias(log.SCORE))),
        spoiled(lambda rows: rows.with_columns(pl.col(TIME).cast(pl.String))),
        spoiled(lambda rows: rows.head(0).select(pl.lit(1).alias("x"))),
    ],
)
def test_a_spoiled_log_is_a_sentence(here: Here, spoil: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    here.fill()
    spoil()
    problem = here.check("unknown")[0]["problem"]
    assert problem.isprintable() and len(problem) <= 400
    assert not any(line.startswith("::") for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    "spoil",
    [
        spoiled(lambda rows: rows.with_columns(pl.lit(0).alias(f"::error::{n}\n<script>") for n in range(2_000))),
        spoiled(lambda rows: rows.with_columns(pl.lit("\n::error::`x`").alias(log.REQUEST))),
        spoiled(lambda rows: rows.with_columns(pl.lit(None, pl.Datetime("us")).alias(TIME))),
        spoiled(lambda rows: pl.concat([rows, rows])),
        lambda: Path("predictions/9999-12-31").mkdir(),
        lambda: Path("predictions/..;x").mkdir(),
    ],
)
def test_what_is_beside_the_point_changes_nothing(here: Here, spoil: Callable[[], None]) -> None:
    here.fill()
    before = here.check("healthy")[0]
    spoil()
    after = here.check("healthy")[0]
    assert after["window"] == before["window"] and after["columns"][0]["distance"] < 0.1
    assert "::error" not in Path("reports/drift.json").read_text()


def test_extreme_values_stay_numbers(here: Here) -> None:
    here.scorer = SameScores(here.scorer.digest, here.scorer.predict(here.rows))
    here.fill(from_day("tx_amount", pl.lit(1.7e308)))
    measured, _ = here.check("drifted")
    assert measured["columns"][0]["distance"] == monitor.FAR


def test_a_typo_in_the_policy_is_a_sentence(here: Here) -> None:
    here.fill()
    here.change("window", dayz=7)
    monitor.main()
    assert "did you mean `days`?" in json.loads(monitor.DRIFT.read_text())["problem"]


@pytest.mark.slow
def test_the_page_shows_every_column_and_loads_nothing(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "page", PAGE)
    here.fill(from_day("tx_amount", pl.col("tx_amount") * 1.5))
    here.check("drifted")
    html = monitor.PAGE.read_text()
    assert all(name in html for name in (*NAMES, log.SCORE))
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?(?:https?:)?//", html)
    assert monitor.RED not in html and monitor.BLUE in html


def test_a_page_that_cannot_be_drawn_changes_no_verdict(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "page", lambda *_: 1 / 0)
    here.fill()
    here.check("healthy")
