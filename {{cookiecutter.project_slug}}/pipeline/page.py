"""The report: what was measured, as one page that opens from anywhere, reports/index.html.

It shows what is there; in the place of what is not, it says what makes it. The page's form is page.html, a Jinja
template with square brackets ([[ value ]]), which escapes every value.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from math import isfinite, nan
from pathlib import Path
from re import sub
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline import contract, policy
from pipeline.contract import Contract
from pipeline.params import BadInput, run_stage
from pipeline.places import replacing

PAGE = Path("reports/index.html")
PARTS = {
    "metrics": Path("metrics.json"),
    "comparison": Path("reports/comparison.json"),
    "curves": Path("reports/curves.json"),
    "explanations": Path("reports/explanations.json"),
    "training": Path("reports/training.json"),
    "validation": Path("reports/validation.json"),
    "manifest": Path("model/manifest.json"),
}
Part = Mapping[str, Any]

LABELS = {  # of the metrics, in their order
    "average_precision": "Average precision",
    "roc_auc": "ROC AUC",
    "entity_precision_100": "Precision of each day's first 100",
    "recall_at_precision_90": "Recall at 90% precision",
    "accuracy": "Accuracy",
    "calibration_error": "Calibration error",
}
LESS_IS_BETTER = {"calibration_error"}
LEVELS = 5  # of a category, that the page names

# The plots' colours stand for those of the page, so that they follow its light and dark.
INK, LINE, QUIET = "#000001", "#000002", "#000003"
SERIES = ("#000011", "#000012", "#000013", "#000014", "#000015")
COLOURS = {INK: "ink", LINE: "line", QUIET: "quiet"} | dict(
    zip(SERIES, ("model", "first", "second", "third", "fourth"), strict=True)
)
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "page",  # the same plot is the same bytes
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": LINE,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # names are drawn, and may hold a $
}


def main() -> None:
    parts = {name: read(path) for name, path in PARTS.items() if path.exists()}
    if not parts:
        raise BadInput("there is nothing to report yet: run `make pipeline`, then `make report` again")
    with replacing(PAGE) as temporary:
        temporary.write_text(render(parts, contract.load()), encoding="utf-8")
    print(f"{PAGE.resolve().as_uri()}")


def read(path: Path) -> Part:
    """A part of the report. Raises BadInput where the file is damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error}); remove it and run `make pipeline`") from None


def render(parts: Mapping[str, Part], ours: Contract) -> str:
    """The page of these parts, any of which may be missing, in the words of the contract."""
    metrics = parts.get("metrics", {})
    content: dict[str, Any] = {
        "title": f"{ours.problem}: model report",
        "metrics": metrics,
        "gates": [gate(name) for name in ("model", "behaviour", "data") if policy.JUDGES[name].measured.exists()],
        "label": label,
        "meanings": meanings(ours),
        "words": ours,
        **(compared(metrics) if metrics else {}),
        **against_production(parts.get("comparison", {})),
        **fairness(metrics.get("fairness", {})),
        **explained(parts.get("explanations", {})),
        **training(parts.get("training", {})),
        **validated(parts.get("validation", {}), metrics.get("data", {})),
        **described(parts.get("manifest", {}), metrics),
        "plots": plots(parts),
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
    )
    return environment.get_template("page.html").render(content)


# What the page says


def gate(name: str) -> dict[str, Any]:
    """What policies/NAME.yaml says of what was measured."""
    judge, file = policy.JUDGES[name], f"policies/{name}.yaml"
    missing = [(path, make) for path, make in judge.beside.values() if not path.exists()]
    if missing:
        said = [f"{path} is not there; make it with `{make}`" for path, make in missing]
        return {"said": f"{file} is not judged yet", "look": "quiet", "blocks": [], "unjudged": said}
    try:
        measured, bars = judge.read(), policy.load(name)
    except BadInput as error:
        return {"said": f"{file} cannot be judged", "look": "bad", "blocks": [str(error)], "unjudged": []}
    violations = judge.violations(measured, bars)
    many = f"{len(violations)} bar{'s' * (len(violations) > 1)} of {file} not met"
    return {
        "said": many if violations else f"every bar of {file} is met",
        "look": "bad" if violations else "good",
        "blocks": [str(violation) for violation in violations],
        "unjudged": judge.unjudged(measured, bars),
    }


def compared(metrics: Part) -> dict[str, Any]:
    """The headline, the tiles, the table of the families, and that of the slices."""
    ours, baselines = metrics["metrics"], metrics["baselines"]
    names = ordered(ours)
    models = {"model": ours, **baselines}
    best = {name: better(name, models) for name in names}
    slice_names = names_in(metrics)
    return {
        "names": names,
        "headline": headline(metrics),
        "family": metrics["model"]["family"],
        "tested": tested(metrics["data"]),
        "tiles": [{"label": label(name), **cell(ours[name]), "best": rival(name, baselines)} for name in names],
        "comparison": [
            {
                "label": label(name_of(model, metrics)),
                "cells": [cell(values.get(name)) | {"best": best[name] == model} for name in names],
            }
            for model, values in models.items()
        ],
        "slice_names": slice_names,
        "slices": [
            {
                "label": policy.where(piece),
                "rows": f"{piece['rows']:,}",
                "positives": f"{piece['positives']:,}",
                "cells": [cell(piece.get(name)) for name in slice_names],
            }
            for piece in metrics["slices"]
        ],
    }


def tested(data: Part) -> str:
    """Which rows are the test's, in words."""
    share = data.get("share")
    return "those of the test days" if share is None else f"{share:.0%} of the delivery, chosen by a hash"


def against_production(part: Part) -> dict[str, Any]:
    """The table of the champion's metrics and the model's, with their differences; or why there is none."""
    said = "Nothing of this problem is in production yet." if part.get("champion") is None else part["problem"] or ""
    compared = part.get("metrics", {})
    return {
        "champion": (part.get("champion") or {}).get("digest"),
        "champion_said": said if part else "",
        "differences": [
            {
                "label": label(name),
                "model": number(compared[name]["model"]),
                "champion": number(compared[name]["champion"]),
                **cell(compared[name]["difference"]),
            }
            for name in ordered(compared)
        ],
    }


def fairness(part: Part) -> dict[str, Any]:
    """The rates of each group of people."""
    rates = ("false_positive_rate", "recall")
    return {
        "rates": rates,
        "people": [
            {
                "label": policy.where(group),
                "rows": f"{group['rows']:,}",
                "positives": f"{group['positives']:,}",
                "cells": [cell(group[rate]) for rate in rates],
            }
            for found in part.values()
            for group in found["groups"]
        ],
    }


def explained(part: Part) -> dict[str, Any]:
    """The reasons for single scores, in words."""
    return {
        kind: [
            {
                "id": row.get("id", "–"),
                "positive": {1: "yes", 0: "no"}.get(row.get("label"), "–"),
                "score": number(row["score"]),
                "reasons": [reason(why) for why in row["reasons"]],
            }
            for row in part.get(kind, ())
        ]
        for kind in ("highest", "wrong")
    }


def reason(why: Part) -> str:
    """An input, its value or pseudonym where it may be shown, and what it adds to a score."""
    value = f" {shown(why['value'])}" if "value" in why else ""
    return f"{why['column']}{value}: {why['contribution']:+.3f}"


def shown(value: str | float | bool | None) -> str:
    """An input's value: a number, a category, true or false, or a missing one."""
    return f"{value:,.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else policy.words(value)


def name_of(model: str, metrics: Part) -> str:
    """What a line of the families' table is called: the model by its family."""
    return str(metrics["model"]["family"]) if model == "model" else model


def ordered(names: Iterable[str]) -> list[str]:
    """The known metrics first, in the order of LABELS."""
    names = list(names)
    return [*(name for name in LABELS if name in names), *(name for name in names if name not in LABELS)]


def names_in(metrics: Part) -> list[str]:
    """The metrics that slices have."""
    return [name for name in ordered(metrics["metrics"]) if any(name in piece for piece in metrics["slices"])]


def headline(metrics: Part) -> str:
    """The model against the best of the other families, in a sentence."""
    ours, name = metrics["metrics"], metrics["headline"]
    rivals = {family: values for family, values in metrics["baselines"].items() if name in values}
    if name not in ours or not rivals:
        return ""
    best = better(name, rivals)
    ahead = value(ours[name]) - value(rivals[best][name])
    beside = f"{abs(ahead):.3f} {'above' if ahead >= 0 else 'below'} the best other family, {label(best).lower()}"
    return f"{label(name)} {value(ours[name]):.3f}, {beside}."


def better(name: str, models: Mapping[str, Part]) -> str:
    """The model with the best value of a metric."""
    sign = -1 if name in LESS_IS_BETTER else 1
    found = {model: sign * value(values.get(name)) for model, values in models.items()}
    return max(found, key=lambda model: found[model] if isfinite(found[model]) else -np.inf)


def rival(name: str, baselines: Mapping[str, Part]) -> str:
    """The best other family's value of a metric, in words."""
    if not any(name in values for values in baselines.values()):
        return ""
    best = better(name, baselines)
    return f"best other {number(value(baselines[best].get(name)))}, {label(best).lower()}"


def training(part: Part) -> dict[str, Any]:
    """A sentence on the training, where there was one."""
    said = [label(part["family"])] if "family" in part else []
    said += [f"{part['rows']:,} rows"] if "rows" in part else []
    said += [f"{len(part['epochs'])} epochs"] if "epochs" in part else []
    said += [f"{part[name]:,} {name}" for name in ("parameters", "trees", "leaves") if name in part]
    said += [f"on {part['device']}"] if "device" in part else []
    return {"training": ", ".join(said) + "." if said else ""}


def validated(part: Part, data: Part) -> dict[str, Any]:
    """The data's window and what is wrong with its values."""
    by_day, before = "share" not in data, part.get("before")
    facts = {
        "Source": data.get("source", part.get("source")),
        "Snapshot": data.get("snapshot") or ("follows from params.yaml" if part.get("pinned") else "not pinned"),
        "Training days": "{} to {}".format(*data["train"]) if "train" in data and by_day else None,
        "Training rows": count(data, "train_rows"),
        "Test days": "{} to {}".format(*data["test"]) if "test" in data and by_day else None,
        "Delivery": f"{data['test'][1]}, {data['share']:.0%} of it to test, by a hash" if not by_day else None,
        "Test rows": count(data, "test_rows"),
        "Positives among them": count(data, "test_positives"),
        "Rows whose label is not known yet": count(data, "unlabelled") if data.get("unlabelled") else None,
        "Rows left out, as their entity was known": count(data, "left_out") if data.get("left_out") else None,
        "Compared with the delivery of": "{day}, {rows:,} rows".format(**before) if before else None,
        "Rows read": count(part, "rows"),
        "Rows with an identifier of another": count(part.get("duplicates") or {}, "rows"),
    }
    columns = part.get("columns", {})
    faults = [
        {"column": column, "fault": fault.replace("_", " "), "rows": found["rows"], "share": f"{found['share']:.4%}"}
        for column, kinds in columns.items()
        for fault, found in kinds.items()
        if found["rows"]
    ]
    return {
        "validated": bool(part),
        "facts": [(name, fact) for name, fact in facts.items() if fact is not None],
        "faults": faults,
        "faultless": f"Of {len(columns)} columns, no value is one that contract.yaml does not allow.",
        "missing_shares": [(name, f"{share:.3%}") for name, share in part.get("missing", {}).items() if share],
    }


def described(manifest: Part, metrics: Part) -> dict[str, Any]:
    """The model's digest, size and inputs."""
    about = metrics.get("model", {})
    facts = {
        "Digest": about.get("digest"),
        "Family": manifest.get("family"),
        "Bytes": count(about, "bytes"),
        "Runtime": manifest.get("runtime"),
    }
    inputs = [column | {"range": span(column)} for column in manifest.get("inputs", ())]
    return {"model_facts": [(name, fact) for name, fact in facts.items() if fact is not None], "inputs": inputs}


def label(name: str) -> str:
    """A metric's or a family's name for people."""
    return LABELS.get(name) or name.replace("_", " ").capitalize()


def meanings(ours: Contract) -> dict[str, str]:
    """What each metric says, in the words of the contract."""
    positives, entities = ours.positives.many, ours.entities.many
    return {
        "average_precision": "Precision, averaged over the recall: the area under that curve",
        "roc_auc": f"Probability that a {ours.positives.one} scores higher than another {ours.row.one}",
        "entity_precision_100": f"Share of {entities} with a {ours.positives.one} among a day's 100 highest",
        "recall_at_precision_90": f"Share of the {positives} found when 9 in 10 alarms are right",
        "accuracy": f"Share of {ours.row.many} that an alert, or none, gets right; the highest scores raise one",
        "calibration_error": "Mean distance of scores from probabilities; less is better",
    }


def value(metric: Part | None) -> float:
    """A metric's value; NaN where it was not measured."""
    return number_of((metric or {}).get("value"))


def number_of(found: float | None) -> float:
    """A number; NaN for none, such as the share of a day whose labels nobody knows yet."""
    return nan if found is None else float(found)


def ends(metric: Part | None) -> tuple[float, float]:
    """A metric's interval; NaN where it has none."""
    low, high = ((metric or {}).get(end) for end in ("low", "high"))
    return (nan, nan) if low is None or high is None else (float(low), float(high))


def cell(metric: Part | None) -> dict[str, str]:
    """A metric's value and interval in words."""
    low, high = ends(metric)
    return {
        "value": number(value(metric)),
        "interval": f"{number(low)} to {number(high)}" if isfinite(low) else "",
    }


def number(found: float) -> str:
    """Three decimals, four for what is small; a dash for what was not measured."""
    return f"{found:.{3 if abs(found) >= 0.01 or found == 0 else 4}f}" if isfinite(found) else "–"


def count(part: Part, name: str) -> str | None:
    """A number of rows in words; None where it was not counted."""
    return f"{part[name]:,}" if name in part else None


def span(column: Part) -> str:
    """What values a column may have, in words."""
    low, high = column.get("minimum"), column.get("maximum")
    said = [f"{word} {end:,.12g}" for word, end in (("from", low), ("to", high)) if end is not None]
    levels = column.get("categories") or column.get("levels") or ()
    if levels:
        more = f", … ({len(levels):,} of them)" if len(levels) > LEVELS else ""
        said = [", ".join(levels[:LEVELS]) + more]
    elif column["type"] == "boolean":
        said = ["true or false"]
    return (" ".join(said) or "any") + (", or missing" if column.get("missing") else "")


# What the page shows


def plots(parts: Mapping[str, Part]) -> dict[str, Markup]:
    """Every plot that the parts are enough for, as SVG."""
    metrics, curves = parts.get("metrics", {}), parts.get("curves", {})
    made: dict[str, Markup] = {}
    with rc_context(STYLE):
        if metrics:
            made["comparison"] = comparison_plot(metrics)
        if metrics.get("slices"):
            made["slices"] = slices_plot(metrics)
        if parts.get("explanations"):
            made["importance"] = importance_plot(parts["explanations"]["importance"])
        if "precision_recall" in curves:
            made["precision_recall"] = curve_plot(curves["precision_recall"], "recall", "precision")
        if "roc" in curves:
            made["roc"] = curve_plot(curves["roc"], "false_positive_rate", "true_positive_rate", diagonal=True)
        if "calibration" in curves:
            made["calibration"] = calibration_plot(curves["calibration"])
        if "histogram" in curves:
            made["scores"] = scores_plot(curves["histogram"])
        if parts.get("training", {}).get("epochs"):
            made["training"] = training_plot(parts["training"]["epochs"])
        if (parts.get("validation", {}).get("days") or {}).get("rows"):
            made["days"] = days_plot(parts["validation"], metrics.get("data", {}))
    return made


def comparison_plot(metrics: Part) -> Markup:
    """A panel a metric, a line a model: value and interval."""
    models = {"model": metrics["metrics"], **metrics["baselines"]}
    figure, panels = panels_of(ordered(metrics["metrics"]), [label(name_of(model, metrics)) for model in models])
    for name, axes in panels.items():
        for place, values in enumerate(models.values()):
            interval(axes, values.get(name), place, SERIES[place % len(SERIES)])
    return svg(figure, "The families, each metric with its interval")


def slices_plot(metrics: Part) -> Markup:
    """A panel a metric, a line a slice: value and interval, all test rows dashed."""
    pieces = metrics["slices"]
    figure, panels = panels_of(names_in(metrics), [policy.where(piece) for piece in pieces])
    for name, axes in panels.items():
        for place, piece in enumerate(pieces):
            interval(axes, piece.get(name), place, SERIES[0])
        axes.axvline(value(metrics["metrics"].get(name)), color=QUIET, linestyle="--", linewidth=1)
    return svg(figure, "Each slice's metrics with their intervals")


def importance_plot(found: Part) -> Markup:
    """A bar an input, with the spread of its shuffles."""
    figure = Figure(figsize=(9, 0.6 + 0.3 * len(found)))
    axes = figure.subplots()
    for place, fall in enumerate(found.values()):
        axes.barh(place, value(fall), color=SERIES[0], height=0.6)
        axes.plot(ends(fall), [place, place], color=INK, linewidth=1)
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.set(xlabel="fall of the average precision when the input is shuffled")
    return svg(figure, "How much average precision falls without each input")


def panels_of(names: Sequence[str], lines: Sequence[str]) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each metric, three in a row, and a line for each of `lines`."""
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(9, down * (0.6 + 0.3 * len(lines))))
    grid = figure.subplots(down, across, sharey=True, squeeze=False).flatten()
    for axes, name in zip(grid, names, strict=False):
        axes.set_title(label(name))
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=5)
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    grid[0].set_yticks(range(len(lines)), lines)
    grid[0].set_ylim(len(lines) - 0.5, -0.5)
    for axes in grid[::across]:
        axes.tick_params(axis="y", labelcolor=INK, length=0)
    return figure, dict(zip(names, grid, strict=False))


def interval(axes: Axes, metric: Part | None, place: int, colour: str) -> None:
    """A metric's value as a point on the interval, at a height."""
    low, high = ends(metric)
    axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot([value(metric)], [place], "o", color=colour, markersize=6)


def curve_plot(curves: Mapping[str, Part], across: str, up: str, diagonal: bool = False) -> Markup:
    """A curve a model."""
    figure = Figure(figsize=(4.6, 3.6))
    axes = figure.subplots()
    if diagonal:
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1)
    for place, (name, curve) in reversed(list(enumerate(curves.items()))):  # the model's on top
        colour = SERIES[place % len(SERIES)]
        axes.plot(curve[across], curve[up], color=colour, linewidth=1.2 + (place == 0), label=label(name))
    axes.set(xlabel=label(across), ylabel=label(up), xlim=(0, 1), ylim=(0, 1.02))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="best", fontsize=9)
    return svg(figure, f"{label(up)} against {label(across).lower()}")


def calibration_plot(curves: Mapping[str, Part]) -> Markup:
    """The share of positives against the score, both on a logarithmic scale, as most scores are small."""
    figure = Figure(figsize=(4.6, 3.6))
    axes = figure.subplots()
    shown = [x for curve in curves.values() for key in ("score", "share") for x in curve[key] if x > 0]
    least = min([*shown, 0.1])  # from there to 1 two powers of ten at least are named
    axes.plot([least, 1], [least, 1], color=QUIET, linestyle="--", linewidth=1)
    for place, (name, curve) in reversed(list(enumerate(curves.items()))):
        colour = SERIES[place % len(SERIES)]
        points = positive(curve["score"]), positive(curve["share"])
        axes.plot(*points, "o-", color=colour, markersize=3, linewidth=1.2 + (place == 0), label=label(name))
    axes.set(xlabel="Mean score", ylabel="Share of positives", xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):  # in numbers, as matplotlib's own names of powers are mathematics
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="best", fontsize=9)
    return svg(figure, "Share of positives against the mean score")


def positive(values: Sequence[float]) -> list[float]:
    """The values that a logarithmic scale can show, NaN for the others."""
    return [x if x > 0 else nan for x in values]


def scores_plot(histogram: Part) -> Markup:
    """How many negatives and positives got which score."""
    figure = Figure(figsize=(4.6, 3.6))
    axes = figure.subplots()
    for name, colour in (("negative", SERIES[4]), ("positive", SERIES[1])):
        axes.stairs(histogram[name], histogram["edges"], color=colour, fill=True, alpha=0.25)
        axes.stairs(histogram[name], histogram["edges"], color=colour, linewidth=1.5, label=label(name))
    axes.set(xlabel="Score", ylabel="Rows", yscale="symlog", xlim=(0, 1), ylim=(0, None))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="upper right", fontsize=9)
    return svg(figure, "Histogram of the scores by label")


def training_plot(epochs: Sequence[Part]) -> Markup:
    """What was measured by epoch: the losses in one panel, what else there is in another."""
    numbers = [key for key in epochs[0] if key != "epoch" and isinstance(epochs[0][key], int | float)]
    losses = [key for key in numbers if "loss" in key]
    groups = [group for group in (losses, [key for key in numbers if key not in losses]) if group]
    figure = Figure(figsize=(9, 2.8))
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        for place, key in enumerate(group):
            steps, values = [epoch["epoch"] for epoch in epochs], [epoch.get(key, nan) for epoch in epochs]
            axes.plot(steps, values, color=SERIES[place % len(SERIES)], marker="o", markersize=3, label=label(key))
        axes.set_xlabel("Epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="best", fontsize=9)
    return svg(figure, "Training by epoch")


def days_plot(validation: Part, data: Part) -> Markup:
    """Rows and share of positives by day; the training and test days shaded."""
    rows, shares = validation["days"]["rows"], (validation.get("label") or {}).get("days", {})
    figure = Figure(figsize=(9, 3.4))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    days = np.array(list(rows), dtype="datetime64[D]")
    upper.bar(days, list(rows.values()), width=0.9, color=SERIES[4])
    upper.set_ylabel("Rows")
    upper.yaxis.set_major_formatter("{x:,.0f}")
    lower.plot(days, [100 * number_of(shares.get(day)) for day in rows], color=SERIES[1], linewidth=1.5)
    lower.set(ylabel="Positives, %", ylim=(0, None))
    for name, colour in (("train", SERIES[0]), ("test", SERIES[2])):
        if name in data:
            shade([upper, lower], data[name], colour, "training" if name == "train" else name)
    return svg(figure, "Rows and share of positives by day")


def shade(panels: Iterable[Axes], days: Sequence[str], colour: str, name: str) -> None:
    """The days from the first to the last, both whole, behind the plot."""
    first, last = np.array(days, dtype="datetime64[h]") + np.array([-12, 12])
    for place, axes in enumerate(panels):
        axes.axvspan(first, last, color=colour, alpha=0.15, linewidth=0)
        if place == 0:
            axes.text(first, 1, f" {name}", color=colour, transform=axes.get_xaxis_transform(), va="bottom")


def svg(figure: Figure, what: str) -> Markup:
    """The figure as an SVG that takes its colours from the page, and is called `what`."""
    written = StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = sub(r'<g id="[^"]*"', "<g", text)  # of which other plots have the same
    text = sub(r"(?s)<metadata>.*?</metadata>", "", text)
    for colour, variable in COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    return Markup(text.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(what), 1))


if __name__ == "__main__":
    run_stage(main)
