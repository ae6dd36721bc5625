"""The read guard: while a method unlearns, every read of an image is checked against its data regime.

What a method is not given it cannot read: not through its DataModule, which does not hold it, and not by opening
the data set itself, since `ImageArray.read` asks the guard. The guard also counts what was read, for the cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datamodules.common.errors import RegimeViolationError

Indices = NDArray[np.int64]


@dataclass(eq=False)
class ReadGuard:
    """The reads that are allowed while it is active.

    Attributes:
        regime: The data regime, for the message.
        allowed: For each image array by name, which of its images may be read, as a boolean mask.
        items_read: How many images were read so far, repeats counted.
        distinct: For each array, a mask of the images that were read at least once.
    """

    regime: str
    allowed: Mapping[str, NDArray[np.bool_]]
    items_read: int = 0
    distinct: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def check(self, name: str, indices: Indices) -> None:
        """Count a read, or refuse it.

        Raises:
            RegimeViolationError: If any of the images is outside what the regime gives.
        """
        mask = self.allowed.get(name)
        if mask is None or not bool(mask[indices].all()):
            raise RegimeViolationError(
                f"a method of data regime {self.regime!r} tried to read images of {name} that it does not give; "
                "declare the regime that it needs in its card"
            )
        self.items_read += len(indices)
        seen = self.distinct.setdefault(name, np.zeros(len(mask), dtype=bool))
        seen[indices] = True

    @property
    def items_distinct(self) -> int:
        """How many different images were read."""
        return sum(int(mask.sum()) for mask in self.distinct.values())


_active: list[ReadGuard] = []


@contextmanager
def guarded(guard: ReadGuard) -> Iterator[ReadGuard]:
    """Check every image read in this process against `guard` until the block ends."""
    _active.append(guard)
    try:
        yield guard
    finally:
        _active.remove(guard)


def check_read(name: str, indices: Indices) -> None:
    """Ask the active guards, if any, whether these images may be read."""
    for guard in _active:
        guard.check(name, indices)
