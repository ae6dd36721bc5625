"""SFR-on: forget along what D_r does not need, retain in between (Huang et al., NeurIPS 2024, arXiv 2409.19732).

    m = 1 where F_f >= F_r, else 0        F = mean over batches of (gradient of the batch's mean CE)^2, at the original
    every 5th step:  ascend   a_t mean over D_f of  w CE(f(x), y)       gradient times m, then clipped at norm 7
                     w ~ CE^-1/2, of mean 1 in a batch and without gradient;  a_t = 25 (1 + cos(pi t / T)) / 2
    every step:      descend  mean over D_r of  CE(f(x), y)             no mask, no clip

The weighted loss is sum CE^1/2 / sum CE^-1/2: images that are still sure count most. One optimizer takes both kinds of
steps, so its momentum and weight decay reach masked weights too. The first batches measure both F (no step is taken),
the others train. Made for classifiers: logits and labels are those of methods/common/zero_shot.py, for a request by
concept too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs, Part
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip
from methods.common.zero_shot import NameClassifier

CARD = MethodCard(
    name="sfron",
    title="masked ascent on forget images every few steps of training on retain images",
    paper="Huang et al., NeurIPS 2024, arXiv 2409.19732",
    regime="forget+retain",
    edits=("visual",),
    needs=("names to forget",),
    deviations=(
        "Settings are those for a random tenth of the images: none for whole classes is published.",
        "Small CLIPs: steps on retain images are clipped at 1, because a logit scale multiplies the gradients that the "
        "rate is for; both importances are those of a few hundred images.",
        "The slow and fast weights of the paper are left out: the official code sets them to do nothing.",
    ),
)
FLOOR = 1e-15
"""Official code: added to both importances."""


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official code, CIFAR-10."""

    learning_rate: float = hyper(
        0.01,
        low=0.0,
        source="official code: SGD, half a cosine to 0",
        rate="sgd",
    )
    momentum: float = hyper(0.9, low=0.0, high=1.0, source="official code")
    weight_decay: float = hyper(5e-4, low=0.0, source="official code")
    ascent_weight: float = hyper(25.0, low=0.0, source="a_0; official code, CIFAR-10 (500 for Swin-T)")
    exponent: float = hyper(0.5, low=0.0, source="of w; official code, CIFAR-10 (0.6 for Swin-T)")
    every: int = hyper(5, low=1, source="official code, CIFAR-10 (1 for Swin-T): steps between two of ascent")
    ascent_norm: float = hyper(7.0, low=1e-6, source="official code: the norm at which the masked gradient is clipped")
    retain_norm: float | None = hyper(
        1.0,
        low=1e-6,
        source="our choice, as in MUNBa's CLIP ports: a logit scale multiplies the gradients; official code: None",
    )
    saliency_steps: int | None = hyper(
        None, low=1, source="none: one pass over D_f", small=8, small_source="our choice, for 2 cores"
    )
    batch_size: int = hyper(128, low=2, source="official code", small=24, small_source="our choice, for 2 cores")
    max_steps: int = hyper(
        1500, low=1, source="T; official code, CIFAR-10 (500 for Swin-T)", small=40, small_source="our choice, 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source keeps the last state (0); n: the best of n on held-out pairs, tuned on or off",
    )


class SFRon(UnlearningMethod[Hyperparameters]):
    """Measures both importances, then takes steps of both kinds."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """The batches that measure, and those that train."""
        return self._measuring(sizes) + self.h.max_steps

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD, as in the official code."""
        h = self.h
        return torch.optim.SGD(
            self.editable_parameters(), lr=h.learning_rate, momentum=h.momentum, weight_decay=h.weight_decay, fused=True
        )

    def on_fit_start(self) -> None:
        """Take the class weights before the first step."""
        self.names = NameClassifier(self)
        self.measuring = self._measuring(self.data.sizes)
        zeros = [torch.zeros_like(parameter) for parameter in self.editable_parameters()]
        self.importance: dict[Part, list[Tensor]] = {"forget": zeros, "retain": [zero.clone() for zero in zeros]}
        self.masks: list[Tensor] = []

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """Add to the importances, or train on one paired batch."""
        if index < self.measuring:
            return self._measure(batch, last=index == self.measuring - 1)
        step = index - self.measuring
        wave = (1 + math.cos(math.pi * step / self.h.max_steps)) / 2
        for group in cast(Any, self.optimizers()).optimizer.param_groups:
            group["lr"] = self.h.learning_rate * wave
        if step % self.h.every == 0:
            losses = self._losses("forget", batch["forget"])
            self._step(-self.h.ascent_weight * wave * weighted(losses, self.h.exponent), self.h.ascent_norm, self.masks)
        loss = self._losses("retain", batch["retain"]).mean()
        self._step(loss, self.h.retain_norm)
        return loss.detach()

    def _losses(self, part: Part, pairs: Pairs) -> Tensor:
        """The cross-entropy of each image, shape (B,)."""
        if part == "forget":
            logits, labels = self.names.logits(self.clip, pairs["images"]), self.names.forget_labels(pairs)
        else:
            weights, labels = self.names.retain_classes(self.clip, pairs)
            logits = self.names.logits(self.clip, pairs["images"], weights)
        return F.cross_entropy(logits, labels, reduction="none")

    def _measure(self, batch: Mapping[Part, Pairs], *, last: bool) -> Tensor:
        """Add the squared gradients of one paired batch; nothing moves."""
        parts: tuple[Part, ...] = ("forget", "retain")
        for part in parts:
            loss = self._losses(part, batch[part]).mean()
            gradients = torch.autograd.grad(loss, self.editable_parameters(), allow_unused=True, materialize_grads=True)
            for total, gradient in zip(self.importance[part], gradients, strict=True):
                total += gradient.square()
        if last:
            self.masks = forgetting_masks(self.importance["forget"], self.importance["retain"])
            self.report.update(masked_share=1 - share_of_ones(self.masks))
            self.importance.clear()
        return loss.detach()

    def _step(self, loss: Tensor, limit: float | None, masks: Sequence[Tensor] = ()) -> None:
        """One step of the optimizer on a loss, its gradient masked, then clipped."""
        optimizer, parameters = cast(Any, self.optimizers()), self.editable_parameters()
        optimizer.zero_grad()
        self.manual_backward(loss)
        for parameter, mask in zip(parameters, masks, strict=False):
            if parameter.grad is not None:
                parameter.grad *= mask
        if limit is not None:
            torch.nn.utils.clip_grad_norm_(parameters, limit)
        optimizer.step()

    def _measuring(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        return self.h.saliency_steps or math.ceil(sizes["forget"] / self.batch_size())


def weighted(losses: Tensor, exponent: float) -> Tensor:
    """The mean of losses weighted in proportion to loss^-exponent, the weights without gradient and of mean 1.

    Args:
        losses: Of the images, not negative, shape (B,).
        exponent: Of the weights; 0 for a plain mean.
    """
    weights = losses.detach().clamp(min=1e-8) ** -exponent
    return (weights / weights.mean() * losses).mean()


def forgetting_masks(forget: Sequence[Tensor], retain: Sequence[Tensor]) -> list[Tensor]:
    """1 where a weight matters to D_f at least as much as to D_r, else 0; shaped as the importances."""
    return [((f + FLOOR) / (r + FLOOR) >= 1).to(f.dtype) for f, r in zip(forget, retain, strict=True)]


def share_of_ones(masks: Sequence[Tensor]) -> float:
    """The share of the weights that a mask lets move."""
    return sum(float(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
