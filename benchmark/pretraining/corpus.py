"""The pretraining corpus: the train splits of several data sets as one stream of image-text pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from benchmark.pretraining.recipe import Border, LabelLoss, Recipe
from datamodules.common.dataset import Dataset, LabelSet
from datamodules.common.images import Preprocessing
from datamodules.common.request import ForgetRequest


class Block(NamedTuple):
    """Images of one data set within a batch, and the texts from which they are told apart.

    Attributes:
        first: The first image's row in the batch.
        stop: The row after its last image.
        among: Rows of the batch's texts, all prompts of the data set, shape (C,); empty for captions, which are told
            apart within the block.
        target: The place of each image's own text in `among`, shape (stop - first,); empty likewise.
    """

    first: int
    stop: int
    among: Tensor
    target: Tensor


class PretrainingBatch(TypedDict):
    """`images`: shape (B, 3, S, S). `tokens`: of the U different texts, shape (U, context). `text_of`: the text of
    each image, shape (B,); images of equal texts are positives of each other. `blocks`: the data sets of the batch,
    where each is told apart by itself."""

    images: Tensor
    tokens: Tensor
    text_of: Tensor
    blocks: NotRequired[list[Block]]


@dataclass(frozen=True)
class Texts:
    """Where the texts of labelled images are from, and what they are told from.

    Attributes:
        templates: Prompt templates; empty for the data sets' own.
        weights: How often each template is drawn; empty for evenly.
        label_loss: As in a recipe.
    """

    templates: tuple[str, ...]
    weights: tuple[float, ...] = ()
    label_loss: LabelLoss = "pairs"


@dataclass(frozen=True)
class Augmentation:
    """What is done to the images at random.

    Attributes:
        flip: Mirror every second one.
        shift: Largest shift as a share of the side.
        border: What moves into the image.
    """

    flip: bool
    shift: float
    border: Border = "edge"

    def __call__(self, images: Tensor, random: np.random.Generator) -> Tensor:
        """Augmented images, uint8 of shape (B, 3, S, S)."""
        count, _, height, width = images.shape
        if self.flip:
            mirrored = torch.from_numpy(random.random(count) < 0.5)
            images[mirrored] = images[mirrored].flip(-1)
        reach = round(self.shift * height)
        if reach:
            down, right = (torch.from_numpy(random.integers(-reach, reach + 1, size=count)) for _ in range(2))
            rows = self._inside(torch.arange(height) + down[:, None], height)
            columns = self._inside(torch.arange(width) + right[:, None], width)
            item = torch.arange(count)[:, None, None]
            images = images.permute(0, 2, 3, 1)[item, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        return images

    def _inside(self, places: Tensor, size: int) -> Tensor:
        if self.border == "edge":
            return places.clamp(0, size - 1)
        places = places.abs()
        return torch.where(places < size, places, 2 * (size - 1) - places)


class _Drawn(NamedTuple):
    """Texts for some images of one data set: `text_of` is the text of each image, shape (B,); `classes` says whether
    the texts are all prompts of the data set."""

    texts: list[str]
    text_of: NDArray[np.int64]
    classes: bool


class _Source:
    """The train split of one data set, less what a forget request names.

    Each batch takes either captions or one way of labelling with one template: the different texts of a batch stay few
    and are encoded once each, and no text of a batch is silently true of an image that is not its own.
    """

    def __init__(self, dataset: Dataset, exclude: ForgetRequest | None, texts: Texts) -> None:
        split = dataset.split("train")
        self.images = split.images
        keep = np.ones(len(split.images), dtype=bool)
        if exclude is not None:
            keep = ~dataset.forget_mask(split, exclude)
        self.indices = np.flatnonzero(keep)
        self._captions = split.captions
        self._sets = dataset.label_sets("train")
        self._shown = [np.unique(label_set.labels[self.indices]) for label_set in self._sets]
        self._templates = [texts.templates or label_set.templates for label_set in self._sets]
        weights = np.array(texts.weights)
        self._template_chances = weights / weights.sum() if len(weights) else None
        self._classes = texts.label_loss == "classes"
        # Our choice: the more names, the harder, the more often (with the plain number shapes stay at 84 %).
        squares = np.array([len(label_set.names) ** 2 for label_set in self._sets], dtype=float)
        self._chances = squares / squares.sum() if len(squares) else squares

    def texts(self) -> set[str]:
        """Every text that may occur, and the prompts of names that were left out: a model knows their tokens, but
        learns nothing of them."""
        texts = (
            {caption for i in self.indices for caption in self._captions[i]} if self._captions is not None else set()
        )
        for label_set, templates in zip(self._sets, self._templates, strict=True):
            texts |= {template.format(name) for template in templates for name in label_set.names}
        return texts

    def draw(self, indices: NDArray[np.int64], random: np.random.Generator, label_share: float) -> _Drawn:
        """A text for each image; a label that often where there are captions too, in [0, 1]."""
        if self._captions is not None and random.random() >= (label_share if self._sets else 0.0):
            captions = [self._captions[i] for i in indices]
            return _paired([choices[random.integers(len(choices))] for choices in captions])
        number = random.choice(len(self._sets), p=self._chances)
        template = self._template(self._templates[number], random)
        chosen: LabelSet = self._sets[number]
        labels = chosen.labels[indices]
        if not self._classes:
            return _paired([template.format(chosen.names[label]) for label in labels])
        shown = self._shown[number]  # a name without an image left has no prompt
        prompts = [template.format(chosen.names[label]) for label in shown]
        return _Drawn(prompts, np.searchsorted(shown, labels), classes=True)

    def _template(self, templates: Sequence[str], random: np.random.Generator) -> str:
        if self._template_chances is None:
            return templates[int(random.integers(len(templates)))]
        return templates[int(random.choice(len(templates), p=self._template_chances))]


def _paired(texts: list[str]) -> _Drawn:
    return _Drawn(texts, np.arange(len(texts)), classes=False)


class Corpus(IterableDataset[PretrainingBatch]):
    """`steps` training batches over all sources, each image once before any comes again.

    Args:
        datasets: Their train splits are used.
        tokenize: Turns texts into token ids of shape (B, context).
        preprocessing: Of the model.
        texts: Of labelled images.
        label_share: How often captioned images that also have labels take a label as their text, at the beginning
            and at the end of training; linear in between.
        batch_size: Pairs a batch.
        epochs: Passes.
        augmentation: Of the images.
        shares: How many images of each data set are in every batch; empty draws from all of them together.
        exclude: For each data set by name, what a retrained-without model must never see.
        seed: Of shuffling, texts and augmentation.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        tokenize: object,
        preprocessing: Preprocessing,
        *,
        texts: Texts,
        label_share: tuple[float, float],
        batch_size: int,
        epochs: float,
        augmentation: Augmentation,
        shares: Sequence[int] = (),
        exclude: dict[str, ForgetRequest] | None = None,
        seed: int = 0,
    ) -> None:
        excluded = exclude or {}
        self._sources = [_Source(d, excluded.get(d.name), texts) for d in datasets]
        self._preprocessing, self._batch, self._seed = preprocessing, batch_size, seed
        self._augment, self._shares, self._label_share = augmentation, tuple(shares), label_share
        self._in_blocks = texts.label_loss == "classes"
        self.items = np.concatenate(
            [np.stack([np.full(len(s.indices), n), s.indices], axis=1) for n, s in enumerate(self._sources)]
        )
        self.steps = int(len(self.items) * epochs) // batch_size
        self._done = 0
        all_texts = sorted(set().union(*(source.texts() for source in self._sources)))
        tokens: Tensor = tokenize(all_texts)  # type: ignore[operator]
        self.token_ids, compact = torch.unique(tokens, return_inverse=True)
        self._tokens = compact.view_as(tokens).to(torch.int32)
        self._row = {text: row for row, text in enumerate(all_texts)}

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        datasets: Sequence[Dataset],
        tokenize: object,
        *,
        exclude: dict[str, ForgetRequest] | None = None,
        seed: int = 0,
    ) -> Corpus:
        """The corpus of a recipe's first cycle."""
        return cls(
            datasets,
            tokenize,
            recipe.architecture.image_input,
            texts=Texts(recipe.templates, recipe.template_weights, recipe.label_loss),
            label_share=recipe.label_share,
            batch_size=recipe.batch_size,
            epochs=recipe.epochs,
            augmentation=Augmentation(recipe.flip, recipe.shift, recipe.border),
            shares=recipe.shares,
            exclude=exclude,
            seed=seed,
        )

    def again(self, epochs: float, seed: int, label_share: tuple[float, float]) -> Corpus:
        """The same corpus for another number of passes, in another order, with a share of labels of its own."""
        corpus = copy(self)
        corpus.steps, corpus._seed, corpus._done = int(len(self.items) * epochs) // self._batch, seed, 0
        corpus._label_share = label_share
        return corpus

    def after(self, steps: int) -> Corpus:
        """The same batches without the first ones: what is left of a training that was interrupted."""
        corpus = copy(self)
        corpus._done = steps
        return corpus

    def __len__(self) -> int:
        return self.steps - self._done

    def __iter__(self) -> Iterator[PretrainingBatch]:
        if self._shares:
            parts = [self.items[self.items[:, 0] == number] for number in range(len(self._sources))]
            streams = [
                _stream(items, share, np.random.default_rng((self._seed, number, share)))
                for number, (items, share) in enumerate(zip(parts, self._shares, strict=True))
            ]
        else:
            streams = [_stream(self.items, self._batch, np.random.default_rng(self._seed))]
        for step in range(self.steps):
            batch = np.concatenate([next(stream) for stream in streams])
            if step >= self._done:  # each step has random numbers of its own, so a later start gives the same batches
                yield self._make(batch, np.random.default_rng((self._seed, step)), step / self.steps)

    def _make(self, batch: NDArray[np.int64], random: np.random.Generator, progress: float) -> PretrainingBatch:
        (first, last), images = self._label_share, list[Tensor]()
        texts, drawn = list[str](), list[tuple[int, int, _Drawn]]()
        for number, source in enumerate(self._sources):
            indices = batch[batch[:, 0] == number, 1]
            if not len(indices):
                continue
            images.append(self._preprocessing(self._augment(source.images.read(indices), random)))
            part = source.draw(indices, random, first + (last - first) * progress)
            drawn.append((len(texts), len(indices), part))
            texts.extend(part.texts)
        rows = np.array([self._row[text] for text in texts])
        unique, place = np.unique(rows, return_inverse=True)
        result = PretrainingBatch(
            images=torch.cat(images).contiguous(memory_format=torch.channels_last),
            tokens=self._tokens[unique].long(),
            text_of=torch.from_numpy(np.concatenate([place[start + part.text_of] for start, _, part in drawn])),
        )
        if self._in_blocks:
            result["blocks"] = _blocks(drawn, place)
        return result


def _stream(items: NDArray[np.int64], size: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Items in batches without end, each once before any comes again."""
    queue = items[:0]
    while True:
        while len(queue) < size:
            queue = np.concatenate([queue, items[random.permutation(len(items))]])
        yield queue[:size]
        queue = queue[size:]


def _blocks(drawn: Sequence[tuple[int, int, _Drawn]], place: NDArray[np.int64]) -> list[Block]:
    blocks, row = [], 0
    for start, count, part in drawn:
        among = place[start : start + len(part.texts)] if part.classes else place[:0]
        target = part.text_of if part.classes else place[:0]
        blocks.append(Block(row, row + count, torch.from_numpy(among), torch.from_numpy(target)))
        row += count
    return blocks
