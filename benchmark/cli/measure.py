"""`measure`: add a family of measures to records that are there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmark.cli.options import Chosen, DeviceOfRecord, Places, Plugins
from datamodules.common.errors import BenchmarkError, UnknownNameError

if TYPE_CHECKING:
    from benchmark.execution.runner import CellRunner
    from benchmark.records.cell import Cell
    from benchmark.records.record import Record


def measure_command(
    family: str,
    /,
    *,
    chosen: Chosen,
    plugins: Plugins,
    places: Places,
    device_of: DeviceOfRecord,
    again: bool = False,
) -> int:
    """Add a family of measures to existing records.

    Test outputs are kept beside each record, so a family that needs no more is computed from them at once; another one
    needs the weights that `run --save-weights` kept, or lets the method unlearn again. What older code measured is
    measured again. A record whose measuring fails stays as it is, and the others go on.

    Args:
        family: A family of measures, see `list measures`.
        again: Also where the record has the family already.
    """
    from benchmark.evaluation.families import FAMILIES
    from benchmark.execution.add_measures import WAYS, measure_again
    from benchmark.execution.local import blame_elsewhere, write_down
    from benchmark.execution.runner import CellRunner
    from benchmark.execution.staleness import stale_families
    from benchmark.execution.tracking import Tracker
    from benchmark.leaderboards.leaderboard import no_records
    from benchmark.records.failures import Ledger
    from benchmark.records.lookup import cell_of
    from benchmark.records.store import RecordStore
    from benchmark.utils.hardware import resolve_device
    from benchmark.utils.stopping import stop_if_asked
    from methods.common.registry import Registry

    if family not in FAMILIES:
        raise UnknownNameError("measure", family, FAMILIES)
    device = device_of.device
    resolve_device(device or "auto")
    store = RecordStore(places.results, read_only=False)
    records = store.all(chosen.suite)
    if not records:
        raise BenchmarkError(no_records(store, chosen.suite))
    registry = Registry(plugins.plugin)
    digests = places.where(device or "auto").digests
    todo = [
        record
        for record in records
        if again
        or any(name not in record.metrics for name in FAMILIES[family].metrics)
        or family in stale_families(record, digests)
    ]
    if brought := [record for record in todo if record.cell.get("brought")]:
        note = f"{len(brought)} brought records are left as they are: `audit` measures their checkpoints"
        print(note, file=sys.stderr)
        todo = [record for record in todo if record not in brought]
    todo.sort(key=lambda record: (record.cell["model"], record.cell["method"] not in ("original", "retrain")))
    ways = dict.fromkeys(WAYS, 0)
    cells = {record.key: cell_of(record) for record in todo}
    failed: list[tuple[Cell, str]] = []
    ledger = Ledger(places.results)
    runners: dict[str, CellRunner] = {}
    for number, record in enumerate(todo, start=1):
        cell, kind = cells[record.key], device or str(record.cell["device"])
        if kind not in runners:
            runners[kind] = CellRunner(registry, places.where(kind), store, Tracker(None))
        try:
            with ledger.running(record.key):
                measured, way = measure_again(runners[kind], record, cell, [family])
                store.write(measured)
            stop_if_asked()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            stop_if_asked()
            failed.append((cell, write_down(error, cell, ledger, places.results)))
            print(f"[{number}/{len(todo)}] failed: {cell}: {failed[-1][1].splitlines()[0]}", file=sys.stderr)
            if not any(ways.values()) and (why := blame_elsewhere(failed, none_finished=True)):
                raise BenchmarkError(f"{why}: no method is the cause; see {ledger.path}") from error
            continue
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
        + (f", {len(failed)} failed (see {ledger.path})" if failed else "")
    )
    return int(bool(failed))


def _line(record: Record, family: str) -> str:
    from benchmark.evaluation.families import FAMILIES

    shown = []
    for name in FAMILIES[family].metrics:
        value = record.metrics[name].value
        shown.append(f"{name} {value:.4f}" if value is not None else f"{name} –")
    why = record.report.get("not_measured", {}).get(family)
    cell = record.cell
    return f"{cell['method']} (seed {cell['seed']}): {', '.join(shown)}{f' ({why})' if why else ''}"
