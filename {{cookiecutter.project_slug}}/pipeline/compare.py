"""Champion against challenger: what is in production and this model, on the same test rows, which neither has seen.

Not a stage, as what is in production is no input of the model: `make gates` runs it before policies/model.yaml judges.
`python -m gitops fetch-production build/production` puts the champion there; where there is none yet, that is said.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline import contract, evaluate, model, params, rows, tasks
from pipeline.contract import Contract
from pipeline.evaluate import MODEL
from pipeline.model import BadModel, Model, Outputs, Problem
from pipeline.params import BadInput, run_stage
from pipeline.personal import shown
from pipeline.tasks import Judged, Values

PRODUCTION = Path("build/production")
COMPARISON = Path("reports/comparison.json")
EXAMPLES = 3
NOTHING = "nothing of this problem is in production yet"
COMMON = 0.8  # of the rows have labels that both know, or it is another problem


def compare(
    test: Judged, table: pl.DataFrame, outs: Mapping[str, Outputs], ours: Contract, knobs: dict[str, Any]
) -> dict[str, Any]:
    """The blocks `metrics` and `slices`: `outs` holds what "model" and "champion" say of the rows.

    A paired bootstrap: each resample is drawn once and measured for both, so what is hard about it falls out of the
    difference (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
    """
    weights, task = evaluate.resamples(test.units, knobs["resamples"], knobs["seed"]), tasks.task(ours.task)

    def differ(measure: Callable[[Outputs], Values]) -> dict[str, dict[str, Any] | None]:
        return paired(measure(outs["model"]), measure(outs["champion"]), knobs["confidence"])

    return {
        "metrics": differ(lambda out: task.measure(test, out, weights)),
        "slices": [
            part
            | evaluate.size(test, inside, ours)
            | differ(lambda out: evaluate.slice_values(task, test, out, inside, weights))  # noqa: B023, called at once
            for part, inside in evaluate.slices(table, knobs["slices"])
        ],
    }


def paired(ours: Values, theirs: Values, confidence: float) -> dict[str, dict[str, Any] | None]:
    """Each metric of both [1 + resamples], and their difference with its interval and standard error; or None."""
    differences = {name: ours[name] - theirs[name] for name in ours}
    found = evaluate.known(differences, confidence)
    return {
        name: difference
        and {
            "model": float(ours[name][0]),
            "champion": float(theirs[name][0]),
            "difference": difference | {"error": float(np.nanstd(differences[name][1:], ddof=1))},
        }
        for name, difference in found.items()
    }


# --- what is in production ---


@dataclass(frozen=True)
class Champion:
    """What is in production."""

    digest: str
    data: dict[str, Any]  # of its release: `train`, two days, and `until`
    model: Model | None  # None where this code cannot run it
    problem: str  # why not


def champion(ours: Contract) -> Champion | None:
    """What is in production; None where nothing is, or a model of another problem. Raises BadInput where damaged."""
    path, directory = PRODUCTION / "manifest.json", PRODUCTION / "model"
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text())["data"]
        params.day(data["until"], "data.until")
        text = (directory / model.MANIFEST).read_bytes()
        if (version := json.loads(text)["format"]) != model.FORMAT:
            said = f"the champion is of format {version!r}, and this code runs format {model.FORMAT} alone"
            return Champion(f"sha256:{sha256(text).hexdigest()}", data, None, said)
        theirs = model.load(directory, threads=0)
    except (BadModel, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{PRODUCTION} cannot be read ({error}); remove it and run fetch-production again") from None
    if another(theirs.problem, ours):
        return None
    said, task = "", theirs.problem.task
    if task != ours.task:
        said = f"the champion is of the task {task}, and contract.yaml says {ours.task}: give the problem another name"
    return Champion(theirs.digest, data, None if said else theirs, said)


def another(theirs: Problem, ours: Contract) -> bool:
    """Whether it is another problem: by its name *and* by what it is, as a new name alone escapes no bar.

    By the contract, as what the model says of itself is what is judged.
    """
    return theirs.name != ours.problem and theirs.identity != ours.identity


def scored(theirs: Model, table: pl.DataFrame, ours: Problem) -> Outputs:
    """What the champion says of the rows, in our classes. Raises BadModel where it asks for other columns or types."""
    for column in theirs.inputs:
        if column.name in table.columns and column.text != (table[column.name].dtype == pl.String):
            raise BadModel(f"it takes {column.name} for a {column.type}, and here it is {table[column.name].dtype}")
    return tasks.task(ours.task).translated(theirs.predict(table), theirs.problem, ours)


def asks_more(theirs: Model, ours: Model) -> bool:
    """Whether a model takes an input that another does not, or takes it for another type."""
    return not {(each.name, each.type) for each in theirs.inputs} <= {(each.name, each.type) for each in ours.inputs}


# --- which rows a model has seen ---


def seen(
    table: pl.DataFrame, ours: Contract, trained: np.ndarray, days: tuple[date, date] | None = None
) -> dict[str, Any]:
    """How many rows are among the hashes that a model was trained on, or of its training days; the first of them."""
    rows_seen = np.isin(rows.hashes(table, ours), trained)
    if days:
        rows_seen |= table[ours.time].dt.date().is_between(*days).to_numpy()
    return told(rows_seen, table, ours)


def told(found: np.ndarray, table: pl.DataFrame, ours: Contract) -> dict[str, Any]:
    """How many rows were found, and the identifiers of the first; `found` is a mask, bool [rows]."""
    first = table.filter(found).select(ours.id).head(EXAMPLES).to_dicts()
    return {"rows": int(found.sum()), "examples": [value for row in first for value in shown(row).values()]}


def sides(table: pl.DataFrame, ours: Contract, share: float) -> dict[str, Any]:
    """The rows that a model was trained on which left another share of a delivery to its test."""
    who = table[rows.ENTITY if ours.entity else rows.GROUP if ours.group else ours.id]
    return told(np.array([rows.fraction(each) >= share for each in who], bool), table, ours)


def twins(tested: pl.DataFrame, trained: pl.DataFrame, ours: Contract) -> dict[str, Any]:
    """How many more rows have all inputs of a training row than training rows have of another one, beyond chance.

    Without a time, rows may be alike by nature. Copies of test rows among those that are trained on are not: then test
    rows have twins there more often than training rows do. Beyond four standard errors.
    """
    theirs = rows.hashes(trained, ours)
    alike, counts = np.unique(theirs, return_counts=True)
    usual = (counts[counts > 1].sum() + 1) / (len(theirs) + 1)
    expected = usual * len(tested)
    found = np.isin(rows.hashes(tested, ours), alike).sum()
    more = found - expected - 4 * np.sqrt(expected * max(1 - usual, 0))
    return {"rows": max(int(np.ceil(more)), 0), "examples": []}


def hashes(path: Path) -> np.ndarray:
    """The hashes of the rows that a model was trained on, as the stage `rows` wrote them."""
    try:
        return pl.read_parquet(path)["hash"].to_numpy()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadInput(f"{path}: {error}; make it with `make model`") from None


def hashed_as(path: Path) -> str | None:
    """The columns that these hashes are of, as `rows.hashed_as` says them; None where the file does not."""
    return pl.read_parquet_metadata(path).get(rows.HASHED)


# --- the report ---


def measured(
    table: pl.DataFrame, trained: pl.DataFrame, scorer: Model, ours: Contract, knobs: dict[str, Any]
) -> dict[str, Any]:
    """reports/comparison.json, of the judged rows; `trained` are those that the model may have learned from.

    Raises BadInput where the champion cannot score them, though it asks for nothing that the model does not ask for.
    """
    test = evaluate.as_test(table, ours, knobs)
    said: dict[str, Any] = {
        "model": scorer.digest,
        "champion": None,
        "problem": None,
        **evaluate.size(test, np.full(len(table), True), ours),
        "seen": {"model": seen(table, ours, hashes(rows.TRAINED)) if ours.dated else twins(table, trained, ours)},
        "compared": 0,
        "excepted": "",  # why not all
        "metrics": {},
        "slices": [],
    }
    found = champion(ours)
    if found is None:
        return said
    if not ours.dated:
        said["delivery"] = str(table[ours.time].dt.date().max())
    said["champion"] = {"digest": found.digest, "train": found.data["train"], "until": found.data["until"]}
    said["seen"]["champion"] = seen_by(found, table, ours)
    if found.model is None:
        return said | {"problem": found.problem}
    problem = Problem.of(ours)
    both, why = tasks.task(ours.task).common(found.model.problem, problem, test.label)
    if both.mean() < COMMON:
        return said | {"problem": f"{why}: {both.mean():.0%} of the rows can be compared, and {COMMON:.0%} are needed"}
    try:
        outs = {"model": scorer.predict(table), "champion": scored(found.model, table, problem)}
    except BadModel as error:
        if not asks_more(found.model, scorer):
            raise BadInput(
                f"{rows.FEATURES}: the champion cannot score these rows, and takes only what the model takes: {error}; "
                "write the inputs in the types that contract.yaml says"
            ) from None
        return said | {"problem": f"the champion cannot score these rows: {error}"}
    sliced, outs = table.filter(both), {name: tasks.picked(out, both) for name, out in outs.items()}
    compared = compare(test.some(both), evaluate.with_columns(sliced, knobs, ours), outs, ours, knobs)
    return said | compared | {"compared": int(both.sum()), "excepted": why}


def seen_by(found: Champion, table: pl.DataFrame, ours: Contract) -> dict[str, Any]:
    """The rows that the champion has seen; without a time, by the share of its delivery that it was tested on.

    `hashed` where its release says that share, or came with the hashes of the rows, of the columns that are hashed
    here.
    """
    if not ours.dated:
        share = found.data.get("share")
        return sides(table, ours, share if isinstance(share, float) else 1) | {"hashed": isinstance(share, float)}
    trained, days = PRODUCTION / rows.TRAINED.name, [params.day(day, "data.train") for day in found.data["train"]]
    known = hashes(trained) if trained.exists() else np.array([], np.uint64)
    hashed = trained.exists() and hashed_as(trained) == rows.hashed_as(table, ours)
    return seen(table, ours, known, (days[0], days[-1])) | {"hashed": hashed}


def main() -> None:
    knobs, ours = params.load(), contract.load()
    table, trained = evaluate.tested(ours, knobs), rows.between(*ours.days(knobs).train, ours)
    said = measured(table, trained, model.load(MODEL, threads=0), ours, knobs["evaluate"])
    COMPARISON.parent.mkdir(exist_ok=True)
    COMPARISON.write_text(json.dumps(said, indent=2) + "\n")
    compared = f"compared with {said['champion']['digest']}" if said["champion"] else NOTHING
    print(f"{COMPARISON}: {said['problem'] or compared}")


if __name__ == "__main__":
    run_stage(main)
