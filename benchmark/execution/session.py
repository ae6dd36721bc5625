"""What the cells of a run share: loaded models, data sets, features, and the retrained models."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.execution.references import References, RetrainedModels
from benchmark.execution.shadowing import Shadows
from benchmark.models.loading import load_clip, weights_hash
from benchmark.records.cell import Cell
from benchmark.suites.expansion import RETRAIN, Where
from benchmark.utils.hardware import Precision, resolve_device
from datamodules.common.dataset import Dataset
from datamodules.common.registry import open_dataset
from methods.common.clip import Clip


@dataclass
class Shelf:
    """Loads each thing once.

    Attributes:
        where: Folders and device.
        retrained: The models trained without the forget data.
        shadows: The models trained on known images, for membership inference.
    """

    where: Where
    _clips: dict[str, tuple[Clip, str]] = field(default_factory=dict)
    _datasets: dict[tuple[str, int], Dataset] = field(default_factory=dict)
    _features: dict[str, EmbeddingStore] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.retrained = RetrainedModels(self.where)
        self.shadows = Shadows(self.where, self.retrained.recipe)

    def pristine(self, name: str) -> tuple[Clip, str]:
        """A model as it came and the hash of its weights; not to be edited."""
        if name not in self._clips:
            self._clips.clear()  # one model in memory at a time
            loaded = load_clip(name)
            loaded.model.to(resolve_device(self.where.device))
            self._clips[name] = (loaded, weights_hash(loaded))
        return self._clips[name]

    def dataset(self, name: str, image_size: int) -> Dataset:
        """A data set for models of an image size."""
        if (name, image_size) not in self._datasets:
            self._datasets[name, image_size] = open_dataset(name, self.where.data_dir, self.where.cache_dir, image_size)
        return self._datasets[name, image_size]

    def datasets(self, cell: Cell) -> tuple[Dataset, list[Dataset]]:
        """The data set of a cell and its other ones, for the size of its model's images."""
        size = self.pristine(cell.model)[0].preprocessing.image_size
        return self.dataset(cell.dataset, size), [self.dataset(name, size) for name in cell.others]

    def features(self, precision: Precision) -> EmbeddingStore:
        """The features of a precision."""
        return self._features.setdefault(precision, EmbeddingStore(self.where.cache_dir / "features", precision))

    def of(self, cell: Cell, references: References) -> Clip | None:
        """The retrained model that a cell is compared with, on the run's device; itself, if the cell is it."""
        if references.retrain is None and cell.method != RETRAIN:
            return None
        clip, _ = self.retrained.get(cell)
        clip.model.to(resolve_device(self.where.device))
        return clip
