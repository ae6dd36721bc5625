"""The two towers with less work: smaller images, texts no longer than they are."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

_NAMES = ("attnpool.positional_embedding", "positional_embedding")  # open_clip's ModifiedResNet and VisionTransformer


def _halved(embedding: Tensor) -> Tensor:
    """One row for the class or mean token and G x G rows for the grid, to 1 + (G/2) x (G/2): means of 2 x 2 rows."""
    side = int((len(embedding) - 1) ** 0.5)
    grid = embedding[1:].T.reshape(1, -1, side, side)
    pooled = functional.avg_pool2d(grid, 2).flatten(2)[0].T
    return torch.cat([embedding[:1], pooled])


def encode_half_size(visual: nn.Module, images: Tensor) -> Tensor:
    """The tower's embeddings of the images at half their height and width.

    The positional embedding is averaged over 2 x 2 places, so that it learns too and the tower goes on from there at
    the full size (our choice; interpolated positions as in ViT, Dosovitskiy et al. 2021, section 3.2).

    Args:
        visual: An open_clip ModifiedResNet with attention pooling, or a VisionTransformer with a learned position
            table; the side of its token grid must be even.
        images: Shape (B, 3, S, S).

    Returns:
        Shape (B, D), not normalised.

    Raises:
        ValueError: If the tower has no such table or an odd grid.
    """
    parameters = dict(visual.named_parameters())
    name = next((candidate for candidate in _NAMES if candidate in parameters), None)
    if name is None or int((len(parameters[name]) - 1) ** 0.5) % 2:
        raise ValueError("images at half their side need a vision tower with a position table over an even grid")
    small = functional.avg_pool2d(images, 2)
    return cast(Tensor, functional_call(visual, {name: _halved(parameters[name])}, (small,)))


def encode_smaller(visual: nn.Module, images: Tensor, side: int) -> Tensor:
    """The tower's embeddings of the images at a smaller height and width.

    A tower with a learned position table takes half the side alone; one without takes any.

    Args:
        visual: The vision tower.
        images: Shape (B, 3, S, S).
        side: Smaller than S.

    Returns:
        Shape (B, D), not normalised.

    Raises:
        ValueError: If the tower cannot see images of this side.
    """
    if any(name in _NAMES for name, _ in visual.named_parameters()):
        if 2 * side != images.shape[-1]:
            raise ValueError("a vision tower with a position table can see smaller images at half their side only")
        return encode_half_size(visual, images)
    smaller = functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    return cast(Tensor, visual(smaller.contiguous(memory_format=torch.channels_last)))


def encode_texts(model: nn.Module, tokens: Tensor) -> Tensor:
    """Unit text embeddings, with the short texts cut behind their end.

    The text tower is causal and reads the embedding at the end token, so what follows has no influence: the result is
    that of `encode_text`, for less work where many texts are prompts of a few words.

    Args:
        model: An open_clip CLIP that pools at the highest token id.
        tokens: Shape (U, context).

    Returns:
        Shape (U, D), of unit length.
    """
    clip = cast(Any, model)
    lengths = tokens.argmax(dim=1) + 1
    short = int(lengths.median())
    parts, order = [], []
    for chosen in (lengths <= short, lengths > short):
        rows = chosen.nonzero()[:, 0]
        if not len(rows):
            continue
        end = int(lengths[rows].max())
        cut = {"positional_embedding": clip.positional_embedding[:end], "attn_mask": clip.attn_mask[:end, :end]}
        _, features, _ = functional_call(model, cut, args=(), kwargs={"text": tokens[rows, :end]})
        parts.append(features)
        order.append(rows)
    return torch.cat(parts)[torch.cat(order).argsort()]
