"""pruned: what the model still tells after its smallest weights are set to zero.

    w' = w where |w| is among the largest (1 - p) n of the n weights of its tensor, 0 elsewhere

for each weight matrix of both towers. An edit that is spread thinly over many weights is removed with them, at no cost:
no image, no label and no gradient is needed. A filter at the output is no part of the weights and is left out.

The share p is chosen for each model on validation images: the largest of `SHARES` at which the original loses less
than a point of accuracy (`benchmark.evaluation.attack_level`); the record tells it. Source: magnitude pruning (Han et
al., NeurIPS 2015, arXiv 1506.02626); weights pruned in the place of relearning are our choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.evaluation.attack_level import attacked, level_of_edit, mean_metrics
from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.numerics.weights import weight_matrices
from methods.common.clip import Clip

SHARES = (0.7, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02)
"""Of the weights of each tensor; tried from the largest."""


def without_smallest(weight: Tensor, share: float) -> Tensor:
    """A weight tensor whose smallest entries by magnitude are zero; of equal ones the later are.

    Args:
        weight: Any shape.
        share: Of its entries, in [0, 1]; the number is rounded down.
    """
    count = int(share * weight.numel())
    order = weight.abs().flatten().sort(descending=True, stable=True).indices
    pruned = weight.flatten().clone()
    pruned[order[weight.numel() - count :]] = 0
    return pruned.view_as(weight)


@torch.no_grad()
def pruned(clip: Clip, share: float) -> Clip:
    """A copy of a model without its smallest weights."""
    copy = clip.copy()
    for matrix in weight_matrices(copy.model):
        matrix.value.copy_(without_smallest(matrix.value, share))
    return copy


def measure(context: Context) -> Metrics:
    """`forget/pruned_acc1` and `retain/pruned_acc1`."""
    level = level_of_edit(context, "pruned", SHARES, lambda clip, share: [pruned(clip, share)])
    context.report["pruned"] = level.told("share_of_weights")
    clip = pruned(context.clip, level.value)
    return mean_metrics("pruned_acc1", [attacked(context, clip, context.classifier(clip))])
