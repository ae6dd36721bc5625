"""confusion_audit: where the images of the forgotten class go.

Let p_c be the share of the forgotten images that the model gives to class c, and q_c the same for the original model.

| value | formula | range |
|---|---|---|
| entropy | -sum p_c log2 p_c | [0, log2 min(C, N)] bits |
| normalised entropy | entropy / log2 min(C, N) | [0, 1] |
| kept | share given to the image's own class: forget accuracy | [0, 1] |
| moved | share given to another class than the original gave | [0, 1] |
| distance | total variation, 1/2 sum abs(p_c - q_c) | [0, 1] |

Kept is better lower; the rest has no better way, it describes. Low entropy with few kept means that the method sends
the class to one substitute, which marks what was forgotten; high entropy means that nothing takes its place. Source:
the audit is our choice; entropy is Shannon's plug-in estimate, which is too low by about (classes hit - 1) / (2 N ln 2)
bits (Miller, 1955), so compare only at equal N.
"""

from __future__ import annotations

import math
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

RECEIVERS = 5


@dataclass(frozen=True)
class Receiver:
    """A class that receives forgotten images.

    Attributes:
        label: The class.
        share: Of the forgotten images that are given to it, although they are not of it; in [0, 1].
        change: That share minus the same share under the original model; in [-1, 1].
    """

    label: int
    share: float
    change: float


@dataclass(frozen=True)
class ConfusionAudit:
    """The audit; formulas and ranges are those of the module.

    Attributes:
        entropy_bits: Of the predicted classes.
        entropy_normalised: The same over its largest possible value; 0 for a single image.
        entropy_change_bits: Minus the original's entropy; positive where the images scatter more.
        correct: Share that is still given to its own class.
        moved: Share whose prediction differs from the original's.
        distance: Total variation between the two distributions of predictions.
        receivers: The classes that receive most, the largest share first, then the lower label; none without images.
        n: How many images.
    """

    entropy_bits: float
    entropy_normalised: float
    entropy_change_bits: float
    correct: float
    moved: float
    distance: float
    receivers: tuple[Receiver, ...]
    n: int


def confusion_audit(
    predicted: Tensor, original: Tensor, labels: Tensor, classes: int, *, receivers: int = RECEIVERS
) -> ConfusionAudit:
    """Audit the predictions of the forgotten images.

    Args:
        predicted: The class that the unlearned model gives to each forgotten test image, shape (N,).
        original: The class that the original model gives to it, shape (N,).
        labels: Its true class, shape (N,).
        classes: C, how many names are candidates.
        receivers: How many receiving classes are listed; our choice.

    Raises:
        NotMeasurableError: If there is no image.
        ValueError: If the shapes differ or a class is not in [0, C).
    """
    now, was, true = (tensor.cpu().long() for tensor in (predicted, original, labels))
    _check(now, was, true, classes)
    n = len(now)
    p, q = _shares(now, classes), _shares(was, classes)
    bits, most = _entropy(p), math.log2(min(classes, n))
    return ConfusionAudit(
        entropy_bits=bits,
        entropy_normalised=min(1.0, bits / most) if most > 0 else 0.0,
        entropy_change_bits=bits - _entropy(q),
        correct=float((now == true).double().mean()),
        moved=float((now != was).double().mean()),
        distance=float((p - q).abs().sum() / 2),
        receivers=_receivers(now, was, true, classes, receivers),
        n=n,
    )


def _check(now: Tensor, was: Tensor, true: Tensor, classes: int) -> None:
    if len(now) == 0:
        raise NotMeasurableError("there are no forgotten test images whose predictions could be audited")
    if not len(now) == len(was) == len(true):
        raise ValueError(f"{len(now)} predictions, {len(was)} of the original, {len(true)} labels")
    everything = torch.cat([now, was, true])
    if int(everything.min()) < 0 or int(everything.max()) >= classes:
        raise ValueError(f"a class is not in [0, {classes})")


def _receivers(now: Tensor, was: Tensor, true: Tensor, classes: int, count: int) -> tuple[Receiver, ...]:
    wrong_now = torch.bincount(now[now != true], minlength=classes).double() / len(now)
    wrong_was = torch.bincount(was[was != true], minlength=classes).double() / len(was)
    order = torch.sort(wrong_now, descending=True, stable=True).indices[:count].tolist()
    receivers = [Receiver(c, float(wrong_now[c]), float(wrong_now[c] - wrong_was[c])) for c in order]
    return tuple(receiver for receiver in receivers if receiver.share > 0)


def _shares(predicted: Tensor, classes: int) -> Tensor:
    return torch.bincount(predicted, minlength=classes).double() / len(predicted)


def _entropy(shares: Tensor) -> float:
    return max(0.0, -float(torch.special.xlogy(shares, shares).sum()) / math.log(2))


def measure(context: Context) -> Metrics:
    """`forget/confusion_entropy`; the record names the classes that the forgotten images are given."""
    names = context.require_classes()

    def predictions(clip: Clip) -> Tensor:
        images = context.images(clip)[context.forget]
        return predict(images, context.classifier(clip), refused=clip.is_refused_class(names))

    labels = context.labels()[context.forget]
    audit = confusion_audit(predictions(context.clip), predictions(context.original), labels, len(names))
    context.report["confusion"] = {
        "kept": audit.correct,
        "receivers": {names[receiver.label]: round(receiver.share, 4) for receiver in audit.receivers},
    }
    return {"forget/confusion_entropy": Metric(audit.entropy_normalised, audit.n, None)}
