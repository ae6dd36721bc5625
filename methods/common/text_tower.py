"""CLIP's text tower on no more tokens than a batch has: a prompt of 10 need not be computed as one of 77.

A token sees those before it only (causal attention), and the embedding is read at the end token: what stands after it,
which is padding, changes nothing but the rounding of sums (about 1e-7 of a unit-norm feature). Towers of another kind
(attention both ways, pooling elsewhere, another library's) get the whole context.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.func import functional_call

_AT_THE_END = "argmax"
"""open_clip's name of the pooling that reads the token with the highest id, which is the end token."""


def reads_end_token(model: nn.Module) -> bool:
    """Whether a model's text embedding depends on the tokens up to the end token alone, and its tower may be cut."""
    from open_clip.model import CLIP, CustomTextCLIP
    from open_clip.transformer import TextTransformer

    if type(model) is CLIP:
        tower: Any = model
        pooling = tower.text_pool_type
    elif type(model) is CustomTextCLIP and type(model.text) is TextTransformer:
        tower = model.text
        pooling = tower.pool_type
        if tower.cls_emb is not None:
            return False
    else:
        return False
    mask = tower.attn_mask
    return pooling == _AT_THE_END and isinstance(mask, Tensor) and _is_causal(tower, mask)


class _SeenMask(NamedTuple):
    """A mask that was looked at, in what state, and what was seen."""

    mask: ref[Tensor]
    version: int
    causal: bool


_SEEN: WeakKeyDictionary[nn.Module, _SeenMask] = WeakKeyDictionary()
"""By tower: looking at a mask waits for a GPU, so it is done once, and again where it was replaced or written to."""


def _is_causal(tower: nn.Module, mask: Tensor) -> bool:
    version = -1 if mask.is_inference() else mask._version  # torch does not count writes to a tensor of inference mode
    seen = _SEEN.get(tower)
    if seen is None or version < 0 or seen.mask() is not mask or seen.version != version:
        causal = bool(torch.isneginf(mask).equal(torch.ones_like(mask, dtype=torch.bool).triu(1)))
        seen = _SEEN[tower] = _SeenMask(ref(mask), version, causal)
    return seen.causal


def context_length(model: nn.Module, otherwise: int) -> int:
    """How many positions a model's text tower has, in tokens; `otherwise` where it keeps no table of them."""
    table = getattr(_owner(model), "positional_embedding", None)
    return len(table) if isinstance(table, Tensor) else otherwise


def _owner(model: nn.Module) -> Any:
    """What holds the text tower's tensors: the model, or its `text`."""
    return model if hasattr(model, "positional_embedding") else getattr(model, "text", None)


def encode_cut(model: nn.Module, tokens: Tensor) -> Tensor:
    """`encode_text` of a model that reads the end token, with a context as long as the tokens.

    Args:
        model: `reads_end_token` holds of it.
        tokens: Token ids, shape (B, L), L at most the model's context; the end token of each is among them.
    """
    tower, length = TowerCall(model, "encode_text"), tokens.shape[1]
    owner = _owner(model)
    prefix = "model." if owner is model else "model.text."
    cut = {
        f"{prefix}positional_embedding": owner.positional_embedding[:length],
        f"{prefix}attn_mask": owner.attn_mask[:length, :length],
    }
    return cast(Tensor, functional_call(tower, cut, (tokens,)))


class TowerCall(nn.Module):
    """`encode_image` or `encode_text` of a model, for `torch.func.functional_call`.

    Args:
        model: Its tensors stand under the prefix "model.".
        tower: The name of the method.
    """

    def __init__(self, model: nn.Module, tower: str) -> None:
        super().__init__()
        self.model, self.tower = model, tower

    def forward(self, inputs: Tensor) -> Tensor:
        """What the method gives; of tokens that are fewer than the context, what it would give of all."""
        cut = self.tower == "encode_text" and inputs.shape[1] < context_length(self.model, inputs.shape[1])
        if cut and reads_end_token(self.model):  # CoCa's tokens are always one fewer than its positions
            return encode_cut(self.model, inputs)
        return raw_embeddings(self.model, self.tower, inputs)


def raw_embeddings(model: nn.Module, tower: str, inputs: Tensor) -> Tensor:
    """The embeddings of a model's tower before they are normalised, shape (B, D).

    open_clip's CoCa normalises them unless it is told not to; its other models do so only where they are told.

    Args:
        model: An open_clip model.
        tower: "encode_image" or "encode_text".
        inputs: Network input or token ids.
    """
    encode: Callable[..., Tensor] = getattr(model, tower)
    return encode(inputs, normalize=False) if _normalises(getattr(type(model), tower)) else encode(inputs)


@cache
def _normalises(encode: Callable[..., Tensor]) -> bool:
    normalize = inspect.signature(encode).parameters.get("normalize")
    return normalize is not None and normalize.default is True
