"""Running the cells of this machine: one after another, or their methods side by side in processes of their own.

Only the methods are side by side: every cell is measured, written down and shown by one thread, as soon as its method
has ended and the cells that it is compared with are done; meanwhile the next methods run. What fails goes to the
ledger, what is not a method's fault ends the run.
"""

from __future__ import annotations

import errno
import logging
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmark.execution.progress import Progress, RunningCell
from benchmark.execution.runner import CellRunner
from benchmark.pretraining.side_by_side import shares
from benchmark.records.cell import Cell
from benchmark.records.failures import Ledger
from benchmark.records.lookup import seconds_of
from benchmark.records.record import Record
from benchmark.suites.expansion import ORIGINAL
from benchmark.utils.stopping import stop_if_asked
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import CannotWriteError

SAME_ERROR_METHODS = 3
"""So many different methods that fail with one error, and nothing else yet: the cause is not a method. Our choice."""
CELL_BYTES, WEIGHTS_OF_A_CELL = 2 * 2**30, 8
"""Memory that a cell may need: PyTorch and images, and so many times the model's weights (the model, gradients, two
moments of Adam, the original, a snapshot, a copy to measure, and one to spare); our choice."""
BEGUN_A_JOB = 2
"""Cells for each of those that run side by side that are begun and not yet measured, so that none waits for work while
one is measured; our choice."""
MEASURING_SHARE = 2
"""One of so many of torch's threads measures while methods unlearn beside it: with all of them, on two cores, 27 cells
took 62 s in the place of 49."""
LOOK_SECONDS = 0.25
"""How often the display of cells side by side is brought up to date."""
_log = logging.getLogger(__name__)
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_DISK_WORDS = ("No space left on device", "Disk quota exceeded", "Read-only file system")


class FullDiskError(BenchmarkError):
    """The disk takes no more: every further cell would fail as well."""


class ReferenceFailedError(Exception):
    """The cell with which this one is to be compared could not be run."""


@dataclass
class RunOutcome:
    """What a run did.

    Attributes:
        finished: Records made now.
        failed: Cells that raised, with their messages.
        interruption: Ctrl-C or the signal that stopped the run; None if nothing did.
        not_the_method: Why the run was stopped before its end where no method is to blame; else empty.
    """

    finished: list[Record] = field(default_factory=list)
    failed: list[tuple[Cell, str]] = field(default_factory=list)
    interruption: KeyboardInterrupt | None = None
    not_the_method: str = ""

    def blame_elsewhere(self) -> str:
        """Why the failures so far are no method's fault; see `blame_elsewhere`."""
        return blame_elsewhere(self.failed, none_finished=not self.finished)


def jobs_for(todo: Sequence[Cell], runner: CellRunner, asked: int | None = None) -> int:
    """How many methods unlearn side by side: on a CPU one a core, as far as the memory allows; on GPUs one.

    Args:
        todo: The cells to run.
        runner: Runs them.
        asked: What the user asked for instead; never more than there are cells.

    Raises:
        BenchmarkError: If several are asked for and each is spread over several devices.
    """
    if runner.devices.count > 1:
        if asked is not None and asked > 1:
            raise BenchmarkError("--devices spreads one cell, --jobs runs several: leave out one")
        return 1
    if not todo or asked is not None:
        return max(1, min(asked or 1, len(todo)))
    clip, _ = runner.session.pristine(todo[0].model)
    if clip.device.type != "cpu":
        return 1
    weights = sum(value.numel() * value.element_size() for value in clip.model.state_dict().values())
    return shares(len(todo), bytes_each=CELL_BYTES + WEIGHTS_OF_A_CELL * weights).workers


def run_local(
    todo: Sequence[Cell],
    runner: CellRunner,
    ledger: Ledger,
    progress: Progress,
    *,
    skipped: int = 0,
    jobs: int = 1,
) -> RunOutcome:
    """Run cells in order; those that took their process with them in an earlier run come last.

    Whatever a method raises or exits with is written to the ledger with its whole traceback, and the others go on.
    Where the cause cannot be a method (`blame_elsewhere`), the run stops. Ctrl-C and signals end it; what was finished
    stays.

    Args:
        todo: The cells that have no record yet, or all of them where the user forces it.
        runner: Runs one.
        ledger: Where beginnings and failures go.
        progress: Shows what happens.
        skipped: How many cells of the plan were done before, for the progress shown.
        jobs: How many methods unlearn side by side. With one, each cell is done before the next begins.

    Raises:
        FullDiskError: If a disk takes no more.
        BenchmarkError: If the ledger cannot be written.
    """
    run = _LocalRun(runner, ledger, progress, frozenset(cell.key for cell in todo))
    order = _killers_last(todo, runner, ledger, progress)
    progress.start(order, skipped=skipped, at_once=jobs)
    try:
        with runner.showing(progress), _threads_shared(runner, jobs):
            for cell in order if jobs == 1 else run.begun(order, jobs):
                progress.cell(cell)
                run.cell(cell)
                if run.outcome.not_the_method:
                    break
    except KeyboardInterrupt as stop:
        run.outcome.interruption = stop
        runner.tracker.close(failed=True)
    finally:
        progress.stop()
        run.stop()
    return run.outcome


@contextmanager
def _threads_shared(runner: CellRunner, jobs: int) -> Iterator[None]:
    """While methods unlearn beside it, what is measured takes a part of torch's threads; theirs stay as they are."""
    unlearner, threads = runner.session.unlearner, torch.get_num_threads()
    given = unlearner.threads
    if jobs > 1:
        unlearner.threads = unlearner.threads_each("cpu")
        torch.set_num_threads(max(1, threads // MEASURING_SHARE))
    try:
        yield
    finally:
        unlearner.threads = given
        torch.set_num_threads(threads)


@dataclass
class _LocalRun:
    """A run's cells one by one, and what became of them.

    Attributes:
        wanted: Keys of the cells to run; references beside them are run where they have no record, but not counted.
        broken: Why references failed, by key: what is compared with them is not tried.
        side_by_side: Whether cells run beside others.
    """

    runner: CellRunner
    ledger: Ledger
    progress: Progress
    wanted: frozenset[str]
    outcome: RunOutcome = field(default_factory=RunOutcome)
    broken: dict[str, str] = field(default_factory=dict)
    side_by_side: bool = False
    _running: dict[str, tuple[RunningCell, Future[None] | None]] = field(default_factory=dict)
    _noted: dict[str, ExitStack] = field(default_factory=dict)

    def begun(self, order: Sequence[Cell], jobs: int) -> Iterator[Cell]:
        """The cells, each when its method has ended, while those of the next ones run.

        One model is in memory at a time, so the cells of the next one begin when those of this one are done.
        """
        self.side_by_side = True
        waiting = deque(order)
        while waiting or self._running:
            while waiting and len(self._running) < BEGUN_A_JOB * jobs and self._of_the_model(waiting[0]):
                self._begin(waiting.popleft())
            left = {cell.key for cell in waiting} | self._running.keys()
            key = self._next(left)
            yield self._running.pop(key)[0].cell

    def _of_the_model(self, cell: Cell) -> bool:
        return all(shown.cell.model == cell.model for shown, _ in self._running.values())

    def _begin(self, cell: Cell) -> None:
        """Let a cell's method unlearn; where that cannot even begin, the cell fails when its turn comes."""
        shown, noted = RunningCell(cell), ExitStack()
        self._running[cell.key] = shown, None
        try:
            noted.enter_context(self.ledger.running(cell.key))
            self._noted[cell.key] = noted
            self._running[cell.key] = shown, self.runner.begin(cell, shown)
        except Exception as error:  # noqa: BLE001 - it is raised again, and written down, when the cell is run
            _log.debug("%s could not begin: %s", cell, error)

    def _next(self, left: set[str]) -> str:
        """The first cell whose method has ended and whose references are not among those that are left."""
        while True:
            ready = [key for key, (_, end) in self._running.items() if end is None or end.done()]
            for key in ready:
                references = self.runner.reference_cells(self._running[key][0].cell)
                if not left & {reference.key for reference in references}:
                    return key
            ends = [end for _, end in self._running.values() if end is not None and not end.done()]
            if not ends:
                return ready[0]  # its reference comes later in the plan: it is made first
            self.progress.beside([shown for shown, end in self._running.values() if end is not None and not end.done()])
            wait(ends, LOOK_SECONDS, FIRST_COMPLETED)

    def stop(self) -> None:
        """End the methods that still run."""
        self.runner.stop()
        for noted in self._noted.values():
            noted.close()

    def cell(self, cell: Cell) -> None:
        """Run a cell, and before it those of its references that nobody else runs.

        Raises:
            KeyboardInterrupt: If the run is to stop.
            BenchmarkError: If the disk takes no more.
        """
        try:
            for reference in self.runner.reference_cells(cell):
                if reference.key not in self.wanted and reference.key not in self.broken:
                    self._reference(reference)
                if reference.key in self.broken:
                    raise ReferenceFailedError(f"{reference}: {self.broken[reference.key]}")
        except ReferenceFailedError as error:
            if not self.outcome.not_the_method:
                self._failed(cell, error)
            return
        record = self._attempt(cell)
        if record is not None and cell.key in self.wanted:
            self.progress.done(cell, record, seconds=seconds_of(record) if self.side_by_side else None)

    def _reference(self, reference: Cell) -> None:
        if self.runner.store.read(reference.key) is None:
            self._attempt(reference)

    def _attempt(self, cell: Cell) -> Record | None:
        """The record of a cell; None where it failed, which is written down."""
        try:
            with self._noted.pop(cell.key, None) or self.ledger.running(cell.key):
                record = self.runner.run(cell)
                if cell.key in self.wanted:  # at once: a stop that comes while the tracker hears of it finds it counted
                    self.outcome.finished.append(record)
                self.runner.log(record)
            stop_if_asked()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a method raises is a failed cell, never the run's end
            stop_if_asked()
            self._failed(cell, error)
            return None
        return record

    def _failed(self, cell: Cell, error: BaseException) -> None:
        message = write_down(error, cell, self.ledger, self.runner.store.folder)
        self.runner.tracker.close(failed=True)
        self.broken[cell.key] = message
        self.outcome.finished[:] = [record for record in self.outcome.finished if record.key != cell.key]
        self.outcome.failed.append((cell, message))
        self.progress.failed(cell, message)
        self.outcome.not_the_method = self.outcome.blame_elsewhere()


def write_down(error: BaseException, cell: Cell, ledger: Ledger, results: Path) -> str:
    """Write a failure to the ledger.

    Args:
        error: What the cell raised.
        cell: The cell.
        ledger: Where it goes.
        results: The folder of the records, for the message.

    Returns:
        The failure in a line.

    Raises:
        FullDiskError: If the error is that of a disk that takes no more.
    """
    if refused := disk_refusal(error):
        raise FullDiskError(
            f"{refused}: no cell can be kept, so this ends here; what is finished is kept in {results}, run the same "
            "command again when there is room"
        ) from error
    ledger.append(cell.key, cell.identity(), error)
    return message_of(error)


def message_of(error: BaseException) -> str:
    """An exception in a line, such as "ValueError: no such name"."""
    return f"{type(error).__name__}: {error}"


def disk_refusal(error: BaseException) -> str:
    """What a disk said that is full, read-only or closed to us, if that is what an error or a cause of it is."""
    for cause in _chain(error):
        if isinstance(cause, CannotWriteError):
            return " ".join(str(cause).split())
        if isinstance(cause, OSError) and cause.errno in _DISK_ERRORS:
            return cause.strerror or str(cause)
        # safetensors and torch tell it in words only
        if phrase := next((words for words in _DISK_WORDS if words in str(cause)), ""):
            return phrase
    return ""


def blame_elsewhere(failed: Sequence[tuple[Cell, str]], *, none_finished: bool) -> str:
    """Why the failures of a run so far are no method's fault, in a line; empty where they may be.

    It is so where the model as it came, which does nothing, cannot be run, and where nothing has succeeded and
    different methods fail with one error.

    Args:
        failed: Cells that failed, with their messages, in order.
        none_finished: Whether no cell has succeeded.
    """
    if not failed:
        return ""
    cell, last = failed[-1]
    if cell.method == ORIGINAL:
        return f"the model as it came cannot be run ({_line(last)})"
    errors = {_without_numbers(message) for _, message in failed}
    methods = {cell.method for cell, _ in failed}
    if none_finished and len(errors) == 1 and len(methods) >= SAME_ERROR_METHODS:
        return f"{len(methods)} methods fail with one error, and nothing else has run ({_line(last)})"
    return ""


def _line(message: str) -> str:
    return " ".join(message.split())[:200]


def _without_numbers(message: str) -> str:
    return re.sub(r"\d+", "#", message)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _killers_last(todo: Sequence[Cell], runner: CellRunner, ledger: Ledger, progress: Progress) -> list[Cell]:
    """The cells in order, but last those that began in an earlier run and never ended; says which they are.

    What other cells are compared with keeps its place: they cannot run without it.
    """
    begun = ledger.unended()
    suspects = [cell for cell in todo if cell.key in begun]
    if not suspects:
        return list(todo)
    needed = {reference.key for cell in todo for reference in runner.reference_cells(cell)}
    for cell in suspects:
        what = "others need it, so it keeps its place" if cell.key in needed else "it is tried last"
        progress.note(f"{cell} began at {begun[cell.key]} and never ended (killed, or still running): {what}")
    late = {cell.key for cell in suspects} - needed
    return sorted(todo, key=lambda cell: cell.key in late)
