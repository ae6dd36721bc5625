"""The state of a training that does best on held-out training pairs.

    score = retained accuracy - forget accuracy        (`HeldOut`: zero-shot for a class, recall at 1 for a concept)

Our choice of what "best" is, because the papers that keep the best checkpoint do not say: it is what a user of the
result wants, and needs nothing but the train split. Of equal states the earliest stays: it is nearest to the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datamodules.common.module import Pairs
from methods.common.base import Snapshot, UnlearningMethod
from methods.common.held_out import HeldOut


class BestState:
    """Looks at a method's CLIP now and then, and gives back the best that it saw.

    Args:
        method: The method; its CLIP must still be the original.
        forget: Held-out batches of the forget part, at least one.
        retain: Held-out batches of the retain part, at least one.
    """

    def __init__(self, method: UnlearningMethod[Any], forget: Sequence[Pairs], retain: Sequence[Pairs]) -> None:
        self._method = method
        self._held_out = HeldOut(method.clip, method.spec, forget, retain)
        self._best: tuple[float, int, Snapshot] | None = None
        self.seen: list[dict[str, float]] = []

    def look(self, step: int) -> None:
        """Measure the CLIP as it is after `step` training steps, and keep it if nothing before was as good."""
        forget, retain = self._held_out.accuracy()
        self.seen.append({"step": step, "forget_accuracy": forget, "retain_accuracy": retain})
        score = retain - forget
        if self._best is None or score > self._best[0] + 1e-9:  # the difference of two means: equal to rounding
            self._best = score, step, self._method.snapshot()

    def restore(self) -> int:
        """Put the best state into the CLIP.

        Returns:
            The training step after which it stood.

        Raises:
            ValueError: If no state was looked at.
        """
        if self._best is None:
            raise ValueError("no state was looked at")
        _, step, snapshot = self._best
        self._method.restore(snapshot)
        return step
