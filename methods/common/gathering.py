"""Base of the methods that look at images first and then edit once: no loss, no optimizer.

Batches come from the DataModule as for any other method; each different image is handed on once, however often the
smaller part is drawn again while the larger one lasts. When the batches are over, `edit` is called.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal, TypeVar

import torch

from datamodules.common.module import ForgetSpec, Pairs
from methods.common.base import UnlearningMethod
from methods.common.clip import Clip

H = TypeVar("H")
Part = Literal["forget", "retain"]


class GatheringMethod(UnlearningMethod[H]):
    """Hands batches to `gather`, then calls `edit`; both without gradient."""

    def __init__(self, clip: Clip, spec: ForgetSpec, hyperparameters: H) -> None:
        super().__init__(clip, spec, hyperparameters)
        self.automatic_optimization = False
        self._seen: dict[str, set[int]] = {}

    @abstractmethod
    def gather(self, part: Part, pairs: Pairs) -> None:
        """Take note of images that were not handed on before.

        Args:
            part: Where they are from.
            pairs: At least one.
        """

    @abstractmethod
    def edit(self) -> None:
        """Edit the CLIP in place."""

    def configure_optimizers(self) -> None:
        """None is needed."""

    def training_step(self, batch: Mapping[Part, Pairs], index: int) -> None:
        """Hand on what is new."""
        with torch.no_grad():
            for part, pairs in batch.items():
                fresh = self._fresh(part, pairs)
                if len(fresh["texts"]):
                    self.gather(part, fresh)

    def on_train_end(self) -> None:
        """Make the edit."""
        with torch.no_grad():
            self.edit()

    def _fresh(self, part: Part, pairs: Pairs) -> Pairs:
        seen = self._seen.setdefault(part, set())
        rows = [row for row, index in enumerate(pairs["indices"].tolist()) if index not in seen]
        seen.update(pairs["indices"].tolist())
        return Pairs(
            images=pairs["images"][rows],
            texts=[pairs["texts"][row] for row in rows],
            labels=pairs["labels"][rows],
            indices=pairs["indices"][rows],
        )
