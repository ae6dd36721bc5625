"""Running cells: one after another in this process. What is done is skipped, what fails goes to the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmark.cells import Cell
from benchmark.ledger import Ledger
from benchmark.progress import Progress
from benchmark.records import Record
from benchmark.runner import CellRunner


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        finished: Records made now.
        skipped: Cells whose records were there.
        failed: Cells that raised, with their messages.
        interrupted: Whether the user stopped the run.
    """

    finished: list[Record] = field(default_factory=list)
    skipped: list[Cell] = field(default_factory=list)
    failed: list[tuple[Cell, str]] = field(default_factory=list)
    interrupted: bool = False


def run_local(
    cells: Sequence[Cell], runner: CellRunner, ledger: Ledger, progress: Progress, *, force: bool = False
) -> Outcome:
    """Run the cells that have no record yet, in order.

    A cell that raises is written to the ledger with its whole traceback, and the others go on. Ctrl-C ends the run;
    what was finished stays.

    Args:
        cells: The plan.
        runner: Runs one.
        ledger: Where failures go.
        progress: Shows what happens.
        force: Run also what has a record.
    """
    outcome = Outcome()
    todo = []
    for cell in cells:
        if not force and runner.store.read(cell.key) is not None:
            outcome.skipped.append(cell)
        else:
            todo.append(cell)
    progress.start(todo, skipped=len(outcome.skipped))
    try:
        for cell in todo:
            progress.cell(cell)
            try:
                record = runner.run(cell, on_phase=progress.phase, on_step=progress.step)
            except Exception as error:  # noqa: BLE001 - any failure of a method is a failed cell, never the run's end
                message = f"{type(error).__name__}: {error}"
                ledger.append(cell.key, cell.identity(), error)
                outcome.failed.append((cell, message))
                progress.failed(cell, message)
                runner.tracker.close(failed=True)
            else:
                outcome.finished.append(record)
                progress.done(cell, record)
    except KeyboardInterrupt:
        outcome.interrupted = True
    finally:
        progress.stop()
    return outcome
