"""Task vectors: fine-tune the image encoder on the forget set, and walk the other way.

    tau_k = theta_k - theta0,   theta_k fine-tuned on D_f from theta0 by recipe k
    theta = theta0 - s merge(tau_1, ..., tau_K)

s is chosen as the official code of NegMerge chooses it for both methods: of 0, 0.05, ..., 1 the one that leaves the
lowest accuracy on held-out forget images, among those that keep at least 95 % of the original's accuracy on held-out
control images. The control task there is ImageNet; here it is the retain part.

The fine-tuning is that of Ilharco et al. (ICLR 2023, arXiv 2212.04089; official code): the text encoder is frozen and
gives the classification head, the image encoder learns by AdamW with warm-up, a cosine schedule and clipped gradients.
Methods differ in their recipes and in how they merge.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import Snapshot, UnlearningMethod
from methods.common.clip import Clip
from methods.common.held_out import HeldOut
from methods.common.zero_shot import task_loss

H = TypeVar("H")
MAX_GRADIENT_NORM = 1.0
"""Official code."""
SCALINGS = tuple(step / 20 for step in range(21))
"""Official code of NegMerge: linspace(0, 1, 21)."""
SCALING_UNMEASURED = 0.5
"""Where a part is too small to hold anything out: the example of the official code."""
WARM_UP = 0.1
"""Official code: 200 of 2000 iterations."""


@dataclass(frozen=True)
class FineTuning:
    """The settings of one fine-tuning: peak learning rate, and AdamW's decoupled weight decay."""

    learning_rate: float
    weight_decay: float


class TaskVectorMethod(UnlearningMethod[H]):
    """Fine-tunes once a recipe, each time from the original, then subtracts the merged task vector.

    Hyperparameters that it asks for: `max_steps` and `epochs` (of one fine-tuning), `batch_size`, `scaling` (s; None
    chooses it), `control_share` and `held_out_batches` (of the choice).
    """

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: H) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False
        self.recipes = self.make_recipes()

    @abstractmethod
    def make_recipes(self) -> tuple[FineTuning, ...]:
        """The settings of each fine-tuning."""

    @abstractmethod
    def collect(self, vector: Snapshot) -> None:
        """Take the task vector of one fine-tuning."""

    @abstractmethod
    def merged(self) -> Snapshot:
        """The task vector of all fine-tunings."""

    def planned_steps(self, sizes: Mapping[Literal["forget", "retain"], int]) -> int:
        """The steps of one fine-tuning, once a recipe."""
        self.steps_each = super().planned_steps(sizes)
        return self.steps_each * len(self.recipes)

    def configure_optimizers(self) -> None:
        """Each fine-tuning makes its own."""

    def on_fit_start(self) -> None:
        """Keep the original weights and the frozen classification head, and hold out what the choice of s measures."""
        self.start = self.snapshot()
        h = cast(Any, self.h)
        held_out = {} if h.scaling is not None else self.data.hold_out(h.held_out_batches)
        self.held_out: HeldOut | None = None
        if held_out.get("forget") and held_out.get("retain"):
            self.held_out = HeldOut(self.clip, self.spec, held_out["forget"], held_out["retain"])
        with torch.no_grad():
            self.head = self.classifier()

    def training_step(self, batch: dict[Literal["forget", "retain"], Pairs], index: int) -> Tensor:
        """One step of the fine-tuning whose turn it is; its last step ends it."""
        run, step = divmod(index, self.steps_each)
        if step == 0:
            recipe = self.recipes[run]
            self.optimizer = torch.optim.AdamW(
                self.editable_parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipes[run].learning_rate * schedule(step, self.steps_each)
        loss = task_loss(self, batch["forget"], classifier=self.head)
        self.optimizer.zero_grad()
        self.manual_backward(loss)
        torch.nn.utils.clip_grad_norm_(self.editable_parameters(), MAX_GRADIENT_NORM)
        self.optimizer.step()
        if step == self.steps_each - 1:
            self.collect(difference(self.snapshot(), self.start))
            self.restore(self.start)
        return loss.detach()

    def on_train_end(self) -> None:
        """Walk the other way."""
        vector, scaling = self.merged(), cast(Any, self.h).scaling
        if scaling is None:
            scaling = SCALING_UNMEASURED if self.held_out is None else self._chosen(self.held_out, vector)
            self.report.update(scaling=scaling)
        self._walk(vector, scaling)

    def _walk(self, vector: Snapshot, scaling: float) -> None:
        self.restore({name: value - scaling * vector[name] for name, value in self.start.items()})

    def _chosen(self, held_out: HeldOut, vector: Snapshot) -> float:
        def measured(scaling: float) -> tuple[float, float]:
            self._walk(vector, scaling)
            return held_out.accuracy(changed="visual")

        return choose_scaling(measured, floor=cast(Any, self.h).control_share * held_out.before[1])


def choose_scaling(measured: Callable[[float], tuple[float, float]], *, floor: float) -> float:
    """The coefficient of the lowest forget accuracy among those that keep the control accuracy; the smallest of equals.

    Args:
        measured: Forget and control accuracy at a coefficient, in [0, 1].
        floor: The control accuracy that must stay; 0 as a coefficient always keeps it.
    """
    accuracies = {scaling: measured(scaling) for scaling in SCALINGS}
    keeping = [scaling for scaling, (_, control) in accuracies.items() if control >= floor]
    return min(keeping, key=lambda scaling: (accuracies[scaling][0], scaling), default=0.0)


def difference(after: Snapshot, before: Snapshot) -> Snapshot:
    """The task vector: what fine-tuning added to each tensor."""
    return {name: value - before[name] for name, value in after.items()}


def schedule(step: int, steps: int) -> float:
    """The share of the peak learning rate: linear warm-up over a tenth of the steps, then half a cosine to 0."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
