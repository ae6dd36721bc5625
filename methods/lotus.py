"""LoTUS: smooth the predictions for forget images by Gumbel noise (Spartalis et al., CVPR 2025, arXiv 2503.18314).

    L = - mean over D_f and a part of D_r of  sum_c t_c(x) log p_u,c(x)              o original, u unlearned
        x in D_r:  t = a one-hot sample of p_o(x)                     (argmax of z_o + G, G Gumbel noise)
        x in D_f:  t = softmax( (z_o(x) + G) / T )
    T = exp( alpha (acc_u(D_f) - a*) ),   a* = 0 for classes

While forget images are still named right, T is so large that their target is uniform (alpha 32: 9e6 at an accuracy of
a half, 25 at a tenth); it falls to 1, the original's own temperature, as they are not. No label of D_r is read. Made
for classifiers: the logits are those of methods/common/zero_shot.py, for a request by concept over the vocabulary.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.proportions import forget_share, shuffled_steps
from methods.common.zero_shot import NameClassifier

CARD = MethodCard(
    name="lotus",
    title="predictions for forget images smoothed as long as they are right",
    paper="Spartalis et al., CVPR 2025, arXiv 2503.18314",
    regime="forget+retain",
    edits=("visual",),
    needs=("names to forget",),
    deviations=(
        "The accuracy that sets the temperature is that of the latest forget batches, one pass over D_f, and follows "
        "every step; the source measures all of D_f before each epoch.",
        "Forget and retain batches are paired and weighted by their parts' sizes; the source shuffles both together.",
        "Evaluation mode, so that batch statistics stay those of the original; the source trains in train mode.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official code for classes."""

    learning_rate: float = hyper(
        1e-6,
        low=0.0,
        source="official code, ViT; 1e-4 for ResNets",
        rate="adam",
    )
    weight_decay: float = hyper(5e-4, low=0.0, source="official code: of AdamW")
    alpha: float = hyper(32.0, low=0.0, source="official code, classes; 8 and 2 for single images")
    target_accuracy: float = hyper(0.0, low=0.0, high=1.0, source="a*; official code, classes")
    retain_share: float = hyper(0.3, low=0.0, high=1.0, source="official code: of D_r that is read")
    proportions: Literal["natural", "equal"] = hyper(
        "natural",
        source="official code: one shuffle of D_f and that share of D_r",
        small="equal",
        small_source="our choice: at 1 : 30 a run of 40 steps does not forget",
    )
    batch_size: int = hyper(128, low=2, source="official code", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(10, low=1, source="official code")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source keeps the last state (0); n: the best of n on held-out pairs, tuned on or off",
    )


class LoTUS(UnlearningMethod[Hyperparameters]):
    """Minimises the cross-entropy with sampled and with smoothed predictions of the original."""

    card = CARD

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """`max_steps`, or `epochs` passes over D_f and the share of D_r."""
        h = self.h
        return h.max_steps or shuffled_steps(
            sizes, retain_share=h.retain_share, batch_size=h.batch_size, epochs=h.epochs
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, as in the official code."""
        return torch.optim.AdamW(
            self.editable_parameters(), lr=self.h.learning_rate, weight_decay=self.h.weight_decay, fused=True
        )

    def on_fit_start(self) -> None:
        """Keep the original and the class weights before the first step."""
        self.original  # noqa: B018
        self.names = NameClassifier(self)
        sizes = self.data.sizes
        self.share = forget_share(sizes, self.h.proportions, retain_share=self.h.retain_share)
        self.latest: deque[float] = deque(maxlen=math.ceil(sizes["forget"] / self.batch_size()))

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """The loss of one paired batch."""
        forget, retain = batch["forget"], batch["retain"]
        weights, _ = self.names.retain_classes(self.original, retain)
        logits = self.names.logits(self.clip, forget["images"])
        right = logits.detach().argmax(dim=1) == self.names.forget_labels(forget)
        self.latest.append(float(right.double().mean()))
        with torch.no_grad():
            smoothed = smoothed_targets(self.names.logits(self.original, forget["images"]), self.temperature())
            sampled = sampled_labels(self.names.logits(self.original, retain["images"], weights))
        lost = F.cross_entropy(logits, smoothed)
        kept = F.cross_entropy(self.names.logits(self.clip, retain["images"], weights), sampled)
        return self.share * lost + (1 - self.share) * kept

    def temperature(self) -> float:
        """T, by the mean accuracy on the latest forget batches."""
        accuracy = sum(self.latest) / len(self.latest)
        return math.exp(self.h.alpha * (accuracy - self.h.target_accuracy))

    def on_train_end(self) -> None:
        """Tell where the temperature ended."""
        self.report.update(last_temperature=self.temperature())


def gumbel(like: Tensor) -> Tensor:
    """Gumbel noise, drawn on the CPU so that every device gets the same; of a tensor's shape, type and device."""
    return -torch.empty(like.shape, dtype=torch.float64).exponential_().log().to(like)


def smoothed_targets(logits: Tensor, temperature: float) -> Tensor:
    """softmax((z + G) / T), shape (B, C)."""
    return ((logits + gumbel(logits)) / temperature).softmax(dim=-1)


def sampled_labels(logits: Tensor) -> Tensor:
    """A sample of softmax(z) for each row, shape (B,)."""
    return (logits + gumbel(logits)).argmax(dim=-1)
