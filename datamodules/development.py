"""A data set for choosing settings: `development:NAME` is NAME, measured on images that no board reports.

| split | where NAME has validation images | elsewhere |
|---|---|---|
| train | NAME's | NAME's train images but for a fifth, of each class alike |
| test | NAME's validation images | that fifth |

The test images of NAME are not read at all. Everything else (names, templates, captions) is NAME's, so a method and
every measure work on it as on NAME.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.common.card import DEVELOPMENT_SCHEME
from datamodules.common.changed import ChangedDataset, chosen_rows
from datamodules.common.dataset import ImageFiles, Split, SplitName
from datamodules.common.errors import BenchmarkError
from datamodules.common.files import share_of_each
from datamodules.common.images import Framing
from datamodules.common.registry import open_dataset

SHARE = 0.2
"""Of the train images that are measured where a data set has no validation images; our choice, as for folders."""


class Development(ChangedDataset):
    """Another data set without its test images; see the module for what is measured in their place.

    Args:
        name: The other data set.

    Raises:
        BenchmarkError: As the other data set.
    """

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing, name: str) -> None:
        if name.startswith(DEVELOPMENT_SCHEME):
            raise BenchmarkError(f"data set {DEVELOPMENT_SCHEME}{name}: write {DEVELOPMENT_SCHEME} once")
        super().__init__(open_dataset(name, data_dir, cache_dir, framing))

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the other data set."""
        return self.base.notes

    @property
    def image_files(self) -> ImageFiles | None:
        """Of the other data set."""
        return self.base.image_files

    @cached_property
    def revision(self) -> str:
        """Of the other data set's revision alone: its images and annotations decide which are measured here."""
        return development_revision(self.base.revision)

    def skip_unreadable(self) -> None:
        """Leave out the image files that cannot be read, as the other data set does.

        Raises:
            BenchmarkError: If the other data set cannot do without them.
        """
        self.base.skip_unreadable()
        self.skipped = self.base.skipped

    def _load(self, name: SplitName) -> Split:
        if name == "val":
            raise BenchmarkError(f"data set {DEVELOPMENT_SCHEME}{self.name} measures the validation images: use test")
        if self._validation is None:
            return self._chosen(name, self._measured if name == "test" else ~self._measured)
        split = self._validation if name == "test" else self.base.split("train")
        return Split(name, split.images, split.labels, split.captions)

    @cached_property
    def _validation(self) -> Split | None:
        """The validation images of the other data set; None where it says that it has none."""
        try:
            return self.base.split("val")
        except BenchmarkError:
            return None

    @cached_property
    def _measured(self) -> NDArray[np.bool_]:
        """Which train images of the other data set are measured here, shape (N,)."""
        train = self.base.split("train")
        labels = train.labels.tolist() if train.labels is not None else [0] * len(train.images)
        names = [str(row) for row in range(len(train.images))]
        chosen = share_of_each(names, labels, SHARE)
        return np.array([name in chosen for name in names])

    def _chosen(self, name: SplitName, mask: NDArray[np.bool_]) -> Split:
        train = self.base.split("train")
        return chosen_rows(train, np.flatnonzero(mask), name, images=f"{train.images.name}, development {name}")


def development_revision(revision: str) -> str:
    """The revision of `development:NAME` where NAME has this one."""
    return hashlib.sha256(f"{revision} development {SHARE}".encode()).hexdigest()[:16]
