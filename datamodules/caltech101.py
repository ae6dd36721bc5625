"""Caltech-101 (Li et al., 2004) in the split of CoOp (Zhou et al., 2022), which most papers on CLIP use.

100 classes (the background class and "Faces easy" are left out): 4,128 train, 1,649 val, 2,465 test images.
The layout is CoOp's: `caltech101/101_ObjectCategories/` and `caltech101/split_zhou_Caltech101.json`. The
validation images may be absent; only asking for "val" is then an error.
"""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from pathlib import Path

import numpy as np

from datamodules.cards import DatasetCard
from datamodules.dataset import Dataset, Split, SplitName
from datamodules.download import extract, fetch
from datamodules.errors import BenchmarkError, DatasetCorruptError
from datamodules.files import checksum, dataset_folder, file_sizes, listing_revision, require_images
from datamodules.images import decode_once

CARD = DatasetCard(
    name="caltech101",
    title="Caltech-101: 100 classes of web images, CoOp's split",
    tasks=("classification",),
    source="https://data.caltech.edu/records/mzrjq-6wc02",
    folder="caltech101",
)

IMAGES = "101_ObjectCategories"
SPLIT_FILE = "split_zhou_Caltech101.json"
SPLIT_SHA256 = (
    "52ce83205ff8ff8a1a18119aad6376120ae35c36e783a984bc560cbf10e73fa5",  # CoOp, official file
    "eee3aa51f83540a9d4feffc9cf25ca77183a26e8e03ba616ea7d0ea4613e3baf",  # the same lists, val left out
)
# As in torchvision.datasets.Caltech101.
ARCHIVE_URL = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip"
ARCHIVE_MD5 = "3138e1922a9193bfa496528edbbc45d0"
SPLIT_SOURCE = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"

Items = list[tuple[str, int, str]]
"""Of each image: its path below the image folder, its label, its class name."""


class Caltech101(Dataset):
    """Caltech-101; see the module for its splits."""

    card = CARD

    def __init__(self, data_dir: Path | None, cache_dir: Path, image_size: int) -> None:
        super().__init__(data_dir, cache_dir, image_size)
        self.folder = dataset_folder(CARD, data_dir)
        self._items = self._read_split_file()
        listed = [path for part in self._items.values() for path, _, _ in part]
        self._sizes = file_sizes(self.folder / IMAGES, listed)
        for name in ("train", "test"):
            self._require(name)
        self._revision = listing_revision(self.folder / SPLIT_FILE, self._sizes)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The 100 classes, in label order, underscores turned to spaces."""
        names = {label: name for part in self._items.values() for _, label, name in part}
        return tuple(names[label].replace("_", " ") for label in sorted(names))

    @property
    def templates(self) -> tuple[str, ...]:
        """CoOp's hand-written template."""
        return ("a photo of a {}.",)

    @property
    def revision(self) -> str:
        """A digest of the split file and of the names and sizes of the images."""
        return self._revision

    @classmethod
    def download(cls, data_dir: Path) -> None:
        """Fetch the images (137 MB) from Caltech; the split file has no address that can be pinned.

        Raises:
            BenchmarkError: If the images cannot be fetched, or the split file is to be put in place by hand.
        """
        folder = data_dir / CARD.folder
        if not (folder / IMAGES).is_dir():
            advice = f"fetch caltech-101.zip from {CARD.source} and unpack its {IMAGES}.tar.gz into {folder}"
            archive = fetch(ARCHIVE_URL, folder / "caltech-101.zip", md5=ARCHIVE_MD5, advice=advice)
            extract(archive, folder)
            unpacked = folder / "caltech-101"
            extract(unpacked / f"{IMAGES}.tar.gz", unpacked)
            (unpacked / IMAGES).replace(folder / IMAGES)
            shutil.rmtree(unpacked)
            archive.unlink()
        if not (folder / SPLIT_FILE).is_file():
            raise BenchmarkError(
                f"data set {CARD.name!r}: the images are in {folder / IMAGES}; one file is left to fetch by "
                f"hand: {SPLIT_FILE}, linked from {SPLIT_SOURCE}, goes into {folder}"
            )

    def _load(self, name: SplitName) -> Split:
        self._require(name)
        items = self._items[name]
        paths = [self.folder / IMAGES / path for path, _, _ in items]
        images = decode_once(paths, self.image_size, self.cache_dir, name=f"{CARD.name}/{name}", revision=self.revision)
        return Split(name, images, labels=np.array([label for _, label, _ in items], dtype=np.int64))

    def _require(self, name: str) -> None:
        if name not in self._items:
            raise DatasetCorruptError(
                f"data set {CARD.name!r}: {self.folder / SPLIT_FILE} has no {name} images; "
                f"replace it by the official file, linked from {SPLIT_SOURCE}"
            )
        require_images(CARD, self.folder / IMAGES, [path for path, _, _ in self._items[name]], self._sizes)

    def _read_split_file(self) -> dict[str, Items]:
        path = self.folder / SPLIT_FILE
        digest = checksum(path, "sha256") if path.is_file() else None
        if digest not in SPLIT_SHA256:
            state = "is missing" if digest is None else f"is not CoOp's file (sha256 {digest[:16]}...)"
            raise DatasetCorruptError(
                f"data set {CARD.name!r}: {path} {state}; fetch the official one, linked from {SPLIT_SOURCE}"
            )
        content: dict[str, list[list[str | int]]] = json.loads(path.read_text(encoding="utf-8"))
        return {part: [(str(p), int(i), str(n)) for p, i, n in items] for part, items in content.items()}
