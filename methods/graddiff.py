"""GradDiff (NegGrad+): ascend on the forget pairs, descend on the retain pairs.

    L = - CE(D_f) + InfoNCE(D_r)         requests by class: CE over the prompts of all names
    L = - InfoNCE(D_f) + InfoNCE(D_r)    requests by concept

The forms of the first loss: methods/common/ascent.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.ascent import AscentMethod
from methods.common.card import MethodCard, hyper

CARD = MethodCard(
    name="graddiff",
    title="training loss up on the forget pairs, contrastive loss down on the retain pairs",
    paper="Liu et al., CoLLAs 2022, arXiv 2203.12817",
    regime="forget+retain",
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
        source="CLIPErase on CIFAR-100 (secondary), because GradDiff is a row of its table",
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
        source="the source keeps the last state (0); n: the best of n on held-out pairs, tuned on or off",
    )
    ascent: Literal["cross-entropy", "cosine", "contrastive"] = hyper(
        "cross-entropy",
        source="MUNBa's CLIP ports, for requests by class (a request by concept takes the contrastive loss); cosine: "
        "SLUG; contrastive: CLIPErase's table",
    )
    max_gradient_norm: float | None = hyper(1.0, low=1e-6, source="MUNBa's CLIP ports; None clips nothing")
    forget_weight: float = hyper(1.0, low=0.0, source="Liu et al. 2022: the plain difference")


class GradDiff(AscentMethod[Hyperparameters]):
    """Minimises the retain loss minus the forget loss."""

    card = CARD

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """The difference of the losses of one paired batch."""
        ascent = self.ascent_loss(batch["forget"])
        return self.pair_loss(batch["retain"]) - self.h.forget_weight * ascent
