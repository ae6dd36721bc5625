"""NPO: negative preference optimisation, a bounded gradient ascent (Zhang et al., COLM 2024, arXiv 2404.05868).

    l(x) = -log p_y(x)
    L = mean over D_f of  -(2 / b) log sigma( b (l_u(x) - l_o(x)) )              o original, u unlearned

    dL / dl_u = -2 p_u^b / (p_u^b + p_o^b)

An image pushes with force 1 at the start and less the further its loss has risen; b -> 0 is gradient ascent. Made for
language models, whose l sums over the tokens of an answer. Here p is the softmax of the zero-shot logits of
methods/common/zero_shot.py and l the cross-entropy of the name, for a request by concept among the vocabulary; it can
rise by 10 to 25, so b = 0.1, published for long answers, hardly bounds it. No retain data is read: the plain form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.zero_shot import NameClassifier

CARD = MethodCard(
    name="npo",
    title="loss of the forget images up, less and less the further it rose",
    paper="Zhang et al., COLM 2024, arXiv 2404.05868",
    regime="forget",
    edits=("visual",),
    needs=("names to forget",),
    deviations=(
        "Carried over from answers of language models to the name of an image among all names: one token, not many.",
        "The rate is constant; the source warms up for one epoch.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official code where a classifier of images gives them a meaning."""

    learning_rate: float = hyper(
        1e-5,
        low=0.0,
        source="official code, TOFU",
        rate="adam",
    )
    weight_decay: float = hyper(0.01, low=0.0, source="official code, TOFU: of AdamW")
    beta: float = hyper(
        1.0,
        low=1e-3,
        source="b; official code, its own experiment with two classes; 0.1 on TOFU is for sums over many tokens",
    )
    batch_size: int = hyper(
        16, low=1, source="official code, TOFU: 4 x 4", small=24, small_source="our choice, for 2 cores"
    )
    epochs: int = hyper(10, low=1, source="official code, TOFU")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source takes all steps (0); n: it ends where one of n looks finds held-out forget pairs at chance, "
        "tuned on or off",
    )


class NPO(UnlearningMethod[Hyperparameters]):
    """Minimises the preference loss on D_f."""

    card = CARD

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, as in the official code."""
        return torch.optim.AdamW(
            self.editable_parameters(), lr=self.h.learning_rate, weight_decay=self.h.weight_decay, fused=True
        )

    def on_fit_start(self) -> None:
        """Keep the original and the class weights before the first step."""
        self.original  # noqa: B018
        self.names = NameClassifier(self)

    def training_step(self, batch: dict[Literal["forget"], Pairs], index: int) -> Tensor:
        """The loss of one forget batch."""
        images, labels = batch["forget"]["images"], self.names.forget_labels(batch["forget"])
        with torch.no_grad():
            before = F.cross_entropy(self.names.logits(self.original, images), labels, reduction="none")
        now = F.cross_entropy(self.names.logits(self.clip, images), labels, reduction="none")
        return preference_loss(now - before, beta=self.h.beta)


def preference_loss(rise: Tensor, *, beta: float) -> Tensor:
    """-(2 / b) log sigma(b rise), mean.

    Args:
        rise: How far the loss of each image is above its reference, shape (B,).
        beta: b > 0.
    """
    return -(2 / beta) * F.logsigmoid(beta * rise).mean()
