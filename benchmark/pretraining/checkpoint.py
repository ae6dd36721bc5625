"""Where a training stands, kept on disk, so that one that was killed goes on instead of beginning again."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from datamodules.common.errors import BenchmarkError
from datamodules.common.kept_files import CannotWriteError, is_there, read_sealed, remove_damaged, replace_sealed

_log = logging.getLogger(__name__)
EVERY_SECONDS = 120.0
"""How much work a kill may cost, our choice; writing takes a fraction of a second."""


class OtherTrainingError(BenchmarkError):
    """The checkpoint beside a model is of another training, whose work would be lost."""


@dataclass(frozen=True)
class Standing:
    """A training after some steps.

    Attributes:
        cycle: Which cycle of the recipe, from 0.
        step: How many of its steps are done.
        seconds: Of training so far, over all parts.
        model: State dict.
        optimizer: State dict of the cycle's optimizer.
        schedule: State dict of its learning rate schedule.
        random: The state of torch's generator.
        beside: State dict of what is trained beside the model and thrown away at the end.
    """

    cycle: int
    step: int
    seconds: float
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    random: Tensor
    beside: Mapping[str, Tensor]


@dataclass
class Checkpoints(Callback):
    """Keeps the standing of one training in one file.

    Attributes:
        path: The file; None keeps nothing.
        identity: Of the training (recipe, seed, what is excluded, ...): the file of another training is not used.
        title: Of the training, for messages.
        every_seconds: How often it is written.
        cycle: The running cycle; set by the caller before each.
        offset: Steps of this cycle that an earlier part has done; likewise.
        spent: Seconds that earlier parts and cycles took; likewise.
    """

    path: Path | None
    identity: str
    title: str = ""
    every_seconds: float = EVERY_SECONDS
    cycle: int = 0
    offset: int = 0
    spent: float = 0.0
    _last: float = field(default_factory=time.monotonic)
    _began: float = field(default_factory=time.monotonic)

    def load(self) -> Standing | None:
        """What the file holds; None without a file or from another version, and, with a note, if it is damaged.

        Raises:
            OtherTrainingError: If the file is of another training.
        """
        if self.path is None or not is_there(self.path):
            return None
        stored = read_sealed(self.path)
        if stored is None:
            done = remove_damaged(self.path)
            _log.warning("note: the checkpoint %s is damaged: %s, the training begins again", self.path, done)
            return None
        content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
        identity, title = content.pop("identity", None), content.pop("title", "")
        if set(content) != {attribute.name for attribute in fields(Standing)}:
            return None  # of another version
        if identity != self.identity:
            raise OtherTrainingError(
                f"{self.path} is of another training ({title}), not of this one ({self.title}), or the code or the "
                "data have changed since: name another file for the model, or remove it to begin again"
            )
        return Standing(**content)

    def begin(self, cycle: int, *, offset: int, spent: float) -> None:
        """A cycle begins, or goes on after `offset` steps."""
        self.cycle, self.offset, self.spent = cycle, offset, spent
        self._began = self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Write the file if the last is old enough."""
        now = time.monotonic()
        if self.path is None or now - self._last < self.every_seconds:
            return
        self._last = now
        standing = {
            "identity": self.identity,
            "title": self.title,
            "cycle": self.cycle,
            "step": self.offset + batch_idx + 1,
            "seconds": self.spent + now - self._began,
            "model": pl_module.model.state_dict(),  # type: ignore[union-attr]
            "optimizer": trainer.optimizers[0].state_dict(),
            "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "random": torch.get_rng_state(),
            "beside": {} if pl_module.edges is None else pl_module.edges.state_dict(),  # type: ignore[union-attr]
        }
        stream = io.BytesIO()
        torch.save(standing, stream)
        try:
            replace_sealed(self.path, stream.getvalue())
        except CannotWriteError as error:
            _log.warning("note: the training goes on, but would begin again after a kill: %s", error)

    def clear(self) -> None:
        """The training is over: the file has served."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
