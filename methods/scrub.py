"""SCRUB: an unlearner that strays from the original on D_f and follows it on D_r (Kurmanji et al., NeurIPS 2023).

    max step:  max  mean over D_f of  KL_T(p_o(x) || p_u(x))
    min step:  min  mean over D_r of  alpha KL_T(p_o(x) || p_u(x)) + gamma CE(f_u(x), y)       o original, u unlearned

KL_T is Hinton's distillation loss at temperature T. Each of E epochs has min steps, an E-th of all; each of the first M
epochs begins with max steps, one pass over D_f. The rate falls to a tenth after epochs 5, 8 and 9. Made for
classifiers: the logits and labels are those of methods/common/zero_shot.py, for a request by concept too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip
from methods.common.zero_shot import NameClassifier, divergence

DECAY_AFTER, DECAY = (5, 8, 9), 0.1
"""Official code: the epochs, counted from 1, after which the rate falls, and to what share of it."""

CARD = MethodCard(
    name="scrub",
    title="away from the original on forget images, with it on retain images, by turns",
    paper="Kurmanji et al., NeurIPS 2023, arXiv 2302.09880",
    regime="forget+retain",
    edits=("visual",),
    deviations=(
        "An epoch is an E-th of the steps, not a pass over D_r, where `max_steps` sets how many there are.",
        "Rate and weight decay are ours: the official ones are for small classifiers.",
        "Evaluation mode in both phases, so that batch statistics stay those of the original; the source trains in "
        "train mode.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official small-scale notebook, but for the rate and the budget."""

    learning_rate: float = hyper(
        1e-6,
        low=0.0,
        source="our choice: CLIPErase on CIFAR-100 (secondary), because the official 5e-4 is for small classifiers",
        rate="adam",
    )
    batch_size: int = hyper(
        64, low=2, source="official code: of forget images", small=24, small_source="our choice, for 2 cores"
    )
    epochs: int = hyper(10, low=1, source="official code")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source keeps the last state (0); n: the best of n on held-out pairs, tuned on or off",
    )
    max_epochs: int = hyper(3, low=0, source="M; official code: of the epochs that begin with max steps")
    weight_decay: float = hyper(
        5e-4, low=0.0, source="official code, large-scale; its 0.1 of the small scale is for small classifiers"
    )
    alpha: float = hyper(0.5, low=0.0, source="official code")
    gamma: float = hyper(1.0, low=0.0, source="official code")
    temperature: float = hyper(2.0, low=1e-3, source="official code")


class SCRUB(UnlearningMethod[Hyperparameters]):
    """Max steps at the beginning of the first epochs, then min steps."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """The min steps of all epochs, and the max steps of the first."""
        passing = math.ceil(sizes["forget"] / self.batch_size())
        self.turns = turns(super().planned_steps(sizes), passing, epochs=self.h.epochs, max_epochs=self.h.max_epochs)
        return len(self.turns)

    def on_fit_start(self) -> None:
        """Keep the original and the class weights before the first step."""
        self.original  # noqa: B018
        self.names = NameClassifier(self)

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """A max or a min step, at the rate of its epoch."""
        turn, epoch = self.turns[index]
        for group in cast(Any, self.optimizers()).optimizer.param_groups:
            group["lr"] = self.h.learning_rate * rate_share(epoch)
        loss = self.max_loss(batch["forget"]) if turn == "max" else self.min_loss(batch["retain"])
        self._step(loss)
        return loss.detach()

    def max_loss(self, forget: Pairs) -> Tensor:
        """Minus the divergence from the original over the names, for forget images."""
        return -self._divergence(forget["images"], self.names.logits(self.clip, forget["images"]), self.names.weights)

    def min_loss(self, retain: Pairs) -> Tensor:
        """The divergence from the original and the cross-entropy, for retain images."""
        weights, labels = self.names.retain_classes(self.clip, retain)
        logits = self.names.logits(self.clip, retain["images"], weights)
        near = self._divergence(retain["images"], logits, weights)
        return self.h.alpha * near + self.h.gamma * F.cross_entropy(logits, labels)

    def _divergence(self, images: Tensor, logits: Tensor, weights: Tensor) -> Tensor:
        with torch.no_grad():
            reference = self.names.logits(self.original, images, weights)
        return divergence(reference, logits, temperature=self.h.temperature)

    def _step(self, loss: Tensor) -> None:
        optimizer = cast(Any, self.optimizers())
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


def turns(
    min_steps: int, max_steps_each: int, *, epochs: int, max_epochs: int
) -> list[tuple[Literal["max", "min"], int]]:
    """The kind and the epoch, from 1, of every step.

    Args:
        min_steps: Of all epochs; the earlier ones have one more where they do not divide.
        max_steps_each: At the beginning of each of the first `max_epochs`.
        epochs: E, of which those without a min step are left out.
        max_epochs: M.
    """
    order: list[tuple[Literal["max", "min"], int]] = []
    for epoch in range(1, min(epochs, min_steps) + 1):
        if epoch <= max_epochs:
            order += [("max", epoch)] * max_steps_each
        order += [("min", epoch)] * len(range(epoch - 1, min_steps, min(epochs, min_steps)))
    return order


def rate_share(epoch: int) -> float:
    """What is left of the rate in an epoch, from 1."""
    return DECAY ** sum(epoch > after for after in DECAY_AFTER)
