"""How the accuracy falls while a method unlearns: for the terminal and for curves over steps, never for a record.

A few dozen *training* images, half to forget and half to keep, are classified every so often by a copy of the model as
it stands. The unlearning does not notice: it happens in another process, which gets the tensors that changed and takes
the time out of the cost. How often there is a look says `benchmark.unlearning.looks`; a tower that has not changed
since is not run again.

For a request by class the number is zero-shot accuracy (first template); by concept, how often an image finds its own
caption among those of the few dozen.
"""

from __future__ import annotations

import copy
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.evaluation.numerics.metrics import predict
from benchmark.unlearning.looks import SHARE
from benchmark.utils.hardware import Precision, autocast
from benchmark.utils.randomness import isolated
from datamodules.common.dataset import Dataset
from datamodules.common.request import ForgetRequest, mentions
from methods.common.clip import Clip, parameter_group

PER_PART = 32
"""Images of each part, our choice: steps of three per cent are seen, and a look takes some hundredths of a second."""
MOST_NAMES = 128
"""Names that images are told apart by; with more classes, only those of the chosen images."""
KNOWN = 4
"""Requests whose images and first features are kept for the cells that follow."""

Report = Callable[[float, float], None]
"""Told the forget and the retain accuracy, in [0, 1]."""


@dataclass(frozen=True)
class Probe:
    """The images that are looked at, and what each should answer.

    Attributes:
        images: Network input, shape (N, 3, S, S), on the CPU.
        forget: Which are to be forgotten, boolean, shape (N,).
        names: What a refused name is looked up in: class names, or captions.
        texts: The candidates, one a name.
        answers: Index of the right candidate of each image, shape (N,).
        by_class: Whether the names are classes.
    """

    images: Tensor
    forget: Tensor
    names: tuple[str, ...]
    texts: tuple[str, ...]
    answers: Tensor
    by_class: bool

    @classmethod
    def of(cls, dataset: Dataset, request: ForgetRequest, clip: Clip) -> Probe:
        """The same images for every method of a request: drawn from the train split, seeded by nothing else.

        Args:
            dataset: Where the request is from.
            request: What to forget.
            clip: Says how it wants its images.
        """
        split = dataset.split("train")
        mask = dataset.forget_mask(split, request)
        draw = np.random.default_rng(0)
        rows = np.concatenate([draw.permutation(np.flatnonzero(part))[:PER_PART] for part in (mask, ~mask)])
        images = clip.preprocessing(split.images.read(rows))
        forget = torch.from_numpy(mask[rows])
        if not request.concept and split.labels is not None:
            labels = split.labels[rows]
            chosen = np.unique(labels) if len(dataset.class_names) > MOST_NAMES else np.arange(len(dataset.class_names))
            names = tuple(dataset.class_names[label] for label in chosen)
            texts = tuple(dataset.templates[0].format(name) for name in names)
            answers = torch.from_numpy(np.searchsorted(chosen, labels))
            return cls(images, forget, names, texts, answers, by_class=True)
        captions = split.captions or ()
        texts = tuple(_caption(captions[row], request) for row in rows)
        return cls(images, forget, texts, texts, torch.arange(len(rows)), by_class=False)


def _caption(captions: tuple[str, ...], request: ForgetRequest) -> str:
    """The first caption that mentions what is to be forgotten; else the first."""
    hits = mentions(captions, request.words)
    return next((text for text, hit in zip(captions, hits, strict=True) if hit), captions[0])


@dataclass
class _Start:
    """What is known of a request before its first cell unlearns."""

    probe: Probe
    images: Tensor
    texts: Tensor
    seconds: float


class Watch:
    """Looks at one model while it is edited.

    Args:
        clip: The model before its first edit, which nobody edits; copied at the first look that needs it, since most
            unlearnings are done before that.
        start: The probe and the features of the model before.
        precision: Of the towers.
        report: Told each look.

    Attributes:
        seconds: What a look takes, as far as is known.
        share: Largest share of the unlearning's time.
    """

    def __init__(
        self, clip: Clip, start: _Start, *, precision: Precision, report: Report, share: float = SHARE
    ) -> None:
        self._clip, self._is_copy = clip, False
        self._probe, self._precision, self._report = start.probe, precision, report
        self._images, self._texts = start.images, start.texts
        self.seconds, self.share = start.seconds, share

    def first(self) -> dict[str, float]:
        """The accuracies before the first step."""
        return self._answer(self._clip.refused)

    def see(self, changed: Mapping[str, Tensor], refused: tuple[str, ...]) -> dict[str, float]:
        """The accuracies after some tensors have changed; empty where one is not of this model.

        Args:
            changed: Tensors that differ from those of the last look, by name, on any device.
            refused: What the model refuses now.
        """
        tensors = self._clip.model.state_dict()
        if any(name not in tensors or tensors[name].shape != value.shape for name, value in changed.items()):
            return {}
        with torch.no_grad():  # nothing is drawn; generators are those of all threads, and another one may measure
            if changed and not self._is_copy:
                self._clip, self._is_copy = _copied(self._clip), True
                tensors = self._clip.model.state_dict()
            for name, value in changed.items():
                tensors[name].copy_(value)
            groups = {parameter_group(name) for name in changed}
            if "visual" in groups:
                self._images = _image_features(self._clip, self._probe, self._precision)
            if "text" in groups:
                self._texts = _text_features(self._clip, self._probe, self._precision)
            return self._answer(refused)

    def _answer(self, refused: tuple[str, ...]) -> dict[str, float]:
        probe, refusing = self._probe, copy.copy(self._clip)
        refusing.refused = refused
        hidden = (refusing.is_refused_class if probe.by_class else refusing.is_refused)(probe.names)
        right = predict(self._images, self._texts, refused=hidden).cpu() == probe.answers
        forget, retain = (float(right[part].float().mean()) for part in (probe.forget, ~probe.forget))
        self._report(forget, retain)
        return {"watch/forget_accuracy": forget, "watch/retain_accuracy": retain}


@dataclass
class Watcher:
    """Makes the watch of each cell; what is the same for the cells of a request is computed once.

    Attributes:
        report: Told each look.
        share: Largest share of an unlearning's time that looking may take.
    """

    report: Report
    share: float = SHARE
    _known: dict[tuple[object, ...], _Start] = field(default_factory=dict)
    _still: tuple[Callable[[], nn.Module | None], Clip] | None = None

    def watch(
        self,
        clip: Clip,
        dataset: Dataset,
        request: ForgetRequest,
        precision: Precision,
        report: Report | None = None,
    ) -> Watch:
        """The watch of a cell.

        Args:
            clip: The model before unlearning.
            dataset: Where the request is from.
            request: What to forget.
            precision: Of the towers.
            report: Told each look in the place of the usual one.
        """
        key = (clip.name, dataset.name, request, precision)
        if key not in self._known:
            self._known = dict(list(self._known.items())[1 - KNOWN :])
            self._known[key] = self._start(clip, dataset, request, precision)
        start, still = self._known[key], self._copy_of(clip)
        return Watch(still, start, precision=precision, report=report or self.report, share=self.share)

    def _copy_of(self, clip: Clip) -> Clip:
        """A copy of a model that looks alone use: a measurement may hold the model's projection back for a while."""
        if self._still is None or self._still[0]() is not clip.model:
            self._still = weakref.ref(clip.model), _copied(clip)
        return self._still[1]

    def _start(self, clip: Clip, dataset: Dataset, request: ForgetRequest, precision: Precision) -> _Start:
        with isolated(0), torch.no_grad():
            probe, still = Probe.of(dataset, request, clip), self._copy_of(clip)
            start = time.perf_counter()
            images, texts = _image_features(still, probe, precision), _text_features(still, probe, precision)
            return _Start(probe, images, texts, time.perf_counter() - start)


def _copied(clip: Clip) -> Clip:
    still = clip.copy()
    still.model.eval()
    still.model.requires_grad_(False)
    return still


def _image_features(clip: Clip, probe: Probe, precision: Precision) -> Tensor:
    with autocast(precision, clip.device):
        return F.normalize(clip.encode_image(probe.images.to(clip.device)).float(), dim=-1)


def _text_features(clip: Clip, probe: Probe, precision: Precision) -> Tensor:
    with autocast(precision, clip.device):
        return F.normalize(clip.encode_text(probe.texts).float(), dim=-1)
