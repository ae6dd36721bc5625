"""Methods with chance and without: a method that takes gradient steps is one with chance, whatever its card says.

Its result depends on the seed of its batches, or at least on how sums are rounded: many steps amplify the last digit
to another model on another processor (differences up to 0.22 were seen). Only several seeds tell how far such results
are apart, and a card with `stochastic=False` would make the method run at seed 0 alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook

from methods.common.card import ContractError, MethodCard

FEW_STEPS = 1
"""Optimizer steps that a method without chance may take: one step does not amplify anything."""


@dataclass
class StepCount:
    """Optimizer steps that were taken, of whatever optimizer and whoever called it."""

    steps: int = 0


@contextmanager
def optimizer_steps() -> Iterator[StepCount]:
    """Count the steps of all of torch's optimizers within the block, those within a closed form included."""
    count = StepCount()

    def counted(*_: Any) -> None:
        count.steps += 1

    handle = register_optimizer_step_post_hook(counted)
    try:
        yield count
    finally:
        handle.remove()


def check_chance(card: MethodCard, steps: int) -> None:
    """Refuse a card that denies chance where optimizer steps were taken.

    Args:
        card: The method's.
        steps: Optimizer steps that were taken.

    Raises:
        ContractError: If it does.
    """
    if not card.stochastic and steps > FEW_STEPS:
        raise ContractError(
            f"method {card.name!r} says stochastic=False, but took {steps} gradient steps: their result depends on "
            "seeds or on rounding, so its card must say stochastic=True (leave the entry out)"
        )
