"""UNSIR: impair with noise that raises the error, then repair (Tarun et al., TNNLS 2023, arXiv 2111.08947).

    noise:   z <- N(0, I), Adam steps on  -CE(f_o(z), c) + 0.1 ||z||^2       c to forget, o original; z as network input
    impair:  one pass over retain images and 80 copies of each z:  L = mean of CE over both, z labelled c
    repair:  one pass over the retain images:                      L = mean of CE

No forget image is read. A pass of the impair step holds few copies to a batch; as they are the same images, they are
given here as what they weigh: each step has every z once, with the weight of its copies in that step. Made for
classifiers: logits and labels are those of methods/common/zero_shot.py, for a request by concept too, where c is the
concept among the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.zero_shot import NameClassifier
from methods.emmn import optimise_noise

CARD = MethodCard(
    name="unsir",
    title="fine-tune with noise under the forgotten name, then on retain images alone",
    paper="Tarun et al., TNNLS 2023, arXiv 2111.08947",
    regime="retain",
    edits=("visual",),
    needs=("names to forget",),
    deviations=(
        "The copies of the noise have their mean share of every batch; in the source chance decides where they come.",
        "Three noise images of each name, as the official code's loop uses of its 256, and no more are made.",
        "Evaluation mode, so that batch statistics stay those of the original; the source trains in train mode.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the script of the authors' later paper (Bad Teacher), which carries the method over to larger networks."""

    learning_rate: float = hyper(
        1e-4,
        low=0.0,
        source="official code: one rate for ResNets and a ViT, so on small CLIPs too",
        rate="adam",
    )
    images: int = hyper(3, low=1, source="official code: of each name, those that its loop over copies reaches")
    copies: int = hyper(80, low=1, source="official code: of each noise image in the impair step")
    noise_steps: int = hyper(40, low=1, source="official code, CIFAR-10: 5 x 8; 250 for 20 classes")
    noise_rate: float = hyper(0.1, low=0.0, source="official code: Adam on the noise")
    norm_weight: float = hyper(0.1, low=0.0, source="official code")
    retain_images: int = hyper(500, low=1, source="official code: of each class to keep, on average")
    batch_size: int = hyper(256, low=2, source="official code", small=24, small_source="our choice, for 2 cores")
    max_steps: int | None = hyper(
        None, low=1, source="none: one pass each to impair and to repair", small=40, small_source="our choice, 2 cores"
    )


class UNSIR(UnlearningMethod[Hyperparameters]):
    """Makes the noise, impairs in the first half of the steps, repairs in the second."""

    card = CARD

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """`max_steps`, or two passes over `retain_images` of each class."""
        images = min(sizes["retain"], self.h.retain_images * len(self.spec.retain_names))
        return self.h.max_steps or 2 * math.ceil(images / self.h.batch_size)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with its common defaults, as in the source."""
        return torch.optim.Adam(self.editable_parameters(), lr=self.h.learning_rate, fused=True)

    def on_fit_start(self) -> None:
        """Make the noise through the model as it came."""
        self.names, h = NameClassifier(self), self.h
        side, device = self.clip.preprocessing.image_size, self.names.weights.device
        self.labels = torch.arange(self.names.forgotten, device=device).repeat_interleave(h.images)
        self.noise = optimise_noise(
            lambda x: self.names.logits(self.clip, x),
            torch.randn(len(self.labels), 3, side, side).to(device),
            self.labels,
            steps=h.noise_steps,
            rate=h.noise_rate,
            sign=-1.0,
            norm_weight=h.norm_weight,
        )
        self.impairing = math.ceil(self.data.steps / 2)

    def training_step(self, batch: dict[Literal["retain"], Pairs], index: int) -> Tensor:
        """An impair or a repair step on one retain batch."""
        retain = batch["retain"]
        weights, labels = self.names.retain_classes(self.clip, retain)
        kept = F.cross_entropy(self.names.logits(self.clip, retain["images"], weights), labels)
        if index >= self.impairing:
            return kept
        wrong = F.cross_entropy(self.names.logits(self.clip, self.noise), self.labels)
        share = noise_share(len(self.labels) * self.h.copies / self.impairing, len(labels))
        return share * wrong + (1 - share) * kept


def noise_share(copies: float, images: int) -> float:
    """The share of the noise in the mean over a batch of so many copies and so many retain images, in (0, 1)."""
    return copies / (copies + images)
