"""One generation test: everything is checked, the cell unlearns again, both text encoders draw, the judge looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.execution.runner import CellRunner
from benchmark.execution.tracking import Tracker
from benchmark.generation.detection import Judge
from benchmark.generation.pipeline import (
    GenerationError,
    Settings,
    check_tokenizer,
    generate,
    load_pipeline,
    pipeline_identity,
)
from benchmark.generation.prompts import PromptPlan, plan_prompts
from benchmark.generation.report import FOLDER, GenerationReport
from benchmark.generation.text_encoder import relative_difference, with_tower
from benchmark.models.loading import load_clip, weights_hash
from benchmark.models.naming import model_identity
from benchmark.records.cell import Cell
from benchmark.records.provenance import processor
from benchmark.records.store import RecordStore
from benchmark.suites.digests import unlearning_code
from benchmark.suites.where import Where
from benchmark.utils.hardware import device_name, resolve_device
from datamodules.common.dataset import Dataset
from methods.common.registry import Registry

FOREIGN = 0.01
"""Relative difference above which two towers have other weights: our choice, 30 times what half precision rounds."""
ImageReport = Callable[[str, int, Tensor], None]
"""Told of each image: "before" or "after", its number among the prompts, and its pixels, uint8, shape (3, H, W)."""


@dataclass
class GenerationTrial:
    """A checked generation test, ready to run.

    Attributes:
        cell: Whose unlearning runs again.
        settings: How images are made.
        plan: What is drawn.
        folder: The pipeline's.
        pipeline: The loaded `StableDiffusionPipeline`, still on the CPU.
        judge: Who looks, still on the CPU.
        judge_name: The name of its model.
        device: Where images are made and looked at.
        before: The pipeline's text encoder with the original tower.
        runner: Runs the unlearning.
        after: Likewise with the unlearned tower; None until `unlearn` has run.
        edited: Whether the unlearned tower has other weights than the original one.
        notes: What the reader should know.
    """

    cell: Cell
    settings: Settings
    plan: PromptPlan
    folder: Path
    pipeline: Any
    judge: Judge
    judge_name: str
    device: torch.device
    before: nn.Module
    runner: CellRunner
    after: nn.Module | None = None
    edited: bool = False
    notes: list[str] = field(default_factory=list)

    def unlearn(self) -> None:
        """Let the cell's method unlearn, and put the edited text tower into a copy of the pipeline's text encoder."""
        self.after = with_tower(self.pipeline.text_encoder, self.runner.unlearned(self.cell).clip)
        self.edited = relative_difference(self.after, self.before) > 0
        if not self.edited:
            self.notes.append(
                f"{self.cell.method} did not edit what the pipeline reads (the text tower up to its final layer norm): "
                "the images before and after are the same and are drawn once"
            )

    @property
    def image_count(self) -> int:
        """How many images will be drawn."""
        return len(self.plan.prompts) * (2 if self.edited else 1)

    def draw(self, on_image: ImageReport) -> GenerationReport:
        """Draw all prompts with both text encoders and let the judge look at each image.

        Args:
            on_image: Told of each image; of one that both encoders share, once, as "before".
        """
        self.pipeline.to(self.device)
        self.judge.clip.model.to(self.device)
        before = tuple(self._answers("before", self.before, on_image))
        after = before
        if self.edited and self.after is not None:
            after = tuple(self._answers("after", self.after, on_image))
        return GenerationReport(
            cell=self.cell,
            settings=self.settings,
            prompts=self.plan.prompts,
            before=before,
            after=after,
            pipeline={
                "name": self.folder.name,
                "sha256": pipeline_identity(self.folder),
                "scheduler": type(self.pipeline.scheduler).__name__,
            },
            judge={"name": self.judge_name, "weights": f"sha256:{weights_hash(self.judge.clip)}"},
            device=processor() if self.device.type == "cpu" else device_name(self.device),
            notes=tuple(self.notes),
        )

    def _answers(self, when: str, encoder: nn.Module, on_image: ImageReport) -> Iterator[str]:
        self.pipeline.register_modules(text_encoder=encoder.to(self.device))
        number = 0
        for images in generate(self.pipeline, self.plan.prompts, self.settings):
            yield from self.judge.answers(images)
            for image in images:
                on_image(when, number, image)
                number += 1


def prepare(
    cell: Cell,
    registry: Registry,
    where: Where,
    store: RecordStore,
    *,
    folder: Path,
    judge: str,
    settings: Settings,
    device: str,
) -> GenerationTrial:
    """Check and load all that a generation test needs; nothing has been unlearned or drawn.

    Args:
        cell: A recorded cell.
        registry: The methods.
        where: Folders, and the device of the unlearning.
        store: Where the result will go.
        folder: The pipeline's.
        judge: Name of the judge's model.
        settings: How images are made.
        device: Where images are made, as `--device` names it.

    Raises:
        BenchmarkError: If something is missing, does not fit, or the judge is the cell's model.
    """
    drawn_on = resolve_device(device)
    runner = CellRunner(registry, where, store, Tracker(None))
    runner.session.unlearner.check_imports([registry.declaration(cell.method)])
    original, _ = runner.session.pristine(cell.model)
    eye = load_clip(judge)
    if weights_hash(eye) == weights_hash(original):
        raise GenerationError(f"the judge {judge!r} is the model that was edited: name an independent one with --judge")
    dataset = where.open(cell.dataset, original.preprocessing.framing)
    plan = plan_prompts(dataset, cell.request, images=settings.images, seed=settings.seed)
    pipeline = load_pipeline(folder)
    before = with_tower(pipeline.text_encoder, original)
    check_tokenizer(pipeline, original, plan.prompts)
    notes = _changes(cell, registry, dataset, where.device)
    distance = relative_difference(before, pipeline.text_encoder)
    if distance > FOREIGN:
        notes.append(
            f"the pipeline's own text encoder is not the one of {cell.model} (relative difference {distance:.2g}): "
            "its U-Net has not learnt to read this model, so look at the rates before unlearning first"
        )
    RecordStore(store.folder / FOLDER / cell.key).check_writable()
    return GenerationTrial(
        cell=cell,
        settings=settings,
        plan=plan,
        folder=folder,
        pipeline=pipeline,
        judge=Judge(eye, plan.names, plan.templates),
        judge_name=judge,
        device=drawn_on,
        before=before,
        runner=runner,
        notes=notes,
    )


def _changes(cell: Cell, registry: Registry, dataset: Dataset, device: str) -> list[str]:
    """What is not as it was when the record was made: the unlearning may then end elsewhere."""
    kind = resolve_device(device).type
    code = unlearning_code(registry, cell.method, cell.model, of_a_part=cell.of_a_part)
    checks = {
        f"the code of {cell.method!r}": code == cell.code,
        f"the weights of {cell.model}": model_identity(cell.model) == cell.weights,
        f"the data of {cell.dataset!r}": dataset.revision == cell.data_revisions.get(cell.dataset),
        f"the device ({kind} instead of {cell.device})": kind == cell.device,
    }
    return [f"{what} is not what the record was made with" for what, same in checks.items() if not same]
