"""CLIP as a classifier of names: what the methods that were made for classifiers are carried over with.

The class weights w are the original's zero-shot classifier over the names to forget and to keep. They are computed once
and kept; the network that unlearns is the image encoder f:

    logits(x) = exp(logit_scale) * cos(f(x), w)

Our choice, because CLIP is commonly fine-tuned on labels with this very head kept (Ilharco et al., ICLR 2023), and
because an image classifier has no text encoder that could move.

| request | label of a forget image | classes of a retain image |
|---|---|---|
| by class | its class | all names; its class |
| by concept | the concept, among the vocabulary | its captions are all it has: the texts of its batch; its own text |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import UnlearningMethod
from methods.common.clip import Clip


def prompts(names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every name in every template, template by template for each name.

    The empty name makes the neutral prompt: what a template says when it names nothing. It leaves no double space.
    """
    return [" ".join(template.format(name).split()) for name in names for template in templates]


PLAIN_TEMPLATES = ("a photo of a {}",)
"""The one prompt without full stop and suffix that closed forms of the literature state."""


class NameClassifier:
    """The zero-shot classifier of a method's original, and the labels of its batches.

    Args:
        method: Its CLIP is read as it is now: make this before the first edit.

    Attributes:
        weights: Unit-norm class weights, those of the names to forget first, shape (C, D).
        forgotten: How many of them are to be forgotten.
    """

    def __init__(self, method: UnlearningMethod[Any]) -> None:
        spec = method.spec
        with torch.no_grad():
            self.weights = method.classifier()
        self.forgotten = len(spec.forget_names)
        self._by_class = bool(spec.request.classes)
        self._column = {spec.templates[0].format(name): column for column, name in enumerate(spec.all_names)}

    def logits(self, clip: Clip, images: Tensor, weights: Tensor | None = None) -> Tensor:
        """Logits of images at CLIP's own temperature.

        Args:
            clip: Whose image encoder.
            images: Network input, shape (B, 3, S, S).
            weights: Other class weights than those of the names, shape (K, D).

        Returns:
            Shape (B, C), or (B, K).
        """
        rows = self.weights if weights is None else weights
        return clip.logit_scale.detach() * F.normalize(clip.encode_image(images).float(), dim=-1) @ rows.T

    def forget_labels(self, pairs: Pairs) -> Tensor:
        """The columns of the names that forget images show, shape (B,)."""
        if not self._by_class:
            return torch.zeros(len(pairs["texts"]), dtype=torch.long, device=self.weights.device)
        return self._columns(pairs)

    def retain_classes(self, clip: Clip, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """The classes that retain images are told apart by, and their labels.

        Args:
            clip: Whose text encoder embeds captions.
            pairs: A retain batch.

        Returns:
            Unit-norm class weights of shape (K, D), and a row of them for each image, shape (B,).
        """
        if self._by_class:
            return self.weights, self._columns(pairs)
        with torch.no_grad():
            texts = F.normalize(clip.encode_text(pairs["texts"]).float(), dim=-1)
        return texts, torch.arange(len(texts), device=texts.device)

    def other_names(self, pairs: Pairs, seed: int) -> Tensor:
        """A wrong label for each forget image: the column of a name to keep, drawn at random, shape (B,).

        An image gets the same label whenever the seed is the same. Another name that is to be forgotten is no answer.
        """
        columns = [
            np.random.default_rng([seed, index]).integers(self.forgotten, len(self.weights))
            for index in pairs["indices"].tolist()
        ]
        return torch.tensor(columns, device=self.weights.device)

    def _columns(self, pairs: Pairs) -> Tensor:
        return torch.tensor([self._column[text] for text in pairs["texts"]], device=self.weights.device)


def draw_seed() -> int:
    """A seed for generators of one's own, drawn from torch's: it follows the seed of the run."""
    return int(torch.randint(2**31, ()))


def divergence(original: Tensor, unlearned: Tensor, *, temperature: float = 1.0) -> Tensor:
    """T^2 KL(softmax(original / T) || softmax(unlearned / T)), mean over the rows (Hinton et al. 2015).

    Args:
        original: Logits of the original, shape (B, K).
        unlearned: Logits of the model that unlearns, shape (B, K).
        temperature: T.
    """
    p, q = ((logits / temperature).log_softmax(dim=-1) for logits in (original, unlearned))
    return temperature**2 * F.kl_div(q, p, reduction="batchmean", log_target=True)


def task_loss(method: UnlearningMethod[Any], pairs: Pairs, *, classifier: Tensor | None = None) -> Tensor:
    """The loss of a batch of pairs, by the kind of the method's request; a scalar.

    Args:
        method: Whose CLIP and names.
        pairs: A batch from the DataModule.
        classifier: Frozen unit-norm rows over `spec.all_names`, shape (C, D); None for the current text encoder's.
            A request by concept does not use it.
    """
    if not method.spec.request.classes:
        return method.pair_loss(pairs)
    rows = method.classifier() if classifier is None else classifier
    return F.cross_entropy(zero_shot_logits(method.clip, pairs["images"], rows), targets(method.spec, pairs))


def zero_shot_logits(clip: Clip, images: Tensor, classifier: Tensor) -> Tensor:
    """Scaled cosines of images with the rows of a classifier, shape (B, C)."""
    features = F.normalize(clip.encode_image(images).float(), dim=-1)
    return clip.logit_scale * features @ classifier.T


def targets(spec: ForgetSpec, pairs: Pairs) -> Tensor:
    """The row of each image's name in `spec.all_names`, shape (B,).

    A method knows names and not class indices, so the name is read off the prompt, as the DataModule wrote it.
    """
    row_of = {spec.templates[0].format(name): row for row, name in enumerate(spec.all_names)}
    return torch.tensor([row_of[text] for text in pairs["texts"]], device=pairs["images"].device)
