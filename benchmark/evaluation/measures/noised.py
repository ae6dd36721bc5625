"""noised: what the model still tells after a little noise was added to its weights.

    w' = w + s rms(w) n,   n from the standard normal distribution, rms(w) the root mean square of its tensor

for each weight matrix of both towers, so that the noise is s times as long as the tensor. An edit that balances on the
edge of a class falls off it. Like pruning, this needs no image, no label and no gradient. The mean over `DRAWS` draws,
which are the same for all models of a request; the record tells each. A filter at the output is left out.

The size s is chosen for each model on validation images: the largest of `SIZES` at which the original loses less than
a point of accuracy, as a mean over the same number of draws (`benchmark.evaluation.attack_level`); the record tells it.
Our choice, as the cheapest of perturbations.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import torch

from benchmark.evaluation.attack_level import attacked, level_of_edit, mean_metrics
from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.numerics.weights import weight_matrices
from methods.common.clip import Clip

SIZES = (0.5, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)
"""Of the noise, relative to each tensor; tried from the largest."""
DRAWS = 3


@torch.no_grad()
def noised(clip: Clip, size: float, seed: int) -> Clip:
    """A copy of a model with noise on its weights.

    Args:
        clip: The model.
        size: Of the noise, relative to the root mean square of each tensor.
        seed: Of the noise; a tensor of one name and shape gets the same noise in every model.
    """
    copy = clip.copy()
    for matrix in weight_matrices(copy.model):
        random = torch.Generator().manual_seed(zlib.crc32(f"{matrix.name} {seed}".encode()))
        noise = torch.randn(matrix.value.shape, generator=random).to(matrix.value.device)
        matrix.value.add_(size * matrix.value.float().pow(2).mean().sqrt() * noise)
    return copy


def measure(context: Context) -> Metrics:
    """`forget/noised_acc1` and `retain/noised_acc1`."""

    def draws_of(clip: Clip, size: float, first: int = 0) -> Iterator[Clip]:
        return (noised(clip, size, first + draw) for draw in range(DRAWS))

    level = level_of_edit(context, "noised", SIZES, draws_of)
    draws = [
        attacked(context, clip, context.classifier(clip))
        for clip in draws_of(context.clip, level.value, first=context.seed)
    ]
    told = {"forget_by_draw": [round(draw.forget, 4) for draw in draws]}
    context.report["noised"] = level.told("relative_size") | told
    return mean_metrics("noised_acc1", draws)
