"""The notebook: it runs for any contract, from the root and from its own folder, and keeps no outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.tables import source, workspace, write_model

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks/explore.ipynb"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with another contract than this one's, what its pipeline would have made, and a model of it."""
    root = workspace(tmp_path_factory.mktemp("made") / "repository")
    (root / "notebooks").mkdir()
    source().write_parquet(root / "data/rows.parquet")
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
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
