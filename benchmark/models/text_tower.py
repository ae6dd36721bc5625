"""Running a text tower on no more tokens than a batch has: a prompt of 10 need not be computed as one of 77.

Texts are sorted by length, and each batch is cut after the last end token in it: see `methods.common.text_tower`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from methods.common.clip import Clip
from methods.common.text_tower import encode_cut, reads_end_token

BATCH = 512


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
        parts.append(encode_cut(clip.model, tokens[rows.to(tokens.device), :longest]).float().cpu())
    back = torch.argsort(order)
    return torch.cat(parts)[back]
