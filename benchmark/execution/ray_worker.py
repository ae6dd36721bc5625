"""What runs inside a Ray worker: one cell, with what the worker process has loaded before.

A worker writes no record: it sends what it made to the driver, so that the results need no shared storage. It reads
images and weights from its own disk, and keeps decoded images and features in the cache folder, which the workers of
a machine share.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.evaluation.evaluate import Metrics
from benchmark.execution.local import ReferenceFailedError
from benchmark.execution.tracking import WandbMode
from benchmark.records.cell import Cell
from benchmark.records.failures import Failure
from benchmark.records.kept_outputs import Outputs
from benchmark.records.record import Record
from benchmark.suites.where import Where
from datamodules.common.locks import alone

if TYPE_CHECKING:
    from benchmark.execution.loggers import LoggerSetting
    from benchmark.execution.runner import CellRunner


@dataclass(frozen=True)
class WorkerSetting:
    """All that a worker must know beside its cell.

    Attributes:
        where: Folders and device; absolute paths, the same on every machine.
        plugins: Files of further methods, as they were given and as absolute paths.
        suite_file: The suite as it was given, for the command in the record.
        tuned_values: The file of tuned values as it was given, likewise.
        results: Where logs of single steps go.
        wandb: As for a local run.
        loggers: Likewise.
        threads: Of torch on the CPU, in each worker.
    """

    where: Where
    plugins: tuple[tuple[Path, Path], ...]
    suite_file: str
    tuned_values: str
    results: Path
    wandb: WandbMode
    threads: int
    loggers: tuple[LoggerSetting, ...] = ()


@dataclass(frozen=True)
class WorkerReply:
    """What became of a cell.

    Attributes:
        record: What it found; None if it raised.
        failure: How it raised; None if it did not.
        seconds: What it took in the worker.
    """

    record: Record | None
    failure: Failure | None
    seconds: float


@dataclass
class _Kept:
    """What a worker process keeps from one cell to the next."""

    setting: WorkerSetting | None = None
    runner: CellRunner | None = None
    prepared: set[tuple[str, str, tuple[str, ...]]] = field(default_factory=set)


_KEPT = _Kept()


def run_cell(
    setting: WorkerSetting, cell: Cell, known: Mapping[str, Metrics], *references: WorkerReply
) -> tuple[WorkerReply, Outputs | None]:
    """Run one cell; whatever it raises is part of the answer.

    Args:
        setting: What all cells of the run share.
        cell: What to run.
        known: The metrics of those of its references that have a record, by key.
        references: The answers of the others.
    """
    start = time.perf_counter()
    runner = None
    try:
        for reference in references:
            if reference.failure is not None:
                raise ReferenceFailedError(f"{reference.failure.error}: {reference.failure.message}")
        metrics = dict(known)
        metrics |= {reply.record.key: reply.record.metrics for reply in references if reply.record is not None}
        runner = runner_of(setting)
        _prepare(runner, setting, cell)
        finished = runner.make(cell, runner.references(cell, metrics))
        runner.tracker.summarise(finished.record)
    except KeyboardInterrupt:  # the driver cancels
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a method raises is a failed cell, never the run's end
        if runner is not None:
            runner.tracker.close(failed=True)
        failure = Failure.of(cell.key, cell.identity(), error)
        return WorkerReply(None, failure, time.perf_counter() - start), None
    return WorkerReply(finished.record, None, time.perf_counter() - start), finished.outputs


def runner_of(setting: WorkerSetting) -> CellRunner:
    """The runner of this process: models, data sets and features stay loaded between cells."""
    if _KEPT.setting != setting or _KEPT.runner is None:
        import torch

        from benchmark.execution.runner import CellRunner
        from benchmark.execution.tracking import Tracker
        from benchmark.records.store import RecordStore
        from methods.common.registry import Registry

        torch.set_num_threads(setting.threads)
        registry = Registry([file for _, file in setting.plugins])
        plugin_names = tuple(name for name, _ in setting.plugins)
        tracker = Tracker(setting.results, setting.wandb, setting.loggers)
        store = RecordStore(setting.results)
        named = (plugin_names, setting.suite_file, setting.tuned_values)
        _KEPT.runner = CellRunner(registry, setting.where, store, tracker, *named)
        _KEPT.setting, _KEPT.prepared = setting, set()
    return _KEPT.runner


def _prepare(runner: CellRunner, setting: WorkerSetting, cell: Cell) -> None:
    """Decode the images of a cell's data sets where that was not done: one worker of a machine does it for all."""
    needs = (cell.model, cell.dataset, cell.others)
    if needs not in _KEPT.prepared:
        with alone(setting.where.cache_dir / "prepared"):
            runner.check_needs([replace(cell, method="original")])
        _KEPT.prepared.add(needs)
