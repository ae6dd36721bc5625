"""Caltech-101 (Li et al., 2004) in the split of CoOp (Zhou et al., 2022), which most papers on CLIP use.

100 classes (the background class and "Faces easy" are left out): 4,128 train, 1,649 val, 2,465 test images.
The layout is CoOp's: `caltech101/101_ObjectCategories/` and `caltech101/split_zhou_Caltech101.json`. The
validation images may be absent; only asking for "val" is then an error.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from datamodules.common.card import DatasetCard
from datamodules.common.download import extract, fetch
from datamodules.common.split_file import SplitFile, SplitFileDataset

CARD = DatasetCard(
    name="caltech101",
    title="Caltech-101: 100 classes of web images, CoOp's split",
    tasks=("classification",),
    source="https://data.caltech.edu/records/mzrjq-6wc02",
    folder="caltech101",
)

IMAGES = "101_ObjectCategories"
SPLIT_FILE = SplitFile(
    name="split_zhou_Caltech101.json",
    sha256=(
        "52ce83205ff8ff8a1a18119aad6376120ae35c36e783a984bc560cbf10e73fa5",  # CoOp, official file
        "eee3aa51f83540a9d4feffc9cf25ca77183a26e8e03ba616ea7d0ea4613e3baf",  # the same lists, val left out
    ),
)
# As in torchvision.datasets.Caltech101.
ARCHIVE_URL = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip"
ARCHIVE_MD5 = "3138e1922a9193bfa496528edbbc45d0"


class Caltech101(SplitFileDataset):
    """Caltech-101; see the module for its splits."""

    card = CARD
    split_file = SPLIT_FILE
    images_folder = IMAGES

    @classmethod
    def _fetch_images(cls, folder: Path) -> None:
        """Fetch the images (137 MB) from Caltech: an archive in an archive."""
        if (folder / IMAGES).is_dir():
            return
        advice = f"fetch caltech-101.zip from {CARD.source} and unpack its {IMAGES}.tar.gz into {folder}"
        archive = fetch(ARCHIVE_URL, folder / "caltech-101.zip", md5=ARCHIVE_MD5, advice=advice)
        extract(archive, folder)
        unpacked = folder / "caltech-101"
        extract(unpacked / f"{IMAGES}.tar.gz", unpacked)
        (unpacked / IMAGES).replace(folder / IMAGES)
        shutil.rmtree(unpacked)
        archive.unlink()
