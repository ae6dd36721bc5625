"""Training data for shadow models: a data set with as many unseen images again, and random halves of both together.

Membership inference asks whether a model was trained on an image. It is answered with models whose training data are
known: each is trained on a random half of the images that the original saw and of as many that it never saw, so that
every image is in some of these models and not in others, and each has seen as many images as the original (Carlini et
al., IEEE S&P 2022, arXiv 2112.03570, section IV).

A data set `NAME` whose images can be drawn anew has a file `NAME_unseen.py` beside it with a function

    unseen(count, cache_dir) -> (Split, label sets in the order of the data set's own)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodules.common.dataset import Dataset, LabelSet, Split, SplitName
from datamodules.common.errors import BenchmarkError
from datamodules.common.images import ChosenImages


@dataclass(frozen=True)
class Pool:
    """All images that a shadow model may be trained on.

    Attributes:
        dataset: The data set; its training images come first.
        further: As many unseen ones, which come after.
        label_sets: Every way in which all of them are labelled.
        seen: How many are the data set's own.
        revision: Of the data set, and of what draws the further images.
    """

    dataset: Dataset
    further: Split
    label_sets: tuple[LabelSet, ...]
    seen: int
    revision: str

    @property
    def size(self) -> int:
        """How many images there are."""
        return self.seen + len(self.further.images)

    def choose(self, rows: NDArray[np.int64], name: str) -> DrawnDataset:
        """The data set with these images of the pool as its training split.

        Args:
            rows: Which, in any order.
            name: Tells this choice from others of the pool.
        """
        return DrawnDataset(self, np.sort(rows), name)

    def halves(self, count: int) -> NDArray[np.bool_]:
        """Which images each of `count` shadow models is trained on, shape (count, size).

        Two models that follow one another have the two halves of one random order, so every image is in exactly half
        of the models.

        Raises:
            ValueError: If `count` is odd.
        """
        if count % 2:
            raise ValueError(f"{count} shadow models cannot come in pairs")
        contained = np.zeros((count, self.size), dtype=bool)
        for pair in range(count // 2):
            order = np.random.default_rng((2022, pair)).permutation(self.size)
            contained[2 * pair, order[: self.size // 2]] = True
            contained[2 * pair + 1] = ~contained[2 * pair]
        return contained


def pool_of(dataset: Dataset) -> Pool:
    """The pool of a data set.

    Raises:
        BenchmarkError: If no unseen images of its kind can be had.
    """
    train = dataset.split("train")
    drawn = dataset.unseen(len(train.images))
    if drawn is None:
        raise BenchmarkError(f"no further images of data set {dataset.name!r} can be drawn that no model has seen")
    further, labels = drawn
    label_sets = tuple(
        LabelSet(label_set.names, label_set.templates, np.concatenate([label_set.labels, unseen_set.labels]))
        for label_set, unseen_set in zip(dataset.label_sets("train"), labels, strict=True)
    )
    return Pool(dataset, further, label_sets, len(train.images), dataset.revision)


class DrawnDataset(Dataset):
    """A data set in all but its training split, which is a choice of a pool."""

    def __init__(self, pool: Pool, rows: NDArray[np.int64], name: str) -> None:
        base = pool.dataset
        super().__init__(base.data_dir, base.cache_dir, base.framing)
        self.card = base.card  # type: ignore[misc]
        self._pool, self._rows, self._choice = pool, rows, name

    @property
    def name(self) -> str:
        """The data set's."""
        return self._pool.dataset.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """The data set's."""
        return self._pool.dataset.class_names

    @property
    def templates(self) -> tuple[str, ...]:
        """The data set's."""
        return self._pool.dataset.templates

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The data set's."""
        return self._pool.dataset.concept_names

    @property
    def gallery_size(self) -> int | None:
        """The data set's."""
        return self._pool.dataset.gallery_size

    @property
    def revision(self) -> str:
        """The data set's, and which choice of the pool this is."""
        return f"{self._pool.revision}+{self._choice}"

    def label_sets(self, name: SplitName) -> tuple[LabelSet, ...]:
        """The data set's, of the chosen images."""
        if name != "train":
            return self._pool.dataset.label_sets(name)
        return tuple(LabelSet(s.names, s.templates, s.labels[self._rows]) for s in self._pool.label_sets)

    def _load(self, name: SplitName) -> Split:
        split, further = self._pool.dataset.split(name), self._pool.further
        if name != "train":
            return split
        labels = None
        if split.labels is not None and further.labels is not None:
            labels = np.concatenate([split.labels, further.labels])[self._rows]
        images = ChosenImages([split.images, further.images], self._rows, name=f"{split.images.name}/{self._choice}")
        return Split(name, images, labels, _joined(split.captions, further.captions, self._rows))


def _joined(
    captions: tuple[tuple[str, ...], ...] | None, further: tuple[tuple[str, ...], ...] | None, rows: NDArray[np.int64]
) -> tuple[tuple[str, ...], ...] | None:
    if captions is None or further is None:
        return None
    both = captions + further
    return tuple(both[row] for row in rows.tolist())
