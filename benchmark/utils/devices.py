"""How many devices one cell's unlearning takes, and what is refused before any work."""

from __future__ import annotations

from dataclasses import dataclass

from datamodules.common.errors import BenchmarkError

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
