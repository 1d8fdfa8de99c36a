"""Production is measured and judged: each kind of drift is named and dated; what cannot be told is a sentence."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from gitops import facts
from pipeline import (
    counts,
    distance,
    estimate,
    log,
    model,
    monitor,
    params,
    personal,
    policy,
    reference,
    rows,
    source,
    tasks,
    writer,
)
from pipeline.model import Input, Model, Outputs
from pipeline.personal import HASH, REQUEST, Policy
from pipeline.policy.drift import misnamed
from tests import by_task, tables
from tests.tables import knobs, ours, write_knobs, write_model, write_policies

OURS = ours()
NAMES = ("amount", "express", "größe €", "a.b", "born", "model_config")
INPUTS = tuple(column for column in tables.inputs() if column.name in NAMES)
FIRST, UNTIL, BEGAN, LAST = date(2019, 12, 20), date(2020, 1, 20), date(2020, 1, 29), date(2020, 2, 25)
DELAY = OURS.label.delay
MATURED = LAST - timedelta(days=DELAY)
CHANGED = date(2020, 2, 21)  # the world, where a test changes it
PAGE = monitor.page
ID, TIME, LABEL = OURS.id, OURS.time, OURS.label.column
DAY = pl.col(TIME).dt.date()
NUMBER = pl.col("number")  # of a row
WEEKEND, NIGHT = DAY.dt.weekday() >= 6, pl.col(TIME).dt.hour() <= 6
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")

Change = Callable[[pl.DataFrame], pl.DataFrame]


@cache
def world() -> pl.DataFrame:
    """The source's days, and each row's number: a large amount is a positive, and so is 1 row of 100."""
    draw = np.random.default_rng(0)
    number = 1_000 * ((LAST - FIRST).days + 1)
    amount = draw.gamma(2, 40, number).round(2)
    seconds = np.sort(draw.integers(0, 86_400 * ((LAST - FIRST).days + 1), number))
    moments = np.datetime64(FIRST, "us") + seconds.astype("timedelta64[s]")
    missing, seldom = (pl.Series(draw.random(number) < share) for share in (0.1, 0.05))
    made = pl.DataFrame(
        {
            "number": np.arange(number),
            ID: [f"order {at}" for at in range(number)],
            TIME: moments,
            "customer": draw.integers(0, 20_000, number),
            "amount": amount,
            "items": draw.integers(1, 9, number),
            "größe €": pl.Series(draw.choice(tables.SIZES, number, p=[0.1, 0.65, 0.25])).set(missing, None),
            "model_config": draw.choice(tables.CONFIGS, number),
            "a.b": pl.Series(draw.normal(size=number)).set(seldom, None),
            "born": moments - draw.integers(0, 9_000 * 86_400, number).astype("timedelta64[s]"),
            "shoe size": draw.integers(35, 47, number),
            LABEL: np.where((amount > 220) | (draw.random(number) < 0.01), "Yes", "No"),
        }
    )
    return made.with_columns(NIGHT.alias("express"))


def as_source(made: pl.DataFrame) -> pl.DataFrame:
    """The rows as the source has them."""
    return made.select(pl.col(column.name).cast(rows.TYPES[column.type]) for column in OURS.columns)


def features(made: pl.DataFrame) -> pl.DataFrame:
    """The rows as the stage `rows` makes them, in their order."""
    return made.select("number", TIME, ID, *(rows.read(column, OURS) for column in OURS.inputs))


def write_log(made: pl.DataFrame, scorer: Any, digest: str | None = None, ago: float = 0) -> None:
    """Log feature rows as the service does, scored so many days ago."""
    said = tasks.task(scorer.problem.task).answer(scorer.predict(made), scorer.problem)
    logged = made.select(
        pl.col(ID).alias(log.ID),
        pl.col(TIME).cast(pl.Datetime("us")).alias(log.TIME),
        *NAMES,
        *(pl.Series(log.kept(name), values) for name, values in said.items()),
        pl.lit("0" * 32).alias(REQUEST),
        pl.lit(datetime.now(UTC) - timedelta(days=ago)).cast(log.ALWAYS[log.SCORED]).alias(log.SCORED),
    )
    for name, part in writer.parts(logged, digest or scorer.digest, log.personal(log.policy(), ID)):
        log.Folder.at("predictions").put(name, writer.encoded(part))


class SameAnswers:
    """Answers as the model did before a test spoiled its inputs."""

    def __init__(self, scorer: Model, rows: pl.DataFrame, digest: str | None = None) -> None:
        self.digest, self.problem, self.out = digest or scorer.digest, scorer.problem, scorer.predict(rows)

    def predict(self, rows: pl.DataFrame) -> Outputs:
        return self.out


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a model in production, a source of daily files, and no log."""
    folder = tmp_path_factory.mktemp("healthy")
    scorer = write_model(folder / "build/production/model", INPUTS)
    refer(folder, scorer)
    (folder / "build/production/manifest.json").write_text("{}")
    for command in (["init", "-q"], ["commit", "-qm", "Start", "--allow-empty"]):
        subprocess.run([*GIT, *command], cwd=folder, check=True)
    (folder / "source").mkdir()
    for (day,), table in world().group_by(DAY.alias("day")):
        as_source(table).write_parquet(folder / "source" / f"{day}.parquet")
    write_policies(folder)
    write_knobs(folder, knobs(data={"until": str(UNTIL), "source": "source"}))
    promise(folder, scorer.digest, {"average_precision": {"value": 0.4, "low": 0.36, "high": 0.44}})
    return folder


class Here:
    """A repository to check: what the log is filled with, and what comes of it."""

    def __init__(self) -> None:
        self.rows = features(world()).filter(DAY >= BEGAN)
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
        red = outcome in ("drifted", "skewed", "unknown")
        assert (gate["outcome"], failed) == (outcome, red), (gate, measured["problem"])
        return measured, gate


def refer(folder: Path, scorer: Model) -> None:
    """The model's reference, as a promotion has it."""
    made, days = features(world()), params.days(knobs(), DELAY)
    parts = {reference.TRAIN: days.train, reference.TEST: days.test}
    pl.concat(
        reference.part(name, made.filter(DAY.is_between(*span)), scorer) for name, span in parts.items()
    ).write_parquet(folder / "build/production/reference.parquet")


def promise(folder: Path, digest: str, metrics: Any) -> None:
    """What the model in production had when it was promoted."""
    (folder / "deploy/production").mkdir(parents=True, exist_ok=True)
    told = {"model": {"digest": digest}, "metrics": metrics}
    (folder / "deploy/production/metrics.json").write_text(json.dumps(told))


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


def column(measured: dict[str, Any], name: str) -> dict[str, Any]:
    """What was measured of a column."""
    (of,) = (column for column in measured["columns"] if column["name"] == name)
    return dict(of)


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
    assert [column["name"] for column in measured["columns"]] == [column.name for column in INPUTS]
    assert [day["day"] for day in measured["days"]] == [str(BEGAN + timedelta(days=n)) for n in range(28)]


def test_another_address_is_read(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.fill()
    Path("predictions").rename("elsewhere")
    monkeypatch.setenv("PREDICTION_LOG", "elsewhere")
    here.check("healthy")


def test_days_are_compared_with_the_same_days_of_the_week(here: Here) -> None:
    """A column that is 1 on weekends would be far away, where weekdays are compared with whole weeks."""
    path = Path("build/production/reference.parquet")
    weekend = (pl.col(reference.DAY).dt.weekday() >= 6).alias("express")
    pl.read_parquet(path).with_columns(weekend).write_parquet(path)
    here.fill(lambda rows: rows.with_columns(WEEKEND.alias("express")).filter(~WEEKEND))
    assert column(here.check("healthy")[0], "express")["distance"] == 0


def test_today_is_not_over_and_not_looked_at(here: Here) -> None:
    here.fill()
    today = here.rows.head(50).with_columns(pl.lit(datetime.now(UTC).replace(tzinfo=None)).alias(TIME))
    write_log(today, here.scorer)
    assert here.check("healthy")[0]["window"][1] == str(LAST)


# --- callers that compute otherwise ---


def test_a_caller_that_computes_otherwise_is_found_on_the_day_that_the_source_delivers(here: Here) -> None:
    here.change("skew", maximum=0.02)
    here.fill(from_day("amount", pl.col("amount") + 5, LAST))
    measured, gate = here.check("skewed")
    assert found(gate) == {("skew.maximum", str(LAST))}
    assert gate["violations"][0]["value"].startswith("amount is not what the source gives in 100% of ")
    (column,), skew = measured["skew"]["columns"], measured["skew"]
    said = {name: float(value) for name, value in column["example"].items()}
    assert column["name"] == "amount" and said["logged"] == pytest.approx(said["made"] + 5, abs=0.01)
    assert [day["share"] for day in skew["days"]] == [0] * 6 + [1] and skew["lost"] == 0


def test_nobody_is_blamed_before_the_source_delivers(here: Here) -> None:
    here.change("skew", maximum=0.02)
    (Path("source") / f"{LAST}.parquet").unlink()
    here.fill(from_day("amount", pl.col("amount") + 5, LAST))
    measured, _ = here.check("healthy")
    assert measured["skew"]["newest"]["day"] == str(LAST - timedelta(days=1)) and measured["skew"]["share"] == 0


def test_rows_that_the_source_lacks_are_counted_apart(here: Here) -> None:
    here.change("skew", maximum=0.02)
    path = Path("source") / f"{LAST}.parquet"
    pl.read_parquet(path).gather_every(2).write_parquet(path)
    here.fill()
    measured, _ = here.check("healthy")
    assert measured["skew"]["lost"] == pytest.approx(500, abs=50) and measured["skew"]["share"] == 0


def test_what_the_log_does_not_keep_as_it_is_is_said_not_to_be_compared(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = Policy({ID: HASH, "amount": HASH}, 90)
    monkeypatch.setattr(log, "policy", lambda: private)
    monkeypatch.setattr(personal, "rules", lambda: private.personal)
    here.change("skew", maximum=0.02)
    here.fill(from_day("express", ~pl.col("express"), LAST))
    measured, gate = here.check("skewed")
    assert found(gate) == {("skew.maximum", str(LAST))} and measured["skew"]["lost"] == 0
    assert [said for said in gate["not_judged"] if said.startswith("skew of amount")]


# --- before labels ---


def calibrated(here: Here, error: float) -> None:
    """A model that was so far from calibrated at its promotion, and a bar that it meets."""
    promise(Path("."), here.scorer.digest, {"calibration_error": dict.fromkeys(("value", "low", "high"), error)})
    here.change("metrics", file="policies/model.yaml", calibration_error={"maximum": 0.05})


def test_quality_is_estimated_on_the_days_before_labels_beside_the_measured(here: Here) -> None:
    calibrated(here, 0.01)
    here.fill()
    found = here.check("healthy")[0]["estimate"]
    assert found["unmeasured"] is None and found["name"] == "average_precision"
    assert found["labelled"]["days"] == [str(MATURED - timedelta(days=6)), str(MATURED)]
    assert found["before"]["days"] == [str(MATURED + timedelta(days=1)), str(LAST)]
    assert len(found["days"]) == 7 + DELAY and all(0 < day["value"] < 1 for day in found["days"])


def test_an_estimate_that_late_labels_cannot_contradict_is_withheld(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "HISTORY", 6 + DELAY)
    calibrated(here, 0.01)
    here.fill()
    found = here.check("healthy")[0]["estimate"]
    assert "labels come so late" in found["unmeasured"] and found["before"] is None


def test_an_estimate_is_no_reason_to_retrain(here: Here) -> None:
    """Here it says that the model is worth nothing, and every bar is met."""
    calibrated(here, 0.01)
    here.fill()
    over, day = estimate.over, reference.DAY
    nothing = {"days": [LAST, LAST], "rows": 1, "metrics": {"average_precision": 0.0}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "over", lambda rows, _: over(rows, _) if rows[day].min() <= MATURED else nothing)
        measured, _ = here.check("healthy")
    assert measured["estimate"]["before"]["metrics"]["average_precision"] == 0


def test_of_a_model_that_is_not_calibrated_nothing_is_estimated_and_why_is_said(here: Here) -> None:
    calibrated(here, 0.06)
    here.fill()
    found = here.check("healthy")[0]["estimate"]
    assert "calibration_error was 0.06 at its promotion" in found["unmeasured"] and found["before"] is None


# --- drift ---


MORE = pl.when(NUMBER % 3 == 0).then(pl.lit("groß")).otherwise("größe €")
NEW = pl.when(NUMBER % 3 == 0).then(pl.lit("<b>nobody</b>")).otherwise("größe €")


@pytest.mark.parametrize(
    ("name", "value", "rules"),
    [
        ("amount", pl.col("amount") * 1.5, {"columns.maximum", "answer.maximum"}),
        ("express", pl.lit(True), {"columns.maximum"}),
        ("born", pl.col("born") * 1.3, {"columns.maximum"}),
        ("größe €", MORE, {"categories.maximum"}),
        ("größe €", NEW, {"categories.maximum"}),
        ("model_config", pl.lit("extra"), {"categories.maximum"}),
    ],
)
def test_a_changed_column_is_named_and_dated(here: Here, name: str, value: pl.Expr, rules: set[str]) -> None:
    here.fill(from_day(name, value))
    measured, gate = here.check("drifted")
    assert found(gate) == {(rule, str(CHANGED)) for rule in rules}
    said = [violation["value"] for violation in gate["violations"] if not violation["rule"].startswith("answer")]
    assert len(said) == 1 and said[0].startswith(f"{name} is ") and said[0].endswith(f"since {CHANGED}")
    assert ("deviations" in said[0]) is (rules != {"categories.maximum"})
    assert "nobody" not in Path("reports/drift.json").read_text()


def test_levels_that_were_not_learned_are_counted(here: Here) -> None:
    here.fill(from_day("größe €", NEW, BEGAN))
    measured, _ = here.check("drifted")
    assert column(measured, "größe €")["unseen"] == pytest.approx(1 / 3, abs=0.01)
    assert column(measured, "größe €")["out_of_range"] == 0 and column(measured, "amount")["unseen"] is None


def test_drift_older_than_the_days_looked_at_is_since_then_or_before(here: Here) -> None:
    here.fill(from_day("express", pl.lit(True), BEGAN))
    _, gate = here.check("drifted")
    assert found(gate) == {("columns.maximum", str(BEGAN))}
    assert gate["violations"][0]["value"].endswith("or before")


def test_one_odd_day_is_no_drift_and_is_said(here: Here) -> None:
    here.fill(from_day("express", pl.lit(True), LAST))
    here.change("columns", exceptions={"express": 0.1})
    _, gate = here.check("healthy")
    assert [said for said in gate["not_judged"] if said.startswith("express") and str(LAST) in said]


@pytest.mark.parametrize(
    ("block", "name", "value"), [("columns", "express", pl.lit(True)), ("categories", "größe €", MORE)]
)
def test_a_column_may_have_a_bar_of_its_own(here: Here, block: str, name: str, value: pl.Expr) -> None:
    here.fill(from_day(name, value))
    here.change(block, exceptions={name: 1 if block == "categories" else 10})
    here.check("healthy")


@pytest.mark.parametrize(
    ("block", "name", "sentence"),
    [
        ("columns", "ammount", "columns.exceptions.ammount is no input; did you mean `amount`?"),
        ("categories", "größe", "categories.exceptions.größe is no input; did you mean `größe €`?"),
        ("columns", "größe €", "columns.exceptions.größe € belongs in categories.exceptions; move it there"),
        ("categories", "express", "categories.exceptions.express belongs in columns.exceptions; move it there"),
        ("skew", "ammount", "skew.exceptions.ammount is no input; did you mean `amount`?"),
    ],
)
def test_a_bar_for_what_is_no_such_input_is_a_sentence(here: Here, block: str, name: str, sentence: str) -> None:
    here.fill()
    here.change(block, exceptions={name: 0.5})
    assert sentence in here.check("unknown")[0]["problem"]


def test_bars_may_name_the_inputs_of_either_problem() -> None:
    bars = {"columns": {"exceptions": {"a": 1}}, "categories": {"exceptions": {"b": 1}}}
    assert not list(misnamed(bars | {"skew": {"exceptions": {"a": 1, "c": 1}}}, ["a"], ["b", "c"]))


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_missing_values_are_counted(here: Here, nothing: float | None) -> None:
    half = pl.when(NUMBER % 2 == 0).then(pl.lit(nothing, pl.Float64)).otherwise(pl.col("amount"))
    here.scorer = SameAnswers(here.scorer, here.rows)
    here.fill(from_day("amount", half, LAST - timedelta(days=6)))
    measured, gate = here.check("drifted")
    assert column(measured, "amount")["missing"] == pytest.approx(0.5, abs=0.05)
    assert "quality.missing" in {violation["rule"] for violation in gate["violations"]}
    assert "amount is missing in 5" in gate["violations"][-1]["value"]


@pytest.mark.parametrize(("name", "usual"), [("a.b", 0.05), ("größe €", 0.1)])
def test_what_may_be_missing_is_a_fault_where_it_is_missing_more_often(here: Here, name: str, usual: float) -> None:
    here.fill()
    measured, _ = here.check("healthy")
    assert column(measured, name)["missing"] == pytest.approx(usual, abs=0.01)
    assert column(measured, name)["rise"] == 0
    assert column(measured, name)["missing_before"] == pytest.approx(usual, abs=0.01)
    shutil.rmtree("predictions")
    here.fill(from_day(name, pl.when(NUMBER % 10 == 0).then(None).otherwise(pl.col(name)), BEGAN))
    measured, gate = here.check("drifted")
    assert 0.05 < column(measured, name)["rise"] < 0.1 * (1 - usual)
    (said,) = (each["value"] for each in gate["violations"] if each["rule"] == "quality.missing")
    assert said.startswith(f"{name} is missing in 1") and ", was in " in said


@pytest.mark.parametrize("name", ["express", "model_config"])
def test_an_empty_column_is_a_fault_of_quality(here: Here, name: str) -> None:
    here.scorer = SameAnswers(here.scorer, here.rows)
    here.fill(lambda rows: rows.with_columns(pl.lit(None, rows.schema[name]).alias(name)))
    measured, gate = here.check("drifted")
    assert column(measured, name)["missing"] == 1
    assert ("quality.missing", None) in found(gate)
    assert (column(measured, name)["distance"] is None) is (name == "express"), "of a category, missing is a level"


def test_values_out_of_range_are_counted(here: Here) -> None:
    here.fill(from_day("amount", pl.lit(1e6)))
    _, gate = here.check("drifted")
    assert {rule for rule, _ in found(gate)} >= {"columns.maximum", "quality.out_of_range"}
    shutil.rmtree("predictions")
    here.fill(from_day("model_config", pl.lit("neither")))
    _, gate = here.check("drifted")
    assert {rule for rule, _ in found(gate)} == {"categories.maximum", "quality.out_of_range"}


def test_many_levels_are_no_drift() -> None:
    """Of 5,000 levels no two samples are alike."""
    draw, levels = np.random.default_rng(0), tuple(f"level {at}" for at in range(5_000))
    input_ = Input("x", "category", levels=levels)
    share = 1 / (10 + np.arange(5_000))
    for size in (300, 10_000):
        before, now = (draw.choice(levels, number, p=share / share.sum()).tolist() for number in (25_000, size))
        asked = pl.DataFrame({"x": now})
        other = asked.with_columns(
            pl.when(pl.int_range(pl.len()) % 5 == 0).then(pl.lit("new")).otherwise("x").alias("x")
        )
        column = counts.of_input(input_, pl.Series(before))
        tables = pl.DataFrame({"x": before}), asked, other
        one, same, far = (counts.side(table, [column]) for table in tables)
        assert (counts.moved(column, one, same) or 0) < 0.08 and (counts.moved(column, one, far) or 0) > 0.25


def test_a_service_of_few_rows_is_looked_at_by_parts_of_the_window(here: Here) -> None:
    """Fourteen rows a day: of a week, chance alone makes more than any bar allows, and two deviations are seen."""
    here.rows = here.rows.filter(NUMBER % 70 == 0)
    here.fill()
    here.change("window", rows=50)
    here.change("columns", maximum=0.05)
    measured, _ = here.check("healthy")
    assert measured["rows"] < 120 and max(each["distance"] for each in measured["columns"]) > 0.1
    shutil.rmtree("predictions")
    here.fill(from_day("a.b", pl.col("a.b") + 2, LAST - timedelta(days=6)))
    measured, gate = here.check("drifted")
    assert found(gate) == {("columns.maximum", str(LAST - timedelta(days=6)))}
    assert [(part["day"], part["until"]) for part in measured["days"][-2:]] == [
        (str(LAST - timedelta(days=6)), str(LAST - timedelta(days=3))),
        (str(LAST - timedelta(days=2)), str(LAST)),
    ]
    assert "chance alone takes" in gate["violations"][0]["bar"]


# --- another problem ---


def another(name: str) -> None:
    """Has this checkout predict something else, as a request does that replaces the problem."""
    text = Path("contract.yaml").read_text().replace("problem: returned-orders", f"problem: {name}")
    Path("contract.yaml").write_text(
        text.replace("order_id", "row").replace("ordered_at", "at").replace("amount", "sum")
    )
    shutil.rmtree("source")


def test_production_of_another_problem_is_still_watched(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    here.fill(from_day("amount", pl.col("amount") * 1.5))
    another("something-else")
    measured, gate = here.check("drifted")
    assert (measured["problem_name"], measured["same_problem"]) == ("returned-orders", False)
    assert {rule for rule, _ in found(gate)} == {"columns.maximum", "answer.maximum"}
    assert measured["live"] is None and measured["retrain"]["until"] is None
    assert any("production predicts 'returned-orders'" in said for said in gate["not_judged"])
    assert "production still predicts 'returned-orders'" in capsys.readouterr().out


def test_rows_that_the_last_problem_s_service_answered_spoil_nothing(here: Here) -> None:
    here.fill()
    theirs = here.rows.filter(BEGAN + timedelta(days=9) > DAY).with_columns(
        pl.lit("a text").alias("amount"), pl.lit(1).alias("größe €"), pl.int_range(pl.len()).alias(ID)
    )
    write_log(theirs, SameAnswers(here.scorer, here.rows.head(len(theirs)), "sha256:" + "1" * 64))
    measured, _ = here.check("healthy")
    assert measured["same_problem"] is True and measured["live"]["unlabelled"] == 0


# --- live quality ---


def test_quality_is_measured_on_matured_days_only(here: Here) -> None:
    for day in range(DELAY):  # these labels are not to be believed yet
        path = Path(f"source/{LAST - timedelta(days=day)}.parquet")
        pl.read_parquet(path).with_columns(pl.lit("No").alias(LABEL)).write_parquet(path)
    here.fill()
    live = here.check("healthy")[0]["live"]
    assert live["days"] == [str(MATURED - timedelta(days=6)), str(MATURED)]
    assert live["unlabelled"] == live["unknown"] == 0 and 6_000 < live["rows"] <= 7_200


@pytest.mark.parametrize("every", [None, 3])
def test_labels_that_are_not_known_yet_are_counted_and_end_nothing(here: Here, every: int | None) -> None:
    """One of them, or a third."""
    day = MATURED - timedelta(days=1)
    for path in [Path(f"source/{day}.parquet")] if every is None else Path("source").iterdir():
        table = pl.read_parquet(path)
        unknown = pl.int_range(pl.len()) % (every or len(table)) == 0
        table.with_columns(pl.when(~unknown).then(LABEL).alias(LABEL)).write_parquet(path)
    here.fill()
    live = here.check("healthy")[0]["live"]
    assert live["unknown"] == (1 if every is None else pytest.approx(7_000 / 3, rel=0.05)) and live["unlabelled"] == 0
    assert live["rows"] + live["unknown"] > 6_000 and live["metrics"]["average_precision"]["value"] > 0.2


def test_where_no_label_is_known_yet_quality_is_not_judged(here: Here) -> None:
    for path in Path("source").iterdir():
        pl.read_parquet(path).with_columns(pl.lit(None, pl.String).alias(LABEL)).write_parquet(path)
    here.fill()
    measured, gate = here.check("healthy")
    assert measured["live"]["rows"] == 0 and "it is not known yet" in gate["not_judged"][0]


def test_quality_counts_rows_as_evaluate_does(here: Here) -> None:
    """By their weight, and an entity's rows belong together."""
    here.fill()
    plain = here.check("healthy")[0]["live"]["metrics"]["average_precision"]
    text = Path("contract.yaml").read_text()
    Path("contract.yaml").write_text(text.replace("entity: customer\n", "entity: customer\nweight: shoe size\n"))
    heavy = pl.when(pl.col("amount") > 100).then(40).otherwise(1).cast(pl.Int64).alias("shoe size")
    for path in Path("source").iterdir():
        pl.read_parquet(path).with_columns(heavy).write_parquet(path)
    weighed = here.check("healthy")[0]["live"]["metrics"]["average_precision"]
    assert weighed["value"] > plain["value"] + 0.05


def test_a_model_that_ranks_worse_is_found(here: Here) -> None:
    worse = MATURED - timedelta(days=4)
    for path in Path("source").iterdir():
        if path.stem >= str(worse):
            seldom = pl.col(ID).str.slice(6).cast(pl.Int64) % 50 == 0
            other = pl.when(seldom).then(pl.lit("Yes")).otherwise(pl.lit("No")).alias(LABEL)
            pl.read_parquet(path).with_columns(other).write_parquet(path)
    here.fill()
    measured, gate = here.check("drifted")
    assert {rule for rule, _ in found(gate)} == {
        f"live.metrics.average_precision.{rule}" for rule in ("minimum", "drop")
    }
    assert {since for _, since in found(gate)} == {str(worse)}
    assert measured["live"]["metrics"]["average_precision"]["high"] < 0.2


@pytest.mark.parametrize("hashed", ["all", "of late"])
def test_pseudonyms_join(here: Here, hashed: str) -> None:
    here.fill()
    plain = here.check("healthy")[0]["live"]
    shutil.rmtree("predictions")
    rows, since = here.rows, FIRST if hashed == "all" else MATURED - timedelta(days=3)
    here.rows = rows.filter(since > DAY)
    if len(here.rows):
        here.fill()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "policy", lambda *_: Policy({ID: HASH}, 90))
        here.rows = rows.filter(since <= DAY)
        here.fill()
    assert here.check("healthy")[0]["live"] == plain


def test_without_identifiers_quality_is_not_judged(here: Here) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "policy", lambda *_: Policy({ID: "omit"}, 90))
        here.fill()
    measured, gate = here.check("healthy")
    assert measured["live"] is None and gate["not_judged"][0].startswith("live quality: 0 rows")


def test_rows_that_the_source_does_not_know_are_counted_and_no_drift(here: Here) -> None:
    here.fill(lambda rows: rows.with_columns(pl.when(NUMBER % 2 == 0).then(ID).otherwise(pl.col(ID) + "?").alias(ID)))
    measured, gate = here.check("unknown")
    assert measured["live"]["unlabelled"] == pytest.approx(3_500, rel=0.1)
    assert found(gate) == {("live.unlabelled", None)}


def test_what_was_lost_since_the_promotion_needs_that_promotion(here: Here) -> None:
    here.fill()
    Path("deploy/production/metrics.json").write_text(json.dumps({"model": {"digest": "sha256:0"}, "metrics": {}}))
    _, gate = here.check("healthy")
    assert "deploy/production/metrics.json" in gate["not_judged"][0]


# --- other tasks ---


AMOUNT = pl.col("amount")
CLASS = pl.when(AMOUNT > 220).then(pl.lit("Yes")).when(AMOUNT > 100).then(pl.lit("Late")).otherwise(pl.lit("No"))
TOLD: dict[str, tuple[str, pl.Expr]] = {
    "multiclass": (LABEL, pl.when(NUMBER % 20 > 0).then(CLASS).otherwise(pl.lit("No"))),
    "regression": ("shoe size", (35 + AMOUNT / 50 + (NUMBER % 5 - 2) / 4).round().cast(pl.Int64)),
}
"""The column that a task predicts, and what it is: as the model says, up to noise."""
HEADLINES = {"multiclass": ("balanced_accuracy", {"drop": 0.1}), "regression": ("rmse", {"drop": 0.3})}


def label(task: str, change: pl.Expr, since: date = BEGAN) -> None:
    """Has the source's labels of a task be something, from a day on."""
    name, _ = TOLD[task]
    for (day,), table in world().group_by(DAY.alias("day")):
        if day >= since:
            as_source(table.with_columns(change.alias(name))).write_parquet(f"source/{day}.parquet")


@pytest.fixture
def other(here: Here, request: pytest.FixtureRequest) -> Here:
    """The repository with another task: its contract, its labels, its model in production."""
    task = request.param
    Path("contract.yaml").write_text(by_task.text(task))
    here.scorer = by_task.write_model(Path("build/production/model"), task, INPUTS)
    refer(Path(), here.scorer)
    label(task, TOLD[task][1])
    name, bars = HEADLINES[task]
    here.change("live", metrics={name: bars})
    promised = {"balanced_accuracy": {"value": 0.9, "low": 0.85, "high": 0.95}}
    promised |= {"rmse": {"value": 0.4, "low": 0.35, "high": 0.5}}
    promise(Path(), here.scorer.digest, promised)
    return here


TASKS = pytest.mark.parametrize("other", TOLD, indirect=True)


@TASKS
def test_answers_and_quality_of_another_task_are_watched(other: Here) -> None:
    task = other.scorer.problem.task
    other.fill()
    measured, gate = other.check("healthy")
    assert gate["not_judged"] == []
    kind, method = ("category", "Jensen") if task == "multiclass" else ("number", "Wasserstein")
    assert measured["answer"]["name"] == tasks.task(task).WATCHED and measured["answer"]["type"] == kind
    assert measured["answer"]["method"].startswith(method) and measured["answer"]["distance"] < 0.05
    headline = measured["live"]["metrics"][measured["headline"]]
    assert measured["headline"] == HEADLINES[task][0] and headline["low"] <= headline["value"] <= headline["high"]
    told = [day["headline"] for day in measured["days"] if day["until"] <= str(MATURED)]
    assert told[-7:] == pytest.approx([headline["value"]] * 7, rel=0.2)


@TASKS
def test_answers_that_drift_are_named_and_dated(other: Here) -> None:
    other.fill(from_day("amount", pl.col("amount") * 2))
    _, gate = other.check("drifted")
    assert ("answer.maximum", str(CHANGED)) in found(gate)
    (said,) = (each["value"] for each in gate["violations"] if each["rule"] == "answer.maximum")
    assert said.startswith(f"the {tasks.task(other.scorer.problem.task).WATCHED} is ")


@TASKS
def test_a_model_of_another_task_that_got_worse_is_found(other: Here) -> None:
    """By a metric of which less is better, too: it may not rise."""
    task, worse = other.scorer.problem.task, MATURED - timedelta(days=4)
    class_ = (NUMBER % 3).replace_strict({0: "No", 1: "Late", 2: "Yes"}, return_dtype=pl.String)
    chance = class_ if task == "multiclass" else (36 + NUMBER % 7).cast(pl.Int64)
    label(task, pl.when(NUMBER % 2 == 0).then(chance).otherwise(TOLD[task][1]), worse)
    other.fill()
    _, gate = other.check("drifted")
    assert found(gate) == {(f"live.metrics.{HEADLINES[task][0]}.drop", str(worse))}
    (violation,) = gate["violations"]
    assert ("at most" if task == "regression" else "at least") in violation["bar"]


@TASKS
def test_what_was_not_measured_is_said(other: Here) -> None:
    name = "log_loss" if other.scorer.problem.task == "multiclass" else "ndcg"
    other.change("live", metrics={name: {"drop": 0.1}})
    other.fill()
    (said,) = other.check("healthy")[1]["not_judged"]
    assert said.startswith(f"live.metrics.{name}") and ("promoted" in said or "names no group" in said)


@pytest.mark.parametrize(
    ("other", "spoil"),
    [
        ("multiclass", pl.lit("<script>").alias("_class")),
        ("multiclass", pl.lit("Yes").alias("_class")),
        ("multiclass", pl.lit([0.5, 0.5]).alias("_probabilities")),
        ("multiclass", pl.lit(None, pl.List(pl.Float64)).alias("_probabilities")),
        ("regression", (pl.col("_high") + 9).alias("_low")),
        ("regression", pl.lit(float("inf")).alias("_high")),
        ("regression", pl.lit("much").alias("_prediction")),
    ],
    indirect=["other"],
)
def test_answers_that_no_model_of_the_task_gives_are_a_sentence(other: Here, spoil: pl.Expr) -> None:
    other.fill()
    spoiled(lambda rows: rows.with_columns(spoil))()
    assert "no model of the task" in other.check("unknown")[0]["problem"]


@pytest.mark.parametrize("other", ["regression"], indirect=True)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_predictions_whose_squares_are_infinite_are_drift(other: Here) -> None:
    huge = SameAnswers(other.scorer, other.rows)
    huge.out = {name: np.where(other.rows["amount"] > 100, 1e300, values) for name, values in huge.out.items()}
    other.scorer = huge
    other.fill()
    measured, gate = other.check("drifted")
    assert measured["answer"]["distance"] == distance.FAR and measured["live"]["metrics"]["rmse"] is None
    assert {rule for rule, _ in found(gate)} >= {"answer.maximum"}


@pytest.mark.parametrize("other", ["multiclass"], indirect=True)
def test_classes_may_have_another_order_here_than_in_production(other: Here) -> None:
    other.fill()
    before = other.check("healthy")[0]["live"]["metrics"]
    text = Path("contract.yaml").read_text()
    classes = "  - 'No'\n  - Late\n  - 'Yes'\n"
    assert classes in text
    Path("contract.yaml").write_text(text.replace(classes, "  - 'Yes'\n  - 'No'\n  - Late\n"))
    after = other.check("healthy")[0]
    assert after["same_problem"] is True
    for name, metric in after["live"]["metrics"].items():
        assert metric == pytest.approx(before[name], rel=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("other", ["multiclass"], indirect=True)
def test_the_page_shows_classes_by_their_names(other: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "page", PAGE)
    other.fill()
    other.check("healthy")
    html = monitor.PAGE.read_text()
    assert "_class" in html and '"Late"' in html.replace("&#34;", '"')


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
    source.main(["--snapshot"])
    assert params.load()["data"]["snapshot"] == told["snapshot"]


def test_the_simulator_has_labels_up_to_the_log(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    days = SimpleNamespace(days=lambda first, last, knobs: as_source(world().filter(DAY.is_between(first, last))))
    monkeypatch.setattr(monitor.ingest, "simulator", lambda: days)
    here.change("data", "params.yaml", source="simulate")
    here.fill()
    measured = here.check("healthy")[0]
    assert measured["retrain"]["until"] == str(MATURED) and measured["live"]["unlabelled"] == 0


# --- models that come and go ---


def test_a_fresh_promotion_is_waited_for(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.fill(digest="sha256:" + "1" * 64)
    monkeypatch.setattr(monitor, "promoted", lambda: datetime.now(UTC) - timedelta(days=1))
    measured, gate = here.check("healthy")
    assert measured["columns"] == [] and "3 whole days" in gate["not_judged"][0]
    assert measured["retrain"]["until"] == str(MATURED), "the next model by the clock need not wait"


def test_a_model_that_never_came_is_a_problem(here: Here) -> None:
    here.fill(digest="sha256:" + "1" * 64)
    measured, _ = here.check("unknown")
    assert "answered on 0 whole days" in measured["problem"]


def test_days_of_another_model_are_left_out(here: Here) -> None:
    rows, promoted = here.rows, LAST - timedelta(days=3)
    here.rows = rows.filter(promoted >= DAY)
    here.fill(from_day("amount", pl.col("amount") * 3, BEGAN), digest="sha256:" + "1" * 64)
    here.rows = rows.filter(promoted <= DAY).filter((promoted < DAY) | ~pl.col("express"))
    here.fill()
    measured, _ = here.check("healthy")
    assert [day["day"] for day in measured["days"]] == [str(promoted + timedelta(days=n)) for n in (1, 2, 3)]
    assert 1_000 < measured["live"]["rows"] < 2_000, "its own, of the day of its promotion and the next"


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
    here.fill(lambda rows: from_day("amount", pl.lit(9e4), BEGAN)(rows.filter(NUMBER % 10 == 0)))
    measured, gate = here.check("unknown")
    assert "are needed" in measured["problem"] and found(gate) == {("problem", None)}


def test_a_check_that_could_tell_leaves_a_heartbeat(here: Here) -> None:
    here.fill()
    before = datetime.now(UTC)
    measured, _ = here.check("healthy")
    beat = log.heartbeat(log.Folder.at())
    assert before <= beat["checked"] <= datetime.now(UTC)
    assert beat["newest"] == datetime.fromisoformat(measured["newest"])
    here.change("window", rows=10**9)
    here.check("unknown")
    assert log.heartbeat(log.Folder.at()) == beat, "one that could not tell does not say that one could"


def test_whoever_may_only_read_the_log_may_check_it(
    here: Here, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read only")

    here.fill()
    monkeypatch.setattr(log.Folder, "put", refuse)
    here.check("healthy")
    assert "no heartbeat can be left there (read only)" in capsys.readouterr().out


def test_a_log_that_has_gone_silent_is_an_outage(here: Here) -> None:
    here.fill(ago=10)
    assert "nothing was written" in here.check("unknown")[0]["problem"]


@pytest.mark.parametrize("share", [1, 100])
def test_rows_that_are_yet_to_be_scored_hide_no_silence(here: Here, share: int) -> None:
    """The clock of a service is ahead, or that of one of several."""
    rows = here.rows
    here.rows = rows.filter(NUMBER % share > 0)
    here.fill()
    here.rows = rows.filter(NUMBER % share == 0)
    here.fill(ago=-400)
    problem = here.check("unknown")[0]["problem"]
    assert "which is yet to come" in problem and f"{datetime.now(UTC) + timedelta(days=400):%Y-%m-%d}" in problem


def test_a_clock_may_be_a_little_ahead(here: Here) -> None:
    here.fill(ago=-1 / 48)
    here.check("healthy")


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
        spoiled(lambda rows: rows.with_columns(pl.lit("<script>").alias("amount"))),
        spoiled(lambda rows: rows.with_columns(pl.lit([1, 2]).alias("amount"))),
        spoiled(lambda rows: rows.with_columns(pl.lit("high").alias("_score"))),
        spoiled(lambda rows: rows.with_columns(pl.lit(float("nan")).alias("_score"))),
        spoiled(lambda rows: rows.with_columns(pl.lit(1e300).alias("_score"))),
        spoiled(lambda rows: rows.with_columns(pl.lit(None, pl.Boolean).alias("_alert"))),
        spoiled(lambda rows: rows.drop("_alert")),
        spoiled(lambda rows: rows.with_columns(pl.col(log.TIME).cast(pl.String))),
        spoiled(lambda rows: rows.with_columns(pl.lit([1, 2]).alias("größe €"))),
        spoiled(lambda rows: rows.with_columns(pl.lit("yes").alias("express"))),
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
        spoiled(lambda rows: rows.with_columns(pl.lit("\n::error::`x`").alias(REQUEST))),
        spoiled(lambda rows: rows.with_columns(pl.lit(None, pl.Datetime("us")).alias(log.TIME))),
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
    here.scorer = SameAnswers(here.scorer, here.rows)
    here.fill(from_day("amount", pl.lit(1.7e308)))
    measured, _ = here.check("drifted")
    assert measured["columns"][0]["distance"] == distance.FAR


def test_a_typo_in_the_policy_is_a_sentence(here: Here) -> None:
    here.fill()
    here.change("window", dayz=7)
    monitor.main()
    assert "did you mean `days`?" in json.loads(monitor.DRIFT.read_text())["problem"]


@pytest.mark.slow
def test_the_page_shows_every_column_and_loads_nothing(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "page", PAGE)
    here.fill(lambda rows: from_day("amount", pl.col("amount") * 1.5)(from_day("größe €", NEW)(rows)))
    here.check("drifted")
    html = monitor.PAGE.read_text().replace("\\u00f6", "ö").replace("\\u00df", "ß").replace("\\u20ac", "€")
    assert all(name in html for name in (*NAMES, "_score"))
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?(?:https?:)?//", html)
    assert monitor.RED not in html and monitor.BLUE in html
    assert monitor.OTHER in html and "nobody" not in html, "what is text of the log is not shown"
    assert "made again from the source" in html and "before labels nothing is estimated: " in html


def test_a_page_that_cannot_be_drawn_changes_no_verdict(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "page", lambda *_: 1 / 0)
    here.fill()
    here.check("healthy")


def test_rare_large_values_of_the_reference_make_no_bar_as_good_as_infinite() -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(size=10_000)
    values[:20] = 1e6
    reference = distance.Sample({"x": values}, np.ones(len(values)))
    (told,) = distance.chances([reference], 98)
    assert told["x"] < 0.5
