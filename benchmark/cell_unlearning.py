"""The unlearning of one cell, on one device or over several: what a method is given, by the cell's words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import ParallelStrategy

from benchmark.cells import Cell
from benchmark.distributed.devices import Devices
from benchmark.hardware import Precision
from benchmark.planning import Where
from benchmark.shelf import Shelf
from benchmark.tracking import Tracker
from benchmark.unlearn import StepReport, Unlearned, unlearn
from benchmark.watching import Watch, Watcher
from datamodules.dataset import Dataset
from datamodules.unlearning import Retrained
from methods.cards import resolve
from methods.clip import Clip
from methods.registry import Registry


@dataclass(frozen=True)
class CellUnlearner:
    """Lets the methods of cells unlearn.

    Attributes:
        registry: The methods.
        shelf: The models and data sets.
        where: Folders and device.
        tracker: The experiment loggers.
        plugins: Files of further methods.
        watcher: Shows how the accuracy falls; None shows nothing.
        devices: Over which an unlearning is spread.
    """

    registry: Registry
    shelf: Shelf
    where: Where
    tracker: Tracker
    plugins: tuple[Path, ...]
    watcher: Watcher | None
    devices: Devices

    def run(self, cell: Cell, *, on_step: StepReport | None = None, retrained: Retrained | None = None) -> Unlearned:
        """Unlearn, from a copy of the cell's model.

        Args:
            cell: What to run.
            on_step: Told of each step.
            retrained: The model trained without the forget data, for methods that take it.

        Raises:
            Exception: Whatever the method raises.
        """
        clip, logger, watch = self.shelf.pristine(cell.model)[0].copy(), self.tracker.logger(cell), None
        if self.watcher is not None:
            watch = self.watcher.watch(clip, self.shelf.datasets(cell)[0], cell.request, precision_of(cell))
        if self.devices.count > 1:
            from benchmark.distributed.cell import unlearn_on_devices

            return unlearn_on_devices(
                cell,
                clip,
                self.devices,
                where=self.where,
                plugins=self.plugins,
                logger=logger,
                on_step=on_step,
                retrained=retrained,
                watch=watch,
            )
        return unlearn_cell(
            cell, clip, self.registry, self.shelf, logger=logger, on_step=on_step, retrained=retrained, watch=watch
        )


def unlearn_cell(
    cell: Cell,
    clip: Clip,
    registry: Registry,
    shelf: Shelf,
    *,
    logger: Logger | None = None,
    on_step: StepReport | None = None,
    retrained: Retrained | None = None,
    watch: Watch | None = None,
    strategy: ParallelStrategy | None = None,
    dataset: Dataset | None = None,
    seed: int | None = None,
) -> Unlearned:
    """Unlearn in this process, alone or as one of several: the one place that turns a cell into what a method is given.

    Args:
        cell: What to run.
        clip: Its CLIP, edited in place.
        registry: The methods.
        shelf: The data sets and the cache.
        logger: As for `unlearn`, likewise the rest.
        on_step: Told of each step.
        retrained: For methods that take it.
        watch: Looks at the accuracy.
        strategy: Of the Trainer, in one of several processes.
        dataset: What the method is given in the place of the cell's data set: as a shadow model knows it.
        seed: In the place of the cell's.

    Raises:
        Exception: Whatever the method raises.
    """
    own, others = shelf.datasets(cell)
    hyperparameters: Any = resolve(registry.declaration(cell.method).hyperparameters, cell.scale, dict(cell.hparams))
    return unlearn(
        registry.method_class(cell.method),
        hyperparameters,
        clip,
        dataset or own,
        cell.request,
        cache_dir=shelf.where.cache_dir,
        seed=cell.random_seed() if seed is None else seed,
        others=others,
        precision=precision_of(cell),
        logger=logger,
        on_step=on_step,
        retrained=retrained,
        watch=watch,
        strategy=strategy,
    )


def precision_of(cell: Cell) -> Precision:
    """The precision of a cell's towers."""
    return "bf16" if cell.precision == "bf16" else "fp32"


def trunk_edited(result: Unlearned) -> bool:
    """Whether the image encoder was changed beyond its projection: its features then serve this cell alone."""
    from methods.projection import NoProjectionError, visual_projection

    try:
        projection = visual_projection(result.clip).state_names
    except NoProjectionError:
        projection = ()
    return any(name.startswith("visual.") and name not in projection for name in result.edited)
