"""ImageNet (ILSVRC 2012; Russakovsky et al., 2015) with the class names of CLIP's zero-shot classifier.

Layout: `imagenet/val/n01440764/*.JPEG`, a folder for each WordNet id (the official validation images, sorted into
folders as usual), and `imagenet/train/n01440764/*.JPEG` where methods are to read real images. As everywhere the
official validation images are those that are measured. Without `train` a fifth of them is measured, chosen by a hash of
their names, and the rest may be read. Any subset of the 1,000 classes works, such as ImageNet-100.
"""

from __future__ import annotations

from pathlib import Path

from datamodules.common.card import DatasetCard
from datamodules.common.errors import BenchmarkError, DatasetCorruptError
from datamodules.common.files import dataset_folder
from datamodules.common.images import Framing
from datamodules.common.wordnet import are_wordnet_ids
from datamodules.image_folder import ImageFolder

CARD = DatasetCard(
    name="imagenet",
    title="ImageNet: 1,000 classes of web images, by WordNet id",
    tasks=("classification",),
    source="https://image-net.org/download-images.php",
    folder="imagenet",
)


class ImageNet(ImageFolder):
    """ImageNet; see the module for its layout."""

    card = CARD
    may_leave_out = False
    ids_expected = True

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing) -> None:
        folder = dataset_folder(CARD, data_dir)
        super().__init__(data_dir, cache_dir, framing, CARD.folder)
        if not are_wordnet_ids(self._files["train"]):
            odd = next(name for name in self._files["train"] if not are_wordnet_ids([name]))
            raise DatasetCorruptError(
                f"data set {CARD.name!r}: {folder} holds the folder {odd!r}, which is no WordNet id: sort the "
                "validation images into folders such as val/n01440764"
            )

    @property
    def name(self) -> str:
        """The registry name."""
        return CARD.name

    @classmethod
    def download(cls, data_dir: Path) -> None:
        """Say what to put where: the images are given out after registration.

        Raises:
            BenchmarkError: Always, unless the folder is there.
        """
        folder = data_dir / CARD.folder
        if not (folder / "val").is_dir():
            raise BenchmarkError(
                f"data set {CARD.name!r} cannot be fetched automatically; by hand: register at {CARD.source}, fetch "
                f"ILSVRC2012_img_val.tar and sort its images into {folder / 'val'}/WNID/ (and train likewise, "
                "if methods are to read training images)"
            )
