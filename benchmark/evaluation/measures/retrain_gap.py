"""retrain_gap: how far an unlearned model is from one that was trained without the forget set.

    gap = 1/K sum over k of |m_k(unlearned) - m_k(retrained)|

over the K metrics of `GAP_METRICS` that both models have. In [0, 1], lower is better, 0 for a model that measures like
the retrained one. It punishes too much forgetting as well as too little: a retrained model still recognises some images
of a class that it never saw, by their likeness to others, and one that recognises none at all can be told apart.
Source: the "average gap" of Fan et al. (SalUn, ICLR 2024, arXiv 2310.12508), there over four accuracies; the list of
metrics is our choice. Gaps over different lists cannot be compared, so the result names its metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.evaluation.families import NotMeasurableError
from benchmark.records.record import Metric

if TYPE_CHECKING:
    from benchmark.evaluation.context import Context
    from benchmark.evaluation.evaluate import Metrics

GAP_METRICS = (
    "forget/acc1",
    "retain/acc1",
    "forget/mean_recall",
    "retain/mean_recall",
    "other/acc1",
    "forget/probe_acc1",
    "forget/knn_acc1",
    "forget/image_map",
    "forget/worst_prompt_acc1",
    "forget/soft_prompt_acc1",
    "forget/relearn_acc1@16",
)
"""Fractions only, and none that repeats another: mean_per_class_recall is acc1 again, the single recalls are in their
mean, S and H are made of these."""


@dataclass(frozen=True)
class RetrainGap:
    """The mean gap and what it is made of.

    Attributes:
        gap: Mean absolute difference, in [0, 1]; lower is better.
        gaps: By metric, |unlearned - retrained|, in the order of the list.
    """

    gap: float
    gaps: dict[str, float]


def retrain_gap(
    unlearned: Mapping[str, Metric], retrained: Mapping[str, Metric] | None, *, names: Sequence[str] = GAP_METRICS
) -> RetrainGap:
    """The mean absolute gap over the named metrics that both models have a value of.

    Args:
        unlearned: Metrics of the unlearned model, by full name.
        retrained: Metrics of the model trained without the forget set; None where there is none.
        names: Which metrics count; all must be fractions.

    Raises:
        NotMeasurableError: If there is no retrained model, or no metric that both have.
        ValueError: If a value is not a fraction: seconds and bytes have no place in this mean.
    """
    if retrained is None:
        raise NotMeasurableError("no model was trained without the forget set: the gap to it is not known")
    gaps: dict[str, float] = {}
    for name in dict.fromkeys(names):
        unlearned_value, retrained_value = _fraction(unlearned, name), _fraction(retrained, name)
        if unlearned_value is not None and retrained_value is not None:
            gaps[name] = abs(unlearned_value - retrained_value)
    if not gaps:
        raise NotMeasurableError("the unlearned and the retrained model have no metric in common")
    return RetrainGap(sum(gaps.values()) / len(gaps), gaps)


def _fraction(metrics: Mapping[str, Metric], name: str) -> float | None:
    metric = metrics.get(name)
    if metric is None or metric.value is None:
        return None
    if not 0.0 <= metric.value <= 1.0:
        raise ValueError(f"{name} = {metric.value} is not a fraction")
    return metric.value


def measure(context: Context) -> Metrics:
    """`score/retrain_gap`; 0 for the retrained model itself. The record tells the gap of each measure."""
    context.require_retrained()
    result = retrain_gap(context.metrics, context.metrics if context.is_reference else context.reference)
    context.report["gaps"] = {name: round(value, 4) for name, value in result.gaps.items()}
    return {"score/retrain_gap": Metric(result.gap, len(result.gaps), None)}
