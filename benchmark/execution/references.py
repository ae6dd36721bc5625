"""What a cell is compared with: the model as it came, and the model trained without the forget data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from benchmark.evaluation.evaluate import Metrics
from benchmark.evaluation.families import FAMILIES
from benchmark.pretraining.recipe import Recipe
from benchmark.pretraining.retrained import RetrainedTraining, Retraining, recipe_of
from benchmark.records.cell import Cell
from benchmark.suites.expansion import Where
from datamodules.common.errors import BenchmarkError
from datamodules.common.module import Retrained
from methods.common.clip import Clip

StepReport = Callable[[int, int], None]


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
