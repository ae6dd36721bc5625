"""The unlearning of one cell, as the process does it that was started for it.

The method is imported first, before any model or image is here; then it gets what its data regime allows, and the clock
runs around all that it does: constructor, plan and fit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.loggers import Logger
from safetensors.torch import save_file
from torch import Tensor

from benchmark.execution.process.child import Rank
from benchmark.execution.process.closed import Closed, close
from benchmark.execution.process.job import Answer, Job
from benchmark.unlearning.cost import measured
from benchmark.unlearning.looks import LookBudget
from benchmark.unlearning.unlearn import unlearn
from benchmark.utils.hardware import Precision, flush_denormal, resolve_device
from benchmark.utils.randomness import isolated
from benchmark.utils.trainer import leave_surrounding_job
from datamodules.common.handed import HandedDataset
from datamodules.common.image_request import read_request
from datamodules.common.module import Meter, Part, Retrained
from datamodules.common.spent import Spent
from datamodules.common.synthetic import ImageModel, RawSet, SyntheticForgetSet, SyntheticRecipe, climb_set
from methods.common.card import resolve
from methods.common.clip import Clip, changed_tensors
from methods.common.registry import import_method, read_declaration
from methods.common.token_rows import whole_state

TELL_SECONDS = 0.1
"""Between two messages about steps: the parent has other things to do."""


def unlearn_here(rank: Rank) -> None:
    """Do the job of the rank's folder, and leave its answer there."""
    job = Job.read(rank.folder)
    leave_surrounding_job()
    torch.set_num_threads(job.threads)
    flush_denormal(on=job.flush_denormal)
    file = Path(job.method)
    refusals = close(Closed.of(job.regime, job.closed, [rank.folder, Path(job.model).parent, *job.parts.values()]))
    declaration = read_declaration(file)
    method_class = import_method(file, declaration.card, once=True)
    device = resolve_device(job.device if rank.count == 1 or job.device == "cpu" else f"cuda:{rank.index}")
    with contextlib.ExitStack() as stack:
        clip = _loaded(Path(job.model), device)
        strategy = None
        if rank.count > 1:
            from benchmark.execution.multi_device.group import joined, strategy_of
            from benchmark.execution.multi_device.sharded_clip import ShardedClip

            clip = ShardedClip.of(clip, rank=rank.index, ranks=rank.count)
            stack.enter_context(joined(rank, device))
            strategy = strategy_of(rank)
        stack.enter_context(isolated(job.seed))
        reports = Reports(rank)
        looks = (
            RemoteLooks(rank, clip, LookBudget(job.look_seconds, job.look_share))
            if job.look_seconds >= 0 and rank.count == 1
            else None
        )
        done = unlearn(
            method_class,
            resolve(declaration.hyperparameters, clip.scale, job.hparams),
            clip,
            HandedDataset(Path(job.names), {cast(Part, name): Path(folder) for name, folder in job.parts.items()}),
            read_request(job.request),
            seed=job.seed,
            others=[HandedDataset(Path(names)) for names in job.others],
            precision=cast(Precision, job.precision),
            regime=job.regime,
            logger=reports,
            on_step=reports.step,
            on_clock=lambda what: (rank.ask if what == "end" and rank.count == 1 else rank.tell)("clock", what),
            flops_each=job.flops_each,
            retrained=_retrained(job),
            looks=looks,
            strategy=strategy,
            synthesis=Synthesis(rank, job),
        )
        reports.flush()
        refusals.check()
        Answer.of(rank, done).write(rank)


def synthesise_here(rank: Rank) -> None:
    """Make a synthetic forget set, in a process that no method's code has entered: see
    `benchmark.execution.process.unlearner`.

    The folder holds the model, the names and the recipe; the set is left in it.
    """
    task = json.loads((rank.folder / "synthesis.json").read_text(encoding="utf-8"))
    torch.set_num_threads(task["threads"])
    flush_denormal(on=task["flush_denormal"])
    clip = _loaded(Path(task["model"]), resolve_device(task["device"]))
    with torch.no_grad():
        classifier = clip.zero_shot_classifier(task["names"], task["templates"])
        scale = float(clip.logit_scale)
    if classifier_digest(classifier) != task["classifier"]:
        (rank.folder / "other").touch()  # the method has a classifier of its own: it makes the images itself
        return
    model = ImageModel(clip.encode_image, classifier, scale, clip.preprocessing, task["encoder"])
    recipe = SyntheticRecipe(**task["recipe"])
    with measured(clip, tuple(task["flops_each"])) as cost:
        forget_set = climb_set(model, task["targets"], recipe)
    spent = Spent(cost.seconds, cost.cpu_seconds, cost.flops, cost.peak_memory_bytes or 0)
    (rank.folder / "set.npz").write_bytes(replace(forget_set, spent=spent).to_bytes())


def import_here(rank: Rank) -> None:
    """Import methods, one file after another, and tell which cannot be imported and why."""
    task = json.loads((rank.folder / "methods.json").read_text(encoding="utf-8"))
    refusals = close(Closed.of("none", task["closed"], [rank.folder]))
    for name, file in task["methods"].items():
        try:
            declaration = read_declaration(Path(file))
            import_method(Path(file), declaration.card, once=True)
            refusals.check()
        except BaseException as error:  # noqa: BLE001 - whatever a file does when it is imported
            rank.tell("broken", name, type(error).__name__, str(error))


def classifier_digest(classifier: Tensor) -> str:
    """Identifies a classifier up to rounding."""
    rounded = (classifier.detach().double().cpu() * 1e4).round().to(torch.int64)
    return hashlib.sha256(rounded.numpy().tobytes()).hexdigest()


def _loaded(file: Path, device: torch.device) -> Clip:
    """The CLIP of a file that the parent wrote: pages of it are copied when they are written to."""
    clip: Clip = torch.load(file, map_location="cpu", mmap=True, weights_only=False)
    clip.model.to(device)
    return clip


def _retrained(job: Job) -> Retrained | None:
    if not job.retrained:
        return None
    state: Mapping[str, Tensor] = torch.load(job.retrained, map_location="cpu", mmap=True)
    return Retrained(state, job.retrained_seconds)


class Synthesis:
    """Asks the parent for synthetic images of the model as it came; others are made here.

    Args:
        rank: The way to the parent.
        job: What it knows of the model.
    """

    def __init__(self, rank: Rank, job: Job) -> None:
        self._rank, self._job = rank, job

    def __call__(
        self, model: ImageModel, targets: list[int], recipe: SyntheticRecipe, meter: Meter
    ) -> SyntheticForgetSet:
        """The set of some names; what making it cost stands in it, unless it was made here and now."""
        if model.key == self._job.encoder:
            with meter.paused():
                digest = classifier_digest(model.classifier)
                file = self._rank.ask("synthesis", digest, targets, asdict(recipe))
            if file is not None:
                return RawSet.from_bytes(Path(file).read_bytes()).for_model(model, cached=True)
        return climb_set(model, targets, recipe).for_model(model, cached=False)


class Reports(Logger):
    """Sends losses and steps to the parent, a few times a second; every rank has one, so that all go the same way."""

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self._rank, self._metrics, self._last = rank, list[tuple[dict[str, float], int | None]](), 0.0
        self._step: tuple[int, int] | None = None

    @property
    def name(self) -> str | None:
        """None: nothing is written here."""
        return None

    @property
    def version(self) -> int | str | None:
        """None, likewise."""
        return None

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Tell the parent, soon."""
        self._metrics.append(({name: float(value) for name, value in dict(metrics).items()}, step))
        self._due()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The parent knows them."""

    def step(self, done: int, planned: int) -> None:
        """A step is done."""
        self._step = done, planned
        self._due()

    def flush(self) -> None:
        """Tell what was not told yet."""
        if self._metrics:
            self._rank.tell("metrics", self._metrics)
            self._metrics = []
        if self._step is not None:
            self._rank.tell("step", *self._step)
            self._step = None
        self._last = time.monotonic()

    def _due(self) -> None:
        if time.monotonic() - self._last >= TELL_SECONDS:
            self.flush()


class RemoteLooks:
    """Lets the parent look at the model: sends the tensors that changed since the last look.

    Args:
        rank: The way to the parent.
        clip: The model before its first edit.
        budget: Says when to look.
    """

    def __init__(self, rank: Rank, clip: Clip, budget: LookBudget) -> None:
        self._rank, self._budget = rank, budget
        self._seen = {name: value.detach().cpu().clone() for name, value in clip.model.state_dict().items()}

    def due(self, step: int, steps: int) -> bool:
        """Whether to look after a step."""
        return self._budget.due(step, steps)

    def look(self, clip: Clip, step: int) -> None:
        """Let the parent look, unless the tensors are not those that the model came with."""
        with self._budget.spent(), torch.no_grad():
            now = {name: value.detach().cpu() for name, value in whole_state(clip.model).items()}
            if now.keys() != self._seen.keys():
                return
            changed = {n: v.clone().contiguous() for n, v in changed_tensors(self._seen, now.items()).items()}
            self._seen |= changed
            save_file(changed, self._rank.folder / "look.safetensors")
            self._rank.ask("look", step, list(clip.refused))
