"""Random noise: Gaussian noise on every weight tensor, in proportion to its size.

    theta <- theta + s * rms(theta) * N(0, I)

What forgetting costs when it is not aimed: a method must do better than this at equal forget accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard, hyper

CARD = MethodCard(
    name="random_noise",
    title="Gaussian noise on all weights",
    paper="reference row",
    regime="none",
    edits=("visual", "text"),
    deviations=("The noise has one scale, so its forget accuracy is not that of the method it is compared with.",),
)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the noise."""

    scale: float = hyper(
        0.2, low=0.0, source="our choice, because accuracy on classes that are never reported falls to about a half"
    )


class RandomNoise(ClosedFormMethod[Hyperparameters]):
    """Adds noise to each tensor of both encoders, scaled by the tensor's root mean square."""

    card = CARD

    def edit(self) -> None:
        """Add the noise, drawn on the CPU so that every device gets the same."""
        for parameter in self.editable_parameters():
            size = parameter.float().square().mean().sqrt()
            noise = torch.randn(parameter.shape).to(parameter)
            parameter.add_(self.h.scale * size * noise)
