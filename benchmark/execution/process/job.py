"""What a process that unlearns is told, and what it gives back: files without code, checked when they are read.

`job.json` is all that it is told, beside the files that it is handed. A rank answers with `N.answer.json`, rank 0 also
with `tensors.safetensors`. The parent puts the tensors into a CLIP that it built itself; nothing else of the process
reaches the model that is measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark.execution.process.child import Rank
from benchmark.execution.process.processes import register_error
from benchmark.unlearning.cost import Cost
from benchmark.unlearning.unlearn import DivergedError, StoppedEarlyError, Unlearned
from methods.common.added import AddedModuleError, host_of, never_called, put_tensors
from methods.common.base import declared
from methods.common.card import ContractError, MethodCard
from methods.common.clip import Clip, state_hash


@dataclass(frozen=True)
class Job:
    """What a process must know to unlearn; paths are absolute.

    Attributes:
        method: The method's file.
        name: Its registry name.
        hparams: Its hyperparameters, all of them.
        regime: Its data regime, as the registry's card declares it.
        model: The file of the CLIP as it came.
        encoder: Identifies its image encoder; see `methods.common.synthetic_images.encoder_key`.
        names: The file of the data set's names.
        parts: The folder of each part of the train split that the regime gives.
        others: The files of the names of other data sets.
        request: What to forget.
        seed: Of everything random.
        precision: "fp32" or "bf16".
        device: Such as "cpu" or "cuda:0"; with several devices their kind.
        threads: Of torch on the CPU.
        flush_denormal: Whether tiny numbers count as zero.
        flops_each: Operations of the image and of the text encoder for one item.
        retrained: The file of the retrained model's weights; empty where the regime gives none.
        retrained_seconds: What its training took.
        look_seconds: What one look at the accuracy takes, as far as is known; negative for no looks.
        look_share: Largest share of the unlearning's time that looks may take.
        closed: Folders of which the method may open nothing.
    """

    method: str
    name: str
    hparams: Mapping[str, Any]
    regime: str
    model: str
    encoder: str
    names: str
    parts: Mapping[str, str]
    others: tuple[str, ...]
    request: Mapping[str, Any]
    seed: int
    precision: str
    device: str
    threads: int
    flush_denormal: bool
    flops_each: tuple[int, int]
    retrained: str = ""
    retrained_seconds: float = 0.0
    look_seconds: float = -1.0
    look_share: float = 0.0
    closed: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Leave the job in its folder."""
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Job:
        """The job of a folder."""
        content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(**{**content, **{name: tuple(content[name]) for name in ("others", "closed", "flops_each")}})


FILE = "job.json"
LARGEST_REPORT = 64 * 2**20
"""Bytes of a report; the largest of ours have some kilobytes."""
register_error(DivergedError)
register_error(StoppedEarlyError)


@register_error
class RanksDifferError(Exception):
    """The devices do not hold the same weights after the unlearning."""


@dataclass(frozen=True)
class Answer:
    """What a rank gives back; the edited tensors come from rank 0 alone, on the CPU.

    Attributes:
        weights: sha256 of all weights that the rank holds.
        seconds: As in `Cost`, likewise the next.
        cpu_seconds: Of this rank.
        peak_memory_bytes: Of this rank.
        flops: Of this rank.
        items_read: Images read, repeats counted.
        items_distinct: Different images read.
        report: What the method tells of its run.
        refused: Names that the model refuses from now on.
        tensors: The edited tensors by name; none from the other ranks.
    """

    weights: str
    seconds: float
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    flops: int
    items_read: int
    items_distinct: int
    report: dict[str, Any]
    refused: tuple[str, ...]
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, rank: Rank, done: Unlearned) -> Answer:
        """The answer of a rank, from its result."""
        state = done.clip.model.state_dict()
        return cls(
            weights=state_hash(done.clip.model, lambda _: True) if rank.count > 1 else "",
            seconds=done.cost.seconds,
            cpu_seconds=done.cost.cpu_seconds,
            peak_memory_bytes=done.cost.peak_memory_bytes,
            flops=done.cost.flops,
            items_read=done.items_read,
            items_distinct=done.items_distinct,
            report=done.report,
            refused=done.clip.refused,
            tensors={name: state[name].detach().cpu() for name in done.edited} if rank.index == 0 else {},
        )

    def write(self, rank: Rank) -> None:
        """Leave the answer in the rank's folder.

        Raises:
            ContractError: If the method's report is not JSON.
        """
        about = {name: value for name, value in vars(self).items() if name != "tensors"}
        try:
            text = json.dumps(about, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ContractError(f"the report of the method cannot be written as JSON: {error}") from error
        if rank.index == 0:  # cloned: views of one tensor would be refused
            tensors = {name: value.clone().contiguous() for name, value in self.tensors.items()}
            save_file(tensors, rank.folder / "tensors.safetensors")
        (rank.folder / f"{rank.index}.answer.json").write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, index: int) -> Answer:
        """The answer that a rank left.

        Raises:
            ContractError: If it is none: numbers that no run can have, or a report beyond all measure.
        """
        file = folder / f"{index}.answer.json"
        try:
            if file.stat().st_size > LARGEST_REPORT:
                raise ValueError(f"a report of {file.stat().st_size} bytes")
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_constant)
            tensors = load_file(folder / "tensors.safetensors") if index == 0 else {}
            answer = cls(tensors=tensors, **{**content, "refused": tuple(content["refused"])})
            answer.check()
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            raise ContractError(f"the process of the method left no result that can be read: {error}") from error
        return answer

    def check(self) -> None:
        """Check that every number is one that a run can have.

        Raises:
            ValueError: If one is not.
        """
        counts = {"flops": self.flops, "items_read": self.items_read, "items_distinct": self.items_distinct}
        if self.peak_memory_bytes is not None:
            counts["peak_memory_bytes"] = self.peak_memory_bytes
        for name, value in counts.items():
            if type(value) is not int or value < 0:
                raise ValueError(f"{name} is {value!r}")
        for name, seconds in {"seconds": self.seconds, "CPU seconds": self.cpu_seconds or 0.0}.items():
            if not isinstance(seconds, float) or not math.isfinite(seconds) or seconds < 0:
                raise ValueError(f"{name} are {seconds!r}")
        if not isinstance(self.report, dict) or not all(isinstance(name, str) for name in self.refused):
            raise ValueError("the report is no mapping, or a refused name no text")


def put_together(card: MethodCard, clip: Clip, answers: Sequence[Answer]) -> Unlearned:
    """The result of all ranks, in a CLIP of the parent's.

    Time is that of the slowest rank; memory that of the device that took most; operations and CPU seconds are the sum
    over ranks; images read are those of the run, which every rank reads alike.

    Args:
        card: What the registry knows of the method: the contract, whatever the method's instance said.
        clip: The CLIP as it came; gets the edited tensors.
        answers: One a rank, in order.

    Raises:
        ContractError: If a tensor was edited that the card does not declare, or is another one than the model has.
        DivergedError: If a tensor holds values that are not finite.
        RanksDifferError: If the weights of the ranks differ.
    """
    if len({answer.weights for answer in answers}) > 1:
        raise RanksDifferError(
            f"the {len(answers)} devices hold different weights after the unlearning: the method draws or decides "
            "something that is not the same in every process (an unseeded generator, the clock); use --devices 1"
        )
    first = answers[0]
    _check(card, clip, first)
    cpu = [answer.cpu_seconds for answer in answers if answer.cpu_seconds is not None]
    peaks = [answer.peak_memory_bytes for answer in answers if answer.peak_memory_bytes is not None]
    cost = Cost(
        seconds=max(answer.seconds for answer in answers),
        cpu_seconds=sum(cpu) if len(cpu) == len(answers) else None,
        peak_memory_bytes=max(peaks, default=None),
        flops=sum(answer.flops for answer in answers),
    )
    _put(card, clip, first.tensors)
    clip.refused = first.refused
    clip.model.eval()
    clip.model.requires_grad_(False)
    return Unlearned(
        clip=clip,
        cost=cost,
        edited_bytes=sum(value.numel() * value.element_size() for value in first.tensors.values()),
        edited=tuple(sorted(first.tensors)),
        items_read=first.items_read,
        items_distinct=first.items_distinct,
        report=first.report,
    )


@torch.no_grad()
def _put(card: MethodCard, clip: Clip, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors into a CLIP, and see that what was added to it works.

    Raises:
        ContractError: If it does not.
    """
    there = set(clip.model.state_dict())
    added = [name for name in tensors if name not in there]
    try:
        put_tensors(clip.model, tensors)
        if added:
            clip.try_encoders()
    except (AddedModuleError, RuntimeError) as error:
        raise ContractError(
            f"method {card.name!r} left an added module that does not fit the model: {error}"
        ) from error
    if idle := never_called(clip.model, added):
        raise ContractError(f"method {card.name!r} added to {idle}, which the model never calls: it does nothing")


def _check(card: MethodCard, clip: Clip, answer: Answer) -> None:
    state = clip.model.state_dict()
    for name, value in answer.tensors.items():
        added = name not in state and host_of(name) and declared(card, name, clip)
        if not added and (name not in state or (state[name].shape, state[name].dtype) != (value.shape, value.dtype)):
            raise ContractError(f"method {card.name!r} left a tensor {name!r} that the model does not have")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DivergedError(f"{name} holds values that are not finite")
    undeclared = sorted(name for name in answer.tensors if not declared(card, name, clip))
    if undeclared:
        raise ContractError(
            f"method {card.name!r} changed {undeclared[0]} ({len(undeclared)} tensors in all), "
            f"but its card declares edits of {', '.join((*card.edits, *card.adds))} only"
        )
    if answer.refused and not card.refuses:
        raise ContractError(
            f"method {card.name!r} refuses names at inference, but its card does not declare it: an output filter is "
            "no unlearning; reference rows alone may declare refuses=True"
        )


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")
