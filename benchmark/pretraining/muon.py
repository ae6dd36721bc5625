"""Muon for convolutions: filters of unit length that move by orthogonal steps.

    m <- mu m + g,   u = NewtonSchulz(g + mu m),   W <- W sqrt(out) / |W| - rate u

g, m and W are seen as matrices, one row a filter (Jordan et al. 2024, kellerjordan.github.io/posts/muon; with the
scaling of W as in the official code of "94% on CIFAR-10", arXiv 2404.00498). A batch norm follows each such
convolution, so the length of W changes nothing but how fast it turns. In fp32: torch's own Muon takes matrices alone,
and iterates in bf16, which is slow where a processor has no unit for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024
_TINY = 1e-7


def orthogonal(matrix: Tensor, iterations: int) -> Tensor:
    """About the nearest matrix of singular values 1, by Newton-Schulz iterations: they end between 0.7 and 1.2.

    Args:
        matrix: Shape (M, N).
        iterations: How many; small singular values need more.
    """
    a, b, c = COEFFICIENTS
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x: Tensor = wide / (wide.norm() + _TINY)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class FilterMuon(Optimizer):
    """Muon over the filters of convolutions.

    Args:
        params: Weights of convolutions, shape (out, in, height, width).
        lr: Rate: the length of a step relative to that of the filters.
        momentum: Nesterov's mu.
        iterations: Of Newton-Schulz.
        weight_decay: Shrinks filters before a step; with filters of unit length it changes the rate alone.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, momentum: float, iterations: int, weight_decay: float
    ) -> None:
        about = {"lr": lr, "momentum": momentum, "iterations": iterations, "weight_decay": weight_decay}
        super().__init__(params, about)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the closure computes the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        if gradient is None:
            return
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(momentum, alpha=group["momentum"])
        update = orthogonal(ahead.flatten(1), group["iterations"]).reshape(parameter.shape)
        parameter.mul_(len(parameter) ** 0.5 / (parameter.norm() + _TINY) * (1 - group["lr"] * group["weight_decay"]))
        parameter.add_(update, alpha=-group["lr"])
