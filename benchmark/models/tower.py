"""One tower of a model as a module's forward, so that tensors of it can be exchanged for a call."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn


class TowerCall(nn.Module):
    """`encode_image` or `encode_text` of a model, for `torch.func.functional_call`.

    Args:
        model: Its tensors stand under the prefix "model.".
        tower: The name of the method.
    """

    def __init__(self, model: nn.Module, tower: str) -> None:
        super().__init__()
        self.model, self.tower = model, tower

    def forward(self, inputs: Tensor) -> Tensor:
        """What the method gives."""
        return cast(Tensor, getattr(cast(Any, self.model), self.tower)(inputs))
