"""GradDiff (NegGrad+): ascend on the forget pairs, descend on the retain pairs.

L = - InfoNCE(D_f) + InfoNCE(D_r)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import SMALL_RULE, MethodCard, hyper, small_rate

CARD = MethodCard(
    name="graddiff",
    title="contrastive loss up on the forget pairs, down on the retain pairs",
    paper="Liu et al., CoLLAs 2022, arXiv 2203.12817",
    regime="forget+retain",
    edits=("visual", "text"),
)


@dataclass(frozen=True)
class Hyperparameters:
    """The schedule of CLIPErase, which compares itself with this method."""

    learning_rate: float = hyper(
        1e-6,
        low=0.0,
        source="CLIPErase on CIFAR-100 (secondary), because GradDiff is a row of its table",
        small=small_rate(1e-6),
        small_source=SMALL_RULE,
    )
    batch_size: int = hyper(16, low=2, source="CLIPErase (secondary)", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(20, low=1, source="CLIPErase (secondary)")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    forget_weight: float = hyper(1.0, low=0.0, source="Liu et al. 2022: the plain difference")


class GradDiff(UnlearningMethod[Hyperparameters]):
    """Minimises the retain loss minus the forget loss."""

    card = CARD

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """The difference of the losses of one paired batch."""
        ascent = self.pair_loss(batch["forget"])
        return self.pair_loss(batch["retain"]) - self.h.forget_weight * ascent
