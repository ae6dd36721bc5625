"""The pretraining corpus: the train splits of several data sets as one stream of image-text pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from datamodules.common.dataset import Dataset
from datamodules.common.images import Preprocessing
from datamodules.common.request import ForgetRequest


class PretrainingBatch(TypedDict):
    """`images`: shape (B, 3, S, S). `tokens`: of the U different texts, shape (U, context). `text_of`: the text of
    each image, shape (B,); images of equal texts are positives of each other."""

    images: Tensor
    tokens: Tensor
    text_of: Tensor


class _Source:
    """The train split of one data set, less what a forget request names.

    Each batch takes either captions or one way of labelling with one template: the different texts of a batch stay few
    and are encoded once each, and no text of a batch is silently true of an image that is not its own.
    """

    def __init__(
        self,
        dataset: Dataset,
        exclude: ForgetRequest | None,
        templates: Sequence[str],
    ) -> None:
        split = dataset.split("train")
        self.images = split.images
        keep = np.ones(len(split.images), dtype=bool)
        if exclude is not None:
            keep = ~dataset.forget_mask(split, exclude)
        self.indices = np.flatnonzero(keep)
        self._captions = split.captions
        self._sets = dataset.label_sets("train")
        self._templates = [tuple(templates) or each.templates for each in self._sets]
        # Our choice: the more names, the harder, the more often (with the plain number shapes stay at 84 %).
        weights = np.array([len(each.names) ** 2 for each in self._sets], dtype=float)
        self._chances = weights / weights.sum() if len(weights) else weights

    def texts(self) -> set[str]:
        """Every text that may occur."""
        found = (
            {caption for i in self.indices for caption in self._captions[i]} if self._captions is not None else set()
        )
        for each, templates in zip(self._sets, self._templates, strict=True):
            found |= {template.format(name) for template in templates for name in each.names}
        return found

    def draw(self, indices: NDArray[np.int64], random: np.random.Generator, label_share: float) -> list[str]:
        """A text for each image; a label that often where there are captions too, in [0, 1]."""
        if self._captions is not None and random.random() >= (label_share if self._sets else 0.0):
            captions = [self._captions[i] for i in indices]
            return [each[random.integers(len(each))] for each in captions]
        number = random.choice(len(self._sets), p=self._chances)
        chosen, templates = self._sets[number], self._templates[number]
        template = templates[random.integers(len(templates))]
        return [template.format(chosen.names[label]) for label in chosen.labels[indices]]


class Corpus(IterableDataset[PretrainingBatch]):
    """`steps` training batches over all sources, each image once before any comes again.

    Args:
        datasets: Their train splits are used.
        tokenize: Turns texts into token ids of shape (B, context).
        preprocessing: Of the model.
        templates: For labelled images; empty for the data sets' own.
        label_share: How often captioned images that also have labels take a label as their text, at the beginning
            and at the end of training; linear in between.
        batch_size: Pairs a batch.
        epochs: Passes.
        flip: Mirror at random.
        shift: Largest shift as a share of the side.
        exclude: For each data set by name, what a retrained-without model must never see.
        seed: Of shuffling, texts and augmentation.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        tokenize: object,
        preprocessing: Preprocessing,
        *,
        templates: Sequence[str],
        label_share: tuple[float, float],
        batch_size: int,
        epochs: float,
        flip: bool,
        shift: float,
        exclude: dict[str, ForgetRequest] | None = None,
        seed: int = 0,
    ) -> None:
        excluded = exclude or {}
        self._sources = [_Source(d, excluded.get(d.name), templates) for d in datasets]
        self._preprocessing, self._batch, self._seed = preprocessing, batch_size, seed
        self._flip, self._shift, self._label_share = flip, shift, label_share
        self.items = np.concatenate(
            [np.stack([np.full(len(s.indices), n), s.indices], axis=1) for n, s in enumerate(self._sources)]
        )
        self.steps = int(len(self.items) * epochs) // batch_size
        self._done = 0
        texts = sorted(set().union(*(source.texts() for source in self._sources)))
        tokens: Tensor = tokenize(texts)  # type: ignore[operator]
        self.token_ids, compact = torch.unique(tokens, return_inverse=True)
        self._tokens = compact.view_as(tokens).to(torch.int32)
        self._row = {text: row for row, text in enumerate(texts)}

    def again(self, epochs: float, seed: int, label_share: tuple[float, float]) -> Corpus:
        """The same corpus for another number of passes, in another order, with a share of labels of its own."""
        other = copy(self)
        other.steps, other._seed, other._done = int(len(self.items) * epochs) // self._batch, seed, 0
        other._label_share = label_share
        return other

    def after(self, steps: int) -> Corpus:
        """The same batches without the first ones: what is left of a training that was interrupted."""
        other = copy(self)
        other._done = steps
        return other

    def __len__(self) -> int:
        return self.steps - self._done

    def __iter__(self) -> Iterator[PretrainingBatch]:
        order = np.random.default_rng(self._seed)
        queue = np.empty((0, 2), dtype=np.int64)
        for step in range(self.steps):
            while len(queue) < self._batch:
                queue = np.concatenate([queue, self.items[order.permutation(len(self.items))]])
            batch, queue = queue[: self._batch], queue[self._batch :]
            if step >= self._done:  # each step has random numbers of its own, so a later start gives the same batches
                yield self._make(batch, np.random.default_rng((self._seed, step)), step / self.steps)

    def _make(self, batch: NDArray[np.int64], random: np.random.Generator, progress: float) -> PretrainingBatch:
        (first, last), images, texts = self._label_share, [], []
        for number, source in enumerate(self._sources):
            indices = batch[batch[:, 0] == number, 1]
            if not len(indices):
                continue
            images.append(self._preprocessing(self._augment(source.images.read(indices), random)))
            texts.extend(source.draw(indices, random, first + (last - first) * progress))
        rows = np.array([self._row[text] for text in texts])
        unique, text_of = np.unique(rows, return_inverse=True)
        return PretrainingBatch(
            images=torch.cat(images).contiguous(memory_format=torch.channels_last),
            tokens=self._tokens[unique].long(),
            text_of=torch.from_numpy(text_of),
        )

    def _augment(self, images: Tensor, random: np.random.Generator) -> Tensor:
        count, _, height, width = images.shape
        if self._flip:
            mirrored = torch.from_numpy(random.random(count) < 0.5)
            images[mirrored] = images[mirrored].flip(-1)
        reach = round(self._shift * height)
        if reach:
            down, right = (torch.from_numpy(random.integers(-reach, reach + 1, size=count)) for _ in range(2))
            rows = (torch.arange(height) + down[:, None]).clamp(0, height - 1)
            columns = (torch.arange(width) + right[:, None]).clamp(0, width - 1)
            item = torch.arange(count)[:, None, None]
            images = images.permute(0, 2, 3, 1)[item, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        return images
