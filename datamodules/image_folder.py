"""Your own images, one folder a class: the data set `folder:NAME` is the folder NAME below `--data-dir`.

    NAME/train/golden_retriever/*.jpg     what the methods may read, by their data regimes
    NAME/test/golden_retriever/*.jpg      what is measured
    NAME/val/...                          not needed
    NAME/templates.txt                    not needed: a prompt template a line, each with one {}
    NAME/classnames.txt                   not needed: lines of folder<TAB>name, for folders whose names are no words

A class's name is its folder's, with underscores turned to spaces; the labels follow the alphabet of the folders.
Folders that are WordNet ids take ImageNet's names. Without `test` the images of `val` are measured; without both, or
where the class folders lie in NAME itself, a fifth of each class is, chosen by a hash of the file names. Files and
folders that begin with a dot are ignored; what is no image is counted by its suffix and said. The images are decoded
once, to the size that the model wants, as open_clip does it: transparency is dropped, and orientation in EXIF is not
applied.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from datamodules.common.card import FOLDER_SCHEME, DatasetCard
from datamodules.common.class_folders import Kinds, class_folders, without
from datamodules.common.content import content_digest
from datamodules.common.dataset import Dataset, ImageFiles, Split, SplitName
from datamodules.common.documents import read_text
from datamodules.common.errors import BenchmarkError, DatasetCorruptError, MissingFilesError
from datamodules.common.images import Framing, decode_once
from datamodules.common.request import composed
from datamodules.common.templates import template_problem
from datamodules.common.text import hidden_sign, printable
from datamodules.common.wordnet import are_wordnet_ids, wordnet_names

DEFAULT_TEMPLATES = ("a photo of a {}.",)
TEMPLATES, CLASS_NAMES = "templates.txt", "classnames.txt"


class ImageFolder(Dataset):
    """A folder of images in folders by class; see the module for the layout.

    Attributes:
        ids_expected: Whether the folders of this data set are WordNet ids, so that nobody need be told.

    Args:
        folder: The name of the folder below `data_dir`.

    Raises:
        MissingFilesError: If the folder is not there.
        DatasetCorruptError: If its layout is another one.
    """

    card = DatasetCard(
        name="folder",
        title="your own images, one folder a class",
        tasks=("classification",),
        source="yours",
        folder="NAME",
    )
    may_leave_out = True
    ids_expected: ClassVar[bool] = False

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing, folder: str) -> None:
        super().__init__(data_dir, cache_dir, framing)
        self._name = folder
        if data_dir is None or not folder or not (data_dir / folder).is_dir():
            where = "no --data-dir was given" if data_dir is None else f"it is not a folder in {data_dir}"
            raise MissingFilesError(
                f"data set {self.name}: {where}; it is a folder below --data-dir that holds "
                "train/CLASS/*.jpg and test/CLASS/*.jpg"
            )
        self.folder = data_dir / folder
        if Path(folder).is_absolute() or ".." in Path(folder).parts or Path(folder) == Path():
            raise BenchmarkError(f"data set {self.name}: name a folder below --data-dir {data_dir}")
        listed = class_folders(self.folder)
        self._files: dict[str, Kinds] = listed.parts
        self._notes = listed.notes
        self._check()

    @property
    def name(self) -> str:
        """`folder:NAME`."""
        return FOLDER_SCHEME + self._name

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class folder in `train`, in the order of the folders."""
        return tuple(self._name_of_folder.values())

    @property
    def class_groups(self) -> dict[str, tuple[str, ...]]:
        """The folders whose names are not their classes': a request may name either."""
        return {folder: (name,) for folder, name in self._name_of_folder.items() if folder != name}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, and how the images were parted where no folder says so."""
        notes = [*self._notes]
        named_by_ids = are_wordnet_ids(self._files["train"]) and not self.ids_expected
        if named_by_ids and not (self.folder / CLASS_NAMES).exists():
            notes.append(f"the folders are WordNet ids and take ImageNet's names ({CLASS_NAMES} may give others)")
        if self.skipped:
            notes.append(f"{len(self.skipped)} images that cannot be read are left out")
        return tuple(f"data set {self.name}: {note}" for note in notes)

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """The lines of `templates.txt`, or one of our choice."""
        path = self.folder / TEMPLATES
        if not path.exists():
            return DEFAULT_TEMPLATES
        lines = [line.strip() for line in read_text(path).split("\n")]
        for number, line in enumerate(lines, start=1):
            if problem := line and template_problem(line):
                raise DatasetCorruptError(f"data set {self.name}: {path}, line {number}: {printable(line)!r} {problem}")
        return tuple(filter(None, lines)) or DEFAULT_TEMPLATES

    @cached_property
    def revision(self) -> str:
        """A digest of templates, names, parts, the bytes of the images, and of the code that reads them."""
        content = content_digest(self.folder, self.image_files.names, self.cache_dir)
        return self.revision_of(content, repr(self._files), *self.templates, *self.class_names)

    @property
    def image_files(self) -> ImageFiles:
        """The images of all parts."""
        return ImageFiles(self.folder, [n for kinds in self._files.values() for files in kinds.values() for n in files])

    @property
    def train_files(self) -> tuple[str, ...]:
        """The path of each training image below the folder, in the order of the images: what a request may name."""
        return tuple(file for files in self._files["train"].values() for file in files)

    def _leave_out(self, names: frozenset[str]) -> None:
        self._files = without(self._files, names)
        self._check()

    def _load(self, name: SplitName) -> Split:
        kinds = self._files[name]
        if not kinds:
            raise DatasetCorruptError(f"data set {self.name}: there is no folder {self.folder / name}")
        paths = [self.folder / file for files in kinds.values() for file in files]
        label_of = {kind: label for label, kind in enumerate(self._files["train"])}
        labels = np.repeat([label_of[kind] for kind in kinds], [len(files) for files in kinds.values()])
        array = f"folder-{self._name}/{name}"
        images = decode_once(paths, self.framing, self.cache_dir, name=array, revision=self.revision)
        return Split(name, images, labels=labels.astype(np.int64))

    @cached_property
    def _name_of_folder(self) -> dict[str, str]:
        """The name of each class, by its folder."""
        folders = list(self._files["train"])
        names = {folder: composed(folder).replace("_", " ") for folder in folders}
        if are_wordnet_ids(folders):
            names |= wordnet_names(folders)
        path = self.folder / CLASS_NAMES
        given = self._named(path) if path.exists() else {}
        return {folder: given.get(folder, name) for folder, name in names.items()}

    def _named(self, path: Path) -> dict[str, str]:
        """What a file of class names says: `folder<TAB>name`, or `n02123045 tabby, tabby cat` as ImageNet's own."""
        given: dict[str, str] = {}
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            folder, tab, name = line.strip().partition("\t")
            if not tab and (wordnet := re.match(r"(n\d{8})\s+([^,]+)", line)):
                folder, name = wordnet[1], wordnet[2]
            if not line.strip():
                continue
            if not name.strip() or hidden_sign(name):
                raise DatasetCorruptError(
                    f"data set {self.name}: {path}, line {number}: {printable(line)!r} is not folder<TAB>name"
                )
            given[folder.strip()] = composed(name.strip())
        if given and not set(given) & set(self._files["train"]):
            raise DatasetCorruptError(
                f"data set {self.name}: {path} names no class folder that is here: it begins with "
                f"{printable(next(iter(given)))!r}"
            )
        return given

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
                raise DatasetCorruptError(
                    f"data set {self.name}: class {empty[0]!r} has no image in {part}; two images are the least, one "
                    "to train on and one to measure"
                )
        if odd := sorted(set(self._files["val"]) - set(train)):
            raise DatasetCorruptError(f"data set {self.name}: class {odd[0]!r} of val is not in train")
        if len(train) < 2:
            raise DatasetCorruptError(f"data set {self.name}: one class alone cannot be forgotten; two are the least")
        if twice := [name for name in self.class_names if self.class_names.count(name) > 1]:
            raise DatasetCorruptError(f"data set {self.name}: two folders give the same class name {twice[0]!r}")
