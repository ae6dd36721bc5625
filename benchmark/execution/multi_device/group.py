"""The process group of the ranks, and how Lightning is told of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from benchmark.execution.process.child import Rank

TIMEOUT = timedelta(minutes=5)
"""How long a rank waits for the others, our choice: they do the same, step by step; one that dies ends all at once."""


@contextmanager
def joined(rank: Rank, device: torch.device) -> Iterator[None]:
    """The process group of all ranks: gloo on CPUs, NCCL on GPUs. They meet in a file, so no port is taken."""
    os.environ.pop("PL_GLOBAL_SEED", None)  # Lightning would seed again from it
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _silent():
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=(rank.folder / "group").as_uri(),
            rank=rank.index,
            world_size=rank.count,
            timeout=TIMEOUT,
            device_id=device if device.type == "cuda" else None,
        )
    yield
    dist.barrier()
    dist.destroy_process_group()


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing on standard output and error: gloo tells there that it is connected."""
    streams = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, number)
            os.close(stream)
        os.close(nowhere)


class _Environment(LightningEnvironment):
    """Says which rank this is, whatever a job scheduler has put into the environment."""

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self._rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        """The processes are here."""
        return True

    def local_rank(self) -> int:
        """The rank, on one machine."""
        return self._rank.index

    def node_rank(self) -> int:
        """There is one machine."""
        return 0


class WholeGradients(DDPStrategy):
    """Lightning's DDP strategy without torch's wrapper around the module.

    The wrapper averages gradients over ranks in `backward`. Here they are whole on every rank already, also those that
    a method takes with `torch.autograd.grad`, which the wrapper never sees; and the wrapper would refuse methods with
    nothing to learn, and hold every gradient twice.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


def strategy_of(rank: Rank) -> WholeGradients:
    """The strategy of a Trainer in a rank."""
    return WholeGradients(cluster_environment=_Environment(rank), timeout=TIMEOUT)
