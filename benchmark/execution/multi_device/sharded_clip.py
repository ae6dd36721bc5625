"""A CLIP whose towers encode a part of each batch on each rank, and give every rank the features of all.

To a method it is any CLIP: it hands over the global batch and gets the global features, so in-batch negatives are all
there, and gradients are those of one process (benchmark/execution/multi_device/collectives.py). Each rank holds all
pictures of a batch, but the activations of its own part alone.

A batch is encoded whole on every rank

* where it has fewer items than there are ranks, and
* where a method has put hooks into a tower: it wants to see what every item does there.

Items must not depend on one another within a tower: so it is in evaluation mode, which the base class of methods keeps.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.func import functional_call

from benchmark.execution.multi_device.collectives import gathered, part_sizes, shared
from methods.common.clip import Clip, is_observed
from methods.common.text_tower import TowerCall


class ShardedClip(Clip):
    """A CLIP in one rank of a process group; its copies are of the same kind.

    Attributes:
        rank: This rank.
        ranks: How many there are.
    """

    rank: int
    ranks: int

    @classmethod
    def of(cls, clip: Clip, *, rank: int, ranks: int) -> ShardedClip:
        """The same CLIP, not copied, as one of several ranks that hold the same weights."""
        sharded = cls(clip.model, clip.tokenize, clip.preprocessing, clip.name, clip.scale, clip.refused, clip._tokens)
        sharded.rank, sharded.ranks = rank, ranks
        return sharded

    def encode_image(self, images: Tensor) -> Tensor:
        """Raw projected image embeddings of the whole batch, shape (B, D), on every rank."""
        return self._encode("encode_image", images)

    def _text_features(self, tokens: Tensor) -> Tensor:
        return self._encode("encode_text", tokens)

    def copy(self) -> ShardedClip:
        """An independent copy of the model, encoding over the same ranks."""
        return ShardedClip.of(super().copy(), rank=self.rank, ranks=self.ranks)

    def _encode(self, tower: str, inputs: Tensor) -> Tensor:
        call = TowerCall(self.model, tower)
        if len(inputs) < self.ranks or is_observed(self.model):
            return cast(Tensor, call(inputs))
        sizes = part_sizes(len(inputs), self.ranks)
        start = sum(sizes[: self.rank])
        rows = slice(start, start + sizes[self.rank])
        if not torch.is_grad_enabled():
            return gathered(cast(Tensor, call(inputs[rows])), sizes, self.rank)
        learning = {name: p for name, p in call.named_parameters() if p.requires_grad}
        weights = shared([*learning.values()]) if learning else ()
        if inputs.requires_grad:
            (inputs,) = shared([inputs])
        features = functional_call(call, dict(zip(learning, weights, strict=True)), (inputs[rows],))
        return gathered(cast(Tensor, features), sizes, self.rank)
