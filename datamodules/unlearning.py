"""The DataModule that hands a method exactly what its data regime names, and no more.

| regime | a training batch holds |
|---|---|
| `none`, `names` | nothing but the step's number; names come with the forget specification |
| `forget` | `forget`: image-text pairs of the forget set |
| `retain` | `retain`: image-text pairs of the retain set |
| `forget+retain`, `pretraining` | both, paired: one forget and one retain batch a step |

Only the train split is ever handed out; the test split belongs to the evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import CombinedLoader
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from datamodules.dataset import Dataset
from datamodules.errors import RegimeViolationError
from datamodules.guard import ReadGuard
from datamodules.images import ImageArray, Preprocessing
from datamodules.request import ForgetRequest
from datamodules.synthetic import ImageModel, SyntheticForgetSet, SyntheticRecipe, make_or_load

Regime = Literal["none", "names", "forget", "retain", "forget+retain", "pretraining"]
REGIMES: tuple[Regime, ...] = get_args(Regime)
Part = Literal["forget", "retain"]
PARTS_OF: dict[Regime, tuple[Part, ...]] = {
    "none": (),
    "names": (),
    "forget": ("forget",),
    "retain": ("retain",),
    "forget+retain": ("forget", "retain"),
    "pretraining": ("forget", "retain"),
}


class Pairs(TypedDict):
    """A batch of image-text pairs.

    `images`: float32 network input, shape (B, 3, S, S). `texts`: one text an image. `labels`: class index, shape
    (B,), -1 where images have no class. `indices`: of the images in the train split, shape (B,).
    """

    images: Tensor
    texts: list[str]
    labels: Tensor
    indices: Tensor


@dataclass(frozen=True)
class NameSet:
    """The names of another data set and the prompt templates that fit them."""

    names: tuple[str, ...]
    templates: tuple[str, ...]


@dataclass(frozen=True)
class ForgetSpec:
    """What every method may know of a request, whatever its regime: names and prompt templates, no data.

    Attributes:
        request: The request.
        forget_names: The names to forget.
        retain_names: The names to keep (the other classes, or the concept vocabulary).
        templates: The prompt templates of the evaluation.
        dataset: The data set's name, for messages and caches.
        others: The class names of the other data sets that are to keep working: names only, as the rest.
    """

    request: ForgetRequest
    forget_names: tuple[str, ...]
    retain_names: tuple[str, ...]
    templates: tuple[str, ...]
    dataset: str
    others: tuple[NameSet, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset, request: ForgetRequest, others: Sequence[Dataset] = ()) -> ForgetSpec:
        """The specification of a request on a data set, beside other data sets.

        Raises:
            RequestError: If the data set cannot serve it.
        """
        dataset.check_request(request)
        forget, retain = dataset.names_for(request)
        beside = tuple(NameSet(each.class_names, each.templates) for each in others if each.class_names)
        return cls(request, forget, retain, dataset.templates, dataset.name, beside)

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names to forget, then the names to keep: the columns of the classifier that a method may build."""
        return self.forget_names + self.retain_names


class PairPart(TorchDataset[Pairs]):
    """The image-text pairs of one part (forget or retain) of a train split; indexable by lists of positions.

    For a request by class an image's text is its class name in the first prompt template (CLIPErase, official code: the
    text of a CIFAR-100 item is its label name); for a request by concept it is one of its captions.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: NDArray[np.int64],
        preprocessing: Preprocessing,
        *,
        by_class: bool,
        seed: int,
    ) -> None:
        split = dataset.split("train")
        self.images: ImageArray = split.images
        self.indices = indices
        self._preprocessing = preprocessing
        self._labels = split.labels[indices] if split.labels is not None else np.full(len(indices), -1)
        self._template = dataset.templates[0]
        self._class_names = dataset.class_names
        captions = None if by_class else split.captions
        self._captions = [captions[i] for i in indices] if captions is not None else None
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: list[int]) -> Pairs:
        """One batch: the prompt of each image's class, or one of its captions, drawn at random."""
        chosen = np.asarray(positions)
        labels = self._labels[chosen]
        if self._captions is not None:
            captions = [self._captions[p] for p in positions]
            texts = [each[self._random.integers(len(each))] for each in captions]
        else:
            texts = [self._template.format(self._class_names[label]) for label in labels]
        images = self._preprocessing(self.images.read(self.indices[chosen]))
        return Pairs(
            images=images, texts=texts, labels=torch.from_numpy(labels), indices=torch.from_numpy(self.indices[chosen])
        )


class _Ticks(TorchDataset[int]):
    """The data of a method that reads none: the step's number."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> int:
        return index


class CyclingBatches(Sampler[list[int]]):
    """Exactly `steps` batches; every item once before any comes again, each pass newly shuffled.

    A part smaller than a batch gives batches of the whole part.
    """

    def __init__(self, items: int, batch_size: int, steps: int, *, seed: int) -> None:
        self._items, self._batch, self._steps = items, min(batch_size, items), steps
        self._seed = seed

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng(self._seed)
        queue: list[int] = []
        for _ in range(self._steps):
            while len(queue) < self._batch:
                queue.extend(random.permutation(self._items).tolist())
            yield queue[: self._batch]
            queue = queue[self._batch :]


class UnlearningDataModule(L.LightningDataModule):
    """Hands the Trainer what one data regime allows.

    Args:
        dataset: The data set; it is not kept, only the allowed parts are.
        request: What to forget.
        regime: The method's declared data regime.
        preprocessing: How the CLIP wants its images.
        cache_dir: Where synthetic forget sets are cached.
        seed: Of the shuffling and of the captions drawn.
        others: Data sets of which the method may know the names.
    """

    def __init__(
        self,
        dataset: Dataset,
        request: ForgetRequest,
        *,
        regime: Regime,
        preprocessing: Preprocessing,
        cache_dir: Path,
        seed: int = 0,
        others: Sequence[Dataset] = (),
    ) -> None:
        super().__init__()
        self.spec = ForgetSpec.of(dataset, request, others)
        self.regime = regime
        self.preprocessing = preprocessing
        self.cache_dir = cache_dir
        self.steps, self.batch_size = 1, 1
        self._seed = seed
        self._parts: dict[Part, PairPart] = {}
        if PARTS_OF[regime]:
            mask = dataset.forget_mask(dataset.split("train"), request)
            for part in PARTS_OF[regime]:
                indices = np.flatnonzero(mask if part == "forget" else ~mask)
                self._parts[part] = PairPart(dataset, indices, preprocessing, by_class=bool(request.classes), seed=seed)

    @property
    def sizes(self) -> dict[Part, int]:
        """The number of images of each part that is handed out."""
        return {part: len(pairs) for part, pairs in self._parts.items()}

    def plan(self, *, steps: int, batch_size: int) -> None:
        """Set how many training batches of which size there will be."""
        self.steps, self.batch_size = steps, batch_size

    def guard(self) -> ReadGuard:
        """A read guard that allows exactly the images handed out here."""
        allowed: dict[str, NDArray[np.bool_]] = {}
        for pairs in self._parts.values():
            mask = allowed.setdefault(pairs.images.name, np.zeros(len(pairs.images), dtype=bool))
            mask[pairs.indices] = True
        return ReadGuard(regime=self.regime, allowed=allowed)

    def synthetic_forget_set(
        self, model: ImageModel, targets: list[int], recipe: SyntheticRecipe
    ) -> SyntheticForgetSet:
        """Images of names made from a model by gradient ascent: open to every data regime but `none`.

        Raises:
            RegimeViolationError: If the regime does not even give the names.
        """
        if self.regime == "none":
            raise RegimeViolationError("a method of data regime 'none' asked for synthetic images of the names")
        return make_or_load(model, targets, recipe, self.cache_dir)

    def train_dataloader(self) -> Any:
        """`steps` batches: a dictionary of `Pairs` by part, or the step's number."""
        if not self._parts:
            return DataLoader(_Ticks(self.steps), batch_size=None)
        loaders = {
            part: DataLoader(
                pairs,
                batch_sampler=CyclingBatches(len(pairs), self.batch_size, self.steps, seed=self._seed + offset),
                collate_fn=_as_it_is,
            )
            for offset, (part, pairs) in enumerate(sorted(self._parts.items()))
        }
        return CombinedLoader(loaders, mode="min_size")


def _as_it_is(batch: Any) -> Any:
    return batch
