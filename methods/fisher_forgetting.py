"""Fisher forgetting: noise on the weights that D_r does not need (Golatkar et al., CVPR 2020, arXiv 1911.04933).

    F   = mean over batches of D_r of  sum_c p_c (d CE_c / d theta)^2          CE_c the batch's mean CE with name c
    var = alpha min( 1 / (F + 1e-8), 1000 ),   its mean over the inputs of a matrix;  10 times it for vectors
    theta <- theta + sqrt(var) N(0, I)

The form of the unlearning literature's common code (Jia et al., NeurIPS 2023, arXiv 2304.04934, `fisher_new`): p_c is a
batch's mean probability of c, and what is squared is the gradient of a batch's mean loss. Instead of the sum over all
names, which takes a backward pass each, a few names are drawn from p, whose mean is the same.

For a class the source also draws the classifier's row of that class anew. CLIP's classifier is its text encoder, which
stays, so nothing here is aimed at the name: what is forgotten is what D_r needs least. Logits are those of
methods/common/zero_shot.py, for a request by concept over the texts of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip
from methods.common.zero_shot import NameClassifier

CARD = MethodCard(
    name="fisher_forgetting",
    title="noise on all weights, the more of it the less retain images need them",
    paper="Golatkar et al., CVPR 2020, arXiv 1911.04933",
    regime="retain",
    edits=("visual",),
    deviations=(
        "Nothing is aimed at the forgotten name: the source replaces its row of the classifier, which is text here.",
        "Names are drawn from the predictions; the code takes the sum over all of them.",
        "The scale of the noise is ours: the source names no value and tunes it.",
    ),
)
EPSILON, LARGEST, VECTORS = 1e-8, 1e3, 10.0
"""The code: added to F, the largest of 1 / F, and what the variance of vectors is multiplied by."""


@dataclass(frozen=True)
class Hyperparameters:
    """Of the noise and of its measurement."""

    alpha: float = hyper(
        1e-8,
        low=0.0,
        source="our choice: the source tunes it and names no value",
        small=1e-5,
        small_source="our choice, on suite `development`: half of everything goes; at 1e-6 all stays, at 1e-4 nothing",
    )
    draws: int = hyper(4, low=1, source="our choice: names a batch; the code takes all, one backward pass each")
    batch_size: int = hyper(32, low=1, source="official code", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(1, low=1, source="official code: one pass over D_r")
    max_steps: int | None = hyper(
        None, low=1, source="none: one pass over D_r", small=20, small_source="our choice, for 2 cores"
    )


class FisherForgetting(UnlearningMethod[Hyperparameters]):
    """Sums squared gradients batch by batch, then adds the noise."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False
        self.sums = [torch.zeros_like(parameter) for parameter in self.editable_parameters()]

    def configure_optimizers(self) -> None:
        """None is needed."""

    def on_fit_start(self) -> None:
        """Take the class weights."""
        self.names = NameClassifier(self)

    def training_step(self, batch: dict[Literal["retain"], Pairs], index: int) -> Tensor:
        """Add the squared gradients of one retain batch; nothing moves."""
        retain = batch["retain"]
        weights, _ = self.names.retain_classes(self.clip, retain)
        logits = self.names.logits(self.clip, retain["images"], weights)
        mean_probability = logits.detach().softmax(dim=1).mean(dim=0).cpu()
        drawn = torch.multinomial(mean_probability, self.h.draws, replacement=True)
        losses = [F.cross_entropy(logits, torch.full_like(logits[:, 0], int(c), dtype=torch.long)) for c in drawn]
        self.add_squares(losses)
        return torch.stack(losses).mean().detach()

    def add_squares(self, losses: Sequence[Tensor]) -> None:
        """Add the mean of the squared gradients of losses."""
        parameters = self.editable_parameters()
        for loss in losses:
            gradients = torch.autograd.grad(
                loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for total, gradient in zip(self.sums, gradients, strict=True):
                total += gradient.square() / len(losses)

    @torch.no_grad()
    def on_train_end(self) -> None:
        """Add the noise, drawn on the CPU so that every device gets the same."""
        for parameter, total in zip(self.editable_parameters(), self.sums, strict=True):
            variance = noise_variance(total / self.data.steps, self.h.alpha)
            parameter.add_(variance.sqrt() * torch.randn(parameter.shape).to(parameter))


def noise_variance(fisher: Tensor, alpha: float) -> Tensor:
    """The variance of the noise on a tensor, shaped as it is, from its F: one value for each output of a matrix."""
    variance = alpha * (1 / (fisher + EPSILON)).clamp(max=LARGEST)
    if fisher.ndim < 2:
        return VECTORS * variance
    return variance.mean(dim=tuple(range(1, fisher.ndim)), keepdim=True).expand_as(fisher)
