"""The unlearning of one cell over several devices: what each rank does, and how the parent puts it together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor

from benchmark.cell_unlearning import unlearn_cell
from benchmark.cells import Cell
from benchmark.cost import Cost
from benchmark.distributed.devices import Devices
from benchmark.distributed.group import RankLogger, joined, strategy_of
from benchmark.distributed.launch import on_ranks
from benchmark.distributed.rank import Rank
from benchmark.distributed.sharded_clip import ShardedClip
from benchmark.hardware import resolve_device
from benchmark.isolation import isolated
from benchmark.planning import Where
from benchmark.shelf import Shelf
from benchmark.unlearn import StepReport, Unlearned, log_look
from benchmark.watching import Watch
from datamodules.unlearning import Retrained
from methods.clip import Clip, state_hash
from methods.registry import Registry


class RanksDifferError(Exception):
    """The devices do not hold the same weights after the unlearning."""


@dataclass(frozen=True)
class Job:
    """What a rank must know to unlearn.

    Attributes:
        cell: What to run.
        where: Folders, absolute, and the kind of device.
        plugins: Files of further methods, absolute.
        threads: Of torch on the CPU, in each rank.
        retrained: The model trained without the forget data, for methods that take it.
    """

    cell: Cell
    where: Where
    plugins: tuple[Path, ...]
    threads: int
    retrained: Retrained | None = None


@dataclass(frozen=True)
class Answer:
    """What a rank gives back; the edited tensors come from rank 0 alone, on the CPU.

    Attributes:
        weights: sha256 of all weights that the rank holds.
        seconds: As in `Cost`, likewise the next two.
        peak_memory_bytes: Of this rank.
        flops: Of this rank.
        result: The rest of the result, with neither a CLIP nor a cost; None from the other ranks.
        tensors: The edited tensors by name.
        refused: As in `Clip`.
    """

    weights: str
    seconds: float
    peak_memory_bytes: int | None
    flops: int
    result: dict[str, Any] | None
    tensors: dict[str, Tensor]
    refused: tuple[str, ...]

    @classmethod
    def of(cls, rank: Rank, done: Unlearned) -> Answer:
        """The answer of a rank, from its result."""
        first, state = rank.index == 0, done.clip.model.state_dict()
        names = ("edited_bytes", "edited", "items_read", "items_distinct", "report")
        return cls(
            weights=state_hash(done.clip.model, lambda _: True),
            seconds=done.cost.seconds,
            peak_memory_bytes=done.cost.peak_memory_bytes,
            flops=done.cost.flops,
            result={name: getattr(done, name) for name in names} if first else None,
            tensors={name: state[name].detach().cpu() for name in done.edited} if first else {},
            refused=done.clip.refused,
        )


def unlearn_in_rank(rank: Rank, job: Job) -> Answer:
    """The unlearning of a cell in one rank, as `CellRunner` does it in one process."""
    torch.set_num_threads(job.threads)
    cell, device = job.cell, job.where.device if job.where.device == "cpu" else f"cuda:{rank.index}"
    registry, shelf = Registry(job.plugins), Shelf(replace(job.where, device=device))
    pristine, _ = shelf.pristine(cell.model)
    clip = ShardedClip.of(pristine, rank=rank.index, ranks=rank.count)
    with joined(rank, resolve_device(device)), isolated(cell.random_seed()):
        done = unlearn_cell(
            cell,
            clip,
            registry,
            shelf,
            logger=RankLogger(rank),
            on_step=lambda step, steps: rank.tell("step", step, steps),
            retrained=job.retrained,
            strategy=strategy_of(rank),
        )
    return Answer.of(rank, done)


def unlearn_on_devices(
    cell: Cell,
    clip: Clip,
    devices: Devices,
    *,
    where: Where,
    plugins: Sequence[Path] = (),
    retrained: Retrained | None = None,
    logger: Logger | None = None,
    on_step: StepReport | None = None,
    watch: Watch | None = None,
) -> Unlearned:
    """Let a cell's method unlearn in one new process a device; the result is that of one device but for rounding.

    Args:
        cell: What to run.
        clip: The CLIP as it came; edited in place.
        devices: How many.
        where: Folders and device.
        plugins: Files of further methods.
        retrained: As for one device.
        logger: Where the loss of each step goes.
        on_step: Called after each step with the steps done and their number.
        watch: Looks at the accuracy before and after; in between the weights are elsewhere.

    Raises:
        Exception: What the method raised in a rank.
        RanksDifferError: If the ranks end with different weights.
    """
    kind = clip.device.type
    data_dir = None if where.data_dir is None else where.data_dir.absolute()
    there = replace(where, device=kind, cache_dir=where.cache_dir.absolute(), data_dir=data_dir)
    threads = max(1, torch.get_num_threads() // devices.count) if kind == "cpu" else torch.get_num_threads()
    given = tuple(file.absolute() for file in plugins)
    job = Job(cell, there, given, threads, retrained)

    stopped = 0

    def listen(what: str, *message: Any) -> None:
        nonlocal stopped
        if what == "step":
            stopped = message[0]
            if on_step is not None:
                on_step(*message)
        elif what == "metrics" and logger is not None:
            logger.log_metrics(*message)

    if watch is not None:
        log_look(logger, watch.first(), 0)
    answers: list[Answer] = on_ranks(unlearn_in_rank, job, count=devices.count, listener=listen)
    done = put_together(clip, answers)
    if watch is not None:
        log_look(logger, watch.look(clip), stopped)
    if logger is not None:
        logger.finalize("success")
    return done


def put_together(clip: Clip, answers: Sequence[Answer]) -> Unlearned:
    """The result of all ranks.

    Time is that of the slowest rank, from its first step to its last (starting the processes does not count); memory
    that of the device that took most; operations are the sum over ranks; images read are those of the run, which every
    rank reads alike.

    Args:
        clip: The CLIP as it came; gets the edited tensors.
        answers: One a rank, in order.

    Raises:
        RanksDifferError: If their weights differ.
    """
    if len({answer.weights for answer in answers}) > 1:
        raise RanksDifferError(
            f"the {len(answers)} devices hold different weights after the unlearning: the method draws or decides "
            "something that is not the same in every process (an unseeded generator, the clock); use --devices 1"
        )
    first = answers[0]
    rest = first.result or {}
    peaks = [answer.peak_memory_bytes for answer in answers if answer.peak_memory_bytes is not None]
    cost = Cost(
        seconds=max(answer.seconds for answer in answers),
        peak_memory_bytes=max(peaks, default=None),
        flops=sum(answer.flops for answer in answers),
    )
    with torch.no_grad():
        state = clip.model.state_dict()
        for name, value in first.tensors.items():
            state[name].copy_(value)
    clip.refused = first.refused
    clip.model.eval()
    clip.model.requires_grad_(False)
    return Unlearned(clip=clip, cost=cost, **rest)
