"""leaderboard: how long it takes to show very many records."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmark.leaderboards.boards import boards_of
from benchmark.leaderboards.tables import render
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
        target = folder / "many" / record.cell["suite"]
        target.mkdir(parents=True)
        for index in range(RECORDS):
            seed, method = divmod(index, METHODS)
            named = replace(cells[0], method=f"method_{method}", seed=seed)
            copy: Record = replace(record, key=named.key, cell=named.identity())
            (target / f"{copy.key}.json").write_text(json.dumps(copy.to_dict(), sort_keys=True, indent=1))
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
