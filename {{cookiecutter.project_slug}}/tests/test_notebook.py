"""The notebook: it runs on what the pipeline makes, from the root and from its own folder, and keeps no outputs."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from pipeline import params
from tests.tables import write_knobs, write_model

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks/explore.ipynb"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose pipeline ran on a world that is small, and a model of it."""
    root = tmp_path_factory.mktemp("made")
    shutil.copytree(ROOT / "pipeline", root / "pipeline")
    (root / "notebooks").mkdir()
    knobs = params.load(ROOT / "params.yaml")
    knobs["data"] |= {"source": "simulate", "until": "2018-07-10", "snapshot": None}
    knobs["simulate"] |= {"customers": 300, "terminals": 600, "radius": 15}
    knobs["split"] |= {"train": 14, "test": 7}
    write_knobs(root, knobs)
    for stage in ("ingest", "features"):
        subprocess.run([sys.executable, "-m", f"pipeline.{stage}"], cwd=root, check=True)
    write_model(root / "model")
    return root


def test_it_keeps_no_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    assert cells
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("folder", [".", "notebooks"])
def test_it_runs_and_draws(made: Path, folder: str) -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(made / folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"], outputs
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 6
