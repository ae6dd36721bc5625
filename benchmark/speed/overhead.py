"""overhead: what the suite adds to a cell beyond unlearning and evaluation."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmark.execution.preview import Watcher
from benchmark.records.record import Record
from benchmark.speed.bench import Bench
from benchmark.speed.cells import some_cells
from benchmark.speed.findings import Side, SpeedFinding, seconds

METHODS = ("original", "nullspace", "ccup", "random_noise")
MOST_SECONDS = 0.3


def measure(bench: Bench) -> Iterator[SpeedFinding]:
    """Cells of the embedded world, one after another; the first one, which loads everything, is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        runner, cells = some_cells(bench, METHODS, Path(folder))
        runner.watcher = Watcher(lambda *_: None)  # as `run` has it
        runner.run(cells[0])
        added, totals = [], []
        for cell in cells[1:]:
            records: list[Record] = []
            total = seconds(lambda cell=cell, records=records: records.append(runner.run(cell)), bench.device)  # type: ignore[misc]
            cost = records[0].cost
            added.append(total - float(cost["unlearn_seconds"] or 0) - float(cost["evaluate_seconds"] or 0))
            totals.append(total)
    overhead, cell_seconds = statistics.median(added), statistics.median(totals)
    yield SpeedFinding(
        f"shapes-resnet, {len(added)} cells of {', '.join(METHODS[1:])}",
        (Side("a cell", cell_seconds, "s"), Side("beyond unlearning and evaluation", overhead, "s")),
        overhead,
        "s",
        most=MOST_SECONDS,
        note=f"{100 * overhead / cell_seconds:.0f} % of these short cells; the first cell loads everything",
    )
