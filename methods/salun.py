"""SalUn: random labels, learned by the salient weights alone (Fan et al., ICLR 2024, arXiv 2310.12508).

    g = gradient of  mean over D_f of CE(f(x), y)  at the original
    m = 1 where |g| is at or above its median over all weights, else 0
    L = ( w_f mean over D_f of CE(f(x), y')  +  w_r mean over D_r of CE(f(x), y) ) / (w_f + w_r)
        y' a random other label, drawn anew;  w_f : w_r = n_f : alpha n_r, as in a shuffle of both, or 1 : alpha
    theta = theta_o + m * (what minimising L changes)

The first batches measure g (no step is taken), the others train. Made for classifiers: the logits and labels are those
of methods/common/zero_shot.py, for a request by concept too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip
from methods.common.zero_shot import NameClassifier, draw_seed

CARD = MethodCard(
    name="salun",
    title="random other names for forget images, learned by the weights that matter to them",
    paper="Fan et al., ICLR 2024, arXiv 2310.12508",
    regime="forget+retain",
    edits=("visual",),
    needs=("names to forget",),
    deviations=(
        "Forget and retain batches are paired and weighted by their parts' sizes; the source shuffles both together.",
        "A wrong label is another name, drawn anew each step; the source draws from all names, the true one included.",
        "Adam in the place of SGD at .013 and of Stable Diffusion's Adam, and no weight decay.",
        "Evaluation mode, so that batch statistics stay those of the original; the source trains in train mode.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official code."""

    learning_rate: float = hyper(
        1e-5,
        low=0.0,
        source="official code, Stable Diffusion: its pretrained model; 0.1 by SGD is for CIFAR's ResNets",
        rate="adam",
    )
    retain_weight: float = hyper(1.0, low=0.0, source="alpha; official code, classification: 1")
    proportions: Literal["natural", "equal"] = hyper(
        "natural",
        source="official code, CIFAR-100: one shuffle of D_f and D_r",
        small="equal",
        small_source="our choice: at 1 : 99 a run of 40 steps does not forget",
    )
    quantile: float = hyper(0.5, low=0.0, high=1.0, source="of |g|, below which weights stay: the paper's median")
    saliency_steps: int | None = hyper(
        None, low=1, source="none: one pass over D_f, as the paper", small=8, small_source="our choice, for 2 cores"
    )
    batch_size: int = hyper(
        256, low=2, source="official code, classification", small=24, small_source="our choice, for 2 cores"
    )
    epochs: int = hyper(5, low=1, source="official code, Stable Diffusion")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source keeps the last state (0); n: the best of n on held-out pairs, tuned on or off",
    )


class SalUn(UnlearningMethod[Hyperparameters]):
    """Measures the saliency, then trains under its mask."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """The batches that measure, and those that train."""
        return self._measuring(sizes) + super().planned_steps(sizes)

    def on_fit_start(self) -> None:
        """Take the class weights and a copy of the weights before the first step, and the seed of the labels."""
        self.names, self.seed = NameClassifier(self), draw_seed()
        self.measuring = self._measuring(self.data.sizes)
        self.forget_share = forget_share(self.h, self.data.sizes)
        self.parameters_kept = [(p, p.detach().clone()) for p in self.editable_parameters()]
        self.masks: list[Tensor] = []

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """Add to the saliency, or take one masked step."""
        optimizer = cast(Any, self.optimizers())
        forget = batch["forget"]
        logits = self.names.logits(self.clip, forget["images"])
        if index < self.measuring:
            loss = F.cross_entropy(logits, self.names.forget_labels(forget))
            self.manual_backward(loss)
            if index == self.measuring - 1:
                self.masks = saliency_masks([p for p, _ in self.parameters_kept], self.h.quantile)
            return loss.detach()
        optimizer.zero_grad()
        wrong = F.cross_entropy(logits, self.names.other_names(forget, self.seed + index))
        weights, labels = self.names.retain_classes(self.clip, batch["retain"])
        right = F.cross_entropy(self.names.logits(self.clip, batch["retain"]["images"], weights), labels)
        loss = self.forget_share * wrong + (1 - self.forget_share) * right
        self.manual_backward(loss)
        optimizer.step()
        self._restore_unmasked()
        return loss.detach()

    def _measuring(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        return self.h.saliency_steps or math.ceil(sizes["forget"] / self.batch_size())

    @torch.no_grad()
    def _restore_unmasked(self) -> None:
        """Put the other weights back, bit by bit: a zero gradient would not stop momentum or weight decay."""
        for (parameter, original), mask in zip(self.parameters_kept, self.masks, strict=True):
            parameter.copy_(torch.where(mask, parameter, original))


def forget_share(h: Hyperparameters, sizes: Mapping[Literal["forget", "retain"], int]) -> float:
    """w_f / (w_f + w_r)."""
    ratio = sizes["retain"] / sizes["forget"] if h.proportions == "natural" else 1.0
    return 1 / (1 + h.retain_weight * ratio)


def saliency_masks(parameters: Sequence[nn.Parameter], quantile: float) -> list[Tensor]:
    """Where |gradient| is at or above its quantile over all parameters together; boolean, shaped as they are.

    A parameter without a gradient counts as one of gradient zero.
    """
    sizes = [(p.grad if p.grad is not None else torch.zeros_like(p)).abs() for p in parameters]
    together = torch.cat([size.flatten() for size in sizes])
    rank = min(max(math.ceil(quantile * len(together)), 1), len(together))
    threshold = together.kthvalue(rank).values
    return [size >= threshold for size in sizes]
