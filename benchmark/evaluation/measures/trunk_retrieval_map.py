"""trunk_retrieval_map: do images of the class find each other by the features before the last layer?

Whoever has the weights can take an image's features one layer earlier. An edit of the visual projection alone, or of
the text tower, leaves these as they were, so what it removed from the embeddings is still there: it hides the class. A
model that never saw the class has features in which its images lie less close together. The measure is the mean
average precision of `image_retrieval_map`, formula and ties as there, over

    g(x) = (t(x) - m) / |t(x) - m|,      m = the mean of t over the test images that are measured,

where t(x) is what the visual projection is applied to (the output of a tower without one). The mean is taken off
because features after a ReLU or a normalisation all point one way, and cosines of such vectors tell little (our choice;
on validation images of micro it moves the original from .28 to .32, models that never saw the class from .18 to .19).

In (0, 1]; on the forget set lower is better, down to what the retrained models have; chance is that of
`image_retrieval_map`, for the images are the same. Nothing is trained and nothing is fitted. Its limit: it looks one
layer deep. An edit of the layer before changes it, whether that removes anything or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from benchmark.evaluation.measures.image_retrieval_map import image_retrieval_map
from benchmark.records.record import Metric

if TYPE_CHECKING:
    from benchmark.evaluation.context import Context
    from benchmark.evaluation.evaluate import Metrics


def centred(features: Tensor) -> Tensor:
    """Features less their mean.

    Args:
        features: Shape (N, width).
    """
    whole = features.double()
    return (whole - whole.mean(dim=0)).float()


def measure(context: Context) -> Metrics:
    """`forget/trunk_map`.

    Raises:
        NotMeasurableError: As `image_retrieval_map`.
    """
    labels = context.labels()
    retrieval = image_retrieval_map(centred(context.features()), labels, context.forget)
    return {"forget/trunk_map": Metric(retrieval.mean_average_precision, retrieval.n, None)}
