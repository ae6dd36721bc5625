"""knn_probe: what the nearest train images say about a test image, by weighted voting.

For a test image with unit-norm features f, let N_k be its k nearest train images by cosine s_i = <f, f_i>. Class c gets

    v_c = sum over i in N_k with y_i = c of exp(s_i / t)

and the image counts as recognised if v is largest for its true class. k = 20 as in DINO (Caron et al., ICCV 2021, arXiv
2104.14294), t = 0.07 and the vote as in instance discrimination (Wu et al., CVPR 2018, arXiv 1805.01978, section 3.4).

In [0, 1]; on the forget set lower is better (the features no longer hold the class), on the retain set higher. There is
nothing to fit and nothing that depends on the text tower or on an output filter, so a method that only moves names
changes nothing here. Probes see less than all: information along a direction of small variance moves no neighbours, and
`linear_probe` finds it.

Ties are counted by their mean: train images that tie for the last of the k places share them, and an image whose true
class ties for the largest vote counts by its part. A collapsed model thus scores chance, whatever the order of images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.numerics.features import blocks, cosines, require_train_items, shares, unit_norm
from benchmark.evaluation.numerics.metrics import both_parts

if TYPE_CHECKING:
    from benchmark.evaluation.context import Context
    from benchmark.evaluation.evaluate import Metrics

NEIGHBOURS = 20
TEMPERATURE = 0.07


@dataclass(frozen=True)
class KnnProbe:
    """What the neighbours recognise.

    Attributes:
        forget_accuracy: Share of forgotten test images that are recognised, in [0, 1]; lower is better.
        retain_accuracy: Share of retained test images, in [0, 1]; higher is better.
        forget_n: How many forgotten test images.
        retain_n: How many retained ones.
    """

    forget_accuracy: float
    retain_accuracy: float
    forget_n: int
    retain_n: int


def knn_probe(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    forget: Tensor,
    *,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> KnnProbe:
    """Recognise the test images by their nearest train images, forgotten and retained ones together.

    Args:
        train: Features of the train images, the forgotten ones included, shape (N, D); normalised here.
        train_labels: Their true classes, shape (N,).
        test: Features of the test images, shape (M, D); normalised here.
        test_labels: Their true classes, shape (M,).
        forget: Which test images are to be forgotten, boolean, shape (M,).
        neighbours: k.
        temperature: t, above 0.

    Raises:
        NotMeasurableError: If a part is empty, features are not finite, a class of the test images has no train image,
            or there are fewer than k train images.
    """
    require_train_items(train_labels, test_labels, least=1)
    if len(train) < neighbours:
        raise NotMeasurableError(f"{len(train)} train images cannot give {neighbours} neighbours")
    train, test = unit_norm(train, "train features"), unit_norm(test, "test features")
    train_labels, test_labels = train_labels.to(test.device), test_labels.to(test.device)
    classes = int(train_labels.max()) + 1
    points = []
    for part in blocks(len(test), len(train)):
        votes = _votes(cosines(test[part], train), train_labels, classes, neighbours, temperature)
        points.append(_points(votes, test_labels[part]))
    accuracy = shares(torch.cat(points), forget)
    return KnnProbe(*accuracy, int(forget.sum()), int((~forget).sum()))


def _votes(scores: Tensor, labels: Tensor, classes: int, neighbours: int, temperature: float) -> Tensor:
    """v of the module's formula, shape (B, C), float64.

    Args:
        scores: Cosines with all train images, shape (B, N).
        labels: Classes of the train images, shape (N,).
        classes: C.
        neighbours: k.
        temperature: t.
    """
    best, which = scores.topk(neighbours, dim=1)
    last = best[:, -1:]
    inside = best > last
    # Relative to the nearest one, which changes no order: exp(1 / t) itself overflows for a small t.
    weights = torch.exp((best - best[:, :1]).double() / temperature) * inside
    votes = torch.zeros(len(scores), classes, dtype=torch.float64, device=scores.device)
    votes.scatter_add_(1, labels[which], weights)
    rows, columns = torch.nonzero(scores == last, as_tuple=True)
    tied = torch.bincount(rows * classes + labels[columns], minlength=votes.numel()).view_as(votes)
    places = neighbours - inside.sum(dim=1, keepdim=True)
    weight = torch.exp((last - best[:, :1]).double() / temperature)
    return votes + weight * places * tied / tied.sum(dim=1, keepdim=True)


def _points(votes: Tensor, labels: Tensor) -> Tensor:
    """1 where the true class has the largest vote, its part of a tie, else 0; shape (B,), float64."""
    largest = votes == votes.amax(dim=1, keepdim=True)
    true_is_largest = largest.gather(1, labels[:, None]).squeeze(1)
    return true_is_largest.double() / largest.sum(dim=1)


def measure(context: Context) -> Metrics:
    """`forget/knn_acc1` and `retain/knn_acc1` on the embeddings, `trunk_knn_acc1` before the projection."""
    metrics: Metrics = {}
    for name, train, test in (
        ("knn_acc1", context.train_images, context.images),
        ("trunk_knn_acc1", context.train_features, context.features),
    ):
        metrics |= both_parts(name, knn_probe(train(), context.train_labels, test(), context.labels(), context.forget))
    return metrics
