"""The base of data sets that are another one in all but their splits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.images import ChosenImages, ImageArray


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
        """The other data set's."""
        return self.base.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The other data set's."""
        return self.base.class_names

    @property
    def templates(self) -> tuple[str, ...]:
        """The other data set's."""
        return self.base.templates

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The other data set's."""
        return self.base.concept_names

    @property
    def class_groups(self) -> Mapping[str, tuple[str, ...]]:
        """The other data set's."""
        return self.base.class_groups

    @property
    def gallery_size(self) -> int | None:
        """The other data set's."""
        return self.base.gallery_size


def chosen_rows(split: Split, rows: NDArray[np.int64], name: SplitName, *, images: str) -> Split:
    """A split of some images of another one.

    Args:
        split: The other one.
        rows: Which of its images, in their order.
        name: Of the new split.
        images: The name of its images.
    """
    labels = None if split.labels is None else split.labels[rows]
    captions = None if split.captions is None else tuple(split.captions[row] for row in rows.tolist())
    return Split(name, _chosen_images(split.images, rows, images), labels, captions)


def _chosen_images(images: ImageArray, rows: NDArray[np.int64], name: str) -> ChosenImages:
    """Some of the images of an array; where that is itself a choice, a choice of what that one is of."""
    if isinstance(images, ChosenImages):
        return ChosenImages(images._parts, images._rows[rows], name=name)
    return ChosenImages([images], rows, name=name)
