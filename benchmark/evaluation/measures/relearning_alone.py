"""Relearning without an image of the forgotten class: the part of `relearning` that E is made of."""

from __future__ import annotations

from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.measures.relearning import relearned


def measure(context: Context) -> Metrics:
    """`forget/relearn_acc1@0`, as `relearning` gives it."""
    return relearned(context, (0,))
