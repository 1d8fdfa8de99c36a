"""The pull request's report: facts in, Markdown out. Pure; `facts.schema.json` says what facts are."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from math import isclose, isfinite
from typing import Any

from gitops import comparison, explanations
from gitops.content import CONTRACT
from gitops.markdown import chart, details, interval, metric, minutes, number, table, text, word, words
from gitops.problem import NEUTRAL, Words

MARKER = "<!-- gitops:report -->"
LIMIT = 65_536  # characters that GitHub takes in a comment

Facts = Mapping[str, Any]


def render(facts: Facts) -> str:
    """The whole report, verdict first."""
    sections = (verdict, gates, bars, metrics, own, champion, slices, groups, plots, reasons, service, data, costs)
    return "\n".join([MARKER, *(line for section in sections for line in section(facts))]) + "\n"


def cut(report: str, link: str, limit: int = LIMIT) -> str:
    """The report within `limit` characters: whole sections from the top, then where the rest is."""
    if len(report) <= limit:
        return report
    ending = f"\n\n**Cut here**, a comment holds {limit:,} characters: [the whole report]({link}).\n"
    head = report[: limit - len(ending)]
    # Only between sections: half a table or an open <details> would swallow what follows.
    return head[: max(head.rfind("\n### "), len(MARKER))] + ending


# --- the verdict -----------------------------------------------------------------------------------------------------


def verdict(facts: Facts) -> Iterator[str]:
    """One heading that says whether this may be merged, and what to do next."""
    results = facts["jobs"]
    failed = [name for name, result in results.items() if result == "failure"]
    count = sum(len(gate["violations"]) for gate in facts["gates"].values())
    if any(result == "cancelled" for result in results.values()):
        yield "## ⚪ Cancelled: nothing is decided"
        yield "\nA newer commit took over, somebody stopped it, or a job ran out of time. A re-run gives a verdict."
    elif facts["kind"] == "mixed":
        yield "## 🔴 Not to be merged: this changes `deploy/production/` and other files"
        yield "\nA pull request does one or the other: split it in two."
    elif count and facts["kind"] == "promotion":
        yield f"## 🔴 Not to be merged: {count} {'thing is' if count == 1 else 'things are'} not as released"
        yield "\nEach is below, with what to do about it."
    elif count:
        yield f"## 🔴 Not to be merged: {count} {'bar is' if count == 1 else 'bars are'} not met"
        yield "\nEach is below, with what to do about it."
    elif failed:
        yield f"## 🔴 Not to be merged: {', '.join(failed)} failed"
        yield f"\nThe reason is in the log: [open the run]({facts['run']['url']})."
    elif any(result != "success" for result in results.values()):
        yield "## 🔴 Not to be merged: not every job has run"
        yield f"\nWhich, and why, is on the run's page: [open the run]({facts['run']['url']})."
    elif facts["kind"] == "promotion":
        yield "## 🟢 Ready to merge: verified"
        yield "\nEvery byte is there, and is what was released or was in production before. Nothing was trained."
    elif facts["run"]["draft"]:
        yield "## 🟢 Good so far: this is a draft"
        yield "\nAll gates hold. Mark it as ready for review to have it merged."
    elif facts["kind"] == "words":
        yield "## 🟢 Ready to merge: words alone"
        yield "\nNo model, test or service follows from what this changes: nothing else was run."
    else:
        yield "## 🟢 Ready to merge"
        yield f"\nAll gates hold. {'' if facts['metrics'] is None else headline(facts)}"
    yield ""
    yield " · ".join(f"{MARK[result]} {name}" for name, result in results.items())
    if facts["run"]["fork"] and facts["kind"] != "words":
        yield "\nFrom a fork: no GPU, no secret and no write access; main trains again after the merge."
    if facts.get("problem"):
        yield from another(facts["problem"])
    for problem in facts["problems"]:
        yield f"\n⚠️ {text(problem)}"


def another(problem: Mapping[str, Any]) -> Iterator[str]:
    """What it means that the problem has another name, or is another."""
    before, after = text(problem["before"]), text(problem["after"])
    if problem["kind"] == "renamed":
        yield f"\nThe problem has another name, {after} for {before}, and is the same: every bar of the base branch"
        yield "holds."
    if problem["kind"] == "replaced":
        yield f"\n⚠️ **This replaces the problem**: {before} becomes {after}. The base branch's code measures it by"
        yield "this request's contract, on the rows of its own simulator where it has no data, and judges it by this"
        yield "request's bars for data, model, behaviour and drift."
        yield "The base's bars for the service and for contamination stay, and the model has to be better than the same"
        yield "answer to every row. It is compared with the newest model of its own problem that was in production, if"
        yield "any was. Whoever owns the bars decides whether its own are right."


MARK = {"success": "✅", "failure": "❌", "cancelled": "⚪", "skipped": "➖"}


def headline(facts: Facts) -> str:
    """The headline in a sentence, against what stands in production."""
    name = facts["metrics"]["headline"]
    ours, theirs = ((each or {"metrics": {}})["metrics"].get(name) for each in (facts["metrics"], facts["champion"]))
    sentence = f"{words(name).capitalize()} {number(ours and ours['value'])}"
    if facts["champion"] is None:
        return f"{sentence}; there is no model of this problem in production yet to compare with."
    less = "; less is better" if name in facts["metrics"]["smaller"] else ""
    return f"{sentence}, in production {number(theirs and theirs['value'])}{less}."


# --- what the gates said ---------------------------------------------------------------------------------------------


def gates(facts: Facts) -> Iterator[str]:
    """Every violation with its file, value, bar and what to do; what was not judged, and why."""
    if not facts["gates"]:
        return
    yield "\n### Gates\n"
    for name, gate in facts["gates"].items():
        if not gate["violations"]:
            yield f"- ✅ **{name}**: every bar is met"
        for violation in gate["violations"]:
            rule, file, value, bar, next_ = (text(violation[key]) for key in ("rule", "file", "value", "bar", "next"))
            yield f"- ❌ **{name}** · {rule} in {file}: {value}, the bar is {bar}."
            yield f"  {examples(violation, word(called(facts)['row'][1]))}What to do: {next_}"
        for reason in gate["not_judged"]:
            yield f"- ➖ **{name}** · not judged: {text(reason)}"


def examples(violation: Mapping[str, Any], many: str) -> str:
    """Up to three examples and the number of rows, where a violation has them."""
    rows = violation.get("rows")
    shown = ", ".join(text(example) for example in violation.get("examples") or [])
    return (f"{rows:,} {many}" + (f", such as {shown}" if shown else "") + ". ") if rows else ""


def bars(facts: Facts) -> Iterator[str]:
    """Bars that the change moves, and from when they count."""
    moved = facts.get("bars")
    if not moved:
        return
    yield "\n### Bars that change\n"
    yield from table(
        ["file", "bar", "from", "to", ""],
        ([*map(text, (each.file, each.key, each.before, each.after)), MOVED.get(each.how, each.how)] for each in moved),
    )
    if facts.get("problem") and facts["problem"]["kind"] == "replaced":
        yield "\nThe bars of another problem are its own, and count at once. An owner of `policies/`, see `CODEOWNERS`,"
        yield "has to approve: whoever does approves each of them, what `contract.yaml` says, and where its rows come"
        yield "from."
        return
    if any(each.file.startswith("policies/") for each in moved):
        yield "\nThis change had to meet the bars of both: what it makes stricter holds already, what it makes looser"
        yield "does not yet. An owner of `policies/`, see `CODEOWNERS`, has to approve; from the merge on the new bars"
        yield "count."
    if any(each.file == "policies/evaluation.yaml" for each in moved):
        yield "\nNo bar holds for what `policies/evaluation.yaml` no longer measures: whoever approves this approves"
        yield "that."
    if any(each.file == CONTRACT for each in moved):
        yield "\nWhat a row is changes, see `contract.yaml`: the base's contract measured this change all the same."
        yield "Whoever approves this approves the new one."
    knobs = [each.key for each in moved if each.file == "params.yaml"]
    if any(key.startswith("families") for key in knobs):
        yield "\nThe model no longer has to beat what it had to, see `families` in `params.yaml`: that passes for the"
        yield "family alone that is the model from now on."
    if any(not key.startswith("families") for key in knobs):
        yield "\nThe rows are no longer those of the base, see `params.yaml`: whoever approves this approves that the"
        yield "model is measured on them."


MOVED = {"looser": "⚠️ looser", "removed": "⚠️ removed"}


# --- the model -------------------------------------------------------------------------------------------------------


def metrics(facts: Facts) -> Iterator[str]:
    """The model beside the champion and the baselines, each with its interval."""
    measured = facts["metrics"]
    if measured is None:
        return
    others = ({"champion": facts["champion"]["metrics"]} if facts["champion"] else {}) | measured["baselines"]
    yield "\n### Metrics\n"
    yield from table(
        ["", "this model", *map(words, others)],
        (
            [
                metric(name, measured["smaller"]),
                f"**{interval(ours)}**",
                *(interval(other.get(name)) for other in others.values()),
            ]
            for name, ours in measured["metrics"].items()
        ),
    )
    model = measured["model"]
    yield f"\nModel {text(model['digest'])}, {model['bytes']:,} bytes. Intervals: 95%, bootstrap."
    if model["decides"]:
        yield text(model["decides"])


def own(facts: Facts) -> Iterator[str]:
    """What the change measured of itself, where that differs from what the base's code measured."""
    theirs, measured = facts.get("own"), facts["metrics"]
    if not theirs or measured is None:
        return
    ours, value = (
        {name: (found["metrics"].get(name) or {}).get("value") for name in measured["metrics"]}
        for found in (measured, theirs)
    )
    if apart := [name for name in ours if not same(ours[name], value[name])]:
        yield "\n⚠️ **The change measures otherwise**: its own code finds other values than that of the base branch,"
        yield "which count until the merge.\n"
        yield from table(
            ["", "by the base's code", "by the change's own"],
            ([words(name), number(ours[name]), number(value[name])] for name in apart),
        )


def same(one: float | None, other: float | None) -> bool:
    """Whether two measurements of one thing agree, but for their last digits."""
    return one == other or (one is not None and other is not None and isclose(one, other, rel_tol=1e-6, abs_tol=1e-6))


def slices(facts: Facts) -> Iterator[str]:
    """The model on parts of the test rows."""
    measured = facts["metrics"]
    if not measured or not measured["slices"]:
        return
    table = comparison.pieces("slice", measured["slices"], called(facts), measured["smaller"])
    yield from details("Slices", table)


def champion(facts: Facts) -> Iterator[str]:
    """The model beside what is in production, on the same rows."""
    yield from comparison.lines(facts.get("comparison"), called(facts), (facts["metrics"] or {}).get("smaller", ()))


def groups(facts: Facts) -> Iterator[str]:
    """What the model does to groups of people."""
    yield from comparison.groups(facts["metrics"], called(facts))


def reasons(facts: Facts) -> Iterator[str]:
    """What the model relies on, and why single rows are answered as they are: by a job that runs the change's code."""
    if facts.get("explanations"):
        yield "\nWhy, as the change's own code finds it:\n"
    yield from explanations.lines(facts.get("explanations"), called(facts))


def relied(facts: Facts) -> Iterator[str]:
    """What the model relies on, without single rows: a model card is read by whoever may ask the service."""
    yield from explanations.relies(facts.get("explanations"), called(facts))


def called(facts: Facts) -> Words:
    """What people call a row, an entity, a positive and a group."""
    return facts.get("words") or NEUTRAL


def plots(facts: Facts) -> Iterator[str]:
    """The first of the task's plots, and the loss by epoch, as Mermaid: no image host is needed."""
    curves, training = (facts["curves"] or {}).get("curves"), facts["training"]
    if curves:
        yield from plot(curves[0], called(facts))
    if training and len(epochs := training.get("epochs", ())) > 1:  # of a family that has some
        losses = [epoch["loss"] for epoch in epochs]
        yield from chart(
            "Training loss", "epoch", range(1, len(losses) + 1), "loss", [losses], (0.0, max(losses) * 1.05)
        )


def plot(curve: Mapping[str, Any], called: Words) -> Iterator[str]:
    """A plot of the model: a matrix as a table, a curve as Mermaid; of other kinds none."""
    if curve["kind"] == "heat":
        yield "\n### Plots\n"
        yield f"{text(curve['title'])}: {text(curve['y'])} down, {text(curve['x'])} across.\n"
        labels = list(map(text, curve["labels"]))
        values = ([label, *map(number, row)] for label, row in zip(labels, curve["values"], strict=False))
        yield from table(["", *labels], values)
    elif curve["kind"] in ("line", "points") and (points := drawn(curve)):
        xs, ys = resample(points, POINTS)
        yield "\n### Plots\n"
        yield from chart(curve["title"], curve["x"], xs, curve["y"], [ys], (min(0.0, *ys), max(0.0, *ys) * 1.05 or 1.0))


POINTS = 21


def drawn(curve: Mapping[str, Any]) -> list[tuple[float, float]]:
    """The points of the model's series, from the left to the right; none where they lie at one place."""
    series = curve["series"].get("model", {})
    pairs = zip(series.get("x", ()), series.get("y", ()), strict=False)
    points = sorted((x, y) for x, y in pairs if isfinite(x) and isfinite(y))
    return points if points and points[0][0] < points[-1][0] else []


def resample(points: Sequence[tuple[float, float]], number: int) -> tuple[list[float], list[float]]:
    """So many evenly spaced places, and the heights there, on straight lines between the points."""
    first, last = points[0][0], points[-1][0]
    places = [first + (last - first) * index / (number - 1) for index in range(number)]
    return places, [height(points, place) for place in places]


def height(points: Sequence[tuple[float, float]], place: float) -> float:
    """The height at a place between the first and the last point."""
    at = bisect_left(points, place, hi=len(points) - 1, key=lambda point: point[0])
    (left, low), (right, high) = points[max(at - 1, 0)], points[at]
    return high if left == right else low + (high - low) * min(max((place - left) / (right - left), 0), 1)


# --- the service, the data, the cost ---------------------------------------------------------------------------------


def service(facts: Facts) -> Iterator[str]:
    """Latency of what `bentoml build` made, and its contract."""
    probe = facts["service"]
    if probe is None:
        return
    latency = probe["latency_ms"]
    yield "\n### Service\n"
    yield (
        f"The Bento was ready in {probe['ready_seconds']:.1f} s and kept its contract in {probe['contract']} checks. "
        f"{probe['requests']:,} requests over {probe['connections']} connections, {probe['errors']} errors: "
        f"p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms, p99 {latency['p99']:.1f} ms."
    )


def data(facts: Facts) -> Iterator[str]:
    """Which days, from where, and whether the tree pins them."""
    measured = facts["metrics"]
    if measured is None:
        return
    window = measured["data"]
    many = word(called(facts)["row"][1])
    pin = text(window["snapshot"]) if window["snapshot"] else PINNED_BY[window["source"] == "simulate"]
    waiting = f"; {window['unlabelled']:,} more without a label yet" if window["unlabelled"] else ""
    train, test = (f"{window[part + '_rows']:,} {many}" for part in ("train", "test"))
    test += f"{', ' + word(window['test_labels']) if window['test_labels'] else ''}{waiting}"
    yield "\n### Data\n"
    if "share" in window:
        yield (
            f"The delivery of {text(window['test'][1])}: trained on {train}; tested on {window['share']:.0%} of "
            f"them all, by a hash of who they are ({test}). Rows have no time: this tells nothing of tomorrow."
        )
    else:
        yield f"Trained on {text(' to '.join(window['train']))} ({train}), "
        yield f"tested on {text(' to '.join(window['test']))} ({test})."
    yield f"Source {text(window['source'])}, snapshot: {pin}."


PINNED_BY = {
    True: "the simulator is pure, the tree pins it",
    False: "**not pinned**; `make snapshot` pins the files",
}


def costs(facts: Facts) -> Iterator[str]:
    """How long each job took, where, and what it cost where a price is known."""
    timed = facts["timings"]
    if not timed:
        return
    price = facts["run"]["gpu_price"]
    gpu = sum(job["seconds"] for job in timed if job["gpu"])
    total = sum(job["seconds"] for job in timed)
    money = f", about {gpu / 3600 * price:.2f} at {price:g} an hour" if price else ""
    on_gpu = f", {minutes(gpu)} on the GPU runner{money}" if gpu else ""
    restored = " The model was restored, not trained: a release of main had these inputs." if facts["restored"] else ""
    yield from details(
        f"Durations: {minutes(total)} in all{on_gpu}",
        table(
            ["job", "runner", "time"],
            ([text(job["name"]), text(job["runner"]), minutes(job["seconds"])] for job in timed),
        ),
    )
    yield f"\nContent key {text(facts['key'])}.{restored} [The run]({facts['run']['url']})"
