"""Bad Teacher: learn from a competent teacher on D_r and from an ignorant one on D_f (Chundawat et al., AAAI 2023).

    L = mean over D_f and a part of D_r of  KL( p_teacher(x) || p_u(x) )          u unlearned
        teacher: the original on D_r, a network of the same architecture with random weights on D_f

Made for classifiers: the logits are those of methods/common/zero_shot.py, for a request by concept too. At CLIP's own
temperature a random image encoder is not ignorant but sure of arbitrary names (of a random ViT-B/32 the mean top
probability among a hundred names is about a half, the entropy 1.6 of 4.6 nats): the logits of the ignorant teacher have
a scale of their own, 1 by default and 0 for the uniform distribution. The record tells its entropy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from datamodules.common.module import Pairs
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip
from methods.common.proportions import forget_share, shuffled_steps
from methods.common.zero_shot import NameClassifier, divergence

CARD = MethodCard(
    name="bad_teacher",
    title="an ignorant teacher for forget images, the original for retain images",
    paper="Chundawat et al., AAAI 2023, arXiv 2205.08096",
    regime="forget+retain",
    edits=("visual",),
    deviations=(
        "The ignorant teacher's logits are not scaled by the model's temperature, at which a random CLIP is sure of "
        "arbitrary names (`teacher_scale=None`).",
        "Forget and retain batches are paired and weighted by their parts' sizes; the source shuffles both together.",
        "Evaluation mode, so that batch statistics stay those of the original; the source trains in train mode.",
    ),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the official code."""

    learning_rate: float = hyper(
        1e-4,
        low=0.0,
        source="official code: one rate for ResNets and a ViT, so on small CLIPs too",
        rate="adam",
    )
    teacher_scale: float | None = hyper(
        1.0,
        low=0.0,
        source="our choice, because at CLIP's own (None) the random network is sure; 0: the uniform distribution",
    )
    retain_share: float = hyper(0.3, low=0.0, high=1.0, source="official code: of D_r that is read")
    proportions: Literal["natural", "equal"] = hyper(
        "natural",
        source="official code: one shuffle of D_f and that share of D_r",
        small="equal",
        small_source="our choice: at 1 : 30 a run of 40 steps does not forget",
    )
    batch_size: int = hyper(256, low=2, source="official code", small=24, small_source="our choice, for 2 cores")
    epochs: int = hyper(1, low=1, source="official code")
    max_steps: int | None = hyper(
        None, low=1, source="none: epochs decide", small=40, small_source="our choice, for 2 cores"
    )
    checkpoints: int = hyper(
        0,
        low=0,
        source="the source keeps the last state (0); n: the best of n on held-out pairs, tuned on or off",
    )


class BadTeacher(UnlearningMethod[Hyperparameters]):
    """Minimises the divergences from the two teachers."""

    card = CARD

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """`max_steps`, or `epochs` passes over D_f and the share of D_r."""
        h = self.h
        return h.max_steps or shuffled_steps(
            sizes, retain_share=h.retain_share, batch_size=h.batch_size, epochs=h.epochs
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with its common defaults, as in the source."""
        return torch.optim.Adam(self.editable_parameters(), lr=self.h.learning_rate, fused=True)

    def on_fit_start(self) -> None:
        """Take both teachers and the class weights before the first step."""
        self.names, self.ignorant = NameClassifier(self), ignorant(self.original)
        self.share = forget_share(self.data.sizes, self.h.proportions, retain_share=self.h.retain_share)

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """The loss of one paired batch."""
        forget, retain = batch["forget"]["images"], batch["retain"]["images"]
        weights, _ = self.names.retain_classes(self.original, batch["retain"])
        with torch.no_grad():
            bad = self.ignorant_logits(forget)
            good = self.names.logits(self.original, retain, weights)
        if index == 0:
            self.report.update(teacher_entropy=float(entropy(bad).mean()), uniform_entropy=math.log(bad.shape[1]))
        wrong = divergence(bad, self.names.logits(self.clip, forget))
        right = divergence(good, self.names.logits(self.clip, retain, weights))
        return self.share * wrong + (1 - self.share) * right

    def ignorant_logits(self, images: Tensor) -> Tensor:
        """What the ignorant teacher says of images, shape (B, C)."""
        logits = self.names.logits(self.ignorant, images)
        return logits if self.h.teacher_scale is None else logits * (self.h.teacher_scale / self.clip.logit_scale)


def entropy(logits: Tensor) -> Tensor:
    """Of the softmax of each row, in nats."""
    logs = logits.log_softmax(dim=-1)
    return -(logs.exp() * logs).sum(dim=-1)


def ignorant(clip: Clip) -> Clip:
    """A copy of a CLIP whose image encoder has random weights, drawn on the CPU so that every device gets the same.

    Layers are drawn as they are when they are made, with batch statistics of mean 0 and variance 1; the tensors that
    no layer of torch draws (class and positional embeddings, a projection) from N(0, 1 / width), as open_clip does.
    """
    copied = clip.copy()
    visual = copied.visual.to("cpu")
    drawn: set[int] = set()
    for module in visual.modules():
        draw = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if type(module).__module__.startswith("torch.nn") and callable(draw):
            draw()
            drawn.update(id(parameter) for parameter in module.parameters(recurse=False))
            if isinstance(module, nn.MultiheadAttention):
                drawn.update(id(parameter) for parameter in module.parameters())
    with torch.no_grad():
        for parameter in visual.parameters():
            if id(parameter) not in drawn:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    visual.to(clip.device)
    copied.model.requires_grad_(False)
    return copied
