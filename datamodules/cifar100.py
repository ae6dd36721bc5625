"""CIFAR-100 (Krizhevsky, 2009): 60,000 images of 32 x 32 pixels in 100 classes.

The official Python files, checked against their MD5, at their native size. The official set has no
validation part: "val" is the last 50 images of each class of the official train file (5,000; our choice: it
needs no seed and is balanced by class), "train" is the other 45,000 and "test" is the official test file, all
in file order.
"""

from __future__ import annotations

import pickle
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.common.cache import cached_array
from datamodules.common.card import DatasetCard
from datamodules.common.cifar100_superclasses import SUPERCLASSES
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.download import extract, fetch
from datamodules.common.errors import DatasetCorruptError
from datamodules.common.files import checksum, dataset_folder
from datamodules.common.images import Framing, ImageArray

CARD = DatasetCard(
    name="cifar100",
    title="CIFAR-100: 100 classes of 32 px photographs",
    tasks=("classification",),
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    folder="cifar-100-python",
)

MD5 = {  # of the unpacked files (torchvision.datasets.CIFAR100)
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
IMAGE_SIZE = 32
VAL_PER_CLASS = 50

CLIP_TEMPLATES = (
    "a photo of a {}.",
    "a blurry photo of a {}.",
    "a low contrast photo of a {}.",
    "a photo of the {}.",
    "a good photo of a {}.",
)
"""Some of CLIP's templates for CIFAR (official notebook). The zero-shot classifier uses only the first, as
papers do; the others serve to ask whether a forgotten class still answers to another wording."""


class CIFAR100(Dataset):
    """CIFAR-100; see the module for its splits."""

    card = CARD

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing) -> None:
        super().__init__(data_dir, cache_dir, framing)
        self.folder = dataset_folder(self.card, data_dir)
        for file, expected in MD5.items():
            self._check(self.folder / file, expected)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The 100 fine classes, in label order, underscores turned to spaces."""
        names = self._unpickle("meta")["fine_label_names"]
        return tuple(str(name).replace("_", " ") for name in names)

    @property
    def class_groups(self) -> dict[str, tuple[str, ...]]:
        """The 20 superclasses: a request may name one for its five classes."""
        return SUPERCLASSES

    @property
    def templates(self) -> tuple[str, ...]:
        """CLIP's first template alone."""
        return CLIP_TEMPLATES[:1]

    @property
    def revision(self) -> str:
        """A digest of the pinned MD5 sums, which the files have, of the validation part, and of the code that reads."""
        return self.revision_of(sorted(MD5.items()), VAL_PER_CLASS)

    @classmethod
    def download(cls, data_dir: Path) -> None:
        """Fetch the official archive (169 MB) and unpack it.

        Raises:
            BenchmarkError: If it cannot be fetched.
        """
        from torchvision.datasets import CIFAR100 as Official

        archive = fetch(
            Official.url,
            data_dir / Official.filename,
            md5=Official.tgz_md5,
            advice=f"fetch {Official.filename} from {CARD.source} and unpack it so that "
            f"{data_dir / CARD.folder} holds train, test and meta",
        )
        extract(archive, data_dir)
        archive.unlink()

    def _load(self, name: SplitName) -> Split:
        images = cached_array(self._cached(name, "images"), lambda: self._part(name)[0])
        labels = cached_array(self._cached(name, "labels"), lambda: self._part(name)[1])
        return Split(name, ImageArray(images, name=f"{CARD.name}/{name}"), labels=np.array(labels))

    def _part(self, name: SplitName) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The images and labels of a split from its official file; later runs map them within milliseconds."""
        pixels, labels = self._official("test" if name == "test" else "train")
        if name == "test":
            return pixels, labels
        held_out = last_of_each_class(labels, VAL_PER_CLASS)
        chosen = held_out if name == "val" else ~held_out
        return pixels[chosen], labels[chosen]

    def _cached(self, name: SplitName, kind: str) -> Path:
        return self.cache_dir / "images" / f"{CARD.name}-{name}-{kind}-{self.revision}.npy"

    def _official(self, file: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The images, shape (N, 3, 32, 32), and labels of an official file."""
        content = self._unpickle(file)
        pixels = np.asarray(content["data"], dtype=np.uint8).reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
        return pixels, np.asarray(content["fine_labels"], dtype=np.int64)

    def _unpickle(self, file: str) -> dict[str, Any]:
        with (self.folder / file).open("rb") as stream:  # its MD5 was checked: the official pickle
            content: dict[str, Any] = pickle.load(stream, encoding="latin1")
        return content

    @staticmethod
    def _check(path: Path, expected: str) -> None:
        digest = checksum(path, "md5") if path.is_file() else None
        if digest != expected:
            wrong = f"is not the official file (md5 {digest}, expected {expected})"
            state = "is missing" if digest is None else wrong
            raise DatasetCorruptError(
                f"data set {CARD.name!r}: {path} {state}; delete {path.parent} and fetch it again with "
                f"`python -m benchmark download {CARD.name} --data-dir {path.parent.parent}`"
            )


def last_of_each_class(labels: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Which items are among the last `count` of their class, in order. Shape (N,)."""
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[-count:]] = True
    return chosen
