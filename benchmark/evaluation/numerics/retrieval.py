"""Recall@K of image and text retrieval over the whole gallery, several captions an image.

Image retrieval: a caption finds its image among all images. Text retrieval: an image finds any of its captions among
all captions. This is CLIP's recall@K, a hit rate; torchmetrics' RetrievalRecall divides by the number of captions.
Ties count against the model: a constant embedding scores as badly as it deserves.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 1024
NEVER = 2**31  # the rank of what is refused: no K reaches it


def image_retrieval_ranks(captions: Tensor, images: Tensor, owner: Tensor, *, refused: Tensor | None = None) -> Tensor:
    """For each caption, how many other images score at least as high as its own. Shape (M,).

    Args:
        captions: Unit-norm caption embeddings, shape (M, D).
        images: Unit-norm image embeddings, shape (N, D).
        owner: The image of each caption, shape (M,).
        refused: Captions that the output filter refuses, boolean, shape (M,): they find nothing.
    """
    owner = owner.to(images.device)
    ranks = torch.empty(len(captions), dtype=torch.long, device=images.device)
    for start in range(0, len(captions), CHUNK):
        chunk = slice(start, start + CHUNK)
        scores = captions[chunk] @ images.T
        own = scores.gather(1, owner[chunk, None])
        ranks[chunk] = (scores >= own).sum(dim=1) - 1
    if refused is not None:
        ranks[refused.to(ranks.device)] = NEVER
    return ranks.cpu()


def text_retrieval_ranks(images: Tensor, captions: Tensor, owner: Tensor, *, refused: Tensor | None = None) -> Tensor:
    """For each image, how many captions of others score at least as high as the best of its own. Shape (N,).

    An image all of whose captions are refused by the output filter finds none of them.
    """
    owner = owner.to(images.device)
    ranks = torch.empty(len(images), dtype=torch.long, device=images.device)
    hidden = refused.to(images.device) if refused is not None else torch.zeros(len(captions), dtype=torch.bool)
    hidden = hidden.to(images.device)
    for start in range(0, len(images), CHUNK):
        rows = torch.arange(start, min(start + CHUNK, len(images)), device=images.device)
        scores = (images[rows] @ captions.T).masked_fill(hidden, -torch.inf)
        mine = owner[None, :] == rows[:, None]
        best = scores.masked_fill(~mine, -torch.inf).amax(dim=1)
        better = ((scores >= best[:, None]) & ~mine & ~hidden).sum(dim=1)
        ranks[rows] = torch.where(best.isinf(), NEVER, better)
    return ranks.cpu()


def recall_at(ranks: Tensor, k: int) -> Tensor:
    """Which queries are hits within the first `k`: boolean, shape of `ranks`. Recall@k is their mean: [0, 1]."""
    return ranks < k
