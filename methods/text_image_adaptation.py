"""Text-image space adaptation (Kravets & Namboodiri, Zero-shot CLIP class forgetting, TMLR 2025; official code).

W is the text projection, x the text features before it, B A of rank r a low-rank edit, D = (alpha / r) B A:

    min over A, B   l_f ||e_0 - (W + D) x_f||  +  l_p ||Y_p - (W + D) X_p||  +  l_w ||B A||        Frobenius norms

x_f belongs to the names to forget, X_p to the names to keep, Y_p = W X_p are their embeddings as they were, e_0 is the
unit-norm embedding of the empty string, which names nothing. Where e_0 itself reads as a name to forget, noise is
added until it does not. After the Adam steps the distance to e_0 must have fallen by 70 %, else they start again
with l_f + 0.05. At the end D is added to W: one matrix of the text encoder changes, and no image is read.

The penalty is on B A and not on D: with alpha = 1 an edit costs r times its norm, and alpha = r gives it its plain
norm. The official code keeps lists of related names, made with a language model; here the names to keep are those of
the data set, which is what the data regime gives. So a request by concept is the same case as a request by class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import ForgetSpec
from methods.common.base import UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip
from methods.common.projections import text_features, text_projection

CARD = MethodCard(
    name="text_image_adaptation",
    title="low-rank edit of the text projection that sends the names to the empty text",
    paper="Kravets & Namboodiri, TMLR 2025",
    regime="names",
    edits=("text",),
    needs=("text projection",),
    deviations=("The data set's other names are retained beside the source's text set.",),
)

MIN_REDUCTION, FORGET_STEP = 0.7, 0.05
"""Official code."""
EMPTY_NOISE, EMPTY_TRIES = 0.5, 1000
"""Scale: official code. Limit: our choice, because the official code has none."""


@dataclass(frozen=True)
class Hyperparameters:
    """As in the official code for one class on RN50; its ViT-B/16 takes (l_p, l_f) from (.25, 1.3) to (.3, 1.1)."""

    forget_weight: float = hyper(1.3, low=0.0, source="l_f; official code, RN50")
    retain_weight: float = hyper(0.4, low=0.0, source="l_p; official code, RN50")
    edit_weight: float = hyper(1.0, low=0.0, source="l_w; official code")
    rank: int = hyper(5, low=1, source="r; official code")
    alpha: float = hyper(1.0, low=0.0, source="official code: the default of its LoRA layer")
    prompts: Literal["names", "templates"] = hyper(
        "names", source="official code: the bare name; templates are the prompts of the evaluation"
    )
    retain_names: Literal["dataset", "all"] = hyper(
        "dataset",
        source="X_p: the data set's other names, as all name-only methods here, or also other data sets' names",
    )
    learning_rate: float = hyper(
        0.01,
        low=0.0,
        source="official code",
        rate="adam",
    )
    max_steps: int = hyper(2000, low=1, source="official code: Adam steps of one try")
    tries: int = hyper(100, low=1, source="official code", small=4, small_source="our choice, for 2 cores")


class TextImageAdaptation(UnlearningMethod[Hyperparameters]):
    """One training step is one try: all Adam steps on A and B, which live outside the CLIP."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False
        self.projection = text_projection(clip)

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """The tries."""
        return self.h.tries

    def configure_optimizers(self) -> None:
        """Each try makes its own."""

    def on_fit_start(self) -> None:
        """Encode the names and the empty text, in float64."""
        with torch.no_grad():
            names, count = self.spec.all_names, len(self.spec.forget_names)
            keep = [self._features(names[count:], self.spec.templates)]
            if self.h.retain_names == "all":
                keep.extend(self._features(name_set.names, name_set.templates) for name_set in self.spec.others)
            forget = self._features(names[:count], self.spec.templates)
            weight, stored = self.projection.matrix.double(), self.projection.bias
            bias = torch.zeros_like(weight[0]) if stored is None else stored.double()
            empty = self.clip.encode_text([""]).double()
            target = neutral(empty, self.classifier().double(), count)
            self.problem = Problem(weight, forget, target - bias, torch.cat(keep))
        self.forget_weight = self.h.forget_weight

    def _features(self, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        if self.h.prompts == "names":
            templates = ("{}",)
        texts = [template.format(name) for name in names for template in templates]
        return text_features(self.clip, texts)

    def training_step(self, batch: int, index: int) -> Tensor:
        """One try; the last one, and any that brings the names close enough to the empty text, is merged."""
        h = self.h
        edit, loss = solve(
            self.problem,
            weights=(self.forget_weight, h.retain_weight, h.edit_weight),
            rank=h.rank,
            alpha=h.alpha,
            learning_rate=h.learning_rate,
            steps=h.max_steps,
        )
        reduction = self.problem.reduction(edit)
        if reduction >= MIN_REDUCTION or index == h.tries - 1:
            self.projection.replace(self.projection.matrix.double() + edit)
            self.report.update(tries=index + 1, forget_weight=self.forget_weight, reduction=reduction)
            self.trainer.should_stop = True
        self.forget_weight += FORGET_STEP
        return loss


@dataclass(frozen=True)
class Problem:
    """What the low-rank edit has to do; row vectors, float64.

    Attributes:
        weight: P = W^T, shape (width, D).
        forget: x_f, shape (m_f, width).
        target: e_0 less the projection's bias, shape (1, D).
        keep: X_p, shape (m_p, width).
    """

    weight: Tensor
    forget: Tensor
    target: Tensor
    keep: Tensor

    def loss(self, product: Tensor, scale: float, weights: tuple[float, float, float]) -> Tensor:
        """The objective at B A, shape (width, D), with D = scale B A. Y_p - (W + D) X_p is - D X_p."""
        edit = scale * product
        forget = (self.target - self.forget @ (self.weight + edit)).norm()
        total: Tensor = weights[0] * forget + weights[1] * (self.keep @ edit).norm() + weights[2] * product.norm()
        return total

    def reduction(self, edit: Tensor) -> float:
        """By how much the distance of the names to forget to e_0 fell: 1 is all of it."""
        before = (self.target - self.forget @ self.weight).norm()
        return float(1 - (self.target - self.forget @ (self.weight + edit)).norm() / before)


def solve(
    problem: Problem,
    *,
    weights: tuple[float, float, float],
    rank: int,
    alpha: float,
    learning_rate: float,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Minimise the objective by Adam on A and B.

    Returns:
        The edit D, shape (width, D), to be added to P, and the last loss.
    """
    width, out = problem.weight.shape
    # LoRA's start: A uniform as a linear layer's weights, B zero; drawn on the CPU so that every device gets the same
    start = (2 * torch.rand(width, rank) - 1) / math.sqrt(width)
    down = start.to(problem.weight).requires_grad_()
    up = problem.weight.new_zeros(rank, out).requires_grad_()
    optimizer = torch.optim.Adam([down, up], lr=learning_rate)
    with torch.enable_grad():
        for _ in range(steps):
            loss = problem.loss(down @ up, alpha / rank, weights)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return (alpha / rank) * (down @ up).detach(), loss.detach()


def neutral(empty: Tensor, classifier: Tensor, count: int) -> Tensor:
    """e_0: the unit-norm embedding of the empty text, moved by noise while it reads as a name to forget.

    Args:
        empty: Its embedding, shape (1, D).
        classifier: The names to forget, then those to keep, shape (C, D).
        count: How many are to be forgotten.
    """
    moved = empty
    for _ in range(EMPTY_TRIES):
        if int((moved @ classifier.T).argmax()) >= count:
            break
        moved = empty + EMPTY_NOISE * torch.randn(empty.shape).to(empty)
    return F.normalize(moved, dim=-1)
