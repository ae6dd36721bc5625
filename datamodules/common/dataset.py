"""The contract of a data set: named splits of images with labels, captions or both."""

from __future__ import annotations

import difflib
import hashlib
import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.common.card import DatasetCard
from datamodules.common.code_closure import DIGITS, KEEPING, project_code
from datamodules.common.errors import BenchmarkError, RequestError, UnknownNameError
from datamodules.common.images import Framing, ImageArray
from datamodules.common.request import ForgetRequest, mentions

SplitName = Literal["train", "val", "test"]
NOT_READING = (
    *KEEPING,
    *(
        "datamodules.common.dataset",
        "datamodules.common.card",
        "datamodules.common.download",
        "datamodules.common.guard",
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

    def __init__(self, data_dir: Path | None, cache_dir: Path, framing: int | Framing) -> None:
        self.data_dir = data_dir
        self.cache_dir = cache_dir
        self.framing = Framing.of(framing)
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

    @cached_property
    def label_of(self) -> dict[str, int]:
        """Class name to label."""
        return {name: label for label, name in enumerate(self.class_names)}

    def check_request(self, request: ForgetRequest) -> None:
        """Check that the names of a request exist here, without loading any image.

        Raises:
            UnknownNameError: If a class does not exist here; the nearest names are given.
            RequestError: If the data set has no classes or no captions, or every class is named.
        """
        if request.concept and "retrieval" not in self.card.tasks:
            raise RequestError(f"data set {self.name!r} has no captions: name classes to forget, not a concept")
        if request.classes and not self.class_names:
            raise RequestError(f"data set {self.name!r} has no classes: name a concept to forget, not classes")
        for name in request.classes:
            if name not in self.label_of:
                raise UnknownNameError(f"class of {self.name}", name, self.class_names)
        if request.classes and len(request.classes) == len(self.class_names):
            raise RequestError(f"the request forgets every class of {self.name!r}: nothing would be retained")

    def forget_mask(self, split: Split, request: ForgetRequest) -> NDArray[np.bool_]:
        """Which images of a split are to be forgotten. Shape (N,).

        Raises:
            RequestError: If the forget set is empty, or is everything.
        """
        self.check_request(request)
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
        vocabulary = self.class_names if request.classes else self.concept_names
        return request.names, tuple(n for n in vocabulary if n not in request.names and n not in request.words)

    def _caption_hint(self, concept: str) -> str:
        near = difflib.get_close_matches(concept, self.concept_names, n=3, cutoff=0.5)
        if near:
            return f": no caption contains it; did you mean {' or '.join(map(repr, near))}?"
        return f": no caption contains it; concepts that occur: {', '.join(self.concept_names[:12])}"
