"""What a piece of work took that was done before or elsewhere: it is added to the cost of whoever uses its result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """What was spent.

    Attributes:
        seconds: By the clock.
        cpu_seconds: Of all threads together; None where it is not known.
        flops: Operations of the towers; 0 where they were not counted.
        peak_memory_bytes: Largest memory on top of what was held before; 0 where it was not measured.
    """

    seconds: float = 0.0
    cpu_seconds: float | None = None
    flops: int = 0
    peak_memory_bytes: int = 0
