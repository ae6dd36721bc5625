"""A local part of Conceptual 12M (Changpinyo et al., 2021): web images with one caption each.

The official list gives addresses, most of which no longer answer, so everybody's copy differs. Layout here:
`conceptual12m/images/` and `conceptual12m/metadata.tsv`, whose lines are `path<TAB>caption` with paths below `images/`.

As in CLIPErase (Yang et al., ACL 2025) 70 % of the images train and 30 % test; which, a hash of the path decides (our
choice: nothing moves when images come or go). A tenth of the training images is the validation part.
"""

from __future__ import annotations

from pathlib import Path

from datamodules.common.captioned import Entry, ListedByHand
from datamodules.common.card import DatasetCard
from datamodules.common.dataset import SplitName
from datamodules.common.documents import LARGE, read_text
from datamodules.common.errors import DatasetCorruptError
from datamodules.common.files import name_share
from datamodules.flickr30k import CONCEPT_NAMES

CARD = DatasetCard(
    name="conceptual12m",
    title="Conceptual 12M: the web images that you have, one caption each",
    tasks=("retrieval",),
    source="https://github.com/google-research-datasets/conceptual-12m",
    folder="conceptual12m",
)

IMAGES, METADATA = "images", "metadata.tsv"
TEST, VAL = 0.3, 0.07


class Conceptual12M(ListedByHand):
    """Conceptual 12M; see the module for its layout and splits."""

    card = CARD
    images_folder = IMAGES
    empty_advice = "add images"
    concepts = CONCEPT_NAMES
    annotations = METADATA

    @classmethod
    def _advice(cls, folder: Path) -> str:
        return (
            f"fetch what still answers of the list at {CARD.source} (img2dataset does it), put the images into "
            f"{folder / IMAGES}, and write {METADATA} into {folder}: lines of path<TAB>caption"
        )

    def _read(self) -> list[Entry]:
        return [(path, split_of(path), (caption,)) for path, caption in read_metadata(self._annotations).items()]


def read_metadata(path: Path) -> dict[str, str]:
    """The caption of each image, by path, in the file's order.

    Raises:
        DatasetCorruptError: If a line has another form or names an image again; its number is given.
    """
    entries: dict[str, str] = {}
    for number, line in enumerate(read_text(path, LARGE).split("\n"), start=1):
        if not line.strip():
            continue
        image, tab, caption = line.partition("\t")
        if not (image and tab and caption.strip()):
            problem = "is not of the form path<TAB>caption"
        elif image in entries:
            problem = f"names {image} again"
        else:
            entries[image] = caption.strip()
            continue
        raise DatasetCorruptError(f"data set {CARD.name!r}: {path}, line {number} {problem}; mend it or leave it out")
    return entries


def split_of(path: str) -> SplitName:
    """The split of an image: 30 % test, 7 % val, the rest train."""
    share = name_share(path)
    if share < TEST:
        return "test"
    return "val" if share < TEST + VAL else "train"
