"""Your own images, one folder a class: the data set `folder:NAME` is the folder NAME below `--data-dir`.

    NAME/train/golden_retriever/*.jpg     what the methods may read, by their data regimes
    NAME/test/golden_retriever/*.jpg      what is measured
    NAME/val/...                          not needed
    NAME/templates.txt                    not needed: a prompt template a line, each with one {}

A class's name is its folder's, with underscores turned to spaces; the labels follow the alphabet. The images are
decoded once, to the size that the model wants.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from datamodules.common.card import FOLDER_SCHEME, DatasetCard
from datamodules.common.content import content_digest
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.documents import read_text
from datamodules.common.errors import BenchmarkError, DatasetCorruptError
from datamodules.common.images import Framing, decode_once
from datamodules.common.templates import template_problem
from datamodules.common.text import hidden_sign, printable

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
DEFAULT_TEMPLATES = ("a photo of a {}.",)


class ImageFolder(Dataset):
    """A folder of images in folders by class; see the module for the layout.

    Args:
        folder: The name of the folder below `data_dir`.

    Raises:
        BenchmarkError: If the folder is not there.
        DatasetCorruptError: If its layout is another one.
    """

    card = DatasetCard(
        name="folder",
        title="your own images, one folder a class",
        tasks=("classification",),
        source="yours",
        folder="NAME",
    )

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing, folder: str) -> None:
        super().__init__(data_dir, cache_dir, framing)
        self._name = folder
        if data_dir is None or not folder or not (data_dir / folder).is_dir():
            where = "no --data-dir was given" if data_dir is None else f"it is not a folder in {data_dir}"
            raise BenchmarkError(
                f"data set {FOLDER_SCHEME}{folder}: {where}; it is a folder below --data-dir that holds "
                "train/CLASS/*.jpg and test/CLASS/*.jpg"
            )
        self.folder = data_dir / folder
        if Path(folder).is_absolute() or ".." in Path(folder).parts or Path(folder) == Path():
            raise BenchmarkError(f"data set {FOLDER_SCHEME}{folder}: name a folder below --data-dir {data_dir}")
        self._files = {part: self._listed(part) for part in ("train", "test", "val")}
        self._check()

    @property
    def name(self) -> str:
        """`folder:NAME`."""
        return FOLDER_SCHEME + self._name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the folders in `train`, in their order, with spaces for underscores."""
        return tuple(name.replace("_", " ") for name in self._files["train"])

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """The lines of `templates.txt`, or one of our choice."""
        path = self.folder / "templates.txt"
        if not path.exists():
            return DEFAULT_TEMPLATES
        lines = [line.strip() for line in read_text(path).split("\n")]
        for number, line in enumerate(lines, start=1):
            if problem := line and template_problem(line):
                raise DatasetCorruptError(f"data set {self.name}: {path}, line {number}: {printable(line)!r} {problem}")
        return tuple(filter(None, lines)) or DEFAULT_TEMPLATES

    @cached_property
    def revision(self) -> str:
        """A digest of the templates, of the names and bytes of the images, and of the code that reads them."""
        listed = [
            f"{part}/{kind}/{file}" for part, kinds in self._files.items() for kind in kinds for file in kinds[kind]
        ]
        return self.revision_of(content_digest(self.folder, listed, self.cache_dir), *self.templates)

    def _load(self, name: SplitName) -> Split:
        kinds = self._files[name]
        if not kinds:
            raise DatasetCorruptError(f"data set {self.name}: there is no folder {self.folder / name}")
        paths = [self.folder / name / kind / file for kind, files in kinds.items() for file in files]
        label_of = {kind: label for label, kind in enumerate(self._files["train"])}
        labels = np.repeat([label_of[kind] for kind in kinds], [len(files) for files in kinds.values()])
        array = f"folder-{self._name}/{name}"
        images = decode_once(paths, self.framing, self.cache_dir, name=array, revision=self.revision)
        return Split(name, images, labels=labels.astype(np.int64))

    def _listed(self, part: str) -> dict[str, list[str]]:
        """The image files of each class folder of a part, both in alphabetical order."""
        root = self.folder / part
        kinds = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        return {
            kind.name: sorted(file.name for file in kind.iterdir() if file.suffix.lower() in SUFFIXES) for kind in kinds
        }

    def _check(self) -> None:
        train = self._files["train"]
        for name in (self._name, *(kind for kinds in self._files.values() for kind in kinds)):
            if sign := hidden_sign(name):
                raise DatasetCorruptError(
                    f"data set {printable(self.name)}: the folder {printable(name)!r} has the sign {sign} in its name, "
                    "which is not shown: rename it"
                )
        for part in ("train", "test"):
            kinds = self._files[part]
            if not kinds:
                raise DatasetCorruptError(f"data set {self.name}: {self.folder / part} has no folder of a class")
            if odd := sorted(set(kinds) ^ set(train)):
                raise DatasetCorruptError(
                    f"data set {self.name}: class {odd[0]!r} is in only one of train and test ({len(odd)} such classes)"
                )
            if empty := [kind for kind, files in kinds.items() if not files]:
                raise DatasetCorruptError(f"data set {self.name}: {self.folder / part / empty[0]} holds no image")
        if odd := sorted(set(self._files["val"]) - set(train)):
            raise DatasetCorruptError(f"data set {self.name}: class {odd[0]!r} of val is not in train")
        if len(train) < 2:
            raise DatasetCorruptError(f"data set {self.name}: one class alone cannot be forgotten; two are the least")
        if len(set(self.class_names)) < len(train):
            raise DatasetCorruptError(f"data set {self.name}: two folders give the same class name")
