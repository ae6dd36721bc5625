"""DELETE: distil the original's other names into forget images (Zhou et al., CVPR 2025, arXiv 2503.23751).

    q(x) = softmax(z_o(x)  with  z_o,y = -1e10)                o original, u unlearned, y the name to forget
    L = mean over D_f of  KL(q(x) || p_u(x))

The gradient in the logits is p_u - q. Where the other names still stand to each other as in the original, L is
-log(1 - p_u,y): it vanishes as soon as the name has no mass left, so the method stops by itself, and the rest of the
prediction ("dark knowledge") stays what it was. No retain data is read. Made for classifiers: the logits are those of
methods/common/zero_shot.py, for a request by concept over the vocabulary.

(A method of MultiDelete's port to CLIP has this name too; it is another one.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.zero_shot import NameClassifier, divergence

CARD = MethodCard(
    name="delete",
    title="the original's prediction for forget images, without the forgotten name",
    paper="Zhou et al., CVPR 2025, arXiv 2503.23751",
    regime="forget",
    edits=("visual",),
    needs=("names to forget",),
    deviations=(
        "Of several names to forget none keeps mass; the official code masks the image's own alone (`masked=own`).",
        "Evaluation mode, so that batch statistics stay those of the original; the source trains in train mode.",
    ),
)
NOTHING = -1e10
"""Official code: the logit of a name that is to have no mass."""


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official code for CIFAR-100, ViT-S and Swin-T."""

    learning_rate: float = hyper(
        5e-5,
        low=0.0,
        source="official code, CIFAR-100 and ViT-S",
        rate="sgd",
    )
    momentum: float = hyper(0.9, low=0.0, high=1.0, source="official code")
    batch_size: int = hyper(128, low=1, source="official code", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(20, low=1, source="official code")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source takes all steps (0); n: it ends where one of n looks finds held-out forget pairs at chance, "
        "tuned on or off",
    )
    masked: Literal["all", "own"] = hyper(
        "all",
        source="our choice: no name to forget is to gain what another loses; own: official code, the image's own name",
    )


class DELETE(UnlearningMethod[Hyperparameters]):
    """Minimises the divergence from the original's masked predictions on D_f."""

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
        """The divergence on one forget batch."""
        forget = batch["forget"]
        with torch.no_grad():
            logits = self.names.logits(self.original, forget["images"])
            wanted = logits.masked_fill(self._masked(forget, logits), NOTHING)
        return divergence(wanted, self.names.logits(self.clip, forget["images"]))

    def _masked(self, forget: Pairs, logits: Tensor) -> Tensor:
        """Which names get no mass, shape (B, C)."""
        columns = torch.arange(logits.shape[1], device=logits.device).expand_as(logits)
        if self.h.masked == "all":
            return columns < self.names.forgotten
        return columns == self.names.forget_labels(forget)[:, None]
