"""The notebook: it runs for any contract, from the root and from its own folder, and keeps no outputs."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import nbformat
import polars as pl
import pytest
import yaml
from nbclient import NotebookClient

from pipeline import contract, params, rows
from pipeline.model import Input
from tests import by_task
from tests.tables import inputs, knobs, source, workspace, write_model

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks/explore.ipynb"
MEMBERS = """
problem: leaving-members
task: binary
words: {row: [member, members], positive: [leaver, leavers]}
id: member
time: null
label: {column: left, positive: "Yes", negative: "No", delay: 30}
columns:
  member: {type: text}
  name: {type: text}
  amount: {type: number, missing: true}
  tariff $: {type: category, missing: true}
  joined: {type: time, missing: true}
  never: {type: number, missing: true}
  paper: {type: boolean, missing: true, input: false}
  left: {type: category, missing: true}
"""


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with another contract than this one's, what its pipeline would have made, and a model of it."""
    root = workspace(tmp_path_factory.mktemp("made") / "repository")
    (root / "notebooks").mkdir()
    source().write_parquet(root / "data/rows.parquet")
    write_model(root / "model")
    return root


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that predicts a number."""
    root = workspace(tmp_path_factory.mktemp("made") / "repository")
    (root / "notebooks").mkdir()
    (root / "contract.yaml").write_text(by_task.text("regression"))
    source().write_parquet(root / "data/rows.parquet")
    rows.made(source(), by_task.ours("regression"), {}).write_parquet(root / "data/features.parquet")
    by_task.write_model(root / "model", "regression", inputs())
    return root


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of a table without a time, with categories and blanks."""
    root = tmp_path_factory.mktemp("made") / "repository"
    for folder in ("data", "notebooks", "policies"):
        (root / folder).mkdir(parents=True)
    shutil.copytree(ROOT / "pipeline", root / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "contract.yaml").write_text(MEMBERS)
    said = knobs() | {"split": {"share": 0.2, "calibrate": 0.1}}
    measures = {name: said.pop(name) for name in params.MEASURES}
    (root / "params.yaml").write_text(yaml.safe_dump(said))
    (root / params.EVALUATION).write_text(yaml.safe_dump(measures))
    ours = contract.load(root / "contract.yaml")
    days = ours.days(said | measures)
    table = pl.DataFrame([member(number, days) for number in range(400)], infer_schema_length=None)
    table = table.cast({column.name: rows.TYPES[column.type] for column in ours.columns})
    table = table.cast({ours.time: rows.TYPES["time"]}).sort(ours.time, ours.id)
    table.write_parquet(root / "data/rows.parquet")
    rows.made(table, ours, {}).write_parquet(root / "data/features.parquet")
    levels = {"tariff $": ("large", "small")}
    asked = tuple(Input(c.name, c.type, missing=c.missing, levels=levels.get(c.name, ())) for c in ours.inputs)
    write_model(root / "model", asked, large=50)
    return root


def member(number: int, days: params.Days) -> dict[str, object]:
    """A row, tested or learned from: every seventh value is missing, each column's another."""
    values = {
        "name": f"Ada {number}",
        "amount": float(number % 90),
        "tariff $": ("small", "large")[number % 2],
        "joined": datetime(2019, 1, 1) + timedelta(days=number),
        "paper": number % 3 == 0,
        "left": ("Yes", "No")[number % 90 < 45],
    }
    given = {name: None if (number + at) % 7 == 0 else value for at, (name, value) in enumerate(values.items())}
    day, _ = days.test if number % 5 == 0 else days.fit
    return {"member": f"M{number}", "never": None, **given, "_time": day}


def test_it_keeps_no_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    assert cells
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "folder"), [("orders", "notebooks"), ("members", "."), ("sizes", ".")])
def test_it_runs_and_draws(problem: str, folder: str, request: pytest.FixtureRequest) -> None:
    made, notebook = request.getfixturevalue(problem), nbformat.read(NOTEBOOK, 4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(made / folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"], outputs
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    told = "".join(str(output.get("data", {}).get("text/html", "")) for output in outputs)
    columns = yaml.safe_load((made / "contract.yaml").read_text())["columns"]
    assert not [name for name in columns if name not in told]
