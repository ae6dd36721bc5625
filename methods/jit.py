"""JiT: just in time unlearning, smoothing around forget images (Foster et al. 2024, arXiv 2402.01401; official code).

For n noise draws k on each image x_b of a batch of D_f:

    x'_bk = clamp(x_b + sigma N(0, I), min, max)      min and max over the batch
    L = 1/n sum_k sum_b ||f(x_b) - f(x'_bk)|| / ||x_b - x'_bk||,   f(x'_bk) without gradient

by plain SGD, in one pass over D_f. Made for classifiers, whose f are logits: here the zero-shot logits over all names
(methods/common/zero_shot.py), for a request by concept those of the vocabulary. No label is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.zero_shot import NameClassifier

CARD = MethodCard(
    name="jit",
    title="smooth the logits around the forget images, one pass",
    paper="Foster et al. 2024, arXiv 2402.01401",
    regime="forget",
    edits=("visual",),
    deviations=("One pass at most over D_f, as published, and 10 noise draws in the place of 25 on small CLIPs.",),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official code where CLIP gives them a meaning."""

    learning_rate: float = hyper(
        3e-4,
        low=0.0,
        source="official code, VGG; its ViT takes 1.5, which no CLIP was seen to bear",
        rate="sgd",
    )
    noise: float = hyper(0.5, low=1e-6, source="sigma in normalised pixel units: official code, VGG")
    draws: int = hyper(25, low=1, source="n: official code", small=10, small_source="our choice, for 2 cores")
    batch_size: int = hyper(128, low=1, source="official code", small=24, small_source="our choice, for 2 cores")
    max_steps: int | None = hyper(
        None, low=1, source="none: one pass", small=40, small_source="our choice, for 2 cores: or one pass if shorter"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source takes all steps (0); n: it ends where one of n looks finds held-out forget pairs at chance, "
        "tuned on or off",
    )


class JiT(UnlearningMethod[Hyperparameters]):
    """Minimises the local Lipschitz ratio of the logits on D_f."""

    card = CARD

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """One pass over D_f, or `max_steps` batches of it."""
        one_pass = math.ceil(sizes["forget"] / self.batch_size())
        return one_pass if self.h.max_steps is None else min(one_pass, self.h.max_steps)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD, as in the official code."""
        return torch.optim.SGD(self.editable_parameters(), lr=self.h.learning_rate, fused=True)

    def on_fit_start(self) -> None:
        """Take the class weights before the first step."""
        self.names = NameClassifier(self)

    def training_step(self, batch: dict[Literal["forget"], Pairs], index: int) -> Tensor:
        """The ratio of one forget batch."""
        images = batch["forget"]["images"]
        return smoothness_loss(
            lambda x: self.names.logits(self.clip, x), images, sigma=self.h.noise, draws=self.h.draws
        )


def smoothness_loss(f: Callable[[Tensor], Tensor], images: Tensor, *, sigma: float, draws: int) -> Tensor:
    """JiT's loss: the sum over images of ||f(x) - f(x')|| / ||x - x'||, mean over noise draws.

    Args:
        f: The network; gives shape (B, K).
        images: Network input, shape (B, 3, S, S).
        sigma: Noise scale.
        draws: n.
    """
    outputs = f(images)
    low, high = images.min(), images.max()
    total = outputs.new_zeros(())
    for _ in range(draws):
        with torch.no_grad():
            noisy = (images + sigma * torch.randn_like(images)).clamp(low, high)
            target = f(noisy)
            distance = (images - noisy).flatten(1).norm(dim=1)
        total = total + ((outputs - target).norm(dim=1) / distance).sum()
    return total / draws
