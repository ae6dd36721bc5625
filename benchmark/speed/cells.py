"""Cells of the embedded world for the measurements that run whole cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.execution.runner import CellRunner
from benchmark.execution.tracking import Tracker
from benchmark.records.cell import Cell
from benchmark.records.store import RecordStore
from benchmark.speed.bench import Bench
from benchmark.suites.expansion import expand, with_overrides
from benchmark.suites.suite_file import load_suite
from benchmark.suites.where import Where
from methods.common.registry import Registry


def some_cells(bench: Bench, methods: Sequence[str], folder: Path) -> tuple[CellRunner, list[Cell]]:
    """A runner that writes to a folder, and the cells of some methods in suite `quick`, the original first.

    The folder is also the cache for everything but decoded images, so that nothing made before is met.
    """
    cache = folder / "cache"
    cache.mkdir(parents=True)
    images = (bench.cache_dir / "images").absolute()
    images.mkdir(parents=True, exist_ok=True)
    (cache / "images").symlink_to(images, target_is_directory=True)
    where = Where(bench.data_dir, cache, str(bench.device))
    registry = Registry()
    suite = with_overrides(load_suite("quick"), methods=methods, models=("shapes-resnet",))
    cells = expand(replace(suite, measures=()), registry, where)
    results = folder / "results"
    return CellRunner(registry, where, RecordStore(results), Tracker(results)), cells
