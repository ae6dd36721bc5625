"""Data sets of image files in splits that one pinned JSON file lists, in the format of CoOp (Zhou et al., 2022).

The file holds {"train": [[path, label, class name], ...], "val": [...], "test": [...]}; paths start in the folder of
the images. The validation images may be absent; only asking for "val" is then an error.
"""

from __future__ import annotations

import shutil
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from datamodules.common.content import content_digest
from datamodules.common.dataset import Dataset, ImageFiles, Split, SplitName
from datamodules.common.documents import load_json
from datamodules.common.download import extract
from datamodules.common.errors import BenchmarkError, DatasetCorruptError
from datamodules.common.files import checksum, dataset_folder, file_sizes, require_images
from datamodules.common.images import Framing, decode_once

COOP_SOURCE = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"

Items = list[tuple[str, int, str]]
"""Of each image: its path below the image folder, its label, its class name."""


@dataclass(frozen=True)
class SplitFile:
    """The file that says which images are in which split.

    Attributes:
        name: The file's name, in the folder of the data set.
        sha256: The digests that are accepted; a file that has one of them is not checked further.
        source: The page that links it.
        whose: Whose file it is, for messages.
    """

    name: str
    sha256: tuple[str, ...]
    source: str = COOP_SOURCE
    whose: str = "CoOp's"


class SplitFileDataset(Dataset):
    """Base of the data sets with a split file. A subclass declares the three class variables and `_fetch_images`.

    Attributes:
        split_file: Which file lists the splits.
        images_folder: Where its paths start, below the folder of the data set; empty for that folder itself.
    """

    split_file: ClassVar[SplitFile]
    images_folder: ClassVar[str]

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing) -> None:
        super().__init__(data_dir, cache_dir, framing)
        self.folder = dataset_folder(self.card, data_dir)
        self._images = self.folder / self.images_folder
        self._items = self._read_split_file()
        listed = [path for part in self._items.values() for path, _, _ in part]
        self._sizes = file_sizes(self._images, listed)
        for name in ("train", "test"):
            self._require(name)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes as the split file names them, in label order, underscores turned to spaces."""
        names = {label: name for part in self._items.values() for _, label, name in part}
        return tuple(names[label].replace("_", " ") for label in sorted(names))

    @property
    def templates(self) -> tuple[str, ...]:
        """CoOp's hand-written template for objects of any kind."""
        return ("a photo of a {}.",)

    @cached_property
    def revision(self) -> str:
        """A digest of the split file, of the names and bytes of the images, and of the code that reads them."""
        content = content_digest(self._images, sorted(self._sizes), self.cache_dir)
        return self.revision_of(checksum(self.folder / self.split_file.name, "sha256"), content)

    @property
    def image_files(self) -> ImageFiles:
        """The images of the split file that are there."""
        return ImageFiles(self._images, sorted(self._sizes))

    @classmethod
    def download(cls, data_dir: Path) -> None:
        """Fetch the images; the split file has no address that can be pinned.

        Raises:
            BenchmarkError: If the images cannot be fetched, or the split file is to be put in place by hand.
        """
        folder = data_dir / cls.card.folder
        cls._fetch_images(folder)
        if not (folder / cls.split_file.name).is_file():
            raise BenchmarkError(
                f"data set {cls.card.name!r}: the images are in {folder / cls.images_folder}; one file is left to "
                f"fetch by hand: {cls.split_file.name}, linked from {cls.split_file.source}, goes into {folder}"
            )

    @classmethod
    @abstractmethod
    def _fetch_images(cls, folder: Path) -> None:
        """Put the images into `folder`, the folder of the data set, unless they are there; or say how by hand."""

    def _load(self, name: SplitName) -> Split:
        self._require(name)
        items = self._items[name]
        paths = [self._images / path for path, _, _ in items]
        images = decode_once(paths, self.framing, self.cache_dir, name=f"{self.name}/{name}", revision=self.revision)
        return Split(name, images, labels=np.array([label for _, label, _ in items], dtype=np.int64))

    def _require(self, name: str) -> None:
        if name not in self._items:
            raise DatasetCorruptError(
                f"data set {self.name!r}: {self.folder / self.split_file.name} has no {name} images; "
                f"replace it by the official file, linked from {self.split_file.source}"
            )
        require_images(self.card, self._images, [path for path, _, _ in self._items[name]], self._sizes)

    def _read_split_file(self) -> dict[str, Items]:
        path = self.folder / self.split_file.name
        digest = checksum(path, "sha256") if path.is_file() else None
        if digest not in self.split_file.sha256:
            whose = self.split_file.whose
            state = "is missing" if digest is None else f"is not {whose} file (sha256 {digest[:16]}...)"
            raise DatasetCorruptError(
                f"data set {self.name!r}: {path} {state}; fetch the official one, linked from {self.split_file.source}"
            )
        content: dict[str, list[list[str | int]]] = load_json(path)
        return {part: [(str(p), int(i), str(n)) for p, i, n in items] for part, items in content.items()}


def unpack_images(archive: Path, target: Path) -> None:
    """Unpack the folder of an archive that has `target`'s name, whole or not at all, and delete the archive.

    Raises:
        DatasetCorruptError: If the archive is damaged.
    """
    unpacked = target.with_name(f".{target.name}.unpacked")
    extract(archive, unpacked)
    (unpacked / target.name).replace(target)
    shutil.rmtree(unpacked)
    archive.unlink()
