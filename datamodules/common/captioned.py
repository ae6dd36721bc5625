"""Data sets of image files with captions and no classes, listed by one annotation file."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from datamodules.common.caption_files import Entry as Entry
from datamodules.common.content import content_digest
from datamodules.common.dataset import Dataset, ImageFiles, Split, SplitName
from datamodules.common.errors import BenchmarkError, DatasetCorruptError
from datamodules.common.files import checksum, dataset_folder, file_sizes, require_images
from datamodules.common.images import Framing, decode_once


class CaptionedDataset(Dataset):
    """Base of the data sets with captions. A subclass declares the class variables, `_annotation_file` and `_read`.

    Attributes:
        images_folder: Where the paths of the annotation file start, below the folder of the data set.
        empty_advice: What to do where a split has no image.
        concepts: The vocabulary of concepts.
    """

    images_folder: ClassVar[str]
    empty_advice: ClassVar[str]
    concepts: ClassVar[tuple[str, ...]]

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing) -> None:
        super().__init__(data_dir, cache_dir, framing)
        self.folder = dataset_folder(self.card, data_dir)
        self._annotations = self._annotation_file()
        self._entries, self._listed = self._read(), checksum(self._annotations, "sha256")
        self._images = self.folder / self.images_folder
        names = [name for name, _, _ in self._entries]
        sizes = file_sizes(self._images, names)
        require_images(self.card, self._images, names, sizes)

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
        """Frequent concrete nouns of captions."""
        return self.concepts

    @cached_property
    def revision(self) -> str:
        """A digest of the annotation file, of the names and bytes of the images, and of the code that reads them."""
        return self.revision_of(*self._content())

    def _content(self) -> tuple[str, ...]:
        """The digests of the annotation file and of the images."""
        return self._listed, content_digest(self._images, self.image_files.names, self.cache_dir)

    @property
    def image_files(self) -> ImageFiles:
        """The images that the annotation file lists."""
        return ImageFiles(self._images, sorted({name for name, _, _ in self._entries}))

    @abstractmethod
    def _annotation_file(self) -> Path:
        """The annotation file; an error that says what to put where if there is none."""

    @abstractmethod
    def _read(self) -> list[Entry]:
        """What the annotation file lists, in its order."""

    def _entries_of(self, name: SplitName) -> list[Entry]:
        """The images of a split with those of their captions that belong to it."""
        return [entry for entry in self._entries if entry[1] == name]

    def _load(self, name: SplitName) -> Split:
        entries = self._entries_of(name)
        if not entries:
            raise DatasetCorruptError(
                f"data set {self.name!r}: {self._annotations} gives no image to {name}; {self.empty_advice}"
            )
        paths = [self._images / file for file, _, _ in entries]
        images = decode_once(paths, self.framing, self.cache_dir, name=f"{self.name}/{name}", revision=self.revision)
        return Split(name, images, captions=tuple(captions for _, _, captions in entries))


class ListedByHand(CaptionedDataset):
    """Base of those whose one annotation file nothing fetches. A subclass declares `annotations` and `_advice`.

    Attributes:
        annotations: The name of the annotation file.
    """

    annotations: ClassVar[str]

    @classmethod
    def download(cls, data_dir: Path) -> None:
        """Say what to put where.

        Raises:
            BenchmarkError: Always, unless the annotation file is there.
        """
        folder = data_dir / cls.card.folder
        if not (folder / cls.annotations).is_file():
            raise BenchmarkError(
                f"data set {cls.card.name!r} cannot be fetched automatically; by hand: {cls._advice(folder)}"
            )

    def _annotation_file(self) -> Path:
        file = self.folder / self.annotations
        if not file.is_file():
            raise DatasetCorruptError(f"data set {self.card.name!r}: {file} is missing; {self._advice(self.folder)}")
        return file

    @classmethod
    @abstractmethod
    def _advice(cls, folder: Path) -> str:
        """What to put where, as the end of a message."""
