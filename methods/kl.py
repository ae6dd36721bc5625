"""KL: ascend on the forget pairs, stay with the original's distributions on the retain pairs (Maini et al. 2024, TOFU).

    L = - A(D_f) + mean over D_r of  KL(p_o || p_u)                        o original, u unlearned

A is the cross-entropy over the prompts of all names for requests by class, InfoNCE for requests by concept
(methods/common/ascent.py). TOFU's "KL minimization" for language models: minus the training loss on D_f, and the
divergence from the original's next-token distributions on D_r. CLIP's distributions are the softmaxes of the in-batch
logits, image to text and text to image: the divergence is the mean of both, as InfoNCE is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from datamodules.common.module import Pairs
from methods.cliperase import consistency_loss, scaled_logits
from methods.common.ascent import AscentMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip

CARD = MethodCard(
    name="kl",
    title="training loss up on the forget pairs, original's distributions on the retain pairs",
    paper="Maini et al., COLM 2024, arXiv 2401.06121",
    regime="forget+retain",
    edits=("visual", "text"),
    deviations=(
        "Classes: minus the cross-entropy over the prompts of all names, because in a batch of one class the "
        "contrastive loss does not change when all cosines shift (`ascent=contrastive` takes it all the same).",
        "Adam in the place of AdamW, as CLIPErase takes it for the rows that this one stands beside.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """The schedule of CLIPErase, as gradient ascent and GradDiff take it here: the three differ in the loss alone."""

    learning_rate: float = hyper(
        1e-6,
        low=0.0,
        source="our choice: CLIPErase on CIFAR-100 (secondary), because TOFU's 1e-5 is for language models",
        rate="adam",
    )
    batch_size: int = hyper(16, low=2, source="CLIPErase (secondary)", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(20, low=1, source="our choice: CLIPErase (secondary); TOFU takes 5 for language models")
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
    divergence_weight: float = hyper(1.0, low=0.0, source="TOFU: the plain sum")


class KL(AscentMethod[Hyperparameters]):
    """Minimises minus the forget loss plus the divergence from the original on D_r."""

    card = CARD

    def on_fit_start(self) -> None:
        """Keep the original before the first step."""
        self.original  # noqa: B018

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """The loss of one paired batch."""
        retain = batch["retain"]
        with torch.no_grad():
            reference = _logits(self.original, retain)
        both = consistency_loss(reference, _logits(self.clip, retain))
        return self.h.divergence_weight * both / 2 - self.ascent_loss(batch["forget"])


def _logits(clip: Clip, pairs: Pairs) -> Tensor:
    return scaled_logits(clip.encode_image(pairs["images"]), clip.encode_text(pairs["texts"]), clip.logit_scale)
