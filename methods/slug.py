"""SLUG: single-layer unlearning gradient (Cai et al., ICML 2025, arXiv 2407.11867; official code).

    g_f = grad of  mean over D_f of cos(f_img(x), f_txt(t))        less of this loss is more forgetting
    g_r = grad of  CLIP's contrastive loss on D_r
    importance_l = ||g_f,l|| / ||theta_l||,   alignment_l = |cos(g_f,l, g_r,l)|,   for each weight tensor l
    theta_l <- theta_l - s g_f,l   for one l of the Pareto front: no other tensor of its encoder matters more and is
                                   less aligned; biases, embeddings and the temperature do not compete

The gradients are taken once, at the original weights, as means over batches. For each tensor of the two fronts s is
searched from (||theta_l|| / ||g_f,l||) / 10: doubled until the forget accuracy is down to the target, then bisected
towards the smallest such s. A search ends when the target is reached with no loss of retained accuracy, when half of
that is lost before the target is reached, or after `search_steps` measurements. Of everything measured, the tensor and
the s with the largest retained minus forget accuracy stand (our choice: the authors look at each front by hand).

What the search may see: the first `held_out_batches` batches of the forget and the retain part of the train split,
whose images give no gradient; never the test split. Its accuracy is zero-shot over all names for a request by class,
and for a request by concept recall at 1 among the held-out pairs, both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import Snapshot, UnlearningMethod
from methods.common.card import MethodCard, hyper
from methods.common.clip import Clip, parameter_group
from methods.common.held_out import HeldOut

CARD = MethodCard(
    name="slug",
    title="one step on the one layer that matters to the forget set and not to the rest",
    paper="Cai et al., ICML 2025, arXiv 2407.11867",
    regime="forget+retain",
    edits=("visual", "text"),
    deviations=(
        "The search for the step ends at a target accuracy of held-out forget images; the source ends at a forget "
        "top-5 accuracy of 0.",
    ),
)

EncoderPart = Literal["forget", "retain"]
NO_LAYER = ("bias", "embedding", "position", "logit_scale")
"""Tensors that do not compete (official code), by a part of their name."""


@dataclass(frozen=True)
class Hyperparameters:
    """Of the gradients and of the search."""

    batch_size: int = hyper(16, low=2, source="official code", small=24, small_source="our choice, for 2 cores")
    gradient_batches: int = hyper(
        32,
        low=1,
        source="our choice, because 512 images of each part are enough for a mean; the official code takes all of its",
        small=12,
        small_source="our choice, for 2 cores",
    )
    held_out_batches: int = hyper(
        8,
        low=1,
        source="our choice, because 128 images give 1 % steps",
        small=2,
        small_source="our choice, for 2 cores",
    )
    search_steps: int = hyper(10, low=1, source="official code: ten measurements a layer")
    target_accuracy: float = hyper(0.0, low=0.0, high=1.0, source="official code: until no image is recognised")


class SLUG(UnlearningMethod[Hyperparameters]):
    """Keeps some batches, averages gradients over the others, searches layer and step at the end."""

    card = CARD

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: Hyperparameters) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False
        self.held: dict[EncoderPart, list[Pairs]] = {"forget": [], "retain": []}
        self.gradients: dict[EncoderPart, Snapshot] = {"forget": {}, "retain": {}}

    def planned_steps(self, sizes: Mapping[EncoderPart, int]) -> int:
        """The held-out batches, then those that give gradients."""
        return self.h.held_out_batches + self.h.gradient_batches

    def configure_optimizers(self) -> None:
        """None is needed."""

    def training_step(self, batch: dict[EncoderPart, Pairs], index: int) -> Tensor | None:
        """Keep one paired batch, or add its gradients; nothing moves."""
        if index < self.h.held_out_batches:
            for part, pairs in batch.items():
                self.held[part].append(pairs)
            return None
        forget, retain = (without(batch[part], self.held[part]) for part in ("forget", "retain"))
        self._add("retain", self.pair_loss(retain))
        return self._add("forget", forget_loss(self.clip, forget))

    def _add(self, part: EncoderPart, loss: Tensor) -> Tensor:
        self.clip.model.zero_grad()
        self.manual_backward(loss)
        sums = self.gradients[part]
        for name, parameter in self.clip.model.named_parameters():
            if parameter.grad is not None:
                step = parameter.grad.detach() / self.h.gradient_batches
                sums[name] = sums[name] + step if name in sums else step
        self.clip.model.zero_grad()
        return loss.detach()

    @torch.no_grad()
    def on_train_end(self) -> None:
        """Search every layer of the two fronts, then make the one step."""
        forget, weights = self.gradients["forget"], self.snapshot()
        held_out = HeldOut(self.clip, self.spec, self.held["forget"], self.held["retain"])
        trials: list[tuple[ScaleTrial, str]] = []
        for name in self.candidates(weights):
            start = float(weights[name].norm() / forget[name].norm()) / 10
            trials.append((self._searched(name, start, held_out, weights), name))
        best, layer = max(trials, key=lambda pair: pair[0].score)
        self.restore({layer: weights[layer] - best.step * forget[layer]})
        self.report.update(
            layer=layer,
            step=best.step,
            held_out_forget_accuracy=best.forget,
            held_out_retain_accuracy=best.retain,
            front={name: {"score": trial.score, "step": trial.step} for trial, name in trials},
        )

    def candidates(self, weights: Snapshot) -> list[str]:
        """The Pareto fronts of the visual and of the text encoder."""
        forget, retain = self.gradients["forget"], self.gradients["retain"]
        names = [n for n in forget if n in retain and float(forget[n].norm()) > 0 and not any(p in n for p in NO_LAYER)]
        importance = {n: float(forget[n].norm() / weights[n].norm()) for n in names}
        alignment = {n: abs(float(F.cosine_similarity(forget[n].flatten(), retain[n].flatten(), dim=0))) for n in names}
        groups = [[n for n in names if parameter_group(n) == group] for group in ("visual", "text")]
        return [name for group in groups for name in pareto_front(group, importance, alignment)]

    def _searched(self, name: str, start: float, held_out: HeldOut, weights: Snapshot) -> ScaleTrial:
        def measure(step: float) -> tuple[float, float]:
            self.restore({name: weights[name] - step * self.gradients["forget"][name]})
            return held_out.accuracy(changed=parameter_group(name))

        trial = search(
            measure, start, retain_before=held_out.before[1], target=self.h.target_accuracy, steps=self.h.search_steps
        )
        self.restore({name: weights[name]})
        return trial


@dataclass(frozen=True)
class ScaleTrial:
    """One measured step size: s, and the accuracies that it leaves on held-out pairs, in [0, 1]."""

    step: float
    forget: float
    retain: float

    @property
    def score(self) -> float:
        """Retained minus forget accuracy, in [-1, 1]; higher is better."""
        return self.retain - self.forget


def search(
    measure: Callable[[float], tuple[float, float]], start: float, *, retain_before: float, target: float, steps: int
) -> ScaleTrial:
    """Search the step size by doubling, then bisection.

    Args:
        measure: Forget and retained accuracy at a step size.
        start: The first step size.
        retain_before: Retained accuracy of the original.
        target: Forget accuracy at which a step is large enough.
        steps: Measurements at most.

    Returns:
        The trial with the best score; of equals, the smallest step.
    """
    low, high, step = 0.0, None, start
    trials: list[ScaleTrial] = []
    for _ in range(steps):
        trial = ScaleTrial(step, *measure(step))
        trials.append(trial)
        reached = trial.forget <= target
        if trial.retain >= retain_before if reached else trial.retain < retain_before / 2:
            break
        low, high = (low, step) if reached else (step, high)
        step = 2 * step if high is None else (low + high) / 2
    return max(trials, key=lambda trial: (trial.score, -trial.step))


def pareto_front(names: list[str], importance: Mapping[str, float], alignment: Mapping[str, float]) -> list[str]:
    """The names that no other beats: more important or less aligned, and neither less important nor more aligned."""

    def beats(other: str, name: str) -> bool:
        gain, cost = importance[other] - importance[name], alignment[other] - alignment[name]
        return gain >= 0 and cost <= 0 and (gain > 0 or cost < 0)

    return [name for name in names if not any(beats(other, name) for other in names)]


def forget_loss(clip: Clip, pairs: Pairs) -> Tensor:
    """Mean cosine of matched pairs: the negative of the official code's loss, up to a constant."""
    image, text = clip.encode_image(pairs["images"]), clip.encode_text(pairs["texts"])
    return F.cosine_similarity(image.float(), text.float(), dim=-1).mean()


def without(pairs: Pairs, held_out: list[Pairs]) -> Pairs:
    """The pairs whose images are not held out; all of them where that leaves none (a part of a batch or two)."""
    taken = {int(i) for batch in held_out for i in batch["indices"]}
    rows = [row for row, index in enumerate(pairs["indices"].tolist()) if index not in taken]
    if not rows:
        return pairs
    return Pairs(
        images=pairs["images"][rows],
        texts=[pairs["texts"][row] for row in rows],
        labels=pairs["labels"][rows],
        indices=pairs["indices"][rows],
    )
