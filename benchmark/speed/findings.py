"""What a measurement of speed finds: values of two sides, one number, and the bound that it should keep."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch


class LeftOutError(Exception):
    """A measurement cannot be made here; the message says why and what would help."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: What was timed.
        value: How fast it was, or how much it took.
        unit: Of the value.
    """

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class SpeedFinding:
    """One number with what it is made from.

    Attributes:
        what: On which model and data.
        sides: What was measured, in the order to be shown.
        value: The number that the bound is on.
        unit: Of that number: "times", "%", "s" or "MB".
        least: Its lower bound; None where there is none.
        most: Its upper bound; likewise.
        note: What else a reader should know, such as how far results agree.
    """

    what: str
    sides: tuple[Side, ...]
    value: float
    unit: str = "times"
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the number keeps its bounds; None where it has none."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "met": self.met}


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """What a piece of work takes, a GPU's work included."""
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def alternate(
    first: Callable[[], object], second: Callable[[], object], device: torch.device, *, repeats: int
) -> tuple[float, float]:
    """The median seconds of two pieces of work that take turns, so that other load on the machine meets both.

    Args:
        first: One piece of work; each is done once more beforehand, to warm up.
        second: The other.
        device: Where they work.
        repeats: Turns.
    """
    first()
    second()
    pairs = [(seconds(first, device), seconds(second, device)) for _ in range(repeats)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
