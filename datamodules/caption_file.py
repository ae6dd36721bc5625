"""Your own images with captions: the data set `captions:FILE` is what one file below `--data-dir` lists.

FILE is a CSV or TSV table, JSON lines, a JSON list, Karpathy's JSON, a file of COCO captions or a token file of
Flickr30K: see `datamodules.common.caption_files`. Its images are named relative to its folder, or to one folder in it.

Where it names no split a fifth of the images are measured, chosen by a hash of their names. The concepts against which
a request is told apart are the lines of `concepts.txt` beside it, or those frequent nouns of Flickr30K that its
captions mention.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from datamodules.common.caption_files import read_captions
from datamodules.common.captioned import CaptionedDataset, Entry
from datamodules.common.card import CAPTIONS_SCHEME, DatasetCard
from datamodules.common.class_folders import TEST_SHARE
from datamodules.common.dataset import Dataset
from datamodules.common.documents import read_text
from datamodules.common.errors import BenchmarkError, DatasetCorruptError, MissingFilesError
from datamodules.common.files import checksum, share_apart
from datamodules.common.images import Framing
from datamodules.common.request import composed, mentioned
from datamodules.flickr30k import CONCEPT_NAMES

CONCEPTS = "concepts.txt"


class CaptionFile(CaptionedDataset):
    """Images and captions that one file lists; see the module.

    Args:
        file: The path of the file below `data_dir`.

    Raises:
        MissingFilesError: If it is not there.
        DatasetCorruptError: If it is of another form, or its images are nowhere near it.
    """

    card = DatasetCard(
        name="captions",
        title="your own images with captions, listed by one file",
        tasks=("retrieval",),
        source="yours",
        folder="FILE",
    )
    may_leave_out = True
    images_folder = ""
    empty_advice = "give some images that split, or none a split"

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing, file: str) -> None:
        Dataset.__init__(self, data_dir, cache_dir, framing)
        self._name = file
        if data_dir is None or not file or not (data_dir / file).is_file():
            where = "no --data-dir was given" if data_dir is None else f"it is not a file in {data_dir}"
            raise MissingFilesError(
                f"data set {self.name}: {where}; it is a file below --data-dir that lists images with captions: CSV, "
                "JSON lines, COCO captions or Karpathy's JSON"
            )
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise BenchmarkError(f"data set {self.name}: name a file below --data-dir {data_dir}")
        self._annotations = data_dir / file
        self.folder = self._annotations.parent
        self._listed = checksum(self._annotations, "sha256")
        listed = self._read()
        self._stated = bool(listed[0][1])
        self._entries = listed if self._stated else _parted(listed)
        self._images = self._image_folder()

    @property
    def name(self) -> str:
        """`captions:FILE`."""
        return CAPTIONS_SCHEME + self._name

    @property
    def notes(self) -> tuple[str, ...]:
        """How the images were parted where the file does not say, and what was left out."""
        notes = []
        if not self._stated:
            notes.append(
                f"no split is named: {TEST_SHARE:.0%} of the images, chosen by a hash of their names, are measured"
            )
        if not self.concept_names:
            notes.append(f"no known concept is in the captions: list those to keep in {CONCEPTS} beside the file")
        if self.skipped:
            notes.append(f"{len(self.skipped)} images that cannot be read are left out")
        return tuple(f"data set {self.name}: {note}" for note in notes)

    @cached_property
    def concept_names(self) -> tuple[str, ...]:
        """The lines of `concepts.txt`, or the frequent nouns that the captions mention."""
        path = self.folder / CONCEPTS
        if path.exists():
            return tuple(dict.fromkeys(composed(line.strip()) for line in read_text(path).split("\n") if line.strip()))
        texts = [caption for _, _, captions in self._entries for caption in captions]
        return mentioned(texts, CONCEPT_NAMES)

    @cached_property
    def revision(self) -> str:
        """A digest of the file, the images, the splits and concepts, and of the code that reads them."""
        names = [(name, split) for name, split, _ in self._entries]
        return self.revision_of(*self._content(), repr(names), *self.concept_names)

    def _annotation_file(self) -> Path:
        return self._annotations

    def _read(self) -> list[Entry]:
        return read_captions(self._annotations)

    def _leave_out(self, names: frozenset[str]) -> None:
        self._entries = [entry for entry in self._entries if entry[0] not in names]

    def _image_folder(self) -> Path:
        """Where the names of the images begin: the file's folder, or a folder in it."""
        first = self._entries[0][0]
        if first.startswith("/") or ".." in Path(first).parts:
            raise DatasetCorruptError(
                f"data set {self.name}: the image {first!r} is not below {self.folder}: name images relative to it"
            )
        inside = sorted(path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        names = [name for name, _, _ in self._entries[:50]]  # some of them may be missing
        for root in (self.folder, *inside):
            if any((root / name).is_file() for name in names):
                return root
        raise DatasetCorruptError(
            f"data set {self.name}: its images, such as {first}, are neither in {self.folder} nor in a folder in it: "
            "put them there"
        )


def _parted(entries: list[Entry]) -> list[Entry]:
    """The entries with a split each."""
    tested = share_apart([name for name, _, _ in entries], TEST_SHARE)
    return [(name, "test" if name in tested else "train", captions) for name, _, captions in entries]
