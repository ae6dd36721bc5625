"""How often the accuracy is looked at while a method unlearns: within a share of its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHARE = 0.05
"""Largest share of the unlearning's time that looking may take, beyond `FREE`."""
LOOKS = 8
"""Looks, evenly spread over the steps, that are taken out of `FREE`: enough for a curve of a short unlearning."""
FREE = 0.25
"""Seconds of looking at `LOOKS` steps that are allowed in any case; our choice: a small part of any cell's time."""


class LookBudget:
    """The time that looks at one unlearning may take.

    Args:
        seconds: What a look takes, as far as is known.
        share: Largest share of the unlearning's time.
        now: Tells the time in seconds.
    """

    def __init__(self, seconds: float, share: float = SHARE, now: Callable[[], float] = time.perf_counter) -> None:
        self._share, self._now = share, now
        self.dearest, self._spent, self._began = seconds, 0.0, self._now()

    def due(self, step: int, steps: int) -> bool:
        """Whether to look after a step: where it keeps within its share of the time, or is one of the few free ones.

        Args:
            step: How many are done.
            steps: How many there will be.
        """
        after = self._spent + self.dearest
        free = step * LOOKS // steps > (step - 1) * LOOKS // steps and after <= FREE
        return free or after <= self._share * (self._now() - self._began)

    @contextmanager
    def spent(self) -> Iterator[None]:
        """A look: its time is taken out of the budget."""
        start = self._now()
        try:
            yield
        finally:
            took = self._now() - start
            self._spent, self.dearest = self._spent + took, max(self.dearest, took)
