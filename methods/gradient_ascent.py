"""Gradient ascent (GA): maximise CLIP's contrastive loss on the forget pairs.

    L = - InfoNCE(D_f)

Nothing holds it back: watch the retain columns. In a batch of one class all texts are equal, so the image-to-text half
of the loss is constant and only the text-to-image half has a gradient: a weakness of the method on labelled data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import SMALL_RULE, MethodCard, hyper, small_rate

CARD = MethodCard(
    name="gradient_ascent",
    title="maximise the contrastive loss on the forget pairs",
    paper="Thudi et al., EuroS&P 2022, arXiv 2109.13398",
    regime="forget",
    edits=("visual", "text"),
)


@dataclass(frozen=True)
class Hyperparameters:
    """The schedule of CLIPErase, which compares itself with this method."""

    learning_rate: float = hyper(
        1e-6,
        low=0.0,
        source="CLIPErase on CIFAR-100 (secondary), because GA is a row of its table",
        small=small_rate(1e-6),
        small_source=SMALL_RULE,
    )
    batch_size: int = hyper(16, low=2, source="CLIPErase (secondary)", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(20, low=1, source="CLIPErase (secondary)")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )


class GradientAscent(UnlearningMethod[Hyperparameters]):
    """Minimises minus the symmetric contrastive loss on D_f."""

    card = CARD

    def training_step(self, batch: dict[Literal["forget"], Pairs], index: int) -> Tensor:
        """Minus the loss of one forget batch."""
        return -self.pair_loss(batch["forget"])
