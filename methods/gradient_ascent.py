"""Gradient ascent (GA): maximise the training loss on the forget pairs.

    L = - CE(D_f)         requests by class: over the prompts of all names
    L = - InfoNCE(D_f)    requests by concept

Nothing holds it back: watch the retain columns. The forms of the loss: methods/common/ascent.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.ascent import AscentMethod
from methods.common.card import MethodCard, hyper

CARD = MethodCard(
    name="gradient_ascent",
    title="maximise the training loss on the forget pairs",
    paper="Thudi et al., EuroS&P 2022, arXiv 2109.13398",
    regime="forget",
    edits=("visual", "text"),
    deviations=(
        "Classes: minus the cross-entropy over the prompts of all names, because in a batch of one class the "
        "contrastive loss does not change when all cosines shift (`ascent=contrastive` takes it all the same).",
        "Adam in the place of SGD, as CLIPErase takes it for this row.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """The schedule of CLIPErase, which compares itself with this method."""

    learning_rate: float = hyper(
        1e-6,
        low=0.0,
        source="CLIPErase on CIFAR-100 (secondary), because GA is a row of its table",
        rate="adam",
    )
    batch_size: int = hyper(16, low=2, source="CLIPErase (secondary)", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(20, low=1, source="CLIPErase (secondary)")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source takes all steps (0); n: it ends where one of n looks finds held-out forget pairs at chance, "
        "tuned on or off",
    )
    ascent: Literal["cross-entropy", "cosine", "contrastive"] = hyper(
        "cross-entropy",
        source="MUNBa's CLIP ports, for requests by class (a request by concept takes the contrastive loss); cosine: "
        "SLUG; contrastive: CLIPErase's table",
    )
    max_gradient_norm: float | None = hyper(1.0, low=1e-6, source="MUNBa's CLIP ports; None clips nothing")


class GradientAscent(AscentMethod[Hyperparameters]):
    """Minimises minus the loss on D_f."""

    card = CARD

    def training_step(self, batch: dict[Literal["forget"], Pairs], index: int) -> Tensor:
        """Minus the loss of one forget batch."""
        return -self.ascent_loss(batch["forget"])
