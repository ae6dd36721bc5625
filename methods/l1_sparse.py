"""l1-sparse unlearning: fine-tune on D_r while weights are driven to zero (Jia et al., NeurIPS 2023, arXiv 2304.04934).

    L = mean over D_r of CE(f(x), y)  +  a_t ||theta||_1,      a_t = alpha (1 - t / T)  in epoch t = 0, ..., T - 1

No forget image is read: what D_r does not hold up is what shrinks. The norm is not divided by the number of weights, so
alpha has to fall with the size of a model; the source names no value. Made for classifiers: logits and labels are those
of methods/common/zero_shot.py, for a request by concept too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.zero_shot import NameClassifier

CARD = MethodCard(
    name="l1_sparse",
    title="fine-tune on retain images under a penalty on the size of all weights",
    paper="Jia et al., NeurIPS 2023, arXiv 2304.04934",
    regime="retain",
    edits=("visual",),
    deviations=(
        "The gradient is clipped at 1, as in MUNBa's port of this method to CLIP, because a logit scale of 100 "
        "multiplies the gradients that the rate is for.",
        "Evaluation mode, so that batch statistics stay those of the original; the source trains in train mode.",
    ),
)
ROUNDING = 1e-12
"""Weights of this size are zero but for rounding."""


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official code; its weight of the norm is not known."""

    learning_rate: float = hyper(
        0.01,
        low=0.0,
        source="official code: SGD, with clipped gradients on small CLIPs too",
        rate="sgd",
    )
    momentum: float = hyper(0.9, low=0.0, high=1.0, source="official code")
    weight_decay: float = hyper(5e-4, low=0.0, source="official code")
    alpha: float = hyper(1e-5, low=0.0, source="our choice, in the middle of 1e-7 to 1e-4, which are to be searched")
    max_gradient_norm: float | None = hyper(1.0, low=1e-6, source="MUNBa's CLIP port; None clips nothing")
    batch_size: int = hyper(256, low=1, source="official code", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(10, low=1, source="official code: the norm loses a tenth of its weight after each")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )


class L1Sparse(UnlearningMethod[Hyperparameters]):
    """Minimises the cross-entropy on D_r and the norm of the weights."""

    card = CARD

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD, as in the official code."""
        h = self.h
        return torch.optim.SGD(
            self.editable_parameters(), lr=h.learning_rate, momentum=h.momentum, weight_decay=h.weight_decay, fused=True
        )

    def on_fit_start(self) -> None:
        """Take the class weights before the first step."""
        self.names = NameClassifier(self)

    def training_step(self, batch: dict[Literal["retain"], Pairs], index: int) -> Tensor:
        """The loss of one retain batch."""
        retain = batch["retain"]
        weights, labels = self.names.retain_classes(self.clip, retain)
        kept = F.cross_entropy(self.names.logits(self.clip, retain["images"], weights), labels)
        size = torch.stack([norm(parameter) for parameter in self.editable_parameters()]).sum()
        weight = self.h.alpha * norm_share(index, self.data.steps, self.h.epochs)
        self.report.update(last_cross_entropy=float(kept.detach()), last_norm_term=float(weight * size.detach()))
        return kept + weight * size


def norm(weights: Tensor) -> Tensor:
    """The sum of the sizes of weights; one that is zero but for rounding has no sign, so no gradient either."""
    return torch.where(weights.abs() > ROUNDING, weights, 0.0).abs().sum()


def norm_share(step: int, steps: int, epochs: int) -> float:
    """What is left of the norm's weight at a step, from 0: it falls by 1 / epochs after each epoch, in (0, 1]."""
    return 1 - (step * epochs // steps) / epochs
