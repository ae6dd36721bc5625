"""The DataModule that hands a method exactly what its data regime names, and no more.

| regime | a training batch holds |
|---|---|
| `none`, `names` | nothing but the step's number; names come with the forget specification |
| `forget` | `forget`: image-text pairs of the forget set |
| `retain` | `retain`: image-text pairs of the retain set |
| `forget+retain` | both, paired: one forget and one retain batch a step |
| `pretraining` | the same; and there is `retrained()`, the model trained without the forget data |

Only the train split is ever handed out; the test split belongs to the evaluation.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict, get_args

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities import CombinedLoader
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from datamodules.common.batches import CyclingBatches, Listed, Ticks
from datamodules.common.dataset import Dataset
from datamodules.common.errors import RegimeViolationError, RequestError
from datamodules.common.guard import ReadGuard
from datamodules.common.images import ImageArray, Preprocessing
from datamodules.common.request import ForgetRequest
from datamodules.common.spent import Spent
from datamodules.common.synthetic import ImageModel, SyntheticForgetSet, SyntheticRecipe, climb_set, make_or_load


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
        request = dataset.resolved(request)
        forget, retain = dataset.names_for(request)
        beside = tuple(NameSet(other.class_names, other.templates) for other in others if other.class_names)
        return cls(request, forget, retain, dataset.templates, dataset.name, beside)

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names to forget, then the names to keep: the columns of the classifier that a method may build."""
        return self.forget_names + self.retain_names


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

    `images`: float32 network input, shape (B, 3, S, S); of a raw batch uint8 as they are stored. `texts`: one text an
    image. `labels`: class index, shape (B,), -1 where images have no class. `indices`: of the images in the train
    split, shape (B,).
    """

    images: Tensor
    texts: list[str]
    labels: Tensor
    indices: Tensor


class Batch(dict[Part, Pairs]):
    """The pairs of each part that a data regime gives."""

    def __init__(self, parts: Mapping[Part, Pairs], regime: str) -> None:
        super().__init__(parts)
        self.regime = regime

    def __missing__(self, part: str) -> Pairs:
        raise RegimeViolationError(
            f"a batch of data regime {self.regime!r} has no part {part!r}; declare the regime that it needs in its card"
        )


class Meter(Protocol):
    """Measures what an unlearning costs; see `benchmark.unlearning.cost`."""

    def paused(self) -> AbstractContextManager[None]:
        """Leave a block of work out."""

    def add(self, spent: Spent) -> None:
        """Add what was spent before, or elsewhere: nothing is free because it was kept."""


class SyntheticSource(Protocol):
    """Makes synthetic forget sets. What it lets others do while the meter is paused stands in the set as its cost."""

    def __call__(
        self, model: ImageModel, targets: list[int], recipe: SyntheticRecipe, meter: Meter
    ) -> SyntheticForgetSet:
        """The set of some names."""


class NoMeter:
    """Measures nothing."""

    def paused(self) -> AbstractContextManager[None]:
        """Nothing is measured."""
        return nullcontext()

    def add(self, spent: Spent) -> None:
        """Nothing is measured."""


@dataclass(frozen=True)
class Retrained:
    """A model of the same architecture that was trained without the forget data, and the seconds that this took."""

    state: Mapping[str, Tensor]
    seconds: float


class PairPart(TorchDataset[Pairs]):
    """The image-text pairs of one part (forget or retain) of a train split, as stored; indexable by lists of positions.

    For a request by class an image's text is its class name in the first prompt template (CLIPErase, official code: the
    text of a CIFAR-100 item is its label name); for a request by concept it is one of its captions.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: NDArray[np.int64],
        *,
        by_class: bool,
        seed: int,
    ) -> None:
        split = dataset.split("train")
        self.images: ImageArray = split.images
        self.indices = indices
        self._labels = split.labels[indices] if split.labels is not None else np.full(len(indices), -1)
        self._template = dataset.templates[0]
        self._class_names = dataset.class_names
        captions = None if by_class else split.captions
        self._captions = [captions[i] for i in indices] if captions is not None else None
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.indices)

    def part(self, positions: NDArray[np.int64]) -> PairPart:
        """The pairs at these positions, as a part of its own that draws its captions from the same stream."""
        chosen = copy.copy(self)
        chosen.indices, chosen._labels = self.indices[positions], self._labels[positions]
        if self._captions is not None:
            chosen._captions = [self._captions[p] for p in positions]
        return chosen

    def __getitems__(self, positions: list[int]) -> Pairs:
        """One batch: stored images, and the prompt of each one's class or one of its captions, drawn at random."""
        chosen = np.asarray(positions)
        labels = self._labels[chosen]
        if self._captions is not None:
            captions = [self._captions[p] for p in positions]
            texts = [choices[self._random.integers(len(choices))] for choices in captions]
        else:
            texts = [self._template.format(self._class_names[label]) for label in labels]
        images, indices = self.images.read(self.indices[chosen]), torch.from_numpy(self.indices[chosen])
        return Pairs(images=images, texts=texts, labels=torch.from_numpy(labels), indices=indices)


class UnlearningDataModule(L.LightningDataModule):
    """Hands the Trainer what one data regime allows.

    Args:
        dataset: The data set; it is not kept, only the allowed parts are.
        request: What to forget.
        regime: The method's declared data regime.
        preprocessing: How the CLIP wants its images.
        cache_dir: Where synthetic forget sets are kept; None keeps none.
        seed: Of the shuffling and of the captions drawn.
        others: Data sets of which the method may know the names.
        retrained: The retrained model, for the data regime `pretraining`.
        synthesis: Makes synthetic forget sets; by default they are made here.
        raw: Whether batches hold images as they are stored, uint8, in the place of network input.

    Attributes:
        meter: Told what was spent before or elsewhere.
    """

    def __init__(
        self,
        dataset: Dataset,
        request: ForgetRequest,
        *,
        regime: Regime,
        preprocessing: Preprocessing,
        cache_dir: Path | None = None,
        seed: int = 0,
        others: Sequence[Dataset] = (),
        retrained: Retrained | None = None,
        synthesis: SyntheticSource | None = None,
        raw: bool = False,
    ) -> None:
        super().__init__()
        self._validation: dict[Part, list[Pairs]] = {}
        self._retrained, self._synthesis = retrained, synthesis
        self.meter: Meter = NoMeter()
        self._retrained_given = False
        self.spec = ForgetSpec.of(dataset, request, others)
        self.regime = regime
        self.preprocessing = preprocessing
        self.cache_dir = cache_dir
        self.steps, self.batch_size = 1, 1
        self._seed, self._raw = seed, raw
        self._parts: dict[Part, PairPart] = {}
        if PARTS_OF[regime]:
            mask = dataset.forget_mask(dataset.split("train"), request)
            for part in PARTS_OF[regime]:
                indices = np.flatnonzero(mask if part == "forget" else ~mask)
                self._parts[part] = PairPart(dataset, indices, by_class=bool(request.classes), seed=seed)
        self._sizes: dict[Part, int] = {part: len(pairs) for part, pairs in self._parts.items()}

    @property
    def sizes(self) -> dict[Part, int]:
        """Images of each part that are handed out, held-out ones among them."""
        return dict(self._sizes)

    def plan(self, *, steps: int, batch_size: int) -> None:
        """Set how many training batches of which size there will be."""
        self.steps, self.batch_size = steps, batch_size

    def hold_out(self, batches: int) -> dict[Part, list[Pairs]]:
        """Take images of each part out of the training, for a method that chooses among its own states.

        They are drawn at random from the train split's part and never come in a training batch afterwards, so this
        must be called before the training begins (`on_fit_start`).

        Args:
            batches: Batches of each part; fewer where they would be more than half of a part.

        Returns:
            For each part that the regime gives, its held-out batches, on the device of the training; no batch where a
            part has one image only.
        """
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        held_out: dict[Part, list[Pairs]] = {}
        for part, pairs in self._parts.items():
            order = np.random.default_rng([self._seed, len(pairs)]).permutation(len(pairs))
            count = min(batches * self.batch_size, len(pairs) // 2)
            starts = range(0, count, self.batch_size)
            batches_of = (order[k : min(k + self.batch_size, count)].tolist() for k in starts)
            stored = (move_data_to_device(pairs.__getitems__(rows), device) for rows in batches_of)
            held_out[part] = [self._ready(batch) for batch in stored]
            self._parts[part] = pairs.part(np.sort(order[count:]))
        return held_out

    def validation(self, batches: int = 2) -> dict[Part, list[Pairs]]:
        """Hold out images of the train split for validation: `hold_out`, and Lightning's validation runs on them.

        A method with a `validation_step` gets each batch there as in training, and callbacks such as `EarlyStopping`
        see what it logs. Call it before the training begins (`on_fit_start`).

        Args:
            batches: Of each part.

        Returns:
            For each part that the regime gives, its held-out batches, on the device of the training.
        """
        self._validation = self.hold_out(batches)
        return self._validation

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
        if self._synthesis is not None:
            forget_set = self._synthesis(model, targets, recipe, self.meter)
        elif self.cache_dir is None:
            forget_set = climb_set(model, targets, recipe).for_model(model, cached=False)
        else:
            forget_set = make_or_load(model, targets, recipe, self.cache_dir)
        if forget_set.cached:
            self.meter.add(forget_set.spent)
        return forget_set

    def retrained(self) -> Retrained:
        """The model trained without the forget data: open to the data regime `pretraining` alone.

        Raises:
            RegimeViolationError: If the regime is another one.
            RequestError: If the original was not trained by a recipe of this project.
        """
        if self.regime != "pretraining":
            raise RegimeViolationError(f"a method of data regime {self.regime!r} asked for the retrained model")
        if self._retrained is None:
            raise RequestError("there is no retrained model: the original was not trained by a recipe of this project")
        if not self._retrained_given:
            self.meter.add(Spent(self._retrained.seconds))
        self._retrained_given = True
        return self._retrained

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Stored images, which travel as bytes, become network input; and a batch names the data regime."""
        parts = batch.items() if isinstance(batch, dict) else None
        return batch if parts is None else Batch({part: self._ready(pairs) for part, pairs in parts}, self.regime)

    def _ready(self, pairs: Pairs) -> Pairs:
        """Pairs as a method gets them; those held out are so already."""
        ready = self._raw or pairs["images"].is_floating_point()
        return pairs if ready else {**pairs, "images": self.preprocessing(pairs["images"])}

    def train_dataloader(self) -> Any:
        """`steps` batches: a dictionary of `Pairs` by part, or the step's number."""
        if not self._parts:
            return DataLoader(Ticks(self.steps), batch_size=None)
        loaders = {
            part: DataLoader(
                pairs,
                batch_sampler=CyclingBatches(len(pairs), self.batch_size, self.steps, seed=self._seed + offset),
                collate_fn=_as_it_is,
            )
            for offset, (part, pairs) in enumerate(sorted(self._parts.items()))
        }
        return CombinedLoader(loaders, mode="min_size")


class ValidatingDataModule(UnlearningDataModule):
    """The same for a method that validates: Lightning asks for the batches that it held out."""

    def val_dataloader(self) -> Any:
        """The batches of `validation`, as many as each part has; none where it was not called."""
        count = min(map(len, self._validation.values()), default=0)
        held_out = [{part: pairs[k] for part, pairs in self._validation.items()} for k in range(count)]
        return DataLoader(Listed(held_out), batch_size=None)


def _as_it_is(batch: Any) -> Any:
    return batch
