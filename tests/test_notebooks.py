"""Every notebook runs from top to bottom, with the outputs that are committed."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def kinds(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Return the kinds of each cell's outputs, warnings left out."""
    return [
        [kind for output in cell.get("outputs", []) if output.get("name") != "stderr" for kind in _kinds(output)]
        for cell in notebook.cells
    ]


def _kinds(output: nbformat.NotebookNode) -> list[str]:
    return sorted(output["data"]) if "data" in output else [output.output_type]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")  # of the notebook machinery, which is not ours
def test_notebook_runs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    committed = kinds(notebook)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    assert kinds(notebook) == committed
    assert any(committed)
