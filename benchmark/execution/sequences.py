"""Requests one after another: each is unlearned from the model that the previous one left.

The model after step k of a sequence is measured twice: on the first request (what has it become?) and on the k-th. Its
steps are made once while the cells of one method follow each other, as a suite orders them; where a run was
interrupted, or a cell runs elsewhere, the earlier steps are made again, to the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from benchmark.records.cell import Cell
from benchmark.unlearning.unlearn import Unlearned
from benchmark.utils.randomness import isolated
from methods.common.clip import Clip

UnlearnFrom = Callable[[Cell, Clip | None], Unlearned]
"""Lets a cell's method unlearn its request from a model; from the cell's as it came where there is none."""


@dataclass
class Sequences:
    """The last model of a sequence that was made, for the cells that follow."""

    _last: tuple[tuple[str, ...], Unlearned] | None = field(default=None)

    def unlearned(self, cell: Cell, unlearn_from: UnlearnFrom) -> Unlearned:
        """The model of a cell of a sequence: all requests up to its step were unlearned, in order.

        The cost is that of the last step; what was edited is counted over all steps. The report tells the place in the
        sequence and the seconds of each step.

        Args:
            cell: Of any request of the sequence.
            unlearn_from: Makes one step.
        """
        steps = cell.steps()
        keys = tuple(replace(step, measures=()).key for step in steps)
        result, made = None, 0
        if self._last is not None and keys[: len(self._last[0])] == self._last[0]:
            result, made = self._last[1], len(self._last[0])
        for step in steps[made:]:
            with isolated(step.random_seed()):
                following = unlearn_from(step, None if result is None else result.clip)
            result = _joined(result, following, step)
        if result is None:
            raise ValueError(f"{cell} has no step")
        self._last = (keys, result)
        return result


def _joined(before: Unlearned | None, after: Unlearned, step: Cell) -> Unlearned:
    """A step as the result of all steps so far."""
    earlier = [] if before is None else before.report["sequence"]["unlearn_seconds"]
    place = {
        "step": step.step,
        "of": len(step.sequence),
        "unlearned": [str(request) for request in step.sequence[: step.step]],
        "unlearn_seconds": [*earlier, round(after.cost.seconds, 3)],
    }
    edited = after.edited if before is None else tuple(sorted({*before.edited, *after.edited}))
    return replace(after, edited=edited, report={**after.report, "sequence": place})
