"""How well a CLIP does on the test splits of some data sets: what `pretrain` says at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.evaluate import retrieval_metrics
from benchmark.evaluation.numerics.metrics import class_hits, predict
from datamodules.common.registry import open_dataset
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip


def report(
    clip: Clip,
    datasets: Sequence[str],
    data_dir: Path | None,
    cache_dir: Path,
    excluded: Mapping[str, ForgetRequest] | None = None,
) -> Iterator[str]:
    """One line a measure: zero-shot accuracy and retrieval recall on the test split of each data set.

    Args:
        clip: The model.
        datasets: Names of the data sets.
        data_dir: Where they are.
        cache_dir: Where decoded images are kept.
        excluded: What the model never saw, by data set: left-out classes and all others get a line each as well.
    """
    store = EmbeddingStore(None)
    for name in datasets:
        dataset = open_dataset(name, data_dir, cache_dir, clip.preprocessing.framing)
        split = dataset.split("test")
        images = store.images(clip, dataset, "test")
        if split.labels is not None:
            classifier = store.classifier(clip, dataset.class_names, dataset.templates)
            predicted = predict(images, classifier)
            hits, counts = class_hits(predicted, torch.from_numpy(split.labels), len(dataset.class_names))
            yield f"{name}: zero-shot accuracy {_share(hits, counts)}"
            request = (excluded or {}).get(name)
            if request is not None and request.classes:
                left_out = torch.zeros(len(hits), dtype=torch.bool)
                left_out[[dataset.label_of[label] for label in request.classes]] = True
                yield f"{name}, never seen ({request}): {_share(hits[left_out], counts[left_out])}"
                yield f"{name}, all others: {_share(hits[~left_out], counts[~left_out])}"
        if split.captions is not None:
            everything = torch.ones(len(images), dtype=torch.bool)
            metrics = retrieval_metrics(store, clip, dataset, images, {"": everything})
            gallery = metrics["mean_recall"].n
            shown = ", ".join(f"{key} {100 * (m.value or 0):.1f} %" for key, m in metrics.items() if "@" in key)
            yield f"{name}: {shown} ({gallery} images)"


def _share(hits: torch.Tensor, counts: torch.Tensor) -> str:
    return f"{100 * int(hits.sum()) / int(counts.sum()):.2f} % of {int(counts.sum())} test images"
