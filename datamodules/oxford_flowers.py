"""Oxford Flowers (Nilsback & Zisserman, 2008) in the split of CoOp (Zhou et al., 2022), as in Lip.

102 classes: 4,093 train, 1,633 val, 2,463 test images. The layout is CoOp's: `oxford_flowers/jpg/` and
`oxford_flowers/split_zhou_OxfordFlowers.json`. CoOp cut the official 8,189 images anew; the official split
has 1,020 train images.
"""

from __future__ import annotations

from pathlib import Path

from datamodules.common.card import DatasetCard
from datamodules.common.download import fetch
from datamodules.common.split_file import SplitFile, SplitFileDataset, unpack_images

CARD = DatasetCard(
    name="oxford_flowers",
    title="Oxford Flowers: 102 kinds of flowers, CoOp's split",
    tasks=("classification",),
    source="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    folder="oxford_flowers",
)

IMAGES = "jpg"
SPLIT_FILE = SplitFile(
    name="split_zhou_OxfordFlowers.json",
    sha256=("2f50c42fc1a17ca13c271cb4269b1347bdb43d2be672e34f74a4e4cbfbcca794",),
)
# As in torchvision.datasets.Flowers102.
ARCHIVE_URL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz"
ARCHIVE_MD5 = "52808999861908f626f3c1f4e79d11fa"


class OxfordFlowers(SplitFileDataset):
    """Oxford Flowers; see the module for its splits."""

    card = CARD
    split_file = SPLIT_FILE
    images_folder = IMAGES

    @property
    def templates(self) -> tuple[str, ...]:
        """CoOp's hand-written template, which Lip uses as well."""
        return ("a photo of a {}, a type of flower.",)

    @classmethod
    def _fetch_images(cls, folder: Path) -> None:
        """Fetch the images (345 MB) from Oxford."""
        if (folder / IMAGES).is_dir():
            return
        advice = f"fetch 102flowers.tgz from {CARD.source} and unpack it so that {folder / IMAGES} holds the images"
        archive = fetch(ARCHIVE_URL, folder / "102flowers.tgz", md5=ARCHIVE_MD5, advice=advice)
        unpack_images(archive, folder / IMAGES)
