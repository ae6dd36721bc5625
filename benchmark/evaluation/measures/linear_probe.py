"""linear_probe: can a linear classifier, trained on the unlearned model's features, still tell the forgotten class?

A multinomial logistic regression is fitted to the features of ALL train images, forgotten and retained, with their true
labels, and asked for the class of the test images among all C classes. Both accuracies are in [0, 1]. On the forget set
lower is better: a class that the probe finds was not removed, only hidden from the text tower. On the retain set higher
is better.

Features are standardised along the principal axes of the train features (whitened): mean 0, variance 1, uncorrelated.
The accuracy is then the same for all features that are an invertible linear map of one another. With a penalty on the
coordinates as they come, or standardised one by one, a method need not remove a class: scaling down the directions that
tell it is enough to make the penalty forbid what is left, and closed-form edits of the projection do just that. In our
trial (256 axes, 50 classes, the two directions of a class scaled to 1 %) the probe of standardised coordinates
fell from 95 % to 40 % on that class; the whitened one stayed at 99 %. Axes whose spread is below 1e-6 of the features'
size are float32 rounding and left out: that is where information ends. The price: with only two train images an axis
the whitened probe lost 5 points to the other (from four on it won). `scaling="plain"` is the probe of CLIP instead:
features as they come, centred, and scaled as a whole to a mean variance of 1, so that strengths mean the same.

Penalty l/2 ||W||^2 beside the sum of the log losses. Its strength l is chosen on a stratified 10 % of the train images
(at least one a class), as in CLIP's probe (Radford et al. 2021, appendix A.3): first 1e6, 1e4, ... 1e-6, then closer
around the best one. Ours, for time: from strong to weak, each fit starting from the last, ended by a strength whose
accuracy is more than a standard error below the best, or by two in a row below it; then two steps to half a decade
(CLIP: an eighth); the fits of the search see at most 10,000 train images, stratified. Of equal accuracies the strongest
wins: in our trials on small separable sets that was better than the log loss as a judge. The chosen strength is then
fitted to all train images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.numerics.features import require_finite, require_train_items, shares
from benchmark.evaluation.numerics.logistic_regression import LinearClassifier, fit, principal_axes
from benchmark.evaluation.numerics.metrics import both_parts

if TYPE_CHECKING:
    from benchmark.evaluation.context import Context
    from benchmark.evaluation.evaluate import Metrics

Scaling = Literal["whitened", "plain"]
VALIDATION = 0.1
COARSE = (6.0, 4.0, 2.0, 0.0, -2.0, -4.0, -6.0)
"""Decimal logarithms of the first strengths (CLIP, appendix A.3)."""
FINER = (1.0, 0.5)
"""Steps, in decades, of the search around the best one."""
SEARCH_IMAGES = 10_000


@dataclass(frozen=True)
class LinearProbe:
    """What the probe recognises.

    Attributes:
        forget_accuracy: Share of forgotten test images that are given their true class, in [0, 1]; lower is better.
        retain_accuracy: Share of retained test images, in [0, 1]; higher is better.
        forget_n: How many forgotten test images.
        retain_n: How many retained ones.
        strength: The chosen l.
        validation_accuracy: With which it was chosen, in [0, 1].
        axes: How many principal axes hold more than rounding.
        train_n: How many train images.
    """

    forget_accuracy: float
    retain_accuracy: float
    forget_n: int
    retain_n: int
    strength: float
    validation_accuracy: float
    axes: int
    train_n: int


def linear_probe(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    forget: Tensor,
    *,
    seed: int = 0,
    scaling: Scaling = "whitened",
) -> LinearProbe:
    """Fit the probe and ask it.

    Args:
        train: Features of the train images, the forgotten ones included, shape (N, D), of any scale.
        train_labels: Their true classes, shape (N,).
        test: Features of the test images, shape (M, D).
        test_labels: Their true classes, shape (M,).
        forget: Which test images are to be forgotten, boolean, shape (M,).
        seed: Of the validation part.
        scaling: "whitened", or "plain" to compare with CLIP's probe.

    Raises:
        NotMeasurableError: If a part is empty, a class has fewer than two train images (one to fit, one to choose the
            strength), features are not finite or do not vary, or there are hardly more train images than axes.
    """
    require_train_items(train_labels, test_labels, least=2)
    require_finite(train, "train features")
    require_finite(test, "test features")
    names, labels = torch.unique(train_labels.to(train.device), return_inverse=True)
    axes = principal_axes(train)
    if scaling == "whitened" and len(train) - 1 <= len(axes.spread):
        # Centred, they span no more; whitened, every image is then equally far from every other.
        raise NotMeasurableError(f"{len(train)} train images are too few for {len(axes.spread)} axes")
    variance = axes.spread.square() / axes.spread.square().mean()
    penalty = torch.ones_like(variance) if scaling == "whitened" else 1 / variance
    inputs = axes.whiten(train)
    search = _Search(inputs, labels, penalty, len(names), seed)
    exponent, accuracy, model = search.best()
    model = fit(inputs, labels, 10**exponent * penalty, len(names), start=model)
    predicted = names[model.logits(axes.whiten(test)).argmax(dim=1)]
    result = shares(predicted == test_labels.to(predicted.device), forget)
    counts = int(forget.sum()), int((~forget).sum())
    return LinearProbe(*result, *counts, 10**exponent, accuracy, len(axes.spread), len(train))


def stratified_part(labels: Tensor, share: float, *, seed: int, spare: int = 0) -> Tensor:
    """A seeded part of the images: `share` of each class, at least one of it. Boolean, shape (N,), on the CPU.

    Args:
        labels: Class of each image, shape (N,).
        share: In (0, 1].
        seed: The same seed gives the same part, on every device.
        spare: How many images of each class stay out in any case; a class that has no more gives none.
    """
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    wanted = (counts * share).round().long().clamp(min=1).minimum((counts - spare).clamp(min=0))
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[order[place < wanted[labels[order]]]] = True
    return chosen


class _Search:
    """The choice of the strength on the validation part; one fit a strength."""

    def __init__(self, inputs: Tensor, labels: Tensor, penalty: Tensor, classes: int, seed: int) -> None:
        part = stratified_part(labels, VALIDATION, seed=seed, spare=1).to(inputs.device)
        held_out, fitted = torch.nonzero(part).flatten(), torch.nonzero(~part).flatten()
        if len(fitted) > SEARCH_IMAGES:
            few = stratified_part(labels[fitted], SEARCH_IMAGES / len(fitted), seed=seed)
            fitted = fitted[few.to(inputs.device)]
        self.inputs, self.labels = inputs[fitted], labels[fitted]
        self.held_out, self.held_out_labels = inputs[held_out], labels[held_out]
        self.penalty, self.classes = penalty, classes
        self.models: dict[float, LinearClassifier] = {}
        self.accuracies: dict[float, float] = {}

    def best(self) -> tuple[float, float, LinearClassifier]:
        """Decimal logarithm of the best strength, its validation accuracy, and the model that was fitted with it."""
        best = search(self._grade, COARSE, FINER, images=len(self.held_out))
        return best, self.accuracies[best], self.models[best]

    def _grade(self, exponent: float) -> float:
        """Validation accuracy of a strength."""
        stronger = [known for known in self.models if known > exponent]
        start = self.models[min(stronger)] if stronger else None
        strength = 10**exponent * self.penalty
        model = fit(self.inputs, self.labels, strength, self.classes, start=start)
        predicted = model.logits(self.held_out).argmax(dim=1)
        self.models[exponent] = model
        self.accuracies[exponent] = float((predicted == self.held_out_labels).double().mean())
        return self.accuracies[exponent]


def search(
    grade: Callable[[float], float], coarse: tuple[float, ...], finer: tuple[float, ...], *, images: int
) -> float:
    """The argument with the best accuracy, the largest of equals: down the coarse ones, then closer around the best.

    Args:
        grade: Accuracy of an argument, in [0, 1]; called once an argument.
        coarse: Descending; left at a perfect accuracy, at the second fall below the best in a row, or at one of more
            than a standard error.
        finer: How far from the best so far to look on both sides, inside the coarse range.
        images: Over how many the accuracy is.
    """
    grades: dict[float, float] = {}

    def best() -> float:
        return max(grades, key=lambda argument: (grades[argument], argument))

    worse = 0
    for argument in coarse:
        highest = max(grades.values(), default=0.0)
        grades[argument] = grade(argument)
        fall = highest - grades[argument]
        worse = worse + 1 if fall > 0 else 0
        if grades[argument] == 1.0 or worse == 2 or fall > math.sqrt(highest * (1 - highest) / images):
            break
    for step in finer:
        centre = best()
        for argument in (centre + step, centre - step):
            if coarse[-1] <= argument <= coarse[0] and argument not in grades:
                grades[argument] = grade(argument)
    return best()


def measure(context: Context) -> Metrics:
    """`forget/probe_acc1` and `retain/probe_acc1` on the embeddings, `trunk_probe_acc1` before the projection."""
    metrics: Metrics = {}
    for name, train, test in (
        ("probe_acc1", context.train_images, context.images),
        ("trunk_probe_acc1", context.train_features, context.features),
    ):
        probe = linear_probe(train(), context.train_labels, test(), context.labels(), context.forget, seed=context.seed)
        metrics |= both_parts(name, probe)
        context.report[name] = {"strength": probe.strength, "axes": probe.axes, "train_n": probe.train_n}
    return metrics
