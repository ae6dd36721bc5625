"""Models trained again without the forget data: the gold standard, kept one file a recipe, exclusion and seed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.models.compact import about_of
from benchmark.models.naming import parse_model
from benchmark.models.registry import recipe_names
from benchmark.models.tensor_files import WeightsError
from benchmark.pretraining.exclusions import exclusions
from benchmark.pretraining.kept import kept_path, trained_once
from benchmark.pretraining.recipe import Recipe, load_recipe
from benchmark.utils.randomness import isolated
from datamodules.common.dataset import Dataset
from datamodules.common.registry import open_dataset
from datamodules.common.request import ForgetRequest

if TYPE_CHECKING:
    from benchmark.pretraining.train import ProgressCallback
    from methods.common.clip import Clip


def recipe_of(model: str) -> Recipe | None:
    """The recipe by which a model was trained here; None for a model that we did not train.

    A compact file says it itself, so a model trained from a recipe of this version counts wherever it lies.
    """
    architecture, _, path = parse_model(model)
    if architecture != "compact" or path is None:
        return None
    try:
        about = about_of(path)
    except WeightsError:
        return None
    name = about.get("recipe")
    if name not in recipe_names() or about.get("exclude") or about.get("data"):
        return None
    return load_recipe(name)


@dataclass(frozen=True)
class Retraining:
    """Trains a recipe again without the forget data, each model once.

    Attributes:
        recipe: By which the original was trained.
        data_dir: Where real data sets are.
        cache_dir: Where decoded images and the trained models are kept.
        device: Where to train.
    """

    recipe: Recipe
    data_dir: Path | None
    cache_dir: Path
    device: str = "auto"

    @cached_property
    def datasets(self) -> list[Dataset]:
        """The data sets of the recipe."""
        framing = self.recipe.architecture.image_input.framing
        return [open_dataset(name, self.data_dir, self.cache_dir, framing) for name in self.recipe.data]

    def excluded(self, home: str, request: ForgetRequest) -> dict[str, ForgetRequest]:
        """What is left out for a request; see `exclusions`."""
        return exclusions(self.datasets, home, request)

    def path(self, exclude: dict[str, ForgetRequest], seed: int) -> Path:
        """Where the model of these exclusions and this seed is kept."""
        excluded = {name: request.to_dict() for name, request in sorted(exclude.items())}
        return kept_path(
            self.cache_dir / "retrained",
            self.recipe,
            excluded,
            seed,
            revisions=[dataset.revision for dataset in self.datasets],
            device=self.device,
            name=self.recipe.name,
        )

    def model(
        self, exclude: dict[str, ForgetRequest], seed: int, *, progress: ProgressCallback | None = None
    ) -> tuple[Clip, float]:
        """The model and the seconds that its training took, now or when it was trained.

        A training that was killed goes on from its last checkpoint.

        Args:
            exclude: What it must not see, by data set.
            seed: Of the weights, the order and the augmentation.
            progress: Told of each step, if there is something to train.
        """
        path = self.path(exclude, seed)
        clip = trained_once(
            path,
            self.recipe,
            data_dir=self.data_dir,
            cache_dir=self.cache_dir,
            seed=seed,
            device=self.device,
            progress=progress,
            exclude=exclude,
        )
        return clip, trained_seconds(path)

    def __getstate__(self) -> dict[str, Any]:
        """The attributes alone: images that were opened here are opened again by a process that gets this."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class RetrainedTraining:
    """The training of one retrained model; see `benchmark.pretraining.side_by_side`.

    Attributes:
        retraining: How.
        exclude: What it must not see, by data set.
        seed: Of the weights, the order and the augmentation.
    """

    retraining: Retraining
    exclude: dict[str, ForgetRequest]
    seed: int

    @property
    def title(self) -> str:
        """For messages."""
        without = ", ".join(dict.fromkeys(map(str, self.exclude.values())))
        return f"{self.retraining.recipe.name} without {without}, seed {self.seed}"

    @property
    def path(self) -> Path:
        """Where the model is kept."""
        return self.retraining.path(self.exclude, self.seed)

    def train(self, progress: ProgressCallback | None = None) -> None:
        """Train it, if it is not there."""
        self.get(progress)

    def get(self, progress: ProgressCallback | None = None) -> tuple[Clip, float]:
        """The model, trained first if it is not there, and the seconds that its training took."""
        with isolated(self.seed):
            return self.retraining.model(self.exclude, self.seed, progress=progress)


def trained_seconds(path: Path) -> float:
    """How long the training of a compact file took, as the file says."""
    return float(about_of(path).get("seconds", 0.0))
