"""Running cells one after another; what fails goes to the ledger, what is not a method's fault ends the run."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.execution.progress import Progress
from benchmark.execution.runner import CellRunner
from benchmark.records.cell import Cell
from benchmark.records.failures import Ledger
from benchmark.records.record import Record
from benchmark.suites.expansion import ORIGINAL
from benchmark.utils.stopping import stop_if_asked
from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import CannotWriteError

SAME_ERROR_METHODS = 3
"""So many different methods that fail with one error, and nothing else yet: the cause is not a method. Our choice."""
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


def run_local(
    todo: Sequence[Cell],
    runner: CellRunner,
    ledger: Ledger,
    progress: Progress,
    *,
    skipped: int = 0,
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

    Raises:
        FullDiskError: If a disk takes no more.
        BenchmarkError: If the ledger cannot be written.
    """
    run = _LocalRun(runner, ledger, progress, frozenset(cell.key for cell in todo))
    order = _killers_last(todo, runner, ledger, progress)
    progress.start(order, skipped=skipped)
    try:
        with runner.showing(progress):
            for cell in order:
                progress.cell(cell)
                run.cell(cell)
                if run.outcome.not_the_method:
                    break
    except KeyboardInterrupt as stop:
        run.outcome.interruption = stop
        runner.tracker.close(failed=True)
    finally:
        progress.stop()
    return run.outcome


@dataclass
class _LocalRun:
    """A run's cells one by one, and what became of them.

    Attributes:
        wanted: Keys of the cells to run; references beside them are run where they have no record, but not counted.
        broken: Why references failed, by key: what is compared with them is not tried.
    """

    runner: CellRunner
    ledger: Ledger
    progress: Progress
    wanted: frozenset[str]
    outcome: RunOutcome = field(default_factory=RunOutcome)
    broken: dict[str, str] = field(default_factory=dict)

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
            self.progress.done(cell, record)

    def _reference(self, reference: Cell) -> None:
        if self.runner.store.read(reference.key) is None:
            self._attempt(reference)

    def _attempt(self, cell: Cell) -> Record | None:
        """The record of a cell; None where it failed, which is written down."""
        try:
            with self.ledger.running(cell.key):
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
