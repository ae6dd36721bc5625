"""Data sets that are another one but for some of it: without the images of some classes, or in other words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.errors import RequestError
from datamodules.common.images import ChosenImages

WHOLE: tuple[SplitName, ...] = ("val",)
"""The splits that stay whole."""


class ChangedDataset(Dataset):
    """A data set that is another one in all but its splits.

    Args:
        base: The other one.
    """

    def __init__(self, base: Dataset) -> None:
        super().__init__(base.data_dir, base.cache_dir, base.framing)
        self.card = base.card  # type: ignore[misc]
        self.base, self.skipped = base, base.skipped

    @property
    def name(self) -> str:
        """The data set's."""
        return self.base.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The data set's."""
        return self.base.class_names

    @property
    def templates(self) -> tuple[str, ...]:
        """The data set's."""
        return self.base.templates

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The data set's."""
        return self.base.concept_names

    @property
    def class_groups(self) -> Mapping[str, tuple[str, ...]]:
        """The data set's."""
        return self.base.class_groups

    @property
    def gallery_size(self) -> int | None:
        """The data set's."""
        return self.base.gallery_size


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
        rows = self._rows(split)
        images = ChosenImages([split.images], rows, name=f"{split.images.name}-{','.join(self.without)}")
        labels = None if split.labels is None else split.labels[rows]
        captions = None if split.captions is None else tuple(split.captions[row] for row in rows.tolist())
        return Split(name, images, labels, captions)

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
