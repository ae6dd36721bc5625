"""How strong an attack on the weights is: the largest level of a ladder at which the original keeps what it knew.

An attack that harms every model accuses the innocent too: fine-tuning at one learning rate for all models took a good
original from 62 to 31 % of its retained classes. So the level of an attack (a learning rate, a share of weights, a size
of noise) is chosen for each model, before any unlearned model is attacked: the largest of the attack's ladder at which
the ORIGINAL loses less than `MOST_LOST` of its accuracy on the classes that nobody forgets.

That is measured on validation images: those of the data set's validation part where it has one, else a tenth of each
class of its training part, which the attack then does not train on. No test image chooses anything. The level belongs
to the model and the data set, not to a request or to a method: it is chosen once and kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.evaluation.context import Context
from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.families import NotMeasurableError
from benchmark.records.record import Metric
from benchmark.utils.statistics import wilson
from datamodules.common.cache import cached_bytes
from datamodules.common.code_closure import KEEPING, project_code
from datamodules.common.dataset import Dataset, Split, SplitName
from datamodules.common.errors import BenchmarkError
from datamodules.common.narrowed import whole
from methods.common.clip import Clip, state_hash

MOST_LOST = 0.01
"""Of the original's accuracy, as a share of the validation images: a point."""
VALIDATION_IMAGES = 2000
"""At most; of all classes alike. A point of them is 20 images."""
HELD_OUT = 10
"""Every so-maniest training image of a class, where a data set has no validation part."""
FORGET_IMAGES, RETAIN_IMAGES = 500, 1000
"""Test images of each part, at most, on which an attacked model is measured, our choice: an attack has many draws."""
BATCH = 256


@dataclass(frozen=True)
class Level:
    """How strong an attack is.

    Attributes:
        value: In the attack's unit.
        lost: Of the original's accuracy on the validation images at this level, in [-1, 1]; below 0 is a gain.
        images: How many validation images.
        part: Of which part of the data set they are.
    """

    value: float
    lost: float
    images: int
    part: SplitName

    def told(self, name: str) -> dict[str, Any]:
        """As a record's report tells it.

        Args:
            name: What the level is, such as "learning_rate".
        """
        validated = {"original_loses": round(self.lost, 4), "validation_images": self.images, "of": self.part}
        return {name: self.value, **validated}


@dataclass(frozen=True)
class Validation:
    """The images on which levels are chosen.

    Attributes:
        split: What they are of.
        rows: Which of it, ascending.
    """

    split: Split
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset) -> Validation:
        """Those of a data set with classes: the same for every request and model."""
        split, rows = _part(dataset)
        chosen = np.random.default_rng(0).permutation(rows)[:VALIDATION_IMAGES]
        return cls(split, np.sort(chosen))

    @cached_property
    def labels(self) -> Tensor:
        """Of the images, shape (N,)."""
        return torch.from_numpy(_labels(self.split)[self.rows])

    def right(self, clip: Clip, classifier: Tensor) -> Tensor:
        """Which images a model recognises, boolean, shape (N,)."""
        return right_of(clip, self.split, self.rows, classifier)

    @property
    def in_train(self) -> NDArray[np.int64]:
        """Rows of the training part that are among them: no attack trains on these while its level is chosen."""
        return self.rows if self.split.name == "train" else self.rows[:0]


def _part(dataset: Dataset) -> tuple[Split, NDArray[np.int64]]:
    try:
        split = dataset.split("val")
    except BenchmarkError:  # it has none
        split = dataset.split("train")
    labels = _labels(split)
    if split.name == "val":
        return split, np.arange(len(labels))
    of_class = (np.flatnonzero(labels == label) for label in np.unique(labels))
    return split, np.concatenate([rows[::HELD_OUT] for rows in of_class])


def _labels(split: Split) -> NDArray[np.int64]:
    if split.labels is None:
        raise NotMeasurableError(f"{split.images.name} has no labels")
    return split.labels


def chosen_level(
    context: Context, attack: str, ladder: Sequence[float], lost: Callable[[Validation, Tensor, float], float]
) -> Level:
    """The level of an attack for the original of a context; from the cache where it was chosen before.

    Args:
        context: Its original and its data set alone have a say.
        attack: The family's name.
        ladder: Levels, the strongest first.
        lost: How much accuracy the original loses at a level on these images, in [-1, 1]; it is given the images and
            which of them the original recognises before the attack.

    Raises:
        NotMeasurableError: If the original loses too much at every level.
    """

    def choose() -> bytes:
        validation = Validation.of(whole(context.dataset))
        before = validation.right(context.original, context.classifier(context.original))
        for value in ladder:
            share = lost(validation, before, value)
            if share < MOST_LOST:
                level = Level(value, share, len(validation.rows), validation.split.name)
                return json.dumps(asdict(level)).encode()
        return b"null"

    folder = context.store.folder
    file = None if folder is None else folder / f"{attack}-{_key(context, attack, ladder)}.json"
    content = json.loads(choose() if file is None else cached_bytes(file, choose)[0])
    if content is None:
        raise NotMeasurableError(
            f"the original loses {100 * MOST_LOST:g} point or more of its accuracy at every level of this attack"
        )
    return Level(**content)


def level_of_edit(
    context: Context, attack: str, ladder: Sequence[float], edited: Callable[[Clip, float], Iterable[Clip]]
) -> Level:
    """The level of an attack that edits weights and looks at no image.

    Args:
        context: As in `chosen_level`.
        attack: The family's name.
        ladder: Levels, the strongest first.
        edited: Copies of a model after the attack at a level, one a draw; the mean loss over them counts.

    Raises:
        NotMeasurableError: If the original loses too much at every level.
    """

    def lost(validation: Validation, before: Tensor, value: float) -> float:
        after = [validation.right(clip, context.classifier(clip)) for clip in edited(context.original, value)]
        return float(np.mean([float((before.double() - right.double()).mean()) for right in after]))

    return chosen_level(context, attack, ladder, lost)


def _key(context: Context, attack: str, ladder: Sequence[float]) -> str:
    clip, dataset = context.original, whole(context.dataset)
    code = project_code().digest(f"benchmark.evaluation.measures.{attack}", stops=KEEPING)
    weights = state_hash(clip.model, lambda _: True)
    identity = [weights, asdict(clip.preprocessing), dataset.revision, list(ladder), clip.device.type, code]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


@torch.inference_mode()
def right_of(clip: Clip, split: Split, rows: NDArray[np.int64], classifier: Tensor) -> Tensor:
    """Which images a model gives their true class, boolean, shape (len(rows),), on the CPU.

    Args:
        clip: The model.
        split: With labels.
        rows: Which images of it.
        classifier: Shape (C, D).
    """
    weights = classifier.to(clip.device)
    predicted = []
    for start in range(0, len(rows), BATCH):
        images = clip.preprocessing(split.images.read(rows[start : start + BATCH]).to(clip.device))
        predicted.append((clip.encode_image(images).float() @ weights.T).argmax(dim=-1).cpu())
    return torch.cat(predicted) == torch.from_numpy(_labels(split)[rows])


@dataclass(frozen=True)
class Attacked:
    """The accuracy of a model after an attack, in [0, 1], and over how many test images."""

    forget: float
    retain: float
    forget_images: int
    retain_images: int


def attacked(context: Context, clip: Clip, classifier: Tensor) -> Attacked:
    """Measure an attacked model on test images: up to `FORGET_IMAGES` and `RETAIN_IMAGES`, the same for all models.

    Args:
        context: Whose request.
        clip: The model after the attack.
        classifier: The zero-shot classifier, shape (C, D).
    """
    context.labels("test")
    forget = context.forget.numpy()
    split = context.dataset.split("test")
    random = np.random.default_rng(context.seed)
    rows = [
        np.sort(random.permutation(np.flatnonzero(mask))[:most])
        for mask, most in ((forget, FORGET_IMAGES), (~forget, RETAIN_IMAGES))
    ]
    forgotten, retained = (right_of(clip, split, part, classifier).double().mean() for part in rows)
    return Attacked(float(forgotten), float(retained), len(rows[0]), len(rows[1]))


def mean_metrics(name: str, draws: Sequence[Attacked]) -> Metrics:
    """The metrics `forget/NAME` and `retain/NAME`: means over the draws of an attack."""
    metrics: Metrics = {}
    for part, n in (("forget", draws[0].forget_images), ("retain", draws[0].retain_images)):
        share = float(np.mean([getattr(draw, part) for draw in draws]))
        metrics[f"{part}/{name}"] = Metric(share, n, wilson(share * n, n))
    return metrics
