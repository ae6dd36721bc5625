"""mean_per_class_recall: the mean over classes of the share of the class's images that are recognised."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_per_class_recall(right: Tensor, labels: Tensor) -> float:
    """Mean recall over the classes that occur; in [0, 1]. Equals acc1 when classes are of one size.

    Args:
        right: Which predictions are right, boolean, shape (N,).
        labels: Class of each image, shape (N,).
    """
    _, owner, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    hits = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, owner.cpu(), right.cpu().double())
    return float((hits / counts.cpu()).mean())
