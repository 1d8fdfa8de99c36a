"""Champion against challenger: what is in production and this model, on the same test rows, which neither has seen.

Not a stage, as what is in production is no input of the model: `make gates` runs it before policies/model.yaml judges.
`python -m gitops fetch-production build/production` puts the champion there; where there is none yet, that is said.
"""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline import evaluate, model, params, rows
from pipeline.evaluate import MODEL, Judged
from pipeline.model import BadModel, Model
from pipeline.params import BadInput, run_stage
from pipeline.personal import shown
from pipeline.schema import ID, TIME

PRODUCTION = Path("build/production")
COMPARISON = Path("reports/comparison.json")
EXAMPLES = 3

Values = dict[str, np.ndarray]  # by the metric's name, float64 [1 + resamples]


def compare(test: Judged, table: pl.DataFrame, scores: dict[str, np.ndarray], knobs: dict[str, Any]) -> dict[str, Any]:
    """The blocks `metrics` and `slices`: `scores` holds "model" and "champion", float64 [rows] each.

    A paired bootstrap: each resample is drawn once and measured for both, so what is hard about it falls out of the
    difference (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
    """
    weights = evaluate.resamples(test.units, knobs["resamples"], knobs["seed"])

    def differ(measure: Callable[[np.ndarray], Values]) -> dict[str, dict[str, Any] | None]:
        return paired(measure(scores["model"]), measure(scores["champion"]), knobs["confidence"])

    return {
        "metrics": differ(lambda score: evaluate.measure(test, score, weights)),
        "slices": [
            part
            | evaluate.size(test, inside)
            | differ(lambda score: evaluate.slice_values(test, score, inside, weights))  # noqa: B023, called at once
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


def seen(table: pl.DataFrame, trained: np.ndarray, days: tuple[date, date] | None = None) -> dict[str, Any]:
    """How many rows are among the hashes that a model was trained on, or of its training days; the first of them."""
    rows_seen = np.isin(rows.hashes(table), trained)
    if days:
        rows_seen |= table[TIME].dt.date().is_between(*days).to_numpy()
    first = table.filter(rows_seen).select(ID).head(EXAMPLES).to_dicts()
    return {"rows": int(rows_seen.sum()), "examples": [value for row in first for value in shown(row).values()]}


def champion() -> tuple[dict[str, Any], Model] | None:
    """The manifest and the model of what is in production; None where nothing is. Raises BadInput if damaged."""
    path = PRODUCTION / "manifest.json"
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text())
        params.day(manifest["data"]["until"], "data.until")
        return manifest, model.load(PRODUCTION / "model", threads=0)
    except (BadModel, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{PRODUCTION} cannot be read ({error}); remove it and run fetch-production again") from None


def hashes(path: Path) -> np.ndarray:
    """The hashes of the rows that a model was trained on, as the stage `features` wrote them."""
    try:
        return pl.read_parquet(path)["hash"].to_numpy()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadInput(f"{path}: {error}; make it with `make model`") from None


def measured(table: pl.DataFrame, ours: Model, knobs: dict[str, Any]) -> dict[str, Any]:
    """reports/comparison.json, of the judged rows."""
    test = evaluate.as_test(table, knobs["alerts"])
    said: dict[str, Any] = {
        "model": ours.digest,
        "champion": None,
        "problem": None,
        **evaluate.size(test, np.full(len(table), True)),
        "seen": {"model": seen(table, hashes(rows.TRAINED))},
        "metrics": {},
        "slices": [],
    }
    found = champion()
    if found is None:
        return said
    data, theirs = found[0]["data"], found[1]
    trained, days = PRODUCTION / rows.TRAINED.name, [params.day(day, "data.train") for day in data["train"]]
    said["champion"] = {"digest": theirs.digest, "train": data["train"], "until": data["until"]}
    known = hashes(trained) if trained.exists() else np.array([], np.uint64)
    said["seen"]["champion"] = seen(table, known, (days[0], days[-1])) | {"hashed": trained.exists()}
    try:
        return said | compare(test, table, {"model": ours.predict(table), "champion": theirs.predict(table)}, knobs)
    except BadModel as error:
        return said | {"problem": f"the champion cannot score these rows: {error}"}


def main() -> None:
    knobs = params.load()
    days = params.days(knobs)
    table = rows.between(days.train[0], days.test[1])
    table = evaluate.judged(table, days.test, knobs["features"]["delay"], knobs["evaluate"]["known"])
    said = measured(table, model.load(MODEL, threads=0), knobs["evaluate"])
    COMPARISON.parent.mkdir(exist_ok=True)
    COMPARISON.write_text(json.dumps(said, indent=2) + "\n")
    compared = f"compared with {said['champion']['digest']}" if said["champion"] else "nothing is in production yet"
    print(f"{COMPARISON}: {said['problem'] or compared}")


if __name__ == "__main__":
    run_stage(main)
