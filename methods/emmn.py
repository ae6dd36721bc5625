"""EMMN: error-maximising and error-minimising noise instead of images (Chundawat et al., TIFS 2023, arXiv 2201.05629).

For each class c a few images z start as N(0, I) and take Adam steps through the original, which stays as it is:

    c to forget:  min  - mean CE(f(z), c) + 0.1 mean ||z||^2          anti-samples, made to raise the error
    c to keep:    min  + mean CE(f(z), c)                             samples, made to lower the error

Then f is fine-tuned by cross-entropy on all of them under their labels c, each repeated 80 times an epoch. The noise is
made from the model and the names: no image is read. Made for classifiers: the logits are those of
methods/common/zero_shot.py, for a request by concept over the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.zero_shot import NameClassifier

CARD = MethodCard(
    name="emmn",
    title="fine-tune on noise that misleads about the forgotten and shows the kept names",
    paper="Chundawat et al., TIFS 2023, arXiv 2201.05629",
    regime="names",
    edits=("visual",),
    deviations=(
        "Far fewer steps than the source's 120 a class (12,000 with a hundred classes) on small CLIPs.",
        "All noise images of a class are used; the source's loop repeats three of four.",
    ),
)

TOGETHER = 256


@dataclass(frozen=True)
class Hyperparameters:
    """As in the implementation that later papers compare with (Foster et al. 2024, official code)."""

    learning_rate: float = hyper(
        1e-4,
        low=0.0,
        source="Foster et al. 2024, official code: one rate for VGG and ViT",
        rate="adam",
    )
    images: int = hyper(
        4,
        low=1,
        source="Foster et al. 2024, official code: of a class",
        small=2,
        small_source="our choice, for 2 cores",
    )
    forget_iterations: int = hyper(25, low=1, source="Foster et al. 2024, official code")
    retain_iterations: int = hyper(30, low=1, source="Foster et al. 2024, official code")
    noise_rate: float = hyper(0.1, low=0.0, source="Foster et al. 2024, official code: Adam on the noise")
    norm_weight: float = hyper(0.1, low=0.0, source="Foster et al. 2024, official code")
    repeats: int = hyper(80, low=1, source="Foster et al. 2024, official code")
    batch_size: int = hyper(
        4, low=1, source="Foster et al. 2024, official code", small=24, small_source="our choice, for 2 cores"
    )
    epochs: int = hyper(2, low=1, source="Foster et al. 2024, official code")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )


class EMMN(UnlearningMethod[Hyperparameters]):
    """Makes the noise, then fine-tunes on it."""

    card = CARD

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """`max_steps`, or `epochs` passes over the repeated noise."""
        items = len(self.spec.all_names) * self.h.images * self.h.repeats
        return self.h.max_steps or self.h.epochs * math.ceil(items / self.h.batch_size)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with its common defaults, as in the source."""
        return torch.optim.Adam(self.editable_parameters(), lr=self.h.learning_rate, fused=True)

    def on_fit_start(self) -> None:
        """Make the noise through the model as it came, and the order in which it is seen."""
        self.names = NameClassifier(self)
        count, forgotten = len(self.names.weights), self.names.forgotten
        columns = torch.arange(count, device=self.names.weights.device)
        noise = [self._noise(columns[:forgotten], forget=True), self._noise(columns[forgotten:], forget=False)]
        self.noise = torch.cat(noise)
        self.labels = columns.repeat_interleave(self.h.images)
        steps, self.batches = self.planned_steps({}), list[Tensor]()
        while len(self.batches) < steps:
            order = torch.randperm(len(self.labels) * self.h.repeats) % len(self.labels)
            self.batches.extend(torch.split(order, self.h.batch_size))

    def training_step(self, batch: int, index: int) -> Tensor:
        """The cross-entropy of one batch of noise."""
        chosen = self.batches[index].to(self.labels.device)
        return F.cross_entropy(self.names.logits(self.clip, self.noise[chosen]), self.labels[chosen])

    def _noise(self, columns: Tensor, *, forget: bool) -> Tensor:
        h, side = self.h, self.clip.preprocessing.image_size
        batches = [
            optimise_noise(
                lambda x: self.names.logits(self.clip, x),
                torch.randn(len(part), 3, side, side).to(part.device),
                part,
                steps=h.forget_iterations if forget else h.retain_iterations,
                rate=h.noise_rate,
                sign=-1.0 if forget else 1.0,
                norm_weight=h.norm_weight if forget else 0.0,
            )
            for part in torch.split(columns.repeat_interleave(h.images), TOGETHER)
        ]
        return torch.cat(batches)


def optimise_noise(
    f: Callable[[Tensor], Tensor],
    noise: Tensor,
    labels: Tensor,
    *,
    steps: int,
    rate: float,
    sign: float,
    norm_weight: float,
) -> Tensor:
    """Noise after Adam steps on  sum sign CE(f(z), c) + norm_weight ||z||^2.

    The images of many classes climb together: Adam works entry by entry, so each gets what it would get alone.

    Args:
        f: The network; gives logits of shape (B, C).
        noise: Where it starts, shape (B, 3, S, S).
        labels: c of each image, shape (B,).
        steps: Adam steps.
        rate: Their learning rate.
        sign: 1 to lower the error, -1 to raise it.
        norm_weight: Of the squared length of each image.
    """
    noise = noise.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([noise], lr=rate, fused=True)
    for _ in range(steps):
        with torch.enable_grad():
            error = F.cross_entropy(f(noise), labels, reduction="sum")
            loss = sign * error + norm_weight * noise.square().sum()
        (noise.grad,) = torch.autograd.grad(loss, noise)
        optimizer.step()
    return noise.detach()
