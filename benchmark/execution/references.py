"""What a cell is compared with: the model as it came, and the model trained without the forget data."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from benchmark.evaluation.evaluate import Metrics
from benchmark.pretraining.recipe import Recipe
from benchmark.pretraining.retrained import RetrainedTraining, Retraining, recipe_of
from benchmark.pretraining.shadows import ShadowModels, ShadowTraining
from benchmark.records.cell import Cell
from benchmark.suites.where import Where
from benchmark.unlearning.unlearn import StepReport
from datamodules.common.card import DEVELOPMENT_SCHEME
from datamodules.common.errors import BenchmarkError
from datamodules.common.image_request import chooses_images
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


@dataclass
class RetrainedModels:
    """The retrained models of a run, each trained once and kept in the cache; the last one stays in memory.

    Attributes:
        where: Folders and device.
    """

    where: Where
    _last: tuple[str, Clip, float] | None = field(default=None)
    _retrainings: dict[str, Retraining] = field(default_factory=dict)

    def why_not(self, cell: Cell) -> str:
        """Why there is no retrained model for a cell; empty where there can be one."""
        if recipe_of(cell.model) is None:
            return f"no retrained model: {cell.model} was not trained by a recipe of this project"
        if chooses_images(cell.request):
            return "no retrained model: models are trained again without classes or concepts, not without chosen images"
        return ""

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
        """The training of the model of a cell's request and seed; see `Cell.never_seen`.

        Raises:
            BenchmarkError: If the cell's model was not trained by a recipe of this project.
        """
        recipe = recipe_of(cell.model)
        if recipe is None or self.why_not(cell):
            raise BenchmarkError(self.why_not(cell))
        if recipe.name not in self._retrainings:
            self._retrainings[recipe.name] = Retraining(
                recipe, self.where.data_dir, self.where.cache_dir, self.where.device
            )
        retraining = self._retrainings[recipe.name]
        home = cell.dataset.removeprefix(DEVELOPMENT_SCHEME)
        return RetrainedTraining(retraining, retraining.excluded(home, cell.never_seen), cell.seed)

    def state(self, cell: Cell, *, on_step: StepReport | None = None) -> Retrained:
        """What the method `retrain` puts in place of the original's weights."""
        clip, seconds = self.get(cell, on_step=on_step)
        return Retrained(clip.model.state_dict(), seconds)


def _shown(on_step: StepReport, step: int, steps: int, _: float) -> None:
    on_step(step, steps)


@dataclass
class RunShadows:
    """The shadow models of a run, each trained once and kept in the cache.

    Attributes:
        where: Folders and device.
    """

    where: Where
    _models: dict[str, ShadowModels] = field(default_factory=dict)

    def why_not(self, cell: Cell) -> str:
        """Why a cell has no shadow models; empty where it can have them."""
        recipe = recipe_of(cell.model)
        if recipe is None:
            return f"no shadow models: {cell.model} was not trained by a recipe of this project"
        if chooses_images(cell.request):
            return "no shadow models: the request chooses images, and their pools are parted by class"
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
        trainings = self.trainings(cell)
        for training in trainings:
            if not training.path.is_file():
                shown = partial(_shown_of_all, on_step, training.number, len(trainings)) if on_step else None
                training.train(shown)

    def trainings(self, cell: Cell) -> list[ShadowTraining]:
        """The training of each model of a cell that can have them."""
        return self.models(cell).trainings()

    def models(self, cell: Cell) -> ShadowModels:
        """The shadow models of a cell that can have them."""
        return self._of(self._recipe(cell))

    def _recipe(self, cell: Cell) -> Recipe:
        recipe = recipe_of(cell.model)
        if recipe is None:
            raise BenchmarkError(self.why_not(cell))
        return recipe

    def _of(self, recipe: Recipe) -> ShadowModels:
        if recipe.name not in self._models:
            self._models[recipe.name] = ShadowModels(
                recipe, self.where.data_dir, self.where.cache_dir, self.where.device
            )
        return self._models[recipe.name]


def _shown_of_all(on_step: StepReport, number: int, count: int, step: int, steps: int, _: float) -> None:
    on_step(number * steps + step, count * steps)
