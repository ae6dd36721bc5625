"""true_name_rank: how near the true name still is to the images of a forgotten class.

For an image x of class y and the unit-norm class weights w_1 ... w_C let s_c = <x, w_c>, a cosine in [-1, 1]. Then

    rank   = 1 + #{c : s_c > s_y} + 1/2 #{c != y : s_c = s_y}     in [1, C], 1 = the true name comes first
    margin = s_y - max over c != y of s_c                         in [-2, 2] (cosine units), > 0 = recognised
    top 5  = chance that the true name is among the first five    in [0, 1]

Ties count by their mean, as if broken at random: a model whose cosines are all equal has the rank of chance,
(C + 1) / 2. Counting them against the model would make a collapse look like perfect forgetting. Equal means equal to
1e-6 (`features.cosines`).

On the forget set a higher rank, a lower margin and a lower top 5 are better, but only up to chance: a rank well above
(C + 1) / 2 says that the name was pushed to the far end, which points at what was hidden. An output filter is left out
on purpose: it hides the first answer and says nothing of the embeddings. Accuracy sees only whether the rank is 1; a
method that moves every image just over the border to a neighbour scores 0 there and has a mean rank of 2 here.
Source: the rank of the true class is our choice of measure; the share in the top 5 is ImageNet's top-5 accuracy.
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

TOP = 5


@dataclass(frozen=True)
class TrueNameRank:
    """Where the true name stands, over the forgotten test images.

    Attributes:
        mean_rank: In [1, C].
        median_rank: In [1, C]; the mean of the two middle ranks where their number is even.
        mean_margin: In [-2, 2], cosine units.
        top5: Share of images whose true name is among the first five, in [0, 1]; 1 where C is at most 5.
        chance_rank: (C + 1) / 2, the mean rank of a model that knows nothing.
        chance_margin: The mean margin of this model were each true name drawn at random; in [-2, 2].
        n: How many images.
    """

    mean_rank: float
    median_rank: float
    mean_margin: float
    top5: float
    chance_rank: float
    chance_margin: float
    n: int


def true_name_rank(images: Tensor, classifier: Tensor, labels: Tensor) -> TrueNameRank:
    """Rank the true name of each forgotten image among all names.

    Args:
        images: Embeddings of the forgotten test images, shape (N, D); normalised here.
        classifier: The zero-shot classifier over all names, shape (C, D); normalised here.
        labels: True class of each image, shape (N,).

    Raises:
        NotMeasurableError: If there is no image, fewer than two names, or an embedding is not finite.
    """
    if len(classifier) < 2:
        raise NotMeasurableError("a rank among fewer than two names says nothing")
    images = unit_norm(images, "embeddings of forgotten test images")
    classifier = unit_norm(classifier, "name embeddings")
    labels = labels.to(images.device)
    ranks, margins, hits, by_chance = [], [], [], []
    for part in blocks(len(images), len(classifier)):
        scores = cosines(images[part], classifier)
        above, tied, margin = _places(scores, labels[part])
        ranks.append(1 + above + tied / 2)
        hits.append(((TOP - above) / (tied + 1)).clamp(0, 1))
        margins.append(margin)
        by_chance.append(_chance_margin(scores))
    rank = torch.cat(ranks)
    return TrueNameRank(
        mean_rank=float(rank.mean()),
        median_rank=float(torch.quantile(rank, 0.5)),
        mean_margin=float(torch.cat(margins).mean()),
        top5=float(torch.cat(hits).mean()),
        chance_rank=(len(classifier) + 1) / 2,
        chance_margin=float(torch.cat(by_chance).mean()),
        n=len(images),
    )


def margins(images: Tensor, classifier: Tensor, labels: Tensor) -> Tensor:
    """The margin of the true name of each image, shape (N,), float64, in [-2, 2].

    Args:
        images: Embeddings, shape (N, D); normalised here.
        classifier: The zero-shot classifier over all names, shape (C, D), of two names or more; normalised here.
        labels: True class of each image, shape (N,).

    Raises:
        NotMeasurableError: If there is no image, or an embedding is not finite.
    """
    images = unit_norm(images, "embeddings of forgotten test images")
    classifier, labels = unit_norm(classifier, "name embeddings"), labels.to(images.device)
    parts = blocks(len(images), len(classifier))
    return torch.cat([_places(cosines(images[part], classifier), labels[part])[2] for part in parts])


def _places(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many names are above the true one, how many tie with it, and the margin; each of shape (B,), float64."""
    true_score = scores.gather(1, labels[:, None])
    others = scores.scatter(1, labels[:, None], -torch.inf)
    above = (others > true_score).sum(dim=1).double()
    tied = (others == true_score).sum(dim=1).double()
    return above, tied, (true_score.squeeze(1) - others.amax(dim=1)).double()


def _chance_margin(scores: Tensor) -> Tensor:
    """The mean margin were the true name drawn at random, shape (B,), float64: each name less the best other one."""
    best = scores.topk(2, dim=1).values.double()
    total = scores.double().sum(dim=1) - len(scores[0]) * best[:, 0]
    return (total + best[:, 0] - best[:, 1]) / len(scores[0])


def measure(context: Context) -> Metrics:
    """`forget/true_name_rank` (median), `forget/true_name_margin` and `forget/acc5`; the record tells the margin of a
    name drawn at random."""
    labels = context.labels()[context.forget]
    result = true_name_rank(context.images()[context.forget], context.classifier(), labels)
    context.report["true_name_margin_chance"] = result.chance_margin
    return {
        "forget/true_name_rank": Metric(result.median_rank, result.n, None),
        "forget/true_name_margin": Metric(result.mean_margin, result.n, None),
        "forget/acc5": Metric(result.top5, result.n, None),
    }
