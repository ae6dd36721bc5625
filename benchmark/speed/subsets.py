"""The first test images of a data set, as data sets of their own: measurements of speed must be quick."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datamodules.common.changed import ChangedDataset
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.images import ImageArray, decode_once
from datamodules.flickr30k import IMAGES, KARPATHY_FILE, TOKEN_FILE, read_karpathy, read_token


class FirstImages(ChangedDataset):
    """The first images of a data set with classes."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        super().__init__(dataset)
        self._count = count

    @property
    def revision(self) -> str:
        """Of the whole, and how many."""
        return f"{self.base.revision}, first {self._count}"

    def _load(self, name: SplitName) -> Split:
        split = self.base.split(name)
        count = min(self._count, len(split.images))
        images = ImageArray(split.images.read(np.arange(count)).numpy(), name=f"{split.images.name}, first {count}")
        return Split(name, images, None if split.labels is None else split.labels[:count])


class FirstPhotographs(FirstImages):
    """The first test images of Flickr30K; only these are decoded.

    Attributes:
        paths: Their files.
        captions: Those of each image.
    """

    def __init__(self, dataset: Dataset, count: int) -> None:
        super().__init__(dataset, count)
        folder = Path(dataset.data_dir or ".") / dataset.card.folder
        listing = folder / KARPATHY_FILE
        entries = read_karpathy(listing) if listing.is_file() else read_token(folder / TOKEN_FILE)
        first = [(name, captions) for name, split, captions in entries if split == "test"][:count]
        self.paths = [folder / IMAGES / name for name, _ in first]
        self.captions = tuple(captions for _, captions in first)

    def _load(self, name: SplitName) -> Split:
        label = f"{self.name}-first{len(self.paths)}/{name}"
        images = decode_once(self.paths, self.framing, self.cache_dir, name=label, revision=self.revision)
        return Split(name, images, captions=self.captions)
