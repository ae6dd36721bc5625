"""LoRA on the queries, keys and values of an image encoder (Hu et al., ICLR 2022; on CLIP: CLIP-LoRA, 2405.18541).

    W <- W + (alpha / sqrt(r)) B A,   A (r x in) uniform, B (out x r) zero, for W each of the matrices below

The scale alpha / sqrt(r) is that of CLIP-LoRA, on which DIET's code builds; its dropout is left out, because the image
encoder runs without any elsewhere.

| encoder | W |
|---|---|
| ViT (open_clip) | W_q, W_k, W_v: thirds of `attn.in_proj_weight` of every block |
| ViT (timm) | thirds of `attn.qkv.weight` of every block |
| ModifiedResNet | `attnpool.q_proj.weight`, `k_proj`, `v_proj`: the attention pool alone |
| convolutions without attention | the filters of each convolution as rows (our choice: there is nothing else) |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from datamodules.common.errors import BenchmarkError
from methods.common.added import new_tensors
from methods.common.clip import Clip
from methods.common.layer_inputs import is_plain_convolution

FUSED = ("attn.in_proj_weight", "attn.qkv.weight")
SINGLE = ("attnpool.q_proj.weight", "attnpool.k_proj.weight", "attnpool.v_proj.weight")


class NoAttentionError(BenchmarkError):
    """The image encoder has neither attention layers that are known here nor convolutions."""


class LowRankFactors:
    """Low-rank factors beside weights of a CLIP's image encoder; the CLIP changes only when they are merged.

    Args:
        clip: The CLIP.
        weights: By their names in the image encoder, what is adapted.
        rank: r.
        scale: Of B A.
        parts: By name, into how many equal parts a weight falls along its outputs, each with factors of its own;
            others are one.
    """

    def __init__(
        self,
        clip: Clip,
        weights: Mapping[str, nn.Parameter],
        *,
        rank: int,
        scale: float,
        parts: Mapping[str, int] | None = None,
    ) -> None:
        self._clip, self._weights, self._scale = clip, dict(weights), scale
        self._factors = {
            name: [_pair(weight, rank, count) for _ in range(count)]
            for name, weight in self._weights.items()
            for count in [(parts or {}).get(name, 1)]
        }

    def factors(self) -> list[nn.Parameter]:
        """All A and B."""
        return [factor for pairs in self._factors.values() for pair in pairs for factor in pair]

    def adapted(self) -> dict[str, Tensor]:
        """W + scale B A by its name in the image encoder; differentiable in the factors."""
        return {
            name: weight.detach() + self._scale * _product(self._factors[name]).view(weight.shape)
            for name, weight in self._weights.items()
        }

    def encode_image(self, images: Tensor) -> Tensor:
        """Raw image embeddings with the adapted weights, shape (B, D)."""
        features: Any = functional_call(self._clip.visual, self.adapted(), (images,))
        return cast(Tensor, features[0] if isinstance(features, tuple) else features)  # CoCa's gives its tokens, too

    @torch.no_grad()
    def merge(self) -> None:
        """Store the adapted weights."""
        for name, value in self.adapted().items():
            self._weights[name].copy_(value)


class VisualLoRA(LowRankFactors):
    """LoRA beside the attention of a CLIP's image encoder, or beside its convolutions.

    Args:
        clip: The CLIP.
        rank: r.
        alpha: Of the scale.

    Raises:
        NoAttentionError: If there is nothing to adapt.
    """

    def __init__(self, clip: Clip, *, rank: int, alpha: float) -> None:
        named = dict(clip.visual.named_parameters())
        attention = [name for name in named if name.endswith(FUSED + SINGLE)]
        convolutions = [
            f"{path}.weight" for path, module in clip.visual.named_modules() if is_plain_convolution(module)
        ]
        weights = {name: named[name] for name in attention or convolutions}
        if not weights:
            raise NoAttentionError(
                f"model {clip.name!r} has neither attention nor convolutions in its image encoder: choose a method "
                "that edits other layers"
            )
        thirds = {name: 3 for name in weights if name.endswith(FUSED)}
        super().__init__(clip, weights, rank=rank, scale=alpha / math.sqrt(rank), parts=thirds)


def _product(pairs: Sequence[tuple[nn.Parameter, nn.Parameter]]) -> Tensor:
    return torch.cat([up @ down for down, up in pairs])


def _pair(weight: Tensor, rank: int, parts: int) -> tuple[nn.Parameter, nn.Parameter]:
    """A and B for one of the equal parts of a weight of shape (outputs, inputs) or (outputs, inputs, height, width)."""
    outputs, width = weight.shape[0] // parts, weight[0].numel()
    tensors = new_tensors("low_rank", inputs=width, outputs=outputs, rank=rank, like=weight.detach())
    return nn.Parameter(tensors["down"]), nn.Parameter(tensors["up"])
