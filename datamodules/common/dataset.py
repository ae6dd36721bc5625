"""The contract of a data set: named splits of images with labels, captions or both."""

from __future__ import annotations

import difflib
import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.common.card import DatasetCard
from datamodules.common.code_closure import DIGITS, KEEPING, project_code
from datamodules.common.errors import BenchmarkError, RequestError, UnknownNameError
from datamodules.common.images import Framing, ImageArray
from datamodules.common.readable import require_readable, unreadable_images
from datamodules.common.request import ForgetRequest, composed, mentions, plain, plural

SplitName = Literal["train", "val", "test"]
NOT_READING = (
    *KEEPING,
    *(
        "datamodules.common.dataset",
        "datamodules.common.card",
        "datamodules.common.download",
        "datamodules.common.guard",
        "datamodules.common.cifar100_superclasses",
        "datamodules.common.readable",
        "datamodules.common.request",
    ),
    *("datamodules.common.files:checksum", "datamodules.common.files:require_images"),
    *("datamodules.common.images:ImageArray", "datamodules.common.images:ChosenImages"),
)
"""What the code of a data set uses and what does not decide what its images and annotations are."""


@dataclass(frozen=True)
class Split:
    """One named part of a data set.

    Attributes:
        name: "train", "val" or "test".
        images: N images.
        labels: Index into the data set's class names, shape (N,); None where images have no class.
        captions: The captions of each image; None where images have none.
    """

    name: SplitName
    images: ImageArray
    labels: NDArray[np.int64] | None = None
    captions: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        for field in (self.labels, self.captions):
            if field is not None and len(field) != len(self.images):
                raise ValueError(f"{self.images.name}: {len(self.images)} images but {len(field)} annotations")


@dataclass(frozen=True)
class LabelSet:
    """One way to label the images of a split: names, the prompt templates that fit them, and a label an image."""

    names: tuple[str, ...]
    templates: tuple[str, ...]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a data set.

    Attributes:
        folder: Where their names begin.
        names: Paths below it.
    """

    folder: Path
    names: Sequence[str]


class Dataset(ABC):
    """Base of all data sets. A file in `datamodules/` declares `CARD` and one subclass.

    Args:
        data_dir: The folder that `--data-dir` names; None if none was given.
        cache_dir: Where decoded arrays may be kept.
        framing: How image files become squares: a model's framing, or the side of the usual one in pixels. Data sets
            whose images all have one small size (CIFAR-100, the embedded world) keep that size; the network's
            preprocessing resizes them.

    Raises:
        DatasetNotFoundError: If files are missing.
        DatasetCorruptError: If they are incomplete or not the official ones.
    """

    card: ClassVar[DatasetCard]
    may_leave_out: ClassVar[bool] = False
    """Whether image files may be left out (`_leave_out`): of one's own images, not of a published set."""

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing) -> None:
        self.data_dir = data_dir
        self.cache_dir = cache_dir
        self.framing = Framing.of(framing)
        self.skipped: tuple[str, ...] = ()
        """The files that `skip_unreadable` left out."""
        self._splits: dict[SplitName, Split] = {}

    # -- to be declared by each data set ---------------------------------------------------------------------------

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes as they go into a prompt, in label order; empty without classes."""

    @property
    @abstractmethod
    def templates(self) -> tuple[str, ...]:
        """Prompt templates of the zero-shot classifier, each with one `{}`; the first also makes training texts."""

    @property
    @abstractmethod
    def revision(self) -> str:
        """Identifies the content: the bytes of all files, and what reads or draws them. No image is decoded."""

    @abstractmethod
    def _load(self, name: SplitName) -> Split: ...

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The vocabulary against which a concept is told apart in a request by concept; empty without captions."""
        return ()

    @property
    def class_groups(self) -> Mapping[str, tuple[str, ...]]:
        """Names that stand for several classes in a request, such as the superclasses of CIFAR-100; by default none."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of these files before numbers are made of them, a line each."""
        return ()

    def label_sets(self, name: SplitName) -> tuple[LabelSet, ...]:
        """Every way in which the images of a split are labelled, for pretraining: by default by class, if at all."""
        labels = self.split(name).labels
        return () if labels is None else (LabelSet(self.class_names, self.templates, labels),)

    def unseen(self, count: int) -> tuple[Split, tuple[LabelSet, ...]] | None:
        """Further training images of the same kind, which are in no split, with their `label_sets`.

        Args:
            count: How many.

        Returns:
            None where no further images can be had: all but the embedded world.
        """
        return None

    @property
    def gallery_size(self) -> int | None:
        """How many images of the test split form the gallery of retrieval; None for all."""
        return None

    @property
    def image_files(self) -> ImageFiles | None:
        """The image files of all splits that are there; None where the images are no files of their own."""
        return None

    def _leave_out(self, names: frozenset[str]) -> None:
        """Do without some image files, before a split is loaded; where `may_leave_out` says so."""
        raise NotImplementedError

    @classmethod
    def download(cls, data_dir: Path) -> None:
        """Fetch the files into `data_dir`, verified on arrival.

        Raises:
            BenchmarkError: If they cannot be fetched; the message says what to put where by hand.
        """
        raise BenchmarkError(f"data set {cls.card.name!r} cannot be fetched: see {cls.card.source}")

    @classmethod
    def code(cls) -> str:
        """The digest of what reads or draws this data set, by meaning; the base class counts with the unlearning."""
        return project_code().digest(Path(inspect.getfile(cls)), stops=NOT_READING)

    def revision_of(self, *content: object) -> str:
        """The revision of a data set of some content, read as it is read today: 16 hexadecimal digits."""
        return hashlib.sha256("\n".join([*map(str, content), self.code()]).encode()).hexdigest()[:DIGITS]

    # -- shared -------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The registry name."""
        return self.card.name

    def split(self, name: SplitName) -> Split:
        """One part, loaded on first use."""
        if name not in self._splits:
            self._splits[name] = self._load(name)
        return self._splits[name]

    def check_images(self) -> None:
        """Look at every image file once, whether it can be read; what was seen is remembered in the cache folder.

        Raises:
            UnreadableImageError: Naming all that cannot be read.
        """
        if files := self.image_files:
            problems = unreadable_images(files.folder, files.names, self.cache_dir)
            or_else = ", or leave them out with --skip-unreadable" if self.may_leave_out else ""
            advice = f"replace them{or_else}"
            require_readable(self.name, files.folder, problems, advice=advice)

    def skip_unreadable(self) -> None:
        """Leave out the image files that cannot be read: `skipped` names them.

        Raises:
            BenchmarkError: If there are some and the data set cannot do without.
        """
        files = self.image_files
        if files and (problems := unreadable_images(files.folder, files.names, self.cache_dir)):
            if not self.may_leave_out:
                raise BenchmarkError(
                    f"data set {self.name!r} is a published one: with {len(problems)} images left out its numbers are "
                    f"not comparable; replace those that cannot be read, such as {next(iter(problems))}"
                )
            self._leave_out(frozenset(problems))
            self.skipped = tuple(sorted(problems))

    @cached_property
    def label_of(self) -> dict[str, int]:
        """Class name to label."""
        return {name: label for label, name in enumerate(self.class_names)}

    def resolved(self, request: ForgetRequest) -> ForgetRequest:
        """The request in the words of this data set: two spellings of one class or concept are one request.

        A class is found whatever its case and with underscores or hyphens for spaces; the name of a group
        (`class_groups`) becomes its classes; a concept becomes the word of `concept_names` of which it is another
        spelling or the plural.

        Raises:
            UnknownNameError: If a class does not exist here; the nearest names are given.
            RequestError: If the data set has no classes or no captions, or every class is named.
        """
        if request.concept:
            if "retrieval" not in self.card.tasks:
                raise RequestError(f"data set {self.name!r} has no captions: name classes to forget, not a concept")
            concept = self._concept_of(request.concept)
            usual = (request.concept, plural(request.concept))
            return replace(request, concept=concept, words=() if request.words == usual else request.words)
        if not self.class_names:
            raise RequestError(f"data set {self.name!r} has no classes: name a concept to forget, not classes")
        classes = tuple(dict.fromkeys(name for given in request.classes for name in self._classes_of(given)))
        if len(classes) == len(self.class_names):
            raise RequestError(f"the request forgets every class of {self.name!r}: nothing would be retained")
        return replace(request, classes=classes)

    def _classes_of(self, given: str) -> tuple[str, ...]:
        """The class of a name as someone writes it, or the classes of a group."""
        if given in self.label_of:
            return (given,)
        spelled = [name for name in self.class_names if plain(name) == plain(given)]
        if len(spelled) == 1:
            return (spelled[0],)
        groups = [classes for name, classes in self.class_groups.items() if plain(name) == plain(given)]
        if groups and not spelled:
            return groups[0]
        raise UnknownNameError(f"class of {self.name}", given, [*self.class_names, *self.class_groups])

    def _concept_of(self, given: str) -> str:
        """The word of the vocabulary that a concept is a spelling of; itself in lower case where there is none."""
        if given in self.concept_names:
            return given
        spelled = (name for name in self.concept_names if plain(given) in (plain(name), plain(plural(name))))
        return next(spelled, " ".join(composed(given).split()).casefold())

    def check_request(self, request: ForgetRequest) -> None:
        """Check that the names of a request exist here, without loading any image.

        Raises:
            BenchmarkError: As `resolved`.
        """
        self.resolved(request)

    def forget_mask(self, split: Split, request: ForgetRequest) -> NDArray[np.bool_]:
        """Which images of a split are to be forgotten. Shape (N,).

        Raises:
            RequestError: If the forget set is empty, or is everything.
        """
        request = self.resolved(request)
        if request.classes:
            labels = split.labels if split.labels is not None else np.empty(0, dtype=np.int64)
            mask = np.isin(labels, [self.label_of[name] for name in request.classes])
        else:
            captions = split.captions or ()
            flat = [caption for texts in captions for caption in texts]
            owner = np.repeat(np.arange(len(captions)), [len(texts) for texts in captions])
            mask = np.bincount(owner[mentions(flat, request.words)], minlength=len(captions)) > 0
        if not mask.any():
            hint = self._caption_hint(request.concept) if request.concept else ""
            raise RequestError(f"the forget set of {str(request)!r} is empty in {split.images.name}{hint}")
        if mask.all():
            raise RequestError(f"the forget set of {str(request)!r} is all of {split.images.name}: nothing is retained")
        return mask

    def names_for(self, request: ForgetRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names to forget and the names to retain, of the same kind as the request."""
        request = self.resolved(request)
        if request.classes:
            return request.names, tuple(name for name in self.class_names if name not in request.classes)
        forgotten = {plain(word) for word in (request.concept, *request.words)}
        retained = (n for n in self.concept_names if not forgotten & {plain(n), plain(plural(n))})
        return request.names, tuple(retained)

    def _caption_hint(self, concept: str) -> str:
        if concept in self.concept_names:
            return ": none of its captions contains it; another split may, or this one has too few images"
        near = difflib.get_close_matches(concept, self.concept_names, n=3, cutoff=0.5)
        if near:
            return f": no caption contains it; did you mean {' or '.join(map(repr, near))}?"
        return f": no caption contains it; concepts that occur: {', '.join(self.concept_names[:12])}"
