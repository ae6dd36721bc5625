"""`measure`: add a family of measures to records that are there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands.common import cache_folder, words
from datamodules.errors import BenchmarkError, UnknownNameError

if TYPE_CHECKING:
    from benchmark.records import Record
    from benchmark.runner import CellRunner


def measure_command(
    family: str,
    suite: str | None = None,
    results: str = "results/runs",
    data_dir: str | None = None,
    cache_dir: str | None = None,
    device: str | None = None,
    again: bool = False,
    plugin: str | None = None,
) -> int:
    """Add a family of measures to existing records.

    Test outputs are kept beside each record, so a family that needs no more is computed from them at once; another one
    needs the weights that `run --save-weights` kept, or lets the method unlearn again. What older code measured is
    measured again.

    Args:
        family: A family of measures, see `list measures`.
        suite: Only the records of this suite.
        results: The folder of the records.
        data_dir: The folder of the real data sets.
        cache_dir: The folder of decoded images and features.
        device: By default the kind of device in the record.
        again: Also where the record has the family already.
        plugin: Files of further methods, separated by commas.
    """
    import sys

    from benchmark.commands.leaderboard_command import no_records
    from benchmark.commands.verify_command import cell_of
    from benchmark.evaluation.families import FAMILIES
    from benchmark.measuring import WAYS, measure_again
    from benchmark.planning import Where
    from benchmark.record_store import RecordStore
    from benchmark.runner import CellRunner
    from benchmark.staleness import stale_families
    from benchmark.tracking import Tracker
    from methods.registry import Registry

    if family not in FAMILIES:
        raise UnknownNameError("measure", family, FAMILIES)
    store = RecordStore(Path(results), read_only=False)
    records = store.all(suite)
    if not records:
        raise BenchmarkError(no_records(store, suite))
    registry = Registry([Path(file) for file in words(plugin)])
    data = Path(data_dir).expanduser() if data_dir else None
    digests = Where(data, cache_folder(cache_dir), device or "auto").digests
    todo = [
        record
        for record in records
        if again
        or any(name not in record.metrics for name in FAMILIES[family].metrics)
        or family in stale_families(record, digests)
    ]
    todo.sort(key=lambda record: (record.cell["model"], record.cell["method"] not in ("original", "retrain")))
    ways = dict.fromkeys(WAYS, 0)
    runners: dict[str, CellRunner] = {}
    for number, record in enumerate(todo, start=1):
        kind = device or str(record.cell["device"])
        if kind not in runners:
            where = Where(data, cache_folder(cache_dir), kind)
            runners[kind] = CellRunner(registry, where, store, Tracker(None))
        measured, way = measure_again(runners[kind], record, cell_of(record), [family])
        store.write(measured)
        ways[way] += 1
        print(f"[{number}/{len(todo)}] {_line(measured, family)}")
    for message in store.notes:
        print(message, file=sys.stderr)
    if not todo:
        print(f"nothing to do: all {len(records)} records have {family}")
        return 0
    counts = {**ways, "kept outputs": ways["kept outputs"] + ways["recorded numbers"]}
    print(
        f"{family}: {counts['kept outputs']} records from kept outputs, {counts['kept weights']} from kept weights, "
        f"{counts['unlearning again']} by unlearning again; {len(records) - len(todo)} had it"
    )
    return 0


def _line(record: Record, family: str) -> str:
    from benchmark.evaluation.families import FAMILIES

    shown = []
    for name in FAMILIES[family].metrics:
        value = record.metrics[name].value
        shown.append(f"{name} {value:.4f}" if value is not None else f"{name} –")
    why = record.report.get("not_measured", {}).get(family)
    cell = record.cell
    return f"{cell['method']} (seed {cell['seed']}): {', '.join(shown)}{f' ({why})' if why else ''}"
