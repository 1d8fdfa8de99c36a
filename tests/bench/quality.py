"""The default model beside the published baselines on real transactions: the stages themselves, run week by week.

The published protocol moved back: a training week begins on each of STARTS, the test week 14 days later, and cards
known to be compromised leave it. The baselines have the published features of those 7 days; the model has the window
of policies/evaluation.yaml, which ends on the same day. The baselines of that window are shown too.
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
STAGES = ("ingest", "features", "train", "export", "baselines", "evaluate")


def rows() -> Iterator[dict[str, Any]]:
    """A row a metric and baseline, means of the weeks; the bar is for the published baselines' average precision."""
    if not HANDBOOK.is_dir():
        print(f"skipped: needs real transactions; set HANDBOOK to the folder ({HANDBOOK} is none)", file=sys.stderr)
        return
    weeks = [week(start) for start in STARTS]
    for metric in ("average_precision", "roc_auc"):
        for window in weeks[0]:
            for name in weeks[0][window]["baselines"]:
                ours, theirs = (
                    mean(read(found[window])[metric]["value"] for found in weeks)
                    for read in (lambda found: found["metrics"], lambda found: found["baselines"][name])  # noqa: B023
                )
                bar = metric == "average_precision" and window == "7 days"
                yield {
                    "what": f"{metric}, {name} of {window}",
                    "ours": ours,
                    "theirs": theirs,
                    "unit": "",
                    "ratio": ours / theirs,
                    "bar": "> 1" if bar else None,
                    "reached": ours > theirs or not bar,
                }


def week(start: date) -> dict[str, dict[str, Any]]:
    """metrics.json by the baselines' window: the published one, and the model's own."""
    with tempfile.TemporaryDirectory(prefix="bench ") as folder:
        bake = Path(folder)
        for name in ("pipeline", "policies"):
            shutil.copytree(baking.TEMPLATE / name, bake / name)
        shutil.copy(baking.TEMPLATE / "params.yaml", bake)
        until = str(start + timedelta(days=20))
        baking.change_knobs(bake, data={"source": str(HANDBOOK.resolve()), "until": until})
        own = run(bake, STAGES)
        forest = yaml.safe_load((bake / "params.yaml").read_text())["baselines"]["random_forest"]
        del forest["max_samples"]  # as published
        baking.change_knobs(bake, split={"train": PUBLISHED}, baselines={"random_forest": forest})
        published = run(bake, ("features", "baselines", "evaluate"))
        return {f"{PUBLISHED} days": published, "the model's window": own}


def run(bake: Path, stages: tuple[str, ...]) -> dict[str, Any]:
    """metrics.json after the stages."""
    for stage in stages:
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        command = [sys.executable, "-m", f"pipeline.{stage}"]
        subprocess.run(command, cwd=bake, env=environment, check=True, stdout=subprocess.DEVNULL)
    return json.loads((bake / "metrics.json").read_text())
