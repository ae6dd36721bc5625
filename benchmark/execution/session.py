"""What the cells of a run share: loaded models, data sets, features, and the retrained models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.execution.process.unlearner import Unlearner
from benchmark.execution.references import References, RetrainedModels, Shadows
from benchmark.models.loading import load_clip, weights_hash
from benchmark.models.registry import PRETRAINING
from benchmark.records.cell import Cell
from benchmark.suites.expansion import RETRAIN, Where
from benchmark.utils.hardware import Precision, resolve_device
from datamodules.common.dataset import Dataset, SplitName
from datamodules.common.errors import BenchmarkError
from datamodules.common.registry import open_dataset
from methods.common.clip import Clip
from methods.common.registry import Registry


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


PARTS: tuple[SplitName, ...] = ("train", "test")


def check_needs(cells: Sequence[Cell], registry: Registry, shelf: Shelf, unlearner: Unlearner) -> None:
    """Load everything once that the cells will load, so that nothing is missing after hours of work.

    Args:
        cells: Those that are to run.
        registry: The methods.
        shelf: The models and data sets.
        unlearner: Tries whether methods can be imported, in a process of its own.

    Raises:
        BenchmarkError: If something cannot be imported, loaded or read, or a forget set is empty or everything.
    """
    for model in [cell.model for cell in cells[:1]]:  # while the server starts from which processes are forked
        shelf.pristine(model)
    unlearner.check_imports([registry.declaration(name) for name in dict.fromkeys(cell.method for cell in cells)])
    for cell in cells:
        regime = registry.declaration(cell.method).card.regime
        if regime == PRETRAINING and (why_not := shelf.retrained.why_not(cell.model)):
            raise BenchmarkError(f"method {cell.method!r}: {why_not}; leave it out or name one of our small CLIPs")
    for model in dict.fromkeys(cell.model for cell in cells):
        size = shelf.pristine(model)[0].preprocessing.image_size
        mine = [cell for cell in cells if cell.model == model]
        for name in dict.fromkeys(other for cell in mine for other in cell.others):
            shelf.dataset(name, size).split("test")
        for dataset_name, request in dict.fromkeys((cell.dataset, cell.request) for cell in mine):
            dataset = shelf.dataset(dataset_name, size)
            for part in PARTS:
                dataset.forget_mask(dataset.split(part), request)
