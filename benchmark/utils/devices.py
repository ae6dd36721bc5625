"""How many devices one cell's unlearning takes, and what is refused before any work."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.utils.hardware import Precision

_NAMED: dict[str, Precision] = {"fp32": "fp32", "bf16": "bf16"}
DDP = "ddp"
STRATEGIES = (DDP,)


@dataclass(frozen=True)
class Devices:
    """The devices of one cell's unlearning.

    Attributes:
        count: One process each; 1 is the process that runs the cell, and nothing else starts.
        strategy: Lightning's name of how they work together.
    """

    count: int = 1
    strategy: str = DDP

    def to_provenance(self) -> dict[str, int | str]:
        """What the record says of them: nothing where there is one, as in every record before there could be more."""
        return {} if self.count == 1 else {"devices": self.count, "strategy": self.strategy}


_OF_GPUS = ("nvidia*", "nvhost*", "nvmap", "dxg", "kfd")
"""Files of `/dev` without one of which a program on Linux reaches no GPU: NVIDIA's drivers, WSL's and AMD's."""


def device_kind(device: str) -> str:
    """The kind of device, "cpu" or "cuda", as `resolve_device` answers, without PyTorch where there can be no GPU.

    Raises:
        BenchmarkError: As `resolve_device`.
    """
    if device == "cpu" or (device == "auto" and _no_gpu()):
        return "cpu"
    from benchmark.utils.hardware import resolve_device

    return resolve_device(device).type


def precision_kind(precision: str, device: str) -> Precision:
    """The precision, "fp32" or "bf16", as `resolve_precision` answers, without PyTorch where one of them is named.

    Raises:
        BenchmarkError: As `resolve_precision`.
    """
    if precision in _NAMED:
        return _NAMED[precision]
    from benchmark.utils.hardware import resolve_precision

    return resolve_precision(precision, device)


def _no_gpu() -> bool:
    """Whether it is certain that PyTorch would find no CUDA device."""
    if sys.platform == "darwin":
        return True
    return sys.platform == "linux" and not any(file for name in _OF_GPUS for file in Path("/dev").glob(name))


def check_devices(count: int, strategy: str | None, *, device: str, executor: str) -> Devices:
    """The devices that a command line asks for.

    Args:
        count: `--devices`.
        strategy: `--strategy`; None where it was not given.
        device: `--device`.
        executor: `--executor`.

    Raises:
        BenchmarkError: If they are not here, or do not fit the rest of the command.
    """
    if count < 1:
        raise BenchmarkError(f"--devices takes a whole number of at least 1, not {count}")
    if strategy is not None and strategy not in STRATEGIES:
        raise BenchmarkError(
            f"--strategy {strategy} is not supported: use ddp; methods edit whole tensors, so each device must hold "
            "the whole model, which strategies that split it (fsdp, deepspeed) do not do"
        )
    if count == 1:
        if strategy is not None:
            raise BenchmarkError(f"--strategy {strategy} needs several devices: add --devices N, or leave it out")
        return Devices()
    if executor != "local":
        raise BenchmarkError(
            "--devices gives one cell several devices of this machine, --executor ray spreads cells: leave out one"
        )
    _check_there(count, device)
    return Devices(count, strategy or DDP)


def _check_there(count: int, device: str) -> None:
    from benchmark.utils.hardware import resolve_device

    chosen = resolve_device(device)
    if chosen.type != "cuda":
        return  # a process each on the same CPUs
    if chosen.index is not None:
        raise BenchmarkError(
            f"--devices {count} takes the first {count} GPUs: use --device cuda, not {device} "
            "(CUDA_VISIBLE_DEVICES chooses among them)"
        )
    import torch

    gpus = torch.cuda.device_count()
    if count > gpus:
        raise BenchmarkError(
            f"--devices {count}, but torch sees {gpus} GPU{'s' * (gpus > 1)} here: use --devices {gpus}"
        )
