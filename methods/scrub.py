"""SCRUB: an unlearner that strays from the original on D_f and follows it on D_r (Kurmanji et al., NeurIPS 2023).

    max step:  max  mean over D_f of  KL_T(p_o(x) || p_u(x))
    min step:  min  mean over D_r of  alpha KL_T(p_o(x) || p_u(x)) + gamma CE(f_u(x), y)       o original, u unlearned

KL_T is Hinton's distillation loss at temperature T. The reference alternates epochs, with max epochs among the first
only; the paired batches here alternate steps, with max steps in the first share of them. Made for classifiers: the
logits and labels are those of methods/common/zero_shot.py, for a request by concept too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import SMALL_RULE, MethodCard, hyper, small_rate
from methods.common.clip import Clip
from methods.common.zero_shot import NameClassifier, divergence

CARD = MethodCard(
    name="scrub",
    title="away from the original on forget images, with it on retain images, by turns",
    paper="Kurmanji et al., NeurIPS 2023, arXiv 2302.09880",
    regime="forget+retain",
    edits=("visual",),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official small-scale notebook, but for the rate and the budget."""

    learning_rate: float = hyper(
        1e-6,
        low=0.0,
        source="our choice: CLIPErase on CIFAR-100 (secondary), because the official 5e-4 is for small classifiers",
        small=small_rate(1e-6),
        small_source=SMALL_RULE,
    )
    batch_size: int = hyper(
        64, low=2, source="official code: of forget images", small=24, small_source="our choice, for 2 cores"
    )
    epochs: int = hyper(10, low=1, source="official code")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    max_share: float = hyper(0.3, low=0.0, high=1.0, source="official code: 3 of 10 epochs have max steps")
    alpha: float = hyper(0.5, low=0.0, source="official code")
    gamma: float = hyper(1.0, low=0.0, source="official code")
    temperature: float = hyper(2.0, low=1e-3, source="official code")


class SCRUB(UnlearningMethod[Hyperparameters]):
    """Alternates max and min steps."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False

    def on_fit_start(self) -> None:
        """Keep the original and the class weights before the first step."""
        self.original  # noqa: B018
        self.names = NameClassifier(self)

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """A max step, in the first share of the steps, and a min step; returns the loss of the latter."""
        if index < self.h.max_share * self.trainer.num_training_batches:
            self._step(self.max_loss(batch["forget"]))
        loss = self.min_loss(batch["retain"])
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
