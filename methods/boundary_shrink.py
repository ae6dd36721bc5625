"""Boundary Shrink: relabel forget images with the nearest wrong class (Chen et al., CVPR 2023, arXiv 2303.11570).

    x' = clip(x + eps sign grad_x CE(f_o(x), y), 0, 1)                  one FGSM step on the original o, in pixels
    n(x) = the name to keep that f_o gives x'
    L = mean over D_f of CE(f_u(x), n(x))

The official code takes the original's prediction on x' whatever it is; where the step does not cross the boundary, that
is the class to forget itself. Here the best name to keep is taken, since the paper asks for the nearest wrong class.
Made for classifiers: the logits and labels are those of methods/common/zero_shot.py, for a request by concept the names
of the vocabulary. No retain data is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.images import Preprocessing
from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.zero_shot import NameClassifier

CARD = MethodCard(
    name="boundary_shrink",
    title="fine-tune with the forget images under the nearest wrong name",
    paper="Chen et al., CVPR 2023, arXiv 2303.11570",
    regime="forget",
    edits=("visual",),
    needs=("names to forget",),
    deviations=(
        "The gradient is clipped at 1, because a logit scale of 100 multiplies the gradients that its rate is for.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """As in the official code."""

    learning_rate: float = hyper(
        1e-5,
        low=0.0,
        source="official code",
        rate="sgd",
    )
    momentum: float = hyper(0.9, low=0.0, high=1.0, source="official code")
    epsilon: float = hyper(0.1, low=0.0, high=1.0, source="official code: of the pixel range [0, 1]")
    batch_size: int = hyper(
        64,
        low=1,
        source="official code",
        small=24,
        small_source="our choice, for 2 cores",
    )
    epochs: int = hyper(10, low=1, source="official code")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source takes all steps (0); n: it ends where one of n looks finds held-out forget pairs at chance, "
        "tuned on or off",
    )
    max_gradient_norm: float | None = hyper(
        1.0,
        low=1e-6,
        source="our choice: a logit scale of 100 multiplies the gradients for which the rate was made; None clips "
        "nothing",
    )


class BoundaryShrink(UnlearningMethod[Hyperparameters]):
    """Minimises the cross-entropy of forget images with their nearest wrong names."""

    card = CARD

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with momentum, as in the official code."""
        rate, momentum = self.h.learning_rate, self.h.momentum
        return torch.optim.SGD(self.editable_parameters(), lr=rate, momentum=momentum, fused=True)

    def on_fit_start(self) -> None:
        """Keep the original and the class weights before the first step."""
        self.original  # noqa: B018
        self.names = NameClassifier(self)

    def training_step(self, batch: dict[Literal["forget"], Pairs], index: int) -> Tensor:
        """The loss of one forget batch."""
        forget = batch["forget"]
        return F.cross_entropy(self.names.logits(self.clip, forget["images"]), self.nearest_names(forget))

    def nearest_names(self, forget: Pairs) -> Tensor:
        """The columns of the nearest names to keep, by the original, shape (B,)."""
        images = forget["images"].detach().requires_grad_(True)
        with torch.enable_grad():
            loss = F.cross_entropy(
                self.names.logits(self.original, images), self.names.forget_labels(forget), reduction="sum"
            )
        (gradient,) = torch.autograd.grad(loss, images)
        with torch.no_grad():
            crossed = step_in_pixels(images, gradient.sign(), self.h.epsilon, self.clip.preprocessing)
            logits = self.names.logits(self.original, crossed)
        return logits[:, self.names.forgotten :].argmax(dim=1) + self.names.forgotten


def step_in_pixels(images: Tensor, direction: Tensor, epsilon: float, preprocessing: Preprocessing) -> Tensor:
    """Network input moved by `epsilon` along a direction, measured and clipped in pixels of [0, 1]."""
    mean = images.new_tensor(preprocessing.mean).view(1, 3, 1, 1)
    std = images.new_tensor(preprocessing.std).view(1, 3, 1, 1)
    return preprocessing.normalise((images * std + mean + epsilon * direction).clamp(0, 1))
