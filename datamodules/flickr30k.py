"""Flickr30K (Young et al., 2014): 31,783 photographs of people and animals, each with five captions.

Layout: `flickr30k/flickr30k-images/*.jpg` and one annotation file beside that folder:

- `dataset_flickr30k.json`: Karpathy's captions and split (29,000 train, 1,014 val, 1,000 test), or
- `results_20130124.token`: the official captions, without a split. Each image then falls into val (5 %),
  test (5 %) or train by a hash of its file name (our choice): never by caption, or captions of one image
  would be on both sides; and stable when images are added or left out.
- `flickr_annotations_30k.csv`: Karpathy's captions and split as a table, as the Hugging Face hub has them, or
- `results.csv`: the official captions as a table, as Kaggle has them, split as the token file is.

A subset of the images with its own annotation file works the same way.
"""

from __future__ import annotations

from pathlib import Path

from datamodules.common.caption_files import one_caption, read_captions
from datamodules.common.captioned import CaptionedDataset, Entry
from datamodules.common.card import DatasetCard
from datamodules.common.dataset import SplitName
from datamodules.common.documents import LARGE, DocumentError, load_json, read_text
from datamodules.common.errors import BenchmarkError, DatasetCorruptError
from datamodules.common.files import name_share

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
HUB_FILE, KAGGLE_FILE = "flickr_annotations_30k.csv", "results.csv"
ANNOTATIONS = (KARPATHY_FILE, HUB_FILE, TOKEN_FILE, KAGGLE_FILE)
"""The first that is there is read."""
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


class Flickr30k(CaptionedDataset):
    """Flickr30K; see the module for its splits."""

    card = CARD
    images_folder = IMAGES
    empty_advice = "use the complete file"
    concepts = CONCEPT_NAMES

    @classmethod
    def download(cls, data_dir: Path) -> None:
        """Say what to put where: the images are given out after a request form, and no checksum is published.

        Raises:
            BenchmarkError: Always, unless the images and an annotation file are there.
        """
        folder = data_dir / CARD.folder
        annotated = any((folder / file).is_file() for file in ANNOTATIONS)
        if not ((folder / IMAGES).is_dir() and annotated):
            name = cls.card.name
            raise BenchmarkError(f"data set {name!r} cannot be fetched automatically; by hand: {_advice(folder)}")

    def _annotation_file(self) -> Path:
        for file in ANNOTATIONS:
            if (self.folder / file).is_file():
                return self.folder / file
        raise DatasetCorruptError(
            f"data set {self.name!r}: neither {KARPATHY_FILE} nor {', '.join(ANNOTATIONS[1:])} is in {self.folder}; "
            f"{_advice(self.folder)}"
        )

    def _read(self) -> list[Entry]:
        if self._annotations.name in (HUB_FILE, KAGGLE_FILE):
            entries = read_captions(self._annotations)
            return [(name, split or hashed_split(name), captions) for name, split, captions in entries]
        return (read_karpathy if self._annotations.name == KARPATHY_FILE else read_token)(self._annotations)


def read_karpathy(path: Path) -> list[Entry]:
    """Read Karpathy's JSON file, in its order.

    Raises:
        DatasetCorruptError: If it is not such a file.
    """
    try:
        images = load_json(path)["images"]
        entries = [
            (str(i["filename"]), str(i["split"]), tuple(one_caption(str(s["raw"])) for s in i["sentences"]))
            for i in images
        ]
    except DocumentError as error:
        raise _malformed(path, str(error).removeprefix(str(path)).lstrip(",: ")) from error
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
    try:
        text = read_text(path, LARGE)
    except DocumentError as error:
        raise _malformed(path, str(error).removeprefix(str(path)).lstrip(",: ")) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        key, tab, caption = line.partition("\t")
        name, mark, _ = key.rpartition("#")
        if not (tab and mark and name):
            raise _malformed(path, f"line {number} is not of the form name.jpg#i<TAB>caption")
        captions.setdefault(name, []).append(one_caption(caption))
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
