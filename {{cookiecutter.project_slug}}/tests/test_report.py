"""The report says the truth, in any case, and nothing that it quotes can do harm."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gitops import facts, markdown, report

DIGEST = "sha256:" + "a" * 64


def metric(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


ALERT = "An alert is a score of at least 0.43, settled on 19,000 rows that the fit has not seen."


def measured(value: float = 0.7) -> dict[str, Any]:
    """metrics.json of a model."""
    return {
        "model": {"digest": DIGEST, "family": "trees", "bytes": 12_345, "decides": ALERT},
        "headline": "average_precision",
        "smaller": ["calibration_error"],
        "data": {
            "source": "simulate",
            "snapshot": None,
            "train": ["2018-07-04", "2018-07-31"],
            "test": ["2018-08-08", "2018-08-14"],
            "train_rows": 268_000,
            "calibration_rows": 19_000,
            "test_rows": 58_000,
            "test_labels": "400 returns",
            "unlabelled": 0,
            "left_out": 12,
        },
        "metrics": {"average_precision": metric(value), "roc_auc": metric(0.87)},
        "baselines": {"linear": {"average_precision": metric(0.6), "roc_auc": metric(0.86)}},
        "slices": [
            {
                "column": "amount",
                "from": 0,
                "to": 50,
                "rows": 900,
                "labels": "7 returns",
                "average_precision": metric(0.2),
            },
            {"column": "express", "value": True, "rows": 90, "labels": "", "rarest": 0, "roc_auc": None},
        ],
    }


def of_classes() -> dict[str, Any]:
    """metrics.json of a model of several classes, which settles nothing."""
    found = {"balanced_accuracy": metric(0.7), "log_loss": metric(0.9), "roc_auc": None}
    told = measured()
    told["model"]["decides"], told["data"]["test_labels"] = "", "51% NA"
    slices = [
        {"column": "amount", "from": 0, "to": 50, "rows": 900, "labels": "51% NA", "rarest": None, "accuracy": None}
    ]
    of_each = {"baselines": {"linear": found}, "slices": slices}
    return told | {"headline": "balanced_accuracy", "smaller": ["log_loss"], "metrics": found, **of_each}


def of_a_number(rows: int = 5000) -> dict[str, Any]:
    """metrics.json of a model of a number, which settles its intervals."""
    found = {"rmse": metric(155.1234), "r2": metric(0.9)}
    told = measured()
    told["model"]["decides"] = "The intervals of the predictions are settled on 5,000 rows that the fit has not seen."
    told["data"] |= {"test_labels": "", "calibration_rows": rows}
    slices = [
        {"column": "amount", "from": 0, "to": 50, "rows": 900, "labels": "", "rarest": None, "rmse": metric(99.0)}
    ]
    of_each = {"baselines": {"constant": found}, "slices": slices}
    return told | {"headline": "rmse", "smaller": ["rmse"], "metrics": found, **of_each}


def curve(kind: str, series: dict[str, Any], **more: Any) -> dict[str, Any]:
    """reports/curves.json of one plot."""
    return {"curves": [{"kind": kind, "title": "The title", "x": "Across", "y": "Up", "series": series, **more}]}


def told(**changed: Any) -> dict[str, Any]:
    """The facts of a good pull request, with `changed` in place."""
    return {
        "kind": "model",
        "key": "0123",
        "restored": False,
        "jobs": dict.fromkeys(("checks", "data", "train", "test", "measure"), "success"),
        "gates": {"data": {"violations": [], "not_judged": []}},
        "champion": None,
        "timings": [{"name": "Train", "runner": "gpu", "seconds": 90.0, "gpu": True}],
        "run": {"url": "https://forge/o/r/actions/runs/1", "draft": False, "fork": False, "gpu_price": 2.0},
        "problems": [],
        "metrics": measured(),
        "curves": curve("line", {"model": {"x": [1.0, 0.5, 0.0], "y": [0.1, 0.8, 1.0]}}),
        "training": {"epochs": [{"loss": 0.2}, {"loss": 0.1}]},
        "service": {
            "bento": "0" * 64,
            "ready_seconds": 1.5,
            "contract": 64,
            "requests": 9000,
            "connections": 4,
            "errors": 0,
            "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
        },
        **changed,
    }


def violation(**changed: Any) -> dict[str, Any]:
    said = {"rule": "values.missing", "file": "data/rows.parquet", "value": "12% missing", "bar": "at most 0%"}
    return {**said, "next": "correct these rows", "rows": 12, "examples": ["order_id 3"], **changed}


def failed(job: str) -> dict[str, Any]:
    """The jobs of a run in which one failed: those that need it are skipped."""
    names = ["checks", "data", "train", "test", "service"]
    return {name: "success" if names.index(name) < names.index(job) else "skipped" for name in names} | {job: "failure"}


def heading(facts: dict[str, Any]) -> str:
    return next(line for line in report.render(facts).splitlines() if line.startswith("## "))


def test_good_pull_request_is_ready() -> None:
    text = report.render(told())
    assert text.startswith(report.MARKER)
    assert "Ready to merge" in heading(told())
    assert "Average precision 0.700; there is no model of this problem in production yet" in text
    assert "**0.700 (0.680 to 0.720)**" in text
    assert 'title "The title"' in text and "line [1, 0.98, 0.96," in text
    assert markdown.text(ALERT) in text
    assert "about 0.05 at 2 an hour" in text


def test_champion_is_compared_with() -> None:
    text = report.render(told(champion=measured(0.65)))
    assert "in production 0.650" in text
    assert "| champion |" in text


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"jobs": failed("train")}, "train failed"),
        ({"jobs": failed("data") | {"checks": "cancelled"}}, "Cancelled"),
        ({"gates": {"data": {"violations": [violation()], "not_judged": []}}}, "1 bar is not met"),
        ({"gates": {"data": {"violations": [violation()] * 2, "not_judged": []}}}, "2 bars are not met"),
        ({"run": told()["run"] | {"draft": True}}, "draft"),
        ({"kind": "mixed", "jobs": {"plan": "failure"}}, "deploy/production/"),
        ({"kind": "promotion", "gates": {"promotion": {"violations": [violation()], "not_judged": []}}}, "as released"),
    ],
)
def test_verdict_fits_what_happened(changed: dict[str, Any], words: str) -> None:
    assert words in heading(told(**changed))
    assert "Ready" not in heading(told(**changed))


def test_promotion_is_verified_and_never_trained() -> None:
    jobs = {"plan": "success", "promotion": "success"}
    text = report.render(told(kind="promotion", jobs=jobs, gates={}, metrics=None))
    assert "Ready to merge: verified" in text
    assert "Nothing was trained" in text


def test_first_words_are_the_verdict_also_with_nothing_measured() -> None:
    nothing = dict.fromkeys(("metrics", "curves", "training", "service"))
    text = report.render(told(jobs=failed("checks") | {"checks": "failure"}, gates={}, timings=[], **nothing))
    assert "checks failed" in text
    assert "open the run" in text


def test_fork_is_told_what_it_lacks() -> None:
    assert "no GPU, no secret" in report.render(told(run=told()["run"] | {"fork": True}))


def test_violation_says_file_value_bar_examples_and_what_to_do() -> None:
    gate = {"violations": [violation()], "not_judged": ["too few"]}
    text = html.unescape(report.render(told(gates={"data": gate})))
    for words in (
        "values.missing",
        "data/rows.parquet",
        "12% missing",
        "at most 0%",
        "12 rows",
        "order_id 3",
        "correct these rows",
        "not judged",
        "too few",
    ):
        assert words in text


@pytest.mark.parametrize(
    "hostile",
    [
        "<img src=x onerror=alert(1)>",
        "@everyone see #1",
        "a|b\n## Ready to merge",
        "`](https://evil)`",
        "::error::x",
        "<!-- -->",
        "x |\n\n## 🟢 Ready to merge\n\n@alice ![all is well](https://evil/x.png)\n\n|",
    ],
)
def test_quoted_values_are_inert(hostile: str) -> None:
    gate = {"violations": [violation(value=hostile, examples=[hostile])], "not_judged": [hostile]}
    metrics = measured()
    metrics["data"]["source"] = hostile
    metrics["slices"] = [{"column": hostile, "value": hostile, "rows": 1, "labels": hostile}]
    metrics["fairness"] = {"use": {"groups": [*metrics["slices"], {**metrics["slices"][0], hostile: metric(0.1)}]}}
    metrics["data"]["test_labels"] = hostile
    job = {"name": hostile, "runner": hostile, "seconds": 1.0, "gpu": False}
    quoted = {"gates": {"data": gate}, "metrics": metrics, "problems": [hostile], "timings": [job], "key": hostile}
    matrix = curve("heat", {}, labels=[hostile], values=[[1.0]])
    line = curve("line", {"model": {"x": [0, 1], "y": [0, 1]}})
    for drawn in (matrix, line):
        drawn["curves"][0] |= dict.fromkeys(("title", "x", "y"), hostile)
        is_harmless(hostile, report.render(told(curves=drawn, **quoted)), heading(told(gates={"data": gate})))


def is_harmless(hostile: str, text: str, verdict: str) -> None:
    """Nothing of the words does anything in the report."""
    assert hostile not in text.removeprefix(report.MARKER)
    assert not set("@![|<`") & set(re.sub(r"<code>[^<>]*</code>", "", job_table(text)).replace("|", ""))
    assert hostile.split() == html.unescape(re.findall(r"⚠️ <code>(.*)</code>", text)[0]).split()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [verdict]


def job_table(report: str) -> str:
    """The line of the one job."""
    lines = [line for line in report.splitlines() if line.endswith("| 1 s |")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *((None, "–"), (float("nan"), "–"), (0.0, "0.000"), (0.7126, "0.713"), (0.00012, "0.00012"), (-3e-5, "-3e-05")),
        *((12.3456, "12.35"), (-155.123, "-155.1"), (12_345.6, "12,346")),
    ],
)
def test_a_number_has_the_digits_that_say_something(value: float | None, said: str) -> None:
    assert markdown.number(value) == said


def test_what_is_not_seen_is_shown_as_such() -> None:
    assert markdown.text("for \u202emoc.live\u2066 \x00") == "<code>for &#65533;moc&#46;live&#65533; &#65533;</code>"


def test_long_report_is_cut_between_sections_with_a_link() -> None:
    gate = {"violations": [violation()] * 500, "not_judged": []}
    whole = report.render(told(gates={"model": gate}, metrics=measured()))
    assert len(whole) > report.LIMIT
    short = report.cut(whole, "https://forge/run")
    assert len(short) <= report.LIMIT
    assert short.startswith(report.MARKER)
    assert "500 bars are not met" in short
    assert "https://forge/run" in short


def test_short_report_is_not_cut() -> None:
    assert report.cut("short", "link") == "short"


def test_words_are_ready_and_main_does_not_train_for_them() -> None:
    text = report.render(
        told(kind="words", jobs={"plan": "success"}, gates={}, metrics=None, run=told()["run"] | {"fork": True})
    )
    assert "🟢 Ready to merge: words alone" in text and "main trains again" not in text


@pytest.mark.parametrize(("kind", "job"), [("model", "test"), ("promotion", "promotion")])
def test_nothing_is_ready_where_a_job_did_not_run(kind: str, job: str) -> None:
    text = report.render(told(kind=kind, jobs={"plan": "success", job: "skipped"}))
    assert "🔴 Not to be merged: not every job has run" in text and "🟢" not in text


# --- facts are checked before they are spoken of ---


def gather(folder: Path, monkeypatch: pytest.MonkeyPatch, **outputs: str) -> dict[str, Any]:
    for name in ("SERVER_URL", "REPOSITORY", "RUN_ID"):
        monkeypatch.setenv(f"GITHUB_{name}", "x")
    monkeypatch.chdir(folder)
    job = {"result": "success", "outputs": {}}
    needs = dict.fromkeys(facts.JOBS, job) | {
        "plan": {**job, "outputs": {"kind": "model", "key": "k"} | outputs},
    }
    return facts.gather(folder, {"pull_request": None}, needs, [])


def test_what_the_change_measures_otherwise_is_shown_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, value in (("facts-train", 0.99), ("facts-measure", 0.7)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "metrics.json").write_text(json.dumps(measured(value)))
    got = gather(tmp_path, monkeypatch)
    assert got["metrics"] == measured(0.7)
    shown = report.render(told(**got | {"jobs": told()["jobs"]}))
    assert "measures otherwise" in shown and "| average precision | 0.700 | 0.990 |" in shown
    assert "measures otherwise" not in report.render(told(own=measured(), metrics=measured()))


def test_another_problem_says_that_it_is_one() -> None:
    problem = {"kind": "replaced", "before": "returned-orders", "after": "`churn`"}
    shown = html.unescape(report.render(told(problem=problem)))
    assert "This replaces the problem" in shown and "<code>returned-orders</code> becomes <code>`churn`</code>" in shown
    shown = report.render(told(problem=problem | {"kind": "renamed"}))
    assert "every bar of the base branch holds" in re.sub(r"\s+", " ", shown) and "This replaces" not in shown


def test_it_speaks_the_words_of_the_contract() -> None:
    called = {"row": ("order", "orders"), "entity": ("customer", "customers"), "positive": ("return", "returns")}
    gate = {"violations": [violation()], "not_judged": []}
    shown = report.render(told(words=called, gates={"data": gate}))
    wanted = ("12 orders", "268,000 orders", "58,000 orders, 400 returns", "| orders | labels |")
    assert [want for want in wanted if want not in shown] == []
    neutral = report.render(told(gates={"data": gate}))
    assert "12 rows" in neutral and "58,000 rows" in neutral and "| rows | labels |" in neutral
    evil = dict.fromkeys(called, ("@team", "<b>|#1</b>"))
    shown = report.render(told(words=evil, gates={"data": gate}))
    assert "<b>" not in shown and "@team" not in shown and "|#1" not in shown


def test_several_classes_are_spoken_of() -> None:
    matrix = curve("heat", {}, labels=["NA", "groß"], values=[[0.9, 0.1], [0.25, 0.75]])
    group = {"column": "size", "value": None, "rows": 90, "labels": "", "rarest": None, "recall_groß @x": metric(0.5)}
    metrics = of_classes() | {"fairness": {"size": {"groups": [group], "differences": []}}}
    text = html.unescape(report.render(told(metrics=metrics, curves=matrix, champion=of_classes())))
    for words in (
        *(
            "Balanced accuracy 0.700, in production 0.700.",
            "| log loss (less is better) | **0.900",
            "| roc auc | **–**",
        ),
        *("58,000 rows, 51% NA)", "| <code>groß</code> | 0.250 | 0.750 |", "| slice | rows | labels | accuracy |"),
        *("| group | rows | <code>recall groß @x</code> |", "<code>size missing</code> | 90 | 0.500"),
    ):
        assert words in text, words
    assert "An alert is" not in text and "intervals of the predictions" not in text and "positive" not in text


def test_a_number_is_spoken_of() -> None:
    points = curve("points", {"model": {"x": [900, 0, 10], "y": [800.0, -5, float("nan")]}})
    points["curves"][0] |= {"y": "Mean label, in €"}
    text = report.render(told(metrics=of_a_number(), champion=of_a_number(), curves=points))
    assert 'y-axis "Mean label, in €" -5 --> 840' in text
    for words in (
        *("Rmse 155.1, in production 155.1; less is better.", "| rmse (less is better) | **155.1 (155.1 to 155.1)**"),
        *(markdown.text(of_a_number()["model"]["decides"]), "(58,000 rows)"),
        "| slice | rows | rmse (less is better) |",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    "drawn", [curve("histogram", {}), curve("line", {"model": {"x": [1], "y": [2]}}), {"curves": []}]
)
def test_what_cannot_be_drawn_is_left_out(drawn: dict[str, Any]) -> None:
    assert "### Plots" not in report.render(told(curves=drawn, training=None))


@pytest.mark.parametrize("metrics", [of_classes(), of_a_number()])
def test_what_is_measured_otherwise_is_shown_where_a_metric_has_no_value(metrics: dict[str, Any]) -> None:
    assert "measures otherwise" not in report.render(told(own=metrics, metrics=metrics))
    (name, _), *_ = metrics["metrics"].items()
    lost = metrics | {"metrics": metrics["metrics"] | {name: None}}
    assert "measures otherwise" in report.render(told(own=metrics, metrics=lost))


def test_a_family_without_epochs_has_no_plot_of_its_loss() -> None:
    shown = report.render(told(training={"rows": 268_000, "trees": 200}))
    assert "Training loss" not in shown and "Training loss" in report.render(told())


def test_rows_without_a_label_are_counted() -> None:
    waiting = measured()
    waiting["data"]["unlabelled"] = 1234
    assert "1,234 more without a label yet" in report.render(told(metrics=waiting))
    assert "without a label" not in report.render(told())


@pytest.mark.parametrize("metrics", [measured(), of_classes(), of_a_number()])
def test_facts_that_are_as_agreed_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: dict[str, Any]
) -> None:
    matrix = curve("heat", {}, labels=["NA"], values=[[1.0]])
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "curves.json").write_text(json.dumps(matrix))
    got = gather(tmp_path, monkeypatch, **{"bundle-key": "k"})
    assert got["metrics"] == metrics and got["curves"] == matrix
    assert got["problems"] == []
    assert got["restored"]


@pytest.mark.parametrize(
    "content",
    [
        *("{", '{"metrics": 1}', json.dumps(measured()).replace("roc_auc", "<script>"), "NaN"),
        *(json.dumps(measured()).replace(some, other) for some, other in (('"7 returns"', "7"), ("0.43", '"0.43"'))),
        json.dumps(measured()).replace("7 returns", "x" * 501),
    ],
)
def test_facts_that_are_not_as_agreed_are_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "metrics.json").write_text(content)
    got = gather(tmp_path, monkeypatch)
    assert got["metrics"] is None
    assert any("metrics.json" in problem for problem in got["problems"])
    assert "metrics.json" in html.unescape(report.render(told(**got | {"jobs": told()["jobs"]})))


@pytest.mark.parametrize(
    "drawn",
    [
        {"precision_recall": {}},
        curve("pie", {}),
        curve("heat", {}),
        curve("line", {"x" * 201: {}}),
        curve("line", {"model": {"x": ["1"]}}),
        curve("line", {"model": {"y": [0.5] * 2001}}),
    ],
)
def test_a_plot_that_is_not_as_agreed_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: dict[str, Any]
) -> None:
    (tmp_path / "curves.json").write_text(json.dumps(drawn))
    got = gather(tmp_path, monkeypatch)
    assert got["curves"] is None and "curves.json" in got["problems"][0]


def test_timings_leave_out_what_did_not_run() -> None:
    job = {"name": "Train", "conclusion": "success", "labels": ["gpu-large"]}
    ran = {**job, "started_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:01:30Z"}
    waiting = {**job, "started_at": None, "completed_at": None}
    jobs: list[dict[str, Any]] = [ran, {**ran, "conclusion": "skipped"}, waiting]
    assert list(facts.timings(jobs, "gpu-large")) == [
        {"name": "Train", "runner": "gpu-large", "seconds": 90.0, "gpu": True}
    ]
