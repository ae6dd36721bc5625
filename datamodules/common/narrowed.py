"""Data sets that are another one but for some of it: without the images of some classes, or in other words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from datamodules.common.changed import ChangedDataset, chosen_rows
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.errors import RequestError

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


def whole(dataset: Dataset) -> Dataset:
    """The whole data set of which one is a part; itself, if it is whole."""
    return dataset.base if isinstance(dataset, NarrowedDataset) else dataset


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
