"""The models that a run's cells compare with, trained before the cells: several at once where cores are free."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from benchmark.evaluation.families import asks_for
from benchmark.execution.progress import PLAIN_EVERY_SECONDS
from benchmark.execution.runner import CellRunner
from benchmark.models.registry import PRETRAINING
from benchmark.pretraining.side_by_side import Shares, Training, shares, train_side_by_side
from benchmark.records.cell import Cell
from benchmark.utils.durations import Pace, clock
from benchmark.utils.hardware import resolve_device


def missing_trainings(cells: Sequence[Cell], runner: CellRunner) -> list[Training]:
    """The trainings of retrained and shadow models that these cells need and that are not in the cache.

    Args:
        cells: Those that are to run.
        runner: Runs them; it knows what they are compared with and where models are kept.
    """
    all_cells = {
        needed_cell.key: needed_cell for cell in cells for needed_cell in (cell, *runner.reference_cells(cell))
    }
    golden = [
        cell for cell in all_cells.values() if runner.registry.declaration(cell.method).card.regime == PRETRAINING
    ]
    retrained, shadows = runner.session.retrained, runner.session.shadows
    attacked = {
        (cell.model, cell.dataset): cell
        for cell in cells
        if asks_for("shadows", cell.measures) and not shadows.why_not(cell)
    }
    needed: list[Training] = [retrained.training(cell) for cell in golden]
    needed += [training for cell in attacked.values() for training in shadows.trainings(cell)]
    missing = {training.path: training for training in needed if not training.path.is_file()}
    return list(missing.values())


def train_missing(cells: Sequence[Cell], runner: CellRunner, console: Console) -> None:
    """Train them side by side, where that is faster: on a CPU with several cores, if there are several.

    Elsewhere, and after a failure, each is trained by the first cell that needs it.

    Args:
        cells: Those that are to run.
        runner: Runs them.
        console: Where to show how far it is.
    """
    if resolve_device(runner.where.device).type != "cpu":
        return
    trainings = missing_trainings(cells, runner)
    share = shares(len(trainings))
    if len(trainings) < 2 or share.workers < 2:
        return
    display = _Display(console, len(trainings), share)
    with display.bars:
        failed = train_side_by_side(trainings, share, display.show)
    spent = clock(time.monotonic() - display.began)
    console.print(
        f"{len(trainings) - len(failed)} models trained and kept in {runner.where.cache_dir}, {spent}", markup=False
    )
    for training, why in failed:
        console.print(f"not trained: {training.title}: {why}; its cells will try again", markup=False)


class _Display:
    """A bar over all trainings; plain lines where the output is a file."""

    def __init__(self, console: Console, count: int, share: Shares) -> None:
        self.console, self.count = console, count
        self.began, self.pace = time.monotonic(), Pace(PLAIN_EVERY_SECONDS)
        what = f"training {count} models to compare with, {share.workers} at once"
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self.bars = RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bars.add_task(what, total=1.0, note="")
        console.print(f"{what}; they are kept for later runs", markup=False, highlight=False)

    def show(self, done: int, part: float) -> None:
        """How many are done, and which part of all steps is."""
        left = self.pace.seconds_left(part)
        note = f"{done} of {self.count} done, {'time left unknown' if left is None else f'{clock(left)} left'}"
        self.bars.update(self.task, completed=part, note=note)
        if not self.console.is_terminal and self.pace.due():
            self.console.print(f"{note} ({100 * part:.0f} % of all steps)", markup=False, highlight=False)
