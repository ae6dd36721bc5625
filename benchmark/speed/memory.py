"""memory: how much a process grows over very many cells."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmark.cost import STATM, resident_bytes
from benchmark.speed.bench import Bench
from benchmark.speed.cells import some_cells
from benchmark.speed.findings import Finding, LeftOutError, Side

CELLS, WARM_UP = 200, 10
METHODS = ("original", "random_noise", "nullspace", "ccup")
MOST_MB = 100.0


def measure(bench: Bench) -> Iterator[Finding]:
    """Cells that differ in their seeds, so that each edits and evaluates anew."""
    if not STATM.exists():
        raise LeftOutError("this system does not tell how much memory a process holds")
    with tempfile.TemporaryDirectory() as name:
        runner, cells = some_cells(bench, METHODS, Path(name))
        stochastic = [cell for cell in cells if cell.method == "random_noise"]
        held = 0
        for index in range(WARM_UP + CELLS):
            if index == WARM_UP:
                gc.collect()
                held = resident_bytes()
            given = cells[index] if index < len(cells) else replace(stochastic[index % len(stochastic)], seed=index)
            runner.run(given)
        gc.collect()
        grown = (resident_bytes() - held) / 1e6
    yield Finding(
        f"{CELLS} cells of shapes-resnet in one process",
        (Side("held before", held / 1e6, "MB"), Side("grown by", grown, "MB")),
        grown,
        "MB",
        most=MOST_MB,
    )
