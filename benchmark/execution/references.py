"""What a cell is compared with: the model as it came, and the model trained without the forget data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.families import FAMILIES, NotMeasurableError
from benchmark.pretraining.recipe import Recipe
from benchmark.pretraining.retrained import RetrainedTraining, Retraining, recipe_of
from benchmark.pretraining.shadows import COUNT, ShadowModels, ShadowTraining
from benchmark.records.cell import Cell
from benchmark.suites.expansion import Where
from benchmark.unlearning.unlearn import DivergedError, StepReport
from benchmark.utils.hardware import resolve_device
from benchmark.utils.randomness import isolated
from datamodules.common.dataset import Dataset
from datamodules.common.errors import BenchmarkError
from datamodules.common.module import Retrained
from methods.common.clip import Clip


@dataclass(frozen=True)
class References:
    """The references of one cell.

    Attributes:
        original: Key of the original's record.
        before: The original's metrics; None if the cell is the original.
        retrain: Key of the retrained model's record; None where there is none or the cell is it.
        after_retraining: Its metrics; None likewise.
        no_retrained: Why there is no retrained model, where there is none.
    """

    original: str
    before: Metrics | None
    retrain: str | None = None
    after_retraining: Metrics | None = None
    no_retrained: str = ""


def needs_retrained(cell: Cell) -> bool:
    """Whether a measure of a cell compares with the retrained model."""
    return _needs(cell, "retrained")


def needs_shadows(cell: Cell) -> bool:
    """Whether a measure of a cell asks shadow models."""
    return _needs(cell, "shadows")


def _needs(cell: Cell, what: str) -> bool:
    return any(what in FAMILIES[name].needs for name in cell.measures)


@dataclass
class RetrainedModels:
    """The retrained models of a run, each trained once and kept in the cache; the last one stays in memory.

    Attributes:
        where: Folders and device.
    """

    where: Where
    _last: tuple[str, Clip, float] | None = field(default=None)
    _retrainings: dict[str, Retraining] = field(default_factory=dict)

    def recipe(self, model: str) -> Recipe | None:
        """The recipe by which a model was trained; None where there is none."""
        return recipe_of(model)

    def why_not(self, model: str) -> str:
        """Why there is no retrained model of a model; empty where there can be one."""
        if self.recipe(model) is not None:
            return ""
        return f"no retrained model: {model} was not trained by a recipe of this project"

    def get(self, cell: Cell, *, on_step: StepReport | None = None) -> tuple[Clip, float]:
        """The model of a cell's request and seed, and the seconds of its training.

        Args:
            cell: Of any method.
            on_step: Told of each step, if it must be trained now.

        Raises:
            BenchmarkError: If the cell's model was not trained by a recipe of this project.
        """
        training = self.training(cell)
        key = training.path.name
        if self._last is None or self._last[0] != key:
            self._last = (key, *training.get(None if on_step is None else partial(_shown, on_step)))
        return self._last[1], self._last[2]

    def training(self, cell: Cell) -> RetrainedTraining:
        """The training of the model of a cell's request and seed.

        Raises:
            BenchmarkError: If the cell's model was not trained by a recipe of this project.
        """
        recipe = self.recipe(cell.model)
        if recipe is None:
            raise BenchmarkError(self.why_not(cell.model))
        if recipe.name not in self._retrainings:
            self._retrainings[recipe.name] = Retraining(
                recipe, self.where.data_dir, self.where.cache_dir, self.where.device
            )
        retraining = self._retrainings[recipe.name]
        return RetrainedTraining(retraining, retraining.excluded(cell.dataset, cell.request), cell.seed)

    def state(self, cell: Cell, *, on_step: StepReport | None = None) -> Retrained:
        """What the method `retrain` puts in place of the original's weights."""
        clip, seconds = self.get(cell, on_step=on_step)
        return Retrained(clip.model.state_dict(), seconds)


def _shown(on_step: StepReport, step: int, steps: int, _: float) -> None:
    on_step(step, steps)


UnlearnFunction = Callable[[Clip, Dataset, int], Clip]
"""Lets a cell's method unlearn: from a CLIP that it may edit, with the data set as that CLIP knows it, and a seed."""


@dataclass
class RunShadows:
    """The shadow models of a run, each trained once and kept in the cache.

    Attributes:
        where: Folders and device.
        recipe_of: The recipe by which a model was trained; None where it was not trained here.
    """

    where: Where
    recipe_of: Callable[[str], Recipe | None]
    _models: dict[str, ShadowModels] = field(default_factory=dict)

    def why_not(self, cell: Cell) -> str:
        """Why a cell has no shadow models; empty where it can have them."""
        recipe = self.recipe_of(cell.model)
        if recipe is None:
            return f"no shadow models: {cell.model} was not trained by a recipe of this project"
        if cell.dataset not in recipe.data:
            return f"no shadow models: {cell.model} was not trained on {cell.dataset}"
        try:
            self._of(recipe).pools  # noqa: B018
        except BenchmarkError as error:
            return f"no shadow models: {error}"
        return ""

    def train(self, cell: Cell, *, on_step: StepReport | None = None) -> None:
        """Train what is not there yet.

        Args:
            cell: One that can have shadow models.
            on_step: Told of each step.
        """
        for number, training in enumerate(self.trainings(cell)):
            if not training.path.is_file():
                training.train(None if on_step is None else partial(_shown_of_all, on_step, number))

    def trainings(self, cell: Cell) -> list[ShadowTraining]:
        """The training of each model of a cell that can have them."""
        return self._of(self._recipe(cell)).trainings()

    def of(self, cell: Cell, unlearner: UnlearnFunction) -> CellShadows:
        """The shadow models of a cell that can have them."""
        return CellShadows(cell, self._of(self._recipe(cell)), unlearner, self.where.device)

    def _recipe(self, cell: Cell) -> Recipe:
        recipe = self.recipe_of(cell.model)
        if recipe is None:
            raise BenchmarkError(self.why_not(cell))
        return recipe

    def _of(self, recipe: Recipe) -> ShadowModels:
        if recipe.name not in self._models:
            self._models[recipe.name] = ShadowModels(
                recipe, self.where.data_dir, self.where.cache_dir, self.where.device
            )
        return self._models[recipe.name]


@dataclass(frozen=True)
class CellShadows:
    """What the measure of membership asks for; see `benchmark.evaluation.measures.membership`."""

    cell: Cell
    models: ShadowModels
    unlearner: UnlearnFunction
    device: str

    @property
    def pool(self) -> Dataset:
        """The cell's data set with all images of the pool as its training split: those that the original saw first."""
        pool = self.models.pools[self.cell.dataset]
        return pool.choose(np.arange(pool.size), "pool")

    @property
    def seen(self) -> int:
        """How many images of the pool the original was trained on."""
        return self.models.pools[self.cell.dataset].seen

    @property
    def contained(self) -> Tensor:
        """Which images of the pool each model was trained on, boolean, shape (S, size)."""
        return torch.from_numpy(self.models.contained[self.cell.dataset])

    def unlearned(self) -> Iterator[Clip]:
        """Each model after the cell's method has unlearned the cell's request from it.

        Raises:
            NotMeasurableError: If the method diverges on one of them.
        """
        for number in range(COUNT):
            clip = self.models.model(number)
            clip.model.to(resolve_device(self.device))
            dataset = self.models.dataset(self.cell.dataset, number)
            seed = (self.cell.random_seed() + 1 + number) % 2**32
            try:
                with isolated(seed):
                    clip = self.unlearner(clip, dataset, seed)
            except DivergedError as error:
                raise NotMeasurableError(f"the method diverged on shadow model {number}: {error}") from error
            yield clip


def _shown_of_all(on_step: StepReport, number: int, step: int, steps: int, _: float) -> None:
    on_step(number * steps + step, COUNT * steps)
