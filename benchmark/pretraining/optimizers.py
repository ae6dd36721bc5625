"""The optimizers of pretraining: AdamW alone, or Muon for some matrices or filters and AdamW beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from benchmark.pretraining.muon import FilterMuon
from benchmark.pretraining.recipe import Decay, Recipe
from benchmark.pretraining.stem import sees_pixels
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


def filters(model: nn.Module) -> list[nn.Parameter]:
    """The weights of all convolutions but the one that sees the pixels."""
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d) and not sees_pixels(module))
    return [cast(nn.Parameter, module.weight) for module in convolutions]


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """AdamW with decay on matrices only; with `recipe.muon`, Muon (Jordan et al. 2024) where it is made for.

    Args:
        model: All of whose parameters are trained.
        recipe: Says the rates and the weight decay.

    Raises:
        BenchmarkError: If the recipe wants Muon for matrices and torch has none.
    """
    muon = _make_muon(model, recipe)
    taken = {id(p) for group in muon.param_groups for p in group["params"]} if muon is not None else set()
    rest = [p for p in model.parameters() if id(p) not in taken]
    matrices = [p for p in rest if p.ndim > 1]
    vectors = [p for p in rest if p.ndim <= 1]
    rate = recipe.learning_rate if recipe.vector_learning_rate is None else recipe.vector_learning_rate
    adamw = AdamW(
        [
            {"params": matrices, "weight_decay": recipe.weight_decay},
            {"params": vectors, "weight_decay": 0.0, "lr": rate},
        ],
        lr=recipe.learning_rate,
        betas=BETAS,
    )
    return adamw if muon is None else Together([muon, adamw])


def _make_muon(model: nn.Module, recipe: Recipe) -> Optimizer | None:
    chosen = recipe.muon
    if chosen is None:
        return None
    about: dict[str, Any] = {
        "lr": chosen.learning_rate,
        "momentum": chosen.momentum,
        "weight_decay": chosen.weight_decay,
    }
    if chosen.parameters == "convolutions":
        return FilterMuon(filters(model), iterations=chosen.iterations, **about)
    if not hasattr(torch.optim, "Muon"):
        raise BenchmarkError(f"recipe {recipe.name!r} needs torch 2.9 or newer: pip install -U torch torchvision")
    blocks = [p for name, p in model.named_parameters() if is_block_matrix(name, p)]
    return torch.optim.Muon(blocks, ns_steps=chosen.iterations, **about)


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    """Up during the warm-up and down to nothing, over all steps.

    AdamW alone follows torch's one-cycle schedule, which moves its momentum too; both together follow a linear rise
    and a fall, because Muon has no such momentum to move.
    """
    if isinstance(optimizer, Together):
        return LambdaLR(optimizer, partial(rise_and_fall, steps=steps, warmup=recipe.warmup, decay=recipe.decay))
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=steps + 1,
        pct_start=recipe.warmup,
        anneal_strategy="cos" if recipe.decay == "cosine" else "linear",
    )


def rise_and_fall(step: int, *, steps: int, warmup: float, decay: Decay = "cosine") -> float:
    """The factor of the rate at a step: linear to 1 over the share `warmup`, then half a cosine or a line to 0."""
    rise = max(warmup * steps, 1.0)
    if step < rise:
        return (step + 1) / (rise + 1)
    done = min((step - rise) / max(steps - rise, 1.0), 1.0)
    return 1 - done if decay == "linear" else (1 + math.cos(math.pi * done)) / 2
