"""One unlearning: a method driven by a Lightning Trainer, under the read guard, measured, and held to its card."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor

from benchmark.chance import check_chance, optimizer_steps
from benchmark.cost import Cost, measured
from benchmark.hardware import Precision
from benchmark.trainer import fit, make_trainer
from benchmark.watching import Watch
from datamodules.dataset import Dataset
from datamodules.guard import guarded
from datamodules.request import ForgetRequest
from datamodules.unlearning import Retrained, UnlearningDataModule
from methods.base import UnlearningMethod
from methods.cards import ContractError
from methods.clip import Clip, changed_tensors

StepReport = Callable[[int, int], None]


class DivergedError(Exception):
    """A method left weights or a loss that are not finite numbers."""


@dataclass(frozen=True)
class Unlearned:
    """The result of one unlearning.

    Attributes:
        clip: The edited CLIP.
        cost: Of the unlearning alone; time saved by caches is added back.
        edited_bytes: Size of the tensors that differ from the original.
        edited: Their state-dict names.
        items_read: Images read, repeats counted.
        items_distinct: Different images read.
        report: What the method tells of its run.
    """

    clip: Clip
    cost: Cost
    edited_bytes: int
    edited: tuple[str, ...]
    items_read: int
    items_distinct: int
    report: dict[str, Any]


class _Curve(Callback):
    """Logs the loss of each step, reports progress, and stops on a loss that is not finite.

    Attributes:
        cost: Of the unlearning; looks at the accuracy are taken out of it.
        done: Steps so far; a method may stop before those planned.
    """

    def __init__(self, steps: int, report: StepReport | None, watch: Watch | None, clip: Clip) -> None:
        self._steps, self._report, self._watch, self._clip = steps, report, watch, clip
        self.cost = Cost()
        self.done = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.done = batch_idx + 1
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            value = float(loss.detach())
            if not math.isfinite(value):
                raise DivergedError(f"the loss of step {batch_idx + 1} is {value}")
            if trainer.logger is not None:
                trainer.logger.log_metrics({"loss": value}, step=batch_idx)
        if self._report is not None:
            self._report(batch_idx + 1, self._steps)
        if self._watch is not None and batch_idx + 1 < self._steps and self._watch.due(batch_idx + 1, self._steps):
            with self.cost.paused():
                log_look(trainer.logger, self._watch.look(self._clip), batch_idx + 1)


def unlearn(
    method_class: type[UnlearningMethod[Any]],
    hyperparameters: Any,
    clip: Clip,
    dataset: Dataset,
    request: ForgetRequest,
    *,
    cache_dir: Path,
    seed: int,
    others: Sequence[Dataset] = (),
    precision: Precision = "fp32",
    logger: Logger | None = None,
    on_step: StepReport | None = None,
    retrained: Retrained | None = None,
    watch: Watch | None = None,
    strategy: ParallelStrategy | None = None,
) -> Unlearned:
    """Let a method unlearn a request from a CLIP.

    Args:
        method_class: The method.
        hyperparameters: Its hyperparameter object.
        clip: The CLIP; edited in place.
        dataset: Where the request is from; the method gets of it what its regime allows.
        request: What to forget.
        cache_dir: For synthetic forget sets.
        seed: Of the batches.
        others: Data sets of which the method may know the names.
        precision: "fp32" or "bf16".
        logger: Where the loss of each step goes.
        on_step: Called after each step with the steps done and their number.
        retrained: The model trained without the forget data, for methods of the data regime `pretraining`.
        watch: Looks at the accuracy as it falls; the result is the same with and without it.
        strategy: Of the Trainer, in a process that is one of several that unlearn together.

    Raises:
        ContractError: If tensors changed that the card does not declare, or gradient steps were taken though the card
            denies chance.
        DivergedError: If weights or a loss are not finite.
        RegimeViolationError: If the method read what its regime does not give it.
    """
    card = method_class.card
    before = {name: value.detach().clone() for name, value in clip.model.state_dict().items()}
    data = UnlearningDataModule(
        dataset,
        request,
        regime=card.regime,  # type: ignore[arg-type]
        preprocessing=clip.preprocessing,
        cache_dir=cache_dir,
        seed=seed,
        others=others,
        retrained=retrained,
    )
    method = method_class(clip, data.spec, hyperparameters)
    steps = method.planned_steps(data.sizes)
    data.plan(steps=steps, batch_size=method.batch_size())
    curve = _Curve(steps, on_step, watch, clip)
    trainer = make_trainer(clip.device, precision, logger=logger, callbacks=[curve], strategy=strategy)
    if watch is not None:
        log_look(logger, watch.first(), 0)
    with measured(clip) as cost, guarded(data.guard()) as guard, optimizer_steps() as taken:
        curve.cost = cost
        fit(trainer, method, datamodule=data)
    check_chance(card, taken.steps)
    if watch is not None:
        log_look(logger, watch.look(clip), curve.done)
        if logger is not None:
            logger.save()
    cost.seconds += method.reused_seconds
    clip.model.eval()
    clip.model.requires_grad_(False)
    return _checked(method, clip, before, cost, guard.items_read, guard.items_distinct)


def log_look(logger: Logger | None, seen: dict[str, float], step: int) -> None:
    """Log what a watch has seen after a step, where there is a log."""
    if logger is not None and seen:
        logger.log_metrics(seen, step=step)


def _checked(
    method: UnlearningMethod[Any],
    clip: Clip,
    before: dict[str, Tensor],
    cost: Cost,
    items_read: int,
    items_distinct: int,
) -> Unlearned:
    state = clip.model.state_dict()
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DivergedError(f"{name} holds values that are not finite")
    edited = changed_tensors({n: v.to(clip.device) for n, v in before.items()}, state.items())
    undeclared = sorted(name for name in edited if not method.may_edit(name))
    if undeclared:
        raise ContractError(
            f"method {method.card.name!r} changed {undeclared[0]} ({len(undeclared)} tensors in all), "
            f"but its card declares edits of {', '.join(method.card.edits)} only"
        )
    return Unlearned(
        clip=clip,
        cost=cost,
        edited_bytes=sum(value.numel() * value.element_size() for value in edited.values()),
        edited=tuple(sorted(edited)),
        items_read=items_read,
        items_distinct=items_distinct,
        report=method.report,
    )
