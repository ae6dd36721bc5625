"""Running a text tower on no more tokens than a batch has: a prompt of 10 need not be computed as one of 77.

In CLIP's text tower a token sees those before it only (causal attention), and the embedding is read at the end token:
what stands after it, which is padding, changes nothing. Texts are sorted by length, and each batch is cut after the
last end token in it. The result is that of the whole context but for the rounding of sums (about 1e-7 of a unit-norm
feature).

Towers of another kind (attention both ways, pooling elsewhere, another library's) get the whole context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from methods.common.clip import Clip

BATCH = 512
_AT_THE_END = "argmax"
"""open_clip's name of the pooling that reads the token with the highest id, which is the end token."""


def encode_texts(clip: Clip, texts: Sequence[str], *, batch: int | None = None) -> Tensor:
    """Raw projected text embeddings in the order of the texts, shape (len(texts), D), float32, on the CPU.

    Args:
        clip: The model.
        texts: At least one.
        batch: Texts a forward pass; `BATCH` by default.
    """
    batch = batch or BATCH
    if not reads_end_token(clip.model):
        batches = [clip.encode_text(texts[start : start + batch]) for start in range(0, len(texts), batch)]
        return torch.cat([part.float().cpu() for part in batches])
    tokens = clip.tokens(texts)
    lengths = tokens.argmax(dim=1).cpu() + 1
    order = torch.argsort(lengths, stable=True)
    parts = []
    for start in range(0, len(texts), batch):
        rows = order[start : start + batch]
        longest = int(lengths[rows[-1]])
        parts.append(_encode(clip.model, tokens[rows.to(tokens.device), :longest]).float().cpu())
    back = torch.argsort(order)
    return torch.cat(parts)[back]


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
    return pooling == _AT_THE_END and isinstance(mask, Tensor) and _is_causal(mask)


def _is_causal(mask: Tensor) -> bool:
    return bool(torch.isneginf(mask).equal(torch.ones_like(mask, dtype=torch.bool).triu(1)))


def _encode(model: nn.Module, tokens: Tensor) -> Tensor:
    """`encode_text` with a context as long as the tokens."""
    tower, length = TowerCall(model, "encode_text"), tokens.shape[1]
    prefix = "model." if hasattr(model, "positional_embedding") else "model.text."
    weights = {**dict(tower.named_parameters()), **dict(tower.named_buffers())}
    cut = {
        f"{prefix}positional_embedding": weights[f"{prefix}positional_embedding"][:length],
        f"{prefix}attn_mask": weights[f"{prefix}attn_mask"][:length, :length],
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
        """What the method gives."""
        return cast(Tensor, getattr(cast(Any, self.model), self.tower)(inputs))
