"""What the measures on features share: unit norm, cosines in which equal means equal, and blocks that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError

STEPS = 1_000_000
"""Cosines are rounded to 1 / STEPS, our choice: float32 products differ by up to about 1e-7 with the order of their
sums, and a collapsed model, all of whose cosines are equal, must give ties and not an order made of rounding."""
BLOCK_VALUES = 16_000_000
"""Cosines held at once (64 MB), our choice."""
NOISE = 1e-6
"""A spread below this part of the features' size is float32 rounding, not information; our choice (rounding itself is
6e-8 a value, and sums over a tower's width make it larger)."""


def require_finite(features: Tensor, what: str) -> None:
    """Refuse features that a diverged model gave.

    Args:
        features: Any shape.
        what: What they are, for the message, such as "train features".

    Raises:
        NotMeasurableError: If there is no row, or a value is NaN or infinite.
    """
    if len(features) == 0:
        raise NotMeasurableError(f"there are no {what}")
    if not bool(torch.isfinite(features).all()):
        raise NotMeasurableError(f"the {what} are not all finite: the model has diverged")


def unit_norm(features: Tensor, what: str) -> Tensor:
    """Features as float32 rows of length 1, shape (N, D); a row of zeros stays one.

    Raises:
        NotMeasurableError: As `require_finite`.
    """
    require_finite(features, what)
    return F.normalize(features.float(), dim=-1)


def cosines(queries: Tensor, gallery: Tensor) -> Tensor:
    """All cosines, rounded to 1e-6, shape (Q, G), float32, in [-1, 1].

    Args:
        queries: Unit norm, shape (Q, D).
        gallery: Unit norm, shape (G, D).
    """
    scores = queries @ gallery.T
    return scores.mul_(STEPS).round_().div_(STEPS).clamp_(-1.0, 1.0)


def blocks(queries: int, gallery: int) -> Iterator[slice]:
    """Slices of the queries whose cosines with the whole gallery fit in memory.

    Args:
        queries: How many there are.
        gallery: How many items each meets.
    """
    step = max(1, BLOCK_VALUES // max(1, gallery))
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


def require_train_items(train_labels: Tensor, test_labels: Tensor, *, least: int) -> None:
    """Refuse to probe where a class has too few train images.

    Args:
        train_labels: Class of each train image, shape (N,).
        test_labels: Class of each test image, shape (M,).
        least: How many train images every class of either split needs.

    Raises:
        NotMeasurableError: If a class has fewer; the message names the first such class by its label.
    """
    if len(train_labels) == 0 or len(test_labels) == 0:
        raise NotMeasurableError(f"there are no {'test' if len(train_labels) else 'train'} images to probe")
    classes = torch.unique(torch.cat([train_labels.cpu(), test_labels.cpu()]))
    counts = torch.bincount(train_labels.cpu(), minlength=int(classes.max()) + 1)[classes]
    short = torch.nonzero(counts < least).flatten()
    if len(short) > 0:
        label, count = int(classes[short[0]]), int(counts[short[0]])
        raise NotMeasurableError(f"class {label} has {count} train images, a probe needs at least {least}")


def shares(points: Tensor, forget: Tensor) -> tuple[float, float]:
    """The mean over the forgotten and over the retained test images, each in [0, 1].

    Args:
        points: In [0, 1] an image, shape (M,).
        forget: Which images are to be forgotten, boolean, shape (M,).

    Raises:
        NotMeasurableError: If one of the two parts is empty.
    """
    points, forget = points.double().cpu(), forget.cpu()
    for part, mask in (("forgotten", forget), ("retained", ~forget)):
        if not bool(mask.any()):
            raise NotMeasurableError(f"there are no {part} test images to probe")
    return float(points[forget].mean()), float(points[~forget].mean())
