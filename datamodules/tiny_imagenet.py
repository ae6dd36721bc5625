"""Tiny-ImageNet (Stanford CS231n, 2015): 120,000 images of 64 x 64 pixels in 200 classes of ImageNet.

The official layout, at its native size: `tiny-imagenet-200/train/<wnid>/images/<wnid>_<i>.JPEG` (500 a class),
`val/images/*.JPEG` with `val/val_annotations.txt` (50 a class), `wnids.txt` and `words.txt`. The official test
part has no labels, so "test" is the official val part, in the order of its annotations. As for CIFAR-100, "val" is
the last 50 images of each class of the official train part (10,000; our choice) and "train" is the other 90,000.

Labels follow the sorted WordNet ids, as in loaders that read the train folders; `wnids.txt` is not sorted. A class is
named by its first synonym in `words.txt`; classes that share it are told apart by further ones.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np

from datamodules.common.card import DatasetCard
from datamodules.common.content import content_digest
from datamodules.common.dataset import Dataset, ImageFiles, Split, SplitName
from datamodules.common.documents import LARGE, read_text
from datamodules.common.download import extract, fetch
from datamodules.common.errors import DatasetCorruptError
from datamodules.common.files import dataset_folder, file_sizes, require_images
from datamodules.common.images import Framing, decode_once
from datamodules.common.wordnet import distinct_names

CARD = DatasetCard(
    name="tiny_imagenet",
    title="Tiny-ImageNet: 200 classes of ImageNet at 64 px",
    tasks=("classification",),
    source="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    folder="tiny-imagenet-200",
)

ARCHIVE_URL = CARD.source
ARCHIVE_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"  # as in avalanche.benchmarks.datasets.TinyImagenet
WNIDS, WORDS, TEST_LABELS = "wnids.txt", "words.txt", "val/val_annotations.txt"
IMAGE_SIZE = 64
CLASSES = 200
OFFICIAL_TRAIN_PER_CLASS, VAL_PER_CLASS, TEST_PER_CLASS = 500, 50, 50

LabelledFiles = list[tuple[str, int]]
"""Of each image: its path below the folder of the data set, its label."""


class TinyImageNet(Dataset):
    """Tiny-ImageNet; see the module for its splits and its class names."""

    card = CARD

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing) -> None:
        super().__init__(data_dir, cache_dir, framing)
        self.folder = dataset_folder(CARD, data_dir)
        for file in (WNIDS, WORDS, TEST_LABELS):
            if not (self.folder / file).is_file():
                raise self._corrupt(file, "is missing")
        self._wnids = sorted(read_text(self.folder / WNIDS).split())
        if len(set(self._wnids)) != CLASSES or len(self._wnids) != CLASSES:
            raise self._corrupt(WNIDS, f"names {len(set(self._wnids))} classes, not {CLASSES}")
        self._items = self._list_train() | {"test": self._list_test()}
        listed = [path for items in self._items.values() for path, _ in items]
        sizes = file_sizes(self.folder, listed)
        for items in self._items.values():
            require_images(CARD, self.folder, [path for path, _ in items], sizes)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The 200 classes in label order: the first synonym of each, and more of them where it is not enough."""
        # It names 82,115 WordNet ids: a letter out of place in another line is no reason to stop.
        lines = (self.folder / WORDS).read_text(encoding="utf-8", errors="replace").splitlines()
        words = {wnid: names for wnid, _, names in (line.partition("\t") for line in lines)}
        lacking = [wnid for wnid in self._wnids if not words.get(wnid, "").strip()]
        if lacking:
            raise self._corrupt(WORDS, f"has no name for {len(lacking)} classes, the first is {lacking[0]}")
        return distinct_names({wnid: [name.strip() for name in words[wnid].split(",")] for wnid in self._wnids})

    @property
    def templates(self) -> tuple[str, ...]:
        """CLIP's first template alone, as for CIFAR-100."""
        return ("a photo of a {}.",)

    @cached_property
    def revision(self) -> str:
        """A digest of all files, of the validation part, and of the code that reads them."""
        names = [WNIDS, WORDS, TEST_LABELS, *self.image_files.names]
        return self.revision_of(content_digest(self.folder, names, self.cache_dir), VAL_PER_CLASS)

    @property
    def image_files(self) -> ImageFiles:
        """The images of all parts."""
        return ImageFiles(self.folder, [path for items in self._items.values() for path, _ in items])

    @classmethod
    def download(cls, data_dir: Path) -> None:
        """Fetch the official archive (248 MB) and unpack it.

        Raises:
            BenchmarkError: If it cannot be fetched.
        """
        advice = f"fetch {CARD.source} and unpack it so that {data_dir / CARD.folder} holds train, val and {WNIDS}"
        archive = fetch(ARCHIVE_URL, data_dir / "tiny-imagenet-200.zip", md5=ARCHIVE_MD5, advice=advice)
        extract(archive, data_dir)
        archive.unlink()

    def _load(self, name: SplitName) -> Split:
        items = self._items[name]
        paths = [self.folder / path for path, _ in items]
        images = decode_once(paths, IMAGE_SIZE, self.cache_dir, name=f"{CARD.name}/{name}", revision=self.revision)
        return Split(name, images, labels=np.array([label for _, label in items], dtype=np.int64))

    def _list_train(self) -> dict[SplitName, LabelledFiles]:
        """The official train images, class by class; the last of each class are held out."""
        parts: dict[SplitName, LabelledFiles] = {"train": [], "val": []}
        for label, wnid in enumerate(self._wnids):
            for index in range(OFFICIAL_TRAIN_PER_CLASS):
                held_out = index >= OFFICIAL_TRAIN_PER_CLASS - VAL_PER_CLASS
                parts["val" if held_out else "train"].append((f"train/{wnid}/images/{wnid}_{index}.JPEG", label))
        return parts

    def _list_test(self) -> LabelledFiles:
        """The official val images. A line reads `val_0.JPEG<TAB>wnid<TAB>box`."""
        label_of = {wnid: label for label, wnid in enumerate(self._wnids)}
        items: LabelledFiles = []
        lines = read_text(self.folder / TEST_LABELS, LARGE).splitlines()
        for number, line in enumerate(lines, start=1):
            image, wnid = [*line.split("\t"), ""][:2]
            if wnid not in label_of:
                raise self._corrupt(TEST_LABELS, f"has no known class in line {number}")
            items.append((f"val/images/{image}", label_of[wnid]))
        counts = Counter(label for _, label in items)
        if set(counts.values()) != {TEST_PER_CLASS} or len(counts) != CLASSES:
            raise self._corrupt(TEST_LABELS, f"does not give {TEST_PER_CLASS} images to each of {CLASSES} classes")
        return items

    def _corrupt(self, file: str, what: str) -> DatasetCorruptError:
        return DatasetCorruptError(
            f"data set {CARD.name!r}: {self.folder / file} {what}; fetch the data set again with "
            f"`python -m benchmark download {CARD.name} --data-dir {self.folder.parent}`"
        )
