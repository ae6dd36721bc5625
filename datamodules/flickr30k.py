"""Flickr30K (Young et al., 2014): 31,783 photographs of people and animals, each with five captions.

Layout: `flickr30k/flickr30k-images/*.jpg` and one annotation file beside that folder:

- `dataset_flickr30k.json`: Karpathy's captions and split (29,000 train, 1,014 val, 1,000 test), or
- `results_20130124.token`: the official captions, without a split. Each image then falls into val (5 %),
  test (5 %) or train by a hash of its file name (our choice): never by caption, or captions of one image
  would be on both sides; and stable when images are added or left out.

A subset of the images with its own annotation file works the same way.
"""

from __future__ import annotations

import json
from pathlib import Path

from datamodules.cards import DatasetCard
from datamodules.dataset import Dataset, Split, SplitName
from datamodules.errors import BenchmarkError, DatasetCorruptError
from datamodules.files import dataset_folder, file_sizes, listing_revision, name_share, require_images
from datamodules.images import decode_once

CARD = DatasetCard(
    name="flickr30k",
    title="Flickr30K: photographs with five captions each",
    tasks=("retrieval",),
    source="https://shannon.cs.illinois.edu/DenotationGraph/",
    folder="flickr30k",
)

IMAGES = "flickr30k-images"
KARPATHY_FILE = "dataset_flickr30k.json"
KARPATHY_URL = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
TOKEN_FILE = "results_20130124.token"
HASHED_VAL, HASHED_TEST = 0.05, 0.05

CONCEPT_NAMES = (
    *("man", "dog", "boy", "girl", "shirt", "woman", "water", "child", "grass", "ball", "snow", "street"),
    *("jacket", "camera", "hat", "beach", "bike", "rock", "tree", "mountain", "park", "building", "crowd"),
    *("wall", "toy", "ocean", "helmet", "sidewalk", "pool", "lake", "dress", "stick", "skateboard", "fence"),
    *("car", "baby", "track", "ramp", "swing", "collar", "river", "rope", "sunglasses", "forest", "bench"),
    *("boat", "sign", "table", "playground", "motorcycle", "backpack", "house", "flower", "frisbee", "bird"),
    *("bag", "horse", "surfboard", "chair", "leash", "fountain", "window", "flag", "bridge", "guitar"),
)
"""Frequent concrete nouns of captions, most frequent first (our choice; counted by image in 6,993 train
images); near duplicates of a more frequent one are left out (bicycle, road, hill, sand)."""

Entry = tuple[str, str, tuple[str, ...]]
"""Of each image: its file name, its split, its captions."""


class Flickr30k(Dataset):
    """Flickr30K; see the module for its splits."""

    card = CARD

    def __init__(self, data_dir: Path | None, cache_dir: Path, image_size: int) -> None:
        super().__init__(data_dir, cache_dir, image_size)
        self.folder = dataset_folder(CARD, data_dir)
        self._annotations = self.folder / KARPATHY_FILE
        if not self._annotations.is_file():
            self._annotations = self.folder / TOKEN_FILE
        if not self._annotations.is_file():
            raise DatasetCorruptError(
                f"data set {CARD.name!r}: neither {KARPATHY_FILE} nor {TOKEN_FILE} is in {self.folder}; "
                f"{_advice(self.folder)}"
            )
        read = read_karpathy if self._annotations.name == KARPATHY_FILE else read_token
        self._entries = read(self._annotations)
        names = [name for name, _, _ in self._entries]
        sizes = file_sizes(self.folder / IMAGES, names)
        require_images(CARD, self.folder / IMAGES, names, sizes)
        self._revision = listing_revision(self._annotations, sizes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """None: the images have captions."""
        return ()

    @property
    def templates(self) -> tuple[str, ...]:
        """The template that turns a concept into a prompt."""
        return ("a photo of a {}.",)

    @property
    def concept_names(self) -> tuple[str, ...]:
        """Frequent concrete nouns of the captions."""
        return CONCEPT_NAMES

    @property
    def revision(self) -> str:
        """A digest of the annotation file and of the names and sizes of the images."""
        return self._revision

    @classmethod
    def download(cls, data_dir: Path) -> None:
        """Say what to put where: the images are given out after a request form, and no checksum is published.

        Raises:
            BenchmarkError: Always, unless the images and an annotation file are there.
        """
        folder = data_dir / CARD.folder
        annotated = any((folder / file).is_file() for file in (KARPATHY_FILE, TOKEN_FILE))
        if not ((folder / IMAGES).is_dir() and annotated):
            raise BenchmarkError(f"data set {CARD.name!r} cannot be fetched automatically; by hand: {_advice(folder)}")

    def _load(self, name: SplitName) -> Split:
        entries = [entry for entry in self._entries if entry[1] == name]
        if not entries:
            raise DatasetCorruptError(
                f"data set {CARD.name!r}: {self._annotations} gives no image to {name}; use the complete file"
            )
        paths = [self.folder / IMAGES / file for file, _, _ in entries]
        images = decode_once(paths, self.image_size, self.cache_dir, name=f"{CARD.name}/{name}", revision=self.revision)
        return Split(name, images, captions=tuple(captions for _, _, captions in entries))


def read_karpathy(path: Path) -> list[Entry]:
    """Read Karpathy's JSON file, in its order.

    Raises:
        DatasetCorruptError: If it is not such a file.
    """
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        entries = [
            (str(i["filename"]), str(i["split"]), tuple(str(s["raw"]).strip() for s in i["sentences"])) for i in images
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise _malformed(path, f"no {error}" if isinstance(error, KeyError) else str(error)) from error
    for name, split, captions in entries:
        if split not in ("train", "val", "test") or not captions:
            raise _malformed(path, f"image {name} has split {split!r} and {len(captions)} captions")
    return entries


def read_token(path: Path) -> list[Entry]:
    """Read the official token file: lines `name.jpg#i<TAB>caption`; the split is that of `hashed_split`.

    Raises:
        DatasetCorruptError: If a line has another form; its number is given.
    """
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        key, tab, caption = line.partition("\t")
        name, mark, _ = key.rpartition("#")
        if not (tab and mark and name):
            raise _malformed(path, f"line {number} is not of the form name.jpg#i<TAB>caption")
        captions.setdefault(name, []).append(caption.strip())
    return [(name, hashed_split(name), tuple(texts)) for name, texts in captions.items()]


def hashed_split(filename: str) -> SplitName:
    """The split of an image where none is published: 5 % val, 5 % test, by the SHA-256 of its file name."""
    share = name_share(filename)
    if share < HASHED_VAL:
        return "val"
    return "test" if share < HASHED_VAL + HASHED_TEST else "train"


def _malformed(path: Path, reason: str) -> DatasetCorruptError:
    return DatasetCorruptError(
        f"data set {CARD.name!r}: {path} cannot be read ({reason}); replace it; {_advice(path.parent)}"
    )


def _advice(folder: Path) -> str:
    return (
        f"ask for the images and {TOKEN_FILE} at {CARD.source}, unpack the images into {folder / IMAGES}, "
        f"and put {KARPATHY_FILE} from {KARPATHY_URL} (or {TOKEN_FILE}) into {folder}"
    )
