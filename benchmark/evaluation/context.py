"""What a further measure may look at: the model, its original, the retrained one, their features, and the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.families import EVERY, NotMeasurableError
from benchmark.records.record import Metric
from datamodules.common.dataset import Dataset, SplitName
from datamodules.common.image_request import chooses_images
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip

if TYPE_CHECKING:
    from benchmark.evaluation.evaluate import Metrics


TRAIN_PER_CLASS = 100
"""Training images of each class that probes see, our choice: enough for the probe of the original to be as good as its
zero-shot classifier, and a cell stays a matter of seconds. The same images for every model of a request."""


class Shadows(Protocol):
    """Shadow models: each was trained on a known part of a pool of images and then unlearned."""

    @property
    def pool(self) -> Dataset:
        """A data set whose training split is the pool: first what the original saw, then what it did not."""

    @property
    def seen(self) -> int:
        """How many images of the pool the original was trained on."""

    @property
    def contained(self) -> Tensor:
        """Which images of the pool each model was trained on, boolean, shape (models, images)."""

    def unlearned(self) -> Iterator[Clip]:
        """Each model after the method under examination has unlearned the request from it, one at a time."""


@dataclass
class Context:
    """One model under examination.

    Attributes:
        clip: The model, after unlearning.
        original: The model before.
        retrained: The model trained without the forget data; None where there is none.
        no_retrained: Why there is none.
        dataset: Where the request is measured.
        request: What should be forgotten.
        store: Gives the features.
        metrics: Of the model: what every cell has, and the families measured so far.
        before: The original's metrics; None if this is the original.
        reference: The retrained model's metrics; None where there is none, or if this is it.
        is_reference: Whether this is the retrained model itself.
        seed: Of the images and draws that measures choose: of the request, so that methods meet the same.
        keep: Whether the features of this model are worth keeping on disk.
        shadows: Models trained on known images and then unlearned as this one was; None where there are none.
        no_shadows: Why there are none.
        report: What a measure wants to tell beside its numbers; goes into the record.
    """

    clip: Clip
    original: Clip
    dataset: Dataset
    request: ForgetRequest
    store: EmbeddingStore
    metrics: Mapping[str, Metric]
    before: Mapping[str, Metric] | None
    seed: int
    retrained: Clip | None = None
    no_retrained: str = ""
    reference: Mapping[str, Metric] | None = None
    is_reference: bool = False
    keep: bool = False
    shadows: Shadows | None = None
    no_shadows: str = ""
    report: dict[str, Any] = field(default_factory=dict)

    # -- the data -----------------------------------------------------------------------------------------------------

    def require_classes(self) -> tuple[str, ...]:
        """The class names.

        Raises:
            NotMeasurableError: If the request is by concept: its images have captions and no class; or if it chooses
                images: other images of their classes are to be retained.
        """
        if chooses_images(self.request):
            raise NotMeasurableError("the request chooses images: this measure needs whole classes")
        if not self.request.classes:
            raise NotMeasurableError("the request is by concept: this measure needs classes")
        return self.dataset.class_names

    def labels(self, split: SplitName = "test") -> Tensor:
        """Class index of each image, shape (N,).

        Raises:
            NotMeasurableError: As `require_classes`.
        """
        self.require_classes()
        labels = self.dataset.split(split).labels
        if labels is None:
            raise NotMeasurableError(f"data set {self.dataset.name!r} has no labels")
        return torch.from_numpy(labels)

    @cached_property
    def forget(self) -> Tensor:
        """Which test images are to be forgotten, boolean, shape (N,)."""
        return torch.from_numpy(self.dataset.forget_mask(self.dataset.split("test"), self.request))

    @cached_property
    def forget_labels(self) -> Tensor:
        """The indices of the forgotten classes, shape (F,)."""
        names = self.require_classes()
        return torch.tensor([names.index(name) for name in self.request.classes])

    @cached_property
    def train_rows(self) -> NDArray[np.int64]:
        """The training images that probes see: up to `TRAIN_PER_CLASS` of each class, ascending."""
        labels = self.labels("train").numpy()
        random = np.random.default_rng(self.seed)
        chosen = [random.permutation(np.flatnonzero(labels == label))[:TRAIN_PER_CLASS] for label in np.unique(labels)]
        return np.sort(np.concatenate(chosen))

    @cached_property
    def train_labels(self) -> Tensor:
        """The labels of `train_rows`."""
        return self.labels("train")[torch.from_numpy(self.train_rows)]

    # -- what the models see ------------------------------------------------------------------------------------------

    def images(self, clip: Clip | None = None) -> Tensor:
        """Unit-norm test image embeddings, shape (N, D), on the CPU."""
        chosen = clip or self.clip
        return self.store.images(chosen, self.dataset, "test", keep=self.keep or chosen is not self.clip).cpu()

    def features(self, clip: Clip | None = None) -> Tensor:
        """Test image features before the visual projection, shape (N, width), on the CPU."""
        chosen = clip or self.clip
        return self.store.features(chosen, self.dataset, "test", keep=self.keep or chosen is not self.clip).cpu()

    def train_images(self) -> Tensor:
        """Unit-norm embeddings of `train_rows`, on the CPU."""
        return self.store.images(self.clip, self.dataset, "train", rows=self.train_rows, keep=self.keep).cpu()

    def train_features(self) -> Tensor:
        """Features of `train_rows` before the projection, on the CPU."""
        return self.store.features(self.clip, self.dataset, "train", rows=self.train_rows, keep=self.keep).cpu()

    def classifier(self, clip: Clip | None = None) -> Tensor:
        """The zero-shot classifier over all class names, shape (C, D), unit-norm rows, on the CPU."""
        return self.store.classifier(clip or self.clip, self.require_classes(), self.dataset.templates).cpu()

    def require_retrained(self) -> Clip:
        """The retrained model.

        Raises:
            NotMeasurableError: Where there is none, with the reason.
        """
        if self.retrained is None:
            raise NotMeasurableError(self.no_retrained or "there is no retrained model")
        return self.retrained

    def require_shadows(self) -> Shadows:
        """The shadow models.

        Raises:
            NotMeasurableError: Where there are none, with the reason.
        """
        if self.shadows is None:
            raise NotMeasurableError(self.no_shadows or "there are no shadow models")
        return self.shadows


def measure_families(names: Sequence[str], context: Context) -> Metrics:
    """The metrics of families, in the order of `EVERY`: a later one may read what an earlier one found.

    Args:
        names: Of the families.
        context: The model and all that it is compared with.

    Returns:
        The metrics. What could not be measured is empty, and the context's report says why under `not_measured`.
    """
    metrics: Metrics = {}
    for family in (EVERY[name] for name in EVERY if name in names):
        try:
            values = family.load()(context)
        except NotMeasurableError as error:
            context.report.setdefault("not_measured", {})[family.name] = str(error)
            values = {}
        family_metrics = {name: values.get(name, Metric(None, None, None)) for name in family.metrics}
        metrics |= family_metrics
        context.metrics = {**context.metrics, **family_metrics}
    return metrics
