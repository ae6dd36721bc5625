"""The example notebook, executed from its first cell to its last in a small world, in an empty folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pages import ROOT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
SMALL = f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\nimport world\nworld.stay_small()"
"""Run before the notebook: some hundred images in the place of thousands."""


def test_the_notebook_holds_no_outputs() -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs: pip install '.[dev]'")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) >= 8 and all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs: pip install '.[dev]'")
    nbclient = pytest.importorskip("nbclient", reason="needs: pip install '.[dev]'")
    monkeypatch.setenv("CLIP_UNLEARNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SMALL))
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    texts = [
        output.data["text/plain"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    assert len(texts) >= 8
    assert "ccup made shapes-resnet forget star" in texts[1]
    assert "forget/probe_acc1" in texts[2] and "nullspace" in texts[4] and "retain_weight=1" in texts[5]
    assert "my_method" in texts[6] and "open_clip_model.safetensors" in texts[7]
    assert {"runs", "my-clip"} <= {path.name for path in tmp_path.iterdir()}
