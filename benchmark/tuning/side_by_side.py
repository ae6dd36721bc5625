"""Where the trials of a search run: one after another in this process, or several in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console

from benchmark.execution.local import run_local
from benchmark.execution.progress import Progress
from benchmark.execution.ray_worker import WorkerSetting, runner_of
from benchmark.execution.staleness import stale_families
from benchmark.records.cell import Cell
from benchmark.records.failures import Ledger
from benchmark.tuning.search import BY_VALUES
from benchmark.utils.stopping import end_children, end_with_parent, stoppable

if TYPE_CHECKING:
    from benchmark.execution.runner import CellRunner


@dataclass(frozen=True)
class TrialEnd:
    """How the cells of a trial ended; what they found is among the records and failures.

    Attributes:
        failed: Why a cell failed by something else than its values, in a line; else empty.
        not_the_method: Why no further trial can run, in a line; else empty.
    """

    failed: str = ""
    not_the_method: str = ""


def is_done(cell: Cell, runner: CellRunner) -> bool:
    """Whether a cell has a record that today's code has measured; what older code measured is run again."""
    record = runner.store.read(cell.key, cell.suite)
    return record is not None and not stale_families(record, runner.where.digests)


def run_trial(cells: Sequence[Cell], runner: CellRunner) -> TrialEnd:
    """Run those cells of a trial that are not done, one after another, up to the first that fails.

    Args:
        cells: In the order of the requests.
        runner: Runs one.

    Raises:
        KeyboardInterrupt: If the run is to stop.
        BenchmarkError: If the disk takes no more.
    """
    ledger = Ledger(runner.store.folder)
    for cell in cells:
        if is_done(cell, runner):
            continue
        earlier = ledger.failures().get(cell.key)
        if earlier is not None and earlier.error in BY_VALUES:
            return TrialEnd()
        ran = run_local([cell], runner, ledger, Progress(console=Console(quiet=True)))
        if ran.interruption is not None:
            raise ran.interruption
        if ran.not_the_method:
            return TrialEnd(not_the_method=ran.not_the_method)
        if ran.failed:
            by_values = ledger.failures()[cell.key].error in BY_VALUES
            return TrialEnd(failed="" if by_values else ran.failed[0][1])
    return TrialEnd()


class Trials(Protocol):
    """Runs trials; those that are handed in end in any order."""

    def submit(self, name: Any, cells: Sequence[Cell]) -> None:
        """Hand in a trial under a name."""

    def next(self) -> tuple[Any, TrialEnd]:
        """Wait for a trial to end; its name and how it ended."""

    @property
    def waiting(self) -> int:
        """How many were handed in and have not been told of."""

    def close(self) -> None:
        """End what still runs."""


@dataclass
class OneByOne:
    """Runs trials in this process, in the order in which they were handed in."""

    runner: CellRunner
    _queue: deque[tuple[Any, Sequence[Cell]]] = field(default_factory=deque)

    def submit(self, name: Any, cells: Sequence[Cell]) -> None:
        """Hand in a trial under a name."""
        self._queue.append((name, cells))

    def next(self) -> tuple[Any, TrialEnd]:
        """Run the first that was handed in."""
        name, cells = self._queue.popleft()
        return name, run_trial(cells, self.runner)

    @property
    def waiting(self) -> int:
        """How many were handed in and have not run."""
        return len(self._queue)

    def close(self) -> None:
        """Nothing runs."""


class SideBySide:
    """Runs trials in processes of their own, which keep models and data sets between trials.

    Ctrl-C is left to this process. Where it is killed, they end by themselves.

    Args:
        jobs: How many processes.
        setting: What they must know beside the cells.
    """

    def __init__(self, jobs: int, setting: WorkerSetting) -> None:
        self._setting = setting
        self._pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin)
        self._names: dict[Future[TrialEnd], Any] = {}

    def submit(self, name: Any, cells: Sequence[Cell]) -> None:
        """Hand in a trial under a name."""
        self._names[self._pool.submit(_run, self._setting, tuple(cells))] = name

    def next(self) -> tuple[Any, TrialEnd]:
        """Wait for a trial to end."""
        ended, _ = wait(self._names, return_when=FIRST_COMPLETED)
        future = next(future for future in self._names if future in ended)
        name = self._names.pop(future)
        try:
            return name, future.result()
        except BrokenProcessPool:
            return name, TrialEnd(not_the_method="a process of the search was killed (out of memory?)")

    @property
    def waiting(self) -> int:
        """How many were handed in and have not been told of."""
        return len(self._names)

    def close(self) -> None:
        """End the processes, and the trials that they run: their finished cells are kept."""
        if self._names:
            end_children()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """In a process, once: Ctrl-C is left to the process that started it, whose end is this one's too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _run(setting: WorkerSetting, cells: Sequence[Cell]) -> TrialEnd:
    """In a process: one trial. Whoever ends the process ends what it has started."""
    with stoppable():
        try:
            runner = runner_of(setting)
            runner.store.own()
            return run_trial(cells, runner)
        except KeyboardInterrupt:
            end_children()
            os._exit(1)
