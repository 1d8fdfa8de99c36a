"""The default model beside the published baselines on real transactions: the stages themselves, run week by week.

The published protocol moved back: a training week begins on each of STARTS, the test week 14 days later, and cards
known to be compromised leave it. The model and the other families have the window of policies/evaluation.yaml, which
ends on the same day. The published baselines, of scikit-learn, have the published features of those 7 days, and of the
model's window too. The bake's `evaluate` measures all of them.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from tests import baking

HANDBOOK = Path(os.environ.get("HANDBOOK") or baking.ROOT.parent / "shared" / "data" / "handbook")
STARTS = (date(2018, 6, 13), date(2018, 6, 20), date(2018, 6, 27))
PUBLISHED = 7  # days of training
BEFORE, AFTER = ("source", "ingest", "rows", "encode"), ("baselines", "export")
METRICS = ("average_precision", "roc_auc")


def rows() -> Iterator[dict[str, Any]]:
    """A row a metric and baseline, means of the weeks; the bar is for the published baselines' average precision."""
    if not HANDBOOK.is_dir():
        print(f"skipped: needs real transactions; set HANDBOOK to the folder ({HANDBOOK} is none)", file=sys.stderr)
        return
    weeks = [week(start) for start in STARTS]
    for metric in METRICS:
        ours = mean(week["metrics"][metric]["value"] for week in weeks)
        for name in weeks[0]["baselines"]:
            theirs = mean(week["baselines"][name][metric]["value"] for week in weeks)
            bar = metric == "average_precision" and name.endswith(f" of {PUBLISHED} days")
            yield {
                "what": f"{metric}, {name}",
                "ours": ours,
                "theirs": theirs,
                "unit": "",
                "ratio": ours / theirs,
                "bar": "> 1" if bar else None,
                "reached": ours > theirs or not bar,
            }


def week(start: date) -> dict[str, Any]:
    """metrics.json of a week: the model, the other families and the published baselines, on the same rows."""
    with tempfile.TemporaryDirectory(prefix="bench ") as folder:
        bake = Path(folder)
        for name in ("pipeline", "policies"):
            shutil.copytree(baking.TEMPLATE / name, bake / name)
        for name in ("params.yaml", "contract.yaml"):
            shutil.copy(baking.TEMPLATE / name, bake)
        until = str(start + timedelta(days=20))
        baking.change_knobs(bake, data={"source": str(HANDBOOK.resolve()), "until": until})
        families = yaml.safe_load((bake / "params.yaml").read_text())["families"]
        for stage in (*BEFORE, *(f"train {family}" for family in families), *AFTER):
            run(bake, "-m", *f"pipeline.{stage}".split())
        run(bake, __file__)
        run(bake, "-m", "pipeline.evaluate")
        return dict(json.loads((bake / "metrics.json").read_text()))


def run(bake: Path, *command: str) -> None:
    """Python in the bake. Raises CalledProcessError where it fails."""
    path = os.pathsep.join((str(bake), str(baking.ROOT)))
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "PYTHONPATH": path}
    subprocess.run([sys.executable, *command], cwd=bake, env=environment, check=True, stdout=subprocess.DEVNULL)


# --- in a process of its own, in the bake ---


def published() -> None:
    """Puts the scores of the published baselines beside those of the families."""
    import polars as pl
    from pipeline import baselines, contract, params
    from pipeline import rows as table_of

    ours, knobs = contract.load(), params.load()
    days, inputs = ours.days(knobs), [column.name for column in ours.inputs]
    test, scores = table_of.between(*days.test, ours), pl.read_parquet(baselines.TARGET)
    assert scores[table_of.ID].equals(test[ours.id].alias(table_of.ID))
    for number in (PUBLISHED, knobs["split"]["train"]):
        train = table_of.between(days.train[1] - timedelta(days=number - 1), days.train[1], ours)
        for name, unfitted in classifiers(number).items():
            fitted = unfitted.fit(train.select(inputs).to_numpy(), train[table_of.LABEL].to_numpy())
            said = fitted.predict_proba(test.select(inputs).to_numpy())[:, 1]
            scores = scores.with_columns(pl.Series(f"{name} of {number} days", said))
    scores.write_parquet(baselines.TARGET)


def classifiers(days: int) -> dict[str, Any]:
    """The published baselines, not fitted; of many days, a tree of the forest sees a part of the rows: time."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    boosted = {"learning_rate": 0.05, "max_iter": 200, "max_depth": 4, "l2_regularization": 10}
    share = None if days == PUBLISHED else 0.3
    return {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "random forest": RandomForestClassifier(n_estimators=100, max_samples=share, random_state=0, n_jobs=-1),
        "boosted trees": HistGradientBoostingClassifier(early_stopping=False, random_state=0, **boosted),
    }


if __name__ == "__main__":
    published()
