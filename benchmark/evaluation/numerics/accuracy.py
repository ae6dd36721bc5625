"""acc1: zero-shot top-1 accuracy. Forgotten names stay among the candidates, in every part."""

from __future__ import annotations

import torch
from torch import Tensor


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


def correct(predicted: Tensor, labels: Tensor) -> Tensor:
    """Which predictions are right: boolean, shape (N,). acc1 is their mean: [0, 1]."""
    return predicted == labels.to(predicted.device)
