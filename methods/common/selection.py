"""Which state of a training stands: one rule for all methods that take gradient steps on the CLIP itself.

With the hyperparameter `checkpoints` = n > 0 a method looks at its CLIP after each of n equal parts of the training:

| data regime | what it measures on held-out pairs of the train split | what stands |
|---|---|---|
| `forget+retain` | retained and forget accuracy | the state with the largest difference |
| `forget` | forget accuracy | the state at which it is down to chance, where the training ends |

With `checkpoints` = 0 the last state stands. The held-out pairs are never trained on, and no test image is looked at.
"""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from methods.common.base import UnlearningMethod
from methods.common.held_out import BestState, HeldOut

HELD_OUT_BATCHES = 2
"""Of each part, where the method has no hyperparameter `held_out_batches`; our choice, for 2 cores."""


class StateSelection(Callback):
    """Looks at a method's CLIP while it trains, and decides which state stands.

    Args:
        method: Of the data regime `forget+retain` or `forget`.
        looks: How often, evenly over the training, the last time after the last step.
    """

    def __init__(self, method: UnlearningMethod[Any], looks: int) -> None:
        self._method, self._looks = method, looks
        self._best: BestState | None = None
        self._held_out: HeldOut | None = None
        self._seen: list[dict[str, float]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hold out what is looked at, before the first step; parts of one image have nothing to hold out."""
        method = self._method
        held_out = method.data.hold_out(int(getattr(method.h, "held_out_batches", HELD_OUT_BATCHES)))
        forget, retain = held_out["forget"], held_out.get("retain")
        if retain is None:
            self._held_out = HeldOut(method.clip, method.spec, forget, []) if forget else None
        elif forget and retain:
            self._best = BestState(method, forget, retain)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look, if a part of the training has ended."""
        steps, done = self._method.data.steps, batch_idx + 1
        if done * self._looks // steps == batch_idx * self._looks // steps:
            return
        if self._best is not None:
            self._best.look(done)
        elif self._held_out is not None:
            forget, _ = self._held_out.accuracy()
            self._seen.append({"step": done, "forget_accuracy": forget})
            if forget <= self._held_out.chance:
                trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the best state back, and tell what was seen."""
        if self._best is not None:
            self._method.report.update(best_step=self._best.restore(), checkpoints=self._best.seen)
        elif self._seen:
            self._method.report.update(last_step=self._seen[-1]["step"], checkpoints=self._seen)
