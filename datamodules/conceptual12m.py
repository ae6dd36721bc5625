"""A local part of Conceptual 12M (Changpinyo et al., 2021): web images with one caption each.

The official list gives addresses, most of which no longer answer, so everybody's copy differs. Layout here:
`conceptual12m/images/` and `conceptual12m/metadata.tsv`, whose lines are `path<TAB>caption` with paths below `images/`.

As in CLIPErase (Yang et al., ACL 2025) 70 % of the images train and 30 % test; which, a hash of the path decides (our
choice: nothing moves when images come or go). A tenth of the training images is the validation part.
"""

from __future__ import annotations

from pathlib import Path

from datamodules.cards import DatasetCard
from datamodules.dataset import Dataset, Split, SplitName
from datamodules.errors import BenchmarkError, DatasetCorruptError
from datamodules.files import dataset_folder, file_sizes, listing_revision, name_share, require_images
from datamodules.flickr30k import CONCEPT_NAMES
from datamodules.images import decode_once

CARD = DatasetCard(
    name="conceptual12m",
    title="Conceptual 12M: the web images that you have, one caption each",
    tasks=("retrieval",),
    source="https://github.com/google-research-datasets/conceptual-12m",
    folder="conceptual12m",
)

IMAGES, METADATA = "images", "metadata.tsv"
TEST, VAL = 0.3, 0.07


class Conceptual12M(Dataset):
    """Conceptual 12M; see the module for its layout and splits."""

    card = CARD

    def __init__(self, data_dir: Path | None, cache_dir: Path, image_size: int) -> None:
        super().__init__(data_dir, cache_dir, image_size)
        self.folder = dataset_folder(CARD, data_dir)
        self._metadata = self.folder / METADATA
        if not self._metadata.is_file():
            raise DatasetCorruptError(f"data set {CARD.name!r}: {self._metadata} is missing; {_advice(self.folder)}")
        self._entries = read_metadata(self._metadata)
        names = list(self._entries)
        sizes = file_sizes(self.folder / IMAGES, names)
        require_images(CARD, self.folder / IMAGES, names, sizes)
        self._revision = listing_revision(self._metadata, sizes)

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
        """Frequent concrete nouns, those of Flickr30K's captions."""
        return CONCEPT_NAMES

    @property
    def revision(self) -> str:
        """A digest of the metadata file and of the names and sizes of the images."""
        return self._revision

    @classmethod
    def download(cls, data_dir: Path) -> None:
        """Say what to put where.

        Raises:
            BenchmarkError: Always, unless the metadata file is there.
        """
        folder = data_dir / CARD.folder
        if not (folder / METADATA).is_file():
            raise BenchmarkError(f"data set {CARD.name!r} cannot be fetched automatically; by hand: {_advice(folder)}")

    def _load(self, name: SplitName) -> Split:
        chosen = [path for path in self._entries if split_of(path) == name]
        if not chosen:
            raise DatasetCorruptError(f"data set {CARD.name!r}: {self._metadata} gives no image to {name}; add images")
        paths = [self.folder / IMAGES / path for path in chosen]
        images = decode_once(paths, self.image_size, self.cache_dir, name=f"{CARD.name}/{name}", revision=self.revision)
        return Split(name, images, captions=tuple((self._entries[path],) for path in chosen))


def read_metadata(path: Path) -> dict[str, str]:
    """The caption of each image, by path, in the file's order.

    Raises:
        DatasetCorruptError: If a line has another form or names an image again; its number is given.
    """
    entries: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
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


def _advice(folder: Path) -> str:
    return (
        f"fetch what still answers of the list at {CARD.source} (img2dataset does it), put the images into "
        f"{folder / IMAGES}, and write {METADATA} into {folder}: lines of path<TAB>caption"
    )
