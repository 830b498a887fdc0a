"""The notebook of the documentation runs, and shows what it showed when it was committed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from pages import DOCS

NOTEBOOK = DOCS / "notebooks" / "from-python.ipynb"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def kinds(notebook: Any) -> list[set[str]]:
    """The kinds of output of every code cell, and no numbers, which depend on the hardware."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [{kind for output in cell.outputs for kind in output.get("data", ["stream"])} for cell in cells]


def test_it_is_committed_with_outputs_and_without_paths_of_a_machine() -> None:
    assert all(kinds(read()))
    assert not re.search(r"/home/|/root/|/tmp/|/work/|0x[0-9a-f]{6,}", NOTEBOOK.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_it_runs_from_beginning_to_end(tmp_path: Path) -> None:
    notebook = read()
    folder = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=folder).execute()
    assert kinds(notebook) == kinds(read())
    assert len(list(tmp_path.glob("results/records/*/*/*/*.json"))) == 14
