"""Stanford Dogs (Khosla et al., 2011) in the split of the Lip paper's authors (Kravets & Namboodiri, WACV 2025).

120 breeds: 6,122 train, 6,122 val, 8,336 test images. The layout: `stanford_dogs/Images/<folder>/*.jpg`, as in
the official archive, and `stanford_dogs/split_alexey_stanford_dogs.json`, whose paths start in `Images`.

The split file itself cuts class names at the first hyphen: "Shih" for the Shih-Tzu, "black" for the black-and-tan
coonhound, "wire" for the wire-haired fox terrier. They stay as the file gives them, apart from underscores: published
numbers are for these names. All 120 differ.
"""

from __future__ import annotations

from pathlib import Path

from datamodules.common.card import DatasetCard
from datamodules.common.download import fetch
from datamodules.common.split_file import SplitFile, SplitFileDataset, unpack_images

CARD = DatasetCard(
    name="stanford_dogs",
    title="Stanford Dogs: 120 breeds, the split of Lip's authors",
    tasks=("classification",),
    source="http://vision.stanford.edu/aditya86/ImageNetDogs/",
    folder="stanford_dogs",
)

IMAGES = "Images"
SPLIT_FILE = SplitFile(
    name="split_alexey_stanford_dogs.json",
    sha256=("69332ea6d0380c4d32886baf7fecdf20fa1973464b3aa16a9cd18788df2dafe5",),
    source="https://github.com/akres001/Zero-Shot-Class-Unlearning-in-CLIP-with-Synthetic-Samples/blob/main/DATASETS.md",
    whose="the Lip authors'",
)
ARCHIVE_URL = "http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar"
# As in tensorflow_datasets, url_checksums/stanford_dogs.txt.
ARCHIVE_SHA256 = "a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58"


class StanfordDogs(SplitFileDataset):
    """Stanford Dogs; see the module for its splits and its class names."""

    card = CARD
    split_file = SPLIT_FILE
    images_folder = IMAGES

    @classmethod
    def _fetch_images(cls, folder: Path) -> None:
        """Fetch the images (794 MB) from Stanford."""
        if (folder / IMAGES).is_dir():
            return
        advice = f"fetch images.tar from {CARD.source} and unpack it so that {folder / IMAGES} holds 120 folders"
        archive = fetch(ARCHIVE_URL, folder / "images.tar", sha256=ARCHIVE_SHA256, advice=advice)
        unpack_images(archive, folder / IMAGES)
