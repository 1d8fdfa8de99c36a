"""Each defect of `make defects` that chance has a hand in, over many seeds, in process: is it caught every time?

The cases, the check that has to catch each and the words it has to say are those of tests/defects; only GitHub is left
out. Where there is no chance (a service that does not start, a rule, a workflow) once is enough: `make defects`.
"""

import html
import importlib
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import repeat
from pathlib import Path
from typing import Any, cast

import yaml

from tests.defects.cases import DATA, MODEL, WORLD
from tests.defects.world import FIRST, LAST, LOG, Files, Outcome, World, bank, between

SEEDS, SPARE = 20, 20  # spare ones for the case that is what its name says in some seeds only
CASES = {case.name: case for case in (*DATA, *MODEL, *WORLD)}
HEAVY = (
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "polars",
    "scipy.stats",
    "spox.opset.ai.onnx.v18",
    "torch",
    "yaml",
)
MODULES = ("simulate", "params", "contract")
JOBS = {  # as the workflow has them; a module's name, and its arguments
    "data": (("source", []), ("ingest",), ("validate",), ("policy.judges", ["data"])),
    "train": (
        *(("rows",), ("encode",), ("train", "constant"), ("train", "linear"), ("train", "network")),
        *(("baselines",), ("export",), ("evaluate",), ("reference",)),
    ),
    "test": (("compare",), ("behaviour",), ("policy.judges", ["model", "behaviour"])),
}


def rows() -> Iterator[dict[str, Any]]:
    """A row a defect."""
    os.environ |= {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "TQDM_DISABLE": "1"}
    context = multiprocessing.get_context("forkserver")  # each case in a process of its own, which has all but imported
    context.set_forkserver_preload([*HEAVY, __name__])
    with tempfile.TemporaryDirectory(prefix="seeds-") as name:
        folder = Path(name)
        bank(folder)
        with ProcessPoolExecutor(os.cpu_count(), mp_context=context, max_tasks_per_child=1) as pool:
            list(pool.map(begin, repeat(folder), range(SEEDS + SPARE)))
            seeds = {name: range(SEEDS + SPARE * bool(case.given)) for name, case in CASES.items()}
            found = {name: pool.map(tried, repeat(folder), seeds[name], repeat(name)) for name in CASES}
            yield from (row(name, list(caught)) for name, caught in found.items())


def row(case: str, said: list[str | None]) -> dict[str, Any]:
    """In how many of the first seeds in which it is what its name says it was caught."""
    tries = [(seed, each) for seed, each in enumerate(said) if each is not None][:SEEDS]
    for seed, each in tries:
        if each:
            print(f"{case}, seed {seed}: not caught\n{each[-4000:]}", file=sys.stderr)
    caught = sum(not each for _, each in tries)
    return {
        **{"what": f"seeds in which it is caught: {case.lower()}", "ours": caught, "theirs": None},
        **{"unit": f"of {len(tries)}", "ratio": None, "bar": f">= {SEEDS}", "reached": caught == SEEDS},
    }


# --- in a process of its own ---


def begin(folder: Path, seed: int) -> None:
    """The good repository of a seed, its model in production. Raises RuntimeError where it is not good."""
    home = folder / str(seed)
    good, days = home / "good", home / "days"
    shutil.copytree(folder / "bake" / "card-fraud", good)
    knobs = yaml.safe_load((good / "params.yaml").read_text())
    knobs["data"]["source"] = str(days)
    knobs["families"]["network"]["seed"] = seed
    (good / "params.yaml").write_text(yaml.safe_dump(knobs))
    days.mkdir()
    with inside(good):
        simulate, params, contract = (importlib.import_module(f"pipeline.{name}") for name in MODULES)
        for day in between(FIRST, LAST):
            simulate.day(day, knobs["simulate"] | {"seed": seed}).write_parquet(days / f"{day}.parquet")
        if (found := outcome(JOBS)).red:
            raise RuntimeError(f"seed {seed} has no good repository to begin with: {found.said}")
        days_of = contract.load().days(params.load())
        data = {"until": knobs["data"]["until"], "train": [str(day) for day in days_of.train]}
        promote(data)


def promote(data: dict[str, Any]) -> None:
    """What was trained is in production."""
    production = Path("build/production")
    shutil.copytree("model", production / "model")
    for name in ("reference", "trained"):
        shutil.copy(f"reports/{name}.parquet", production)
    (production / "manifest.json").write_text(json.dumps({"data": data}))
    shutil.copy("metrics.json", "deploy/production")


def tried(folder: Path, seed: int, name: str) -> str | None:
    """Nothing where the case was caught, else what was said; None where it is not what its name says."""
    case = CASES[name]
    with tempfile.TemporaryDirectory(dir=folder / str(seed)) as place:
        for shared in ("days", "good"):
            (Path(place) / shared).symlink_to(folder / str(seed) / shared)
        found = case.play(Trial(Path(place)))
        if not case.so(found):
            return None
        return "" if case.holds(found) else f"{found.red}\n{found.said}"


class Trial(World):
    """The good repository of a seed, without GitHub."""

    def __init__(self, folder: Path) -> None:
        super().__init__(cast(Any, None), folder)

    def read(self, name: str) -> str:
        return (self.folder / "good" / name).read_text()

    def clone(self) -> Path:
        return self.copy(self.folder / "clone")

    def copy(self, tree: Path) -> Path:
        """The good repository's files, without what was made of them."""
        good, made = self.folder / "good", {".git", "build", "data", "model", "reports"}
        return shutil.copytree(good, tree, ignore=lambda folder, _: made if Path(folder) == good else set())

    def python(
        self, *command: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pull_request(self, files: Files, branch: str = "") -> Outcome:
        tree, good = self.folder / "tree", self.folder / "good"
        made = {".git", "data", "model", "reports"}
        shutil.copytree(good, tree, ignore=lambda folder, _: made if Path(folder) == good else set())
        for name, text in files.items():
            (tree / name).write_text(text or "")
        with inside(tree):
            return outcome(JOBS)

    def drift(self, rows: str = "rows", kept: str = "logged") -> Outcome:
        log, tar = self.folder / "log", self.folder / "model.tar"
        with inside(self.folder / "good"):
            with tarfile.open(tar, "w") as packed:
                packed.add("model")
            sys.argv = ["log", str(tar), str(self.days), str(log)]
            exec(LOG.replace("ROWS", rows).replace("KEPT", kept), {})
            os.environ["PREDICTION_LOG"] = str(log)
            return outcome({"drift": (("monitor",), ("policy.judges", ["drift"]))})


@contextmanager
def inside(tree: Path) -> Iterator[None]:
    """The tree's own code, run there."""
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    for name in ("data", "build", "reports"):
        Path(name).mkdir(exist_ok=True)
    try:
        yield
    finally:
        os.chdir("/")


def outcome(jobs: dict[str, Any]) -> Outcome:
    """The job that fails, and what was said until then; with the table of the report where there is one."""
    said = io.StringIO()
    red = []
    with redirect_stdout(said), redirect_stderr(said):
        for job, steps in jobs.items():
            try:
                for name, *arguments in steps:
                    importlib.import_module(f"pipeline.{name}").main(*arguments)
            except (Exception, SystemExit):
                traceback.print_exc()
                red.append(job)
                break
        comparison = Path("reports/comparison.json")
        if comparison.exists():
            lines = importlib.import_module("gitops.comparison").lines(json.loads(comparison.read_text()))
            print(html.unescape("\n".join(lines)))
    return Outcome(tuple(red), said.getvalue())
