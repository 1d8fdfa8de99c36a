"""The report page: it shows what was measured, escapes it, asks no network, and says what is not there yet."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipeline import contract, page, tasks
from pipeline.params import BadInput
from tests.tables import OURS, write_policies

DAYS = [f"2018-08-{day:02}" for day in range(1, 15)]
EVIL = "<script>alert('x')</script>"


def metric(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02}


def against(ours: float, theirs: float) -> dict[str, Any]:
    return {"model": ours, "champion": theirs, "difference": metric(ours - theirs) | {"error": 0.01}}


SAID = [
    {"column": "größe €", "value": None, "contribution": 0.1},
    {"column": "express", "value": True, "contribution": -0.05},
    {"column": "model_config", "value": "basic", "contribution": 0.01},
    {"column": "hidden", "contribution": 0.01},
]


def reasons(row: int, label: str | float, point: float, **about: str) -> dict[str, Any]:
    said = [{"column": "amount", "value": 556.75, "contribution": 0.8}, *SAID]
    return {"id": row, "label": label, "point": point, **about, "reasons": said}


def drawn(kind: str, series: dict[str, Any], **more: Any) -> dict[str, Any]:
    about = "What is found of the {positives}"
    return {"kind": kind, "title": f"The {kind}", "about": about, "x": "Across", "y": "Up", "series": series, **more}


def by_day(value: float) -> dict[str, Any]:
    return {"value": value, "deviation": 0.1, "days": dict.fromkeys(DAYS, value)}


def measured() -> dict[str, dict[str, Any]]:
    """Every part, as the stages write it."""
    scores = {"average_precision": 0.71, "roc_auc": 0.88, "entity_precision_100": 0.3, "calibration_error": 0.03}
    worse = {"average_precision": 0.62, "roc_auc": 0.87, "entity_precision_100": 0.29, "calibration_error": 0.02}
    models = {"model": 1.0, "linear": 0.9}
    across = [0.0, 0.5, 1.0]
    good = {"rows": 0, "share": 0.0, "examples": []}
    return {
        "metrics": {
            "model": {
                "digest": "sha256:" + "ab" * 32,
                "family": "trees",
                "bytes": 1234,
                "decides": "An alert is a score of 0.43.",
            },
            "data": {
                "source": f"s3://bucket/{EVIL}",
                "snapshot": None,
                "train": [DAYS[0], DAYS[4]],
                "test": [DAYS[10], DAYS[-1]],
                "train_rows": 5000,
                "calibration_rows": 1000,
                "test_rows": 4000,
                "test_labels": "40 returns",
                "unlabelled": 12,
                "left_out": 0,
            },
            "headline": "average_precision",
            "smaller": ["calibration_error"],
            "unmeasured": {},
            "metrics": {name: metric(value) for name, value in scores.items()},
            "baselines": {"linear": {name: metric(value) for name, value in worse.items()}},
            "slices": [
                {"column": "amount", "from": 0, "to": 50, "rows": 3000, "labels": "31 returns", "rarest": 31}
                | {"average_precision": metric(0.6), "roc_auc": metric(0.8)},
                {"column": "größe €", "value": None, "rows": 3, "labels": "", "rarest": 0}
                | {"average_precision": None, "roc_auc": None},
            ],
            "fairness": {
                "use": {
                    "groups": [
                        {"column": "shoe size", "from": None, "to": 15, "rows": 3000, "labels": "20 returns"}
                        | {"rarest": 20, "false_positive_rate": metric(0.004), "recall": None}
                    ],
                    "differences": [],
                }
            },
        },
        "comparison": {
            "model": "sha256:" + "ab" * 32,
            "champion": {"digest": "sha256:" + "cd" * 32, "train": [DAYS[0], DAYS[3]], "until": DAYS[9]},
            "problem": None,
            "rows": 4000,
            "labels": "40 returns",
            "rarest": 40,
            "compared": 4000,
            "excepted": "",
            "seen": {who: {"rows": 0, "examples": [], "hashed": True} for who in ("model", "champion")},
            "metrics": {name: against(scores[name], worse[name]) for name in scores},
            "slices": [],
        },
        "explanations": {
            "model": "sha256:" + "ab" * 32,
            "base": 0.01,
            "headline": "average_precision",
            "point": "score",
            "importance": {"amount": metric(0.4), "größe €": metric(0.001)},
            "highest": [reasons(7, "Yes", 0.98)],
            "wrong": [reasons(8, "Yes", 0.02)],
        },
        "curves": {
            "curves": [
                drawn("line", {name: {"x": across, "y": across} for name in models}, diagonal=True),
                drawn("points", {name: {"x": across, "y": across} for name in models}, diagonal=True, scale="log"),
                drawn("histogram", {"No": {"y": [3900, 60]}, "Yes": {"y": [10, 30]}}, edges=across, scale="log"),
            ]
        },
        "training": {
            "family": "network",
            "device": "cpu",
            "rows": 5000,
            "epochs": [{"epoch": n, "loss": 1 / n} for n in (1, 2, 3)],
        },
        "validation": {
            "id": "order_id",
            "dated": True,
            "file": "data/rows.parquet",
            "source": "simulate",
            "pinned": True,
            "rows": 14000,
            "schema": [],
            "columns": {"amount": {"missing": {"rows": 7, "share": 0.0005, "examples": [{"amount": EVIL}]}}},
            "duplicates": good,
            "days": {
                "since": DAYS[0],
                "until": DAYS[-1],
                "behind": 0,
                "missing": [],
                "outside": good,
                "rows": dict.fromkeys(DAYS, 1000),
            },
            "levels": {"amount": dict.fromkeys(DAYS, 50.0)},
            "label": {
                "parts": {"positive": by_day(0.01) | {"days": by_day(0.01)["days"] | {DAYS[5]: None, DAYS[-1]: None}}},
                "known": dict.fromkeys(DAYS, 990),
                "unknown": 12,
                "kind": "share",
                "unit": None,
                "rest": "negative",
            },
            "missing": {"größe €": 0.1, "a.b": 0},
        },
        "manifest": {
            "runtime": "onnx",
            "family": "trees",
            "settled": {"threshold": 0.43},
            "inputs": [
                {"name": "amount", "type": "number", "minimum": 0, "maximum": None, "missing": False, "about": EVIL},
                {"name": "größe €", "type": "category", "levels": list("abcdefg"), "missing": True, "about": ""},
                {"name": "express", "type": "boolean", "minimum": None, "maximum": None, "missing": False, "about": ""},
                {"name": "items", "type": "integer", "minimum": 1, "maximum": 2_000_000, "missing": False, "about": ""},
            ],
        },
    }


def repository(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """A repository's root with nothing but the policies and the contract, as the working folder."""
    write_policies(folder)
    shutil.copy(OURS, folder / "contract.yaml")
    patch.chdir(folder)
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return repository(tmp_path, monkeypatch)


def write(parts: dict[str, Any]) -> None:
    for name, part in parts.items():
        page.PARTS[name].parent.mkdir(exist_ok=True)
        page.PARTS[name].write_text(json.dumps(part))


def text() -> str:
    page.main()
    return page.PAGE.read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Collects what a page opens, and checks that it closes it."""

    VOID = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    parser.close()
    assert not parser.open
    return parser.seen


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of every part."""
    with pytest.MonkeyPatch.context() as patch:
        repository(tmp_path_factory.mktemp("whole"), patch)
        write(measured())
        return text()


def test_it_shows_what_was_measured(html: str) -> None:
    assert "0.090 above the best other family, linear" in html
    for said in ("0.710", "0.690 to 0.730", "sha256:" + "ab" * 32, "2018-08-11 to 2018-08-14", "from 0 to 50"):
        assert said in html
    assert len([tag for tag, _ in tags(html) if tag == "svg"]) == 8
    assert "will stand here" not in html


def test_a_delivery_without_days_is_whole_and_the_page_speaks_of_none(root: Path) -> None:
    ours = contract.CONTRACT.read_text().replace("time: ordered_at", "time: null")
    contract.CONTRACT.write_text(ours.replace("  ordered_at: {type: time}\n", ""))
    parts = measured()
    parts["validation"] |= {"dated": False, "days": None, "daily": None, "levels": None}
    before = {"day": "2024-02-29", "rows": 4321, "columns": 3, "lacks": [], "levels": {}, "constant": {}, "lost": {}}
    parts["validation"]["before"] = before | {"again": {"new": 1, "renamed": 0, "distinct": 4321}, "categories": {}}
    parts["metrics"]["data"] |= {"share": 0.2}
    parts["metrics"]["slices"] = []
    for whose in ("metrics", "comparison"):
        del parts[whose]["metrics"]["entity_precision_100"]
    parts["comparison"] |= {"delivery": DAYS[-1]}
    parts["comparison"]["seen"]["champion"] |= {"rows": 3, "hashed": False}
    write(parts)
    html = text()
    assert "The same orders for all: 20% of the delivery, chosen by a hash, which none has seen." in html
    assert "2024-02-29, 4,321 rows" in html
    assert "20% of it to test, by a hash" in html and "will stand here" not in html
    assert "names no slices; <code>make bars</code> proposes some" in html and "none were measured; `make bars`" in html
    said = re.sub(r"(?s)<(style|svg).*?</\1>|<[^>]*>", " ", html)
    (only,) = (line for line in said.splitlines() if re.search(r"\bdays?\b", line))
    assert "what is judged by day alone, as contract.yaml says `time: null`" in only


def test_training_without_epochs_is_a_sentence(root: Path) -> None:
    write({"training": {"family": "trees", "device": "cpu", "rows": 5000, "trees": 200, "leaves": 6200}})
    html = text()
    assert "Trees, 5,000 rows, 200 trees, 6,200 leaves, on cpu." in html and "reports/training.json" not in html


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("roc_auc", "ROC AUC 0.880, 0.010 above the best other family, linear."),
        ("calibration_error", "Calibration error 0.030, 0.010 above the best other family, linear; less is better."),
        ("accuracy", ""),
    ],
)
def test_the_headline_is_the_metric_that_says_so(name: str, said: str) -> None:
    metrics = measured()["metrics"]
    metrics["metrics"]["accuracy"] = None
    assert page.headline(metrics | {"headline": name}, tasks.task("binary")) == said


def test_the_best_is_the_least_where_less_is_better() -> None:
    models = {"model": {"roc_auc": metric(0.9), "calibration_error": metric(0.3)}}
    models["other"] = {"roc_auc": metric(0.8), "calibration_error": metric(0.2)}
    assert page.better("roc_auc", models, tasks.task("binary")) == "model"
    assert page.better("calibration_error", models, tasks.task("binary")) == "other"


def test_none_is_best_where_too_much_is_as_wrong_as_too_little() -> None:
    models = {"model": {"coverage": metric(0.9)}, "other": {"coverage": metric(1.0)}}
    assert page.better("coverage", models, tasks.task("regression")) is None
    assert page.rival("coverage", models, tasks.task("regression")) == ""


def test_it_shows_the_champion_the_groups_and_the_reasons(html: str) -> None:
    for said in ("sha256:" + "cd" * 32, "shoe size is below 15", "amount 556.75: +0.800"):
        assert said in html


def test_it_says_values_of_every_type(html: str) -> None:
    for said in ("größe € missing: +0.100", "express true: -0.050", "model_config basic: +0.010", ">hidden: +0.010"):
        assert said in html
    assert "a, b, c, d, e, … (7 of them), or missing" in html and "<td>from 0</td>" in html
    assert "<td>true or false</td>" in html and "<td>from 1 to 2,000,000</td>" in html
    assert "Missing: <code>größe €</code> in 10.000%.</p>" in html
    assert "<dt>Rows whose label is not known yet</dt><dd>12</dd>" in html and "entity was known" not in html


def test_it_speaks_the_contracts_words(html: str) -> None:
    for said in (
        "The line. What is found of the returns.",
        "Share of customers with a return among",
        "<td>31 returns</td>",
        "<dt>Their labels</dt><dd>40 returns</dd>",
        "<th>returned</th><th>Score</th>",
        "<td>Yes</td>",
        "<dd><code>threshold 0.430</code></dd>",
    ):
        assert said in html
    assert '<p class="quiet">Trees is the model.' in html and '<tr class="ours"><td>Trees</td>' in html


def test_it_says_which_bars_are_not_met(html: str) -> None:
    assert "values.missing" in html
    assert "metrics.calibration_error.maximum" in html
    assert "Not judged: the slice where größe € is missing" in html


def test_it_asks_no_network_and_runs_no_script(html: str) -> None:
    for tag, attributes in tags(html):
        assert tag not in {"script", "link", "iframe", "img"}
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")


def test_everything_is_escaped(html: str) -> None:
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_the_same_measures_are_the_same_page(root: Path) -> None:
    write({"curves": measured()["curves"]})
    assert text() == text()


def test_names_are_no_mathematics(root: Path) -> None:
    """A lone `$a_$` in a name would be a formula, and half of them one that cannot be drawn."""
    parts = measured()
    parts["metrics"]["slices"][0]["column"] = "a$b_$c"
    parts["explanations"]["importance"]["a$b_$c"] = metric(0.1)
    parts["training"]["epochs"] = [epoch | {"a$b_$c": 1.0} for epoch in parts["training"]["epochs"]]
    write(parts)
    assert ">a$b_$c</text>" in text() and ">A$b $c</text>" in text() and "mathdefault" not in text()


LABEL = 'label: {column: returned, positive: "Yes", negative: "No", delay: 2}'


def of(task: str, label: str, kind: str = "category") -> None:
    """The contract of this folder becomes one of another task."""
    said = contract.CONTRACT.read_text().replace("task: binary", f"task: {task}").replace(LABEL, f"label: {label}")
    contract.CONTRACT.write_text(said.replace("returned: {type: category", f"returned: {{type: {kind}"))


def measured_by(headline: str, *names: str) -> dict[str, dict[str, Any]]:
    """Every part but those that gates read, with these metrics alone."""
    parts = measured()
    found = {headline: metric(0.7), **{name: metric(12_345.6) for name in names}}
    parts["metrics"] |= {"headline": headline, "metrics": found, "slices": [], "fairness": {}}
    parts["metrics"]["baselines"] = {"linear": {name: metric(0.5) for name in found}, "constant": dict.fromkeys(found)}
    parts["comparison"] |= {"metrics": {headline: against(0.7, 0.6)} | dict.fromkeys(names)}
    parts["explanations"] |= {"headline": headline}
    return {name: part for name, part in parts.items() if name != "validation"}


def test_several_classes_are_called_as_the_data_calls_them(root: Path) -> None:
    of("multiclass", "{column: returned, classes: [NA, _x, big and heavy], delay: 2}")
    names, parts = ["NA", "_x", "big and heavy"], measured_by("balanced_accuracy", "log_loss")
    heat = {"labels": names, "values": [[0.9, 0.1, 0], [0.25, 0.5, 0.25], [0, 0, 1]]}
    shares = {"labels": names}
    each = {name: {"x": [0, 1], "y": [0, 1]} for name in names}
    parts["curves"] = {
        "curves": [
            drawn("heat", {}, **heat),
            drawn("bars", {"share": {"y": [0.5, 0.3, 0.2]}}, **shares),
            drawn("line", each),
        ]
    }
    rates = {"accuracy": metric(0.7), "recall_NA": metric(0.6), "recall_big and heavy": None}
    group = {"column": "amount", "from": 0, "to": 50, "rows": 3000, "labels": "51% NA", "rarest": None}
    parts["metrics"]["fairness"] = {"size": {"groups": [group | rates], "differences": []}}
    parts["explanations"] |= {"point": "probability", "wrong": [reasons(8, "NA", 0.92, about="_x")]}
    parts["comparison"] |= {"compared": 3900, "excepted": "the champion does not know the returned NA"}
    write(parts)
    html = text()
    for said in (
        *("Balanced accuracy 0.700, 0.200 above the best other family, linear.", "Log loss ↓", "Highest probability"),
        *(
            ">0.25</text>",
            ">NA</text>",
            "> _x</text>",
            ">big and heavy</text>",
            "<th>Recall NA</th>",
            "<td>51% NA</td>",
        ),
        *(
            "<td>NA</td><td>0.920<small>_x</small></td>",
            "3,900 of 4,000 are compared: the champion does not know the returned NA.",
        ),
    ):
        assert said in html, said
    assert "positive" not in re.sub(r"(?s)<style.*?</style>", "", html)


def test_a_number_has_its_unit_and_less_of_an_error_is_better(root: Path) -> None:
    of("regression", "{column: returned, unit: €, interval: 0.9, delay: 2}", "number")
    parts = measured_by("rmse", "width", "coverage")
    parts["manifest"]["settled"] = {"edges": [1, 20_000], "above": [0.5, 3, 4]}
    errors = drawn("histogram", {"errors": {"y": [3, 4]}}, edges=[-1, 0, 1])
    far = {name: {"x": [-5.0, 300.0], "y": [10.0, float("nan")]} for name in ("model", "linear")}
    parts["curves"] = {"curves": [drawn("points", far, diagonal=True), errors]}
    parts["explanations"] |= {"point": "prediction", "wrong": [reasons(8, 1234.5, 12_345.6)]}
    write(parts)
    html = text()
    for said in (
        *(
            "RMSE 0.700, 0.200 above the best other family, linear; less is better.",
            "RMSE ↓",
            "in €",
            "90% are promised",
        ),
        *("<td>1,234.5</td><td>12,346</td>", "edges 1.000, 20,000; above 0.500, 3.000, 4.000", "Highest prediction"),
        *("12,346 to 12,346", "RMSE: by how much it worsens when the input is shuffled"),
    ):
        assert said in html, said


def test_labels_by_day_are_a_line_a_class_or_a_mean(root: Path) -> None:
    shares = {f"class {n}": by_day(n / 45) for n in range(1, 10)}
    part = measured()["validation"]
    with page.rc_context(page.STYLE):
        several = page.days_plot(part | {"label": part["label"] | {"parts": shares}}, {})
        mean = {"parts": {"mean": by_day(412.0)}, "kind": "mean", "unit": "€"}
        one = page.days_plot(part | {"label": part["label"] | mean}, {})
    assert re.findall(r">(class \d)<", several) == [f"class {n}" for n in (9, 8, 7, 6, 5, 4)]
    assert ">Share, %<" in several and ">Mean label, €<" in one


@pytest.mark.parametrize("present", page.PARTS)
def test_a_part_alone_is_enough_and_the_others_are_asked_for(root: Path, present: str) -> None:
    write({present: measured()[present]})
    html = text()
    tags(html)
    for name, path in page.PARTS.items():
        asked = f"once <code>{path}</code> is made: run <code>make pipeline</code>" in html
        assert asked == (name != present)


def test_what_is_not_there_is_no_fault(root: Path) -> None:
    write({"metrics": measured()["metrics"]})
    html = text()
    assert "policies/model.yaml is not judged yet" in html
    assert "reports/comparison.json is not there; make it with `python -m pipeline.compare`" in html
    assert 'class="bad"' not in html


def test_with_nothing_made_one_sentence_says_how(root: Path) -> None:
    with pytest.raises(BadInput, match="make pipeline"):
        page.main()


def test_a_damaged_part_is_named_and_the_old_page_stays(root: Path) -> None:
    write({"curves": measured()["curves"]})
    before = text()
    page.PARTS["curves"].write_text("{")
    with pytest.raises(BadInput, match="reports/curves.json"):
        page.main()
    assert page.PAGE.read_text(encoding="utf-8") == before
