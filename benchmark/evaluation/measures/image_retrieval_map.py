"""image_retrieval_map: can images of the forgotten class still be found by an image of it?

Every forgotten test image queries all other test images, ranked by the cosine of their features. With R relevant images
(same class, without the query) among M, r_i = 1 where the i-th is relevant:

    AP = 1/R sum over i of r_i (r_1 + ... + r_i) / i,      mAP = mean of AP over the queries

In (0, 1]; on the forget set lower is better, and chance, not 0, is the floor of a method that erases: `chance` is the
mAP of a random order,

    E[AP] = 1/M ( H_M + (R - 1)/(M - 1) (M - H_M) ),      H_M = 1 + 1/2 + ... + 1/M.

Below chance the class is scattered on purpose. Only images are compared, so that moving names or filtering answers
changes nothing. Source: average precision as in image retrieval (Philbin et al., CVPR 2007), over the whole list. Ties
count by the mean over all their orders, exactly (McSherry & Najork, ECIR 2008): in a group of t equal cosines with R_g
relevant, after s images of which c relevant, the j-th place adds R_g/t (c + 1 + (j - 1)(R_g - 1)/(t - 1)) / (s + j).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.numerics.features import blocks, cosines, unit_norm
from benchmark.records.record import Metric

if TYPE_CHECKING:
    from benchmark.evaluation.context import Context
    from benchmark.evaluation.evaluate import Metrics

WIDE = 16
"""A ranking holds about this many float32 values a cosine while it is scored: blocks are that much smaller."""


@dataclass(frozen=True)
class ImageRetrieval:
    """Mean average precision of the forgotten images.

    Attributes:
        mean_average_precision: In (0, 1]; lower is better, down to `chance`.
        chance: The same under a random order of the gallery, in (0, 1].
        n: How many queries: the forgotten test images that have another one of their class.
    """

    mean_average_precision: float
    chance: float
    n: int


def image_retrieval_map(images: Tensor, labels: Tensor, forget: Tensor) -> ImageRetrieval:
    """Query the test images by each forgotten one.

    Args:
        images: Features of all test images, shape (N, D); normalised here.
        labels: Class of each image, shape (N,).
        forget: Which images are to be forgotten, boolean, shape (N,).

    Raises:
        NotMeasurableError: If no forgotten image has another of its class, or features are not finite.
    """
    images = unit_norm(images, "test features")
    labels, forget = labels.to(images.device), forget.to(images.device)
    relevant = torch.bincount(labels)[labels] - 1
    queries = torch.nonzero(forget & (relevant > 0)).flatten()
    if len(queries) == 0:
        raise NotMeasurableError("no forgotten test image has another of its class to find")
    precisions = []
    for part in blocks(len(queries), len(images) * WIDE):
        rows = queries[part]
        scores = cosines(images[rows], images)
        # The query itself goes behind all others, where cosines cannot be, and is cut off there.
        scores[torch.arange(len(rows), device=rows.device), rows] = -2.0
        order = scores.argsort(dim=1, descending=True)[:, :-1]
        hits = labels[order] == labels[rows, None]
        precisions.append(average_precision(scores.gather(1, order), hits))
    others = len(images) - 1
    chance = _chance(relevant[queries].double(), others)
    return ImageRetrieval(float(torch.cat(precisions).mean()), float(chance.mean()), len(queries))


def average_precision(scores: Tensor, hits: Tensor) -> Tensor:
    """Exact average precision of ranked lists, ties by their mean; shape (B,), float64, in (0, 1].

    Args:
        scores: Of the ranked items, shape (B, M), each row descending.
        hits: Which items are relevant, boolean, shape (B, M), at least one a row.
    """
    place = torch.arange(scores.shape[1], device=scores.device)
    new = torch.ones_like(hits)
    new[:, 1:] = scores[:, 1:] != scores[:, :-1]
    start = torch.where(new, place, 0).cummax(dim=1).values
    ends = new.roll(-1, dims=1)
    ends[:, -1] = True
    end = torch.where(ends, place, len(place)).flip(1).cummin(dim=1).values.flip(1)
    seen = hits.long().cumsum(dim=1)
    before = seen.gather(1, start) - hits.gather(1, start).long()
    inside = (seen.gather(1, end) - before).double()
    size = (end - start + 1).double()
    earlier = (place - start) * (inside - 1) / (size - 1).clamp(min=1)
    gained = inside / size * (before + 1 + earlier) / (place + 1)
    return gained.sum(dim=1) / seen[:, -1]


def _chance(relevant: Tensor, others: int) -> Tensor:
    """E[AP] of a random order, for each number of relevant images among the others."""
    harmonic = float((1 / torch.arange(1, others + 1, dtype=torch.float64)).sum())
    return (harmonic + (relevant - 1) / max(1, others - 1) * (others - harmonic)) / others


def measure(context: Context) -> Metrics:
    """`forget/image_map`; the record tells what a random order would give."""
    retrieval = image_retrieval_map(context.images(), context.labels(), context.forget)
    context.report["image_map_chance"] = retrieval.chance
    return {"forget/image_map": Metric(retrieval.mean_average_precision, retrieval.n, None)}
