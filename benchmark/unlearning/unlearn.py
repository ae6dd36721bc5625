"""One unlearning: a method driven by a Lightning Trainer, under the read guard, measured, and held to its card.

This is what happens inside the process that unlearns; `benchmark.execution.process.unlearner` starts that process and
takes the result out of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmark.unlearning.cost import Cost, measured
from benchmark.utils.hardware import Precision
from benchmark.utils.trainer import fit, make_trainer
from datamodules.common.dataset import Dataset
from datamodules.common.guard import guarded
from datamodules.common.module import Retrained, SyntheticSource, UnlearningDataModule, ValidatingDataModule
from datamodules.common.request import ForgetRequest
from methods.common.added import added_at, host_of, never_called
from methods.common.base import UnlearningMethod, declared
from methods.common.card import ContractError, MethodCard
from methods.common.clip import Clip, changed_tensors
from methods.common.token_rows import used_token_rows

StepReport = Callable[[int, int], None]


class DivergedError(Exception):
    """A method left weights or a loss that are not finite numbers."""


class StoppedEarlyError(Exception):
    """A method ended before the steps that it planned, and did not say that it meant to."""


class Looks(Protocol):
    """Looks at the accuracy while it falls; the result is the same with and without it."""

    def due(self, step: int, steps: int) -> bool:
        """Whether to look after a step."""

    def look(self, clip: Clip, step: int) -> None:
        """Look at the model as it stands."""


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

    def costs(self) -> dict[str, float | int | None]:
        """What a record tells of the cost."""
        return {
            "unlearn_seconds": self.cost.seconds,
            "cpu_seconds": self.cost.cpu_seconds,
            "load": self.cost.load,
            "peak_memory_bytes": self.cost.peak_memory_bytes,
            "flops": self.cost.flops,
            "edited_bytes": self.edited_bytes,
            "items_read": self.items_read,
            "items_distinct": self.items_distinct,
        }


READ_TOGETHER = 16
"""Steps whose losses are read at once from an accelerator: a reader waits for all that was asked of it."""


class _Curve(Callback):
    """Logs the loss of each step, reports progress, and stops on a loss that is not finite.

    Attributes:
        cost: Of the unlearning; looks at the accuracy are taken out of it.
        steps: How many are planned.
        done: Steps so far; a method may stop before those planned.
    """

    def __init__(self, report: StepReport | None, looks: Looks | None, clip: Clip) -> None:
        self._report, self._looks, self._clip = report, looks, clip
        self.cost = Cost()
        self.steps = self.done = 0
        self._unread: dict[int, Tensor] = {}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.done = batch_idx + 1
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            self._unread[batch_idx] = loss.detach().clone()
            if _is_at_hand(loss) or len(self._unread) == READ_TOGETHER:
                self._read(trainer)
        if self._report is not None:
            self._report(batch_idx + 1, self.steps)
        if self._looks is not None and batch_idx + 1 < self.steps and self._looks.due(batch_idx + 1, self.steps):
            with self.cost.paused():
                self._looks.look(self._clip, batch_idx + 1)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._read(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._read(trainer)  # a loss that was not finite is the reason of what failed after it

    def _read(self, trainer: L.Trainer) -> None:
        unread, self._unread = self._unread, {}
        values = torch.stack([loss.reshape(()) for loss in unread.values()]).tolist() if unread else ()
        for step, value in zip(unread, values, strict=True):
            if not math.isfinite(value):
                raise DivergedError(f"the loss of step {step + 1} is {value}")
            if trainer.logger is not None:
                trainer.logger.log_metrics({"loss": value}, step=step)


def unlearn(
    method_class: type[UnlearningMethod[Any]],
    hyperparameters: Any,
    clip: Clip,
    dataset: Dataset,
    request: ForgetRequest,
    *,
    seed: int,
    cache_dir: Path | None = None,
    others: Sequence[Dataset] = (),
    precision: Precision = "fp32",
    regime: str | None = None,
    logger: Logger | None = None,
    on_step: StepReport | None = None,
    on_clock: Callable[[str], None] | None = None,
    flops_each: tuple[int, int] | None = None,
    retrained: Retrained | None = None,
    looks: Looks | None = None,
    strategy: ParallelStrategy | None = None,
    synthesis: SyntheticSource | None = None,
) -> Unlearned:
    """Let a method unlearn a request from a CLIP, in this process.

    Args:
        method_class: The method.
        hyperparameters: Its hyperparameter object.
        clip: The CLIP; edited in place.
        dataset: Where the request is from; the method gets of it what its regime allows.
        request: What to forget.
        seed: Of the batches.
        cache_dir: Where synthetic forget sets are kept; None keeps none.
        others: Data sets of which the method may know the names.
        precision: "fp32" or "bf16".
        regime: The data regime, as the registry's card declares it; by default that of the method's own card.
        logger: Where the loss of each step goes.
        on_step: Called after each step with the steps done and their number.
        on_clock: Called with "begin" and "end", around all that counts as the method's work.
        flops_each: Operations of each tower for one item, where they are known; see `benchmark.unlearning.cost`.
        retrained: The model trained without the forget data, for methods of the data regime `pretraining`.
        looks: Looks at the accuracy as it falls; the result is the same with and without it.
        strategy: Of the Trainer, in a process that is one of several that unlearn together.
        synthesis: Makes synthetic forget sets; by default they are made here.

    Raises:
        ContractError: If tensors changed that the card does not declare, or gradient steps were taken though the card
            denies chance.
        DivergedError: If weights or a loss are not finite.
        RegimeViolationError: If the method read what its regime does not give it.
        StoppedEarlyError: If it did fewer steps than it planned, and did not set `trainer.should_stop`.
    """
    clock = on_clock or (lambda _: None)
    with nullcontext() if retrained is not None else used_token_rows(clip):  # its rows may be others
        before = {name: value.detach().clone() for name, value in clip.model.state_dict().items()}
        given = Given.of(clip)
        validates = method_class.validation_step is not L.LightningModule.validation_step
        data = (ValidatingDataModule if validates else UnlearningDataModule)(
            dataset,
            request,
            regime=regime or method_class.card.regime,  # type: ignore[arg-type]
            preprocessing=clip.preprocessing,
            cache_dir=cache_dir,
            seed=seed,
            others=others,
            retrained=retrained,
            synthesis=synthesis,
            raw=method_class.raw_images,
        )
        curve = _Curve(on_step, looks, clip)
        trainer = make_trainer(clip.device, precision, logger=logger, callbacks=[curve], strategy=strategy)
        with measured(clip, flops_each) as cost, guarded(data.guard()) as guard, optimizer_steps() as taken:
            clock("begin")
            curve.cost = data.meter = cost
            method = method_class(clip, data.spec, hyperparameters)
            method.training_step = _without_stop(method.training_step)  # type: ignore[method-assign]
            curve.steps = method.planned_steps(data.sizes)
            data.plan(steps=curve.steps, batch_size=method.batch_size())
            if validates:
                trainer.val_check_interval = min(method.validation_interval(curve.steps), curve.steps)
            trainer.accumulate_grad_batches = int(getattr(hyperparameters, "accumulate_grad_batches", 1))
            fit(trainer, method, datamodule=data)
        clock("end")
        check_chance(method_class.card, taken.steps)
        if curve.done < curve.steps and not trainer.should_stop:
            raise StoppedEarlyError(
                f"method {method.card.name!r} ended after {curve.done} of {curve.steps} planned steps; "
                "a method that stops by itself says so: self.trainer.should_stop = True"
            )
        if looks is not None:
            looks.look(clip, curve.done)
        clip.model.eval()
        clip.model.requires_grad_(False)
        given.check(clip, method)
        return _checked(method, clip, before, cost, guard.items_read, guard.items_distinct)


def _is_at_hand(loss: Tensor) -> bool:
    """Whether reading a value waits for nothing."""
    return loss.device.type == "cpu"


def _without_stop(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step whose `StopIteration` is an error: Lightning would take it for the end of the step or of the training."""

    @functools.wraps(step)
    def run(*arguments: Any, **named: Any) -> Any:
        try:
            return step(*arguments, **named)
        except StopIteration as error:
            raise StoppedEarlyError(f"StopIteration was raised in {step.__qualname__}") from error

    return run


@dataclass(frozen=True)
class Given:
    """A CLIP as a method gets it, to tell what it has changed beside tensors: none of that reaches what is measured.

    Attributes:
        model: The model itself.
        modules: Path and class of each of its modules.
        beside: Tokenizer, preprocessing and temperature's home.
    """

    model: nn.Module
    modules: tuple[tuple[str, type], ...]
    beside: tuple[Any, ...]

    @classmethod
    def of(cls, clip: Clip) -> Given:
        """What is there now."""
        return cls(clip.model, _modules(clip.model), (clip.tokenize, clip.preprocessing))

    def check(self, clip: Clip, method: UnlearningMethod[Any]) -> None:
        """Check that the model still is what it was, but for its tensors.

        Raises:
            ContractError: If something was left in it that is no tensor.
        """
        left = ""
        if clip.model is not self.model or method.clip is not clip:
            left = "another model in the place of the one that it was given"
        elif _modules(clip.model) != self.modules:
            odd = sorted({name for name, _ in set(_modules(clip.model)) ^ set(self.modules)})
            left = f"another module {odd[0]!r}"
        elif hooked := [name for name, module in clip.model.named_modules() if _is_changed(module)]:
            left = f"a hook or another forward in {hooked[0] or 'the model'!r}"
        elif (clip.tokenize, clip.preprocessing) != self.beside:
            left = "another tokenizer or preprocessing"
        if left:
            raise ContractError(
                f"method {method.card.name!r} left {left}: only the tensors that its card declares are taken from it; "
                "merge into them what it has learned, and take its hooks out at the end"
            )


def _modules(model: nn.Module) -> tuple[tuple[str, type], ...]:
    return tuple((name, type(module)) for name, module in model.named_modules())


def _is_changed(module: nn.Module) -> bool:
    added = [one.hook for one in added_at(module)]  # told by their tensors
    forward = [hook for hook in module._forward_hooks.values() if hook not in added]
    hooks = (forward, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return "forward" in vars(module) or any(hooks)


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
    added = {name: value for name, value in state.items() if name not in before and host_of(name)}
    if state.keys() - added.keys() != before.keys():
        odd = sorted((state.keys() - added.keys()) ^ before.keys())
        raise ContractError(
            f"method {method.card.name!r} added or took away tensors of the model ({odd[0]}): it may edit those that "
            "its card declares, in place, and add modules with self.add(...)"
        )
    if idle := never_called(clip.model, added):
        raise ContractError(
            f"method {method.card.name!r} added to {idle}, which the model never calls: it does nothing"
        )
    given = {n: v for n, v in state.items() if n in before}
    edited = changed_tensors({n: v.to(clip.device) for n, v in before.items()}, given.items()) | added
    undeclared = sorted(name for name in edited if not declared(method.card, name, clip))
    if undeclared:
        raise ContractError(
            f"method {method.card.name!r} changed {undeclared[0]} ({len(undeclared)} tensors in all), "
            f"but its card declares edits of {', '.join((*method.card.edits, *method.card.adds))} only"
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


FEW_STEPS = 1
"""Optimizer steps that a method without chance may take: one step does not amplify anything."""


@dataclass
class StepCount:
    """Optimizer steps that were taken, of whatever optimizer and whoever called it."""

    steps: int = 0


@contextmanager
def optimizer_steps() -> Iterator[StepCount]:
    """Count the steps of all of torch's optimizers within the block, those within a closed form included."""
    count = StepCount()

    def counted(*_: Any) -> None:
        count.steps += 1

    handle = register_optimizer_step_post_hook(counted)
    try:
        yield count
    finally:
        handle.remove()


def check_chance(card: MethodCard, steps: int) -> None:
    """Refuse a card that denies chance where optimizer steps were taken: they depend on the seed of the batches.

    Or at least on how sums are rounded: many steps amplify the last digit to another model on another processor
    (differences up to 0.22 were seen). Only several seeds tell how far such results are apart, and a card with
    `stochastic=False` would make the method run at seed 0 alone.

    Args:
        card: The method's.
        steps: Optimizer steps that were taken.

    Raises:
        ContractError: If it does.
    """
    if not card.stochastic and steps > FEW_STEPS:
        raise ContractError(
            f"method {card.name!r} says stochastic=False, but took {steps} gradient steps: their result depends on "
            "seeds or on rounding, so its card must say stochastic=True (leave the entry out)"
        )
