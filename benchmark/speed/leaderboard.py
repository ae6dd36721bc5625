"""leaderboard: how long it takes to show very many records."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmark.leaderboards.boards import boards_of
from benchmark.leaderboards.tables import render
from benchmark.records.cell import Cell
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from benchmark.speed.bench import Bench
from benchmark.speed.cells import some_cells
from benchmark.speed.findings import Side, SpeedFinding, seconds
from methods.common.registry import Registry

RECORDS, METHODS = 10_000, 10
MOST_SECONDS = 5.0


def measure(bench: Bench) -> Iterator[SpeedFinding]:
    """A real record, copied with other methods' names and seeds, each under the key of its own cell."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runner, cells = some_cells(bench, ("original",), folder)
        record = runner.run(cells[0])
        pairs = (divmod(index, METHODS) for index in range(RECORDS))
        named = (replace(cells[0], method=f"method_{method}", seed=seed) for seed, method in pairs)
        write_copies(record, named, folder / "many")
        shown: list[str] = []

        def show() -> None:
            shown[:] = render(boards_of(RecordStore(folder / "many").all(), Registry()), "table").splitlines()

        taken = seconds(show, bench.device)
    rows = sum("method_" in line for line in shown)
    yield SpeedFinding(
        f"{RECORDS:,} records, {rows} rows",
        (Side("to show the leaderboard", taken, "s"),),
        taken,
        "s",
        most=MOST_SECONDS,
    )


def write_copies(record: Record, cells: Iterable[Cell], folder: Path) -> None:
    """A record once for each of some cells, under the cell's key, in a folder of results."""
    target = folder / record.cell["suite"]
    target.mkdir(parents=True)
    for cell in cells:
        copy: Record = replace(record, key=cell.key, cell=cell.identity())
        (target / f"{copy.key}.json").write_text(json.dumps(copy.to_dict(), sort_keys=True, indent=1))
