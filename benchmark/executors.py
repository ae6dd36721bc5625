"""Running cells: one after another in this process; what fails goes to the ledger."""

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
        failed: Cells that raised, with their messages.
        interrupted: Whether the user stopped the run.
    """

    finished: list[Record] = field(default_factory=list)
    failed: list[tuple[Cell, str]] = field(default_factory=list)
    interrupted: bool = False


def run_local(
    todo: Sequence[Cell],
    runner: CellRunner,
    ledger: Ledger,
    progress: Progress,
    *,
    skipped: int = 0,
) -> Outcome:
    """Run cells in order.

    A cell that raises is written to the ledger with its whole traceback, and the others go on. Ctrl-C ends the run;
    what was finished stays.

    Args:
        todo: The cells that have no record yet, or all of them where the user forces it.
        runner: Runs one.
        ledger: Where failures go.
        progress: Shows what happens.
        skipped: How many cells of the plan were done before, for the progress shown.
    """
    outcome = Outcome()
    progress.start(todo, skipped=skipped)
    try:
        for cell in todo:
            progress.cell(cell)
            try:
                record = runner.run(cell, on_phase=progress.phase, on_step=progress.step)
            except Exception as error:  # noqa: BLE001 - any failure of a method is a failed cell, never the run's end
                message = f"{type(error).__name__}: {error}"
                ledger.append(cell.key, cell.identity(), error)
                outcome.failed.append((cell, message))
                runner.tracker.close(failed=True)
                progress.failed(cell, message)
            else:
                outcome.finished.append(record)
                progress.done(cell, record)
    except KeyboardInterrupt:
        outcome.interrupted = True
        runner.tracker.close(failed=True)
    finally:
        progress.stop()
    return outcome
