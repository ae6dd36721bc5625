"""The two operations between which a batch is split over ranks, with gradients that are whole on every rank.

Every rank runs the same method on the same global batch with the same random numbers. In between, the towers encode
a part of the batch each:

    parameters, inputs -> `shared` -> the tower, on this rank's part -> `gathered` -> the same features on every rank

Let L be the loss, f_i the features of item i, R_r the part of rank r. All ranks compute the same L from the same
features, so each knows dL/df_i for every i.

* The backward of `gathered` takes dL/df_i of the rank's own part: sum_{i in R_r} dL/df_i df_i/dtheta reaches `shared`.
  (The backward of a plain differentiable all_gather *sums* dL/df_i over the N ranks, which are N equal terms: N times
  that; it would be right only under a later mean over ranks.)
* The backward of `shared` sums over ranks: sum_i dL/df_i df_i/dtheta, the gradient of one process, on every rank.

What a method computes beside the towers, or through their modules directly, every rank computes whole, and its
gradient adds to that as it does in one process: there is nothing to average afterwards, whatever asks for the
gradient (`backward`, `torch.autograd.grad`) and of whatever (parameters, images, LoRA factors).

Both are collective: every rank must meet them in the same order. Gradients of gradients through them are refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def part_sizes(items: int, ranks: int) -> tuple[int, ...]:
    """How many items of a batch each rank takes: as even as can be, the first ranks one more."""
    share, more = divmod(items, ranks)
    return tuple(share + (rank < more) for rank in range(ranks))


def shared(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The same tensors, whose gradients are summed over ranks: for what every rank holds and uses in part."""
    return cast(tuple[Tensor, ...], _Shared.apply(*tensors))


def gathered(part: Tensor, sizes: tuple[int, ...], rank: int) -> Tensor:
    """The parts of all ranks one after another, on every rank.

    Args:
        part: This rank's, shape (sizes[rank], ...); differentiable.
        sizes: Items of each rank's part; shorter ones are padded on the way.
        rank: This rank.

    Returns:
        Shape (sum(sizes), ...).
    """
    return cast(Tensor, _Gathered.apply(part, sizes, rank))


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        groups: dict[torch.dtype, list[int]] = defaultdict(list)
        for place, gradient in enumerate(gradients):
            if gradient is not None:
                groups[gradient.dtype].append(place)
        summed = list(gradients)
        for places in groups.values():
            same_type = [cast(Tensor, gradients[place]) for place in places]
            together = torch.cat([gradient.reshape(-1) for gradient in same_type])  # one message instead of hundreds
            dist.all_reduce(together)
            values = torch.split(together, [gradient.numel() for gradient in same_type])
            for place, gradient, value in zip(places, same_type, values, strict=True):
                summed[place] = value.view(gradient.shape)
        return tuple(summed)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, sizes: tuple[int, ...], rank: int) -> Tensor:
        ctx.start, ctx.size = sum(sizes[:rank]), sizes[rank]
        padded = part.new_zeros(max(sizes), *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([padded_part[:size] for padded_part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.start : ctx.start + ctx.size], None, None
