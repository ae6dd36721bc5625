"""cka: linear centred kernel alignment of two models' features of the same images.

    CKA(X, Y) = ||X^T Y||_F^2 / (||X^T X||_F ||Y^T Y||_F),   columns of X (N, D1) and Y (N, D2) centred
              = <K, L>_F / (||K||_F ||L||_F) with the Gram matrices K = X X^T, L = Y Y^T

In [0, 1]; 1 where one is a rotation and isotropic scaling of the other. It is invariant to those and to shifts, not to
other linear maps. No direction is better in itself: an unlearned model should be near the retrained one, and its
likeness to the original says how much of the representation was changed at all. The estimate is biased upwards where N
is not much larger than the widths (unrelated features score about sqrt(D1 D2) / N for white features and large N), so
compare at equal N.
Source: Kornblith et al., ICML 2019 (arXiv 1905.00414), section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.numerics.features import NOISE, require_finite
from benchmark.records.record import Metric

if TYPE_CHECKING:
    from benchmark.evaluation.context import Context
    from benchmark.evaluation.evaluate import Metrics


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear CKA by the cheaper of its two forms, all sums in float64.

    Args:
        first: Features of one model, shape (N, D1).
        second: Features of the other for the same images in the same order, shape (N, D2).

    Raises:
        NotMeasurableError: If there are fewer than two images, a value is not finite, or the features of a model do not
            vary with the image: then both sides of the fraction are 0.
        ValueError: If the numbers of rows differ.
    """
    if len(first) != len(second):
        raise ValueError(f"CKA compares features of the same images, not {len(first)} and {len(second)}")
    for features in (first, second):
        require_finite(features, "features to compare")
    if len(first) < 2:
        raise NotMeasurableError("a single image has no centred features")
    x, y = _centred(first), _centred(second)
    n, d1, d2 = len(x), x.shape[1], y.shape[1]
    # Multiplications: n (d1 d2 + d1^2 + d2^2) in feature space, n^2 (d1 + d2) with Gram matrices.
    if d1 * d2 + d1 * d1 + d2 * d2 <= n * (d1 + d2):
        return _bounded((x.T @ y).square().sum(), (x.T @ x).norm() * (y.T @ y).norm())
    gram_x, gram_y = x @ x.T, y @ y.T
    return _bounded((gram_x * gram_y).sum(), gram_x.norm() * gram_y.norm())


def _centred(features: Tensor) -> Tensor:
    """Features minus their mean over the images, float64."""
    wide = features.double()
    centred = wide - wide.mean(dim=0)
    if float(centred.norm()) <= NOISE * float(wide.norm()):
        raise NotMeasurableError("the features of a model are the same for every image: CKA is 0 / 0")
    return centred


def _bounded(numerator: Tensor, denominator: Tensor) -> float:
    """The ratio; rounding can push it past its bounds by 1e-16."""
    return min(1.0, max(0.0, float(numerator / denominator)))


def measure(context: Context) -> Metrics:
    """`score/cka_original` and `score/cka_retrained`, of the unit-norm embeddings of all test images."""
    images = context.images()
    n = len(images)
    metrics = {"score/cka_original": Metric(linear_cka(images, context.images(context.original)), n, None)}
    if context.retrained is None:
        reasons = context.report.setdefault("not_measured", {})
        reasons["score/cka_retrained"] = context.no_retrained or "there is no retrained model"
    else:
        metrics["score/cka_retrained"] = Metric(linear_cka(images, context.images(context.retrained)), n, None)
    return metrics
