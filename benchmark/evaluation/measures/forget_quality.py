"""Forget quality: could the unlearned model be one that was trained without the class?

For each forgotten test image the margin of its true name (`true_name_rank`), once by the unlearned and once by the
retrained model. The number is the p value of the two-sample Kolmogorov-Smirnov test between the two sets of margins, in
[0, 1]: small where they differ in more than chance, 1 where they agree. Higher is better, but a p value is no distance:
with more images every model that is not the retrained one goes to 0, and two trainings of the same recipe differ too.
Read it beside the margin itself and beside the p value that a retrained model of another seed has.

The same images are asked of both models, so that the two sets are not independent; the test is then a little cautious
(p too large). Source: TOFU's forget quality (Maini et al., COLM 2024, arXiv 2401.06121), there over truth ratios; the
margin in their place is our choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from benchmark.evaluation.families import NotMeasurableError
from benchmark.evaluation.measures.true_name_rank import margins
from benchmark.records.record import Metric

if TYPE_CHECKING:
    from benchmark.evaluation.context import Context
    from benchmark.evaluation.evaluate import Metrics
    from methods.common.clip import Clip


def forget_quality(unlearned: Tensor, retrained: Tensor) -> tuple[float, float]:
    """The p value of two sets of margins being of one distribution, and the distance of their distributions.

    Args:
        unlearned: Of the unlearned model, one an image, shape (N,).
        retrained: Of the retrained model, shape (M,).

    Returns:
        p and the largest difference of the two cumulative distributions, both in [0, 1].

    Raises:
        NotMeasurableError: If there is no image.
    """
    if len(unlearned) == 0 or len(retrained) == 0:
        raise NotMeasurableError("there is no forgotten image whose margin could be compared")
    from scipy.stats import ks_2samp

    result = ks_2samp(unlearned.cpu().numpy(), retrained.cpu().numpy())
    return float(result.pvalue), float(result.statistic)


def measure(context: Context) -> Metrics:
    """`score/forget_quality`; the record tells the distance. 1 for the retrained model that it is compared with."""
    context.require_classes()
    golden = context.require_retrained()
    labels = context.labels()[context.forget]

    def of(clip: Clip) -> Tensor:
        return margins(context.images(clip)[context.forget], context.classifier(clip), labels)

    p, distance = forget_quality(of(context.clip), of(golden))
    context.report["forget_quality_distance"] = round(distance, 4)
    return {"score/forget_quality": Metric(p, len(labels), None)}
