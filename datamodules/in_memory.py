"""Data sets that come from Python and not from a folder: your own images in memory, or names alone.

Both are called `memory:NAME`, so that no record can be mistaken for one of a registered data set. The revision is the
digest of the whole content: other pixels, labels, captions, names or templates are another data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datamodules.common.card import MEMORY_SCHEME, DatasetCard, TaskKind
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.errors import BenchmarkError, RequestError
from datamodules.common.images import Framing, ImageArray
from datamodules.common.request import mentioned
from datamodules.common.templates import template_problem
from datamodules.common.text import hidden_sign

DEFAULT_TEMPLATES = ("a photo of a {}.",)
Images = Sequence[Image.Image] | NDArray[np.uint8]
"""PIL images of any size, or one uint8 array of shape (N, H, W, 3) or (N, 3, H, W)."""
SplitPart = Literal["train", "test"]


class InMemoryError(BenchmarkError):
    """Images, labels, captions or names that do not make a data set."""


class InMemoryDataset(Dataset):
    """Images in memory with labels, captions or both.

    Args:
        images: N images. PIL images, and arrays that are not square, become squares by `framing`. An
            array of square images is kept; the network's preprocessing resizes it.
        labels: Of each image its class: an index into `class_names`, or the class's name; None where there are none.
        class_names: In label order; by default the different names in `labels`, by the alphabet.
        captions: Of each image one caption or several; None where there are none.
        templates: Prompt templates, each with one `{}`.
        concepts: The words against which a concept is told apart in a request by concept; by default the class names,
            or else those frequent nouns of Flickr30K that the captions mention.
        parts: Of each image "train" or "test"; None to draw them by `seed`, each class alike.
        test_share: Share of the images that is drawn for the test split.
        seed: Of that draw.
        framing: How images become squares: a model's framing, or the side of the usual one in pixels; not needed for
            an array of square images.
        name: The data set is called `memory:NAME`.

    Raises:
        InMemoryError: On anything that does not fit together.
    """

    def __init__(
        self,
        images: Images,
        labels: Sequence[int] | Sequence[str] | NDArray[Any] | None = None,
        *,
        class_names: Sequence[str] | None = None,
        captions: Sequence[str] | Sequence[Sequence[str]] | None = None,
        templates: Sequence[str] | None = None,
        concepts: Sequence[str] | None = None,
        parts: Sequence[SplitPart] | None = None,
        test_share: float = 0.5,
        seed: int = 0,
        framing: int | Framing | None = None,
        name: str = "images",
        cache_dir: Path | None = None,
    ) -> None:
        if labels is None and captions is None:
            raise InMemoryError("images alone are no data set: give labels=[...], captions=[...] or both")
        pixels = _pixels(images, None if framing is None else Framing.of(framing))
        super().__init__(None, cache_dir or Path(), pixels.shape[-1])
        self._labels, self._class_names = _labels(labels, class_names)
        self._captions = _captions(captions)
        self._templates = _checked_templates(templates)
        for what, values in (("labels", self._labels), ("captions", self._captions), ("parts", parts)):
            if values is not None and len(values) != len(pixels):
                raise InMemoryError(f"{len(pixels)} images but {len(values)} {what}: give one an image")
        self._pixels = pixels
        self._rows = _split_rows(len(pixels), self._labels, parts, test_share=test_share, seed=seed)
        self._concepts = tuple(concepts) if concepts is not None else self._default_concepts()
        tasks: list[TaskKind] = ["classification"] if self._labels is not None else []
        self.card = _card(name, (*tasks, "retrieval") if self._captions else tuple(tasks))  # type: ignore[misc]
        self._check_classes()

    @property
    def class_names(self) -> tuple[str, ...]:
        """As given."""
        return self._class_names

    @property
    def templates(self) -> tuple[str, ...]:
        """As given, or one of our choice."""
        return self._templates

    @property
    def concept_names(self) -> tuple[str, ...]:
        """As given, or what the captions mention."""
        return self._concepts

    @cached_property
    def revision(self) -> str:
        """The digest of the images, labels, captions, names, templates and splits, and of the code that reads them."""
        content = hashlib.sha256(self._pixels.tobytes())
        labels = None if self._labels is None else self._labels.tolist()
        rows = {part: chosen.tolist() for part, chosen in self._rows.items()}
        texts = (self._pixels.shape, labels, self._captions, self._class_names, self._templates, self._concepts, rows)
        content.update(repr(texts).encode())
        return self.revision_of(content.hexdigest())

    def _load(self, name: SplitName) -> Split:
        if name == "val":
            raise RequestError(f"data set {self.name!r} has no val split: it has train and test")
        rows = self._rows[name]
        captions = None if self._captions is None else tuple(self._captions[row] for row in rows.tolist())
        labels = None if self._labels is None else self._labels[rows]
        return Split(name, ImageArray(self._pixels[rows], name=f"{self.name}/{name}"), labels, captions)

    def _default_concepts(self) -> tuple[str, ...]:
        if self._class_names or not self._captions:
            return self._class_names
        from datamodules.flickr30k import CONCEPT_NAMES

        texts = [caption for captions in self._captions for caption in captions]
        return mentioned(texts, CONCEPT_NAMES)

    def _check_classes(self) -> None:
        """Check that every class has an image in each split: without one it can be neither learned nor measured."""
        if self._labels is None:
            return
        for part, rows in self._rows.items():
            missing = sorted(set(range(len(self._class_names))) - set(self._labels[rows].tolist()))
            if missing:
                raise InMemoryError(
                    f"data set {self.name!r}: class {self._class_names[missing[0]]!r} has no image in the {part} split "
                    f"({len(missing)} such classes): give more images, or parts=[...] that hold each class"
                )


class NamesDataset(Dataset):
    """Names and prompt templates without any image: all that methods of the data regimes none and names read.

    Args:
        forget: The names to forget.
        retain: The names to keep; by default the 1,000 class names of ImageNet as open_clip has them, our choice,
            because they are the vocabulary that CLIPs are most often asked about.
        templates: Prompt templates, each with one `{}`.
        name: The data set is called `memory:NAME`.

    Raises:
        InMemoryError: If no name is left to keep, or a template has no `{}`.
    """

    def __init__(
        self,
        forget: Sequence[str],
        retain: Sequence[str] | None = None,
        *,
        templates: Sequence[str] | None = None,
        name: str = "names",
        cache_dir: Path | None = None,
    ) -> None:
        super().__init__(None, cache_dir or Path(), 0)
        forgotten = {class_name.casefold() for class_name in forget}
        retained = [
            class_name
            for class_name in (imagenet_names() if retain is None else retain)
            if class_name.casefold() not in forgotten
        ]
        if not retained:
            raise InMemoryError("no name is left to keep: name some beside those to forget")
        self._names = _checked_names([*forget, *dict.fromkeys(retained)])
        self._templates = _checked_templates(templates)
        self.card = _card(name, ("classification", "retrieval"))  # type: ignore[misc]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names to forget, then those to keep."""
        return self._names

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The same names: whether the request calls what it forgets a class or a concept makes no difference here."""
        return self._names

    @property
    def templates(self) -> tuple[str, ...]:
        """As given, or one of our choice."""
        return self._templates

    @cached_property
    def revision(self) -> str:
        """The digest of the names and templates."""
        return self.revision_of(repr((self._names, self._templates)))

    def _load(self, name: SplitName) -> Split:
        raise RequestError(
            f"data set {self.name!r} is names alone: to read or measure images, give a data set (load_dataset, --data)"
        )


def imagenet_names() -> tuple[str, ...]:
    """The class names of ImageNet as open_clip words them, each once."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    return tuple(dict.fromkeys(IMAGENET_CLASSNAMES))


def _card(name: str, tasks: tuple[TaskKind, ...]) -> DatasetCard:
    if not name.strip() or hidden_sign(name):
        raise InMemoryError(f"the name {name!r} of a data set in memory must be text that is shown")
    return DatasetCard(MEMORY_SCHEME + name, "in memory", tasks, "a Python process")


def _pixels(images: Images, framing: Framing | None) -> NDArray[np.uint8]:
    """The images as one array, uint8, shape (N, 3, S, S)."""
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim != 4 or 3 not in (images.shape[1], images.shape[-1]):
            raise InMemoryError(
                f"an array of images must be uint8 of shape (N, H, W, 3) or (N, 3, H, W), not {images.dtype} of shape "
                f"{images.shape}"
            )
        channels_first = images if images.shape[1] == 3 else images.transpose(0, 3, 1, 2)
        if channels_first.shape[-1] == channels_first.shape[-2]:
            return np.ascontiguousarray(channels_first)
        images = [Image.fromarray(picture) for picture in channels_first.transpose(0, 2, 3, 1)]
    pictures = list(images)
    if not pictures:
        raise InMemoryError("there are no images: give at least two of each class")
    odd = next((picture for picture in pictures if not isinstance(picture, Image.Image)), None)
    if odd is not None:
        raise InMemoryError(f"images are PIL images or one uint8 array, not {type(odd).__name__}")
    if framing is None:
        raise InMemoryError(
            "images that are not one array of squares need a size: give the clip, load_dataset(..., clip)"
        )
    return np.stack([framing(picture) for picture in pictures])


def _labels(
    labels: Sequence[int] | Sequence[str] | NDArray[Any] | None, names: Sequence[str] | None
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The label of each image, shape (N,), and the class names."""
    if labels is None:
        if names:
            raise InMemoryError("class_names were given without labels: say of each image which class it shows")
        return None, ()
    values = list(labels)
    if values and all(isinstance(value, str) for value in values):
        known = _checked_names(sorted({str(value) for value in values}) if names is None else names)
        if unknown := sorted({str(value) for value in values} - set(known)):
            raise InMemoryError(f"label {unknown[0]!r} is not among class_names")
        place = {name: label for label, name in enumerate(known)}
        return np.array([place[str(value)] for value in values], dtype=np.int64), known
    if names is None:
        raise InMemoryError("labels that are numbers need class_names=[...]: prompts are made of names")
    known, numbers = _checked_names(names), np.asarray(values)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() >= len(known):
        raise InMemoryError(f"labels must be names, or whole numbers from 0 to {len(known) - 1}, one an image")
    return numbers.astype(np.int64), known


def _captions(captions: Sequence[str] | Sequence[Sequence[str]] | None) -> tuple[tuple[str, ...], ...] | None:
    if captions is None:
        return None
    listed = tuple((caption,) if isinstance(caption, str) else tuple(caption) for caption in captions)
    if not all(texts and all(isinstance(text, str) and text.strip() for text in texts) for texts in listed):
        raise InMemoryError("captions must be one text an image, or a list of texts an image, none empty")
    return listed


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    known = tuple(names)
    if isinstance(names, str) or not all(isinstance(name, str) and name.strip() for name in known):
        raise InMemoryError(f"names are a list of texts, such as ['red panda'], not {names!r:.60}")
    if len(set(known)) < len(known) or len(known) < 2:
        raise InMemoryError("at least two names are needed, each of them once: one class alone cannot be forgotten")
    return known


def _checked_templates(templates: Sequence[str] | None) -> tuple[str, ...]:
    if templates is None:
        return DEFAULT_TEMPLATES
    chosen = (templates,) if isinstance(templates, str) else tuple(templates)
    for template in chosen:
        if problem := template_problem(template):
            raise InMemoryError(f"template {template!r} {problem}")
    return chosen or DEFAULT_TEMPLATES


def _split_rows(
    count: int, labels: NDArray[np.int64] | None, parts: Sequence[SplitPart] | None, *, test_share: float, seed: int
) -> dict[SplitPart, NDArray[np.int64]]:
    """The rows of each split, ascending."""
    if parts is not None:
        part_names = np.array(list(parts), dtype=str)
        if unknown := sorted(set(part_names.tolist()) - {"train", "test"}):
            raise InMemoryError(f"parts are 'train' or 'test' for each image, not {unknown[0]!r}")
        is_test = part_names == "test"
    else:
        if not 0 < test_share < 1:
            raise InMemoryError(f"test_share={test_share} must be between 0 and 1")
        groups = [np.arange(count)] if labels is None else [np.flatnonzero(labels == k) for k in np.unique(labels)]
        draw, is_test = np.random.default_rng(seed), np.zeros(count, dtype=bool)
        for group in groups:
            chosen = max(1, round(len(group) * test_share)) if len(group) > 1 else 0
            is_test[draw.permutation(group)[: min(chosen, len(group) - 1)]] = True
    rows_by_part: dict[SplitPart, NDArray[np.int64]] = {
        "train": np.flatnonzero(~is_test),
        "test": np.flatnonzero(is_test),
    }
    for part, rows in rows_by_part.items():
        if not len(rows):
            raise InMemoryError(f"the {part} split is empty: give more images, or parts=['train', 'test', ...]")
    return rows_by_part
