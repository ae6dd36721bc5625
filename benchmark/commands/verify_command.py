"""`verify`: run a recorded cell again and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands.common import REFERENCE, cache_folder, words
from benchmark.verification import TOLERANCE
from datamodules.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.cells import Cell
    from benchmark.records import Record


def verify_command(
    key: str,
    results: str = "results/runs",
    data_dir: str | None = None,
    cache_dir: str | None = None,
    device: str | None = None,
    tolerance: float = TOLERANCE,
    plugin: str | None = None,
) -> int:
    """Run a recorded cell again and compare its metrics with the record.

    A key or its beginning names one of your records or of the reference records.

    Args:
        key: The key of a record, its beginning, or a record's file.
        results: The folder of the records; the reference records are searched too.
        data_dir: The folder of the real data sets.
        cache_dir: The folder of decoded images and features.
        device: By default the kind of device in the record.
        tolerance: Largest difference of a metric (a fraction) that counts as equal.
        plugin: Files of further methods, separated by commas.
    """
    from rich.console import Console
    from rich.table import Table

    from benchmark.planning import Where
    from benchmark.record_store import RecordStore
    from benchmark.runner import CellRunner
    from benchmark.tracking import Tracker
    from benchmark.verification import gaps, largest
    from methods.registry import Registry

    recorded = find_record(key, Path(results))
    registry = Registry([Path(file) for file in words(plugin)])
    cell = cell_of(recorded)
    data = Path(data_dir).expanduser() if data_dir else None
    where = Where(data, cache_folder(cache_dir), device or cell.device)
    if where.digests.code(registry, cell.method, cell.model) != cell.code:
        print(f"note: the code with which {cell.method!r} unlearns differs from the one that made this record")
    runner = CellRunner(registry, where, RecordStore(Path(results)), Tracker(None))
    again = runner.make(cell, runner.references(cell)).record
    table = Table(title=f"{cell} · {recorded.key[:12]}", title_justify="left", header_style="bold")
    for head in ("metric", "recorded", "now", "difference"):
        table.add_column(head, justify="left" if head == "metric" else "right")
    found = gaps(recorded, again)
    for gap in found:
        values = ("–" if value is None else f"{value:.4f}" for value in (gap.recorded, gap.now))
        table.add_row(gap.metric, *values, f"{gap.size:.4f}", style="red" if gap.size > tolerance else "")
    worst = largest(found).size
    Console(width=None if Console().is_terminal else 120).print(table)
    if worst > tolerance:
        print(f"differs: the largest difference is {worst:.4f}, more than the tolerance of {tolerance:g}")
        return 1
    print(f"verified: the largest difference is {worst:.4f}, within the tolerance of {tolerance:g}")
    return 0


def find_record(key: str, results: Path) -> Record:
    """The record of a file, or of a key or its beginning.

    Raises:
        BenchmarkError: If there is none, or the beginning fits several.
    """
    import json

    from benchmark.nearest import near_file, near_keys
    from benchmark.record_store import RecordStore
    from benchmark.records import Record

    if key.endswith(".json"):
        path = Path(key)
        if not path.is_file():
            raise BenchmarkError(f"no record file {path}{near_file(path)}")
        try:
            return Record.from_dict(json.loads(path.read_text(encoding="utf-8")), str(path))
        except ValueError as error:
            raise BenchmarkError(f"{path} is not a record: {error}") from error
    stores = [RecordStore(results), RecordStore(REFERENCE, older=True)]
    records = [record for store in stores for record in store.all()]
    found = {record.key: record for record in reversed(records) if record.key.startswith(key)}
    if len(found) != 1:
        what = "no record has a key that begins" if not found else f"{len(found)} records have keys that begin"
        near = near_keys(key, [record.key for record in records]) if not found else ""
        some = ", ".join(f"{one.key[:12]} ({one.cell['method']})" for one in list(found.values())[:3])
        some = f": {some}, ..." if some else ""
        raise BenchmarkError(
            f"{what} with {key!r} in {results} or the reference records{near}{some}; see `plan` for keys"
        )
    return next(iter(found.values()))


def cell_of(record: Record) -> Cell:
    """The cell that a record is of.

    Raises:
        BenchmarkError: If the record lacks a field, or its key does not fit its cell.
    """
    from benchmark.cells import Cell
    from datamodules.request import ForgetRequest

    fields = dict(record.cell)
    try:
        fields["request"] = ForgetRequest.from_dict(fields["request"])
        fields["others"] = tuple(fields["others"])
        for name in ("by_request", "measures"):
            fields[name] = tuple(fields.get(name, ()))
        cell = Cell(**fields)
    except (KeyError, TypeError) as error:
        raise BenchmarkError(f"record {record.key[:12]} does not describe a cell of this version: {error}") from error
    if cell.key != record.key:
        raise BenchmarkError(f"record {record.key[:12]} was changed: its key does not fit its cell")
    return cell
