"""The clocks of the process that unlearns, from outside: what it says that it took is checked against them."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence

import psutil

from benchmark.unlearning.cost import Cost, machine_load
from datamodules.common.spent import Spent
from methods.common.card import ContractError

CLOCK_SECONDS, CLOCK_SHARE = 2.0, 0.2
"""How far the clocks of a process that unlearned may be from ours, our choice: on a busy machine messages come late."""


class OutsideClocks:
    """What an unlearning takes by this process's clock and by what the system counts of the other's processors.

    Attributes:
        load: The machine's, when the unlearning was last heard of.
    """

    def __init__(self) -> None:
        self.load = machine_load()
        self._seconds, self._cpu = dict[str, float](), dict[str, float]()
        self._process: psutil.Process | None = None
        self._answering = 0.0
        self._added: list[Spent] = []

    def started(self, processes: Sequence[int]) -> None:
        """The processes have these numbers; those of several are not looked at."""
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(processes[0]) if len(processes) == 1 else None

    def note(self, moment: str) -> None:
        """The work begins, or ends."""
        self._seconds.setdefault(moment, time.perf_counter())
        with contextlib.suppress(psutil.Error):
            if self._process is not None:
                times = self._process.cpu_times()
                self._cpu.setdefault(moment, times.user + times.system)
        self.load = machine_load()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """While the block runs, the process waits for an answer."""
        start = time.perf_counter()
        try:
            yield
        finally:
            if "end" not in self._seconds:
                self._answering += time.perf_counter() - start

    def add(self, spent: Spent) -> None:
        """What was spent elsewhere, and counts as the work's."""
        self._added.append(spent)

    def check(self, name: str, cost: Cost, *, retrained_seconds: float | None) -> None:
        """Check what a process says that it took.

        Args:
            name: Of the method, for the message.
            cost: What it says.
            retrained_seconds: What the training of the model took that it was given, and may count as its own; None
                for a method that is given none.

        Raises:
            ContractError: If it is far from these clocks.
        """
        begin, end = (self._seconds.get(moment, math.nan) for moment in ("begin", "end"))
        outside = end - begin - self._answering + sum(spent.seconds for spent in self._added)
        _check_near(name, "", cost.seconds, outside, retrained_seconds or 0.0)
        if cost.cpu_seconds is None:
            if retrained_seconds is None:
                raise ContractError(f"the process of method {name!r} does not say how long its processors worked")
        elif {"begin", "end"} <= self._cpu.keys():
            added = sum(spent.cpu_seconds or 0.0 for spent in self._added)
            _check_near(name, " of processors", cost.cpu_seconds, self._cpu["end"] - self._cpu["begin"] + added)


def _check_near(name: str, of: str, told: float, outside: float, given: float = 0.0) -> None:
    if not abs(told - outside) <= CLOCK_SECONDS + CLOCK_SHARE * outside + given:
        raise ContractError(
            f"the process of method {name!r} says that it took {told:.1f} s{of}; by the clock outside it took "
            f"{outside:.1f} s"
        )
