"""The labelled data sets of torchvision as data sets of this benchmark: its files, its splits, its class names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datamodules.common.class_folders import TEST_SHARE
from datamodules.common.content import content_digest
from datamodules.common.dataset import Dataset, ImageFiles, Split, SplitName
from datamodules.common.errors import BenchmarkError, DatasetCorruptError, DatasetNotFoundError
from datamodules.common.files import share_of_each
from datamodules.common.images import Framing, decode_once, frame_once
from datamodules.common.text import one_line

PACKED = (".gz", ".tgz", ".zip", ".tar", ".bz2", ".xz", ".md5")
"""Suffixes of archives: they may lie beside what was unpacked of them, and are not read."""
_Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Official:
    """How torchvision opens a data set.

    Attributes:
        kind: The class in `torchvision.datasets`.
        folder: Where its files lie below the root that it is given.
        train: Its arguments for the images to train on; for all, where it knows no split.
        test: Its arguments for the images to measure; None where it knows no split.
        val: Its arguments for the validation images; None where it has none.
        templates: Prompt templates.
        names: Other names for its classes, by its own.
        class_names: The names where torchvision has none, in label order.
        slashes: Whether its class names are paths, such as "apartment_building/outdoor".
    """

    kind: str
    folder: str
    train: _Arguments = field(default_factory=lambda: {"split": "train"})
    test: _Arguments | None = field(default_factory=lambda: {"split": "test"})
    val: _Arguments | None = None
    templates: tuple[str, ...] = ("a photo of a {}.",)
    names: Mapping[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    slashes: bool = False


_BY_TRAIN: tuple[_Arguments, _Arguments] = ({"train": True}, {"train": False})
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_EUROSAT = {  # CLIP's wording
    "AnnualCrop": "annual crop land",
    "Forest": "forest",
    "HerbaceousVegetation": "brushland or shrubland",
    "Highway": "highway or road",
    "Industrial": "industrial buildings or commercial buildings",
    "Pasture": "pasture land",
    "PermanentCrop": "permanent crop land",
    "Residential": "residential buildings or homes or apartments",
    "River": "river",
    "SeaLake": "lake or sea",
}
OFFICIAL = {
    official.kind: official
    for official in (
        Official("Food101", "food-101", templates=("a photo of {}, a type of food.",)),
        Official(
            "OxfordIIITPet",
            "oxford-iiit-pet",
            train={"split": "trainval"},
            templates=("a photo of a {}, a type of pet.",),
        ),
        Official("DTD", "dtd", val={"split": "val"}, templates=("a photo of a {} texture.",)),
        Official(
            "EuroSAT",
            "eurosat",
            train={},
            test=None,
            templates=("a centered satellite photo of {}.",),
            names=_EUROSAT,
        ),
        Official("SUN397", "SUN397", train={}, test=None, slashes=True),
        Official(
            "FGVCAircraft",
            "fgvc-aircraft-2013b",
            train={"split": "trainval"},
            templates=("a photo of a {}, a type of aircraft.",),
        ),
        Official("CIFAR10", "cifar-10-batches-py", *_BY_TRAIN),
        Official("STL10", "stl10_binary"),
        Official("Imagenette", "imagenette2", test={"split": "val"}),
        Official("RenderedSST2", "rendered-sst2", val={"split": "val"}, templates=("a {} review of a movie.",)),
        Official("MNIST", "MNIST", *_BY_TRAIN, templates=('a photo of the number: "{}".',), class_names=_DIGITS),
        Official("FashionMNIST", "FashionMNIST", *_BY_TRAIN),
    )
}
"""By torchvision's name. Its other sets have no words for their classes, or are served by files of this folder. The
templates are the first of CLIP's for each set (official notebook)."""


class TorchvisionDataset(Dataset):
    """Base of the data sets that torchvision reads. A subclass declares `card` and `official`.

    Where torchvision knows no split a fifth of the images of each class are measured, chosen by a hash of their names.

    Raises:
        BenchmarkError: If its files are not there, or torchvision cannot read them.
    """

    official: ClassVar[Official]

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing) -> None:
        super().__init__(data_dir, cache_dir, framing)
        official = self.official
        if data_dir is None or not (data_dir / official.folder).is_dir():
            raise DatasetNotFoundError(self.name, data_dir, f"folder {official.folder}/")
        self._root = data_dir
        self.folder = data_dir / official.folder
        self._parts: dict[str, Any] = {"train": self._opened(official.train)}
        for part, arguments in (("test", official.test), ("val", official.val)):
            if arguments is not None:
                self._parts[part] = self._opened(arguments)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """As torchvision has them, in label order, made words: underscores turned to spaces."""
        names = self.official.class_names or getattr(self._parts["train"], "classes", ())
        first = (name[0] if isinstance(name, tuple) else str(name) for name in names)
        spelled = (name.replace("/", " ") if self.official.slashes else name for name in first)
        return tuple(self.official.names.get(name) or " ".join(name.replace("_", " ").split()) for name in spelled)

    @property
    def templates(self) -> tuple[str, ...]:
        """CLIP's first template for this set."""
        return self.official.templates

    @property
    def notes(self) -> tuple[str, ...]:
        """The split, where it is ours."""
        if self.official.test is not None:
            return ()
        chosen = f"{TEST_SHARE:.0%} of the images of each class, chosen by a hash of their names, are measured"
        return (f"data set {self.name!r} has no published split: {chosen}",)

    @cached_property
    def revision(self) -> str:
        """A digest of its files, of the names and the split, and of the code that reads them."""
        names = sorted(
            path.relative_to(self._root).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file() and path.suffix not in PACKED and not path.name.startswith(".")
        )
        content = content_digest(self._root, names, self.cache_dir)
        return self.revision_of(content, self.official, self.class_names, TEST_SHARE)

    @property
    def image_files(self) -> ImageFiles | None:
        """Its image files, where it has some of their own."""
        paths = [_paths(part) for part in self._parts.values()]
        listed = [path.relative_to(self._root).as_posix() for part in paths for path in part or ()]
        return ImageFiles(self._root, listed) if listed else None

    @classmethod
    def download(cls, data_dir: Path) -> None:
        """Have torchvision fetch the files.

        Raises:
            BenchmarkError: If they cannot be fetched.
        """
        fetch_official(cls.official, data_dir, cls.card.source)

    def _opened(self, arguments: _Arguments) -> Any:
        import torchvision

        try:
            return getattr(torchvision.datasets, self.official.kind)(str(self._root), **arguments, download=False)
        except (RuntimeError, OSError, ValueError, KeyError, ImportError) as error:
            raise DatasetCorruptError(
                f"data set {self.name!r}: torchvision cannot read {self.folder}: {one_line(str(error))[:160]}; fetch "
                f"it with `python -m benchmark download {self.name} --data-dir {self._root}`"
            ) from error

    def _load(self, name: SplitName) -> Split:
        source = self._parts.get("train" if self.official.test is None else name)
        if source is None or (self.official.test is None and name == "val"):
            raise BenchmarkError(f"data set {self.name!r} has no validation part: use train or test")
        labels, paths = _labels(source), _paths(source)
        rows = np.arange(len(labels))
        if self.official.test is None:
            names = [path.relative_to(self._root).as_posix() for path in paths] if paths else list(map(str, rows))
            tested = _tested(labels, names)
            chosen_rows = np.flatnonzero(tested if name == "test" else ~tested)
            rows = np.array(sorted(chosen_rows.tolist(), key=lambda row: names[row]), dtype=np.int64)
        array, revision = f"{self.name}/{name}", self.revision
        if paths:
            chosen = [paths[row] for row in rows.tolist()]
            array = array.replace(":", "-")
            images = decode_once(chosen, self.framing, self.cache_dir, name=array, revision=revision)
        else:
            images = frame_once(
                lambda: _pictures(source, rows), len(rows), self.framing, self.cache_dir, name=array, revision=revision
            )
        return Split(name, images, labels=labels[rows])


def fetch_official(official: Official, data_dir: Path, source: str) -> None:
    """Have torchvision fetch a data set.

    Raises:
        BenchmarkError: If it cannot be fetched; the message says what to put where by hand.
    """
    import torchvision

    data_dir.mkdir(parents=True, exist_ok=True)
    for arguments in filter(lambda known: known is not None, (official.train, official.test, official.val)):
        try:
            getattr(torchvision.datasets, official.kind)(str(data_dir), **(arguments or {}), download=True)
        except (RuntimeError, OSError, ValueError, ImportError) as error:
            raise BenchmarkError(
                f"torchvision could not fetch {official.kind} ({one_line(str(error))[:120]}); by hand: unpack it from "
                f"{source} so that {data_dir / official.folder} is as torchvision.datasets.{official.kind} leaves it"
            ) from error


def _paths(source: Any) -> Sequence[Path] | None:
    """The image files of a data set of torchvision, where it lists them."""
    for attribute in ("_image_files", "_images", "samples", "_samples"):
        listed = getattr(source, attribute, None)
        if isinstance(listed, list) and listed:
            first = [entry[0] if isinstance(entry, tuple) else entry for entry in listed]
            if all(isinstance(path, (str, Path)) for path in first):
                return [Path(path) for path in first]
    return None


def _labels(source: Any) -> NDArray[np.int64]:
    """The label of each image, shape (N,)."""
    for attribute in ("_labels", "targets", "labels", "y"):
        listed = getattr(source, attribute, None)
        if listed is not None and len(listed) == len(source):
            return np.asarray(listed, dtype=np.int64)
    for attribute in ("samples", "_samples"):
        listed = getattr(source, attribute, None)
        if listed:
            return np.asarray([label for _, label in listed], dtype=np.int64)
    return np.asarray([source[index][1] for index in range(len(source))], dtype=np.int64)


def _pictures(source: Any, rows: NDArray[np.int64]) -> Iterator[Image.Image]:
    for row in rows.tolist():
        yield source[row][0]


def _tested(labels: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.bool_]:
    """Which images are measured where no split is published. Shape (N,)."""
    tested = share_of_each(names, labels.tolist(), TEST_SHARE)
    return np.array([name in tested for name in names])
