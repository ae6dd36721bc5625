"""The evaluation of one CLIP on one request: all measures, from embeddings.

A data set with classes gives accuracies (for a request by class), one with captions gives retrieval. Everything is
measured on the test split; the gallery of retrieval is all of it, or its first images as the data set says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.numerics.metrics import (
    class_hits,
    harmonic,
    image_retrieval_ranks,
    kravets,
    mean_per_class_recall,
    predict,
    recall_at,
    text_retrieval_ranks,
)
from benchmark.records.record import Metric
from benchmark.utils.statistics import clustered, wilson
from datamodules.common.dataset import Dataset
from datamodules.common.image_request import chooses_images
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip

RECALLS = (1, 5, 10)
Metrics = dict[str, Metric]


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated: the data set of the request, and the other data sets.

    Attributes:
        dataset: Where the request is measured.
        request: What should be forgotten.
        others: Data sets that the request does not concern.
        store: Keeps the features.
    """

    dataset: Dataset
    request: ForgetRequest
    others: Sequence[Dataset]
    store: EmbeddingStore

    def measure(self, clip: Clip, *, before: Metrics | None, keep: bool = False) -> Metrics:
        """All metrics of a model.

        Args:
            clip: The model, after unlearning.
            before: The metrics of the original, for the scores; None if this is the original.
            keep: Whether the features are worth keeping between runs.
        """
        dataset = self.dataset
        forget = torch.from_numpy(dataset.forget_mask(dataset.split("test"), self.request))
        images = self.store.images(clip, dataset, "test", keep=keep)
        metrics: Metrics = {}
        if self.request.classes or (chooses_images(self.request) and dataset.class_names):
            metrics |= self._accuracy(clip, images, forget)
        if dataset.card.tasks and "retrieval" in dataset.card.tasks:
            metrics |= self._retrieval(clip, images, forget)
        headline = {}
        for other in self.others:
            headline[other.name] = self._other(clip, other, keep=keep)
            name = "acc1" if other.class_names else "mean_recall"
            metrics[f"other/{other.name}/{name}"] = headline[other.name]
        if headline:
            metrics["other/acc1"] = Metric(_mean([m.value for m in headline.values()]), None, None)
        return metrics | scores(metrics, before or metrics, by_class="forget/acc1" in metrics)

    def _accuracy(self, clip: Clip, images: Tensor, forget: Tensor) -> Metrics:
        dataset = self.dataset
        labels = _labels(dataset)
        classifier = self.store.classifier(clip, dataset.class_names, dataset.templates)
        predicted = predict(images, classifier, refused=clip.is_refused_class(dataset.class_names)).cpu()
        result: Metrics = {}
        for part, mask in (("forget", forget), ("retain", ~forget)):
            hits, of_class = class_hits(predicted[mask], labels[mask], len(dataset.class_names))
            result[f"{part}/acc1"] = _share(int(hits.sum()), int(of_class.sum()))
            recall = mean_per_class_recall(hits, of_class)
            result[f"{part}/mean_per_class_recall"] = Metric(recall, int(mask.sum()), None)
        return result

    def _retrieval(self, clip: Clip, images: Tensor, forget: Tensor) -> Metrics:
        return retrieval_metrics(self.store, clip, self.dataset, images, {"forget/": forget, "retain/": ~forget})

    def _other(self, clip: Clip, other: Dataset, *, keep: bool) -> Metric:
        images = self.store.images(clip, other, "test", keep=keep)
        if not other.class_names:
            everything = torch.ones(len(images), dtype=torch.bool)
            return retrieval_metrics(self.store, clip, other, images, {"": everything})["mean_recall"]
        classifier = self.store.classifier(clip, other.class_names, other.templates)
        predicted = predict(images, classifier, refused=clip.is_refused_class(other.class_names))
        hits, of_class = class_hits(predicted, _labels(other), len(other.class_names))
        return _share(int(hits.sum()), int(of_class.sum()))


def retrieval_metrics(
    store: EmbeddingStore, clip: Clip, dataset: Dataset, images: Tensor, parts: dict[str, Tensor]
) -> Metrics:
    """Recall@1, 5, 10 both ways and their mean, for each part of the queries against the whole gallery.

    The captions of one image are not independent: the intervals are clustered by image.

    Args:
        store: Gives the caption embeddings.
        clip: The model.
        dataset: With captions.
        images: Unit-norm image embeddings of its test split.
        parts: Prefix of the metric names to a mask over the images: which are queries.
    """
    captions = (dataset.split("test").captions or ())[: dataset.gallery_size]
    images = images[: len(captions)]
    texts = [caption for image_captions in captions for caption in image_captions]
    owner = torch.repeat_interleave(
        torch.arange(len(captions)), torch.tensor([len(image_captions) for image_captions in captions])
    )
    refused = clip.is_refused(texts)
    embedded = store.texts(clip, texts)
    by_caption = image_retrieval_ranks(embedded, images, owner, refused=refused)
    by_image = text_retrieval_ranks(images, embedded, owner, refused=refused)
    result: Metrics = {}
    for prefix, mask in parts.items():
        mask = mask[: len(captions)]
        recalls = []
        for task, ranks, image in (
            ("image", by_caption[mask[owner]], owner[mask[owner]]),
            ("text", by_image[mask], torch.nonzero(mask).flatten()),
        ):
            for k in RECALLS:
                metric = _recall(recall_at(ranks, k), image)
                result[f"{prefix}{task}_retrieval_recall@{k}"] = metric
                recalls.append(metric.value)
        result[f"{prefix}mean_recall"] = Metric(_mean(recalls), int(mask.sum()), None)
    return result


def scores(after: Metrics, before: Metrics, *, by_class: bool) -> Metrics:
    """The composite scores of a model, from its metrics and the original's."""
    name = "acc1" if by_class else "mean_recall"

    def pair(metric: str) -> tuple[float, float] | None:
        was, now = before[metric].value, after[metric].value
        return None if was is None or now is None else (was, now)

    forget, retain = pair(f"forget/{name}"), pair(f"retain/{name}")
    others = [pair(metric) for metric in after if metric.startswith("other/") and metric.count("/") == 2]
    s = h = None
    if forget is not None and retain is not None:
        h = harmonic(forget[1], retain[1])
        known = [before_after for before_after in others if before_after is not None]
        if len(known) == len(others):  # a data set that could not be measured leaves S empty, never shorter
            s = kravets(forget=forget, retain=retain, others=known)
    return {"score/kravets": Metric(s, None, None), "score/harmonic": Metric(h, None, None)}


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; empty where a value is missing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _labels(dataset: Dataset) -> Tensor:
    labels = dataset.split("test").labels
    if labels is None:
        raise ValueError(f"data set {dataset.name!r} has class names but no labels")
    return torch.from_numpy(labels)


def _share(count: int, total: int) -> Metric:
    """A proportion with its Wilson interval; empty where there is no item."""
    if total == 0:
        return Metric(None, 0, None)
    return Metric(count / total, total, wilson(count, total))


def _recall(hits: Tensor, image: Tensor) -> Metric:
    """A share of queries with its interval over the images that they are of; empty where there is no query."""
    if len(hits) == 0:
        return Metric(None, 0, None)
    return Metric(int(hits.sum()) / len(hits), len(hits), clustered(hits.numpy(), image.numpy()))
