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
    lets the method unlearn again.

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
    from benchmark.measuring import add_family
    from benchmark.planning import Where
    from benchmark.record_store import RecordStore
    from benchmark.runner import CellRunner
    from benchmark.tracking import Tracker
    from methods.registry import Registry

    if family not in FAMILIES:
        raise UnknownNameError("measure", family, FAMILIES)
    store = RecordStore(Path(results), read_only=False)
    records = store.all(suite)
    if not records:
        raise BenchmarkError(no_records(store, suite))
    registry = Registry([Path(file) for file in words(plugin)])
    todo = [r for r in records if again or any(name not in r.metrics for name in FAMILIES[family].metrics)]
    todo.sort(key=lambda record: (record.cell["model"], record.cell["method"] not in ("original", "retrain")))
    data = Path(data_dir).expanduser() if data_dir else None
    kept = ran = 0
    runners: dict[str, CellRunner] = {}
    for number, record in enumerate(todo, start=1):
        kind = device or str(record.cell["device"])
        if kind not in runners:
            where = Where(data, cache_folder(cache_dir), kind)
            runners[kind] = CellRunner(registry, where, store, Tracker(None))
        measured, from_outputs = add_family(runners[kind], record, cell_of(record), family)
        store.write(measured)
        kept, ran = kept + from_outputs, ran + (not from_outputs)
        print(f"[{number}/{len(todo)}] {_line(measured, family)}")
    for message in store.notes:
        print(message, file=sys.stderr)
    if not todo:
        print(f"nothing to do: all {len(records)} records have {family}")
        return 0
    print(f"{family}: {kept} records from kept outputs, {ran} by unlearning again; {len(records) - len(todo)} had it")
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
