"""What a long run shows: bars over cells and within a cell, time left; plain lines where the output is a file."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from benchmark.records.cell import Cell
from benchmark.records.record import Record
from benchmark.utils.durations import Pace, clock

PLAIN_EVERY_SECONDS = 30.0
STEPS_EVERY_SECONDS = 120.0
"""Between two plain lines about one cell: most cells are done before the first."""
NARROW, WIDE = 100, 120
"""Columns of a terminal below which there is no bar, and from which on it is long; our choice."""


class CellProgress(Protocol):
    """Told how far the running cell is."""

    def phase(self, name: str) -> None:
        """A phase of the cell begins."""

    def step(self, done: int, total: int) -> None:
        """A step of the phase is done."""


class Silent:
    """Shows nothing."""

    def phase(self, name: str) -> None:
        """Nothing is shown."""

    def step(self, done: int, total: int) -> None:
        """Nothing, likewise."""


@dataclass
class RunningCell:
    """How far a cell is that runs beside others; told by the thread that listens to it, shown by another."""

    cell: Cell
    done: int = 0
    total: int | None = None
    falls: str = ""
    _first: tuple[float, float] | None = None

    def step(self, done: int, total: int) -> None:
        """A step of its unlearning is done."""
        self.done, self.total = done, total

    def accuracy(self, forget: float, retain: float) -> None:
        """What its model knows of a few dozen training images to forget and to keep, in [0, 1]."""
        first = self._first = self._first or (forget, retain)
        pairs = zip(("forget", "retain"), first, (forget, retain), strict=True)
        self.falls = ", ".join(f"{part} {100 * was:.0f} → {100 * now:.0f} %" for part, was, now in pairs)


@dataclass
class Progress:
    """Shows the progress of a run on standard error.

    Attributes:
        expected: Seconds that each method is expected to take, by method; from earlier records.
        console: Where it is shown.
        now: Tells the time in seconds.
    """

    expected: Mapping[str, float] = field(default_factory=dict)
    console: Console = field(default_factory=lambda: Console(file=sys.stderr))
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._bars: RichProgress | None = None
        self._todo: list[Cell] = []
        self._took: dict[str, list[float]] = {}
        self._done = 0
        self._to_go: Counter[str] = Counter()
        self._at_once = 1
        self._skipped = 0
        self._began = self._cell_began = self.now()
        self._all: TaskID | None = None
        self._one: TaskID | None = None
        self._last_line = self.now()
        self._cell: Cell | None = None
        self._phase, self._left_of_phase = "", ""
        self._pace = Pace(STEPS_EVERY_SECONDS, self.now)
        self._running: RunningCell | None = None
        self._beside: dict[str, TaskID] = {}
        self._pace_beside = Pace(STEPS_EVERY_SECONDS, self.now)

    def start(self, todo: Sequence[Cell], *, skipped: int, at_once: int = 1) -> None:
        """Begin a run of these cells.

        Args:
            todo: In the order in which they begin.
            skipped: How many were done before.
            at_once: How many run side by side.
        """
        self._todo, self._skipped, self._began = list(todo), skipped, self.now()
        self._to_go, self._at_once = Counter(cell.method for cell in todo), at_once
        if not todo:
            return
        if skipped:
            self.console.print(f"{skipped} cells are done already; {len(todo)} to run")
        if self.console.is_terminal:
            self._bars = RichProgress(*_columns(self.console.width), console=self.console, transient=True)
            self._bars.start()
            side_by_side = f", {self._at_once} at once" if self._at_once > 1 else ""
            self._all = self._bars.add_task(f"cells{side_by_side}", total=len(todo), note="")
            if self._at_once == 1:
                self._one = self._bars.add_task("", total=None, note="")

    def cell(self, cell: Cell) -> None:
        """A cell begins."""
        self._cell_began, self._cell = self.now(), cell
        self._running = RunningCell(cell)
        if self._bars is not None and self._one is not None:
            self._bars.reset(self._one, total=None, description=escape(f"{cell.method}: {cell.request}"))
        self.phase("")

    def phase(self, name: str) -> None:
        """A phase of the running cell begins."""
        self._phase, self._left_of_phase = name, ""
        self._pace = Pace(STEPS_EVERY_SECONDS, self.now)
        self._show()

    def step(self, done: int, total: int) -> None:
        """A step of the running phase is done."""
        left = self._pace.seconds_left(done / total)
        self._left_of_phase = f"{clock(left)} left" if left is not None and left >= PLAIN_EVERY_SECONDS else ""
        if self._bars is not None and self._one is not None:
            self._bars.update(self._one, completed=done, total=total)
            self._show()
        elif self._bars is None and self._pace.due():
            self._line(f"{self._cell}: {_listed(f'{self._phase}, step {done} of {total}', self._left_of_phase)}")

    def accuracy(self, forget: float, retain: float) -> None:
        """What the running cell's model knows of a few dozen training images to forget and to keep, in [0, 1]."""
        if self._running is not None:
            self._running.accuracy(forget, retain)
        self._show()

    def beside(self, running: Sequence[RunningCell]) -> None:
        """Show how far the cells are that run side by side.

        Args:
            running: All of them that unlearn now.
        """
        if self._bars is None:
            if self._pace_beside.due() and running:
                steps = [f"{shown.cell} (step {shown.done} of {shown.total or '?'})" for shown in running]
                self._line(f"unlearning: {'; '.join(steps)}")
            return
        for key in self._beside.keys() - {shown.cell.key for shown in running}:
            self._bars.remove_task(self._beside.pop(key))
        for shown in running:
            if shown.cell.key not in self._beside:
                title = escape(f"{shown.cell.method}: {shown.cell.request}")
                self._beside[shown.cell.key] = self._bars.add_task(title, total=None, note="unlearning")
            note = _listed("unlearning", shown.falls)
            self._bars.update(self._beside[shown.cell.key], completed=shown.done, total=shown.total, note=note)
        self._show()

    def done(self, cell: Cell, record: Record, *, seconds: float | None = None) -> None:
        """A cell is finished.

        Args:
            cell: In any order.
            record: What it found.
            seconds: What it took; by default the time since the last cell began.
        """
        spent = self.now() - self._cell_began if seconds is None else seconds
        self._took.setdefault(cell.method, []).append(spent)
        self._advance(cell, f"{cell}: {_headline(record)}")

    def note(self, text: str) -> None:
        """Something that the user must know before the run."""
        self._line(text)

    def failed(self, cell: Cell, message: str) -> None:
        """A cell raised."""
        self.console.print(
            f"failed: {cell}: {message.splitlines()[0]}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        self._advance(cell, "")

    def stop(self) -> None:
        """The run is over."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def seconds_left(self) -> float | None:
        """An estimate for the cells that are left: by method, what it took in this run or before."""
        known = [sum(times) / len(times) for times in self._took.values()] or list(self.expected.values())
        if not known:
            return None
        default = sum(known) / len(known)
        running = "" if self._cell is None else self._cell.method
        total = 0.0
        for method, count in self._to_go.items():
            times = self._took.get(method)
            takes = sum(times) / len(times) if times else self.expected.get(method, default)
            spent = self.now() - self._cell_began if method == running else 0.0
            total += count * takes - min(spent, takes)
        return total / self._at_once

    def _left(self) -> str:
        left = self.seconds_left()
        return f"{clock(left)} left" if left is not None else ""

    def _show(self) -> None:
        """The notes beside the bars: phase and accuracies of the running cell, and the time left."""
        if self._bars is not None and self._all is not None:
            if self._one is not None:
                falls = self._running.falls if self._running is not None else ""
                self._bars.update(self._one, note=_listed(self._phase, self._left_of_phase, falls))
            to_go = f"{len(self._todo) - self._done} to go"
            self._bars.update(self._all, note=_listed(to_go, self._left()))

    def _advance(self, cell: Cell, line: str) -> None:
        self._done += 1
        self._to_go[cell.method] -= 1
        self._cell = None
        note = self._left()
        if self._bars is not None and self._all is not None:
            self._bars.update(self._all, completed=self._done)
            self._show()
            return
        now = self.now()
        last = self._done == len(self._todo)
        if line and (last or now - self._last_line >= PLAIN_EVERY_SECONDS or self._done == 1):
            self._last_line = now
            spent = clock(now - self._began)
            self._line(f"[{self._done}/{len(self._todo)}] {line} ({spent} spent, {note or 'time left unknown'})")

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _columns(width: int) -> list[ProgressColumn]:
    """What stands in a line: numbers and notes whole, the cell's name and the bar as the terminal has room for them."""
    name = Column(max_width=width // 4, no_wrap=True, overflow="ellipsis")
    bar = [BarColumn(bar_width=24 if width >= WIDE else 8), TimeElapsedColumn()] if width >= NARROW else []
    notes = TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True))
    return [TextColumn("{task.description}", markup=False, table_column=name), *bar, MofNCompleteColumn(), notes]


def _headline(record: Record) -> str:
    parts = []
    for name in ("forget/acc1", "retain/acc1", "forget/mean_recall", "retain/mean_recall"):
        metric = record.metrics.get(name)
        if metric is not None and metric.value is not None:
            parts.append(f"{name} {100 * metric.value:.1f} %")
    return ", ".join(parts[:2])
