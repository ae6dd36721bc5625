"""The session of a run: methods, models, data sets, features, and the models that cells are compared with.

Each is loaded once; `work_of` says what of them one cell's unlearning is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.evaluation.embeddings import EmbeddingStore
from benchmark.evaluation.families import NotMeasurableError
from benchmark.execution.chosen_levels import FEATURES, bring
from benchmark.execution.process.unlearner import Unlearner, Work
from benchmark.execution.references import References, RetrainedModels, RunShadows
from benchmark.models.loading import load_clip, weights_hash
from benchmark.models.registry import PRETRAINING
from benchmark.pretraining.shadows import ShadowModels
from benchmark.records.cell import Cell
from benchmark.records.store import REFERENCE
from benchmark.suites.expansion import RETRAIN
from benchmark.suites.where import Where
from benchmark.unlearning.unlearn import DivergedError, Unlearned
from benchmark.utils.devices import Devices
from benchmark.utils.hardware import Precision, resolve_device
from benchmark.utils.randomness import isolated
from datamodules.common.chosen_images import serving
from datamodules.common.dataset import Dataset, SplitName
from datamodules.common.errors import BenchmarkError
from datamodules.common.image_request import chooses_images
from datamodules.common.images import Framing
from datamodules.common.module import Retrained
from datamodules.common.narrowed import FewerTestImages, NarrowedDataset
from datamodules.common.request import ForgetRequest
from methods.common.clip import Clip
from methods.common.registry import Registry

PARTS: tuple[SplitName, ...] = ("train", "test")
"""The splits whose forget sets are looked at before a run."""


@dataclass
class Session:
    """What the cells of a run share; each thing is loaded once.

    Attributes:
        registry: The methods.
        where: Folders and device.
        closed: Further folders of which no method may open anything, such as that of the records.
        devices: Over which each cell's unlearning is spread; everything else is done on the first.
        retrained: The models trained without the forget data.
        shadows: The models trained on known images, for membership inference.
    """

    registry: Registry
    where: Where
    closed: tuple[Path, ...] = ()
    devices: Devices = field(default_factory=Devices)
    _clips: dict[str, tuple[Clip, str]] = field(default_factory=dict)
    _datasets: dict[tuple[str, Framing], Dataset] = field(default_factory=dict)
    _parts: dict[tuple[str, Framing, tuple[str, ...]], Dataset] = field(default_factory=dict)
    _fewer_images: dict[tuple[str, Framing, str], Dataset] = field(default_factory=dict)
    _serving: dict[tuple[str, Framing, ForgetRequest], Dataset] = field(default_factory=dict)
    _features: dict[str, EmbeddingStore] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.retrained = RetrainedModels(self.where)
        self.shadows = RunShadows(self.where)

    @cached_property
    def unlearner(self) -> Unlearner:
        """Starts the processes that unlearn."""
        data = () if self.where.data_dir is None else (self.where.data_dir,)
        return Unlearner(self.where.cache_dir, (*self.closed, REFERENCE, *data), self.devices)

    def pristine(self, name: str) -> tuple[Clip, str]:
        """A model as it came and the hash of its weights; not to be edited."""
        if name not in self._clips:
            self._clips.clear()  # one model in memory at a time
            loaded = load_clip(name)
            loaded.model.to(resolve_device(self.where.device))
            self._clips[name] = (loaded, weights_hash(loaded))
        return self._clips[name]

    def add_model(self, clip: Clip) -> None:
        """Use a model that is in memory already, on the run's device, wherever its name is asked for."""
        self._clips = {clip.name: (clip, weights_hash(clip))}

    def add_datasets(self, datasets: Sequence[Dataset], framing: Framing) -> None:
        """Use data sets that are open already for models of a framing wherever their names are asked for."""
        self._datasets |= {(dataset.name, framing): dataset for dataset in datasets}

    def dataset(self, name: str, framing: Framing) -> Dataset:
        """A data set for models that want their images so."""
        if (name, framing) not in self._datasets:
            self._datasets[name, framing] = self.where.open(name, framing)
        return self._datasets[name, framing]

    def datasets(self, cell: Cell) -> tuple[Dataset, list[Dataset]]:
        """The data set of a cell as it is measured, and its other ones, framed as its model wants them."""
        framing = self.pristine(cell.model)[0].preprocessing.framing
        dataset, others = self._narrowed(cell, cell.left_out), [self.dataset(name, framing) for name in cell.others]
        if not cell.test_images:
            return dataset, others
        if chooses_images(cell.request):  # those to forget are of the train part: they all stay
            few = self._fewer(self.dataset(cell.dataset, framing), cell, None)
            return serving(few, cell.request), [self._fewer(other, cell, None) for other in others]
        return self._fewer(dataset, cell, cell.request), [self._fewer(other, cell, None) for other in others]

    def dataset_to_unlearn(self, cell: Cell) -> Dataset:
        """The data set of a cell as a method may read it: in a sequence without what was to be forgotten before."""
        earlier = cell.sequence[: max(0, cell.step - 1)]
        return self._narrowed(cell, [name for request in earlier for name in request.classes])

    def _narrowed(self, cell: Cell, without: Sequence[str]) -> Dataset:
        framing = self.pristine(cell.model)[0].preprocessing.framing
        whole = self._for_request(cell.dataset, framing, cell.request)
        if not without:
            return whole
        key = (cell.dataset, framing, tuple(sorted(without)))
        if key not in self._parts:
            self._parts[key] = NarrowedDataset(whole, without)
        return self._parts[key]

    def _fewer(self, dataset: Dataset, cell: Cell, request: ForgetRequest | None) -> Dataset:
        part = FewerTestImages(dataset, cell.test_images, request)
        key = (dataset.name, dataset.framing, part.revision)
        return self._fewer_images.setdefault(key, part)

    def _for_request(self, name: str, framing: Framing, request: ForgetRequest) -> Dataset:
        """A data set as it serves a request."""
        key = (name, framing, request)
        if key not in self._serving:
            self._serving[key] = serving(self.dataset(name, framing), request)
        return self._serving[key]

    def features(self, precision: Precision) -> EmbeddingStore:
        """The features of a precision."""
        if precision not in self._features:
            folder = self.where.cache_dir / FEATURES
            bring(folder)
            self._features[precision] = EmbeddingStore(folder, precision)
        return self._features[precision]

    def of(self, cell: Cell, references: References) -> Clip | None:
        """The retrained model that a cell is compared with, on the run's device; itself, if the cell is it."""
        if references.retrain is None and cell.method != RETRAIN:
            return None
        clip, _ = self.retrained.get(cell)
        clip.model.to(resolve_device(self.where.device))
        return clip

    def check_needs(self, cells: Sequence[Cell]) -> None:
        """Load everything once that some cells will load, so that nothing is missing after hours of work.

        Raises:
            BenchmarkError: If something cannot be imported, loaded or read, or a forget set is empty or everything.
        """
        for model in [cell.model for cell in cells[:1]]:  # while the server starts from which processes are forked
            self.pristine(model)
        methods = {cell.method: self.registry.declaration(cell.method) for cell in cells}
        self.unlearner.check_imports(list(methods.values()))
        for cell in cells:
            retrains = methods[cell.method].card.regime == PRETRAINING
            if retrains and (why_not := self.retrained.why_not(cell)):
                raise BenchmarkError(f"method {cell.method!r}: {why_not}; leave it out or name one of our small CLIPs")
        for model in dict.fromkeys(cell.model for cell in cells):
            framing = self.pristine(model)[0].preprocessing.framing
            of_model = [cell for cell in cells if cell.model == model]
            for name in dict.fromkeys(other for cell in of_model for other in cell.others):
                self.dataset(name, framing).split("test")
            for name, request in dict.fromkeys((cell.dataset, cell.request) for cell in of_model):
                dataset = self._for_request(name, framing, request)
                for part in PARTS:
                    dataset.forget_mask(dataset.split(part), request)


def work_of(
    cell: Cell,
    session: Session,
    *,
    retrained: Retrained | None = None,
    clip: Clip | None = None,
    dataset: Dataset | None = None,
    seed: int | None = None,
) -> Work:
    """What a cell's method is to do.

    Args:
        cell: What to run.
        session: The methods, models and data sets.
        retrained: The model trained without the forget data, for methods that take it.
        clip: In the place of the cell's model; stays as it is.
        dataset: In the place of the cell's data set: as a shadow model knows it.
        seed: In the place of the cell's.
    """
    cell_dataset, others = session.datasets(cell)
    return Work(
        method=session.registry.declaration(cell.method),
        hparams=cell.hparams,
        clip=clip or session.pristine(cell.model)[0],
        dataset=dataset or cell_dataset,
        request=cell.request,
        seed=cell.random_seed() if seed is None else seed,
        others=others,
        precision=precision_of(cell),
        retrained=retrained,
    )


@dataclass(frozen=True)
class CellShadows:
    """The shadow models of a cell: what the measure of membership asks for."""

    cell: Cell
    session: Session

    @property
    def models(self) -> ShadowModels:
        """The models, before any unlearning."""
        return self.session.shadows.models(self.cell)

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
        for training in self.models.trainings():
            number, clip = training.number, self.models.model(training.number)
            clip.model.to(resolve_device(self.session.where.device))
            dataset = self.models.dataset(self.cell.dataset, number)
            seed = (self.cell.random_seed() + 1 + number) % 2**32
            try:
                with isolated(seed):
                    clip = self._unlearned(clip, dataset, seed)
            except DivergedError as error:
                raise NotMeasurableError(f"the method diverged on shadow model {number}: {error}") from error
            yield clip

    def _unlearned(self, clip: Clip, dataset: Dataset, seed: int) -> Clip:
        if self.session.registry.declaration(self.cell.method).card.regime == PRETRAINING:
            return clip  # trained again it would know nothing of any image: the fits are those of doing nothing
        work = work_of(self.cell, self.session, clip=clip, dataset=dataset, seed=seed)
        return self.session.unlearner.unlearn(work).clip


def precision_of(cell: Cell) -> Precision:
    """The precision of a cell's towers."""
    return "bf16" if cell.precision == "bf16" else "fp32"


def trunk_edited(result: Unlearned) -> bool:
    """Whether the image encoder was changed beyond its projection: its features then serve this cell alone."""
    from methods.common.projections import NoProjectionError, visual_projection

    try:
        projection = visual_projection(result.clip).state_names
    except NoProjectionError:
        projection = ()
    return any(name.startswith("visual.") and name not in projection for name in result.edited)
