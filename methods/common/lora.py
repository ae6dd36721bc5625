"""LoRA on the queries, keys and values of an image encoder (Hu et al., ICLR 2022; on CLIP: CLIP-LoRA, 2405.18541).

    W <- W + (alpha / sqrt(r)) B A,   A (r x in) uniform, B (out x r) zero, for W each of W_q, W_k, W_v

The scale alpha / sqrt(r) is that of CLIP-LoRA, on which DIET's code builds; its dropout is left out, because the image
encoder runs without any elsewhere.

| encoder | where W_q, W_k, W_v are |
|---|---|
| ViT (open_clip) | thirds of `attn.in_proj_weight` of every block |
| ViT (timm) | thirds of `attn.qkv.weight` of every block |
| ModifiedResNet | `attnpool.q_proj.weight`, `k_proj`, `v_proj`: the attention pool alone |
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from datamodules.common.errors import BenchmarkError
from methods.common.clip import Clip

FUSED = ("attn.in_proj_weight", "attn.qkv.weight")
SINGLE = ("attnpool.q_proj.weight", "attnpool.k_proj.weight", "attnpool.v_proj.weight")


class NoAttentionError(BenchmarkError):
    """The image encoder has no attention layers that are known here."""


class VisualLoRA:
    """Low-rank factors beside the weights of a CLIP's image encoder; the CLIP changes only when they are merged.

    Args:
        clip: The CLIP.
        rank: r.
        alpha: Of the scale.

    Raises:
        NoAttentionError: If there is nothing to adapt.
    """

    def __init__(self, clip: Clip, *, rank: int, alpha: float) -> None:
        self._clip = clip
        self._scale = alpha / math.sqrt(rank)
        self._weights = {n: p for n, p in clip.visual.named_parameters() if n.endswith(FUSED + SINGLE)}
        if not self._weights:
            raise NoAttentionError(
                f"model {clip.name!r} has no attention in its image encoder: choose a method that edits other layers"
            )
        self._factors = {
            name: [_pair(weight, rank) for _ in range(3 if name.endswith(FUSED) else 1)]
            for name, weight in self._weights.items()
        }

    def factors(self) -> list[nn.Parameter]:
        """All A and B."""
        return [factor for pairs in self._factors.values() for pair in pairs for factor in pair]

    def adapted(self) -> dict[str, Tensor]:
        """W + scale B A by its name in the image encoder; differentiable in the factors."""
        return {
            name: weight.detach() + self._scale * torch.cat([up @ down for down, up in self._factors[name]])
            for name, weight in self._weights.items()
        }

    def encode_image(self, images: Tensor) -> Tensor:
        """Raw image embeddings with the adapted weights, shape (B, D)."""
        return cast(Tensor, functional_call(self._clip.visual, self.adapted(), (images,)))

    @torch.no_grad()
    def merge(self) -> None:
        """Store the adapted weights."""
        for name, value in self.adapted().items():
            self._weights[name].copy_(value)


def _pair(weight: Tensor, rank: int) -> tuple[nn.Parameter, nn.Parameter]:
    """A and B for a weight of shape (out, in), or (3 in, in) where three are fused: the outputs are as wide as the
    inputs. Drawn on the CPU, so that every device gets the same."""
    width = weight.shape[1]
    down = (2 * torch.rand(rank, width) - 1) / math.sqrt(width)
    return nn.Parameter(down.to(weight)), nn.Parameter(weight.new_zeros(width, rank))
