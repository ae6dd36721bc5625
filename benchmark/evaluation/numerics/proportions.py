"""A proportion on the forgotten and on the retained items, as two metrics."""

from __future__ import annotations

from typing import Protocol

from benchmark.records.record import Metric
from benchmark.utils.statistics import wilson


class BothParts(Protocol):
    """What a probe recognises of the forgotten and of the retained test images."""

    @property
    def forget_accuracy(self) -> float:
        """In [0, 1]."""

    @property
    def retain_accuracy(self) -> float:
        """In [0, 1]."""

    @property
    def forget_n(self) -> int:
        """Over how many images."""

    @property
    def retain_n(self) -> int:
        """Over how many images."""


def both_parts(name: str, found: BothParts) -> dict[str, Metric]:
    """`forget/NAME` and `retain/NAME` with their Wilson intervals."""
    parts = (
        ("forget", found.forget_accuracy, found.forget_n),
        ("retain", found.retain_accuracy, found.retain_n),
    )
    return {f"{part}/{name}": Metric(share, n, wilson(share * n, n)) for part, share, n in parts}
