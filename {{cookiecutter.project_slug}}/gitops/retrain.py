"""What is done about drift, and by the clock: one request to retrain, one issue, or nothing.

Facts in, decision and Markdown out. Only `drift`, at the end, speaks to GitHub. The columns' names and the problems
come from logs: whatever is quoted goes through `markdown.text`, and a chart holds numbers only.
"""

import base64
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from jsonschema import Draft202012Validator

from gitops import content, facts, ledger, markdown, problem, promotion, report
from gitops.ledger import MANIFEST
from gitops.markdown import text
from pipeline.reading import count

BRANCH = promotion.RETRAIN
PARAMS = Path("params.yaml")
POLICY = Path("policies/drift.yaml")

REQUEST = "<!-- gitops:retrain -->"
COVERED = "<!-- gitops:drift -->"
UNKNOWN, SKEWED, BLOCKED = (f"<!-- gitops:drift-{why} -->" for why in ("unknown", "skewed", "blocked"))

LIMIT = report.LIMIT - 1_000  # room for what is put in front: a marker, the link that opens a request
SHOWN = 20  # bars, and columns
PLOTTED = 3  # columns, at least half as far as the furthest

Facts = Mapping[str, Any]
Json = Mapping[str, Any]
Act = Literal["nothing", "close", "tell", "covered", "rest", "blocked", "request"]


class Blocked(Exception):
    """Why no request can be written; the message is a sentence."""


class Decision(NamedTuple):
    """What to do, why where that is to be said; of a request what it moves `data` to, and its params.yaml."""

    act: Act
    why: str = ""
    data: Json = {}
    params: str = ""


class Seen(NamedTuple):
    """What stands: the branch's requests, newest first, and the day an open promotion has learned up to.

    The problem that main holds, where production's is another: its days are not production's to move. The day that
    production has learned up to, and what of `data` the open request sets.
    """

    requests: Sequence[Json] = ()
    promotion: int | None = None
    learned: str | None = None
    replaced_by: str = ""
    production: str | None = None
    held: Json | None = None


# --- what was measured -----------------------------------------------------------------------------------------------


def gather(folder: Path, job: str) -> dict[str, Any]:
    """The check's outcome and its facts; whatever does not fit together is `unknown`, for the reasons given.

    job: how the job that measured ended, as GitHub calls it.
    """
    problems: list[str] = []
    measured = facts.read(facts.found(folder, "drift.json"), "drift", problems)
    gate = facts.read(facts.found(folder, "gate-drift.json"), "drift_gate", problems)
    outcome = gate["outcome"] if gate else "unknown"
    if not problems and not (measured and gate):
        problems.append(f"The job that measures ended as {job} and left no facts")
    elif outcome in ("healthy", "not_configured") and job != "success":
        problems.append(f"The check says {outcome.replace('_', ' ')}, but its job ended as {job}")
    elif outcome == "unknown" and measured and gate:
        found = [str(violation["value"]) for violation in gate["violations"]]
        problems += [measured["problem"]] if measured["problem"] else found or gate["not_judged"]
    elif outcome == "drifted" and measured and not measured["window"]:
        problems.append("The check says drifted, but of no days")
    return {
        "outcome": "unknown" if problems else outcome,
        "reasons": problems,
        "measured": measured or {},
        "gate": gate or {"violations": [], "not_judged": []},
        "run": facts.run_url(),
    }


def policy(path: Path = POLICY) -> dict[str, Any]:
    """The block `retrain` of the policy. Ends with a sentence where the file is not as its schema says."""
    bars = yaml.safe_load(path.read_text())
    schema = json.loads((path.parent / "schemas" / f"{path.stem}.schema.json").read_text())
    for error in Draft202012Validator(schema).iter_errors(bars):
        sys.exit(f"{path}: {error.json_path}: {error.message}")
    block: dict[str, Any] = bars["retrain"]
    return block


# --- the decision ----------------------------------------------------------------------------------------------------


def decide(told: Facts, seen: Seen, params: str, bars: Json, now: datetime) -> Decision:
    """What the outcome asks for, given what stands on GitHub already; where nothing drifted, what the clock does."""
    drifted = told["outcome"] == "drifted"
    try:
        match told["outcome"]:
            case "not_configured":
                return Decision("nothing")
            case "unknown" | "skewed":
                return Decision("tell")
            case "healthy" if not due(told, seen, params, bars):
                return Decision("close")
            case "drifted" if seen.replaced_by:
                return Decision("blocked", OTHER.format(name=seen.replaced_by))
            case "drifted" if seen.learned and seen.learned > began(told):
                return Decision("covered")
        if why := resting(seen.requests, bars, now):
            return Decision("rest" if drifted else "close", why)
        data = newest(told) if drifted else by_clock(told, seen, bars)
        return Decision("request", data=data, params=moved(params, data))
    except Blocked as blocked:
        return Decision("blocked", str(blocked))


OTHER = (
    "main holds another problem, {name}, whose days are not this one's to move: merge its promotion, or have main go "
    "back"
)


def began(told: Facts) -> str:
    """The day on which the first of the breaches began. The last would not do: a bar that comes and goes is young."""
    known = [violation["since"] for violation in told["gate"]["violations"] if violation.get("since")]
    return min(known, default=told["measured"]["window"][0])


def due(told: Facts, seen: Seen, params: str, bars: Json) -> bool:
    """Whether labels are there of `every` more days than main takes in and production has learned from.

    These are days of data: counted by the wall clock, deliveries that stop would ask for the same model again.
    """
    every, until = bars.get("every"), newest(told)["until"]
    if not every or until is None or seen.replaced_by:
        return False
    return days(max(data_of(params)["until"], seen.production or ""), until) >= every


def by_clock(told: Facts, seen: Seen, bars: Json) -> Json:
    """What a request by the clock moves `data` to: what an open one does, until labels of `every` more days are there.

    Each move trains a model and takes approvals back. One that drift has opened stays at its day in the same way.
    """
    to, held = newest(told), seen.held
    if held is None or bool(held["snapshot"]) != bool(to["snapshot"]):
        return to
    return {**to, **held} if 0 <= days(held["until"], to["until"]) < bars["every"] else to


def newest(told: Facts) -> Json:
    """What `data` would have to say to take in the newest labels, and what `data.until` is now."""
    retrain: Json = told["measured"]["retrain"]
    return retrain


def days(first: str, last: str) -> int:
    """The days from one to another."""
    return (date.fromisoformat(last) - date.fromisoformat(first)).days


def resting(requests: Sequence[Json], bars: Json, now: datetime) -> str:
    """Why no new request is opened now, or nothing; an open one is refreshed whatever the policy says."""
    if any(request["state"] == "open" for request in requests):
        return ""
    ended = max((datetime.fromisoformat(request["closed_at"]) for request in requests), default=None)
    if ended and now < (again := ended + timedelta(days=bars["cool_down_days"])):
        return (
            f"the last request ended on {ended:%Y-%m-%d}, and the cool-down in {POLICY} is {bars['cool_down_days']} "
            f"days: there is none before {again:%Y-%m-%d %H:%M} UTC"
        )
    opened = [datetime.fromisoformat(request["created_at"]).date() for request in requests]
    recent = sum((now.date() - day).days < 7 for day in opened)  # by the day: no check is at the last one's minute
    if recent >= bars["per_week"]:
        return f"{recent} were opened within seven days, and {POLICY} allows {bars['per_week']}"
    return ""


def moved(params: str, retrain: Json) -> str:
    """params.yaml with the new last day and, where one is pinned, the new snapshot; every other character kept.

    Raises Blocked where there is nothing newer, or where it cannot be written.
    """
    data = data_of(params)
    knobs, now, pinned = yaml.safe_load(params), data["until"], data.get("snapshot")
    until, snapshot = retrain["until"], retrain["snapshot"]
    if until is None or until <= now:
        raise Blocked(f"there is no newer labelled data than what `data.until` ({now}) takes in already")
    if pinned and not snapshot:
        raise Blocked("`data.snapshot` is pinned, and the check gave no new one: move `data.until`, `make snapshot`")
    wanted = {"until": until} | ({"snapshot": snapshot} if pinned else {})
    try:
        for name, value in wanted.items():
            params = written(params, name, f'"{value}"')  # in {flow} not every reader takes a bare `:`
        good = yaml.safe_load(params) == knobs | {"data": data | wanted}
    except yaml.YAMLError:
        good = False
    if not good:  # an alias, say: its value stands somewhere else
        raise Blocked(f"{PARAMS} writes `data` in a way that cannot be edited: write plain values, without an alias")
    return params


def data_of(params: str) -> dict[str, Any]:
    """The block `data` of a params.yaml. Raises Blocked where its `until` is no day that can be read."""
    try:
        data = yaml.safe_load(params)["data"]
        return {**data, "until": date.fromisoformat(str(data["until"])).isoformat()}
    except (yaml.YAMLError, LookupError, TypeError, ValueError, RecursionError):
        raise Blocked(f"{PARAMS} has no `data.until` that can be read: restore it from git") from None


def written(params: str, name: str, value: str) -> str:
    """The text of params.yaml with one value of `data` replaced. Raises Blocked where it does not stand there once."""
    root: Any = yaml.compose(params)
    blocks = [block for key, block in root.value if key.value == "data"]
    nodes = [node for block in blocks for key, node in block.value if key.value == name]
    if len(nodes) != 1 or not isinstance(nodes[0], yaml.ScalarNode):
        raise Blocked(f"`data.{name}` does not stand once in {PARAMS}: write it once")
    return params[: nodes[0].start_mark.index] + value + params[nodes[0].end_mark.index :]


# --- what is said ----------------------------------------------------------------------------------------------------


def title(data: Json) -> str:
    """The request's: what it changes."""
    return f"Retrain on data until {data['until']}"


def request(told: Facts, data: Json, bars: Json, app: bool) -> str:
    """The request's body: why it is there, what it changes, what to do, and the evidence.

    data: what it moves `data` to, and `now`, from where.
    """
    drifted, until = told["outcome"] == "drifted", data["until"]
    snapshot = " and the snapshot of its files" if data["snapshot"] else ""
    last, late = NEWEST[told.get("dated", True)]
    last = f", {last}" if until == newest(told)["until"] else ""
    lines = [
        REQUEST,
        "## The world has moved since the model in production learned" if drifted else "## A model is due by the clock",
        *([] if drifted else [f"\n{due_now(told, bars)}"]),
        f"\nThis moves `data.until` from {data['now']} to **{until}**{last}{snapshot}. Its checks train and judge the "
        "model.",
        *([f"\n{TOO_EARLY.format(day=began(told), late=late)}"] if drifted and until <= began(told) else []),
        "\n**What to do next**\n",
        *([] if app else [f"- {START}"]),
        "- Green: merge it. What its checks trained is then released, and proposed for production.",
        "- Red: the report says which bar the new model misses; push to this branch, or close this.",
        f"- Not wanted: close it. {rested(bars)}{'' if drifted else NO_MORE}",
        f"\n{kept_up(bars) if drifted else STAYS.format(more=count(bars['every'], 'more day'))}",
        *evidence(told),
    ]
    return report.cut("\n".join(lines) + "\n", told["run"], LIMIT)


def due_now(told: Facts, bars: Json) -> str:
    """Why a model is asked for though nothing has drifted, as far as that could be judged."""
    found = "No drift was found" if told["measured"]["columns"] else "Drift is not judged yet"
    asks = f"{POLICY} asks for a model {often(bars['every'])} (`retrain.every`)"
    return f"{found}: {asks}, and labels of as many more days are there."


STAYS = "It stays at this day until labels of {more} are there, and then moves on. Drift that comes is told here."
NO_MORE = f" `every: null` in {POLICY} asks for none by the clock."


def often(every: int) -> str:
    """How often a model is wanted."""
    return "every day" if every == 1 else f"every {every} days"


def rested(bars: Json) -> str:
    """For how long nothing is asked after a request was closed."""
    rest = bars["cool_down_days"]
    return f"For {count(rest, 'day')} you are not asked again." if rest else "The next check may ask again."


def kept_up(bars: Json) -> str:
    """How long a request for drift stands."""
    unless = ", unless a model is due by the clock" if bars.get("every") else ""
    return f"It is kept up to date while the drift lasts, and closed when it is gone{unless}."


NEWEST = {
    True: ("the last day whose labels have matured", "no label of a later day has matured"),
    False: ("the day of the newest delivery", "no delivery has come since"),
}
"""What is learned from, and what there is none of, by whether a row has its own time."""
TOO_EARLY = (
    "**The first breach began on {day}, and {late}**: a model that learns from these days "
    "has not seen it yet. The longer this waits the more of it is in; to go back meanwhile, see deploy/ROLLBACK.md."
)
START = (
    "Approve its checks: with no GitHub App set up (`app_client_id` in platform.yaml) one approval, "
    "*Approve workflows to run* below, starts them."
)


def untold(told: Facts) -> str:
    """The issue's body where the check could not tell."""
    lines = [
        "## The drift check could not tell",
        "\nThis is not drift, and nothing is retrained for it. But nobody sees drift while it lasts.\n",
        *(f"- {text(reason)}" for reason in told["reasons"][:SHOWN]),
        f"\n**What to do next**: read the log of [the run]({told['run']}). Is `PREDICTION_LOG` the right address, does "
        "the service write to it, does the production model still exist? Then start *Drift* again by hand.",
        "\nThe first check that can tell closes this issue.",
    ]
    return report.cut("\n".join(lines) + "\n", told["run"], LIMIT)


def skewed(told: Facts) -> str:
    """The issue's body where inputs are sent that are not what the source gives."""
    lines = [
        "## The service is asked with other inputs than its model learned from",
        f"\nRows of the log were made again from the source, and differ from what was sent. {NO_MODEL}",
        "\n**What to do next**: find who sends the inputs below, and what was changed there on the day that they began "
        "to differ. It has to send what the source holds or, where `contract.yaml` has `inputs`, to compute them as "
        f"`pipeline/features.py` does. Are they right, and the source wrong? Mend that. The bar is `skew` in "
        f"`{POLICY}`.",
        "\nThe first check whose newest day of the source agrees closes this issue.",
        *evidence(told),
    ]
    return report.cut("\n".join(lines) + "\n", told["run"], LIMIT)


NO_MODEL = (
    "No model is asked for while this lasts: another one does not mend it, and whatever else the check finds may come "
    "of it."
)


def blocked(told: Facts, why: str) -> str:
    """The issue's body where there is drift, or a model is due, and no request can be opened."""
    asks, _, back = ASKS[told["outcome"]]
    lines = [
        f"## {asks}, and no retrain request can be opened",
        f"\nFor {why}.",
        "\n**What to do next**: where nothing above says so, see that labelled days reach `data.source`, or that "
        f"`params.yaml` can be edited, and start *Drift* again by hand.{back}",
        *evidence(told),
    ]
    return report.cut("\n".join(lines) + "\n", told["run"], LIMIT)


ASKS = {
    "drifted": ("The world has moved", "Drift", " A roll-back is the other way: deploy/ROLLBACK.md."),
    "healthy": ("A model is due by the clock", "A model is due", ""),
}
"""What asks for a model, in a heading and in a title, and what else helps, by the outcome."""


def covered(told: Facts, learned: str | None) -> str:
    """The comment on an open promotion that answers the drift."""
    lines = [
        COVERED,
        "## Production drifts, and this promotion answers it",
        f"\nIts model has learned from data until {learned}, past {began(told)}, when the first breach began. "
        "So no retrain request is opened: **merge this**, and the next check says whether it was enough.",
        *evidence(told),
    ]
    return report.cut("\n".join(lines) + "\n", told["run"], LIMIT)


def summary(told: Facts, done: str) -> str:
    """The step summary: the outcome, what was done about it, the evidence."""
    heading = {
        "not_configured": "➖ Drift: not configured",
        "healthy": "🟢 Drift: none",
        "drifted": "🔴 Drift",
        "skewed": "🔴 Skew: inputs are not what the source gives",
        "unknown": "⚪ Drift: could not tell",
    }[told["outcome"]]
    reasons = (f"- {text(reason)}" for reason in told["reasons"])
    return "\n".join([f"## {heading}", f"\n{done}\n", *reasons, *evidence(told)]) + "\n"


def evidence(told: Facts) -> Iterator[str]:
    """Which bars, by how much, since when; what was looked at; plots and columns."""
    measured, gate = told["measured"], told["gate"]
    if gate["violations"]:
        yield "\n### Bars that are not met\n"
        yield from markdown.table(
            ["what", "value", "bar", "since", "what to do"],
            (
                [*(short(each[key]) for key in ("rule", "value", "bar")), each.get("since") or "–", short(each["next"])]
                for each in gate["violations"][:SHOWN]
            ),
        )
        if len(gate["violations"]) > SHOWN:
            yield f"\nAnd {len(gate['violations']) - SHOWN} more, in [the run]({told['run']})."
    if measured.get("window"):
        called = told.get("words") or problem.NEUTRAL
        yield f"\n### What was looked at\n\n{looked_at(measured, called)} [The run]({told['run']})"
    yield from (f"\n➖ not judged: {short(reason)}" for reason in gate["not_judged"][:SHOWN])
    yield from plots(measured)
    yield from estimates(measured)
    yield from columns(measured)


def looked_at(measured: Json, called: problem.Words) -> str:
    """Days and rows, of the log and of what they were compared with; live quality where labels are there."""
    many = markdown.word(called["row"][1])
    first, last = measured["window"]
    model = f" Model {text(measured['model'])}." if measured["model"] else ""
    said = f"The log of {first} to {last}: {measured['rows']:,} {many}, against {measured['reference_rows']:,}.{model}"
    said += made_again(measured.get("skew"), many)
    expected = before_labels(measured.get("estimate"))
    live = measured["live"]
    if live is None:
        return f"{said} No labels have matured yet.{expected}"
    metrics = ", ".join(f"{markdown.words(name)} {markdown.interval(each)}" for name, each in live["metrics"].items())
    return (
        f"{said} Live, {live['days'][0]} to {live['days'][1]}, {live['rows']:,} labelled {many}: {metrics}.{expected}"
    )


def made_again(skew: Json | None, many: str) -> str:
    """How many rows were held against the source, and how many are not what it gives."""
    if not skew or not skew["rows"]:
        return ""
    lost = f", which has not got {skew['lost']:,} more" if skew["lost"] else ""
    return f" Of {skew['rows']:,} {many} made again from the source{lost}, {share(skew['share'])} differ."


def before_labels(estimate: Json | None) -> str:
    """What the answers alone let expect of the days before labels, and of the labelled ones, to hold against those."""
    if not estimate:
        return ""
    if estimate["unmeasured"]:
        return f" Before labels nothing is estimated: {text(estimate['unmeasured'])}."
    parts = (
        f"{' to '.join(of['days'])} ({called}) "
        + ", ".join(f"{markdown.words(name)} {markdown.number(value)}" for name, value in of["metrics"].items())
        for called, of in (("labelled", estimate["labelled"]), ("before labels", estimate["before"]))
        if of
    )
    return f" Estimated by the answers alone, no reason to retrain: {'; '.join(parts)}."


def estimates(measured: Json) -> Iterator[str]:
    """What was measured and what the answers let expect, day by day."""
    estimate = measured.get("estimate")
    if not estimate or not estimate["days"]:
        return
    live = {each["day"]: each["headline"] for each in measured["days"] if each["day"] == each["until"]}
    live = live if estimate["name"] == measured["headline"] else {}
    last = (estimate["labelled"] or {"days": [""]})["days"][-1]
    yield from markdown.details(
        "Estimated before labels",
        markdown.table(
            ["day", f"{estimate['name']}, measured", "estimated by the answers alone"],
            (
                [
                    each["day"],
                    markdown.number(live.get(each["day"])) if each["day"] <= last else "before labels",
                    markdown.number(each["value"]),
                ]
                for each in estimate["days"]
            ),
        ),
    )


def plots(measured: Json) -> Iterator[str]:
    """Live quality and distances by day, as Mermaid; a day without a value is left out."""
    days = measured.get("days", ())
    worst = by_distance(measured.get("columns", ()))[:PLOTTED]
    far = [each["name"] for each in worst if each["distance"] and each["distance"] >= worst[0]["distance"] / 2]
    answer, headline = (measured.get("answer") or {}).get("name", "answer"), measured.get("headline") or "quality"
    lines = {
        f"Live {markdown.words(headline)}": [each["headline"] for each in days],
        f"Distance of the {markdown.words(answer)}": [each["answer"] for each in days],
        **{f"Distance of {markdown.words(name)}": [each["columns"].get(name) for each in days] for name in far},
    }
    heading = "\n### Day by day"
    for name, values in lines.items():
        points = [
            (each["day"], value) for each, value in zip(days, values, strict=True) if markdown.number(value) != "–"
        ]
        if len(points) > 1:
            yield heading
            heading = ""
            yield from by_day(name, points)


def by_day(name: str, points: Sequence[tuple[str, float]]) -> Iterator[str]:
    """One value a day, over the days since the first."""
    first = date.fromisoformat(points[0][0])
    since = [(date.fromisoformat(day) - first).days for day, _ in points]
    values = [min(max(value, -LONGEST), LONGEST) for _, value in points]  # Mermaid reads no exponent
    ends = min(*values, 0.0), max(*values, 0.001) * 1.05
    return markdown.chart(name, f"days since {first}", since, name.split(" of ")[0].lower(), [values], ends)


LONGEST = 1e12  # with all its digits


def columns(measured: Json) -> Iterator[str]:
    """The columns, the furthest first."""
    if rows := by_distance(measured.get("columns", ())):
        yield from markdown.details(
            "Columns",
            markdown.table(
                ["column", "distance", "measured by", "missing", "unseen", "out of range"],
                (
                    [text(each["name"]), markdown.number(each["distance"]), text(each["method"])]
                    + [share(each[name]) for name in ("missing", "unseen", "out_of_range")]
                    for each in rows[:SHOWN]
                ),
            ),
        )


def by_distance(measured: Iterable[Json]) -> list[Json]:
    """Columns, the furthest first; those without a distance last."""
    return sorted(measured, key=lambda each: (each["distance"] is None, -(each["distance"] or 0), each["name"]))


def share(value: float | None) -> str:
    """A share as per cent, or a dash."""
    return "–" if value is None else f"{value:.2%}"


def short(value: object) -> str:
    """A value as inert Markdown, of a length that a table takes."""
    whole = str(value)
    return text(whole if len(whole) <= 160 else whole[:159] + "…")


# --- what is done ----------------------------------------------------------------------------------------------------


def drift(folder: Path) -> None:
    """Does what the check's outcome asks for, and says so in the step summary."""
    from gitops import pulls

    told = gather(folder, json.loads(os.environ["NEEDS"])["measure"]["result"]) | {"words": words(), "dated": dated()}
    done = "Nothing is logged or nothing is in production yet, so there is nothing to compare. That is no fault."
    if told["outcome"] != "not_configured":
        here, bars = pulls.repository(), policy()
        done = pulls.persist(lambda: reconcile(here, told, bars))
    with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a") as file:
        file.write(summary(told, done))
    print(f"{told['outcome']}: {done}")


def reconcile(here: Any, told: Facts, bars: Json) -> str:
    """Brings requests, issues and comments in line with the decision; what was done, in a sentence."""
    from gitops import pulls

    asks = told["outcome"] == "drifted" or told["outcome"] == "healthy" and bars.get("every")
    seen = look(here) if asks else Seen()
    params = content.text("HEAD", str(PARAMS))  # not the file: a checkout may have other line ends
    decision = decide(told, seen, params, bars, datetime.now(UTC))
    if agrees(told):
        pulls.close_issue(here, SKEWED, f"What callers send is what the source gives again: {told['run']}")
    match decision.act:
        case "close":
            clock = f"No request by the clock: {decision.why}." if decision.why else "No model is due by the clock."
            gone = f"The drift check of [this run]({told['run']}) finds no drift. {clock}"
            pulls.close(here, BRANCH, gone)
            tells(here, gone)
            return f"Every bar is met. What was open for drift is closed. {clock}"
        case "tell" if told["outcome"] == "skewed":
            pulls.close_issue(here, UNKNOWN, f"The drift check can tell again: {told['run']}")
            return f"It is told in {pulls.issue(here, SKEWED, 'Skew: not what the source gives', skewed(told))}"
        case "tell":
            return f"It is told in {pulls.issue(here, UNKNOWN, 'Drift: could not tell', untold(told))}"
        case "blocked":
            name = f"{ASKS[told['outcome']][1]}, and no retrain request"
            issue = pulls.issue(here, BLOCKED, name, blocked(told, decision.why))
            return f"No retrain request, for {decision.why}: {issue}"
        case "covered":
            assert seen.promotion is not None
            pulls.comment(here, seen.promotion, covered(told, seen.learned), COVERED)
            return f"The open promotion #{seen.promotion} answers it, and has a comment that says so."
        case "request":
            return propose(here, told, bars, decision)
    return f"No retrain request: {decision.why}."


def agrees(told: Facts) -> bool:
    """Whether inputs were held against the source, and are what it gives."""
    unjudged = any(each.startswith("skew: ") for each in told["gate"]["not_judged"])
    return told["outcome"] in ("healthy", "drifted") and not unjudged


def tells(here: Any, reason: str) -> None:
    """Close the issues of a check that could not tell, and of a request that could not be opened."""
    from gitops import pulls

    for marker in (UNKNOWN, BLOCKED):
        pulls.close_issue(here, marker, reason)


def words() -> problem.Words:
    """What people call the rows of what is in production, as its own contract says: main may hold another."""
    commit = (ledger.manifest() or {}).get("lineage", {}).get("commit", "HEAD")
    return problem.words(content.contract(commit))


def dated() -> bool:
    """Whether a row has its own time, by main's contract."""
    ours = problem.here()
    return ours is None or ours.dated


def replaced_by() -> str:
    """The problem that main holds, where production's is another one."""
    ours = problem.here()
    return ours.problem if ours and problem.other(ledger.manifest(), ours) else ""


def look(here: Any) -> Seen:
    """The branch's requests of the last weeks, and the open promotion."""
    from gitops import pulls

    head = f"{here.owner.login}:{BRANCH}"
    requests = pulls.ask(here, "GET", "pulls", head=head, base=here.default_branch, state="all", per_page=30)
    seen = Seen(requests, replaced_by=replaced_by(), production=until_of(ledger.manifest()), held=held(here, requests))
    proposed = pulls.newest(here, promotion.BRANCH, "open")
    if proposed is None:
        return seen
    manifest = pulls.found(here, f"contents/{MANIFEST}", ref=proposed["head"]["sha"])
    return seen._replace(promotion=proposed["number"], learned=learned(manifest))


def held(here: Any, requests: Sequence[Json]) -> Json | None:
    """What of `data` the open request sets; None where none is open, or people have pushed what cannot be read."""
    from gitops import pulls

    pull = next((each for each in requests if each["state"] == "open"), None)
    if pull is None:
        return None
    with suppress(Blocked, ValueError):
        data = data_of(pulls.text_of(here, pull["head"]["sha"], str(PARAMS)) or "")
        snapshot = data.get("snapshot")
        if snapshot is None or facts.check(snapshot, "digest") is None:
            return {"until": data["until"], "snapshot": snapshot}
    return None


def learned(manifest: Json | None) -> str | None:
    """The last day of data that a promotion's model has seen; None where its manifest does not say."""
    try:
        return until_of(json.loads(base64.b64decode((manifest or {})["content"])))
    except (KeyError, TypeError, ValueError):
        return None


def until_of(manifest: Any) -> str | None:
    """The last day of data by a promotion's manifest; None where it does not say."""
    try:
        return date.fromisoformat(manifest["data"]["until"]).isoformat()
    except (KeyError, TypeError, ValueError):
        return None


def propose(here: Any, told: Facts, bars: Json, decision: Decision) -> str:
    """The one retrain request, opened or brought up to date; what was done, in a sentence."""
    from gitops import pulls

    app = bool(os.environ.get("GITOPS_BOT"))
    name, body = title(decision.data), request(told, decision.data, bars, app)
    head = pulls.ref(here, BRANCH)
    pulls.commit(here, BRANCH, {str(PARAMS): decision.params}, name, head, others=True)  # people may push there
    names = (bars["labels"], bars["reviewers"], bars["team_reviewers"])
    number, url = pulls.propose(here, BRANCH, name, body, *names)
    tells(here, f"The drift check can tell again, and there is a retrain request: {url}")
    if number is None:
        return f"The branch is pushed; the link that opens the request is in {url}"
    refused = pulls.auto_merge(here, number) if bars["auto_merge"] else None
    asked = "Retrain request by the clock" if told["outcome"] == "healthy" else "Retrain request"
    return f"{asked}: {url}" + (f". GitHub will not merge it by itself: {text(refused)}" if refused else "")
