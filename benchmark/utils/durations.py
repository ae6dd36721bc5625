"""How fast a long job goes, and when the next plain line about it is due."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    total = round(seconds)
    hours, rest = divmod(total, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


@dataclass
class Pace:
    """What is seen of one job: a training that goes on from a checkpoint does not begin at zero.

    Attributes:
        line_seconds: Seconds between two plain lines.
        now: Tells the time in seconds.
    """

    line_seconds: float
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._line = self.now()

    def seconds_left(self, part: float) -> float | None:
        """From the time since the first call and what was done in it; None as long as nothing was.

        Args:
            part: How much is done, in [0, 1].
        """
        now = self.now()
        if self._first is None:
            self._first = (now, part)
        began, before = self._first
        return (now - began) * (1 - part) / (part - before) if part > before else None

    def due(self) -> bool:
        """Whether a plain line is due; if so, the next one is due `line_seconds` later."""
        now = self.now()
        if now - self._line < self.line_seconds:
            return False
        self._line = now
        return True
