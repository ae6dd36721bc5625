"""quantised: what the model still tells after its weights are rounded to 8 and to 4 bits.

An edit that is small beside the step of the rounding is undone by it: what a method added to the weights is gone, and
what it was to hide stands there again. Nobody attacks here; smaller weights are how models are shipped.

    w' = s_c round(w / s_c),   s_c = max |w_c| / (2^(b - 1) - 1)

for each output channel c of each weight matrix of both towers, b = 8 and 4 bits: symmetric, one scale a channel, to
the nearest step, without calibration data. Biases, norms, the temperature and all activations stay as they are. The
model is then used as any other: its zero-shot classifier is made with the rounded text encoder. A filter at the output
is no part of the weights and is left out.

Rounding to 4 bits costs a small model accuracy of its own: read the retained accuracy beside it, and the original's
row. Source of the scheme: the uniform symmetric quantizer of Krishnamoorthi, arXiv 1806.08342, one scale a channel; of
the question: Zhang et al., ICLR 2025, arXiv 2410.16454, who find most of the knowledge that language models had
unlearned again at 4 bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.families import BITS
from benchmark.evaluation.numerics.weights import weight_matrices
from benchmark.records.record import Metric
from benchmark.utils.statistics import wilson
from methods.common.clip import Clip


def rounded(weight: Tensor, bits: int, axis: int) -> Tensor:
    """A weight tensor on the grid of each of its output channels; same shape and type.

    Args:
        weight: Two dimensions or more.
        bits: Of each weight, 2 or more: integers from -(2^(bits - 1) - 1) to 2^(bits - 1) - 1.
        axis: The dimension of the output channels.
    """
    largest = 2 ** (bits - 1) - 1
    others = [dimension for dimension in range(weight.ndim) if dimension != axis]
    step = weight.float().abs().amax(dim=others, keepdim=True) / largest
    whole: Tensor = torch.where(step > 0, weight.float() / step, 0.0).round()
    return whole.mul(step).to(weight.dtype)


@torch.no_grad()
def quantised(clip: Clip, bits: int) -> Clip:
    """A copy of a model with rounded weights."""
    copy = clip.copy()
    for matrix in weight_matrices(copy.model):
        matrix.value.copy_(rounded(matrix.value, bits, matrix.output_axis))
    return copy


def measure(context: Context) -> Metrics:
    """`forget/quantised_acc1@b` and `retain/quantised_acc1@b` for b = 8 and 4, over all test images."""
    context.require_classes()
    metrics: Metrics = {}
    for bits in BITS:
        clip = quantised(context.clip, bits)
        right = (context.images(clip) @ context.classifier(clip).T).argmax(dim=1) == context.labels()
        for part, mask in (("forget", context.forget), ("retain", ~context.forget)):
            hits, n = int(right[mask].sum()), int(mask.sum())
            metrics[f"{part}/quantised_acc1@{bits}"] = Metric(hits / n, n, wilson(hits, n))
    return metrics
