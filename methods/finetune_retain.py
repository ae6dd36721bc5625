"""Fine-tune on retain: CLIP's contrastive loss on the retain pairs alone.

The control for every method that reads retain data: accuracy that this row gains, any of them may gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper

CARD = MethodCard(
    name="finetune_retain",
    title="contrastive fine-tuning on the retain pairs alone",
    paper="reference row",
    regime="retain",
    edits=("visual", "text"),
)


@dataclass(frozen=True)
class Hyperparameters:
    """The schedule of CLIPErase, so that the rows can be compared."""

    learning_rate: float = hyper(
        1e-6,
        low=0.0,
        source="CLIPErase on CIFAR-100 (secondary), because this row is its control",
        small=2e-5,
        small_source="our choice, absolute: at ten times of it the retained classes lose what they were trained on",
    )
    batch_size: int = hyper(16, low=2, source="CLIPErase (secondary)", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(20, low=1, source="CLIPErase (secondary)")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )


class FinetuneRetain(UnlearningMethod[Hyperparameters]):
    """Minimises the symmetric contrastive loss on D_r."""

    card = CARD

    def training_step(self, batch: dict[Literal["retain"], Pairs], index: int) -> Tensor:
        """The loss of one retain batch."""
        return self.pair_loss(batch["retain"])
