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


def measured(value: float = 0.7) -> dict[str, Any]:
    """metrics.json of a model."""
    return {
        "model": {"digest": DIGEST, "family": "trees", "bytes": 12_345},
        "headline": "average_precision",
        "data": {
            "source": "simulate",
            "snapshot": None,
            "train": ["2018-07-04", "2018-07-31"],
            "test": ["2018-08-08", "2018-08-14"],
            "train_rows": 268_000,
            "test_rows": 58_000,
            "test_positives": 400,
            "unlabelled": 0,
            "left_out": 12,
        },
        "metrics": {"average_precision": metric(value), "roc_auc": metric(0.87)},
        "baselines": {"linear": {"average_precision": metric(0.6), "roc_auc": metric(0.86)}},
        "slices": [
            {"column": "amount", "from": 0, "to": 50, "rows": 900, "positives": 7, "average_precision": metric(0.2)},
            {"column": "express", "value": True, "rows": 90, "positives": 0, "roc_auc": None},
        ],
    }


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
        "curves": {"precision_recall": {"model": {"recall": [1.0, 0.5, 0.0], "precision": [0.1, 0.8, 1.0]}}},
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
    assert "xychart-beta" in text
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
    metrics["slices"] = [{"column": hostile, "value": hostile, "rows": 1, "positives": 1}]
    job = {"name": hostile, "runner": hostile, "seconds": 1.0, "gpu": False}
    text = report.render(told(gates={"data": gate}, metrics=metrics, problems=[hostile], timings=[job], key=hostile))
    assert hostile not in text.removeprefix(report.MARKER)
    assert not set("@![|<`") & set(re.sub(r"<code>[^<>]*</code>", "", job_table(text)).replace("|", ""))
    assert hostile.split() == html.unescape(re.findall(r"⚠️ <code>(.*)</code>", text)[0]).split()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [heading(told(gates={"data": gate}))]


def job_table(report: str) -> str:
    """The line of the one job."""
    lines = [line for line in report.splitlines() if line.endswith("| 1 s |")]
    assert len(lines) == 1
    return lines[0]


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
    for words, wanted in ((called, ("12 orders", "268,000 orders", "400 returns", "| orders | returns |")),):
        shown = report.render(told(words=words, gates={"data": gate}))
        assert [want for want in wanted if want not in shown] == []
    neutral = report.render(told(gates={"data": gate}))
    assert "12 rows" in neutral and "400 positives" in neutral and "| rows | positives |" in neutral
    evil = dict.fromkeys(called, ("@team", "<b>|#1</b>"))
    shown = report.render(told(words=evil, gates={"data": gate}))
    assert "<b>" not in shown and "@team" not in shown and "|#1" not in shown


def test_a_family_without_epochs_has_no_plot_of_its_loss() -> None:
    shown = report.render(told(training={"rows": 268_000, "trees": 200}))
    assert "Training loss" not in shown and "Training loss" in report.render(told())


def test_rows_without_a_label_are_counted() -> None:
    waiting = measured()
    waiting["data"]["unlabelled"] = 1234
    assert "1,234 more without a label yet" in report.render(told(metrics=waiting))
    assert "without a label" not in report.render(told())


def test_facts_that_are_as_agreed_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(measured()))
    got = gather(tmp_path, monkeypatch, **{"bundle-key": "k"})
    assert got["metrics"] == measured()
    assert got["problems"] == []
    assert got["restored"]


@pytest.mark.parametrize(
    "content", ["{", '{"metrics": 1}', json.dumps(measured()).replace("roc_auc", "<script>"), "NaN"]
)
def test_facts_that_are_not_as_agreed_are_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "metrics.json").write_text(content)
    got = gather(tmp_path, monkeypatch)
    assert got["metrics"] is None
    assert any("metrics.json" in problem for problem in got["problems"])
    assert "metrics.json" in html.unescape(report.render(told(**got | {"jobs": told()["jobs"]})))


def test_timings_leave_out_what_did_not_run() -> None:
    job = {"name": "Train", "conclusion": "success", "labels": ["gpu-large"]}
    ran = {**job, "started_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:01:30Z"}
    waiting = {**job, "started_at": None, "completed_at": None}
    jobs: list[dict[str, Any]] = [ran, {**ran, "conclusion": "skipped"}, waiting]
    assert list(facts.timings(jobs, "gpu-large")) == [
        {"name": "Train", "runner": "gpu-large", "seconds": 90.0, "gpu": True}
    ]
