"""memory: how much a process grows over very many cells."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmark.speed.bench import Bench
from benchmark.speed.cells import some_cells
from benchmark.speed.findings import Side, SpeedFinding
from benchmark.unlearning.cost import resident_bytes

CELLS, WARM_UP = 200, 10
METHOD = "nullspace"
MOST_MB = 100.0


def measure(bench: Bench) -> Iterator[SpeedFinding]:
    """Cells that differ in how far the names are projected out, so that each edits and evaluates anew."""
    with tempfile.TemporaryDirectory() as name:
        runner, cells = some_cells(bench, ("original", METHOD), Path(name))
        projections = [cell for cell in cells if cell.method == METHOD]
        before = 0
        for index in range(WARM_UP + CELLS):
            if index == WARM_UP:
                gc.collect()
                before = resident_bytes()
            cell = projections[index % len(projections)]
            runner.run(replace(cell, hparams={**cell.hparams, "alpha": 1 - index / (WARM_UP + CELLS)}))
        gc.collect()
        grown = (resident_bytes() - before) / 1e6
    yield SpeedFinding(
        f"{CELLS} cells of shapes-resnet in one process",
        (Side("held before", before / 1e6, "MB"), Side("grown by", grown, "MB")),
        grown,
        "MB",
        most=MOST_MB,
    )
