"""SimNPO: preference optimisation without a reference, beside the retained pairs (Fan et al. 2024, arXiv 2410.07163).

    l(x) = -log p_y(x)
    L = k mean over D_f of  -(2 / b) log sigma( b (l(x) - g) )  +  mean over D_r of  CE(f(x), y)

NPO (methods/npo.py) with a margin g in the place of the original's loss: with g = 0 the push falls with the loss
itself, so images that were hard from the start are left alone. The source divides l by the number of tokens, which is
one for a name. Logits and labels are those of methods/common/zero_shot.py, for a request by concept too.
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
from methods.npo import preference_loss

CARD = MethodCard(
    name="simnpo",
    title="loss of the forget images up to a bound, cross-entropy down on the retain images",
    paper="Fan et al. 2024, arXiv 2410.07163",
    regime="forget+retain",
    edits=("visual",),
    needs=("names to forget",),
    deviations=(
        "Carried over from answers of language models to the name of an image among all names: one token, not many.",
        "Forget and retain batches are paired, and the rate is constant; the source warms up for one epoch.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official code for TOFU, a tenth of the answers to forget, but for the weight of the forget loss."""

    learning_rate: float = hyper(
        1e-5,
        low=0.0,
        source="official code, TOFU",
        rate="adam",
    )
    weight_decay: float = hyper(0.01, low=0.0, source="official code, TOFU: of AdamW")
    beta: float = hyper(4.5, low=1e-3, source="b; official code, TOFU forget10 (2.5 for forget05)")
    margin: float = hyper(0.0, low=0.0, source="g; official code, TOFU")
    forget_weight: float = hyper(
        1.0, low=0.0, source="k; official code, MUSE and WMDP; 0.125 on TOFU, where answers have many tokens"
    )
    batch_size: int = hyper(
        16, low=2, source="official code, TOFU: 4 x 4", small=24, small_source="our choice, for 2 cores"
    )
    epochs: int = hyper(10, low=1, source="official code, TOFU")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source keeps the last state (0); n: the best of n on held-out pairs, tuned on or off",
    )


class SimNPO(UnlearningMethod[Hyperparameters]):
    """Minimises the preference loss on D_f and the cross-entropy on D_r."""

    card = CARD

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, as in the official code."""
        return torch.optim.AdamW(
            self.editable_parameters(), lr=self.h.learning_rate, weight_decay=self.h.weight_decay, fused=True
        )

    def on_fit_start(self) -> None:
        """Take the class weights before the first step."""
        self.names = NameClassifier(self)

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """The loss of one paired batch."""
        forget, retain = batch["forget"], batch["retain"]
        lost = F.cross_entropy(
            self.names.logits(self.clip, forget["images"]), self.names.forget_labels(forget), reduction="none"
        )
        weights, labels = self.names.retain_classes(self.clip, retain)
        kept = F.cross_entropy(self.names.logits(self.clip, retain["images"], weights), labels)
        return self.h.forget_weight * preference_loss(lost - self.h.margin, beta=self.h.beta) + kept
