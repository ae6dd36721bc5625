"""Amnesiac unlearning by relabelling (Graves et al., AAAI 2021, arXiv 2010.10981).

Each forget image gets a random other label r(x), fixed for the run; fine-tune on both parts:

    L = 1/2 ( mean over D_f of CE(f(x), r(x))  +  mean over D_r of CE(f(x), y) )

Made for classifiers: here the logits, labels and other labels are those of methods/common/zero_shot.py, also for a
request by concept, where a forget image is relabelled with another name of the vocabulary and a retain image is told
apart by the texts of its batch. The reference shuffles both parts into one set; the paired batches here give them equal
weight, so a forget image comes more often than its share.
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
from methods.common.zero_shot import NameClassifier, draw_seed

CARD = MethodCard(
    name="amnesiac",
    title="fine-tune with the forget images under random other names",
    paper="Graves et al., AAAI 2021, arXiv 2010.10981",
    regime="forget+retain",
    edits=("visual",),
    needs=("names to forget",),
    deviations=(
        "The two losses weigh alike; in the source D_f has its natural weight, 1 : 99 with one class of a hundred.",
        "Small CLIPs take 40 steps; the source takes 3 passes over the data.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """As in the implementation that later papers compare with (Foster et al. 2024, official code)."""

    learning_rate: float = hyper(
        1e-4,
        low=0.0,
        source="Foster et al. 2024, official code: one rate for VGG and ViT",
        rate="adam",
    )
    batch_size: int = hyper(
        128, low=2, source="Foster et al. 2024, official code", small=24, small_source="our choice, for 2 cores"
    )
    epochs: int = hyper(3, low=1, source="Foster et al. 2024, official code")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source keeps the last state (0); n: the best of n on held-out pairs, tuned on or off",
    )


class Amnesiac(UnlearningMethod[Hyperparameters]):
    """Minimises the cross-entropy of relabelled forget images and of retain images."""

    card = CARD

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with its common defaults, as in the source."""
        return torch.optim.Adam(self.editable_parameters(), lr=self.h.learning_rate, fused=True)

    def on_fit_start(self) -> None:
        """Take the class weights before the first step, and the seed of the labels."""
        self.names, self.seed = NameClassifier(self), draw_seed()

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """The loss of one paired batch."""
        forget, retain = batch["forget"], batch["retain"]
        wrong = F.cross_entropy(
            self.names.logits(self.clip, forget["images"]), self.names.other_names(forget, self.seed)
        )
        weights, labels = self.names.retain_classes(self.clip, retain)
        right = F.cross_entropy(self.names.logits(self.clip, retain["images"], weights), labels)
        return (wrong + right) / 2
