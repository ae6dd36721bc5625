"""Comparing a record with the same cell run again: what `verify`, `export` and kept weights agree on."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.records import Record

TOLERANCE = 0.005
"""Largest difference of a metric (a fraction) that counts as equal, our choice: other processors round otherwise, and
one of two hundred test images may change sides."""


@dataclass(frozen=True)
class Gap:
    """One metric of a record, and what it is now.

    Attributes:
        metric: Its name.
        recorded: The record's value; None where it could not be measured.
        now: The value of the second run.
    """

    metric: str
    recorded: float | None
    now: float | None

    @property
    def size(self) -> float:
        """The absolute difference; infinite where only one of the two could be measured."""
        if self.recorded is None or self.now is None:
            return 0.0 if self.recorded == self.now else float("inf")
        return abs(self.recorded - self.now)


def gaps(recorded: Record, again: Record) -> list[Gap]:
    """Every metric of a record beside that of a second run of its cell."""
    found = again.metrics
    return [
        Gap(name, metric.value, found[name].value if name in found else None)
        for name, metric in recorded.metrics.items()
    ]


def largest(found: list[Gap]) -> Gap:
    """The gap of the metric that differs most."""
    return max(found, key=lambda gap: gap.size, default=Gap("", 0.0, 0.0))
