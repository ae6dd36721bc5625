"""A model under examination: the context that further measures get, on a tiny data set."""

from __future__ import annotations

import numpy as np
from tiny import NAMES, SIDE, TinyDataset, tiny_clip

from benchmark.evaluation.context import Context
from benchmark.evaluation.embeddings import EmbeddingStore
from datamodules.common.dataset import Split, SplitName
from datamodules.common.images import ImageArray
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip


class ShadedDataset(TinyDataset):
    """Four classes, 16 train and 10 test images of each; `told`: the brightness of an image tells its class."""

    def __init__(self, *, told: bool) -> None:
        super().__init__()
        self.told = told

    def _load(self, name: SplitName) -> Split:
        count = {"train": 64, "val": 8, "test": 40}[name]
        random = np.random.default_rng(count)
        labels = np.arange(count) % len(NAMES)
        shades = labels if self.told else random.integers(0, len(NAMES), count)
        pixels = 60 * shades[:, None, None, None] + random.integers(0, 30, (count, 3, SIDE, SIDE))
        return Split(name, ImageArray(pixels.astype(np.uint8), name=f"shaded-{self.told}/{name}"), labels)


def context_of(
    clip: Clip,
    request: ForgetRequest,
    *,
    captions: bool = False,
    told: bool | None = None,
    original: Clip | None = None,
) -> Context:
    """The context of a model.

    Args:
        clip: Under examination.
        request: What should be forgotten.
        captions: Of the tiny data set.
        told: Use the shaded data set, whose brightness tells the class or does not.
        original: The model before; by default the tiny CLIP of the first seed.
    """
    dataset = TinyDataset(captions=captions) if told is None else ShadedDataset(told=told)
    return Context(
        clip=clip,
        original=original or tiny_clip("vit"),
        dataset=dataset,
        request=request,
        store=EmbeddingStore(None),
        metrics={},
        before=None,
        seed=7,
    )
