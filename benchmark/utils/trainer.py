"""The Lightning Trainer as this project uses it: it prints and keeps nothing of its own."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from benchmark.utils.hardware import Precision, trainer_precision
from benchmark.utils.stopping import Stopped

_JOB_PREFIXES = ("SLURM_", "OMPI_", "PMI_", "PMIX_", "MPI_", "TORCHELASTIC_", "JSM_", "LSB_", "KUBERNETES_")
_JOB_NAMES = frozenset(
    {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "ROLE_RANK"}
    | {"MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"}
)


class Alone(LightningEnvironment):
    """The environment of a Trainer that is alone in its process, whatever job scheduler started that."""

    @property
    def creates_processes_externally(self) -> bool:
        """There are none to create."""
        return True

    def local_rank(self) -> int:
        """The only one."""
        return 0

    def node_rank(self) -> int:
        """The only one."""
        return 0


def leave_surrounding_job() -> None:
    """Take nothing from a SLURM, torchrun or MPI job around this process: it is for one unlearning alone."""
    for name in list(os.environ):
        if name.startswith(_JOB_PREFIXES) or name in _JOB_NAMES:
            del os.environ[name]


def make_trainer(
    device: torch.device,
    precision: Precision,
    *,
    logger: Logger | None = None,
    callbacks: Sequence[Callback] = (),
    gradient_clip: float | None = None,
    strategy: ParallelStrategy | None = None,
) -> L.Trainer:
    """A Trainer for one pass over a loader that prints and keeps nothing of its own."""
    quiet_lightning()
    if strategy is None:
        rank_zero_only.rank = 0  # type: ignore[attr-defined]  # a surrounding job may have said otherwise when Lightning was imported
    one_device: list[int] | int = [device.index or 0] if device.type == "cuda" else 1
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=one_device if strategy is None else dist.get_world_size(),
        strategy="auto" if strategy is None else strategy,
        plugins=[Alone()] if strategy is None else None,
        use_distributed_sampler=False,  # every rank reads the whole batch
        precision=trainer_precision(precision),
        max_epochs=1,
        logger=logger if logger is not None else False,
        callbacks=[*callbacks],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=gradient_clip,
    )


def fit(trainer: L.Trainer, module: L.LightningModule, **data: Any) -> None:
    """Fit; an end that the user asks for stays a KeyboardInterrupt, which Lightning would turn into exit status 1.

    Args:
        trainer: Of `make_trainer`.
        module: What to fit.
        data: As for `Trainer.fit`: `datamodule` or `train_dataloaders`.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, **data)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        if isinstance(error, SIGTERMException):  # where a library's handler stands in the place of ours
            raise Stopped(signal.SIGTERM) from None
        raise
    finally:
        if main_thread:
            signal.signal(signal.SIGINT, handler)


def quiet_lightning() -> None:
    """Silence Lightning's notes on devices, workers and missing optimizers: the benchmark says what matters."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for pattern in (
        ".*does not have many workers.*",
        ".*configure_optimizers` returned `None`.*",
        ".*is smaller than the logging interval.*",
        ".*in eval mode at the start of training.*",
        ".*LeafSpec.*",
        ".*IterableDataset` has `__len__` defined.*",
        ".*across ranks is zero.*",
    ):
        warnings.filterwarnings("ignore", pattern)
