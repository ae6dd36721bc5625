"""The optimizers of pretraining: AdamW alone, or Muon for the matrices of transformer blocks and AdamW beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from benchmark.pretraining.recipe import Recipe
from datamodules.common.errors import BenchmarkError

BETAS = (0.9, 0.98)  # CLIP (Radford et al. 2021, table 18)


class Together(Optimizer):
    """Several optimizers that step as one.

    Args:
        parts: Optimizers over different parameters. Their groups are shared, so a schedule over this one moves them.
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = tuple(parts)
        super().__init__([{"params": group["params"]} for part in parts for group in part.param_groups], {})
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each part; the closure, which computes the gradients, is called once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of the parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the states of the parts; the groups stay those of this optimizer."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def is_block_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a matrix of a transformer block: attention or MLP."""
    return parameter.ndim == 2 and re.search(r"(^|\.)resblocks\.", name) is not None


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """AdamW with decay on matrices only; with a `muon_learning_rate`, Muon (Jordan et al. 2024) where it is made for.

    Args:
        model: All of whose parameters are trained.
        recipe: Says the rates and the weight decay.

    Raises:
        BenchmarkError: If the recipe wants Muon and torch has none.
    """
    named = list(model.named_parameters())
    rest = named
    parts: list[Optimizer] = []
    if recipe.muon_learning_rate:
        if not hasattr(torch.optim, "Muon"):
            raise BenchmarkError(f"recipe {recipe.name!r} needs torch 2.9 or newer: pip install -U torch torchvision")
        blocks = [p for name, p in named if is_block_matrix(name, p)]
        rest = [(name, p) for name, p in named if not is_block_matrix(name, p)]
        parts.append(torch.optim.Muon(blocks, lr=recipe.muon_learning_rate, weight_decay=recipe.weight_decay))
    matrices = [p for _, p in rest if p.ndim > 1]
    vectors = [p for _, p in rest if p.ndim <= 1]
    adamw = AdamW(
        [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=BETAS,
    )
    return Together([*parts, adamw]) if parts else adamw


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    """Up during the warm-up and down to nothing, over all steps.

    AdamW alone follows torch's one-cycle schedule, which moves its momentum too; both together follow a linear rise
    and a half cosine, because Muon has no such momentum to move.
    """
    if isinstance(optimizer, Together):
        return LambdaLR(optimizer, partial(rise_and_fall, steps=steps, warmup=recipe.warmup))
    return OneCycleLR(optimizer, max_lr=recipe.learning_rate, total_steps=steps + 1, pct_start=recipe.warmup)


def rise_and_fall(step: int, *, steps: int, warmup: float) -> float:
    """The factor of the rate at a step: linear to 1 over the share `warmup`, then half a cosine to 0."""
    rise = max(warmup * steps, 1.0)
    if step < rise:
        return (step + 1) / (rise + 1)
    return (1 + math.cos(math.pi * min((step - rise) / max(steps - rise, 1.0), 1.0))) / 2
