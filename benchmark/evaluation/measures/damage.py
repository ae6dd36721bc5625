"""damage: what the retained classes lose, where it hurts most.

For a retained class c with recall b_c before and a_c after unlearning, its drop is b_c - a_c, in [-1, 1]; lower is
better, 0 is no loss, below 0 a gain.

    worst10 = mean drop of the ten retained classes that lose most

A mean over all classes hides a few that are destroyed. The largest of many noisy differences is above 0 even where
nothing was lost (about 0.12 for ten of a hundred classes of 100 images at a recall of 0.6 if before and after were
independent draws): read it beside another method's. The classes next to the forgotten one have a family of their own,
`neighbours`.

Source: worst groups instead of the mean follow Sagawa et al. (ICLR 2020, arXiv 1911.08731); the count is our choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.numerics.metrics import predict
from benchmark.records.record import Metric

if TYPE_CHECKING:
    from benchmark.evaluation.context import Context
    from benchmark.evaluation.evaluate import Metrics
    from methods.common.clip import Clip

WORST = 10


@dataclass(frozen=True)
class ClassDrop:
    """One retained class: its label, and recall before minus after, in [-1, 1]."""

    label: int
    drop: float


@dataclass(frozen=True)
class Damage:
    """Drops of some retained classes.

    Attributes:
        mean_drop: Their mean, in [-1, 1]; lower is better.
        classes: The classes; fewer than asked for where there are not so many.
    """

    mean_drop: float
    classes: tuple[ClassDrop, ...]


def class_recalls(right: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The recall of every class, shape (C,), float64, in [0, 1]; NaN where a class has no image.

    Args:
        right: Which predictions are right, boolean, shape (N,).
        labels: Class of each image, shape (N,).
        classes: C.
    """
    labels = labels.cpu()
    hits = torch.zeros(classes, dtype=torch.float64).index_add_(0, labels, right.cpu().double())
    return hits / torch.bincount(labels, minlength=classes)


def worst_classes(before: Tensor, after: Tensor, retained: Tensor, *, count: int = WORST) -> Damage:
    """The retained classes that lose most, the largest drop first, then the lower label.

    Args:
        before: Recalls under the original, shape (C,), NaN where a class has no image.
        after: Recalls after unlearning, shape (C,).
        retained: Which classes are retained, boolean, shape (C,).
        count: How many.

    Raises:
        NotMeasurableError: If no retained class has test images.
    """
    drops = _drops(before, after)
    candidates = torch.nonzero(retained.cpu() & ~drops.isnan()).flatten()
    order = torch.sort(drops[candidates], descending=True, stable=True).indices[:count]
    return _damage(drops, candidates[order])


def _drops(before: Tensor, after: Tensor) -> Tensor:
    before, after = before.cpu().double(), after.cpu().double()
    if before.shape != after.shape:
        raise ValueError(f"recalls of {len(before)} classes before and {len(after)} after")
    return before - after


def _damage(drops: Tensor, chosen: Tensor) -> Damage:
    if len(chosen) == 0:
        raise NotMeasurableError("no retained class has test images")
    class_drops = tuple(ClassDrop(c, float(drops[c])) for c in chosen.tolist())
    return Damage(sum(class_drop.drop for class_drop in class_drops) / len(class_drops), class_drops)


def measure(context: Context) -> Metrics:
    """`retain/worst10_drop`; the record names the classes."""
    names, labels = context.require_classes(), context.labels()

    def recalls(clip: Clip) -> Tensor:
        refused = clip.is_refused_class(names)
        right = predict(context.images(clip), context.classifier(clip), refused=refused) == labels
        return class_recalls(right, labels, len(names))

    before, after = recalls(context.original), recalls(context.clip)
    retained = torch.ones(len(names), dtype=torch.bool)
    retained[context.forget_labels] = False
    worst = worst_classes(before, after, retained)
    context.report["worst_classes"] = {
        names[class_drop.label]: round(class_drop.drop, 4) for class_drop in worst.classes
    }
    return {"retain/worst10_drop": Metric(worst.mean_drop, len(worst.classes), None)}
