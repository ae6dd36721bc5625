"""membership: can an attacker tell forgotten images from images that were never trained on? (U-LiRA)

For a target example with logits z and true class y its scaled confidence is

    phi = log(p_y / (1 - p_y)) = z_y - log sum over j != y of exp(z_j)            (Carlini et al. 2022, section VI)

(second form: no cancellation where p_y rounds to 1). Shadow models give phi of each example where it was trained on and
then unlearned (with), and where it was never trained on (without). A Gaussian is fitted to each side, example by
example, and the audited model's phi is scored by

    score = log N(phi; mean_with, var_with) - log N(phi; mean_without, var_without)

(U-LiRA: Hayes et al. 2024, arXiv 2403.01218; LiRA: Carlini et al., IEEE S&P 2022, arXiv 2112.03570). Members are the
forgotten images, non-members images that the audited model never saw. Reported are

    AUC = P(score of a member > score of a non-member) + 1/2 P(equal)              in [0, 1], 0.5 = nothing is left
    TPR at 1 % FPR = largest share of members above a threshold that at most 1 % of the non-members reach    in [0, 1]

both exact from the scores. Nearer to 0.5 and to 0.01 is better; far below says that the fits do not hold for the
audited model. A variance of few values is worth little: with fewer than `LEAST_SHADOWS` shadow models on a side for
some example, one pooled variance a side serves all examples (as Carlini et al. do with few shadow models).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.numerics.features import require_finite
from benchmark.records.record import Metric
from benchmark.utils.statistics import Z95

if TYPE_CHECKING:
    from benchmark.evaluation.context import Context
    from benchmark.evaluation.evaluate import Metrics
    from datamodules.common.dataset import Dataset
    from methods.common.clip import Clip

LEAST_SHADOWS = 32
"""A side, our choice: half of 64 models, about where one variance an example begins to beat a common one in LiRA."""
LARGEST_FPR = 0.01
VARIANCE_FLOOR = 1e-12
"""Our choice: keeps the ratio finite where all shadow models agree to float32 rounding."""


@dataclass(frozen=True)
class MembershipAttack:
    """How well members are told from non-members.

    Attributes:
        auc: In [0, 1]; 0.5 is chance.
        auc_ci95: Its 95 % score interval over the examples (`auc_interval`).
        tpr_at_1_percent_fpr: In [0, 1]; 0.01 is chance. With fewer than 100 non-members no false positive is allowed,
            and chance is 0.
        members: How many forgotten images were scored.
        non_members: How many images that were never trained on.
    """

    auc: float
    auc_ci95: tuple[float, float]
    tpr_at_1_percent_fpr: float
    members: int
    non_members: int


def scaled_confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """phi of the module's formula, shape (N,), float64; 0 where p_y = 1/2.

    Args:
        logits: With the model's temperature in them, shape (N, C), C at least 2.
        labels: True classes, shape (N,).
    """
    wide, labels = logits.double(), labels.to(logits.device)
    true_logit = wide.gather(1, labels[:, None]).squeeze(1)
    return true_logit - wide.scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1)


def likelihood_ratios(
    shadows: Tensor, contained: Tensor, audited: Tensor, *, least_shadows: int = LEAST_SHADOWS
) -> Tensor:
    """The log likelihood ratio of each example, shape (N,), float64; higher looks more like an unlearned member.

    Args:
        shadows: phi of each example under each shadow model, shape (S, N). A model that was trained with the example
            was made to unlearn it.
        contained: Whether the model was trained with the example (and unlearned it), boolean, shape (S, N).
        audited: phi under the audited model, shape (N,).
        least_shadows: Below this many models on a side for any example, variances are pooled.

    Raises:
        NotMeasurableError: If an example has no model on a side, no variance can be had, or a value is not finite.
        ValueError: If the shapes do not fit.
    """
    if shadows.shape != contained.shape or shadows.shape[1:] != audited.shape:
        raise ValueError(f"shapes {tuple(shadows.shape)}, {tuple(contained.shape)} and {tuple(audited.shape)}")
    require_finite(shadows, "confidences under shadow models")
    require_finite(audited, "confidences under the audited model")
    shadows, audited = shadows.double().cpu(), audited.double().cpu()
    contained = contained.cpu()
    fewest = min(int(contained.sum(dim=0).min()), int((~contained).sum(dim=0).min()))
    pooled = fewest < least_shadows
    return _log_density(shadows, contained, audited, pooled=pooled) - _log_density(
        shadows, ~contained, audited, pooled=pooled
    )


def _log_density(shadows: Tensor, chosen: Tensor, audited: Tensor, *, pooled: bool) -> Tensor:
    """log N(audited; mean, variance) with the fits over the chosen shadow models, shape (N,)."""
    counts = chosen.sum(dim=0)
    if int(counts.min()) == 0:
        raise NotMeasurableError("an example has no shadow model with it, or none without it")
    weights = chosen.double()
    mean = (shadows * weights).sum(dim=0) / counts
    squares = ((shadows - mean).square() * weights).sum(dim=0)
    freedom = counts - 1
    if pooled:
        squares, freedom = squares.sum(), freedom.sum()
    if int(freedom.min()) == 0:
        raise NotMeasurableError("too few shadow models: one a side leaves no variance")
    variance = (squares / freedom).clamp(min=VARIANCE_FLOOR)
    return -0.5 * ((audited - mean).square() / variance + torch.log(2 * math.pi * variance))


def membership_attack(member_scores: Tensor, non_member_scores: Tensor) -> MembershipAttack:
    """AUC and TPR at 1 % FPR of any score that is higher for members.

    Args:
        member_scores: Shape (M,).
        non_member_scores: Shape (K,).

    Raises:
        NotMeasurableError: If there is no member or no non-member, or a score is not finite.
    """
    require_finite(member_scores, "scores of members")
    require_finite(non_member_scores, "scores of non-members")
    members = member_scores.double().cpu()
    others = non_member_scores.double().cpu().sort().values
    below = torch.searchsorted(others, members, right=False)
    not_above = torch.searchsorted(others, members, right=True)
    auc = float((below + not_above).double().mean()) / (2 * len(others))
    # A threshold just above the first non-member that must not pass: whoever scores more passes.
    allowed = math.floor(LARGEST_FPR * len(others) + 1e-9)
    tpr = float((members > others[len(others) - 1 - allowed]).double().mean())
    return MembershipAttack(auc, auc_interval(auc, len(members), len(others)), tpr, len(members), len(others))


def auc_interval(auc: float, members: int, non_members: int) -> tuple[float, float]:
    """The 95 % score interval of an AUC: all t in [0, 1] with |t - AUC| <= 1.96 sqrt(V(t)).

        V(t) = t (1 - t) / (m n) (1 + ((m + n)/2 - 1) ((1 - t)/(2 - t) + t/(1 + t)))

    Newcombe, Statistics in Medicine 25 (2006), part 2, method 5: like Wilson's for a proportion it stays inside [0, 1]
    and does not shrink to a point at 0 and 1.

    Args:
        auc: In [0, 1].
        members: m, at least 1.
        non_members: n, at least 1.
    """

    def outside(t: float) -> bool:
        spread = (1 - t) / (2 - t) + t / (1 + t)
        variance = t * (1 - t) / (members * non_members) * (1 + ((members + non_members) / 2 - 1) * spread)
        return abs(t - auc) > Z95 * math.sqrt(variance)

    return _edge(auc, 0.0, outside), _edge(auc, 1.0, outside)


def _edge(inside: float, end: float, outside: Callable[[float], bool]) -> float:
    """Where a search by halves from a point inside towards an end of [0, 1] leaves the interval."""
    if not outside(end):
        return end
    out = end
    for _ in range(60):
        middle = (inside + out) / 2
        inside, out = (inside, middle) if outside(middle) else (middle, out)
    return inside


def measure(context: Context) -> Metrics:
    """`forget/membership_auc` and `forget/membership_tpr` of the request's images in the pool of the shadow models.

    Members are those that the original was trained on. Only where a retrained model exists: its row is the check that
    chance is what such a model gives. Of a filter at the output nothing is seen: it is no part of the weights. The
    confidence is that of the model's own zero-shot classifier, so an edit of the text tower alone can hide what the
    images left.
    """
    context.require_retrained()
    context.require_classes()
    shadows = context.require_shadows()
    pool = shadows.pool
    rows = np.flatnonzero(pool.forget_mask(pool.split("train"), context.request))
    phi = torch.stack([_confidences(context, clip, pool, rows) for clip in shadows.unlearned()])
    audited = _confidences(context, context.clip, pool, rows)
    ratios = likelihood_ratios(phi, shadows.contained[:, rows], audited)
    members = torch.from_numpy(rows < shadows.seen)
    attack = membership_attack(ratios[members], ratios[~members])
    context.report["membership"] = {"shadow models": len(phi), "non-members": attack.non_members}
    return {
        "forget/membership_auc": Metric(attack.auc, attack.members, attack.auc_ci95),
        "forget/membership_tpr": Metric(attack.tpr_at_1_percent_fpr, attack.members, None),
    }


def _confidences(context: Context, clip: Clip, pool: Dataset, rows: NDArray[np.int64]) -> Tensor:
    """phi of these images of the pool under a model, shape (N,)."""
    images = context.store.images(clip, pool, "train", rows=rows).cpu()
    labels = pool.split("train").labels
    if labels is None:
        raise NotMeasurableError(f"data set {pool.name!r} has no labels")
    logits = clip.logit_scale.detach().cpu() * images @ context.classifier(clip).T
    return scaled_confidence(logits, torch.from_numpy(labels[rows]))
