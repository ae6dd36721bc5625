"""How well a small CLIP does on the held-out parts of its corpus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.evaluate import retrieval_metrics
from benchmark.evaluation.numerics.accuracy import correct, predict
from benchmark.pretraining.recipe import Recipe
from datamodules.common.registry import open_dataset
from methods.common.clip import Clip


def report(clip: Clip, recipe: Recipe, data_dir: Path | None, cache_dir: Path) -> Iterator[str]:
    """One line a measure: zero-shot accuracy and retrieval recall on the test split of each data set of a recipe."""
    store = EmbeddingStore(None)
    for name in recipe.data:
        dataset = open_dataset(name, data_dir, cache_dir, clip.preprocessing.image_size)
        split = dataset.split("test")
        images = store.images(clip, dataset, "test")
        if split.labels is not None:
            classifier = store.classifier(clip, dataset.class_names, dataset.templates)
            right = correct(predict(images, classifier), torch.from_numpy(split.labels))
            yield f"{name}: zero-shot accuracy {100 * float(right.float().mean()):.2f} % of {len(images)} test images"
        if split.captions is not None:
            everything = torch.ones(len(images), dtype=torch.bool)
            found = retrieval_metrics(store, clip, dataset, images, {"": everything})
            gallery = found["mean_recall"].n
            shown = ", ".join(f"{key} {100 * (m.value or 0):.1f} %" for key, m in found.items() if "@" in key)
            yield f"{name}: {shown} ({gallery} images)"
