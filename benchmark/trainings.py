"""The models that a run's cells compare with, trained before the cells: several at once where cores are free."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from benchmark.cells import Cell
from benchmark.hardware import resolve_device
from benchmark.names import PRETRAINING
from benchmark.planning import retrain_of
from benchmark.pretraining.side_by_side import Shares, Training, shares, train_side_by_side
from benchmark.progress import PLAIN_EVERY_SECONDS, clock
from benchmark.references import needs_retrained, needs_shadows
from benchmark.shelf import Shelf
from methods.registry import Registry


def missing_trainings(cells: Sequence[Cell], registry: Registry, shelf: Shelf) -> list[Training]:
    """The trainings of retrained and shadow models that these cells need and that are not in the cache.

    Args:
        cells: Those that are to run.
        registry: The methods.
        shelf: Knows where models are kept.
    """
    needed: list[Training] = []
    asked: set[str] = set()
    for cell in cells:
        without: Cell | None = None
        if registry.declaration(cell.method).card.regime == PRETRAINING:
            without = cell
        elif needs_retrained(cell) and not shelf.retrained.why_not(cell.model):
            without = retrain_of(cell, registry)
        if (
            without is not None
            and (key := f"{without.model} {without.dataset} {without.request} {without.seed}") not in asked
        ):
            asked.add(key)
            needed.append(shelf.retrained.training(without))
        if needs_shadows(cell) and (key := f"{cell.model} {cell.dataset}") not in asked:
            asked.add(key)
            if not shelf.shadows.why_not(cell):
                needed += shelf.shadows.trainings(cell)
    found = {training.path: training for training in needed if not training.path.is_file()}
    return list(found.values())


def train_missing(cells: Sequence[Cell], registry: Registry, shelf: Shelf, console: Console) -> None:
    """Train them side by side, where that is faster: on a CPU with several cores, if there are several.

    Elsewhere, and after a failure, each is trained by the first cell that needs it.

    Args:
        cells: Those that are to run.
        registry: The methods.
        shelf: Folders and device.
        console: Where to show how far it is.
    """
    if resolve_device(shelf.where.device).type != "cpu":
        return
    trainings = missing_trainings(cells, registry, shelf)
    share = shares(len(trainings))
    if len(trainings) < 2 or share.workers < 2:
        return
    display = _Display(console, len(trainings), share)
    with display.bars:
        failed = train_side_by_side(trainings, share, display.show)
    spent = clock(time.monotonic() - display.began)
    console.print(
        f"{len(trainings) - len(failed)} models trained and kept in {shelf.where.cache_dir}, {spent}", markup=False
    )
    for training, why in failed:
        console.print(f"not trained: {training.title}: {why}; its cells will try again", markup=False)


class _Display:
    """A bar over all trainings; plain lines where the output is a file."""

    def __init__(self, console: Console, count: int, share: Shares) -> None:
        self.console, self.count = console, count
        self.began = self.last = time.monotonic()
        what = f"training {count} models to compare with, {share.workers} at once"
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bars = RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bars.add_task(what, total=1.0, note="")
        console.print(f"{what}; they are kept for later runs", markup=False, highlight=False)

    def show(self, done: int, part: float) -> None:
        """How many are done, and which part of all steps is."""
        now = time.monotonic()
        left = clock((now - self.began) * (1 - part) / part) if part else "unknown"
        note = f"{done} of {self.count} done, {left} left"
        self.bars.update(self.task, completed=part, note=note)
        if not self.console.is_terminal and now - self.last >= PLAIN_EVERY_SECONDS:
            self.last = now
            self.console.print(f"{note} ({100 * part:.0f} % of all steps)", markup=False, highlight=False)
