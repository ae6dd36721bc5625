"""Let PyTorch round as some other processor might: the last bit of what a layer gives is another.

Each float32 value that a linear layer, a convolution, an attention or a matrix product gives is moved by one part in
2^23 or not at all, up or down, by a hash of its own bits: so a computation that is done twice gives the same twice, as
on any one machine, but no number is that of this one. `TESTS_ROUNDING=N pytest` sets it for a run (tests/conftest.py)
in this process; N makes another hash. See `.ci/machines`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ULP = 2.0**-23
PLACES: tuple[tuple[Any, str], ...] = (
    (F, "linear"),
    (F, "conv2d"),
    (F, "scaled_dot_product_attention"),
    (F, "multi_head_attention_forward"),
    (F, "layer_norm"),
    (torch, "matmul"),
    (torch, "bmm"),
    (torch.Tensor, "__matmul__"),
    (torch.Tensor, "matmul"),
)


def round_otherwise(number: int) -> None:
    """Patch PyTorch in this process."""
    for owner, name in PLACES:
        setattr(owner, name, _moved(getattr(owner, name), number))
    convolve = torch.nn.Conv2d._conv_forward
    torch.nn.Conv2d._conv_forward = _moved(convolve, number)  # type: ignore[method-assign]


def _moved(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    @functools.wraps(function)
    def other(*arguments: Any, **named: Any) -> Any:
        found = function(*arguments, **named)
        if isinstance(found, tuple):
            return (_other(found[0], number), *found[1:])
        return _other(found, number)

    return other


def _other(x: Any, number: int) -> Any:
    if not isinstance(x, Tensor) or x.dtype != torch.float32 or not x.numel():
        return x
    with torch.no_grad():
        hashed = (x.detach().contiguous().view(torch.int32).long() * 2654435761 + number * 40503) >> 9
        step = x.detach() * ((hashed % 3).to(x.dtype) - 1).view(x.shape) * ULP
    return x + step
