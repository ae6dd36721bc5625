"""The weight matrices of a model: what rounding, pruning and noise are applied to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

FROM_THE_LEFT = ("weight", "in_proj_weight")
"""Parameters of these names hold one row an output (`W @ x`): linear layers, convolutions, attention, embeddings. A
matrix of another name multiplies from the right (`x @ W`), such as CLIP's projections: one column an output."""


@dataclass(frozen=True)
class WeightMatrix:
    """One weight tensor of a model.

    Attributes:
        name: Of the parameter.
        value: The parameter's tensor, of two dimensions or more; changing it changes the model.
        output_axis: The dimension of which each index is one output channel.
    """

    name: str
    value: Tensor
    output_axis: int


def weight_matrices(model: nn.Module) -> Iterator[WeightMatrix]:
    """The weights of both towers: all parameters but vectors and scalars (biases, norms, the temperature)."""
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            last = name.rpartition(".")[2]
            yield WeightMatrix(name, parameter.data, 0 if last in FROM_THE_LEFT else parameter.ndim - 1)
