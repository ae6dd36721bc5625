"""Stanford Cars (Krause et al., 2013) in the split of CoOp (Zhou et al., 2022), as in Lip.

196 models of cars: 6,509 train, 1,635 val, 8,041 test images; train and val are the official train part. The layout
is CoOp's: `stanford_cars/cars_train/*.jpg`, `stanford_cars/cars_test/*.jpg` and
`stanford_cars/split_zhou_StanfordCars.json`. Class names begin with the year, as CoOp writes them:
"2012 Audi TTS Coupe".
"""

from __future__ import annotations

from pathlib import Path

from datamodules.common.card import DatasetCard
from datamodules.common.errors import BenchmarkError
from datamodules.common.split_file import SplitFile, SplitFileDataset

CARD = DatasetCard(
    name="stanford_cars",
    title="Stanford Cars: 196 models of cars, CoOp's split",
    tasks=("classification",),
    source="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
    folder="stanford_cars",
)

SPLIT_FILE = SplitFile(
    name="split_zhou_StanfordCars.json",
    sha256=("40acee7aa65c8e4727a32d90e884b7c3f8960b523422317e163f7af65432959d",),
)
IMAGES = ("cars_train", "cars_test")
# As torchvision.datasets.StanfordCars had them while the address lived.
ARCHIVE_MD5 = {
    "cars_train.tgz": "065e5b463ae28d29e77c1b4b166cfe61",
    "cars_test.tgz": "4ce7ebf6a94d07f1952d94dd34c4d501",
}
MIRRORS = "https://github.com/pytorch/vision/issues/7545"


class StanfordCars(SplitFileDataset):
    """Stanford Cars; see the module for its splits."""

    card = CARD
    split_file = SPLIT_FILE
    images_folder = ""

    @classmethod
    def _fetch_images(cls, folder: Path) -> None:
        """Say what to put where: the official archives are no longer given out, and copies have no fixed address."""
        if all((folder / images).is_dir() for images in IMAGES):
            return
        archives = " and ".join(f"{name} (md5 {md5})" for name, md5 in ARCHIVE_MD5.items())
        raise BenchmarkError(
            f"data set {CARD.name!r} cannot be fetched automatically, its official address is gone; by hand: unpack "
            f"{archives} so that {folder} holds {' and '.join(IMAGES)} (copies: {MIRRORS}), and put "
            f"{SPLIT_FILE.name}, linked from {SPLIT_FILE.source}, beside them"
        )
