"""Which device and precision a run uses, and how Lightning and autocast are told."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast

import torch

from datamodules.common.errors import BenchmarkError

Precision = Literal["fp32", "bf16"]
PRECISIONS = ("auto", "fp32", "bf16")

# In the command line's own processes numbers below 1.2e-38 count as zero: gradients of a trained model are full of
# them, and a CPU takes many times as long for each (a step of training `mini`: 0.86 s with them, 0.50 s without). Said
# at import, because torch's threads take it over from the thread that starts them. Programs that import us keep
# what they have.
FLUSH_DENORMAL = os.environ.get("CLIP_UNLEARNING_FLUSH_DENORMAL") == "1"
if FLUSH_DENORMAL:
    torch.set_flush_denormal(True)


def flush_denormal(*, on: bool) -> None:
    """Let tiny numbers count as zero, or not, as in the process that asks; before any thread of torch starts."""
    torch.set_flush_denormal(on)


def resolve_device(device: str) -> torch.device:
    """The device that "auto", "cpu", "cuda" or "cuda:1" stands for.

    Raises:
        BenchmarkError: If this machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise BenchmarkError(f"unknown device {device!r}: use auto, cpu, cuda or cuda:N") from error
    if chosen.type not in ("cpu", "cuda"):
        raise BenchmarkError(f"device {device!r} is not supported: use auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise BenchmarkError(f"device {device!r} was asked for, but torch sees no GPU here: use --device cpu")
    if chosen.type == "cpu" and chosen.index is not None:
        raise BenchmarkError(f"device {device!r} is not supported: there is one cpu, use --device cpu")
    if chosen.type == "cuda" and chosen.index is not None and chosen.index >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise BenchmarkError(f"device {device!r} was asked for, but the last GPU that torch sees here is cuda:{last}")
    return chosen


def device_name(device: torch.device) -> str:
    """What the device is called, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


def resolve_precision(precision: str, device: str = "auto") -> Precision:
    """The precision that "auto" stands for: bf16 where the chip multiplies bf16 matrices in hardware, else fp32.

    Raises:
        BenchmarkError: If the name is unknown.
    """
    if precision not in PRECISIONS:
        raise BenchmarkError(f"unknown precision {precision!r}: use one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return cast(Precision, precision)
    if resolve_device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if _cpu_has_fast_bf16() else "fp32"


def _cpu_has_fast_bf16() -> bool:
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return bool(amx())


def trainer_precision(precision: Precision) -> Literal["32-true", "bf16-mixed"]:
    """Lightning's name of a precision."""
    return "bf16-mixed" if precision == "bf16" else "32-true"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The autocast context of a precision."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
