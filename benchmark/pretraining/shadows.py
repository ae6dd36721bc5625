"""Shadow models: the recipe of the original on random halves of seen and unseen images, kept one file each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.pretraining.kept import kept_path, trained_once
from benchmark.pretraining.recipe import Recipe
from benchmark.pretraining.train import ProgressCallback
from benchmark.utils.randomness import isolated
from datamodules.common.registry import open_dataset
from datamodules.common.shadow_pool import DrawnDataset, Pool, pool_of
from methods.common.clip import Clip

COUNT = 8
"""Our choice: four models with and four without each image; a training of the small recipe takes minutes."""
FIRST_SEED = 1000
"""Of the first shadow model: none shares its first weights with the original or a retrained model."""


@dataclass(frozen=True)
class ShadowModels:
    """Trains each shadow model once; the same ones serve every request, for they leave no class out.

    Attributes:
        recipe: By which the original was trained.
        data_dir: Where real data sets are.
        cache_dir: Where images and the trained models are kept.
        device: Where to train.
    """

    recipe: Recipe
    data_dir: Path | None
    cache_dir: Path
    device: str = "auto"

    @cached_property
    def pools(self) -> dict[str, Pool]:
        """The pool of each data set of the recipe.

        Raises:
            BenchmarkError: If one of them cannot give unseen images.
        """
        framing = self.recipe.architecture.image_input.framing
        opened = (open_dataset(name, self.data_dir, self.cache_dir, framing) for name in self.recipe.data)
        return {dataset.name: pool_of(dataset) for dataset in opened}

    @cached_property
    def contained(self) -> dict[str, NDArray[np.bool_]]:
        """By data set, which images of its pool each model is trained on, shape (COUNT, size)."""
        return {name: pool.halves(COUNT) for name, pool in self.pools.items()}

    def dataset(self, name: str, number: int) -> DrawnDataset:
        """A data set as one shadow model knows it."""
        return self.pools[name].choose(np.flatnonzero(self.contained[name][number]), f"shadow-{number}")

    def path(self, number: int) -> Path:
        """Where a model is kept."""
        return kept_path(
            self.cache_dir / "shadows",
            self.recipe,
            [COUNT, number, FIRST_SEED],
            revisions=[pool.revision for pool in self.pools.values()],
            device=self.device,
            name=f"{self.recipe.name}-{number}",
        )

    def model(self, number: int, *, progress: ProgressCallback | None = None) -> Clip:
        """A shadow model; a training that was killed goes on from its last checkpoint.

        Args:
            number: From 0 to `COUNT` - 1.
            progress: Told of each step, if it must be trained now.
        """
        return trained_once(
            self.path(number),
            self.recipe,
            data_dir=self.data_dir,
            cache_dir=self.cache_dir,
            seed=FIRST_SEED + number,
            device=self.device,
            progress=progress,
            datasets=[self.dataset(name, number) for name in self.recipe.data],
        )

    def trainings(self) -> list[ShadowTraining]:
        """The training of each."""
        return [ShadowTraining(self, number) for number in range(COUNT)]

    def __getstate__(self) -> dict[str, Any]:
        """The attributes alone: images that were opened here are opened again by a process that gets this."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class ShadowTraining:
    """The training of one shadow model; see `benchmark.pretraining.side_by_side`."""

    models: ShadowModels
    number: int

    @property
    def title(self) -> str:
        """For messages."""
        return f"shadow model {self.number} of {self.models.recipe.name}"

    @property
    def path(self) -> Path:
        """Where the model is kept."""
        return self.models.path(self.number)

    def train(self, progress: ProgressCallback | None = None) -> None:
        """Train it, if it is not there."""
        with isolated(FIRST_SEED + self.number):
            self.models.model(self.number, progress=progress)
