"""The promotion pull request: what it puts into deploy/production/, and what it says. Pure: facts in, text out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gitops import kustomization, ledger
from gitops.content import PRODUCTION
from gitops.markdown import interval, metric, table, text
from gitops.report import champion, data, groups, metrics, relied, slices

BRANCH = "promote/production"
BACK = "rollback/production"
RETRAIN = "retrain/production"
MARKER = "<!-- gitops:promotion -->"
LABELS = ("promotion",)
ASSETS = ("model.tar", "service.bento", "reference.parquet", "trained.parquet")
"""What is promoted, by its bytes: the model directory, the Bento that was tested, what drift is measured against,
and the hashes of the rows that trained it, on which no later model may be compared with it."""

Json = Mapping[str, Any]


def entry(
    files: Json, measured: Json, problem: Json, lineage: Json, key: str, image: str | None, champion: str | None
) -> Json:
    """The manifest of a promotion; `files` has the sha256 and the number of bytes of each asset.

    `problem` is what the model predicts and asks for, as gitops.problem.of_model reads it.
    """
    window = measured["data"]
    return {
        "model": measured["model"]["digest"],
        "key": key,
        "files": files,
        "image": image,
        "champion": champion,
        "problem": problem,
        "data": {
            **{name: window[name] for name in ("source", "snapshot", "train", "test", "share") if name in window},
            "until": window["test"][1],
        },
        "lineage": lineage,
    }


def files(manifest: Json, lock: str, facts: Json, policy: Json, base: Mapping[str, str], home: str) -> dict[str, str]:
    """Every file of deploy/production, by its name; `facts` are those of the report that this needs.

    `base` has the texts of deploy/base, `home` is the repository's address. Raises kustomization.Refused.
    """
    return {
        "dvc.lock": lock,
        "manifest.json": pretty(manifest),
        "metrics.json": pretty(facts["metrics"]),
        "MODEL_CARD.md": "\n".join(card(manifest, facts, policy, home)) + "\n",
        **kustomization.files(manifest, base),
    }


def pretty(value: Json) -> str:
    """JSON as it is committed."""
    return json.dumps(value, indent=2) + "\n"


# --- the model card --------------------------------------------------------------------------------------------------


def card(manifest: Json, facts: Json, policy: Json, home: str) -> Iterator[str]:
    """Who should use the model for what, how good it is, where it came from.

    After Mitchell et al., Model Cards for Model Reporting (2019).
    """
    tag, asked = ledger.tag(manifest), quote(f'is:pr is:merged in:title "{title(manifest)}"')  # which has no number yet
    yield f"# Model card\n\nModel {text(manifest['model'])}, released as [{text(tag)}]({home}/releases/tag/{tag}),"
    yield f"promoted by [its pull request]({home}/pulls?q={asked})."
    yield f"It predicts {predicted(manifest['problem'])}."
    yield f"\n## Intended use\n\n{policy['card']['intended_use'].strip()}"
    yield "\n## How good it is"
    for section in (metrics, champion, slices, groups, relied):
        yield from section(facts)
    yield "\n## What it learned from"
    yield from data(facts)
    yield "\n## Limits\n"
    yield from (f"- {limit}" for limit in policy["card"]["limits"])
    yield "\n## Lineage\n"
    yield from lineage(manifest, home)


def lineage(manifest: Json, home: str) -> Iterator[str]:
    """Where the bytes came from, and who approved what; with whole addresses, as the service's page shows them too."""
    came = manifest["lineage"]
    trained, released = (f"[run {run}]({home}/actions/runs/{run})" for run in (came["trained_by"], came["released_by"]))
    number, approvers = came["pull_request"], came["approved_by"]
    yield f"- Commit [{text(came['commit'])}]({home}/commit/{came['commit']}), content key {text(manifest['key'])}"
    if number is None:
        yield "- Change: pushed to main without a pull request"
    else:
        who = ", ".join(map(text, approvers)) or "nobody"
        yield f"- Change: [#{number}]({home}/pull/{number}), approved by {who}"
    yield f"- Trained by {trained}, released by {released}"
    compared = manifest["champion"]
    yield f"- Compared with {text(compared) if compared else 'nothing: no model of this problem was in production'}"
    yield f"- Image {text(manifest['image']) if manifest['image'] else 'none'}"
    yield from (f"- {name}: sha256 {text(file['sha256'])}" for name, file in manifest["files"].items())


# --- the pull request ------------------------------------------------------------------------------------------------


def title(manifest: Json, back: bool = False) -> str:
    """The pull request's title, and its commit's first line."""
    what = f"model {manifest['model'].removeprefix('sha256:')[:12]}"
    return f"Roll production back to {what}" if back else f"Promote {what}"


def body(manifest: Json, facts: Json, before: Json | None, run: str) -> str:
    """What merging changes for production, and the evidence. `before` is production's manifest."""
    return "\n".join([MARKER, *changes(manifest, facts, before), *evidence(manifest, facts, run)]) + "\n"


def rollback_body(manifest: Json, before: Json | None) -> str:
    """What going back changes: the previous bytes, nothing is trained."""
    lines = [MARKER, f"Puts model {text(manifest['model'])} back into production, as it was there before: the same"]
    lines += [f"bytes, release {text(ledger.tag(manifest))}. Nothing is trained."]
    if before:
        lines += [f"\nIt takes the place of {text(before['model'])}, which is not proposed again until its inputs"]
        lines += ["change or somebody asks for it."]
    lines += callers(manifest, before)
    return "\n".join(lines) + "\n"


def changes(manifest: Json, facts: Json, before: Json | None) -> Iterator[str]:
    """Production before and after, side by side."""
    yield "### What changes for production\n"

    def pick(source: Json | None, *path: str) -> str:
        for step in path:
            source = (source or {}).get(step)
        return text(source) if source else "–"

    rows = [
        [name, pick(before, *path), pick(manifest, *path)]
        for name, path in (("model", ["model"]), ("labels until", ["data", "until"]), ("image", ["image"]))
    ]
    rows += [
        [
            metric(name, facts["metrics"]["smaller"]),
            interval(facts["champion"]["metrics"].get(name)) if facts["champion"] else "–",
            interval(found),
        ]
        for name, found in facts["metrics"]["metrics"].items()
    ]
    yield from table(["", "now", "after the merge"], rows)
    yield "\nMetrics are each model's own test days, with 95% intervals."
    yield from callers(manifest, before)


def callers(manifest: Json, before: Json | None) -> Iterator[str]:
    """Which fields of requests and answers come and go, by both manifests: whoever calls the service has to follow."""
    new, old = manifest.get("problem"), (before or {}).get("problem")
    if not new or not old:
        return
    moved = [
        (what, sorted(fields(old)[what] - fields(new)[what]), sorted(fields(new)[what] - fields(old)[what]))
        for what in ("request", "answer", "label")
    ]
    if any(new.get(name) != old.get(name) for name in ("name", "task", "label", "positive", "unit")):
        yield f"\n⚠️ **Another problem**: {text(old['name'])} becomes {text(new['name'])}, and what is predicted is"
        yield f"{predicted(new)}, no longer {predicted(old)}."
    if any(gone or come for _, gone, come in moved):
        yield "\n⚠️ **Callers break**: whoever calls the service has to send other fields, or read other fields or"
        yield "values, from the merge on.\n"
        yield from table(["", "goes", "comes"], ([what, names(gone), names(come)] for what, gone, come in moved))


def predicted(problem: Json) -> str:
    """What a model predicts, in a few words: one of two, one of several, or a number."""
    label = text(problem["label"])
    if problem["positive"] is not None:
        return f"whether {label} is {text(problem['positive'])}"
    if problem.get("values"):
        return f"which of {len(problem['values'])} values {label} has"
    unit = f" in {text(problem['unit'])}" if problem.get("unit") else ""
    covered = problem.get("interval")
    within = f", with an interval that {100 * covered:.3g}% of the labels lie in" if covered else ""
    return f"the number {label}{unit}{within}"


def fields(problem: Json) -> dict[str, set[str]]:
    """The fields of a request's row and of its answer, and the values that its label may have."""
    time = {problem["time"]} if problem["time"] else set()
    return {
        "request": {problem["id"], *time, *problem["inputs"]},
        "answer": {problem["id"], *problem.get("outputs", ())},
        "label": {str(each) for each in problem.get("values", ())},
    }


def names(fields: Sequence[str]) -> str:
    """Fields in a cell of a table."""
    more = f", and {len(fields) - SHOWN} more" if len(fields) > SHOWN else ""
    return (", ".join(map(text, fields[:SHOWN])) or "–") + more


SHOWN = 50  # fields in a cell


def evidence(manifest: Json, facts: Json, run: str) -> Iterator[str]:
    """What was tested, and against whom."""
    yield "\n### Evidence\n"
    yield f"- All gates held on these very bytes: [the run]({run})"
    if facts.get("disagreed"):
        yield f"- Main trained it itself, and took nothing of the pull request's: {text(facts['disagreed'])}"
    yield from lineage(manifest, run.rpartition("/actions/")[0])
    for section in (champion, slices, data):
        yield from section(facts)


def what_to_do(branch: str, app: bool) -> str:
    """The next step of whoever reads the pull request."""
    lines = ["\n### What to do\n"]
    if not app:
        lines += ["Its checks wait until somebody with write access approves that they run: one click."]
    lines += [
        f"Read [the model card](../blob/{branch}/{PRODUCTION}MODEL_CARD.md), approve, merge: `deploy.yml` records"
    ]
    lines += [
        "it and the agent applies it. To go back later, see [deploy/ROLLBACK.md](../blob/HEAD/deploy/ROLLBACK.md)."
    ]
    return "\n".join(lines) + "\n"
