"""Recall@K of image and text retrieval over the whole gallery, several captions an image.

Image retrieval: a caption finds its image among all images. Text retrieval: an image finds any of its captions among
all captions. This is CLIP's recall@K, a hit rate; torchmetrics' RetrievalRecall divides by the number of captions, and
its RetrievalHitRate wants every pair at once, which are 5 million for Flickr30K.
Ties count against the model: a constant embedding scores as badly as it deserves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_stat_scores

from benchmark.records.record import Metric
from benchmark.utils.statistics import wilson

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
        own_score = scores.gather(1, owner[chunk, None])
        ranks[chunk] = (scores >= own_score).sum(dim=1) - 1
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
        is_own = owner[None, :] == rows[:, None]
        best = scores.masked_fill(~is_own, -torch.inf).amax(dim=1)
        better = ((scores >= best[:, None]) & ~is_own & ~hidden).sum(dim=1)
        ranks[rows] = torch.where(best.isinf(), NEVER, better)
    return ranks.cpu()


def recall_at(ranks: Tensor, k: int) -> Tensor:
    """Which queries are hits within the first `k`: boolean, shape of `ranks`. Recall@k is their mean: [0, 1]."""
    return ranks < k


def predict(images: Tensor, classifier: Tensor, *, refused: Tensor | None = None) -> Tensor:
    """The predicted class of each image, shape (N,).

    Args:
        images: Unit-norm image embeddings, shape (N, D).
        classifier: Unit-norm class weights, shape (C, D).
        refused: Classes that the model's output filter never answers with, boolean, shape (C,).
    """
    logits = images @ classifier.T
    if refused is not None and bool(refused.any()):
        logits = logits.masked_fill(refused.to(logits.device), -torch.inf)
    return logits.argmax(dim=-1)


def class_hits(predicted: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """How many images of each class there are and how many of them are recognised, by torchmetrics.

    acc1 is the sum of the hits over that of the images.

    Args:
        predicted: Predicted class of each image, shape (N,).
        labels: Its class, shape (N,).
        classes: C.

    Returns:
        The hits and the images of each class, shapes (C,), int64.
    """
    counts = multiclass_stat_scores(predicted, labels.to(predicted.device), num_classes=max(classes, 2), average=None)
    return counts[:classes, 0].cpu(), counts[:classes, 4].cpu()


def mean_per_class_recall(hits: Tensor, images: Tensor) -> float:
    """Mean recall over the classes that occur; in [0, 1]. Equals acc1 when classes are of one size.

    The macro average of torchmetrics also counts classes that are predicted and do not occur.

    Args:
        hits: Images of each class that are recognised, shape (C,).
        images: Images of each class, shape (C,).
    """
    occurs = images > 0
    return float((hits[occurs].double() / images[occurs]).mean())


class BothParts(Protocol):
    """What a probe recognises of the forgotten and of the retained test images."""

    @property
    def forget_accuracy(self) -> float:
        """In [0, 1]."""

    @property
    def retain_accuracy(self) -> float:
        """In [0, 1]."""

    @property
    def forget_n(self) -> int:
        """Over how many images."""

    @property
    def retain_n(self) -> int:
        """Over how many images."""


def both_parts(name: str, accuracies: BothParts) -> dict[str, Metric]:
    """`forget/NAME` and `retain/NAME` with their Wilson intervals."""
    parts = (
        ("forget", accuracies.forget_accuracy, accuracies.forget_n),
        ("retain", accuracies.retain_accuracy, accuracies.retain_n),
    )
    return {f"{part}/{name}": Metric(share, n, wilson(share * n, n)) for part, share, n in parts}


def kravets(
    *,
    forget: tuple[float, float],
    retain: tuple[float, float],
    others: Sequence[tuple[float, float]],
) -> float | None:
    """S from (before, after) pairs in [0, 1]; None where a value before forgetting is 0, which leaves S undefined."""
    before_all = [forget[0], retain[0], *(before for before, _ in others)]
    if min(before_all) <= 0:
        return None
    drops = [max(0.0, (before - after) / before) for before, after in (retain, *others)]
    return (forget[1] / forget[0] + sum(drops)) / (2 + len(others))


def harmonic(forget: float, retain: float) -> float:
    """H from the accuracies after forgetting, in [0, 1]; 0 where both parts are 0."""
    forgetting = 1.0 - forget
    if forgetting + retain == 0:
        return 0.0
    return 2 * forgetting * retain / (forgetting + retain)
