"""Influence unlearning: one Newton step that takes forget images out (Koh & Liang, ICML 2017, arXiv 1703.04730).

    v = 1/N sum over D_f of g(x)  -  n_f / (N n_r) sum over D_r of g(x)             N = n_f + n_r, g the gradient of CE
    theta <- theta + alpha |theta| u,   u = H^-1 v / |H^-1 v|

The form of the unlearning literature's common code (Jia et al., NeurIPS 2023, arXiv 2304.04934, "IU"), but for the
length of the step, which it tunes for each model: a share of the weights' norm carries over from one to another. The
code's H^-1 comes from a recursion over single retain images whose auxiliary vector never leaves the direction of the
first gradient, so that H^-1 v is v minus a multiple of one gradient: in effect one ascent step. `hessian=identity`
takes that step without the multiple. By default H is the diagonal empirical Fisher information of the retain batches,
damped by a share of its own mean:

    H = diag( mean over batches of D_r of g_batch^2 )  +  damping times the mean of its entries

One pass and no training. Logits and labels are those of methods/common/zero_shot.py, for a request by concept too.
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
    name="influence",
    title="one damped Newton step that takes the forget images' part of the gradient out",
    paper="Koh & Liang, ICML 2017, arXiv 1703.04730; for unlearning: Jia et al., NeurIPS 2023, arXiv 2304.04934",
    regime="forget+retain",
    edits=("visual",),
    needs=("names to forget",),
    deviations=(
        "The inverse of a damped diagonal Fisher information; the code's recursion comes to an ascent step "
        "(`hessian=identity`).",
        "The length of the step is ours, as a share of the weights' norm: the source tunes it and names no value.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the step."""

    alpha: float = hyper(
        0.007,
        low=0.0,
        source="our choice, on suite `development`: of the weights' norm; the source tunes a length and names none",
    )
    hessian: Literal["fisher", "identity"] = hyper(
        "fisher", source="our choice, because the code's inverse is next to none; identity: what it comes to"
    )
    damping: float = hyper(1.0, low=1e-9, source="our choice: of the mean entry of H")
    batch_size: int = hyper(256, low=2, source="official code", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(1, low=1, source="official code: one pass over the data")
    max_steps: int | None = hyper(
        None, low=1, source="none: one pass over the data", small=20, small_source="our choice, for 2 cores"
    )


class Influence(UnlearningMethod[Hyperparameters]):
    """Averages gradients batch by batch, then takes the one step."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False
        zeros = [torch.zeros_like(parameter) for parameter in self.editable_parameters()]
        self.forget, self.retain, self.squares = ([zero.clone() for zero in zeros] for _ in range(3))

    def configure_optimizers(self) -> None:
        """None is needed."""

    def on_fit_start(self) -> None:
        """Take the class weights."""
        self.names = NameClassifier(self)

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """Add the gradients of one paired batch; nothing moves."""
        forget, retain = batch["forget"], batch["retain"]
        lost = F.cross_entropy(self.names.logits(self.clip, forget["images"]), self.names.forget_labels(forget))
        self._add(lost, self.forget)
        weights, labels = self.names.retain_classes(self.clip, retain)
        kept = F.cross_entropy(self.names.logits(self.clip, retain["images"], weights), labels)
        self._add(kept, self.retain, self.squares)
        return lost.detach()

    def _add(self, loss: Tensor, means: Sequence[Tensor], squares: Sequence[Tensor] | None = None) -> None:
        parameters, steps = self.editable_parameters(), self.data.steps
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        for number, gradient in enumerate(gradients):
            means[number].add_(gradient / steps)
            if squares is not None:
                squares[number].add_(gradient.square() / steps)

    @torch.no_grad()
    def on_train_end(self) -> None:
        """Take the step; n_f / N, by which v is larger, changes its length alone."""
        parameters = self.editable_parameters()
        steps = [forget - retain for forget, retain in zip(self.forget, self.retain, strict=True)]
        if self.h.hessian == "fisher":
            mean = torch.cat([square.flatten() for square in self.squares]).double().mean()
            damping = float(self.h.damping * mean)
            steps = [step / (square + damping) for step, square in zip(steps, self.squares, strict=True)]
        length = norm(steps)
        scale = self.h.alpha * norm(parameters) / length if length else 0.0
        for parameter, step in zip(parameters, steps, strict=True):
            parameter.add_(scale * step)
        self.report.update(step_norm=scale * length)


def norm(tensors: Sequence[Tensor]) -> float:
    """The Euclidean norm of tensors together."""
    return float(torch.stack([tensor.double().square().sum() for tensor in tensors]).sum().sqrt())
