"""Data sets that are another one but for some of it: without some images, or in other words."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from datamodules.common.changed import ChangedDataset, chosen_rows
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.errors import RequestError
from datamodules.common.request import ForgetRequest

WHOLE: tuple[SplitName, ...] = ("val",)
"""The splits that stay whole."""


class NarrowedDataset(ChangedDataset):
    """A data set whose train and test images lack some classes; all names, templates and labels stay.

    Args:
        base: The whole data set.
        without: Names of its classes.
    """

    def __init__(self, base: Dataset, without: Collection[str]) -> None:
        super().__init__(base)
        self.without = tuple(sorted(without))

    @property
    def revision(self) -> str:
        """The data set's, and what is missing."""
        return f"{self.base.revision}-{','.join(self.without)}"

    def _load(self, name: SplitName) -> Split:
        split = self.base.split(name)
        if name in WHOLE:
            return split
        return chosen_rows(split, self._rows(split), name, images=f"{split.images.name}-{','.join(self.without)}")

    def _rows(self, split: Split) -> NDArray[np.int64]:
        if split.labels is None:
            raise RequestError(f"data set {self.name!r} has no labels: no class can be left out of it")
        missing = [self.label_of[name] for name in self.without]
        return np.flatnonzero(~np.isin(split.labels, missing))


class FewerTestImages(ChangedDataset):
    """A data set of which a fixed part of the test images is measured: as many of each class, and all forgotten ones.

    The part of a class is drawn once for all requests, so that every method and every request is measured on the same
    retained images. A data set whose test images have captions stays whole: retrieval needs its gallery.

    Args:
        base: The data set as it would be measured.
        of_each_class: How many test images of each class at most.
        request: What is forgotten: all its test images stay; None for another data set, of which nothing is.
    """

    def __init__(self, base: Dataset, of_each_class: int, request: ForgetRequest | None = None) -> None:
        super().__init__(base)
        self.of_each_class, self.request = of_each_class, request

    @property
    def revision(self) -> str:
        """The data set's, and which part of it."""
        return f"{self.base.revision}-{self._part}"

    @property
    def _part(self) -> str:
        return f"{self.of_each_class} of a class" + (f", all of {self.request}" if self.request else "")

    def _load(self, name: SplitName) -> Split:
        split = self.base.split(name)
        if name != "test" or split.labels is None or split.captions is not None:
            return split
        return chosen_rows(split, self._rows(split, split.labels), name, images=f"{split.images.name}-{self._part}")

    def _rows(self, split: Split, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        chosen = np.zeros(len(labels), dtype=bool) if self.request is None else self.forget_mask(split, self.request)
        for label in np.unique(labels).tolist():
            rows = np.flatnonzero(labels == label)
            draw = np.random.default_rng(zlib.crc32(f"{self.name} {label}".encode()))
            chosen[draw.permutation(rows)[: self.of_each_class]] = True
        return np.flatnonzero(chosen)


def whole(dataset: Dataset) -> Dataset:
    """The whole data set of which one is a part; itself, if it is whole."""
    while isinstance(dataset, NarrowedDataset | FewerTestImages):
        dataset = dataset.base
    return dataset


class RewordedDataset(ChangedDataset):
    """A data set whose test images have other captions.

    Args:
        base: The data set as it is captioned.
        captions: Of its test images, in order.
    """

    def __init__(self, base: Dataset, captions: Sequence[tuple[str, ...]]) -> None:
        super().__init__(base)
        self.captions = tuple(captions)

    @property
    def revision(self) -> str:
        """That the captions are others; the images are the data set's."""
        return f"{self.base.revision}-reworded"

    def _load(self, name: SplitName) -> Split:
        split = self.base.split(name)
        return replace(split, captions=self.captions) if name == "test" else split
