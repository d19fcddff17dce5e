"""Every notebook runs from top to bottom, with the outputs that are committed."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SCENES = re.compile(r"(?<=count=)\d+")  # of the studies
FEWER = """import emorl.evaluation.representation.representation as study
study.SWEPT, study.STEPS = 1, 3"""  # sweeps of slots, which take seconds


def kinds(cells: list[nbformat.NotebookNode]) -> list[list[str]]:
    """Return the kinds of each cell's outputs, warnings left out."""
    return [
        [kind for output in cell.outputs if output.get("name") != "stderr" for kind in _kinds(output)] for cell in cells
    ]


def _kinds(output: nbformat.NotebookNode) -> list[str]:
    return sorted(output["data"]) if "data" in output else [output.output_type]


@pytest.mark.filterwarnings("default")  # of the notebook machinery, which is not ours
def test_notebooks_run() -> None:
    """In one process, without the names of each other, and with fewer scenes."""
    committed = [[cell for cell in nbformat.read(path, as_version=4).cells if "outputs" in cell] for path in NOTEBOOKS]
    run = [[new_code_cell(SCENES.sub("12", cell.source)) for cell in cells] for cells in committed]
    cells = [cell for each in run for cell in (new_code_cell("%reset -f"), *each)]
    NotebookClient(new_notebook(cells=[new_code_cell(FEWER), *cells]), timeout=600, kernel_name="python3").execute()
    assert [kinds(each) for each in run] == [kinds(each) for each in committed]
    assert all(any(kinds(each)) for each in committed)
