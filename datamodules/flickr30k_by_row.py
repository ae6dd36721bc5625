"""Flickr30K split at random by row, 70 % / 30 %: CLIPErase's protocol (Yang et al., ACL 2025). For reproduction only.

A row is one image with one of its captions, and the official code splits the rows. So captions of one image fall on
both sides: nearly every image of the test part was seen in training, with its other captions. Numbers of this split
say little of unseen images. Use `flickr30k`, which splits by image, for everything but a comparison with the paper.

Here each part holds the images of its rows, each once, with those of its captions that fell to this part. That an image
stands once is our choice: equal images in one gallery would tie with themselves. The rows are those of the annotation
file, in its order, whatever split it names; share and seed are fixed (the share is the code's, the seed our choice,
because none is published). There is no validation part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from datamodules.common.captioned import Entry
from datamodules.common.card import DatasetCard
from datamodules.common.dataset import Split, SplitName
from datamodules.common.errors import BenchmarkError
from datamodules.common.request import ForgetRequest
from datamodules.flickr30k import Flickr30k

CARD = DatasetCard(
    name="flickr30k_by_row",
    title="Flickr30K split by caption (CLIPErase): images leak from train to test, for reproduction only",
    tasks=("retrieval",),
    source="https://shannon.cs.illinois.edu/DenotationGraph/",
    folder="flickr30k",
)

TRAIN_SHARE, SEED = 0.7, 0


class Flickr30kByRow(Flickr30k):
    """Flickr30K with a leak between train and test; see the module."""

    card = CARD

    @property
    def revision(self) -> str:
        """A digest of the annotation file, of the names and sizes of the images, and of the split."""
        return hashlib.sha256(f"{super().revision} rows {TRAIN_SHARE} {SEED}".encode()).hexdigest()[:16]

    def forget_mask(self, split: Split, request: ForgetRequest) -> NDArray[np.bool_]:
        """Which images of a split are to be forgotten. Shape (N,).

        An image is, if any of its captions matches, those of the other part included: so the official code flags it,
        and so an image has the same flag in both parts.

        Raises:
            RequestError: If the forget set is empty, or is everything.
        """
        captions_by_file = {file: captions for file, _, captions in self._entries}
        all_captions = tuple(captions_by_file[file] for file, _, _ in self._entries_of(split.name))
        return super().forget_mask(replace(split, captions=all_captions), request)

    def _entries_of(self, name: SplitName) -> list[Entry]:
        if name == "val":
            raise BenchmarkError(f"data set {CARD.name!r} has no validation part: use train or test")
        to_train = rows_to_train([len(captions) for _, _, captions in self._entries])
        entries = (
            (file, name, tuple(c for c, train in zip(captions, sides, strict=True) if train == (name == "train")))
            for (file, _, captions), sides in zip(self._entries, to_train, strict=True)
        )
        return [entry for entry in entries if entry[2]]


def rows_to_train(captions_per_image: Sequence[int]) -> list[NDArray[np.bool_]]:
    """For each image, which of its captions fall to the train part: 70 % of all rows, drawn at random."""
    ends = np.cumsum(captions_per_image)
    total = sum(captions_per_image)
    train = np.zeros(total, dtype=bool)
    train[np.random.default_rng(SEED).permutation(total)[: round(TRAIN_SHARE * total)]] = True
    return np.split(train, ends)[:-1]
