"""What a measure raises where its number does not exist; the record then holds null and the reason."""

from __future__ import annotations

from datamodules.common.errors import BenchmarkError


class NotMeasurableError(BenchmarkError):
    """A measure that cannot be computed here, such as a probe of a class without train images.

    Args:
        reason: One line for the reader of the record: what is missing.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
