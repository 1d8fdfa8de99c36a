"""The report: what was measured, as one page that opens from anywhere, reports/index.html.

It shows what is there; in the place of what is not, it says what makes it. The page's form is page.html, a Jinja
template with square brackets ([[ value ]]), which escapes every value.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from io import StringIO
from math import ceil, floor, isfinite, log10, nan
from pathlib import Path
from re import sub
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline import contract, families, policy, tasks
from pipeline.contract import Contract
from pipeline.params import BadInput, run_stage
from pipeline.places import replacing
from pipeline.policy.slices import PIECE
from pipeline.reading import number
from pipeline.tasks import Task

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

LEVELS = 5  # of a category, that the page names
PARTS_SHOWN = 6  # of what a day's labels are
NUMBERED = 20  # classes of a matrix: of more, its cells hold no numbers

# The plots' colours stand for those of the page, so that they follow its light and dark.
INK, LINE, QUIET = "#000001", "#000002", "#000003"
SERIES = ("#000011", "#000012", "#000013", "#000014", "#000015", "#000016")
COLOURS = {INK: "ink", LINE: "line", QUIET: "quiet"} | dict(
    zip(SERIES, ("model", "first", "second", "third", "fourth", "fifth"), strict=True)
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
    metrics, task = parts.get("metrics", {}), tasks.task(ours.task)
    content: dict[str, Any] = {
        "title": f"{ours.problem}: model report",
        "metrics": metrics,
        "gates": [gate(name) for name in ("model", "behaviour", "data") if policy.JUDGES[name].measured.exists()],
        "title_of": partial(heading, task),
        "meanings": {name: filled(metric.meaning, ours) for name, metric in task.METRICS.items()},
        "words": ours,
        "point": task.POINT,
        **(compared(metrics, task, ours.label.unit) if metrics else {}),
        **against_production(parts.get("comparison", {}), task),
        **fairness(metrics.get("fairness", {})),
        **explained(parts.get("explanations", {})),
        **training(parts.get("training", {})),
        **validated(parts.get("validation", {}), metrics.get("data", {})),
        **described(parts.get("manifest", {}), metrics),
        **plots(parts, ours, task),
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


def compared(metrics: Part, task: Task, unit: str | None) -> dict[str, Any]:
    """The headline, the tiles, the table of the families, and that of the slices."""
    ours, baselines = metrics["metrics"], metrics["baselines"]
    names, slice_names = ordered(ours, task), names_in(metrics, task)
    models = {"model": ours, **baselines}
    best = {name: better(name, models, task) for name in names}
    return {
        "names": names,
        "headline": headline(metrics, task),
        "family": metrics["model"]["family"],
        "tested": tested(metrics["data"]),
        "tiles": [
            {"title": heading(task, name, unit), **cell(ours[name]), "best": rival(name, baselines, task)}
            for name in names
        ],
        "comparison": [
            {
                "label": spoken(name_of(model, metrics)),
                "cells": [cell(values.get(name)) | {"best": best[name] == model} for name in names],
            }
            for model, values in models.items()
        ],
        "slice_titles": [heading(task, name) for name in slice_names],
        "slices": pieces(metrics["slices"], slice_names),
    }


def pieces(found: Sequence[Part], names: Sequence[str]) -> dict[str, Any]:
    """Slices or groups of people: a row each, and whether it is said of any what its labels are."""
    return {
        "labelled": any(piece["labels"] for piece in found),
        "rows": [
            {
                "label": policy.where(piece),
                "rows": f"{piece['rows']:,}",
                "labels": piece["labels"],
                "cells": [cell(piece.get(name)) for name in names],
            }
            for piece in found
        ],
    }


def tested(data: Part) -> str:
    """Which rows are the test's, in words."""
    share = data.get("share")
    return "those of the test days" if share is None else f"{share:.0%} of the delivery, chosen by a hash"


def against_production(part: Part, task: Task) -> dict[str, Any]:
    """The table of the champion's metrics and the model's, with their differences; or why there is none."""
    said = "Nothing of this problem is in production yet." if part.get("champion") is None else part["problem"] or ""
    compared = {name: found for name, found in part.get("metrics", {}).items() if found}
    excepted = "{compared:,} of {rows:,} are compared: {excepted}.".format(**part) if part.get("excepted") else ""
    return {
        "champion": (part.get("champion") or {}).get("digest"),
        "champion_said": said if part else "",
        "excepted": excepted,
        "differences": [
            {
                "title": heading(task, name),
                "model": number(compared[name]["model"]),
                "champion": number(compared[name]["champion"]),
                **cell(compared[name]["difference"]),
            }
            for name in ordered(compared, task)
        ],
    }


def fairness(part: Part) -> dict[str, Any]:
    """The rates of each group of people."""
    groups = [group for found in part.values() for group in found["groups"]]
    rates = list(dict.fromkeys(name for group in groups for name in group if name not in PIECE))
    return {"rates": list(map(spoken, rates)), "people": pieces(groups, rates)}


def explained(part: Part) -> dict[str, Any]:
    """The reasons for single answers, in words."""
    return {
        kind: [
            {
                "id": row.get("id", "–"),
                "label": label(row.get("label")),
                "point": number(row["point"]),
                "about": row.get("about", ""),
                "reasons": [reason(why) for why in row["reasons"]],
            }
            for row in part.get(kind, ())
        ]
        for kind in ("highest", "wrong")
    }


def label(found: str | float | None) -> str:
    """A row's label: a class or a pseudonym, a number, or a dash."""
    if found is None:
        return "–"
    return found if isinstance(found, str) else shown(found)


def reason(why: Part) -> str:
    """An input, its value or pseudonym where it may be shown, and what it adds to an answer."""
    value, added = f" {shown(why['value'])}" if "value" in why else "", why["contribution"]
    return f"{why['column']}{value}: {'+' if added >= 0 else ''}{number(added)}"


def shown(value: str | float | bool | None) -> str:
    """An input's value: a number, a category, true or false, or a missing one."""
    return f"{value:,.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else policy.words(value)


def name_of(model: str, metrics: Part) -> str:
    """What a line of the families' table is called: the model by its family."""
    return str(metrics["model"]["family"]) if model == "model" else model


def ordered(names: Iterable[str], task: Task) -> list[str]:
    """The task's metrics first, in its order."""
    names = list(names)
    known = [name for name in task.METRICS if name in names]
    return [*known, *(name for name in names if name not in known)]


def names_in(metrics: Part, task: Task) -> list[str]:
    """The metrics that slices have."""
    return [name for name in ordered(metrics["metrics"], task) if any(name in piece for piece in metrics["slices"])]


def headline(metrics: Part, task: Task) -> str:
    """The model against the best of the other families, in a sentence."""
    ours, name = metrics["metrics"], metrics["headline"]
    rivals = {family: values for family, values in metrics["baselines"].items() if isfinite(value(values.get(name)))}
    if not rivals or not isfinite(value(ours.get(name))):
        return ""
    if (best := better(name, rivals, task)) is None:
        return f"{title(task, name)} {number(value(ours[name]))}."
    ahead = value(ours[name]) - value(rivals[best][name])
    beside = f"{number(abs(ahead))} {'above' if ahead >= 0 else 'below'} the best other family, {spoken(best).lower()}"
    less = "" if larger(name, task) else "; less is better"
    return f"{title(task, name)} {number(value(ours[name]))}, {beside}{less}."


def better(name: str, models: Mapping[str, Part], task: Task) -> str | None:
    """The model with the best value of a metric; None where too much of it is as wrong as too little."""
    if name in task.METRICS and task.METRICS[name].ends:
        return None
    sign = 1 if larger(name, task) else -1
    found = {model: sign * value(values.get(name)) for model, values in models.items()}
    return max(found, key=lambda model: found[model] if isfinite(found[model]) else -np.inf)


def larger(name: str, task: Task) -> bool:
    """Whether more of a metric is better."""
    return name not in task.METRICS or task.METRICS[name].larger


def rival(name: str, baselines: Mapping[str, Part], task: Task) -> str:
    """The best other family's value of a metric, in words."""
    there = any(name in values for values in baselines.values())
    if not there or (best := better(name, baselines, task)) is None:
        return ""
    return f"best other {number(value(baselines[best].get(name)))}, {spoken(best).lower()}"


def training(part: Part) -> dict[str, Any]:
    """A sentence on the training, where there was one."""
    said = [spoken(part["family"])] if "family" in part else []
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
        "Calibration rows among them": count(data, "calibration_rows"),
        "Test days": "{} to {}".format(*data["test"]) if "test" in data and by_day else None,
        "Delivery": f"{data['test'][1]}, {data['share']:.0%} of it to test, by a hash" if not by_day else None,
        "Test rows": count(data, "test_rows"),
        "Their labels": data.get("test_labels") or None,
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
        "Settled on calibration rows": settled(manifest.get("settled", {})),
    }
    inputs = [column | {"range": span(column)} for column in manifest.get("inputs", ())]
    return {"model_facts": [(name, fact) for name, fact in facts.items() if fact is not None], "inputs": inputs}


def settled(found: Part) -> str | None:
    """What the model decides by, in words; None for nothing."""
    said = (f"{name} {', '.join(map(number, np.ravel(values)))}" for name, values in found.items())
    return "; ".join(said) or None


def title(task: Task, name: str) -> str:
    """A metric's name for people."""
    return task.METRICS[name].title if name in task.METRICS else spoken(name)


def heading(task: Task, name: str, unit: str | None = None) -> str:
    """The same above a column, with its unit where that is asked for, and an arrow where less is better."""
    measured = f", {unit}" if unit and name in task.METRICS and "{unit}" in task.METRICS[name].meaning else ""
    return title(task, name) + measured + ("" if larger(name, task) else " ↓")


def spoken(name: str) -> str:
    """A name of the code for people, such as a family's."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def filled(text: str, ours: Contract) -> str:
    """A text of a task, with the words of the contract in it."""
    sure = ours.label.interval
    words = {
        **dict(zip(("row", "rows"), ours.row, strict=True)),
        **dict(zip(("positive", "positives"), ours.positives, strict=True)),
        "entities": ours.entities.many,
        "unit": ours.label.unit or "",
        "interval": f"{100 * sure:.3g}%" if sure else "",
    }
    return sub(r"\{(\w+)\}", lambda found: words.get(found[1], found[0]), text)


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


def plots(parts: Mapping[str, Part], ours: Contract, task: Task) -> dict[str, Any]:
    """Every plot that the parts are enough for, as SVG: `plots` by name, and the task's own as `curves`."""
    metrics, found = parts.get("metrics", {}), parts.get("explanations", {})
    made: dict[str, Markup] = {}
    with rc_context(STYLE):
        if metrics:
            made["comparison"] = comparison_plot(metrics, task)
        if metrics.get("slices"):
            made["slices"] = slices_plot(metrics, task)
        if found:
            made["importance"] = importance_plot(found["importance"], title(task, found["headline"]))
        if parts.get("training", {}).get("epochs"):
            made["training"] = training_plot(parts["training"]["epochs"])
        if (parts.get("validation", {}).get("days") or {}).get("rows"):
            made["days"] = days_plot(parts["validation"], metrics.get("data", {}))
        curves = [
            {
                "plot": curve_plot(curve),
                "said": filled(f"{curve['title']}. {curve['about']}.", ours),
                "wide": wide(curve),
            }
            for curve in parts.get("curves", {}).get("curves", ())
        ]
    return {"plots": made, "curves": curves}


def comparison_plot(metrics: Part, task: Task) -> Markup:
    """A panel a metric, a line a model: value and interval."""
    models = {"model": metrics["metrics"], **metrics["baselines"]}
    called = [spoken(name_of(model, metrics)) for model in models]
    figure, panels = panels_of(ordered(metrics["metrics"], task), called, task)
    for name, axes in panels.items():
        for place, values in enumerate(models.values()):
            interval(axes, values.get(name), place, SERIES[place % len(SERIES)])
    return svg(figure, "The families, each metric with its interval")


def slices_plot(metrics: Part, task: Task) -> Markup:
    """A panel a metric, a line a slice: value and interval, all test rows dashed."""
    pieces = metrics["slices"]
    figure, panels = panels_of(names_in(metrics, task), [policy.where(piece) for piece in pieces], task)
    for name, axes in panels.items():
        for place, piece in enumerate(pieces):
            interval(axes, piece.get(name), place, SERIES[0])
        axes.axvline(value(metrics["metrics"].get(name)), color=QUIET, linestyle="--", linewidth=1)
    return svg(figure, "Each slice's metrics with their intervals")


def importance_plot(found: Part, measure: str) -> Markup:
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
    axes.set(xlabel=f"{measure}: by how much it worsens when the input is shuffled")
    return svg(figure, f"How much {measure} worsens without each input")


def panels_of(names: Sequence[str], lines: Sequence[str], task: Task) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each metric, three in a row, and a line for each of `lines`."""
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(9, down * (0.6 + 0.3 * len(lines))))
    grid = figure.subplots(down, across, sharey=True, squeeze=False).flatten()
    for axes, name in zip(grid, names, strict=False):
        axes.set_title(heading(task, name))
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


# The task's plots, see Task.curves


def curve_plot(curve: Part) -> Markup:
    """A plot of reports/curves.json, by its kind."""
    tall = max(3.6, 1.5 + 0.35 * len(curve.get("labels", ()))) if curve["kind"] == "heat" else 3.6
    figure = Figure(figsize=(9 if wide(curve) else 4.6, tall))
    axes = figure.subplots()
    axes.set(xlabel=curve["x"], ylabel=curve["y"])
    KINDS[curve["kind"]](axes, curve)
    if len(curve["series"]) > 1:
        axes.legend(loc="best", fontsize=9)
    return svg(figure, f"{curve['title']}: {curve['y']} against {curve['x']}")


def wide(curve: Part) -> bool:
    """Whether it takes a whole line of the page, as it has many labels."""
    return len(curve.get("labels", ())) > 5


def lines(axes: Axes, curve: Part) -> None:
    """A line a series, the first on top; with its points in a plot of some."""
    for place, (name, series) in enumerate(curve["series"].items()):
        axes.plot(
            series["x"],
            series["y"],
            color=SERIES[place % len(SERIES)],
            linestyle=DASHES[place // len(SERIES) % len(DASHES)],
            linewidth=1.2 + (place == 0),
            marker="o" if curve["kind"] == "points" else "",
            markersize=3,
            label=named(name),
            zorder=3 - place / len(curve["series"]),
        )
    across, up = (finite(curve, way) for way in ("x", "y"))
    if curve.get("scale") == "log":
        logarithmic(axes)
        least, most = powers([*across, *up])
    else:
        least, most = min([*across, *up], default=0), max([*across, *up], default=1)
        shares = "scale" not in curve  # where that is all that they could be
        if shares and share(across):
            axes.set_xlim(0, 1)
        if shares and share(up):
            axes.set_ylim(0, 1.02)
        if shares and share([least, most]):
            least, most = 0, 1
    if curve.get("diagonal"):
        axes.plot([least, most], [least, most], color=QUIET, linestyle="--", linewidth=1, zorder=1)


DASHES = ("-", "--", ":", "-.")


def finite(curve: Part, way: str) -> list[float]:
    """The numbers of all series, those across (`x`) or up (`y`)."""
    return [number for series in curve["series"].values() for number in series[way] if isfinite(number)]


def share(numbers: Sequence[float]) -> bool:
    """Whether all could be shares, which are shown on the whole way from 0 to 1."""
    return all(0 <= number <= 1 for number in numbers)


def logarithmic(axes: Axes) -> None:
    """Both scales logarithmic; what is not above 0 is left out."""
    axes.set_xscale("log", nonpositive="mask")
    axes.set_yscale("log", nonpositive="mask")
    for axis in (axes.xaxis, axes.yaxis):  # in numbers, as matplotlib's own names of powers are mathematics
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")


def powers(numbers: Sequence[float]) -> tuple[float, float]:
    """The powers of ten around those above 0: so at least two are named along the axis."""
    exponents = [log10(number) for number in numbers if number > 0] or [0]
    return 10.0 ** floor(min(exponents)), 10.0 ** ceil(max(exponents))


def histogram(axes: Axes, curve: Part) -> None:
    """How many there are between one edge and the next, of each series."""
    for place, (name, series) in enumerate(curve["series"].items()):
        colour = SERIES[place % len(SERIES)]
        axes.stairs(series["y"], curve["edges"], color=colour, fill=True, alpha=0.25)
        axes.stairs(series["y"], curve["edges"], color=colour, linewidth=1.5, label=named(name))
    axes.set(yscale="symlog" if curve.get("scale") == "log" else "linear", ylim=(0, None))
    axes.set_xlim(curve["edges"][0], curve["edges"][-1])
    axes.yaxis.set_major_formatter("{x:,.0f}")


def bars(axes: Axes, curve: Part) -> None:
    """Of each label a bar a series."""
    labels, width = list(map(cropped, curve["labels"])), 0.8 / len(curve["series"])
    places = np.arange(len(labels)) - 0.4 + width / 2
    for place, (name, series) in enumerate(curve["series"].items()):
        axes.bar(places + place * width, series["y"], width, color=SERIES[place % len(SERIES)], label=named(name))
    axes.grid(axis="x", visible=False)
    ticks(axes, labels)


def heat(axes: Axes, curve: Part) -> None:
    """A matrix: the more of its row a cell has, the more colour; and its number, where there is room."""
    values = np.array(curve["values"], float)
    whole = np.maximum(np.abs(values).sum(axis=1, keepdims=True), np.finfo(float).tiny)
    form = ".2f" if (values <= 1).all() else ",.0f"
    for (row, column), of_row in np.ndenumerate(np.abs(values) / whole):
        # So light that the page's ink is read on it, on white and on black.
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=SERIES[0], alpha=0.55 * of_row))
        if len(values) <= NUMBERED:
            axes.text(column, row, f"{values[row, column]:{form}}", ha="center", va="center", fontsize=9)
    labels = list(map(cropped, curve["labels"]))
    axes.set(xlim=(-0.5, len(labels) - 0.5), ylim=(len(labels) - 0.5, -0.5))
    axes.set_yticks(range(len(labels)), labels)
    axes.grid(visible=False)
    ticks(axes, labels)


def ticks(axes: Axes, labels: Sequence[str]) -> None:
    """The labels along the lower edge, slanted where they are long."""
    slanted = max(map(len, labels)) * len(labels) > (90 if wide({"labels": labels}) else 40)
    axes.set_xticks(range(len(labels)), labels, **({"rotation": 45, "ha": "right"} if slanted else {}))


def cropped(label: str, most: int = 20) -> str:
    """A label as a plot has room for it: so many characters."""
    return label if len(label) <= most else f"{label[: most - 1]}…"


KINDS: Mapping[str, Callable[[Axes, Part], None]] = {
    "line": lines,
    "points": lines,
    "histogram": histogram,
    "bars": bars,
    "heat": heat,
}


def named(series: str) -> str:
    """What a series is called: a family in words, all else as it is; matplotlib hides what begins with a `_`."""
    if series in ("model", *families.NAMES):
        return spoken(series)
    return cropped(f" {series}" if series.startswith("_") else series, 40)


def training_plot(epochs: Sequence[Part]) -> Markup:
    """What was measured by epoch: the losses in one panel, what else there is in another."""
    numbers = [key for key in epochs[0] if key != "epoch" and isinstance(epochs[0][key], int | float)]
    losses = [key for key in numbers if "loss" in key]
    groups = [group for group in (losses, [key for key in numbers if key not in losses]) if group]
    figure = Figure(figsize=(9, 2.8))
    for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        for place, key in enumerate(group):
            steps, values = [epoch["epoch"] for epoch in epochs], [epoch.get(key, nan) for epoch in epochs]
            axes.plot(steps, values, color=SERIES[place % len(SERIES)], marker="o", markersize=3, label=spoken(key))
        axes.set_xlabel("Epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="best", fontsize=9)
    return svg(figure, "Training by epoch")


def days_plot(validation: Part, data: Part) -> Markup:
    """Rows by day and what their labels are; the training and test days shaded."""
    rows, label = validation["days"]["rows"], validation.get("label") or {"parts": {}, "kind": "share"}
    figure = Figure(figsize=(9, 3.4))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    days = np.array(list(rows), dtype="datetime64[D]")
    upper.bar(days, list(rows.values()), width=0.9, color=SERIES[4])
    upper.set_ylabel("Rows")
    upper.yaxis.set_major_formatter("{x:,.0f}")
    times, unit = (100, "%") if label["kind"] == "share" else (1, label.get("unit") or "")
    parts = sorted(label["parts"].items(), key=lambda part: -number_of(part[1]["value"]))[:PARTS_SHOWN]
    for place, (name, part) in enumerate(parts):
        values = [times * number_of(part["days"].get(day)) for day in rows]
        lower.plot(days, values, color=SERIES[place if len(parts) > 1 else 1], linewidth=1.5, label=named(name))
    said = "Mean label"
    if label["kind"] == "share":
        said = named(parts[0][0]).capitalize() if len(parts) == 1 else "Share"
        lower.set_ylim(0, None)
    lower.set_ylabel(", ".join(filter(None, (said, unit))))
    if len(parts) > 1:
        lower.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    for name, colour in (("train", SERIES[0]), ("test", SERIES[2])):
        if name in data:
            shade([upper, lower], data[name], colour, "training" if name == "train" else name)
    return svg(figure, "Rows by day, and what their labels are")


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
    with catch_warnings():
        simplefilter("ignore", UserWarning)  # of letters that this machine has no shape of: the browser has
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
