"""Losses that are read sixteen steps at a time, as from an accelerator: the same curve, and the same step is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from tiny import APPLE, TinyDataset, tiny_clip
from torch import Tensor

from benchmark.unlearning import unlearn as unlearning
from benchmark.unlearning.unlearn import READ_TOGETHER, DivergedError, unlearn
from benchmark.utils.stopping import handlers_kept
from methods.graddiff import GradDiff, Hyperparameters

STEPS = READ_TOGETHER + 5


class Logged(DummyLogger):
    def __init__(self) -> None:
        super().__init__()
        self.losses: list[tuple[int | None, float]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if "loss" in metrics:
            self.losses.append((step, metrics["loss"]))


class Breaking(GradDiff):
    """Its loss is infinite at one step, and it fails some steps later."""

    breaks_at, fails_at = 3, STEPS

    def training_step(self, batch: Any, index: int) -> Tensor:
        if index == self.fails_at:
            raise ValueError("a matrix of such values has no inverse")
        loss = super().training_step(batch, index)
        return loss * torch.inf if index == self.breaks_at else loss


def run(method: type[GradDiff], folder: Path) -> list[tuple[int | None, float]]:
    logger = Logged()
    h = Hyperparameters(max_steps=STEPS, batch_size=2, learning_rate=1e-3)
    data = TinyDataset(cache_dir=folder)
    with handlers_kept():  # Lightning's stays where a callback raises in its turn; a method's process ends with it
        unlearn(method, h, tiny_clip("vit"), data, APPLE, seed=0, cache_dir=folder, logger=logger)
    return logger.losses


@pytest.fixture(params=[True, False], ids=["one by one", "together"])
def at_hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlearning, "_is_at_hand", lambda loss: request.param)


def test_every_loss_is_logged_at_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlearning, "_is_at_hand", lambda loss: True)
    one_by_one = run(GradDiff, tmp_path)
    monkeypatch.setattr(unlearning, "_is_at_hand", lambda loss: False)
    assert run(GradDiff, tmp_path) == one_by_one
    assert [step for step, _ in one_by_one] == list(range(STEPS))


@pytest.mark.usefixtures("at_hand")
def test_a_loss_that_is_not_finite_is_named_with_its_step(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"the loss of step 4 is (inf|-inf|nan)"):
        run(Breaking, tmp_path)


def test_it_is_the_reason_of_what_fails_after_it(
    tmp_path: Path, at_hand: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Breaking, "fails_at", 6)
    with pytest.raises(DivergedError, match="the loss of step 4"):
        run(Breaking, tmp_path)
    monkeypatch.setattr(Breaking, "breaks_at", 7)
    with pytest.raises(ValueError, match="has no inverse"):
        run(Breaking, tmp_path)
